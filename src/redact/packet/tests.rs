use proptest::prelude::*;

use super::*;
use crate::capture::Packet;
use crate::decode::segment::{PacketId, Segment, Traits};
use crate::decode::{Decoded, decode};
use crate::redact::Key;
use crate::time::Timestamp;

fn rewriter() -> Rewriter {
    Rewriter::redacting(Pseudonyms::new(&Key::new([7; Key::OCTETS])))
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
    let mut segment = Segment::default();
    let packet = Packet {
        id: PacketId::new(0, 1),
        time: Timestamp(0),
        timed: true,
        link: LinkType(ETHERNET),
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
    assert_eq!(stripped[..kept], frame(b"secret")[..54], "without redaction only the payload goes");
    let mut whole = frame(b"secret");
    assert_eq!(Rewriter::new(Payload::Keep).rewrite(LinkType(ETHERNET), &mut whole, 60), 60);
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
    assert!(!data.windows(4).any(|octets| octets == [192, 0, 2, 1]));
    assert!(!data.windows(6).any(|octets| octets == b"secret"));
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

proptest! {
    #[test]
    fn no_octets_make_it_panic_and_none_are_added(
        link in prop::sample::select(vec![0u16, 1, 9, 12, 50, 101, 108, 113, 228, 229, 276, 500]),
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
