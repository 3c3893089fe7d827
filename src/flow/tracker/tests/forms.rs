//! A connection in short form says the same as one with a full record from the beginning.

use proptest::prelude::*;

use super::*;
use crate::flow::ended::EndedFlow;
use crate::flow::outcome::Outcome;
use crate::flow::peer::PeerEvent;
use crate::flow::tracker::TOGETHER;
use crate::flow::wire::courses;

/// Facts in order, and events.
fn handed_out(segments: &[Segment], always_full: bool) -> (Vec<ConnectionFacts>, Vec<PeerEvent>, [u32; 3]) {
    let mut tracker = Tracker { always_full, ..Tracker::new(1 << 10) };
    let (mut facts, mut forms) = (Vec::new(), [0; 3]);
    let mut take = |gone: EndedFlow<'_>| {
        forms[match gone {
            EndedFlow::HalfOpen(..) => 0,
            EndedFlow::Clean(..) => 1,
            EndedFlow::Full(..) => 2,
        }] += 1;
        let full = gone.facts().into_owned();
        for wait in [0, 1, 5] {
            let until = full.last.time + Span::secs(wait);
            match gone {
                EndedFlow::HalfOpen(_, h, _) => {
                    assert_eq!(Outcome::of_half_open(h, until), Outcome::of(&full, until));
                }
                EndedFlow::Clean(_, c, _) if c.course().is_some() => {
                    assert_eq!(Outcome::of(&full, until), Outcome::Closed);
                }
                _ => {}
            }
        }
        facts.push(full);
    };
    tracker.segments(segments.chunks(TOGETHER), &mut take);
    let events = std::mem::take(tracker.events());
    tracker.finish_into(&mut take);
    facts.sort_by_key(|f| f.first);
    (facts, events, forms)
}

#[track_caller]
fn same_in_either_form(segments: &[Segment]) -> [u32; 3] {
    let (facts, events, forms) = handed_out(segments, false);
    let (full_facts, full_events, _) = handed_out(segments, true);
    assert_eq!(facts, full_facts);
    assert_eq!(events, full_events);
    forms
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn short_and_full_form_say_the_same(wire in courses::few()) {
        let segments = wire.segments();
        same_in_either_form(&segments);
    }
}

#[test]
fn neither_what_goes_as_it_should_nor_a_lone_syn_nor_a_refusal_needs_a_full_record() {
    for wire in [Wire::at_server(), Wire::at_client().v6(), Wire::between().without_timestamps()] {
        wire.ladder(1).served(0.0);
        let l = wire.ladder(2);
        let t = l.handshake(1.0);
        let t = l.exchange(t + 0.1, 100, 10_000);
        l.close(t + 0.1, Role::Server);
        wire.ladder(3).client.syn(2.0);
        let l = wire.ladder(4);
        l.client.syn(3.0);
        l.server.refuse(3.001);
        assert_eq!(same_in_either_form(&wire.segments()), [2, 2, 0]);
    }
}

#[test]
fn a_long_connection_gets_a_full_record() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    let mut t = l.handshake(0.0);
    for _ in 0..8 {
        t = l.exchange(t + 0.01, 100, 1_000);
    }
    l.close(t + 0.1, Role::Client);
    assert_eq!(same_in_either_form(&wire.segments()), [0, 0, 1]);
}

#[test]
fn a_reset_after_the_end_is_still_counted() {
    let wire = Wire::at_server();
    let l = wire.ladder(1);
    let t = l.served(0.0);
    l.client.rst(t + 0.01);
    assert_eq!(same_in_either_form(&wire.segments()), [0, 0, 1]);
    assert_eq!(wire.only().c.resets, 1);
}
