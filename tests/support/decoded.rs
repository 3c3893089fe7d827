//! What the decoder makes of a packet. Tests and fuzz targets share this file.

use synscope::capture::{LinkType, Packet};
use synscope::decode::segment::{PacketId, Segment};
use synscope::decode::{Decoded, decode};
use synscope::time::Timestamp;

use crate::stacks::Frame;

/// What the decoder makes of a packet. A stack of layers in which nothing is broken it must read.
pub fn decoded(frame: &Frame) -> (Decoded, Segment) {
    let packet = Packet {
        id: PacketId::new(0, 1),
        time: Timestamp(0),
        timed: true,
        interface: 0,
        link: LinkType(frame.link),
        original_length: frame.original_length,
        data: &frame.bytes,
    };
    let mut segment = Segment::default();
    let found = decode(&packet, &mut segment);
    if found == Decoded::Tcp {
        assert_eq!(segment.packet, packet.id, "a segment knows its packet");
    }
    assert!(!frame.intact || matches!(found, Decoded::Tcp | Decoded::Icmp), "{found:?}: {frame:02x?}");
    (found, segment)
}
