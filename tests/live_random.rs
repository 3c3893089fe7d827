//! Mixed load by chance, checked against the counters of each listening socket: no confirmed finding that the kernel
//! contradicts, none taken back, and every socket whose drops rose has a finding that says how many.
//!
//! Takes half a minute a seed: `SYNSCOPE_LIVE_SEEDS=50 cargo test --test live_random -- --ignored`. Needs root, `ip`, `ss`
//! and `nft`.

#![cfg(all(target_os = "linux", feature = "live"))]

#[path = "support/netns.rs"]
mod netns;
#[path = "support/watching.rs"]
mod watching;

use std::collections::BTreeSet;
use std::env;
use std::thread;
use std::time::{Duration, Instant};

use netns::{Net, SERVER, inside, ip};
use serde_json::Value;
use watching::{Live, set, socket, tally};

/// Seeds, unless the environment says how many.
const SEEDS: u64 = 50;
/// How long each lasts, unless the environment says so.
const SECONDS: u64 = 30;
/// Seeds that are played at once.
const AT_ONCE: u64 = 4;
const BACKLOG: &str = "5";
const SERVER_V6: &str = "2001:db8::1";
const CLIENT_V6: &str = "2001:db8::2";

#[test]
#[ignore = "a part that other tests let a copy of this program play"]
fn part() {
    netns::part();
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

#[test]
#[ignore = "half a minute a seed: SYNSCOPE_LIVE_SEEDS=50 cargo test --test live_random -- --ignored"]
fn what_is_told_agrees_with_the_sockets() {
    let first = from_environment("SYNSCOPE_LIVE_FIRST_SEED", 1);
    let seeds: Vec<u64> = (first..first + from_environment("SYNSCOPE_LIVE_SEEDS", SEEDS)).collect();
    for some in seeds.chunks(AT_ONCE as usize) {
        thread::scope(|scope| {
            for &seed in some {
                scope.spawn(move || play(seed));
            }
        });
    }
}

/// A generator of numbers by chance (xorshift): the same for a seed everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// How a listener does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Health {
    Healthy,
    StuckConnection,
    Firewalled,
    /// Stopped in the middle, and another one started.
    Restarted,
    /// Stuck, and in the middle its address leaves the host for a while.
    Moved,
    /// It accepts, and SYNs of clients that do not exist fill its SYN queue.
    Flooded,
}

const ALL: [Health; 6] = [
    Health::Healthy,
    Health::StuckConnection,
    Health::Firewalled,
    Health::Restarted,
    Health::Moved,
    Health::Flooded,
];
/// An address of its own for each listener that moves.
const MOVING: u8 = 100;
/// Nobody has these addresses: SYN-ACKs to them are lost.
const FORGED: &str = "198.51.100";

struct Place {
    port: u16,
    address: String,
    ip: String,
    health: Health,
    /// Which of the parts that run is the listener.
    running: usize,
}

fn build(net: &mut Net, chance: &mut Chance) -> Vec<Place> {
    let (server, client) = (net.server.clone(), net.client.clone());
    ip(&["-n", &server, "addr", "add", &format!("{SERVER_V6}/64"), "dev", "veth0", "nodad"]);
    ip(&["-n", &client, "addr", "add", &format!("{CLIENT_V6}/64"), "dev", "veth1", "nodad"]);
    set(&server, "net.core.somaxconn", BACKLOG);
    // The SYN-ACKs to clients that do not exist go to where nobody answers.
    ip(&["-n", &server, "route", "add", &format!("{FORGED}.0/24"), "via", netns::CLIENT]);
    if chance.below(2) == 0 {
        set(&server, "net.ipv4.tcp_syncookies", "0");
    }
    let mut places = Vec::new();
    for n in 0..3 + chance.below(2) as u8 {
        let port = 8_000 + u16::from(n);
        let health = ALL[chance.below(6) as usize];
        let ip = match health {
            Health::Moved => format!("192.0.2.{}", MOVING + n),
            Health::Flooded => SERVER.to_owned(),
            _ if chance.below(3) == 0 => SERVER_V6.to_owned(),
            _ => SERVER.to_owned(),
        };
        if health == Health::Moved {
            netns::ip(&["-n", &server, "addr", "add", &format!("{ip}/24"), "dev", "veth0"]);
        }
        let address = if ip == SERVER_V6 { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
        let role = match health {
            Health::Healthy => format!("serve {ip} {port} {port}"),
            Health::Firewalled | Health::Flooded => format!("accept {address}"),
            Health::StuckConnection | Health::Restarted | Health::Moved => format!("listen {address}"),
        };
        net.play(&server, &role, "ready");
        if health == Health::Firewalled {
            let rules = format!(
                "add table inet t; add chain inet t in {{ type filter hook input priority 0; }}; \
                 add rule inet t in tcp dport {port} counter drop"
            );
            inside(&server, "nft", &[&rules]);
        }
        places.push(Place { port, address, ip, health, running: net.running.len() - 1 });
    }
    places
}

fn play(seed: u64) {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut net = Net::build(&format!("lv-seed{seed}"));
    let mut places = build(&mut net, &mut chance);
    let (server, client) = (net.server.clone(), net.client.clone());
    let live = Live::watch(&net, &[]);
    let begun = Instant::now();
    let lasts = Duration::from_secs(from_environment("SYNSCOPE_LIVE_SECONDS", SECONDS));
    let (mut has_restarted, mut has_moved) = (false, false);
    while begun.elapsed() < lasts {
        let place = &mut places[chance.below(3) as usize];
        let n = 1 + chance.below(8);
        let (role, word) = match (place.health, chance.below(3)) {
            (Health::Healthy, _) => (format!("ask {} {} {} {n}", place.ip, place.port, place.port), "ready"),
            (Health::Flooded, 0 | 1) => {
                (format!("flood {FORGED} {} {} {}", place.ip, place.port, 20 + 10 * n), "ready")
            }
            (_, 0) => (format!("short {} {n}", place.address), "ready"),
            _ => (format!("try {} {n}", place.address), "asked"),
        };
        net.play(&client, &role, word);
        if place.health == Health::Restarted && begun.elapsed() > lasts / 2 && !has_restarted {
            has_restarted = true;
            let _ = net.running[place.running].kill();
            let _ = net.running[place.running].wait();
            net.play(&server, &format!("listen {}", place.address), "ready");
        }
        if place.health == Health::Moved && begun.elapsed() > lasts / 2 && !has_moved {
            has_moved = true;
            let prefix = format!("{}/24", place.ip);
            ip(&["-n", &server, "addr", "del", &prefix, "dev", "veth0"]);
            thread::sleep(Duration::from_secs(4));
            ip(&["-n", &server, "addr", "add", &prefix, "dev", "veth0"]);
        }
        thread::sleep(Duration::from_millis(200 + chance.below(1_500)));
    }
    thread::sleep(Duration::from_secs(4));
    let count = || places.iter().map(|place| socket(&server, place.port).0).collect::<Vec<u64>>();
    let before = count();
    let (events, report) = live.end();
    let after = count();
    let told = tally(&report);
    eprintln!("seed {seed}: {:?} {before:?} {told:?}", places.iter().map(|p| p.health).collect::<Vec<_>>());
    check_nothing_was_taken_back(seed, &events);
    for (place, dropped) in places.iter().zip(before.into_iter().zip(after)) {
        check(seed, place, dropped, &report);
    }
}

/// No finding that was ever confirmed was withdrawn.
fn check_nothing_was_taken_back(seed: u64, events: &[Value]) {
    let confirmed: BTreeSet<&str> = events
        .iter()
        .filter(|event| event["finding"]["certainty"] == "confirmed")
        .filter_map(|event| event["finding"]["id"].as_str())
        .collect();
    let withdrawn = events.iter().filter(|event| event["event"] == "withdrawn");
    let mut taken_back =
        withdrawn.filter(|event| confirmed.contains(event["finding"].as_str().unwrap_or_default()));
    assert!(taken_back.next().is_none(), "seed {seed}: {events:#?}");
}

/// What is told of a listener fits what its socket dropped in all, which is between these two.
fn check(seed: u64, place: &Place, (least, most): (u64, u64), report: &Value) {
    const FULL: [&str; 4] =
        ["accept-queue-overflow", "accept-queue-reset", "syn-drop-accept-queue", "syn-drop-syn-queue"];
    let all = report["findings"].as_array().expect("findings").iter();
    let here: Vec<&Value> = all.filter(|f| f["server"] == place.address.as_str()).collect();
    let full: Vec<&&Value> =
        here.iter().filter(|f| FULL.contains(&f["kind"].as_str().unwrap_or_default())).collect();
    let confirmed = full.iter().filter(|f| f["certainty"] == "confirmed").count();
    // The sums of the listener as a whole.
    let sums = full.iter().filter(|f| f["client"].is_null());
    let told: u64 = sums.filter_map(|f| f["metrics"]["host_listener_drops"].as_u64()).sum();
    let about = || {
        format!(
            "seed {seed}, {} {:?}: {least} to {most} dropped, {told} told, {here:#?}",
            place.address, place.health
        )
    };
    match place.health {
        // Its socket has dropped nothing: nothing may be called full there for certain.
        Health::Healthy | Health::Firewalled => assert!(most > 0 || confirmed == 0, "{}", about()),
        // The socket of before has dropped something, too.
        Health::Restarted => assert!(told >= least, "{}", about()),
        Health::StuckConnection | Health::Moved | Health::Flooded => {}
    }
    if place.health != Health::Restarted {
        assert!(least <= told && told <= most, "{}", about());
    }
}
