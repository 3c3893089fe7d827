//! Any octets as a packet of any link type: the decoder gives an answer.
//!
//! The first octet chooses among the link types that are read, the next two name any other; the rest is the packet.

#![no_main]

use libfuzzer_sys::fuzz_target;
use synscope::capture::{LinkType, Packet};
use synscope::decode::segment::{PacketId, Segment};
use synscope::decode::{Decoded, decode};
use synscope::time::Timestamp;

/// The link types that are read, <https://www.tcpdump.org/linktypes.html>: chosen by their place here, so that the
/// fuzzer need not find the numbers.
const READ: [u16; 34] = [
    0, 1, 9, 12, 14, 50, 51, 100, 101, 104, 105, 107, 108, 109, 113, 117, 119, 123, 127, 138, 163, 166, 192,
    204, 205, 206, 219, 228, 229, 239, 240, 258, 274, 276,
];

fuzz_target!(|octets: &[u8]| {
    let [choice, high, low, data @ ..] = octets else { return };
    let link = match READ.get(usize::from(*choice)) {
        Some(link) => *link,
        None => u16::from_be_bytes([*high, *low]),
    };
    let packet = Packet {
        id: PacketId::new(0, 1),
        time: Timestamp(0),
        timed: true,
        interface: 0,
        link: LinkType(link),
        // Cut by as many octets as the second octet says, which a chosen link type has no other use for.
        original_length: data.len() as u32 + u32::from(*high),
        data,
    };
    let mut segment = Segment::default();
    if decode(&packet, &mut segment) == Decoded::Tcp {
        assert_eq!(segment.packet, packet.id, "a segment knows its packet");
    }
});
