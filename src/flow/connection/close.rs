//! The end of a connection: RST, FINs acknowledged, and segments after a RST.

use super::Connection;
use crate::decode::segment::{Flags, Segment};
use crate::flow::facts::{PacketRef, Reset, Role, SegmentKind, SegmentProfile, Side};

impl Connection {
    /// A RST: the end of the connection, if the receiver accepts its sequence number.
    pub(super) fn on_reset(&mut self, s: &Segment, role: Role, before: SegmentProfile) -> SegmentKind {
        let trigger = self.latest_of(role.peer());
        let f = &mut self.facts;
        self.eventful = true;
        let syn_sent = role == Role::Server && f.syn_ack.count == 0;
        // The client's answer to a bare ACK that was not for its SYN ends the older connection (RFC 9293 3.10.7.3).
        let for_older = role == Role::Client
            && f.ack_to_syn.as_ref().is_some_and(|a| a.ack == s.seq)
            && f.final_ack.is_none();
        let side = f.side_mut(role);
        side.move_ip_id(s);
        side.resets = side.resets.saturating_add(1);
        if side.reset.is_none() {
            side.reset = Some(Box::new(Reset {
                at: PacketRef::of(s),
                seq: s.seq,
                ack: s.ack,
                flags: s.flags,
                window: s.window,
                ip_id: s.ip_id,
                ttl: s.ttl,
                tos: s.tos,
                options: s.options,
                traits: s.traits,
                trigger,
                before,
                went_on: None,
            }));
        }
        // RFC 9293 3.10.7.3: in SYN-SENT a RST counts if it acknowledges the SYN. Later: if it lies in the window,
        // of which we only know that it begins near SND.NXT and spans at most 2^30 (RFC 7323).
        let counts = if syn_sent {
            s.flags.has(Flags::ACK)
        } else {
            !side.next_known || s.seq.distance(side.next).unsigned_abs() < 1 << 30
        };
        if counts && !for_older && f.closed.is_none() {
            f.closed = Some(s.time);
        }
        SegmentKind::Reset
    }

    /// A segment other than RST comes from an end in whose name a RST had come.
    #[cold]
    pub(super) fn note_activity_after_reset(&mut self, s: &Segment, role: Role) {
        if let Some(reset) = &mut self.facts.side_mut(role).reset
            && s.time > reset.at.time
            // Sent before the RST, and overtaken by it.
            && !(s.ip_id != 0 && reset.ip_id != 0 && s.ttl == reset.ttl && reset.ip_id.wrapping_sub(s.ip_id) < 64)
        {
            let (_, count) = reset.went_on.get_or_insert((PacketRef::of(s), 0));
            *count = count.saturating_add(1);
        }
    }

    /// Both FINs acknowledged: closed.
    #[inline]
    pub(super) fn note_close(&mut self, s: &Segment) {
        let f = &mut self.facts;
        if f.closed.is_none() && f.c.fin_acked.is_some() && f.s.fin_acked.is_some() {
            f.closed = Some(s.time);
        }
    }
}

/// The common header fields of one end's segments so far.
pub(super) fn usual(side: &Side) -> SegmentProfile {
    SegmentProfile {
        ttl: side.ttl,
        ip_id: side.last_ip_id,
        segments: side.segments,
        next: side.next,
        next_known: side.next_known,
    }
}
