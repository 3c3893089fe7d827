//! Rings on real files: their contents, when a new file begins, a full disk.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::capture::{Packet, open};
use crate::decode::segment::PacketId;
use crate::model::{Finding, Incident};
use crate::report::samples;
use crate::time::Span;

const ETHERNET: LinkType = LinkType(1);
const MIB: u64 = 1 << 20;
/// 30 s before the first packet of the reports' samples.
const START: Timestamp = Timestamp(1_795_356_157_001_000_000);

/// An Ethernet frame with a TCP segment without options, `filler` bytes long behind its headers.
fn frame(from: ([u8; 4], u16), to: ([u8; 4], u16), filler: usize) -> Vec<u8> {
    let mut bytes = vec![2; 12];
    bytes.extend([8, 0, 0x45, 0]);
    bytes.extend((40 + filler as u16).to_be_bytes());
    bytes.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    bytes.extend(from.0);
    bytes.extend(to.0);
    bytes.extend(from.1.to_be_bytes());
    bytes.extend(to.1.to_be_bytes());
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.resize(54 + filler, 7);
    bytes
}

const CLIENT: ([u8; 4], u16) = ([198, 51, 100, 1], 41_800);
const SERVER: ([u8; 4], u16) = ([10, 0, 0, 5], 8_080);
const ELSEWHERE: ([u8; 4], u16) = ([10, 0, 0, 6], 443);

/// Packets numbered from `first` on, one a millisecond.
fn block(first: u64, frames: &[Vec<u8>]) -> Block {
    let mut block = Block::default();
    for (n, data) in frames.iter().enumerate() {
        let number = first + n as u64;
        block.push(&Packet {
            id: PacketId::new(0, number),
            time: START + Span::millis(number as i64),
            timed: true,
            interface: 0,
            link: ETHERNET,
            original_length: data.len() as u32,
            data,
        });
    }
    block
}

struct Bench {
    folder: TempDir,
    ring: CaptureRing,
    next: u64,
}

impl Bench {
    fn new(shape: RingSize) -> Bench {
        Bench::on(LocalDisk, shape)
    }

    fn on(disk: impl Disk, shape: RingSize) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let ring =
            CaptureRing::on(disk, &folder.path().join("ring.pcapng"), shape, &["eth0".to_owned()]).unwrap();
        Bench { folder, ring, next: 1 }
    }

    /// Packets of about `bytes` in all, elsewhere; every hundredth is the listener's.
    fn fill(&mut self, bytes: u64) {
        let mut left = bytes as i64;
        while left > 0 {
            let frames: Vec<Vec<u8>> = (0..100)
                .map(|n| if n == 0 { frame(CLIENT, SERVER, 900) } else { frame(CLIENT, ELSEWHERE, 900) })
                .collect();
            left -= 100 * 1_000;
            self.write(&frames);
        }
    }

    fn write(&mut self, frames: &[Vec<u8>]) {
        self.ring.write_block(&block(self.next, frames), &|_| None);
        self.next += frames.len() as u64;
        // No faster than a disk: what does not fit into the queue is lost, and these tests are not about that.
        while self.ring.queue.as_ref().is_some() && self.ring.lost == 0 && self.waits() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether the thread of the ring is behind by more than a few runs.
    fn waits(&self) -> bool {
        Arc::strong_count(&self.ring.places) > 8
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// The numbers that Wireshark would show, and the damage.
fn read(path: &Path) -> (Vec<(Timestamp, Vec<u8>)>, Option<String>) {
    let mut source = open(&[path.to_owned()]).unwrap().source;
    let (mut block, mut all) = (Block::default(), Vec::new());
    while source.next_block(&mut block) {
        all.extend(block.packets().map(|packet| (packet.time, packet.data.to_vec())));
    }
    (all, source.status()[0].damage.clone())
}

fn example() -> (Finding, Incident) {
    let report = samples::overflow();
    let (mut finding, mut incident) = (report.findings[0].clone(), report.incidents[0].clone());
    let at = |number: u64| START + Span::millis(number as i64);
    for (evidence, number) in finding.evidence.iter_mut().zip(101..) {
        evidence.capture = "eth0".into();
        evidence.packet = number;
        evidence.time = at(number);
    }
    finding.first = at(101);
    finding.last = at(200);
    incident.findings = vec![finding.id.clone()];
    (incident.first, incident.last) = (finding.first, finding.last);
    (finding, incident)
}

fn opened(finding: &Finding, incident: &Incident) -> LiveEvent {
    LiveEvent::Opened { at: String::new(), incident: incident.id.clone(), finding: finding.clone().into() }
}

fn closed(incident: &Incident) -> LiveEvent {
    LiveEvent::Closed { at: String::new(), incident: incident.clone().into() }
}

#[test]
fn the_ring_keeps_to_its_shape() {
    let mut bench = Bench::new(RingSize { files: 3, bytes: MIB });
    bench.fill(6 * MIB);
    assert_eq!(bench.ring.finish(), [""; 0]);
    let files = bench.files();
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(files[0].as_str() > "ring.000003", "{files:?}");
    let mut last = Timestamp::MIN;
    for name in &files {
        let path = bench.path(name);
        assert!(fs::metadata(&path).unwrap().len() <= MIB);
        let (packets, damage) = read(&path);
        assert_eq!(damage, None);
        assert!(packets.iter().all(|(time, _)| std::mem::replace(&mut last, *time) < *time));
    }
    // The newest packet is in the newest file.
    assert_eq!(last, START + Span::millis(bench.next as i64 - 1));
}

#[test]
fn a_restart_goes_on_where_the_last_run_ended() {
    let mut bench = Bench::new(RingSize { files: 3, bytes: MIB });
    bench.fill(2 * MIB);
    bench.ring.finish();
    let before = bench.files();
    File::create(bench.path("ring.notes.pcapng")).unwrap();
    let path = bench.path("ring.pcapng");
    bench.ring = CaptureRing::create(&path, RingSize { files: 3, bytes: MIB }, &["eth0".to_owned()]).unwrap();
    bench.fill(10);
    bench.ring.finish();
    let after = bench.files();
    assert_eq!(after.len(), 4, "three of the ring, and a file that is not its own: {after:?}");
    assert_eq!(after[0], before[before.len() - 2], "the oldest went, the youngest stayed: {after:?}");
}

#[test]
fn interfaces_are_described_in_every_file() {
    let mut bench = Bench::new(RingSize { files: 4, bytes: MIB });
    let other = |number: u64| {
        let mut other = Block::default();
        let data = frame(CLIENT, SERVER, 0);
        let id = PacketId::new(1, number);
        other.push(&Packet {
            id,
            time: START,
            timed: true,
            interface: 0,
            link: LinkType(113),
            original_length: 99,
            data: &data,
        });
        other
    };
    bench.fill(MIB / 2);
    bench.ring.write_block(&other(1), &|_| None);
    bench.fill(MIB * 2);
    bench.ring.write_block(&other(2), &|_| None);
    bench.ring.finish();
    let last = bench.files().pop().unwrap();
    let places =
        [RingInterface { capture: 0, link: ETHERNET }, RingInterface { capture: 1, link: LinkType(113) }];
    let mut links = Vec::new();
    piece::read(&bench.path(&last), &places, |_, packet, _| {
        links.push((packet.link, packet.id.number(), packet.original_length));
        Ok(())
    })
    .unwrap();
    assert_eq!(links.last(), Some(&(LinkType(113), 2, 99)));
    assert!(links.len() > 10 && read(&bench.path(&last)).1.is_none());
}

/// What a process that was killed in the middle of a write leaves.
#[test]
fn a_file_cut_anywhere_in_its_last_block_is_read_up_to_it() {
    let mut bench = Bench::new(RingSize { files: 2, bytes: MIB });
    bench.write(&[frame(CLIENT, SERVER, 3), frame(SERVER, CLIENT, 0), frame(CLIENT, SERVER, 40)]);
    bench.ring.finish();
    let whole = fs::read(bench.path("ring.000001.pcapng")).unwrap();
    let last = u32::from_le_bytes(whole[whole.len() - 4..].try_into().unwrap()) as usize;
    let cut = bench.path("cut.pcapng");
    for length in whole.len() - last..=whole.len() {
        fs::write(&cut, &whole[..length]).unwrap();
        let (packets, damage) = read(&cut);
        let complete = length == whole.len();
        assert_eq!(packets.len(), if complete { 3 } else { 2 }, "{length} of {}", whole.len());
        let clean = complete || length == whole.len() - last;
        assert_eq!(damage.is_none(), clean, "{length} of {}: {damage:?}", whole.len());
        let mut seen = 0;
        piece::read(&cut, &[RingInterface { capture: 0, link: ETHERNET }], |_, _, _| {
            seen += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, packets.len());
    }
}

#[test]
fn evidence_is_what_the_listener_did_with_comments() {
    let mut bench = Bench::new(RingSize { files: 4, bytes: MIB });
    bench.fill(MIB);
    let (finding, incident) = example();
    bench.ring.note(&[opened(&finding, &incident), closed(&incident)]);
    assert_eq!(bench.ring.finish(), [""; 0]);
    let path = bench.path(&format!("ring.{}.pcapng", incident.id));
    let (packets, damage) = read(&path);
    assert_eq!(damage, None);
    // Every hundredth is the listener's; those that the finding names are saved, whichever connection they belong to.
    let own = frame(CLIENT, SERVER, 900);
    let listeners = packets.iter().filter(|(_, data)| *data == own).count();
    assert_eq!(listeners, (bench.next as usize - 1).div_ceil(100));
    assert_eq!(packets.len() - listeners, 5, "#101 is the listener's, #102 to #106 are named");
    let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
    assert!(
        text.contains(&format!("{} accept-queue-overflow: SYN-ACK again [repeated]", finding.id)),
        "comments"
    );
}

#[test]
fn comments_stand_in_the_ring_and_in_the_evidence() {
    let mut bench = Bench::new(RingSize { files: 4, bytes: MIB });
    let said = "synscope kernel: dropped TCP_LISTEN_OVERFLOW tcp_v4_rcv";
    let frames: Vec<Vec<u8>> = (0..110).map(|_| frame(CLIENT, SERVER, 0)).collect();
    let comment = |packet: PacketId| (packet.number() == 102).then(|| said.to_owned());
    bench.ring.write_block(&block(1, &frames), &comment);
    let (finding, incident) = example();
    bench.ring.note(&[opened(&finding, &incident), closed(&incident)]);
    assert_eq!(bench.ring.finish(), [""; 0]);
    for name in ["ring.000001.pcapng".to_owned(), format!("ring.{}.pcapng", incident.id)] {
        let mut source = open(&[bench.path(&name)]).unwrap().source;
        let (mut block, mut notes) = (Block::default(), Vec::new());
        while source.next_block(&mut block) {
            notes.extend(block.notes().iter().map(|(id, note)| (id.number(), note.to_string())));
        }
        assert_eq!(notes, [(102, said.to_owned())], "{name}");
    }
}

#[test]
fn evidence_is_saved_before_the_ring_overwrites_it() {
    let mut bench = Bench::new(RingSize { files: 3, bytes: MIB });
    bench.fill(MIB / 2);
    let (finding, mut incident) = example();
    bench.ring.note(&[opened(&finding, &incident)]);
    bench.fill(8 * MIB);
    incident.last = START + Span::millis(bench.next as i64);
    bench.ring.note(&[closed(&incident)]);
    assert_eq!(bench.ring.finish(), [""; 0]);
    let (packets, damage) = read(&bench.path(&format!("ring.{}.pcapng", incident.id)));
    assert_eq!(damage, None);
    let own = frame(CLIENT, SERVER, 900);
    let times: Vec<_> = packets.iter().filter(|(_, data)| *data == own).map(|(time, _)| *time).collect();
    let expected: Vec<_> = (1..bench.next).step_by(100).map(|n| START + Span::millis(n as i64)).collect();
    assert_eq!(times, expected, "each once, those of files that are gone included");
}

#[test]
fn evidence_of_a_busy_listener_is_narrowed_and_that_is_said() {
    let mut bench = Bench::new(RingSize { files: 4, bytes: MIB });
    let busy: Vec<Vec<u8>> =
        (0..3_000u16).map(|n| frame((CLIENT.0, 50_000 + n % 9_000), SERVER, 900)).collect();
    bench.write(&[frame(CLIENT, SERVER, 900)]);
    busy.chunks(200).for_each(|frames| bench.write(frames));
    let (finding, incident) = example();
    bench.ring.note(&[opened(&finding, &incident), closed(&incident)]);
    let said = bench.ring.finish();
    assert!(said.len() == 1 && said[0].contains("was cut"), "{said:?}");
    let path = bench.path(&format!("ring.{}.pcapng", incident.id));
    assert!(fs::metadata(&path).unwrap().len() <= MIB + (64 << 10));
    assert!(read(&path).0.iter().any(|(_, data)| *data == frame(CLIENT, SERVER, 900)));
}

#[test]
fn an_open_incident_is_saved_at_the_end() {
    let mut bench = Bench::new(RingSize { files: 4, bytes: MIB });
    bench.fill(MIB / 4);
    let (finding, incident) = example();
    bench.ring.note(&[opened(&finding, &incident)]);
    bench.ring.finish();
    assert!(bench.path(&format!("ring.{}.pcapng", incident.id)).exists());
}

/// A disk with room for a number of bytes.
struct Tiny {
    left: Arc<AtomicU64>,
}

impl Disk for Tiny {
    fn create(&self, path: &Path) -> io::Result<File> {
        LocalDisk.create(path)
    }

    fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        let left = self.left.load(Ordering::SeqCst);
        let fits = left.min(bytes.len() as u64);
        self.left.fetch_sub(fits, Ordering::SeqCst);
        // A full disk still takes part of a block.
        LocalDisk.append(file, &bytes[..fits as usize])?;
        if fits < bytes.len() as u64 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&self, file: &mut File, length: u64) -> io::Result<()> {
        self.left.fetch_add(file.metadata()?.len() - length, Ordering::SeqCst);
        LocalDisk.truncate(file, length)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.left.fetch_add(fs::metadata(path)?.len(), Ordering::SeqCst);
        LocalDisk.remove(path)
    }
}

#[test]
fn a_full_disk_makes_the_ring_smaller_and_is_said_once() {
    let left = Arc::new(AtomicU64::new(5 * MIB / 2));
    let mut bench = Bench::on(Tiny { left: Arc::clone(&left) }, RingSize { files: 8, bytes: MIB });
    bench.fill(8 * MIB);
    let said = bench.ring.finish();
    assert!(said.len() == 1 && said[0].contains("holds less than it should"), "{said:?}");
    let files = bench.files();
    assert!((2..=3).contains(&files.len()), "{files:?}");
    for name in &files {
        assert_eq!(read(&bench.path(name)).1, None, "{name} is whole");
    }
    let (packets, _) = read(&bench.path(files.last().unwrap()));
    assert_eq!(packets.last().unwrap().0, START + Span::millis(bench.next as i64 - 1), "the newest is kept");
}

#[test]
fn a_disk_without_any_room_is_survived_and_writing_is_taken_up_again() {
    let left = Arc::new(AtomicU64::new(10_000));
    let mut bench = Bench::on(Tiny { left: Arc::clone(&left) }, RingSize { files: 8, bytes: MIB });
    bench.fill(MIB / 4);
    let until = Instant::now() + Duration::from_secs(10);
    let mut said = Vec::new();
    while said.is_empty() && Instant::now() < until {
        said = bench.ring.take_messages();
    }
    assert!(said.len() == 1 && said[0].contains("cannot be written"), "{said:?}");
    left.store(100 * MIB, Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(1_100));
    let resumed = bench.next;
    bench.write(&[frame(CLIENT, SERVER, 900)]);
    let said = bench.ring.finish();
    assert!(said.len() == 1 && said[0].contains("written again; 300 packets"), "{said:?}");
    let (packets, damage) = read(&bench.path(bench.files().last().unwrap()));
    assert_eq!((packets.last().unwrap().0, damage), (START + Span::millis(resumed as i64), None));
}

#[test]
fn a_folder_that_is_not_there_is_an_error_at_once() {
    let error =
        CaptureRing::create(Path::new("/nonexistent/ring.pcapng"), RingSize::default(), &[]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn shapes_are_read() {
    assert_eq!("8x64MiB".parse(), Ok(RingSize { files: 8, bytes: 64 * MIB }));
    assert_eq!("3x1g".parse(), Ok(RingSize { files: 3, bytes: 1 << 30 }));
    for wrong in ["", "8", "8x", "x64MiB", "1x64MiB", "8x64", "8x100kib", "-2x1GiB", "8x99999999999GiB"] {
        assert!(wrong.parse::<RingSize>().is_err(), "{wrong}");
    }
}
