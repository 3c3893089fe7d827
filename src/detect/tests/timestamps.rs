//! `syn-drop-timestamp`: a server that remembers its clients' timestamps, and one that does not.

use super::*;
use crate::flow::facts::Role;

const KIND: Kind = Kind::SynDropTimestamp;

/// Hosts behind one address, each with a clock of its own: connections of clock `clock`, closed by the server.
fn remembered(wire: &Wire, n: u16, t: f64, clock: u32) -> Ladder {
    let l = wire.ladder(n);
    l.client.set_clock(clock);
    let t = l.handshake(t);
    let t = l.exchange(t + 0.001, 100, 100);
    l.close(t + 0.001, Role::Server);
    l
}

/// A SYN of that clock that is asked again twice and never answered.
fn dropped(wire: &Wire, n: u16, t: f64, clock: u32) -> Ladder {
    let l = wire.ladder(n);
    l.client.set_clock(clock);
    for again in [0.0, 1.02, 2.04] {
        l.client.syn(t + again);
    }
    l
}

const AHEAD: u32 = 900_000_000;
const BEHIND: u32 = 100_000_000;

#[test]
fn syns_with_older_timestamps_are_dropped_and_others_answered() {
    for wire in Wire::everywhere().into_iter().chain(Wire::everywhere().map(Wire::v6)) {
        let mut victims = Vec::new();
        for n in 0..6 {
            let t = f64::from(n) * 3.5;
            remembered(&wire, n, t, AHEAD);
            victims.push(dropped(&wire, 100 + n, t + 0.5, BEHIND));
        }
        remembered(&wire, 50, 24.0, AHEAD);
        let found = analyze(&wire);
        for l in &victims {
            let f = found.only(l, KIND);
            let certainty = match f.vantage {
                Vantage::Client => Certainty::Possible,
                _ => Certainty::Probable,
            };
            assert_eq!(f.certainty, certainty);
        }
    }
}

#[test]
fn no_finding_when_older_timestamps_are_answered() {
    // Linux 4.10 and later give every connection an offset of its own.
    for wire in Wire::everywhere() {
        for n in 0..40 {
            let clock = (u32::from(n)).wrapping_mul(0x9e37_79b9);
            remembered(&wire, n, f64::from(n) * 0.5, clock);
        }
        let lost = dropped(&wire, 100, 8.0, BEHIND);
        let found = analyze(&wire);
        found.none(KIND);
        assert_eq!(found.of(&lost), [Kind::SynUnanswered]);
    }
}

#[test]
fn no_finding_when_all_hosts_suffer() {
    for wire in Wire::everywhere() {
        for n in 0..5 {
            remembered(&wire, n, f64::from(n) * 0.5, AHEAD);
        }
        // Nobody is answered any more, whatever the timestamp.
        for n in 0..6 {
            let clock = if n % 2 == 0 { AHEAD } else { BEHIND };
            dropped(&wire, 100 + n, 4.0 + f64::from(n), clock);
        }
        analyze(&wire).none(KIND);
    }
}

#[test]
fn no_finding_when_the_client_closes_first() {
    for wire in Wire::everywhere() {
        for n in 0..6 {
            let l = wire.ladder(n);
            l.client.set_clock(AHEAD);
            let t = l.handshake(f64::from(n) * 3.5);
            l.close(t + 0.001, Role::Client);
            dropped(&wire, 100 + n, f64::from(n) * 3.5 + 0.5, BEHIND);
        }
        analyze(&wire).none(KIND);
    }
}

#[test]
fn no_finding_a_minute_later() {
    for wire in Wire::everywhere() {
        for n in 0..4 {
            let t = f64::from(n) * 100.0;
            remembered(&wire, n, t, AHEAD);
            dropped(&wire, 100 + n, t + 62.0, BEHIND);
        }
        analyze(&wire).none(KIND);
    }
}

#[test]
fn no_finding_for_random_loss_among_few() {
    for wire in Wire::everywhere() {
        for n in 0..12 {
            remembered(&wire, n, f64::from(n), AHEAD);
        }
        // Lost SYNs of the same clock: not behind.
        for n in 0..3 {
            dropped(&wire, 100 + n, 3.0 + 2.0 * f64::from(n), AHEAD);
        }
        analyze(&wire).none(KIND);
    }
}

#[test]
fn no_finding_where_addresses_differ() {
    for wire in Wire::everywhere() {
        for n in 0..6 {
            let t = f64::from(n) * 3.5;
            remembered(&wire, n, t, AHEAD);
            let other = wire.of_host(77, 100 + n);
            other.client.set_clock(BEHIND);
            for again in [0.0, 1.02, 2.04] {
                other.client.syn(t + 0.5 + again);
            }
        }
        analyze(&wire).none(KIND);
    }
}

#[test]
fn timestamps_that_wrap_are_not_behind() {
    for wire in Wire::everywhere() {
        for n in 0..6 {
            let t = f64::from(n) * 3.5;
            remembered(&wire, n, t, u32::MAX - 2_000);
            let l = wire.ladder(100 + n);
            l.client.set_clock(u32::MAX - 1_000);
            l.client.syn(t + 0.5);
            l.client.syn(t + 1.5);
        }
        analyze(&wire).none(KIND);
    }
}
