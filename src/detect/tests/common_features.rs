//! What other connections of the same address and port got: reused four-tuples, filters on header bits, several hosts behind
//! one address, all ports of a host at once.

use super::*;
use crate::decode::segment::{Flags, Segment};
use crate::flow::facts::Role;

/// The cause, the reason and what else a finding says.
fn said(f: &Finding) -> String {
    format!("{} {} {:?}", f.cause.text, f.certainty_reason, f.alternatives)
}

#[track_caller]
fn all_of(found: &LadderReport, kind: Kind) -> Vec<&Finding> {
    found.report.findings.iter().filter(|f| f.kind == kind).collect()
}

/// Every `nth` of `n` connections, 0.7 s apart, is refused by a RST with this TTL; the others are served.
fn refused_now_and_then(wire: &Wire, n: u16, nth: u16, ttl: u8) {
    for i in 0..n {
        let l = wire.ladder(i);
        let t = 0.7 * f64::from(i);
        if i % nth == 2 {
            l.client.syn(t);
            l.server.refuse(t + wire.to_server).ttl(ttl);
        } else {
            l.served(t);
        }
    }
}

#[test]
fn one_of_several_hosts_does_not_listen() {
    for (wire, ttl) in [(Wire::at_client(), 61), (Wire::at_client(), 44), (Wire::between(), 61)] {
        refused_now_and_then(&wire, 30, 3, ttl);
        let found = analyze(&wire);
        let refused = all_of(&found, Kind::ConnectionRefused);
        assert_eq!(refused.len(), 10);
        for f in refused {
            assert!(said(f).contains("Several hosts answer behind this address"), "{}", said(f));
            assert_eq!(f.certainty, Certainty::Probable);
        }
    }
}

#[test]
fn a_listener_that_restarts_is_one_host() {
    for wire in Wire::everywhere() {
        ordinary(&wire, -8.0, 60);
        for i in 0..12 {
            let l = wire.ladder(i);
            let t = 0.3 * f64::from(i);
            l.client.syn(t);
            l.server.refuse(t + wire.to_server);
        }
        ordinary(&wire, 4.0, 60);
        let found = analyze(&wire);
        for f in all_of(&found, Kind::ConnectionRefused) {
            assert!(said(f).contains("No socket listens"), "{}", said(f));
        }
    }
}

/// A SYN changed by `change` is refused every three seconds; one of another client is accepted a second later.
fn refused_if(wire: &Wire, change: impl Fn(&mut Segment)) -> LadderReport {
    for i in 0..6 {
        let (l, t) = (wire.of_host(7, i), 3.0 * f64::from(i));
        l.client.syn(t).with(&change);
        l.server.refuse(t + wire.to_server);
        wire.of_host(8, i).served(t + 1.0);
    }
    analyze(wire)
}

#[test]
fn syns_are_refused_for_what_they_carry() {
    for wire in [Wire::at_client(), Wire::between()] {
        let found = refused_if(&wire, |s| s.flags |= Flags::ECE | Flags::CWR);
        let refused = all_of(&found, Kind::ConnectionRefused);
        assert_eq!(refused.len(), 6);
        assert!(refused.iter().all(|f| said(f).contains("ECN bits (ECE and CWR)")), "{}", said(refused[0]));
        assert!(refused.iter().all(|f| !f.cause.text.contains("No socket listens")));
    }
    let found = refused_if(&Wire::at_client(), |s| s.mss = 8_960);
    let refused = all_of(&found, Kind::ConnectionRefused);
    assert!(refused.iter().all(|f| said(f).contains("MSS of 8960")), "{}", said(refused[0]));
}

#[test]
fn ecn_is_no_reason_where_others_with_it_are_accepted() {
    let wire = Wire::at_client();
    for i in 0..6 {
        let (l, t) = (wire.of_host(7, i), 0.1 * f64::from(i));
        l.client.syn(t).with(|s| s.flags |= Flags::ECE | Flags::CWR);
        l.server.refuse(t + wire.to_server);
        let l = wire.of_host(8, i);
        l.client.syn(t + 1.0).with(|s| s.flags |= Flags::ECE | Flags::CWR);
        l.server.syn_ack(t + 1.0 + wire.to_server);
        l.client.ack(t + 1.0 + wire.to_server + wire.to_client);
        l.exchange(t + 1.1, 100, 300);
    }
    let found = analyze(&wire);
    for f in all_of(&found, Kind::ConnectionRefused) {
        assert!(!said(f).contains("ECN"), "{}", said(f));
    }
}

/// Eight connections use the port of one that closed 4 s before; of these the first SYN is lost. Between them others.
fn reused(wire: &Wire, also_fresh: bool) -> LadderReport {
    for i in 0..8 {
        let (l, t) = (wire.ladder(i), 6.0 * f64::from(i));
        let over = l.served(t);
        let again = l.reused(2_000_000_000 + u32::from(i) * 1_000, 77);
        again.client.syn(over + 4.0);
        again.client.syn(over + 5.02);
        let answer = over + 5.02 + wire.to_server;
        again.server.syn_ack(answer);
        again.client.ack(answer + wire.to_client);
        let over = again.exchange(answer + wire.to_client + 0.001, 100, 300);
        again.close(over + 0.01, Role::Client);
        let fresh = wire.of_host(9, i);
        if also_fresh {
            fresh.client.syn(t + 1.0).lost();
            fresh.client.syn(t + 1.5);
            fresh.client.syn(t + 2.52);
            let answer = t + 2.52 + wire.to_server;
            fresh.server.syn_ack(answer);
            fresh.client.ack(answer + wire.to_client);
            fresh.exchange(answer + wire.to_client + 0.001, 100, 300);
        } else {
            fresh.served(t + 1.0);
        }
    }
    analyze(wire)
}

#[test]
fn only_syns_that_reuse_a_tuple_are_ignored() {
    let found = reused(&Wire::at_client().without_timestamps(), false);
    let ignored = all_of(&found, Kind::SynUnanswered);
    assert_eq!(ignored.len(), 8, "{}", found.summaries());
    assert!(ignored.iter().all(|f| said(f).contains("all 8 SYNs that were ignored reuse a four-tuple")));
    // Where those from fresh ports fare no better it is no reason.
    let found = reused(&Wire::at_client().without_timestamps(), true);
    assert!(all_of(&found, Kind::SynUnanswered).iter().all(|f| !said(f).contains("reuse a four-tuple")));
}

#[test]
fn a_reset_with_numbers_of_its_own_is_of_an_older_connection() {
    let wire = Wire::at_client().without_timestamps();
    let l = wire.ladder(1);
    let over = l.served(0.0);
    let again = l.reused(900_000, 5);
    again.client.syn(over + 3.0);
    again
        .server
        .refuse(over + 3.0 + wire.to_server)
        .with(|s| (s.seq, s.window) = (crate::seq::Seq(842), 64_240));
    let found = analyze(&wire);
    let f = found.only(&again, Kind::ConnectionRefused);
    assert!(said(f).contains("older connection of this four-tuple"), "{}", said(f));
    assert!(!said(f).contains("No socket listens"));
}

#[test]
fn equal_resets_of_a_host_without_a_socket_are_no_copies() {
    let wire = Wire::at_client();
    let l = wire.ladder(1);
    let t = l.handshake(0.0);
    for n in 0..5 {
        l.client.data(t + 0.000_1 * f64::from(n), 1_000);
    }
    for n in 0..5 {
        l.server.rst(t + 0.01 + 0.000_1 * f64::from(n)).ip_id(0).with(|s| {
            s.seq = crate::seq::Seq(1);
        });
    }
    let found = analyze(&wire);
    assert_eq!(found.report.quality.duplicates, 0);
    // Where everything is captured twice, so are the resets.
    let wire = Wire::at_client();
    let l = wire.ladder(1);
    let t = l.handshake(0.0);
    l.client.data(t, 1_000).twice(0.000_01);
    l.server.rst(t + 0.01).ip_id(0).twice(0.000_01);
    assert_eq!(analyze(&wire).report.quality.duplicates, 2);
}

/// For 7 s the host answers no SYN to any of these ports; before and after it does.
fn silent_ports(wire: &Wire, ports: &[u16]) {
    for (n, port) in ports.iter().enumerate() {
        for i in 0..6 {
            let port_of = |base: u16| base + 10 * n as u16 + i;
            wire.between_hosts(20, port_of(1_000), *port).served(-9.0 + f64::from(i));
            wire.between_hosts(20, port_of(2_000), *port).served(12.0 + f64::from(i));
        }
        for i in 0..3 {
            let l = wire.between_hosts(21 + i as u8, 3_000 + n as u16, *port);
            answered_at_last(wire, &l, 0.5 * f64::from(i));
        }
    }
}

fn answered_at_last(wire: &Wire, l: &Ladder, t: f64) {
    for again in [0.0, 1.02, 3.04, 7.1] {
        l.client.syn(t + again);
    }
    let answer = t + 7.1 + wire.to_server;
    l.server.syn_ack(answer);
    l.client.ack(answer + wire.to_client);
    l.exchange(answer + wire.to_client + 0.001, 100, 300);
}

#[test]
fn all_ports_of_a_host_ignore_syns_at_once() {
    for wire in [Wire::at_server(), Wire::at_client()] {
        let wire = wire.without_timestamps();
        silent_ports(&wire, &[22, 443, 8_080]);
        // An old connection goes on.
        let l = wire.between_hosts(30, 4_000, 443);
        l.handshake(-9.5);
        for i in 0..40 {
            let t = -9.0 + 0.6 * f64::from(i);
            l.exchange(t, 50, 50);
        }
        let found = analyze(&wire);
        let ignored = all_of(&found, Kind::SynUnanswered);
        assert_eq!(ignored.len(), 9, "{}", found.summaries());
        for f in ignored {
            assert!(said(f).contains("conntrack"), "{}", said(f));
            assert!(said(f).contains("3 ports of this host"), "{}", said(f));
            assert!(said(f).contains("went on with established connections"), "{}", said(f));
        }
    }
}

#[test]
fn one_port_that_ignores_syns_is_not_the_host() {
    let wire = Wire::at_server().without_timestamps();
    silent_ports(&wire, &[443]);
    for i in 0..40 {
        wire.between_hosts(40, 5_000 + i, 22).served(-9.0 + 0.6 * f64::from(i));
    }
    let found = analyze(&wire);
    let ignored = all_of(&found, Kind::SynUnanswered);
    assert_eq!(ignored.len(), 3, "{}", found.summaries());
    assert!(ignored.iter().all(|f| !f.cause.text.contains("conntrack")));
}
