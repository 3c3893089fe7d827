//! One connection on both sides, packet by packet: which packet of one is which of the other, and which has none.

use crate::flow::facts::PacketRef;
use crate::pair::clock::Clock;
use crate::pair::trace::{HEAD, Seen, Track};
use crate::time::{Span, Timestamp};

/// Packets that nothing but their time tells apart (no timestamps, no IP ID) are the same if they are this near, beyond
/// what the path takes: the first retransmission comes a second later.
const NEAR: Span = Span::millis(450);
/// Packets with the same timestamp or IP ID are the same if they are this near: the path may hold them up that long.
const LATE: Span = Span::secs(30);
/// What a packet may take longer than the quickest one and still have been due before the end of a capture.
const SLACK: Span = Span::millis(200);

/// What one side's capture as a whole allows to say.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    /// Its first and last packet.
    pub from: Timestamp,
    /// See `from`.
    pub to: Timestamp,
    /// It has lost packets itself, or cut them too short.
    pub lossy: bool,
    /// It holds more than SYNs, FINs and RSTs: nobody has filtered it down to those.
    pub plain: bool,
    /// Its place on the command line.
    pub place: u16,
}

/// A connection that both sides have.
pub struct Passage<'a> {
    /// What each side saw.
    pub tracks: [&'a Track; 2],
    /// For each segment of a side its place in the other's.
    same: [Vec<Option<usize>>; 2],
    /// Those that were carried in another packet: offloading cuts and joins segments.
    carried: [Vec<bool>; 2],
    clock: Clock,
    watches: [Watch; 2],
}

/// Why a packet is not in the other capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absence {
    /// The capture was running, before it and after it.
    Certain,
    /// The capture may have begun only then, or has lost packets itself.
    Doubtful,
}

impl<'a> Passage<'a> {
    /// Compares two tracks; `clock` is the time of side 0 in terms of side 1.
    pub fn new(tracks: [&'a Track; 2], clock: Clock, watches: [Watch; 2]) -> Passage<'a> {
        let [a, b] = [&tracks[0].segments, &tracks[1].segments];
        let mut same = [vec![None; a.len()], vec![None; b.len()]];
        let trip = clock.round_trip.unwrap_or(Span::ZERO);
        for exact in [true, false] {
            for (i, x) in a.iter().enumerate() {
                if same[0][i].is_some() {
                    continue;
                }
                let due = clock.there(x.at.time);
                let free =
                    b.iter().enumerate().filter(|(j, y)| same[1][*j].is_none() && is_same(x, y, exact));
                let apart = |y: &Seen| Span((y.at.time - due).0.saturating_abs());
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
        Passage { tracks, same, carried, clock, watches }
    }

    /// The segment on the other side that is the one at `place` on `side`.
    pub fn other(&self, side: usize, place: usize) -> Option<&'a Seen> {
        self.same[side][place].map(|j| &self.tracks[1 - side].segments[j])
    }

    /// Whether the other side has it, or its octets in another packet.
    pub fn passed(&self, side: usize, place: usize) -> bool {
        self.same[side][place].is_some() || self.carried[side][place]
    }

    /// When a packet of `side` is due on the other one, by the other one's clock.
    pub fn due(&self, side: usize, place: usize) -> Timestamp {
        let at = self.tracks[side].segments[place].at.time;
        if side == 0 { self.clock.there(at) } else { self.clock.back(at) }
    }

    /// Whether the other side should have the segment at `place` and has not; none if it has, or need not have.
    pub fn absence(&self, side: usize, place: usize) -> Option<Absence> {
        if self.passed(side, place) {
            return None;
        }
        let (segment, watch) = (&self.tracks[side].segments[place], self.watches[1 - side]);
        let other = self.tracks[1 - side];
        let due = self.due(side, place);
        let trip = self.clock.round_trip.unwrap_or(Span::ZERO);
        if due + trip + SLACK > watch.to {
            return None;
        }
        // What lies in the middle of a long connection was not kept.
        let early = self.tracks[side].segments[..place].iter().filter(|s| !s.is_control()).count() < HEAD / 2;
        if !segment.is_control() && other.cut && !early {
            return None;
        }
        if !segment.is_control() && !watch.plain {
            return None;
        }
        // One direction alone was captured there.
        if !other.segments.iter().any(|s| s.by_client == segment.by_client) {
            return None;
        }
        let began = due >= watch.from;
        Some(if began && !watch.lossy { Absence::Certain } else { Absence::Doubtful })
    }

    /// A packet with its time by the clock of side 1, in which the findings of a pair are written.
    pub fn mark(&self, side: usize, place: usize) -> PacketRef {
        let at = self.tracks[side].segments[place].at;
        if side == 0 { PacketRef { time: self.clock.there(at.time), ..at } } else { at }
    }

    /// Whether the side's capture has lost packets itself.
    pub fn is_lossy(&self, side: usize) -> bool {
        self.watches[side].lossy
    }

    /// The place on the command line of the capture of a side.
    pub fn capture(&self, side: usize) -> u16 {
        let first = self.tracks[side].segments.first();
        first.map_or(self.watches[side].place, |s| s.at.packet.capture())
    }
}

/// Whether more than its time tells a packet from one sent again.
fn is_marked(s: &Seen) -> bool {
    s.ip_id != 0 || s.stamps.is_some()
}

fn is_same(a: &Seen, b: &Seen, exact: bool) -> bool {
    let stamped = match (a.stamps, b.stamps) {
        (Some(x), Some(y)) => x == y,
        // Cut off on one side, or taken out on the way.
        _ => true,
    };
    let fields = a.by_client == b.by_client
        && a.seq == b.seq
        && a.ack == b.ack
        && a.flags == b.flags
        && a.payload == b.payload;
    fields && stamped && (!exact || a.ip_id == b.ip_id)
}

/// Whether payload of `a` is in `b`, which may be cut otherwise: the same timestamp, and octets in common.
fn carries(a: &Seen, b: &Seen) -> bool {
    let overlap = |from: &Seen, other: &Seen| {
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
    use crate::decode::segment::{Flags, PacketId};
    use crate::seq::Seq;

    fn seen(number: u64, millis: i64, flags: u8, tsval: Option<u32>) -> Seen {
        Seen {
            at: PacketRef { time: Timestamp(0) + Span::millis(millis), packet: PacketId::new(0, number) },
            by_client: flags != Flags::SYN | Flags::ACK,
            seq: Seq(1),
            ack: Seq(0),
            flags: Flags(flags),
            payload: 0,
            stamps: tsval.map(|v| (v, 0)),
            ip_id: 0,
        }
    }

    fn track(segments: Vec<Seen>) -> Track {
        Track { segments, ..Track::default() }
    }

    /// The second capture's clock is an hour ahead, and the path takes 10 ms.
    fn clock() -> Clock {
        Clock { offset: Span::secs(3_600), round_trip: Some(Span::millis(20)), ..Clock::default() }
    }

    fn watches() -> [Watch; 2] {
        let end = Timestamp(0) + Span::secs(90_000);
        let watch = Watch { from: Timestamp::MIN, to: end, lossy: false, plain: true, place: 0 };
        [watch, Watch { place: 1, ..watch }]
    }

    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_syn_that_was_lost_is_the_one_without_its_timestamp() {
        let a = track(vec![seen(1, 0, Flags::SYN, Some(5)), seen(2, 1_000, Flags::SYN, Some(1_005))]);
        let b = track(vec![seen(1, HOUR + 1_010, Flags::SYN, Some(1_005))]);
        let p = Passage::new([&a, &b], clock(), watches());
        assert_eq!((p.absence(0, 0), p.absence(0, 1)), (Some(Absence::Certain), None));
        assert_eq!(p.other(1, 0).unwrap().at.packet.number(), 2);
    }

    #[test]
    fn without_timestamps_the_time_tells() {
        let a = track(vec![seen(1, 0, Flags::SYN, None), seen(2, 1_000, Flags::SYN, None)]);
        let b = track(vec![seen(1, HOUR + 1_010, Flags::SYN, None)]);
        let p = Passage::new([&a, &b], clock(), watches());
        assert_eq!((p.absence(0, 0), p.absence(0, 1)), (Some(Absence::Certain), None));
    }

    #[test]
    fn nothing_is_missing_where_nobody_watched() {
        let a = track(vec![seen(1, 0, Flags::SYN, Some(5)), seen(2, 1_000, Flags::SYN, Some(1_005))]);
        let b = track(vec![seen(1, HOUR + 1_010, Flags::SYN, Some(1_005))]);
        let with = |change: fn(&mut Watch)| {
            let mut all = watches();
            change(&mut all[1]);
            Passage::new([&a, &b], clock(), all).absence(0, 0)
        };
        assert_eq!(with(|w| w.lossy = true), Some(Absence::Doubtful));
        assert_eq!(with(|w| w.from = Timestamp(0) + Span::millis(HOUR + 1_010)), Some(Absence::Doubtful));
        assert_eq!(with(|w| w.to = Timestamp(0) + Span::millis(HOUR)), None);
        let one_way = track(vec![seen(1, HOUR + 1_012, Flags::SYN | Flags::ACK, Some(7))]);
        assert_eq!(Passage::new([&a, &one_way], clock(), watches()).absence(0, 0), None);
    }

    #[test]
    fn octets_in_another_packet_have_passed() {
        let data = |number, at, seq, payload| Seen {
            seq: Seq(seq),
            payload,
            ..seen(number, at, Flags::ACK, Some(9))
        };
        let a = track(vec![data(1, 0, 100, 3_000)]);
        let b = track(vec![data(1, HOUR, 100, 1_500), data(2, HOUR, 1_600, 1_500)]);
        let p = Passage::new([&a, &b], clock(), watches());
        assert!(p.passed(0, 0) && p.passed(1, 1) && p.other(0, 0).is_none());
    }
}
