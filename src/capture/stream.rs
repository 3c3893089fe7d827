//! The bytes of one input, decompressed where needed, with a count of those consumed.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::compress::{Compression, Decompressor, MAGIC_BYTES};
use super::read_at::ReadAt;

/// The bytes of one input.
pub(super) struct InputStream {
    bytes: Box<dyn Read + Send>,
    consumed: Arc<AtomicU64>,
    /// The same bytes, to be read from any place, where that can be done.
    places: Option<Arc<dyn ReadAt>>,
    /// Size as stored, bytes, where it is known.
    pub(super) size: Option<u64>,
    /// The compression that was undone.
    pub(super) compression: Option<Compression>,
}

impl InputStream {
    /// Reads the first bytes of `raw`, and decompresses the stream if they ask for it. Waits for these bytes.
    ///
    /// # Errors
    /// When they cannot be read, or a decoder's thread cannot be started.
    pub(super) fn new(raw: Box<dyn Read + Send>, size: Option<u64>) -> io::Result<InputStream> {
        let consumed = Arc::new(AtomicU64::new(0));
        let mut raw = Counted { raw, consumed: Arc::clone(&consumed) };
        let mut head = vec![0; MAGIC_BYTES];
        let filled = fill(&mut raw, &mut head)?;
        head.truncate(filled);
        let compression = Compression::of(&head);
        let whole: Box<dyn Read + Send> = Box::new(PeekedStream { head, raw });
        let bytes = match compression {
            Some(compression) => Box::new(Decompressor::start(compression, whole)?),
            None => whole,
        };
        Ok(InputStream { bytes, consumed, places: None, size, compression })
    }

    /// Bytes from somewhere within an input of `size` bytes.
    #[cfg(feature = "fleet")]
    pub(super) fn within(bytes: Box<dyn Read + Send>, size: Option<u64>) -> InputStream {
        InputStream { bytes, consumed: Arc::default(), places: None, size, compression: None }
    }

    /// Allows reading in parts, too: `places` has the same bytes as are read in order.
    pub(super) fn divide(&mut self, places: Arc<dyn ReadAt>) {
        self.places = self.compression.is_none().then_some(places);
    }

    /// Whether [`InputStream::from`] gives anything.
    pub(super) fn is_divisible(&self) -> bool {
        self.places.is_some()
    }

    /// The same bytes from `place` on.
    pub(super) fn from(&self, place: u64) -> Option<InputStream> {
        let places = self.places.clone()?;
        Some(InputStream {
            bytes: Box::new(ReadFrom { places, place }),
            consumed: Arc::default(),
            places: None,
            size: self.size,
            compression: None,
        })
    }

    /// Everything up to `place` was read in parts.
    pub(super) fn pass(&self, place: u64) {
        self.consumed.store(place, Relaxed);
    }

    /// Bytes consumed of the input as stored.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed.load(Relaxed)
    }

    /// Fills `buf` unless the stream ends before; returns how many bytes there were.
    pub(super) fn fill(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        fill(&mut self.bytes, buf)
    }
}

impl Read for InputStream {
    /// The bytes of one read of the input, so that a pipe's packets do not wait for more; 0 only at the end.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.bytes.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

fn fill(from: &mut dyn Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(left @ [_, ..]) = buf.get_mut(filled..) {
        match from.read(left) {
            Ok(0) => break,
            Ok(n) => filled = filled.saturating_add(n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The bytes looked at already, then the rest.
struct PeekedStream<R> {
    head: Vec<u8>,
    raw: R,
}

impl<R: Read> Read for PeekedStream<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.head.is_empty() {
            return self.raw.read(buf);
        }
        let n = self.head.as_slice().read(buf)?;
        self.head.drain(..n);
        Ok(n)
    }
}

/// Reads on from a place.
struct ReadFrom {
    places: Arc<dyn ReadAt>,
    place: u64,
}

impl Read for ReadFrom {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.places.read_at(buf, self.place)?;
        self.place = self.place.saturating_add(n as u64);
        Ok(n)
    }
}

struct Counted {
    raw: Box<dyn Read + Send>,
    consumed: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.raw.read(buf)?;
        self.consumed.fetch_add(n as u64, Relaxed);
        Ok(n)
    }
}
