//! Counters that decide about findings, and how much they must have risen if the findings are right.

use std::collections::BTreeMap;

use crate::detect::details::Details;
use crate::detect::{Draft, FoundDraft};
use crate::flow::key::Host;
use crate::host::HostFacts;
use crate::model::{Kind, Vantage};

/// A counter of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counter {
    /// As `nstat` names it.
    pub name: &'static str,
    /// As people name it.
    pub short: &'static str,
    /// The metric of a finding that holds its rise.
    pub metric: &'static str,
}

impl Counter {
    /// `ListenOverflows rose by 37`, `ListenOverflows did not grow`.
    pub fn moved(&self, rise: u64) -> String {
        match rise {
            0 => format!("{} did not grow", self.short),
            _ => format!("{} rose by {rise}", self.short),
        }
    }
}

macro_rules! counters {
    ($($id:ident = $prefix:literal $short:literal: $doc:literal)+) => {$(
        #[doc = $doc]
        pub const $id: Counter = Counter {
            name: concat!($prefix, $short),
            short: $short,
            metric: concat!("host_", $short),
        };
    )+};
}

counters! {
    LISTEN_OVERFLOWS = "TcpExt" "ListenOverflows": "Accept queue full: at the final ACK in all versions, at the SYN from 3.10 on."
    LISTEN_DROPS = "TcpExt" "ListenDrops": "Everything that a listener loses; SYNs from 3.10 on."
    REQ_Q_FULL_DROP = "TcpExt" "TCPReqQFullDrop": "SYN queue full and syncookies off; from 3.10 on."
    PAWS_PASSIVE = "TcpExt" "PAWSPassive": "SYN dropped by `tcp_tw_recycle`; gone since 4.12."
    EMBRYONIC_RSTS = "TcpExt" "EmbryonicRsts": "Half-open request ended by a RST, sent or received."
    OUT_RSTS = "Tcp" "OutRsts": "RSTs sent by TCP; those of a firewall rule are not among them."
    SYNCOOKIES_SENT = "TcpExt" "SyncookiesSent": "SYN-ACKs that were cookies."
    DEFER_ACCEPT_DROP = "TcpExt" "TCPDeferAcceptDrop": "Bare final ACK put off by `TCP_DEFER_ACCEPT`; from 3.10 on."
    ABORT_ON_DATA = "TcpExt" "TCPAbortOnData": "close() with `SO_LINGER` 0, or data after close()."
    ABORT_ON_CLOSE = "TcpExt" "TCPAbortOnClose": "close() with unread data."
    ABORT_ON_MEMORY = "TcpExt" "TCPAbortOnMemory": "Connection ended for lack of memory or too many orphans."
    TIME_WAIT_OVERFLOW = "TcpExt" "TCPTimeWaitOverflow": "TIME_WAIT not entered: `tcp_max_tw_buckets`; from 3.10 on."
    FAST_OPEN_FAIL = "TcpExt" "TCPFastOpenPassiveFail": "Fast Open with a cookie that was refused."
    FAST_OPEN_OVERFLOW = "TcpExt" "TCPFastOpenListenOverflow": "Fast Open refused: too many of them pending."
    REVERSE_PATH_FILTER = "TcpExt" "IPReversePathFilter": "Packet dropped by `rp_filter`."
    TIMEOUTS = "TcpExt" "TCPTimeouts": "Timers that ran out, those of SYN-ACKs among them from 3.10 on."
}

/// The metric that holds the listener's own drops.
pub const OWN_DROPS: &str = "host_listener_drops";

/// The host's counters, compared with the findings about it.
pub struct Account<'a> {
    /// What the host knows.
    pub facts: &'a HostFacts,
    /// Findings of each kind.
    found: BTreeMap<Kind, u64>,
    /// The least number of segments dropped at each listener, if all findings are right.
    dropped: BTreeMap<Host, u64>,
    /// The least number of final ACKs refused by full accept queues, if all findings are right.
    acks: u64,
    /// SYNs refused by them.
    syns: u64,
}

impl<'a> Account<'a> {
    /// Adds up the findings about this host.
    pub fn new<'d>(facts: &'a HostFacts, drafts: impl Iterator<Item = &'d FoundDraft>) -> Account<'a> {
        let mut account =
            Account { facts, found: BTreeMap::new(), dropped: BTreeMap::new(), acks: 0, syns: 0 };
        for (d, vantage) in drafts {
            *account.found.entry(d.kind).or_default() += 1;
            // In a capture that was not taken at the server, a segment may have been lost before it could be counted.
            let all = |count: u64| if *vantage == Vantage::Server { count } else { 0 };
            let (acks, syns) = match d.kind {
                Kind::AcceptQueueOverflow => (1 + all(repeated_syn_acks(d)), 0),
                Kind::AcceptQueueReset => (1, 0),
                Kind::SynDropAcceptQueue | Kind::SynDropSynQueue => (0, all(d.details.ignored_syns()).max(1)),
                _ => continue,
            };
            account.acks += acks;
            account.syns += if d.kind == Kind::SynDropAcceptQueue { syns } else { 0 };
            if let Some(server) = d.server {
                *account.dropped.entry(server).or_default() += acks + syns;
            }
        }
        account
    }

    /// The rise of `counter`; it is added to the finding's metrics. `None` is unknown.
    pub fn rise(&self, d: &mut Draft, counter: Counter) -> Option<u64> {
        let rise = self.facts.rise(counter.name)?;
        d.note_host_counter(counter.metric, rise);
        Some(rise)
    }

    /// The drops of the finding's own listener; they are added to the metrics. `None` is unknown.
    pub fn own_drops(&self, d: &mut Draft) -> Option<u64> {
        let drops = self.facts.listener_drops(d.server?.socket())?;
        d.note_host_counter(OWN_DROPS, drops);
        Some(drops)
    }

    /// How many findings have this kind.
    pub fn found(&self, kind: Kind) -> u64 {
        self.found.get(&kind).copied().unwrap_or(0)
    }

    /// Whether the counters are large enough for the findings: the listener's own drops if they are known, otherwise
    /// all overflows of the host.
    pub fn suffices(&self, d: &Draft, own: Option<u64>, overflows: u64) -> bool {
        match own {
            Some(own) => own >= d.server.and_then(|s| self.dropped.get(&s).copied()).unwrap_or(1),
            None => overflows >= self.claimed(d.kind),
        }
    }

    /// The least number of segments refused by full accept queues, if the findings of this kind are right. A SYN may
    /// instead have met a full SYN queue, so only final ACKs count for certain.
    pub fn claimed(&self, kind: Kind) -> u64 {
        match kind {
            Kind::AcceptQueueOverflow | Kind::AcceptQueueReset => self.acks,
            _ => self.acks + self.syns,
        }
    }
}

/// SYN-ACKs that the server sent again although the client had answered.
fn repeated_syn_acks(d: &Draft) -> u64 {
    match d.details {
        Details::IgnoredAck(ignored) => ignored.syn_acks,
        _ => 0,
    }
}

/// The clause about the listener's own drops.
pub fn own_drops_clause(own: Option<u64>) -> String {
    own.map(|own| format!(", the drops of this listener's own socket by {own}")).unwrap_or_default()
}
