//! Everything between the source of the packets and the report: shards, the model of the servers' memory, totals.

use std::sync::Arc;

use rayon::prelude::*;

use crate::capture::{InputStatus, Silence, Source};
use crate::engine::analysis::Error;
use crate::engine::batch::{Filter, PacketTotals};
use crate::engine::conclude::{self, StreamAnalysis};
use crate::engine::examine::AfterExamination;
use crate::engine::kernel_statements::RecordedVerdicts;
use crate::engine::options::AnalysisOptions;
use crate::engine::shard::{self, EndedShard, Shard};
use crate::fault;
use crate::flow::tracker::SHARDS;
use crate::history::merge::Histories;
use crate::history::triage::Triage;
use crate::history::tw_recycle::TwRecycleModel;
#[cfg(feature = "fleet")]
use crate::table::connections::Table;

/// This many worker threads; with 0 one per core.
pub(super) fn threads(threads: usize) -> Result<rayon::ThreadPool, Error> {
    let contained = fault::is_contained();
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|n| format!("synscope-{n}"))
        // A panic there comes back to the caller.
        .start_handler(move |_| {
            if contained {
                fault::forward_panics();
            }
        })
        .build()
        .map_err(|e| Error::Threads { threads, reason: e.to_string() })
}

/// Everything between the source and the report.
pub(super) struct Engine {
    pub(super) options: AnalysisOptions,
    pub(super) filter: Filter,
    pub(super) shards: Vec<Shard>,
    pub(super) peers: Arc<TwRecycleModel>,
    pub(super) histories: Histories,
    pub(super) totals: PacketTotals,
    /// The kernel's statements meanwhile, if they were recorded.
    pub(super) heard: Option<RecordedVerdicts>,
    /// How many captures the stream is made of.
    pub(super) inputs: usize,
    /// Whether the stream was ended early because that was requested.
    pub(super) left: bool,
}

impl Engine {
    pub(super) fn new(options: &AnalysisOptions) -> Engine {
        let filter = Filter::of(options);
        #[cfg_attr(not(feature = "fleet"), expect(unused_mut, reason = "only tables are added later"))]
        let mut shards: Vec<Shard> =
            (0..SHARDS).map(|_| Shard::new(options.memory_limit, options.half_close_after)).collect();
        #[cfg(feature = "fleet")]
        if let Some(folder) = &options.table {
            for (part, shard) in shards.iter_mut().enumerate() {
                shard.table = Some(Table::in_folder(folder, part));
            }
        }
        Engine {
            options: options.clone(),
            filter,
            shards,
            peers: Arc::new(TwRecycleModel::within(shard::most_host_pairs(options.memory_limit))),
            histories: Histories::within(shard::history_bytes(options.memory_limit)),
            totals: PacketTotals::default(),
            heard: RecordedVerdicts::of(&options.recordings),
            inputs: 0,
            left: false,
        }
    }

    pub(super) fn conclude(mut self, source: Box<dyn Source>, after: AfterExamination) -> StreamAnalysis {
        let end = self.totals.last.unwrap_or_default();
        let peers: &TwRecycleModel = &self.peers;
        self.shards.par_iter_mut().for_each(|shard| shard.finish(end, Some(peers)));
        let (mut status, silences) = (source.status(), source.silences());
        if self.left || self.options.stop.left_a_pipe() {
            status.iter_mut().for_each(say_left);
        }
        let shards = self.shards.into_iter().map(Shard::into_ended).collect();
        let Engine { peers, histories, mut totals, options, heard, .. } = self;
        if let Some(heard) = heard {
            let (judged, notes) = heard.finish(totals.last);
            totals.judged.extend(judged);
            totals.notes = notes;
        }
        conclude_ended(shards, (peers, histories), totals, &options, (status, silences), after)
    }
}

/// The results of all parts of the connections, merged, once all have ended.
pub(super) fn conclude_ended(
    mut shards: Vec<EndedShard>,
    (mut peers, mut histories): (Arc<TwRecycleModel>, Histories),
    mut totals: PacketTotals,
    options: &AnalysisOptions,
    inputs: (Vec<InputStatus>, Vec<Silence>),
    after: AfterExamination,
) -> StreamAnalysis {
    for loss in shards.iter_mut().filter_map(|shard| shard.loss.take()) {
        totals.losses.note(loss);
    }
    #[cfg(feature = "fleet")]
    let tables = shards.iter_mut().filter_map(|shard| shard.table.take());
    #[cfg(feature = "fleet")]
    let failed = tables.filter_map(|table| table.finish().err()).collect::<Vec<_>>().into_iter().next();
    let model = Arc::make_mut(&mut peers);
    resolve_suspects(&mut shards, model);
    model.close();
    histories.gather(shards.iter_mut().map(|shard| &mut shard.triage));
    #[cfg_attr(
        not(feature = "fleet"),
        expect(unused_mut, reason = "only with tables there is something to add")
    )]
    let mut study = conclude::study(shards, (peers, histories), &totals, options, inputs, after);
    #[cfg(feature = "fleet")]
    {
        study.table_failed = failed;
    }
    study
}

/// Notes in an input that it was ended early.
fn say_left(status: &mut InputStatus) {
    let (read, size) = status.position;
    // An input that was not opened has no format. A file that was read to its end was not left.
    if status.format.is_empty() || size.is_some_and(|size| read >= size) {
        return;
    }
    let name = if status.path == "-" { "standard input" } else { &status.path };
    // A packet that is cut at that end is no damage of the input.
    status.damage = Some(format!(
        "{name}: stopped on request after {} packets.\n  The report covers these; the rest was not read.",
        status.packets
    ));
}

/// Reports the outcomes of its suspected connections to [`TwRecycleModel`].
pub(super) fn resolve_suspects(shards: &mut [impl AsMut<Triage> + Send], peers: &mut TwRecycleModel) {
    let knows: &TwRecycleModel = peers;
    shards.par_iter_mut().for_each(|shard| shard.as_mut().resolve(knows));
    hand_over_fates(shards, peers);
}

/// The same in this thread alone.
pub(super) fn resolve_few_suspects(shards: &mut [Shard], peers: &mut TwRecycleModel) {
    shards.iter_mut().for_each(|shard| shard.triage.resolve(peers));
    hand_over_fates(shards, peers);
}

fn hand_over_fates(shards: &mut [impl AsMut<Triage>], peers: &mut TwRecycleModel) {
    for shard in shards {
        for (connection, fate) in shard.as_mut().drain_syn_fates() {
            peers.record_fate(connection, fate);
        }
    }
}
