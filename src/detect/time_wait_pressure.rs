//! `time-wait-pressure`: ports or buckets run out because of sockets in TIME_WAIT.

use std::collections::VecDeque;

use crate::detect::draft::{Draft, cause};
use crate::detect::explain::finding;
use crate::detect::surroundings::Surroundings;
use crate::flow::facts::Role;
use crate::flow::key::Host;
use crate::report::model::{Kind, Severity};

finding! {
    /// So many connections to one listener are closed by one side that its sockets in TIME_WAIT pile up.
    ///
    /// ## On the wire
    /// One side sends the first FIN on hundreds of connections within the 60 s that TIME_WAIT lasts; source ports
    /// come round again. When a client's ports run out nothing at all is sent: connect() fails with EADDRNOTAVAIL.
    /// ## In the kernel
    /// Who closes first holds TIME_WAIT for 60 s (`tcp_time_wait`, `TCP_TIMEWAIT_LEN`, not tunable). A client has
    /// 28,232 ports per destination by default; a server only spends memory, up to `tcp_max_tw_buckets`
    /// (`TCPTimeWaitOverflow`).
    /// ## Looks alike
    /// * A busy server that closes first: harmless below its buckets.
    /// ## Check next
    /// `ss -s`; `ss -tan state time-wait | wc -l`; at the client `sysctl net.ipv4.ip_local_port_range
    /// net.ipv4.tcp_tw_reuse`. Keep connections alive or pool them.
    /// ## References
    /// RFC 9293 section 3.6.1; tcp(7) on tcp_tw_reuse
    pub struct TimeWaitPressure = Kind::TimeWaitPressure
}

/// TIME_WAIT, seconds (`TCP_TIMEWAIT_LEN`).
const TIME_WAIT: i64 = 60;
/// Sockets in TIME_WAIT at once, at one side toward one listener, that are worth a line.
const NOTABLE: u64 = 300;
/// Nine tenths of the default ephemeral range, 32768 to 60999.
const NEARLY_ALL_PORTS: u64 = 25_400;

/// See [`TimeWaitPressure`].
pub fn survey(server: Host, around: &Surroundings<'_>) -> Option<Draft> {
    let peak = |closed: &dyn Fn(&crate::detect::listener::Second) -> u32| {
        let (mut window, mut sum, mut most) = (VecDeque::new(), 0, 0);
        for (&second, s) in &around.listener.seconds {
            window.push_back((second, u64::from(closed(s))));
            sum += u64::from(closed(s));
            while window.front().is_some_and(|(old, _)| second - old >= TIME_WAIT) {
                sum -= window.pop_front().map_or(0, |(_, n)| n);
            }
            most = most.max(sum);
        }
        most
    };
    let (by_client, by_server) = (peak(&|s| s.closed_by_client), peak(&|s| s.closed_by_server));
    let (role, most) =
        if by_client >= by_server { (Role::Client, by_client) } else { (Role::Server, by_server) };
    if most < NOTABLE {
        return None;
    }
    let (first, last) = around.listener.closes[role as usize]?;
    let who = match role {
        Role::Client => "clients",
        Role::Server => "server",
    };
    let mut d = Draft::about_listener(server, Kind::TimeWaitPressure, (first, "first FIN by that side"));
    d.shows(last, "last FIN by that side");
    let exhausted = role == Role::Client && most >= NEARLY_ALL_PORTS;
    d.severity = if exhausted { Severity::Warning } else { Severity::Info };
    d.summary = format!(
        "The {who} of {} hold up to {most} sockets in TIME_WAIT at once: that side closes first.",
        server.socket()
    );
    d.cause = cause(
        "The side that closes first keeps each socket in TIME_WAIT for 60 s.",
        &["tcp_time_wait", "inet_twsk_schedule"],
        &["TcpExtTW", "TcpExtTCPTimeWaitOverflow"],
        &["net.ipv4.ip_local_port_range", "net.ipv4.tcp_tw_reuse", "net.ipv4.tcp_max_tw_buckets"],
    );
    d.measure("time_wait_peak", most).measure("closed_first_by", who);
    if exhausted {
        d.probable("nearly as many as a client has ports by default");
    } else {
        d.possible("how many ports or buckets there are is not on the wire");
    }
    d.or(
        "An ordinary load.",
        "Harmless as long as ports (28,232 per client and destination by default) suffice.",
    );
    d.next_steps = vec![
        "ss -tan state time-wait | wc -l   # on the side that closes first".to_owned(),
        "sysctl net.ipv4.ip_local_port_range net.ipv4.tcp_tw_reuse   # on the client".to_owned(),
        "Keep connections alive or pool them, so that fewer are opened".to_owned(),
    ];
    Some(d)
}
