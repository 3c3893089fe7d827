//! Where packets come from. A [`Source`] fills [`Block`]s; it knows nothing of TCP.

use crate::decode::segment::PacketId;
use crate::time::{Span, Timestamp};

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
    /// How its first octets are to be read.
    pub link: LinkType,
    /// Length on the wire, octets.
    pub original_length: u32,
    /// What was captured of it.
    pub data: &'a [u8],
}

/// A run of packets in stream order: the buffer and where the packets lie in it. Reused from read to read.
#[derive(Debug, Default)]
pub struct Block {
    /// The octets of the packets, with whatever framing lies between.
    data: Vec<u8>,
    /// Where each packet lies.
    records: Vec<Record>,
}

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
}

impl Block {
    /// The packets, in stream order.
    pub fn packets(&self) -> impl ExactSizeIterator<Item = Packet<'_>> + '_ {
        self.records.iter().map(|r| Packet {
            id: r.id,
            time: r.time,
            timed: r.timed,
            link: r.link,
            original_length: r.original,
            data: &self.data[r.offset as usize..r.offset as usize + r.captured as usize],
        })
    }
}

/// A stream of packets: a file, a pipe, several files merged in time order, an interface.
pub trait Source: Send {
    /// Replaces the contents of `block` by the next run of packets; `false` at the end of the stream.
    ///
    /// Damage is not an error here: the packets before it are delivered, then the input ends and its
    /// [`Status::damage`] says why. The other inputs go on.
    fn next_block(&mut self, block: &mut Block) -> bool;

    /// What is known of each input so far; complete after the end.
    fn status(&self) -> Vec<Status>;
}

/// What is known of one input.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// As given on the command line; `-` is standard input.
    pub path: String,
    /// `pcap`, `pcap-ns`, `pcap-modified`, `pcapng`, with the compression after it: `pcapng.gz`.
    pub format: String,
    /// Packets delivered.
    pub packets: u64,
    /// Earliest and latest time of a packet that has one.
    pub times: Option<(Timestamp, Timestamp)>,
    /// Packets that the capturing system dropped, where the file tells.
    pub dropped: Option<u64>,
    /// Where the packets' own octets end: the smallest snapshot length declared, octets; 0 when none.
    pub snaplen: u32,
    /// Octets of the input consumed (compressed octets where it is compressed) and its size if known: for progress.
    pub position: (u64, Option<u64>),
    /// Why reading stopped before the end, if it did: one message that says where and what was expected.
    pub damage: Option<String>,
    /// Anything else worth a line: link types named, unknown blocks, sections skipped.
    pub warnings: Vec<String>,
}

/// A stretch without a single packet, longer than [`QUIET`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Silence {
    /// The last packet before it.
    pub from: Timestamp,
    /// The first packet after it.
    pub to: Timestamp,
}

/// A stretch without packets shorter than this is not worth noting.
pub const QUIET: Span = Span::secs(30);
