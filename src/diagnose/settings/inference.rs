//! How much evidence a value needs, and its words.

use crate::detect::Draft;
use crate::model::{Inferred, Kind, Subject};
use crate::time::Timestamp;

/// How many connections must agree on a value: two may do so by chance, or for the same accidental reason.
pub const AGREE: usize = 3;

/// A setting of a host or a listener, and its source.
pub fn inferred(host: impl Into<Subject>, setting: &str, value: serde_json::Value, from: String) -> Inferred {
    Inferred { host: host.into(), setting: setting.to_owned(), value, from }
}

/// When the first of `drafts` began that is of one of `kinds`.
pub fn first_of(drafts: &[&Draft], kinds: &[Kind]) -> Option<Timestamp> {
    drafts.iter().filter(|d| kinds.contains(&d.kind)).map(|d| d.during().0).min()
}
