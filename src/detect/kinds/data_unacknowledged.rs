//! `data-unacknowledged`: data is repeated and never acknowledged.

use crate::decode::segment::Traits;
use crate::detect::analysis::end_of_flow::{FlowFailure, flow_failure};
use crate::detect::analysis::icmp::DeliveryFailure;
use crate::detect::analysis::tunnel;
use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause, times};
use crate::detect::spec::{Examine, Property, finding};
use crate::flow::facts::{ConnectionFacts, IcmpError, PacketRef, RecoveredLosses, Role};
use crate::flow::outcome::REPEATED;
use crate::history::interval::Interval;
use crate::history::wants::Wants;
use crate::model::{Kind, Severity};
use crate::time::Span;

finding! {
    /// After a completed handshake one end sends data again and again, and it is never acknowledged.
    ///
    /// ## On the wire
    /// The same data after about 0.2 s, 0.5 s, 1 s, 2 s and so on; nothing of the other end acknowledges it. Or, seen at the
    /// other end: each copy is acknowledged, and comes again all the same.
    /// ## In the kernel
    /// The sender retransmits until `tcp_retries2` runs out (15 times, some 15 minutes), or `TCP_USER_TIMEOUT`
    /// (`tcp_retransmit_timer`, `TCPTimeouts`). It then gives up without a RST (`TCPAbortOnTimeout`).
    /// ## Looks alike
    /// * A full accept queue that has refused a syncookie: data is ignored from the first byte on. Others of the listener are
    ///   stuck too: `accept-queue-overflow`.
    /// * Only full-size segments are lost: `path-mtu-blackhole`.
    /// * The connection was idle before: `idle-flow-dropped`.
    /// * The peer's window is closed, and it answers the probes: `zero-window-stall`.
    /// ## Check next
    /// Is the peer up? `ss -tino dst PEER` shows the retransmissions and the timer. Capture at both ends: does the data arrive?
    /// `nft list ruleset` and `conntrack -S` on the peer and on boxes between.
    /// ## References
    /// RFC 9293 section 3.8.1, RFC 1122 section 4.2.3.5; `net/ipv4/tcp_timer.c`
    pub struct DataUnacknowledged {
        kind: Kind::DataUnacknowledged,
        plain_words: "One side's data never arrives, or the other side never answers it.",
        at_fault: "the receiving side, or the path to it",
        wants: Wants::full(|f, _| {
            [&f.c, &f.s].iter().any(|side| {
                let healed = |h: &RecoveredLosses| h.count > 2 && h.at.time - h.first.time > Span::secs(2);
                side.repeating
                    .as_ref()
                    .is_some_and(|r| r.count > 2 || r.of_acknowledged > 2 || r.healed.as_ref().is_some_and(healed))
            })
        }),
        examine: Examine::Connection(examine),
        look_alikes: &["path-mtu-blackhole/ordinary-loss", "path-mtu-blackhole/large-requests", "fin-unacknowledged/short-outage"],
        counters: &["TcpExtTCPTimeouts", "TcpRetransSegs", "TcpExtTCPAbortOnTimeout"],
        settings: &["net.ipv4.tcp_retries2"],
        properties: &[Property::EndsConnection],
    }
}

/// Users notice a connection that stands still for this long.
const NOTICED: Span = Span::secs(10);
/// A segment of the server this long after the data does not answer earlier data.
const MOMENT: Span = Span::secs(1);
/// Other connections of the same listener went on meanwhile.
const ALIVE: &str = "other connections of this listener were answered meanwhile";
/// Other connections of the same host went on meanwhile.
const HOST_ALIVE: &str = "other connections of that host went on meanwhile";

/// See [`DataUnacknowledged`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    match flow_failure(f, around)? {
        FlowFailure::Unacknowledged { sender, repeating } => {
            let flight = f.side(sender).flight.begin;
            let lasted = repeating.last.time - flight.time;
            let what = format!("data of the {sender}, never acknowledged");
            let mut d = Draft::about(f, &SPEC, (flight, what));
            d.shows(
                repeating.last,
                format!("sent again {}, the last {lasted} later", times(repeating.count.into())),
            );
            d.summary = format!(
                "Data of the {sender} {} was sent again {} within {lasted}, and was never acknowledged.",
                f.host(sender).socket(),
                times(repeating.count.into())
            );
            d.measure("repetitions", repeating.count)
                .measure_span("lasted_s", lasted)
                .measure("bytes", repeating.largest);
            write(&mut d, f, sender, flight, around);
            if let Some(error) = undelivered(f, sender, flight) {
                blame_reporter(&mut d, f, sender, error);
            }
            Some(d)
        }
        FlowFailure::NotHeard { sender } => {
            let repeating = f.side(sender).repeating.as_deref()?;
            let (first, last) = repeating.of_acknowledged_at;
            let lasted = last.time - first.time;
            let n = repeating.of_acknowledged;
            let what = format!("data of the {sender}, acknowledged before, comes again");
            let mut d = Draft::about(f, &SPEC, (first, what));
            d.shows(last, format!("again, {} in all", times(n.into())));
            d.summary = format!(
                "The {sender} {} sent data again {} within {lasted} although the {} had acknowledged it.",
                f.host(sender).socket(),
                times(n.into()),
                sender.peer()
            );
            d.measure("repetitions", n).measure_span("lasted_s", lasted).measure("acknowledged", true);
            write(&mut d, f, sender, first, around);
            // The peer was heard in the end: its segments after the last copy are a separate matter.
            let goes_on = f.side(sender).reset.is_none() && f.side(sender).last > last;
            if goes_on {
                d.severity = if lasted >= NOTICED { Severity::Warning } else { Severity::Info };
                d.summary.push_str(" Then it went on.");
                d.measure("healed", true);
            }
            d.cause = cause(
                "The acknowledgments do not reach the sender: the way back is cut.",
                &["tcp_retransmit_timer"],
                &["TcpExtTCPTimeouts", "TcpExtTCPDSACKOldSent"],
                &["net.ipv4.tcp_retries2"],
            );
            Some(d)
        }
        FlowFailure::Interrupted { sender, healed } => Some(interrupted(f, sender, healed, around)),
        _ => None,
    }
}

/// The ICMP error that answers the repeated data of `sender`, if there is one that is not only about a packet's size.
fn undelivered(f: &ConnectionFacts, sender: Role, since: PacketRef) -> Option<&IcmpError> {
    f.icmp
        .as_deref()
        .filter(|icmp| icmp.mtu == 0 && icmp.quotes_client == (sender == Role::Client) && icmp.at >= since)
}

/// A router or a firewall on the way reports that it does not deliver the data.
fn blame_reporter(d: &mut Draft, f: &ConnectionFacts, sender: Role, error: &IcmpError) {
    let since = f.side(sender).flight.begin.time;
    let ttl = if sender == Role::Client { f.syn_offer.ttl } else { f.syn_ack_offer.ttl };
    let why = DeliveryFailure::read(error, error.at.time - since, ttl);
    let by = error.sender.map(|by| format!(" from {}", by.ip())).unwrap_or_default();
    let text = format!("ICMP {} (type {} code {}){by} quotes the data", why.name(), error.kind, error.code);
    d.shows(error.at, text);
    d.cause = why.cause_for_data(error);
    d.measure("icmp_type", error.kind).measure("icmp_code", error.code);
    if let Some(by) = error.sender {
        d.measure("reported_by", by.ip().to_string());
    }
    d.probable(format!(
        "ICMP errors ({}, type {} code {}){by} answer the data: {} in all",
        why.name(),
        error.kind,
        error.code,
        error.count
    ));
    d.next_steps.insert(0, why.next_step(error, &f.host(sender.peer()).address.ip().to_string()));
}

/// Data that was repeated for long, and acknowledged in the end.
fn interrupted(
    f: &ConnectionFacts,
    sender: Role,
    healed: &RecoveredLosses,
    around: &DetectContext<'_>,
) -> Draft {
    let lasted = healed.at.time - healed.first.time;
    let n = times(healed.count.into());
    let (own, peer) = (f.host(sender), f.host(sender.peer()));
    let mut d =
        Draft::about(f, &SPEC, (healed.first, format!("data of the {sender} again: no acknowledgment")));
    d.shows(healed.at, format!("acknowledged after {lasted}, sent again {n} by then"));
    d.summary = format!(
        "Data of the {sender} {} was sent again {n} within {lasted} before it was acknowledged.",
        own.socket()
    );
    d.severity = if lasted >= NOTICED { Severity::Warning } else { Severity::Info };
    d.lasted_until(healed.at.time);
    d.cause = cause(
        "The path was interrupted, or the peer's host was stalled.",
        &["tcp_retransmit_timer"],
        &["TcpExtTCPTimeouts", "TcpRetransSegs"],
        &[],
    );
    let meanwhile = around.listener.between(healed.first.time, healed.at.time);
    d.measure("repetitions", healed.count)
        .measure_span("lasted_s", lasted)
        .measure("healed", true)
        .measure("others_answered", meanwhile.served);
    d.possible("the data was acknowledged in the end; where it was held up or lost before is not known");
    d.or(
        "The peer's firewall or connection tracking dropped the segments for that time.",
        "Its counters show it: `nft list ruleset`, `conntrack -S`.",
    );
    if sender == Role::Client && f.mid_stream && f.s.first >= healed.at.time {
        d.or(
            "The accept queue was full, and the server refused a syncookie until there was room.",
            "The capture began too late to show the handshake. `nstat -az TcpExtListenOverflows` grows.",
        );
    }
    d.next_steps = vec![format!(
        "ping -c 3 {}   # on {}: does the path lose packets?",
        peer.address.ip(),
        own.address.ip()
    )];
    d
}

/// Whether other connections of the silent server, those that had been open before included, went on meanwhile.
fn is_host_heard(f: &ConnectionFacts, sender: Role, since: PacketRef, around: &DetectContext<'_>) -> bool {
    let later = Interval { from: since.time + MOMENT, to: f.side(sender).last.time };
    sender == Role::Client
        && f.s.last.time < since.time
        && later.from < later.to
        && around.heard_of_host(f.server.address, later)
}

/// Whether the server never showed that it has the connection.
fn is_from_the_start(f: &ConnectionFacts, sender: Role) -> bool {
    sender == Role::Client && f.progress.is_none() && !f.mid_stream
}

/// Sets the certainty and its reason by the peer's segments meanwhile and other packets of its host.
fn judge(d: &mut Draft, f: &ConnectionFacts, sender: Role, since: PacketRef, around: &DetectContext<'_>) {
    let (own, peer) = (f.side(sender), f.side(sender.peer()));
    let others = around.listener.between(since.time, own.last.time);
    let is_acknowledged = own.in_vain().is_none();
    let after = match () {
        () if is_acknowledged => "acknowledged it",
        () if peer.segments == 0 => "is not in the capture, and no answer of it reached the sender",
        () if peer.last.time > since.time => "went on without acknowledging it",
        () => "sent nothing more",
    };
    let is_heard = is_host_heard(f, sender, since, around);
    let went_on = (others.served > 0).then_some(ALIVE).or(is_heard.then_some(HOST_ALIVE));
    match went_on {
        Some(went_on) if f.syn.count > 0 && !is_from_the_start(f, sender) => d.probable(format!(
            "the {} {after}; {went_on}: the fault lies with this connection or its path",
            sender.peer()
        )),
        Some(went_on) => d.possible(format!("the {} {after}; {went_on}", sender.peer())),
        None => d.possible(format!("the {} {after}; whether it was up is not known", sender.peer())),
    };
}

fn write(d: &mut Draft, f: &ConnectionFacts, sender: Role, since: PacketRef, around: &DetectContext<'_>) {
    let (own, peer) = (f.side(sender), f.side(sender.peer()));
    let end = own.last.time;
    let others = around.listener.between(since.time, end);
    let from_the_start = is_from_the_start(f, sender);
    let gave_up = around.observed_until(end) - end > Span(2 * (end - since.time).0.max(Span::secs(2).0));
    d.severity = Severity::Critical;
    d.lasted_until(end);
    d.measure("from_the_start", from_the_start)
        .measure("gave_up", gave_up)
        .measure("others_answered", others.served);
    d.cause = cause(
        "The peer or the path is gone, or a filter on the way drops segments with payload.",
        &["tcp_retransmit_timer", "tcp_write_timeout"],
        &["TcpExtTCPTimeouts", "TcpRetransSegs", "TcpExtTCPAbortOnTimeout"],
        &["net.ipv4.tcp_retries2"],
    );
    // The peer repeats data that was acknowledged: nothing reaches the peer either.
    let asks_again = peer.repeating.as_deref().is_some_and(|r| r.of_acknowledged >= REPEATED);
    // A connection ignored from the first byte on may be a refused syncookie.
    judge(d, f, sender, since, around);
    if from_the_start && others.served > 0 {
        blame_choice(d);
    }
    if asks_again {
        blame_one_direction(d, sender);
    }
    let may_be_cookie = from_the_start || f.mid_stream && sender == Role::Client && peer.segments == 0;
    if may_be_cookie {
        d.or(
            "The server refused a syncookie because its accept queue was full, and does not know the connection.",
            "Others of the listener would be stuck at the same time; `nstat -az TcpExtListenOverflows` grows.",
        );
    }
    d.or(
        "A stateful firewall, conntrack or an asymmetric route drops this connection's segments.",
        "Its counters show it: `conntrack -S`, `nft list ruleset`.",
    );
    if from_the_start {
        d.or(
            "The data is damaged on its way (wrong TCP checksum), and the receiver's kernel drops it.",
            "Its counter shows it: `nstat -az TcpInCsumErrors`.",
        );
    }
    let too_large = may_be_too_large(f, sender);
    if too_large {
        d.or(
            "The path carries no packets of full size (MTU), and the ICMP error that says so does not come back.",
            "Nothing smaller was sent behind them that could have arrived.",
        );
    }
    let (own, peer) = (f.host(sender), f.host(sender.peer()));
    if too_large {
        d.measure("full_size", true);
    }
    d.next_steps = vec![
        format!("ss -tanpo dst {}   # on {}: retransmissions and timer", peer.address.ip(), own.address.ip()),
        format!(
            "tcpdump -ni any host {} and port {}   # on {}: does the data arrive there?",
            own.address.ip(),
            peer.port,
            peer.address.ip()
        ),
        "conntrack -S; nft list ruleset   # on the peer and on boxes between: do drop counters grow?"
            .to_owned(),
    ];
    if arrives_damaged(f, sender) {
        blame_checksum(d, f, sender);
    }
    if f.side(sender).traits.has(Traits::OUTER_CHECKSUM_BAD) {
        d.cause = tunnel::dropped_for_checksum();
        d.next_steps.insert(0, tunnel::NEXT_STEP.to_owned());
    }
    if too_large {
        let (from, to) = (f.host(sender).address.ip(), f.host(sender.peer()).address.ip());
        d.next_steps
            .insert(0, format!("tracepath -n {to}   # on {from}: the MTU of the path, and where it shrinks"));
    }
}

/// Whether segments of the sender arrive with a wrong checksum, and others with a right one: its network card would have computed both.
fn arrives_damaged(f: &ConnectionFacts, sender: Role) -> bool {
    let traits = f.side(sender).traits;
    traits.has(Traits::CHECKSUM_BAD)
        && traits.has(Traits::CHECKSUM_GOOD)
        && !traits.any(Traits::CHECKSUM_PARTIAL | Traits::OUTGOING)
}

/// A damaged segment is dropped.
fn blame_checksum(d: &mut Draft, f: &ConnectionFacts, sender: Role) {
    d.cause = cause(
        "Segments arrive with a wrong TCP checksum, so the receiver's kernel drops them: a device on the way, or a checksum offload, \
         damages them.",
        &["tcp_v4_rcv", "tcp_retransmit_timer"],
        &["TcpInCsumErrors", "TcpExtTCPTimeouts", "TcpRetransSegs"],
        &[],
    );
    d.probable("some segments of the sender have a wrong TCP checksum, others a right one");
    let (own, peer) = (f.host(sender).address.ip(), f.host(sender.peer()).address.ip());
    d.next_steps.insert(0, format!("nstat -az TcpInCsumErrors   # on {peer}: does it grow?"));
    d.next_steps.insert(
        1,
        format!("ethtool -K DEV tx off   # on {own} and on tunnels, bridges and NATs between: does it stop?"),
    );
}

/// The handshake passed, no data did, and others of the listener were served meanwhile.
fn blame_choice(d: &mut Draft) {
    d.cause = cause(
        "Something lets the handshakes of these connections pass and drops their data. It is a filter on payload, or a stateful box \
         that has not seen the SYN-ACK; or one of several hosts behind the address accepts no connections.",
        &["nf_hook_slow", "nf_conntrack_in", "tcp_retransmit_timer"],
        &["TcpExtTCPTimeouts", "TcpRetransSegs"],
        &["net.netfilter.nf_conntrack_tcp_loose"],
    );
}

/// The peer repeats data that was acknowledged.
fn blame_one_direction(d: &mut Draft, sender: Role) {
    let receiver = sender.peer();
    d.cause = cause(
        "What this end sends does not reach its peer: the path is cut in one direction. The other direction works.",
        &["tcp_retransmit_timer", "tcp_write_timeout"],
        &["TcpExtTCPTimeouts", "TcpRetransSegs", "TcpExtTCPDSACKOldSent"],
        &["net.ipv4.tcp_retries2"],
    );
    d.measure("peer_asks_again", true);
    d.probable(format!(
        "the {receiver} repeats data that the {sender} has acknowledged: it is up, and hears nothing of the {sender}"
    ));
}

/// Whether the repeated segment is of full size, and no segment of that size was ever acknowledged.
fn may_be_too_large(f: &ConnectionFacts, sender: Role) -> bool {
    /// The timestamps option with its padding.
    const TIMESTAMPS: u32 = 12;
    let side = f.side(sender);
    let mss = u32::from(f.syn_offer.mss.min(f.syn_ack_offer.mss));
    let full = mss.saturating_sub(TIMESTAMPS);
    full > 0 && side.in_vain().is_some_and(|r| r.largest >= full && side.largest_acked < full)
}
