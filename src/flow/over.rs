//! What stays of a connection that is over, for as long as TIME_WAIT lasts: enough to recognise a late segment of it,
//! and to tell the next connection of the four-tuple of it.

use crate::decode::segment::{Flags, Segment};
use crate::flow::connection::Connection;
use crate::flow::facts::{Mark, Previous};
use crate::flow::key::{Direction, FlowKey};
use crate::seq::Seq;

/// A connection that is over and whose facts were handed out.
#[derive(Clone, Copy, Debug)]
pub struct Over {
    /// Which four-tuple.
    pub key: FlowKey,
    client_is: Direction,
    /// The client's initial sequence number: a SYN with it is a late copy.
    isn: Option<Seq>,
    /// What the next one should know.
    pub previous: Previous,
}

impl Over {
    /// What stays of `connection`.
    pub fn of(connection: &Connection) -> Over {
        Over {
            key: connection.key,
            client_is: connection.client_is(),
            isn: connection.own_isn(),
            previous: connection.as_previous(),
        }
    }

    /// Reads of every cache line of the record.
    #[inline]
    pub fn touch(&self) -> u32 {
        self.previous.client_next.0
            ^ u32::from(self.previous.closed)
            ^ u32::from(self.key.sender(Direction::FromLow).port)
    }

    /// Whether `s` opens a new connection; see [`Connection::is_replaced_by`].
    pub fn is_replaced_by(&self, s: &Segment, from: Direction) -> bool {
        s.flags.has(Flags::SYN)
            && !s.flags.any(Flags::ACK | Flags::RST)
            && s.icmp().is_none()
            && (from != self.client_is || self.isn != Some(s.seq))
    }

    /// A late segment: nothing of it is news, but the four-tuple is still in use.
    pub fn absorb(&mut self, s: &Segment) {
        if s.time >= self.previous.last.time {
            self.previous.last = Mark::of(s);
        }
    }
}
