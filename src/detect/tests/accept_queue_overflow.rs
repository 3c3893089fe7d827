//! `accept-queue-overflow`, and all that looks like it.

use super::*;
use crate::decode::segment::{Flags, TcpOptions};
use crate::flow::facts::Role;
use crate::flow::key::Host;
use crate::flow::wire::at;
use crate::seq::Seq;

const KIND: Kind = Kind::AcceptQueueOverflow;

/// The end of an ignored handshake: the next thing that the client sends is taken.
fn recovers(wire: &Wire, l: &Ladder, t: f64) {
    l.client.again(t);
    l.server.ack(t + wire.to_server);
    l.server.data(t + wire.to_server + 0.001, 500);
    l.client.ack(t + wire.to_server + 0.001 + wire.to_client);
    l.close(t + 1.0, Role::Client);
}

#[test]
fn silent_overflow_when_syn_ack_repeats_after_final_ack() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        stuck(&wire, &l, 0.0, 3, 10.0);
        recovers(&wire, &l, 10.5);
        let found = analyze(&wire);
        let f = found.only(&l, KIND);
        assert_eq!(f.metrics["syn_ack_retransmits"], 3);
        assert_eq!(f.metrics["served"], true);
        assert_eq!(f.severity, Severity::Warning);
        let certainty = if f.vantage == Vantage::Server { Certainty::Probable } else { Certainty::Possible };
        assert_eq!(f.certainty, certainty, "one connection, seen from the {}", f.vantage);
        assert!(f.alternatives.iter().any(|a| a.suspect.text().contains("firewall")));
    });
}

#[test]
fn silent_client_ignored_until_the_request_dies() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        ignored(&wire, &l, 0.0, 5);
        l.client.data(70.0, 100);
        l.server.rst(70.0 + wire.to_server);
        let f = analyze(&wire);
        let f = f.only(&l, KIND);
        assert_eq!((f.severity, f.metrics["syn_ack_retransmits"].as_u64()), (Severity::Critical, Some(5)));
    });
}

#[test]
fn pruned_retries_and_the_bare_rst_afterwards() {
    let wire = Wire::at_server();
    ordinary(&wire, -5.0, 5);
    let l = wire.ladder(1);
    stuck(&wire, &l, 0.0, 2, 10.0);
    l.server.rst(7.0 + wire.to_server);
    analyze(&wire).only(&l, KIND);
}

#[test]
fn several_clients_stuck_at_once_are_probable_from_anywhere() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let ladders: Vec<_> = (0..4).map(|n| wire.of_host(10 + n, u16::from(n))).collect();
        for (n, l) in ladders.iter().enumerate() {
            stuck(&wire, l, 0.1 * n as f64, 3, 10.0);
        }
        let found = analyze(&wire);
        for l in &ladders {
            assert_eq!(found.only(l, KIND).certainty, Certainty::Probable);
        }
        assert_eq!(found.report.incidents.len(), 1);
        assert_eq!(found.report.incidents[0].connections, 4);
    });
}

#[test]
fn an_echo_of_an_ignored_segment_is_proof_from_anywhere() {
    for wire in Wire::everywhere() {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        l.handshake(0.0);
        l.client.data(0.03, 100);
        let ignored = l.client.again(0.3).segment().tsval;
        l.client.again(0.7);
        l.server.syn_ack(1.02).echoes(ignored);
        l.client.ack(1.04);
        l.client.again(1.5);
        l.server.syn_ack(3.02).echoes(ignored);
        let found = analyze(&wire);
        let f = found.only(&l, KIND);
        assert_eq!(
            (f.certainty, f.metrics["read_by_server_tcp"].as_bool()),
            (Certainty::Confirmed, Some(true))
        );
    }
}

#[test]
fn the_echo_of_a_repeated_syn_proves_nothing() {
    let wire = Wire::at_client();
    ordinary(&wire, -5.0, 5);
    let l = wire.ladder(1);
    l.client.syn(0.0);
    let second = l.client.syn(1.0).segment().tsval;
    l.server.syn_ack(1.02).echoes(second);
    l.client.ack(1.02);
    in_vain(&l, 1.03, 100, 10.0);
    l.server.syn_ack(2.04).echoes(second);
    l.client.ack(2.04);
    l.server.syn_ack(4.1).echoes(second);
    l.client.ack(4.1);
    let found = analyze(&wire);
    assert_eq!(found.of(&l), [KIND, Kind::SynDropAcceptQueue], "the first SYN was dropped, too");
    assert!(found.report.findings.iter().all(|f| f.certainty == Certainty::Possible));
}

#[test]
fn sequence_numbers_that_wrap_hide_nothing() {
    let wire = Wire::at_server();
    ordinary(&wire, -5.0, 5);
    let l = wire.ladder(1).numbered(u32::MAX, u32::MAX);
    stuck(&wire, &l, 0.0, 3, 10.0);
    recovers(&wire, &l, 10.5);
    analyze(&wire).only(&l, KIND);
}

#[test]
fn every_packet_captured_twice_changes_nothing() {
    let wire = Wire::at_server();
    ordinary(&wire, -5.0, 5);
    let l = wire.ladder(1);
    l.client.syn(0.0).twice(0.000_01);
    l.server.syn_ack(0.000_1).twice(0.000_01);
    l.client.ack(0.02).twice(0.000_01);
    for again in TIMER {
        l.server.syn_ack(again).twice(0.000_01);
        l.client.ack(again + 0.02).twice(0.000_01);
    }
    let found = analyze(&wire);
    assert_eq!(found.only(&l, KIND).metrics["syn_ack_retransmits"], 5);
}

#[test]
fn requests_answered_by_cookies_are_stuck_without_any_repetition() {
    for wire in [Wire::at_server(), Wire::at_client(), Wire::between().v6()] {
        ordinary(&wire, -5.0, 5);
        let ladders: Vec<_> = (0..4).map(|n| wire.of_host(10 + n, u16::from(n))).collect();
        let request = wire.ladder(99);
        stuck(&wire, &request, 0.0, 3, 10.0);
        for (n, l) in ladders.iter().enumerate() {
            cookie_handshake(&wire, l, 0.1 * n as f64, 0);
            in_vain(l, 0.1 * n as f64 + 0.05, 100, 9.0);
            recovers(&wire, l, 9.0 + 0.1 * n as f64);
        }
        let found = analyze(&wire);
        for l in &ladders {
            assert_eq!(found.only(l, KIND).metrics["syncookie"], true);
        }
    }
}

/// A handshake by cookie: the TSval of the SYN-ACK lags.
fn cookie_handshake(wire: &Wire, l: &Ladder, t: f64, lag: u32) {
    l.client.syn(t);
    l.server.syn_ack(t + wire.to_server).with(|s| s.tsval -= lag);
    l.client.ack(t + wire.to_server + wire.to_client);
}

#[test]
fn cookies_alone_are_told_from_a_dead_path_by_their_clock() {
    for wire in Wire::everywhere() {
        ordinary(&wire, -5.0, 5);
        let ladders: Vec<_> = (0..4).map(|n| wire.of_host(10 + n, u16::from(n))).collect();
        for (n, l) in ladders.iter().enumerate() {
            let t = 0.1 * n as f64;
            cookie_handshake(&wire, l, t, [37, 9, 52, 23][n]);
            in_vain(l, t + 0.05, 100, 7.0);
            recovers(&wire, l, 8.0 + t);
        }
        let found = analyze(&wire);
        ladders.iter().for_each(|l| assert_eq!(found.of(l), [KIND]));
    }
}

#[test]
fn cookies_alone_are_told_from_a_dead_server_by_what_others_get() {
    for wire in Wire::everywhere() {
        let wire = wire.without_timestamps();
        ordinary(&wire, -5.0, 5);
        let ladders: Vec<_> = (0..4).map(|n| wire.of_host(10 + n, u16::from(n))).collect();
        for (n, l) in ladders.iter().enumerate() {
            let t = 0.1 * n as f64;
            l.handshake(t);
            in_vain(l, t + 0.05, 100, 14.0);
        }
        wire.ladder(99).served(3.5);
        let found = analyze(&wire);
        ladders.iter().for_each(|l| assert_eq!(found.of(l), [KIND]));
    }
}

// From here on: innocent.

#[test]
fn no_finding_when_the_final_ack_was_lost_on_the_path() {
    // Captured at the client: the ACK leaves, the server never sees it. The answer to the repeated SYN-ACK arrives.
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        ignored(&wire, &l, 0.0, 1);
        l.exchange(2.0, 100, 100);
        ordinary(&wire, 3.0, 5);
        if wire.to_server > wire.to_client {
            analyze(&wire).none(KIND);
        }
    });
}

#[test]
fn no_finding_when_the_final_ack_is_missing_at_the_server() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        l.client.syn(0.0);
        l.server.syn_ack(wire.to_server);
        l.client.ack(wire.to_server + wire.to_client).lost();
        l.server.syn_ack(1.02);
        let t = 1.02 + wire.to_client;
        l.client.ack(t);
        l.exchange(t + 0.01, 100, 100);
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_when_ack_and_first_data_were_lost_in_a_burst() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        l.client.data(t + 0.001, 300);
        l.client.again(t + 0.25);
        let t = t + 0.25 + wire.to_server;
        l.server.ack(t);
        l.server.data(t + 0.01, 500);
        l.client.ack(t + 0.01 + wire.to_client);
        analyze(&wire).nothing();
    });
}

#[test]
fn no_finding_when_the_round_trip_is_above_the_timer() {
    for round_trip in [1.3, 2.2, 4.0] {
        for (wire, share) in [(Wire::at_server(), 0.0), (Wire::between(), 0.5), (Wire::at_client(), 1.0)] {
            for wire in
                [wire.clone().round_trip(round_trip), wire.round_trip(round_trip).without_timestamps()]
            {
                let there = round_trip * share;
                for n in 0..4 {
                    let l = wire.ladder(n);
                    let t = f64::from(n) * 20.0;
                    // The client asks again each time its own timer runs out, and the server's does the same.
                    l.client.syn(t);
                    for again in [1.0, 3.0, 7.0].into_iter().filter(|again| *again < round_trip) {
                        l.client.syn(t + again);
                    }
                    l.server.syn_ack(t + there);
                    let home = round_trip - there;
                    for again in [1.0, 3.0].into_iter().filter(|again| *again < round_trip) {
                        l.server.syn_ack(t + there + again);
                        l.client.ack(t + there + again + home);
                    }
                    l.client.ack(t + there + home);
                    l.client.data(t + there + home + 0.001, 100);
                    l.server.ack(t + there + home + 0.001 + there + 0.000_1);
                    l.server.data(t + there + home + 0.002 + there, 900);
                }
                analyze(&wire).none(KIND);
            }
        }
    }
}

#[test]
fn no_finding_when_the_syn_was_repeated_and_each_one_answered() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        // The first SYN-ACK is lost behind the capture point: the SYN again and the server's timer both draw one.
        l.client.syn(0.0);
        l.server.syn_ack(wire.to_server);
        l.client.syn(1.0);
        l.server.syn_ack(1.0 + wire.to_server);
        l.client.ack(1.0 + wire.to_server + wire.to_client);
        l.server.syn_ack(1.03 + wire.to_server);
        l.client.ack(1.03 + wire.to_server + wire.to_client);
        l.exchange(1.5, 100, 100);
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_for_a_deferring_listener() {
    each_way(|wire| {
        let busy = |n: u16, t: f64| {
            let l = wire.of_host(100, n);
            let done = l.handshake(t);
            l.exchange(done + 0.001, 100, 1_000);
        };
        (0..5).for_each(|n| busy(n, f64::from(n) * 0.3));
        for n in 0..4 {
            let l = wire.of_host(20, 100 + n);
            let t = 2.0 + f64::from(n);
            ignored(&wire, &l, t, 1);
            if n % 2 == 0 {
                l.exchange(t + 6.0, 100, 1_000);
            }
        }
        (10..15).for_each(|n| busy(n, 6.0 + f64::from(n) * 0.3));
        let found = analyze(&wire);
        found.none(KIND);
        assert_eq!(found.counts().get(&Kind::DeferAccept), Some(&4));
    });
}

#[test]
fn no_finding_for_a_deferring_listener_whose_answer_overtook_the_question_in_the_capture() {
    each_way(|wire| {
        ignored(&wire, &wire.of_host(20, 100), 2.0, 1);
        let l = wire.of_host(100, 1);
        let t = l.handshake(0.0) + 0.001;
        l.client.data(t, 100);
        l.server.data(t - 0.0005, 1_000);
        l.client.ack(t + 0.05);
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_for_a_listener_that_defers_for_long() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        l.handshake(0.0);
        l.server.syn_ack(7.1);
        l.client.ack(7.1 + wire.to_client);
        l.exchange(20.0, 100, 100);
        let found = analyze(&wire);
        assert_eq!(found.only(&l, Kind::DeferAccept).severity, Severity::Info);
    });
}

#[test]
fn no_finding_when_large_packets_vanish_on_the_path() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..5 {
            let l = wire.of_host(10 + n as u8, n);
            let t = l.handshake(0.1 * f64::from(n));
            in_vain(&l, t + 0.001, 1_400, 14.0);
        }
        ordinary(&wire, 5.0, 5);
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_when_the_server_dies_or_the_path_breaks_after_the_handshakes() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let old = wire.ladder(50);
        let t = old.handshake(-2.0);
        old.exchange(t, 100, 100);
        for n in 0..5 {
            let l = wire.of_host(10 + n as u8, n);
            let t = l.handshake(0.01 * f64::from(n));
            in_vain(&l, t + 0.001, 300, 25.0);
        }
        in_vain(&old, 0.1, 200, 25.0);
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_when_the_path_breaks_for_ten_seconds() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..5 {
            let l = wire.of_host(10 + n as u8, n);
            let t = l.handshake(0.01 * f64::from(n));
            in_vain(&l, t + 0.001, 300, 9.0);
            recovers(&wire, &l, 13.0 + 0.01 * f64::from(n));
        }
        ordinary(&wire, 14.0, 5);
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_for_a_client_that_vanished() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let gone = wire.ladder(1);
        gone.client.syn(0.0);
        gone.server.syn_ack(wire.to_server);
        for again in TIMER {
            gone.server.syn_ack(again);
        }
        let after_ack = wire.ladder(2);
        let t = after_ack.handshake(0.0);
        after_ack.server.data(t + 0.001, 80);
        for again in [0.25, 0.5, 1.0, 2.0, 4.0] {
            after_ack.server.again(t + again);
        }
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_for_idle_connections_that_nobody_uses() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..6 {
            let l = wire.ladder(n);
            let t = l.handshake(f64::from(n));
            l.close(t + 30.0, Role::Client);
        }
        analyze(&wire).nothing();
    });
}

#[test]
fn no_finding_when_the_four_tuple_is_used_again_at_once() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let mut l = wire.ladder(1);
        for n in 0..20 {
            let t = l.handshake(f64::from(n) * 1.2);
            let t = l.exchange(t + 0.001, 100, 100);
            l.close(t + 0.001, Role::Server);
            l = l.reused(l.client.next().advance(1_000).0, l.server.next().advance(65_537).0);
        }
        analyze(&wire).nothing();
    });
}

#[test]
fn no_finding_when_two_captures_with_clocks_apart_are_merged() {
    for apart in [0.3, 0.9, 1.1, 2.0, 3.0] {
        each_way(|wire| {
            ordinary(&wire, -5.0, 5);
            for n in 0..6 {
                let l = wire.ladder(n);
                let t = f64::from(n) * 0.3;
                l.client.syn(t).twice_routed(apart);
                l.server.syn_ack(t + wire.to_server).twice_routed(apart);
                let t = t + wire.to_server + wire.to_client;
                l.client.ack(t).twice_routed(apart);
                if n % 2 == 0 {
                    l.client.data(t + 4.0, 100).twice_routed(apart);
                    l.server.ack(t + 4.0 + wire.to_server).twice_routed(apart);
                }
            }
            analyze(&wire).none(KIND);
        });
    }
}

#[test]
fn no_finding_when_a_capture_is_joined_to_itself() {
    each_way(|mut wire| {
        for _ in 0..3 {
            ordinary(&wire, 0.0, 5);
            let l = wire.ladder(1);
            l.handshake(2.0);
            l.exchange(9.0, 100, 100);
            wire.next_file();
        }
        analyze(&wire).nothing();
    });
}

#[test]
fn no_finding_when_only_one_direction_was_captured() {
    for of_client in [true, false] {
        each_way(|wire| {
            for n in 0..5 {
                let l = wire.ladder(n);
                ignored(&wire, &l, 0.2 * f64::from(n), 0);
                in_vain(&l, 0.2 * f64::from(n) + 0.1, 100, 12.0);
            }
            let side = wire.ladder(0);
            let client = side.client.host().address;
            wire.keep(|s| (s.src == client) == of_client);
            analyze(&wire).none(KIND);
        });
    }
}

#[test]
fn no_finding_when_the_capture_ends_after_the_first_repetition() {
    // One repetition may be anything; alone, and with no other connection to compare, it is no finding.
    for wire in [Wire::at_client(), Wire::between(), Wire::anywhere()] {
        ordinary(&wire, -5.0, 5);
        ignored(&wire, &wire.ladder(1), 0.0, 1);
        analyze(&wire).none(KIND);
    }
}

#[test]
fn no_finding_for_a_syn_proxy_that_answers_for_the_server() {
    // The proxy completes the handshake, then asks the server: the client's data waits, and is taken.
    each_way(|wire| {
        for n in 0..6 {
            let l = wire.ladder(n);
            let t = l.handshake(f64::from(n) * 0.2);
            l.client.data(t + 0.001, 100);
            l.client.again(t + 0.25);
            l.client.again(t + 0.7);
            l.server.ack(t + 1.2).ttl(50);
            l.server.data(t + 1.3, 900).ttl(50);
            l.client.ack(t + 1.32);
        }
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_when_the_window_is_closed() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        l.client.data(t + 0.001, 1_000);
        l.server.ack(t + 0.002).with(|s| s.window = 0);
        for probe in [0.2, 0.6, 1.4, 3.0, 6.2, 12.6] {
            l.client.keepalive(t + probe);
            l.server.ack(t + probe + wire.to_server).with(|s| s.window = 0);
        }
        let found = analyze(&wire);
        found.none(KIND);
        found.only(&l, Kind::ZeroWindowStall);
    });
}

#[test]
fn no_finding_for_a_load_balancers_probes() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..30 {
            let l = wire.of_host(7, n);
            let t = l.handshake(f64::from(n) * 0.5);
            l.client.abort(t + 0.000_1);
        }
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_when_an_intrusion_system_resets_the_client() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        l.client.data(t + 0.001, 200);
        l.server.rst(t + 0.002).ttl(250).ip_id(if wire.is_v6() { 0 } else { 777 });
        let found = analyze(&wire);
        found.none(KIND);
        found.none(Kind::AcceptQueueReset);
    });
}

#[test]
fn no_finding_when_the_clock_of_the_capture_jumps() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..4 {
            let l = wire.ladder(n);
            let t = l.handshake(0.1 * f64::from(n));
            // An hour forward between request and answer.
            l.client.data(t + 0.001, 100);
            l.server.ack(t + 3_600.0);
            l.server.data(t + 3_600.001, 100);
        }
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_when_the_syn_acks_of_a_flood_are_repeated() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..30 {
            let l = wire.of_host(n as u8, n);
            let t = 0.05 * f64::from(n);
            l.client.syn(t);
            for again in [0.0, 1.02, 3.04, 7.2] {
                l.server.syn_ack(t + wire.to_server + again);
            }
        }
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_when_a_wrong_acknowledgment_is_repeated() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        l.client.syn(0.0);
        l.server.syn_ack(wire.to_server);
        let wrong = l.server.isn().advance(0x1234_5678);
        l.client.raw(0.04, Flags::ACK, l.client.next(), wrong, 0);
        l.server.raw(0.05, Flags::RST, wrong, Seq(0), 0).options(TcpOptions::NONE).with(|s| s.window = 0);
        l.server.syn_ack(1.02);
        l.server.syn_ack(3.04);
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_for_fast_open_that_is_taken() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        l.client.syn(0.0).with(|s| {
            s.payload = 100;
            s.options |= TcpOptions::FAST_OPEN_COOKIE;
        });
        // The answer comes before the ACK, which is lost: the SYN-ACK is repeated by the child's timer.
        let all = l.client.isn().advance(101);
        l.server.syn_ack(wire.to_server).acks(all);
        l.server.data(wire.to_server + 0.001, 400).acks(all);
        l.client.raw(wire.to_server + wire.to_client, Flags::ACK, all, l.server.next(), 0).lost();
        l.server.syn_ack(1.02).acks(all);
        l.client.raw(1.02 + wire.to_client, Flags::ACK, all, l.server.next(), 0);
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_when_the_uplink_is_full() {
    // Seen at the client: SYN and SYN-ACK take 50 ms. Then the client's own uploads fill the queue of its modem, and ACK
    // and request arrive 2.2 s later. The server's timer has sent two SYN-ACKs meanwhile.
    let wire = Wire::at_client().round_trip(0.05);
    ordinary(&wire, -5.0, 5);
    let l = wire.ladder(1);
    let t = l.handshake(0.0);
    let request = l.client.data(t + 0.001, 100).segment().tsval;
    l.client.again(t + 0.25);
    l.client.again(t + 0.7);
    l.server.syn_ack(t + 1.02);
    l.client.ack(t + 1.02);
    l.client.again(t + 1.6);
    l.server.ack(t + 2.2).echoes(request);
    l.server.data(t + 2.21, 1_000).echoes(request);
    l.client.ack(t + 2.21);
    analyze(&wire).none(KIND);
}

#[test]
fn no_finding_when_the_answers_to_a_deferring_listener_are_lost() {
    // It has put the first ACK off, and asks until it gets another one: the path to it is broken meanwhile.
    let wire = Wire::at_server();
    ordinary(&wire, -5.0, 5);
    for (n, asks) in [&TIMER[..], &TIMER[1..]].into_iter().enumerate() {
        let l = wire.ladder(n as u16);
        l.handshake(0.0);
        for again in asks {
            l.server.syn_ack(*again);
            l.client.ack(again + wire.to_client).lost();
        }
    }
    analyze(&wire).none(KIND);
}

#[test]
fn no_finding_when_others_get_through_after_an_outage() {
    let wire = Wire::between();
    ordinary(&wire, -5.0, 5);
    for n in 1..5 {
        let l = wire.of_host(n, u16::from(n));
        l.handshake(5.0);
        l.client.data(6.0, 100);
        for t in [8.0, 12.0, 20.0] {
            l.client.again(t);
        }
        l.server.ack(20.1);
        l.exchange(30.0, 100, 500);
    }
    // The path was broken from 5.5 to 12.5.
    ordinary(&wire, 13.05, 8);
    analyze(&wire).none(KIND);
}

#[test]
fn a_capture_begun_after_the_final_ack_shows_it_too() {
    each_way(|wire| {
        let ladders: Vec<_> = (0..3).map(|n| wire.of_host(10 + n, u16::from(n))).collect();
        for l in &ladders {
            stuck(&wire, l, 0.0, 3, 10.0);
        }
        wire.keep(|s| s.time > at(0.5));
        let found = analyze(&wire);
        for l in &ladders {
            found.only(l, KIND);
        }
        found.none(Kind::DeferAccept);
    });
}

#[test]
fn a_loopback_capture_was_taken_at_the_server() {
    let hosts: [(&str, &str); 3] = [
        ("127.0.0.1:40001", "127.0.0.2:80"),
        ("[::1]:40001", "[::1]:80"),
        ("192.0.2.7:40001", "192.0.2.7:80"),
    ];
    for (client, server) in hosts {
        let wire = Wire::anywhere();
        let [client, server] = [client, server].map(|text| {
            let socket: std::net::SocketAddr = text.parse().expect("an address");
            Host { address: socket.ip().into(), port: socket.port() }
        });
        let l = wire.between_sockets(client, server);
        stuck(&wire, &l, 0.0, 3, 10.0);
        let found = analyze(&wire);
        let f = found.only(&l, KIND);
        assert_eq!((f.vantage, f.certainty), (Vantage::Server, Certainty::Probable));
    }
}

/// Leaves the server's SYN-ACK with this number, from 0, out of the capture.
fn miss_syn_ack(wire: &Wire, missed: usize) {
    let passed = std::cell::Cell::new(0);
    wire.keep(|s| {
        let is_syn_ack = s.flags.has(Flags::SYN | Flags::ACK);
        passed.set(passed.get() + usize::from(is_syn_ack));
        !is_syn_ack || passed.get() != missed + 1
    });
}

#[test]
fn a_repeated_syn_ack_that_the_capture_missed_is_known_by_its_answer() {
    each_way(|wire| {
        let l = wire.ladder(1);
        ignored(&wire, &l, 0.0, 2);
        miss_syn_ack(&wire, 1);
        ordinary(&wire, -5.0, 5);
        let found = analyze(&wire);
        assert_eq!(found.only(&l, KIND).metrics["syn_ack_retransmits"], 2);
    });
}

#[test]
fn the_first_syn_ack_that_the_capture_missed_is_known_by_its_echo() {
    each_way(|wire| {
        if !wire.has_timestamps() {
            return;
        }
        let l = wire.ladder(1);
        ignored(&wire, &l, 0.0, 3);
        miss_syn_ack(&wire, 0);
        ordinary(&wire, -5.0, 5);
        let found = analyze(&wire);
        assert_eq!(found.only(&l, KIND).metrics["syn_ack_retransmits"], 3);
    });
}
