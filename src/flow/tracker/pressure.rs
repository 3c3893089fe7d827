//! Which connections to evict when there is no more room.
//!
//! First those that have ended are evicted. Then a part of the connections without trouble, chosen by when they began,
//! so that early and late connections are followed to their end in the same proportion. New ones of the other part are
//! counted, and not followed. The part grows again as the pressure eases. Connections in trouble are evicted last.
//!
//! A fingerprint stays of each connection that is evicted: its later segments begin no other connection.

use super::{ScheduledCheck, Sink, Tracker, WaitKind, syn};
use crate::decode::segment::{Flags, Segment};
use crate::flow::compact::half_open::HalfOpen;
use crate::flow::connection::Connection;
use crate::flow::ended::{EndedFlow, Removal};
use crate::flow::facts::Ending;
use crate::flow::key::{Direction, FlowKey, Host, Map};
use crate::flow::store::evicted::Stage;
use crate::flow::store::slots::{At, Form, RecordRef};
use crate::time::{Span, Timestamp};

/// If no connection was evicted for this long, the share of connections that are followed doubles.
const EASES_AFTER: Span = Span::secs(10);
/// For this many listeners the tracker counts how many of the evicted connections were completed.
const MOST_LISTENERS: usize = 1_024;
/// If fewer than one in this many shows no trouble, those in trouble are evicted, too.
const TOO_FEW: usize = 16;
/// If at least one in this many shows no trouble, those in trouble stay.
const MANY_UNTROUBLED: usize = 4;
/// The floor is not raised beyond this to keep those in trouble: one in 256 lies above it.
const HIGHEST_FLOOR: u32 = u32::MAX - u32::MAX / 256;

/// Evicted connections that are followed again may take one part in this many of the room.
const READMITTED: usize = 4;

/// What a segment of no known connection belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EvictedMatch {
    /// No connection that was evicted.
    Unknown,
    /// An evicted one, certainly or possibly: the segment is counted and begins no other connection.
    Counted,
    /// One that was evicted after its handshake was complete; the server asks for the final ACK again.
    Troubled,
}

/// News of evicted connections.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct EvictedActivity {
    /// Segments of them.
    pub segments: u64,
    /// Segments that belong to a connection that was evicted and forgotten, or that was joined in the middle.
    pub strays: u64,
    /// Handshakes that were completed, by listener.
    pub completed: Map<Host, u64>,
    /// The same for all listeners together.
    pub all_completed: u64,
}

impl EvictedActivity {
    /// Whether nothing is known.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.segments == 0 && self.strays == 0
    }

    fn complete(&mut self, server: Host) {
        self.all_completed = self.all_completed.saturating_add(1);
        if self.completed.len() < MOST_LISTENERS || self.completed.contains_key(&server) {
            let count = self.completed.entry(server).or_default();
            *count = count.saturating_add(1);
        }
    }
}

/// The priority of a connection: the higher, the longer it stays. It depends only on when the connection began.
fn priority(at: Timestamp, what: At) -> u32 {
    let mixed = (at.0 as u64 ^ u64::from(what.0) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as u32
}

impl Tracker {
    /// News of evicted connections since the last call.
    pub fn drain_evicted_news(&mut self) -> EvictedActivity {
        std::mem::take(&mut self.went_on)
    }

    /// About how many handshakes repeat earlier ones that were evicted and forgotten.
    pub fn repeated(&self) -> u64 {
        self.repeated.saturating_add(self.evicted_flows.repeated())
    }

    /// Whether there is too little room, even after vacant memory was given back.
    pub(super) fn is_short(&mut self) -> bool {
        self.bytes() >= self.most_bytes && !self.shrink_storage()
    }

    /// Makes room after a record has become larger.
    pub(super) fn make_room(&mut self, sink: &mut Sink<'_>) {
        while self.is_short() && self.evict(sink) {}
    }

    /// Evicted connections that are followed again: each was counted before.
    pub fn readmitted(&self) -> u64 {
        self.readmitted
    }

    /// Whether a segment of no known connection belongs to an evicted one, certainly or possibly.
    #[cold]
    #[inline(never)]
    pub(super) fn evicted_segment(&mut self, tag: u32, s: &Segment) -> EvictedMatch {
        if s.icmp().is_some() {
            return EvictedMatch::Unknown;
        }
        let is_syn_ack = s.flags.has(Flags::SYN | Flags::ACK) && !s.flags.has(Flags::RST);
        let is_syn = s.flags.has(Flags::SYN) && !s.flags.any(Flags::ACK | Flags::RST);
        match self.evicted_flows.find(tag, is_syn.then_some(s.seq)) {
            // The four-tuple is used again.
            Some(Stage::Over) if is_syn => return EvictedMatch::Unknown,
            Some(Stage::Over) => self.late = self.late.saturating_add(1),
            Some(Stage::Open) if is_syn_ack && self.has_room_for_troubled() => return EvictedMatch::Troubled,
            Some(stage) => {
                self.went_on.segments = self.went_on.segments.saturating_add(1);
                let completes = s.flags.has(Flags::ACK) && !s.flags.any(Flags::SYN | Flags::RST);
                if stage == Stage::HalfOpen && completes {
                    self.evicted_flows.completed(tag);
                    self.went_on.complete(Host { address: s.dst, port: s.dst_port });
                }
            }
            None if !is_syn
                && self
                    .evicted_flows
                    .last_overwritten()
                    .is_some_and(|at| self.now - at <= super::waits::OPEN) =>
            {
                self.went_on.strays = self.went_on.strays.saturating_add(1);
            }
            None => return EvictedMatch::Unknown,
        }
        EvictedMatch::Counted
    }

    /// Whether another full record fits into the part of the room that such connections may take.
    fn has_room_for_troubled(&self) -> bool {
        let each = size_of::<Connection>().saturating_add(super::FULL_MORE);
        let taken = self.full.held.saturating_mul(each);
        taken < self.most_bytes / READMITTED
    }

    /// Follows a connection again that was evicted: `s` shows that it is in trouble. The segments before it are not
    /// known.
    #[cold]
    #[inline(never)]
    pub(super) fn readmit(
        &mut self,
        tag: u32,
        key: FlowKey,
        from: Direction,
        s: &Segment,
        sink: &mut Sink<'_>,
    ) {
        self.evicted_flows.remove(tag);
        self.readmitted = self.readmitted.saturating_add(1);
        while self.is_short() && self.evict(sink) {}
        let at = self.heads.insert(&key, tag);
        self.index.insert(tag, at);
        self.check(at, WaitKind::Handshake);
        let mut connection = Connection::begin(key, from, s, None);
        connection.facts.readmitted = true;
        let place = self.fill(at, connection);
        self.full_segment(at, place, from, s, sink);
    }

    /// Whether a new connection is only counted, because too many are followed already; if so, it has been counted.
    #[cold]
    #[inline(never)]
    pub(super) fn is_passed_over(
        &mut self,
        tag: u32,
        key: &FlowKey,
        from: Direction,
        s: &Segment,
        sink: &mut Sink<'_>,
    ) -> bool {
        if self.now - self.thinned > EASES_AFTER {
            (self.floor, self.thinned) = (self.floor / 2, self.now);
        }
        let is_syn = s.flags.has(Flags::SYN) && !s.flags.any(Flags::ACK | Flags::RST);
        if is_syn {
            self.evicted_flows.enter(tag, s.seq);
        }
        if priority(self.now + WaitKind::Handshake.span(), self.heads.next()) >= self.floor {
            return false;
        }
        let removal = Removal { ending: Some(Ending::Evicted), now: self.now };
        if let Some(half_open) = HalfOpen::begin(from, s) {
            self.events.push(syn(s.packet, s));
            self.evicted_flows.insert(tag, Some(s.seq), Stage::HalfOpen, self.now);
            sink(EndedFlow::HalfOpen(key, &half_open, removal));
        } else {
            let mut connection = Connection::begin(*key, from, s, None);
            connection.segment(s, from);
            removal.seal(&mut connection.facts);
            self.evicted_flows.insert(tag, connection.own_isn(), Stage::Open, self.now);
            sink(EndedFlow::Full(&connection.facts));
        }
        self.evicted = self.evicted.saturating_add(1);
        true
    }

    /// Makes room: see the module. Returns whether anything could be evicted.
    pub(super) fn evict(&mut self, sink: &mut Sink<'_>) -> bool {
        self.evict_first(&[WaitKind::Expiry, WaitKind::Closing, WaitKind::Aftermath], sink)
            || self.thin_out(sink)
            || self.evict_first(&[WaitKind::Handshake, WaitKind::Open], sink)
    }

    /// Lets go of the first connection in the first of these queues that has one.
    fn evict_first(&mut self, queues: &[WaitKind], sink: &mut Sink<'_>) -> bool {
        for &wait in queues {
            while let Some(check) = self.checks.of_mut(wait).pop_front() {
                if !self.is_current(&check) {
                    continue;
                }
                if wait == WaitKind::Handshake && self.wait_of(check.what) == WaitKind::Open {
                    self.check(check.what, WaitKind::Open);
                    continue;
                }
                self.let_go_of(check.what, sink);
                return true;
            }
        }
        false
    }

    /// Evicts a further part of the connections.
    fn thin_out(&mut self, sink: &mut Sink<'_>) -> bool {
        let held = self.followed();
        self.thinned = self.now;
        let enough = held.div_ceil(TOO_FEW);
        let mut gone = self.sweep_untroubled(sink);
        if gone < enough && self.untroubled() >= held.div_ceil(MANY_UNTROUBLED) {
            // The floor had come down meanwhile, and most connections lie above it.
            while gone < enough && self.floor < HIGHEST_FLOOR {
                gone = gone.saturating_add(self.sweep_untroubled(sink));
            }
        }
        if gone < enough {
            gone = gone.saturating_add(self.sweep(|_, _| true, sink));
        }
        gone > 0
    }

    /// Raises the floor, and evicts the connections below it that show no trouble.
    fn sweep_untroubled(&mut self, sink: &mut Sink<'_>) -> usize {
        self.floor = self.floor.saturating_add(!self.floor / 4).saturating_add(1);
        self.sweep(|tracker, what| !tracker.is_troubled(what), sink)
    }

    /// How many connections are held that show no trouble.
    fn untroubled(&self) -> usize {
        let [handshake, open, ..] = &self.checks.0;
        handshake
            .iter()
            .chain(open)
            .filter(|check| self.is_current(check) && !self.is_troubled(check.what))
            .count()
    }

    /// Evicts connections below the floor for which `may` returns true; returns how many.
    fn sweep(&mut self, may: impl Fn(&Tracker, At) -> bool, sink: &mut Sink<'_>) -> usize {
        let mut gone = 0_usize;
        for wait in [WaitKind::Handshake, WaitKind::Open] {
            let mut queue = std::mem::take(self.checks.of_mut(wait));
            queue.retain(|check: &ScheduledCheck| {
                if priority(check.at, check.what) >= self.floor {
                    return true;
                }
                if !self.is_current(check) {
                    return false;
                }
                let stays = !may(self, check.what);
                if !stays {
                    self.let_go_of(check.what, sink);
                    gone = gone.saturating_add(1);
                }
                stays
            });
            *self.checks.of_mut(wait) = queue;
        }
        gone
    }

    fn is_troubled(&self, what: At) -> bool {
        let body = self.heads.get(what).body;
        match body.form() {
            Form::HalfOpen => self.half_open.get(body.place()).is_troubled(),
            Form::Full => self.full.get(body.place()).facts.is_troubled(),
            Form::Clean | Form::TimeWait => false,
        }
    }

    fn wait_of(&self, what: At) -> WaitKind {
        let body: RecordRef = self.heads.get(what).body;
        match body.form() {
            Form::HalfOpen => WaitKind::of_half_open(self.half_open.get(body.place())),
            Form::Clean => WaitKind::of_clean(self.clean.get(body.place())),
            Form::Full => WaitKind::of(&self.full.get(body.place()).facts),
            Form::TimeWait => WaitKind::Expiry,
        }
    }

    /// Evicts one connection, and remembers its fingerprint.
    fn let_go_of(&mut self, what: At, sink: &mut Sink<'_>) {
        let head = *self.heads.get(what);
        let place = head.body.place();
        let (isn, began) = match head.body.form() {
            Form::HalfOpen => {
                let half_open = self.half_open.get(place);
                (Some(half_open.syn.seq), half_open.first().time)
            }
            Form::Clean => {
                let handshake = &self.clean.get(place).handshake;
                (Some(handshake.syn.seq), handshake.first().time)
            }
            Form::Full => {
                let connection = self.full.get(place);
                (connection.own_isn(), connection.facts.first.time)
            }
            Form::TimeWait => (self.over.get(place).isn(), Timestamp::MAX),
        };
        let stage = match self.wait_of(what) {
            WaitKind::Handshake => Stage::HalfOpen,
            WaitKind::Open => Stage::Open,
            WaitKind::Closing | WaitKind::Aftermath | WaitKind::Expiry => Stage::Over,
        };
        if self.evicted_flows.is_empty() {
            self.pressed_since = self.now;
        }
        if let Some(isn) = isn.filter(|_| stage != Stage::Over && began < self.pressed_since) {
            self.evicted_flows.enter(head.tag, isn);
        }
        self.evicted_flows.insert(head.tag, isn, stage, self.now);
        let ending = (stage != Stage::Over).then_some(Ending::Evicted);
        self.evicted = self.evicted.saturating_add(u64::from(ending.is_some()));
        self.end(what, ending, sink);
    }
}
