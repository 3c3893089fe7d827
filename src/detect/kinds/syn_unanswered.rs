//! `syn-unanswered`: the SYN drew no answer, and the wire does not say why.

use crate::decode::segment::Options;
use crate::detect::analysis::fast_open;
use crate::detect::analysis::ignored_syn::is_unanswered;
use crate::detect::analysis::ignored_syn::{self, Why};
use crate::detect::analysis::path_loss;
use crate::detect::context::{Answers, DetectContext};
use crate::detect::draft::{Draft, cause};
use crate::detect::next;
use crate::detect::spec::{Examine, Ignored, Property, finding};
use crate::flow::facts::ConnectionFacts;
use crate::history::wants::Wants;
use crate::model::{IfArrived, Kind, Vantage};

finding! {
    /// SYNs draw no answer, and nothing else in the capture says why.
    ///
    /// ## On the wire
    /// The same SYN at 0, 1, 3, 7 s (or, from Linux 6.5 on, five times a second apart, then 2, 4 ... s) without
    /// SYN-ACK, RST or ICMP error.
    /// ## In the kernel
    /// Seen at the server: a netfilter DROP (no counter of TCP moves), a full queue of which the capture shows no other
    /// sign (`ListenDrops`), reverse-path filtering (`IPReversePathFilter`), no route back. Seen elsewhere: loss on
    /// the way there or back, or the host is down.
    /// ## Looks alike
    /// * Only the client's direction was captured: a SYN that is repeated says that no answer reached the client in
    ///   time, but not whether one was sent, and the end of it is not seen.
    /// * A SYN that was refused: Windows sends it again after 0.5 s. No timer does that, so the RST is missing.
    /// * A round trip above one second: the answer comes, late.
    /// ## Check next
    /// A capture at the server: does the SYN arrive? Then `nstat -az TcpExtListenOverflows TcpExtListenDrops
    /// TcpExtTCPReqQFullDrop TcpExtIPReversePathFilter`, and the rule counters of `nft list ruleset`.
    /// ## References
    /// tcp(7) on tcp_syn_retries; RFC 6298
    pub struct SynUnanswered {
        kind: Kind::SynUnanswered,
        plain_words: "Clients ask for a connection and get no answer.",
        at_fault: "unknown yet, the network, a firewall or the server",
        wants: Wants::full(|f, _| is_unanswered(f)),
        examine: Examine::Connection(examine),
        look_alikes: &["handshake-loss/syn-ack-lost:server", "nothing-wrong/one-direction", "connection-refused/icmp"],
        counters: &["TcpExtListenDrops", "TcpExtListenOverflows", "TcpExtTCPReqQFullDrop", "TcpExtPAWSPassive", "TcpExtIPReversePathFilter"],
        settings: &["net.ipv4.conf.all.rp_filter"],
        ignored: Ignored::Syns,
        properties: &[Property::PreventsSetUp, Property::ExplainsHandshake, Property::MayBeScan],
    }
}

/// See [`SynUnanswered`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let (syns, Why::Unknown) = ignored_syn::why(f, around)? else { return None };
    let at_server = around.view.vantage == Vantage::Server;
    // Away from the server, SYNs with data may be what a box on the way does not let pass.
    if fast_open::is_swallowed(f) && !at_server {
        return None;
    }
    let mut d = ignored_syn::draft(f, &SPEC, &syns, around);
    d.cause = if at_server {
        cause(
            "The SYN reached the server and was dropped there, by a firewall rule or a full queue of the listener.",
            &["nf_hook_slow", "tcp_conn_request"],
            &["TcpExtListenDrops", "TcpExtListenOverflows", "TcpExtIPReversePathFilter"],
            &["net.ipv4.conf.all.rp_filter"],
        )
    } else {
        cause(
            "A firewall or the network dropped the SYN, the host is down, or its listener dropped it.",
            &[],
            &["TcpExtListenDrops", "TcpExtListenOverflows"],
            &[],
        )
    };
    d.possible(match around.world.answers_of(f.server.address) {
        Answers::Captured => "no other packet in the capture shows why",
        Answers::Missing => {
            "the server's direction is not in the capture: the client repeated its SYN, so no answer reached it in time"
        }
        Answers::Unseen => "no packet of the server is in the capture, so nothing shows why",
    });
    if at_server {
        d.or(
            "A full accept queue or SYN queue.",
            "No other connection of this listener hung or was half open.",
        );
    } else {
        d.or_unless_arrived(
            path_loss::LOSS_EITHER_WAY,
            "A second capture at the server shows it.",
            IfArrived::Falls,
        )
        .or(
            "A full accept queue or SYN queue.",
            "No other connection of this listener hung or was half open.",
        )
        .or("A firewall drops the SYN.", "Its rule counters show it.");
    }
    if f.syn_offer.options.has(Options::TIMESTAMPS) && around.listener.answers > 0 {
        d.or(
            "The server runs with tcp_tw_recycle=1 (Linux before 4.12), and the SYN's timestamp was older than the last one of its address.",
            "The capture holds no connection from which it could have learnt a newer timestamp.",
        );
    }
    d.next_steps = next::unanswered_syn(f.server, around.view.vantage);
    Some(d)
}
