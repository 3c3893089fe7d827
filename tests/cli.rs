//! Runs the program as a user does: exit codes, messages, pipes.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The program, with nothing of the caller's that decides about colours.
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

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("what is printed is UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("what is printed is UTF-8")
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("ended by a signal: {output:?}"))
}

/// A pcap file (bytes of the file, little-endian, microseconds, Ethernet) made by hand.
struct Pcap(Vec<u8>);

/// Flags of TCP.
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

const CLIENT: ([u8; 4], u16) = ([192, 0, 2, 1], 40_000);
const SERVER: ([u8; 4], u16) = ([192, 0, 2, 2], 80);

impl Pcap {
    fn new() -> Pcap {
        let mut bytes = Vec::new();
        bytes.extend(0xa1b2_c3d4_u32.to_le_bytes());
        bytes.extend(2u16.to_le_bytes());
        bytes.extend(4u16.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(65_535u32.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        Pcap(bytes)
    }

    /// One TCP segment without data, `ms` milliseconds after 2026-11-22T14:03:07Z.
    fn segment(
        mut self,
        ms: u32,
        from: ([u8; 4], u16),
        to: ([u8; 4], u16),
        flags: u8,
        seq: u32,
        ack: u32,
    ) -> Pcap {
        let mut frame = vec![0u8; 12];
        frame.extend([0x08, 0x00]);
        frame.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
        frame.extend(from.0);
        frame.extend(to.0);
        frame.extend(from.1.to_be_bytes());
        frame.extend(to.1.to_be_bytes());
        frame.extend(seq.to_be_bytes());
        frame.extend(ack.to_be_bytes());
        frame.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        self.0.extend((1_795_356_187 + ms / 1000).to_le_bytes());
        self.0.extend((ms % 1000 * 1000).to_le_bytes());
        let length = u32::try_from(frame.len()).expect("a frame is short").to_le_bytes();
        self.0.extend(length);
        self.0.extend(length);
        self.0.extend(frame);
        self
    }

    /// SYN, answered by RST.
    fn refused() -> Pcap {
        Pcap::new().segment(0, CLIENT, SERVER, SYN, 100, 0).segment(1, SERVER, CLIENT, RST | ACK, 0, 101)
    }

    fn written(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, &self.0).expect("the temporary folder can be written");
        path
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

#[test]
fn help_shows_examples_and_exit_codes() {
    let output = run(&["--help"]);
    assert_eq!(code(&output), 0);
    let help = stdout(&output);
    for word in ["analyze", "explain", "schema", "Examples:", "Exit codes:"] {
        assert!(help.contains(word), "{word} is missing:\n{help}");
    }
    assert_eq!(stderr(&output), "");
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
}

#[test]
fn help_of_analyze_describes_every_option() {
    let output = run(&["analyze", "--help"]);
    assert_eq!(code(&output), 0);
    for option in [
        "--format",
        "--output",
        "--threads",
        "--half-close-after",
        "--host",
        "--port",
        "--since",
        "--until",
        "--fail-on",
        "--memory-limit",
        "--color",
        "--quiet",
    ] {
        assert!(stdout(&output).contains(option), "{option} is missing");
    }
    for default in ["[default: 60s]", "[default: 1GiB]", "[default: text]"] {
        assert!(stdout(&output).contains(default), "{default} is missing");
    }
}

#[test]
fn without_arguments_the_help_goes_to_standard_error() {
    let output = run(&[]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("Usage: synscope"), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
}

#[test]
fn version_is_printed() {
    let output = run(&["--version"]);
    assert_eq!((code(&output), stdout(&output)), (0, concat!("synscope ", env!("CARGO_PKG_VERSION"), "\n")));
}

#[test]
fn a_misspelt_option_gets_a_suggestion() {
    let output = run(&["analyze", "--fromat", "json", "a.pcap"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).starts_with("synscope: "), "{}", stderr(&output));
    assert!(stderr(&output).contains("--format"), "{}", stderr(&output));
}

#[test]
fn analyze_needs_a_capture() {
    let output = run(&["analyze"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("<CAPTURE>"), "{}", stderr(&output));
}

#[test]
fn a_missing_file_is_exit_code_2_with_a_message() {
    let output = run(&["analyze", "/nonexistent/edge.pcap"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).starts_with("synscope: "), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
}

#[test]

fn the_message_names_the_missing_file() {
    let output = run(&["analyze", "/nonexistent/edge.pcap"]);
    assert!(stderr(&output).contains("/nonexistent/edge.pcap"), "{}", stderr(&output));
}

#[test]
fn times_in_the_wrong_order_are_refused() {
    let output =
        run(&["analyze", "--since", "2026-11-22 15:00:00", "--until", "2026-11-22T14:00:00Z", "a.pcap"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("Exchange the two times"), "{}", stderr(&output));
}

#[test]
fn standard_input_can_be_named_once() {
    let output = run(&["analyze", "-", "-"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("only once"), "{}", stderr(&output));
}

#[test]
fn the_schema_is_json() {
    for args in [&["schema"][..], &["schema", "--events"]] {
        let output = run(args);
        assert_eq!(code(&output), 0);
        let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(stdout(&output).ends_with("}\n"));
        assert!(jsonschema::validator_for(&schema).is_ok());
    }
    let events: Value = serde_json::from_slice(&run(&["schema", "--events"]).stdout).expect("JSON");
    let warning = serde_json::json!({"event": "warning", "at": "2026-11-22T14:03:07Z", "text": "x"});
    assert!(jsonschema::is_valid(&events, &warning));
    assert!(!jsonschema::is_valid(&events, &serde_json::json!({"event": "rumour", "at": "now"})));
}

#[test]
fn explain_lists_the_kinds() {
    let output = run(&["explain"]);
    assert_eq!(code(&output), 0);
    for kind in ["accept-queue-overflow", "half-close", "time-wait-pressure"] {
        assert!(stdout(&output).lines().any(|line| line.starts_with(kind)), "{}", stdout(&output));
    }
}

#[test]
fn explain_takes_every_kind() {
    let list = run(&["explain"]);
    let kinds: Vec<&str> = stdout(&list).lines().take(19).filter_map(|line| line.split(' ').next()).collect();
    for kind in kinds.into_iter().filter(|kind| !kind.is_empty()) {
        let output = run(&["explain", kind]);
        assert_eq!(code(&output), 0, "{kind}: {}", stderr(&output));
        assert!(stdout(&output).starts_with(kind), "{}", stdout(&output));
    }
}

#[test]
fn explain_suggests_the_kind_that_was_meant() {
    let output = run(&["explain", "accept-queue-overflw"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).starts_with("synscope: "), "{}", stderr(&output));
    assert!(stderr(&output).contains("'accept-queue-overflow'"), "{}", stderr(&output));
}

#[test]
fn no_colour_in_a_pipe_unless_asked_for() {
    assert!(!stdout(&run(&["explain"])).contains('\x1b'));
    assert!(stdout(&run(&["explain", "--color", "always"])).contains('\x1b'));
    assert!(!stdout(&run(&["explain", "--color", "never"])).contains('\x1b'));
    assert!(!stdout(&run(&["--help"])).contains('\x1b'));
    assert!(!stderr(&run(&["--nonsense"])).contains('\x1b'));
}

#[test]
fn a_hostile_argument_does_not_reach_the_terminal_raw() {
    let output = run(&["explain", "\u{1b}]0;owned\u{7}"]);
    assert_eq!(code(&output), 2);
    assert!(!stderr(&output).chars().any(|c| c != '\n' && c.is_control()), "{:?}", stderr(&output));
}

/// Starts the program, closes its output before anything is read, and says how it ended.
fn with_a_reader_who_leaves(args: &[&str]) -> (i32, String) {
    let mut child =
        synscope(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    drop(child.stdout.take());
    let mut complaint = String::new();
    child.stderr.take().expect("was piped").read_to_string(&mut complaint).expect("UTF-8");
    (child.wait().expect("it ends").code().expect("not by a signal"), complaint)
}

#[test]
fn a_broken_pipe_is_quiet() {
    for args in [&["schema"][..], &["explain"], &["--help"]] {
        assert_eq!(with_a_reader_who_leaves(args), (0, String::new()), "{args:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_said() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let output = synscope(&["schema"]).stdout(full).output().expect("the program starts");
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("cannot write to standard output"), "{}", stderr(&output));
}

#[test]
fn an_input_is_never_overwritten() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let capture = Pcap::refused().written(folder.path(), "a.pcap");
    let before = fs::read(&capture).expect("it was just written");
    let output = run(&["analyze", "-o", text(&capture), text(&capture)]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("is one of the files that are read"), "{}", stderr(&output));
    assert_eq!(fs::read(&capture).expect("still there"), before);
}

#[test]
fn an_output_that_cannot_be_written_is_said_before_the_work() {
    let output = run(&["analyze", "-o", "/nonexistent/report.txt", "a.pcap"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("cannot write to /nonexistent/report.txt"), "{}", stderr(&output));
}

#[test]
fn without_a_report_no_empty_file_stays() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let report = folder.path().join("report.txt");
    let output = run(&["analyze", "-o", text(&report), "/nonexistent/edge.pcap"]);
    assert_eq!(code(&output), 2);
    assert!(!report.exists());
}

#[test]

fn a_capture_becomes_a_report_in_both_formats() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let capture = Pcap::refused().written(folder.path(), "a.pcap");
    let output = run(&["analyze", text(&capture)]);
    assert_eq!((code(&output), stderr(&output)), (0, ""));
    assert!(stdout(&output).contains("2 packets, 2 TCP segments"), "{}", stdout(&output));
    assert!(stdout(&output).contains("connection-refused"), "{}", stdout(&output));
    assert!(!stdout(&output).contains('\x1b'));

    let output = run(&["analyze", "--format", "json", text(&capture)]);
    let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let schema: Value = serde_json::from_slice(&run(&["schema"]).stdout).expect("JSON");
    assert!(jsonschema::is_valid(&schema, &document), "{document:#}");
    assert_eq!(document["summary"]["packets"], 2);
}

#[test]

fn the_report_goes_to_a_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let capture = Pcap::refused().written(folder.path(), "a.pcap");
    let report = folder.path().join("report.txt");
    fs::write(&report, "x".repeat(100_000)).expect("the temporary folder can be written");
    let to_file = run(&["analyze", "-o", text(&report), text(&capture)]);
    assert_eq!((code(&to_file), stdout(&to_file)), (0, ""));
    let to_stdout = run(&["analyze", "-o", "-", text(&capture)]);
    assert_eq!(fs::read_to_string(&report).expect("it was written"), stdout(&to_stdout));
}

#[test]

fn fail_on_decides_between_0_and_1() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let capture = Pcap::refused().written(folder.path(), "a.pcap");
    for (condition, expected) in [
        ("any", 1),
        ("info", 1),
        ("connection-refused", 1),
        ("syn-flood,any", 1),
        ("critical", 0),
        ("syn-flood", 0),
    ] {
        let output = run(&["analyze", "--fail-on", condition, text(&capture)]);
        assert_eq!(code(&output), expected, "{condition}: {}", stderr(&output));
    }
}

#[test]

fn damage_is_exit_code_3_and_wins_over_fail_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut cut = Pcap::refused().segment(5, CLIENT, SERVER, SYN, 200, 0);
    cut.0.truncate(cut.0.len() - 7);
    let capture = cut.written(folder.path(), "cut.pcap");
    let output = run(&["analyze", "--fail-on", "any", text(&capture)]);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    assert!(stderr(&output).starts_with("synscope: "), "{}", stderr(&output));
    assert!(stderr(&output).contains("cut.pcap"), "{}", stderr(&output));
    assert!(stdout(&output).contains("What limits this report"), "{}", stdout(&output));
}

#[test]

fn a_capture_comes_through_a_pipe() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let capture = Pcap::refused().written(folder.path(), "a.pcap");
    let pipe = fs::File::open(capture).expect("it was just written");
    let output = synscope(&["analyze", "-"]).stdin(pipe).output().expect("the program starts");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).starts_with("standard input: pcap"), "{}", stdout(&output));
}

#[test]

fn a_reader_who_leaves_ends_analyze_quietly() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let capture = Pcap::refused().written(folder.path(), "a.pcap");
    assert_eq!(with_a_reader_who_leaves(&["analyze", text(&capture)]), (0, String::new()));
}

#[test]

fn what_is_no_capture_is_exit_code_2() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("notes.txt");
    fs::write(&path, "not a capture at all, just words").expect("the temporary folder can be written");
    let output = run(&["analyze", text(&path)]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("notes.txt"), "{}", stderr(&output));
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = run(&["completions", shell]);
        assert_eq!(code(&output), 0, "{shell}");
        for command in ["analyze", "extract", "diff", "explain"] {
            assert!(stdout(&output).contains(command), "{shell}: {command}");
        }
    }
    assert_eq!(code(&run(&["completions", "cmd"])), 2);
}

#[cfg(unix)]
#[test]
fn bash_completes_commands_options_and_values() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = folder.path().join("synscope");
    fs::write(&script, run(&["completions", "bash"]).stdout).expect("the temporary folder can be written");
    let completed = |words: &[&str]| {
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let command = format!(
            "source '{}'; COMP_WORDS=({}); COMP_CWORD={}; _synscope synscope '{last}' '{before}'; echo \"${{COMPREPLY[*]}}\"",
            text(&script),
            words.iter().map(|word| format!("'{word}' ")).collect::<String>(),
            words.len() - 1
        );
        let output = Command::new("bash").args(["-c", &command]).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(command) = completed(&["synscope", "ext"]) else { return };
    assert_eq!(command, "extract");
    assert_eq!(completed(&["synscope", "analyze", "--redact-k"]).unwrap(), "--redact-key-file");
    assert!(completed(&["synscope", "analyze", "--format", ""]).unwrap().contains("markdown html pcapng"));
}

#[test]
fn the_manual_has_a_page_for_the_program_and_each_command() {
    let program = run(&["man"]);
    assert!(stdout(&program).contains(".TH synscope 1"), "{}", stdout(&program));
    assert!(stdout(&program).contains("EXIT STATUS"));
    let command = run(&["man", "analyze"]);
    assert!(stdout(&command).contains(".TH synscope-analyze 1"), "{}", stdout(&command));
    assert!(stdout(&command).contains("half\\-close\\-after"));
    let unknown = run(&["man", "analyse"]);
    assert_eq!(code(&unknown), 2);
    assert!(stderr(&unknown).contains("no command 'analyse'"));
}

#[test]
fn a_folder_that_is_not_there_is_said() {
    let output = run(&["snapshot", "--output", "/nonexistent/a.json"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("there is no folder /nonexistent"), "{}", stderr(&output));
}

#[cfg(unix)]
mod files_that_are_read {
    use std::fs::{File, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// An empty capture, and its bytes.
    fn capture(folder: &Path) -> (PathBuf, Vec<u8>) {
        let mut bytes = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
        bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0]);
        let path = folder.join("in.pcap");
        fs::write(&path, &bytes).unwrap();
        (path, bytes)
    }

    #[test]
    fn are_never_written_by_whatever_name() {
        let folder = tempfile::tempdir().unwrap();
        let (path, bytes) = capture(folder.path());
        let (input, link) = (text(&path), folder.path().join("link"));
        fs::hard_link(&path, &link).unwrap();
        let from_stdin: [&[&str]; 4] = [
            &["analyze", "-q", "-o", input, "-"],
            &["analyze", "-q", "-o", text(&link), "-"],
            &["analyze", "-q", "--report", &format!("html={input}"), "-"],
            &["analyze", "-q", "-f", "json", "--report", &format!("markdown={}", text(&link)), "-"],
        ];
        for args in from_stdin {
            let output = synscope(args).stdin(File::open(&path).unwrap()).output().unwrap();
            assert_eq!(code(&output), 2, "{args:?}");
            assert!(stderr(&output).contains("standard input"), "{args:?}: {}", stderr(&output));
            assert_eq!(fs::read(&path).unwrap(), bytes, "{args:?}");
        }
        // Standard output may be one of them, too.
        let append = || File::options().append(true).open(&path).unwrap();
        let output = synscope(&["analyze", "-q", input]).stdout(append()).output().unwrap();
        assert_eq!((code(&output), fs::read(&path).unwrap()), (2, bytes.clone()));
        let output = synscope(&["extract", "-q", "-o", text(&link), input]).output().unwrap();
        assert_eq!((code(&output), fs::read(&path).unwrap()), (2, bytes.clone()));
        // A terminal or /dev/null as both is no file.
        let output =
            synscope(&["analyze", "-q", "-o", "/dev/null", "-"]).stdin(File::open(&path).unwrap()).output();
        assert_eq!(code(&output.unwrap()), 0);
    }

    #[test]
    fn the_key_among_them_is_not_written_and_draws_a_warning_when_all_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = capture(folder.path());
        let key = folder.path().join("key");
        let args = ["analyze", "-q", "--redact", "--redact-key-file", text(&key), text(&path)];
        assert_eq!(stderr(&run(&args)), "", "a key that is made here is its owner's alone");
        fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
        let output = run(&args);
        assert_eq!(code(&output), 0);
        assert!(stderr(&output).contains("chmod 600"), "{}", stderr(&output));
        let before = fs::read(&key).unwrap();
        let output = run(&[&args[..], &["-o", text(&key)]].concat());
        assert_eq!((code(&output), fs::read(&key).unwrap()), (2, before));
    }
}

#[test]
fn a_zstd_window_that_is_not_read_is_named_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("long.pcap.zst");
    fs::write(&capture, [0x28, 0xb5, 0x2f, 0xfd, 0x04, 21 << 3, 0x01, 0x00, 0x00]).unwrap();
    let output = run(&["analyze", "-q", text(&capture)]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("zstd -d --long=31"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("damaged"), "{}", stderr(&output));
}
