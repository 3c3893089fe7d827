//! The table that goes from stage to stage.
//!
//! | column | type | meaning |
//! | --- | --- | --- |
//! | `version` | int32 | 2 |
//! | `point` | utf8 | the capture point |
//! | `shard` | int32 | the part of the connections, 0 to 15; of events the part of the host pairs; of handshakes 16 more; -1 where it belongs to all |
//! | `kind` | int32 | what `body` is: [`RowKind`] |
//! | `time` | int64 | of segments the time of the first one, nanoseconds since 1970; else 0 |
//! | `capture` | int32 | the capture's place among those of its point |
//! | `begin` | int64 | the byte of the capture at which its range begins; of events the part of the connections |
//! | `piece` | int32 | where a range has several rows of one kind and shard: which of them |
//! | `body` | binary | segments ([`super::segments`]), all else in postcard's format |
//!
//! All rows of a batch have the same point, shard and kind: code that moves a batch needs only its first row.
//! Rows may come in any order.

use std::io::{Read, Write};
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, Int32Builder, Int64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Schema};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Error;
use super::stream::{self, VERSION};

/// The kind of data in a row's body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RowKind {
    /// Where a range lies among the others: [`super::outline::RangeOutline`].
    Outline = 0,
    /// Segments, as columns.
    Segments = 1,
    /// The results of reading a range: [`super::decode::RangeReport`].
    Reading = 2,
    /// The effects of SYNs and closes on the memory of servers: [`super::track::Events`].
    Events = 3,
    /// A part of the connections, once all of them have ended: [`crate::engine::stages::EndedShard`].
    Shard = 4,
    /// The memory of servers: [`crate::history::tw_recycle::TwRecycleModel`].
    Model = 5,
    /// Connections of a shard, as a Parquet file: for the driver.
    Table = 6,
    /// The openings of connections in a range and shard, for points that are joined: [`super::sketch::Handshakes`].
    Handshakes = 7,
    /// The openings at a point, as far as they are compared: [`super::sketch::PointSketch`].
    Sketch = 8,
    /// The clocks of all points: [`super::joined::Clocks`].
    Clocks = 9,
    /// All points and their shared connections: [`crate::pair::points::Points`].
    Points = 10,
    /// The packets to search for at all points: [`super::joined::TraceRequest`].
    Request = 11,
    /// The packets found of these at a point and shard: [`crate::pair::trace::Traced`].
    Traced = 12,
}

impl RowKind {
    fn of(number: i32) -> Option<RowKind> {
        use RowKind::{
            Clocks, Events, Handshakes, Model, Outline, Points, Reading, Request, Segments, Shard, Sketch,
            Table, Traced,
        };
        let all = [
            Outline, Segments, Reading, Events, Shard, Model, Table, Handshakes, Sketch, Clocks, Points,
            Request, Traced,
        ];
        all.into_iter().find(|kind| *kind as i32 == number)
    }
}

/// [`FleetRow::shard`] of a row that concerns all parts.
pub const ALL: i32 = -1;

/// One row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FleetRow {
    /// The capture point.
    pub point: Arc<str>,
    /// The part of the connections, or of the host pairs.
    pub shard: i32,
    /// What the body is.
    pub kind: RowKind,
    /// For segments, the time of the first one.
    pub time: i64,
    /// The capture's place among those of its point.
    pub capture: i32,
    /// The byte at which its range begins.
    pub begin: i64,
    /// Which of several.
    pub piece: i32,
    /// The rest.
    pub body: Vec<u8>,
}

impl FleetRow {
    /// A row about a point as a whole, or a part of it.
    pub fn of_point(point: &Arc<str>, shard: i32, kind: RowKind, body: Vec<u8>) -> FleetRow {
        FleetRow { point: Arc::clone(point), shard, kind, time: 0, capture: 0, begin: 0, piece: 0, body }
    }
}

/// The bytes of `what`, for a body.
///
/// # Errors
/// They cannot be made.
pub fn pack(what: &impl Serialize) -> Result<Vec<u8>, Error> {
    postcard::to_stdvec(what).map_err(|error| broken(format!("a row cannot be written: {error}")))
}

/// What a body holds.
///
/// # Errors
/// It holds something else.
pub fn unpack<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    postcard::from_bytes(body).map_err(|error| broken(format!("a row cannot be read: {error}")))
}

fn broken(what: String) -> Error {
    Error::Schema { stage: "rows", what }
}

/// The columns.
pub fn schema() -> Arc<Schema> {
    stream::columns([
        ("version", DataType::Int32),
        ("point", DataType::Utf8),
        ("shard", DataType::Int32),
        ("kind", DataType::Int32),
        ("time", DataType::Int64),
        ("capture", DataType::Int32),
        ("begin", DataType::Int64),
        ("piece", DataType::Int32),
        ("body", DataType::Binary),
    ])
}

/// Reads rows one by one.
pub struct RowReader<R: Read> {
    rows: stream::Rows<R>,
    stage: &'static str,
}

impl<R: Read> RowReader<R> {
    /// Reads the head of a stream for `stage`.
    ///
    /// # Errors
    /// The stream has other columns.
    pub fn new(stage: &'static str, from: R) -> Result<RowReader<R>, Error> {
        Ok(RowReader { rows: stream::Rows::new(stage, from, &schema())?, stage })
    }

    /// The next row.
    ///
    /// # Errors
    /// The stream is broken, or of another version.
    pub fn next_row(&mut self) -> Result<Option<FleetRow>, Error> {
        let stage = self.stage;
        let Some((batch, at)) = self.rows.row_of_this_version()? else { return Ok(None) };
        let int = |column: usize| batch.column(column).as_primitive::<Int32Type>().value(at);
        let long = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(at);
        let unknown = || Error::Schema { stage, what: format!("its input has rows of kind {}", int(3)) };
        let row = FleetRow {
            point: batch.column(1).as_string::<i32>().value(at).into(),
            shard: int(2),
            kind: RowKind::of(int(3)).ok_or_else(unknown)?,
            time: long(4),
            capture: int(5),
            begin: long(6),
            piece: int(7),
            body: batch.column(8).as_binary::<i32>().value(at).to_vec(),
        };
        self.rows.pass();
        Ok(Some(row))
    }
}

/// Rows are handed on when they hold this many bytes.
const TOGETHER: usize = 1 << 20;

/// Writes rows.
pub struct RowWriter<W: Write> {
    stream: StreamWriter<W>,
    waiting: Vec<FleetRow>,
    bytes: usize,
}

impl<W: Write> RowWriter<W> {
    /// Writes the head of a stream.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn new(to: W) -> Result<RowWriter<W>, Error> {
        let stream = StreamWriter::try_new(to, &schema())?;
        Ok(RowWriter { stream, waiting: Vec::new(), bytes: 0 })
    }

    /// Writes a row.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, row: FleetRow) -> Result<(), Error> {
        let destination = |row: &FleetRow| (Arc::clone(&row.point), row.shard, row.kind);
        if self.waiting.last().is_some_and(|last| destination(last) != destination(&row)) {
            self.hand_on()?;
        }
        self.bytes += row.body.len();
        self.waiting.push(row);
        if self.bytes >= TOGETHER { self.hand_on() } else { Ok(()) }
    }

    fn hand_on(&mut self) -> Result<(), Error> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let ints = |of: fn(&FleetRow) -> i32| -> ArrayRef {
            let mut column = Int32Builder::with_capacity(rows.len());
            rows.iter().for_each(|row| column.append_value(of(row)));
            Arc::new(column.finish())
        };
        let longs = |of: fn(&FleetRow) -> i64| -> ArrayRef {
            let mut column = Int64Builder::with_capacity(rows.len());
            rows.iter().for_each(|row| column.append_value(of(row)));
            Arc::new(column.finish())
        };
        let mut points = StringBuilder::new();
        let mut bodies =
            BinaryBuilder::with_capacity(rows.len(), rows.iter().map(|row| row.body.len()).sum());
        for row in &rows {
            points.append_value(&row.point);
            bodies.append_value(&row.body);
        }
        let columns = vec![
            ints(|_| VERSION),
            Arc::new(points.finish()),
            ints(|row| row.shard),
            ints(|row| row.kind as i32),
            longs(|row| row.time),
            ints(|row| row.capture),
            longs(|row| row.begin),
            ints(|row| row.piece),
            Arc::new(bodies.finish()),
        ];
        self.stream.write(&RecordBatch::try_new(schema(), columns)?)?;
        Ok(())
    }

    /// Writes the end of the stream.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self) -> Result<(), Error> {
        self.hand_on()?;
        Ok(self.stream.finish()?)
    }
}
