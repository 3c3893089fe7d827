//! What happened at one listener across its connections: who was stuck, who waited, which SYNs went unanswered, when.
//!
//! Built once, from the connections that were kept, before the detectors run.

use std::sync::OnceLock;

use crate::decode::segment::{Address, Options, Traits};
use crate::detect::accept_queue_overflow::ordeal;
use crate::detect::surroundings::{Stretch, Stuck, Unserved};
use crate::flow::facts::{ConnectionFacts, Mark, Role, Roles};
use crate::flow::key::{Host, Map};
use crate::time::{Span, Timestamp};

/// A handshake that its client did not complete, while the server held a request for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HalfOpen {
    /// The SYN.
    pub syn: Mark,
    /// From the first SYN-ACK until the request must have been dropped.
    pub during: Stretch,
    /// The client.
    pub client: Host,
    /// SYNs that asked for it.
    pub syns: u32,
    /// SYN-ACKs sent for it.
    pub syn_acks: u32,
}

/// A handshake that was never completed, of which no more need be known: one SYN, answered or not, and no other
/// segment of the client. A flood leaves millions of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Embryo {
    /// Its listener.
    pub server: Host,
    /// The handshake; with `syn_acks` 0 the SYN drew no answer, and the stretch is that of the SYN.
    pub half_open: HalfOpen,
    /// The SYN-ACK, where it is stripped of options.
    pub stripped: Option<Mark>,
}

impl Embryo {
    /// The embryo of a connection, if it is no more than that.
    pub fn of(f: &ConnectionFacts) -> Option<Embryo> {
        if f.roles != Roles::BySyn
            || f.syn.count != 1
            || f.c.segments != 1
            || f.s.segments != f.syn_ack.count
            || f.final_ack.is_some()
            || f.odd_handshake
            || f.other_isns > 0
            || f.icmp.is_some()
            || f.ack_to_syn.is_some()
            || f.previous.is_some()
            || f.syn_offer.options.any(Options::FAST_OPEN_REQUEST | Options::FAST_OPEN_COOKIE)
            || f.syn_ack.first().is_some_and(|answer| answer.at < f.first)
        {
            return None;
        }
        let half_open = half_open(f, Timestamp::MAX).unwrap_or(HalfOpen {
            syn: f.first,
            during: Stretch { from: f.first.time, to: f.first.time },
            client: f.client,
            syns: 1,
            syn_acks: 0,
        });
        let stripped = is_stripped(f).then(|| f.syn_ack.first().map_or(f.first, |s| s.at));
        Some(Embryo { server: f.server, half_open, stripped })
    }
}

/// A SYN that drew no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ignored {
    /// From the first such SYN of the connection to the last.
    pub during: Stretch,
    /// The client.
    pub client: Host,
    /// A server with `tcp_tw_recycle` would have dropped one of them.
    pub behind: bool,
}

/// A connection left half-closed when the capture ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeftOpen {
    /// Who had closed.
    pub closer: Role,
    /// For how long the other had kept silent.
    pub lasted: Span,
}

/// A connection that a socket of the server reset before it had sent any payload on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Aborted {
    /// The RST.
    pub at: Mark,
    /// Whether the client had sent payload, which the application may have left unread.
    pub asked: bool,
}

/// What happened at one listener.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Scene {
    /// Clients ignored after they had completed the handshake.
    pub stuck: Vec<Stuck>,
    /// Completed handshakes of which the application showed nothing for a second or longer: they wait in the accept
    /// queue, or for a slow answer.
    pub waiting: Vec<Unserved>,
    /// The same of clients that had asked for nothing yet: in the accept queue, or accepted and idle.
    pub idle: Vec<Unserved>,
    /// Handshakes that their clients did not complete.
    pub half_open: Vec<HalfOpen>,
    /// SYNs that were neither answered nor repeated: no real client asks only once.
    pub lone_syns: Vec<HalfOpen>,
    /// SYNs without an answer.
    pub ignored: Vec<Ignored>,
    /// Connections of known hosts whose unanswered SYNs the memory of `tcp_tw_recycle` does not explain.
    pub unexplained: u32,
    /// Connections left half-closed at the end.
    pub left_open: Vec<LeftOpen>,
    /// RSTs by a socket of the server on connections on which it had sent no payload.
    pub aborted: Vec<Aborted>,
    /// Bare RSTs in answer to the final ACK.
    pub reset: Vec<Mark>,
    /// SYN-ACKs stripped of options that the SYN offered, to clients without timestamps.
    pub stripped: Vec<Mark>,
    /// Made of the others when first asked.
    pub crowds: OnceLock<Crowds>,
}

/// What stretches of a [`Scene`] hold a moment.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Crowds {
    half_open: Crowd,
    waiting: Crowd,
    idle: Crowd,
    ignored: Crowd,
}

/// How many stretches hold a moment, found in logarithmic time.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Crowd {
    from: Vec<Timestamp>,
    to: Vec<Timestamp>,
}

impl Crowd {
    /// Of these stretches.
    pub fn of(stretches: impl Iterator<Item = Stretch>) -> Crowd {
        let (mut from, mut to): (Vec<_>, Vec<_>) =
            stretches.filter(|s| s.from <= s.to).map(|s| (s.from, s.to)).unzip();
        from.sort_unstable();
        to.sort_unstable();
        Crowd { from, to }
    }

    /// How many began at `at` or before and did not end before.
    pub fn at(&self, at: Timestamp) -> usize {
        self.from.partition_point(|from| *from <= at) - self.to.partition_point(|to| *to < at)
    }
}

impl Scene {
    /// Takes in connections that were never completed; `end` and `behind` as for [`Scene::take`].
    pub fn take_embryo(&mut self, embryo: &Embryo, end: Timestamp, behind: bool) {
        let HalfOpen { during, client, .. } = embryo.half_open;
        if embryo.half_open.syn_acks > 0 {
            let during = Stretch { to: during.to.min(end), ..during };
            self.half_open.push(HalfOpen { during, ..embryo.half_open });
        } else {
            self.lone_syns.push(embryo.half_open);
            self.ignored.push(Ignored { during, client, behind });
        }
        self.stripped.extend(embryo.stripped);
    }

    /// Puts everything in order of time.
    pub fn sort(&mut self) {
        self.half_open.sort_by_key(|h| (h.syn, h.client));
        self.lone_syns.sort_by_key(|h| (h.syn, h.client));
        self.ignored.sort_by_key(|i| (i.during.from, i.client));
        self.stripped.sort();
    }

    /// Takes in one kept connection; `end` is the end of the capture, `behind` says that `tcp_tw_recycle` would have
    /// dropped a SYN of it.
    pub fn take(&mut self, f: &ConnectionFacts, end: Timestamp, behind: bool) {
        if let Some(stuck) = ordeal(f, end).and_then(|o| o.stuck(f)) {
            self.stuck.push(stuck);
        }
        self.half_open.extend(half_open(f, end));
        if f.syn.count == 1 && f.c.segments == 1 && f.s.segments == 0 && f.icmp.is_none() {
            let during = Stretch { from: f.first.time, to: f.first.time };
            self.lone_syns.push(HalfOpen { syn: f.first, during, client: f.client, syns: 1, syn_acks: 0 });
        }
        let ignored = f.unanswered_syns();
        if let (Some(first), Some(last)) = (ignored.clone().next(), ignored.last()) {
            let during = Stretch { from: first.at.time, to: last.at.time };
            self.ignored.push(Ignored { during, client: f.client, behind });
        }
        if let Some(reset) = f.s.reset.as_deref()
            && let Some(ack) = f.final_ack
            && f.s.bytes == 0
        {
            if reset.is_socketless() {
                if f.progress.is_none() && reset.at.time - ack.at.time < Span::secs(1) {
                    self.reset.push(reset.at);
                }
            } else {
                self.aborted.push(Aborted { at: reset.at, asked: f.c.bytes > 0 });
            }
        }
        if is_stripped(f) {
            self.stripped.push(f.syn_ack.first().map_or(f.first, |s| s.at));
        }
    }

    /// How many handshakes were half open at `at`.
    pub fn half_open_at(&self, at: Timestamp) -> usize {
        self.crowds().half_open.at(at)
    }

    /// How many completed connections the application had said nothing on at `at`, asked or not.
    pub fn unserved_at(&self, at: Timestamp) -> usize {
        self.crowds().idle.at(at) + self.waiting_at(at)
    }

    /// How many completed connections waited for the application at `at`.
    pub fn waiting_at(&self, at: Timestamp) -> usize {
        self.crowds().waiting.at(at)
    }

    /// How many of the unserved were of addresses that meanwhile had SYNs ignored.
    pub fn unserved_and_ignored_at(&self, at: Timestamp) -> usize {
        self.crowds().ignored.at(at)
    }

    fn crowds(&self) -> &Crowds {
        self.crowds.get_or_init(|| {
            let mut ignored: Map<Address, Stretch> = Map::default();
            for i in &self.ignored {
                let all = ignored.entry(i.client.address).or_insert(i.during);
                *all = Stretch { from: all.from.min(i.during.from), to: all.to.max(i.during.to) };
            }
            let meanwhile = |w: &&Unserved| {
                ignored.get(&w.client).is_some_and(|i| i.meets(w.stretch.from, w.stretch.to, Span::ZERO))
            };
            let unserved = self.waiting.iter().chain(&self.idle);
            Crowds {
                half_open: Crowd::of(self.half_open.iter().map(|h| h.during)),
                waiting: Crowd::of(self.waiting.iter().map(|w| w.stretch)),
                idle: Crowd::of(self.idle.iter().map(|w| w.stretch)),
                ignored: Crowd::of(unserved.filter(meanwhile).map(|w| w.stretch)),
            }
        })
    }
}

/// The stretch in which the server held a request that its client did not complete.
pub fn half_open(f: &ConnectionFacts, end: Timestamp) -> Option<HalfOpen> {
    let (first, last) = (f.syn_ack.first()?, f.syn_ack.last()?);
    // Whatever else the server sent, it sent from a connection; and a client that closes has opened one. A filter may
    // have left no more of it.
    let was_completed =
        f.final_ack.is_some() || f.c.fin.is_some() || f.s.segments > f.syn_ack.count + u32::from(f.s.resets);
    if was_completed || f.syn.count == 0 || f.roles == Roles::Guessed || f.odd_handshake {
        return None;
    }
    // Each wait is twice the one before: after the last SYN-ACK another 2^n seconds (`reqsk_timer_handler`).
    let wait = Span::secs(1 << f.syn_ack.count.clamp(1, 6) >> 1);
    let dropped = f.c.reset.as_ref().map_or(Timestamp::MAX, |r| r.at.time);
    let to = (last.at.time + wait).min(dropped).min(end);
    Some(HalfOpen {
        syn: f.first,
        during: Stretch { from: first.at.time, to },
        client: f.client,
        syns: f.syn.count,
        syn_acks: f.syn_ack.count,
    })
}

/// Whether the SYN-ACK lacks window scale and SACK although the SYN offered them without timestamps: what a syncookie
/// cannot keep (`cookie_init_timestamp`, `tcp_synack_options`).
pub fn is_stripped(f: &ConnectionFacts) -> bool {
    let options = Options::SACK_PERMITTED | Options::WINDOW_SCALE;
    let (syn, syn_ack) = (&f.syn_offer, &f.syn_ack_offer);
    f.syn_ack.count > 0
        && f.syn.count > 0
        && syn.options.has(options)
        && !syn.options.has(Options::TIMESTAMPS)
        && syn_ack.options.0 == Options::MSS
        && !f.s.traits.has(Traits::OPTIONS_CUT)
}
