//! One packet's bytes to at most one [`Segment`]: link layers, tunnels, IP and TCP are peeled here.
//!
//! Pure: the same packet always gives the same answer, whatever came before. Nothing is allocated, and every loop is
//! bounded by the bytes that are there; hostile lengths end in [`Decoded::Malformed`].
//!
//! * `link`: link-layer headers, from the capture's link type to a network protocol.
//! * `ip`: IPv4, IPv6 and its extension headers, fragments.
//! * `tunnel`: what carries another packet: GRE, UDP tunnels, IP in IP.
//! * `tcp`: the TCP header, its options and its checksum.
//! * `icmp`: errors that quote a TCP segment.
//! * [`mod@parts`]: where the headers lie, for redaction.
//! * `usual`: all of that at once for the packets that nearly all are.
//! * [`segment`]: the result.

// Whatever a packet says must not be able to end the program.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod icmp;
mod ip;
mod link;
mod link_names;
pub mod parts;
mod rest;
pub mod segment;
mod tcp;
#[cfg(test)]
pub(crate) mod tests;
mod tunnel;
mod usual;

pub use link::{is_supported, link_name};
pub use segment::Segment;

use std::ops::Range;

use crate::capture::{LinkType, Packet};
use crate::fault;
use parts::{Part, PartKind, Parts};
use rest::Rest;
use segment::Traits;

/// Tunnels inside tunnels are followed this far; what is deeper counts as [`Decoded::Other`].
const MAX_DEPTH: u8 = 8;

/// What a packet turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// A TCP segment; the output holds it.
    Tcp,
    /// An ICMP error that quotes a TCP segment; the output holds the quoted one ([`segment::Traits::ICMP_ERROR`]).
    Icmp,
    /// Whole and understood, but nothing of TCP in it.
    Other,
    /// A later fragment of an IP datagram whose protocol is TCP: the TCP header is in the first one.
    LaterFragment,
    /// The snapshot length ended the packet before the fields that are needed.
    Cut,
    /// Lengths or versions contradict each other.
    Malformed,
    /// The link type is not known to this program.
    UnknownLink,
}

/// What a layer says of its bytes: `Err` where it could not go on, so that `?` ends the walk.
type Step = Result<Decoded, Decoded>;

/// One packet's way through its layers.
struct Walk<'o> {
    /// Where the segment goes.
    out: &'o mut Segment,
    /// [`Traits`] that hold for whatever is found further in: direction, time, tunnel.
    traits: Traits,
    /// Packets inside packets so far.
    depth: u8,
    /// IP headers so far whose own fields agree.
    headers: u8,
    /// The addresses of the innermost Ethernet frame.
    frame: Option<[u8; 12]>,
    /// Where the headers lie, if somebody wants to know.
    parts: Option<Parts<'o>>,
}

impl Walk<'_> {
    /// Goes one packet deeper, up to [`MAX_DEPTH`].
    fn enter(&mut self) -> Result<(), Decoded> {
        if self.depth >= MAX_DEPTH {
            return Err(Decoded::Other);
        }
        self.depth = self.depth.saturating_add(1);
        Ok(())
    }

    /// Notes an IP header whose own fields agree: a guess that led to it was right.
    fn note_header(&mut self) {
        self.headers = self.headers.saturating_add(1);
    }

    /// Notes what the bytes `within` of `rest` hold.
    #[inline]
    fn note(&mut self, kind: PartKind, rest: Rest<'_>, within: Range<usize>) {
        if let Some(parts) = &mut self.parts {
            parts.push(kind, rest, within);
        }
    }

    /// What follows `n` bytes that name nobody. Where there are fewer, they still show how the packet was read so far.
    #[inline]
    fn skip_plain<'a>(&mut self, rest: Rest<'a>, n: usize) -> Result<Rest<'a>, Decoded> {
        self.note(PartKind::Plain, rest, 0..n.min(rest.data.len()));
        rest.skip(n)
    }

    /// The next `N` bytes, which name nobody, and what follows them. Fewer are noted as by [`Walk::skip_plain`].
    #[inline]
    fn take_plain<'a, const N: usize>(&mut self, rest: Rest<'a>) -> Result<(&'a [u8; N], Rest<'a>), Decoded> {
        self.note(PartKind::Plain, rest, 0..N.min(rest.data.len()));
        rest.take::<N>()
    }

    /// Enters a tunnel: what is inside carries [`Traits::TUNNELED`].
    fn enter_tunnel(&mut self) -> Result<(), Decoded> {
        self.traits |= Traits::TUNNELED;
        self.enter()
    }
}

/// The same as [`decode`], and a packet at which the program fails counts as malformed.
#[inline(never)]
pub fn decode_contained(packet: &Packet<'_>, out: &mut Segment) -> Decoded {
    fault::contain(|| decode(packet, out)).unwrap_or(Decoded::Malformed)
}

/// Decodes one packet into `out`, which is only meaningful after [`Decoded::Tcp`] and [`Decoded::Icmp`]; then every
/// field of it has been written.
///
/// A packet cut by the snapshot length is normal: [`Decoded::Tcp`] needs the first 14 bytes of the TCP header, up to
/// the control bits. The window and the options are read as far as they were captured; [`segment::Traits::OPTIONS_CUT`]
/// says that some may be missing.
#[inline(always)]
pub fn decode(packet: &Packet<'_>, out: &mut Segment) -> Decoded {
    out.time = packet.time;
    out.packet = packet.id;
    #[cfg(test)]
    assert!(!tests::is_fatal(packet), "a packet that a test makes fatal");
    let traits = Traits::NO_TIME.only_if(!packet.timed);
    let mut walk = Walk { out, traits, depth: 0, headers: 0, frame: None, parts: None };
    match link::dispatch(packet.link, Rest::new(packet.data, packet.original_length), &mut walk) {
        Ok(decoded) | Err(decoded) => decoded,
    }
}

/// Writes into `parts` where the headers of a packet lie, as far as they are understood: the last one may be one that
/// contradicts itself. On the wire the packet had `original_length` bytes.
pub fn parts(link: LinkType, data: &[u8], original_length: u32, parts: &mut Vec<Part>) -> Decoded {
    let mut out = Segment::default();
    let noted = Some(Parts::of(data, parts));
    let mut walk =
        Walk { out: &mut out, traits: Traits::NONE, depth: 0, headers: 0, frame: None, parts: noted };
    match link::any(link, Rest::new(data, original_length), &mut walk) {
        Ok(decoded) | Err(decoded) => decoded,
    }
}
