//! Facts about one end: its stream, its FIN and RST, its windows, its silences.

use super::packet::PacketRef;
use super::reset::Reset;
use super::sent::push_exactly;
use crate::decode::segment::{Segment, Traits};
use crate::seq::Seq;
use crate::time::{Span, Timestamp};

/// Facts about one end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Side {
    /// Its initial sequence number, once `isn_known`.
    pub isn: Seq,
    /// Whether [`Side::isn`] was seen in a SYN (or SYN-ACK).
    pub isn_known: bool,
    /// The sequence number after the last byte that it was seen to send, or that the peer acknowledged.
    pub next: Seq,
    /// Whether [`Side::next`] means anything yet.
    pub next_known: bool,
    /// The highest acknowledgment of its bytes by the peer, once `acked_known`.
    pub acked: Seq,
    /// Whether [`Side::acked`] means anything yet.
    pub acked_known: bool,
    /// Segments seen from this side, capture duplicates not counted.
    pub segments: u32,
    /// Segments with new payload among them.
    pub data_segments: u32,
    /// Segments with payload, none of it new.
    pub retransmits: u32,
    /// How often the peer acknowledged bytes of this side that the capture does not hold.
    pub unseen: u32,
    /// The last time that happened: by then this side had sent something.
    pub unseen_at: Option<PacketRef>,
    /// Payload bytes, each counted once.
    pub bytes: u64,
    /// First segment with payload.
    pub first_data: Option<PacketRef>,
    /// Last segment with new payload.
    pub last_data: Option<PacketRef>,
    /// When the first segment of any kind came.
    pub first: Timestamp,
    /// The last segment of any kind.
    pub last: PacketRef,
    /// Intervals of more than a second in which nothing came from it.
    pub silences: Box<[(Timestamp, Timestamp)]>,
    /// First FIN.
    pub fin: Option<PacketRef>,
    /// Sequence number of the FIN itself.
    pub fin_seq: Seq,
    /// How often FIN was sent.
    pub fins: u16,
    /// The peer's first segment that acknowledges the FIN.
    pub fin_acked: Option<PacketRef>,
    /// New payload after the peer's FIN had been acknowledged.
    pub late: Option<Box<LateData>>,
    /// Its keepalive probes (RFC 9293 3.8.4).
    pub probing: Option<Box<KeepaliveProbing>>,
    /// Every [`Traits`] bit seen in this side's segments.
    pub traits: Traits,
    /// Smallest and largest TTL seen.
    pub ttl: (u8, u8),
    /// Segments whose IP ID followed the one before by exactly 1, and by 2 to 8 (a hole).
    pub ip_ids: (u16, u16),
    /// IP ID of the last segment whose ID was not 0.
    pub last_ip_id: u16,
    /// Last TSval.
    pub tsval: Option<u32>,
    /// The first RST.
    pub reset: Option<Box<Reset>>,
    /// How many RSTs.
    pub resets: u16,
    /// Its last flight: from a segment sent with nothing outstanding to the acknowledgment of everything sent since.
    pub flight: Flight,
    /// Its repetitions, now or before, from its oldest unacknowledged byte.
    pub repeating: Option<Box<OngoingRetransmission>>,
    /// Its receive window was closed.
    pub zero_window: Option<Box<ZeroWindow>>,
    /// Largest payload of a segment that the peer acknowledged, bytes.
    pub largest_acked: u32,
    /// The acknowledgment number of the peer's last segment with a SACK block that acknowledged nothing more, and how
    /// many there were with that number: something of this side has arrived behind a hole.
    pub sacked: (Seq, u16),
}

impl Side {
    /// How many silences are kept one by one; further ones are merged with the last.
    const SILENCES: usize = 64;

    /// Records that nothing came from this side until `to`, if that took longer than `least`.
    #[cold]
    pub(in crate::flow) fn record_silence(&mut self, to: Timestamp, least: Span) {
        if to - self.last.time <= least {
            return;
        }
        let silence = (self.last.time, to);
        let full = self.silences.len() >= Self::SILENCES;
        match &mut *self.silences {
            [.., last] if full => last.1 = to,
            _ => push_exactly(&mut self.silences, silence),
        }
    }

    /// Records the IPv4 identification of this side's next segment `s`, if it has one.
    #[inline]
    pub(in crate::flow) fn move_ip_id(&mut self, s: &Segment) {
        if s.ip_id != 0 {
            self.last_ip_id = s.ip_id;
        }
    }

    /// Whether further segments may have consequences beyond payload and acknowledgments. `last` is the last segment of
    /// either end.
    pub(in crate::flow) fn is_eventful(&self, last: PacketRef) -> bool {
        self.resets > 0
            || self.fin.is_some()
            || self.keepalive() == Some(last)
            || self.in_vain().is_some()
            || self.zero_window.as_ref().is_some_and(|zero| zero.opened.is_none())
    }

    /// The intervals in which it was heard, without its silences.
    pub fn heard(&self) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let begins = std::iter::once(self.first).chain(self.silences.iter().map(|silence| silence.1));
        let ends = self.silences.iter().map(|silence| silence.0).chain([self.last.time]);
        let some = if self.segments > 0 { usize::MAX } else { 0 };
        begins.zip(ends).take(some)
    }

    /// Its repetitions without an answer: nothing acknowledges them.
    pub fn in_vain(&self) -> Option<&OngoingRetransmission> {
        self.repeating.as_deref().filter(|r| r.count > 0)
    }

    /// Whether some of its segments are not acknowledged.
    pub fn has_outstanding(&self) -> bool {
        self.next_known && self.acked_known && self.next.after(self.acked)
    }

    /// How many segments of the peer have SACK blocks: data has arrived behind the byte that they acknowledge.
    pub fn sacks(&self) -> u16 {
        if self.acked_known && self.sacked.0 == self.acked { self.sacked.1 } else { 0 }
    }

    /// Whether it has sent payload. Payload that is missing in the capture counts too, and so does payload that comes after
    /// its own acknowledgment and is not counted as new.
    pub fn has_spoken(&self) -> bool {
        self.bytes > 0 || self.retransmits > 0 || self.unseen > 0
    }

    /// The last keepalive probe that it sent.
    pub fn keepalive(&self) -> Option<PacketRef> {
        self.probing.as_deref().map(|probing| probing.last)
    }

    /// How many keepalive probes it sent.
    pub fn keepalives(&self) -> u16 {
        self.probing.as_deref().map_or(0, |probing| probing.count)
    }

    /// Its first segment with new payload after the peer's FIN had been acknowledged.
    pub fn late_data(&self) -> Option<PacketRef> {
        self.late.as_deref()?.first
    }

    /// The longest wait for new payload since the peer's FIN had been acknowledged: from then on, or from one segment to
    /// the next.
    pub fn late_pause(&self) -> Span {
        self.late.as_deref().map_or(Span::ZERO, |late| late.pause)
    }

    /// Whether the peer acknowledged payload that was sent after its own FIN: it had only shut down its sending side.
    pub fn late_data_taken(&self) -> bool {
        self.late
            .as_deref()
            .is_some_and(|late| late.first.is_some() && self.acked_known && self.acked.after(late.seq))
    }

    /// Where the peer acknowledged a byte that may have been this side's FIN, which the capture does not hold: one byte
    /// more than its payload, or payload that is missing, and nothing after it.
    pub fn fin_not_captured(&self) -> Option<PacketRef> {
        let at = self
            .unseen_at
            .filter(|at| self.fin.is_none() && self.last_data.is_none_or(|data| data <= *at))?;
        let taken = u64::from(self.next.0.wrapping_sub(self.isn.0));
        // Payload that comes after its acknowledgment fills the gap without being new. SYN and FIN take one number
        // each.
        let only_fin = self.isn_known && taken == self.bytes.saturating_add(2);
        (only_fin || self.retransmits == 0).then_some(at)
    }
}

/// Segments sent since nothing was outstanding. If they are never acknowledged, they show when a connection died, and
/// after which silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Flight {
    /// Its first segment.
    pub begin: PacketRef,
    /// Sequence number of that.
    pub seq: Seq,
    /// Acknowledgment number of its first segment: the bytes that its sender had received by then.
    pub ack: Seq,
    /// How long both ends had been silent before it.
    pub idle: Span,
    /// The largest payload in it that is not acknowledged, bytes.
    pub largest: u32,
    /// The sequence number after the first segment of that size.
    pub largest_end: Seq,
    /// Payload of its last new segment, bytes.
    pub latest: u32,
}

/// Payload or FIN that is sent again because no acknowledgment comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct OngoingRetransmission {
    /// The oldest unacknowledged sequence number.
    pub seq: Seq,
    /// The first repetition of that.
    pub first: PacketRef,
    /// The last repetition.
    pub last: PacketRef,
    /// How many repetitions.
    pub count: u16,
    /// Largest payload that was sent again there, bytes.
    pub largest: u32,
    /// Payload of the last repetition, bytes. Less than `largest`: the sender has shrunk its segments.
    pub latest: u32,
    /// The peer's segments meanwhile; none of them acknowledged it.
    pub heard: u16,
    /// Repetitions of bytes that were acknowledged: the acknowledgment did not arrive.
    pub of_acknowledged: u16,
    /// Their sequence number; another number starts a new count.
    pub of_acknowledged_seq: Seq,
    /// First and last of those.
    pub of_acknowledged_at: (PacketRef, PacketRef),
    /// The longest interval of repetitions before that ended in an acknowledgment.
    pub healed: Option<RecoveredLosses>,
}

/// Repetitions that were acknowledged in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct RecoveredLosses {
    /// The first repetition.
    pub first: PacketRef,
    /// The acknowledgment.
    pub at: PacketRef,
    /// How many repetitions.
    pub count: u16,
    /// Largest payload that was sent again, bytes.
    pub largest: u32,
    /// Payload of the last repetition, bytes.
    pub latest: u32,
}

/// The receive window of one end was closed (RFC 9293 section 3.8.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct ZeroWindow {
    /// The first segment with a window of 0, of the latest interval.
    pub first: PacketRef,
    /// Last segment with a window of 0.
    pub last: PacketRef,
    /// Segments with a window of 0, in all intervals.
    pub count: u32,
    /// The first segment with another window since.
    pub opened: Option<PacketRef>,
    /// The peer's probes before the latest interval: [`Side::keepalives`] counts both kinds.
    pub probes_before: u16,
    /// The longest interval before the latest one.
    pub longest: Option<(PacketRef, Span)>,
}

impl ZeroWindow {
    /// The longest time for which it was closed: its first segment, and how long; `until` is the end of the capture.
    pub fn longest(&self, until: Timestamp) -> (PacketRef, Span) {
        let last = (self.first, self.opened.map_or(until, |at| at.time) - self.first.time);
        match self.longest {
            Some(before) if before.1 > last.1 => before,
            _ => last,
        }
    }
}

/// New payload of one side after the peer's FIN had been acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct LateData {
    /// Its first segment; none where the capture holds no such segment, and only its acknowledgment.
    pub first: Option<PacketRef>,
    /// Sequence number of that: [`Side::acked`] beyond it says that the peer still takes data.
    pub seq: Seq,
    /// See [`Side::late_pause`].
    pub pause: Span,
}

/// Keepalive probes of one side, and their answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct KeepaliveProbing {
    /// The first probe.
    pub first: PacketRef,
    /// The last probe.
    pub last: PacketRef,
    /// How many probes.
    pub count: u16,
    /// How many the peer answered at once by a bare acknowledgment.
    pub answers: u16,
    /// The last such answer.
    pub answered: PacketRef,
    /// Its IPv4 identification: 0 where a small socket in FIN_WAIT2 or TIME_WAIT answers (`tcp_v4_timewait_ack`).
    pub ip_id: u16,
}
