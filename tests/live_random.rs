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
/// Seeds that are played at once, unless the environment says so.
const AT_ONCE: u64 = 4;
const BACKLOG: &str = "5";
const SERVER_V6: &str = "2001:db8::1";
const CLIENT_V6: &str = "2001:db8::2";
/// A restart needs so long between the last look at the old socket's drops and its end; as many may be added meanwhile.
const ADDED_MEANWHILE: u64 = 16;

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
    let mut failed = Vec::new();
    for some in seeds.chunks(from_environment("SYNSCOPE_LIVE_AT_ONCE", AT_ONCE) as usize) {
        thread::scope(|scope| {
            let played: Vec<_> = some.iter().map(|&seed| (seed, scope.spawn(move || play(seed)))).collect();
            failed.extend(played.into_iter().filter_map(|(seed, one)| one.join().err().map(|_| seed)));
        });
    }
    assert!(failed.is_empty(), "seeds {failed:?}");
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
    /// Stuck; stopped in the middle, and another one started, perhaps with another backlog.
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
const FORGED_V6: &str = "2001:db8:ffff:";

/// One end of the cable.
#[derive(Clone)]
struct Side {
    namespace: String,
    device: &'static str,
    ips: [&'static str; 2],
}

struct Place {
    port: u16,
    address: String,
    ip: String,
    health: Health,
    /// The side where it listens, and the other one.
    side: usize,
    /// Which of the parts that run is the listener.
    running: usize,
    /// What its socket before has dropped.
    before: u64,
    /// Whether its change in the middle has come.
    has_changed: bool,
    /// Whether a client has waited for it.
    tried: bool,
}

impl Place {
    fn prefix(&self) -> String {
        format!("{}/{}", self.ip, if self.ip.contains(':') { 64 } else { 24 })
    }
}

fn sides(net: &Net) -> [Side; 2] {
    [
        Side { namespace: net.server.clone(), device: "veth0", ips: [SERVER, SERVER_V6] },
        Side { namespace: net.client.clone(), device: "veth1", ips: [netns::CLIENT, CLIENT_V6] },
    ]
}

fn prepare(net: &Net, chance: &mut Chance) {
    let sides = sides(net);
    for (side, other) in [(&sides[0], &sides[1]), (&sides[1], &sides[0])] {
        let Side { namespace, device, ips } = side;
        ip(&["-n", namespace, "addr", "add", &format!("{}/64", ips[1]), "dev", device, "nodad"]);
        set(namespace, "net.core.somaxconn", BACKLOG);
        // The SYN-ACKs to clients that do not exist go to where nobody answers.
        ip(&["-n", namespace, "route", "add", &format!("{FORGED}.0/24"), "via", other.ips[0]]);
        ip(&["-n", namespace, "route", "add", &format!("{FORGED_V6}:/64"), "via", other.ips[1]]);
        if chance.below(2) == 0 {
            set(namespace, "net.ipv4.tcp_syncookies", "0");
        }
        inside(
            namespace,
            "nft",
            &["add table inet t; add chain inet t in { type filter hook input priority 0; }"],
        );
    }
}

fn build(net: &mut Net, chance: &mut Chance) -> Vec<Place> {
    prepare(net, chance);
    let sides = sides(net);
    let mut places = Vec::new();
    for n in 0..4 + chance.below(3) as u8 {
        let port = 8_000 + u16::from(n);
        let health = ALL[chance.below(6) as usize];
        // Most of them at one side.
        let side = usize::from(chance.below(3) == 0);
        let Side { namespace, device, ips } = &sides[side];
        let is_v6 = chance.below(3) == 0;
        let ip = match health {
            Health::Moved if is_v6 => format!("2001:db8::{}", MOVING + n),
            Health::Moved => format!("192.0.2.{}", MOVING + n),
            _ => ips[usize::from(is_v6)].to_owned(),
        };
        let address = if is_v6 { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
        let mut place = Place {
            port,
            address,
            ip,
            health,
            side,
            running: 0,
            before: 0,
            has_changed: false,
            tried: false,
        };
        if health == Health::Moved {
            add_address(namespace, &place.prefix(), device);
        }
        let role = match health {
            Health::Healthy => format!("serve {} {port} {port}", place.ip),
            Health::Firewalled | Health::Flooded => format!("accept {}", place.address),
            Health::StuckConnection | Health::Restarted | Health::Moved => {
                format!("listen {}", place.address)
            }
        };
        net.play(namespace, &role, "ready");
        if health == Health::Firewalled {
            inside(namespace, "nft", &[&format!("add rule inet t in tcp dport {port} counter drop")]);
        }
        place.running = net.running.len() - 1;
        places.push(place);
    }
    places
}

fn add_address(namespace: &str, prefix: &str, device: &str) {
    let duplicates: &[&str] = if prefix.contains(':') { &["nodad"] } else { &[] };
    ip(&[&["-n", namespace, "addr", "add", prefix, "dev", device], duplicates].concat());
}

/// Somebody wants something of a listener.
fn visit(net: &mut Net, place: &mut Place, chance: &mut Chance) {
    let client = sides(net)[1 - place.side].namespace.clone();
    let n = 1 + chance.below(8);
    let (role, word) = match (place.health, chance.below(3)) {
        (Health::Healthy, _) => {
            (format!("ask {} {} {} {}", place.ip, place.port, place.port, n * n), "ready")
        }
        (Health::Flooded, 0 | 1) => {
            let forged = if place.ip.contains(':') { FORGED_V6 } else { FORGED };
            (format!("flood {forged} {} {} {}", place.ip, place.port, 20 + 10 * n), "ready")
        }
        (_, 0) => (format!("short {} {n}", place.address), "ready"),
        _ => {
            place.tried = true;
            (format!("try {} {n}", place.address), "asked")
        }
    };
    net.play(&client, &role, word);
}

/// What happens to a listener in the middle.
fn change(net: &mut Net, place: &mut Place, chance: &mut Chance) {
    let Side { namespace, device, .. } = sides(net)[place.side].clone();
    place.has_changed = true;
    match place.health {
        Health::Restarted => {
            // What listens already keeps its own.
            let backlog = ["3", BACKLOG, "9"][chance.below(3) as usize];
            set(&namespace, "net.core.somaxconn", backlog);
            // Its last drops are read before it is gone.
            thread::sleep(Duration::from_millis(700));
            place.before = socket(&namespace, place.port).0;
            let _ = net.running[place.running].kill();
            let _ = net.running[place.running].wait();
            net.play(&namespace, &format!("listen {}", place.address), "ready");
            set(&namespace, "net.core.somaxconn", BACKLOG);
        }
        Health::Moved => {
            ip(&["-n", &namespace, "addr", "del", &place.prefix(), "dev", device]);
            thread::sleep(Duration::from_secs(4));
            add_address(&namespace, &place.prefix(), device);
        }
        _ => {}
    }
}

fn play(seed: u64) {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut net = Net::build(&format!("lv-seed{seed}"));
    let mut places = build(&mut net, &mut chance);
    let sides = sides(&net);
    // The kernel is asked about single packets in half of them.
    let kernel: &[&str] = if chance.below(2) == 0 { &["--kernel", "off"] } else { &[] };
    let lives = sides
        .each_ref()
        .map(|side| Live::watch_in(&net, &side.namespace, &[&["-i", side.device], kernel].concat()));
    let begun = Instant::now();
    let lasts = Duration::from_secs(from_environment("SYNSCOPE_LIVE_SECONDS", SECONDS));
    while begun.elapsed() < lasts {
        let which = chance.below(places.len() as u64) as usize;
        visit(&mut net, &mut places[which], &mut chance);
        if begun.elapsed() > lasts / 2 && !places[which].has_changed {
            change(&mut net, &mut places[which], &mut chance);
        }
        thread::sleep(Duration::from_millis(200 + chance.below(1_500)));
    }
    thread::sleep(Duration::from_secs(4));
    let count = |side: usize| {
        let here =
            |place: &Place| if place.side == side { socket(&sides[side].namespace, place.port).0 } else { 0 };
        places.iter().map(here).collect::<Vec<u64>>()
    };
    for (side, live) in lives.into_iter().enumerate() {
        let before = count(side);
        let (events, report) = live.end();
        let after = count(side);
        let of: Vec<_> =
            places.iter().filter(|p| p.side == side).map(|p| (p.health, p.address.as_str())).collect();
        eprintln!("seed {seed}, side {side} {kernel:?}: {of:?} {before:?} {:?}", tally(&report));
        check_nothing_was_taken_back(seed, &events);
        for (place, dropped) in places.iter().zip(before.into_iter().zip(after)) {
            if place.side == side {
                check(seed, place, dropped, &report);
            } else {
                check_from_afar(seed, place, &report);
            }
        }
    }
}

/// No finding that was ever confirmed was withdrawn, or became one that is not confirmed.
fn check_nothing_was_taken_back(seed: u64, events: &[Value]) {
    let mut confirmed: BTreeSet<&str> = BTreeSet::new();
    for event in events {
        let finding = &event["finding"];
        let taken_back = match event["event"].as_str() {
            Some("withdrawn") => finding.as_str().is_some_and(|id| confirmed.contains(id)),
            Some("updated") => {
                let id = event["was"].as_str().or(finding["id"].as_str()).unwrap_or_default();
                confirmed.remove(id) && finding["certainty"] != "confirmed"
            }
            _ => false,
        };
        assert!(!taken_back, "seed {seed}: {event:#} of {events:#?}");
        if finding["certainty"] == "confirmed" {
            confirmed.extend(finding["id"].as_str());
        }
    }
}

const FULL: [&str; 4] =
    ["accept-queue-overflow", "accept-queue-reset", "syn-drop-accept-queue", "syn-drop-syn-queue"];

/// The findings about a listener, and those of them that a queue of it was full.
fn findings_at<'v>(place: &Place, report: &'v Value) -> (Vec<&'v Value>, Vec<&'v Value>) {
    let all = report["findings"].as_array().expect("findings").iter();
    let here: Vec<&Value> = all.filter(|f| f["server"] == place.address.as_str()).collect();
    let is_full = |f: &&&Value| FULL.contains(&f["kind"].as_str().unwrap_or_default());
    let full = here.iter().filter(is_full).copied().collect();
    (here, full)
}

/// Of a listener of another host nothing is told from the counters of this one.
fn check_from_afar(seed: u64, place: &Place, report: &Value) {
    let (_, full) = findings_at(place, report);
    let counted = full.iter().filter(|f| !f["metrics"]["host_listener_drops"].is_null());
    assert_eq!(counted.count(), 0, "seed {seed}, {} from afar: {full:#?}", place.address);
}

/// The findings about a listener fit the total drops of its socket, which lie between these two.
fn check(seed: u64, place: &Place, (least, most): (u64, u64), report: &Value) {
    let (here, full) = findings_at(place, report);
    let confirmed = full.iter().filter(|f| f["certainty"] == "confirmed").count();
    // The sums of the listener as a whole.
    let sums = full.iter().filter(|f| f["client"].is_null());
    let told: u64 = sums.filter_map(|f| f["metrics"]["host_listener_drops"].as_u64()).sum();
    let (least, most) = (least + place.before, most + place.before);
    let about = || {
        format!(
            "seed {seed}, {} {:?}: {least} to {most} dropped, {told} told, {here:#?}",
            place.address, place.health
        )
    };
    if most == 0 {
        // Its socket has dropped nothing: nothing may be called full there for certain.
        assert_eq!(confirmed, 0, "{}", about());
    }
    let added = if place.health == Health::Restarted { ADDED_MEANWHILE } else { 0 };
    assert!(least <= told && told <= most + added, "{}", about());
    if place.health == Health::Firewalled && place.tried {
        assert!(here.iter().any(|f| f["kind"] == "syn-unanswered"), "{}", about());
    }
}
