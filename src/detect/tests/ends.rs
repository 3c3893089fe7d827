//! `fin-unacknowledged`, `time-wait-collision`, `time-wait-pressure`.

use super::*;
use crate::decode::segment::{Flags, TcpOptions};
use crate::flow::facts::Role;
use crate::flow::wire::at;
use crate::seq::Seq;

/// The FIN again and again, without an answer.
fn fin_in_vain(l: &Ladder, by: Role, t: f64) {
    let end = if by == Role::Client { &l.client } else { &l.server };
    end.fin(t);
    for again in [0.2, 0.6, 1.4, 3.0, 6.2, 12.6] {
        end.again(t + again);
    }
}

#[test]
fn fin_that_nobody_acknowledges() {
    for by in [Role::Client, Role::Server] {
        each_way(|wire| {
            ordinary(&wire, -5.0, 5);
            let l = wire.ladder(1);
            let t = l.handshake(0.0);
            let t = l.exchange(t + 0.001, 100, 400);
            fin_in_vain(&l, by, t + 2.0);
            let found = analyze(&wire);
            let f = found.only(&l, Kind::FinUnacknowledged);
            assert_eq!((f.certainty, f.metrics["fins"].as_u64()), (Certainty::Probable, Some(7)));
        });
    }
}

#[test]
fn no_finding_where_only_one_direction_was_captured() {
    each_way(|wire| {
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        let t = l.exchange(t + 0.001, 100, 400);
        fin_in_vain(&l, Role::Client, t + 2.0);
        let client = l.client.host().address;
        wire.keep(|s| s.src == client);
        analyze(&wire).none(Kind::FinUnacknowledged);
    });
}

#[test]
fn no_finding_when_the_fin_is_acknowledged_late_or_the_peer_still_speaks() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let (late, speaks) = (wire.ladder(1), wire.ladder(2));
        for l in [&late, &speaks] {
            let t = l.handshake(0.0);
            l.exchange(t + 0.001, 100, 400);
            fin_in_vain(l, Role::Client, 2.0);
        }
        late.server.ack(15.0);
        late.server.fin(15.001);
        late.client.ack(15.02);
        let unread = Seq(speaks.client.next().0.wrapping_sub(1));
        for n in 0..8 {
            speaks.server.data(2.1 + f64::from(n), 900).acks(unread);
        }
        analyze(&wire).none(Kind::FinUnacknowledged);
    });
}

#[test]
fn no_finding_when_the_ignored_client_of_a_full_queue_closes() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        ignored(&wire, &l, 0.0, 3);
        fin_in_vain(&l, Role::Client, 1.5);
        let found = analyze(&wire);
        found.none(Kind::FinUnacknowledged);
        assert_eq!(found.counts()[&Kind::AcceptQueueOverflow], 1);
    });
}

/// A four-tuple in TIME_WAIT whose next SYN is not new enough; returns the second connection.
fn collides(wire: &Wire, n: u16, old_seen: bool) -> Ladder {
    let old = wire.ladder(n);
    let t = old.handshake(0.0);
    let t = old.exchange(t + 0.001, 100, 400);
    old.close(t, Role::Server);
    if !old_seen {
        let port = old.client.host().port;
        wire.keep(|s| s.src_port != port && s.dst_port != port);
    }
    let (old_next, new_isn) = (old.client.next(), Seq(old.client.next().0.wrapping_sub(5_000_000)));
    let l = old.reused(new_isn.0, old.server.isn().advance(77_777).0);
    let t = 5.0;
    l.client.syn(t);
    l.server.raw(t + wire.to_server, Flags::ACK, old.server.next(), old_next, 0).ip_id(0);
    let t = t + wire.to_server + wire.to_client;
    l.client.raw(t, Flags::RST, old_next, Seq(0), 0).options(TcpOptions::NONE).with(|s| s.window = 0);
    let again = l.client.syn(t + 0.012).segment().tsval;
    l.server.syn_ack(t + 0.012 + wire.to_server).echoes(if wire.has_timestamps() { again } else { 0 });
    let t = t + 0.012 + wire.to_server + wire.to_client;
    l.client.ack(t);
    let t = l.exchange(t + 0.001, 100, 400);
    l.close(t, Role::Client);
    l
}

#[test]
fn syn_meets_time_wait() {
    for old_seen in [true, false] {
        each_way(|wire| {
            let l = collides(&wire, 1, old_seen);
            ordinary(&wire, 10.0, 5);
            let found = analyze(&wire);
            let f = found.only(&l, Kind::TimeWaitCollision);
            let certainty = if old_seen { Certainty::Confirmed } else { Certainty::Probable };
            assert_eq!((f.certainty, f.severity), (certainty, Severity::Info));
        });
    }
}

#[test]
fn no_collision_when_the_reuse_is_accepted() {
    each_way(|wire| {
        let l = wire.ladder(1);
        let t = l.served(0.0);
        l.reused(l.client.next().advance(1 << 20).0, l.server.next().advance(65_537).0).served(t + 2.0);
        analyze(&wire).nothing();
    });
}

#[test]
fn no_collision_when_the_syn_ack_was_lost_by_the_capture() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        l.client.syn(0.0);
        l.server.syn_ack(wire.to_server).lost();
        l.client.ack(wire.to_server + wire.to_client);
        l.client.data(0.05, 100);
        l.server.ack(0.08);
        l.server.data(0.09, 500);
        l.client.ack(0.12);
        analyze(&wire).nothing();
    });
}

#[test]
fn no_collision_when_the_servers_acknowledgment_overtook_its_syn_ack() {
    // A capture on several queues: the request and its acknowledgment lie before the handshake that they follow.
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        l.client.syn(0.0);
        l.client.raw(-0.0001, Flags::ACK | Flags::PSH, l.client.next(), l.server.isn().advance(1), 100);
        l.server.raw(0.0001, Flags::ACK, l.server.isn().advance(1), l.client.isn().advance(101), 0);
        l.server.syn_ack(0.0002);
        l.client.ack(0.05);
        l.exchange(0.1, 100, 400);
        analyze(&wire).none(Kind::TimeWaitCollision);
    });
}

#[test]
fn no_syn_was_ignored_where_the_answer_of_time_wait_is_missing_or_early() {
    each_way(|wire| {
        let l = collides(&wire, 1, true);
        ordinary(&wire, 10.0, 5);
        let (port, server) = (l.server.host().port, l.server.host().address);
        let old_next = l.client.isn().advance(5_000_000);
        wire.keep(|s| {
            s.src != server
                || s.src_port != port
                || s.ack != old_next
                || s.flags != Flags::ACK
                || s.time < at(4.0)
        });
        analyze(&wire).nothing();
    });
}

#[test]
fn no_collision_in_a_split_handshake() {
    each_way(|wire| {
        let l = wire.ladder(1);
        l.client.syn(0.0);
        l.server.raw(0.02, Flags::ACK, l.server.isn(), l.client.isn().advance(1), 0);
        l.server.syn(0.03);
        l.client.syn_ack(0.04);
        l.server.ack(0.05);
        analyze(&wire).none(Kind::TimeWaitCollision);
    });
}

/// `count` connections, one each `gap` seconds, of `hosts` clients in turn, that `first` closes first.
fn closes(wire: &Wire, count: u16, gap: f64, hosts: u8, first: Role) {
    for n in 0..count {
        let l = wire.of_host(1 + (n % u16::from(hosts)) as u8, n);
        let t = l.handshake(f64::from(n) * gap);
        l.close(t + 0.01, first);
    }
}

#[test]
fn one_client_that_closes_as_fast_as_its_ports_last_is_pressed() {
    let wire = Wire::at_client();
    closes(&wire, 1_200, 0.002, 1, Role::Client);
    let found = analyze(&wire);
    assert_eq!(found.counts().into_iter().collect::<Vec<_>>(), [(Kind::TimeWaitPressure, 1)]);
    let f = &found.report.findings[0];
    assert_eq!((f.severity, f.certainty), (Severity::Info, Certainty::Possible));
    assert_eq!(f.metrics["closed_first_by"], "clients");
}

#[test]
fn as_many_closes_by_many_clients_are_an_ordinary_load() {
    // 500 a second, and 10,000.
    for (count, gap) in [(1_200, 0.002), (12_000, 0.000_1)] {
        let wire = Wire::at_server();
        closes(&wire, count, gap, 200, Role::Client);
        analyze(&wire).nothing();
    }
}

#[test]
fn one_client_that_closes_slowly_enough_for_its_ports_is_an_ordinary_load() {
    // 200 a second would be 12,000 ports of 28,232.
    let wire = Wire::at_server();
    closes(&wire, 1_200, 0.005, 1, Role::Client);
    analyze(&wire).nothing();
}

#[test]
fn a_server_that_closes_first_needs_no_port_for_it() {
    for (gap, hosts) in [(0.005, 1), (0.002, 1), (0.002, 200)] {
        let wire = Wire::at_server();
        closes(&wire, 1_200, gap, hosts, Role::Server);
        analyze(&wire).nothing();
    }
}

#[test]
fn a_server_that_would_fill_its_buckets_is_told_once() {
    let wire = Wire::at_server();
    closes(&wire, 2_500, 0.000_7, 200, Role::Server);
    let found = analyze(&wire);
    assert_eq!(found.counts().into_iter().collect::<Vec<_>>(), [(Kind::TimeWaitPressure, 1)]);
    let f = &found.report.findings[0];
    assert_eq!((f.severity, f.certainty), (Severity::Info, Certainty::Possible));
    assert!(f.alternatives.iter().any(|or| or.why_less_likely.contains("only memory")), "{f:#?}");
}

#[test]
fn as_many_closes_over_half_an_hour_do_not() {
    let wire = Wire::at_server();
    for n in 0..400 {
        let l = wire.ladder(n);
        let t = l.handshake(f64::from(n) * 4.5);
        l.close(t + 0.01, Role::Server);
    }
    analyze(&wire).nothing();
}

#[test]
fn the_keepalive_time_is_read_from_idle_connections_that_are_closed_at_last() {
    let wire = Wire::at_server();
    for n in 0..4 {
        let l = wire.ladder(n);
        let t = l.handshake(f64::from(n));
        let t = l.exchange(t + 0.001, 100, 400);
        for probe in 1..4 {
            l.client.keepalive(t + 45.0 * f64::from(probe));
            l.server.ack(t + 45.0 * f64::from(probe) + 0.01);
        }
        l.close(t + 150.0, Role::Client);
    }
    let found = analyze(&wire);
    let read: Vec<_> =
        found.report.inferred.iter().filter(|i| i.setting.contains("tcp_keepalive_time")).collect();
    assert_eq!(read.len(), 1, "{read:#?}");
    assert!(read.iter().all(|i| i.value == 45.0), "{read:#?}");
}

#[test]
fn a_host_whose_fin_the_capture_missed_has_not_forgotten_the_connection() {
    for wire in [Wire::at_client(), Wire::at_server()] {
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        let t = l.exchange(t, 100, 500);
        l.client.fin(t + 0.05);
        l.server.ack(t + 0.1);
        let client = l.client.host().port;
        wire.keep(|s| s.src_port != client || !s.flags.has(Flags::FIN));
        l.server.data(70.0, 20);
        l.client.rst(70.02);
        analyze(&wire).none(Kind::StaleConnection);
    }
}
