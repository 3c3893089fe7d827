//! Reports made by hand, for the tests of the renderers.

use std::net::{IpAddr, SocketAddr};

use serde_json::json;

use crate::diagnose::display_filters;
use crate::model::{
    Alternative, Capture, Cause, Certainty, Evidence, Finding, Incident, Inferred, Kind, Outcome, PacketMark,
    Report, SCHEMA, Sender, Severity, Summary, Unexplained, Vantage,
};
use crate::model::{ClientShare, Quality, Rate};
use crate::time::{Span, Timestamp};

/// 2026-11-22T14:03:07.001Z.
const START: Timestamp = Timestamp(1_795_356_187_001_000_000);

/// All samples with their names.
pub(crate) fn all() -> Vec<(&'static str, Report)> {
    vec![
        ("overflow", overflow()),
        ("clean", clean()),
        ("nothing", nothing()),
        ("damaged", damaged()),
        ("mixture", mixture()),
        ("hostile", hostile()),
    ]
}

fn at(ms: i64) -> Timestamp {
    START + Span::millis(ms)
}

fn capture(path: &str, first_ms: i64, last_ms: i64) -> Capture {
    Capture {
        path: path.to_owned(),
        format: "pcapng.gz".to_owned(),
        packets: 812_400,
        tcp_segments: 811_002,
        first: Some(at(first_ms)),
        last: Some(at(last_ms)),
        ..Capture::default()
    }
}

fn report(captures: Vec<Capture>, connections: u64) -> Report {
    let mut summary = Summary { connections, ..Summary::default() };
    for capture in &captures {
        summary.packets += capture.packets;
        summary.tcp_segments += capture.tcp_segments;
    }
    Report { schema: SCHEMA.to_owned(), captures, summary, ..Report::default() }
}

/// Sets the outcomes.
fn outcomes(summary: &mut Summary, counts: &[(Outcome, u64)]) {
    summary.outcomes = counts.iter().copied().collect();
    let failures = counts.iter().filter(|(outcome, _)| outcome.is_failure());
    summary.failed = failures.map(|(_, n)| n).sum();
}

fn evidence(capture: &str, packets: &[(u64, i64, &str)]) -> Vec<Evidence> {
    packets
        .iter()
        .map(|&(packet, ms, text)| Evidence {
            capture: capture.into(),
            packet,
            time: at(ms),
            text: text.to_string().into(),
            sender: Some(if ["SYN-ACK", "RST", "ACK of"].iter().any(|start| text.starts_with(start)) {
                Sender::Server
            } else {
                Sender::Client
            }),
            marks: [
                (text.contains("again"), PacketMark::Repeated),
                (text.contains("never"), PacketMark::Ignored),
                (text.starts_with("RST"), PacketMark::Reset),
            ]
            .into_iter()
            .filter_map(|(holds, mark)| holds.then_some(mark))
            .collect(),
            also: None,
            missing_in: None,
            points: None,
            kernel: None,
        })
        .collect()
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

struct SampleFinding {
    kind: Kind,
    severity: Severity,
    certainty: Certainty,
    listener: Option<&'static str>,
    cause: Cause,
    alternatives: Vec<Alternative>,
    next_steps: Vec<String>,
}

/// Adds an incident with one finding per entry of `cases`: client, summary, evidence.
fn add(report: &mut Report, draft: SampleFinding, cases: Vec<(Option<String>, String, Vec<Evidence>)>) {
    let number = report.incidents.len() + 1;
    let mut ids = Vec::new();
    let mut hosts: Vec<IpAddr> = Vec::new();
    for (i, (client, summary, evidence)) in cases.into_iter().enumerate() {
        let id = format!("{}-{number:02}-{i:04}", draft.kind);
        let client = client.map(|client| client.parse::<SocketAddr>().expect("address:port"));
        hosts.extend(client.map(|client| client.ip()));
        ids.push(id.clone());
        report.findings.push(Finding {
            id,
            kind: draft.kind,
            severity: draft.severity,
            certainty: draft.certainty,
            certainty_reason: "captured at the server, the final ACK arrived there".to_owned(),
            client,
            server: draft.listener.map(|listener| listener.parse().expect("address:port")),
            vantage: Vantage::Server,
            summary,
            cause: draft.cause.clone(),
            alternatives: draft.alternatives.clone(),
            excluded: Vec::new(),
            taken_for: None,
            judged_by_kernel: None,
            also_known_as: None,
            route: None,
            first: evidence[0].time,
            last: evidence[evidence.len() - 1].time,
            metrics: std::collections::BTreeMap::from([("waited_s".to_owned(), json!(7.1))]).into(),
            evidence,
            display_filters: None,
        });
        let finding = report.findings.last_mut().expect("just pushed");
        finding.display_filters = Some(Box::new(display_filters::of(finding)));
    }
    // As text: the pages of the samples have them in this order.
    hosts.sort_by_cached_key(ToString::to_string);
    let top_clients = top_clients(&hosts);
    hosts.dedup();
    let mine = &report.findings[report.findings.len() - ids.len()..];
    let connections = mine.iter().filter(|finding| finding.client.is_some()).count() as u64;
    report.incidents.push(Incident {
        id: format!("{}-{number:02}", draft.kind),
        kind: draft.kind,
        severity: draft.severity,
        certainty: draft.certainty,
        listener: draft.listener.map(|listener| listener.parse().expect("address:port")),
        cause: draft.cause.text.clone().into_owned(),
        first: mine.iter().map(|finding| finding.first).min().unwrap(),
        last: mine.iter().map(|finding| finding.last).max().unwrap(),
        connections,
        clients: hosts.len() as u64,
        findings: ids.clone(),
        next_steps: draft.next_steps,
        attempts: (draft.kind == Kind::AcceptQueueOverflow).then_some(connections * 2),
        rate: (connections > 2).then(|| Rate { step_s: 1, counts: vec![connections - 2, 0, 2] }),
        recovered: None,
        got_through: None,
        unexamined: None,
        places: Vec::new(),
        judged_by_kernel: None,
        backlog: None,
        queues: None,
        top_clients,
        related: Vec::new(),
    });
    *report.summary.findings.entry(draft.kind).or_default() += ids.len() as u64;
}

/// The ten hosts that stand most often in `hosts`, which are in order, if there are several.
fn top_clients(hosts: &[IpAddr]) -> Vec<ClientShare> {
    let mut shares: Vec<ClientShare> = hosts
        .chunk_by(|one, other| one == other)
        .map(|same| ClientShare { client: same[0], findings: same.len() as u64 })
        .collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.findings));
    shares.truncate(if shares.len() > 1 { 10 } else { 0 });
    shares
}

fn overflow_draft() -> SampleFinding {
    SampleFinding {
        kind: Kind::AcceptQueueOverflow,
        severity: Severity::Critical,
        certainty: Certainty::Probable,
        listener: Some("10.0.0.5:8080"),
        cause: Cause {
            text: "The listener's accept queue was full: handshakes that clients had completed were dropped silently, \
                   and so was the data they sent. The application accepts more slowly than connections arrive."
                .into(),
            kernel_functions: vec!["tcp_check_req".into(), "tcp_v4_syn_recv_sock".into()],
            counters: vec!["TcpExtListenOverflows".into(), "TcpExtListenDrops".into()],
            sysctls: vec!["net.core.somaxconn".into(), "net.ipv4.tcp_abort_on_overflow".into(), "net.ipv4.tcp_synack_retries".into()],
        },
        alternatives: vec![
            Alternative {
                suspect: "The final ACKs were lost between this capture and the server.".into(),
                why_less_likely: "all 41 of 41 would have to be lost while other segments to the same host arrived"
                    .into(),
            },
            Alternative {
                suspect: "The listener uses `TCP_DEFER_ACCEPT`.".into(),
                why_less_likely: "the data was ignored as well; with TCP_DEFER_ACCEPT the first data is accepted at once"
                    .into(),
            },
        ],
        next_steps: owned(&[
            "ss -lnt 'sport = :8080'   # on 10.0.0.5: Recv-Q above Send-Q means the accept queue is full now",
            "Count the drops, twice, ten seconds apart: `nstat -az TcpExtListenOverflows TcpExtListenDrops`",
            "Find out why the application does not accept: threads all busy, blocked in a call, or stopped.",
            "A longer queue needs both the application's `listen()` backlog and `net.core.somaxconn` raised; it only \
             buys time when the application is too slow.",
        ]),
    }
}

/// One accept queue overflow that 41 connections of 12 clients met.
pub(crate) fn overflow() -> Report {
    let path = "edge-03.pcapng.gz";
    let mut report = report(vec![capture(path, -56_000, 157_000)], 5_120);
    let cases = (0..41u16)
        .map(|i| {
            let (packet, ms) = (1201 + u64::from(i) * 11, i64::from(i) * 1_100);
            (
                Some(format!("198.51.100.{}:{}", i % 12 + 1, 41_800 + i)),
                "The SYN-ACK came again 2 times although the client had answered it.".to_owned(),
                evidence(
                    path,
                    &[
                        (packet, ms, "SYN"),
                        (packet + 2, ms, "SYN-ACK"),
                        (packet + 3, ms + 20, "final ACK"),
                        (packet + 4, ms + 21, "518 bytes of data, never acknowledged"),
                        (packet + 176, ms + 1_020, "SYN-ACK again"),
                        (packet + 590, ms + 3_070, "SYN-ACK again"),
                    ],
                ),
            )
        })
        .collect();
    add(&mut report, overflow_draft(), cases);
    outcomes(
        &mut report.summary,
        &[(Outcome::Closed, 5_070), (Outcome::Open, 9), (Outcome::Stalled, 30), (Outcome::ResetByServer, 11)],
    );
    report.inferred.push(Inferred {
        host: "10.0.0.5".to_owned().into(),
        setting: "net.ipv4.tcp_synack_retries".to_owned(),
        value: json!(2),
        from: "38 handshakes ended after the 2nd repeated SYN-ACK".to_owned(),
    });
    report
}

/// Nothing found.
pub(crate) fn clean() -> Report {
    report(vec![capture("tuesday.pcap", 0, 213_000)], 5_120)
}

/// No TCP at all.
pub(crate) fn nothing() -> Report {
    let empty = Capture { path: "-".to_owned(), format: "pcap".to_owned(), ..Capture::default() };
    report(vec![empty], 0)
}

/// Two captures, one cut off in the middle and one with drops; nothing found.
pub(crate) fn damaged() -> Report {
    let damage = "edge-03.pcapng: block at byte 1,204,224 says it is 4,294,901,760 bytes long; the file ends after \
                  18,220. The capture was cut off or overwritten there. The 9,311 packets before it were analyzed.";
    let mut cut = capture("edge-03.pcapng", 0, 86_400_000);
    cut.format = "pcapng".to_owned();
    cut.packets = 9_311;
    cut.tcp_segments = 9_300;
    cut.warnings.push(damage.to_owned());
    let mut dropped = capture("edge-04.pcapng.zst", 4_000, 7_000);
    dropped.format = "pcapng.zst".to_owned();
    dropped.dropped = Some(1_204);
    dropped.warnings.push(
        "1,204 packets were dropped while capturing: what looks lost may only be missing here".to_owned(),
    );
    let mut report = report(vec![cut, dropped], 77);
    report.warnings.push(damage.to_owned());
    report.warnings.push("the clock of edge-04.pcapng.zst jumped back by 2.1 s at packet 4,410".to_owned());
    report.quality = Quality {
        damaged: true,
        dropped: Some(1_204),
        unseen: 31,
        one_sided: 1,
        clock_jumps: 1,
        ..Quality::default()
    };
    report
}

/// Six incidents of all severities, two captures, one of them about a host and one about a listener only.
pub(crate) fn mixture() -> Report {
    let (server, client) = ("server.pcap", "client.pcap");
    let mut report = report(vec![capture(server, 0, 600_000), capture(client, 12, 600_012)], 1_337);
    outcomes(
        &mut report.summary,
        &[(Outcome::Closed, 1_325), (Outcome::Refused, 1), (Outcome::Unanswered, 3), (Outcome::Stalled, 8)],
    );
    report.summary.failed_unexplained = 7;
    report.summary.unexplained = (1..=6)
        .map(|n| Unexplained {
            client: format!("198.51.100.{n}:40120").parse().expect("address:port"),
            server: "10.0.0.5:443".parse().expect("address:port"),
            outcome: Outcome::Stalled,
            capture: server.to_owned(),
            packet: 100 + n,
            first: at(n as i64),
        })
        .collect();
    let overflow = [(0, 1201), (1, 1300)]
        .map(|(i, packet)| {
            (
                Some(format!("[2001:db8::{i}]:41822")),
                "The SYN-ACK came again once although the client had answered it.".to_owned(),
                evidence(
                    server,
                    &[
                        (packet, 10, "SYN"),
                        (packet + 3, 30, "final ACK"),
                        (packet + 9, 1_040, "SYN-ACK again"),
                    ],
                ),
            )
        })
        .into();
    add(
        &mut report,
        SampleFinding { listener: Some("[2001:db8:0:1::5]:8080"), ..overflow_draft() },
        overflow,
    );

    let draft = |kind, severity, certainty, listener, text: &str, steps: &[&str]| SampleFinding {
        kind,
        severity,
        certainty,
        listener,
        cause: Cause { text: text.to_owned().into(), ..Cause::default() },
        alternatives: Vec::new(),
        next_steps: owned(steps),
    };
    let flood: Vec<_> =
        (0..20u64).map(|i| (4_000 + i * 3, 60_000 + i as i64 * 7, "SYN, never completed")).collect();
    add(
        &mut report,
        draft(
            Kind::SynFlood,
            Severity::Critical,
            Certainty::Probable,
            Some("10.0.0.5:443"),
            "Half-open handshakes arrive faster than they expire: 4,200 SYNs in 3 s, none completed.",
            &["`nstat -az TcpExtTCPReqQFullDoCookies TcpExtTCPReqQFullDrop`"],
        ),
        vec![(None, "4,200 handshakes were never completed.".to_owned(), evidence(server, &flood))],
    );
    add(
        &mut report,
        draft(
            Kind::HalfClose,
            Severity::Warning,
            Certainty::Confirmed,
            Some("10.0.0.5:5432"),
            "The client has closed its side; the application at the server has not, and its socket stays in CLOSE_WAIT.",
            &["Which process holds it: `ss -tnp state close-wait 'sport = :5432'`"],
        ),
        vec![(
            Some("10.0.7.1:50111".to_owned()),
            "The server said nothing for 4 min 10 s after the client's FIN.".to_owned(),
            [
                evidence(client, &[(88, 2_000, "FIN of the client")]),
                evidence(server, &[(91, 2_000, "ACK of the FIN")]),
            ]
            .concat(),
        )],
    );
    add(
        &mut report,
        draft(
            Kind::TimeWaitPressure,
            Severity::Warning,
            Certainty::Possible,
            None,
            "28,100 of 28,232 ephemeral ports of 10.0.7.1 toward 10.0.0.9:80 are in TIME_WAIT.",
            &[
                "Let the client keep connections open.",
                "See the range: `sysctl net.ipv4.ip_local_port_range`",
            ],
        ),
        vec![(
            None,
            "10.0.7.1 closed 28,100 connections within 60 s.".to_owned(),
            evidence(client, &[(9, 300, "first close")]),
        )],
    );
    add(
        &mut report,
        draft(
            Kind::ConnectionRefused,
            Severity::Info,
            Certainty::Confirmed,
            Some("10.0.0.5:81"),
            "Nothing listens there: the kernel of the server answered the SYN with RST.",
            &["`ss -lnt 'sport = :81'`"],
        ),
        vec![(
            Some("10.0.7.1:50112".to_owned()),
            "RST answered the SYN after 12 µs.".to_owned(),
            evidence(server, &[(700, 3_000, "SYN"), (701, 3_000, "RST, ACK")]),
        )],
    );
    let lost = (0..4u64)
        .map(|i| {
            (
                Some(format!("10.0.7.{i}:50113")),
                "The SYN was lost once on the path.".to_owned(),
                evidence(client, &[(900 + i, 5_000, "SYN"), (950 + i, 6_020, "SYN again, answered")]),
            )
        })
        .collect();
    add(
        &mut report,
        draft(
            Kind::HandshakeLoss,
            Severity::Info,
            Certainty::Probable,
            Some("10.0.0.5:443"),
            "A segment of the handshake was lost on the path; the kernels repeated it and the connection came up.",
            &[],
        ),
        lost,
    );
    report.inferred.push(Inferred {
        host: "10.0.0.5".to_owned().into(),
        setting: "net.ipv4.tcp_syncookies".to_owned(),
        value: json!(1),
        from:
            "SYN-ACKs at 10.0.0.5:443 that are never repeated while the SYN queue is full, repeated otherwise"
                .to_owned(),
    });
    report.inferred.push(Inferred {
        host: "[2001:db8:0:1::5]:8080".to_owned().into(),
        setting: "TCP_DEFER_ACCEPT".to_owned(),
        value: json!("off"),
        from: "final ACKs without data".to_owned(),
    });
    report
}

/// One incident of 5,000 connections, of clients that were hit once each.
pub(crate) fn crowd() -> Report {
    let path = "edge-03.pcapng.gz";
    let mut report = report(vec![capture(path, -56_000, 157_000)], 5_120);
    let cases = (0..5_000u64).map(|i| {
        let (packet, ms) = (1_201 + i * 7, i as i64 * 17);
        let shown = [
            (packet, ms, "SYN"),
            (packet + 1, ms, "SYN-ACK"),
            (packet + 2, ms + 20, "final ACK: the handshake is complete"),
            (packet + 5, ms + 1_020, "SYN-ACK again"),
        ];
        (
            Some(format!("198.18.{}.{}:{}", i / 250, i % 250 + 1, 20_000 + i)),
            "The SYN-ACK came again although it was answered.".to_owned(),
            evidence(path, &shown),
        )
    });
    add(&mut report, overflow_draft(), cases.collect());
    report
}

/// `findings` findings in incidents of all sizes: a few large ones, many small ones.
pub(crate) fn many(findings: usize) -> Report {
    let mut report = report(vec![capture("large.pcapng", 0, 3_600_000)], 4_000_000);
    let (mut left, mut size, mut listener) = (findings, findings / 5, 0u32);
    while left > 0 {
        let n = size.clamp(1, left);
        let cases = (0..n)
            .map(|i| {
                let (packet, ms) = (1000 + i as u64 * 9, i as i64 * 3_600_000 / n as i64);
                let client = format!("198.18.{}.{}:{}", i / 250 % 250, i % 250 + 1, 20_000 + i % 40_000);
                let shown = [
                    (packet, ms, "SYN"),
                    (packet + 1, ms + 1, "SYN-ACK"),
                    (packet + 2, ms + 40, "final ACK: the handshake is complete"),
                    (packet + 4, ms + 1_040, "SYN-ACK again"),
                ];
                (
                    Some(client),
                    "The SYN-ACK came again although it was answered.".to_owned(),
                    evidence("large.pcapng", &shown),
                )
            })
            .collect();
        let place = format!("10.{}.{}.5:8080", listener / 250, listener % 250);
        add(
            &mut report,
            SampleFinding { listener: Some(Box::leak(place.into_boxed_str())), ..overflow_draft() },
            cases,
        );
        (left, size, listener) = (left - n, size * 2 / 3, listener + 1);
    }
    report
}

/// A report whose strings try to steer the terminal.
pub(crate) fn hostile() -> Report {
    let path = "\x1b]0;owned\x07\x1b[2Jno\nsuch\u{202e}.pcap";
    let mut report = overflow();
    report.captures[0].path = path.to_owned();
    report.captures[0].warnings.push("interface name \"\x1b[31meth0\u{9b}\r\" is odd".to_owned());
    report.inferred[0].from = "\x1b[5mblink".to_owned();
    for finding in &mut report.findings {
        finding.summary.push_str("\x1b[8m");
        finding.evidence[1].text.to_mut().push('\r');
    }
    report.incidents[0].cause.push_str("\u{2028}\x1b[H");
    report.incidents[0].next_steps.push("`rm\x1b[8m -rf /\x1b[0m`".to_owned());
    report
}
