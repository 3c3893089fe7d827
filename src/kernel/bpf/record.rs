//! A record of a program: its fixed layout, and how it is read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::decode::segment::Flags;
use crate::kernel::verdict::{KernelEvent, Queues, SegmentKey};

/// Bytes of a record.
pub const RECORD: usize = 128;
/// Bytes that are copied of a packet: an IPv4 header with options, or an IPv6 header, and a TCP header without options.
pub const COPIED: usize = 80;

/// Where fields lie in a record; the programs write them there.
pub mod place {
    /// What happened: one of [`super::event`].
    pub const EVENT: i16 = 0;
    /// The reason, by its number.
    pub const REASON: i16 = 4;
    /// Where in the kernel's code.
    pub const LOCATION: i16 = 8;
    /// When, by the clock that starts when the machine does.
    pub const TIME: i16 = 16;
    /// `sk_buff.len`
    pub const LENGTH: i16 = 24;
    /// Connections in the accept queue.
    pub const ACCEPT_QUEUE: i16 = 28;
    /// The limit of both queues.
    pub const LIMIT: i16 = 32;
    /// Requests in the SYN queue.
    pub const SYN_QUEUE: i16 = 36;
    /// Bytes from the network header to the end of what lies in one piece.
    pub const LINEAR: i16 = 40;
    /// State of the socket.
    pub const STATE: i16 = 44;
    /// One more than the sysctl `tcp_syncookies`; 0 where that is not known.
    pub const COOKIES: i16 = 45;
    /// The packet from its network header on, or for [`super::event::RESET_BY_SOCKET`] the socket's addresses.
    pub const PACKET: i16 = 48;
    /// The family of a socket's addresses. The fields below belong to a socket's addresses, too.
    pub const FAMILY: i16 = 48;
    /// Its own port, in network order.
    pub const LOCAL_PORT: i16 = 50;
    /// Port of its peer, in network order.
    pub const PEER_PORT: i16 = 52;
    /// Its own IPv4 address.
    pub const LOCAL_V4: i16 = 56;
    /// That of its peer.
    pub const PEER_V4: i16 = 60;
    /// Its own IPv6 address.
    pub const LOCAL_V6: i16 = 64;
    /// That of its peer.
    pub const PEER_V6: i16 = 80;
    /// The next sequence number that the socket sends.
    pub const NEXT_SENT: i16 = 96;
}

/// The kind of event, as the programs number it.
pub mod event {
    /// The kernel freed a packet that it had not used.
    pub const DROPPED: i32 = 1;
    /// The kernel answers a packet with a RST.
    pub const RESET: i32 = 2;
    /// A socket sends a RST of its own accord.
    pub const RESET_BY_SOCKET: i32 = 3;
    /// A SYN or final ACK has reached its listener.
    pub const AT_LISTENER: i32 = 4;
}

/// State of a socket that listens: the kernel's `TCP_LISTEN`.
pub const LISTEN: u8 = 10;

/// A record as it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerdictRecord {
    /// What happened.
    pub event: KernelEvent,
    /// The reason, by its number.
    pub reason: u32,
    /// Where in the kernel's code; 0 where the event does not say.
    pub location: u64,
    /// Nanoseconds since the machine was started.
    pub time: u64,
    /// The queues, where a listener was concerned.
    pub queues: Option<Queues>,
    /// The segment.
    pub segment: SegmentKey,
}

impl VerdictRecord {
    /// Reads a record; `None` where its packet cannot be told from others: cut, a fragment, damaged.
    pub fn read(bytes: &[u8; RECORD]) -> Option<VerdictRecord> {
        let word = |at: i16| u32::from_ne_bytes(array(bytes, at));
        let event = match word(place::EVENT) as i32 {
            event::DROPPED => KernelEvent::Dropped,
            event::RESET => KernelEvent::Reset,
            event::RESET_BY_SOCKET => KernelEvent::ResetBySocket,
            event::AT_LISTENER => KernelEvent::AtListener,
            _ => return None,
        };
        let segment = match event {
            KernelEvent::ResetBySocket => of_socket(bytes)?,
            _ => {
                let linear = word(place::LINEAR) as usize;
                let packet = &bytes[place::PACKET as usize..place::PACKET as usize + COPIED];
                of_packet(&packet[..linear.min(COPIED)], word(place::LENGTH))?
            }
        };
        let queues = (bytes[place::STATE as usize] == LISTEN).then(|| Queues {
            accept: word(place::ACCEPT_QUEUE),
            syn: word(place::SYN_QUEUE),
            limit: word(place::LIMIT),
            without_cookies: bytes[place::COOKIES as usize] == 1,
        });
        Some(VerdictRecord {
            event,
            reason: word(place::REASON),
            location: u64::from_ne_bytes(array(bytes, place::LOCATION)),
            time: u64::from_ne_bytes(array(bytes, place::TIME)),
            queues,
            segment,
        })
    }
}

fn array<const N: usize>(bytes: &[u8], at: i16) -> [u8; N] {
    let at = at as usize;
    bytes[at..at + N].try_into().expect("a record has room for all of its fields")
}

/// The RST that a socket sends.
fn of_socket(bytes: &[u8; RECORD]) -> Option<SegmentKey> {
    let port = u16::from_be_bytes(array(bytes, place::LOCAL_PORT));
    let peer_port = u16::from_be_bytes(array(bytes, place::PEER_PORT));
    let (local, peer): (IpAddr, IpAddr) = match i32::from(u16::from_ne_bytes(array(bytes, place::FAMILY))) {
        libc::AF_INET => {
            let v4 = |at| Ipv4Addr::from(array::<4>(bytes, at)).into();
            (v4(place::LOCAL_V4), v4(place::PEER_V4))
        }
        libc::AF_INET6 => {
            let v6 = |at| Ipv6Addr::from(array::<16>(bytes, at)).to_canonical();
            (v6(place::LOCAL_V6), v6(place::PEER_V6))
        }
        _ => return None,
    };
    Some(SegmentKey {
        source: SocketAddr::new(local, port),
        destination: SocketAddr::new(peer, peer_port),
        seq: u32::from_ne_bytes(array(bytes, place::NEXT_SENT)),
        ack: 0,
        flags: Flags::RST | Flags::ACK,
        ip_id: 0,
        payload: 0,
    })
}

/// The segment in a packet that begins with its network header. `length` counts where the header has no length.
fn of_packet(packet: &[u8], length: u32) -> Option<SegmentKey> {
    const TCP: u8 = 6;
    let (source, destination, ip_id, tcp, total): (IpAddr, IpAddr, u16, usize, u32) = match packet.first()?
        >> 4
    {
        4 => {
            let header = usize::from(packet[0] & 0x0f) * 4;
            let offset = u16::from_be_bytes(packet.get(6..8)?.try_into().ok()?) & 0x1fff;
            if header < 20 || *packet.get(9)? != TCP || offset != 0 {
                return None;
            }
            let v4 =
                |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?).into());
            let total = u16::from_be_bytes([packet[2], packet[3]]).into();
            (v4(12)?, v4(16)?, u16::from_be_bytes([packet[4], packet[5]]), header, total)
        }
        6 => {
            if *packet.get(6)? != TCP {
                return None;
            }
            let v6 = |at: usize| {
                Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?).to_canonical())
            };
            let payload = u32::from(u16::from_be_bytes([packet[4], packet[5]]));
            (v6(8)?, v6(24)?, 0, 40, if payload == 0 { 0 } else { payload + 40 })
        }
        _ => return None,
    };
    let header = packet.get(tcp..tcp + 20)?;
    let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let headers = tcp as u32 + u32::from(header[12] >> 4) * 4;
    // Packets over 64 KiB say nothing of their length.
    let total = if total == 0 { length } else { total };
    Some(SegmentKey {
        source: SocketAddr::new(source, port(0)),
        destination: SocketAddr::new(destination, port(2)),
        seq: number(4),
        ack: number(8),
        flags: Flags(header[13]),
        ip_id,
        payload: total.checked_sub(headers)?,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A record of a packet.
    pub fn record(event: i32, packet: &[u8]) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        bytes[..4].copy_from_slice(&event.to_ne_bytes());
        bytes[40..44].copy_from_slice(&(packet.len() as u32).to_ne_bytes());
        bytes[48..48 + packet.len()].copy_from_slice(packet);
        bytes
    }

    fn packet() -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 45, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        packet.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, 0x18, 0, 0, 0, 0, 0, 0]);
        packet
    }

    #[test]
    fn a_packet_is_read_by_its_headers() {
        let record = VerdictRecord::read(&record(event::DROPPED, &packet())).unwrap();
        assert_eq!(
            record.segment,
            SegmentKey {
                source: "192.0.2.1:40000".parse().unwrap(),
                destination: "192.0.2.2:80".parse().unwrap(),
                seq: 7,
                ack: 9,
                flags: Flags::ACK | Flags::PSH,
                ip_id: 0x1234,
                payload: 5,
            }
        );
        assert_eq!((record.event, record.queues), (KernelEvent::Dropped, None));
    }

    #[test]
    fn what_is_cut_or_a_fragment_is_no_record() {
        for length in 0..40 {
            assert_eq!(VerdictRecord::read(&record(event::DROPPED, &packet()[..length])), None, "{length}");
        }
        let mut fragment = packet();
        fragment[7] = 1;
        assert_eq!(VerdictRecord::read(&record(event::DROPPED, &fragment)), None);
        let mut shorter = packet();
        shorter[3] = 39;
        assert_eq!(VerdictRecord::read(&record(event::RESET, &shorter)), None);
        assert_eq!(VerdictRecord::read(&record(99, &packet())), None);
    }

    #[test]
    fn queues_are_those_of_a_listener() {
        let mut bytes = record(event::AT_LISTENER, &packet());
        bytes[28..32].copy_from_slice(&129_u32.to_ne_bytes());
        bytes[32..36].copy_from_slice(&128_u32.to_ne_bytes());
        bytes[36..40].copy_from_slice(&3_u32.to_ne_bytes());
        assert_eq!(VerdictRecord::read(&bytes).unwrap().queues, None, "not said to be a listener");
        bytes[44] = LISTEN;
        let queues = Queues { accept: 129, syn: 3, limit: 128, without_cookies: false };
        assert_eq!(VerdictRecord::read(&bytes).unwrap().queues, Some(queues));
        for (cookies, without_cookies) in [(1, true), (2, false), (3, false)] {
            bytes[45] = cookies;
            assert_eq!(
                VerdictRecord::read(&bytes).unwrap().queues,
                Some(Queues { without_cookies, ..queues })
            );
        }
    }
}
