//! What the histories record of a connection that has ended: the same facts, in whichever form it was stored.
//!
//! A full record and both compact forms become one [`EndedSummary`]. `ListenerHistory` and the triage read nothing else of a
//! connection that they count. `detect/tests/forms.rs` holds the forms to one another.

use crate::decode::segment::TcpOptions;
use crate::flow::compact::clean::{CleanFlow, CleanFlowSummary};
use crate::flow::compact::half_open::HalfOpen;
use crate::flow::facts::{ConnectionFacts, PacketRef, Role, Roles, SegmentKind, SynOffer, Transmissions};
use crate::flow::key::{FlowKey, Host};
use crate::flow::outcome::Outcome;
use crate::history::handshakes::HandshakeSample;
use crate::history::host_clocks::ClockReading;
use crate::history::ports::PortUse;
use crate::history::quality::CaptureQuality;
use crate::history::syn_ack_lag::SynAckLags;
use crate::history::tw_recycle::SynFate;
use crate::time::{Span, Timestamp};

/// A client that was silent this long after its final ACK and got no further SYN-ACK shows that the listener does not
/// defer. With `TCP_DEFER_ACCEPT` at its shortest setting the SYN-ACK comes again after 1 s at the latest, with longer
/// settings later (`inet_csk_reqsk_queue_prune`, `reqsk_timer_handler`).
const PATIENCE: Span = Span::millis(1_700);

/// A SYN is sent again after this (`TCP_TIMEOUT_INIT`, RFC 6298 section 2.1). An answer that comes later may be to a
/// second try that the capture has missed.
pub const SECOND_TRY: Span = Span::secs(1);

/// On a port in TIME_WAIT, the next connection's initial sequence number begins this far after the end of the old one
/// (`tcp_twsk_unique`: SND.NXT plus 65535 plus 2).
const BEYOND_TIME_WAIT: u32 = 65_537;

/// A connection that has ended, as far as histories are concerned.
#[derive(Debug)]
pub struct EndedSummary<'a> {
    /// The client's address and port.
    pub client: Host,
    /// Whose history it belongs to; `None` where the capture does not show which end listened.
    pub listener: Option<Host>,
    /// The first packet; names the connection.
    pub first: PacketRef,
    /// How it ended.
    pub outcome: Outcome,
    /// Its share in the counts of the capture's quality.
    pub quality: CaptureQuality,
    /// The first SYN, if that was captured.
    pub syn: Option<SynSummary>,
    /// The answers to its SYNs, if these were captured: evidence for or against `tcp_tw_recycle`.
    pub syn_fate: Option<SynFate>,
    /// When its SYN-ACKs were sent.
    pub syn_acks: SynAckTimes<'a>,
    /// Whether the server sent anything.
    pub was_answered: bool,
    /// When the client completed the handshake.
    pub final_ack: Option<Timestamp>,
    /// The server's first sign of having the connection.
    pub served: Option<Served>,
    /// At what other times the server was heard, as far as that is recorded.
    pub heard: [Option<Timestamp>; 4],
    /// The longest pause after which both ends went on.
    pub survived: Span,
    /// The sign, if there is one, that its listener does not use `TCP_DEFER_ACCEPT`.
    pub no_deferral: Option<NoDeferAccept>,
    /// Whether the SYN-ACK has window scale or SACK-permitted for a client without timestamps.
    pub full_offer: bool,
    /// When the server closed it, if that was before the server sent any payload.
    pub closed_unserved: Option<Timestamp>,
    /// The FINs, if both ends sent one.
    pub fins: Option<Fins>,
    /// Its handshake, as evidence for the capture point.
    pub sample: Option<HandshakeSample>,
    /// The SYN-ACK, and how far it lags the clock of the server, if it does.
    pub syn_ack_lag: Option<(PacketRef, i64)>,
}

/// The first SYN of a connection.
#[derive(Debug)]
pub struct SynSummary {
    /// When it was sent.
    pub at: Timestamp,
    /// Whether a SYN-ACK answered it before a second try was due.
    pub answered_in_time: bool,
    /// A RST answered it.
    pub refused: bool,
    /// Its header, if a SYN-ACK answered it.
    pub accepted: Option<AcceptedSyn>,
}

/// A SYN that was answered by SYN-ACK.
#[derive(Debug)]
pub struct AcceptedSyn {
    /// The SYN.
    pub offer: SynOffer,
    /// How long before it the four-tuple was last in use.
    pub again_after: Option<Span>,
    /// TTL of the SYN-ACK.
    pub answer_ttl: u8,
}

/// The server's first sign of having a connection.
#[derive(Debug)]
pub struct Served {
    /// When it came.
    pub at: Timestamp,
    /// TTL of the client's SYN.
    pub ttl: u8,
    /// Whether the SYN-ACK and the SYN took different ways.
    pub another_way: bool,
}

/// The first FIN of each end.
#[derive(Debug)]
pub struct Fins {
    /// The client's.
    pub client: PacketRef,
    /// The server's.
    pub server: PacketRef,
    /// How the client came by its port.
    pub port: PortUse,
}

/// The sign by which a connection shows that its listener does not use `TCP_DEFER_ACCEPT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoDeferAccept {
    /// It was served although the client had sent nothing.
    Served,
    /// The client waited in silence, and no SYN-ACK came again.
    Waited,
}

/// When the SYN-ACKs of a connection were sent.
#[derive(Clone, Copy, Debug)]
pub enum SynAckTimes<'a> {
    /// Those of a half-open connection.
    HalfOpen(&'a HalfOpen),
    /// Those of a full record.
    Full(&'a Transmissions),
}

impl SynAckTimes<'_> {
    /// Calls `record` with the time of each.
    #[inline]
    pub fn for_each_time(&self, record: impl FnMut(Timestamp)) {
        match self {
            SynAckTimes::HalfOpen(h) if h.is_refused() => {}
            SynAckTimes::HalfOpen(h) => h.answer_times().for_each(record),
            SynAckTimes::Full(syn_acks) => syn_acks.iter().map(|sent| sent.at.time).for_each(record),
        }
    }
}

impl EndedSummary<'_> {
    /// A connection with all its facts, watched until `until`.
    pub fn of(f: &ConnectionFacts, until: Timestamp) -> EndedSummary<'_> {
        let unclosed = f.closed.is_none();
        let last = (f.s.segments > f.syn_ack.count).then_some(f.s.last);
        let served = f.progress.map(|progress| Served {
            at: progress.at.time,
            ttl: f.syn_offer.ttl,
            another_way: f.returns_another_way(),
        });
        let closed_unserved =
            f.s.fin.filter(|fin| f.s.bytes == 0 && f.c.fin.is_none_or(|theirs| *fin < theirs));
        EndedSummary {
            client: f.client,
            listener: (f.roles != Roles::Guessed).then_some(f.server),
            first: f.first,
            outcome: Outcome::of(f, until),
            quality: CaptureQuality::of(f),
            syn: SynSummary::of(f),
            syn_fate: (f.syn.count > 0).then(|| syn_fate(f)),
            syn_acks: SynAckTimes::Full(&f.syn_ack),
            was_answered: f.s.segments > 0,
            final_ack: f.final_ack.map(|ack| ack.at.time),
            served,
            heard: [
                f.progress.map(|progress| progress.at.time),
                f.s.fin.map(|at| at.time),
                f.s.last_data.filter(|_| unclosed).map(|at| at.time),
                last.filter(|_| unclosed).map(|at| at.time),
            ],
            survived: f.idle.as_ref().and_then(|idle| idle.survived).map_or(Span::ZERO, |pause| pause.length),
            no_deferral: NoDeferAccept::of(f, until),
            full_offer: f.syn_ack.count > 0 && is_full_offer(f.syn_offer.options, f.syn_ack_offer.options),
            closed_unserved: closed_unserved.map(|fin| fin.time),
            fins: Fins::of(f),
            sample: sample(f),
            syn_ack_lag: syn_ack_lag(f),
        }
    }

    /// SYNs and their answers, with their outcome.
    #[inline]
    pub fn of_half_open<'a>(key: &FlowKey, h: &'a HalfOpen, outcome: Outcome) -> EndedSummary<'a> {
        let (first, answer) = (h.first(), h.answered());
        let syn_ack = answer.filter(|_| !h.is_refused());
        let syn = SynSummary {
            at: first.time,
            answered_in_time: syn_ack.is_some_and(|at| at.time - first.time < SECOND_TRY),
            refused: h.is_refused(),
            accepted: syn_ack.map(|_| AcceptedSyn {
                offer: h.syn_offer(),
                again_after: None,
                answer_ttl: h.ttls().1,
            }),
        };
        EndedSummary {
            client: h.client(key),
            listener: Some(h.server(key)),
            first,
            outcome,
            quality: CaptureQuality::of_half_open(h),
            syn: Some(syn),
            syn_fate: Some(match syn_ack {
                Some(_) => SynFate::Accepted(first),
                None if h.is_refused() => SynFate::NoEvidence,
                None => SynFate::Unanswered,
            }),
            syn_acks: SynAckTimes::HalfOpen(h),
            was_answered: answer.is_some(),
            final_ack: None,
            served: None,
            heard: [None; 4],
            survived: Span::ZERO,
            no_deferral: None,
            full_offer: syn_ack.is_some() && is_full_offer(h.syn_options(), h.syn_ack_options().0),
            closed_unserved: None,
            fins: None,
            sample: None,
            syn_ack_lag: None,
        }
    }

    /// A connection without a flaw, both ends of which have closed.
    #[inline]
    pub fn of_clean<'a>(key: &FlowKey, clean: &'a CleanFlow, course: &CleanFlowSummary) -> EndedSummary<'a> {
        let handshake = &clean.handshake;
        let (first, syn_ack) = (handshake.first(), handshake.last());
        let (c, s) = (course.client_fin, course.server_fin);
        let no_deferral = match course.progress_spoke && course.progress < course.client_spoke {
            _ if !course.bare => None,
            true => Some(NoDeferAccept::Served),
            false => (course.client_spoke - course.final_ack >= PATIENCE).then_some(NoDeferAccept::Waited),
        };
        let (client_ttl, server_ttl) = handshake.ttls();
        let [client_traits, server_traits] = course.traits;
        let sample = HandshakeSample {
            at: first,
            syn_to_syn_ack: syn_ack.time - first.time,
            syn_ack_to_ack: course.final_ack - syn_ack.time,
            client_ttl,
            server_ttl,
            client_traits,
            server_traits,
        };
        let lag = clean
            .server_clock()
            .and_then(|[at_syn_ack, later]| SynAckLags::read(at_syn_ack.0 - first.time, at_syn_ack, later));
        EndedSummary {
            quality: CaptureQuality::of_clean(course),
            final_ack: Some(course.final_ack),
            served: Some(Served {
                at: course.progress,
                ttl: client_ttl,
                another_way: handshake.returns_another_way(),
            }),
            heard: [Some(course.progress), Some(s.time), None, None],
            no_deferral,
            closed_unserved: (!course.was_answered && s < c).then_some(s.time),
            fins: Some(Fins { client: c, server: s, port: PortUse::Free }),
            sample: (course.bare || course.brought_payload).then_some(sample),
            syn_ack_lag: lag.map(|lag| (syn_ack, lag)),
            ..EndedSummary::of_half_open(key, handshake, Outcome::Closed)
        }
    }

    /// The connection was evicted before its end: its outcome is not known, and its SYNs prove nothing.
    pub fn cut_off(&mut self) {
        self.outcome = Outcome::CutOff;
        self.syn_fate = self.syn_fate.map(|_| SynFate::NoEvidence);
    }
}

impl SynSummary {
    fn of(f: &ConnectionFacts) -> Option<SynSummary> {
        let syn = f.syn.first()?;
        let answered = f.answered_syn() == Some(syn);
        let in_time = f.syn_ack.first().is_some_and(|answer| answer.at.time - syn.at.time < SECOND_TRY);
        Some(SynSummary {
            at: syn.at.time,
            answered_in_time: answered && in_time,
            refused: f.is_refused(),
            accepted: (f.syn_ack.count > 0 && answered).then(|| AcceptedSyn {
                offer: f.syn_offer,
                again_after: f.previous.as_ref().map(|previous| f.first.time - previous.last.time),
                answer_ttl: f.syn_ack_offer.ttl,
            }),
        })
    }
}

impl Fins {
    fn of(f: &ConnectionFacts) -> Option<Fins> {
        // `secure_tcp_seq` does not come near it by chance: `tcp_twsk_unique` keeps the next connection this far away.
        let recycled = f.previous.as_ref().is_some_and(|previous| {
            f.syn.count > 0 && f.c.isn == previous.client_next.advance(BEYOND_TIME_WAIT)
        });
        let port = if recycled { PortUse::FromTimeWait } else { PortUse::Free };
        Some(Fins { client: f.c.fin?, server: f.s.fin?, port })
    }
}

impl NoDeferAccept {
    fn of(f: &ConnectionFacts, until: Timestamp) -> Option<NoDeferAccept> {
        let (Some(ack), 1) = (f.final_ack, f.syn_ack.count) else { return None };
        // Without its SYN the capture may lack earlier SYN-ACKs, too.
        if !ack.bare || f.syn.count == 0 {
            return None;
        }
        let spoke = [f.c.first_data, f.c.fin].into_iter().flatten().map(|at| at.time).min();
        // The server spoke first: it had the connection without data. (In a capture that changes the order of packets,
        // an answer may come before its request.)
        if let Some(progress) = f.progress
            && matches!(progress.what, SegmentKind::Data | SegmentKind::Fin)
            && progress.acked == 0
            && spoke.is_none_or(|spoke| progress.at.time < spoke)
        {
            return Some(NoDeferAccept::Served);
        }
        // A client that gets no answer may have sent to a server that had died.
        if spoke.is_some() && f.progress.is_none() {
            return None;
        }
        let silent_until = spoke.or(f.closed).unwrap_or(until);
        (silent_until - ack.at.time >= PATIENCE).then_some(NoDeferAccept::Waited)
    }
}

/// Whether a SYN-ACK has window scale or SACK-permitted for a client without timestamps.
#[inline]
fn is_full_offer(syn: TcpOptions, syn_ack: TcpOptions) -> bool {
    !syn.has(TcpOptions::TIMESTAMPS) && syn_ack.any(TcpOptions::SACK_PERMITTED | TcpOptions::WINDOW_SCALE)
}

fn syn_fate(f: &ConnectionFacts) -> SynFate {
    match f.answered_syn() {
        Some(syn) => SynFate::Accepted(syn.at),
        None if f.s.resets > 0 || f.ack_to_syn.is_some() || f.icmp.is_some() || f.client_continued() => {
            SynFate::NoEvidence
        }
        None => SynFate::Unanswered,
    }
}

fn sample(f: &ConnectionFacts) -> Option<HandshakeSample> {
    // SYN-ACKs that come again after the final ACK show nothing about the path.
    let (ack, 1) = (f.final_ack?, f.syn.count) else { return None };
    let (syn_to_syn_ack, syn_ack_to_ack) = (f.syn_to_syn_ack()?, f.syn_ack_to_ack()?);
    // The capture changed their order.
    if syn_ack_to_ack < Span::ZERO {
        return None;
    }
    if !ack.bare && f.c.first_data.is_none_or(|data| data != ack.at) {
        return None;
    }
    Some(HandshakeSample {
        at: f.first,
        syn_to_syn_ack,
        syn_ack_to_ack,
        client_ttl: f.syn_offer.ttl,
        server_ttl: f.syn_ack_offer.ttl,
        client_traits: f.c.traits,
        server_traits: f.s.traits,
    })
}

fn syn_ack_lag(f: &ConnectionFacts) -> Option<(PacketRef, i64)> {
    let [first, later] = ClockReading::clock(f, Role::Server)?;
    let after_syn = f.syn_to_syn_ack().filter(|_| f.syn.count > 0)?;
    let lag = SynAckLags::read(after_syn, first, later)?;
    Some((f.syn_ack.first()?.at, lag))
}
