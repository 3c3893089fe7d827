//! `idle-flow-dropped`: a box on the path has forgotten an idle connection.

use std::net::IpAddr;

use crate::detect::analysis::end_of_flow::{FlowFailure, flow_failure};
use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause, times};
use crate::detect::spec::{Examine, Property, finding};
use crate::flow::facts::{ConnectionFacts, Reset, Role};
use crate::history::wants::Wants;
use crate::model::{Cause, Kind, Severity};
use crate::time::Span;

finding! {
    /// A connection that was idle for a while is dead at its next segment: no answer comes, or a box on the path sends
    /// a RST.
    ///
    /// ## On the wire
    /// Requests and answers, then a pause of minutes or hours. The next segment is repeated without an answer, or is
    /// answered at once by a RST whose TTL is not the peer's. Or such a RST comes by itself when the time-out ends. New
    /// connections between the same hosts work. The longest pause that connections of one listener survived, and the
    /// shortest that was fatal, bracket the time-out.
    /// ## In the kernel
    /// Both ends still have the connection. A NAT gateway, a load balancer, a firewall or conntrack
    /// (`nf_conntrack_tcp_timeout_established`) has removed its entry.
    /// ## Looks alike
    /// * The peer was restarted: the RST has the peer's own TTL (`stale-connection`).
    /// * The path is gone for all connections: `data-unacknowledged`.
    /// ## Check next
    /// The idle time-out of every box on the path. Let the connection be used or probed more often: `SO_KEEPALIVE` with
    /// `TCP_KEEPIDLE` below that time-out (`net.ipv4.tcp_keepalive_time` is 7,200 s by default), or close idle connections sooner.
    /// ## References
    /// RFC 5382 section 5, tcp(7) on TCP_KEEPIDLE
    pub struct IdleFlowDropped {
        kind: Kind::IdleFlowDropped,
        plain_words: "A box between the hosts has forgotten a connection that was not used for a while.",
        at_fault: "a NAT gateway, firewall or load balancer on the path",
        wants: Wants::full(|f, _| {
            let repeated = |r: &crate::flow::facts::OngoingRetransmission| r.count > 2;
            f.c.resets + f.s.resets > 0 || [&f.c, &f.s].iter().any(|side| side.repeating.as_deref().is_some_and(repeated))
        }),
        examine: Examine::Connection(examine),
        look_alikes: &["idle-flow-dropped/pause-survived", "stale-connection/server-restarted"],
        counters: &["TcpExtTCPTimeouts", "TcpExtTCPKeepAlive"],
        settings: &["net.ipv4.tcp_keepalive_time", "net.netfilter.nf_conntrack_tcp_timeout_established"],
        properties: &[Property::EndsConnection],
    }
}

/// Time-outs in wide use, and the devices that use them.
const KNOWN: [(i64, &str); 8] = [
    (60, "60 s is a common default of load balancers and proxies"),
    (240, "4 min is the default of Azure's load balancers"),
    (300, "5 min is a common default of firewalls"),
    (350, "350 s is the fixed time-out of AWS NAT gateways and network load balancers"),
    (600, "10 min is the default of Google Cloud's firewall connection tracking"),
    (900, "15 min is a common default of load balancers"),
    (3_600, "1 h is the default of many firewalls"),
    (432_000, "5 days is the default of nf_conntrack_tcp_timeout_established"),
];

/// A pause that exceeds a known time-out by no more than this part of it suggests that time-out.
const NEAR: i64 = 4;

/// See [`IdleFlowDropped`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let (sender, idle, reset) = match flow_failure(f, around)? {
        FlowFailure::Forgotten { sender, idle, reset } => (sender, idle, reset),
        FlowFailure::ResetWhenIdle { role, idle, reset } => {
            return Some(reset_when_idle(f, role, idle, reset, around));
        }
        _ => return None,
    };
    let (own, peer) = (f.side(sender), sender.peer());
    let first = own.flight.begin;
    let mut d =
        Draft::about(f, &SPEC, (first, format!("first segment of the {sender} after {idle} of silence")));
    let seconds = idle.0 / 1_000_000_000;
    let name = f.host(sender).socket();
    match (reset, own.in_vain()) {
        (Some(reset), _) => write_reset(&mut d, f, sender, idle, reset),
        (None, repeating) => {
            let repeating = repeating?;
            d.shows(
                repeating.last,
                format!("sent again {}, never acknowledged", times(repeating.count.into())),
            );
            d.summary = format!(
                "The connection was idle for {idle} ({seconds} s); then data of the {sender} {name} was sent again {} without an answer.",
                times(repeating.count.into())
            );
            d.measure("repetitions", repeating.count);
            let others = around.listener.between(first.time, repeating.last.time);
            match others.served > 0 {
                true => d.probable(
                    "other connections of this listener were answered meanwhile: only the idle one is dead",
                ),
                false => d.possible(
                    "it died in a pause; no other connection of this listener shows that the peer was up",
                ),
            };
            d.or(format!("The {peer} or the path went away in the pause."), "Then new connections fail too.");
        }
    }
    d.severity = Severity::Critical;
    d.measure_span("idle_s", idle).measure("keepalives", own.keepalives());
    let bracket = bracket(f, idle, around);
    write_bracket(&mut d, bracket);
    if let Some(survived) = f.idle.as_ref().and_then(|idle| idle.survived).filter(|pause| pause.length < idle)
    {
        d.shows(survived.until, format!("an earlier pause of {} did no harm", survived.length));
        d.measure_span("survived_s", survived.length);
    }
    let hint = known_time_out(seconds, bracket);
    d.cause = removed_from_table();
    d.next_steps = next_steps(f.host(sender).address.ip(), seconds, hint.map(|(_, hint)| *hint));
    Some(d)
}

fn removed_from_table() -> Cause {
    cause(
        "A NAT gateway, firewall or load balancer on the path removed the idle connection from its table.",
        &[],
        &["TcpExtTCPTimeouts", "TcpExtTCPKeepAlive"],
        &["net.ipv4.tcp_keepalive_time", "net.netfilter.nf_conntrack_tcp_timeout_established"],
    )
}

/// A RST in the name of one end although neither end had sent anything: a box reports that its time-out has ended.
fn reset_when_idle(
    f: &ConnectionFacts,
    role: Role,
    idle: Span,
    reset: &Reset,
    around: &DetectContext<'_>,
) -> Draft {
    let (ttl, usual, seconds) = (reset.ttl, reset.before.ttl.0, idle.0 / SECOND);
    let seen = format!("RST in the name of the {role} after {idle} of silence, TTL {ttl} instead of {usual}");
    let mut d = Draft::about(f, &SPEC, (reset.at, seen));
    if let Some(trigger) = reset.trigger {
        d.shows(trigger.at, format!("the last segment of the {} before it", role.peer()));
    }
    d.summary = format!(
        "The connection was idle for {idle} ({seconds} s); then a RST came in the name of the {role} {}, which had not sent it.",
        f.host(role).socket()
    );
    d.severity = Severity::Critical;
    d.measure_span("idle_s", idle).measure("ttl", ttl).measure("usual_ttl", usual);
    let bracket = bracket(f, idle, around);
    write_bracket(&mut d, bracket);
    d.cause = removed_from_table();
    d.probable(format!(
        "the RST has another TTL than all segments of the {role} before, and neither end had just sent anything"
    ));
    d.or("An administrator or an intrusion prevention system cut it off.", "It would not wait for a pause.");
    let hint = known_time_out(seconds, bracket);
    d.next_steps = next_steps(f.host(role.peer()).address.ip(), seconds, hint.map(|(_, hint)| *hint));
    d
}

/// Adds the pauses between which the time-out lies.
fn write_bracket(d: &mut Draft, bracket: Option<(Span, Span)>) {
    let Some((survived, fatal)) = bracket else { return };
    d.summary.push_str(&format!(
        " Over all connections of this listener, pauses of up to {survived} did no harm and one of {fatal} did: the time-out \
         lies between {} s and {} s.",
        survived.0 / SECOND,
        (fatal.0 + SECOND - 1) / SECOND
    ));
    d.measure_span("longest_survived_s", survived).measure_span("shortest_fatal_s", fatal);
}

/// Next steps: what would have kept the connection, and where to look.
fn next_steps(host: IpAddr, seconds: i64, hint: Option<&str>) -> Vec<String> {
    let mut steps = vec![format!(
        "sysctl net.ipv4.tcp_keepalive_time   # on {host}: SO_KEEPALIVE with TCP_KEEPIDLE below {} s would have kept it",
        (seconds - 1).max(1)
    )];
    steps.extend(hint.map(|hint| format!("Look up the idle time-out of the boxes on the path: {hint}")));
    steps.push("conntrack -L -p tcp --state ESTABLISHED 2>/dev/null   # on boxes between: is the connection still listed, and for how long?".to_owned());
    steps
}

/// Nanoseconds.
const SECOND: i64 = 1_000_000_000;

/// The longest pause that a connection of this listener survived, and the shortest that was fatal: the time-out lies
/// between the two. `None` if they contradict each other.
fn bracket(f: &ConnectionFacts, idle: Span, around: &DetectContext<'_>) -> Option<(Span, Span)> {
    let own = f.idle.as_ref().and_then(|idle| idle.survived).map_or(Span::ZERO, |pause| pause.length);
    let survived = around.listener.survived.max(own);
    let fatal = around.activity.forgotten.map_or(idle, |shortest| shortest.min(idle));
    (survived > Span::ZERO && survived < fatal).then_some((survived, fatal))
}

/// A time-out in wide use that fits: it lies in the bracket, or the pause was little longer.
fn known_time_out(seconds: i64, bracket: Option<(Span, Span)>) -> Option<&'static (i64, &'static str)> {
    let (from, to) =
        bracket.map_or((0, seconds), |(survived, fatal)| (survived.0 / SECOND, fatal.0 / SECOND));
    let fits = |known: i64| known >= from && known <= to;
    let near = |known: i64| seconds - known <= known / NEAR;
    let inside =
        || KNOWN.iter().rev().find(|(known, _)| fits(*known) && bracket.is_some() && from * 2 >= *known);
    KNOWN.iter().rev().find(|(known, _)| fits(*known) && near(*known)).or_else(inside)
}

/// A RST answers the first segment of `sender` after the pause.
fn write_reset(d: &mut Draft, f: &ConnectionFacts, sender: Role, idle: Span, reset: &Reset) {
    let (first, peer) = (f.side(sender).flight.begin, sender.peer());
    let delay = reset.at.time - first.time;
    let seconds = idle.0 / 1_000_000_000;
    let name = f.host(sender).socket();
    d.measure("ttl", reset.ttl).measure("usual_ttl", reset.before.ttl.0).measure_span("reset_after_s", delay);
    if reset.before.segments == 0 {
        d.shows(reset.at, format!("RST in the name of the {peer}, {delay} later, TTL {}", reset.ttl));
        d.summary = format!(
            "The connection had been idle for at least {idle} ({seconds} s), since the capture began; then a segment of the \
             {sender} {name} drew a RST that the {peer} did not send."
        );
        d.probable(format!("the RST has TTL {}, which no SYN-ACK of this listener has", reset.ttl));
    } else if reset.has_other_ttl() {
        let (ttl, usual) = (reset.ttl, reset.before.ttl.0);
        d.shows(
            reset.at,
            format!("RST in the name of the {peer}, {delay} later, TTL {ttl} instead of {usual}"),
        );
        d.summary = format!(
            "The connection was idle for {idle} ({seconds} s); then a segment of the {sender} {name} drew a RST that the {peer} did not send."
        );
        d.probable(format!("the RST has another TTL than all segments of the {peer} before the pause"));
    } else if reset.is_bare() {
        d.shows(reset.at, format!("RST in the name of the {peer}, {delay} later"));
        d.summary = format!(
            "The connection was idle for {idle} ({seconds} s); then a segment of the {sender} {name} drew the RST of a host without a socket."
        );
        d.possible(format!(
            "the {peer} was up all the while: its other connections outlasted the pause; a firewall, also one of its own, answers in its name"
        ));
    } else {
        d.shows(reset.at, format!("RST of the {peer}, {delay} later, without ACK and with a window"));
        d.summary = format!(
            "The connection was idle for {idle} ({seconds} s); then a segment of the {sender} {name} drew a RST."
        );
        d.possible("Linux sends no RST of this shape; a load balancer or proxy does when it has forgotten a connection");
    }
    d.or(
        format!("The {peer} was restarted, and another host answers for its address."),
        "Then new connections would come from the host with that TTL.",
    );
}
