//! Several inputs as one stream in time order.
//!
//! The time that orders a packet is the latest one of its input up to it: within an input packets stay in the order
//! in which they were captured, even where the clock steps back. Between inputs equal times stay in the order of the
//! command line.
//!
//! An input stays closed until the stream comes to its first packet. So a rotated set of thousands of files is read one
//! by one, and its blocks are passed on untouched. Only inputs that overlap in time are open together, and their
//! packets are copied into common blocks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};

use super::input::{OpenError, open_one};
use super::part::{InputPart, InputParts, PartState};
use super::reader::{Reader, WINDOW};
use super::stop::StopRequest;
use super::{Block, InputStatus, MERGED_BYTES, Silence, Silences, Source};
use crate::time::Timestamp;

/// Inputs that are open together at most. Each takes a window, a file descriptor, perhaps a decoder with its thread.
const MOST_OPEN: usize = 128;
/// Bytes read to learn the time of an input's first packet.
const FIRST_LOOK: usize = 128 << 10;
/// Packets in a block of merged packets.
const MERGED_PACKETS: usize = 8192;

/// Orders inputs among each other: time, then place on the command line.
type Key = (Timestamp, usize);

/// Several inputs as one stream in time order.
#[derive(Default)]
pub(super) struct MergedInputs {
    inputs: Vec<OrderedInput>,
    /// Inputs not begun, the earliest last.
    waiting: Vec<Key>,
    sorted: bool,
    /// Inputs begun, by the key of their next packet, or a lower bound where that must be read first.
    begun: BinaryHeap<Reverse<Key>>,
    /// The latest key handed out.
    latest: Timestamp,
    silences: Silences,
    /// The blocks of an input that is alone.
    parts: InputParts,
}

struct OrderedInput {
    path: PathBuf,
    state: InputState,
    warnings: Vec<String>,
}

enum InputState {
    /// Its first packet was read, and it was closed again.
    Closed(InputStatus),
    /// Being read.
    Open(Box<Open>),
    /// Read to its end, or never opened.
    Over(InputStatus),
}

struct Open {
    reader: Reader,
    block: Block,
    /// The next record of `block`; after the last one, the reader must fill the block again.
    next: usize,
    /// Latest time before `next`.
    key: Timestamp,
}

impl Open {
    fn new(reader: Reader) -> Open {
        Open { reader, block: Block::default(), next: 0, key: Timestamp::MIN }
    }

    /// Reads the next packets; `false` at the end.
    fn read(&mut self, window: usize) -> bool {
        self.next = 0;
        self.reader.fill(&mut self.block, window)
    }

    fn exhausted(&self) -> bool {
        self.next == self.block.records.len()
    }

    /// The key of the next packet, or a lower bound where it must be read first.
    fn next_key(&self) -> Timestamp {
        match self.block.records.get(self.next) {
            Some(record) if record.timed => self.key.max(record.time),
            _ => self.key,
        }
    }
}

impl MergedInputs {
    /// Adds the only input: nothing is read ahead of it.
    pub(super) fn add_only(&mut self, path: &Path, reader: Reader) {
        self.begun.push(Reverse((Timestamp::MIN, self.inputs.len())));
        self.push(path, InputState::Open(Box::new(Open::new(reader))));
    }

    /// Adds one of several inputs: reads up to its first packet. A file is closed again, a pipe stays open.
    pub(super) fn add(&mut self, path: &Path, reader: Reader) {
        let mut open = Box::new(Open::new(reader));
        if !open.read(FIRST_LOOK) {
            return self.push(path, InputState::Over(open.reader.status()));
        }
        self.waiting.push((open.next_key(), self.inputs.len()));
        let status = open.reader.status();
        self.push(
            path,
            match status.position.1 {
                None => InputState::Open(open),
                // Nothing of it has been delivered yet.
                size => InputState::Closed(InputStatus {
                    format: status.format,
                    snaplen: status.snaplen,
                    position: (0, size),
                    ..InputStatus::default()
                }),
            },
        );
    }

    /// Adds an input that cannot be read, so that the others keep their places.
    pub(super) fn add_failed(&mut self, path: &Path, error: &OpenError) {
        self.push(
            path,
            InputState::Over(InputStatus { damage: Some(error.to_string()), ..InputStatus::default() }),
        );
    }

    /// Adds an input that is not to be read, so that the others keep their places.
    pub(super) fn add_unread(&mut self, path: &Path) {
        self.push(path, InputState::Over(InputStatus::default()));
    }

    fn push(&mut self, path: &Path, state: InputState) {
        self.inputs.push(OrderedInput { path: path.to_owned(), state, warnings: Vec::new() });
    }

    /// The input that waits for the earliest time.
    fn first_waiting(&self) -> Option<Key> {
        self.waiting.last().copied()
    }

    /// Begins the inputs whose first packet is the next of the stream.
    fn begin_due(&mut self) {
        while let Some(first) = self.first_waiting() {
            let due = self.begun.peek().is_none_or(|Reverse(next)| first < *next);
            if !due || self.begun.len() == MOST_OPEN {
                return;
            }
            self.waiting.pop();
            self.begin(first);
        }
    }

    fn begin(&mut self, (first, place): Key) {
        let Some(input) = self.inputs.get_mut(place) else { return };
        if matches!(input.state, InputState::Closed(_)) {
            input.state = match open_one(&input.path, place as u16, &StopRequest::default()) {
                Ok(reader) => InputState::Open(Box::new(Open::new(reader))),
                Err(error) => InputState::Over(InputStatus {
                    damage: Some(error.to_string()),
                    ..InputStatus::default()
                }),
            };
        }
        if first < self.latest {
            input.warnings.push(format!(
                "begins while {MOST_OPEN} other captures are being read: its packets come late, out of time order. \
                 Merge some of the captures with mergecap first"
            ));
        }
        if matches!(input.state, InputState::Open(_)) {
            self.begun.push(Reverse((first, place)));
        }
    }

    /// Adds packets of the input that comes next to `out`, as long as it is that input's turn. Returns whether `out` is
    /// to be handed out now.
    fn add_next(&mut self, (_, place): Key, out: &mut Block) -> bool {
        let free = self.begun.len().saturating_add(1) < MOST_OPEN;
        let limit = [self.begun.peek().map(|Reverse(key)| *key), self.first_waiting().filter(|_| free)];
        let limit = limit.into_iter().flatten().min();
        let Some(input) = self.inputs.get_mut(place) else { return false };
        let InputState::Open(open) = &mut input.state else { return false };

        if open.exhausted() {
            let live = open.reader.is_live();
            if live && !out.is_empty() {
                // Packets that are there must not wait for those that a pipe will bring.
                self.begun.push(Reverse((open.key, place)));
                return true;
            }
            if open.read(WINDOW) {
                self.begun.push(Reverse((open.next_key(), place)));
            } else {
                input.state = InputState::Over(open.reader.status());
            }
            return false;
        }

        let last = open.reader.latest();
        if open.next == 0 && limit.is_none_or(|limit| (last, place) < limit) {
            if !out.is_empty() {
                self.begun.push(Reverse((open.next_key(), place)));
                return true;
            }
            // The whole block comes before all others: it is passed on as it is.
            std::mem::swap(out, &mut open.block);
            open.block.clear();
            open.key = last;
            self.latest = self.latest.max(last);
            self.begun.push(Reverse((last, place)));
            return true;
        }

        out.notes.append(&mut open.block.notes);
        while let Some(record) = open.block.records.get(open.next) {
            let key = open.next_key();
            let full = out.len() == MERGED_PACKETS || out.filled >= WINDOW;
            if full || limit.is_some_and(|limit| (key, place) >= limit) {
                self.begun.push(Reverse((key, place)));
                return full;
            }
            let mut packet = open.block.packet(record);
            packet.data = packet.data.get(..MERGED_BYTES).unwrap_or(packet.data);
            out.push(&packet);
            open.next = open.next.saturating_add(1);
            open.key = key;
            self.latest = self.latest.max(key);
        }
        self.begun.push(Reverse((open.key, place)));
        false
    }
}

impl Source for MergedInputs {
    fn next_block(&mut self, block: &mut Block) -> bool {
        if !self.sorted {
            self.waiting.sort_by_key(|key| Reverse(*key));
            self.latest = Timestamp::MIN;
            self.sorted = true;
        }
        block.clear();
        loop {
            self.begin_due();
            let Some(Reverse(next)) = self.begun.pop() else { break };
            if self.add_next(next, block) {
                break;
            }
        }
        self.silences.note_records(&block.records);
        !block.is_empty()
    }

    fn status(&self) -> Vec<InputStatus> {
        let status = |input: &OrderedInput| {
            let mut status = match &input.state {
                InputState::Closed(status) | InputState::Over(status) => status.clone(),
                InputState::Open(open) => open.reader.status(),
            };
            status.path = input.path.display().to_string();
            status.warnings.extend(input.warnings.iter().cloned());
            status
        };
        self.inputs.iter().map(status).collect()
    }

    fn silences(&self) -> Vec<Silence> {
        self.silences.list()
    }

    fn next_part(&mut self, bytes: u64) -> Option<InputPart> {
        match &self.inputs[..] {
            [OrderedInput { state: InputState::Open(open), .. }] => self.parts.next(&open.reader, bytes),
            _ => None,
        }
    }

    fn give_back(&mut self, part: InputPart) -> PartState {
        match &mut self.inputs[..] {
            [OrderedInput { state: InputState::Open(open), .. }] => {
                self.parts.give_back(&mut open.reader, &mut self.silences, part)
            }
            _ => PartState::Beyond,
        }
    }
}
