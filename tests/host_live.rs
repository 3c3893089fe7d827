//! The whole way, with a kernel: two network namespaces, a real overflow in one run, a firewall in the other, snapshots
//! around each. The packets look alike; the counters tell.
//!
//! Needs root, `ip` and `tcpdump`, and says so when it is skipped. Traffic stays between the two namespaces.

#![cfg(target_os = "linux")]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const SERVER: &str = "192.0.2.1";
const CLIENT: &str = "192.0.2.2";
/// The listener's backlog: one more connection fits.
const BACKLOG: usize = 4;
/// Long enough for the first SYN-ACK to be repeated after 1 s.
const PATIENCE: Duration = Duration::from_millis(1_700);

/// In this time a few SYNs cross a cable that does not exist.
const SYNS_UNDER_WAY: Duration = Duration::from_millis(15);
/// A SYN-ACK held back for longer would come nearer to its repetition than timers make them.
const NO_TIMER_YET: Duration = Duration::from_millis(70);
/// How often a run may be too slow.
const ATTEMPTS: usize = 4;

/// What a copy of this test is told to play, inside a namespace: `listen ADDRESS` (never accepts), `accept ADDRESS`,
/// `connect ADDRESS N`.
const ROLE: &str = "SYNSCOPE_TEST_ROLE";

#[test]
#[ignore = "a part that other tests let a copy of this program play"]
fn part() {
    let Ok(role) = env::var(ROLE) else { return };
    let words: Vec<&str> = role.split(' ').collect();
    match words[..] {
        ["listen", address] => {
            let _listener = TcpListener::bind(address).expect("a free port");
            ready_until_told();
        }
        ["accept", address] => {
            let listener = TcpListener::bind(address).expect("a free port");
            thread::spawn(move || {
                listener.incoming().flatten().for_each(|mut stream| {
                    thread::spawn(move || stream.read_to_end(&mut Vec::new()));
                })
            });
            ready_until_told();
        }
        ["connect", address, n] => {
            let address = address.parse().expect("an address");
            let connect = move || {
                let mut stream =
                    TcpStream::connect_timeout(&address, Duration::from_secs(5)).expect("an answer");
                stream.write_all(b"hello").expect("an open connection");
                stream
            };
            let clients: Vec<_> = (0..n.parse().expect("a number")).map(|_| thread::spawn(connect)).collect();
            println!("asked");
            let streams: Vec<_> = clients.into_iter().map(|c| c.join().expect("a connection")).collect();
            ready_until_told();
            drop(streams);
        }
        _ => panic!("no such part: {role}"),
    }
}

fn ready_until_told() {
    println!("ready");
    let _ = std::io::stdin().read(&mut [0]);
}

/// Two namespaces with a cable between them; gone when dropped, with all that runs there.
struct Net {
    server: String,
    client: String,
    running: Vec<Child>,
    /// What the parts say: they must not find the pipe closed.
    heard: Vec<BufReader<ChildStdout>>,
    folder: tempfile::TempDir,
}

impl Drop for Net {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
        for namespace in [&self.server, &self.client] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

impl Net {
    /// `None`, with the reason printed, where that cannot be done.
    fn build(name: &str) -> Option<Net> {
        let tag = format!("{name}-{}", std::process::id());
        let net = Net {
            server: format!("synscope-{tag}-s"),
            client: format!("synscope-{tag}-c"),
            running: Vec::new(),
            heard: Vec::new(),
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        for program in ["ip", "tcpdump"] {
            if Command::new(program).arg("--version").output().is_err() {
                eprintln!("skipped: no {program}");
                return None;
            }
        }
        for namespace in [&net.server, &net.client] {
            if let Err(reason) = run("ip", &["netns", "add", namespace]) {
                eprintln!("skipped: no network namespaces: {reason}");
                return None;
            }
        }
        let (s, c) = (net.server.as_str(), net.client.as_str());
        let cable = ["-n", s, "link", "add", "veth0", "type", "veth", "peer", "name", "veth1", "netns", c];
        if let Err(reason) = run("ip", &cable) {
            eprintln!("skipped: no veth devices: {reason}");
            return None;
        }
        for (namespace, device, address) in [(s, "veth0", SERVER), (c, "veth1", CLIENT)] {
            ip(&["-n", namespace, "addr", "add", &format!("{address}/24"), "dev", device]);
            ip(&["-n", namespace, "link", "set", device, "up"]);
            ip(&["-n", namespace, "link", "set", "lo", "up"]);
        }
        // The client never has to ask for the server's address.
        let mac = net.mac(s, "veth0");
        ip(&["-n", c, "neigh", "replace", SERVER, "lladdr", &mac, "dev", "veth1", "nud", "permanent"]);
        Some(net)
    }

    fn mac(&self, namespace: &str, device: &str) -> String {
        let path = format!("/sys/class/net/{device}/address");
        inside(namespace, "cat", &[&path]).trim().to_owned()
    }

    /// Starts a part in a namespace and waits until it has said `word`.
    fn play(&mut self, namespace: &str, role: &str, word: &str) {
        let me = env::current_exe().expect("a program");
        let mut child = Command::new("ip")
            .args(["netns", "exec", namespace])
            .arg(me)
            .args(["--exact", "part", "--ignored", "--nocapture"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("ip was there before");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        self.running.push(child);
        let said = out.by_ref().lines().map_while(Result::ok).any(|line| line.contains(word));
        self.heard.push(out);
        assert!(said, "{role} ended before it was {word}");
    }

    /// `connections` at once to `server`, whose answers are held back until all SYNs have come: it does not know the
    /// client's link address. Meanwhile `rules` are set. False if that took so long that a timer may have run.
    fn burst(&mut self, server: &str, connections: usize, rules: &str) -> bool {
        inside(&self.client, "sh", &["-c", "echo 8 >/proc/sys/net/ipv4/conf/veth1/arp_ignore"]);
        let mac = self.mac(&self.client, "veth1");
        ip(&["-n", &self.server, "neigh", "flush", "dev", "veth0"]);
        let commands = self.path("commands");
        let link = format!("neigh replace {CLIENT} lladdr {mac} dev veth0 nud permanent\n");
        fs::write(&commands, format!("{rules}{link}")).expect("a writable folder");
        let client = self.client.clone();
        self.play(&client, &format!("connect {server} {connections}"), "asked");
        let asked = Instant::now();
        thread::sleep(SYNS_UNDER_WAY);
        ip(&["-n", &self.server, "-batch", text(&commands)]);
        asked.elapsed() < NO_TIMER_YET
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

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

fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

fn ip(args: &[&str]) {
    run("ip", args).unwrap_or_else(|reason| panic!("ip {args:?}: {reason}"));
}

fn inside(namespace: &str, program: &str, args: &[&str]) -> String {
    run("ip", &[&["netns", "exec", namespace, program], args].concat())
        .unwrap_or_else(|reason| panic!("{program} {args:?}: {reason}"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

fn kinds<'a>(report: &'a Value, kind: &str) -> Vec<&'a Value> {
    report["findings"].as_array().into_iter().flatten().filter(|f| f["kind"] == kind).collect()
}

/// Handshakes that all reach the server before its answers leave it: at the SYN there is room for each of them, at the
/// final ACK no more.
#[test]
fn a_real_overflow_is_confirmed() {
    let Some(net) = attempt("overflow", &|net| {
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
    }) else {
        return;
    };

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

/// The same packets, but what follows the SYNs is dropped between the capture point and TCP: by a policy route, which
/// needs no program beyond `ip`.
#[test]
fn a_firewall_is_not_an_overflow() {
    let Some(net) = attempt("firewall", &|net| {
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
    }) else {
        return;
    };
    is_told_from_an_overflow(&net);
}

/// The same with nftables, where it is installed.
#[test]
fn nor_is_one_of_nftables() {
    if Command::new("nft").arg("--version").output().is_err() {
        eprintln!("skipped: no nft");
        return;
    }
    let Some(net) = attempt("nftables", &|net| {
        let (server, client) = (net.server.clone(), net.client.clone());
        let rules = "add table inet t; add chain inet t in { type filter hook input priority 0; }; \
                     add rule inet t in tcp dport 8081 tcp flags & (syn | ack) == ack counter drop";
        net.play(&server, &format!("accept {SERVER}:8081"), "ready");
        net.snapshot("before.json");
        let capture = net.capture();
        inside(&server, "nft", &[rules]);
        net.play(&client, &format!("connect {SERVER}:8081 {BACKLOG}"), "ready");
        thread::sleep(PATIENCE);
        capture.stop();
        net.snapshot("after.json");
        true
    }) else {
        return;
    };
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

/// Builds the namespaces and runs `scene` in them, again if it was too slow. `None` if that cannot be done here.
fn attempt(name: &str, scene: &dyn Fn(&mut Net) -> bool) -> Option<Net> {
    for n in 0..ATTEMPTS {
        let mut net = Net::build(&format!("{name}{n}"))?;
        if scene(&mut net) {
            return Some(net);
        }
    }
    eprintln!("skipped: this machine is too busy to hold {NO_TIMER_YET:?}");
    None
}
