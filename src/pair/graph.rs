//! The clocks of all capture points by the clock of one of them: the links between points are a graph, solved once.
//!
//! Along the links with the least uncertainty every point is brought to the reference (Dijkstra). Where links close a
//! circle they contradict each other a little. Then least squares share that out, each link weighted by its certainty.
//! Without a circle nothing is left to share out, and two points have exactly the clock of their link.

use std::collections::{BTreeMap, BTreeSet};

use crate::pair::clock::ClockOffset;
use crate::time::{Span, Timestamp};

/// A link without a known uncertainty counts as uncertain as this.
const UNKNOWN: Span = Span::secs(10);
/// Rounds of the relaxation that solves the least squares.
const ROUNDS: usize = 200;

/// The clocks between points: for the places of two of them, the time of the first in terms of the second.
pub type PointClocks = BTreeMap<(usize, usize), ClockOffset>;

/// The time of each of `points` in terms of the point `reference`; none of a point that no link connects with it.
pub fn solve(points: usize, between: &PointClocks, reference: usize) -> Vec<Option<ClockOffset>> {
    let mut clocks = along_the_surest_links(points, between, reference);
    share_out(&mut clocks, between, reference);
    clocks
}

/// The time of `from` in terms of `to`, by a link in either direction.
fn step(between: &PointClocks, from: usize, to: usize) -> Option<ClockOffset> {
    between.get(&(from, to)).copied().or_else(|| Some(between.get(&(to, from))?.inverse()))
}

fn uncertainty(clock: &ClockOffset) -> Span {
    clock.uncertainty.unwrap_or(UNKNOWN)
}

fn neighbours(points: usize, between: &PointClocks) -> Vec<BTreeSet<usize>> {
    let mut all = vec![BTreeSet::new(); points];
    for &(a, b) in between.keys() {
        all[a].insert(b);
        all[b].insert(a);
    }
    all
}

fn along_the_surest_links(
    points: usize,
    between: &PointClocks,
    reference: usize,
) -> Vec<Option<ClockOffset>> {
    let neighbours = neighbours(points, between);
    let mut clocks: Vec<Option<ClockOffset>> = vec![None; points];
    let mut due = BTreeMap::from([((Span::ZERO, reference), ClockOffset::default())]);
    while let Some(((sum, point), clock)) = due.pop_first() {
        if clocks[point].is_some() {
            continue;
        }
        clocks[point] = Some(clock);
        for &next in neighbours[point].iter().filter(|&&next| clocks[next].is_none()) {
            let Some(link) = step(between, next, point) else { continue };
            let sum = Span(sum.0.saturating_add(uncertainty(&link).0));
            due.entry((sum, next)).or_insert(if point == reference { link } else { link.then(&clock) });
        }
    }
    clocks
}

/// By how much a link contradicts the clocks that two points have so far.
struct Contradiction {
    ends: (usize, usize),
    weight: f64,
    /// By how much the second one's clock would have to be later, nanoseconds.
    offset: f64,
    /// The same for the drift.
    drift: f64,
}

fn share_out(clocks: &mut [Option<ClockOffset>], between: &PointClocks, reference: usize) {
    let Some(epoch) = between.values().map(|link| link.origin).min() else { return };
    let mut links = Vec::new();
    for (&ends, link) in between {
        let (Some(a), Some(b)) = (clocks[ends.0], clocks[ends.1]) else { continue };
        let through = b.there(link.there(epoch)) - a.there(epoch);
        let tolerable = uncertainty(link).0.max(1_000) as f64;
        links.push(Contradiction {
            ends,
            weight: 1.0 / (tolerable * tolerable),
            offset: through.0 as f64,
            drift: (link.drift + b.drift - a.drift) as f64,
        });
    }
    // In a tree only rounding errors would be left to share out.
    if links.iter().all(|link| link.offset.abs() < 100.0 && link.drift.abs() < 2.0) {
        return;
    }
    let offsets = relax(clocks.len(), &links, reference, |link| link.offset);
    let drifts = relax(clocks.len(), &links, reference, |link| link.drift);
    for (clock, (offset, drift)) in clocks.iter_mut().zip(offsets.into_iter().zip(drifts)) {
        let Some(clock) = clock else { continue };
        let (offset, drift) = (offset.round() as i64, drift.round() as i64);
        // The correction holds at the epoch; the clock's own origin lies elsewhere.
        let since = i128::from((clock.origin - epoch).0) * i128::from(drift) / 1_000_000_000;
        let offset = offset.saturating_add(since.clamp(i64::MIN.into(), i64::MAX.into()) as i64);
        clock.offset = Span(clock.offset.0.saturating_add(offset));
        clock.drift += drift;
        clock.uncertainty = clock.uncertainty.map(|u| Span(u.0.saturating_add(offset.saturating_abs())));
    }
}

/// The corrections with the least squares of what remains (Gauss and Seidel); none for the reference.
fn relax(
    points: usize,
    links: &[Contradiction],
    reference: usize,
    of: impl Fn(&Contradiction) -> f64,
) -> Vec<f64> {
    let mut by_point: Vec<Vec<(usize, f64, f64)>> = vec![Vec::new(); points];
    for link in links {
        let (a, b) = link.ends;
        by_point[a].push((b, link.weight, of(link)));
        by_point[b].push((a, link.weight, -of(link)));
    }
    let mut corrections = vec![0.0; points];
    for _ in 0..ROUNDS {
        for point in (0..points).filter(|&point| point != reference && !by_point[point].is_empty()) {
            let (mut sum, mut weights) = (0.0, 0.0);
            for (other, weight, contradiction) in &by_point[point] {
                sum += weight * (corrections[*other] + contradiction);
                weights += weight;
            }
            corrections[point] = sum / weights;
        }
    }
    corrections
}

impl ClockOffset {
    /// The time of the second capture in terms of the first one.
    pub fn inverse(&self) -> ClockOffset {
        let billion = 1_000_000_000_i128;
        let drift = -i128::from(self.drift) * billion / (billion + i128::from(self.drift));
        ClockOffset {
            origin: self.there(self.origin),
            offset: Span(self.offset.0.saturating_neg()),
            drift: drift as i64,
            ..*self
        }
    }

    /// From the first capture to the second one, then by `next` to a third one.
    pub fn then(&self, next: &ClockOffset) -> ClockOffset {
        let sum = |a: Option<Span>, b: Option<Span>| Some(Span(a?.0.saturating_add(b?.0)));
        let both = i128::from(self.drift) * i128::from(next.drift) / 1_000_000_000;
        let there: Timestamp = next.there(self.there(self.origin));
        ClockOffset {
            origin: self.origin,
            offset: there - self.origin,
            drift: self.drift + next.drift + both as i64,
            uncertainty: sum(self.uncertainty, next.uncertainty),
            round_trip: sum(self.round_trip, next.round_trip),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BEGIN: Timestamp = Timestamp(1_700_000_000_000_000_000);

    /// The link between two clocks that are this much ahead of the true time and run this much too fast, read with an
    /// error.
    fn link(a: (i64, i64), b: (i64, i64), error: i64, uncertainty: i64) -> ClockOffset {
        let own = |(ahead, drift): (i64, i64)| ClockOffset {
            origin: BEGIN,
            offset: Span(ahead),
            drift,
            uncertainty: Some(Span(uncertainty / 2)),
            round_trip: Some(Span(uncertainty)),
        };
        let mut link = own(a).inverse().then(&own(b));
        link.offset = Span(link.offset.0 + error);
        link
    }

    #[test]
    fn two_points_have_the_clock_of_their_link() {
        let one = link((0, 0), (7_000_000_123, 40_000), 0, 1_000_000);
        let clocks = solve(2, &PointClocks::from([((0, 1), one)]), 1);
        assert_eq!(clocks, [Some(one), Some(ClockOffset::default())]);
    }

    #[test]
    fn points_without_a_link_have_no_clock() {
        let one = link((0, 0), (5, 0), 0, 10);
        assert_eq!(solve(3, &PointClocks::from([((0, 1), one)]), 1)[2], None);
    }

    #[test]
    fn links_that_contradict_each_other_are_weighed() {
        let truth = [(0, 0); 3];
        // The direct link is ten times as certain as either half of the way round.
        let between = PointClocks::from([
            ((0, 1), link(truth[0], truth[1], 30_000_000, 100_000_000)),
            ((1, 2), link(truth[1], truth[2], 30_000_000, 100_000_000)),
            ((0, 2), link(truth[0], truth[2], 0, 10_000_000)),
        ]);
        let clocks = solve(3, &between, 2);
        let error = |n: usize| clocks[n].map_or(i64::MAX, |c| (c.there(BEGIN) - BEGIN).0.abs());
        assert!(error(0) < 1_000_000, "{clocks:?}");
        assert!(error(1) < 2_000_000, "{clocks:?}");
    }

    proptest! {
        #[test]
        fn every_clock_is_found_within_its_uncertainty(
            ahead in proptest::collection::vec(-3_600_000_000_000_i64..3_600_000_000_000, 5),
            drift in proptest::collection::vec(-100_000_i64..100_000, 5),
            errors in proptest::collection::vec(-500_000_i64..500_000, 6),
        ) {
            let truth: Vec<(i64, i64)> = ahead.into_iter().zip(drift).collect();
            // A client and a second one, a balancer, two servers, and a link that closes a circle.
            let ends = [(0, 2), (1, 2), (2, 3), (2, 4), (0, 3), (1, 4)];
            let between: PointClocks = ends
                .iter()
                .zip(&errors)
                .map(|(&(a, b), &error)| ((a, b), link(truth[a], truth[b], error, 1_000_000)))
                .collect();
            let clocks = solve(5, &between, 2);
            for (n, clock) in clocks.iter().enumerate() {
                let clock = clock.expect("all are connected");
                let to_reference = link(truth[n], truth[2], 0, 0);
                for after in [0, 600] {
                    let at = to_reference.origin + Span::secs(after);
                    let error = (clock.there(at) - to_reference.there(at)).0.abs();
                    let allowed = clock.uncertainty.map_or(0, |u| u.0) + 2_000 + 2 * after;
                    prop_assert!(error <= allowed, "{n} after {after} s: {error} > {allowed}");
                }
            }
        }
    }
}
