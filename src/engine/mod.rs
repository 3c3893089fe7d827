//! The parallel pipeline: blocks are decoded in parallel, segments are routed to shards by flow hash, shards track
//! in parallel, results merge in a fixed order. Nothing depends on the number of threads.
//!
//! * [`batch`]: blocks to segments, sorted by shard.
//! * `intake`: the stream taken in, and all of it tracked.
//! * `loss`: what a fault of the program cost.
//! * [`rolling`]: a stream without an end, asked again and again.
//! * [`shard`]: one part of the connections: its tracker and its triage.
//! * `gather`: what the shards know, put together.
//! * [`given_up`]: what the memory limit cost.
//! * `examine`: every detector is asked.
//! * [`inputs`]: what a report says of its inputs; `warnings`: what else limits it.
//! * `seen`: both, for one capture.
//! * `conclude`: a [`Study`] of all that, then the report.

pub mod batch;
mod conclude;
mod examine;
mod gather;
pub mod given_up;
pub mod inputs;
mod intake;
mod loss;
pub mod rolling;
mod seen;
pub mod shard;
#[cfg(feature = "fleet")]
pub mod stages;
mod warnings;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::capture::{self, Silence, Source, Status, Stop};
use crate::decode::segment::Address;
use crate::fault;
use crate::flow::facts::Role;
use crate::flow::tracker::SHARDS;
use crate::history::merge::Histories;
use crate::history::settings::Settings;
use crate::history::triage::Triage;
use crate::history::tw_recycle::TwRecycleModel;
use crate::host::HostFacts;
use crate::model::Report;
#[cfg(feature = "fleet")]
use crate::table::connections::Table;
use crate::time::{Span, Timestamp};
use batch::{Filter, Totals};
pub use conclude::Study;
use examine::Facts;
pub use loss::About;
use rayon::prelude::*;
use shard::{EndedShard, Shard};

/// What to analyze and how. `Default` is what the command line does without options.
#[derive(Clone, Debug)]
pub struct Options {
    /// Worker threads; 0 means one per core. The result does not depend on it.
    pub threads: usize,
    /// How long one side must have been silent after the other's FIN to be a half-close worth reporting.
    pub half_close_after: Span,
    /// Keep only connections with one of these addresses at either end; empty keeps all.
    pub hosts: Vec<IpAddr>,
    /// Keep only connections with one of these ports at either end; empty keeps all.
    pub ports: Vec<u16>,
    /// Ignore packets before this time.
    pub since: Option<Timestamp>,
    /// Ignore packets after this time.
    pub until: Option<Timestamp>,
    /// Upper bound for the memory of tables and kept facts, bytes.
    pub memory_limit: u64,
    /// Facts about the server's host, to confirm or refute findings with.
    pub host: Option<HostFacts>,
    /// What a second capture of the same traffic says of where this one was taken.
    pub placed: Option<Placed>,
    /// Ends the input early on request: the report covers the packets read so far.
    pub stop: Stop,
    /// Where every connection is written as a row of a table, if anywhere.
    #[cfg(feature = "fleet")]
    pub table: Option<crate::table::Folder>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            threads: 0,
            half_close_after: Settings::default().half_close_after,
            hosts: Vec::new(),
            ports: Vec::new(),
            since: None,
            until: None,
            memory_limit: 1 << 30,
            host: None,
            placed: None,
            stop: Stop::default(),
            #[cfg(feature = "fleet")]
            table: None,
        }
    }
}

/// Where a capture was taken, as far as another one of the same traffic tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placed {
    /// The end that it is nearer to than the other capture.
    pub nearer: Role,
    /// Servers of which it is nearer to the other end.
    pub but: Vec<Address>,
}

impl Placed {
    /// The end that it is nearer to, seen from this server.
    pub fn of(&self, server: Address) -> Role {
        if self.but.contains(&server) { self.nearer.peer() } else { self.nearer }
    }
}

/// The result of an analysis.
#[derive(Clone, Debug)]
pub struct Outcome {
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
    /// The end was asked for before there was anything to report.
    #[error("stopped before anything was analyzed")]
    Stopped,
    /// The captures are to be read as two captures of the same traffic, and are not.
    #[error("{0}")]
    NotAPair(String),
}

/// How far the analysis is, told now and then from the thread that called [`analyze`].
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

/// Analyzes `inputs` (paths, `-` for standard input) as one stream in time order.
///
/// # Errors
/// When not one input can be opened and recognised, or threads cannot be started. Damage inside an input is no
/// error: see [`Outcome::damage`].
pub fn analyze(
    inputs: &[PathBuf],
    options: &Options,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Outcome, Error> {
    let source = capture::open(inputs)
        .map_err(|failed| Error::NothingReadable(failed.iter().map(ToString::to_string).collect()))?;
    analyze_source(source.source, options, progress)
}

/// Analyzes a stream of packets.
///
/// # Errors
/// When threads cannot be started.
pub fn analyze_source(
    source: Box<dyn Source>,
    options: &Options,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Outcome, Error> {
    Ok(read(source, options, progress, Facts::LetGo)?.report(options))
}

/// Reads a stream of packets to its end, and stops before the report is written.
///
/// # Errors
/// When threads cannot be started.
pub fn study(
    source: Box<dyn Source>,
    options: &Options,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Study, Error> {
    read(source, options, progress, Facts::Stay)
}

fn read(
    source: Box<dyn Source>,
    options: &Options,
    progress: &mut (dyn FnMut(Progress) + Send),
    after: Facts,
) -> Result<Study, Error> {
    let pool = threads(options.threads)?;
    let mut engine = Engine::new(options);
    let source = intake::run(&mut engine, source, &pool, progress);
    let mut study = pool.install(move || engine.conclude(source, after));
    study.pool = Some(pool);
    Ok(study)
}

/// This many worker threads; with 0 one per core.
fn threads(threads: usize) -> Result<rayon::ThreadPool, Error> {
    let contained = fault::is_contained();
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|n| format!("synscope-{n}"))
        // A panic there comes back to the caller.
        .start_handler(move |_| {
            if contained {
                fault::work_for_another();
            }
        })
        .build()
        .map_err(|e| Error::Threads { threads, reason: e.to_string() })
}

/// Everything between the source and the report.
struct Engine {
    options: Options,
    filter: Filter,
    shards: Vec<Shard>,
    peers: Arc<TwRecycleModel>,
    histories: Histories,
    totals: Totals,
    /// How many captures the stream is made of.
    inputs: usize,
    /// Whether the stream was left before its end, because that was asked for.
    left: bool,
}

impl Engine {
    fn new(options: &Options) -> Engine {
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
            totals: Totals::default(),
            inputs: 0,
            left: false,
        }
    }

    fn conclude(mut self, source: Box<dyn Source>, after: Facts) -> Study {
        let end = self.totals.last.unwrap_or_default();
        let peers: &TwRecycleModel = &self.peers;
        self.shards.par_iter_mut().for_each(|shard| shard.finish(end, Some(peers)));
        let (mut status, silences) = (source.status(), source.silences());
        if self.left || self.options.stop.left_a_pipe() {
            status.iter_mut().for_each(say_left);
        }
        let shards = self.shards.into_iter().map(Shard::into_ended).collect();
        let Engine { peers, histories, totals, options, .. } = self;
        conclude_ended(shards, (peers, histories), totals, &options, (status, silences), after)
    }
}

/// What all parts of the connections know once they are over, put together.
fn conclude_ended(
    mut shards: Vec<EndedShard>,
    (mut peers, mut histories): (Arc<TwRecycleModel>, Histories),
    mut totals: Totals,
    options: &Options,
    inputs: (Vec<Status>, Vec<Silence>),
    after: Facts,
) -> Study {
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

/// Says of an input that was left before its end that it was.
fn say_left(status: &mut Status) {
    let (read, size) = status.position;
    // An input that was not opened has no format. A file that was read to its end was not left.
    if status.format.is_empty() || size.is_some_and(|size| read >= size) {
        return;
    }
    let name = if status.path == "-" { "standard input" } else { &status.path };
    // Wherever the reading ended in a packet, that is no damage of the input.
    status.damage = Some(format!(
        "{name}: stopped on request after {} packets.\n  The report covers these; what came after them was not read.",
        status.packets
    ));
}

/// Tells [`TwRecycleModel`] how its suspected connections ended.
fn resolve_suspects(shards: &mut [impl AsMut<Triage> + Send], peers: &mut TwRecycleModel) {
    let knows: &TwRecycleModel = peers;
    shards.par_iter_mut().for_each(|shard| shard.as_mut().resolve(knows));
    hand_over_fates(shards, peers);
}

/// The same in this thread alone.
fn resolve_few_suspects(shards: &mut [Shard], peers: &mut TwRecycleModel) {
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
