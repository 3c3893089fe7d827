//! What an ICMP error that answers a SYN says: who sent it, and why the SYN was not delivered.

use crate::detect::draft::cause;
use crate::flow::facts::IcmpError;
use crate::model::Cause;
use crate::time::Span;

/// A neighbour that does not answer is given up after three requests, one a second (`neigh_probe`, `mcast_solicit`).
/// An error that comes at once has another reason.
const NEIGHBOUR_TIME_OUT: Span = Span::millis(900);

/// Hosts start from 64 or more, and hardly a path is longer than 30 hops: a SYN with less was sent to find the way.
const TRACED: u8 = 30;

/// Why a SYN was not delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Undelivered {
    /// The last router got no answer to its address resolution.
    NoNeighbour,
    /// A router could not deliver to the host, and says no more.
    HostUnreachable,
    /// A router has no route.
    NoRoute,
    /// Nothing listens, as a packet filter with REJECT says it.
    PortUnreachable,
    /// A packet filter forbids it, and says so.
    Prohibited,
    /// The packet went in circles.
    Loop,
    /// The packet was sent with so small a time to live that it should not arrive.
    Traced,
    /// Something else.
    Other,
}

impl Undelivered {
    /// Reads the error, which came `after` the SYN that it quotes; `ttl` is that of the SYN where it was captured.
    pub fn read(error: &IcmpError, after: Span, ttl: u8) -> Undelivered {
        let reason = if error.v6 { of_v6(error.kind, error.code) } else { of_v4(error.kind, error.code) };
        match reason {
            Undelivered::HostUnreachable if after >= NEIGHBOUR_TIME_OUT => Undelivered::NoNeighbour,
            Undelivered::Loop if ttl <= TRACED => Undelivered::Traced,
            reason => reason,
        }
    }

    /// Whether a packet filter sent it.
    pub fn is_by_firewall(self) -> bool {
        matches!(self, Undelivered::PortUnreachable | Undelivered::Prohibited)
    }

    /// The name that RFC 792, 1812 and 4443 give it.
    pub fn name(self) -> &'static str {
        match self {
            Undelivered::NoNeighbour | Undelivered::HostUnreachable => "host unreachable",
            Undelivered::NoRoute => "network unreachable",
            Undelivered::PortUnreachable => "port unreachable",
            Undelivered::Prohibited => "administratively prohibited",
            Undelivered::Loop | Undelivered::Traced => "time to live exceeded",
            Undelivered::Other => "undeliverable",
        }
    }

    /// The cause, as the reporter's address tells it.
    pub fn cause(self, error: &IcmpError) -> Cause {
        let (router, who) = match error.sender.map(|address| address.ip()) {
            Some(ip) => (format!("The router {ip}"), ip.to_string()),
            None => ("A router on the path".to_owned(), "a device on the path".to_owned()),
        };
        let resolution = if error.v6 { "neighbor discovery" } else { "ARP" };
        let text = match self {
            Undelivered::NoNeighbour => format!(
                "{router} reports the host unreachable: its {resolution} got no answer, so no host has this address now."
            ),
            Undelivered::HostUnreachable => {
                format!("{router} reports the host unreachable: it cannot deliver to this address.")
            }
            Undelivered::NoRoute => format!("{router} has no route to this address."),
            Undelivered::PortUnreachable => {
                format!("A firewall rule rejects the connection: {who} sent the ICMP error.")
            }
            Undelivered::Prohibited => {
                format!("A firewall prohibits the connection: {who} sent the ICMP error.")
            }
            Undelivered::Loop => {
                format!("The SYN's time to live ran out at {who}: probably a routing loop.")
            }
            Undelivered::Traced => {
                format!(
                    "The SYN was sent with a small time to live, as traceroute does; it ran out at {who}."
                )
            }
            Undelivered::Other => format!("{router} reports that it cannot deliver the SYN."),
        };
        let functions: &'static [&'static str] = match self {
            Undelivered::NoNeighbour if error.v6 => &["ndisc_error_report"],
            Undelivered::NoNeighbour => &["arp_error_report", "ipv4_link_failure"],
            Undelivered::PortUnreachable | Undelivered::Prohibited => &["nf_send_unreach"],
            _ => &[],
        };
        Cause { text: text.into(), ..cause("", functions, &[], &[]) }
    }

    /// The same of data of a connection that had been open.
    pub fn cause_for_data(self, error: &IcmpError) -> Cause {
        let who = match error.sender.map(|address| address.ip()) {
            Some(ip) => ip.to_string(),
            None => "A device on the path".to_owned(),
        };
        let text = match self {
            Undelivered::PortUnreachable => format!(
                "{who} rejects the connection's segments with an ICMP error since then: a firewall rule, or a service that lost its last \
                 endpoint. TCP takes the error for a passing one and repeats the data."
            ),
            Undelivered::Prohibited => format!(
                "{who} forbids the connection's segments since then: a firewall rule. TCP takes the error for a passing one and repeats \
                 the data."
            ),
            Undelivered::Loop | Undelivered::Traced => {
                format!("The data's time to live ran out at {who}: probably a routing loop.")
            }
            _ => return self.cause(error),
        };
        Cause { text: text.into(), ..self.cause(error) }
    }

    /// Why that is thought.
    pub fn reason(self) -> &'static str {
        match self {
            Undelivered::NoNeighbour => {
                "the error came when address resolution times out, a second or more after the SYN"
            }
            Undelivered::HostUnreachable => "the ICMP error says that the host is unreachable",
            Undelivered::NoRoute => "the ICMP error says that there is no route",
            Undelivered::PortUnreachable => {
                "an ICMP error answers the SYN: a host without a listener would send a RST"
            }
            Undelivered::Prohibited => {
                "the ICMP error says that the connection is administratively prohibited"
            }
            Undelivered::Loop => "the ICMP error says that the time to live ran out",
            Undelivered::Traced => "no system opens a connection with so small a time to live",
            Undelivered::Other => "an ICMP error quotes the SYN",
        }
    }

    /// What else it could be, and why that is less likely.
    pub fn alternative(self) -> (&'static str, &'static str) {
        match self {
            Undelivered::NoNeighbour => {
                ("A firewall answers with host unreachable.", "A firewall would answer at once.")
            }
            Undelivered::HostUnreachable => (
                "A firewall answers with host unreachable.",
                "Its usual answers are port unreachable and administratively prohibited.",
            ),
            Undelivered::NoRoute => {
                ("A firewall answers with network unreachable.", "Its usual answer is port unreachable.")
            }
            Undelivered::PortUnreachable | Undelivered::Prohibited => {
                ("No socket listens on that port.", "Then the host itself would answer with a RST.")
            }
            Undelivered::Loop => {
                ("The path is longer than the SYN's time to live.", "Hosts start from 64 or more.")
            }
            Undelivered::Traced => {
                ("The packet went in circles.", "It would have had a larger time to live here.")
            }
            Undelivered::Other => ("A firewall sent it.", "Its usual answer is port unreachable."),
        }
    }

    /// What to check: a command on the reporter where it is known.
    pub fn next_step(self, error: &IcmpError, server: &str) -> String {
        let on = error.sender.map(|by| format!("on {}: ", by.ip())).unwrap_or_default();
        match self {
            Undelivered::NoNeighbour | Undelivered::HostUnreachable => {
                format!(
                    "ip neigh show to {server}   # {on}FAILED or INCOMPLETE means that nobody answers for the address"
                )
            }
            Undelivered::NoRoute | Undelivered::Loop | Undelivered::Traced => {
                format!("ip route get {server}   # {on}where would it send the packet?")
            }
            Undelivered::PortUnreachable | Undelivered::Prohibited | Undelivered::Other => {
                format!("nft list ruleset   # {on}which reject rule's counter grows?")
            }
        }
    }
}

/// Types of RFC 792, codes also of RFC 1122 and RFC 1812.
fn of_v4(kind: u8, code: u8) -> Undelivered {
    match (kind, code) {
        (3, 0 | 6 | 11) => Undelivered::NoRoute,
        (3, 1 | 7 | 8 | 12) => Undelivered::HostUnreachable,
        (3, 2 | 3) => Undelivered::PortUnreachable,
        (3, 9 | 10 | 13) => Undelivered::Prohibited,
        (11, 0) => Undelivered::Loop,
        _ => Undelivered::Other,
    }
}

/// Types and codes of RFC 4443.
fn of_v6(kind: u8, code: u8) -> Undelivered {
    match (kind, code) {
        (1, 0 | 6) => Undelivered::NoRoute,
        (1, 1 | 5) => Undelivered::Prohibited,
        (1, 2 | 3) => Undelivered::HostUnreachable,
        (1, 4) => Undelivered::PortUnreachable,
        (3, 0) => Undelivered::Loop,
        _ => Undelivered::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_unreachable_at_the_time_of_a_failed_resolution_is_no_firewall() {
        let error = IcmpError { kind: 3, code: 1, ..IcmpError::default() };
        assert_eq!(Undelivered::read(&error, Span::millis(3_060), 64), Undelivered::NoNeighbour);
        assert_eq!(Undelivered::read(&error, Span::millis(2), 64), Undelivered::HostUnreachable);
        let v6 = IcmpError { kind: 1, code: 3, v6: true, ..IcmpError::default() };
        assert_eq!(Undelivered::read(&v6, Span::secs(3), 64), Undelivered::NoNeighbour);
        assert!(!Undelivered::NoNeighbour.is_by_firewall());
    }

    #[test]
    fn a_small_time_to_live_is_no_routing_loop() {
        let error = IcmpError { kind: 11, ..IcmpError::default() };
        assert_eq!(Undelivered::read(&error, Span::millis(4), 3), Undelivered::Traced);
        assert_eq!(Undelivered::read(&error, Span::millis(4), 61), Undelivered::Loop);
    }

    #[test]
    fn what_a_packet_filter_sends_is_one() {
        for code in [3, 9, 10, 13] {
            let error = IcmpError { kind: 3, code, ..IcmpError::default() };
            assert!(Undelivered::read(&error, Span::ZERO, 64).is_by_firewall(), "{code}");
        }
    }
}
