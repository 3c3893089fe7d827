//! Capture time: nanoseconds since the Unix epoch inside, RFC 3339 outside.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use jiff::tz::Offset;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in capture time, in nanoseconds since 1970-01-01T00:00:00Z. Covers the years 1677 to 2262.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, JsonSchema)]
#[schemars(from = "String", into = "String", inline)]
pub struct Timestamp(pub i64);

/// A signed distance between two [`Timestamp`]s, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Span(pub i64);

impl Timestamp {
    /// The earliest time that can be written.
    pub const MIN: Timestamp = Timestamp(i64::MIN);
    /// The latest time that can be written.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// Whole seconds since the epoch, rounded down, as the kernel's `get_seconds()` counts.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// This time plus `span`, limited to the range instead of wrapping.
    pub fn after(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_add(span.0))
    }

    /// RFC 3339 in UTC with nine digits of fraction. Reports hold thousands of times; jiff's own formatting takes four times
    /// as long. `None` outside of its years -9999 to 9999, where no `i64` of nanoseconds lies.
    fn rfc_3339(self) -> Option<[u8; 30]> {
        let nanoseconds = self.0.rem_euclid(1_000_000_000) as i32;
        let time = jiff::Timestamp::new(self.seconds(), 0).ok()?;
        let time = Offset::UTC.to_datetime(time);
        let small = [time.month(), time.day(), time.hour(), time.minute(), time.second()];
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        put_number(&mut text[..4], time.year().unsigned_abs().into());
        for (place, number) in [5, 8, 11, 14, 17].into_iter().zip(small) {
            put_number(&mut text[place..place + 2], number.unsigned_abs().into());
        }
        put_number(&mut text[20..29], nanoseconds.unsigned_abs());
        Some(text)
    }

    /// How long after `earlier` this is; negative if it is before. Limited to the range.
    pub fn since(self, earlier: Timestamp) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// A span of whole milliseconds.
    pub const fn millis(n: i64) -> Span {
        Span(n.saturating_mul(1_000_000))
    }

    /// A span of whole seconds.
    pub const fn secs(n: i64) -> Span {
        Span(n.saturating_mul(1_000_000_000))
    }

    /// The span in seconds, for reports and arithmetic that needs no nanoseconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Add<Span> for Timestamp {
    type Output = Timestamp;
    fn add(self, span: Span) -> Timestamp {
        self.after(span)
    }
}

impl Sub for Timestamp {
    type Output = Span;
    fn sub(self, earlier: Timestamp) -> Span {
        self.since(earlier)
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl Sub for Span {
    type Output = Span;
    fn sub(self, other: Span) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with nine digits of fraction, `2026-11-22T14:02:11.000123456Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rfc_3339().as_ref().map(|text| str::from_utf8(text)) {
            Some(Ok(text)) => f.write_str(text),
            _ => write!(f, "{}ns", self.0),
        }
    }
}

/// Writes the last digits of `number` over all of `text`.
fn put_number(text: &mut [u8], mut number: u32) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

impl FromStr for Timestamp {
    type Err = String;
    /// Reads RFC 3339, with any offset.
    ///
    /// # Errors
    /// A text that is no such time, or is outside of the range.
    fn from_str(text: &str) -> Result<Timestamp, String> {
        let time: jiff::Timestamp = text.parse().map_err(|error| format!("{text:?} is no time: {error}"))?;
        let nanoseconds = i64::try_from(time.as_nanosecond());
        nanoseconds.map(Timestamp).map_err(|_| format!("{text:?} lies outside of the years 1677 to 2262"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => match self.rfc_3339().as_ref().map(|text| str::from_utf8(text)) {
                Some(Ok(text)) => serializer.serialize_str(text),
                _ => serializer.collect_str(self),
            },
            false => serializer.serialize_i64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(Timestamp);
        }
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Span {
    /// Three significant digits with the unit that fits: `12 µs`, `1.02 s`, `4 min 10 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let n = self.0.unsigned_abs();
        match n {
            0..1_000 => write!(f, "{sign}{n} ns"),
            1_000..1_000_000 => write!(f, "{sign}{} µs", (n + 500) / 1_000),
            1_000_000..1_000_000_000 => write!(f, "{sign}{} ms", (n + 500_000) / 1_000_000),
            1_000_000_000..60_000_000_000 => write!(f, "{sign}{:.2} s", n as f64 / 1e9),
            _ => {
                let s = (n + 500_000_000) / 1_000_000_000;
                match (s / 3600, s / 60 % 60, s % 60) {
                    (0, m, 0) => write!(f, "{sign}{m} min"),
                    (0, m, s) => write!(f, "{sign}{m} min {s} s"),
                    (h @ 0..48, m, _) => write!(f, "{sign}{h} h {m} min"),
                    (h, _, _) => write!(f, "{sign}{} days {} h", h / 24, h % 24),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_as_rfc_3339_with_nanoseconds() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(Timestamp(1_234_567_890_000_000_001).to_string(), "2009-02-13T23:31:30.000000001Z");
        assert_eq!(Timestamp(-1).seconds(), -1);
    }

    #[test]
    fn times_are_read_as_they_are_printed() {
        let time = Timestamp(1_234_567_890_000_000_001);
        assert_eq!(time.to_string().parse(), Ok(time));
        assert_eq!("2009-02-14T00:31:30.000000001+01:00".parse(), Ok(time));
        assert!("soon".parse::<Timestamp>().is_err());
        assert!("2300-01-01T00:00:00Z".parse::<Timestamp>().unwrap_err().contains("1677"));
        for time in [time, Timestamp(0), Timestamp(-1), Timestamp::MIN, Timestamp::MAX] {
            let json = serde_json::to_string(&time).unwrap();
            assert_eq!(json, format!("\"{time}\""));
            let by_jiff = jiff::Timestamp::from_nanosecond(time.0.into()).unwrap();
            assert_eq!(time.to_string(), format!("{by_jiff:.9}"));
            assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), time);
        }
    }

    #[test]
    fn spans_print_with_the_unit_that_fits() {
        assert_eq!(Span(12_345).to_string(), "12 µs");
        assert_eq!(Span::millis(1_020).to_string(), "1.02 s");
        assert_eq!(Span::secs(250).to_string(), "4 min 10 s");
        assert_eq!(Span::millis(-5).to_string(), "-5 ms");
        assert_eq!(Span::secs(50 * 3600).to_string(), "2 days 2 h");
    }

    #[test]
    fn arithmetic_stays_inside_the_range() {
        assert_eq!(Timestamp::MAX + Span::secs(1), Timestamp::MAX);
        assert_eq!(Timestamp::MIN - Timestamp::MAX, Span(i64::MIN));
    }
}
