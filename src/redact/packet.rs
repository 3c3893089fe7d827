//! One packet's octets without what must not leave: kept as far as its layers are understood, ended there.
//!
//! Only what is known to be harmless passes. A link type, a tunnel or a protocol that this walk does not know ends the
//! packet before it, whatever [`crate::decode`] may know of it.

mod link;
mod tunnel;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::pseudonym::Pseudonyms;
use crate::capture::LinkType;
use crate::fault::{self, Fault};

/// What becomes of the octets behind the TCP header.
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

/// The walk over one packet: its octets, and how deep it is.
struct Walk<'d, 'p> {
    data: &'d mut [u8],
    /// Octets on the wire.
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
            walk.link(link.0, 0)
        });
        match kept {
            Ok(kept) => kept.min(data.len()),
            Err(fault) => {
                self.fault = Some(fault);
                0
            }
        }
    }
}

/// Where a packet ends is an octet's place: each layer gives the place up to which it may stay.
impl Walk<'_, '_> {
    fn be16(&self, at: usize) -> Option<u16> {
        Some(u16::from_be_bytes([*self.data.get(at)?, *self.data.get(at + 1)?]))
    }

    fn octet(&self, at: usize) -> Option<u8> {
        self.data.get(at).copied()
    }

    /// Zeros, where addresses are replaced: MAC addresses, names, options.
    fn blank(&mut self, at: usize, octets: usize) {
        let end = self.data.len().min(at + octets);
        if self.pseudonyms.is_some() && at < end {
            self.data[at..end].fill(0);
        }
    }

    /// Zeros, also where addresses stay: what tells of the payload.
    fn clear(&mut self, at: usize, bytes: usize) {
        if let Some(field) = self.data.get_mut(at..at.saturating_add(bytes)) {
            field.fill(0);
        }
    }

    /// One layer deeper; `false` where it is deep enough.
    fn enter(&mut self) -> bool {
        self.layers += 1;
        self.layers <= MOST_LAYERS
    }

    fn ip(&mut self, at: usize) -> usize {
        match self.octet(at).map(|first| first >> 4) {
            _ if !self.enter() => at,
            Some(4) => self.v4(at),
            Some(6) => self.v6(at),
            _ => at,
        }
    }

    fn v4(&mut self, at: usize) -> usize {
        let Some(first) = self.octet(at) else { return at };
        let header = usize::from(first & 0x0f) * 4;
        if header < 20 || self.data.len() < at + header {
            return at;
        }
        let change = self.addresses(at + 12, 4);
        if self.pseudonyms.is_some() {
            // Options may hold addresses (routes recorded or prescribed): each becomes "no operation".
            let mut change = change;
            for pair in (at + 20..at + header).step_by(2) {
                change.replace(&self.data[pair..pair + 2], &[1, 1]);
                self.data[pair..pair + 2].fill(1);
            }
            self.adjust(at + 10, change);
        }
        let total = usize::from(self.be16(at + 2).unwrap_or(0));
        let payload = if total == 0 { self.wire - at - header } else { total.saturating_sub(header) };
        // A later fragment has no header to keep.
        if self.be16(at + 6).unwrap_or(0) & 0x1fff != 0 {
            return at + header;
        }
        self.protocol(self.data[at + 9], at + header, Pseudo { length: payload, change })
    }

    fn v6(&mut self, at: usize) -> usize {
        if self.data.len() < at + 40 {
            return at;
        }
        let change = self.addresses(at + 8, 16);
        let length = usize::from(self.be16(at + 4).unwrap_or(0));
        let end = if length == 0 { self.wire } else { at + 40 + length };
        let (mut next, mut place) = (self.data[at + 6], at + 40);
        loop {
            let octets = match (next, self.octet(place), self.octet(place + 1)) {
                // Options, routes, mobility, HIP, shim6: they may hold addresses and anything else.
                (0 | 43 | 60 | 135 | 139 | 140, Some(_), Some(length)) => {
                    let octets = (usize::from(length) + 1) * 8;
                    self.blank_extension(place, octets);
                    octets
                }
                (44, Some(_), Some(_)) => {
                    if self.be16(place + 2).unwrap_or(0) & 0xfff8 != 0 {
                        return (place + 8).min(self.data.len());
                    }
                    8
                }
                (51, Some(_), Some(length)) => {
                    let octets = (usize::from(length) + 2) * 4;
                    self.blank(place + 12, octets.saturating_sub(12));
                    octets
                }
                _ => break,
            };
            next = self.data[place];
            place += octets;
        }
        let length = end.saturating_sub(place);
        self.protocol(next, place, Pseudo { length, change })
    }

    /// An extension header loses all but its first two bytes and the length of a jumbogram, wherever that stands among
    /// the options. What is left reads as padding.
    fn blank_extension(&mut self, at: usize, octets: usize) {
        let jumbo = self.data.get(at + 2..at + octets).and_then(jumbo_option);
        self.blank(at + 2, octets - 2);
        if let Some((place, option)) = jumbo
            && let Some(field) = self.data.get_mut(at + 2 + place..).and_then(<[u8]>::first_chunk_mut::<6>)
        {
            *field = option;
        }
    }

    /// What an IP header carries at `at`.
    fn protocol(&mut self, protocol: u8, at: usize, pseudo: Pseudo) -> usize {
        match protocol {
            6 => self.tcp(at, pseudo),
            1 => self.icmp(at, |kind| matches!(kind, 3 | 4 | 11 | 12), 0),
            58 => {
                let covered = pseudo.change.new + ICMP_V6 + pseudo.length as u64;
                self.icmp(at, |kind| matches!(kind, 1..=4), covered)
            }
            4 | 41 => self.ip(at),
            17 => self.udp(at),
            47 => self.gre(at),
            // The authentication header of IPv4.
            51 => match (self.octet(at), self.octet(at + 1)) {
                (Some(next), Some(length)) if next != 51 => {
                    let octets = (usize::from(length) + 2) * 4;
                    self.blank(at + 12, octets.saturating_sub(12));
                    let length = pseudo.length.saturating_sub(octets);
                    self.protocol(next, at + octets, Pseudo { length, ..pseudo })
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

    fn tcp(&mut self, at: usize, pseudo: Pseudo) -> usize {
        let header = self.octet(at + 12).map_or(20, |octet| usize::from(octet >> 4) * 4).max(20);
        if header > pseudo.length {
            // It reaches into what is no part of the packet.
            return at;
        }
        let change = self.options(at + 20, at + header, pseudo.change);
        if let Some(field) = self.be16(at + 16) {
            // With transmit offload the field holds the pseudo-header's sum, not complemented.
            let own = pseudo.change.new + TCP + pseudo.length as u64;
            let before = pseudo.change.old + TCP + pseudo.length as u64;
            if field == fold(before) {
                self.put_be16(at + 16, fold(own));
            } else if pseudo.length > header {
                // It would tell a payload of one or two bytes, which is left out here.
                let end = self.data.len().min(at + header);
                self.put_be16(at + 16, 0);
                let left = self.data.get(at..end).map_or(0, words);
                self.put_be16(at + 16, !fold(own + left));
            } else {
                self.adjust(at + 16, change);
            }
        }
        at + header
    }

    /// Writes two bytes in network order, if they are there.
    fn put_be16(&mut self, at: usize, value: u16) {
        if let Some(field) = self.data.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>) {
            *field = value.to_be_bytes();
        }
    }

    /// TCP options from `at` to `end`, where addresses are replaced: those of RFC 9293, 7323 and 2018 stay, Fast Open
    /// keeps its length and loses its cookie, all others become "no operation". Load balancers write the client's
    /// address into one (TOA), MPTCP announces addresses in another.
    fn options(&mut self, at: usize, end: usize, mut change: Change) -> Change {
        let end = end.min(self.data.len());
        if self.pseudonyms.is_none() || at >= end {
            return change;
        }
        let list = &mut self.data[at..end];
        let before = list.to_vec();
        let mut place = 0;
        while place < list.len() {
            let (kind, length) = (list[place], list.get(place + 1).map_or(0, |length| usize::from(*length)));
            let whole = length >= 2 && place + length <= list.len();
            match (kind, length) {
                (1, _) => {
                    place += 1;
                    continue;
                }
                (0, _) => list[place..].fill(0),
                _ if !whole => list[place..].fill(0),
                (2, 4) | (3, 3) | (4, 2) | (8, 10) => {}
                (5, _) if length % 8 == 2 => {}
                (34, _) => list[place + 2..place + length].fill(0),
                (253 | 254, _) if list[place + 2..place + length].starts_with(&FAST_OPEN_MAGIC) => {
                    list[place + 4..place + length].fill(0);
                }
                _ => list[place..place + length].fill(1),
            }
            place = if kind == 0 || !whole { list.len() } else { place + length };
        }
        change.replace(&before, list);
        change
    }

    /// An ICMP message; of errors the quoted headers are kept. Its checksum, which covers the addresses quoted, becomes
    /// that of what is left; `covered` is what else it covers.
    fn icmp(&mut self, at: usize, quotes: fn(u8) -> bool, covered: u64) -> usize {
        let kept = match (self.octet(at), self.octet(at + 8)) {
            (Some(kind), _) if !quotes(kind) => at + 4,
            (Some(_), Some(first)) if matches!(first >> 4, 4 | 6) => self.ip(at + 8),
            _ => at + 8,
        };
        let end = kept.min(self.data.len());
        if end >= at + 4 {
            self.put_be16(at + 2, 0);
            let sum = self.data.get(at..end).map_or(0, words);
            self.put_be16(at + 2, !fold(covered + sum));
        }
        kept
    }

    /// Replaces the two addresses at `at`, of so many octets each.
    fn addresses(&mut self, at: usize, octets: usize) -> Change {
        let mut change = Change::default();
        let Some(pseudonyms) = self.pseudonyms.as_deref_mut() else {
            // They stay, and checksums cover them.
            let sum = self.data.get(at..at + 2 * octets).map_or(0, words);
            return Change { old: sum, new: sum };
        };
        for place in [at, at + octets] {
            let field = &mut self.data[place..place + octets];
            let before = field.to_vec();
            let address = match <[u8; 4]>::try_from(&*field) {
                Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
                Err(_) => {
                    let v6: [u8; 16] = (&*field).try_into().expect("an address has 4 or 16 octets");
                    IpAddr::V6(Ipv6Addr::from(v6))
                }
            };
            match pseudonyms.of(address) {
                IpAddr::V4(v4) => field.copy_from_slice(&v4.octets()),
                IpAddr::V6(v6) => field.copy_from_slice(&v6.octets()),
            }
            change.replace(&before, field);
        }
        change
    }

    /// Makes up for `change` in the checksum at `at`, so that a right one stays right and a wrong one wrong: RFC 1624.
    fn adjust(&mut self, at: usize, change: Change) {
        let Some(field) = self.be16(at) else { return };
        let sum = u64::from(!field) + u64::from(!fold(change.old)) + change.new;
        self.data[at..at + 2].copy_from_slice(&(!fold(sum)).to_be_bytes());
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
        self.old += words(before);
        self.new += words(after);
    }
}

/// What the checksum of a TCP segment covers besides it.
#[derive(Clone, Copy)]
struct Pseudo {
    length: usize,
    change: Change,
}

fn words(octets: &[u8]) -> u64 {
    octets
        .chunks(2)
        .map(|pair| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests;
