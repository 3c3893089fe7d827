//! Rows that wait for their turn: in memory, or in a temporary file of this host if there are too many.

use std::env::temp_dir;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::Error;

/// Bytes that are kept in memory.
const IN_MEMORY: usize = 64 << 20;

/// Where the body of a row is kept.
#[derive(Debug)]
pub(super) enum SpooledBody {
    /// Here.
    Memory(Vec<u8>),
    /// In the temporary file, from this byte on.
    File {
        /// The first byte.
        from: u64,
        /// How many bytes.
        len: usize,
    },
}

/// Keeps the bodies of rows.
#[derive(Debug, Default)]
pub(super) struct Spool {
    in_memory: usize,
    file: Option<File>,
    end: u64,
}

impl Spool {
    /// Keeps a body.
    ///
    /// # Errors
    /// The temporary file cannot be made or written.
    pub(super) fn keep(&mut self, body: Vec<u8>) -> Result<SpooledBody, Error> {
        if self.in_memory + body.len() <= IN_MEMORY {
            self.in_memory += body.len();
            return Ok(SpooledBody::Memory(body));
        }
        let from = self.end;
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile().map_err(|error| failed(&error))?),
        };
        file.write_all(&body).map_err(|error| failed(&error))?;
        self.end += body.len() as u64;
        Ok(SpooledBody::File { from, len: body.len() })
    }

    /// Reads a body back. All bodies must have been kept before the first one is read.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub(super) fn body(&mut self, kept: SpooledBody) -> Result<Vec<u8>, Error> {
        let (from, len) = match kept {
            SpooledBody::Memory(body) => return Ok(body),
            SpooledBody::File { from, len } => (from, len),
        };
        let read = |file: &mut File| -> io::Result<Vec<u8>> {
            let mut body = vec![0; len];
            file.seek(SeekFrom::Start(from))?;
            file.read_exact(&mut body)?;
            Ok(body)
        };
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let file = self.file.as_mut().ok_or_else(missing);
        file.and_then(read).map_err(|error| failed(&error))
    }
}

fn failed(error: &io::Error) -> Error {
    Error::Unreadable(format!("segments cannot be kept in {}: {error}", temp_dir().display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_come_back_in_any_order() {
        let body = |n: u8| vec![n; (IN_MEMORY / 3) + usize::from(n)];
        let mut spool = Spool::default();
        let mut kept: Vec<_> = (0..6).map(|n| (n, spool.keep(body(n)).unwrap())).collect();
        assert!(kept.iter().any(|(_, kept)| matches!(kept, SpooledBody::File { .. })));
        kept.rotate_left(4);
        for (n, kept) in kept.into_iter().rev() {
            assert!(spool.body(kept).unwrap() == body(n), "{n}");
        }
    }
}
