//! Facts about each range that the tasks of every shard must know.

use serde::{Deserialize, Serialize};

use crate::capture::range::RangeBounds;
use crate::time::Timestamp;

/// The place of a range among the others of its point: every shard must know it for all of them.
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
    /// Why it cannot be read, if it cannot.
    pub refused: Option<String>,
}
