//! Facts to findings: one file per finding kind, each a pure function of the facts and of what surrounds them.
//!
//! * [`by_pair`]: something for each host pair.
//! * [`draft`]: a finding being written: evidence first, certainty with its reason.
//! * [`screen`]: what to keep of a connection that is over: most are unremarkable and only counted.
//! * [`ignored_syn`]: which cause of an unanswered SYN fits best.
//! * [`lag`]: how far SYN-ACKs lag their server's clock.
//! * [`listener`]: the history of one listener: what its other connections got at the same moment; `seconds`: that by the
//!   second; [`histories`]: that of all listeners.
//! * [`packets`]: who sent a packet of the evidence, and what became of it.
//! * [`peers`]: the memory that a server with `tcp_tw_recycle` would have of each host, replayed.
//! * [`reading`]: what connections say of the clocks and timers of the hosts at their ends.
//! * [`samples`]: clean handshakes of each server.
//! * [`scene`]: what happened at one listener across its connections.
//! * [`surroundings`]: all that together, as a detector sees it.

pub mod by_pair;
pub mod draft;
pub mod explain;
pub mod histories;
pub mod lag;
pub mod listener;
pub mod packets;
pub mod peers;
pub mod reading;
pub mod samples;
pub mod scene;
pub mod screen;
mod seconds;
pub mod surroundings;
#[cfg(test)]
mod tests;

pub mod abortive_close;
pub mod accept_queue_overflow;
pub mod accept_queue_reset;
pub mod connection_refused;
pub mod defer_accept;
pub mod fastopen_fallback;
pub mod fin_unacknowledged;
pub mod fin_wait2_expired;
pub mod half_close;
pub mod handshake_loss;
pub mod ignored_syn;
pub mod listener_closed;
pub mod syn_drop_accept_queue;
pub mod syn_drop_syn_queue;
pub mod syn_drop_timestamp;
pub mod syn_flood;
pub mod syn_unanswered;
pub mod syncookies;
pub mod time_wait_collision;
pub mod time_wait_pressure;

pub use draft::{Draft, Found};
pub use surroundings::Surroundings;

use crate::flow::facts::ConnectionFacts;
use crate::flow::key::Host;

/// A detector of one connection's pathology: facts and surroundings in, at most one finding out.
pub type Detector = fn(&ConnectionFacts, &Surroundings<'_>) -> Option<Draft>;

/// A detector of what befell a listener as a whole.
pub type ListenerDetector = fn(Host, &Surroundings<'_>) -> Option<Draft>;

/// The detectors of single connections.
pub const DETECTORS: &[Detector] = &[
    accept_queue_overflow::examine,
    accept_queue_reset::examine,
    syn_drop_accept_queue::examine,
    syn_drop_syn_queue::examine,
    syn_drop_timestamp::examine,
    syn_unanswered::examine,
    time_wait_collision::examine,
    connection_refused::examine,
    handshake_loss::examine,
    defer_accept::examine,
    fastopen_fallback::examine,
    listener_closed::examine,
    half_close::examine,
    fin_wait2_expired::examine,
    abortive_close::examine,
    fin_unacknowledged::examine,
];

/// The detectors of listeners.
pub const LISTENER_DETECTORS: &[ListenerDetector] =
    &[syn_flood::survey, syncookies::survey, time_wait_pressure::survey];
