//! How the clocks of two captures differ, from the packets that both hold.
//!
//! A packet that passes the client's side first is seen there a delay earlier, by another clock: `t_s - t_c` is the
//! offset plus the delay for a SYN, the offset minus the delay for a SYN-ACK. Half of the sum of the two is the offset,
//! if both directions take the same time (RFC 5905 section 8); the handshake with the shortest round trip errs least,
//! and by no more than half of that round trip.

use crate::time::{Span, Timestamp};

/// One handshake that both captures hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockSample {
    /// When the nearer capture of the two saw the packet, by its own clock.
    pub at: Timestamp,
    /// The other capture's time of a packet on its way there, minus this one's.
    pub there: Option<Span>,
    /// The other capture's time of a packet on its way back, minus this one's.
    pub back: Option<Span>,
}

impl ClockSample {
    /// Both delays together: what the two clocks say of one handshake does not depend on their offset.
    pub fn round_trip(&self) -> Option<Span> {
        Some(self.there? - self.back?)
    }
}

/// The time of one capture in terms of another's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct ClockOffset {
    /// A time by the first capture's clock at which `offset` holds.
    pub origin: Timestamp,
    /// How far the second capture's clock is ahead of the first one's.
    pub offset: Span,
    /// How fast that difference grows, nanoseconds per second.
    pub drift: i64,
    /// The offset errs by no more than this; `None` when only one direction was captured.
    pub uncertainty: Option<Span>,
    /// The shortest round trip between the two; `None` when only one direction was captured.
    pub round_trip: Option<Span>,
}

/// Time intervals, in each of which the handshake with the shortest round trip is chosen.
const STRETCHES: i64 = 64;
/// A drift is believed from this many intervals on.
const BELIEVED: usize = 4;
/// Over a shorter time than this no drift can be seen.
const LONG: Span = Span::secs(10);
/// No two clocks drift apart faster than this (1,000 ppm): a larger drift has another reason.
const FASTEST: i64 = 1_000_000;

impl ClockOffset {
    /// Reads the clock from `samples`; none without a sample.
    pub fn of(samples: &[ClockSample]) -> Option<ClockOffset> {
        let origin = samples.iter().map(|s| s.at).min()?;
        let drift = drift(samples).unwrap_or(0);
        let straight = ClockOffset { origin, drift, ..ClockOffset::default() };
        let rest =
            |s: &ClockSample, difference: Option<Span>| difference.map(|d| d - straight.since_origin(s.at));
        let shortest =
            samples.iter().filter_map(ClockSample::round_trip).filter(|trip| *trip >= Span::ZERO).min();
        let there = samples.iter().filter_map(|s| rest(s, s.there)).min();
        let back = samples.iter().filter_map(|s| rest(s, s.back)).max();
        Some(match (there, back) {
            (Some(there), Some(back)) => {
                let round_trip = there - back;
                ClockOffset {
                    offset: Span(midpoint(there.0, back.0)),
                    // A negative round trip means that a clock was set meanwhile: the uncertainty grows by as much.
                    uncertainty: Some(Span((round_trip.0 / 2).abs().max(1_000))),
                    round_trip: shortest,
                    ..straight
                }
            }
            (one, other) => ClockOffset { offset: one.or(other)?, ..straight },
        })
    }

    /// By how much the offset has grown at `at`, a time of the first capture.
    fn since_origin(&self, at: Timestamp) -> Span {
        Span((i128::from((at - self.origin).0) * i128::from(self.drift) / 1_000_000_000) as i64)
    }

    /// A time of the first capture by the second one's clock.
    pub fn there(&self, at: Timestamp) -> Timestamp {
        at + self.offset + self.since_origin(at)
    }

    /// The first time of the first capture that is not before `limit` by the second one's clock.
    pub fn first_since(&self, limit: Timestamp) -> Timestamp {
        let mut at = self.back(limit);
        while self.there(at) < limit && at < Timestamp::MAX {
            at = at + Span(1);
        }
        while at > Timestamp::MIN && self.there(at + Span(-1)) >= limit {
            at = at + Span(-1);
        }
        at
    }

    /// A time of the second capture by the first one's clock.
    pub fn back(&self, at: Timestamp) -> Timestamp {
        let since = i128::from((at - self.origin).0) - i128::from(self.offset.0);
        // While this clock moves by a second, the second one moves by a second and the drift.
        let own = since * 1_000_000_000 / (1_000_000_000 + i128::from(self.drift));
        self.origin + Span(own.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }
}

/// The middle of two numbers, without overflow.
fn midpoint(a: i64, b: i64) -> i64 {
    ((i128::from(a) + i128::from(b)).div_euclid(2)) as i64
}

/// How fast the clocks drift apart, nanoseconds per second: the median of the slopes between the best handshakes of
/// `STRETCHES` intervals (Theil and Sen). Slopes that the round trips could cause are ignored.
fn drift(samples: &[ClockSample]) -> Option<i64> {
    let whole: Vec<(Timestamp, Span, i64)> = samples
        .iter()
        .filter_map(|s| Some((s.at, s.round_trip()?, midpoint(s.there?.0, s.back?.0))))
        .collect();
    let from = whole.iter().map(|(at, ..)| *at).min()?;
    let to = whole.iter().map(|(at, ..)| *at).max()?;
    let length = to - from;
    if length < LONG {
        return None;
    }
    let mut best: Vec<Option<(Timestamp, Span, i64)>> = vec![None; STRETCHES as usize];
    for sample in whole {
        let place =
            (i128::from((sample.0 - from).0) * i128::from(STRETCHES - 1) / i128::from(length.0)) as usize;
        let chosen = &mut best[place];
        if chosen.is_none_or(|known| (sample.1, sample.0) < (known.1, known.0)) {
            *chosen = Some(sample);
        }
    }
    let best: Vec<_> = best.into_iter().flatten().collect();
    if best.len() < BELIEVED {
        return None;
    }
    let mut slopes = Vec::new();
    for (n, a) in best.iter().enumerate() {
        for b in &best[n + 1..] {
            let apart = i128::from((b.0 - a.0).0);
            if apart > 0 {
                slopes.push((i128::from(b.2 - a.2) * 1_000_000_000 / apart) as i64);
            }
        }
    }
    slopes.sort_unstable();
    let slope = *slopes.get(slopes.len() / 2)?;
    let mut round_trips: Vec<i64> = best.iter().map(|(_, round_trip, _)| round_trip.0.abs()).collect();
    round_trips.sort_unstable();
    let feigned = round_trips[round_trips.len() / 2].max(50_000);
    let grown = i128::from(slope).abs() * i128::from(length.0) / 1_000_000_000;
    (slope.abs() <= FASTEST && grown > i128::from(feigned)).then_some(slope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Handshakes every 500 ms between captures whose clocks differ by `offset` and part by `drift` ns/s; delays in
    /// microseconds there and back, each with up to `jitter` more.
    fn samples(
        offset: Span,
        drift: i64,
        (there, back): (i64, i64),
        jitter: i64,
        seed: u64,
    ) -> Vec<ClockSample> {
        let mut state = seed | 1;
        let mut random = move |below: i64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if below == 0 { 0 } else { (state >> 33) as i64 % below }
        };
        (0..400)
            .map(|n| {
                let at = Timestamp(1_700_000_000_000_000_000) + Span::millis(500 * n);
                let now = Span(offset.0 + drift * (n / 2));
                ClockSample {
                    at,
                    there: Some(now + Span(1_000 * (there + random(jitter)))),
                    back: Some(now - Span(1_000 * (back + random(jitter)))),
                }
            })
            .collect()
    }

    #[test]
    fn without_samples_there_is_no_clock() {
        assert_eq!(ClockOffset::of(&[]), None);
    }

    #[test]
    fn equal_delays_give_the_offset_exactly() {
        let clock = ClockOffset::of(&samples(Span::secs(7_200), 0, (15_000, 15_000), 0, 1)).unwrap();
        assert_eq!(clock.offset, Span::secs(7_200));
        assert_eq!(clock.round_trip, Some(Span::millis(30)));
        assert_eq!(clock.drift, 0);
    }

    #[test]
    fn an_asymmetric_path_stays_within_the_uncertainty() {
        let clock = ClockOffset::of(&samples(Span::millis(-40), 0, (30_000, 2_000), 500, 3)).unwrap();
        assert!((clock.offset.0 - Span::millis(-40).0).abs() <= clock.uncertainty.unwrap().0);
        assert!(clock.uncertainty.unwrap() <= Span::millis(17));
    }

    #[test]
    fn one_direction_alone_leaves_the_delay_unknown() {
        let mut one = samples(Span::secs(1), 0, (5_000, 5_000), 100, 9);
        one.iter_mut().for_each(|s| s.back = None);
        let clock = ClockOffset::of(&one).unwrap();
        assert_eq!((clock.uncertainty, clock.round_trip), (None, None));
        assert!((clock.offset - Span::secs(1)).0 >= 5_000_000);
    }

    #[test]
    fn the_first_time_since_a_limit_is_the_first() {
        let begin = Timestamp(1_700_000_000_000_000_000);
        for drift in [-400_000, -3, 0, 7, 250_000] {
            let clock =
                ClockOffset { origin: begin, offset: Span::secs(-9), drift, ..ClockOffset::default() };
            for n in 0..500 {
                let limit = begin + Span(7_919 * n);
                let first = clock.first_since(limit);
                assert!(clock.there(first) >= limit && clock.there(first + Span(-1)) < limit, "{drift} {n}");
            }
        }
    }

    #[test]
    fn times_go_there_and_back() {
        let clock = ClockOffset {
            origin: Timestamp(5),
            offset: Span::secs(-9),
            drift: 40_000,
            ..ClockOffset::default()
        };
        let at = Timestamp(1_700_000_000_000_000_000);
        assert!((clock.back(clock.there(at)) - at).0.abs() <= 1);
        let near = ClockOffset { origin: at, ..clock };
        assert!((near.back(near.there(at + Span::secs(60))) - (at + Span::secs(60))).0.abs() <= 1);
    }

    proptest! {
        #[test]
        fn known_offsets_are_found_whatever_the_drift_and_the_jitter(
            offset in -200_000_000_000_000_i64..200_000_000_000_000,
            drift in -100_000_i64..100_000,
            delay in 10_i64..100_000,
            jitter in 0_i64..50_000,
            seed: u64,
        ) {
            let all = samples(Span(offset), drift, (delay, delay), jitter, seed);
            let clock = ClockOffset::of(&all).unwrap();
            for (n, sample) in all.iter().enumerate() {
                let truth = offset + drift * (n as i64 / 2);
                let error = ((clock.there(sample.at) - sample.at).0 - truth).abs();
                // Half of a round trip, and what a drift that does not show adds up to.
                let allowed = 1_000 * (delay + jitter) + 100_000;
                prop_assert!(error <= allowed, "{error} > {allowed} at {n}");
            }
        }

        #[test]
        fn setting_one_clock_changes_the_offset_by_just_that(
            by in -90_000_000_000_000_i64..90_000_000_000_000,
            drift in -100_000_i64..100_000,
            seed: u64,
        ) {
            let all = samples(Span::millis(3), drift, (9_000, 4_000), 3_000, seed);
            let plain = ClockOffset::of(&all).unwrap();
            let set: Vec<ClockSample> = all
                .iter()
                .map(|s| ClockSample {
                    at: s.at + Span(-by),
                    there: s.there.map(|d| d + Span(by)),
                    back: s.back.map(|d| d + Span(by)),
                })
                .collect();
            let moved = ClockOffset::of(&set).unwrap();
            prop_assert_eq!(moved.offset, plain.offset + Span(by));
            prop_assert_eq!((moved.drift, moved.uncertainty), (plain.drift, plain.uncertainty));
        }
    }
}
