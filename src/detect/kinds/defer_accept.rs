//! `defer-accept`: `TCP_DEFER_ACCEPT` at work, harmless.

use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause};
use crate::detect::explain::finding;
use crate::detect::kinds::accept_queue_overflow::{IgnoredAck, ordeal};
use crate::flow::facts::ConnectionFacts;
use crate::model::{Kind, Severity};
use crate::time::Span;

finding! {
    /// The listener waits for data before it completes a handshake, and repeats its SYN-ACK once to a silent client.
    ///
    /// ## On the wire
    /// SYN, SYN-ACK, final ACK, and nothing; later one more SYN-ACK, whose ACK completes the connection. Data of the
    /// client is taken at once whenever it comes.
    /// ## In the kernel
    /// `TCP_DEFER_ACCEPT`: the bare ACK is ignored (`tcp_check_req`, counter `TCPDeferAcceptDrop`) until data comes or
    /// the time is over; the SYN-ACK is repeated only at the last timeout (1, 3, 7, 15 s, by the option's seconds).
    /// ## Looks alike
    /// * A full accept queue: the SYN-ACK is repeated again and again, and data is ignored.
    /// * A lost final ACK: other silent connections of the listener draw no repetition.
    /// ## Check next
    /// Nothing is wrong. The listener's configuration: nginx `deferred`, Apache `AcceptFilter`, HAProxy `defer-accept`.
    /// ## References
    /// tcp(7) on TCP_DEFER_ACCEPT; `net/ipv4/tcp_minisocks.c`
    pub struct DeferAccept = Kind::DeferAccept
}

/// The first SYN-ACK timeout is over by then; a repetition that comes later skipped it.
const FIRST_TIMEOUT: Span = Span::millis(2_600);

/// Whether the capture ends too soon after the SYN-ACK came again to tell why: a full queue would have it come again
/// after twice the time.
pub fn is_undecided(f: &ConnectionFacts, o: &IgnoredAck<'_>, around: &DetectContext<'_>) -> bool {
    let (Some(again), Some(first)) = (o.repeats.first(), f.syn_ack.first()) else { return false };
    let waited = again.at.time - first.at.time;
    let watched = around.observed_until(f.last.time).min(f.watched) - again.at.time;
    f.progress.is_none() && watched <= waited + waited + TIMEOUT_SLACK
}

/// A loaded server's timer is that late.
const TIMEOUT_SLACK: Span = Span::millis(800);

/// See [`DeferAccept`].
pub fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let o = ordeal(f, around.end())?;
    let [again] = o.repeats[..] else { return None };
    let first = f.syn_ack.first()?;
    let after = again.at.time - first.at.time;
    if o.data_ignored
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
    let alike = around.scene.stuck.iter().filter(|s| s.repeats == 1 && s.retransmits == 0).count();
    let worse = around.scene.stuck.iter().any(|s| s.repeats > 1 || s.retransmits > 1);
    // A single one may be the second repetition, the first being lost.
    let seems_skipped = skipped && (!around.world.damaged || alike >= 2);
    if !(seems_skipped || (alike >= 2 && !worse && around.listener.undeferred + around.listener.patient == 0))
    {
        return None;
    }
    let mut d = Draft::about(f, Kind::DeferAccept, (again.at, "SYN-ACK again, once only"));
    if let Some(syn) = f.syn.first() {
        d.shows(syn.at, "SYN");
    }
    d.shows(first.at, "SYN-ACK").shows(o.ack.at, "final ACK: the listener ignores it and waits for data");
    d.severity = Severity::Info;
    d.summary = format!(
        "The listener waited for data of {} and repeated its SYN-ACK once, after {after}.",
        f.client.socket()
    );
    d.cause = cause(
        "The listener uses TCP_DEFER_ACCEPT.",
        &["tcp_check_req", "reqsk_timer_handler"],
        &["TcpExtTCPDeferAcceptDrop"],
        &[],
    );
    d.measure_span("repeated_after_s", after);
    if skipped && around.at_server() {
        d.probable("the SYN-ACK was not repeated at the first timeout, as only a listener with TCP_DEFER_ACCEPT behaves");
    } else if skipped {
        d.possible("the SYN-ACK was not repeated at the first timeout, or the network lost that one");
        d.or("The network lost the final ACK and an earlier SYN-ACK.", "Then both directions lost a packet.");
    } else {
        d.possible(format!(
            "all {alike} silent connections of this listener show it, and none that sent data"
        ));
        d.or(
            "The accept queue was full for a moment.",
            "Then it would hit connections that send data as well.",
        );
    }
    Some(d)
}
