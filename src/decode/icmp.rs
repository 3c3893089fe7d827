//! ICMP (RFC 792) and ICMPv6 (RFC 4443) errors: which TCP segment do they quote?

use etherparse::IpNumber;

use super::decoded::Decoded;
use super::ip::{self, ExtensionsEnd, PayloadLength};
use super::parts::PartKind;
use super::rest::{Rest, be16};
use super::segment::{Address, Flags, TcpOptions, Traits, flow_hash};
use super::walk::{LayerResult, Walk};
use crate::seq::Seq;

/// An ICMP message from `reporter`: unreachable, source quench, time exceeded and parameter problem quote. A redirect quotes too, but
/// it says nothing about the segment: it was forwarded.
pub(super) fn v4(rest: Rest<'_>, reporter: Address, walk: &mut Walk<'_>) -> LayerResult {
    let (header, quote) = rest.split_array::<8>()?;
    let quotes = matches!(header[0], 3 | 4 | 11 | 12);
    walk.note(PartKind::Icmp, rest, 0..if quotes { 8 } else { 4 });
    if !quotes {
        return Ok(Decoded::Other);
    }
    // Fragmentation needed: the next hop's MTU, RFC 1191.
    let mtu = if (header[0], header[1]) == (3, 4) { be16(header[6], header[7]) } else { 0 };
    let (ip, _) = quote.split_array::<20>()?;
    let header_length = usize::from(ip[0] & 0x0f) * 4;
    if ip[0] >> 4 != 4 || header_length < 20 {
        walk.note(PartKind::NoIp, quote, 0..20);
        return Err(Decoded::Malformed);
    }
    walk.note(PartKind::Ipv4, quote, 0..20);
    let fragment = be16(ip[6], ip[7]);
    if IpNumber(ip[9]) != IpNumber::TCP || fragment & 0x1fff != 0 {
        return Ok(Decoded::Other);
    }
    let out = &mut *walk.out;
    out.src = Address::v4([ip[12], ip[13], ip[14], ip[15]]);
    out.dst = Address::v4([ip[16], ip[17], ip[18], ip[19]]);
    out.ip_id = be16(ip[4], ip[5]);
    let traits = Traits::DF.only_if(fragment & 0x4000 != 0);
    let length = usize::from(be16(ip[2], ip[3])).saturating_sub(header_length);
    let tcp = quote.skip(header_length)?;
    walk.note(PartKind::Ipv4Options, quote, 20..header_length);
    quoted(tcp, length, (header[0], header[1]), mtu, reporter, traits, walk)
}

/// An ICMPv6 message from `reporter`: unreachable, packet too big, time exceeded and parameter problem quote.
pub(super) fn v6(rest: Rest<'_>, reporter: Address, walk: &mut Walk<'_>) -> LayerResult {
    let (header, quote) = rest.split_array::<8>()?;
    let quotes = matches!(header[0], 1..=4);
    walk.note(PartKind::Icmp6 { length: rest.wire }, rest, 0..if quotes { 8 } else { 4 });
    if !quotes {
        return Ok(Decoded::Other);
    }
    let mtu = if header[0] == 2 {
        u32::from_be_bytes([header[4], header[5], header[6], header[7]]).min(0xffff) as u16
    } else {
        0
    };
    let (ip, body) = quote.split_array::<40>()?;
    if ip[0] >> 4 != 6 {
        walk.note(PartKind::NoIp, quote, 0..40);
        return Err(Decoded::Malformed);
    }
    walk.note(PartKind::Ipv6, quote, 0..40);
    let ExtensionsEnd::Upper { protocol: IpNumber::TCP, body: tcp, .. } =
        ip::extensions(IpNumber(ip[6]), body, PayloadLength::Stated, walk)?
    else {
        return Ok(Decoded::Other);
    };
    let out = &mut *walk.out;
    (out.src, out.dst) = ip::v6_addresses(ip);
    out.ip_id = 0;
    let length = usize::from(be16(ip[4], ip[5])).saturating_sub(body.wire.saturating_sub(tcp.wire));
    quoted(tcp, length, (header[0], header[1]), mtu, reporter, Traits::V6, walk)
}

/// The quoted TCP header. RFC 792 promises 8 bytes of it: the ports and the sequence number. Most hosts quote more.
fn quoted(
    tcp: Rest<'_>,
    length: usize,
    (kind, code): (u8, u8),
    mtu: u16,
    reporter: Address,
    traits: Traits,
    walk: &mut Walk<'_>,
) -> LayerResult {
    let (head, more) = tcp.split_array::<8>()?;
    // If the header reaches beyond its segment, only the first eight bytes are kept.
    let header = match more.data {
        [_, _, _, _, offset, ..] => (usize::from(offset >> 4) << 2).max(20),
        _ => 8,
    };
    let kept = if header <= length { header.min(tcp.data.len()) } else { 8 };
    walk.note(PartKind::Tcp { length }, tcp, 0..kept);
    let out = &mut *walk.out;
    out.src_port = be16(head[0], head[1]);
    out.dst_port = be16(head[2], head[3]);
    out.seq = Seq(u32::from_be_bytes([head[4], head[5], head[6], head[7]]));
    (out.ack, out.payload) = match more.data {
        [a, b, c, d, offset, ..] => (
            Seq(u32::from_be_bytes([*a, *b, *c, *d])),
            length.saturating_sub(usize::from(offset >> 4) * 4) as u32,
        ),
        _ => (Seq(0), 0),
    };
    out.window = be16(kind, code);
    out.flags = Flags::NONE;
    out.options = TcpOptions::NONE;
    (out.tsval, out.tsecr, out.mss, out.window_scale) = (0, 0, mtu, 0);
    out.neighbours = 0;
    out.traits = walk.traits | traits | Traits::ICMP_ERROR;
    match reporter.as_v4() {
        Some(sender) => out.tsval = sender,
        None => out.set_icmp_sender_v6(reporter),
    }
    if reporter == out.dst {
        out.traits |= Traits::FROM_DESTINATION;
    }
    out.hash = flow_hash(out.src, out.src_port, out.dst, out.dst_port);
    Ok(Decoded::Icmp)
}
