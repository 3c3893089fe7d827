//! What must not leave the house does not leave it, in any output. Runs the program as a user does.

#[path = "support/acme.rs"]
mod acme;

use std::fs;
use std::process::Output;

use acme::{Pcapng, done, left_of_it, synscope, text};
use serde_json::Value;

/// Fails if anything of the original is in what the program printed.
fn nothing_left(output: &Output, what: &str) {
    assert_eq!(left_of_it(&output.stdout), Vec::<String>::new(), "{what}");
    assert_eq!(
        left_of_it(&output.stderr),
        Vec::<String>::new(),
        "{what}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

const FORMATS: [&[&str]; 9] = [
    &["text"],
    &["text", "--color", "always"],
    &["json"],
    &["jsonl"],
    &["markdown", "--full"],
    &["markdown", "--full", "--flavor", "gitlab"],
    &["markdown", "--full", "--flavor", "jira"],
    &["html"],
    &["pcapng"],
];

#[test]
fn redaction_leaves_nothing_in_any_output() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Pcapng::every_link_type().written(folder.path());
    let present = left_of_it(&fs::read(&capture).unwrap());
    assert!(present.len() >= 12, "the capture holds what must not leave: {present:?}");
    let key = folder.path().join("key");
    for format in FORMATS {
        let args = [&["analyze", "--redact", "--redact-key-file", text(&key), text(&capture), "-f"], format]
            .concat();
        let output = done(&args);
        assert!(!output.stdout.is_empty(), "{format:?}");
        nothing_left(&output, &format!("{format:?}"));
        let digits = fs::read_to_string(&key).unwrap();
        assert!(!String::from_utf8_lossy(&output.stdout).contains(digits.trim()), "{format:?}: the key");
    }
    for extent in [&["--whole"][..], &["--listener"], &[]] {
        let args = [&["extract", "--redact", "-o", "-", text(&capture)], extent].concat();
        nothing_left(&done(&args), &format!("{extent:?}"));
    }
}

/// All formats of one run, with the same pseudonyms, and the outputs made from them afterwards.
#[test]
fn redaction_leaves_nothing_in_all_formats_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Pcapng::every_link_type().written(folder.path());
    let outputs = tempfile::tempdir().unwrap();
    let mut args = vec!["analyze".to_owned(), "--redact".to_owned(), text(&capture).to_owned()];
    let formats = ["text", "json", "jsonl", "markdown", "html", "pcapng"];
    for format in formats {
        args.extend(["--report".to_owned(), format!("{format}={}", text(&outputs.path().join(format)))]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    nothing_left(&done(&args), "what is printed");
    let json = outputs.path().join("json");
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let listener = report["incidents"][0]["listener"].as_str().unwrap().to_owned();
    for format in formats {
        let bytes = fs::read(outputs.path().join(format)).unwrap();
        assert_eq!(left_of_it(&bytes), Vec::<String>::new(), "{format}");
        let shown = String::from_utf8_lossy(&bytes).replace("&#8288;", "");
        assert!(format == "pcapng" || shown.contains(&listener), "{format}: another pseudonym");
    }
    nothing_left(&synscope(&["diff", text(&json), text(&json)]), "the difference");
}

/// The capture of these tests has packets of every link type that is decoded, and they are found in it.
#[test]
fn every_link_type_is_tried() {
    let tried =
        |link: u16| acme::LINKS.iter().any(|(own, _)| *own == link) || [1, 113, 239, 276].contains(&link);
    let missing: Vec<u16> = (0..400)
        .filter(|&link| synscope::decode::is_supported(synscope::capture::LinkType(link)) && !tried(link))
        .collect();
    assert_eq!(missing, Vec::<u16>::new(), "link types without a packet in tests/support/acme.rs");
    let folder = tempfile::tempdir().unwrap();
    let capture = Pcapng::every_link_type().written(folder.path());
    for redact in [&["--redact"][..], &[]] {
        let args = [&["analyze", "-f", "json", text(&capture)], redact].concat();
        let report: Value = serde_json::from_slice(&done(&args).stdout).unwrap();
        let ports: Vec<String> = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|finding| Some(finding["client"].as_str()?.rsplit_once(':')?.1.to_owned()))
            .collect();
        for (n, (link, _)) in (43_000..).zip(acme::LINKS) {
            assert!(ports.contains(&n.to_string()), "{redact:?}: no finding on link type {link}: {ports:?}");
        }
    }
}

/// All wrappings are looked into, redacted or not: nothing is lost for being unknown to one of the two.
#[test]
fn redaction_loses_no_finding() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Pcapng::every_link_type().written(folder.path());
    let report = |args: &[&str]| -> Value {
        let args = [&["analyze", "-f", "json", text(&capture)], args].concat();
        serde_json::from_slice(&done(&args).stdout).unwrap()
    };
    let (plain, redacted) = (report(&[]), report(&["--redact"]));
    assert_eq!(plain["summary"], redacted["summary"]);
    assert!(plain["findings"].as_array().unwrap().len() >= 10, "{}", plain["summary"]);
}

/// Damage and inputs that cannot be opened are told without their names, in the report and beside it.
#[test]
fn messages_about_damage_are_redacted_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut cut = Pcapng::acme();
    cut.0.truncate(cut.0.len() - 9);
    let capture = cut.written(folder.path());
    let missing = folder.path().join("acme-customer-2.pcapng");
    let notes = folder.path().join("acme-notes.pcap");
    fs::write(&notes, "acme-customer: 203.0.113.77").unwrap();
    for format in FORMATS {
        if format == ["pcapng"] {
            continue;
        }
        let args =
            [&["analyze", "--redact", text(&capture), text(&missing), text(&notes), "-f"], format].concat();
        let output = synscope(&args);
        assert_eq!(output.status.code(), Some(3), "{format:?}");
        nothing_left(&output, &format!("{format:?}"));
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("capture-2"),
            "it is said which input it was"
        );
    }
}

/// A message about a relative path says where relative paths begin: at a folder that may have a name, too.
#[test]
fn the_working_folder_is_not_named() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("acme-customer");
    fs::create_dir(&inside).unwrap();
    Pcapng::acme().written(&inside);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_synscope"))
        .args(["analyze", "--redact", "acme-customer.pcapng", "acme-missing.pcap"])
        .current_dir(&inside)
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(3));
    nothing_left(&output, "relative paths");
}

/// Without payload means without any, in packets of other protocols too.
#[test]
fn stripping_leaves_no_payload() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Pcapng::every_link_type().written(folder.path());
    for extent in [&["--whole"][..], &["--listener"], &[]] {
        let args = [&["extract", "--strip-payload", "-o", "-", text(&capture)], extent].concat();
        let left = left_of_it(&done(&args).stdout);
        assert!(!left.contains(&"payload".to_owned()), "{extent:?}");
    }
    for format in FORMATS {
        let args = [&["analyze", "--strip-payload", text(&capture), "-f"], format].concat();
        assert!(!left_of_it(&done(&args).stdout).contains(&"payload".to_owned()), "{format:?}");
    }
}

#[test]
fn a_redacted_report_finds_the_same_and_says_that_it_is_redacted() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Pcapng::acme().written(folder.path());
    let report = |args: &[&str]| -> Value {
        let args = [&["analyze", "-f", "json", text(&capture)], args].concat();
        serde_json::from_slice(&done(&args).stdout).unwrap()
    };
    let (plain, redacted) = (report(&[]), report(&["--redact"]));
    assert_eq!(plain["summary"], redacted["summary"]);
    assert!(redacted["warnings"][0].as_str().unwrap().contains("pseudonyms"), "{}", redacted["warnings"]);
    assert_eq!(
        report(&["--host", "203.0.113.77"])["summary"],
        report(&["--redact", "--host", "203.0.113.77"])["summary"]
    );
    assert_ne!(report(&["--redact"])["findings"], redacted["findings"], "a key per run");
}

#[test]
fn a_key_file_is_made_once_and_gives_the_same_pseudonyms() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Pcapng::acme().written(folder.path());
    let key = folder.path().join("key");
    let run = || {
        done(&["analyze", "--redact", "--redact-key-file", text(&key), "-f", "json", text(&capture)]).stdout
    };
    assert_eq!(run(), run());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    }
    fs::write(&key, "guess").unwrap();
    let refused = synscope(&["analyze", "--redact", "--redact-key-file", text(&key), text(&capture)]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        !String::from_utf8_lossy(&refused.stderr).contains("guess"),
        "the contents of the file are not shown"
    );
    assert_eq!(
        synscope(&["analyze", "--redact-key-file", text(&key), text(&capture)]).status.code(),
        Some(2)
    );
}
