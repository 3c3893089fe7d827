//! A RST: its header fields, the segment that it answers, and its sender's earlier header fields.

use super::packet::{PacketRef, SegmentKind};
use crate::decode::segment::{Flags, TcpOptions, Traits};
use crate::seq::Seq;

/// A RST and the segment that it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Reset {
    /// Packet and time.
    pub at: PacketRef,
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgment number.
    pub ack: Seq,
    /// Control bits: bare RST, or RST with ACK.
    pub flags: Flags,
    /// Window field.
    pub window: u16,
    /// IPv4 identification.
    pub ip_id: u16,
    /// Time to live.
    pub ttl: u8,
    /// Type of service.
    pub tos: u8,
    /// Options present: a socket's own RST may have timestamps, one without a socket has none.
    pub options: TcpOptions,
    /// Traits: checksum state.
    pub traits: Traits,
    /// The peer's last segment before it.
    pub trigger: Option<ResetTrigger>,
    /// The header fields of its sender's other segments until then.
    pub before: SegmentProfile,
    /// Segments other than RST that its sender sent on after it, and the first of them.
    pub went_on: Option<(PacketRef, u16)>,
}

impl Reset {
    /// The shape of a RST by a host that has no socket for the segment (`tcp_v4_send_reset`): no timestamps, window 0.
    /// A socket that is aborted (`tcp_send_active_reset`) has timestamps if negotiated and its window.
    pub fn is_socketless(&self) -> bool {
        self.window == 0 && !self.options.has(TcpOptions::TIMESTAMPS)
    }

    /// Answers a segment that carried an ACK: RST alone, with that acknowledgment number as its sequence number.
    pub fn is_bare(&self) -> bool {
        self.is_socketless() && !self.flags.has(Flags::ACK)
    }
}

/// The common header fields of one end's segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct SegmentProfile {
    /// Smallest and largest TTL.
    pub ttl: (u8, u8),
    /// IPv4 identification of the last one; 0 if none had any.
    pub ip_id: u16,
    /// How many there were.
    pub segments: u32,
    /// SND.NXT.
    pub next: Seq,
    /// Whether that is known.
    pub next_known: bool,
}

/// The peer's last segment before a RST.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct ResetTrigger {
    /// Packet and time.
    pub at: PacketRef,
    /// The kind of segment.
    pub what: SegmentKind,
    /// Its acknowledgment number.
    pub ack: Seq,
    /// Its type of service byte.
    pub tos: u8,
}
