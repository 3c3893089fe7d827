//! The effect of segments without SYN and RST on the streams of both ends: payload, acknowledgments, FIN, windows,
//! pauses.
//!
//! Most segments bring new payload or acknowledge some. Anything unusual is recorded separately, and only if the
//! connection is [`Connection::eventful`].

use super::{Connection, OUT_OF_ORDER};
use crate::decode::segment::{Flags, Segment, TcpOptions};
use crate::flow::facts::{
    ConnectionFacts, Flight, KeepaliveProbing, PacketRef, Pause, RecoveredLosses, Role, SegmentKind, Side,
    ZeroWindow,
};
use crate::time::{Span, Timestamp};

/// A silence of both ends that is recorded: boxes on the path forget connections after longer ones.
pub(super) const PAUSE: Span = Span::secs(1);

impl Connection {
    /// Anything without SYN and RST: acknowledgment, payload, FIN. `hole` is how many IPv4 identifications its sender left
    /// out just before it.
    #[inline(always)]
    pub(super) fn on_segment(&mut self, s: &Segment, role: Role, hole: u8) -> SegmentKind {
        let ConnectionFacts { c, s: server, last, reordered, .. } = &mut self.facts;
        let last = *last;
        let (own, peer) = match role {
            Role::Client => (c, server),
            Role::Server => (server, c),
        };
        own.move_ip_id(s);
        if s.options.has(TcpOptions::TIMESTAMPS) {
            own.tsval = Some(s.tsval);
        }
        let what = classify(own, s);
        if self.eventful || s.window == 0 {
            self.eventful = true;
            note_unusual(own, peer, s, what, last);
        }
        match what {
            SegmentKind::Ack => {}
            SegmentKind::Data => {
                note_new_data(own, s, last.time);
                *self.sent_at.of_mut(role) = s.time;
            }
            _ => {
                self.eventful = true;
                if note_no_new_data(own, s, what, last.time) {
                    *self.sent_at.of_mut(role) = s.time;
                }
                if what == SegmentKind::Retransmit && note_reordering(own, s) {
                    *reordered = reordered.saturating_add(1);
                }
            }
        }
        if !own.next_known || s.end().after(own.next) {
            (own.next, own.next_known) = (s.end(), true);
        }
        if s.flags.has(Flags::ACK) {
            note_acknowledgment(own.fin_acked, peer, s, self.eventful);
        }
        if self.facts.progress.is_none() {
            match role {
                Role::Client => self.on_client(s, what, hole),
                Role::Server => self.on_server(s, what),
            }
        }
        if self.eventful {
            self.note_close(s);
        }
        what
    }

    /// A segment after a pause, or the first of the other end after one.
    pub(super) fn note_pause(&mut self, s: &Segment, role: Role, what: SegmentKind, last: Timestamp) {
        let length = s.time - last;
        let is_new = matches!(what, SegmentKind::Data | SegmentKind::Fin | SegmentKind::KeepAlive);
        let starts = length >= PAUSE && is_new;
        if self.facts.idle.is_none() && !starts {
            return;
        }
        let idle = self.facts.idle.get_or_insert_default();
        if let Some(last) = idle.last.filter(|last| last.by != Some(role) && what != SegmentKind::Reset) {
            if idle.survived.is_none_or(|longest| longest.length < last.length) {
                idle.survived = Some(last);
            }
            idle.last = None;
        }
        if starts {
            idle.last = Some(Pause { length, until: PacketRef::of(s), by: Some(role) });
        }
    }
}

/// The kind of the segment in the stream of its sender, `side`.
#[inline(always)]
fn classify(side: &Side, s: &Segment) -> SegmentKind {
    if s.flags.has(Flags::FIN) {
        SegmentKind::Fin
    } else if s.payload > 0 {
        // A keepalive probe of other stacks carries one byte that is already acknowledged.
        if side.next_known && !s.end().after(side.next) {
            let probes = s.payload == 1
                && side.acked_known
                && side.acked == s.end()
                && side.next == s.end()
                && side.fin.is_none();
            if probes { SegmentKind::KeepAlive } else { SegmentKind::Retransmit }
        } else {
            SegmentKind::Data
        }
    } else if side.next_known && s.seq.advance(1) == side.next && side.acked_known && side.acked == side.next
    {
        SegmentKind::KeepAlive
    } else {
        SegmentKind::Ack
    }
}

/// Checks that only an eventful connection needs: answers to probes, windows, payload after the peer's FIN. `last` is
/// the last segment of either end.
#[cold]
fn note_unusual(own: &mut Side, peer: &mut Side, s: &Segment, what: SegmentKind, last: PacketRef) {
    if what == SegmentKind::Ack
        && let Some(probing) = &mut peer.probing
        && probing.last == last
    {
        probing.answers = probing.answers.saturating_add(1);
        (probing.answered, probing.ip_id) = (PacketRef::of(s), s.ip_id);
    }
    if s.window == 0 || own.zero_window.is_some() {
        note_zero_window(own, s, peer.keepalives());
    }
    if let Some(closed) = peer.fin_acked
        && s.payload > 0
        && matches!(what, SegmentKind::Data | SegmentKind::Fin)
    {
        let late = own.late.get_or_insert_default();
        if late.first.is_none() {
            (late.first, late.seq) = (Some(PacketRef::of(s)), s.seq);
        }
        let before = own.last_data.map_or(closed.time, |data| data.time.max(closed.time));
        late.pause = late.pause.max(s.time - before);
    }
}

/// Payload that comes after its own acknowledgment. Returns whether the acknowledgment was captured too early, so that
/// the payload is not missing.
fn note_reordering(side: &mut Side, s: &Segment) -> bool {
    let reordered = side.unseen > 0 && side.unseen_at.is_some_and(|at| s.time - at.time <= OUT_OF_ORDER);
    side.unseen = side.unseen.saturating_sub(u32::from(reordered));
    reordered
}

/// New payload of `side`.
#[inline(always)]
fn note_new_data(side: &mut Side, s: &Segment, last: Timestamp) {
    note_flight(side, s, last);
    let new = if side.next_known { s.end().distance(side.next).max(0) as u32 } else { s.payload };
    record_data(side, s, new.min(s.payload));
}

/// Payload of which `bytes` are new.
#[inline(always)]
fn record_data(side: &mut Side, s: &Segment, bytes: u32) {
    // A stream of 2^64 bytes is beyond any capture.
    side.bytes = side.bytes.wrapping_add(u64::from(bytes));
    side.data_segments = side.data_segments.saturating_add(1);
    side.first_data.get_or_insert(PacketRef::of(s));
    side.last_data = Some(PacketRef::of(s));
}

/// A repetition, a keepalive probe or a FIN of `side`. Returns whether it is the first FIN.
#[cold]
fn note_no_new_data(side: &mut Side, s: &Segment, what: SegmentKind, last: Timestamp) -> bool {
    match what {
        SegmentKind::Retransmit => {
            side.retransmits = side.retransmits.saturating_add(1);
            note_repetition(side, s, last);
        }
        SegmentKind::KeepAlive => {
            let at = PacketRef::of(s);
            let probing = side.probing.get_or_insert_with(|| {
                Box::new(KeepaliveProbing { first: at, ..KeepaliveProbing::default() })
            });
            probing.last = at;
            probing.count = probing.count.saturating_add(1);
        }
        SegmentKind::Fin => {
            if s.payload > 0 && (!side.next_known || s.seq.advance(s.payload).after(side.next)) {
                record_data(side, s, s.payload);
            }
            side.fins = side.fins.saturating_add(1);
            if side.fin.is_none() {
                note_flight(side, s, last);
                side.fin = Some(PacketRef::of(s));
                side.fin_seq = s.seq.advance(s.payload);
                return true;
            }
            note_repetition(side, s, last);
        }
        SegmentKind::Syn
        | SegmentKind::SynAck
        | SegmentKind::Ack
        | SegmentKind::Data
        | SegmentKind::Reset => {}
    }
    false
}

/// Notes what the segment acknowledges of its receiver's stream. `closed` is the acknowledgment of the sender's FIN;
/// `eventful` is the field of the connection, whose sides are borrowed apart from it.
#[inline(always)]
fn note_acknowledgment(closed: Option<PacketRef>, peer: &mut Side, s: &Segment, eventful: bool) {
    if !peer.next_known {
        // Mid-stream: the peer has sent at least this much.
        (peer.next, peer.next_known) = (s.ack, true);
    } else if s.ack.after(peer.next) {
        note_unseen(closed, peer, s);
    }
    if !peer.acked_known || s.ack.after(peer.acked) {
        (peer.acked, peer.acked_known) = (s.ack, true);
        if peer.flight.largest > peer.largest_acked && s.ack.at_or_after(peer.flight.largest_end) {
            peer.largest_acked = peer.flight.largest;
        }
        if eventful {
            note_healed(peer, s);
        }
    } else if eventful || s.options.has(TcpOptions::SACK) {
        note_same_acknowledgment(peer, s);
    }
    if eventful && peer.fin.is_some() && peer.fin_acked.is_none() && s.ack.after(peer.fin_seq) {
        peer.fin_acked = Some(PacketRef::of(s));
    }
}

/// The segment acknowledges bytes that the capture does not hold.
#[cold]
fn note_unseen(closed: Option<PacketRef>, peer: &mut Side, s: &Segment) {
    if let Some(closed) = closed {
        let before = peer.unseen_at.max(peer.last_data).map_or(closed.time, |at| at.time.max(closed.time));
        let late = peer.late.get_or_insert_default();
        late.pause = late.pause.max(s.time - before);
    }
    peer.unseen = peer.unseen.saturating_add(1);
    peer.unseen_at = Some(PacketRef::of(s));
    peer.next = s.ack;
}

/// The window of `side` is closed, or opens again. The peer has sent this many `probes` by then.
fn note_zero_window(side: &mut Side, s: &Segment, probes: u16) {
    match &mut side.zero_window {
        Some(zero) if s.window > 0 => {
            zero.opened.get_or_insert(PacketRef::of(s));
        }
        Some(zero) => {
            if let Some(opened) = zero.opened.take() {
                let span = opened.time - zero.first.time;
                if zero.longest.is_none_or(|before| before.1 < span) {
                    zero.longest = Some((zero.first, span));
                }
                (zero.first, zero.probes_before) = (PacketRef::of(s), probes);
            }
            zero.last = PacketRef::of(s);
            zero.count = zero.count.saturating_add(1);
        }
        None => {
            let at = PacketRef::of(s);
            side.zero_window = Some(Box::new(ZeroWindow {
                first: at,
                last: at,
                count: 1,
                probes_before: probes,
                ..ZeroWindow::default()
            }));
        }
    }
}

/// New payload, or the first FIN: it opens a flight where nothing was outstanding. `last` is the time of the last segment of
/// either end.
#[inline(always)]
fn note_flight(side: &mut Side, s: &Segment, last: Timestamp) {
    let outstanding =
        side.next_known && if side.acked_known { side.next != side.acked } else { side.data_segments > 0 };
    let flight = &mut side.flight;
    if !outstanding {
        *flight = Flight {
            begin: PacketRef::of(s),
            seq: s.seq,
            ack: s.ack,
            idle: s.time - last,
            largest: s.payload,
            largest_end: s.end(),
            latest: s.payload,
        };
        return;
    }
    flight.latest = s.payload;
    if s.payload > flight.largest || side.acked_known && side.acked.at_or_after(flight.largest_end) {
        (flight.largest, flight.largest_end) = (s.payload, s.end());
    }
}

/// Payload or FIN that was sent before.
fn note_repetition(side: &mut Side, s: &Segment, last: Timestamp) {
    // It repeats an earlier part of the capture.
    if s.time < last {
        return;
    }
    let oldest = if side.acked_known { side.acked } else { side.flight.seq };
    let (at, acked_known) = (PacketRef::of(s), side.acked_known);
    let repeating = side.repeating.get_or_insert_default();
    if acked_known && !s.end().after(oldest) {
        if repeating.of_acknowledged == 0 || repeating.of_acknowledged_seq != s.seq {
            (repeating.of_acknowledged, repeating.of_acknowledged_seq) = (0, s.seq);
            repeating.of_acknowledged_at.0 = at;
        }
        repeating.of_acknowledged = repeating.of_acknowledged.saturating_add(1);
        repeating.of_acknowledged_at.1 = at;
        return;
    }
    if s.seq.after(oldest) {
        return;
    }
    if repeating.count == 0 || repeating.seq != oldest {
        (repeating.seq, repeating.first, repeating.count) = (oldest, at, 0);
        (repeating.largest, repeating.heard) = (0, 0);
    }
    repeating.count = repeating.count.saturating_add(1);
    repeating.last = at;
    repeating.largest = repeating.largest.max(s.payload);
    repeating.latest = s.payload;
}

/// The repeated bytes are acknowledged.
#[cold]
fn note_healed(side: &mut Side, s: &Segment) {
    let Some(repeating) = &mut side.repeating else { return };
    if repeating.count > 0 && s.ack.after(repeating.seq) {
        if repeating.healed.is_none_or(|before| before.count < repeating.count) {
            repeating.healed = Some(RecoveredLosses {
                first: repeating.first,
                at: PacketRef::of(s),
                count: repeating.count,
                largest: repeating.largest,
                latest: repeating.latest,
            });
        }
        repeating.count = 0;
    }
}

/// A segment of the peer of `side` that acknowledges no more than those before.
#[cold]
fn note_same_acknowledgment(side: &mut Side, s: &Segment) {
    if s.options.has(TcpOptions::SACK) {
        let again = side.sacked.0 == s.ack && side.sacked.1 > 0;
        side.sacked = (s.ack, if again { side.sacked.1.saturating_add(1) } else { 1 });
    }
    if let Some(repeating) = side.repeating.as_mut().filter(|repeating| repeating.count > 0) {
        repeating.heard = repeating.heard.saturating_add(1);
    }
}
