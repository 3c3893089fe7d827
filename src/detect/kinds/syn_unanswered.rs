//! `syn-unanswered`: the SYN drew no answer, and the wire does not say why.

use crate::decode::segment::Options;
use crate::detect::analysis::ignored_syn::{self, Why};
use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause};
use crate::detect::explain::finding;
use crate::detect::kinds::fastopen_fallback;
use crate::flow::facts::ConnectionFacts;
use crate::model::{Kind, Vantage};

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
    /// * Only the client's direction was captured: no finding, the answer could not be seen.
    /// * A round trip above one second: the answer comes, late.
    /// ## Check next
    /// A capture at the server: does the SYN arrive? Then `nstat -az TcpExtListenOverflows TcpExtListenDrops
    /// TcpExtTCPReqQFullDrop TcpExtIPReversePathFilter`, and the rule counters of `nft list ruleset`.
    /// ## References
    /// tcp(7) on tcp_syn_retries; RFC 6298
    pub struct SynUnanswered = Kind::SynUnanswered
}

/// See [`SynUnanswered`].
pub fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let (syns, Why::Unknown) = ignored_syn::why(f, around)? else { return None };
    let at_server = around.view.vantage == Vantage::Server;
    // Away from the server, SYNs with data may be what a box on the way does not let pass.
    if fastopen_fallback::is_swallowed(f) && !at_server {
        return None;
    }
    let mut d = ignored_syn::draft(f, Kind::SynUnanswered, &syns);
    d.cause = if at_server {
        cause(
            "The server's host let the SYN fall: a firewall rule, or a queue of its listener.",
            &["nf_hook_slow", "tcp_conn_request"],
            &["TcpExtListenDrops", "TcpExtListenOverflows", "TcpExtIPReversePathFilter"],
            &["net.ipv4.conf.all.rp_filter"],
        )
    } else {
        cause(
            "Filtered or lost on the way, the host is down, or its listener dropped the SYN.",
            &[],
            &["TcpExtListenDrops", "TcpExtListenOverflows"],
            &[],
        )
    };
    d.possible("no other packet of the capture says why");
    if at_server {
        d.or(
            "A full accept queue or SYN queue.",
            "No other connection of this listener was stuck or half open.",
        );
    } else {
        d.or("Packets are lost on the way there or back.", "A second capture at the server tells.")
            .or(
                "A full accept queue or SYN queue.",
                "No other connection of this listener was stuck or half open.",
            )
            .or("A firewall drops the SYN.", "Its rule counters tell.");
    }
    if f.syn_offer.options.has(Options::TIMESTAMPS) && around.listener.answers > 0 {
        d.or(
            "tcp_tw_recycle=1 at the server (Linux before 4.12): the SYN's timestamp lay behind the last one of its address.",
            "No connection that it could have learnt a newer timestamp from is in this capture.",
        );
    }
    let server = f.server.socket();
    d.next_steps = vec![
        format!("tcpdump -ni any 'tcp port {} and tcp[tcpflags] & tcp-syn != 0'   # on {}: does the SYN arrive?", server.port(), server.ip()),
        "nstat -az TcpExtListenOverflows TcpExtListenDrops TcpExtTCPReqQFullDrop TcpExtIPReversePathFilter   # twice".to_owned(),
        "nft list ruleset   # on the server and on the way: rule counters that grow".to_owned(),
    ];
    Some(d)
}
