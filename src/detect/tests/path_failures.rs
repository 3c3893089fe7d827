//! How connections die on the path: segments that a NAT did not translate, filters that choose by client, sizes that do
//! not pass, idle times, requests on closed connections.

use super::*;
use crate::decode::segment::{Flags, TcpOptions, Traits};
use crate::flow::facts::Role;
use crate::flow::key::Host;
use crate::seq::Seq;

/// A RST of a host without a socket.
fn bare_reset(l: &Ladder, t: f64, seq: Seq) {
    l.client
        .raw(t, Flags::RST, seq, Seq(0), 0)
        .with(|s| (s.window, s.ip_id, s.options) = (0, 0, TcpOptions(0)));
}

/// A client's SYN to one address and, translated, to another one, which answers; the client refuses that answer or takes it.
fn seen_twice(wire: &Wire, refuses: bool) -> (Ladder, Ladder) {
    let outer = wire.ladder(1);
    let inner = Host { address: std::net::Ipv4Addr::new(198, 51, 100, 7).into(), port: 8_080 };
    let inner = wire.between_sockets(outer.client.host(), inner);
    let isn = outer.client.next();
    let shared = |l: &Ladder, t: f64| l.client.syn(t).with(|s| (s.seq, s.tsval) = (isn, 7));
    for t in [0.0, 1.0, 3.0] {
        shared(&outer, t);
        shared(&inner, t + 0.000_1);
        inner.server.syn_ack(t + 0.000_2).with(|s| s.ack = isn.advance(1));
        if refuses {
            bare_reset(&inner, t + 0.000_3, isn.advance(1));
        }
    }
    (outer, inner)
}

#[test]
fn a_syn_on_both_sides_of_a_nat_whose_answer_comes_straight_back_is_told_once() {
    let wire = Wire::between();
    let (outer, inner) = seen_twice(&wire, true);
    let found = analyze(&wire);
    let f = found.only(&outer, Kind::UntranslatedSegment);
    assert_eq!((f.severity, f.certainty), (Severity::Critical, Certainty::Probable));
    assert!(f.summary.contains("198.51.100.7:8080"), "{}", f.summary);
    assert!(
        found.report.findings.iter().all(|f| f.client != Some(inner.client.host().socket())
            || f.server != Some(inner.server.host().socket()))
    );
    assert_eq!(found.report.summary.failed_unexplained, 0);
}

#[test]
fn one_syn_with_two_answers_met_two_hosts() {
    for second in [true, false] {
        let wire = Wire::at_client();
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        let acked = l.server.next();
        l.server.syn_ack(t + 0.001).with(|s| s.seq = if second { s.seq.advance(1 << 20) } else { s.seq });
        l.client.data(t + 0.002, 100);
        l.server.raw(t + 0.002 + 2.0 * wire.to_client, Flags::RST, acked, Seq(0), 0).with(|s| {
            (s.window, s.ip_id, s.options) = (0, 0, TcpOptions(0));
        });
        let found = analyze(&wire);
        let two = found.report.findings.iter().any(|f| f.cause.text.contains("Two hosts"));
        assert_eq!(two, second);
    }
}

#[test]
fn a_server_that_closes_at_once_did_not_read_the_request() {
    for banner in [false, true] {
        let wire = Wire::at_client();
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        if banner {
            l.server.data(t + 0.001, 60);
        }
        l.server.fin(t + 0.002);
        let next = l.server.next();
        l.client.data(t + 0.003, 100);
        l.server.raw(t + 0.003 + 2.0 * wire.to_client, Flags::RST, next, Seq(0), 0).with(|s| {
            (s.window, s.ip_id, s.options) = (0, 0, TcpOptions(0));
        });
        let found = analyze(&wire);
        let f = found.only(&l, Kind::AbortiveClose);
        assert!(f.cause.text.contains("as soon as it had accepted"), "{}", f.cause.text);
    }
}

/// A connection, and a segment to its client under another address of the server, with `apart` added to its numbers.
fn untranslated(wire: &Wire, apart: (u32, u32)) -> Ladder {
    let l = wire.ladder(1);
    let t = l.handshake(0.0);
    l.exchange(t + 0.01, 100, 1_000);
    let inner = Host { address: std::net::Ipv4Addr::new(198, 51, 100, 7).into(), port: 8_080 };
    let stray = wire.between_sockets(l.client.host(), inner);
    let (seq, ack) = (l.server.next().advance(apart.0), l.client.next().advance(apart.1));
    stray.server.raw(1.0, Flags::PSH | Flags::ACK, seq, ack, 500);
    bare_reset(&stray, 1.0 + 2.0 * wire.to_client, ack);
    l
}

#[test]
fn a_segment_with_the_numbers_of_another_connection_was_not_translated() {
    for wire in [Wire::at_client(), Wire::at_client().without_timestamps()] {
        let l = untranslated(&wire, (0, 0));
        let other = wire.ladder(2);
        other.served(9.0);
        let found = analyze(&wire);
        let f = found.only(&l, Kind::UntranslatedSegment);
        assert_eq!((f.severity, f.certainty), (Severity::Critical, Certainty::Probable));
        assert!(f.summary.contains("198.51.100.7:8080"), "{}", f.summary);
    }
}

#[test]
fn a_segment_with_numbers_of_its_own_belongs_to_no_other_connection() {
    let wire = Wire::at_client();
    untranslated(&wire, (1 << 30, 0));
    analyze(&wire).none(Kind::UntranslatedSegment);
    let wire = Wire::at_client();
    untranslated(&wire, (0, 1 << 30));
    analyze(&wire).none(Kind::UntranslatedSegment);
}

/// One client is ignored four times, another is served in between; `also` says that the first is served once, too, and the first of its
/// connections that were ignored is taken in the end.
fn split(wire: &Wire, also: bool) -> Ladder {
    let ignored: Vec<_> = (0..4).map(|n| wire.of_host(1, 10 + n)).collect();
    for (n, l) in ignored.iter().enumerate() {
        stuck(wire, l, 2.0 * n as f64, 3, 10.0);
    }
    for n in 0..10 {
        wire.of_host(2, 100 + n).served(f64::from(n) + 0.5);
    }
    if also {
        wire.of_host(1, 50).served(5.2);
        let first = &ignored[0];
        first.client.again(10.5);
        first.server.ack(10.5 + wire.to_server);
        first.server.data(10.501 + wire.to_server, 500);
        first.client.ack(10.502 + wire.to_server + wire.to_client);
    }
    ignored.into_iter().next().expect("there are four")
}

#[test]
fn who_is_ignored_by_client_met_a_filter_and_no_full_queue() {
    for wire in [Wire::at_server(), Wire::at_server().without_timestamps()] {
        let l = split(&wire, false);
        let found = analyze(&wire);
        let f = found.only(&l, Kind::AcceptQueueOverflow);
        assert_eq!(f.certainty, Certainty::Possible);
        assert!(f.cause.text.contains("stateful"), "{}", f.cause.text);
        assert!(f.certainty_reason.contains("one client"), "{}", f.certainty_reason);
    }
}

#[test]
fn who_is_ignored_by_time_met_a_full_queue() {
    let wire = Wire::at_server();
    let l = split(&wire, true);
    let found = analyze(&wire);
    let f = found.only(&l, Kind::AcceptQueueOverflow);
    assert_eq!(f.certainty, Certainty::Probable);
    assert!(f.cause.text.contains("accept queue was full"), "{}", f.cause.text);
}

#[test]
fn who_is_ignored_to_the_end_while_others_are_served_met_a_filter() {
    // One connection, or one of each of three clients that are served, too.
    for hosts in [1, 3] {
        let wire = Wire::at_server();
        let ignored: Vec<_> = (1..=hosts).map(|host| wire.of_host(host, 10)).collect();
        for l in &ignored {
            stuck(&wire, l, 0.0, 3, 10.0);
        }
        for n in 0..10_u8 {
            wire.of_host(1 + n % 4, 100 + u16::from(n)).served(f64::from(n) + 0.5);
        }
        let found = analyze(&wire);
        let f = found.only(&ignored[0], Kind::AcceptQueueOverflow);
        assert_eq!(f.certainty, Certainty::Possible);
        assert!(f.cause.text.contains("stateful"), "{}", f.cause.text);
        assert!(f.certainty_reason.contains("served at once"), "{}", f.certainty_reason);
    }
}

#[test]
fn who_is_ignored_while_syns_are_dropped_met_a_full_queue() {
    let wire = Wire::at_server();
    let l = wire.of_host(1, 10);
    stuck(&wire, &l, 0.0, 3, 10.0);
    for n in 0..10 {
        wire.of_host(2, 100 + n).served(f64::from(n) + 0.5);
    }
    let dropped = wire.of_host(3, 20);
    for t in [4.2, 5.2, 7.2] {
        dropped.client.syn(t);
    }
    let found = analyze(&wire);
    assert_eq!(found.only(&l, Kind::AcceptQueueOverflow).certainty, Certainty::Probable);
}

/// At the server: of the client's request only the last, small segment arrives; the gap before it is `gap` bytes wide.
fn gap(wire: &Wire, gap: u32) -> Ladder {
    let l = wire.ladder(1);
    let t = l.handshake(0.0);
    let begin = l.client.next();
    l.client.data(t + 0.01, gap).lost();
    l.client.data(t + 0.011, 400);
    let sack = TcpOptions::SACK | TcpOptions::TIMESTAMPS;
    l.server.ack(t + 0.012).acks(begin).options(sack);
    l.server.fin(t + 20.0).acks(begin).options(sack);
    l.client.ack(t + 20.03);
    l
}

#[test]
fn a_gap_of_full_size_that_is_never_filled_is_too_large_for_the_path() {
    let wire = Wire::at_server();
    ordinary(&wire, -5.0, 5);
    let l = gap(&wire, 2 * 1_448);
    let found = analyze(&wire);
    let f = found.only(&l, Kind::PathMtuBlackhole);
    assert_eq!(f.metrics["smallest_lost"], 1_448);
    assert_eq!(f.metrics["largest_arrived"], 400);
}

#[test]
fn a_gap_of_another_size_has_another_cause() {
    let wire = Wire::at_server();
    ordinary(&wire, -5.0, 5);
    gap(&wire, 700);
    analyze(&wire).none(Kind::PathMtuBlackhole);
}

/// A connection that is idle for `seconds`; then data is repeated in vain, or answered.
fn idle(wire: &Wire, n: u16, seconds: f64, dies: bool) -> Ladder {
    let l = wire.ladder(n);
    let t = l.handshake(0.0);
    let t = l.exchange(t + 0.01, 100, 1_000) + seconds;
    if dies {
        in_vain(&l, t, 100, t + 30.0);
    } else {
        let t = l.exchange(t, 100, 1_000);
        l.close(t + 0.1, Role::Client);
    }
    l
}

#[test]
fn the_time_out_lies_between_what_was_survived_and_what_was_not() {
    let wire = Wire::at_client();
    let l = idle(&wire, 1, 352.0, true);
    idle(&wire, 2, 310.0, false);
    idle(&wire, 3, 500.0, true);
    let found = analyze(&wire);
    let f = found.only(&l, Kind::IdleFlowDropped);
    assert!(f.summary.contains("between 310 s and 352 s"), "{}", f.summary);
    let steps = &found.report.incidents[0].next_steps;
    assert!(steps.iter().any(|step| step.contains("350 s is the fixed time-out")), "{steps:?}");
}

#[test]
fn a_longer_pause_that_was_survived_leaves_no_bracket() {
    let wire = Wire::at_client();
    let l = idle(&wire, 1, 352.0, true);
    idle(&wire, 2, 400.0, false);
    let found = analyze(&wire);
    assert!(!found.only(&l, Kind::IdleFlowDropped).summary.contains("between"));
}

/// The server closes after `seconds` without data; the client asks 5 ms later, and has the FIN or not.
fn closed_when_asked(wire: &Wire, seconds: f64, has_fin: bool) -> Ladder {
    let l = wire.ladder(1);
    let t = l.handshake(0.0);
    let t = l.exchange(t + 0.01, 100, 1_000) + seconds;
    let before = l.server.next();
    l.server.fin(t);
    let request = l.client.data(t + 0.005, 100);
    if !has_fin {
        request.acks(before);
    }
    let acked = if has_fin { l.server.next() } else { before };
    l.server.raw(t + 0.005 + wire.to_server, Flags::RST, acked, Seq(0), 0).with(|s| {
        (s.window, s.ip_id, s.options) = (0, 0, TcpOptions(0));
    });
    l
}

#[test]
fn a_request_on_an_idle_connection_that_is_just_closed_is_lost() {
    for has_fin in [false, true] {
        for wire in [Wire::at_client(), Wire::at_server()] {
            let l = closed_when_asked(&wire, 5.0, has_fin);
            analyze(&wire).only(&l, Kind::IdleCloseRace);
            let wire = wire.round_trip(0.02);
            closed_when_asked(&wire, 0.1, has_fin);
        }
    }
    let wire = Wire::at_client();
    closed_when_asked(&wire, 0.1, true);
    analyze(&wire).none(Kind::IdleCloseRace);
}

/// SYN-ACKs of which none is taken; `bad` sets their checksum.
fn syn_acks(wire: &Wire, bad: Traits) -> Ladder {
    let l = wire.ladder(1);
    for (syn, again) in [(0.0, false), (1.0, true), (3.0, true), (7.0, true)] {
        l.client.syn(syn);
        let _ = again;
        l.server.syn_ack(syn + wire.to_server).with(|s| s.traits |= bad);
    }
    l
}

#[test]
fn syn_acks_that_arrive_with_a_wrong_checksum_are_dropped_for_it() {
    let wire = Wire::at_client();
    let l = syn_acks(&wire, Traits::CHECKSUM_BAD);
    let found = analyze(&wire);
    let f = found.only(&l, Kind::SynAckUnanswered);
    assert!(f.cause.text.contains("checksum"), "{}", f.cause.text);
    // Where they are sent the network card may still compute it.
    for (wire, bad) in
        [(Wire::at_server(), Traits::CHECKSUM_BAD), (Wire::at_client(), Traits::CHECKSUM_PARTIAL)]
    {
        let l = syn_acks(&wire, bad);
        let found = analyze(&wire);
        let f = found.only(&l, Kind::SynAckUnanswered);
        assert!(!f.cause.text.contains("checksum"), "{}", f.cause.text);
    }
}

#[test]
fn ports_of_one_host_that_ignore_syns_at_once_are_one_incident() {
    let wire = Wire::at_server();
    let served = |t: f64| {
        for port in [80, 443, 22] {
            wire.between_hosts(9, 30_000 + (t + 10.0) as u16 * 10 + port % 10, port).served(t);
        }
    };
    served(-5.0);
    for n in 0..9 {
        let l = wire.between_hosts(1 + n as u8, 41_000 + n, [80, 443, 22][usize::from(n % 3)]);
        for again in [0.0, 1.0, 2.0, 3.0] {
            l.client.syn(again + 0.1 * f64::from(n));
        }
    }
    served(20.0);
    let found = analyze(&wire);
    let incidents: Vec<_> = found.report.incidents.iter().filter(|i| i.kind == Kind::SynUnanswered).collect();
    assert_eq!(incidents.len(), 1, "{}", found.summaries());
    assert_eq!((incidents[0].connections, incidents[0].listener.as_ref()), (9, None));
    assert!(incidents[0].cause.contains("3 ports"), "{}", incidents[0].cause);
}

/// Handshakes, and requests that draw a RST; so does the final ACK if `each`.
fn rejected(wire: &Wire, each: bool) -> Ladder {
    let ladders: Vec<_> = (0..4).map(|n| wire.of_host(1, 20 + n)).collect();
    for (n, l) in ladders.iter().enumerate() {
        let t = l.handshake(n as f64);
        l.client.data(t + 0.000_2, 100);
        l.server.rst(t + 0.000_3 + wire.to_server);
        if each {
            l.server.rst(t + 0.000_4 + wire.to_server);
        }
    }
    ladders.into_iter().next().expect("there are four")
}

#[test]
fn a_reset_that_answers_the_data_and_not_the_final_ack_is_a_filters() {
    let wire = Wire::at_client();
    ordinary(&wire, -5.0, 5);
    let l = rejected(&wire, false);
    let found = analyze(&wire);
    let f = found.only(&l, Kind::AcceptQueueReset);
    assert_eq!(f.certainty, Certainty::Possible);
    assert!(f.cause.text.contains("firewall"), "{}", f.cause.text);
    let wire = Wire::at_client();
    ordinary(&wire, -5.0, 5);
    let l = rejected(&wire, true);
    assert_eq!(analyze(&wire).only(&l, Kind::AcceptQueueReset).certainty, Certainty::Probable);
}

#[test]
fn a_request_that_had_waited_for_long_did_not_cross_the_fin() {
    let wire = Wire::at_client();
    let l = wire.ladder(1);
    let t = l.handshake(0.0);
    let t = l.exchange(t + 0.01, 100, 1_000);
    in_vain(&l, t + 1.0, 100, t + 14.0);
    let before = l.server.next();
    l.server.fin(t + 15.0);
    l.client.ack(t + 15.1);
    l.server.raw(t + 15.2, Flags::RST, before.advance(1), Seq(0), 0).with(|s| {
        (s.window, s.ip_id, s.options) = (0, 0, TcpOptions(0));
    });
    analyze(&wire).none(Kind::IdleCloseRace);
}
