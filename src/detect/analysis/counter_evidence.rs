//! Evidence against a full accept queue: a filter on the path of some clients ignores them in the same way.
//!
//! A full queue affects every client: time decides who is ignored and who is served. If the client or the packets' way
//! decides, something else in front of the listener drops them.

use std::collections::BTreeSet;

use crate::decode::segment::Address;
use crate::detect::analysis::ignored_ack::{IgnoredAck, SAME_TIME, StuckConnection};
use crate::detect::context::DetectContext;
use crate::flow::facts::ConnectionFacts;
use crate::history::timeline::{ListenerSecond, client_bit, network_bit, ttl_bit};
use crate::time::{Span, Timestamp};

/// From this many ignored connections on, a split is not chance.
const IGNORED: usize = 3;
/// The same where each client tried once, and only the way distinguishes them.
const IGNORED_ON_ONE_WAY: usize = 5;
/// How often connections were ignored and served in turn.
const TURNS: usize = 2;
/// From this many seconds on in which SYNs were answered and nobody was served, the queue was not full for moments
/// only.
const SEVERAL_SECONDS: usize = 2;
/// In how many seconds others were served.
const SERVED: usize = 3;

/// A client that was ignored for this long has repeated its segments several times.
const ASKED_FOR: Span = Span::secs(3);

/// Evidence against a full queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CounterEvidence {
    /// The SYN-ACKs of all ignored connections took another way than their SYNs, and no such connection was served.
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
    /// The same of clients at the same distance, by the TTL of their SYNs.
    Distance {
        /// Connections that were ignored.
        ignored: usize,
    },
    /// Others were served again and again while these were ignored to the end, and no SYN was dropped.
    ServedMeanwhile {
        /// Connections that were ignored.
        ignored: usize,
        /// Connections that were served while one of them was.
        served: u32,
    },
    /// SYNs were answered at once while others were ignored, by a kernel that drops SYNs while the queue is full.
    SynsAnswered {
        /// How many.
        answered: usize,
    },
}

impl CounterEvidence {
    /// The observation, one clause.
    pub fn reason(self) -> String {
        match self {
            CounterEvidence::AnotherWay { ignored } => format!(
                "the SYN-ACKs of all {ignored} ignored connections took another way (MAC address) than their SYNs, and no such \
                 connection was served"
            ),
            CounterEvidence::Clients { clients: 1, ignored } => format!(
                "all {ignored} ignored connections are of one client, while others were served in turn with it without exception"
            ),
            CounterEvidence::Clients { clients, ignored } => format!(
                "all {ignored} ignored connections are of {clients} clients, while others were served in turn with them without \
                 exception"
            ),
            CounterEvidence::Networks { ignored } => format!(
                "all {ignored} ignored connections come from networks (/24 or /48) of which no connection was served, while others \
                 were in turn with them"
            ),
            CounterEvidence::ServedMeanwhile { ignored: 1, served } => format!(
                "{served} other connections were served at once while this one was ignored again and again, and no SYN was dropped"
            ),
            CounterEvidence::ServedMeanwhile { ignored, served } => format!(
                "none of the {ignored} ignored connections was ever taken, while {served} others were served at once, and no SYN \
                 was dropped"
            ),
            CounterEvidence::SynsAnswered { answered } => format!(
                "{answered} SYNs were answered at once while others were ignored; the server's timestamps have an offset for each \
                 connection, as of Linux 6.1 and later, which drops SYNs while the queue is full"
            ),
            CounterEvidence::Distance { ignored } => format!(
                "the SYNs of all {ignored} ignored connections have a TTL that none of the served ones has: they come another way"
            ),
        }
    }
}

/// Evidence against a full queue at the time when `f` was ignored; `None` if there is none.
///
/// It is computed for each of many thousands of connections: expensive comparisons come last.
pub fn counter_evidence(
    f: &ConnectionFacts,
    o: &IgnoredAck<'_>,
    around: &DetectContext<'_>,
) -> Option<CounterEvidence> {
    let own = o.stuck(f);
    let others = || around.others_stuck(f, o.during, SAME_TIME);
    let all = || others().chain(&own);
    let together = IgnoredTogether::of(all())?;
    let ignored = together.ignored;
    if together.another_way && around.listener.served_another_way == 0 {
        return Some(CounterEvidence::AnotherWay { ignored });
    }
    let is_split =
        |served: fn(&ListenerSecond) -> u32, own: u32| is_split(&together, all(), around, served, own);
    if ignored >= IGNORED && is_split(|s| s.clients_served, together.clients) {
        let clients = all().map(|s| s.client.address).collect::<BTreeSet<Address>>().len();
        if ignored >= 2 * clients {
            return Some(CounterEvidence::Clients { clients, ignored });
        }
    }
    if ignored >= IGNORED_ON_ONE_WAY && is_split(|s| s.networks_served, together.networks) {
        return Some(CounterEvidence::Networks { ignored });
    }
    if ignored >= IGNORED_ON_ONE_WAY && together.ttls_known && is_split(|s| s.ttls_served, together.ttls) {
        return Some(CounterEvidence::Distance { ignored });
    }
    if let Some(evidence) = served_meanwhile(o, &together, all(), around) {
        return Some(evidence);
    }
    let own_answered = own
        .and_then(|s| s.answer)
        .is_some_and(|(at, _)| others().any(|other| other.ignored.from < at && at < other.ignored.to));
    let answered = others().filter(|s| s.answered_meanwhile).count() + usize::from(own_answered);
    (answered >= IGNORED && !had_room(&together, around) && offsets_differ(all()))
        .then_some(CounterEvidence::SynsAnswered { answered })
}

/// Connections that were ignored at the same time.
struct IgnoredTogether {
    /// How many.
    ignored: usize,
    /// Whether the SYN-ACKs of all took another way than their SYNs.
    another_way: bool,
    /// The bits of their clients, of the clients' networks, and of their TTLs.
    clients: u32,
    networks: u32,
    ttls: u32,
    /// Whether the TTL of each is known.
    ttls_known: bool,
    /// Whether the server took one of them in the end.
    taken: bool,
    /// From the first ignored final ACK to the last, and to the last moment at which one of them was ignored.
    first: Timestamp,
    last: Timestamp,
    until: Timestamp,
}

impl IgnoredTogether {
    /// Sums over all of them; `None` without any.
    fn of<'a>(all: impl Iterator<Item = &'a StuckConnection>) -> Option<IgnoredTogether> {
        all.fold(None, |together, s| {
            let begun = s.during.from;
            let mut together = together.unwrap_or(IgnoredTogether {
                ignored: 0,
                another_way: true,
                clients: 0,
                networks: 0,
                ttls: 0,
                ttls_known: true,
                taken: false,
                first: begun,
                last: begun,
                until: s.ignored.to,
            });
            together.ignored += 1;
            together.another_way &= s.another_way;
            together.clients |= client_bit(s.client.address);
            together.networks |= network_bit(s.client.address);
            together.ttls |= ttl_bit(s.ttl);
            together.ttls_known &= s.ttl > 0;
            together.taken |= s.taken;
            together.first = together.first.min(begun);
            together.last = together.last.max(begun);
            together.until = together.until.max(s.ignored.to);
            Some(together)
        })
    }
}

/// How many others were served while these connections were ignored to the end, if that happened in several seconds. A
/// queue with room that often would also have accepted a client that repeats that often; a full one drops SYNs.
fn served_meanwhile<'a>(
    o: &IgnoredAck<'_>,
    together: &IgnoredTogether,
    all: impl Iterator<Item = &'a StuckConnection>,
    around: &DetectContext<'_>,
) -> Option<CounterEvidence> {
    let seconds = &around.listener.seconds;
    if together.taken || seconds.step() != 1 || o.during.to - o.during.from < ASKED_FOR {
        return None;
    }
    // A connection that was never accepted was ignored until its last repetition; each wait is as long as all waits
    // before it.
    let asked = |s: &StuckConnection| {
        let last = s.ignored.to + (s.ignored.to - s.ignored.from);
        (s.ignored.from, last.min(s.during.to))
    };
    let (from, to) = all
        .take(PAIRS)
        .map(asked)
        .max_by_key(|(from, to)| (*to - *from, *from))
        .filter(|(from, to)| *to - *from >= ASKED_FOR)?;
    let served_between = |from: Timestamp, to: Timestamp| {
        let inside =
            seconds.within(from.seconds() + 1, to.seconds() - 1).filter(|(_, second)| second.served > 0);
        inside.fold((0, 0), |(times, served), (_, second)| (times + 1, served + second.served))
    };
    let (times, _) = served_between(from, to);
    let (_, served) = served_between(together.first, together.until.max(to));
    let dropped =
        || around.activity.syns_ignored_between(from.after(Span::ZERO - SAME_TIME), to + SAME_TIME) > 0;
    (times >= SERVED && served as usize * 2 >= together.ignored && !dropped())
        .then_some(CounterEvidence::ServedMeanwhile { ignored: together.ignored, served })
}

/// Whether anybody was served while they were ignored, so that the queue may have had room for moments, or a SYN was
/// dropped. The first and the last second do not count: others may have been served before and after.
fn had_room(together: &IgnoredTogether, around: &DetectContext<'_>) -> bool {
    let (from, to) = (together.first, together.until);
    let listener = around.listener;
    if around.activity.syns_ignored_between(from, to) > 0 {
        return true;
    }
    let inside = || listener.seconds.within(from.seconds() + 1, to.seconds() - 1);
    let answered_in_several =
        || inside().filter(|(_, second)| second.answered > 0).count() >= SEVERAL_SECONDS;
    let served_inside = || inside().any(|(_, second)| second.served > 0);
    listener.between(from, to).served > 0
        && !(listener.seconds.step() == 1 && answered_in_several() && !served_inside())
}

/// At most this many connections are compared with each other.
const PAIRS: usize = 32;
/// Ticks of a TSval clock in a second, as Linux has them.
const RATES: [i64; 4] = [100, 250, 300, 1_000];

/// Whether the timestamps of two connections of one client and this listener have different offsets, so that no clock
/// of any rate explains both.
fn offsets_differ<'a>(all: impl Iterator<Item = &'a StuckConnection>) -> bool {
    let agree = |(a, b): (Timestamp, u32), (c, d): (Timestamp, u32)| {
        let ticks = i64::from(d.wrapping_sub(b) as i32);
        let elapsed = (c - a).0 / 1_000_000;
        RATES.iter().any(|rate| (ticks - elapsed * rate / 1_000).abs() <= elapsed.abs() / 10 + 100)
    };
    let differ = |one: &StuckConnection, other: &StuckConnection| {
        let (Some(a), Some(b)) = (one.answer, other.answer) else { return false };
        one.client.address == other.client.address && a.1 != 0 && b.1 != 0 && !agree(a, b)
    };
    let some: Vec<&StuckConnection> = all.take(PAIRS).collect();
    some.iter().any(|one| some.iter().any(|other| differ(one, other)))
}

/// Whether, from the first of `all` to the last, others were served in turn with them, but none of their own; `own` are
/// their bits among the `served`.
fn is_split<'a>(
    together: &IgnoredTogether,
    all: impl Iterator<Item = &'a StuckConnection>,
    around: &DetectContext<'_>,
    served: fn(&ListenerSecond) -> u32,
    own: u32,
) -> bool {
    let seconds = &around.listener.seconds;
    if seconds.step() != 1 {
        return false;
    }
    let until = together.until.max(together.last);
    let mut others = Vec::new();
    for (at, second) in seconds.within(together.first.seconds(), until.seconds()) {
        if served(second) & own != 0 {
            return false;
        }
        if second.served > 0 {
            others.push(at);
        }
    }
    if others.len() < SERVED {
        return false;
    }
    // Two of them count as ignored in turn with others if a different number of others had been served before each.
    let mut before: Vec<usize> = Vec::new();
    for s in all {
        let begun = s.during.from.seconds();
        let served = others.partition_point(|at| *at <= begun);
        if !before.contains(&served) {
            before.push(served);
        }
        if before.len() > TURNS {
            return true;
        }
    }
    false
}
