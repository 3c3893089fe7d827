//! `worker track`: the segments of one point and shard, from all captures in time order, to connections.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::{Read, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Error;
use super::decode::RangeOutline;
use super::rows::{Kind, Row, RowReader, RowWriter, pack, unpack};
use super::segments::{self, Ordered};
use super::spool::{Spool, SpooledBody};
use crate::capture::extent::{Chain, RangeOffset};
use crate::decode::segment::Segment;
use crate::engine::Options;
use crate::engine::stages::{Memory, Tracking};
use crate::flow::peer::PeerEvent;
use crate::flow::tracker::SHARDS;
use crate::history::host_pairs::HostPair;
use crate::table;
use crate::table::connections::Table;
use crate::time::Timestamp;

/// Events of one row, at most.
const EVENTS: usize = 1 << 14;
/// Segments that are tracked together.
const TOGETHER: usize = 1 << 14;

/// Events of some host pairs.
#[derive(Debug, Serialize, Deserialize)]
pub struct Events {
    /// The order in which they count.
    pub order: PacketOrder,
    /// What happened.
    pub events: Vec<PeerEvent>,
}

/// Whether connections are written as rows of a table, too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tables {
    /// They are: a row of [`Kind::Table`] for each shard.
    Made,
    /// They are not.
    None,
}

/// The order of the packets of a point.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PacketOrder {
    /// Of one capture: as they stand in it.
    ByPacket,
    /// Of several captures: by time.
    ByTime,
}

/// Tracks the segments of all points and shards that come from `from`, in any order. Rows for later stages are handed on.
/// Nothing is written before everything was read.
///
/// # Errors
/// A stream that is broken, rows that are there twice, or a range that was read from a wrong place.
pub fn run(from: impl Read, to: impl Write, options: &Options, tables: Tables) -> Result<(), Error> {
    let mut rows = RowReader::new("track", from)?;
    let mut spool = Spool::default();
    let mut gathered: BTreeMap<(Arc<str>, i32), Gathered> = BTreeMap::new();
    let mut others = Vec::new();
    while let Some(row) = rows.next_row()? {
        match row.kind {
            Kind::Outline | Kind::Segments => {
                let group = gathered.entry((Arc::clone(&row.point), row.shard)).or_default();
                group.add(row, &mut spool)?;
            }
            _ => others.push(row),
        }
    }
    let mut out = RowWriter::new(to)?;
    others.into_iter().try_for_each(|row| out.write(row))?;
    for ((point, shard), rows) in gathered {
        let mut group = Group::new(point, shard, rows.outlines, options, tables)?;
        for (place, kept) in rows.segments {
            group.segments(place, || spool.body(kept), &mut out)?;
        }
        group.finish(&mut out)?;
    }
    out.finish()
}

/// Time of the first segment, capture, begin and piece of a row: rows come in this order.
type RowPlace = (i64, i32, i64, i32);

/// The rows of one point and shard.
#[derive(Default)]
struct Gathered {
    /// By capture and begin.
    outlines: BTreeMap<(i32, i64), RangeOutline>,
    segments: BTreeMap<RowPlace, SpooledBody>,
}

impl Gathered {
    fn add(&mut self, row: Row, spool: &mut Spool) -> Result<(), Error> {
        let Row { point, shard, kind, time, capture, begin, piece, body } = row;
        let is_new = match kind {
            Kind::Outline => self.outlines.insert((capture, begin), unpack(&body)?).is_none(),
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
    /// Where the next one belongs.
    fn key(&self) -> Option<(Timestamp, i32, u64)> {
        let Ordered { segment, latest } = self.segments.get(self.next)?;
        Some((*latest, segment.packet.capture().into(), segment.packet.number()))
    }
}

/// One point and shard.
struct Group {
    point: Arc<str>,
    shard: i32,
    table: Option<table::SharedBuffer>,
    /// What comes before each range that counts.
    before: BTreeMap<(i32, i64), RangeOffset>,
    tracking: Tracking,
    order: PacketOrder,
    /// The latest time of a packet that was wanted.
    end: Timestamp,
    /// Segments whose turn has not come.
    waiting: BinaryHeap<Waiting>,
    runs: Vec<Run>,
    free: Vec<usize>,
    next: Vec<Segment>,
    events: BTreeMap<usize, Vec<PeerEvent>>,
    /// Rows of events so far.
    pieces: i32,
}

impl Group {
    /// All ranges are known: finds out which count.
    fn new(
        point: Arc<str>,
        shard: i32,
        outlines: BTreeMap<(i32, i64), RangeOutline>,
        options: &Options,
        tables: Tables,
    ) -> Result<Group, Error> {
        let mut chains: BTreeMap<i32, Chain> = BTreeMap::new();
        let mut before = BTreeMap::new();
        let (mut closes, mut last) = (false, None);
        for (&(capture, begin), outline) in &outlines {
            let guess = chains.entry(capture).or_default().follow(&outline.bounds);
            let wrong = |_| Error::WrongGuess { path: outline.path.clone(), from: begin.cast_unsigned() };
            if let Some(place) = guess.map_err(wrong)? {
                before.insert((capture, begin), place);
                closes |= outline.closes;
                last = last.max(outline.last);
            }
        }
        let memory = if closes { Memory::Possible } else { Memory::None };
        let kept = (tables == Tables::Made).then(table::SharedBuffer::default);
        let table = kept.as_ref().map(|kept| Table::in_memory(&point, kept));
        Ok(Group {
            point,
            shard,
            table: kept,
            before,
            tracking: Tracking::new(options, memory, table),
            order: if chains.len() > 1 { PacketOrder::ByTime } else { PacketOrder::ByPacket },
            end: last.unwrap_or_default(),
            waiting: BinaryHeap::new(),
            runs: Vec::new(),
            free: Vec::new(),
            next: Vec::new(),
            events: BTreeMap::new(),
            pieces: 0,
        })
    }

    /// The next row of segments, in their order.
    fn segments(
        &mut self,
        (time, capture, begin, _): RowPlace,
        body: impl FnOnce() -> Result<Vec<u8>, Error>,
        out: &mut RowWriter<impl Write>,
    ) -> Result<(), Error> {
        // Nothing that is still to come belongs before this.
        self.track_before(Some(Timestamp(time)), out)?;
        let Some(before) = self.before.get(&(capture, begin)) else { return Ok(()) };
        let mut run = segments::read(&body()?, capture as u16, before.packets)?;
        run.iter_mut().for_each(|ordered| ordered.latest = ordered.latest.max(before.latest));
        let at = self.free.pop().unwrap_or(self.runs.len());
        if at == self.runs.len() {
            self.runs.push(Run::default());
        }
        self.runs[at] = Run { segments: run, next: 0 };
        self.wait(at);
        Ok(())
    }

    /// The first segment of a run waits for its turn.
    fn wait(&mut self, at: usize) {
        match self.runs[at].key() {
            Some((latest, capture, number)) => self.waiting.push(Reverse((latest, capture, number, at))),
            None => {
                self.runs[at] = Run::default();
                self.free.push(at);
            }
        }
    }

    /// Tracks all segments that come before `limit`.
    fn track_before(
        &mut self,
        limit: Option<Timestamp>,
        out: &mut RowWriter<impl Write>,
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
                self.track(out)?;
            }
        }
        Ok(())
    }

    /// Tracks what is next.
    fn track(&mut self, out: &mut RowWriter<impl Write>) -> Result<(), Error> {
        self.tracking.segments(&self.next);
        self.next.clear();
        for event in self.tracking.events().drain(..) {
            let pair = HostPair { client: event.client, server: event.server.address };
            self.events.entry(pair.mixed() as usize % SHARDS).or_default().push(event);
        }
        let full = self.events.iter().filter(|(_, events)| events.len() >= EVENTS).map(|(part, _)| *part);
        for part in full.collect::<Vec<_>>() {
            self.write_events(part, out)?;
        }
        Ok(())
    }

    fn write_events(&mut self, part: usize, out: &mut RowWriter<impl Write>) -> Result<(), Error> {
        let Some(events) = self.events.remove(&part) else { return Ok(()) };
        let body = pack(&Events { order: self.order, events })?;
        let row = Row::of_point(&self.point, part as i32, Kind::Events, body);
        self.pieces += 1;
        out.write(Row { begin: self.shard.into(), piece: self.pieces, ..row })
    }

    fn finish(mut self, out: &mut RowWriter<impl Write>) -> Result<(), Error> {
        self.track_before(None, out)?;
        self.track(out)?;
        for part in 0..SHARDS {
            self.write_events(part, out)?;
        }
        let ended = self.tracking.finish(self.end).map_err(Error::Unreadable)?;
        if let Some(table) = &self.table {
            out.write(Row::of_point(&self.point, self.shard, Kind::Table, table.take_bytes()))?;
        }
        out.write(Row::of_point(&self.point, self.shard, Kind::Shard, pack(&ended)?))
    }
}
