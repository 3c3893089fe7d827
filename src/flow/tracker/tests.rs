//! The tracker as its users see it: segments in, facts out; which connection a segment belongs to, and when one ends.

mod copies;
mod endings;
mod forms;
mod handshake;
mod model;
mod stream;

use crate::decode::segment::{Flags, Segment};
use crate::flow::facts::{ConnectionFacts, Ending, Role, Roles, SegmentKind};
use crate::flow::tracker::Tracker;
use crate::flow::wire::{Wire, at};
use crate::seq::Seq;
use crate::time::Span;

/// TTL, TOS and window of a segment at which the tracker is made to fail, to try what that costs.
pub(crate) const FATAL: (u8, u8, u16) = (77, 0x77, 0x0fa7);

/// Tracks `segments` with room for `limit` connections; the facts in order of their first packets.
fn tracked(segments: &[Segment], limit: usize) -> (Vec<ConnectionFacts>, Tracker) {
    let mut tracker = Tracker::new(limit);
    segments.iter().for_each(|s| tracker.segment(s));
    tracker.finish();
    let mut facts: Vec<_> = tracker.drain_finished().collect();
    facts.sort_by_key(|f| f.first);
    (facts, tracker)
}

/// Every segment that was fed stands somewhere in the facts.
#[track_caller]
fn adds_up(facts: &[ConnectionFacts], fed: usize) {
    let counted: u64 = facts
        .iter()
        .map(|f| u64::from(f.c.segments + f.s.segments) + u64::from(f.duplicates) + u64::from(f.replayed))
        .sum();
    assert_eq!(counted, fed as u64);
}

/// The number of a packet, as a ladder counts them.
fn packet(n: u64) -> crate::decode::segment::PacketId {
    crate::decode::segment::PacketId::new(0, n)
}
