//! The listening sockets of the host from look to look: how many connections each refused by its own drop count, how
//! full its queue is, and which sockets vanished or came back with other properties.

mod refusals;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

pub use self::refusals::FullQueues;
use self::refusals::{Refusals, SocketDrops, drop_counts};

use crate::decode::segment::Address;
use crate::detect::FoundDraft;
use crate::detect::context::{CaptureContext, RefusalInterval};
use crate::detect::draft::count;
use crate::diagnose::host::account::{LISTEN_OVERFLOWS, REQ_Q_FULL_DROP};
use crate::diagnose::host::queue_history::AROUND;
use crate::flow::facts::PacketRef;
use crate::host::Snapshot;
use crate::host::listeners::{ListenSocket, SocketStates, serving};
use crate::host::process::SocketOwner;
use crate::live::state::{ListenerState, QueueSample};
use crate::model::{Kind, QueueHistory, QueueLengths};
use crate::time::{Span, Timestamp};

/// Drops further apart than this belong to two runs, unless the queue was full in between.
const APART: Span = Span::secs(10);
/// A queue that is this full, in per cent, for this long is reported before anything is dropped.
const NEARLY_FULL: u64 = 80;
const NEARLY_FULL_FOR: Span = Span::secs(3);
/// Shorter queues are full at once.
const WORTH_A_WORD: u32 = 5;
/// When a socket that existed for this long is gone, that is reported.
const LONG: Span = Span::secs(10);
/// How many addresses of closed sockets are remembered.
const MOST_GONE: usize = 1_024;
/// How many closed sockets have their queues remembered.
const MOST_FORMER: usize = 64;
/// How many intervals of refusals are remembered.
const MOST_REFUSING: usize = 512;
/// How many seconds of the queue are remembered.
const REMEMBERED: usize = 300;

/// All of them.
#[derive(Default)]
pub struct ListenSockets {
    known: BTreeMap<u64, KnownSocket>,
    /// Sockets that are gone and were not replaced, by address.
    gone: BTreeMap<SocketAddr, ListenSocket>,
    /// The queues of sockets that were closed; the oldest first.
    former: VecDeque<(ListenSocket, VecDeque<QueueSample>)>,
    /// The time of the last look, and the host's counts at that time: full accept queues, full SYN queues.
    looked: Option<(Timestamp, [u64; 2])>,
    refusals: Refusals,
    /// Sockets by state, by the address of the listener.
    states: BTreeMap<SocketAddr, SocketStates>,
    /// Backlogs of sockets that have refused something, with the times; the oldest first.
    refusing: VecDeque<RefusalInterval>,
    /// Connections that the host had opened passively by the end of each of the last seconds (`TcpPassiveOpens`).
    opened: RecentSeconds<u64>,
}

/// A value at the end of each of the last seconds.
#[derive(Clone, Default)]
struct RecentSeconds<T>(VecDeque<(i64, T)>);

impl<T: Copy> RecentSeconds<T> {
    fn note(&mut self, at: Timestamp, value: T) {
        match self.0.back_mut() {
            Some((second, last)) if *second == at.seconds() => *last = value,
            _ => self.0.push_back((at.seconds(), value)),
        }
        if self.0.len() > 4 {
            self.0.pop_front();
        }
    }

    /// The value at the end of `second`, and of the one before.
    fn at(&self, second: i64) -> Option<(T, T)> {
        let of = |second: i64| self.0.iter().find(|(at, _)| *at == second).map(|(_, value)| *value);
        Some((of(second)?, of(second - 1)?))
    }
}

/// A listening socket.
struct KnownSocket {
    socket: ListenSocket,
    /// When it was first seen.
    since: Timestamp,
    /// Its drops since then.
    dropped: u64,
    longest: u32,
    /// The latest run of drops.
    run: Option<DropRun>,
    /// Since when its queue has been nearly full, and whether that was reported.
    filling: Option<(Timestamp, Told)>,
    /// The queue of the last minutes.
    queue: VecDeque<QueueSample>,
    /// Its length at the end of the last seconds.
    lengths: RecentSeconds<u32>,
    /// The process that holds it, if that may be read.
    holder: Option<SocketOwner>,
}

/// Since when a socket is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SocketOrigin {
    /// It was there when the watch began.
    Before,
    /// It appeared later: all of its drops count.
    Meanwhile,
}

/// Whether something was told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Yet,
    Already,
}

/// A run of drops of one socket.
#[derive(Clone, Debug)]
struct DropRun {
    /// The end of the look before the first drop.
    from: Timestamp,
    /// The look that showed the last drop.
    last: Timestamp,
    /// Whether the queue held more than its limit.
    full: bool,
}

/// The state of the sockets that serve one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressTrouble {
    /// When the last drop was seen, if any.
    pub dropped: Option<Timestamp>,
    /// Whether a queue holds more than its limit now.
    pub full: bool,
}

impl ListenSockets {
    /// Records a look. Returns messages for the user: queues that fill, sockets that vanished or came back with another
    /// backlog.
    pub fn observe(&mut self, look: &Snapshot) -> Vec<String> {
        let Some(sockets) = &look.listeners else { return Vec::new() };
        let counted = [LISTEN_OVERFLOWS, REQ_Q_FULL_DROP]
            .map(|counter| look.counters.get(counter.name).copied().unwrap_or(0));
        let (since, rose) = match self.looked {
            Some((at, before)) => (at, [0, 1].map(|n| counted[n].saturating_sub(before[n]))),
            None => (look.time, [0, 0]),
        };
        let closed = self.closed_since(sockets);
        let owed = self.refusals.pending_total();
        let mut told = self.note_changes(sockets, look.time);
        let origin = if self.looked.is_none() { SocketOrigin::Before } else { SocketOrigin::Meanwhile };
        self.opened.note(look.time, look.counters.get("TcpPassiveOpens").copied().unwrap_or(0));
        self.states = by_listener(sockets, look.states.as_deref());
        self.looked = Some((look.finished, counted));
        let drops = sockets.iter().map(|socket| {
            let before = self.known.get(&socket.inode).and_then(|known| known.socket.drops);
            u64::from(socket.drops.unwrap_or(0)).saturating_sub(before.unwrap_or(0).into())
        });
        let (dropping, total) = drops.filter(|n| *n > 0).fold((0, 0), |sum, n| (sum.0 + 1, sum.1 + n));
        // Only one socket dropped something, or all drops were overflows.
        self.refusals.explain_pending(rose, counted);
        let is_clear = origin == SocketOrigin::Meanwhile && (dropping == 1 || total == rose[0]);
        for socket in sockets {
            let known =
                self.known.entry(socket.inode).or_insert_with(|| KnownSocket::new(socket, look.time, origin));
            let was_full = known.is_full();
            let requests = self.states.get(&socket.address).map(|states| states.syn_recv);
            let dropped = known.observe(socket, requests, (since, look.time));
            if dropped > 0 {
                let drops = SocketDrops {
                    socket: socket.inode,
                    during: (since, look.time),
                    dropped,
                    counted: rose,
                    total: counted,
                    queue: socket.accept_queue,
                    limit: socket.backlog,
                    full: was_full || known.is_full(),
                    is_clear,
                };
                self.refusals.add(socket.address, drops);
                note_refusing(&mut self.refusing, socket, (since, look.time));
            }
            if let Some(holder) = look.holders.get(&socket.inode) {
                known.holder = Some(holder.clone());
            }
            told.extend(known.is_filling(look.time));
        }
        let left = rose.iter().sum::<u64>().saturating_sub(total + owed).min(rose[0]);
        if let ([(address, closed)], 1..) = (&closed[..], left) {
            let of = SocketDrops {
                during: (since, look.time),
                dropped: left,
                counted: rose,
                total: counted,
                ..*closed
            };
            self.refusals.add(*address, of);
        }
        told
    }

    /// Backlogs of sockets that have refused something, with the interval.
    pub fn refusing(&self) -> Vec<RefusalInterval> {
        self.refusing.iter().copied().collect()
    }

    /// Sockets that were closed since the previous look. Drops that the host counted, and that no remaining socket
    /// shows, belong to the closed socket if there is only one.
    fn closed_since(&self, sockets: &[ListenSocket]) -> Vec<(SocketAddr, SocketDrops)> {
        let there: BTreeSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
        let gone = self.known.iter().filter(|(inode, _)| !there.contains(inode));
        let drops = |(inode, known): (&u64, &KnownSocket)| SocketDrops {
            socket: *inode,
            during: (known.since, known.since),
            dropped: 0,
            counted: [0; 2],
            total: [0; 2],
            queue: known.socket.accept_queue,
            limit: known.socket.backlog,
            full: known.is_full(),
            is_clear: true,
        };
        gone.map(|one| (one.1.socket.address, drops(one))).collect()
    }

    /// Forgets sockets that are gone. Each one that had clients or existed for long is reported, and so are differences
    /// in the socket that replaces it.
    fn note_changes(&mut self, sockets: &[ListenSocket], now: Timestamp) -> Vec<String> {
        let there: BTreeSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
        let left: Vec<u64> = self.known.keys().filter(|inode| !there.contains(inode)).copied().collect();
        let mut told = Vec::new();
        let mut closed = Vec::new();
        for inode in left {
            let Some(was) = self.known.remove(&inode) else { continue };
            let address = was.socket.address;
            if was.longest > 0 || was.dropped > 0 || now - was.since >= LONG {
                closed.push(address);
            }
            if was.longest > 0 || was.dropped > 0 {
                if self.former.len() == MOST_FORMER {
                    self.former.pop_front();
                }
                self.former.push_back((was.socket.clone(), was.queue));
            }
            self.gone.insert(address, was.socket);
        }
        for socket in sockets {
            let Some(was) = self.gone.remove(&socket.address) else { continue };
            if self.known.contains_key(&socket.inode) {
                // Other sockets that share the address are still there.
                continue;
            }
            told.push(match (socket.backlog, was.backlog) {
                (is, was) if is == was => {
                    format!("another socket listens at {} now: it was started again", socket.address)
                }
                (is, was) => format!(
                    "another socket listens at {} now: its backlog is {}, that of the one before was {}",
                    socket.address,
                    number(is),
                    number(was)
                ),
            });
        }
        let is_gone = |address: &&SocketAddr| self.gone.contains_key(address);
        told.extend(
            closed
                .iter()
                .filter(is_gone)
                .map(|address| format!("nobody listens at {address} any more: its socket was closed")),
        );
        while self.gone.len() > MOST_GONE {
            self.gone.pop_first();
        }
        told
    }

    /// The sockets that serve `server`.
    fn serving(&self, server: SocketAddr) -> impl Iterator<Item = &KnownSocket> {
        let all: Vec<ListenSocket> = self
            .known
            .values()
            .filter(|k| k.socket.address.port() == server.port())
            .map(|k| k.socket.clone())
            .collect();
        let inodes: BTreeSet<u64> = serving(&all, server).iter().map(|socket| socket.inode).collect();
        self.known.values().filter(move |known| inodes.contains(&known.socket.inode))
    }

    /// The state of the sockets that serve `server`; `None` if none is known.
    pub fn trouble(&self, server: SocketAddr) -> Option<AddressTrouble> {
        let each = self.serving(server).map(|known| AddressTrouble {
            dropped: known.run.as_ref().map(|run| run.last),
            full: known.is_full(),
        });
        each.reduce(|a, b| AddressTrouble { dropped: a.dropped.max(b.dropped), full: a.full || b.full })
    }

    /// A sentence on how many connections the sockets that serve `server` have refused: in all, and in the last second.
    /// `rows` are the listeners as last shown.
    pub fn refused(&self, server: SocketAddr, rows: &[ListenerState]) -> Option<String> {
        let known: Vec<&KnownSocket> = self.serving(server).collect();
        let addresses: BTreeSet<SocketAddr> = known.iter().map(|known| known.socket.address).collect();
        let (dropped, sockets, since) = self.refusals.at(&addresses)?;
        let worst = known.iter().max_by_key(|known| (known.dropped_now(), known.socket.accept_queue))?;
        let now: u64 = known.iter().map(|known| known.dropped_now()).sum();
        let completed: u64 =
            rows.iter().filter(|row| addresses.contains(&row.address)).map(|row| row.completed).sum();
        let share = match now {
            0 => "none in the last second".to_owned(),
            _ => format!("{now} in the last second, {} % of arrivals", now * 100 / (now + completed)),
        };
        let holder = worst.holder.as_ref().map(|holder| format!("; {}", holder.describe()));
        let row = rows.iter().find(|row| row.inode == Some(worst.socket.inode));
        let accepts = row.and_then(|row| row.accepted).map(|n| match holder {
            Some(_) => format!(", accepts about {n} a second"),
            None => format!("; about {n} accepted a second"),
        });
        let states = self.states.get(&worst.socket.address).map(|states| describe_states(*states));
        let more = [holder, accepts, states].into_iter().flatten().collect::<String>();
        Some(format!(
            "{} refused {} by {} since {}, {share}; queue {} of {}{more}",
            worst.socket.address,
            count(dropped, "attempt"),
            drop_counts(sockets),
            &since.to_string()[11..19],
            worst.socket.accept_queue,
            number(worst.socket.backlog),
        ))
    }

    /// A finding for each listener that has refused something because one of its queues was full, with the exact sum.
    /// `known` are the findings of full queues that connections show.
    pub fn refusals(
        &mut self,
        context: &CaptureContext,
        handshake: impl Fn(Address, (Timestamp, Timestamp)) -> Option<PacketRef>,
        known: &FullQueues,
        now: Timestamp,
    ) -> Vec<FoundDraft> {
        let ListenSockets { known: sockets, refusals, .. } = self;
        let all: Vec<ListenSocket> = sockets.values().map(|known| known.socket.clone()).collect();
        let serves = |address: SocketAddr, server: SocketAddr| {
            let by = serving(&all, server);
            // A socket that is gone served its own address.
            by.iter().any(|socket| socket.address == address) || (by.is_empty() && address == server)
        };
        refusals.findings(context, known, serves, handshake, now)
    }

    /// Whether a client was refused just now and no finding reports it.
    pub fn has_untold(&self, now: Timestamp) -> bool {
        self.refusals.has_untold(now)
    }

    /// The queues of the listener that serves `server`, from a while before `from` to a while after `to`; of several sockets
    /// those of the one with the longest queue, which may have been closed since.
    pub fn queues(&self, server: SocketAddr, (from, to): (Timestamp, Timestamp)) -> Option<QueueHistory> {
        let (from, to) = (from.after(Span(-AROUND.0)), to + AROUND);
        let former: Vec<ListenSocket> = self.former.iter().map(|(socket, _)| socket.clone()).collect();
        let former = serving(&former, server).into_iter().map(|socket| socket.inode).collect::<BTreeSet<_>>();
        let former = self.former.iter().filter(|(socket, _)| former.contains(&socket.inode));
        let is = self.serving(server).map(|known| (&known.socket, &known.queue));
        let all = is.chain(former.map(|(socket, queue)| (socket, queue)));
        let histories = all.map(|(socket, queue)| QueueHistory {
            limit: socket.backlog.map(u64::from),
            samples: queue
                .iter()
                .filter(|sample| from <= sample.at && sample.at <= to)
                .map(lengths)
                .collect(),
        });
        let longest = |history: &QueueHistory| history.samples.iter().map(|sample| sample.accept_queue).max();
        histories.filter(|history| history.samples.len() > 1).max_by_key(longest)
    }

    /// The incident of this kind at `listener` is over.
    pub fn end_refusals(&mut self, listener: SocketAddr, kind: Kind) {
        self.refusals.end(listener, kind);
    }

    /// Adds to the rows how many connections were accepted and which share was refused. The rows know how many
    /// handshakes were completed in `second`.
    pub fn add_rates(&self, rows: &mut [ListenerState], second: i64) {
        let opened = self.opened.at(second).map(|(is, was)| is.saturating_sub(was));
        let grown = |row: &ListenerState| {
            let known = self.known.get(&row.inode?)?;
            let (is, was) = known.lengths.at(second)?;
            Some(i64::from(is) - i64::from(was))
        };
        let is_busy = |row: &&ListenerState| row.completed > 0 || row.queue.is_some_and(|queue| queue > 0);
        let busy = rows.iter().filter(is_busy).count();
        for row in rows {
            row.refused_share = (row.refused > 0).then(|| row.refused * 100 / (row.refused + row.completed));
            let entered = match (busy, row.refused, row.completed) {
                // All passive opens of the host were at this listener.
                (1, ..) if is_busy(&&*row) => opened,
                // A handshake that its client completed may have been refused.
                (_, 1.., 1..) => None,
                _ => Some(row.completed),
            };
            let alone = row.of_several.is_none();
            let accepted =
                entered.zip(grown(row)).map(|(entered, grown)| entered.saturating_add_signed(-grown));
            row.accepted = accepted.filter(|_| alone);
        }
    }

    /// A row for each socket; of several at one address the worst first.
    pub fn rows(&self) -> Vec<ListenerState> {
        let mut rows: Vec<ListenerState> = self.known.values().map(KnownSocket::row).collect();
        rows.sort_by_key(|row| {
            let fill = u64::from(row.queue.unwrap_or(0)) * 1_000 / (u64::from(row.limit.unwrap_or(0)) + 1);
            (row.address, std::cmp::Reverse((fill, row.drops)), row.inode)
        });
        let mut start = 0;
        while start < rows.len() {
            let address = rows[start].address;
            let alike = rows[start..].iter().take_while(|row| row.address == address).count();
            if alike > 1 {
                for (n, row) in rows[start..start + alike].iter_mut().enumerate() {
                    row.of_several = Some((n as u32 + 1, alike as u32));
                }
            }
            rows[start].states = self.states.get(&address).copied();
            start += alike;
        }
        rows
    }
}

fn lengths(sample: &QueueSample) -> QueueLengths {
    QueueLengths {
        at: sample.at,
        accept_queue: sample.length.into(),
        syn_queue: sample.requests.map(u64::from),
        dropped: sample.dropped,
    }
}

impl KnownSocket {
    fn new(socket: &ListenSocket, since: Timestamp, origin: SocketOrigin) -> KnownSocket {
        let first = match origin {
            SocketOrigin::Before => socket.drops.unwrap_or(0),
            SocketOrigin::Meanwhile => 0,
        };
        KnownSocket {
            socket: ListenSocket { drops: socket.drops.map(|_| first), ..socket.clone() },
            since,
            dropped: 0,
            longest: 0,
            run: None,
            filling: None,
            queue: VecDeque::new(),
            lengths: RecentSeconds(VecDeque::new()),
            holder: None,
        }
    }

    fn is_full(&self) -> bool {
        self.socket.backlog.is_some_and(|limit| self.socket.accept_queue > limit)
    }

    /// Records the socket's present state; returns its drops since the last look.
    fn observe(
        &mut self,
        socket: &ListenSocket,
        requests: Option<u32>,
        (since, now): (Timestamp, Timestamp),
    ) -> u64 {
        let was = self.socket.drops.or(socket.drops).unwrap_or(0);
        let was_full = self.is_full();
        let rose = u64::from(socket.drops.unwrap_or(was).wrapping_sub(was));
        self.socket = socket.clone();
        self.longest = self.longest.max(socket.accept_queue);
        self.dropped += rose;
        self.lengths.note(now, socket.accept_queue);
        self.note_sample(QueueSample { at: now, length: socket.accept_queue, requests, dropped: rose });
        let full = self.is_full() || was_full;
        match &mut self.run {
            Some(run) if rose > 0 && (now - run.last < APART || (was_full && run.full)) => {
                run.last = now;
                run.full |= full;
            }
            run if rose > 0 => *run = Some(DropRun { from: since, last: now, full }),
            _ => {}
        }
        rose
    }

    /// One sample a second: the longest queue, all drops.
    fn note_sample(&mut self, sample: QueueSample) {
        match self.queue.back_mut() {
            Some(last) if last.at.seconds() == sample.at.seconds() => {
                last.length = last.length.max(sample.length);
                last.requests = last.requests.max(sample.requests);
                last.dropped += sample.dropped;
            }
            _ => self.queue.push_back(sample),
        }
        if self.queue.len() > REMEMBERED {
            self.queue.pop_front();
        }
    }

    /// Its drops in the last whole second, or in this one if they are more.
    fn dropped_now(&self) -> u64 {
        self.queue.iter().rev().take(2).map(|sample| sample.dropped).max().unwrap_or(0)
    }

    /// Reports once that the queue has been nearly full for some seconds.
    fn is_filling(&mut self, now: Timestamp) -> Option<String> {
        let limit = self.socket.backlog.filter(|limit| *limit >= WORTH_A_WORD)?;
        let queue = self.socket.accept_queue;
        if u64::from(queue) * 100 < u64::from(limit) * NEARLY_FULL {
            self.filling = None;
            return None;
        }
        let drops = self.dropped_now() > 0;
        let (since, told) = self.filling.get_or_insert((now, Told::Yet));
        if *told == Told::Already || now - *since < NEARLY_FULL_FOR {
            return None;
        }
        *told = Told::Already;
        (!drops).then(|| {
            format!(
                "the accept queue of {} has held {queue} of {limit} for {} s: the application accepts too slowly, and connections beyond the limit will be refused",
                self.socket.address,
                (now - *since).0 / 1_000_000_000
            )
        })
    }

    fn row(&self) -> ListenerState {
        ListenerState {
            inode: Some(self.socket.inode),
            queue: Some(self.socket.accept_queue),
            limit: self.socket.backlog,
            longest: Some(self.longest),
            drops: self.socket.drops.map(|_| self.dropped),
            refused: self.dropped_now(),
            refused_since: self.run.as_ref().map(|run| run.from),
            history: self.queue.iter().copied().collect(),
            holder: self.holder.as_ref().map(SocketOwner::describe),
            ..ListenerState::at(self.socket.address)
        }
    }
}

/// Notes the backlog of a socket that refuses something: a new interval begins after [`APART`], or with another
/// backlog.
fn note_refusing(all: &mut VecDeque<RefusalInterval>, socket: &ListenSocket, during: (Timestamp, Timestamp)) {
    let Some(backlog) = socket.backlog else { return };
    let alike = |one: &&mut RefusalInterval| (one.0, one.1) == (socket.address, backlog);
    match all.iter_mut().rev().find(alike).filter(|one| during.0 - one.2.1 < APART) {
        Some((.., known)) => known.1 = during.1,
        None => all.push_back((socket.address, backlog, during)),
    }
    if all.len() > MOST_REFUSING {
        all.pop_front();
    }
}

/// `; its sockets: 3 in CLOSE_WAIT, 0 in SYN_RECV, 12 in TIME_WAIT`.
fn describe_states(states: SocketStates) -> String {
    let time_wait = states.time_wait.map(|n| format!(", {n} in TIME_WAIT")).unwrap_or_default();
    format!("; its sockets: {} in CLOSE_WAIT, {} in SYN_RECV{time_wait}", states.close_wait, states.syn_recv)
}

/// Sockets by state, by the address of the listener that they belong to.
fn by_listener(
    sockets: &[ListenSocket],
    states: Option<&BTreeMap<SocketAddr, SocketStates>>,
) -> BTreeMap<SocketAddr, SocketStates> {
    let Some(states) = states else { return BTreeMap::new() };
    let none = SocketStates { time_wait: Some(0), ..SocketStates::default() };
    let mut of: BTreeMap<SocketAddr, SocketStates> =
        sockets.iter().map(|socket| (socket.address, none)).collect();
    for (local, states) in states {
        if let Some(socket) = serving(sockets, *local).first()
            && let Some(known) = of.get_mut(&socket.address)
        {
            *known = known.plus(*states);
        }
    }
    of
}

fn number(backlog: Option<u32>) -> String {
    backlog.map_or_else(|| "?".to_owned(), |n| n.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp(0) + Span::secs(1_000 + second)
    }

    /// A look at one listening socket, or at none.
    fn look(second: i64, socket: Option<(u64, u32)>) -> Snapshot {
        let listeners = socket.map(|(inode, length)| ListenSocket {
            inode,
            address: "0.0.0.0:80".parse().unwrap(),
            accept_queue: length,
            backlog: Some(16),
            drops: Some(0),
        });
        let listeners = Some(listeners.into_iter().collect());
        let empty = r#"{"schema": "synscope.snapshot/1", "time": "1970-01-01T00:00:00Z", "finished": "1970-01-01T00:00:00Z", "counters": {}, "sysctls": {}}"#;
        let empty: Snapshot = serde_json::from_str(empty).unwrap();
        Snapshot { time: at(second), finished: at(second), listeners, ..empty }
    }

    #[test]
    fn the_queues_of_a_closed_socket_are_remembered() {
        let mut sockets = ListenSockets::default();
        let server = "192.0.2.1:80".parse().unwrap();
        for second in 0..10 {
            sockets.observe(&look(second, Some((1, 17))));
        }
        sockets.observe(&look(10, None));
        let history = sockets.queues(server, (at(2), at(8))).unwrap();
        assert_eq!(history.limit, Some(16));
        assert_eq!(history.samples.iter().map(|sample| sample.accept_queue).max(), Some(17));
        // One that takes its place is another.
        for second in 11..20 {
            sockets.observe(&look(second, Some((2, 3))));
        }
        assert_eq!(sockets.queues(server, (at(2), at(8))), Some(history));
        assert_eq!(sockets.queues("192.0.2.1:81".parse().unwrap(), (at(2), at(8))), None);
        assert_eq!(sockets.queues(server, (at(100), at(101))), None);
    }
}
