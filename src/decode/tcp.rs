//! The TCP header, its options and its checksum: RFC 9293 section 3.1, RFC 7323, RFC 2018, RFC 7413.

use super::decoded::Decoded;
use super::ip::IpHeader;
use super::link;
use super::parts::PartKind;
use super::rest::{Rest, be16};
use super::segment::{Address, Flags, Segment, TcpOptions, Traits, flow_hash};
use super::walk::{LayerResult, Walk};
use crate::seq::Seq;

/// How many bytes of the header are needed at least: up to the control bits.
const NEEDED: usize = 14;
/// Length of the header without options.
const MIN_HEADER: usize = 20;
/// The first four bytes of the options of nearly every segment after the handshake: NOP, NOP, timestamps.
const NOP_NOP_TIMESTAMPS: [u8; 4] = [1, 1, 8, 10];
/// Magic number of the experimental Fast Open option, RFC 7413 appendix A (kinds 253 and 254, RFC 6994).
const FAST_OPEN_MAGIC: [u8; 2] = [0xf9, 0x89];
/// Subtypes of the option of MPTCP, RFC 8684 section 3.
const MP_JOIN: u8 = 1;
const MP_TCPRST: u8 = 8;
/// TCP's number in the pseudo-header.
const PROTOCOL: u16 = 6;

/// A TCP segment. TTL, TOS and IP ID are already in the output.
#[inline(never)]
pub(super) fn segment(rest: Rest<'_>, network: IpHeader, walk: &mut Walk<'_>) -> LayerResult {
    let mut traits = walk.traits | network.traits;
    let fragment = traits.has(Traits::FRAGMENT);
    let data = rest.data;
    let Some(head) = data.first_chunk::<NEEDED>() else {
        return Err(rest.short(MIN_HEADER));
    };
    let header_length = usize::from(head[12] >> 4) * 4;
    // A first fragment may end inside the options; anything else that is shorter than its header is damaged.
    if header_length < MIN_HEADER || (header_length > rest.wire && !fragment) {
        walk.note(PartKind::Tcp { length: rest.wire }, rest, 0..data.len().min(MIN_HEADER));
        return Err(Decoded::Malformed);
    }
    walk.note(PartKind::Tcp { length: rest.wire }, rest, 0..data.len().min(header_length));
    let payload = rest.wire.saturating_sub(header_length);
    let (src, dst) = (network.src, network.dst);
    let out = &mut *walk.out;
    (out.src, out.dst) = (src, dst);
    out.src_port = be16(head[0], head[1]);
    out.dst_port = be16(head[2], head[3]);
    out.seq = Seq(u32::from_be_bytes([head[4], head[5], head[6], head[7]]));
    out.ack = Seq(u32::from_be_bytes([head[8], head[9], head[10], head[11]]));
    out.flags = Flags(head[13]);
    out.window = match data {
        [_, _, _, _, _, _, _, _, _, _, _, _, _, _, high, low, ..] => be16(*high, *low),
        _ => 0,
    };
    out.payload = payload as u32;
    out.options = TcpOptions::NONE;
    let frame = walk.frame.filter(|_| Flags(head[13]).has(Flags::SYN));
    out.neighbours = frame.map_or(0, link::neighbours);
    (out.tsval, out.tsecr, out.mss, out.window_scale) = (0, 0, 0, 0);
    if data.len() < header_length {
        traits |= Traits::OPTIONS_CUT;
    }
    if let Some(list) = data.get(MIN_HEADER..data.len().min(header_length)).filter(|list| !list.is_empty()) {
        options(list, out);
    }
    if network.verifiable && !fragment {
        traits |= checksum(rest, payload, Flags(head[13]), &src, &dst);
    }
    out.traits = traits;
    out.hash = flow_hash(src, be16(head[0], head[1]), dst, be16(head[2], head[3]));
    Ok(Decoded::Tcp)
}

/// Reads options; those with a length that does not fit are left out, and a length that cannot be ends the reading.
#[inline(always)]
pub(super) fn options(list: &[u8], out: &mut Segment) {
    if let Some((layout, times)) = list.split_first_chunk::<4>()
        && *layout == NOP_NOP_TIMESTAMPS
        && let Ok(times) = <[u8; 8]>::try_from(times)
    {
        timestamps(times, out);
        return;
    }
    // A SYN or SYN-ACK of Linux with timestamps (`tcp_options_write`): MSS, SACK-permitted, timestamps, NOP, window scale.
    if let Ok([2, 4, high, low, 4, 2, 8, 10, a, b, c, d, e, f, g, h, 1, 3, 3, shift]) =
        <&[u8; 20]>::try_from(list)
    {
        out.options |= TcpOptions::MSS | TcpOptions::SACK_PERMITTED | TcpOptions::WINDOW_SCALE;
        (out.mss, out.window_scale) = (be16(*high, *low), *shift);
        timestamps([*a, *b, *c, *d, *e, *f, *g, *h], out);
        return;
    }
    any_options(list, out);
}

/// The general case of [`options`].
fn any_options(mut list: &[u8], out: &mut Segment) {
    loop {
        list = match *list {
            [] | [0, ..] => return,
            [1, ref after @ ..] => after,
            [kind, length, ref after @ ..] => {
                let Some((value, after)) =
                    usize::from(length).checked_sub(2).and_then(|n| after.split_at_checked(n))
                else {
                    return;
                };
                option(kind, value, out);
                after
            }
            [_] => return,
        };
    }
}

/// One option that has a length.
#[inline]
fn option(kind: u8, value: &[u8], out: &mut Segment) {
    match (kind, value) {
        (2, &[high, low]) => {
            out.options |= TcpOptions::MSS;
            out.mss = be16(high, low);
        }
        (3, &[shift]) => {
            out.options |= TcpOptions::WINDOW_SCALE;
            out.window_scale = shift;
        }
        (4, []) => out.options |= TcpOptions::SACK_PERMITTED,
        (5, blocks) if !blocks.is_empty() && blocks.len().is_multiple_of(8) => {
            out.options |= TcpOptions::SACK
        }
        (8, times) => {
            if let Ok(times) = <[u8; 8]>::try_from(times) {
                timestamps(times, out);
            }
        }
        (34, cookie) => fast_open(cookie, out),
        (30, [subtype, ..]) if matches!(subtype >> 4, MP_JOIN | MP_TCPRST) => {
            out.options |= TcpOptions::MPTCP_SUBFLOW;
        }
        (253 | 254, [a, b, cookie @ ..]) if [*a, *b] == FAST_OPEN_MAGIC => fast_open(cookie, out),
        _ => {}
    }
}

/// Timestamps, RFC 7323 section 3.2.
#[inline]
fn timestamps([a, b, c, d, e, f, g, h]: [u8; 8], out: &mut Segment) {
    out.options |= TcpOptions::TIMESTAMPS;
    out.tsval = u32::from_be_bytes([a, b, c, d]);
    out.tsecr = u32::from_be_bytes([e, f, g, h]);
}

/// Fast Open, RFC 7413 section 4.1.1: no cookie is a request, a cookie has 4 to 16 bytes and an even length.
fn fast_open(cookie: &[u8], out: &mut Segment) {
    match cookie.len() {
        0 => out.options |= TcpOptions::FAST_OPEN_REQUEST,
        4..=16 if cookie.len().is_multiple_of(2) => out.options |= TcpOptions::FAST_OPEN_COOKIE,
        _ => {}
    }
}

/// The meaning of the checksum field: one of the three CHECKSUM traits, or none if nothing is known.
///
/// The full sum is only computed for segments without payload, and with SYN, FIN or RST: otherwise it would read the
/// whole capture. The field is always compared with the sum of the pseudo-header. Equality shows transmit offload, and
/// so the capturing host, even in captures without payload. Where all bytes were captured, the full sum excludes an
/// equality by chance.
#[inline]
fn checksum(rest: Rest<'_>, payload: usize, flags: Flags, src: &Address, dst: &Address) -> Traits {
    let Some(field) = rest.data.get(16..18).and_then(|field| field.first_chunk::<2>()) else {
        return Traits::NONE;
    };
    checksum_over(pseudo_header(src, dst, rest.wire as u32), rest, payload, *field, flags)
}

/// The same, given the sum of the pseudo-header and the checksum field.
#[inline(always)]
pub(super) fn checksum_over(
    pseudo: u64,
    rest: Rest<'_>,
    payload: usize,
    field: [u8; 2],
    flags: Flags,
) -> Traits {
    let partial = fold(pseudo) == u16::from_le_bytes(field);
    if rest.whole() && (payload == 0 || partial || flags.any(Flags::SYN | Flags::FIN | Flags::RST)) {
        if fold(add(pseudo, sum(rest.data))) == 0xffff {
            return Traits::CHECKSUM_GOOD;
        }
        if !partial {
            return Traits::CHECKSUM_BAD;
        }
    }
    Traits::CHECKSUM_PARTIAL.only_if(partial)
}

/// The same as [`pseudo_header`], from both addresses of an IPv4 header and the length.
#[inline]
pub(super) fn pseudo_header_v4(addresses: [u8; 8], length: usize) -> u64 {
    add(u64::from_le_bytes(addresses), numbers(length as u32))
}

/// The pseudo-header's sum, not folded. The mapped prefix of an IPv4 address adds 0xffff, which is nothing in ones'
/// complement. So one sum serves RFC 9293 section 3.1 and RFC 8200 section 8.1.
#[inline]
fn pseudo_header(src: &Address, dst: &Address, length: u32) -> u64 {
    add(add(sum(&src.0), sum(&dst.0)), numbers(length))
}

/// Whether the checksum `field` of a UDP datagram is neither right nor the sum of the pseudo-header alone.
pub(super) fn is_wrong_udp_sum(network: &IpHeader, datagram: &[u8], field: [u8; 2]) -> bool {
    const UDP: u16 = 17;
    let addresses = add(sum(&network.src.0), sum(&network.dst.0));
    let numbers = u64::from(UDP.swap_bytes()).wrapping_add(u64::from((datagram.len() as u32).swap_bytes()));
    let pseudo = add(addresses, numbers);
    fold(pseudo) != u16::from_le_bytes(field) && fold(add(pseudo, sum(datagram))) != 0xffff
}

/// The part of the pseudo-header besides the addresses.
#[inline]
fn numbers(length: u32) -> u64 {
    u64::from(PROTOCOL.swap_bytes()).wrapping_add(u64::from(length.swap_bytes()))
}

/// Sum of the 16-bit words in little-endian order, not folded: Eight bytes are added at a time: RFC 1071 section 2
/// shows that neither the order of the bytes nor the width of the words matters.
#[inline]
fn sum(data: &[u8]) -> u64 {
    let (words, tail) = data.as_chunks::<8>();
    let mut total = words.iter().fold(0, |total, word| add(total, u64::from_le_bytes(*word)));
    // A header without payload ends in a tail of four bytes or none.
    let (half, tail) = tail.as_chunks::<4>();
    if let [half] = half {
        total = add(total, u64::from(u32::from_le_bytes(*half)));
    }
    if tail.is_empty() {
        return total;
    }
    let mut last = [0; 4];
    last.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
    add(total, u64::from(u32::from_le_bytes(last)))
}

/// Sum in ones' complement: the carry is added again.
#[inline]
fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum.wrapping_add(u64::from(carry))
}

/// Folds a sum to 16 bits; 0 only for a sum of 0. Adding the halves in both orders at once leaves their sum, with the
/// carry that comes in again, in the upper half.
#[inline]
fn fold(sum: u64) -> u16 {
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}
