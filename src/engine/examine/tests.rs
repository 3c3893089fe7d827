//! A fault between the facts and the report costs one connection or finding, and the report says so.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::capture::{LinkType, MemorySource};
use crate::engine::{Analysis, AnalysisOptions, analyze_source};
use crate::fault::trap::{self, FaultPlace};
use crate::host::snapshot::SCHEMA;
use crate::host::{HostFacts, Snapshot};
use crate::model::Kind;
use crate::time::Timestamp;

const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const OTHER_SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 3);

/// A SYN to port 80 of `server`, or the RST that answers it, raw IPv4.
fn segment(client: (Ipv4Addr, u16), server: Ipv4Addr, answer: bool) -> Vec<u8> {
    let (from, to) = if answer { (server, client.0) } else { (client.0, server) };
    let (port, other) = if answer { (80, client.1) } else { (client.1, 80) };
    let mut packet = vec![0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(u16::to_be_bytes(port));
    packet.extend(u16::to_be_bytes(other));
    packet.extend(if answer {
        [0, 0, 0, 0, 0, 0, 0, 2, 0x50, 0x14]
    } else {
        [0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2]
    });
    packet.extend([0xff, 0xff, 0, 0, 0, 0]);
    packet
}

/// Three refused connections to [`SERVER`]; and one to `server`, packets 3 and 4, at which the program fails.
fn with_one_fatal(place: FaultPlace, server: Ipv4Addr, options: &AnalysisOptions) -> Analysis {
    let innocent = |port| ((Ipv4Addr::new(192, 0, 2, 1), port), SERVER);
    let all =
        [innocent(1_001), ((trap::ADDRESS, trap::port(place)), server), innocent(1_002), innocent(1_003)];
    let packets =
        all.iter().flat_map(|(client, server)| [false, true].map(|answer| segment(*client, *server, answer)));
    let timed = packets.enumerate().map(|(n, data)| (Timestamp(n as i64 * 1_000_000), LinkType(101), data));
    let source = MemorySource::new(timed);
    analyze_source(Box::new(source), options, &mut |_| {}).expect("threads can be started")
}

fn refused(outcome: &Analysis) -> usize {
    let kinds = outcome.report.findings.iter().map(|finding| finding.kind);
    kinds.filter(|kind| *kind == Kind::ConnectionRefused).count()
}

/// The report is whole but for one finding, whose connection is named.
fn costs_one_finding(place: FaultPlace, server: Ipv4Addr) {
    let reports = [1, 2].map(|threads| {
        let outcome =
            with_one_fatal(place, server, &AnalysisOptions { threads, ..AnalysisOptions::default() });
        assert_eq!(outcome.report.summary.connections, 4, "{place:?}");
        assert_eq!(refused(&outcome), 3, "{place:?}: {:?}", outcome.report.findings);
        let in_incidents: usize = outcome.report.incidents.iter().map(|i| i.findings.len()).sum();
        assert_eq!(in_incidents, outcome.report.findings.len(), "{place:?}");
        let [said] = &outcome.damage[..] else { panic!("{place:?}: {:?}", outcome.damage) };
        let name = format!(
            "the connection {}:{} -> {server}:80 (first packet 3 of memory) made this program fail (at src/",
            trap::ADDRESS,
            trap::port(place)
        );
        assert!(said.starts_with(&name), "{place:?}: {said}");
        assert!(said.ends_with("Please report this with the capture."), "{place:?}: {said}");
        assert!(outcome.report.warnings.contains(said), "{place:?}");
        outcome.report
    });
    assert_eq!(reports[0], reports[1], "the threads decide nothing");
}

#[test]
fn a_detector_that_fails_costs_its_finding() {
    costs_one_finding(FaultPlace::Detector(Kind::ConnectionRefused), SERVER);
}

#[test]
fn a_finding_that_cannot_be_weighed_is_lost_alone() {
    costs_one_finding(FaultPlace::Weighing, SERVER);
}

#[test]
fn a_finding_that_cannot_be_written_down_is_lost_alone() {
    costs_one_finding(FaultPlace::Writing, SERVER);
}

#[test]
fn findings_that_cannot_be_grouped_are_lost_without_those_at_other_servers() {
    costs_one_finding(FaultPlace::Grouping, OTHER_SERVER);
}

#[test]
fn another_detector_that_fails_costs_no_finding_of_this_kind() {
    let outcome = with_one_fatal(FaultPlace::Detector(Kind::HalfClose), SERVER, &AnalysisOptions::default());
    assert_eq!(refused(&outcome), 4);
    assert!(
        outcome.damage[0].contains("a finding (half-close) about it may be missing"),
        "{:?}",
        outcome.damage
    );
}

#[test]
fn a_detector_of_listeners_that_fails_costs_its_finding() {
    let client = (Ipv4Addr::new(192, 0, 2, 1), 1_001);
    let port = trap::port(FaultPlace::Detector(Kind::SynFlood));
    let mut packets = [false, true].map(|answer| segment(client, trap::ADDRESS, answer));
    packets[0][22..24].copy_from_slice(&port.to_be_bytes());
    packets[1][20..22].copy_from_slice(&port.to_be_bytes());
    let packets = packets.into_iter().enumerate().map(|(n, data)| (Timestamp(n as i64), LinkType(101), data));
    let source = Box::new(MemorySource::new(packets));
    let outcome =
        analyze_source(source, &AnalysisOptions::default(), &mut |_| {}).expect("threads can be started");
    assert_eq!(refused(&outcome), 1);
    let name = format!("the listener {}:{port} made this program fail", trap::ADDRESS);
    assert!(outcome.damage[0].starts_with(&name), "{:?}", outcome.damage);
}

#[test]
fn a_step_that_fails_costs_no_finding() {
    let snapshot = Snapshot {
        schema: SCHEMA.to_owned(),
        time: Timestamp(0),
        finished: Timestamp(0),
        kernel: None,
        hostname: None,
        boot_id: None,
        netns: None,
        addresses: [SERVER.into()].into(),
        counters: BTreeMap::new(),
        sysctls: BTreeMap::new(),
        listeners: None,
        time_wait: None,
        states: None,
        holders: std::sync::Arc::default(),
    };
    let host = HostFacts::new(vec![snapshot]).ok();
    assert!(host.is_some());
    for (place, said) in [
        (FaultPlace::Listeners, "while looking at the listeners"),
        (FaultPlace::Failures, "while counting failed connections"),
        (FaultPlace::Settings, "while inferring kernel settings"),
        (FaultPlace::HostFacts, "while comparing the findings with the host's counters"),
    ] {
        let options = AnalysisOptions { host: host.clone(), ..AnalysisOptions::default() };
        let outcome = with_one_fatal(place, SERVER, &options);
        assert_eq!(refused(&outcome), 4, "{place:?}");
        let [damage] = &outcome.damage[..] else { panic!("{place:?}: {:?}", outcome.damage) };
        assert!(damage.contains(said), "{place:?}: {damage}");
        assert!(outcome.report.warnings.contains(damage), "{place:?}");
    }
}
