//! Two network namespaces with a cable between them, and copies of the test program that play parts in them.
//!
//! Needs root and `ip`: a test that uses it is ignored where `no_namespaces` is set. Traffic stays between the two
//! namespaces.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub const SERVER: &str = "192.0.2.1";
pub const CLIENT: &str = "192.0.2.2";

/// In this time a few SYNs cross a cable that does not exist.
const SYNS_UNDER_WAY: Duration = Duration::from_millis(15);
/// A SYN-ACK held back for longer would come nearer to its repetition than timers make them.
pub const NO_TIMER_YET: Duration = Duration::from_millis(70);

/// What a copy of this test is told to play, inside a namespace: `listen ADDRESS` (never accepts), `accept ADDRESS`,
/// `connect ADDRESS N`.
const ROLE: &str = "SYNSCOPE_TEST_ROLE";

/// Plays it; does nothing where none is given. Test files call it from an ignored test of the name `part`.
pub fn part() {
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
        // Accepts connections and closes them at once.
        ["greet", address] => {
            let listener = TcpListener::bind(address).expect("a free port");
            println!("ready");
            listener.incoming().for_each(drop);
        }
        // Closes connections with unread data.
        ["unread", address] => {
            let listener = TcpListener::bind(address).expect("a free port");
            thread::spawn(move || {
                listener.incoming().flatten().for_each(|stream| {
                    thread::sleep(Duration::from_millis(200));
                    drop(stream);
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
        // Answers requests on several ports, and closes when the other side has.
        ["serve", ip, first, last] => {
            for port in ports(first, last) {
                let listener = TcpListener::bind((ip, port)).expect("a free port");
                thread::spawn(move || {
                    listener.incoming().flatten().for_each(|mut stream| {
                        thread::spawn(move || {
                            let mut question = [0; 64];
                            let n = stream.read(&mut question).unwrap_or(0);
                            let _ = stream.write_all(&question[..n]);
                            let _ = stream.read_to_end(&mut Vec::new());
                        });
                    })
                });
            }
            ready_until_told();
        }
        // N questions at each port, on connections of their own, a few at a time; all are closed in order.
        ["ask", ip, first, last, n] => {
            let n: usize = n.parse().expect("a number");
            let ip: std::net::IpAddr = ip.parse().expect("an address");
            let ask = |port| {
                let mut stream = TcpStream::connect((ip, port)).expect("a connection");
                stream.write_all(b"hello").expect("an open connection");
                stream.read_exact(&mut [0; 5]).expect("an answer");
                stream.shutdown(Shutdown::Write).expect("an open connection");
                stream.read_to_end(&mut Vec::new()).expect("an end");
            };
            thread::scope(|scope| {
                for port in ports(first, last) {
                    scope.spawn(move || (0..n).for_each(|_| ask(port)));
                }
            });
            ready_until_told();
        }
        // Takes connections and never closes any, whatever the other side does.
        ["hold", address] => {
            let listener = TcpListener::bind(address).expect("a free port");
            thread::spawn(move || {
                let mut held = Vec::new();
                for mut stream in listener.incoming().flatten() {
                    let _ = stream.read(&mut [0; 64]);
                    let _ = stream.write_all(b"hello");
                    held.push(stream);
                }
            });
            ready_until_told();
        }
        // Sends its data, closes its side and waits.
        ["half", address] => {
            let mut stream = TcpStream::connect(address).expect("a connection");
            stream.write_all(b"hello").expect("an open connection");
            stream.read_exact(&mut [0; 5]).expect("an answer");
            stream.shutdown(Shutdown::Write).expect("an open connection");
            ready_until_told();
        }
        // Tries N times and takes no for an answer; what comes of it is held.
        ["try", address, n] => {
            let address: SocketAddr = address.parse().expect("an address");
            let n: usize = n.parse().expect("a number");
            let tries: Vec<_> = (0..n)
                .map(|_| thread::spawn(move || TcpStream::connect_timeout(&address, Duration::from_secs(4))))
                .collect();
            println!("asked");
            let held: Vec<_> = tries.into_iter().map(|one| one.join().expect("no panic")).collect();
            ready_until_told();
            drop(held);
        }
        // Tries N times and gives up before a SYN is repeated.
        ["short", address, n] => {
            let address: SocketAddr = address.parse().expect("an address");
            let n: usize = n.parse().expect("a number");
            let give_up = move || TcpStream::connect_timeout(&address, Duration::from_millis(500));
            let tries: Vec<_> = (0..n).map(|_| thread::spawn(give_up)).collect();
            tries.into_iter().for_each(|one| drop(one.join()));
            ready_until_told();
        }
        // Shares the address with others like it, and never accepts.
        ["share", address] => {
            let address: SocketAddr = address.parse().expect("an address");
            let socket =
                rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)
                    .expect("a socket");
            rustix::net::sockopt::set_socket_reuseport(&socket, true).expect("it may be shared");
            rustix::net::bind(&socket, &address).expect("a shared port");
            rustix::net::listen(&socket, 128).expect("a listener");
            ready_until_told();
        }
        // SYNs from N clients that do not exist, at addresses that begin with `network`.
        ["flood", network, ip, port, n] => {
            flood(network, ip, port.parse().expect("a port"), n.parse().expect("a number"));
            ready_until_told();
        }
        // A listener of MPTCP; and a client whose connection opens further subflows by itself.
        ["mptcp-accept", address] => {
            let socket = mptcp_socket();
            rustix::net::bind(&socket, &address.parse::<SocketAddr>().expect("an address")).expect("free");
            rustix::net::listen(&socket, 16).expect("a listener");
            thread::spawn(move || {
                let mut held = Vec::new();
                while let Ok(one) = rustix::net::accept(&socket) {
                    held.push(one);
                }
            });
            ready_until_told();
        }
        ["mptcp-connect", address] => {
            let socket = mptcp_socket();
            let address: SocketAddr = address.parse().expect("an address");
            rustix::net::connect(&socket, &address).expect("an answer");
            for _ in 0..20 {
                rustix::net::send(&socket, b"hello", rustix::net::SendFlags::empty()).expect("it is open");
                thread::sleep(Duration::from_millis(100));
            }
            ready_until_told();
        }
        // Takes connections on several ports as fast as it can, and closes when the other side has.
        ["sink", ip, first, last] => {
            sink(ip, first, last);
            ready_until_told();
        }
        // RATE connections a second for this many seconds, one port after the other; prints their number.
        ["load", ip, first, last, rate, seconds] => {
            let [rate, seconds] = [rate, seconds].map(|n| n.parse().expect("a number"));
            println!("begins");
            println!("made {}", load(ip, ports(first, last), rate, seconds));
            ready_until_told();
        }
        // Does not accept until it is told to.
        ["late", address] => {
            let listener = TcpListener::bind(address).expect("a free port");
            ready_until_told();
            let held: Vec<_> = listener.incoming().collect();
            drop(held);
        }
        _ => panic!("no such part: {role}"),
    }
}

fn sink(ip: &str, first: &str, last: &str) {
    let listeners: Vec<TcpListener> =
        ports(first, last).map(|port| TcpListener::bind((ip, port)).expect("a free port")).collect();
    listeners.iter().for_each(|listener| {
        // The standard library asks for a short backlog.
        rustix::net::listen(listener, 4_096).expect("a listener");
        listener.set_nonblocking(true).expect("a socket");
    });
    thread::spawn(move || {
        let mut held = std::collections::VecDeque::new();
        loop {
            let before = held.len();
            for listener in &listeners {
                held.extend(std::iter::from_fn(|| Some(listener.accept().ok()?.0)).take(64));
            }
            let came = held.len() - before;
            // Older connections are read, and closed if the other side has closed.
            let old = if came > 0 { held.len().saturating_sub(500) } else { held.len() };
            for mut stream in held.drain(..old).collect::<Vec<TcpStream>>() {
                while stream.read(&mut [0; 64]).is_ok_and(|n| n > 0) {}
            }
            if came == 0 {
                thread::sleep(Duration::from_micros(300));
            }
        }
    });
}

fn load(ip: &str, ports: std::ops::RangeInclusive<u16>, rate: u64, seconds: u64) -> u64 {
    let ip: std::net::IpAddr = ip.parse().expect("an address");
    let begun = Instant::now();
    let (ports, made) = (ports.collect::<Vec<u16>>(), std::sync::atomic::AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let n = made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if n >= rate * seconds || begun.elapsed().as_secs() >= seconds * 2 {
                        break;
                    }
                    let due = Duration::from_nanos(n * 1_000_000_000 / rate);
                    if let Some(early) = due.checked_sub(begun.elapsed()) {
                        thread::sleep(early);
                    }
                    let port = ports[n as usize % ports.len()];
                    let mut stream = TcpStream::connect((ip, port)).expect("a connection");
                    stream.write_all(b"hello").expect("an open connection");
                }
            });
        }
    });
    (made.into_inner() as f64 / begun.elapsed().as_secs_f64()) as u64
}

fn mptcp_socket() -> rustix::fd::OwnedFd {
    use rustix::net::{AddressFamily, SocketType, ipproto, socket};
    socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::MPTCP)).expect("MPTCP")
}

fn flood(network: &str, ip: &str, port: u16, n: u16) {
    use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto};
    let ip: std::net::IpAddr = ip.parse().expect("an address");
    let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::RAW, Some(ipproto::RAW)).expect("root");
    let to = SocketAddr::new(ip, 0);
    // Other ports each time: a repeated SYN is no part of a flood.
    let first = (std::process::id() as u16).wrapping_mul(331);
    for k in 0..n {
        let separator = if ip.is_ipv4() { "." } else { ":" };
        let client = format!("{network}{separator}{}", 1 + k % 250).parse().expect("an address");
        let packet = syn((client, 1_024 + (first.wrapping_add(k) % 60_000)), (ip, port));
        rustix::net::sendto(&socket, &packet, SendFlags::empty(), &to).expect("it is sent");
    }
}

/// A SYN without options, with its checksums.
fn syn(client: (std::net::IpAddr, u16), server: (std::net::IpAddr, u16)) -> Vec<u8> {
    use std::net::IpAddr::{V4, V6};
    let sum = |parts: &[&[u8]]| {
        let bytes = parts.concat();
        let words = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let mut sum: u32 = words.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    };
    let mut tcp = [client.1.to_be_bytes(), server.1.to_be_bytes()].concat();
    tcp.extend([0, 0, client.1 as u8, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    let ends = match (client.0, server.0) {
        (V4(client), V4(server)) => [&client.octets()[..], &server.octets()].concat(),
        (V6(client), V6(server)) => [&client.octets()[..], &server.octets()].concat(),
        _ => panic!("two families"),
    };
    let check = sum(&[&ends, &[0, 6, 0, 20], &tcp]);
    tcp[16..18].copy_from_slice(&check.to_be_bytes());
    let ip = match client.0 {
        V4(_) => [&[0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0][..], &ends].concat(),
        V6(_) => [&[0x60, 0, 0, 0, 0, 20, 6, 64][..], &ends].concat(),
    };
    [ip, tcp].concat()
}

fn ports(first: &str, last: &str) -> std::ops::RangeInclusive<u16> {
    first.parse().expect("a port")..=last.parse().expect("a port")
}

fn ready_until_told() {
    println!("ready");
    let _ = std::io::stdin().read(&mut [0]);
}

/// Two namespaces with a cable between them; gone when dropped, with all that runs there.
pub struct Net {
    pub server: String,
    pub client: String,
    pub running: Vec<Child>,
    /// What the parts say: they must not find the pipe closed.
    heard: Vec<BufReader<ChildStdout>>,
    pub folder: tempfile::TempDir,
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
    /// Makes the namespaces and the cable between them.
    ///
    /// # Panics
    /// Where that cannot be done, although it could when the tests were built.
    pub fn build(name: &str) -> Net {
        let tag = format!("{name}-{}", std::process::id());
        let net = Net {
            server: format!("synscope-{tag}-s"),
            client: format!("synscope-{tag}-c"),
            running: Vec::new(),
            heard: Vec::new(),
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        for namespace in [&net.server, &net.client] {
            run("ip", &["netns", "add", namespace])
                .unwrap_or_else(|reason| panic!("no network namespaces: {reason}"));
        }
        net.connect();
        net
    }

    /// Lays the cable again, after it was taken away.
    pub fn connect(&self) {
        self.try_connect().unwrap_or_else(|reason| panic!("no cable: {reason}"));
    }

    fn try_connect(&self) -> Result<(), String> {
        let (s, c) = (self.server.as_str(), self.client.as_str());
        run("ip", &["-n", s, "link", "add", "veth0", "type", "veth", "peer", "name", "veth1", "netns", c])?;
        for (namespace, device, address) in [(s, "veth0", SERVER), (c, "veth1", CLIENT)] {
            ip(&["-n", namespace, "addr", "add", &format!("{address}/24"), "dev", device]);
            ip(&["-n", namespace, "link", "set", device, "up"]);
            ip(&["-n", namespace, "link", "set", "lo", "up"]);
        }
        // The client never has to ask for the server's address.
        let mac = self.mac(s, "veth0");
        ip(&["-n", c, "neigh", "replace", SERVER, "lladdr", &mac, "dev", "veth1", "nud", "permanent"]);
        Ok(())
    }

    pub fn mac(&self, namespace: &str, device: &str) -> String {
        let path = format!("/sys/class/net/{device}/address");
        inside(namespace, "cat", &[&path]).trim().to_owned()
    }

    /// Starts a part in a namespace and waits until it has said `word`.
    pub fn play(&mut self, namespace: &str, role: &str, word: &str) {
        self.play_and_hear(namespace, role, word);
    }

    /// The same; gives the line with that word.
    pub fn play_and_hear(&mut self, namespace: &str, role: &str, word: &str) -> String {
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
        let said = out.by_ref().lines().map_while(Result::ok).find(|line| line.contains(word));
        self.heard.push(out);
        said.unwrap_or_else(|| panic!("{role} ended before it was {word}"))
    }

    /// `connections` at once to `server`, whose answers are held back until all SYNs have come: it does not know the
    /// client's link address. Meanwhile `rules` are set. False if that took so long that a timer may have run.
    pub fn burst(&mut self, server: &str, connections: usize, rules: &str) -> bool {
        self.burst_as(&format!("connect {server} {connections}"), rules)
    }

    /// The same with clients that play `role`.
    pub fn burst_as(&mut self, role: &str, rules: &str) -> bool {
        self.time_of_burst(role, rules) < NO_TIMER_YET
    }

    /// The same; gives for how long the SYN-ACKs were held back.
    pub fn time_of_burst(&mut self, role: &str, rules: &str) -> Duration {
        inside(&self.client, "sh", &["-c", "echo 8 >/proc/sys/net/ipv4/conf/veth1/arp_ignore"]);
        let mac = self.mac(&self.client, "veth1");
        ip(&["-n", &self.server, "neigh", "flush", "dev", "veth0"]);
        let commands = self.path("commands");
        let link = format!("neigh replace {CLIENT} lladdr {mac} dev veth0 nud permanent\n");
        fs::write(&commands, format!("{rules}{link}")).expect("a writable folder");
        let client = self.client.clone();
        self.play(&client, role, "asked");
        let asked = Instant::now();
        thread::sleep(SYNS_UNDER_WAY);
        ip(&["-n", &self.server, "-batch", text(&commands)]);
        asked.elapsed()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

pub fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

pub fn ip(args: &[&str]) {
    run("ip", args).unwrap_or_else(|reason| panic!("ip {args:?}: {reason}"));
}

pub fn inside(namespace: &str, program: &str, args: &[&str]) -> String {
    run("ip", &[&["netns", "exec", namespace, program], args].concat())
        .unwrap_or_else(|reason| panic!("{program} {args:?}: {reason}"))
}

/// Adds `rule` to what nftables does with the packets that come to a namespace.
pub fn add_rule(namespace: &str, rule: &str) {
    let chain = "add table inet t; add chain inet t in { type filter hook input priority 0; }";
    inside(namespace, "nft", &[&format!("{chain}; add rule inet t in {rule}")]);
}

/// Waits until a child says this on its standard error, and drops the output before it.
pub fn until_it_says(child: &mut Child, ready: &str) {
    let mut err = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut line = String::new();
    while !line.contains(ready) {
        line.clear();
        assert!(err.read_line(&mut line).expect("text") > 0, "it ended before it was {ready}");
    }
    thread::spawn(move || err.read_to_end(&mut Vec::new()));
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// Starts `synscope live` on the server's interface with these further arguments, and waits until it watches.
pub fn start_live(net: &Net, more: &[&str]) -> (Child, BufReader<ChildStdout>) {
    start_live_in(&net.server, more)
}

/// The same in any namespace.
pub fn start_live_in(namespace: &str, more: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let own = env!("CARGO_BIN_EXE_synscope").to_owned();
    let interface: &[&str] = if more.contains(&"-i") { &[] } else { &["-i", "veth0"] };
    let mut child = Command::new(env::var("SYNSCOPE_BIN").unwrap_or(own))
        .args(["live", "--netns", namespace, "--format", "jsonl"])
        .args(interface)
        .args(if more.contains(&"-B") { &[][..] } else { &["-B", "4MiB"] })
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program under test");
    let mut said = String::new();
    let mut err = BufReader::new(child.stderr.take().expect("it is piped"));
    // What the kernel can be asked about is told before.
    while !said.contains("watching ") {
        assert!(err.read_line(&mut said).expect("text") > 0, "{said}");
    }
    // It must not find the pipe closed.
    thread::spawn(move || err.read_to_end(&mut Vec::new()));
    let out = BufReader::new(child.stdout.take().expect("it is piped"));
    (child, out)
}
