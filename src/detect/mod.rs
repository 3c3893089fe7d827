//! Facts to findings: one file per finding kind.

pub mod explain;
