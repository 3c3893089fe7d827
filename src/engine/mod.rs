//! The parallel pipeline: blocks are decoded in parallel, segments are routed to shards by flow hash, shards track
//! in parallel, results merge in a fixed order. Nothing depends on the number of threads.
//!
//! * [`batch`]: blocks to segments, sorted by shard.
//! * [`rolling`]: a stream without an end, asked again and again.
//! * [`shard`]: one part of the connections: its tracker and its screen.
//! * `conclude`: what the shards know, put together into the report.

pub mod batch;
mod conclude;
pub mod rolling;
pub mod shard;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;

use crate::capture::{self, Block, Source, Status};
use crate::decode::segment::Address;
use crate::detect::peers::Peers;
use crate::flow::peer::PeerEvent;
use crate::host::HostFacts;
use crate::report::model::Report;
use crate::time::{Span, Timestamp};
use batch::{Batch, Filter, Totals};
use rayon::prelude::*;
use shard::{SHARDS, Shard};

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
    /// Upper bound for the memory of tables and kept facts, octets.
    pub memory_limit: u64,
    /// What is known of the server's host, to confirm or refute findings with.
    pub host: Option<HostFacts>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            threads: 0,
            half_close_after: Span::secs(60),
            hosts: Vec::new(),
            ports: Vec::new(),
            since: None,
            until: None,
            memory_limit: 1 << 30,
            host: None,
        }
    }
}

/// What came of an analysis.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The report, over everything that could be read.
    pub report: Report,
    /// One message per input that was damaged, for standard error; they stand in `report.warnings` too.
    pub damage: Vec<String>,
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
}

/// How far the analysis is, told now and then from the thread that called [`analyze`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Octets read of all inputs, as stored (compressed octets where compressed).
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
    mut source: Box<dyn Source>,
    options: &Options,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Outcome, Error> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .thread_name(|n| format!("synscope-{n}"))
        .build()
        .map_err(|e| Error::Threads { threads: options.threads, reason: e.to_string() })?;
    let mut engine = Engine::new(options);
    // Tracking a shard finds its tables in the cache the more often the more it has to do at once.
    let ahead = pool.current_num_threads() * 3;
    thread::scope(|scope| {
        let (full, blocks) = mpsc::sync_channel::<Read>(ahead);
        let (back, empties) = mpsc::channel::<Block>();
        let reader = scope.spawn(move || {
            let mut since_status = 0;
            loop {
                let mut block = empties.try_recv().unwrap_or_default();
                if !source.next_block(&mut block) {
                    break;
                }
                since_status += 1;
                let status = (since_status % 16 == 0).then(|| source.status());
                if full.send((block, status)).is_err() {
                    break;
                }
            }
            source
        });
        pool.install(|| engine.run(blocks, back, ahead, progress));
        let source = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(pool.install(move || engine.conclude(source)))
    })
}

/// A block, and now and then how far the inputs have been read.
type Read = (Block, Option<Vec<Status>>);

/// Everything between the source and the report.
struct Engine {
    options: Options,
    filter: Filter,
    shards: Vec<Shard>,
    peers: Arc<Peers>,
    totals: Totals,
}

impl Engine {
    fn new(options: &Options) -> Engine {
        let filter = Filter {
            hosts: options.hosts.iter().map(|&ip| Address::from(ip)).collect(),
            ports: options.ports.clone(),
            since: options.since,
            until: options.until,
        };
        let shards =
            (0..SHARDS).map(|_| Shard::new(options.memory_limit, options.half_close_after)).collect();
        Engine { options: options.clone(), filter, shards, peers: Arc::default(), totals: Totals::default() }
    }

    /// Takes in all blocks: while one batch is tracked the next is decoded.
    fn run(
        &mut self,
        blocks: mpsc::Receiver<Read>,
        back: mpsc::Sender<Block>,
        most: usize,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) {
        let mut told = Progress::default();
        let mut decoded: Vec<Batch> = Vec::new();
        let mut idle: Vec<Batch> = Vec::new();
        loop {
            let mut raw: Vec<Block> = Vec::new();
            let mut take = |raw: &mut Vec<Block>, (block, status): Read| {
                if let Some(status) = status {
                    told.read = status.iter().map(|s| s.position.0).sum();
                    told.total = status.iter().map(|s| s.position.1).sum();
                }
                told.packets += block.len() as u64;
                raw.push(block);
            };
            // With work at hand whatever is there is taken; without it the next block is waited for.
            if decoded.is_empty() {
                match blocks.recv() {
                    Ok(read) => take(&mut raw, read),
                    Err(_) => break,
                }
            }
            while raw.len() < most
                && let Ok(read) = blocks.try_recv()
            {
                take(&mut raw, read);
            }
            let filter = &self.filter;
            let mut next: Vec<(Block, Batch)> =
                raw.into_iter().map(|block| (block, idle.pop().unwrap_or_default())).collect();
            let (shards, peers) = (&mut self.shards, Arc::make_mut(&mut self.peers));
            rayon::join(
                || track(shards, peers, &decoded),
                || next.par_iter_mut().for_each(|(block, batch)| batch.decode(block, filter)),
            );
            for mut batch in decoded.drain(..) {
                self.totals.add(&batch);
                batch.clear();
                idle.push(batch);
            }
            for (block, batch) in next {
                decoded.push(batch);
                // The reader may have gone; then nobody needs the block.
                let _ = back.send(block);
            }
            told.suspects = self.shards.iter().map(|shard| shard.screen.kept() as u64).sum();
            progress(told);
        }
    }

    fn conclude(mut self, source: Box<dyn Source>) -> Outcome {
        let end = self.totals.last.unwrap_or_default();
        let peers: &Peers = &self.peers;
        self.shards.par_iter_mut().for_each(|shard| shard.finish(end, peers));
        settle(&mut self.shards, Arc::make_mut(&mut self.peers));
        conclude::conclude(self.shards, self.peers, &self.totals, &self.options, source.as_ref())
    }
}

/// Tracks decoded batches in every shard, then looks across the shards.
fn track(shards: &mut [Shard], peers: &mut Peers, batches: &[Batch]) {
    if batches.is_empty() {
        return;
    }
    shards.par_iter_mut().enumerate().for_each(|(n, shard)| shard.track(n, batches));
    shards.iter().for_each(|shard| peers.expect(shard.tracker.events()));
    let asked: &Peers = peers;
    let mut events: Vec<PeerEvent> = shards
        .iter_mut()
        .flat_map(|shard| shard.tracker.drain_events())
        .filter(|event| asked.concerns(event))
        .collect();
    events.sort_unstable_by_key(|e| e.at);
    peers.take(&events);
    settle(shards, peers);
}

/// Tells [`Peers`] what became of the connections that it suspects.
fn settle(shards: &mut [Shard], peers: &mut Peers) {
    let knows: &Peers = peers;
    shards.par_iter_mut().for_each(|shard| shard.screen.resolve(knows));
    for shard in shards {
        for (connection, answered, otherwise) in shard.screen.drain_settled() {
            peers.settle(connection, answered, otherwise);
        }
    }
}
