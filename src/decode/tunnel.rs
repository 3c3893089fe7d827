//! Packets inside packets: GRE and ERSPAN, VXLAN, Geneve, GTP-U, Teredo, EtherIP, and MPLS inside IP.
//!
//! The tunnel inside a UDP datagram is a guess by the port. An IP header inside confirms the guess; errors behind that
//! header make the packet malformed. Without an IP header the packet is plain UDP and counts as [`Decoded::Other`].

use super::decoded::Decoded;
use super::parts::{HeaderParts, PartKind};
use super::rest::{Rest, be16};
use super::segment::Traits;
use super::walk::{LayerResult, Walk};
use super::{ip, link, tcp};

/// Ethernet inside GRE or Geneve: "transparent Ethernet bridging", RFC 7637 section 3.2.
pub(super) const TRANSPARENT_ETHERNET: u16 = 0x6558;
/// ERSPAN types I and II inside GRE.
const ERSPAN_II: u16 = 0x88be;
/// ERSPAN type III inside GRE.
const ERSPAN_III: u16 = 0x22eb;
/// PPP inside GRE version 1 (PPTP), RFC 2637 section 4.1.
const PPP: u16 = 0x880b;
/// Cisco's web cache redirection inside GRE.
const WCCP: u16 = 0x883e;

/// VXLAN, RFC 7348.
const VXLAN_PORT: u16 = 4789;
/// VXLAN as Linux numbered it before RFC 7348, and does by default until today.
const VXLAN_LINUX_PORT: u16 = 8472;
/// VXLAN with a protocol field (draft-ietf-nvo3-vxlan-gpe).
const VXLAN_GPE_PORT: u16 = 4790;
/// Geneve, RFC 8926.
const GENEVE_PORT: u16 = 6081;
/// GTP-U, 3GPP TS 29.281.
const GTP_U_PORT: u16 = 2152;
/// Teredo, RFC 4380.
const TEREDO_PORT: u16 = 3544;
/// MPLS in UDP, RFC 7510.
const MPLS_PORT: u16 = 6635;

/// A UDP datagram. Its length field is not needed: every tunnel here carries a packet with a length of its own.
pub(super) fn udp(rest: Rest<'_>, network: ip::IpHeader, walk: &mut Walk<'_>) -> LayerResult {
    let (header, body) = rest.split_array::<8>()?;
    walk.note(PartKind::Plain, rest, 0..6);
    walk.note(PartKind::Checksum, rest, 6..8);
    let (from, to) = (be16(header[0], header[1]), be16(header[2], header[3]));
    let headers = walk.headers;
    let noted = walk.parts.as_ref().map_or(0, HeaderParts::count);
    let inner = match (from, to) {
        (_, VXLAN_PORT | VXLAN_LINUX_PORT) => vxlan(body, Vxlan::Plain, walk),
        (_, VXLAN_GPE_PORT) => vxlan(body, Vxlan::Generic, walk),
        (_, GENEVE_PORT) => geneve(body, walk),
        (_, MPLS_PORT) => mpls(body, walk),
        (GTP_U_PORT, _) | (_, GTP_U_PORT) => gtp_u(body, walk),
        (TEREDO_PORT, _) | (_, TEREDO_PORT) => teredo(body, walk),
        _ => Ok(Decoded::Other),
    };
    if matches!(inner, Ok(Decoded::Tcp)) && is_dropped(rest, header, network) {
        walk.out.traits |= Traits::OUTER_CHECKSUM_BAD;
    }
    if walk.headers == headers
        && let Some(parts) = &mut walk.parts
    {
        parts.truncate(noted);
    }
    match inner {
        Ok(Decoded::Malformed) | Err(Decoded::Malformed) if walk.headers == headers => Ok(Decoded::Other),
        known => known,
    }
}

/// Whether a receiver drops the datagram for its checksum: wrong, or 0 in IPv6 (RFC 8200 section 8.1; Linux takes it only where a tunnel
/// says so). One that holds the sum of the pseudo-header alone is left to the sender's network card.
fn is_dropped(rest: Rest<'_>, header: &[u8; 8], network: ip::IpHeader) -> bool {
    let is_v6 = network.traits.has(Traits::V6);
    if [header[6], header[7]] == [0, 0] {
        return is_v6;
    }
    let length = usize::from(be16(header[4], header[5]));
    let Some(datagram) = rest.data.get(..length).filter(|_| length >= 8) else { return false };
    let fragment = network.traits.has(Traits::FRAGMENT);
    network.verifiable && !fragment && tcp::is_wrong_udp_sum(&network, datagram, [header[6], header[7]])
}

/// The two variants of VXLAN.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Vxlan {
    /// Ethernet inside, RFC 7348.
    Plain,
    /// With a next-protocol field (VXLAN-GPE).
    Generic,
}

/// VXLAN, and its variant with a next-protocol field.
fn vxlan(rest: Rest<'_>, variant: Vxlan, walk: &mut Walk<'_>) -> LayerResult {
    let (header, inner) = walk.split_plain::<8>(rest)?;
    // The I flag says that the network identifier is valid; it must be set.
    if header[0] & 0x08 == 0 {
        return Ok(Decoded::Other);
    }
    // The P flag says that the last byte of the first word names the protocol.
    let protocol = if variant == Vxlan::Generic && header[0] & 0x04 != 0 { header[3] } else { 3 };
    walk.enter_tunnel()?;
    match protocol {
        1 => ip::v4(inner, walk),
        2 => ip::v6(inner, walk),
        3 => link::ethernet(inner, walk),
        _ => Ok(Decoded::Other),
    }
}

/// Geneve with its options.
fn geneve(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let (header, body) = walk.split_plain::<8>(rest)?;
    if header[0] >> 6 != 0 {
        return Ok(Decoded::Other);
    }
    let options = usize::from(header[0] & 0x3f) * 4;
    let inner = body.skip(options)?;
    walk.note(PartKind::Names, body, 0..options);
    walk.enter_tunnel()?;
    link::ethertype(be16(header[2], header[3]), inner, walk)
}

/// A GTP-U message: a G-PDU (type 255) holds an IP packet behind optional fields and extension headers.
fn gtp_u(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let (header, mut inner) = walk.split_plain::<8>(rest)?;
    // Version 1, protocol type GTP (not GTP').
    if header[0] & 0xf0 != 0x30 || header[1] != 255 {
        return Ok(Decoded::Other);
    }
    // Any of E, S and PN brings all four bytes; the last names the first extension header if E is set.
    if header[0] & 0x07 != 0 {
        let (optional, after) = walk.split_plain::<4>(inner)?;
        inner = after;
        let mut next = if header[0] & 0x04 != 0 { optional[3] } else { 0 };
        while next != 0 {
            let (head, _) = walk.split_plain::<1>(inner)?;
            let length = usize::from(head[0]) * 4;
            let (extension, after) = inner.split(length)?;
            next = *extension.last().ok_or(Decoded::Malformed)?;
            // The last byte names the next extension header.
            let last = length.saturating_sub(1);
            walk.note(PartKind::Names, inner, 1..last);
            walk.note(PartKind::Plain, inner, last..length);
            inner = after;
        }
    }
    walk.enter_tunnel()?;
    ip::either(inner, walk)
}

/// Teredo: IPv6 behind optional authentication and origin indications, RFC 4380 section 5.1.1.
fn teredo(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let mut inner = rest;
    if let [0, 1, id, auth, ..] = inner.data {
        let length = usize::from(*id).saturating_add(usize::from(*auth)).saturating_add(13);
        walk.note(PartKind::Plain, inner, 0..4);
        walk.note(PartKind::Names, inner, 4..length);
        inner = inner.skip(length)?;
    }
    if let [0, 0, ..] = inner.data {
        walk.note(PartKind::Plain, inner, 0..2);
        walk.note(PartKind::Names, inner, 2..8);
        inner = inner.skip(8)?;
    }
    if inner.version()? != 6 {
        return Ok(Decoded::Other);
    }
    walk.enter_tunnel()?;
    ip::v6(inner, walk)
}

/// GRE: RFC 2784 with RFC 2890's key and sequence number, and RFC 2637's version 1 for PPTP.
pub(super) fn gre(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let (header, body) = walk.split_plain::<4>(rest)?;
    let (flags, protocol) = (be16(header[0], header[1]), be16(header[2], header[3]));
    let (checksum, routing, key, sequence) =
        (flags & 0x8000 != 0, flags & 0x4000 != 0, flags & 0x2000 != 0, flags & 0x1000 != 0);
    walk.enter_tunnel()?;
    match flags & 7 {
        // RFC 1701's source routes are obsolete and were never used.
        0 if routing => Ok(Decoded::Other),
        0 => {
            let optional = [checksum, key, sequence].into_iter().filter(|present| *present).count() << 2;
            let inner = walk.skip_plain(body, optional)?;
            if checksum {
                walk.note(PartKind::Checksum, body, 0..4);
            }
            match protocol {
                ERSPAN_II if sequence => erspan_ii(inner, walk),
                // Type I has no header.
                ERSPAN_II => link::ethernet(inner, walk),
                ERSPAN_III => erspan_iii(inner, walk),
                WCCP => wccp(inner, walk),
                _ => link::ethertype(protocol, inner, walk),
            }
        }
        // Without a sequence number there is no payload: a bare acknowledgment.
        1 if protocol == PPP && sequence => {
            let acknowledged = flags & 0x0080 != 0;
            link::ppp(walk.skip_plain(body, if acknowledged { 12 } else { 8 })?, walk)
        }
        _ => Ok(Decoded::Other),
    }
}

/// An IPv4 packet, behind four bytes of WCCP in its second version.
fn wccp(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let version = rest.version()?;
    walk.note(PartKind::Plain, rest, 0..1);
    match version {
        4 => ip::v4(rest, walk),
        _ => ip::v4(walk.skip_plain(rest, 4)?, walk),
    }
}

/// ERSPAN type II has a header of 8 bytes; type I, told by the missing sequence number, has none.
/// draft-foschiano-erspan-03 section 4.
fn erspan_ii(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    link::ethernet(walk.skip_plain(rest, 8)?, walk)
}

/// ERSPAN type III: 12 bytes, and 8 more if the O bit is set. It may hold a bare IP packet.
fn erspan_iii(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let (header, body) = walk.split_plain::<12>(rest)?;
    let inner = if header[11] & 0x01 != 0 { walk.skip_plain(body, 8)? } else { body };
    // FT, the frame type: 0 is Ethernet, 2 is IP.
    match be16(header[10], header[11]) >> 10 & 0x1f {
        2 => ip::either(inner, walk),
        _ => link::ethernet(inner, walk),
    }
}

/// EtherIP, RFC 3378: two bytes, then Ethernet.
pub(super) fn ether_ip(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    walk.enter_tunnel()?;
    link::ethernet(walk.skip_plain(rest, 2)?, walk)
}

/// Ethernet directly inside IP, RFC 8986 section 4.9.
pub(super) fn ethernet(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    walk.enter_tunnel()?;
    link::ethernet(rest, walk)
}

/// MPLS directly inside IP (RFC 4023) or UDP.
pub(super) fn mpls(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    walk.enter_tunnel()?;
    link::mpls(rest, walk)
}
