//! One packet's bytes without private data: kept as far as its headers are understood, and ended there.
//!
//! Only harmless parts pass: the parts that [`mod@crate::decode::parts`] names, each rewritten by its kind. A link type, a
//! tunnel or a protocol that the decoder does not know ends the packet before it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::{Add, Range};

use super::pseudonym::Pseudonyms;
use crate::capture::LinkType;
use crate::decode;
use crate::decode::parts::{HeaderPart, PartKind};
use crate::fault::{self, Fault};

/// Whether the bytes behind the TCP header are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// They stay, and packets without TCP stay whole.
    Keep,
    /// The packet ends before them.
    Strip,
}

/// Rewrites packets.
pub struct Rewriter {
    payload: Payload,
    pseudonyms: Option<Pseudonyms>,
    fault: Option<Fault>,
    /// The parts of the packet that is rewritten.
    parts: Vec<HeaderPart>,
}

/// TCP's number in the pseudo-header.
const TCP: u64 = 6;
/// ICMPv6's.
const ICMP_V6: u64 = 58;
/// Magic number of the experimental Fast Open option, RFC 7413 appendix A.
const FAST_OPEN_MAGIC: [u8; 2] = [0xf9, 0x89];

/// A place in a packet. It may be beyond the end, and adding to it cannot fail: bytes that do not exist are neither
/// read nor written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct HeaderOffset(usize);

impl Add<usize> for HeaderOffset {
    type Output = HeaderOffset;

    fn add(self, bytes: usize) -> HeaderOffset {
        HeaderOffset(self.0.saturating_add(bytes))
    }
}

/// The bytes of one packet while they are rewritten.
struct PacketBytes<'d, 'p> {
    data: &'d mut [u8],
    pseudonyms: Option<&'p mut Pseudonyms>,
}

impl Rewriter {
    /// Strips payload or keeps it, and keeps addresses.
    pub fn new(payload: Payload) -> Rewriter {
        Rewriter { payload, pseudonyms: None, fault: None, parts: Vec::new() }
    }

    /// Strips payload, replaces addresses, zeroes MAC addresses.
    pub fn redacting(pseudonyms: Pseudonyms) -> Rewriter {
        Rewriter { pseudonyms: Some(pseudonyms), ..Rewriter::new(Payload::Strip) }
    }

    /// The pseudonym of an address; the address itself where none are wanted.
    pub fn address(&mut self, address: IpAddr) -> IpAddr {
        self.pseudonyms.as_mut().map_or(address, |pseudonyms| pseudonyms.of(address))
    }

    /// The fault at which a packet lost all of its bytes, reported once.
    pub fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    /// Rewrites a packet in place and returns how many of its bytes stay. On the wire it had `original_length` bytes.
    /// If the program fails at a packet, none stay.
    pub fn rewrite(&mut self, link: LinkType, data: &mut [u8], original_length: u32) -> usize {
        if self.payload == Payload::Keep && self.pseudonyms.is_none() {
            return data.len();
        }
        let Rewriter { pseudonyms, parts, .. } = self;
        let kept = fault::contain(|| {
            #[cfg(test)]
            assert!((link, &*data) != crate::decode::tests::FATAL, "a packet that a test makes fatal");
            decode::parts(link, data, original_length, parts);
            PacketBytes { data: &mut *data, pseudonyms: pseudonyms.as_mut() }.rewrite(parts)
        });
        match kept {
            Ok(HeaderOffset(kept)) => kept.min(data.len()),
            Err(fault) => {
                self.fault = Some(fault);
                0
            }
        }
    }
}

impl PacketBytes<'_, '_> {
    /// Rewrites each part by its kind; gives the place where the last of them ends.
    fn rewrite(&mut self, parts: &[HeaderPart]) -> HeaderOffset {
        let mut end = HeaderOffset(0);
        let mut change = ChecksumChange::default();
        // The last IP header's checksum, and the ICMP message that quotes the packet behind it.
        let mut header = HeaderOffset(0);
        let mut message = None;
        for HeaderPart { kind, bytes: Range { start, end: stop } } in parts {
            let (at, stop) = (HeaderOffset(*start), HeaderOffset(*stop));
            match *kind {
                PartKind::Plain => {}
                PartKind::Names => self.blank_between(at, stop),
                PartKind::Checksum => self.between(at, stop).fill(0),
                // Its length may show that a header before it has not ended.
                PartKind::NoIp => self.between(end.max(at + 1), stop).fill(0),
                PartKind::Ipv4 => {
                    change = self.addresses(at + 12, 4);
                    header = at;
                    self.adjust_addresses(at + 10, change);
                }
                PartKind::Ipv4Options => self.blank_options(at, stop, header + 10),
                PartKind::Ipv6 => change = self.addresses(at + 8, 16),
                PartKind::Extension => self.blank_extension(at, stop),
                PartKind::Icmp => message = Some((at, 0)),
                PartKind::Icmp6 { length } => {
                    message = Some((at, PseudoHeader { length, change }.with(change.new, ICMP_V6)));
                }
                PartKind::Tcp { length } => self.tcp(at, stop, PseudoHeader { length, change }),
            }
            end = end.max(stop);
        }
        if let Some((at, covered)) = message {
            self.sum_message(at, end, covered);
        }
        end
    }

    /// The `N` bytes at `at`.
    fn bytes<const N: usize>(&self, at: HeaderOffset) -> Option<[u8; N]> {
        self.data.get(at.0..)?.first_chunk().copied()
    }

    fn be16(&self, at: HeaderOffset) -> Option<u16> {
        self.bytes(at).map(u16::from_be_bytes)
    }

    /// The bytes from `at` up to `end`, as far as they were captured.
    fn between(&mut self, at: HeaderOffset, end: HeaderOffset) -> &mut [u8] {
        let end = end.0.min(self.data.len());
        self.data.get_mut(at.0..end).unwrap_or_default()
    }

    /// The sum of the words there.
    fn sum(&mut self, at: HeaderOffset, end: HeaderOffset) -> u64 {
        words(self.between(at, end))
    }

    /// Zeros, where addresses are replaced: MAC addresses, names, options.
    fn blank_between(&mut self, at: HeaderOffset, end: HeaderOffset) {
        if self.pseudonyms.is_some() {
            self.between(at, end).fill(0);
        }
    }

    /// Adjusts the checksum at `at` to addresses that were replaced.
    fn adjust_addresses(&mut self, at: HeaderOffset, change: ChecksumChange) {
        if self.pseudonyms.is_some() {
            self.adjust(at, change);
        }
    }

    /// IP options may hold addresses (recorded or prescribed routes): each becomes "no operation". The header's
    /// checksum is at `checksum`.
    fn blank_options(&mut self, at: HeaderOffset, end: HeaderOffset, checksum: HeaderOffset) {
        if self.pseudonyms.is_none() {
            return;
        }
        let mut change = ChecksumChange::default();
        let options = self.between(at, end);
        let before = options.to_vec();
        options.fill(1);
        change.replace(&before, options);
        self.adjust(checksum, change);
    }

    /// An extension header loses all but its first two bytes and the length of a jumbogram, wherever that stands among
    /// the options. The rest reads as padding.
    fn blank_extension(&mut self, at: HeaderOffset, end: HeaderOffset) {
        let options = at + 2;
        let jumbo = jumbo_option(self.between(options, end));
        self.blank_between(options, end);
        if let Some((place, option)) = jumbo {
            let place = options + place;
            self.between(place, place + option.len()).copy_from_slice(&option);
        }
    }

    /// A TCP header from `at` to `end`.
    fn tcp(&mut self, at: HeaderOffset, end: HeaderOffset, pseudo: PseudoHeader) {
        let change = self.options(at + 20, end, pseudo.change);
        let Some(field) = self.be16(at + 16) else { return };
        let header = end.0.saturating_sub(at.0);
        // With transmit offload the field holds the pseudo-header's sum, not complemented.
        let own = pseudo.with(pseudo.change.new, TCP);
        let before = pseudo.with(pseudo.change.old, TCP);
        if field == fold(before) {
            self.put_be16(at + 16, fold(own));
        } else if pseudo.length > header {
            // It would reveal a payload of one or two bytes, which is left out here.
            self.put_be16(at + 16, 0);
            let left = self.sum(at, end);
            self.put_be16(at + 16, !fold(own.saturating_add(left)));
        } else {
            self.adjust(at + 16, change);
        }
    }

    /// Writes two bytes in network order, if they are there.
    fn put_be16(&mut self, at: HeaderOffset, value: u16) {
        if let Some(field) = self.data.get_mut(at.0..).and_then(<[u8]>::first_chunk_mut::<2>) {
            *field = value.to_be_bytes();
        }
    }

    /// TCP options from `at` to `end`, where addresses are replaced: those of RFC 9293, 7323 and 2018 stay, Fast Open
    /// keeps its length and loses its cookie, all others become "no operation". Load balancers write the client's
    /// address into one (TOA), MPTCP announces addresses in another.
    fn options(&mut self, at: HeaderOffset, end: HeaderOffset, mut change: ChecksumChange) -> ChecksumChange {
        if self.pseudonyms.is_none() {
            return change;
        }
        let list = self.between(at, end);
        let before = list.to_vec();
        let mut place = 0_usize;
        while let Some(&kind) = list.get(place) {
            if kind == 1 {
                place = place.saturating_add(1);
                continue;
            }
            let length = list.get(place.saturating_add(1)).map_or(0, |length| usize::from(*length));
            let end = place.saturating_add(length);
            let Some(option) = list.get_mut(place..end).filter(|_| kind != 0 && length >= 2) else { break };
            let value = option.get_mut(2..).unwrap_or_default();
            match (kind, length) {
                (2, 4) | (3, 3) | (4, 2) | (8, 10) => {}
                (5, _) if length % 8 == 2 => {}
                (34, _) => value.fill(0),
                (253 | 254, _) if value.starts_with(&FAST_OPEN_MAGIC) => {
                    value.get_mut(FAST_OPEN_MAGIC.len()..).unwrap_or_default().fill(0);
                }
                _ => option.fill(1),
            }
            place = end;
        }
        // The end of the list, or an option that does not fit.
        list.get_mut(place..).unwrap_or_default().fill(0);
        change.replace(&before, list);
        change
    }

    /// Recomputes the checksum of an ICMP message, which covers the quoted addresses, for the message up to `end`;
    /// `covered` is what else it covers.
    fn sum_message(&mut self, at: HeaderOffset, end: HeaderOffset, covered: u64) {
        self.put_be16(at + 2, 0);
        let sum = self.sum(at, end);
        self.put_be16(at + 2, !fold(covered.saturating_add(sum)));
    }

    /// Replaces the two addresses at `at`, of `bytes` each.
    fn addresses(&mut self, at: HeaderOffset, bytes: usize) -> ChecksumChange {
        let mut change = ChecksumChange::default();
        let Some(pseudonyms) = self.pseudonyms.as_deref_mut() else {
            // They stay, and checksums cover them.
            let sum = self.sum(at, at + bytes + bytes);
            return ChecksumChange { old: sum, new: sum };
        };
        let fields = self.data.get_mut(at.0..).unwrap_or_default();
        for field in fields.chunks_exact_mut(bytes.max(1)).take(2) {
            let before = field.to_vec();
            if let Ok(v4) = <&mut [u8; 4]>::try_from(&mut *field) {
                if let IpAddr::V4(pseudonym) = pseudonyms.of(IpAddr::V4(Ipv4Addr::from(*v4))) {
                    *v4 = pseudonym.octets();
                }
            } else if let Ok(v6) = <&mut [u8; 16]>::try_from(&mut *field) {
                match pseudonyms.of(IpAddr::V6(Ipv6Addr::from(*v6))) {
                    IpAddr::V6(pseudonym) => *v6 = pseudonym.octets(),
                    IpAddr::V4(pseudonym) => *v6 = pseudonym.to_ipv6_mapped().octets(),
                }
            }
            change.replace(&before, field);
        }
        change
    }

    /// Adjusts the checksum at `at` to `change`, so that a right one stays right and a wrong one wrong: RFC 1624.
    fn adjust(&mut self, at: HeaderOffset, change: ChecksumChange) {
        let Some(field) = self.be16(at) else { return };
        let sum = u64::from(!field).saturating_add(u64::from(!fold(change.old))).saturating_add(change.new);
        self.put_be16(at, !fold(sum));
    }
}

/// The first jumbo payload option (RFC 2675) among `options`, and its place.
fn jumbo_option(options: &[u8]) -> Option<(usize, [u8; 6])> {
    let mut place = 0_usize;
    loop {
        let rest = options.get(place..)?;
        let skipped = match rest {
            [0, ..] => 1,
            [0xc2, 4, ..] => return rest.first_chunk::<6>().map(|option| (place, *option)),
            [_, length, ..] => usize::from(*length).saturating_add(2),
            _ => return None,
        };
        place = place.checked_add(skipped)?;
    }
}

/// The sums, not folded, of the bytes before and after the change.
#[derive(Clone, Copy, Debug, Default)]
struct ChecksumChange {
    old: u64,
    new: u64,
}

impl ChecksumChange {
    fn replace(&mut self, before: &[u8], after: &[u8]) {
        self.old = self.old.saturating_add(words(before));
        self.new = self.new.saturating_add(words(after));
    }
}

/// The part of a TCP segment's checksum besides the segment: the pseudo-header.
#[derive(Clone, Copy)]
struct PseudoHeader {
    length: usize,
    change: ChecksumChange,
}

impl PseudoHeader {
    /// The pseudo-header's sum, given that of its addresses and the protocol.
    fn with(&self, addresses: u64, protocol: u64) -> u64 {
        addresses.saturating_add(protocol).saturating_add(self.length as u64)
    }
}

/// The sum of 16-bit words in network order, not folded.
fn words(bytes: &[u8]) -> u64 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let last = odd.first().map_or(0, |high| u64::from(*high) << 8);
    pairs.iter().fold(last, |sum, pair| sum.saturating_add(u64::from(u16::from_be_bytes(*pair))))
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff).saturating_add(sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests;
