//! What Spark does between the stages, by hand: cuts captures into ranges, sorts rows, spreads them over tasks.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use synscope::capture::range::HEAD;
use synscope::engine::{Analysis, AnalysisOptions};
use synscope::fleet::assemble::{PointsOfRun, ReportNames};
use synscope::fleet::decode::SegmentScope;
use synscope::fleet::joined::{Clocks, RunRow};
use synscope::fleet::rows::{FleetRow, RowKind, RowReader, RowWriter};
use synscope::fleet::track::Tables;
use synscope::fleet::{Error, decode, input, merge, sketch, trace, track};

/// Bytes behind the end of a range.
const BEYOND: usize = 1 << 20;

/// How a run is spread.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// Tasks of each stage.
    pub tasks: usize,
    /// Bytes of a range.
    pub range: u64,
    /// Tasks and files come in the other order.
    pub reversed: bool,
    /// Bytes of a row of input.
    pub chunk: usize,
}

/// As [`Spread::chunk`]: the workers read the files themselves.
pub const IN_PLACE: usize = usize::MAX;

/// A range of a capture.
#[derive(Clone)]
struct Range {
    point: String,
    capture: usize,
    from: u64,
    until: u64,
}

/// The rows that `assemble` gets; and how often a file had to be read in one piece after all.
pub fn run(captures: &[PathBuf], spread: Spread, options: &AnalysisOptions) -> (Vec<u8>, usize) {
    let captures: Vec<(&str, PathBuf)> = captures.iter().map(|path| ("point", path.clone())).collect();
    until_guessed_right(&captures, spread, |ranges, files| {
        let decode = |some: Vec<Range>| {
            let (input, mut out) = (stream(&captures, files, &some, spread.chunk), Vec::new());
            decode::run(Cursor::new(input), &mut out, options, None, SegmentScope::Wanted).map(|()| out)
        };
        let rows = decoded(ranges, spread, decode)?;
        let rows =
            stage(rows, spread, |rows, out| track::run(Cursor::new(rows), out, options, Tables::None, None))?;
        stage(rows, spread, |rows, out| merge::run(Cursor::new(rows), out, options)).map(written)
    })
}

/// The report on several points, joined.
pub fn run_joined(
    captures: &[(&str, PathBuf)],
    spread: Spread,
    options: &AnalysisOptions,
) -> Result<Analysis, Error> {
    let (outcome, _) = until_guessed_right(captures, spread, |ranges, files| {
        Ok(match joined(captures, ranges, files, spread, options) {
            Err(error @ Error::WrongRangeStart { .. }) => return Err(error),
            outcome => outcome,
        })
    });
    outcome
}

fn joined(
    captures: &[(&str, PathBuf)],
    ranges: Vec<Range>,
    files: &[Vec<u8>],
    spread: Spread,
    options: &AnalysisOptions,
) -> Result<Analysis, Error> {
    let decode = |some: Vec<Range>, clocks: Option<&Clocks>| {
        let (input, mut out) = (stream(captures, files, &some, spread.chunk), Vec::new());
        decode::run(Cursor::new(input), &mut out, options, None, SegmentScope::All(clocks)).map(|()| out)
    };
    let of_kinds = |rows: &[FleetRow], kinds: &[RowKind]| -> Vec<FleetRow> {
        rows.iter().filter(|row| kinds.contains(&row.kind)).cloned().collect()
    };
    let mut rows = decoded(ranges.clone(), spread, |some| decode(some, None))?;
    let sketch = |rows: Vec<u8>, out: &mut Vec<u8>| sketch::run(Cursor::new(rows), out);
    let sketches = stage(stage(of_kinds(&rows, &[RowKind::Handshakes]), spread, sketch)?, spread, sketch)?;
    let mut solved = Vec::new();
    sketch::solve(Cursor::new(written(sketches)), &mut solved)?;
    let clocks = Clocks::read("a test", &solved[..])?;
    let points = || Ok::<_, Error>(PointsOfRun(RunRow::read("a test", &solved[..])?));
    if options.since.is_some() || options.until.is_some() {
        rows = decoded(ranges, spread, |some| decode(some, Some(&clocks)))?;
    }
    let kinds = [RowKind::Outline, RowKind::Segments, RowKind::Reading];
    let tracked = stage(of_kinds(&rows, &kinds), spread, |rows, out| {
        track::run(Cursor::new(rows), out, options, Tables::None, Some(&clocks))
    })?;
    let merged = written(stage(tracked, spread, |rows, out| merge::run(Cursor::new(rows), out, options))?);
    let mut request = Vec::new();
    trace::request(Cursor::new(merged.clone()), &mut request, points()?, options, ReportNames::Kept)?;
    let mut traced = None;
    if !read(&request).is_empty() {
        let asked = RunRow::read("a test", &request[..])?;
        let rows = stage(of_kinds(&rows, &kinds[..2]), spread, |rows, out| {
            trace::run(Cursor::new(rows), out, &asked)
        })?;
        traced = Some(Cursor::new(written(rows)));
    }
    points()?.report(Cursor::new(merged), traced, options, ReportNames::Kept)
}

/// What `attempt` makes of the captures in ranges. Files that were cut at a wrong place are read in one piece; how many these
/// were comes with it.
fn until_guessed_right<T>(
    captures: &[(&str, PathBuf)],
    spread: Spread,
    attempt: impl Fn(Vec<Range>, &[Vec<u8>]) -> Result<T, Error>,
) -> (T, usize) {
    let files: Vec<Vec<u8>> =
        captures.iter().map(|(_, path)| std::fs::read(path).unwrap_or_default()).collect();
    let mut whole: BTreeSet<usize> = BTreeSet::new();
    loop {
        match attempt(ranges(captures, &files, &whole, spread), &files) {
            Ok(made) => return (made, whole.len()),
            Err(Error::WrongRangeStart { path, .. }) => {
                let at = captures.iter().position(|(_, capture)| *capture.display().to_string() == path);
                assert!(whole.insert(at.expect("the path is one of them")), "{path}: again");
            }
            Err(error) => panic!("{captures:?} {spread:?}: {error}"),
        }
    }
}

fn ranges(
    captures: &[(&str, PathBuf)],
    files: &[Vec<u8>],
    whole: &BTreeSet<usize>,
    spread: Spread,
) -> Vec<Range> {
    let mut ranges = Vec::new();
    for (capture, file) in files.iter().enumerate() {
        let point = captures[capture].0.to_owned();
        let magic = file.first_chunk().copied().unwrap_or_default();
        let is_plain = [0xa1b2_c3d4_u32, 0xa1b2_3c4d, 0xa1b2_cd34, 0x0a0d_0d0a]
            .iter()
            .any(|m| magic == m.to_le_bytes() || magic == m.to_be_bytes());
        let size = file.len() as u64;
        let mut from = 0;
        while is_plain && !whole.contains(&capture) && size.saturating_sub(from) > spread.range {
            ranges.push(Range { point: point.clone(), capture, from, until: from + spread.range });
            from += spread.range;
        }
        ranges.push(Range { point, capture, from, until: u64::MAX });
    }
    ranges
}

fn decoded(
    ranges: Vec<Range>,
    spread: Spread,
    decode: impl Fn(Vec<Range>) -> Result<Vec<u8>, Error>,
) -> Result<Vec<FleetRow>, Error> {
    let mut rows = Vec::new();
    for task in spread_over(ranges, spread, |n, _| n) {
        rows.extend(read(&decode(task)?));
    }
    // Whatever comes first: the stages put it in order.
    if spread.reversed {
        rows.reverse();
    }
    Ok(rows)
}

/// Runs a stage in tasks, each with the rows of some points and shards.
fn stage(
    rows: Vec<FleetRow>,
    spread: Spread,
    run: impl Fn(Vec<u8>, &mut Vec<u8>) -> Result<(), Error>,
) -> Result<Vec<FleetRow>, Error> {
    let mut made = Vec::new();
    for task in spread_over(rows, spread, |_, row| (row.shard + 1) as usize) {
        let mut out = Vec::new();
        run(written(task), &mut out)?;
        made.extend(read(&out));
    }
    Ok(made)
}

fn spread_over<T>(all: Vec<T>, spread: Spread, of: impl Fn(usize, &T) -> usize) -> Vec<Vec<T>> {
    let mut tasks: Vec<Vec<T>> = (0..spread.tasks).map(|_| Vec::new()).collect();
    for (n, item) in all.into_iter().enumerate() {
        let task = of(n, &item) % spread.tasks;
        tasks[task].push(item);
    }
    if spread.reversed {
        tasks.reverse();
    }
    tasks
}

fn stream(captures: &[(&str, PathBuf)], files: &[Vec<u8>], ranges: &[Range], chunk: usize) -> Vec<u8> {
    let schema = input::schema();
    let mut out = Vec::new();
    let mut stream = StreamWriter::try_new(&mut out, &schema).expect("a stream in memory");
    for Range { point, capture, from, until } in ranges {
        let (file, path) = (&files[*capture], captures[*capture].1.display().to_string());
        let end = usize::try_from(*until).unwrap_or(usize::MAX).saturating_add(BEYOND).min(file.len());
        let bytes = &file[*from as usize..end];
        let in_place = chunk == IN_PLACE;
        let mut chunks: Vec<&[u8]> = if in_place { Vec::new() } else { bytes.chunks(chunk).collect() };
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        for (n, bytes) in chunks.into_iter().enumerate() {
            let head = if n == 0 && !in_place { &file[..file.len().min(HEAD)] } else { &[] };
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Int32Array::from(vec![2])),
                Arc::new(StringArray::from(vec![point.as_str()])),
                Arc::new(Int32Array::from(vec![*capture as i32])),
                Arc::new(StringArray::from(vec![path.as_str()])),
                Arc::new(Int64Array::from(vec![file.len() as i64])),
                Arc::new(Int64Array::from(vec![*from as i64])),
                Arc::new(Int64Array::from(vec![i64::try_from(*until).unwrap_or(i64::MAX)])),
                Arc::new(Int32Array::from(vec![n as i32])),
                Arc::new(BinaryArray::from(vec![head])),
                Arc::new(BinaryArray::from(vec![bytes])),
                Arc::new(StringArray::from(vec![""])),
                Arc::new(StringArray::from(vec![if in_place { path.as_str() } else { "" }])),
            ];
            let batch =
                RecordBatch::try_new(Arc::clone(&schema), columns).expect("columns as the schema has them");
            stream.write(&batch).expect("a stream in memory");
        }
    }
    stream.finish().expect("a stream in memory");
    drop(stream);
    out
}

pub fn read(stream: &[u8]) -> Vec<FleetRow> {
    let mut reader = RowReader::new("a test", stream).expect("a stream of rows");
    std::iter::from_fn(|| reader.next_row().expect("a row")).collect()
}

pub fn written(rows: Vec<FleetRow>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = RowWriter::new(&mut out).expect("a stream in memory");
    rows.into_iter().for_each(|row| writer.write(row).expect("a stream in memory"));
    writer.finish().expect("a stream in memory");
    out
}

/// The input of `decode` for one capture in one piece.
pub fn whole(capture: &Path) -> Vec<u8> {
    let file = std::fs::read(capture).expect("a capture of this test");
    let range = Range { point: "point".to_owned(), capture: 0, from: 0, until: u64::MAX };
    stream(&[("point", capture.to_owned())], &[file], &[range], 1 << 20)
}

/// The same rows as if another version had written them.
pub fn of_version(version: i32, rows: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let reader = StreamReader::try_new(rows, None).expect("a stream of rows");
    let mut writer = StreamWriter::try_new(&mut out, &reader.schema()).expect("a stream in memory");
    for batch in reader {
        let batch = batch.expect("rows");
        let mut columns = batch.columns().to_vec();
        columns[0] = Arc::new(Int32Array::from(vec![version; batch.num_rows()]));
        let batch = RecordBatch::try_new(batch.schema(), columns).expect("the same columns");
        writer.write(&batch).expect("a stream in memory");
    }
    writer.finish().expect("a stream in memory");
    drop(writer);
    out
}
