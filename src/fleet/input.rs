//! The bytes of captures, as `decode` gets them.
//!
//! | column | type | meaning |
//! | --- | --- | --- |
//! | `version` | int32 | 2 |
//! | `point` | utf8 | the capture point |
//! | `capture` | int32 | the capture's place among those of its point |
//! | `path` | utf8 | its name in the report and in messages |
//! | `size` | int64 | its size, bytes |
//! | `begin`, `until` | int64 | the range to be read; `until` is 2^63-1 for all there is |
//! | `chunk` | int32 | which row of its range, from 0 |
//! | `head` | binary | in the first row of a range the first 64 KiB of the capture, then empty |
//! | `bytes` | binary | the bytes from `begin` on, in any number of rows |
//! | `error` | utf8 | why the bytes end here, where they could not be read; else empty |
//! | `file` | utf8 | in the only row of a range: a file of this host that holds the capture, to be read in place of bytes |
//!
//! The bytes of a range go on beyond its end, up to the end of its last record: 1 MiB is enough for any common record.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_schema::{DataType, Schema};

use super::{Error, stream};
use crate::capture::range::InputRange;

/// The columns.
pub fn schema() -> Arc<Schema> {
    stream::columns([
        ("version", DataType::Int32),
        ("point", DataType::Utf8),
        ("capture", DataType::Int32),
        ("path", DataType::Utf8),
        ("size", DataType::Int64),
        ("begin", DataType::Int64),
        ("until", DataType::Int64),
        ("chunk", DataType::Int32),
        ("head", DataType::Binary),
        ("bytes", DataType::Binary),
        ("error", DataType::Utf8),
        ("file", DataType::Utf8),
    ])
}

/// One range, whose bytes are still to be read.
pub struct Range {
    /// The capture point.
    pub point: Arc<str>,
    /// Where the bytes lie.
    pub place: InputRange,
    /// The beginning of the capture.
    pub head: Vec<u8>,
    /// The file to be read, unless the bytes come in the stream.
    pub file: Option<PathBuf>,
}

/// Reads the ranges of a stream one by one.
pub struct Ranges<R: Read>(Arc<Mutex<RowChunks<R>>>);

impl<R: Read + Send + 'static> Ranges<R> {
    /// Reads the head of the stream.
    ///
    /// # Errors
    /// The stream has other columns.
    pub fn new(from: R) -> Result<Ranges<R>, Error> {
        let rows = stream::Rows::new("decode", from, &schema())?;
        let chunks = RowChunks { rows, taken: 0, within: false, ranges: 0 };
        Ok(Ranges(Arc::new(Mutex::new(chunks))))
    }

    /// The next range. Bytes of the previous one that were not read are skipped.
    ///
    /// # Errors
    /// The stream is broken, or of another version.
    pub fn next_range(&mut self) -> Result<Option<Range>, Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next_range()
    }

    /// The bytes of the current range; they can be had once. Once the next range has begun, a reader of this one gets
    /// nothing more.
    pub fn bytes(&self) -> Box<dyn Read + Send> {
        let range = self.0.lock().unwrap_or_else(PoisonError::into_inner).ranges;
        Box::new(RangeBytes { chunks: Arc::clone(&self.0), range })
    }
}

/// The rows, one at a time.
struct RowChunks<R: Read> {
    rows: stream::Rows<R>,
    /// How many bytes of the row were read.
    taken: usize,
    /// Whether that row is the first of a range that was handed out.
    within: bool,
    /// Ranges that were handed out.
    ranges: u64,
}

impl<R: Read> RowChunks<R> {
    fn pass_row(&mut self) {
        self.rows.pass();
        self.taken = 0;
    }

    fn next_range(&mut self) -> Result<Option<Range>, Error> {
        if self.within {
            self.pass_row();
        }
        loop {
            self.within = false;
            let Some((batch, at)) = self.rows.row_of_this_version()? else { return Ok(None) };
            let long = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(at);
            let text = |column: usize| batch.column(column).as_string::<i32>().value(at);
            let head = batch.column(8).as_binary::<i32>().value(at);
            if is_first(batch, at) {
                let range = Range {
                    point: text(1).into(),
                    place: InputRange {
                        path: text(3).to_owned(),
                        input: batch.column(2).as_primitive::<Int32Type>().value(at) as u16,
                        size: u64::try_from(long(4)).ok(),
                        from: long(5).max(0).cast_unsigned(),
                        until: match long(6) {
                            i64::MAX => u64::MAX,
                            until => until.max(0).cast_unsigned(),
                        },
                    },
                    head: head.to_vec(),
                    file: Some(text(11)).filter(|file| !file.is_empty()).map(PathBuf::from),
                };
                (self.within, self.ranges) = (true, self.ranges + 1);
                return Ok(Some(range));
            }
            self.pass_row();
        }
    }

    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let (within, taken) = (self.within, self.taken);
            let Some((batch, at)) = self.rows.row().map_err(io::Error::other)? else { return Ok(0) };
            if !within && is_first(batch, at) {
                return Ok(0);
            }
            let bytes = batch.column(9).as_binary::<i32>().value(at);
            let mut rest = bytes.get(taken..).unwrap_or_default();
            if !rest.is_empty() {
                let n = rest.read(to)?;
                self.taken += n;
                return Ok(n);
            }
            let error = batch.column(10).as_string::<i32>().value(at);
            if !error.is_empty() {
                return Err(io::Error::other(error.to_owned()));
            }
            self.within = false;
            self.pass_row();
        }
    }
}

/// Whether a range begins in this row.
fn is_first(batch: &RecordBatch, at: usize) -> bool {
    batch.column(7).as_primitive::<Int32Type>().value(at) == 0
}

/// The bytes of one range.
struct RangeBytes<R: Read> {
    chunks: Arc<Mutex<RowChunks<R>>>,
    range: u64,
}

impl<R: Read + Send> Read for RangeBytes<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        // A decompressor reads ahead in a thread of its own, which may outlive its range for a moment.
        if chunks.ranges == self.range { chunks.read(to) } else { Ok(0) }
    }
}
