//! The effect of the host's counters on a finding.

use crate::detect::draft::count;

/// The effect on a finding.
pub(super) enum HostVerdict {
    /// It stays, perhaps with another certainty, cause or kind.
    Stays,
    /// It was mistaken; why.
    Withdrawn(String),
}

/// `5 connections were stuck`: a count of findings and their common observation.
pub(super) fn counted_connections(n: u64, what: &str) -> String {
    format!("{} {} {what}", count(n, "connection"), if n == 1 { "was" } else { "were" })
}
