//! Packet ladders for tests: what a capture point sees of connections, written as a networker would draw it.
//!
//! ```text
//! let wire = Wire::at_server();
//! let l = wire.ladder(1);
//! l.client.syn(0.0);
//! l.server.syn_ack(0.0001);
//! l.client.ack(0.02);
//! l.server.syn_ack(1.02);          // the same again: a retransmission
//! l.client.data(1.5, 100).lost();  // sent, but the capture does not hold it
//! ```
//!
//! Times are seconds at the capture point. Each end keeps its sequence numbers, IP IDs and timestamp clock as Linux
//! does; whatever a test needs otherwise is changed on the [`SentSegment`] that every call returns. The segments go to a
//! [`Tracker`] ([`Wire::facts`]), or as real packets to the whole program ([`Wire::packets`]).

mod bytes;
pub mod courses;

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use crate::capture::LinkType;
use crate::decode::segment::{Flags, PacketId, Segment, TcpOptions, Traits, flow_hash};
use crate::flow::facts::{ConnectionFacts, Role};
use crate::flow::key::Host;
use crate::flow::tracker::Tracker;
use crate::seq::Seq;
use crate::time::Timestamp;

/// Second 0 of every ladder: 2023-11-14T22:13:20Z.
const EPOCH: i64 = 1_700_000_000;
/// Nothing answers faster than this, seconds.
const INSTANT: f64 = 0.000_06;
/// What a SYN of Linux carries.
const SYN_OPTIONS: TcpOptions =
    TcpOptions::MSS.with(TcpOptions::SACK_PERMITTED).with(TcpOptions::WINDOW_SCALE);

/// The point of ladder time `t`, seconds.
pub fn at(t: f64) -> Timestamp {
    Timestamp(EPOCH * 1_000_000_000 + (t * 1e9).round() as i64)
}

/// A capture being made, and where.
#[derive(Clone)]
pub struct Wire {
    log: Rc<RefCell<Vec<CapturedSegment>>>,
    /// From the capture point to the server and back, and to the client and back, seconds.
    pub to_server: f64,
    /// See `to_server`.
    pub to_client: f64,
    ttl: (u8, u8),
    v6: bool,
    stamps: bool,
    file: u32,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.segments()).finish()
    }
}

/// A segment, sent and perhaps captured.
struct CapturedSegment {
    /// The captures that were joined, in order.
    file: u32,
    segment: Segment,
    captured: bool,
}

impl Wire {
    fn seen_from(to_server: f64, to_client: f64, ttl: (u8, u8)) -> Wire {
        Wire { log: Rc::default(), to_server, to_client, ttl, v6: false, stamps: true, file: 0 }
    }

    /// Captured on the server's host, the clients are 20 ms away.
    pub fn at_server() -> Wire {
        Wire::seen_from(INSTANT, 0.02, (57, 64))
    }

    /// Captured on the client's host.
    pub fn at_client() -> Wire {
        Wire::seen_from(0.02, INSTANT, (64, 57))
    }

    /// Captured half way.
    pub fn between() -> Wire {
        Wire::seen_from(0.012, 0.008, (61, 60))
    }

    /// Captured on a local network where nothing tells the ends apart.
    pub fn anywhere() -> Wire {
        Wire::seen_from(INSTANT, INSTANT, (64, 64))
    }

    /// One of each kind of capture point.
    pub fn everywhere() -> [Wire; 4] {
        [Wire::at_server(), Wire::at_client(), Wire::between(), Wire::anywhere()]
    }

    /// The same point with this round trip, divided as before.
    pub fn round_trip(mut self, seconds: f64) -> Wire {
        let part = self.to_server / (self.to_server + self.to_client);
        (self.to_server, self.to_client) = (seconds * part, seconds * (1.0 - part));
        self
    }

    /// All ladders made from here on are IPv6.
    pub fn v6(mut self) -> Wire {
        self.v6 = true;
        self
    }

    /// The clients of all ladders made from here on offer no timestamps.
    pub fn without_timestamps(mut self) -> Wire {
        self.stamps = false;
        self
    }

    /// The connection number `n` (port 40000 + n) of one client host to port 80 of one server host.
    pub fn ladder(&self, n: u16) -> Ladder {
        self.between_hosts(1, 40_000 + n, 80)
    }

    /// The connection of the client host `host` (1 to 250) number `n`, to port 80.
    pub fn of_host(&self, host: u8, n: u16) -> Ladder {
        self.between_hosts(host, 40_000 + n, 80)
    }

    /// A connection from any port of the client host number `host` to any port of the server host.
    pub fn between_hosts(&self, host: u8, client_port: u16, server_port: u16) -> Ladder {
        let (client, server): (IpAddr, IpAddr) = if self.v6 {
            (
                [0x2001, 0xdb8, 1, 0, 0, 0, 0, u16::from(host)].into(),
                [0x2001, 0xdb8, 2, 0, 0, 0, 0, 80].into(),
            )
        } else {
            ([10, 0, 0, host].into(), [192, 0, 2, 80].into())
        };
        let client = Host { address: client.into(), port: client_port };
        let server = Host { address: server.into(), port: server_port };
        self.between_sockets(client, server)
    }

    /// A connection from any socket to any other.
    pub fn between_sockets(&self, client: Host, server: Host) -> Ladder {
        let salt = u32::from(client.port).wrapping_mul(2_654_435_761) ^ u32::from(server.port) << 9;
        Ladder::new(self, [client, server], [salt | 1, salt.rotate_left(16) ^ 0x5bd1_e995])
    }

    /// Packets from here on are in another file, which is joined to those before.
    pub fn next_file(&mut self) {
        self.file += 1;
    }

    /// Keeps only what a capture filter lets pass, of all that was sent so far.
    pub fn keep(&self, filter: impl Fn(&Segment) -> bool) {
        self.log.borrow_mut().iter_mut().for_each(|shot| shot.captured &= filter(&shot.segment));
    }

    /// Whether the clients of new ladders offer timestamps.
    pub fn has_timestamps(&self) -> bool {
        self.stamps
    }

    /// Whether new ladders are IPv6.
    pub fn is_v6(&self) -> bool {
        self.v6
    }

    /// Everything that was captured, in capture order and numbered.
    pub fn segments(&self) -> Vec<Segment> {
        let log = self.log.borrow();
        let mut captured: Vec<&CapturedSegment> = log.iter().filter(|shot| shot.captured).collect();
        captured.sort_by_key(|shot| (shot.file, shot.segment.time));
        let number = |(n, shot): (usize, &&CapturedSegment)| Segment {
            packet: PacketId::new(0, n as u64 + 1),
            ..shot.segment
        };
        captured.iter().enumerate().map(number).collect()
    }

    /// The same as packets: raw IP, or cooked where a segment says which way it went.
    pub fn packets(&self) -> Vec<(Timestamp, LinkType, Vec<u8>)> {
        self.segments().iter().map(bytes::packet).collect()
    }

    /// What a tracker makes of it, in order of the connections' first packets.
    pub fn facts(&self) -> Vec<ConnectionFacts> {
        let mut tracker = Tracker::new(1 << 16);
        self.segments().iter().for_each(|s| tracker.segment(s));
        tracker.finish();
        let mut facts: Vec<_> = tracker.drain_finished().collect();
        facts.sort_by_key(|f| f.first);
        facts
    }

    /// The facts of the only connection.
    #[track_caller]
    pub fn only(&self) -> ConnectionFacts {
        let mut facts = self.facts();
        assert_eq!(facts.len(), 1, "one connection was expected");
        facts.remove(0)
    }
}

/// One connection.
pub struct Ladder {
    /// The end that connects.
    pub client: LadderEnd,
    /// The end that listens.
    pub server: LadderEnd,
    wire: Wire,
}

impl Ladder {
    fn new(wire: &Wire, hosts: [Host; 2], isns: [u32; 2]) -> Ladder {
        let socket = |role: Role| {
            let (isn, ttl) = match role {
                Role::Client => (isns[0], wire.ttl.0),
                Role::Server => (isns[1], wire.ttl.1),
            };
            Socket {
                host: hosts[role as usize],
                isn: Seq(isn),
                next: Seq(isn),
                acked: Seq(isn),
                stamps: wire.stamps,
                clock: if role == Role::Client { 1_000_000 } else { 7_000_000 },
                recent: 0,
                asked: 0,
                ip_id: isn as u16 | 0x1000,
                ttl,
                latest: None,
                syns: 0,
            }
        };
        let ties = Rc::new(RefCell::new([socket(Role::Client), socket(Role::Server)]));
        let end = |role| LadderEnd { role, sockets: Rc::clone(&ties), wire: wire.clone() };
        Ladder { client: end(Role::Client), server: end(Role::Server), wire: wire.clone() }
    }

    /// The same four-tuple once more, with these initial sequence numbers.
    pub fn reused(&self, client_isn: u32, server_isn: u32) -> Ladder {
        let hosts = [self.client.host(), self.server.host()];
        Ladder::new(&self.wire, hosts, [client_isn, server_isn])
    }

    /// Starts over with these initial sequence numbers. Before the first segment.
    pub fn numbered(self, client_isn: u32, server_isn: u32) -> Ladder {
        self.reused(client_isn, server_isn)
    }

    /// SYN, SYN-ACK, final ACK; returns when the ACK passes.
    pub fn handshake(&self, t: f64) -> f64 {
        self.client.syn(t);
        self.server.syn_ack(t + self.wire.to_server);
        let done = t + self.wire.to_server + self.wire.to_client;
        self.client.ack(done);
        done
    }

    /// A request that the server answers at once, and the acknowledgments; returns when the last one passes.
    pub fn exchange(&self, t: f64, request: u32, response: u32) -> f64 {
        self.client.data(t, request);
        let answered = t + self.wire.to_server;
        self.server.ack(answered);
        self.server.data(answered + 0.000_1, response);
        self.client.ack(answered + 0.000_1 + self.wire.to_client);
        answered + 0.000_1 + self.wire.to_client
    }

    /// Both FINs and their acknowledgments, `first` closes first; returns when the last one passes.
    pub fn close(&self, t: f64, first: Role) -> f64 {
        let (a, b, there, back) = match first {
            Role::Client => (&self.client, &self.server, self.wire.to_server, self.wire.to_client),
            Role::Server => (&self.server, &self.client, self.wire.to_client, self.wire.to_server),
        };
        a.fin(t);
        b.fin(t + there);
        a.ack(t + there + back);
        t + there + back
    }

    /// An ordinary connection from begin to end; returns when its last packet passes.
    pub fn served(&self, t: f64) -> f64 {
        let t = self.handshake(t);
        let t = self.exchange(t + 0.000_1, 120, 1_000);
        self.close(t + 0.001, Role::Client)
    }

    /// The client's socket as the report prints it.
    pub fn name(&self) -> String {
        self.client.host().socket().to_string()
    }
}

/// What a host knows of its connection.
struct Socket {
    host: Host,
    isn: Seq,
    /// SND.NXT.
    next: Seq,
    /// The acknowledgment number of its last segment.
    acked: Seq,
    stamps: bool,
    /// TSval at ladder second 0; it ticks a thousand times a second.
    clock: u32,
    /// TS.Recent, which it echoes.
    recent: u32,
    /// TSval of the first SYN that it sent: what the request keeps.
    asked: u32,
    ip_id: u16,
    ttl: u8,
    /// Its last segment that took sequence space.
    latest: Option<Segment>,
    syns: u32,
}

/// One end of a connection. Its methods send segments.
pub struct LadderEnd {
    role: Role,
    sockets: Rc<RefCell<[Socket; 2]>>,
    wire: Wire,
}

impl LadderEnd {
    /// Its address and port.
    pub fn host(&self) -> Host {
        self.sockets.borrow()[self.role as usize].host
    }

    /// Its initial sequence number.
    pub fn isn(&self) -> Seq {
        self.sockets.borrow()[self.role as usize].isn
    }

    /// SND.NXT.
    pub fn next(&self) -> Seq {
        self.sockets.borrow()[self.role as usize].next
    }

    /// Its timestamp clock at second 0.
    pub fn set_clock(&self, clock: u32) {
        self.sockets.borrow_mut()[self.role as usize].clock = clock;
    }

    /// The SYN, or the same SYN again.
    pub fn syn(&self, t: f64) -> SentSegment {
        let isn = self.isn();
        let options = self.stamp(SYN_OPTIONS);
        let mut syn = self.segment(t, Flags::SYN, isn, Seq(0), 0);
        (syn.options, syn.mss, syn.window_scale, syn.window, syn.tsecr) = (options, 1460, 7, 64_240, 0);
        {
            let own = &mut self.sockets.borrow_mut()[self.role as usize];
            own.syns += 1;
            if own.syns == 1 {
                own.asked = syn.tsval;
            }
        }
        self.send(syn)
    }

    /// The SYN-ACK, or the same SYN-ACK again: it echoes the SYN that was answered first.
    pub fn syn_ack(&self, t: f64) -> SentSegment {
        let peer = self.peer_socket(|peer| (peer.isn, peer.stamps, peer.asked));
        let mut s = self.segment(t, Flags::SYN | Flags::ACK, self.isn(), peer.0.advance(1), 0);
        s.options = SYN_OPTIONS | TcpOptions::TIMESTAMPS.only_if(peer.1);
        (s.mss, s.window_scale, s.window, s.ip_id, s.tsecr) = (1460, 7, 65_160, 0, peer.2);
        self.sockets.borrow_mut()[self.role as usize].syns += 1;
        self.send(s)
    }

    /// A pure acknowledgment of everything that the peer has sent.
    pub fn ack(&self, t: f64) -> SentSegment {
        self.raw(t, Flags::ACK, self.next(), self.peer_next(), 0)
    }

    /// New payload.
    pub fn data(&self, t: f64, bytes: u32) -> SentSegment {
        self.raw(t, Flags::PSH | Flags::ACK, self.next(), self.peer_next(), bytes)
    }

    /// No more to send.
    pub fn fin(&self, t: f64) -> SentSegment {
        self.raw(t, Flags::FIN | Flags::ACK, self.next(), self.peer_next(), 0)
    }

    /// The last payload or FIN again, with a new IP ID and TSval.
    pub fn again(&self, t: f64) -> SentSegment {
        let latest = self.sockets.borrow()[self.role as usize].latest.expect("something was sent before");
        self.raw(t, latest.flags, latest.seq, self.peer_next(), latest.payload)
    }

    /// A keepalive probe of Linux: no payload, one byte back.
    pub fn keepalive(&self, t: f64) -> SentSegment {
        self.raw(t, Flags::ACK, Seq(self.next().0.wrapping_sub(1)), self.peer_next(), 0)
    }

    /// A keepalive probe of other stacks: the last byte again.
    pub fn keepalive_with_byte(&self, t: f64) -> SentSegment {
        self.raw(t, Flags::ACK, Seq(self.next().0.wrapping_sub(1)), self.peer_next(), 1)
    }

    /// RST of a host without a socket, in answer to a segment with ACK: its sequence number is what that acknowledged.
    pub fn rst(&self, t: f64) -> SentSegment {
        let seq = self.peer_socket(|peer| peer.acked);
        self.send(self.bare(t, Flags::RST, seq, Seq(0)))
    }

    /// RST of a host without a socket, in answer to a SYN.
    pub fn refuse(&self, t: f64) -> SentSegment {
        let ack = self.peer_socket(|peer| peer.isn.advance(1));
        self.send(self.bare(t, Flags::RST | Flags::ACK, Seq(0), ack))
    }

    /// RST of a socket that is aborted.
    pub fn abort(&self, t: f64) -> SentSegment {
        self.raw(t, Flags::RST | Flags::ACK, self.next(), self.peer_next(), 0)
    }

    /// Any segment; it moves SND.NXT on if it reaches beyond it.
    pub fn raw(&self, t: f64, flags: Flags, seq: Seq, ack: Seq, bytes: u32) -> SentSegment {
        let mut s = self.segment(t, flags, seq, ack, bytes);
        s.options = self.stamp(TcpOptions::NONE);
        self.send(s)
    }

    /// An ICMP error of `kind` and `code` quotes the last segment of this end that took sequence space.
    pub fn quoted_by_icmp(&self, t: f64, kind: u8, code: u8) -> SentSegment {
        let mut s = self.sockets.borrow()[self.role as usize].latest.expect("something was sent before");
        s.time = at(t);
        s.window = u16::from(kind) << 8 | u16::from(code);
        s.traits |= Traits::ICMP_ERROR;
        (s.ttl, s.tos, s.mss) = (60, 0, 0);
        (s.options, s.tsval, s.tsecr, s.flags, s.payload) = Default::default();
        self.log(s)
    }

    fn stamp(&self, options: TcpOptions) -> TcpOptions {
        let sockets = self.sockets.borrow();
        let negotiated =
            sockets.iter().all(|socket| socket.stamps) || sockets[0].stamps && sockets[1].syns == 0;
        options | TcpOptions::TIMESTAMPS.only_if(negotiated)
    }

    fn peer_socket<T>(&self, f: impl Fn(&Socket) -> T) -> T {
        f(&self.sockets.borrow()[self.role.peer() as usize])
    }

    /// What acknowledges everything that the peer has sent.
    fn peer_next(&self) -> Seq {
        self.peer_socket(|peer| peer.next)
    }

    fn bare(&self, t: f64, flags: Flags, seq: Seq, ack: Seq) -> Segment {
        let mut s = self.segment(t, flags, seq, ack, 0);
        (s.window, s.ip_id, s.tsval, s.tsecr) = (0, 0, 0, 0);
        s
    }

    fn segment(&self, t: f64, flags: Flags, seq: Seq, ack: Seq, bytes: u32) -> Segment {
        let mut sockets = self.sockets.borrow_mut();
        let peer = sockets[self.role.peer() as usize].host;
        let own = &mut sockets[self.role as usize];
        own.ip_id = own.ip_id.wrapping_add(1).max(1);
        let v6 = own.host.address.ip().is_ipv6();
        Segment {
            time: at(t),
            hash: flow_hash(own.host.address, own.host.port, peer.address, peer.port),
            src: own.host.address,
            dst: peer.address,
            src_port: own.host.port,
            dst_port: peer.port,
            seq,
            ack,
            payload: bytes,
            window: 502,
            ip_id: if v6 { 0 } else { own.ip_id },
            tsval: own.clock.wrapping_add((t * 1_000.0) as i64 as u32),
            tsecr: own.recent,
            flags,
            ttl: own.ttl,
            traits: if v6 { Traits::V6 } else { Traits::DF },
            ..Segment::default()
        }
    }

    /// Moves both ends on and logs the segment.
    fn send(&self, mut s: Segment) -> SentSegment {
        let stamped = s.options.has(TcpOptions::TIMESTAMPS);
        if !stamped {
            (s.tsval, s.tsecr) = (0, 0);
        }
        {
            let sockets = &mut *self.sockets.borrow_mut();
            let own = &mut sockets[self.role as usize];
            let in_order = s.seq.at_or_after(own.isn) && !s.seq.after(own.next);
            if in_order && s.end().after(own.next) {
                own.next = s.end();
            }
            if s.length() > 0 {
                own.latest = Some(s);
            }
            if s.flags.has(Flags::ACK) {
                own.acked = s.ack;
            }
            // A repeated SYN or SYN-ACK is not taken: TS.Recent stays.
            let repeated = s.flags.has(Flags::SYN) && own.syns > 1;
            let peer = &mut sockets[self.role.peer() as usize];
            if stamped && !repeated {
                peer.recent = s.tsval;
            }
        }
        self.log(s)
    }

    fn log(&self, segment: Segment) -> SentSegment {
        let mut log = self.wire.log.borrow_mut();
        log.push(CapturedSegment { file: self.wire.file, segment, captured: true });
        SentSegment { log: Rc::clone(&self.wire.log), at: log.len() - 1 }
    }
}

/// A segment just sent. Its methods change one thing about it.
pub struct SentSegment {
    log: Rc<RefCell<Vec<CapturedSegment>>>,
    at: usize,
}

impl SentSegment {
    /// Changes anything.
    pub fn with(self, change: impl FnOnce(&mut Segment)) -> SentSegment {
        change(&mut self.log.borrow_mut()[self.at].segment);
        self
    }

    /// Sent, but not in the capture.
    pub fn lost(self) -> SentSegment {
        self.log.borrow_mut()[self.at].captured = false;
        self
    }

    /// Captured a second time, `seconds` later.
    pub fn twice(self, seconds: f64) -> SentSegment {
        self.copied(seconds, |_| ())
    }

    /// Captured a second time behind a router: one less to live.
    pub fn twice_routed(self, seconds: f64) -> SentSegment {
        self.copied(seconds, |s| s.ttl -= 1)
    }

    fn copied(self, seconds: f64, change: impl FnOnce(&mut Segment)) -> SentSegment {
        {
            let mut log = self.log.borrow_mut();
            let CapturedSegment { file, mut segment, .. } = log[self.at];
            segment.time.0 += (seconds * 1e9) as i64;
            change(&mut segment);
            log.push(CapturedSegment { file, segment, captured: true });
        }
        self
    }

    /// Another time to live.
    pub fn ttl(self, ttl: u8) -> SentSegment {
        self.with(|s| s.ttl = ttl)
    }

    /// Another type of service.
    pub fn tos(self, tos: u8) -> SentSegment {
        self.with(|s| s.tos = tos)
    }

    /// Another IP ID.
    pub fn ip_id(self, id: u16) -> SentSegment {
        self.with(|s| s.ip_id = id)
    }

    /// Another acknowledgment number.
    pub fn acks(self, ack: Seq) -> SentSegment {
        self.with(|s| s.ack = ack)
    }

    /// Another echo.
    pub fn echoes(self, tsecr: u32) -> SentSegment {
        self.with(|s| s.tsecr = tsecr)
    }

    /// Other options than its end would send.
    pub fn options(self, options: TcpOptions) -> SentSegment {
        self.with(|s| s.options = options)
    }

    /// The segment as it stands.
    pub fn segment(&self) -> Segment {
        self.log.borrow()[self.at].segment
    }
}
