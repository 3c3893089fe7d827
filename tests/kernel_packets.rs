//! The running kernel's verdicts on packets of a raw socket, on harmless drops, and on full queues with IPv6. They are
//! compared with known events, as in `kernel_verdicts.rs`.
//!
//! Needs root, `ip`, `nft` and a kernel that describes itself (BTF); ignored without them.

#![cfg(all(target_os = "linux", feature = "live"))]

#[path = "support/netns.rs"]
mod netns;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/scenes.rs"]
mod scenes;

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use netns::{Net, SERVER, add_rule, inside, ip};
use raw::{ACK, Connection, FIN, PSH, RAW_CLIENT, RST, Raw, RawClient, SYN, pause};
use rustix::fd::AsRawFd;
use scenes::{
    BACKLOG, Live, NOT_REPEATED, OVERFLOW, each_at_the_listener, each_judged, kernel_has, of_kind, play,
    recorded, set, was_full,
};
use serde_json::Value;
use synscope::kernel::trust::{Meaning, meaning};
use synscope::kernel::verdict::{Judgement, UNSPECIFIED};

#[test]
#[ignore = "a part that other tests let a copy of this program play"]
fn part() {
    let role = std::env::var("SYNSCOPE_TEST_ROLE").unwrap_or_default();
    match role.split(' ').collect::<Vec<_>>()[..] {
        ["raw", scene] => {
            let server = format!("{SERVER}:8080").parse().expect("an address");
            raw_scene(scene, &RawClient::to(server));
            // The last packet is taken in.
            pause();
            println!("ready");
        }
        ["defer", address] => defer(address),
        ["copies", address] => copies(address),
        _ => netns::part(),
    }
}

/// Waits for data before it accepts a connection (`TCP_DEFER_ACCEPT`), three seconds at most.
fn defer(address: &str) {
    let listener = TcpListener::bind(address).expect("a free port");
    let seconds: libc::c_int = 3;
    // SAFETY: the descriptor is open, and the value has the size that is given.
    #[allow(unsafe_code, reason = "no crate in the tree sets it")]
    let done = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of_val(&seconds) as libc::socklen_t,
        )
    };
    assert_eq!(done, 0);
    println!("ready");
    let _held: Vec<_> = listener.incoming().collect();
}

/// Accepts connections, and has a raw socket that takes a copy of each segment and has no room for it.
fn copies(address: &str) {
    use rustix::net::{AddressFamily, SocketType, ipproto, socket, sockopt};
    let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::TCP)).expect("root");
    sockopt::set_socket_recv_buffer_size(&raw, 0).expect("a socket");
    let listener = TcpListener::bind(address).expect("a free port");
    println!("ready");
    let _held: Vec<_> = listener.incoming().collect();
}

/// What the raw client sends. The numbers are IP IDs, by which the tests know the packets.
fn raw_scene(scene: &str, client: &RawClient) {
    let data = |connection: Connection, id: u16, timestamp: u32| Raw {
        data: b"hello",
        ..connection.segment(id, PSH | ACK, timestamp)
    };
    let closed_by_server = |id: u16, port: u16, with_timestamps: bool| {
        let open = client.connect(id, port, with_timestamps);
        client.hear(port, FIN);
        Connection { ack: open.ack + 1, ..open }
    };
    match scene {
        "established" => {
            let open = client.connect(1, 20_001, true);
            let all = [
                data(open, 10, 1),
                Raw { seq: open.seq + 10_000_000, ..data(open, 11, 1_002) },
                Raw { flags: SYN, ..open.segment(12, SYN, 1_003) },
                Raw { seq: open.seq + 10, ..open.segment(13, RST, 1_004) },
                data(open, 14, 1_005),
            ];
            for raw in all {
                pause();
                client.send(open.port, raw);
            }
        }
        "half-open" => {
            let half = client.half_open(20, 20_002, true);
            let syn =
                Raw { id: 21, flags: SYN, seq: half.seq - 1, timestamps: Some((1_000, 0)), ..Raw::default() };
            for raw in [syn, half.segment(22, ACK, 1), half.segment(23, ACK, 1_002)] {
                pause();
                client.send(half.port, raw);
            }
        }
        "cookie" => {
            let half = client.half_open(30, 20_003, false);
            pause();
            client.send(half.port, Raw { ack: half.ack + 12_345, ..half.segment(31, ACK, 0) });
        }
        "fin-wait-2" | "expired" => {
            let (id, port) = if scene == "expired" { (50, 20_005) } else { (40, 20_004) };
            let half_closed = closed_by_server(id, port, true);
            client.send(port, half_closed.segment(id + 2, ACK, 1_002));
            thread::sleep(Duration::from_millis(if scene == "expired" { 2_500 } else { 100 }));
            client.send(port, data(half_closed, id + 3, 1_003));
        }
        "time-wait" => {
            let closed = closed_by_server(60, 20_006, false);
            client.send(closed.port, closed.segment(62, FIN | ACK, 0));
            for (id, seq) in [(63, closed.seq - 1_000), (64, closed.seq + 1_000_000)] {
                pause();
                client.send(closed.port, Raw { id, flags: SYN, seq, ..Raw::default() });
            }
        }
        "many" => {
            for n in 0..12 {
                pause();
                let syn = Raw { id: 70 + n, flags: SYN, seq: 7_000, ..Raw::default() };
                client.send(20_100 + n, syn);
            }
        }
        "defer" => {
            let half = client.half_open(90, 20_007, false);
            for raw in [half.segment(91, ACK, 0), data(half, 92, 0)] {
                pause();
                client.send(half.port, raw);
            }
        }
        _ => panic!("no such scene: {scene}"),
    }
}

/// Lets the raw client send what belongs to a scene.
fn send_raw(net: &mut Net, scene: &str) {
    let (server, client) = (net.server.clone(), net.client.clone());
    let mac = net.mac(&client, "veth1");
    ip(&["-n", &server, "neigh", "replace", &RAW_CLIENT.to_string(), "lladdr", &mac, "dev", "veth0"]);
    net.play(&client, &format!("raw {scene}"), "ready");
}

/// What the kernel said of the packets of the raw client, by IP ID.
fn by_id(net: &Net) -> BTreeMap<u16, Judgement> {
    let sent = |source: IpAddr| source == IpAddr::from(RAW_CLIENT);
    let of_client = recorded(net).into_iter().filter(|(segment, _)| sent(segment.source().ip()));
    of_client.map(|(segment, judgement)| (segment.ip_id, judgement.unwrap_or_default())).collect()
}

/// Why the kernel dropped a packet; `None` where it did not.
fn dropped(judgement: &Judgement) -> Option<&str> {
    judgement.dropped.as_ref().map(|place| place.reason.as_deref().unwrap_or("-"))
}

/// The reason, where the kernel has had that name since `version`.
fn since(version: (u32, u32), reason: &'static str) -> &'static str {
    if kernel_has(version) { reason } else { UNSPECIFIED }
}

/// Asserts why packets were dropped, by IP ID, and that no others were.
fn assert_dropped(all: &BTreeMap<u16, Judgement>, expected: &[(u16, &str)]) {
    for (id, judgement) in all {
        let of = expected.iter().find(|(expected, _)| expected == id).map(|(_, reason)| *reason);
        assert_eq!(dropped(judgement), of, "IP ID {id}: {judgement:?}");
    }
    assert!(expected.iter().all(|(id, _)| all.contains_key(id)), "{all:?}");
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn segments_that_an_established_connection_refuses() {
    play("established", |net| {
        net.play(&net.server.clone(), &format!("accept {SERVER}:8080"), "ready");
        let live = Live::watch(net, &[]);
        send_raw(net, "established");
        live.end(net);
        let all = by_id(net);
        let expected = [
            (10, "TCP_RFC7323_PAWS"),
            (11, "TCP_INVALID_SEQUENCE"),
            (12, "TCP_INVALID_SYN"),
            (13, "TCP_RESET"),
        ];
        assert_dropped(&all, &expected);
        assert_eq!(meaning(&all[&10]), Some(Meaning::OldTimestamp));
        assert_eq!(meaning(&all[&11]), Some(Meaning::OutOfWindow));
        true
    });
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn segments_that_a_half_open_connection_refuses() {
    play("half-open-raw", |net| {
        net.play(&net.server.clone(), &format!("accept {SERVER}:8080"), "ready");
        let live = Live::watch(net, &[]);
        send_raw(net, "half-open");
        let report = live.end(net);
        let all = by_id(net);
        // A SYN that is repeated is dropped, and that is no harm.
        assert_dropped(&all, &[(21, UNSPECIFIED), (22, since((6, 15), "TCP_RFC7323_PAWS"))]);
        assert_eq!(meaning(&all[&21]), None);
        assert_eq!(of_kind(&report, "accept-queue-overflow"), [&Value::Null; 0], "{report:#}");
        true
    });
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn a_cookie_that_is_not_valid_is_no_overflow() {
    play("bad-cookie", |net| {
        set(&net.server, "net.ipv4.tcp_syncookies", "2");
        net.play(&net.server.clone(), &format!("accept {SERVER}:8080"), "ready");
        let live = Live::watch(net, &[]);
        send_raw(net, "cookie");
        let report = live.end(net);
        let all = by_id(net);
        // The listener answers it, as any ACK that belongs to no connection.
        assert!(all[&31].reset.is_some(), "{all:?}");
        assert_eq!((dropped(&all[&30]), meaning(&all[&31])), (None, None), "{all:?}");
        assert_eq!(of_kind(&report, "accept-queue-overflow"), [&Value::Null; 0], "{report:#}");
        true
    });
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn data_after_the_server_has_closed() {
    play("data-after-close", |net| {
        let server = net.server.clone();
        net.play(&server, &format!("greet {SERVER}:8080"), "ready");
        let live = Live::watch(net, &[]);
        send_raw(net, "fin-wait-2");
        set(&server, "net.ipv4.tcp_fin_timeout", "1");
        send_raw(net, "expired");
        live.end(net);
        let all = by_id(net);
        let reset = |id: u16| all[&id].reset.as_ref().map(|place| place.reason.as_deref());
        if kernel_has((6, 12)) {
            assert_eq!(reset(43), Some(Some("TCP_TIMEWAIT_SOCKET")), "{all:?}");
            assert_eq!(meaning(&all[&43]), Some(Meaning::TimeWait));
            // The listener answers: no reason that tells anything.
            assert_eq!(reset(53), Some(Some("TCP_FLAGS")), "{all:?}");
        } else {
            assert_eq!((reset(43), reset(53)), (None, Some(None)), "{all:?}");
        }
        assert_eq!(meaning(&all[&53]), None);
        let answered = |id: &u16| all[id].reset.is_some();
        assert!(![40, 41, 42, 50, 51, 52].iter().any(answered), "{all:?}");
        true
    });
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn an_old_syn_in_time_wait() {
    play("old-syn", |net| {
        net.play(&net.server.clone(), &format!("greet {SERVER}:8080"), "ready");
        let live = Live::watch(net, &[]);
        send_raw(net, "time-wait");
        live.end(net);
        let all = by_id(net);
        // The later one begins a new connection.
        assert_eq!((dropped(&all[&63]), dropped(&all[&64])), (Some(UNSPECIFIED), None), "{all:?}");
        assert_eq!((meaning(&all[&63]), meaning(&all[&64])), (None, None));
        true
    });
}

/// The last quarter of `tcp_max_syn_backlog` is for peers that the kernel knows. No event and no queue tells of it.
#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn syns_in_the_last_quarter_of_the_limit() {
    play("last-quarter", |net| {
        let server = net.server.clone();
        set(&server, "net.ipv4.tcp_syncookies", "0");
        set(&server, "net.ipv4.tcp_max_syn_backlog", "8");
        net.play(&server, &format!("accept {SERVER}:8080"), "ready");
        let live = Live::watch(net, &[]);
        send_raw(net, "many");
        let report = live.end(net);
        let all = by_id(net);
        assert_eq!(all.len(), 12, "{all:?}");
        assert!(all.values().all(|judgement| meaning(judgement).is_none()), "{all:?}");
        let answered = recorded(net).iter().filter(|(segment, _)| segment.src_port == 8_080).count();
        assert!((6..12).contains(&answered), "{answered} SYN-ACKs");
        let findings = report["findings"].as_array().expect("findings");
        assert!(findings.iter().all(|finding| finding["judged_by_kernel"].is_null()), "{report:#}");
        true
    });
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn a_bare_final_ack_that_waits_for_data_is_no_overflow() {
    play("defer", |net| {
        let (server, client) = (net.server.clone(), net.client.clone());
        net.play(&server, &format!("defer {SERVER}:8080"), "ready");
        let live = Live::watch(net, &[]);
        send_raw(net, "defer");
        // These stay silent. The SYN-ACK is repeated to them.
        net.play(&client, &format!("try {SERVER}:8080 3"), "ready");
        thread::sleep(Duration::from_millis(2_500));
        let report = live.end(net);
        let all = by_id(net);
        assert_dropped(&all, &[(91, UNSPECIFIED)]);
        assert_eq!(meaning(&all[&91]), None);
        let of_silent = recorded(net).into_iter().filter(|(segment, judgement)| {
            segment.dst_port == 8_080 && judgement.as_ref().is_some_and(|j| j.dropped.is_some())
        });
        assert!(of_silent.count() >= 4, "the bare ACKs of the silent ones were dropped, too");
        for kind in ["accept-queue-overflow", "accept-queue-reset", "syn-drop-accept-queue"] {
            assert_eq!(of_kind(&report, kind), [&Value::Null; 0], "{report:#}");
        }
        for finding in of_kind(&report, "defer-accept") {
            assert!(finding["judged_by_kernel"].is_null(), "{finding:#}");
        }
        true
    });
}

/// A copy for somebody who listens in is dropped, and the segment itself is not.
#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn copies_for_a_raw_socket_without_room() {
    play("copies", |net| {
        let (server, client) = (net.server.clone(), net.client.clone());
        net.play(&server, &format!("copies {SERVER}:8080"), "ready");
        let live = Live::watch(net, &[]);
        for _ in 0..5 {
            net.play(&client, &format!("connect {SERVER}:8080 3"), "ready");
        }
        live.end(net);
        let raw = inside(&server, "cat", &["/proc/net/raw"]);
        let drops = raw.lines().filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok());
        assert!(drops.sum::<u64>() > 0, "it had room: {raw}");
        for (segment, judgement) in recorded(net) {
            assert_eq!(judgement.and_then(|judgement| judgement.dropped), None, "{segment:?}");
        }
        true
    });
}

const SERVER_V6: &str = "2001:db8::1";
const CLIENT_V6: &str = "2001:db8::2";

/// Gives both sides an address of IPv6. They know each other's link addresses.
fn add_ipv6(net: &Net) {
    let ends = [(&net.server, "veth0", SERVER_V6), (&net.client, "veth1", CLIENT_V6)];
    for (namespace, device, address) in ends {
        ip(&["-n", namespace, "addr", "add", &format!("{address}/64"), "dev", device, "nodad"]);
    }
    let [server, client] = [net.mac(&net.server, "veth0"), net.mac(&net.client, "veth1")];
    let known = [(&net.client, "veth1", SERVER_V6, server), (&net.server, "veth0", CLIENT_V6, client)];
    for (namespace, device, address, mac) in known {
        ip(&["-n", namespace, "neigh", "replace", address, "lladdr", &mac, "dev", device]);
    }
}

#[test]
#[cfg_attr(any(no_namespaces, no_nft, no_btf), ignore = "needs root, ip, unshare, nft and a kernel with BTF")]
fn final_acks_and_syns_at_a_full_queue_of_ipv6() {
    play("v6", |net| {
        let (server, client) = (net.server.clone(), net.client.clone());
        add_ipv6(net);
        // The server gets no answer when it asks for the client's link address.
        add_rule(&client, "icmpv6 type nd-neighbor-solicit drop");
        set(&server, "net.core.somaxconn", &BACKLOG.to_string());
        let address = format!("[{SERVER_V6}]:8080");
        net.play(&server, &format!("listen {address}"), "ready");
        let live = Live::watch(net, &[]);
        net.play(&client, &format!("connect {address} {BACKLOG}"), "ready");
        // The SYN-ACKs of more than fit are held back until all SYNs have come.
        ip(&["-n", &server, "neigh", "del", CLIENT_V6, "dev", "veth0"]);
        net.play(&client, &format!("try {address} {}", BACKLOG + 1), "asked");
        let asked = Instant::now();
        thread::sleep(Duration::from_millis(15));
        let mac = net.mac(&client, "veth1");
        ip(&["-n", &server, "neigh", "replace", CLIENT_V6, "lladdr", &mac, "dev", "veth0"]);
        let quick = asked.elapsed() < NOT_REPEATED;
        thread::sleep(Duration::from_millis(300));
        // The queue is full: these are dropped at once.
        net.play(&client, &format!("try {address} 2"), "asked");
        thread::sleep(Duration::from_millis(3_500));
        let functions = live.functions;
        let report = live.end(net);
        if !quick {
            return false;
        }
        if kernel_has((6, 15)) || functions {
            let reason = since((6, 15), OVERFLOW);
            each_judged(&report, "accept-queue-overflow", reason).into_iter().for_each(was_full);
        }
        each_at_the_listener(&report, "syn-drop-accept-queue", functions).into_iter().for_each(was_full);
        true
    });
}

/// With syncookies a SYN is answered although the SYN queue is full; without them it is dropped.
#[test]
#[cfg_attr(any(no_namespaces, no_nft, no_btf), ignore = "needs root, ip, unshare, nft and a kernel with BTF")]
fn a_full_syn_queue_of_ipv6_drops_syns_only_without_cookies() {
    for cookies in ["0", "1"] {
        play("v6-half-open", |net| {
            let (server, client) = (net.server.clone(), net.client.clone());
            add_ipv6(net);
            set(&server, "net.core.somaxconn", &BACKLOG.to_string());
            set(&server, "net.ipv4.tcp_syncookies", cookies);
            set(&server, "net.ipv4.tcp_max_syn_backlog", "4096");
            // The SYN-ACKs are sent, and no handshake is completed.
            add_rule(&client, "tcp flags & (syn | ack) == syn | ack counter drop");
            let address = format!("[{SERVER_V6}]:8080");
            net.play(&server, &format!("listen {address}"), "ready");
            let live = Live::watch(net, &[]);
            net.play(&client, &format!("try {address} {}", 3 * BACKLOG), "asked");
            thread::sleep(Duration::from_millis(2_500));
            let functions = live.functions;
            live.end(net);
            let refused = recorded(net).into_iter().filter_map(|(segment, judgement)| {
                let judgement = judgement.filter(|judgement| meaning(judgement).is_some())?;
                assert_eq!(meaning(&judgement), Some(Meaning::SynQueueFull), "{judgement:?}");
                Some(segment.src_port)
            });
            let (refused, expected) = (refused.count(), functions && cookies == "0");
            assert_eq!(refused > 0, expected, "{refused} SYNs refused, syncookies {cookies}");
            true
        });
    }
}
