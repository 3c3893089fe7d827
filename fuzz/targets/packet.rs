//! One packet of a fuzzer's choice: for the targets `decoder` and `redact`.

use crate::stacks::{self, Choices, Frame};

/// The link types that are read, <https://www.tcpdump.org/linktypes.html>: chosen by their place here, so that the
/// fuzzer need not find the numbers.
const READ: [u16; 34] = [
    0, 1, 9, 12, 14, 50, 51, 100, 101, 104, 105, 107, 108, 109, 113, 117, 119, 123, 127, 138, 163, 166, 192,
    204, 205, 206, 219, 228, 229, 239, 240, 258, 274, 276,
];

/// The packet that `bytes` choose. Below 192 the first byte says that the others choose a valid stack of layers with a
/// field broken; above, they are the packet itself: one byte chooses among the link types that are read, the next two name
/// any other.
pub fn chosen(bytes: &[u8]) -> Option<Frame> {
    match bytes {
        [0..192, choices @ ..] => Some(stacks::frame(&mut Choices::new(choices))),
        [_, choice, high, low, data @ ..] => {
            let link = READ.get(usize::from(*choice)).copied().unwrap_or(u16::from_be_bytes([*high, *low]));
            // Cut by as many bytes as the next byte says, which a chosen link type has no other use for.
            let original_length = data.len() as u32 + u32::from(*high);
            Some(Frame { link, bytes: data.to_vec(), original_length, intact: false })
        }
        _ => None,
    }
}
