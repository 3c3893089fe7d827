//! The packets of chosen connections at one point. The capture is read once more for them, since the facts of a
//! connection do not keep all packets.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::capture::{Block, Source};
use crate::decode::segment::{Flags, PacketId, Segment, TcpOptions, Traits};
use crate::decode::{Decoded, decode_contained};
use crate::flow::facts::{ConnectionFacts, PacketRef, Role};
use crate::flow::key::{FlowKey, Host};
use crate::flow::tracker::{SHARDS, shard_of};
use crate::pair::clock::ClockOffset;
use crate::pair::listening::{Listening, TimestampOptions};
use crate::seq::Seq;
use crate::time::{Span, Timestamp};

/// SYNs, FINs and RSTs that are kept of one connection.
const CONTROL: usize = 48;
/// Other segments that are kept: the first ones.
pub const HEAD: usize = 48;
/// And the last ones.
const TAIL: usize = 24;
/// Memory that a connection takes at one point at most, bytes.
pub const COST: u64 = ((CONTROL + HEAD + TAIL) * size_of::<TracedSegment>()) as u64;
/// Copies of one packet in one capture come no further apart than this.
const COPY: Span = Span::millis(100);

/// A segment as one side saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
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
    pub fn with_own_clock(&self) -> PacketRef {
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
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct SoughtConnection {
    /// The client's initial sequence number, unless the connection was joined in the middle.
    pub isn: Option<Seq>,
    /// The server's initial sequence number, where a SYN-ACK was seen.
    pub server_isn: Option<Seq>,
    /// Timestamps of its SYNs.
    pub tsvals: Vec<u32>,
    /// Client and server by the names that points know them by. A point where addresses are translated may know the
    /// connection by two.
    pub names: Vec<(usize, Host, Host)>,
}

impl SoughtConnection {
    /// The connection of these facts, of `point`.
    pub fn of(f: &ConnectionFacts, point: usize) -> SoughtConnection {
        let answered = f.syn_ack.count > 0;
        let by_answer = answered.then(|| f.syn_ack_ack.advance(u32::MAX));
        let stamped = f.syn_offer.options.has(TcpOptions::TIMESTAMPS);
        SoughtConnection {
            isn: f.syn.first().map(|_| f.c.isn).or(by_answer),
            server_isn: (answered && f.s.isn_known).then_some(f.s.isn),
            tsvals: f.syn.iter().filter(|_| stamped).map(|s| s.tsval).collect(),
            names: vec![(point, f.client, f.server)],
        }
    }

    /// Whether both are one connection, given that their clients' initial sequence numbers are the same.
    pub fn is(&self, other: &SoughtConnection) -> bool {
        match (self.server_isn, other.server_isn) {
            (Some(a), Some(b)) => a == b,
            _ => {
                other.names.iter().any(|(_, client, server)| self.has_names(*client, *server))
                    || self.tsvals.iter().any(|v| other.tsvals.contains(v))
            }
        }
    }

    /// Whether both are certainly one connection, whatever their names: by the initial sequence numbers of both ends,
    /// or by a timestamp.
    pub fn is_translated(&self, other: &SoughtConnection) -> bool {
        match (self.server_isn, other.server_isn) {
            (Some(a), Some(b)) => a == b,
            _ => self.tsvals.iter().any(|v| other.tsvals.contains(v)),
        }
    }

    /// Takes in what another point knows of it.
    pub fn merge(&mut self, other: &SoughtConnection) {
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
    /// Some segments in the middle were left out.
    pub cut: bool,
}

#[derive(Default, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
struct TraceCollector {
    client: Host,
    server: Host,
    control: Vec<TracedSegment>,
    head: Vec<TracedSegment>,
    tail: VecDeque<TracedSegment>,
    cut: bool,
    /// The last few segments, by which copies are recognised.
    #[cfg_attr(feature = "fleet", serde(skip))]
    recent: VecDeque<TracedSegment>,
}

impl TraceCollector {
    fn record(&mut self, seen: TracedSegment) {
        let copy = |known: &TracedSegment| {
            TracedSegment { at: seen.at, own: seen.own, ..*known } == seen
                && seen.at.time - known.at.time < COPY
        };
        // Without an IP ID or a timestamp a retransmission looks like a copy; the retransmission timer tells them
        // apart.
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

    /// Joins the parts of one connection, which has several four-tuples where addresses are translated.
    fn join(mut parts: Vec<TraceCollector>) -> Option<TraceCollector> {
        if parts.len() < 2 {
            return parts.pop();
        }
        let first = |part: &TraceCollector| part.segments().map(|s| s.at).min();
        let earliest = parts.iter().min_by_key(|part| first(part))?;
        let mut all = TraceCollector {
            client: earliest.client,
            server: earliest.server,
            cut: parts.iter().any(|part| part.cut),
            ..TraceCollector::default()
        };
        let mut segments: Vec<TracedSegment> =
            parts.iter().flat_map(TraceCollector::segments).copied().collect();
        segments.sort_by_key(|s| s.at);
        segments.into_iter().for_each(|segment| all.record(segment));
        Some(all)
    }

    fn segments(&self) -> impl Iterator<Item = &TracedSegment> {
        self.control.iter().chain(&self.head).chain(&self.tail)
    }

    fn done(self) -> Option<Track> {
        let mut segments = self.control;
        segments.extend(self.head);
        segments.extend(self.tail);
        segments.sort_by_key(|s| s.at);
        let TraceCollector { client, server, cut, .. } = self;
        (!segments.is_empty()).then_some(Track { client, server, segments, cut })
    }
}

/// The packets to search for at all points, known once each has been examined by itself.
#[derive(Clone, Default, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Request {
    /// The connections.
    pub wanted: Vec<SoughtConnection>,
    /// Point by point.
    pub points: Vec<PointRequest>,
    /// Whether all captures have the timestamps option.
    pub stamps: TimestampOptions,
}

/// The packets to search for at one point, beside the connections.
#[derive(Clone, Default, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct PointRequest {
    /// The servers of the connections, as the point knows them.
    pub servers: Vec<Host>,
    /// Its time in terms of the reference.
    pub clock: ClockOffset,
}

/// Looks at one part of the segments of a point, those of some four-tuples.
pub struct Tracing<'r> {
    search: Search<'r>,
    listening: Listening,
    clock: ClockOffset,
}

/// Packets that were searched for and found in one part of a point's segments.
#[derive(Default, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Traced {
    /// By the place of the connection in the request.
    found: BTreeMap<usize, TraceCollector>,
    listening: Listening,
}

/// What the segments of a point hold: the packets of each connection, and when the point was listening.
pub type PointTraces = (Vec<Option<Track>>, Listening);

impl<'r> Tracing<'r> {
    /// Begins to look at what `point` captured.
    pub fn new(request: &'r Request, point: usize) -> Tracing<'r> {
        let PointRequest { servers, clock } = request.points.get(point).cloned().unwrap_or_default();
        Tracing {
            search: Search::new(&request.wanted, point),
            listening: Listening::of_part(servers.into_iter().collect(), request.stamps),
            clock,
        }
    }

    /// The next segment, with its time by the clock of its own capture.
    pub fn segment(&mut self, mut segment: Segment) {
        if segment.traits.has(Traits::ICMP_ERROR) {
            return;
        }
        let own = segment.time;
        segment.time = self.clock.there(own);
        self.search.follow(&segment, own);
        self.listening.record(&segment);
    }

    /// What there was.
    pub fn finish(mut self) -> Traced {
        self.listening.finish();
        Traced { found: self.search.found, listening: self.listening }
    }
}

impl Traced {
    /// Puts together what all parts of the segments of `point` hold.
    pub fn join(parts: impl IntoIterator<Item = Traced>, request: &Request, point: usize) -> PointTraces {
        let servers = request.points.get(point).map(|own| own.servers.iter().copied().collect());
        let mut listening = Listening::to(servers.unwrap_or_default(), request.stamps);
        let mut all: BTreeMap<usize, Vec<TraceCollector>> = BTreeMap::new();
        for part in parts {
            listening.merge(part.listening);
            part.found.into_iter().for_each(|(n, found)| all.entry(n).or_default().push(found));
        }
        let track = |n| TraceCollector::join(all.remove(&n)?)?.done();
        ((0..request.wanted.len()).map(track).collect(), listening)
    }
}

/// Reads `source`, the captures of `point`, to its end, and collects the packets that `request` asks for.
pub fn collect(mut source: Box<dyn Source>, request: &Request, point: usize) -> PointTraces {
    let mut parts: Vec<Tracing<'_>> = (0..SHARDS).map(|_| Tracing::new(request, point)).collect();
    let (mut block, mut segment) = (Block::default(), Segment::default());
    while source.next_block(&mut block) {
        for packet in block.packets() {
            if decode_contained(&packet, &mut segment) == Decoded::Tcp {
                parts[shard_of(segment.hash)].segment(segment);
            }
        }
    }
    Traced::join(parts.into_iter().map(Tracing::finish), request, point)
}

struct Search<'w> {
    wanted: &'w [SoughtConnection],
    by_isn: HashMap<Seq, Vec<usize>>,
    /// The connection that has this four-tuple now, and its names.
    current: HashMap<FlowKey, (usize, Host, Host)>,
    found: BTreeMap<usize, TraceCollector>,
}

impl<'w> Search<'w> {
    fn new(wanted: &'w [SoughtConnection], point: usize) -> Search<'w> {
        let mut search =
            Search { wanted, by_isn: HashMap::new(), current: HashMap::new(), found: BTreeMap::new() };
        for (n, w) in wanted.iter().enumerate() {
            let other = || w.names.first().map(|(_, client, server)| (*client, *server));
            match (w.isn, w.names_at(point).or_else(other)) {
                (Some(isn), _) => search.by_isn.entry(isn).or_default().push(n),
                // A connection joined in the middle is known by its names alone, until a SYN takes them over.
                (None, Some((client, server))) => {
                    search.current.insert(key(client, server), (n, client, server));
                }
                (None, None) => {}
            }
        }
        search
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
                Some(n) => {
                    self.current.insert(key, (n, client, server));
                }
                // Another connection takes the four-tuple.
                None if !answer => {
                    self.current.remove(&key);
                }
                None => {}
            }
        }
        let Some(&(n, client, server)) = self.current.get(&key) else { return };
        let found = self.found.entry(n).or_insert_with(|| TraceCollector {
            client,
            server,
            ..TraceCollector::default()
        });
        let stamps = s.options.has(TcpOptions::TIMESTAMPS).then_some((s.tsval, s.tsecr));
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
