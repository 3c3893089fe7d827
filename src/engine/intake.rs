//! Reads the stream: while one part is tracked, the next is read and decoded.
//!
//! A file is read in parts by the threads that track, too. An input that can only be read in order (a pipe, compressed
//! bytes, several files at once) is read and decoded by a thread of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::Progress;
use super::batch::{Batch, Filter, ShardSegments};
use super::loss::{FaultLoss, FaultLosses};
use super::pipeline::{Engine, resolve_suspects};
use super::shard::Shard;
use crate::capture::{Block, InputPart, InputStatus, PartState, Source};
use crate::fault;
use crate::flow::peer::PeerEvent;
use crate::flow::tracker::SHARDS;
use crate::history::host_pairs::HostPair;
use crate::history::merge::Histories;
use crate::history::tw_recycle::TwRecycleModel;

/// Bytes of a part: enough that the work on it outweighs its overhead.
const PART: u64 = 1 << 20;
/// How many parts per thread are tracked together. A shard that tracks more at once finds its tables in the cache more
/// often.
const AHEAD: usize = 3;
/// How many bytes a part takes at most, with the segments decoded from it; parts may take a quarter of the memory
/// limit.
const PART_TAKES: u64 = 3 * PART;
/// How many packets make a batch, if they come in smaller pieces.
const BATCH: u64 = 2_000;
/// How long a batch is waited for.
const PATIENCE: Duration = Duration::from_millis(100);
/// After this many blocks the progress of the inputs is read again.
const BETWEEN_STATUS: u32 = 64;

/// A decoded block, with the progress of the inputs from time to time.
#[derive(Default)]
struct Read {
    batch: Batch,
    packets: u64,
    status: Vec<InputStatus>,
}

/// What the progress line shows.
type ShowProgress<'p> = &'p mut (dyn FnMut(Progress) + Send);

/// How many parts or batches are held at a time.
fn ahead(threads: usize, memory_limit: u64) -> usize {
    (threads * AHEAD).min((memory_limit / 4 / PART_TAKES) as usize).max(2)
}

/// Reads and tracks all of `source`.
pub(super) fn run(
    engine: &mut Engine,
    mut source: Box<dyn Source>,
    pool: &rayon::ThreadPool,
    progress: ShowProgress<'_>,
) -> Box<dyn Source> {
    let ahead = ahead(pool.current_num_threads(), engine.options.memory_limit);
    engine.inputs = source.status().len();
    match source.next_part(PART) {
        Some(first) => pool.install(|| run_parts(engine, source.as_mut(), first, ahead, progress)),
        None => return run_blocks(engine, source, pool, ahead, progress),
    }
    source
}

/// Reads and decodes `most` parts at a time.
fn run_parts(
    engine: &mut Engine,
    source: &mut dyn Source,
    first: InputPart,
    most: usize,
    progress: ShowProgress<'_>,
) {
    let mut told = Progress::default();
    let windows = Windows::default();
    let (mut decoded, mut idle) = (Vec::new(), Vec::new());
    let mut first = Some(first);
    // Where reading has failed the input ends.
    let mut has_failed = false;
    loop {
        engine.left |= engine.options.stop.is_asked();
        let mut next: Vec<(InputPart, Batch)> = Vec::new();
        while !has_failed
            && !engine.left
            && next.len() < most
            && let Some(part) = first.take().or_else(|| source.next_part(PART))
        {
            next.push((part, idle.pop().unwrap_or_default()));
        }
        if next.is_empty() && decoded.is_empty() {
            break;
        }
        let Engine { shards, peers, histories, filter, totals, heard, inputs, .. } = &mut *engine;
        let (filter, peers): (&Filter, &mut TwRecycleModel) = (filter, Arc::make_mut(peers));
        let parts = Mutex::new(next.iter_mut());
        let decode_one = || {
            let part = parts.lock().unwrap_or_else(PoisonError::into_inner).next();
            part.map(|(part, batch)| windows.read(part, batch, filter)).is_some()
        };
        let to_track = AtomicUsize::new(SHARDS);
        rayon::join(
            || {
                follow(shards, &mut decoded, || {
                    to_track.fetch_sub(1, Ordering::Relaxed);
                });
                compare_contained(shards, peers, *inputs, &mut totals.losses);
                remember(shards, histories);
                while decode_one() {}
            },
            || {
                (1..rayon::current_num_threads()).into_par_iter().with_max_len(1).for_each(|_| {
                    // The shards come first, so that there is work while one thread compares. But if all segments are
                    // of one connection, only one thread has work.
                    let helped = || {
                        to_track.load(Ordering::Relaxed) > 0
                            && rayon::yield_now() == Some(rayon::Yield::Executed)
                    };
                    while helped() || decode_one() {}
                });
            },
        );
        for mut batch in decoded.drain(..) {
            if let Some(heard) = heard {
                heard.observe(&batch);
            }
            totals.add(&batch);
            batch.clear();
            idle.push(batch);
        }
        for (part, batch) in next {
            if has_failed {
                break;
            }
            match give_back(source, part, batch, &windows, filter) {
                (batch, Some(packets)) => {
                    has_failed = batch.has_failed();
                    told.packets += packets;
                    decoded.push(batch);
                }
                (batch, None) => idle.push(batch),
            }
        }
        tell(&mut told, &source.status());
        show(&mut told, engine, progress);
    }
}

/// Gives a part back to its source. If the part began at a wrong place, it is read again from the right one. Returns
/// its batch, and the number of its packets; `None` if the part is beyond the end of the input.
fn give_back(
    source: &mut dyn Source,
    mut part: InputPart,
    mut batch: Batch,
    windows: &Windows,
    filter: &Filter,
) -> (Batch, Option<u64>) {
    loop {
        let packets = part.packets();
        match source.give_back(part) {
            PartState::Next { before } => {
                batch.place(before);
                return (batch, Some(packets));
            }
            PartState::Again(again) => {
                part = *again;
                batch.clear();
                windows.read(&mut part, &mut batch, filter);
            }
            PartState::Beyond => {
                batch.clear();
                return (batch, None);
            }
        }
    }
}

/// Memory to read into. The memory used last is used again first: it is most likely still in a cache.
#[derive(Default)]
struct Windows(Mutex<Vec<Block>>);

impl Windows {
    fn read(&self, part: &mut InputPart, batch: &mut Batch, filter: &Filter) {
        let windows = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = windows().pop();
        let mut window = taken.unwrap_or_default();
        batch.read(part, &mut window, filter);
        windows().push(window);
    }
}

/// Reads and decodes in a thread of its own: the block is still in that core's cache.
fn run_blocks(
    engine: &mut Engine,
    mut source: Box<dyn Source>,
    pool: &rayon::ThreadPool,
    most: usize,
    progress: ShowProgress<'_>,
) -> Box<dyn Source> {
    let filter = engine.filter.clone();
    let stop = engine.options.stop.clone();
    // A pipe ends by itself after the request.
    let piped = source.status().iter().any(|input| input.position.1.is_none());
    let (source, left) = thread::scope(|scope| {
        let (full, batches) = mpsc::sync_channel::<Read>(most);
        let (back, empties) = mpsc::channel::<Batch>();
        let reader = scope.spawn(fault::on_thread(move || {
            let (mut block, mut read) = (Block::default(), Read::default());
            let (mut until_status, mut sent) = (0, Instant::now());
            let mut left = false;
            while read.batch.next(|| source.next_block(&mut block)) {
                read.batch.decode(&block, &filter);
                read.packets += block.len() as u64;
                if until_status == 0 {
                    read.status = source.status();
                    until_status = BETWEEN_STATUS;
                }
                until_status -= 1;
                if stop.is_asked() && !piped {
                    left = true;
                    break;
                }
                if read.packets < BATCH && sent.elapsed() < PATIENCE {
                    continue;
                }
                if full.send(read).is_err() {
                    // The tracking thread has ended.
                    return (source, left);
                }
                read = Read { batch: empties.try_recv().unwrap_or_default(), ..Read::default() };
                sent = Instant::now();
            }
            // Refused only if the other thread has ended.
            let _ = full.send(read);
            (source, left)
        }));
        pool.install(|| take_batches(engine, batches, back, most, progress));
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    engine.left |= left;
    source
}

/// Tracks all batches.
fn take_batches(
    engine: &mut Engine,
    batches: mpsc::Receiver<Read>,
    back: mpsc::Sender<Batch>,
    most: usize,
    progress: ShowProgress<'_>,
) {
    let mut told = Progress::default();
    // Waits for one, then takes all that are there.
    while let Ok(first) = batches.recv() {
        let mut decoded = Vec::new();
        for read in std::iter::once(first).chain(batches.try_iter()).take(most) {
            told.packets += read.packets;
            tell(&mut told, &read.status);
            decoded.push(read.batch);
        }
        let Engine { shards, peers, histories, totals, heard, inputs, .. } = &mut *engine;
        track(shards, Arc::make_mut(peers), &mut decoded, *inputs, &mut totals.losses);
        remember(shards, histories);
        for mut batch in decoded {
            if let Some(heard) = heard {
                heard.observe(&batch);
            }
            totals.add(&batch);
            batch.clear();
            // The reader may have ended; then nobody needs it.
            let _ = back.send(batch);
        }
        show(&mut told, engine, progress);
    }
}

fn tell(told: &mut Progress, status: &[InputStatus]) {
    if !status.is_empty() {
        told.read = status.iter().map(|s| s.position.0).sum();
        told.total = status.iter().map(|s| s.position.1).sum();
    }
}

fn show(told: &mut Progress, engine: &Engine, progress: ShowProgress<'_>) {
    told.suspects = engine.shards.iter().map(|shard| shard.triage.kept() as u64).sum();
    progress(*told);
}

/// Tracks decoded batches in every shard, then compares across the shards.
pub(super) fn track(
    shards: &mut [Shard],
    peers: &mut TwRecycleModel,
    batches: &mut [Batch],
    inputs: usize,
    losses: &mut FaultLosses,
) {
    if batches.is_empty() {
        return;
    }
    follow(shards, batches, || ());
    compare_contained(shards, peers, inputs, losses);
}

/// Compares; if the program fails at that, only the result of the comparison is lost.
fn compare_contained(
    shards: &mut [Shard],
    peers: &mut TwRecycleModel,
    inputs: usize,
    losses: &mut FaultLosses,
) {
    if let Err(fault) = fault::contain(|| compare(shards, peers, inputs)) {
        losses.note(FaultLoss::Peers(fault));
        shards.iter_mut().for_each(|shard| shard.tracker.events().clear());
    }
}

/// Tracks decoded batches in every shard, and calls `done` for each shard.
fn follow(shards: &mut [Shard], batches: &mut [Batch], done: impl Fn() + Sync) {
    let mut by_shard: Vec<Vec<ShardSegments<'_>>> = Vec::new();
    by_shard.resize_with(SHARDS, || Vec::with_capacity(batches.len()));
    for batch in batches {
        by_shard.iter_mut().zip(batch.runs()).for_each(|(runs, run)| runs.push(run));
    }
    shards.par_iter_mut().zip(by_shard).with_max_len(1).for_each(|(shard, runs)| {
        shard.track(runs.into_iter());
        done();
    });
}

/// Compares across the shards what the hosts of a pair would remember of each other.
fn compare(shards: &mut [Shard], peers: &mut TwRecycleModel, inputs: usize) {
    let expected: Vec<Vec<HostPair>> = shards
        .par_iter_mut()
        .map(|shard| TwRecycleModel::pairs(shard.tracker.events().iter()).collect())
        .collect();
    peers.expect(expected.iter().flatten());
    let asked: &TwRecycleModel = peers;
    shards.par_iter_mut().for_each(|shard| shard.tracker.events().retain(|event| asked.concerns(event)));
    let mut events: Vec<&PeerEvent> =
        shards.iter_mut().flat_map(|shard| shard.tracker.events().iter()).collect();
    // One input's packets stay in their order even if its clock steps back, however they are divided into batches.
    match inputs {
        1 => events.sort_by_key(|e| e.at.packet),
        _ => events.sort_by_key(|e| e.at),
    }
    peers.replay(&events);
    shards.iter_mut().for_each(|shard| shard.tracker.events().clear());
    resolve_suspects(shards, peers);
}

/// Merges the shards' histories of their listeners from time to time.
fn remember(shards: &mut [Shard], histories: &mut Histories) {
    let connections = shards.iter().map(|shard| shard.triage.quality.connections).sum();
    if histories.is_due(connections) {
        histories.gather(shards.iter_mut().map(|shard| &mut shard.triage));
    }
}
