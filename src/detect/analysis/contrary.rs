//! What speaks against a full accept queue: a filter on the path of some clients ignores them in the same way.
//!
//! A queue that is full is full for everybody: who is ignored and who is served is then a matter of time. Where it is a matter of
//! who asks, or of the way that the packets take, something stands before the listener.

use std::collections::BTreeSet;

use crate::decode::segment::Address;
use crate::detect::analysis::ignored_ack::{IgnoredAck, SAME_TIME, Stuck};
use crate::detect::context::DetectContext;
use crate::flow::facts::ConnectionFacts;
use crate::history::timeline::{Second, client_bit, network_bit, ttl_bit};
use crate::time::{Span, Timestamp};

/// Ignored connections from which on a split is no accident.
const IGNORED: usize = 3;
/// The same where each client tried once, and only the way tells them apart.
const IGNORED_ON_ONE_WAY: usize = 5;
/// How often connections were ignored and served in turn.
const TURNS: usize = 2;
/// Seconds in which others were served.
const SERVED: usize = 3;

/// What speaks against a full queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contrary {
    /// The SYN-ACKs of all that were ignored took another way than their SYNs, and no such connection was served.
    AnotherWay {
        /// Connections that were ignored.
        ignored: usize,
    },
    /// Some clients were ignored and others served, in turn and without exception.
    Clients {
        /// Clients that were ignored.
        clients: usize,
        /// Connections of theirs.
        ignored: usize,
    },
    /// The same of the clients of some networks.
    Networks {
        /// Connections that were ignored.
        ignored: usize,
    },
    /// The same of clients as far away as each other, by the TTL of their SYNs.
    Distance {
        /// Connections that were ignored.
        ignored: usize,
    },
    /// SYNs were answered at once while others were ignored, by a kernel that drops SYNs while the queue is full.
    SynsAnswered {
        /// How many.
        answered: usize,
    },
}

impl Contrary {
    /// The observation, one clause.
    pub fn reason(self) -> String {
        match self {
            Contrary::AnotherWay { ignored } => format!(
                "the SYN-ACKs of all {ignored} ignored connections took another way (MAC address) than their SYNs, and no such \
                 connection was served"
            ),
            Contrary::Clients { clients: 1, ignored } => format!(
                "all {ignored} ignored connections are of one client, while others were served in turn with it without exception"
            ),
            Contrary::Clients { clients, ignored } => format!(
                "all {ignored} ignored connections are of {clients} clients, while others were served in turn with them without \
                 exception"
            ),
            Contrary::Networks { ignored } => format!(
                "all {ignored} ignored connections come from networks (/24 or /48) of which no connection was served, while others \
                 were in turn with them"
            ),
            Contrary::SynsAnswered { answered } => format!(
                "{answered} SYNs were answered at once while others were ignored; the server's timestamps have an offset for each \
                 connection, as of Linux 6.1 and later, which drops SYNs while the queue is full"
            ),
            Contrary::Distance { ignored } => format!(
                "the SYNs of all {ignored} ignored connections have a TTL that none of the served ones has: they come another way"
            ),
        }
    }
}

/// What speaks against a full queue where `f` was ignored; `None` if nothing does.
pub fn contrary(f: &ConnectionFacts, o: &IgnoredAck<'_>, around: &DetectContext<'_>) -> Option<Contrary> {
    let mut all: Vec<Stuck> = around.others_stuck(f, o.during, SAME_TIME).copied().collect();
    all.extend(o.stuck(f));
    if all.is_empty() {
        return None;
    }
    let ignored = all.len();
    if all.iter().all(|s| s.another_way) && around.listener.served_another_way == 0 {
        return Some(Contrary::AnotherWay { ignored });
    }
    let clients: BTreeSet<Address> = all.iter().map(|s| s.client.address).collect();
    let own = all.iter().fold(0, |bits, s| bits | client_bit(s.client.address));
    if ignored >= IGNORED && ignored >= 2 * clients.len() && is_split(&all, around, |s| s.clients_served, own)
    {
        return Some(Contrary::Clients { clients: clients.len(), ignored });
    }
    let own = all.iter().fold(0, |bits, s| bits | network_bit(s.client.address));
    if ignored >= IGNORED_ON_ONE_WAY && is_split(&all, around, |s| s.networks_served, own) {
        return Some(Contrary::Networks { ignored });
    }
    let own = all.iter().fold(0, |bits, s| bits | ttl_bit(s.ttl));
    let known = all.iter().all(|s| s.ttl > 0);
    if ignored >= IGNORED_ON_ONE_WAY && known && is_split(&all, around, |s| s.ttls_served, own) {
        return Some(Contrary::Distance { ignored });
    }
    let answered = answered_meanwhile(&all, around);
    (answered >= IGNORED && offsets_differ(&all)).then_some(Contrary::SynsAnswered { answered })
}

/// How many of `all` had their SYN answered while others of them were being ignored; none if anybody was served meanwhile, so that the
/// queue may have had room for moments, or a SYN was dropped.
fn answered_meanwhile(all: &[Stuck], around: &DetectContext<'_>) -> usize {
    let (Some(from), Some(to)) =
        (all.iter().map(|s| s.during.from).min(), all.iter().map(|s| s.ignored.to).max())
    else {
        return 0;
    };
    let drains = around.listener.between(from, to).served > 0;
    let drops = around.activity.ignored.iter().any(|i| i.during.meets(from, to, Span::ZERO));
    if drains || drops {
        return 0;
    }
    let meanwhile = |s: &&Stuck| {
        s.answer.is_some_and(|(at, _)| {
            all.iter()
                .any(|other| other.client != s.client && other.ignored.from < at && at < other.ignored.to)
        })
    };
    all.iter().filter(meanwhile).count()
}

/// At most this many connections are compared with each other.
const PAIRS: usize = 32;
/// Ticks of a TSval clock in a second, as Linux has them.
const RATES: [i64; 4] = [100, 250, 300, 1_000];

/// Whether the timestamps of two connections of one client and this listener have different offsets: no clock of any rate has ticked
/// from the one to the other.
fn offsets_differ(all: &[Stuck]) -> bool {
    let agree = |(a, b): (Timestamp, u32), (c, d): (Timestamp, u32)| {
        let ticks = i64::from(d.wrapping_sub(b) as i32);
        let elapsed = (c - a).0 / 1_000_000;
        RATES.iter().any(|rate| (ticks - elapsed * rate / 1_000).abs() <= elapsed.abs() / 10 + 100)
    };
    let differ = |one: &Stuck, other: &Stuck| {
        let (Some(a), Some(b)) = (one.answer, other.answer) else { return false };
        one.client.address == other.client.address && a.1 != 0 && b.1 != 0 && !agree(a, b)
    };
    all.iter().take(PAIRS).any(|one| all.iter().take(PAIRS).any(|other| differ(one, other)))
}

/// Whether, from the first of `all` on to the last, others were served in turn with them and nobody of their own: `own` are their
/// bits among the `served`.
fn is_split(all: &[Stuck], around: &DetectContext<'_>, served: impl Fn(&Second) -> u32, own: u32) -> bool {
    let seconds = &around.listener.seconds;
    let mut begun: Vec<i64> = all.iter().map(|s| s.during.from.seconds()).collect();
    begun.sort_unstable();
    let until = all.iter().map(|s| s.ignored.to.seconds()).max();
    let (Some(&first), Some(&last), Some(until), 1) = (begun.first(), begun.last(), until, seconds.step())
    else {
        return false;
    };
    let meanwhile = || seconds.iter().filter(move |(at, _)| (first..=until.max(last)).contains(at));
    if meanwhile().any(|(_, second)| served(second) & own != 0) {
        return false;
    }
    let others: Vec<i64> = meanwhile().filter(|(_, second)| second.served > 0).map(|(at, _)| at).collect();
    let turns = begun.windows(2).filter(|two| others.iter().any(|at| (two[0] + 1..=two[1]).contains(at)));
    others.len() >= SERVED && turns.count() >= TURNS
}
