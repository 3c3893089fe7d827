//! The files of the ring. They are written one after the other. The oldest is removed, after it was searched for
//! evidence.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::case::{EvidenceFile, IncidentEvidence};
use super::disk::Disk;
use super::names::RingFileNames;
use super::{RingInterface, RingSize, piece};
use crate::live::event::LiveEvent;
use crate::model::{Incident, Severity};
use crate::report::pcapng;
use crate::report::terminal::{counted, grouped};
use crate::time::Timestamp;

/// After a failure nothing is written for this long: trying again does not help against a full disk.
const REST: Duration = Duration::from_secs(1);
/// How many incidents have their findings remembered at a time. For others, only the packets named when they close are
/// saved.
const MOST_CASES: usize = 256;
/// Files of evidence that one run keeps.
const MOST_FILES: usize = 1_000;
/// Evidence is written in pieces of this many bytes.
const CHUNK: usize = 256 << 10;
/// Bytes of a block beside its packet and its comments.
const FRAMING: u64 = 52;
/// How many files of evidence may have one name: an incident of an earlier run may have the same id.
const MOST_NAMESAKES: u32 = 100;

/// A run of whole blocks.
#[derive(Debug)]
pub(super) struct BlockRun {
    /// The blocks.
    pub bytes: Vec<u8>,
    /// All interfaces that have been described so far, in `bytes` or before.
    pub places: Arc<Vec<RingInterface>>,
    /// How many interfaces a file must describe before these blocks.
    pub before: usize,
    /// Packets in it.
    pub packets: u64,
    /// Times of the first and the last of them.
    pub times: (Timestamp, Timestamp),
}

/// One file.
#[derive(Debug)]
struct SavedPiece {
    number: u64,
    path: PathBuf,
    bytes: u64,
    /// How many interfaces are described in it.
    described: usize,
    /// Times of its packets; `None` without packets, or when an earlier run of the program wrote it.
    times: Option<(Timestamp, Timestamp)>,
}

/// Everything about the files.
pub(super) struct RingWriter<D: Disk> {
    disk: D,
    names: RingFileNames,
    shape: RingSize,
    /// Names of the interfaces watched.
    interfaces: Vec<String>,
    /// The interfaces of the files.
    places: Arc<Vec<RingInterface>>,
    /// Oldest first; the last one is being written if `file` is there.
    pieces: VecDeque<SavedPiece>,
    file: Option<File>,
    next: u64,
    cases: BTreeMap<String, IncidentEvidence>,
    /// Evidence that was saved, oldest first.
    saved: VecDeque<SavedEvidence>,
    /// Since when nothing can be written, and how many packets are therefore missing.
    failing: Option<DiskFailure>,
    rest: Duration,
    thinned: bool,
    troubles: Vec<String>,
}

/// Evidence that was saved.
#[derive(Debug)]
struct SavedEvidence {
    path: PathBuf,
    bytes: u64,
    severity: Severity,
}

#[derive(Debug)]
struct DiskFailure {
    again: Instant,
    lost: u64,
}

impl<D: Disk> RingWriter<D> {
    /// Files that an earlier run wrote under the same name become the oldest of this ring.
    ///
    /// # Errors
    /// A folder that cannot be read or written.
    pub fn new(
        disk: D,
        names: RingFileNames,
        shape: RingSize,
        interfaces: &[String],
    ) -> io::Result<RingWriter<D>> {
        let pieces: VecDeque<SavedPiece> = names
            .earlier()?
            .into_iter()
            .map(|(number, path, bytes)| SavedPiece { number, path, bytes, described: 0, times: None })
            .collect();
        let next = pieces.back().map_or(1, |piece| piece.number + 1);
        let mut keeper = RingWriter {
            disk,
            names,
            shape,
            interfaces: interfaces.to_vec(),
            places: Arc::default(),
            pieces,
            file: None,
            next,
            cases: BTreeMap::new(),
            saved: VecDeque::new(),
            failing: None,
            rest: REST,
            thinned: false,
            troubles: Vec::new(),
        };
        // A missing right to write here is reported now.
        keeper.begin()?;
        Ok(keeper)
    }

    /// Messages for the user since the last call.
    pub fn drain_messages(&mut self) -> Vec<String> {
        std::mem::take(&mut self.troubles)
    }

    /// Writes a run.
    pub fn write(&mut self, run: &BlockRun) {
        if let Some(failing) = self.failing.as_mut().filter(|failing| Instant::now() < failing.again) {
            failing.lost += run.packets;
            return;
        }
        match self.try_write(run) {
            Ok(()) => {
                if let Some(failing) = self.failing.take() {
                    self.troubles.push(format!(
                        "the ring is written again; {} of the time in between are missing",
                        counted(failing.lost, "packet")
                    ));
                }
            }
            Err(error) => {
                let again = Instant::now() + self.rest;
                match &mut self.failing {
                    Some(failing) => {
                        failing.again = again;
                        failing.lost += run.packets;
                    }
                    None => {
                        let path = self.names.piece(self.next.saturating_sub(1));
                        self.troubles.push(format!(
                            "{}: cannot be written ({error}). The watch continues without it and tries again every second",
                            path.display()
                        ));
                        self.failing = Some(DiskFailure { again, lost: run.packets });
                    }
                }
            }
        }
    }

    fn try_write(&mut self, run: &BlockRun) -> io::Result<()> {
        self.places = Arc::clone(&run.places);
        let length = run.bytes.len() as u64;
        let fits = |piece: &SavedPiece| {
            // A lost run may have described interfaces: then the following blocks need a file of their own.
            piece.times.is_none() && piece.bytes == 0
                || piece.described >= run.before && piece.bytes + length <= self.shape.bytes
        };
        if self.file.is_none() || !self.pieces.back().is_some_and(fits) {
            self.begin()?;
        }
        let piece = self.pieces.back_mut().expect("the file that was just begun");
        if piece.bytes == 0 {
            let mut bytes = Vec::new();
            let about = "The last packets that synscope live has seen, in one of several files. Packet ids are the packet \
                         numbers of its findings.";
            head(&mut bytes, about, &run.places[..run.before], &self.interfaces);
            piece.described = run.before;
            self.append(&bytes)?;
        }
        self.append(&run.bytes)?;
        let piece = self.pieces.back_mut().expect("the file that was just written to");
        piece.described = run.places.len();
        let (first, last) = piece.times.unwrap_or(run.times);
        piece.times = Some((first.min(run.times.0), last.max(run.times.1)));
        Ok(())
    }

    /// Appends to the current file. If the disk is full, the oldest files are removed.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        loop {
            let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
            let piece = self.pieces.back_mut().expect("an open file is the last of the list");
            match self.disk.append(file, bytes) {
                Ok(()) => {
                    piece.bytes += bytes.len() as u64;
                    return Ok(());
                }
                Err(error) => {
                    // Half a block would make all blocks after it unreadable.
                    if self.disk.truncate(file, piece.bytes).is_err() {
                        self.file = None;
                    }
                    let own = piece.number;
                    if !self.make_room(&error, own) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Removes the oldest file before the `limit`th, if the disk is full and there is one.
    fn make_room(&mut self, error: &io::Error, limit: u64) -> bool {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if !full || self.pieces.front().is_none_or(|oldest| oldest.number >= limit) {
            return false;
        }
        if !self.thinned {
            self.thinned = true;
            self.troubles.push(format!(
                "{}: {error}. The oldest files of the ring were removed, so it holds less than it should",
                self.pieces[0].path.display()
            ));
        }
        // If the disk is full, the evidence in the file cannot be copied either: it is lost with the file.
        self.remove_oldest()
    }

    fn remove_oldest(&mut self) -> bool {
        let Some(oldest) = self.pieces.pop_front() else { return false };
        match self.disk.remove(&oldest.path) {
            Ok(()) => true,
            // Somebody else has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => {
                self.troubles.push(format!("{}: cannot be removed ({error})", oldest.path.display()));
                false
            }
        }
    }

    /// Begins the next file. Packets of open incidents are saved from the oldest file before it is removed.
    fn begin(&mut self) -> io::Result<()> {
        self.file = None;
        while self.pieces.len() >= self.shape.files {
            let ids: Vec<String> = self.cases.keys().cloned().collect();
            let number = self.pieces[0].number;
            for id in ids {
                let Some(mut case) = self.cases.remove(&id) else { continue };
                self.search(&mut case, Some(number));
                self.cases.insert(id, case);
            }
            // A file that cannot be removed is dropped from the list, which must not grow because of it.
            self.remove_oldest();
        }
        let path = self.names.piece(self.next);
        loop {
            match self.disk.create(&path) {
                Ok(file) => {
                    self.file = Some(file);
                    break;
                }
                Err(error) => {
                    if !self.make_room(&error, self.next) {
                        return Err(error);
                    }
                }
            }
        }
        self.pieces.push_back(SavedPiece { number: self.next, path, bytes: 0, described: 0, times: None });
        self.next += 1;
        Ok(())
    }

    /// Records an event, after the packets that it is about.
    pub fn note(&mut self, event: &LiveEvent) {
        match event {
            LiveEvent::Opened { incident, finding, .. } => {
                if !self.cases.contains_key(incident) {
                    if self.cases.len() >= MOST_CASES {
                        return;
                    }
                    self.cases.insert(incident.clone(), IncidentEvidence::new(incident));
                }
                if let Some(case) = self.cases.get_mut(incident) {
                    case.finding(finding, &self.interfaces);
                }
            }
            LiveEvent::Updated { was, finding, .. } => {
                let id = was.as_ref().unwrap_or(&finding.id);
                if let Some(case) = self.cases.values_mut().find(|case| case.has(id)) {
                    case.finding(finding, &self.interfaces);
                }
            }
            LiveEvent::Closed { incident, .. } => self.close(incident),
            _ => {}
        }
    }

    /// Saves what the ring has of an incident that has ended.
    fn close(&mut self, incident: &Incident) {
        let by_finding = || {
            self.cases
                .iter()
                .find(|(_, case)| incident.findings.iter().any(|id| case.has(id)))
                .map(|(id, _)| id.clone())
        };
        let known =
            if self.cases.contains_key(&incident.id) { Some(incident.id.clone()) } else { by_finding() };
        let mut case = known
            .and_then(|id| self.cases.remove(&id))
            .unwrap_or_else(|| IncidentEvidence::new(&incident.id));
        case.close(incident);
        self.finish_case(case);
    }

    /// The watch is over: the packets of open incidents are saved.
    pub fn finish(&mut self) {
        let mut cases: Vec<IncidentEvidence> = std::mem::take(&mut self.cases).into_values().collect();
        cases.sort_by_key(|case| std::cmp::Reverse(case.severity));
        cases.into_iter().for_each(|case| self.finish_case(case));
        if let Some(failing) = self.failing.take() {
            self.troubles.push(format!(
                "the ring could not be written to the end: {} are missing in it",
                counted(failing.lost, "packet")
            ));
        }
        // A run without a packet leaves no file.
        if self.pieces.back().is_some_and(|piece| piece.bytes == 0)
            && self.file.take().is_some()
            && let Some(empty) = self.pieces.pop_back()
        {
            let _ = self.disk.remove(&empty.path);
        }
    }

    fn finish_case(&mut self, mut case: IncidentEvidence) {
        self.search(&mut case, None);
        if case.cut {
            self.troubles.push(format!(
                "the evidence of {} was cut: it holds the packets of its findings, up to {} bytes",
                case.id,
                grouped(self.shape.bytes)
            ));
        }
        let Some(saved) = case.saved else { return };
        if saved.bytes == 0 {
            let _ = self.disk.remove(&saved.path);
            return;
        }
        let EvidenceFile { path, bytes, .. } = saved;
        self.saved.push_back(SavedEvidence { path, bytes, severity: case.severity });
        let budget = self.shape.bytes.saturating_mul(self.shape.files as u64);
        let mut removed = 0;
        while self.saved.len() > 1
            && (self.saved.len() > MOST_FILES
                || self.saved.iter().map(|evidence| evidence.bytes).sum::<u64>() > budget)
            && self.remove_evidence(None)
        {
            removed += 1;
        }
        if removed > 0 {
            self.troubles.push(format!(
                "the evidence of {} was removed for newer evidence: all evidence together may be as large as the ring",
                counted(removed, "earlier incident")
            ));
        }
    }

    /// Removes the evidence of the least grave incident, the oldest among equals. With `below`, only evidence less grave
    /// than that is removed. Returns false when nothing could be removed.
    fn remove_evidence(&mut self, below: Option<Severity>) -> bool {
        let graver = |severity: Severity| below.is_some_and(|below| severity >= below);
        let least = self.saved.iter().enumerate().min_by_key(|(n, evidence)| (evidence.severity, *n));
        if let Some((n, severity)) = least.map(|(n, evidence)| (n, evidence.severity))
            && !graver(severity)
        {
            let Some(evidence) = self.saved.remove(n) else { return false };
            return self.disk.remove(&evidence.path).is_ok();
        }
        // The saved packets of open incidents may be removed, too.
        let open = self.cases.values_mut().filter(|case| case.saved.is_some() && !graver(case.severity));
        let Some(case) = open.min_by_key(|case| case.severity).filter(|_| below.is_some()) else {
            return false;
        };
        case.cut = true;
        case.saved.take().is_some_and(|saved| self.disk.remove(&saved.path).is_ok())
    }

    /// Copies the packets of `case` from the files that have not been searched yet, up to file number `until` if given.
    fn search(&mut self, case: &mut IncidentEvidence, until: Option<u64>) {
        let wanted: Vec<(u64, PathBuf)> = self
            .pieces
            .iter()
            .filter(|piece| piece.number >= case.next && until.is_none_or(|until| piece.number <= until))
            .filter(|piece| piece.times.is_some_and(|times| case.overlaps(times)))
            .map(|piece| (piece.number, piece.path.clone()))
            .collect();
        for (number, path) in wanted {
            if let Err(error) = self.copy(case, number, &path) {
                self.troubles.push(format!(
                    "the evidence of {} is incomplete: {}: {error}",
                    case.id,
                    path.display()
                ));
            }
            case.next = number + 1;
        }
    }

    fn copy(&mut self, case: &mut IncidentEvidence, number: u64, from: &Path) -> io::Result<()> {
        let places = Arc::clone(&self.places);
        let mut all = 0;
        piece::read(from, &places, |_, packet, _| {
            all += if case.around(packet) { packet.data.len() as u64 + FRAMING } else { 0 };
            Ok(())
        })?;
        if all == 0 {
            return Ok(());
        }
        let narrow = case.bytes() + all > self.shape.bytes;
        case.cut |= narrow;
        let mut chunk = Vec::new();
        piece::read(from, &places, |interface, packet, comment| {
            let taken = if narrow { case.matches_findings(packet) } else { case.around(packet) };
            if !taken {
                return Ok(());
            }
            if case.bytes() + chunk.len() as u64 > self.shape.bytes {
                case.cut = true;
                return Ok(());
            }
            // There may be more interfaces since the evidence was begun: it gets a section for each file.
            if chunk.is_empty() && case.in_section != Some(number) {
                let about = format!(
                    "Packets around {}, saved by synscope live. Comments say what they show; packet ids are the \
                     packet numbers of its findings.",
                    case.id
                );
                head(&mut chunk, &about, &places, &self.interfaces);
                case.in_section = Some(number);
            }
            let block = pcapng::CommentedPacket {
                interface,
                time: packet.time,
                original_length: packet.original_length,
                data: packet.data,
            };
            let mut comments = case.comments(packet).to_vec();
            comments.extend(comment.map(str::to_owned));
            pcapng::packet_block(&mut chunk, &block, Some(packet.id.number()), &comments);
            if chunk.len() >= CHUNK {
                self.save(case, &chunk, number)?;
                chunk.clear();
            }
            Ok(())
        })?;
        if chunk.is_empty() { Ok(()) } else { self.save(case, &chunk, number) }
    }

    /// Appends to the evidence of `case`; where the disk is full, files before the `reading`th make room.
    fn save(&mut self, case: &mut IncidentEvidence, chunk: &[u8], reading: u64) -> io::Result<()> {
        loop {
            let error = match &mut case.saved {
                Some(saved) => match self.disk.append(&mut saved.file, chunk) {
                    Ok(()) => {
                        saved.bytes += chunk.len() as u64;
                        return Ok(());
                    }
                    Err(error) => {
                        self.disk.truncate(&mut saved.file, saved.bytes)?;
                        error
                    }
                },
                None => match self.create_evidence(&case.id) {
                    Ok(saved) => {
                        case.saved = Some(saved);
                        continue;
                    }
                    Err(error) => error,
                },
            };
            let is_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            let has_room =
                self.make_room(&error, reading) || is_full && self.remove_evidence(Some(case.severity));
            if !has_room {
                return Err(error);
            }
        }
    }

    /// A file whose name is not in use yet.
    fn create_evidence(&self, id: &str) -> io::Result<EvidenceFile> {
        for again in 0..MOST_NAMESAKES {
            let path = self.names.evidence(id, again);
            match self.disk.create(&path) {
                Ok(file) => return Ok(EvidenceFile { file, path, bytes: 0 }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

/// The blocks that begin a file or a part of it.
fn head(out: &mut Vec<u8>, about: &str, places: &[RingInterface], interfaces: &[String]) {
    pcapng::section_block(out, about);
    for place in places {
        let name = interfaces.get(usize::from(place.capture)).map_or("", String::as_str);
        pcapng::interface_block(out, place.link.0, name, "");
    }
}
