//! Facts and history to findings.
//!
//! * [`kinds`]: one file per finding kind, each a pure function of the facts and their context.
//! * [`spec`]: a finding kind as data; [`registry`]: all of them.
//! * [`analysis`]: what several kinds read together.
//! * [`capture_state`]: whether more packets will come.
//! * [`context`]: the data that a detector may use beside the connection itself.
//! * [`details`]: measurements of a detector that later stages decide by.
//! * [`draft`]: a finding being written: evidence first, certainty with its reason.
//! * [`evidence`]: the sender and the marks of a packet of the evidence.
//! * [`refused_clients`]: for how long a full accept queue kept a client out.
//! * [`next`]: commands that a report advises, by address family.

pub mod analysis;
pub mod capture_state;
pub mod context;
pub mod details;
pub mod draft;
pub mod evidence;
pub mod kinds;
pub mod next;
pub mod refused_clients;
pub mod registry;
pub mod spec;
#[cfg(test)]
mod tests;

pub use context::DetectContext;
pub use draft::{Draft, FoundDraft};
