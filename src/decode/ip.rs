//! IPv4 (RFC 791), IPv6 (RFC 8200) with its extension headers, and fragments of both.

use etherparse::IpNumber;

use super::decoded::Decoded;
use super::parts::PartKind;
use super::rest::{Rest, be16};
use super::segment::{Address, Traits};
use super::walk::{LayerResult, Walk};
use super::{icmp, tcp, tunnel};

/// The HIP header, RFC 7401; built like the IPv6 option headers.
const HIP: IpNumber = IpNumber(139);
/// Ethernet inside IP, RFC 8986 section 4.9.
const ETHERNET: IpNumber = IpNumber(143);
/// The largest datagram that a length field can state: the limit for the datagram of a first fragment.
const MAX_DATAGRAM: usize = 0xffff;

/// The fields of the IP header that the layers above need.
#[derive(Clone, Copy)]
pub(super) struct IpHeader {
    /// Source address.
    pub src: Address,
    /// Destination address.
    pub dst: Address,
    /// [`Traits::V6`], [`Traits::DF`], [`Traits::FRAGMENT`].
    pub traits: Traits,
    /// Whether the addresses in the header are those of the pseudo-header, so that a checksum can be verified. A
    /// routing header or a source route puts another destination there.
    pub verifiable: bool,
}

/// An IP header of either version.
pub(super) fn either(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let version = rest.version()?;
    walk.note(PartKind::NoIp, rest, 0..1);
    match version {
        4 => v4(rest, walk),
        6 => v6(rest, walk),
        _ => Err(Decoded::Malformed),
    }
}

/// An IPv4 header and its payload. The header checksum is not verified: offload leaves it wrong.
#[inline(never)]
pub(super) fn v4(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let (header, _) = rest.split_array::<20>().inspect_err(|_| walk.note(PartKind::NoIp, rest, 0..1))?;
    let header_length = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || header_length < 20 {
        walk.note(PartKind::NoIp, rest, 0..20);
        return Err(Decoded::Malformed);
    }
    walk.note(PartKind::Ipv4, rest, 0..20);
    // Segmentation offload (TSO, BIG TCP) leaves 0 in the total length: then the frame's length counts.
    let total = usize::from(be16(header[2], header[3]));
    let datagram = if total == 0 { rest } else { rest.limit(total) };
    if total != 0 && total < header_length {
        return Err(Decoded::Malformed);
    }
    walk.note_header();
    let body = datagram.skip(header_length)?;
    walk.note(PartKind::Ipv4Options, rest, 20..header_length);
    let out = &mut *walk.out;
    out.tos = header[1];
    out.ttl = header[8];
    out.ip_id = be16(header[4], header[5]);
    let fragment = be16(header[6], header[7]);
    // DF is bit 14, MF bit 13, the offset the 13 bits below.
    let mut network = IpHeader {
        src: Address::v4([header[12], header[13], header[14], header[15]]),
        dst: Address::v4([header[16], header[17], header[18], header[19]]),
        traits: Traits::NONE,
        verifiable: header_length == 20,
    };
    if fragment & 0x4000 != 0 {
        network.traits = Traits::DF;
    }
    if fragment & 0x3fff != 0 {
        if fragment & 0x1fff != 0 {
            return Ok(later_fragment(IpNumber(header[9])));
        }
        network.traits |= Traits::FRAGMENT;
    }
    match IpNumber(header[9]) {
        IpNumber::TCP => tcp::segment(body, network, walk),
        protocol => not_tcp(protocol, body, network, walk),
    }
}

/// An IPv6 header, its extension headers and their payload.
#[inline]
pub(super) fn v6(rest: Rest<'_>, walk: &mut Walk<'_>) -> LayerResult {
    let (header, body) = rest.split_array::<40>().inspect_err(|_| walk.note(PartKind::NoIp, rest, 0..1))?;
    if header[0] >> 4 != 6 {
        walk.note(PartKind::NoIp, rest, 0..40);
        return Err(Decoded::Malformed);
    }
    walk.note(PartKind::Ipv6, rest, 0..40);
    walk.note_header();
    let out = &mut *walk.out;
    out.tos = header[0] << 4 | header[1] >> 4;
    out.ttl = header[7];
    out.ip_id = 0;
    // A length of 0 is a jumbogram (RFC 2675) or segmentation offload: without the option the frame's length counts.
    let length = usize::from(be16(header[4], header[5]));
    let body = if length == 0 { body } else { body.limit(length) };
    let (src, dst) = v6_addresses(header);
    let network = IpHeader { src, dst, traits: Traits::V6, verifiable: true };
    match IpNumber(header[6]) {
        IpNumber::TCP => tcp::segment(body, network, walk),
        first => {
            let length = if length == 0 { PayloadLength::Zero } else { PayloadLength::Stated };
            v6_extended(first, body, length, network, walk)
        }
    }
}

/// Source and destination of an IPv6 header.
#[inline]
pub(super) fn v6_addresses(header: &[u8; 40]) -> (Address, Address) {
    let [_, _, _, _, _, _, _, _, addresses @ ..] = header;
    let mut both = [[0; 16]; 2];
    both.as_flattened_mut().copy_from_slice(addresses);
    let [src, dst] = both;
    (Address(src), Address(dst))
}

/// The payload of an IPv6 header that is not directly TCP.
#[inline(never)]
fn v6_extended(
    first: IpNumber,
    body: Rest<'_>,
    length: PayloadLength,
    network: IpHeader,
    walk: &mut Walk<'_>,
) -> LayerResult {
    match extensions(first, body, length, walk)? {
        ExtensionsEnd::LaterFragment(protocol) => Ok(later_fragment(protocol)),
        ExtensionsEnd::Upper { protocol, body, fragment, verifiable } => {
            let fragment = Traits::FRAGMENT.only_if(fragment);
            upper(protocol, body, IpHeader { traits: network.traits | fragment, verifiable, ..network }, walk)
        }
    }
}

/// The payload length in an IPv6 header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PayloadLength {
    /// Bytes behind the header.
    Stated,
    /// 0: a jumbogram has the length in a hop-by-hop option (RFC 2675).
    Zero,
}

/// Where a chain of IPv6 extension headers ends.
pub(super) enum ExtensionsEnd<'a> {
    /// At the upper-layer protocol, whole or in a first fragment.
    Upper { protocol: IpNumber, body: Rest<'a>, fragment: bool, verifiable: bool },
    /// In a fragment other than the first; with the protocol that its header names.
    LaterFragment(IpNumber),
}

/// Follows IPv6 extension headers from the one named `next`. Each is at least 8 bytes long, so the walk ends.
pub(super) fn extensions<'a>(
    mut next: IpNumber,
    mut body: Rest<'a>,
    stated: PayloadLength,
    walk: &mut Walk<'_>,
) -> Result<ExtensionsEnd<'a>, Decoded> {
    let (mut fragment, mut verifiable) = (false, true);
    loop {
        // Every extension header begins with the number of the next one; most tell their own length after it.
        let length = match next {
            IpNumber::IPV6_HEADER_HOP_BY_HOP
            | IpNumber::IPV6_ROUTE_HEADER
            | IpNumber::IPV6_DESTINATION_OPTIONS
            | IpNumber::MOBILITY_HEADER
            | IpNumber::SHIM6
            | HIP => {
                let ([_, units], _) = walk.split_plain::<2>(body)?;
                usize::from(*units).saturating_add(1) << 3
            }
            IpNumber::AUTHENTICATION_HEADER => {
                let ([_, units], _) = walk.split_plain::<2>(body)?;
                usize::from(*units).saturating_add(2) << 2
            }
            IpNumber::IPV6_FRAGMENTATION_HEADER => {
                let ([protocol, _, high, low, ..], _) = walk.split_plain::<8>(body)?;
                let field = be16(*high, *low);
                if field & 0xfff8 != 0 {
                    return Ok(ExtensionsEnd::LaterFragment(IpNumber(*protocol)));
                }
                // Neither offset nor more-fragments: an atomic fragment (RFC 6946), which is whole.
                fragment |= field & 1 != 0;
                8
            }
            _ => return Ok(ExtensionsEnd::Upper { protocol: next, body, fragment, verifiable }),
        };
        let (header, mut after) = body.split(length)?;
        match next {
            IpNumber::AUTHENTICATION_HEADER => note_authentication(body, length, walk),
            IpNumber::IPV6_FRAGMENTATION_HEADER => {}
            _ => walk.note(PartKind::Extension, body, 0..length),
        }
        match next {
            IpNumber::IPV6_HEADER_HOP_BY_HOP if stated == PayloadLength::Zero => {
                if let Some(total) = header.get(2..).and_then(jumbo_length) {
                    // The length counts from the end of the IPv6 header: one that ends before this header does is a
                    // contradiction.
                    after = after.limit(total.checked_sub(length).ok_or(Decoded::Malformed)?);
                }
            }
            // These may name a final destination or a home address other than the ones in the header.
            IpNumber::IPV6_ROUTE_HEADER | IpNumber::IPV6_DESTINATION_OPTIONS => verifiable = false,
            _ => {}
        }
        next = IpNumber(*header.first().ok_or(Decoded::Malformed)?);
        body = after;
    }
}

/// An authentication header of `length` bytes: after its first twelve bytes it holds the signature.
fn note_authentication(header: Rest<'_>, length: usize, walk: &mut Walk<'_>) {
    walk.note(PartKind::Plain, header, 0..length.min(12));
    walk.note(PartKind::Names, header, 12..length);
}

/// The length in a jumbo payload option (type 0xC2, RFC 2675), counted from the end of the IPv6 header.
fn jumbo_length(mut options: &[u8]) -> Option<usize> {
    loop {
        match options {
            [0, after @ ..] => options = after,
            [0xc2, 4, a, b, c, d, ..] => return Some(u32::from_be_bytes([*a, *b, *c, *d]) as usize),
            [_, length, after @ ..] => options = after.get(usize::from(*length)..)?,
            _ => return None,
        }
    }
}

/// The result for a fragment without the TCP header.
fn later_fragment(protocol: IpNumber) -> Decoded {
    if protocol == IpNumber::TCP { Decoded::LaterFragment } else { Decoded::Other }
}

/// The payload of headers between IP and the protocol.
#[inline(never)]
fn upper(protocol: IpNumber, body: Rest<'_>, network: IpHeader, walk: &mut Walk<'_>) -> LayerResult {
    match protocol {
        IpNumber::TCP => tcp::segment(body, network, walk),
        _ => not_tcp(protocol, body, network, walk),
    }
}

/// Whatever may have a TCP segment further in.
#[inline(never)]
fn not_tcp(protocol: IpNumber, body: Rest<'_>, network: IpHeader, walk: &mut Walk<'_>) -> LayerResult {
    let v6 = network.traits.has(Traits::V6);
    match protocol {
        IpNumber::ICMP if !v6 => return icmp::v4(body, network.src, walk),
        IpNumber::IPV6_ICMP if v6 => return icmp::v6(body, network.src, walk),
        _ => {}
    }
    // A packet inside a first fragment continues in the next one: that is no contradiction.
    let body = if network.traits.has(Traits::FRAGMENT) { body.extend(MAX_DATAGRAM) } else { body };
    match protocol {
        IpNumber::IPV4 => {
            walk.enter_tunnel()?;
            v4(body, walk)
        }
        IpNumber::IPV6 => {
            walk.enter_tunnel()?;
            self::v6(body, walk)
        }
        IpNumber::UDP => tunnel::udp(body, network, walk),
        IpNumber::GRE => tunnel::gre(body, walk),
        IpNumber::ETHER_IP => tunnel::ether_ip(body, walk),
        IpNumber::MPLS_IN_IP => tunnel::mpls(body, walk),
        ETHERNET => tunnel::ethernet(body, walk),
        // IPv4 has the authentication header too; for IPv6 the walk above has removed it.
        IpNumber::AUTHENTICATION_HEADER if !v6 => {
            let (head, _) = walk.split_plain::<2>(body)?;
            let length = usize::from(head[1]).saturating_add(2) << 2;
            let inner = body.skip(length)?;
            note_authentication(body, length, walk);
            match IpNumber(head[0]) {
                IpNumber::AUTHENTICATION_HEADER => Err(Decoded::Malformed),
                next => upper(next, inner, network, walk),
            }
        }
        _ => Ok(Decoded::Other),
    }
}
