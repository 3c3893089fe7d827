//! The rest of a connection that has ended, kept as long as TIME_WAIT lasts. It is enough to recognise a late segment
//! of it, and to distinguish the next connection of the four-tuple.

use crate::decode::segment::{Flags, Segment};
use crate::flow::compact::clean::CleanFlow;
use crate::flow::compact::half_open::HalfOpen;
use crate::flow::connection::Connection;
use crate::flow::facts::{PacketRef, PreviousIncarnation, Role};
use crate::flow::key::Direction;
use crate::seq::Seq;

/// A connection that has ended and whose facts were handed out. There may be very many of them. The owner knows the
/// four-tuple.
#[derive(Clone, Copy, Debug)]
pub struct TimeWaitEntry {
    client_is: Direction,
    /// Which of the following are known, and who closed first: see the constants.
    known: u8,
    /// The client's initial sequence number: a SYN with it is a late copy.
    isn: Seq,
    client_next: Seq,
    server_next: Seq,
    client_tsval: u32,
    /// Its last packet.
    pub last: PacketRef,
}

/// [`TimeWaitEntry::isn`] is known.
const ISN: u8 = 1 << 0;
/// [`TimeWaitEntry::client_tsval`] is known.
const TSVAL: u8 = 1 << 1;
/// FINs or a RST ended it.
const CLOSED: u8 = 1 << 2;
/// The client sent the first FIN.
const CLIENT_FIRST: u8 = 1 << 3;
/// The server did.
const SERVER_FIRST: u8 = 1 << 4;

impl TimeWaitEntry {
    /// What stays of `connection`.
    pub fn of(connection: &Connection) -> TimeWaitEntry {
        TimeWaitEntry::new(connection.client_is(), connection.own_isn(), &connection.as_previous())
    }

    /// The same of a [`CleanFlow`].
    pub fn of_clean(clean: &CleanFlow) -> TimeWaitEntry {
        TimeWaitEntry::new(clean.handshake.client_is(), Some(clean.handshake.syn.seq), &clean.as_previous())
    }

    /// The same of a connection that was refused.
    pub fn of_half_open(handshake: &HalfOpen) -> TimeWaitEntry {
        TimeWaitEntry::new(handshake.client_is(), Some(handshake.syn.seq), &handshake.as_previous())
    }

    fn new(client_is: Direction, isn: Option<Seq>, previous: &PreviousIncarnation) -> TimeWaitEntry {
        let first = match previous.first_fin {
            Some(Role::Client) => CLIENT_FIRST,
            Some(Role::Server) => SERVER_FIRST,
            None => 0,
        };
        let if_so = |so: bool, bit: u8| if so { bit } else { 0 };
        TimeWaitEntry {
            client_is,
            known: first
                | if_so(isn.is_some(), ISN)
                | if_so(previous.client_tsval.is_some(), TSVAL)
                | if_so(previous.closed, CLOSED),
            isn: isn.unwrap_or_default(),
            client_next: previous.client_next,
            server_next: previous.server_next,
            client_tsval: previous.client_tsval.unwrap_or_default(),
            last: previous.last,
        }
    }

    /// The client's initial sequence number, where it is known.
    pub fn isn(&self) -> Option<Seq> {
        (self.known & ISN != 0).then_some(self.isn)
    }

    /// The facts that the next connection needs.
    pub fn previous(&self) -> PreviousIncarnation {
        let has = |bit: u8| self.known & bit != 0;
        PreviousIncarnation {
            last: self.last,
            client_next: self.client_next,
            server_next: self.server_next,
            closed: has(CLOSED),
            first_fin: match (has(CLIENT_FIRST), has(SERVER_FIRST)) {
                (true, _) => Some(Role::Client),
                (_, true) => Some(Role::Server),
                _ => None,
            },
            client_tsval: has(TSVAL).then_some(self.client_tsval),
        }
    }

    /// Whether `s` opens a new connection; see [`Connection::is_replaced_by`].
    pub fn is_replaced_by(&self, s: &Segment, from: Direction) -> bool {
        s.flags.has(Flags::SYN)
            && !s.flags.any(Flags::ACK | Flags::RST)
            && s.icmp().is_none()
            && (from != self.client_is || self.known & ISN == 0 || self.isn != s.seq)
    }

    /// A late segment: it changes nothing, but the four-tuple is still in use.
    pub fn absorb(&mut self, s: &Segment) {
        if s.time >= self.last.time {
            self.last = PacketRef::of(s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_is_small() {
        assert!(size_of::<TimeWaitEntry>() <= 40, "{}", size_of::<TimeWaitEntry>());
    }
}
