//! Link-layer headers: from the capture's link type to a network protocol.

use etherparse::EtherType;

use super::decoded::Decoded;
use super::link_names::NAMES;
use super::parts::PartKind;
use super::rest::{Rest, be16};
use super::segment::Traits;
use super::tunnel::TRANSPARENT_ETHERNET;
use super::walk::{LayerResult, Walk};
use super::{ip, usual_packet};
use crate::capture::LinkType;
use crate::capture::link_types::*;

// Ethernet types beyond those that etherparse names.
const PPPOE_SESSION: u16 = 0x8864;
const MPLS_UNICAST: u16 = 0x8847;
const MPLS_MULTICAST: u16 = 0x8848;
/// Cisco's VN-tag: four bytes, then the next type.
const VN_TAG: u16 = 0x8926;
/// Service tag of a backbone bridge, IEEE 802.1ah: four bytes, then an Ethernet header.
const BACKBONE: u16 = 0x88e7;
/// Below this, an Ethernet type is a length and LLC follows, IEEE 802.3 clause 3.2.6.
const FIRST_TYPE: u16 = 0x0600;

/// At most this many VLAN tags and similar headers are removed.
const MAX_TAGS: usize = 8;

/// The name of a link type as <https://www.tcpdump.org/linktypes.html> has it, without its prefix; `None` for a
/// number that is not listed there.
pub fn link_name(link: LinkType) -> Option<&'static str> {
    NAMES
        .binary_search_by_key(&link.0, |entry| entry.0)
        .ok()
        .and_then(|place| NAMES.get(place))
        .map(|entry| entry.1)
}

/// Whether [`decode`](super::decode) knows how packets of this link type begin.
pub fn is_supported(link: LinkType) -> bool {
    matches!(
        link.0,
        NULL | ETHERNET
            | PPP
            | RAW_BSD
            | RAW_OPENBSD
            | PPP_HDLC
            | PPP_ETHER
            | ATM_RFC1483
            | RAW
            | C_HDLC
            | IEEE802_11
            | FRELAY
            | LOOP
            | ENC
            | LINUX_SLL
            | PFLOG
            | PRISM
            | SUNATM
            | RADIOTAP
            | APPLE_IP_OVER_IEEE1394
            | AVS
            | PPP_PPPD
            | PPI
            | PPP_WITH_DIR
            | C_HDLC_WITH_DIR
            | FRELAY_WITH_DIR
            | MPLS
            | IPV4
            | IPV6
            | NFLOG
            | NETANALYZER
            | PKTAP
            | ETHERNET_MPACKET
            | LINUX_SLL2
    )
}

/// Decodes a packet of the capture. The usual packet is decoded inline in the caller. Passing its fields through
/// memory, written in small pieces and read back in large ones, stalled the processor for a quarter of the time.
#[inline(always)]
pub(super) fn dispatch(link: LinkType, rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    match link.0 {
        ETHERNET if usual_packet::decode(rest, walk) => Ok(Decoded::Tcp),
        _ => any(link, rest, walk),
    }
}

/// The same, header by header.
#[inline(never)]
pub(super) fn any(link: LinkType, rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    match link.0 {
        ETHERNET => ethernet(rest, walk),
        LINUX_SLL => cooked(rest, walk),
        LINUX_SLL2 => cooked_v2(rest, walk),
        RAW => ip::either(rest, walk),
        other => uncommon(other, rest, walk),
    }
}

/// The link types that are too rare for the hot path.
#[inline(never)]
fn uncommon(link: u16, rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    match link {
        RAW_BSD | RAW_OPENBSD => ip::either(rest, walk),
        IPV4 => ip::v4(rest, walk),
        IPV6 => ip::v6(rest, walk),
        NULL | LOOP => loopback(rest, walk),
        PPP | PPP_HDLC => serial(rest, walk),
        PPP_ETHER => pppoe(rest, walk),
        PPP_WITH_DIR | PPP_PPPD => serial(direction(rest, walk)?, walk),
        C_HDLC => cisco_hdlc(rest, walk),
        C_HDLC_WITH_DIR => cisco_hdlc(direction(rest, walk)?, walk),
        FRELAY => frame_relay(rest, walk),
        FRELAY_WITH_DIR => frame_relay(direction(rest, walk)?, walk),
        ATM_RFC1483 => llc(rest, walk),
        // Flags, path and channel come first.
        SUNATM => llc(walk.skip_plain(rest, 4)?, walk),
        MPLS => mpls(rest, walk),
        NFLOG => nflog(rest, walk),
        IEEE802_11 => wlan(rest, FramePadding::Unpadded, walk),
        RADIOTAP => radiotap(rest, walk),
        PRISM => prism(rest, walk),
        AVS => avs(rest, walk),
        PPI => per_packet_information(rest, walk),
        PKTAP => apple_tap(rest, walk),
        PFLOG => packet_filter_log(rest, walk),
        // Address family, index and flags, each in the host's order.
        ENC => ip::either(walk.skip_plain(rest, 12)?, walk),
        APPLE_IP_OVER_IEEE1394 => {
            let (header, inner) = rest.split_array::<18>()?;
            walk.note(PartKind::Names, rest, 0..16);
            walk.note(PartKind::Plain, rest, 16..18);
            ethertype(be16(header[16], header[17]), inner, walk)
        }
        NETANALYZER => ethernet(walk.skip_plain(rest, 4)?, walk),
        // Preamble and start of frame.
        ETHERNET_MPACKET => ethernet(walk.skip_plain(rest, 8)?, walk),
        _ => Err(Decoded::UnknownLink),
    }
}

/// An Ethernet header.
pub(super) fn ethernet(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let (header, inner) = rest.split_array::<14>()?;
    walk.note(PartKind::Names, rest, 0..12);
    walk.note(PartKind::Plain, rest, 12..14);
    walk.frame = header.first_chunk().copied();
    ethertype(be16(header[12], header[13]), inner, walk)
}

/// Whether several routers share this address (VRRP, HSRP): frames go to it and come from others.
fn is_shared(address: u64) -> bool {
    matches!(address >> 8, 0x00_00_5e_00_01 | 0x00_00_5e_00_02 | 0x00_00_0c_07_ac)
        || address >> 16 == 0x00_00_0c_9f
}

/// A hash of the two MAC addresses that begin an Ethernet frame, the same in both directions; 0 if they identify no
/// host.
#[inline(never)]
pub(super) fn neighbours([a, b, c, d, e, f, g, h, i, j, k, l]: [u8; 12]) -> u16 {
    let (to, from) =
        (u64::from_be_bytes([0, 0, a, b, c, d, e, f]), u64::from_be_bytes([0, 0, g, h, i, j, k, l]));
    if to == from || is_shared(to) || is_shared(from) {
        return 0;
    }
    /// 2^64 divided by the golden ratio.
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    ((to ^ from).wrapping_mul(GOLDEN) >> 48) as u16 | 1
}

/// The protocol that an Ethernet type names.
pub(super) fn ethertype(kind: u16, rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    match EtherType(kind) {
        EtherType::IPV4 => ip::v4(rest, walk),
        EtherType::IPV6 => ip::v6(rest, walk),
        _ => tagged(kind, rest, walk),
    }
}

/// Removes VLAN tags: IEEE 802.1Q, 802.1ad, and 0x9100 before it.
#[inline(never)]
fn tagged(mut kind: u16, mut rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    for _ in 0..MAX_TAGS {
        match EtherType(kind) {
            EtherType::IPV4 => return ip::v4(rest, walk),
            EtherType::IPV6 => return ip::v6(rest, walk),
            EtherType::VLAN_TAGGED_FRAME
            | EtherType::PROVIDER_BRIDGING
            | EtherType::VLAN_DOUBLE_TAGGED_FRAME
            | EtherType(VN_TAG) => {
                // Both kinds of tag end in the next type, VN-tags after two more bytes.
                if kind == VN_TAG {
                    rest = walk.skip_plain(rest, 2)?;
                }
                let (tag, inner) = walk.split_plain::<4>(rest)?;
                kind = be16(tag[2], tag[3]);
                rest = inner;
            }
            _ => return uncommon_ethertype(kind, rest, walk),
        }
    }
    Ok(Decoded::Other)
}

/// Ethernet types beyond IP and VLAN tags.
#[inline(never)]
fn uncommon_ethertype(kind: u16, rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    match kind {
        MPLS_UNICAST | MPLS_MULTICAST => mpls(rest, walk),
        PPPOE_SESSION => pppoe(rest, walk),
        TRANSPARENT_ETHERNET => {
            walk.enter()?;
            ethernet(rest, walk)
        }
        BACKBONE => {
            walk.enter()?;
            ethernet(walk.skip_plain(rest, 4)?, walk)
        }
        // The length field ends a frame before its padding; IP does so by itself.
        length if length < FIRST_TYPE => llc(rest, walk),
        _ => Ok(Decoded::Other),
    }
}

/// An LLC header (IEEE 802.2), with SNAP or without.
fn llc(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let (header, inner) = walk.split_plain::<3>(rest)?;
    match header {
        [0xaa, 0xaa, 0x03] => snap(inner, walk),
        // The service access point that IP had before SNAP.
        [0x06, 0x06, 0x03] => ip::v4(inner, walk),
        // "Routed ISO": a network layer protocol identifier follows.
        [0xfe, 0xfe, 0x03] => nlpid(inner, walk),
        _ => Ok(Decoded::Other),
    }
}

/// A SNAP header: the owner of the number space, then a number.
fn snap(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let (header, inner) = walk.split_plain::<5>(rest)?;
    let kind = be16(header[3], header[4]);
    match [header[0], header[1], header[2]] {
        // Ethernet types, plain or tunneled by a bridge (IEEE 802.1H). It guards against endless nesting of LLC.
        [0, 0, 0] | [0, 0, 0xf8] if kind >= FIRST_TYPE => {
            walk.enter()?;
            ethertype(kind, inner, walk)
        }
        // Bridged Ethernet with and without its check sequence, RFC 2684 section 5.2; two bytes of padding.
        [0, 0x80, 0xc2] if matches!(kind, 1 | 7) => {
            walk.enter()?;
            ethernet(walk.skip_plain(inner, 2)?, walk)
        }
        _ => Ok(Decoded::Other),
    }
}

/// A network layer protocol identifier, ISO/IEC TR 9577 and RFC 2427.
fn nlpid(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let ([id], inner) = walk.split_plain::<1>(rest)?;
    match id {
        0xcc => ip::v4(inner, walk),
        0x8e => ip::v6(inner, walk),
        0x80 => snap(inner, walk),
        _ => Ok(Decoded::Other),
    }
}

/// Labels, then a protocol guessed from the first bytes: MPLS does not name its payload (RFC 4928 section 2).
pub(super) fn mpls(mut rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    loop {
        let (label, inner) = walk.split_plain::<4>(rest)?;
        rest = inner;
        // The S bit marks the bottom of the stack.
        if label[2] & 1 != 0 {
            break;
        }
    }
    match rest.version()? {
        4 | 6 => return ip::either(rest, walk),
        _ => walk.enter()?,
    }
    // A pseudowire: Ethernet behind a control word (RFC 4448 section 4.6), or without one.
    let ip_at = |place: usize| {
        rest.data.get(place..).and_then(<[u8]>::first_chunk::<2>).is_some_and(|kind| {
            matches!(
                EtherType(be16(kind[0], kind[1])),
                EtherType::IPV4
                    | EtherType::IPV6
                    | EtherType::VLAN_TAGGED_FRAME
                    | EtherType::PROVIDER_BRIDGING
                    | EtherType::VLAN_DOUBLE_TAGGED_FRAME
            )
        })
    };
    match () {
        // Which of the two it is would depend on a MAC address.
        () if ip_at(12) && ip_at(4 + 12) => Ok(Decoded::Other),
        () if rest.version()? == 0 && ip_at(4 + 12) => ethernet(walk.skip_plain(rest, 4)?, walk),
        () if ip_at(12) => ethernet(rest, walk),
        () => Ok(Decoded::Other),
    }
}

/// A PPPoE session header, RFC 2516 section 4. Its length ends the packet as for the kernel (`pppoe_rcv`), whatever
/// the IP header inside claims; 0, which no packet has, is left by offload.
fn pppoe(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let (header, inner) = walk.split_plain::<6>(rest)?;
    // Version and type are both 1; code 0 is session data.
    match header {
        [0x11, 0, _, _, 0, 0] => ppp(inner, walk),
        [0x11, 0, _, _, high, low] => ppp(inner.limit(be16(*high, *low).into()), walk),
        _ => Ok(Decoded::Other),
    }
}

/// PPP: the protocol number, of one or two bytes, with or without HDLC's address and control bytes before it (RFC 1661
/// sections 2 and 6.5).
pub(super) fn ppp(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let rest = if let [0xff, 0x03, ..] = rest.data { walk.skip_plain(rest, 2)? } else { rest };
    let ([first], after) = walk.split_plain::<1>(rest)?;
    let (protocol, inner) = if first & 1 != 0 {
        (u16::from(*first), after)
    } else {
        let ([second], inner) = walk.split_plain::<1>(after)?;
        (be16(*first, *second), inner)
    };
    match protocol {
        0x0021 => ip::v4(inner, walk),
        0x0057 => ip::v6(inner, walk),
        0x0281 | 0x0283 => mpls(inner, walk),
        _ => Ok(Decoded::Other),
    }
}

/// A serial line: PPP or, by its first bytes, Cisco HDLC.
fn serial(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    match rest.data {
        [0x0f | 0x8f, 0x00, ..] => cisco_hdlc(rest, walk),
        // pppd puts the direction in place of the address, so that the control byte is left.
        [0x03, 0x00, ..] => ppp(walk.skip_plain(rest, 1)?, walk),
        _ => ppp(rest, walk),
    }
}

/// Cisco HDLC: address, control, Ethernet type. PPP is told by its address.
fn cisco_hdlc(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let (header, inner) = walk.split_plain::<4>(rest)?;
    match header {
        [0xff, 0x03, ..] => ppp(rest, walk),
        [_, _, 0xfe, 0xfe] => nlpid(walk.skip_plain(inner, 1)?, walk),
        [_, _, high, low] if be16(*high, *low) >= FIRST_TYPE => ethertype(be16(*high, *low), inner, walk),
        _ => Ok(Decoded::Other),
    }
}

/// Frame relay: a Q.922 address of two to four bytes, then RFC 2427's encapsulation or Cisco's.
fn frame_relay(mut rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let mut ended = false;
    for _ in 0..4 {
        let ([byte], after) = walk.split_plain::<1>(rest)?;
        rest = after;
        // The lowest bit ends the address.
        ended = byte & 1 != 0;
        if ended {
            break;
        }
    }
    if !ended {
        return Err(Decoded::Malformed);
    }
    let (head, after) = walk.split_plain::<2>(rest)?;
    match head {
        // Unnumbered information, with a pad byte or without.
        [0x03, 0x00] => nlpid(after, walk),
        [0x03, _] => nlpid(rest.skip(1)?, walk),
        [high, low] if be16(*high, *low) >= FIRST_TYPE => ethertype(be16(*high, *low), after, walk),
        _ => Ok(Decoded::Other),
    }
}

/// A byte with the packet's direction: 0 is in, anything else out.
fn direction<'a>(rest: Rest<'a>, walk: &mut Walk<'_>) -> Result<Rest<'a>, Decoded> {
    let ([byte], after) = walk.split_plain::<1>(rest)?;
    walk.traits |= if *byte == 0 { Traits::INCOMING } else { Traits::OUTGOING };
    Ok(after)
}

/// BSD loopback: an address family as 32 bits, in the order of the capturing host (NULL) or of the network (LOOP).
/// Families are small numbers, so the order shows.
fn loopback(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let (header, inner) = walk.split_plain::<4>(rest)?;
    let family = u32::from_le_bytes(*header);
    family_of(if family > 0xffff { family.swap_bytes() } else { family }, inner, walk)
}

/// An address family as the systems number it: IPv6 is 10 on Linux, 23 on Windows, 24 on NetBSD and OpenBSD, 28 on
/// FreeBSD, 30 on macOS.
fn family_of(family: u32, rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    match family {
        2 => ip::v4(rest, walk),
        10 | 23 | 24 | 28 | 30 => ip::v6(rest, walk),
        _ => Ok(Decoded::Other),
    }
}

/// Linux cooked capture, version 1: <https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html>.
#[inline]
fn cooked(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let (header, inner) = rest.split_array::<16>()?;
    walk.note(PartKind::Plain, rest, 0..6);
    walk.note(PartKind::Names, rest, 6..14);
    walk.note(PartKind::Plain, rest, 14..16);
    cooked_direction(be16(header[0], header[1]), walk);
    cooked_protocol(be16(header[14], header[15]), inner, walk)
}

/// Linux cooked capture, version 2: <https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html>.
#[inline]
fn cooked_v2(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let (header, inner) = rest.split_array::<20>()?;
    walk.note(PartKind::Plain, rest, 0..12);
    walk.note(PartKind::Names, rest, 12..20);
    cooked_direction(u16::from(header[10]), walk);
    cooked_protocol(be16(header[0], header[1]), inner, walk)
}

/// The packet type of a cooked header: 0 to 2 were for this host, 3 for another one, 4 was sent by this one.
#[inline]
fn cooked_direction(packet_type: u16, walk: &mut Walk<'_>) {
    walk.traits |= match packet_type {
        0..=2 => Traits::INCOMING,
        4 => Traits::OUTGOING,
        _ => Traits::NONE,
    };
}

/// The protocol of a cooked header: an Ethernet type, or a Linux number below them of which 4 is LLC.
#[inline]
fn cooked_protocol(protocol: u16, rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    match protocol {
        4 => llc(rest, walk),
        ..FIRST_TYPE => Ok(Decoded::Other),
        kind => ethertype(kind, rest, walk),
    }
}

/// Netfilter's log: attributes of type, length and value. <https://www.tcpdump.org/linktypes/LINKTYPE_NFLOG.html>
fn nflog(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    /// Attribute with the hook that logged, and attribute with the packet: NFULA_PACKET_HDR and NFULA_PAYLOAD.
    const PACKET_HEADER: u16 = 1;
    const PAYLOAD: u16 = 9;
    /// NF_INET_LOCAL_IN and NF_INET_LOCAL_OUT.
    const LOCAL_IN: u8 = 1;
    const LOCAL_OUT: u8 = 3;
    /// Bytes of the attribute with the hook.
    const HOOK: usize = 4;
    let (header, mut attributes) = walk.split_plain::<4>(rest)?;
    let family = header[0];
    loop {
        if attributes.wire < 4 {
            return Ok(Decoded::Other);
        }
        let ([a, b, c, d], value) = walk.split_plain::<4>(attributes)?;
        // Lengths and types are in the order of the host that captured; a type is a small number.
        let (length, kind) = match (be16(*b, *a), be16(*d, *c)) {
            (length, kind) if kind <= 0xff && usize::from(length) <= attributes.wire => (length, kind),
            _ => (be16(*a, *b), be16(*c, *d)),
        };
        let Some(bytes) = usize::from(length).checked_sub(4) else {
            return Err(Decoded::Malformed);
        };
        match kind {
            PACKET_HEADER => {
                walk.traits |= match value.data.get(2) {
                    Some(&LOCAL_IN) => Traits::INCOMING,
                    Some(&LOCAL_OUT) => Traits::OUTGOING,
                    _ => Traits::NONE,
                };
            }
            PAYLOAD => {
                // Netfilter may have copied only the beginning; then the IP header has the full length.
                let packet = value.limit(bytes);
                let (family, length) = match (family, packet.data) {
                    (2, [_, _, a, b, ..]) => (2, usize::from(be16(*a, *b))),
                    (10, [_, _, _, _, a, b, ..]) => (10, usize::from(be16(*a, *b)) + 40),
                    (2 | 10, _) => return Err(packet.short(6)),
                    _ => return Ok(Decoded::Other),
                };
                // The lengths of either header lie within its first bytes.
                walk.note(PartKind::Plain, packet, 0..if family == 2 { 4 } else { 6 });
                return family_of(family, packet.extend(length), walk);
            }
            _ => {}
        }
        // Attributes begin at multiples of four; the last one may lack its padding.
        attributes = value.skip(bytes)?;
        let named = if kind == PACKET_HEADER { bytes.min(HOOK) } else { 0 };
        walk.note(PartKind::Plain, value, 0..named);
        walk.note(PartKind::Names, value, named..bytes);
        attributes = attributes.skip(to_multiple_of_4(bytes)).unwrap_or(attributes.limit(0));
    }
}

/// How many bytes lead from `n` to the next multiple of four.
fn to_multiple_of_4(n: usize) -> usize {
    n.wrapping_neg() & 3
}

/// Whether the capturing driver aligned the body of an IEEE 802.11 frame to four bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FramePadding {
    Padded,
    Unpadded,
}

/// An IEEE 802.11 frame: unencrypted, unfragmented data, with LLC after its header.
fn wlan(rest: Rest<'_>, body: FramePadding, walk: &mut Walk<'_>) -> LayerResult {
    let (control, _) = walk.split_plain::<2>(rest)?;
    let (subtype, flags) = (control[0], control[1]);
    // Version 0, type 2 (data), and not one of the subtypes without data.
    let data = subtype & 0x0f == 0x08 && subtype & 0x40 == 0;
    let protected = flags & 0x40 != 0;
    if !data || protected {
        return Ok(Decoded::Other);
    }
    let quality = subtype & 0x80 != 0;
    let (to_system, from_system, order) = (flags & 0x01 != 0, flags & 0x02 != 0, flags & 0x80 != 0);
    let (header, mut inner) = rest.split_array::<24>()?;
    walk.note(PartKind::Plain, rest, 0..4);
    walk.note(PartKind::Names, rest, 4..22);
    walk.note(PartKind::Plain, rest, 22..24);
    // Bytes before the body, of which the 24 above are a multiple of four.
    let mut odd = 0;
    if header[22] & 0x0f != 0 {
        // A later fragment of a frame.
        return Ok(Decoded::Other);
    }
    if to_system && from_system {
        let address = inner;
        inner = inner.skip(6)?;
        walk.note(PartKind::Names, address, 0..6);
        odd ^= 2;
    }
    if quality {
        let (control, after) = walk.split_plain::<2>(inner)?;
        inner = after;
        odd ^= 2;
        // Several packets in one frame are not read.
        if control[0] & 0x80 != 0 {
            return Ok(Decoded::Other);
        }
        if order {
            inner = walk.skip_plain(inner, 4)?;
        }
    }
    if body == FramePadding::Padded {
        inner = walk.skip_plain(inner, to_multiple_of_4(odd))?;
    }
    llc(inner, walk)
}

/// Radiotap, <https://www.radiotap.org>: of its fields only the flags matter here.
fn radiotap(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    const TIME: u32 = 1 << 0;
    const FLAGS: u32 = 1 << 1;
    const MORE_WORDS: u32 = 1 << 31;
    let (header, after) = walk.split_plain::<4>(rest)?;
    let length = usize::from(be16(header[3], header[2]));
    if header[0] != 0 || length < 8 {
        return Err(Decoded::Malformed);
    }
    let (present, mut fields) = walk.split_plain::<4>(after.limit(length.saturating_sub(4)))?;
    let present = u32::from_le_bytes(*present);
    let mut words = 2_usize;
    let mut word = present;
    while word & MORE_WORDS != 0 {
        let (next, after) = walk.split_plain::<4>(fields)?;
        (word, fields) = (u32::from_le_bytes(*next), after);
        words = words.saturating_add(1);
    }
    let mut body = FramePadding::Unpadded;
    let begin = words.saturating_mul(4);
    // The time before the flags is eight bytes, aligned to eight.
    let skipped = match present & FLAGS != 0 && present & TIME != 0 {
        true if words & 1 != 0 => 12,
        true => 8,
        false => 0,
    };
    let mut flags_end = begin.saturating_add(skipped);
    walk.note(PartKind::Names, rest, begin..flags_end);
    if present & FLAGS != 0 {
        let ([flags], _) = walk.split_plain::<1>(fields.skip(skipped)?)?;
        if flags & 0x20 != 0 {
            body = FramePadding::Padded;
        }
        flags_end = flags_end.saturating_add(1);
    }
    let inner = rest.skip(length)?;
    walk.note(PartKind::Names, rest, flags_end..length);
    wlan(inner, body, walk)
}

/// The Prism header: a code, its own length in the order of the host, then items; or an AVS header, which drivers put
/// in its place.
fn prism(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let (header, _) = walk.split_plain::<8>(rest)?;
    if header[..3] == [0x80, 0x21, 0x10] {
        return avs(rest, walk);
    }
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let length = if length > 0xffff { length.swap_bytes() } else { length };
    wlan(behind(rest, 8, length as usize, walk)?, FramePadding::Unpadded, walk)
}

/// The AVS header: a version and its own length in network order.
fn avs(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let (header, _) = walk.split_plain::<8>(rest)?;
    let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    wlan(behind(rest, 8, length as usize, walk)?, FramePadding::Unpadded, walk)
}

/// Per-packet information: its own length, and another link type after it.
fn per_packet_information(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let (header, _) = walk.split_plain::<8>(rest)?;
    let length = usize::from(be16(header[3], header[2]));
    let link = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    inner_link(link, length, 8, rest, walk)
}

/// macOS's tap header: its own length, a record type, and another link type after it.
fn apple_tap(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let (header, _) = walk.split_plain::<12>(rest)?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let link = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    inner_link(link, length, 12, rest, walk)
}

/// The data after a header whose length field says `length` bytes. Its first `known` bytes, which hold no address, must
/// be there.
fn behind<'a>(rest: Rest<'a>, known: usize, length: usize, walk: &mut Walk<'_>) -> Result<Rest<'a>, Decoded> {
    if length < known {
        return Err(Decoded::Malformed);
    }
    let inner = rest.skip(length)?;
    walk.note(PartKind::Names, rest, known..length);
    Ok(inner)
}

/// A packet of another link type behind a header of `length` bytes, at least `least`.
fn inner_link(link: u32, length: usize, least: usize, rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let inner = behind(rest, least, length, walk)?;
    walk.enter()?;
    let Ok(link) = u16::try_from(link) else { return Ok(Decoded::Other) };
    match any(LinkType(link), inner, walk) {
        // The capture's own link type is known; the link type inside it is not.
        Err(Decoded::UnknownLink) => Ok(Decoded::Other),
        known => known,
    }
}

/// The log of OpenBSD's pf: its own length without padding, the address family, then the IP packet.
fn packet_filter_log(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    // What tcpdump asks for (`MIN_PFLOG_HDRLEN`): all that old systems write.
    const LEAST: u8 = 45;
    let (header, _) = walk.split_plain::<2>(rest)?;
    if header[0] < LEAST {
        return Err(Decoded::Malformed);
    }
    let inner = behind(rest, 2, usize::from(header[0]).next_multiple_of(4), walk)?;
    family_of(u32::from(header[1]), inner, walk)
}
