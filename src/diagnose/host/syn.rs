//! SYNs without an answer: which queue was full, or whether the SYN reached TCP at all.

use super::account::{self, Account, own_drops_clause};
use super::verdict::counted_connections;
use crate::detect::Draft;
use crate::detect::details::Details;
use crate::detect::draft::{cause, count};
use crate::detect::next;
use crate::model::{Cause, Certainty, Kind, Vantage};

/// Up to here each cookie that is sent counts as a drop of the listener, too (measured on 3.10; not on 4.9).
const COOKIES_COUNT_AS_DROPS: (u32, u32) = (4, 4);

/// The losses of listeners by the counters.
struct ListenerDrops {
    /// Accept queue full.
    overflows: u64,
    /// SYN queue full.
    full: u64,
    /// `tcp_tw_recycle`.
    timestamps: u64,
    /// Dropped by a listener, none of the above.
    others: u64,
}

impl ListenerDrops {
    /// `None`: unknown, or a kernel that does not count the SYNs that it drops (before 3.10).
    fn read(d: &mut Draft, account: &Account<'_>) -> Option<ListenerDrops> {
        let overflows = account.rise(d, account::LISTEN_OVERFLOWS)?;
        let drops = account.rise(d, account::LISTEN_DROPS)?;
        let full = account.rise(d, account::REQ_Q_FULL_DROP)?;
        let timestamps = account.rise(d, account::PAWS_PASSIVE).unwrap_or(0);
        let cookies = if account.facts.kernel().is_none_or(|kernel| kernel < COOKIES_COUNT_AS_DROPS) {
            account.rise(d, account::SYNCOOKIES_SENT).unwrap_or(0)
        } else {
            0
        };
        let others = drops.saturating_sub(overflows + full + timestamps + cookies);
        Some(ListenerDrops { overflows, full, timestamps, others })
    }

    fn none(&self) -> bool {
        self.overflows + self.full + self.timestamps + self.others == 0
    }
}

/// `syn-drop-accept-queue`, `syn-drop-syn-queue` and `syn-unanswered`: which of the three it is.
pub fn unanswered(d: &mut Draft, vantage: Vantage, account: &Account<'_>) {
    let Some(losses) = ListenerDrops::read(d, account) else { return };
    let own = account.own_drops(d);
    if losses.none() || own == Some(0) {
        return before_tcp(d, vantage, &losses, account);
    }
    let ListenerDrops { overflows, full, timestamps, others } = losses;
    let cookies_off = account.facts.setting("net.ipv4.tcp_syncookies") == Some("0");
    let was = d.kind;
    // A single counter that rose shows the cause: for certain at the host's own interface, with this very socket.
    let is_own = vantage == Vantage::Server && own.is_some();
    let sure = |kind: Kind, has_room: bool| {
        if has_room && (was == kind || is_own) { Certainty::Confirmed } else { Certainty::Probable }
    };
    if [overflows, full, others, timestamps].iter().filter(|n| **n > 0).count() > 1
        && by_own_socket(d, own, &losses, account)
    {
        return;
    }
    match (overflows > 0, full > 0, others > 0, timestamps > 0) {
        (true, false, false, false) => {
            become_kind(d, Kind::SynDropAcceptQueue, accept_queue());
            let room = account.suffices(d, own, overflows) && overflows >= d.details.ignored_syns().min(1);
            let why = format!(
                "ListenOverflows rose by {overflows} between the snapshots{}, and no other loss of a listener",
                own_drops_clause(own)
            );
            conclude(d, sure(Kind::SynDropAcceptQueue, room), why);
        }
        (false, true, false, false) => {
            become_kind(d, Kind::SynDropSynQueue, syn_queue());
            let room = own.is_some() || full >= account.found(was);
            let why = format!(
                "TCPReqQFullDrop rose by {full} between the snapshots{}, ListenOverflows did not grow",
                own_drops_clause(own)
            );
            conclude(d, sure(Kind::SynDropSynQueue, room), why);
        }
        (false, false, true, false) if cookies_off => {
            become_kind(d, Kind::SynDropSynQueue, last_quarter());
            let why = format!(
                "ListenDrops rose by {others} between the snapshots{}, ListenOverflows and TCPReqQFullDrop did not \
                 move, and tcp_syncookies is 0",
                own_drops_clause(own)
            );
            let agrees = was == Kind::SynDropSynQueue && others >= account.found(was);
            conclude(d, if agrees { Certainty::Confirmed } else { Certainty::Probable }, why);
        }
        (false, false, true, false) => {
            become_kind(d, Kind::SynUnanswered, other_loss());
            conclude(
                d,
                Certainty::Probable,
                format!(
                    "ListenDrops rose by {others} between the snapshots{}, ListenOverflows and TCPReqQFullDrop did not \
                     move",
                    own_drops_clause(own)
                ),
            );
        }
        (false, false, false, true) => {
            become_kind(d, Kind::SynDropTimestamp, recycled());
            conclude(
                d,
                Certainty::Probable,
                format!(
                    "PAWSPassive rose by {timestamps} between the snapshots{}, and no other loss of a listener",
                    own_drops_clause(own)
                ),
            );
        }
        _ => {
            d.reason = format!(
                "{}; between the snapshots ListenOverflows rose by {overflows}, TCPReqQFullDrop by {full}, ListenDrops by \
                 {others} beyond that: there was more than one cause, and the counters do not show which SYN had which",
                d.reason
            );
        }
    }
}

/// If several listeners are in trouble, the counters of the host are sums. The drops of this listener's own socket and
/// its queue show its share; returns false if they do not.
fn by_own_socket(d: &mut Draft, own: Option<u64>, losses: &ListenerDrops, account: &Account<'_>) -> bool {
    let full = d.server.and_then(|server| account.facts.accept_queue_was_full(server.socket()));
    let (Some(own @ 1..), Some(full)) = (own, full) else { return false };
    let share = account.suffices(d, Some(own), 0);
    let (counter, of_host) = match full {
        true => (account::LISTEN_OVERFLOWS, losses.overflows),
        false => (account::REQ_Q_FULL_DROP, losses.full),
    };
    if of_host == 0 || (full && of_host < own) {
        return false;
    }
    let queue = match full {
        true => {
            become_kind(d, Kind::SynDropAcceptQueue, accept_queue());
            "its accept queue was full"
        }
        false => {
            become_kind(d, Kind::SynDropSynQueue, syn_queue());
            "its accept queue was not full"
        }
    };
    let why = format!(
        "the drops of this listener's own socket rose by {own} between the snapshots, and {queue}; {}",
        counter.moved(of_host)
    );
    let agrees = share && of_host >= d.details.ignored_syns().min(1);
    conclude(d, if agrees { Certainty::Confirmed } else { Certainty::Probable }, why);
    true
}

/// Gives the finding its kind and cause; evidence for another kind is removed.
pub(in crate::diagnose) fn become_kind(d: &mut Draft, kind: Kind, cause: Cause) {
    d.kind = kind;
    d.cause = cause;
    d.alternatives.clear();
    let Some(server) = d.server else { return };
    d.next_steps = match kind {
        Kind::SynDropAcceptQueue | Kind::AcceptQueueOverflow | Kind::AcceptQueueReset => {
            next::full_accept_queue(server)
        }
        Kind::SynDropSynQueue => next::full_syn_queue(server),
        Kind::SynDropTimestamp => next::recycled_time_wait(server),
        _ => vec![
            next::listener_losses(server),
            format!(
                "dmesg -T | tail -n 50   # on {}: lack of memory, or a security module",
                server.socket().ip()
            ),
        ],
    };
}

/// Gives a finding of a full queue its cause and next steps.
pub fn blame_full_queue(d: &mut Draft) {
    let cause = match d.kind {
        Kind::AcceptQueueOverflow => cause(
            "The listener's accept queue was full, so the kernel silently dropped final ACKs.",
            &["tcp_check_req", "tcp_get_cookie_sock"],
            &["TcpExtListenOverflows", "TcpExtListenDrops"],
            &["net.core.somaxconn"],
        ),
        Kind::AcceptQueueReset => cause(
            "The listener's accept queue was full, and tcp_abort_on_overflow=1 makes the kernel answer with a RST.",
            &["tcp_check_req", "tcp_v4_send_reset"],
            &["TcpExtListenOverflows", "TcpExtListenDrops", "TcpExtEmbryonicRsts", "TcpOutRsts"],
            &["net.ipv4.tcp_abort_on_overflow", "net.core.somaxconn"],
        ),
        Kind::SynDropAcceptQueue => accept_queue(),
        _ => syn_queue(),
    };
    become_kind(d, d.kind, cause);
}

/// Gives the finding its certainty: confirmed, or probable if other connections may have moved the counters.
fn conclude(d: &mut Draft, certainty: Certainty, why: String) {
    if certainty == Certainty::Confirmed {
        d.confirmed(why);
    } else {
        d.probable(why);
        d.or(
            "The network or a firewall dropped the SYN, and the counters grew for other connections.",
            "The counters are those of the whole host.",
        );
    }
}

pub(in crate::diagnose) fn accept_queue() -> Cause {
    cause(
        "The listener's accept queue was full, so the kernel silently dropped the SYN.",
        &["tcp_conn_request"],
        &["TcpExtListenOverflows", "TcpExtListenDrops"],
        &["net.core.somaxconn"],
    )
}

pub(in crate::diagnose) fn syn_queue() -> Cause {
    cause(
        "The listener's SYN queue was full and syncookies are off, so the kernel silently dropped the SYN.",
        &["tcp_conn_request", "inet_csk_reqsk_queue_is_full"],
        &["TcpExtTCPReqQFullDrop", "TcpExtListenDrops"],
        &["net.ipv4.tcp_syncookies", "net.ipv4.tcp_max_syn_backlog", "net.core.somaxconn"],
    )
}

fn last_quarter() -> Cause {
    cause(
        "Syncookies are off and less than a quarter of tcp_max_syn_backlog was free. The kernel keeps that quarter for \
         known hosts, so it dropped the SYN.",
        &["tcp_conn_request", "tcp_peer_is_proven"],
        &["TcpExtListenDrops"],
        &["net.ipv4.tcp_syncookies", "net.ipv4.tcp_max_syn_backlog"],
    )
}

fn other_loss() -> Cause {
    cause(
        "The listener dropped the SYN for another reason than a full queue: no memory, no route back, a security \
         module.",
        &["tcp_conn_request"],
        &["TcpExtListenDrops"],
        &[],
    )
}

fn recycled() -> Cause {
    cause(
        "The server runs with tcp_tw_recycle=1: it drops SYNs whose timestamp is older than the last one of the same address.",
        &["tcp_conn_request", "tcp_peer_is_proven"],
        &["TcpExtPAWSPassive", "TcpExtListenDrops"],
        &["net.ipv4.tcp_tw_recycle", "net.ipv4.tcp_timestamps"],
    )
}

/// No listener lost anything (or not this one): the SYN did not reach TCP, or the answer did not leave the host.
fn before_tcp(d: &mut Draft, vantage: Vantage, losses: &ListenerDrops, account: &Account<'_>) {
    d.kind = Kind::SynUnanswered;
    d.alternatives.clear();
    let why = if losses.none() {
        "ListenOverflows, ListenDrops and TCPReqQFullDrop did not grow between the snapshots".to_owned()
    } else {
        "listeners of this host dropped segments between the snapshots, but the socket of this one did not"
            .to_owned()
    };
    let by_path = account.rise(d, account::REVERSE_PATH_FILTER).filter(|&n| n > 0);
    let answered = half_open(d, account).filter(|_| by_path.is_none() && vantage == Vantage::Server);
    let why = match answered {
        Some(n) => {
            format!("{why}; {} of this listener wait for an ACK (SYN_RECV)", count(n.into(), "handshake"))
        }
        None => why,
    };
    let timeouts = account.rise(d, account::TIMEOUTS);
    d.cause = match (by_path, vantage) {
        (Some(_), Vantage::Server) => cause(
            "Reverse-path filtering on the server dropped the SYN: the route back does not use the interface on which \
             it arrived.",
            &["fib_validate_source"],
            &["TcpExtIPReversePathFilter"],
            &["net.ipv4.conf.all.rp_filter"],
        ),
        (None, Vantage::Server) if answered.is_some() => cause(
            "A firewall on the server dropped the SYN, or the SYN-ACK on its way out.",
            &["nf_hook_slow"],
            &[],
            &[],
        ),
        (None, Vantage::Server) => {
            cause("A firewall on the server dropped the SYN before TCP saw it.", &["nf_hook_slow"], &[], &[])
        }
        (_, Vantage::Client | Vantage::Between | Vantage::Unknown) => cause(
            "The SYN did not reach the server's TCP: a firewall or the network dropped it.",
            &["nf_hook_slow"],
            &[],
            &[],
        ),
    };
    match by_path {
        Some(n) => {
            d.probable(format!("{why}; IPReversePathFilter rose by {n}"));
            d.or("A firewall dropped the SYN.", "Its rule counters show it.");
        }
        None => {
            d.probable(why);
        }
    }
    if vantage == Vantage::Server && answered.is_none() {
        d.or(
            "The server sent a SYN-ACK, and a firewall dropped it on its way out.",
            match timeouts {
                Some(0) => "Then its timer would have run out, but TCPTimeouts did not grow.",
                _ => "Then TCPTimeouts grows, which also has other reasons.",
            },
        );
    }
    let Some(server) = d.server else { return };
    d.next_steps = vec![next::filter_rules(server), next::listener(server)];
    if by_path.is_some() {
        let ip = server.socket().ip();
        let back = d.client.map(|client| client.socket().ip().to_string()).unwrap_or_default();
        d.next_steps.insert(
            0,
            format!("ip route get {back}   # on {ip}: is it the interface on which the SYN arrives?"),
        );
    }
}

/// Handshakes that the listener has answered and that wait for their ACK, if there are any.
fn half_open(d: &Draft, account: &Account<'_>) -> Option<u32> {
    let states = account.facts.latest().states.as_ref()?;
    states.get(&d.server?.socket()).map(|states| states.syn_recv).filter(|n| *n > 0)
}

/// SYNs that the rule of `tcp_tw_recycle` explains.
fn explained_syns(d: &Draft) -> u64 {
    match d.details {
        Details::OldTimestamps { explained } => explained,
        _ => 0,
    }
}

/// `syn-drop-timestamp`: `tcp_tw_recycle` moves `PAWSPassive`; a kernel without either cannot have done it.
pub fn timestamp(d: &mut Draft, account: &Account<'_>) {
    const RECYCLE: &str = "net.ipv4.tcp_tw_recycle";
    let facts = account.facts;
    let dropped = account.rise(d, account::PAWS_PASSIVE);
    let not_it = if facts.lacks_counter(account::PAWS_PASSIVE.name) && facts.lacks_setting(RECYCLE) {
        let kernel = facts.latest().kernel.clone().unwrap_or_else(|| "this one".to_owned());
        Some(format!("the server's kernel ({kernel}) has no tcp_tw_recycle: it is gone since Linux 4.12"))
    } else if facts.setting(RECYCLE) == Some("0") {
        Some("tcp_tw_recycle is 0 on the server".to_owned())
    } else if dropped == Some(0) {
        Some("PAWSPassive did not grow between the snapshots".to_owned())
    } else {
        None
    };
    if let Some(not_it) = not_it {
        d.cause = cause(
            "A NAT or firewall in front of the server drops SYNs with older timestamps, or the network lost them.",
            &[],
            &[],
            &[],
        );
        d.alternatives.clear();
        d.or(
            "Another host answers on this address.",
            "The snapshots come from a host that has this address.",
        );
        d.possible(not_it);
        d.next_steps =
            vec!["Capture before and behind each NAT, firewall and load balancer on the path: after which one are the SYNs missing?".to_owned()];
        return;
    }
    let Some(dropped) = dropped else { return };
    if dropped >= explained_syns(d).max(1) {
        let set = facts.setting(RECYCLE).map(|v| format!(", tcp_tw_recycle is {v}")).unwrap_or_default();
        d.confirmed(format!(
            "PAWSPassive rose by {dropped} between the snapshots{set}; {}",
            counted_connections(account.found(d.kind), "hit")
        ));
        d.alternatives.clear();
    } else {
        d.reason = format!("{}; PAWSPassive rose by only {dropped} between the snapshots", d.reason);
    }
}
