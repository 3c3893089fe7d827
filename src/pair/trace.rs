//! The packets of chosen connections at one point: read once more, for what the facts of a connection do not keep.

use std::collections::{HashMap, VecDeque};

use crate::capture::{Block, Source};
use crate::decode::segment::{Flags, Options, PacketId, Segment, Traits};
use crate::decode::{Decoded, decode_contained};
use crate::flow::facts::{ConnectionFacts, PacketRef, Role};
use crate::flow::key::{FlowKey, Host};
use crate::pair::clock::ClockOffset;
use crate::pair::listening::Listening;
use crate::seq::Seq;
use crate::time::{Span, Timestamp};

/// SYNs, FINs and RSTs that are kept of one connection.
const CONTROL: usize = 48;
/// Other segments that are kept: the first ones.
pub const HEAD: usize = 48;
/// And the last ones.
const TAIL: usize = 24;
/// What a connection costs at one point at most, bytes.
pub const COST: u64 = ((CONTROL + HEAD + TAIL) * size_of::<TracedSegment>()) as u64;
/// Copies of one packet in one capture come no further apart than this.
const COPY: Span = Span::millis(100);

/// A segment as one side saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TracedSegment {
    /// Packet, and time by the clock of the reference.
    pub at: PacketRef,
    /// The time by the clock of its own capture.
    pub own: Timestamp,
    /// Whether the client sent it.
    pub by_client: bool,
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgment number.
    pub ack: Seq,
    /// Control bits.
    pub flags: Flags,
    /// Bytes of payload.
    pub payload: u32,
    /// TSval and TSecr, where they were captured.
    pub stamps: Option<(u32, u32)>,
    /// IPv4 identification; 0 says nothing.
    pub ip_id: u16,
}

impl TracedSegment {
    /// The packet, with its time by the clock of its own capture.
    pub fn in_own_time(&self) -> PacketRef {
        PacketRef { time: self.own, ..self.at }
    }

    /// The end that sent it.
    pub fn sender(&self) -> Role {
        if self.by_client { Role::Client } else { Role::Server }
    }

    /// Whether it is a SYN of a client.
    pub fn is_syn(&self) -> bool {
        self.flags.has(Flags::SYN) && !self.flags.has(Flags::ACK)
    }

    /// Whether it is a SYN-ACK.
    pub fn is_syn_ack(&self) -> bool {
        self.flags.has(Flags::SYN | Flags::ACK)
    }

    /// Whether it opens or ends something: such segments are kept before others.
    pub fn is_control(&self) -> bool {
        self.flags.any(Flags::SYN | Flags::FIN | Flags::RST)
    }
}

/// A connection to be looked for.
#[derive(Clone, Default, Debug)]
pub struct Wanted {
    /// The client's initial sequence number, unless the connection was joined in the middle.
    pub isn: Option<Seq>,
    /// The server's, where a SYN-ACK was seen.
    pub server_isn: Option<Seq>,
    /// Timestamps of its SYNs.
    pub tsvals: Vec<u32>,
    /// Client and server by the names that points know them by. One where addresses are translated may know it twice.
    pub names: Vec<(usize, Host, Host)>,
}

impl Wanted {
    /// The connection of these facts, of `point`.
    pub fn of(f: &ConnectionFacts, point: usize) -> Wanted {
        let answered = f.syn_ack.count > 0;
        let by_answer = answered.then(|| f.syn_ack_ack.advance(u32::MAX));
        let stamped = f.syn_offer.options.has(Options::TIMESTAMPS);
        Wanted {
            isn: f.syn.first().map(|_| f.c.isn).or(by_answer),
            server_isn: (answered && f.s.isn_known).then_some(f.s.isn),
            tsvals: f.syn.iter().filter(|_| stamped).map(|s| s.tsval).collect(),
            names: vec![(point, f.client, f.server)],
        }
    }

    /// Whether both are one connection; the initial sequence numbers of their clients are the same.
    pub fn is(&self, other: &Wanted) -> bool {
        match (self.server_isn, other.server_isn) {
            (Some(a), Some(b)) => a == b,
            _ => {
                other.names.iter().any(|(_, client, server)| self.has_names(*client, *server))
                    || self.tsvals.iter().any(|v| other.tsvals.contains(v))
            }
        }
    }

    /// Whether both are one connection for sure, whatever their names: by the initial sequence numbers of both ends, or by a
    /// timestamp.
    pub fn is_translated(&self, other: &Wanted) -> bool {
        match (self.server_isn, other.server_isn) {
            (Some(a), Some(b)) => a == b,
            _ => self.tsvals.iter().any(|v| other.tsvals.contains(v)),
        }
    }

    /// Takes in what another point knows of it.
    pub fn merge(&mut self, other: &Wanted) {
        self.server_isn = self.server_isn.or(other.server_isn);
        self.tsvals.extend(&other.tsvals);
        self.names.extend(&other.names);
    }

    /// Whether some point knows it by these names.
    pub fn has_names(&self, client: Host, server: Host) -> bool {
        self.names.iter().any(|(_, c, s)| (*c, *s) == (client, server))
    }

    /// Client and server as a point knows them.
    pub fn names_at(&self, point: usize) -> Option<(Host, Host)> {
        self.names.iter().find(|(at, ..)| *at == point).map(|(_, client, server)| (*client, *server))
    }

    fn is_syn(&self, s: &Segment, client: Host, server: Host) -> bool {
        self.has_names(client, server) || s.timestamp().is_some_and(|tsval| self.tsvals.contains(&tsval))
    }

    fn is_syn_ack(&self, s: &Segment, client: Host, server: Host) -> bool {
        match self.server_isn {
            Some(isn) => isn == s.seq,
            None => self.has_names(client, server),
        }
    }
}

/// A connection as one side saw it.
#[derive(Clone, Default, Debug)]
pub struct Track {
    /// The client's name on this side.
    pub client: Host,
    /// The server's name on this side.
    pub server: Host,
    /// Its segments, in order of capture.
    pub segments: Vec<TracedSegment>,
    /// Some in the middle were left out.
    pub cut: bool,
}

#[derive(Default)]
struct Collecting {
    client: Host,
    server: Host,
    control: Vec<TracedSegment>,
    head: Vec<TracedSegment>,
    tail: VecDeque<TracedSegment>,
    cut: bool,
    /// The last few, to know copies by.
    recent: VecDeque<TracedSegment>,
}

impl Collecting {
    fn record(&mut self, seen: TracedSegment) {
        let copy = |known: &TracedSegment| {
            TracedSegment { at: seen.at, own: seen.own, ..*known } == seen
                && seen.at.time - known.at.time < COPY
        };
        // Without an IP ID or a timestamp a retransmission and a copy are alike: the timer tells them apart.
        if self.recent.iter().any(copy) {
            return;
        }
        self.recent.push_back(seen);
        if self.recent.len() > 8 {
            self.recent.pop_front();
        }
        if seen.is_control() && self.control.len() < CONTROL {
            self.control.push(seen);
        } else if self.head.len() < HEAD {
            self.head.push(seen);
        } else {
            self.tail.push_back(seen);
            if self.tail.len() > TAIL {
                self.tail.pop_front();
                self.cut = true;
            }
        }
    }

    fn done(self) -> Option<Track> {
        let mut segments = self.control;
        segments.extend(self.head);
        segments.extend(self.tail);
        segments.sort_by_key(|s| s.at);
        let Collecting { client, server, cut, .. } = self;
        (!segments.is_empty()).then_some(Track { client, server, segments, cut })
    }
}

/// Reads `source`, what one point captured, to its end for the connections `wanted`, which the point knows by its own names
/// where it does. One track for each, in the same order. Fills `listening` on the way.
pub fn collect(
    mut source: Box<dyn Source>,
    wanted: &[Wanted],
    (point, clock): (usize, ClockOffset),
    listening: &mut Listening,
) -> Vec<Option<Track>> {
    let mut search = Search::new(wanted, point);
    let (mut block, mut segment) = (Block::default(), Segment::default());
    while source.next_block(&mut block) {
        for packet in block.packets() {
            if decode_contained(&packet, &mut segment) == Decoded::Tcp {
                let own = std::mem::replace(&mut segment.time, clock.there(packet.time));
                search.follow(&segment, own);
                listening.record(&segment);
            }
        }
    }
    listening.finish();
    search.found.into_iter().map(Collecting::done).collect()
}

struct Search<'w> {
    wanted: &'w [Wanted],
    by_isn: HashMap<Seq, Vec<usize>>,
    /// Whose four-tuple it is now, and who is the client.
    current: HashMap<FlowKey, (usize, Host)>,
    found: Vec<Collecting>,
}

impl<'w> Search<'w> {
    fn new(wanted: &'w [Wanted], point: usize) -> Search<'w> {
        let mut search = Search {
            wanted,
            by_isn: HashMap::new(),
            current: HashMap::new(),
            found: wanted.iter().map(|_| Collecting::default()).collect(),
        };
        for (n, w) in wanted.iter().enumerate() {
            let other = || w.names.first().map(|(_, client, server)| (*client, *server));
            match (w.isn, w.names_at(point).or_else(other)) {
                (Some(isn), _) => search.by_isn.entry(isn).or_default().push(n),
                // Joined in the middle: known by its names alone, until a SYN takes them.
                (None, Some((client, server))) => search.begin(n, key(client, server), client, server),
                (None, None) => {}
            }
        }
        search
    }

    fn begin(&mut self, n: usize, key: FlowKey, client: Host, server: Host) {
        self.current.insert(key, (n, client));
        let found = &mut self.found[n];
        if found.control.is_empty() && found.head.is_empty() {
            (found.client, found.server) = (client, server);
        }
    }

    fn follow(&mut self, s: &Segment, own: Timestamp) {
        let (key, _) = FlowKey::of(s);
        let from = Host { address: s.src, port: s.src_port };
        let to = Host { address: s.dst, port: s.dst_port };
        if s.flags.has(Flags::SYN) {
            let answer = s.flags.has(Flags::ACK);
            let (isn, client, server) =
                if answer { (s.ack.advance(u32::MAX), to, from) } else { (s.seq, from, to) };
            let candidates = self.by_isn.get(&isn).map_or(&[][..], Vec::as_slice);
            let found = candidates.iter().copied().find(|&n| {
                let w = &self.wanted[n];
                if answer { w.is_syn_ack(s, client, server) } else { w.is_syn(s, client, server) }
            });
            match found {
                Some(n) => self.begin(n, key, client, server),
                // Another connection takes the four-tuple.
                None if !answer => {
                    self.current.remove(&key);
                }
                None => {}
            }
        }
        let Some(&(n, client)) = self.current.get(&key) else { return };
        let found = &mut self.found[n];
        let stamps = s.options.has(Options::TIMESTAMPS).then_some((s.tsval, s.tsecr));
        found.record(TracedSegment {
            at: PacketRef::of(s),
            own,
            by_client: from == client,
            seq: s.seq,
            ack: if s.flags.has(Flags::ACK) { s.ack } else { Seq(0) },
            flags: s.flags & (Flags::SYN | Flags::FIN | Flags::RST | Flags::ACK),
            payload: s.payload,
            stamps: stamps.filter(|_| !s.traits.has(Traits::OPTIONS_CUT)),
            ip_id: s.ip_id,
        });
    }
}

fn key(client: Host, server: Host) -> FlowKey {
    let ends = Segment {
        src: client.address,
        src_port: client.port,
        dst: server.address,
        dst_port: server.port,
        ..Segment::default()
    };
    FlowKey::of(&ends).0
}

impl Track {
    /// The place of a packet in [`Track::segments`].
    pub fn place(&self, packet: PacketId) -> Option<usize> {
        self.segments.iter().position(|s| s.at.packet == packet)
    }
}
