//! `time-wait-collision`: the SYN met an older connection of the same four-tuple.

use crate::decode::segment::TcpOptions;
use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause};
use crate::detect::next;
use crate::detect::spec::{Examine, Property, finding};
use crate::flow::facts::{AckToSyn, ConnectionFacts};
use crate::history::wants::Wants;
use crate::model::{Cause, Kind, Severity};
use crate::time::Span;

finding! {
    /// A SYN is answered by a bare ACK: the server still has a socket for the four-tuple.
    ///
    /// ## On the wire
    /// SYN, then an ACK without SYN whose numbers belong to the older connection; the client answers with a RST of that
    /// acknowledgment number, and repeats its SYN: at once from Linux 5.10 on, after 1 s before. Then a SYN-ACK.
    /// ## In the kernel
    /// The server's socket is in TIME_WAIT and the SYN has an older timestamp, or none and a lower sequence number:
    /// `tcp_timewait_state_process`, `PAWSEstab` or `PAWSTimewait`. Or it is still open: a challenge ACK
    /// (`tcp_send_challenge_ack`, RFC 5961), and the RST ends it.
    /// ## Looks alike
    /// * Reuse that is accepted at once: the SYN-ACK's sequence number is the old one plus 65,537. No finding.
    /// ## Check next
    /// Who reuses ports so soon: a NAT with few ports, a client bound to one source port, several hosts behind one
    /// address? `ss -tan state time-wait` at the server; `sysctl net.ipv4.ip_local_port_range` at the client.
    /// ## References
    /// RFC 6191; RFC 5961 section 4; `net/ipv4/tcp_minisocks.c`
    pub struct TimeWaitCollision {
        kind: Kind::TimeWaitCollision,
        plain_words: "A client uses a port again while the server still holds the previous connection.",
        at_fault: "the client or its NAT, which used the same port again",
        wants: Wants::full(|f, _| f.ack_to_syn.is_some() || f.other_isns > 0 || f.previous.is_some()),
        examine: Examine::Connection(examine),
        look_alikes: &["time-wait-collision/same-host-reuses-port"],
        counters: &["TcpExtTCPChallengeACK"],
        settings: &["net.ipv4.ip_local_port_range", "net.ipv4.tcp_challenge_ack_limit", "net.ipv4.tcp_rfc1337"],
        properties: &[Property::ExplainsHandshake, Property::RestsOnOrder, Property::NeedsNoClock, Property::DeniesSynAck, Property::StandsBesideLoss],
    }
}

/// How long Linux stays in TIME_WAIT (`TCP_TIMEWAIT_LEN`), with a margin for a late timer.
const TIME_WAIT: Span = Span::secs(62);
/// A client that repeats its SYN after its RST has done so by then.
const TRIES_AGAIN: Span = Span::secs(3);
/// Bytes that a client may have sent by the time its SYN-ACK is seen, where the capture changes the order of packets.
const OWN_BYTES: i32 = 1 << 20;

/// See [`TimeWaitCollision`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let answer = f.ack_to_syn.as_deref()?;
    let syn = f.syn.first()?;
    // An ACK of the SYN itself is something else (a four-way handshake).
    if answer.ack == f.c.isn.advance(1) || answer.at < syn.at {
        return None;
    }
    let reset = f.c.reset.as_deref().filter(|r| r.seq == answer.ack);
    let old = f.previous.as_deref().filter(|p| p.client_next == answer.ack || p.server_next == answer.seq);
    // An acknowledgment of this connection's own bytes that came before its SYN-ACK in the capture.
    let ahead = answer.ack.distance(f.c.isn.advance(1));
    let is_of_older = f.syn_ack.count == 0
        && old.is_some_and(|p| p.client_next == answer.ack && p.server_next == answer.seq);
    if reset.is_none() && !is_of_older && (0..OWN_BYTES).contains(&ahead) {
        return None;
    }
    if reset.is_none() && f.syn.count < 2 && old.is_none() {
        return None;
    }
    let mut d =
        Draft::about(f, &SPEC, (answer.at, "ACK with the numbers of another connection answers the SYN"));
    d.shows(syn.at, "SYN");
    if let Some(p) = old {
        d.shows(p.last, "last packet of the older connection of this four-tuple");
    }
    if let Some(reset) = reset {
        d.shows(reset.at, "RST of the client for the older connection");
    }
    if let Some(again) = f.syn.iter().find(|s| s.at > answer.at) {
        d.shows(again.at, "SYN again");
    }
    if let Some(syn_ack) = f.syn_ack.first() {
        d.shows(syn_ack.at, "SYN-ACK").measure_span("delayed_s", syn_ack.at.time - syn.at.time);
    }
    // A client that does not repeat its SYN after its RST has failed to connect.
    let waited = around.observed_until(f.last.time).min(f.watched) - f.last.time;
    let failed = f.syn_ack.count == 0 && (f.syn.count > 1 || reset.is_some() && waited >= TRIES_AGAIN);
    d.severity = if failed { Severity::Warning } else { Severity::Info };
    d.summary = format!(
        "The SYN of {} met an older connection of the same four-tuple at {}.",
        f.client.socket(),
        f.server.socket()
    );
    let is_open = old.is_some_and(|p| !p.closed) || outlasts_time_wait(f);
    let older = if is_open { OlderConnection::Open } else { OlderConnection::TimeWait };
    if let Some(reset) = reset.filter(|_| answer.count > 1) {
        d.measure("rst_in_vain", true);
        d.or(
            "The client's RST does not reach the server, or the server ignores it.",
            match older {
                OlderConnection::Open => {
                    "A filter between them would do that, and the older connection stays."
                }
                OlderConnection::TimeWait => "With tcp_rfc1337=1 Linux ignores a RST in TIME_WAIT.",
            },
        );
        d.summary = format!("{} The RST of the client did not end it.", d.summary);
        d.lasted_until(f.s.last.time.max(reset.at.time));
    }
    if reset.is_none() && f.syn_ack.count == 0 && answer.count > 1 {
        say_that_no_reset_followed(&mut d, f, answer);
    }
    d.cause = older.cause();
    d.measure("old_connection_seen", old.is_some());
    match old {
        Some(_) => {
            d.confirmed("the ACK carries the numbers of the older connection, which is in this capture")
        }
        None => d.probable("the ACK carries numbers that do not belong to this connection"),
    };
    d.or(
        match older {
            OlderConnection::Open => "The older connection is in TIME_WAIT.",
            OlderConnection::TimeWait => "The older connection is still open at the server.",
        },
        "Both cause the same packets. The end of the older connection, if captured, tells them apart.",
    );
    d.next_steps = next_steps(f, older);
    Some(d)
}

/// The ACK drew no answer, again and again.
fn say_that_no_reset_followed(d: &mut Draft, f: &ConnectionFacts, answer: &AckToSyn) {
    d.measure("ack_unanswered", true);
    d.summary = format!("{} The client did not react to {} such ACKs.", d.summary, answer.count);
    d.or(
            "A firewall on the path drops the ACK, or the RST that answers it: neither fits the connection that it knows.",
            "The client would answer the ACK by a RST, which ends the older connection.",
        );
    d.lasted_until(f.last.time);
}

/// The state of the older connection at the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OlderConnection {
    /// It is still open there.
    Open,
    /// It is in TIME_WAIT.
    TimeWait,
}

impl OlderConnection {
    fn cause(self) -> Cause {
        match self {
            OlderConnection::Open => cause(
                "The older connection is still open at the server, which answers with a challenge ACK.",
                &["tcp_validate_incoming", "tcp_send_challenge_ack"],
                &["TcpExtTCPSYNChallenge", "TcpExtTCPChallengeACK"],
                &["net.ipv4.tcp_challenge_ack_limit"],
            ),
            OlderConnection::TimeWait => cause(
                "The four-tuple is in TIME_WAIT at the server, and the SYN's timestamp or sequence number is not newer.",
                &["tcp_timewait_state_process", "tcp_v4_timewait_ack"],
                &["TcpExtPAWSEstab", "TcpExtPAWSTimewait"],
                &["net.ipv4.tcp_rfc1337", "net.ipv4.ip_local_port_range"],
            ),
        }
    }
}

/// Whether the older socket has existed for longer than TIME_WAIT lasts: since the older connection was last heard, or,
/// for SYNs without timestamps, while they came. (A SYN with an old timestamp restarts TIME_WAIT.)
fn outlasts_time_wait(f: &ConnectionFacts) -> bool {
    let answered = f.ack_to_syn.as_ref().map_or(f.first.time, |answer| answer.at.time);
    let since_last = f.previous.as_ref().map_or(Span::ZERO, |p| answered - p.last.time);
    let plain = !f.syn_offer.options.has(TcpOptions::TIMESTAMPS) && f.syn_ack.count == 0;
    let while_asked = if plain { f.s.last.time - answered } else { Span::ZERO };
    since_last.max(while_asked) > TIME_WAIT
}

/// Next steps: what shows more about the older connection, and what avoids the next collision.
fn next_steps(f: &ConnectionFacts, older: OlderConnection) -> Vec<String> {
    let (client, server) = (f.client.socket(), f.server.socket());
    if older == OlderConnection::Open {
        return vec![
            format!(
                "ss -tanpo 'sport = :{} and dport = :{}'   # on {}: does a process still hold the older connection?",
                server.port(),
                client.port(),
                server.ip()
            ),
            format!(
                "Find out why {} lost it without closing: a restart, a crash, or a NAT that used the port again.",
                client.ip()
            ),
        ];
    }
    vec![
        format!(
            "ss -tan state time-wait dst {}   # on {}: sockets in TIME_WAIT toward this client",
            next::ss_address(client.ip()),
            server.ip()
        ),
        "sysctl net.ipv4.ip_local_port_range   # on the client or its NAT: a small range uses each port again soon"
            .to_owned(),
    ]
}
