//! The result of looking for records in a window of bytes: records, a part of one, or damage.

use super::block::PacketRecord;
use super::message::GroupedDigits;
use crate::decode::segment::PacketId;

/// Records up to this length are read whole. Longer ones are skipped, and their beginning is kept, see [`kept_of`].
pub(super) const LONG: usize = 1 << 20;

/// A record that says it is longer than this is damaged, bytes.
pub(super) const RECORD_LIMIT: usize = 256 << 20;

/// How much of a packet is kept, of the `captured` bytes of a record longer than [`LONG`].
pub(super) fn kept_of(captured: u32) -> u32 {
    captured.min(64 << 10)
}

/// The data after the records indexed so far.
#[derive(Debug)]
pub(super) enum NextRecord {
    /// The beginning of a record; it can be read on when this many bytes of it are there.
    Need(usize),
    /// A record longer than [`LONG`].
    Long(LongRecord),
    /// Data that cannot be read.
    Damage(RecordDamage),
}

/// A record longer than [`LONG`], of which the beginning is in the window.
#[derive(Debug)]
pub(super) struct LongRecord {
    /// Its length, bytes.
    pub length: u64,
    /// The packet in it, cut to the kept length.
    pub record: Option<PacketRecord>,
    /// Whether it has a packet number.
    pub numbered: bool,
    /// How it must end, if that is known.
    pub trailer: Option<[u8; 4]>,
}

/// The error in a record.
#[derive(Debug)]
pub(super) enum RecordDamage {
    /// A length that no record has.
    Length {
        /// The length that it states, bytes.
        claimed: u64,
        /// The longest that is believed, bytes.
        limit: u64,
    },
    /// Anything else, to be read after "block at byte 7 ".
    Other(String),
}

impl RecordDamage {
    /// The length at the end of a block is not that at its start.
    #[cold]
    pub(super) fn lengths(first: u32, last: u32) -> RecordDamage {
        let (first, last) = (GroupedDigits(first.into()), GroupedDigits(last.into()));
        RecordDamage::Other(format!("says it is {first} bytes long at its start and {last} at its end"))
    }
}

/// Numbers packets as Wireshark's `frame.number` does.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketNumbering {
    pub(super) input: u16,
    pub(super) next: u64,
}

impl PacketNumbering {
    /// The id of the next packet.
    #[inline]
    pub(super) fn peek(self) -> PacketId {
        PacketId::new(self.input, self.next)
    }

    /// Uses the next packet's number without a packet.
    #[inline]
    pub(super) fn skip_one(&mut self) {
        self.next = self.next.saturating_add(1);
    }
}
