//! One packet's bytes to at most one [`Segment`]: link layers, tunnels, IP and TCP are peeled here.
//!
//! Pure: the same packet always gives the same answer, whatever came before. Nothing is allocated, and every loop is
//! bounded by the bytes that are there; hostile lengths end in [`Decoded::Malformed`].
//!
//! * `link`: link-layer headers, from the capture's link type to a network protocol.
//! * `ip`: IPv4, IPv6 and its extension headers, fragments.
//! * `tunnel`: protocols that carry another packet: GRE, UDP tunnels, IP in IP.
//! * `tcp`: the TCP header, its options and its checksum.
//! * `icmp`: errors that quote a TCP segment.
//! * [`mod@parts`]: where the headers lie, for redaction.
//! * `walk`: one packet's way through all of these; [`Decoded`] is its result.
//! * `usual_packet`: all of that at once for the usual packet: TCP over IPv4 over Ethernet.
//! * [`segment`]: the result.

// No packet content may be able to end the program.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod decoded;
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
mod usual_packet;
mod walk;

pub use decoded::Decoded;
pub use link::{is_supported, link_name};
pub use segment::Segment;

use crate::capture::{LinkType, Packet};
use crate::fault;
use parts::{HeaderPart, HeaderParts};
use rest::Rest;
use segment::Traits;
use walk::Walk;

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

/// Writes into `parts` where the headers of a packet lie, as far as they are understood: the last one may contradict
/// itself. On the wire the packet had `original_length` bytes.
pub fn parts(link: LinkType, data: &[u8], original_length: u32, parts: &mut Vec<HeaderPart>) -> Decoded {
    let mut out = Segment::default();
    let noted = Some(HeaderParts::of(data, parts));
    let mut walk =
        Walk { out: &mut out, traits: Traits::NONE, depth: 0, headers: 0, frame: None, parts: noted };
    match link::any(link, Rest::new(data, original_length), &mut walk) {
        Ok(decoded) | Err(decoded) => decoded,
    }
}
