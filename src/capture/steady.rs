//! The clock of the machine without its steps back: times of packets and looks go on where the clock is set back.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::time::{Span, Timestamp};

/// A clock that falls behind by more than this between two looks at it was set back. Slewing is far slower.
const STEP: Span = Span::millis(500);

/// How far the clock of the machine was set back since this was made. Everybody who asks now and then sees the same steps.
#[derive(Debug)]
pub struct SteadyClock {
    wall: Timestamp,
    steady: Instant,
    /// How far it was set back before the latest step.
    before: Span,
    /// And now.
    back: Span,
    last: Timestamp,
}

impl Default for SteadyClock {
    fn default() -> SteadyClock {
        SteadyClock::at(wall(), Instant::now())
    }
}

impl SteadyClock {
    fn at(wall: Timestamp, steady: Instant) -> SteadyClock {
        SteadyClock { wall, steady, before: Span::ZERO, back: Span::ZERO, last: Timestamp::MIN }
    }

    /// Looks at the clock; to be called before [`SteadyClock::correct`], some times a second.
    pub fn look(&mut self) {
        self.compare(wall(), Instant::now());
    }

    fn compare(&mut self, wall: Timestamp, steady: Instant) {
        let elapsed = steady.saturating_duration_since(self.steady).as_nanos();
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        let behind = Span(elapsed.saturating_sub(wall.since(self.wall).0));
        if behind > STEP {
            self.last = self.last.max(self.wall.after(self.back));
            self.before = self.back;
            self.back = Span(self.back.0.saturating_add(behind.0));
        }
        (self.wall, self.steady) = (wall, steady);
    }

    /// How far it was set back in all.
    pub fn set_back(&self) -> Span {
        self.back
    }

    /// The time of something that was stamped by the clock, in the order of stamping: an event stamped just before a
    /// step may come after it.
    pub fn correct(&mut self, time: Timestamp) -> Timestamp {
        let goes_on = self.before != self.back && time.after(self.before).after(STEP) > self.last;
        let time = time.after(if goes_on { self.before } else { self.back });
        self.last = self.last.max(time);
        time
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        wall().after(self.back)
    }
}

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_go_on_where_the_clock_is_set_back() {
        let at = |seconds: i64| Timestamp(seconds * 1_000_000_000);
        let begin = Instant::now();
        let after = |seconds: u64| begin + Duration::from_secs(seconds);
        let mut clock = SteadyClock::at(at(10_000), begin);
        clock.compare(at(10_001), after(1));
        assert_eq!(clock.correct(at(10_001)), at(10_001));
        // Set back by an hour between the first and the second second.
        clock.compare(at(6_402), after(2));
        assert_eq!(clock.set_back(), Span::secs(3_600));
        assert_eq!(clock.correct(at(10_001)), at(10_001), "stamped before the step");
        assert_eq!(clock.correct(at(6_402)), at(10_002));
        assert_eq!(clock.correct(at(6_403)), at(10_003));
        // Forward it may go: the times show it.
        clock.compare(at(10_004), after(4));
        assert_eq!(clock.set_back(), Span::secs(3_600));
    }

    #[test]
    fn slewing_is_no_step() {
        let begin = Instant::now();
        let mut clock = SteadyClock::at(Timestamp(0), begin);
        for second in 1..10_000_u64 {
            clock.compare(Timestamp(second as i64 * 999_500_000), begin + Duration::from_secs(second));
        }
        assert_eq!(clock.set_back(), Span::ZERO);
    }
}
