//! States made by hand, for the tests of what shows them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::phase::Phase;
use super::state::{InterfaceState, ListenerState, QueueSample, WatchSecond, WatchState, WatchedIncident};
use crate::host::listeners::SocketStates;
use crate::model::{Certainty, Finding, Report};
use crate::report::samples;
use crate::time::{Span, Timestamp};

/// 2026-11-22T14:03:52Z: 45 s after the first packet of the reports' samples.
const NOW: Timestamp = Timestamp(1_795_356_232_000_000_000);

/// All samples with their names.
pub(crate) fn all() -> Vec<(&'static str, WatchState)> {
    vec![
        ("quiet", quiet()),
        ("overflow", overflow()),
        ("mixture", mixture()),
        ("lost", lost_interface()),
        ("beginning", WatchState { host: "edge-03".to_owned(), ..WatchState::default() }),
    ]
}

fn listener(
    address: &str,
    queue: u32,
    limit: u32,
    longest: u32,
    drops: u64,
    rate: (u64, u64),
) -> ListenerState {
    ListenerState {
        address: address.parse().expect("a socket address written above"),
        queue: Some(queue),
        limit: Some(limit),
        longest: Some(longest),
        drops: Some(drops),
        attempts: rate.0,
        completed: rate.1,
        inode: address.rsplit(':').next().and_then(|port| port.parse().ok()),
        ..ListenerState::at("0.0.0.0:0".parse().expect("a socket address"))
    }
}

/// Some thousand connections, and nothing wrong with them.
pub(crate) fn quiet() -> WatchState {
    let seconds = (0..300i64)
        .map(|n| {
            let tried = 110 + (n * n * 7 + n * 13) as u64 % 40;
            WatchSecond {
                at: NOW + Span::secs(n - 300),
                packets: tried * 11,
                segments: tried * 10,
                attempts: tried,
                completed: tried,
                ..WatchSecond::default()
            }
        })
        .collect();
    WatchState {
        at: NOW,
        began: NOW + Span::secs(-727),
        host: "edge-03".to_owned(),
        interfaces: vec![InterfaceState {
            name: "eth0".to_owned(),
            up: true,
            packets: 912_400,
            ..InterfaceState::default()
        }],
        seconds,
        connections: 86_400,
        tracked: 1_337,
        memory: (12 << 20, 256 << 20),
        listeners: vec![
            listener("0.0.0.0:22", 0, 128, 0, 0, (0, 0)),
            listener("10.0.0.5:8080", 3, 128, 17, 0, (118, 118)),
            listener("[::]:443", 0, 4_096, 211, 0, (9, 9)),
        ],
        incidents: Vec::new(),
        counters: BTreeMap::from([
            ("TcpExtListenOverflows".to_owned(), 0),
            ("TcpExtListenDrops".to_owned(), 0),
            ("TcpRetransSegs".to_owned(), 12),
        ]),
        lag: Span::millis(2),
        warnings: Vec::new(),
        total: WatchSecond {
            at: NOW + Span::secs(-727),
            attempts: 86_400,
            completed: 86_390,
            ..WatchSecond::default()
        },
    }
}

/// The incidents of `report`, as they are watched.
fn watched(report: &Report) -> Vec<WatchedIncident> {
    let incidents = report.incidents.iter().enumerate();
    incidents
        .map(|(n, incident)| {
            let of = |finding: &&Finding| incident.findings.contains(&finding.id);
            WatchedIncident {
                incident: incident.clone(),
                open: n % 3 != 2,
                phase: if n % 3 == 2 { Phase::Over } else { Phase::Growing },
                examples: report.findings.iter().filter(of).take(3).cloned().collect(),
                corroboration: None,
            }
        })
        .collect()
}

/// One listener's queue is full, and the kernel agrees.
pub(crate) fn overflow() -> WatchState {
    let mut state = quiet();
    for (n, second) in state.seconds.iter_mut().rev().take(45).enumerate() {
        second.completed -= (45 - n as u64) * 2;
        second.findings = u64::from(n % 5 == 0);
    }
    let history = (0..120i64).map(|n| QueueSample {
        at: NOW + Span::secs(n - 120),
        requests: None,
        length: if n < 70 { 17 } else { (17 + (n as u32 - 70) * 20).min(129) },
        dropped: if n < 76 { 0 } else { 8 + (n as u64 * 7) % 5 },
    });
    state.listeners[1] = ListenerState {
        open: 1,
        refused: 9,
        refused_since: Some(NOW + Span::secs(-44)),
        history: history.collect(),
        holder: Some("api, pid 812, api.service".to_owned()),
        accepted: Some(32),
        refused_share: Some(21),
        states: Some(SocketStates { close_wait: 3, syn_recv: 41, time_wait: Some(14_106) }),
        ..listener("10.0.0.5:8080", 129, 128, 129, 374, (121, 32))
    };
    let mut report = samples::overflow();
    for finding in &mut report.findings {
        finding.certainty = Certainty::Confirmed;
    }
    report.incidents[0].certainty = Certainty::Confirmed;
    state.incidents = watched(&report);
    state.incidents[0].corroboration = Some(
        "TcpExtListenOverflows rose by 374 in that time; the queue of 10.0.0.5:8080 held 129 of 128"
            .to_owned(),
    );
    state.counters.insert("TcpExtListenOverflows".to_owned(), 374);
    state.counters.insert("TcpExtListenDrops".to_owned(), 374);
    state
}

/// Many incidents of all severities at many listeners, drops, warnings, and names that strangers chose.
pub(crate) fn mixture() -> WatchState {
    let mut state = overflow();
    let mut reports = [samples::mixture(), samples::hostile()];
    for (n, report) in reports.iter_mut().enumerate() {
        report.incidents.iter_mut().for_each(|incident| incident.id.push_str(&format!("-{n}")));
        state.incidents.extend(watched(report));
    }
    let more: Vec<WatchedIncident> = (0..20)
        .map(|n| {
            let mut copy = state.incidents[n % state.incidents.len()].clone();
            copy.incident.id = format!("{}-again-{n}", copy.incident.id);
            copy.incident.listener = Some(format!("10.0.{n}.9:{}", 9_000 + n).parse().expect("address:port"));
            copy.examples.iter_mut().for_each(|finding| finding.server = copy.incident.listener);
            (copy.open, copy.phase) = (false, Phase::Over);
            copy
        })
        .collect();
    state.incidents.extend(more);
    state.incidents.sort_by_key(|watched| !watched.open);
    for n in 0..30u16 {
        let address = SocketAddr::from(([10, 1, 2, n as u8], 3_000 + n));
        let load = u32::from(n * 5);
        state.listeners.push(listener(&address.to_string(), load, 128, load + 3, 0, (u64::from(n), 1)));
    }
    state.listeners.push(ListenerState {
        queue: None,
        limit: None,
        longest: None,
        drops: None,
        ..listener("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535", 0, 0, 0, 0, (1_204, 3))
    });
    state.listeners.sort_by_key(|listener| listener.address);
    state.interfaces.push(InterfaceState {
        name: "evil\u{1b}[2J\u{202e}".to_owned(),
        up: true,
        packets: 5,
        dropped_by_kernel: 1_204,
        dropped_by_interface: 3,
    });
    state.seconds.iter_mut().rev().skip(20).take(3).for_each(|second| second.dropped = 400);
    state.warnings = vec![
        "1,204 packets were dropped by the capture buffer of evil\u{1b}[2J: what looks lost may only be missing here"
            .to_owned(),
        "the memory budget is full: 12 connections were given up".to_owned(),
    ];
    state
}

/// An interface that went away.
pub(crate) fn lost_interface() -> WatchState {
    let mut state = quiet();
    state.interfaces[0].up = false;
    state
        .seconds
        .iter_mut()
        .rev()
        .take(30)
        .for_each(|second| *second = WatchSecond { at: second.at, ..WatchSecond::default() });
    state.listeners.iter_mut().for_each(|listener| (listener.attempts, listener.completed) = (0, 0));
    state.warnings = vec!["eth0 went down at 14:03:22 UTC: nothing is seen until it is back".to_owned()];
    state
}
