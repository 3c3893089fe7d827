//! The pattern by which a server ignored a client that had completed the handshake, if it did.

use crate::detect::analysis::counter_evidence::counter_evidence;
pub use crate::detect::analysis::ignored_ack::SAME_TIME;
use crate::detect::analysis::ignored_ack::{
    COOKIE_RETRANSMITS, FIRST_REPEAT, IgnoredAck, StuckConnection, answered_in_vain, cookie_lag,
    lacks_syn_acks, probe_refused, was_late,
};
use crate::detect::context::DetectContext;
use crate::flow::facts::{ConnectionFacts, SegmentKind};
use crate::time::Span;

/// A path with a small MTU may drop segments of this size and larger, bytes.
const SUSPICIOUSLY_LARGE: u32 = 1_200;
/// How far the TSval of a cookie may lag, milliseconds, with a margin for drift and varying delays.
const COOKIE_LAG: std::ops::RangeInclusive<i64> = -1..=66;
/// Delays seldom vary by this much, milliseconds; three of four cookies lag by more.
const CLEAR_LAG: i64 = 16;
/// The TSval of a request's SYN-ACK lags by less than this, milliseconds.
const LEAST_LAG: i64 = 2;
/// This many equal lags are not chance.
const MANY: usize = 6;
/// A kernel that has a connection acknowledges data within 200 ms (`TCP_DELACK_MAX`). A client that waits longer than
/// this was ignored.
const IGNORED: Span = Span::millis(300);
/// The shortest time that a client waits that has sent its data three times more: its waits double from 0.2 s on.
const COOKIE_LASTS: Span = Span::millis(800);
/// A client that sends data this soon after its final ACK does so while the handshake is being completed.
const AT_ONCE: Span = Span::secs(1);

/// The pattern by which the server ignored the client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum IgnoredPattern {
    /// SYN-ACK repeated and data ignored.
    Data,
    /// SYN-ACK repeated more than once to a silent client.
    Silent,
    /// One repetition to a silent client, explained by other connections.
    Once,
    /// No repetition: the handshake used a cookie.
    Cookie,
    /// Nothing was ignored, but the server refused the first keepalive probe: the handshake used a cookie, of which the
    /// server had kept nothing.
    Probe,
    /// Data ignored, and accepted when repeated, before the SYN-ACK was due again: a cookie or a request.
    Brief,
    /// Nothing was sent again yet, but the kernel says that it dropped the final ACK.
    Told,
}

/// The pattern by which the server ignored this client; `None` if it did not.
pub fn ignored_pattern(
    f: &ConnectionFacts,
    o: &IgnoredAck<'_>,
    around: &DetectContext<'_>,
) -> Option<IgnoredPattern> {
    let others = || around.others_stuck(f, o.during, SAME_TIME);
    match o.times_asked() {
        _ if probe_refused(f) => {
            // A host that was restarted has forgotten all connections. One that goes on with earlier connections has
            // refused these.
            let company = others().any(|s| s.probe_refused || s.shows_a_full_queue());
            let went_on = around.listener.between(o.during.to, around.end()).heard > 0;
            (company && went_on && around.activity.sockets_lost.is_empty()).then_some(IgnoredPattern::Probe)
        }
        _ if o.repeats.is_empty() => {
            let u = &f.unanswered;
            let ignored = u.retransmits >= COOKIE_RETRANSMITS && o.during.to - o.during.from >= COOKIE_LASTS;
            // By itself it proves nothing: a dead path or a small MTU looks the same.
            let company = others().any(StuckConnection::shows_a_full_queue)
                || (others().count() >= 2
                    && u.largest < SUSPICIOUSLY_LARGE
                    && (was_alive(f, o, around) || stands_behind_others(f, o, around)));
            let cookie = ignored
                && f.syn_ack.count == 1
                && f.c.resets == 0
                && company
                && counter_evidence(f, o, around).is_none();
            let brief = !cookie && was_brief(f, o, around);
            cookie.then_some(IgnoredPattern::Cookie).or(brief.then_some(IgnoredPattern::Brief))
        }
        _ if o.data_ignored && (o.on_time || around.at_server()) => Some(IgnoredPattern::Data),
        n if n == 1 || !o.on_time || !answered_in_vain(f, o) || lacks_syn_acks(f) => {
            // A deferring listener repeats its SYN-ACK once. In a connection without a repetition the capture may have
            // lost it; in one with two, the path may have lost an answer. Such connections must outnumber those with
            // exactly one repetition.
            let asked_once =
                around.activity.stuck.iter().filter(|s| s.repeats == 1 && !s.data_ignored).count();
            let asked_again = others().filter(|s| s.shows_a_full_queue()).count();
            let company = others().any(|s| s.data_ignored) || asked_again > asked_once;
            // A client that waited only a second or two says nothing about a listener that repeats its SYN-ACK later
            // than that.
            let asked_first = f.syn_ack.first().zip(o.repeats.first());
            let soon = asked_first.is_some_and(|(first, r)| r.at.time - first.at.time <= FIRST_REPEAT);
            let patient = if soon { around.listener.patient } else { 0 };
            let undeferred = around.listener.undeferred + patient > asked_once as u64;
            let alone_at_server = around.at_server() && undeferred;
            (o.on_time && (company || alone_at_server)).then_some(IgnoredPattern::Once)
        }
        _ => Some(IgnoredPattern::Silent),
    }
}

/// Whether the client was ignored only until it repeated its data for the first or second time. At the server's host
/// the data arrived, a socket would have acknowledged it, and others were ignored for longer. On the loopback interface
/// nothing is lost, so there one such client is enough.
fn was_brief(f: &ConnectionFacts, o: &IgnoredAck<'_>, around: &DetectContext<'_>) -> bool {
    let (u, Some(progress), Some(asked)) = (&f.unanswered, f.progress, f.c.first_data) else { return false };
    around.at_server()
        && f.syn_ack.count == 1
        && u.retransmits > 0
        && u.largest < SUSPICIOUSLY_LARGE
        && progress.acked > 0
        && progress.after_what == SegmentKind::Retransmit
        && progress.at.time - asked.time >= IGNORED
        && !was_late(f)
        && !around.context.damaged
        && (f.server.address.ip().is_loopback()
            || around.others_stuck(f, o.during, SAME_TIME).any(StuckConnection::agrees_with_a_full_queue))
}

/// Whether this client waits behind others in the accept queue. From the first time that it was ignored to the last,
/// earlier connections waited for the application, and none was served.
fn stands_behind_others(f: &ConnectionFacts, o: &IgnoredAck<'_>, around: &DetectContext<'_>) -> bool {
    let spoke_at_once = f.c.first_data.is_some_and(|data| data.time - o.ack.at.time <= AT_ONCE);
    let waiting = around.activity.waiting_at(o.ack.at.time).min(around.activity.waiting_at(o.ignored.to));
    spoke_at_once && waiting > 0 && around.listener.possibly_inside(o.ignored).served == 0
}

/// Whether neither the server nor the path was dead while this client was ignored: the listener answered others, or the
/// timestamps of other ignored clients show that their handshakes used cookies.
pub fn was_alive(f: &ConnectionFacts, o: &IgnoredAck<'_>, around: &DetectContext<'_>) -> bool {
    let meanwhile = around.listener.inside(o.ignored);
    let reset = around.activity.resets_between(o.ignored.from, o.ignored.to) > 0;
    let answered = reset || meanwhile.served + meanwhile.answered + meanwhile.refused > 0;
    let others = around.others_stuck(f, o.during, SAME_TIME).filter_map(|s| s.lag);
    let lags: Vec<i64> = others.chain(cookie_lag(f)).collect();
    let clear = lags.iter().filter(|&&lag| lag >= CLEAR_LAG).count();
    // At the server's host nothing delays a SYN-ACK: a request never lags this much.
    let all_lag = around.at_server() && lags.len() >= MANY && lags.iter().all(|lag| *lag >= LEAST_LAG);
    answered
        || all_lag
        || (clear >= 2 && clear * 2 > lags.len() && lags.iter().all(|lag| COOKIE_LAG.contains(lag)))
}
