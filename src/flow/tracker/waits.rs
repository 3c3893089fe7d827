//! How long each state of a connection lasts without a segment, and the checks at the end of that time.

use std::collections::VecDeque;

use super::{Sink, TOGETHER, Tracker};
use crate::decode::segment::Segment;
use crate::flow::compact::clean::CleanFlow;
use crate::flow::compact::half_open::HalfOpen;
use crate::flow::facts::{ConnectionFacts, Ending};
use crate::flow::store::slots::{At, Form};
use crate::time::{Span, Timestamp};

/// A handshake that is not complete: the last SYN retry goes out after 63 s to 67 s and times out after 131 s
/// (`tcp_syn_retries` 6 with linear time-outs); the last SYN-ACK request dies after 64 s.
const HANDSHAKE: Span = Span::secs(180);
/// An open connection that is idle: longer than the first keepalive probe (7,200 s) and all its retries (9 times 75 s).
pub(super) const OPEN: Span = Span::secs(3 * 3600);
/// A connection that has ended: as long as TIME_WAIT lasts (60 s, `TCP_TIMEWAIT_LEN`), and a little more.
pub(super) const OVER: Span = Span::secs(65);
/// How long after a RST the connection is still tracked in full: its peer may not have got it and go on.
const AFTERMATH: Span = Span::secs(2);
/// How long after the last acknowledgment it is: copies of the last packets come at once.
const CLOSING: Span = Span::millis(50);

/// Which wait a connection is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WaitKind {
    Handshake,
    Open,
    Closing,
    Aftermath,
    Expiry,
}

impl WaitKind {
    pub(super) const ALL: [WaitKind; 5] =
        [WaitKind::Handshake, WaitKind::Open, WaitKind::Closing, WaitKind::Aftermath, WaitKind::Expiry];

    pub(super) fn span(self) -> Span {
        match self {
            WaitKind::Handshake => HANDSHAKE,
            WaitKind::Open => OPEN,
            WaitKind::Closing => CLOSING,
            WaitKind::Aftermath => AFTERMATH,
            WaitKind::Expiry => OVER,
        }
    }

    #[inline]
    pub(super) fn of_half_open(half_open: &HalfOpen) -> WaitKind {
        if half_open.is_refused() { WaitKind::Aftermath } else { WaitKind::Handshake }
    }

    #[inline]
    pub(super) fn of_clean(clean: &CleanFlow) -> WaitKind {
        if clean.is_closed() { WaitKind::Closing } else { WaitKind::Open }
    }

    #[inline]
    pub(super) fn of(f: &ConnectionFacts) -> WaitKind {
        if f.closed.is_some() {
            if f.was_reset() { WaitKind::Aftermath } else { WaitKind::Closing }
        } else if f.final_ack.is_some() || f.mid_stream || f.progress.is_some() {
            WaitKind::Open
        } else {
            WaitKind::Handshake
        }
    }
}

/// When `f` expires.
#[inline]
pub(in crate::flow) fn due(f: &ConnectionFacts) -> Timestamp {
    f.last.time + WaitKind::of(f).span()
}

/// When to look at a connection again.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScheduledCheck {
    pub(super) at: Timestamp,
    pub(super) what: At,
    pub(super) generation: u32,
}

/// A queue for each [`WaitKind`], whose checks come in the order of their times.
#[derive(Default)]
pub(super) struct CheckQueues(pub(super) [VecDeque<ScheduledCheck>; 5]);

impl CheckQueues {
    #[inline]
    pub(super) fn of_mut(&mut self, wait: WaitKind) -> &mut VecDeque<ScheduledCheck> {
        let [handshake, open, closing, aftermath, expiry] = &mut self.0;
        match wait {
            WaitKind::Handshake => handshake,
            WaitKind::Open => open,
            WaitKind::Closing => closing,
            WaitKind::Aftermath => aftermath,
            WaitKind::Expiry => expiry,
        }
    }
}

/// Whether a segment comes so soon after the one at `last` that no wait can have ended.
#[inline]
pub(super) fn is_within_shortest_wait(s: &Segment, last: Timestamp) -> bool {
    s.time.0.wrapping_sub(last.0) as u64 <= CLOSING.0 as u64
}

impl Tracker {
    pub(super) fn check(&mut self, at: At, wait: WaitKind) {
        let check = ScheduledCheck {
            at: self.now + wait.span(),
            what: at,
            generation: self.heads.get(at).generation,
        };
        self.soonest = self.soonest.min(check.at);
        let queue = self.checks.of_mut(wait);
        if queue.len() == queue.capacity() && queue.len() >= 64 {
            self.drop_stale(wait);
        }
        self.checks.of_mut(wait).push_back(check);
    }

    /// Whether the record to check is still there.
    #[inline]
    pub(super) fn is_current(&self, check: &ScheduledCheck) -> bool {
        self.heads.get(check.what).generation == check.generation
    }

    /// Drops checks of records that are gone: most connections end long before their first check. If little room is
    /// left, the queue doubles. It also doubles without a search while up to half of the checks may belong to live
    /// records: in a flood hardly any check is stale, and each test costs a cache miss.
    pub(super) fn drop_stale(&mut self, wait: WaitKind) {
        let mut queue = std::mem::take(self.checks.of_mut(wait));
        let held = match wait {
            WaitKind::Handshake => self.followed(),
            WaitKind::Expiry => self.over.held,
            WaitKind::Open | WaitKind::Closing | WaitKind::Aftermath => {
                self.clean.held.saturating_add(self.full.held)
            }
        };
        if held >= queue.len() / 2 {
            queue.reserve(queue.capacity());
            *self.checks.of_mut(wait) = queue;
            return;
        }
        queue.retain(|check| self.is_current(check));
        if queue.len() > queue.capacity() / 2 {
            queue.reserve(queue.capacity());
        }
        *self.checks.of_mut(wait) = queue;
    }

    /// Frees expired records. A connection that went on meanwhile is looked at again later.
    pub(super) fn end_due(&mut self, sink: &mut Sink<'_>) {
        for wait in WaitKind::ALL {
            while let Some(check) = self.checks.of_mut(wait).front().copied() {
                if check.at >= self.now {
                    break;
                }
                let queue = self.checks.of_mut(wait);
                queue.pop_front();
                // Checks that come soon concern records that were last used long ago: as in `segments`, these are
                // prefetched.
                let soon = |n: usize| queue.get(n).map_or(At::NONE, |check| check.what);
                let (next, later) = (soon(TOGETHER / 4), soon(TOGETHER / 2));
                self.heads.prefetch(later);
                self.prefetch_body(next);
                if self.is_current(&check) {
                    self.look_at(check.what, wait, sink);
                }
            }
        }
        let fronts = self.checks.0.iter().filter_map(|queue| queue.front());
        self.soonest = fronts.map(|check| check.at).min().unwrap_or(Timestamp::MAX);
    }

    pub(super) fn look_at(&mut self, at: At, wait: WaitKind, sink: &mut Sink<'_>) {
        let head = self.heads.get(at);
        let place = head.body.place();
        let (now_in, due) = match head.body.form() {
            Form::HalfOpen => {
                let half_open = self.half_open.get(place);
                let wait = WaitKind::of_half_open(half_open);
                (wait, half_open.last().time + wait.span())
            }
            Form::TimeWait => (WaitKind::Expiry, self.over.get(place).last.time + OVER),
            Form::Clean => {
                let clean = self.clean.get(place);
                let wait = WaitKind::of_clean(clean);
                (wait, clean.last() + wait.span())
            }
            Form::Full => {
                let facts = &self.full.get(place).facts;
                (WaitKind::of(facts), due(facts))
            }
        };
        match (now_in, due < self.now) {
            (WaitKind::Expiry, true) => self.end(at, None, sink),
            (WaitKind::Closing | WaitKind::Aftermath, true) => self.release(at, sink),
            (_, true) => self.end(at, Some(Ending::Expired), sink),
            // It has had a check of its own since it was closed.
            (WaitKind::Closing | WaitKind::Aftermath, false)
                if matches!(wait, WaitKind::Handshake | WaitKind::Open) => {}
            (_, false) => self.check(at, now_in),
        }
    }
}
