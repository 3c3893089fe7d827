use proptest::prelude::*;

use super::*;
use crate::capture::Packet;
use crate::decode::segment::{PacketId, Segment, Traits};
use crate::decode::{Decoded, decode};
use crate::redact::PseudonymKey;
use crate::time::Timestamp;

/// The link type.
const ETHERNET: u16 = 1;

fn rewriter() -> Rewriter {
    Rewriter::redacting(Pseudonyms::new(&PseudonymKey::new([7; PseudonymKey::BYTES])))
}

/// An Ethernet frame with one TCP segment between 192.0.2.1 and 192.0.2.2 and right checksums.
fn frame(payload: &[u8]) -> Vec<u8> {
    let builder = etherparse::PacketBuilder::ethernet2([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12])
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .tcp(40_000, 80, 1, 1000)
        .ack(2);
    let mut out = Vec::new();
    builder.write(&mut out, payload).unwrap();
    out
}

fn v6_frame(payload: &[u8]) -> Vec<u8> {
    let builder = etherparse::PacketBuilder::ethernet2([1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12])
        .ipv6([0x20; 16], [0x30; 16], 64)
        .tcp(40_000, 80, 1, 1000)
        .ack(2);
    let mut out = Vec::new();
    builder.write(&mut out, payload).unwrap();
    out
}

fn decoded(data: &[u8], original: u32) -> (Decoded, Segment) {
    decoded_as(ETHERNET, data, original)
}

fn decoded_as(link: u16, data: &[u8], original: u32) -> (Decoded, Segment) {
    let mut segment = Segment::default();
    let packet = Packet {
        id: PacketId::new(0, 1),
        time: Timestamp(0),
        timed: true,
        interface: 0,
        link: LinkType(link),
        original_length: original,
        data,
    };
    (decode(&packet, &mut segment), segment)
}

fn redacted(mut data: Vec<u8>) -> (Vec<u8>, u32) {
    let original = data.len() as u32;
    let kept = rewriter().rewrite(LinkType(ETHERNET), &mut data, original);
    data.truncate(kept);
    (data, original)
}

#[test]
fn addresses_change_and_a_right_checksum_stays_right() {
    for plain in [frame(b""), v6_frame(b"")] {
        let (_, before) = decoded(&plain, plain.len() as u32);
        assert!(before.traits.has(Traits::CHECKSUM_GOOD));
        let (data, original) = redacted(plain);
        let (what, after) = decoded(&data, original);
        assert_eq!(what, Decoded::Tcp);
        assert!(after.traits.has(Traits::CHECKSUM_GOOD));
        assert_ne!(after.src, before.src);
        assert_ne!(after.dst, before.dst);
        assert_eq!(
            (after.src_port, after.dst_port, after.seq),
            (before.src_port, before.dst_port, before.seq)
        );
        assert_eq!(data[..12], [0; 12], "MAC addresses are zeroed");
    }
}

#[test]
fn a_wrong_checksum_stays_wrong_and_a_partial_one_partial() {
    let mut wrong = frame(b"");
    wrong[50] ^= 0x55;
    let (data, original) = redacted(wrong);
    assert!(decoded(&data, original).1.traits.has(Traits::CHECKSUM_BAD));

    let mut partial = frame(b"");
    let pseudo = fold(words(&partial[26..34]) + TCP + 20);
    partial[50..52].copy_from_slice(&pseudo.to_be_bytes());
    assert!(decoded(&partial, partial.len() as u32).1.traits.has(Traits::CHECKSUM_PARTIAL));
    let (data, original) = redacted(partial);
    assert!(decoded(&data, original).1.traits.has(Traits::CHECKSUM_PARTIAL));
}

#[test]
fn the_payload_goes_and_its_length_stays() {
    let (data, original) = redacted(frame(b"GET /secret HTTP/1.1"));
    assert_eq!(data.len(), 54);
    let (what, segment) = decoded(&data, original);
    assert_eq!((what, segment.payload), (Decoded::Tcp, 20));

    let mut stripped = frame(b"secret");
    let kept = Rewriter::new(Payload::Strip).rewrite(LinkType(ETHERNET), &mut stripped, 60);
    let mut expected = frame(b"secret")[..54].to_vec();
    expected[50..52].copy_from_slice(&stripped[50..52]);
    assert_eq!(
        stripped[..kept],
        expected,
        "without redaction only the payload goes, and what the checksum tells of it"
    );
    let mut whole = frame(b"secret");
    assert_eq!(Rewriter::new(Payload::Keep).rewrite(LinkType(ETHERNET), &mut whole, 60), 60);
}

/// A packet after the removal of its payload, with pseudonyms and without.
fn left_of(link: u16, packet: &[u8]) -> [Vec<u8>; 2] {
    [rewriter(), Rewriter::new(Payload::Strip)].map(|mut rewriter| {
        let mut data = packet.to_vec();
        let kept = rewriter.rewrite(LinkType(link), &mut data, packet.len() as u32);
        data.truncate(kept);
        data
    })
}

/// A payload of one or two bytes could be computed from a checksum that covers it: whatever it was, the same is left.
#[test]
fn no_checksum_tells_the_payload() {
    const RAW: u16 = 101;
    let ip = |protocol: u8, body: &[u8]| {
        let length = (20 + body.len()) as u8;
        let header = [0x45, 0, 0, length, 0, 0, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        [&header[..], body].concat()
    };
    for (a, b) in [(&b"a"[..], &b"z"[..]), (b"ab", b"yz")] {
        for of in [frame, v6_frame] {
            assert_eq!(left_of(ETHERNET, &of(a)), left_of(ETHERNET, &of(b)));
        }
        let segments = [a, b].map(|payload| frame(payload)[14..].to_vec());
        // As an ICMP error quotes it, behind a UDP checksum, and behind a checksum of GRE.
        let around = |header: &[u8], protocol: u8, sum: u8| {
            let of = |segment: &Vec<u8>, secret: &[u8]| {
                let mut body = [header, segment].concat();
                body[usize::from(sum)] = secret[0];
                left_of(RAW, &ip(protocol, &body))
            };
            assert_eq!(of(&segments[0], a), of(&segments[1], b), "protocol {protocol}");
        };
        around(&[3, 3, 0, 0, 0, 0, 0, 0], 1, 2);
        around(&[0xd4, 0x31, 0, 53, 0, 40, 0, 0], 17, 6);
        around(&[0x80, 0, 8, 0, 0, 0, 0, 0], 47, 4);
    }
}

/// The option that makes a packet malformed stays, wherever it stands.
#[test]
fn a_jumbogram_that_contradicts_itself_stays_one() {
    for padding in [&[][..], &[0, 0, 0, 0, 0, 0, 0, 0], &[1, 6, 0, 0, 0, 0, 0, 0], &[5, 2, 0, 0, 1, 2, 0, 0]]
    {
        let header = [&[6, (padding.len() / 8) as u8][..], padding, &[0xc2, 4, 0, 0, 0, 3]].concat();
        let plain = v6_frame(b"");
        let mut packet = [&plain[..54], &header, &plain[54..]].concat();
        packet[18..21].copy_from_slice(&[0, 0, 0]);
        assert_eq!(decoded(&packet, packet.len() as u32).0, Decoded::Malformed, "{padding:?}");
        let (data, original) = redacted(packet);
        assert_eq!(decoded(&data, original).0, Decoded::Malformed, "{padding:?}");
    }
}

/// What shows the contradiction stays, though it lies in a header that is not whole.
#[test]
fn a_header_longer_than_its_place_stays_malformed() {
    let nflog = [&[2, 0, 0, 0, 22, 0, 9, 0, 0x45, 0, 0, 0][..], &[7; 60]].concat();
    let radiotap = [0, 0, 40, 0, 3, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7].to_vec();
    let ip_in_short_ip = [&[0x45, 0, 0, 30, 0, 0, 0, 0, 64, 4][..], &[7; 10], &[0x45], &[7; 40]].concat();
    let cisco_hdlc = vec![0x8f, 0];
    for (link, packet) in [(239, nflog), (127, radiotap), (101, ip_in_short_ip), (9, cisco_hdlc)] {
        let original = packet.len() as u32;
        assert_eq!(decoded_as(link, &packet, original).0, Decoded::Malformed, "link type {link}");
        let mut data = packet;
        let kept = rewriter().rewrite(LinkType(link), &mut data, original);
        assert_eq!(decoded_as(link, &data[..kept], original).0, Decoded::Malformed, "link type {link}");
    }
}

#[test]
fn what_is_not_known_ends_the_packet() {
    let mut arp = frame(b"");
    arp[12..14].copy_from_slice(&[0x08, 0x06]);
    assert_eq!(rewriter().rewrite(LinkType(ETHERNET), &mut arp, 54), 14);
    assert_eq!(rewriter().rewrite(LinkType(147), &mut frame(b""), 54), 0);
    let mut udp = frame(b"");
    udp[23] = 17;
    assert_eq!(
        rewriter().rewrite(LinkType(ETHERNET), &mut udp, 54),
        42,
        "the UDP header, and nothing of its payload"
    );
}

#[test]
fn inner_addresses_of_tunnels_and_icmp_errors_are_replaced() {
    let inner = frame(b"secret")[14..].to_vec();
    let mut outer = frame(b"")[..34].to_vec();
    outer[23] = 4;
    outer.extend(&inner);
    let length = (outer.len() - 14) as u16;
    outer[16..18].copy_from_slice(&length.to_be_bytes());
    let (data, original) = redacted(outer);
    let (what, segment) = decoded(&data, original);
    assert_eq!(what, Decoded::Tcp);
    assert_ne!(segment.src.ip().to_string(), "192.0.2.1");

    let mut error = frame(b"")[..34].to_vec();
    error[23] = 1;
    error.extend([3, 3, 0, 0, 0, 0, 0, 0]);
    error.extend(&inner);
    let length = (error.len() - 14) as u16;
    error[16..18].copy_from_slice(&length.to_be_bytes());
    let (data, original) = redacted(error);
    assert!(!data.windows(4).any(|bytes| bytes == [192, 0, 2, 1]));
    assert!(!data.windows(6).any(|bytes| bytes == b"secret"));
    assert_eq!(decoded(&data, original).0, Decoded::Icmp);
}

#[test]
fn ip_options_with_addresses_are_blanked() {
    let mut recorded = frame(b"");
    recorded[14] = 0x47;
    // Record route: 192.0.2.9.
    recorded.splice(34..34, [7, 7, 8, 192, 0, 2, 9, 0]);
    let (data, _) = redacted(recorded);
    assert_eq!(data[34..42], [1; 8]);
}

/// Bytes from hexadecimal digits, with `ACME!` for a name that must go.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in text.split_whitespace() {
        match word {
            "ACME!" => bytes.extend(b"ACME!"),
            _ => bytes
                .extend((0..word.len()).step_by(2).map(|i| u8::from_str_radix(&word[i..i + 2], 16).unwrap())),
        }
    }
    bytes
}

/// An IPv4 packet from 192.0.2.1 to 192.0.2.2 of `protocol` with `body`.
fn packet_v4(protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = frame(b"")[14..34].to_vec();
    packet[9] = protocol;
    packet[2..4].copy_from_slice(&((20 + body.len()) as u16).to_be_bytes());
    packet.extend(body);
    packet
}

const SNAP: &str = "aaaa03 000000 0800";
/// A data frame to the distribution system: three addresses, sequence control, quality of service.
const WLAN: &str = "8801 0000 010203040506 0708090a0b0c 010203040506 1000 0000";

/// Whatever [`crate::decode`] finds in a link type or a tunnel it finds in the redacted packet, too, and nothing else
/// is left.
#[test]
fn every_link_type_and_tunnel_keeps_its_segment_and_nothing_that_names_somebody() {
    let ip = frame(b"secret-payload")[14..].to_vec();
    let ethernet = frame(b"secret-payload");
    let ethernet_in = |before: &str| [bytes(before), ethernet.clone()].concat();
    let before = |text: &str| [bytes(text), ip.clone()].concat();
    let nflog = {
        let length = format!("{:02x}00", ip.len() + 4);
        before(&format!("02000000 09000a00 ACME! 000000 0c000800 010203040506 0000 {length} 0900"))
    };
    let udp = |port: u16, body: Vec<u8>| {
        let mut datagram = vec![0xc0, 0];
        datagram.extend(port.to_be_bytes());
        datagram.extend((8 + body.len() as u16).to_be_bytes());
        datagram.extend([0x12, 0x34]);
        datagram.extend(body);
        packet_v4(17, &datagram)
    };
    let v6 = v6_frame(b"secret-payload")[14..].to_vec();
    let six = |next: u8, header: &[u8]| {
        let mut packet = v6.clone();
        packet[6] = next;
        packet[4..6].copy_from_slice(&((v6.len() - 40 + header.len()) as u16).to_be_bytes());
        packet.splice(40..40, header.iter().copied());
        packet
    };
    let option = [&[6, 0, 5, 4][..], b"ACME"].concat();
    let authentication = [&[6, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1][..], b"ACME"].concat();
    let gre = |text: &str, inner: &[u8]| packet_v4(47, &[bytes(text), inner.to_vec()].concat());
    let packets = [
        ("Ethernet", 1, ethernet.clone()),
        ("two VLAN tags", 1, [&ethernet[..12], &bytes("88a80001 81000002"), &ethernet[12..]].concat()),
        ("MPLS", 1, before("0708090a0b0c 010203040506 8847 00001140")),
        ("PPPoE", 1, before(&format!("0708090a0b0c 010203040506 8864 11000001 {:04x} 0021", ip.len() + 2))),
        ("LLC", 1, before(&format!("0708090a0b0c 010203040506 0060 {SNAP}"))),
        ("a backbone", 1, ethernet_in("010101010101 010101010101 88e7 00000000")),
        ("raw IP", 101, ip.clone()),
        ("raw IP, version 6", 229, v6.clone()),
        ("loopback", 0, before("02000000")),
        ("PPP", 9, before("ff03 0021")),
        ("PPP with its direction", 204, before("00 ff03 0021")),
        ("PPPoE alone", 51, before(&format!("11000001 {:04x} 0021", ip.len() + 2))),
        ("Cisco HDLC", 104, before("0f00 0800")),
        ("frame relay", 107, before("1841 0300 cc")),
        ("ATM", 100, before(SNAP)),
        ("cooked", 113, before("0000 0001 0006 010203040506 0000 0800")),
        ("cooked, version 2", 276, before("0800 0000 00000002 0001 00 06 010203040506 0000")),
        ("NFLOG", 239, nflog),
        ("IEEE 802.11", 105, before(&format!("{WLAN} {SNAP}"))),
        ("radiotap", 127, before(&format!("0000 0d00 00000080 00000000 00 {WLAN} {SNAP}"))),
        ("Prism", 119, before(&format!("44000000 10000000 ACME! 000000 {WLAN} {SNAP}"))),
        ("AVS", 163, before(&format!("80211001 00000010 ACME! 000000 {WLAN} {SNAP}"))),
        ("per-packet information", 192, ethernet_in("0000 1000 01000000 ACME! 000000")),
        ("macOS's tap", 258, ethernet_in("14000000 01000000 01000000 ACME! 000000")),
        ("pf's log", 117, before(&format!("30 02 0000 ACME! {}", "00".repeat(39)))),
        ("raw IP of BSD", 12, ip.clone()),
        ("raw IP of OpenBSD", 14, ip.clone()),
        ("IPv4 alone", 228, ip.clone()),
        ("loopback of OpenBSD", 108, before("00000002")),
        ("PPP in HDLC", 50, before("ff03 0021")),
        ("pppd", 166, before("01 03 0021")),
        ("Cisco HDLC with its direction", 205, before("01 0f00 0800")),
        ("frame relay with its direction", 206, before("01 1841 0300 cc")),
        ("SunATM", 123, before(&format!("00000001 {SNAP}"))),
        ("MPLS alone", 219, before("00001140")),
        ("a network analyzer's Ethernet", 240, ethernet_in("00000000")),
        ("Ethernet with its preamble", 274, ethernet_in("555555555555 55d5")),
        ("IPsec's interface", 109, before("02000000 00000000 00000000")),
        ("IEEE 1394", 138, before("0102030405060102 0708090a0b0c0102 0800")),
        ("IP in IP", 101, packet_v4(4, &ip)),
        ("GRE", 101, gre("b000 0800 12340000 00000001 00000002", &ip)),
        ("Ethernet in GRE", 101, gre("0000 6558", &ethernet)),
        ("ERSPAN", 101, gre("1000 88be 00000001 0000000000000000", &ethernet)),
        ("ERSPAN, type III", 101, gre("1000 22eb 00000001 000000000000000000000000", &ethernet)),
        ("PPTP", 101, gre("3081 880b 00000000 00000001 00000002 ff03 0021", &ip)),
        ("VXLAN", 101, udp(4789, ethernet_in("08000000 00000100"))),
        ("VXLAN-GPE", 101, udp(4790, before("0c000001 00000100"))),
        ("Geneve", 101, udp(6081, ethernet_in("0300 6558 00000100 01020302 ACME! 000000"))),
        ("GTP-U", 101, udp(2152, before("30ff 0000 00000001"))),
        ("GTP-U with an extension", 101, udp(2152, before("34ff 0000 00000001 000000 85 01 0102 00"))),
        ("Teredo", 101, udp(3544, [bytes("0000 1234 c0000201"), v6.clone()].concat())),
        ("MPLS in UDP", 101, udp(6635, before("00001140"))),
        ("EtherIP", 101, packet_v4(97, &ethernet_in("3000"))),
        ("IPv4 authentication", 101, packet_v4(51, &[authentication.clone(), ip[20..].to_vec()].concat())),
        ("hop-by-hop options", 101, six(0, &option)),
        ("destination options", 101, six(60, &option)),
        ("a route", 101, six(43, &[&[6, 2, 0, 1, 0, 0, 0, 0][..], &[0x20; 16]].concat())),
        ("mobility", 101, six(135, &option)),
        ("IPv6 authentication", 101, six(51, &authentication)),
    ];
    let missing: Vec<u16> = (0..400)
        .filter(|link| crate::decode::is_supported(LinkType(*link)))
        .filter(|link| packets.iter().all(|packet| packet.1 != *link))
        .collect();
    assert_eq!(missing, Vec::<u16>::new(), "link types that are decoded and have no packet here");
    for (what, link, data) in packets {
        let original = data.len() as u32;
        let look = |data: &[u8]| {
            let mut segment = Segment::default();
            let id = PacketId::new(0, 1);
            let link = LinkType(link);
            let packet = Packet {
                id,
                time: Timestamp(0),
                timed: true,
                interface: 0,
                link,
                original_length: original,
                data,
            };
            (decode(&packet, &mut segment), segment)
        };
        let (plainly, before) = look(&data);
        assert_eq!(plainly, Decoded::Tcp, "{what}: the packet is well made");
        let mut data = data.clone();
        let kept = rewriter().rewrite(LinkType(link), &mut data, original);
        data.truncate(kept);
        let (found, after) = look(&data);
        assert_eq!(found, Decoded::Tcp, "{what}");
        assert_eq!(
            (after.seq, after.ack, after.src_port, after.dst_port, after.flags, after.payload),
            (before.seq, before.ack, before.src_port, before.dst_port, before.flags, before.payload),
            "{what}"
        );
        assert_ne!(after.src, before.src, "{what}");
        for left in [&b"secret"[..], b"ACME", &[192, 0, 2, 1], &[192, 0, 2, 2], &[0x20; 16], &[0x30; 16]] {
            assert!(!data.windows(left.len()).any(|bytes| bytes == left), "{what}: {left:?} in {data:02x?}");
        }
        for mac in [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]] {
            assert!(!data.windows(6).any(|bytes| bytes == mac), "{what}: a MAC address in {data:02x?}");
        }
    }
}

/// A frame whose TCP header has these options.
fn with_options(options: &[u8]) -> Vec<u8> {
    let mut frame = frame(b"");
    frame[46] = (((20 + options.len()) / 4) << 4) as u8;
    frame[16..18].copy_from_slice(&((40 + options.len()) as u16).to_be_bytes());
    frame.extend(options);
    let header = etherparse::Ipv4HeaderSlice::from_slice(&frame[14..34]).unwrap().to_header();
    let sum = etherparse::TcpSlice::from_slice(&frame[34..])
        .unwrap()
        .calc_checksum_ipv4(header.source, header.destination);
    frame[50..52].copy_from_slice(&sum.unwrap().to_be_bytes());
    frame
}

#[test]
fn options_of_tcp_that_may_hold_an_address_become_padding() {
    // Kind 254 with the client's port and address, as load balancers write it; ADD_ADDR of MPTCP.
    let toa = [254, 8, 0x9c, 0x40, 203, 0, 113, 77];
    let mptcp = [30, 8, 0x30, 1, 203, 0, 113, 77];
    let plain = with_options(&[&[2, 4, 5, 0xb4, 1, 3, 3, 7][..], &toa, &mptcp].concat());
    assert!(decoded(&plain, plain.len() as u32).1.traits.has(Traits::CHECKSUM_GOOD));
    let (data, original) = redacted(plain);
    assert_eq!(data[54..], [&[2, 4, 5, 0xb4, 1, 3, 3, 7][..], &[1; 16]].concat());
    assert!(decoded(&data, original).1.traits.has(Traits::CHECKSUM_GOOD));
    // A cookie lets its bearer send data in a SYN: its length is enough.
    let (data, original) = redacted(with_options(&[34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1]));
    assert_eq!(data[54..], [34, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    assert!(decoded(&data, original).1.options.has(crate::decode::segment::TcpOptions::FAST_OPEN_COOKIE));
    // Bytes behind the end of the list, and bytes that are no option.
    let (data, _) = redacted(with_options(b"\x00ACME-cu"));
    assert_eq!(data[54..], [0; 8]);
    let (data, _) = redacted(with_options(b"\x08\x40ACME-c"));
    assert_eq!(data[54..], [0; 8]);
}

#[test]
fn checksums_over_replaced_addresses_do_not_give_them_away() {
    let quote = frame(b"")[14..42].to_vec();
    let mut error = bytes("0303 1234 00000000");
    error.extend(&quote);
    let packet = packet_v4(1, &error);
    let mut data = packet.clone();
    let kept = rewriter().rewrite(LinkType(101), &mut data, packet.len() as u32);
    assert_eq!(kept, packet.len());
    assert_eq!(fold(words(&data[20..])), 0xffff, "the checksum covers the remaining bytes");
    let mut datagram = packet_v4(17, &bytes("c000 0035 000c 1234 ACME!"));
    let kept = rewriter().rewrite(LinkType(101), &mut datagram, 33);
    assert_eq!((kept, &datagram[26..28]), (28, &[0, 0][..]));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_none_are_added(
        link in 0u16..300,
        mut data in prop::collection::vec(any::<u8>(), 0..200),
        original in any::<u32>(),
    ) {
        let length = data.len();
        prop_assert!(rewriter().rewrite(LinkType(link), &mut data, original) <= length);
    }

    #[test]
    fn no_damaged_packet_makes_it_panic(place in 0usize..74, value: u8, cut in 0usize..80) {
        for mut data in [frame(b"payload"), v6_frame(b"payload")] {
            let place = place % data.len();
            data[place] = value;
            data.truncate(cut);
            let length = data.len() as u32;
            rewriter().rewrite(LinkType(ETHERNET), &mut data, length);
        }
    }
}
