//! The progress of an input, and what limits its use.

use crate::time::Timestamp;

/// The status of one input.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct InputStatus {
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
    /// The length at which packets were cut: the smallest snapshot length declared, bytes; 0 when none.
    pub snaplen: u32,
    /// The interfaces that a pcapng describes, those of all its sections one after the other, the first
    /// [`OTHER_INTERFACES`] of them. Their texts are as they stand in the file: hostile.
    pub interfaces: Vec<InterfaceText>,
    /// Bytes of the input consumed (compressed bytes where it is compressed) and its size if known: for progress.
    pub position: (u64, Option<u64>),
    /// Why the input could not be read to its end. One message, beginning with the path: the place, and the expected
    /// data. It may have a second line, indented by two spaces.
    pub damage: Option<String>,
    /// Other warnings: a clock that jumps back, unknown blocks, packets out of order.
    pub warnings: Vec<String>,
}

/// The properties of an interface by a pcapng; empty if it has none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct InterfaceText {
    /// `eth0`.
    pub name: String,
    /// A comment that a person wrote.
    pub description: String,
}

/// [`Packet::interface`](super::Packet::interface) of all interfaces from this one on.
pub const OTHER_INTERFACES: u8 = u8::MAX;
