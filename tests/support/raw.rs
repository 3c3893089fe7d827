//! A client that writes its packets itself. No socket has its address, so nothing else answers for it.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::thread;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, eth, ipproto};

/// Its address.
pub const RAW_CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

/// The client. Each of its packets has the IP ID that its script gives.
pub struct RawClient {
    out: OwnedFd,
    heard: OwnedFd,
    server: SocketAddrV4,
}

/// One of its connections.
#[derive(Clone, Copy)]
pub struct Connection {
    pub port: u16,
    /// The next sequence number of the client.
    pub seq: u32,
    /// The next one that it expects of the server.
    pub ack: u32,
    /// The server's last timestamp; `None` without timestamps.
    pub echo: Option<u32>,
}

/// A segment to send.
#[derive(Clone, Copy, Default)]
pub struct Raw<'d> {
    pub id: u16,
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
    /// TSval and TSecr.
    pub timestamps: Option<(u32, u32)>,
    pub data: &'d [u8],
}

/// What the server sent.
pub struct Heard {
    pub flags: u8,
    pub seq: u32,
    pub timestamp: Option<u32>,
}

impl RawClient {
    pub fn to(server: SocketAddrV4) -> RawClient {
        let socket = |family, kind, protocol| {
            rustix::net::socket(family, kind, Some(protocol)).expect("root may open raw sockets")
        };
        RawClient {
            out: socket(AddressFamily::INET, SocketType::RAW, ipproto::RAW),
            heard: socket(AddressFamily::PACKET, SocketType::DGRAM, eth::IP),
            server,
        }
    }

    pub fn send(&self, port: u16, raw: Raw<'_>) {
        let to = SocketAddr::new((*self.server.ip()).into(), 0);
        rustix::net::sendto(&self.out, &packet(port, self.server, raw), SendFlags::empty(), &to)
            .expect("it is sent");
    }

    /// The next segment that the server sends to `port` with all of these control bits.
    pub fn hear(&self, port: u16, flags: u8) -> Heard {
        let mut bytes = [0; 2_048];
        loop {
            let (n, _) =
                rustix::net::recv(&self.heard, &mut bytes[..], RecvFlags::empty()).expect("a packet");
            let heard = read(&bytes[..n], port, self.server);
            if let Some(heard) = heard.filter(|heard| heard.flags & flags == flags) {
                return heard;
            }
        }
    }

    /// Sends a SYN with this IP ID and waits for the SYN-ACK. The TSval is 1000, where there is one.
    pub fn half_open(&self, id: u16, port: u16, with_timestamps: bool) -> Connection {
        let seq = u32::from(port) * 1_000;
        let timestamps = with_timestamps.then_some((1_000, 0));
        self.send(port, Raw { id, flags: SYN, seq, timestamps, ..Raw::default() });
        let heard = self.hear(port, SYN | ACK);
        Connection { port, seq: seq + 1, ack: heard.seq.wrapping_add(1), echo: heard.timestamp }
    }

    /// The same, and the final ACK with the next IP ID and the TSval 1001.
    pub fn connect(&self, id: u16, port: u16, with_timestamps: bool) -> Connection {
        let connection = self.half_open(id, port, with_timestamps);
        self.send(port, connection.segment(id + 1, ACK, 1_001));
        connection
    }
}

impl Connection {
    /// The next segment, without data.
    pub fn segment(&self, id: u16, flags: u8, timestamp: u32) -> Raw<'static> {
        let timestamps = self.echo.map(|echo| (timestamp, echo));
        Raw { id, flags, seq: self.seq, ack: self.ack, timestamps, data: b"" }
    }
}

/// Lets the server process the packets sent, and keeps packets further apart than those that belong together.
pub fn pause() {
    thread::sleep(Duration::from_millis(30));
}

fn packet(port: u16, server: SocketAddrV4, raw: Raw<'_>) -> Vec<u8> {
    let mut options = Vec::new();
    if raw.flags & SYN != 0 {
        options.extend([2, 4, 5, 0xb4]);
    }
    if let Some((value, echo)) = raw.timestamps {
        options.extend([1, 1, 8, 10]);
        options.extend(value.to_be_bytes());
        options.extend(echo.to_be_bytes());
    }
    let mut tcp = [port.to_be_bytes(), server.port().to_be_bytes()].concat();
    tcp.extend(raw.seq.to_be_bytes());
    tcp.extend(raw.ack.to_be_bytes());
    tcp.extend([((20 + options.len() as u8) / 4) << 4, raw.flags, 0xfa, 0xf0, 0, 0, 0, 0]);
    tcp.extend(&options);
    tcp.extend(raw.data);
    let ends = [RAW_CLIENT.octets(), server.ip().octets()].concat();
    let length = (tcp.len() as u16).to_be_bytes();
    let check = sum(&[&ends[..], &[0, 6], &length, &tcp].concat());
    tcp[16..18].copy_from_slice(&check.to_be_bytes());
    let total = (20 + tcp.len() as u16).to_be_bytes();
    let id = raw.id.to_be_bytes();
    let ip = [&[0x45, 0][..], &total, &id, &[0x40, 0, 64, 6, 0, 0], &ends].concat();
    [ip, tcp].concat()
}

/// The checksum of the Internet.
fn sum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn read(packet: &[u8], port: u16, server: SocketAddrV4) -> Option<Heard> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let tcp = packet.get(header..)?;
    let is_mine = packet.get(9)? == &6
        && packet.get(12..16)? == server.ip().octets()
        && packet.get(16..20)? == RAW_CLIENT.octets()
        && tcp.get(..4)? == [server.port().to_be_bytes(), port.to_be_bytes()].concat();
    let number = |at: usize| Some(u32::from_be_bytes(tcp.get(at..at + 4)?.try_into().ok()?));
    let options = tcp.get(20..usize::from(tcp.get(12)? >> 4) * 4)?;
    let at = timestamps(options).map(|at| 20 + at);
    is_mine.then_some(())?;
    Some(Heard { flags: tcp[13], seq: number(4)?, timestamp: at.and_then(number) })
}

/// Where the TSval lies.
fn timestamps(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match (*options.get(at)?, options.get(at + 1)) {
            (0, _) => return None,
            (1, _) => at += 1,
            (8, _) => return Some(at + 2),
            (_, Some(length @ 2..)) => at += usize::from(*length),
            _ => return None,
        }
    }
}
