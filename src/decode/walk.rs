//! One packet's way through its layers, and the result.

use std::ops::Range;

use super::decoded::Decoded;
use super::parts::{HeaderParts, PartKind};
use super::rest::Rest;
use super::segment::{Segment, Traits};

/// Tunnels inside tunnels are followed this far; a deeper packet counts as [`Decoded::Other`].
const MAX_DEPTH: u8 = 8;

/// The result of a layer: `Err` if it could not go on, so that `?` ends the walk.
pub(super) type LayerResult = Result<Decoded, Decoded>;

/// One packet's way through its layers.
pub(super) struct Walk<'o> {
    /// Where the segment goes.
    pub(super) out: &'o mut Segment,
    /// [`Traits`] that hold for the packet further in: direction, time, tunnel.
    pub(super) traits: Traits,
    /// Packets inside packets so far.
    pub(super) depth: u8,
    /// IP headers so far whose own fields agree.
    pub(super) headers: u8,
    /// The addresses of the innermost Ethernet frame.
    pub(super) frame: Option<[u8; 12]>,
    /// Where the headers lie, if the caller asks for it.
    pub(super) parts: Option<HeaderParts<'o>>,
}

impl Walk<'_> {
    /// Goes one packet deeper, up to [`MAX_DEPTH`].
    pub(super) fn enter(&mut self) -> Result<(), Decoded> {
        if self.depth >= MAX_DEPTH {
            return Err(Decoded::Other);
        }
        self.depth = self.depth.saturating_add(1);
        Ok(())
    }

    /// Notes an IP header whose own fields agree: a guess that led to it was right.
    pub(super) fn note_header(&mut self) {
        self.headers = self.headers.saturating_add(1);
    }

    /// Notes the kind of the bytes `within` of `rest`.
    #[inline]
    pub(super) fn note(&mut self, kind: PartKind, rest: Rest<'_>, within: Range<usize>) {
        if let Some(parts) = &mut self.parts {
            parts.push(kind, rest, within);
        }
    }

    /// The bytes after `n` bytes that identify nobody. If there are fewer, they are still noted, to show how the packet
    /// was read so far.
    #[inline]
    pub(super) fn skip_plain<'a>(&mut self, rest: Rest<'a>, n: usize) -> Result<Rest<'a>, Decoded> {
        self.note(PartKind::Plain, rest, 0..n.min(rest.data.len()));
        rest.skip(n)
    }

    /// The next `N` bytes, which hold no address, and the rest. Fewer bytes are noted as by [`Walk::skip_plain`].
    #[inline]
    pub(super) fn split_plain<'a, const N: usize>(
        &mut self,
        rest: Rest<'a>,
    ) -> Result<(&'a [u8; N], Rest<'a>), Decoded> {
        self.note(PartKind::Plain, rest, 0..N.min(rest.data.len()));
        rest.split_array::<N>()
    }

    /// Enters a tunnel: the inner segment carries [`Traits::TUNNELED`].
    pub(super) fn enter_tunnel(&mut self) -> Result<(), Decoded> {
        self.traits |= Traits::TUNNELED;
        self.enter()
    }
}
