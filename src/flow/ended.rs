//! A connection that has ended or was evicted, in the form in which it was stored.

use std::borrow::Cow;

use crate::flow::compact::clean::CleanFlow;
use crate::flow::compact::half_open::HalfOpen;
use crate::flow::connection::Connection;
use crate::flow::facts::{ConnectionFacts, Ending};
use crate::flow::key::FlowKey;
use crate::flow::tracker::due;
use crate::time::Timestamp;

/// A connection that has ended or was evicted: most can be counted as they are, and [`EndedFlow::facts`] has
/// everything.
#[derive(Clone, Copy)]
pub enum EndedFlow<'a> {
    /// Only SYNs and SYN-ACKs, or a RST in answer.
    HalfOpen(&'a FlowKey, &'a HalfOpen, Removal),
    /// Short and clean.
    Clean(&'a FlowKey, &'a CleanFlow, Removal),
    /// Anything else.
    Full(&'a ConnectionFacts),
}

/// Why and when a connection left the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Removal {
    /// The way it ended, unless its FINs, a RST or the end of the capture show it.
    pub(super) ending: Option<Ending>,
    /// The latest time that was seen.
    pub(super) now: Timestamp,
}

impl EndedFlow<'_> {
    /// Whether it was evicted before its end, for want of room.
    #[inline]
    pub fn is_evicted(&self) -> bool {
        match self {
            EndedFlow::HalfOpen(_, _, removal) | EndedFlow::Clean(_, _, removal) => {
                removal.ending == Some(Ending::Evicted)
            }
            EndedFlow::Full(facts) => facts.ending == Ending::Evicted,
        }
    }

    /// Everything that was seen of it.
    pub fn facts(&self) -> Cow<'_, ConnectionFacts> {
        match self {
            EndedFlow::HalfOpen(key, half_open, removal) => {
                Cow::Owned(removal.facts(half_open.replay_handshake(key)))
            }
            EndedFlow::Clean(key, clean, removal) => Cow::Owned(removal.facts(clean.replay_flow(key))),
            EndedFlow::Full(facts) => Cow::Borrowed(facts),
        }
    }
}

impl Removal {
    /// The time until which a half-open connection that leaves like this was watched; `end` is the end of the capture.
    pub fn watched(self, end: Timestamp) -> Timestamp {
        self.ending.map_or(end, |_| self.now)
    }

    fn facts(self, connection: Connection) -> ConnectionFacts {
        let mut facts = connection.facts;
        self.seal(&mut facts);
        facts
    }

    /// Records its end.
    pub(super) fn seal(self, facts: &mut ConnectionFacts) {
        facts.ending = self.ending.unwrap_or(match facts.closed {
            Some(_) if facts.was_reset() => Ending::Reset,
            Some(_) => Ending::Closed,
            // Its record may live longer than it.
            None if due(facts) < self.now => Ending::Expired,
            None => Ending::CaptureEnd,
        });
        facts.watched = match facts.ending {
            Ending::CaptureEnd => Timestamp::MAX,
            Ending::Expired => due(facts),
            Ending::Replaced | Ending::Evicted => self.now,
            Ending::Closed | Ending::Reset => facts.last.time,
        };
    }
}
