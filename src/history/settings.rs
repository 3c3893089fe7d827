//! Settings of the user.

use crate::time::Span;

/// What the user set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct UserSettings {
    /// How long one side must have been silent after the other's FIN to be a half-close worth reporting.
    pub half_close_after: Span,
}

impl Default for UserSettings {
    fn default() -> UserSettings {
        UserSettings { half_close_after: Span::secs(60) }
    }
}
