//! The stages of a distributed run, piped by hand without Spark: the report is that of `analyze`, byte for byte, however
//! the captures are cut and spread.

mod driver;
mod joined;
mod pcapng;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampNanosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use driver::{IN_PLACE, Spread, run};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use synscope::engine::{self, AnalysisOptions};
use synscope::fleet::assemble::ReportNames;
use synscope::fleet::decode::SegmentScope;
use synscope::fleet::rows::{FleetRow, RowKind};
use synscope::fleet::track::Tables;
use synscope::fleet::{Error, assemble, decode, segments, track};
use synscope::report::json;

/// All captures below a folder.
fn captures(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of captures").flatten() {
            let path = entry.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if name.contains(".pcap") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

fn json_of(outcome: Result<engine::Analysis, impl std::fmt::Display>) -> String {
    match outcome {
        Ok(outcome) => {
            let mut text = Vec::new();
            json::write(&outcome.report, &mut text).expect("a report in memory");
            text.extend(format!("{:?}", outcome.damage).bytes());
            String::from_utf8(text).expect("JSON is UTF-8")
        }
        Err(error) => error.to_string(),
    }
}

fn local(captures: &[PathBuf], options: &AnalysisOptions) -> String {
    json_of(engine::analyze(captures, options, &mut |_| {}))
}

fn spread(captures: &[PathBuf], spread: Spread, options: &AnalysisOptions) -> (String, usize) {
    let (rows, whole) = run(captures, spread, options);
    let points = assemble::read(&rows[..]).expect("rows of the stage before");
    let point = points.into_values().next().expect("one point");
    (json_of(point.report("point", options, ReportNames::Kept)), whole)
}

/// Says where two reports differ.
fn compare(name: &str, expected: &str, found: &str, differences: &mut Vec<String>) {
    if expected != found {
        let line = expected.lines().zip(found.lines()).position(|(a, b)| a != b).unwrap_or(0);
        let at =
            |text: &str| text.lines().skip(line.saturating_sub(2)).take(5).collect::<Vec<_>>().join("\n");
        differences.push(format!("{name}: line {line}\nanalyze:\n{}\nworkers:\n{}", at(expected), at(found)));
    }
}

/// Every capture of `folder` alone, cut and spread in several ways.
fn each_alone(folder: &Path) {
    let options = AnalysisOptions { threads: 2, ..AnalysisOptions::default() };
    let (mut differences, mut guessed_wrong, mut cut) = (Vec::new(), Vec::new(), 0);
    for path in captures(folder) {
        let size = fs::metadata(&path).expect("a capture").len();
        let one = [path.clone()];
        let expected = local(&one, &options);
        let ways =
            [(1, u64::MAX, 1 << 20), (2, (size / 2).max(1_000), 777), (7, (size / 7).max(1_000), IN_PLACE)];
        for (tasks, range, chunk) in ways {
            let how = Spread { tasks, range, reversed: tasks == 7, chunk };
            let (found, whole) = spread(&one, how, &options);
            compare(&format!("{} {how:?}", path.display()), &expected, &found, &mut differences);
            cut += usize::from(size > range);
            if whole > 0 {
                guessed_wrong.push(format!("{} {how:?}", path.display()));
            }
        }
    }
    assert!(differences.is_empty(), "{} differ\n{}", differences.len(), differences.join("\n\n"));
    let names = guessed_wrong.join("\n");
    assert!(guessed_wrong.len() * 20 <= cut, "of {cut} files these had to be read in one piece:\n{names}");
}

#[test]
fn the_report_on_a_capture_is_that_of_analyze() {
    each_alone(&testdata());
}

/// The captures of each folder as one stream: several that overlap in time, in several formats.
#[test]
fn the_report_on_several_captures_is_that_of_analyze() {
    let options = AnalysisOptions { threads: 2, ..AnalysisOptions::default() };
    let mut by_folder: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for path in captures(&testdata()) {
        let folder = path.ancestors().nth(2).expect("a folder of folders of captures");
        by_folder.entry(folder.to_owned()).or_default().push(path);
    }
    let mut differences = Vec::new();
    for (folder, mut some) in by_folder {
        // What a tests calls malformed cannot be opened: that is said of each.
        some.truncate(12);
        let expected = local(&some, &options);
        for (tasks, range) in [(1, u64::MAX), (2, 40_000), (7, 9_000), (64, 3_000)] {
            let how = Spread { tasks, range, reversed: tasks == 7, chunk: 1 << 16 };
            let (found, _) = spread(&some, how, &options);
            compare(&format!("{} {how:?}", folder.display()), &expected, &found, &mut differences);
        }
    }
    assert!(differences.is_empty(), "{} differ\n{}", differences.len(), differences.join("\n\n"));
}

/// Ranges of a pcapng file know what its beginning says. Where it says more later, it is read in one piece.
#[test]
fn the_report_on_a_pcapng_that_is_cut_is_that_of_analyze() {
    let folder = tempfile::tempdir().expect("a place for temporary files");
    let options = AnalysisOptions { threads: 2, ..AnalysisOptions::default() };
    let mut differences = Vec::new();
    let pcap = testdata().join("made/application-resets.pcap");
    for beside in pcapng::Beside::ALL {
        let bytes = pcapng::of_pcap(&pcap, beside);
        let size = bytes.len() as u64;
        let path = folder.path().join(format!("{beside:?}.pcapng"));
        fs::write(&path, bytes).expect("a temporary file");
        let expected = local(std::slice::from_ref(&path), &options);
        for parts in [2, 7, 40] {
            let how = Spread {
                tasks: 3,
                range: size / parts,
                reversed: parts == 7,
                chunk: if parts == 7 { IN_PLACE } else { 1 << 16 },
            };
            let (found, whole) = spread(std::slice::from_ref(&path), how, &options);
            compare(&format!("{beside:?} {how:?}"), &expected, &found, &mut differences);
            // A range that is shorter than the beginning of which all know may know too much.
            if beside.can_be_cut() {
                assert_eq!(whole, 0, "{beside:?} {how:?}");
            }
        }
    }
    assert!(differences.is_empty(), "{} differ\n{}", differences.len(), differences.join("\n\n"));
}

#[test]
#[ignore = "recordings outside of the tree (SYNSCOPE_CAPTURES)"]
fn the_reports_on_recordings_are_those_of_analyze() {
    for folder in ["SYNSCOPE_CAPTURES", "SYNSCOPE_CAPTURES_OLD"] {
        each_alone(Path::new(&std::env::var(folder).expect("a folder of captures")));
    }
}

/// Runs the program with `input`; returns its output.
fn synscope(args: &[&str], input: &[u8], key: &str) -> Vec<u8> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_synscope"))
        .args(args)
        .env("SYNSCOPE_REDACT_KEY", key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("synscope can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    // analyze does not read it.
    let _ = feeder.join().expect("it does not fail");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The stages joined by pipes print what `analyze` prints. `scope` goes to all stages, `privacy` to those that know it.
fn prints_what_analyze_prints(capture: &Path, scope: &[&str], privacy: [&[&str]; 2], key: &str) {
    let worker = |stage: &str, options: &[&str], input: &[u8]| {
        synscope(&[&["worker", stage], scope, options].concat(), input, key)
    };
    let [of_analyze, of_workers] = privacy;
    let decoded = worker("decode", of_workers, &driver::whole(capture));
    assert_eq!(
        decoded,
        worker("decode", of_workers, &driver::whole(capture)),
        "the same bytes whenever it is run"
    );
    let tracked = worker("track", &[], &decoded);
    assert_eq!(tracked, worker("track", &[], &decoded), "the same bytes whenever it is run");
    let merged = worker("merge", &[], &tracked);
    for format in ["json", "html", "markdown"] {
        let found =
            worker("assemble", &[of_workers, &["--quiet", "--format", format, "-"]].concat(), &merged);
        let path = capture.to_str().expect("UTF-8");
        let all = [&["analyze", "--quiet", "--format", format], scope, of_analyze, &[path]].concat();
        let expected = synscope(&all, &[], "");
        let (found, expected) = (String::from_utf8_lossy(&found), String::from_utf8_lossy(&expected));
        assert!(!expected.is_empty() && expected == found, "{format} {of_workers:?}:\n{expected}\n{found}");
    }
}

#[test]
fn the_workers_print_what_analyze_prints() {
    let case = testdata().join("accept-queue-overflow/linux-4.9");
    let capture = captures(&case).swap_remove(0);
    let scope = ["--since", "2000-01-01T00:00:00Z", "--memory-limit", "300MiB"];
    prints_what_analyze_prints(&capture, &scope, [&[], &[]], "");
}

#[test]
fn a_redacted_report_is_that_of_analyze() {
    let folder = tempfile::tempdir().expect("a place for temporary files");
    let file = folder.path().join("key");
    let file = file.to_str().expect("UTF-8");
    let redact = ["--redact", "--redact-key-file", file];
    let key = synscope(&[&["worker", "key"], &redact[..]].concat(), &[], "");
    let key = String::from_utf8(key).expect("hexadecimal digits");
    assert_eq!(key, fs::read_to_string(file).expect("the key is kept"));
    let overflow = testdata().join("accept-queue-overflow/linux-4.9/server.pcap");
    for capture in [overflow, captures(&testdata().join("malformed")).swap_remove(0)] {
        prints_what_analyze_prints(&capture, &[], [&redact, &["--redact"]], key.trim());
    }
}

#[test]
fn a_snapshot_confirms_as_in_analyze() {
    let folder = tempfile::tempdir().expect("a place for temporary files");
    let snapshot = folder.path().join("snapshot.json");
    fs::write(&snapshot, synscope(&["snapshot"], &[], "")).expect("a temporary file");
    let capture = testdata().join("accept-queue-overflow/linux-4.9/server.pcap");
    let scope = ["--host", snapshot.to_str().expect("UTF-8")];
    prints_what_analyze_prints(&capture, &scope, [&[], &[]], "");
}

#[test]
fn a_stream_of_another_version_is_refused() {
    let capture = captures(&testdata()).swap_remove(0);
    let options = AnalysisOptions::default();
    let mut decoded = Vec::new();
    decode::run(Cursor::new(driver::whole(&capture)), &mut decoded, &options, None, SegmentScope::Wanted)
        .expect("a capture");
    let refused = |result: Result<(), Error>| result.expect_err("it is refused").to_string();
    let said =
        refused(decode::run(Cursor::new(decoded.clone()), Vec::new(), &options, None, SegmentScope::Wanted));
    assert!(said.contains("decode: its input has the columns version Int32, point Utf8, shard"), "{said}");
    let said =
        refused(track::run(&driver::of_version(3, &decoded)[..], Vec::new(), &options, Tables::None, None));
    assert!(said.contains("track: its input is of version 3; expected 2"), "{said}");
    let said = assemble::read(&decoded[..]).err().expect("it is refused").to_string();
    assert!(said.contains("rows of an earlier stage"), "{said}");
    let said = refused(track::run(&decoded[..40], Vec::new(), &options, Tables::None, None));
    assert!(said.contains("Arrow stream cannot be read"), "{said}");
}

/// A segment takes less than 40 bytes between the stages, and what comes with a file is little.
#[test]
fn what_is_shuffled_is_small() {
    let capture = captures(&testdata())
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "pcap"))
        .max_by_key(|path| fs::metadata(path).map_or(0, |file| file.len()))
        .expect("captures");
    let mut decoded = Vec::new();
    decode::run(
        Cursor::new(driver::whole(&capture)),
        &mut decoded,
        &AnalysisOptions::default(),
        None,
        SegmentScope::Wanted,
    )
    .expect("a capture");
    let rows = driver::read(&decoded);
    let count = |row: &FleetRow| segments::read(&row.body, 0, 0).expect("segments").len();
    let of = |kind: RowKind| rows.iter().filter(move |row| row.kind == kind);
    let segments: usize = of(RowKind::Segments).map(count).sum();
    let bytes: usize = of(RowKind::Segments).map(|row| row.body.len()).sum();
    assert!(segments > 1_000 && bytes <= 40 * segments, "{bytes} bytes, {segments} segments");
    assert!(of(RowKind::Outline).all(|row| row.body.len() < 300));
}

/// The tables of connections: as many rows as the report has connections, the same ones from the workers, each finding at its
/// connection.
#[test]
fn tables_have_a_row_for_each_connection() {
    let folder = tempfile::tempdir().expect("a place for temporary files");
    let capture = testdata().join("accept-queue-overflow/linux-4.9/server.pcap");
    let path = capture.to_str().expect("UTF-8");
    let (report, tables) = (folder.path().join("report.json"), folder.path().join("tables"));
    let wanted = [format!("json={}", report.display()), format!("parquet={}", tables.display())];
    let status = Command::new(env!("CARGO_BIN_EXE_synscope"))
        .args(["analyze", "--quiet", "--report", &wanted[0], "--report", &wanted[1], path])
        .status()
        .expect("synscope can be started");
    assert!(status.success());
    let report: Value = serde_json::from_slice(&fs::read(&report).expect("the report")).expect("JSON");
    let file = |name: &str| fs::read(tables.join(name)).expect("a table");
    let local: Vec<Vec<u8>> = (0..16).map(|part| file(&format!("connections-{part:02}.parquet"))).collect();
    let rows: u64 = local.iter().map(|table| table_rows(table.clone()).len() as u64).sum();
    assert_eq!(Some(rows), report["summary"]["connections"].as_u64());
    let findings = table_rows(file("findings.parquet"));
    let named: Vec<_> =
        report["findings"].as_array().expect("a list").iter().map(|f| f["id"].clone()).collect();
    assert!(!findings.is_empty() && findings.iter().all(|row| named.contains(&row["id"])), "{findings:?}");
    let all: Vec<_> = local.iter().flat_map(|table| table_rows(table.clone())).collect();
    for finding in &findings {
        let connection =
            all.iter().find(|row| row["uid"] == finding["uid"]).expect("the connection of a finding");
        let told = report["findings"].as_array().into_iter().flatten().find(|f| f["id"] == finding["id"]);
        let client =
            format!("{}:{}", connection["id.orig_h"].as_str().expect("text"), connection["id.orig_p"]);
        assert_eq!(told.expect("it is in the report")["client"], client);
    }
    // The workers make the same rows, with the name of the point.
    let mut out = Vec::new();
    let options = AnalysisOptions::default();
    decode::run(Cursor::new(driver::whole(&capture)), &mut out, &options, None, SegmentScope::Wanted)
        .expect("a capture");
    let mut tracked = Vec::new();
    track::run(&out[..], &mut tracked, &options, Tables::Made, None).expect("segments");
    let without_point = |table: Vec<u8>| -> Vec<Value> {
        let mut rows = table_rows(table);
        rows.iter_mut().for_each(|row| row["point"] = "".into());
        rows
    };
    let spread = driver::read(&tracked).into_iter().filter(|row| row.kind == RowKind::Table);
    let spread: Vec<_> = spread.map(|row| without_point(row.body)).collect();
    assert_eq!(spread, local.into_iter().map(without_point).collect::<Vec<_>>());
}

/// The rows of a Parquet file, as JSON.
fn table_rows(table: Vec<u8>) -> Vec<Value> {
    let mut file = tempfile::tempfile().expect("a place for temporary files");
    file.write_all(&table).expect("a temporary file");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build());
    let mut rows = Vec::new();
    for batch in reader.expect("a Parquet file") {
        let batch = batch.expect("rows");
        let value = |column: &ArrayRef, at: usize| -> Value {
            match column.data_type() {
                DataType::Utf8 => column.as_string::<i32>().value(at).into(),
                DataType::Int32 => column.as_primitive::<Int32Type>().value(at).into(),
                DataType::Int64 => column.as_primitive::<Int64Type>().value(at).into(),
                DataType::Float64 => column.as_primitive::<Float64Type>().value(at).into(),
                _ => column.as_primitive::<TimestampNanosecondType>().value(at).into(),
            }
        };
        let schema = batch.schema();
        for at in 0..batch.num_rows() {
            let fields = schema.fields().iter().zip(batch.columns());
            rows.push(fields.map(|(field, column)| (field.name().clone(), value(column, at))).collect());
        }
    }
    rows
}
