//! One input: its bytes are read into blocks, and its records are indexed there.

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::Arc;

use super::block::PacketRecord;
use super::clock::InputTimes;
use super::message::{GroupedDigits, PacketsBefore};
use super::pcap::{FILE_HEADER, Pcap};
use super::pcapng::Pcapng;
use super::read_at::ReadAt;
use super::record::{LONG, LongRecord, NextRecord, PacketNumbering, RecordDamage};
use super::stream::InputStream;
use super::{Block, InputStatus};
use crate::decode::segment::PacketId;
use crate::time::Timestamp;

/// How many bytes are read into a block at a time: few enough to be still in the core's own cache (L2) when the thread
/// that read them decodes them. They are always read into the same memory.
pub(super) const WINDOW: usize = 256 << 10;
/// Bytes in which the first record of a part is looked for at first; more if that is not enough.
const FIRST_LOOK: usize = 16 << 10;
/// No window is smaller: it must hold the kept bytes of a long packet and leave room to read over the rest.
const SMALLEST_WINDOW: usize = 128 << 10;

/// How far a reader has come in its part of an input.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct ReadProgress {
    /// Where the first record lies; `None` when none was found.
    #[cfg(feature = "fleet")]
    pub began: Option<u64>,
    /// Where the next record lies.
    pub end: u64,
    /// Records that begin here or later belong to another reader.
    pub until: u64,
    pub packets: u64,
    pub clock: InputTimes,
    stopped: Option<Stopped>,
}

impl ReadProgress {
    /// Whether nothing behind this place can be read.
    #[cfg(feature = "fleet")]
    pub(super) fn has_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// Whether the bytes themselves could not be read on.
    #[cfg(feature = "fleet")]
    pub(super) fn has_failed(&self) -> bool {
        matches!(&self.stopped, Some(Stopped { cause: StopCause::Failed(_), .. }))
    }
}

/// Why the reading stopped before the end.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
struct Stopped {
    /// Place of the record in the (decompressed) stream.
    at: u64,
    cause: StopCause,
}

#[derive(Clone, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
enum StopCause {
    /// The length that a record claims, the data that is there, and the likely cause.
    Damage { says: String, end: String, cause: Cow<'static, str> },
    /// The input cannot be read, or not be decompressed.
    #[cfg_attr(feature = "fleet", serde(skip))]
    Failed(Arc<io::Error>),
}

#[derive(Clone, Debug)]
enum FileFormat {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

impl FileFormat {
    /// Hands over the comments on the packets that were read last.
    fn hand_over_notes(&mut self, to: &mut Vec<(PacketId, Box<str>)>) {
        if let FileFormat::Pcapng(pcapng) = self {
            to.append(&mut pcapng.notes);
        }
    }

    fn index(
        &mut self,
        data: &[u8],
        base: u64,
        numbers: &mut PacketNumbering,
        into: &mut Vec<PacketRecord>,
    ) -> (usize, NextRecord) {
        match self {
            FileFormat::Pcap(pcap) => pcap.index(data, numbers, into),
            FileFormat::Pcapng(pcapng) => pcapng.index(data, base, numbers, into),
        }
    }

    fn claimed(&self, rest: &[u8]) -> Option<u64> {
        match self {
            FileFormat::Pcap(pcap) => pcap.claimed(rest),
            FileFormat::Pcapng(pcapng) => pcapng.claimed(rest),
        }
    }

    /// As [`Pcap::find`], [`Pcapng::find`].
    fn find(&self, data: &[u8], base: u64, near: Option<Timestamp>) -> Option<usize> {
        match self {
            FileFormat::Pcap(pcap) => pcap.find(data, near),
            FileFormat::Pcapng(pcapng) => pcapng.find(data, base),
        }
    }

    /// What the messages call a record.
    fn unit(&self) -> &'static str {
        match self {
            FileFormat::Pcap(_) => "record",
            FileFormat::Pcapng(_) => "block",
        }
    }
}

/// Why a stream is not read as a capture.
#[derive(Debug)]
pub(super) enum RecogniseError {
    /// There is nothing in it.
    Empty,
    /// No capture begins with these first bytes.
    Unknown(Vec<u8>),
    /// It begins like a capture, but its header has this error.
    Header(String),
    /// It cannot be read, or not be decompressed.
    Failed(io::Error),
}

/// Where a part of an input begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PartBegin {
    /// At a record: where the reading before it stopped.
    AtRecord,
    /// Anywhere: its first record must be searched for.
    Anywhere,
}

/// One input, from its first byte to its end.
pub(super) struct Reader {
    path: Arc<str>,
    stream: InputStream,
    format: FileFormat,
    numbers: PacketNumbering,
    /// The beginning of a record whose rest was not there yet.
    carry: Vec<u8>,
    /// Where `carry` lies in the (decompressed) stream.
    base: u64,
    /// Where the first record lies; `None` while it must be looked for, and when none was found.
    began: Option<u64>,
    /// The time of an earlier packet, which helps to recognise a record when one is searched for.
    near: Option<Timestamp>,
    /// Records that begin here or later are not read.
    until: u64,
    ended: bool,
    packets: u64,
    clock: InputTimes,
    stopped: Option<Stopped>,
}

impl Reader {
    /// Recognises the format of `stream`. `path` is its name in messages, `input` its place among the inputs.
    pub(super) fn new(path: &str, input: u16, mut stream: InputStream) -> Result<Reader, RecogniseError> {
        let mut head = vec![0; FILE_HEADER];
        let filled = stream.fill(&mut head).map_err(RecogniseError::Failed)?;
        head.truncate(filled);
        if head.is_empty() {
            return Err(RecogniseError::Empty);
        }
        let (format, base) = if let Some(pcap) = Pcap::recognise(&head) {
            head.clear();
            (FileFormat::Pcap(pcap.map_err(RecogniseError::Header)?), FILE_HEADER as u64)
        } else if let Some(pcapng) = Pcapng::recognise(&head) {
            (FileFormat::Pcapng(pcapng.map_err(RecogniseError::Header)?), 0)
        } else {
            return Err(RecogniseError::Unknown(head));
        };
        Ok(Reader {
            path: path.into(),
            stream,
            format,
            numbers: PacketNumbering { input, next: 1 },
            carry: head,
            base,
            began: Some(base),
            near: None,
            until: u64::MAX,
            ended: false,
            packets: 0,
            clock: InputTimes::default(),
            stopped: None,
        })
    }

    /// A reader of the records from `from` to `until`, in the state that this one is in. `None` where the input can only be
    /// read in turn.
    pub(super) fn part(&self, from: u64, until: u64, begin: PartBegin) -> Option<Reader> {
        Some(self.part_of(self.stream.from(from)?, from, until, begin))
    }

    /// The same of a `stream` that begins at `from`.
    pub(super) fn part_of(&self, stream: InputStream, from: u64, until: u64, begin: PartBegin) -> Reader {
        let mut format = self.format.clone();
        if let (FileFormat::Pcapng(pcapng), PartBegin::Anywhere) = (&mut format, begin) {
            pcapng.forget_time();
        }
        Reader {
            path: Arc::clone(&self.path),
            stream,
            format,
            numbers: PacketNumbering { next: 1, ..self.numbers },
            carry: Vec::new(),
            base: from,
            began: (begin == PartBegin::AtRecord).then_some(from),
            until,
            ended: false,
            packets: 0,
            near: self.clock.times.map(|_| self.clock.last),
            clock: InputTimes::default(),
            stopped: None,
        }
    }

    /// Goes on where `part` has stopped, as if this reader had read it. Returns how much to add to its packet numbers.
    pub(super) fn append(&mut self, part: Reader) -> u64 {
        let before = self.numbers.next.saturating_sub(1);
        self.numbers.next = part.numbers.next.saturating_add(before);
        let progress = part.progress();
        // Nothing in a pcap file changes after its header.
        if let (FileFormat::Pcapng(own), FileFormat::Pcapng(later)) = (&mut self.format, part.format) {
            own.append(later);
        }
        self.pass(progress, before);
        before
    }

    /// Goes on where another reader of the same input has stopped; `before` packets come before its packets.
    pub(super) fn pass(&mut self, progress: ReadProgress, before: u64) {
        self.clock.append(&progress.clock, before);
        self.packets = self.packets.saturating_add(progress.packets);
        self.base = progress.end;
        self.stopped = progress.stopped;
        // The end of a part is not the end of the input.
        self.ended = self.stopped.is_some() || progress.until == u64::MAX;
        self.stream.pass(self.base);
    }

    /// How far this reader has come.
    pub(super) fn progress(&self) -> ReadProgress {
        ReadProgress {
            #[cfg(feature = "fleet")]
            began: self.began,
            end: self.base,
            until: self.until,
            packets: self.packets,
            clock: self.clock.clone(),
            stopped: self.stopped.clone(),
        }
    }

    /// Whether this file is not compressed.
    #[cfg(feature = "fleet")]
    pub(super) fn is_plain(&self) -> bool {
        self.stream.compression.is_none()
    }

    /// The data of a pcapng beside its packets; `None` for a pcap file, where nothing changes after the header.
    #[cfg(feature = "fleet")]
    pub(super) fn pcapng(&self) -> Option<&Pcapng> {
        match &self.format {
            FileFormat::Pcap(_) => None,
            FileFormat::Pcapng(pcapng) => Some(pcapng),
        }
    }

    /// Goes on in the state in which a later part of the same file ended.
    #[cfg(feature = "fleet")]
    pub(super) fn pass_pcapng(&mut self, later: Pcapng) {
        if let FileFormat::Pcapng(own) = &mut self.format {
            own.append(later);
        }
    }

    /// How many numbers its packets took: in a pcapng some other blocks take one, too.
    #[cfg(feature = "fleet")]
    pub(super) fn numbered(&self) -> u64 {
        self.numbers.next.saturating_sub(1)
    }

    /// Records that begin at `until` or later belong to another reader.
    #[cfg(feature = "fleet")]
    pub(super) fn read_until(&mut self, until: u64) {
        self.until = until;
    }

    /// Enables reading in parts: `places` has the bytes of the input.
    pub(super) fn divide(&mut self, places: Arc<dyn ReadAt>) {
        self.stream.divide(places);
    }

    /// The bytes of the input, if it can be read in parts.
    pub(super) fn divisible(&self) -> Option<u64> {
        self.stream.size.filter(|_| self.stream.is_divisible())
    }

    /// Where the next record lies.
    pub(super) fn place(&self) -> u64 {
        self.base
    }

    /// Where the first record lies, as was given or found.
    pub(super) fn began(&self) -> Option<u64> {
        self.began
    }

    /// The end of this reader's part: records that begin from there on belong to the next.
    pub(super) fn until(&self) -> u64 {
        self.until
    }

    /// Whether there is nothing more to be read.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Packets read.
    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    /// How often the state of the format has changed so that later records are read in another way, or something was
    /// counted.
    pub(super) fn changes(&self) -> u64 {
        match &self.format {
            FileFormat::Pcap(_) => 0,
            FileFormat::Pcapng(pcapng) => pcapng.changes,
        }
    }

    /// Whether anything that was read depends on earlier data.
    pub(super) fn depends_on_earlier(&self) -> bool {
        matches!(&self.format, FileFormat::Pcapng(pcapng) if pcapng.needs_time)
    }

    /// Replaces the contents of `block` by the next packets, reading up to `window` bytes at a time; `false` at the
    /// end. Returns as soon as one read has completed a packet.
    pub(super) fn fill(&mut self, block: &mut Block, window: usize) -> bool {
        block.clear();
        if self.ended {
            return false;
        }
        let room = window.max(self.carry.len()).max(SMALLEST_WINDOW);
        if block.data.len() < room || block.data.len() > LONG.max(window) {
            block.data.resize(room, 0);
        }
        // Start and end of the bytes that are read and not yet indexed.
        let (mut start, mut end) = if self.began.is_some() {
            let begun = self.carry.as_slice().read(&mut block.data).unwrap_or_default();
            (0, begun)
        } else {
            self.find_first(&mut block.data)
        };
        self.carry.clear();
        loop {
            let data = block.data.get(start..end).unwrap_or_default();
            let (consumed, found) = self.format.index(data, self.base, &mut self.numbers, &mut block.records);
            self.format.hand_over_notes(&mut block.notes);
            // All records come from this pass: if it finds some, it is the last pass.
            self.packets = self.packets.saturating_add(block.len() as u64);
            if start > 0 {
                block.records.iter_mut().for_each(|record| record.move_by(start));
            }
            start = start.saturating_add(consumed);
            self.base = self.base.saturating_add(consumed as u64);
            if !block.is_empty() && !matches!(found, NextRecord::Damage(_)) {
                self.carry.extend_from_slice(block.data.get(start..end).unwrap_or_default());
                break;
            }
            match found {
                NextRecord::Need(_) if self.base >= self.until => self.ended = true,
                NextRecord::Need(length) => {
                    if start > 0 && start.saturating_add(length) > block.data.len() {
                        block.data.copy_within(start..end, 0);
                        (start, end) = (0, end.saturating_sub(start));
                    }
                    if length > block.data.len() {
                        block.data.resize(length, 0);
                    }
                    end = self.read_on(&mut block.data, (start, end), length);
                }
                NextRecord::Long(long) => {
                    let mut record = long.record;
                    if let Some(record) = &mut record {
                        record.move_by(start);
                    }
                    if self.pass_over(&long, &mut block.data, (start, end), record.as_ref()) {
                        if long.numbered {
                            self.numbers.skip_one();
                        }
                        block.records.extend(record);
                        self.packets = self.packets.saturating_add(block.len() as u64);
                        if !block.is_empty() {
                            break;
                        }
                        (start, end) = (0, 0);
                    }
                }
                NextRecord::Damage(damage) => self.damaged(&damage),
            }
            if self.ended {
                break;
            }
        }
        block.filled = end;
        self.clock.note(&block.records);
        !block.is_empty()
    }

    /// Reads on into `data`, which is filled from `start` to `end`, until `length` bytes may be there. Returns the new
    /// end.
    fn read_on(&mut self, data: &mut [u8], (start, end): (usize, usize), length: usize) -> usize {
        // Reads no records of another reader, but the last own one to its end.
        let there = end.saturating_sub(start) as u64;
        let wanted = self
            .until
            .saturating_sub(self.base.saturating_add(there))
            .max((length as u64).saturating_sub(there));
        let limit = usize::try_from(wanted).unwrap_or(usize::MAX).saturating_add(end).min(data.len());
        match self.stream.read(data.get_mut(end..limit).unwrap_or_default()) {
            Ok(0) => self.at_end(data.get(start..end).unwrap_or_default()),
            Ok(n) => return end.saturating_add(n),
            Err(error) => self.failed(error),
        }
        end
    }

    /// Reads the beginning of the part into `data` and searches for the first record. Returns its place there, and the
    /// end of the data. If there is no record, the reading is over.
    fn find_first(&mut self, data: &mut [u8]) -> (usize, usize) {
        let most =
            usize::try_from(self.until.saturating_sub(self.base)).unwrap_or(usize::MAX).min(data.len());
        let (mut end, mut look) = (0, FIRST_LOOK);
        loop {
            while let Some(room @ [_, ..]) = data.get_mut(end..look.min(most)) {
                match self.stream.read(room) {
                    Ok(0) | Err(_) => break,
                    Ok(n) => end = end.saturating_add(n),
                }
            }
            let there = data.get(..end).unwrap_or_default();
            if let Some(start) = self.format.find(there, self.base, self.near) {
                self.base = self.base.saturating_add(start as u64);
                self.began = Some(self.base);
                return (start, end);
            }
            if end < look {
                self.ended = true;
                return (0, 0);
            }
            look = look.saturating_mul(4);
        }
    }

    /// Skips a record that lies at `start` in `data`, which is filled up to `end`, without touching the kept bytes of
    /// its packet. Returns whether the record was complete.
    fn pass_over(
        &mut self,
        long: &LongRecord,
        data: &mut [u8],
        (start, end): (usize, usize),
        kept: Option<&PacketRecord>,
    ) -> bool {
        // The rest goes behind the packet's kept bytes, or over the record where it has none.
        let scratch = kept.map_or(0, PacketRecord::end);
        let trailer = if long.trailer.is_some() { 4 } else { 0 };
        let mut seen = end.saturating_sub(start) as u64;
        while seen < long.length {
            let left = long.length.saturating_sub(seen);
            // The trailer is read by itself, into the start of the spare memory.
            let want = Some(left.saturating_sub(trailer)).filter(|want| *want > 0).unwrap_or(left);
            let place = scratch.saturating_add(trailer.saturating_sub(left) as usize);
            let limit = usize::try_from(want).unwrap_or(usize::MAX).saturating_add(place).min(data.len());
            match self.stream.read(data.get_mut(place..limit).unwrap_or_default()) {
                Ok(0) => {
                    self.end_in_record(Some(long.length), seen);
                    return false;
                }
                Ok(n) => seen = seen.saturating_add(n as u64),
                Err(error) => {
                    self.base = self.base.saturating_add(seen);
                    self.failed(error);
                    return false;
                }
            }
        }
        if let Some(expected) = long.trailer
            && data.get(scratch..).and_then(<[u8]>::first_chunk) != Some(&expected)
        {
            let what = "says at its end that it has another length than at its start".to_owned();
            self.damaged(&RecordDamage::Other(what));
            return false;
        }
        self.base = self.base.saturating_add(long.length);
        true
    }

    /// The stream is over; `rest` remains of it.
    fn at_end(&mut self, rest: &[u8]) {
        self.ended = true;
        if !rest.is_empty() {
            self.end_in_record(self.format.claimed(rest), rest.len() as u64);
        }
    }

    fn end_in_record(&mut self, claimed: Option<u64>, there: u64) {
        let claimed = claimed.map(GroupedDigits);
        let says = match claimed {
            Some(claimed) => format!("says it is {claimed} bytes long"),
            None => "is cut off in its header".to_owned(),
        };
        self.stop(
            &says,
            &format!("; the file ends after {}", GroupedDigits(there)),
            "The capture was cut off or overwritten there.",
        );
    }

    fn damaged(&mut self, damage: &RecordDamage) {
        let (says, end) = match damage {
            RecordDamage::Other(what) => (what.clone(), String::new()),
            RecordDamage::Length { claimed, limit } => {
                let left = match (self.stream.compression, self.stream.size) {
                    (None, Some(size)) => Some(size.saturating_sub(self.base)),
                    _ => None,
                };
                let end = match left {
                    Some(left) if left < *claimed => format!("; the file ends after {}", GroupedDigits(left)),
                    _ => format!("; at most {} were expected", GroupedDigits(*limit)),
                };
                (format!("says it is {} bytes long", GroupedDigits(*claimed)), end)
            }
        };
        self.stop(
            &says,
            &end,
            "The capture was cut off or overwritten there; the rest of it cannot be read.",
        );
    }

    fn stop(&mut self, says: &str, end: &str, cause: &'static str) {
        let cause = StopCause::Damage { says: says.to_owned(), end: end.to_owned(), cause: cause.into() };
        self.stopped = Some(Stopped { at: self.base, cause });
        self.ended = true;
    }

    fn failed(&mut self, error: io::Error) {
        self.stopped = Some(Stopped { at: self.base, cause: StopCause::Failed(Arc::new(error)) });
        self.ended = true;
    }

    /// Why the reading stopped before the end, if it did.
    fn damage(&self) -> Option<String> {
        let Stopped { at, cause } = self.stopped.as_ref()?;
        let (path, at, before) = (&self.path, GroupedDigits(*at), PacketsBefore(self.packets));
        Some(match (cause, self.stream.compression) {
            (StopCause::Damage { says, end, cause }, _) => {
                let unit = self.format.unit();
                format!("{path}: {unit} at byte {at} {says}{end}.\n  {cause} {before}")
            }
            (StopCause::Failed(error), Some(_)) if error.kind() == io::ErrorKind::Unsupported => {
                format!(
                    "{path}: cannot be decompressed from byte {at} of the capture on: {error}.\n  {before}"
                )
            }
            (StopCause::Failed(error), Some(compression)) => format!(
                "{path}: the {name} data is damaged or cut off after byte {at} of the decompressed capture: {error}.\n  \
                 What follows cannot be read. {before} To check the file: {name} -t",
                name = compression.name(),
            ),
            (StopCause::Failed(error), None) => {
                format!("{path}: cannot be read after byte {at}: {error}.\n  {before}")
            }
        })
    }

    /// The latest time so far; `Timestamp::MIN` before the first packet that has one.
    pub(super) fn latest(&self) -> Timestamp {
        self.clock.times.map_or(Timestamp::MIN, |(_, latest)| latest)
    }

    /// Whether the input may still be written: a pipe, not a file.
    pub(super) fn is_live(&self) -> bool {
        self.stream.size.is_none()
    }

    /// The status of the input so far.
    pub(super) fn status(&self) -> InputStatus {
        let (name, dropped, snaplen) = match &self.format {
            FileFormat::Pcap(pcap) => (pcap.name(), None, pcap.snaplen),
            FileFormat::Pcapng(pcapng) => ("pcapng", pcapng.dropped(), pcapng.snaplen),
        };
        let format = match self.stream.compression {
            Some(compression) => format!("{name}.{}", compression.suffix()),
            None => name.to_owned(),
        };
        let mut warnings: Vec<String> = self.clock.warning().into_iter().collect();
        let mut damage = self.damage();
        if let FileFormat::Pcapng(pcapng) = &self.format {
            warnings.extend(pcapng.warnings());
            let skipped = pcapng.damage();
            if damage.is_none() {
                damage = skipped.map(|skipped| format!("{}: {skipped}", self.path));
            } else {
                // One message per input; the place where reading stopped matters more.
                warnings.extend(skipped.map(|skipped| skipped.replace("\n ", "")));
            }
        }
        InputStatus {
            path: self.path.to_string(),
            format,
            packets: self.packets,
            times: self.clock.times,
            dropped,
            clock_jumps: self.clock.jumps,
            snaplen,
            interfaces: match &self.format {
                FileFormat::Pcapng(pcapng) => pcapng.texts.clone(),
                FileFormat::Pcap(_) => Vec::new(),
            },
            position: (self.stream.consumed(), self.stream.size),
            damage,
            warnings,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::hint::black_box;
    use std::time::Instant;

    use super::*;
    use crate::capture::Silences;

    /// Not a test but a measurement: `cargo test --release --lib capture:: -- --ignored --nocapture`, with
    /// `SYNSCOPE_BENCH` naming an uncompressed capture. One window of it is indexed again and again.
    #[test]
    #[ignore = "a measurement"]
    fn time_to_index_a_packet() {
        let Some(path) = std::env::var_os("SYNSCOPE_BENCH") else {
            eprintln!("SYNSCOPE_BENCH names no capture");
            return;
        };
        let file = File::open(path).unwrap();
        let mut reader =
            Reader::new("bench", 0, InputStream::new(Box::new(file), None).unwrap()).ok().unwrap();
        let mut window = std::mem::take(&mut reader.carry);
        let begun = window.len();
        window.resize(WINDOW, 0);
        reader.stream.fill(&mut window[begun..]).unwrap();
        let mut block = Block::default();
        let rounds = 300;
        let mut best = [f64::MAX; 3];
        for _ in 0..10 {
            let mut spent = [0.0; 3];
            for _ in 0..rounds {
                block.records.clear();
                let start = Instant::now();
                reader.format.index(black_box(&window), 0, &mut reader.numbers, &mut block.records);
                spent[0] += start.elapsed().as_secs_f64();
                let start = Instant::now();
                InputTimes::default().note(black_box(&block.records));
                spent[1] += start.elapsed().as_secs_f64();
                let start = Instant::now();
                Silences::default().note_records(black_box(&block.records));
                spent[2] += start.elapsed().as_secs_f64();
            }
            for (best, spent) in best.iter_mut().zip(spent) {
                *best = best.min(spent * 1e9 / (rounds * block.len()) as f64);
            }
        }
        let [index, clock, silence] = best;
        let packets = block.len();
        eprintln!(
            "{packets} packets in a window; ns each: index {index:.2}, clock {clock:.2}, silences {silence:.2}"
        );
    }
}
