//! Where the headers of a packet lie: the walk of the decoder notes it for redaction.

use std::ops::Range;

use super::rest::Rest;

/// A header of a packet, or a part of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeaderPart {
    /// What lies there.
    pub kind: PartKind,
    /// Which bytes of the packet; not all of them may have been captured.
    pub bytes: Range<usize>,
}

/// The kind of data in a part of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartKind {
    /// Data that identifies nobody: types, lengths, labels, tags.
    Plain,
    /// Addresses of frames, names, options: they may identify hosts, people and devices. The decoder needs none of
    /// them.
    Names,
    /// A checksum that covers more than the rest of the packet; 0 means that the sender computed none.
    Checksum,
    /// Data in the place of an IP header that, by its first byte, is not one.
    NoIp,
    /// The first 20 bytes of an IPv4 header.
    Ipv4,
    /// Its options.
    Ipv4Options,
    /// An IPv6 header without its extensions.
    Ipv6,
    /// An extension header with options, routes or the like. The walk reads only the jumbo payload option in it.
    Extension,
    /// The header of an ICMP message.
    Icmp,
    /// The header of an ICMPv6 message.
    Icmp6 {
        /// Bytes of the whole message.
        length: usize,
    },
    /// A TCP header with its options, or the beginning of one that an ICMP error quotes.
    Tcp {
        /// Bytes of the whole segment on the wire.
        length: usize,
    },
}

/// The parts of one packet, in the order in which the walk came to them.
pub(super) struct HeaderParts<'p> {
    /// The address of the packet's first byte.
    origin: usize,
    parts: &'p mut Vec<HeaderPart>,
}

impl<'p> HeaderParts<'p> {
    pub(super) fn of(packet: &[u8], parts: &'p mut Vec<HeaderPart>) -> HeaderParts<'p> {
        parts.clear();
        HeaderParts { origin: packet.as_ptr().addr(), parts }
    }

    /// Notes the bytes `within` of `rest`.
    #[cold]
    pub(super) fn push(&mut self, kind: PartKind, rest: Rest<'_>, within: Range<usize>) {
        // `rest` is a part of the packet, so its address is not below that of the packet.
        let begin = rest.data.as_ptr().addr().saturating_sub(self.origin);
        let bytes = begin.saturating_add(within.start)..begin.saturating_add(within.end);
        self.parts.push(HeaderPart { kind, bytes });
    }

    pub(super) fn count(&self) -> usize {
        self.parts.len()
    }

    /// Drops all but the first `count`.
    pub(super) fn truncate(&mut self, count: usize) {
        self.parts.truncate(count);
    }
}
