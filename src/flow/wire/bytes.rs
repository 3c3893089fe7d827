//! A segment as the bytes of a packet, checksums and all: what [`crate::decode`] reads back.

use crate::capture::LinkType;
use crate::decode::segment::{Flags, Segment, TcpOptions, Traits};
use crate::time::Timestamp;

/// Raw IP, as of libpcap.
const RAW: LinkType = LinkType(101);
/// Linux cooked capture.
const COOKED: LinkType = LinkType(113);

const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// The packet that carries `s`, or the ICMP error that quotes it.
pub fn packet(s: &Segment) -> (Timestamp, LinkType, Vec<u8>) {
    let packet = match s.icmp() {
        Some((kind, code)) => icmp(s, kind, code),
        None => ip(s, TCP, &tcp(s)),
    };
    if !s.traits.has(Traits::OUTGOING) && !s.traits.has(Traits::INCOMING) {
        return (s.time, RAW, packet);
    }
    let direction = if s.traits.has(Traits::OUTGOING) { 4 } else { 0 };
    let protocol: u16 = if s.traits.has(Traits::V6) { 0x86dd } else { 0x0800 };
    let mut cooked = vec![0, direction, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
    cooked.extend(protocol.to_be_bytes());
    cooked.extend(packet);
    (s.time, COOKED, cooked)
}

fn tcp(s: &Segment) -> Vec<u8> {
    let options = options(s);
    let mut tcp = Vec::new();
    tcp.extend(s.src_port.to_be_bytes());
    tcp.extend(s.dst_port.to_be_bytes());
    tcp.extend(s.seq.0.to_be_bytes());
    tcp.extend(s.ack.0.to_be_bytes());
    tcp.push((((20 + options.len()) / 4) << 4) as u8);
    tcp.push(s.flags.0);
    tcp.extend(s.window.to_be_bytes());
    tcp.extend([0; 4]);
    tcp.extend(options);
    tcp.extend((0..s.payload).map(|n| n as u8));
    let pseudo = pseudo_header(s, TCP, tcp.len());
    let checksum = if s.traits.has(Traits::CHECKSUM_PARTIAL) {
        fold(pseudo)
    } else {
        !fold(pseudo + sum(&tcp)) ^ u16::from(s.traits.has(Traits::CHECKSUM_BAD))
    };
    tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
    tcp
}

fn options(s: &Segment) -> Vec<u8> {
    let mut out = Vec::new();
    if s.options.has(TcpOptions::MSS) {
        out.extend([2, 4]);
        out.extend(s.mss.to_be_bytes());
    }
    if s.options.has(TcpOptions::SACK_PERMITTED) {
        out.extend([4, 2]);
    }
    if s.options.has(TcpOptions::TIMESTAMPS) {
        out.extend([8, 10]);
        out.extend(s.tsval.to_be_bytes());
        out.extend(s.tsecr.to_be_bytes());
    }
    if s.options.has(TcpOptions::WINDOW_SCALE) {
        out.extend([3, 3, s.window_scale]);
    }
    if s.options.has(TcpOptions::SACK) {
        let (from, to) = (s.ack.advance(1_000), s.ack.advance(1_400));
        out.extend([5, 10]);
        out.extend([from.0.to_be_bytes(), to.0.to_be_bytes()].concat());
    }
    if s.options.has(TcpOptions::FAST_OPEN_COOKIE) {
        out.extend([34, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
    } else if s.options.has(TcpOptions::FAST_OPEN_REQUEST) {
        out.extend([34, 2]);
    }
    while out.len() % 4 != 0 {
        out.push(1);
    }
    out
}

/// An ICMP error from a router, or from the host that the segment was meant for.
fn icmp(s: &Segment, kind: u8, code: u8) -> Vec<u8> {
    let quoted = Segment { traits: s.traits.without(Traits::ICMP_ERROR), flags: Flags::NONE, ..*s };
    let mut quote = ip(&quoted, TCP, &tcp(&quoted));
    let v6 = s.traits.has(Traits::V6);
    quote.truncate(if v6 { 40 } else { 20 } + 8);
    let [high, low] = s.mss.to_be_bytes();
    let mut message = vec![kind, code, 0, 0, 0, 0, high, low];
    message.extend(quote);
    // The error goes back to the sender of the quoted packet.
    let carrier = Segment { src: s.dst, dst: s.src, ..*s };
    let protocol = if v6 { ICMPV6 } else { ICMP };
    let pseudo = if v6 { pseudo_header(&carrier, protocol, message.len()) } else { 0 };
    let checksum = !fold(pseudo + sum(&message));
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    ip(&carrier, protocol, &message)
}

fn ip(s: &Segment, protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if s.traits.has(Traits::V6) {
        out.extend((6_u32 << 28 | u32::from(s.tos) << 20).to_be_bytes());
        out.extend((body.len() as u16).to_be_bytes());
        out.extend([protocol, s.ttl]);
        out.extend(s.src.0);
        out.extend(s.dst.0);
    } else {
        out.extend([0x45, s.tos]);
        out.extend((20 + body.len() as u16).to_be_bytes());
        out.extend(s.ip_id.to_be_bytes());
        out.extend(if s.traits.has(Traits::DF) { [0x40, 0] } else { [0, 0] });
        out.extend([s.ttl, protocol, 0, 0]);
        out.extend(&s.src.0[12..]);
        out.extend(&s.dst.0[12..]);
        let checksum = !fold(sum(&out));
        out[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    out.extend(body);
    out
}

fn pseudo_header(s: &Segment, protocol: u8, length: usize) -> u64 {
    // The fixed part of a mapped IPv4 address adds up to 0xffff, which is 0 to the sum.
    sum(&s.src.0) + sum(&s.dst.0) + u64::from(protocol) + length as u64
}

fn sum(data: &[u8]) -> u64 {
    data.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Packet;
    use crate::decode::{Decoded, decode};
    use crate::flow::wire::Wire;

    #[test]
    fn what_is_written_is_what_is_decoded() {
        for wire in [Wire::at_server(), Wire::at_client().v6(), Wire::between().without_timestamps()] {
            let l = wire.ladder(1);
            l.served(0.0);
            l.client.data(1.0, 77).tos(0x20).with(|s| s.traits |= Traits::OUTGOING);
            l.client.ack(1.1).with(|s| s.traits |= Traits::CHECKSUM_BAD);
            l.client.data(1.2, 7).with(|s| s.traits |= Traits::CHECKSUM_PARTIAL);
            let segments = wire.segments();
            for (written, (time, link, data)) in segments.iter().zip(wire.packets()) {
                let packet = Packet {
                    id: written.packet,
                    time,
                    timed: true,
                    interface: 0,
                    link,
                    original_length: data.len() as u32,
                    data: &data,
                };
                let mut read = Segment::default();
                assert_eq!(decode(&packet, &mut read), Decoded::Tcp);
                // Only segments without payload are summed up; those here are right unless they say otherwise.
                let wrong = Traits::CHECKSUM_BAD | Traits::CHECKSUM_PARTIAL;
                if written.payload == 0 && !written.traits.any(wrong) {
                    assert!(read.traits.has(Traits::CHECKSUM_GOOD));
                }
                read.traits = read.traits.without(Traits::CHECKSUM_GOOD);
                assert_eq!(read, *written);
            }
        }
    }

    #[test]
    fn an_icmp_error_quotes_the_segment() {
        for (wire, kind, code) in [(Wire::at_client(), 3, 13), (Wire::at_client().v6(), 1, 1)] {
            let l = wire.ladder(1);
            l.client.syn(0.0);
            l.client.quoted_by_icmp(0.02, kind, code);
            let (_, link, data) = wire.packets().remove(1);
            let packet = Packet {
                id: Default::default(),
                time: Default::default(),
                timed: true,
                interface: 0,
                link,
                original_length: data.len() as u32,
                data: &data,
            };
            let mut read = Segment::default();
            assert_eq!(decode(&packet, &mut read), Decoded::Icmp);
            assert_eq!(read.icmp(), Some((kind, code)));
            assert_eq!((read.src, read.seq), (l.client.host().address, l.client.isn()));
        }
    }
}
