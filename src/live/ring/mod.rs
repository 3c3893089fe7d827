//! The last packets, in a ring of pcapng files, and those of each incident in a file of its own.
//!
//! ```text
//!  blocks  ->  encoded here  ->  queue  ->  keeper (its own thread)  ->  RING.000001.pcapng, RING.000002.pcapng, ...
//!  events  ------------------>  queue  ->  case: what an incident is about  ->  RING.INCIDENT-ID.pcapng
//! ```
//!
//! Files are readable at any time: whole blocks are appended in one write, and a reader stops cleanly at a block that a
//! killed process left unfinished. A slow or full disk costs packets in the ring, never packets of the watch. A message
//! says so, and writing is resumed later.

mod case;
mod disk;
mod keeper;
mod names;
mod piece;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use self::disk::{Disk, LocalDisk};
use self::keeper::{BlockRun, RingWriter};
use self::names::RingFileNames;
use super::event::LiveEvent;
use super::output::Recorder;
use super::state::WatchState;
use crate::capture::{Block, LinkType};
use crate::decode::segment::PacketId;
use crate::fault;
use crate::report::pcapng;
use crate::report::terminal::counted;
use crate::time::Timestamp;

/// Bytes of one run, which is one write.
const RUN: usize = 256 << 10;
/// Runs that may wait for the disk: 64 MiB at most.
const WAITING: usize = 256;
/// The smallest file of a ring, bytes.
const SMALLEST: u64 = 1 << 20;
/// Most files of a ring.
const MOST_FILES: usize = 10_000;

/// How many files, and how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSize {
    /// The greatest number of files; at least 2.
    pub files: usize,
    /// How large each may become, bytes; at least 1 MiB.
    pub bytes: u64,
}

impl Default for RingSize {
    /// 8x64MiB.
    fn default() -> RingSize {
        RingSize { files: 8, bytes: 64 << 20 }
    }
}

impl FromStr for RingSize {
    type Err = String;
    /// `8x64MiB`.
    ///
    /// # Errors
    /// Anything else, fewer than two files, files smaller than 1 MiB.
    fn from_str(text: &str) -> Result<RingSize, String> {
        let advice = || "write how many files and how large in MiB or GiB, such as 8x64MiB".to_owned();
        let (files, size) = text.trim().split_once(['x', 'X', '*']).ok_or_else(advice)?;
        let files: usize = files.trim().parse().map_err(|_| advice())?;
        let size = size.trim();
        let (number, unit) = size.split_at(size.find(|c: char| !c.is_ascii_digit()).unwrap_or(size.len()));
        let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            _ => return Err(advice()),
        };
        let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(scale)).ok_or_else(advice)?;
        if !(2..=MOST_FILES).contains(&files) || bytes < SMALLEST {
            return Err(format!("a ring has 2 to {MOST_FILES} files of at least 1MiB, such as 8x64MiB"));
        }
        Ok(RingSize { files, bytes })
    }
}

/// An interface of the files: one of the watch, with the link type of its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RingInterface {
    /// Its place among the interfaces of the watch.
    capture: u16,
    link: LinkType,
}

/// A ring that is being written.
#[derive(Debug)]
pub struct CaptureRing {
    /// Names of the interfaces watched.
    interfaces: Vec<String>,
    places: Arc<Vec<RingInterface>>,
    queue: Option<SyncSender<RingMessage>>,
    /// Events for which there was no room in the queue.
    late: Vec<LiveEvent>,
    /// Packets that did not fit, since the last message about it.
    lost: u64,
    said: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum RingMessage {
    Run(BlockRun),
    Event(Box<LiveEvent>),
}

impl CaptureRing {
    /// Begins a ring of `shape`, named after `path`; `interfaces` are the names of those watched, in the order of their
    /// numbers. Files of an earlier run by that name are its oldest.
    ///
    /// # Errors
    /// A folder that cannot be read or written.
    pub fn create(path: &Path, shape: RingSize, interfaces: &[String]) -> io::Result<CaptureRing> {
        CaptureRing::on(LocalDisk, path, shape, interfaces)
    }

    fn on(disk: impl Disk, path: &Path, shape: RingSize, interfaces: &[String]) -> io::Result<CaptureRing> {
        let keeper = RingWriter::new(disk, RingFileNames::new(path)?, shape, interfaces)?;
        let (queue, messages) = sync_channel(WAITING);
        let said = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&said);
        let thread =
            thread::Builder::new().name("ring".to_owned()).spawn(move || keep(keeper, &messages, &told))?;
        Ok(CaptureRing {
            interfaces: interfaces.to_vec(),
            places: Arc::default(),
            queue: Some(queue),
            late: Vec::new(),
            lost: 0,
            said,
            thread: Some(thread),
        })
    }

    /// Takes in packets, each with a comment if there is one. Never waits for the disk.
    pub fn write_block(&mut self, block: &Block, comment: &dyn Fn(PacketId) -> Option<String>) {
        let mut encoded = Encoded::new(self.places.len());
        for packet in block.packets() {
            let place = RingInterface { capture: packet.id.capture(), link: packet.link };
            let known = self.places.iter().position(|known| *known == place);
            let interface = known.unwrap_or_else(|| {
                let name = self.interfaces.get(usize::from(place.capture)).map_or("", String::as_str);
                pcapng::interface_block(&mut encoded.bytes, place.link.0, name, "");
                Arc::make_mut(&mut self.places).push(place);
                self.places.len() - 1
            });
            let written = pcapng::CommentedPacket {
                interface: interface as u32,
                time: packet.time,
                original_length: packet.original_length,
                data: packet.data,
            };
            let comment = comment(packet.id);
            pcapng::packet_block(&mut encoded.bytes, &written, Some(packet.id.number()), comment.as_slice());
            encoded.packets += 1;
            let (first, last) = encoded.times.unwrap_or((packet.time, packet.time));
            encoded.times = Some((first.min(packet.time), last.max(packet.time)));
            if encoded.bytes.len() >= RUN {
                let full = std::mem::replace(&mut encoded, Encoded::new(self.places.len()));
                self.enqueue(full);
            }
        }
        self.enqueue(encoded);
    }

    fn enqueue(&mut self, encoded: Encoded) {
        let (Some(times), Some(queue)) = (encoded.times, &self.queue) else { return };
        let run = BlockRun {
            bytes: encoded.bytes,
            places: Arc::clone(&self.places),
            before: encoded.before,
            packets: encoded.packets,
            times,
        };
        match queue.try_send(RingMessage::Run(run)) {
            Ok(()) if self.lost > 0 => {
                let lost = counted(std::mem::take(&mut self.lost), "packet");
                self.say(format!("the disk was too slow for the ring: {lost} are missing in it"));
            }
            Ok(()) => {}
            Err(_) => self.lost += encoded.packets,
        }
    }

    /// Records events, after the packets that they are about. Never waits for the disk.
    pub fn note(&mut self, events: &[LiveEvent]) {
        let concerns = |event: &&LiveEvent| {
            matches!(event, LiveEvent::Opened { .. } | LiveEvent::Updated { .. } | LiveEvent::Closed { .. })
        };
        self.late.extend(events.iter().filter(concerns).cloned());
        let Some(queue) = &self.queue else { return };
        let mut late = std::mem::take(&mut self.late).into_iter();
        while let Some(event) = late.next() {
            if let Err(TrySendError::Full(RingMessage::Event(event))) =
                queue.try_send(RingMessage::Event(event.into()))
            {
                self.late.push(*event);
                self.late.extend(late);
                break;
            }
        }
    }

    /// Messages for the user since the last call: a full disk, a slow one, incomplete evidence.
    pub fn take_messages(&self) -> Vec<String> {
        std::mem::take(&mut *self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn say(&self, text: String) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// The watch is over: everything that waits is written, and the packets of open incidents are saved. Returns
    /// messages for the user.
    pub fn finish(&mut self) -> Vec<String> {
        if let Some(queue) = self.queue.take() {
            for event in std::mem::take(&mut self.late) {
                // The thread is gone only after a panic, which has been reported.
                let _ = queue.send(RingMessage::Event(event.into()));
            }
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if self.lost > 0 {
            let lost = counted(std::mem::take(&mut self.lost), "packet");
            self.say(format!("the disk was too slow for the ring: {lost} are missing in it"));
        }
        self.take_messages()
    }
}

impl Recorder for CaptureRing {
    fn block(&mut self, block: &Block, comment: &dyn Fn(PacketId) -> Option<String>) {
        self.write_block(block, comment);
    }

    fn tick(&mut self, _: &WatchState, events: &[LiveEvent]) -> Vec<String> {
        self.note(events);
        self.take_messages()
    }

    fn finish(&mut self) -> Vec<String> {
        CaptureRing::finish(self)
    }
}

impl Drop for CaptureRing {
    fn drop(&mut self) {
        CaptureRing::finish(self);
    }
}

/// Packets on their way into a run.
struct Encoded {
    bytes: Vec<u8>,
    before: usize,
    packets: u64,
    times: Option<(Timestamp, Timestamp)>,
}

impl Encoded {
    fn new(before: usize) -> Encoded {
        Encoded { bytes: Vec::new(), before, packets: 0, times: None }
    }
}

/// Writes what comes until nothing more can come.
fn keep<D: Disk>(mut keeper: RingWriter<D>, messages: &Receiver<RingMessage>, said: &Mutex<Vec<String>>) {
    let tell = |keeper: &mut RingWriter<D>| {
        let new = keeper.drain_messages();
        if !new.is_empty() {
            said.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
        }
    };
    let mut failed = false;
    while let Ok(message) = messages.recv() {
        let kept = fault::contain(|| match message {
            RingMessage::Run(run) => keeper.write(&run),
            RingMessage::Event(event) => keeper.note(&event),
        });
        // Reported once: it would otherwise be reported for every packet.
        if let Err(fault) = kept
            && !std::mem::replace(&mut failed, true)
        {
            let text = format!("ring: {}: packets may be missing in it", fault.told());
            said.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
        tell(&mut keeper);
    }
    let _ = fault::contain(|| keeper.finish());
    tell(&mut keeper);
}
