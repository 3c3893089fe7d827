//! The activity at one listener across its connections: which were stuck, which waited, which SYNs went unanswered, and
//! when.
//!
//! Built once, from the connections that were kept, before the detectors run.

use std::sync::OnceLock;

use crate::decode::segment::Address;
use crate::detect::analysis::common_features::{FailedSyn, FailurePatterns};
use crate::detect::analysis::ignored_ack::{StuckConnection, ignored_ack};
use crate::flow::facts::{ConnectionFacts, PacketRef, Reset, ResetTrigger, Role, SegmentKind};
use crate::flow::key::{Host, Map};
use crate::history::incomplete::{
    HalfOpenRequest, IncompleteHandshakes, SynFingerprint, half_open, is_kept, is_stripped,
};
use crate::history::interval::{Interval, UnservedInterval};
use crate::history::syn_ack_lag::SynAckLags;
use crate::history::tw_recycle::TwRecycleModel;
use crate::time::{Span, Timestamp};

/// A SYN without an answer is repeated by then (`TCP_TIMEOUT_INIT`, with a margin for the timer).
const SYN_TIMER: Span = Span::millis(1_200);

/// A RST that comes this soon after a segment of the client answers it.
const ANSWER: Span = Span::millis(5);

/// A SYN that drew no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IgnoredSyns {
    /// From the first such SYN of the connection to the last.
    pub during: Interval,
    /// The client.
    pub client: Host,
    /// A server with `tcp_tw_recycle` would have dropped one of them.
    pub behind: bool,
}

/// A connection left half-closed when the capture ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HalfClosedAtEnd {
    /// Who had closed.
    pub closer: Role,
    /// For how long the other side was silent.
    pub lasted: Span,
}

/// A connection that a socket of the server reset before it had sent any payload on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbortedConnection {
    /// The RST.
    pub at: PacketRef,
    /// Whether the client had sent payload, which the application may have left unread.
    pub asked: bool,
    /// Whether it came as soon after a segment of the client as an answer does.
    pub prompt: bool,
}

/// A bare RST that answered a final ACK.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ResetAck {
    /// When it came.
    pub time: Timestamp,
    /// When the listener answered the SYN; or when the SYN came, if that is not known.
    pub answered: Timestamp,
}

/// What happened at one listener.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ListenerActivity {
    /// Clients ignored after they had completed the handshake.
    pub stuck: Vec<StuckConnection>,
    /// Completed handshakes without payload of the application for a second or longer: they wait in the accept queue,
    /// or for a slow answer.
    pub waiting: Vec<UnservedInterval>,
    /// The same of clients that had sent no request yet: in the accept queue, or accepted and idle.
    pub idle: Vec<UnservedInterval>,
    /// Handshakes that their clients did not complete.
    pub half_open: Vec<HalfOpenRequest>,
    /// SYNs that were neither answered nor repeated: no real client sends only one.
    pub lone_syns: Vec<HalfOpenRequest>,
    /// How many of these were watched long enough to see a repetition.
    pub not_repeated: u32,
    /// SYNs without an answer.
    pub ignored: Vec<IgnoredSyns>,
    /// Connections of known hosts whose unanswered SYNs `tcp_tw_recycle` does not explain.
    pub unexplained: u32,
    /// The shortest pause after which a connection had been forgotten on the path.
    pub forgotten: Option<Span>,
    /// Connections left half-closed at the end.
    pub left_open: Vec<HalfClosedAtEnd>,
    /// RSTs by a socket of the server on connections on which it had sent no payload.
    pub aborted: Vec<AbortedConnection>,
    /// Bare RSTs in answer to the final ACK.
    pub reset: Vec<ResetAck>,
    /// SYN-ACKs that lack options of the SYN, sent to clients without timestamps, and not repeated unless the SYN was.
    pub stripped: Vec<PacketRef>,
    /// How many of such SYN-ACKs were repeated: the server kept a request, so these are no cookies.
    pub stripped_and_kept: u64,
    /// SYN-ACKs that lag the server's clock.
    pub lags: SynAckLags,
    /// SYNs that were refused by a RST.
    pub refused_syns: Vec<FailedSyn>,
    /// Whether refusals and answers alternate ([`crate::detect::analysis::common_features::alternates`]), once
    /// computed.
    pub(in crate::detect) alternates: OnceLock<bool>,
    /// How often refusals began after an answer ([`crate::detect::analysis::common_features::refusal_rows`]), once
    /// computed.
    pub(in crate::detect) refusal_rows: OnceLock<usize>,
    /// SYNs that were repeated because no answer came.
    pub ignored_syns: Vec<FailedSyn>,
    /// Whether SYNs that were never answered alternate with answered ones, once computed.
    pub(in crate::detect) ignored_in_turn: OnceLock<bool>,
    /// What sets these apart.
    pub patterns: FailurePatterns,
    /// When the server turned out to have lost connections: a RST without a socket answered their clients' data or
    /// probes.
    pub sockets_lost: Vec<Timestamp>,
    /// When the server closed connections by FIN that their clients went on using and that it then reset, and how long
    /// each had been idle.
    pub closed_in_use: Vec<(Timestamp, Span)>,
    /// Clients that had given up before their SYN was answered.
    pub given_up: u32,
    /// Computed from the others when first asked for.
    pub crowds: OnceLock<ActivityOverlaps>,
    /// When SYNs were ignored, computed when first asked for.
    pub(in crate::detect) ignored_times: OnceLock<OverlapCounter>,
}

/// Counts intervals of a [`ListenerActivity`] that contain a moment.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ActivityOverlaps {
    half_open: OverlapCounter,
    waiting: OverlapCounter,
    idle: OverlapCounter,
    ignored: OverlapCounter,
    aborted: AbortedTogether,
    /// In order of time.
    reset: Vec<ResetAck>,
    /// In order of time.
    sockets_lost: Vec<Timestamp>,
    /// In order of time.
    closed_in_use: Vec<Timestamp>,
    /// The shortest and the longest time for which they had been idle.
    idle_when_closed: Option<(Span, Span)>,
}

/// How many of `at`, in order, lie between `from` and `to`, both included.
fn count_between(at: &[Timestamp], from: Timestamp, to: Timestamp) -> usize {
    at.partition_point(|at| *at <= to).saturating_sub(at.partition_point(|at| *at < from))
}

/// Resets by a socket of the server in order of time, with how many there were before each.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct AbortedTogether {
    at: Vec<Timestamp>,
    /// One more entry than there are resets: the silent and prompt ones before each, and in all.
    before: Vec<[u32; 2]>,
}

impl AbortedTogether {
    fn of(aborted: &[AbortedConnection]) -> AbortedTogether {
        let mut all: Vec<(Timestamp, [u32; 2])> =
            aborted.iter().map(|a| (a.at.time, [u32::from(!a.asked), u32::from(a.prompt)])).collect();
        all.sort_unstable();
        let before = std::iter::once([0; 2])
            .chain(all.iter().scan([0; 2], |sum: &mut [u32; 2], (_, one)| {
                *sum = [sum[0] + one[0], sum[1] + one[1]];
                Some(*sum)
            }))
            .collect();
        AbortedTogether { at: all.into_iter().map(|(at, _)| at).collect(), before }
    }

    fn within(&self, from: Timestamp, to: Timestamp) -> AbortedCount {
        let (first, end) =
            (self.at.partition_point(|at| *at < from), self.at.partition_point(|at| *at <= to));
        let sum = |place: usize| self.before.get(place).copied().unwrap_or_default();
        let [silent, prompt] = [0, 1].map(|n| sum(end)[n].saturating_sub(sum(first)[n]) as usize);
        AbortedCount { connections: end.saturating_sub(first), silent, prompt }
    }
}

/// Connections that a socket of the server reset before it had sent any payload, in some time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbortedCount {
    /// How many.
    pub connections: usize,
    /// On how many of them the client had sent no payload.
    pub silent: usize,
    /// How many RSTs came just after a segment of the client.
    pub prompt: usize,
}

/// Counts intervals that contain a moment, in logarithmic time.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct OverlapCounter {
    from: Vec<Timestamp>,
    to: Vec<Timestamp>,
}

impl OverlapCounter {
    /// Of these intervals.
    pub fn of(intervals: impl Iterator<Item = Interval>) -> OverlapCounter {
        let (mut from, mut to): (Vec<_>, Vec<_>) =
            intervals.filter(|s| s.from <= s.to).map(|s| (s.from, s.to)).unzip();
        from.sort_unstable();
        to.sort_unstable();
        OverlapCounter { from, to }
    }

    /// How many began at `at` or before and had not ended by then.
    pub fn at(&self, at: Timestamp) -> usize {
        self.from.partition_point(|from| *from <= at) - self.to.partition_point(|to| *to < at)
    }

    /// How many overlap this time, both ends included.
    fn meeting(&self, from: Timestamp, to: Timestamp) -> usize {
        self.from.partition_point(|begun| *begun <= to) - self.to.partition_point(|ended| *ended < from)
    }

    /// How many began before `at` and end after it; none of the intervals may be a single moment.
    fn inside(&self, at: Timestamp) -> usize {
        self.from.partition_point(|from| *from < at) - self.to.partition_point(|to| *to <= at)
    }
}

impl ListenerActivity {
    /// Reserves memory for this many incomplete handshakes, answered and not.
    pub fn reserve(&mut self, [answered, lone]: [usize; 2]) {
        self.half_open.reserve_exact(answered);
        self.lone_syns.reserve_exact(lone);
        self.ignored.reserve_exact(lone);
    }

    /// Records connections that were never completed. `end` is as for [`ListenerActivity::record`]; `is_behind` says of
    /// a connection that `tcp_tw_recycle` would have dropped its SYN.
    pub fn record_incomplete(
        &mut self,
        incomplete: IncompleteHandshakes,
        end: Timestamp,
        is_behind: impl Fn(&HalfOpenRequest) -> bool,
    ) {
        for h in incomplete.half_open {
            let HalfOpenRequest { during, client, .. } = h;
            if h.syn_acks > 0 {
                let during = Interval { to: during.to.min(end), ..during };
                self.half_open.push(HalfOpenRequest { during, ..h });
            } else {
                self.lone_syns.push(h);
                self.ignored.push(IgnoredSyns { during, client, behind: is_behind(&h) });
            }
        }
        self.stripped.extend(incomplete.stripped);
        self.stripped_and_kept += incomplete.stripped_and_kept;
    }

    /// Sorts the ignored clients by time, and notes of each whether its SYN was answered while another of them was
    /// ignored.
    pub fn sort_stuck(&mut self) {
        self.stuck.sort_unstable_by_key(|s| (s.during, s.client));
        let ignored = self.stuck.iter().map(|s| s.ignored);
        let ignored = OverlapCounter::of(ignored.filter(|ignored| ignored.from < ignored.to));
        for s in &mut self.stuck {
            s.answered_meanwhile = s.answer.is_some_and(|(at, _)| {
                let own = usize::from(s.ignored.from < at && at < s.ignored.to);
                ignored.inside(at) > own
            });
        }
    }

    /// Sorts everything else by time.
    pub fn sort(&mut self) {
        // In place: there may be too many for a copy to fit into memory.
        self.half_open.sort_unstable_by_key(|h| (h.syn, h.client));
        self.lone_syns.sort_unstable_by_key(|h| (h.syn, h.client));
        self.ignored.sort_unstable_by_key(|i| (i.during, i.client, i.behind));
        self.stripped.sort_unstable();
    }

    /// Records one kept connection; `end` is the end of the capture.
    pub fn record(&mut self, f: &ConnectionFacts, end: Timestamp, peers: &TwRecycleModel) {
        if let Some(stuck) = ignored_ack(f, end).and_then(|o| o.stuck(f)) {
            self.stuck.push(stuck);
        }
        self.half_open.extend(half_open(f, end));
        self.given_up += u32::from(f.was_given_up());
        if let Some(fin) = f.s.fin.filter(|_| is_closed_in_use(f)) {
            self.closed_in_use.push((fin.time, f.c.flight.idle.max(f.s.flight.idle)));
        }
        if has_lost_socket(f) {
            self.sockets_lost.extend(f.s.reset.as_deref().map(|reset| reset.at.time));
        }
        if f.syn.count == 1 && f.c.segments == 1 && f.s.segments == 0 && f.icmp.is_none() {
            let during = Interval { from: f.first.time, to: f.first.time };
            let look = SynFingerprint::of(f);
            self.lone_syns.push(HalfOpenRequest {
                syn: f.first,
                during,
                client: f.client,
                syns: 1,
                syn_acks: 0,
                look,
            });
        }
        let ignored = f.unanswered_syns();
        if let (Some(first), Some(last)) = (ignored.clone().next(), ignored.last()) {
            let during = Interval { from: first.at.time, to: last.at.time };
            let behind = peers.is_suspect(f.first.packet);
            self.ignored.push(IgnoredSyns { during, client: f.client, behind });
            self.ignored_syns.push(FailedSyn::of(f));
        }
        if f.is_refused() && f.syn.count > 0 {
            self.refused_syns.push(FailedSyn::of(f));
        }
        if let Some(reset) = f.s.reset.as_deref()
            && let Some(ack) = f.final_ack
            && !f.s.has_spoken()
        {
            if reset.is_socketless() {
                if f.progress.is_none() && reset.at.time - ack.at.time < Span::secs(1) {
                    let answered = f.syn_ack.first().map_or(f.first.time, |s| s.at.time);
                    self.reset.push(ResetAck { time: reset.at.time, answered });
                }
            } else {
                let prompt = reset.trigger.is_some_and(|t| reset.at.time - t.at.time < ANSWER);
                self.aborted.push(AbortedConnection { at: reset.at, asked: f.c.has_spoken(), prompt });
            }
        }
        if is_stripped(f) {
            match is_kept(f) {
                true => self.stripped_and_kept += 1,
                false => self.stripped.push(f.syn_ack.first().map_or(f.first, |s| s.at)),
            }
        }
    }

    /// Counts the SYNs that were not repeated although there was time; `end` is the end of the capture.
    pub fn note_lone(&mut self, end: Timestamp) {
        let lone = self.lone_syns.iter().filter(|h| end - h.syn.time >= SYN_TIMER);
        self.not_repeated = lone.count() as u32;
    }

    /// Whether most clients of the listener sent exactly one SYN: then they had an answer, whether or not the capture
    /// holds it.
    pub fn seems_to_answer(&self) -> bool {
        let repeated = self.ignored.len().saturating_sub(self.lone_syns.len());
        self.not_repeated > 0 && self.not_repeated as usize >= repeated
    }

    /// How many handshakes were half open at `at`.
    pub fn half_open_at(&self, at: Timestamp) -> usize {
        self.crowds().half_open.at(at)
    }

    /// How many completed connections had no payload of the application at `at`, whether or not they had sent a
    /// request.
    pub fn unserved_at(&self, at: Timestamp) -> usize {
        self.crowds().idle.at(at) + self.waiting_at(at)
    }

    /// How many completed connections waited for the application at `at`.
    pub fn waiting_at(&self, at: Timestamp) -> usize {
        self.crowds().waiting.at(at)
    }

    /// The connections that a socket of the server reset in this time, both ends included.
    pub fn aborted_between(&self, from: Timestamp, to: Timestamp) -> AbortedCount {
        self.crowds().aborted.within(from, to)
    }

    /// How many final ACKs were answered by a RST in this time, both ends included.
    pub fn resets_between(&self, from: Timestamp, to: Timestamp) -> usize {
        self.resets_of(from, to).len()
    }

    fn resets_of(&self, from: Timestamp, to: Timestamp) -> &[ResetAck] {
        let all = &self.crowds().reset;
        let first = all.partition_point(|reset| reset.time < from);
        let end = all.partition_point(|reset| reset.time <= to);
        all.get(first..end).unwrap_or_default()
    }

    /// Whether, after the first of these resets, the listener answered none of the others' SYNs: they were all under
    /// way in one moment.
    pub fn were_reset_in_one_moment(&self, from: Timestamp, to: Timestamp) -> bool {
        let resets = self.resets_of(from, to);
        // The last ones were answered last.
        resets.first().is_none_or(|first| resets.iter().rev().all(|reset| reset.answered <= first.time))
    }

    /// How many connections the server turned out to have lost in this time, both ends included.
    pub fn sockets_lost_between(&self, from: Timestamp, to: Timestamp) -> usize {
        count_between(&self.crowds().sockets_lost, from, to)
    }

    /// How many connections in use the server closed in this time, both ends included.
    pub fn closed_in_use_between(&self, from: Timestamp, to: Timestamp) -> usize {
        count_between(&self.crowds().closed_in_use, from, to)
    }

    /// The shortest and the longest idle time of connections in use when the server closed them.
    pub fn idle_when_closed(&self) -> Option<(Span, Span)> {
        self.crowds().idle_when_closed
    }

    /// How many connections had a SYN ignored in this time, both ends included.
    pub fn syns_ignored_between(&self, from: Timestamp, to: Timestamp) -> usize {
        let times =
            self.ignored_times.get_or_init(|| OverlapCounter::of(self.ignored.iter().map(|i| i.during)));
        times.meeting(from, to)
    }

    /// How many of the unserved connections are of addresses whose SYNs were ignored meanwhile.
    pub fn unserved_and_ignored_at(&self, at: Timestamp) -> usize {
        self.crowds().ignored.at(at)
    }

    fn crowds(&self) -> &ActivityOverlaps {
        self.crowds.get_or_init(|| {
            let mut ignored: Map<Address, Interval> = Map::default();
            for i in &self.ignored {
                let all = ignored.entry(i.client.address).or_insert(i.during);
                *all = Interval { from: all.from.min(i.during.from), to: all.to.max(i.during.to) };
            }
            let meanwhile = |w: &&UnservedInterval| {
                ignored.get(&w.client).is_some_and(|i| i.meets(w.interval.from, w.interval.to, Span::ZERO))
            };
            let unserved = self.waiting.iter().chain(&self.idle);
            let idle = || self.closed_in_use.iter().map(|(_, idle)| *idle);
            let in_order = |all: &mut dyn Iterator<Item = Timestamp>| {
                let mut all: Vec<Timestamp> = all.collect();
                all.sort_unstable();
                all
            };
            ActivityOverlaps {
                half_open: OverlapCounter::of(self.half_open.iter().map(|h| h.during)),
                waiting: OverlapCounter::of(self.waiting.iter().map(|w| w.interval)),
                idle: OverlapCounter::of(self.idle.iter().map(|w| w.interval)),
                ignored: OverlapCounter::of(unserved.filter(meanwhile).map(|w| w.interval)),
                aborted: AbortedTogether::of(&self.aborted),
                reset: {
                    let mut all = self.reset.clone();
                    all.sort_unstable();
                    all
                },
                sockets_lost: in_order(&mut self.sockets_lost.iter().copied()),
                idle_when_closed: idle().min().zip(idle().max()),
                closed_in_use: in_order(&mut self.closed_in_use.iter().map(|(at, _)| *at)),
            }
        })
    }
}

/// Whether a RST without a socket answers a request after the server's FIN.
fn is_closed_in_use(f: &ConnectionFacts) -> bool {
    f.s.has_spoken()
        && f.c.has_outstanding()
        && f.c.fin.is_none_or(|fin| f.s.fin.is_some_and(|closed| closed < fin))
        && f.s.reset.as_deref().is_some_and(Reset::is_socketless)
}

/// Whether a RST shows that the server has lost the socket of a connection that it had not closed.
fn has_lost_socket(f: &ConnectionFacts) -> bool {
    let is_answer = |t: &ResetTrigger| {
        matches!(t.what, SegmentKind::Data | SegmentKind::Retransmit | SegmentKind::KeepAlive)
    };
    f.progress.is_some()
        && f.s.fin.is_none()
        && f.s.reset.as_deref().is_some_and(|r| r.is_bare() && r.trigger.as_ref().is_some_and(is_answer))
}
