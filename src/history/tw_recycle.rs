//! What a server with `tcp_tw_recycle=1` would remember of each client host, and which SYNs it would therefore drop.
//!
//! The rule, as measured on 3.10, RHEL 7, 4.9 and 4.10 kernels: a connection that the *server* closes first leaves
//! the client's last TSval and the second in which it came, one record per host pair. A SYN is dropped in silence when
//!
//! ```text
//! seconds(now) - seconds(record) < 60   and   signed32(record.TSval - SYN.TSval) > 1
//! ```
//!
//! (`tcp_peer_is_proven`, `TCP_PAWS_MSL`, `TCP_PAWS_WINDOW`; gone in Linux 4.12). RHEL 7 and 4.2 to 4.11 also drop a
//! SYN *without* timestamps while a record is fresh. SYNs that match a TIME_WAIT socket are not asked.
//!
//! The replay says "would explain", never "is on": a server whose kernel has no such rule answers SYNs that the rule
//! would drop, and each answer is evidence against it.

use crate::decode::segment::{Address, PacketId};
use crate::flow::facts::PacketRef;
use crate::flow::key::Map;
use crate::flow::peer::{PeerEvent, PeerEventKind};
use crate::history::host_pairs::{HostPair, HostPairMap};
use crate::time::Timestamp;

/// How long a record counts, whole seconds (`TCP_PAWS_MSL`).
const FRESH_SECONDS: i64 = 60;
/// How far a SYN may lie behind, timestamp ticks (`TCP_PAWS_WINDOW`).
const WINDOW: i32 = 1;
/// Events that are looked up together.
const TOGETHER: usize = 16;
/// SYNs held for judgement at once; further ones are not judged.
const KEPT: usize = 1 << 18;

/// The hosts of an event.
fn pair_of(e: &PeerEvent) -> HostPair {
    HostPair { client: e.client, server: e.server.address }
}

/// What the server would remember.
#[derive(Clone, Copy, Debug)]
struct PeerTimestamp {
    tsval: u32,
    at: PacketRef,
}

/// A SYN that the rule would drop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct PawsSuspect {
    /// The SYN.
    pub at: PacketRef,
    /// How far behind the record its TSval lies, ticks; `None` when it carried no timestamps.
    pub behind: Option<i32>,
    /// The segment that made the record.
    pub record: PacketRef,
    /// TSval of the record.
    pub record_tsval: u32,
    /// Its four-tuple may have been in TIME_WAIT. Then the rule was not applied to it, and an answer proves nothing.
    pub in_time_wait: bool,
}

/// The answers to the SYNs of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub enum SynFate {
    /// This SYN drew a SYN-ACK; those before it drew nothing.
    Accepted(PacketRef),
    /// None of them drew anything.
    Unanswered,
    /// They drew a RST, an ICMP error or a bare ACK, or their answer is not known: they prove nothing.
    NoEvidence,
}

/// Counts of the SYNs of one host pair, by their answers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct SynFateCounts {
    /// SYNs with a fresh record that the rule lets pass.
    pub passing: u32,
    /// SYNs with timestamps that the rule would drop, and that were answered: evidence against the rule.
    pub answered_behind: u32,
    /// The same of SYNs without timestamps.
    pub answered_without: u32,
    /// SYNs with timestamps that the rule would drop, and that were not answered.
    pub dropped_behind: u32,
    /// The same of SYNs without timestamps.
    pub dropped_without: u32,
    /// Connections with at least one such SYN: a SYN and its repetitions are one case, not several.
    pub dropped_connections: u32,
}

impl SynFateCounts {
    /// Adds up two.
    pub fn plus(self, other: SynFateCounts) -> SynFateCounts {
        SynFateCounts {
            passing: self.passing + other.passing,
            answered_behind: self.answered_behind + other.answered_behind,
            answered_without: self.answered_without + other.answered_without,
            dropped_behind: self.dropped_behind + other.dropped_behind,
            dropped_without: self.dropped_without + other.dropped_without,
            dropped_connections: self.dropped_connections + other.dropped_connections,
        }
    }
}

/// The replayed memory of all servers.
#[derive(Clone, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct TwRecycleModel {
    #[cfg_attr(feature = "fleet", serde(skip))]
    records: HostPairMap<PeerTimestamp>,
    /// SYNs that the rule would drop, by connection.
    suspect: Map<PacketId, (HostPair, Vec<PawsSuspect>)>,
    tallies: HostPairMap<SynFateCounts>,
    /// The same by server address.
    by_server: Map<Address, SynFateCounts>,
    #[cfg_attr(feature = "fleet", serde(skip))]
    swept: i64,
    /// Pairs that may have a record.
    #[cfg_attr(feature = "fleet", serde(skip))]
    noted: PairFilter,
    /// Records were dropped since `noted` was begun.
    #[cfg_attr(feature = "fleet", serde(skip))]
    renew: bool,
    /// How many records there may be, and as many tallies and connections under suspicion; 0 for any number.
    most: usize,
    unfollowed: u64,
    /// The tallies before the last [`TwRecycleModel::forget_before`], by pair and by server.
    #[cfg_attr(feature = "fleet", serde(skip))]
    earlier: (HostPairMap<SynFateCounts>, Map<Address, SynFateCounts>),
}

impl TwRecycleModel {
    /// The pairs that `events` will make records for.
    pub fn pairs<'e>(events: impl Iterator<Item = &'e PeerEvent>) -> impl Iterator<Item = HostPair> {
        events.filter(|e| e.what == PeerEventKind::Remembered && e.tsval.is_some()).map(pair_of)
    }

    /// Notes [`TwRecycleModel::pairs`]: all of them must be known before any is asked about.
    pub fn expect<'p>(&mut self, pairs: impl Iterator<Item = &'p HostPair>) {
        if std::mem::take(&mut self.renew) {
            self.noted = PairFilter::default();
            self.records.pairs().for_each(|pair| self.noted.insert(pair));
        }
        pairs.for_each(|pair| self.noted.insert(*pair));
    }

    /// Whether the event can change anything: a SYN counts only where the pair may have a record.
    pub fn concerns(&self, e: &PeerEvent) -> bool {
        e.what == PeerEventKind::Remembered || self.noted.contains(pair_of(e))
    }

    /// Replays events, in order of time.
    pub fn replay(&mut self, events: &[&PeerEvent]) {
        for few in events.chunks(TOGETHER) {
            // Looking up a few first lets the processor fetch all their records at once.
            let known = |e: &&PeerEvent| {
                let pair = pair_of(e);
                let record = self.records.get(pair).map_or(0, |record| record.tsval);
                record.wrapping_add(self.tallies.get(pair).map_or(0, |tally| tally.passing))
            };
            std::hint::black_box(few.iter().map(known).fold(0, u32::wrapping_add));
            for e in few {
                let pair = pair_of(e);
                match e.what {
                    PeerEventKind::Remembered => {
                        let Some(tsval) = e.tsval else { continue };
                        self.remember(pair, tsval, e.at);
                    }
                    PeerEventKind::Syn { .. } => self.check_syn(pair, e),
                }
            }
        }
    }

    /// A memory of at most `pairs` host pairs at once.
    pub fn within(pairs: usize) -> TwRecycleModel {
        TwRecycleModel { most: pairs, ..TwRecycleModel::default() }
    }

    /// Closes that left no record, and SYNs that were not judged, because there were too many.
    pub fn untracked(&self) -> u64 {
        self.unfollowed
    }

    fn has_room(&self, count: usize) -> bool {
        self.most == 0 || count < self.most
    }

    /// The newer timestamp wins; an older one only over a record that is no longer fresh (`tcp_remember_stamp`).
    fn remember(&mut self, pair: HostPair, tsval: u32, at: PacketRef) {
        let second = at.time.seconds();
        if second - self.swept > FRESH_SECONDS {
            self.swept = second;
            self.records.retain(|r| second - r.at.time.seconds() <= FRESH_SECONDS);
            self.renew = true;
        }
        if !self.has_room(self.records.count()) && self.records.get(pair).is_none() {
            self.unfollowed += 1;
            return;
        }
        let record = self.records.get_or_insert(pair, PeerTimestamp { tsval, at });
        // A segment from before the record comes too late: the clock went back, or the capture repeats some packets.
        if at.time < record.at.time {
            return;
        }
        let newer = (tsval.wrapping_sub(record.tsval) as i32) >= 0;
        if newer || second - record.at.time.seconds() >= FRESH_SECONDS {
            *record = PeerTimestamp { tsval, at };
        }
    }

    /// Compares a SYN with the record of its pair.
    fn check_syn(&mut self, pair: HostPair, e: &PeerEvent) {
        let Some(record) = self.records.get(pair) else { return };
        let age = e.at.time.seconds() - record.at.time.seconds();
        // A record that is younger than the SYN did not exist when the SYN came, however late the SYN is in the
        // capture.
        if record.at.time > e.at.time || age >= FRESH_SECONDS {
            return;
        }
        let behind = e.tsval.map(|tsval| record.tsval.wrapping_sub(tsval) as i32);
        if behind.is_some_and(|behind| behind <= WINDOW) {
            self.add(pair, SynFateCounts { passing: 1, ..SynFateCounts::default() });
            return;
        }
        if self.suspect.len() >= KEPT || !self.has_room(self.suspect.len()) {
            self.unfollowed += 1;
        } else {
            let (_, kept) = self.suspect.entry(e.connection).or_insert_with(|| (pair, Vec::new()));
            if kept.len() < 16 {
                kept.push(PawsSuspect {
                    at: e.at,
                    behind,
                    record: record.at,
                    record_tsval: record.tsval,
                    in_time_wait: e.what == (PeerEventKind::Syn { in_time_wait: true }),
                });
            }
        }
    }

    /// Whether the rule would have dropped a SYN of this connection.
    pub fn is_suspect(&self, connection: PacketId) -> bool {
        !self.suspect.is_empty() && self.suspect.contains_key(&connection)
    }

    /// A connection has ended: the answers to its SYNs count for or against the rule.
    pub fn record_fate(&mut self, connection: PacketId, fate: SynFate) {
        let Some((pair, syns)) = self.suspect.get(&connection) else { return };
        let pair = *pair;
        let mut own = SynFateCounts::default();
        let mut dropped = false;
        let answered = match fate {
            SynFate::Accepted(syn) => Some(syn),
            SynFate::Unanswered | SynFate::NoEvidence => None,
        };
        if fate != SynFate::NoEvidence {
            for syn in syns.iter().filter(|syn| !(syn.in_time_wait && answered == Some(syn.at))) {
                let count = match (answered == Some(syn.at), syn.behind) {
                    (true, Some(_)) => &mut own.answered_behind,
                    (true, None) => &mut own.answered_without,
                    (false, Some(_)) => &mut own.dropped_behind,
                    (false, None) => &mut own.dropped_without,
                };
                *count += 1;
                dropped |= answered != Some(syn.at);
            }
            own.dropped_connections = u32::from(dropped);
        }
        self.add(pair, own);
        if !dropped {
            self.suspect.remove(&connection);
        }
    }

    /// Counts further SYNs of a pair.
    fn add(&mut self, pair: HostPair, more: SynFateCounts) {
        let of_server = self.by_server.entry(pair.server).or_default();
        *of_server = of_server.plus(more);
        if self.has_room(self.tallies.count()) || self.tallies.get(pair).is_some() {
            let tally = self.tallies.get_or_insert(pair, SynFateCounts::default());
            *tally = tally.plus(more);
        } else {
            self.unfollowed += 1;
        }
    }

    /// The SYNs of a connection that the rule would have dropped, in order.
    pub fn suspects(&self, connection: PacketId) -> &[PawsSuspect] {
        self.suspect.get(&connection).map_or(&[], |(_, syns)| syns)
    }

    /// The fate of the SYNs from one host to another.
    pub fn tally(&self, pair: HostPair) -> SynFateCounts {
        let of = |tallies: &HostPairMap<SynFateCounts>| tallies.get(pair).copied().unwrap_or_default();
        of(&self.tallies).plus(of(&self.earlier.0))
    }

    /// The fate of the SYNs from all hosts to one server.
    pub fn server_tally(&self, server: Address) -> SynFateCounts {
        let of = |tallies: &Map<Address, SynFateCounts>| tallies.get(&server).copied().unwrap_or_default();
        of(&self.by_server).plus(of(&self.earlier.1))
    }

    /// Adds the counts of another model of other host pairs, once no more events come.
    #[cfg(feature = "fleet")]
    pub fn merge(&mut self, other: TwRecycleModel) {
        self.suspect.extend(other.suspect);
        self.tallies.extend(other.tallies);
        for (server, tally) in other.by_server {
            let own = self.by_server.entry(server).or_default();
            *own = own.plus(tally);
        }
        self.unfollowed += other.unfollowed;
    }

    /// No more events come: frees the records of the servers, and keeps the fate of the SYNs.
    pub fn close(&mut self) {
        self.records = HostPairMap::default();
    }

    /// Forgets counts from before the previous call, and SYNs under suspicion from before `before`: for a stream
    /// without an end.
    pub fn forget_before(&mut self, before: Timestamp) {
        self.earlier = (std::mem::take(&mut self.tallies), std::mem::take(&mut self.by_server));
        self.suspect.retain(|_, (_, syns)| syns.iter().any(|syn| syn.at.time >= before));
    }
}

/// A set of pairs with one bit each: it forgets none and may hold some that were not added. Nearly every SYN comes from
/// a host without a record; its event need not be put in order with the others.
#[derive(Clone)]
struct PairFilter(Vec<u64>);

impl Default for PairFilter {
    fn default() -> PairFilter {
        PairFilter(vec![0; PairFilter::BITS / 64])
    }
}

impl PairFilter {
    const BITS: usize = 1 << 22;

    fn place(pair: HostPair) -> (usize, u64) {
        let bit = pair.mixed() as usize % PairFilter::BITS;
        (bit / 64, 1 << (bit % 64))
    }

    fn insert(&mut self, pair: HostPair) {
        let (word, bit) = PairFilter::place(pair);
        self.0[word] |= bit;
    }

    fn contains(&self, pair: HostPair) -> bool {
        let (word, bit) = PairFilter::place(pair);
        self.0[word] & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::key::Host;
    use crate::time::Span;

    const CLIENT: Address = Address::v4([192, 0, 2, 1]);
    const SYN: PeerEventKind = PeerEventKind::Syn { in_time_wait: false };

    /// Packet `number`, of a client; every tenth packet is of the same connection.
    fn event(client: Address, number: u64, second: i64, tsval: u32, what: PeerEventKind) -> PeerEvent {
        PeerEvent {
            at: PacketRef {
                time: Timestamp::default() + Span::secs(second),
                packet: PacketId::new(0, number),
            },
            connection: PacketId::new(0, number % 10),
            client,
            server: Host { address: Address::v4([198, 51, 100, 1]), port: 80 },
            tsval: Some(tsval),
            what,
        }
    }

    #[test]
    fn with_little_room_the_first_pairs_are_followed_and_others_once_those_are_forgotten() {
        let client = |n: u8| Address::v4([192, 0, 2, n]);
        let pair = |n: u8| HostPair { client: client(n), server: Address::v4([198, 51, 100, 1]) };
        let mut peers = TwRecycleModel::within(2);
        let mut number = 0;
        let mut take = |peers: &mut TwRecycleModel, n: u8, second: i64, tsval: u32, what| {
            number += 1;
            peers.replay(&[&event(client(n), number, second, tsval, what)]);
        };
        for n in 1..=3 {
            take(&mut peers, n, 100, 1_000, PeerEventKind::Remembered);
            take(&mut peers, n, 101, 2_000, SYN);
        }
        assert_eq!([1, 2, 3].map(|n| peers.tally(pair(n)).passing), [1, 1, 0]);
        assert_eq!((peers.server_tally(pair(1).server).passing, peers.untracked()), (2, 1));
        // A minute later both records are stale; there is room for those of others, but not for more tallies.
        take(&mut peers, 3, 170, 1_000, PeerEventKind::Remembered);
        take(&mut peers, 3, 171, 2_000, SYN);
        assert_eq!((peers.tally(pair(3)).passing, peers.server_tally(pair(3).server).passing), (0, 3));
        assert_eq!(peers.untracked(), 2);
    }

    #[test]
    fn what_comes_again_after_the_end_is_judged_as_it_was() {
        // Each timestamp is newer than the one before, and the first newer than the last: clocks of many hosts.
        let once = [
            event(CLIENT, 1, 100, 0, PeerEventKind::Remembered),
            event(CLIENT, 2, 103, 1_500_000_000, PeerEventKind::Remembered),
            event(CLIENT, 3, 105, 1_400_000_000, SYN),
            event(CLIENT, 4, 110, 3_000_000_000, PeerEventKind::Remembered),
            event(CLIENT, 5, 115, 1_400_000_000, SYN),
        ];
        // The same again, but for the last record: that connection is known to be over.
        let mut again = once.to_vec();
        again.remove(3);
        again.iter_mut().for_each(|e| e.at.packet = PacketId::new(0, e.at.packet.number() + 10));
        let mut peers = TwRecycleModel::default();
        peers.replay(&once.each_ref());
        let judged = |peers: &TwRecycleModel, n: u64| {
            let mut judged: Vec<_> =
                peers.suspects(PacketId::new(0, n)).iter().map(|c| (c.at.time, c.record)).collect();
            judged.dedup();
            judged
        };
        let before = [judged(&peers, 3), judged(&peers, 5)];
        assert_eq!(before.each_ref().map(Vec::len), [1, 1]);
        peers.replay(&again.iter().collect::<Vec<_>>());
        assert_eq!([judged(&peers, 3), judged(&peers, 5)], before);
    }
}
