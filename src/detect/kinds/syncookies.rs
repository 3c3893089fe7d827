//! `syncookies`: the listener answers with cookies.

use crate::decode::segment::TcpOptions;
use crate::detect::context::DetectContext;
use crate::detect::details::Details;
use crate::detect::draft::{Draft, cause, count};
use crate::detect::spec::{Examine, LeadsTo, Property, RelationCondition, finding};
use crate::flow::facts::PacketRef;
use crate::flow::key::Host;
use crate::history::syn_ack_lag::{SPREAD, SynAckLags};
use crate::history::wants::Wants;
use crate::model::{Kind, Sender, Severity};

finding! {
    /// The listener answers SYNs with syncookies: it keeps no request for them.
    ///
    /// ## On the wire
    /// To a client without timestamps the SYN-ACK carries the MSS option alone, although the SYN offered SACK and
    /// window scale. Such a SYN-ACK is never repeated. To a client with timestamps the SYN-ACK carries all options; the
    /// cookie hides in the low bits of its TSval. So the TSval lags the clock of the server's next segments by up to 63
    /// ticks. The lag is read where that clock ticks in milliseconds (Linux 4.13 and later).
    /// ## In the kernel
    /// The SYN queue is full and `tcp_syncookies` is 1, or it is 2: `tcp_conn_request`, `cookie_init_timestamp`;
    /// `TCPReqQFullDoCookies`, `SyncookiesSent`, `SyncookiesRecv`.
    /// ## Looks alike
    /// * A server or middlebox that never offers SACK and window scale: excluded where such a SYN-ACK is repeated.
    /// * A SYN proxy in front of the server.
    /// * A SYN-ACK that was delayed on its way to the capture: its lag is no longer than the time since its SYN.
    /// ## Check next
    /// `nstat -az 'TcpExtSyncookies*' TcpExtTCPReqQFullDoCookies`; `sysctl net.ipv4.tcp_syncookies`; a flood, or a listen
    /// backlog that is too small?
    /// ## References
    /// RFC 4987 section 3.6; `net/ipv4/syncookies.c`
    pub struct Syncookies {
        kind: Kind::Syncookies,
        plain_words: "The server stays reachable by answering without keeping state, which costs its clients some TCP features.",
        at_fault: "nobody, unless the SYN queue is too small for the usual load",
        wants: Wants::full(|f, _| f.syn_ack.count > 0 && lacks_options(f.syn_offer.options, f.syn_ack_offer.options)).or_clean(|clean, _, _| lacks_options(clean.handshake.syn_options(), clean.handshake.syn_ack_options().0)),
        examine: Examine::Listener(examine),
        look_alikes: &["syncookies/options-off:server", "fastopen-fallback/stale-cookie"],
        counters: &["TcpExtSyncookiesSent", "TcpExtSyncookiesRecv"],
        settings: &["net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_syncookies"],
        sender: Some(Sender::Server),
        properties: &[Property::ExplainsNoFailure],
        leads_to: &[
            LeadsTo {
                effect: Kind::AcceptQueueOverflow,
                said_of_effect: "the final ACKs that brought cookies back met a full accept queue",
                said_of_cause: "its SYN queue was full, too: it sent cookies",
                when: RelationCondition::Always,
            },
        ],
    }
}

/// From this many stripped SYN-ACKs on, it is a pattern if the listener never sent full ones.
const LEAST: usize = 4;
/// From this many SYN-ACKs on that lag the server's clock by more than delays explain, it is a pattern.
const LAGGING: u64 = 3;
/// One in this many of the lagging SYN-ACKs may seem to lead, or lag further than a cookie can.
const ODD: u64 = 8;

/// The stripped SYN-ACKs of a listener, if they show cookies.
fn stripped<'a>(around: &DetectContext<'a>) -> &'a [PacketRef] {
    let activity = around.activity;
    let switched = changed_its_offer(around);
    // If the order was changed, a SYN-ACK that the server's timer repeated may seem to answer a SYN.
    let surely_not_kept = activity.stripped_and_kept == 0 && !around.context.shuffled;
    let is_pattern = switched || (activity.stripped.len() >= LEAST && surely_not_kept);
    if is_pattern { &activity.stripped } else { &[] }
}

/// Whether one host sent both full and stripped SYN-ACKs. Behind a load balancer one of several hosts may offer no
/// options at all: their TTLs distinguish them. A single stripped SYN-ACK may come from another host at the same
/// distance.
fn changed_its_offer(around: &DetectContext<'_>) -> bool {
    let ttls = around.listener.accepted.as_deref().map_or(&[][..], |accepted| accepted.answer_ttl.all());
    around.listener.full_offers > 0 && ttls.len() == 1 && around.activity.stripped.len() > 1
}

/// The SYN-ACKs of a listener that lag, if they show cookies.
fn lagging<'a>(around: &DetectContext<'a>) -> Option<&'a SynAckLags> {
    let lags = &around.activity.lags;
    (lags.count >= LAGGING && lags.odd <= lags.count / ODD && lags.spread() >= SPREAD).then_some(lags)
}

/// Whether the SYN-ACK has neither window scale nor SACK-permitted although the SYN offered one.
fn lacks_options(syn: TcpOptions, syn_ack: TcpOptions) -> bool {
    let offered = TcpOptions::SACK_PERMITTED | TcpOptions::WINDOW_SCALE;
    syn.any(offered) && !syn_ack.any(offered)
}

/// See [`Syncookies`].
fn examine(server: Host, around: &DetectContext<'_>) -> Option<Draft> {
    let (stripped, lagging) = (stripped(around), lagging(around));
    let lags = lagging.map_or(&[][..], |lags| &lags.clear);
    let switched = changed_its_offer(around);
    let bare = "SYN-ACK with the MSS option only, although the SYN offered SACK and window scale";
    let of_stripped = stripped.iter().map(|&at| (at, bare.to_owned()));
    let of_lagging = lags
        .iter()
        .map(|lag| (lag.at, format!("SYN-ACK whose TSval lags the server's clock by {} ms", lag.by)));
    let both = of_stripped.chain(of_lagging);
    let (first, last) = (both.clone().min_by_key(|(at, _)| *at)?, both.max_by_key(|(at, _)| *at)?);
    let mut d = Draft::about_listener(server, &SPEC, first);
    d.shows(last.0, last.1);
    d.severity = Severity::Info;
    let lag_count = lagging.map_or(0, |lags| lags.count);
    let all = stripped.len() as u64 + lag_count;
    d.summary = format!("{} answered {} with syncookies.", server.socket(), count(all, "SYN"));
    d.cause = cause(
        "The SYN queue was full and tcp_syncookies is 1, or tcp_syncookies is 2.",
        &["tcp_conn_request", "cookie_v4_init_sequence"],
        &["TcpExtSyncookiesSent", "TcpExtSyncookiesRecv", "TcpExtTCPReqQFullDoCookies"],
        &["net.ipv4.tcp_syncookies", "net.ipv4.tcp_max_syn_backlog"],
    );
    d.details = Details::Cookies { stripped: stripped.len() as u64, lagging: lag_count };
    d.measure("full_syn_acks", around.listener.full_offers);
    if let Some(lags) = lagging {
        let furthest = lags.clear.iter().map(|lag| lag.by).max().unwrap_or(0);
        let reason = format!(
            "the TSval of {} lags the server's clock by up to {furthest} ms",
            count(lag_count, "SYN-ACK")
        );
        d.probable(format!("{reason}, by more than their delay on the path, as only cookies do"));
        d.or(
            "The host delays its SYN-ACKs more than its other segments.",
            "Their lags differ and stay within the range of cookies.",
        );
    } else if switched {
        d.probable("the same listener offered all options to other clients without timestamps");
    } else {
        d.possible("this listener offered all options to no client, so it may never do so");
    }
    if !stripped.is_empty() {
        d.or(
            "The server, or a device in front of it, never offers SACK and window scale.",
            "Then it offers them to no client at any time.",
        );
    }
    d.next_steps = vec![
        "nstat -az TcpExtSyncookiesSent TcpExtSyncookiesRecv TcpExtTCPReqQFullDoCookies   # twice, 10 s apart: do they grow?".to_owned(),
        "sysctl net.ipv4.tcp_syncookies   # 1 sends cookies while the SYN queue is full, 2 always".to_owned(),
    ];
    Some(d)
}
