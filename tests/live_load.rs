//! `synscope live` beside 20,000 connections a second: nothing above info where nothing is wrong.
//!
//! For a release build on a machine that has time: `cargo test --release --test live_load -- --ignored --nocapture`, or
//! any binary with `SYNSCOPE_BIN`. Needs root and `ip`.

#![cfg(all(target_os = "linux", feature = "live"))]

#[path = "support/netns.rs"]
mod netns;
#[path = "support/watching.rs"]
mod watching;

use std::thread;
use std::time::{Duration, Instant};

use netns::{Net, SERVER};
use serde_json::Value;
use watching::{Live, counter, set, tally};

/// Connections a second, and for how long.
const RATE: u64 = 20_000;
const SECONDS: u64 = 15;

fn seconds() -> u64 {
    std::env::var("SYNSCOPE_LIVE_SECONDS").ok().and_then(|n| n.parse().ok()).unwrap_or(SECONDS)
}

#[test]
#[ignore = "a part that other tests let a copy of this program play"]
fn part() {
    netns::part();
}

fn prepare(namespace: &str) {
    set(namespace, "net.ipv4.ip_local_port_range", "1024 65535");
    set(namespace, "net.core.somaxconn", "4096");
}

/// The load from `client` to `ip`; connections a second, and whatever was told above info.
fn load(net: &mut Net, client: &str, ip: &str, interface: &str) -> (u64, Vec<Value>) {
    let server = net.server.clone();
    prepare(&server);
    prepare(client);
    net.play(&server, &format!("sink {ip} 20000 20031"), "ready");
    let live = Live::watch(net, &["-i", interface, "-B", "64MiB"]);
    let made = net.play_and_hear(client, &format!("load {ip} 20000 20031 {RATE} {}", seconds()), "made");
    let made = made.rsplit(' ').next().and_then(|n| n.trim().parse().ok()).unwrap_or(0);
    let overflows = counter(&server, "TcpExtListenOverflows");
    let (events, report) = live.end();
    let told = events.iter().filter(|event| event.get("finding").is_some());
    let bad = told.filter(|event| event["finding"]["severity"] != "info").cloned().collect();
    eprintln!("| {interface} | {made} a second, {overflows} overflows | {:?} |", tally(&report));
    let warnings: Vec<&Value> = events.iter().filter(|event| event["event"] == "warning").collect();
    eprintln!("{warnings:?}");
    (made, bad)
}

#[test]
#[ignore = "takes the whole machine: cargo test --release --test live_load -- --ignored"]
fn a_clean_load_of_20_000_connections_a_second() {
    let mut net = Net::build("lv-load");
    let client = net.client.clone();
    let (made, bad) = load(&mut net, &client, SERVER, "veth0");
    assert!(bad.is_empty(), "{made}: {bad:#?}");
}

/// Six clients find a full queue in the middle of the load: the right word comes first, and soon.
#[test]
#[ignore = "takes the whole machine: cargo test --release --test live_load -- --ignored"]
fn an_overflow_under_load() {
    let mut net = Net::build("lv-busy");
    let (server, client) = (net.server.clone(), net.client.clone());
    prepare(&server);
    prepare(&client);
    set(&server, "net.core.somaxconn", "4");
    net.play(&server, &format!("listen {SERVER}:8080"), "ready");
    set(&server, "net.core.somaxconn", "4096");
    for _ in 0..5 {
        net.play(&client, &format!("connect {SERVER}:8080 1"), "ready");
    }
    net.play(&server, &format!("sink {SERVER} 20000 20031"), "ready");
    let live = Live::watch(&net, &["-B", "64MiB"]);
    net.play(&client, &format!("load {SERVER} 20000 20031 22000 12"), "begins");
    thread::sleep(Duration::from_secs(5));
    let begun = Instant::now();
    net.play(&client, &format!("try {SERVER}:8080 6"), "asked");
    let there = format!("{SERVER}:8080");
    let heard = live.hear(Duration::from_secs(5), |event| event["finding"]["server"] == there.as_str());
    let after = begun.elapsed().as_secs_f64();
    let (events, report) = live.end();
    let kind = heard.map(|event| event["finding"]["kind"].to_string());
    let of_here: Vec<_> = tally(&report).into_iter().filter(|(name, _)| name.contains(&there)).collect();
    eprintln!("| overflow under load | {kind:?} after {after:.1} s | {of_here:?} |");
    assert_eq!(kind.as_deref(), Some("\"syn-drop-accept-queue\""), "{events:#?}");
    assert!(after < 1.5, "{after}");
}

#[test]
#[ignore = "takes the whole machine: cargo test --release --test live_load -- --ignored"]
fn a_clean_load_over_loopback() {
    let mut net = Net::build("lv-loop");
    let server = net.server.clone();
    let (made, bad) = load(&mut net, &server, "127.0.0.1", "lo");
    assert!(bad.is_empty(), "{made}: {bad:#?}");
}
