//! `worker request` and `worker trace`: which packets show more about a finding, and which of them each point has.

use std::collections::HashMap;
use std::io::{Read, Write};

use super::Error;
use super::assemble::{PointsOfRun, ReportNames};
use super::joined::{RunRow, TraceRequest};
use super::order::Parts;
use super::rows::{FleetRow, RowKind, RowWriter, pack};
use crate::engine::AnalysisOptions;
use crate::pair::trace::Tracing;

/// Examines each point by itself, and writes the list of packets to search for at all of them, unless it is empty.
///
/// # Errors
/// A stream that is broken, or something that is missing.
pub fn request(
    from: impl Read + Send,
    to: impl Write,
    points: PointsOfRun,
    options: &AnalysisOptions,
    names: ReportNames,
) -> Result<(), Error> {
    let request = points.request(from, options, names)?;
    let mut out = RowWriter::new(to)?;
    if !request.request.wanted.is_empty() {
        request.write(&mut out)?;
    }
    out.finish()
}

/// Looks for the packets that were asked for among the segments of all points and shards that come from `from`.
///
/// # Errors
/// A stream that is broken, rows that are there twice, or a range that was read from a wrong place.
pub fn run(from: impl Read, to: impl Write, asked: &TraceRequest) -> Result<(), Error> {
    let places: HashMap<&str, usize> =
        asked.names.iter().enumerate().map(|(n, name)| (name.as_str(), n)).collect();
    let Parts { parts, mut spool, .. } = Parts::read("trace", from)?;
    let mut out = RowWriter::new(to)?;
    for ((point, shard), part) in parts {
        // A point without a readable capture is left out.
        let Some(&place) = places.get(&*point) else { continue };
        let mut tracing = Tracing::new(&asked.request, place);
        part.in_order(&mut spool, &mut |some| {
            some.iter().for_each(|segment| tracing.segment(*segment));
            Ok(())
        })?;
        out.write(FleetRow::of_point(&point, shard, RowKind::Traced, pack(&tracing.finish())?))?;
    }
    out.finish()
}
