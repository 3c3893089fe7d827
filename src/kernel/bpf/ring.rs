//! The ring through which programs hand over records (`BPF_MAP_TYPE_RINGBUF`).
//!
//! The kernel writes at one end and moves the producer's place; the reader moves the consumer's. The data is mapped
//! twice in a row, so that no record is cut at the end.

use std::io;
use std::os::fd::OwnedFd;

use super::system::{Access, MapKind, SharedMap, map, page};

/// A record is being written.
const BUSY: u32 = 1 << 31;
/// A record was given up by the program.
const DISCARDED: u32 = 1 << 30;
/// Bytes before each record: its length, and a field of the kernel's.
const HEAD: usize = 8;

/// The result of reading a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drained {
    /// Records, those included that cannot be read.
    pub records: usize,
    /// One that is still being written holds up those behind it.
    pub is_blocked: bool,
}

/// A ring.
pub struct BpfRing {
    descriptor: OwnedFd,
    consumer: SharedMap,
    producer: SharedMap,
    size: usize,
    page: usize,
    read: u64,
}

impl BpfRing {
    /// A ring of `size` bytes, a power of two.
    ///
    /// # Errors
    /// The kernel has no such rings (before Linux 5.8), or no right or memory is there for it.
    pub fn new(size: u32) -> io::Result<BpfRing> {
        let descriptor = map(MapKind::Ring, 0, size)?;
        let (size, page) = (size as usize, page());
        Ok(BpfRing {
            consumer: SharedMap::new(&descriptor, 0, page, Access::Write)?,
            producer: SharedMap::new(&descriptor, page, page + 2 * size, Access::Read)?,
            descriptor,
            size,
            page,
            read: 0,
        })
    }

    /// The map, for programs that write to it.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Hands over every record of `N` bytes that is there; `see` gets each once.
    pub fn drain<const N: usize>(&mut self, mut see: impl FnMut(&[u8; N])) -> Drained {
        let mut record = [0; N];
        let (mut records, mut is_blocked) = (0, false);
        let end = self.producer.double(0);
        while self.read < end {
            let at = self.page + (self.read as usize & (self.size - 1));
            let head = self.producer.word(at);
            if head & BUSY != 0 {
                is_blocked = true;
                break;
            }
            let length = (head & !DISCARDED) as usize;
            if head & DISCARDED == 0 && length == N {
                self.producer.copy(at + HEAD, &mut record);
                see(&record);
                records += 1;
            }
            self.read += (length + HEAD).next_multiple_of(8) as u64;
            // The place is moved on often: a program need not wait until a long queue is read.
            self.consumer.set_double(0, self.read);
        }
        Drained { records, is_blocked }
    }
}
