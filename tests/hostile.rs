//! Packets made to do harm, through the program as a user runs it: each costs itself at most.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn synscope(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_synscope"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths are UTF-8")
}

/// The JSON report on `capture`, with `args` besides.
fn report(capture: &Path, args: &[&str]) -> Value {
    let output = synscope(&[&["analyze", "-q", "-f", "json"], args, &[text(capture)]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{}: {said}", capture.display());
    serde_json::from_slice(&output.stdout).expect("a report in JSON")
}

/// The captures of `testdata/malformed`: one packet each.
fn malformed() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/malformed");
    let entries = fs::read_dir(folder).expect("the folder is there").map(|entry| entry.unwrap().path());
    let mut captures: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "pcap")).collect();
    captures.sort();
    assert!(captures.len() >= 4, "{captures:?}");
    captures
}

#[test]
fn a_malformed_packet_is_counted_and_ends_nothing() {
    for capture in malformed() {
        for args in [&[][..], &["--redact"]] {
            let report = report(&capture, args);
            let name = capture.display();
            assert_eq!(report["summary"]["packets"], 1, "{name} {args:?}");
            assert_eq!(report["quality"]["malformed"], 1, "{name} {args:?}");
            let warnings = report["warnings"].to_string();
            assert!(warnings.contains("contradict"), "{name} {args:?}: {warnings}");
        }
    }
}

#[test]
fn an_extract_of_malformed_packets_holds_none_and_succeeds() {
    let folder = tempfile::tempdir().expect("a place for temporary files");
    let extracted = folder.path().join("x.pcapng");
    for capture in malformed() {
        for args in [&[][..], &["--redact"]] {
            let output =
                synscope(&[&["extract", "-q", "-o", text(&extracted)], args, &[text(&capture)]].concat());
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{} {args:?}: {said}", capture.display());
        }
    }
}
