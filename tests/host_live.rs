//! The whole way, with a kernel: two network namespaces, a real overflow in one run, a firewall in the other, snapshots
//! around each. The packets look alike; the counters tell.
//!
//! Needs root, `ip` and `tcpdump`; ignored without them. Traffic stays between the two namespaces.

#![cfg(target_os = "linux")]

#[path = "support/netns.rs"]
mod netns;

use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStderr, Command, Stdio};
use std::thread;
use std::time::Duration;

use netns::{NO_TIMER_YET, Net, SERVER, add_rule, inside, ip, run, text};
use serde_json::Value;

/// The listener's backlog: one more connection fits.
const BACKLOG: usize = 4;
/// Long enough for the first SYN-ACK to be repeated after 1 s.
const PATIENCE: Duration = Duration::from_millis(1_700);

/// How often a run may be too slow.
const ATTEMPTS: usize = 8;

#[test]
#[ignore = "a part that other tests let a copy of this program play"]
fn part() {
    netns::part();
}

/// What only this test asks of the namespaces.
trait Recorded {
    fn snapshot(&self, name: &str);
    fn capture(&mut self) -> Capture;
    fn report(&self, snapshots: &[&str]) -> Value;
}

impl Recorded for Net {
    fn snapshot(&self, name: &str) {
        let to = self.path(name);
        inside(&self.server, env!("CARGO_BIN_EXE_synscope"), &["snapshot", "-o", text(&to)]);
    }

    /// Starts tcpdump at the server.
    fn capture(&mut self) -> Capture {
        let mut child = Command::new("ip")
            .args([
                "netns",
                "exec",
                &self.server,
                "tcpdump",
                "-Z",
                "root",
                "-U",
                "--immediate-mode",
                "-n",
                "-i",
                "veth0",
                "-w",
            ])
            .arg(self.path("capture.pcap"))
            .arg("tcp")
            .stderr(Stdio::piped())
            .spawn()
            .expect("ip was there before");
        let pid = child.id();
        let mut err = BufReader::new(child.stderr.take().expect("it is piped"));
        self.running.push(child);
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(err.read_line(&mut line).expect("text") > 0, "tcpdump ended");
        }
        Capture { pid, err }
    }

    /// The report on the capture, with or without the snapshots.
    fn report(&self, snapshots: &[&str]) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_synscope"));
        command.args(["analyze", "--format", "json"]);
        for name in snapshots {
            command.arg("--host").arg(self.path(name));
        }
        let output = command.arg(self.path("capture.pcap")).output().expect("the program under test");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

struct Capture {
    pid: u32,
    err: BufReader<ChildStderr>,
}

impl Capture {
    fn stop(mut self) {
        run("kill", &["-INT", &self.pid.to_string()]).expect("tcpdump runs");
        // It ends when the file is complete.
        let _ = self.err.read_to_string(&mut String::new());
    }
}

fn kinds<'a>(report: &'a Value, kind: &str) -> Vec<&'a Value> {
    report["findings"].as_array().into_iter().flatten().filter(|f| f["kind"] == kind).collect()
}

/// Handshakes that all reach the server before its answers leave it: at the SYN there is room for each of them, at the
/// final ACK no more.
#[test]
#[cfg_attr(any(no_namespaces, no_tcpdump), ignore = "needs root, ip, unshare and tcpdump")]
fn a_real_overflow_is_confirmed() {
    let net = attempt("overflow", &|net| {
        let (server, client) = (net.server.clone(), net.client.clone());
        let backlog = format!("echo {BACKLOG} >/proc/sys/net/core/somaxconn");
        inside(&server, "sh", &["-c", &backlog]);
        net.play(&server, &format!("listen {SERVER}:8080"), "ready");
        net.snapshot("before.json");
        let capture = net.capture();
        net.play(&client, &format!("connect {SERVER}:8080 {BACKLOG}"), "ready");
        let in_time = net.burst(&format!("{SERVER}:8080"), BACKLOG + 1, "");
        thread::sleep(PATIENCE);
        capture.stop();
        net.snapshot("after.json");
        in_time
    });

    let alone = net.report(&[]);
    assert_eq!(
        kinds(&alone, "accept-queue-overflow").len(),
        BACKLOG,
        "one of {} fits: {alone:#}",
        BACKLOG + 1
    );
    let report = net.report(&["before.json", "after.json"]);
    let overflows = kinds(&report, "accept-queue-overflow");
    assert_eq!(overflows.len(), BACKLOG, "{report:#}");
    for f in overflows {
        assert_eq!(f["certainty"], "confirmed", "{f:#}");
        assert!(f["metrics"]["host_ListenOverflows"].as_u64() >= Some(BACKLOG as u64), "{f:#}");
        assert!(f["metrics"]["host_listener_drops"].as_u64() >= Some(BACKLOG as u64), "{f:#}");
    }
    let queue = report["inferred"].as_array().into_iter().flatten();
    let queue: Vec<_> = queue.filter(|i| i["setting"] == "accept queue (Recv-Q)").collect();
    assert!(queue.iter().any(|i| i["value"] == BACKLOG + 1), "full: {queue:?}");
}

/// The same packets, but segments after the SYN are dropped between the capture point and TCP. A policy route does that,
/// which needs no program beyond `ip`.
#[test]
#[cfg_attr(any(no_namespaces, no_tcpdump), ignore = "needs root, ip, unshare and tcpdump")]
fn a_firewall_is_not_an_overflow() {
    let net = attempt("firewall", &|net| {
        let (server, client) = (net.server.clone(), net.client.clone());
        // The table of local addresses comes first unless it is moved.
        for rule in ["add pref 100 lookup local", "del pref 0"] {
            let words: Vec<&str> = ["-n", &server, "rule"].into_iter().chain(rule.split(' ')).collect();
            ip(&words);
        }
        net.play(&server, &format!("accept {SERVER}:8081"), "ready");
        net.snapshot("before.json");
        let capture = net.capture();
        // One that works, so that the listener is known.
        net.play(&client, &format!("connect {SERVER}:8081 1"), "ready");
        let drop = "rule add pref 5 iif veth0 ipproto tcp dport 8081 blackhole\n";
        let in_time = net.burst(&format!("{SERVER}:8081"), BACKLOG, drop);
        thread::sleep(PATIENCE);
        capture.stop();
        net.snapshot("after.json");
        in_time
    });
    is_told_from_an_overflow(&net);
}

/// The same with nftables, where it is installed.
#[test]
#[cfg_attr(any(no_namespaces, no_tcpdump, no_nft), ignore = "needs root, ip, unshare, tcpdump and nft")]
fn nor_is_one_of_nftables() {
    let net = attempt("nftables", &|net| {
        let (server, client) = (net.server.clone(), net.client.clone());
        net.play(&server, &format!("accept {SERVER}:8081"), "ready");
        net.snapshot("before.json");
        let capture = net.capture();
        add_rule(&server, "tcp dport 8081 tcp flags & (syn | ack) == ack counter drop");
        net.play(&client, &format!("connect {SERVER}:8081 {BACKLOG}"), "ready");
        thread::sleep(PATIENCE);
        capture.stop();
        net.snapshot("after.json");
        true
    });
    is_told_from_an_overflow(&net);
}

fn is_told_from_an_overflow(net: &Net) {
    let alone = net.report(&[]);
    assert_eq!(kinds(&alone, "accept-queue-overflow").len(), BACKLOG, "the packets look alike: {alone:#}");
    let report = net.report(&["before.json", "after.json"]);
    assert!(kinds(&report, "accept-queue-overflow").is_empty(), "{report:#}");
    let filtered = kinds(&report, "handshake-loss");
    assert_eq!(filtered.len(), BACKLOG, "{report:#}");
    for f in filtered {
        assert_eq!(f["metrics"]["host_ListenOverflows"], 0, "{f:#}");
        assert!(f["cause"]["text"].as_str().is_some_and(|text| text.contains("firewall")), "{f:#}");
    }
    let one = net.report(&["after.json"]);
    assert_eq!(kinds(&one, "accept-queue-overflow").len(), BACKLOG, "one snapshot has no difference");
}

/// Builds the namespaces and runs `scene` in them, again if it was too slow.
///
/// # Panics
/// When it was too slow each time.
fn attempt(name: &str, scene: &dyn Fn(&mut Net) -> bool) -> Net {
    for n in 0..ATTEMPTS {
        let mut net = Net::build(&format!("{name}{n}"));
        if scene(&mut net) {
            return net;
        }
    }
    panic!("this machine is too busy to hold {NO_TIMER_YET:?}, {ATTEMPTS} times");
}
