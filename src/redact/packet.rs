//! One packet's bytes without what must not leave: kept as far as its layers are understood, ended there.
//!
//! Only what is known to be harmless passes. A link type, a tunnel or a protocol that this walk does not know ends the
//! packet before it, whatever [`crate::decode`] may know of it.

mod link;
mod tunnel;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::{Add, AddAssign};

use super::pseudonym::Pseudonyms;
use crate::capture::LinkType;
use crate::fault::{self, Fault};

/// What becomes of the bytes behind the TCP header.
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
}

/// TCP's number in the pseudo-header.
const TCP: u64 = 6;
/// ICMPv6's.
const ICMP_V6: u64 = 58;
/// Magic number of the experimental Fast Open option, RFC 7413 appendix A.
const FAST_OPEN_MAGIC: [u8; 2] = [0xf9, 0x89];
/// Packets inside packets are followed this far.
const MOST_LAYERS: u8 = 24;

/// A place in a packet. It may lie behind the end, and adding to it cannot fail: what is not there is neither read nor
/// written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place(usize);

impl Add<usize> for Place {
    type Output = Place;

    fn add(self, bytes: usize) -> Place {
        Place(self.0.saturating_add(bytes))
    }
}

impl AddAssign<usize> for Place {
    fn add_assign(&mut self, bytes: usize) {
        *self = *self + bytes;
    }
}

/// The walk over one packet: its bytes, and how deep it is.
struct Walk<'d, 'p> {
    data: &'d mut [u8],
    /// Bytes on the wire.
    wire: usize,
    pseudonyms: Option<&'p mut Pseudonyms>,
    layers: u8,
}

impl Rewriter {
    /// Strips payload or keeps it, and keeps addresses.
    pub fn new(payload: Payload) -> Rewriter {
        Rewriter { payload, pseudonyms: None, fault: None }
    }

    /// Strips payload, replaces addresses, zeroes MAC addresses.
    pub fn redacting(pseudonyms: Pseudonyms) -> Rewriter {
        Rewriter { payload: Payload::Strip, pseudonyms: Some(pseudonyms), fault: None }
    }

    /// The pseudonym of an address; the address itself where none are wanted.
    pub fn address(&mut self, address: IpAddr) -> IpAddr {
        self.pseudonyms.as_mut().map_or(address, |pseudonyms| pseudonyms.of(address))
    }

    /// The fault at which a packet lost all of its bytes, told once.
    pub fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    /// Rewrites a packet in place and gives how many of its bytes stay. On the wire it had `original_length` bytes. Of a
    /// packet at which the program fails nothing stays.
    pub fn rewrite(&mut self, link: LinkType, data: &mut [u8], original_length: u32) -> usize {
        if self.payload == Payload::Keep && self.pseudonyms.is_none() {
            return data.len();
        }
        let wire = data.len().max(original_length as usize);
        let mut walk = Walk { data, wire, pseudonyms: self.pseudonyms.as_mut(), layers: 0 };
        let kept = fault::contain(|| {
            #[cfg(test)]
            assert!((link, &*walk.data) != crate::decode::tests::FATAL, "a packet that a test makes fatal");
            walk.link(link.0, Place(0))
        });
        match kept {
            Ok(Place(kept)) => kept.min(data.len()),
            Err(fault) => {
                self.fault = Some(fault);
                0
            }
        }
    }
}

/// Where a packet ends is the place of a byte: each layer gives the place up to which it may stay.
impl Walk<'_, '_> {
    /// The `N` bytes at `at`.
    fn bytes<const N: usize>(&self, at: Place) -> Option<[u8; N]> {
        self.data.get(at.0..)?.first_chunk().copied()
    }

    fn be16(&self, at: Place) -> Option<u16> {
        self.bytes(at).map(u16::from_be_bytes)
    }

    fn byte(&self, at: Place) -> Option<u8> {
        self.data.get(at.0).copied()
    }

    /// Whether all bytes before `end` were captured.
    fn reaches(&self, end: Place) -> bool {
        end.0 <= self.data.len()
    }

    /// The bytes from `at` up to `end`, as far as they were captured.
    fn between(&mut self, at: Place, end: Place) -> &mut [u8] {
        let end = end.0.min(self.data.len());
        self.data.get_mut(at.0..end).unwrap_or_default()
    }

    /// The sum of the words there.
    fn sum(&mut self, at: Place, end: Place) -> u64 {
        words(self.between(at, end))
    }

    /// Zeros, where addresses are replaced: MAC addresses, names, options.
    fn blank(&mut self, at: Place, bytes: usize) {
        self.blank_between(at, at + bytes);
    }

    /// The same, up to `end`.
    fn blank_between(&mut self, at: Place, end: Place) {
        if self.pseudonyms.is_some() {
            self.between(at, end).fill(0);
        }
    }

    /// Zeros, also where addresses stay: what tells of the payload.
    fn clear(&mut self, at: Place, bytes: usize) {
        self.between(at, at + bytes).fill(0);
    }

    /// One layer deeper; `false` where it is deep enough.
    fn enter(&mut self) -> bool {
        self.layers = self.layers.saturating_add(1);
        self.layers <= MOST_LAYERS
    }

    fn ip(&mut self, at: Place) -> Place {
        match self.byte(at).map(|first| first >> 4) {
            _ if !self.enter() => at,
            Some(4) => self.v4(at),
            Some(6) => self.v6(at),
            _ => at,
        }
    }

    fn v4(&mut self, at: Place) -> Place {
        let Some(first) = self.byte(at) else { return at };
        let header = usize::from(first & 0x0f) * 4;
        let body = at + header;
        if header < 20 || !self.reaches(body) {
            return at;
        }
        let change = self.addresses(at + 12, 4);
        if self.pseudonyms.is_some() {
            // Options may hold addresses (routes recorded or prescribed): each becomes "no operation".
            let mut change = change;
            let options = self.between(at + 20, body);
            let before = options.to_vec();
            options.fill(1);
            change.replace(&before, options);
            self.adjust(at + 10, change);
        }
        let total = usize::from(self.be16(at + 2).unwrap_or(0));
        let payload =
            if total == 0 { self.wire.saturating_sub(body.0) } else { total.saturating_sub(header) };
        // A later fragment has no header to keep.
        if self.be16(at + 6).unwrap_or(0) & 0x1fff != 0 {
            return body;
        }
        let Some(protocol) = self.byte(at + 9) else { return at };
        self.protocol(protocol, body, Pseudo { length: payload, change })
    }

    fn v6(&mut self, at: Place) -> Place {
        let Some(next) = self.byte(at + 6).filter(|_| self.reaches(at + 40)) else { return at };
        let change = self.addresses(at + 8, 16);
        let length = usize::from(self.be16(at + 4).unwrap_or(0));
        let end = if length == 0 { Place(self.wire) } else { at + 40 + length };
        let (mut next, mut place) = (next, at + 40);
        loop {
            let bytes = match (next, self.byte(place), self.byte(place + 1)) {
                // Options, routes, mobility, HIP, shim6: they may hold addresses and anything else.
                (0 | 43 | 60 | 135 | 139 | 140, Some(_), Some(length)) => {
                    let bytes = usize::from(length).saturating_add(1) << 3;
                    self.blank_extension(place, bytes);
                    bytes
                }
                (44, Some(_), Some(_)) => {
                    if self.be16(place + 2).unwrap_or(0) & 0xfff8 != 0 {
                        return place + 8;
                    }
                    8
                }
                (51, Some(_), Some(length)) => {
                    let bytes = usize::from(length).saturating_add(2) << 2;
                    self.blank(place + 12, bytes.saturating_sub(12));
                    bytes
                }
                _ => break,
            };
            let Some(after) = self.byte(place) else { break };
            next = after;
            place += bytes;
        }
        let length = end.0.saturating_sub(place.0);
        self.protocol(next, place, Pseudo { length, change })
    }

    /// An extension header loses all but its first two bytes and the length of a jumbogram, wherever that stands among
    /// the options. What is left reads as padding.
    fn blank_extension(&mut self, at: Place, bytes: usize) {
        let options = at + 2;
        let jumbo = jumbo_option(self.between(options, at + bytes));
        self.blank_between(options, at + bytes);
        if let Some((place, option)) = jumbo {
            let place = options + place;
            self.between(place, place + option.len()).copy_from_slice(&option);
        }
    }

    /// What an IP header carries at `at`.
    fn protocol(&mut self, protocol: u8, at: Place, pseudo: Pseudo) -> Place {
        match protocol {
            6 => self.tcp(at, pseudo),
            1 => self.icmp(at, |kind| matches!(kind, 3 | 4 | 11 | 12), 0),
            58 => {
                let covered = pseudo.with(pseudo.change.new, ICMP_V6);
                self.icmp(at, |kind| matches!(kind, 1..=4), covered)
            }
            4 | 41 => self.ip(at),
            17 => self.udp(at),
            47 => self.gre(at),
            // The authentication header of IPv4.
            51 => match (self.byte(at), self.byte(at + 1)) {
                (Some(next), Some(length)) if next != 51 => {
                    let bytes = usize::from(length).saturating_add(2) << 2;
                    self.blank(at + 12, bytes.saturating_sub(12));
                    let length = pseudo.length.saturating_sub(bytes);
                    self.protocol(next, at + bytes, Pseudo { length, ..pseudo })
                }
                _ => at,
            },
            // EtherIP, MPLS and Ethernet directly in IP.
            97 => self.ethernet_inside(at + 2),
            137 => self.mpls(at),
            143 => self.ethernet_inside(at),
            _ => at,
        }
    }

    fn tcp(&mut self, at: Place, pseudo: Pseudo) -> Place {
        let header = self.byte(at + 12).map_or(20, |byte| usize::from(byte >> 4) << 2).max(20);
        if header > pseudo.length {
            // It reaches into what is no part of the packet.
            return at;
        }
        let change = self.options(at + 20, at + header, pseudo.change);
        if let Some(field) = self.be16(at + 16) {
            // With transmit offload the field holds the pseudo-header's sum, not complemented.
            let own = pseudo.with(pseudo.change.new, TCP);
            let before = pseudo.with(pseudo.change.old, TCP);
            if field == fold(before) {
                self.put_be16(at + 16, fold(own));
            } else if pseudo.length > header {
                // It would tell a payload of one or two bytes, which is left out here.
                self.put_be16(at + 16, 0);
                let left = self.sum(at, at + header);
                self.put_be16(at + 16, !fold(own.saturating_add(left)));
            } else {
                self.adjust(at + 16, change);
            }
        }
        at + header
    }

    /// Writes two bytes in network order, if they are there.
    fn put_be16(&mut self, at: Place, value: u16) {
        if let Some(field) = self.data.get_mut(at.0..).and_then(<[u8]>::first_chunk_mut::<2>) {
            *field = value.to_be_bytes();
        }
    }

    /// TCP options from `at` to `end`, where addresses are replaced: those of RFC 9293, 7323 and 2018 stay, Fast Open
    /// keeps its length and loses its cookie, all others become "no operation". Load balancers write the client's
    /// address into one (TOA), MPTCP announces addresses in another.
    fn options(&mut self, at: Place, end: Place, mut change: Change) -> Change {
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

    /// An ICMP message; of errors the quoted headers are kept. Its checksum, which covers the addresses quoted, becomes
    /// that of what is left; `covered` is what else it covers.
    fn icmp(&mut self, at: Place, quotes: fn(u8) -> bool, covered: u64) -> Place {
        let kept = match (self.byte(at), self.byte(at + 8)) {
            (Some(kind), _) if !quotes(kind) => at + 4,
            (Some(_), Some(first)) if matches!(first >> 4, 4 | 6) => self.ip(at + 8),
            _ => at + 8,
        };
        self.put_be16(at + 2, 0);
        let sum = self.sum(at, kept);
        self.put_be16(at + 2, !fold(covered.saturating_add(sum)));
        kept
    }

    /// Replaces the two addresses at `at`, of so many bytes each.
    fn addresses(&mut self, at: Place, bytes: usize) -> Change {
        let mut change = Change::default();
        let Some(pseudonyms) = self.pseudonyms.as_deref_mut() else {
            // They stay, and checksums cover them.
            let sum = self.sum(at, at + bytes + bytes);
            return Change { old: sum, new: sum };
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

    /// Makes up for `change` in the checksum at `at`, so that a right one stays right and a wrong one wrong: RFC 1624.
    fn adjust(&mut self, at: Place, change: Change) {
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

/// The sums, not folded, of what was there and of what is there now.
#[derive(Clone, Copy, Debug, Default)]
struct Change {
    old: u64,
    new: u64,
}

impl Change {
    fn replace(&mut self, before: &[u8], after: &[u8]) {
        self.old = self.old.saturating_add(words(before));
        self.new = self.new.saturating_add(words(after));
    }
}

/// What the checksum of a TCP segment covers besides it.
#[derive(Clone, Copy)]
struct Pseudo {
    length: usize,
    change: Change,
}

impl Pseudo {
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
