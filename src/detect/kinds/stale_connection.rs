//! `stale-connection`: one end has the connection, the other has no socket for it.

use crate::detect::analysis::end_of_flow::{
    FORGETFUL, FlowFailure, flow_failure, is_by_another_host, outlived_the_pause, was_alive_before,
};
use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause};
use crate::detect::next;
use crate::detect::spec::{Examine, Property, finding};
use crate::flow::facts::{ConnectionFacts, Reset, Role, SegmentKind};
use crate::history::wants::Wants;
use crate::model::{Kind, Severity};
use crate::time::Span;

finding! {
    /// A RST without a socket answers a segment of an established connection: the other end has forgotten it.
    ///
    /// ## On the wire
    /// An ordinary connection, no FIN. Then data, a keepalive probe or a FIN is answered at once by a bare RST: its sequence number is
    /// the one acknowledged, window 0, no timestamps, the host's usual TTL.
    /// ## In the kernel
    /// No socket was found: `tcp_v4_rcv`, `tcp_v4_send_reset`, `TcpOutRsts`. The host was restarted, the address moved to another
    /// host (failover), or the socket was destroyed (`ss -K`).
    /// ## Looks alike
    /// * A box on the path that has forgotten an idle connection: another TTL, or silence (`idle-flow-dropped`).
    /// * `fin-wait2-expired`, `abortive-close`: a FIN or a socket's own RST came before.
    /// * An overflowed accept queue whose request has run out: the server never had the connection.
    /// ## Check next
    /// Uptime and logs of the host that sent the RST; did its address move?
    /// ## References
    /// RFC 9293 section 3.5.1; `net/ipv4/tcp_ipv4.c`
    pub struct StaleConnection {
        kind: Kind::StaleConnection,
        plain_words: "One side has forgotten the connection, after a restart for example, and the other still used it.",
        at_fault: "the host that has lost the connection",
        wants: Wants::full(|f, _| f.c.resets + f.s.resets > 0),
        examine: Examine::Connection(examine),
        look_alikes: &["injected-reset/both-ends", "fin-wait2-expired/client-closes"],
        counters: &["TcpOutRsts", "TcpEstabResets"],
        settings: &[],
        properties: &[Property::EndsConnection],
    }
}

/// See [`StaleConnection`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    if let Some(reset) = reset_by_second_host(f) {
        return Some(write_second_host(f, reset));
    }
    let FlowFailure::Stale { role, reset } = flow_failure(f, around)? else { return None };
    let trigger = reset.trigger?;
    let (own, peer) = (f.side(role), f.side(role.peer()));
    // It had closed before, and the capture lacks that FIN.
    if own.fin_not_captured().is_some() {
        return None;
    }
    let mut d = Draft::about(f, &SPEC, (reset.at, format!("RST of the {role}: it has no socket for this")));
    let what = match trigger.what {
        SegmentKind::KeepAlive => "a keepalive probe",
        SegmentKind::Fin => "the FIN",
        SegmentKind::Retransmit => "repeated data",
        SegmentKind::Ack => "an acknowledgment",
        _ => "data",
    };
    d.shows(trigger.at, format!("{what} of the {}", role.peer()));
    let silent = (trigger.at.time - own.last.time.min(reset.at.time)).max(Span::ZERO);
    // Of a connection of which nothing else was captured, it may be the last word.
    let is_first = reset.before.segments == 0;
    d.severity = if is_first { Severity::Info } else { Severity::Critical };
    d.summary = format!(
        "The {role} {} had no socket any more for a connection that {} still had: a RST answered {what}.",
        f.host(role).socket(),
        f.host(role.peer()).socket()
    );
    if peer.flight.idle >= FORGETFUL {
        d.summary.push_str(&format!(" It had been idle for {}.", peer.flight.idle));
    }
    d.cause = cause(
        "The host was restarted, its address moved to another host, or the socket was destroyed.",
        &["tcp_v4_rcv", "tcp_v4_send_reset"],
        &["TcpOutRsts", "TcpEstabResets"],
        &[],
    );
    d.measure("forgotten_by", role.to_string())
        .measure_span("idle_s", peer.flight.idle)
        .measure_span("silent_s", silent);
    d.next_steps = vec![
        format!(
            "uptime; journalctl -b -n 50   # on {}: restart, crash, failover at {}?",
            f.host(role).address.ip(),
            reset.at.time
        ),
        format!(
            "ss -tanp dst {}   # on {}: is the connection known there?",
            f.host(role.peer()).address.ip(),
            f.host(role).address.ip()
        ),
    ];
    judge(&mut d, f, role, reset, around);
    Some(d)
}

/// The RST comes from a host that answered the same SYN with another sequence number. It resets the connection with the
/// other host.
fn reset_by_second_host(f: &ConnectionFacts) -> Option<&Reset> {
    let reset = f.s.reset.as_deref()?;
    let answers = reset.trigger.is_some_and(|t| t.ack == reset.seq && t.what != SegmentKind::SynAck);
    let two = f.other_isns > 0 && f.syn.count == 1 && f.syn_ack.count > 1;
    (two && f.final_ack.is_some() && reset.is_bare() && answers).then_some(reset)
}

/// Two hosts have the address of the server.
fn write_second_host(f: &ConnectionFacts, reset: &Reset) -> Draft {
    let mut d = Draft::about(f, &SPEC, (reset.at, "RST: this host has no socket for the connection"));
    for (n, syn_ack) in f.syn_ack.iter().take(2).enumerate() {
        d.shows(
            syn_ack.at,
            if n == 0 { "SYN-ACK" } else { "another SYN-ACK, with a sequence number of its own" },
        );
    }
    d.severity = Severity::Critical;
    d.summary = format!(
        "One SYN of {} drew two SYN-ACKs of {} with different sequence numbers; then a RST ended the connection.",
        f.client.socket(),
        f.server.socket()
    );
    d.cause = cause(
        "Two hosts answer for the same address: a duplicate address, a failover in which both are active, or packets that are copied \
         to both.",
        &["tcp_v4_send_reset"],
        &["TcpOutRsts", "TcpEstabResets"],
        &[],
    );
    d.measure("syn_acks", f.syn_ack.count).measure("ttl", reset.ttl);
    d.probable("one host answers one SYN with one sequence number, however often it does");
    d.or(
        "The server was restarted between the two SYN-ACKs.",
        "Its second SYN-ACK would answer a second SYN.",
    );
    let server = f.server.address.ip();
    d.next_steps = vec![
        format!("arping -D -c 3 -I DEV {server}; ip neigh show {server}   # in its network: do two MAC addresses answer?"),
        "Look at the MAC addresses of the two SYN-ACKs in the capture, and at the failover's log (VRRP, keepalived).".to_owned(),
    ];
    d
}

/// How sure it is, and what else it could be.
fn judge(d: &mut Draft, f: &ConnectionFacts, role: Role, reset: &Reset, around: &DetectContext<'_>) {
    let is_first = reset.before.segments == 0;
    let peer = f.side(role.peer());
    let by_another_host = is_by_another_host(f, role, reset, around);
    if by_another_host {
        d.cause = cause(
            "Another host answers for the address now: a failover, a change of route (anycast, ECMP), or a balancer that sent the \
             connection to another backend.",
            &["tcp_v4_rcv", "tcp_v4_send_reset"],
            &["TcpOutRsts", "TcpEstabResets"],
            &[],
        );
        d.measure("ttl", reset.ttl).measure("usual_ttl", reset.before.ttl.0);
        d.probable(format!(
            "the RST has TTL {}, as SYN-ACKs of other connections have; this connection's segments had {}",
            reset.ttl, reset.before.ttl.0
        ));
    } else if was_alive_before(f.side(role), reset) && f.side(role).fin.is_none() && role == Role::Server {
        d.cause = cause(
            "A firewall rule began to reject the connection (REJECT with tcp-reset), or a balancer or NAT sent it to another host.",
            &["nf_send_reset", "tcp_v4_send_reset"],
            &["TcpOutRsts"],
            &[],
        );
        d.next_steps.insert(0, next::filter_rules(f.server));
        d.possible("the host had answered on this connection within the last second; no host restarts so soon, and a socket that closes sends a FIN or RST");
        d.or("The host was restarted, or its address moved.", "It had answered less than a second before.");
    } else if role == Role::Server && peer.flight.idle >= FORGETFUL && outlived_the_pause(f, reset, around) {
        d.cause = cause(
            "This connection was lost while the host went on with others: a balancer, NAT or firewall in front of it has forgotten it and \
             answers in its name, or sent it to another host.",
            &["nf_send_reset", "tcp_v4_send_reset"],
            &["TcpOutRsts"],
            &[],
        );
        d.possible("the host served others all the while, so it was not restarted");
        d.or("The socket was destroyed (`ss -K`).", "Then the host would have sent a RST at that time.");
    } else if peer.in_vain().is_some() && !is_first {
        d.probable("the RST has the shape of one without a socket; earlier data had drawn no answer: the host was away");
    } else if is_first {
        d.possible(
            "the RST has the shape of one without a socket; the capture holds nothing else of its sender",
        );
    } else {
        d.possible("the RST has the shape and TTL of one that the host sends without a socket");
    }
    if is_first {
        d.or(
            "The host had closed the connection before the capture began: it does not take late data, and an orphan in FIN_WAIT2 expires.",
            "The capture does not show how the connection began or was closed.",
        );
    }
    if f.progress.is_none() && (!f.mid_stream || is_first && role == Role::Server) {
        d.or(
            "The server's accept queue was full, and it refused the syncookie of this handshake.",
            "`nstat -az TcpExtListenOverflows` would have grown at the handshake.",
        );
    }
    d.or(
        "A NAT gateway or firewall in front of it has forgotten the connection and answers in its name.",
        if by_another_host {
            "Hosts that answer for the address have that TTL too."
        } else {
            "The RST has the TTL of the host's other segments."
        },
    );
    d.or(
        "A NAT on the path has lost its entry, so the segment reached the host under another address or port.",
        "A capture at both ends shows it: compare the addresses.",
    );
}
