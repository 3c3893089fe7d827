//! How established connections die: `data-unacknowledged`, `stale-connection`, `path-mtu-blackhole`, refused probes.

use super::*;
use crate::decode::segment::Address;
use crate::flow::key::Host;
use crate::flow::wire::at;

/// The client's data again and again, as its timer sends it; the last repetition is returned.
fn data_in_vain(l: &Ladder, t: f64, repetitions: usize) -> f64 {
    l.client.data(t, 100);
    let waits = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0];
    waits.iter().take(repetitions).fold(t, |t, wait| {
        l.client.again(t + wait);
        t + wait
    })
}

#[test]
fn data_repeated_in_a_capture_begun_late_stalls_although_nothing_of_the_server_is_in_it() {
    each_way(|wire| {
        let l = wire.ladder(1);
        l.handshake(0.0);
        let begin = at(0.9);
        data_in_vain(&l, 1.0, 5);
        wire.keep(move |s| s.time >= begin);
        let found = analyze(&wire);
        let f = found.only(&l, Kind::DataUnacknowledged);
        assert_eq!(f.certainty, Certainty::Possible);
        assert!(
            f.alternatives.iter().any(|or| or.suspect.text().contains("accept queue")),
            "{}",
            found.summaries()
        );
        assert_eq!(found.report.summary.failed_unexplained, 0);
    });
}

#[test]
fn one_direction_that_goes_on_is_no_stall() {
    each_way(|wire| {
        let l = wire.ladder(1);
        l.handshake(0.0);
        let begin = at(0.9);
        let t = data_in_vain(&l, 1.0, 4);
        l.server.ack(t + 0.02);
        l.client.data(t + 0.1, 100);
        let client = l.client.host().address;
        wire.keep(move |s| s.time >= begin && s.src == client);
        analyze(&wire).nothing();
    });
}

#[test]
fn a_long_interruption_is_told_and_a_short_one_is_not() {
    each_way(|wire| {
        let (long, short) = (wire.ladder(1), wire.ladder(2));
        for (l, repetitions) in [(&long, 5), (&short, 3)] {
            let t = l.handshake(0.0);
            let t = l.exchange(t + 0.001, 100, 400);
            let t = data_in_vain(l, t + 3.0, repetitions);
            l.server.ack(t + 0.03);
            l.exchange(t + 1.0, 100, 400);
        }
        let found = analyze(&wire);
        let f = found.only(&long, Kind::DataUnacknowledged);
        assert_eq!((f.severity, f.certainty), (Severity::Info, Certainty::Possible));
        assert!(found.of(&short).is_empty(), "{}", found.summaries());
    });
}

#[test]
fn data_that_draws_a_reset_where_the_capture_begins() {
    each_way(|wire| {
        let (closed, scan) = (wire.ladder(1), wire.ladder(2));
        for l in [&closed, &scan] {
            let t = l.handshake(0.0);
            l.exchange(t + 0.001, 100, 400);
        }
        let begin = at(5.0);
        closed.server.data(6.0, 100);
        closed.client.rst(6.02);
        scan.client.ack(6.0);
        scan.server.rst(6.02);
        wire.keep(move |s| s.time >= begin);
        let found = analyze(&wire);
        let f = found.only(&closed, Kind::StaleConnection);
        assert_eq!((f.severity, f.certainty), (Severity::Info, Certainty::Possible));
        assert!(
            f.alternatives.iter().any(|or| or.suspect.text().contains("FIN_WAIT2")),
            "{}",
            found.summaries()
        );
        assert!(found.of(&scan).is_empty(), "{}", found.summaries());
    });
}

/// A silent client whose first probe, `idle` seconds later, is refused.
fn probe_refused(l: &Ladder, t: f64, idle: f64) {
    let t = l.handshake(t);
    l.client.keepalive(t + idle);
    l.server.rst(t + idle + 0.001);
}

#[test]
fn probes_refused_while_others_go_on_are_refused_cookies() {
    each_way(|wire| {
        let others: Vec<Ladder> = (1..=3).map(|n| wire.ladder(n)).collect();
        let refused: Vec<Ladder> = (4..=7).map(|n| wire.ladder(n)).collect();
        for (n, l) in others.iter().enumerate() {
            let t = l.handshake(n as f64 / 100.0);
            l.exchange(t + 0.001, 100, 400);
        }
        for (n, l) in refused.iter().enumerate() {
            probe_refused(l, 0.1 + n as f64 / 100.0, 2.0);
        }
        others[0].client.keepalive(5.0);
        others[0].server.ack(5.02);
        let found = analyze(&wire);
        for l in &refused {
            let f = found.only(l, Kind::AcceptQueueOverflow);
            assert_eq!(f.certainty, Certainty::Probable);
            assert_eq!(f.metrics["syncookie"].as_bool(), Some(true));
        }
        assert_eq!(found.report.summary.failed_unexplained, 0);
    });
}

#[test]
fn probes_refused_together_with_connections_that_were_served_are_a_restart() {
    each_way(|wire| {
        let served = wire.ladder(1);
        let t = served.handshake(0.0);
        served.exchange(t + 0.001, 100, 400);
        for n in 4..=7 {
            probe_refused(&wire.ladder(n), f64::from(n) / 100.0, 2.0);
        }
        served.client.keepalive(2.5);
        served.server.rst(2.501);
        let late = wire.ladder(9);
        let t = late.handshake(3.0);
        late.exchange(t + 0.001, 100, 400);
        let found = analyze(&wire);
        found.none(Kind::AcceptQueueOverflow);
        assert_eq!(found.counts()[&Kind::StaleConnection], 5, "{}", found.summaries());
    });
}

#[test]
fn a_fast_open_handshake_whose_syn_acks_are_lost_is_told() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    l.client.syn(0.0).with(|s| s.payload = 64);
    let taken = l.client.isn().advance(65);
    for t in [0.0001, 1.01, 3.02] {
        l.server.syn_ack(t).acks(taken);
        if t < 1.0 {
            l.server.data(t + 0.001, 6).acks(taken);
        }
    }
    let found = analyze(&wire);
    assert_eq!(found.report.summary.failed_unexplained, 0, "{}", found.summaries());
    found.only(&l, Kind::SynAckUnanswered);
}

#[test]
fn a_request_on_a_connection_that_the_server_has_closed() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let (asked, at_once) = (wire.ladder(1), wire.ladder(2));
        for l in [&asked, &at_once] {
            let t = l.handshake(0.0);
            l.exchange(t + 0.001, 100, 400);
        }
        asked.server.fin(3.0);
        asked.client.ack(3.02);
        asked.client.data(4.0, 100);
        asked.server.rst(4.001);
        // A client that hangs up while the server still sends.
        at_once.client.fin(3.0);
        at_once.server.ack(3.001);
        at_once.server.data(3.5, 1_000);
        at_once.client.rst(3.52);
        let found = analyze(&wire);
        let f = found.only(&asked, Kind::IdleCloseRace);
        assert_eq!(f.certainty, Certainty::Probable);
        found.of(&at_once).iter().for_each(|kind| assert_ne!(*kind, Kind::IdleCloseRace));
        assert_eq!(found.report.summary.failed_unexplained, 0, "{}", found.summaries());
    });
}

#[test]
fn a_reset_that_linux_does_not_send_after_a_long_pause() {
    let died = |pause: f64, window: u16| {
        let wire = Wire::at_client();
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        l.exchange(t + 0.001, 100, 400);
        l.client.data(pause, 5);
        l.server.rst(pause + 0.02).with(|s| s.window = window);
        (analyze(&wire), l)
    };
    let (found, l) = died(900.0, 8_201);
    assert_eq!(found.only(&l, Kind::IdleFlowDropped).certainty, Certainty::Possible);
    // A host without a socket, and one that resets at once.
    died(900.0, 0).0.none(Kind::IdleFlowDropped);
    died(3.0, 8_201).0.none(Kind::IdleFlowDropped);
}

#[test]
fn syns_ignored_on_the_loopback_interface_met_a_full_queue() {
    let burst = |own: bool| {
        let wire = Wire::at_server();
        let host = |port| {
            let ip = if own { [127, 0, 0, 1] } else { [192, 0, 2, 1] };
            Host { address: Address::v4(ip), port }
        };
        let ladders: Vec<Ladder> =
            (0..8).map(|n| wire.between_sockets(host(40_000 + n), host(8_080))).collect();
        for (n, l) in ladders.iter().enumerate() {
            let t = n as f64 / 10_000.0;
            match n {
                0..=2 => {
                    l.served(t);
                }
                _ => {
                    l.client.syn(t);
                    let again = l.client.syn(t + 1.02).segment();
                    l.server.syn_ack(t + 1.020_01).echoes(again.tsval);
                    l.client.ack(t + 1.020_03);
                    l.exchange(t + 1.03, 100, 400);
                }
            }
        }
        analyze(&wire)
    };
    let found = burst(true);
    assert_eq!(found.counts().get(&Kind::SynDropAcceptQueue), Some(&5), "{}", found.summaries());
    found.none(Kind::SynUnanswered);
    burst(false).none(Kind::SynDropAcceptQueue);
}

#[test]
fn an_icmp_error_that_answers_data_names_who_does_not_deliver_it() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        let t = l.exchange(l.handshake(0.0), 100, 400);
        in_vain(&l, t + 2.0, 200, t + 20.0);
        let (kind, code) = if wire.is_v6() { (1, 1) } else { (3, 13) };
        l.client.quoted_by_icmp(t + 2.01, kind, code);
        let found = analyze(&wire);
        let f = found.only(&l, Kind::DataUnacknowledged);
        assert_eq!(f.certainty, Certainty::Probable);
        let says = format!("type {kind} code {code}");
        assert!(f.certainty_reason.contains(&says), "{}", f.certainty_reason);
        assert!(f.cause.text.contains("forbids"), "{}", f.cause.text);
    });
}

#[test]
fn a_client_that_gave_up_before_the_answer_came() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 60);
        for (n, wait) in [(1, 1.6), (2, 0.02)] {
            let l = wire.ladder(n);
            l.client.syn(2.0);
            l.server.syn_ack(2.0 + wait);
            l.client.rst(2.0 + wait + wire.to_client + wire.to_server);
        }
        let found = analyze(&wire);
        found.only(&wire.ladder(1), Kind::SynAckUnanswered);
        assert!(found.of(&wire.ladder(2)).is_empty(), "a half-open check");
    });
}

#[test]
fn an_early_answer_leaves_the_rest_of_the_request_unread() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        for n in 0..3 {
            l.client.data(t + 0.25 * f64::from(n), 1_000);
            l.server.ack(t + 0.25 * f64::from(n) + 0.04 + wire.to_server);
        }
        l.server.data(t + 0.7, 180);
        l.server.fin(t + 0.701);
        l.client.ack(t + 0.72 + wire.to_client);
        l.client.data(t + 0.75, 1_000);
        l.server.rst(t + 0.75 + wire.to_server);
        let found = analyze(&wire);
        assert_eq!(found.only(&l, Kind::AbortiveClose).severity, Severity::Info);
    });
}
