//! `syn-flood`: many half-open handshakes that never get their final ACK.

use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause, count};
use crate::detect::explain::finding;
use crate::detect::next;
use crate::flow::key::{Host, Set};
use crate::history::incomplete::HalfOpen;
use crate::model::{Kind, Severity};
use crate::time::Span;

finding! {
    /// Many handshakes of a listener are never completed by those who began them.
    ///
    /// ## On the wire
    /// SYN, SYN-ACK, and no final ACK, many times within seconds; the SYN-ACKs are repeated in vain. The SYNs are not
    /// repeated, as a real client would.
    /// ## In the kernel
    /// Each holds a place in the SYN queue until its SYN-ACK retries run out (`reqsk_timer_handler`); when it is full,
    /// syncookies answer (`TCPReqQFullDoCookies`), or SYNs are dropped (`TCPReqQFullDrop`).
    /// ## Looks alike
    /// * A path that loses the SYN-ACKs: the clients repeat their SYNs.
    /// * A port scan: one handshake per port. A load balancer's check: a RST of the client at once.
    /// * A capture filtered down to SYNs: it holds the end of no handshake.
    /// ## Check next
    /// `ss -tn state syn-recv`, `nstat -az TcpExtSyncookiesSent TcpExtTCPReqQFullDrop`; `sysctl net.ipv4.tcp_syncookies`.
    /// ## References
    /// RFC 4987
    pub struct SynFlood = Kind::SynFlood
}

/// Handshakes that were never completed within [`WINDOW`] from which on it is a flood.
const LEAST: usize = 20;
/// Of these at least so many must have been answered by SYN-ACK: the smallest SYN queue holds 8.
const HALF_OPEN: usize = 8;
/// Fewer sources than these are somebody's test or scan, unless they send as many as [`FROM_FEW`].
const SOURCES: usize = 4;
/// See [`SOURCES`].
const FROM_FEW: usize = 100;
/// The stretch of time in which they must begin.
const WINDOW: Span = Span::secs(10);

/// A request that is kept for less may only have been cut off by the end of the capture, or its client said at once
/// that it wants nothing (a port scan, a load balancer's check): its SYN-ACK timer never ran out.
const HELD: Span = Span::millis(900);

/// Whether a request is one of a flood: nobody asked again for it, nobody took it back, it was held for a while.
fn fills_the_queue(h: &HalfOpen, around: &DetectContext<'_>) -> bool {
    // A filter for SYNs leaves every handshake without its end. Then only repeated SYN-ACKs say that there was none.
    let never_completed = h.syn_acks >= 2 || !around.world.handshakes_only;
    h.syns <= h.syn_acks.min(1) && h.during.to - h.during.from >= HELD && never_completed
}

/// See [`SynFlood`].
pub fn survey(server: Host, around: &DetectContext<'_>) -> Option<Draft> {
    let scene = around.scene;
    // Further SYNs of the flood may have found the SYN queue full; alone they prove nothing.
    let half_open: Vec<_> = scene.half_open.iter().filter(|h| fills_the_queue(h, around)).collect();
    let unanswered = if half_open.len() >= HALF_OPEN { &scene.lone_syns[..] } else { &[] };
    let mut never: Vec<_> = half_open.into_iter().chain(unanswered).collect();
    // Two runs in order: a stable sort only merges them.
    never.sort_by_key(|h| h.syn);
    let (mut most, mut oldest) = (0, 0);
    for (n, h) in never.iter().enumerate() {
        while h.syn.time - never[oldest].syn.time > WINDOW {
            oldest += 1;
        }
        most = most.max(n + 1 - oldest);
    }
    let sources: Set<_> = never.iter().map(|h| h.client.address).collect();
    if most < LEAST || (sources.len() < SOURCES && most < FROM_FEW) {
        return None;
    }
    let (first, last) = (never.first()?, never.last()?);
    let mut d = Draft::about_listener(
        server,
        Kind::SynFlood,
        (first.syn, "first SYN whose handshake was never completed"),
    );
    d.shows(last.syn, "last of them");
    d.severity = if around.scene.ignored.len() > 1 { Severity::Critical } else { Severity::Warning };
    let uncounted = around.listener.uncounted;
    let took = last.syn.time.max(uncounted.last) - first.syn.time;
    let all = never.len() as u64 + uncounted.handshakes();
    d.summary = format!(
        "{}{} of {} to {} were begun within {took} and never completed.",
        if uncounted.handshakes() > 0 { "At least " } else { "" },
        count(all, "handshake"),
        count(sources.len() as u64, "source address").replace("addresss", "addresses"),
        server.socket()
    );
    if uncounted.let_go > 0 {
        d.summary.push_str(&format!(
            " The memory limit kept {} from being followed to the end.",
            count(uncounted.let_go.saturating_sub(uncounted.completed), "handshake")
        ));
    }
    d.cause = cause(
        "Half-open handshakes fill the SYN queue: a SYN flood, or clients that do not get the server's SYN-ACKs.",
        &["tcp_conn_request", "reqsk_timer_handler"],
        &["TcpExtSyncookiesSent", "TcpExtTCPReqQFullDoCookies", "TcpExtTCPReqQFullDrop"],
        &["net.ipv4.tcp_syncookies", "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_synack_retries"],
    );
    d.measure("half_open", all).measure("sources", sources.len()).measure_span("lasted_s", took);
    d.probable("the clients neither repeated their SYNs nor completed a handshake");
    d.or("The network loses the SYN-ACKs on the way back.", "Real clients would repeat their SYNs.");
    d.next_steps = vec![
        next::half_open(server),
        next::counters(
            &["TcpExtSyncookiesSent", "TcpExtTCPReqQFullDrop", "TcpExtListenDrops"],
            "twice, 10 s apart: cookies are answers, drops are lost clients",
        ),
        "sysctl net.ipv4.tcp_syncookies   # 1 keeps the listener reachable".to_owned(),
    ];
    Some(d)
}
