//! Finds the connection of a segment, and hands out connections that have ended.
//!
//! One [`Tracker`] per shard. Time is capture time only: an expired connection is gone for every later segment, even if
//! its memory is not freed yet. So results do not depend on when that happens.
//!
//! A connection has a full record only while something about it is unusual. Before the handshake is complete it is a
//! [`HalfOpen`], as long as it is clean a [`CleanFlow`], and after its end a `TimeWaitEntry`. All of them are small, so
//! that open connections fit in the cache (measured in `docs/performance.md`).

use std::collections::VecDeque;

use crate::decode::segment::{Flags, PacketId, Segment};
use crate::flow::compact::clean::{CleanFlow, FreeList};
use crate::flow::compact::half_open::HalfOpen;
use crate::flow::compact::time_wait::TimeWaitEntry;
use crate::flow::connection::Connection;
use crate::flow::ended::{EndedFlow, Removal};
use crate::flow::facts::{ConnectionFacts, Ending, PacketRef, PreviousIncarnation};
use crate::flow::key::{Direction, FlowKey, Host};
use crate::flow::peer::{PeerEvent, PeerEventKind};
use crate::flow::store::evicted::EvictedFlows;
use crate::flow::store::index::Index;
use crate::flow::store::slots::{At, Form, PIECE, Pool, RecordRef, SlotHead, SlotHeads};
use crate::time::Timestamp;

mod events;
mod pressure;
mod waits;

use events::{note_event, syn};
pub use pressure::EvictedActivity;
use pressure::EvictedMatch;
pub(super) use waits::due;
use waits::{CheckQueues, OVER, ScheduledCheck, WaitKind, is_within_shortest_wait};

/// With fewer connections than this, their records stay in a core's own cache (L2) while segments of the shard are
/// processed.
const MANY: usize = 4_096;
/// How many segments are looked up together.
pub const TOGETHER: usize = 16;

/// The smallest memory limit: room for two pieces of heads and of each form of body.
const LEAST: usize = 10 * PIECE;

/// A queue with room for this many checks is not worth shrinking.
const SHORT: usize = 128;

/// Fingerprints of evicted connections get this many tenths of the room for connections, in addition.
const FINGERPRINTS: usize = 3;

/// What a full record allocates beyond itself, bytes, about.
const FULL_MORE: usize = 256;

/// The function that receives connections that have ended.
type Sink<'s> = dyn FnMut(EndedFlow<'_>) + 's;

/// The connections of one shard.
pub struct Tracker {
    index: Index,
    heads: SlotHeads,
    half_open: Pool<HalfOpen>,
    clean: Pool<CleanFlow>,
    full: Pool<Connection>,
    over: Pool<TimeWaitEntry>,
    spare: FreeList,
    /// Bytes that half-open connections take beyond their records.
    more_bytes: usize,
    /// The most connections held at once; beyond it, the one that is due first is evicted.
    limit: usize,
    /// The same in bytes.
    most_bytes: usize,
    checks: CheckQueues,
    /// No check is due before this.
    soonest: Timestamp,
    now: Timestamp,
    /// The segment taken in last, or being taken in.
    reached: PacketId,
    finished: Vec<ConnectionFacts>,
    events: Vec<PeerEvent>,
    evicted: u64,
    /// Fingerprints of evicted connections, when eviction began, and when it last happened.
    evicted_flows: EvictedFlows,
    pressed_since: Timestamp,
    thinned: Timestamp,
    /// Connections of a lower priority are only counted.
    floor: u32,
    went_on: EvictedActivity,
    /// See [`Tracker::repeated`]: the number before [`Tracker::finish_into`].
    repeated: u64,
    /// Evicted connections that are tracked again, since later segments showed that they are in trouble.
    readmitted: u64,
    late: u64,
    /// Every connection has a full record from its first segment on: for comparison.
    #[cfg(test)]
    always_full: bool,
}

impl Tracker {
    /// A tracker that holds at most `limit` connections at once (at least one).
    pub fn new(limit: usize) -> Tracker {
        Tracker {
            index: Index::default(),
            heads: SlotHeads::default(),
            half_open: Pool::default(),
            clean: Pool::default(),
            full: Pool::default(),
            over: Pool::default(),
            spare: FreeList::default(),
            more_bytes: 0,
            limit: limit.max(1),
            most_bytes: usize::MAX,
            checks: CheckQueues::default(),
            soonest: Timestamp::MAX,
            now: Timestamp::MIN,
            reached: PacketId::default(),
            finished: Vec::new(),
            events: Vec::new(),
            evicted: 0,
            evicted_flows: EvictedFlows::within(LEAST),
            pressed_since: Timestamp::MAX,
            thinned: Timestamp::MIN,
            floor: 0,
            went_on: EvictedActivity::default(),
            repeated: 0,
            readmitted: 0,
            late: 0,
            #[cfg(test)]
            always_full: false,
        }
    }

    /// A tracker that takes about `bytes` at most for connections that are open, half open or recently ended. It takes
    /// at least as much as a few hundred need.
    pub fn within(bytes: usize) -> Tracker {
        let most_bytes = bytes.max(LEAST);
        let evicted_flows = EvictedFlows::within((most_bytes / 10).saturating_mul(FINGERPRINTS));
        Tracker { most_bytes, evicted_flows, ..Tracker::new(usize::MAX) }
    }

    /// Processes segments, in capture order, at most [`TOGETHER`] at once; `gone` receives the connections as they end.
    ///
    /// When millions of connections are open, the data that a segment needs is rarely in the cache. Looking up the next
    /// few first lets the processor fetch for all of them at once. Places in the index come first, then heads, then
    /// bodies, so that no step has to guess the result of the one before.
    pub fn segments<'s>(
        &mut self,
        mut pieces: impl Iterator<Item = &'s [Segment]>,
        mut gone: impl FnMut(EndedFlow<'_>),
    ) {
        if self.heads.held < MANY {
            return pieces.flatten().for_each(|s| self.take_in(s, &mut gone));
        }
        // The last three pieces read; for the first two, the guessed places in the index.
        let mut latest: [&[Segment]; 3] = [&[]; 3];
        let mut guesses = [[At::NONE; TOGETHER]; 2];
        let mut to_come = latest.len();
        while to_come > 0 {
            let next = pieces.next().unwrap_or_else(|| {
                to_come = to_come.saturating_sub(1);
                &[]
            });
            debug_assert!(next.len() <= TOGETHER, "{}", next.len());
            for s in next {
                self.index.prefetch((s.hash >> 32) as u32);
                self.evicted_flows.prefetch((s.hash >> 32) as u32);
            }
            guesses[1] = guesses[0];
            for (at, s) in guesses[0].iter_mut().zip(latest[0]) {
                *at = self.index.guess((s.hash >> 32) as u32);
                self.heads.prefetch(*at);
            }
            for at in guesses[1].iter().take(latest[1].len()) {
                self.prefetch_body(*at);
            }
            for s in latest[2] {
                self.take_in(s, &mut gone);
            }
            latest = [next, latest[0], latest[1]];
        }
    }

    /// Fetches the body of the connection at `at`.
    #[inline]
    fn prefetch_body(&self, at: At) {
        if at == At::NONE {
            return;
        }
        let body = self.heads.get(at).body;
        match body.form() {
            Form::HalfOpen => self.half_open.prefetch(body.place()),
            Form::Clean => self.clean.prefetch(body.place()),
            Form::Full => self.full.prefetch(body.place()),
            Form::TimeWait => self.over.prefetch(body.place()),
        }
    }

    /// The segment taken in last and the time of the capture then; after a panic, the segment that was being taken in.
    pub fn reached(&self) -> (PacketId, Timestamp) {
        (self.reached, self.now)
    }

    /// Takes in one segment. Segments come in capture order.
    pub fn segment(&mut self, s: &Segment) {
        let mut finished = std::mem::take(&mut self.finished);
        self.take_in(s, &mut |gone| finished.push(gone.facts().into_owned()));
        self.finished = finished;
    }

    fn take_in(&mut self, s: &Segment, sink: &mut Sink<'_>) {
        self.reached = s.packet;
        #[cfg(test)]
        assert!((s.ttl, s.tos, s.window) != tests::FATAL, "a segment that a test makes fatal");
        if s.time > self.now {
            self.now = s.time;
            if self.now > self.soonest {
                self.end_due(sink);
            }
        }
        let tag = (s.hash >> 32) as u32;
        let Some((at, from)) = self.find(tag, s) else {
            let known = if self.evicted_flows.is_empty() {
                EvictedMatch::Unknown
            } else {
                self.evicted_segment(tag, s)
            };
            let (key, from) = FlowKey::of(s);
            return match known {
                EvictedMatch::Unknown => self.start(tag, key, from, s, None, sink),
                EvictedMatch::Counted => {}
                EvictedMatch::Troubled => self.readmit(tag, key, from, s, sink),
            };
        };
        let body = self.heads.get(at).body;
        match body.form() {
            Form::HalfOpen => self.half_open_segment(at, body.place(), from, s, sink),
            Form::Clean => self.clean_segment(at, body.place(), from, s, sink),
            Form::Full => self.full_segment(at, body.place(), from, s, sink),
            Form::TimeWait => self.over_segment(at, body.place(), from, s, sink),
        }
    }

    #[inline(never)]
    fn half_open_segment(&mut self, at: At, place: u32, from: Direction, s: &Segment, sink: &mut Sink<'_>) {
        let known = self.half_open.get_mut(place);
        if known.last().time + WaitKind::of_half_open(known).span() < s.time {
            let ending = if known.is_refused() { None } else { Some(Ending::Expired) };
            return self.overdue(at, ending, from, s, sink);
        }
        let before = known.more_bytes();
        if known.try_append(from, s) {
            // It never takes less than before.
            self.more_bytes = self.more_bytes.wrapping_add(known.more_bytes().wrapping_sub(before));
            if known.is_client(from) {
                let connection = known.first().packet;
                self.events.push(syn(connection, s));
            } else if known.is_refused() {
                self.check(at, WaitKind::Aftermath);
            }
        } else if let Some(clean) = CleanFlow::begin(known, from, s, &mut self.spare) {
            self.remove_half_open(place);
            self.heads.get_mut(at).body = RecordRef::new(Form::Clean, self.clean.insert(at, clean));
        } else {
            let connection = known.replay_handshake(&self.heads.key(at));
            self.remove_half_open(place);
            let place = self.fill(at, connection);
            self.full_segment(at, place, from, s, sink);
            self.make_room(sink);
        }
    }

    #[inline(never)]
    fn clean_segment(&mut self, at: At, place: u32, from: Direction, s: &Segment, sink: &mut Sink<'_>) {
        let known = self.clean.get_mut(place);
        if !is_within_shortest_wait(s, known.last())
            && known.last() + WaitKind::of_clean(known).span() < s.time
        {
            let ending = if known.is_closed() { None } else { Some(Ending::Expired) };
            return self.overdue(at, ending, from, s, sink);
        }
        let (server_fin, before) = (known.server_fin(), known.more_bytes());
        if known.try_append(from, s, &mut self.spare) {
            // It never takes less than before.
            self.more_bytes = self.more_bytes.wrapping_add(known.more_bytes().wrapping_sub(before));
            if known.is_remembered(from, s, server_fin) {
                self.events.push(PeerEvent {
                    at: PacketRef::of(s),
                    connection: known.handshake.first().packet,
                    client: s.src,
                    server: Host { address: s.dst, port: s.dst_port },
                    tsval: s.timestamp(),
                    what: PeerEventKind::Remembered,
                });
            }
            if known.is_closed() {
                self.check(at, WaitKind::Closing);
            }
            return;
        }
        let connection = known.replay_flow(&self.heads.key(at));
        self.remove_clean(place);
        let place = self.fill(at, connection);
        self.full_segment(at, place, from, s, sink);
        self.make_room(sink);
    }

    fn full_segment(&mut self, at: At, place: u32, from: Direction, s: &Segment, sink: &mut Sink<'_>) {
        let connection = self.full.get_mut(place);
        if !is_within_shortest_wait(s, connection.facts.last.time) && due(&connection.facts) < s.time {
            let ending = if connection.facts.closed.is_some() { None } else { Some(Ending::Expired) };
            return self.overdue(at, ending, from, s, sink);
        }
        if s.flags.has(Flags::SYN) && connection.is_replaced_by(s, from) {
            let previous = connection.as_previous();
            let ending = connection.facts.closed.is_none().then_some(Ending::Replaced);
            return self.restart(at, ending, from, s, Some(previous), sink);
        }
        if let Some(wait) = record_segment(connection, from, s, &mut self.events) {
            self.check(at, wait);
        }
    }

    #[inline(never)]
    fn over_segment(&mut self, at: At, place: u32, from: Direction, s: &Segment, sink: &mut Sink<'_>) {
        let known = self.over.get_mut(place);
        if known.last.time + OVER < s.time {
            return self.restart(at, None, from, s, None, sink);
        }
        if known.is_replaced_by(s, from) {
            let previous = known.previous();
            return self.restart(at, None, from, s, Some(previous), sink);
        }
        known.absorb(s);
        self.late = self.late.saturating_add(1);
    }

    /// A segment of a connection that was due before; `ending` is `None` if that connection was closed or reset before.
    /// A connection that has ended keeps its four-tuple longer than its record.
    fn overdue(&mut self, at: At, ending: Option<Ending>, from: Direction, s: &Segment, sink: &mut Sink<'_>) {
        if ending.is_none() {
            self.release(at, sink);
            return self.take_in(s, sink);
        }
        self.restart(at, ending, from, s, None, sink);
    }

    /// Drops a record, and begins another one of the same four-tuple.
    fn restart(
        &mut self,
        at: At,
        ending: Option<Ending>,
        from: Direction,
        s: &Segment,
        previous: Option<PreviousIncarnation>,
        sink: &mut Sink<'_>,
    ) {
        let (key, tag) = (self.heads.key(at), self.heads.get(at).tag);
        self.end(at, ending, sink);
        self.start(tag, key, from, s, previous, sink);
    }

    /// Ends every connection: the stream is over.
    pub fn finish(&mut self) {
        let mut all = std::mem::take(&mut self.finished);
        self.finish_into(|gone| all.push(gone.facts().into_owned()));
        self.finished = all;
    }

    /// Ends every connection and hands it to `take`: the stream is over.
    pub fn finish_into(&mut self, mut take: impl FnMut(EndedFlow<'_>)) {
        let removal = Removal { ending: None, now: self.now };
        self.finished.drain(..).for_each(|facts| take(EndedFlow::Full(&facts)));
        // Tables that are no longer needed are freed at once: the facts of the last connections need the memory.
        (self.index, self.checks, self.over) = Default::default();
        let heads = &self.heads;
        for piece in self.half_open.drain() {
            piece.iter_ahead(heads).for_each(|(at, h)| take(EndedFlow::HalfOpen(&heads.key(at), h, removal)));
        }
        for piece in self.clean.drain() {
            piece.iter_ahead(heads).for_each(|(at, b)| take(EndedFlow::Clean(&heads.key(at), b, removal)));
        }
        for mut piece in self.full.drain() {
            for connection in piece.iter_mut() {
                removal.seal(&mut connection.facts);
                take(EndedFlow::Full(&connection.facts));
            }
        }
        let repeated = self.repeated();
        let went_on = self.drain_evicted_news();
        let Tracker { limit, most_bytes, evicted, readmitted, late, now, .. } = *self;
        let kept = Tracker { limit, most_bytes, evicted, readmitted, late, ..Tracker::new(limit) };
        *self = Tracker { repeated, went_on, now, ..kept };
    }

    /// Moves out the facts of the connections that have ended, in no particular order.
    #[inline]
    pub fn drain_finished(&mut self) -> std::vec::Drain<'_, ConnectionFacts> {
        self.finished.drain(..)
    }

    /// The events that were not moved out yet, in capture order.
    pub fn events(&mut self) -> &mut Vec<PeerEvent> {
        &mut self.events
    }

    /// Connections held now, including those that have ended and keep their four-tuple.
    pub fn live(&self) -> usize {
        self.heads.held
    }

    /// Segments that came after their connection had ended and its facts were handed out: they change nothing.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Connections evicted early because there were too many.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Begins a new connection. ICMP errors about unknown connections begin none.
    fn start(
        &mut self,
        tag: u32,
        key: FlowKey,
        from: Direction,
        s: &Segment,
        previous: Option<PreviousIncarnation>,
        sink: &mut Sink<'_>,
    ) {
        if s.icmp().is_some() {
            return;
        }
        while (self.live() >= self.limit || self.is_short()) && self.evict(sink) {}
        if !self.evicted_flows.is_empty()
            && previous.is_none()
            && self.is_passed_over(tag, &key, from, s, sink)
        {
            return;
        }
        let half_open = if previous.is_none() { HalfOpen::begin(from, s) } else { None };
        #[cfg(test)]
        let half_open = half_open.filter(|_| !self.always_full);
        let at = self.heads.insert(&key, tag);
        self.index.insert(tag, at);
        self.check(at, WaitKind::Handshake);
        match half_open {
            Some(half_open) => {
                self.heads.get_mut(at).body =
                    RecordRef::new(Form::HalfOpen, self.half_open.insert(at, half_open));
                self.events.push(syn(s.packet, s));
            }
            None => {
                let place = self.fill(at, Connection::begin(key, from, s, previous));
                let connection = self.full.get_mut(place);
                if let Some(wait) = record_segment(connection, from, s, &mut self.events) {
                    self.check(at, wait);
                }
            }
        }
    }

    /// Bytes of the room that there is, taken or vacant.
    fn bytes(&self) -> usize {
        // Allocations together cannot exceed the address space.
        let checks: usize = self.checks.0.iter().map(VecDeque::capacity).sum();
        [
            self.index.bytes(),
            self.heads.bytes(),
            checks.wrapping_mul(size_of::<ScheduledCheck>()),
            self.half_open.bytes(),
            self.clean.bytes(),
            self.more_bytes,
            self.full.bytes(),
            self.full.held.wrapping_mul(FULL_MORE),
            self.over.bytes(),
        ]
        .into_iter()
        .sum()
    }

    /// Gives back vacant memory, some of it at a time; `false` if there is too little of it in any one place.
    fn shrink_storage(&mut self) -> bool {
        let heads = &mut self.heads;
        let mut moved = |form, at, place| heads.get_mut(at).body = RecordRef::new(form, place);
        self.half_open.release_last_chunk(|at, place| moved(Form::HalfOpen, at, place))
            || self.clean.release_last_chunk(|at, place| moved(Form::Clean, at, place))
            || self.full.release_last_chunk(|at, place| moved(Form::Full, at, place))
            || self.over.release_last_chunk(|at, place| moved(Form::TimeWait, at, place))
            || self
                .checks
                .0
                .iter_mut()
                .find(|queue| queue.capacity().saturating_sub(SHORT) > queue.len().saturating_mul(4))
                .map(|queue| queue.shrink_to(queue.len().saturating_mul(2)))
                .is_some()
    }

    #[inline]
    fn remove_half_open(&mut self, place: u32) {
        if let Some(half_open) = self.half_open.remove(place) {
            self.more_bytes = self.more_bytes.saturating_sub(half_open.more_bytes());
        }
    }

    #[inline]
    fn remove_clean(&mut self, place: u32) {
        if let Some(clean) = self.clean.remove(place) {
            self.more_bytes = self.more_bytes.saturating_sub(clean.more_bytes());
            self.spare.recycle(clean);
        }
    }

    /// Gives a connection that has no full record one. Returns its place.
    fn fill(&mut self, at: At, connection: Connection) -> u32 {
        let closed = connection.facts.closed.is_some().then(|| WaitKind::of(&connection.facts));
        let place = self.full.insert(at, connection);
        self.heads.get_mut(at).body = RecordRef::new(Form::Full, place);
        if let Some(wait) = closed {
            self.check(at, wait);
        }
        place
    }

    /// Hands out a connection that is closed; its four-tuple stays.
    fn release(&mut self, at: At, sink: &mut Sink<'_>) {
        let removal = Removal { ending: None, now: self.now };
        let (key, body) = (&self.heads.key(at), self.heads.get(at).body);
        let place = body.place();
        let over = match body.form() {
            Form::HalfOpen => {
                let half_open = self.half_open.get(place);
                sink(EndedFlow::HalfOpen(key, half_open, removal));
                let over = TimeWaitEntry::of_half_open(half_open);
                self.remove_half_open(place);
                over
            }
            Form::Clean => {
                let clean = self.clean.get(place);
                sink(EndedFlow::Clean(key, clean, removal));
                let over = TimeWaitEntry::of_clean(clean);
                self.remove_clean(place);
                over
            }
            _ => {
                let connection = self.full.get_mut(place);
                removal.seal(&mut connection.facts);
                sink(EndedFlow::Full(&connection.facts));
                let over = TimeWaitEntry::of(connection);
                self.full.remove(place);
                over
            }
        };
        let body = RecordRef::new(Form::TimeWait, self.over.insert(at, over));
        let head = self.heads.get_mut(at);
        head.body = body;
        // Its checks so far are for a connection that no longer exists.
        head.generation = head.generation.wrapping_add(1);
        self.check(at, WaitKind::Expiry);
    }

    /// Drops a record and its four-tuple.
    fn end(&mut self, at: At, ending: Option<Ending>, sink: &mut Sink<'_>) {
        let removal = Removal { ending, now: self.now };
        let (key, SlotHead { tag, body, .. }) = (&self.heads.key(at), *self.heads.get(at));
        let place = body.place();
        match body.form() {
            Form::HalfOpen => {
                sink(EndedFlow::HalfOpen(key, self.half_open.get(place), removal));
                self.remove_half_open(place);
            }
            Form::Clean => {
                sink(EndedFlow::Clean(key, self.clean.get(place), removal));
                self.remove_clean(place);
            }
            Form::Full => {
                let connection = self.full.get_mut(place);
                removal.seal(&mut connection.facts);
                sink(EndedFlow::Full(&connection.facts));
                self.full.remove(place);
            }
            Form::TimeWait => {
                self.over.remove(place);
            }
        }
        self.index.remove(tag, at);
        self.heads.remove(at);
    }

    /// Connections held that have not ended.
    fn followed(&self) -> usize {
        self.half_open.held.saturating_add(self.clean.held).saturating_add(self.full.held)
    }

    /// The connection of a segment's four-tuple, and which way the segment goes.
    #[inline(always)]
    fn find(&self, tag: u32, s: &Segment) -> Option<(At, Direction)> {
        // The guess is nearly always right, so the branch is well predicted.
        match self.index.guess(tag) {
            At::NONE if self.index.is_missing(tag) => return None,
            guess => self.heads.direction_of(guess, s).map(|from| (guess, from)),
        }
        .or_else(|| self.find_among_all(tag, s))
    }

    /// The same without a guess.
    #[cold]
    #[inline(never)]
    fn find_among_all(&self, tag: u32, s: &Segment) -> Option<(At, Direction)> {
        self.index.find(tag, |at| Some((at, self.heads.direction_of(at, s)?)))
    }
}

/// Hands a segment to its full record. Returns the wait that begins if it closes the connection.
#[inline(always)]
fn record_segment(
    connection: &mut Connection,
    from: Direction,
    s: &Segment,
    events: &mut Vec<PeerEvent>,
) -> Option<WaitKind> {
    let was_closed = connection.facts.closed.is_some();
    if !connection.segment(s, from) {
        return None;
    }
    if s.flags.has(Flags::SYN) || connection.facts.s.fin.is_some() {
        note_event(connection, s, from, events);
    }
    (!was_closed && connection.facts.closed.is_some()).then(|| WaitKind::of(&connection.facts))
}

/// For callers that look at connections before they end.
impl Tracker {
    /// No further segment comes before `now`: hands expired connections to `gone`.
    pub fn advance(&mut self, now: Timestamp, mut gone: impl FnMut(EndedFlow<'_>)) {
        if now > self.now {
            self.now = now;
            self.end_due(&mut gone);
        }
    }

    /// The memory of the records, and its limit, bytes.
    pub fn taken(&self) -> (usize, usize) {
        (self.bytes(), self.most_bytes)
    }

    /// Calls `take` for every connection that is held, as [`Tracker::finish_into`] would if the stream ended here.
    pub fn visit_open(&mut self, mut take: impl FnMut(EndedFlow<'_>)) {
        let removal = Removal { ending: None, now: self.now };
        for (at, h) in self.half_open.iter() {
            take(EndedFlow::HalfOpen(&self.heads.key(at), h, removal));
        }
        for (at, b) in self.clean.iter() {
            take(EndedFlow::Clean(&self.heads.key(at), b, removal));
        }
        for Connection { facts, .. } in self.full.iter_mut() {
            removal.seal(facts);
            take(EndedFlow::Full(facts));
            (facts.ending, facts.watched) = Default::default();
        }
    }
}

/// The low bits of the hash choose the shard; the table uses the upper half.
const SHARD_BITS: u32 = 4;
/// Number of shards. Fixed, so that nothing depends on the number of threads.
pub const SHARDS: usize = 1 << SHARD_BITS;

/// The shard of a segment with this flow hash.
#[inline]
pub fn shard_of(hash: u64) -> usize {
    hash as usize & (SHARDS - 1)
}

#[cfg(test)]
pub(crate) mod tests;
