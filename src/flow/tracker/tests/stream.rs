//! What happens between handshake and end: payload, probes, half-closes, resets.

use super::*;
use crate::decode::segment::TcpOptions;

/// An established connection of which everything so far was acknowledged; and when.
fn established(wire: &Wire) -> (crate::flow::wire::Ladder, f64) {
    let l = wire.ladder(1);
    let t = l.handshake(0.0);
    let t = l.exchange(t + 0.01, 100, 2_000);
    (l, t)
}

#[test]
fn bytes_are_counted_once() {
    let wire = Wire::at_server();
    let (l, t) = established(&wire);
    l.client.data(t + 1.0, 50);
    l.client.again(t + 1.3);
    l.server.ack(t + 1.31);
    let f = wire.only();
    assert_eq!((f.c.bytes, f.c.data_segments, f.c.retransmits), (150, 2, 1));
    assert_eq!((f.s.bytes, f.s.retransmits), (2_000, 0));
}

#[test]
fn sequence_wrap_in_the_data() {
    let wire = Wire::at_server();
    let l = wire.ladder(1).numbered(u32::MAX - 100, u32::MAX - 1_000);
    let t = l.handshake(0.0);
    let t = l.exchange(t + 0.01, 300, 5_000);
    l.client.data(t + 0.1, 10);
    l.client.again(t + 0.4);
    l.close(t + 0.5, Role::Client);
    let f = wire.only();
    assert_eq!((f.c.bytes, f.s.bytes, f.c.retransmits), (310, 5_000, 1));
    assert_eq!((f.ending, f.c.unseen, f.s.unseen), (Ending::Closed, 0, 0));
}

#[test]
fn acknowledged_but_never_captured() {
    let wire = Wire::at_server();
    let (l, t) = established(&wire);
    l.client.data(t + 0.1, 40).lost();
    l.server.ack(t + 0.101);
    l.client.data(t + 0.2, 5);
    let f = wire.only();
    assert_eq!((f.c.unseen, f.c.bytes), (1, 105));
}

#[test]
fn keepalive_probes_of_either_style_are_no_data() {
    for wire in [Wire::at_server(), Wire::at_client().v6()] {
        let (l, t) = established(&wire);
        l.server.keepalive(t + 10.0);
        l.client.ack(t + 10.02);
        l.server.keepalive_with_byte(t + 20.0);
        l.client.ack(t + 20.02);
        let f = wire.only();
        assert_eq!((f.s.keepalives(), f.s.bytes, f.s.retransmits), (2, 2_000, 0));
        assert_eq!(f.s.keepalive().map(|at| at.time), Some(at(t + 20.0)));
        assert_eq!(f.c.keepalives(), 0);
    }
}

#[test]
fn keepalive_after_the_peers_fin_is_no_late_data() {
    let wire = Wire::at_server();
    let (l, t) = established(&wire);
    l.client.fin(t + 1.0);
    l.server.ack(t + 1.04);
    l.server.keepalive(t + 61.0);
    l.client.ack(t + 61.02).ip_id(0);
    let f = wire.only();
    assert_eq!((f.s.keepalives(), f.s.late_data()), (1, None));
    assert!(f.c.fin_acked.is_some() && f.closed.is_none());
}

#[test]
fn late_data_that_is_taken() {
    let wire = Wire::at_server();
    let (l, t) = established(&wire);
    l.client.fin(t + 1.0);
    l.server.ack(t + 1.04);
    l.server.data(t + 5.0, 300);
    l.client.ack(t + 5.02);
    l.server.fin(t + 6.0);
    l.client.ack(t + 6.02);
    let f = wire.only();
    assert!(f.s.late_data_taken());
    assert_eq!(f.ending, Ending::Closed);
}

#[test]
fn late_data_that_is_refused() {
    let wire = Wire::at_server();
    let (l, t) = established(&wire);
    l.client.fin(t + 1.0);
    l.server.ack(t + 1.04);
    l.server.data(t + 70.0, 300);
    l.client.rst(t + 70.02);
    let f = wire.only();
    assert!(f.s.late_data().is_some() && !f.s.late_data_taken());
    let reset = f.c.reset.as_deref().expect("RST");
    assert!(reset.is_bare());
    let trigger = reset.trigger.expect("it answers the data");
    assert_eq!((trigger.what, trigger.ack), (SegmentKind::Data, reset.seq));
    assert_eq!(f.ending, Ending::Reset);
}

#[test]
fn data_sent_again_after_the_peers_fin_is_not_late() {
    let wire = Wire::at_server();
    let (l, t) = established(&wire);
    l.server.data(t + 0.9, 300);
    l.client.fin(t + 1.0).acks(Seq(l.server.next().0.wrapping_sub(300)));
    l.server.ack(t + 1.04);
    let data = l.server.next();
    l.server.raw(t + 1.3, Flags::ACK | Flags::PSH, Seq(data.0.wrapping_sub(300)), l.client.next(), 300);
    l.client.ack(t + 1.32);
    let f = wire.only();
    assert_eq!((f.s.late_data(), f.s.retransmits), (None, 1));
}

#[test]
fn fin_with_payload_and_fin_again() {
    let wire = Wire::at_server();
    let (l, t) = established(&wire);
    let fin = l.client.raw(t + 1.0, Flags::FIN | Flags::ACK, l.client.next(), l.server.next(), 20).segment();
    l.client.again(t + 1.3);
    l.server.ack(t + 1.31);
    let f = wire.only();
    assert_eq!((f.c.fins, f.c.bytes), (2, 120));
    assert_eq!(f.c.fin_seq, fin.seq.advance(20));
    assert_eq!(f.c.fin_acked.map(|at| at.time), Some(at(t + 1.31)));
}

#[test]
fn shapes_of_rst() {
    let wire = Wire::at_server();
    let (bare, refusal, abort) = (wire.ladder(1), wire.ladder(2), wire.ladder(3));
    for l in [&bare, &abort] {
        l.handshake(0.0);
        l.client.data(0.1, 10);
    }
    bare.server.rst(0.101);
    abort.server.abort(0.102);
    refusal.client.syn(0.05);
    refusal.server.refuse(0.051);
    let facts = wire.facts();
    let reset = |l: &crate::flow::wire::Ladder| {
        let f = facts.iter().find(|f| f.client == l.client.host()).expect("tracked");
        **f.s.reset.as_ref().expect("RST")
    };
    assert!(reset(&bare).is_bare());
    assert_eq!(reset(&bare).seq, bare.server.isn().advance(1));
    assert!(reset(&refusal).is_socketless() && !reset(&refusal).is_bare());
    assert!(!reset(&abort).is_socketless() && reset(&abort).options.has(TcpOptions::TIMESTAMPS));
}

#[test]
fn rst_far_out_of_the_window_ends_nothing() {
    let wire = Wire::at_server();
    let (l, t) = established(&wire);
    l.server.raw(t + 1.0, Flags::RST, l.server.next().advance(1 << 31), Seq(0), 0);
    l.exchange(t + 2.0, 10, 10);
    let f = wire.only();
    assert_eq!((f.s.resets, f.closed), (1, None));
    assert_eq!(f.c.bytes, 110);
}

#[test]
fn ip_ids_count_what_the_capture_missed() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    l.client.syn(0.0);
    l.server.syn_ack(0.001);
    l.client.ack(0.02).lost();
    l.client.data(0.021, 100);
    let f = wire.only();
    assert_eq!(f.final_ack.map(|ack| ack.ip_id_hole), Some(1), "one packet of the client is missing");
    assert_eq!(f.c.ip_ids, (0, 1));
}

#[test]
fn tsval_of_segments_sent_in_vain_is_kept() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    l.handshake(0.0);
    l.client.data(0.1, 100);
    let last = l.client.again(0.4).segment().tsval;
    let f = wire.only();
    assert_eq!(f.unanswered.tsval, last);
}

#[test]
fn any_server_ttl_is_seen() {
    let wire = Wire::at_client();
    let (l, t) = established(&wire);
    l.server.abort(t + 1.0).ttl(251);
    let f = wire.only();
    assert_eq!(f.s.ttl, (57, 251));
}
