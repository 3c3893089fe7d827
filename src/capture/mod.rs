//! Where packets come from. A [`Source`] fills [`Block`]s; it knows nothing of TCP.
//!
//! ```text
//!  bytes (stream, compress)  ->  records (pcap, pcapng)  ->  one input (reader)  ->  inputs in time order (order)
//! ```
//!
//! [`open`] is the way in. Memory is bounded by the number of inputs that overlap in time, never by their size:
//! an input is read into the block that is handed out, and nothing of it is kept.

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

use crate::decode::segment::PacketId;
use crate::time::{Span, Timestamp};

mod clock;
mod compress;
#[cfg(feature = "fleet")]
pub mod extent;
pub mod feed;
#[cfg(libpcap_at_run_time)]
mod libpcap;
pub(crate) mod link_types;
#[cfg(feature = "live")]
pub mod live;
#[cfg(test)]
mod made;
mod memory;
mod message;
mod open;
mod order;
mod part;
mod pcap;
mod pcapng;
mod reader;
mod silence;
pub mod steady;
mod stop;
mod stream;
#[cfg(test)]
mod tests;

pub use memory::MemorySource;
pub use open::{OpenError, Opened, open, open_some, open_until};
pub use part::{Part, Settled};
pub use silence::Silences;
pub use stop::Stop;

/// A link-layer header type, as in <https://www.tcpdump.org/linktypes.html>.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
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
    /// Its interface, as a place in [`Status::interfaces`]; [`OTHER_INTERFACES`] from there on.
    pub interface: u8,
    /// Length on the wire, bytes.
    pub original_length: u32,
    /// What was captured of it, or its first part: at least 64 KiB of a packet over 1 MiB, at least
    /// [`MERGED_BYTES`] where inputs that overlap in time are merged.
    pub data: &'a [u8],
}

/// A run of packets in stream order: the buffer and where the packets lie in it. Reused from read to read.
#[derive(Debug, Default)]
pub struct Block {
    /// The bytes of the packets, with whatever framing lies between. Its length is the room there is: what lies
    /// behind `filled` is left over from an earlier use, so that reuse costs no clearing.
    data: Vec<u8>,
    /// How much of `data` is in use.
    filled: usize,
    /// Where each packet lies.
    records: Vec<Record>,
    /// Comments that this program wrote on packets earlier ([`NOTE`]).
    notes: Vec<(PacketId, Box<str>)>,
}

/// How comments begin that this program writes on packets, and reads back.
pub const NOTE: &str = "synscope ";

/// Where a packet lies in its block.
#[derive(Clone, Copy, Debug)]
struct Record {
    id: PacketId,
    time: Timestamp,
    offset: u32,
    captured: u32,
    original: u32,
    link: LinkType,
    timed: bool,
    interface: u8,
}

/// The 32 bits that a word of a file holds.
#[inline(always)]
fn number(word: &[u8; 4], big_endian: bool) -> u32 {
    if big_endian { u32::from_be_bytes(*word) } else { u32::from_le_bytes(*word) }
}

impl Record {
    /// The place behind its packet.
    #[inline]
    fn end(&self) -> usize {
        (self.offset as usize).saturating_add(self.captured as usize)
    }

    /// Its packet lies that much further on.
    #[inline]
    fn move_by(&mut self, bytes: usize) {
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

    /// Takes all packets out and keeps the room.
    pub fn clear(&mut self) {
        self.records.clear();
        self.notes.clear();
        self.filled = 0;
    }

    /// Takes out all packets behind the first `packets`.
    pub fn truncate(&mut self, packets: usize) {
        self.records.truncate(packets);
    }

    /// Appends a copy of `packet`: for sources that have their packets one by one, and for tests.
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
        self.records.push(Record {
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

    fn packet(&self, r: &Record) -> Packet<'_> {
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

/// A stream of packets: a file, a pipe, several files merged in time order, an interface.
pub trait Source: Send {
    /// Replaces the contents of `block` by the next run of packets; `false` at the end of the stream.
    ///
    /// Damage is not an error here: the packets before it are delivered, then the input ends and its
    /// [`Status::damage`] says why. The other inputs go on.
    fn next_block(&mut self, block: &mut Block) -> bool;

    /// The status of each input so far; complete after the end. One per input, in the order given, so that
    /// [`PacketId::capture`] is the place in this list; an input that could not be opened is there with its damage.
    fn status(&self) -> Vec<Status>;

    /// The intervals longer than [`QUIET`] without a packet in the stream so far, in time order; of more than
    /// [`Silences::KEPT`] the longest. A source that keeps no account of them has none.
    fn silences(&self) -> Vec<Silence> {
        Vec::new()
    }

    /// Another way to read the stream, for several threads at once: its next part of about `bytes`, to be read by any
    /// of them. `None` when those that are out must be given back first; with none out, at the end of the stream, and
    /// always where it can only be read in turn. Not to be mixed with [`Source::next_block`].
    fn next_part(&mut self, bytes: u64) -> Option<Part> {
        let _ = bytes;
        None
    }

    /// Takes back a part that has been read to its end. All are to be given back, in the order in which they came.
    fn give_back(&mut self, part: Part) -> Settled {
        drop(part);
        Settled::Beyond
    }
}

/// The status of one input.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Status {
    /// As given on the command line; `-` is standard input.
    pub path: String,
    /// `pcap`, `pcap-ns`, `pcap-modified`, `pcapng`, with the compression after it: `pcapng.gz`.
    pub format: String,
    /// Packets delivered.
    pub packets: u64,
    /// Earliest and latest time of a packet that has one.
    pub times: Option<(Timestamp, Timestamp)>,
    /// Packets that the capturing system dropped, where the file tells: pcapng interface statistics and the drop
    /// counts of its packets, whichever is more, summed over the interfaces.
    pub dropped: Option<u64>,
    /// How often the clock stepped back, by more than packets out of order explain.
    pub clock_jumps: u64,
    /// Where the packets' own bytes end: the smallest snapshot length declared, bytes; 0 when none.
    pub snaplen: u32,
    /// The interfaces that a pcapng describes, those of all its sections one after the other, the first
    /// [`OTHER_INTERFACES`] of them. Their texts are as they stand in the file: hostile.
    pub interfaces: Vec<InterfaceText>,
    /// Bytes of the input consumed (compressed bytes where it is compressed) and its size if known: for progress.
    pub position: (u64, Option<u64>),
    /// Why not everything could be read, if so: one message that says where and what was expected, beginning with
    /// the path. It may have a second line, indented by two spaces.
    pub damage: Option<String>,
    /// Anything else worth a line: a clock that jumps back, unknown blocks, packets out of order.
    pub warnings: Vec<String>,
}

/// An interval without a single packet, longer than [`QUIET`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Silence {
    /// The last packet before it.
    pub from: Timestamp,
    /// The first packet after it.
    pub to: Timestamp,
}

/// What a pcapng says of an interface; empty where it says nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct InterfaceText {
    /// `eth0`.
    pub name: String,
    /// Whatever somebody wrote there.
    pub description: String,
}

/// [`Packet::interface`] of all interfaces from this one on.
pub const OTHER_INTERFACES: u8 = u8::MAX;

/// An interval without packets shorter than this is not worth noting.
pub const QUIET: Span = Span::secs(30);

/// How many bytes of a packet are kept at least where inputs that overlap in time are merged: headers, tunnels and
/// all. [`Packet::original_length`] is not touched by it.
pub const MERGED_BYTES: usize = 2048;
