//! `worker sketch` and `worker solve`: the handshakes of each point, and the clocks computed from those of all points.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Error;
use super::joined::{Clocks, RunRow};
use super::order::InOrder;
use super::outline::RangeOutline;
use super::rows::{ALL, FleetRow, RowKind, RowReader, RowWriter, pack, unpack};
use super::segments::Ordered;
use crate::engine;
use crate::pair::points::{NamedInputs, Points};
use crate::pair::sketch::HandshakeSketch;

/// The openings of connections in one range and shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handshakes {
    /// Where the range lies in its capture.
    pub outline: RangeOutline,
    /// Bodies of segments, each of at most [`super::segments::MOST`] of them.
    pub segments: Vec<Vec<u8>>,
}

/// The sketch of a point, or of some of its shards.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PointSketch {
    /// The captures of the point.
    captures: BTreeSet<i32>,
    /// Why captures cannot be read.
    refused: BTreeMap<i32, String>,
    sketch: HandshakeSketch,
}

impl PointSketch {
    fn merge(&mut self, other: PointSketch) {
        self.captures.extend(other.captures);
        self.refused.extend(other.refused);
        self.sketch.merge(&other.sketch);
    }

    /// The handshakes, if any capture could be read.
    fn readable(self) -> Option<HandshakeSketch> {
        (self.refused.len() < self.captures.len()).then_some(self.sketch)
    }
}

/// Handshakes of one point and shard, by capture and begin.
type HandshakesByRange = BTreeMap<(i32, i64), Handshakes>;

/// Makes one sketch of each point from the handshakes and sketches that come from `from`. Other rows are left out.
///
/// # Errors
/// A stream that is broken, rows that are there twice, or a range that was read from a wrong place.
pub fn run(from: impl Read, to: impl Write) -> Result<(), Error> {
    let mut rows = RowReader::new("sketch", from)?;
    let mut points: BTreeMap<Arc<str>, PointSketch> = BTreeMap::new();
    let mut parts: BTreeMap<(Arc<str>, i32), HandshakesByRange> = BTreeMap::new();
    while let Some(row) = rows.next_row()? {
        match row.kind {
            RowKind::Handshakes => {
                let part = parts.entry((Arc::clone(&row.point), row.shard)).or_default();
                if part.insert((row.capture, row.begin), unpack(&row.body)?).is_some() {
                    let what = format!("handshakes of capture {} are there twice", row.capture);
                    return Err(Error::Incomplete { point: row.point.to_string(), what });
                }
            }
            RowKind::Sketch => points.entry(row.point).or_default().merge(unpack(&row.body)?),
            _ => {}
        }
    }
    for ((point, _), ranges) in parts {
        points.entry(point).or_default().merge(sketch(ranges)?);
    }
    let mut out = RowWriter::new(to)?;
    for (point, sketch) in points {
        out.write(FleetRow::of_point(&point, ALL, RowKind::Sketch, pack(&sketch)?))?;
    }
    out.finish()
}

fn sketch(ranges: HandshakesByRange) -> Result<PointSketch, Error> {
    let mut made = PointSketch::default();
    let (mut outlines, mut bodies) = (BTreeMap::new(), BTreeMap::new());
    for ((capture, begin), Handshakes { outline, segments }) in ranges {
        made.captures.insert(capture);
        if let Some(why) = &outline.refused {
            made.refused.insert(capture, why.clone());
        }
        outlines.insert((capture, begin), outline);
        for (piece, body) in segments.into_iter().enumerate() {
            let first = super::segments::first_time(&body);
            bodies.insert((first, capture, begin, piece as i32), body);
        }
    }
    let mut order = InOrder::new(&outlines)?;
    let mut record = |some: &mut [crate::decode::segment::Segment]| {
        some.iter().for_each(|segment| made.sketch.record(segment));
        Ok(())
    };
    for (place, body) in bodies {
        order.row(place, || Ok(body), &mut record)?;
    }
    order.finish(&mut record)?;
    Ok(made)
}

/// Compares the sketches of all points that come from `from`; writes their clocks, and all that is known of the points.
///
/// # Errors
/// A stream that is broken; no capture of any point can be read.
pub fn solve(from: impl Read, to: impl Write) -> Result<(), Error> {
    let mut rows = RowReader::new("solve", from)?;
    let mut sketches: BTreeMap<Arc<str>, PointSketch> = BTreeMap::new();
    while let Some(row) = rows.next_row()? {
        if row.kind == RowKind::Sketch {
            sketches.entry(row.point).or_default().merge(unpack(&row.body)?);
        }
    }
    // In the order in which the captures are numbered.
    let mut ordered: Vec<(Arc<str>, PointSketch)> = sketches.into_iter().collect();
    ordered.sort_by_key(|(_, sketch)| sketch.captures.first().copied());
    let reasons: Vec<String> =
        ordered.iter().flat_map(|(_, sketch)| sketch.refused.values().cloned()).collect();
    let (mut named, mut of_points) = (Vec::new(), Vec::new());
    for (name, sketch) in ordered {
        let inputs = sketch.captures.iter().map(|&capture| capture as usize).collect();
        named.push(NamedInputs { name: Some(name.to_string()), inputs });
        of_points.push(sketch.readable());
    }
    let points = Points::of_named(named, of_points).ok_or(engine::Error::NothingReadable(reasons))?;
    let mut out = RowWriter::new(to)?;
    Clocks::of(&points).write(&mut out)?;
    points.write(&mut out)?;
    out.finish()
}

/// The openings of connections in a range, as `decode` finds them.
#[derive(Default)]
pub(super) struct Openings {
    shards: BTreeMap<usize, Vec<Ordered>>,
    kept: usize,
    /// Selects the openings that a point would keep if there are too many.
    sketch: HandshakeSketch,
}

/// How many segments of a range are kept without checking whether a sketch would keep them.
const FEW: usize = 1 << 17;

impl Openings {
    pub(super) fn record(&mut self, shard: usize, ordered: &Ordered) {
        if !self.sketch.wants(&ordered.segment) {
            return;
        }
        self.sketch.record(&ordered.segment);
        self.shards.entry(shard).or_default().push(*ordered);
        self.kept += 1;
        if self.kept.is_multiple_of(FEW) {
            self.thin_out();
        }
    }

    fn thin_out(&mut self) {
        for segments in self.shards.values_mut() {
            segments.retain(|ordered| self.sketch.wants(&ordered.segment));
        }
    }

    /// The openings of one shard, as bodies of rows.
    pub(super) fn bodies(&mut self, shard: usize) -> Vec<Vec<u8>> {
        let mut segments = self.shards.remove(&shard).unwrap_or_default();
        segments.retain(|ordered| self.sketch.wants(&ordered.segment));
        let mut body = super::segments::Builder::default();
        let written = |some| {
            body.add(some);
            body.write()
        };
        segments.chunks(super::segments::MOST).map(written).collect()
    }
}
