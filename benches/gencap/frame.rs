//! The bytes of one packet: Ethernet, perhaps a VLAN tag, IPv4 or IPv6, TCP, UDP or ICMP, payload; checksums are valid.

use super::rng::Rng;
use super::script::{ACK, Body, Direction, Host, Kind, MILLISECOND, Options, Packet, RST};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// As a switch port shows them: shorter frames are padded.
const SHORTEST_FRAME: usize = 60;
/// The longest payload of any script, with room to spare.
const LONGEST_PAYLOAD: usize = 2048;

/// What all packets of a flow have in common.
#[derive(Clone, Copy)]
pub struct Ends {
    v6: bool,
    /// 0 for none.
    vlan: u16,
    protocol: u8,
    client: u32,
    server: u32,
    client_port: u16,
    server_port: u16,
    /// Timestamp clocks of the two hosts that the client's address may stand for.
    client_clocks: [u32; 2],
    server_clock: u32,
    ttl: u8,
}

impl Ends {
    /// Ends for the flow number `id` of `kind`: one in ten is IPv6, one in twelve in a VLAN.
    pub fn new(kind: Kind, id: u64, servers: u64, clients: u64, rng: &mut Rng) -> Ends {
        let client = match kind {
            Kind::SynFlood => 0x1700_0000 | (rng.word() as u32 & 0x00ff_ffff),
            _ => 0x0a80_0000 + rng.below(clients) as u32,
        };
        let server = rng.below(servers) as u32;
        let clock = rng.word() as u32;
        Ends {
            v6: rng.chance(0.10),
            vlan: if rng.chance(0.08) { 100 + rng.below(4) as u16 } else { 0 },
            protocol: match kind {
                Kind::Udp => UDP,
                Kind::Icmp => ICMP,
                _ => TCP,
            },
            client,
            server: 0xc633_6400 | server, // 198.51.100.0/24, for documentation: RFC 5737
            // Every second port: no four-tuple comes again by accident before all have been used.
            client_port: 1024 + ((id * 2) % 64_000) as u16,
            server_port: match kind {
                Kind::Udp => 53,
                Kind::Icmp => 0,
                _ => [80, 443, 8080, 443][(server % 4) as usize],
            },
            client_clocks: [clock, clock.wrapping_sub(400_000_000)],
            server_clock: rng.word() as u32,
            ttl: 48 + (rng.word() & 15) as u8,
        }
    }

    /// The same over plain IPv4, to port 443.
    pub fn plain(self) -> Ends {
        Ends { v6: false, vlan: 0, server_port: 443, ..self }
    }
}

/// Builds frames in a buffer of its own.
pub struct Framer {
    frame: Vec<u8>,
    filler: Vec<u8>,
    payload: Vec<u8>,
}

impl Framer {
    pub fn new(rng: &mut Rng) -> Framer {
        let text =
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nServer: bench\r\n\r\n<p>lorem ipsum dolor sit amet ";
        let filler = (0..0x4000 + LONGEST_PAYLOAD)
            .map(|i| if i % 4096 < 2048 { text[i % text.len()] } else { rng.word() as u8 })
            .collect();
        Framer { frame: Vec::with_capacity(2048), filler, payload: vec![0; LONGEST_PAYLOAD] }
    }

    /// The frame of `packet`, valid until the next call.
    pub fn frame(&mut self, ends: &Ends, packet: &Packet) -> &[u8] {
        let payload = &mut self.payload[..usize::from(packet.len)];
        let from = packet.seq as usize & 0x3fff;
        payload.copy_from_slice(&self.filler[from..from + usize::from(packet.len)]);
        if !payload.is_empty() {
            shape(payload, ends, packet);
        }
        let mut header = [0u8; 40];
        let header = transport(ends, packet, &mut header);

        let frame = &mut self.frame;
        frame.clear();
        ethernet(ends, packet, frame);
        let pseudo_header = network(ends, packet, header.len() + payload.len(), frame);
        checksum(ends, pseudo_header, header, payload);
        frame.extend_from_slice(header);
        frame.extend_from_slice(payload);
        if frame.len() < SHORTEST_FRAME {
            frame.resize(SHORTEST_FRAME, 0);
        }
        frame
    }
}

fn ethernet(ends: &Ends, packet: &Packet, frame: &mut Vec<u8>) {
    let [a, b, c, d] = ends.client.to_be_bytes();
    let client = [2, 0, a, b, c, d];
    let server = [2, 1, 0, 0, 0, 1];
    for address in match packet.direction {
        Direction::ToServer => [server, client],
        Direction::ToClient => [client, server],
    } {
        frame.extend(address);
    }
    if ends.vlan != 0 {
        frame.extend([0x81, 0x00]);
        frame.extend(ends.vlan.to_be_bytes());
    }
    frame.extend(if ends.v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
}

/// Appends the IP header; gives the sum of the pseudo-header, 0 for ICMP over IPv4, which has none.
fn network(ends: &Ends, packet: &Packet, len: usize, frame: &mut Vec<u8>) -> u64 {
    let protocol = if ends.protocol == ICMP && ends.v6 { ICMPV6 } else { ends.protocol };
    let addresses = match packet.direction {
        Direction::ToServer => [ends.client, ends.server],
        Direction::ToClient => [ends.server, ends.client],
    };
    let start = frame.len();
    let sum_of_addresses = if ends.v6 {
        frame.extend([0x60, 0, 0, 0]);
        frame.extend((len as u16).to_be_bytes());
        frame.extend([protocol, ends.ttl]);
        for address in addresses {
            // 2001:db8::/32, for documentation: RFC 3849
            frame.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0]);
            frame.extend(address.to_be_bytes());
        }
        sum(0, &frame[start + 8..start + 40])
    } else {
        frame.extend([0x45, 0]);
        frame.extend((20 + len as u16).to_be_bytes());
        frame.extend(((packet.seq ^ packet.time as u32) as u16).to_be_bytes());
        frame.extend([0x40, 0, ends.ttl, protocol, 0, 0]);
        for address in addresses {
            frame.extend(address.to_be_bytes());
        }
        let header_checksum = fold(sum(0, &frame[start..start + 20]));
        frame[start + 10..start + 12].copy_from_slice(&header_checksum.to_be_bytes());
        sum(0, &frame[start + 12..start + 20])
    };
    if protocol == ICMP { 0 } else { sum_of_addresses + u64::from(protocol) + len as u64 }
}

/// Writes the transport header, its checksum still 0; gives the part of `out` that it takes.
fn transport<'a>(ends: &Ends, packet: &Packet, out: &'a mut [u8; 40]) -> &'a mut [u8] {
    let client_port = ends.client_port.wrapping_add(packet.port);
    let (from, to) = match packet.direction {
        Direction::ToServer => (client_port, ends.server_port),
        Direction::ToClient => (ends.server_port, client_port),
    };
    let len = match ends.protocol {
        TCP => {
            put(out, 0, &from.to_be_bytes());
            put(out, 2, &to.to_be_bytes());
            put(out, 4, &packet.seq.to_be_bytes());
            put(out, 8, &packet.ack.to_be_bytes());
            out[13] = packet.flags;
            let window: u16 = if packet.flags & RST != 0 { 0 } else { 64_240 };
            put(out, 14, &window.to_be_bytes());
            let len = 20 + tcp_options(ends, packet, &mut out[20..]);
            out[12] = (len as u8 / 4) << 4;
            len
        }
        UDP => {
            put(out, 0, &from.to_be_bytes());
            put(out, 2, &to.to_be_bytes());
            put(out, 4, &(8 + packet.len).to_be_bytes());
            8
        }
        _ => {
            out[0] = match (ends.v6, packet.flags) {
                (false, kind) => kind,
                (true, 8) => 128,
                (true, _) => 129,
            };
            put(out, 4, &ends.client_port.to_be_bytes());
            put(out, 6, &1u16.to_be_bytes());
            8
        }
    };
    &mut out[..len]
}

/// Writes the TCP options; gives their length.
fn tcp_options(ends: &Ends, packet: &Packet, out: &mut [u8]) -> usize {
    let tick = |clock: u32| clock.wrapping_add((packet.time / MILLISECOND) as u32).to_be_bytes();
    let client = tick(match packet.host {
        Host::First => ends.client_clocks[0],
        Host::Second => ends.client_clocks[1],
    });
    let server = tick(ends.server_clock);
    let (value, echo) = match packet.direction {
        Direction::ToServer => (client, server),
        Direction::ToClient => (server, client),
    };
    match packet.options {
        Options::None => 0,
        Options::Timestamps => {
            put(out, 0, &[1, 1, 8, 10]);
            put(out, 4, &value);
            put(out, 8, &echo);
            12
        }
        Options::Syn => {
            put(out, 0, &[2, 4, 5, 0xb4, 4, 2, 8, 10]);
            put(out, 8, &value);
            if packet.flags & ACK != 0 {
                put(out, 12, &echo);
            }
            put(out, 16, &[1, 3, 3, 7]);
            20
        }
        Options::MssOnly => {
            put(out, 0, &[2, 4, 5, 0xb4]);
            4
        }
    }
}

fn checksum(ends: &Ends, pseudo_header: u64, header: &mut [u8], payload: &[u8]) {
    let value = fold(sum(sum(pseudo_header, header), payload));
    let (at, value) = match ends.protocol {
        TCP => (16, value),
        // RFC 768: 0 would say that there is no checksum.
        UDP => (6, if value == 0 { 0xffff } else { value }),
        _ => (2, value),
    };
    put(header, at, &value.to_be_bytes());
}

/// Overwrites the start (for a request also the end) of a payload with something well-formed.
fn shape(payload: &mut [u8], ends: &Ends, packet: &Packet) {
    let len = payload.len();
    match packet.body {
        Body::DnsQuery => dns(payload, packet, len),
        Body::DnsAnswer(query) => {
            let query = usize::from(query);
            dns(payload, packet, query);
            put(payload, 2, &[0x81, 0x80]);
            payload[7] = 1;
            let [high, low] = ((len - query - 12) as u16).to_be_bytes();
            put(payload, query, &[0xc0, 12, 0, 10, 0, 1, 0, 0, 0, 60, high, low]);
        }
        _ if ends.protocol == TCP && ends.server_port == 443 && len > 5 => {
            // One TLS record of application data per segment.
            let [high, low] = ((len - 5) as u16).to_be_bytes();
            put(payload, 0, &[0x17, 3, 3, high, low]);
        }
        Body::HttpRequest if ends.protocol == TCP && len >= 18 => {
            let short = b" HTTP/1.1\r\n\r\n";
            let long =
                b" HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: gencap/1\r\nAccept: */*\r\nCookie: id=";
            payload.fill(b'a');
            put(payload, 0, b"GET /");
            if len > long.len() + 40 {
                put(payload, 24, long);
                put(payload, len - 4, b"\r\n\r\n");
            } else {
                put(payload, len - short.len(), short);
            }
        }
        Body::HttpResponse(bytes) if ends.protocol == TCP && len >= 45 => {
            let rest = bytes.saturating_sub(45);
            put(payload, 0, format!("HTTP/1.1 200 OK\r\nContent-Length: {rest:08}\r\n\r\n").as_bytes());
        }
        _ => {}
    }
}

/// A DNS question of `len` bytes, header included.
fn dns(payload: &mut [u8], packet: &Packet, len: usize) {
    put(payload, 0, &[(packet.seq >> 8) as u8, packet.seq as u8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let name = len - 18;
    payload[12] = name as u8;
    for (i, letter) in payload[13..13 + name].iter_mut().enumerate() {
        *letter = b'a' + ((packet.seq >> (i % 24)) as u8 & 15);
    }
    put(payload, 13 + name, &[0, 0, 10, 0, 1]);
}

/// Copies as much of `from` as fits behind `at`.
fn put(to: &mut [u8], at: usize, from: &[u8]) {
    let len = from.len().min(to.len().saturating_sub(at));
    to[at..at + len].copy_from_slice(&from[..len]);
}

/// Adds bytes to an Internet checksum, RFC 1071, four at a time.
fn sum(start: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0u8; 4];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().map(|word| u64::from(u32::from_be_bytes(*word)));
    start + words.sum::<u64>() + u64::from(u32::from_be_bytes(last))
}

fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
