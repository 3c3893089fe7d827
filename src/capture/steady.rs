//! The clock of the machine without its steps: times of packets and looks go on when the clock is set back or forward.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::time::{Span, Timestamp};

/// A clock that is off by more than this between two looks at it was set. Slewing is far slower.
const STEP: Span = Span::millis(500);
/// Packets stamped before a step have come by then.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// Both clocks are read within this time, or read again.
const AT_ONCE: Duration = Duration::from_micros(200);
/// How often it is tried, if the machine is busy.
const TRIES: usize = 5;

/// How far the clock of the machine was set since this was made. All callers that ask from time to time see the same
/// steps.
#[derive(Debug)]
pub struct SteadyClock {
    wall: Timestamp,
    steady: Instant,
    /// The correction of its time before the latest step.
    before: Span,
    /// And now.
    offset: Span,
    /// When the latest step was seen.
    stepped: Option<Instant>,
    last: Timestamp,
}

impl Default for SteadyClock {
    fn default() -> SteadyClock {
        let (wall, steady) = both();
        SteadyClock::at(wall, steady)
    }
}

impl SteadyClock {
    fn at(wall: Timestamp, steady: Instant) -> SteadyClock {
        SteadyClock {
            wall,
            steady,
            before: Span::ZERO,
            offset: Span::ZERO,
            stepped: None,
            last: Timestamp::MIN,
        }
    }

    /// Checks the clock; to be called before [`SteadyClock::correct`], a few times a second.
    pub fn look(&mut self) {
        let (wall, steady) = both();
        self.compare(wall, steady);
    }

    fn compare(&mut self, wall: Timestamp, steady: Instant) {
        let elapsed = steady.saturating_duration_since(self.steady).as_nanos();
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        let behind = Span(elapsed.saturating_sub(wall.since(self.wall).0));
        if behind.0.unsigned_abs() > STEP.0.unsigned_abs() {
            self.last = self.last.max(self.wall.after(self.offset));
            self.before = self.offset;
            self.offset = Span(self.offset.0.saturating_add(behind.0));
            self.stepped = Some(steady);
        } else if self.stepped.is_some_and(|at| steady.saturating_duration_since(at) >= UNDER_WAY) {
            self.stepped = None;
        }
        (self.wall, self.steady) = (wall, steady);
    }

    /// The correction added to the clock after it was set. Negative if it was set forward.
    pub fn offset(&self) -> Span {
        self.offset
    }

    /// The corrected time of an event that the clock stamped, in the order of stamping: an event from just before a
    /// step may come after the step.
    pub fn correct(&mut self, time: Timestamp) -> Timestamp {
        let from_last = |offset: Span| time.after(offset).since(self.last).0.unsigned_abs();
        let is_of_before = self.stepped.is_some() && from_last(self.before) < from_last(self.offset);
        let time = time.after(if is_of_before { self.before } else { self.offset });
        self.last = self.last.max(time);
        time
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        wall().after(self.offset)
    }
}

/// The clock that may be set, and the one that may not, at one moment.
fn both() -> (Timestamp, Instant) {
    let mut read = (wall(), Instant::now());
    for _ in 0..TRIES {
        let before = Instant::now();
        read.0 = wall();
        read.1 = Instant::now();
        if read.1.duration_since(before) < AT_ONCE {
            break;
        }
    }
    read
}

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    #[test]
    fn times_go_on_where_the_clock_is_set_back() {
        let begin = Instant::now();
        let after = |seconds: u64| begin + Duration::from_secs(seconds);
        let mut clock = SteadyClock::at(at(10_000), begin);
        clock.compare(at(10_001), after(1));
        assert_eq!(clock.correct(at(10_001)), at(10_001));
        // Set back by an hour between the first and the second second.
        clock.compare(at(6_402), after(2));
        assert_eq!(clock.offset(), Span::secs(3_600));
        assert_eq!(clock.correct(at(10_001)), at(10_001), "stamped before the step");
        assert_eq!(clock.correct(at(6_402)), at(10_002));
        assert_eq!(clock.correct(at(6_403)), at(10_003));
    }

    #[test]
    fn times_go_on_where_the_clock_is_set_forward() {
        let begin = Instant::now();
        let after = |seconds: u64| begin + Duration::from_secs(seconds);
        let mut clock = SteadyClock::at(at(10_000), begin);
        assert_eq!(clock.correct(at(10_000)), at(10_000));
        clock.compare(at(13_601), after(1));
        assert_eq!(clock.offset(), Span::secs(-3_600));
        assert_eq!(clock.correct(at(10_000)), at(10_000), "stamped before the step");
        assert_eq!(clock.correct(at(13_601)), at(10_001));
        // The clock was put right again: times are those of the clock as before.
        clock.compare(at(10_002), after(2));
        assert_eq!(clock.offset(), Span::ZERO);
        assert_eq!(clock.correct(at(13_601)), at(10_001), "stamped before the second step");
        assert_eq!(clock.correct(at(10_002)), at(10_002));
    }

    #[test]
    fn silence_after_a_step_makes_no_other_step() {
        let begin = Instant::now();
        let after = |seconds: u64| begin + Duration::from_secs(seconds);
        let mut clock = SteadyClock::at(at(10_000), begin);
        clock.correct(at(10_000));
        // Set back by 3 s; then nothing comes for as long.
        for second in 1..=3 {
            clock.compare(at(9_997 + second), after(second as u64));
        }
        assert_eq!(clock.correct(at(10_000)), at(10_003));
        assert_eq!(clock.correct(at(10_001)), at(10_004));
    }

    #[test]
    fn slewing_is_no_step() {
        let begin = Instant::now();
        let mut clock = SteadyClock::at(Timestamp(0), begin);
        for second in 1..10_000_u64 {
            clock.compare(Timestamp(second as i64 * 999_500_000), begin + Duration::from_secs(second));
        }
        assert_eq!(clock.offset(), Span::ZERO);
    }
}
