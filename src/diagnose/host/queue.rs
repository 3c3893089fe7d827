//! Full accept queues, and findings that look like one: a firewall behind the capture point, `TCP_DEFER_ACCEPT`, a
//! REJECT.

use super::account::{self, Account, own_drops_clause};
use super::verdict::counted_connections;
use crate::detect::Draft;
use crate::detect::details::Details;
use crate::detect::draft::cause;
use crate::detect::next;
use crate::model::{Certainty, Kind, Severity, Vantage};

/// `accept-queue-overflow`: each segment that a full queue refuses moves `ListenOverflows`, in every kernel.
pub fn overflow(d: &mut Draft, vantage: Vantage, account: &Account<'_>) {
    let Some(overflows) = account.rise(d, account::LISTEN_OVERFLOWS) else { return };
    let drops = account.rise(d, account::LISTEN_DROPS);
    let own = account.own_drops(d);
    let stuck = counted_connections(account.found(d.kind), "stuck");
    if overflows > 0 && own != Some(0) {
        let rose = format!(
            "{} between the snapshots{}; {stuck}",
            account::LISTEN_OVERFLOWS.moved(overflows),
            own_drops_clause(own)
        );
        if account.suffices(d, own, overflows) {
            d.confirmed(rose);
            d.alternatives.clear();
        } else {
            d.reason = format!(
                "{}; {rose}, which takes at least {} refused segments, so not all of them can be overflows",
                d.reason,
                account.claimed(d.kind)
            );
        }
        return;
    }
    let not_it = if overflows == 0 {
        format!("ListenOverflows did not grow between the snapshots; {stuck}")
    } else {
        format!(
            "ListenOverflows rose by {overflows}, but the socket of this listener dropped nothing; {stuck}"
        )
    };
    if d.certainty() == Certainty::Confirmed {
        // A SYN-ACK that echoes an ignored segment shows that TCP read it. That contradicts the counters.
        let wire = std::mem::take(&mut d.reason);
        d.probable(format!("{wire}; yet {not_it}"));
        return;
    }
    let deferred = account.rise(d, account::DEFER_ACCEPT_DROP);
    if deferred.is_some_and(|n| n > 0) && !repeated_its_data(d) {
        return defers(d, &format!("{not_it}; TCPDeferAcceptDrop rose by {}", deferred.unwrap_or(0)));
    }
    let others = drops.unwrap_or(0).saturating_sub(overflows);
    filtered(d, vantage, &not_it, if own == Some(0) { 0 } else { others });
}

/// Whether the client sent data that was ignored.
fn repeated_its_data(d: &Draft) -> bool {
    matches!(d.details, Details::IgnoredAck(ignored) if ignored.retransmits > 0)
}

/// The listener waits for data: harmless.
fn defers(d: &mut Draft, why: &str) {
    d.kind = Kind::DeferAccept;
    d.severity = Severity::Info;
    d.cause = cause(
        "The listener uses TCP_DEFER_ACCEPT.",
        &["tcp_check_req", "reqsk_timer_handler"],
        &["TcpExtTCPDeferAcceptDrop"],
        &[],
    );
    d.alternatives.clear();
    d.next_steps.clear();
    d.probable(why);
}

/// The client's segments passed the capture point and did not reach TCP; `others` is the number that listeners dropped
/// for another reason than a full queue.
fn filtered(d: &mut Draft, vantage: Vantage, why: &str, others: u64) {
    d.kind = Kind::HandshakeLoss;
    d.measure("lost", "final ACK");
    d.alternatives.clear();
    if vantage == Vantage::Server {
        d.cause = cause(
            "A firewall on the server dropped the client's final ACK after this capture point: the accept queue was \
             not full.",
            &["nf_hook_slow"],
            &[],
            &["net.netfilter.nf_conntrack_tcp_be_liberal"],
        );
        d.or(
            "Another filter in front of TCP dropped it: XDP, tc, or a filter on the listening socket.",
            "`bpftool net` and `ss -ltnpe` list them.",
        );
    } else {
        d.cause = cause(
            "The client's final ACK did not reach the server's TCP: a firewall or the network behind this capture \
             point dropped it.",
            &["nf_hook_slow"],
            &[],
            &["net.netfilter.nf_conntrack_tcp_be_liberal"],
        );
        d.or("A filter in front of the server's TCP dropped it: XDP or tc.", "`bpftool net` lists them.");
    }
    if others > 0 {
        d.or(
            "The listener dropped it for another reason, such as no memory or no route back.",
            format!("ListenDrops rose by {others} more than the overflows, for this or another listener."),
        );
    }
    d.probable(why);
    let Some(server) = d.server else { return };
    let ip = server.socket().ip();
    d.next_steps = vec![
        next::filter_rules(server),
        format!("conntrack -S   # on {ip}: do invalid or drop grow? Then conntrack discards the segments"),
        format!("bpftool net   # on {ip}: filters in front of netfilter (XDP, tc)"),
    ];
}

/// `accept-queue-reset`: an overflow answered by RST moves `ListenOverflows` and `EmbryonicRsts`, and needs
/// `tcp_abort_on_overflow`.
pub fn reset(d: &mut Draft, account: &Account<'_>) {
    let abort = account.facts.setting("net.ipv4.tcp_abort_on_overflow");
    let overflows = account.rise(d, account::LISTEN_OVERFLOWS);
    let embryonic = account.rise(d, account::EMBRYONIC_RSTS);
    let sent = account.rise(d, account::OUT_RSTS);
    let own = account.own_drops(d);
    let not_it = match (abort, overflows, embryonic) {
        (Some("0"), ..) => {
            Some("tcp_abort_on_overflow is 0, so a full accept queue drops silently".to_owned())
        }
        (_, Some(0), _) => Some("ListenOverflows did not grow between the snapshots".to_owned()),
        (_, _, Some(0)) => Some("EmbryonicRsts did not grow between the snapshots".to_owned()),
        _ if own == Some(0) => Some("the socket of this listener dropped nothing".to_owned()),
        _ => None,
    };
    if let Some(not_it) = not_it {
        return not_an_overflow(d, &not_it, sent, account);
    }
    let refused = counted_connections(account.found(d.kind), "reset");
    if let (Some(overflows), Some(embryonic)) = (overflows, embryonic)
        && account.suffices(d, own, overflows)
        && embryonic >= account.found(d.kind)
    {
        let set = abort.map(|value| format!(", tcp_abort_on_overflow is {value}")).unwrap_or_default();
        d.confirmed(format!(
            "ListenOverflows rose by {overflows} and EmbryonicRsts by {embryonic} between the snapshots{}{set}; {refused}",
            own_drops_clause(own)
        ));
        d.alternatives.clear();
    } else if let Some(set) = abort {
        d.reason = format!("{}; tcp_abort_on_overflow is {set}", d.reason);
    }
}

/// The final ACK was answered by RST for another reason.
fn not_an_overflow(d: &mut Draft, why: &str, sent: Option<u64>, account: &Account<'_>) {
    d.alternatives.clear();
    let closed = d.server.and_then(|host| account.facts.same_listener(host.socket())) == Some(false);
    if sent != Some(0) && closed {
        d.kind = Kind::ListenerClosed;
        d.cause = cause(
            "The listening socket was closed or replaced between SYN and final ACK.",
            &["inet_csk_listen_stop"],
            &["TcpOutRsts"],
            &["net.ipv4.tcp_migrate_req"],
        );
        d.probable(format!("{why}; the second snapshot has another socket there, or none"));
        d.next_steps = d.server.map(|server| next::log(server, d.first().time)).into_iter().collect();
        return;
    }
    d.kind = Kind::ConnectionRefused;
    if sent == Some(0) {
        d.cause =
            cause("A firewall answered the final ACK with a RST (REJECT).", &["nf_send_reset"], &[], &[]);
        d.confirmed(format!("{why}, and OutRsts did not grow: TCP on this host sent no RST at all"));
    } else {
        d.cause = cause(
            "A firewall rejected the final ACK, or its half-open connection was gone. The accept queue was not full.",
            &["nf_send_reset", "tcp_v4_send_reset"],
            &["TcpOutRsts", "TcpExtSyncookiesFailed"],
            &[],
        );
        d.possible(why);
        d.or("The ACK of a syncookie was too old or invalid.", "Then SyncookiesFailed grows.").or(
            "The listening socket was closed or replaced.",
            "Then `ss -ltne` shows another inode than before.",
        );
    }
    d.next_steps = d.server.map(next::filter_rules).into_iter().collect();
}

/// `defer-accept`: each bare ACK that is put off moves `TCPDeferAcceptDrop`.
pub fn deferred(d: &mut Draft, account: &Account<'_>) {
    let Some(put_off) = account.rise(d, account::DEFER_ACCEPT_DROP) else { return };
    let overflows = account.rise(d, account::LISTEN_OVERFLOWS);
    let own = account.own_drops(d);
    let found = account.found(d.kind);
    if put_off >= found {
        d.confirmed(format!(
            "TCPDeferAcceptDrop rose by {put_off} between the snapshots; {}",
            counted_connections(found, "put off")
        ));
        d.alternatives.clear();
    } else if put_off > 0 {
        d.reason = format!("{}; TCPDeferAcceptDrop rose by {put_off} for {found} connections", d.reason);
    } else if overflows.is_some_and(|n| n > 0) && own != Some(0) {
        d.kind = Kind::AcceptQueueOverflow;
        d.severity = Severity::Warning;
        d.cause = cause(
            "The listener's accept queue was full for a moment, so the kernel dropped the final ACK.",
            &["tcp_check_req", "tcp_v4_syn_recv_sock", "reqsk_timer_handler"],
            &["TcpExtListenOverflows", "TcpExtListenDrops"],
            &["net.core.somaxconn"],
        );
        d.alternatives.clear();
        d.probable(format!(
            "TCPDeferAcceptDrop did not grow between the snapshots, ListenOverflows rose by {}{}",
            overflows.unwrap_or(0),
            own_drops_clause(own)
        ));
        d.next_steps = d.server.map(next::full_accept_queue).unwrap_or_default();
    } else {
        d.kind = Kind::HandshakeLoss;
        d.cause = cause(
            "A firewall or the network behind this capture point dropped the final ACK.",
            &[],
            &[],
            &[],
        );
        d.alternatives.clear();
        d.next_steps = vec![next::LINK_DROPS.to_owned()];
        d.next_steps.extend(d.server.map(next::filter_rules));
        d.probable("neither TCPDeferAcceptDrop nor ListenOverflows grew between the snapshots");
    }
}
