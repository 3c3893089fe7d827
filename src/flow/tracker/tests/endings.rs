//! How connections end, and what becomes of the four-tuple.

use super::*;
use crate::flow::peer::PeerEventKind;

#[test]
fn closed_by_either_side() {
    for first in [Role::Client, Role::Server] {
        let wire = Wire::at_server();
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        l.close(t + 1.0, first);
        let f = wire.only();
        assert_eq!(f.ending, Ending::Closed);
        assert_eq!(f.c.fin < f.s.fin, first == Role::Client);
    }
}

#[test]
fn a_new_initial_sequence_number_is_a_new_connection() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    l.served(0.0);
    let again = l.reused(1_000, 2_000);
    again.handshake(2.0);
    again.client.data(2.1, 7);
    let facts = wire.facts();
    assert_eq!(facts.len(), 2);
    let (old, new) = (&facts[0], &facts[1]);
    assert_eq!((old.ending, old.syn_ack.count, old.c.bytes), (Ending::Closed, 1, 120));
    assert_eq!((new.syn.count, new.syn_ack.count, new.c.bytes), (1, 1, 7));
    let previous = new.previous.as_deref().expect("it knows the one before");
    assert!(previous.closed && previous.first_fin == Some(Role::Client));
    assert_eq!(previous.client_next, l.client.next());
    assert_eq!(previous.server_next, l.server.next());
}

#[test]
fn time_wait_is_recycled_by_a_syn() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    let t = l.served(0.0);
    let again = l.reused(l.client.next().advance(65_537).0, l.server.next().advance(65_537).0);
    again.served(t + 1.5);
    let facts = wire.facts();
    assert_eq!(facts.len(), 2);
    assert!(facts.iter().all(|f| f.ending == Ending::Closed && f.syn_ack.count == 1));
    assert_eq!(facts[1].s.isn.distance(facts[1].previous.as_ref().unwrap().server_next), 65_537);
}

#[test]
fn the_same_syn_again_is_not_a_new_connection() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    for t in [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0] {
        l.client.syn(t);
    }
    let f = wire.only();
    assert_eq!((f.syn.count, f.unanswered_syns().count()), (7, 7));
}

#[test]
fn syn_on_a_live_connection() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    let t = l.handshake(0.0);
    l.exchange(t + 0.1, 10, 10);
    let again = l.reused(99, 0);
    again.client.syn(10.0);
    // The old socket answers with a challenge ACK, the client resets it and asks again.
    again.server.raw(10.001, Flags::ACK, l.server.next(), l.client.next(), 0);
    again.client.raw(10.02, Flags::RST, l.client.next(), Seq(0), 0);
    again.client.syn(10.03);
    let facts = wire.facts();
    assert_eq!(facts.len(), 2);
    assert_eq!(facts[0].ending, Ending::Replaced);
    let new = &facts[1];
    assert_eq!((new.syn.count, new.closed), (2, None));
    let ack = new.ack_to_syn.as_deref().expect("challenge ACK");
    assert_eq!((ack.seq, ack.ack), (l.server.next(), l.client.next()));
    assert!(!new.previous.as_ref().unwrap().closed);
}

#[test]
fn roles_may_change_with_the_next_connection() {
    let wire = Wire::between();
    let l = wire.ladder(1);
    l.served(0.0);
    let turned = wire.between_sockets(l.server.host(), l.client.host());
    turned.served(1.0);
    let facts = wire.facts();
    assert_eq!(facts.len(), 2);
    assert_eq!(facts[1].client, l.server.host());
    assert_eq!(facts[1].syn.count, 1);
}

#[test]
fn syn_after_a_middle_starts_anew() {
    let wire = Wire::between();
    let l = wire.ladder(1);
    l.client.data(0.0, 100);
    l.server.ack(0.01);
    l.reused(5, 6).served(1.0);
    let facts = wire.facts();
    assert_eq!(facts.len(), 2);
    assert!(facts[0].mid_stream && !facts[1].mid_stream);
}

#[test]
fn an_unfinished_handshake_expires_by_capture_time() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    l.client.syn(0.0);
    wire.ladder(2).served(200.0);
    l.client.syn(201.0);
    let facts = wire.facts();
    assert_eq!(facts.len(), 3);
    assert_eq!((facts[0].ending, facts[0].watched), (Ending::Expired, at(180.0)));
    assert_eq!(facts[2].syn.count, 1);
}

#[test]
fn an_open_connection_outlives_the_keepalive_time() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    let t = l.handshake(0.0);
    let t = l.exchange(t, 10, 10);
    l.server.keepalive(t + 7_200.0);
    l.client.ack(t + 7_200.02);
    l.exchange(t + 14_000.0, 10, 10);
    let f = wire.only();
    assert_eq!((f.c.bytes, f.s.keepalives()), (20, 1));
}

#[test]
fn late_packets_of_a_closed_connection_begin_no_other() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    let t = l.served(0.0);
    l.client.rst(t + 30.0);
    let (facts, tracker) = tracked(&wire.segments(), 100);
    assert_eq!((facts.len(), facts[0].ending, tracker.late()), (1, Ending::Closed, 1));
}

#[test]
fn what_comes_long_after_the_close_is_another_connection() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    let t = l.served(0.0);
    l.server.keepalive(t + 70.0);
    let facts = wire.facts();
    assert_eq!(facts.len(), 2);
    assert_eq!((facts[0].ending, facts[1].mid_stream), (Ending::Closed, true));
}

#[test]
fn beyond_the_limit_some_are_let_go_and_early_ones_stay_as_well_as_late_ones() {
    let wire = Wire::at_server();
    for n in 0..2_000 {
        wire.ladder(n).client.syn(f64::from(n) * 0.01);
    }
    let (facts, tracker) = tracked(&wire.segments(), 500);
    assert_eq!((facts.len(), tracker.live()), (2_000, 0));
    let followed: Vec<_> = facts.iter().filter(|f| f.ending != Ending::Evicted).collect();
    assert_eq!(followed.len() as u64, 2_000 - tracker.evicted());
    assert!((250..=500).contains(&followed.len()), "{}", followed.len());
    let early = followed.iter().filter(|f| f.first.time < at(10.0)).count();
    assert!(early * 4 > followed.len() && early * 4 < 3 * followed.len(), "{early} of {}", followed.len());
}

#[test]
fn what_is_in_trouble_stays_and_what_was_let_go_is_not_begun_again() {
    let wire = Wire::at_server();
    for n in 0..20 {
        let l = wire.ladder(n);
        let t = l.handshake(f64::from(n) * 0.001);
        l.server.syn_ack(t + 1.0);
        l.client.ack(t + 1.02);
        l.server.syn_ack(t + 3.0);
    }
    for n in 20..400 {
        let t = wire.ladder(n).handshake(2.0 + f64::from(n) * 0.001);
        wire.ladder(n).exchange(t + 5.0, 100, 100);
    }
    let (facts, mut tracker) = tracked(&wire.segments(), 100);
    assert_eq!(facts.len(), 400, "each connection once");
    assert!(tracker.evicted() >= 300);
    assert!(tracker.drain_evicted_news().segments > 0);
    let troubled = |f: &&ConnectionFacts| f.syn_ack.count == 3 && f.ending != Ending::Evicted;
    assert_eq!(facts.iter().filter(troubled).count(), 20);
}

#[test]
fn what_was_let_go_and_turns_out_to_be_in_trouble_is_followed_again_whatever_floods_it() {
    let wire = Wire::at_server();
    for n in 0..10 {
        let l = wire.ladder(n);
        let t = l.handshake(1.0 + f64::from(n) * 0.001);
        for again in [1.0, 3.0, 7.0, 15.0, 31.0] {
            l.server.syn_ack(t + again);
            l.client.ack(t + again + 0.02);
        }
    }
    // The flood pauses, so that more of it is followed for a while, and goes on.
    for n in 10..8_000_u16 {
        let pause = if n > 4_000 { 15.0 } else { 0.0 };
        wire.ladder(n).client.syn(pause + f64::from(n) * 0.002);
    }
    let (facts, tracker) = tracked(&wire.segments(), 200);
    assert!(tracker.readmitted() >= 5, "{}", tracker.readmitted());
    assert_eq!(facts.len() as u64, 8_000 + tracker.readmitted());
    let is_victim = |f: &&ConnectionFacts| f.syn_ack.count >= 4 && f.ending != Ending::Evicted;
    let followed: Vec<_> = facts.iter().filter(is_victim).collect();
    assert_eq!(followed.len(), 10);
    assert!(followed.iter().all(|f| f.final_ack.is_some() && f.is_troubled()));
}

#[test]
fn closed_connections_go_before_open_ones() {
    let wire = Wire::at_server();
    for n in 0..3 {
        wire.ladder(n).handshake(f64::from(n));
    }
    wire.ladder(10).served(5.0);
    wire.ladder(11).served(6.0);
    let open = wire.ladder(12);
    open.handshake(7.0);
    let (facts, tracker) = tracked(&wire.segments(), 4);
    assert!(
        facts.iter().all(|f| f.ending != Ending::Evicted),
        "connections that had ended had been handed out before"
    );
    assert_eq!((facts.len(), tracker.evicted()), (6, 0));
}

#[test]
fn the_server_remembers_a_client_when_it_closed_first() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    let t = l.handshake(0.0);
    l.close(t + 1.0, Role::Server);
    let m = wire.ladder(2);
    let t = m.handshake(3.0);
    m.close(t + 1.0, Role::Client);
    let mut tracker = Tracker::new(10);
    wire.segments().iter().for_each(|s| tracker.segment(s));
    let events: Vec<_> = std::mem::take(tracker.events());
    let remembered: Vec<_> = events.iter().filter(|e| e.what == PeerEventKind::Remembered).collect();
    assert!(!remembered.is_empty());
    assert!(remembered.iter().all(|e| e.at.time < at(3.0)), "not where the client closed first");
    assert_eq!(events.iter().filter(|e| matches!(e.what, PeerEventKind::Syn { .. })).count(), 2);
}
