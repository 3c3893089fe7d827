//! Tests of the whole way from a packet's octets to a segment.

mod corpus;
mod oracle;
mod packets;
mod properties;

use super::{Decoded, Segment, decode};
use crate::capture::{LinkType, Packet};
use crate::decode::segment::PacketId;
use crate::time::Timestamp;

/// A whole packet of the given link type.
fn packet(link: u16, data: &[u8]) -> Packet<'_> {
    Packet {
        id: PacketId::new(0, 1),
        time: Timestamp(1),
        timed: true,
        interface: 0,
        link: LinkType(link),
        original_length: data.len() as u32,
        data,
    }
}

/// Decodes a whole packet.
fn decoded(link: u16, data: &[u8]) -> (Decoded, Segment) {
    let mut out = Segment::default();
    let decoded = decode(&packet(link, data), &mut out);
    (decoded, out)
}
