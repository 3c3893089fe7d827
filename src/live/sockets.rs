//! The listening sockets of the host from look to look: what each refused by its own drop count, how full its queue is,
//! and which of them vanished or came back otherwise.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use crate::decode::segment::Address;
use crate::detect::Found;
use crate::detect::context::CaptureContext;
use crate::detect::draft::{Draft, count};
use crate::detect::registry;
use crate::diagnose::host::account::{LISTEN_OVERFLOWS, REQ_Q_FULL_DROP};
use crate::diagnose::host::{self, account};
use crate::flow::facts::PacketRef;
use crate::flow::key::Host;
use crate::host::Snapshot;
use crate::host::listeners::{ListenSocket, serving};
use crate::host::process::Holder;
use crate::live::state::{Listener, QueueSample};
use crate::model::{Kind, Severity, Vantage};
use crate::time::{Span, Timestamp};

/// Drops further apart than this belong to two runs, unless the queue was full in between.
const APART: Span = Span::secs(10);
/// A SYN that is not repeated by then was given up.
const GIVEN_UP: Span = Span::millis(1_400);
/// A queue that is this full, in per cent, for so long is told before anything is dropped.
const NEARLY_FULL: u64 = 80;
const NEARLY_FULL_FOR: Span = Span::secs(3);
/// Shorter queues are full at once.
const WORTH_A_WORD: u32 = 5;
/// A client that was refused and says something repeats it by then.
const SHOWN_BY_THEN: Span = Span::millis(3_500);
/// Packets that stand for those that were refused.
const SHOWN: usize = 5;
/// Looks of which the queue is remembered.
const REMEMBERED: usize = 300;

/// All of them.
#[derive(Default)]
pub struct ListenSockets {
    known: BTreeMap<u64, Known>,
    /// When they were looked at last, and what the host had counted then: full accept queues, full SYN queues.
    looked: Option<(Timestamp, [u64; 2])>,
}

/// A listening socket.
struct Known {
    socket: ListenSocket,
    /// Its drops since it was first seen.
    dropped: u64,
    /// And in the last look.
    dropped_now: u64,
    longest: u32,
    /// The latest run of drops.
    run: Option<Run>,
    /// Since when its queue has been nearly full; whether that was told.
    filling: Option<(Timestamp, Told)>,
    /// The queue of the last minutes.
    queue: VecDeque<QueueSample>,
    /// Who holds it, if that may be seen.
    holder: Option<Holder>,
}

/// Whether something was told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Yet,
    Already,
}

/// A run of drops of one socket.
#[derive(Clone, Debug)]
struct Run {
    /// The end of the look before the first drop.
    from: Timestamp,
    /// The look that showed the last drop.
    last: Timestamp,
    dropped: u64,
    /// How much the host counted meanwhile: full accept queues, full SYN queues.
    counted: [u64; 2],
    /// The longest queue, and whether it held more than its limit.
    longest: u32,
    full: bool,
}

/// How the sockets are that serve one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// When the last drop was seen, if any.
    pub dropped: Option<Timestamp>,
    /// Whether a queue holds more than its limit now.
    pub full: bool,
}

impl ListenSockets {
    /// Takes in what was seen. Gives what is worth a word: queues that fill, sockets that vanished or came back with
    /// another backlog.
    pub fn observe(&mut self, look: &Snapshot) -> Vec<String> {
        let Some(sockets) = &look.listeners else { return Vec::new() };
        let counted = [LISTEN_OVERFLOWS, REQ_Q_FULL_DROP]
            .map(|counter| look.counters.get(counter.name).copied().unwrap_or(0));
        let (since, rose) = match self.looked {
            Some((at, before)) => (at, [0, 1].map(|n| counted[n].saturating_sub(before[n]))),
            None => (look.time, [0, 0]),
        };
        let mut told = self.note_changes(sockets);
        let is_first = self.looked.is_none();
        self.looked = Some((look.finished, counted));
        for socket in sockets {
            let known = self.known.entry(socket.inode).or_insert_with(|| Known::new(socket, is_first));
            known.observe(socket, (since, look.time), rose);
            if let Some(holder) = look.holders.get(&socket.inode) {
                known.holder = Some(holder.clone());
            }
            told.extend(known.is_filling(look.time));
        }
        told
    }

    /// Forgets sockets that are gone, and says so of those that had clients.
    fn note_changes(&mut self, sockets: &[ListenSocket]) -> Vec<String> {
        let there: BTreeSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
        let mut told = Vec::new();
        let gone: Vec<u64> = self.known.keys().filter(|inode| !there.contains(inode)).copied().collect();
        for inode in gone {
            let Some(was) = self.known.remove(&inode) else { continue };
            let address = was.socket.address;
            let is_other =
                |socket: &&ListenSocket| socket.address == address && !self.known.contains_key(&socket.inode);
            match sockets.iter().find(is_other) {
                Some(other) if other.backlog != was.socket.backlog => told.push(format!(
                    "another socket listens at {address} now: its backlog is {}, that of the one before was {}",
                    number(other.backlog),
                    number(was.socket.backlog)
                )),
                Some(_) => told.push(format!("another socket listens at {address} now: it was started again")),
                None if sockets.iter().any(|socket| socket.address == address) => {}
                None if was.longest > 0 || was.dropped > 0 => {
                    told.push(format!("nobody listens at {address} any more: its socket was closed"));
                }
                None => {}
            }
        }
        told
    }

    /// The sockets that serve `server`.
    fn serving(&self, server: SocketAddr) -> impl Iterator<Item = &Known> {
        let all: Vec<ListenSocket> = self
            .known
            .values()
            .filter(|k| k.socket.address.port() == server.port())
            .map(|k| k.socket.clone())
            .collect();
        let inodes: BTreeSet<u64> = serving(&all, server).iter().map(|socket| socket.inode).collect();
        self.known.values().filter(move |known| inodes.contains(&known.socket.inode))
    }

    /// How the sockets are that serve `server`; `None` where none is known.
    pub fn trouble(&self, server: SocketAddr) -> Option<Trouble> {
        let each = self
            .serving(server)
            .map(|known| Trouble { dropped: known.run.as_ref().map(|run| run.last), full: known.is_full() });
        each.reduce(|a, b| Trouble { dropped: a.dropped.max(b.dropped), full: a.full || b.full })
    }

    /// What the sockets that serve `server` have refused in their latest runs of drops, in a sentence.
    pub fn refused(&self, server: SocketAddr) -> Option<String> {
        let runs: Vec<(&Known, &Run)> =
            self.serving(server).filter_map(|known| Some((known, known.run.as_ref()?))).collect();
        let (known, run) = runs.iter().max_by_key(|(_, run)| run.dropped)?;
        let dropped: u64 = runs.iter().map(|(_, run)| run.dropped).sum();
        let since = runs.iter().map(|(_, run)| run.from).min().unwrap_or(run.from);
        let holder =
            known.holder.as_ref().map(|holder| format!("; {}", holder.describe())).unwrap_or_default();
        Some(format!(
            "{} refused {} by its own drop count since {}; queue {} of {}{holder}",
            known.socket.address,
            count(dropped, "attempt"),
            &since.to_string()[11..19],
            known.socket.accept_queue,
            number(known.socket.backlog)
        ))
    }

    /// A finding for each socket that has refused attempts which their clients gave up before a SYN was repeated: no
    /// connection shows them.
    ///
    /// And for each that has refused final ACKs whose clients then kept silent: after a syncookie nothing shows that.
    /// `known` are servers of which connections show it.
    pub fn short_attempts(
        &self,
        context: &CaptureContext,
        handshake: impl Fn(Address, (Timestamp, Timestamp)) -> Option<PacketRef>,
        known_servers: &BTreeSet<Host>,
        now: Timestamp,
    ) -> Vec<Found> {
        let mut found = Vec::new();
        for (known, run) in self.known.values().filter_map(|known| Some((known, known.run.as_ref()?))) {
            let port = known.socket.address.port();
            let is_served = |server: SocketAddr| {
                server.port() == port && self.serving(server).any(|k| k.socket.inode == known.socket.inode)
            };
            let here = context.activities.iter().filter(|(host, _)| is_served(host.socket()));
            let given_up = here.map(|(host, activity)| {
                let within =
                    activity.lone_syns.iter().map(|lone| lone.syn).filter(|syn| {
                        run.from <= syn.time && syn.time <= run.last && now - syn.time >= GIVEN_UP
                    });
                (*host, within.collect::<Vec<_>>())
            });
            let most =
                given_up.filter(|(_, syns)| !syns.is_empty()).max_by_key(|(host, syns)| (syns.len(), *host));
            if let Some((server, mut syns)) = most
                && let Some(kind) = run.kind()
            {
                syns.sort_unstable();
                let mut d = Draft::about_listener(
                    server,
                    registry::spec(kind),
                    (syns[0], "SYN: no answer, and no second one"),
                );
                syns.iter().skip(1).take(SHOWN - 1).for_each(|syn| {
                    d.shows(*syn, "SYN: no answer, and no second one");
                });
                run.describe(&mut d, known, syns.len() as u64);
                found.push((Box::new(d), Vantage::Server));
                continue;
            }
            let is_old = now - run.from >= SHOWN_BY_THEN && run.kind() == Some(Kind::SynDropAcceptQueue);
            let mut here = context.listeners.keys().filter(|host| is_served(host.socket()));
            if let Some(server) = here.clone().min().filter(|_| is_old)
                && !here.any(|host| known_servers.contains(host))
                && let Some(at) = handshake(server.address, (run.from, run.last))
            {
                let spec = registry::spec(Kind::AcceptQueueOverflow);
                let mut d = Draft::about_listener(*server, spec, (at, "a handshake of that time"));
                run.describe(&mut d, known, 0);
                found.push((Box::new(d), Vantage::Server));
            }
        }
        found
    }

    /// A row for each socket; of several at one address the worst first.
    pub fn rows(&self) -> Vec<Listener> {
        let mut rows: Vec<Listener> = self.known.values().map(Known::row).collect();
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
            start += alike;
        }
        rows
    }
}

impl Known {
    /// Of a socket that appears later all drops count.
    fn new(socket: &ListenSocket, is_first: bool) -> Known {
        let first = if is_first { socket.drops.unwrap_or(0) } else { 0 };
        Known {
            socket: ListenSocket { drops: socket.drops.map(|_| first), ..socket.clone() },
            dropped: 0,
            dropped_now: 0,
            longest: 0,
            run: None,
            filling: None,
            queue: VecDeque::new(),
            holder: None,
        }
    }

    fn is_full(&self) -> bool {
        self.socket.backlog.is_some_and(|limit| self.socket.accept_queue > limit)
    }

    fn observe(&mut self, socket: &ListenSocket, (since, now): (Timestamp, Timestamp), counted: [u64; 2]) {
        let was = self.socket.drops.or(socket.drops).unwrap_or(0);
        let was_full = self.is_full();
        let rose = u64::from(socket.drops.unwrap_or(was).wrapping_sub(was));
        self.socket = socket.clone();
        self.longest = self.longest.max(socket.accept_queue);
        self.dropped_now = rose;
        self.dropped += rose;
        self.queue.push_back(QueueSample { at: now, length: socket.accept_queue, dropped: rose });
        if self.queue.len() > REMEMBERED {
            self.queue.pop_front();
        }
        let full = self.is_full() || was_full;
        if let Some(run) = &mut self.run {
            let goes_on = now - run.last < APART || (was_full && run.full);
            if goes_on && rose > 0 {
                run.last = now;
                run.dropped += rose;
                run.counted = [0, 1].map(|n| run.counted[n] + counted[n]);
                run.longest = run.longest.max(socket.accept_queue);
                run.full |= full;
            }
            if goes_on || rose == 0 {
                return;
            }
        }
        if rose > 0 {
            let longest = socket.accept_queue;
            self.run = Some(Run { from: since, last: now, dropped: rose, counted, longest, full });
        }
    }

    /// Says once that the queue has been nearly full for some seconds.
    fn is_filling(&mut self, now: Timestamp) -> Option<String> {
        let limit = self.socket.backlog.filter(|limit| *limit >= WORTH_A_WORD)?;
        let queue = self.socket.accept_queue;
        if u64::from(queue) * 100 < u64::from(limit) * NEARLY_FULL {
            self.filling = None;
            return None;
        }
        let (since, told) = self.filling.get_or_insert((now, Told::Yet));
        if *told == Told::Already || now - *since < NEARLY_FULL_FOR {
            return None;
        }
        *told = Told::Already;
        (self.dropped_now == 0).then(|| {
            format!(
                "the accept queue of {} has held {queue} of {limit} for {} s: the application accepts too slowly, and \
                 what comes beyond the limit will be refused",
                self.socket.address,
                (now - *since).0 / 1_000_000_000
            )
        })
    }

    fn row(&self) -> Listener {
        Listener {
            inode: Some(self.socket.inode),
            queue: Some(self.socket.accept_queue),
            limit: self.socket.backlog,
            longest: Some(self.longest),
            drops: self.socket.drops.map(|_| self.dropped),
            refused: self.dropped_now,
            refused_since: self.run.as_ref().map(|run| run.from),
            history: self.queue.iter().copied().collect(),
            holder: self.holder.as_ref().map(Holder::describe),
            ..Listener::at(self.socket.address)
        }
    }
}

impl Run {
    /// What refused the attempts; `None` where neither queue was full.
    fn kind(&self) -> Option<Kind> {
        let [accept_queue, syn_queue] = self.counted;
        match (self.full && accept_queue > 0, syn_queue > 0) {
            (true, _) => Some(Kind::SynDropAcceptQueue),
            (false, true) => Some(Kind::SynDropSynQueue),
            (false, false) => None,
        }
    }

    fn describe(&self, d: &mut Draft, known: &Known, given_up: u64) {
        let (address, limit) = (known.socket.address, number(known.socket.backlog));
        let (of, counter, counted) = match d.kind {
            Kind::SynDropAcceptQueue | Kind::AcceptQueueOverflow => {
                ("accept queue", LISTEN_OVERFLOWS, self.counted[0])
            }
            _ => ("SYN queue", REQ_Q_FULL_DROP, self.counted[1]),
        };
        let refused = count(self.dropped, "attempt");
        d.summary = match d.kind {
            Kind::SynDropAcceptQueue | Kind::AcceptQueueOverflow => {
                format!(
                    "{address} refused {refused} by its own drop count; queue {} of {limit}.",
                    self.longest
                )
            }
            _ => format!("{address} refused {refused} by its own drop count; its SYN queue was full."),
        };
        host::blame_full_queue(d);
        d.severity = if self.dropped >= 3 { Severity::Critical } else { Severity::Warning };
        d.confirmed(format!(
            "the drops of this listener's own socket rose by {}, while {} and its {of} was full",
            self.dropped,
            counter.moved(counted)
        ));
        d.note_host_counter(account::OWN_DROPS, self.dropped);
        d.measure("syns_given_up", given_up).measure("accept_queue", self.longest);
        d.lasted_until(self.last);
    }
}

fn number(backlog: Option<u32>) -> String {
    backlog.map_or_else(|| "?".to_owned(), |n| n.to_string())
}
