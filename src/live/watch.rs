//! The watch: packets and the kernel's statements go in, events and the [`WatchState`] come out.
//!
//! Every tick asks the engine for its findings, as if the capture had ended at that moment, and compares them with the
//! issued ones. It has no interface, clock or terminal, so that a script can play all of it.

mod interfaces;
mod kernel_looks;
mod live_state;
mod rows;
mod step;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use self::live_state::{PacketCount, full_queues, status, watched};
pub use self::step::WatchStep;

use crate::capture::feed::Interface;
use crate::capture::{Block, InputStatus, Packet, Silence};
use crate::detect::capture_state::CaptureState;
use crate::detect::{Draft, FoundDraft};
use crate::diagnose::host::queue_history::is_of_full_queue;
use crate::engine::rolling::{CurrentResult, Rolling, RollingLimits, rates};
use crate::engine::{Analysis, AnalysisOptions, Error};
use crate::fault::{self, Fault};
use crate::live::event::{LiveEvent, why_unseen};
use crate::live::issued::{IssuedFindings, IssuedLimits, SETTLE};
use crate::live::kernel_words::KernelWords;
use crate::live::phase::{IncidentCourses, Phase};
use crate::live::sockets::ListenSockets;
use crate::live::state::{self, WatchSecond, WatchState};
use crate::live::witness::{HostObservations, HostSource};
use crate::model::{Certainty, Incident, Kind, Report, SCHEMA};
use crate::time::{Span, Timestamp};

/// The kernel is asked no more often than this, even if a finding waits for it.
const SOONEST_LOOK: Span = Span::millis(150);
/// How often the engine is asked while packets come.
const BUSY: Span = Span::millis(200);
/// How often counts are reported.
const STATISTICS: Span = Span::secs(10);
/// A limit that is still being reached is reported again after this.
const AGAIN: Span = Span::secs(10);
/// Drops this long before or after a finding cast doubt on it.
const NEAR: Span = Span::secs(1);
/// The same while findings wait to be issued.
const SETTLING: Span = Span::millis(100);
/// Even if no packets come, the engine is asked this often as long as there are connections: time-outs alone make
/// findings.
const IDLE: Span = Span::millis(250);
/// It is asked this often if there are none.
const EMPTY: Span = Span::secs(2);
/// Incidents, examples of each, listeners and warnings in a [`WatchState`].
const INCIDENTS: usize = 128;
const EXAMPLES: usize = 3;
const LISTENERS: usize = 512;
const WARNINGS: usize = 32;
/// How many intervals with drops are remembered.
const DROPS: usize = 1_024;
/// Warnings that are repeated in the report.
const NOTES: usize = 100;

/// How to watch.
#[derive(Clone, Debug, Default)]
pub struct WatchSettings {
    /// The options of an analysis; `host` is not used.
    pub options: AnalysisOptions,
    /// Name of the host or of the namespace.
    pub host: String,
    /// What the engine remembers.
    pub limits: RollingLimits,
    /// How many issued findings are remembered.
    pub bounds: IssuedLimits,
}

/// A watch.
pub struct Watch {
    engine: Rolling,
    witness: Option<Box<dyn HostSource>>,
    testimony: HostObservations,
    /// The kernel's statements about single packets, if it is asked.
    words: Option<KernelWords>,
    issued: IssuedFindings,
    state: WatchState,
    interfaces: Vec<Interface>,
    silences: Vec<Silence>,
    /// Intervals in which packets were lost on the way here, with their numbers.
    drops: VecDeque<(Timestamp, Timestamp, u64)>,
    /// Packets taken in, by interface.
    taken: Vec<PacketCount>,
    /// When the drops were last read.
    read: Timestamp,
    /// The clock's correction that was reported last.
    clock_offset: Span,
    looked: Timestamp,
    /// The newest packet when it came.
    packet_came: Timestamp,
    /// Changes found by looks since the last tick.
    seen: Vec<LiveEvent>,
    asked: Timestamp,
    dirty: bool,
    /// Since the last line of statistics: its time, packets, segments, attempts and completed handshakes by whole
    /// seconds, drops.
    told: ReportedTotals,
    warned: BTreeMap<&'static str, Timestamp>,
    sockets: ListenSockets,
    courses: IncidentCourses,
    notes: Vec<String>,
    /// Places at which the program failed, each once.
    faults: Vec<String>,
}

/// Kinds of findings with their times.
type Times = Vec<(Kind, Timestamp, Timestamp)>;

#[derive(Default)]
struct ReportedTotals {
    at: Timestamp,
    packets: u64,
    segments: u64,
    dropped: u64,
}

impl Watch {
    /// A watch that has seen nothing.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn new(setup: WatchSettings, witness: Option<Box<dyn HostSource>>) -> Result<Watch, Error> {
        Ok(Watch {
            engine: Rolling::new(&setup.options, setup.limits)?,
            witness,
            testimony: HostObservations::default(),
            words: None,
            issued: IssuedFindings::within(setup.bounds),
            state: WatchState { host: setup.host, ..WatchState::default() },
            interfaces: Vec::new(),
            silences: Vec::new(),
            drops: VecDeque::new(),
            taken: Vec::new(),
            read: Timestamp::MIN,
            clock_offset: Span::ZERO,
            looked: Timestamp::MIN,
            packet_came: Timestamp::MIN,
            seen: Vec::new(),
            asked: Timestamp::MIN,
            dirty: false,
            told: ReportedTotals::default(),
            warned: BTreeMap::new(),
            sockets: ListenSockets::default(),
            courses: IncidentCourses::default(),
            notes: Vec::new(),
            faults: Vec::new(),
        })
    }

    /// Also reads the kernel's statements about single packets.
    pub fn listen(&mut self, words: KernelWords) {
        self.words = Some(words);
    }

    /// Notes that no filter leaves anything out: if only handshakes were captured, there was nothing else.
    pub fn know_unfiltered(&mut self) {
        self.engine.know_unfiltered();
    }

    /// The kernel's statements about single packets, if it is asked.
    pub fn words(&self) -> Option<&KernelWords> {
        self.words.as_ref()
    }

    /// Reads the kernel's counters for the first time, before packets come: later values are compared with these.
    pub fn begin(&mut self, at: Timestamp) {
        self.look(at, &mut Vec::new());
    }

    /// Takes in packets, in capture order.
    pub fn track(&mut self, blocks: &[Block]) {
        for block in blocks {
            let of = |packet: Packet<'_>| (packet.time, usize::from(packet.id.capture()));
            let mut all = block.packets().map(of).peekable();
            while let Some((time, interface)) = all.next() {
                let (mut packets, mut last) = (1, time);
                let alike =
                    |next: &(Timestamp, usize)| next.0.seconds() == time.seconds() && next.1 == interface;
                while let Some((next, _)) = all.next_if(alike) {
                    packets += 1;
                    last = last.max(next);
                }
                self.second(time).packets += packets;
                self.state.total.packets += packets;
                if self.taken.len() <= interface {
                    self.taken.resize_with(interface + 1, PacketCount::default);
                }
                let taken = &mut self.taken[interface];
                taken.packets += packets;
                let (from, to) = taken.times.unwrap_or((time, last));
                taken.times = Some((from.min(time), to.max(last)));
            }
        }
        let before: u64 = self.engine.totals().segments.iter().sum();
        match &mut self.words {
            None => self.engine.observe(blocks),
            Some(words) => {
                let mut segments = Vec::new();
                self.engine.observe_and_show(blocks, |batch| segments.extend(batch.segments()));
                words.observe(segments);
                self.join_statements(self.engine.now());
            }
        }
        let segments = self.engine.totals().segments.iter().sum::<u64>() - before;
        if let Some(last) = self.state.seconds.back_mut() {
            last.segments += segments;
        }
        self.state.total.segments += segments;
        self.dirty = true;
        self.packet_came = self.packet_came.max(self.engine.now());
    }

    /// The counts of the second of `time`.
    fn second(&mut self, time: Timestamp) -> &mut WatchSecond {
        let at = Timestamp(time.seconds().saturating_mul(1_000_000_000));
        let seconds = &mut self.state.seconds;
        // After a minute without packets there is nothing to draw.
        let first = seconds.back().map_or(at, |last| last.at + Span::secs(1));
        let mut next = first.max(Timestamp(at.0.saturating_sub(60_000_000_000)));
        while next <= at {
            seconds.push_back(WatchSecond { at: next, ..WatchSecond::default() });
            next = next + Span::secs(1);
            if seconds.len() > WatchState::SECONDS {
                seconds.pop_front();
            }
        }
        let place = seconds.partition_point(|second| second.at <= at).saturating_sub(1);
        &mut seconds[place]
    }

    /// The events of a tick at `clock`. All packets from before that time have been taken in.
    pub fn tick(
        &mut self,
        clock: Timestamp,
        interfaces: &[Interface],
        silences: &[Silence],
    ) -> Vec<LiveEvent> {
        self.engine.advance(clock);
        let now = self.engine.now();
        let mut events = std::mem::take(&mut self.seen);
        if now == Timestamp::MIN {
            return events;
        }
        if self.state.began == Timestamp::default() {
            self.state.began = now;
            self.read = now;
            self.told.at = now;
        }
        self.state.at = now;
        self.second(now);
        self.notice(now, interfaces, &mut events);
        self.silences = silences.to_vec();
        self.join_statements(now);
        if let Some(text) = self.words.as_mut().and_then(KernelWords::loss) {
            self.warn_now_and_then("words", now, text, &mut events);
        }
        self.look_if_due(now, &mut events);
        let idle = if self.state.tracked > 0 { IDLE } else { EMPTY };
        let settles = self.issued.is_waiting() || self.testimony.has_refusals_to_explain();
        let every = match (settles, self.dirty) {
            (true, _) => SETTLING,
            (false, true) => BUSY,
            (false, false) => idle,
        };
        if now - self.asked >= every || self.is_news(now) {
            self.ask(now, CaptureState::Running, SETTLE, &mut events);
        }
        self.statistics(now, &mut events);
        self.finish(&events);
        events
    }

    /// Asks the engine and adds events for changes.
    fn ask(
        &mut self,
        now: Timestamp,
        state: CaptureState,
        settle: Span,
        events: &mut Vec<LiveEvent>,
    ) -> CurrentResult {
        self.dirty = false;
        self.asked = now;
        let mut sight = match self.engine.current_result(&self.silences, state) {
            Ok(sight) => sight,
            Err(fault) => {
                events.extend(self.record_fault(WatchStep::Looking, &fault));
                return self.engine.empty_result();
            }
        };
        for fault in std::mem::take(&mut sight.faults) {
            events.extend(self.record_fault(WatchStep::OpenConnections, &fault));
        }
        let drafts = std::mem::take(&mut sight.drafts);
        if now - self.looked >= SOONEST_LOOK && self.testimony.is_behind(drafts.iter().map(|(d, _)| &**d)) {
            self.look(now, events);
        }
        let told = fault::contain(|| self.tell(drafts, &sight, now, settle));
        let (found, told) =
            told.unwrap_or_else(|fault| (Vec::new(), self.record_fault(WatchStep::Telling, &fault)));
        events.extend(told);
        let shown = fault::contain(|| {
            self.tell_unexplained(found, now, events);
            self.follow(now, events);
            self.show(now, &sight);
        });
        if let Err(fault) = shown {
            events.extend(self.record_fault(WatchStep::Showing, &fault));
        }
        sight
    }

    /// Reports counters that rose although neither `found` nor anything reported explains it.
    fn tell_unexplained(&mut self, found: Times, now: Timestamp, events: &mut Vec<LiveEvent>) {
        let known = found.into_iter().chain(self.issued.times());
        for one in self.testimony.unexplained(now, known) {
            let listeners: Vec<String> = one.listeners.iter().map(ToString::to_string).collect();
            let refused = one.listeners.iter().map(|at| self.sockets.refused(*at, &self.state.listeners));
            let refused: Vec<String> = refused.flatten().collect();
            let who = if refused.is_empty() { &listeners } else { &refused };
            self.note(format!(
                "{} rose by {} until {}{}: {}",
                one.counter,
                one.rose,
                one.at,
                if who.is_empty() { String::new() } else { format!(" ({})", who.join("; ")) },
                why_unseen(one.counter)
            ));
            events.push(LiveEvent::CounterOnly {
                at: one.at.to_string(),
                counter: one.counter.to_owned(),
                rose: one.rose,
                listeners,
                refused,
            });
        }
    }

    /// Updates the phases of the open incidents.
    fn follow(&mut self, now: Timestamp, events: &mut Vec<LiveEvent>) {
        for (incident, state) in self.courses.follow(&self.issued.open(usize::MAX), &self.sockets, now) {
            if state == Phase::Over {
                self.issued.end(&incident.id);
            }
            let refused = self.refused(&incident);
            events.push(LiveEvent::Changed {
                at: now.to_string(),
                state,
                incident: Box::new(incident),
                refused,
            });
        }
    }

    /// The refusals of the sockets that an incident is about.
    fn refused(&self, incident: &Incident) -> Option<String> {
        if !is_of_full_queue(incident.kind) {
            return None;
        }
        self.sockets.refused(incident.listener?, &self.state.listeners)
    }

    /// Compares the findings with the kernel's counters, and adds events for changes. Returns the kinds and times of
    /// all.
    fn tell(
        &mut self,
        drafts: Vec<FoundDraft>,
        sight: &CurrentResult,
        now: Timestamp,
        settle: Span,
    ) -> (Times, Vec<LiveEvent>) {
        #[cfg(test)]
        drafts.iter().for_each(|(d, _)| fault::trap::spring(fault::trap::FaultPlace::Live, d.client));
        let mut judged = self.testimony.judge(drafts);
        for (draft, _) in &mut judged.drafts {
            self.doubt(draft);
            if draft.certainty() != Certainty::Confirmed {
                judged.confirmed.remove(&(draft.connection, draft.server, draft.kind));
            }
        }
        if let Some(words) = &mut self.words {
            let before: Vec<_> = judged.drafts.iter().map(|(d, _)| (d.kind, d.certainty())).collect();
            words.judge(&mut judged.drafts);
            let after = judged.drafts.iter().zip(before);
            let changed = after.filter(|((d, _), before)| (d.kind, d.certainty()) != *before);
            let confirmed = changed.filter(|((d, _), _)| d.certainty() == Certainty::Confirmed);
            judged.confirmed.extend(confirmed.map(|((d, _), _)| (d.connection, d.server, d.kind)));
        }
        // Findings about a listener as a whole are part of what its socket counted.
        let is_counted = |d: &Draft| {
            let trouble = d.server.and_then(|server| self.sockets.trouble(server.socket()));
            is_of_full_queue(d.kind) && trouble.is_some_and(|trouble| trouble.dropped.is_some())
        };
        judged.drafts.retain(|(d, _)| d.connection.is_some() || !is_counted(d));
        let known = full_queues(&judged.drafts);
        let handshake = |address, during| sight.handshake(address, during);
        for (draft, vantage) in self.sockets.refusals(sight.context(), handshake, &known, now) {
            judged.confirmed.insert((None, draft.server, draft.kind));
            judged.drafts.push((draft, vantage));
        }
        let paths: Vec<Arc<str>> = self.interfaces.iter().map(|i| i.name.as_str().into()).collect();
        let found = judged.drafts.iter().map(|(d, _)| (d.kind, d.during().0, d.during().1)).collect();
        let mut events = self.issued.compare(judged, sight, now, settle, &paths);
        for event in &mut events {
            if let LiveEvent::Closed { incident, .. } = event
                && let Some(listener) = incident.listener
            {
                self.sockets.end_refusals(listener, incident.kind);
                // A report may be written long after.
                self.add_queues(incident);
                self.issued.keep_queues(incident);
            }
        }
        (found, events)
    }

    /// The places at which the program failed until now.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Reports that the program failed at something that does not end the watch: once for each place.
    pub fn record_fault(&mut self, step: WatchStep, fault: &Fault) -> Vec<LiveEvent> {
        let (doing, lacks) = step.texts();
        let text = format!("this program failed while {doing} (at {fault}); {lacks}. Please report this.");
        let mut events = Vec::new();
        if self.faults.len() < NOTES && !self.faults.contains(&text) {
            self.faults.push(text.clone());
            self.warn(self.state.at, text, &mut events);
        }
        events
    }

    /// Drops near a finding make it uncertain: a packet that seems absent may have been lost on the way here. A finding
    /// that the kernel confirmed before stays confirmed.
    fn doubt(&self, draft: &mut Draft) {
        let (first, last) = draft.during();
        let near = |(from, to, _): &&(Timestamp, Timestamp, u64)| *from <= last + NEAR && first <= *to + NEAR;
        let dropped: u64 = self.drops.iter().filter(near).map(|(.., n)| n).sum();
        if dropped == 0 {
            return;
        }
        draft.measure("capture_dropped", dropped);
        if draft.certainty() == Certainty::Confirmed {
            let reason = std::mem::take(&mut draft.reason);
            let dropped = format!("{dropped} packets were dropped while capturing");
            if self.issued.is_confirmed(draft) {
                draft.confirmed(format!("{reason}; {dropped}"));
            } else {
                draft.probable(format!("{reason}; but {dropped}"));
            }
        }
    }

    fn warn_now_and_then(
        &mut self,
        what: &'static str,
        now: Timestamp,
        text: String,
        events: &mut Vec<LiveEvent>,
    ) {
        if self.warned.get(what).is_none_or(|last| now - *last >= AGAIN) {
            self.warned.insert(what, now);
            self.warn(now, text, events);
        }
    }

    /// Adds a warning: something limits the observation.
    pub fn warn(&mut self, now: Timestamp, text: String, events: &mut Vec<LiveEvent>) {
        self.state.warnings.push(text.clone());
        if self.state.warnings.len() > WARNINGS {
            self.state.warnings.remove(0);
        }
        self.note(format!("{now}: {text}"));
        events.push(LiveEvent::Warning { at: now.to_string(), text });
    }

    /// Something for the report.
    fn note(&mut self, text: String) {
        if self.notes.len() < NOTES {
            self.notes.push(text);
        }
    }

    /// Brings the state up to date with what the engine saw.
    fn show(&mut self, now: Timestamp, sight: &CurrentResult) {
        let context = sight.context();
        for back in 0..5 {
            let second = now.after(Span::secs(-back));
            let all = rates(context, second);
            let (attempts, completed) = all.values().fold((0, 0), |sum, n| (sum.0 + n.0, sum.1 + n.1));
            if self.state.seconds.front().is_some_and(|first| first.at <= second) {
                let shown = self.second(second);
                // The packets of a forgotten second have been counted.
                let new =
                    (attempts.saturating_sub(shown.attempts), completed.saturating_sub(shown.completed));
                (shown.attempts, shown.completed) = (attempts, completed);
                self.state.total.attempts += new.0;
                self.state.total.completed += new.1;
            }
        }
        self.state.connections = self.engine.connections(sight);
        let open = self.issued.open(INCIDENTS);
        let room = INCIDENTS - open.len();
        let all: Vec<(Incident, bool)> = open
            .into_iter()
            .map(|incident| (incident, true))
            .chain(self.issued.closed().take(room).map(|incident| (incident.clone(), false)))
            .collect();
        let ids = all.iter().map(|(incident, _)| incident.id.as_str()).collect();
        let examples = self.issued.examples(&ids, EXAMPLES);
        let incidents = all
            .into_iter()
            .map(|(incident, open)| {
                let phase = if open { self.courses.of(&incident.id) } else { Phase::Over };
                let refused = self.refused(&incident).filter(|_| open);
                let examples = examples.get(&incident.id).map_or(&[][..], Vec::as_slice);
                watched(examples, incident, phase, refused)
            })
            .collect();
        self.state.incidents = incidents;
        // The current second is not over yet.
        let last = now.after(Span::secs(-1));
        self.state.listeners = self.listeners(&rates(context, last), last.seconds());
        self.state.counters = self.testimony.rises();
    }

    /// Counts, every ten seconds.
    fn statistics(&mut self, now: Timestamp, events: &mut Vec<LiveEvent>) {
        if now - self.told.at < STATISTICS {
            return;
        }
        let packets = self.interfaces.iter().map(|interface| interface.packets).sum();
        let segments = self.engine.totals().segments.iter().sum();
        let dropped = self.interfaces.iter().map(|i| i.dropped_by_kernel + i.dropped_by_interface).sum();
        let within = self.state.seconds.iter().filter(|second| second.at + Span::secs(1) <= now);
        let within = within.filter(|second| second.at + Span::secs(1) > self.told.at);
        let (attempts, completed) = within.fold((0, 0), |sum, s| (sum.0 + s.attempts, sum.1 + s.completed));
        events.push(LiveEvent::Statistics {
            at: now.to_string(),
            packets: packets - self.told.packets,
            segments: segments - self.told.segments,
            attempts,
            completed,
            dropped: dropped - self.told.dropped,
            tracked: self.engine.tracked(),
            open: self.issued.going_on() as u64,
        });
        self.told = ReportedTotals { at: now, packets, segments, dropped };
    }

    /// The parts of the state that are known at the end of a tick.
    fn finish(&mut self, events: &[LiveEvent]) {
        let opened = events.iter().filter(|event| matches!(event, LiveEvent::Opened { .. })).count() as u64;
        let now = self.state.at;
        self.second(now).findings += opened;
        self.state.tracked = self.engine.tracked();
        self.state.memory = self.engine.memory();
        let shown = |i: &Interface| state::InterfaceState {
            name: i.name.clone(),
            up: i.up,
            packets: i.packets,
            dropped_by_kernel: i.dropped_by_kernel,
            dropped_by_interface: i.dropped_by_interface,
        };
        self.state.interfaces = self.interfaces.iter().map(shown).collect();
    }

    /// Whether nothing has come since the last tick, and no connection is open.
    pub fn is_idle(&self) -> bool {
        !self.dirty
            && self.state.tracked == 0
            && !self.issued.is_waiting()
            && !self.testimony.has_refusals_to_explain()
    }

    /// The state to show.
    pub fn state(&self) -> &WatchState {
        &self.state
    }

    /// How far the engine is behind the clock of the machine, for the state.
    pub fn lags(&mut self, lag: Span) {
        self.state.lag = lag;
    }

    /// Issues the findings that were still waiting, and returns the full report up to now.
    pub fn report(&mut self, state: CaptureState) -> (Vec<LiveEvent>, Analysis) {
        let mut events = Vec::new();
        let now = self.engine.now();
        let asked = fault::contain(|| {
            if now > Timestamp::MIN {
                self.look(now, &mut events);
            }
            if let Some(words) = self.words.as_mut().filter(|_| state == CaptureState::Ended) {
                words.finish();
                self.engine.set_refused(words.refused());
            }
        });
        if let Err(fault) = asked {
            events.extend(self.record_fault(WatchStep::Kernel, &fault));
        }
        let sight = self.ask(now, state, Span::ZERO, &mut events);
        self.finish(&events);
        let mut outcome = match fault::contain(|| self.write_report(&sight)) {
            Ok(outcome) => outcome,
            Err(fault) => {
                events.extend(self.record_fault(WatchStep::Report, &fault));
                self.write_what_was_told(&mut events)
            }
        };
        // A failure of the engine counts as damage, too.
        for damage in std::mem::take(&mut outcome.damage) {
            if self.faults.len() < NOTES && !self.faults.contains(&damage) {
                self.faults.push(damage);
            }
        }
        outcome.damage.clone_from(&self.faults);
        (events, outcome)
    }

    /// The report, from `sight` and the issued findings.
    fn write_report(&self, sight: &CurrentResult) -> Analysis {
        let (drafts, written, incidents) = self.issued.all();
        let mut told = self.testimony.states(&drafts);
        told.warnings.extend(self.notes.iter().cloned());
        told.warnings.extend(self.words.as_ref().and_then(KernelWords::note));
        if self.issued.folded() + self.issued.forgotten > 0 {
            told.warnings.push(format!(
                "{} findings are not listed one by one: there were too many of one kind at one listener, or they \
                 are long over",
                self.issued.folded() + self.issued.forgotten
            ));
        }
        let mut outcome = self.engine.report(sight, &drafts, (written, incidents), told, self.statuses());
        outcome.report.incidents.iter_mut().for_each(|incident| self.add_queues(incident));
        outcome
    }

    /// Adds how long the queues were meanwhile, if the incident is of a full one and that is not known yet.
    fn add_queues(&self, incident: &mut Incident) {
        if is_of_full_queue(incident.kind) && incident.queues.is_none() {
            let during = (incident.first, incident.last);
            incident.queues = incident.listener.and_then(|listener| self.sockets.queues(listener, during));
        }
    }

    /// The report from the issued findings alone, if the program failed at the connections.
    fn write_what_was_told(&mut self, events: &mut Vec<LiveEvent>) -> Analysis {
        let blind = self.engine.empty_result();
        fault::contain(|| self.write_report(&blind)).unwrap_or_else(|fault| {
            events.extend(self.record_fault(WatchStep::Report, &fault));
            let report =
                Report { schema: SCHEMA.to_owned(), warnings: self.notes.clone(), ..Report::default() };
            Analysis {
                report,
                damage: Vec::new(),
                #[cfg(feature = "fleet")]
                connections: Vec::new(),
                #[cfg(feature = "fleet")]
                table_failed: None,
            }
        })
    }

    /// The interfaces as the report names its inputs.
    fn statuses(&self) -> Vec<InputStatus> {
        let taken = self.taken.iter().copied().chain(std::iter::repeat(PacketCount::default()));
        self.interfaces.iter().zip(taken).map(|(interface, taken)| status(interface, taken)).collect()
    }
}

#[cfg(test)]
mod tests;
