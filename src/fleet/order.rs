//! The segments of one point and shard, from all ranges of all captures, put in time order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::Read;
use std::sync::Arc;

use super::Error;
use super::outline::RangeOutline;
use super::rows::{FleetRow, RowKind, RowReader, unpack};
use super::segments::{self, Ordered};
use super::spool::{Spool, SpooledBody};
use crate::capture::range::{RangeChain, RangeOffset};
use crate::decode::segment::Segment;
use crate::time::Timestamp;

/// Segments that are handed on together.
const TOGETHER: usize = 1 << 14;

/// Time of the first segment, capture, begin and piece of a row: rows are sorted by these.
pub(super) type RowPlace = (i64, i32, i64, i32);

/// The rows of one point and shard.
#[derive(Default)]
pub(super) struct Part {
    /// By capture and begin.
    pub(super) outlines: BTreeMap<(i32, i64), RangeOutline>,
    segments: BTreeMap<RowPlace, SpooledBody>,
}

/// All rows that a stage gets.
pub(super) struct Parts {
    /// By point and shard.
    pub(super) parts: BTreeMap<(Arc<str>, i32), Part>,
    /// Rows of other kinds.
    pub(super) others: Vec<FleetRow>,
    pub(super) spool: Spool,
}

impl Parts {
    /// Reads them all, in any order.
    ///
    /// # Errors
    /// A stream that is broken, or rows that are there twice.
    pub(super) fn read(stage: &'static str, from: impl Read) -> Result<Parts, Error> {
        let mut rows = RowReader::new(stage, from)?;
        let mut all = Parts { parts: BTreeMap::new(), others: Vec::new(), spool: Spool::default() };
        while let Some(row) = rows.next_row()? {
            match row.kind {
                RowKind::Outline | RowKind::Segments => {
                    let part = all.parts.entry((Arc::clone(&row.point), row.shard)).or_default();
                    part.add(row, &mut all.spool)?;
                }
                _ => all.others.push(row),
            }
        }
        Ok(all)
    }
}

impl Part {
    fn add(&mut self, row: FleetRow, spool: &mut Spool) -> Result<(), Error> {
        let FleetRow { point, shard, kind, time, capture, begin, piece, body } = row;
        let is_new = match kind {
            RowKind::Outline => self.outlines.insert((capture, begin), unpack(&body)?).is_none(),
            _ => self.segments.insert((time, capture, begin, piece), spool.keep(body)?).is_none(),
        };
        if is_new {
            return Ok(());
        }
        let what = format!(
            "shard {shard}: {kind:?} {piece} of the range at byte {begin} of capture {capture} is there twice"
        );
        Err(Error::Incomplete { point: point.to_string(), what })
    }

    /// Hands all segments to `to` in order, some at a time.
    ///
    /// # Errors
    /// Rows that cannot be read back, a range that was read from a wrong place, and those of `to`.
    pub(super) fn in_order(
        self,
        spool: &mut Spool,
        to: &mut dyn FnMut(&mut [Segment]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut order = InOrder::new(&self.outlines)?;
        for (place, kept) in self.segments {
            order.row(place, || spool.body(kept), to)?;
        }
        order.finish(to)
    }
}

/// Facts about all ranges of a point and shard together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ShardSummary {
    /// A connection was closed.
    pub(super) closes: bool,
    /// The latest time of a packet that was wanted.
    pub(super) last: Option<Timestamp>,
    /// How many captures there are.
    pub(super) captures: usize,
}

/// The offset of each range that counts, and facts about these together.
type Followed = (BTreeMap<(i32, i64), RangeOffset>, ShardSummary);

/// Finds out which ranges count.
pub(super) fn follow(outlines: &BTreeMap<(i32, i64), RangeOutline>) -> Result<Followed, Error> {
    let mut chains: BTreeMap<i32, RangeChain> = BTreeMap::new();
    let mut before = BTreeMap::new();
    let mut whole = ShardSummary { closes: false, last: None, captures: 0 };
    for (&(capture, begin), outline) in outlines {
        let guess = chains.entry(capture).or_default().follow(&outline.bounds);
        let wrong = |_| Error::WrongRangeStart { path: outline.path.clone(), from: begin.cast_unsigned() };
        if let Some(place) = guess.map_err(wrong)? {
            before.insert((capture, begin), place);
            whole.closes |= outline.closes;
            whole.last = whole.last.max(outline.last);
        }
    }
    whole.captures = chains.len();
    Ok((before, whole))
}

/// A row of segments whose turn has not come: by its order, then its range and piece.
type Waiting = Reverse<(Timestamp, i32, u64, usize)>;

/// The segments of a row, and which of them is next.
#[derive(Default)]
struct Run {
    segments: Vec<Ordered>,
    next: usize,
}

impl Run {
    /// The place of the next one in the order.
    fn key(&self) -> Option<(Timestamp, i32, u64)> {
        let Ordered { segment, latest } = self.segments.get(self.next)?;
        Some((*latest, segment.packet.capture().into(), segment.packet.number()))
    }
}

/// Merges rows.
pub(super) struct InOrder {
    /// The offset of each range that counts.
    before: BTreeMap<(i32, i64), RangeOffset>,
    /// Segments whose turn has not come.
    waiting: BinaryHeap<Waiting>,
    runs: Vec<Run>,
    free: Vec<usize>,
    next: Vec<Segment>,
}

impl InOrder {
    /// All ranges are known.
    pub(super) fn new(outlines: &BTreeMap<(i32, i64), RangeOutline>) -> Result<InOrder, Error> {
        let (before, _) = follow(outlines)?;
        let (waiting, runs, free, next) = (BinaryHeap::new(), Vec::new(), Vec::new(), Vec::new());
        Ok(InOrder { before, waiting, runs, free, next })
    }

    /// The next row of segments, in their order.
    pub(super) fn row(
        &mut self,
        (time, capture, begin, _): RowPlace,
        body: impl FnOnce() -> Result<Vec<u8>, Error>,
        to: &mut dyn FnMut(&mut [Segment]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // Nothing that is still to come belongs before this row.
        self.hand_on_before(Some(Timestamp(time)), to)?;
        let Some(before) = self.before.get(&(capture, begin)) else { return Ok(()) };
        let at = self.free.pop().unwrap_or(self.runs.len());
        if at == self.runs.len() {
            self.runs.push(Run::default());
        }
        let run = &mut self.runs[at];
        run.next = 0;
        segments::read_into(&body()?, capture as u16, before.packets, &mut run.segments)?;
        run.segments.iter_mut().for_each(|ordered| ordered.latest = ordered.latest.max(before.latest));
        self.wait(at);
        Ok(())
    }

    /// All rows have come.
    pub(super) fn finish(
        mut self,
        to: &mut dyn FnMut(&mut [Segment]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.hand_on_before(None, to)?;
        to(&mut self.next)
    }

    /// The first segment of a run waits for its turn.
    fn wait(&mut self, at: usize) {
        match self.runs[at].key() {
            Some((latest, capture, number)) => self.waiting.push(Reverse((latest, capture, number, at))),
            None => {
                self.runs[at].segments.clear();
                self.free.push(at);
            }
        }
    }

    /// Hands on all segments that come before `limit`.
    fn hand_on_before(
        &mut self,
        limit: Option<Timestamp>,
        to: &mut dyn FnMut(&mut [Segment]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        while let Some(Reverse((first, _, _, at))) = self.waiting.peek().copied()
            && limit.is_none_or(|limit| first < limit)
        {
            self.waiting.pop();
            let other =
                self.waiting.peek().map(|Reverse((latest, capture, number, _))| (*latest, *capture, *number));
            let run = &mut self.runs[at];
            while let Some(key) = run.key() {
                if other.is_some_and(|other| key > other) || limit.is_some_and(|limit| key.0 >= limit) {
                    break;
                }
                self.next.extend(run.segments.get(run.next).map(|ordered| ordered.segment));
                run.next += 1;
            }
            self.wait(at);
            if self.next.len() >= TOGETHER {
                to(&mut self.next)?;
                self.next.clear();
            }
        }
        Ok(())
    }
}
