//! The lab: seven network namespaces, five of them with a capture. Two are routers, where packets vanish without a trace.
//!
//! ```text
//!  client1 --.                          .-- web1
//!             router ---- balancer ----+
//!  client2 --'                          `-- narrow ---- web2
//! ```

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, listen, socket, sockopt};

use super::netns::{inside, ip, run, text, until_it_says};
use super::{Captures, POINTS};

/// Where the balancer is reached.
const BALANCER: &str = "203.0.113.80";
/// What the narrow link lets through, bytes of IP.
const NARROW: &str = "1000";
/// A SYN is repeated after a second.
const BEFORE_THE_SYN_IS_REPEATED: Duration = Duration::from_millis(400);
/// How long the connections in trouble are watched.
const WATCHED: Duration = Duration::from_millis(9_500);

/// A part that a copy of this program plays in a namespace.
pub fn play(role: &str) -> bool {
    match role.split(' ').collect::<Vec<_>>()[..] {
        // Echoes its input, and closes when the other side has.
        ["echo", address] => serve(address, |stream| {
            let mut question = [0; 64];
            let n = stream.read(&mut question).unwrap_or(0);
            let _ = stream.write_all(&question[..n]);
            let _ = stream.read_to_end(&mut Vec::new());
        }),
        // First a little, then more than the narrow link lets through, and a little again.
        ["large", address] => serve(address, |stream| {
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(&[1; 50]);
            thread::sleep(Duration::from_millis(200));
            let _ = stream.write_all(&[2; 5 * 1_448 + 300]);
            let _ = stream.read_to_end(&mut Vec::new());
        }),
        // Accepts nothing, and has room for two.
        ["full", address] => {
            let address: SocketAddr = address.parse().expect("an address");
            let listener = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
            bind(&listener, &address).expect("a free port");
            listen(&listener, 1).expect("a listener");
            until_told();
        }
        // Asks again and again, RATE times a second, until it is told to stop.
        ["ask", address, rate] => {
            let (address, rate): (SocketAddr, u64) =
                (address.parse().expect("an address"), rate.parse().expect("a number"));
            let told = thread::spawn(until_told);
            while !told.is_finished() {
                thread::spawn(move || ask(address));
                thread::sleep(Duration::from_millis(1_000 / rate));
            }
            // The last ones come to their end.
            thread::sleep(Duration::from_millis(500));
        }
        // One connection from each of these ports, held until the end, whatever becomes of it.
        ["from", address, first, last] => {
            let address: SocketAddr = address.parse().expect("an address");
            let ports = first.parse::<u16>().expect("a port")..=last.parse().expect("a port");
            for port in ports {
                thread::spawn(move || {
                    let stream = TcpStream::from(from_port(port));
                    let _ = connect(&stream, &address);
                    let mut stream = stream;
                    let _ = stream.write_all(b"hello");
                    let _ = stream.read_to_end(&mut Vec::new());
                    thread::sleep(Duration::from_secs(600));
                });
                // One after the other, so that the packets captured in between tell them apart.
                thread::sleep(Duration::from_millis(70));
            }
            until_told();
        }
        _ => return false,
    }
    true
}

fn from_port(port: u16) -> rustix::fd::OwnedFd {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    sockopt::set_socket_reuseaddr(&socket, true).expect("it may be used again");
    bind(&socket, &SocketAddr::from(([0, 0, 0, 0], port))).expect("a free port");
    socket
}

fn ask(address: SocketAddr) {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(5)) else { return };
    let _ = stream.write_all(b"hello");
    let _ = stream.read_exact(&mut [0; 5]);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

fn serve(address: &str, answer: fn(&mut TcpStream)) {
    let listener = TcpListener::bind(address).expect("a free port");
    thread::spawn(move || {
        listener.incoming().flatten().for_each(|mut stream| {
            thread::spawn(move || answer(&mut stream));
        });
    });
    until_told();
}

fn until_told() {
    println!("ready");
    let _ = std::io::stdin().read(&mut [0]);
}

/// The namespaces; gone when dropped, with all that runs there.
struct Lab {
    tag: String,
    running: Vec<std::process::Child>,
    folder: tempfile::TempDir,
}

const PLACES: [&str; 7] = ["client1", "client2", "router", "lb", "narrow", "web1", "web2"];

impl Drop for Lab {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
        for place in PLACES {
            let _ = Command::new("ip").args(["netns", "del", &self.at(place)]).status();
        }
    }
}

impl Lab {
    fn build() -> Lab {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lab = Lab { tag: format!("paths-{}", std::process::id()), running: Vec::new(), folder };
        for place in PLACES {
            let name = lab.at(place);
            run("ip", &["netns", "add", &name])
                .unwrap_or_else(|reason| panic!("no network namespaces: {reason}"));
            ip(&["-n", &name, "link", "set", "lo", "up"]);
        }
        lab.cable(["client1", "eth0", "192.0.2.2/28"], ["router", "client1", "192.0.2.1/28"]);
        lab.cable(["client2", "eth0", "192.0.2.18/28"], ["router", "client2", "192.0.2.17/28"]);
        lab.cable(["router", "balancer", "192.0.2.33/28"], ["lb", "front", "192.0.2.34/28"]);
        lab.cable(["lb", "back1", "198.51.100.1/28"], ["web1", "eth0", "198.51.100.2/28"]);
        lab.cable(["lb", "back2", "198.51.100.33/28"], ["narrow", "lb", "198.51.100.34/28"]);
        lab.cable(["narrow", "web2", "198.51.100.17/28"], ["web2", "eth0", "198.51.100.18/28"]);
        for (place, gateway) in [
            ("client1", "192.0.2.1"),
            ("client2", "192.0.2.17"),
            ("router", "192.0.2.34"),
            ("web1", "198.51.100.1"),
            ("narrow", "198.51.100.33"),
            ("web2", "198.51.100.17"),
        ] {
            ip(&["-n", &lab.at(place), "route", "add", "default", "via", gateway]);
        }
        let lb = lab.at("lb");
        ip(&["-n", &lb, "addr", "add", &format!("{BALANCER}/32"), "dev", "lo"]);
        ip(&["-n", &lb, "route", "add", "192.0.2.0/27", "via", "192.0.2.33"]);
        ip(&["-n", &lb, "route", "add", "198.51.100.16/28", "via", "198.51.100.34"]);
        for place in ["router", "lb", "narrow"] {
            inside(&lab.at(place), "sh", &["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]);
        }
        // The link behind the balancer is narrow, and nobody hears of it.
        ip(&["-n", &lab.at("narrow"), "link", "set", "lb", "mtu", NARROW]);
        lab.filter("narrow", "output", "icmp type destination-unreachable drop");
        // Segments as they go over the wire.
        ip(&["-n", &lab.at("web2"), "link", "set", "eth0", "gso_max_segs", "1"]);
        lab.translate();
        lab
    }

    fn at(&self, place: &str) -> String {
        format!("{}-{place}", self.tag)
    }

    fn cable(&self, [a, a_device, a_address]: [&str; 3], [b, b_device, b_address]: [&str; 3]) {
        let (a, b) = (self.at(a), self.at(b));
        ip(&["-n", &a, "link", "add", a_device, "type", "veth", "peer", "name", b_device, "netns", &b]);
        for (place, device, address) in [(&a, a_device, a_address), (&b, b_device, b_address)] {
            ip(&["-n", place, "addr", "add", address, "dev", device]);
            ip(&["-n", place, "link", "set", device, "up"]);
        }
    }

    fn rules(&self, place: &str, rules: &str) {
        let path = self.folder.path().join("rules");
        fs::write(&path, rules).expect("a writable folder");
        inside(&self.at(place), "nft", &["-f", text(&path)]);
    }

    /// Sets a rule in a table of the name of the hook, to be deleted by that name.
    fn filter(&self, place: &str, hook: &str, rule: &str) {
        let chain = format!("type filter hook {hook} priority 0;");
        self.rules(
            place,
            &format!("table ip {hook}_faults {{\n chain faults {{\n {chain}\n {rule}\n }}\n}}\n"),
        );
    }

    /// Port 80 is spread over both servers; others lead to one of them.
    fn translate(&self) {
        self.rules(
            "lb",
            &format!(
                "table ip nat {{
 chain there {{
  type nat hook prerouting priority -100;
  ip daddr {BALANCER} tcp dport 80 dnat to numgen inc mod 2 map {{ 0 : 198.51.100.2, 1 : 198.51.100.18 }}
  ip daddr {BALANCER} tcp dport 8001 dnat to 198.51.100.2:80
  ip daddr {BALANCER} tcp dport 8003 dnat to 198.51.100.18:81
  ip daddr {BALANCER} tcp dport 8004 dnat to 198.51.100.18:82
 }}
 chain back {{
  type nat hook postrouting priority 100;
  oifname {{ \"back1\", \"back2\" }} masquerade
 }}
}}
"
            ),
        );
    }

    /// Starts a capture, and waits until it runs.
    fn capture(&mut self, place: &str) -> PathBuf {
        let path = self.folder.path().join(format!("{place}.pcap"));
        let interface = if place == "lb" { "any" } else { "eth0" };
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.at(place), "tcpdump", "-Z", "root", "-U", "--immediate-mode"])
            .args(["-s", "110", "-i", interface, "-w", text(&path), "tcp or icmp"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("ip was there before");
        until_it_says(&mut child, "listening on");
        self.running.push(child);
        path
    }

    /// Starts a part, and waits until it is ready; its place among those that run.
    fn start(&mut self, place: &str, role: &str) -> usize {
        let me = std::env::current_exe().expect("a program");
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.at(place)])
            .arg(me)
            .args(["--exact", "namespaces::part", "--ignored", "--nocapture"])
            .env("SYNSCOPE_TEST_ROLE", role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("ip was there before");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        self.running.push(child);
        let ready = out.by_ref().lines().map_while(Result::ok).any(|line| line.contains("ready"));
        assert!(ready, "{role} ended before it was ready");
        thread::spawn(move || out.read_to_end(&mut Vec::new()));
        self.running.len() - 1
    }

    fn stop(&mut self, n: usize) {
        let _ = self.running[n].kill();
        let _ = self.running[n].wait();
    }
}

/// Lets it all happen, and hands over the captures.
pub fn record(take: impl FnOnce(&Captures)) {
    let mut lab = Lab::build();
    let captures: Vec<(String, PathBuf)> =
        POINTS.iter().map(|place| ((*place).to_owned(), lab.capture(place))).collect();
    let captured = lab.running.len();
    for (place, role) in [
        ("web1", "echo 0.0.0.0:80"),
        ("web2", "echo 0.0.0.0:80"),
        ("web2", "full 0.0.0.0:81"),
        ("web2", "large 0.0.0.0:82"),
    ] {
        lab.start(place, role);
    }
    let asking = ["client1", "client2"].map(|client| lab.start(client, &format!("ask {BALANCER}:80 25")));
    thread::sleep(Duration::from_secs(1));
    let syns =
        |ports: &str| format!("ip saddr 192.0.2.2 tcp sport {ports} tcp flags & (syn|ack) == syn drop");
    lab.filter("router", "forward", &syns("40011-40013"));
    lab.filter("web1", "input", "tcp sport 41001-41004 tcp flags & (syn|ack) == ack drop");
    // Gone before a SYN is repeated.
    lab.filter("router", "prerouting", &syns("40001-40004"));
    let begun = Instant::now();
    lab.start("client1", &format!("from {BALANCER}:80 40001 40004"));
    thread::sleep(BEFORE_THE_SYN_IS_REPEATED);
    inside(&lab.at("router"), "nft", &["delete", "table", "ip", "prerouting_faults"]);
    for (client, port, first, last) in [
        ("client1", 80, 40_011, 40_013),
        ("client2", 8_001, 41_001, 41_004),
        ("client1", 8_003, 42_001, 42_006),
        ("client2", 8_004, 43_001, 43_002),
    ] {
        lab.start(client, &format!("from {BALANCER}:{port} {first} {last}"));
    }
    thread::sleep(WATCHED.saturating_sub(begun.elapsed()));
    asking.into_iter().for_each(|n| drop(lab.running[n].stdin.take()));
    thread::sleep(Duration::from_secs(1));
    (0..captured).for_each(|n| lab.stop(n));
    take(&captures);
}
