//! The backlog that would have been long enough for a listener.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The backlog that would have been long enough for the connections that a listener refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Backlog {
    /// The most connections at one moment that had been refused and were not let in yet.
    pub refused_together: u64,
    /// Those and the ones in the accept queue, which was full. Null where its limit is not known.
    pub waiting_or_refused: Option<u64>,
    /// That moment, RFC 3339.
    pub at: String,
    /// The listener's backlog then; one connection more fits into the accept queue. Null where it is not known.
    pub limit: Option<u64>,
    /// A backlog that would have held them, with a tenth to spare. Null where the limit is not known, or no backlog
    /// would hold the load.
    pub enough: Option<u64>,
    /// Connections that came in a second, from the first refusal on, counted over a second at least. Null where the
    /// listener's single seconds are not known any more.
    pub arrivals_per_second: Option<f64>,
    /// Connections that the application accepted in a second meanwhile. Null where the time was too short to count.
    pub accepts_per_second: Option<f64>,
    /// It may accept more in a second: for a part of that time it had nothing to accept.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub accepts_at_least: bool,
    /// The application accepted fewer connections than came, up to the end: no backlog is long enough.
    pub overloaded: bool,
    /// Neither the kernel's verdicts nor its counters cover some of the refusals, or the limit: these are known from
    /// the packets alone.
    pub estimated: bool,
}
