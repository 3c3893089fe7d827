//! `fin-unacknowledged`: a FIN was retransmitted and never acknowledged.

use crate::detect::analysis::end_of_flow::FORGETFUL;
use crate::detect::analysis::ignored_ack::ignored_ack;
use crate::detect::context::{DetectContext, ServerAnswers};
use crate::detect::draft::{Draft, cause, times};
use crate::detect::spec::{Examine, Property, finding};
use crate::flow::facts::{ConnectionFacts, Role};
use crate::history::interval::Interval;
use crate::history::wants::Wants;
use crate::model::{Kind, Severity};
use crate::time::Span;

finding! {
    /// A FIN was sent again and again, and never acknowledged.
    ///
    /// ## On the wire
    /// The same FIN at growing intervals, nothing from the other side, no RST.
    /// ## In the kernel
    /// FIN_WAIT1, LAST_ACK or CLOSING; an orphan gives up after `tcp_orphan_retries` (0 stands for 8, some 100 s):
    /// `tcp_retransmit_timer`, `TCPAbortOnTimeout`.
    /// ## Looks alike
    /// * Only one direction was captured: no finding, unless the capture holds only the FIN and its repetitions.
    /// * A client ignored by a full accept queue closes: `accept-queue-overflow`.
    /// ## Check next
    /// Is the peer up, and the path? `ss -tano state fin-wait-1 state last-ack state closing` shows retries and timers.
    /// ## References
    /// RFC 9293 section 3.6; `net/ipv4/tcp_timer.c`
    pub struct FinUnacknowledged {
        kind: Kind::FinUnacknowledged,
        plain_words: "One side closed and got no answer: the other end is gone.",
        at_fault: "the side that fell silent, or the path to it",
        wants: Wants::full(|f, _| f.c.fins > 1 || f.s.fins > 1),
        examine: Examine::Connection(examine),
        look_alikes: &["fin-unacknowledged/short-outage", "half-close/keepalive"],
        counters: &["TcpExtTCPTimeouts", "TcpExtTCPAbortOnTimeout"],
        settings: &["net.ipv4.tcp_orphan_retries"],
        properties: &[Property::EndsConnection],
    }
}

/// From this many FINs on, it is a pattern.
const LEAST: u16 = 3;
/// The shortest time over which they must come.
const LONG: Span = Span::secs(2);

/// See [`FinUnacknowledged`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let role = [Role::Client, Role::Server].into_iter().find(|&role| {
        let side = f.side(role);
        side.fins >= LEAST && side.fin_acked.is_none()
    })?;
    let side = f.side(role);
    let fin = side.fin?;
    let stuck = ignored_ack(f, around.end()).is_some_and(|o| f.progress.is_none() && o.stuck(f).is_some());
    // Probes may follow.
    let last = side.in_vain().map_or(side.last, |r| r.last).max(fin);
    let lasted = last.time - fin.time;
    // If the capture began after everything else, the repetitions alone show that no acknowledgment came back.
    let joined = f.mid_stream && around.context.answers_of(f.server.address) != ServerAnswers::Missing;
    if !(f.both_seen() || joined)
        || stuck
        || lasted < LONG
        || f.c.resets + f.s.resets > 0
        || f.side(role.peer()).last > fin
    {
        return None;
    }
    let who = role;
    let mut d = Draft::about(f, &SPEC, (fin, format!("FIN of the {who}")));
    d.shows(
        last,
        format!("FIN for the last time, {} in all, {lasted} after the first", times(u64::from(side.fins))),
    );
    d.severity = Severity::Warning;
    d.summary = format!(
        "The {who} {} sent its FIN {} within {lasted} and never got an acknowledgment.",
        f.host(role).socket(),
        times(u64::from(side.fins))
    );
    d.cause = cause(
        "The peer or the path is gone. The socket stays in FIN_WAIT1 or LAST_ACK until its retries run out.",
        &["tcp_retransmit_timer", "tcp_orphan_retries"],
        &["TcpExtTCPAbortOnTimeout", "TcpExtTCPTimeouts"],
        &["net.ipv4.tcp_orphan_retries"],
    );
    d.measure("fins", side.fins).measure_span("lasted_s", lasted);
    judge(&mut d, f, role, Interval { from: fin.time, to: last.time }, around);
    d.next_steps = vec![
        format!(
            "ss -tano state fin-wait-1 state last-ack   # on {}: sockets that still repeat their FIN",
            f.host(role).address.ip()
        ),
        format!(
            "ping -c 3 {}   # on {}: is the peer up, and the path?",
            f.host(role.peer()).address.ip(),
            f.host(role).address.ip()
        ),
    ];
    Some(d)
}

/// How sure it is, and what else it could be: it matters whether the connection had been idle before.
fn judge(d: &mut Draft, f: &ConnectionFacts, role: Role, during: Interval, around: &DetectContext<'_>) {
    let side = f.side(role);
    let idle = side.flight.idle;
    if idle >= FORGETFUL && side.flight.begin.time == during.from {
        d.measure_span("idle_s", idle);
        d.summary.push_str(&format!(
            " The connection had been idle for {idle} ({} s) before.",
            idle.0 / Span::secs(1).0
        ));
    }
    let others = around.listener.between(during.from, during.to).served > 0;
    if f.both_seen() && idle >= FORGETFUL && others {
        d.cause = cause(
            "A firewall or NAT on the path has removed its entry for the idle connection, so the FIN does not arrive.",
            &["tcp_retransmit_timer", "tcp_orphan_retries"],
            &["TcpExtTCPAbortOnTimeout", "TcpExtTCPTimeouts"],
            &["net.netfilter.nf_conntrack_tcp_timeout_established", "net.ipv4.tcp_keepalive_time"],
        );
        d.probable(
            "the connection was idle before, and other connections of this listener were answered meanwhile",
        );
        d.or(
            "The peer's host or process is gone.",
            "Its host would answer the FIN with a RST, and others were answered.",
        );
    } else if f.both_seen() {
        d.probable("the peer had sent packets before, and sent none after the FIN");
    } else {
        d.possible("the capture holds nothing of the peer: it may have acknowledged the FIN on a way that was not captured");
        d.or(
            "The acknowledgments were lost on their way back.",
            "The sender got none of them: it would have stopped. Where they were lost the capture cannot show.",
        );
    }
    if !(idle >= FORGETFUL && others) {
        d.or(
            "A firewall or NAT has removed its entry for the connection.",
            "Then the host still answers on other connections.",
        );
    }
}
