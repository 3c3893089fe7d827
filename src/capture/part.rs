//! A part of a file, which any thread can read while others read the parts before it.
//!
//! Where the first record of an [`InputPart`] begins is a guess: several plausible headers in a row. The guess is worth
//! nothing by itself. Parts are given back in the order of the file. A part is read again from the right place if it did
//! not begin exactly where the one before it ended, or if it needed the packets before it. So packets, their numbers,
//! and messages about damage are those of a reader that goes from record to record.

use super::block::Correction;
use super::reader::{PartBegin, Reader, WINDOW};
use super::{Block, Silences};

/// A part of the input that any thread can read on its own.
pub struct InputPart {
    pub(super) reader: Reader,
    begin: PartBegin,
    silences: Silences,
    /// The state of the format that it relies on, as a count of changes.
    changes: u64,
    /// How its times are to be read; as they stand without it.
    pub(super) correction: Option<Correction>,
}

impl InputPart {
    /// Replaces the contents of `block` by the next packets of the part; `false` at its end. Their numbers count from
    /// the part's beginning; [`PartState::Next`] tells how much to add.
    pub fn next_block(&mut self, block: &mut Block) -> bool {
        let more = self.reader.fill(block, WINDOW);
        self.silences.note_records(&block.records);
        if let Some(correction) = &self.correction {
            block.correct_times(correction);
        }
        more
    }

    /// Packets read.
    pub fn packets(&self) -> u64 {
        self.reader.packets()
    }
}

/// The state of a [`InputPart`] that was read to its end and given back.
pub enum PartState {
    /// It is what comes next in the stream.
    Next {
        /// To be added to the number of each of its packets.
        before: u64,
    },
    /// It did not begin where the stream goes on. Its packets are void, and this part is to be read in its place.
    Again(Box<InputPart>),
    /// The stream has ended before it.
    Beyond,
}

/// Cuts an input into parts and puts their results together.
#[derive(Debug, Default)]
pub(super) struct InputParts {
    /// Where the next part begins, while others are being read.
    next: u64,
    /// Parts that are out.
    out: usize,
    /// Wrong guesses weigh more than right ones.
    mistrust: u32,
}

/// Bytes of the first part, at most: the others wait for it.
const FIRST: u64 = 64 << 10;
/// What a wrong guess adds to [`InputParts::mistrust`]; a right one takes 1 away.
const WRONG: u32 = 4;
/// From here on parts are no longer guessed: reading twice costs more than reading in order.
const GIVE_UP: u32 = 64;

impl InputParts {
    /// The next part of about `bytes`; `None` at the end of the input, and while parts that are out must be given back first.
    pub(super) fn next(&mut self, reader: &Reader, bytes: u64) -> Option<InputPart> {
        let size = reader.divisible().filter(|_| !reader.has_ended())?;
        let exact = self.out == 0;
        // Before the first packet it is not known what packets look like: their times, the interfaces.
        let begun = reader.packets() > 0;
        if !exact && (self.next >= size || self.mistrust >= GIVE_UP || !begun) {
            return None;
        }
        let (begin, from) =
            if exact { (PartBegin::AtRecord, reader.place()) } else { (PartBegin::Anywhere, self.next) };
        let end = from.saturating_add(if begun { bytes.max(1) } else { bytes.clamp(1, FIRST) });
        // The file may have grown: the last part ends where the file does.
        self.next = if end < size { end } else { u64::MAX };
        self.part(reader, from, self.next, begin)
    }

    fn part(&mut self, reader: &Reader, from: u64, until: u64, begin: PartBegin) -> Option<InputPart> {
        let part = reader.part(from, until, begin)?;
        self.out = self.out.saturating_add(1);
        let (silences, changes) = (Silences::of_part(), reader.changes());
        Some(InputPart { reader: part, begin, silences, changes, correction: None })
    }

    /// Takes back the next part in order.
    pub(super) fn give_back(
        &mut self,
        reader: &mut Reader,
        silences: &mut Silences,
        part: InputPart,
    ) -> PartState {
        self.out = self.out.saturating_sub(1);
        if reader.has_ended() {
            return PartState::Beyond;
        }
        let fits = part.reader.began() == Some(reader.place())
            && (part.begin == PartBegin::AtRecord
                || part.changes == reader.changes() && !part.reader.depends_on_earlier());
        if fits {
            if part.begin == PartBegin::Anywhere {
                self.mistrust = self.mistrust.saturating_sub(1);
            }
            silences.append(&part.silences);
            return PartState::Next { before: reader.append(part.reader) };
        }
        self.mistrust = self.mistrust.saturating_add(WRONG).min(GIVE_UP + WRONG);
        match self.part(reader, reader.place(), part.reader.until(), PartBegin::AtRecord) {
            Some(again) => PartState::Again(Box::new(again)),
            None => PartState::Beyond,
        }
    }
}
