//! The steps of an analysis one by one, for a run whose parts share no state ([`crate::fleet`]).

use std::sync::Arc;

use super::batch::{Filter, PacketTotals};
use super::examine::AfterExamination;
use super::pipeline::{conclude_ended, threads};
use super::shard::Shard;
use super::{Analysis, AnalysisOptions, Error, StreamAnalysis, shard};
use crate::capture::{InputStatus, Silence};
use crate::decode::segment::Segment;
use crate::flow::peer::PeerEvent;
use crate::flow::tracker::TOGETHER;
use crate::history::merge::Histories;
use crate::history::tw_recycle::TwRecycleModel;
use crate::table::connections::Table;
use crate::time::Timestamp;

pub use super::shard::EndedShard;

/// Which packets `options` want.
pub fn filter(options: &AnalysisOptions) -> Filter {
    Filter::of(options)
}

/// One part of the connections, tracked by itself.
pub struct Tracking {
    shard: Shard,
    /// `None` while the memory of servers is not known yet; an empty model if no server has one.
    peers: Option<TwRecycleModel>,
}

/// Whether a server may remember anything of its clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServerMemory {
    /// Some connection was closed: its server's memory is computed later.
    Possible,
    /// No connection was closed.
    None,
}

impl Tracking {
    /// Begins.
    pub fn new(options: &AnalysisOptions, memory: ServerMemory, table: Option<Table>) -> Tracking {
        let peers = (memory == ServerMemory::None).then(TwRecycleModel::default);
        let mut shard = Shard::new(options.memory_limit, options.half_close_after);
        shard.table = table;
        Tracking { shard, peers }
    }

    /// Tracks segments of this part of the connections, in capture order.
    pub fn segments(&mut self, segments: &[Segment]) {
        self.shard.track_pieces(segments.chunks(TOGETHER));
        if let Some(none) = &self.peers {
            self.shard.tracker.events().clear();
            self.shard.triage.resolve(none);
            self.shard.triage.drain_syn_fates();
        }
    }

    /// The events that were not moved out yet.
    pub fn events(&mut self) -> &mut Vec<PeerEvent> {
        self.shard.tracker.events()
    }

    /// The stream has ended at `end`: all connections end.
    ///
    /// # Errors
    /// The table could not be written.
    pub fn finish(mut self, end: Timestamp) -> Result<EndedShard, String> {
        if self.peers.is_none() {
            self.shard.triage.defer_decisions();
        }
        self.shard.finish(end, self.peers.as_ref());
        let mut ended = self.shard.into_ended();
        ended.table.take().map_or(Ok(()), Table::finish)?;
        Ok(ended)
    }
}

/// The memory of servers within the limits of `options`.
pub fn server_memory(options: &AnalysisOptions) -> TwRecycleModel {
    TwRecycleModel::within(shard::most_host_pairs(options.memory_limit))
}

/// The report on `shards`, all parts of the connections in their order.
///
/// # Errors
/// When threads cannot be started.
pub fn conclude(
    shards: Vec<EndedShard>,
    peers: TwRecycleModel,
    totals: PacketTotals,
    inputs: (Vec<InputStatus>, Vec<Silence>),
    options: &AnalysisOptions,
) -> Result<Analysis, Error> {
    let shards = (shards, peers);
    let after = AfterExamination::FreeFacts;
    with_threads(options, || examine(shards, totals, inputs, options, after).report(options))
}

/// The same up to the report: for a point that is joined with others.
pub fn study(
    shards: (Vec<EndedShard>, TwRecycleModel),
    totals: PacketTotals,
    inputs: (Vec<InputStatus>, Vec<Silence>),
    options: &AnalysisOptions,
) -> StreamAnalysis {
    examine(shards, totals, inputs, options, AfterExamination::KeepFacts)
}

fn examine(
    (shards, peers): (Vec<EndedShard>, TwRecycleModel),
    totals: PacketTotals,
    inputs: (Vec<InputStatus>, Vec<Silence>),
    options: &AnalysisOptions,
    after: AfterExamination,
) -> StreamAnalysis {
    let histories = Histories::within(shard::history_bytes(options.memory_limit));
    conclude_ended(shards, (Arc::new(peers), histories), totals, options, inputs, after)
}

/// Runs `work` with the number of threads in `options`.
///
/// # Errors
/// When threads cannot be started.
pub fn with_threads<T: Send>(options: &AnalysisOptions, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    Ok(threads(options.threads)?.install(work))
}
