//! The conversion of a segment to short form and back.

use crate::decode::segment::{Flags, Segment, TcpOptions, Traits};
use crate::flow::facts::PacketRef;
use crate::flow::key::{Direction, FlowKey};
use crate::seq::Seq;

/// The fields that stay the same when a segment is repeated.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::flow) struct Header {
    pub(in crate::flow) seq: Seq,
    pub(in crate::flow) window: u16,
    pub(in crate::flow) mss: u16,
    pub(in crate::flow) traits: Traits,
    pub(in crate::flow) flags: Flags,
    pub(in crate::flow) options: TcpOptions,
    pub(in crate::flow) window_scale: u8,
    pub(in crate::flow) ttl: u8,
    pub(in crate::flow) tos: u8,
}

impl Header {
    pub(super) fn of(s: &Segment) -> Header {
        Header {
            seq: s.seq,
            window: s.window,
            mss: s.mss,
            traits: s.traits,
            flags: s.flags,
            options: s.options,
            window_scale: s.window_scale,
            ttl: s.ttl,
            tos: s.tos,
        }
    }

    /// The full segment: sent in the direction `from` of the connection `key`, with these `others`.
    pub(super) fn segment(
        &self,
        key: &FlowKey,
        from: Direction,
        at: PacketRef,
        others: VaryingFields,
    ) -> Segment {
        let (src, dst) = (key.sender(from), key.sender(from.reverse()));
        Segment {
            time: at.time,
            packet: at.packet,
            hash: 0,
            src: src.address,
            dst: dst.address,
            src_port: src.port,
            dst_port: dst.port,
            seq: self.seq,
            ack: others.ack,
            payload: others.payload,
            window: self.window,
            ip_id: others.ip_id,
            tsval: others.tsval,
            tsecr: others.tsecr,
            mss: self.mss,
            neighbours: others.neighbours,
            traits: self.traits,
            flags: self.flags,
            options: self.options,
            window_scale: self.window_scale,
            ttl: self.ttl,
            tos: self.tos,
        }
    }
}

/// The fields of a segment that differ from one transmission to the next, or from one direction to the other.
pub(super) struct VaryingFields {
    pub(super) ack: Seq,
    pub(super) payload: u32,
    pub(super) ip_id: u16,
    pub(super) tsval: u32,
    pub(super) tsecr: u32,
    pub(super) neighbours: u16,
}
