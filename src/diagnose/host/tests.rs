//! Hand-made findings against hand-made snapshots.

use std::collections::BTreeMap;

use super::*;
use crate::decode::segment::{Address, PacketId};
use crate::flow::facts::{ConnectionFacts, PacketRef};
use crate::flow::key::Host;
use crate::host::Snapshot;
use crate::host::listeners::ListenSocket;
use crate::host::snapshot::SCHEMA;
use crate::model::Certainty;
use crate::time::Timestamp;

const SERVER: [u8; 4] = [192, 0, 2, 7];
const ELSEWHERE: [u8; 4] = [198, 51, 100, 1];

fn at(seconds: i64) -> PacketRef {
    PacketRef { time: Timestamp(seconds * 1_000_000_000), packet: PacketId::new(0, seconds as u64) }
}

/// A finding of `kind` about a connection to port 80 of `server`, seen at the server at 50 s.
fn finding(kind: Kind, server: [u8; 4]) -> FoundDraft {
    let facts = ConnectionFacts {
        client: Host { address: Address::v4([203, 0, 113, 1]), port: 50_000 },
        server: Host { address: Address::v4(server), port: 80 },
        ..ConnectionFacts::default()
    };
    let mut d = Draft::about(&facts, registry::spec(kind), (at(50), "a packet"));
    d.probable("the packets look like it").or("something else", "it is rare");
    (Box::new(d), Vantage::Server)
}

/// A kernel that has every counter of interest at `rises` above 100, with `listeners`.
fn snapshot(seconds: i64, rises: &[(&str, u64)], sysctls: &[(&str, &str)], drops: Option<u32>) -> Snapshot {
    let mut counters: BTreeMap<String, u64> = [
        "ListenOverflows",
        "ListenDrops",
        "TCPReqQFullDrop",
        "EmbryonicRsts",
        "TCPDeferAcceptDrop",
        "TCPAbortOnData",
        "TCPAbortOnClose",
        "SyncookiesSent",
        "TCPTimeouts",
    ]
    .into_iter()
    .map(|name| (format!("TcpExt{name}"), 100))
    .chain([("TcpOutRsts".to_owned(), 100)])
    .collect();
    for (name, rise) in rises {
        *counters.entry((*name).to_owned()).or_insert(100) += rise;
    }
    Snapshot {
        schema: SCHEMA.to_owned(),
        time: at(seconds).time,
        finished: at(seconds).time,
        kernel: Some("6.12.0".to_owned()),
        hostname: Some("web1".to_owned()),
        boot_id: None,
        netns: None,
        addresses: [SERVER.into()].into(),
        counters,
        sysctls: sysctls.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        listeners: drops.map(|drops| {
            vec![ListenSocket {
                address: "0.0.0.0:80".parse().unwrap(),
                inode: 1,
                accept_queue: 9,
                backlog: Some(8),
                drops: Some(drops),
            }]
        }),
        time_wait: None,
        states: None,
        holders: Default::default(),
    }
}

fn facts(rises: &[(&str, u64)]) -> HostFacts {
    HostFacts::new(vec![snapshot(10, &[], &[], None), snapshot(90, rises, &[], None)]).unwrap()
}

fn with_own_drops(rises: &[(&str, u64)], own: u32) -> HostFacts {
    HostFacts::new(vec![snapshot(10, &[], &[], Some(5)), snapshot(90, rises, &[], Some(5 + own))]).unwrap()
}

fn set(name: &str, value: &str, rises: &[(&str, u64)]) -> HostFacts {
    let sysctls = [(name, value)];
    HostFacts::new(vec![snapshot(10, &[], &sysctls, None), snapshot(90, rises, &sysctls, None)]).unwrap()
}

/// What becomes of one finding.
fn told(kind: Kind, facts: &HostFacts) -> (Draft, HostStatements) {
    let mut drafts = vec![finding(kind, SERVER)];
    let told = corroborate(&mut drafts, facts);
    (*drafts.pop().expect("it stays").0, told)
}

#[test]
fn overflows_beside_a_counter_that_rose_are_confirmed() {
    let (d, told) = told(Kind::AcceptQueueOverflow, &facts(&[("TcpExtListenOverflows", 37)]));
    assert_eq!((d.kind, d.certainty()), (Kind::AcceptQueueOverflow, Certainty::Confirmed));
    assert_eq!(d.reason, "ListenOverflows rose by 37 between the snapshots; 1 connection was stuck");
    assert_eq!(d.metrics()["host_ListenOverflows"], 37);
    assert!(d.alternatives.is_empty());
    assert_eq!(told.warnings, Vec::<String>::new());
}

#[test]
fn next_steps_are_those_of_the_kind_that_stands() {
    let steps = |counter| {
        let (d, _) = told(Kind::SynUnanswered, &facts(&[(counter, 7), ("TcpExtListenDrops", 7)]));
        (d.kind, d.next_steps.join("\n"))
    };
    let (kind, next) = steps("TcpExtListenOverflows");
    assert_eq!(kind, Kind::SynDropAcceptQueue);
    assert!(next.contains("Recv-Q is above Send-Q") && !next.contains("nft"), "{next}");
    let (kind, next) = steps("TcpExtTCPReqQFullDrop");
    assert_eq!(kind, Kind::SynDropSynQueue);
    assert!(next.contains("syn-recv") && !next.contains("do the SYNs arrive"), "{next}");
}

#[test]
fn overflows_beside_one_that_did_not_move_are_a_firewall() {
    let (d, _) = told(Kind::AcceptQueueOverflow, &facts(&[]));
    assert_eq!((d.kind, d.certainty()), (Kind::HandshakeLoss, Certainty::Probable));
    assert!(d.cause.text.contains("firewall on the server"), "{}", d.cause.text);
    assert!(d.next_steps[0].contains("nft list ruleset"), "{:?}", d.next_steps);
}

#[test]
fn an_unknown_counter_decides_nothing() {
    let without = |seconds| {
        let mut s = snapshot(seconds, &[], &[], None);
        s.counters.clear();
        s
    };
    let unknown = HostFacts::new(vec![without(10), without(90)]).unwrap();
    let one = HostFacts::new(vec![snapshot(10, &[], &[], None)]).unwrap();
    for facts in [unknown, one] {
        for kind in Kind::ALL {
            let before = finding(kind, SERVER).0;
            let (after, told) = told(kind, &facts);
            if kind != Kind::SynDropTimestamp {
                assert_eq!(after, *before, "{kind}");
            }
            assert_eq!(told.warnings, Vec::<String>::new(), "{kind}");
        }
    }
}

#[test]
fn other_hosts_and_other_times_are_left_alone() {
    let facts = facts(&[]);
    let mut elsewhere = vec![finding(Kind::AcceptQueueOverflow, ELSEWHERE)];
    let told = corroborate(&mut elsewhere, &facts);
    assert_eq!(elsewhere, [finding(Kind::AcceptQueueOverflow, ELSEWHERE)]);
    assert!(told.warnings[0].contains("web1"), "{:?}", told.warnings);

    let mut late = finding(Kind::AcceptQueueOverflow, SERVER);
    late.0.shows(at(91), "a packet after the second snapshot");
    let mut drafts = vec![late.clone()];
    let told = corroborate(&mut drafts, &facts);
    assert_eq!(drafts, [late]);
    assert!(told.warnings[0].starts_with("1 finding is not between the snapshots"), "{:?}", told.warnings);
}

#[test]
fn the_listeners_own_drops_say_whose_overflows_they_were() {
    let rises = [("TcpExtListenOverflows", 37), ("TcpExtListenDrops", 37)];
    let (d, _) = told(Kind::AcceptQueueOverflow, &with_own_drops(&rises, 74));
    assert_eq!(d.certainty(), Certainty::Confirmed);
    assert!(d.reason.contains("own socket by 74"), "{}", d.reason);
    let (d, _) = told(Kind::AcceptQueueOverflow, &with_own_drops(&rises, 0));
    assert_eq!(d.kind, Kind::HandshakeLoss, "another listener overflowed");
    let (d, _) = told(Kind::SynDropAcceptQueue, &with_own_drops(&rises, 0));
    assert_eq!((d.kind, d.certainty()), (Kind::SynUnanswered, Certainty::Probable));
}

#[test]
fn fewer_overflows_than_findings_confirm_none() {
    let mut drafts = vec![finding(Kind::AcceptQueueOverflow, SERVER); 5];
    corroborate(&mut drafts, &facts(&[("TcpExtListenOverflows", 3)]));
    for (d, _) in drafts {
        assert_eq!((d.kind, d.certainty()), (Kind::AcceptQueueOverflow, Certainty::Probable));
        assert!(d.reason.contains("at least 5 refused segments"), "{}", d.reason);
    }
}

#[test]
fn what_tcp_itself_has_read_was_not_dropped_by_a_firewall() {
    let mut drafts = vec![finding(Kind::AcceptQueueOverflow, SERVER)];
    drafts[0].0.confirmed("a repeated SYN-ACK echoes it");
    corroborate(&mut drafts, &facts(&[]));
    assert_eq!((drafts[0].0.kind, drafts[0].0.certainty()), (Kind::AcceptQueueOverflow, Certainty::Probable));
}

#[test]
fn a_listener_that_waits_for_data_did_not_overflow() {
    let (d, _) = told(Kind::AcceptQueueOverflow, &facts(&[("TcpExtTCPDeferAcceptDrop", 1)]));
    assert_eq!(d.kind, Kind::DeferAccept);
    let (d, _) = told(Kind::DeferAccept, &facts(&[("TcpExtTCPDeferAcceptDrop", 1)]));
    assert_eq!((d.kind, d.certainty()), (Kind::DeferAccept, Certainty::Confirmed));
    let (d, _) = told(Kind::DeferAccept, &facts(&[("TcpExtListenOverflows", 1)]));
    assert_eq!((d.kind, d.certainty()), (Kind::AcceptQueueOverflow, Certainty::Probable));
}

#[test]
fn resets_need_the_setting_and_the_counters() {
    const ABORT: &str = "net.ipv4.tcp_abort_on_overflow";
    let rises = [("TcpExtListenOverflows", 1), ("TcpExtEmbryonicRsts", 1), ("TcpOutRsts", 1)];
    let (d, _) = told(Kind::AcceptQueueReset, &set(ABORT, "1", &rises));
    assert_eq!((d.kind, d.certainty()), (Kind::AcceptQueueReset, Certainty::Confirmed));
    let (d, _) = told(Kind::AcceptQueueReset, &set(ABORT, "0", &rises));
    assert_eq!((d.kind, d.certainty()), (Kind::ConnectionRefused, Certainty::Possible));
    let (d, _) = told(Kind::AcceptQueueReset, &facts(&[]));
    assert_eq!((d.kind, d.certainty()), (Kind::ConnectionRefused, Certainty::Confirmed), "no RST was sent");
    assert!(d.cause.text.contains("firewall"), "{}", d.cause.text);
}

#[test]
fn syns_get_the_queue_that_moved() {
    let queue = [("TcpExtListenOverflows", 4), ("TcpExtListenDrops", 4)];
    let table = [("TcpExtTCPReqQFullDrop", 4), ("TcpExtListenDrops", 4)];
    let both = [("TcpExtListenOverflows", 4), ("TcpExtTCPReqQFullDrop", 4), ("TcpExtListenDrops", 8)];
    for (was, rises, kind, certainty) in [
        (Kind::SynDropAcceptQueue, &queue[..], Kind::SynDropAcceptQueue, Certainty::Confirmed),
        (Kind::SynUnanswered, &queue[..], Kind::SynDropAcceptQueue, Certainty::Probable),
        (Kind::SynDropSynQueue, &queue[..], Kind::SynDropAcceptQueue, Certainty::Probable),
        (Kind::SynDropSynQueue, &table[..], Kind::SynDropSynQueue, Certainty::Confirmed),
        (Kind::SynDropAcceptQueue, &table[..], Kind::SynDropSynQueue, Certainty::Probable),
        (Kind::SynDropAcceptQueue, &both[..], Kind::SynDropAcceptQueue, Certainty::Probable),
        (Kind::SynDropAcceptQueue, &[][..], Kind::SynUnanswered, Certainty::Probable),
        (Kind::SynUnanswered, &[][..], Kind::SynUnanswered, Certainty::Probable),
        (Kind::SynDropAcceptQueue, &[("TcpExtListenDrops", 4)][..], Kind::SynUnanswered, Certainty::Probable),
    ] {
        let (d, _) = told(was, &facts(rises));
        assert_eq!((d.kind, d.certainty()), (kind, certainty), "{was} {rises:?}: {}", d.reason);
    }
}

#[test]
fn an_old_kernel_does_not_count_the_syns_that_it_drops() {
    let old = |seconds| {
        let mut s = snapshot(seconds, &[], &[], None);
        s.counters.remove("TcpExtTCPReqQFullDrop");
        s
    };
    let facts = HostFacts::new(vec![old(10), old(90)]).unwrap();
    let (d, _) = told(Kind::SynDropAcceptQueue, &facts);
    assert_eq!((d.kind, d.certainty()), (Kind::SynDropAcceptQueue, Certainty::Probable));
}

#[test]
fn cookies_that_el7_counts_as_drops_are_none() {
    let el7 = |seconds, rises: &[(&str, u64)]| {
        let mut s = snapshot(seconds, rises, &[], None);
        s.kernel = Some("3.10.0-327.el7.x86_64".to_owned());
        s
    };
    let rises = [("TcpExtListenDrops", 30), ("TcpExtSyncookiesSent", 30)];
    let facts = HostFacts::new(vec![el7(10, &[]), el7(90, &rises)]).unwrap();
    let (d, _) = told(Kind::SynUnanswered, &facts);
    assert!(
        d.reason.starts_with("ListenOverflows, ListenDrops and TCPReqQFullDrop did not grow"),
        "{}",
        d.reason
    );
}

#[test]
fn a_kernel_without_recycling_did_not_recycle() {
    let (d, _) = told(Kind::SynDropTimestamp, &facts(&[]));
    assert_eq!(d.certainty(), Certainty::Probable, "no settings could be read: unknown");
    let new = set("net.core.somaxconn", "4096", &[]);
    let (d, _) = told(Kind::SynDropTimestamp, &new);
    assert_eq!((d.kind, d.certainty()), (Kind::SynDropTimestamp, Certainty::Possible));
    assert!(d.reason.contains("(6.12.0) has no tcp_tw_recycle"), "{}", d.reason);
    let old = |seconds, rise| snapshot(seconds, &[("TcpExtPAWSPassive", rise)], &[], None);
    let (d, _) = told(Kind::SynDropTimestamp, &HostFacts::new(vec![old(10, 0), old(90, 7)]).unwrap());
    assert_eq!(d.certainty(), Certainty::Confirmed);
    let (d, _) = told(Kind::SynDropTimestamp, &HostFacts::new(vec![old(10, 0), old(90, 0)]).unwrap());
    assert_eq!(d.certainty(), Certainty::Possible);
}

#[test]
fn applications_that_abort_are_told_apart() {
    let (d, _) = told(Kind::AbortiveClose, &facts(&[("TcpExtTCPAbortOnClose", 1)]));
    assert!(d.cause.text.contains("unread"), "{}", d.cause.text);
    assert_eq!(d.certainty(), Certainty::Confirmed);
    let (d, _) = told(Kind::AbortiveClose, &facts(&[("TcpExtTCPAbortOnData", 1)]));
    assert!(d.cause.text.contains("SO_LINGER"), "{}", d.cause.text);
    let mixed = [("TcpExtTCPAbortOnData", 1), ("TcpExtTCPAbortOnClose", 1)];
    assert_eq!(told(Kind::AbortiveClose, &facts(&mixed)).0.certainty(), Certainty::Probable);
    assert_eq!(told(Kind::AbortiveClose, &facts(&[])).0.certainty(), Certainty::Possible);
    let mut by_client = vec![finding(Kind::AbortiveClose, SERVER)];
    by_client[0].0.details = Details::Reset { by: Role::Client };
    corroborate(&mut by_client, &facts(&[("TcpExtTCPAbortOnClose", 1)]));
    assert_eq!(by_client[0].0.certainty(), Certainty::Probable, "the client is another host");
}

#[test]
fn cookies_that_were_not_sent_are_withdrawn() {
    let mut drafts = vec![finding(Kind::Syncookies, SERVER), finding(Kind::HalfClose, SERVER)];
    let told = corroborate(&mut drafts, &facts(&[]));
    assert_eq!(drafts.len(), 1);
    assert_eq!(drafts[0].0.kind, Kind::HalfClose);
    assert!(told.warnings[0].starts_with("syncookies at 192.0.2.7:80 was withdrawn"), "{:?}", told.warnings);
    let (d, _) = super::tests::told(Kind::Syncookies, &facts(&[("TcpExtSyncookiesSent", 9)]));
    assert_eq!(d.certainty(), Certainty::Confirmed);
}

#[test]
fn a_counter_that_moved_without_a_finding_is_said() {
    let told = corroborate(&mut Vec::new(), &facts(&[("TcpExtListenOverflows", 12)]));
    assert_eq!(told.warnings.len(), 1);
    assert!(
        told.warnings[0].starts_with("ListenOverflows rose by 12 between the snapshots, but no connection"),
        "{:?}",
        told.warnings
    );
}

#[test]
fn settings_and_queues_become_facts_of_the_report() {
    let settings = [("net.core.somaxconn", "128"), ("net.ipv4.tcp_rfc1337", "0")];
    let later = [("net.core.somaxconn", "4096"), ("net.ipv4.tcp_rfc1337", "0")];
    let facts =
        HostFacts::new(vec![snapshot(10, &[], &settings, None), snapshot(90, &[], &later, Some(0))]).unwrap();
    let told = corroborate(&mut vec![finding(Kind::AcceptQueueOverflow, SERVER)], &facts);
    let shown: Vec<_> =
        told.inferred.iter().map(|i| format!("{} {} {}", i.host, i.setting, i.value)).collect();
    assert_eq!(
        shown,
        [
            "0.0.0.0:80 accept queue (Recv-Q) 9",
            "0.0.0.0:80 listen backlog (Send-Q) 8",
            "0.0.0.0:80 drops of the socket 0",
            "web1 net.core.somaxconn 4096"
        ]
    );
    let from = &told.inferred[3].from;
    assert_eq!(from, "snapshot of 1970-01-01T00:01:30.000000000Z; it was 128 before");
}

/// Accept queue full at one listener, SYN queue at another: the counters of the host are sums, and the drops of the own
/// socket with its queue tell the share.
#[test]
fn of_two_causes_the_own_socket_tells_which() {
    let rises: &[(&str, u64)] =
        &[("TcpExtListenOverflows", 42), ("TcpExtListenDrops", 60), ("TcpExtTCPReqQFullDrop", 18)];
    for (queue, kind) in [(9, Kind::SynDropAcceptQueue), (3, Kind::SynDropSynQueue)] {
        let drops = if queue == 9 { 42 } else { 18 };
        let with_queue = |mut s: Snapshot| {
            s.listeners.iter_mut().flatten().for_each(|socket| socket.accept_queue = queue);
            s
        };
        let facts = HostFacts::new(vec![
            with_queue(snapshot(10, &[], &[], Some(0))),
            with_queue(snapshot(90, rises, &[], Some(drops))),
        ])
        .unwrap();
        let mut found = vec![finding(Kind::SynUnanswered, SERVER)];
        corroborate(&mut found, &facts);
        assert_eq!(found[0].0.kind, kind);
        assert_eq!(found[0].0.certainty(), Certainty::Confirmed, "{:#?}", found[0].0);
        assert!(
            !found[0].0.next_steps.iter().any(|step| step.contains("nft")),
            "{:#?}",
            found[0].0.next_steps
        );
    }
}

/// Nobody listens on the port in this namespace: its counters prove nothing, and no firewall on the server is blamed.
#[test]
fn a_port_without_a_listener_is_served_elsewhere() {
    let nobody = |mut s: Snapshot| {
        s.listeners = Some(Vec::new());
        s
    };
    let facts =
        HostFacts::new(vec![nobody(snapshot(10, &[], &[], None)), nobody(snapshot(90, &[], &[], None))])
            .unwrap();
    for kind in [Kind::SynUnanswered, Kind::AcceptQueueOverflow] {
        let mut found = vec![finding(kind, SERVER)];
        corroborate(&mut found, &facts);
        let d = &found[0].0;
        assert_eq!(d.kind, kind);
        assert_ne!(d.certainty(), Certainty::Confirmed, "{d:#?}");
        assert!(!d.cause.text.contains("firewall on the server"), "{d:#?}");
        assert!(d.reason.contains("prove nothing"), "{d:#?}");
        assert!(d.next_steps[0].starts_with("conntrack -L"), "{d:#?}");
    }
}
