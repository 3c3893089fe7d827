//! A packet's number and its kind of segment.

use crate::decode::segment::{PacketId, Segment};
use crate::time::Timestamp;

/// A packet and its time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct PacketRef {
    /// When.
    pub time: Timestamp,
    /// Which packet.
    pub packet: PacketId,
}

impl PacketRef {
    /// The mark of a segment.
    #[inline]
    pub fn of(s: &Segment) -> PacketRef {
        PacketRef { time: s.time, packet: s.packet }
    }
}

/// What a segment was to the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub enum SegmentKind {
    /// SYN.
    Syn,
    /// SYN-ACK.
    SynAck,
    /// An acknowledgment without payload.
    #[default]
    Ack,
    /// New payload.
    Data,
    /// Payload sent before.
    Retransmit,
    /// FIN, with or without payload.
    Fin,
    /// A keepalive probe.
    KeepAlive,
    /// RST.
    Reset,
}
