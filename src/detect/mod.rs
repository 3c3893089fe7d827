//! Facts to findings: one file per finding kind, each a pure function of the facts and of what surrounds them.
//!
//! * [`draft`]: a finding being written: evidence first, certainty with its reason.
//! * [`screen`]: what to keep of a connection that is over: most are unremarkable and only counted.
//! * [`listener`]: the history of one listener: what its other connections got at the same moment.
//! * [`peers`]: the memory that a server with `tcp_tw_recycle` would have of each host, replayed.
//! * [`scene`]: what happened at one listener across its connections.
//! * [`surroundings`]: all that together, as a detector sees it.

pub mod draft;
pub mod explain;
pub mod listener;
pub mod peers;
pub mod scene;
pub mod screen;
pub mod surroundings;

pub mod accept_queue_overflow;
pub mod accept_queue_reset;
pub mod fin_wait2_expired;
pub mod half_close;
pub mod syn_drop_timestamp;

pub use draft::Draft;
pub use surroundings::Surroundings;

use crate::flow::facts::ConnectionFacts;
use crate::report::model::Kind;

/// A detector of one connection's pathology: facts and surroundings in, at most one finding out.
pub type Detector = fn(&ConnectionFacts, &Surroundings<'_>) -> Option<Draft>;

/// The detectors, in the order in which they are asked.
pub const DETECTORS: &[(Kind, Detector)] = &[
    (Kind::SynDropTimestamp, syn_drop_timestamp::examine),
    (Kind::AcceptQueueOverflow, accept_queue_overflow::examine),
    (Kind::AcceptQueueReset, accept_queue_reset::examine),
    (Kind::HalfClose, half_close::examine),
    (Kind::FinWait2Expired, fin_wait2_expired::examine),
];
