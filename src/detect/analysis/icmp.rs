//! The meaning of an ICMP error that answers a SYN: who sent it, and why the SYN was not delivered.

use crate::detect::draft::cause;
use crate::flow::facts::IcmpError;
use crate::model::Cause;
use crate::time::Span;

/// A neighbour that does not answer is given up after three requests, one a second (`neigh_probe`, `mcast_solicit`). An
/// error that comes at once has another reason.
const NEIGHBOUR_TIME_OUT: Span = Span::millis(900);

/// Hosts start from 64 or more, and hardly any path is longer than 30 hops: a SYN with a smaller TTL was sent to trace
/// the path.
const TRACED: u8 = 30;

/// Why a SYN was not delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeliveryFailure {
    /// The last router got no answer to its address resolution.
    NoNeighbour,
    /// A router could not deliver to the host, and gives no reason.
    HostUnreachable,
    /// A router has no route.
    NoRoute,
    /// Nothing listens, or a packet filter with REJECT says so.
    PortUnreachable,
    /// A packet filter forbids it, and the error says so.
    Prohibited,
    /// The packet was routed in a loop.
    Loop,
    /// The packet was sent with a time to live that is too small to arrive, on purpose.
    Traced,
    /// Something else.
    Other,
}

impl DeliveryFailure {
    /// Reads the error, which came `after` the SYN that it quotes; `ttl` is that of the SYN where it was captured.
    pub fn read(error: &IcmpError, after: Span, ttl: u8) -> DeliveryFailure {
        let reason = if error.v6 { of_v6(error.kind, error.code) } else { of_v4(error.kind, error.code) };
        match reason {
            DeliveryFailure::HostUnreachable if after >= NEIGHBOUR_TIME_OUT => DeliveryFailure::NoNeighbour,
            DeliveryFailure::Loop if ttl <= TRACED => DeliveryFailure::Traced,
            reason => reason,
        }
    }

    /// Whether a packet filter sent it.
    pub fn is_by_firewall(self) -> bool {
        matches!(self, DeliveryFailure::PortUnreachable | DeliveryFailure::Prohibited)
    }

    /// The name that RFC 792, 1812 and 4443 give it.
    pub fn name(self) -> &'static str {
        match self {
            DeliveryFailure::NoNeighbour | DeliveryFailure::HostUnreachable => "host unreachable",
            DeliveryFailure::NoRoute => "network unreachable",
            DeliveryFailure::PortUnreachable => "port unreachable",
            DeliveryFailure::Prohibited => "administratively prohibited",
            DeliveryFailure::Loop | DeliveryFailure::Traced => "time to live exceeded",
            DeliveryFailure::Other => "undeliverable",
        }
    }

    /// The cause, by the address of the ICMP error's sender.
    pub fn cause(self, error: &IcmpError) -> Cause {
        let (router, who) = match error.sender.map(|address| address.ip()) {
            Some(ip) => (format!("The router {ip}"), ip.to_string()),
            None => ("A router on the path".to_owned(), "a device on the path".to_owned()),
        };
        let resolution = if error.v6 { "neighbor discovery" } else { "ARP" };
        let text = match self {
            DeliveryFailure::NoNeighbour => format!(
                "{router} reports the host unreachable: its {resolution} got no answer, so no host has this address now."
            ),
            DeliveryFailure::HostUnreachable => {
                format!("{router} reports the host unreachable: it cannot deliver to this address.")
            }
            DeliveryFailure::NoRoute => format!("{router} has no route to this address."),
            DeliveryFailure::PortUnreachable => {
                format!("A firewall rule rejects the connection: {who} sent the ICMP error.")
            }
            DeliveryFailure::Prohibited => {
                format!("A firewall prohibits the connection: {who} sent the ICMP error.")
            }
            DeliveryFailure::Loop => {
                format!("The SYN's time to live ran out at {who}: probably a routing loop.")
            }
            DeliveryFailure::Traced => {
                format!(
                    "The SYN was sent with a small time to live, as traceroute does; it ran out at {who}."
                )
            }
            DeliveryFailure::Other => format!("{router} reports that it cannot deliver the SYN."),
        };
        let functions: &'static [&'static str] = match self {
            DeliveryFailure::NoNeighbour if error.v6 => &["ndisc_error_report"],
            DeliveryFailure::NoNeighbour => &["arp_error_report", "ipv4_link_failure"],
            DeliveryFailure::PortUnreachable | DeliveryFailure::Prohibited => &["nf_send_unreach"],
            _ => &[],
        };
        Cause { text: text.into(), ..cause("", functions, &[], &[]) }
    }

    /// The same for data of an established connection.
    pub fn cause_for_data(self, error: &IcmpError) -> Cause {
        let who = match error.sender.map(|address| address.ip()) {
            Some(ip) => ip.to_string(),
            None => "A device on the path".to_owned(),
        };
        let text = match self {
            DeliveryFailure::PortUnreachable => format!(
                "{who} rejects the connection's segments with an ICMP error since then: a firewall rule, or a service that lost its last \
                 endpoint. TCP takes the error for a passing one and repeats the data."
            ),
            DeliveryFailure::Prohibited => format!(
                "{who} forbids the connection's segments since then: a firewall rule. TCP takes the error for a passing one and repeats \
                 the data."
            ),
            DeliveryFailure::Loop | DeliveryFailure::Traced => {
                format!("The data's time to live ran out at {who}: probably a routing loop.")
            }
            _ => return self.cause(error),
        };
        Cause { text: text.into(), ..self.cause(error) }
    }

    /// Why that is thought.
    pub fn reason(self) -> &'static str {
        match self {
            DeliveryFailure::NoNeighbour => {
                "the error came when address resolution times out, a second or more after the SYN"
            }
            DeliveryFailure::HostUnreachable => "the ICMP error says that the host is unreachable",
            DeliveryFailure::NoRoute => "the ICMP error says that there is no route",
            DeliveryFailure::PortUnreachable => {
                "an ICMP error answers the SYN: a host without a listener would send a RST"
            }
            DeliveryFailure::Prohibited => {
                "the ICMP error says that the connection is administratively prohibited"
            }
            DeliveryFailure::Loop => "the ICMP error says that the time to live ran out",
            DeliveryFailure::Traced => "no system opens a connection with so small a time to live",
            DeliveryFailure::Other => "an ICMP error quotes the SYN",
        }
    }

    /// What else it could be, and why that is less likely.
    pub fn alternative(self) -> (&'static str, &'static str) {
        match self {
            DeliveryFailure::NoNeighbour => {
                ("A firewall answers with host unreachable.", "A firewall would answer at once.")
            }
            DeliveryFailure::HostUnreachable => (
                "A firewall answers with host unreachable.",
                "Its usual answers are port unreachable and administratively prohibited.",
            ),
            DeliveryFailure::NoRoute => {
                ("A firewall answers with network unreachable.", "Its usual answer is port unreachable.")
            }
            DeliveryFailure::PortUnreachable | DeliveryFailure::Prohibited => {
                ("No socket listens on that port.", "Then the host itself would answer with a RST.")
            }
            DeliveryFailure::Loop => {
                ("The path is longer than the SYN's time to live.", "Hosts start from 64 or more.")
            }
            DeliveryFailure::Traced => {
                ("The packet went in circles.", "It would have had a larger time to live here.")
            }
            DeliveryFailure::Other => ("A firewall sent it.", "Its usual answer is port unreachable."),
        }
    }

    /// The next step: a command on the reporter, if that is known.
    pub fn next_step(self, error: &IcmpError, server: &str) -> String {
        let on = error.sender.map(|by| format!("on {}: ", by.ip())).unwrap_or_default();
        match self {
            DeliveryFailure::NoNeighbour | DeliveryFailure::HostUnreachable => {
                format!(
                    "ip neigh show to {server}   # {on}FAILED or INCOMPLETE means that nobody answers for the address"
                )
            }
            DeliveryFailure::NoRoute | DeliveryFailure::Loop | DeliveryFailure::Traced => {
                format!("ip route get {server}   # {on}where would it send the packet?")
            }
            DeliveryFailure::PortUnreachable | DeliveryFailure::Prohibited | DeliveryFailure::Other => {
                format!("nft list ruleset   # {on}which reject rule's counter grows?")
            }
        }
    }
}

/// Types of RFC 792, codes also of RFC 1122 and RFC 1812.
fn of_v4(kind: u8, code: u8) -> DeliveryFailure {
    match (kind, code) {
        (3, 0 | 6 | 11) => DeliveryFailure::NoRoute,
        (3, 1 | 7 | 8 | 12) => DeliveryFailure::HostUnreachable,
        (3, 2 | 3) => DeliveryFailure::PortUnreachable,
        (3, 9 | 10 | 13) => DeliveryFailure::Prohibited,
        (11, 0) => DeliveryFailure::Loop,
        _ => DeliveryFailure::Other,
    }
}

/// Types and codes of RFC 4443.
fn of_v6(kind: u8, code: u8) -> DeliveryFailure {
    match (kind, code) {
        (1, 0 | 6) => DeliveryFailure::NoRoute,
        (1, 1 | 5) => DeliveryFailure::Prohibited,
        (1, 2 | 3) => DeliveryFailure::HostUnreachable,
        (1, 4) => DeliveryFailure::PortUnreachable,
        (3, 0) => DeliveryFailure::Loop,
        _ => DeliveryFailure::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_unreachable_at_the_time_of_a_failed_resolution_is_no_firewall() {
        let error = IcmpError { kind: 3, code: 1, ..IcmpError::default() };
        assert_eq!(DeliveryFailure::read(&error, Span::millis(3_060), 64), DeliveryFailure::NoNeighbour);
        assert_eq!(DeliveryFailure::read(&error, Span::millis(2), 64), DeliveryFailure::HostUnreachable);
        let v6 = IcmpError { kind: 1, code: 3, v6: true, ..IcmpError::default() };
        assert_eq!(DeliveryFailure::read(&v6, Span::secs(3), 64), DeliveryFailure::NoNeighbour);
        assert!(!DeliveryFailure::NoNeighbour.is_by_firewall());
    }

    #[test]
    fn a_small_time_to_live_is_no_routing_loop() {
        let error = IcmpError { kind: 11, ..IcmpError::default() };
        assert_eq!(DeliveryFailure::read(&error, Span::millis(4), 3), DeliveryFailure::Traced);
        assert_eq!(DeliveryFailure::read(&error, Span::millis(4), 61), DeliveryFailure::Loop);
    }

    #[test]
    fn what_a_packet_filter_sends_is_one() {
        for code in [3, 9, 10, 13] {
            let error = IcmpError { kind: 3, code, ..IcmpError::default() };
            assert!(DeliveryFailure::read(&error, Span::ZERO, 64).is_by_firewall(), "{code}");
        }
    }
}
