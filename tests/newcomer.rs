//! What somebody types in the first hour, and what an impatient one presses: options, filters, signals, small terminals.

#![cfg(unix)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Ten connections, 62 segments, one incident.
const OVERFLOW: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/accept-queue-overflow/silent-clients/server.pcap");

fn synscope(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synscope"));
    command.args(args).stdin(Stdio::null());
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "RUST_BACKTRACE"] {
        command.env_remove(name);
    }
    command
}

fn run(args: &[&str]) -> Output {
    synscope(args).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("what is printed is UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("what is printed is UTF-8")
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}"))
}

/// A folder with the capture of connections in which nothing went wrong.
fn clean() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("clean.pcap");
    // Only the file header: no packet at all.
    fs::write(&path, &fs::read(OVERFLOW).expect("a recorded case")[..24]).expect("it can be written");
    (folder, path)
}

// Filters.

#[test]
fn a_filter_that_matches_nothing_is_not_called_a_capture_without_connections() {
    let text = stdout(&run(&["analyze", "--port", "1", OVERFLOW]));
    assert!(!text.contains("no TCP connection in the packets read"), "{text}");
    assert!(text.contains("No TCP connection matches `--port 1`"), "{text}");
    assert!(text.contains("62 of 62 TCP segments left out"), "{text}");
    for format in ["markdown", "html"] {
        let text = stdout(&run(&["analyze", "--format", format, "--port", "1", OVERFLOW]));
        assert!(!text.contains("holds 0 TCP connections"), "{text}");
        assert!(text.contains("--port 1"), "{format}: {text}");
        assert!(text.contains("62 of 62 TCP segments left out"), "{format}: {text}");
    }
}

#[test]
fn every_format_says_which_filters_were_on() {
    let since = ["--since", "2026-11-22 00:29:49"];
    for format in ["text", "markdown", "html"] {
        let text = stdout(&run(&["analyze", "--format", format, since[0], since[1], OVERFLOW]));
        assert!(text.contains("--since 2026-11-22T00:29:49"), "{format}: {text}");
        assert!(text.contains("of 62 packets left out"), "{format}: {text}");
        let text = stdout(&run(&["analyze", "--format", format, OVERFLOW]));
        assert!(!text.contains("left out"), "without filters nothing is said of them: {format}: {text}");
    }
}

#[test]
fn json_has_the_program_its_options_and_the_filters() {
    let args = ["analyze", "--format", "json", "--port", "4783", "--host", "203.0.113.227", OVERFLOW];
    let output = run(&args);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["program"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["options"]["ports"], serde_json::json!([4783]));
    assert_eq!(report["options"]["hosts"], serde_json::json!(["203.0.113.227"]));
    assert_eq!(report["options"]["half_close_after_s"], 60.0);
    let left_out = report["filtered"]["tcp_segments"].as_u64().expect("a number");
    assert!(left_out > 0 && left_out < 62, "{left_out}");
    let schema: Value = serde_json::from_slice(&run(&["schema"]).stdout).expect("JSON");
    assert!(jsonschema::is_valid(&schema, &report));

    let report: Value =
        serde_json::from_slice(&run(&["analyze", "--format", "json", OVERFLOW]).stdout).expect("JSON");
    assert_eq!(report["options"]["ports"], serde_json::json!([]));
    assert!(report.get("filtered").is_none());
}

#[test]
fn a_redacted_report_does_not_tell_the_address_that_was_looked_for() {
    let args = ["analyze", "--redact", "--format", "json", "--host", "203.0.113.227", OVERFLOW];
    let text = stdout(&run(&args));
    assert!(!text.contains("203.0.113.227"), "{text}");
    assert!(text.contains("\"redact\": true"), "{text}");
}

// Options.

#[test]
fn too_many_threads_are_refused() {
    for args in [
        &["analyze", "--threads", "100000", OVERFLOW][..],
        &["extract", "-t", "1025", "-o", "/dev/null", OVERFLOW],
    ] {
        let output = run(args);
        assert_eq!(code(&output), 2, "{args:?}");
        assert!(stderr(&output).contains("1024"), "{}", stderr(&output));
    }
    assert_eq!(code(&run(&["analyze", "--threads", "64", OVERFLOW])), 0);
}

#[test]
fn a_file_in_the_place_of_a_command_is_answered_with_analyze() {
    for name in [OVERFLOW, "trace.pcapng", "./dump", "-"] {
        let output = run(&[name]);
        assert_eq!(code(&output), 2, "{name}");
        assert!(stderr(&output).contains(&format!("synscope analyze {name}")), "{}", stderr(&output));
    }
    // A misspelt command is not a file.
    assert!(stderr(&run(&["analyse"])).contains("'analyze'"));
    assert!(!stderr(&run(&["analyse"])).contains("To analyze a capture"));
}

#[test]
fn ports_have_names() {
    assert_eq!(code(&run(&["analyze", "--port", "http", OVERFLOW])), 0);
    let output = run(&["analyze", "--port", "nonsense", OVERFLOW]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("a number from 1 to 65535"), "{}", stderr(&output));
}

#[test]
fn names_are_taken_in_any_case() {
    assert!(stdout(&run(&["explain", "Accept-Queue-Overflow"])).starts_with("accept-queue-overflow"));
    assert_eq!(code(&run(&["analyze", "--fail-on", "Critical", OVERFLOW])), 1);
    assert_eq!(code(&run(&["analyze", "--format", "JSON", OVERFLOW])), 0);
    let output = run(&["extract", "--kind", "SYN-Flood", "-o", "-", OVERFLOW]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

/// One letter, one meaning, in all commands.
#[test]
fn short_options_mean_the_same_everywhere() {
    let mut meanings: std::collections::BTreeMap<String, (String, &str)> = Default::default();
    for command in ["analyze", "live", "snapshot", "extract", "diff", "explain", "schema"] {
        let help = stdout(&run(&[command, "--help"]));
        for line in help.lines().map(str::trim_start).filter(|line| line.starts_with('-')) {
            let mut words = line.split([' ', ',']).filter(|word| !word.is_empty());
            let (Some(short), Some(long)) = (words.next(), words.next()) else { continue };
            if short.len() != 2 || !long.starts_with("--") {
                continue;
            }
            let known = meanings.entry(short.to_owned()).or_insert((long.to_owned(), command));
            assert_eq!(known.0, long, "{short} of {command} and of {}", known.1);
        }
    }
    assert!(meanings.len() > 5, "{meanings:?}");
    assert_eq!(code(&run(&["analyze", "-f", "json", OVERFLOW])), 0);
    let output = run(&["live", "-i", "lo", "-f", "tcp port 443"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("--filter 'tcp port 443'"), "{}", stderr(&output));
}

// Extracts.

#[test]
fn an_extract_of_nothing_says_so_and_leaves_no_file() {
    let (folder, clean) = clean();
    let to = folder.path().join("evidence.pcapng");
    let named = to.to_str().expect("UTF-8");
    let clean = clean.to_str().expect("UTF-8");
    for args in [
        &["extract", "-o", named, clean][..],
        &["extract", "--kind", "syn-flood", "-o", named, OVERFLOW],
        &["extract", "--port", "1", "-o", named, OVERFLOW],
        &["analyze", "--report", &format!("pcapng={named}"), clean],
    ] {
        let output = run(args);
        assert_eq!(code(&output), 0, "{args:?}: {}", stderr(&output));
        assert!(
            stderr(&output).contains("nothing") || stderr(&output).contains("none of"),
            "{}",
            stderr(&output)
        );
        assert!(!to.exists(), "{args:?}");
    }
    // A file from before stays as it was.
    fs::write(&to, "yesterday's").expect("it can be written");
    assert_eq!(code(&run(&["extract", "--port", "1", "-o", named, OVERFLOW])), 0);
    assert_eq!(fs::read(&to).expect("it is there"), b"yesterday's");
}

#[test]
fn no_capture_goes_to_a_terminal() {
    for args in ["analyze --format pcapng", "extract -o -"] {
        let command = format!("{} {args} {OVERFLOW}", env!("CARGO_BIN_EXE_synscope"));
        let Shown { text, code } = on_a_terminal(&command, 80);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("standard output is a terminal"), "{text}");
    }
    let output = run(&["extract", "-o", "-", OVERFLOW]);
    assert_eq!((code(&output), &output.stdout[..4]), (0, &[0x0a, 0x0d, 0x0d, 0x0a][..]));
}

/// What a terminal shows.
struct Shown {
    text: String,
    code: Option<i32>,
}

/// Runs a shell command on a terminal of this many columns, through script(1) of util-linux.
fn on_a_terminal(command: &str, columns: usize) -> Shown {
    let inner = format!("stty rows 24 cols {columns}; {command}");
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &inner, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .expect("script of util-linux");
    Shown { text: String::from_utf8_lossy(&output.stdout).replace('\r', ""), code: output.status.code() }
}

// Layout.

#[test]
fn fifteen_hundred_captures_are_one_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut args = vec!["analyze".to_owned()];
    for n in 0..1_500 {
        let path = folder.path().join(format!("{n:04}.pcap"));
        std::os::unix::fs::symlink(OVERFLOW, &path).expect("a link");
        args.push(path.to_str().expect("UTF-8").to_owned());
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let text = stdout(&run(&args));
    let named = text.lines().filter(|line| line.contains(".pcap")).count();
    assert!(text.contains("1,500 captures (pcap-ns)"), "{}", &text[..2_000]);
    assert!(named < 30, "{named} lines name captures");
}

#[test]
fn at_forty_columns_no_paragraph_is_a_word_a_line() {
    let text =
        on_a_terminal(&format!("{} analyze -v --color never {OVERFLOW}", env!("CARGO_BIN_EXE_synscope")), 40)
            .text;
    let mut lonely = 0;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let alone = !line.trim().is_empty() && !line.trim().contains(' ') && indent > 8;
        lonely = if alone { lonely + 1 } else { 0 };
        assert!(lonely < 2, "words stand alone in a column:\n{text}");
    }
}

#[test]
fn commands_are_whole_however_narrow_the_terminal() {
    let report: Value =
        serde_json::from_slice(&run(&["analyze", "--format", "json", OVERFLOW]).stdout).expect("JSON");
    let steps = report["incidents"][0]["next_steps"].as_array().expect("a list").clone();
    let text =
        on_a_terminal(&format!("{} analyze -v --color never {OVERFLOW}", env!("CARGO_BIN_EXE_synscope")), 40)
            .text;
    let mut commands = 0;
    for step in steps.iter().filter_map(Value::as_str) {
        if let Some((command, _)) = step.split_once("  # ") {
            assert!(text.lines().any(|line| line.contains(command.trim())), "{command} is broken:\n{text}");
            commands += 1;
        }
    }
    assert!(commands > 0, "{steps:?}");
}

#[test]
fn examples_in_the_manual_are_lines_that_can_be_typed() {
    let page = stdout(&run(&["man"]));
    let (_, examples) = page.split_once(".SH \"EXAMPLES\"\n.nf\n").expect("a section that is not filled");
    let (examples, _) = examples.split_once("\n.fi\n").expect("its end");
    assert!(examples.lines().any(|line| line.trim().starts_with("synscope analyze edge")), "{examples}");
    assert!(examples.lines().count() > 8, "{examples}");
    assert!(!page.contains("EXTRA"), "{page}");
    assert_eq!(page.matches("synscope analyze client.pcap server.pcap.gz").count(), 1, "{page}");
}

#[test]
fn what_the_documents_promise_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("it is there");
    assert!(readme.contains("(docs/findings.md)"), "the findings are linked");
    assert!(readme.contains("1.88") && readme.contains("rustup"), "which Rust");
    assert!(root.join("docs/decisions/README.md").is_file());
    // Every relative link of the documents leads somewhere.
    let documents = fs::read_dir(root.join("docs")).expect("a folder").flatten().map(|entry| entry.path());
    let documents = documents
        .chain(fs::read_dir(root.join("docs/decisions")).expect("a folder").flatten().map(|e| e.path()));
    for path in
        documents.chain([root.join("README.md")]).filter(|path| path.extension().is_some_and(|e| e == "md"))
    {
        let text = fs::read_to_string(&path).expect("UTF-8");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if link.is_empty() || link.contains("://") || link.contains(' ') {
                continue;
            }
            let to = path.parent().expect("a folder").join(link);
            assert!(to.exists(), "{} links to {link}", path.display());
        }
    }
}

// Signals.

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill(1)");
    assert!(sent.success());
}

/// Waits for the end, but not for ever.
fn end(mut child: Child) -> Output {
    let until = Instant::now() + Duration::from_secs(30);
    while child.try_wait().expect("it runs").is_none() {
        if Instant::now() > until {
            let _ = child.kill();
            panic!("it does not end: {:?}", child.wait_with_output());
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().expect("it ended")
}

/// `analyze -` with `bytes` in its pipe, which stays open.
fn fed(args: &[&str], bytes: &[u8]) -> (Child, std::process::ChildStdin) {
    let mut child = synscope(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut pipe = child.stdin.take().expect("it is piped");
    pipe.write_all(bytes).expect("it reads");
    // Time to start and to heed signals.
    thread::sleep(Duration::from_millis(700));
    (child, pipe)
}

#[test]
fn a_pipe_is_reported_on_at_the_first_signal() {
    let capture = fs::read(OVERFLOW).expect("a recorded case");
    for name in ["-INT", "-TERM"] {
        let (child, pipe) = fed(&["analyze", "-"], &capture);
        signal(&child, name);
        let output = end(child);
        drop(pipe);
        assert_eq!(code(&output), 3, "it was left before its end: {}", stderr(&output));
        assert!(stdout(&output).contains("accept-queue-overflow"), "{}", stdout(&output));
        assert!(
            stderr(&output).contains("standard input: stopped on request after 62 packets"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn a_pipe_whose_writer_ends_at_the_same_signal_is_whole() {
    let capture = fs::read(OVERFLOW).expect("a recorded case");
    let (first, rest) = capture.split_at(capture.len() / 2);
    let (child, mut pipe) = fed(&["analyze", "-"], first);
    signal(&child, "-INT");
    // As tcpdump does: it flushes its buffer, and ends.
    thread::sleep(Duration::from_millis(50));
    pipe.write_all(rest).expect("it still reads");
    drop(pipe);
    let output = end(child);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("62 packets"), "{}", stdout(&output));
}

#[test]
fn a_packet_cut_by_the_stop_is_not_called_damage_of_the_capture() {
    let capture = fs::read(OVERFLOW).expect("a recorded case");
    let (child, pipe) = fed(&["analyze", "-"], &capture[..capture.len() - 11]);
    signal(&child, "-INT");
    let output = end(child);
    drop(pipe);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    assert!(stderr(&output).contains("stopped on request after 61 packets"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("cut off"), "{}", stderr(&output));
}

#[test]
fn the_second_signal_ends_at_once() {
    // A writer that never pauses: the first signal alone would read on for a while.
    let capture = fs::read(OVERFLOW).expect("a recorded case");
    let (child, mut pipe) = fed(&["analyze", "-"], &capture);
    let writer = thread::spawn(move || while pipe.write_all(&capture[24..]).is_ok() {});
    signal(&child, "-INT");
    thread::sleep(Duration::from_millis(900));
    signal(&child, "-INT");
    let output = end(child);
    writer.join().expect("it ended");
    // Either it was quick enough for its report, or it was ended without one.
    match output.status.code() {
        Some(130) => assert_eq!(stdout(&output), ""),
        other => assert_eq!(other, Some(3), "{output:?}"),
    }
}

#[test]
fn a_large_file_is_left_at_the_first_signal() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("large.pcap");
    let capture = fs::read(OVERFLOW).expect("a recorded case");
    let mut file = std::io::BufWriter::new(File::create(&path).expect("it can be made"));
    file.write_all(&capture[..24]).expect("room");
    for _ in 0..60_000 {
        file.write_all(&capture[24..]).expect("room");
    }
    drop(file);
    let mut child = synscope(&["analyze", "--threads", "1", path.to_str().expect("UTF-8")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    thread::sleep(Duration::from_millis(250));
    signal(&child, "-INT");
    let mut text = String::new();
    child.stdout.take().expect("it is piped").read_to_string(&mut text).expect("UTF-8");
    let output = end(child);
    // On a machine that was through already it is whole.
    match code(&output) {
        0 => {}
        3 => {
            assert!(stderr(&output).contains("large.pcap: stopped on request after"), "{}", stderr(&output));
            assert!(text.contains("What limits this report"), "{text}");
        }
        other => panic!("{other}: {}", stderr(&output)),
    }
}
