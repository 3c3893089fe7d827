//! `syn-ack-unanswered`: the handshake stops at the SYN-ACK.

use crate::decode::segment::Traits;
use crate::detect::analysis::lone_syns::ASKED_AGAIN;
use crate::detect::analysis::told_together::subject;
use crate::detect::analysis::{flood, tunnel};
use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause, count, times};
use crate::detect::next;
use crate::detect::spec::{Examine, Property, finding};
use crate::flow::facts::{ConnectionFacts, Roles};
use crate::flow::key::Host;
use crate::history::wants::Wants;
use crate::model::{Kind, Severity, Vantage};
use crate::time::Span;

finding! {
    /// The server answers the SYN, and the handshake never completes.
    ///
    /// ## On the wire
    /// SYN, SYN-ACK, and the SYN-ACK again after about 1 s, 3 s, 7 s; no final ACK. If the client repeats its SYN, the
    /// SYN-ACK does not reach it, or is refused there. If the client is silent, it has the SYN-ACK, and its ACK does
    /// not get here.
    /// ## In the kernel
    /// The request waits in the SYN queue until `tcp_synack_retries` runs out (`reqsk_timer_handler`). At the client a
    /// reverse-path filter (`rp_filter`) or a firewall may drop the SYN-ACK. On the path, a stateful box that sees only
    /// one direction drops the ACK (asymmetric routing).
    /// ## Looks alike
    /// * A SYN flood or a scanner: many sources, one SYN each, and no interest in the answer (`syn-flood`).
    /// * One SYN-ACK lost: the next one completes the handshake (`handshake-loss`).
    /// ## Check next
    /// `ip route get CLIENT` at the server: does the SYN-ACK leave by the way the SYN came? `nstat -az TcpExtIPReversePathFilter`
    /// at the client; capture there.
    /// ## References
    /// RFC 3704 section 2; `net/ipv4/inet_connection_sock.c`
    pub struct SynAckUnanswered {
        kind: Kind::SynAckUnanswered,
        plain_words: "The server answers, and the handshake stops there: the answer or the client's reply is lost.",
        at_fault: "the path between the two, or a firewall or filter at the client",
        wants: Wants::full(|f, _| f.final_ack.is_none() && (f.syn_ack.count >= LEAST || f.was_given_up())).or_incomplete(|handshake| {
            u32::from(handshake.half_open.syn_acks) >= LEAST
        }),
        examine: Examine::Both(examine, examine_lone),
        look_alikes: &["syn-ack-unanswered/one-lost", "handshake-loss/syn-ack-lost", "syn-flood/port-scan"],
        counters: &["TcpExtTCPTimeouts", "TcpExtTCPSynRetrans", "TcpExtIPReversePathFilter"],
        settings: &["net.ipv4.conf.all.rp_filter", "net.ipv4.tcp_synack_retries"],
        properties: &[Property::ExplainsHandshake, Property::SaysWhereItStopped, Property::EndsConnection],
    }
}

/// From this many SYN-ACKs on, a single lost packet is not the reason.
const LEAST: u32 = ASKED_AGAIN;
/// From this many connections of one client on, it is not chance.
const SEVERAL: usize = 3;

/// Whether the handshakes that stopped here belong to a flood.
fn is_flood(around: &DetectContext<'_>) -> bool {
    let half_open = &around.activity.half_open;
    let mut addresses: Vec<_> = half_open.iter().take(flood::LEAST).map(|h| h.client.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    half_open.len() >= flood::LEAST && addresses.len() >= flood::SOURCES
}

/// A SYN-ACK that follows its SYN this soon was captured on the server's host.
const ON_HOST: Span = Span(300_000);

/// Whether all SYN-ACKs had a wrong checksum when they had left their sender. In a capture at the sender a wrong
/// checksum means nothing: the network card may compute it later.
fn arrives_damaged(f: &ConnectionFacts, around: &DetectContext<'_>) -> bool {
    let is_bad = f.s.traits.has(Traits::CHECKSUM_BAD)
        && !f.s.traits.any(Traits::CHECKSUM_GOOD | Traits::CHECKSUM_PARTIAL | Traits::OUTGOING);
    let client_is_good = f.c.traits.any(Traits::CHECKSUM_GOOD | Traits::CHECKSUM_PARTIAL);
    let at_client = f.c.traits.any(Traits::CHECKSUM_PARTIAL | Traits::OUTGOING);
    let on_path = f.syn_to_syn_ack().is_some_and(|delay| delay >= ON_HOST);
    is_bad && client_is_good && (at_client || on_path && !around.at_server())
}

/// See [`SynAckUnanswered`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    if f.syn.count == 0 {
        return asked_in_vain(f, around);
    }
    if f.was_given_up() {
        return given_up(f, around);
    }
    let (syn, first, last) = (f.syn.first()?, f.syn_ack.first()?, f.syn_ack.last()?);
    let completed = f.final_ack.is_some()
        || f.c.segments > f.syn.count
        || f.c.fin.is_some()
        // If the SYN's Fast Open data was accepted, the server sends data before the handshake is over.
        || f.s.segments > f.syn_ack.count && !f.syn_ack_ack.after(f.c.isn.advance(1));
    if completed
        || f.syn_ack.count < LEAST
        || f.roles != Roles::BySyn
        || f.odd_handshake
        || f.other_isns > 0
        || is_flood(around)
    {
        return None;
    }
    let lasted = last.at.time - first.at.time;
    let alike =
        around.activity.half_open.iter().filter(|h| h.client.address == f.client.address && h.syn_acks > 1);
    let alike = alike.count();
    let repeats = f.syn.count > 1;
    let mut d = Draft::about(f, &SPEC, (first.at, "SYN-ACK"));
    d.shows(syn.at, "SYN").shows(last.at, format!("SYN-ACK, sent {} in all", times(f.syn_ack.count.into())));
    let others_alike =
        around.activity.half_open.iter().filter(|h| h.syn_acks > 1 && h.syns > 1).count() >= SEVERAL;
    let is_no_accident = alike >= SEVERAL || others_alike && repeats;
    d.severity = if is_no_accident { Severity::Critical } else { Severity::Info };
    d.summary = match repeats {
        true => format!(
            "{} repeated its SYN although {} answered it {} within {lasted}.",
            f.client.socket(),
            f.server.socket(),
            times(f.syn_ack.count.into())
        ),
        false => format!(
            "{} answered the SYN of {} {} within {lasted}, and no ACK came.",
            f.server.socket(),
            f.client.socket(),
            times(f.syn_ack.count.into())
        ),
    };
    d.measure("syn_acks", f.syn_ack.count)
        .measure("syns", f.syn.count)
        .measure_span("lasted_s", lasted)
        .measure("alike", alike);
    blame(&mut d, f, if repeats { Client::AskedAgain } else { Client::FellSilent });
    if f.s.traits.has(Traits::OUTER_CHECKSUM_BAD) {
        d.cause = tunnel::dropped_for_checksum();
        d.next_steps = vec![tunnel::NEXT_STEP.to_owned()];
        d.probable("the outer UDP checksum of the SYN-ACKs' tunnel packets is wrong, or 0 in IPv6");
        return Some(d);
    }
    let damaged = arrives_damaged(f, around);
    if damaged {
        blame_checksum(&mut d, f);
    }
    d.next_steps.push(format!(
        "tcpdump -ni any host {} and port {}   # on {}: does the SYN-ACK arrive, does an ACK leave?",
        f.server.address.ip(),
        f.server.port,
        f.client.address.ip()
    ));
    if damaged {
        return Some(d);
    }
    let reason = format!("{} of this client stopped at the SYN-ACK", count(alike.max(1) as u64, "handshake"));
    match around.view.vantage {
        Vantage::Server if alike >= 2 => {
            d.probable(format!("{reason}, captured at the server: the SYN-ACKs left"))
        }
        _ => d.possible(format!("{reason}; where the next packet was lost is not known")),
    };
    Some(d)
}

/// The answer came when the client's application had given up.
fn given_up(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let (syn, syn_ack) = (f.syn.first()?, f.syn_ack.first()?);
    let reset = f.c.reset.as_deref()?;
    let waited = syn_ack.at.time - syn.at.time;
    if waited + waited < reset.at.time - syn.at.time {
        return late_at_client(f, around);
    }
    let mut d = Draft::about(f, &SPEC, (syn_ack.at, format!("SYN-ACK, {waited} after the SYN")));
    d.shows(syn.at, "SYN").shows(reset.at, "RST of the client: it has no socket for this any more");
    d.severity = harm_of_giving_up(around, waited);
    d.summary = format!(
        "{} answered the SYN of {} only after {waited}; by then the client had closed its socket and answered by a RST.",
        f.server.socket(),
        f.client.socket()
    );
    d.cause = cause(
        "The answer came later than the client's connect time-out: the server was stalled or dropped earlier SYNs, or the path held them up.",
        &["tcp_v4_send_reset"],
        &["TcpExtTCPTimeouts", "TcpOutRsts"],
        &[],
    );
    d.measure_span("answered_after_s", waited).measure("syns", f.syn.count);
    d.possible(match is_path_slow(around, waited) {
        true => "the RST has the shape of one without a socket; all handshakes of this server take about as long",
        false => "the RST has the shape of one without a socket, and the SYN-ACK came a second or more after the SYN",
    });
    d.or(
        "The client wanted only the answer (a half-open scan).",
        "Such a scan sends its RST whenever the answer comes; other handshakes of this server were faster.",
    );
    d.next_steps = vec![
        next::counters(
            &["TcpExtListenDrops", "TcpExtListenOverflows"],
            "on the server, twice, 10 s apart: are SYNs dropped there?",
        ),
        format!("Compare the connect time-out of {} with {waited}", f.client.address.ip()),
    ];
    Some(d)
}

/// Whether every handshake takes about as long as this one waited.
fn is_path_slow(around: &DetectContext<'_>, waited: Span) -> bool {
    around.round_trip().is_some_and(|usual| usual.0 * 3 > waited.0)
}

/// The severity if clients gave up. On a slow path, the client may have wanted only the answer.
fn harm_of_giving_up(around: &DetectContext<'_>, waited: Span) -> Severity {
    let is_accident = (around.activity.given_up as usize) < SEVERAL;
    if is_path_slow(around, waited) || is_accident { Severity::Info } else { Severity::Critical }
}

/// The server answered soon, and the client's RST came late.
fn late_at_client(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let (syn, syn_ack, reset) = (f.syn.first()?, f.syn_ack.first()?, f.c.reset.as_deref()?);
    let took = reset.at.time - syn_ack.at.time;
    let mut d = Draft::about(f, &SPEC, (syn_ack.at, "SYN-ACK"));
    d.shows(syn.at, "SYN").shows(reset.at, format!("RST of the client, {took} after the SYN-ACK"));
    d.severity = harm_of_giving_up(around, took);
    d.summary = format!(
        "{} answered the SYN of {} at once; {took} later the client answered by a RST, for it had no socket any more.",
        f.server.socket(),
        f.client.socket()
    );
    d.cause = cause(
        "The SYN-ACK reached the client later than its connect time-out: the path held it up.",
        &["tcp_v4_send_reset"],
        &["TcpExtTCPTimeouts", "TcpExtEmbryonicRsts"],
        &[],
    );
    d.measure_span("reset_after_s", took).measure("syns", f.syn.count);
    d.possible(match is_path_slow(around, took) {
        true => {
            "the RST has the shape of one without a socket; all handshakes of this server take about as long"
        }
        false => "the RST has the shape of one without a socket, and it came long after the SYN-ACK had left",
    });
    d.or(
        "The client wanted only the answer (a half-open scan).",
        "Such a scan sends its RST as soon as the answer comes.",
    );
    d.next_steps = vec![
        format!("Compare the connect time-out of {} with {took}", f.client.address.ip()),
        "ip -s neigh; tc -s qdisc   # on both hosts and on routers between: neighbours in state INCOMPLETE or FAILED, backlog".to_owned(),
    ];
    Some(d)
}

/// The server repeats its SYN-ACK, and the capture holds nothing of the client.
fn asked_in_vain(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let (first, last) = (f.syn_ack.first()?, f.syn_ack.last()?);
    let is_all = f.c.segments == 0 && f.s.segments == f.syn_ack.count && f.other_isns == 0;
    if !is_all || f.syn_ack.count < LEAST || is_flood(around) {
        return None;
    }
    let lasted = last.at.time - first.at.time;
    let mut d = Draft::about(f, &SPEC, (first.at, "SYN-ACK"));
    d.shows(last.at, format!("SYN-ACK, sent {} in all", times(f.syn_ack.count.into())));
    d.severity = Severity::Warning;
    d.summary = format!(
        "{} sent its SYN-ACK to {} {} within {lasted}; the capture holds nothing of the client.",
        f.server.socket(),
        f.client.socket(),
        times(f.syn_ack.count.into())
    );
    blame(&mut d, f, Client::FellSilent);
    d.or(
        "The accept queue is full, and the server ignores the final ACK.",
        "The client's ACKs and data would show it: capture both directions.",
    );
    d.measure("syn_acks", f.syn_ack.count).measure_span("lasted_s", lasted);
    d.possible("the server took no ACK; the client's direction was not captured");
    Some(d)
}

/// SYNs that were answered once or twice, without anything after that.
fn examine_lone(server: Host, around: &DetectContext<'_>) -> Option<Draft> {
    let lone = around.context.lone_answers.at(server)?;
    let mut d = Draft::about_listener(server, &SPEC, (lone.first, "SYN: answered, and no ACK came"));
    if lone.last != lone.first {
        d.shows(lone.last, "the last such SYN");
    }
    d.severity = Severity::Info;
    d.summary = format!(
        "{} {} answered, and the handshake went no further: no ACK, no RST{}.",
        subject(lone, server),
        if lone.syns == 1 { "was" } else { "were" },
        if lone.repeated == 0 { ", no other SYN" } else { "; the client repeated its SYN" }
    );
    d.cause = cause(
        "The client wanted only the answer (a scan or a probe), has gone away, or its ACK was lost.",
        &["reqsk_timer_handler"],
        &["TcpExtTCPTimeouts"],
        &["net.ipv4.tcp_synack_retries"],
    );
    d.possible("the SYN-ACK was hardly repeated, so the capture does not show which");
    d.or("The capture lacks packets.", "It holds other connections in full.");
    d.measure("syns", lone.syns).measure("clients", lone.clients).measure("listeners", lone.listeners);
    Some(d)
}

/// The client's behaviour after the SYN-ACK.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    /// It sent its SYN again.
    AskedAgain,
    /// The capture holds nothing more of it.
    FellSilent,
}

/// The likely cause, what else it could be, and what to look at.
fn blame(d: &mut Draft, f: &ConnectionFacts, client_did: Client) {
    let (client, server) = (f.client.address.ip(), f.server.address.ip());
    let counters: &[&str] = &["TcpExtTCPTimeouts", "TcpExtTCPSynRetrans", "TcpExtIPReversePathFilter"];
    match client_did {
        Client::AskedAgain => {
            d.cause = cause(
                "The SYN-ACK does not reach the client, or is dropped there: return route, firewall or reverse-path filter.",
                &["reqsk_timer_handler", "fib_validate_source"],
                counters,
                &["net.ipv4.conf.all.rp_filter", "net.ipv4.tcp_synack_retries"],
            );
            d.or(
                "The SYN-ACK is damaged on its way (checksum), or is sent to the wrong MAC address.",
                "Other clients on the same path would suffer too.",
            );
            d.next_steps = vec![format!(
                "ip route get {client}   # on {server}: does the SYN-ACK leave by the way the SYN came?"
            )];
        }
        Client::FellSilent => {
            d.cause = cause(
                "The client's ACK is lost or filtered on its way here: a stateful firewall that sees one direction only.",
                &["reqsk_timer_handler"],
                counters,
                &["net.ipv4.tcp_synack_retries"],
            );
            d.or(
                "The client is a scanner, or has gone away: it does not want the connection.",
                "It would try many ports or addresses, once each.",
            );
            d.next_steps = vec!["conntrack -S; nft list ruleset   # on boxes between: are ACKs dropped as invalid (asymmetric route)?".to_owned()];
        }
    }
}

/// The SYN-ACKs arrive damaged.
fn blame_checksum(d: &mut Draft, f: &ConnectionFacts) {
    d.cause = cause(
        "The SYN-ACKs arrive with a wrong TCP checksum, so the client's kernel drops them.",
        &["tcp_v4_rcv"],
        &["TcpInCsumErrors"],
        &["net.ipv4.tcp_synack_retries"],
    );
    d.next_steps = vec![
        "nstat -az TcpInCsumErrors   # on the client: does it grow?".to_owned(),
        format!(
            "ethtool -K DEV tx off   # on {} and on every tunnel, bridge or NAT between: who leaves the checksum to a device that \
             does not compute it?",
            f.server.address.ip()
        ),
    ];
    d.probable("no SYN-ACK has a right checksum, the SYNs have, and the capture was not taken where the SYN-ACKs are sent");
}
