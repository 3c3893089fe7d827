//! One part of the connections: those whose flow hash falls here.

use crate::detect::peers::Peers;
use crate::detect::screen::Screen;
use crate::engine::batch::Batch;
use crate::flow::facts::ConnectionFacts;
use crate::flow::table::{SHARD_BITS, Tracker};
use crate::time::{Span, Timestamp};

/// Number of shards. Fixed, so that nothing depends on the number of threads.
pub const SHARDS: usize = 1 << SHARD_BITS;

/// What a connection in the table costs, octets: the record, its place in the index, its place in a queue.
const PER_CONNECTION: u64 = 1_024;
/// What a kept connection costs until the end, octets: the record and what its repeats allocate.
const PER_KEPT: u64 = 1_536;

/// A tracker and the screen behind it.
pub struct Shard {
    /// Follows the connections.
    pub tracker: Tracker,
    /// Keeps the remarkable ones.
    pub screen: Screen,
}

impl Shard {
    /// A shard that may use its part of `memory_limit` octets: half for open connections, half for kept ones.
    pub fn new(memory_limit: u64, half_close_after: Span) -> Shard {
        let part = memory_limit / 2 / SHARDS as u64;
        let connections = (part / PER_CONNECTION).max(64) as usize;
        let kept = (part / PER_KEPT).max(64) as usize;
        Shard { tracker: Tracker::new(connections), screen: Screen::new(kept, half_close_after) }
    }

    /// The shard of a segment with this flow hash.
    #[inline]
    pub fn of(hash: u64) -> usize {
        hash as usize & (SHARDS - 1)
    }

    /// Tracks this shard's segments of `batches`, in capture order.
    pub fn track(&mut self, number: usize, batches: &[Batch]) {
        for batch in batches {
            for segment in batch.segments(number) {
                self.tracker.segment(segment);
            }
        }
    }

    /// Screens the connections that are over.
    pub fn screen_finished(&mut self, end: Timestamp, peers: &Peers) {
        let finished: Vec<ConnectionFacts> = self.tracker.drain_finished().collect();
        for facts in finished {
            self.screen.take(facts, end, peers);
        }
    }

    /// The stream has ended: all connections are over.
    pub fn finish(&mut self) {
        self.tracker.finish();
    }
}
