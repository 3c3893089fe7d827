//! One part of the connections: those whose flow hash selects it.

use crate::decode::segment::Segment;
use crate::detect::registry;
use crate::engine::batch::ShardSegments;
use crate::engine::evicted_warnings::CountedTwice;
use crate::engine::loss::{FaultLoss, FaultLosses};
use crate::fault;
use crate::flow::ended::EndedFlow;
use crate::flow::tracker::{SHARDS, Tracker};
use crate::history::incomplete::HalfOpenRequest;
use crate::history::settings::UserSettings;
use crate::history::triage::Triage;
use crate::history::tw_recycle::TwRecycleModel;
use crate::time::{Span, Timestamp};

/// Memory of the process apart from connections: the program, blocks that are read and decoded, bytes.
const BASE: u64 = 48 << 20;
/// Memory of a kept connection until the end, bytes: the record and the allocations of its repetitions.
const PER_KEPT: u64 = 1_280;
/// Memory of a handshake that was never completed, once it has ended, bytes: including spare room of the list, and a
/// copy in the activity of its listener.
const PER_INCOMPLETE: u64 = 5 * size_of::<HalfOpenRequest>() as u64 / 2;
/// Memory of a listener's history, bytes, with the activity that is made from it.
const PER_LISTENER: u64 = 896;
/// Memory of a finding until it is written, bytes.
const PER_FINDING: u64 = 1 << 16;
/// No more connections are kept than are examined in the end, with a margin for shards of different size.
const MOST_KEPT: u64 = 4 * MOST_EXAMINED / SHARDS as u64;
/// How many connections are examined one by one at most. Of more remarkable connections than this, most are of one
/// kind.
const MOST_EXAMINED: u64 = 16_384;

/// How many connections are examined one by one at most within `memory_limit` bytes.
pub fn most_examined(memory_limit: u64) -> usize {
    (memory_limit / PER_FINDING).clamp(64, MOST_EXAMINED) as usize
}

/// Memory of one shard's tables in a watch, bytes. It is less than in [`Shard::new`], since the history is held up to
/// five times: two generations, each copied while results are computed, and open connections.
pub fn watched_bytes(memory_limit: u64) -> usize {
    (for_tables(memory_limit) * 6 / 20) as usize
}

/// Bytes of one shard.
fn for_tables(memory_limit: u64) -> u64 {
    memory_limit.saturating_sub(BASE).max(memory_limit / 4) / SHARDS as u64
}

/// How many host pairs are remembered at once within `memory_limit` bytes: a pair needs 192 while the tables grow, with
/// the fate of its SYNs.
pub fn most_host_pairs(memory_limit: u64) -> usize {
    (memory_limit / 8 / 192).max(1_024) as usize
}

/// Memory of the histories of all listeners, second by second, bytes.
pub fn history_bytes(memory_limit: u64) -> usize {
    (for_tables(memory_limit) * SHARDS as u64 * 2 / 20) as usize
}

/// A tracker and the triage behind it.
pub struct Shard {
    /// Follows the connections.
    pub tracker: Tracker,
    /// Keeps the remarkable ones.
    pub triage: Triage,
    /// The fault here, if the program failed: nothing is tracked after it.
    failed: Option<Timestamp>,
    loss: Option<FaultLoss>,
    /// The table that gets a row for every connection, if there is one.
    #[cfg(feature = "fleet")]
    pub table: Option<crate::table::connections::Table>,
}

/// Where ended connections go.
struct EndedLedger<'s> {
    triage: &'s mut Triage,
    #[cfg(feature = "fleet")]
    table: Option<&'s mut crate::table::connections::Table>,
}

impl EndedLedger<'_> {
    #[inline]
    fn record(&mut self, ended: EndedFlow<'_>, end: Timestamp, peers: Option<&TwRecycleModel>) {
        #[cfg(feature = "fleet")]
        if let Some(table) = &mut self.table {
            table.record(&ended, end);
        }
        self.triage.record(ended, end, peers);
    }
}

impl Shard {
    /// A shard that may use its part of the `memory_limit` bytes of the whole process: half for open connections, the
    /// rest for the history of those that have ended, here and in [`history_bytes`].
    pub fn new(memory_limit: u64, half_close_after: Span) -> Shard {
        let all = for_tables(memory_limit);
        let part =
            |twentieths: u64, each: u64, most: u64| (all * twentieths / 20 / each).clamp(64, most) as usize;
        let kept = part(2, PER_KEPT, MOST_KEPT);
        Shard {
            tracker: Tracker::within(part(10, 1, u64::MAX)),
            failed: None,
            loss: None,
            #[cfg(feature = "fleet")]
            table: None,
            triage: Triage::new(
                kept,
                part(4, PER_INCOMPLETE, u64::MAX),
                UserSettings { half_close_after },
                registry::WANTS,
            )
            .with_listeners(part(2, PER_LISTENER, u64::MAX)),
        }
    }

    /// Tracks this shard's segments, in capture order.
    pub fn track<'b>(&mut self, runs: impl Iterator<Item = ShardSegments<'b>>) {
        self.track_pieces(runs.flat_map(ShardSegments::pieces));
    }

    /// The same of segments in pieces of at most [`TOGETHER`](crate::flow::tracker::TOGETHER).
    pub fn track_pieces<'b>(&mut self, pieces: impl Iterator<Item = &'b [Segment]>) {
        self.contained(|tracker, ledger| {
            tracker.segments(pieces, |gone| ledger.record(gone, Timestamp::MAX, None));
            let went_on = tracker.drain_evicted_news();
            if !went_on.is_empty() {
                ledger.triage.record_evicted_news(went_on);
            }
        });
    }

    /// Runs `work` on the tracker and the ledger of ended connections. If it fails, nothing is tracked any more. The
    /// shard's results so far stay.
    fn contained(&mut self, work: impl FnOnce(&mut Tracker, &mut EndedLedger<'_>)) {
        if self.has_failed() {
            return;
        }
        let (tracker, mut ledger) = self.parts();
        if let Err(fault) = fault::contain(|| work(tracker, &mut ledger)) {
            let (packet, time) = self.tracker.reached();
            self.failed = Some(time);
            self.loss = Some(FaultLoss::Shard(packet, fault));
        }
    }

    /// The tracker, and the records of ended connections.
    fn parts(&mut self) -> (&mut Tracker, EndedLedger<'_>) {
        let ledger = EndedLedger {
            triage: &mut self.triage,
            #[cfg(feature = "fleet")]
            table: self.table.as_mut(),
        };
        (&mut self.tracker, ledger)
    }

    /// Whether the program failed here, so that nothing is tracked any more.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Ends connections that are due at `now`.
    pub fn advance(&mut self, now: Timestamp) {
        self.contained(|tracker, ledger| {
            tracker.advance(now, |gone| ledger.record(gone, Timestamp::MAX, None));
        });
    }

    /// Begins anew with `tracker`, if the program failed here.
    pub fn recover(&mut self, tracker: impl FnOnce() -> Tracker) {
        if self.failed.take().is_some() {
            self.tracker = tracker();
        }
    }

    /// The stream has ended at `end`: all connections end. Without `peers` the triage is resolved later.
    pub fn finish(&mut self, end: Timestamp, peers: Option<&TwRecycleModel>) {
        // After a fault, the connections end where it happened.
        let end = self.failed.map_or(end, |failed| failed.min(end));
        let (tracker, mut ledger) = self.parts();
        let finished = fault::contain(|| tracker.finish_into(|gone| ledger.record(gone, end, peers)));
        if let Err(fault) = finished {
            let (packet, time) = self.tracker.reached();
            self.failed = Some(time);
            self.loss.get_or_insert(FaultLoss::Shard(packet, fault));
        }
    }

    /// The results, once all connections have ended.
    pub fn into_ended(self) -> EndedShard {
        let (evicted, twice) = (self.tracker.evicted(), CountedTwice::by(&self.tracker));
        EndedShard {
            triage: self.triage,
            evicted,
            twice,
            loss: self.loss,
            #[cfg(feature = "fleet")]
            table: self.table,
        }
    }
}

/// The results of one part of the connections, once all of them have ended.
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct EndedShard {
    /// The connections that were kept, and counts of the others.
    pub(super) triage: Triage,
    /// Connections that were evicted before their end.
    pub(super) evicted: u64,
    /// Connections that were counted twice.
    pub(super) twice: CountedTwice,
    /// Where the program failed.
    pub(super) loss: Option<FaultLoss>,
    /// The rows of the connections.
    #[cfg(feature = "fleet")]
    #[serde(skip)]
    pub(super) table: Option<crate::table::connections::Table>,
}

impl AsMut<Triage> for Shard {
    fn as_mut(&mut self) -> &mut Triage {
        &mut self.triage
    }
}

impl AsMut<Triage> for EndedShard {
    fn as_mut(&mut self) -> &mut Triage {
        &mut self.triage
    }
}

/// Moves the faults of all shards to `losses`.
pub(super) fn collect_losses(shards: &mut [Shard], losses: &mut FaultLosses) {
    for loss in shards.iter_mut().filter_map(|shard| shard.loss.take()) {
        losses.note(loss);
    }
}
