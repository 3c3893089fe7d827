//! Segments that belong to no connection of their own: they may be those of a connection that the capture knows under
//! another address, because a NAT did not translate them.

use crate::decode::segment::{Flags, PacketId};
use crate::flow::facts::{ConnectionFacts, PacketRef, Role, Roles, Side};
use crate::flow::key::{Host, Map, Set};
use crate::seq::Seq;

/// More segments than this make a connection, not a stray.
const MOST_SEGMENTS: u32 = 32;
/// Strays of one shard that are kept.
const KEPT: usize = 4_096;
/// Strays to one address and port that are searched: a scan sends very many.
const OF_ONE: usize = 256;
/// Pairs of a stray and an open connection that are compared at most.
const COMPARISONS: usize = 1 << 24;
/// How far a segment may lie beyond the captured part of a stream: a large receive window.
const WINDOW: u32 = 1 << 20;
/// The same where only the sequence number is known.
const NEAR: u32 = 1 << 16;

/// What a stray segment was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub enum StrayKind {
    /// A SYN-ACK, where no SYN was seen.
    SynAck,
    /// Payload, or an acknowledgment.
    Data,
    /// A FIN.
    Fin,
    /// A RST.
    Reset,
}

/// Segments of one host that belong to no known connection, and that its peer answers by RST, if at all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Stray {
    /// The first of them.
    pub first: PacketRef,
    /// The last of them, or of the answers.
    pub last: PacketRef,
    /// Who sent them.
    pub from: Host,
    /// Who got them.
    pub to: Host,
    /// The sequence number after them.
    pub seq: u32,
    /// Their acknowledgment number, if they have one.
    pub ack: Option<u32>,
    /// Their kind.
    pub kind: StrayKind,
    /// How many there were.
    pub segments: u32,
    /// The first RST in answer, and its sequence number.
    pub reset: Option<(PacketRef, u32)>,
}

impl Stray {
    /// `f` as a stray, if it is one: a connection whose beginning was not captured, with only one end sending anything
    /// but RST.
    pub fn of(f: &ConnectionFacts) -> Option<Stray> {
        let of_syn_ack = f.roles == Roles::BySynAck && f.syn_ack.count > 0 && f.c.segments > 0;
        if f.syn.count > 0 || !(f.mid_stream || of_syn_ack) {
            return None;
        }
        let says_nothing = |role: Role| f.side(role).segments == u32::from(f.side(role).resets);
        let sender = match (says_nothing(Role::Client), says_nothing(Role::Server)) {
            (true, false) => Role::Server,
            (false, true) => Role::Client,
            // A lone RST.
            (true, true) if f.c.resets == 0 => Role::Server,
            (true, true) if f.s.resets == 0 => Role::Client,
            _ => return None,
        };
        let (own, peer) = (f.side(sender), f.side(sender.peer()));
        if own.segments > MOST_SEGMENTS {
            return None;
        }
        let own_reset = own.reset.as_deref();
        let (kind, seq, ack) = match own_reset {
            Some(reset) if !own.next_known || u32::from(own.resets) == own.segments => {
                (StrayKind::Reset, reset.seq, reset.flags.has(Flags::ACK).then_some(reset.ack))
            }
            _ if of_syn_ack => (StrayKind::SynAck, own.next, Some(f.syn_ack_ack)),
            _ => {
                let kind = if own.fin.is_some() { StrayKind::Fin } else { StrayKind::Data };
                (kind, own.next, peer.acked_known.then_some(peer.acked))
            }
        };
        Some(Stray {
            first: f.first,
            last: f.last,
            from: f.host(sender),
            to: f.host(sender.peer()),
            seq: seq.0,
            ack: ack.map(|ack| ack.0),
            kind,
            segments: own.segments,
            reset: peer.reset.as_deref().map(|reset| (reset.at, reset.seq.0)),
        })
    }

    /// Which end of `f` got these segments, if they belong to `f` under another address or port of its peer.
    pub fn receiver_in(&self, f: &ConnectionFacts) -> Option<Role> {
        let receiver = self.receiver_among(&OpenFlow::of(f))?;
        let (peer, own) = (f.side(receiver.peer()), f.side(receiver));
        // A capture on both sides of a NAT holds the same segments under both names.
        let translated = match self.reset {
            Some((_, seq)) => own.reset.as_deref().is_some_and(|reset| reset.seq.0 == seq),
            None => peer.fin.is_some() || peer.reset.is_some(),
        };
        let is_answered = self.kind == StrayKind::SynAck && f.syn_ack.count > 0;
        (!translated && !is_answered).then_some(receiver)
    }

    /// The same for an open connection of which only little is kept.
    fn receiver_among(&self, flow: &OpenFlow) -> Option<Role> {
        Role::BOTH.into_iter().find(|&role| self.is_of(flow, role))
    }

    fn is_of(&self, flow: &OpenFlow, receiver: Role) -> bool {
        let [(to, own), (from, peer)] = match receiver {
            Role::Client => [(flow.client, flow.c), (flow.server, flow.s)],
            Role::Server => [(flow.server, flow.s), (flow.client, flow.c)],
        };
        if to != self.to || from == self.from || self.first <= flow.first {
            return false;
        }
        if self.kind == StrayKind::SynAck {
            let answers = own.isn.is_some_and(|isn| self.ack == Some(isn.advance(1).0));
            return receiver == Role::Client && answers && self.reset.is_some();
        }
        match (self.ack, self.reset, self.kind) {
            (Some(ack), Some(_), _) | (Some(ack), None, StrayKind::Fin | StrayKind::Reset) => {
                peer.holds(Seq(self.seq)) && own.holds(Seq(ack))
            }
            (None, _, StrayKind::Reset) => {
                peer.next.is_some_and(|next| Seq(self.seq).distance(next).unsigned_abs() <= NEAR)
            }
            _ => false,
        }
    }
}

/// The sequence numbers of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
struct StreamNumbers {
    isn: Option<Seq>,
    next: Option<Seq>,
}

impl StreamNumbers {
    fn of(side: &Side) -> StreamNumbers {
        StreamNumbers { isn: side.isn_known.then_some(side.isn), next: side.next_known.then_some(side.next) }
    }

    /// Whether a segment with this number belongs to it.
    fn holds(self, at: Seq) -> bool {
        let Some(next) = self.next else { return false };
        let beyond = at.distance(next);
        let begun = self.isn.is_some_and(|isn| at.distance(isn) >= 0 && next.distance(isn) >= 0);
        beyond.unsigned_abs() <= WINDOW || begun && beyond < 0
    }
}

/// A connection that is open at the end, and without trouble.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct OpenFlow {
    /// The client.
    pub client: Host,
    /// The server.
    pub server: Host,
    /// Its first packet.
    pub first: PacketRef,
    /// Its last packet.
    pub last: PacketRef,
    c: StreamNumbers,
    s: StreamNumbers,
}

impl OpenFlow {
    fn of(f: &ConnectionFacts) -> OpenFlow {
        let (c, s) = (StreamNumbers::of(&f.c), StreamNumbers::of(&f.s));
        OpenFlow { client: f.client, server: f.server, first: f.first, last: f.last, c, s }
    }
}

/// The strays of a capture, by the host that got them.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Strays {
    by_receiver: Map<Host, Vec<Stray>>,
    count: usize,
    /// Connections that are not kept, and that a stray may belong to.
    open: Vec<OpenFlow>,
    /// The first packets of strays that belong to a known connection.
    matched: Set<PacketId>,
}

impl Strays {
    /// Keeps `f` if it is a stray, and there is room.
    pub fn record(&mut self, f: &ConnectionFacts) {
        if self.count < KEPT
            && let Some(stray) = Stray::of(f)
        {
            self.count += 1;
            self.by_receiver.entry(stray.to).or_default().push(stray);
        }
    }

    /// Records a connection that is open at the end and is not kept, if there is room.
    pub fn record_open(&mut self, f: &ConnectionFacts) {
        if self.open.len() < KEPT && (f.final_ack.is_some() || f.mid_stream && f.both_seen()) {
            self.open.push(OpenFlow::of(f));
        }
    }

    /// Adds those of another shard.
    pub fn merge(&mut self, other: Strays) {
        self.count += other.count;
        self.open.extend(other.open);
        for (to, strays) in other.by_receiver {
            let all = self.by_receiver.entry(to).or_default();
            all.extend(strays);
            all.sort_unstable();
            all.truncate(OF_ONE);
        }
    }

    /// The connection, among those not kept, to which the stray `f` belongs, and which end of it got the stray.
    pub fn connection_of(&self, f: &ConnectionFacts) -> Option<(&OpenFlow, Role, Stray)> {
        let is_too_much = self.count.saturating_mul(self.open.len()) > COMPARISONS;
        let stray = Stray::of(f).filter(|_| !self.open.is_empty() && !is_too_much)?;
        let mut all = self.open.iter().filter_map(|flow| Some((flow, stray.receiver_among(flow)?, stray)));
        // If two connections fit, it cannot be told which one it is.
        all.next().filter(|_| all.next().is_none())
    }

    /// Records which strays belong to one of these connections, or to an open one.
    pub fn match_with(&mut self, kept: &[Box<ConnectionFacts>]) {
        if self.count == 0 {
            return;
        }
        let of_kept = kept.iter().filter_map(|f| Some(self.of(f)?.1.first.packet));
        let of_open = kept.iter().filter_map(|f| Some(self.connection_of(f)?.2.first.packet));
        self.matched = of_kept.chain(of_open).collect();
    }

    /// Whether `f` is a stray that belongs to a connection that is known.
    pub fn is_matched(&self, f: &ConnectionFacts) -> bool {
        self.matched.contains(&f.first.packet)
    }

    /// The first stray that belongs to `f`, and which end of it got that.
    pub fn of(&self, f: &ConnectionFacts) -> Option<(Role, &Stray)> {
        if self.count == 0 {
            return None;
        }
        let all = Role::BOTH.into_iter().filter_map(|role| self.by_receiver.get(&f.host(role))).flatten();
        all.filter_map(|stray| Some((stray.receiver_in(f)?, stray))).min_by_key(|(_, stray)| stray.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::segment::Address;
    use crate::flow::facts::Reset;

    fn host(last: u8, port: u16) -> Host {
        Host { address: Address::v4([192, 0, 2, last]), port }
    }

    fn side(isn: u32, next: u32) -> Side {
        Side {
            isn: Seq(isn),
            isn_known: true,
            next: Seq(next),
            next_known: true,
            segments: 9,
            ..Side::default()
        }
    }

    /// A connection from .1 to .2, 500 bytes and 10,000 bytes long.
    fn live() -> ConnectionFacts {
        ConnectionFacts {
            client: host(1, 40_000),
            server: host(2, 80),
            c: side(1_000, 1_501),
            s: side(u32::MAX - 4_999, 5_001),
            first: at(1, 1),
            last: at(50, 50),
            ..ConnectionFacts::default()
        }
    }

    fn at(second: i64, packet: u64) -> PacketRef {
        use crate::decode::segment::PacketId;
        use crate::time::Timestamp;
        PacketRef { time: Timestamp(second * 1_000_000_000), packet: PacketId::new(0, packet) }
    }

    /// A segment from .3 to the client, answered by RST.
    fn stray(seq: u32, ack: u32) -> ConnectionFacts {
        let mut f = ConnectionFacts {
            client: host(1, 40_000),
            server: host(3, 8_080),
            mid_stream: true,
            first: at(20, 20),
            last: at(20, 21),
            ..ConnectionFacts::default()
        };
        f.s = Side { isn_known: false, segments: 1, ..side(0, seq) };
        f.c = Side { segments: 1, resets: 1, acked: Seq(ack), acked_known: true, ..Side::default() };
        f.c.reset = Some(Box::new(Reset { at: at(20, 21), seq: Seq(ack), ..Reset::default() }));
        f
    }

    fn found(f: &ConnectionFacts, stray: &ConnectionFacts) -> bool {
        let (mut strays, mut others) = (Strays::default(), Strays::default());
        others.record(stray);
        strays.merge(others);
        strays.of(f).is_some()
    }

    #[test]
    fn a_segment_belongs_to_the_connection_whose_numbers_it_has() {
        assert!(found(&live(), &stray(2_000, 1_501)));
        assert!(found(&live(), &stray(u32::MAX - 100, 1_200)));
        assert!(!found(&live(), &stray(2_000_000_000, 1_501)), "another sequence number");
        assert!(!found(&live(), &stray(2_000, 3_000_000_000)), "another acknowledgment number");
    }

    #[test]
    fn another_port_of_the_client_or_an_earlier_time_is_another_connection() {
        let other = ConnectionFacts { client: host(1, 40_001), ..stray(2_000, 1_501) };
        assert!(!found(&live(), &other));
        let before = ConnectionFacts { first: at(0, 0), ..stray(2_000, 1_501) };
        assert!(!found(&live(), &before));
    }

    #[test]
    fn the_same_reset_under_both_names_is_a_capture_of_both_sides() {
        let mut f = live();
        f.c.reset = Some(Box::new(Reset { seq: Seq(1_501), ..Reset::default() }));
        assert!(!found(&f, &stray(2_000, 1_501)));
    }

    #[test]
    fn a_conversation_is_no_stray() {
        let mut f = stray(2_000, 1_501);
        f.c.segments = 2;
        assert_eq!(Stray::of(&f), None);
    }

    #[test]
    fn a_scan_is_searched_in_part_whatever_the_order_of_merging() {
        let scan = |packets: std::ops::Range<u64>| {
            let mut strays = Strays::default();
            packets.for_each(|n| strays.record(&ConnectionFacts { first: at(20, n), ..stray(2_000, 1_501) }));
            strays
        };
        let [mut one, mut other] = [Strays::default(), Strays::default()];
        one.merge(scan(20..400));
        one.merge(scan(400..900));
        other.merge(scan(400..900));
        other.merge(scan(20..400));
        assert_eq!(one.by_receiver, other.by_receiver);
        assert_eq!(one.by_receiver.values().map(Vec::len).sum::<usize>(), OF_ONE);
        assert!(one.of(&live()).is_some());
    }

    #[test]
    fn an_open_connection_that_is_not_kept_is_known_by_its_numbers() {
        let mut strays = Strays::default();
        let mut open = live();
        open.mid_stream = true;
        strays.record_open(&open);
        strays.record(&stray(2_000, 1_501));
        let (home, role, _) = strays.connection_of(&stray(2_000, 1_501)).expect("it belongs to the open one");
        assert_eq!((home.server, role), (host(2, 80), Role::Client));
        assert!(strays.connection_of(&stray(2_000_000_000, 1_501)).is_none());
        strays.record_open(&ConnectionFacts { server: host(4, 80), ..open });
        assert!(strays.connection_of(&stray(2_000, 1_501)).is_none(), "two fit");
    }
}
