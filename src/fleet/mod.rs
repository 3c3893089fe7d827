//! The stages of an analysis as separate programs without shared state: Apache Spark moves the data between them
//! (`docs/fleet.md`). Each reads an Arrow IPC stream and writes one.
//!
//! ```text
//!  bytes --decode--> bounds, segments --by point and shard, in order--> --track--> events, ended shards
//!        events --by point and host pair--> --merge--> models     readings, shards, models --assemble--> one report
//! ```
//!
//! A stage depends only on its input and the options of the run, and produces the same bytes whenever it is run. The
//! work itself is in [`crate::engine`]: nothing is decoded, tracked or judged here.
//!
//! * [`input`]: the bytes of captures, as `decode` gets them.
//! * [`rows`]: the table that goes from stage to stage. Each row is some bytes and the place where they belong.
//! * [`segments`]: the columns of segments in such bytes.
//! * `spool`: rows that wait for their turn.
//! * `stream`: the common part of all these streams.
//! * [`outline`]: what every shard must know of a range; `order`: segments of all ranges in time order.
//! * [`decode`], [`track`], [`merge`], [`assemble`]: the stages.
//! * [`sketch`], [`trace`]: stages that are needed only to join points; [`joined`]: the data that goes from them to the
//!   others.
//!
//! Points are joined by the same steps as on one machine ([`crate::pair`]), between which Spark moves the data:
//!
//! ```text
//!  handshakes --by point--> sketch --> solve: clocks, points      segments, clocks --> track, merge: as above
//!  points, all shards --> request: connections to be compared     segments, request --by point and shard--> trace --> assemble
//! ```

pub mod assemble;
pub mod decode;
pub mod input;
pub mod joined;
pub mod merge;
mod order;
pub mod outline;
pub mod rows;
pub mod segments;
pub mod sketch;
mod spool;
mod stream;
pub mod trace;
pub mod track;

use arrow_schema::ArrowError;

use crate::engine;

/// Why a stage cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A stream of another program, or of another version of this one.
    #[error("{stage}: {what}. All workers and the driver must be of the same version.")]
    Schema {
        /// Which stage reads it.
        stage: &'static str,
        /// The fault, in words.
        what: String,
    },
    /// A stream that cannot be read or written.
    #[error("the Arrow stream cannot be read or written: {0}")]
    Arrow(#[from] ArrowError),
    /// A range of a file was read from a place where no record begins.
    #[error("{path}: the range at byte {from} was read from a wrong place; read this file in one piece")]
    WrongRangeStart {
        /// The file.
        path: String,
        /// Where the range begins.
        from: u64,
    },
    /// A range of a file cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// A stage lacks a part of its input, or has it twice.
    #[error("point {point}: {what}")]
    Incomplete {
        /// The capture point.
        point: String,
        /// The fault, in words.
        what: String,
    },
    /// Nothing could be analyzed.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}
