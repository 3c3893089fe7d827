//! What `synscope live` recorded gives the same findings once more when `analyze` reads it. The host is not asked: its facts
//! are in no capture.
//!
//! Needs root, `ip` and `nft`; ignored without them. All scenes run at the same time.

#![cfg(all(target_os = "linux", feature = "live"))]

#[path = "support/netns.rs"]
mod netns;
#[path = "support/watching.rs"]
mod watching;

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use netns::{CLIENT, Net, SERVER, add_rule, ip, text};
use serde_json::Value;
use watching::{Live, set, tally};

/// One more connection fits.
const BACKLOG: usize = 4;
/// So long after the last step of a scene the watch ends.
const AFTERWARDS: Duration = Duration::from_secs(6);
/// Half-closed connections are told after this.
const HALF_CLOSE: [&str; 2] = ["--half-close-after", "2s"];

#[test]
#[ignore = "a part that other tests let a copy of this program play"]
fn part() {
    netns::part();
}

/// A scene, and the findings that it must have: kind, and how many at least.
type Scene = (&'static str, &'static [(&'static str, usize)], fn(&mut Net));

const SCENES: &[Scene] = &[
    ("full", &[("syn-unanswered", 8)], |net| {
        fill(net, 8080);
        play(net, "try 192.0.2.1:8080 8", "asked");
    }),
    ("firewalled", &[("syn-unanswered", 12)], |net| {
        serve(net, "accept 192.0.2.1:8080");
        block(&net.server, "tcp dport 8080");
        play(net, "try 192.0.2.1:8080 12", "asked");
    }),
    ("short", &[("syn-unanswered", 1)], |net| {
        fill(net, 8080);
        play(net, "short 192.0.2.1:8080 30", "ready");
    }),
    ("nobody", &[("connection-refused", 5)], |net| play(net, "try 192.0.2.1:8080 5", "asked")),
    ("half", &[("half-close", 3)], |net| {
        serve(net, "hold 192.0.2.1:8080");
        for _ in 0..3 {
            play(net, "half 192.0.2.1:8080", "ready");
        }
    }),
    ("burst", &[("accept-queue-overflow", 1)], |net| {
        set(&net.server.clone(), "net.core.somaxconn", &BACKLOG.to_string());
        serve(net, "listen 192.0.2.1:8080");
        net.burst("192.0.2.1:8080", 12, "");
    }),
    ("lost", &[("syn-ack-unanswered", 3)], |net| {
        serve(net, "accept 192.0.2.1:8080");
        block(&net.client, "tcp sport 8080");
        play(net, "try 192.0.2.1:8080 3", "asked");
    }),
    ("drains", &[], |net| {
        set(&net.server.clone(), "net.core.somaxconn", &BACKLOG.to_string());
        serve(net, "late 192.0.2.1:8080");
        for _ in 0..=BACKLOG {
            play(net, "connect 192.0.2.1:8080 1", "ready");
        }
        play(net, "try 192.0.2.1:8080 3", "asked");
        thread::sleep(Duration::from_millis(1_500));
        net.running[0].stdin.as_mut().expect("it is piped").write_all(b"x").expect("it reads");
    }),
    ("moved", &[("syn-unanswered", 6)], |net| {
        fill(net, 8080);
        play(net, "try 192.0.2.1:8080 6", "asked");
        thread::sleep(Duration::from_millis(1_500));
        ip(&["-n", &net.server.clone(), "addr", "del", &format!("{SERVER}/24"), "dev", "veth0"]);
    }),
    ("stopped", &[("listener-closed", 1)], |net| {
        fill(net, 8080);
        play(net, "try 192.0.2.1:8080 6", "asked");
        thread::sleep(Duration::from_millis(1_500));
        net.running[0].kill().expect("it runs");
    }),
    ("v6", &[("syn-unanswered", 6)], |net| {
        for (namespace, address, device) in
            [(&net.server, "2001:db8::1/64", "veth0"), (&net.client, "2001:db8::2/64", "veth1")]
        {
            ip(&["-n", namespace, "addr", "add", address, "dev", device, "nodad"]);
        }
        serve(net, "accept [2001:db8::1]:8080");
        block(&net.server, "tcp dport 8080");
        play(net, "try [2001:db8::1]:8080 6", "asked");
    }),
    ("flood", &[("syn-flood", 1)], |net| {
        ip(&["-n", &net.server, "route", "add", "198.51.100.0/24", "via", CLIENT]);
        serve(net, "accept 192.0.2.1:8080");
        play(net, "flood 198.51.100 192.0.2.1 8080 200", "ready");
    }),
    ("clean", &[], |net| {
        serve(net, "serve 192.0.2.1 8080 8083");
        play(net, "ask 192.0.2.1 8080 8083 50", "ready");
    }),
];

#[test]
#[cfg_attr(any(no_namespaces, no_nft), ignore = "needs root, ip, unshare and nft")]
fn a_recording_gives_the_same_findings() {
    for some in SCENES.chunks(5) {
        thread::scope(|scope| {
            for scene in some {
                scope.spawn(|| recorded(&mut Net::build(&format!("lr-{}", scene.0)), scene));
            }
        });
    }
}

fn serve(net: &mut Net, role: &str) {
    let server = net.server.clone();
    net.play(&server, role, "ready");
}

fn play(net: &mut Net, role: &str, word: &str) {
    let client = net.client.clone();
    net.play(&client, role, word);
}

fn block(namespace: &str, what: &str) {
    add_rule(namespace, &format!("{what} counter drop"));
}

/// A listener that never accepts, and whose queue is full.
fn fill(net: &mut Net, port: u16) {
    set(&net.server.clone(), "net.core.somaxconn", &BACKLOG.to_string());
    serve(net, &format!("listen {SERVER}:{port}"));
    for _ in 0..=BACKLOG {
        play(net, &format!("connect {SERVER}:{port} 1"), "ready");
    }
}

/// Watches a scene without asking the host, keeps the packets and analyzes them: the findings are the same.
fn recorded(net: &mut Net, (case, expected, scene): &Scene) {
    let file = net.path("ring");
    let live = Live::watch(
        net,
        &[&["--no-host", "--kernel", "off", "--write", text(&file)][..], &HALF_CLOSE].concat(),
    );
    scene(net);
    thread::sleep(AFTERWARDS);
    let (_, report) = live.end();
    let mut files: Vec<PathBuf> = std::fs::read_dir(net.folder.path())
        .expect("a folder")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "pcapng"))
        .collect();
    files.sort();
    let mut command = Command::new(env!("CARGO_BIN_EXE_synscope"));
    let out = command.args(["analyze", "--format", "json"]).args(HALF_CLOSE).args(&files).output();
    let out = out.expect("it runs");
    let again: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|error| {
        panic!("{case}: {error}: {files:?} {}", String::from_utf8_lossy(&out.stderr))
    });
    eprintln!("| recorded: {case} | - | {:?} | 0.0 |", tally(&again));
    assert_eq!(named(&report), named(&again), "{case}: live, and then the recording");
    for (kind, least) in *expected {
        let told = named(&again).iter().filter(|name| name.starts_with(&format!("\"{kind}\""))).count();
        assert!(told >= *least, "{case}: {told} of {least} {kind}: {:#?}", named(&again));
    }
}

/// Kind, certainty, client and server of all findings, in order.
fn named(report: &Value) -> Vec<String> {
    let all = report["findings"].as_array().expect("findings").iter();
    let mut named: Vec<String> =
        all.map(|f| format!("{} {} {} {}", f["kind"], f["certainty"], f["client"], f["server"])).collect();
    named.sort();
    named
}
