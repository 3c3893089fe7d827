//! What to keep of a connection that has ended: most are unremarkable and are only counted.

use std::borrow::Cow;

use crate::decode::segment::{Address, PacketId};
use crate::flow::compact::half_open::HalfOpen;
use crate::flow::ended::{EndedFlow, Removal};
use crate::flow::facts::{ConnectionFacts, PacketRef, Role};
use crate::flow::key::{FlowKey, Host, Map};
use crate::flow::outcome::{Outcome, Outcomes};
use crate::flow::tracker::EvictedActivity;
use crate::history::ended::EndedSummary;
use crate::history::handshakes::{HandshakeSample, HandshakeSamples};
use crate::history::host_clocks::ClockReadings;
use crate::history::incomplete::{IncompleteHandshake, IncompleteHandshakes};
use crate::history::interval::{Interval, UnservedInterval};
use crate::history::listener::ListenerHistory;
use crate::history::quality::CaptureQuality;
use crate::history::remarkable::{
    CountedOnly, CountedOnlyByClass, Grouping, RemarkableConnection, RemarkableSign, TriageClass,
    TwRecycleSuspicion,
};
use crate::history::settings::UserSettings;
use crate::history::strays::Strays;
use crate::history::syn_ack_lag::{self, SynAckLags};
use crate::history::tw_recycle::{SynFate, TwRecycleModel};
use crate::history::wants::Wants;
use crate::time::{Span, Timestamp};

/// A SYN-ACK that drew no answer is repeated after this (`TCP_TIMEOUT_INIT`). If it was not repeated, and the final ACK
/// comes later than that, the capture has missed an earlier final ACK.
const TIMER: Span = Span::secs(1);
/// A connection that waited this long for the application's first payload is recorded.
const WAITED: Span = Span::secs(1);
/// A kernel that has a connection acknowledges its segments within this (`TCP_DELACK_MAX`) and a round trip.
const DELAYED_ACK: Span = Span::millis(500);

/// The server's segments of connections that last no longer than this are recorded by the second, see
/// [`ListenerHistory`].
const LASTS: Span = Span::secs(2);
/// Intervals in which one host was heard that are kept.
const HEARD: usize = 512;

/// A listener's list of incomplete handshakes takes, with its first entry, as much memory as this many entries: a scan
/// makes many lists.
const LISTENER_WITH_INCOMPLETE: usize = 12;

/// With more listeners than this, fewer lagging SYN-ACKs of each are kept.
const MANY_LAGS: usize = 64;

/// Keeps the connections that a detector may want, and the history of every listener.
#[derive(Clone, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Triage {
    /// Facts of connections worth a second look.
    kept: Vec<RemarkableConnection>,
    /// How many of each group are in `kept`: no more groups than `kept` has connections.
    held: Map<TriageClass, u32>,
    /// How many one group may have.
    quota: u32,
    /// How classes are grouped.
    grouping: Grouping,
    /// Counts of connections that are not kept.
    pub left_out: CountedOnlyByClass,
    /// How many may be kept.
    limit: usize,
    /// Handshakes that were never completed and are not in `kept`, by listener.
    pub incomplete: Map<Host, IncompleteHandshakes>,
    /// How many incomplete handshakes there are; a listener counts for some more.
    incomplete_count: usize,
    /// How many were not kept for want of room.
    pub surplus: u64,
    /// How many incomplete handshakes may be kept.
    most_incomplete: usize,
    /// Connections that cannot be decided about before it is known which SYNs are under suspicion, in order.
    doubtful: Vec<UndecidedConnection>,
    /// Every connection waits for its turn: those before it must be decided first.
    in_turn: bool,
    settings: UserSettings,
    #[cfg_attr(feature = "fleet", serde(skip))]
    wants: Wants,
    /// By listener.
    pub listeners: Map<Host, ListenerHistory>,
    /// By server address.
    pub samples: Map<Address, HandshakeSamples>,
    /// Trust in the capture.
    pub quality: CaptureQuality,
    /// How the connections ended.
    pub outcomes: Outcomes,
    /// Intervals of a second or longer in which a completed connection waited for the application's first payload.
    pub waits: Vec<UnservedInterval>,
    /// Clocks and timers of hosts.
    pub readings: ClockReadings,
    /// SYN-ACKs that lag, by listener.
    pub lags: Map<Host, SynAckLags>,
    /// The fate of the SYNs of connections that have ended and may be under suspicion.
    syn_fates: Vec<(PacketId, SynFate)>,
    /// How many listeners and servers may have a history; 0 for any number.
    most_listeners: usize,
    /// Connections that were left out of the histories because there were too many listeners.
    pub unlisted: u64,
    /// When each host was heard, on connections that last.
    pub heard: Map<Address, Vec<Interval>>,
    /// Segments of evicted connections.
    pub let_go_segments: u64,
    /// Segments of connections that were evicted and forgotten, or that began before the capture.
    pub strays: u64,
    /// Segments without a connection of their own.
    pub untranslated: Strays,
}

/// A connection that [`Triage::resolve`] decides about.
#[derive(Clone)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
enum UndecidedConnection {
    /// A lone SYN.
    HalfOpen(IncompleteHandshake, FlowKey, HalfOpen, Removal),
    /// The same with a full record.
    Full(IncompleteHandshake, Box<ConnectionFacts>),
    /// A handshake with this listener that is under no suspicion, and only waits for its turn.
    Incomplete(Host, IncompleteHandshake),
    /// A connection to be kept, whether or not it is under suspicion.
    Kept(Box<ConnectionFacts>),
}

/// The judgement of `peers` on the SYNs of a connection; `first` identifies the connection.
#[inline]
fn suspicion(peers: Option<&TwRecycleModel>, first: PacketId) -> TwRecycleSuspicion {
    match peers {
        None => TwRecycleSuspicion::Unjudged,
        Some(peers) if peers.is_suspect(first) => TwRecycleSuspicion::Dropped,
        Some(_) => TwRecycleSuspicion::Clear,
    }
}

impl Triage {
    /// A triage that keeps at most `limit` connections and `incomplete` handshakes that were never completed:
    /// connections in full where some kind `wants` them.
    pub fn new(limit: usize, incomplete: usize, settings: UserSettings, wants: Wants) -> Triage {
        Triage { limit, quota: u32::MAX, most_incomplete: incomplete, settings, wants, ..Triage::default() }
    }

    /// The same with histories of at most `most` listeners: a scan makes one of every port.
    pub fn with_listeners(mut self, most: usize) -> Triage {
        self.most_listeners = most;
        self
    }

    /// Handshakes kept that were never completed.
    pub fn incomplete_count(&self) -> usize {
        self.incomplete_count
    }

    /// Connections kept so far.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Moves out the connections kept.
    pub fn take_kept(&mut self) -> Vec<RemarkableConnection> {
        std::mem::take(&mut self.kept)
    }

    /// Records a connection that has ended; `end` is the last packet of the capture, once that is over; `peers` knows
    /// the SYNs under suspicion, if all SYNs so far were shown to it. If not, [`Triage::resolve`] comes later.
    ///
    /// Most connections are counted in the form in which they were stored.
    pub fn record(&mut self, ended: EndedFlow<'_>, end: Timestamp, peers: Option<&TwRecycleModel>) {
        if ended.is_evicted() {
            return self.record_evicted(&ended, end, peers);
        }
        match ended {
            EndedFlow::HalfOpen(key, h, _) if h.is_refused() => {
                let class = TriageClass { server: h.server(key), sign: RemarkableSign::Refused };
                let group = self.grouping.of(class);
                if self.held.get(&group).is_some_and(|held| *held >= self.quota) {
                    let ended = EndedSummary::of_half_open(key, h, Outcome::Refused);
                    self.count(&ended, suspicion(peers, ended.first.packet));
                    let left_out = CountedOnly::one(Outcome::Refused, h.last().time);
                    return self.left_out.add(class, left_out, self.limit);
                }
            }
            EndedFlow::HalfOpen(key, h, parting) => {
                if let Some(handshake) = IncompleteHandshake::of_half_open(key, h, parting.watched(end))
                    && !self.readings.want_half_open(h)
                    && !self.wants.wants_incomplete(&handshake)
                {
                    return self.record_incomplete(key, h, parting, handshake, peers);
                }
            }
            EndedFlow::Clean(key, b, _) => {
                if let Some(course) = b.course()
                    && !self.wants.wants_clean(b, &course, &self.settings)
                    && course.closed - course.final_ack < WAITED
                    && !self.readings.want_clean(b)
                {
                    let ended = EndedSummary::of_clean(key, b, &course);
                    self.count(&ended, suspicion(peers, ended.first.packet));
                    return;
                }
            }
            EndedFlow::Full(_) => {}
        }
        self.record_facts(ended.facts(), end, peers);
    }

    /// Counts a connection that has ended, whatever its form was. Returns whether its listener has a history.
    #[inline]
    fn count(&mut self, ended: &EndedSummary<'_>, suspicion: TwRecycleSuspicion) -> bool {
        self.outcomes.record(ended.outcome);
        self.quality.add(&ended.quality);
        if let Some(fate) = ended.syn_fate
            && suspicion != TwRecycleSuspicion::Clear
        {
            self.syn_fates.push((ended.first.packet, fate));
        }
        let Some(server) = ended.listener else { return false };
        let Some(listener) = self.listener(server) else { return false };
        listener.record(ended);
        if let Some(sample) = &ended.sample {
            self.keep_sample(server.address, sample);
        }
        if let Some((syn_ack, lag)) = ended.syn_ack_lag {
            self.record_lag(server, syn_ack, lag);
        }
        true
    }

    /// Records a connection that was evicted before its end: segments missing on it until then prove nothing.
    fn record_evicted(&mut self, evicted: &EndedFlow<'_>, end: Timestamp, peers: Option<&TwRecycleModel>) {
        if let EndedFlow::HalfOpen(key, h, _) = evicted
            && !h.is_troubled()
        {
            let mut ended = EndedSummary::of_half_open(key, h, Outcome::CutOff);
            ended.cut_off();
            if let Some(listener) = ended.listener.take().and_then(|server| self.listener(server)) {
                listener.uncounted.let_go += 1;
                listener.uncounted.last = listener.uncounted.last.max(h.first().time);
            }
            self.count(&ended, suspicion(peers, ended.first.packet));
            return;
        }
        let f = &*evicted.facts();
        // Its outcome is not known, so it is no finding; but it was remarkable.
        if f.is_troubled() && self.wants.wants_full(f, &self.settings) {
            let class = TriageClass::of(f, TwRecycleSuspicion::Unjudged);
            self.left_out.add(class, CountedOnly::of(f), self.limit);
        }
        let mut ended = EndedSummary::of(f, end.min(f.watched));
        ended.cut_off();
        if f.progress.is_none() {
            ended.listener = None;
        }
        if self.count(&ended, suspicion(peers, ended.first.packet)) {
            self.readings.record(f);
        }
    }

    /// Records news of evicted connections.
    pub fn record_evicted_news(&mut self, went_on: EvictedActivity) {
        self.let_go_segments += went_on.segments;
        self.strays += went_on.strays;
        self.quality.only_handshakes = self.quality.only_handshakes.saturating_sub(went_on.all_completed);
        for (server, completed) in went_on.completed {
            if let Some(listener) = self.listeners.get_mut(&server) {
                listener.uncounted.completed += completed;
            }
        }
    }

    /// Records a connection of which everything is known, and keeps it where a finding kind wants it.
    fn record_facts(
        &mut self,
        facts: Cow<'_, ConnectionFacts>,
        end: Timestamp,
        peers: Option<&TwRecycleModel>,
    ) {
        let f = &*facts;
        let ended = EndedSummary::of(f, end.min(f.watched));
        let suspicion = suspicion(peers, ended.first.packet);
        let outcome = ended.outcome;
        if self.count(&ended, suspicion) {
            self.readings.record(f);
            self.note_wait(f);
        }
        self.record_heard(f);
        if f.syn.count == 0 {
            self.untranslated.record(f);
        }
        if outcome.is_failure() || self.wants.wants_full(f, &self.settings) {
            let incomplete = IncompleteHandshake::of(f, outcome);
            match incomplete.filter(|handshake| !self.wants.wants_incomplete(handshake)) {
                // A lone SYN may have been dropped for its timestamp; an answered one was not.
                Some(handshake) if handshake.half_open.syn_acks == 0 => match suspicion {
                    TwRecycleSuspicion::Unjudged => {
                        self.doubtful.push(UndecidedConnection::Full(handshake, Box::new(facts.into_owned())))
                    }
                    TwRecycleSuspicion::Dropped => self.keep(facts, suspicion),
                    TwRecycleSuspicion::Clear => self.keep_incomplete(f.server, handshake),
                },
                Some(handshake) => self.keep_incomplete(f.server, handshake),
                None => self.keep(facts, suspicion),
            }
        } else if outcome == Outcome::Open {
            self.untranslated.record_open(f);
        }
    }

    /// Records when the ends were heard, for connections that last: shorter ones are recorded by the second.
    fn record_heard(&mut self, f: &ConnectionFacts) {
        for role in Role::BOTH {
            let side = f.side(role);
            if side.segments == 0 || side.last.time - side.first < LASTS {
                continue;
            }
            let address = f.host(role).address;
            if self.most_listeners > 0
                && self.heard.len() >= self.most_listeners
                && !self.heard.contains_key(&address)
            {
                continue;
            }
            let heard = self.heard.entry(address).or_default();
            let room = HEARD.saturating_sub(heard.len());
            heard.extend(side.heard().take(room).map(|(from, to)| Interval { from, to }));
        }
    }

    fn record_lag(&mut self, server: Host, syn_ack: PacketRef, lag: i64) {
        let most = if self.lags.len() < MANY_LAGS { syn_ack_lag::KEPT } else { syn_ack_lag::KEPT_OF_MANY };
        self.lags.entry(server).or_default().record(syn_ack, lag, most);
    }

    /// Records one SYN, with its answers, that no finding kind wants.
    fn record_incomplete(
        &mut self,
        key: &FlowKey,
        h: &HalfOpen,
        parting: Removal,
        handshake: IncompleteHandshake,
        peers: Option<&TwRecycleModel>,
    ) {
        let ended = EndedSummary::of_half_open(key, h, handshake.outcome);
        let suspicion = suspicion(peers, ended.first.packet);
        self.count(&ended, suspicion);
        match suspicion {
            TwRecycleSuspicion::Unjudged if !ended.was_answered => {
                self.doubtful.push(UndecidedConnection::HalfOpen(handshake, *key, h.clone(), parting))
            }
            TwRecycleSuspicion::Dropped if !ended.was_answered => {
                self.keep(EndedFlow::HalfOpen(key, h, parting).facts(), TwRecycleSuspicion::Dropped)
            }
            _ => self.keep_incomplete(h.server(key), handshake),
        }
    }

    /// The history of a listener, begun if it is new and there is room.
    fn listener(&mut self, server: Host) -> Option<&mut ListenerHistory> {
        if self.most_listeners > 0 && self.listeners.len() >= self.most_listeners {
            let known = self.listeners.get_mut(&server);
            self.unlisted += u64::from(known.is_none());
            return known;
        }
        Some(self.listeners.entry(server).or_default())
    }

    /// All SYNs up to now were shown to `peers`: drops those that it does not suspect.
    pub fn resolve(&mut self, peers: &TwRecycleModel) {
        self.syn_fates.retain(|(connection, _)| peers.is_suspect(*connection));
        self.in_turn = false;
        let suspected = |handshake: &IncompleteHandshake| peers.is_suspect(handshake.half_open.syn.packet);
        for doubtful in std::mem::take(&mut self.doubtful) {
            match doubtful {
                UndecidedConnection::HalfOpen(handshake, key, h, parting) if suspected(&handshake) => {
                    self.keep(EndedFlow::HalfOpen(&key, &h, parting).facts(), TwRecycleSuspicion::Dropped);
                }
                UndecidedConnection::HalfOpen(handshake, key, h, _) => {
                    self.keep_incomplete(h.server(&key), handshake)
                }
                UndecidedConnection::Full(handshake, f) if suspected(&handshake) => {
                    self.keep(Cow::Owned(*f), TwRecycleSuspicion::Dropped)
                }
                UndecidedConnection::Full(handshake, f) => self.keep_incomplete(f.server, handshake),
                UndecidedConnection::Incomplete(server, handshake) => self.keep_incomplete(server, handshake),
                UndecidedConnection::Kept(f) => {
                    let suspicion = suspicion(Some(peers), f.first.packet);
                    self.keep(Cow::Owned(*f), suspicion);
                }
            }
        }
    }

    /// From here on everything waits for [`Triage::resolve`], which then decides as if the suspicious SYNs had been
    /// known all along.
    #[cfg(feature = "fleet")]
    pub fn defer_decisions(&mut self) {
        self.in_turn = true;
    }

    fn keep_incomplete(&mut self, server: Host, handshake: IncompleteHandshake) {
        if self.in_turn {
            return self.doubtful.push(UndecidedConnection::Incomplete(server, handshake));
        }
        if self.incomplete_count < self.most_incomplete {
            let of_listener = self.incomplete.entry(server).or_default();
            self.incomplete_count +=
                if of_listener.half_open.is_empty() { LISTENER_WITH_INCOMPLETE } else { 1 };
            of_listener.push(handshake);
        } else {
            self.surplus += 1;
            match self.incomplete.get_mut(&server) {
                Some(of_listener) => of_listener.outcomes.record(handshake.outcome),
                None => self.left_out.others_failed += u64::from(handshake.outcome.is_failure()),
            }
            if let Some(listener) = self.listeners.get_mut(&server) {
                listener.uncounted.surplus += 1;
                listener.uncounted.last = listener.uncounted.last.max(handshake.half_open.syn.time);
            }
        }
    }

    fn keep(&mut self, f: Cow<'_, ConnectionFacts>, suspicion: TwRecycleSuspicion) {
        if self.in_turn {
            return self.doubtful.push(UndecidedConnection::Kept(Box::new(f.into_owned())));
        }
        let class = TriageClass::of(&f, suspicion);
        let held = self.held.entry(self.grouping.of(class)).or_default();
        if *held >= self.quota {
            return self.left_out.add(class, CountedOnly::of(&f), self.limit);
        }
        *held += 1;
        self.kept.push((class, Box::new(f.into_owned())));
        if self.kept.len() > self.limit {
            self.thin_out();
        }
    }

    /// Halves the room of each group until there is enough: the first connections of each group stay. If there are too
    /// many groups even for one connection each, groups are merged.
    fn thin_out(&mut self) {
        while self.kept.len() > self.limit / 2 {
            if self.quota > 1 {
                let most = self.held.values().copied().max().unwrap_or(0);
                self.quota = (self.quota.min(most) / 2).max(1);
            } else if let Some(coarser) = self.grouping.coarser() {
                self.grouping = coarser;
                self.quota = (self.limit / 4).max(1) as u32;
            } else {
                break;
            }
            self.held.clear();
            let (held, quota, left_out) = (&mut self.held, self.quota, &mut self.left_out);
            let (grouping, limit) = (self.grouping, self.limit);
            self.kept.retain(|(class, f)| {
                let n = held.entry(grouping.of(*class)).or_default();
                let stays = *n < quota;
                *n += u32::from(stays);
                if !stays {
                    left_out.add(*class, CountedOnly::of(f), limit);
                }
                stays
            });
        }
    }

    /// Moves out the fate of the SYNs of connections under suspicion.
    pub fn drain_syn_fates(&mut self) -> std::vec::Drain<'_, (PacketId, SynFate)> {
        self.syn_fates.drain(..)
    }

    fn note_wait(&mut self, f: &ConnectionFacts) {
        let Some(ack) = f.final_ack else { return };
        // A request that the server's kernel does not acknowledge waits because of the path, or the connection is
        // stuck.
        let asked = f.c.first_data.map(|at| at.time);
        let from = match (asked, f.progress) {
            (None, _) => ack.at.time,
            (Some(_), None) => return,
            (Some(asked), Some(progress)) if progress.at.time - asked <= DELAYED_ACK => ack.at.time,
            (Some(_), Some(progress)) => progress.at.time,
        };
        let asked = asked.is_some();
        let to = f.served().or(f.closed).unwrap_or(f.watched);
        if to - from >= WAITED && self.waits.len() < self.limit {
            let interval = Interval { from, to };
            self.waits.push(UnservedInterval { server: f.server, interval, client: f.client.address, asked });
        }
    }

    fn keep_sample(&mut self, server: Address, sample: &HandshakeSample) {
        let full = self.most_listeners > 0 && self.samples.len() >= self.most_listeners;
        if full && !self.samples.contains_key(&server) {
            return;
        }
        let samples = self.samples.entry(server).or_default();
        if samples.wants(sample.at) && sample.syn_ack_to_ack < TIMER {
            samples.record(*sample);
        }
    }
}
