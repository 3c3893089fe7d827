//! What goes into a ticket: several reports at once, extracts that Wireshark reads, comparisons. Runs the program as a
//! user does.

#[path = "support/acme.rs"]
mod acme;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use acme::{Pcapng, done, left_of_it, synscope, text};
use serde_json::Value;
use synscope::model::Report;
use synscope::report::{glossary, html, markdown};

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a report was written")).expect("it is JSON")
}

#[test]
fn report_and_extract_of_one_run_have_the_same_pseudonyms() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Pcapng::acme().written(folder.path());
    let (report, packets) = (folder.path().join("a.json"), folder.path().join("a.pcapng"));
    let (to_report, to_packets) = (format!("json={}", text(&report)), format!("pcapng={}", text(&packets)));
    let output =
        done(&["analyze", "--redact", "--report", &to_report, "--report", &to_packets, text(&capture)]);
    assert!(output.stdout.is_empty(), "with --report alone nothing is printed");
    let again: Value =
        serde_json::from_slice(&done(&["analyze", "-f", "json", text(&packets)]).stdout).unwrap();
    assert_eq!(ids(&json(&report)), ids(&again));
    assert!(!ids(&again).is_empty());
}

fn ids(report: &Value) -> BTreeSet<String> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|finding| format!("{} {}", finding["id"], finding["certainty"])).collect()
}

#[test]
fn an_extract_has_no_payload_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Pcapng::acme().written(folder.path());
    let holds = |args: &[&str]| {
        let args = [&["extract", "--whole", "-o", "-", text(&capture)], args].concat();
        left_of_it(&done(&args).stdout)
    };
    let stripped = holds(&[]);
    assert!(!stripped.contains(&"payload".to_owned()));
    assert!(stripped.contains(&"client".to_owned()), "addresses stay without --redact");
    for name in ["db7.acme.example", "CLIENT_RANDOM", "comment-by-acme", "acme-host"] {
        assert!(!stripped.contains(&name.to_owned()), "{name}: blocks of the input are not copied");
    }
    assert_eq!(holds(&["--strip-payload"]), stripped);
    assert!(holds(&["--keep-payload"]).contains(&"payload".to_owned()));
    assert_eq!(
        synscope(&["extract", "--redact", "--keep-payload", "-o", "-", text(&capture)]).status.code(),
        Some(2)
    );
}

#[test]
fn an_extract_holds_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Pcapng::acme().written(folder.path());
    let report: Value =
        serde_json::from_slice(&done(&["analyze", "-f", "json", text(&capture)]).stdout).unwrap();
    let count = |args: &[&str]| -> u64 {
        let packets = folder.path().join("x.pcapng");
        done(&[&["extract", "-o", text(&packets), text(&capture)], args].concat());
        let report: Value =
            serde_json::from_slice(&done(&["analyze", "-f", "json", text(&packets)]).stdout).unwrap();
        report["summary"]["packets"].as_u64().unwrap()
    };
    let one = report["findings"][0]["id"].as_str().unwrap();
    let evidence = report["findings"][0]["evidence"].as_array().unwrap().len() as u64;
    assert_eq!(count(&["--id", one]), evidence);
    let none = folder.path().join("none.pcapng");
    done(&["extract", "--kind", "syn-flood", "-o", text(&none), text(&capture)]);
    assert!(!none.exists());
    assert!(count(&["--listener"]) > count(&["--id", one]));
    let unknown = synscope(&["extract", "--id", "f-000000000000", "-o", "-", text(&capture)]);
    assert_eq!(unknown.status.code(), Some(2));
    assert_eq!(
        synscope(&["extract", "-o", "-", "-"]).status.code(),
        Some(2),
        "standard input cannot be read twice"
    );
}

/// tshark's fields of each packet of `file` that `filter` selects; `None` without tshark.
fn tshark(file: &Path, filter: &str, fields: &[&str]) -> Option<Vec<Vec<String>>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r", text(file), "-Y", filter, "-T", "fields", "-E", "separator=|"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.stdin(Stdio::null()).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(shown.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect())
}

#[test]
fn tshark_reads_the_comments_and_the_filters_select_the_findings() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Pcapng::acme().written(folder.path());
    let report: Value =
        serde_json::from_slice(&done(&["analyze", "-f", "json", text(&capture)]).stdout).unwrap();
    for finding in report["findings"].as_array().unwrap() {
        let filters = &finding["display_filters"];
        let numbers = |evidence: &Value| -> BTreeSet<u64> {
            evidence.as_array().unwrap().iter().map(|e| e["packet"].as_u64().unwrap()).collect()
        };
        let shown = |filter: &Value| -> Option<BTreeSet<u64>> {
            let rows = tshark(&capture, filter.as_str().unwrap(), &["frame.number"])?;
            Some(rows.iter().map(|row| row[0].parse().unwrap()).collect())
        };
        let Some(packets) = shown(&filters["packets"][0]["filter"]) else {
            eprintln!("without tshark this is not tested");
            return;
        };
        assert_eq!(packets, numbers(&finding["evidence"]));
        let connection = shown(&filters["connection"]).unwrap();
        assert!(connection.is_superset(&numbers(&finding["evidence"])), "{connection:?}: {filters}");
        assert!(connection.len() < 9, "not the whole capture");
    }
    let packets = folder.path().join("x.pcapng");
    done(&["extract", "-o", text(&packets), text(&capture)]);
    let rows = tshark(&packets, "frame", &["frame.time_epoch", "frame.comment"]).unwrap();
    let evidence: Vec<&Value> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|f| f["evidence"].as_array().unwrap())
        .collect();
    assert_eq!(rows.len(), evidence.len());
    let all: String = rows.iter().map(|row| row[1].as_str()).collect();
    for finding in report["findings"].as_array().unwrap() {
        assert!(all.contains(finding["id"].as_str().unwrap()));
        for evidence in finding["evidence"].as_array().unwrap() {
            assert!(all.contains(evidence["text"].as_str().unwrap()));
            assert!(all.contains(&format!("(packet {} of ", evidence["packet"])));
        }
    }
    assert!(rows[0][0].starts_with("1795356187.000000"), "times are the original ones: {}", rows[0][0]);
}

/// Every recorded case of `testdata`, with the place of its capture.
fn recorded() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut captures = Vec::new();
    for kind in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for case in
            fs::read_dir(kind).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
        {
            let files = fs::read_dir(case).unwrap().map(|entry| entry.unwrap().path());
            captures.extend(files.filter(|path| {
                path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng")
            }));
        }
    }
    captures.sort();
    assert!(captures.len() > 20);
    captures
}

fn analyzed(path: &Path) -> Value {
    serde_json::from_slice(&done(&["analyze", "-q", "-f", "json", text(path)]).stdout).unwrap()
}

/// The extracts of recorded captures lead to the same findings, with the same ids.
#[test]
fn recorded_captures_give_the_same_findings_again() {
    let work = tempfile::tempdir().unwrap();
    let packets = work.path().join("x.pcapng");
    let mut findings = 0;
    for capture in recorded() {
        let report = analyzed(&capture);
        if ids(&report).is_empty() {
            continue;
        }
        done(&["extract", "-q", "--listener", "-o", text(&packets), text(&capture)]);
        assert_eq!(ids(&analyzed(&packets)), ids(&report), "{}", capture.display());
        findings += ids(&report).len();
    }
    assert!(findings > 100, "{findings}");
}

/// The four-tuple over its time holds the evidence; the set of frames is the evidence.
#[test]
fn display_filters_select_the_packets_of_recorded_findings() {
    let mut kinds = BTreeSet::new();
    for capture in recorded() {
        let report = analyzed(&capture);
        let Some(finding) = report["findings"].as_array().unwrap().first() else { continue };
        if !kinds.insert(finding["kind"].to_string()) {
            continue;
        }
        let evidence = finding["evidence"].as_array().unwrap();
        let wanted: BTreeSet<u64> = evidence.iter().map(|e| e["packet"].as_u64().unwrap()).collect();
        let filters = &finding["display_filters"];
        let (frames, connection) =
            (filters["packets"][0]["filter"].as_str().unwrap(), filters["connection"].as_str().unwrap());
        // One run for both: what the frames are, and which of them the other filter has, too.
        let Some(rows) = tshark(&capture, frames, &["frame.number"]) else { return };
        let shown: BTreeSet<u64> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
        assert_eq!(shown, wanted, "{}", capture.display());
        let both = tshark(&capture, &format!("({frames}) && ({connection})"), &["frame.number"]).unwrap();
        // A finding may name packets of others, too, for comparison.
        assert!(!both.is_empty(), "{}: {connection}", capture.display());
    }
    assert!(kinds.len() > 8, "{kinds:?}");
}

#[test]
fn an_extract_keeps_interfaces_and_says_nothing_of_them_when_redacted() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Pcapng::everywhere().written(folder.path());
    let packets = folder.path().join("x.pcapng");
    let names = |args: &[&str]| -> Option<BTreeSet<String>> {
        done(&[&["extract", "-q", "-o", text(&packets), text(&capture)], args].concat());
        let rows = tshark(&packets, "frame", &["frame.interface_name", "frame.encap_type"])?;
        Some(rows.into_iter().map(|row| row.join(" ")).collect())
    };
    let Some(plain) = names(&[]) else { return };
    // Wireshark's own numbers of link types.
    let expected = ["uplink-of-acme<script> 1", "any-of-acme 25", "any2-of-acme 210", "nflog-of-acme 141"];
    assert_eq!(plain, expected.map(str::to_owned).into());
    assert_eq!(names(&["--redact"]).unwrap().len(), 4);
    assert!(names(&["--redact"]).unwrap().iter().all(|name| name.starts_with("capture-1 ")));
}

#[test]
fn ids_are_the_same_in_every_format_and_with_any_number_of_threads() {
    let capture = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/accept-queue-overflow/silent-clients/server.pcap");
    let wanted: BTreeSet<String> = analyzed(&capture)["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(!wanted.is_empty());
    for threads in ["1", "2", "5"] {
        for format in ["json", "jsonl", "markdown", "html", "pcapng"] {
            let output =
                done(&["analyze", "-q", "--full", "-t", threads, "-f", format, text(&capture)]).stdout;
            let shown = String::from_utf8_lossy(&output);
            for id in &wanted {
                assert!(shown.contains(id), "{id} in {format} with {threads} threads");
            }
        }
    }
}

/// What a terminal, a browser or a tracker could take for an order, in the name of a file, of an interface, in comments.
const HOSTILE: &str =
    "=cmd|x <img src=x onerror=alert(1)> [l](http://evil.example) @all `b` {noformat} \u{1b}[2J \u{202e}x";

/// What a spreadsheet would take from a cell: behind the rest of its tag, without others.
fn words_of_a_cell(cell: &str) -> String {
    let inside = cell.split_once('>').map_or("", |(_, inside)| inside);
    let inside = inside.split("</td>").next().unwrap_or_default();
    inside
        .split('<')
        .enumerate()
        .map(|(i, part)| if i == 0 { part } else { part.split_once('>').map_or("", |p| p.1) })
        .collect()
}

#[cfg(unix)]
#[test]
fn hostile_names_reach_no_output_raw() {
    let folder = tempfile::tempdir().unwrap();
    // A file name may hold anything but a slash.
    let name = HOSTILE.replace('/', "|");
    let capture = folder.path().join(format!("{name}.pcapng"));
    let damaged = {
        let mut bytes = Pcapng::on(HOSTILE).then_acme().named(HOSTILE).0;
        // A block of an unknown type, and an end in the middle of one.
        bytes.extend([0xad, 0x0b, 0, 0, 12, 0, 0, 0, 12, 0, 0, 0, 6, 0, 0, 0]);
        bytes
    };
    fs::write(&capture, damaged).unwrap();
    let steers = |text: &str| {
        text.chars().find(|c| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c))
    };
    for format in [
        &["text"][..],
        &["json"],
        &["jsonl"],
        &["markdown", "--full"],
        &["markdown", "--full", "--flavor", "gitlab"],
        &["markdown", "--full", "--flavor", "jira"],
        &["html"],
    ] {
        let output = synscope(&[&["analyze", text(&capture), "-f"], format].concat());
        assert_eq!(output.status.code(), Some(3), "{format:?}");
        let shown = String::from_utf8(output.stdout).expect("reports are UTF-8");
        let said = String::from_utf8(output.stderr).expect("messages are UTF-8");
        assert_eq!((steers(&shown), steers(&said)), (None, None), "{format:?}");
        match format[0] {
            "html" => {
                assert!(!shown.contains("<img") && !shown.contains("<a href=\"http"), "{format:?}");
                assert!(shown.contains("&lt;img"), "the name is shown as it is");
                for cell in shown.split("<td").skip(1).map(words_of_a_cell) {
                    assert!(!cell.starts_with(['=', '+', '@', '-']), "a formula: {cell}");
                }
            }
            "markdown" => {
                // Text in code stays as it is; outside of code the signs are escaped. Jira takes no HTML.
                let jira = format.contains(&"jira");
                for line in
                    shown.lines().filter(|line| !jira && !line.contains('`') && !line.starts_with('|'))
                {
                    assert!(!line.contains(" <img") && !line.contains(" [l]("), "{format:?}: {line}");
                }
                // Quick actions of GitLab, formulas of whatever the text is pasted into; Jira knows neither.
                let begins = |line: &str| line.starts_with(['=', '+', '@', '/']);
                assert!(jira || !shown.lines().any(begins), "{format:?}");
                let cells = shown.lines().filter(|line| line.starts_with('|') && !line.contains(" --- "));
                for cell in
                    cells.flat_map(|line| line.split('|')).map(|cell| cell.trim_matches([' ', '`', '{']))
                {
                    assert!(!cell.starts_with(['=', '+', '@', '-']), "{format:?}: a formula: {cell}");
                }
            }
            "json" => drop(serde_json::from_str::<Value>(&shown).unwrap()),
            "jsonl" => shown.lines().for_each(|line| drop(serde_json::from_str::<Value>(line).unwrap())),
            _ => {}
        }
    }
    let packets = folder.path().join("x.pcapng");
    synscope(&["extract", "-q", "-o", text(&packets), text(&capture)]);
    let bytes = fs::read(&packets).unwrap();
    assert!(!bytes.windows(4).any(|bytes| bytes == b"\x1b[2J"), "in names and comments of the extract");
    if let Some(rows) = tshark(&packets, "frame", &["frame.interface_name", "frame.comment"]) {
        assert!(rows.iter().all(|row| row.join("").contains("<img") && steers(&row.join("")).is_none()));
    }
}

#[test]
fn several_reports_are_written_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Pcapng::acme().written(folder.path());
    let at = |name: &str| folder.path().join(name);
    let report = |format: &str, name: &str| format!("{format}={}", text(&at(name)));
    let both = done(&[
        "analyze",
        "-f",
        "text",
        "--report",
        &report("html", "a.html"),
        "--report",
        &report("jsonl", "a.jsonl"),
        "--report",
        &report("markdown", "a.md"),
        text(&capture),
    ]);
    assert!(!both.stdout.is_empty(), "--format asks for one on standard output besides");
    assert!(fs::read_to_string(at("a.html")).unwrap().starts_with("<!DOCTYPE html>"));
    assert!(fs::read_to_string(at("a.jsonl")).unwrap().lines().all(|line| line.starts_with('{')));
    assert!(fs::read_to_string(at("a.md")).unwrap().starts_with("## "));
    let twice = synscope(&[
        "analyze",
        "--report",
        &report("html", "b"),
        "--report",
        &report("json", "b"),
        text(&capture),
    ]);
    assert_eq!(twice.status.code(), Some(2));
    assert!(!at("b").exists(), "a file created in vain is removed");
    let over = synscope(&["analyze", "--report", &format!("json={}", text(&capture)), text(&capture)]);
    assert_eq!(over.status.code(), Some(2), "a capture is never overwritten");
}

#[test]
fn diff_says_by_its_exit_code_whether_it_got_worse() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Pcapng::acme().written(folder.path());
    let (bad, good) = (folder.path().join("bad.json"), folder.path().join("good.json"));
    done(&["analyze", "-f", "json", "-o", text(&bad), text(&capture)]);
    done(&["analyze", "-f", "json", "-o", text(&good), "--port", "9", text(&capture)]);
    let code = |args: &[&str]| synscope(args).status.code();
    assert_eq!(code(&["diff", text(&bad), text(&good)]), Some(0), "all gone");
    assert_eq!(code(&["diff", text(&bad), text(&bad)]), Some(0));
    assert_eq!(code(&["diff", text(&good), text(&bad)]), Some(1), "new");
    assert_eq!(code(&["diff", "--at-least", "critical", text(&good), text(&bad)]), Some(0));
    assert_eq!(code(&["diff", text(&capture), text(&bad)]), Some(2));
    let shown = done(&["diff", "-f", "markdown", text(&bad), text(&good)]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("| **gone** |"));
}

/// A page without its tags, its style sheet and what stands before its main part.
fn words_of(page: &str) -> String {
    let main = page.split_once("<main").expect("a main part").1;
    let mut text = String::new();
    for piece in main.split('<') {
        let (tag, inside) = piece.split_once('>').unwrap_or(("", piece));
        // A section ends what can be called near.
        text.push_str(if tag.starts_with("section") { "\u{c}" } else { " " });
        text.push_str(inside);
    }
    for (entity, sign) in [("&#39;", "'"), ("&quot;", "\""), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")] {
        text = text.replace(entity, sign);
    }
    text
}

/// Names in `text` that only a kernel engineer knows: settings, counters, functions.
fn kernel_names(text: &str) -> BTreeSet<&str> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let names = text.split(|c| !part(c)).map(|name| name.trim_matches('.'));
    let starts = [
        "net.ipv4.",
        "net.core.",
        "TcpExt",
        "tcp_v4_",
        "tcp_check",
        "tcp_rcv",
        "inet_csk_",
        "reqsk_",
        "tcp_send",
    ];
    names
        .filter(|name| starts.iter().any(|start| name.starts_with(start) && name.len() > start.len()))
        .collect()
}

/// Every kernel name is explained, once, in the section in which it first appears.
#[test]
fn kernel_names_are_explained_once_where_they_first_appear() {
    let mut explained = 0;
    let mut wrong = BTreeSet::new();
    for capture in recorded() {
        let report: Report = serde_json::from_value(analyzed(&capture)).unwrap();
        let mut page = Vec::new();
        html::write(&report, &mut page).unwrap();
        let mut ticket = Vec::new();
        let full = markdown::MarkdownOptions {
            length: markdown::Length::Full,
            ..markdown::MarkdownOptions::default()
        };
        markdown::write(&report, full, &mut ticket).unwrap();
        let page = words_of(&String::from_utf8(page).unwrap());
        let ticket = String::from_utf8(ticket).unwrap().replace("\n### ", "\n\u{c}### ").replace('\\', "");
        // The summary on top is explained below.
        let ticket = ticket.split_once("\u{c}").map_or("", |(_, rest)| rest).to_owned();
        for (format, text) in [("html", page), ("markdown", ticket)] {
            for name in kernel_names(&text) {
                let Some(meaning) = glossary::kernel(name) else {
                    wrong.insert(format!("{name} is not explained anywhere"));
                    continue;
                };
                let places: Vec<usize> = text.match_indices(meaning).map(|(at, _)| at).collect();
                let first = text.find(name).expect("it was found there");
                match places.as_slice() {
                    [at] if !text[first.min(*at)..first.max(*at)].contains('\u{c}') => explained += 1,
                    [_] => drop(wrong.insert(format!("{format}: {name} is explained in another section"))),
                    more => drop(wrong.insert(format!("{format}: {name} is explained {} times", more.len()))),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(explained > 500, "{explained}");
}

/// Packets of every link type come out as they went in: tshark reads each, and the findings are there again.
#[test]
fn extracts_hold_packets_of_every_link_type() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Pcapng::every_link_type().written(folder.path());
    let report = analyzed(&capture);
    let packets = folder.path().join("x.pcapng");
    done(&["extract", "-q", "--listener", "-o", text(&packets), text(&capture)]);
    assert_eq!(ids(&analyzed(&packets)), ids(&report));
    done(&["extract", "-q", "-o", text(&packets), text(&capture)]);
    let Some(rows) = tshark(&packets, "frame", &["frame.interface_name", "frame.comment"]) else { return };
    for (link, _) in acme::LINKS {
        let name = format!("link-{link}-of-acme");
        assert!(rows.iter().any(|row| row[0] == name && row[1].contains("f-")), "{name}: {rows:?}");
    }
}

/// Behind a NAT a connection has two names: reports, filters and the comments of extracts have both.
#[test]
fn both_sides_of_a_nat_are_found_by_their_own_names() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/time-wait-collision/nat-timestamps");
    let captures = ["client.pcap", "server.pcap"].map(|name| folder.join(name));
    let args = ["analyze", "-q", "--pair", text(&captures[0]), text(&captures[1]), "-f"];
    let report: Value = serde_json::from_slice(&done(&[&args[..], &["json"]].concat()).stdout).unwrap();
    let work = tempfile::tempdir().unwrap();
    let packets = work.path().join("x.pcapng");
    done(&["extract", "-q", "-o", text(&packets), text(&captures[0]), text(&captures[1])]);
    let Some(rows) = tshark(&packets, "frame", &["frame.comment"]) else { return };
    let comments: String = rows.into_iter().flatten().collect();
    let shown: Vec<String> = ["text", "html", "markdown"]
        .map(|format| String::from_utf8(done(&[&args[..], &[format]].concat()).stdout).unwrap())
        .into();
    let finding = &report["findings"][0];
    let (own, other) =
        (finding["client"].as_str().unwrap(), finding["also_known_as"]["client"].as_str().unwrap());
    assert_ne!(own, other);
    for text in shown.iter().chain([&comments]) {
        assert!(text.contains(own) && text.contains(other), "{own}, {other}: {text}");
    }
    for finding in report["findings"].as_array().unwrap() {
        let filters = &finding["display_filters"];
        let elsewhere = &filters["elsewhere"][0];
        assert_eq!(elsewhere["capture"].as_str(), Some(text(&captures[0])));
        let of = |capture: &str| {
            let all = filters["packets"].as_array().unwrap();
            all.iter().find(|filter| filter["capture"].as_str() == Some(capture)).unwrap()["filter"]
                .as_str()
                .unwrap()
        };
        // Every packet that the evidence names there is selected by the filter of the connection, too.
        for (capture, connection) in
            [(&captures[0], &elsewhere["filter"]), (&captures[1], &filters["connection"])]
        {
            let frames = of(text(capture));
            let both = format!("({frames}) && ({})", connection.as_str().unwrap());
            let count = |filter: &str| tshark(capture, filter, &["frame.number"]).unwrap().len();
            assert_eq!(count(&both), count(frames), "{}: {both}", capture.display());
            assert!(count(connection.as_str().unwrap()) < 20, "not the whole capture");
        }
    }
}
