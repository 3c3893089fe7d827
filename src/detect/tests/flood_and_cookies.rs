//! `syn-flood`, `syncookies`, and what looks like them.

use super::*;
use crate::decode::segment::{Flags, TcpOptions};

fn only_listener(found: &LadderReport, kind: Kind) -> &Finding {
    let all: Vec<_> = found.report.findings.iter().filter(|f| f.kind == kind).collect();
    assert_eq!(all.len(), 1, "{}", found.summaries());
    assert_eq!(all[0].client, None);
    all[0]
}

#[test]
fn many_handshakes_that_nobody_completes() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..40_u8 {
            let l = wire.of_host(n, u16::from(n));
            let t = 0.05 * f64::from(n);
            l.client.syn(t);
            for again in [0.0, 1.02, 3.04, 7.2] {
                l.server.syn_ack(t + wire.to_server + again);
            }
        }
        let found = analyze(&wire);
        let f = only_listener(&found, Kind::SynFlood);
        assert_eq!((f.certainty, f.metrics["half_open"].as_u64()), (Certainty::Probable, Some(40)));
        assert_eq!(found.counts().len(), 1, "{}", found.summaries());
    });
}

#[test]
fn no_flood_when_the_answers_do_not_reach_the_clients() {
    each_way(|wire| {
        for n in 0..30_u8 {
            let l = wire.of_host(n, u16::from(n));
            let t = 0.05 * f64::from(n);
            for again in [0.0, 1.02, 2.04, 3.07] {
                l.client.syn(t + again);
                l.server.syn_ack(t + wire.to_server + again);
            }
        }
        analyze(&wire).none(Kind::SynFlood);
    });
}

#[test]
fn no_flood_for_half_open_checks_of_a_load_balancer() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..60 {
            let l = wire.of_host(7 + (n % 4) as u8, n);
            let t = 0.1 * f64::from(n);
            l.client.syn(t);
            l.server.syn_ack(t + wire.to_server);
            l.client.rst(t + wire.to_server + wire.to_client);
        }
        analyze(&wire).nothing();
    });
}

#[test]
fn no_flood_for_a_port_scan() {
    each_way(|wire| {
        for port in 1..100 {
            let l = wire.between_hosts(9, 50_000 + port, port);
            let t = f64::from(port) * 0.01;
            l.client.syn(t);
            for again in [0.0, 1.02, 3.04] {
                l.server.syn_ack(t + wire.to_server + again);
            }
        }
        analyze(&wire).none(Kind::SynFlood);
    });
}

#[test]
fn no_flood_when_a_filter_kept_the_handshakes_only() {
    // tcp[tcpflags] & tcp-syn != 0, and the same with FIN and RST.
    for flags in [Flags::SYN, Flags::SYN | Flags::FIN | Flags::RST] {
        each_way(|wire| {
            for n in 0..60 {
                wire.of_host((n % 7) as u8, n).served(0.1 * f64::from(n));
            }
            wire.keep(|s| s.flags.any(flags));
            analyze(&wire).nothing();
        });
    }
}

#[test]
fn no_flood_when_only_the_servers_direction_was_captured() {
    each_way(|wire| {
        for n in 0..60 {
            wire.of_host((n % 7) as u8, n).served(0.1 * f64::from(n));
        }
        wire.keep(|s| s.src_port == 80);
        analyze(&wire).nothing();
    });
}

/// SYNs of as many addresses, of which the last bytes alone would not do; those with an answer get a SYN-ACK.
fn forged(wire: &Wire, n: u16, answered: bool, options: TcpOptions) {
    let (client, server) = (wire.ladder(1).client.host(), wire.ladder(1).server.host());
    for n in 0..n {
        let mut client = client;
        client.address.0[14..].copy_from_slice(&n.to_be_bytes());
        client.port = 1_024 + n;
        let l = wire.between_sockets(client, server);
        let t = 0.002 * f64::from(n);
        l.client.syn(t).options(options);
        if answered {
            l.server.syn_ack(t + wire.to_server).options(options);
        }
    }
}

/// The SYN queue holds some requests, whose SYN-ACKs are repeated; all others got a cookie, once. They are one flood.
/// Handshakes of real clients, whose other packets a filter left out, do not belong to it.
#[test]
fn cookies_beside_held_requests_are_of_the_same_flood() {
    for real in [0, 200] {
        let wire = Wire::anywhere().without_timestamps();
        forged(&wire, 300, true, TcpOptions::MSS);
        let server = wire.ladder(1).server;
        for n in 0..real {
            wire.of_host((n % 7) as u8, 100 + n).served(0.01 * f64::from(n));
        }
        let held = 40;
        for n in 0..held {
            let mut client = wire.ladder(1).client.host();
            client.address.0[14..].copy_from_slice(&u16::to_be_bytes(n));
            client.port = 1_024 + n;
            let l = wire.between_sockets(client, server.host());
            for again in [1.02, 3.04] {
                l.server.syn_ack(0.002 * f64::from(n) + wire.to_server + again).options(TcpOptions::MSS);
            }
        }
        wire.keep(|s| s.flags.any(Flags::SYN));
        let found = analyze(&wire);
        let f = only_listener(&found, Kind::SynFlood);
        // Beside many real clients those that got a cookie cannot be told from them.
        let all = if real == 0 { 300 } else { held };
        assert_eq!(f.metrics["half_open"], all, "{}", f.summary);
    }
}

#[test]
fn a_flood_of_which_one_direction_was_captured_is_possible() {
    for (answered, n, options) in [
        (false, 300, TcpOptions::MSS),
        (true, 300, TcpOptions::MSS),
        (false, 1_500, TcpOptions::MSS | TcpOptions::SACK_PERMITTED | TcpOptions::WINDOW_SCALE),
    ] {
        for wire in [Wire::anywhere().without_timestamps(), Wire::anywhere().v6().without_timestamps()] {
            forged(&wire, n, answered, options);
            let found = analyze(&wire);
            let f = only_listener(&found, Kind::SynFlood);
            assert_eq!((f.certainty, f.severity), (Certainty::Possible, Severity::Warning));
            assert_eq!(f.metrics["sources"], n);
            assert!(!found.report.warnings.is_empty());
        }
    }
}

#[test]
fn no_flood_of_clients_with_the_options_of_kernels_where_a_filter_left_syns() {
    each_way(|wire| {
        for n in 0..200 {
            wire.of_host(n as u8, n).served(0.05 * f64::from(n));
        }
        wire.keep(|s| s.flags.has(Flags::SYN));
        let found = analyze(&wire);
        found.nothing();
        assert!(found.report.warnings.iter().any(|w| w.contains("SYN-ACKs and nothing else")));
    });
}

#[test]
fn no_flood_when_the_capture_ends_in_a_burst() {
    each_way(|wire| {
        let wire = wire.round_trip(0.3);
        for n in 0..60 {
            let l = wire.of_host((n % 7) as u8, n);
            l.client.syn(0.001 * f64::from(n));
            l.server.syn_ack(0.001 * f64::from(n) + wire.to_server);
        }
        analyze(&wire).nothing();
    });
}

/// A connection whose SYN-ACK carries MSS alone.
fn stripped(wire: &Wire, n: u16, t: f64) {
    let l = wire.of_host(30, n);
    l.client.syn(t);
    l.server.syn_ack(t + wire.to_server).options(TcpOptions::MSS);
    l.client.ack(t + wire.to_server + wire.to_client);
    let t = l.exchange(t + 0.1, 100, 100);
    l.close(t, crate::flow::facts::Role::Client);
}

#[test]
fn cookies_where_options_vanish_for_a_while() {
    for wire in Wire::everywhere() {
        let wire = wire.without_timestamps();
        ordinary(&wire, -5.0, 5);
        (0..6).for_each(|n| stripped(&wire, n, f64::from(n) * 0.1));
        let found = analyze(&wire);
        let f = only_listener(&found, Kind::Syncookies);
        assert_eq!((f.certainty, f.severity), (Certainty::Probable, Severity::Info));
        assert_eq!(found.counts().len(), 1, "{}", found.summaries());
    }
}

#[test]
fn a_server_that_never_offers_options_is_at_most_possible() {
    for wire in Wire::everywhere() {
        let wire = wire.without_timestamps();
        (0..6).for_each(|n| stripped(&wire, n, f64::from(n)));
        let found = analyze(&wire);
        assert!(found.report.findings.iter().all(|f| f.certainty == Certainty::Possible));
    }
}

#[test]
fn no_cookies_where_the_client_offered_nothing() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        for n in 0..10 {
            let l = wire.of_host(30, n);
            let t = f64::from(n);
            l.client.syn(t).options(TcpOptions::MSS);
            l.server.syn_ack(t + wire.to_server).options(TcpOptions::MSS);
            l.client.ack(t + wire.to_server + wire.to_client).options(TcpOptions::NONE);
        }
        analyze(&wire).none(Kind::Syncookies);
    });
}

#[test]
fn no_cookies_for_one_odd_middlebox_on_one_clients_path() {
    // The firewall of one client always strips options that it does not know. The others get all options.
    for wire in [Wire::at_server().without_timestamps(), Wire::between().without_timestamps()] {
        ordinary(&wire, -5.0, 5);
        for n in 0..6 {
            let l = wire.of_host(30, n);
            let t = f64::from(n);
            l.client.syn(t).options(TcpOptions::MSS);
            l.server.syn_ack(t + wire.to_server).options(TcpOptions::MSS);
            l.client.ack(t + wire.to_server + wire.to_client);
        }
        analyze(&wire).none(Kind::Syncookies);
    }
}
