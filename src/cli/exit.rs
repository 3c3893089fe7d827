//! Exit codes as a type.

use std::process::ExitCode;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// 0: done.
    Done = 0,
    /// 1: done, and `--fail-on` matched.
    Matched = 1,
    /// 2: wrong usage, nothing could be read, or the result could not be written.
    Unusable = 2,
    /// 3: the input was damaged; the report covers what could be read.
    Damaged = 3,
}

impl Exit {
    /// The verdict of an analysis that was done.
    ///
    /// Damage takes precedence over a match: a verdict on half of the input is unreliable either way.
    pub fn verdict(damage: InputDamage, verdict: FailOnVerdict) -> Exit {
        match (damage, verdict) {
            (InputDamage::Some, _) => Exit::Damaged,
            (InputDamage::None, FailOnVerdict::Matched) => Exit::Matched,
            (InputDamage::None, FailOnVerdict::Clear) => Exit::Done,
        }
    }
}

/// Whether an input was damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputDamage {
    /// All could be read.
    None,
    /// Something could not.
    Some,
}

/// What `--fail-on` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailOnVerdict {
    /// No finding matched, or none was asked for.
    Clear,
    /// A finding matched.
    Matched,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_wins_over_a_match() {
        assert_eq!(Exit::verdict(InputDamage::None, FailOnVerdict::Clear), Exit::Done);
        assert_eq!(Exit::verdict(InputDamage::None, FailOnVerdict::Matched), Exit::Matched);
        assert_eq!(Exit::verdict(InputDamage::Some, FailOnVerdict::Clear), Exit::Damaged);
        assert_eq!(Exit::verdict(InputDamage::Some, FailOnVerdict::Matched), Exit::Damaged);
    }
}
