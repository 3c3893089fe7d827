//! `half-close`, `fin-wait2-expired`, and what looks like them.

use super::*;
use crate::decode::segment::Flags;
use crate::flow::facts::Role;

const KIND: Kind = Kind::HalfClose;

/// An exchange after which `closer` closes and the other side acknowledges; returns when that passes.
fn half_closed(wire: &Wire, l: &Ladder, t: f64, closer: Role) -> f64 {
    let t = l.handshake(t);
    let t = l.exchange(t + 0.001, 100, 400) + 0.01;
    match closer {
        Role::Client => {
            l.client.fin(t);
            l.server.ack(t + wire.to_server + 0.04);
        }
        Role::Server => {
            l.server.fin(t);
            l.client.ack(t + wire.to_client + 0.04);
        }
    }
    t + wire.to_server.max(wire.to_client) + 0.04
}

/// Something every ten seconds, so that the capture never stands still.
fn bustle(wire: &Wire, until: f64) {
    for n in 0..(until / 10.0) as u16 {
        wire.of_host(150, 5_000 + n).served(f64::from(n) * 10.0);
    }
}

#[test]
fn one_side_closed_and_the_other_stays_silent() {
    for closer in [Role::Client, Role::Server] {
        each_way(|wire| {
            bustle(&wire, 150.0);
            let l = wire.ladder(1);
            half_closed(&wire, &l, 0.0, closer);
            let found = analyze(&wire);
            let f = found.only(&l, KIND);
            assert_eq!((f.severity, f.certainty), (Severity::Warning, Certainty::Probable));
            let waiter = if closer == Role::Client { l.server.host() } else { l.client.host() };
            assert_eq!(f.metrics["close_wait"], waiter.socket().to_string());
        });
    }
}

#[test]
fn keepalive_probes_do_not_end_the_silence() {
    each_way(|wire| {
        bustle(&wire, 150.0);
        let l = wire.ladder(1);
        let t = half_closed(&wire, &l, 0.0, Role::Client);
        for n in 1..5 {
            l.server.keepalive(t + 20.0 * f64::from(n));
            l.client.ack(t + 20.0 * f64::from(n) + wire.to_client);
        }
        assert_eq!(analyze(&wire).only(&l, KIND).metrics["keepalives"], 4);
    });
}

#[test]
fn joined_in_the_middle_it_is_still_seen() {
    each_way(|wire| {
        bustle(&wire, 150.0);
        let l = wire.ladder(1);
        half_closed(&wire, &l, 0.0, Role::Client);
        let port = l.client.host().port;
        wire.keep(|s| !s.flags.any(Flags::SYN) || s.src_port != port && s.dst_port != port);
        assert_eq!(analyze(&wire).only(&l, KIND).certainty, Certainty::Probable);
    });
}

#[test]
fn no_finding_for_a_half_close_on_purpose() {
    each_way(|wire| {
        bustle(&wire, 150.0);
        let l = wire.ladder(1);
        let t = half_closed(&wire, &l, 0.0, Role::Client);
        for n in 1..10 {
            l.server.data(t + 14.0 * f64::from(n), 1_000);
            l.client.ack(t + 14.0 * f64::from(n) + wire.to_client);
        }
        l.server.fin(t + 130.0);
        l.client.ack(t + 130.1);
        analyze(&wire).nothing();
    });
}

#[test]
fn no_finding_when_the_capture_ends_soon() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        half_closed(&wire, &wire.ladder(1), 0.0, Role::Client);
        ordinary(&wire, 20.0, 5);
        analyze(&wire).nothing();
    });
}

#[test]
fn no_finding_when_the_capture_stood_still() {
    each_way(|wire| {
        ordinary(&wire, -5.0, 5);
        half_closed(&wire, &wire.ladder(1), 0.0, Role::Client);
        ordinary(&wire, 3_600.0, 5);
        analyze(&wire).nothing();
    });
}

#[test]
fn no_finding_when_two_captures_were_joined_with_a_gap() {
    each_way(|mut wire| {
        bustle(&wire, 30.0);
        for n in 0..5 {
            half_closed(&wire, &wire.ladder(n), 10.0 + f64::from(n), Role::Client);
        }
        wire.next_file();
        ordinary(&wire, 900.0, 5);
        analyze(&wire).none(KIND);
    });
}

#[test]
fn no_finding_when_only_one_direction_was_captured() {
    for of_client in [true, false] {
        each_way(|wire| {
            bustle(&wire, 150.0);
            let l = wire.ladder(1);
            half_closed(&wire, &l, 0.0, Role::Client);
            l.server.fin(5.0);
            l.client.ack(5.1);
            let client = l.client.host().address;
            wire.keep(|s| s.src_port != 40_001 && s.dst_port != 40_001 || (s.src == client) == of_client);
            analyze(&wire).none(KIND);
        });
    }
}

#[test]
fn no_finding_when_the_other_side_closes_in_time() {
    for closer in [Role::Client, Role::Server] {
        each_way(|wire| {
            bustle(&wire, 150.0);
            let l = wire.ladder(1);
            let t = half_closed(&wire, &l, 0.0, closer);
            match closer {
                Role::Client => l.server.fin(t + 30.0),
                Role::Server => l.client.fin(t + 30.0),
            };
            match closer {
                Role::Client => l.client.ack(t + 30.1),
                Role::Server => l.server.ack(t + 30.1),
            };
            analyze(&wire).nothing();
        });
    }
}

#[test]
fn no_finding_when_the_second_fin_was_lost_by_the_capture() {
    // The closer acknowledges a FIN that the capture does not hold: it was closed.
    each_way(|wire| {
        bustle(&wire, 150.0);
        let l = wire.ladder(1);
        let t = half_closed(&wire, &l, 0.0, Role::Client);
        l.server.fin(t + 0.5).lost();
        l.client.ack(t + 0.5 + wire.to_client);
        analyze(&wire).none(KIND);
    });
}

#[test]
fn a_long_computation_whose_answer_is_taken_is_said_so() {
    each_way(|wire| {
        bustle(&wire, 200.0);
        let l = wire.ladder(1);
        let t = half_closed(&wire, &l, 0.0, Role::Client);
        l.server.data(t + 100.0, 1_000);
        l.client.ack(t + 100.0 + wire.to_client);
        l.server.fin(t + 100.1);
        l.client.ack(t + 100.2);
        analyze(&wire).nothing();
    });
}

#[test]
fn late_data_to_an_orphan_draws_a_rst() {
    each_way(|wire| {
        bustle(&wire, 150.0);
        let l = wire.ladder(1);
        let t = half_closed(&wire, &l, 0.0, Role::Client);
        l.server.data(t + 90.0, 500);
        l.client.rst(t + 90.0 + wire.to_client);
        let found = analyze(&wire);
        assert!(found.of(&l).contains(&Kind::FinWait2Expired), "{}", found.summaries());
        found.none(Kind::AbortiveClose);
    });
}

#[test]
fn late_fin_or_probe_draws_a_rst_once_the_orphan_is_gone() {
    each_way(|wire| {
        bustle(&wire, 150.0);
        let (fin, probe) = (wire.ladder(1), wire.ladder(2));
        let t = half_closed(&wire, &fin, 0.0, Role::Client);
        fin.server.fin(t + 62.0);
        fin.client.rst(t + 62.0 + wire.to_client);
        let t = half_closed(&wire, &probe, 0.0, Role::Client);
        probe.server.keepalive(t + 30.0);
        probe.client.ack(t + 30.0 + wire.to_client).ip_id(0);
        probe.server.keepalive(t + 61.0);
        probe.client.rst(t + 61.0 + wire.to_client);
        let found = analyze(&wire);
        for l in [&fin, &probe] {
            assert!(found.of(l).contains(&Kind::FinWait2Expired), "{}", found.summaries());
        }
    });
}

#[test]
fn no_expiry_when_the_rst_comes_at_once() {
    each_way(|wire| {
        bustle(&wire, 150.0);
        let l = wire.ladder(1);
        let t = half_closed(&wire, &l, 0.0, Role::Client);
        l.server.data(t + 0.1, 500);
        l.client.rst(t + 0.1 + wire.to_client);
        analyze(&wire).nothing();
    });
}

#[test]
fn no_finding_when_the_other_fin_acknowledges_one_that_the_capture_lost() {
    for first in [Role::Client, Role::Server] {
        each_way(|wire| {
            bustle(&wire, 150.0);
            let l = wire.ladder(1);
            let t = l.handshake(0.0);
            let t = l.exchange(t + 0.001, 100, 400) + 0.01;
            let (one, other, way) = match first {
                Role::Client => (&l.client, &l.server, wire.to_server),
                Role::Server => (&l.server, &l.client, wire.to_client),
            };
            one.fin(t).lost();
            other.fin(t + way);
            one.ack(t + 0.1);
            analyze(&wire).none(KIND);
        });
    }
}

/// A connection of which the capture has lost a segment that the server acknowledged.
fn with_a_hole(wire: &Wire, n: u16, t: f64) {
    let l = wire.ladder(n);
    let t = l.handshake(t);
    l.client.data(t + 0.001, 700).lost();
    l.server.ack(t + 0.001 + wire.to_server);
    let t = l.exchange(t + 0.1, 100, 400);
    l.close(t + 0.01, Role::Client);
}

#[test]
fn doubtful_where_the_capture_lost_packets_unless_it_is_the_rule() {
    for (half_closes, severity) in [(1, Severity::Info), (4, Severity::Warning)] {
        each_way(|wire| {
            bustle(&wire, 150.0);
            with_a_hole(&wire, 50, 3.0);
            let ladders: Vec<_> = (0..half_closes).map(|n| wire.ladder(n)).collect();
            for l in &ladders {
                half_closed(&wire, l, 1.0, Role::Client);
            }
            let found = analyze(&wire);
            for l in &ladders {
                let f = found.only(l, KIND);
                assert_eq!((f.severity, f.certainty), (severity, Certainty::Possible));
            }
        });
    }
}

#[test]
fn no_finding_while_data_follows_even_if_a_filter_left_out_its_acknowledgments() {
    each_way(|wire| {
        bustle(&wire, 150.0);
        let l = wire.ladder(1);
        let t = half_closed(&wire, &l, 0.0, Role::Client);
        for n in 1..10 {
            l.server.data(t + 14.0 * f64::from(n), 1_000);
        }
        l.server.fin(t + 130.0);
        l.client.ack(t + 130.1);
        analyze(&wire).none(KIND);
    });
}

/// A stream of the server every `pause` seconds after the client's FIN, `chunks` times; returns when the last one came.
fn slow_stream(wire: &Wire, l: &Ladder, pause: f64, chunks: u16) -> f64 {
    let mut t = half_closed(wire, l, 0.0, Role::Client);
    for _ in 0..chunks {
        t += pause;
        l.server.data(t, 700);
        l.client.ack(t + wire.to_client);
    }
    t
}

#[test]
fn a_stream_with_a_slow_rhythm_is_no_half_close() {
    each_way(|wire| {
        bustle(&wire, 520.0);
        let l = wire.ladder(1);
        let t = slow_stream(&wire, &l, 80.0, 5);
        l.server.fin(t + 100.0);
        l.client.ack(t + 100.0 + wire.to_client);
        analyze(&wire).none(KIND);
    });
}

#[test]
fn a_stream_that_stops_for_longer_than_its_pauses_is_one() {
    each_way(|wire| {
        bustle(&wire, 200.0);
        let l = wire.ladder(1);
        slow_stream(&wire, &l, 5.0, 6);
        analyze(&wire).only(&l, KIND);
    });
}
