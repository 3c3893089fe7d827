//! One part of the connections: those whose flow hash falls here.

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

/// What the process takes whatever it finds: the program, blocks being read and decoded, bytes.
const BASE: u64 = 48 << 20;
/// What a kept connection costs until the end, bytes: the record and what its repeats allocate.
const PER_KEPT: u64 = 1_280;
/// What a handshake that was never completed costs once it is over, bytes: with the room that a list grows by, and once
/// more in the activity of its listener.
const PER_INCOMPLETE: u64 = 5 * size_of::<HalfOpenRequest>() as u64 / 2;
/// What the history of a listener costs, bytes, with the activity that is made of it.
const PER_LISTENER: u64 = 896;
/// What a finding costs until it is written, bytes.
const PER_FINDING: u64 = 1 << 16;
/// No more connections are kept than are examined in the end, and a few more for shards that are not alike.
const MOST_KEPT: u64 = 4 * MOST_EXAMINED / SHARDS as u64;
/// Connections that are examined one by one at most. Of more remarkable ones than that most are of one kind.
const MOST_EXAMINED: u64 = 16_384;

/// Connections that are examined one by one at most within `memory_limit` bytes.
pub fn most_examined(memory_limit: u64) -> usize {
    (memory_limit / PER_FINDING).clamp(64, MOST_EXAMINED) as usize
}

/// Bytes of one shard's tables in a watch: less than in [`Shard::new`], for the history is held up to five times: two
/// generations, each copied while the engine is asked, and open connections.
pub fn watched_bytes(memory_limit: u64) -> usize {
    (for_tables(memory_limit) * 6 / 20) as usize
}

/// Bytes of one shard.
fn for_tables(memory_limit: u64) -> u64 {
    memory_limit.saturating_sub(BASE).max(memory_limit / 4) / SHARDS as u64
}

/// Host pairs that are remembered at once within `memory_limit` bytes: one needs 192 of them while the tables grow,
/// with the fate of its SYNs.
pub fn most_host_pairs(memory_limit: u64) -> usize {
    (memory_limit / 8 / 192).max(1_024) as usize
}

/// Bytes of what happened at all listeners, second by second.
pub fn history_bytes(memory_limit: u64) -> usize {
    (for_tables(memory_limit) * SHARDS as u64 * 2 / 20) as usize
}

/// A tracker and the triage behind it.
pub struct Shard {
    /// Follows the connections.
    pub tracker: Tracker,
    /// Keeps the remarkable ones.
    pub triage: Triage,
    /// Where the program failed: nothing is tracked from there on.
    failed: Option<Timestamp>,
    loss: Option<FaultLoss>,
    /// Where every connection is written as a row, if anywhere.
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

    /// Lets `work` go on with the tracker and where its connections go. Where it fails, nothing is tracked any more. What
    /// the shard has recorded so far stays.
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

    /// The stream has ended at `end`: all connections are over. Without `peers` the triage is to be resolved later.
    pub fn finish(&mut self, end: Timestamp, peers: Option<&TwRecycleModel>) {
        // After a fault the connections are over where it happened.
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

/// Moves to `losses` where the program failed in any of the shards.
pub(super) fn collect_losses(shards: &mut [Shard], losses: &mut FaultLosses) {
    for loss in shards.iter_mut().filter_map(|shard| shard.loss.take()) {
        losses.note(loss);
    }
}
