//! `worker track`: the segments of one point and shard, from all captures in time order, to connections.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Error;
use super::joined::Clocks;
use super::order::{Part, Parts, follow};
use super::rows::{FleetRow, RowKind, RowWriter, pack};
use super::spool::Spool;
use crate::decode::segment::Segment;
use crate::engine::AnalysisOptions;
use crate::engine::batch::Filter;
use crate::engine::stages::{self, ServerMemory, Tracking};
use crate::flow::peer::PeerEvent;
use crate::flow::tracker::SHARDS;
use crate::history::host_pairs::HostPair;
use crate::pair::clock::ClockOffset;
use crate::pair::join::memory_limit_of_point;
use crate::table;
use crate::table::connections::Table;

/// Events of one row, at most.
const EVENTS: usize = 1 << 14;

/// Events of some host pairs.
#[derive(Debug, Serialize, Deserialize)]
pub struct Events {
    /// Their place in the order.
    pub order: PacketOrder,
    /// What happened.
    pub events: Vec<PeerEvent>,
}

/// Whether connections are written as rows of a table, too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tables {
    /// They are: a row of [`RowKind::Table`] for each shard.
    Made,
    /// They are not.
    None,
}

/// The order of a point's packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PacketOrder {
    /// The packets of one capture, as they stand in it.
    ByPacket,
    /// The packets of several captures, by time.
    ByTime,
}

/// Tracks the segments of all points and shards that come from `from`, in any order. Rows for later stages are handed
/// on. Nothing is written before everything was read. With `clocks` the points are joined later: then all segments are
/// in the input, timed by the clocks of their points.
///
/// # Errors
/// A stream that is broken, rows that are there twice, or a range that was read from a wrong place.
pub fn run(
    from: impl Read,
    to: impl Write,
    options: &AnalysisOptions,
    tables: Tables,
    clocks: Option<&Clocks>,
) -> Result<(), Error> {
    let Parts { parts, others, mut spool } = Parts::read("track", from)?;
    let mut out = RowWriter::new(to)?;
    others.into_iter().try_for_each(|row| out.write(row))?;
    let own = match clocks {
        Some(clocks) => AnalysisOptions {
            memory_limit: memory_limit_of_point(options.memory_limit, clocks.count()),
            ..options.clone()
        },
        None => options.clone(),
    };
    let filter = clocks.map(|_| stages::filter(options));
    for ((point, shard), part) in parts {
        let joining = filter
            .as_ref()
            .zip(clocks)
            .map(|(filter, clocks)| Joining { filter, clock: clocks.of_point(&point) });
        track((point, shard), part, &mut spool, (&own, tables, joining), &mut out)?;
    }
    out.finish()
}

/// How the segments of points that are joined are handled.
#[derive(Clone, Copy)]
struct Joining<'f> {
    filter: &'f Filter,
    clock: Option<ClockOffset>,
}

/// Tracks one point and shard.
fn track(
    (point, shard): (Arc<str>, i32),
    part: Part,
    spool: &mut Spool,
    (options, tables, joining): (&AnalysisOptions, Tables, Option<Joining<'_>>),
    out: &mut RowWriter<impl Write>,
) -> Result<(), Error> {
    let (_, whole) = follow(&part.outlines)?;
    let memory = if whole.closes { ServerMemory::Possible } else { ServerMemory::None };
    let kept = (tables == Tables::Made).then(table::SharedBuffer::default);
    let table = kept.as_ref().map(|kept| Table::in_memory(&point, kept));
    // Points that are joined have several captures together.
    let is_one = whole.captures <= 1 && joining.is_none();
    let order = if is_one { PacketOrder::ByPacket } else { PacketOrder::ByTime };
    let mut group = Group {
        point,
        shard,
        tracking: Tracking::new(options, memory, table),
        order,
        events: BTreeMap::new(),
        pieces: 0,
    };
    let clock = joining.and_then(|joining| joining.clock);
    let mut wanted = Vec::new();
    part.in_order(spool, &mut |some| {
        let Some(Joining { filter, .. }) = joining else { return group.track(some, out) };
        if let Some(clock) = clock {
            some.iter_mut().for_each(|segment| segment.time = clock.there(segment.time));
        }
        if filter.keeps_all() {
            return group.track(some, out);
        }
        wanted.clear();
        wanted.extend(some.iter().filter(|segment| filter.keeps(segment)));
        group.track(&wanted, out)
    })?;
    let last = whole.last.map(|last| clock.map_or(last, |clock| clock.there(last)));
    for part in 0..SHARDS {
        group.write_events(part, out)?;
    }
    let ended = group.tracking.finish(last.unwrap_or_default()).map_err(Error::Unreadable)?;
    if let Some(table) = &kept {
        out.write(FleetRow::of_point(&group.point, shard, RowKind::Table, table.take_bytes()))?;
    }
    out.write(FleetRow::of_point(&group.point, shard, RowKind::Shard, pack(&ended)?))
}

/// One point and shard.
struct Group {
    point: Arc<str>,
    shard: i32,
    tracking: Tracking,
    order: PacketOrder,
    events: BTreeMap<usize, Vec<PeerEvent>>,
    /// Rows of events so far.
    pieces: i32,
}

impl Group {
    /// Tracks the segments of the next row.
    fn track(&mut self, next: &[Segment], out: &mut RowWriter<impl Write>) -> Result<(), Error> {
        self.tracking.segments(next);
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
        let row = FleetRow::of_point(&self.point, part as i32, RowKind::Events, body);
        self.pieces += 1;
        out.write(FleetRow { begin: self.shard.into(), piece: self.pieces, ..row })
    }
}
