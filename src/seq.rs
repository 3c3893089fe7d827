//! TCP sequence numbers, RFC 9293 section 3.4: a 32-bit circle on which only distances make sense.

use std::fmt;

/// A sequence or acknowledgment number. It has no order of its own: ask for a [distance](Seq::distance).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Seq(pub u32);

impl Seq {
    /// The number `n` bytes further on.
    #[inline]
    pub const fn advance(self, n: u32) -> Seq {
        Seq(self.0.wrapping_add(n))
    }

    /// Signed distance from `from` to here, in bytes; right as long as the two are less than 2^31 apart.
    #[inline]
    pub const fn distance(self, from: Seq) -> i32 {
        self.0.wrapping_sub(from.0) as i32
    }

    /// Whether this lies after `other` on the circle.
    #[inline]
    pub const fn after(self, other: Seq) -> bool {
        self.distance(other) > 0
    }

    /// Whether this lies at `other` or after it.
    #[inline]
    pub const fn at_or_after(self, other: Seq) -> bool {
        self.distance(other) >= 0
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_that_of_the_circle() {
        let last = Seq(u32::MAX);
        assert_eq!(last.advance(1), Seq(0));
        assert!(Seq(0).after(last));
        assert!(!last.after(Seq(0)));
        assert_eq!(Seq(5).distance(Seq(u32::MAX - 4)), 10);
        assert!(last.at_or_after(last));
    }
}
