//! An input, read without knowledge of its other parts: all of it, or a range of its bytes.
//!
//! A file that is not compressed can be cut anywhere. Where the first record of a range begins is a guess, as for a
//! [`InputPart`](super::InputPart). Of what a pcapng says beside its packets, a range knows the [`HEAD`] of the file only. [`RangeChain`] finds
//! out whether all this was right, once all ranges of the file are known.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use super::input::{OpenError, recognise};
use super::pcapng::Pcapng;
use super::reader::{PartBegin, ReadProgress, Reader};
use super::stream::InputStream;
use super::{Block, InputStatus, Silence, Silences};
use crate::time::Timestamp;

/// How many bytes of the beginning of a file are enough to read a range of it.
pub const HEAD: usize = 64 << 10;

/// The name of a piece of an input, and which of its bytes are to be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InputRange {
    /// The input's name in messages.
    pub path: String,
    /// Its place among the inputs.
    pub input: u16,
    /// Its size, bytes, where that is known.
    pub size: Option<u64>,
    /// Records that begin before this byte belong to another range.
    pub from: u64,
    /// Records that begin at this byte or later belong to another range; `u64::MAX` if there is none.
    pub until: u64,
}

/// The packets of one range of an input.
pub struct RangeReader {
    reader: Reader,
    silences: Silences,
    head: Vec<u8>,
    size: Option<u64>,
    is_whole: bool,
    /// Changes of the format's state that are known from the head.
    known: u64,
}

/// The result of reading one range.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RangeResult {
    /// How far the reading came; `None` for an input that could not be opened.
    progress: Option<ReadProgress>,
    /// The status of an input that was read as a whole, or could not be opened.
    status: Option<InputStatus>,
    silences: Silences,
    /// The first bytes of a file that was cut.
    head: Vec<u8>,
    /// Its size, bytes.
    size: Option<u64>,
    state: RangeState,
}

/// The data of a pcapng range beside its packets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct RangeState {
    changes: FormatChanges,
    /// The state at its end, if it changed in the range.
    pcapng: Option<Pcapng>,
    /// How many packet numbers it uses.
    numbers: u64,
}

/// How often the state of a file's format has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FormatChanges {
    /// Up to the beginning of a range, as far as the head of the file tells.
    pub known: u64,
    /// Up to its end.
    pub end: u64,
    /// A packet of it has no time of its own, but that of the one before.
    pub needs_time: bool,
}

/// Where a range lies among the others of its input.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RangeBounds {
    /// Where its first record lies; `None` when none was found.
    pub began: Option<u64>,
    /// Where the record after its last one lies.
    pub end: u64,
    /// Records that begin here or later belong to another range.
    pub until: u64,
    /// How many packet numbers it uses.
    pub packets: u64,
    /// The latest time of a packet in it.
    pub latest: Option<Timestamp>,
    /// Nothing after it can be read.
    pub stopped: bool,
    /// The state of the file's format.
    pub changes: FormatChanges,
}

impl RangeReader {
    /// Opens a range of an input. `bytes` begins at [`InputRange::from`] and goes on beyond [`InputRange::until`] to
    /// the end of the last record; `head` is the beginning of the file, [`HEAD`] bytes of it or all.
    ///
    /// # Errors
    /// It is no capture, or one that cannot be cut.
    pub fn open(
        place: &InputRange,
        head: &[u8],
        bytes: Box<dyn Read + Send>,
    ) -> Result<RangeReader, OpenError> {
        let InputRange { path, input, size, from, until } = place;
        let is_whole = *from == 0 && *until == u64::MAX;
        if *from == 0 {
            let mut reader = recognise(path, *input, bytes, *size)?;
            if !is_whole {
                check_divisible(&reader, path)?;
                reader.read_until(*until);
            }
            return Ok(RangeReader {
                reader,
                silences: Silences::of_part(),
                head: start_of(head),
                size: *size,
                is_whole,
                known: 0,
            });
        }
        let mut beginning = recognise(path, *input, Box::new(io::Cursor::new(head.to_vec())), *size)?;
        check_divisible(&beginning, path)?;
        // With the time of an earlier packet, other data is less likely to be taken for a record.
        beginning.fill(&mut Block::default(), HEAD);
        let reader = beginning.part_of(InputStream::within(bytes, *size), *from, *until, PartBegin::Anywhere);
        let known = reader.changes();
        Ok(RangeReader {
            reader,
            silences: Silences::of_part(),
            head: start_of(head),
            size: *size,
            is_whole,
            known,
        })
    }

    /// Replaces the contents of `block` by the next packets; `false` at the end. They are numbered from 1.
    pub fn next_block(&mut self, block: &mut Block) -> bool {
        let more = self.reader.fill(block, super::reader::WINDOW);
        self.silences.note_records(&block.records);
        more
    }

    /// Ends the reading and gives its result.
    ///
    /// # Errors
    /// The bytes of a range could not be read on.
    pub fn close(self) -> Result<RangeResult, String> {
        let mut progress = self.reader.progress();
        let status = self.is_whole.then(|| self.reader.status());
        if progress.has_failed() {
            if !self.is_whole {
                return Err(self.reader.status().damage.unwrap_or_default());
            }
            progress = ReadProgress::default();
        }
        let changes = FormatChanges {
            known: self.known,
            end: self.reader.changes(),
            needs_time: self.reader.depends_on_earlier(),
        };
        let pcapng = self.reader.pcapng().filter(|_| !self.is_whole && changes.end != changes.known);
        let state = RangeState { changes, pcapng: pcapng.cloned(), numbers: self.reader.numbered() };
        Ok(RangeResult {
            progress: Some(progress),
            status,
            silences: self.silences,
            head: self.head,
            size: self.size,
            state,
        })
    }
}

fn check_divisible(reader: &Reader, path: &str) -> Result<(), OpenError> {
    if reader.is_plain() {
        return Ok(());
    }
    let error = io::Error::new(io::ErrorKind::InvalidInput, "a compressed file cannot be cut");
    Err(OpenError::Failed { path: path.to_owned(), error })
}

/// As many bytes as the file header has.
fn start_of(head: &[u8]) -> Vec<u8> {
    head.get(..super::pcap::FILE_HEADER).unwrap_or(head).to_vec()
}

impl RangeResult {
    /// That of an input that could not be opened.
    pub fn refused(path: &str, error: &OpenError) -> RangeResult {
        let status =
            InputStatus { path: path.to_owned(), damage: Some(error.to_string()), ..InputStatus::default() };
        RangeResult {
            progress: None,
            status: Some(status),
            silences: Silences::of_part(),
            head: Vec::new(),
            size: None,
            state: RangeState::default(),
        }
    }

    /// Whether the input could not be opened.
    pub fn is_refused(&self) -> bool {
        self.progress.is_none()
    }

    /// Where it lies among the other ranges of its input.
    pub fn bounds(&self) -> RangeBounds {
        match &self.progress {
            Some(progress) => RangeBounds {
                began: progress.began,
                end: progress.end,
                until: progress.until.min(self.size.unwrap_or(u64::MAX)),
                packets: self.state.numbers,
                latest: progress.clock.times.map(|(_, latest)| latest),
                stopped: progress.has_stopped(),
                changes: self.state.changes,
            },
            None => RangeBounds {
                began: Some(0),
                end: 0,
                until: u64::MAX,
                packets: 0,
                latest: None,
                stopped: true,
                changes: FormatChanges::default(),
            },
        }
    }
}

/// The ranges of one input in their order: says which count, and what comes before each.
#[derive(Clone, Debug)]
pub struct RangeChain {
    /// Where the next record lies, once that is known.
    at: Option<u64>,
    /// Packets so far.
    packets: u64,
    /// The latest time so far.
    latest: Timestamp,
    /// Changes of the format's state so far.
    changes: u64,
    has_ended: bool,
}

/// The state before a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RangeOffset {
    /// To be added to the numbers of its packets.
    pub packets: u64,
    /// The latest time of a packet before it.
    pub latest: Timestamp,
}

/// A range was read from a place where no record begins, or without data from earlier in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrongRangeStart {
    /// Where a record begins.
    pub at: u64,
}

impl Default for RangeChain {
    fn default() -> RangeChain {
        RangeChain { at: None, packets: 0, latest: Timestamp::MIN, changes: 0, has_ended: false }
    }
}

impl RangeChain {
    /// Goes on with the next range. `None` if nothing in it counts.
    ///
    /// # Errors
    /// It was read from a wrong place.
    pub fn follow(&mut self, range: &RangeBounds) -> Result<Option<RangeOffset>, WrongRangeStart> {
        if self.has_ended || self.at.is_some_and(|at| at >= range.until) {
            return Ok(None);
        }
        if let Some(at) = self.at
            && (range.began != Some(at) || range.changes.known != self.changes || range.changes.needs_time)
        {
            return Err(WrongRangeStart { at });
        }
        let before = RangeOffset { packets: self.packets, latest: self.latest };
        self.at = Some(range.end);
        self.packets = self.packets.saturating_add(range.packets);
        self.latest = self.latest.max(range.latest.unwrap_or(Timestamp::MIN));
        self.changes = range.changes.end;
        self.has_ended = range.stopped;
        Ok(Some(before))
    }
}

/// The state of an input from its ranges, in order, and the intervals in which it has packets.
///
/// # Errors
/// One of them was read from a wrong place.
pub fn join(place: &InputRange, ranges: &[RangeResult]) -> Result<(InputStatus, Silences), WrongRangeStart> {
    if let [RangeResult { status: Some(status), silences, .. }] = ranges {
        let mut own = Silences::default();
        own.append(silences);
        return Ok((status.clone(), own));
    }
    let head = ranges.first().map(|first| first.head.clone()).unwrap_or_default();
    let reader = recognise(&place.path, place.input, Box::new(io::Cursor::new(head)), place.size);
    let mut reader = match reader {
        Ok(reader) => reader,
        Err(error) => {
            let refused = RangeResult::refused(&place.path, &error);
            return Ok((refused.status.unwrap_or_default(), Silences::default()));
        }
    };
    let (mut chain, mut silences) = (RangeChain::default(), Silences::default());
    for range in ranges {
        if let Some(before) = chain.follow(&range.bounds())?
            && let Some(progress) = &range.progress
        {
            silences.append(&range.silences);
            if let Some(pcapng) = &range.state.pcapng {
                reader.pass_pcapng(pcapng.clone());
            }
            reader.pass(progress.clone(), before.packets);
        }
    }
    Ok((reader.status(), silences))
}

/// The silences of several inputs that are read as one stream in time order.
pub fn common_silences(inputs: &[Silences]) -> Vec<Silence> {
    if let [only] = inputs {
        return only.list();
    }
    let mut eventful: Vec<_> = inputs.iter().flat_map(Silences::eventful).collect();
    eventful.sort_unstable();
    let mut all = Silences::default();
    eventful.into_iter().for_each(|interval| all.note_eventful(interval));
    all.list()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    fn bounds(began: Option<u64>, end: u64, until: u64) -> RangeBounds {
        RangeBounds {
            began,
            end,
            until,
            packets: 2,
            latest: None,
            stopped: false,
            changes: FormatChanges::default(),
        }
    }

    #[test]
    fn an_extent_counts_where_it_begins_as_the_one_before_ends() {
        let mut chain = RangeChain::default();
        let before = |packets| Ok(Some(RangeOffset { packets, latest: Timestamp::MIN }));
        assert_eq!(chain.follow(&bounds(Some(24), 120, 100)), before(0));
        assert_eq!(chain.follow(&bounds(Some(120), 330, 200)), before(2));
        // All of it belongs to a long record that begins before it.
        assert_eq!(chain.follow(&bounds(Some(280), 310, 300)), Ok(None));
        assert_eq!(chain.follow(&bounds(Some(340), 450, 400)), Err(WrongRangeStart { at: 330 }));
        assert_eq!(chain.follow(&bounds(Some(330), 450, 400)), before(4));
        assert_eq!(chain.follow(&bounds(None, 400, u64::MAX)), Err(WrongRangeStart { at: 450 }));
    }

    #[test]
    fn an_extent_must_know_what_the_file_says_before_it() {
        let changes = |known, end| FormatChanges { known, end, needs_time: false };
        let of = |from: u64, changes| RangeBounds { changes, ..bounds(Some(from), from + 100, from + 90) };
        let mut chain = RangeChain::default();
        assert!(chain.follow(&of(0, changes(0, 2))).is_ok());
        assert!(chain.follow(&of(100, changes(2, 3))).is_ok());
        assert_eq!(chain.clone().follow(&of(200, changes(2, 2))), Err(WrongRangeStart { at: 200 }));
        let without_time = FormatChanges { needs_time: true, ..changes(3, 3) };
        assert_eq!(chain.clone().follow(&of(200, without_time)), Err(WrongRangeStart { at: 200 }));
        assert!(chain.follow(&of(200, changes(3, 3))).is_ok());
    }

    #[test]
    fn nothing_counts_after_damage() {
        let mut chain = RangeChain::default();
        let damaged = RangeBounds { stopped: true, ..bounds(Some(24), 80, 100) };
        assert!(chain.follow(&damaged).unwrap().is_some());
        assert_eq!(chain.follow(&bounds(Some(100), 200, u64::MAX)), Ok(None));
    }

    #[test]
    fn what_one_input_fills_is_no_silence_of_the_stream() {
        let at = |seconds: &[i64]| {
            let mut silences = Silences::default();
            for second in seconds {
                silences.note_eventful([Timestamp(0) + Span::secs(*second); 2].into());
            }
            silences
        };
        let (one, other) = (at(&[0, 40, 200]), at(&[20, 60, 100]));
        assert_eq!(one.list().len(), 2);
        let both = common_silences(&[one, other]);
        let seconds: Vec<_> = both.iter().map(|s| (s.from.seconds(), s.to.seconds())).collect();
        assert_eq!(seconds, [(60, 100), (100, 200)]);
    }
}
