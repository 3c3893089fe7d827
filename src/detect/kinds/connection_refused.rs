//! `connection-refused`: RST or an ICMP error answers the SYN.

use crate::detect::analysis::icmp::Undelivered;
use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause};
use crate::detect::next;
use crate::detect::spec::{Examine, Property, finding};
use crate::flow::facts::{ConnectionFacts, IcmpError, Reset, Roles};
use crate::history::wants::Wants;
use crate::model::{Kind, Severity};
use crate::time::Timestamp;

finding! {
    /// A RST or an ICMP error answers the SYN.
    ///
    /// ## On the wire
    /// SYN, then RST with ACK: sequence number 0, acknowledging the SYN, window 0, no options. Or an ICMP error that
    /// quotes the SYN.
    /// ## In the kernel
    /// No socket listens on that address and port: `tcp_v4_rcv`, `tcp_v4_send_reset`; `TcpOutRsts`. TCP itself never
    /// answers a SYN with ICMP. Port unreachable and administratively prohibited come from a REJECT rule. Host
    /// unreachable some 3 s after the SYN comes from the last router: its ARP or neighbor discovery got no answer.
    /// ## Looks alike
    /// * A REJECT rule with tcp-reset: the same packet, but its type of service is always 0 and its TTL that of the box.
    /// * RST to an established connection: another finding.
    /// ## Check next
    /// `ss -ltn`: is there a listener on that port, on that address, in that namespace? `nft list ruleset`: a reject
    /// rule? `ip neigh` on the router that reports the host unreachable.
    /// ## References
    /// RFC 9293 section 3.5.2; `net/ipv4/tcp_ipv4.c`
    pub struct ConnectionRefused {
        kind: Kind::ConnectionRefused,
        plain_words: "The client got an error instead of a connection.",
        at_fault: "the server's host, or the device that answered in its place",
        wants: Wants::full(|f, _| f.s.resets > 0 || f.icmp.is_some()),
        examine: Examine::Connection(examine),
        look_alikes: &["accept-queue-reset/silent-clients", "connection-refused/firewall-rejects:server"],
        counters: &["TcpOutRsts", "TcpAttemptFails"],
        properties: &[Property::PreventsSetUp, Property::ExplainsReset, Property::MayBeScan],
    }
}

/// See [`ConnectionRefused`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    if f.syn_ack.count > 0 || f.roles != Roles::BySyn || f.ack_to_syn.is_some() {
        return None;
    }
    let syn = f.syn.first()?;
    let icmp = f.icmp.as_deref().filter(|i| i.quotes_client);
    let reset = f.s.reset.as_deref().filter(|r| f.c.isn.advance(1) == r.ack || r.is_socketless());
    let reset = reset.filter(|_| f.is_refused());
    let mut d = match (reset, icmp) {
        (Some(reset), _) => by_reset(f, reset, around),
        (None, Some(error)) => by_icmp(f, error, syn.at.time),
        (None, None) => return None,
    };
    d.shows(syn.at, "SYN");
    d.severity = Severity::Critical;
    d.measure("answered_by", if reset.is_some() { "rst" } else { "icmp" });
    Some(d)
}

/// A RST of the host, or of a firewall in its name.
fn by_reset(f: &ConnectionFacts, reset: &Reset, around: &DetectContext<'_>) -> Draft {
    let mut d = Draft::about(f, &SPEC, (reset.at, "RST answers the SYN"));
    let by_firewall = if f.syn_offer.tos >> 2 != 0 && reset.tos == 0 {
        Some("the RST has type of service 0, which the host would have copied from the SYN")
    } else if around.view_of_ttl().is_some_and(|ttl| ttl != reset.ttl) {
        Some("the RST has another TTL than the server's other packets")
    } else {
        None
    };
    d.summary = format!("{} refused the connection of {} with a RST.", f.server.socket(), f.client.socket());
    d.measure("by_firewall", by_firewall.is_some());
    match by_firewall {
        Some(sign) => {
            d.cause = cause("A firewall rejects the connection with a RST.", &["nf_send_reset"], &[], &[]);
            d.probable(sign);
            d.or("No socket listens on that port.", "The host's own RST would copy TTL and type of service.");
            d.next_steps = vec![next::filter_rules(f.server)];
        }
        None => {
            d.cause = cause(
                "No socket listens on that address and port.",
                &["tcp_v4_rcv", "tcp_v4_send_reset"],
                &["TcpOutRsts", "TcpAttemptFails"],
                &[],
            );
            d.probable("the RST has the shape and the TTL of the host's own");
            d.or(
                "A firewall on the host itself rejects with a RST.",
                "Its packet looks the same. `nft list ruleset` shows such a rule.",
            );
            d.next_steps = vec![next::listener(f.server), next::filter_rules(f.server)];
        }
    }
    d
}

/// An ICMP error: what it says depends on its type and code, on who sent it and how long after the SYN.
fn by_icmp(f: &ConnectionFacts, error: &IcmpError, asked: Timestamp) -> Draft {
    // A SYN that was repeated is answered by the error that comes next.
    let after = error.at.time - asked;
    let why = Undelivered::read(error, after);
    let by = error.sender.map(|by| format!(" from {}", by.ip())).unwrap_or_default();
    let text = format!("ICMP {} (type {} code {}){by} quotes the SYN", why.name(), error.kind, error.code);
    let mut d = Draft::about(f, &SPEC, (error.at, text));
    d.summary = format!(
        "{} got the ICMP error \"{}\"{by} {after} after its SYN to {}.",
        f.client.socket(),
        why.name(),
        f.server.socket()
    );
    d.cause = why.cause(error);
    d.measure("by_firewall", why.is_by_firewall())
        .measure("icmp_type", error.kind)
        .measure("icmp_code", error.code);
    if let Some(by) = error.sender {
        d.measure("reported_by", by.ip().to_string());
    }
    d.probable(why.reason());
    let (other, less_likely) = why.alternative();
    d.or(other, less_likely);
    d.next_steps = vec![why.next_step(error, &f.server.socket().ip().to_string())];
    d
}
