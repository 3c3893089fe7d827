//! pcapng: blocks, each with its length at both ends, in sections with their own byte order and interfaces.
//!
//! Format: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html>. Packet blocks are read here; interface
//! descriptions and statistics, and their options, by pcap-parser.

use pcap_parser::pcapng::{
    PcapNGOption, parse_interfacedescriptionblock_be, parse_interfacedescriptionblock_le,
    parse_interfacestatisticsblock_be, parse_interfacestatisticsblock_le,
};

use super::block::PacketRecord;
use super::byte_order::ByteOrder;
use super::message::GroupedDigits;
use super::record::{LONG, LongRecord, NextRecord, PacketNumbering, RECORD_LIMIT, RecordDamage, kept_of};
use super::{InterfaceText, LinkType, NOTE, OTHER_INTERFACES};
use crate::decode::segment::PacketId;
use crate::time::Timestamp;

// Block types, section 11.1 of the draft.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const NAME_RESOLUTION: u32 = 4;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const SYSTEMD_JOURNAL: u32 = 9;
const DECRYPTION_SECRETS: u32 = 10;
const CUSTOM: u32 = 0x0bad;
const CUSTOM_NO_COPY: u32 = 0x4000_0bad;

// Option codes.
const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
/// Bytes of a comment that this program writes, at most.
const LONGEST_NOTE: usize = 1_024;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
const IF_TSOFFSET: u16 = 14;
const ISB_IFDROP: u16 = 5;
const ISB_OSDROP: u16 = 7;
const EPB_DROPCOUNT: u16 = 4;

/// The byte order mark as it stands in a little-endian section.
const ORDER_MARK_LITTLE: [u8; 4] = [0x4d, 0x3c, 0x2b, 0x1a];
/// And in a big-endian one.
const ORDER_MARK_BIG: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];

/// Bytes of a block without a body: type, length, length.
const SHORTEST_BLOCK: u32 = 12;
/// Bytes of an enhanced or obsolete packet block before its packet.
const BEFORE_PACKET: u32 = 28;
/// Bytes of a section header without options.
const SHORTEST_SECTION: u32 = 28;
/// Interfaces of a section that are taken in, so that a hostile file cannot fill the memory with them.
const MOST_INTERFACES: usize = 65_536;
/// When the block after another one is searched for, this many bytes of it need not be there.
const LONGEST_USUAL: usize = 4 << 10;
/// Bytes of an interface's texts that are kept.
const LONGEST_TEXT: usize = 256;
/// Unknown block types that are named in warnings.
const MOST_UNKNOWN: usize = 8;
/// A drop count of 65,535 in an obsolete packet block says that it is not known.
const DROPS_UNKNOWN: u16 = 0xffff;

/// The state of a pcapng file between two blocks.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Pcapng {
    order: ByteOrder,
    /// This section is of a version that is not known: its blocks are skipped.
    foreign: bool,
    interfaces: Vec<InterfaceBlock>,
    /// Interfaces of the sections that are over.
    earlier_interfaces: usize,
    /// Names and descriptions of the first interfaces of all sections.
    pub(super) texts: Vec<InterfaceText>,
    /// Drops told by the sections that are over.
    earlier_drops: Option<u64>,
    /// Smallest snapshot length declared so far, bytes; 0 when none.
    pub(super) snaplen: u32,
    /// Time of the last packet that had one; `None` where the packets before are not known.
    last: Option<Timestamp>,
    /// A packet without a time of its own was read, and the packets before it are not known.
    pub(super) needs_time: bool,
    /// Counts whatever changes here but `last`.
    pub(super) changes: u64,
    /// Blocks left out because they are damaged.
    skipped: u64,
    first_skipped: String,
    /// Block types that are not known: type, how many, place of the first.
    unknown: Vec<(u32, u64, u64)>,
    /// Comments that begin with [`NOTE`], of the packets that were read last.
    #[cfg_attr(feature = "fleet", serde(skip))]
    pub(super) notes: Vec<(PacketId, Box<str>)>,
}

#[derive(Clone, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
struct InterfaceBlock {
    link: LinkType,
    snaplen: u32,
    resolution: Resolution,
    /// Added to every time, nanoseconds.
    offset: i128,
    /// Its drops by its last statistics block.
    drops_in_statistics: Option<u64>,
    /// As its packets count.
    drops_at_packets: Option<u64>,
}

/// The unit of an interface's times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
enum Resolution {
    /// This many nanoseconds.
    Nanoseconds(i64),
    /// A fraction of a nanosecond: one over this.
    PerNanosecond(u128),
    /// 2 to the minus this power, seconds.
    BinaryFraction(u32),
}

impl Resolution {
    /// Reads `if_tsresol`: the upper bit tells powers of 2 from powers of 10.
    fn of(tsresol: u8) -> Resolution {
        match tsresol {
            0..=9 => Resolution::Nanoseconds(10_i64.saturating_pow(9_u32.saturating_sub(tsresol.into()))),
            10..=47 => {
                Resolution::PerNanosecond(10_u128.saturating_pow(u32::from(tsresol).saturating_sub(9)))
            }
            // 64 bits of units this small are less than a nanosecond.
            48..=127 => Resolution::PerNanosecond(u128::MAX),
            128.. => Resolution::BinaryFraction(u32::from(tsresol & 0x7f)),
        }
    }
}

impl InterfaceBlock {
    #[inline]
    fn time(&self, high: u32, low: u32) -> Timestamp {
        let units = u64::from(high) << 32 | u64::from(low);
        if let (Resolution::Nanoseconds(unit), 0) = (self.resolution, self.offset)
            && let Some(time) = i64::try_from(units).ok().and_then(|units| units.checked_mul(unit))
        {
            return Timestamp(time);
        }
        self.unusual_time(units)
    }

    fn unusual_time(&self, units: u64) -> Timestamp {
        let nanoseconds = match self.resolution {
            Resolution::Nanoseconds(unit) => i128::from(units).saturating_mul(unit.into()),
            Resolution::PerNanosecond(parts) => {
                u128::from(units).checked_div(parts).unwrap_or_default() as i128
            }
            // Below 2^94 before the shift.
            Resolution::BinaryFraction(power) => {
                i128::from(units).saturating_mul(1_000_000_000).checked_shr(power).unwrap_or_default()
            }
        };
        // Limited to the range of a timestamp.
        let time = nanoseconds.saturating_add(self.offset).clamp(i64::MIN.into(), i64::MAX.into());
        Timestamp(time as i64)
    }

    fn drops(&self) -> Option<u64> {
        self.drops_in_statistics.max(self.drops_at_packets)
    }
}

impl Pcapng {
    /// Whether a file that begins with `head` is pcapng.
    ///
    /// # Errors
    /// The error, when it begins with a section header's type but not with a section.
    pub(super) fn recognise(head: &[u8]) -> Option<Result<Pcapng, String>> {
        if head.get(..4)? != SECTION_HEADER.to_le_bytes() {
            return None;
        }
        let Some(mark) = head.get(8..12) else {
            return Some(Err(format!(
                "the shortest pcapng section header is {SHORTEST_SECTION} bytes long, but the file ends after {}",
                head.len()
            )));
        };
        if mark != ORDER_MARK_LITTLE && mark != ORDER_MARK_BIG {
            return Some(Err(format!("pcapng section header with {}", wrong_mark(mark))));
        }
        Some(Ok(Pcapng { last: Some(Timestamp::default()), ..Pcapng::default() }))
    }

    /// Goes on at a later place of the file, where the time of the packet before is not known.
    pub(super) fn forget_time(&mut self) {
        self.last = None;
    }

    /// Goes on in the state of `later`, which began in this one's state.
    pub(super) fn append(&mut self, later: Pcapng) {
        let last = later.last.or(self.last);
        *self = Pcapng { last, needs_time: false, ..later };
    }

    /// Where in `data`, which lies at `base` in the file, a block seems to begin, if anywhere: its length stands at both
    /// ends, and another one follows or `data` ends.
    pub(super) fn find<'d>(&self, data: &'d [u8], base: u64) -> Option<usize> {
        let number = |word: &[u8; 4]| self.order.number(word);
        // The bytes behind the block that begins here, if a block begins here and ends within `rest`.
        let behind = |rest: &'d [u8]| {
            let [kind, total, interface, ..] = rest.as_chunks().0 else { return None };
            let total = number(total);
            match number(kind) {
                ENHANCED_PACKET if (number(interface) as usize) < self.interfaces.len() => {}
                INTERFACE_DESCRIPTION | OBSOLETE_PACKET | SIMPLE_PACKET | NAME_RESOLUTION => {}
                INTERFACE_STATISTICS | SYSTEMD_JOURNAL | DECRYPTION_SECRETS | CUSTOM | CUSTOM_NO_COPY => {}
                _ => return None,
            }
            let (block, behind) = rest.split_at_checked(whole_length(total).ok()?)?;
            (number(block.last_chunk()?) == total).then_some(behind)
        };
        // Blocks begin at multiples of four.
        let first = base.next_multiple_of(4).saturating_sub(base) as usize;
        (first..data.len()).step_by(4).find(|at| {
            let second = data.get(*at..).and_then(behind);
            second.is_some_and(|second| behind(second).is_some() || second.len() < LONGEST_USUAL)
        })
    }

    /// Drops reported so far: by statistics blocks or by the packets, whichever are more, summed over the interfaces.
    pub(super) fn dropped(&self) -> Option<u64> {
        self.interfaces
            .iter()
            .filter_map(InterfaceBlock::drops)
            .chain(self.earlier_drops)
            .fold(None, |sum: Option<u64>, drops| Some(sum.unwrap_or(0).saturating_add(drops)))
    }

    /// A message about blocks that were left out because they are damaged, if there are any.
    pub(super) fn damage(&self) -> Option<String> {
        match self.skipped {
            0 => None,
            1 => Some(format!("{}.\n  Only this was left out.", self.first_skipped)),
            n => Some(format!(
                "{}.\n  {} blocks or sections were left out, this is the first.",
                self.first_skipped,
                GroupedDigits(n)
            )),
        }
    }

    /// Other warnings.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> + '_ {
        self.unknown.iter().map(|(kind, count, first)| {
            let (first, count) = (GroupedDigits(*first), GroupedDigits(*count));
            format!("skipped {count} block(s) of the unknown type {kind:#010x}, the first at byte {first}")
        })
    }

    /// Indexes the whole blocks at the start of `data`, which begins at a block and lies at `base` in the file. Returns
    /// the bytes they take, and the [`NextRecord`].
    pub(super) fn index(
        &mut self,
        data: &[u8],
        base: u64,
        numbers: &mut PacketNumbering,
        records: &mut Vec<PacketRecord>,
    ) -> (usize, NextRecord) {
        let mut at = 0;
        loop {
            let (consumed, found) = match self.order {
                ByteOrder::Little => self.index_as::<false>(data, at, base, numbers, records),
                ByteOrder::Big => self.index_as::<true>(data, at, base, numbers, records),
            };
            match found {
                // A new section, perhaps in the other byte order: the fast path starts again.
                Some(found) => return (consumed, found),
                None => at = consumed,
            }
        }
    }

    // The hot loop: enhanced packet blocks without options pass straight through.
    fn index_as<const BIG_ENDIAN: bool>(
        &mut self,
        data: &[u8],
        from: usize,
        base: u64,
        numbers: &mut PacketNumbering,
        records: &mut Vec<PacketRecord>,
    ) -> (usize, Option<NextRecord>) {
        let order = if BIG_ENDIAN { ByteOrder::Big } else { ByteOrder::Little };
        let mut rest = data.get(from..).unwrap_or_default();
        loop {
            let at = data.len().saturating_sub(rest.len());
            let place = base.saturating_add(at as u64);
            let [kind, total, _, ..] = rest.as_chunks().0 else {
                return (at, Some(NextRecord::Need(SHORTEST_BLOCK as usize)));
            };
            let (kind, total) = (order.number(kind), order.number(total));
            if kind == SECTION_HEADER {
                return match self.section(rest, place) {
                    Ok(length) => (at.saturating_add(length), None),
                    Err(found) => (at, Some(found)),
                };
            }
            let length = match whole_length(total) {
                Ok(length) => length,
                Err(damage) => return (at, Some(NextRecord::Damage(damage))),
            };
            let Some((block, behind)) = rest.split_at_checked(length) else {
                return (at, Some(self.block_past_window(kind, total, length, rest, numbers)));
            };
            if let Err(damage) = same_length(total, block, order) {
                return (at, Some(NextRecord::Damage(damage)));
            }
            match kind {
                _ if self.foreign => {}
                ENHANCED_PACKET | OBSOLETE_PACKET | SIMPLE_PACKET => {
                    match self.packet(kind, total, block) {
                        Ok((mut record, options)) => {
                            let id = numbers.peek();
                            record.id = id;
                            record.move_by(at);
                            records.push(record);
                            numbers.skip_one();
                            // Room for at least one option's header.
                            if let Some((interface, from)) = options
                                && let Some(list) = block.get(from..length.saturating_sub(4))
                                && list.len() >= 4
                            {
                                self.packet_options(interface, id, list);
                            }
                        }
                        Err(wrong) => self.skip(place, &wrong),
                    }
                }
                INTERFACE_DESCRIPTION => {
                    if self.interfaces.len() == MOST_INTERFACES {
                        let most = GroupedDigits(MOST_INTERFACES as u64);
                        let what = format!("describes an interface beyond the first {most}");
                        return (at, Some(NextRecord::Damage(RecordDamage::Other(what))));
                    }
                    self.describe(block, place);
                }
                INTERFACE_STATISTICS => self.statistics(block),
                // Wireshark numbers these as frames, though they are no packets.
                CUSTOM | CUSTOM_NO_COPY | SYSTEMD_JOURNAL => numbers.skip_one(),
                NAME_RESOLUTION | DECRYPTION_SECRETS => {}
                _ => self.note_unknown(kind, place),
            }
            rest = behind;
        }
    }

    /// A block that does not end inside the window, of which `rest` is there.
    fn block_past_window(
        &mut self,
        kind: u32,
        total: u32,
        length: usize,
        rest: &[u8],
        numbers: &PacketNumbering,
    ) -> NextRecord {
        if length <= LONG {
            return NextRecord::Need(length);
        }
        // Its beginning is enough, the rest is skipped; of a packet, kept_of() more bytes are needed.
        let packet = matches!(kind, ENHANCED_PACKET | OBSOLETE_PACKET | SIMPLE_PACKET);
        let head =
            if packet { BEFORE_PACKET.saturating_add(kept_of(u32::MAX)) } else { SHORTEST_BLOCK } as usize;
        if rest.len() < head {
            return NextRecord::Need(head);
        }
        if kind == INTERFACE_DESCRIPTION {
            let limit = LONG as u64;
            return NextRecord::Damage(RecordDamage::Length { claimed: length as u64, limit });
        }
        let record = match packet.then(|| self.look_at_packet(kind, total, rest)) {
            Some(Ok((mut record, _))) => {
                record.id = numbers.peek();
                record.captured = kept_of(record.captured);
                Some(record)
            }
            Some(Err(what)) => return NextRecord::Damage(RecordDamage::Other(what)),
            None => None,
        };
        self.needs_time |= kind == SIMPLE_PACKET && self.last.is_none();
        let numbered = packet || matches!(kind, CUSTOM | CUSTOM_NO_COPY | SYSTEMD_JOURNAL);
        let trailer = Some(match self.order {
            ByteOrder::Little => total.to_le_bytes(),
            ByteOrder::Big => total.to_be_bytes(),
        });
        NextRecord::Long(LongRecord { length: length as u64, record, numbered, trailer })
    }

    /// Begins a section: `rest` starts at its header. Gives the header's length.
    fn section(&mut self, rest: &[u8], place: u64) -> Result<usize, NextRecord> {
        let damage = |what: String| Err(NextRecord::Damage(RecordDamage::Other(what)));
        let [_, total, mark, ..] = rest.as_chunks().0 else {
            return Err(NextRecord::Need(SHORTEST_BLOCK as usize));
        };
        let order = match *mark {
            ORDER_MARK_BIG => ByteOrder::Big,
            ORDER_MARK_LITTLE => ByteOrder::Little,
            _ => return damage(format!("begins a section with {}", wrong_mark(mark))),
        };
        let total = order.number(total);
        if total < SHORTEST_SECTION {
            let least = SHORTEST_SECTION;
            return damage(format!("says it is {total} bytes long; a section header has at least {least}"));
        }
        let length = whole_length(total).map_err(NextRecord::Damage)?;
        if length > LONG {
            let (claimed, limit) = (length as u64, LONG as u64);
            return Err(NextRecord::Damage(RecordDamage::Length { claimed, limit }));
        }
        let Some((block, [_, _, _, versions, ..])) =
            rest.get(..length).map(|block| (block, block.as_chunks().0))
        else {
            return Err(NextRecord::Need(length));
        };
        same_length(total, block, order).map_err(NextRecord::Damage)?;
        let versions = order.number(versions);
        let [major, minor] = order.halves(versions);
        self.foreign = major != 1;
        if self.foreign {
            self.skip(
                place,
                &format!("begins a section of pcapng version {major}.{minor}; expected version 1"),
            );
        }
        self.note_change();
        self.earlier_drops = self.dropped();
        self.earlier_interfaces = self.earlier_interfaces.saturating_add(self.interfaces.len());
        self.interfaces.clear();
        self.order = order;
        Ok(length)
    }

    /// Reads a packet block, and updates the last time, which packets without a time use. The offset is that in the
    /// block. The result has the record, the interface, and the place of the options if the block can have any.
    #[inline]
    fn packet(
        &mut self,
        kind: u32,
        total: u32,
        block: &[u8],
    ) -> Result<(PacketRecord, Option<(u32, usize)>), String> {
        let (record, options) = self.look_at_packet(kind, total, block)?;
        self.needs_time |= kind == SIMPLE_PACKET && self.last.is_none();
        self.last = Some(record.time);
        if kind == OBSOLETE_PACKET {
            if let Some((interface, _)) = options
                && let [_, _, word, ..] = block.as_chunks().0
                && let word = self.order.number(word)
                && let drops = self.order.halves(word)[1] as u16
                && drops != DROPS_UNKNOWN
            {
                self.count_drops(interface, drops.into());
            }
            return Ok((record, None));
        }
        Ok((record, options))
    }

    #[inline]
    fn look_at_packet(
        &self,
        kind: u32,
        total: u32,
        block: &[u8],
    ) -> Result<(PacketRecord, Option<(u32, usize)>), String> {
        let number = |word| self.order.number(word);
        let least = if kind == SIMPLE_PACKET { 16 } else { BEFORE_PACKET.saturating_add(4) };
        let short = || format!("is a packet block of {total} bytes; expected at least {least}");
        let room = total.checked_sub(least).ok_or_else(short)?;
        let [_, _, first, behind @ ..] = block.as_chunks().0 else { return Err(short()) };
        let first = number(first);
        let interface = match kind {
            ENHANCED_PACKET => first,
            OBSOLETE_PACKET if self.order == ByteOrder::Big => first >> 16,
            OBSOLETE_PACKET => first & 0xffff,
            _ => 0,
        };
        let Some(described) = self.interfaces.get(interface as usize) else {
            let known = self.interfaces.len();
            return Err(format!(
                "has a packet of interface {interface}; its section describes {known} so far"
            ));
        };
        let record = PacketRecord {
            id: Default::default(),
            time: self.last.unwrap_or_default(),
            offset: least.saturating_sub(4),
            captured: 0,
            original: 0,
            link: described.link,
            timed: kind != SIMPLE_PACKET,
            interface: self.earlier_interfaces.saturating_add(interface as usize).min(OTHER_INTERFACES.into())
                as u8,
        };
        if kind == SIMPLE_PACKET {
            let original = first;
            let snaplen = if described.snaplen == 0 { u32::MAX } else { described.snaplen };
            return Ok((
                PacketRecord { captured: original.min(snaplen).min(room), original, ..record },
                None,
            ));
        }
        let [high, low, captured, original, ..] = behind else { return Err(short()) };
        let (captured, original) = (number(captured), number(original));
        if captured > room {
            let (captured, room) = (GroupedDigits(captured.into()), GroupedDigits(room.into()));
            return Err(format!("says it holds {captured} bytes of a packet, but has room for {room}"));
        }
        let record =
            PacketRecord { time: described.time(number(high), number(low)), captured, original, ..record };
        let options = captured.next_multiple_of(4).saturating_add(BEFORE_PACKET);
        Ok((record, Some((interface, options as usize))))
    }

    /// Counts the drops that an enhanced packet block's options tell, and keeps comments of this program.
    fn packet_options(&mut self, interface: u32, packet: PacketId, mut options: &[u8]) {
        let half = |a, b| self.order.half(a, b);
        while let [a, b, c, d, rest @ ..] = options {
            let (code, length) = (half(*a, *b), usize::from(half(*c, *d)));
            let Some(value) = rest.get(..length) else { return };
            match code {
                END_OF_OPTIONS => return,
                COMMENT if value.starts_with(NOTE.as_bytes()) && length <= LONGEST_NOTE => {
                    if let Ok(text) = std::str::from_utf8(value) {
                        self.notes.push((packet, text.into()));
                    }
                }
                EPB_DROPCOUNT => {
                    if let Some(drops) = long_number(value, self.order) {
                        return self.count_drops(interface, drops);
                    }
                }
                _ => {}
            }
            options = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }

    fn count_drops(&mut self, interface: u32, drops: u64) {
        if let Some(interface) = self.interfaces.get_mut(interface as usize) {
            interface.drops_at_packets = Some(interface.drops_at_packets.unwrap_or(0).saturating_add(drops));
            self.note_change();
        }
    }

    fn describe(&mut self, block: &[u8], place: u64) {
        self.note_change();
        let parse = match self.order {
            ByteOrder::Little => parse_interfacedescriptionblock_le,
            ByteOrder::Big => parse_interfacedescriptionblock_be,
        };
        let mut interface = InterfaceBlock {
            link: LinkType(0),
            snaplen: 0,
            resolution: Resolution::of(6),
            offset: 0,
            drops_in_statistics: None,
            drops_at_packets: None,
        };
        if let [_, _, links, snaplen, _, ..] = block.as_chunks().0 {
            let links = self.order.number(links);
            interface.link = LinkType(self.order.halves(links)[0] as u16);
            interface.snaplen = self.order.number(snaplen);
        } else {
            // It keeps its number, so that the packets of the other interfaces find theirs.
            self.skip(place, "is an interface description shorter than 20 bytes");
        }
        let mut texts = InterfaceText::default();
        if let Ok((_, described)) = parse(block) {
            let text = |bytes: &[u8]| {
                let bytes = bytes.get(..LONGEST_TEXT).unwrap_or(bytes);
                String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
            };
            for option in listed(&described.options) {
                match (option.code.0, option.as_bytes()) {
                    (IF_NAME, Ok(name)) => texts.name = text(name),
                    (IF_DESCRIPTION, Ok(description)) => texts.description = text(description),
                    (IF_TSRESOL, Ok([tsresol, ..])) => interface.resolution = Resolution::of(*tsresol),
                    (IF_TSOFFSET, Ok(value)) => {
                        // It is signed; pcap-parser reads it as little-endian in either byte order.
                        let seconds = long_number(value, self.order).unwrap_or(0).cast_signed();
                        interface.offset = i128::from(seconds).saturating_mul(1_000_000_000);
                    }
                    _ => {}
                }
            }
        }
        if interface.snaplen > 0 && (self.snaplen == 0 || interface.snaplen < self.snaplen) {
            self.snaplen = interface.snaplen;
        }
        self.interfaces.push(interface);
        if self.texts.len() < OTHER_INTERFACES.into() {
            self.texts.push(texts);
        }
    }

    /// Reads the drops of a statistics block; one that cannot be read, or of no interface, is ignored.
    fn statistics(&mut self, block: &[u8]) {
        let parse = match self.order {
            ByteOrder::Little => parse_interfacestatisticsblock_le,
            ByteOrder::Big => parse_interfacestatisticsblock_be,
        };
        let Ok((_, statistics)) = parse(block) else { return };
        let Some(interface) = self.interfaces.get_mut(statistics.if_id as usize) else { return };
        let drops = listed(&statistics.options)
            .filter(|option| matches!(option.code.0, ISB_IFDROP | ISB_OSDROP))
            .filter_map(|option| long_number(option.as_bytes().ok()?, self.order))
            .reduce(u64::saturating_add);
        interface.drops_in_statistics = drops.or(interface.drops_in_statistics);
        self.note_change();
    }

    #[cold]
    fn skip(&mut self, place: u64, wrong: &str) {
        self.note_change();
        if self.skipped == 0 {
            self.first_skipped = format!("block at byte {} {wrong}", GroupedDigits(place));
        }
        self.skipped = self.skipped.saturating_add(1);
    }

    fn note_change(&mut self) {
        self.changes = self.changes.saturating_add(1);
    }

    fn note_unknown(&mut self, kind: u32, place: u64) {
        self.note_change();
        if let Some(known) = self.unknown.iter_mut().find(|(k, ..)| *k == kind) {
            known.1 = known.1.saturating_add(1);
        } else if self.unknown.len() < MOST_UNKNOWN {
            self.unknown.push((kind, 1, place));
        }
    }

    /// The length of the block that begins `rest`, bytes; `None` if its head is not complete.
    pub(super) fn claimed(&self, rest: &[u8]) -> Option<u64> {
        let [kind, total, mark, ..] = rest.as_chunks().0 else { return None };
        let order = match (ByteOrder::Little.number(kind), *mark) {
            (SECTION_HEADER, ORDER_MARK_BIG) => ByteOrder::Big,
            (SECTION_HEADER, _) => ByteOrder::Little,
            _ => self.order,
        };
        Some(order.number(total).into())
    }
}

/// The options before the end mark.
fn listed<'a, 'b>(options: &'a [PcapNGOption<'b>]) -> impl Iterator<Item = &'a PcapNGOption<'b>> {
    options.iter().take_while(|option| option.code.0 != END_OF_OPTIONS)
}

/// The number of bytes to the next block. A length that is no multiple of four is rounded up, as Wireshark does.
#[inline]
fn whole_length(total: u32) -> Result<usize, RecordDamage> {
    if total < SHORTEST_BLOCK {
        let least = SHORTEST_BLOCK;
        return Err(RecordDamage::Other(format!(
            "says it is {total} bytes long; the shortest block has {least}"
        )));
    }
    if total > RECORD_LIMIT as u32 {
        return Err(RecordDamage::Length { claimed: total.into(), limit: RECORD_LIMIT as u64 });
    }
    Ok(total.next_multiple_of(4) as usize)
}

/// The length at the end of `block` must be that at its start, which is `first`.
#[inline]
fn same_length(first: u32, block: &[u8], order: ByteOrder) -> Result<(), RecordDamage> {
    let last = block.last_chunk().map_or(0, |word| order.number(word));
    if first == last { Ok(()) } else { Err(RecordDamage::lengths(first, last)) }
}

fn wrong_mark(mark: &[u8]) -> String {
    let bytes: Vec<String> = mark.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("the byte order mark {}; expected 1A 2B 3C 4D or 4D 3C 2B 1A", bytes.join(" "))
}

/// The 64-bit number that `value` holds, if it is one.
fn long_number(value: &[u8], order: ByteOrder) -> Option<u64> {
    let bytes = value.try_into().ok()?;
    Some(match order {
        ByteOrder::Little => u64::from_le_bytes(bytes),
        ByteOrder::Big => u64::from_be_bytes(bytes),
    })
}

#[cfg(test)]
mod tests;
