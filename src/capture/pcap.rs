//! Classic pcap: a file header of 24 octets, then records, each a header and the packet.
//!
//! Format: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html>. There are no marks between records: after
//! a damaged one the rest of the file cannot be read.

use super::reader::{Damage, Found, LONG, Long, Numbers, RECORD_LIMIT, kept_of};
use super::{LinkType, Record};
use crate::time::Timestamp;

/// Octets of the file header.
pub(super) const FILE_HEADER: usize = 24;

/// What `tcpdump` and libpcap take as a snapshot length of "everything" (`MAXIMUM_SNAPLEN` in pcap-int.h). Records up
/// to this length are believed even where the file declares a smaller snapshot length: many programs write such files.
const MAXIMUM_SNAPLEN: u32 = 262_144;

/// A classic pcap file, past its header.
#[derive(Clone, Debug)]
pub(super) struct Pcap {
    variant: Variant,
    /// Written in the other byte order than little-endian.
    big_endian: bool,
    /// Nanoseconds in a unit of the fraction field.
    unit: i64,
    lengths: Lengths,
    link: LinkType,
    /// As declared, octets; 0 when none.
    pub(super) snaplen: u32,
    /// The longest record that is believed, octets.
    limit: u32,
}

/// What tells one pcap from another by its magic number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Variant {
    /// 0xa1b2c3d4: microseconds.
    Micro,
    /// 0xa1b23c4d: nanoseconds.
    Nano,
    /// 0xa1b2cd34, Alexey Kuznetzov's patched libpcap: record headers of 24 octets.
    Modified,
}

/// Which of a record's two lengths is which (libpcap, sf-pcap.c): they changed places between file versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lengths {
    /// Captured length first: version 2.4 on, and what everybody writes.
    CapturedFirst,
    /// Version 2.3: some wrote it the other way round; the captured length is the smaller one.
    SmallerIsCaptured,
    /// Before version 2.3.
    OriginalFirst,
}

impl Pcap {
    /// Reads the file header; `None` when the magic number is none of pcap's.
    ///
    /// # Errors
    /// What is wrong with the header, when the magic number is right.
    pub(super) fn recognise(head: &[u8]) -> Option<Result<Pcap, String>> {
        let magic = u32::from_le_bytes(head.get(..4)?.try_into().ok()?);
        let (variant, big_endian) = match (Variant::of(magic), Variant::of(magic.swap_bytes())) {
            (Some(variant), _) => (variant, false),
            (None, Some(variant)) => (variant, true),
            (None, None) => return None,
        };
        let Some(header) = head.get(..FILE_HEADER) else {
            return Some(Err(format!(
                "the header of a pcap file is {FILE_HEADER} bytes long, but the file ends after {}",
                head.len()
            )));
        };
        let u32_at = |at| word(header, at, big_endian);
        let (major, minor) = match big_endian {
            true => (u32_at(4) >> 16, u32_at(4) & 0xffff),
            false => (u32_at(4) & 0xffff, u32_at(4) >> 16),
        };
        if major != 2 {
            return Some(Err(format!("pcap version {major}.{minor}; expected version 2")));
        }
        let snaplen = u32_at(16);
        // Upper half: length of the frame check sequence and reserved bits, not the link type.
        let link = LinkType(u32_at(20) as u16);
        Some(Ok(Pcap {
            variant,
            big_endian,
            unit: if variant == Variant::Nano { 1 } else { 1_000 },
            lengths: match minor {
                0..3 => Lengths::OriginalFirst,
                3 => Lengths::SmallerIsCaptured,
                _ => Lengths::CapturedFirst,
            },
            link,
            snaplen,
            limit: snaplen.max(longest(link)).min(RECORD_LIMIT as u32),
        }))
    }

    /// As in [`super::Status::format`].
    pub(super) fn name(&self) -> &'static str {
        match self.variant {
            Variant::Micro => "pcap",
            Variant::Nano => "pcap-ns",
            Variant::Modified => "pcap-modified",
        }
    }

    /// Indexes the whole records at the start of `data`, which begins at a record. Returns the octets they take and
    /// what comes then.
    pub(super) fn index(&self, data: &[u8], numbers: &mut Numbers, records: &mut Vec<Record>) -> (usize, Found) {
        match self.big_endian {
            false => self.index_as::<false>(data, numbers, records),
            true => self.index_as::<true>(data, numbers, records),
        }
    }

    // The hot loop: about 3 ns per record. Each header is in the cache line that the hop to it fetches, or the next.
    fn index_as<const BIG_ENDIAN: bool>(
        &self,
        data: &[u8],
        numbers: &mut Numbers,
        records: &mut Vec<Record>,
    ) -> (usize, Found) {
        let header = self.record_header();
        let (unit, link) = (self.unit, self.link);
        let mut at = 0;
        loop {
            let Some(head) = data.get(at..at + header) else { return (at, Found::Need(header)) };
            let (seconds, fraction) = (word(head, 0, BIG_ENDIAN), word(head, 4, BIG_ENDIAN));
            let (mut captured, mut original) = (word(head, 8, BIG_ENDIAN), word(head, 12, BIG_ENDIAN));
            if self.lengths != Lengths::CapturedFirst
                && (self.lengths == Lengths::OriginalFirst || captured > original)
            {
                (captured, original) = (original, captured);
            }
            let length = header + captured as usize;
            if captured > self.limit {
                let (claimed, limit) = (length as u64, (header as u32 + self.limit).into());
                return (at, Found::Damage(Damage::Length { claimed, limit }));
            }
            let end = at + length;
            // A fraction over one second is carried; neither product can overflow.
            let mut record = Record {
                id: numbers.peek(),
                time: Timestamp(i64::from(seconds) * 1_000_000_000 + i64::from(fraction) * unit),
                offset: (at + header) as u32,
                captured,
                original,
                link,
                timed: true,
            };
            if end > data.len() {
                if length <= LONG {
                    return (at, Found::Need(length));
                }
                (record.offset, record.captured) = (header as u32, kept_of(captured));
                let kept = header + record.captured as usize;
                if data.len() - at < kept {
                    return (at, Found::Need(kept));
                }
                let long = Long { length: length as u64, record: Some(record), numbered: true, trailer: None };
                return (at, Found::Long(long));
            }
            records.push(record);
            numbers.take();
            at = end;
        }
    }

    /// How long the record is, octets, whose beginning is `rest`; `None` when not even its header is there.
    pub(super) fn claimed(&self, rest: &[u8]) -> Option<u64> {
        let header = self.record_header();
        let head = rest.get(..header)?;
        let (a, b) = (word(head, 8, self.big_endian), word(head, 12, self.big_endian));
        let captured = match self.lengths {
            Lengths::CapturedFirst => a,
            Lengths::SmallerIsCaptured => a.min(b),
            Lengths::OriginalFirst => b,
        };
        Some(header as u64 + u64::from(captured))
    }

    fn record_header(&self) -> usize {
        match self.variant {
            Variant::Modified => 24,
            _ => 16,
        }
    }
}

impl Variant {
    fn of(magic: u32) -> Option<Variant> {
        match magic {
            0xa1b2_c3d4 => Some(Variant::Micro),
            0xa1b2_3c4d => Some(Variant::Nano),
            0xa1b2_cd34 => Some(Variant::Modified),
            _ => None,
        }
    }
}

/// The longest packet of a link type, as libpcap has it (`max_snaplen_for_dlt`): USB and D-Bus have large messages.
fn longest(link: LinkType) -> u32 {
    match link.0 {
        189 | 220 | 231 | 249 => 128 << 20,
        _ => MAXIMUM_SNAPLEN,
    }
}

/// The 32 bits at `at`, which must lie inside `data`.
#[inline(always)]
fn word(data: &[u8], at: usize, big_endian: bool) -> u32 {
    let octets = [data[at], data[at + 1], data[at + 2], data[at + 3]];
    if big_endian { u32::from_be_bytes(octets) } else { u32::from_le_bytes(octets) }
}
