//! What to keep of a connection that is over: most are unremarkable, and only counted.

use std::borrow::Cow;

use crate::decode::segment::{Address, PacketId};
use crate::flow::compact::clean::{CleanFlow, Course};
use crate::flow::compact::half_open::HalfOpen;
use crate::flow::ended::{EndedFlow, Parting};
use crate::flow::facts::{ConnectionFacts, PacketRef, Role, Roles, Side};
use crate::flow::key::{FlowKey, Host, Map};
use crate::flow::outcome::{Outcome, Outcomes};
use crate::flow::tracker::WentOn;
use crate::history::handshakes::{HandshakeSample, HandshakeSamples};
use crate::history::host_clocks::{ClockReading, ClockReadings};
use crate::history::incomplete::{IncompleteHandshake, IncompleteHandshakes};
use crate::history::interval::{Interval, Unserved};
use crate::history::listener::Listener;
use crate::history::remarkable::{Class, Grouping, Kept, LeftOut, LeftOuts, Sign};
use crate::history::settings::Settings;
use crate::history::strays::Strays;
use crate::history::syn_ack_lag::{self, SynAckLags};
use crate::history::tw_recycle::TwRecycleModel;
use crate::history::wants::Wants;
use crate::time::{Span, Timestamp};

/// After this a SYN-ACK that drew no answer is repeated (`TCP_TIMEOUT_INIT`): where it was not, and the final ACK comes
/// later, an earlier one was missed.
const TIMER: Span = Span::secs(1);
/// A connection that waited this long for the application's first payload is worth knowing.
const WAITED: Span = Span::secs(1);
/// A kernel that has a connection acknowledges what comes on it within this (`TCP_DELACK_MAX`), and a round trip.
const DELAYED_ACK: Span = Span::millis(500);

/// Connections that last no longer than this are heard of by the second, see [`Listener`].
const LASTS: Span = Span::secs(2);
/// Stretches in which one host was heard that are kept.
const HEARD: usize = 512;

/// A listener's list of incomplete handshakes with its first one takes as much memory as so many incomplete handshakes: a scan makes many of them.
const LISTENER_WITH_INCOMPLETE: usize = 12;

/// With more listeners than that fewer lagging SYN-ACKs of each are kept.
const MANY_LAGS: usize = 64;

/// Losses of the capture itself, and what else lowers trust in it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Quality {
    /// Connections.
    pub connections: u64,
    /// Segments of them, copies not counted.
    pub segments: u64,
    /// Connections of which only one direction was captured although the other must have sent.
    pub one_sided: u64,
    /// Connections whose client went on without a segment of the server in the capture: its direction is missing.
    pub deaf: u64,
    /// Connections of which nothing but SYNs was captured.
    pub only_syns: u64,
    /// Connections of which nothing but SYNs and SYN-ACKs was captured.
    pub only_handshakes: u64,
    /// Acknowledgments of bytes that the capture does not hold.
    pub unseen: u64,
    /// Segments that came just after their acknowledgment.
    pub reordered: u64,
    /// Copies of packets.
    pub duplicates: u64,
    /// Packets of intervals captured twice.
    pub replayed: u64,
    /// Connections joined in the middle.
    pub mid_stream: u64,
    /// Connections on which the segments of one end came with several TTLs.
    pub several_ttls: u64,
}

impl Quality {
    /// Adds up two.
    pub fn add(&mut self, other: &Quality) {
        self.connections += other.connections;
        self.segments += other.segments;
        self.one_sided += other.one_sided;
        self.deaf += other.deaf;
        self.only_syns += other.only_syns;
        self.only_handshakes += other.only_handshakes;
        self.unseen += other.unseen;
        self.reordered += other.reordered;
        self.duplicates += other.duplicates;
        self.replayed += other.replayed;
        self.mid_stream += other.mid_stream;
        self.several_ttls += other.several_ttls;
    }
}

/// Keeps the connections that a detector may want, and the history of every listener.
#[derive(Clone, Default)]
pub struct Triage {
    /// Facts of connections worth a second look.
    kept: Vec<Kept>,
    /// How many of each group are in `kept`: no more groups than `kept` has connections.
    held: Map<Class, u32>,
    /// How many of one group may be.
    quota: u32,
    /// Which classes are one group.
    grouping: Grouping,
    /// What more there would have been.
    pub left_out: LeftOuts,
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
    /// Lone SYNs of which it is not known yet whether they are under suspicion.
    doubtful: Vec<(IncompleteHandshake, Doubtful)>,
    settings: Settings,
    wants: Wants,
    /// By listener.
    pub listeners: Map<Host, Listener>,
    /// By server address.
    pub samples: Map<Address, HandshakeSamples>,
    /// Trust in the capture.
    pub quality: Quality,
    /// How the connections ended.
    pub outcomes: Outcomes,
    /// Stretches of a second or longer in which a completed connection waited for the application's first payload.
    pub waits: Vec<Unserved>,
    /// Clocks and timers of hosts.
    pub readings: ClockReadings,
    /// SYN-ACKs that lag, by listener.
    pub lags: Map<Host, SynAckLags>,
    /// Connections that are over and may be under suspicion: the SYN that was answered, and whether otherwise than by
    /// SYN-ACK.
    settled: Vec<(PacketId, Option<PacketRef>, bool)>,
    /// Of how many listeners and servers anything is known; 0 for all.
    most_listeners: usize,
    /// Connections that were left out of the histories because there were too many listeners.
    pub unlisted: u64,
    /// When each host was heard, on connections that last.
    pub heard: Map<Address, Vec<Interval>>,
    /// Segments of connections that had been let go.
    pub let_go_segments: u64,
    /// Segments of connections that had been let go and forgotten, or that were joined in the middle.
    pub strays: u64,
    /// Segments without a connection of their own.
    pub untranslated: Strays,
}

/// A lone SYN.
#[derive(Clone)]
enum Doubtful {
    HalfOpen(FlowKey, HalfOpen, Parting),
    Full(Box<ConnectionFacts>),
}

impl Triage {
    /// A triage that keeps at most `limit` connections and `incomplete` handshakes that were never completed:
    /// connections in full where some kind `wants` them.
    pub fn new(limit: usize, incomplete: usize, settings: Settings, wants: Wants) -> Triage {
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
    pub fn take_kept(&mut self) -> Vec<Kept> {
        std::mem::take(&mut self.kept)
    }

    /// Takes in a connection that is over; `end` is the last packet of the capture, once it is over; `peers` knows
    /// the SYNs under suspicion, if all SYNs so far were shown to it. If not, [`Triage::resolve`] comes later.
    ///
    /// Most connections are counted in the form in which they were kept.
    pub fn take(&mut self, gone: EndedFlow<'_>, end: Timestamp, peers: Option<&TwRecycleModel>) {
        if gone.is_evicted() {
            return self.record_evicted(&gone, end, peers);
        }
        match gone {
            EndedFlow::HalfOpen(key, h, _) if h.is_refused() => {
                let class = Class { server: h.server(key), sign: Sign::Refused };
                let group = self.grouping.of(class);
                if self.held.get(&group).is_some_and(|held| *held >= self.quota) {
                    return self.take_refused(key, h, peers);
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
                    return self.record_clean(key, b, &course, peers);
                }
            }
            EndedFlow::Full(_) => {}
        }
        self.take_facts(gone.facts(), end, peers);
    }

    /// Takes in a connection that was let go before its end: what did not happen on it until then proves nothing.
    fn record_evicted(&mut self, gone: &EndedFlow<'_>, end: Timestamp, peers: Option<&TwRecycleModel>) {
        if let EndedFlow::HalfOpen(key, h, _) = gone
            && !h.is_troubled()
        {
            self.outcomes.record(Outcome::CutOff);
            self.quality.connections += 1;
            self.quality.segments += h.segments();
            self.quality.only_handshakes += 1;
            self.quality.only_syns += u64::from(h.syn_acks() == 0);
            if let Some(listener) = self.listener(h.server(key)) {
                listener.uncounted.let_go += 1;
                listener.uncounted.last = listener.uncounted.last.max(h.first().time);
            }
            return self.exempt(h.first().packet, peers);
        }
        self.outcomes.record(Outcome::CutOff);
        let f = &*gone.facts();
        self.note_quality(f);
        // What it would have come to is not known: it is no finding. But it was remarkable.
        if f.is_troubled() && self.wants.wants_full(f, &self.settings) {
            let class = Class::of(f, false);
            self.left_out.add(class, LeftOut::of(f), self.limit);
        }
        if f.roles != Roles::Guessed
            && f.progress.is_some()
            && let Some(listener) = self.listener(f.server)
        {
            listener.take(f, end.min(f.watched));
            self.note_sample(f);
            self.readings.take(f);
            self.note_lag(f);
        }
        self.exempt(f.first.packet, peers);
    }

    /// What became of a SYN is not known: it is no evidence of `tcp_tw_recycle`, nor against it.
    fn exempt(&mut self, first: PacketId, peers: Option<&TwRecycleModel>) {
        if peers.is_none_or(|peers| peers.is_suspect(first)) {
            self.settled.push((first, None, true));
        }
    }

    /// Takes in what became known of connections that had been let go.
    pub fn record_went_on(&mut self, went_on: WentOn) {
        self.let_go_segments += went_on.segments;
        self.strays += went_on.strays;
        self.quality.only_handshakes = self.quality.only_handshakes.saturating_sub(went_on.all_completed);
        for (server, completed) in went_on.completed {
            if let Some(listener) = self.listeners.get_mut(&server) {
                listener.uncounted.completed += completed;
            }
        }
    }

    fn take_facts(
        &mut self,
        facts: Cow<'_, ConnectionFacts>,
        end: Timestamp,
        peers: Option<&TwRecycleModel>,
    ) {
        let f = &*facts;
        let outcome = Outcome::of(f, end.min(f.watched));
        self.outcomes.record(outcome);
        self.note_quality(f);
        self.record_heard(f);
        if f.syn.count == 0 {
            self.untranslated.record(f);
        }
        if f.roles != Roles::Guessed
            && let Some(listener) = self.listener(f.server)
        {
            listener.take(f, end.min(f.watched));
            self.note_sample(f);
            self.readings.take(f);
            self.note_lag(f);
            self.note_wait(f);
        }
        if f.syn.count > 0 && peers.is_none_or(|peers| peers.is_suspect(f.first.packet)) {
            let answered = f.answered_syn().map(|syn| syn.at);
            let otherwise = f.syn_ack.count == 0
                && (f.s.resets > 0 || f.ack_to_syn.is_some() || f.icmp.is_some() || f.went_on());
            self.settled.push((f.first.packet, answered, otherwise));
        }
        if outcome.is_failure() || self.wants.wants_full(f, &self.settings) {
            let is_suspect = peers.is_some_and(|peers| peers.is_suspect(f.first.packet));
            let incomplete = IncompleteHandshake::of(f, outcome);
            match incomplete.filter(|handshake| !self.wants.wants_incomplete(handshake)) {
                // A lone SYN may have been dropped for its timestamp; an answered one was not.
                Some(handshake) if handshake.half_open.syn_acks == 0 => match peers {
                    None => self.doubtful.push((handshake, Doubtful::Full(Box::new(facts.into_owned())))),
                    Some(_) if is_suspect => self.keep(facts, true),
                    Some(_) => self.keep_incomplete(f.server, handshake),
                },
                Some(handshake) => self.keep_incomplete(f.server, handshake),
                None => self.keep(facts, is_suspect),
            }
        } else if outcome == Outcome::Open {
            self.untranslated.record_open(f);
        }
    }

    /// Notes when the ends gave signs of life, as far as that is not known by the second: on connections that last.
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

    fn note_lag(&mut self, f: &ConnectionFacts) {
        if let Some([first, later]) = ClockReading::clock(f, Role::Server)
            && let Some(after_syn) = f.syn_to_syn_ack().filter(|_| f.syn.count > 0)
            && let Some(lag) = SynAckLags::read(after_syn, first, later)
            && let Some(syn_ack) = f.syn_ack.first()
        {
            self.record_lag(f.server, syn_ack.at, lag);
        }
    }

    fn record_lag(&mut self, server: Host, syn_ack: PacketRef, lag: i64) {
        let most = if self.lags.len() < MANY_LAGS { syn_ack_lag::KEPT } else { syn_ack_lag::KEPT_OF_MANY };
        self.lags.entry(server).or_default().take(syn_ack, lag, most);
    }

    /// What [`Triage::take_facts`] makes of one SYN and its answers.
    fn record_incomplete(
        &mut self,
        key: &FlowKey,
        h: &HalfOpen,
        parting: Parting,
        handshake: IncompleteHandshake,
        peers: Option<&TwRecycleModel>,
    ) {
        let server = h.server(key);
        let answered = handshake.half_open.syn_acks > 0;
        self.outcomes.record(handshake.outcome);
        self.quality.connections += 1;
        self.quality.segments += 1 + u64::from(handshake.half_open.syn_acks);
        self.quality.only_handshakes += 1;
        self.quality.only_syns += u64::from(!answered);
        if let Some(listener) = self.listener(server) {
            listener.take_half_open(key, h);
        }
        let first = h.first();
        let is_suspect = peers.map(|peers| peers.is_suspect(first.packet));
        if is_suspect != Some(false) {
            self.settled.push((first.packet, answered.then_some(first), false));
        }
        match is_suspect {
            None if !answered => {
                self.doubtful.push((handshake, Doubtful::HalfOpen(*key, h.clone(), parting)))
            }
            Some(true) if !answered => self.keep(EndedFlow::HalfOpen(key, h, parting).facts(), true),
            _ => self.keep_incomplete(server, handshake),
        }
    }

    /// What [`Triage::take_facts`] makes of SYNs that were refused, where enough of them are kept.
    fn take_refused(&mut self, key: &FlowKey, h: &HalfOpen, peers: Option<&TwRecycleModel>) {
        let server = h.server(key);
        self.outcomes.record(Outcome::Refused);
        self.quality.connections += 1;
        self.quality.segments += u64::from(h.syns()) + 1;
        if let Some(listener) = self.listener(server) {
            listener.take_refused(h);
        }
        let first = h.first().packet;
        if peers.is_none_or(|peers| peers.is_suspect(first)) {
            self.settled.push((first, None, true));
        }
        let class = Class { server, sign: Sign::Refused };
        self.left_out.add(class, LeftOut::one(Outcome::Refused, h.last().time), self.limit);
    }

    /// What [`Triage::take_facts`] makes of a connection that went as it should.
    fn record_clean(
        &mut self,
        key: &FlowKey,
        b: &CleanFlow,
        course: &Course,
        peers: Option<&TwRecycleModel>,
    ) {
        let (server, first) = (b.asked.server(key), b.asked.first());
        self.outcomes.record(Outcome::Closed);
        self.quality.connections += 1;
        self.quality.segments += u64::from(course.segments);
        self.quality.several_ttls += u64::from(course.several_ttls);
        let is_listed = self.listener(server).map(|listener| listener.record_clean(key, b, course)).is_some();
        if is_listed
            && let Some([syn_ack, later]) = b.server_clock()
            && let Some(lag) = SynAckLags::read(syn_ack.0 - first.time, syn_ack, later)
        {
            self.record_lag(server, b.asked.last(), lag);
        }
        if is_listed && (course.bare || course.brought_payload) {
            let answered = b.asked.last().time;
            let (client_ttl, server_ttl) = b.asked.ttls();
            let [client_traits, server_traits] = course.traits;
            self.keep_sample(server.address, first, || HandshakeSample {
                at: first,
                syn_to_syn_ack: answered - first.time,
                syn_ack_to_ack: course.final_ack - answered,
                client_ttl,
                server_ttl,
                client_traits,
                server_traits,
            });
        }
        if peers.is_none_or(|peers| peers.is_suspect(first.packet)) {
            self.settled.push((first.packet, Some(first), false));
        }
    }

    /// The history of a listener, begun where there is none and room for one.
    fn listener(&mut self, server: Host) -> Option<&mut Listener> {
        if self.most_listeners > 0 && self.listeners.len() >= self.most_listeners {
            let known = self.listeners.get_mut(&server);
            self.unlisted += u64::from(known.is_none());
            return known;
        }
        Some(self.listeners.entry(server).or_default())
    }

    /// All SYNs so far were shown to `peers`: drops what it does not suspect.
    pub fn resolve(&mut self, peers: &TwRecycleModel) {
        self.settled.retain(|(connection, ..)| peers.is_suspect(*connection));
        for (handshake, lone) in std::mem::take(&mut self.doubtful) {
            let suspect = peers.is_suspect(handshake.half_open.syn.packet);
            match (lone, suspect) {
                (Doubtful::HalfOpen(key, h, parting), true) => {
                    self.keep(EndedFlow::HalfOpen(&key, &h, parting).facts(), true);
                }
                (Doubtful::HalfOpen(key, h, _), false) => self.keep_incomplete(h.server(&key), handshake),
                (Doubtful::Full(f), true) => self.keep(Cow::Owned(*f), true),
                (Doubtful::Full(f), false) => self.keep_incomplete(f.server, handshake),
            }
        }
    }

    fn keep_incomplete(&mut self, server: Host, handshake: IncompleteHandshake) {
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

    fn keep(&mut self, f: Cow<'_, ConnectionFacts>, is_suspect: bool) {
        let class = Class::of(&f, is_suspect);
        let held = self.held.entry(self.grouping.of(class)).or_default();
        if *held >= self.quota {
            return self.left_out.add(class, LeftOut::of(&f), self.limit);
        }
        *held += 1;
        self.kept.push((class, Box::new(f.into_owned())));
        if self.kept.len() > self.limit {
            self.thin_out();
        }
    }

    /// Halves what one group may have, until there is room again: the first of each group stay. Where there are too many
    /// groups even for one connection of each, they become larger.
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
                    left_out.add(*class, LeftOut::of(f), limit);
                }
                stays
            });
        }
    }

    /// Moves out what became of connections under suspicion.
    pub fn drain_settled(&mut self) -> std::vec::Drain<'_, (PacketId, Option<PacketRef>, bool)> {
        self.settled.drain(..)
    }

    fn note_quality(&mut self, f: &ConnectionFacts) {
        let q = &mut self.quality;
        q.connections += 1;
        q.segments += u64::from(f.c.segments) + u64::from(f.s.segments);
        q.unseen += u64::from(f.c.unseen) + u64::from(f.s.unseen);
        q.reordered += u64::from(f.reordered);
        q.duplicates += u64::from(f.duplicates);
        q.replayed += u64::from(f.replayed);
        q.mid_stream += u64::from(f.mid_stream);
        // A RST may come from a box in between, or from the host itself: it starts from a TTL of its own.
        let several = |side: &Side| side.ttl.0 != side.ttl.1 && side.resets == 0;
        q.several_ttls += u64::from(several(&f.c) || several(&f.s));
        let only_syns = f.s.segments == 0 && f.c.segments == f.syn.count;
        q.only_syns += u64::from(only_syns);
        q.only_handshakes += u64::from(f.c.segments == f.syn.count && f.s.segments == f.syn_ack.count);
        q.deaf +=
            u64::from(f.s.segments == 0 && !only_syns && f.c.segments > f.syn.count + u32::from(f.c.resets));
        let answered = f.c.acked_known || f.s.acked_known;
        q.one_sided += u64::from(!f.both_seen() && answered);
    }

    fn note_wait(&mut self, f: &ConnectionFacts) {
        let Some(ack) = f.final_ack else { return };
        // A question that the server's kernel does not acknowledge waits for the path, or the connection is stuck.
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
            self.waits.push(Unserved { server: f.server, interval, client: f.client.address, asked });
        }
    }

    fn note_sample(&mut self, f: &ConnectionFacts) {
        // SYN-ACKs that come again after the final ACK say nothing of the path.
        let (Some(ack), 1) = (f.final_ack, f.syn.count) else { return };
        let (Some(a), Some(b)) = (f.syn_to_syn_ack(), f.syn_ack_to_ack()) else { return };
        // The capture changed their order.
        if b < Span::ZERO {
            return;
        }
        if !ack.bare && f.c.first_data.is_none_or(|data| data != ack.at) {
            return;
        }
        self.keep_sample(f.server.address, f.first, || HandshakeSample {
            at: f.first,
            syn_to_syn_ack: a,
            syn_ack_to_ack: b,
            client_ttl: f.syn_offer.ttl,
            server_ttl: f.syn_ack_offer.ttl,
            client_traits: f.c.traits,
            server_traits: f.s.traits,
        });
    }

    fn keep_sample(&mut self, server: Address, at: PacketRef, sample: impl FnOnce() -> HandshakeSample) {
        let full = self.most_listeners > 0 && self.samples.len() >= self.most_listeners;
        if full && !self.samples.contains_key(&server) {
            return;
        }
        let samples = self.samples.entry(server).or_default();
        if samples.wants(at) {
            let sample = sample();
            if sample.syn_ack_to_ack < TIMER {
                samples.take(sample);
            }
        }
    }
}
