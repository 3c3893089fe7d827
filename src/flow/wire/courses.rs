//! Connections that go as they should for most of the time, and then do not.

use proptest::prelude::*;

use super::{Ladder, Wire};
use crate::decode::segment::{Flags, Traits};

/// What may happen next on a connection: mostly what should, now and then anything else.
fn happens(l: &Ladder, what: u8, bytes: u32, t: f64) {
    let rung = match what {
        0..=3 => l.client.data(t, bytes),
        4..=7 => l.server.data(t, bytes),
        8..=11 => l.client.ack(t),
        12..=15 => l.server.ack(t),
        16..=18 => l.client.fin(t),
        19..=21 => l.server.fin(t),
        22 => l.client.syn(t),
        23 => l.server.syn_ack(t),
        24 => l.client.raw(t, Flags::PSH | Flags::ACK | Flags::FIN, l.client.next(), l.server.next(), bytes),
        25 => l.client.data(t, bytes).twice(0.000_1),
        26 => l.server.ack(t).twice(0.000_002),
        27 => l.server.data(t, bytes).lost(),
        28 => l.client.keepalive(t),
        29 => l.server.abort(t),
        30 => l.client.rst(t),
        31 => l.client.ack(t).with(|s| s.traits |= Traits::CHECKSUM_BAD),
        32 => l.server.again(t),
        _ => l.client.again(t),
    };
    drop(rung);
}

/// How a connection begins, whether it takes the four-tuple of the first one, and its events: which event, how many
/// hundred bytes, how long after the event before in tenths of a millisecond.
type RandomConnection = (u8, bool, Vec<(u8, u32, u32)>);

/// A few connections of one host, one after the other.
pub fn few() -> impl Strategy<Value = Wire> {
    let steps = prop::collection::vec((0_u8..34, 1_u32..3, 0_u32..3_000), 0..24);
    let courses = prop::collection::vec((0_u8..8, any::<bool>(), steps), 1..8);
    (courses, any::<[bool; 2]>()).prop_map(|(courses, [v6, stamps])| {
        let wire = if v6 { Wire::at_server().v6() } else { Wire::at_server() };
        let wire = if stamps { wire } else { wire.without_timestamps() };
        for (n, course) in courses.into_iter().enumerate() {
            draw(&wire, n as u16, course);
        }
        wire
    })
}

fn draw(wire: &Wire, n: u16, (opening, reuse, steps): RandomConnection) {
    let l = wire.ladder(if reuse { 0 } else { n });
    let l = l.numbered(1_000 * u32::from(n), 77_000 * u32::from(n));
    let mut t = 40.0 * f64::from(n);
    match opening {
        0 => drop(l.client.syn(t)),
        1 => {
            l.client.syn(t);
            l.server.syn_ack(t + 0.001);
        }
        2 => {
            l.client.syn(t);
            l.client.syn(t + 1.0);
            l.server.syn_ack(t + 1.001);
            t += 1.0;
        }
        3 => {
            l.client.syn(t);
            l.server.refuse(t + 0.001);
        }
        4 => {
            l.client.syn(t);
            l.client.syn(t + 1.0);
            l.server.refuse(t + 1.001);
            t += 1.0;
        }
        _ => t = l.handshake(t),
    }
    for (what, bytes, pause) in steps {
        // Long pauses are rare.
        t += if pause > 2_980 { 60.0 } else { f64::from(pause) * 0.000_1 + 0.000_001 };
        // What comes again must have come once.
        let what = if what == 32 && l.server.next() == l.server.isn() { 12 } else { what };
        happens(&l, what, bytes * 100, t);
    }
}
