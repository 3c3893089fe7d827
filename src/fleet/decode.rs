//! `worker decode`: the bytes of captures to segments, sorted by shard.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Error;
use super::input::{Range, Ranges};
use super::joined::Clocks;
use super::outline::RangeOutline;
use super::rows::{ALL, FleetRow, RowKind, RowWriter, pack};
use super::segments::{self, MOST, Ordered};
use super::sketch::{Handshakes, Openings};
use crate::capture::Block;
use crate::capture::range::{self, HEAD, InputRange, RangeReader};
use crate::decode::segment::{Flags, Segment};
use crate::engine::AnalysisOptions;
use crate::engine::batch::{Batch, Filter, PacketTotals};
use crate::engine::stages;
use crate::flow::tracker::SHARDS;
use crate::redact::Rewriter;
use crate::redact::source::{BlockRewriter, FaultyPackets};
use crate::time::{Span, Timestamp};

/// Which segments are handed on.
#[derive(Clone, Copy, Debug)]
pub enum SegmentScope<'c> {
    /// Those that are wanted.
    Wanted,
    /// All segments, since points are joined. Whether a packet's time is wanted is known only once the clocks are
    /// known. Until then the openings of connections are also handed on by themselves: the clocks are computed from
    /// them.
    All(Option<&'c Clocks>),
}

/// The results of reading a range.
#[derive(Debug, Serialize, Deserialize)]
pub struct RangeReport {
    /// The capture.
    pub path: String,
    /// Its size, bytes.
    pub size: Option<u64>,
    /// What the reader knows.
    pub result: range::RangeResult,
    /// The counts.
    pub totals: PacketTotals,
    /// Comments that this program wrote on packets earlier, with the packets' numbers within the range.
    pub notes: Vec<(u64, Box<str>)>,
    /// Where packets were rewritten: those at which that failed, by their numbers within the range.
    pub faults: Option<FaultyPackets>,
}

/// [`FleetRow::shard`](super::rows::FleetRow::shard) of handshakes is the shard and this.
const OF_HANDSHAKES: usize = SHARDS;

/// Decodes all ranges that come from `from`. With a `rewriter` every packet goes through it first.
///
/// # Errors
/// A stream that is broken, or a range that cannot be read.
pub fn run(
    from: impl Read + Send + 'static,
    to: impl Write,
    options: &AnalysisOptions,
    rewriter: Option<Rewriter>,
    keep: SegmentScope<'_>,
) -> Result<(), Error> {
    let mut rewriter = rewriter.map(BlockRewriter::new);
    let mut ranges = Ranges::new(from)?;
    let mut rows = RowWriter::new(to)?;
    while let Some(range) = ranges.next_range()? {
        let of_point = match keep {
            SegmentScope::Wanted => Decoding { counted: stages::filter(options), ..Decoding::default() },
            SegmentScope::All(clocks) => Decoding::of_all(options, clocks, &range.point),
        };
        let (head, bytes) = match &range.file {
            Some(file) => in_file(file, &range.place)?,
            None => (range.head.clone(), ranges.bytes()),
        };
        let bytes = Expected::of(&range.place, bytes);
        decode(&range, (&head, Box::new(bytes)), of_point, rewriter.as_mut(), &mut rows)?;
    }
    rows.finish()
}

/// The beginning of a file, and its bytes from the beginning of the range on. A file that cannot be opened is reported
/// when it is read, unless only a range of it was to be read.
fn in_file(path: &Path, place: &InputRange) -> Result<(Vec<u8>, Box<dyn Read + Send>), Error> {
    let opened = || -> io::Result<(Vec<u8>, File)> {
        let mut file = File::open(path)?;
        let mut head = Vec::new();
        Read::by_ref(&mut file).take(HEAD as u64).read_to_end(&mut head)?;
        file.seek(SeekFrom::Start(place.from))?;
        Ok((head, file))
    };
    match opened() {
        Ok((head, file)) => Ok((head, Box::new(file))),
        Err(error) if place.from > 0 => {
            Err(Error::Unreadable(format!("{}: cannot be read: {error}", place.path)))
        }
        Err(error) => Ok((Vec::new(), Box::new(Unopened(Some(error))))),
    }
}

/// A file that could not be opened.
struct Unopened(Option<io::Error>);

impl Read for Unopened {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(self.0.take().unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }
}

/// How the packets of a range are decoded.
#[derive(Default)]
struct Decoding {
    /// The packets that are counted.
    counted: Filter,
    /// All segments are handed on, although not all packets are counted.
    all: bool,
    /// The openings of connections, where they are handed on, too.
    openings: Option<Openings>,
}

impl Decoding {
    /// All segments of a point that is joined with others.
    fn of_all(options: &AnalysisOptions, clocks: Option<&Clocks>, point: &str) -> Decoding {
        let mut counted = stages::filter(options);
        if let Some(clock) = clocks.and_then(|clocks| clocks.of_point(point)) {
            counted.since = counted.since.map(|since| clock.first_since(since));
            let behind = counted.until.map(|until| clock.first_since(until + Span(1)));
            counted.until = behind.map(|behind| behind + Span(-1));
        }
        let all = !counted.keeps_all();
        Decoding { counted, all, openings: clocks.is_none().then(Openings::default) }
    }
}

fn decode(
    range: &Range,
    (head, bytes): (&[u8], Box<dyn Read + Send>),
    Decoding { counted: filter, all, mut openings }: Decoding,
    mut rewriter: Option<&mut BlockRewriter>,
    rows: &mut RowWriter<impl Write>,
) -> Result<(), Error> {
    let place = &range.place;
    let mut sorted = Sorted::new(range);
    let (every, mut unfiltered) = (Filter::default(), Batch::default());
    let mut refused = None;
    let mut totals = PacketTotals::default();
    let mut notes = Vec::new();
    let result = match RangeReader::open(place, head, bytes) {
        Ok(mut reader) => {
            let (mut raw, mut block) = (Block::default(), Block::default());
            let (mut batch, mut clock) = (Batch::default(), LatestTime::default());
            let mut next_block = |block: &mut Block| match &mut rewriter {
                None => reader.next_block(block),
                Some(rewriter) => {
                    let more = reader.next_block(&mut raw);
                    rewriter.rewrite(&raw, block);
                    more
                }
            };
            while batch.next(|| next_block(&mut block)) {
                batch.decode(&block, &filter);
                clock.note(&block);
                notes.extend(block.notes().iter().map(|(id, note)| (id.number(), note.clone())));
                if all {
                    unfiltered.decode(&block, &every);
                }
                sorted.add(if all { &unfiltered } else { &batch }, &clock, openings.as_mut(), rows)?;
                totals.add(&batch);
                batch.clear();
                unfiltered.clear();
            }
            totals.add(&batch);
            reader.close().map_err(Error::Unreadable)?
        }
        Err(error) if place.from > 0 => return Err(Error::Unreadable(error.to_string())),
        Err(error) => {
            refused = Some(error.to_string());
            range::RangeResult::refused(&place.path, &error)
        }
    };
    let outline = RangeOutline {
        bounds: result.bounds(),
        last: totals.last,
        closes: sorted.closes,
        path: place.path.clone(),
        refused,
    };
    let packed = pack(&outline)?;
    for shard in 0..SHARDS {
        sorted.write(shard, rows)?;
        rows.write(sorted.row(shard as i32, RowKind::Outline, 0, packed.clone()))?;
    }
    for shard in 0..SHARDS {
        let Some(openings) = &mut openings else { break };
        let body = pack(&Handshakes { outline: outline.clone(), segments: openings.bodies(shard) })?;
        rows.write(sorted.row((OF_HANDSHAKES + shard) as i32, RowKind::Handshakes, 0, body))?;
    }
    let faults = rewriter.and_then(|rewriter| rewriter.drain_faults().into_values().next());
    let reading = RangeReport { path: place.path.clone(), size: place.size, result, totals, notes, faults };
    rows.write(sorted.row(ALL, RowKind::Reading, 0, pack(&reading)?))
}

/// The segments of one range, by shard, as far as they are not written yet.
struct Sorted {
    point: Arc<str>,
    capture: i32,
    begin: i64,
    shards: Vec<ShardPart>,
    closes: bool,
}

/// Those of one shard.
#[derive(Clone, Default)]
struct ShardPart {
    /// The latest ones, which are not written yet.
    last: Vec<Ordered>,
    body: segments::Builder,
    /// Rows so far.
    pieces: i32,
}

/// How many segments of a shard are written together: meanwhile their flows stay in the nearest cache.
const TOGETHER: usize = 64;

impl Sorted {
    fn new(range: &Range) -> Sorted {
        Sorted {
            point: Arc::clone(&range.point),
            capture: range.place.input.into(),
            begin: range.place.from.cast_signed(),
            shards: vec![ShardPart::default(); SHARDS],
            closes: false,
        }
    }

    fn row(&self, shard: i32, kind: RowKind, piece: i32, body: Vec<u8>) -> FleetRow {
        let Sorted { point, capture, begin, .. } = self;
        FleetRow {
            point: Arc::clone(point),
            shard,
            kind,
            time: 0,
            capture: *capture,
            begin: *begin,
            piece,
            body,
        }
    }

    fn add(
        &mut self,
        batch: &Batch,
        clock: &LatestTime,
        mut openings: Option<&mut Openings>,
        rows: &mut RowWriter<impl Write>,
    ) -> Result<(), Error> {
        for (shard, segments) in batch.by_shard().enumerate() {
            for segment in segments {
                self.closes |= segment.flags.has(Flags::FIN);
                let part = &mut self.shards[shard];
                let ordered = Ordered { segment: *segment, latest: clock.latest(segment) };
                if let Some(openings) = &mut openings
                    && segment.flags.has(Flags::SYN)
                {
                    openings.record(shard, &ordered);
                }
                part.last.push(ordered);
                if part.last.len() == TOGETHER {
                    part.body.add(&part.last);
                    part.last.clear();
                    if part.body.len() >= MOST {
                        self.write(shard, rows)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, shard: usize, rows: &mut RowWriter<impl Write>) -> Result<(), Error> {
        let ShardPart { last, body, pieces } = &mut self.shards[shard];
        body.add(last);
        last.clear();
        let Some(first) = body.first_time() else { return Ok(()) };
        let (time, written, number) = (first.0, body.write(), *pieces);
        *pieces += 1;
        rows.write(FleetRow { time, ..self.row(shard as i32, RowKind::Segments, number, written) })
    }
}

/// The latest time of a range up to each packet of a block.
#[derive(Default)]
struct LatestTime {
    latest: Option<Timestamp>,
    /// By packet number, where the clock stepped back.
    steps: Vec<(u64, Timestamp)>,
}

impl LatestTime {
    fn note(&mut self, block: &Block) {
        self.steps.clear();
        let before = self.latest;
        let mut steps_back = false;
        for packet in block.packets() {
            if packet.timed {
                self.latest = self.latest.max(Some(packet.time));
            }
            steps_back |= self.latest > Some(packet.time);
        }
        if !steps_back {
            return;
        }
        let mut latest = before;
        for packet in block.packets() {
            if packet.timed {
                latest = latest.max(Some(packet.time));
            }
            self.steps.push((packet.id.number(), latest.unwrap_or(packet.time)));
        }
    }

    fn latest(&self, segment: &Segment) -> Timestamp {
        let number = segment.packet.number();
        match self.steps.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(at) => self.steps[at].1,
            Err(_) => segment.time,
        }
    }
}

/// Bytes that must be as many as the file has: if the driver dies, that is no damage of the file.
struct Expected {
    bytes: Box<dyn Read + Send>,
    left: u64,
}

impl Expected {
    fn of(place: &InputRange, bytes: Box<dyn Read + Send>) -> Expected {
        Expected { bytes, left: place.size.unwrap_or(0).saturating_sub(place.from) }
    }
}

impl Read for Expected {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.bytes.read(to)?;
        if n == 0 && self.left > 0 && !to.is_empty() {
            let what = format!("the input lacks {} bytes of the file", self.left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        self.left = self.left.saturating_sub(n as u64);
        Ok(n)
    }
}
