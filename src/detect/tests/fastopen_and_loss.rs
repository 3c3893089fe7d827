//! `fastopen-fallback`, `handshake-loss`, `defer-accept`.

use super::*;
use crate::decode::segment::{Flags, TcpOptions};

fn with_cookie(l: &Ladder, t: f64, bytes: u32) {
    l.client.syn(t).with(|s| {
        s.payload = bytes;
        s.options |= TcpOptions::FAST_OPEN_COOKIE;
    });
}

#[test]
fn fast_open_data_that_is_not_taken() {
    each_way(|wire| {
        let l = wire.ladder(1);
        with_cookie(&l, 0.0, 62);
        l.server.syn_ack(wire.to_server).with(|s| s.options |= TcpOptions::FAST_OPEN_COOKIE);
        let t = wire.to_server + wire.to_client;
        l.client.ack(t);
        l.exchange(t, 62, 100);
        let found = analyze(&wire);
        let f = found.only(&l, Kind::FastopenFallback);
        assert_eq!((f.severity, f.metrics["refused"].as_str()), (Severity::Info, Some("data")));
    });
}

#[test]
fn fast_open_that_is_taken_is_no_finding() {
    each_way(|wire| {
        let l = wire.ladder(1);
        with_cookie(&l, 0.0, 62);
        let all = l.client.isn().advance(63);
        l.server.syn_ack(wire.to_server).acks(all);
        l.server.data(wire.to_server + 0.001, 200).acks(all);
        l.client.raw(0.05, Flags::ACK, all, l.server.next(), 0);
        analyze(&wire).nothing();
    });
}

#[test]
fn a_cookie_that_is_asked_for_and_given_is_no_finding() {
    each_way(|wire| {
        let (given, refused) = (wire.ladder(1), wire.ladder(2));
        for l in [&given, &refused] {
            l.client.syn(0.0).with(|s| s.options |= TcpOptions::FAST_OPEN_REQUEST);
        }
        given.server.syn_ack(wire.to_server).with(|s| s.options |= TcpOptions::FAST_OPEN_COOKIE);
        refused.server.syn_ack(wire.to_server);
        for l in [&given, &refused] {
            l.client.ack(wire.to_server + wire.to_client);
            l.exchange(1.0, 100, 100);
        }
        let found = analyze(&wire);
        assert_eq!(found.of(&given), []);
        assert_eq!(found.only(&refused, Kind::FastopenFallback).metrics["refused"], "cookie");
    });
}

#[test]
fn a_path_that_swallows_syns_with_data_is_no_fallback_by_the_server() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        with_cookie(&l, 0.0, 62);
        // The retry is plain, and answered.
        let isn = l.client.isn();
        let again = l.client.raw(1.02, Flags::SYN, isn, crate::seq::Seq(0), 0);
        let tsval = again.with(|s| s.options |= TcpOptions::MSS | TcpOptions::SACK_PERMITTED).segment().tsval;
        let t = 1.02 + wire.to_server;
        l.server.syn_ack(t).echoes(if wire.has_timestamps() { tsval } else { 0 });
        l.client.raw(t + wire.to_client, Flags::ACK, isn.advance(1), l.server.next(), 0);
        analyze(&wire).none(Kind::AcceptQueueOverflow);
    });
}

#[test]
fn syn_ack_lost_behind_the_server() {
    for wire in [Wire::at_server(), Wire::at_server().v6(), Wire::at_server().without_timestamps()] {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        l.client.syn(0.0);
        l.server.syn_ack(wire.to_server);
        let second = l.server.syn_ack(1.02).segment().tsval;
        l.client.ack(1.04).echoes(second);
        l.exchange(1.05, 100, 100);
        let found = analyze(&wire);
        let f = found.only(&l, Kind::HandshakeLoss);
        assert_eq!((f.severity, f.metrics["lost"].as_str()), (Severity::Info, Some("SYN-ACK")));
    }
}

#[test]
fn final_ack_lost_before_the_server() {
    for wire in [Wire::at_server(), Wire::at_server().v6()] {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        l.client.syn(0.0);
        let first = l.server.syn_ack(wire.to_server).segment().tsval;
        l.client.ack(0.02).lost();
        l.server.syn_ack(1.02);
        l.client.ack(1.04).echoes(first);
        l.exchange(1.2, 100, 100);
        let found = analyze(&wire);
        assert_eq!(found.only(&l, Kind::HandshakeLoss).metrics["lost"], "final ACK");
    }
}

#[test]
fn nothing_was_lost_where_the_round_trip_is_above_the_timer() {
    for wire in [Wire::at_server(), Wire::at_server().v6(), Wire::at_server().without_timestamps()] {
        let wire = wire.round_trip(1.4);
        for n in 0..5 {
            let l = wire.ladder(n);
            let t = f64::from(n) * 9.0;
            l.client.syn(t);
            let first = l.server.syn_ack(t + 0.000_1).segment().tsval;
            l.server.syn_ack(t + 1.02);
            l.client.ack(t + 1.4).with(|s| {
                if s.tsecr != 0 {
                    s.tsecr = first
                }
            });
            l.client.data(t + 1.401, 100);
            l.server.ack(t + 1.402);
            l.client.ack(t + 2.42);
            l.server.data(t + 2.5, 300);
            l.client.ack(t + 3.9);
        }
        let found = analyze(&wire);
        found.none(Kind::HandshakeLoss);
        found.none(Kind::AcceptQueueOverflow);
    }
}

#[test]
fn loss_is_never_more_than_worth_knowing() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..10 {
            let l = wire.ladder(n);
            let t = f64::from(n);
            l.client.syn(t);
            l.server.syn_ack(t + wire.to_server);
            l.server.syn_ack(t + 1.02);
            l.client.ack(t + 1.02 + wire.to_client);
            l.exchange(t + 1.1, 100, 100);
        }
        let found = analyze(&wire);
        assert!(found.report.findings.iter().all(|f| f.severity == Severity::Info), "{}", found.summaries());
    });
}

#[test]
fn deferral_is_told_by_the_repetition_that_skips_a_timeout() {
    each_way(|wire| {
        let l = wire.ladder(1);
        l.handshake(0.0);
        l.server.syn_ack(3.04);
        l.client.ack(3.04 + wire.to_client);
        l.exchange(8.0, 100, 100);
        let found = analyze(&wire);
        let f = found.only(&l, Kind::DeferAccept);
        let at_server = f.vantage == Vantage::Server;
        let expected = if at_server { Certainty::Probable } else { Certainty::Possible };
        assert_eq!(f.certainty, expected, "elsewhere an earlier repetition may have been lost");
    });
}

#[test]
fn deferral_is_probable_at_the_server() {
    let wire = Wire::at_server();
    ordinary(&wire, -5.0, 5);
    let l = wire.ladder(1);
    l.handshake(0.0);
    l.server.syn_ack(3.04);
    l.client.ack(3.06);
    l.exchange(8.0, 100, 100);
    let found = analyze(&wire);
    assert_eq!(found.only(&l, Kind::DeferAccept).certainty, Certainty::Probable);
}

#[test]
fn no_deferral_where_data_is_ignored() {
    each_way(|wire| {
        let l = wire.ladder(1);
        stuck(&wire, &l, 0.0, 3, 9.0);
        analyze(&wire).none(Kind::DeferAccept);
    });
}

#[test]
fn a_final_ack_that_the_capture_missed_was_not_lost_where_the_next_one_is_ignored() {
    for wire in [Wire::at_server(), Wire::at_server().v6()] {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        ignored(&wire, &l, 0.0, 2);
        let client = l.client.host().port;
        let missed = std::cell::Cell::new(false);
        wire.keep(|s| {
            let answers = s.src_port == client && s.flags.has(Flags::ACK);
            !answers || missed.replace(true)
        });
        l.exchange(6.0, 100, 100);
        analyze(&wire).none(Kind::HandshakeLoss);
    }
}
