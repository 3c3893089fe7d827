//! A listener that waits for data before it takes a connection (`TCP_DEFER_ACCEPT`).

use crate::detect::analysis::ignored_ack::{IgnoredAck, ignored_ack};
use crate::detect::context::DetectContext;
use crate::flow::facts::{ConnectionFacts, Transmission};
use crate::time::Span;

/// The first SYN-ACK timeout is over by then; a repetition that comes later skipped that timeout.
const FIRST_TIMEOUT: Span = Span::millis(2_600);

/// Whether the capture ends too soon after the SYN-ACK came again to show why: a full queue would repeat it after twice
/// the time.
pub fn is_undecided(f: &ConnectionFacts, o: &IgnoredAck<'_>, around: &DetectContext<'_>) -> bool {
    let (Some(again), Some(first)) = (o.repeats.first(), f.syn_ack.first()) else { return false };
    let waited = again.at.time - first.at.time;
    let watched = around.observed_until(f.last.time).min(f.watched) - again.at.time;
    f.progress.is_none() && watched <= waited + waited + TIMEOUT_SLACK
}

/// The timer of a loaded server may be this late.
const TIMEOUT_SLACK: Span = Span::millis(800);

/// A SYN-ACK that was repeated because the listener waited for data.
#[derive(Clone, Debug)]
pub struct Deferral<'a> {
    /// The SYN-ACK that came again.
    pub again: &'a Transmission,
    /// How long after the first SYN-ACK the second came.
    pub after: Span,
    /// Whether the first time-out of a request passed without a repetition.
    pub skipped: bool,
    /// How many silent connections of the listener show the same.
    pub alike: usize,
}

/// The deferral that this connection shows, if it shows one.
pub fn deferral<'a>(f: &'a ConnectionFacts, around: &DetectContext<'_>) -> Option<Deferral<'a>> {
    let o = ignored_ack(f, around.end())?;
    let [again] = o.repeats[..] else { return None };
    let first = f.syn_ack.first()?;
    let after = again.at.time - first.at.time;
    if o.data_ignored
        || o.asked_before
        || o.unseen > 0
        || f.syn_ack.count != 2
        || f.syn.count != 1
        || !o.ack.bare
        || f.unanswered.retransmits > 0
    {
        return None;
    }
    let skipped = after >= FIRST_TIMEOUT;
    if !skipped && is_undecided(f, &o, around) {
        return None;
    }
    let alike = around.activity.stuck.iter().filter(|s| s.repeats == 1 && s.retransmits == 0).count();
    let worse = around.activity.stuck.iter().any(|s| s.repeats > 1 || s.retransmits > 1);
    // A single repetition may be the second one, if the first was lost.
    let seems_skipped = skipped && (!around.context.damaged || alike >= 2);
    if !(seems_skipped || (alike >= 2 && !worse && around.listener.undeferred + around.listener.patient == 0))
    {
        return None;
    }
    Some(Deferral { again, after, skipped, alike })
}
