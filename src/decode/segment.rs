//! The result of decode and the input of flow: a TCP segment as plain data.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;
use std::ops::{BitAnd, BitOr, BitOrAssign};

use crate::seq::Seq;
use crate::time::Timestamp;

/// Which packet of which capture: the capture's place in the list of inputs and Wireshark's `frame.number` in it.
///
/// Ordered by capture, then by number. One word holds 16 bits of capture and 48 bits of number, plus one. It is never 0,
/// so an `Option` of it needs no further room: a connection has very many.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct PacketId(NonZeroU64);

impl PacketId {
    /// The packet `number` (from 1) of the input `capture` (from 0). Numbers from 2^48 on are cut.
    #[inline]
    pub const fn new(capture: u16, number: u64) -> PacketId {
        let word = (capture as u64) << 48 | (number & 0xffff_ffff_ffff);
        // No capture has that many packets.
        PacketId(NonZeroU64::MIN.saturating_add(word))
    }

    /// Place of the capture in the list of inputs, from 0.
    #[inline]
    pub const fn capture(self) -> u16 {
        (self.word() >> 48) as u16
    }

    /// Number of the packet in that capture, from 1, as Wireshark counts.
    #[inline]
    pub const fn number(self) -> u64 {
        self.word() & 0xffff_ffff_ffff
    }

    #[inline]
    const fn word(self) -> u64 {
        self.0.get() - 1
    }
}

impl Default for PacketId {
    fn default() -> PacketId {
        PacketId::new(0, 0)
    }
}

impl fmt::Debug for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketId").field("capture", &self.capture()).field("number", &self.number()).finish()
    }
}

/// An IPv4 or IPv6 address in 16 bytes; IPv4 in its mapped form (`::ffff:a.b.c.d`).
///
/// A mapped address that really stood in an IPv6 header is the same value: it names the same host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Address(pub [u8; 16]);

impl Address {
    /// The four bytes of an IPv4 header.
    #[inline]
    pub const fn v4(a: [u8; 4]) -> Address {
        // As one number: written byte by byte it could not be read back at once as the words that are hashed.
        Address((0xffff_0000_0000 | u32::from_be_bytes(a) as u128).to_be_bytes())
    }

    /// The number that an IPv4 address is.
    #[inline]
    pub const fn as_v4(self) -> Option<u32> {
        // Only the four bytes that are the address are turned round.
        let all = u128::from_le_bytes(self.0);
        let is_mapped = all as u64 == 0 && (all >> 64) as u32 == 0xffff_u32 << 16;
        if is_mapped { Some(((all >> 96) as u32).swap_bytes()) } else { None }
    }

    /// As the standard library's type, IPv4 where it is IPv4.
    pub fn ip(self) -> IpAddr {
        match Ipv6Addr::from(self.0).to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from(self.0)),
        }
    }

    /// Writes it as [`IpAddr`] does. [`IpAddr`] takes four times as long for IPv4, and each finding names its ends
    /// several times.
    ///
    /// # Errors
    /// The error of `to`.
    pub fn write_to(self, to: &mut impl fmt::Write) -> fmt::Result {
        let Some(v4) = self.as_v4() else {
            return write!(to, "{}", self.ip());
        };
        let mut digits = itoa::Buffer::new();
        let [first, rest @ ..] = v4.to_be_bytes();
        to.write_str(digits.format(first))?;
        rest.into_iter().try_for_each(|byte| {
            to.write_str(".")?;
            to.write_str(digits.format(byte))
        })
    }
}

/// As [`IpAddr`] has it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_to(f)
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Address {
        match ip {
            IpAddr::V4(v4) => Address::v4(v4.octets()),
            IpAddr::V6(v6) => Address(v6.octets()),
        }
    }
}

impl From<Ipv4Addr> for Address {
    fn from(ip: Ipv4Addr) -> Address {
        Address::v4(ip.octets())
    }
}

/// The operations of a set of bits. Each set has a type of its own, so that bits of one set are never tested in
/// another.
macro_rules! bit_set {
    ($set:ident) => {
        impl $set {
            /// None of the bits.
            pub const NONE: $set = $set(0);

            /// Whether all of `bits` are set.
            #[inline]
            pub const fn has(self, bits: $set) -> bool {
                self.0 & bits.0 == bits.0
            }

            /// Whether any of `bits` is set.
            #[inline]
            pub const fn any(self, bits: $set) -> bool {
                self.0 & bits.0 != 0
            }

            /// These bits and `bits`; `|` where the compiler need not know the result.
            #[inline]
            pub const fn with(self, bits: $set) -> $set {
                $set(self.0 | bits.0)
            }

            /// These bits but for `bits`.
            #[inline]
            pub const fn without(self, bits: $set) -> $set {
                $set(self.0 & !bits.0)
            }

            /// Itself where `applies`, else no bit: a condition, as in `bool::then`.
            #[inline]
            pub const fn only_if(self, applies: bool) -> $set {
                if applies { self } else { $set::NONE }
            }
        }

        impl BitOr for $set {
            type Output = $set;

            #[inline]
            fn bitor(self, bits: $set) -> $set {
                self.with(bits)
            }
        }

        impl BitOrAssign for $set {
            #[inline]
            fn bitor_assign(&mut self, bits: $set) {
                self.0 |= bits.0;
            }
        }

        impl BitAnd for $set {
            type Output = $set;

            #[inline]
            fn bitand(self, bits: $set) -> $set {
                $set(self.0 & bits.0)
            }
        }
    };
}

bit_set!(Flags);
bit_set!(Traits);
bit_set!(TcpOptions);

/// TCP control bits as in the header: CWR ECE URG ACK PSH RST SYN FIN, RFC 9293 section 3.1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Flags = Flags(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Flags = Flags(0x02);
    /// Reset the connection.
    pub const RST: Flags = Flags(0x04);
    /// Push.
    pub const PSH: Flags = Flags(0x08);
    /// The acknowledgment number is valid.
    pub const ACK: Flags = Flags(0x10);
    /// ECN-Echo; in a SYN together with CWR a request for ECN.
    pub const ECE: Flags = Flags(0x40);
    /// Congestion window reduced.
    pub const CWR: Flags = Flags(0x80);
}

/// Other facts about a segment, one bit each. See the constants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Traits(pub u16);

impl Traits {
    /// Carried by IPv6.
    pub const V6: Traits = Traits(1 << 0);
    /// IPv4 Don't Fragment was set.
    pub const DF: Traits = Traits(1 << 1);
    /// The snapshot length cut the TCP header: options may be missing.
    pub const OPTIONS_CUT: Traits = Traits(1 << 2);
    /// First fragment of a fragmented datagram: `payload` counts the whole fragment's bytes only.
    pub const FRAGMENT: Traits = Traits(1 << 3);
    /// The TCP checksum was computed and is right.
    pub const CHECKSUM_GOOD: Traits = Traits(1 << 4);
    /// The TCP checksum was computed and is wrong (and not the partial sum below).
    pub const CHECKSUM_BAD: Traits = Traits(1 << 5);
    /// The checksum field holds the pseudo-header sum: transmit offload, so captured on the sending host. Where the
    /// payload was not captured, one segment in 65,536 carries that value by chance: ask for several.
    pub const CHECKSUM_PARTIAL: Traits = Traits(1 << 6);
    /// A cooked capture says: sent by the capturing host.
    pub const OUTGOING: Traits = Traits(1 << 7);
    /// A cooked capture says: received by the capturing host.
    pub const INCOMING: Traits = Traits(1 << 8);
    /// Found inside a tunnel (GRE, VXLAN, IP-in-IP, ...).
    pub const TUNNELED: Traits = Traits(1 << 9);
    /// Not a segment on the wire but the one quoted by an ICMP error; see [`Segment::icmp`].
    pub const ICMP_ERROR: Traits = Traits(1 << 10);
    /// The packet has no time of its own (pcapng simple packet block).
    pub const NO_TIME: Traits = Traits(1 << 11);
    /// With [`Traits::ICMP_ERROR`]: the error was sent by the address that the quoted segment was meant for, not by a
    /// router on the way.
    pub const FROM_DESTINATION: Traits = Traits(1 << 12);

    /// Found inside a UDP tunnel whose outer checksum is wrong, or 0 where IPv6 demands one: receivers drop the whole packet.
    pub const OUTER_CHECKSUM_BAD: Traits = Traits(1 << 13);
}

/// Which TCP options were present, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct TcpOptions(pub u8);

impl TcpOptions {
    /// Maximum segment size (kind 2); the value is in [`Segment::mss`].
    pub const MSS: TcpOptions = TcpOptions(1 << 0);
    /// Window scale (kind 3); the shift is in [`Segment::window_scale`].
    pub const WINDOW_SCALE: TcpOptions = TcpOptions(1 << 1);
    /// SACK-permitted (kind 4).
    pub const SACK_PERMITTED: TcpOptions = TcpOptions(1 << 2);
    /// A SACK block (kind 5).
    pub const SACK: TcpOptions = TcpOptions(1 << 3);
    /// Timestamps (kind 8); the values are in [`Segment::tsval`] and [`Segment::tsecr`].
    pub const TIMESTAMPS: TcpOptions = TcpOptions(1 << 4);
    /// Fast Open (kind 34, or 253/254 with magic 0xF989) without a cookie: a request.
    pub const FAST_OPEN_REQUEST: TcpOptions = TcpOptions(1 << 5);
    /// Fast Open with a cookie.
    pub const FAST_OPEN_COOKIE: TcpOptions = TcpOptions(1 << 6);
    /// MPTCP (kind 30) that joins an open connection or resets one part of it: MP_JOIN, MP_TCPRST (RFC 8684).
    pub const MPTCP_SUBFLOW: TcpOptions = TcpOptions(1 << 7);
}

/// One TCP segment as captured. Plain data of fixed size: it can be written down and read back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    /// When the capture saw it.
    pub time: Timestamp,
    /// Which packet it is.
    pub packet: PacketId,
    /// [`flow_hash`] of the four-tuple, the same in both directions; flow routes by it.
    pub hash: u64,
    /// Source address.
    pub src: Address,
    /// Destination address.
    pub dst: Address,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgment number; meaningful with [`Flags::ACK`].
    pub ack: Seq,
    /// Bytes of TCP payload on the wire, whether or not they were captured. From the IP header; where that says 0
    /// (segmentation offload) from the captured length.
    pub payload: u32,
    /// Window field as sent, not scaled.
    pub window: u16,
    /// IPv4 identification; 0 for IPv6.
    pub ip_id: u16,
    /// Sender's timestamp (TSval), with [`TcpOptions::TIMESTAMPS`].
    pub tsval: u32,
    /// Echoed timestamp (TSecr), with [`TcpOptions::TIMESTAMPS`].
    pub tsecr: u32,
    /// Maximum segment size option, bytes. In an ICMP error: the next hop's MTU, if the error tells one, else 0.
    pub mss: u16,
    /// See [`Traits`].
    pub traits: Traits,
    /// Of a SYN or SYN-ACK in an Ethernet frame: a hash of both MAC addresses, the same in both directions. Else 0, and where a
    /// router shares one of them with others.
    pub neighbours: u16,
    /// Control bits.
    pub flags: Flags,
    /// Options present.
    pub options: TcpOptions,
    /// Window scale option: the shift.
    pub window_scale: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class byte, ECN bits included.
    pub tos: u8,
}

impl Segment {
    /// Sequence space taken: payload, plus one each for SYN and FIN (RFC 9293 section 3.4).
    #[inline]
    pub const fn length(&self) -> u32 {
        // Where sequence numbers wrap, so does what a hostile length adds to them.
        self.payload
            .wrapping_add((self.flags.has(Flags::SYN)) as u32)
            .wrapping_add((self.flags.has(Flags::FIN)) as u32)
    }

    /// The sequence number after this segment.
    #[inline]
    pub const fn end(&self) -> Seq {
        self.seq.advance(self.length())
    }

    /// TSval, if the segment carries timestamps.
    #[inline]
    pub const fn timestamp(&self) -> Option<u32> {
        if self.options.has(TcpOptions::TIMESTAMPS) { Some(self.tsval) } else { None }
    }

    /// For a quoted segment ([`Traits::ICMP_ERROR`]): ICMP type and code, kept in `window`. The IPv6 types are those of
    /// ICMPv6, told by [`Traits::V6`]. `ttl` and `tos` are those of the packet that carried the error; everything else
    /// is the quoted segment's. Its control bits and options are not given, and `ack` and `payload` are 0 where the
    /// quote ends before them.
    #[inline]
    pub const fn icmp(&self) -> Option<(u8, u8)> {
        if self.traits.has(Traits::ICMP_ERROR) {
            Some(((self.window >> 8) as u8, self.window as u8))
        } else {
            None
        }
    }

    /// Keeps the IPv6 address of the sender of an ICMP error in fields that such a segment does not use.
    pub(super) const fn set_icmp_sender_v6(&mut self, sender: Address) {
        let all = u128::from_be_bytes(sender.0);
        self.tsval = (all >> 96) as u32;
        self.tsecr = (all >> 64) as u32;
        self.ack = Seq((all >> 32) as u32);
        self.neighbours = (all >> 16) as u16;
        self.ip_id = all as u16;
    }

    const fn icmp_sender_v6(&self) -> Address {
        let high = (self.tsval as u128) << 96 | (self.tsecr as u128) << 64 | (self.ack.0 as u128) << 32;
        Address((high | (self.neighbours as u128) << 16 | self.ip_id as u128).to_be_bytes())
    }

    /// Who sent the ICMP error that quotes this segment: an IPv4 address is kept in `tsval`, an IPv6 address in several fields.
    pub const fn icmp_sender(&self) -> Option<Address> {
        if !self.traits.has(Traits::ICMP_ERROR) {
            None
        } else if self.traits.has(Traits::FROM_DESTINATION) {
            Some(self.dst)
        } else if self.traits.has(Traits::V6) {
            Some(self.icmp_sender_v6())
        } else {
            Some(Address::v4(self.tsval.to_be_bytes()))
        }
    }

    /// Source as address and port.
    pub fn source(&self) -> SocketAddr {
        SocketAddr::new(self.src.ip(), self.src_port)
    }

    /// Destination as address and port.
    pub fn destination(&self) -> SocketAddr {
        SocketAddr::new(self.dst.ip(), self.dst_port)
    }
}

/// Hash of a four-tuple: the same in both directions and on every machine and run.
///
/// All 64 bits depend on all of the input, so the low ones may choose a shard and the high ones a slot. The constants
/// are fixed, for the sake of reports that can be made again: a crafted capture can make tuples collide, so a
/// table must bound what a collision costs.
#[inline(always)]
pub fn flow_hash(src: Address, src_port: u16, dst: Address, dst_port: u16) -> u64 {
    let (a, b) = (endpoint_hash(src, src_port), endpoint_hash(dst, dst_port));
    // Neither sum nor exclusive or changes when the two are swapped.
    folded_multiply(a.wrapping_add(b) ^ MIX[2], (a ^ b) ^ MIX[3])
}

/// Odd numbers with evenly spread bits: the fractional part of pi in hexadecimal, as used by many hashes.
const MIX: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345, 0xa409_3822_299f_31d1, 0x082e_fa98_ec4e_6c89];

/// Hash of an address and a port.
#[inline]
fn endpoint_hash(address: Address, port: u16) -> u64 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.0;
    let high = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let low = u64::from_be_bytes([i, j, k, l, m, n, o, p]);
    // The port goes where IPv4 has only zeros.
    folded_multiply(low ^ MIX[0], high.wrapping_add(u64::from(port)) ^ MIX[1])
}

/// Both halves of the product of `a` and `b`, plus both factors: so a factor of 0 does not wipe out the other one.
#[inline]
fn folded_multiply(a: u64, b: u64) -> u64 {
    // Two factors of 64 bits have a product of 128 at most.
    let product = u128::from(a).wrapping_mul(u128::from(b));
    (product as u64 ^ a).wrapping_add((product >> 64) as u64 ^ b.rotate_left(32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_ids_keep_capture_and_number() {
        let id = PacketId::new(3, 77);
        assert_eq!((id.capture(), id.number()), (3, 77));
        assert!(PacketId::new(0, u64::MAX) < PacketId::new(1, 1));
    }

    #[test]
    fn a_segment_stays_within_two_cache_lines() {
        assert!(size_of::<Segment>() <= 96, "{}", size_of::<Segment>());
    }

    #[test]
    fn addresses_print_as_their_family() {
        assert_eq!(Address::v4([192, 0, 2, 1]).ip().to_string(), "192.0.2.1");
        assert_eq!(Address::from("2001:db8::1".parse::<IpAddr>().unwrap()).ip().to_string(), "2001:db8::1");
    }

    /// Tuples that differ in little, as those of one flood do: ports counted up, then addresses counted up.
    fn near_tuples() -> impl Iterator<Item = u64> {
        let server = Address::v4([192, 0, 2, 1]);
        let ports = (0..=u16::MAX).map(move |port| flow_hash(Address::v4([10, 0, 0, 1]), port, server, 80));
        let hosts = (0..1 << 16)
            .map(move |n: u32| flow_hash(Ipv4Addr::from(0x0a00_0002 + n).into(), 1024, server, 80));
        let v6 = (0..1 << 16).map(move |n: u128| flow_hash(Address(n.to_be_bytes()), 1024, server, 80));
        ports.chain(hosts).chain(v6)
    }

    #[test]
    fn near_tuples_spread_over_all_bits_of_the_hash() {
        let hashes: Vec<u64> = near_tuples().collect();
        for shift in (0..=56).step_by(4) {
            let mut slots = [0_u32; 256];
            for hash in &hashes {
                slots[(hash >> shift) as usize & 0xff] += 1;
            }
            // 768 on average, with a standard deviation of 28.
            let (least, most) = (slots.iter().min().unwrap(), slots.iter().max().unwrap());
            assert!(*least > 620 && *most < 920, "bits from {shift}: {least} to {most}");
        }
        let mut all = hashes;
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 3 << 16);
    }

    #[test]
    fn every_bit_of_a_tuple_turns_half_of_the_hash() {
        let (src, dst) = (Address(*b"\x20\x01\x0d\xb8segment-hash"), Address::v4([198, 51, 100, 2]));
        let plain = flow_hash(src, 40000, dst, 443);
        let mut turned = 0;
        for bit in 0..128 {
            let near = Address((u128::from_be_bytes(src.0) ^ 1 << bit).to_be_bytes());
            turned += (plain ^ flow_hash(near, 40000, dst, 443)).count_ones();
        }
        assert!((28 * 128..36 * 128).contains(&turned), "{turned}");
        // Reports depend on it: another value would put the same capture's flows in another order.
        assert_eq!(plain, flow_hash(dst, 443, src, 40000));
    }
}
