//! Bytes that several threads read at once, each at its own place.

use std::fs::File;
use std::io;
use std::sync::Arc;

/// Bytes that several threads can read, each at its own place.
pub(super) trait ReadAt: Send + Sync {
    /// Reads some bytes from `place` on; returns 0 only at the end.
    fn read_at(&self, buf: &mut [u8], place: u64) -> io::Result<usize>;
}

/// A file, from a certain byte on.
pub(super) struct OffsetFile {
    pub file: Arc<File>,
    pub origin: u64,
}

impl ReadAt for OffsetFile {
    #[cfg(unix)]
    fn read_at(&self, buf: &mut [u8], place: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&*self.file, buf, self.origin.saturating_add(place))
    }

    #[cfg(windows)]
    fn read_at(&self, buf: &mut [u8], place: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&*self.file, buf, self.origin.saturating_add(place))
    }
}
