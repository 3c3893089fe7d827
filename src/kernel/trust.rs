//! How much a statement of the kernel proves: one table.
//!
//! Measured on Linux 6.1, 6.12 and 6.18. Drops whose reason had no name yet have `NOT_SPECIFIED`. So do harmless drops:
//! a repeated SYN, the bare ACK of `TCP_DEFER_ACCEPT`.

use super::verdict::{DropSite, Judgement, Queues, UNSPECIFIED};

/// What the kernel did, in terms of the findings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Meaning {
    /// The accept queue was full.
    AcceptQueueFull,
    /// The SYN queue was full.
    SynQueueFull,
    /// A rule of netfilter dropped or rejected it.
    Filtered,
    /// No socket was there for it.
    NoSocket,
    /// Its timestamp was older than one seen before (PAWS).
    OldTimestamp,
    /// Its numbers were outside of the window.
    OutOfWindow,
    /// Its checksum was wrong.
    BadChecksum,
    /// No route back to its source, or the route says that it cannot have come from there.
    NoRoute,
    /// The application closed with data unread.
    UnreadData,
    /// A socket that waits in TIME_WAIT or FIN_WAIT2 answered.
    TimeWait,
    /// Memory ran out.
    NoMemory,
}

/// How full the queues must have been.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum QueueCondition {
    Always,
    AcceptQueueFull,
    SynQueueDrops,
}

/// The statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Said {
    Dropped,
    Reset,
    Sent,
    AtListener,
}

/// One line of the table: `reason` and `function` are the kernel's names; an empty one matches all. A reason that ends
/// in `*` matches all that begin with the text before it.
struct Rule(Said, &'static str, &'static str, QueueCondition, Meaning);

/// A reason that is not in it proves nothing. The first line that matches counts.
#[rustfmt::skip]
const TABLE: &[Rule] = &[
    // 6.15 and later name it. The RST of tcp_abort_on_overflow comes with the same drop.
    Rule(Said::Dropped, "TCP_LISTEN_OVERFLOW", "", QueueCondition::Always, Meaning::AcceptQueueFull),
    // The queues are read at the entry; the kernel tests the same fields straight after.
    Rule(Said::AtListener, "", "tcp_v4_syn_recv_sock", QueueCondition::AcceptQueueFull, Meaning::AcceptQueueFull),
    Rule(Said::AtListener, "", "tcp_v6_syn_recv_sock", QueueCondition::AcceptQueueFull, Meaning::AcceptQueueFull),
    Rule(Said::AtListener, "", "tcp_conn_request", QueueCondition::AcceptQueueFull, Meaning::AcceptQueueFull),
    // With syncookies the kernel answers at a full SYN queue, too.
    Rule(Said::AtListener, "", "tcp_conn_request", QueueCondition::SynQueueDrops, Meaning::SynQueueFull),
    // Given wherever a valid cookie comes to nothing: memory and routes are other causes. An invalid one is answered
    // with a RST.
    Rule(Said::Dropped, "NO_SOCKET", "cookie_v4_check", QueueCondition::AcceptQueueFull, Meaning::AcceptQueueFull),
    Rule(Said::Dropped, "NO_SOCKET", "cookie_v6_check", QueueCondition::AcceptQueueFull, Meaning::AcceptQueueFull),
    // tcp_abort_on_overflow: also given for a SYN in the window of a half-open connection.
    Rule(Said::Reset, "INVALID_SYN", "", QueueCondition::AcceptQueueFull, Meaning::AcceptQueueFull),
    Rule(Said::Dropped, "NETFILTER_*", "", QueueCondition::Always, Meaning::Filtered),
    Rule(Said::Dropped, "NO_SOCKET", "tcp_v4_rcv", QueueCondition::Always, Meaning::NoSocket),
    Rule(Said::Dropped, "NO_SOCKET", "tcp_v6_rcv", QueueCondition::Always, Meaning::NoSocket),
    Rule(Said::Reset, "NO_SOCKET", "", QueueCondition::Always, Meaning::NoSocket),
    Rule(Said::Dropped, "TCP_RFC7323_*", "", QueueCondition::Always, Meaning::OldTimestamp),
    Rule(Said::Dropped, "TCP_INVALID_SEQUENCE", "", QueueCondition::Always, Meaning::OutOfWindow),
    Rule(Said::Dropped, "TCP_INVALID_END_SEQUENCE", "", QueueCondition::Always, Meaning::OutOfWindow),
    Rule(Said::Dropped, "TCP_OLD_SEQUENCE", "", QueueCondition::Always, Meaning::OutOfWindow),
    Rule(Said::Dropped, "TCP_OVERWINDOW", "", QueueCondition::Always, Meaning::OutOfWindow),
    Rule(Said::Dropped, "TCP_CSUM", "", QueueCondition::Always, Meaning::BadChecksum),
    Rule(Said::Dropped, "IP_CSUM", "", QueueCondition::Always, Meaning::BadChecksum),
    Rule(Said::Dropped, "IP_RPFILTER", "", QueueCondition::Always, Meaning::NoRoute),
    Rule(Said::Dropped, "IP_INADDRERRORS", "", QueueCondition::Always, Meaning::NoRoute),
    Rule(Said::Dropped, "IP_OUTNOROUTES", "", QueueCondition::Always, Meaning::NoRoute),
    Rule(Said::Dropped, "NOMEM", "", QueueCondition::Always, Meaning::NoMemory),
    Rule(Said::Dropped, "PROTO_MEM", "", QueueCondition::Always, Meaning::NoMemory),
    Rule(Said::Sent, "TCP_ABORT_ON_CLOSE", "", QueueCondition::Always, Meaning::UnreadData),
    Rule(Said::Sent, "TCP_ABORT_ON_MEMORY", "", QueueCondition::Always, Meaning::NoMemory),
    Rule(Said::Reset, "TCP_TIMEWAIT_SOCKET", "", QueueCondition::Always, Meaning::TimeWait),
    Rule(Said::Reset, "TCP_ABORT_ON_CLOSE", "", QueueCondition::Always, Meaning::UnreadData),
    // These are left out on purpose: TCP_STATE (SO_LINGER 0 and a closed listener alike), TCP_FLAGS, and no reason at
    // all.
];

/// What a judgement proves; `None` where it proves nothing.
pub fn meaning(judgement: &Judgement) -> Option<Meaning> {
    TABLE.iter().find(|rule| rule.fits(judgement)).map(|rule| rule.4)
}

impl Rule {
    fn fits(&self, judgement: &Judgement) -> bool {
        let Rule(said, reason, function, when, _) = self;
        let listener = judgement.at_listener.as_ref();
        let of_listener = listener.map(|name| DropSite { reason: None, function: Some(name.clone()) });
        let place = match said {
            Said::Dropped => judgement.dropped.as_ref(),
            Said::Reset => judgement.reset.as_ref(),
            Said::Sent => judgement.sent.as_ref(),
            Said::AtListener => of_listener.as_ref(),
        };
        place.is_some_and(|place| {
            fits(reason, place.reason.as_deref())
                && (function.is_empty() || place.function.as_deref() == Some(function))
        }) && when.fits(judgement.queues)
    }
}

fn fits(pattern: &str, reason: Option<&str>) -> bool {
    match (pattern, reason) {
        ("", _) => true,
        (_, None | Some(UNSPECIFIED)) => false,
        (pattern, Some(reason)) => match pattern.strip_suffix('*') {
            Some(start) => reason.starts_with(start),
            None => reason == pattern,
        },
    }
}

impl QueueCondition {
    fn fits(self, queues: Option<Queues>) -> bool {
        match self {
            QueueCondition::Always => true,
            QueueCondition::AcceptQueueFull => queues.is_some_and(Queues::accept_is_full),
            QueueCondition::SynQueueDrops => queues.is_some_and(Queues::drops_syns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(reason: &str, function: &str) -> Option<DropSite> {
        Some(DropSite { reason: Some(reason.into()), function: Some(function.into()) })
    }

    fn dropped(reason: &str, function: &str, queues: Option<Queues>) -> Option<Meaning> {
        meaning(&Judgement { dropped: place(reason, function), queues, ..Judgement::default() })
    }

    const FULL: Option<Queues> = Some(Queues { accept: 129, syn: 3, limit: 128, without_cookies: false });
    const ROOM: Option<Queues> = Some(Queues { accept: 128, syn: 3, limit: 128, without_cookies: false });

    #[test]
    fn no_reason_is_no_evidence() {
        assert_eq!(dropped("NOT_SPECIFIED", "tcp_v4_rcv", FULL), None);
        let unnamed = Some(DropSite { reason: None, function: Some("tcp_v4_rcv".into()) });
        assert_eq!(meaning(&Judgement { dropped: unnamed, queues: FULL, ..Judgement::default() }), None);
        assert_eq!(meaning(&Judgement::default()), None);
    }

    #[test]
    fn the_state_of_a_socket_decides_nothing() {
        let sent = place("TCP_STATE", "tcp_close");
        assert_eq!(meaning(&Judgement { sent, queues: FULL, ..Judgement::default() }), None);
        let reset = place("TCP_STATE", "tcp_v4_rcv");
        assert_eq!(meaning(&Judgement { reset, queues: FULL, ..Judgement::default() }), None);
    }

    #[test]
    fn a_refused_cookie_is_an_overflow_only_beside_a_full_queue() {
        assert_eq!(dropped("NO_SOCKET", "cookie_v4_check", FULL), Some(Meaning::AcceptQueueFull));
        assert_eq!(dropped("NO_SOCKET", "cookie_v4_check", ROOM), None);
        assert_eq!(dropped("NO_SOCKET", "cookie_v4_check", None), None);
        assert_eq!(dropped("NO_SOCKET", "tcp_v4_rcv", None), Some(Meaning::NoSocket));
    }

    #[test]
    fn queues_at_the_entry_of_a_function_stand_for_what_it_does_next() {
        let at = |function: &str, queues| {
            meaning(&Judgement { at_listener: Some(function.into()), queues, ..Judgement::default() })
        };
        assert_eq!(at("tcp_conn_request", FULL), Some(Meaning::AcceptQueueFull));
        assert_eq!(at("tcp_conn_request", ROOM), None);
        let many = Some(Queues { accept: 0, syn: 129, limit: 128, without_cookies: true });
        assert_eq!(at("tcp_conn_request", many), Some(Meaning::SynQueueFull));
        // Kernels with the older rule drop this SYN, others do not.
        let at_limit = Some(Queues { accept: 0, syn: 128, limit: 128, without_cookies: true });
        assert_eq!(at("tcp_conn_request", at_limit), None);
        let answered = Some(Queues { accept: 0, syn: 129, limit: 128, without_cookies: false });
        assert_eq!(at("tcp_conn_request", answered), None);
        // The final ACK leaves the SYN queue, full or not.
        assert_eq!(at("tcp_v4_syn_recv_sock", many), None);
    }

    #[test]
    fn a_reset_at_a_full_queue_is_an_overflow() {
        let reset = || place("INVALID_SYN", "tcp_v4_rcv");
        let of = |queues| meaning(&Judgement { reset: reset(), queues, ..Judgement::default() });
        assert_eq!(of(FULL), Some(Meaning::AcceptQueueFull));
        assert_eq!(of(ROOM), None);
    }
}
