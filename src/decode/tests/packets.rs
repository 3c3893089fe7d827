//! One packet by hand for each link type, tunnel and oddity. All of them carry the same SYN.

use super::*;
use crate::decode::segment::{Address, Flags, TcpOptions, Traits};
use crate::decode::{is_supported, link_name};
use crate::seq::Seq;

/// 192.0.2.1 to 198.51.100.2, TOS 0x10, ID 0x1234, DF, TTL 64, 60 bytes in all.
const IPV4: &str = "4510003c1234400040063c41c0000201c6336402";
/// 2001:db8::1 to 2001:db8:1::2, traffic class 1, hop limit 63, 40 bytes of payload.
const IPV6: &str = "601000000028063f20010db800000000000000000000000120010db8000100000000000000000002";
/// Port 33333 to 80, SYN, sequence 0x01020304, window 0x7210; MSS 1460, SACK permitted, TSval 101, shift 7. The
/// checksum stands after the window.
const SYN: (&str, &str) =
    ("823500500102030400000000a0027210", "0000020405b40402080a000000650000000001030307");
const SYN_SUM_V4: &str = "62c8";
const SYN_SUM_V6: &str = "f389";
/// The folded sum of the IPv4 pseudo-header.
const PSEUDO_SUM_V4: &str = "ec65";

fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<_> =
        digits.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap()).collect();
    assert_eq!(digits.len() % 2, 0, "an odd number of digits");
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn syn_v4() -> Vec<u8> {
    hex(&format!("{IPV4}{}{SYN_SUM_V4}{}", SYN.0, SYN.1))
}

fn syn_v6() -> Vec<u8> {
    hex(&format!("{IPV6}{}{SYN_SUM_V6}{}", SYN.0, SYN.1))
}

fn behind(header: &str, packet: &[u8]) -> Vec<u8> {
    [hex(header).as_slice(), packet].concat()
}

/// An IPv4 header for an outer packet of protocol `protocol` that holds `inner`.
fn outer(protocol: u8, inner: &[u8]) -> Vec<u8> {
    let length = 20 + inner.len();
    behind(&format!("4500{length:04x}00010000ff{protocol:02x}0000 0a000001 0a000002"), inner)
}

fn udp(from: u16, to: u16, inner: &[u8]) -> Vec<u8> {
    outer(17, &behind(&format!("{from:04x}{to:04x}{:04x}0000", inner.len() + 8), inner))
}

fn ethernet(kind: &str, inner: &[u8]) -> Vec<u8> {
    behind(&format!("020000000002 020000000001 {kind}"), inner)
}

/// That this packet holds the SYN, with these traits besides those of the SYN itself, and that it may be cut or
/// damaged anywhere.
#[track_caller]
fn holds_syn(link: u16, data: &[u8], traits: Traits) -> Segment {
    let (result, segment) = decoded(link, data);
    assert_eq!(result, Decoded::Tcp);
    properties::survives_cutting(link, data);
    properties::survives_damage(link, data);
    let v6 = segment.traits.has(Traits::V6);
    let expected = if v6 {
        Segment {
            src: "2001:db8::1".parse::<std::net::IpAddr>().unwrap().into(),
            dst: "2001:db8:1::2".parse::<std::net::IpAddr>().unwrap().into(),
            ip_id: 0,
            ttl: 63,
            tos: 1,
            ..syn()
        }
    } else {
        syn()
    };
    let own = if v6 { Traits::V6 } else { Traits::DF };
    let (hash, neighbours) = (segment.hash, segment.neighbours);
    assert_ne!(hash, 0);
    let traits = traits | own | Traits::CHECKSUM_GOOD;
    assert_eq!(segment, Segment { traits, hash, neighbours, ..expected });
    segment
}

fn syn() -> Segment {
    Segment {
        time: Timestamp(1),
        packet: PacketId::new(0, 1),
        src: Address::v4([192, 0, 2, 1]),
        dst: Address::v4([198, 51, 100, 2]),
        src_port: 33333,
        dst_port: 80,
        seq: Seq(0x0102_0304),
        ack: Seq(0),
        payload: 0,
        window: 0x7210,
        ip_id: 0x1234,
        tsval: 101,
        tsecr: 0,
        mss: 1460,
        flags: Flags::SYN,
        options: TcpOptions::MSS
            | TcpOptions::SACK_PERMITTED
            | TcpOptions::TIMESTAMPS
            | TcpOptions::WINDOW_SCALE,
        window_scale: 7,
        ttl: 64,
        tos: 0x10,
        ..Segment::default()
    }
}

#[test]
fn neighbours_are_the_same_in_both_directions_and_differ_by_router() {
    let between = |to: &[u8; 6], from: &[u8; 6]| {
        let mut frame = ethernet("0800", &syn_v4());
        frame[..6].copy_from_slice(to);
        frame[6..12].copy_from_slice(from);
        holds_syn(1, &frame, Traits::NONE).neighbours
    };
    let (host, router, other) = ([2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 0, 0xfe], [2, 0, 0, 0, 0, 0xfd]);
    assert_eq!(between(&host, &router), between(&router, &host));
    assert_ne!(between(&host, &router), between(&host, &other));
    assert_eq!(between(&host, &[0, 0, 0x5e, 0, 1, 7]), 0, "a router's shared address (VRRP)");
}

#[test]
fn ethernet_and_its_tags() {
    holds_syn(1, &ethernet("0800", &syn_v4()), Traits::NONE);
    holds_syn(1, &ethernet("86dd", &syn_v6()), Traits::NONE);
    holds_syn(1, &ethernet("8100 2064 0800", &syn_v4()), Traits::NONE);
    holds_syn(1, &ethernet("88a8 0001 8100 0002 86dd", &syn_v6()), Traits::NONE);
    holds_syn(1, &ethernet("9100 0001 9100 0001 8100 0002 0800", &syn_v4()), Traits::NONE);
    holds_syn(1, &ethernet("8926 0001 0002 0800", &syn_v4()), Traits::NONE);
    holds_syn(1, &ethernet("88e7 00000001 020000000002 020000000001 0800", &syn_v4()), Traits::NONE);
    let many = "8100 0001 ".repeat(20) + "0800";
    assert_eq!(decoded(1, &ethernet(&many, &syn_v4())).0, Decoded::Other);
}

#[test]
fn trailing_padding_is_no_payload() {
    let mut frame = ethernet("0800", &syn_v4());
    frame.extend([0; 6]);
    assert_eq!(holds_syn(1, &frame, Traits::NONE).payload, 0);
}

#[test]
fn llc_and_snap() {
    holds_syn(1, &ethernet("0044 aaaa03 000000 0800", &syn_v4()), Traits::NONE);
    holds_syn(1, &ethernet("003f 060603", &syn_v4()), Traits::NONE);
    assert_eq!(decoded(1, &ethernet("0026 424203", &[0; 35])).0, Decoded::Other);
}

#[test]
fn pppoe_and_ppp() {
    holds_syn(1, &ethernet("8864 1100 0001 003e 0021", &syn_v4()), Traits::NONE);
    holds_syn(1, &ethernet("8864 1100 0001 0051 57", &syn_v6()), Traits::NONE);
    assert_eq!(decoded(1, &ethernet("8863 1109 0000 0000", &[0; 40])).0, Decoded::Other);
    holds_syn(51, &behind("1100 0001 003e 0021", &syn_v4()), Traits::NONE);
    holds_syn(51, &behind("1100 0001 0000 0021", &syn_v4()), Traits::NONE);
    // Padding that the IP header counts as its own, but PPPoE does not.
    let mut padded = syn_v4();
    padded[3] += 6;
    padded.extend([0; 6]);
    assert_eq!(decoded(51, &behind("1100 0001 003e 0021", &padded)).1.payload, 0);
    holds_syn(9, &behind("ff03 0021", &syn_v4()), Traits::NONE);
    holds_syn(9, &behind("0057", &syn_v6()), Traits::NONE);
    holds_syn(50, &behind("ff03 0021", &syn_v4()), Traits::NONE);
    holds_syn(50, &behind("0f00 0800", &syn_v4()), Traits::NONE);
    holds_syn(204, &behind("00 ff03 0021", &syn_v4()), Traits::INCOMING);
    holds_syn(166, &behind("01 03 0021", &syn_v4()), Traits::OUTGOING);
}

#[test]
fn mpls() {
    holds_syn(1, &ethernet("8847 00010040 00020140", &syn_v4()), Traits::NONE);
    holds_syn(1, &ethernet("8848 00020140", &syn_v6()), Traits::NONE);
    let frame = ethernet("0800", &syn_v4());
    holds_syn(1, &ethernet("8847 00020140 00000000", &frame), Traits::NONE);
    holds_syn(1, &ethernet("8847 00020140", &frame), Traits::NONE);
    holds_syn(219, &behind("00020140", &syn_v4()), Traits::NONE);
}

#[test]
fn cooked_captures_tell_the_direction() {
    let v1 = |kind: &str| behind(&format!("{kind} 0001 0006 020000000001 0000 0800"), &syn_v4());
    holds_syn(113, &v1("0000"), Traits::INCOMING);
    holds_syn(113, &v1("0002"), Traits::INCOMING);
    holds_syn(113, &v1("0003"), Traits::NONE);
    holds_syn(113, &v1("0004"), Traits::OUTGOING);
    let v2 = |kind: &str| behind(&format!("86dd 0000 00000002 0001 {kind} 06 020000000001 0000"), &syn_v6());
    holds_syn(276, &v2("00"), Traits::INCOMING);
    holds_syn(276, &v2("03"), Traits::NONE);
    holds_syn(276, &v2("04"), Traits::OUTGOING);
    let llc = behind("0004 0001 0006 020000000001 0000 0004 aaaa03 000000 0800", &syn_v4());
    holds_syn(113, &llc, Traits::OUTGOING);
}

#[test]
fn raw_ip_under_all_its_numbers() {
    for link in [12, 14, 101] {
        holds_syn(link, &syn_v4(), Traits::NONE);
        holds_syn(link, &syn_v6(), Traits::NONE);
    }
    holds_syn(228, &syn_v4(), Traits::NONE);
    holds_syn(229, &syn_v6(), Traits::NONE);
    assert_eq!(decoded(229, &syn_v4()).0, Decoded::Malformed);
}

#[test]
fn bsd_loopback_in_both_orders() {
    for family in ["02000000", "00000002"] {
        holds_syn(0, &behind(family, &syn_v4()), Traits::NONE);
        holds_syn(108, &behind(family, &syn_v4()), Traits::NONE);
    }
    for family in ["0a000000", "00000017", "18000000", "0000001c", "1e000000"] {
        holds_syn(0, &behind(family, &syn_v6()), Traits::NONE);
    }
    assert_eq!(decoded(0, &behind("07000000", &[0; 40])).0, Decoded::Other);
}

#[test]
fn serial_links() {
    holds_syn(104, &behind("0f00 0800", &syn_v4()), Traits::NONE);
    holds_syn(104, &behind("8f00 86dd", &syn_v6()), Traits::NONE);
    holds_syn(104, &behind("0f00 8847 00020140", &syn_v4()), Traits::NONE);
    holds_syn(205, &behind("00 0f00 0800", &syn_v4()), Traits::INCOMING);
    holds_syn(107, &behind("0461 03 cc", &syn_v4()), Traits::NONE);
    holds_syn(107, &behind("0461 03 00 80 000000 0800", &syn_v4()), Traits::NONE);
    holds_syn(107, &behind("0460 0001 03 8e", &syn_v6()), Traits::NONE);
    holds_syn(107, &behind("0461 0800", &syn_v4()), Traits::NONE);
    holds_syn(206, &behind("01 0461 03 cc", &syn_v4()), Traits::OUTGOING);
    holds_syn(100, &behind("aaaa03 000000 0800", &syn_v4()), Traits::NONE);
    holds_syn(100, &behind("aaaa03 0080c2 0007 0000", &ethernet("0800", &syn_v4())), Traits::NONE);
    holds_syn(123, &behind("02000064 aaaa03 000000 0800", &syn_v4()), Traits::NONE);
}

#[test]
fn netfilter_log() {
    // Attributes: packet header (hook 1, local in), a prefix of 1 byte with padding, the payload.
    let little = "0200 0000  0800 0100 0800 01 00  0500 0a00 41 000000  4000 0900";
    holds_syn(239, &behind(little, &syn_v4()), Traits::INCOMING);
    let big = "0a00 0000  0008 0001 86dd 03 00  0054 0009";
    holds_syn(239, &behind(big, &syn_v6()), Traits::OUTGOING);
    // Only the first 44 bytes of the packet were logged.
    let (result, segment) = decoded(239, &behind("0200 0000 3000 0900", &syn_v4()[..44]));
    assert_eq!((result, segment.mss), (Decoded::Tcp, 1460));
    assert!(segment.traits.has(Traits::OPTIONS_CUT));
}

#[test]
fn wireless() {
    let addresses = "0000 020000000001 020000000002 020000000003";
    let snap = "aaaa03 000000 0800";
    holds_syn(105, &behind(&format!("0801 {addresses} 1000 {snap}"), &syn_v4()), Traits::NONE);
    holds_syn(105, &behind(&format!("8802 {addresses} 1000 0000 {snap}"), &syn_v4()), Traits::NONE);
    holds_syn(105, &behind(&format!("8882 {addresses} 1000 0000 00000000 {snap}"), &syn_v4()), Traits::NONE);
    holds_syn(
        105,
        &behind(&format!("8803 {addresses} 1000 020000000004 0000 {snap}"), &syn_v4()),
        Traits::NONE,
    );
    let data = format!("8801 {addresses} 1000 0000");
    // Time (eight bytes, aligned) and flags with the padding bit: 26 bytes are filled up to 28.
    let radiotap = "00 00 1900 03000000 0000000000000000 20 0000000000000000";
    holds_syn(127, &behind(&format!("{radiotap} {data} 0000 {snap}"), &syn_v4()), Traits::NONE);
    holds_syn(127, &behind(&format!("0000 0c00 00000080 00000000 {data} {snap}"), &syn_v4()), Traits::NONE);
    holds_syn(
        119,
        &behind(&format!("44000000 10000000 0000000000000000 {data} {snap}"), &syn_v4()),
        Traits::NONE,
    );
    holds_syn(119, &behind(&format!("80211001 0000000c 00000000 {data} {snap}"), &syn_v4()), Traits::NONE);
    holds_syn(163, &behind(&format!("80211002 0000000c 00000000 {data} {snap}"), &syn_v4()), Traits::NONE);
    holds_syn(192, &behind(&format!("0000 0800 69000000 {data} {snap}"), &syn_v4()), Traits::NONE);
    // Encrypted; a beacon; data without data.
    for control in ["0841", "8000", "4801"] {
        let frame = behind(&format!("{control} {addresses} 1000 {snap}"), &syn_v4());
        assert_eq!(decoded(105, &frame).0, Decoded::Other);
    }
}

#[test]
fn wrappers_of_other_systems() {
    let frame = ethernet("0800", &syn_v4());
    let apple = "10000000 01000000 01000000 00000000 020000000002 020000000001 0800";
    holds_syn(258, &behind(apple, &syn_v4()), Traits::NONE);
    holds_syn(109, &behind("00000002 00000000 00000000", &syn_v4()), Traits::NONE);
    holds_syn(117, &behind("3d 02 0000", &[vec![0; 60], syn_v4()].concat()), Traits::NONE);
    holds_syn(138, &behind("0000000000000000 0000000000000000 0800", &syn_v4()), Traits::NONE);
    holds_syn(240, &behind("00000000", &frame), Traits::NONE);
    holds_syn(274, &behind("55555555555555d5", &frame), Traits::NONE);
}

#[test]
fn a_header_that_says_it_is_shorter_than_it_is_is_malformed() {
    let shorter = [
        (117, "01 02 0000"),
        (119, "44000000 04000000"),
        (163, "80211002 00000004 00000000"),
        (192, "0000 0700 01000000"),
        (258, "0b000000 01000000 01000000"),
    ];
    for (link, header) in shorter {
        // The packet begins where the length says.
        let packet = behind(header, &syn_v4());
        assert_eq!(decoded(link, &packet).0, Decoded::Malformed, "{link}");
    }
}

#[test]
fn ip_in_ip() {
    holds_syn(101, &outer(4, &syn_v4()), Traits::TUNNELED);
    holds_syn(101, &outer(41, &syn_v6()), Traits::TUNNELED);
    holds_syn(101, &outer(97, &behind("3000", &ethernet("0800", &syn_v4()))), Traits::TUNNELED);
    holds_syn(101, &outer(137, &behind("00020140", &syn_v4())), Traits::TUNNELED);
    holds_syn(101, &outer(143, &ethernet("0800", &syn_v4())), Traits::TUNNELED);
    let nested = (0..8).fold(syn_v4(), |inner, _| outer(4, &inner));
    holds_syn(101, &nested, Traits::TUNNELED);
    assert_eq!(decoded(101, &outer(4, &nested)).0, Decoded::Other);
}

#[test]
fn authentication_header_is_taken_off() {
    let authenticated = behind("06 04 0000 00000001 00000001 0000000000000000 00000000", &syn_v4()[20..]);
    let (result, segment) = decoded(101, &outer(51, &authenticated));
    assert_eq!((result, segment.mss, segment.payload), (Decoded::Tcp, 1460, 0));
}

#[test]
fn generic_routing_encapsulation() {
    let frame = ethernet("0800", &syn_v4());
    holds_syn(101, &outer(47, &behind("0000 0800", &syn_v4())), Traits::TUNNELED);
    holds_syn(101, &outer(47, &behind("b000 86dd 00000000 00000001 00000002", &syn_v6())), Traits::TUNNELED);
    holds_syn(101, &outer(47, &behind("0000 6558", &frame)), Traits::TUNNELED);
    holds_syn(101, &outer(47, &behind("0000 883e", &syn_v4())), Traits::TUNNELED);
    holds_syn(101, &outer(47, &behind("0000 883e 00000000", &syn_v4())), Traits::TUNNELED);
    holds_syn(
        101,
        &outer(47, &behind("3081 880b 00400001 00000001 00000002 0021", &syn_v4())),
        Traits::TUNNELED,
    );
    // ERSPAN types I, II, III, and III with the subheader.
    holds_syn(101, &outer(47, &behind("0000 88be", &frame)), Traits::TUNNELED);
    holds_syn(101, &outer(47, &behind("1000 88be 00000001 1000000000000000", &frame)), Traits::TUNNELED);
    let three = "1000 22eb 00000001 2000000000000000000000";
    holds_syn(101, &outer(47, &behind(&format!("{three}00"), &frame)), Traits::TUNNELED);
    holds_syn(101, &outer(47, &behind(&format!("{three}01 0000000000000000"), &frame)), Traits::TUNNELED);
}

/// The SYN inside VXLAN inside UDP with this checksum.
fn vxlan(checksum: u16) -> Segment {
    let inner = behind("08000000 00000100", &ethernet("0800", &syn_v4()));
    let mut packet = udp(50_000, 4_789, &inner);
    packet[26..28].copy_from_slice(&checksum.to_be_bytes());
    decoded(101, &packet).1
}

/// The ones' complement sum of a datagram and its pseudo-header, with the checksum field at 0.
fn udp_sum(inner: &[u8]) -> u16 {
    let packet = udp(50_000, 4_789, inner);
    let length = (packet.len() - 20) as u16;
    let words =
        packet[12..].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum = words.sum::<u32>() + 17 + u32::from(length);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[test]
fn the_outer_checksum_of_a_tunnel_is_looked_at() {
    let inner = behind("08000000 00000100", &ethernet("0800", &syn_v4()));
    let right = udp_sum(&inner);
    let is_bad = |checksum| vxlan(checksum).traits.has(Traits::OUTER_CHECKSUM_BAD);
    assert!(!is_bad(right) && is_bad(right ^ 1));
    assert!(!is_bad(0), "IPv4 may leave it out");
}

#[test]
fn tunnels_over_udp() {
    let frame = ethernet("0800", &syn_v4());
    for port in [4789, 8472] {
        holds_syn(101, &udp(50000, port, &behind("08000000 00000100", &frame)), Traits::TUNNELED);
    }
    holds_syn(101, &udp(50000, 4790, &behind("0c000002 00000100", &syn_v6())), Traits::TUNNELED);
    let option = "0100 00 01 00000000";
    holds_syn(
        101,
        &udp(50000, 6081, &behind(&format!("0200 6558 00000100 {option}"), &frame)),
        Traits::TUNNELED,
    );
    holds_syn(101, &udp(50000, 6081, &behind("0000 0800 00000100", &syn_v4())), Traits::TUNNELED);
    holds_syn(101, &udp(2152, 2152, &behind("30ff 003c 00000001", &syn_v4())), Traits::TUNNELED);
    let extended = "34ff 0000 00000001 0000 00 85  01 1000 c0  01 0000 00";
    holds_syn(101, &udp(2152, 2152, &behind(extended, &syn_v4())), Traits::TUNNELED);
    holds_syn(101, &udp(3544, 50000, &syn_v6()), Traits::TUNNELED);
    let indications = "0001 0100 ff 0000000000000000 00  0000 ffff ffffffff";
    holds_syn(101, &udp(50000, 3544, &behind(indications, &syn_v6())), Traits::TUNNELED);
    holds_syn(101, &udp(50000, 6635, &behind("00020140", &syn_v4())), Traits::TUNNELED);
    // Something else on those ports is plain UDP, not a damaged tunnel.
    for port in [4789, 4790, 6081, 2152, 3544, 6635, 53] {
        assert_eq!(
            decoded(101, &udp(50000, port, b"GET / HTTP/1.1\r\n\r\n--------------")).0,
            Decoded::Other
        );
    }
}

#[test]
fn a_tunnel_inside_a_first_fragment_goes_on_in_the_next() {
    let mut packet = syn_v4();
    packet[2..4].copy_from_slice(&1500_u16.to_be_bytes());
    let mut packet = outer(4, &packet);
    packet[6] = 0x20;
    let (result, segment) = decoded(101, &packet);
    assert_eq!((result, segment.payload), (Decoded::Tcp, 1440));
}

#[test]
fn fragments() {
    let mut first = syn_v4();
    first[6] = 0x20;
    let (result, segment) = decoded(101, &first);
    assert_eq!(result, Decoded::Tcp);
    assert_eq!(segment.traits, Traits::FRAGMENT);
    first[7] = 1;
    assert_eq!(decoded(101, &first).0, Decoded::LaterFragment);
    first[9] = 17;
    assert_eq!(decoded(101, &first).0, Decoded::Other);

    let v6 = |field: &str| {
        let mut packet = syn_v6();
        packet.splice(40..40, hex(&format!("06 00 {field} 00000001")));
        packet[5] += 8;
        packet[6] = 44;
        packet
    };
    let (result, segment) = decoded(101, &v6("0001"));
    assert_eq!((result, segment.traits), (Decoded::Tcp, Traits::FRAGMENT | Traits::V6));
    assert_eq!(decoded(101, &v6("0008")).0, Decoded::LaterFragment);
    holds_syn(101, &v6("0000"), Traits::NONE);
}

#[test]
fn a_first_fragment_that_ends_inside_the_options_is_still_a_segment() {
    let mut tiny = syn_v4();
    tiny.truncate(20 + 24);
    tiny[3] = 44;
    tiny[6] = 0x20;
    let (result, segment) = decoded(101, &tiny);
    assert_eq!((result, segment.mss, segment.payload), (Decoded::Tcp, 1460, 0));
    assert_eq!(segment.traits, Traits::FRAGMENT | Traits::OPTIONS_CUT);
}

#[test]
fn ipv6_extension_headers() {
    let with = |first: u8, headers: &str| {
        let headers = hex(headers);
        let mut packet = syn_v6();
        packet[5] += headers.len() as u8;
        packet[6] = first;
        packet.splice(40..40, headers);
        packet
    };
    holds_syn(101, &with(0, "0600 0104 00000000"), Traits::NONE);
    holds_syn(
        101,
        &with(0, "3300 0104 00000000  0604 0000 00000001 00000001 000000000000000000000000"),
        Traits::NONE,
    );
    // A destination option or a routing header may name other addresses: the checksum is not judged.
    let (result, segment) = decoded(101, &with(60, "2b00 0104 00000000  0600 0400 00000000"));
    assert_eq!((result, segment.mss, segment.traits), (Decoded::Tcp, 1460, Traits::V6));
    assert_eq!(decoded(101, &with(59, "")).0, Decoded::Other);
    assert_eq!(decoded(101, &with(0, "06ff 0104 00000000")).0, Decoded::Malformed);
}

#[test]
fn jumbograms_and_offload_without_a_length() {
    // The option tells 48 + 4 bytes: hop-by-hop header, TCP header, and 4 of payload; then padding.
    let mut jumbo = syn_v6();
    jumbo[4..7].copy_from_slice(&[0, 0, 0]);
    jumbo.splice(40..40, hex("0600 c204 00000034"));
    jumbo.extend([0; 10]);
    assert_eq!(decoded(101, &jumbo).1.payload, 4);
    // Without the option the frame's length counts.
    let mut offload = syn_v6();
    offload[4..6].copy_from_slice(&[0, 0]);
    offload.extend([0; 10]);
    assert_eq!(decoded(101, &offload).1.payload, 10);
    let mut offload = syn_v4();
    offload[2..4].copy_from_slice(&[0, 0]);
    let mut out = Segment::default();
    let cut = Packet { original_length: 200_000, ..packet(101, &offload) };
    assert_eq!((decode(&cut, &mut out), out.payload), (Decoded::Tcp, 200_000 - 60));
}

#[test]
fn a_jumbo_length_that_ends_inside_its_own_header_is_malformed() {
    for (next, length) in [("06", 0_u32), ("06", 7), ("3c", 0), ("00", 4), ("2c", 1)] {
        let mut packet = syn_v6();
        packet[4..7].copy_from_slice(&[0, 0, 0]);
        packet.splice(40..40, hex(&format!("{next}00 c204 {length:08x}")));
        assert_eq!(decoded(101, &packet).0, Decoded::Malformed, "{next} {length}");
        // Inside a tunnel on a UDP port too: the IP header proves that the port was no coincidence.
        let vxlan = behind("08000000 00000100", &ethernet("86dd", &packet));
        assert_eq!(decoded(101, &udp(54321, 4789, &vxlan)).0, Decoded::Malformed, "{next} {length}");
        // A length of just the header leaves an empty segment.
        packet[44..48].copy_from_slice(&8_u32.to_be_bytes());
        assert_eq!(decoded(101, &packet).0, Decoded::Malformed, "{next}");
    }
    // What a UDP port made us expect and is not there is no contradiction.
    for port in [4789, 8472, 6081, 2152, 3544, 6635] {
        assert_eq!(decoded(101, &udp(54321, port, &[0; 4])).0, Decoded::Other, "{port}");
        assert_eq!(decoded(101, &udp(54321, port, &[8; 40])).0, Decoded::Other, "{port}");
    }
}

#[test]
fn payload_comes_from_the_ip_header_as_far_as_the_frame_permits() {
    let mut long = syn_v4();
    long[2..4].copy_from_slice(&1500_u16.to_be_bytes());
    let mut out = Segment::default();
    // Cut by the snapshot length: 1440 bytes were on the wire.
    let cut = Packet { original_length: 1500, ..packet(101, &long) };
    assert_eq!((decode(&cut, &mut out), out.payload), (Decoded::Tcp, 1440));
    // The frame really was shorter than its IP header says.
    let short = Packet { original_length: 160, ..packet(101, &long) };
    assert_eq!((decode(&short, &mut out), out.payload), (Decoded::Tcp, 100));
    // An original length below the captured one is the file's mistake.
    let bytes = syn_v4();
    let wrong = Packet { original_length: 1, ..packet(101, &bytes) };
    assert_eq!((decode(&wrong, &mut out), out.payload), (Decoded::Tcp, 0));
}

#[test]
fn the_snapshot_length_may_end_inside_the_tcp_header() {
    let bytes = syn_v4();
    let at = |length: usize| {
        let mut out = Segment::default();
        let cut = Packet { data: &bytes[..length], ..packet(101, &bytes) };
        (decode(&cut, &mut out), out)
    };
    assert_eq!(at(20 + 13).0, Decoded::Cut);
    assert_eq!(at(10).0, Decoded::Cut);
    let (result, segment) = at(20 + 14);
    assert_eq!((result, segment.flags, segment.window), (Decoded::Tcp, Flags::SYN, 0));
    assert_eq!(segment.traits, Traits::DF | Traits::OPTIONS_CUT);
    let (_, segment) = at(20 + 24);
    assert_eq!((segment.window, segment.mss, segment.options), (0x7210, 1460, TcpOptions::MSS));
    assert!(segment.traits.has(Traits::OPTIONS_CUT));
    assert_eq!(at(60).1.traits, Traits::DF | Traits::CHECKSUM_GOOD);
}

#[test]
fn contradictions_are_malformed() {
    let changed = |place: usize, value: u8| {
        let mut packet = syn_v4();
        packet[place] = value;
        decoded(101, &packet).0
    };
    assert_eq!(changed(0, 0x44), Decoded::Malformed, "IPv4 header of 16 bytes");
    assert_eq!(changed(0, 0x35), Decoded::Malformed, "version 3");
    assert_eq!(changed(3, 19), Decoded::Malformed, "shorter than its header");
    assert_eq!(changed(3, 30), Decoded::Malformed, "ends inside the TCP header");
    assert_eq!(changed(32, 0x40), Decoded::Malformed, "TCP header of 16 bytes");
    assert_eq!(changed(32, 0xb0), Decoded::Malformed, "TCP header beyond the datagram");
    assert_eq!(decoded(101, &syn_v4()[..50]).0, Decoded::Malformed, "frame of 50 bytes");
    assert_eq!(decoded(101, &[]).0, Decoded::Malformed);
}

#[test]
fn checksum_right_wrong_and_left_to_the_device() {
    let with = |sum: &str, data: &str| hex(&format!("{IPV4}{}{sum}{}{data}", SYN.0, SYN.1));
    let traits = |packet: &[u8]| decoded(101, packet).1.traits.without(Traits::DF);
    assert_eq!(traits(&with(SYN_SUM_V4, "")), Traits::CHECKSUM_GOOD);
    assert_eq!(traits(&with("62c9", "")), Traits::CHECKSUM_BAD);
    assert_eq!(traits(&with(PSEUDO_SUM_V4, "")), Traits::CHECKSUM_PARTIAL);

    // Data, odd in length. Not verified where only ACK is set, but the pseudo-header sum still shows.
    let mut data = with("0000", "616263");
    data[3] = 63;
    assert_eq!(traits(&data), Traits::CHECKSUM_BAD, "SYN with data is verified");
    data[33] = Flags::ACK.0;
    assert_eq!(traits(&data), Traits::NONE);
    // Three bytes more in the length than above.
    let partial = u16::from_str_radix(PSEUDO_SUM_V4, 16).unwrap() + 3;
    data[36..38].copy_from_slice(&partial.to_be_bytes());
    assert_eq!(traits(&data), Traits::CHECKSUM_PARTIAL);
    let mut out = Segment::default();
    let cut = Packet { data: &data[..60], ..packet(101, &data) };
    decode(&cut, &mut out);
    assert!(out.traits.has(Traits::CHECKSUM_PARTIAL));
}

#[test]
fn options_in_every_shape() {
    let with = |options: &str| {
        let options = hex(options);
        let mut packet = syn_v4();
        packet.truncate(40);
        packet[3] = 40 + options.len() as u8;
        packet[32] = ((20 + options.len()) / 4 * 16) as u8;
        packet.extend(options);
        let (result, segment) = decoded(101, &packet);
        assert_eq!(result, Decoded::Tcp);
        segment
    };
    let times = with("0101 080a 00000001 00000002");
    assert_eq!((times.options, times.tsval, times.tsecr), (TcpOptions::TIMESTAMPS, 1, 2));
    let times = with("080a 00000001 00000002 0000");
    assert_eq!((times.options, times.timestamp()), (TcpOptions::TIMESTAMPS, Some(1)));
    let both = with("0101 080a 00000001 00000002 0101 050a 00000001 00000002");
    assert_eq!(both.options, TcpOptions::TIMESTAMPS | TcpOptions::SACK);
    assert_eq!(with("2202 0101").options, TcpOptions::FAST_OPEN_REQUEST);
    assert_eq!(with("220a 0102030405060708 0101").options, TcpOptions::FAST_OPEN_COOKIE);
    assert_eq!(with("2207 0102030405 00").options, TcpOptions::NONE, "a cookie of five bytes");
    assert_eq!(with("fe04 f989").options, TcpOptions::FAST_OPEN_REQUEST);
    assert_eq!(with("fd0c f989 0102030405060708").options, TcpOptions::FAST_OPEN_COOKIE);
    assert_eq!(with("fd04 e2d4").options, TcpOptions::NONE, "another experiment");
    // Impossible lengths: 0, 1, beyond the end. Then bytes after the end of the list.
    for hostile in ["0200 05b4", "0201 05b4", "0205 05b4", "0001 0402", "03ff 0700", "01010103"] {
        assert_eq!(with(hostile).options, TcpOptions::NONE, "{hostile}");
    }
    // An option of the wrong length is left out; the next one is read.
    assert_eq!(with("0203 05 0303 07 0000").options, TcpOptions::WINDOW_SCALE);
}

#[test]
fn icmp_errors_hand_out_the_quoted_segment() {
    // Fragmentation needed, MTU 1400; from 10.0.0.1.
    let quote = &syn_v4()[..28];
    let (result, segment) = decoded(101, &outer(1, &behind("0304 0000 0000 0578", quote)));
    assert_eq!(result, Decoded::Icmp);
    assert_eq!(segment.icmp(), Some((3, 4)));
    let expected = Segment {
        traits: Traits::ICMP_ERROR | Traits::DF,
        hash: segment.hash,
        window: 0x0304,
        mss: 1400,
        ttl: 255,
        tos: 0,
        flags: Flags::NONE,
        options: TcpOptions::NONE,
        tsval: 0x0a00_0001,
        window_scale: 0,
        ..syn()
    };
    assert_eq!(segment, expected);
    assert_eq!(segment.icmp_sender(), Some(Address::v4([10, 0, 0, 1])));
    assert_eq!(segment.hash, holds_syn(101, &syn_v4(), Traits::NONE).hash);

    // A longer quote gives the payload as well; the sender is the destination itself.
    let mut data = syn_v4();
    data[3] = 160;
    let mut unreachable = outer(1, &behind("0303 0000 0000 0000", &data));
    unreachable[12..16].copy_from_slice(&[198, 51, 100, 2]);
    let (_, segment) = decoded(101, &unreachable);
    assert_eq!((segment.icmp(), segment.payload), (Some((3, 3)), 100));
    assert!(segment.traits.has(Traits::FROM_DESTINATION));

    // Redirect, echo, a quoted UDP datagram, a quote that is too short.
    assert_eq!(decoded(101, &outer(1, &behind("0501 0000 0a000003", quote))).0, Decoded::Other);
    assert_eq!(decoded(101, &outer(1, &behind("0800 0000 00010001", quote))).0, Decoded::Other);
    let mut datagram = quote.to_vec();
    datagram[9] = 17;
    assert_eq!(decoded(101, &outer(1, &behind("0303 0000 00000000", &datagram))).0, Decoded::Other);
    assert_eq!(decoded(101, &outer(1, &behind("0303 0000 00000000", &quote[..27]))).0, Decoded::Malformed);
}

#[test]
fn icmpv6_errors_hand_out_the_quoted_segment() {
    let error = behind("0104 0000 00000000", &syn_v6());
    let header = format!("60000000 {:04x} 3a ff 20010db8000100000000000000000002", error.len());
    let packet = behind(&format!("{header} 20010db8000000000000000000000001"), &error);
    let (result, segment) = decoded(101, &packet);
    assert_eq!((result, segment.icmp(), segment.ttl), (Decoded::Icmp, Some((1, 4)), 255));
    assert_eq!((segment.source().to_string(), segment.seq), ("[2001:db8::1]:33333".into(), Seq(0x0102_0304)));
    assert_eq!(segment.traits, Traits::V6 | Traits::ICMP_ERROR | Traits::FROM_DESTINATION);
    assert_eq!(segment.hash, holds_syn(101, &syn_v6(), Traits::NONE).hash);
}

#[test]
fn packets_without_tcp() {
    assert_eq!(decoded(1, &ethernet("0806", &[0; 28])).0, Decoded::Other);
    assert_eq!(decoded(101, &udp(1000, 53, &[0; 20])).0, Decoded::Other);
    assert_eq!(decoded(101, &outer(132, &[0; 20])).0, Decoded::Other);
}

#[test]
fn a_packet_without_time_says_so() {
    let bytes = syn_v4();
    let mut out = Segment::default();
    decode(&Packet { timed: false, ..packet(101, &bytes) }, &mut out);
    assert!(out.traits.has(Traits::NO_TIME));
}

#[test]
fn link_types_are_known_where_they_are_read() {
    for link in 0..=u16::MAX {
        let result = decoded(link, &[0; 64]).0;
        assert_eq!(result != Decoded::UnknownLink, is_supported(LinkType(link)), "{link}");
        assert!(!is_supported(LinkType(link)) || link_name(LinkType(link)).is_some(), "{link}");
    }
    assert_eq!(link_name(LinkType(1)), Some("ETHERNET"));
    assert_eq!(link_name(LinkType(189)), Some("USB_LINUX"));
    assert_eq!(link_name(LinkType(1240)), None);
}

#[test]
fn link_names_are_in_order() {
    assert!(crate::decode::link_names::NAMES.is_sorted_by(|a, b| a.0 < b.0));
}
