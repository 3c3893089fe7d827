//! Connections and findings as rows of Parquet files, for questions that the report does not answer: one row for each
//! connection, and one for each finding about a connection.
//!
//! The names of columns follow Zeek's `conn.log` where the meaning is the same ([`connections`]).

pub mod community_id;
pub mod connections;
pub mod findings;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::decode::segment::PacketId;

/// The folder for the tables of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableFolder {
    /// The folder.
    pub path: PathBuf,
    /// The value of the column `point`, which is also in the names of the files unless it is empty.
    pub point: String,
}

impl TableFolder {
    /// The same for one of two captures of the same traffic: 0 is nearer to the clients.
    pub fn of_side(self, side: usize) -> TableFolder {
        TableFolder { point: TableFolder::name_of_side(side).unwrap_or_default().to_owned(), ..self }
    }

    /// The value of the column `point` for one of two captures of the same traffic.
    pub fn name_of_side(side: usize) -> Option<&'static str> {
        ["client side", "server side"].get(side).copied()
    }

    /// The same for a capture point.
    pub fn of_point(self, name: &str) -> TableFolder {
        TableFolder { point: name.to_owned(), ..self }
    }

    /// The file of one part of the connections.
    pub fn connections(&self, part: usize) -> PathBuf {
        self.file("connections", &format!("-{part:02}"))
    }

    /// The file of the findings.
    pub fn findings(&self) -> PathBuf {
        self.file("findings", "")
    }

    fn file(&self, table: &str, part: &str) -> PathBuf {
        let usual = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let point: String = self.point.chars().map(|c| if usual(c) { c } else { '_' }).collect();
        let point = if point.is_empty() { point } else { format!("-{point}") };
        self.path.join(format!("{table}{point}{part}.parquet"))
    }
}

/// Names a connection by its first packet: the same in both tables.
fn uid(first: PacketId) -> String {
    format!("C{}.{}", first.capture(), first.number())
}

fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(1 << 14))
        .build()
}

/// A file that is created with its first byte.
fn created(path: &Path) -> io::Result<File> {
    File::create(path)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot write to {}: {error}", path.display())))
}

/// Bytes that are kept, and can be taken out once everything is written.
#[derive(Clone, Default)]
pub struct SharedBuffer(Arc<Mutex<Vec<u8>>>);

impl SharedBuffer {
    /// Moves out the bytes written so far.
    pub fn take_bytes(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for SharedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
