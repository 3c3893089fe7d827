//! `connection-refused`: RST or an ICMP error answers the SYN.

use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause};
use crate::detect::explain::finding;
use crate::flow::facts::{ConnectionFacts, Roles};
use crate::model::{Kind, Severity};

finding! {
    /// A RST or an ICMP error answers the SYN.
    ///
    /// ## On the wire
    /// SYN, then RST with ACK: sequence number 0, acknowledging the SYN, window 0, no options. Or an ICMP error that
    /// quotes the SYN.
    /// ## In the kernel
    /// No socket listens on that address and port: `tcp_v4_rcv`, `tcp_v4_send_reset`; `TcpOutRsts`. Linux never answers
    /// a SYN with ICMP by itself: that is a REJECT rule, or a router without a route.
    /// ## Looks alike
    /// * A REJECT rule with tcp-reset: the same packet, but its type of service is always 0 and its TTL that of the box.
    /// * RST to an established connection: another finding.
    /// ## Check next
    /// `ss -ltn`: is there a listener on that port, on that address, in that namespace? `nft list ruleset`: a reject?
    /// ## References
    /// RFC 9293 section 3.5.2; `net/ipv4/tcp_ipv4.c`
    pub struct ConnectionRefused = Kind::ConnectionRefused
}

/// See [`ConnectionRefused`].
pub fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    if f.syn_ack.count > 0 || f.roles != Roles::BySyn || f.ack_to_syn.is_some() {
        return None;
    }
    let syn = f.syn.first()?;
    let icmp = f.icmp.as_deref().filter(|i| i.quotes_client);
    let reset = f.s.reset.as_deref().filter(|r| f.c.isn.advance(1) == r.ack || r.is_socketless());
    let reset = reset.filter(|_| f.is_refused());
    let mut d = match (reset, icmp) {
        (Some(reset), _) => Draft::about(f, Kind::ConnectionRefused, (reset.at, "RST answers the SYN")),
        (None, Some(i)) => Draft::about(
            f,
            Kind::ConnectionRefused,
            (i.at, format!("ICMP error type {} code {} quotes the SYN", i.kind, i.code)),
        ),
        (None, None) => return None,
    };
    d.shows(syn.at, "SYN");
    d.severity = Severity::Info;
    let by_firewall = match (reset, icmp) {
        (Some(r), _) if f.syn_offer.tos >> 2 != 0 && r.tos == 0 => {
            Some("its type of service is 0, the SYN's is not")
        }
        (Some(r), _) if around.view_of_ttl().is_some_and(|ttl| ttl != r.ttl) => {
            Some("its TTL is not that of the server's other packets")
        }
        (Some(_), _) => None,
        (None, _) => Some("an ICMP error: the host itself would have sent a RST"),
    };
    d.summary = format!("{} refused the connection of {}.", f.server.socket(), f.client.socket());
    d.measure("answered_by", if reset.is_some() { "rst" } else { "icmp" })
        .measure("by_firewall", by_firewall.is_some());
    match by_firewall {
        Some(sign) => {
            d.cause =
                cause("A firewall rejects the connection.", &["nf_send_reset", "nf_send_unreach"], &[], &[]);
            d.probable(sign);
            d.or("No socket listens on that port.", "The host's own RST would copy TTL and type of service.");
        }
        None => {
            d.cause = cause(
                "No socket listens on that address and port.",
                &["tcp_v4_rcv", "tcp_v4_send_reset"],
                &["TcpOutRsts", "TcpAttemptFails"],
                &[],
            );
            d.probable("the RST has the shape and TTL of the host's own");
            d.or(
                "A firewall on the host itself rejects with a TCP reset.",
                "The same packet; `nft list ruleset` tells.",
            );
        }
    }
    let server = f.server.socket();
    d.next_steps = vec![
        format!("ss -ltnp 'sport = :{}'   # on {}: is there a listener?", server.port(), server.ip()),
        "nft list ruleset   # is there a reject rule whose counter grows?".to_owned(),
    ];
    Some(d)
}
