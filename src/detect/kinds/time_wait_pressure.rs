//! `time-wait-pressure`: ports or buckets run out because of sockets in TIME_WAIT.

use std::collections::VecDeque;

use crate::detect::context::DetectContext;
use crate::detect::details::Details;
use crate::detect::draft::{Draft, cause};
use crate::detect::spec::{Examine, LeadsTo, RelationCondition, finding};
use crate::flow::facts::Role;
use crate::flow::key::Host;
use crate::history::ports::ExhaustedPorts;
use crate::model::{Kind, Severity};

finding! {
    /// Connections to one listener are closed so fast that ports or buckets run out while their sockets are in TIME_WAIT.
    ///
    /// ## On the wire
    /// One client address sends the first FIN on its connections to one listener. At that rate its ports run out within
    /// the 60 s that TIME_WAIT lasts: more than 370 a second. Or the server closes first, more than 1,000 times a
    /// second. When a client's ports have run out it sends nothing at all: connect() fails with EADDRNOTAVAIL.
    /// ## In the kernel
    /// The side that closes first holds TIME_WAIT for 60 s (`tcp_time_wait`, `TCP_TIMEWAIT_LEN`, not tunable). A client
    /// has 28,232 ports per destination by default (`__inet_hash_connect`), 470 connections a second; another
    /// destination has its own. A server needs no port for it, only memory, up to `tcp_max_tw_buckets`: half of the
    /// table of connections, so 65,536 where that has 131,072 places. Beyond that number, sockets skip TIME_WAIT
    /// (`TCPTimeWaitOverflow`).
    /// ## Looks alike
    /// * A busy server, also one that closes first: its many clients have ports of their own. No finding.
    /// * A smaller port range runs out sooner. It shows when each port of a range was used once, in no order, and no other
    ///   port followed. It also shows when most connections take a port out of TIME_WAIT (`tcp_tw_reuse`). Else: no finding
    ///   below those rates.
    /// * A system that counts its ports up uses a range of them without using it up: no finding.
    /// ## Check next
    /// `ss -s`; `ss -tan state time-wait | wc -l`; at the client `sysctl net.ipv4.ip_local_port_range
    /// net.ipv4.tcp_tw_reuse`. Keep connections alive or pool them.
    /// ## References
    /// RFC 9293 section 3.6.1; tcp(7) on tcp_tw_reuse; `net/ipv4/inet_hashtables.c`, `net/ipv4/tcp_minisocks.c`
    pub struct TimeWaitPressure {
        kind: Kind::TimeWaitPressure,
        plain_words: "Connections are closed so fast that free ports, or places for sockets in TIME_WAIT, may run out.",
        at_fault: "the side that opens and closes connections at this rate",
        examine: Examine::Listener(examine),
        look_alikes: &["time-wait-pressure/many-clients", "time-wait-pressure/server-closes-first", "nothing-wrong/captured-twice", "syn-drop-timestamp/nat-nothing-wrong"],
        counters: &["TcpExtTW", "TcpExtTCPTimeWaitOverflow"],
        settings: &["net.ipv4.ip_local_port_range", "net.ipv4.tcp_max_tw_buckets", "net.ipv4.tcp_tw_reuse"],
        leads_to: &[
            LeadsTo {
                effect: Kind::TimeWaitCollision,
                said_of_effect: "SYNs met sockets in TIME_WAIT",
                said_of_cause: "sockets in TIME_WAIT had piled up",
                when: RelationCondition::Always,
            },
        ],
    }
}

/// TIME_WAIT, seconds (`TCP_TIMEWAIT_LEN`).
const TIME_WAIT: i64 = 60;
/// Four fifths of the default ephemeral range, 32768 to 60999, which one client has toward one listener.
const NEARLY_ALL_PORTS: u64 = 22_500;
/// `tcp_max_tw_buckets` of a machine with some GB of memory (`inet_hashinfo2_init`, `tcp_init`: half of 131,072 places).
const BUCKETS: u64 = 65_536;

/// A client with this multiple of the median share is no chance.
const OUTSTANDING: u64 = 4;

/// The number of sockets in TIME_WAIT at once.
#[derive(Clone, Copy)]
struct TimeWaitPeak {
    /// Connections that were seen to be closed within [`TIME_WAIT`].
    seen: u64,
    /// The number if the rate continues; the same if the rate was seen for long enough.
    ahead: u64,
}

impl TimeWaitPeak {
    /// Computed from the closes of each second.
    fn of(around: &DetectContext<'_>, role: Role) -> Option<TimeWaitPeak> {
        let (mut window, mut sum, mut most) = (VecDeque::new(), 0, 0);
        // If a step is longer than TIME_WAIT, at least one part of it had its average share.
        let step = around.listener.seconds.step();
        let (step, parts) = (step.min(TIME_WAIT), (step as u64).div_ceil(TIME_WAIT as u64));
        for (second, s) in around.listener.seconds.iter() {
            let closed = u64::from(match role {
                Role::Client => s.closed_by_client,
                Role::Server => s.closed_by_server,
            }) / parts;
            window.push_back((second, closed));
            sum += closed;
            while window.front().is_some_and(|(old, _)| second + step - old > TIME_WAIT) {
                sum -= window.pop_front().map_or(0, |(_, n)| n);
            }
            most = most.max(sum);
        }
        let (first, last) = around.listener.closes[role as usize]?;
        // The capture may be shorter than TIME_WAIT; less than a second of it says nothing about a minute.
        let interval = (last.time - first.time).0.clamp(1_000_000_000, TIME_WAIT * 1_000_000_000);
        let ahead = u128::from(most) * (TIME_WAIT as u128 * 1_000_000_000) / interval as u128;
        Some(TimeWaitPeak { seen: most, ahead: ahead as u64 })
    }

    /// The same for the `part`th of `whole` connections.
    fn share(self, part: u64, whole: u64) -> TimeWaitPeak {
        let of = |n: u64| (u128::from(n) * u128::from(part) / u128::from(whole.max(1))) as u64;
        TimeWaitPeak { seen: of(self.seen), ahead: of(self.ahead) }
    }
}

/// Whether as many connections were closed within [`TIME_WAIT`] as the client's range has ports, and never more.
fn is_at_limit(used: &ExhaustedPorts, around: &DetectContext<'_>) -> bool {
    let closes: u64 = around.listener.closers.iter().sum();
    // All closes are this client's, and none took a port out of TIME_WAIT.
    closes == used.uses
        && used.recycled == 0
        && TimeWaitPeak::of(around, Role::Client)
            .is_some_and(|peak| peak.seen <= used.ports() && peak.seen * 20 >= used.ports() * 19)
}

/// One client uses every port of a range, again and again, and never one before its TIME_WAIT is over.
fn range_at_limit(server: Host, used: &ExhaustedPorts, around: &DetectContext<'_>) -> Option<Draft> {
    let mut d = range_used_up(server, used, around)?;
    let (client, ports) = (used.client.ip(), used.ports());
    d.summary = format!(
        "{client} opened {} connections to {} from its {ports} ports {} to {}, and no more than {ports} within 60 s.",
        used.uses,
        server.socket(),
        used.from,
        used.to
    );
    // Nothing failed, and a job that uses its own ports again each minute looks the same.
    d.severity = Severity::Info;
    d.possible(
        "a port is free again 60 s after its connection was closed, and the range was used up in each 60 s",
    );
    d.alternatives.clear();
    d.or(
        "The client opens only as many connections as it needs.",
        "It would have to need as many in each minute as its range has ports.",
    );
    Some(d)
}

/// One client has used every port of a range.
fn range_used_up(server: Host, used: &ExhaustedPorts, around: &DetectContext<'_>) -> Option<Draft> {
    let (first, last) = around.listener.closes[Role::Client as usize]?;
    let (client, ports, again) = (used.client.ip(), used.ports(), used.recycled > 0);
    let range = format!("{} to {}", used.from, used.to);
    let mut d = Draft::about_listener(server, &SPEC, (first, "first FIN by the client"));
    d.shows(last, "last FIN by the client");
    d.severity = Severity::Warning;
    d.summary = match again {
        false => format!(
            "{client} used each of its {ports} ports {range} once toward {}, and opened nothing after that.",
            server.socket()
        ),
        true => format!(
            "{client} opened {} connections to {} from its {ports} ports {range}, {} of them on a port in TIME_WAIT.",
            used.uses,
            server.socket(),
            used.recycled
        ),
    };
    d.cause = cause(
        "The client closes first and keeps each port in TIME_WAIT for 60 s: none is left for a new connection.",
        &["tcp_time_wait", "__inet_hash_connect", "tcp_twsk_unique"],
        &["TcpExtTW", "TcpExtTWRecycled"],
        &["net.ipv4.ip_local_port_range", "net.ipv4.tcp_tw_reuse"],
    );
    d.details = Details::TimeWait { closer: Role::Client };
    d.measure("time_wait_peak", ports.min(used.uses))
        .measure("time_wait_ahead", ports)
        .measure("port_first", used.from)
        .measure("port_last", used.to)
        .measure("recycled", used.recycled);
    d.probable(match again {
        false => "the ports form a range without a gap, although the client does not use them in order",
        true => "connections take ports out of TIME_WAIT this often only where hardly any other port is left",
    });
    d.or(
        "The client opened only as many connections as it needed.",
        "Ports drawn at random seldom form a range without a gap.",
    );
    d.next_steps = vec![
        format!(
            "sysctl net.ipv4.ip_local_port_range net.ipv4.tcp_tw_reuse   # on {client}: is this the whole range?"
        ),
        format!(
            "ss -Htan state time-wait dst {} | wc -l   # on {client}: ports in TIME_WAIT now",
            server.address.ip()
        ),
        "Look for EADDRNOTAVAIL (\"Cannot assign requested address\") in the client's log.".to_owned(),
        "Keep connections alive or use a pool, so that fewer are opened and closed.".to_owned(),
    ];
    Some(d)
}

/// See [`TimeWaitPressure`].
fn examine(server: Host, around: &DetectContext<'_>) -> Option<Draft> {
    if let Some(used) = around.listener.ports.exhausted_ranges().max_by_key(|used| (used.uses, used.client)) {
        return range_used_up(server, &used, around);
    }
    if let Some(used) = around.listener.ports.cycled_ranges().find(|used| is_at_limit(used, around)) {
        return range_at_limit(server, &used, around);
    }
    // Each client has ports of its own. A busy client counts: its share stands out from the equal shares of many
    // clients.
    let mut closers = around.listener.closers;
    closers.sort_unstable();
    let (ordinary, busiest) = (closers[closers.len() / 2], closers[closers.len() - 1]);
    let busiest = if busiest >= OUTSTANDING * ordinary { busiest } else { 0 };
    let whole = closers.into_iter().sum();
    let by_client = TimeWaitPeak::of(around, Role::Client).map(|peak| peak.share(busiest, whole));
    let by_client = by_client.filter(|peak| peak.ahead >= NEARLY_ALL_PORTS);
    let by_server = TimeWaitPeak::of(around, Role::Server).filter(|peak| peak.ahead >= BUCKETS);
    let (role, peak) = match (by_client, by_server) {
        (Some(peak), _) => (Role::Client, peak),
        (None, peak) => (Role::Server, peak?),
    };
    let (first, last) = around.listener.closes[role as usize]?;
    let most = peak.seen;
    let mut d = Draft::about_listener(server, &SPEC, (first, "first FIN by that side"));
    d.shows(last, "last FIN by that side");
    let exhausted = role == Role::Client && most >= NEARLY_ALL_PORTS;
    d.severity = if exhausted { Severity::Warning } else { Severity::Info };
    d.summary = match role {
        Role::Client => format!(
            "A client of {} closes first and holds up to {most} sockets in TIME_WAIT toward it at once.",
            server.socket()
        ),
        Role::Server => format!(
            "The server {} closes first and holds up to {most} sockets in TIME_WAIT at once.",
            server.socket()
        ),
    };
    d.cause = cause(
        "The side that closes first keeps each socket in TIME_WAIT for 60 s.",
        &["tcp_time_wait", "inet_twsk_schedule"],
        &["TcpExtTW", "TcpExtTCPTimeWaitOverflow"],
        &["net.ipv4.ip_local_port_range", "net.ipv4.tcp_tw_reuse", "net.ipv4.tcp_max_tw_buckets"],
    );
    d.details = Details::TimeWait { closer: role };
    d.measure("time_wait_peak", most).measure("time_wait_ahead", peak.ahead);
    if exhausted {
        d.probable("that is nearly as many as a client has ports by default");
    } else {
        d.possible(
            "the packets show neither how many ports or buckets there are, nor whether the rate continues",
        );
    }
    match role {
        Role::Client => d.or(
            "It is a short burst.",
            "Then it is harmless: the ports, 28,232 by default, are free again after 60 s.",
        ),
        Role::Server => d.or("It is an ordinary load.", "TIME_WAIT costs the server no port, only memory."),
    };
    d.next_steps = vec![
        "ss -Htan state time-wait | wc -l   # on the side that closes first: sockets in TIME_WAIT now".to_owned(),
        match role {
            Role::Client => "sysctl net.ipv4.ip_local_port_range net.ipv4.tcp_tw_reuse   # on the client: how many ports it may use",
            Role::Server => {
                "sysctl net.ipv4.tcp_max_tw_buckets; nstat -az TcpExtTCPTimeWaitOverflow   # on the server: is the limit reached?"
            }
        }
        .to_owned(),
        "Keep connections alive or use a pool, so that fewer are opened and closed.".to_owned(),
    ];
    Some(d)
}
