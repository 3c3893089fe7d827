//! `worker track`: the segments of one point and shard, from all captures in time order, to connections.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io::{Read, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Error;
use super::decode::Outline;
use super::rows::{Kind, Row, RowReader, RowWriter, pack, unpack};
use super::segments::{self, Ordered};
use crate::capture::extent::{Before, Chain};
use crate::decode::segment::Segment;
use crate::engine::Options;
use crate::engine::stages::{Memory, Tracking};
use crate::flow::peer::PeerEvent;
use crate::flow::tracker::SHARDS;
use crate::history::host_pairs::Pair;
use crate::table::Kept;
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
    pub order: Order,
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
pub enum Order {
    /// Of one capture: as they stand in it.
    ByPacket,
    /// Of several captures: by time.
    ByTime,
}

/// Tracks the segments of all points and shards that come from `from`. Rows for later stages are handed on.
///
/// # Errors
/// A stream that is broken or out of order, or a range that was read from a wrong place.
pub fn run(from: impl Read, to: impl Write, options: &Options, tables: Tables) -> Result<(), Error> {
    let mut rows = RowReader::new("track", from)?;
    let mut out = RowWriter::new(to)?;
    let mut group: Option<Group> = None;
    while let Some(row) = rows.next_row()? {
        if !matches!(row.kind, Kind::Outline | Kind::Segments) {
            out.write(row)?;
            continue;
        }
        if group.as_ref().is_some_and(|group| !group.is_of(&row))
            && let Some(group) = group.take()
        {
            group.finish(&mut out)?;
        }
        let group = group.get_or_insert_with(|| Group::new(&row, options, tables));
        match row.kind {
            Kind::Outline => group.outline(&row)?,
            _ => group.segments(row, &mut out)?,
        }
    }
    if let Some(group) = group {
        group.finish(&mut out)?;
    }
    out.finish()
}

/// A row of segments whose turn has not come: by its order, then its range and piece.
type Waiting = Reverse<(Timestamp, i32, u64, usize)>;

/// One point and shard.
struct Group {
    point: Arc<str>,
    shard: i32,
    options: Options,
    table: Option<Kept>,
    /// By capture and begin.
    outlines: BTreeMap<(i32, i64), Outline>,
    /// What comes before each range that counts; known with the first segments.
    before: Option<BTreeMap<(i32, i64), Before>>,
    tracking: Option<Tracking>,
    order: Order,
    memory: Memory,
    /// Segments whose turn has not come.
    waiting: BinaryHeap<Waiting>,
    runs: Vec<VecDeque<Ordered>>,
    free: Vec<usize>,
    next: Vec<Segment>,
    events: BTreeMap<usize, Vec<PeerEvent>>,
    latest_row: (i64, i32, i64, i32),
}

impl Group {
    fn new(row: &Row, options: &Options, tables: Tables) -> Group {
        Group {
            point: Arc::clone(&row.point),
            shard: row.shard,
            options: options.clone(),
            table: (tables == Tables::Made).then(Kept::default),
            outlines: BTreeMap::new(),
            before: None,
            tracking: None,
            order: Order::ByPacket,
            memory: Memory::None,
            waiting: BinaryHeap::new(),
            runs: Vec::new(),
            free: Vec::new(),
            next: Vec::new(),
            events: BTreeMap::new(),
            latest_row: (i64::MIN, 0, 0, 0),
        }
    }

    fn is_of(&self, row: &Row) -> bool {
        row.point == self.point && row.shard == self.shard
    }

    fn incomplete(&self, what: String) -> Error {
        Error::Incomplete { point: self.point.to_string(), what }
    }

    fn outline(&mut self, row: &Row) -> Result<(), Error> {
        let what =
            || format!("shard {}: the range at byte {} of capture {}", row.shard, row.begin, row.capture);
        if self.before.is_some() {
            return Err(self.incomplete(format!("{} comes after its segments", what())));
        }
        let outline = unpack(&row.body)?;
        if self.outlines.insert((row.capture, row.begin), outline).is_some() {
            return Err(self.incomplete(format!("{} is there twice", what())));
        }
        Ok(())
    }

    /// All ranges are known: finds out which count.
    fn begin(&mut self) -> Result<(), Error> {
        let mut chains: BTreeMap<i32, Chain> = BTreeMap::new();
        let mut before = BTreeMap::new();
        for (&(capture, begin), outline) in &self.outlines {
            let guess = chains.entry(capture).or_default().follow(&outline.bounds);
            let wrong = |_| Error::WrongGuess { path: outline.path.clone(), from: begin.cast_unsigned() };
            if let Some(place) = guess.map_err(wrong)? {
                before.insert((capture, begin), place);
            }
        }
        let counts = |place: &(i32, i64)| before.contains_key(place);
        let closes = self.outlines.iter().any(|(place, outline)| counts(place) && outline.closes);
        self.memory = if closes { Memory::Possible } else { Memory::None };
        self.order = if chains.len() > 1 { Order::ByTime } else { Order::ByPacket };
        self.before = Some(before);
        let table = self.table.as_ref().map(|kept| Table::in_memory(&self.point, kept));
        self.tracking = Some(Tracking::new(&self.options, self.memory, table));
        Ok(())
    }

    fn segments(&mut self, row: Row, out: &mut RowWriter<impl Write>) -> Result<(), Error> {
        if self.before.is_none() {
            self.begin()?;
        }
        let place = (row.time, row.capture, row.begin, row.piece);
        if place < self.latest_row {
            return Err(self.incomplete(format!("shard {}: its segments are out of order", row.shard)));
        }
        self.latest_row = place;
        // Nothing that is still to come belongs before this.
        self.track_before(Some(Timestamp(row.time)), out)?;
        let before = self.before.as_ref().and_then(|before| before.get(&(row.capture, row.begin)));
        let Some(before) = before else { return Ok(()) };
        let mut run = segments::read(&row.body, row.capture as u16, before.packets)?;
        run.iter_mut().for_each(|ordered| ordered.latest = ordered.latest.max(before.latest));
        let run = VecDeque::from(run);
        let at = self.free.pop().unwrap_or(self.runs.len());
        if at == self.runs.len() {
            self.runs.push(VecDeque::new());
        }
        self.runs[at] = run;
        self.wait(at);
        Ok(())
    }

    /// The first segment of a run waits for its turn.
    fn wait(&mut self, at: usize) {
        match self.runs[at].front() {
            Some(Ordered { segment, latest }) => {
                let capture = segment.packet.capture().into();
                self.waiting.push(Reverse((*latest, capture, segment.packet.number(), at)));
            }
            None => self.free.push(at),
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
            while let Some(Ordered { segment, latest }) = self.runs[at].front() {
                let key = (*latest, i32::from(segment.packet.capture()), segment.packet.number());
                if other.is_some_and(|other| key > other) || limit.is_some_and(|limit| *latest >= limit) {
                    break;
                }
                self.next.push(*segment);
                self.runs[at].pop_front();
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
        let Some(tracking) = &mut self.tracking else { return Ok(()) };
        tracking.segments(&self.next);
        self.next.clear();
        for event in tracking.events().drain(..) {
            let pair = Pair { client: event.client, server: event.server.address };
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
        out.write(Row::of_point(&self.point, part as i32, Kind::Events, body))
    }

    fn finish(mut self, out: &mut RowWriter<impl Write>) -> Result<(), Error> {
        if self.before.is_none() {
            self.begin()?;
        }
        self.track_before(None, out)?;
        self.track(out)?;
        for part in 0..SHARDS {
            self.write_events(part, out)?;
        }
        let counts =
            |place: &(i32, i64)| self.before.as_ref().is_some_and(|before| before.contains_key(place));
        let last =
            self.outlines.iter().filter(|(place, _)| counts(place)).filter_map(|(_, outline)| outline.last);
        let end = last.max().unwrap_or_default();
        let Some(tracking) = self.tracking else { return Ok(()) };
        let ended = tracking.finish(end).map_err(Error::Unreadable)?;
        if let Some(table) = &self.table {
            out.write(Row::of_point(&self.point, self.shard, Kind::Table, table.take_bytes()))?;
        }
        out.write(Row::of_point(&self.point, self.shard, Kind::Shard, pack(&ended)?))
    }
}
