//! An Arrow stream, row by row. All streams begin with the column `version`.

use std::io::Read;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_ipc::reader::StreamReader;
use arrow_schema::{DataType, Field, Schema};

use super::Error;

/// The version of all streams between stages.
pub(super) const VERSION: i32 = 2;

/// A schema of columns, none of which may contain nulls.
pub(super) fn columns<const N: usize>(columns: [(&str, DataType); N]) -> Arc<Schema> {
    let column = |(name, kind): (&str, DataType)| Field::new(name, kind, false);
    Arc::new(Schema::new(columns.map(column).to_vec()))
}

/// The rows of a stream, one at a time.
pub(super) struct Rows<R: Read> {
    stage: &'static str,
    stream: StreamReader<R>,
    batch: Option<RecordBatch>,
    next: usize,
}

impl<R: Read> Rows<R> {
    /// Reads the head of the stream that `stage` gets.
    ///
    /// # Errors
    /// The stream has other columns. Whether a column may contain nulls is not compared: Spark loses that.
    pub(super) fn new(stage: &'static str, from: R, wanted: &Schema) -> Result<Rows<R>, Error> {
        let stream = StreamReader::try_new(from, None)?;
        let columns = |schema: &Schema| -> Vec<String> {
            schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect()
        };
        let (found, wanted) = (columns(&stream.schema()), columns(wanted));
        if found != wanted {
            let (found, wanted) = (found.join(", "), wanted.join(", "));
            let what = format!("its input has the columns {found}; expected {wanted}");
            return Err(Error::Schema { stage, what });
        }
        Ok(Rows { stage, stream, batch: None, next: 0 })
    }

    /// The row whose turn it is: its batch, and its place there.
    ///
    /// # Errors
    /// The stream is broken.
    pub(super) fn row(&mut self) -> Result<Option<(&RecordBatch, usize)>, Error> {
        while self.batch.as_ref().is_none_or(|batch| self.next >= batch.num_rows()) {
            match self.stream.next() {
                Some(batch) => (self.batch, self.next) = (Some(batch?), 0),
                None => return Ok(None),
            }
        }
        Ok(self.batch.as_ref().map(|batch| (batch, self.next)))
    }

    /// The same, if it must be of this version.
    ///
    /// # Errors
    /// The stream is broken, or of another version.
    pub(super) fn row_of_this_version(&mut self) -> Result<Option<(&RecordBatch, usize)>, Error> {
        let stage = self.stage;
        let Some((batch, at)) = self.row()? else { return Ok(None) };
        let version = batch.column(0).as_primitive::<Int32Type>().value(at);
        if version != VERSION {
            let what = format!("its input is of version {version}; expected {VERSION}");
            return Err(Error::Schema { stage, what });
        }
        Ok(Some((batch, at)))
    }

    /// Moves on to the next row.
    pub(super) fn pass(&mut self) {
        self.next += 1;
    }
}
