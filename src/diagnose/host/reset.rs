//! RSTs, and who sent them: a firewall, an application that closed, a listener that went away.

use super::account::{self, Account};
use super::verdict::counted_connections;
use crate::detect::Draft;
use crate::detect::details::{Details, Refusal};
use crate::detect::draft::cause;
use crate::detect::next;
use crate::model::Kind;

/// `connection-refused`: TCP counts the RSTs that it sends, a firewall's are not among them.
pub fn refused(d: &mut Draft, account: &Account<'_>) {
    let by_rst = d.details == Details::Refusal(Refusal::Reset);
    if !by_rst || account.rise(d, account::OUT_RSTS) != Some(0) {
        return;
    }
    d.cause = cause("A firewall rejects the connection with a RST.", &["nf_send_reset"], &[], &[]);
    d.measure("by_firewall", true);
    d.confirmed("OutRsts did not grow between the snapshots: TCP on this host sent no RST");
    d.alternatives.clear();
    d.next_steps = d.server.map(next::filter_rules).into_iter().collect();
}

/// `abortive-close`: `TCPAbortOnClose` is unread data, `TCPAbortOnData` is `SO_LINGER` 0 (or data after close()).
pub fn abortive(d: &mut Draft, account: &Account<'_>) {
    let (Some(unread), Some(linger)) =
        (account.rise(d, account::ABORT_ON_CLOSE), account.rise(d, account::ABORT_ON_DATA))
    else {
        return;
    };
    let found = account.found(Kind::AbortiveClose);
    let ended = counted_connections(found, "ended so");
    let text = match (unread, linger) {
        (0, 0) => {
            d.possible("neither TCPAbortOnData nor TCPAbortOnClose grew between the snapshots");
            d.or(
                "A device on the path, or `ss -K`, ended the connection.",
                "Neither moves one of these counters.",
            );
            return;
        }
        (1.., 0) if unread >= found => {
            "The application closed or exited with data unread in its receive buffer."
        }
        (0, 1..) if linger >= found => {
            "The application closed with SO_LINGER 0, or data came after it had closed."
        }
        _ => {
            d.reason = format!(
                "{}; between the snapshots TCPAbortOnClose rose by {unread}, TCPAbortOnData by {linger}; {ended}",
                d.reason
            );
            return;
        }
    };
    d.cause.text = text.into();
    d.alternatives.clear();
    d.confirmed(format!(
        "{} between the snapshots, {}; {ended}",
        account::ABORT_ON_CLOSE.moved(unread),
        account::ABORT_ON_DATA.moved(linger)
    ));
}

/// `listener-closed`: the second snapshot has another socket there, or none.
pub fn listener_closed(d: &mut Draft, account: &Account<'_>) {
    match d.server.and_then(|host| account.facts.same_listener(host.socket())) {
        Some(false) => {
            d.confirmed("the second snapshot has another listening socket there, or none");
            d.alternatives.clear();
        }
        Some(true) => {
            d.possible("the same sockets listen in both snapshots");
        }
        None => {}
    }
}
