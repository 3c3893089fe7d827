//! One connection at all points that saw it: at which of them each packet was seen last, and between which two it vanished.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use crate::decode::segment::Flags;
use crate::detect::Draft;
use crate::detect::draft::PointsPassed;
use crate::detect::registry;
use crate::detect::spec::IgnoredPackets;
use crate::model::{PacketPoints, Route};
use crate::pair::packet_match::{Absence, CaptureCoverage, MatchedConnection, MissingBetween};
use crate::pair::points::Points;
use crate::pair::trace::Track;

/// Where one packet was seen. Places are those among the points of its connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PacketPath {
    /// Where it was seen, in the direction in which it went.
    pub seen: Vec<usize>,
    /// The next point on its way, which lacks the packet although it should have it, and how certain that is.
    pub missing: Option<(usize, Absence)>,
    /// The point before the first one that has the packet, which should have it and lacks it: the packet was sent
    /// between the two.
    pub unsent: Option<usize>,
}

/// A connection at all points that saw it.
pub struct ConnectionPath<'a> {
    points: &'a Points,
    names: &'a [String],
    /// The points and their tracks, the one nearest to the client first.
    seen: Vec<(usize, &'a Track)>,
    watches: &'a [CaptureCoverage],
    passages: RefCell<HashMap<(usize, usize), Rc<MatchedConnection<'a>>>>,
}

impl<'a> ConnectionPath<'a> {
    /// A connection that these points saw, the one nearest to the client first.
    pub fn new(
        points: &'a Points,
        names: &'a [String],
        seen: Vec<(usize, &'a Track)>,
        watches: &'a [CaptureCoverage],
    ) -> ConnectionPath<'a> {
        ConnectionPath { points, names, seen, watches, passages: RefCell::default() }
    }

    /// The packets at two of the points, compared.
    fn passage(&self, a: usize, b: usize) -> Rc<MatchedConnection<'a>> {
        let made = || {
            let [(x, one), (y, other)] = [self.seen[a], self.seen[b]];
            let watches = [&self.watches[x], &self.watches[y]];
            Rc::new(MatchedConnection::new(
                [one, other],
                self.points.round_trip(x, y),
                watches,
                usize::from(a > b),
            ))
        };
        Rc::clone(self.passages.borrow_mut().entry((a, b)).or_insert_with(made))
    }

    /// Follows the packet at this place of one point.
    pub fn follow(&self, at: usize, place: usize) -> PacketPath {
        let by_client = self.seen[at].1.segments[place].by_client;
        let mut way: Vec<usize> = (0..self.seen.len()).collect();
        if !by_client {
            way.reverse();
        }
        let has = |&point: &usize| point == at || self.passage(at, point).passed(0, place);
        let seen: Vec<usize> = way.iter().copied().filter(has).collect();
        let lacks = |point: Option<&usize>| {
            let point = *point?;
            let absence = self.passage(at, point).absence(0, place)?;
            matches!(absence, Absence::Certain | Absence::Likely).then_some((point, absence))
        };
        let position = |point: Option<&usize>| way.iter().position(|other| Some(other) == point);
        let missing = position(seen.last()).and_then(|last| lacks(way.get(last + 1)));
        let before = position(seen.first()).and_then(|first| lacks(way.get(first.checked_sub(1)?)));
        let unsent = before.map(|(point, _)| point);
        PacketPath { seen, missing, unsent }
    }

    /// Segments of a point at one end that the next point on their way lacks, where that point is not the other end.
    pub fn missing_between(&self, at: usize) -> MissingBetween {
        let other = if at == 0 { self.seen.len() - 1 } else { 0 };
        let lost = |place: usize| {
            if self.seen.len() < 3 || self.passage(at, other).passed(0, place) {
                return None;
            }
            let (missing, absence) = self.follow(at, place).missing?;
            (missing != other).then_some((place, absence))
        };
        (0..self.seen[at].1.segments.len()).filter_map(lost).collect()
    }

    fn name(&self, place: usize) -> String {
        self.names[self.seen[place].0].clone()
    }

    /// Between which two points a packet vanished, the one nearer to its sender first; none where there are only two.
    pub fn lost_between(&self, at: usize, place: usize) -> Option<[String; 2]> {
        (self.seen.len() > 2).then_some(())?;
        self.lost(&self.follow(at, place))
    }

    /// Between which two points a packet was sent in the name of an end; none where there are only two.
    pub fn sent_between(&self, at: usize, place: usize) -> Option<[String; 2]> {
        (self.seen.len() > 2).then_some(())?;
        self.sent(&self.follow(at, place))
    }

    fn lost(&self, journey: &PacketPath) -> Option<[String; 2]> {
        Some([self.name(*journey.seen.last()?), self.name(journey.missing?.0)])
    }

    fn sent(&self, journey: &PacketPath) -> Option<[String; 2]> {
        Some([self.name(journey.unsent?), self.name(*journey.seen.first()?)])
    }

    /// Notes in a finding which points its packets passed, if the points have names.
    pub fn describe(&self, d: &mut Draft) {
        if self.points.all[self.seen[0].0].name.is_none() {
            return;
        }
        let mut lost: BTreeMap<[String; 2], u64> = BTreeMap::new();
        let (mut sent, mut packets) = (None, Vec::new());
        for (packet, _) in d.evidence() {
            let at = (0..self.seen.len()).find_map(|n| Some((n, self.seen[n].1.place(packet.packet)?)));
            let Some((at, place)) = at else { continue };
            let journey = self.follow(at, place);
            if let Some(hop) = self.lost(&journey) {
                *lost.entry(hop).or_default() += 1;
            }
            if self.seen[at].1.segments[place].flags.has(Flags::RST) {
                sent = sent.or_else(|| self.sent(&journey));
            }
            let names = |places: &[usize]| places.iter().map(|&place| self.name(place)).collect();
            let points = PacketPoints {
                seen_at: names(&journey.seen),
                missing_at: journey.missing.map(|(place, _)| self.name(place)),
            };
            packets.push((packet.packet, points));
        }
        let most = lost.values().max().copied();
        let lost_between = lost.into_iter().find(|(_, n)| Some(*n) == most).map(|(hop, _)| hop);
        let ignored = registry::spec(d.kind).ignored != IgnoredPackets::Nothing;
        let last = self.name(self.seen.len() - 1);
        let route = Route {
            points: (0..self.seen.len()).map(|place| self.name(place)).collect(),
            reached: (ignored && lost_between.is_none() && sent.is_none()).then_some(last),
            lost_between,
            sent_between: sent,
        };
        d.passed = Some(Box::new(PointsPassed { route, packets }));
    }
}
