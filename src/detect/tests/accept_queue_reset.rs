//! `accept-queue-reset`, `listener-closed`, `abortive-close`, `connection-refused`: what a RST says.

use super::*;
use crate::decode::segment::{Flags, TcpOptions};
use crate::flow::facts::Role;

const KIND: Kind = Kind::AcceptQueueReset;

/// SYN, SYN-ACK, final ACK, and a RST that no socket sent.
fn reset_at_once(wire: &Wire, l: &Ladder, t: f64) -> f64 {
    let t = l.handshake(t) + wire.to_server;
    l.server.rst(t);
    t
}

#[test]
fn the_final_ack_is_answered_with_a_bare_rst() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        reset_at_once(&wire, &l, 0.0);
        let f = analyze(&wire);
        let f = f.only(&l, KIND);
        assert_eq!((f.severity, f.certainty), (Severity::Critical, Certainty::Possible));
        assert!(f.alternatives.len() >= 2);
    });
}

#[test]
fn resets_that_go_on_show_a_full_queue() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let refused: Vec<_> = (0..3).map(|n| wire.of_host(10 + n, u16::from(n))).collect();
        for (n, l) in refused.iter().enumerate() {
            reset_at_once(&wire, l, 2.0 * n as f64);
        }
        let found = analyze(&wire);
        for l in &refused {
            assert_eq!(found.only(l, KIND).certainty, Certainty::Probable);
        }
    });
}

#[test]
fn a_reload_resets_handshakes_while_others_are_served() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 80);
        let refused: Vec<_> = (0..3).map(|n| wire.of_host(10 + n, u16::from(n))).collect();
        for (n, l) in refused.iter().enumerate() {
            reset_at_once(&wire, l, 0.000_001 * n as f64);
        }
        let found = analyze(&wire);
        found.none(KIND);
        for l in &refused {
            assert_eq!(found.only(l, Kind::ListenerClosed).certainty, Certainty::Possible);
        }
    });
}

#[test]
fn a_listener_that_answers_syns_between_two_resets_is_there() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 80);
        let refused: Vec<_> = (0..3).map(|n| wire.of_host(10 + n, u16::from(n))).collect();
        for (n, l) in refused.iter().enumerate() {
            reset_at_once(&wire, l, 0.2 * n as f64);
        }
        let found = analyze(&wire);
        for l in &refused {
            found.only(l, KIND);
        }
    });
}

#[test]
fn ack_and_data_draw_a_rst_each() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        l.client.data(t + 0.000_05, 100);
        l.server.rst(t + 0.000_1 + wire.to_server);
        l.server.rst(t + 0.000_15 + wire.to_server).ip_id(if wire.is_v6() { 0 } else { 1 });
        analyze(&wire).only(&l, KIND);
    });
}

#[test]
fn no_finding_for_a_rst_by_the_applications_socket() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        let t = l.handshake(0.0) + wire.to_server;
        l.server.abort(t + 0.000_1);
        let found = analyze(&wire);
        assert_eq!(found.only(&l, Kind::AbortiveClose).severity, Severity::Info);
    });
}

#[test]
fn no_finding_when_the_listener_was_closed_and_syns_are_refused() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let under_way: Vec<_> = (0..3).map(|n| wire.of_host(10 + n, u16::from(n))).collect();
        for (n, l) in under_way.iter().enumerate() {
            reset_at_once(&wire, l, 0.000_001 * n as f64);
        }
        for n in 20..24 {
            let l = wire.ladder(n);
            let t = 0.05 * f64::from(n) - 0.9;
            l.client.syn(t);
            l.server.refuse(t + wire.to_server);
        }
        let found = analyze(&wire);
        found.none(KIND);
        assert_eq!(found.counts()[&Kind::ConnectionRefused], 4);
        for l in &under_way {
            assert_eq!(found.only(l, Kind::ListenerClosed).certainty, Certainty::Probable);
        }
    });
}

#[test]
fn no_finding_when_a_firewall_rejects_the_ack() {
    // REJECT does not copy the type of service of the packet that it answers.
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        l.client.syn(0.0).tos(0x20);
        l.server.syn_ack(wire.to_server).tos(0x20);
        l.client.ack(wire.to_server + wire.to_client).tos(0x20);
        l.server.rst(0.04).tos(0);
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_when_another_hop_count_shows_another_sender() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        l.handshake(0.0);
        l.server.rst(0.04).ttl(61);
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_where_no_connection_was_ever_taken() {
    each_way(|wire| {
        let l = wire.ladder(1);
        reset_at_once(&wire, &l, 0.0);
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_when_the_rst_comes_late() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        l.client.data(t + 3.0, 100);
        l.server.rst(t + 3.0 + wire.to_server);
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_when_the_client_gave_up_first() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        l.client.abort(t + 0.000_01);
        l.server.rst(t + wire.to_server);
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_for_a_half_open_check() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..10 {
            let l = wire.ladder(n);
            l.client.syn(f64::from(n));
            l.server.syn_ack(f64::from(n) + wire.to_server);
            l.client.rst(f64::from(n) + wire.to_server + wire.to_client);
        }
        analyze(&wire).nothing();
    });
}

#[test]
fn no_finding_when_the_request_had_grown_old() {
    // The client's host was suspended: its ACK comes when the request has long been dropped.
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        l.client.syn(0.0);
        for again in [0.0, 1.02, 3.04] {
            l.server.syn_ack(wire.to_server + again);
        }
        l.client.ack(9.0);
        l.server.rst(9.0 + wire.to_server);
        analyze(&wire).none(KIND);
    });
}

#[test]
fn listener_closed_with_connections_waiting() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let waiting: Vec<_> = (0..5).map(|n| wire.of_host(10 + n, u16::from(n))).collect();
        for (n, l) in waiting.iter().enumerate() {
            let t = l.handshake(0.2 * n as f64);
            if n % 2 == 0 {
                l.client.data(t + 0.001, 100);
                l.server.ack(t + 0.002 + wire.to_server);
            }
            l.server.abort(5.0 + 0.000_1 * n as f64);
        }
        let found = analyze(&wire);
        for l in &waiting {
            assert_eq!(found.only(l, Kind::ListenerClosed).severity, Severity::Critical);
        }
        assert_eq!(found.report.incidents.len(), 1);
    });
}

#[test]
fn an_application_that_ends_with_data_unread_is_no_closed_listener() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let accepted: Vec<_> = (0..6).map(|n| wire.of_host(10 + n, u16::from(n))).collect();
        for (n, l) in accepted.iter().enumerate() {
            let t = l.handshake(0.1 * n as f64);
            let end = 5.0 + 0.000_1 * n as f64;
            if n < 4 {
                l.client.data(t + 0.001, 100);
                l.server.ack(t + 0.002 + wire.to_server);
                l.server.abort(end);
            } else {
                l.close(end, Role::Server);
            }
        }
        let found = analyze(&wire);
        found.none(Kind::ListenerClosed);
        assert_eq!(found.counts()[&Kind::AbortiveClose], 4);
    });
}

#[test]
fn applications_that_abort_one_by_one_are_no_closed_listener() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..5 {
            let l = wire.ladder(n);
            let t = l.handshake(f64::from(n));
            l.client.data(t + 0.001, 100);
            l.server.abort(t + 0.5);
        }
        let found = analyze(&wire);
        found.none(Kind::ListenerClosed);
        assert_eq!(found.counts()[&Kind::AbortiveClose], 5);
    });
}

#[test]
fn connections_in_use_that_are_aborted_together_are_no_closed_listener() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..5 {
            let l = wire.ladder(n);
            let t = l.handshake(0.1 * f64::from(n));
            l.exchange(t + 0.001, 100, 400);
            l.server.abort(5.0 + 0.000_1 * f64::from(n));
        }
        let found = analyze(&wire);
        found.none(Kind::ListenerClosed);
        assert_eq!(found.counts()[&Kind::AbortiveClose], 5);
    });
}

#[test]
fn abort_by_either_end() {
    for by in [Role::Client, Role::Server] {
        each_way(|wire| {
            ordinary(&wire, -5.0, 5);
            let l = wire.ladder(1);
            let t = l.handshake(0.0);
            let t = l.exchange(t + 0.001, 100, 400);
            if by == Role::Client {
                l.client.abort(t + 1.0)
            } else {
                l.server.abort(t + 1.0)
            };
            let f = analyze(&wire);
            let f = f.only(&l, Kind::AbortiveClose);
            assert_eq!(f.metrics["by"], if by == Role::Client { "client" } else { "server" });
            assert_eq!(f.certainty, Certainty::Probable);
        });
    }
}

#[test]
fn an_early_answer_leaves_the_rest_of_the_request_unread() {
    for rest_arrives in [true, false] {
        each_way(|wire| {
            ordinary(&wire, -5.0, 5);
            let l = wire.ladder(1);
            let t = l.handshake(0.0);
            l.client.data(t + 0.001, 900);
            let taken = l.client.next();
            if rest_arrives {
                l.client.data(t + 0.002, 900);
            }
            l.server.data(t + 0.003, 200).acks(taken);
            l.server.abort(t + 0.004);
            let found = analyze(&wire);
            let cause = &found.only(&l, Kind::AbortiveClose).cause.text;
            assert_eq!(cause.contains("unread"), rest_arrives, "{cause}");
        });
    }
}

#[test]
fn rst_of_a_host_without_the_socket_is_no_abort() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        let t = l.exchange(t + 0.001, 100, 400);
        l.client.data(t + 20.0, 100);
        l.server.rst(t + 20.0 + wire.to_server);
        analyze(&wire).none(Kind::AbortiveClose);
    });
}

#[test]
fn rst_after_both_fins_ends_nothing() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        let t = l.exchange(t + 0.001, 100, 400);
        let t = l.close(t, Role::Client);
        l.client.abort(t + 0.001);
        analyze(&wire).nothing();
    });
}

#[test]
fn a_browser_that_closes_and_then_resets_what_still_comes() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        let t = l.exchange(t + 0.001, 100, 4_000);
        l.client.fin(t + 0.01);
        l.server.ack(t + 0.01 + wire.to_server);
        l.server.data(t + 0.02 + wire.to_server, 1_000);
        l.client.rst(t + 0.02 + wire.to_server + wire.to_client);
        analyze(&wire).nothing();
    });
}

#[test]
fn refused_by_the_host() {
    each_way(|wire| {
        let l = wire.ladder(1);
        l.client.syn(0.0);
        l.server.refuse(wire.to_server);
        let f = analyze(&wire);
        let f = f.only(&l, Kind::ConnectionRefused);
        assert_eq!((f.severity, f.metrics["by_firewall"].as_bool()), (Severity::Info, Some(false)));
    });
}

#[test]
fn refusals_of_all_connections_are_no_small_thing() {
    for (refused, served, severity) in [
        (7, 0, Severity::Warning),
        (2, 0, Severity::Info),
        (5, 7, Severity::Warning),
        (3, 60, Severity::Info),
    ] {
        let wire = Wire::at_server();
        for n in 0..refused {
            let (l, t) = (wire.ladder(n), 0.2 * f64::from(n));
            l.client.syn(t);
            l.server.refuse(t + wire.to_server);
        }
        for n in 0..served {
            let l = wire.ladder(100 + n);
            let t = l.handshake(0.02 * f64::from(n));
            let t = l.exchange(t + 0.001, 100, 4_000);
            l.close(t + 0.01, Role::Client);
        }
        let found = analyze(&wire);
        let incident = &found.report.incidents[0];
        assert_eq!(
            (incident.kind, incident.severity),
            (Kind::ConnectionRefused, severity),
            "{refused} of {}",
            refused + served
        );
        assert!(found.report.findings.iter().all(|f| f.severity == severity));
    }
}

#[test]
fn an_unresolved_neighbour_is_no_firewall() {
    for (wire, error) in [(Wire::at_client(), (3, 1)), (Wire::at_client().v6(), (1, 3))] {
        let l = wire.ladder(1);
        l.client.syn(0.0);
        l.client.syn(1.0);
        l.client.quoted_by_icmp(3.06, error.0, error.1);
        let found = analyze(&wire);
        let f = found.only(&l, Kind::ConnectionRefused);
        assert_eq!(f.metrics["by_firewall"], false);
        assert!(f.cause.text.contains("no host has this address"), "{}", f.cause.text);
    }
}

#[test]
fn refused_by_a_firewall() {
    for wire in [Wire::at_client(), Wire::at_client().v6()] {
        ordinary(&wire, -5.0, 5);
        let (tos, ttl, icmp) = (wire.ladder(1), wire.ladder(2), wire.ladder(3));
        tos.client.syn(0.0).tos(0x10);
        tos.server.refuse(0.02).tos(0);
        ttl.client.syn(0.1);
        ttl.server.refuse(0.12).ttl(60);
        icmp.client.syn(0.2);
        icmp.client.quoted_by_icmp(0.22, if wire.is_v6() { 1 } else { 3 }, if wire.is_v6() { 1 } else { 13 });
        let found = analyze(&wire);
        for l in [&tos, &ttl, &icmp] {
            assert_eq!(found.only(l, Kind::ConnectionRefused).metrics["by_firewall"], true);
        }
    }
}

#[test]
fn a_stray_icmp_error_in_mid_connection_refuses_nothing() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        let t = l.exchange(t + 0.001, 100, 400);
        l.client.data(t + 0.1, 1_400);
        l.client.quoted_by_icmp(t + 0.11, if wire.is_v6() { 2 } else { 3 }, if wire.is_v6() { 0 } else { 4 });
        l.client.again(t + 0.12);
        l.server.ack(t + 0.12 + wire.to_server);
        l.close(t + 0.2, Role::Client);
        analyze(&wire).nothing();
    });
}

#[test]
fn an_icmp_error_that_the_client_outlives_refuses_nothing() {
    // A router had no route for a moment: RFC 1122 4.2.3.9 calls it soft, and the next SYN is answered.
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        l.client.syn(0.0);
        l.client.quoted_by_icmp(0.02, if wire.is_v6() { 1 } else { 3 }, 0);
        let second = l.client.syn(1.0).segment().tsval;
        let t = 1.0 + wire.to_server;
        l.server.syn_ack(t).echoes(if wire.has_timestamps() { second } else { 0 });
        l.client.ack(t + wire.to_client);
        l.exchange(t + 0.1, 100, 100);
        analyze(&wire).none(Kind::ConnectionRefused);
    });
}

#[test]
fn a_port_scan_is_refused_and_nothing_else() {
    each_way(|wire| {
        for port in 1..60 {
            let l = wire.between_hosts(9, 50_000 + port, port);
            let t = f64::from(port) * 0.01;
            l.client.syn(t);
            if port == 22 {
                l.server.syn_ack(t + wire.to_server);
                l.client.rst(t + wire.to_server + wire.to_client);
            } else {
                l.server.refuse(t + wire.to_server);
            }
        }
        let found = analyze(&wire);
        assert_eq!(found.counts().into_iter().collect::<Vec<_>>(), [(Kind::ConnectionRefused, 58)]);
    });
}

#[test]
fn a_null_or_fin_scan_is_no_connection() {
    each_way(|wire| {
        for port in 1..40 {
            let l = wire.between_hosts(9, 50_000 + port, port);
            let t = f64::from(port) * 0.01;
            let flags =
                [Flags::NONE, Flags::FIN, Flags::FIN | Flags::PSH | Flags(0x20)][usize::from(port % 3)];
            l.client.raw(t, flags, l.client.isn(), crate::seq::Seq(0), 0).options(TcpOptions::NONE);
            l.server.refuse(t + wire.to_server);
        }
        analyze(&wire).nothing();
    });
}

#[test]
fn no_finding_when_the_final_ack_is_missing_and_the_server_has_restarted() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        l.client.syn(0.0);
        l.server.syn_ack(wire.to_server);
        l.client.ack(wire.to_server + wire.to_client).lost();
        l.client.data(4.0, 100);
        l.server.rst(4.0 + wire.to_server);
        analyze(&wire).none(Kind::AcceptQueueReset);
    });
}

#[test]
fn a_rst_to_data_refuses_no_connection() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        let l = wire.ladder(1);
        l.client.syn(0.0);
        l.server.syn_ack(wire.to_server).lost();
        l.client.ack(wire.to_server + wire.to_client);
        l.client.data(9.0, 100);
        l.server.rst(9.0 + wire.to_server);
        analyze(&wire).none(Kind::ConnectionRefused);
    });
}
