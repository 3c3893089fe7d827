//! The stages of a distributed run, piped by hand without Spark: the report is that of `analyze`, byte for byte, however
//! the captures are cut and spread.

mod driver;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use driver::{Spread, run};
use synscope::engine::{self, Options};
use synscope::fleet::rows::{Kind, Row};
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

fn json_of(outcome: Result<engine::Outcome, impl std::fmt::Display>) -> String {
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

fn local(captures: &[PathBuf], options: &Options) -> String {
    json_of(engine::analyze(captures, options, &mut |_| {}))
}

fn spread(captures: &[PathBuf], spread: Spread, options: &Options) -> (String, usize) {
    let (rows, whole) = run(captures, spread, options);
    let points = assemble::read(&rows[..]).expect("rows of the stage before");
    let point = points.into_values().next().expect("one point");
    (json_of(point.report("point", options)), whole)
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
    let options = Options { threads: 2, ..Options::default() };
    let (mut differences, mut guessed_wrong, mut cut) = (Vec::new(), Vec::new(), 0);
    for path in captures(folder) {
        let size = fs::metadata(&path).expect("a capture").len();
        let one = [path.clone()];
        let expected = local(&one, &options);
        for (tasks, range) in [(1, u64::MAX), (2, (size / 2).max(1_000)), (7, (size / 7).max(1_000))] {
            let how =
                Spread { tasks, range, reversed: tasks == 7, chunk: if tasks == 2 { 777 } else { 1 << 20 } };
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
    let options = Options { threads: 2, ..Options::default() };
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

#[test]
#[ignore = "recordings outside of the tree (SYNSCOPE_CAPTURES)"]
fn the_reports_on_recordings_are_those_of_analyze() {
    for folder in ["SYNSCOPE_CAPTURES", "SYNSCOPE_CAPTURES_OLD"] {
        each_alone(Path::new(&std::env::var(folder).expect("a folder of captures")));
    }
}

/// The program itself, its stages joined by pipes: what it prints is what `analyze` prints.
#[test]
fn the_workers_print_what_analyze_prints() {
    let case = testdata().join("accept-queue-overflow/linux-4.9");
    let capture = captures(&case).swap_remove(0);
    let scope = ["--since", "2000-01-01T00:00:00Z", "--memory-limit", "300MiB"];
    let synscope = |args: &[&str], input: &[u8]| -> Vec<u8> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_synscope"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("synscope can be started");
        let mut stdin = child.stdin.take().expect("it is piped");
        let input = input.to_vec();
        let feeder = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().expect("it ends");
        // analyze does not read it.
        let _ = feeder.join().expect("it does not fail");
        assert!(output.status.success(), "{args:?}");
        output.stdout
    };
    let worker = |stage: &str, input: &[u8]| synscope(&[&["worker", stage], &scope[..]].concat(), input);
    let decoded = worker("decode", &driver::whole(&capture));
    assert_eq!(decoded, worker("decode", &driver::whole(&capture)), "the same bytes whenever it is run");
    let sorted = driver::sorted(&decoded);
    let tracked = worker("track", &sorted);
    assert_eq!(tracked, worker("track", &sorted), "the same bytes whenever it is run");
    let merged = worker("merge", &tracked);
    for format in ["json", "html", "markdown"] {
        let options = [&["--format", format], &scope[..]].concat();
        let found = synscope(&[&["worker", "assemble"], &options[..], &["-"]].concat(), &merged);
        let path = capture.to_str().expect("UTF-8");
        let expected = synscope(&[&["analyze"], &options[..], &[path]].concat(), &[]);
        assert!(!expected.is_empty() && expected == found, "{format}");
    }
}

#[test]
fn a_stream_of_another_version_is_refused() {
    let capture = captures(&testdata()).swap_remove(0);
    let options = Options::default();
    let mut decoded = Vec::new();
    decode::run(Cursor::new(driver::whole(&capture)), &mut decoded, &options).expect("a capture");
    let refused = |result: Result<(), Error>| result.expect_err("it is refused").to_string();
    let said = refused(decode::run(Cursor::new(decoded.clone()), Vec::new(), &options));
    assert!(said.contains("decode: its input has the columns version Int32, point Utf8, shard"), "{said}");
    let said = refused(track::run(&driver::of_version(2, &decoded)[..], Vec::new(), &options));
    assert!(said.contains("track: its input is of version 2; expected 1"), "{said}");
    let said = assemble::read(&decoded[..]).err().expect("it is refused").to_string();
    assert!(said.contains("rows of an earlier stage"), "{said}");
    let said = refused(track::run(&decoded[..40], Vec::new(), &options));
    assert!(said.contains("Arrow stream cannot be read"), "{said}");
}

/// A segment takes no more than 64 bytes between the stages, and what comes with a file is little.
#[test]
fn what_is_shuffled_is_small() {
    let capture = captures(&testdata())
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "pcap"))
        .max_by_key(|path| fs::metadata(path).map_or(0, |file| file.len()))
        .expect("captures");
    let mut decoded = Vec::new();
    decode::run(Cursor::new(driver::whole(&capture)), &mut decoded, &Options::default()).expect("a capture");
    let rows = driver::read(&decoded);
    let count = |row: &Row| segments::read(&row.body, 0, 0).expect("segments").len();
    let of = |kind: Kind| rows.iter().filter(move |row| row.kind == kind);
    let segments: usize = of(Kind::Segments).map(count).sum();
    let bytes: usize = of(Kind::Segments).map(|row| row.body.len()).sum();
    let schemas = of(Kind::Segments).count() * 4_000;
    assert!(segments > 1_000 && bytes <= 64 * segments + schemas, "{bytes} bytes, {segments} segments");
    assert!(of(Kind::Outline).all(|row| row.body.len() < 300));
}
