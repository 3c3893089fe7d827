//! A stream without an end: the same shards, with results at any time.
//!
//! The result at a moment is that of [`super::analyze`] on the packets so far, as long as nothing has been forgotten.
//! Connections that have ended are kept in two generations. When the current one is [`RollingLimits::generation`] old, or
//! full, it becomes the earlier one, and the one before it is forgotten. So the detectors always look back over at
//! least one generation, and memory does not grow with time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use rayon::prelude::*;

use crate::capture::{Block, InputStatus, Silence};
use crate::decode::segment::{Address, PacketId};
use crate::detect::capture_state::CaptureState;
use crate::detect::context::{CaptureContext, FloodSize, ForgottenFlood, StatedByHost};
use crate::detect::details::Details;
use crate::detect::draft::FoundDraft;
use crate::detect::registry;
use crate::diagnose::host;
use crate::diagnose::write::Written;
use crate::engine::batch::{Batch, PacketTotals};
use crate::engine::conclude::{self, Conclusions};
use crate::engine::evicted_warnings::{CountedTwice, MemoryLimitCost};
use crate::engine::examine::AfterExamination;
use crate::engine::examined::{self, DetectionResult};
use crate::engine::gather::MergedShards;
use crate::engine::inputs::Inputs;
use crate::engine::intake::track;
use crate::engine::loss::FaultLosses;
use crate::engine::pipeline::{Engine, resolve_few_suspects, resolve_suspects, threads};
use crate::engine::shard::{self, most_examined, watched_bytes};
use crate::engine::{Analysis, AnalysisOptions, Error};
#[cfg(test)]
use crate::fault::trap;
use crate::fault::{self, Fault};
use crate::flow::facts::PacketRef;
use crate::flow::key::Host;
use crate::flow::tracker::{SHARDS, Tracker};
use crate::history::quality::CaptureQuality;
use crate::history::settings::UserSettings;
use crate::history::triage::Triage;
use crate::history::tw_recycle::TwRecycleModel;
use crate::model::Incident;
use crate::time::{Span, Timestamp};

/// How much is remembered.
#[derive(Clone, Copy, Debug)]
pub struct RollingLimits {
    /// How long a generation lasts, unless it is full before.
    pub generation: Span,
    /// How long it lasts at least: before that, connections that do not fit are only counted.
    pub shortest: Span,
    /// Remarkable connections of one generation.
    pub kept: usize,
    /// Handshakes never completed of one generation.
    pub incomplete: usize,
    /// Listeners of one generation.
    pub listeners: usize,
}

impl Default for RollingLimits {
    /// 2 to 4 minutes around the current time: as far apart as findings of one incident may be.
    fn default() -> RollingLimits {
        RollingLimits {
            generation: Span::secs(120),
            shortest: Span::secs(15),
            kept: 16_384,
            incomplete: 65_536,
            listeners: 65_536,
        }
    }
}

/// The engine for a stream without an end.
pub struct Rolling {
    engine: Engine,
    limits: RollingLimits,
    pool: rayon::ThreadPool,
    /// The generation before the current one, by shard.
    earlier: Vec<Triage>,
    /// When the current generation and the earlier one began.
    began: [Timestamp; 2],
    /// Connections of generations that were forgotten.
    forgotten: u64,
    /// The effects of the memory limit on them.
    given_up: MemoryLimitCost,
    /// Counts of connections counted twice, at the beginning of the current generation and of the earlier one.
    twice: [CountedTwice; 2],
    /// Whether anything was forgotten.
    has_forgotten: bool,
    now: Timestamp,
    batches: Vec<Batch>,
    /// Floods that began in generations that were forgotten.
    floods: Arc<HashMap<Host, ForgottenFlood>>,
    /// The reported size of each flood.
    floods_told: Arc<HashMap<Host, FloodSize>>,
    /// Addresses of the host on which the packets are captured, if they are known, and facts that it states.
    own: Arc<HashSet<Address>>,
    stated: Arc<StatedByHost>,
    /// Packets that the kernel says it refused.
    refused: Arc<HashSet<PacketId>>,
    /// Whether no filter leaves anything out.
    unfiltered: bool,
}

/// The result at one moment.
pub struct CurrentResult {
    seen: DetectionResult,
    /// What the detectors found, in order of time.
    pub drafts: Vec<FoundDraft>,
    /// The connections that were examined, by their first packet: only these have new results.
    pub examined: HashSet<PacketId>,
    /// Since when everything is known; of earlier times some parts are forgotten.
    pub since: Timestamp,
    /// Where the program failed: the open connections of that part are missing.
    pub faults: Vec<Fault>,
}

impl CurrentResult {
    /// What surrounds the connections.
    pub fn context(&self) -> &CaptureContext {
        &self.seen.context
    }

    /// A handshake with the server at `address` in that time, or else the first one that is remembered.
    pub fn handshake(&self, address: Address, (from, to): (Timestamp, Timestamp)) -> Option<PacketRef> {
        let of = self.seen.gathered.samples.iter().filter(|(ip, _)| *ip == address.ip());
        let all = || of.clone().flat_map(|(_, samples)| samples).map(|sample| sample.at);
        all().find(|at| from <= at.time && at.time <= to).or_else(|| all().next())
    }

    /// Connections in the generations kept, and those open.
    pub fn quality(&self) -> &CaptureQuality {
        &self.seen.gathered.quality
    }
}

impl Rolling {
    /// An engine that has seen nothing.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn new(options: &AnalysisOptions, limits: RollingLimits) -> Result<Rolling, Error> {
        // A failure of its threads comes back to this one, which contains it.
        let pool = fault::contain(|| threads(options.threads))
            .unwrap_or_else(|fault| Err(Error::Threads { threads: options.threads, reason: fault.told() }))?;
        let mut engine = Engine::new(options);
        for shard in &mut engine.shards {
            shard.triage = limits.triage(options);
            shard.tracker = Tracker::within(watched_bytes(options.memory_limit));
        }
        Ok(Rolling {
            engine,
            limits,
            pool,
            earlier: Vec::new(),
            began: [Timestamp::MIN; 2],
            forgotten: 0,
            given_up: MemoryLimitCost::default(),
            twice: [CountedTwice::default(); 2],
            has_forgotten: false,
            now: Timestamp::MIN,
            batches: Vec::new(),
            floods: Arc::default(),
            floods_told: Arc::default(),
            own: Arc::default(),
            stated: Arc::default(),
            refused: Arc::default(),
            unfiltered: false,
        })
    }

    /// Takes in packets, in capture order.
    pub fn observe(&mut self, blocks: &[Block]) {
        self.observe_and_show(blocks, |_| {});
    }

    /// Takes in packets, in capture order, and shows the segments of each block before it is tracked.
    pub fn observe_and_show(&mut self, blocks: &[Block], mut show: impl FnMut(&Batch)) {
        let Rolling { engine, batches, pool, .. } = self;
        batches.resize_with(batches.len().max(blocks.len()), Batch::default);
        let batches = &mut batches[..blocks.len()];
        let Engine { filter, shards, peers, totals, inputs, .. } = engine;
        pool.install(|| {
            blocks
                .par_iter()
                .zip(batches.par_iter_mut())
                .for_each(|(block, batch)| batch.decode(block, filter));
        });
        batches.iter().for_each(&mut show);
        pool.install(|| {
            track(shards, Arc::make_mut(peers), batches, *inputs, &mut totals.losses);
        });
        for batch in batches {
            totals.add(batch);
            batch.clear();
        }
        shard::collect_losses(shards, &mut totals.losses);
        self.now = self.now.max(self.engine.totals.last.unwrap_or(Timestamp::MIN));
    }

    /// No further packet comes from before `now`.
    pub fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        let Engine { shards, peers, .. } = &mut self.engine;
        let now = self.now;
        if shards.iter().all(|shard| shard.tracker.live() == 0) {
            // There is too little to wake other threads.
            shards.iter_mut().for_each(|shard| shard.advance(now));
            resolve_few_suspects(shards, Arc::make_mut(peers));
        } else {
            self.pool.install(|| {
                shards.par_iter_mut().for_each(|shard| shard.advance(now));
                resolve_suspects(shards, Arc::make_mut(peers));
            });
        }
        if self.began[0] == Timestamp::MIN {
            self.began[0] = now;
        }
        let age = now - self.began[0];
        if age >= self.limits.generation || (age >= self.limits.shortest && self.is_nearly_full()) {
            self.begin_generation();
        }
    }

    /// Whether some shard has used three quarters of its room.
    fn is_nearly_full(&self) -> bool {
        let part = |all: usize| all / SHARDS * 3 / 4;
        self.engine.shards.iter().any(|shard| {
            shard.triage.kept() > part(self.limits.kept)
                || shard.triage.incomplete_count() > part(self.limits.incomplete)
                || shard.triage.listeners.len() > part(self.limits.listeners)
        })
    }

    /// Begins a new generation.
    fn begin_generation(&mut self) {
        let (limits, options) = (self.limits, &self.engine.options);
        let current = self
            .engine
            .shards
            .iter_mut()
            .map(|shard| std::mem::replace(&mut shard.triage, limits.triage(options)));
        let forgotten = std::mem::replace(&mut self.earlier, current.collect());
        self.has_forgotten |= !forgotten.is_empty();
        let connections = forgotten.iter().map(|triage| triage.quality.connections).sum::<u64>();
        self.forgotten += connections.saturating_sub(self.twice[0].since(self.twice[1]).connections());
        forgotten.iter().for_each(|triage| self.given_up.add(&MemoryLimitCost::of(triage)));
        self.note_floods(&forgotten);
        self.twice = [self.counted_twice(), self.twice[0]];
        self.began = [self.now, self.began[0]];
        let since = self.since();
        let most = watched_bytes(self.engine.options.memory_limit);
        self.engine.shards.iter_mut().for_each(|shard| shard.recover(|| Tracker::within(most)));
        Arc::make_mut(&mut self.engine.peers).forget_before(since);
    }

    /// Adds the counts of the generation that is dropped for floods that go on.
    fn note_floods(&mut self, forgotten: &[Triage]) {
        let (now, since) = (incomplete(&self.earlier), self.began[1]);
        let floods = Arc::make_mut(&mut self.floods);
        floods.retain(|host, _| now.contains_key(host));
        for (host, count) in incomplete(forgotten).into_iter().filter(|(host, _)| now.contains_key(host)) {
            if floods.len() >= MOST_FLOODS && !floods.contains_key(&host) {
                continue;
            }
            floods.entry(host).or_insert(ForgottenFlood { incomplete: 0, since }).incomplete += count;
        }
    }

    /// Notes how large each flood is: a reported size must not shrink while the flood goes on.
    fn note_flood_sizes(&mut self, drafts: &[FoundDraft]) {
        let of = |(draft, _): &FoundDraft| match draft.details {
            Details::Flood(size) => Some((draft.server?, size)),
            _ => None,
        };
        let now: HashMap<Host, FloodSize> = drafts.iter().filter_map(of).collect();
        if now != *self.floods_told {
            self.floods_told = Arc::new(now);
        }
    }

    /// Since when everything is known.
    fn since(&self) -> Timestamp {
        if self.has_forgotten { self.began[1] } else { Timestamp::MIN }
    }

    /// The time of the newest packet, or the time given to [`Rolling::advance`].
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Counts since the beginning.
    pub fn totals(&self) -> &PacketTotals {
        &self.engine.totals
    }

    /// Connections in the tables.
    pub fn tracked(&self) -> u64 {
        self.engine.shards.iter().map(|shard| shard.tracker.live() as u64).sum()
    }

    /// Memory that the tables take, and their limit, bytes.
    pub fn memory(&self) -> (u64, u64) {
        let of_shards = self.engine.shards.iter().map(|shard| shard.tracker.taken());
        of_shards.fold((0, 0), |sum, (taken, most)| (sum.0 + taken as u64, sum.1 + most as u64))
    }

    /// Connections evicted for want of room.
    fn evicted(&self) -> u64 {
        self.engine.shards.iter().map(|shard| shard.tracker.evicted()).sum()
    }

    /// Connections counted twice since the beginning.
    fn counted_twice(&self) -> CountedTwice {
        self.engine.shards.iter().map(|shard| CountedTwice::by(&shard.tracker)).sum()
    }

    /// A sentence on the effects of the memory limit since the beginning, if it affected any connections.
    pub fn given_up(&self) -> Option<String> {
        let mut given_up = self.given_up;
        let current = self.engine.shards.iter().map(|shard| &shard.triage);
        self.earlier.iter().chain(current).for_each(|triage| given_up.add(&MemoryLimitCost::of(triage)));
        let twice = self.counted_twice();
        given_up.evicted = self.evicted().saturating_sub(twice.readmitted);
        given_up.repeated = twice.repeated;
        given_up.text(None, self.engine.options.memory_limit).filter(|_| given_up.evicted > 0)
    }

    /// All connections since the beginning, given the current result.
    pub fn connections(&self, sight: &CurrentResult) -> u64 {
        self.forgotten + sight.quality().connections
    }

    /// Sets the facts that the capturing host states.
    pub fn set_host(&mut self, stated: StatedByHost) {
        self.own = Arc::new(stated.addresses.clone());
        self.stated = Arc::new(stated.with_backlogs_of(&self.stated));
    }

    /// Notes that no filter leaves anything out of the capture.
    pub fn know_unfiltered(&mut self) {
        self.unfiltered = true;
    }

    /// Sets the packets that the kernel refused because an accept queue was full.
    pub fn set_refused(&mut self, refused: &Arc<HashSet<PacketId>>) {
        self.refused = Arc::clone(refused);
    }

    /// The current result. `silences` are intervals in which nothing could be captured.
    ///
    /// # Errors
    /// If the program failed so that nothing is known.
    pub fn current_result(
        &mut self,
        silences: &[Silence],
        state: CaptureState,
    ) -> Result<CurrentResult, Fault> {
        let looked = fault::contain(|| self.examine_now(silences, state));
        let (mut seen, faults) = looked?;
        // Only connections counted twice within the two generations are among their connections.
        let twice = self.counted_twice();
        seen.gathered.correct(self.evicted(), twice.since(self.twice[1]));
        seen.gathered.given_up.add(&self.given_up);
        seen.gathered.given_up.evicted = self.evicted().saturating_sub(twice.readmitted);
        seen.gathered.given_up.repeated = twice.repeated;
        let drafts = std::mem::take(&mut seen.drafts);
        self.note_flood_sizes(&drafts);
        let examined = seen.gathered.kept.iter().map(|facts| facts.first.packet).collect();
        Ok(CurrentResult { seen, drafts, examined, since: self.since(), faults })
    }

    /// An empty result, for when the program failed to make one.
    pub fn empty_result(&self) -> CurrentResult {
        let (options, capture) = (&self.engine.options, self.engine.totals.first);
        let capture = capture.map(|first| (first, self.now));
        let context = examined::context(Arc::clone(&self.engine.peers), capture, &[], options);
        let seen = DetectionResult {
            context,
            gathered: MergedShards::default(),
            drafts: Vec::new(),
            losses: FaultLosses::default(),
        };
        CurrentResult {
            seen,
            drafts: Vec::new(),
            examined: HashSet::new(),
            since: self.since(),
            faults: Vec::new(),
        }
    }

    /// Merges ended and open connections, and runs the detectors. Also returns where the program failed at open
    /// connections.
    fn examine_now(&mut self, silences: &[Silence], state: CaptureState) -> (DetectionResult, Vec<Fault>) {
        let (limits, end) = (self.limits, self.now);
        let (own, stated) = (Arc::clone(&self.own), Arc::clone(&self.stated));
        let floods = Arc::clone(&self.floods);
        let floods_told = Arc::clone(&self.floods_told);
        let refused = Arc::clone(&self.refused);
        let Engine { shards, peers, options, totals, .. } = &mut self.engine;
        let (options, known): (&AnalysisOptions, &TwRecycleModel) = (options, peers);
        let earlier = &self.earlier;
        self.pool.install(|| {
            // Open connections count as ended, as at the end of a capture.
            let open: Vec<(Triage, Option<Fault>)> = shards
                .par_iter_mut()
                .map(|shard| {
                    let mut open = limits.triage(options);
                    if shard.has_failed() {
                        return (open, None);
                    }
                    let visited = fault::contain(|| {
                        shard.tracker.visit_open(|gone| {
                            #[cfg(test)]
                            trap::spring(trap::FaultPlace::Open, Some(gone.facts().client));
                            open.record(gone, end, Some(known));
                        });
                    });
                    (open, visited.err())
                })
                .collect();
            let (mut open, faults): (Vec<Triage>, Vec<Option<Fault>>) = open.into_iter().unzip();
            let fates: Vec<_> = open.iter_mut().flat_map(Triage::drain_syn_fates).collect();
            let mut peers = Arc::clone(peers);
            for (connection, fate) in &fates {
                Arc::make_mut(&mut peers).record_fate(*connection, *fate);
            }
            let current = shards.iter().map(|shard| shard.triage.clone());
            let triages = earlier.iter().cloned().chain(current).chain(open);
            let capture = totals.first.map(|first| (first, end));
            let context = examined::context(peers, capture, silences, options);
            let context = CaptureContext {
                state,
                unfiltered: self.unfiltered,
                own,
                stated,
                refused,
                floods: Some(floods),
                floods_told,
                ..context
            };
            let seen = examined::examine_all(
                triages,
                context,
                None,
                (most_examined(options.memory_limit), AfterExamination::KeepFacts),
            );
            #[cfg(test)]
            seen.gathered
                .kept
                .iter()
                .for_each(|facts| trap::spring(trap::FaultPlace::Look, Some(facts.client)));
            (seen, faults.into_iter().flatten().collect())
        })
    }

    /// The report on the findings written so far.
    pub fn report(
        &self,
        sight: &CurrentResult,
        drafts: &[FoundDraft],
        written: (Vec<Written>, Vec<Incident>),
        told: host::HostStatements,
        status: Vec<InputStatus>,
    ) -> Analysis {
        let Engine { totals, options, .. } = &self.engine;
        #[cfg(test)]
        sight.examined.iter().next().into_iter().for_each(|_| {
            drafts.iter().for_each(|(d, _)| trap::spring(trap::FaultPlace::Report, d.client));
        });
        let mut inputs = Inputs::of(&sight.seen, totals, options, status);
        let (written, incidents) = written;
        let mut losses = FaultLosses::default();
        let inferred = sight.seen.infer(drafts, &mut losses);
        inputs.note_losses(&losses);
        let conclusions = Conclusions { written, incidents, told, inferred };
        let mut outcome = conclude::report(&sight.seen, inputs, conclusions);
        outcome.report.summary.connections += self.forgotten;
        outcome
    }
}

impl RollingLimits {
    fn triage(&self, options: &AnalysisOptions) -> Triage {
        let part = |all: usize| (all / SHARDS).max(16);
        let settings = UserSettings { half_close_after: options.half_close_after };
        Triage::new(part(self.kept), part(self.incomplete), settings, registry::WANTS)
            .with_listeners(part(self.listeners))
    }
}

/// How many listeners have their floods added up.
const MOST_FLOODS: usize = 1_024;
/// Fewer incomplete handshakes than this are no flood.
const FLOOD: u64 = 20;

/// Handshakes that were begun and not completed, of listeners that may be flooded.
fn incomplete(triages: &[Triage]) -> HashMap<Host, u64> {
    let mut all: HashMap<Host, u64> = HashMap::new();
    for (host, listener) in triages.iter().flat_map(|triage| &triage.listeners) {
        let let_go = listener.uncounted.let_go.saturating_sub(listener.uncounted.completed);
        *all.entry(*host).or_default() += listener.attempts.saturating_sub(listener.completed) + let_go;
    }
    all.retain(|_, count| *count >= FLOOD);
    all
}

/// Connections tried and handshakes completed at each listener in one second.
pub fn rates(context: &CaptureContext, second: Timestamp) -> BTreeMap<Host, (u64, u64)> {
    let of = context.listeners.iter().map(|(host, listener)| {
        let sum = listener.between(second, second);
        (*host, (u64::from(sum.syns), u64::from(sum.completed)))
    });
    of.filter(|(_, rate)| *rate != (0, 0)).collect()
}
