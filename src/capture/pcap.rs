//! Classic pcap: a file header of 24 bytes, then records, each a header and the packet.
//!
//! Format: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html>. There are no marks between records: after
//! a damaged one the rest of the file cannot be read.

use super::LinkType;
use super::block::PacketRecord;
use super::byte_order::ByteOrder;
use super::record::{LONG, LongRecord, NextRecord, PacketNumbering, RECORD_LIMIT, RecordDamage, kept_of};
use crate::time::Timestamp;

/// Bytes of the file header.
pub(super) const FILE_HEADER: usize = 24;

/// The snapshot length that `tcpdump` and libpcap use for "everything" (`MAXIMUM_SNAPLEN` in pcap-int.h). Records up to
/// this length are accepted even where the file declares a smaller snapshot length: many programs write such files.
const MAXIMUM_SNAPLEN: u32 = 262_144;

/// How many record headers in a row must be plausible where one is searched for: each has at least 20 bits that
/// distinguish it from other data.
const IN_A_ROW: usize = 6;
const DAY: i64 = 86_400;

/// A classic pcap file, past its header.
#[derive(Clone, Debug)]
pub(super) struct Pcap {
    variant: Variant,
    order: ByteOrder,
    /// Nanoseconds in a unit of the fraction field.
    unit: u16,
    lengths: Lengths,
    link: LinkType,
    /// As declared, bytes; 0 when none.
    pub(super) snaplen: u32,
    /// The longest record that is believed, bytes.
    limit: u32,
}

/// The variants of pcap, by their magic numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Variant {
    /// 0xa1b2c3d4: microseconds.
    Micro,
    /// 0xa1b23c4d: nanoseconds.
    Nano,
    /// 0xa1b2cd34, Alexey Kuznetzov's patched libpcap: record headers of 24 bytes.
    Modified,
}

/// The order of a record's two lengths (libpcap, sf-pcap.c): it changed between file versions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lengths {
    /// Captured length first: version 2.4 on, and what everybody writes.
    CapturedFirst,
    /// Version 2.3: some programs wrote them the other way round; the captured length is the smaller one.
    SmallerIsCaptured,
    /// Before version 2.3.
    OriginalFirst,
}

impl Pcap {
    /// Reads the file header; `None` when the magic number is not one of pcap.
    ///
    /// # Errors
    /// The error in the header, when the magic number is right.
    pub(super) fn recognise(head: &[u8]) -> Option<Result<Pcap, String>> {
        let magic = u32::from_le_bytes(*head.first_chunk()?);
        let (variant, order) = match (Variant::of(magic), Variant::of(magic.swap_bytes())) {
            (Some(variant), _) => (variant, ByteOrder::Little),
            (None, Some(variant)) => (variant, ByteOrder::Big),
            (None, None) => return None,
        };
        let Some([_, versions, _, _, snaplen, link]) = words(head, FILE_HEADER) else {
            return Some(Err(format!(
                "the header of a pcap file is {FILE_HEADER} bytes long, but the file ends after {}",
                head.len()
            )));
        };
        let versions = order.number(versions);
        let [major, minor] = order.halves(versions);
        if major != 2 {
            return Some(Err(format!("pcap version {major}.{minor}; expected version 2")));
        }
        let snaplen = order.number(snaplen);
        // Upper half: length of the frame check sequence and reserved bits, not the link type.
        let link = LinkType(order.number(link) as u16);
        Some(Ok(Pcap {
            variant,
            order,
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

    /// As in [`super::InputStatus::format`].
    pub(super) fn name(&self) -> &'static str {
        match self.variant {
            Variant::Micro => "pcap",
            Variant::Nano => "pcap-ns",
            Variant::Modified => "pcap-modified",
        }
    }

    /// Indexes the whole records at the start of `data`, which begins at a record. Returns the bytes they take and
    /// what comes then.
    pub(super) fn index(
        &self,
        data: &[u8],
        numbers: &mut PacketNumbering,
        records: &mut Vec<PacketRecord>,
    ) -> (usize, NextRecord) {
        match self.order {
            ByteOrder::Little => self.index_as::<false>(data, numbers, records),
            ByteOrder::Big => self.index_as::<true>(data, numbers, records),
        }
    }

    // The hot loop: about 3 ns per record. Each header is in the cache line that the hop to it fetches, or the next.
    fn index_as<const BIG_ENDIAN: bool>(
        &self,
        data: &[u8],
        numbers: &mut PacketNumbering,
        records: &mut Vec<PacketRecord>,
    ) -> (usize, NextRecord) {
        let order = if BIG_ENDIAN { ByteOrder::Big } else { ByteOrder::Little };
        let header = self.record_header();
        let (unit, link) = (u64::from(self.unit), self.link);
        let mut rest = data;
        loop {
            let at = data.len().saturating_sub(rest.len());
            let Some(([seconds, fraction, captured, original], _)) =
                rest.first_chunk::<16>().filter(|_| rest.len() >= header).map(|head| head.as_chunks())
            else {
                return (at, NextRecord::Need(header));
            };
            let (seconds, fraction) = (order.number(seconds), order.number(fraction));
            let (mut captured, mut original) = (order.number(captured), order.number(original));
            if self.lengths != Lengths::CapturedFirst
                && (self.lengths == Lengths::OriginalFirst || captured > original)
            {
                (captured, original) = (original, captured);
            }
            let length = header.saturating_add(captured as usize);
            if captured > self.limit {
                let limit = u64::from(self.limit).saturating_add(header as u64);
                return (at, NextRecord::Damage(RecordDamage::Length { claimed: length as u64, limit }));
            }
            // A fraction over one second is carried; neither product can overflow.
            let time = u64::from(seconds)
                .saturating_mul(1_000_000_000)
                .saturating_add(u64::from(fraction).saturating_mul(unit));
            let mut record = PacketRecord {
                id: numbers.peek(),
                time: Timestamp(time.cast_signed()),
                offset: at.saturating_add(header) as u32,
                captured,
                original,
                link,
                timed: true,
                interface: 0,
            };
            let Some((_, behind)) = rest.split_at_checked(length) else {
                if length <= LONG {
                    return (at, NextRecord::Need(length));
                }
                (record.offset, record.captured) = (header as u32, kept_of(captured));
                let kept = record.end();
                if rest.len() < kept {
                    return (at, NextRecord::Need(kept));
                }
                let long =
                    LongRecord { length: length as u64, record: Some(record), numbered: true, trailer: None };
                return (at, NextRecord::Long(long));
            };
            records.push(record);
            numbers.skip_one();
            rest = behind;
        }
    }

    /// Where in `data` a record seems to begin, if anywhere: the first place from which [`IN_A_ROW`] plausible headers
    /// follow one another, or fewer where `data` ends before. `near` is the time of an earlier packet, if
    /// one is known.
    pub(super) fn find(&self, data: &[u8], near: Option<Timestamp>) -> Option<usize> {
        let header = self.record_header();
        let seconds_near = near.map_or(i64::MIN..i64::MAX, |time| {
            time.seconds().saturating_sub(DAY)..time.seconds().saturating_add(30 * DAY)
        });
        // The place of the next record, if one begins here.
        let next = |at: usize| {
            let [seconds, fraction, a, b, ..] = words(data.get(at..)?, header)? else { return None };
            let (seconds, fraction) = (self.order.number(seconds), self.order.number(fraction));
            let (a, b) = (self.order.number(a), self.order.number(b));
            let captured = self.captured(a, b);
            let plausible = seconds_near.contains(&i64::from(seconds))
                && u64::from(fraction).saturating_mul(self.unit.into()) < 1_000_000_000
                && captured > 0
                && captured <= self.limit
                && a.max(b) < 1 << 24;
            plausible.then_some(at.saturating_add(header).saturating_add(captured as usize))
        };
        let follows = |mut at: usize| {
            for seen in 0..IN_A_ROW {
                match next(at) {
                    Some(next) => at = next,
                    None => return seen > 0 && at.saturating_add(header) > data.len(),
                }
            }
            true
        };
        let places = data.len().saturating_add(1).saturating_sub(header);
        (0..places).find(|at| follows(*at))
    }

    /// The length of the record that begins `rest`, bytes; `None` if its header is not complete.
    pub(super) fn claimed(&self, rest: &[u8]) -> Option<u64> {
        let header = self.record_header();
        let [_, _, a, b, ..] = words(rest, header)? else { return None };
        let captured = self.captured(self.order.number(a), self.order.number(b));
        Some(u64::from(captured).saturating_add(header as u64))
    }

    /// The captured length, from a record's two lengths in file order.
    fn captured(&self, a: u32, b: u32) -> u32 {
        match self.lengths {
            Lengths::CapturedFirst => a,
            Lengths::SmallerIsCaptured => a.min(b),
            Lengths::OriginalFirst => b,
        }
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

/// The first `bytes` of `data` as words of four.
#[inline(always)]
fn words(data: &[u8], bytes: usize) -> Option<&[[u8; 4]]> {
    data.get(..bytes).map(|head| head.as_chunks().0)
}

#[cfg(test)]
mod tests {
    use super::super::test_captures::{
        ByteOrder, MICRO, MODIFIED, NANO, TestPacket, packets, pcap, pcap_header, read, some_packets,
    };

    fn with_times_of(mut packets: Vec<TestPacket>, unit: i64) -> Vec<TestPacket> {
        packets.iter_mut().for_each(|packet| packet.time -= packet.time % unit);
        packets
    }

    #[test]
    fn both_byte_orders_and_all_variants_give_the_same_packets() {
        let made = some_packets(20, 1_700_000_000_123_456_789);
        for order in [ByteOrder::Little, ByteOrder::Big] {
            for (magic, name, unit) in
                [(MICRO, "pcap", 1000), (NANO, "pcap-ns", 1), (MODIFIED, "pcap-modified", 1000)]
            {
                let (seen, status) = read(&pcap(order, magic, &made)).unwrap();
                assert_eq!(packets(&seen), with_times_of(made.clone(), unit), "{order:?} {name}");
                assert!(seen.iter().all(|p| p.link == 1 && p.timed));
                assert!(seen.iter().map(|p| p.number).eq(1..=20));
                assert_eq!((status.format.as_str(), status.snaplen, status.packets), (name, 65_535, 20));
                assert_eq!((status.damage, status.warnings), (None, vec![]));
            }
        }
    }

    #[test]
    fn a_header_without_packets_is_a_capture() {
        let (seen, status) = read(&pcap_header(ByteOrder::Little, MICRO, 65_535, 1)).unwrap();
        assert!(seen.is_empty());
        assert_eq!((status.damage, status.times, status.format.as_str()), (None, None, "pcap"));
    }

    #[test]
    fn the_upper_bits_of_the_link_type_are_no_part_of_it() {
        let mut file = pcap_header(ByteOrder::Big, NANO, 65_535, 0x4400_0000 | 276);
        file.extend([0; 16]);
        assert_eq!(read(&file).unwrap().0[0].link, 276);
    }

    #[test]
    fn a_fraction_over_one_second_is_carried() {
        let mut file = pcap_header(ByteOrder::Little, NANO, 65_535, 1);
        file.extend([7, u32::MAX, 0, 60].iter().flat_map(|n| n.to_le_bytes()));
        assert_eq!(read(&file).unwrap().0[0].packet.time, 7_000_000_000 + i64::from(u32::MAX));
    }

    #[test]
    fn seconds_reach_beyond_2038() {
        let mut file = pcap_header(ByteOrder::Little, MICRO, 65_535, 1);
        file.extend([u32::MAX, 0, 0, 60].iter().flat_map(|n| n.to_le_bytes()));
        assert_eq!(read(&file).unwrap().0[0].packet.time, i64::from(u32::MAX) * 1_000_000_000);
    }

    #[test]
    fn files_before_version_2_4_have_the_lengths_the_other_way_round() {
        for (minor, lengths) in [(2, [9, 3]), (3, [9, 3]), (3, [3, 9])] {
            let mut file = pcap_header(ByteOrder::Little, MICRO, 65_535, 1);
            file[6] = minor;
            file.extend([0, 0, lengths[0], lengths[1]].iter().flat_map(|n: &u32| n.to_le_bytes()));
            file.extend([1, 2, 3]);
            let (seen, status) = read(&file).unwrap();
            assert_eq!((seen[0].packet.original, &seen[0].packet.data[..]), (9, &[1, 2, 3][..]));
            assert_eq!(status.damage, None);
        }
    }

    #[test]
    fn more_captured_than_the_snapshot_length_or_the_wire_had_is_tolerated() {
        let mut file = pcap_header(ByteOrder::Little, MICRO, 96, 1);
        file.extend([0, 0, 5000, 60].iter().flat_map(|n: &u32| n.to_le_bytes()));
        file.extend([0; 5000]);
        let (seen, status) = read(&file).unwrap();
        assert_eq!((seen[0].packet.original, seen[0].packet.data.len(), status.damage), (60, 5000, None));
    }

    #[test]
    fn a_length_that_no_packet_has_stops_there_and_says_where() {
        let mut file = pcap(ByteOrder::Little, MICRO, &some_packets(3, 0));
        let place = file.len();
        file.extend([0, 0, 1_400_000_000, 60].iter().flat_map(|n: &u32| n.to_le_bytes()));
        file.extend([0; 100]);
        let (seen, status) = read(&file).unwrap();
        assert_eq!(seen.len(), 3);
        assert_eq!(place, 24 + 3 * 16 + 54 + 55 + 56);
        assert_eq!(
            status.damage.as_deref(),
            Some(
                "test: record at byte 237 says it is 1,400,000,016 bytes long; the file ends after 116.\n  \
                 The capture was cut off or overwritten there; the rest of it cannot be read. \
                 The 3 packets before it were analyzed."
            )
        );
    }

    #[test]
    fn a_packet_longer_than_a_window_comes_with_its_beginning() {
        let long = TestPacket {
            time: 1_000,
            original: 5_000_000,
            data: (0..5_000_000u32).map(|i| i as u8).collect(),
        };
        let mut made = some_packets(2, 0);
        made.insert(1, long);
        let mut file = pcap(ByteOrder::Big, MICRO, &made);
        file[16..20].copy_from_slice(&8_000_000u32.to_be_bytes());
        let (seen, status) = read(&file).unwrap();
        assert_eq!(status.damage, None);
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[1].packet.data[..], made[1].data[..64 << 10]);
        assert_eq!((seen[1].packet.original, seen[1].number, seen[2].number), (5_000_000, 2, 3));
        assert_eq!(seen[2].packet, made[2]);

        // Cut in the middle of the long one.
        let (seen, status) = read(&file[..3_000_000]).unwrap();
        assert_eq!(seen.len(), 1);
        let damage = status.damage.unwrap();
        assert!(
            damage.contains(
                "record at byte 94 says it is 5,000,016 bytes long; the file ends after 2,999,906."
            )
        );
    }
}
