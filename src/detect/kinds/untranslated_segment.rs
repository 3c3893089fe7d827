//! `untranslated-segment`: a segment of a translated connection came under another address of its sender.

use std::net::IpAddr;

use crate::detect::analysis::end_of_flow::{FlowFailure, flow_failure, is_reset_at_answer};
use crate::detect::context::{DetectContext, TranslatedServer};
use crate::detect::draft::{Draft, cause};
use crate::detect::spec::{Examine, Property, finding};
use crate::flow::facts::{ConnectionFacts, Reset, Role, SegmentKind};
use crate::flow::key::Host;
use crate::flow::outcome::Outcome;
use crate::history::strays::{Stray, StrayKind};
use crate::history::wants::Wants;
use crate::model::{Cause, Kind, Severity};
use crate::time::Span;

finding! {
    /// A NAT did not translate a segment: it arrives under an address that the receiver does not know, and draws a RST.
    ///
    /// ## On the wire
    /// A segment without SYN comes from an address with which the receiver has no connection. Its sequence and
    /// acknowledgment numbers are those of a connection that the receiver has with another address. The receiver
    /// answers by a bare RST. If that RST reaches the sender, its socket is gone, and the next segment of the real
    /// connection is reset too. A SYN-ACK may also come like this: then the client repeats its SYN to the address that
    /// never answers. In a capture behind the NAT there is only one connection, with a bare RST of the peer, which then
    /// goes on with it.
    /// ## In the kernel
    /// Connection tracking took the segment for invalid (outside of the window that it knows: `nf_conntrack_tcp_packet`), or had
    /// lost its entry. NAT leaves such a segment as it is (`nf_nat_inet_fn`), and it is forwarded all the same. A SYN-ACK escapes
    /// where the server answers its client directly and not by way of the NAT. The receiver finds no socket
    /// (`tcp_v4_send_reset`).
    /// ## Looks alike
    /// * A capture of both sides of a NAT: each connection is there twice, with both directions, and nothing is reset.
    /// * `stale-connection`: the RST comes on the connection itself, and no segment came under another address.
    /// * `injected-reset`: a RST that no segment under another address explains.
    /// ## Check next
    /// `conntrack -S` on the host that translates: does `invalid` grow? Drop invalid segments:
    /// `iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP`. Or set `net.netfilter.nf_conntrack_tcp_be_liberal=1`.
    /// ## References
    /// `net/netfilter/nf_conntrack_proto_tcp.c`, `net/netfilter/nf_nat_core.c`; RFC 5382 section 4
    pub struct UntranslatedSegment {
        kind: Kind::UntranslatedSegment,
        plain_words: "A gateway did not rewrite the address of a packet, so its receiver knew no such connection.",
        at_fault: "the host or gateway that translates addresses between the two (NAT, kube-proxy)",
        wants: Wants::full(|f, _| {
            f.c.resets + f.s.resets > 0 || f.c.sacks() > 0 || f.s.sacks() > 0
        }),
        examine: Examine::Connection(examine),
        look_alikes: &["untranslated-segment/both-sides-of-nat", "stale-connection/server-restarted", "injected-reset/both-ends"],
        counters: &["TcpOutRsts", "TcpEstabResets"],
        settings: &["net.netfilter.nf_conntrack_tcp_be_liberal", "net.netfilter.nf_conntrack_tcp_loose"],
        properties: &[Property::ExplainsReset, Property::SeenUnderAnotherAddress],
    }
}

/// See [`UntranslatedSegment`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    if let Some((receiver, stray)) = around.untranslated(f) {
        let severity = if is_lost(f, receiver, stray, around) { Severity::Critical } else { Severity::Info };
        return Some(write(f, (f.client, f.server), (receiver, stray), severity));
    }
    if let Some((home, receiver, stray)) = around.connection_of_stray(f) {
        // Open: the receiver waits for its peer's segments, or has given up.
        let is_lost = stray.reset.is_some() && home.last <= stray.first;
        let severity = if is_lost { Severity::Critical } else { Severity::Info };
        return Some(write(f, (home.client, home.server), (receiver, &stray), severity));
    }
    if let Some(other) = around.answered_elsewhere(f) {
        return Some(write_other_name(f, other));
    }
    // If the capture holds it under its other address, too, it is reported there.
    if asks_again_after_reset(f) && !around.is_other_name(f) {
        return Some(write_handshake(f));
    }
    f.c.reset.as_ref()?;
    match flow_failure(f, around)? {
        // If the first answer to a request finds no socket, it is `injected-reset`.
        FlowFailure::ResetUnderOtherName { role, reset } if !is_reset_at_answer(f, role, reset) => {
            Some(write_inner(f, role, reset))
        }
        _ => None,
    }
}

/// Whether the client refused the right SYN-ACK and then sent the same SYN again: it still waits for one.
fn asks_again_after_reset(f: &ConnectionFacts) -> bool {
    let refused = f.c.reset.as_deref().is_some_and(|reset| {
        reset.is_bare()
            && reset.seq == f.syn_ack_ack
            && reset.seq == f.c.isn.advance(1)
            && reset.trigger.is_some_and(|t| t.what == SegmentKind::SynAck)
            && f.syn.last().is_some_and(|syn| syn.at > reset.at)
    });
    refused && f.final_ack.is_none() && f.syn.count > 1
}

/// Captured at the server: the SYN-ACK reaches the client under an address to which it sent no SYN.
fn write_handshake(f: &ConnectionFacts) -> Draft {
    let (client, server) = (f.client.socket(), f.server.socket());
    let first = f.syn_ack.first().map_or(f.first, |sent| sent.at);
    let mut d = Draft::about(f, &SPEC, (first, "SYN-ACK: it acknowledges the SYN"));
    if let Some(reset) = f.c.reset.as_deref() {
        d.shows(reset.at, "bare RST of the client: it has no connection with the sender of this");
    }
    if let Some(syn) = f.syn.last() {
        d.shows(syn.at, format!("SYN again, {} in all: the client still waits for an answer", f.syn.count));
    }
    d.severity = Severity::Critical;
    d.summary = format!(
        "{client} refused the SYN-ACK of {server} by RST and then repeated the same SYN: it waits for the answer of another \
         address."
    );
    d.cause = of_direct_answer();
    d.measure("syns", f.syn.count).measure("resets", f.c.resets);
    d.probable("the SYN-ACK acknowledges the SYN, yet the client refused it and asked again");
    d.or(
        "A box at the client sends the RST in its name.",
        "It would have to let the SYNs pass and reject only the answers.",
    );
    d.next_steps = next_steps(
        StrayKind::SynAck,
        &f.server.address.ip().to_string(),
        f.client.address.ip(),
        &f.client.address.ip().to_string(),
    );
    d.next_steps.push(format!(
        "tcpdump -ni any port {}   # on {}: which address does it ask?",
        f.client.port,
        f.client.address.ip()
    ));
    d
}

/// The capture holds the SYN before and after the NAT, and the answer only as the server sent it.
fn write_other_name(f: &ConnectionFacts, other: &TranslatedServer) -> Draft {
    let (client, due, from) = (f.client.socket(), f.server.socket(), other.server.socket());
    let mut d = Draft::about(f, &SPEC, (f.first, format!("SYN to {due}")));
    let [syn, answer] = other.handshake;
    d.shows(syn, format!("the same SYN, translated: to {from}"));
    d.shows(answer, format!("SYN-ACK from {from}: nothing translated it back"));
    d.also_tells_of = Some((f.client, other.server));
    d.measure("untranslated_from", from.to_string()).measure("should_be_from", due.to_string());
    d.cause = of_direct_answer();
    let Some(reset) = other.refused else {
        d.severity = Severity::Info;
        d.summary = format!(
            "The SYN of {client} to {due} was translated to {from} and answered; the capture does not hold the answer under {due}."
        );
        d.possible("the same SYN is in the capture under both addresses, and the client went on");
        d.or(
            "The answer was translated back at an interface that was not captured.",
            "The client went on, so it reached it.",
        );
        return d;
    };
    d.shows(reset, format!("RST of the client to {from}, with which it has no connection"));
    d.severity = Severity::Critical;
    d.summary = format!(
        "The SYN of {client} to {due} was translated to {from}, whose SYN-ACK came straight back. The client has no connection with {from} \
         and reset it."
    );
    d.probable("the same SYN (port, sequence number) is in the capture under both addresses, and the client refused the answer");
    d.or(
        "A box at the client sends the RST in its name.",
        "It would have to let the SYNs pass and reject only the answers.",
    );
    d.next_steps =
        next_steps(StrayKind::SynAck, &from.ip().to_string(), f.client.address.ip(), &due.ip().to_string());
    d.next_steps.push(
        "sysctl net.bridge.bridge-nf-call-iptables   # on the node: 0 lets answers within a bridge pass by connection tracking"
            .to_owned(),
    );
    d
}

/// The cause if a SYN-ACK bypasses the NAT.
fn of_direct_answer() -> Cause {
    cause(
        "The server answers its client directly and not by way of the NAT, so nothing translates its address back.",
        &["nf_nat_inet_fn", "tcp_v4_send_reset"],
        SPEC.counters,
        &[],
    )
}

/// If the sender sends nothing more within this, the connection has died of it.
const GOES_ON: Span = Span::secs(1);

/// Whether the connection failed, or the sender sent nothing more on it.
fn is_lost(f: &ConnectionFacts, receiver: Role, stray: &Stray, around: &DetectContext<'_>) -> bool {
    let until = around.observed_until(f.last.time).min(f.watched.max(f.last.time));
    let sender = f.side(receiver.peer());
    let reset = sender.reset.as_deref().is_some_and(|reset| reset.at > stray.first);
    let silent = sender.last.time <= stray.last.time && until - stray.last.time >= GOES_ON;
    Outcome::of(f, until).is_failure() || reset || silent
}

/// The segment itself is in the capture.
fn write(
    f: &ConnectionFacts,
    (client, server): (Host, Host),
    (receiver, stray): (Role, &Stray),
    severity: Severity,
) -> Draft {
    let sender = receiver.peer();
    let sent_as = if sender == Role::Client { client } else { server };
    let (from, to, due) = (stray.from.socket(), stray.to.socket(), sent_as.socket());
    let what = match stray.kind {
        StrayKind::SynAck => "SYN-ACK",
        StrayKind::Data => "segment",
        StrayKind::Fin => "FIN",
        StrayKind::Reset => "RST",
    };
    let seen = format!("{what} from {from}: it belongs to the connection with {due}");
    let mut d = Draft::about(f, &SPEC, (stray.first, seen));
    if let Some((at, _)) = stray.reset {
        d.shows(at, format!("RST of the {receiver} to {from}, with which it has no connection"));
    }
    let later =
        f.side(sender).reset.as_deref().filter(|reset| reset.at > stray.first && f.first < stray.first);
    if let Some(reset) = later {
        d.shows(reset.at, format!("RST of the {sender} {due}: its socket is gone"));
    }
    (d.client, d.server) = (Some(client), Some(server));
    d.severity = severity;
    d.summary = format!(
        "A {what} of the connection {} -> {} came to {to} from {from} instead of {due}.",
        client.socket(),
        server.socket()
    );
    if stray.reset.is_some() {
        d.summary.push_str(&format!(" The {receiver} has no connection with {from} and reset it."));
    }
    d.cause = match stray.kind {
        StrayKind::SynAck => of_direct_answer(),
        _ => cause(
            "The NAT did not translate the segment: connection tracking took it for invalid, or had lost its entry.",
            &["nf_conntrack_tcp_packet", "nf_nat_inet_fn", "tcp_v4_send_reset"],
            SPEC.counters,
            SPEC.settings,
        ),
    };
    d.measure("untranslated_from", from.to_string())
        .measure("should_be_from", due.to_string())
        .measure("segments", stray.segments)
        .measure("reset", stray.reset.is_some());
    d.also_tells_of = Some(match receiver {
        Role::Client => (stray.to, stray.from),
        Role::Server => (stray.from, stray.to),
    });
    d.probable(match stray.ack {
        Some(_) => "its sequence and acknowledgment numbers are those of this connection, and the port of the receiver is the same",
        None => "its sequence number is the next one of this connection, and the port of the receiver is the same",
    });
    d.or(
        "Both addresses belong to the same host, and it sent from the wrong one.",
        "A socket keeps its address. Only a NAT or a proxy below the socket changes it.",
    );
    d.next_steps = next_steps(stray.kind, &from.ip().to_string(), to.ip(), &due.ip().to_string());
    if stray.kind != StrayKind::SynAck {
        d.next_steps.push(format!(
            "The four-tuple should have been {due} -> {to}. Capture on the host that translates: which of its interfaces saw {from}?"
        ));
    }
    d
}

/// Captured behind the NAT: the RST of a peer that goes on.
fn write_inner(f: &ConnectionFacts, role: Role, reset: &Reset) -> Draft {
    let peer = role.peer();
    let mut d = Draft::about(
        f,
        &SPEC,
        (reset.at, format!("bare RST of the {role}: it has no socket for the segment that it got")),
    );
    if let Some(trigger) = reset.trigger {
        d.shows(trigger.at, format!("the last segment of the {peer} before it"));
    }
    if let Some((at, n)) = reset.went_on {
        d.shows(at, format!("the {role} goes on with the connection: {n} more of its segments follow"));
    }
    d.severity = Severity::Critical;
    let alive = match reset.went_on {
        Some(_) => "went on with the connection after it",
        None => "had acknowledged data on it just before",
    };
    d.summary = format!(
        "The {role} {} answered a segment of the {peer} by the RST of a host without a socket, although it {alive}.",
        f.host(role).socket()
    );
    d.cause = cause(
        "A NAT in between did not translate a segment, so it reached its receiver under an address that it does not know.",
        &["nf_conntrack_tcp_packet", "nf_nat_inet_fn", "tcp_v4_send_reset"],
        SPEC.counters,
        SPEC.settings,
    );
    d.measure("reset_by", role.to_string());
    d.possible(format!(
        "the RST has TTL, IP ID and shape of one that the host sends without a socket, and the {role} {alive}"
    ));
    d.or(
        "The address moved to another host, or the host restarted, at that moment.",
        "A restart takes longer than the time since its last acknowledgment.",
    );
    d.or(
        "A box on the path sent the RST in the name of that end (injected-reset).",
        "It would have to imitate TTL, IP ID and sequence number of the host.",
    );
    d.next_steps = next_steps(
        StrayKind::Data,
        &f.host(peer).address.ip().to_string(),
        f.host(role).address.ip(),
        "the address that it is translated to",
    );
    d.next_steps.push(format!(
        "tcpdump -ni any host {} and 'tcp[tcpflags] & tcp-rst != 0'   # on {}: to which address does its RST go?",
        f.host(peer).address.ip(),
        f.host(role).address.ip()
    ));
    d
}

/// `from` is the segment's source, `to` its receiver, `due` the source that it should have.
fn next_steps(kind: StrayKind, from: &str, to: IpAddr, due: &str) -> Vec<String> {
    if kind == StrayKind::SynAck {
        return vec![
            format!("ip route get {to}   # on {from}: do its answers pass the NAT at {due}?"),
            "Let the NAT rewrite the client's address too (masquerade, hairpin mode), or route the answers through it.".to_owned(),
        ];
    }
    vec![
        "conntrack -S   # on the host that translates (node, gateway): does invalid grow?".to_owned(),
        "iptables -I FORWARD -m conntrack --ctstate INVALID -j DROP   # there: a segment that cannot be translated must not leave".to_owned(),
        "sysctl net.netfilter.nf_conntrack_tcp_be_liberal=1   # there: segments outside of the window stay valid".to_owned(),
    ]
}
