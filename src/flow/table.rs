//! Finds the connection of a segment, and lets go of connections that are over.
//!
//! One [`Tracker`] per shard. Time is capture time only: a connection that is due is gone for every later segment,
//! whether or not its memory has been freed, so results do not depend on when that happens.
//!
//! A connection has a full record only while there is something to find out: before the handshake is complete it is
//! a [`HalfOpen`], as long as it goes as it should a [`Brief`], and once it was handed out an `Over` stays, all of them
//! small, so that what is open fits in the cache (measured in `docs/performance.md`).

use std::collections::VecDeque;

use crate::decode::segment::{Address, Flags, PacketId, Segment};
use crate::flow::brief::Brief;
use crate::flow::connection::Connection;
use crate::flow::facts::{ConnectionFacts, Ending, Mark, Previous, Role};
use crate::flow::gone::{Gone, Parting};
use crate::flow::half_open::HalfOpen;
use crate::flow::key::{Direction, FlowKey, Host};
use crate::flow::over::Over;
use crate::flow::peer::{PeerEvent, PeerEventKind};
use crate::flow::pool::{At, Entry, Form, Pool};
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
const BRIEF_OCTETS: usize = size_of::<Entry<Brief>>() + PLACE_OCTETS;
const OVER_OCTETS: usize = size_of::<Entry<Over>>() + PLACE_OCTETS;
/// A place in the index, which is at least three eighths full, and one in a queue, which may be half empty.
const PLACE_OCTETS: usize = 2 * size_of::<Slot>() + 3 * size_of::<Check>() / 2;

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
    fn of_half_open(half_open: &HalfOpen) -> Wait {
        if half_open.is_refused() { Wait::Aftermath } else { Wait::Handshake }
    }

    #[inline]
    fn of_brief(brief: &Brief) -> Wait {
        if brief.is_closed() { Wait::Closing } else { Wait::Open }
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
pub(super) fn due(f: &ConnectionFacts) -> Timestamp {
    f.last.time + Wait::of(f).span()
}

/// A place in the index: where the connection is, and enough of the hash to pass over others.
#[derive(Clone, Copy)]
struct Slot {
    /// The upper half of the hash; its low bits are the home.
    tag: u32,
    at: At,
}

const FREE: Slot = Slot { tag: 0, at: At::NONE };

/// When to look at a connection again.
#[derive(Clone, Copy, Debug)]
struct Check {
    at: Timestamp,
    what: At,
    generation: u32,
}

/// Who gets the connections that are let go.
type Sink<'s> = dyn FnMut(Gone<'_>) + 's;

/// The connections of one shard.
pub struct Tracker {
    /// Open addressing with linear probing; the length is a power of two.
    slots: Vec<Slot>,
    half_open: Pool<HalfOpen>,
    brief: Pool<Brief>,
    full: Pool<Connection>,
    over: Pool<Over>,
    /// The most connections held at once; beyond it the one that is due first goes.
    limit: usize,
    /// The same in octets.
    most_octets: usize,
    checks: [VecDeque<Check>; 5],
    /// No check is due before this.
    soonest: Timestamp,
    now: Timestamp,
    finished: Vec<ConnectionFacts>,
    events: Vec<PeerEvent>,
    evicted: u64,
    late: u64,
    /// Every connection has a full record from its first segment on: for comparison.
    #[cfg(test)]
    always_full: bool,
}

impl Tracker {
    /// A tracker that holds at most `limit` connections at once (at least one).
    pub fn new(limit: usize) -> Tracker {
        Tracker {
            slots: vec![FREE; 1 << 8],
            half_open: Pool::default(),
            brief: Pool::default(),
            full: Pool::default(),
            over: Pool::default(),
            limit: limit.max(1),
            most_octets: usize::MAX,
            checks: Default::default(),
            soonest: Timestamp::MAX,
            now: Timestamp::MIN,
            finished: Vec::new(),
            events: Vec::new(),
            evicted: 0,
            late: 0,
            #[cfg(test)]
            always_full: false,
        }
    }

    /// A tracker that takes about `octets` at most for connections that are open, half open or just over.
    pub fn within(octets: usize) -> Tracker {
        Tracker { most_octets: octets, ..Tracker::new(usize::MAX) }
    }

    /// Takes in a run of segments, in capture order; `gone` gets the connections as they end.
    ///
    /// What a segment needs is rarely in the cache when millions of connections are open. Looking up the next few
    /// first lets the processor fetch for all of them at once.
    pub fn segments(&mut self, segments: &[Segment], mut gone: impl FnMut(Gone<'_>)) {
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
                self.take_in(s, &mut gone);
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
            Form::Brief => self.brief.entry(at.place()).touch(Brief::touch),
            Form::Full => self.full.entry(at.place()).touch(Connection::touch),
            Form::Over => self.over.entry(at.place()).touch(Over::touch),
        }
    }

    /// Takes in one segment. Segments come in capture order.
    pub fn segment(&mut self, s: &Segment) {
        let mut finished = std::mem::take(&mut self.finished);
        self.take_in(s, &mut |gone| finished.push(gone.facts().into_owned()));
        self.finished = finished;
    }

    fn take_in(&mut self, s: &Segment, sink: &mut Sink<'_>) {
        if s.time > self.now {
            self.now = s.time;
            if self.now > self.soonest {
                self.let_go_of_due(sink);
            }
        }
        let tag = (s.hash >> 32) as u32;
        let Some((slot, from)) = self.find(tag, s) else {
            let (key, from) = FlowKey::of(s);
            return self.start(tag, key, from, s, None, sink);
        };
        let at = self.slots[slot].at;
        match at.form() {
            Form::HalfOpen => {
                let known = self.half_open.get_mut(at.place());
                if known.last().time + Wait::of_half_open(known).span() < s.time {
                    // What is over keeps its four-tuple longer than its record.
                    if known.is_refused() {
                        self.release(at, sink);
                        return self.take_in(s, sink);
                    }
                    let key = known.key;
                    self.end(at, Some(Ending::Expired), sink);
                    self.start(tag, key, from, s, None, sink);
                } else if known.take(from, s) {
                    if known.is_client(from) {
                        let (connection, at) = (known.first().packet, Mark::of(s));
                        self.events.push(syn(connection, at, known.key, from, s, false));
                    } else if known.is_refused() {
                        self.check(at, Wait::Aftermath);
                    }
                } else if let Some(brief) = Brief::begin(known, from, s) {
                    self.half_open.remove(at.place());
                    let at = At::new(Form::Brief, self.brief.insert(tag, brief));
                    self.slots[slot].at = at;
                    self.check(at, Wait::Handshake);
                } else {
                    let connection = known.play();
                    self.half_open.remove(at.place());
                    let at = self.fill(slot, connection);
                    self.full_segment(at, tag, from, s, sink);
                }
            }
            Form::Brief => self.brief_segment(slot, from, s, sink),
            Form::Full => self.full_segment(at, tag, from, s, sink),
            Form::Over => {
                let known = self.over.get_mut(at.place());
                let key = known.key;
                if known.last.time + OVER < s.time {
                    self.end(at, None, sink);
                    self.start(tag, key, from, s, None, sink);
                } else if known.is_replaced_by(s, from) {
                    let previous = known.previous();
                    self.end(at, None, sink);
                    self.start(tag, key, from, s, Some(previous), sink);
                } else {
                    known.absorb(s);
                    self.late += 1;
                }
            }
        }
    }

    fn brief_segment(&mut self, slot: usize, from: Direction, s: &Segment, sink: &mut Sink<'_>) {
        let Slot { tag, at } = self.slots[slot];
        let known = self.brief.get_mut(at.place());
        if known.last() + Wait::of_brief(known).span() < s.time {
            // What is over keeps its four-tuple longer than its record.
            if known.is_closed() {
                self.release(at, sink);
                return self.take_in(s, sink);
            }
            let key = known.asked.key;
            self.end(at, Some(Ending::Expired), sink);
            return self.start(tag, key, from, s, None, sink);
        }
        let was_acked = known.server_fin_is_acked();
        if known.take(from, s) {
            if known.is_remembered(from, s, was_acked) {
                let asked = &known.asked;
                self.events.push(PeerEvent {
                    at: Mark::of(s),
                    connection: asked.first().packet,
                    client: asked.client().address,
                    server: asked.server(),
                    tsval: s.timestamp(),
                    what: PeerEventKind::Remembered,
                });
            }
            if known.is_closed() {
                self.check(at, Wait::Closing);
            }
            return;
        }
        let connection = known.play();
        self.brief.remove(at.place());
        let at = self.fill(slot, connection);
        self.full_segment(at, tag, from, s, sink);
    }

    fn full_segment(&mut self, at: At, tag: u32, from: Direction, s: &Segment, sink: &mut Sink<'_>) {
        let connection = self.full.get_mut(at.place());
        if due(&connection.facts) < s.time {
            let closed = connection.facts.closed.is_some();
            // What is over keeps its four-tuple longer than its record.
            if closed {
                self.release(at, sink);
                return self.take_in(s, sink);
            }
            let key = connection.key;
            self.end(at, Some(Ending::Expired), sink);
            return self.start(tag, key, from, s, None, sink);
        }
        if connection.is_replaced_by(s, from) {
            let (key, previous) = (connection.key, connection.as_previous());
            let ending = connection.facts.closed.is_none().then_some(Ending::Replaced);
            self.end(at, ending, sink);
            return self.start(tag, key, from, s, Some(previous), sink);
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
        let mut all = std::mem::take(&mut self.finished);
        self.finish_into(|gone| all.push(gone.facts().into_owned()));
        self.finished = all;
    }

    /// Lets go of every connection and hands it to `take`: the stream has ended.
    pub fn finish_into(&mut self, mut take: impl FnMut(Gone<'_>)) {
        let parting = Parting { ending: None, now: self.now };
        self.finished.drain(..).for_each(|facts| take(Gone::Full(&facts)));
        // What is not needed any more goes at once: the facts of the last connections want room.
        (self.slots, self.checks, self.over) = (Vec::new(), Default::default(), Pool::default());
        for piece in std::mem::take(&mut self.half_open.pieces) {
            piece.iter().filter_map(|e| e.value.as_ref()).for_each(|h| take(Gone::HalfOpen(h, parting)));
        }
        for piece in std::mem::take(&mut self.brief.pieces) {
            piece.iter().filter_map(|e| e.value.as_ref()).for_each(|b| take(Gone::Brief(b, parting)));
        }
        for mut piece in std::mem::take(&mut self.full.pieces) {
            for connection in piece.iter_mut().filter_map(|entry| entry.value.as_mut()) {
                parting.seal(&mut connection.facts);
                take(Gone::Full(&connection.facts));
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
        self.half_open.held + self.brief.held + self.full.held + self.over.held
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
    fn start(
        &mut self,
        tag: u32,
        key: FlowKey,
        from: Direction,
        s: &Segment,
        previous: Option<Previous>,
        sink: &mut Sink<'_>,
    ) {
        if s.icmp().is_some() {
            return;
        }
        while self.live() >= self.limit || self.octets() >= self.most_octets {
            if !self.evict(sink) {
                break;
            }
        }
        if (self.live() + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let half_open = if previous.is_none() { HalfOpen::begin(key, from, s) } else { None };
        #[cfg(test)]
        let half_open = half_open.filter(|_| !self.always_full);
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
        self.half_open.held * HALF_OPEN_OCTETS
            + self.brief.held * BRIEF_OCTETS
            + self.full.held * FULL_OCTETS
            + self.over.held * OVER_OCTETS
    }

    /// Gives the connection in `slot`, whose record in short form was removed, a full record.
    fn fill(&mut self, slot: usize, connection: Connection) -> At {
        let closed = connection.facts.closed.is_some().then(|| Wait::of(&connection.facts));
        let at = At::new(Form::Full, self.full.insert(self.slots[slot].tag, connection));
        self.slots[slot].at = at;
        self.check(at, Wait::Handshake);
        if let Some(wait) = closed {
            self.check(at, wait);
        }
        at
    }

    /// Hands out a connection that is closed; its four-tuple stays.
    fn release(&mut self, at: At, sink: &mut Sink<'_>) {
        let parting = Parting { ending: None, now: self.now };
        let (over, tag) = match at.form() {
            Form::HalfOpen => {
                let half_open = self.half_open.get(at.place());
                sink(Gone::HalfOpen(half_open, parting));
                (Over::of_half_open(half_open), self.half_open.remove(at.place()))
            }
            Form::Brief => {
                let brief = self.brief.get(at.place());
                sink(Gone::Brief(brief, parting));
                (Over::of_brief(brief), self.brief.remove(at.place()))
            }
            _ => {
                let connection = self.full.get_mut(at.place());
                parting.seal(&mut connection.facts);
                sink(Gone::Full(&connection.facts));
                (Over::of(connection), self.full.remove(at.place()))
            }
        };
        let slot = self.slot_of(tag, at);
        let over = At::new(Form::Over, self.over.insert(tag, over));
        self.slots[slot].at = over;
        self.check(over, Wait::Over);
    }

    /// Lets go of a record and of its four-tuple.
    fn end(&mut self, at: At, ending: Option<Ending>, sink: &mut Sink<'_>) {
        let (place, parting) = (at.place(), Parting { ending, now: self.now });
        let tag = match at.form() {
            Form::HalfOpen => {
                sink(Gone::HalfOpen(self.half_open.get(place), parting));
                self.half_open.remove(place)
            }
            Form::Brief => {
                sink(Gone::Brief(self.brief.get(place), parting));
                self.brief.remove(place)
            }
            Form::Full => {
                let connection = self.full.get_mut(place);
                parting.seal(&mut connection.facts);
                sink(Gone::Full(&connection.facts));
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

    /// The slot of a segment's four-tuple, and which way the segment goes.
    #[inline]
    fn find(&self, tag: u32, s: &Segment) -> Option<(usize, Direction)> {
        let mask = self.slots.len() - 1;
        let mut i = tag as usize & mask;
        loop {
            let slot = self.slots[i];
            if slot.at == At::NONE {
                return None;
            }
            if slot.tag == tag {
                let place = slot.at.place();
                let key = match slot.at.form() {
                    Form::HalfOpen => &self.half_open.get(place).key,
                    Form::Brief => &self.brief.get(place).asked.key,
                    Form::Full => &self.full.get(place).key,
                    Form::Over => &self.over.get(place).key,
                };
                if let Some(direction) = key.direction_of(s) {
                    return Some((i, direction));
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
            Form::Brief => self.brief.entry(at.place()).generation,
            Form::Full => self.full.entry(at.place()).generation,
            Form::Over => self.over.entry(at.place()).generation,
        }
    }

    fn check(&mut self, at: At, wait: Wait) {
        let check = Check { at: self.now + wait.span(), what: at, generation: self.generation(at) };
        self.soonest = self.soonest.min(check.at);
        let queue = &self.checks[wait as usize];
        if queue.len() == queue.capacity() && queue.len() >= 64 {
            self.drop_stale(wait);
        }
        self.checks[wait as usize].push_back(check);
    }

    /// Drops checks of what is gone: most connections end long before their first check. If that leaves little room
    /// the queue doubles, and so it does unasked while half of the checks may be of what is held: in a flood hardly any
    /// are stale, and to find out costs a cache miss for each.
    fn drop_stale(&mut self, wait: Wait) {
        let mut queue = std::mem::take(&mut self.checks[wait as usize]);
        let held = match wait {
            Wait::Handshake => self.half_open.held,
            Wait::Over => self.over.held,
            Wait::Open | Wait::Closing | Wait::Aftermath => self.brief.held + self.full.held,
        };
        if held >= queue.len() / 2 {
            queue.reserve(queue.capacity());
            self.checks[wait as usize] = queue;
            return;
        }
        queue.retain(|check| self.generation(check.what) == check.generation);
        if queue.len() > queue.capacity() / 2 {
            queue.reserve(queue.capacity());
        }
        self.checks[wait as usize] = queue;
    }

    /// Frees what is due. A connection that went on meanwhile is looked at again later.
    fn let_go_of_due(&mut self, sink: &mut Sink<'_>) {
        for wait in Wait::ALL {
            while let Some(check) = self.checks[wait as usize].front().copied() {
                if check.at >= self.now {
                    break;
                }
                let queue = &mut self.checks[wait as usize];
                queue.pop_front();
                // What comes soon was last touched long ago: as in `segments`, it is fetched ahead.
                if let Some(soon) = queue.get(LOOKAHEAD / 2).map(|check| check.what) {
                    std::hint::black_box(self.touch(soon));
                }
                if self.generation(check.what) == check.generation {
                    self.look_at(check.what, wait, sink);
                }
            }
        }
        let fronts = self.checks.iter().filter_map(|queue| queue.front());
        self.soonest = fronts.map(|check| check.at).min().unwrap_or(Timestamp::MAX);
    }

    fn look_at(&mut self, at: At, wait: Wait, sink: &mut Sink<'_>) {
        let (now_in, due) = match at.form() {
            Form::HalfOpen => {
                let half_open = self.half_open.get(at.place());
                let wait = Wait::of_half_open(half_open);
                (wait, half_open.last().time + wait.span())
            }
            Form::Over => (Wait::Over, self.over.get(at.place()).last.time + OVER),
            Form::Brief => {
                let brief = self.brief.get(at.place());
                let wait = Wait::of_brief(brief);
                (wait, brief.last() + wait.span())
            }
            Form::Full => {
                let facts = &self.full.get(at.place()).facts;
                (Wait::of(facts), due(facts))
            }
        };
        match (now_in, due < self.now) {
            (Wait::Over, true) => self.end(at, None, sink),
            (Wait::Closing | Wait::Aftermath, true) => self.release(at, sink),
            (_, true) => self.end(at, Some(Ending::Expired), sink),
            // It has had a check of its own since it was closed.
            (Wait::Closing | Wait::Aftermath, false) if matches!(wait, Wait::Handshake | Wait::Open) => {}
            (_, false) => self.check(at, now_in),
        }
    }

    /// Gives up the connection that has waited longest: first those that are over, then handshakes, then open ones.
    fn evict(&mut self, sink: &mut Sink<'_>) -> bool {
        for wait in [Wait::Over, Wait::Closing, Wait::Aftermath, Wait::Handshake, Wait::Open] {
            while let Some(check) = self.checks[wait as usize].pop_front() {
                if self.generation(check.what) != check.generation {
                    continue;
                }
                let now_in = match check.what.form() {
                    Form::HalfOpen => Wait::of_half_open(self.half_open.get(check.what.place())),
                    Form::Brief => Wait::of_brief(self.brief.get(check.what.place())),
                    Form::Full => Wait::of(&self.full.get(check.what.place()).facts),
                    Form::Over => Wait::Over,
                };
                if now_in == Wait::Over {
                    self.end(check.what, None, sink);
                } else if wait == Wait::Handshake && now_in == Wait::Open {
                    self.check(check.what, Wait::Open);
                    continue;
                } else {
                    self.evicted += 1;
                    self.end(check.what, Some(Ending::Evicted), sink);
                }
                return true;
            }
        }
        false
    }
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
    /// No segment comes before `now` any more: lets go of what is due, and hands it to `gone`.
    pub fn advance(&mut self, now: Timestamp, mut gone: impl FnMut(Gone<'_>)) {
        if now > self.now {
            self.now = now;
            self.let_go_of_due(&mut gone);
        }
    }

    /// Octets that the records take, and may take.
    pub fn taken(&self) -> (usize, usize) {
        (self.octets(), self.most_octets)
    }

    /// Shows `take` every connection that is held, as [`Tracker::finish_into`] would if the stream had ended here.
    pub fn visit_open(&mut self, mut take: impl FnMut(Gone<'_>)) {
        let parting = Parting { ending: None, now: self.now };
        for half_open in self.half_open.pieces.iter().flatten().filter_map(|entry| entry.value.as_ref()) {
            take(Gone::HalfOpen(half_open, parting));
        }
        for brief in self.brief.pieces.iter().flatten().filter_map(|entry| entry.value.as_ref()) {
            take(Gone::Brief(brief, parting));
        }
        for entry in self.full.pieces.iter_mut().flatten() {
            let Some(Connection { facts, .. }) = &mut entry.value else { continue };
            parting.seal(facts);
            take(Gone::Full(facts));
            (facts.ending, facts.watched) = Default::default();
        }
    }
}

/// The low bits of the hash choose the shard ([`crate::engine`]); the table uses the upper half.
pub const SHARD_BITS: u32 = 4;

#[cfg(test)]
mod tests;
