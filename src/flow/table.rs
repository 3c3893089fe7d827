//! Finds the connection of a segment, and lets go of connections that are over.
//!
//! One [`Tracker`] per shard. Time is capture time only: a connection that is due is gone for every later segment,
//! whether or not its memory has been freed, so results do not depend on when that happens.

use std::collections::VecDeque;

use crate::decode::segment::{Flags, Segment};
use crate::flow::connection::Connection;
use crate::flow::facts::{ConnectionFacts, Ending, Mark, Previous, Role};
use crate::flow::key::{Direction, FlowKey};
use crate::flow::peer::{PeerEvent, PeerEventKind};
use crate::time::{Span, Timestamp};

/// A handshake that is not complete: the last SYN retry goes out after 63 s to 67 s and times out after 131 s
/// (`tcp_syn_retries` 6 with linear time-outs); the last SYN-ACK request dies after 64 s.
const HANDSHAKE: Span = Span::secs(180);
/// An idle open connection: above the first keepalive probe (7,200 s) and all its retries (9 times 75 s).
const OPEN: Span = Span::secs(3 * 3600);
/// A connection that is over: as long as TIME_WAIT lasts (60 s, `TCP_TIMEWAIT_LEN`), and a little more.
const OVER: Span = Span::secs(65);

/// Which wait a connection is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    Handshake,
    Open,
    Over,
}

impl Wait {
    const ALL: [Wait; 3] = [Wait::Handshake, Wait::Open, Wait::Over];

    fn span(self) -> Span {
        match self {
            Wait::Handshake => HANDSHAKE,
            Wait::Open => OPEN,
            Wait::Over => OVER,
        }
    }

    fn of(f: &ConnectionFacts) -> Wait {
        if f.closed.is_some() {
            Wait::Over
        } else if f.final_ack.is_some() || f.mid_stream || f.progress.is_some() {
            Wait::Open
        } else {
            Wait::Handshake
        }
    }
}

/// When `f` is due to be let go.
fn due(f: &ConnectionFacts) -> Timestamp {
    f.last.time + Wait::of(f).span()
}

/// A place in the index: where the connection is, and enough of the hash to pass over others.
#[derive(Clone, Copy)]
struct Slot {
    tag: u32,
    /// Index into the arena plus one; 0 is free.
    at: u32,
}

const FREE: Slot = Slot { tag: 0, at: 0 };

/// A place in the arena.
#[derive(Debug)]
struct Entry {
    connection: Option<Connection>,
    hash: u64,
    /// Counts the connections that were here, so that a queue entry of an earlier one is recognised.
    generation: u32,
}

/// When to look at a connection again.
#[derive(Clone, Copy, Debug)]
struct Check {
    at: Timestamp,
    entry: u32,
    generation: u32,
}

/// The connections of one shard.
pub struct Tracker {
    /// Open addressing with linear probing; the length is a power of two.
    slots: Vec<Slot>,
    arena: Vec<Entry>,
    vacant: Vec<u32>,
    live: usize,
    /// The most connections held at once; beyond it the one that is due first goes.
    limit: usize,
    checks: [VecDeque<Check>; 3],
    now: Timestamp,
    finished: Vec<ConnectionFacts>,
    events: Vec<PeerEvent>,
    evicted: u64,
}

impl Tracker {
    /// A tracker that holds at most `limit` connections at once (at least one).
    pub fn new(limit: usize) -> Tracker {
        Tracker {
            slots: vec![FREE; 1 << 8],
            arena: Vec::new(),
            vacant: Vec::new(),
            live: 0,
            limit: limit.max(1),
            checks: Default::default(),
            now: Timestamp::MIN,
            finished: Vec::new(),
            events: Vec::new(),
            evicted: 0,
        }
    }

    /// Takes in one segment. Segments come in capture order.
    pub fn segment(&mut self, s: &Segment) {
        if s.time > self.now {
            self.now = s.time;
            self.let_go_of_due();
        }
        let (key, from) = FlowKey::of(s);
        let at = match self.find(s.hash, &key) {
            Some(at) => {
                let connection = self.at(at);
                if due(&connection.facts) < s.time {
                    let ending = match Wait::of(&connection.facts) {
                        Wait::Over => None,
                        Wait::Open | Wait::Handshake => Some(Ending::Expired),
                    };
                    self.restart(at, key, from, s, None, ending)
                } else if connection.is_replaced_by(s, from) {
                    let previous = connection.as_previous();
                    let ending = connection.facts.closed.is_none().then_some(Ending::Replaced);
                    self.restart(at, key, from, s, Some(previous), ending)
                } else {
                    Some(at)
                }
            }
            None => self.start(key, from, s),
        };
        let Some(at) = at else { return };
        let Some(connection) = self.arena[at as usize].connection.as_mut() else { return };
        let was_closed = connection.facts.closed.is_some();
        if connection.segment(s, from) {
            Self::note_event(connection, s, from, &mut self.events);
            if !was_closed && connection.facts.closed.is_some() {
                self.check(at, Wait::Over);
            }
        }
    }

    /// Lets go of every connection: the stream has ended. Hands each one to `take`.
    pub fn finish(&mut self, mut take: impl FnMut(ConnectionFacts)) {
        self.finished.drain(..).for_each(&mut take);
        for at in 0..self.arena.len() as u32 {
            if self.arena[at as usize].connection.is_some() {
                self.remove(at, None);
                self.finished.drain(..).for_each(&mut take);
            }
        }
    }

    /// Moves out the facts of the connections that are over, in no particular order.
    pub fn drain_finished(&mut self) -> std::vec::Drain<'_, ConnectionFacts> {
        self.finished.drain(..)
    }

    /// Moves out the events since the last call, in capture order.
    pub fn drain_events(&mut self) -> std::vec::Drain<'_, PeerEvent> {
        self.events.drain(..)
    }

    /// The events since the last [`Tracker::drain_events`], in capture order.
    pub fn events(&self) -> impl Iterator<Item = &PeerEvent> {
        self.events.iter()
    }

    /// Connections held now.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Connections given up before their time because there were too many.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    fn at(&self, at: u32) -> &Connection {
        self.arena[at as usize].connection.as_ref().expect("the index names occupied entries only")
    }

    /// A new connection where there was none. ICMP errors about connections that are not known start none.
    fn start(&mut self, key: FlowKey, from: Direction, s: &Segment) -> Option<u32> {
        self.insert(key, from, s, None)
    }

    fn restart(
        &mut self,
        at: u32,
        key: FlowKey,
        from: Direction,
        s: &Segment,
        previous: Option<Previous>,
        ending: Option<Ending>,
    ) -> Option<u32> {
        self.remove(at, ending);
        self.insert(key, from, s, previous)
    }

    fn insert(
        &mut self,
        key: FlowKey,
        from: Direction,
        s: &Segment,
        previous: Option<Previous>,
    ) -> Option<u32> {
        if s.icmp().is_some() {
            return None;
        }
        if self.live >= self.limit {
            self.evict();
        }
        if (self.live + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let connection = Connection::begin(key, from, s, previous);
        let at = match self.vacant.pop() {
            Some(at) => at,
            None => {
                self.arena.push(Entry { connection: None, hash: 0, generation: 0 });
                (self.arena.len() - 1) as u32
            }
        };
        let entry = &mut self.arena[at as usize];
        entry.connection = Some(connection);
        entry.hash = s.hash;
        let mask = self.slots.len() - 1;
        let mut i = s.hash as usize >> SHARD_BITS & mask;
        while self.slots[i].at != 0 {
            i = (i + 1) & mask;
        }
        self.slots[i] = Slot { tag: (s.hash >> 32) as u32, at: at + 1 };
        self.live += 1;
        self.check(at, Wait::Handshake);
        Some(at)
    }

    #[inline]
    fn find(&self, hash: u64, key: &FlowKey) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let tag = (hash >> 32) as u32;
        let mut i = hash as usize >> SHARD_BITS & mask;
        loop {
            let slot = self.slots[i];
            if slot.at == 0 {
                return None;
            }
            if slot.tag == tag && self.at(slot.at - 1).key == *key {
                return Some(slot.at - 1);
            }
            i = (i + 1) & mask;
        }
    }

    fn remove(&mut self, at: u32, ending: Option<Ending>) {
        let entry = &mut self.arena[at as usize];
        let Some(connection) = entry.connection.take() else { return };
        entry.generation = entry.generation.wrapping_add(1);
        let hash = entry.hash;
        self.vacant.push(at);
        self.live -= 1;
        let mut facts = connection.facts;
        facts.ending = ending.unwrap_or(match facts.closed {
            Some(_) if facts.c.resets + facts.s.resets > 0 => Ending::Reset,
            Some(_) => Ending::Closed,
            None => Ending::CaptureEnd,
        });
        facts.watched = match facts.ending {
            Ending::CaptureEnd => Timestamp::MAX,
            Ending::Expired => due(&facts),
            Ending::Replaced | Ending::Evicted => self.now,
            Ending::Closed | Ending::Reset => facts.last.time,
        };
        self.finished.push(facts);
        self.vacate_slot(hash, at);
    }

    /// Frees the slot of entry `at` and closes the gap, so that probing still finds what lay beyond it.
    fn vacate_slot(&mut self, hash: u64, at: u32) {
        let mask = self.slots.len() - 1;
        let mut hole = hash as usize >> SHARD_BITS & mask;
        while self.slots[hole].at != at + 1 {
            hole = (hole + 1) & mask;
        }
        let mut i = hole;
        loop {
            i = (i + 1) & mask;
            let slot = self.slots[i];
            if slot.at == 0 {
                break;
            }
            let home = self.arena[slot.at as usize - 1].hash as usize >> SHARD_BITS & mask;
            // The slot may move back to the hole only if its home is not after the hole (on the circle).
            if (i.wrapping_sub(home) & mask) >= (i.wrapping_sub(hole) & mask) {
                self.slots[hole] = slot;
                hole = i;
            }
        }
        self.slots[hole] = FREE;
    }

    fn grow(&mut self) {
        let length = self.slots.len() * 2;
        let mask = length - 1;
        let mut slots = vec![FREE; length];
        for slot in self.slots.iter().filter(|slot| slot.at != 0) {
            let mut i = self.arena[slot.at as usize - 1].hash as usize >> SHARD_BITS & mask;
            while slots[i].at != 0 {
                i = (i + 1) & mask;
            }
            slots[i] = *slot;
        }
        self.slots = slots;
    }

    fn check(&mut self, at: u32, wait: Wait) {
        let generation = self.arena[at as usize].generation;
        self.checks[wait as usize].push_back(Check { at: self.now + wait.span(), entry: at, generation });
    }

    /// Frees what is due. A connection that went on meanwhile is looked at again later.
    fn let_go_of_due(&mut self) {
        for wait in Wait::ALL {
            while let Some(check) = self.checks[wait as usize].front().copied() {
                if check.at >= self.now {
                    break;
                }
                self.checks[wait as usize].pop_front();
                let entry = &self.arena[check.entry as usize];
                if entry.generation != check.generation {
                    continue;
                }
                let Some(connection) = entry.connection.as_ref() else { continue };
                if due(&connection.facts) < self.now {
                    let closed = connection.facts.closed.is_some();
                    self.remove(check.entry, (!closed).then_some(Ending::Expired));
                } else if wait != Wait::Over {
                    let now_in = Wait::of(&self.at(check.entry).facts);
                    if now_in != Wait::Over {
                        self.check(check.entry, now_in);
                    }
                } else {
                    self.check(check.entry, Wait::Over);
                }
            }
        }
    }

    /// Gives up the connection that has waited longest: first those that are over, then handshakes, then open ones.
    fn evict(&mut self) {
        for wait in [Wait::Over, Wait::Handshake, Wait::Open] {
            while let Some(check) = self.checks[wait as usize].pop_front() {
                let entry = &self.arena[check.entry as usize];
                if entry.generation == check.generation && entry.connection.is_some() {
                    self.evicted += 1;
                    self.remove(check.entry, Some(Ending::Evicted));
                    return;
                }
            }
        }
    }

    /// What the segment means to the memory that a server keeps of its clients.
    #[inline]
    fn note_event(c: &Connection, s: &Segment, from: Direction, events: &mut Vec<PeerEvent>) {
        if c.role(from) != Role::Client || s.icmp().is_some() {
            return;
        }
        let f = &c.facts;
        let what = if s.flags.has(Flags::SYN) && !s.flags.has(Flags::ACK) {
            let in_time_wait = f.previous.as_ref().is_some_and(|p| p.closed && s.time - p.last.time <= OVER);
            PeerEventKind::Syn { in_time_wait }
        } else if let Some(server_fin) = f.s.fin
            && s.timestamp().is_some()
            && (f.s.fin_acked == Some(Mark::of(s)) || s.flags.has(Flags::FIN) && f.s.fin_acked.is_some())
            && f.c.fin.is_none_or(|client_fin| client_fin > server_fin)
        {
            PeerEventKind::Remembered
        } else {
            return;
        };
        events.push(PeerEvent {
            at: Mark::of(s),
            connection: f.first.packet,
            client: f.client.address,
            server: f.server,
            tsval: s.timestamp(),
            what,
        });
    }
}

/// The low bits of the hash choose the shard ([`crate::engine`]); the table uses those above.
pub const SHARD_BITS: u32 = 5;

#[cfg(test)]
mod tests;
