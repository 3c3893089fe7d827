//! One connection on both sides, packet by packet: which packet of one is which of the other, and which has none.

use std::collections::HashMap;

use crate::decode::segment::Flags;
use crate::detect::registry;
use crate::detect::spec::{IgnoredPackets, Property};
use crate::flow::facts::{PacketRef, Role};
use crate::flow::key::Host;
use crate::model::Kind;
use crate::pair::listening::{Completeness, Listening, PathWindow, SegmentClass};
use crate::pair::trace::{HEAD, TracedSegment, Track};
use crate::time::{Span, Timestamp};

/// Packets without timestamps and IP ID are the same if their times differ by no more than this, apart from the path's
/// delay. Only time tells them apart, and the first retransmission comes a second later.
const NEAR: Span = Span::millis(450);
/// Packets with the same timestamp or IP ID are the same if their times differ by no more than this: the path may hold
/// them up that long.
const LATE: Span = Span::secs(30);
/// A packet may take this much longer than the quickest one. A packet sent later than that before the end of a capture
/// is not counted as missing.
const SLACK: Span = Span::millis(200);

/// If the capture has packets this close before and after a missing one, it did not lose a whole interval.
pub const TIGHT: Span = Span::millis(50);
/// The time that packets take on the path varies by at least this.
const JITTER: Span = Span(50_000);
/// A capture that has this many packets which it should have loses none.
const COMPLETE: u64 = 200;
/// A capture that lacks packets at this many different times, with captured packets between them, did not lose an
/// interval each time.
pub const SEPARATE: usize = 3;

/// How a listener ignores packets that arrived, and the capture that shows it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ListenerBehavior {
    /// It leaves SYNs unanswered that arrived.
    pub ignores_syns: bool,
    /// It repeats its SYN-ACK although the final ACK arrived.
    pub ignores_acks: bool,
    /// It sends RSTs.
    pub resets: bool,
}

/// Whether a segment that reaches the listener is sure to be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receiver {
    /// Nothing shows that the listener ignores such segments.
    Answers,
    /// The listener ignores such segments in its own capture, so a missing one may have been ignored too.
    Ignores,
}

impl ListenerBehavior {
    /// How the listener treats SYNs.
    pub fn syn_behavior(self) -> Receiver {
        if self.ignores_syns { Receiver::Ignores } else { Receiver::Answers }
    }

    /// How it treats final ACKs.
    pub fn final_ack_behavior(self) -> Receiver {
        if self.ignores_acks { Receiver::Ignores } else { Receiver::Answers }
    }

    /// Takes note of what a connection shows.
    pub fn observe(&mut self, track: &Track) {
        let segments = &track.segments;
        for (i, s) in segments.iter().enumerate() {
            let rest = &segments[i + 1..];
            if s.by_client && s.is_syn() {
                let answered = rest.iter().take_while(|x| !(x.by_client && x.is_syn())).any(|x| !x.by_client);
                self.ignores_syns |= !answered;
            }
            let acked = s.by_client && s.flags.has(Flags::ACK) && !s.is_control();
            self.ignores_acks |= acked && rest.iter().any(|x| !x.by_client && x.is_syn_ack());
            self.resets |= !s.by_client && s.flags.has(Flags::RST);
        }
    }

    /// Takes note of a finding at the listener.
    pub fn note(&mut self, kind: Kind) {
        let spec = registry::spec(kind);
        match spec.ignored {
            // A SYN without an answer counts only if its cause is a state of the listener.
            IgnoredPackets::Syns => self.ignores_syns |= spec.has(Property::HasOneCause),
            IgnoredPackets::FinalAckAndData => (self.ignores_syns, self.ignores_acks) = (true, true),
            IgnoredPackets::FinalAck | IgnoredPackets::Nothing => {}
        }
    }
}

/// The coverage of one side's capture.
#[derive(Clone, Default, Debug)]
pub struct CaptureCoverage {
    /// Its first and last packet.
    pub from: Timestamp,
    /// See `from`.
    pub to: Timestamp,
    /// It has lost packets itself, or cut them too short.
    pub lossy: bool,
    /// Its place on the command line.
    pub place: u16,
    /// When it was listening.
    pub listening: Listening,
    /// What the other capture shows of its completeness.
    pub check: Completeness,
    /// What its listeners do.
    pub habits: HashMap<Host, ListenerBehavior>,
}

impl CaptureCoverage {
    /// Whether it demonstrably loses packets.
    pub fn loses_packets(&self) -> bool {
        self.lossy || !self.check.missed.is_empty()
    }

    /// Whether it demonstrably holds all that it should, of many packets.
    pub fn is_complete(&self) -> bool {
        !self.loses_packets() && self.check.there >= COMPLETE
    }

    /// What a listener does, as this capture shows it.
    pub fn listener_behavior(&self, listener: Host) -> ListenerBehavior {
        let own = self.habits.get(&listener).copied().unwrap_or_default();
        // A full accept queue drops both SYNs and final ACKs.
        let ignores = own.ignores_syns || own.ignores_acks;
        ListenerBehavior { ignores_syns: ignores, ignores_acks: ignores, ..own }
    }
}

/// A connection that both sides have.
pub struct MatchedConnection<'a> {
    /// What each side saw.
    pub tracks: [&'a Track; 2],
    /// For each segment of a side, its place on the other side.
    same: [Vec<Option<usize>>; 2],
    /// Segments that the other side has inside another packet: offloading cuts and joins segments.
    carried: [Vec<bool>; 2],
    /// The shortest time that a packet takes from one side to the other and back.
    trip: Span,
    watches: [&'a CaptureCoverage; 2],
    /// The side nearer to the client.
    near: usize,
    /// Segments of each side that a point between the two lacks, too.
    missing_between: [MissingBetween; 2],
}

/// Segments of one side that a capture between the two lacks, by their places.
pub type MissingBetween = HashMap<usize, Absence>;

/// How well it is known that a packet did not come to the other capture.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Absence {
    /// That capture was listening at this very moment, and nothing shows that it has missed a packet.
    Certain,
    /// It was listening before and after; nothing shows that it has missed a packet.
    Likely,
    /// It was listening before and after, and it has missed packets at other times.
    Doubtful,
    /// It holds nothing of that direction: all of it was lost, or filtered out of the capture.
    Unheard,
}

impl<'a> MatchedConnection<'a> {
    /// Compares two tracks; `trip` is the shortest time from one side to the other and back, `near` the side nearer to the
    /// client.
    pub fn new(
        tracks: [&'a Track; 2],
        trip: Span,
        watches: [&'a CaptureCoverage; 2],
        near: usize,
    ) -> MatchedConnection<'a> {
        let [a, b] = [&tracks[0].segments, &tracks[1].segments];
        let mut same = [vec![None; a.len()], vec![None; b.len()]];
        for compared in [Compared::AlsoIpId, Compared::WithoutIpId] {
            for (i, x) in a.iter().enumerate() {
                if same[0][i].is_some() {
                    continue;
                }
                let due = x.at.time;
                let free =
                    b.iter().enumerate().filter(|(j, y)| same[1][*j].is_none() && is_same(x, y, compared));
                let apart = |y: &TracedSegment| Span((y.at.time - due).0.saturating_abs());
                let allowed = if is_marked(x) { LATE } else { NEAR + trip };
                let best = free.map(|(j, y)| (apart(y), j)).filter(|(span, _)| *span <= allowed).min();
                if let Some((_, j)) = best {
                    same[0][i] = Some(j);
                    same[1][j] = Some(i);
                }
            }
        }
        let carried = [0, 1].map(|side: usize| {
            let (own, other) = (&tracks[side].segments, &tracks[1 - side].segments);
            own.iter().map(|x| other.iter().any(|y| carries(x, y))).collect()
        });
        MatchedConnection { tracks, same, carried, trip, watches, near, missing_between: Default::default() }
    }

    /// The same, where captures between the two lack these segments of each side, too.
    pub fn with_missing_between(self, missing_between: [MissingBetween; 2]) -> MatchedConnection<'a> {
        MatchedConnection { missing_between, ..self }
    }

    /// The segment on the other side that is the one at `place` on `side`.
    pub fn other(&self, side: usize, place: usize) -> Option<&'a TracedSegment> {
        self.same[side][place].map(|j| &self.tracks[1 - side].segments[j])
    }

    /// Whether the other side has it, or its bytes in another packet.
    pub fn passed(&self, side: usize, place: usize) -> bool {
        self.same[side][place].is_some() || self.carried[side][place]
    }

    /// When a packet of `side` is due on the other one, not counting the time on the path.
    pub fn due(&self, side: usize, place: usize) -> Timestamp {
        self.tracks[side].segments[place].at.time
    }

    /// Whether the other side should have the segment at `place` and lacks it. `None` if it has the segment, or if
    /// nothing shows that it was listening.
    pub fn absence(&self, side: usize, place: usize) -> Option<Absence> {
        if self.passed(side, place) || !self.was_kept(side, place) {
            return None;
        }
        // Whichever capture shows it best.
        let between = self.missing_between[side].get(&place).copied();
        [self.absence_at_the_end(side, place), between].into_iter().flatten().min()
    }

    fn absence_at_the_end(&self, side: usize, place: usize) -> Option<Absence> {
        let (segment, watch) = (&self.tracks[side].segments[place], self.watches[1 - side]);
        let due = self.due(side, place);
        let trip = self.trip;
        if due < watch.from || due + trip + SLACK > watch.to {
            return None;
        }
        let class = if segment.is_control() { SegmentClass::Control } else { SegmentClass::Plain };
        let server = self.tracks[1 - side].server;
        if !watch.listening.has_segments_of(server.address, segment.sender(), class) {
            return Some(Absence::Unheard);
        }
        let frame = self.frame(side, place)?;
        if watch.check.missed_between(frame.before, frame.after) {
            return None;
        }
        Some(match () {
            () if watch.loses_packets() => Absence::Doubtful,
            () if frame.widest <= TIGHT => Absence::Certain,
            () => Absence::Likely,
        })
    }

    /// Whether a segment would be in the other side's track if that side had captured it: segments in the middle of a
    /// long connection are not kept.
    fn was_kept(&self, side: usize, place: usize) -> bool {
        let segments = &self.tracks[side].segments;
        let early = segments[..place].iter().filter(|s| !s.is_control()).count() < HEAD / 2;
        segments[place].is_control() || !self.tracks[1 - side].cut || early
    }

    /// The packets of the server's connections that the other side has next to the time at which a segment was due.
    pub fn frame(&self, side: usize, place: usize) -> Option<PathWindow> {
        let trip = self.trip;
        // The clocks are set by the middle of the round trip: half of it is the way from one side to the other, whatever
        // its two directions take.
        let passed_before = self.tracks[side].segments[place].by_client == (side == self.near);
        let way = Span(if passed_before { trip.0 / 2 } else { -trip.0 / 2 });
        let due = self.due(side, place) + way;
        let error = Span((trip.0 / 8).max(JITTER.0));
        let server = self.tracks[1 - side].server.address;
        self.watches[1 - side].listening.around(server, due + Span(-error.0), due + error)
    }

    /// Whether the other side lacks segments of this end at many different times, with captured packets in between, so
    /// that no gap in the capture explains it.
    pub fn lacks_many(&self, side: usize, sender: Role) -> bool {
        let segments = &self.tracks[side].segments;
        let lacking = segments.iter().enumerate().filter(|(i, s)| {
            s.sender() == sender && matches!(self.absence(side, *i), Some(Absence::Certain | Absence::Likely))
        });
        let mut frames: Vec<_> = lacking.filter_map(|(i, _)| self.frame(side, i)).collect();
        frames.sort_unstable();
        frames.dedup();
        frames.len() >= SEPARATE
    }

    /// Whether the absence shows that the packet was lost, and not that its receiver ignored it.
    pub fn shows_loss(&self, side: usize, place: usize, receiver: Receiver) -> Option<Absence> {
        // A packet that two captures lack did not fall into a gap of one of them.
        let ignores = receiver == Receiver::Ignores && !self.missing_between[side].contains_key(&place);
        let absence = self.absence(side, place)?;
        let watch = self.watches[1 - side];
        let many = (ignores || absence == Absence::Likely)
            && self.lacks_many(side, self.tracks[side].segments[place].sender());
        match absence {
            // A gap as short as the time between two packets leaves no trace, so one moment proves nothing here.
            Absence::Certain | Absence::Likely if ignores => {
                (watch.is_complete() && many).then_some(Absence::Certain)
            }
            Absence::Likely if many => Some(Absence::Certain),
            Absence::Certain | Absence::Likely => Some(absence),
            Absence::Doubtful => (!ignores).then_some(absence),
            Absence::Unheard => None,
        }
    }

    /// What a side's capture shows of the listener.
    pub fn listener_behavior(&self, side: usize) -> ListenerBehavior {
        self.watches[side].listener_behavior(self.tracks[side].server)
    }

    /// A packet with its time by the clock of the reference, in which findings are written.
    pub fn mark(&self, side: usize, place: usize) -> PacketRef {
        self.tracks[side].segments[place].at
    }

    /// Whether the side's capture has lost packets itself.
    pub fn is_lossy(&self, side: usize) -> bool {
        self.watches[side].loses_packets()
    }

    /// Whether the side's capture demonstrably holds all that it should.
    pub fn is_complete(&self, side: usize) -> bool {
        self.watches[side].is_complete()
    }

    /// The place on the command line of the capture of a side.
    pub fn capture(&self, side: usize) -> u16 {
        let first = self.tracks[side].segments.first();
        first.map_or(self.watches[side].place, |s| s.at.packet.capture())
    }
}

/// Whether a packet and its retransmission differ in more than their time.
fn is_marked(s: &TracedSegment) -> bool {
    s.ip_id != 0 || s.stamps.is_some()
}

/// What two packets must have in common to be the same one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compared {
    /// All fields that stay the same on the way, and the IP ID.
    AlsoIpId,
    /// Not the IP ID: some devices write their own.
    WithoutIpId,
}

fn is_same(a: &TracedSegment, b: &TracedSegment, compared: Compared) -> bool {
    let stamped = match (a.stamps, b.stamps) {
        (Some(x), Some(y)) => x == y,
        // It was cut off on one side, or removed on the way.
        _ => true,
    };
    let fields = a.by_client == b.by_client
        && a.seq == b.seq
        && a.ack == b.ack
        && a.flags == b.flags
        && a.payload == b.payload;
    fields && stamped && (compared == Compared::WithoutIpId || a.ip_id == b.ip_id)
}

/// Whether payload of `a` is in `b`, even if the segments are cut differently: the same timestamp, and bytes in common.
fn carries(a: &TracedSegment, b: &TracedSegment) -> bool {
    let overlap = |from: &TracedSegment, other: &TracedSegment| {
        let offset = other.seq.distance(from.seq);
        offset >= 0 && (offset as u32) < from.payload
    };
    a.by_client == b.by_client
        && a.payload > 0
        && b.payload > 0
        && a.stamps.map(|s| s.0) == b.stamps.map(|s| s.0)
        && (overlap(a, b) || overlap(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::segment::{PacketId, Segment};
    use crate::pair::listening::TimestampOptions;
    use crate::seq::Seq;
    use std::collections::HashSet;

    fn seen(number: u64, millis: i64, flags: Flags, tsval: Option<u32>) -> TracedSegment {
        TracedSegment {
            at: PacketRef { time: Timestamp(0) + Span::millis(millis), packet: PacketId::new(0, number) },
            own: Timestamp(0),
            by_client: flags != Flags::SYN | Flags::ACK,
            seq: Seq(1),
            ack: Seq(0),
            flags,
            payload: 0,
            stamps: tsval.map(|v| (v, 0)),
            ip_id: 0,
        }
    }

    fn track(segments: Vec<TracedSegment>) -> Track {
        Track { segments, ..Track::default() }
    }

    /// The path takes 10 ms.
    const TRIP: Span = Span::millis(20);

    /// A capture that listened at these times, milliseconds, to both directions.
    fn watch(millis: &[i64]) -> CaptureCoverage {
        let server = Host::default();
        let client = Host { port: 4_000, ..server };
        let mut listening = Listening::to(HashSet::from([server]), TimestampOptions::Whole);
        for &at in millis {
            for (from, to, flags) in [(client, server, Flags::SYN), (server, client, Flags::ACK)] {
                listening.record(&Segment {
                    time: Timestamp(0) + Span::millis(at),
                    src_port: from.port,
                    dst_port: to.port,
                    flags,
                    ..Segment::default()
                });
            }
        }
        listening.finish();
        let (from, to) = (Timestamp(0), Timestamp(0) + Span::secs(90_000));
        CaptureCoverage { from, to, listening, ..CaptureCoverage::default() }
    }

    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_syn_that_was_lost_is_the_one_without_its_timestamp() {
        let a =
            track(vec![seen(1, HOUR, Flags::SYN, Some(5)), seen(2, HOUR + 1_000, Flags::SYN, Some(1_005))]);
        let b = track(vec![seen(1, HOUR + 1_010, Flags::SYN, Some(1_005))]);
        let watch = watch(&[HOUR - 25, HOUR + 24, HOUR + 1_010]);
        let p = MatchedConnection::new([&a, &b], TRIP, [&watch, &watch], 0);
        assert_eq!((p.absence(0, 0), p.absence(0, 1)), (Some(Absence::Certain), None));
        assert_eq!(p.other(1, 0).unwrap().at.packet.number(), 2);
    }

    #[test]
    fn without_timestamps_the_time_tells() {
        let a = track(vec![seen(1, HOUR, Flags::SYN, None), seen(2, HOUR + 1_000, Flags::SYN, None)]);
        let b = track(vec![seen(1, HOUR + 1_010, Flags::SYN, None)]);
        let watch = watch(&[HOUR - 100, HOUR + 24, HOUR + 1_010]);
        let p = MatchedConnection::new([&a, &b], TRIP, [&watch, &watch], 0);
        assert_eq!((p.absence(0, 0), p.absence(0, 1)), (Some(Absence::Likely), None));
    }

    #[test]
    fn nothing_is_missing_where_nobody_was_listening() {
        let a =
            track(vec![seen(1, HOUR, Flags::SYN, Some(5)), seen(2, HOUR + 1_000, Flags::SYN, Some(1_005))]);
        let b = track(vec![seen(1, HOUR + 1_010, Flags::SYN, Some(1_005))]);
        let with = |change: &dyn Fn(&mut CaptureCoverage)| {
            let mut far = watch(&[HOUR - 25, HOUR + 24, HOUR + 1_010]);
            change(&mut far);
            MatchedConnection::new([&a, &b], TRIP, [&CaptureCoverage::default(), &far], 0).absence(0, 0)
        };
        let at = |millis: i64| Timestamp(0) + Span::millis(millis);
        assert_eq!(with(&|w| w.lossy = true), Some(Absence::Doubtful));
        assert_eq!(with(&|w| w.check.missed = vec![at(HOUR + 900)]), Some(Absence::Doubtful));
        assert_eq!(with(&|w| w.check.missed = vec![at(HOUR + 5)]), None);
        assert_eq!(with(&|w| w.from = at(HOUR + 1_010)), None);
        assert_eq!(with(&|w| w.to = at(HOUR)), None);
        assert_eq!(with(&|w| w.listening = watch(&[HOUR + 24, HOUR + 1_010]).listening), None);
        assert_eq!(with(&|w| w.listening = Listening::default()), Some(Absence::Unheard));
    }

    #[test]
    fn where_a_listener_ignores_syns_a_capture_must_be_complete_to_show_a_loss() {
        let a =
            track(vec![seen(1, HOUR, Flags::SYN, Some(5)), seen(2, HOUR + 1_000, Flags::SYN, Some(1_005))]);
        let b = track(vec![seen(1, HOUR + 1_010, Flags::SYN, Some(1_005))]);
        let shows = |moments: &[i64], there: u64, receiver: Receiver| {
            let mut far = watch(moments);
            far.check.there = there;
            MatchedConnection::new([&a, &b], TRIP, [&CaptureCoverage::default(), &far], 0)
                .shows_loss(0, 0, receiver)
        };
        let (near, wide) = ([HOUR - 25, HOUR + 24, HOUR + 1_010], [HOUR - 300, HOUR + 200, HOUR + 1_010]);
        assert_eq!(shows(&near, 0, Receiver::Answers), Some(Absence::Certain));
        assert_eq!(shows(&wide, 0, Receiver::Answers), Some(Absence::Likely));
        for (moments, there) in [(&near, 1_000), (&near, 10), (&wide, 1_000)] {
            assert_eq!(
                shows(moments, there, Receiver::Ignores),
                None,
                "a short hole at one moment looks the same"
            );
        }
    }

    #[test]
    fn where_a_listener_ignores_syns_several_moments_show_a_loss() {
        let syn = |n: u64, millis: i64| seen(n, HOUR + millis, Flags::SYN, Some(millis as u32));
        let a = track(vec![syn(1, 0), syn(2, 1_000), syn(3, 3_000), syn(4, 7_000)]);
        let b = track(vec![seen(1, HOUR + 7_010, Flags::SYN, Some(7_000))]);
        let moments: Vec<i64> =
            [0, 1_000, 3_000, 7_000].iter().flat_map(|t| [HOUR + t - 25, HOUR + t + 24]).collect();
        for (there, expected) in [(1_000, Some(Absence::Certain)), (10, None)] {
            let mut far = watch(&moments);
            far.check.there = there;
            let shown = MatchedConnection::new([&a, &b], TRIP, [&CaptureCoverage::default(), &far], 0)
                .shows_loss(0, 0, Receiver::Ignores);
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn bytes_in_another_packet_have_passed() {
        let data = |number, at, seq, payload| TracedSegment {
            seq: Seq(seq),
            payload,
            ..seen(number, at, Flags::ACK, Some(9))
        };
        let a = track(vec![data(1, HOUR, 100, 3_000)]);
        let b = track(vec![data(1, HOUR, 100, 1_500), data(2, HOUR, 1_600, 1_500)]);
        let watch = watch(&[0, HOUR]);
        let p = MatchedConnection::new([&a, &b], TRIP, [&watch, &watch], 0);
        assert!(p.passed(0, 0) && p.passed(1, 1) && p.other(0, 0).is_none());
    }
}
