//! Which of the causes of an unanswered SYN fits best: shared by `syn-drop-accept-queue`, `syn-drop-syn-queue` and
//! `syn-unanswered`, of which each connection gets at most one.

use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, count};
use crate::detect::kinds::accept_queue_overflow::ordeal;
use crate::detect::kinds::syn_drop_timestamp;
use crate::flow::facts::{ConnectionFacts, Sent};
use crate::history::interval::Interval;
use crate::model::{Kind, Severity, Vantage};
use crate::time::Span;

/// Half-open handshakes at once from which on a SYN queue may be full: the smallest table holds 8
/// (`reqsk_queue_alloc` up to 4.3), the smallest backlog that is used in earnest is not below it.
pub const CROWD: usize = 8;
/// The server's timer does not send a SYN-ACK again sooner than this (`TCP_TIMEOUT_INIT`, less what the path shortens).
const TIMER: Span = Span::millis(900);
/// How near in time a connection stuck in the handshake speaks for a full accept queue.
const NEAR: Span = Span::secs(2);

/// The cause that fits best.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Other connections show that the accept queue was full.
    AcceptQueue,
    /// As many handshakes were half open as a SYN queue may hold.
    SynQueue,
    /// Nothing else shows why.
    Unknown,
}

/// The SYNs that drew no answer, and why; none if all were answered, or another detector has a better cause.
pub fn why<'a>(f: &'a ConnectionFacts, around: &DetectContext<'_>) -> Option<(Vec<&'a Sent>, Why)> {
    let syns: Vec<&Sent> = f.unanswered_syns().collect();
    let (first, last) = (syns.first()?, syns.last()?);
    // A SYN alone, of which nothing more is in the capture, proves nothing: the answer may have come after its end, or
    // its direction may not have been captured.
    let waited = around.observed_until(f.last.time).min(f.watched) - first.at.time;
    if f.syn_ack.count == 0 && (f.syn.count == 1 || waited < Span::millis(900)) {
        return None;
    }
    if !answers_are_captured(f, around)
        || answered_late(f)
        || answered_unseen(f)
        || syn_drop_timestamp::explains(f, around)
    {
        return None;
    }
    let during = Interval { from: first.at.time, to: last.at.time };
    let scene = around.scene;
    // The same connection may have been ignored again after it was answered.
    let own = ordeal(f, around.end()).and_then(|o| o.stuck(f));
    let stuck = usize::from(own.is_some_and(|s| s.shows_a_full_queue()))
        + around.others_stuck(f, during, NEAR).filter(|s| s.shows_a_full_queue()).count()
        + scene.reset.iter().filter(|r| during.meets(r.time, r.time, NEAR)).count();
    let half_open = scene.half_open_at(first.at.time).max(scene.half_open_at(last.at.time));
    let meanwhile = around.listener.possibly_inside(during);
    let why = if half_open >= CROWD && stuck == 0 {
        Why::SynQueue
    } else if stuck > 0 || (meanwhile.answered == 0 && around.at_server() && many_wait(f, during, around)) {
        Why::AcceptQueue
    } else if half_open >= CROWD {
        Why::SynQueue
    } else {
        Why::Unknown
    };
    Some((syns, why))
}

/// Whether enough connections wait for the application to fill its queue: of clients that have asked; or of whatever
/// clients, if SYNs of one of their addresses are ignored meanwhile: nothing but the queue has changed for it.
///
/// Only the server's own capture can tell this from a path that broke.
fn many_wait(f: &ConnectionFacts, during: Interval, around: &DetectContext<'_>) -> bool {
    let (scene, at) = (around.scene, during.from);
    // A single SYN: its answer may have been missed, if it was the only one or others were answered just then.
    let mut others = scene.ignored.iter().filter(|i| i.client != f.client);
    let is_single = during.from == during.to;
    if is_single
        && (around.listener.between(at, at).answered > 0 || !others.any(|i| i.during.meets(at, at, NEAR)))
    {
        return false;
    }
    scene.waiting_at(at) >= 2 || (scene.unserved_at(at) >= 2 && scene.unserved_and_ignored_at(at) > 0)
}

/// Whether an answer would have been in the capture: this connection or another of the same server has one. Not if the
/// SYN-ACK acknowledges a SYN that is not in the capture.
fn answers_are_captured(f: &ConnectionFacts, around: &DetectContext<'_>) -> bool {
    let acknowledged = f.syn_ack_ack.distance(f.c.isn.advance(1));
    let of_another = f.syn_ack.count > 0 && !(0..=i32::from(f.syn_offer.payload)).contains(&acknowledged);
    if of_another {
        return false;
    }
    f.s.segments > 0 || around.world.answering.contains(&f.server.address) || !around.world.one_way
}

/// Whether the first SYN-ACK may answer an earlier SYN than the last: a round trip above the SYN timer. It may if it
/// comes no later after the first SYN than the round trip that the connection shows afterwards.
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

/// Whether the server held a request before the SYN that seems to be the first that it answered: a SYN-ACK of its timer
/// came soon after the answer to that SYN. Earlier ones were missed by the capture.
fn answered_unseen(f: &ConnectionFacts) -> bool {
    let all: Vec<&Sent> = f.syn_ack.iter().take(2).collect();
    let [first, second] = all[..] else { return false };
    let asked_again = f.syn.iter().any(|syn| syn.at > first.at && syn.at < second.at);
    second.at.time - first.at.time < TIMER && !asked_again
}

/// The parts of the finding that all three kinds share: packets, numbers, severity, one sentence.
pub fn draft(f: &ConnectionFacts, kind: Kind, syns: &[&Sent]) -> Draft {
    let mut d = Draft::about(f, kind, (syns[0].at, "SYN: no answer"));
    for syn in &syns[1..] {
        d.shows(syn.at, "SYN again: no answer");
    }
    let n = u64::from(f.syn.count).max(syns.len() as u64);
    let outcome = match f.syn_ack.first() {
        Some(answer) => {
            let took = answer.at.time - syns[0].at.time;
            // One retry and all is well: a blink.
            let blink = kind == Kind::SynUnanswered && f.syn.count <= 2;
            d.severity = if blink { Severity::Info } else { Severity::Warning };
            d.shows(answer.at, "SYN-ACK: the server answers at last").measure_span("answered_after_s", took);
            format!("the server answered {took} after the first one")
        }
        None => {
            d.severity = Severity::Critical;
            "the server never answered".to_owned()
        }
    };
    let dropped = if f.syn_ack.count > 0 { syns.len() as u64 } else { n };
    d.measure("syns_unanswered", dropped).measure("answered", f.syn_ack.count > 0);
    d.summary = format!(
        "{} of {} to {} drew no answer; {outcome}.",
        count(dropped, "SYN"),
        f.client.socket(),
        f.server.socket()
    );
    d
}

/// Certainty by where the capture was taken: only near the server is an unanswered SYN one that arrived; and unless it
/// was taken on the server's host, only what was heard of the server meanwhile says that this was not down: anything, or
/// SYN-ACKs that it repeated again and again.
pub fn judge(d: &mut Draft, f: &ConnectionFacts, around: &DetectContext<'_>, syns: &[&Sent], reason: &str) {
    let was_heard = |during| {
        around.listener.inside(during).heard > 0
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
