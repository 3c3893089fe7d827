//! `worker merge`: what happened between some host pairs, of all shards of a point, to what their servers would remember.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;

use super::Error;
use super::rows::{Kind, Row, RowReader, RowWriter, pack, unpack};
use super::track::{Events, Order};
use crate::engine::Options;
use crate::engine::stages;
use crate::flow::peer::PeerEvent;

/// Merges the events that come from `from`: all of a point and a part of its host pairs must come. Rows for later stages
/// are handed on.
///
/// # Errors
/// A stream that is broken.
pub fn run(from: impl Read, to: impl Write, options: &Options) -> Result<(), Error> {
    let mut rows = RowReader::new("merge", from)?;
    let mut out = RowWriter::new(to)?;
    let mut groups: BTreeMap<(Arc<str>, i32), (Order, Vec<PeerEvent>)> = BTreeMap::new();
    while let Some(row) = rows.next_row()? {
        if row.kind != Kind::Events {
            out.write(row)?;
            continue;
        }
        let Events { order, mut events } = unpack(&row.body)?;
        let group = groups.entry((Arc::clone(&row.point), row.shard)).or_insert((order, Vec::new()));
        group.1.append(&mut events);
    }
    for ((point, part), (order, events)) in groups {
        let mut sorted: Vec<&PeerEvent> = events.iter().collect();
        match order {
            Order::ByPacket => sorted.sort_by_key(|event| event.at.packet),
            Order::ByTime => sorted.sort_by_key(|event| event.at),
        }
        let mut model = stages::server_memory(options);
        model.replay(&sorted);
        out.write(Row::of_point(&point, part, Kind::Model, pack(&model)?))?;
    }
    out.finish()
}
