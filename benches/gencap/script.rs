//! What happens in one flow, packet by packet, as seen near the server.
//!
//! The scripts are schematic: they are there to measure speed and memory. They are no evidence of what a kernel does.

use std::str::FromStr;

use super::rng::Rng;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

pub const MICROSECOND: u64 = 1_000;
pub const MILLISECOND: u64 = 1_000_000;
pub const SECOND: u64 = 1_000_000_000;

/// TCP payload of a full segment with timestamps on Ethernet.
const FULL: u16 = 1448;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}
use Direction::{ToClient, ToServer};

impl Direction {
    fn reversed(self) -> Direction {
        match self {
            ToServer => ToClient,
            ToClient => ToServer,
        }
    }
}

/// TCP options of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Options {
    /// A bare header of 20 bytes.
    None,
    /// Timestamps.
    Timestamps,
    /// Those of a SYN: maximum segment size, SACK-permitted, timestamps, window scale.
    Syn,
    /// Maximum segment size only: what a SYN cookie without timestamps leaves.
    MssOnly,
}

/// What the payload holds, so that dissectors find well-formed protocols.
#[derive(Clone, Copy)]
pub enum Body {
    Filler,
    HttpRequest,
    /// The start of a response of this many bytes in all.
    HttpResponse(u32),
    DnsQuery,
    /// The answer to a query of this many bytes.
    DnsAnswer(u16),
}

/// Whose timestamp clock a client's packet shows: two hosts may share one address behind a NAT.
#[derive(Clone, Copy)]
pub enum Host {
    First,
    Second,
}

#[derive(Clone, Copy)]
pub struct Packet {
    /// Nanoseconds since the start of the capture.
    pub time: u64,
    pub seq: u32,
    pub ack: u32,
    /// Bytes of payload.
    pub len: u16,
    /// Added to the flow's client port.
    pub port: u16,
    pub direction: Direction,
    /// TCP control bits; the message type for ICMP.
    pub flags: u8,
    pub options: Options,
    pub body: Body,
    pub host: Host,
}

/// Declares the kinds of flow once: the type, the list and the names.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Kind { $($(#[$doc])* $name),+ }

        impl Kind {
            pub const ALL: &[Kind] = &[$(Kind::$name),+];
        }
    };
}

kinds! {
    /// Handshake, 1 to 5 requests and responses, FIN from either side.
    Clean,
    /// 1 to 3 SYNs lost, then it works.
    SynRetrans,
    /// Seven SYNs and nothing.
    SynTimeout,
    /// The client's data is ignored and the SYN-ACK repeated up to five times; then it works, or RST after five.
    OverflowSilent,
    /// RST answers the final ACK.
    OverflowRst,
    /// RST+ACK answers the SYN.
    Refused,
    /// RST+ACK by either side in mid-connection.
    LingerRst,
    /// The client's FIN acknowledged, then nothing; or a late FIN; or late data answered by RST.
    HalfClose,
    /// The same four-tuple again within 20 s of a clean close.
    TwReuse,
    /// Two hosts behind one address: one completes, the SYNs of the other (timestamps far behind) get no answer.
    TwRecycle,
    /// SYN-ACK with the maximum segment size only, no timestamps afterwards.
    Cookie,
    /// A SYN from a random address, SYN-ACK repeated 0 to 2 times, never completed.
    SynFlood,
    /// Handshake, then FIN at once.
    Handshake,
    /// DNS queries and answers.
    Udp,
    /// Echo and reply.
    Icmp,
    /// One endless download.
    Bulk,
}

impl FromStr for Kind {
    type Err = String;
    fn from_str(name: &str) -> Result<Kind, String> {
        let named = |kind: &&Kind| format!("{kind:?}").eq_ignore_ascii_case(name);
        Kind::ALL
            .iter()
            .find(named)
            .copied()
            .ok_or_else(|| format!("no flow kind '{name}'; there are: {:?}", Kind::ALL))
    }
}

/// How large requests and responses are.
#[derive(Clone, Copy)]
pub struct Sizes {
    /// Requests and responses of some tens of bytes instead of heavy-tailed ones.
    pub small: bool,
    /// The smallest response of the heavy-tailed sizes, bytes.
    pub least_body: f64,
}

/// The packets of one flow of `kind` that begins at `start`, in order of time.
pub fn script(kind: Kind, start: u64, sizes: Sizes, rng: &mut Rng) -> Vec<Packet> {
    let mut talk = Talk::new(start, rng);
    let request = 180 + rng.below(700) as u16;
    let body =
        if sizes.small { 48 + rng.below(100) } else { rng.pareto(sizes.least_body, 1.18, 40e6) as u64 };
    let request = if sizes.small { 24 } else { request };
    match kind {
        Kind::Clean => talk.clean(sizes.small, request, body, rng),
        Kind::Handshake => {
            talk.handshake(Options::Syn);
            talk.close(either_end(rng), Options::Timestamps);
        }
        Kind::SynTimeout => talk.unanswered_syns(7),
        Kind::SynRetrans => {
            talk.unanswered_syns(1 + rng.below(3));
            talk.handshake(Options::Syn);
            talk.exchange(request, body.min(20_000), rng);
            talk.close(ToClient, Options::Timestamps);
        }
        Kind::OverflowSilent => talk.overflow_silent(request, body, rng),
        Kind::OverflowRst => {
            talk.handshake(Options::Syn);
            talk.wait(40 * MICROSECOND);
            talk.send_at(ToClient, RST, Options::None, 0, talk.server_seq, 0);
        }
        Kind::Refused => {
            talk.syn();
            talk.wait(25 * MICROSECOND);
            talk.send_at(ToClient, RST | ACK, Options::None, 0, 0, talk.client_seq.wrapping_add(1));
        }
        Kind::LingerRst => {
            talk.handshake(Options::Syn);
            talk.exchange(request, body.min(60_000), rng);
            talk.wait(2 * MILLISECOND);
            let end = if rng.chance(0.5) { ToServer } else { ToClient };
            talk.send(end, RST | ACK, Options::None, 0);
        }
        Kind::HalfClose => talk.half_close(request, body, rng),
        Kind::TwReuse => {
            for again in [false, true] {
                if again {
                    talk.wait((1 + rng.below(20)) * SECOND);
                    talk.client_seq = talk.client_seq.wrapping_add(250_000);
                    talk.server_seq = rng.word() as u32;
                }
                talk.handshake(Options::Syn);
                talk.exchange(request, body.min(4_000), rng);
                talk.close(ToClient, Options::Timestamps);
            }
        }
        Kind::TwRecycle => {
            talk.handshake(Options::Syn);
            talk.request(request, Options::Timestamps);
            talk.close(ToClient, Options::Timestamps);
            talk.wait(500 * MILLISECOND);
            talk.host = Host::Second;
            talk.port = 1;
            talk.client_seq = rng.word() as u32;
            talk.unanswered_syns(2 + rng.below(3));
        }
        Kind::Cookie => {
            talk.handshake(Options::MssOnly);
            talk.request(request, Options::None);
            talk.response(body.min(8_000), Options::None, 1460, rng);
            talk.close(ToClient, Options::None);
        }
        Kind::SynFlood => {
            talk.syn();
            talk.wait(30 * MICROSECOND);
            talk.syn_ack(Options::Syn);
            let mut delay = SECOND;
            for _ in 0..rng.below(3) {
                talk.wait(delay);
                talk.syn_ack(Options::Syn);
                delay *= 2;
            }
        }
        Kind::Udp => talk.dns(sizes.small, rng),
        Kind::Icmp => {
            for _ in 0..1 + rng.below(3) {
                talk.send_at(ToServer, 8, Options::None, 56, 0, 0);
                talk.wait(talk.rtt);
                talk.send_at(ToClient, 0, Options::None, 56, 0, 0);
                talk.wait(SECOND);
            }
        }
        Kind::Bulk => talk.handshake(Options::Syn),
    }
    talk.packets.sort_by_key(|packet| packet.time);
    talk.packets
}

fn either_end(rng: &mut Rng) -> Direction {
    if rng.chance(0.5) { ToClient } else { ToServer }
}

/// Both ends of a flow while its script is being written.
struct Talk {
    now: u64,
    client_seq: u32,
    server_seq: u32,
    rtt: u64,
    port: u16,
    host: Host,
    body: Body,
    packets: Vec<Packet>,
}

impl Talk {
    fn new(start: u64, rng: &mut Rng) -> Talk {
        let rtt = (rng.pareto(0.8, 1.2, 120.0) * MILLISECOND as f64) as u64;
        Talk {
            now: start,
            client_seq: rng.word() as u32,
            server_seq: rng.word() as u32,
            rtt,
            port: 0,
            host: Host::First,
            body: Body::Filler,
            packets: Vec::with_capacity(12),
        }
    }

    fn wait(&mut self, nanoseconds: u64) {
        self.now += nanoseconds;
    }

    fn send(&mut self, direction: Direction, flags: u8, options: Options, len: u16) {
        let (seq, ack) = match direction {
            ToServer => (self.client_seq, self.server_seq),
            ToClient => (self.server_seq, self.client_seq),
        };
        self.send_at(direction, flags, options, len, seq, ack);
    }

    fn send_at(&mut self, direction: Direction, flags: u8, options: Options, len: u16, seq: u32, ack: u32) {
        self.packets.push(Packet {
            time: self.now,
            seq,
            ack: if flags & ACK != 0 { ack } else { 0 },
            len,
            port: self.port,
            direction,
            flags,
            options,
            body: self.body,
            host: self.host,
        });
    }

    fn syn(&mut self) {
        self.send_at(ToServer, SYN, Options::Syn, 0, self.client_seq, 0);
    }

    fn syn_ack(&mut self, options: Options) {
        let ack = self.client_seq.wrapping_add(1);
        self.send_at(ToClient, SYN | ACK, options, 0, self.server_seq, ack);
    }

    /// SYNs at the kernel's initial retransmission times, 1, 2, 4 ... s apart.
    fn unanswered_syns(&mut self, count: u64) {
        let mut delay = SECOND;
        for _ in 0..count {
            self.syn();
            self.wait(delay);
            delay *= 2;
        }
    }

    fn handshake(&mut self, options: Options) {
        self.syn();
        self.wait(30 * MICROSECOND);
        self.syn_ack(options);
        self.wait(self.rtt);
        self.client_seq = self.client_seq.wrapping_add(1);
        self.server_seq = self.server_seq.wrapping_add(1);
        let later = if options == Options::MssOnly { Options::None } else { Options::Timestamps };
        self.send(ToServer, ACK, later, 0);
    }

    fn request_segment(&mut self, len: u16, options: Options) {
        self.body = Body::HttpRequest;
        self.send(ToServer, PSH | ACK, options, len);
        self.body = Body::Filler;
    }

    fn request(&mut self, len: u16, options: Options) {
        self.request_segment(len, options);
        self.client_seq = self.client_seq.wrapping_add(u32::from(len));
        self.wait(20 * MICROSECOND);
        self.send(ToClient, ACK, options, 0);
    }

    /// An acknowledgment for every second segment; one segment in 500 is lost beyond the capture point and sent again.
    fn response(&mut self, bytes: u64, options: Options, mss: u16, rng: &mut Rng) {
        let mut left = bytes;
        let mut segments = 0u64;
        while left > 0 {
            self.body = if segments == 0 { Body::HttpResponse(bytes as u32) } else { Body::Filler };
            let len = left.min(u64::from(mss)) as u16;
            left -= u64::from(len);
            let flags = if left == 0 { PSH | ACK } else { ACK };
            self.send(ToClient, flags, options, len);
            if rng.chance(0.002) {
                self.wait(200 * MILLISECOND + self.rtt);
                self.send(ToClient, flags, options, len);
            }
            self.body = Body::Filler;
            self.server_seq = self.server_seq.wrapping_add(u32::from(len));
            segments += 1;
            if segments.is_multiple_of(2) || left == 0 {
                self.wait(if segments.is_multiple_of(16) { self.rtt } else { 8 * MICROSECOND });
                self.send(ToServer, ACK, options, 0);
            } else {
                self.wait(6 * MICROSECOND);
            }
        }
    }

    fn exchange(&mut self, request: u16, body: u64, rng: &mut Rng) {
        self.request(request, Options::Timestamps);
        self.response(body, Options::Timestamps, FULL, rng);
    }

    fn fin(&mut self, from: Direction, options: Options) {
        self.send(from, FIN | ACK, options, 0);
        match from {
            ToServer => self.client_seq = self.client_seq.wrapping_add(1),
            ToClient => self.server_seq = self.server_seq.wrapping_add(1),
        }
    }

    fn close(&mut self, first: Direction, options: Options) {
        self.wait(MILLISECOND);
        self.fin(first, options);
        self.wait(self.rtt);
        self.fin(first.reversed(), options);
        self.wait(self.rtt / 2);
        self.send(first, ACK, options, 0);
    }

    fn clean(&mut self, small: bool, request: u16, body: u64, rng: &mut Rng) {
        self.handshake(Options::Syn);
        let rounds = if small || rng.chance(0.6) { 1 } else { 1 + rng.below(5) };
        for round in 0..rounds {
            if round > 0 {
                self.wait((rng.exponential(0.4) * SECOND as f64) as u64);
            }
            self.wait(40 * MICROSECOND);
            self.request(request, Options::Timestamps);
            self.wait(500 * MICROSECOND + rng.below(30) * MILLISECOND);
            self.response((body / rounds).max(1), Options::Timestamps, FULL, rng);
        }
        self.close(either_end(rng), Options::Timestamps);
    }

    fn overflow_silent(&mut self, request: u16, body: u64, rng: &mut Rng) {
        const RETRIES: u64 = 5;
        self.handshake(Options::Syn);
        self.wait(60 * MICROSECOND);
        self.request_segment(request, Options::Timestamps);
        let repeats = 1 + rng.below(RETRIES);
        let (first_seq, first_ack) = (self.server_seq.wrapping_sub(1), self.client_seq);
        let mut delay = SECOND;
        for _ in 0..repeats {
            self.wait(200 * MILLISECOND);
            self.request_segment(request, Options::Timestamps);
            self.wait(delay.saturating_sub(200 * MILLISECOND));
            self.send_at(ToClient, SYN | ACK, Options::Syn, 0, first_seq, first_ack);
            self.wait(self.rtt);
            self.send(ToServer, ACK, Options::Timestamps, 0);
            delay *= 2;
        }
        if repeats == RETRIES {
            self.wait(32 * SECOND);
            self.request_segment(request, Options::Timestamps);
            self.wait(40 * MICROSECOND);
            self.send_at(ToClient, RST, Options::None, 0, self.server_seq, 0);
        } else {
            self.wait(30 * MICROSECOND);
            self.exchange(request, body.min(20_000), rng);
            self.close(ToClient, Options::Timestamps);
        }
    }

    fn half_close(&mut self, request: u16, body: u64, rng: &mut Rng) {
        self.handshake(Options::Syn);
        self.exchange(request, body.min(20_000), rng);
        self.wait(3 * MILLISECOND);
        self.fin(ToServer, Options::Timestamps);
        self.wait(25 * MICROSECOND);
        self.send(ToClient, ACK, Options::Timestamps, 0);
        match rng.below(3) {
            0 => {}
            1 => {
                self.wait((20 + rng.below(60)) * SECOND);
                self.fin(ToClient, Options::Timestamps);
                self.wait(self.rtt);
                self.send(ToServer, ACK, Options::Timestamps, 0);
            }
            _ => {
                self.wait((62 + rng.below(30)) * SECOND);
                self.send(ToClient, PSH | ACK, Options::Timestamps, 80);
                self.wait(self.rtt);
                self.send_at(ToServer, RST, Options::None, 0, self.client_seq, 0);
            }
        }
    }

    fn dns(&mut self, small: bool, rng: &mut Rng) {
        for _ in 0..1 + rng.below(3) {
            let query = 30 + rng.below(40) as u16;
            let key = rng.word() as u32;
            self.body = Body::DnsQuery;
            self.send_at(ToServer, 0, Options::None, query, key, 0);
            self.wait(self.rtt);
            let answer = if rng.chance(0.3) { 1200 } else { 60 + rng.below(300) as u16 };
            self.body = Body::DnsAnswer(query);
            let answer = if small { query + 16 } else { answer.max(query + 16) };
            self.send_at(ToClient, 0, Options::None, answer, key, 0);
            self.wait(10 * MILLISECOND);
        }
    }
}

/// An endless download, written a stretch at a time.
#[derive(Clone, Copy)]
pub struct Download {
    seq: u32,
    ack: u32,
    time: u64,
    /// Between two segments, nanoseconds.
    gap: u64,
    segments: u64,
}

impl Download {
    /// Goes on after the `handshake`.
    pub fn after(handshake: &[Packet], gap: u64) -> Download {
        let last = handshake[handshake.len() - 1];
        Download { seq: last.ack, ack: last.seq, time: last.time + MILLISECOND, gap, segments: 0 }
    }

    /// Replaces `packets` by the next 64 pairs of segments with an acknowledgment each.
    pub fn more(&mut self, packets: &mut Vec<Packet>) {
        packets.clear();
        for _ in 0..64 {
            for first_of_pair in [true, false] {
                packets.push(self.packet(ToClient, self.time));
                self.segments += 1;
                if first_of_pair && self.segments % 4096 == 1 {
                    packets.push(self.packet(ToClient, self.time + 400));
                }
                self.seq = self.seq.wrapping_add(u32::from(FULL));
                self.time += self.gap;
            }
            packets.push(self.packet(ToServer, self.time - self.gap / 2));
        }
        packets.sort_by_key(|packet| packet.time);
    }

    fn packet(&self, direction: Direction, time: u64) -> Packet {
        let (seq, ack, len) = match direction {
            ToClient => (self.seq, self.ack, FULL),
            ToServer => (self.ack, self.seq, 0),
        };
        Packet {
            time,
            seq,
            ack,
            len,
            port: 0,
            direction,
            flags: ACK,
            options: Options::Timestamps,
            body: Body::Filler,
            host: Host::First,
        }
    }
}
