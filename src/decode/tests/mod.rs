//! Tests of the whole way from a packet's bytes to a segment.

mod corpus;
mod oracle;
mod packets;
mod properties;

use super::{Decoded, Segment, decode};
use crate::capture::{LinkType, Packet};
use crate::decode::segment::PacketId;
use crate::time::Timestamp;

/// A packet at which the decoder is made to fail, to try what that costs: of a link type that nobody uses.
pub(crate) const FATAL: (LinkType, &[u8]) = (LinkType(162), b"fatal");

/// Whether it is that one.
pub(crate) fn is_fatal(packet: &Packet<'_>) -> bool {
    (packet.link, packet.data) == FATAL
}

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
