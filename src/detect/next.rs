//! Next steps of reports: commands that run as they are printed, on a current and on an older system.
//!
//! A command comes first, then two blanks, `# ` and what to look for; `report::step` reads them so.

use std::net::{IpAddr, SocketAddr};

use crate::flow::key::Host;
use crate::model::Vantage;
use crate::time::{Span, Timestamp};

/// The log is worth reading from this long before a packet on.
const LOG_BEFORE: Span = Span::secs(60);
/// How long after it.
const LOG_AFTER: Span = Span::secs(10);

/// Steps that depend only on the server, by the fault that they look into. Thousands of findings share them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UsualSteps {
    /// Nothing listens on a port.
    MissingListener,
    /// A full accept queue is answered by a RST.
    ResetByFullQueue,
}

impl UsualSteps {
    /// In words.
    pub fn at(self, server: Host) -> Vec<String> {
        match self {
            UsualSteps::MissingListener => vec![listener(server), filter_rules(server)],
            UsualSteps::ResetByFullQueue => vec![
                accept_queue(server),
                format!(
                    "sysctl net.ipv4.tcp_abort_on_overflow   # on {}: with 1 a full queue is answered by this RST",
                    server.address
                ),
                counters(
                    &["TcpExtListenOverflows", "TcpExtEmbryonicRsts"],
                    "twice, 10 s apart: both grow while the queue overflows",
                ),
                MAKE_IT_ACCEPT.to_owned(),
                RAISE_THE_BACKLOG.to_owned(),
            ],
        }
    }
}

/// The queue and the limit of the listener.
pub fn accept_queue(server: Host) -> String {
    format!(
        "ss -ltn 'sport = :{}'   # on {}: the accept queue is full while Recv-Q is above Send-Q",
        server.port, server.address
    )
}

/// Whether a socket listens there, and which process has it.
pub fn listener(server: Host) -> String {
    format!(
        "ss -ltnp 'sport = :{}'   # on {}: does a process listen on that address and port?",
        server.port, server.address
    )
}

/// Counters of the kernel, to be read twice; `remark` says what to look for.
pub fn counters(names: &[&str], remark: &str) -> String {
    format!("nstat -az {}   # {remark}", names.join(" "))
}

/// Counters of a listener's losses that exist for its address family.
pub fn listener_losses(server: Host) -> String {
    let mut names = vec!["TcpExtListenOverflows", "TcpExtListenDrops", "TcpExtTCPReqQFullDrop"];
    if server.socket().is_ipv4() {
        // Reverse-path filtering of IPv6 is netfilter's.
        names.push("TcpExtIPReversePathFilter");
    }
    let address = server.address;
    counters(&names, &format!("on {address}, twice, 10 s apart: the counter that grows names the cause"))
}

/// The pcap-filter(7) expression for SYNs and SYN-ACKs of a listener. `tcp[tcpflags]` reads IPv4 only.
pub fn syn_filter(server: SocketAddr) -> String {
    let flags = if server.is_ipv4() { "tcp[tcpflags] & tcp-syn != 0" } else { "ip6[53] & 2 != 0" };
    format!("tcp port {} and {flags}", server.port())
}

/// Shows whether SYNs arrive at the server.
pub fn do_syns_arrive(server: Host) -> String {
    format!(
        "tcpdump -c 20 -ni any '{}'   # on {}: do the SYNs arrive, and does a SYN-ACK leave?",
        syn_filter(server.socket()),
        server.address
    )
}

/// The rules of the packet filter, with their counters.
pub fn filter_rules(server: Host) -> String {
    format!(
        "nft list ruleset   # on {}: does the counter of a rule for port {} grow? Older systems: iptables-save -c",
        server.address, server.port
    )
}

/// How many handshakes are half open now.
pub fn half_open(server: Host) -> String {
    format!(
        "ss -Htn state syn-recv 'sport = :{}' | wc -l   # on {}: handshakes that are half open now",
        server.port, server.address
    )
}

/// The server's log from around `at`.
pub fn log(server: Host, at: Timestamp) -> String {
    let second = |at: Timestamp| {
        let text = at.to_string();
        // journalctl of systemd 252 takes neither `T` and `Z` nor nanoseconds.
        format!("{} {} UTC", &text[..10], &text[11..19])
    };
    format!(
        "journalctl --since '{}' --until '{}'   # on {}: restart, deployment or crash of the server?",
        second(at + Span(-LOG_BEFORE.0)),
        second(at + LOG_AFTER),
        server.address
    )
}

/// Steps for a full accept queue: see it, find the reason, make it longer.
pub fn full_accept_queue(server: Host) -> Vec<String> {
    vec![
        accept_queue(server),
        counters(
            &["TcpExtListenOverflows", "TcpExtListenDrops"],
            "twice, 10 s apart: both grow while the queue overflows",
        ),
        MAKE_IT_ACCEPT.to_owned(),
        RAISE_THE_BACKLOG.to_owned(),
    ]
}

/// Steps for a full SYN queue: see it, and answer with cookies.
pub fn full_syn_queue(server: Host) -> Vec<String> {
    vec![
        half_open(server),
        counters(
            &["TcpExtTCPReqQFullDrop", "TcpExtListenDrops"],
            "twice, 10 s apart: both grow while the queue overflows",
        ),
        "sysctl -w net.ipv4.tcp_syncookies=1   # makes the server answer with cookies instead of dropping SYNs"
            .to_owned(),
    ]
}

/// Steps for `tcp_tw_recycle`: see whether it is on, and switch it off.
pub fn recycled_time_wait(server: Host) -> Vec<String> {
    let ip = server.socket().ip();
    vec![
        format!(
            "sysctl net.ipv4.tcp_tw_recycle   # on {ip}: 1 is the cause; if the setting does not exist, the cause is another"
        ),
        counters(
            &["TcpExtPAWSPassive", "TcpExtListenDrops"],
            "twice, 10 s apart: both grow together while SYNs are dropped",
        ),
        "Set net.ipv4.tcp_tw_recycle to 0 on the server. This helps at once.".to_owned(),
    ]
}

/// Steps for SYNs without an answer, captured at `vantage`. Whether SYNs arrive is not a step where the capture shows
/// it.
pub fn unanswered_syn(server: Host, vantage: Vantage) -> Vec<String> {
    let mut steps = vec![listener_losses(server), filter_rules(server)];
    let first = if vantage == Vantage::Server { listener(server) } else { do_syns_arrive(server) };
    steps.insert(0, first);
    steps
}

/// Packets that a host lost before or behind TCP.
pub const LINK_DROPS: &str =
    "ip -s -s link   # on both hosts and on routers between them: do errors or drops grow?";

/// An address as ss(8) takes it.
pub fn ss_address(ip: IpAddr) -> String {
    if ip.is_ipv4() { ip.to_string() } else { format!("'[{ip}]'") }
}

/// Steps for an application that accepts too slowly.
pub const MAKE_IT_ACCEPT: &str = "Find out why the application does not call accept(): a blocked thread, a long pause, no free file descriptor.";

/// Steps to make the accept queue longer.
pub const RAISE_THE_BACKLOG: &str =
    "sysctl net.core.somaxconn   # raise it together with the backlog of listen(), then restart the listener";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::segment::Address;

    fn server(ip: &str) -> Host {
        let ip: std::net::IpAddr = ip.parse().expect("an address");
        Host { address: Address::from(ip), port: 443 }
    }

    #[test]
    fn a_filter_for_syns_fits_the_address_family() {
        assert_eq!(syn_filter(server("192.0.2.1").socket()), "tcp port 443 and tcp[tcpflags] & tcp-syn != 0");
        assert_eq!(syn_filter(server("2001:db8::1").socket()), "tcp port 443 and ip6[53] & 2 != 0");
        assert!(!listener_losses(server("2001:db8::1")).contains("ReversePath"));
    }

    #[test]
    fn the_log_is_read_from_before_the_packet_on() {
        let at = Timestamp(1_795_356_187_654_321_000);
        assert!(
            log(server("192.0.2.1"), at).starts_with(
                "journalctl --since '2026-11-22 14:02:07 UTC' --until '2026-11-22 14:03:17 UTC'"
            ),
            "{}",
            log(server("192.0.2.1"), at)
        );
    }
}
