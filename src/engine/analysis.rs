//! The result of an analysis, why there may be none, and its progress.

use crate::model::Report;

/// The result of an analysis.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// The report, over everything that could be read.
    pub report: Report,
    /// One message per input that was damaged, for standard error; they stand in `report.warnings` too.
    pub damage: Vec<String>,
    /// The first packet of the connection that each finding is about, by the finding's id.
    #[cfg(feature = "fleet")]
    pub connections: Vec<(String, crate::decode::segment::PacketId)>,
    /// Why the table of connections could not be written.
    #[cfg(feature = "fleet")]
    pub table_failed: Option<String>,
}

/// Nothing could be analyzed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No input could be opened or recognised; one message each.
    #[error("{}", .0.join("\n"))]
    NothingReadable(Vec<String>),
    /// The worker threads could not be started.
    #[error("cannot start {threads} worker threads: {reason}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        reason: String,
    },
    /// The end was requested before there was anything to report.
    #[error("stopped before anything was analyzed")]
    Stopped,
    /// The captures were to be read as two captures of the same traffic, and are not.
    #[error("{0}")]
    NotAPair(String),
}

/// The progress of the analysis, reported from time to time by the thread that called [`analyze`](super::analyze).
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Bytes read of all inputs, as stored (compressed bytes where compressed).
    pub read: u64,
    /// Sum of the inputs' sizes; `None` with standard input among them.
    pub total: Option<u64>,
    /// Packets read.
    pub packets: u64,
    /// Findings suspected so far.
    pub suspects: u64,
}
