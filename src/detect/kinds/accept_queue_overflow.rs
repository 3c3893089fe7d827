//! `accept-queue-overflow`: the accept queue was full and the final ACK was dropped in silence.

use crate::detect::analysis::counter_evidence::{CounterEvidence, counter_evidence};
use crate::detect::analysis::ignored_ack::{IgnoredAck, StuckConnection, ignored_ack};
use crate::detect::analysis::ignored_client::{IgnoredPattern, SAME_TIME, ignored_pattern, was_alive};
use crate::detect::context::DetectContext;
use crate::detect::details::{self, Details};
use crate::detect::draft::{Draft, cause, count, times};
use crate::detect::next;
use crate::detect::spec::{Examine, IgnoredPackets, LeadsTo, Property, RelationCondition, finding};
use crate::flow::facts::ConnectionFacts;
use crate::history::interval::Interval;
use crate::history::wants::Wants;
use crate::model::{Kind, LostPackets, Severity, Suspect, Vantage};

finding! {
    /// The server goes on sending its SYN-ACK although the client has answered it.
    ///
    /// ## On the wire
    /// SYN, SYN-ACK, final ACK; then the same SYN-ACK again after about 1 s, 3 s, 7 s. The client answers each with an
    /// ACK. If it sends data, the data is repeated too and never acknowledged. Then either an acknowledgment for all of
    /// it at once (the queue had room again), or silence. A RST answers anything that the client sends after the last
    /// retry. A handshake that was answered with a syncookie leaves no request: no SYN-ACK comes again, and only the
    /// client's data is repeated. A request answers keepalive probes by an ACK that echoes the timestamp of the SYN:
    /// such an answer does not mean that the server has the connection. A capture that begins later shows the same
    /// without its beginning: the client's ACKs echo a timestamp that is older than any SYN-ACK in the capture.
    /// ## In the kernel
    /// The accept queue was full: more than `min(listen backlog, somaxconn)` connections were waiting. So the final ACK
    /// was dropped, although the handshake was complete, and the request stayed half open: `tcp_check_req`,
    /// `tcp_v4_syn_recv_sock` (`tcp_get_cookie_sock` after a cookie), counters `ListenOverflows` and `ListenDrops`.
    /// With `tcp_abort_on_overflow=1` it would have been a RST: see `accept-queue-reset`. Linux 4.10 and later refuse
    /// new SYNs while the queue is full (`syn-drop-accept-queue`), so there only handshakes already under way get here.
    /// ## Looks alike
    /// * The final ACK was lost on its way to the server: told apart at the server's own interface, where it is missing.
    /// * A firewall behind the capture point dropped it: packet for packet the same. Only counters tell the two apart, or a
    ///   SYN-ACK whose TSecr echoes one of the ignored segments (kernels before the 6.14 cycle): then TCP has read it.
    /// * A stateful box on the path of some clients (asymmetric route). These clients are always ignored and others always
    ///   served, or their SYN-ACKs take another way (MAC address) than their SYNs. Or new SYNs are answered, although Linux
    ///   4.10 and later drop them while the queue is full. Then a filter is the likelier cause, and the finding `possible`.
    /// * `TCP_DEFER_ACCEPT`: a silent client, a single SYN-ACK retransmission, and the first data is taken at once.
    /// * A round trip above 1 s: the SYN-ACK was repeated before the final ACK could arrive.
    /// * The path to the server is full for seconds, so that the final ACK comes late: what the server then
    ///   acknowledges echoes a timestamp from before the client repeated anything.
    /// * The client sent its SYN more than once, and each drew a SYN-ACK.
    /// * The server or the path dies after the handshake: nothing comes from the server any more, on no connection.
    /// * The same packet captured twice.
    /// ## Check next
    /// `ss -ltn` at the listener: Recv-Q above Send-Q means full now. `nstat -az TcpExtListenOverflows
    /// TcpExtListenDrops`, twice. Is the application calling accept()? Then raise the listen backlog and
    /// `net.core.somaxconn` together; the new size counts from the next listen().
    /// ## References
    /// listen(2), tcp(7); RFC 9293 section 3.10.7.4; `net/ipv4/tcp_minisocks.c`, `net/ipv4/inet_connection_sock.c`
    pub struct AcceptQueueOverflow {
        kind: Kind::AcceptQueueOverflow,
        plain_words: "Clients believe that they are connected, but the server's kernel ignores them: the application does not accept \
             connections fast enough.",
        at_fault: "the server's application, which accepts connections too slowly",
        wants: Wants::full(|f, _| {
            f.unanswered.retransmits > 0 || f.syn_ack.count > 1 || (f.final_ack.is_some() && f.progress.is_none())
        }),
        examine: Examine::Connection(examine),
        look_alikes: &["defer-accept/late-data", "defer-accept/short", "handshake-loss/final-ack-lost:server", "handshake-loss/syn-ack-lost", "syncookies/without-timestamps"],
        counters: &["TcpExtListenOverflows", "TcpExtListenDrops", "TcpExtSyncookiesSent"],
        settings: &["net.core.somaxconn", "net.ipv4.tcp_abort_on_overflow", "net.ipv4.tcp_synack_retries"],
        ignored: IgnoredPackets::FinalAckAndData,
        properties: &[Property::PreventsSetUp, Property::QueueWasFull, Property::ExplainsHandshake, Property::HasOneCause],
        leads_to: &[
            LeadsTo {
                effect: Kind::SynDropAcceptQueue,
                said_of_effect: "SYNs were dropped because of the same full queue",
                said_of_cause: "the same full queue held up handshakes that were under way",
                when: RelationCondition::Always,
            },
            LeadsTo {
                effect: Kind::HalfClose,
                said_of_effect: "clients closed connections that the application never accepted",
                said_of_cause: "connections waited in a full accept queue",
                when: RelationCondition::UnservedInterval,
            },
            LeadsTo {
                effect: Kind::ListenerClosed,
                said_of_effect: "the listener was closed in the middle of it",
                said_of_cause: "its accept queue had overflowed",
                when: RelationCondition::Always,
            },
        ],
    }
}

/// This many others served meanwhile are a sign that the listener has more than one queue.
const OTHERS_SERVED: u32 = 2;

/// At most this many are compared with each other.
const COMPARED: usize = 32;

/// See [`AcceptQueueOverflow`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let ignored_ack = ignored_ack(f, around.end())?;
    let is_told = || f.progress.is_none() && around.context.refused.contains(&ignored_ack.ack.at.packet);
    let pattern =
        ignored_pattern(f, &ignored_ack, around).or_else(|| is_told().then_some(IgnoredPattern::Told))?;
    Some(write(f, &ignored_ack, pattern, around))
}

fn write(
    f: &ConnectionFacts,
    o: &IgnoredAck<'_>,
    pattern: IgnoredPattern,
    around: &DetectContext<'_>,
) -> Draft {
    let counter_evidence = counter_evidence(f, o, around);
    let mut d = show(f, o, pattern);
    d.severity = if f.progress.is_some() { Severity::Warning } else { Severity::Critical };
    d.summary = summary(f, o, pattern);
    d.cause = cause(
        "The listener's accept queue was full, so the kernel silently dropped the final ACK.",
        if matches!(pattern, IgnoredPattern::Cookie | IgnoredPattern::Probe) {
            &["tcp_get_cookie_sock", "tcp_v4_syn_recv_sock"]
        } else {
            &["tcp_check_req", "tcp_v4_syn_recv_sock", "reqsk_timer_handler"]
        },
        &["TcpExtListenOverflows", "TcpExtListenDrops"],
        &["net.core.somaxconn", "net.ipv4.tcp_abort_on_overflow", "net.ipv4.tcp_synack_retries"],
    );
    d.details = Details::IgnoredAck(details::IgnoredAckDetails {
        syn_acks: o.times_asked() as u64,
        retransmits: f.unanswered.retransmits.into(),
        served: f.progress.is_some(),
        read_by_tcp: o.read_by_tcp,
    });
    d.kept_out = Some(o.kept_out(f));
    d.measure_span("stuck_s", o.during.to - o.during.from)
        .measure("syncookie", matches!(pattern, IgnoredPattern::Cookie | IgnoredPattern::Probe));
    match pattern {
        IgnoredPattern::Told => {
            d.confirmed("the kernel says that it dropped the final ACK for a full accept queue");
        }
        IgnoredPattern::Cookie
            if f.progress.is_none() && counter_evidence.is_none() && serves_the_rest(o, around) =>
        {
            blame_one_of_several(&mut d, f);
        }
        _ => judge(&mut d, f, o, pattern, counter_evidence, around),
    }
    if !matches!(pattern, IgnoredPattern::Cookie | IgnoredPattern::Probe)
        && f.progress.is_none()
        && around.listener.inside(o.ignored).served >= OTHERS_SERVED
    {
        d.or(
            "Several sockets listen on this port (SO_REUSEPORT), and only one of their queues was full.",
            "Each has a queue of its own. The packets do not show which of them took a connection.",
        );
    }
    d.next_steps = next::full_accept_queue(f.server);
    if counter_evidence.is_some() {
        d.next_steps.insert(0, next::filter_rules(f.server));
        let (client, server) = (f.client.address.ip(), f.server.address.ip());
        d.next_steps.insert(
            0,
            format!(
                "ip route get {client}   # on {server}: do the SYN-ACKs leave by the way that the SYNs came?"
            ),
        );
    }
    d
}

/// Whether nothing of the handshake is known, not only its first SYN-ACK.
fn joined_later(f: &ConnectionFacts) -> bool {
    f.began_after_handshake() && f.syn.count == 0
}

/// The finding with the packets that show it.
fn show(f: &ConnectionFacts, o: &IgnoredAck<'_>, pattern: IgnoredPattern) -> Draft {
    let joined = joined_later(f);
    let opened = match joined {
        _ if f.readmitted => "the client had completed the handshake; the memory limit cost these segments",
        false => "final ACK: the client considers the connection open",
        true => "the client has completed the handshake, before the capture began",
    };
    let mut d = Draft::about(f, &SPEC, (o.ack.at, opened));
    if let Some(syn) = f.syn.first() {
        d.shows(syn.at, "SYN");
    }
    if let Some(syn_ack) = f.syn_ack.first() {
        if o.asked_before {
            d.shows(syn_ack.at, "SYN-ACK again: the client had answered an earlier one");
        } else if !joined {
            d.shows(syn_ack.at, "SYN-ACK");
        }
        for (n, again) in o.repeats.iter().enumerate() {
            d.shows(again.at, format!("SYN-ACK again ({})", n + 1 + usize::from(o.asked_before)));
        }
    }
    let retransmits = f.unanswered.retransmits;
    if retransmits > 0 {
        d.shows(f.unanswered.first, "the client sends its data again: no acknowledgment");
        d.shows(f.unanswered.last, format!("retransmission {retransmits}: still no acknowledgment"));
    }
    if let Some(p) = &f.progress {
        d.shows(p.at, "first reply of the server: it has the connection now");
    } else if let Some(r) = &f.s.reset {
        d.shows(
            r.at,
            match pattern {
                IgnoredPattern::Probe => "RST: the server knows nothing of the connection",
                _ => "RST: the server had already discarded the half-open connection",
            },
        );
    }
    d
}

/// One sentence: how the server ignored the client, and how that ended.
fn summary(f: &ConnectionFacts, o: &IgnoredAck<'_>, pattern: IgnoredPattern) -> String {
    let repeats = o.times_asked() as u64;
    let retransmits = u64::from(f.unanswered.retransmits);
    let joined = joined_later(f);
    let lasted = o.during.to - o.during.from;
    let end = match (&f.progress, &f.s.reset) {
        (Some(_), _) => {
            let since = if joined { "that" } else { "the final ACK" };
            format!("the server took the connection {lasted} after {since}")
        }
        (None, Some(_)) if pattern == IgnoredPattern::Probe => {
            format!("that was {lasted} after the final ACK")
        }
        (None, Some(_)) => format!("the server reset it after {lasted}"),
        (None, None) => format!("the server sent nothing else in the {lasted} until the capture ended"),
    };
    let how = match pattern {
        IgnoredPattern::Cookie => format!(
            "the server, which had used a syncookie, ignored {} of its data",
            count(retransmits, "retransmission")
        ),
        IgnoredPattern::Probe => {
            "the server, which had used a syncookie, kept nothing of it and refused the first keepalive probe"
                .to_owned()
        }
        IgnoredPattern::Brief => {
            format!("the server ignored its data until the client had sent it again {}", times(retransmits))
        }
        IgnoredPattern::Told => "the kernel dropped its final ACK".to_owned(),
        _ if retransmits > 0 => format!(
            "the server repeated its SYN-ACK {} and ignored {} of data",
            times(repeats),
            count(retransmits, "retransmission")
        ),
        _ => format!("the server repeated its SYN-ACK {}", times(repeats)),
    };
    let missed = match o.unseen {
        0 => String::new(),
        n => format!(" ({n} of them answered by the client, but not in the capture)"),
    };
    let how = format!("{how}{missed}");
    let when = match joined {
        _ if f.readmitted => " (in segments that the memory limit cost)",
        true => " before the capture began",
        false => "",
    };
    format!("{} completed the handshake{when}, but {how}; {end}.", f.client.socket())
}

/// The clients that are ignored share something: a queue does not choose by client.
fn blame_choice(d: &mut Draft, reason: &str) {
    d.cause = cause(
        "A firewall or another stateful box on the path drops what these clients send after their SYN: it has not seen the \
         SYN-ACK (asymmetric route), or a rule of its own says so.",
        &["nf_conntrack_in"],
        &["TcpExtListenOverflows"],
        &["net.netfilter.nf_conntrack_tcp_loose"],
    );
    d.possible(format!("{reason}; a full queue ignores everybody"));
    d.or(
        "The listener's accept queue was full.",
        "It would have ignored the others, too. Then ListenOverflows grows.",
    );
    d.or(Suspect::Lost(LostPackets::ClientData), "Loss would not choose by client.");
}

/// The same where a probe was refused.
fn judge_probe(d: &mut Draft, f: &ConnectionFacts, o: &IgnoredAck<'_>, around: &DetectContext<'_>) {
    let alike = around.others_stuck(f, o.during, SAME_TIME).filter(|s| s.probe_refused).count() as u64;
    let reason = format!(
        "{} of this listener met with the same, and the listener went on with others",
        count(alike + 1, "connection")
    );
    match alike {
        0 | 1 => d.possible(reason),
        _ => d.probable(reason),
    };
    d.or(
        "The server's host was restarted, or a device on the path has forgotten these connections.",
        "The listener went on with connections that it had before.",
    );
}

/// Certainty and what else it could be, by where the capture was taken.
fn judge(
    d: &mut Draft,
    f: &ConnectionFacts,
    o: &IgnoredAck<'_>,
    pattern: IgnoredPattern,
    counter_evidence: Option<CounterEvidence>,
    around: &DetectContext<'_>,
) {
    if pattern == IgnoredPattern::Probe {
        judge_probe(d, f, o, around);
        return;
    }
    let or_firewall = |d: &mut Draft| {
        d.or(
            "A firewall between this capture point and the server's TCP drops the client's segments.",
            "It would have to pass the SYN and drop everything after it. Then ListenOverflows does not grow.",
        );
    };
    let lost = || Suspect::Lost(LostPackets::ClientData);
    let company: Vec<&StuckConnection> = around
        .others_stuck(f, o.during, SAME_TIME)
        .filter(|s| pattern == IgnoredPattern::Cookie || s.agrees_with_a_full_queue())
        .collect();
    let others_got_through = |ignored: Interval| {
        let meanwhile = around.listener.inside(ignored);
        meanwhile.answered + meanwhile.served > 0
    };
    let path_works = others_got_through(o.ignored)
        || o.outlasts_buffers(f)
        || company.iter().any(|s| s.lasting || others_got_through(s.ignored))
        || (pattern == IgnoredPattern::Cookie && was_alive(f, o, around));
    // Clients that waited behind others, without other evidence, may have suffered from a path that broke at that
    // moment.
    let may_be_outage = pattern == IgnoredPattern::Cookie
        && !was_alive(f, o, around)
        && !company.iter().any(|s| s.shows_a_full_queue());
    if o.read_by_tcp && o.data_ignored && !around.context.damaged {
        d.confirmed("a repeated SYN-ACK echoes the timestamp of a segment that the server ignored, so its TCP had read it");
        return;
    }
    if let Some(counter_evidence) = counter_evidence {
        blame_choice(d, &counter_evidence.reason());
        return;
    }
    match around.view.vantage {
        Vantage::Server if pattern != IgnoredPattern::Cookie || around.view.on_host || path_works => {
            d.probable("the capture was taken at the server: the final ACK arrived there and was ignored");
            or_firewall(d);
            d.or(
                lost(),
                "The capture was taken at the server, so every segment would have to be lost inside the host.",
            );
        }
        Vantage::Client | Vantage::Between | Vantage::Unknown
            if company.len() >= 2 && path_works && !may_be_outage =>
        {
            d.probable(format!(
                "{} of this listener hung at the same time",
                count(company.len() as u64 + 1, "connection")
            ));
            d.or(lost(), "Loss would not hit all connections of one listener at once and spare their SYNs.");
            or_firewall(d);
        }
        vantage => {
            d.possible(match vantage {
                Vantage::Server => "the server answered no other client in that time, so it may have been down",
                _ if company.len() >= 2 => {
                    "the capture was not taken at the server, and no other client got through in that time: the path may \
                     have been blocked"
                }
                _ => "the capture was not taken at the server, so it cannot show whether the final ACK arrived there",
            });
            d.or(lost(), "Then every ACK of the client was lost, but none of the server's SYN-ACKs.");
            or_firewall(d);
        }
    }
    if pattern == IgnoredPattern::Once {
        or_deferral(d);
    }
}

/// Whether all others were served while this client repeated its segments: one full queue would have had room for it,
/// or would have kept others out too.
fn serves_the_rest(o: &IgnoredAck<'_>, around: &DetectContext<'_>) -> bool {
    let activity = around.activity;
    let with_it = activity.stuck.iter().take(COMPARED).map(|stuck| stuck.ignored);
    let are_served = |ignored: Interval| around.listener.inside(ignored).served >= OTHERS_SERVED;
    std::iter::once(o.ignored).chain(with_it).any(are_served)
        && !around.at_server()
        && activity.ignored.is_empty()
        && !activity.stuck.iter().any(|stuck| stuck.repeats > 0 || stuck.lag.is_some())
        && activity.waiting_at(o.ignored.from) == 0
        && activity.waiting_at(o.ignored.to) == 0
}

/// Several hosts or sockets stand behind the address, and one of them accepts no connections.
fn blame_one_of_several(d: &mut Draft, f: &ConnectionFacts) {
    d.summary = format!(
        "{} completed the handshake, but its data drew no answer, although it was sent again {}; others were served meanwhile.",
        f.client.socket(),
        times(f.unanswered.retransmits.into())
    );
    d.cause = cause(
        "One of several hosts or sockets behind this address does not take its connections: a dead backend behind a load balancer \
         that completes handshakes itself, or one full accept queue of several (SO_REUSEPORT).",
        &["tcp_v4_syn_recv_sock"],
        &["TcpExtListenOverflows", "TcpExtListenDrops"],
        &["net.core.somaxconn"],
    );
    d.possible("others were served all the while, no SYN was ignored, and nobody was seen waiting");
    let lost = Suspect::Lost(LostPackets::ClientData);
    d.or(lost, "Loss would not hit all segments of some connections and none of the others.").or(
        "A filter on payload drops the data of these connections.",
        "It would have to tell them apart by their contents.",
    );
}

/// A listener that waits for data treats a silent client in the same way.
fn or_deferral(d: &mut Draft) {
    d.or(
        "The listener uses TCP_DEFER_ACCEPT: it waits for data and repeats its SYN-ACK once.",
        "Other silent connections of this listener drew no repetition, or the server ignored them for longer.",
    );
}
