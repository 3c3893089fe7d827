//! Finds the connection of a segment, and lets go of connections that are over.
//!
//! One [`Tracker`] per shard. Time is capture time only: a connection that is due is gone for every later segment,
//! whether or not its memory has been freed, so results do not depend on when that happens.
//!
//! A connection has a full record only while something may still happen to it: before the handshake is complete it is
//! a `HalfOpen`, and once its facts are handed out an `Over` stays, both small, so that what is open fits in
//! the cache (measured in `docs/performance.md`).

use std::collections::VecDeque;

use crate::decode::segment::{Address, Flags, PacketId, Segment};
use crate::flow::connection::Connection;
use crate::flow::facts::{ConnectionFacts, Ending, Mark, Previous, Role};
use crate::flow::half_open::HalfOpen;
use crate::flow::key::{Direction, FlowKey, Host};
use crate::flow::over::Over;
use crate::flow::peer::{PeerEvent, PeerEventKind};
use crate::time::{Span, Timestamp};

/// A handshake that is not complete: the last SYN retry goes out after 63 s to 67 s and times out after 131 s
/// (`tcp_syn_retries` 6 with linear time-outs); the last SYN-ACK request dies after 64 s.
const HANDSHAKE: Span = Span::secs(180);
/// An idle open connection: above the first keepalive probe (7,200 s) and all its retries (9 times 75 s).
const OPEN: Span = Span::secs(3 * 3600);
/// A connection that is over: as long as TIME_WAIT lasts (60 s, `TCP_TIMEWAIT_LEN`), and a little more.
const OVER: Span = Span::secs(65);
/// How long after a RST the connection is still watched in full: its peer may not have got it and go on.
const AFTERMATH: Span = Span::secs(2);

/// How long after the last acknowledgment: copies of the last packets come at once.
const CLOSING: Span = Span::millis(50);

/// How many segments are looked up together.
const LOOKAHEAD: usize = 16;

/// Octets of a full record with its place in the index and in a queue.
const FULL_OCTETS: usize = size_of::<Entry<Connection>>() + PLACE_OCTETS;
const HALF_OPEN_OCTETS: usize = size_of::<Entry<HalfOpen>>() + PLACE_OCTETS;
const OVER_OCTETS: usize = size_of::<Entry<Over>>() + PLACE_OCTETS;
/// A place in the index, which is at least three eighths full, and one in a queue, which may be half empty.
const PLACE_OCTETS: usize = 3 * size_of::<Slot>() + 2 * size_of::<Check>();

/// Which wait a connection is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    Handshake,
    Open,
    Closing,
    Aftermath,
    Over,
}

impl Wait {
    const ALL: [Wait; 5] = [Wait::Handshake, Wait::Open, Wait::Closing, Wait::Aftermath, Wait::Over];

    fn span(self) -> Span {
        match self {
            Wait::Handshake => HANDSHAKE,
            Wait::Open => OPEN,
            Wait::Closing => CLOSING,
            Wait::Aftermath => AFTERMATH,
            Wait::Over => OVER,
        }
    }

    #[inline]
    fn of(f: &ConnectionFacts) -> Wait {
        if f.closed.is_some() {
            if f.c.resets + f.s.resets > 0 { Wait::Aftermath } else { Wait::Closing }
        } else if f.final_ack.is_some() || f.mid_stream || f.progress.is_some() {
            Wait::Open
        } else {
            Wait::Handshake
        }
    }
}

/// When `f` is due to be let go.
#[inline]
fn due(f: &ConnectionFacts) -> Timestamp {
    f.last.time + Wait::of(f).span()
}

/// A place in the index: where the connection is, and enough of the hash to pass over others.
#[derive(Clone, Copy)]
struct Slot {
    /// The upper half of the hash; its low bits are the home.
    tag: u32,
    at: At,
}

/// Which record of which pool; 0 for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct At(u32);

/// The pools.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    HalfOpen,
    Full,
    Over,
}

impl At {
    const NONE: At = At(0);

    #[inline]
    fn new(form: Form, place: u32) -> At {
        At((place << 2) + form as u32 + 1)
    }

    #[inline]
    fn form(self) -> Form {
        match (self.0 - 1) & 3 {
            0 => Form::HalfOpen,
            1 => Form::Full,
            _ => Form::Over,
        }
    }

    #[inline]
    fn place(self) -> u32 {
        (self.0 - 1) >> 2
    }
}

const FREE: Slot = Slot { tag: 0, at: At::NONE };

/// A place in a pool.
#[derive(Debug)]
struct Entry<T> {
    /// The upper half of the flow hash, by which its slot is found.
    tag: u32,
    /// Counts the records that were here, so that a queue entry of an earlier one is recognised.
    generation: u32,
    value: Option<T>,
}

impl<T> Entry<T> {
    #[inline]
    fn touch(&self, inside: impl Fn(&T) -> u32) -> u32 {
        self.generation ^ self.value.as_ref().map_or(0, inside)
    }
}

/// Records of one form, in pieces so that none is ever moved and no room is set aside twice.
#[derive(Debug)]
struct Pool<T> {
    pieces: Vec<Vec<Entry<T>>>,
    vacant: Vec<u32>,
    held: usize,
}

impl<T> Default for Pool<T> {
    fn default() -> Pool<T> {
        Pool { pieces: Vec::new(), vacant: Vec::new(), held: 0 }
    }
}

impl<T> Pool<T> {
    const PIECE: usize = 64;

    fn insert(&mut self, tag: u32, value: T) -> u32 {
        self.held += 1;
        if let Some(place) = self.vacant.pop() {
            let entry = self.entry_mut(place);
            (entry.tag, entry.value) = (tag, Some(value));
            return place;
        }
        if self.pieces.last().is_none_or(|piece| piece.len() == Self::PIECE) {
            self.pieces.push(Vec::with_capacity(Self::PIECE));
        }
        let piece = self.pieces.len() - 1;
        self.pieces[piece].push(Entry { tag, generation: 0, value: Some(value) });
        (piece * Self::PIECE + self.pieces[piece].len() - 1) as u32
    }

    /// Empties a place, and says by which tag its slot is found.
    fn remove(&mut self, place: u32) -> u32 {
        let entry = self.entry_mut(place);
        entry.value = None;
        entry.generation = entry.generation.wrapping_add(1);
        let tag = entry.tag;
        self.held -= 1;
        self.vacant.push(place);
        tag
    }

    #[inline]
    fn entry(&self, place: u32) -> &Entry<T> {
        &self.pieces[place as usize / Self::PIECE][place as usize % Self::PIECE]
    }

    #[inline]
    fn entry_mut(&mut self, place: u32) -> &mut Entry<T> {
        &mut self.pieces[place as usize / Self::PIECE][place as usize % Self::PIECE]
    }

    #[inline]
    fn get(&self, place: u32) -> &T {
        self.entry(place).value.as_ref().expect("the index names occupied places only")
    }

    #[inline]
    fn get_mut(&mut self, place: u32) -> &mut T {
        self.entry_mut(place).value.as_mut().expect("the index names occupied places only")
    }
}

/// When to look at a connection again.
#[derive(Clone, Copy, Debug)]
struct Check {
    at: Timestamp,
    what: At,
    generation: u32,
}

/// The connections of one shard.
pub struct Tracker {
    /// Open addressing with linear probing; the length is a power of two.
    slots: Vec<Slot>,
    half_open: Pool<HalfOpen>,
    full: Pool<Connection>,
    over: Pool<Over>,
    /// The most connections held at once; beyond it the one that is due first goes.
    limit: usize,
    /// The same in octets.
    most_octets: usize,
    checks: [VecDeque<Check>; 5],
    now: Timestamp,
    finished: Vec<ConnectionFacts>,
    events: Vec<PeerEvent>,
    evicted: u64,
    late: u64,
}

impl Tracker {
    /// A tracker that holds at most `limit` connections at once (at least one).
    pub fn new(limit: usize) -> Tracker {
        Tracker {
            slots: vec![FREE; 1 << 8],
            half_open: Pool::default(),
            full: Pool::default(),
            over: Pool::default(),
            limit: limit.max(1),
            most_octets: usize::MAX,
            checks: Default::default(),
            now: Timestamp::MIN,
            finished: Vec::new(),
            events: Vec::new(),
            evicted: 0,
            late: 0,
        }
    }

    /// A tracker that takes about `octets` at most for connections that are open, half open or just over.
    pub fn within(octets: usize) -> Tracker {
        Tracker { most_octets: octets, ..Tracker::new(usize::MAX) }
    }

    /// Takes in a run of segments, in capture order; `over` gets the facts of connections as they end.
    ///
    /// What a segment needs is rarely in the cache when millions of connections are open. Looking up the next few
    /// first lets the processor fetch for all of them at once.
    pub fn segments(&mut self, segments: &[Segment], mut over: impl FnMut(&ConnectionFacts)) {
        for few in segments.chunks(LOOKAHEAD) {
            let mut at = [At::NONE; LOOKAHEAD];
            let mask = self.slots.len() - 1;
            for (at, s) in at.iter_mut().zip(few) {
                let tag = (s.hash >> 32) as u32;
                let slot = self.slots[tag as usize & mask];
                *at = if slot.tag == tag { slot.at } else { At::NONE };
            }
            std::hint::black_box(at.iter().fold(0, |sum, at| sum ^ self.touch(*at)));
            for s in few {
                self.segment(s);
                if !self.finished.is_empty() {
                    self.finished.iter().for_each(&mut over);
                    self.finished.clear();
                }
            }
        }
    }

    /// Reads something at either end of a record.
    #[inline]
    fn touch(&self, at: At) -> u32 {
        if at == At::NONE {
            return 0;
        }
        match at.form() {
            Form::HalfOpen => self.half_open.entry(at.place()).touch(HalfOpen::touch),
            Form::Full => self.full.entry(at.place()).touch(Connection::touch),
            Form::Over => self.over.entry(at.place()).touch(Over::touch),
        }
    }

    /// Takes in one segment. Segments come in capture order.
    pub fn segment(&mut self, s: &Segment) {
        if s.time > self.now {
            self.now = s.time;
            self.let_go_of_due();
        }
        let (key, from) = FlowKey::of(s);
        let tag = (s.hash >> 32) as u32;
        let Some(slot) = self.find(tag, &key) else { return self.start(tag, key, from, s, None) };
        let at = self.slots[slot].at;
        match at.form() {
            Form::HalfOpen => {
                let known = self.half_open.get_mut(at.place());
                if known.last() + HANDSHAKE < s.time {
                    self.end(at, Some(Ending::Expired));
                    self.start(tag, key, from, s, None);
                } else if known.take(from, s) {
                    if known.is_client(from) {
                        let (connection, at) = (known.first().packet, Mark::of(s));
                        self.events.push(syn(connection, at, key, from, s, false));
                    }
                } else {
                    let at = self.complete(slot);
                    self.full_segment(at, tag, key, from, s);
                }
            }
            Form::Full => self.full_segment(at, tag, key, from, s),
            Form::Over => {
                let known = self.over.get_mut(at.place());
                if known.previous.last.time + OVER < s.time {
                    self.end(at, None);
                    self.start(tag, key, from, s, None);
                } else if known.is_replaced_by(s, from) {
                    let previous = known.previous;
                    self.end(at, None);
                    self.start(tag, key, from, s, Some(previous));
                } else {
                    known.absorb(s);
                    self.late += 1;
                }
            }
        }
    }

    fn full_segment(&mut self, at: At, tag: u32, key: FlowKey, from: Direction, s: &Segment) {
        let connection = self.full.get_mut(at.place());
        if due(&connection.facts) < s.time {
            let closed = connection.facts.closed.is_some();
            // What is over keeps its four-tuple longer than its record.
            if closed {
                self.release(at);
                return self.segment(s);
            }
            self.end(at, Some(Ending::Expired));
            return self.start(tag, key, from, s, None);
        }
        if connection.is_replaced_by(s, from) {
            let previous = connection.as_previous();
            let ending = connection.facts.closed.is_none().then_some(Ending::Replaced);
            self.end(at, ending);
            return self.start(tag, key, from, s, Some(previous));
        }
        self.take(at, from, s);
    }

    /// Hands a segment to its full record.
    #[inline]
    fn take(&mut self, at: At, from: Direction, s: &Segment) {
        let connection = self.full.get_mut(at.place());
        let was_closed = connection.facts.closed.is_some();
        if !connection.segment(s, from) {
            return;
        }
        note_event(connection, s, from, &mut self.events);
        if !was_closed && connection.facts.closed.is_some() {
            let wait = Wait::of(&connection.facts);
            self.check(at, wait);
        }
    }

    /// Lets go of every connection: the stream has ended.
    pub fn finish(&mut self) {
        let mut all = Vec::new();
        self.finish_into(|facts| all.push(facts.clone()));
        self.finished.extend(all);
    }

    /// Lets go of every connection and hands it to `take`: the stream has ended.
    pub fn finish_into(&mut self, mut take: impl FnMut(&ConnectionFacts)) {
        let now = self.now;
        self.finished.drain(..).for_each(|facts| take(&facts));
        // What is not needed any more goes at once: the facts of the last connections want room.
        (self.slots, self.checks, self.over) = (Vec::new(), Default::default(), Pool::default());
        for piece in std::mem::take(&mut self.half_open.pieces) {
            for half_open in piece.iter().filter_map(|entry| entry.value.as_ref()) {
                take(&ended(&mut half_open.play(), None, now));
            }
        }
        for mut piece in std::mem::take(&mut self.full.pieces) {
            for connection in piece.iter_mut().filter_map(|entry| entry.value.as_mut()) {
                take(&ended(connection, None, now));
            }
        }
        let Tracker { limit, most_octets, evicted, late, .. } = *self;
        *self = Tracker { limit, most_octets, evicted, late, now: self.now, ..Tracker::new(limit) };
    }

    /// Moves out the facts of the connections that are over, in no particular order.
    #[inline]
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

    /// Connections held now, those included that are over and keep their four-tuple.
    pub fn live(&self) -> usize {
        self.half_open.held + self.full.held + self.over.held
    }

    /// Segments that came after their connection was over and its facts were handed out: no news.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Connections given up before their time because there were too many.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// A new connection where there was none. ICMP errors about connections that are not known start none.
    fn start(&mut self, tag: u32, key: FlowKey, from: Direction, s: &Segment, previous: Option<Previous>) {
        if s.icmp().is_some() {
            return;
        }
        while self.live() >= self.limit || self.octets() >= self.most_octets {
            if !self.evict() {
                break;
            }
        }
        if (self.live() + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let half_open = if previous.is_none() { HalfOpen::begin(key, from, s) } else { None };
        match half_open {
            Some(half_open) => {
                let at = At::new(Form::HalfOpen, self.half_open.insert(tag, half_open));
                self.index(tag, at);
                self.check(at, Wait::Handshake);
                self.events.push(syn(s.packet, Mark::of(s), key, from, s, false));
            }
            None => {
                let connection = Connection::begin(key, from, s, previous);
                let at = At::new(Form::Full, self.full.insert(tag, connection));
                self.index(tag, at);
                self.check(at, Wait::Handshake);
                self.take(at, from, s);
            }
        }
    }

    fn octets(&self) -> usize {
        self.half_open.held * HALF_OPEN_OCTETS + self.full.held * FULL_OCTETS + self.over.held * OVER_OCTETS
    }

    /// Gives the half-open connection in `slot` a full record.
    fn complete(&mut self, slot: usize) -> At {
        let place = self.slots[slot].at.place();
        let connection = self.half_open.get(place).play();
        let tag = self.slots[slot].tag;
        self.half_open.remove(place);
        let at = At::new(Form::Full, self.full.insert(tag, connection));
        self.slots[slot].at = at;
        self.check(at, Wait::Handshake);
        at
    }

    /// Hands out the facts of a connection that is closed; its four-tuple stays.
    fn release(&mut self, at: At) {
        let connection = self.full.get_mut(at.place());
        let over = Over::of(connection);
        self.finished.push(ended(connection, None, self.now));
        let tag = self.full.remove(at.place());
        let slot = self.slot_of(tag, at);
        let over = At::new(Form::Over, self.over.insert(tag, over));
        self.slots[slot].at = over;
        self.check(over, Wait::Over);
    }

    /// Lets go of a record and of its four-tuple.
    fn end(&mut self, at: At, ending: Option<Ending>) {
        let (place, now) = (at.place(), self.now);
        let tag = match at.form() {
            Form::HalfOpen => {
                self.finished.push(ended(&mut self.half_open.get(place).play(), ending, now));
                self.half_open.remove(place)
            }
            Form::Full => {
                self.finished.push(ended(self.full.get_mut(place), ending, now));
                self.full.remove(place)
            }
            Form::Over => self.over.remove(place),
        };
        self.vacate_slot(self.slot_of(tag, at));
    }

    fn index(&mut self, tag: u32, at: At) {
        let mask = self.slots.len() - 1;
        let mut i = tag as usize & mask;
        while self.slots[i].at != At::NONE {
            i = (i + 1) & mask;
        }
        self.slots[i] = Slot { tag, at };
    }

    /// The slot of a four-tuple.
    #[inline]
    fn find(&self, tag: u32, key: &FlowKey) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let mut i = tag as usize & mask;
        loop {
            let slot = self.slots[i];
            if slot.at == At::NONE {
                return None;
            }
            if slot.tag == tag {
                let place = slot.at.place();
                let found = match slot.at.form() {
                    Form::HalfOpen => self.half_open.get(place).key == *key,
                    Form::Full => self.full.get(place).key == *key,
                    Form::Over => self.over.get(place).key == *key,
                };
                if found {
                    return Some(i);
                }
            }
            i = (i + 1) & mask;
        }
    }

    fn slot_of(&self, tag: u32, at: At) -> usize {
        let mask = self.slots.len() - 1;
        let mut i = tag as usize & mask;
        while self.slots[i].at != at {
            i = (i + 1) & mask;
        }
        i
    }

    /// Frees a slot and closes the gap, so that probing still finds what lay beyond it.
    fn vacate_slot(&mut self, mut hole: usize) {
        let mask = self.slots.len() - 1;
        let mut i = hole;
        loop {
            i = (i + 1) & mask;
            let slot = self.slots[i];
            if slot.at == At::NONE {
                break;
            }
            let home = slot.tag as usize & mask;
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
        for slot in std::mem::replace(&mut self.slots, vec![FREE; length]) {
            if slot.at != At::NONE {
                self.index(slot.tag, slot.at);
            }
        }
    }

    fn generation(&self, at: At) -> u32 {
        match at.form() {
            Form::HalfOpen => self.half_open.entry(at.place()).generation,
            Form::Full => self.full.entry(at.place()).generation,
            Form::Over => self.over.entry(at.place()).generation,
        }
    }

    fn check(&mut self, at: At, wait: Wait) {
        let check = Check { at: self.now + wait.span(), what: at, generation: self.generation(at) };
        self.checks[wait as usize].push_back(check);
    }

    /// Frees what is due. A connection that went on meanwhile is looked at again later.
    fn let_go_of_due(&mut self) {
        for wait in Wait::ALL {
            while let Some(check) = self.checks[wait as usize].front().copied() {
                if check.at >= self.now {
                    break;
                }
                self.checks[wait as usize].pop_front();
                if self.generation(check.what) == check.generation {
                    self.look_at(check.what, wait);
                }
            }
        }
    }

    fn look_at(&mut self, at: At, wait: Wait) {
        match at.form() {
            Form::HalfOpen => {
                if self.half_open.get(at.place()).last() + HANDSHAKE < self.now {
                    self.end(at, Some(Ending::Expired));
                } else {
                    self.check(at, Wait::Handshake);
                }
            }
            Form::Over => {
                if self.over.get(at.place()).previous.last.time + OVER < self.now {
                    self.end(at, None);
                } else {
                    self.check(at, Wait::Over);
                }
            }
            Form::Full => {
                let facts = &self.full.get(at.place()).facts;
                let now_in = Wait::of(facts);
                match (now_in, due(facts) < self.now) {
                    (Wait::Closing | Wait::Aftermath, true) => self.release(at),
                    (_, true) => self.end(at, Some(Ending::Expired)),
                    // It has had a check of its own since it was closed.
                    (Wait::Closing | Wait::Aftermath, false)
                        if matches!(wait, Wait::Handshake | Wait::Open) => {}
                    (_, false) => self.check(at, now_in),
                }
            }
        }
    }

    /// Gives up the connection that has waited longest: first those that are over, then handshakes, then open ones.
    fn evict(&mut self) -> bool {
        for wait in [Wait::Over, Wait::Closing, Wait::Aftermath, Wait::Handshake, Wait::Open] {
            while let Some(check) = self.checks[wait as usize].pop_front() {
                if self.generation(check.what) == check.generation {
                    if wait == Wait::Over {
                        self.end(check.what, None);
                    } else if wait == Wait::Handshake
                        && check.what.form() == Form::Full
                        && Wait::of(&self.full.get(check.what.place()).facts) == Wait::Open
                    {
                        self.check(check.what, Wait::Open);
                        continue;
                    } else {
                        self.evicted += 1;
                        self.end(check.what, Some(Ending::Evicted));
                    }
                    return true;
                }
            }
        }
        false
    }
}

/// The facts of a connection that is let go.
fn ended(connection: &mut Connection, ending: Option<Ending>, now: Timestamp) -> ConnectionFacts {
    let mut facts = std::mem::take(&mut connection.facts);
    facts.ending = ending.unwrap_or(match facts.closed {
        Some(_) if facts.c.resets + facts.s.resets > 0 => Ending::Reset,
        Some(_) => Ending::Closed,
        None => Ending::CaptureEnd,
    });
    facts.watched = match facts.ending {
        Ending::CaptureEnd => Timestamp::MAX,
        Ending::Expired => due(&facts),
        Ending::Replaced | Ending::Evicted => now,
        Ending::Closed | Ending::Reset => facts.last.time,
    };
    facts
}

/// The event of a SYN of the client.
fn syn(
    connection: PacketId,
    at: Mark,
    key: FlowKey,
    from: Direction,
    s: &Segment,
    in_time_wait: bool,
) -> PeerEvent {
    let (client, server): (Address, Host) = (key.sender(from).address, key.sender(from.reverse()));
    PeerEvent {
        at,
        connection,
        client,
        server,
        tsval: s.timestamp(),
        what: PeerEventKind::Syn { in_time_wait },
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

/// For whoever looks at connections while they go on.
impl Tracker {
    /// No segment comes before `now` any more: lets go of what is due; `over` gets the facts.
    pub fn advance(&mut self, now: Timestamp, over: impl FnMut(&ConnectionFacts)) {
        if now > self.now {
            self.now = now;
            self.let_go_of_due();
            self.finished.iter().for_each(over);
            self.finished.clear();
        }
    }

    /// Octets that the records take.
    pub fn taken(&self) -> usize {
        self.octets()
    }

    /// Shows `take` every connection that is held, as [`Tracker::finish_into`] would if the stream had ended here.
    pub fn visit_open(&mut self, mut take: impl FnMut(&ConnectionFacts)) {
        let now = self.now;
        for half_open in self.half_open.pieces.iter().flatten().filter_map(|entry| entry.value.as_ref()) {
            take(&ended(&mut half_open.play(), None, now));
        }
        for entry in self.full.pieces.iter_mut().flatten() {
            let Some(connection) = &mut entry.value else { continue };
            let facts = ended(connection, None, now);
            take(&facts);
            let (ending, watched) = Default::default();
            connection.facts = ConnectionFacts { ending, watched, ..facts };
        }
    }
}

/// The low bits of the hash choose the shard ([`crate::engine`]); the table uses the upper half.
pub const SHARD_BITS: u32 = 5;

#[cfg(test)]
mod tests;
