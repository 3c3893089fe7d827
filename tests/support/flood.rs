//! Floods and odd captures of any length, written as they are read: what fills tables, and what tells whether a report of
//! it is true.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{Result, Write};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// Nanoseconds between the beginnings of two connections.
const STEP: u64 = 2_000;
const SECOND: u64 = 1_000_000_000;
/// The beginning of the capture, seconds.
const BEGIN: u64 = 1_800_000_000;
/// The server, unless the mode has many.
const SERVER: u32 = 0xc000_0210;

/// One packet of one connection: who sends it is said by the control bits and a flag.
#[derive(Clone, Copy)]
struct Packet {
    at: u64,
    from: (u32, u16),
    to: (u32, u16),
    flags: u8,
    seq: u32,
    ack: u32,
    payload: usize,
    ttl: u8,
}

/// Both ends of a connection and their initial sequence numbers.
#[derive(Clone, Copy)]
struct Ends {
    client: (u32, u16),
    server: (u32, u16),
    isn: [u32; 2],
}

impl Ends {
    fn client(&self, at: u64, flags: u8, [seq, ack]: [u32; 2], payload: usize) -> Packet {
        let [own, other] = self.isn;
        let ack = if flags & ACK == 0 { 0 } else { other.wrapping_add(ack) };
        let seq = own.wrapping_add(seq);
        Packet { at, from: self.client, to: self.server, flags, seq, ack, payload, ttl: 57 }
    }

    fn server(&self, at: u64, flags: u8, [seq, ack]: [u32; 2], payload: usize) -> Packet {
        let [other, own] = self.isn;
        let ack = if flags & ACK == 0 { 0 } else { other.wrapping_add(ack) };
        let seq = own.wrapping_add(seq);
        Packet { at, from: self.server, to: self.client, flags, seq, ack, payload, ttl: 64 }
    }

    /// SYN, SYN-ACK and final ACK.
    fn handshake(&self, at: u64, apart: u64) -> [Packet; 3] {
        [
            self.client(at, SYN, [0, 0], 0),
            self.server(at + apart, SYN | ACK, [0, 1], 0),
            self.client(at + 2 * apart, ACK, [1, 1], 0),
        ]
    }
}

fn mix(n: u64) -> u64 {
    let x = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// A client of its own for each connection.
fn spoofed(n: u64) -> (u32, u16) {
    let r = mix(n);
    (r as u32 | 1, 1_024 + ((r >> 32) % 64_000) as u16)
}

/// One of 50,000 ports of each of as many clients as are needed.
fn plain(n: u64) -> (u32, u16) {
    (0x0a00_0001 + (n / 50_000) as u32, 1_024 + (n % 50_000) as u16)
}

/// Everything that the generator writes.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// Its name.
    pub name: &'static str,
    /// What the packets of the connection with this number are. They come in order of time.
    script: fn(u64) -> Vec<(u64, Packet)>,
    /// Kinds of findings that are true of it.
    pub kinds: &'static [&'static str],
    /// A kind that must be found, even when many connections are evicted.
    pub must: Option<&'static str>,
    /// Connections for each that is begun; 0 where all packets are of one.
    pub connections: u64,
}

/// What each connection sends, with the time since it began.
type Script = Vec<(u64, Packet)>;

fn timed(packets: impl IntoIterator<Item = Packet>) -> Script {
    packets.into_iter().map(|packet| (packet.at, packet)).collect()
}

fn ends(client: (u32, u16), port: u16, n: u64) -> Ends {
    Ends { client, server: (SERVER, port), isn: [mix(n) as u32, mix(n + 77) as u32] }
}

/// The one connection of modes that repeat segments.
const ONE: Ends = Ends { client: (0x0a00_0001, 5_555), server: (SERVER, 443), isn: [100, 900] };

/// The handshake of [`ONE`] before its first repetition.
fn once(n: u64, packets: impl IntoIterator<Item = Packet>) -> Script {
    let before = if n == 0 { ONE.handshake(0, 10).to_vec() } else { Vec::new() };
    timed(before.into_iter().chain(packets))
}

/// A port of a host that is scanned.
fn scanned(n: u64) -> Ends {
    let server = (0x0a00_0000 + (n / 65_535) as u32, 1 + (n % 65_535) as u16);
    Ends { client: (0xc633_6401, 40_000), server, isn: [mix(n) as u32, 0] }
}

/// The final ACK is ignored: the SYN-ACK comes again after 1, 3 and 7 seconds.
fn stuck(ends: Ends) -> Script {
    let mut all = ends.handshake(0, 40_000).to_vec();
    for after in [1, 3, 7] {
        all.push(ends.server(after * SECOND, SYN | ACK, [0, 1], 0));
        all.push(ends.client(after * SECOND + 20_000_000, ACK, [1, 1], 0));
    }
    timed(all)
}

fn syns(ends: Ends, times: &[u64]) -> Script {
    timed(times.iter().map(|at| ends.client(at * SECOND, SYN, [0, 0], 0)))
}

fn clean(n: u64) -> Script {
    let e = ends((0x0a01_0000, 1_024 + (n % 64_000) as u16), 443, n);
    let mut all = e.handshake(0, 10).to_vec();
    all.extend([
        e.client(30, ACK | PSH, [1, 1], 50),
        e.server(40, ACK | PSH, [1, 51], 100),
        e.client(50, ACK | FIN, [51, 101], 0),
        e.server(60, ACK | FIN, [101, 52], 0),
        e.client(70, ACK, [52, 102], 0),
    ]);
    timed(all)
}

fn half_closed(n: u64) -> Script {
    let e = ends(plain(n), 443, n);
    let mut all = e.handshake(0, 10).to_vec();
    all.extend([
        e.client(30, ACK | PSH, [1, 1], 20),
        e.server(40, ACK, [1, 21], 0),
        e.client(50, ACK | FIN, [21, 1], 0),
        e.server(60, ACK, [1, 22], 0),
    ]);
    // Much later one segment of a few of them: the capture goes on.
    if n == 0 {
        all.push(e.client(200 * SECOND, ACK, [22, 1], 0));
    }
    timed(all)
}

/// All modes.
pub const MODES: &[Mode] = &[
    Mode {
        name: "syn",
        script: |n| syns(ends(spoofed(n), 443, n), &[0]),
        kinds: &["syn-flood", "syn-unanswered"],
        must: None,
        connections: 1,
    },
    Mode {
        name: "synack",
        script: |n| timed(ends(spoofed(n), 443, n).handshake(0, 500).into_iter().take(2)),
        kinds: &["syn-flood", "syn-ack-unanswered"],
        must: None,
        connections: 1,
    },
    Mode {
        name: "hsrst",
        script: |n| {
            let e = ends(spoofed(n), 443, n);
            timed(e.handshake(0, 300).into_iter().chain([e.client(900, RST | ACK, [1, 1], 0)]))
        },
        kinds: &["abortive-close"],
        must: Some("abortive-close"),
        connections: 1,
    },
    Mode {
        name: "idle",
        script: |n| {
            let e = ends(spoofed(n), 443, n);
            let said = [e.client(700, ACK | PSH, [1, 1], 30), e.server(800, ACK | PSH, [1, 31], 30)];
            timed(e.handshake(0, 300).into_iter().chain(said))
        },
        kinds: &[],
        must: None,
        connections: 1,
    },
    Mode {
        name: "scan",
        script: |n| {
            let e = scanned(n);
            timed([e.client(0, SYN, [0, 0], 0), e.server(500, RST | ACK, [0, 1], 0)])
        },
        kinds: &["connection-refused"],
        must: Some("connection-refused"),
        connections: 1,
    },
    Mode {
        name: "scansilent",
        script: |n| syns(scanned(n), &[0]),
        kinds: &["syn-unanswered"],
        must: None,
        connections: 1,
    },
    Mode {
        name: "scan3",
        script: |n| syns(scanned(n), &[0, 1, 3]),
        kinds: &["syn-unanswered"],
        must: None,
        connections: 1,
    },
    Mode { name: "clean", script: clean, kinds: &["time-wait-pressure"], must: None, connections: 1 },
    Mode {
        name: "stuck",
        script: |n| stuck(ends(plain(n), 443, n)),
        kinds: &["accept-queue-overflow"],
        must: Some("accept-queue-overflow"),
        connections: 1,
    },
    Mode {
        name: "stucklisteners",
        script: |n| stuck(ends(plain(n), 1 + (n % 50_000) as u16, n)),
        kinds: &["accept-queue-overflow", "handshake-loss"],
        must: None,
        connections: 1,
    },
    Mode {
        name: "halfclose",
        script: half_closed,
        kinds: &["half-close"],
        must: Some("half-close"),
        connections: 1,
    },
    Mode {
        name: "synackrep",
        script: |n| once(n, [ONE.server(1_000, SYN | ACK, [0, 1], 0), ONE.client(1_500, ACK, [1, 1], 0)]),
        kinds: &["accept-queue-overflow", "handshake-loss", "defer-accept"],
        must: None,
        connections: 0,
    },
    Mode {
        name: "synrep",
        script: |_| timed([ONE.client(0, SYN, [0, 0], 0)]),
        kinds: &["syn-unanswered"],
        must: None,
        connections: 0,
    },
    Mode {
        name: "finrep",
        script: |n| once(n, [ONE.client(1_000, ACK | FIN, [1, 1], 0)]),
        kinds: &["half-close", "fin-unacknowledged"],
        must: None,
        connections: 0,
    },
    Mode {
        name: "datarep",
        script: |n| once(n, [ONE.client(1_000, ACK | PSH, [1, 1], 10)]),
        kinds: &["data-unacknowledged"],
        must: None,
        connections: 0,
    },
    Mode {
        name: "reversed",
        script: |n| once(n, [ONE.client(1_000, ACK | PSH, [0x7000_0000 - 10 * n as u32, 1], 10)]),
        kinds: &[],
        must: None,
        connections: 0,
    },
    Mode {
        name: "holes",
        script: |n| once(n, [ONE.client(1_000, ACK | PSH, [1 + 20 * n as u32, 1], 10)]),
        kinds: &[],
        must: None,
        connections: 0,
    },
    Mode {
        name: "reuse",
        script: |n| {
            let e = Ends { isn: [mix(n) as u32, 77], ..ONE };
            let answer = if n % 2 == 1 { ACK } else { RST | ACK };
            timed([e.client(0, SYN, [0, 0], 0), e.server(500, answer, [0, 1], 0)])
        },
        kinds: &["connection-refused", "time-wait-collision"],
        must: None,
        connections: 1,
    },
    Mode {
        name: "tw",
        script: |n| {
            let e = ends(plain(n), 443, n);
            let old = 0_u32.wrapping_sub(5_000);
            let rst = Packet { ack: 0, ..e.client(600, RST, [old, 0], 0) };
            timed([e.client(0, SYN, [0, 0], 0), e.server(500, ACK, [1, old], 0), rst])
        },
        kinds: &["time-wait-collision"],
        must: Some("time-wait-collision"),
        connections: 1,
    },
    Mode {
        name: "midstream",
        script: |n| timed([ends(plain(n), 443, n).client(0, ACK | PSH, [0, 5], 20)]),
        kinds: &[],
        must: None,
        connections: 1,
    },
    Mode {
        name: "refused",
        script: |n| {
            let e = ends(spoofed(n), 443, n);
            timed([e.client(0, SYN, [0, 0], 0), e.server(500, RST | ACK, [0, 1], 0)])
        },
        kinds: &["connection-refused"],
        must: Some("connection-refused"),
        connections: 1,
    },
    Mode {
        name: "abort",
        script: |n| {
            let e = ends(plain(n), 443, n);
            let end = [
                e.client(700, ACK | PSH, [1, 1], 30),
                e.server(800, ACK, [1, 31], 0),
                e.server(900, RST | ACK, [1, 31], 0),
            ];
            timed(e.handshake(0, 300).into_iter().chain(end))
        },
        kinds: &["abortive-close", "listener-closed"],
        must: None,
        connections: 1,
    },
    Mode {
        name: "synunans",
        script: |n| syns(ends(plain(n), 443, n), &[0, 1, 3, 7]),
        kinds: &["syn-unanswered"],
        must: None,
        connections: 1,
    },
    Mode {
        name: "servers",
        script: |n| {
            let server = (0x0a00_0001 + n as u32, 443);
            let e = Ends { server, ..ends((0xc633_6401, 5_555), 443, n) };
            timed(e.handshake(0, 300).into_iter().chain([e.server(700, SYN | ACK, [0, 1], 0)]))
        },
        kinds: &["handshake-loss"],
        must: None,
        connections: 1,
    },
];

/// Writes `n` connections (or repetitions) of a mode as pcap: nanoseconds, raw IP. Says how many packets.
pub fn write(mode: &Mode, n: u64, out: &mut dyn Write) -> Result<u64> {
    let header: [u32; 6] = [0xa1b2_3c4d, 0x0004_0002, 0, 0, 65_535, 101];
    header.iter().try_for_each(|word| out.write_all(&word.to_le_bytes()))?;
    // The packets to come: time, connection, number within the connection.
    let mut later: BinaryHeap<Reverse<(u64, u64, usize)>> = BinaryHeap::new();
    let (mut begun, mut packets) = (0, 0);
    loop {
        let next = later.peek().map(|Reverse((at, ..))| *at);
        let (at, connection, step) = match next {
            Some(at) if begun == n || at <= begun * STEP => match later.pop() {
                Some(Reverse(next)) => next,
                None => break,
            },
            None if begun == n => break,
            _ => {
                begun += 1;
                let first = (mode.script)(begun - 1)[0].0;
                ((begun - 1) * STEP + first, begun - 1, 0)
            }
        };
        let script = (mode.script)(connection);
        record(out, at, packets, &script[step].1)?;
        packets += 1;
        if let Some((after, _)) = script.get(step + 1) {
            later.push(Reverse((connection * STEP + after, connection, step + 1)));
        }
    }
    out.flush()?;
    Ok(packets)
}

fn record(out: &mut dyn Write, at: u64, number: u64, packet: &Packet) -> Result<()> {
    let options: &[u8] = if packet.flags & SYN != 0 { &[2, 4, 5, 0xb4] } else { &[] };
    let tcp = 20 + options.len() + packet.payload;
    let mut bytes = vec![0; 36];
    for (word, place) in
        [BEGIN + at / SECOND, at % SECOND, 20 + tcp as u64, 20 + tcp as u64].iter().zip([0, 4, 8, 12])
    {
        bytes[place..place + 4].copy_from_slice(&(*word as u32).to_le_bytes());
    }
    bytes[16] = 0x45;
    bytes[18..20].copy_from_slice(&(20 + tcp as u16).to_be_bytes());
    bytes[20..22].copy_from_slice(&(number as u16).to_be_bytes());
    (bytes[22], bytes[24], bytes[25]) = (0x40, packet.ttl, 6);
    bytes[28..32].copy_from_slice(&packet.from.0.to_be_bytes());
    bytes[32..36].copy_from_slice(&packet.to.0.to_be_bytes());
    bytes.extend(packet.from.1.to_be_bytes());
    bytes.extend(packet.to.1.to_be_bytes());
    bytes.extend(packet.seq.to_be_bytes());
    bytes.extend(packet.ack.to_be_bytes());
    bytes.extend([(5 + options.len() as u8 / 4) << 4, packet.flags, 0xfa, 0xf0, 0, 0, 0, 0]);
    bytes.extend(options);
    bytes.resize(36 + tcp, b'x');
    let addresses = sum(&bytes[28..36]);
    let [header, segment] = [sum(&bytes[16..36]), addresses + 6 + tcp as u32 + sum(&bytes[36..])].map(fold);
    bytes[26..28].copy_from_slice(&header.to_be_bytes());
    bytes[52..54].copy_from_slice(&segment.to_be_bytes());
    out.write_all(&bytes)
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low))).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
