//! The same packet more than once in the capture, the same interval more than once, packets out of order.

use super::*;

#[test]
fn every_packet_twice_as_on_a_bridge() {
    for wire in [Wire::at_server(), Wire::at_server().v6(), Wire::at_server().without_timestamps()] {
        let l = wire.ladder(1);
        l.client.syn(0.0).twice(0.000_010);
        l.server.syn_ack(0.001).twice(0.000_012);
        l.client.ack(0.02).twice(0.000_004);
        l.client.data(0.03, 100).twice(0.000_009);
        l.server.ack(0.031).twice(0.000_009);
        let f = wire.only();
        assert_eq!(f.duplicates, 5);
        assert_eq!((f.syn.count, f.syn_ack.count), (1, 1));
        assert_eq!((f.c.retransmits, f.unanswered.retransmits, f.unanswered.acks), (0, 0, 0));
        adds_up(&[f], 10);
    }
}

#[test]
fn both_sides_of_a_router() {
    let wire = Wire::between();
    let l = wire.ladder(1);
    l.client.syn(0.0).twice_routed(0.000_050);
    l.server.syn_ack(0.02).with(|s| s.ttl = 58).twice_routed(0.000_050);
    l.client.ack(0.03).twice_routed(0.000_050);
    l.client.data(0.04, 1_000).twice_routed(0.4);
    let f = wire.only();
    assert_eq!(f.duplicates, 4);
    assert_eq!((f.syn.count, f.syn_ack.count, f.c.data_segments), (1, 1, 1));
}

#[test]
fn two_places_joined_by_clocks_that_differ() {
    for apart in [0.7, 2.0, 5.0] {
        let wire = Wire::at_server();
        let l = wire.ladder(1);
        l.client.syn(0.0).twice(apart);
        l.server.syn_ack(0.001).twice(apart);
        l.client.ack(0.02);
        l.exchange(0.1, 100, 100);
        let f = wire.only();
        assert_eq!((f.syn.count, f.syn_ack.count, f.duplicates), (1, 1, 2), "{apart}");
    }
}

#[test]
fn retransmissions_are_no_copies() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    l.client.syn(0.0);
    l.client.syn(1.0);
    l.server.syn_ack(1.001);
    l.server.syn_ack(2.001);
    l.client.ack(2.02);
    l.client.data(2.03, 100);
    l.client.again(2.24);
    l.client.again(2.44);
    let f = wire.only();
    assert_eq!((f.duplicates, f.syn.count, f.syn_ack.count), (0, 2, 2));
    assert_eq!((f.c.retransmits, f.unanswered.retransmits), (2, 2));
}

#[test]
fn syn_ack_without_ip_id_is_told_by_its_timestamp() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    l.client.syn(0.0);
    let tsval = l.server.syn_ack(0.001).segment().tsval;
    l.server.syn_ack(0.031).with(|s| s.tsval = tsval);
    l.server.syn_ack(1.03);
    let f = wire.only();
    assert_eq!((f.duplicates, f.syn_ack.count), (1, 2));
}

#[test]
fn repeated_syn_ack_without_timestamps_and_ip_id_is_no_copy() {
    let wire = Wire::at_server().without_timestamps();
    let l = wire.ladder(1);
    l.client.syn(0.0);
    l.server.syn_ack(0.001);
    l.server.syn_ack(1.001);
    l.server.syn_ack(3.001);
    let f = wire.only();
    assert_eq!((f.duplicates, f.syn_ack.count), (0, 3));
}

#[test]
fn acknowledgments_of_a_fast_download_are_no_copies() {
    let wire = Wire::at_server().without_timestamps();
    let l = wire.ladder(1);
    let t = l.handshake(0.0);
    for n in 0..10 {
        l.server.data(t + 0.001 * f64::from(n), 1_000);
        l.client.ack(t + 0.001 * f64::from(n) + 0.000_5);
    }
    let f = wire.only();
    assert_eq!((f.duplicates, f.c.segments, f.s.segments), (0, 12, 11));
}

#[test]
fn capture_joined_to_itself() {
    let mut wire = Wire::at_server();
    for _ in 0..2 {
        let l = wire.ladder(1);
        l.handshake(0.0);
        l.client.data(0.03, 100);
        l.client.again(2.5);
        wire.next_file();
    }
    let f = wire.only();
    assert_eq!((f.syn.count, f.syn_ack.count, f.c.retransmits), (1, 1, 1));
    assert_eq!(f.replayed + f.duplicates, 5);
    adds_up(&[f], 10);
}

#[test]
fn files_joined_in_the_wrong_order() {
    let mut wire = Wire::at_server();
    let l = wire.ladder(1);
    let mut early = wire.clone();
    early.next_file();
    let before = l.numbered(500, 900);
    before.served(100.0);
    let mut second = wire.clone();
    second.next_file();
    let other = second.ladder(2);
    other.served(0.0);
    wire.next_file();
    let facts = wire.facts();
    assert_eq!(facts.len(), 2);
    assert!(facts.iter().all(|f| f.closed.is_some() && f.syn.count == 1), "{facts:?}");
}

#[test]
fn data_out_of_order_is_counted_once() {
    let wire = Wire::at_client();
    let l = wire.ladder(1);
    let t = l.handshake(0.0);
    let first = l.server.data(t + 0.011, 1_000).segment();
    l.server.data(t + 0.010, 1_000);
    l.client.ack(t + 0.02);
    let f = wire.only();
    assert_eq!(f.s.segments, 3);
    assert_eq!(f.s.next, first.seq.advance(2_000));
    assert_eq!(f.c.unseen + f.s.unseen, 0);
}

#[test]
fn small_steps_back_in_time_are_no_replay() {
    let wire = Wire::anywhere();
    let l = wire.ladder(1);
    l.handshake(0.0);
    let mut segments = wire.segments();
    for s in segments.iter_mut().skip(1) {
        s.time = at(-0.000_1);
    }
    let (facts, _) = tracked(&segments, 100);
    assert_eq!(facts[0].replayed, 0);
    assert!(facts[0].final_ack.is_some());
    adds_up(&facts, 3);
}
