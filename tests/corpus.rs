//! Captures that other projects publish for their own tests, where they are at hand: `SYNSCOPE_CORPUS`, or the folder
//! `shared/corpus` beside the checkout. Its `README.md` has a table of the files: packets, TCP segments and flows as
//! counted by another program, and the known events.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use support::{CORE, analyze, claim};
use synscope::engine::{AnalysisOptions, analyze as analyze_with};
use synscope::model::{Certainty, Kind, Report};

/// A row of the table.
struct Row {
    file: String,
    packets: u64,
    segments: u64,
    connections: u64,
}

/// Reads the table. `0+12t` is 12 inside tunnels.
fn table(folder: &Path) -> Vec<Row> {
    let text = fs::read_to_string(folder.join("README.md")).expect("the corpus has a README.md");
    let sum = |cell: &str| cell.split('+').map(|n| n.trim_end_matches('t').parse::<u64>().unwrap_or(0)).sum();
    text.lines()
        .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>())
        .filter(|cells| cells.len() >= 10 && cells[6].parse::<u64>().is_ok())
        .map(|cells| Row {
            file: cells[1].to_owned(),
            packets: sum(cells[6]),
            segments: sum(cells[7]),
            connections: sum(cells[8]),
        })
        .collect()
}

/// Where the counts differ from the table: the file, ours, and why.
const COUNTED_OTHERWISE: [(&str, [u64; 3], &str); 5] = [
    (
        "suricata-fuzz.pcap",
        [1, 0, 0],
        "an IPv4 header behind damaged bytes; the TCP header in it has no length",
    ),
    (
        "gopacket-ng-le-901.pcapng",
        [2, 0, 0],
        "its second section says that it is pcapng 2.0, which does not exist, and is left out; tshark stops there",
    ),
    (
        "ndpi-fuzz-2006-09-29-28586.pcap",
        [131, 114, 36],
        "fuzzed: packets whose lengths contradict each other are not believed; tshark finds 117 and 37",
    ),
    (
        "tcpdump-smb_data_print-segv.pcap",
        [4, 4, 2],
        "the clock jumps to 2038: the last packet is another connection",
    ),
    (
        "suricata-split-handshake-5whs.pcap",
        [8, 8, 1],
        "the SYN of the other side is the same connection here, the split handshake",
    ),
];

#[test]
#[ignore = "needs published captures: SYNSCOPE_CORPUS=FOLDER cargo test corpus -- --ignored"]
fn everything_is_read_and_counted_in_the_corpus() {
    let folder = support::outside("SYNSCOPE_CORPUS", "corpus");
    let rows = table(&folder);
    assert!(rows.len() > 50, "the table has {} rows", rows.len());
    let mut differences = Vec::new();
    for row in rows {
        let summary = analyze(&folder.join(&row.file)).report.summary;
        let found = [summary.packets, summary.tcp_segments, summary.connections];
        let named = COUNTED_OTHERWISE.iter().find(|(file, ..)| *file == row.file);
        let expected = named.map_or([row.packets, row.segments, row.connections], |(_, counts, _)| *counts);
        if found != expected {
            differences.push(format!("{}: expected {expected:?}, found {found:?}", row.file));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Findings of core kinds in the corpus: the file, the kind, how many, and what speaks for it. In all other files there
/// must be none.
const CORE_FINDINGS: [(&str, Kind, usize, &str); 2] = [
    (
        "suricata-modbus.pcap",
        Kind::HalfClose,
        1,
        "the server's FIN is acknowledged, the client never closes in the 18 minutes that follow",
    ),
    (
        "suricata-erspan.pcap",
        Kind::HalfClose,
        2,
        "a NAT seen on both sides: on the server's side of it the client's FIN is acknowledged, and no FIN follows",
    ),
];

/// The findings in a file, by kind.
fn kinds(report: &Report) -> BTreeMap<Kind, usize> {
    let mut kinds = BTreeMap::new();
    for finding in &report.findings {
        *kinds.entry(finding.kind).or_default() += 1;
    }
    kinds
}

#[test]
#[ignore = "needs published captures: SYNSCOPE_CORPUS=FOLDER cargo test corpus -- --ignored"]
fn core_kinds_are_found_where_they_are_and_nowhere_else_in_the_corpus() {
    let folder = support::outside("SYNSCOPE_CORPUS", "corpus");
    let mut surprises = Vec::new();
    for row in table(&folder) {
        let outcome = analyze_with(&[folder.join(&row.file)], &AnalysisOptions::default(), &mut |_| ());
        let report = outcome.expect("every file of the corpus is a capture").report;
        for (kind, n) in kinds(&report).into_iter().filter(|(kind, _)| CORE.contains(kind)) {
            let expected =
                CORE_FINDINGS.iter().any(|(file, k, most, _)| *file == row.file && *k == kind && n <= *most);
            if !expected {
                let claims: Vec<String> = report.findings.iter().map(claim).collect();
                surprises.push(format!("{}: {claims:?}", row.file));
            }
        }
        for finding in &report.findings {
            let sure = CORE.contains(&finding.kind) && finding.certainty == Certainty::Confirmed;
            assert!(!sure, "{}: confirmed {}", row.file, claim(finding));
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

/// What must be said of a file, and what must not be, where its table row knows it.
const KNOWN: [(&str, &[Kind], &[Kind]); 13] = [
    ("suricata-modbus.pcap", &[Kind::HalfClose], &[Kind::FinWait2Expired]),
    ("zeek-var-services-std-ports.pcap", &[Kind::DeferAccept], &[Kind::AcceptQueueOverflow]),
    ("suricata-synack-rtt-over-rto.pcap", &[], &[Kind::AcceptQueueOverflow, Kind::AcceptQueueReset]),
    ("suricata-challenge-ack-and-unanswered.pcap", &[Kind::TimeWaitCollision, Kind::SynUnanswered], &[]),
    ("zeek-syn-then-ack-then-rst.pcap", &[Kind::TimeWaitCollision], &[]),
    ("zeek-pppoe-over-qinq.pcap", &[Kind::FinUnacknowledged], &[Kind::HalfClose]),
    ("suricata-rst-ack-by-server.pcap", &[Kind::AbortiveClose], &[Kind::AcceptQueueReset]),
    ("suricata-tfo-syn-data-ignored.pcap", &[Kind::FastopenFallback], &[Kind::AcceptQueueOverflow]),
    ("zeek-tcp-fast-open.pcap", &[], &Kind::ALL),
    ("suricata-http2-range.pcap", &[], &Kind::ALL),
    ("ndpi-whatsapp.pcap", &[], &Kind::ALL),
    ("ndpi-fix2.pcap", &[], &Kind::ALL),
    ("zeek-one-sided-2745.pcap", &[], &Kind::ALL),
];

#[test]
#[ignore = "needs published captures: SYNSCOPE_CORPUS=FOLDER cargo test corpus -- --ignored"]
fn what_is_known_of_a_capture_is_said_in_the_corpus() {
    let folder = support::outside("SYNSCOPE_CORPUS", "corpus");
    let mut wrong = Vec::new();
    for (file, due, silent) in KNOWN {
        let report = analyze_with(&[folder.join(file)], &AnalysisOptions::default(), &mut |_| ());
        let found = kinds(&report.expect("it can be read").report);
        wrong
            .extend(due.iter().filter(|k| !found.contains_key(k)).map(|k| format!("{file}: {k} is missing")));
        wrong
            .extend(silent.iter().filter(|k| found.contains_key(k)).map(|k| format!("{file}: {k} is wrong")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
