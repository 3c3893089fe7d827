//! `syn-unanswered`: the SYN drew no answer, and the wire does not say why.

use crate::decode::segment::{TcpOptions, Traits};
use crate::detect::analysis::common_features::{self, SynOutcome};
use crate::detect::analysis::fast_open;
use crate::detect::analysis::filter;
use crate::detect::analysis::host_activity::Outage;
use crate::detect::analysis::ignored_syn::{self, IgnoredSynCause, is_unanswered};
use crate::detect::analysis::told_together::subject;
use crate::detect::analysis::tunnel;
use crate::detect::context::{DetectContext, ServerAnswers};
use crate::detect::draft::{Draft, cause};
use crate::detect::next;
use crate::detect::spec::{Examine, IgnoredPackets, Property, finding};
use crate::flow::facts::ConnectionFacts;
use crate::flow::key::Host;
use crate::history::interval::Interval;
use crate::history::wants::Wants;
use crate::model::{Kind, LostPackets, Sender, Severity, Suspect, Vantage};
use crate::time::{Span, Timestamp};

finding! {
    /// SYNs draw no answer, and the capture does not show why.
    ///
    /// ## On the wire
    /// The same SYN at 0, 1, 3, 7 s (or, from Linux 6.5 on, five times a second apart, then 2, 4 ... s) without
    /// SYN-ACK, RST or ICMP error.
    /// ## In the kernel
    /// Seen at the server: a netfilter DROP (no counter of TCP moves), or a full queue without another sign in the
    /// capture (`ListenDrops`). It may also be reverse-path filtering (`IPReversePathFilter`), or no route back. Seen
    /// elsewhere: loss on the way there or back, or the host is down.
    /// ## Looks alike
    /// * Only the client's direction was captured. A repeated SYN says that no answer reached the client in time. Whether an
    ///   answer was sent, and how the connection ended, is not in the capture.
    /// * A SYN that was refused: Windows sends it again after 0.5 s. No timer does that, so the RST is missing.
    /// * A round trip above one second: the answer comes, late.
    /// * Only SYNs that reuse a four-tuple are ignored, or that have a feature others lack (ECN, an option, an MSS): a
    ///   device that keeps the older connection, or a filter. The finding names it.
    /// * SYNs that were sent once and not repeated: a scan, a health check, a client that tries several addresses. They
    ///   are reported together, as `info`.
    /// * All ports of a host are silent at once: its connection tracking table is full, or it is frozen.
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
        examine: Examine::Both(examine, examine_lone),
        look_alikes: &["handshake-loss/syn-ack-lost:server", "nothing-wrong/one-direction", "connection-refused/icmp"],
        counters: &["TcpExtListenDrops", "TcpExtListenOverflows", "TcpExtTCPReqQFullDrop", "TcpExtPAWSPassive", "TcpExtIPReversePathFilter"],
        settings: &["net.ipv4.conf.all.rp_filter", "net.netfilter.nf_conntrack_max", "net.ipv4.vs.conn_reuse_mode", "net.netfilter.nf_conntrack_tcp_timeout_time_wait"],
        ignored: IgnoredPackets::Syns,
        sender: Some(Sender::Client),
        properties: &[Property::PreventsSetUp, Property::ExplainsHandshake, Property::MayBeScan],
    }
}

/// How many ports are named one by one.
const NAMED_PORTS: usize = 4;

/// See [`SynUnanswered`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let (syns, mut d) = ignored_syn::begin(f, &SPEC, IgnoredSynCause::Unknown, around)?;
    let at_server = around.view.vantage == Vantage::Server;
    // Away from the server, a box on the way may drop SYNs with data.
    if fast_open::is_swallowed(f) && !at_server {
        return None;
    }
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
    d.possible(match around.context.answers_of(f.server.address) {
        ServerAnswers::Captured => "no other packet in the capture shows why",
        ServerAnswers::Missing => {
            "the server's direction is not in the capture: the client repeated its SYN, so no answer reached it in time"
        }
        ServerAnswers::Unseen => "no packet of the server is in the capture, so nothing shows why",
    });
    if at_server {
        d.or("A full accept queue or SYN queue.", others_waited(syns[0].at.time, around));
    } else {
        d.or(Suspect::Lost(LostPackets::EitherWay), "A second capture at the server shows it.")
            .or("A full accept queue or SYN queue.", others_waited(syns[0].at.time, around))
            .or("A firewall drops the SYN.", "Its rule counters show it.");
    }
    if f.syn_offer.options.has(TcpOptions::TIMESTAMPS) && around.listener.answers > 0 {
        d.or(
            "The server runs with tcp_tw_recycle=1 (Linux before 4.12), and the SYN's timestamp was older than the last one of its address.",
            "The capture holds no connection from which it could have learnt a newer timestamp.",
        );
    }
    d.next_steps = next::unanswered_syn(f.server, around.view.vantage);
    let during = Interval { from: syns[0].at.time, to: syns[syns.len() - 1].at.time };
    if f.c.traits.has(Traits::OUTER_CHECKSUM_BAD) {
        d.cause = tunnel::dropped_for_checksum();
        d.probable("the outer UDP checksum of the SYNs' tunnel packets is wrong, or 0 in IPv6");
        d.next_steps.insert(0, tunnel::NEXT_STEP.to_owned());
    } else if let Some(pattern) = around.ignored_pattern() {
        filter::blame_filter(&mut d, &pattern, SynOutcome::Ignored, f.server);
    } else if is_hairpin(f) {
        d.cause = cause(
            "The SYN comes from the server's own address, so its answer never leaves the server: hairpin NAT does not \
             rewrite the source.",
            &[],
            &[],
            &[],
        );
    } else if let Some(outage) = around.outage_of_host(f.server.address, during) {
        let heard = around.heard_of_host(f.server.address, outage.during);
        blame_host(&mut d, outage, if heard { Meanwhile::WasHeard } else { Meanwhile::FellSilent });
    } else {
        weigh_signs_of_life(&mut d, f, during, around);
    }
    Some(d)
}

/// Evidence for or against a full queue.
fn others_waited(at: Timestamp, around: &DetectContext<'_>) -> &'static str {
    match around.activity.unserved_at(at) {
        0 => "No other connection of this listener hung or was half open.",
        _ => {
            "Other connections of this listener had no answer at that time. If the queue was full, ListenOverflows has grown."
        }
    }
}

/// SYNs that were neither answered nor repeated: reported for the listener, or for the client that sent one to each of
/// several.
fn examine_lone(server: Host, around: &DetectContext<'_>) -> Option<Draft> {
    let lone = around.context.lone_syns.at(server)?;
    let syns = lone.syns as u64;
    let mut d = Draft::about_listener(server, &SPEC, (lone.first, "SYN: no answer, and not repeated"));
    if lone.last != lone.first {
        d.shows(lone.last, "the last such SYN");
    }
    d.severity = Severity::Info;
    let were = if syns == 1 { "was" } else { "were" };
    d.summary = format!("{} drew no answer and {were} not repeated.", subject(lone, server));
    d.cause = cause(
        "A program tried once and did not wait for an answer: a scan, a health check, or a client that takes the first of \
         several addresses that answers.",
        &[],
        &[],
        &[],
    );
    let why = "a kernel repeats a SYN after 1 s; these were not repeated";
    match around.context.answers_of(server.address) {
        ServerAnswers::Captured => {
            d.possible(format!("{why}, and other SYNs to this address were answered"));
            d.or("The capture missed the answers.", "It holds other answers of this address.");
        }
        ServerAnswers::Missing => {
            d.cause = cause("The answers of this address are missing from the capture.", &[], &[], &[]);
            d.possible(
                "clients of this address went on, so they had its answers; the capture holds one direction",
            );
        }
        ServerAnswers::Unseen if around.context.handshakes_only => {
            d.cause = cause("The answers were not captured, or there were none.", &[], &[], &[]);
            d.possible("the capture holds SYNs and nothing else of this address: a filter, or one direction");
        }
        ServerAnswers::Unseen => {
            d.possible(format!("{why}; the capture holds no packet of {}", server.address.ip()));
            d.or(
                "The capture holds one direction only: the answers took another way.",
                "Then other packets of these connections would be missing too.",
            );
        }
    }
    d.measure("syns", syns).measure("clients", lone.clients).measure("listeners", lone.listeners);
    d.next_steps = vec![next::do_syns_arrive(server)];
    Some(d)
}

/// Whether the listener ignores some connections for good and answers others in the same seconds, again and again.
fn is_ignored_in_turn(around: &DetectContext<'_>) -> bool {
    let DetectContext { activity, listener, .. } = around;
    *activity.ignored_in_turn.get_or_init(|| common_features::alternates(&activity.ignored_syns, listener))
}

/// Some connections are ignored however often their SYN is repeated, others are answered at once.
fn blame_one_of_several(d: &mut Draft, f: &ConnectionFacts) {
    d.cause = cause(
        "Several hosts stand behind this address (a load balancer), and one of them does not answer; or a device on the path drops \
         connections by a hash of their addresses and ports.",
        &[],
        &[],
        &[],
    );
    d.possible(
        "no SYN of these connections was answered, however often it came, and others were answered in the same seconds, in turn with them",
    );
    d.measure("in_turn", true);
    d.next_steps.insert(
        0,
        format!(
            "Ask the load balancer which hosts are behind {} and try each one by its own address: which one does not answer?",
            f.server.socket()
        ),
    );
}

/// After a restart, clients find out within this time that their connections are gone.
const AFTERWARDS: Span = Span::secs(120);

/// Other signs of the server's host while it ignored the SYNs.
fn weigh_signs_of_life(d: &mut Draft, f: &ConnectionFacts, during: Interval, around: &DetectContext<'_>) {
    if around.context.answers_of(f.server.address) != ServerAnswers::Captured || during.to == during.from {
        return;
    }
    let heard = around.heard_of_host(f.server.address, during);
    d.measure("host_heard", heard);
    if f.syn_ack.count == 0
        && f.syn.count > 2
        && around.view.vantage != Vantage::Server
        && is_ignored_in_turn(around)
    {
        blame_one_of_several(d, f);
        return;
    }
    let lost_its_sockets = || {
        let until = during.to + AFTERWARDS;
        around.activity.sockets_lost.iter().any(|at| (during.from..=until).contains(at))
    };
    if !heard && f.syn.count > 2 && lost_its_sockets() {
        d.cause = cause(
            "The host was down: it was restarted, or its address moved to another host.",
            &["tcp_v4_send_reset"],
            &["TcpOutRsts"],
            &[],
        );
        d.probable("nothing was heard of the host meanwhile, and afterwards it had no socket for connections that it had had before");
        d.next_steps.insert(
            0,
            format!(
                "uptime; journalctl -b -n 50   # on {}: restart, crash, failover?",
                f.server.address.ip()
            ),
        );
    } else if heard
        && around.listener.possibly_inside(during).answered == 0
        && around.view.vantage != Vantage::Server
    {
        d.possible("the host went on with established connections meanwhile, so it was up; nothing shows what dropped the SYNs");
        d.or(
            "A NAT on the path has no port or table entry left for new connections (SNAT ports, conntrack table).",
            "Then other connections through that NAT fail too: `conntrack -S`, and the gateway's own counters.",
        );
    }
}

/// Whether a connection of an address with itself was captured on a network.
fn is_hairpin(f: &ConnectionFacts) -> bool {
    f.client.address == f.server.address && !f.server.address.ip().is_loopback()
}

/// Other signs of a host that ignored SYNs to several of its ports.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    /// It went on with established connections.
    WasHeard,
    /// Nothing.
    FellSilent,
}

/// Several ports of the host ignored SYNs at once: the cause lies in front of the listeners.
fn blame_host(d: &mut Draft, outage: &Outage, meanwhile: Meanwhile) {
    let ports: Vec<String> = outage.ports.iter().take(NAMED_PORTS).map(u16::to_string).collect();
    let more = outage.ports.len() - ports.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let seen = format!(
        "{} ports of this host ignored SYNs at the same time ({}{more}), and no port answered one",
        outage.ports.len(),
        ports.join(", ")
    );
    d.measure("ports_silent_at_once", outage.ports.len());
    if meanwhile == Meanwhile::WasHeard {
        d.cause = cause(
            "The host dropped the SYNs to several of its ports before they reached a listener: its connection tracking \
             table (conntrack) was full, or a firewall rule dropped new connections.",
            &["nf_conntrack_in"],
            &[],
            &["net.netfilter.nf_conntrack_max"],
        );
        d.possible(format!("{seen}, while it went on with established connections"));
        d.or("The host was frozen or unreachable.", "It sent other packets in that time.");
    } else {
        d.cause = cause(
            "The host was down, frozen or unreachable, or it dropped all new connections: its connection tracking \
             table (conntrack) may have been full.",
            &[],
            &[],
            &["net.netfilter.nf_conntrack_max"],
        );
        d.possible(format!("{seen}, and nothing else was heard of the host"));
    }
    d.next_steps.insert(
        0,
        "conntrack -S   # on the server's host: do insert_failed and drop grow? dmesg | grep 'nf_conntrack: table full'"
            .to_owned(),
    );
}
