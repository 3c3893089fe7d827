//! Classes of remarkable connections. A bounded number of each class is examined one by one; the others are counted.

use crate::flow::facts::ConnectionFacts;
use crate::flow::key::{Host, Map};
use crate::flow::outcome::Outcome;
use crate::time::Timestamp;

/// Remarkable connections of one class that are only counted.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct CountedOnly {
    /// How many.
    pub connections: u64,
    /// How many of them failed.
    pub failed: u64,
    /// The last packet of them.
    pub last: Timestamp,
}

impl CountedOnly {
    /// Counts some more.
    pub fn add(&mut self, more: CountedOnly) {
        self.connections += more.connections;
        self.failed += more.failed;
        self.last = self.last.max(more.last);
    }

    /// Counts one connection that is not kept.
    pub fn of(f: &ConnectionFacts) -> CountedOnly {
        CountedOnly::one(Outcome::of(f, f.watched), f.last.time)
    }

    /// One connection; its outcome says whether it failed.
    pub fn one(outcome: Outcome, last: Timestamp) -> CountedOnly {
        CountedOnly { connections: 1, failed: u64::from(outcome.is_failure()), last }
    }
}

/// Counts of remarkable connections that are not examined one by one, of a bounded number of classes.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct CountedOnlyByClass {
    /// By class, for the classes that came first.
    pub of: Map<TriageClass, CountedOnly>,
    /// Those of all further classes.
    pub others: u64,
    /// How many of those failed, the refused ones not counted.
    pub others_failed: u64,
    /// How many of those were refused.
    pub others_refused: u64,
}

impl CountedOnlyByClass {
    /// Counts some more of `class`; at most `most` classes are told apart.
    pub fn add(&mut self, class: TriageClass, some: CountedOnly, most: usize) {
        if self.of.len() < most || self.of.contains_key(&class) {
            self.of.entry(class).or_default().add(some);
        } else {
            self.others += some.connections;
            *if class.is_refused() { &mut self.others_refused } else { &mut self.others_failed } +=
                some.failed;
        }
    }

    /// Adds what another triage has counted.
    pub fn merge(&mut self, other: CountedOnlyByClass, most: usize) {
        let mut of: Vec<_> = other.of.into_iter().collect();
        of.sort_unstable_by_key(|(class, _)| *class);
        of.into_iter().for_each(|(class, some)| self.add(class, some, most));
        self.others += other.others;
        self.others_failed += other.others_failed;
        self.others_refused += other.others_refused;
    }

    /// How many connections in all.
    pub fn connections(&self) -> u64 {
        self.of.values().map(|some| some.connections).sum::<u64>() + self.others
    }
}

/// How classes share the room. A scan makes a class of each port: the more classes there are, the more of them are
/// grouped.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Grouping {
    /// Each class is a group of its own.
    #[default]
    Listener,
    /// Classes of one kind at one server address are a group.
    Server,
    /// Classes of one kind are a group.
    Kind,
}

impl Grouping {
    /// The group of a class, named by the first class that could be in it.
    pub(super) fn of(self, class: TriageClass) -> TriageClass {
        match self {
            Grouping::Listener => class,
            Grouping::Server => TriageClass { server: Host { port: 0, ..class.server }, ..class },
            Grouping::Kind => TriageClass { server: Host::default(), ..class },
        }
    }

    /// The next coarser one.
    pub(super) fn coarser(self) -> Option<Grouping> {
        match self {
            Grouping::Listener => Some(Grouping::Server),
            Grouping::Server => Some(Grouping::Kind),
            Grouping::Kind => None,
        }
    }
}

/// A remarkable connection.
pub type RemarkableConnection = (TriageClass, Box<ConnectionFacts>);

/// What makes a connection remarkable, roughly: there may be very many of one kind at one listener.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct TriageClass {
    pub(super) server: Host,
    pub(super) sign: RemarkableSign,
}

/// Why a connection is remarkable: the first of these that applies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
#[repr(u8)]
pub(super) enum RemarkableSign {
    /// Its SYN drew a RST or an ICMP error.
    Refused,
    /// Its SYN was sent again, and the handshake never completed.
    SynRepeated,
    /// The handshake never completed.
    Incomplete,
    /// A RST followed the handshake before the server had sent any payload.
    ResetAtOnce,
    /// Something was sent again after the final ACK.
    AckIgnored,
    /// Its SYN was sent again, and the handshake completed.
    OpenedLate,
    /// A RST ended it.
    Reset,
    /// Anything else.
    Other,
    /// A server with `tcp_tw_recycle` would have dropped its SYN.
    OldTimestamp,
}

/// Whether a server with `tcp_tw_recycle` would have dropped a SYN of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TwRecycleSuspicion {
    /// Not known yet: not all SYNs up to then were judged.
    Unjudged,
    /// No.
    Clear,
    /// Yes.
    Dropped,
}

impl TriageClass {
    /// Whether these are connections that were refused.
    pub fn is_refused(self) -> bool {
        self.sign == RemarkableSign::Refused
    }

    /// The class of a remarkable connection.
    pub(super) fn of(f: &ConnectionFacts, suspicion: TwRecycleSuspicion) -> TriageClass {
        let refused = f.s.resets > 0;
        let sign = match f.final_ack {
            None if refused || f.icmp.is_some() => RemarkableSign::Refused,
            None if suspicion == TwRecycleSuspicion::Dropped => RemarkableSign::OldTimestamp,
            None if f.syn.count > 1 => RemarkableSign::SynRepeated,
            None => RemarkableSign::Incomplete,
            Some(_) if refused && f.progress.is_none() => RemarkableSign::ResetAtOnce,
            Some(_) if f.unanswered.retransmits > 0 || f.syn_ack.count > 1 => RemarkableSign::AckIgnored,
            Some(_) if f.syn.count > 1 => RemarkableSign::OpenedLate,
            Some(_) if f.c.resets + f.s.resets > 0 => RemarkableSign::Reset,
            Some(_) => RemarkableSign::Other,
        };
        TriageClass { server: f.server, sign }
    }
}

/// Chooses the remarkable connections of `all` that are examined one by one: all of them, or the first of each group of
/// classes, `limit` together. The others are counted.
pub fn choose(all: &mut Vec<RemarkableConnection>, limit: usize, left_out: &mut CountedOnlyByClass) {
    all.sort_unstable_by_key(|(_, f)| (f.first, f.client, f.server));
    let mut grouping = Grouping::default();
    let mut counts: Map<TriageClass, usize> = Map::default();
    loop {
        counts.clear();
        for (class, _) in all.iter() {
            *counts.entry(grouping.of(*class)).or_default() += 1;
        }
        match grouping.coarser() {
            Some(coarser) if counts.len() > limit => grouping = coarser,
            _ => break,
        }
    }
    let fits = |quota: usize| counts.values().map(|n| (*n).min(quota)).sum::<usize>() <= limit;
    let (mut low, mut high) = (1, all.len());
    while low < high {
        let middle = (low + high).div_ceil(2);
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    let quota = low;
    counts.clear();
    all.retain(|(class, f)| {
        let n = counts.entry(grouping.of(*class)).or_default();
        *n += 1;
        let stays = *n <= quota;
        if !stays {
            left_out.add(*class, CountedOnly::of(f), limit);
        }
        stays
    });
}
