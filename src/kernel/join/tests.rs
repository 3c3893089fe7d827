use std::net::SocketAddr;

use super::*;
use crate::kernel::verdict::Judgement;
use crate::seq::Seq;

const CLIENT: &str = "192.0.2.1:40000";
const SERVER: &str = "198.51.100.2:80";

fn at(micros: i64) -> Timestamp {
    Timestamp(1_795_000_000_000_000_000 + micros * 1_000)
}

/// A captured segment of the client.
fn segment(number: u64, micros: i64) -> Segment {
    let (source, destination): (SocketAddr, SocketAddr) = (CLIENT.parse().unwrap(), SERVER.parse().unwrap());
    ends(
        Segment {
            time: at(micros),
            packet: PacketId::new(0, number),
            seq: Seq(1_000),
            ack: Seq(5_000),
            flags: Flags::ACK | Flags::PSH,
            payload: 100,
            ip_id: 7,
            ..Segment::default()
        },
        source,
        destination,
    )
}

fn ends(segment: Segment, source: SocketAddr, destination: SocketAddr) -> Segment {
    let (src, dst) = (Address::from(source.ip()), Address::from(destination.ip()));
    let hash = flow_hash(src, source.port(), dst, destination.port());
    Segment { src, dst, src_port: source.port(), dst_port: destination.port(), hash, ..segment }
}

/// What the kernel says of it.
fn dropped(segment: &Segment, micros: i64) -> Statement {
    said(KernelEvent::Dropped, segment, micros)
}

fn said(event: KernelEvent, segment: &Segment, micros: i64) -> Statement {
    Statement {
        event,
        time: at(micros),
        reason: Some("TCP_LISTEN_OVERFLOW".into()),
        function: Some("tcp_v4_rcv".into()),
        queues: None,
        segment: SegmentKey {
            source: segment.source(),
            destination: segment.destination(),
            seq: segment.seq.0,
            ack: segment.ack.0,
            flags: segment.flags,
            ip_id: segment.ip_id,
            payload: segment.payload,
        },
    }
}

/// The numbers of the packets that the statements are joined with, and counts of the other statements.
fn join(segments: &[Segment], statements: &[Statement]) -> (Vec<u64>, JoinCounts) {
    let mut joiner = Joiner::default();
    joiner.observe(segments.to_vec());
    joiner.add_statements(statements.iter().cloned());
    let mut joined: Vec<u64> = joiner.join(at(1_000_000)).iter().map(|(id, _)| id.number()).collect();
    joined.sort_unstable();
    (joined, joiner.counts())
}

#[test]
fn a_statement_goes_to_the_packet_with_its_numbers() {
    let mine = segment(1, 0);
    let others = [
        Segment { seq: Seq(999), ..segment(2, 1) },
        Segment { ack: Seq(4_999), ..segment(3, 2) },
        Segment { flags: Flags::ACK | Flags::SYN, ..segment(4, 3) },
        Segment { ip_id: 8, ..segment(5, 4) },
        Segment { payload: 0, ..segment(6, 4) },
        ends(segment(7, 4), SERVER.parse().unwrap(), CLIENT.parse().unwrap()),
        // The same again, later than the kernel may take.
        segment(8, 60_000),
    ];
    let segments: Vec<Segment> = std::iter::once(mine).chain(others).collect();
    let (joined, counts) = join(&segments, &[dropped(&mine, 5)]);
    assert_eq!(joined, [1]);
    assert_eq!(counts, JoinCounts { joined: 1, ..JoinCounts::default() });
}

#[test]
fn nothing_is_joined_before_the_capture_has_come_so_far() {
    let mut joiner = Joiner::default();
    joiner.add_statements([dropped(&segment(1, 0), 5)]);
    assert_eq!(joiner.join(at(50_000)), []);
    joiner.observe(vec![segment(1, 0)]);
    assert_eq!(joiner.join(at(200_000)).len(), 1);
    assert_eq!(joiner.counts().joined, 1);
}

#[test]
fn without_a_packet_nothing_is_joined() {
    let other = ends(segment(1, 0), CLIENT.parse().unwrap(), "203.0.113.9:443".parse().unwrap());
    let (joined, counts) = join(&[Segment { seq: Seq(1), ..other }], &[dropped(&segment(1, 0), 5)]);
    assert_eq!((joined, counts.without_packet), (vec![], 1));
}

#[test]
fn of_two_that_look_alike_neither_is_judged() {
    // Without an IP ID, as in IPv6, a repetition cannot be told from the first.
    let two = [Segment { ip_id: 0, ..segment(1, 0) }, Segment { ip_id: 0, ..segment(2, 900) }];
    let (joined, counts) = join(&two, &[dropped(&two[0], 5)]);
    assert_eq!((joined, counts.ambiguous), (vec![], 1));
    // Both were dropped for the same reason: whichever is whose.
    let (joined, counts) = join(&two, &[dropped(&two[0], 5), dropped(&two[1], 905)]);
    assert_eq!((joined, counts.joined), (vec![1, 1, 2, 2], 2));
    // For different reasons they are not.
    let other = Statement { reason: Some("NETFILTER_DROP".into()), ..dropped(&two[1], 905) };
    assert_eq!(join(&two, &[dropped(&two[0], 5), other]).0, [0; 0]);
}

#[test]
fn statements_count_only_for_the_packets_that_all_of_them_fit() {
    let alike = |number, micros| Segment { ip_id: 0, ..segment(number, micros) };
    // The first and the third are dropped. The second is as near to either.
    let three = [alike(1, 0), alike(2, 9_000), alike(3, 18_000)];
    let (joined, counts) = join(&three, &[dropped(&three[0], 5), dropped(&three[2], 18_005)]);
    assert_eq!((joined, counts.ambiguous), (vec![], 2));
    // A statement that comes much later is not about these.
    let two = [alike(1, 0), alike(2, 5_000), alike(3, 60_000)];
    let (joined, counts) = join(&two, &[dropped(&two[0], 5), dropped(&two[2], 60_005)]);
    assert_eq!((joined, counts.ambiguous), (vec![3], 1));
    // The queue was full for one of them only.
    let at = |n: usize, accept| {
        let queues = Some(Queues { accept, limit: 4, ..Queues::default() });
        Statement { queues, ..said(KernelEvent::AtListener, &two[n], 5) }
    };
    assert_eq!(join(&two[..2], &[at(0, 4), at(1, 5)]).0, [0; 0]);
    assert_eq!(join(&two[..2], &[at(0, 5), at(1, 5)]).0, [1, 1, 2, 2]);
}

/// The RST is in the capture only as long as the capture has that direction, and nothing was lost.
#[test]
fn the_answer_to_one_client_is_not_that_to_another() {
    let syn = |number, client: &str| Segment {
        flags: Flags::SYN,
        ack: Seq(0),
        seq: Seq(number as u32 * 1_000),
        payload: 0,
        ..ends(segment(number, number as i64), client.parse().unwrap(), SERVER.parse().unwrap())
    };
    let (one, other) = (syn(1, "192.0.2.1:40000"), syn(2, "192.0.2.2:40000"));
    // Both RSTs have the sequence number 0, and only the second was captured.
    let rst = Segment {
        flags: Flags::RST | Flags::ACK,
        seq: Seq(0),
        ack: Seq(2_001),
        payload: 0,
        ip_id: 0,
        ..ends(segment(3, 8), SERVER.parse().unwrap(), "192.0.2.2:40000".parse().unwrap())
    };
    assert_eq!(join(&[one, other, rst], &[said(KernelEvent::Reset, &one, 5)]).0, [1]);
    assert_eq!(join(&[one, other, rst], &[said(KernelEvent::Reset, &other, 5)]).0, [2, 3]);
}

#[test]
fn copies_of_one_packet_are_judged_alike() {
    let by_id = [segment(1, 0), segment(2, 3)];
    assert_eq!(join(&by_id, &[dropped(&by_id[0], 5)]).0, [1, 2]);
    // Without an IP ID the interfaces tell.
    let one = Segment { ip_id: 0, ..segment(1, 0) };
    let other = Segment { packet: PacketId::new(1, 2), time: at(3), ..one };
    assert_eq!(join(&[one, other], &[dropped(&one, 5)]).0, [1, 2]);
    let mut traits = Traits::default();
    traits |= Traits::OUTGOING;
    let outgoing = Segment { packet: PacketId::new(0, 2), time: at(3), traits, ..one };
    assert_eq!(join(&[one, outgoing], &[dropped(&one, 5)]).0, [1, 2]);
}

#[test]
fn what_was_merged_after_the_capture_is_judged_in_all_its_parts() {
    let part = |number, seq, payload| Segment { seq: Seq(seq), payload, ..segment(number, number as i64) };
    let parts = [part(1, u32::MAX - 99, 100), part(2, 0, 100), part(3, 100, 40), part(4, 140, 1)];
    let mut merged = dropped(&parts[0], 20);
    merged.segment.payload = 240;
    let (joined, counts) = join(&parts, &[merged]);
    assert_eq!((joined, counts.joined), (vec![1, 2, 3], 1));
    // One of them was sent twice, and which of the two was merged cannot be seen.
    let again = [parts[0], parts[1], Segment { ip_id: 99, ..part(9, 0, 100) }];
    let mut merged = dropped(&again[0], 20);
    merged.segment.payload = 200;
    let (joined, counts) = join(&again, &[merged]);
    assert_eq!((joined, counts.ambiguous), (vec![], 1));
    // One was cut in another way: it was sent again.
    let again = [parts[0], parts[1], part(9, 50, 100)];
    let mut merged = dropped(&again[0], 20);
    merged.segment.payload = 250;
    let (joined, counts) = join(&again, &[merged]);
    assert_eq!((joined, counts.ambiguous), (vec![], 1));
}

#[test]
fn a_dropped_part_of_a_packet_says_nothing_of_the_whole() {
    let whole = Segment { payload: 10_000, ..segment(1, 0) };
    let mut piece = dropped(&whole, 5);
    piece.segment.seq = 1_000 + 1_448;
    piece.segment.payload = 1_448;
    let (joined, counts) = join(&[whole], &[piece]);
    assert_eq!((joined, counts.partial), (vec![], 1));
}

#[test]
fn a_translated_packet_is_known_by_its_numbers_and_one_end() {
    let captured = segment(1, 0);
    let mut inside = dropped(&captured, 5);
    inside.segment.destination = "10.0.0.7:8080".parse().unwrap();
    assert_eq!(join(&[captured], &[inside.clone()]).0, [1]);
    // Both ends differ: another connection.
    inside.segment.source = "192.0.2.99:40000".parse().unwrap();
    assert_eq!(join(&[captured], &[inside.clone()]).0, [0; 0]);
    // Another IP ID: another packet.
    let mut other = dropped(&captured, 5);
    other.segment.destination = "10.0.0.7:8080".parse().unwrap();
    other.segment.ip_id = 8;
    assert_eq!(join(&[captured], &[other]).0, [0; 0]);
}

#[test]
fn a_segment_answered_by_a_reset_and_the_reset_are_both_judged() {
    let syn = Segment { flags: Flags::SYN, ack: Seq(0), payload: 0, ip_id: 9, ..segment(1, 0) };
    let rst = Segment {
        flags: Flags::RST | Flags::ACK,
        seq: Seq(0),
        ack: Seq(1_001),
        payload: 0,
        ip_id: 0,
        ..ends(segment(2, 8), SERVER.parse().unwrap(), CLIENT.parse().unwrap())
    };
    let refused = said(KernelEvent::Reset, &syn, 5);
    let mut joiner = Joiner::default();
    joiner.observe(vec![syn, rst]);
    joiner.add_statements([refused]);
    let joined = joiner.finish();
    let of = |number| {
        let mut judgement = Judgement::default();
        joined.iter().filter(|(id, _)| id.number() == number).for_each(|(_, s)| judgement.add(s));
        judgement
    };
    assert!(of(1).reset.is_some() && of(1).sent.is_none());
    assert!(of(2).sent.is_some() && of(2).reset.is_none());
    assert_eq!(joiner.counts(), JoinCounts { joined: 1, ..JoinCounts::default() });
}

#[test]
fn memory_is_bounded() {
    let mut joiner = Joiner::default();
    for second in 0..20 {
        joiner.observe(vec![segment(1, second * 1_000_000); 100]);
    }
    assert!(joiner.remembered <= 500, "{}", joiner.remembered);
    for n in 0..10 {
        joiner.observe(vec![segment(1, 20_000_000 + n); MOST / 4]);
    }
    assert!(joiner.remembered <= MOST, "{}", joiner.remembered);
}

#[test]
fn statements_for_which_there_is_no_room_count_as_lost() {
    let mine = segment(1, 0);
    let mut joiner = Joiner::default();
    joiner.add_statements(std::iter::repeat_n(dropped(&mine, 5), MOST_WAITING + 7));
    assert_eq!(joiner.counts().given_up, 7);
    let note = joiner.counts().note(3).unwrap();
    assert!(note.contains("0 left out") && note.contains("up to 10 lost"), "{note}");
}
