//! Times of a report for human eyes: UTC, the date only where it is needed.

use crate::time::{Span, Timestamp};

/// Reads a time as the report writes it (RFC 3339); `None` for anything else.
pub fn parse(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok().map(Timestamp)
}

/// How the times of one report are written: with the date when they lie on several days.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    dated: bool,
}

/// Digits after the second.
#[derive(Clone, Copy, Debug)]
enum Fraction {
    None,
    Millis,
}

impl Clock {
    /// A clock for all of `times`, RFC 3339 each.
    pub fn new<'a>(times: impl IntoIterator<Item = &'a str>) -> Clock {
        let mut days = times.into_iter().filter_map(parse).map(|time| time.seconds().div_euclid(86_400));
        let first = days.next();
        Clock { dated: days.any(|day| Some(day) != first) }
    }

    /// `14:03:07`, with the date before it where the report spans days.
    pub fn second(self, time: &str) -> String {
        self.written(time, Fraction::None)
    }

    /// `14:03:07.001`, with the date before it where the report spans days.
    pub fn milli(self, time: &str) -> String {
        self.written(time, Fraction::Millis)
    }

    /// `14:03:07-14:03:52 UTC`, one time only where both fall into one second.
    pub fn interval(self, first: &str, last: &str) -> String {
        if self.dated {
            return range(first, last);
        }
        let (first, last) = (self.second(first), self.second(last));
        if first == last { format!("{first} UTC") } else { format!("{first}-{last} UTC") }
    }

    /// The date of `time` where the report spans days, and the clock that leaves it out: for a column of times that has
    /// its date at the head.
    pub fn dateless(self, time: &str) -> (Option<String>, Clock) {
        let day = parse(time).filter(|_| self.dated).map(|time| time.to_string());
        (day.map(|text| text.split('T').next().unwrap_or_default().to_owned()), Clock { dated: false })
    }

    fn written(self, time: &str, fraction: Fraction) -> String {
        let Some(parsed) = parse(time) else { return time.to_owned() };
        let text = parsed.to_string();
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

/// `2026-11-22 14:02:11 to 14:05:44 UTC`: with the date, the second one only where it is another.
pub fn range(first: &str, last: &str) -> String {
    let dated = Clock { dated: true };
    let plain = Clock { dated: false };
    let (from, to) = (dated.second(first), dated.second(last));
    if from == to {
        format!("{from} UTC")
    } else if from.get(..10) == to.get(..10) {
        format!("{from} to {} UTC", plain.second(last))
    } else {
        format!("{from} to {to} UTC")
    }
}

/// The time between two moments of the report; `None` when one of them cannot be read.
pub fn between(first: &str, last: &str) -> Option<Span> {
    Some(parse(last)?.since(parse(first)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "2026-11-22T14:03:07.001500000Z";
    const B: &str = "2026-11-22T14:03:52.900000000Z";
    const NEXT_DAY: &str = "2026-11-23T00:00:01.000000000Z";

    #[test]
    fn one_day_needs_no_date() {
        let clock = Clock::new([A, B]);
        assert_eq!(clock.milli(A), "14:03:07.001");
        assert_eq!(clock.interval(A, B), "14:03:07-14:03:52 UTC");
        assert_eq!(clock.interval(A, A), "14:03:07 UTC");
        assert_eq!(range(A, B), "2026-11-22 14:03:07 to 14:03:52 UTC");
    }

    #[test]
    fn several_days_show_their_dates() {
        let clock = Clock::new([A, NEXT_DAY]);
        assert_eq!(clock.interval(A, NEXT_DAY), "2026-11-22 14:03:07 to 2026-11-23 00:00:01 UTC");
        assert_eq!(clock.interval(A, B), "2026-11-22 14:03:07 to 14:03:52 UTC");
        assert_eq!(clock.interval(A, A), "2026-11-22 14:03:07 UTC");
        let (day, dateless) = clock.dateless(A);
        assert_eq!((day.as_deref(), dateless.milli(A).as_str()), (Some("2026-11-22"), "14:03:07.001"));
        assert_eq!(Clock::new([A, B]).dateless(A).0, None);
        assert_eq!(clock.dateless("soon or later").0, None);
        assert_eq!(range(A, NEXT_DAY), "2026-11-22 14:03:07 to 2026-11-23 00:00:01 UTC");
    }

    #[test]
    fn offsets_are_turned_into_utc() {
        assert_eq!(Clock::new([A]).milli("2026-11-22T15:03:07.001+01:00"), "14:03:07.001");
        assert_eq!(between(A, "2026-11-22T15:03:08.001500+01:00"), Some(Span::secs(1)));
    }

    #[test]
    fn what_is_no_time_is_printed_as_it_stands() {
        assert_eq!(Clock::new([A]).milli("soon"), "soon");
        assert_eq!(between(A, "soon"), None);
    }
}
