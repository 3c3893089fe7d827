//! Facts and history to findings.
//!
//! * [`kinds`]: one file per finding kind, each a pure function of the facts and of what surrounds them.
//! * [`spec`]: a finding kind as data; [`registry`]: all of them.
//! * [`analysis`]: what several kinds read together.
//! * [`capture_state`]: whether more packets will come.
//! * [`context`]: what a detector may look at beside the connection itself.
//! * [`details`]: what a detector measured that later stages decide by.
//! * [`draft`]: a finding being written: evidence first, certainty with its reason.
//! * [`evidence`]: who sent a packet of the evidence, and how it fared.
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
