//! The running kernel's verdicts on single packets, compared with known events: real sockets in network namespaces, and
//! `synscope live --kernel on` beside them.
//!
//! Needs root, `ip`, `nft` and a kernel that describes itself (BTF); ignored without them.

#![cfg(all(target_os = "linux", feature = "live"))]

#[path = "support/netns.rs"]
mod netns;
#[path = "support/recorded.rs"]
mod recorded;
#[path = "support/scenes.rs"]
mod scenes;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use netns::{CLIENT, Net, SERVER, add_rule, inside, run, text};
use recorded::{Recorded, farthest, told};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use scenes::{
    BACKLOG, Live, NOT_REPEATED, OVERFLOW, analyzed, each_at_the_listener, each_judged, kernel_has, of_kind,
    overflow, play, recorded, set, verdicts, was_full,
};
use serde_json::Value;

#[test]
#[ignore = "a part that other tests let a copy of this program play"]
fn part() {
    let role = std::env::var("SYNSCOPE_TEST_ROLE").unwrap_or_default();
    match role.split(' ').collect::<Vec<_>>()[..] {
        ["storm", port, first, last] => storm(port, first, last),
        ["again", address, first, last] => again(address, first, last),
        ["linger", address] => linger(address),
        ["leave", address] => leave(address),
        ["push", address, bytes] => push(address, bytes),
        _ => netns::part(),
    }
}

/// Tries `port` of the server once from each source port of the range. Waits for nothing.
fn storm(port: &str, first: &str, last: &str) {
    let number = |text: &str| text.parse::<u16>().expect("a port");
    let server = SocketAddr::new(SERVER.parse().expect("an address"), number(port));
    let mut held = Vec::new();
    for source in number(first)..number(last) {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None);
        let socket = socket.expect("room for a socket");
        let own = SocketAddr::new(CLIENT.parse().expect("an address"), source);
        bind(&socket, &own).expect("a free port");
        // It is under way, or refused at once.
        let _ = connect(&socket, &server);
        held.push(socket);
        if held.len() % 50 == 0 {
            thread::sleep(Duration::from_millis(5));
        }
    }
    println!("asked");
    let _ = std::io::stdin().read(&mut [0]);
}

/// Connects once from each source port of the range, one after the other, and closes when the server has.
fn again(address: &str, first: &str, last: &str) {
    let number = |text: &str| text.parse::<u16>().expect("a port");
    let server: SocketAddr = address.parse().expect("an address");
    for source in number(first)..number(last) {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::empty(), None);
        let socket = socket.expect("room for a socket");
        let own = SocketAddr::new(CLIENT.parse().expect("an address"), source);
        bind(&socket, &own).expect("a free port");
        if connect(&socket, &server).is_ok() {
            let _ = TcpStream::from(socket).read_to_end(&mut Vec::new());
        }
    }
    println!("ready");
}

/// Accepts connections, and aborts them (`SO_LINGER` 0).
fn linger(address: &str) {
    let listener = TcpListener::bind(address).expect("a free port");
    println!("ready");
    for stream in listener.incoming().flatten() {
        thread::sleep(Duration::from_millis(200));
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("a socket");
    }
}

/// Connects, and writes this many bytes at once, or as many as there is room for.
fn push(address: &str, bytes: &str) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_nonblocking(true).expect("a socket");
    let _ = stream.write(&vec![0; bytes.parse().expect("a number")]).expect("room in the send buffer");
    println!("ready");
    let _ = std::io::stdin().read(&mut [0]);
}

/// Accepts nothing, and closes the listener soon after the first connection has come.
fn leave(address: &str) {
    let listener = TcpListener::bind(address).expect("a free port");
    println!("ready");
    let mut first = [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut first, None).expect("a connection");
    thread::sleep(Duration::from_millis(500));
    drop(listener);
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn a_final_ack_at_a_full_queue() {
    for role in ["connect", "try"] {
        play(role, |net| {
            let Some((report, functions)) = overflow(net, role) else { return false };
            if kernel_has((6, 15)) {
                each_judged(&report, "accept-queue-overflow", OVERFLOW).into_iter().for_each(was_full);
            } else if functions {
                each_judged(&report, "accept-queue-overflow", "NOT_SPECIFIED").into_iter().for_each(was_full);
            }
            // A reader of the file hears what the kernel said, too.
            let read = analyzed(net);
            let judged = |report: &Value| -> Vec<(String, Value)> {
                let of = |f: &&Value| (f["id"].to_string(), f["judged_by_kernel"].clone());
                let mut all: Vec<_> = of_kind(report, "accept-queue-overflow").iter().map(of).collect();
                all.sort_by(|a, b| a.0.cmp(&b.0));
                all
            };
            assert_eq!(judged(&read), judged(&report));
            // What the kernel of a listener says is captured on the host of that listener.
            let of_server = |finding: &&Value| finding["vantage"] == "server";
            let knows = kernel_has((6, 15)) || functions;
            assert!(!knows || of_kind(&read, "accept-queue-overflow").iter().all(of_server), "{read:#}");
            true
        });
    }
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn a_cookie_at_a_full_queue() {
    play("cookie", |net| {
        set(&net.server, "net.ipv4.tcp_syncookies", "2");
        let Some((report, _)) = overflow(net, "connect") else { return false };
        if kernel_has((6, 12)) {
            for verdict in each_judged(&report, "accept-queue-overflow", "NO_SOCKET") {
                assert_eq!(verdict["function"], "cookie_v4_check");
                was_full(verdict);
            }
        }
        true
    });
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn a_final_ack_answered_by_a_reset() {
    play("abort", |net| {
        set(&net.server, "net.ipv4.tcp_abort_on_overflow", "1");
        let Some((report, _)) = overflow(net, "try") else { return false };
        if kernel_has((6, 15)) {
            for verdict in each_judged(&report, "accept-queue-reset", OVERFLOW) {
                assert_eq!(verdict["verdict"], "reset");
                was_full(verdict);
            }
        }
        true
    });
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn a_syn_at_a_full_queue() {
    play("syn", |net| {
        let (server, client) = (net.server.clone(), net.client.clone());
        set(&server, "net.core.somaxconn", &BACKLOG.to_string());
        net.play(&server, &format!("listen {SERVER}:8080"), "ready");
        let live = Live::watch(net, &[]);
        for _ in 0..=BACKLOG {
            net.play(&client, &format!("connect {SERVER}:8080 1"), "ready");
        }
        net.play(&client, &format!("try {SERVER}:8080 2"), "asked");
        thread::sleep(Duration::from_millis(2_500));
        let functions = live.functions;
        let report = live.end(net);
        for verdict in each_at_the_listener(&report, "syn-drop-accept-queue", functions) {
            assert_eq!(verdict["verdict"], "dropped", "{verdict:#}");
            was_full(verdict);
        }
        true
    });
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn a_closed_port() {
    play("closed", |net| {
        let client = net.client.clone();
        let live = Live::watch(net, &[]);
        net.play(&client, &format!("try {SERVER}:9 1"), "ready");
        thread::sleep(Duration::from_millis(500));
        let report = live.end(net);
        if kernel_has((6, 12)) {
            let verdicts = each_judged(&report, "connection-refused", "NO_SOCKET");
            assert_eq!(verdicts[0]["verdict"], "reset");
        }
        true
    });
}

/// Tries a port without a socket at `server`; the kernel must say of the SYN that there was none.
fn refused_at(net: &mut Net, server: &str) {
    let client = net.client.clone();
    let live = Live::watch(net, &[]);
    net.play(&client, &format!("try {server} 1"), "ready");
    thread::sleep(Duration::from_millis(500));
    let report = live.end(net);
    if kernel_has((6, 12)) {
        let verdicts = each_judged(&report, "connection-refused", "NO_SOCKET");
        assert_eq!(verdicts[0]["verdict"], "reset", "{report:#}");
        assert_eq!(of_kind(&report, "connection-refused")[0]["server"], server);
    }
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn a_closed_port_of_ipv6() {
    play("closed6", |net| {
        for (namespace, device, address) in
            [(&net.server, "veth0", "2001:db8::1/64"), (&net.client, "veth1", "2001:db8::2/64")]
        {
            netns::ip(&["-n", namespace, "addr", "add", address, "dev", device, "nodad"]);
        }
        refused_at(net, "[2001:db8::1]:9");
        true
    });
}

#[test]
#[cfg_attr(any(no_namespaces, no_nft, no_btf), ignore = "needs root, ip, unshare, nft and a kernel with BTF")]
fn a_closed_port_behind_a_translation_on_the_host() {
    play("nat", |net| {
        let rules = "add table ip t; add chain ip t in { type nat hook prerouting priority -100; }; \
                     add rule ip t in tcp dport 8088 redirect to :9";
        inside(&net.server, "nft", &[rules]);
        refused_at(net, &format!("{SERVER}:8088"));
        true
    });
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn a_closed_port_of_a_vlan() {
    play("vlan", |net| {
        for (namespace, device, address) in
            [(&net.server, "veth0", "198.51.100.1/24"), (&net.client, "veth1", "198.51.100.2/24")]
        {
            let vlan =
                ["-n", namespace, "link", "add", "link", device, "name", "v5", "type", "vlan", "id", "5"];
            if let Err(why) = run("ip", &vlan) {
                eprintln!("left out: this kernel has no VLANs: {why}");
                return true;
            }
            netns::ip(&["-n", namespace, "addr", "add", address, "dev", "v5"]);
            netns::ip(&["-n", namespace, "link", "set", "v5", "up"]);
        }
        refused_at(net, "198.51.100.1:9");
        true
    });
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn a_syn_with_an_old_timestamp_in_time_wait() {
    play("paws", |net| {
        let (server, client) = (net.server.clone(), net.client.clone());
        net.play(&server, &format!("greet {SERVER}:8080"), "ready");
        let live = Live::watch(net, &[]);
        // With a random offset of its timestamps, and then without: half of the ports have gone back in time.
        set(&client, "net.ipv4.tcp_timestamps", "1");
        net.play(&client, &format!("again {SERVER}:8080 20000 20008"), "ready");
        set(&client, "net.ipv4.tcp_timestamps", "2");
        net.play(&client, &format!("again {SERVER}:8080 20000 20008"), "ready");
        thread::sleep(Duration::from_millis(500));
        let report = live.end(net);
        let collisions = of_kind(&report, "time-wait-collision");
        if collisions.is_empty() {
            return false;
        }
        // Kernels before 6.16 have no name for it.
        if kernel_has((6, 16)) {
            each_judged(&report, "time-wait-collision", "TCP_RFC7323_TW_PAWS");
        }
        true
    });
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn a_refused_final_ack_is_told_before_anything_is_repeated() {
    play("once", |net| {
        let server = net.server.clone();
        let client = net.client.clone();
        set(&server, "net.core.somaxconn", &BACKLOG.to_string());
        net.play(&server, &format!("listen {SERVER}:8080"), "ready");
        let live = Live::watch(net, &[]);
        net.play(&client, &format!("connect {SERVER}:8080 {BACKLOG}"), "ready");
        let quick = net.time_of_burst(&format!("try {SERVER}:8080 {}", BACKLOG + 1), "") < NOT_REPEATED;
        // The SYN-ACK is not repeated before 1 s.
        thread::sleep(Duration::from_millis(700));
        let knows = kernel_has((6, 15)) || live.functions;
        let report = live.end(net);
        if quick && knows {
            for finding in of_kind(&report, "accept-queue-overflow") {
                assert_eq!(finding["certainty"], "confirmed", "{finding:#}");
                assert_eq!(finding["metrics"]["syn_ack_retransmits"], 0, "{finding:#}");
            }
            // One connection fits beside those that wait.
            assert_eq!(of_kind(&report, "accept-queue-overflow").len(), BACKLOG, "{report:#}");
            assert_eq!(of_kind(&analyzed(net), "accept-queue-overflow").len(), BACKLOG);
        }
        quick
    });
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn a_close_with_data_unread() {
    play("unread", |net| {
        let (server, client) = (net.server.clone(), net.client.clone());
        net.play(&server, &format!("unread {SERVER}:8080"), "ready");
        let live = Live::watch(net, &[]);
        net.play(&client, &format!("connect {SERVER}:8080 1"), "ready");
        thread::sleep(Duration::from_millis(800));
        let report = live.end(net);
        if kernel_has((6, 12)) {
            let verdicts = each_judged(&report, "abortive-close", "TCP_ABORT_ON_CLOSE");
            assert_eq!(verdicts[0]["verdict"], "sent");
        }
        true
    });
}

#[test]
#[cfg_attr(any(no_namespaces, no_nft, no_btf), ignore = "needs root, ip, unshare, nft and a kernel with BTF")]
fn a_firewall_that_looks_like_a_full_queue() {
    play("firewall", |net| {
        let (server, client) = (net.server.clone(), net.client.clone());
        net.play(&server, &format!("accept {SERVER}:8080"), "ready");
        add_rule(&server, "tcp dport 8080 tcp flags & (syn | ack) == ack counter drop");
        let live = Live::watch(net, &["--no-host"]);
        net.play(&client, &format!("connect {SERVER}:8080 {BACKLOG}"), "ready");
        thread::sleep(Duration::from_millis(2_500));
        let report = live.end(net);
        assert_eq!(of_kind(&report, "accept-queue-overflow"), [&Value::Null; 0], "{report:#}");
        each_judged(&report, "handshake-loss", "NETFILTER_DROP");
        // What the kernel dropped is drawn so, whatever the packets suggested.
        let evidence = of_kind(&report, "handshake-loss")[0]["evidence"].as_array().expect("evidence");
        let dropped = evidence.iter().filter(|packet| packet["kernel"]["verdict"] == "dropped");
        let is_marked = |packet: &Value| packet["marks"].to_string().contains("ignored");
        assert!(dropped.clone().count() > 0 && dropped.into_iter().all(is_marked), "{report:#}");
        assert_eq!(of_kind(&report, "handshake-loss")[0]["taken_for"], "accept-queue-overflow");
        true
    });
}

#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare, tcpdump and a kernel with BTF")]
fn verdicts_recorded_beside_tcpdump_are_those_of_live() {
    if run("tcpdump", &["--version"]).is_err() {
        eprintln!("left out: no tcpdump here");
        return;
    }
    for (name, setting, role) in [
        ("tcpdump", None, "connect"),
        ("tcpdump-cookie", Some(("net.ipv4.tcp_syncookies", "2")), "connect"),
        ("tcpdump-abort", Some(("net.ipv4.tcp_abort_on_overflow", "1")), "try"),
    ] {
        play(name, |net| {
            let (server, client) = (net.server.clone(), net.client.clone());
            if let Some((setting, value)) = setting {
                set(&server, setting, value);
            }
            set(&server, "net.core.somaxconn", &BACKLOG.to_string());
            net.play(&server, &format!("listen {SERVER}:8080"), "ready");
            let live = Live::watch(net, &[]);
            let recorded = Recorded::start(net);
            net.play(&client, &format!("connect {SERVER}:8080 {BACKLOG}"), "ready");
            let quick =
                net.time_of_burst(&format!("{role} {SERVER}:8080 {}", BACKLOG + 1), "") < NOT_REPEATED;
            net.play(&client, &format!("try {SERVER}:9 1"), "ready");
            thread::sleep(Duration::from_millis(4_000));
            let live = live.end(net);
            let recording = net.path("kernel.jsonl");
            let beside = recorded.end(net, &["--host", text(&recording)]);
            if !quick {
                return false;
            }
            let judged = of_kind(&beside, "connection-refused");
            assert!(!kernel_has((6, 12)) || judged[0]["judged_by_kernel"] == 1, "{beside:#}");
            println!("{name}: at most {} from a packet to what the kernel says of it", farthest(net));
            assert_eq!(told(&beside), told(&live), "{:#}", beside["warnings"]);
            let full = beside["incidents"].as_array().expect("incidents").iter();
            let queues: Vec<&Value> = full.filter_map(|incident| incident.get("queues")).collect();
            let reached = |queue: &Value| queue["samples"][1]["accept_queue"].as_u64().is_some();
            assert!(!queues.is_empty() && queues.into_iter().all(reached), "{beside:#}");
            true
        });
    }
}

#[test]
#[cfg_attr(any(no_namespaces, no_nft, no_btf), ignore = "needs root, ip, unshare, nft and a kernel with BTF")]
fn a_rule_that_rejects() {
    play("reject", |net| {
        let (server, client) = (net.server.clone(), net.client.clone());
        net.play(&server, &format!("accept {SERVER}:8080"), "ready");
        add_rule(&server, "tcp dport 8080 counter reject with tcp reset");
        let live = Live::watch(net, &["--no-host"]);
        net.play(&client, &format!("try {SERVER}:8080 1"), "ready");
        thread::sleep(Duration::from_millis(500));
        let report = live.end(net);
        each_judged(&report, "connection-refused", "NETFILTER_DROP");
        let cause = &of_kind(&report, "connection-refused")[0]["cause"]["text"];
        assert!(cause.to_string().contains("netfilter"), "{cause}");
        true
    });
}

/// The state of a socket is no reason: both are sent in the same words, and neither is decided by them.
#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn an_abort_and_a_closed_listener_are_not_decided_by_the_state_of_the_socket() {
    for (role, kind) in [("linger", "abortive-close"), ("leave", "listener-closed")] {
        play(role, |net| {
            let (server, client) = (net.server.clone(), net.client.clone());
            net.play(&server, &format!("{role} {SERVER}:8080"), "ready");
            let live = Live::watch(net, &["--no-host"]);
            net.play(&client, &format!("try {SERVER}:8080 3"), "ready");
            thread::sleep(Duration::from_millis(2_500));
            let report = live.end(net);
            let findings = of_kind(&report, kind);
            assert!(!findings.is_empty(), "{report:#}");
            for finding in findings {
                assert!(finding["judged_by_kernel"].is_null(), "{finding:#}");
                let said = verdicts(finding);
                assert!(
                    !kernel_has((6, 12)) || said.iter().any(|kernel| kernel["reason"] == "TCP_STATE"),
                    "{finding:#}"
                );
            }
            true
        });
    }
}

#[test]
#[cfg_attr(any(no_namespaces, no_nft, no_btf), ignore = "needs root, ip, unshare, nft and a kernel with BTF")]
fn a_syn_at_a_full_syn_queue() {
    play("half-open", |net| {
        let (server, client) = (net.server.clone(), net.client.clone());
        set(&server, "net.core.somaxconn", &BACKLOG.to_string());
        set(&server, "net.ipv4.tcp_syncookies", "0");
        set(&server, "net.ipv4.tcp_max_syn_backlog", "4096");
        // The SYN-ACKs are sent, and no handshake is completed.
        add_rule(&client, "tcp flags & (syn | ack) == syn | ack counter drop");
        net.play(&server, &format!("listen {SERVER}:8080"), "ready");
        let live = Live::watch(net, &[]);
        net.play(&client, &format!("try {SERVER}:8080 {}", 3 * BACKLOG), "asked");
        thread::sleep(Duration::from_millis(2_500));
        let functions = live.functions;
        let report = live.end(net);
        for verdict in each_at_the_listener(&report, "syn-drop-syn-queue", functions) {
            assert!(verdict["syn_queue"][0].as_u64() >= Some(BACKLOG as u64), "{verdict:#}");
        }
        true
    });
}

/// What a sender leaves to its network card to divide (TSO) is one packet here, larger than any on a wire.
#[test]
#[cfg_attr(any(no_namespaces, no_nft, no_btf), ignore = "needs root, ip, unshare, nft and a kernel with BTF")]
fn packets_that_are_divided_or_merged_on_the_way() {
    play("offload", |net| {
        let (server, client) = (net.server.clone(), net.client.clone());
        net.play(&server, &format!("accept {SERVER}:8080"), "ready");
        add_rule(&server, "tcp dport 8080 meta length > 1000 counter drop");
        let live = Live::watch(net, &["--ring", "4x16MiB"]);
        net.play(&client, &format!("push {SERVER}:8080 100000"), "ready");
        thread::sleep(Duration::from_millis(2_500));
        let report = live.end(net);
        let data: Vec<_> =
            recorded(net).into_iter().filter(|(segment, _)| segment.dst_port == 8_080).collect();
        let largest = data.iter().map(|(segment, _)| segment.payload).max();
        assert!(largest > Some(1_460), "no packet is larger than those on a wire: {largest:?}");
        let (mut judged, mut large) = (0, 0);
        for (segment, judgement) in &data {
            let dropped = judgement.as_ref().and_then(|judgement| judgement.dropped.as_ref());
            let reason = dropped.and_then(|place| place.reason.as_deref());
            // With its headers it was longer, or not.
            if segment.payload > 1_000 {
                large += 1;
                judged += usize::from(reason == Some("NETFILTER_DROP"));
            } else if segment.payload < 900 {
                assert_eq!(reason, None, "{segment:?}");
            }
        }
        assert_eq!(judged, large, "{:#}", report["warnings"]);
        each_judged(&report, "data-unacknowledged", "NETFILTER_DROP");
        true
    });
}

/// `-i any` sees a packet at the port of a bridge and at the bridge.
#[test]
#[cfg_attr(any(no_namespaces, no_btf), ignore = "needs root, ip, unshare and a kernel with BTF")]
fn copies_of_a_packet_at_two_interfaces() {
    play("any", |net| {
        let (server, client) = (net.server.clone(), net.client.clone());
        if let Err(why) = run("ip", &["-n", &server, "link", "add", "br0", "type", "bridge"]) {
            eprintln!("left out: this kernel has no bridges: {why}");
            return true;
        }
        for words in [
            "addr flush dev veth0",
            "link set veth0 master br0",
            "addr add 192.0.2.1/24 dev br0",
            "link set br0 up",
        ] {
            netns::ip(&[&["-n", &server][..], &words.split(' ').collect::<Vec<_>>()].concat());
        }
        let address = inside(&server, "cat", &["/sys/class/net/br0/address"]);
        let neighbour = ["neigh", "replace", SERVER, "lladdr", address.trim(), "dev", "veth1"];
        netns::ip(&[&["-n", &client][..], &neighbour].concat());
        let live = Live::watch_at("any", net, &[]);
        net.play(&client, &format!("try {SERVER}:9 3"), "ready");
        thread::sleep(Duration::from_millis(500));
        let report = live.end(net);
        let mut copies = 0;
        for (segment, judgement) in recorded(net) {
            // Two RSTs without an IP ID, both on their way out: they may be two, and neither is judged.
            let refused = judgement.as_ref().is_some_and(|judgement| match kernel_has((6, 12)) {
                true => judgement.reset.is_some(),
                // These do not tell of such a RST.
                false => judgement.dropped.is_some(),
            });
            assert_eq!(refused, segment.dst_port == 9, "{segment:?} {judgement:?}");
            copies += usize::from(refused);
        }
        assert!(copies >= 6, "{copies} SYNs of 3, each seen twice");
        if kernel_has((6, 12)) {
            assert_eq!(each_judged(&report, "connection-refused", "NO_SOCKET").len(), 3);
        }
        true
    });
}

/// Starts `storm` in a namespace that may open very many sockets.
fn start_storm(net: &Net, port: u16, first: u16, last: u16) -> Child {
    let me = std::env::current_exe().expect("a program");
    Command::new("sh")
        .args(["-c", "ulimit -n 20000; exec \"$@\"", "sh", "ip", "netns", "exec", &net.client, text(&me)])
        .args(["--exact", "part", "--ignored", "--nocapture"])
        .env("SYNSCOPE_TEST_ROLE", format!("storm {port} {first} {last}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh")
}

/// Drops SYNs to port 9000 from every second source port: the even ones, or the odd ones.
fn drop_every_second(net: &Net, rest: u16) {
    add_rule(&net.server, &format!("tcp dport 9000 tcp sport & 1 == {rest} counter drop"));
}

/// How many packets the rule of [`drop_every_second`] has dropped.
fn dropped_by_rule(net: &Net) -> u64 {
    let rules = inside(&net.server, "nft", &["list", "ruleset"]);
    let counted = rules.split_once("counter packets ").and_then(|(_, after)| after.split(' ').next());
    counted.and_then(|count| count.parse().ok()).expect("a counter")
}

/// Two networks with the same addresses and ports, in which opposite packets are dropped. Only those of the one that is
/// watched may be told, each of them, and of no other anything.
#[test]
#[cfg_attr(any(no_namespaces, no_nft, no_btf), ignore = "needs root, ip, unshare, nft and a kernel with BTF")]
fn ten_thousand_drops_beside_a_namespace_with_the_same_addresses() {
    const SOURCES: std::ops::Range<u16> = 10_000..16_000;
    let (mut net, mut other) = (Net::build("kernel-storm"), Net::build("kernel-other"));
    for (net, rest) in [(&mut net, 0), (&mut other, 1)] {
        let server = net.server.clone();
        set(&server, "net.ipv4.tcp_max_syn_backlog", "65536");
        set(&server, "net.core.somaxconn", "65535");
        net.play(&server, &format!("accept {SERVER}:9000"), "ready");
        drop_every_second(net, rest);
    }
    let live = Live::watch(&net, &["--ring", "4x256MiB"]);
    let mut storms: Vec<Child> = Vec::new();
    for net in [&net, &other] {
        storms.push(start_storm(net, 9_000, SOURCES.start, SOURCES.end));
        // No socket listens there.
        storms.push(start_storm(net, 9_001, SOURCES.end, SOURCES.end + 2_000));
    }
    // The SYN of each is repeated three times by then, on a machine that is not busy.
    thread::sleep(Duration::from_millis(7_000));
    for _ in 0..60 {
        if dropped_by_rule(&net) >= 9_000 {
            break;
        }
        thread::sleep(Duration::from_secs(1));
    }
    let report = live.end(&net);
    for storm in &mut storms {
        let _ = storm.kill();
        let _ = storm.wait();
    }
    let (mut dropped, mut refused) = (0, 0);
    // Nothing was in doubt. A statement may be lost on a busy machine, and then that is told.
    let warnings = report["warnings"].to_string();
    let told_as_lost = match warnings.split_once("several packets or parts of one fit, up to ") {
        Some((before, after)) => {
            assert!(before.contains("packet, 0 left out"), "{warnings}");
            after.split_once(" lost").and_then(|(lost, _)| lost.parse().ok()).expect("a number")
        }
        None => 0,
    };
    let (mut wrong, mut missing) = (Vec::new(), 0);
    for (segment, judgement) in recorded(&net) {
        let reason =
            judgement.as_ref().and_then(|j| j.dropped.as_ref()).and_then(|place| place.reason.as_deref());
        let expected = match (segment.dst_port, segment.src_port % 2) {
            (9_000, 0) => Some("NETFILTER_DROP"),
            (9_001, _) => Some("NO_SOCKET"),
            _ => None,
        };
        dropped += usize::from(expected == Some("NETFILTER_DROP"));
        refused += usize::from(expected == Some("NO_SOCKET"));
        missing += usize::from(reason.is_none() && expected.is_some());
        // A busy server drops a SYN that came again, and says so.
        let of_others = expected.is_none() && !matches!(reason, Some("NETFILTER_DROP" | "NO_SOCKET"));
        if reason.is_some() && reason != expected && !of_others {
            wrong.push(format!("{} at {}: {expected:?}, not {judgement:?}", segment.source(), segment.time));
        }
    }
    assert!(wrong.is_empty(), "{} are told wrong: {:#?}", wrong.len(), &wrong[..wrong.len().min(10)]);
    // Linux 6.18 skipped the programs for a whole batch of 64 to 300 packets now and then, in about every third run on a busy
    // machine. An event of ftrace at the same tracepoint was there for each of them. No counter of the programs shows it.
    let skipped = (dropped + refused) / 20;
    assert!(
        missing <= told_as_lost + skipped,
        "{missing} are missing, {told_as_lost} told as lost: {warnings}"
    );
    assert!(dropped + refused >= 10_000, "{dropped} dropped, {refused} refused: {:#}", report["warnings"]);
    println!(
        "{dropped} dropped by netfilter, {refused} without a socket, told right but for {missing} that were lost; {warnings}"
    );
}
