//! What `synscope live --kernel on` says beside real sockets in network namespaces, and how it is read.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use synscope::capture::{Block, Source};
use synscope::decode::{Decoded, Segment, decode};
use synscope::kernel::comment;
use synscope::kernel::verdict::Judgement;

use crate::netns::{Net, SERVER, inside, run, text};

/// One more connection fits.
pub const BACKLOG: usize = 4;
/// A SYN-ACK is repeated after a second. Until then a final ACK comes for the first time.
pub const NOT_REPEATED: Duration = Duration::from_millis(600);
/// A machine that is too busy gets that many chances.
pub const ATTEMPTS: usize = 4;

/// The program under test.
pub struct Live {
    pub child: Child,
    /// Whether the kernel lets its functions be watched: then the queues are known at each SYN and final ACK.
    pub functions: bool,
}

impl Live {
    /// Starts it on the server's interface, and waits until it watches.
    pub fn watch(net: &Net, more: &[&str]) -> Live {
        Live::watch_at("veth0", net, more)
    }

    /// The same on another interface.
    pub fn watch_at(interface: &str, net: &Net, more: &[&str]) -> Live {
        let mut child = Command::new(env!("CARGO_BIN_EXE_synscope"))
            .args(["live", "--netns", &net.server, "-i", interface, "--kernel", "on", "--format", "jsonl"])
            .args(["-B", "16MiB", "--report", &format!("json={}", text(&net.path("report.json")))])
            .args(["--write", text(&net.path("ring.pcapng"))])
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program under test");
        let mut err = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut said = String::new();
        err.read_line(&mut said).expect("text");
        assert!(said.contains(&format!("watching {interface}")), "{said}");
        said.clear();
        err.read_line(&mut said).expect("text");
        assert!(said.contains("asked about single packets"), "{said}");
        let functions = said.contains("queues at tcp_conn_request");
        // The guests are there for these.
        assert!(functions || std::env::var_os("SYNSCOPE_FUNCTIONS").is_none(), "{said}");
        thread::spawn(move || err.read_to_end(&mut Vec::new()));
        Live { child, functions }
    }

    /// Ends it and reads its report.
    pub fn end(mut self, net: &Net) -> Value {
        run("kill", &["-INT", &self.child.id().to_string()]).expect("it runs");
        assert!(self.child.wait().expect("it ended").success());
        json(&net.path("report.json"))
    }
}

pub fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("a report")).expect("JSON")
}

/// The files of the ring.
pub fn ring(net: &Net) -> Vec<PathBuf> {
    let entries = fs::read_dir(net.folder.path()).expect("a folder").flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| text(path).contains("ring.0") && text(path).ends_with(".pcapng")).collect();
    files.sort();
    files
}

/// What `analyze` says of them.
pub fn analyzed(net: &Net) -> Value {
    let report = net.path("analyzed.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_synscope"));
    let output = command.args(["analyze", "--format", "json", "-o", text(&report)]).args(ring(net)).output();
    let output = output.expect("the program under test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    json(&report)
}

pub fn set(namespace: &str, name: &str, value: &str) {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    inside(namespace, "sh", &["-c", &format!("echo {value} >{path}")]);
}

/// Whether this kernel is at least of that version.
pub fn kernel_has(version: (u32, u32)) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux");
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    (numbers.next().expect("a version"), numbers.next().unwrap_or(0)) >= version
}

/// The findings of a kind about single connections.
pub fn of_kind<'r>(report: &'r Value, kind: &str) -> Vec<&'r Value> {
    report["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .filter(|finding| finding["kind"] == kind && !finding["client"].is_null())
        .collect()
}

/// The verdicts on the evidence of a finding.
pub fn verdicts(finding: &Value) -> Vec<&Value> {
    let evidence = finding["evidence"].as_array().expect("evidence").iter();
    evidence.map(|e| &e["kernel"]).filter(|kernel| !kernel.is_null()).collect()
}

/// Asserts that each finding of the kind was judged, with this reason for one of its packets, and gives that verdict.
pub fn each_judged<'r>(report: &'r Value, kind: &str, reason: &str) -> Vec<&'r Value> {
    let findings = of_kind(report, kind);
    assert!(!findings.is_empty(), "no {kind}: {report:#}");
    findings
        .into_iter()
        .map(|finding| {
            assert!(finding["judged_by_kernel"].as_u64() >= Some(1), "{finding:#}");
            assert_eq!(finding["certainty"], "confirmed", "{finding:#}");
            let said = verdicts(finding).into_iter().find(|kernel| kernel["reason"] == reason);
            said.unwrap_or_else(|| panic!("no {reason}: {finding:#}"))
        })
        .collect()
}

/// Asserts that each finding of the kind, of SYNs that were dropped, is confirmed by the probe at `tcp_conn_request`, and gives
/// its first verdict; or that none is judged where functions cannot be watched: the kernel tells nobody that it drops a SYN.
pub fn each_at_the_listener<'r>(report: &'r Value, kind: &str, functions: bool) -> Vec<&'r Value> {
    let findings = of_kind(report, kind);
    assert!(!findings.is_empty(), "no {kind}: {report:#}");
    let judged = |finding: &'r Value| {
        let said = verdicts(finding);
        if !functions {
            assert!(said.is_empty(), "{finding:#}");
            return None;
        }
        assert_eq!(finding["certainty"], "confirmed", "{finding:#}");
        assert_eq!(said[0]["function"], "tcp_conn_request", "{finding:#}");
        Some(said[0])
    };
    findings.into_iter().filter_map(judged).collect()
}

/// Plays a scene until the machine was quick enough for it.
pub fn play(name: &str, scene: impl Fn(&mut Net) -> bool) {
    for n in 0..ATTEMPTS {
        if scene(&mut Net::build(&format!("kernel-{name}{n}"))) {
            return;
        }
        eprintln!("{name}: this machine was too busy, attempt {} of {ATTEMPTS}", n + 1);
    }
    // An emulated machine may always be.
    let is_emulated = std::env::var_os("SYNSCOPE_EMULATED").is_some();
    assert!(is_emulated, "{name}: too slow {ATTEMPTS} times");
    eprintln!("{name}: left out, this machine is too slow");
}

/// Fills the accept queue and lets more handshakes than fit reach their final ACK. `role` is what the clients do.
pub fn overflow(net: &mut Net, role: &str) -> Option<(Value, bool)> {
    let (server, client) = (net.server.clone(), net.client.clone());
    set(&server, "net.core.somaxconn", &BACKLOG.to_string());
    net.play(&server, &format!("listen {SERVER}:8080"), "ready");
    let live = Live::watch(net, &[]);
    net.play(&client, &format!("connect {SERVER}:8080 {BACKLOG}"), "ready");
    let quick = net.time_of_burst(&format!("{role} {SERVER}:8080 {}", BACKLOG + 1), "") < NOT_REPEATED;
    // The SYN-ACK is repeated after 1 s and after 3 s.
    thread::sleep(Duration::from_millis(4_000));
    let functions = live.functions;
    let report = live.end(net);
    quick.then_some((report, functions))
}

/// The accept queue that a verdict tells must have been full.
pub fn was_full(verdict: &Value) {
    let queue = |n: usize| verdict["accept_queue"][n].as_u64().unwrap_or_else(|| panic!("{verdict:#}"));
    assert_eq!((queue(0), queue(1)), (BACKLOG as u64 + 1, BACKLOG as u64), "{verdict:#}");
}

/// Kernels before 6.15 have no name for it, and their function probes say it instead.
pub const OVERFLOW: &str = "TCP_LISTEN_OVERFLOW";

/// The segments of the ring with what the kernel said of each.
pub fn recorded(net: &Net) -> Vec<(Segment, Option<Judgement>)> {
    let mut all = Vec::new();
    for file in ring(net) {
        let mut source: Box<dyn Source> = synscope::capture::open(&[file]).expect("a capture").source;
        let mut block = Block::default();
        while source.next_block(&mut block) {
            let said: Vec<_> = block.notes().iter().map(|(id, note)| (*id, comment::read(note))).collect();
            for packet in block.packets() {
                let mut segment = Segment::default();
                if decode(&packet, &mut segment) == Decoded::Tcp {
                    let of = said.iter().find(|(id, _)| *id == packet.id);
                    all.push((segment, of.and_then(|(_, judgement)| judgement.clone())));
                }
            }
        }
    }
    all
}
