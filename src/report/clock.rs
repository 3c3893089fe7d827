//! Times of a report for people: UTC, with the date only where it is needed.

use crate::time::Timestamp;

/// How the times of one report are written: with the date when they lie on several days.
#[derive(Clone, Copy, Debug)]
pub struct TimeFormat {
    dated: bool,
}

/// Digits after the second.
#[derive(Clone, Copy, Debug)]
enum Fraction {
    None,
    Millis,
}

impl TimeFormat {
    /// A clock for all of `times`.
    pub fn new(times: impl IntoIterator<Item = Timestamp>) -> TimeFormat {
        let mut days = times.into_iter().map(|time| time.seconds().div_euclid(86_400));
        let first = days.next();
        TimeFormat { dated: days.any(|day| Some(day) != first) }
    }

    /// `14:03:07`, with the date before it where the report spans days.
    pub fn second(self, time: Timestamp) -> String {
        self.written(time, Fraction::None)
    }

    /// `14:03:07.001`, with the date before it where the report spans days.
    pub fn milli(self, time: Timestamp) -> String {
        self.written(time, Fraction::Millis)
    }

    /// `14:03:07-14:03:52 UTC`, one time only where both fall into one second.
    pub fn interval(self, first: Timestamp, last: Timestamp) -> String {
        if self.dated {
            return range(first, last);
        }
        let (first, last) = (self.second(first), self.second(last));
        if first == last { format!("{first} UTC") } else { format!("{first}-{last} UTC") }
    }

    /// The date of `time` if the report spans days, and the clock without dates: for a column of times with its date at
    /// the head.
    pub fn without_date(self, time: Option<Timestamp>) -> (Option<String>, TimeFormat) {
        let day = time.filter(|_| self.dated).map(|time| time.to_string());
        (day.map(|text| text.split('T').next().unwrap_or_default().to_owned()), TimeFormat { dated: false })
    }

    fn written(self, time: Timestamp, fraction: Fraction) -> String {
        let text = time.to_string();
        let text = if self.dated {
            text.replacen('T', " ", 1)
        } else {
            text[text.find('T').map_or(0, |t| t + 1)..].to_owned()
        };
        let point = text.find('.').unwrap_or(text.len());
        match fraction {
            Fraction::None => text[..point].to_owned(),
            Fraction::Millis => text[..text.len().min(point + 4)].to_owned(),
        }
    }
}

/// `2026-11-22 14:02:11 to 14:05:44 UTC`: with the date, and the second date only if it differs.
pub fn range(first: Timestamp, last: Timestamp) -> String {
    let dated = TimeFormat { dated: true };
    let plain = TimeFormat { dated: false };
    let (from, to) = (dated.second(first), dated.second(last));
    if from == to {
        format!("{from} UTC")
    } else if from.get(..10) == to.get(..10) {
        format!("{from} to {} UTC", plain.second(last))
    } else {
        format!("{from} to {to} UTC")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T14:03:07.001500Z.
    const A: Timestamp = Timestamp(1_795_356_187_001_500_000);
    const B: Timestamp = Timestamp(1_795_356_232_900_000_000);
    const NEXT_DAY: Timestamp = Timestamp(1_795_392_001_000_000_000);

    #[test]
    fn one_day_needs_no_date() {
        let clock = TimeFormat::new([A, B]);
        assert_eq!(clock.milli(A), "14:03:07.001");
        assert_eq!(clock.interval(A, B), "14:03:07-14:03:52 UTC");
        assert_eq!(clock.interval(A, A), "14:03:07 UTC");
        assert_eq!(range(A, B), "2026-11-22 14:03:07 to 14:03:52 UTC");
    }

    #[test]
    fn several_days_show_their_dates() {
        let clock = TimeFormat::new([A, NEXT_DAY]);
        assert_eq!(clock.interval(A, NEXT_DAY), "2026-11-22 14:03:07 to 2026-11-23 00:00:01 UTC");
        assert_eq!(clock.interval(A, B), "2026-11-22 14:03:07 to 14:03:52 UTC");
        assert_eq!(clock.interval(A, A), "2026-11-22 14:03:07 UTC");
        let (day, dateless) = clock.without_date(Some(A));
        assert_eq!((day.as_deref(), dateless.milli(A).as_str()), (Some("2026-11-22"), "14:03:07.001"));
        assert_eq!(TimeFormat::new([A, B]).without_date(Some(A)).0, None);
        assert_eq!(clock.without_date(None).0, None);
        assert_eq!(range(A, NEXT_DAY), "2026-11-22 14:03:07 to 2026-11-23 00:00:01 UTC");
    }
}
