//! The usual packet: TCP over IPv4 over Ethernet without IP options or fragments, its headers captured. Then everything
//! has a fixed place. The result is that of the layers one by one; a property test ensures it. Any other packet is left
//! to the layers.

use super::rest::{Rest, be16};
use super::segment::{Address, Flags, Segment, TcpOptions, Traits, flow_hash};
use super::walk::Walk;
use super::{link, tcp};
use crate::seq::Seq;

/// Ethernet, IPv4 and TCP without options.
const HEADERS: usize = IP + 20 + 20;
/// Where the IPv4 header begins.
const IP: usize = 14;
/// Where the TCP header begins.
const TCP: usize = IP + 20;

/// Decodes a packet that begins with an Ethernet header, if it is a usual one: then the output holds its segment.
#[inline(always)]
pub(super) fn decode(rest: Rest<'_>, walk: &mut Walk<'_>) -> bool {
    let Some(h) = rest.data.first_chunk::<HEADERS>() else { return false };
    let total = usize::from(be16(h[16], h[17]));
    let header = usize::from(h[46] >> 4) * 4;
    // Type IPv4, version 4 and five words of header, no fragment, protocol TCP; lengths that agree. A total length of 0
    // (segmentation offload) does not.
    let is_usual = [h[12], h[13], h[14]] == [0x08, 0x00, 0x45]
        && (h[20] & 0x3f) | h[21] == 0
        && h[23] == 6
        && header >= 20
        && total >= header.wrapping_add(20)
        && total.wrapping_add(IP) <= rest.wire;
    if !is_usual {
        return false;
    }
    // From here on, the comparisons above ensure that these differences are not negative.
    let Some(list) = rest.data.get(HEADERS..header.wrapping_add(TCP)) else { return false };
    let (src, dst) = (Address::v4([h[26], h[27], h[28], h[29]]), Address::v4([h[30], h[31], h[32], h[33]]));
    let (src_port, dst_port) = (be16(h[34], h[35]), be16(h[36], h[37]));
    let flags = Flags(h[47]);
    let length = total.wrapping_sub(20);
    let payload = length.wrapping_sub(header);
    let Some(segment) = rest.data.get(TCP..rest.data.len().min(total.wrapping_add(IP))) else { return false };
    let pseudo = tcp::pseudo_header_v4([h[26], h[27], h[28], h[29], h[30], h[31], h[32], h[33]], length);
    let fragment = Traits::DF.only_if(h[20] & 0x40 != 0);
    let checksum =
        tcp::checksum_over(pseudo, Rest { data: segment, wire: length }, payload, [h[50], h[51]], flags);
    let out = &mut *walk.out;
    *out = Segment {
        time: out.time,
        packet: out.packet,
        hash: flow_hash(src, src_port, dst, dst_port),
        src,
        dst,
        src_port,
        dst_port,
        seq: Seq(u32::from_be_bytes([h[38], h[39], h[40], h[41]])),
        ack: Seq(u32::from_be_bytes([h[42], h[43], h[44], h[45]])),
        payload: payload as u32,
        window: be16(h[48], h[49]),
        ip_id: be16(h[18], h[19]),
        tsval: 0,
        tsecr: 0,
        mss: 0,
        neighbours: if flags.has(Flags::SYN) {
            h.first_chunk().map_or(0, |frame| link::neighbours(*frame))
        } else {
            0
        },
        traits: walk.traits | fragment | checksum,
        flags,
        options: TcpOptions::NONE,
        window_scale: 0,
        ttl: h[22],
        tos: h[15],
    };
    if !list.is_empty() {
        tcp::options(list, out);
    }
    true
}
