//! Connections that listening sockets refused by their own drop counts, in exact sums: one finding for each listener
//! and queue.
//!
//! A sum goes on until its incident is over, and never falls. Sockets that share an address count together, and a
//! socket that replaces another one adds to the same sum.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::decode::segment::Address;
use crate::detect::context::CaptureContext;
use crate::detect::draft::{Draft, count};
use crate::detect::{FoundDraft, registry};
use crate::diagnose::host::account::{self, LISTEN_OVERFLOWS, REQ_Q_FULL_DROP};
use crate::diagnose::host::blame_full_queue;
use crate::diagnose::incident;
use crate::flow::facts::PacketRef;
use crate::flow::key::Host;
use crate::model::{Kind, Severity, Vantage};
use crate::time::{Span, Timestamp};

/// Drops further apart than this belong to two sums, unless a finding reports the first sum: as with incidents.
const APART: Span = incident::APART;
/// Drops at an unknown queue count for the queue that was full no longer ago than this.
const GOES_ON: Span = Span::secs(10);
/// If packets show a refusal, a finding reports it within this time.
const SOON: Span = Span::secs(2);
/// After this a SYN without an answer is no longer under way.
const UNANSWERED: Span = Span::millis(150);
/// A refused client that repeats something has done so by then.
const SHOWN_BY_THEN: Span = Span::millis(3_500);
/// By then it is known whether a SYN from the time of a refusal drew an answer.
const COUNTED: Span = Span::millis(300);
/// A handshake takes up to this long.
const UNDER_WAY: Span = Span::secs(1);
/// How many sockets of one address are distinguished: those that share it, and those that followed one another.
const SOCKETS: usize = 1_024;
/// How many packets are shown as examples of the refused ones.
const SHOWN: usize = 5;

/// Which queue was full.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Queue {
    Accept,
    Syn,
    /// The socket dropped something for another reason, or the kernel does not show the reason.
    Unknown,
}

/// The drops of a socket between two looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketDrops {
    /// Its inode.
    pub socket: u64,
    /// The end of the previous look, and the beginning of this one.
    pub during: (Timestamp, Timestamp),
    pub dropped: u64,
    /// The host's counts meanwhile: full accept queues, full SYN queues.
    pub counted: [u64; 2],
    /// The same since the host was started.
    pub total: [u64; 2],
    /// The length of the queue now, and its limit.
    pub queue: u32,
    pub limit: Option<u32>,
    /// Whether the accept queue was full at one of the looks.
    pub full: bool,
    /// Whether the host's counts can only come from this socket's drops.
    pub is_clear: bool,
}

impl SocketDrops {
    /// Which queue refused it.
    fn queue(&self) -> Queue {
        let [accept_queues, syn_queues] = self.counted.map(|counted| counted > 0);
        match (accept_queues, syn_queues) {
            (true, _) if self.full => Queue::Accept,
            (_, true) => Queue::Syn,
            // It was emptied again before it was read.
            (true, false) if self.is_clear => Queue::Accept,
            _ => Queue::Unknown,
        }
    }
}

/// Clients refused at one address because one queue was full.
#[derive(Clone, Debug)]
struct RefusedSum {
    from: Timestamp,
    /// The look that showed the first drop.
    seen: Timestamp,
    last: Timestamp,
    dropped: u64,
    /// The host's counts when it began, and since then: full accept queues, full SYN queues.
    base: [u64; 2],
    counted: [u64; 2],
    /// The longest queue seen, and its limit.
    longest: u32,
    limit: Option<u32>,
    /// The inodes of the sockets that dropped something, [`SOCKETS`] at most.
    sockets: BTreeSet<u64>,
    /// SYNs that drew no answer and were not repeated.
    given_up: u64,
    /// The finding that reports it, once chosen, and the packets that show it.
    told: Option<ShownBy>,
}

/// The listener and the kind of a finding, and the packets that show it, each with a description.
type ShownBy = (Host, Kind, Vec<(PacketRef, &'static str)>);

/// Findings of full queues, and of SYNs without an answer, by server, each with the first and the last packet that shows it.
pub type FullQueues = BTreeMap<Host, BTreeMap<Kind, Vec<(PacketRef, PacketRef)>>>;

/// The sums of all listeners.
#[derive(Default)]
pub(super) struct Refusals {
    sums: BTreeMap<(SocketAddr, Queue), RefusedSum>,
    /// Drops that sockets showed before the host's counters did: counters are read first.
    pending: Vec<(SocketAddr, SocketDrops)>,
}

impl Refusals {
    /// Drops of sockets at the last look that the host had not counted then.
    pub(super) fn pending_total(&self) -> u64 {
        self.pending.iter().map(|(_, drops)| drops.dropped).sum()
    }

    /// The host's counters since the last look also explain drops just before that look.
    pub(super) fn explain_pending(&mut self, counted: [u64; 2], total: [u64; 2]) {
        for (address, drops) in std::mem::take(&mut self.pending) {
            let left = self.add_explained(address, SocketDrops { counted, total, ..drops });
            if left > 0 {
                self.add_as(address, Queue::Unknown, SocketDrops { dropped: left, ..drops });
            }
        }
    }

    /// Adds the drops of a socket at `address`.
    pub(super) fn add(&mut self, address: SocketAddr, drops: SocketDrops) {
        let left = self.add_explained(address, drops);
        if left > 0 {
            self.pending.push((address, SocketDrops { dropped: left, ..drops }));
        }
    }

    /// Adds the drops that the host's counters explain; returns the rest. A refused final ACK counts twice at the
    /// socket. The rest were no refusals: the socket also counts SYNs that are repeated while their request waits.
    fn add_explained(&mut self, address: SocketAddr, drops: SocketDrops) -> u64 {
        let refused = drops.dropped.min(drops.counted.iter().sum::<u64>() * 2);
        if refused > 0 {
            self.add_as(address, drops.queue(), SocketDrops { dropped: refused, ..drops });
        }
        drops.dropped - refused
    }

    fn add_as(&mut self, address: SocketAddr, queue: Queue, drops: SocketDrops) {
        let last = drops.during.1;
        let queue = match queue {
            // If the counters show a full queue but not which one, the drops belong to the refusals in progress.
            Queue::Unknown if drops.counted != [0; 2] => [Queue::Accept, Queue::Syn]
                .into_iter()
                .find(|queue| self.sums.get(&(address, *queue)).is_some_and(|sum| last - sum.last < GOES_ON))
                .unwrap_or(Queue::Unknown),
            known => known,
        };
        let base = [0, 1].map(|n| drops.total[n].saturating_sub(drops.counted[n]));
        let sum = self.sums.entry((address, queue)).or_insert_with(|| RefusedSum::begin(drops.during, base));
        if sum.told.is_none() && sum.dropped > 0 && last - sum.last >= APART {
            *sum = RefusedSum::begin(drops.during, base);
        }
        sum.last = last;
        sum.dropped += drops.dropped;
        sum.counted = [0, 1].map(|n| drops.total[n].saturating_sub(sum.base[n]));
        sum.note_socket(&drops);
    }

    /// Whether a client was refused just now and no finding reports it.
    pub(super) fn has_untold(&self, now: Timestamp) -> bool {
        let is_untold = |(key, sum): (&(SocketAddr, Queue), &RefusedSum)| {
            key.1 != Queue::Unknown && sum.told.is_none() && now - sum.last < SOON
        };
        self.sums.iter().any(is_untold)
    }

    /// The incident of this kind at `listener` is over: later refusals belong to the next one.
    pub(super) fn end(&mut self, listener: SocketAddr, kind: Kind) {
        self.sums.retain(|_, sum| {
            sum.told.as_ref().is_none_or(|(host, told, _)| (host.socket(), *told) != (listener, kind))
        });
    }

    /// For each sum at these addresses that has not ended: its refusals, the number of its sockets, and its beginning.
    pub(super) fn at(&self, addresses: &BTreeSet<SocketAddr>) -> Option<(u64, usize, Timestamp)> {
        let here = self
            .sums
            .iter()
            .filter(|((address, queue), _)| addresses.contains(address) && *queue != Queue::Unknown);
        let mut sockets: BTreeSet<u64> = BTreeSet::new();
        let each = here.map(|(_, sum)| {
            sockets.extend(&sum.sockets);
            (sum.dropped, sum.from)
        });
        let (dropped, since) = each.reduce(|a, b| (a.0 + b.0, a.1.min(b.1)))?;
        Some((dropped, sockets.len(), since))
    }

    /// A finding for each sum that a packet shows. `serves` says whether a socket at the first address serves the
    /// second; `handshake` gives a handshake with an address in that time.
    pub(super) fn findings(
        &mut self,
        context: &CaptureContext,
        known: &FullQueues,
        serves: impl Fn(SocketAddr, SocketAddr) -> bool,
        handshake: impl Fn(Address, (Timestamp, Timestamp)) -> Option<PacketRef>,
        now: Timestamp,
    ) -> Vec<FoundDraft> {
        let mut found = Vec::new();
        for ((address, queue), sum) in &mut self.sums {
            if *queue == Queue::Unknown {
                continue;
            }
            let hosts: BTreeSet<Host> = context
                .listeners
                .keys()
                .chain(context.activities.keys())
                .filter(|host| host.port == address.port() && serves(*address, host.socket()))
                .copied()
                .collect();
            let lone = sum.lone_syns(context, &hosts, now);
            sum.given_up = sum.given_up.max(lone.as_ref().map_or(0, |(_, syns)| syns.len() as u64));
            if sum.told.is_none() {
                let told = sum.told_by(*queue, &hosts, known, now).or_else(|| sum.given_up(*queue, lone));
                sum.told = told.or_else(|| sum.kept_silent(*queue, context, &hosts, known, &handshake, now));
            }
            found.extend(sum.finding(*address));
        }
        found
    }
}

impl RefusedSum {
    fn begin((from, seen): (Timestamp, Timestamp), base: [u64; 2]) -> RefusedSum {
        RefusedSum {
            from,
            seen,
            last: from,
            dropped: 0,
            base,
            counted: [0; 2],
            longest: 0,
            limit: None,
            sockets: BTreeSet::new(),
            given_up: 0,
            told: None,
        }
    }

    /// Notes which socket dropped something, and its queue if that is the fullest so far: another socket may have
    /// another limit.
    fn note_socket(&mut self, drops: &SocketDrops) {
        if self.sockets.len() < SOCKETS {
            self.sockets.insert(drops.socket);
        }
        let fill = |queue: u32, limit: Option<u32>| (limit.is_some_and(|limit| queue > limit), queue);
        if self.limit.is_none() || fill(drops.queue, drops.limit) > fill(self.longest, self.limit) {
            (self.longest, self.limit) = (drops.queue, drops.limit.or(self.limit));
        }
    }

    /// SYNs from its time that were given up, at the server with most of them.
    fn lone_syns(
        &self,
        context: &CaptureContext,
        hosts: &BTreeSet<Host>,
        now: Timestamp,
    ) -> Option<(Host, Vec<PacketRef>)> {
        let of = |host: &Host| {
            let lone = context.activities.get(host)?.lone_syns.iter().map(|lone| lone.syn);
            let within = |syn: &PacketRef| {
                self.from <= syn.time && syn.time <= self.last && now - syn.time >= UNANSWERED
            };
            Some((*host, lone.filter(within).collect::<Vec<_>>()))
        };
        hosts.iter().filter_map(of).filter(|(_, syns)| !syns.is_empty()).max_by_key(|(_, syns)| syns.len())
    }

    /// As a finding of the same kind as those of its connections.
    fn told_by(
        &self,
        queue: Queue,
        hosts: &BTreeSet<Host>,
        known: &FullQueues,
        now: Timestamp,
    ) -> Option<ShownBy> {
        let kinds: &[Kind] = match queue {
            Queue::Accept => &[Kind::SynDropAcceptQueue, Kind::AcceptQueueOverflow, Kind::AcceptQueueReset],
            _ => &[Kind::SynDropSynQueue],
        };
        // Earlier findings are not about these refusals.
        let since = self.from.after(Span(-UNDER_WAY.0));
        let first = |kind: Kind| {
            let of = |host: &Host| {
                let found = known.get(host)?.get(&kind)?.iter();
                let within = found.flat_map(|(first, last)| [*first, *last]).filter(|at| at.time >= since);
                Some((*host, within.min_by_key(|at| at.time)?))
            };
            hosts.iter().filter_map(of).min_by_key(|(_, at)| at.time)
        };
        let shown = kinds.iter().find_map(|kind| {
            let (host, at) = first(*kind)?;
            Some((host, *kind, vec![(at, "the first connection that shows it")]))
        });
        shown.or_else(|| {
            // For a connection that began before the first look nobody can say why it drew no answer; for the sum one
            // can. If two queues were full in turn, it is not known which one refused the connection.
            let is_old = now - self.seen >= SHOWN_BY_THEN;
            let others: &[Kind] =
                if is_old { &[Kind::SynDropAcceptQueue, Kind::SynDropSynQueue] } else { &[] };
            let (host, at) = [Kind::SynUnanswered].iter().chain(others).find_map(|kind| first(*kind))?;
            Some((host, kinds[0], vec![(at, "a SYN without an answer")]))
        })
    }

    /// As a finding about SYNs that were given up before they were repeated.
    fn given_up(&self, queue: Queue, lone: Option<(Host, Vec<PacketRef>)>) -> Option<ShownBy> {
        let (host, mut syns) = lone?;
        syns.sort_unstable();
        let kind = match queue {
            Queue::Accept => Kind::SynDropAcceptQueue,
            _ => Kind::SynDropSynQueue,
        };
        let shown = syns.into_iter().take(SHOWN).map(|syn| (syn, "SYN: no answer"));
        Some((host, kind, shown.collect()))
    }

    /// As a finding about final ACKs that were refused and whose clients were then silent: after a syncookie no packet
    /// shows that.
    fn kept_silent(
        &self,
        queue: Queue,
        context: &CaptureContext,
        hosts: &BTreeSet<Host>,
        known: &FullQueues,
        handshake: impl Fn(Address, (Timestamp, Timestamp)) -> Option<PacketRef>,
        now: Timestamp,
    ) -> Option<ShownBy> {
        let age = now - self.seen;
        let is_due = age >= COUNTED && queue == Queue::Accept;
        if !is_due || hosts.iter().any(|host| known.contains_key(host)) {
            return None;
        }
        // If every SYN from that time was answered, the refused packets came later in the handshake.
        let meanwhile = (self.from.after(Span(-UNDER_WAY.0)), self.last);
        let completed = |host: &&Host| {
            let listener = context.listeners.get(host);
            listener.is_some_and(|listener| listener.between(meanwhile.0, meanwhile.1).completed > 0)
        };
        let is_old = || age >= SHOWN_BY_THEN;
        let host = *hosts.iter().find(completed).or_else(|| hosts.iter().next().filter(|_| is_old()))?;
        let at = handshake(host.address, (self.from, self.last))?;
        Some((host, Kind::AcceptQueueOverflow, vec![(at, "a handshake of that time")]))
    }

    fn finding(&self, address: SocketAddr) -> Option<FoundDraft> {
        let (server, kind, shown) = self.told.as_ref()?;
        let mut shown = shown.iter().copied();
        let mut d = Draft::about_listener(*server, registry::spec(*kind), shown.next()?);
        shown.for_each(|(at, text)| {
            d.shows(at, text);
        });
        let (of, counter, counted) = match kind {
            Kind::SynDropSynQueue => ("SYN queue", REQ_Q_FULL_DROP, self.counted[1]),
            _ => ("accept queue", LISTEN_OVERFLOWS, self.counted[0]),
        };
        let refused = count(self.dropped, "attempt");
        let seen_full = self.limit.is_some_and(|limit| self.longest > limit);
        let queue = match kind {
            Kind::SynDropSynQueue => "its SYN queue was full".to_owned(),
            _ if seen_full => format!("queue {} of {}", self.longest, super::number(self.limit)),
            _ => "its accept queue was full only between two looks".to_owned(),
        };
        d.summary = format!("{address} refused {refused} by {}; {queue}.", drop_counts(self.sockets.len()));
        blame_full_queue(&mut d);
        d.severity = if self.dropped >= 3 { Severity::Critical } else { Severity::Warning };
        let sockets = match self.sockets.len() {
            0 | 1 => "this listener's own socket".to_owned(),
            n => format!("the {n} sockets that listened there"),
        };
        d.confirmed(format!(
            "the drops of {sockets} rose by {}, SYNs and final ACKs with their repetitions, while {} \
             and its {of} was full",
            self.dropped,
            counter.moved(counted)
        ));
        d.note_host_counter(account::OWN_DROPS, self.dropped);
        d.note_host_counter(counter.metric, counted);
        d.measure("syns_given_up", self.given_up).measure("accept_queue", self.longest);
        d.lasted_until(self.last);
        Some((Box::new(d), Vantage::Server))
    }
}

/// The sockets whose drop counts are counts of refusals.
pub(super) fn drop_counts(sockets: usize) -> String {
    match sockets {
        0 | 1 => "its own drop count".to_owned(),
        n => format!("the drop counts of the {n} sockets that listened there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::segment::PacketId;

    fn drops(second: i64, dropped: u64, counted: [u64; 2], full: bool) -> SocketDrops {
        let at = |second: i64| Timestamp(second * 1_000_000_000);
        SocketDrops {
            socket: 1,
            during: (at(second - 1), at(second)),
            dropped,
            counted,
            total: counted,
            queue: if full { 6 } else { 0 },
            limit: Some(5),
            full,
            is_clear: true,
        }
    }

    fn sums(refusals: &Refusals) -> Vec<(Queue, u64)> {
        refusals.sums.iter().map(|((_, queue), sum)| (*queue, sum.dropped)).collect()
    }

    #[test]
    fn a_sum_goes_on_until_its_incident_is_over() {
        let address: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let host = Host { address: Address::from(address.ip()), port: 80 };
        let mut refusals = Refusals::default();
        refusals.add(address, drops(1, 3, [3, 0], true));
        // Nobody was told of it; the host has counted later what the socket had counted.
        refusals.add(address, drops(300, 4, [0, 0], true));
        refusals.explain_pending([4, 0], [7, 0]);
        assert_eq!(sums(&refusals), [(Queue::Accept, 4)]);
        let at = PacketRef { packet: PacketId::new(0, 1), time: Timestamp(300_000_000_000) };
        let known = BTreeMap::from([(host, BTreeMap::from([(Kind::SynDropAcceptQueue, vec![(at, at)])]))]);
        let mut context = CaptureContext::default();
        context.listeners.insert(host, Default::default());
        let found = refusals.findings(&context, &known, |_, _| true, |_, _| None, Timestamp(301_000_000_000));
        assert!(found[0].0.summary.contains("192.0.2.1:80 refused 4 attempts"), "{}", found[0].0.summary);
        assert!(found[0].0.summary.contains("queue 6 of 5"), "{}", found[0].0.summary);
        // SYNs repeated while their request waits, and another socket that has taken the place.
        refusals.add(address, drops(360, 2, [0, 0], false));
        refusals.explain_pending([0, 0], [7, 0]);
        refusals.add(address, drops(361, 2, [2, 0], true));
        let find = |refusals: &mut Refusals| {
            let found =
                refusals.findings(&context, &known, |_, _| true, |_, _| None, Timestamp(362_000_000_000));
            found[0].0.summary.clone()
        };
        assert_eq!(
            find(&mut refusals),
            "192.0.2.1:80 refused 6 attempts by its own drop count; queue 6 of 5."
        );
        // The server comes back with a shorter backlog: the queue and its limit are those of one socket.
        let shorter = SocketDrops { socket: 2, queue: 4, limit: Some(3), ..drops(362, 3, [3, 0], true) };
        refusals.add(address, shorter);
        assert_eq!(
            find(&mut refusals),
            "192.0.2.1:80 refused 9 attempts by the drop counts of the 2 sockets that listened there; queue 6 of 5."
        );
        refusals.add(
            address,
            SocketDrops { socket: 3, queue: 10, limit: Some(9), ..drops(362, 1, [1, 0], true) },
        );
        assert!(find(&mut refusals).contains("of the 3 sockets that listened there; queue 10 of 9."));
        refusals.end(address, Kind::SynDropAcceptQueue);
        refusals.add(address, drops(363, 1, [0, 1], false));
        assert_eq!(sums(&refusals), [(Queue::Syn, 1), (Queue::Unknown, 2)]);
    }

    #[test]
    fn a_sum_is_told_though_its_connections_are_put_down_to_the_other_queue() {
        let address: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let host = Host { address: Address::from(address.ip()), port: 80 };
        let mut refusals = Refusals::default();
        refusals.add(address, drops(10, 6, [6, 0], true));
        refusals.add(address, drops(11, 1, [0, 1], false));
        let at = PacketRef { packet: PacketId::new(0, 1), time: Timestamp(10_500_000_000) };
        let known = BTreeMap::from([(host, BTreeMap::from([(Kind::SynDropAcceptQueue, vec![(at, at)])]))]);
        let mut context = CaptureContext::default();
        context.listeners.insert(host, Default::default());
        let mut find = |second: i64| {
            let now = Timestamp(second * 1_000_000_000);
            let found = refusals.findings(&context, &known, |_, _| true, |_, _| None, now);
            found.iter().map(|(d, _)| (d.kind, d.summary.clone())).collect::<Vec<_>>()
        };
        assert_eq!(find(12).len(), 1, "the right connection may still come");
        let [(first, _), (second, text)] = &find(15)[..] else { panic!() };
        assert_eq!((*first, *second), (Kind::SynDropAcceptQueue, Kind::SynDropSynQueue));
        assert!(text.contains("refused 1 attempt by its own drop count; its SYN queue was full"), "{text}");
    }
}
