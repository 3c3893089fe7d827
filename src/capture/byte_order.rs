//! The two orders in which a file may hold the bytes of its numbers.

/// The order of the bytes in the numbers of a file or section.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum ByteOrder {
    #[default]
    Little,
    Big,
}

impl ByteOrder {
    /// The 32 bits that a word of a file holds.
    #[inline(always)]
    pub(super) const fn number(self, word: &[u8; 4]) -> u32 {
        match self {
            ByteOrder::Little => u32::from_le_bytes(*word),
            ByteOrder::Big => u32::from_be_bytes(*word),
        }
    }

    /// The 16 bits of two bytes.
    pub(super) const fn half(self, a: u8, b: u8) -> u16 {
        match self {
            ByteOrder::Little => u16::from_le_bytes([a, b]),
            ByteOrder::Big => u16::from_be_bytes([a, b]),
        }
    }

    /// Two halves of a word, in the order in which they stand in the file.
    pub(super) const fn halves(self, number: u32) -> [u32; 2] {
        match self {
            ByteOrder::Little => [number & 0xffff, number >> 16],
            ByteOrder::Big => [number >> 16, number & 0xffff],
        }
    }
}
