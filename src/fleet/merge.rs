//! `worker merge`: merges the events between some host pairs, from all shards of a point, into the memory of their
//! servers.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;

use super::Error;
use super::rows::{FleetRow, RowKind, RowReader, RowWriter, pack, unpack};
use super::track::{Events, PacketOrder};
use crate::engine::AnalysisOptions;
use crate::engine::stages;
use crate::flow::peer::PeerEvent;

/// Events with the shard and the piece of the capture that they come from.
type EventsPiece = (i64, i32, Events);

/// Merges the events that come from `from`, in any order: all events of a point and of a part of its host pairs must be
/// there. Rows for later stages are handed on. Nothing is written before everything was read.
///
/// # Errors
/// A stream that is broken.
pub fn run(from: impl Read, to: impl Write, options: &AnalysisOptions) -> Result<(), Error> {
    let mut rows = RowReader::new("merge", from)?;
    let mut groups: BTreeMap<(Arc<str>, i32), Vec<EventsPiece>> = BTreeMap::new();
    let mut others = Vec::new();
    while let Some(row) = rows.next_row()? {
        if row.kind == RowKind::Events {
            let group = groups.entry((Arc::clone(&row.point), row.shard)).or_default();
            group.push((row.begin, row.piece, unpack(&row.body)?));
        } else {
            others.push(row);
        }
    }
    let mut out = RowWriter::new(to)?;
    others.into_iter().try_for_each(|row| out.write(row))?;
    for ((point, part), mut pieces) in groups {
        // Events of the same packet come from the same shard, in order.
        pieces.sort_by_key(|(shard, piece, _)| (*shard, *piece));
        let order = pieces.first().map_or(PacketOrder::ByPacket, |(_, _, events)| events.order);
        let mut sorted: Vec<&PeerEvent> = pieces.iter().flat_map(|(_, _, events)| &events.events).collect();
        match order {
            PacketOrder::ByPacket => sorted.sort_by_key(|event| event.at.packet),
            PacketOrder::ByTime => sorted.sort_by_key(|event| event.at),
        }
        let mut model = stages::server_memory(options);
        model.replay(&sorted);
        out.write(FleetRow::of_point(&point, part, RowKind::Model, pack(&model)?))?;
    }
    out.finish()
}
