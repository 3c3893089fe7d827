//! Any packet: the decoder gives an answer.
//!
//! The first byte chooses. Below 192 the other bytes choose a valid stack of layers with a field broken
//! (`tests/support/stacks.rs`); above, they are the packet itself: one byte chooses among the link types that are read,
//! the next two name any other.

#![no_main]

#[path = "../../tests/support/stacks.rs"]
mod stacks;

use libfuzzer_sys::fuzz_target;
use stacks::{Choices, Frame};
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

fuzz_target!(|bytes: &[u8]| {
    match bytes {
        [0..192, choices @ ..] => {
            let frame = stacks::frame(&mut Choices::new(choices));
            let found = decoded(&frame);
            assert!(
                !frame.intact || matches!(found, Decoded::Tcp | Decoded::Icmp),
                "{found:?}: {frame:02x?}"
            );
        }
        [_, choice, high, low, data @ ..] => {
            let link = READ.get(usize::from(*choice)).copied().unwrap_or(u16::from_be_bytes([*high, *low]));
            // Cut by as many bytes as the next byte says, which a chosen link type has no other use for.
            let original_length = data.len() as u32 + u32::from(*high);
            decoded(&Frame { link, bytes: data.to_vec(), original_length, intact: false });
        }
        _ => {}
    }
});

fn decoded(frame: &Frame) -> Decoded {
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
    found
}
