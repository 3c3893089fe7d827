//! `syn-drop-syn-queue`: the SYN was dropped because the SYN queue was full.

use crate::detect::analysis::ignored_syn::{self, IgnoredSynCause, is_unanswered};
use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause};
use crate::detect::next;
use crate::detect::spec::{Examine, IgnoredPackets, Property, finding};
use crate::flow::facts::ConnectionFacts;
use crate::history::wants::Wants;
use crate::model::{Kind, Suspect};

finding! {
    /// SYNs go unanswered while half-open handshakes fill the listener's SYN queue.
    ///
    /// ## On the wire
    /// Many handshakes of the listener stand at SYN-ACK without a final ACK, their SYN-ACKs are repeated, and further
    /// SYNs draw no answer at all.
    /// ## In the kernel
    /// `tcp_conn_request` drops a SYN when the SYN queue is full (`inet_csk_reqsk_queue_is_full`: as many requests as
    /// the listen backlog since Linux 4.4, a power of two above it before) and `tcp_syncookies` is 0:
    /// `TCPReqQFullDrop` and `ListenDrops`. Short of that, the last quarter of `tcp_max_syn_backlog` is kept for known
    /// hosts: `ListenDrops` alone.
    /// ## Looks alike
    /// * The accept queue is full: `ListenOverflows` moves too (`syn-drop-accept-queue`).
    /// * With syncookies on, the SYN is answered (`syncookies`).
    /// ## Check next
    /// `ss -tn state syn-recv` counts the half-open ones; `nstat -az TcpExtTCPReqQFullDrop TcpExtListenDrops`, twice;
    /// `sysctl net.ipv4.tcp_syncookies`: turn it on.
    /// ## References
    /// RFC 4987; `net/ipv4/tcp_input.c` `tcp_conn_request`
    pub struct SynDropSynQueue {
        kind: Kind::SynDropSynQueue,
        plain_words: "Clients get no answer because too many handshakes are unfinished.",
        at_fault: "the server, whose SYN queue is full while syncookies are off",
        wants: Wants::full(|f, _| is_unanswered(f)),
        examine: Examine::Connection(examine),
        look_alikes: &["syn-unanswered/firewall-drops-syn", "handshake-loss/syn-lost"],
        counters: &["TcpExtTCPReqQFullDrop", "TcpExtListenDrops", "TcpExtListenOverflows"],
        settings: &["net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_syncookies"],
        ignored: IgnoredPackets::Syns,
        properties: &[Property::PreventsSetUp, Property::QueueWasFull, Property::ExplainsHandshake, Property::HasOneCause],
    }
}

/// See [`SynDropSynQueue`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let (syns, mut d) = ignored_syn::begin(f, &SPEC, IgnoredSynCause::SynQueue, around)?;
    d.cause = cause(
        "The listener's SYN queue was full and syncookies are off, so the kernel silently dropped the SYN.",
        &["tcp_conn_request", "inet_csk_reqsk_queue_is_full"],
        &["TcpExtTCPReqQFullDrop", "TcpExtListenDrops"],
        &["net.ipv4.tcp_syncookies", "net.ipv4.tcp_max_syn_backlog", "net.core.somaxconn"],
    );
    let half_open = around.activity.half_open_at(syns[0].at.time);
    d.measure("half_open", half_open);
    ignored_syn::judge(
        &mut d,
        f,
        around,
        &syns,
        &format!("{half_open} handshakes of this listener were half open"),
    );
    d.or("The accept queue was full.", "No completed connection hung. Then ListenOverflows grows.")
        .or(Suspect::SynFilteredOrLost, "It would have to begin just when the half-open handshakes pile up.");
    d.next_steps = next::full_syn_queue(f.server);
    Some(d)
}
