//! Facts and history to findings.
//!
//! * [`kinds`]: one file per finding kind, each a pure function of the facts and of what surrounds them.
//! * [`analysis`]: what several kinds read together.
//! * [`context`]: what a detector may look at beside the connection itself.
//! * [`draft`]: a finding being written: evidence first, certainty with its reason.
//! * [`evidence`]: who sent a packet of the evidence, and what became of it.
//! * [`explain`]: the registry of the kinds' documentation.
//! * [`next`]: commands that a report advises, by address family.

pub mod analysis;
pub mod context;
pub mod draft;
pub mod evidence;
pub mod explain;
pub mod kinds;
pub mod next;
#[cfg(test)]
mod tests;

pub use context::DetectContext;
pub use draft::{Draft, Found};

use self::kinds::{
    abortive_close, accept_queue_overflow, accept_queue_reset, connection_refused, defer_accept,
    fastopen_fallback, fin_unacknowledged, fin_wait2_expired, half_close, handshake_loss, listener_closed,
    syn_drop_accept_queue, syn_drop_syn_queue, syn_drop_timestamp, syn_flood, syn_unanswered, syncookies,
    time_wait_collision, time_wait_pressure,
};
use crate::flow::facts::ConnectionFacts;
use crate::flow::key::Host;

/// A detector of one connection's pathology: facts and surroundings in, at most one finding out.
pub type Detector = fn(&ConnectionFacts, &DetectContext<'_>) -> Option<Draft>;

/// A detector of what befell a listener as a whole.
pub type ListenerDetector = fn(Host, &DetectContext<'_>) -> Option<Draft>;

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
