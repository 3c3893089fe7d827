//! `connection-refused`: RST or an ICMP error answers the SYN.

use crate::decode::segment::Flags;
use crate::detect::analysis::common_features::SynOutcome;
use crate::detect::analysis::filter;
use crate::detect::analysis::icmp::DeliveryFailure;
use crate::detect::context::DetectContext;
use crate::detect::details::{Details, Refusal};
use crate::detect::draft::{Draft, cause};
use crate::detect::next::{self, UsualSteps};
use crate::detect::spec::{Examine, Property, finding};
use crate::flow::facts::{ConnectionFacts, IcmpError, Reset, Roles};
use crate::history::wants::Wants;
use crate::model::{Kind, Severity};
use crate::seq::Seq;
use crate::time::{Span, Timestamp};

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
    /// * Several hosts behind one address, of which one does not listen: the port refuses and accepts in turn, second by
    ///   second.
    /// * A filter that decides by the SYN's header (ECN, options, MSS, source port): SYNs without that feature are
    ///   accepted.
    /// * An older connection of the same four-tuple, where the stack is not Linux: the RST has that one's sequence number.
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
        properties: &[Property::PreventsSetUp, Property::ExplainsReset, Property::MayBeScan, Property::IsAnswered, Property::NeedsNoClock, Property::DeniesSynAck],
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
    let is_traced = reset.is_none()
        && icmp.is_some_and(|error| {
            DeliveryFailure::read(error, Span::ZERO, f.syn_offer.ttl) == DeliveryFailure::Traced
        });
    d.severity = if is_traced { Severity::Info } else { Severity::Critical };
    d.details = Details::Refusal(if reset.is_some() { Refusal::Reset } else { Refusal::Icmp });
    Some(d)
}

/// A RST of the host, of a firewall in its name, or of one of several hosts.
fn by_reset(f: &ConnectionFacts, reset: &Reset, around: &DetectContext<'_>) -> Draft {
    let mut d = Draft::about(f, &SPEC, (reset.at, "RST answers the SYN"));
    d.summary = format!("{} refused the connection of {} with a RST.", f.server, f.client);
    let sign = sign_of_firewall(f, reset, around);
    let pattern = around.refused_pattern();
    d.measure("by_firewall", sign.is_some() && pattern.is_none());
    if is_of_an_older_one(f, reset) {
        blame_older_connection(&mut d, f, reset);
    } else if let Some(pattern) = pattern {
        filter::blame_filter(&mut d, &pattern, SynOutcome::Refused, f.server);
        d.or(
            "No process listened on that port when these SYNs came.",
            "SYNs without that mark were answered in the same seconds.",
        );
    } else if around.refuses_in_turn() {
        blame_one_of_several(&mut d, f, reset, around);
    } else if let Some(sign) = sign {
        blame_firewall(&mut d, f, sign);
    } else {
        blame_missing_listener(&mut d);
        if around.refusal_rows() >= AGAIN_AND_AGAIN {
            d.possible("the RST has the shape and the TTL of the host's own, but the port accepted others again and again in between");
            d.or(
                "A limit on connections rejects new ones while it is reached (connlimit, ct count, a limit per client).",
                "Its rule counters show it.",
            );
            d.written_steps().push("nft list ruleset; iptables -vnL | grep -i conn   # on the server: does a limit reject connections?".to_owned());
        }
    }
    d
}

/// A port that stops and starts accepting this often is no single outage.
const AGAIN_AND_AGAIN: usize = 3;

/// The sign that another device than the server sent the RST.
fn sign_of_firewall(f: &ConnectionFacts, reset: &Reset, around: &DetectContext<'_>) -> Option<&'static str> {
    if f.syn_offer.tos >> 2 != 0 && reset.tos == 0 {
        Some("the RST has type of service 0, which the host would have copied from the SYN")
    } else if around.view_of_ttl().is_some_and(|ttl| ttl != reset.ttl) {
        Some("the RST has another TTL than the server's other packets")
    } else {
        None
    }
}

/// Whether the RST has other numbers than one without a socket, which has sequence number 0 and window 0 (RFC 9293
/// section 3.5.2).
fn is_of_an_older_one(f: &ConnectionFacts, reset: &Reset) -> bool {
    let has_own_number = reset.flags.has(Flags::ACK) && reset.seq != Seq(0);
    has_own_number && (reset.window != 0 || f.previous.is_some())
}

fn blame_older_connection(d: &mut Draft, f: &ConnectionFacts, reset: &Reset) {
    let seen = f.previous.as_ref();
    d.cause = cause(
        "The server still keeps an older connection of this four-tuple, as in TIME_WAIT, and resets the SYN that reuses it. \
         Linux would answer with an ACK.",
        &[],
        &[],
        &[],
    );
    let numbers =
        "the RST has a sequence number and window of its own, which a host without a socket does not send";
    match seen {
        Some(previous) => {
            d.shows(previous.last, "last packet of the older connection of this four-tuple");
            d.probable(format!(
                "{numbers}, and the same client port was in use {} before",
                f.first.time - previous.last.time
            ));
        }
        None => {
            d.possible(numbers);
        }
    }
    d.measure("reset_window", reset.window);
    d.or(
        "A device on the path refuses the connection.",
        "It would have to know the older connection's numbers.",
    );
    d.next_steps = vec![
        format!(
            "netstat -an   # on {}: is {} there in TIME_WAIT?",
            f.server.socket().ip(),
            f.client.socket()
        ),
        "Let the client use a fresh source port for each connection, or wait until TIME_WAIT is over."
            .to_owned(),
    ];
}

fn blame_one_of_several(d: &mut Draft, f: &ConnectionFacts, reset: &Reset, around: &DetectContext<'_>) {
    d.cause = cause(
        "Several hosts answer behind this address (a load balancer), and on one of them nothing accepts connections on this \
         port.",
        &["tcp_v4_send_reset"],
        &["TcpOutRsts"],
        &[],
    );
    let ttls = around.listener.accepted.as_deref().map_or(&[][..], |accepted| accepted.answer_ttl.all());
    let other_ttl = !ttls.is_empty() && !ttls.contains(&reset.ttl);
    let in_turn = "the same address and port refuses and accepts connections in turn, in the same seconds";
    d.measure("other_ttl", other_ttl);
    d.probable(match other_ttl {
        true => format!("{in_turn}, and the RST has a TTL of {}, which no SYN-ACK has", reset.ttl),
        false => in_turn.to_owned(),
    });
    d.or(
        "One host stops and starts listening again and again.",
        if other_ttl {
            "Its RST would have the TTL of its SYN-ACKs."
        } else {
            "It would have to do so every few seconds."
        },
    )
    .or("A device in front of the server rejects a part of the connections.", "Its rules show it.");
    d.next_steps = vec![
        format!(
            "Ask the load balancer which hosts are behind {} and try each one by its own address: which one refuses?",
            f.server.socket()
        ),
        "Check the load balancer's health checks: a host that refuses connections must be taken out."
            .to_owned(),
    ];
}

fn blame_firewall(d: &mut Draft, f: &ConnectionFacts, sign: &str) {
    d.cause = cause("A firewall rejects the connection with a RST.", &["nf_send_reset"], &[], &[]);
    d.probable(sign);
    d.or("No socket listens on that port.", "The host's own RST would copy TTL and type of service.");
    d.next_steps = vec![next::filter_rules(f.server)];
}

fn blame_missing_listener(d: &mut Draft) {
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
    d.usual_steps = Some(UsualSteps::MissingListener);
}

/// An ICMP error. Its meaning depends on its type and code, its sender, and the time since the SYN.
fn by_icmp(f: &ConnectionFacts, error: &IcmpError, asked: Timestamp) -> Draft {
    // A SYN that was repeated is answered by the error that comes next.
    let after = error.at.time - asked;
    let why = DeliveryFailure::read(error, after, f.syn_offer.ttl);
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
