//! What happened at one listener across its connections: who was stuck, who waited, which SYNs went unanswered, when.
//!
//! Built once, from the connections that were kept, before the detectors run.

use std::sync::OnceLock;

use crate::decode::segment::{Address, Options, Traits};
use crate::detect::accept_queue_overflow::ordeal;
use crate::detect::lag::Lags;
use crate::detect::surroundings::{Stretch, Stuck, Unserved};
use crate::flow::facts::{ConnectionFacts, Mark, Role, Roles};
use crate::flow::half_open as flow;
use crate::flow::key::{FlowKey, Host, Map};
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
    /// SYNs that asked for it, at most 65,535.
    pub syns: u16,
    /// SYN-ACKs sent for it, at most 65,535.
    pub syn_acks: u16,
}

/// A handshake that was never completed, of which no more need be known: one SYN, answered or not, and no other
/// segment of the client. A flood leaves millions of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Embryo {
    /// The handshake; with `syn_acks` 0 the SYN drew no answer, and the stretch is that of the SYN.
    pub half_open: HalfOpen,
    /// The SYN-ACK, where it is stripped of options.
    pub stripped: Option<Mark>,
    /// Whether that was repeated: the server kept a request.
    pub kept: bool,
}

/// The embryos of one listener.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Embryos {
    /// The handshakes.
    pub half_open: Vec<HalfOpen>,
    /// Their SYN-ACKs that were stripped of options and not repeated.
    pub stripped: Vec<Mark>,
    /// How many were stripped and repeated.
    pub stripped_and_kept: u64,
}

impl Embryos {
    /// How many were answered, and how many not.
    pub fn answered_and_lone(&self) -> [usize; 2] {
        let answered = self.half_open.iter().filter(|h| h.syn_acks > 0).count();
        [answered, self.half_open.len() - answered]
    }

    /// One more.
    pub fn push(&mut self, embryo: Embryo) {
        self.half_open.push(embryo.half_open);
        self.stripped.extend(embryo.stripped.filter(|_| !embryo.kept));
        self.stripped_and_kept += u64::from(embryo.stripped.is_some() && embryo.kept);
    }
}

impl Embryo {
    /// The embryo of a connection of which nothing but SYNs and SYN-ACKs were seen, if it is no more than that.
    pub fn of_half_open(key: &FlowKey, h: &flow::HalfOpen) -> Option<Embryo> {
        let fast_open = Options::FAST_OPEN_REQUEST | Options::FAST_OPEN_COOKIE;
        if h.syns() != 1 || h.is_refused() || h.asked_options().any(fast_open) {
            return None;
        }
        let (syn_acks, first) = (h.syn_acks(), h.first());
        let during = match h.answered() {
            Some(answer) => Stretch { from: answer.time, to: h.last().time + patience(syn_acks) },
            None => Stretch { from: first.time, to: first.time },
        };
        let half_open =
            HalfOpen { syn: first, during, client: h.client(key), syns: 1, syn_acks: syn_acks as u16 };
        let (options, traits) = h.answer_options();
        let stripped = h.answered().filter(|_| is_stripped_of(h.asked_options(), options, traits));
        Some(Embryo { half_open, stripped, kept: h.answered_again() })
    }

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
        Some(Embryo { half_open, stripped, kept: is_kept(f) })
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
    /// SYN-ACKs stripped of options that the SYN offered, to clients without timestamps, and not repeated unless asked
    /// for again.
    pub stripped: Vec<Mark>,
    /// How many were stripped and repeated: the server kept a request, so these are no cookies.
    pub stripped_and_kept: u64,
    /// SYN-ACKs that lag the server's clock.
    pub lags: Lags,
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
    /// Makes room for so many embryos, answered and not.
    pub fn reserve(&mut self, [answered, lone]: [usize; 2]) {
        self.half_open.reserve_exact(answered);
        self.lone_syns.reserve_exact(lone);
        self.ignored.reserve_exact(lone);
    }

    /// Takes in connections that were never completed; `end` as for [`Scene::take`], `is_behind` says of a connection
    /// that `tcp_tw_recycle` would have dropped its SYN.
    pub fn take_embryos(&mut self, embryos: Embryos, end: Timestamp, is_behind: impl Fn(&HalfOpen) -> bool) {
        for h in embryos.half_open {
            let HalfOpen { during, client, .. } = h;
            if h.syn_acks > 0 {
                let during = Stretch { to: during.to.min(end), ..during };
                self.half_open.push(HalfOpen { during, ..h });
            } else {
                self.lone_syns.push(h);
                self.ignored.push(Ignored { during, client, behind: is_behind(&h) });
            }
        }
        self.stripped.extend(embryos.stripped);
        self.stripped_and_kept += embryos.stripped_and_kept;
    }

    /// Puts everything in order of time.
    pub fn sort(&mut self) {
        // In place: the room for a copy would be missing where there are very many.
        self.half_open.sort_unstable_by_key(|h| (h.syn, h.client));
        self.lone_syns.sort_unstable_by_key(|h| (h.syn, h.client));
        self.ignored.sort_unstable_by_key(|i| (i.during, i.client, i.behind));
        self.stripped.sort_unstable();
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
            && !f.s.has_spoken()
        {
            if reset.is_socketless() {
                if f.progress.is_none() && reset.at.time - ack.at.time < Span::secs(1) {
                    self.reset.push(reset.at);
                }
            } else {
                self.aborted.push(Aborted { at: reset.at, asked: f.c.has_spoken() });
            }
        }
        if is_stripped(f) {
            match is_kept(f) {
                true => self.stripped_and_kept += 1,
                false => self.stripped.push(f.syn_ack.first().map_or(f.first, |s| s.at)),
            }
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

/// How long a request is held after this many SYN-ACKs: each wait is twice the one before, after the last SYN-ACK
/// another 2^n seconds (`reqsk_timer_handler`).
fn patience(syn_acks: u32) -> Span {
    Span::secs(1 << syn_acks.clamp(1, 6) >> 1)
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
    let dropped = f.c.reset.as_ref().map_or(Timestamp::MAX, |r| r.at.time);
    let to = (last.at.time + patience(f.syn_ack.count)).min(dropped).min(end);
    Some(HalfOpen {
        syn: f.first,
        during: Stretch { from: first.at.time, to },
        client: f.client,
        syns: f.syn.count.min(u16::MAX.into()) as u16,
        syn_acks: f.syn_ack.count.min(u16::MAX.into()) as u16,
    })
}

/// Whether the server kept a request: it repeated its SYN-ACK without being asked for it again.
fn is_kept(f: &ConnectionFacts) -> bool {
    f.syn_ack.iter().zip(f.syn_ack.iter().skip(1)).any(|(one, next)| one.syns == next.syns)
}

/// Whether the SYN-ACK lacks window scale and SACK although the SYN offered them without timestamps: what a syncookie
/// cannot keep (`cookie_init_timestamp`, `tcp_synack_options`).
pub fn is_stripped(f: &ConnectionFacts) -> bool {
    f.syn_ack.count > 0
        && f.syn.count > 0
        && is_stripped_of(f.syn_offer.options, f.syn_ack_offer.options, f.s.traits)
}

/// The same of the options of a SYN and of a SYN-ACK from an end with these traits.
fn is_stripped_of(syn: Options, syn_ack: Options, traits: Traits) -> bool {
    syn.has(Options::SACK_PERMITTED | Options::WINDOW_SCALE)
        && !syn.has(Options::TIMESTAMPS)
        && syn_ack.0 == Options::MSS
        && !traits.has(Traits::OPTIONS_CUT)
}
