//! Readings of hosts' timestamp clocks and keepalive timers, taken from connections.
//!
//! A few hundred are kept per shard, from the first connections: they serve to infer settings, not findings.

use crate::decode::segment::{TcpOptions, Traits};
use crate::flow::compact::clean::CleanFlow;
use crate::flow::compact::half_open::HalfOpen;
use crate::flow::facts::{ConnectionFacts, PacketRef, Role};
use crate::flow::key::Host;
use crate::time::{Span, Timestamp};

/// The clock of one end of a connection, read twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct ClockReading {
    /// The connection's first packet: readings are kept in order of time.
    pub at: PacketRef,
    /// Whose clock.
    pub host: Host,
    /// The other end.
    pub peer: Host,
    /// Which end `host` is.
    pub role: Role,
    /// When its SYN or SYN-ACK was sent, and the TSval.
    pub first: (Timestamp, u32),
    /// When its last segment was, and the TSval.
    pub last: (Timestamp, u32),
    /// TTL of its SYN or SYN-ACK.
    pub ttl: u8,
}

impl ClockReading {
    /// Time between the two.
    pub fn span(&self) -> Span {
        self.last.0 - self.first.0
    }

    /// Ticks between the two.
    pub fn ticks(&self) -> i64 {
        i64::from(self.last.1.wrapping_sub(self.first.1) as i32)
    }

    fn of(f: &ConnectionFacts, role: Role) -> Option<ClockReading> {
        let [(_, tsval), last] = ClockReading::clock(f, role)?;
        let (sent, offer) = match role {
            Role::Client => (f.syn.first()?, &f.syn_offer),
            Role::Server => (f.syn_ack.first()?, &f.syn_ack_offer),
        };
        (f.replayed == 0).then_some(ClockReading {
            at: f.first,
            host: f.host(role),
            peer: f.host(role.peer()),
            role,
            first: (sent.at.time, tsval),
            last,
            ttl: offer.ttl,
        })
    }

    /// The clock of one end at its SYN or SYN-ACK and at its last segment.
    pub fn clock(f: &ConnectionFacts, role: Role) -> Option<[(Timestamp, u32); 2]> {
        let side = f.side(role);
        let sent = match role {
            Role::Client => f.syn.first()?,
            Role::Server => f.syn_ack.first()?,
        };
        // A RST by a host without the socket, or a segment that was cut, has no timestamp. So the last timestamp may be
        // older than the last segment.
        let stamped = f.timestamps() && side.resets == 0 && !side.traits.has(Traits::OPTIONS_CUT);
        let last = (side.last.time, side.tsval?);
        (stamped && last.0 > sent.at.time && !f.odd_handshake && f.other_isns == 0)
            .then_some([(sent.at.time, sent.tsval), last])
    }
}

/// Keepalive probes on an idle connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct KeepaliveProbes {
    /// The connection's first packet.
    pub at: PacketRef,
    /// Who sent them.
    pub host: Host,
    /// How many.
    pub probes: u16,
    /// From the last exchange to the first of them.
    pub first: Span,
    /// From the last exchange to the last of them.
    pub lasted: Span,
    /// Whether the peer answered the last one.
    pub answered: bool,
    /// Whether the peer answered any.
    pub any_answered: bool,
}

impl KeepaliveProbes {
    fn of(f: &ConnectionFacts, role: Role) -> Option<KeepaliveProbes> {
        let (side, peer) = (f.side(role), f.side(role.peer()));
        let probe = side.keepalive()?;
        let exchanged =
            [side.last_data, peer.last_data, side.fin_acked, peer.fin_acked, f.final_ack.map(|ack| ack.at)];
        // A segment after the last probe ended the idleness.
        let since = exchanged.into_iter().flatten().filter(|at| *at < probe).max()?;
        (peer.keepalives() == 0 && f.duplicates == 0).then_some(KeepaliveProbes {
            at: f.first,
            host: f.host(role),
            probes: side.keepalives(),
            first: side.probing.as_ref().map_or(probe, |probing| probing.first).time - since.time,
            lasted: probe.time - since.time,
            answered: peer.last > probe,
            any_answered: peer.last > probe
                || side.probing.as_ref().is_some_and(|probing| probing.answers > 0),
        })
    }
}

/// From this duration on a connection shows the rate of a clock: 200 ticks of the slowest.
pub const LONG: Span = Span::secs(2);

/// The readings.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct ClockReadings {
    /// On connections of [`LONG`] or longer.
    pub long: Vec<ClockReading>,
    /// On shorter ones.
    pub short: Vec<ClockReading>,
    /// Keepalive probes.
    pub idle: Vec<KeepaliveProbes>,
}

impl ClockReadings {
    /// How many of each sort are kept per shard. All shards keep some thousands, and a handful per host is needed.
    /// Sorting more would cost a small capture more than all of its detectors.
    pub const KEPT: usize = 24;

    /// Reads the clocks of a connection that has ended.
    #[inline]
    pub fn record(&mut self, f: &ConnectionFacts) {
        if f.c.keepalives() | f.s.keepalives() > 0 {
            self.record_keepalives(f);
        }
        let some = if f.last.time - f.first.time >= LONG { &mut self.long } else { &mut self.short };
        if some.len() < ClockReadings::KEPT {
            some.extend(
                [Role::Client, Role::Server].into_iter().filter_map(|role| ClockReading::of(f, role)),
            );
        }
    }

    /// Whether SYN-ACKs that lie apart show something on a connection that has only SYNs and SYN-ACKs.
    #[inline]
    pub fn want_half_open(&self, h: &HalfOpen) -> bool {
        h.syn_acks() > 1 && self.want(h.syn_options(), h.syn_ack_options().0, h.last().time - h.first().time)
    }

    /// Whether something can be read on a connection that went as it should.
    #[inline]
    pub fn want_clean(&self, clean: &CleanFlow) -> bool {
        let handshake = &clean.handshake;
        self.want(
            handshake.syn_options(),
            handshake.syn_ack_options().0,
            clean.last() - handshake.first().time,
        )
    }

    fn want(&self, syn: TcpOptions, syn_ack: TcpOptions, lasted: Span) -> bool {
        let some = if lasted >= LONG { &self.long } else { &self.short };
        some.len() < ClockReadings::KEPT
            && syn.has(TcpOptions::TIMESTAMPS)
            && syn_ack.has(TcpOptions::TIMESTAMPS)
    }

    fn record_keepalives(&mut self, f: &ConnectionFacts) {
        if self.idle.len() < ClockReadings::KEPT {
            self.idle.extend(
                [Role::Client, Role::Server].into_iter().filter_map(|role| KeepaliveProbes::of(f, role)),
            );
        }
    }

    /// Adds those of another shard.
    pub fn append(&mut self, mut other: ClockReadings) {
        self.long.append(&mut other.long);
        self.short.append(&mut other.short);
        self.idle.append(&mut other.idle);
    }

    /// Puts all in order of time.
    pub fn sort(&mut self) {
        self.long.sort_unstable();
        self.short.sort_unstable();
        self.idle.sort_unstable();
    }

    /// All readings of clocks, those of longer connections first.
    pub fn clocks(&self) -> impl Iterator<Item = &ClockReading> + Clone {
        self.long.iter().chain(&self.short)
    }
}
