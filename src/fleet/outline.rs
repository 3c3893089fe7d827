//! What the tasks of every shard must know of each range.

use serde::{Deserialize, Serialize};

use crate::capture::range::RangeBounds;
use crate::time::Timestamp;

/// Where a range lies among the others of its point: every shard must know that of all of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RangeOutline {
    /// Where it lies in its capture.
    pub bounds: RangeBounds,
    /// Latest time of a packet that was wanted.
    pub last: Option<Timestamp>,
    /// Whether a connection was closed in it.
    pub closes: bool,
    /// The capture, for messages.
    pub path: String,
    /// Why it cannot be read, if so.
    pub refused: Option<String>,
}
