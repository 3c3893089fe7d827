//! One packet's octets without what must not leave: kept as far as its layers are understood, ended there.
//!
//! Only what is known to be harmless passes. A link type, a tunnel or a protocol that this walk does not know ends the
//! packet before it, whatever [`crate::decode`] may know of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::pseudonym::Pseudonyms;
use crate::capture::LinkType;

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
}

// Link types: <https://www.tcpdump.org/linktypes.html>.
const NULL: u16 = 0;
const ETHERNET: u16 = 1;
const PPP: u16 = 9;
const RAW_BSD: u16 = 12;
const RAW_OPENBSD: u16 = 14;
const PPP_HDLC: u16 = 50;
const RAW: u16 = 101;
const LOOP: u16 = 108;
const LINUX_SLL: u16 = 113;
const IPV4: u16 = 228;
const IPV6: u16 = 229;
const LINUX_SLL2: u16 = 276;

/// TCP's number in the pseudo-header.
const TCP: u64 = 6;
/// Packets inside packets are followed this far.
const MOST_LAYERS: u8 = 8;

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
        Rewriter { payload, pseudonyms: None }
    }

    /// Strips payload, replaces addresses, zeroes MAC addresses.
    pub fn redacting(pseudonyms: Pseudonyms) -> Rewriter {
        Rewriter { payload: Payload::Strip, pseudonyms: Some(pseudonyms) }
    }

    /// The pseudonym of an address; the address itself where none are wanted.
    pub fn address(&mut self, address: IpAddr) -> IpAddr {
        self.pseudonyms.as_mut().map_or(address, |pseudonyms| pseudonyms.of(address))
    }

    /// Rewrites a packet in place and gives how many of its octets stay. On the wire it had `original_length` octets.
    pub fn rewrite(&mut self, link: LinkType, data: &mut [u8], original_length: u32) -> usize {
        if self.payload == Payload::Keep && self.pseudonyms.is_none() {
            return data.len();
        }
        let wire = data.len().max(original_length as usize);
        let mut walk = Walk { data, wire, pseudonyms: self.pseudonyms.as_mut(), layers: 0 };
        let kept = walk.link(link);
        kept.min(data.len())
    }
}

/// Where a packet ends is an octet's place: each layer gives the place up to which it may stay.
impl Walk<'_, '_> {
    fn link(&mut self, link: LinkType) -> usize {
        match link.0 {
            ETHERNET => self.ethernet(0),
            LINUX_SLL => {
                self.blank(6, 8);
                self.ethertype(14)
            }
            LINUX_SLL2 => {
                self.blank(12, 8);
                match self.be16(0) {
                    Some(kind) => self.typed(kind, 20),
                    None => 0,
                }
            }
            RAW | RAW_BSD | RAW_OPENBSD | IPV4 | IPV6 => self.ip(0),
            NULL | LOOP => self.ip(4),
            PPP | PPP_HDLC => self.ppp(0),
            _ => 0,
        }
    }

    fn be16(&self, at: usize) -> Option<u16> {
        Some(u16::from_be_bytes([*self.data.get(at)?, *self.data.get(at + 1)?]))
    }

    fn octet(&self, at: usize) -> Option<u8> {
        self.data.get(at).copied()
    }

    /// MAC addresses, where addresses are replaced.
    fn blank(&mut self, at: usize, octets: usize) {
        let end = self.data.len().min(at + octets);
        if self.pseudonyms.is_some() && at < end {
            self.data[at..end].fill(0);
        }
    }

    /// One layer deeper; `false` where it is deep enough.
    fn enter(&mut self) -> bool {
        self.layers += 1;
        self.layers <= MOST_LAYERS
    }

    fn ethernet(&mut self, at: usize) -> usize {
        self.blank(at, 12);
        self.ethertype(at + 12)
    }

    /// An Ethernet type at `at`, and what it announces behind it.
    fn ethertype(&mut self, at: usize) -> usize {
        match self.be16(at) {
            Some(kind) => self.typed(kind, at + 2),
            None => at,
        }
    }

    fn typed(&mut self, kind: u16, at: usize) -> usize {
        if !self.enter() {
            return at;
        }
        match kind {
            0x0800 | 0x86dd => self.ip(at),
            // VLAN tags.
            0x8100 | 0x88a8 | 0x9100 => self.ethertype(at + 2),
            0x8847 | 0x8848 => self.mpls(at),
            0x8864 => self.ppp(at + 6),
            // Ethernet inside GRE or Geneve.
            0x6558 => self.ethernet(at),
            _ => at,
        }
    }

    fn mpls(&mut self, mut at: usize) -> usize {
        while let Some(low) = self.octet(at + 2) {
            at += 4;
            // The bottom of the stack.
            if low & 1 != 0 {
                return self.ip(at);
            }
        }
        at
    }

    fn ppp(&mut self, mut at: usize) -> usize {
        if self.be16(at) == Some(0xff03) {
            at += 2;
        }
        match (self.octet(at), self.be16(at)) {
            (Some(0x21 | 0x57), _) => self.ip(at + 1),
            (_, Some(0x0021 | 0x0057)) => self.ip(at + 2),
            _ => at,
        }
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
                // A home address, a route: options with addresses in them.
                (43 | 60, ..) if self.pseudonyms.is_some() => return place,
                (0 | 43 | 60, Some(_), Some(length)) => (usize::from(length) + 1) * 8,
                (44, Some(_), Some(_)) => {
                    if self.be16(place + 2).unwrap_or(0) & 0xfff8 != 0 {
                        return (place + 8).min(self.data.len());
                    }
                    8
                }
                (51, Some(_), Some(length)) => (usize::from(length) + 2) * 4,
                _ => break,
            };
            next = self.data[place];
            place += octets;
        }
        let length = end.saturating_sub(place);
        self.protocol(next, place, Pseudo { length, change })
    }

    /// What an IP header carries at `at`.
    fn protocol(&mut self, protocol: u8, at: usize, pseudo: Pseudo) -> usize {
        match protocol {
            6 => self.tcp(at, pseudo),
            1 => self.icmp(at, |kind| matches!(kind, 3 | 4 | 11 | 12)),
            58 => self.icmp(at, |kind| matches!(kind, 1..=4)),
            4 | 41 => self.ip(at),
            47 => self.gre(at),
            17 => match self.be16(at + 2) {
                Some(4789 | 8472) => self.ethernet(at + 16),
                Some(6081) => match self.octet(at + 8) {
                    Some(first) => {
                        // Options are for the tunnel's ends to know.
                        self.blank(at + 16, usize::from(first & 0x3f) * 4);
                        match self.be16(at + 10) {
                            Some(kind) => self.typed(kind, at + 16 + usize::from(first & 0x3f) * 4),
                            None => at + 8,
                        }
                    }
                    None => at + 8,
                },
                _ => at + 8,
            },
            _ => at,
        }
    }

    fn gre(&mut self, at: usize) -> usize {
        let (Some(flags), Some(kind)) = (self.be16(at), self.be16(at + 2)) else { return at };
        // Version 0 without source routes.
        if flags & 0x4007 != 0 {
            return at + 4;
        }
        let optional = [0x8000, 0x2000, 0x1000].iter().filter(|bit| flags & **bit != 0).count();
        self.typed(kind, at + 4 + 4 * optional)
    }

    fn tcp(&mut self, at: usize, pseudo: Pseudo) -> usize {
        let header = self.octet(at + 12).map_or(20, |octet| usize::from(octet >> 4) * 4).max(20);
        if self.pseudonyms.is_some()
            && let Some(field) = self.be16(at + 16)
        {
            // With transmit offload the field holds the pseudo-header's sum, not complemented.
            let own = pseudo.change.new + TCP + pseudo.length as u64;
            let before = pseudo.change.old + TCP + pseudo.length as u64;
            if field == fold(before) {
                self.data[at + 16..at + 18].copy_from_slice(&fold(own).to_be_bytes());
            } else {
                self.adjust(at + 16, pseudo.change);
            }
        }
        at + header
    }

    /// An ICMP message; of errors the quoted headers are kept.
    fn icmp(&mut self, at: usize, quotes: fn(u8) -> bool) -> usize {
        if !self.octet(at).is_some_and(quotes) {
            return at + 4;
        }
        match self.octet(at + 8) {
            Some(first) if matches!(first >> 4, 4 | 6) => self.ip(at + 8),
            _ => at + 8,
        }
    }

    /// Replaces the two addresses at `at`, of so many octets each.
    fn addresses(&mut self, at: usize, octets: usize) -> Change {
        let mut change = Change::default();
        let Some(pseudonyms) = self.pseudonyms.as_deref_mut() else { return change };
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

/// The sums, not folded, of what was there and of what is there now.
#[derive(Clone, Copy, Default)]
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
