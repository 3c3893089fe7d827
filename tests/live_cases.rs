//! What `synscope live` says beside what the kernel counted, in namespaces with real sockets: nothing that the kernel
//! confirmed is taken back, and no count of a listening socket goes untold.
//!
//! Needs root, `ip`, `ss` and, for some of them, `nft`; ignored without them. All scenes run at the same time.

#![cfg(all(target_os = "linux", feature = "live"))]

#[path = "support/netns.rs"]
mod netns;
#[path = "support/watching.rs"]
mod watching;

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use netns::{Net, SERVER, add_rule, inside, ip};
use serde_json::Value;
use watching::{Live, count, counter, findings_of, set, socket, tally};

/// One more connection fits.
const BACKLOG: usize = 4;
/// How long an event is waited for.
const PATIENCE: Duration = Duration::from_secs(12);

#[test]
#[ignore = "a part that other tests let a copy of this program play"]
fn part() {
    netns::part();
}

type Scene = fn(&mut Net);

fn play(scenes: &[(&str, Scene)]) {
    thread::scope(|scope| {
        for (name, scene) in scenes {
            scope.spawn(move || scene(&mut Net::build(&format!("lv-{name}"))));
        }
    });
}

#[test]
#[cfg_attr(no_namespaces, ignore = "needs root, ip and unshare")]
fn what_the_kernel_confirmed_stays() {
    play(&[
        ("full", a_listener_already_full),
        ("moved", the_address_moves_away),
        ("stopped", the_server_is_stopped),
        ("ends", a_namespace_ends),
        ("crash", a_server_that_ends_at_once),
        ("short", short_attempts_are_counted),
        ("recovers", a_queue_that_drains),
        ("shared", sockets_that_share_an_address),
        ("retry", clients_that_retry_when_the_watch_begins),
        ("busy", a_busy_neighbour),
        ("forged", a_flood_that_gets_no_cookies),
        ("cookies", a_flood_that_gets_cookies),
        ("hangup", a_hang_up_ends_with_the_report),
        ("still", a_reader_that_stands_still),
    ]);
}

#[test]
#[cfg_attr(any(no_namespaces, no_nft), ignore = "needs root, ip, unshare and nft")]
fn per_socket_drops_decide() {
    play(&[
        ("wall", a_firewall_drops_every_syn),
        ("two", two_listeners_in_trouble),
        ("dnat", connections_that_are_forwarded),
        ("halves", handshakes_without_an_ack),
    ]);
}

#[test]
#[cfg_attr(no_namespaces, ignore = "needs root, ip and unshare")]
fn listeners_are_known_before_and_after_trouble() {
    play(&[
        ("fills", a_queue_that_fills),
        ("returns", a_listener_that_comes_back),
        ("states", sockets_by_state),
        ("unseen", attempts_that_nobody_captured),
        ("mptcp", a_join_that_is_refused),
    ]);
}

/// An idle interface wakes the program fewer than 20 times a second.
#[test]
#[cfg_attr(no_namespaces, ignore = "needs root, ip and unshare")]
fn an_idle_interface_wakes_nobody() {
    let net = Net::build("lv-idle");
    // Router solicitations are packets, too.
    for namespace in [&net.server, &net.client] {
        set(namespace, "net.ipv6.conf.all.disable_ipv6", "1");
    }
    let live = Live::watch(&net, &["--kernel", "off"]);
    // The first seconds after the start are not idle: findings that rest on silence come soon after the last packet.
    thread::sleep(Duration::from_secs(6));
    let switches = || -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", live.child.id())).expect("it runs");
        let of = |entry: std::fs::DirEntry| {
            let status = std::fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        tasks.flatten().map(of).sum()
    };
    let (before, begun) = (switches(), Instant::now());
    thread::sleep(Duration::from_secs(5));
    let a_second = (switches() - before) as f64 / begun.elapsed().as_secs_f64();
    let _ = live.end();
    row("idle", "-", format!("{a_second:.1} wake-ups a second"), 0.0);
    assert!(a_second < 20.0, "{a_second}");
}

/// Nothing is wrong, and nothing above info is told.
#[test]
#[cfg_attr(no_namespaces, ignore = "needs root, ip and unshare")]
fn a_clean_load_is_no_trouble() {
    let mut net = Net::build("lv-clean");
    let (server, client) = (net.server.clone(), net.client.clone());
    let live = Live::watch(&net, &["--kernel", "off"]);
    net.play(&server, &format!("serve {SERVER} 8080 8095"), "ready");
    net.play(&client, &format!("ask {SERVER} 8080 8095 500"), "ready");
    thread::sleep(Duration::from_secs(2));
    let (events, report) = live.end();
    let bad: Vec<&Value> = events
        .iter()
        .filter(|event| event.get("finding").is_some_and(|finding| finding["severity"] != "info"))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let incidents = report["incidents"].as_array().expect("incidents");
    assert!(incidents.iter().all(|incident| incident["severity"] == "info"), "{incidents:#?}");
}

/// A line for the table of cases: the kernel's count, the reported count, seconds to the event.
fn row(case: &str, kernel: impl std::fmt::Display, told: impl std::fmt::Display, seconds: f64) {
    eprintln!("| {case} | {kernel} | {told} | {seconds:.1} |");
}

fn at(port: u16) -> String {
    format!("{SERVER}:{port}")
}

/// A listener that never accepts, and whose queue is full.
fn fill(net: &mut Net, port: u16) {
    let (server, client) = (net.server.clone(), net.client.clone());
    set(&server, "net.core.somaxconn", &BACKLOG.to_string());
    net.play(&server, &format!("listen {}", at(port)), "ready");
    for _ in 0..=BACKLOG {
        net.play(&client, &format!("connect {} 1", at(port)), "ready");
    }
}

fn is_of<'a>(kind: &'a str, server: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |event| event["finding"]["kind"] == kind && event["finding"]["server"] == server
}

fn assert_nothing_was_withdrawn(events: &[Value]) {
    assert_eq!(count(events, "withdrawn"), 0, "{events:#?}");
}

/// The capture holds SYNs only: all of twelve clients are told, and none is taken back.
fn a_listener_already_full(net: &mut Net) {
    fill(net, 8080);
    let server = net.server.clone();
    let before = socket(&server, 8080).0;
    let live = Live::watch(net, &[]);
    let begun = Instant::now();
    let client = net.client.clone();
    net.play(&client, &format!("try {} 12", at(8080)), "asked");
    let heard = live.hear(PATIENCE, is_of("syn-drop-accept-queue", &at(8080)));
    let after = begun.elapsed().as_secs_f64();
    thread::sleep(Duration::from_secs(6));
    let dropped = socket(&server, 8080).0 - before;
    let (events, report) = live.end();
    assert!(heard.is_some(), "{:?} {events:#?}", tally(&report));
    assert_nothing_was_withdrawn(&events);
    let found = findings_of(&report, "syn-drop-accept-queue", &at(8080));
    let confirmed = found.iter().filter(|f| f["certainty"] == "confirmed" && !f["client"].is_null());
    assert_eq!(confirmed.clone().count(), 12, "{:?}", tally(&report));
    let told = confirmed.filter_map(|f| f["metrics"]["host_listener_drops"].as_u64()).max();
    assert!(told.is_some_and(|told| told <= dropped), "{told:?} {dropped}");
    row("already full", format!("{dropped} drops"), format!("12 findings, {told:?} drops"), after);
}

/// Clients repeat their SYNs already when the watch begins: what the socket drops from then on is told all the same.
fn clients_that_retry_when_the_watch_begins(net: &mut Net) {
    fill(net, 8080);
    let (server, client) = (net.server.clone(), net.client.clone());
    net.play(&client, &format!("try {} 6", at(8080)), "asked");
    let live = Live::watch(net, &[]);
    let heard = live.hear(PATIENCE, is_of("syn-drop-accept-queue", &at(8080)));
    let after = live.began.elapsed().as_secs_f64();
    thread::sleep(Duration::from_secs(5));
    let dropped = socket(&server, 8080).0;
    let (events, report) = live.end();
    assert!(heard.is_some(), "{:?} {events:#?}", tally(&report));
    assert_nothing_was_withdrawn(&events);
    let found = findings_of(&report, "syn-drop-accept-queue", &at(8080));
    let told = sum_of(&found);
    assert!(told > 0 && told <= dropped && found.len() == 7, "{told} {dropped} {:?}", tally(&report));
    row("clients retry at the start", format!("{dropped} drops in all"), format!("{told} since then"), after);
}

/// SYNs are dropped at one port while handshakes are completed at another of the same address.
fn a_busy_neighbour(net: &mut Net) {
    fill(net, 8080);
    let (server, client) = (net.server.clone(), net.client.clone());
    // Other ports are served by a queue of this length, too: a few connections at a time.
    net.play(&server, &format!("serve {SERVER} 8090 8090"), "ready");
    let before = socket(&server, 8080).0;
    let live = Live::watch(net, &[]);
    let begun = Instant::now();
    net.play(&client, &format!("short {} 8", at(8080)), "ready");
    net.play(&client, &format!("ask {SERVER} 8090 8090 200"), "ready");
    let heard = live.hear(PATIENCE, |event| event["finding"]["server"] == at(8080).as_str());
    let after = live.seconds_to(begun, |event| event["finding"]["server"] == at(8080).as_str());
    thread::sleep(Duration::from_secs(2));
    let dropped = socket(&server, 8080).0 - before;
    let (events, report) = live.end();
    let kind = heard.map(|event| event["finding"]["kind"].clone());
    assert_eq!(kind.as_ref().and_then(Value::as_str), Some("syn-drop-accept-queue"), "{events:#?}");
    let found = findings_of(&report, "syn-drop-accept-queue", &at(8080));
    assert_eq!(sum_of(&found), dropped, "{:?}", tally(&report));
    assert!(findings_of(&report, "accept-queue-overflow", &at(8080)).is_empty(), "{:?}", tally(&report));
    row("busy neighbour", format!("{dropped} drops"), format!("{} refused", sum_of(&found)), after);
}

/// SYNs of clients that do not exist find the SYN queue full, again and again: one sum, whatever the packets show.
fn a_flood_that_gets_no_cookies(net: &mut Net) {
    let (server, client) = (net.server.clone(), net.client.clone());
    set(&server, "net.ipv4.tcp_syncookies", "0");
    set(&server, "net.core.somaxconn", &BACKLOG.to_string());
    ip(&["-n", &server, "route", "add", "198.51.100.0/24", "via", netns::CLIENT]);
    net.play(&server, &format!("accept {}", at(8080)), "ready");
    let live = Live::watch(net, &[]);
    let begun = Instant::now();
    let mut after = None;
    // The last one comes when the incident of the others is over.
    for pause in [2, 2, 13, 2] {
        net.play(&client, &format!("flood 198.51.100 {SERVER} 8080 40"), "ready");
        let heard = live.hear(PATIENCE, is_of("syn-drop-syn-queue", &at(8080)));
        assert!(heard.is_some(), "{:#?}", live.events());
        after = after.or(Some(begun.elapsed().as_secs_f64()));
        thread::sleep(Duration::from_secs(pause));
    }
    thread::sleep(Duration::from_secs(4));
    let dropped = socket(&server, 8080).0;
    let (events, report) = live.end();
    assert_nothing_was_withdrawn(&events);
    let found = findings_of(&report, "syn-drop-syn-queue", &at(8080));
    assert_eq!(sum_of(&found), dropped, "{:?}", tally(&report));
    row("flood without cookies", format!("{dropped} drops"), sum_of(&found), after.unwrap_or_default());
}

/// Nothing comes but SYNs of clients that do not exist, and each gets a cookie or a place in the SYN queue: their number is
/// exact and never falls.
fn a_flood_that_gets_cookies(net: &mut Net) {
    const SYNS: u64 = 4_000;
    let (server, client) = (net.server.clone(), net.client.clone());
    ip(&["-n", &server, "route", "add", "198.51.100.0/24", "via", netns::CLIENT]);
    net.play(&server, &format!("accept {}", at(8080)), "ready");
    let live = Live::watch(net, &["--kernel", "off"]);
    let begun = Instant::now();
    net.play(&client, &format!("flood 198.51.100 {SERVER} 8080 {SYNS}"), "ready");
    let heard = live.hear(PATIENCE, is_of("syn-flood", &at(8080)));
    let after = live.seconds_to(begun, is_of("syn-flood", &at(8080)));
    thread::sleep(Duration::from_secs(7));
    let cookies = counter(&server, "TcpExtSyncookiesSent");
    let (events, report) = live.end();
    assert!(heard.is_some(), "{events:#?}");
    assert_nothing_was_withdrawn(&events);
    let floods = events.iter().filter(|event| event["finding"]["kind"] == "syn-flood");
    let told: Vec<u64> =
        floods.filter_map(|event| event["finding"]["metrics"]["half_open"].as_u64()).collect();
    assert!(told.is_sorted(), "{told:?}");
    assert_eq!(told.last(), Some(&SYNS), "{told:?} {cookies} {:?}", tally(&report));
    row("flood with cookies", format!("{cookies} cookies for {SYNS} SYNs"), format!("{told:?}"), after);
}

/// Nobody's queue is full; the SYNs do not come to TCP.
fn a_firewall_drops_every_syn(net: &mut Net) {
    let (server, client) = (net.server.clone(), net.client.clone());
    net.play(&server, &format!("accept {}", at(8080)), "ready");
    add_rule(&server, "tcp dport 8080 counter drop");
    let live = Live::watch(net, &[]);
    let begun = Instant::now();
    net.play(&client, &format!("try {} 12", at(8080)), "asked");
    let heard = live.hear(PATIENCE, is_of("syn-unanswered", &at(8080)));
    let after = begun.elapsed().as_secs_f64();
    thread::sleep(Duration::from_secs(5));
    let (events, report) = live.end();
    assert!(heard.is_some(), "{events:#?}");
    assert_nothing_was_withdrawn(&events);
    let found = findings_of(&report, "syn-unanswered", &at(8080));
    assert_eq!(found.len(), 12, "{:?}", tally(&report));
    // Where the kernel can be asked about single packets it names netfilter.
    let of_firewall = |f: &&&Value| {
        let cause = f["cause"]["text"].as_str().unwrap_or_default();
        cause.contains("firewall") || cause.contains("netfilter")
    };
    assert_eq!(found.iter().filter(of_firewall).count(), 12, "{found:#?}");
    row("firewalled", "0 drops", "12 findings of a firewall", after);
}

/// Connections whose final ACK a full queue refused, confirmed; returns the watch and the number of connections.
fn overflow(net: &mut Net) -> (Live, usize) {
    fill(net, 8080);
    let live = Live::watch(net, &[]);
    let client = net.client.clone();
    net.play(&client, &format!("try {} 6", at(8080)), "asked");
    let confirmed = |event: &Value| {
        is_of("syn-drop-accept-queue", &at(8080))(event) && event["finding"]["certainty"] == "confirmed"
    };
    assert!(live.hear(PATIENCE, confirmed).is_some(), "{:#?}", live.events());
    thread::sleep(Duration::from_millis(1_500));
    (live, 6)
}

fn assert_all_stand(events: &[Value], report: &Value, of: usize) {
    assert_nothing_was_withdrawn(events);
    let found = findings_of(report, "syn-drop-accept-queue", &at(8080));
    let confirmed = found.iter().filter(|f| f["certainty"] == "confirmed" && !f["client"].is_null()).count();
    assert_eq!(confirmed, of, "{:?}", tally(report));
}

fn the_address_moves_away(net: &mut Net) {
    let (live, of) = overflow(net);
    ip(&["-n", &net.server.clone(), "addr", "del", &format!("{SERVER}/24"), "dev", "veth0"]);
    thread::sleep(Duration::from_secs(9));
    let (events, report) = live.end();
    assert_all_stand(&events, &report, of);
    row("address moved", format!("{of} clients dropped"), format!("{of} confirmed"), 0.0);
}

fn the_server_is_stopped(net: &mut Net) {
    let (live, of) = overflow(net);
    // The first part that was played is the listener.
    net.running[0].kill().expect("it runs");
    thread::sleep(Duration::from_secs(9));
    let (events, report) = live.end();
    assert_all_stand(&events, &report, of);
    let unexplained = events.iter().any(|event| event["event"] == "counter-only");
    assert!(!unexplained, "{events:#?}");
    row("server stopped", format!("{of} clients dropped"), format!("{of} confirmed"), 0.0);
}

/// It refuses clients and is gone before anybody has looked at its socket again: the host's counter says how many.
fn a_server_that_ends_at_once(net: &mut Net) {
    fill(net, 8080);
    let (server, client) = (net.server.clone(), net.client.clone());
    let before = counter(&server, "TcpExtListenOverflows");
    let live = Live::watch(net, &[]);
    let begun = Instant::now();
    net.play(&client, &format!("try {} 6", at(8080)), "asked");
    thread::sleep(Duration::from_millis(30));
    net.running[0].kill().expect("it runs");
    let heard = live.hear(PATIENCE, is_of("syn-drop-accept-queue", &at(8080)));
    let after = begun.elapsed().as_secs_f64();
    thread::sleep(Duration::from_secs(3));
    let refused = counter(&server, "TcpExtListenOverflows") - before;
    let (events, report) = live.end();
    assert!(heard.is_some(), "{events:#?}");
    let told = sum_of(&findings_of(&report, "syn-drop-accept-queue", &at(8080)));
    assert_eq!(told, refused, "{:?}", tally(&report));
    row("ends at once", format!("{refused} overflows"), format!("{told} refused"), after);
}

/// The client's end drops the SYN-ACKs: no finding on the handshakes is withdrawn. If a server's own firewall drops its
/// SYN-ACKs, no finding says that it had no SYN.
fn handshakes_without_an_ack(net: &mut Net) {
    let (server, client) = (net.server.clone(), net.client.clone());
    for port in [8080, 8081] {
        net.play(&server, &format!("accept {}", at(port)), "ready");
    }
    let rules = |hook: &str, port: u16| {
        format!(
            "add table inet t; add chain inet t c {{ type filter hook {hook} priority 0; }}; \
             add rule inet t c tcp sport {port} drop"
        )
    };
    inside(&client, "nft", &[&rules("input", 8080)]);
    inside(&server, "nft", &[&rules("output", 8081)]);
    let live = Live::watch(net, &[]);
    for port in [8080, 8081] {
        net.play(&client, &format!("try {} 6", at(port)), "asked");
    }
    thread::sleep(Duration::from_secs(6));
    let (events, report) = live.end();
    assert_nothing_was_withdrawn(&events);
    assert_eq!(findings_of(&report, "syn-ack-unanswered", &at(8080)).len(), 6, "{:?}", tally(&report));
    let found = findings_of(&report, "syn-unanswered", &at(8081));
    assert_eq!(found.len(), 6, "{:?}", tally(&report));
    for finding in found {
        let cause = finding["cause"]["text"].as_str().unwrap_or_default();
        assert!(!cause.contains("before TCP saw it"), "{finding:#}");
    }
}

/// The server is stopped, its interface is deleted, and so is the name of the namespace: as when a container ends.
fn a_namespace_ends(net: &mut Net) {
    let (live, of) = overflow(net);
    let server = net.server.clone();
    let dropped = socket(&server, 8080).0;
    net.running[0].kill().expect("it runs");
    ip(&["-n", &server, "link", "del", "veth0"]);
    let gone = Instant::now();
    ip(&["netns", "del", &server]);
    let told = live.hear(PATIENCE, warning("was deleted"));
    let after = gone.elapsed().as_secs_f64();
    let removed = live.hear(PATIENCE, warning("nothing can be captured there until it returns"));
    thread::sleep(Duration::from_secs(5));
    let asked = Instant::now();
    let (events, report) = live.end();
    let ended = asked.elapsed();
    assert_all_stand(&events, &report, of);
    assert!(told.is_some() && removed.is_some(), "{events:#?}");
    assert!(ended < Duration::from_secs(5), "{ended:?}");
    let sum = sum_of(&findings_of(&report, "syn-drop-accept-queue", &at(8080)));
    // Clients that wait repeat their SYNs until the socket is gone.
    assert!(dropped <= sum && sum <= dropped + of as u64, "{sum} {dropped}");
    row(
        "namespace ends",
        format!("{of} clients, {dropped} drops"),
        format!("{of} confirmed, {sum} drops"),
        after,
    );
}

/// Clients that give up after half a second, before a SYN is repeated.
fn short_attempts_are_counted(net: &mut Net) {
    fill(net, 8001);
    let (server, client) = (net.server.clone(), net.client.clone());
    let before = counter(&server, "TcpExtListenOverflows");
    let live = Live::watch(net, &[]);
    let begun = Instant::now();
    net.play(&client, &format!("short {} 30", at(8001)), "ready");
    let heard = live.hear(PATIENCE, is_of("syn-drop-accept-queue", &at(8001)));
    let after = live.seconds_to(begun, is_of("syn-drop-accept-queue", &at(8001)));
    thread::sleep(Duration::from_secs(3));
    let rose = counter(&server, "TcpExtListenOverflows") - before;
    let (events, report) = live.end();
    assert!(heard.is_some(), "{events:#?}");
    assert_nothing_was_withdrawn(&events);
    let found = findings_of(&report, "syn-drop-accept-queue", &at(8001));
    let told: Vec<u64> = found.iter().filter_map(|f| f["metrics"]["host_listener_drops"].as_u64()).collect();
    assert!(told.contains(&rose), "{told:?} {rose} {found:#?}");
    assert!(found.iter().all(|f| f["certainty"] == "confirmed"), "{found:#?}");
    row("short attempts", format!("{rose} overflows"), format!("{told:?}"), after);
}

/// The application accepts again: the incident recovers and is over within seconds.
fn a_queue_that_drains(net: &mut Net) {
    let (server, client) = (net.server.clone(), net.client.clone());
    set(&server, "net.core.somaxconn", &BACKLOG.to_string());
    net.play(&server, &format!("late {}", at(8080)), "ready");
    for _ in 0..=BACKLOG {
        net.play(&client, &format!("connect {} 1", at(8080)), "ready");
    }
    let live = Live::watch(net, &[]);
    net.play(&client, &format!("try {} 3", at(8080)), "asked");
    let state = |name: &'static str| move |event: &Value| event["state"] == name;
    let heard = live.hear(PATIENCE, is_of("syn-drop-accept-queue", &at(8080)));
    assert!(heard.is_some(), "{:#?}", live.events());
    let drained = Instant::now();
    net.running[0].stdin.as_mut().expect("it is piped").write_all(b"x").expect("it reads");
    let recovering = live.hear(PATIENCE, state("recovering"));
    let after = drained.elapsed().as_secs_f64();
    let over = live.hear(Duration::from_secs(25), |event| event["event"] == "closed");
    let closed = drained.elapsed().as_secs_f64();
    let (events, _) = live.end();
    assert!(recovering.is_some() && over.is_some(), "{events:#?}");
    row("recovery", "queue empty", format!("recovering; over after {closed:.1} s"), after);
    assert!(after < 6.0 && closed < 20.0, "{after} {closed}");
}

/// What the listener refused in all, as its own finding tells.
fn sum_of(found: &[&Value]) -> u64 {
    let own = found.iter().filter(|f| f["client"].is_null());
    own.filter_map(|f| f["metrics"]["host_listener_drops"].as_u64()).sum()
}

/// An accept queue is full at one, a SYN queue at the other: each is told by its own drops.
fn two_listeners_in_trouble(net: &mut Net) {
    let (server, client) = (net.server.clone(), net.client.clone());
    set(&server, "net.ipv4.tcp_syncookies", "0");
    fill(net, 8080);
    net.play(&server, &format!("accept {}", at(8081)), "ready");
    // The client's end drops the SYN-ACKs, so that handshakes stay half open.
    add_rule(&client, "tcp sport 8081 counter drop");
    let live = Live::watch(net, &[]);
    let before = [8080, 8081].map(|port| socket(&server, port).0);
    let begun = Instant::now();
    net.play(&client, &format!("try {} 6", at(8080)), "asked");
    net.play(&client, &format!("try {} 14", at(8081)), "asked");
    let heard = live.hear(PATIENCE, is_of("syn-drop-accept-queue", &at(8080)));
    let after = begun.elapsed().as_secs_f64();
    thread::sleep(Duration::from_secs(6));
    let dropped = [0, 1].map(|n| socket(&server, [8080, 8081][n]).0 - before[n]);
    let (events, report) = live.end();
    assert!(heard.is_some(), "{events:#?}");
    assert_nothing_was_withdrawn(&events);
    let at_first = findings_of(&report, "syn-drop-accept-queue", &at(8080));
    let at_second = findings_of(&report, "syn-drop-syn-queue", &at(8081));
    let of_connections = |f: &&&Value| f["certainty"] == "confirmed" && !f["client"].is_null();
    assert_eq!(at_first.iter().filter(of_connections).count(), 6, "{:?}", tally(&report));
    assert_eq!([&at_first, &at_second].map(|found| sum_of(found)), dropped, "{:?}", tally(&report));
    assert!(at_second.iter().filter(|f| f["certainty"] == "confirmed").count() >= 4, "{:?}", tally(&report));
    assert!(findings_of(&report, "syn-unanswered", &at(8080)).is_empty(), "{:?}", tally(&report));
    row("two listeners", format!("{dropped:?} drops"), format!("{:?}", tally(&report)), after);
}

/// Of sockets that share an address each has a row and a metric of its own.
fn sockets_that_share_an_address(net: &mut Net) {
    let server = net.server.clone();
    set(&server, "net.core.somaxconn", &BACKLOG.to_string());
    for _ in 0..2 {
        net.play(&server, &format!("share {}", at(8080)), "ready");
    }
    let port = 9_464;
    let live = Live::watch(net, &["--metrics", &port.to_string()]);
    let client = net.client.clone();
    for _ in 0..8 {
        net.play(&client, &format!("try {} 1", at(8080)), "asked");
    }
    thread::sleep(Duration::from_secs(2));
    // The port is one of this namespace: only the packets are those of the other.
    let page = ask(port);
    let rows = page.lines().filter(|line| line.starts_with("synscope_accept_queue_length{")).count();
    let _ = live.end();
    assert_eq!(rows, 2, "{page}");
    assert!(page.contains("socket=\"2\""), "{page}");
}

/// The page of metrics.
fn ask(port: u16) -> String {
    use std::io::Read;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it is served");
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").expect("it is open");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("text");
    page
}

/// Standard output is a pipe that nobody reads for a while: the watch goes on, and nothing that it told is lost.
fn a_reader_that_stands_still(net: &mut Net) {
    /// The pipe and the reader's own buffer hold less than that.
    const ATTEMPTS: usize = 200;
    let client = net.client.clone();
    let options = ["--metrics", "9466", "--kernel", "off", "--events", "findings"];
    let (mut child, mut out) = netns::start_live(net, &options);
    let mut page = String::new();
    for found in [ATTEMPTS, 2 * ATTEMPTS] {
        net.play(&client, &format!("try {} {ATTEMPTS}", at(8099)), "asked");
        let is_told = |line: &str| {
            line.starts_with("synscope_findings_total{kind=\"connection-refused\"")
                && line.ends_with(&format!(" {found}"))
        };
        let begun = Instant::now();
        while !page.lines().any(is_told) {
            assert!(begun.elapsed() < PATIENCE, "{found}: {page}");
            thread::sleep(Duration::from_millis(100));
            page = ask(9_466);
        }
    }
    netns::run("kill", &["-INT", &child.id().to_string()]).expect("it runs");
    let mut told = String::new();
    std::io::Read::read_to_string(&mut out, &mut told).expect("text");
    assert!(child.wait().expect("it ended").success());
    assert!(told.len() > 4 * 65_536, "{}", told.len());
    let opened = |line: &&str| line.contains("\"event\":\"opened\"") && line.contains("connection-refused");
    assert_eq!(told.lines().filter(opened).count(), 2 * ATTEMPTS);
}

/// Who hangs up wants the report all the same.
fn a_hang_up_ends_with_the_report(net: &mut Net) {
    let mut live = Live::watch(net, &[]);
    netns::run("kill", &["-HUP", &live.child.id().to_string()]).expect("it runs");
    let ended = live.child.wait().expect("it ended");
    assert!(ended.success(), "{ended}");
    let report = std::fs::read_to_string(net.path("live-report.json")).expect("a report");
    assert!(report.contains("synscope.report/1"), "{report}");
}

/// Nobody listens on the port in this namespace: packets to it are forwarded to another host that drops them.
fn connections_that_are_forwarded(net: &mut Net) {
    let (server, client) = (net.server.clone(), net.client.clone());
    let rules = "add table ip t; add chain ip t pre { type nat hook prerouting priority -100; }; \
                 add rule ip t pre tcp dport 8080 dnat to 192.0.2.99:80";
    inside(&server, "nft", &[rules]);
    set(&server, "net.ipv4.ip_forward", "1");
    let live = Live::watch(net, &["--kernel", "off"]);
    net.play(&client, &format!("try {} 3", at(8080)), "asked");
    let heard = live.hear(PATIENCE, is_of("syn-unanswered", &at(8080)));
    thread::sleep(Duration::from_secs(2));
    let (events, report) = live.end();
    assert!(heard.is_some(), "{events:#?}");
    for finding in findings_of(&report, "syn-unanswered", &at(8080)) {
        let text = finding.to_string();
        assert!(!text.contains("firewall on the server"), "{finding:#}");
        assert_ne!(finding["certainty"], "confirmed", "{finding:#}");
    }
    assert!(report["incidents"].to_string().contains("conntrack -L"), "{:#}", report["incidents"]);
}

/// Nearly full for some seconds, and nothing dropped yet: that is told.
fn a_queue_that_fills(net: &mut Net) {
    let (server, client) = (net.server.clone(), net.client.clone());
    set(&server, "net.core.somaxconn", "10");
    net.play(&server, &format!("listen {}", at(8080)), "ready");
    let live = Live::watch(net, &[]);
    let begun = Instant::now();
    net.play(&client, &format!("connect {} 9", at(8080)), "ready");
    let heard = live.hear(PATIENCE, warning("has held 9 of 10"));
    let after = begun.elapsed().as_secs_f64();
    let (dropped, queue, limit) = socket(&server, 8080);
    let (events, _) = live.end();
    assert!(heard.is_some(), "{events:#?}");
    assert_eq!(dropped, 0);
    row("nearly full", format!("queue {queue} of {limit}"), "held 9 of 10", after);
}

/// It goes, and comes back with another backlog.
fn a_listener_that_comes_back(net: &mut Net) {
    let (server, client) = (net.server.clone(), net.client.clone());
    set(&server, "net.core.somaxconn", "4");
    net.play(&server, &format!("listen {}", at(8080)), "ready");
    let live = Live::watch(net, &[]);
    net.play(&client, &format!("connect {} 2", at(8080)), "ready");
    thread::sleep(Duration::from_secs(2));
    net.running[0].kill().expect("it runs");
    let begun = Instant::now();
    let gone = live.hear(PATIENCE, warning("nobody listens at 192.0.2.1:8080 any more"));
    let after = begun.elapsed().as_secs_f64();
    set(&server, "net.core.somaxconn", "7");
    net.play(&server, &format!("listen {}", at(8080)), "ready");
    let back = live.hear(PATIENCE, warning("its backlog is 7, that of the one before was 4"));
    let (events, _) = live.end();
    assert!(gone.is_some() && back.is_some(), "{events:#?}");
    row("vanished, back", "backlog 4, then 7", "both told", after);
}

fn warning(text: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["text"].as_str().is_some_and(|told| told.contains(text))
}

/// Sockets in CLOSE_WAIT, and what the application accepts a second, are on the page of metrics.
fn sockets_by_state(net: &mut Net) {
    let (server, client) = (net.server.clone(), net.client.clone());
    net.play(&server, &format!("hold {}", at(8080)), "ready");
    let live = Live::watch(net, &["--metrics", "9465"]);
    let begun = Instant::now();
    for _ in 0..3 {
        net.play(&client, &format!("half {}", at(8080)), "ready");
    }
    // Somebody comes in this second.
    net.play(&client, &format!("connect {} 1", at(8080)), "ready");
    let line = "synscope_listener_sockets{listener=\"192.0.2.1:8080\",state=\"close-wait\"} 3";
    let mut page = ask(9_465);
    while !(page.contains(line) && page.contains("synscope_listener_accepted{")) && begun.elapsed() < PATIENCE
    {
        thread::sleep(Duration::from_millis(100));
        page = ask(9_465);
    }
    let after = begun.elapsed().as_secs_f64();
    let counted = inside(&server, "ss", &["-Htn", "state", "close-wait"]).lines().count();
    let _ = live.end();
    assert!(page.contains(line), "{page}");
    assert_eq!(counted, 3);
    let accepted = page.lines().any(|line| line.starts_with("synscope_listener_accepted{listener="));
    assert!(accepted, "{page}");
    row("CLOSE_WAIT", counted, 3, after);
}

/// The filter leaves out what the socket refuses: its own count is told all the same.
fn attempts_that_nobody_captured(net: &mut Net) {
    fill(net, 8080);
    let (server, client) = (net.server.clone(), net.client.clone());
    let before = socket(&server, 8080).0;
    let live = Live::watch(net, &["--filter", "tcp port 9"]);
    let begun = Instant::now();
    net.play(&client, &format!("short {} 30", at(8080)), "ready");
    let heard = live.hear(PATIENCE, |event| event["event"] == "counter-only");
    let after = begun.elapsed().as_secs_f64();
    let rose = socket(&server, 8080).0 - before;
    let (events, _) = live.end();
    let told = heard.map(|event| event["refused"].to_string()).unwrap_or_default();
    assert!(told.contains(&format!("refused {rose} attempts by its own drop count")), "{events:#?}");
    assert!(told.contains("queue 5 of 4"), "{told}");
    row("not captured", format!("{rose} drops"), told, after);
}

/// A join that the server takes no more of is refused with a RST: nobody's queue is full.
fn a_join_that_is_refused(net: &mut Net) {
    let (server, client) = (net.server.clone(), net.client.clone());
    ip(&["-n", &client, "addr", "add", "192.0.2.3/24", "dev", "veth1"]);
    ip(&["-n", &client, "mptcp", "limits", "set", "subflow", "2"]);
    ip(&["-n", &client, "mptcp", "endpoint", "add", "192.0.2.3", "dev", "veth1", "subflow"]);
    ip(&["-n", &server, "mptcp", "limits", "set", "subflow", "0"]);
    net.play(&server, &format!("mptcp-accept {}", at(8080)), "ready");
    let live = Live::watch(net, &[]);
    net.play(&client, &format!("mptcp-connect {}", at(8080)), "ready");
    thread::sleep(Duration::from_secs(2));
    let joins = counter(&server, "MPTcpExtMPJoinSynRx");
    let (events, report) = live.end();
    let bad = report["findings"].as_array().expect("findings").iter();
    let bad: Vec<&Value> = bad.filter(|f| f["severity"] != "info").collect();
    assert!(bad.is_empty(), "{bad:#?} {events:#?}");
    row("MPTCP join refused", format!("{joins} joins"), format!("{:?}", tally(&report)), 0.0);
}
