//! The rest of a packet while its headers are taken off.

use super::decoded::Decoded;

/// The bytes of a packet that no layer has taken yet.
///
/// It has two lengths: captured and on the wire. Only their difference tells a packet cut by the snapshot length from
/// one that contradicts itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest<'a> {
    /// Captured bytes.
    pub data: &'a [u8],
    /// Bytes on the wire, never fewer than captured: a slice of the captured bytes always fits into both lengths.
    pub wire: usize,
}

impl<'a> Rest<'a> {
    /// A packet of which `data` was captured. An original length below the captured one is taken as an error of the
    /// capture file.
    #[inline]
    pub fn new(data: &'a [u8], original_length: u32) -> Rest<'a> {
        Rest { data, wire: data.len().max(original_length as usize) }
    }

    /// The first `N` bytes, and the rest.
    #[inline]
    pub fn split_array<const N: usize>(self) -> Result<(&'a [u8; N], Rest<'a>), Decoded> {
        match self.data.split_first_chunk::<N>() {
            Some((head, data)) => Ok((head, Rest { data, wire: self.wire.wrapping_sub(N) })),
            None => Err(self.short(N)),
        }
    }

    /// The rest after the first `n` bytes.
    #[inline]
    pub fn skip(self, n: usize) -> Result<Rest<'a>, Decoded> {
        match self.data.get(n..) {
            Some(data) => Ok(Rest { data, wire: self.wire.wrapping_sub(n) }),
            None => Err(self.short(n)),
        }
    }

    /// The first `n` bytes, and the rest.
    #[inline]
    pub fn split(self, n: usize) -> Result<(&'a [u8], Rest<'a>), Decoded> {
        match self.data.split_at_checked(n) {
            Some((head, data)) => Ok((head, Rest { data, wire: self.wire.wrapping_sub(n) })),
            None => Err(self.short(n)),
        }
    }

    /// The rest, ended after `n` bytes by a length field. A length field that exceeds the rest changes nothing.
    #[inline]
    pub fn limit(self, n: usize) -> Rest<'a> {
        Rest { data: self.data.get(..n).unwrap_or(self.data), wire: self.wire.min(n) }
    }

    /// The rest with at least `n` bytes on the wire: for a packet that continues in another one.
    pub fn extend(self, n: usize) -> Rest<'a> {
        Rest { wire: self.wire.max(n), ..self }
    }

    /// Whether every byte was captured.
    #[inline]
    pub fn whole(self) -> bool {
        self.data.len() == self.wire
    }

    /// The first byte's upper half: the version, if this is an IP header.
    pub fn version(self) -> Result<u8, Decoded> {
        self.data.first().map(|byte| byte >> 4).ok_or(self.short(1))
    }

    /// Why `n` bytes could not be read: they were not captured, or they never existed.
    #[cold]
    pub fn short(self, n: usize) -> Decoded {
        if n > self.wire { Decoded::Malformed } else { Decoded::Cut }
    }
}

/// Two bytes in network order.
#[inline]
pub(super) fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}
