//! One part of the connections: those whose flow hash falls here.

use crate::detect::peers::Peers;
use crate::detect::scene::Embryo;
use crate::detect::screen::Screen;
use crate::engine::batch::Run;
use crate::flow::table::{SHARD_BITS, Tracker};
use crate::time::{Span, Timestamp};

/// Number of shards. Fixed, so that nothing depends on the number of threads.
pub const SHARDS: usize = 1 << SHARD_BITS;

/// What a kept connection costs until the end, octets: the record and what its repeats allocate.
const PER_KEPT: u64 = 1_536;
/// What a handshake that was never completed costs once it is over, octets, with the room that a list grows by.
const PER_EMBRYO: u64 = 2 * size_of::<Embryo>() as u64;
/// No more connections are kept than are examined in the end, and a few more for shards that are not alike.
const MOST_KEPT: u64 = 4 * MOST_EXAMINED as u64 / SHARDS as u64;
/// Connections that are examined one by one at most. Of more remarkable ones than that most are of one kind.
pub const MOST_EXAMINED: usize = 16_384;

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
        let kept = (part / 2 / PER_KEPT).clamp(64, MOST_KEPT) as usize;
        let embryos = (part / 2 / PER_EMBRYO).max(64) as usize;
        Shard {
            tracker: Tracker::within(part as usize),
            screen: Screen::new(kept, embryos, half_close_after),
        }
    }

    /// The shard of a segment with this flow hash.
    #[inline]
    pub fn of(hash: u64) -> usize {
        hash as usize & (SHARDS - 1)
    }

    /// Tracks this shard's segments, in capture order.
    pub fn track<'r, 'b: 'r>(&mut self, runs: impl Iterator<Item = &'r mut Run<'b>>) {
        for run in runs {
            let screen = &mut self.screen;
            self.tracker.segments(run.segments(), |facts| screen.take(facts, Timestamp::MAX, None));
        }
    }

    /// The stream has ended at `end`: all connections are over.
    pub fn finish(&mut self, end: Timestamp, peers: &Peers) {
        let screen = &mut self.screen;
        self.tracker.finish_into(|facts| screen.take(facts, end, Some(peers)));
    }
}
