//! Incidents as they are reported: what else the capture shows decides between causes.

use super::*;
use crate::decode::segment::{Flags, TcpOptions};
use crate::flow::facts::Role;
use crate::seq::Seq;

/// A RST of a host without a socket, in the server's name.
fn bare_reset(l: &Ladder, t: f64, ttl: u8) {
    let seq = l.server.next();
    l.server
        .raw(t, Flags::RST, seq, Seq(0), 0)
        .with(|s| (s.window, s.ip_id, s.options, s.ttl) = (0, 0, TcpOptions(0), ttl));
}

/// A connection with one exchange, and when that was over.
fn used(wire: &Wire, n: u16, t: f64) -> (Ladder, f64) {
    let l = wire.ladder(n);
    let t = l.handshake(t);
    let t = l.exchange(t + 0.01, 100, 1_000);
    (l, t)
}

#[test]
fn syns_that_were_sent_once_are_told_of_together() {
    let wire = Wire::at_client();
    ordinary(&wire, -5.0, 5);
    for port in 1..40 {
        wire.between_hosts(7, 60_000, 2_000 + port).client.syn(0.01 * f64::from(port));
    }
    ordinary(&wire, 9.0, 2);
    let found = analyze(&wire);
    assert_eq!(found.counts(), BTreeMap::from([(Kind::SynUnanswered, 1)]), "{}", found.summaries());
    let f = &found.report.findings[0];
    assert_eq!((f.severity, f.certainty, f.client), (Severity::Info, Certainty::Possible, None));
    assert_eq!((&f.metrics["syns"], &f.metrics["listeners"]), (&39.into(), &39.into()));
    assert_eq!((found.report.summary.failed, found.report.summary.failed_unexplained), (39, 0));
}

#[test]
fn a_syn_at_the_end_of_the_capture_is_no_failure() {
    let wire = Wire::at_client();
    ordinary(&wire, -5.0, 5);
    wire.ladder(1).client.syn(1.0);
    analyze(&wire).nothing();
}

#[test]
fn a_reset_after_a_pause_in_which_nobody_spoke_is_a_time_out() {
    for wire in [Wire::at_client(), Wire::at_client().v6(), Wire::at_client().without_timestamps()] {
        ordinary(&wire, -5.0, 5);
        let (l, t) = used(&wire, 1, 0.0);
        l.server.raw(t + 240.0, Flags::RST | Flags::ACK, l.server.next(), l.client.next(), 0).ttl(124);
        ordinary(&wire, 250.0, 5);
        let found = analyze(&wire);
        let f = found.only(&l, Kind::IdleFlowDropped);
        assert!(f.summary.contains("4 min"), "{}", f.summary);
    }
}

#[test]
fn a_reset_with_another_ttl_in_mid_connection_is_no_time_out() {
    let wire = Wire::at_client();
    ordinary(&wire, -5.0, 5);
    let (l, t) = used(&wire, 1, 0.0);
    l.server.raw(t + 1.0, Flags::RST | Flags::ACK, l.server.next(), l.client.next(), 0).ttl(124);
    ordinary(&wire, 250.0, 5);
    analyze(&wire).only(&l, Kind::InjectedReset);
}

#[test]
fn another_host_behind_the_address_resets_what_it_does_not_know() {
    for known in [true, false] {
        let wire = Wire::at_client();
        ordinary(&wire, -5.0, 5);
        let (l, t) = used(&wire, 1, 0.0);
        let ttl = l.server.ack(t).segment().ttl - 4;
        if known {
            for n in 0..3 {
                let other = wire.of_host(9, 700 + n);
                other.client.syn(1.0 + f64::from(n));
                other.server.syn_ack(1.0 + f64::from(n) + wire.to_server).ttl(ttl);
                other.client.ack(1.1 + f64::from(n));
            }
        }
        l.client.data(t + 9.0, 100);
        bare_reset(&l, t + 9.0 + wire.to_server, ttl);
        ordinary(&wire, 20.0, 2);
        let found = analyze(&wire);
        let kind = if known { Kind::StaleConnection } else { Kind::InjectedReset };
        let f = found.only(&l, kind);
        assert_eq!(f.cause.text.contains("Another host"), known, "{}", f.cause.text);
    }
}

#[test]
fn what_was_forgotten_before_the_capture_began_had_been_idle_since() {
    let wire = Wire::at_client();
    ordinary(&wire, -5.0, 5);
    let l = wire.ladder(1);
    l.client.data(400.0, 100);
    bare_reset(&l, 400.0 + wire.to_server, 255);
    ordinary(&wire, 410.0, 5);
    let found = analyze(&wire);
    let f = found.only(&l, Kind::IdleFlowDropped);
    assert!(f.summary.contains("at least"), "{}", f.summary);
}

#[test]
fn data_larger_than_a_router_says_is_too_large_for_the_path() {
    for mtu in [1_400, 0] {
        let wire = Wire::at_client();
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        l.client.data(t + 0.01, 1_448);
        l.client.quoted_by_icmp(t + 0.02, 3, 4).with(|s| s.mss = mtu);
        for again in [0.2, 0.6, 1.4, 3.0] {
            l.client.again(t + again);
        }
        ordinary(&wire, 2.0, 5);
        let found = analyze(&wire);
        let kind = if mtu > 0 { Kind::PathMtuBlackhole } else { Kind::DataUnacknowledged };
        let f = found.only(&l, kind);
        assert!(!f.summary.contains("smaller ones arrived"), "{}", f.summary);
    }
}

#[test]
fn who_asks_again_after_its_data_was_acknowledged_hears_nothing() {
    let wire = Wire::at_server();
    ordinary(&wire, -5.0, 5);
    let (l, t) = used(&wire, 1, 0.0);
    l.client.data(t + 1.0, 200);
    l.server.ack(t + 1.001);
    l.server.data(t + 1.01, 500);
    for again in [0.25, 0.7, 1.6, 3.4] {
        l.client.again(t + 1.0 + again);
        l.server.ack(t + 1.001 + again);
        l.server.again(t + 1.03 + again);
    }
    ordinary(&wire, 9.0, 5);
    let found = analyze(&wire);
    let f = found.only(&l, Kind::DataUnacknowledged);
    assert!(f.cause.text.contains("is cut"), "{}", f.cause.text);
}

#[test]
fn a_fin_after_a_long_pause_meets_a_box_that_has_forgotten() {
    for pause in [600.0, 1.0] {
        let wire = Wire::at_client();
        ordinary(&wire, -5.0, 5);
        let (l, t) = used(&wire, 1, 0.0);
        l.client.fin(t + pause);
        for again in [0.25, 0.7, 1.6, 3.4, 7.0] {
            l.client.again(t + pause + again);
        }
        for n in 0..8 {
            wire.of_host(200, 900 + n).served(t + pause + f64::from(n));
        }
        let found = analyze(&wire);
        let f = found.only(&l, Kind::FinUnacknowledged);
        assert_eq!(f.summary.contains("10 min"), pause > 60.0, "{}", f.summary);
        assert_eq!(f.cause.text.contains("NAT"), pause > 60.0, "{}", f.cause.text);
    }
}

#[test]
fn acks_of_an_older_connection_that_draw_no_reset_explain_the_syns() {
    let wire = Wire::at_server();
    ordinary(&wire, -5.0, 5);
    let old = wire.ladder(1);
    let t = old.handshake(0.0);
    let t = old.exchange(t + 0.01, 100, 1_000);
    old.close(t, Role::Server);
    let (seq, ack) = (old.server.next(), old.client.next());
    let new = old.reused(ack.0.wrapping_sub(5_000), seq.0.wrapping_add(9_000));
    for again in [8.0, 9.02, 10.04, 11.07] {
        new.client.syn(again);
        new.server.raw(again + 0.0001, Flags::ACK, seq, ack, 0);
    }
    ordinary(&wire, 20.0, 5);
    let found = analyze(&wire);
    assert!(found.of(&new).contains(&Kind::TimeWaitCollision), "{}", found.summaries());
    assert_eq!(found.report.summary.failed_unexplained, 0);
}

#[test]
fn keepalive_answers_of_a_request_are_no_progress_whatever_they_echo() {
    let wire = Wire::at_server();
    ordinary(&wire, -5.0, 5);
    let all: Vec<Ladder> = (1..5).map(|n| wire.ladder(n)).collect();
    for l in &all {
        ignored(&wire, l, 0.0, 5);
        for probe in [10.0, 20.0, 30.0] {
            let sent = l.client.keepalive(probe).segment();
            l.server.ack(probe + 0.0001).ip_id(0).with(|s| s.tsecr = sent.tsval);
        }
    }
    ordinary(&wire, 40.0, 2);
    let found = analyze(&wire);
    assert_eq!(found.of(&all[0]), [Kind::AcceptQueueOverflow], "{}", found.summaries());
}

#[test]
fn a_traced_route_is_no_routing_loop() {
    for (ttl, severity) in [(3, Severity::Info), (64, Severity::Warning)] {
        let wire = Wire::at_client();
        ordinary(&wire, -5.0, 5);
        for n in 0..8 {
            let l = wire.ladder(n);
            l.client.syn(f64::from(n)).ttl(ttl);
            l.client.quoted_by_icmp(f64::from(n) + 0.01, 11, 0);
        }
        let found = analyze(&wire);
        let incident = &found.report.incidents[0];
        assert_eq!((incident.kind, incident.severity), (Kind::ConnectionRefused, severity));
    }
}

#[test]
fn probes_without_an_answer_are_a_failure_that_is_told() {
    let wire = Wire::at_client();
    ordinary(&wire, -5.0, 5);
    let (l, t) = used(&wire, 1, 0.0);
    for probe in 0..4 {
        l.client.keepalive(t + 60.0 + f64::from(probe));
    }
    l.client.abort(t + 64.0);
    ordinary(&wire, 80.0, 2);
    let found = analyze(&wire);
    let f = found.only(&l, Kind::AbortiveClose);
    assert!(f.summary.contains("4 keepalive probes"), "{}", f.summary);
    assert_eq!((found.report.summary.failed, found.report.summary.failed_unexplained), (1, 0));
}

#[test]
fn peers_that_are_gone_are_one_line_and_no_alarm() {
    let wire = Wire::at_client();
    let server = |n: u16| crate::flow::key::Host {
        address: std::net::Ipv4Addr::new(203, 0, 113, n as u8).into(),
        port: 6_881 + n % 7,
    };
    let client = wire.ladder(1).client.host();
    for n in 1..40 {
        let me = crate::flow::key::Host { port: 30_000 + n, ..client };
        let l = wire.between_sockets(me, server(n));
        for t in [0.0, 1.0, 3.0] {
            l.client.syn(t + f64::from(n) * 0.3);
        }
    }
    let found = analyze(&wire);
    assert_eq!(found.report.incidents.len(), 1);
    assert_eq!(found.report.incidents[0].severity, Severity::Info);
}

#[test]
fn handshakes_that_nobody_took_up_are_told_of_together() {
    let wire = Wire::at_server();
    ordinary(&wire, -5.0, 5);
    for n in 0..4 {
        let l = wire.of_host(20 + n, 300);
        l.client.syn(f64::from(n));
        l.server.syn_ack(f64::from(n) + 0.0001);
    }
    ordinary(&wire, 20.0, 2);
    let found = analyze(&wire);
    assert_eq!(found.counts(), BTreeMap::from([(Kind::SynAckUnanswered, 1)]), "{}", found.summaries());
    assert_eq!(found.report.findings[0].severity, Severity::Info);
    assert_eq!((found.report.summary.failed, found.report.summary.failed_unexplained), (4, 0));
}

#[test]
fn a_filter_for_handshakes_makes_no_failures() {
    for syn_acks in [true, false] {
        let wire = Wire::at_client();
        ordinary(&wire, 0.0, 20);
        ordinary(&wire, 20.0, 5);
        wire.keep(|s| s.flags.has(Flags::SYN) && (syn_acks || !s.flags.has(Flags::ACK)));
        let found = analyze(&wire);
        assert!(found.report.findings.iter().all(|f| f.severity == Severity::Info), "{}", found.summaries());
        assert_eq!((found.report.summary.failed, found.report.summary.failed_unexplained), (0, 0));
    }
}

#[test]
fn syn_acks_alone_that_come_again_are_a_flood_seen_from_one_side() {
    let wire = Wire::at_client();
    for n in 0..30 {
        let l = wire.of_host(20 + n, 300);
        let t = 0.1 * f64::from(n);
        l.client.syn(t);
        for again in [0.0, 1.02, 3.05] {
            l.server.syn_ack(t + 0.0001 + again);
        }
    }
    wire.keep(|s| s.flags.has(Flags::ACK));
    let found = analyze(&wire);
    assert_eq!(found.counts(), BTreeMap::from([(Kind::SynFlood, 1)]), "{}", found.summaries());
    let f = &found.report.findings[0];
    assert_eq!(f.certainty, Certainty::Possible);
    assert!(f.alternatives.iter().any(|a| a.suspect.to_string().contains("accept queue")), "{f:?}");
}

/// Nine connections over some seconds of which every third never gets an answer, or all those of a few seconds do not.
fn one_of_three(wire: &Wire, in_turn: bool) -> Ladder {
    let mut dead = Vec::new();
    for n in 0..30 {
        let (l, t) = (wire.of_host(30 + n as u8 % 4, 500 + n), f64::from(n) * 0.6);
        let ignored = if in_turn { n % 3 == 1 } else { (10..20).contains(&n) };
        if !ignored {
            l.served(t);
            continue;
        }
        for again in [0.0, 1.02, 2.04, 3.07] {
            l.client.syn(t + again);
        }
        dead.push(l);
    }
    ordinary(wire, 30.0, 3);
    dead.swap_remove(0)
}

#[test]
fn one_of_several_hosts_that_never_answers_is_told() {
    for in_turn in [true, false] {
        let wire = Wire::at_client();
        ordinary(&wire, -5.0, 5);
        let l = one_of_three(&wire, in_turn);
        let found = analyze(&wire);
        let f = found.only(&l, Kind::SynUnanswered);
        assert_eq!(f.cause.text.contains("load balancer"), in_turn, "{}", f.cause.text);
        assert_eq!(f.certainty, Certainty::Possible);
    }
}

#[test]
fn a_sockets_reset_over_another_route_is_its_own() {
    for hops in [2, 40] {
        let wire = Wire::at_client();
        ordinary(&wire, -5.0, 5);
        let (l, t) = used(&wire, 1, 0.0);
        let ttl = l.server.ack(t).segment().ttl;
        l.server.abort(t + 600.0).ttl(ttl - hops);
        ordinary(&wire, 610.0, 5);
        let kind = if hops == 2 { Kind::AbortiveClose } else { Kind::IdleFlowDropped };
        analyze(&wire).only(&l, kind);
    }
}

#[test]
fn a_connection_that_was_lost_long_before_says_nothing_of_syns() {
    for (later, is_down) in [(5.0, true), (5_000.0, false)] {
        let wire = Wire::at_client();
        ordinary(&wire, -5.0, 5);
        let (l, t) = used(&wire, 1, 0.0);
        let (asked, asking) = (if is_down { t + later + 1.0 } else { t + 1.0 }, wire.ladder(2));
        let ttl = l.server.ack(t).segment().ttl;
        l.client.data(asked, 100);
        bare_reset(&l, asked + wire.to_server, ttl);
        for again in [0.0, 1.02, 2.04] {
            asking.client.syn(t + later - 3.0 + again);
        }
        ordinary(&wire, t + later + 3.0, 3);
        let found = analyze(&wire);
        let f = found.only(&asking, Kind::SynUnanswered);
        assert_eq!(f.cause.text.contains("was down"), is_down, "{} {}", f.cause.text, found.summaries());
    }
}
