//! How a server ignored the final ACK of a handshake, and the client's segments after it.

use crate::detect::refused_clients::RefusedClient;
use crate::flow::facts::{ConnectionFacts, FinalAck, Roles, SegmentKind, Transmission, is_later_wait};
use crate::flow::key::Host;
use crate::history::interval::Interval;
use crate::time::{Span, Timestamp};

/// A timer's SYN-ACK comes no sooner than this after the one before: the timer starts at 1 s (`TCP_TIMEOUT_INIT`, RFC
/// 6298 section 2.1) and is never early. The path may shorten the interval a little.
pub const TIMER: Span = Span::millis(900);
/// A SYN-ACK repeated sooner, but not at once, comes from a timer that is not Linux's.
const FOREIGN_TIMER: std::ops::Range<i64> = 50_000_000..850_000_000;
/// How much later than due a timer's SYN-ACK may come, each time: the next sweep, and a busy server.
const SWEEP: Span = Span::millis(800);
/// How near in time another connection must be stuck to be evidence for a full queue.
pub const SAME_TIME: Span = Span::secs(10);
/// How often an ignored client must have repeated its data if no SYN-ACK came again.
pub const COOKIE_RETRANSMITS: u16 = 3;
/// No buffer on the way is large enough to delay segments for this long.
const LASTING: Span = Span::secs(7);
/// The first retransmission of a 1 s timer, with the tolerance of a listener that is swept every 200 ms (before 4.2).
pub const FIRST_REPEAT: Span = Span::millis(1_700);
/// A round trip that few paths exceed, used if the capture does not hold the SYN.
const UNKNOWN_TURNAROUND: Span = Span::millis(250);
/// How much later than a round trip an answer may come.
const TURNAROUND: Span = Span::millis(100);

/// How the server treated a connection after the client had completed the handshake.
#[derive(Clone, Debug)]
pub struct IgnoredAck<'a> {
    /// The client's final ACK.
    pub ack: FinalAck,
    /// SYN-ACK retransmissions that only a server which ignored the final ACK sends.
    pub repeats: Vec<&'a Transmission>,
    /// Whether the client had sent data (or FIN) in time for one of them, and the server ignored that too.
    pub data_ignored: bool,
    /// A retransmission echoes the timestamp of an ignored segment: the server's TCP has read it.
    pub read_by_tcp: bool,
    /// From the final ACK to whatever ended it.
    pub during: Interval,
    /// When the client was certainly ignored, provided that its segments reached the server.
    pub ignored: Interval,
    /// The first of `repeats` came when the timer of a request is due, and not when the timer of a deferring listener
    /// is.
    pub on_time: bool,
    /// The capture began after the handshake, and its first SYN-ACK is a repetition that is not among `repeats`: only
    /// the client's answer to it is known to have been ignored.
    pub asked_before: bool,
    /// SYN-ACKs that are missing from the capture: the client answered more of them than it holds.
    pub unseen: u16,
}

impl IgnoredAck<'_> {
    /// The summary with which other connections of the listener are compared.
    pub fn stuck(&self, f: &ConnectionFacts) -> Option<StuckConnection> {
        let retransmits = u32::from(f.unanswered.retransmits);
        let repeats = self.times_asked() as u32;
        let on_schedule = self.on_time && !lacks_syn_acks(f);
        let probe_refused = probe_refused(f);
        let ignored = repeats > 0 || retransmits >= u32::from(COOKIE_RETRANSMITS);
        (ignored || probe_refused).then_some(StuckConnection {
            during: self.during,
            ignored: self.ignored,
            repeats,
            retransmits,
            data_ignored: on_schedule && self.data_ignored,
            in_vain: on_schedule && (repeats < 2 || self.data_ignored || answered_in_vain(f, self)),
            lasting: self.outlasts_buffers(f),
            taken: f.progress.is_some(),
            lag: cookie_lag(f),
            probe_refused,
            client: f.client,
            ttl: f.syn_offer.ttl,
            answer_ttl: f.syn_ack_offer.ttl,
            another_way: f.returns_another_way(),
            answered_meanwhile: false,
            answer: f
                .syn_ack
                .first()
                .filter(|_| f.answered_syn().is_some_and(|syn| Some(syn) == f.syn.first()))
                .map(|sent| (sent.at.time, sent.tsval)),
        })
    }

    /// For how long a full queue kept the client out.
    pub fn kept_out(&self, f: &ConnectionFacts) -> RefusedClient {
        let from = self.ack.at.time;
        let admitted = f.progress.map(|_| self.during.to);
        // The client got in by its answer to the last SYN-ACK.
        let refused = self.repeats.len().saturating_sub(usize::from(admitted.is_some()));
        let last = self.repeats[..refused].last().map_or(from, |again| again.at.time.max(from));
        RefusedClient { from, last, admitted, served: f.served() }
    }

    /// How often the SYN-ACK was repeated, as far as the capture knows.
    pub fn times_asked(&self) -> usize {
        self.repeats.len() + usize::from(self.asked_before) + usize::from(self.unseen)
    }

    /// Whether the client was ignored for longer than a buffer on the way can delay its segments: the third SYN-ACK
    /// retransmission comes after 7 s. Data would have been acknowledged as soon as the buffer let it pass, and that
    /// acknowledgment would have been for the first transmission.
    pub fn outlasts_buffers(&self, f: &ConnectionFacts) -> bool {
        let asked = self.repeats.len() >= 2 && f.unanswered.retransmits > 0;
        let lasted = f.c.first_data.or(f.c.fin).map_or(Span::ZERO, |spoke| self.during.to - spoke.time);
        (self.repeats.len() >= 3 && !lacks_syn_acks(f))
            || (asked && lasted >= LASTING)
            || (asked && f.progress.is_some() && f.timestamps() && !was_late(f))
    }
}

/// A connection whose server gave no sign of life although its client completed the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StuckConnection {
    /// From the final ACK until the server showed that it has the connection, refused it, or the capture ended.
    pub during: Interval,
    /// When its client was certainly ignored, provided that its segments reached the server.
    pub ignored: Interval,
    /// SYN-ACK retransmissions in that time that nothing else explains.
    pub repeats: u32,
    /// Retransmissions by the client in that time.
    pub retransmits: u32,
    /// Whether the SYN-ACK came again although the client had sent data.
    pub data_ignored: bool,
    /// Whether a deferring listener whose SYN-ACKs draw no answer would have behaved differently.
    pub in_vain: bool,
    /// Whether it lasted longer than a buffer on the way can delay segments.
    pub lasting: bool,
    /// Whether the server took the connection in the end.
    pub taken: bool,
    /// How far the SYN-ACK's TSval lagged the clock of the server's later segments, milliseconds: up to 63 for a
    /// syncookie, nothing for a request. Known if the server accepted the connection in the end.
    pub lag: Option<i64>,
    /// See [`probe_refused`].
    pub probe_refused: bool,
    /// The client's address, so that several connections of one client are distinguished from several clients.
    pub client: Host,
    /// TTL of its SYN.
    pub ttl: u8,
    /// TTL of its SYN-ACK.
    pub answer_ttl: u8,
    /// Its SYN-ACK and its SYN took different ways.
    pub another_way: bool,
    /// When its first SYN was answered, if it was, and the TSval of that SYN (0 without timestamps).
    pub answer: Option<(Timestamp, u32)>,
    /// Whether that was while another client of the listener was being ignored. It is known for connections that the
    /// survey has kept (`ListenerActivity::sort_stuck`).
    pub answered_meanwhile: bool,
}

impl StuckConnection {
    /// Whether this alone shows a full queue: the SYN-ACK was repeated again and again. Data that is repeated without
    /// an acknowledgment shows nothing, and a single repeated SYN-ACK may be the first that passed after an outage.
    pub fn shows_a_full_queue(&self) -> bool {
        self.in_vain && self.repeats >= 2
    }

    /// Whether it was ignored in a way that agrees with a full queue, if there is other evidence for one.
    pub fn agrees_with_a_full_queue(&self) -> bool {
        self.shows_a_full_queue() || self.data_ignored
    }
}

/// Reads how the server ignored a handshake, if its client completed it; `end` is the end of the capture.
pub fn ignored_ack(f: &ConnectionFacts, end: Timestamp) -> Option<IgnoredAck<'_>> {
    let ack = f.final_ack?;
    if f.roles == Roles::Guessed || f.odd_handshake || f.syn_ack.count == 0 {
        return None;
    }
    if has_foreign_timer(f) || f.other_isns > 0 {
        return None;
    }
    let turnaround = server_turnaround(f);
    let joined = f.began_after_handshake();
    let ignored = Transmission::AFTER_FINAL_ACK;
    let late = was_late(f);
    let mut repeats: Vec<&Transmission> = Vec::new();
    let mut before: Option<&Transmission> = None;
    for sent in f.syn_ack.iter() {
        let timed = before.map_or(joined, |b| sent.at.time - b.at.time >= TIMER);
        let late_enough = sent.at.time - ack.at.time > turnaround;
        let excused = sent.context & (Transmission::AFTER_PROGRESS | Transmission::AFTER_RESET) != 0;
        if sent.is(ignored) && timed && late_enough && !late && !excused && !answers_a_syn(f, sent) {
            repeats.push(sent);
        }
        before = Some(sent);
    }
    let spoke = [f.c.first_data, f.c.fin].into_iter().flatten().map(|at| at.time).min();
    // Segments sent after the last repetition of the SYN-ACK may be lost while the server waits for them.
    let data_ignored = spoke.is_some_and(|spoke| {
        repeats.iter().any(|r| r.is(Transmission::AFTER_DATA) && r.at.time - spoke > turnaround + TURNAROUND)
    });
    let last_syn = f.syn.iter().map(|syn| syn.tsval).last();
    let read_by_tcp = f.timestamps()
        && last_syn.is_some_and(|last| {
            repeats.iter().any(|r| {
                let newer_than_syn = (r.tsecr.wrapping_sub(last) as i32) > 0;
                let not_newer_than_sent = [ack.tsval, f.unanswered.tsval, f.c.tsval.unwrap_or(0)]
                    .iter()
                    .any(|&sent| (sent.wrapping_sub(r.tsecr) as i32) >= 0);
                newer_than_syn && not_newer_than_sent && f.syn.iter().all(|syn| syn.tsval != r.tsecr)
            })
        });
    let over = [f.progress.map(|p| p.at.time), f.s.reset.as_ref().map(|r| r.at.time)];
    let mut to = over.into_iter().flatten().min().unwrap_or(f.closed.unwrap_or(end));
    if let (Some(last), Some(_), 0) = (repeats.last(), f.progress, f.unanswered.retransmits) {
        // A client without data got in by its answer to the last SYN-ACK; the server's first payload only shows that it
        // had.
        to = last.at.time.max(f.unanswered.last_ack.time).min(to);
    }
    let ignored = certainly_ignored(f, ack, &repeats);
    let unseen = if repeats.is_empty() { 0 } else { answered_unseen(f, ack) };
    let on_time = is_on_time(f, &repeats, unseen);
    let during = Interval { from: ack.at.time, to };
    let counted = |first: &Transmission| repeats.first().is_some_and(|r| r.at == first.at);
    let asked_before = joined && f.syn_ack.first().is_some_and(|first| !counted(first));
    Some(IgnoredAck {
        ack,
        repeats,
        data_ignored,
        read_by_tcp,
        during,
        ignored,
        on_time,
        asked_before,
        unseen,
    })
}

/// How many more SYN-ACKs the client answered after its final ACK than the capture holds. The client answers each one
/// once (`tcp_send_challenge_ack`), and has nothing else to acknowledge while the server is silent.
fn answered_unseen(f: &ConnectionFacts, ack: FinalAck) -> u16 {
    if f.progress.is_some() || f.s.has_spoken() || f.s.fin.is_some() || f.s.keepalives() > 0 {
        return 0;
    }
    // A SYN-ACK that comes just after its own answer has changed places with it.
    let answered = f.unanswered.last_ack.time + TURNAROUND;
    let later = f.syn_ack.iter().filter(|sent| sent.at.time > answered).count() as u32;
    let seen = f.syn_ack.count.saturating_sub(u32::from(ack.syn_acks) + later);
    let answers = u32::from(f.unanswered.acks.saturating_sub(f.c.keepalives()));
    answers.saturating_sub(seen).min(u32::from(u16::MAX)) as u16
}

/// Whether the first of these SYN-ACKs came when the timer of a request is due: 1 s after the one before, or after
/// twice the previous interval. A later one is that of a deferring listener, or the first to pass after an outage.
fn is_on_time(f: &ConnectionFacts, repeats: &[&Transmission], unseen: u16) -> bool {
    let Some(again) = repeats.first() else { return false };
    if f.began_after_handshake() {
        let since_first = f.ticks_since_first_syn_ack().map(|ticks| Span::millis(i64::from(ticks)));
        let sent: Vec<&Transmission> = f.syn_ack.iter().collect();
        let later = sent.windows(2).any(|two| is_later_wait(two[1].at.time - two[0].at.time));
        return later || since_first.is_some_and(is_time_of_repetition);
    }
    let before: Vec<&Transmission> = f.syn_ack.iter().take_while(|sent| sent.at < again.at).collect();
    let Some(last) = before.last() else { return false };
    let waited = again.at.time - last.at.time;
    let is_second = before.len() >= 2 && waited <= growth(before[before.len() - 2].at.time, last.at.time);
    let after_unseen = unseen > 0 && is_time_of_repetition(waited);
    waited <= FIRST_REPEAT || is_second || after_unseen || again.syns > last.syns
}

/// Whether a timer that starts at 1 s and doubles expires at this time after the first transmission.
fn is_time_of_repetition(since_first: Span) -> bool {
    [(1_000, 1), (3_000, 2), (7_000, 3), (15_000, 4), (31_000, 5)].iter().any(|&(due, nth)| {
        let late = (since_first - Span::millis(due)).0;
        (-20_000_000..SWEEP.0 * nth).contains(&late)
    })
}

/// The longest that the timer waits after it has waited from `from` to `to`.
fn growth(from: Timestamp, to: Timestamp) -> Span {
    Span((to - from).0.saturating_mul(2)) + SWEEP
}

/// Whether SYN-ACKs were repeated as no Linux timer does: too soon, or again and again at the same interval. (Each
/// interval is twice the one before; a listener swept every 200 ms makes that less exact, but not equal.)
fn has_foreign_timer(f: &ConnectionFacts) -> bool {
    let all: Vec<&Transmission> = f.syn_ack.iter().collect();
    let gaps = || all.windows(2).map(|pair| (pair[1], pair[1].at.time - pair[0].at.time));
    let too_soon = gaps().any(|(sent, gap)| FOREIGN_TIMER.contains(&gap.0) && !answers_a_syn(f, sent));
    let timed: Vec<Span> = gaps().filter(|(sent, _)| !answers_a_syn(f, sent)).map(|(_, gap)| gap).collect();
    let level =
        f.syn.count <= 1 && timed.len() >= 2 && timed[1].0.saturating_mul(10) < timed[0].0.saturating_mul(12);
    too_soon || level
}

/// How long after the final ACK passed the capture point a SYN-ACK that was sent before its arrival may still pass: the
/// time from here to the server and back. Without timestamps, if a SYN was sent several times, it is not known which
/// one was answered; then the longest possible time counts.
fn server_turnaround(f: &ConnectionFacts) -> Span {
    let Some(answer) = f.syn_ack.first() else { return Span::ZERO };
    if f.syn.count == 0 || f.began_after_handshake() {
        return UNKNOWN_TURNAROUND;
    }
    let asked = f.syn.iter().take(usize::from(answer.syns));
    let delay = if f.timestamps() || asked.clone().count() <= 1 {
        f.syn_to_syn_ack()
    } else {
        asked.map(|syn| answer.at.time - syn.at.time).max()
    };
    let delay = delay.unwrap_or(Span::ZERO).max(Span::ZERO);
    Span(delay.0 + delay.0 / 10 + 5_000_000)
}

/// Whether the server accepted the client's data before it repeated anything: the data had been on its way for long,
/// and was not ignored.
pub fn was_late(f: &ConnectionFacts) -> bool {
    let (Some(progress), Some(repeated_from)) = (f.progress, f.unanswered.repeated_from) else {
        return false;
    };
    f.timestamps() && (progress.tsecr.wrapping_sub(repeated_from) as i32) < 0
}

/// Whether a SYN-ACK answers a SYN of its own: it comes one turnaround after a repeated SYN.
fn answers_a_syn(f: &ConnectionFacts, syn_ack: &Transmission) -> bool {
    let shortest = f.syn_to_syn_ack().unwrap_or(Span::ZERO).max(Span::ZERO);
    let longest = server_turnaround(f);
    f.syn.iter().skip(1).any(|syn| {
        let after = syn_ack.at.time - syn.at.time;
        after >= Span::ZERO && (after - shortest <= TURNAROUND || after <= longest)
    })
}

/// Whether the client had answered a repeated SYN-ACK, or had sent data, before another one came. A deferring listener
/// repeats its SYN-ACK as often as it draws no answer.
pub fn answered_in_vain(f: &ConnectionFacts, o: &IgnoredAck<'_>) -> bool {
    let (u, Some(last)) = (&f.unanswered, o.repeats.last()) else { return false };
    let spoke = u.retransmits > 0 && u.first < last.at;
    // In a handshake from before the capture, the first ACK answers a repeated SYN-ACK, too.
    let first = u16::from(f.began_after_handshake() && o.ack.syn_acks > 0);
    let acks = u.acks.saturating_sub(f.c.keepalives()) + first;
    let answered = acks >= 2 || (acks == 1 && u.last_ack < last.at);
    spoke || answered
}

/// Whether the intervals between SYN-ACKs grew faster than the timer's, which double: then some in between did not get
/// here.
pub fn lacks_syn_acks(f: &ConnectionFacts) -> bool {
    let all: Vec<&Transmission> = f.syn_ack.iter().collect();
    all.windows(3).any(|three| {
        let [a, b, c] = three else { return false };
        a.syns == c.syns && c.at.time - b.at.time > growth(a.at.time, b.at.time)
    })
}

/// The interval in which the client was certainly ignored, provided that its segments reached the server.
///
/// It begins when the server would have processed the final ACK, or the first retransmission. It ends with the last
/// segment that the server is known to have ignored. The very last segment may be the one that it accepted. So the end
/// is the answer to the second last SYN-ACK, or the second last retransmission.
///
/// The waits between retransmissions double; the first two may be equal (a tail loss probe). Of n retransmissions the
/// second last comes after (2^(n-2) - 1) / (2^(n-1) - 1) of the time between the first and the last, and sooner if the
/// capture missed some.
fn certainly_ignored(f: &ConnectionFacts, ack: FinalAck, repeats: &[&Transmission]) -> Interval {
    let (u, turnaround) = (&f.unanswered, server_turnaround(f));
    let waits = (1_i64 << u.retransmits.clamp(2, 16) >> 2) - 1;
    let part = Span((u.last.time - u.first.time).0 / (2 * waits + 1) * waits);
    // The segment that was acknowledged in the end may be the first transmission, which waited in a buffer.
    let not_late =
        f.progress.is_none() || (f.timestamps() && !was_late(f)) || u.last.time - u.first.time >= LASTING;
    let spoke = (u.retransmits > 1 && not_late).then(|| u.first.time + (part - TURNAROUND));
    let answered = repeats.len().checked_sub(2).map(|n| repeats[n].at.time);
    let from = if repeats.is_empty() { u.first.time } else { ack.at.time };
    Interval { from: from + turnaround, to: spoke.max(answered).unwrap_or(from) }
}

/// Whether a RST without a socket answers the first keepalive probe of a silent client. The server had sent nothing to
/// that client since its only SYN-ACK. The sequence number of a probe is one too low for a cookie, which IPv4 therefore
/// refuses (`cookie_v4_check`); a request would have repeated its SYN-ACK.
pub fn probe_refused(f: &ConnectionFacts) -> bool {
    f.syn_ack.count == 1
        && f.progress.is_none()
        && f.c.bytes == 0
        && f.c.keepalives() == 1
        && f.s.reset.as_deref().is_some_and(|reset| {
            let answers =
                reset.trigger.is_some_and(|t| t.what == SegmentKind::KeepAlive && t.ack == reset.seq);
            reset.is_bare() && answers && !reset.has_other_ttl()
        })
}

/// How far the SYN-ACK's TSval lagged the server's clock, assuming that a tick is a millisecond (Linux 4.13 and later):
/// `cookie_init_timestamp` puts the options into its low six bits and never lets it run ahead.
pub fn cookie_lag(f: &ConnectionFacts) -> Option<i64> {
    let (syn_ack, progress) = (f.syn_ack.first()?, f.progress?);
    let ticks = i64::from(progress.tsval.wrapping_sub(syn_ack.tsval) as i32);
    let elapsed = (progress.at.time - syn_ack.at.time).0 / 1_000_000;
    f.timestamps().then_some(ticks - elapsed)
}
