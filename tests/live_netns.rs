//! `synscope live` on a real interface: in pairs of network namespaces real sockets are brought into each kind of trouble,
//! while the program watches the server's end.
//!
//! Needs root, `ip` and, for one of them, `nft`; ignored without them. All of it runs at the same time.

#![cfg(all(target_os = "linux", feature = "live"))]

#[path = "support/netns.rs"]
mod netns;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command};
use std::thread;
use std::time::{Duration, Instant};

use netns::{Net, SERVER, add_rule, inside, ip, run, start_live, text};
use serde_json::Value;

/// One more connection fits.
const BACKLOG: usize = 4;
/// A finding must be out within this after the packet that decides it.
const WITHIN: f64 = 1.0;
/// A machine that is too busy gets that many chances.
const ATTEMPTS: usize = 4;
/// No scene lasts longer.
const PATIENCE: Duration = Duration::from_secs(12);

#[test]
#[ignore = "a part that other tests let a copy of this program play"]
fn part() {
    netns::part();
}

/// The program under test, with the events that it has told.
struct Live {
    child: Child,
    out: BufReader<ChildStdout>,
    events: Vec<Value>,
}

impl Live {
    /// Starts it on the server's interface, and waits until it watches.
    fn watch(net: &Net, more: &[&str]) -> Live {
        let (child, out) = start_live(net, more);
        Live { child, out, events: Vec::new() }
    }

    /// Reads events until one of a finding of this kind is among them; `None` if none comes.
    fn hear(&mut self, kind: &str) -> Option<Value> {
        let until = Instant::now() + PATIENCE;
        let mut line = String::new();
        while Instant::now() < until {
            line.clear();
            if self.out.read_line(&mut line).expect("text") == 0 {
                return None;
            }
            let event: Value = serde_json::from_str(&line).expect("JSON");
            self.events.push(event.clone());
            if event["finding"]["kind"] == kind {
                return Some(event);
            }
        }
        None
    }

    /// Ends it and reads the rest.
    fn end(mut self) -> Vec<Value> {
        run("kill", &["-INT", &self.child.id().to_string()]).expect("it runs");
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("text");
        self.events.extend(rest.lines().map(|line| serde_json::from_str(line).expect("JSON")));
        let ended = self.child.wait().expect("it ended");
        assert!(ended.success(), "{ended}: {:?}", self.events);
        self.events
    }
}

/// Whether the machine was quick enough for what the scene needs.
#[derive(PartialEq)]
enum Went {
    Well,
    TooSlow,
}

type Scene = fn(&mut Net) -> Went;

#[test]
#[cfg_attr(no_namespaces, ignore = "needs root, ip and unshare")]
fn real_trouble_is_told_within_a_second() {
    play(&[
        ("overflow", overflow),
        ("abort", abort_on_overflow),
        ("syndrop", syn_drops_on_a_full_queue),
        ("cookies", syncookies),
        ("half", half_close),
        ("refused", refused),
        ("clean", a_clean_load),
        ("gone", the_interface_goes_and_comes_back),
    ]);
}

#[test]
#[cfg_attr(any(no_namespaces, no_nft), ignore = "needs root, ip, unshare and nft")]
fn a_firewall_is_told_from_an_overflow() {
    play(&[("firewall", firewall_drops_the_final_ack)]);
}

/// Plays scenes at the same time, each again when the machine was too slow.
fn play(scenes: &[(&str, Scene)]) {
    thread::scope(|scope| {
        for (name, scene) in scenes {
            scope.spawn(move || {
                for n in 0..ATTEMPTS {
                    let mut net = Net::build(&format!("live-{name}{n}"));
                    if scene(&mut net) == Went::Well {
                        return;
                    }
                    eprintln!("{name}: this machine was too busy, attempt {} of {ATTEMPTS}", n + 1);
                }
                panic!("{name}: too slow {ATTEMPTS} times");
            });
        }
    });
}

/// Seconds of the day of an RFC 3339 time.
fn seconds(time: &Value) -> f64 {
    let time = time.as_str().expect("a time");
    let part = |range: std::ops::Range<usize>| time[range].parse::<f64>().expect("digits");
    part(11..13) * 3600.0 + part(14..16) * 60.0 + part(17..29)
}

/// How long after the packet that decides it an event told of a finding: the first repetition, or else the last packet.
/// Where time decides, `decided` says how many seconds later it does.
fn delay(event: &Value, decided: f64) -> f64 {
    let evidence = event["finding"]["evidence"].as_array().expect("evidence");
    let is_repeated = |e: &&Value| {
        e["text"].as_str().is_some_and(|text| text.starts_with("SYN") && text.contains(" again"))
    };
    let decides = evidence.iter().find(is_repeated).or(evidence.last()).expect("never empty");
    (seconds(&event["at"]) - seconds(&decides["time"]) - decided).rem_euclid(86_400.0)
}

fn in_time(event: &Value, decided: f64) -> Went {
    eprintln!("{}: told after {:.3} s", event["finding"]["kind"], delay(event, decided));
    if delay(event, decided) <= WITHIN { Went::Well } else { Went::TooSlow }
}

fn set(namespace: &str, name: &str, value: &str) {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    inside(namespace, "sh", &["-c", &format!("echo {value} >{path}")]);
}

/// Handshakes that all reach the server before its answers leave it: at the SYN there is room for each, at the final ACK
/// no more.
fn overflow(net: &mut Net) -> Went {
    let (server, client) = (net.server.clone(), net.client.clone());
    set(&server, "net.core.somaxconn", &BACKLOG.to_string());
    net.play(&server, &format!("listen {SERVER}:8080"), "ready");
    let (ring, report) = (net.path("ring.pcapng"), net.path("report.json"));
    let mut live =
        Live::watch(net, &["--write", text(&ring), "--report", &format!("json={}", text(&report))]);
    net.play(&client, &format!("connect {SERVER}:8080 {BACKLOG}"), "ready");
    let quick = net.burst(&format!("{SERVER}:8080"), BACKLOG + 1, "");
    let heard = live.hear("accept-queue-overflow");
    let events = live.end();
    if !quick {
        return Went::TooSlow;
    }
    assert_eq!(claims(&report), claims_of_what_was_recorded(net));
    let heard = heard.unwrap_or_else(|| panic!("{events:#?}"));
    let finding = &heard["finding"];
    assert_eq!(finding["certainty"], "confirmed", "{heard:#}");
    assert!(finding["metrics"]["host_ListenOverflows"].as_u64() >= Some(1), "{heard:#}");
    assert!(finding["metrics"]["host_listener_drops"].as_u64() >= Some(1), "{heard:#}");
    in_time(&heard, 0.0)
}

/// Whether a finding is the sum of what a listener refused, by the kernel's own count: packets do not tell that.
fn is_sum(finding: &Value) -> bool {
    finding["client"].is_null() && !finding["metrics"]["host_listener_drops"].is_null()
}

/// What a JSON report claims: kinds and ends.
fn claims(report: &Path) -> Vec<String> {
    let report = std::fs::read_to_string(report).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let findings = report["findings"].as_array().expect("findings").iter();
    let mut claims: Vec<String> = findings
        .filter(|f| !is_sum(f))
        .map(|f| format!("{} {} {}", f["kind"], f["client"], f["server"]))
        .collect();
    claims.sort();
    claims
}

/// What `analyze` says of the ring.
fn claims_of_what_was_recorded(net: &Net) -> Vec<String> {
    let report = net.path("analyzed.json");
    let recorded =
        std::fs::read_dir(net.folder.path()).expect("a folder").flatten().map(|entry| entry.path());
    let ring = recorded.filter(|path| text(path).ends_with("000001.pcapng"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_synscope"));
    let output = command.args(["analyze", "--format", "json", "-o", text(&report)]).args(ring).output();
    let output = output.expect("the program under test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    claims(&report)
}

fn abort_on_overflow(net: &mut Net) -> Went {
    set(&net.server.clone(), "net.ipv4.tcp_abort_on_overflow", "1");
    let (server, client) = (net.server.clone(), net.client.clone());
    set(&server, "net.core.somaxconn", &BACKLOG.to_string());
    net.play(&server, &format!("listen {SERVER}:8080"), "ready");
    let mut live = Live::watch(net, &[]);
    net.play(&client, &format!("connect {SERVER}:8080 {BACKLOG}"), "ready");
    let quick = burst_of_tries(net, BACKLOG + 1);
    let heard = live.hear("accept-queue-reset");
    let events = live.end();
    if !quick {
        return Went::TooSlow;
    }
    let heard = heard.unwrap_or_else(|| panic!("{events:#?}"));
    assert_eq!(heard["finding"]["certainty"], "confirmed", "{heard:#}");
    let metrics = &heard["finding"]["metrics"];
    // The first that is told may be the sum of the listener.
    let by_counters = ["host_EmbryonicRsts", "host_ListenOverflows"];
    assert!(by_counters.iter().any(|name| metrics[name].as_u64() >= Some(1)), "{heard:#}");
    in_time(&heard, 0.0)
}

/// As [`Net::burst`], with clients that take a RST.
fn burst_of_tries(net: &mut Net, connections: usize) -> bool {
    net.burst_as(&format!("try {SERVER}:8080 {connections}"), "")
}

fn syn_drops_on_a_full_queue(net: &mut Net) -> Went {
    let (server, client) = (net.server.clone(), net.client.clone());
    set(&server, "net.core.somaxconn", &BACKLOG.to_string());
    net.play(&server, &format!("listen {SERVER}:8080"), "ready");
    let mut live = Live::watch(net, &[]);
    for _ in 0..=BACKLOG {
        net.play(&client, &format!("connect {SERVER}:8080 1"), "ready");
    }
    net.play(&client, &format!("try {SERVER}:8080 2"), "asked");
    let heard = live.hear("syn-drop-accept-queue");
    let events = live.end();
    let heard = heard.unwrap_or_else(|| panic!("{events:#?}"));
    assert!(heard["finding"]["metrics"]["host_ListenOverflows"].as_u64() >= Some(1), "{heard:#}");
    in_time(&heard, 0.0)
}

fn syncookies(net: &mut Net) -> Went {
    let (server, client) = (net.server.clone(), net.client.clone());
    set(&server, "net.ipv4.tcp_syncookies", "2");
    set(&client, "net.ipv4.tcp_timestamps", "0");
    net.play(&server, &format!("serve {SERVER} 8080 8080"), "ready");
    let mut live = Live::watch(net, &[]);
    net.play(&client, &format!("ask {SERVER} 8080 8080 8"), "ready");
    let heard = live.hear("syncookies");
    let events = live.end();
    let heard = heard.unwrap_or_else(|| panic!("{events:#?}"));
    assert_eq!(heard["finding"]["certainty"], "confirmed", "{heard:#}");
    assert!(heard["finding"]["metrics"]["host_SyncookiesSent"].as_u64() >= Some(4), "{heard:#}");
    in_time(&heard, 0.0)
}

fn half_close(net: &mut Net) -> Went {
    const AFTER: f64 = 2.0;
    let (server, client) = (net.server.clone(), net.client.clone());
    net.play(&server, &format!("hold {SERVER}:8080"), "ready");
    let mut live = Live::watch(net, &["--half-close-after", "2s"]);
    net.play(&client, &format!("half {SERVER}:8080"), "ready");
    let heard = live.hear("half-close");
    let events = live.end();
    let heard = heard.unwrap_or_else(|| panic!("{events:#?}"));
    // What decides is that nothing came for so long.
    in_time(&heard, AFTER)
}

fn refused(net: &mut Net) -> Went {
    let client = net.client.clone();
    let mut live = Live::watch(net, &[]);
    net.play(&client, &format!("try {SERVER}:9 1"), "ready");
    let heard = live.hear("connection-refused");
    let events = live.end();
    let heard = heard.unwrap_or_else(|| panic!("{events:#?}"));
    assert_eq!(heard["event"], "opened", "{heard:#}");
    in_time(&heard, 0.0)
}

/// The same packets as an overflow, and the counters do not move.
fn firewall_drops_the_final_ack(net: &mut Net) -> Went {
    let (server, client) = (net.server.clone(), net.client.clone());
    net.play(&server, &format!("accept {SERVER}:8080"), "ready");
    let mut live = Live::watch(net, &[]);
    add_rule(&server, "tcp dport 8080 tcp flags & (syn | ack) == ack counter drop");
    net.play(&client, &format!("connect {SERVER}:8080 {BACKLOG}"), "ready");
    let heard = live.hear("handshake-loss");
    let events = live.end();
    let heard = heard.unwrap_or_else(|| panic!("{events:#?}"));
    assert!(
        events.iter().all(|event| event["finding"]["kind"] != "accept-queue-overflow"),
        "the counters did not move: {events:#?}"
    );
    let cause = heard["finding"]["cause"]["text"].as_str().unwrap_or_default();
    assert!(cause.contains("firewall"), "{heard:#}");
    assert_eq!(heard["finding"]["metrics"]["host_ListenOverflows"], 0, "{heard:#}");
    in_time(&heard, 0.0)
}

fn a_clean_load(net: &mut Net) -> Went {
    let (server, client) = (net.server.clone(), net.client.clone());
    let live = Live::watch(net, &[]);
    // On several ports: all these connections in TIME_WAIT at one listener would be a finding.
    net.play(&server, &format!("serve {SERVER} 8080 8095"), "ready");
    net.play(&client, &format!("ask {SERVER} 8080 8095 250"), "ready");
    thread::sleep(Duration::from_secs(1));
    let events = live.end();
    let findings: Vec<_> = events.iter().filter(|event| event.get("finding").is_some()).collect();
    assert!(findings.is_empty(), "{findings:#?}");
    Went::Well
}

/// What comes after the interface was deleted and made anew is seen, too.
fn the_interface_goes_and_comes_back(net: &mut Net) -> Went {
    let (server, client) = (net.server.clone(), net.client.clone());
    let mut live = Live::watch(net, &[]);
    net.play(&client, &format!("try {SERVER}:9 1"), "ready");
    assert!(live.hear("connection-refused").is_some(), "{:#?}", live.events);
    let mut seen_again = |net: &mut Net, port: u16| {
        net.play(&client, &format!("try {SERVER}:{port} 1"), "ready");
        let heard = live.hear("connection-refused").unwrap_or_else(|| panic!("{:#?}", live.events));
        assert_eq!(heard["finding"]["server"], format!("{SERVER}:{port}"));
    };
    ip(&["-n", &server, "link", "set", "veth0", "down"]);
    thread::sleep(Duration::from_millis(1_200));
    ip(&["-n", &server, "link", "set", "veth0", "up"]);
    thread::sleep(Duration::from_millis(1_000));
    seen_again(net, 10);
    ip(&["-n", &server, "link", "del", "veth0"]);
    thread::sleep(Duration::from_millis(1_000));
    net.connect();
    thread::sleep(Duration::from_millis(1_000));
    seen_again(net, 11);
    let events = live.end();
    let said: Vec<&str> =
        events.iter().filter(|e| e["event"] == "warning").filter_map(|e| e["text"].as_str()).collect();
    assert_eq!(said.len(), 4, "{said:#?}");
    for (text, word) in said.iter().zip(["taken down", "it is back", "veth0: ", "it is back"]) {
        assert!(text.contains(word), "{said:#?}");
    }
    Went::Well
}

/// A user without the right is told what to type.
#[test]
#[cfg_attr(no_setpriv, ignore = "needs root and setpriv")]
fn without_the_right_to_capture_one_message_says_what_to_type() {
    let program = env!("CARGO_BIN_EXE_synscope");
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", program, "live", "-i", "lo"];
    let output = Command::new("setpriv").args(nobody).output().expect("it is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("synscope: cannot capture on lo: this process lacks CAP_NET_RAW."), "{said}");
    assert!(said.contains("sudo setcap cap_net_raw=ep"), "{said}");
    assert_eq!(said.lines().count(), 3, "{said}");
}

/// Once it watches, no thread has a right but those that capture, and they have one.
#[test]
#[cfg_attr(no_namespaces, ignore = "needs root, ip and unshare")]
fn rights_are_given_up() {
    let net = Net::build("live-rights");
    let live = Live::watch(&net, &[]);
    let tasks = std::fs::read_dir(format!("/proc/{}/task", live.child.id())).expect("it runs");
    let mut capturing = 0;
    for task in tasks.flatten() {
        let Ok(status) = std::fs::read_to_string(task.path().join("status")) else { continue };
        let field = |name: &str| {
            status.lines().find_map(|l| l.strip_prefix(name)).expect("a field").trim().to_owned()
        };
        let is_capturing = field("Name:").starts_with("capture-");
        capturing += usize::from(is_capturing);
        // CAP_NET_RAW is number 13.
        let may = if is_capturing { 1 << 13 } else { 0 };
        for name in ["CapEff:", "CapPrm:", "CapInh:"] {
            let has = u64::from_str_radix(&field(name), 16).expect("digits");
            assert_eq!(has & !may, 0, "{status}");
        }
        assert_eq!(field("NoNewPrivs:"), "1", "{status}");
    }
    assert_eq!(capturing, 1);
    live.end();
}

/// A name mistyped is answered with those there are.
#[test]
#[cfg_attr(no_namespaces, ignore = "needs root, ip and unshare")]
fn a_mistyped_interface_is_guessed() {
    let net = Net::build("live-typo");
    let live = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_synscope"));
        command.args(["live", "--netns", &net.server]).args(args).output().expect("the program under test")
    };
    let output = live(&["-i", "vteh0"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no interface 'vteh0'. There are: "), "{said}");
    assert!(said.contains("(did you mean 'veth0'?)"), "{said}");
    let output = live(&["-D"]);
    let listed = String::from_utf8_lossy(&output.stdout);
    assert!(listed.lines().any(|line| line.starts_with("veth0 ") && line.contains(SERVER)), "{listed}");
    let output = live(&["-i", "veth0", "--filter", "tcp prot 80"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--filter 'tcp prot 80': ") && said.contains("pcap-filter(7)"), "{said}");
}

/// SIGUSR1 prints the report and the watch goes on; SIGINT ends it with one.
#[test]
#[cfg_attr(no_namespaces, ignore = "needs root, ip and unshare")]
fn signals_bring_reports() {
    let net = Net::build("live-signals");
    let report = net.path("report.json");
    let live = Live::watch(&net, &["--report", &format!("json={}", text(&report))]);
    let read = || -> Option<Value> {
        let text = std::fs::read_to_string(&report).ok().filter(|text| !text.is_empty())?;
        serde_json::from_str(&text).ok()
    };
    run("kill", &["-USR1", &live.child.id().to_string()]).expect("it runs");
    let until = Instant::now() + PATIENCE;
    while read().is_none() && Instant::now() < until {
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(read().expect("a report")["schema"], "synscope.report/1");
    std::fs::write(&report, "").expect("it is ours");
    live.end();
    assert_eq!(read().expect("a report")["captures"][0]["path"], "veth0");
}

/// timeout(1) sends its signal twice, to the process and to its group: that is one request to stop, with a report.
#[test]
#[cfg_attr(no_namespaces, ignore = "needs root, ip and unshare")]
fn a_time_limit_ends_with_the_report() {
    let net = Net::build("live-timeout");
    let report = net.path("report.json");
    let json = format!("json={}", text(&report));
    let mut command = Command::new("timeout");
    command.args(["-s", "INT", "1.5", env!("CARGO_BIN_EXE_synscope"), "live"]);
    command.args(["--netns", &net.server, "-i", "veth0", "--report", &json]);
    let output = command.output().expect("it runs");
    let written = std::fs::read_to_string(&report).unwrap_or_default();
    assert!(written.contains("synscope.report/1"), "{written} {}", String::from_utf8_lossy(&output.stderr));
}

/// The reader of the events has gone away: no complaint, no report.
#[test]
#[cfg_attr(no_namespaces, ignore = "needs root, ip and unshare")]
fn a_broken_pipe_ends_it_quietly() {
    let net = Net::build("live-pipe");
    let mut live = Live::watch(&net, &[]);
    let (_, gone) = (live.out, live.child.stdin.take());
    drop(gone);
    // The next line of statistics comes after 10 s; a refused connection is told at once.
    let mut net = net;
    let client = net.client.clone();
    net.play(&client, &format!("try {SERVER}:9 1"), "ready");
    let ended = live.child.wait().expect("it ended");
    assert!(ended.success(), "{ended}");
}
