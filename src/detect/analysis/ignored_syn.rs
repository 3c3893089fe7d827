//! Which of the causes of an unanswered SYN fits best: shared by `syn-drop-accept-queue`, `syn-drop-syn-queue` and
//! `syn-unanswered`, of which each connection gets at most one.

use crate::detect::analysis::ignored_ack::{COOKIE_RETRANSMITS, StuckConnection, TIMER, ignored_ack};
use crate::detect::analysis::timestamp_rule::explains_unanswered_syns;
use crate::detect::context::{DetectContext, ServerAnswers};
use crate::detect::details::Details;
use crate::detect::draft::{Draft, count};
use crate::detect::refused_clients::RefusedClient;
use crate::detect::spec::KindSpec;
use crate::flow::facts::{ConnectionFacts, Transmission};
use crate::history::interval::Interval;
use crate::model::{Kind, Severity, Vantage};
use crate::time::Span;

/// From this many half-open handshakes at once, a SYN queue may be full: the smallest table holds 8
/// (`reqsk_queue_alloc` up to 4.3), and backlogs in real use are not smaller.
pub const CROWD: usize = 8;
/// How near in time a connection stuck in the handshake is evidence for a full accept queue.
const NEAR: Span = Span::secs(2);

/// If at least this many listeners of one host ignore SYNs at once, the cause is not the queue of each.
const WHOLE_HOST: usize = 3;

/// The cause that fits best.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IgnoredSynCause {
    /// Other connections show that the accept queue was full.
    AcceptQueue,
    /// Nothing is lost on the loopback interface, and the listener answered others.
    Loopback,
    /// As many handshakes were half open as a SYN queue may hold.
    SynQueue,
    /// Nothing else shows why.
    Unknown,
}

/// Whether SYNs may have gone unanswered: a SYN was repeated, or the handshake was not completed.
pub fn is_unanswered(f: &ConnectionFacts) -> bool {
    f.syn.count > 1 || (f.syn.count > 0 && f.final_ack.is_none())
}

/// The unanswered SYNs, and the cause; `None` if all were answered, or another detector has a better cause.
pub fn ignored_syn_cause<'a>(
    f: &'a ConnectionFacts,
    around: &DetectContext<'_>,
) -> Option<(Vec<&'a Transmission>, IgnoredSynCause)> {
    let syns: Vec<&Transmission> = f.unanswered_syns().collect();
    let (first, last) = (syns.first()?, syns.last()?);
    // A single SYN, without anything else in the capture, proves nothing: the answer may have come after its end, or
    // its direction may not have been captured.
    let waited = around.observed_until(f.last.time).min(f.watched) - first.at.time;
    if f.syn_ack.count == 0 && (f.syn.count == 1 || waited < Span::millis(900)) {
        return None;
    }
    if is_no_attempt(f)
        || answers_another_syn(f)
        || answered_late(f)
        || answered_unseen(f)
        || explains_unanswered_syns(f, around)
        || around.untranslated(f).is_some()
        || around.answered_elsewhere(f).is_some()
    {
        return None;
    }
    let during = Interval { from: first.at.time, to: last.at.time };
    let activity = around.activity;
    // The same connection may have been ignored again after it was answered.
    let own = ignored_ack(f, around.end()).and_then(|o| o.stuck(f));
    // At the server's host data that was ignored had arrived.
    let at_server = around.at_server();
    let shows = |s: &StuckConnection| s.shows_a_full_queue() || at_server && s.data_ignored;
    let stuck = usize::from(own.is_some_and(|s| shows(&s)))
        + around.others_stuck(f, during, NEAR).filter(|s| shows(s)).count()
        + clients_kept_out(f, during, around)
        + activity.reset.iter().filter(|r| during.meets(r.time, r.time, NEAR)).count();
    let half_open = activity.half_open_at(first.at.time).max(activity.half_open_at(last.at.time));
    let meanwhile = around.listener.possibly_inside(during);
    let is_whole_host = stuck == 0
        && around.outage_of_host(f.server.address, during).is_some_and(|o| o.ports.len() >= WHOLE_HOST);
    let cause = if around.ignored_pattern().is_some() || is_whole_host {
        IgnoredSynCause::Unknown
    } else if half_open >= CROWD && stuck == 0 {
        IgnoredSynCause::SynQueue
    } else if stuck > 0 || (meanwhile.answered == 0 && around.at_server() && many_wait(f, during, around)) {
        IgnoredSynCause::AcceptQueue
    } else if half_open >= CROWD {
        IgnoredSynCause::SynQueue
    } else if f.server.address.ip().is_loopback() && around.listener.completed > 0 {
        IgnoredSynCause::Loopback
    } else {
        IgnoredSynCause::Unknown
    };
    Some((syns, cause))
}

/// Clients whose data the server's host ignored at that time after a syncookie handshake, while others waited for the
/// application: a queue that has no room for them has none for SYNs. Elsewhere the path may have lost both.
fn clients_kept_out(f: &ConnectionFacts, during: Interval, around: &DetectContext<'_>) -> usize {
    let is_cookie = |s: &&StuckConnection| s.repeats == 0 && s.retransmits >= u32::from(COOKIE_RETRANSMITS);
    let kept_out = around.others_stuck(f, during, NEAR).filter(is_cookie).count();
    let shows = around.at_server() && kept_out >= 2 && around.activity.waiting_at(during.from) > 0;
    if shows { kept_out } else { 0 }
}

/// Whether enough connections wait for the application to fill its queue. Clients that have sent a request count. All
/// clients count if SYNs of one of their addresses are ignored meanwhile: only the queue has changed for that address.
///
/// Only the server's own capture can distinguish this from a broken path.
fn many_wait(f: &ConnectionFacts, during: Interval, around: &DetectContext<'_>) -> bool {
    let (activity, at) = (around.activity, during.from);
    // A single SYN: its answer may be missing from the capture, if it was the only one, or others were answered just
    // then.
    let mut others = activity.ignored.iter().filter(|i| i.client != f.client);
    let is_single = during.from == during.to;
    if is_single
        && (around.listener.between(at, at).answered > 0 || !others.any(|i| i.during.meets(at, at, NEAR)))
    {
        return false;
    }
    activity.waiting_at(at) >= 2
        || (activity.unserved_at(at) >= 2 && activity.unserved_and_ignored_at(at) > 0)
}

/// Whether the SYN-ACK acknowledges a SYN that is not in the capture.
fn answers_another_syn(f: &ConnectionFacts) -> bool {
    let acknowledged = f.syn_ack_ack.distance(f.c.isn.advance(1));
    f.syn_ack.count > 0 && !(0..=i32::from(f.syn_offer.payload)).contains(&acknowledged)
}

/// Whether these SYNs do not come from a kernel that opens a connection: with FIN, with payload but no Fast Open, or
/// all of them at once, as a scanner sends them.
fn is_no_attempt(f: &ConnectionFacts) -> bool {
    let at_once = f.last.time - f.first.time < AT_ONCE;
    f.syn.first().is_some_and(|syn| syn.is(Transmission::NO_ATTEMPT)) || (f.syn_ack.count == 0 && at_once)
}

/// SYNs that are no further apart than this are not a timer's repetitions.
const AT_ONCE: Span = Span::millis(100);
/// The timer of a SYN is 1 s (RFC 6298 section 2.1), and 3 s on older kernels.
const SYN_TIMER: Span = Span::millis(700);

/// Whether a SYN was repeated sooner than its sender's timer does: it had been refused or answered, and the capture
/// lacks that. (Windows repeats a refused SYN after 0.5 s.) A timer that starts lower doubles its waits.
fn came_again_too_soon(syns: &[&Transmission]) -> Option<Span> {
    let gaps: Vec<Span> = syns.windows(2).map(|pair| pair[1].at.time - pair[0].at.time).collect();
    let doubles = gaps.len() >= 2 && gaps.windows(2).all(|pair| pair[1].0 >= pair[0].0 / 2 * 3);
    gaps.iter().copied().find(|gap| *gap < SYN_TIMER).filter(|_| !doubles)
}

/// The end of a SYN without an answer, as far as the capture can tell.
enum End<'a> {
    /// It was answered in the end.
    Answered(&'a Transmission),
    /// It never was.
    Never,
    /// It was refused or answered, but the answer is not in the capture: it was repeated sooner than by a timer.
    TooSoon(Span),
    /// It was one of several that were answered, but not in the capture. `stopped` says that no further repetition came
    /// when it was due.
    Unknown { stopped: bool },
}

/// From this many SYNs on, a client has sent all its repetitions (`tcp_syn_retries` 5).
const ALL_TRIES: u32 = 6;

fn end<'a>(f: &'a ConnectionFacts, syns: &[&Transmission], around: &DetectContext<'_>) -> End<'a> {
    if let Some(answer) = f.syn_ack.first() {
        return End::Answered(answer);
    }
    if let Some(gap) = came_again_too_soon(syns) {
        return End::TooSoon(gap);
    }
    let others_answered = match around.context.answers_of(f.server.address) {
        ServerAnswers::Captured => return End::Never,
        ServerAnswers::Missing => true,
        ServerAnswers::Unseen => around.activity.seems_to_answer(),
    };
    if !others_answered || f.syn.count >= ALL_TRIES {
        return End::Never;
    }
    let last = syns.windows(2).last().map_or(Span::ZERO, |pair| pair[1].at.time - pair[0].at.time);
    let watched = around.observed_until(f.last.time).min(f.watched) - f.last.time;
    End::Unknown { stopped: watched > last + last + TIMER }
}

/// Whether the first SYN-ACK may answer an earlier SYN than the last, because the round trip is longer than the SYN
/// timer. It may if it comes no later after the first SYN than the round trip that the connection shows afterwards.
fn answered_late(f: &ConnectionFacts) -> bool {
    let (Some(syn), Some(answer)) = (f.syn.first(), f.syn_ack.first()) else { return false };
    if f.timestamps() {
        return false; // TSecr names the SYN that was answered.
    }
    let later = f.progress.map(|p| p.at.time - p.after.time).unwrap_or(Span::ZERO);
    let back = f.syn_ack_to_ack().unwrap_or(Span::ZERO);
    let delay = answer.at.time - syn.at.time;
    (later + back).0.saturating_mul(3) >= delay.0.saturating_mul(2)
}

/// Whether the server held a request before the SYN that seems to be the first that it answered. Then a SYN-ACK of the
/// request's timer came soon after the answer to that SYN. The capture missed earlier ones.
fn answered_unseen(f: &ConnectionFacts) -> bool {
    let all: Vec<&Transmission> = f.syn_ack.iter().take(2).collect();
    let [first, second] = all[..] else { return false };
    let asked_again = f.syn.iter().any(|syn| syn.at > first.at && syn.at < second.at);
    second.at.time - first.at.time < TIMER && !asked_again
}

/// Begins the finding about SYNs that drew no answer for this cause.
pub fn begin<'a>(
    f: &'a ConnectionFacts,
    spec: &KindSpec,
    cause: IgnoredSynCause,
    around: &DetectContext<'_>,
) -> Option<(Vec<&'a Transmission>, Draft)> {
    let (syns, found) = ignored_syn_cause(f, around)?;
    (found == cause).then(|| {
        let d = draft(f, spec, &syns, around);
        (syns, d)
    })
}

/// The parts of the finding that all three kinds share: packets, numbers, severity, one sentence.
fn draft(f: &ConnectionFacts, spec: &KindSpec, syns: &[&Transmission], around: &DetectContext<'_>) -> Draft {
    let mut d = Draft::about(f, spec, (syns[0].at, "SYN: no answer"));
    for syn in &syns[1..] {
        d.shows(syn.at, "SYN again: no answer");
    }
    let n = u64::from(f.syn.count).max(syns.len() as u64);
    let server = f.server.socket();
    let outcome = match end(f, syns, around) {
        End::Answered(answer) => {
            let took = answer.at.time - syns[0].at.time;
            // One repetition, and the connection worked: a short disturbance.
            let blink = spec.kind == Kind::SynUnanswered && f.syn.count <= 2;
            d.severity = if blink { Severity::Info } else { Severity::Warning };
            d.shows(answer.at, "SYN-ACK: the server answers at last").measure_span("answered_after_s", took);
            format!("the server answered {took} after the first one")
        }
        End::Never => {
            d.severity = if is_one_of_many(f, around) { Severity::Warning } else { Severity::Critical };
            match around.context.answers_of(f.server.address) {
                ServerAnswers::Captured => "the server never answered".to_owned(),
                _ => format!("the capture holds no packet of {}", server.ip()),
            }
        }
        End::TooSoon(gap) => {
            d.severity = Severity::Info;
            format!(
                "it came again after {gap}, sooner than a timer sends it: an answer is missing from the capture"
            )
        }
        End::Unknown { stopped } => {
            d.severity = if stopped && n <= 2 { Severity::Info } else { Severity::Warning };
            match stopped {
                true => "then they stopped: the answer is missing from the capture, or the client gave up"
                    .to_owned(),
                false => format!("the answers of {} are missing from the capture", server.ip()),
            }
        }
    };
    let dropped = if f.syn_ack.count > 0 { syns.len() as u64 } else { n };
    d.details = Details::IgnoredSyns { count: dropped, answered: f.syn_ack.count > 0 };
    d.kept_out = Some(kept_out(f, syns, around));
    d.summary =
        format!("{} of {} to {server} drew no answer; {outcome}.", count(dropped, "SYN"), f.client.socket(),);
    d
}

/// From the first SYN without an answer to the final ACK, or to the client's ignored segments after that.
fn kept_out(f: &ConnectionFacts, syns: &[&Transmission], around: &DetectContext<'_>) -> RefusedClient {
    let (from, last) = (syns[0].at.time, syns[syns.len() - 1].at.time);
    let again = ignored_ack(f, around.end()).filter(|o| o.stuck(f).is_some());
    match again {
        Some(o) => RefusedClient { from, ..o.kept_out(f) },
        // After a syncookie nothing shows that a final ACK was ignored, but then no segment of the server follows.
        None => {
            let admitted = f.final_ack.filter(|_| f.progress.is_some());
            let admitted = admitted.map(|ack| ack.at.time);
            RefusedClient { from, last, admitted, served: f.served() }
        }
    }
}

/// If at least this many servers never answered one client, it searches for hosts, or its peers come and go.
const MANY_SERVERS: u32 = 10;

/// Whether this is one dead host of many that one client tries, and no other client tried it: a scan, or peers of which
/// some are always gone.
pub fn is_one_of_many(f: &ConnectionFacts, around: &DetectContext<'_>) -> bool {
    let tried = around.context.silent_servers.get(&f.client.address).copied().unwrap_or(0);
    let ignored = &around.activity.ignored;
    tried >= MANY_SERVERS
        && ignored.len() <= 2
        && ignored.iter().all(|i| i.client.address == f.client.address)
}

/// Certainty by capture point. Only a capture near the server shows that an unanswered SYN arrived. Unless it was taken
/// on the server's host, other segments of the server must show that the host was up at that time. SYN-ACKs that it
/// repeated again and again show it too.
pub fn judge(
    d: &mut Draft,
    f: &ConnectionFacts,
    around: &DetectContext<'_>,
    syns: &[&Transmission],
    reason: &str,
) {
    let was_heard = |during| {
        around.heard_of_host(f.server.address, during)
            || around.others_stuck(f, during, NEAR).any(|s| s.shows_a_full_queue())
    };
    let during = syns.first().zip(syns.last()).map(|(a, b)| Interval { from: a.at.time, to: b.at.time });
    let is_alive = around.view.on_host || during.is_some_and(was_heard);
    match around.view.vantage {
        Vantage::Server if is_alive => {
            d.probable(format!("the capture was taken at the server, where the SYNs arrived; {reason}"))
        }
        Vantage::Server => {
            d.possible(format!("{reason}; but nothing shows that the server was up at that time"))
        }
        _ => d.possible(format!("{reason}; this capture cannot show whether the SYNs reached the server")),
    };
}
