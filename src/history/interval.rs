//! Intervals of time, and what lasted for one.

use crate::decode::segment::Address;
use crate::flow::key::Host;
use crate::time::{Span, Timestamp};

/// An interval of time in which something happened at a listener.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Interval {
    /// Its beginning.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
}

impl Interval {
    /// Whether it and the interval from `from` to `to` come within `slack` of each other.
    pub fn meets(&self, from: Timestamp, to: Timestamp, slack: Span) -> bool {
        self.from <= to + slack && from <= self.to + slack
    }
}

/// A completed connection on which the application has sent nothing for a while.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct UnservedInterval {
    /// Its listener.
    pub server: Host,
    /// From the final ACK, or the kernel's acknowledgment of the request, until the application's first payload, or the
    /// end.
    pub interval: Interval,
    /// Who waited.
    pub client: Address,
    /// Whether the client had sent anything that the application could answer.
    pub asked: bool,
}
