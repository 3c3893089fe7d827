//! When the kernel is asked: the schedule and its exceptions.

use std::sync::Arc;

use super::Watch;
use crate::detect::context::StatedByHost;
use crate::diagnose::host::snapshot_facts;
use crate::host::Snapshot;
use crate::live::event::LiveEvent;
use crate::time::{Span, Timestamp};

/// How often the kernel is asked, and how often while packets come and soon after them.
const LOOK: Span = Span::millis(390);
const BUSY_LOOK: Span = Span::millis(200);
/// For this long after a packet the kernel may still act on it.
const AFTERWARDS: Span = Span::secs(2);

impl Watch {
    /// Whether the kernel is to be asked again.
    fn is_look_due(&self, now: Timestamp) -> bool {
        now - self.looked >= if self.is_busy(now) { BUSY_LOOK } else { LOOK }
    }

    fn is_busy(&self, now: Timestamp) -> bool {
        self.dirty || now - self.packet_came < AFTERWARDS
    }

    /// Asks the kernel, if that is due.
    pub(super) fn look_if_due(&mut self, now: Timestamp, events: &mut Vec<LiveEvent>) {
        if !self.is_look_due(now) {
            return;
        }
        if self.is_busy(now) {
            return self.look(now, events);
        }
        self.looked = now;
        let look = self.witness.as_mut().and_then(|witness| witness.look_if_moved(now));
        if let Some(look) = look {
            self.record_look(look, now, events);
        }
    }

    /// Whether a listener has begun to refuse connections, and the engine was not asked about it. Asks the kernel, if that
    /// is due.
    pub fn is_urgent(&mut self, clock: Timestamp) -> bool {
        let mut events = Vec::new();
        self.look_if_due(clock, &mut events);
        self.seen.append(&mut events);
        self.is_news(clock)
    }

    /// Whether a listener has begun to refuse connections, and that was not reported yet.
    pub(super) fn is_news(&self, now: Timestamp) -> bool {
        now - self.asked >= super::SOONEST_LOOK && self.sockets.has_untold(now)
    }

    /// Joins the kernel's statements with the packets. After a refusal the sockets are read at once.
    pub(super) fn join_statements(&mut self, now: Timestamp) {
        let Some(words) = &mut self.words else { return };
        let before = Arc::clone(words.refused());
        words.catch_up(now);
        if !Arc::ptr_eq(&before, words.refused()) {
            self.engine.set_refused(words.refused());
            self.dirty = true;
        }
    }

    /// Asks the kernel.
    pub(super) fn look(&mut self, now: Timestamp, events: &mut Vec<LiveEvent>) {
        self.looked = now;
        if let Some(look) = self.witness.as_mut().and_then(|witness| witness.look(now)) {
            self.record_look(look, now, events);
        }
    }

    fn record_look(&mut self, look: Snapshot, now: Timestamp, events: &mut Vec<LiveEvent>) {
        // Packets that the filter leaves out count as well.
        let segments = |look: &Snapshot| look.counters.get("TcpInSegs").copied();
        if self.testimony.latest().is_some_and(|before| segments(before) != segments(&look)) {
            self.packet_came = now;
        }
        let mut worth_a_word = self.sockets.observe(&look);
        self.engine.set_host(StatedByHost { refusing: self.sockets.refusing(), ..snapshot_facts::of(&look) });
        worth_a_word.extend(self.testimony.record_look(look));
        worth_a_word.extend(self.witness.as_mut().and_then(|witness| witness.news()));
        worth_a_word.into_iter().for_each(|text| self.warn(now, text, events));
    }
}
