//! One row for each connection.
//!
//! | column | type | meaning |
//! | --- | --- | --- |
//! | `point` | string | the capture point; empty without one |
//! | `uid` | string | names the connection within its point, as in the findings |
//! | `ts` | timestamp, ns | its first packet |
//! | `id.orig_h`, `id.orig_p` | string, int32 | the client |
//! | `id.resp_h`, `id.resp_p` | string, int32 | the server |
//! | `proto` | string | `tcp` |
//! | `duration` | double | from the first packet to the last, seconds |
//! | `orig_bytes`, `resp_bytes` | int64 | payload of each end, every byte counted once |
//! | `orig_pkts`, `resp_pkts` | int64 | segments of each end, copies by the capture not counted |
//! | `community_id` | string | Community ID, version 1 |
//! | `outcome` | string | how it ended, as in the report |
//! | `syns`, `syn_acks` | int64 | how often each was sent |
//! | `syn_to_syn_ack`, `syn_ack_to_ack` | double | seconds; missing where the handshake does not show them |
//! | `orig_retransmissions`, `resp_retransmissions` | int64 | segments that brought nothing new |
//! | `capture`, `packet` | int32, int64 | where its first packet is: the place of the capture among the inputs, and its number there |
//!
//! The first twelve names are Zeek's. Zeek counts copies in `orig_pkts`, and has `outcome` in `conn_state`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::builder::{
    Float64Builder, Int32Builder, Int64Builder, StringBuilder, TimestampNanosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;

use super::{SharedBuffer, TableFolder, community_id, created, properties, uid};
use crate::flow::ended::EndedFlow;
use crate::flow::outcome::Outcome;
use crate::time::{Span, Timestamp};

/// How many rows are handed on together.
const TOGETHER: usize = 1 << 12;

/// The columns.
pub fn schema() -> Arc<Schema> {
    let known = |name: &str, kind: DataType| Field::new(name, kind, false);
    let perhaps = |name: &str, kind: DataType| Field::new(name, kind, true);
    Arc::new(Schema::new(vec![
        known("point", DataType::Utf8),
        known("uid", DataType::Utf8),
        known("ts", DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))),
        known("id.orig_h", DataType::Utf8),
        known("id.orig_p", DataType::Int32),
        known("id.resp_h", DataType::Utf8),
        known("id.resp_p", DataType::Int32),
        known("proto", DataType::Utf8),
        known("duration", DataType::Float64),
        known("orig_bytes", DataType::Int64),
        known("resp_bytes", DataType::Int64),
        known("orig_pkts", DataType::Int64),
        known("resp_pkts", DataType::Int64),
        known("community_id", DataType::Utf8),
        known("outcome", DataType::Utf8),
        known("syns", DataType::Int64),
        known("syn_acks", DataType::Int64),
        perhaps("syn_to_syn_ack", DataType::Float64),
        perhaps("syn_ack_to_ack", DataType::Float64),
        known("orig_retransmissions", DataType::Int64),
        known("resp_retransmissions", DataType::Int64),
        known("capture", DataType::Int32),
        known("packet", DataType::Int64),
    ]))
}

/// Rows that are not yet handed on, by column.
#[derive(Default)]
struct ConnectionColumns {
    texts: [StringBuilder; 6],
    ts: TimestampNanosecondBuilder,
    ports: [Int32Builder; 2],
    seconds: [Float64Builder; 3],
    counts: [Int64Builder; 8],
    capture: Int32Builder,
    packet: Int64Builder,
    rows: usize,
}

/// Where the bytes of a table go.
enum Destination {
    /// A file, made with the first rows.
    File(PathBuf),
    /// They are kept.
    Memory(SharedBuffer),
}

/// The table of one part of the connections.
pub struct Table {
    point: String,
    destination: Destination,
    writer: Option<ArrowWriter<Box<dyn Write + Send>>>,
    columns: ConnectionColumns,
    failed: Option<String>,
}

impl Table {
    /// The table of `part` of the connections, in a file of `folder`.
    pub fn in_folder(folder: &TableFolder, part: usize) -> Table {
        Table::new(folder.point.clone(), Destination::File(folder.connections(part)))
    }

    /// A table whose bytes go to `kept`.
    pub fn in_memory(point: &str, kept: &SharedBuffer) -> Table {
        Table::new(point.to_owned(), Destination::Memory(kept.clone()))
    }

    fn new(point: String, destination: Destination) -> Table {
        Table { point, destination, writer: None, columns: ConnectionColumns::default(), failed: None }
    }

    /// Adds a connection that has ended; `end` is the end of the capture, if that is known.
    pub fn record(&mut self, ended: &EndedFlow<'_>, end: Timestamp) {
        let f = &*ended.facts();
        let outcome = Outcome::of(f, end.min(f.watched));
        let c = &mut self.columns;
        let (client, server) = (f.client.socket(), f.server.socket());
        let texts = [
            self.point.as_str(),
            &uid(f.first.packet),
            &client.ip().to_string(),
            &server.ip().to_string(),
            &community_id::of(f.client, f.server),
            outcome.name(),
        ];
        c.texts.iter_mut().zip(texts).for_each(|(column, text)| column.append_value(text));
        c.ts.append_value(f.first.time.0);
        c.ports
            .iter_mut()
            .zip([client, server])
            .for_each(|(column, end)| column.append_value(end.port().into()));
        let seconds = |span: Option<Span>| span.map(Span::as_secs_f64);
        let lasted = f.last.time - f.first.time;
        let spans = [Some(lasted), f.syn_to_syn_ack(), f.syn_ack_to_ack()];
        c.seconds.iter_mut().zip(spans).for_each(|(column, span)| column.append_option(seconds(span)));
        let counts = [
            f.c.bytes,
            f.s.bytes,
            f.c.segments.into(),
            f.s.segments.into(),
            f.syn.count.into(),
            f.syn_ack.count.into(),
            f.c.retransmits.into(),
            f.s.retransmits.into(),
        ];
        c.counts.iter_mut().zip(counts).for_each(|(column, count)| column.append_value(count.cast_signed()));
        c.capture.append_value(f.first.packet.capture().into());
        c.packet.append_value(f.first.packet.number().cast_signed());
        c.rows += 1;
        if c.rows == TOGETHER {
            self.hand_on();
        }
    }

    /// Hands on the rows that wait. After an error nothing more is written.
    fn hand_on(&mut self) {
        if self.failed.is_none()
            && let Err(error) = self.write()
        {
            self.failed = Some(error);
        }
    }

    fn write(&mut self) -> Result<(), String> {
        let batch = std::mem::take(&mut self.columns).batch().map_err(|error| error.to_string())?;
        if self.writer.is_none() {
            let to: Box<dyn Write + Send> = match &self.destination {
                Destination::File(path) => {
                    let file: File = created(path).map_err(|error| error.to_string())?;
                    Box::new(file)
                }
                Destination::Memory(kept) => Box::new(kept.clone()),
            };
            let writer = ArrowWriter::try_new(to, schema(), Some(properties()));
            self.writer = Some(writer.map_err(|error| error.to_string())?);
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.write(&batch).map_err(|error| error.to_string())
    }

    /// Writes the remaining rows, and the end of the table.
    ///
    /// # Errors
    /// A row that could not be written.
    pub fn finish(mut self) -> Result<(), String> {
        self.hand_on();
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let closed = self.writer.map(ArrowWriter::close).transpose();
        closed.map(|_| ()).map_err(|error| error.to_string())
    }
}

impl ConnectionColumns {
    fn batch(mut self) -> Result<RecordBatch, arrow_schema::ArrowError> {
        let rows = self.rows;
        let text = |column: &mut StringBuilder| -> ArrayRef { Arc::new(column.finish()) };
        let [point, uid, client, server, community_id, outcome] = self.texts.each_mut().map(text);
        let [client_port, server_port] = self.ports.each_mut().map(|c| -> ArrayRef { Arc::new(c.finish()) });
        let [duration, syn_to_syn_ack, syn_ack_to_ack] =
            self.seconds.each_mut().map(|c| -> ArrayRef { Arc::new(c.finish()) });
        let [orig_bytes, resp_bytes, orig_pkts, resp_pkts, syns, syn_acks, orig_again, resp_again] =
            self.counts.each_mut().map(|c| -> ArrayRef { Arc::new(c.finish()) });
        let mut proto = StringBuilder::new();
        (0..rows).for_each(|_| proto.append_value("tcp"));
        let columns = vec![
            point,
            uid,
            Arc::new(self.ts.finish().with_timezone("UTC")),
            client,
            client_port,
            server,
            server_port,
            text(&mut proto),
            duration,
            orig_bytes,
            resp_bytes,
            orig_pkts,
            resp_pkts,
            community_id,
            outcome,
            syns,
            syn_acks,
            syn_to_syn_ack,
            syn_ack_to_ack,
            orig_again,
            resp_again,
            Arc::new(self.capture.finish()),
            Arc::new(self.packet.finish()),
        ];
        RecordBatch::try_new(schema(), columns)
    }
}
