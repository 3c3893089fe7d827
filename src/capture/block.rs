//! Packets as the reader found them: a buffer, and where each packet lies in it.

use std::sync::Arc;

use crate::decode::segment::PacketId;
use crate::time::Timestamp;

/// A link-layer header type, as in <https://www.tcpdump.org/linktypes.html>.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct LinkType(pub u16);

/// One packet, borrowed from a [`Block`].
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Which packet it is.
    pub id: PacketId,
    /// When it was captured. A packet without a time of its own (pcapng simple packet block) has that of the packet
    /// before it and `timed` false.
    pub time: Timestamp,
    /// Whether the capture gives this packet a time.
    pub timed: bool,
    /// How its first bytes are to be read.
    pub link: LinkType,
    /// Its interface, as a place in [`InputStatus::interfaces`](super::InputStatus::interfaces); [`OTHER_INTERFACES`](super::OTHER_INTERFACES) from there on.
    pub interface: u8,
    /// Length on the wire, bytes.
    pub original_length: u32,
    /// Its captured bytes, or the first part of them: at least 64 KiB of a packet over 1 MiB, at least [`MERGED_BYTES`]
    /// where inputs that overlap in time are merged.
    pub data: &'a [u8],
}

/// A run of packets in stream order: the buffer and where the packets lie in it. Reused from read to read.
#[derive(Debug, Default)]
pub struct Block {
    /// The bytes of the packets, with the file's framing between them. Its length is the memory there is: bytes behind
    /// `filled` are left over from an earlier use, so that reuse needs no clearing.
    pub(super) data: Vec<u8>,
    /// How much of `data` is in use.
    pub(super) filled: usize,
    /// Where each packet lies.
    pub(super) records: Vec<PacketRecord>,
    /// Comments that this program wrote on packets earlier ([`NOTE`]).
    pub(super) notes: Vec<(PacketId, Box<str>)>,
}

/// How comments begin that this program writes on packets, and reads back.
pub const NOTE: &str = "synscope ";

/// How many bytes of a packet are kept at least where inputs that overlap in time are merged: headers, tunnels and
/// all. [`Packet::original_length`] is not touched by it.
pub const MERGED_BYTES: usize = 2048;

/// Turns a time of a source's own clock into one of another clock.
pub type Correction = Arc<dyn Fn(Timestamp) -> Timestamp + Send + Sync>;

/// Where a packet lies in its block.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketRecord {
    pub(super) id: PacketId,
    pub(super) time: Timestamp,
    pub(super) offset: u32,
    pub(super) captured: u32,
    pub(super) original: u32,
    pub(super) link: LinkType,
    pub(super) timed: bool,
    pub(super) interface: u8,
}

impl PacketRecord {
    /// The place after its packet.
    #[inline]
    pub(super) fn end(&self) -> usize {
        (self.offset as usize).saturating_add(self.captured as usize)
    }

    /// Moves the place of its packet by this much.
    #[inline]
    pub(super) fn move_by(&mut self, bytes: usize) {
        self.offset = self.offset.saturating_add(bytes as u32);
    }
}

impl Block {
    /// The packets, in stream order.
    pub fn packets(&self) -> impl ExactSizeIterator<Item = Packet<'_>> + '_ {
        self.records.iter().map(|r| self.packet(r))
    }

    /// Comments on packets that begin with [`NOTE`], as they stand in the file: they may be forged.
    pub fn notes(&self) -> &[(PacketId, Box<str>)] {
        &self.notes
    }

    /// How many packets there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no packet.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Removes all packets and keeps the memory.
    pub fn clear(&mut self) {
        self.records.clear();
        self.notes.clear();
        self.filled = 0;
    }

    /// Removes all packets after the first `packets`.
    pub fn truncate(&mut self, packets: usize) {
        self.records.truncate(packets);
    }

    /// Appends a copy of `packet`: for sources that get their packets one by one, and for tests.
    ///
    /// # Panics
    /// When the block would hold 4 GiB or more.
    pub fn push(&mut self, packet: &Packet<'_>) {
        let end = self.filled.saturating_add(packet.data.len());
        assert!(end <= u32::MAX as usize, "a block is smaller than 4 GiB");
        if self.data.len() < end {
            self.data.resize(end.max(self.data.len().saturating_mul(2)), 0);
        }
        if let Some(room) = self.data.get_mut(self.filled..end) {
            room.copy_from_slice(packet.data);
        }
        self.records.push(PacketRecord {
            id: packet.id,
            time: packet.time,
            offset: self.filled as u32,
            captured: packet.data.len() as u32,
            original: packet.original_length,
            link: packet.link,
            timed: packet.timed,
            interface: packet.interface,
        });
        self.filled = end;
    }

    /// Corrects the time of each packet to another clock.
    pub(super) fn correct_times(&mut self, correction: &Correction) {
        self.records.iter_mut().for_each(|r| r.time = correction(r.time));
    }

    pub(super) fn packet(&self, r: &PacketRecord) -> Packet<'_> {
        Packet {
            id: r.id,
            time: r.time,
            timed: r.timed,
            interface: r.interface,
            link: r.link,
            original_length: r.original,
            data: self.data.get(r.offset as usize..r.end()).unwrap_or_default(),
        }
    }
}
