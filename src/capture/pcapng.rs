//! pcapng: blocks, each with its length at both ends, in sections with their own byte order and interfaces.
//!
//! Format: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html>. Packet blocks are read here; interface
//! descriptions and statistics, and their options, by pcap-parser.

use pcap_parser::pcapng::{
    PcapNGOption, parse_interfacedescriptionblock_be, parse_interfacedescriptionblock_le,
    parse_interfacestatisticsblock_be, parse_interfacestatisticsblock_le,
};

use super::message::Grouped;
use super::reader::{Damage, Found, LONG, Long, Numbers, RECORD_LIMIT, kept_of};
use super::{InterfaceText, LinkType, OTHER_INTERFACES, Record};
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
/// Bytes of a section header without options.
const SHORTEST_SECTION: u32 = 28;
/// Interfaces of a section that are taken in, so that a hostile file cannot fill the memory with them.
const MOST_INTERFACES: usize = 65_536;
/// Where another block is looked for behind one, this many bytes of it are not asked for.
const LONGEST_USUAL: usize = 4 << 10;
/// Bytes of an interface's texts that are kept.
const LONGEST_TEXT: usize = 256;
/// Unknown block types that are named in warnings.
const MOST_UNKNOWN: usize = 8;
/// A drop count of 65,535 in an obsolete packet block says that it is not known.
const DROPS_UNKNOWN: u16 = 0xffff;

/// The state of a pcapng file between two blocks.
#[derive(Clone, Debug, Default)]
pub(super) struct Pcapng {
    big_endian: bool,
    /// This section is of a version that is not known: its blocks are skipped.
    foreign: bool,
    interfaces: Vec<Interface>,
    /// Interfaces of the sections that are over.
    earlier_interfaces: usize,
    /// What is said of the first interfaces of all sections.
    pub(super) texts: Vec<InterfaceText>,
    /// Drops told by the sections that are over.
    earlier_drops: Option<u64>,
    /// Smallest snapshot length declared so far, bytes; 0 when none.
    pub(super) snaplen: u32,
    /// Time of the last packet that had one; `None` where it is not known what was before.
    last: Option<Timestamp>,
    /// A packet without a time of its own was read, and it is not known what was before.
    pub(super) needs_time: bool,
    /// Counts whatever changes here but `last`.
    pub(super) changes: u64,
    /// Blocks left out because something in them is wrong.
    skipped: u64,
    first_skipped: String,
    /// Block types that are not known: type, how many, place of the first.
    unknown: Vec<(u32, u64, u64)>,
}

#[derive(Clone, Debug)]
struct Interface {
    link: LinkType,
    snaplen: u32,
    resolution: Resolution,
    /// Added to every time, nanoseconds.
    offset: i128,
    /// As its last statistics block counts.
    drops_in_statistics: Option<u64>,
    /// As its packets count.
    drops_at_packets: Option<u64>,
}

/// What a unit of an interface's times is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Resolution {
    /// This many nanoseconds.
    Nanoseconds(i64),
    /// One so-manieth of a nanosecond.
    PerNanosecond(u128),
    /// 2 to the minus this power, seconds.
    BinaryFraction(u32),
}

impl Resolution {
    /// Reads `if_tsresol`: the upper bit tells powers of 2 from powers of 10.
    fn of(tsresol: u8) -> Resolution {
        match tsresol {
            0..=9 => Resolution::Nanoseconds(10_i64.pow(9 - u32::from(tsresol))),
            10..=47 => Resolution::PerNanosecond(10_u128.pow(u32::from(tsresol) - 9)),
            // 64 bits of units this small are less than a nanosecond.
            48..=127 => Resolution::PerNanosecond(u128::MAX),
            128.. => Resolution::BinaryFraction(u32::from(tsresol & 0x7f)),
        }
    }
}

impl Interface {
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
            Resolution::Nanoseconds(unit) => i128::from(units) * i128::from(unit),
            Resolution::PerNanosecond(parts) => (u128::from(units) / parts) as i128,
            // Below 2^94 before the shift.
            Resolution::BinaryFraction(power) => (i128::from(units) * 1_000_000_000) >> power,
        };
        // Held at the ends of the range.
        let time = (nanoseconds + self.offset).clamp(i64::MIN.into(), i64::MAX.into());
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
    /// What is wrong, when it begins with a section header's type but not with a section.
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

    /// Goes on somewhere further in the file, where the time of the packet before is not known.
    pub(super) fn forget_time(&mut self) {
        self.last = None;
    }

    /// Goes on in the state of `later`, which began in this one.
    pub(super) fn append(&mut self, later: Pcapng) {
        let last = later.last.or(self.last);
        *self = Pcapng { last, needs_time: false, ..later };
    }

    /// Where in `data`, which lies at `base` in the file, a block seems to begin, if anywhere: its length stands at both
    /// ends, and another one follows or `data` ends.
    pub(super) fn find(&self, data: &[u8], base: u64) -> Option<usize> {
        let word = |at: usize| data.get(at..at + 4).map(|four| word(four, 0, self.big_endian));
        // The place of the next block, if one begins here and ends inside.
        let next = |at: usize| {
            let (kind, total) = (word(at)?, word(at + 4)?);
            match kind {
                ENHANCED_PACKET if (word(at + 8)? as usize) < self.interfaces.len() => {}
                INTERFACE_DESCRIPTION | OBSOLETE_PACKET | SIMPLE_PACKET | NAME_RESOLUTION => {}
                INTERFACE_STATISTICS | SYSTEMD_JOURNAL | DECRYPTION_SECRETS | CUSTOM | CUSTOM_NO_COPY => {}
                _ => return None,
            }
            let length = whole_length(total).ok()?;
            (word(at + length - 4)? == total).then_some(at + length)
        };
        // Blocks begin at multiples of four.
        let first = (base.next_multiple_of(4) - base) as usize;
        (first..data.len()).step_by(4).find(|at| {
            next(*at).is_some_and(|second| next(second).is_some() || second + LONGEST_USUAL > data.len())
        })
    }

    /// Drops told so far: by statistics blocks or by the packets, whichever is more, summed over the interfaces.
    pub(super) fn dropped(&self) -> Option<u64> {
        self.interfaces
            .iter()
            .filter_map(Interface::drops)
            .chain(self.earlier_drops)
            .fold(None, |sum: Option<u64>, drops| Some(sum.unwrap_or(0).saturating_add(drops)))
    }

    /// Says which blocks were left out because they are damaged, if any.
    pub(super) fn damage(&self) -> Option<String> {
        match self.skipped {
            0 => None,
            1 => Some(format!("{}.\n  Only this was left out.", self.first_skipped)),
            n => Some(format!(
                "{}.\n  {} blocks or sections were left out, this is the first.",
                self.first_skipped,
                Grouped(n)
            )),
        }
    }

    /// What else is worth a line.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> + '_ {
        self.unknown.iter().map(|(kind, count, first)| {
            let (first, count) = (Grouped(*first), Grouped(*count));
            format!("skipped {count} block(s) of the unknown type {kind:#010x}, the first at byte {first}")
        })
    }

    /// Indexes the whole blocks at the start of `data`, which begins at a block and lies at `base` in the file.
    /// Returns the bytes they take and what comes then.
    pub(super) fn index(
        &mut self,
        data: &[u8],
        base: u64,
        numbers: &mut Numbers,
        records: &mut Vec<Record>,
    ) -> (usize, Found) {
        let mut at = 0;
        loop {
            let (consumed, found) = match self.big_endian {
                false => self.index_as::<false>(data, at, base, numbers, records),
                true => self.index_as::<true>(data, at, base, numbers, records),
            };
            match found {
                // A new section, perhaps in the other byte order; the fast lane starts again.
                Some(found) => return (consumed, found),
                None => at = consumed,
            }
        }
    }

    // The hot loop: enhanced packet blocks without options pass straight through.
    fn index_as<const BIG_ENDIAN: bool>(
        &mut self,
        data: &[u8],
        mut at: usize,
        base: u64,
        numbers: &mut Numbers,
        records: &mut Vec<Record>,
    ) -> (usize, Option<Found>) {
        let word = |data: &[u8], at: usize| -> u32 { word(data, at, BIG_ENDIAN) };
        loop {
            let Some(head) = data.get(at..at + SHORTEST_BLOCK as usize) else {
                return (at, Some(Found::Need(SHORTEST_BLOCK as usize)));
            };
            let kind = word(head, 0);
            if kind == SECTION_HEADER {
                return match self.section(&data[at..], base + at as u64) {
                    Ok(length) => (at + length, None),
                    Err(found) => (at, Some(found)),
                };
            }
            let total = word(head, 4);
            let length = match whole_length(total) {
                Ok(length) => length,
                Err(damage) => return (at, Some(Found::Damage(damage))),
            };
            let Some(block) = data.get(at..at + length) else {
                return (at, Some(self.beyond(kind, total, length, &data[at..], numbers)));
            };
            if let Err(damage) = same_length(total, word(block, length - 4)) {
                return (at, Some(Found::Damage(damage)));
            }
            match kind {
                _ if self.foreign => {}
                ENHANCED_PACKET | OBSOLETE_PACKET | SIMPLE_PACKET => {
                    match self.packet(kind, total, block) {
                        Ok((mut record, options)) => {
                            record.id = numbers.peek();
                            record.offset += at as u32;
                            records.push(record);
                            numbers.take();
                            // Room for at least one option's header.
                            if let Some((interface, from)) = options
                                && from + 4 <= length - 4
                            {
                                self.packet_options(interface, &block[from..length - 4]);
                            }
                        }
                        Err(wrong) => self.skip(base + at as u64, &wrong),
                    }
                }
                INTERFACE_DESCRIPTION => {
                    if self.interfaces.len() == MOST_INTERFACES {
                        let what =
                            format!("describes one more than {} interfaces", Grouped(MOST_INTERFACES as u64));
                        return (at, Some(Found::Damage(Damage::Other(what))));
                    }
                    self.describe(block, base + at as u64);
                }
                INTERFACE_STATISTICS => self.statistics(block),
                // Wireshark numbers these as frames, though they are no packets.
                CUSTOM | CUSTOM_NO_COPY | SYSTEMD_JOURNAL => numbers.take(),
                NAME_RESOLUTION | DECRYPTION_SECRETS => {}
                _ => self.note_unknown(kind, base + at as u64),
            }
            at += length;
        }
    }

    /// A block that does not end inside the window, which shows `rest` of it.
    fn beyond(&mut self, kind: u32, total: u32, length: usize, rest: &[u8], numbers: &Numbers) -> Found {
        if length <= LONG {
            return Found::Need(length);
        }
        // Its beginning is enough, the rest will be read over; of a packet, kept_of() more.
        let packet = matches!(kind, ENHANCED_PACKET | OBSOLETE_PACKET | SIMPLE_PACKET);
        let head = if packet { 28 + kept_of(u32::MAX) as usize } else { SHORTEST_BLOCK as usize };
        if rest.len() < head {
            return Found::Need(head);
        }
        if kind == INTERFACE_DESCRIPTION {
            let limit = LONG as u64;
            return Found::Damage(Damage::Length { claimed: length as u64, limit });
        }
        let record = match packet.then(|| self.look_at_packet(kind, total, rest)) {
            Some(Ok((mut record, _))) => {
                record.id = numbers.peek();
                record.captured = kept_of(record.captured);
                Some(record)
            }
            Some(Err(what)) => return Found::Damage(Damage::Other(what)),
            None => None,
        };
        self.needs_time |= kind == SIMPLE_PACKET && self.last.is_none();
        let numbered = packet || matches!(kind, CUSTOM | CUSTOM_NO_COPY | SYSTEMD_JOURNAL);
        let trailer = Some(if self.big_endian { total.to_be_bytes() } else { total.to_le_bytes() });
        Found::Long(Long { length: length as u64, record, numbered, trailer })
    }

    /// Begins a section: `rest` starts at its header. Gives the header's length.
    fn section(&mut self, rest: &[u8], place: u64) -> Result<usize, Found> {
        let damage = |what: String| Err(Found::Damage(Damage::Other(what)));
        let mark = &rest[8..12];
        let big_endian = if mark == ORDER_MARK_BIG {
            true
        } else if mark == ORDER_MARK_LITTLE {
            false
        } else {
            return damage(format!("begins a section with {}", wrong_mark(mark)));
        };
        let total = word(rest, 4, big_endian);
        if total < SHORTEST_SECTION {
            let least = SHORTEST_SECTION;
            return damage(format!("says it is {total} bytes long; a section header has at least {least}"));
        }
        let length = whole_length(total).map_err(Found::Damage)?;
        if length > LONG {
            return Err(Found::Damage(Damage::Length { claimed: length as u64, limit: LONG as u64 }));
        }
        let Some(block) = rest.get(..length) else {
            return Err(Found::Need(length));
        };
        same_length(total, word(block, length - 4, big_endian)).map_err(Found::Damage)?;
        let versions = word(block, 12, big_endian);
        let (major, minor) = match big_endian {
            true => (versions >> 16, versions & 0xffff),
            false => (versions & 0xffff, versions >> 16),
        };
        self.foreign = major != 1;
        if self.foreign {
            self.skip(
                place,
                &format!("begins a section of pcapng version {major}.{minor}; expected version 1"),
            );
        }
        self.changes += 1;
        self.earlier_drops = self.dropped();
        self.earlier_interfaces += self.interfaces.len();
        self.interfaces.clear();
        self.big_endian = big_endian;
        Ok(length)
    }

    /// Reads a packet block and moves the clock for those that have none. The offset is that in the block. With the
    /// record come the interface and the place of the options, where the block can have any.
    #[inline]
    fn packet(
        &mut self,
        kind: u32,
        total: u32,
        block: &[u8],
    ) -> Result<(Record, Option<(u32, usize)>), String> {
        let (record, options) = self.look_at_packet(kind, total, block)?;
        self.needs_time |= kind == SIMPLE_PACKET && self.last.is_none();
        self.last = Some(record.time);
        if kind == OBSOLETE_PACKET {
            let drops = (word(block, 8, self.big_endian) >> if self.big_endian { 0 } else { 16 }) as u16;
            if drops != DROPS_UNKNOWN
                && let Some((interface, _)) = options
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
    ) -> Result<(Record, Option<(u32, usize)>), String> {
        let word = |at| word(block, at, self.big_endian);
        let least = if kind == SIMPLE_PACKET { 16 } else { 32 };
        if total < least {
            return Err(format!("is a packet block of {total} bytes; expected at least {least}"));
        }
        let interface = match kind {
            ENHANCED_PACKET => word(8),
            OBSOLETE_PACKET if self.big_endian => word(8) >> 16,
            OBSOLETE_PACKET => word(8) & 0xffff,
            _ => 0,
        };
        let Some(described) = self.interfaces.get(interface as usize) else {
            let known = self.interfaces.len();
            return Err(format!(
                "has a packet of interface {interface}; its section describes {known} so far"
            ));
        };
        let room = total - least;
        let record = Record {
            id: Default::default(),
            time: self.last.unwrap_or_default(),
            offset: least - 4,
            captured: 0,
            original: 0,
            link: described.link,
            timed: kind != SIMPLE_PACKET,
            interface: (self.earlier_interfaces + interface as usize).min(OTHER_INTERFACES.into()) as u8,
        };
        if kind == SIMPLE_PACKET {
            let original = word(8);
            let snaplen = if described.snaplen == 0 { u32::MAX } else { described.snaplen };
            return Ok((Record { captured: original.min(snaplen).min(room), original, ..record }, None));
        }
        let (captured, original) = (word(20), word(24));
        if captured > room {
            let (captured, room) = (Grouped(captured.into()), Grouped(room.into()));
            return Err(format!("says it holds {captured} bytes of a packet, but has room for {room}"));
        }
        let record = Record { time: described.time(word(12), word(16)), captured, original, ..record };
        Ok((record, Some((interface, 28 + captured.next_multiple_of(4) as usize))))
    }

    /// Counts the drops that an enhanced packet block's options tell.
    fn packet_options(&mut self, interface: u32, mut options: &[u8]) {
        let half =
            |a, b| if self.big_endian { u16::from_be_bytes([a, b]) } else { u16::from_le_bytes([a, b]) };
        while let [a, b, c, d, rest @ ..] = options {
            let (code, length) = (half(*a, *b), usize::from(half(*c, *d)));
            let Some(value) = rest.get(..length) else { return };
            match code {
                END_OF_OPTIONS => return,
                EPB_DROPCOUNT => {
                    if let Some(drops) = number(value, self.big_endian) {
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
            self.changes += 1;
            interface.drops_at_packets = Some(interface.drops_at_packets.unwrap_or(0).saturating_add(drops));
        }
    }

    fn describe(&mut self, block: &[u8], place: u64) {
        self.changes += 1;
        let parse = match self.big_endian {
            false => parse_interfacedescriptionblock_le,
            true => parse_interfacedescriptionblock_be,
        };
        let mut interface = Interface {
            link: LinkType(0),
            snaplen: 0,
            resolution: Resolution::of(6),
            offset: 0,
            drops_in_statistics: None,
            drops_at_packets: None,
        };
        if block.len() < 20 {
            // It keeps its number, so that the packets of the others find theirs.
            self.skip(place, "is an interface description shorter than 20 bytes");
        } else {
            let links = word(block, 8, self.big_endian);
            interface.link = LinkType(if self.big_endian { links >> 16 } else { links } as u16);
            interface.snaplen = word(block, 12, self.big_endian);
        }
        let mut texts = InterfaceText::default();
        if let Ok((_, described)) = parse(block) {
            let text = |bytes: &[u8]| {
                let bytes = &bytes[..bytes.len().min(LONGEST_TEXT)];
                String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
            };
            for option in listed(&described.options) {
                match (option.code.0, option.as_bytes()) {
                    (IF_NAME, Ok(name)) => texts.name = text(name),
                    (IF_DESCRIPTION, Ok(description)) => texts.description = text(description),
                    (IF_TSRESOL, Ok([tsresol, ..])) => interface.resolution = Resolution::of(*tsresol),
                    (IF_TSOFFSET, Ok(value)) => {
                        // Two's complement; pcap-parser reads it as little-endian in either byte order.
                        let seconds = number(value, self.big_endian).unwrap_or(0).cast_signed();
                        interface.offset = i128::from(seconds) * 1_000_000_000;
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

    /// Takes the drops from a statistics block; one that cannot be read, or of no interface, tells nothing.
    fn statistics(&mut self, block: &[u8]) {
        let parse = match self.big_endian {
            false => parse_interfacestatisticsblock_le,
            true => parse_interfacestatisticsblock_be,
        };
        let Ok((_, statistics)) = parse(block) else { return };
        let Some(interface) = self.interfaces.get_mut(statistics.if_id as usize) else { return };
        self.changes += 1;
        let drops = listed(&statistics.options)
            .filter(|option| matches!(option.code.0, ISB_IFDROP | ISB_OSDROP))
            .filter_map(|option| number(option.as_bytes().ok()?, self.big_endian))
            .reduce(u64::saturating_add);
        interface.drops_in_statistics = drops.or(interface.drops_in_statistics);
    }

    #[cold]
    fn skip(&mut self, place: u64, wrong: &str) {
        self.changes += 1;
        if self.skipped == 0 {
            self.first_skipped = format!("block at byte {} {wrong}", Grouped(place));
        }
        self.skipped += 1;
    }

    fn note_unknown(&mut self, kind: u32, place: u64) {
        self.changes += 1;
        if let Some(known) = self.unknown.iter_mut().find(|(k, ..)| *k == kind) {
            known.1 += 1;
        } else if self.unknown.len() < MOST_UNKNOWN {
            self.unknown.push((kind, 1, place));
        }
    }

    /// How long the block is, bytes, whose beginning is `rest`; `None` when not even its head is there.
    pub(super) fn claimed(&self, rest: &[u8]) -> Option<u64> {
        let head = rest.get(..SHORTEST_BLOCK as usize)?;
        let section = word(head, 0, false) == SECTION_HEADER;
        let big_endian = if section { head[8..12] == ORDER_MARK_BIG } else { self.big_endian };
        Some(word(head, 4, big_endian).into())
    }
}

/// The options before the end mark.
fn listed<'a, 'b>(options: &'a [PcapNGOption<'b>]) -> impl Iterator<Item = &'a PcapNGOption<'b>> {
    options.iter().take_while(|option| option.code.0 != END_OF_OPTIONS)
}

/// The number of bytes to the next block. A length that is no multiple of four is rounded up, as Wireshark does.
#[inline]
fn whole_length(total: u32) -> Result<usize, Damage> {
    if total < SHORTEST_BLOCK {
        let least = SHORTEST_BLOCK;
        return Err(Damage::Other(format!("says it is {total} bytes long; the shortest block has {least}")));
    }
    if total > RECORD_LIMIT as u32 {
        return Err(Damage::Length { claimed: total.into(), limit: RECORD_LIMIT as u64 });
    }
    Ok(total.next_multiple_of(4) as usize)
}

#[inline]
fn same_length(first: u32, last: u32) -> Result<(), Damage> {
    if first == last { Ok(()) } else { Err(Damage::lengths(first, last)) }
}

fn wrong_mark(mark: &[u8]) -> String {
    let bytes: Vec<String> = mark.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("the byte order mark {}; expected 1A 2B 3C 4D or 4D 3C 2B 1A", bytes.join(" "))
}

/// The 64-bit number that `value` holds, if it is one.
fn number(value: &[u8], big_endian: bool) -> Option<u64> {
    let bytes = value.try_into().ok()?;
    Some(if big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
}

/// The 32 bits at `at`, which must lie inside `data`.
#[inline(always)]
fn word(data: &[u8], at: usize, big_endian: bool) -> u32 {
    let bytes = [data[at], data[at + 1], data[at + 2], data[at + 3]];
    if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}

#[cfg(test)]
mod tests {
    use super::super::made::{Made, Ng, Order, packets, pcapng, read, some_packets};
    use super::*;

    const BOTH: [Order; 2] = [Order::Little, Order::Big];

    fn packet() -> Made {
        some_packets(1, 0).remove(0)
    }

    #[test]
    fn both_byte_orders_give_the_same_packets() {
        let made = some_packets(20, 1_700_000_000_123_456_789);
        for order in BOTH {
            let (seen, status) = read(&pcapng(order, &made)).unwrap();
            assert_eq!(packets(&seen), made, "{order:?}");
            assert!(seen.iter().map(|p| p.number).eq(1..=20));
            assert_eq!((status.format.as_str(), status.snaplen, status.dropped), ("pcapng", 65_535, None));
            assert_eq!((status.damage, status.warnings), (None, vec![]));
        }
    }

    #[test]
    fn each_section_has_its_own_byte_order_and_interfaces() {
        let ng = Ng::new(Order::Little).interface(1, 100, &[]).enhanced(0, 1, &packet(), &[]);
        let ng = ng.section(Order::Big).interface(113, 0, &[(9, &[3])]).enhanced(0, 1, &packet(), &[]);
        let ng = ng.section(Order::Little).interface(276, 96, &[]).enhanced(0, 1, &packet(), &[]);
        let (seen, status) = read(&ng.file).unwrap();
        assert_eq!(
            seen.iter().map(|p| (p.link, p.packet.time)).collect::<Vec<_>>(),
            [(1, 1_000), (113, 1_000_000), (276, 1_000)]
        );
        assert_eq!((status.damage, status.snaplen), (None, 96));
    }

    #[test]
    fn each_interface_has_its_own_resolution_and_offset() {
        for order in BOTH {
            let ng = Ng::new(order)
                .interface(1, 0, &[])
                .interface(1, 0, &[(9, &[0])])
                .interface(1, 0, &[(2, b"eth0"), (9, &[12]), (14, &order.u64(10))])
                .interface(1, 0, &[(9, &[0x80 | 8])])
                .interface(1, 0, &[(9, &[6]), (14, &order.u64(-3_i64 as u64))]);
            let ng = (0..5).fold(ng, |ng, i| ng.enhanced(i, 5_000, &packet(), &[]));
            let (seen, _) = read(&ng.file).unwrap();
            let times: Vec<i64> = seen.iter().map(|p| p.packet.time).collect();
            // 5,000 us; 5,000 s; 5,000 ps after 10 s; 5,000/256 s; 5 ms after -3 s.
            assert_eq!(times, [5_000_000, 5_000_000_000_000, 10_000_000_005, 19_531_250_000, -2_995_000_000]);
        }
    }

    #[test]
    fn times_beyond_the_range_are_held_at_its_end() {
        for tsresol in 0..=255 {
            for offset in [0, 1, i64::MIN, i64::MAX] {
                let offset = offset.to_le_bytes();
                let ng = Ng::new(Order::Little).interface(1, 0, &[(9, &[tsresol]), (14, &offset)]);
                let ng = ng.enhanced(0, u64::MAX, &packet(), &[]).enhanced(0, 0, &packet(), &[]);
                assert_eq!(read(&ng.file).unwrap().0.len(), 2);
            }
        }
    }

    #[test]
    fn a_simple_packet_is_cut_by_the_snapshot_length_and_has_the_time_of_the_one_before() {
        for order in BOTH {
            let ng = Ng::new(order).interface(101, 10, &[]).interface(1, 0, &[]);
            let ng = ng.enhanced(1, 77, &packet(), &[]).simple(60, &[5; 12]).simple(3, &[6; 4]);
            let (seen, status) = read(&ng.file).unwrap();
            let simple: Vec<_> = seen[1..]
                .iter()
                .map(|p| (p.link, p.timed, p.packet.time, p.packet.original, p.packet.data.len()))
                .collect();
            assert_eq!(simple, [(101, false, 77_000, 60, 10), (101, false, 77_000, 3, 3)]);
            assert_eq!(status.times, Some((Timestamp(77_000), Timestamp(77_000))));
        }
    }

    #[test]
    fn obsolete_packet_blocks_are_packets_with_drop_counts() {
        for order in BOTH {
            let ng = Ng::new(order).interface(1, 0, &[]).interface(113, 0, &[]);
            let ng = ng.obsolete(1, 3, 5, &packet()).obsolete(1, 4, 6, &packet()).obsolete(
                0,
                0xffff,
                7,
                &packet(),
            );
            let (seen, status) = read(&ng.file).unwrap();
            let all: Vec<_> = seen.iter().map(|p| (p.link, p.packet.time, p.packet.data.len())).collect();
            assert_eq!(all, [(113, 5_000, 54), (113, 6_000, 54), (1, 7_000, 54)]);
            assert_eq!(status.dropped, Some(7));
        }
    }

    #[test]
    fn drops_are_the_last_statistics_of_each_interface_or_its_packets_counts() {
        for order in BOTH {
            let n = |n| order.u64(n);
            let ng = Ng::new(order).interface(1, 0, &[]).interface(1, 0, &[]).interface(1, 0, &[]);
            let ng = ng
                .statistics(0, &[(5, &n(10)), (7, &n(2))])
                .statistics(0, &[(4, &n(999)), (5, &n(20)), (7, &n(2))]);
            let ng = ng.enhanced(0, 1, &packet(), &[(4, &n(5))]);
            let ng = ng.enhanced(1, 1, &packet(), &[(2, &[0; 4]), (4, &n(30))]).enhanced(
                1,
                1,
                &packet(),
                &[(4, &n(1))],
            );
            let ng = ng
                .section(order)
                .interface(1, 0, &[])
                .statistics(0, &[(5, &n(100))])
                .statistics(9, &[(5, &n(7))]);
            assert_eq!(read(&ng.file).unwrap().1.dropped, Some(22 + 31 + 100));
        }
    }

    #[test]
    fn a_statistics_block_without_counts_tells_nothing() {
        let ng = Ng::new(Order::Big).interface(1, 0, &[]).statistics(0, &[]);
        assert_eq!(read(&ng.file).unwrap().1.dropped, None);
    }

    #[test]
    fn custom_blocks_take_a_frame_number_as_in_wireshark_and_unknown_ones_do_not() {
        let ng =
            Ng::new(Order::Little).interface(1, 0, &[]).block(0xbad, &[0; 8]).enhanced(0, 1, &packet(), &[]);
        let ng = ng.block(0x4000_0bad, &[0; 8]).block(4, &[0; 4]).block(10, &[0; 8]).block(0x1234, &[0; 4]);
        let ng = ng.block(0x1234, &[]).enhanced(0, 1, &packet(), &[]);
        let (seen, status) = read(&ng.file).unwrap();
        assert_eq!(seen.iter().map(|p| p.number).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(status.packets, 2);
        assert_eq!(
            status.warnings,
            ["skipped 2 block(s) of the unknown type 0x00001234, the first at byte 212"]
        );
        assert_eq!(status.damage, None);
    }

    #[test]
    fn a_packet_of_an_undescribed_interface_is_left_out_and_said() {
        let ng = Ng::new(Order::Little).interface(1, 0, &[]).enhanced(0, 1, &packet(), &[]);
        let ng = ng.enhanced(7, 1, &packet(), &[]).enhanced(0, 2, &packet(), &[]);
        let (seen, status) = read(&ng.file).unwrap();
        assert_eq!(
            seen.iter().map(|p| (p.number, p.packet.time)).collect::<Vec<_>>(),
            [(1, 1_000), (2, 2_000)]
        );
        assert_eq!(
            status.damage.as_deref(),
            Some(
                "test: block at byte 136 has a packet of interface 7; its section describes 1 so far.\n  \
                 Only this was left out."
            )
        );
    }

    #[test]
    fn a_packet_that_claims_more_than_its_block_is_left_out() {
        let mut ng = Ng::new(Order::Little).interface(1, 0, &[]);
        let place = ng.file.len();
        ng = ng.enhanced(0, 1, &packet(), &[]).enhanced(0, 2, &packet(), &[]);
        ng.file[place + 20..place + 24].copy_from_slice(&57u32.to_le_bytes());
        let (seen, status) = read(&ng.file).unwrap();
        assert_eq!(seen.len(), 1);
        let damage = status.damage.unwrap();
        assert!(damage.starts_with(
            "test: block at byte 48 says it holds 57 bytes of a packet, but has room for 56.\n"
        ));
    }

    #[test]
    fn two_lengths_that_differ_stop_the_reading() {
        let mut ng = Ng::new(Order::Little).interface(1, 0, &[]).enhanced(0, 1, &packet(), &[]);
        let place = ng.file.len();
        ng = ng.enhanced(0, 1, &packet(), &[]).enhanced(0, 2, &packet(), &[]);
        ng.file[place + 84] = 89;
        let (seen, status) = read(&ng.file).unwrap();
        assert_eq!(seen.len(), 1);
        let damage = status.damage.unwrap();
        let start = "test: block at byte 136 says it is 88 bytes long at its start and 89 at its end.\n";
        assert!(damage.starts_with(start), "{damage}");
    }

    #[test]
    fn a_length_that_no_block_has_stops_the_reading() {
        let ng = Ng::new(Order::Little).interface(1, 0, &[]).enhanced(0, 1, &packet(), &[]);
        let mut file = ng.file;
        file.extend([6, 0, 0, 0, 0, 0, 0xff, 0xff]);
        file.extend([0; 18_212]);
        let (seen, status) = read(&file).unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!(
            status.damage.as_deref(),
            Some(
                "test: block at byte 136 says it is 4,294,901,760 bytes long; the file ends after 18,220.\n  \
                 The capture was cut off or overwritten there; what follows cannot be read. \
                 The 1 packet before it was analyzed."
            )
        );
    }

    #[test]
    fn a_section_with_a_wrong_byte_order_mark_stops_the_reading() {
        let mut ng = Ng::new(Order::Little).interface(1, 0, &[]).enhanced(0, 1, &packet(), &[]);
        ng = ng.section(Order::Big);
        ng.file[136 + 8] = 0x77;
        let (seen, status) = read(&ng.file).unwrap();
        assert_eq!(seen.len(), 1);
        let damage = status.damage.unwrap();
        let start = "test: block at byte 136 begins a section with the byte order mark 77 2B 3C 4D; expected";
        assert!(damage.starts_with(start), "{damage}");
    }

    #[test]
    fn a_section_of_an_unknown_version_is_left_out() {
        let mut ng = Ng::new(Order::Little).interface(1, 0, &[]).enhanced(0, 1, &packet(), &[]);
        ng = ng.section(Order::Big).interface(1, 0, &[]).enhanced(0, 2, &packet(), &[]);
        ng = ng.section(Order::Little).interface(1, 0, &[]).enhanced(0, 3, &packet(), &[]);
        ng.file[136 + 13] = 2;
        let (seen, status) = read(&ng.file).unwrap();
        assert_eq!(seen.iter().map(|p| p.packet.time).collect::<Vec<_>>(), [1_000, 3_000]);
        let start = "test: block at byte 136 begins a section of pcapng version 2.0; expected version 1.\n";
        assert!(status.damage.unwrap().starts_with(start));
    }

    #[test]
    fn blocks_longer_than_a_window_are_read_over_and_their_packets_cut() {
        for order in BOTH {
            let mut long = packet();
            long.data = (0..3_000_001u32).map(|i| i as u8).collect();
            let ng = Ng::new(order).interface(1, 0, &[]).block(10, &vec![1; 5_000_000]);
            let ng = ng
                .enhanced(0, 1, &packet(), &[])
                .enhanced(0, 2, &long, &[])
                .block(0xbad, &vec![1; 2_000_000]);
            let ng = ng.enhanced(0, 3, &packet(), &[]);
            let (seen, status) = read(&ng.file).unwrap();
            assert_eq!(status.damage, None);
            assert_eq!(
                seen.iter().map(|p| (p.number, p.packet.time)).collect::<Vec<_>>(),
                [(1, 1_000), (2, 2_000), (4, 3_000)]
            );
            assert_eq!(seen[1].packet.data[..], long.data[..64 << 10]);

            let mut broken = ng.file.clone();
            let end = 48 + 5_000_012 + 88 + 3_000_004 + 32;
            broken[end - 1] ^= 0x55;
            let (seen, status) = read(&broken).unwrap();
            assert_eq!(seen.len(), 1);
            assert!(status.damage.unwrap().contains("block at byte 5,000,148 says at its end"));
        }
    }

    #[test]
    fn interfaces_without_end_stop_the_reading() {
        let mut ng = Ng::new(Order::Little);
        for _ in 0..=MOST_INTERFACES {
            ng = ng.interface(1, 0, &[]);
        }
        let damage = read(&ng.file).unwrap().1.damage.unwrap();
        assert!(damage.contains("describes one more than 65,536 interfaces"), "{damage}");
    }
}
