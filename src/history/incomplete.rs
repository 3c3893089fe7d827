//! Handshakes that were never completed, in short form: a flood leaves millions of them.

use crate::decode::segment::{TcpOptions, Traits};
use crate::flow::compact::half_open as flow;
use crate::flow::facts::{ConnectionFacts, PacketRef, Roles};
use crate::flow::key::{FlowKey, Host};
use crate::flow::outcome::{Outcome, Outcomes};
use crate::history::interval::Interval;
use crate::time::{Span, Timestamp};

/// A handshake that its client did not complete, while the server held a request for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct HalfOpenRequest {
    /// The SYN; the first SYN-ACK where the client's direction was not captured.
    pub syn: PacketRef,
    /// From the first SYN-ACK until the request must have been dropped.
    pub during: Interval,
    /// The client.
    pub client: Host,
    /// SYNs that asked for it, at most 65,535; 0 where the client's direction was not captured.
    pub syns: u16,
    /// SYN-ACKs sent for it, at most 65,535.
    pub syn_acks: u16,
    /// What the SYN looked like.
    pub look: SynFingerprint,
}

/// The look of a SYN: SYNs of one program look alike, those of many hosts do not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct SynFingerprint {
    /// Time to live.
    pub ttl: u8,
    /// Without SACK-permitted, window scale and timestamps: every kernel of this century offers one of them.
    pub bare: bool,
}

impl SynFingerprint {
    fn new(ttl: u8, options: TcpOptions, traits: Traits) -> SynFingerprint {
        let usual = TcpOptions::SACK_PERMITTED | TcpOptions::WINDOW_SCALE | TcpOptions::TIMESTAMPS;
        SynFingerprint { ttl, bare: !options.any(usual) && !traits.has(Traits::OPTIONS_CUT) }
    }

    /// Of the first SYN of a connection.
    pub fn of(f: &ConnectionFacts) -> SynFingerprint {
        SynFingerprint::new(f.syn_offer.ttl, f.syn_offer.options, f.c.traits)
    }
}

/// An incomplete handshake, reduced to what later stages need: one SYN, answered or not, and no other segment of the
/// client. A flood leaves millions of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct IncompleteHandshake {
    /// The handshake; with `syn_acks` 0 the SYN drew no answer, and the interval is that of the SYN.
    pub half_open: HalfOpenRequest,
    /// The SYN-ACK, where it is stripped of options.
    pub stripped: Option<PacketRef>,
    /// Whether that SYN-ACK was repeated: then the server kept a request.
    pub kept: bool,
    /// Its outcome: [`Outcome::Unanswered`], [`Outcome::NeverCompleted`], or [`Outcome::CutOff`] if the capture ended
    /// too early to tell.
    pub outcome: Outcome,
}

/// The incomplete handshakes of one listener.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct IncompleteHandshakes {
    /// The handshakes.
    pub half_open: Vec<HalfOpenRequest>,
    /// Their SYN-ACKs that were stripped of options and not repeated.
    pub stripped: Vec<PacketRef>,
    /// How many were stripped and repeated.
    pub stripped_and_kept: u64,
    /// How many ended with each outcome.
    pub outcomes: Outcomes,
}

impl IncompleteHandshakes {
    /// How many were answered, and how many not.
    pub fn answered_and_lone(&self) -> [usize; 2] {
        let answered = self.half_open.iter().filter(|h| h.syn_acks > 0).count();
        [answered, self.half_open.len() - answered]
    }

    /// One more.
    pub fn push(&mut self, handshake: IncompleteHandshake) {
        self.outcomes.record(handshake.outcome);
        self.half_open.push(handshake.half_open);
        self.stripped.extend(handshake.stripped.filter(|_| !handshake.kept));
        self.stripped_and_kept += u64::from(handshake.stripped.is_some() && handshake.kept);
    }
}

impl IncompleteHandshake {
    /// The incomplete handshake of a connection that has only SYNs and SYN-ACKs, if it is one. It was watched until
    /// `until`.
    pub fn of_half_open(key: &FlowKey, h: &flow::HalfOpen, until: Timestamp) -> Option<IncompleteHandshake> {
        let fast_open = TcpOptions::FAST_OPEN_REQUEST | TcpOptions::FAST_OPEN_COOKIE;
        if h.syns() != 1 || h.is_refused() || h.syn_options().any(fast_open) {
            return None;
        }
        let (syn_acks, first) = (h.syn_acks(), h.first());
        let during = match h.answered() {
            Some(answer) => Interval { from: answer.time, to: h.last().time + patience(syn_acks) },
            None => Interval { from: first.time, to: first.time },
        };
        let look = SynFingerprint::new(h.ttls().0, h.syn_options(), h.syn_traits());
        let half_open = HalfOpenRequest {
            syn: first,
            during,
            client: h.client(key),
            syns: 1,
            syn_acks: syn_acks as u16,
            look,
        };
        let (options, traits) = h.syn_ack_options();
        let stripped = h.answered().filter(|_| is_stripped_of(h.syn_options(), options, traits));
        let outcome = Outcome::of_half_open(h, until);
        Some(IncompleteHandshake { half_open, stripped, kept: h.answered_again(), outcome })
    }

    /// The incomplete handshake of a connection, if it is one.
    pub fn of(f: &ConnectionFacts, outcome: Outcome) -> Option<IncompleteHandshake> {
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
            || f.syn_offer.options.any(TcpOptions::FAST_OPEN_REQUEST | TcpOptions::FAST_OPEN_COOKIE)
            || f.syn_ack.first().is_some_and(|answer| answer.at < f.first)
        {
            return None;
        }
        let half_open = half_open(f, Timestamp::MAX).unwrap_or(HalfOpenRequest {
            syn: f.first,
            during: Interval { from: f.first.time, to: f.first.time },
            client: f.client,
            syns: 1,
            syn_acks: 0,
            look: SynFingerprint::of(f),
        });
        let stripped = is_stripped(f).then(|| f.syn_ack.first().map_or(f.first, |s| s.at));
        Some(IncompleteHandshake { half_open, stripped, kept: is_kept(f), outcome })
    }
}
/// How long a request is held after this many SYN-ACKs: each wait is twice the one before, after the last SYN-ACK
/// another 2^n seconds (`reqsk_timer_handler`).
fn patience(syn_acks: u32) -> Span {
    Span::secs(1 << syn_acks.clamp(1, 6) >> 1)
}

/// The interval in which the server held a request that its client did not complete.
pub fn half_open(f: &ConnectionFacts, end: Timestamp) -> Option<HalfOpenRequest> {
    let (first, last) = (f.syn_ack.first()?, f.syn_ack.last()?);
    // Other segments of the server show that it had a connection, and so does a client that closes one. A filter may
    // have left only these.
    let was_completed =
        f.final_ack.is_some() || f.c.fin.is_some() || f.s.segments > f.syn_ack.count + u32::from(f.s.resets);
    // Where the clients' direction was not captured, a repeated SYN-ACK shows that no ACK was accepted.
    let asked = f.syn.count > 0 || f.c.segments == 0 && f.syn_ack.count > 1;
    if was_completed || !asked || f.roles == Roles::Guessed || f.odd_handshake {
        return None;
    }
    let dropped = f.c.reset.as_ref().map_or(Timestamp::MAX, |r| r.at.time);
    let to = (last.at.time + patience(f.syn_ack.count)).min(dropped).min(end);
    Some(HalfOpenRequest {
        syn: f.first,
        during: Interval { from: first.at.time, to },
        client: f.client,
        syns: f.syn.count.min(u16::MAX.into()) as u16,
        syn_acks: f.syn_ack.count.min(u16::MAX.into()) as u16,
        look: SynFingerprint::of(f),
    })
}

/// Whether the server kept a request: it repeated its SYN-ACK without being asked for it again.
pub fn is_kept(f: &ConnectionFacts) -> bool {
    f.syn_ack.iter().zip(f.syn_ack.iter().skip(1)).any(|(one, next)| one.syns == next.syns)
}

/// Whether the SYN-ACK lacks window scale and SACK although the SYN offered them without timestamps. A syncookie cannot
/// keep them (`cookie_init_timestamp`, `tcp_synack_options`).
pub fn is_stripped(f: &ConnectionFacts) -> bool {
    f.syn_ack.count > 0
        && f.syn.count > 0
        && is_stripped_of(f.syn_offer.options, f.syn_ack_offer.options, f.s.traits)
}

/// The same for the options of a SYN and of a SYN-ACK from an end with these traits.
fn is_stripped_of(syn: TcpOptions, syn_ack: TcpOptions, traits: Traits) -> bool {
    syn.has(TcpOptions::SACK_PERMITTED | TcpOptions::WINDOW_SCALE)
        && !syn.has(TcpOptions::TIMESTAMPS)
        && syn_ack == TcpOptions::MSS
        && !traits.has(Traits::OPTIONS_CUT)
}
