//! Any octets as a packet of any link type: the decoder gives an answer.
//!
//! The first octet chooses among the common link types, the next two name any other; the rest is the packet.

#![no_main]

use libfuzzer_sys::fuzz_target;
use synscope::capture::{LinkType, Packet};
use synscope::decode::segment::{PacketId, Segment};
use synscope::decode::{Decoded, decode};
use synscope::time::Timestamp;

/// NULL, EN10MB, RAW (three numbers), IEEE802_11, LOOP, LINUX_SLL, IEEE802_11_RADIOTAP, IPV4, IPV6, LINUX_SLL2.
const COMMON: [u16; 12] = [0, 1, 12, 14, 101, 105, 108, 113, 127, 228, 229, 276];

fuzz_target!(|octets: &[u8]| {
    let [choice, high, low, data @ ..] = octets else { return };
    let link = match COMMON.get(usize::from(*choice)) {
        Some(link) => *link,
        None => u16::from_be_bytes([*high, *low]),
    };
    let packet = Packet {
        id: PacketId::new(0, 1),
        time: Timestamp(0),
        timed: true,
        link: LinkType(link),
        // Cut by as many octets as the second octet says, which a common link type has no other use for.
        original_length: data.len() as u32 + u32::from(*high),
        data,
    };
    let mut segment = Segment::default();
    if decode(&packet, &mut segment) == Decoded::Tcp {
        assert_eq!(segment.packet, packet.id, "a segment knows its packet");
    }
});
