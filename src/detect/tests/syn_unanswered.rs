//! `syn-unanswered`, `syn-drop-accept-queue`, `syn-drop-syn-queue`: which cause of an unanswered SYN fits.

use super::*;
use crate::decode::segment::Flags;
use crate::flow::facts::Role;

/// When a client of Linux 6.5 or later asks again.
const LINEAR: [f64; 7] = [0.0, 1.02, 2.04, 3.07, 4.09, 5.11, 7.1];

fn unanswered(l: &Ladder, t: f64) {
    for again in LINEAR {
        l.client.syn(t + again);
    }
}

/// Asks in vain until second `t` + `until`, then is answered at once.
fn answered_after(wire: &Wire, l: &Ladder, t: f64, until: f64) {
    let mut last = 0;
    for again in LINEAR.into_iter().filter(|again| *again <= until) {
        last = l.client.syn(t + again).segment().tsval;
        if again + 1.02 > until {
            let t = t + again + wire.to_server;
            l.server.syn_ack(t).echoes(if wire.has_timestamps() { last } else { 0 });
            l.client.ack(t + wire.to_client);
            l.exchange(t + wire.to_client + 0.001, 100, 300);
            break;
        }
    }
    assert_ne!(last, 0);
}

#[test]
fn syns_without_an_answer() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        unanswered(&l, 0.0);
        ordinary(&wire, 9.0, 5);
        let found = analyze(&wire);
        let f = found.only(&l, Kind::SynUnanswered);
        // One connection of eleven, and nothing says whose fault it was.
        assert_eq!((f.severity, f.certainty), (Severity::Warning, Certainty::Possible));
        assert_eq!(f.metrics["syns_unanswered"], 7);
    });
}

#[test]
fn answered_at_the_third_try() {
    for wire in Wire::everywhere() {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        answered_after(&wire, &l, 0.0, 2.1);
        let found = analyze(&wire);
        let f = found.only(&l, Kind::SynUnanswered);
        assert_eq!((f.severity, f.metrics["syns_unanswered"].as_u64()), (Severity::Warning, Some(2)));
    }
}

#[test]
fn no_finding_for_a_single_syn_at_the_end() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        wire.ladder(1).client.syn(0.0);
        analyze(&wire).nothing();
    });
}

#[test]
fn one_direction_shows_who_repeated_his_syn() {
    each_way(|wire| {
        for n in 0..6 {
            wire.ladder(n).served(f64::from(n));
        }
        let l = wire.ladder(50);
        unanswered(&l, 0.5);
        let client = l.client.host().address;
        wire.keep(|s| s.src == client);
        let found = analyze(&wire);
        let f = found.only(&l, Kind::SynUnanswered);
        assert_eq!((f.severity, f.certainty), (Severity::Warning, Certainty::Possible));
        assert!(f.certainty_reason.contains("not in the capture"), "{}", f.certainty_reason);
        assert!(found.report.warnings.iter().any(|w| w.contains("direction")), "{:?}", found.report.warnings);
        assert_eq!(found.counts().len(), 1, "{}", found.summaries());
    });
}

#[test]
fn a_dead_host_is_found_however_many_clients_it_has() {
    for clients in [1, 9, 10, 11, 60] {
        each_way(|wire| {
            for n in 0..clients {
                unanswered(&wire.of_host(n as u8, n), 0.01 * f64::from(n));
            }
            let found = analyze(&wire);
            assert_eq!(found.counts()[&Kind::SynUnanswered], usize::from(clients), "{}", found.summaries());
            // How many of how many clients are lost decides how grave it is.
            let grave = if clients >= 9 { Severity::Critical } else { Severity::Warning };
            let certain = |f: &Finding| (f.severity, f.certainty) == (grave, Certainty::Possible);
            assert!(found.report.findings.iter().all(certain), "{}", found.summaries());
            assert!(found.report.warnings.iter().any(|w| w.contains("no answer to any")));
        });
    }
}

#[test]
fn one_dead_peer_of_many_is_not_critical_and_all_are_one_line() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let client = wire.ladder(1).client.host();
        for n in 0..40_u8 {
            let mut server = wire.ladder(1).server.host();
            server.address.0[14] ^= 1;
            server.address.0[15] = n;
            unanswered(&wire.between_sockets(client, server), 0.1 * f64::from(n));
        }
        let found = analyze(&wire);
        assert_eq!(found.counts()[&Kind::SynUnanswered], 40);
        assert_eq!(found.report.incidents.len(), 1, "{:#?}", found.report.incidents);
        assert_eq!(found.report.incidents[0].severity, Severity::Warning);
    });
}

#[test]
fn a_syn_that_comes_again_too_soon_had_an_answer() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        [0.0, 0.5, 1.0].into_iter().for_each(|t| drop(l.client.syn(t)));
        ordinary(&wire, 3.0, 5);
        let found = analyze(&wire);
        assert_eq!(found.only(&l, Kind::SynUnanswered).severity, Severity::Info);
    });
}

#[test]
fn a_timer_that_starts_low_is_a_timer() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        [0.0, 0.25, 0.75, 1.75, 3.75].into_iter().for_each(|t| drop(l.client.syn(t)));
        ordinary(&wire, 5.0, 5);
        let found = analyze(&wire);
        assert_eq!(found.only(&l, Kind::SynUnanswered).severity, Severity::Warning);
    });
}

#[test]
fn no_finding_for_what_is_no_attempt_to_connect() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let (fin, payload, scan) = (wire.ladder(1), wire.ladder(2), wire.ladder(3));
        for t in LINEAR {
            fin.client.syn(t).with(|s| s.flags = Flags::SYN | Flags::FIN);
            payload.client.syn(t).with(|s| s.payload = 20);
        }
        (0..6).for_each(|n| drop(scan.client.syn(0.005 * f64::from(n))));
        ordinary(&wire, 9.0, 5);
        analyze(&wire).nothing();
    });
}

#[test]
fn what_a_filter_for_syns_leaves_is_told_with_doubt() {
    each_way(|wire| {
        for n in 0..15 {
            let l = wire.ladder(n);
            if n % 5 == 0 {
                l.client.syn(f64::from(n) - 1.0);
            }
            l.served(f64::from(n));
        }
        wire.keep(|s| s.flags.has(Flags::SYN) && !s.flags.has(Flags::ACK));
        let found = analyze(&wire);
        // Three that were repeated, and all others together.
        assert_eq!(found.counts(), BTreeMap::from([(Kind::SynUnanswered, 4)]));
        let doubtful = |f: &Finding| (f.severity, f.certainty) == (Severity::Info, Certainty::Possible);
        assert!(found.report.findings.iter().all(doubtful), "{}", found.summaries());
    });
}

#[test]
fn no_finding_when_the_round_trip_is_above_the_timer() {
    for (wire, share) in [(Wire::at_client(), 1.0), (Wire::between(), 0.5)] {
        for wire in [wire.clone(), wire.clone().v6(), wire.without_timestamps()] {
            let wire = wire.round_trip(1.6);
            for n in 0..4 {
                let l = wire.ladder(n);
                let t = f64::from(n) * 10.0;
                let answer = 1.6 * share;
                l.client.syn(t);
                l.client.syn(t + 1.0);
                l.server.syn_ack(t + answer);
                l.server.syn_ack(t + answer + 1.0);
                let ack = t + 1.6;
                l.client.ack(ack);
                l.client.data(ack + 0.001, 100);
                l.client.ack(ack + 1.0);
                l.server.ack(ack + answer + 0.01);
                l.server.data(ack + answer + 0.02, 500);
            }
            let found = analyze(&wire);
            found.none(Kind::SynUnanswered);
            found.none(Kind::AcceptQueueOverflow);
        }
    }
}

#[test]
fn no_finding_when_the_syn_ack_was_lost() {
    for wire in [Wire::at_client(), Wire::at_client().v6()] {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        l.client.syn(0.0);
        l.server.syn_ack(0.02).lost();
        l.client.syn(1.02);
        l.server.syn_ack(1.04);
        l.client.ack(1.04);
        l.exchange(1.05, 100, 100);
        let found = analyze(&wire);
        assert_eq!(found.only(&l, Kind::HandshakeLoss).metrics["lost"], "SYN-ACK");
    }
}

#[test]
fn no_finding_where_a_time_wait_answers() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        for again in LINEAR {
            l.client.syn(again);
            let (seq, ack) = (l.server.isn().advance(9_999), l.client.isn().advance(1 << 30));
            l.server.raw(again + wire.to_server, Flags::ACK, seq, ack, 0);
        }
        let found = analyze(&wire);
        found.none(Kind::SynUnanswered);
        assert_eq!(found.only(&l, Kind::TimeWaitCollision).severity, Severity::Warning);
    });
}

#[test]
fn accept_queue_full_when_others_are_stuck() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..3 {
            stuck(&wire, &wire.of_host(10 + n, u16::from(n)), 0.1 * f64::from(n), 3, 10.0);
        }
        let l = wire.ladder(50);
        unanswered(&l, 0.6);
        let found = analyze(&wire);
        let f = found.only(&l, Kind::SynDropAcceptQueue);
        let certainty = if f.vantage == Vantage::Server { Certainty::Probable } else { Certainty::Possible };
        assert_eq!(f.certainty, certainty);
    });
}

#[test]
fn accept_queue_full_when_requests_wait_for_the_application() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..5 {
            let l = wire.of_host(10 + n, u16::from(n));
            let t = l.handshake(0.1 * f64::from(n));
            l.client.data(t + 0.001, 100);
            l.server.ack(t + 0.002 + wire.to_server);
            l.server.data(12.0 + 0.1 * f64::from(n), 500);
            l.client.ack(12.0 + 0.1 * f64::from(n) + wire.to_client);
        }
        let l = wire.ladder(50);
        unanswered(&l, 1.6);
        let found = analyze(&wire);
        // From elsewhere a path that breaks while answers are awaited looks the same.
        let at_server = found.report.findings.iter().any(|f| f.vantage == Vantage::Server);
        let kind = if at_server { Kind::SynDropAcceptQueue } else { Kind::SynUnanswered };
        found.only(&l, kind);
    });
}

#[test]
fn accept_queue_full_of_silent_clients_one_of_which_asks_again() {
    let wire = Wire::at_server();
    ordinary(&wire, -5.0, 5);
    for n in 0..4 {
        wire.of_host(10 + n, u16::from(n)).handshake(0.1 * f64::from(n));
    }
    let l = wire.of_host(12, 50);
    unanswered(&l, 1.6);
    analyze(&wire).only(&l, Kind::SynDropAcceptQueue);
}

#[test]
fn idle_connections_of_clients_that_do_not_ask_say_nothing_of_the_queue() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        // A browser connects ahead of need; none of these waits for anything.
        for n in 0..5 {
            wire.of_host(10 + n, u16::from(n)).handshake(0.1 * f64::from(n));
        }
        let l = wire.ladder(50);
        unanswered(&l, 2.0);
        ordinary(&wire, 12.0, 5);
        let found = analyze(&wire);
        assert_eq!(found.of(&l), [Kind::SynUnanswered], "{}", found.summaries());
    });
}

#[test]
fn a_filtered_client_is_no_sign_of_a_full_queue_while_others_are_served() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..4 {
            let slow = wire.of_host(10 + n, u16::from(n));
            let t = slow.handshake(0.1 * f64::from(n));
            slow.client.data(t + 0.001, 100);
            slow.server.ack(t + 0.002 + wire.to_server);
        }
        let l = wire.ladder(50);
        unanswered(&l, 1.6);
        for n in 0..40 {
            wire.of_host(201, 100 + n).served(1.0 + f64::from(n) * 0.2);
        }
        let found = analyze(&wire);
        assert_eq!(found.of(&l), [Kind::SynUnanswered], "{}", found.summaries());
    });
}

#[test]
fn syn_queue_full_of_half_open_handshakes() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..12 {
            let l = wire.of_host(10 + n, u16::from(n));
            let t = 0.02 * f64::from(n);
            l.client.syn(t);
            for again in [0.0, 1.02, 3.04, 7.2] {
                l.server.syn_ack(t + wire.to_server + again);
            }
        }
        let l = wire.ladder(50);
        unanswered(&l, 0.5);
        let found = analyze(&wire);
        let f = found.only(&l, Kind::SynDropSynQueue);
        assert_eq!(f.metrics["half_open"], 12);
    });
}

#[test]
fn few_half_open_handshakes_do_not_fill_a_queue() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..4 {
            let l = wire.of_host(10 + n, u16::from(n));
            l.client.syn(0.0);
            for again in [0.0, 1.02, 3.04, 7.2] {
                l.server.syn_ack(wire.to_server + again);
            }
        }
        let l = wire.ladder(50);
        unanswered(&l, 0.5);
        let found = analyze(&wire);
        assert_eq!(found.of(&l), [Kind::SynUnanswered], "{}", found.summaries());
    });
}

#[test]
fn another_listener_of_the_same_host_does_not_count() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..3 {
            let l = wire.between_hosts(10 + n, 40_000, 8080);
            stuck(&wire, &l, 0.1 * f64::from(n), 3, 10.0);
        }
        let l = wire.ladder(50);
        unanswered(&l, 0.6);
        let found = analyze(&wire);
        assert_eq!(found.of(&l), [Kind::SynUnanswered], "{}", found.summaries());
    });
}

#[test]
fn dead_host_or_filtered_port_blames_no_queue() {
    each_way(|wire| {
        for n in 0..12 {
            unanswered(&wire.of_host(10 + n, u16::from(n)), 0.3 * f64::from(n));
        }
        wire.between_hosts(3, 1234, 443).served(1.0);
        let found = analyze(&wire);
        assert_eq!(found.counts().into_iter().collect::<Vec<_>>(), [(Kind::SynUnanswered, 12)]);
        assert!(found.report.findings.iter().all(|f| f.certainty == Certainty::Possible));
    });
}

#[test]
fn an_evening_of_long_polls_and_one_lost_syn() {
    // Every client has asked and waits for minutes, as the protocol wants; a SYN is lost on the path.
    for wire in [Wire::at_client(), Wire::at_server(), Wire::between()] {
        ordinary(&wire, -5.0, 5);
        for n in 0..5 {
            let l = wire.of_host(10 + n, u16::from(n));
            let t = l.handshake(0.1 * f64::from(n));
            let t = l.exchange(t + 0.001, 100, 300);
            l.client.data(t + 0.01, 100);
            l.server.ack(t + 0.02 + wire.to_server);
        }
        let l = wire.ladder(50);
        answered_after(&wire, &l, 3.0, 1.1);
        l.close(20.0, Role::Client);
        let found = analyze(&wire);
        assert_eq!(found.of(&l), [Kind::SynUnanswered], "{}", found.summaries());
    }
}

#[test]
fn a_client_that_goes_on_had_an_answer() {
    // The way back of this connection does not pass the capture point.
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(50);
        for t in [0.0, 1.02, 3.04] {
            l.client.syn(t);
        }
        l.server.syn_ack(3.05).lost();
        l.client.ack(3.06);
        l.client.data(3.07, 100);
        l.server.ack(3.08).lost();
        l.client.ack(3.1);
        analyze(&wire).none(Kind::SynUnanswered);
    });
}
