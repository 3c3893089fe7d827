//! Wording that the messages of this module share.

use std::fmt;

/// A number with a comma between groups of three digits: `1,204,224`.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupedDigits(pub u64);

impl fmt::Display for GroupedDigits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && digits.len().saturating_sub(i).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// Describes the `packets` before a damaged place.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketsBefore(pub u64);

impl fmt::Display for PacketsBefore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("No packet comes before it."),
            1 => f.write_str("The 1 packet before it was analyzed."),
            n => write!(f, "The {} packets before it were analyzed.", GroupedDigits(n)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        let texts = [0, 999, 1_000, 18_220, 4_294_901_760].map(|n| GroupedDigits(n).to_string());
        assert_eq!(texts, ["0", "999", "1,000", "18,220", "4,294,901,760"]);
    }
}
