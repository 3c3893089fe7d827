//! Syncookies, Fast Open, TIME_WAIT: which features are switched on, and which limits were reached.

use super::account::{self, Account};
use super::verdict::HostVerdict;
use crate::detect::Draft;
use crate::detect::details::Details;
use crate::detect::draft::count;
use crate::flow::facts::Role;
use crate::model::Severity;

/// `syncookies`: each one sent is counted.
pub fn syncookies(d: &mut Draft, account: &Account<'_>) -> HostVerdict {
    match account.rise(d, account::SYNCOOKIES_SENT) {
        Some(0) => HostVerdict::Withdrawn(
            "its SYN-ACKs look like cookies, but SyncookiesSent did not grow between the snapshots"
                .to_owned(),
        ),
        Some(sent) if sent >= cookies(d) => {
            let set = match account.facts.setting("net.ipv4.tcp_syncookies") {
                Some("2") => {
                    d.cause.text = "tcp_syncookies is 2: every SYN is answered by a cookie.".into();
                    ", tcp_syncookies is 2"
                }
                Some("1") => {
                    d.cause.text = "The SYN queue was full, and tcp_syncookies is 1.".into();
                    ", tcp_syncookies is 1"
                }
                _ => "",
            };
            if let Some(server) = d.server {
                d.summary = format!(
                    "{} answers with syncookies: SyncookiesSent rose by {sent}, of which the packets show {}.",
                    server.socket(),
                    count(cookies(d), "cookie")
                );
            }
            d.confirmed(format!("SyncookiesSent rose by {sent} between the snapshots{set}"));
            d.alternatives.clear();
            HostVerdict::Stays
        }
        _ => HostVerdict::Stays,
    }
}

/// SYN-ACKs that look like cookies.
fn cookies(d: &Draft) -> u64 {
    match d.details {
        Details::Cookies { stripped, lagging } => stripped + lagging,
        _ => 0,
    }
}

/// Bit of `tcp_fastopen` for the server's side.
const SERVER_SIDE: u32 = 2;

/// `fastopen-fallback`: switched off, too many pending, or the cookie refused.
pub fn fast_open(d: &mut Draft, account: &Account<'_>) {
    let set: Option<u32> =
        account.facts.setting("net.ipv4.tcp_fastopen").and_then(|value| value.parse().ok());
    let overflow = account.rise(d, account::FAST_OPEN_OVERFLOW).unwrap_or(0);
    let refused = account.rise(d, account::FAST_OPEN_FAIL).unwrap_or(0);
    if let Some(set) = set.filter(|set| set & SERVER_SIDE == 0) {
        d.cause.text = "Fast Open is switched off for servers.".into();
        d.confirmed(format!("net.ipv4.tcp_fastopen is {set}: bit {SERVER_SIDE} is not set"));
        d.alternatives.clear();
    } else if overflow > 0 && overflow >= account.found(d.kind) {
        d.cause.text = "Too many Fast Open connections were pending at the listener.".into();
        d.probable(format!("TCPFastOpenListenOverflow rose by {overflow} between the snapshots"));
    } else if overflow == 0 && refused > 0 && refused >= account.found(d.kind) {
        d.cause.text = "The server refused the Fast Open cookie.".into();
        d.confirmed(format!("TCPFastOpenPassiveFail rose by {refused} between the snapshots"));
        d.alternatives.clear();
    }
}

/// Fewer sockets in TIME_WAIT than this use up neither the ports of a client (28,232 by default) nor any table.
const FEW: u64 = 22_500;

/// `time-wait-pressure`: how many sockets are in TIME_WAIT, and whether the buckets ran out. Ports are the client's; on
/// loopback that is this host, too.
pub fn time_wait(d: &mut Draft, account: &Account<'_>) {
    let Details::TimeWait { closer } = d.details else { return };
    let within = d.server.is_some_and(|server| server.socket().ip().is_loopback());
    if closer == Role::Client && !within {
        return;
    }
    let Some(overflow) = account.rise(d, account::TIME_WAIT_OVERFLOW) else { return };
    let held = account.facts.time_wait();
    if let (Some(held), Some(server)) = (held, d.server) {
        d.note_host_counter("host_time_wait", held);
        d.summary = format!(
            "Connections to {} are closed so fast that sockets pile up in TIME_WAIT: this host holds {held} of them.",
            server.socket()
        );
    }
    let buckets = account.facts.setting("net.ipv4.tcp_max_tw_buckets");
    let limit = buckets.map(|n| format!(", tcp_max_tw_buckets is {n}")).unwrap_or_default();
    if overflow > 0 {
        // No segment is late on loopback: there TIME_WAIT protects nothing.
        d.severity = if within { Severity::Info } else { Severity::Warning };
        d.cause.text = "The server's TIME_WAIT buckets ran out: sockets that close skip TIME_WAIT.".into();
        d.confirmed(format!("TCPTimeWaitOverflow rose by {overflow} between the snapshots{limit}"));
        d.alternatives.clear();
        return;
    }
    d.reason = format!("TCPTimeWaitOverflow did not grow between the snapshots{limit}: the buckets suffice");
    let reused = within && account.facts.setting("net.ipv4.tcp_tw_reuse").is_some_and(|set| set != "0");
    if reused {
        d.reason = format!("{}; tcp_tw_reuse lets loopback take ports out of TIME_WAIT", d.reason);
    }
    if reused || held.is_some_and(|held| held < FEW) {
        d.severity = Severity::Info;
    }
}
