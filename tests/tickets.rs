//! What goes into a ticket: several reports at once, extracts that Wireshark reads, redaction that leaves nothing,
//! comparisons. Runs the program as a user does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const PAYLOAD: &[u8] = b"TOPSECRET-PAYLOAD";
const CLIENT: [u8; 4] = [203, 0, 113, 77];
const SERVER: [u8; 4] = [198, 51, 100, 99];
const CLIENT6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0xca, 0xfe, 0, 1, 0, 0, 0, 0, 0, 0, 0xbe, 0xef];
const SERVER6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0xca, 0xfe, 0, 2, 0, 0, 0, 0, 0, 0, 0xd0, 0x0d];
const MACS: [[u8; 6]; 2] = [[0x52, 0x54, 0, 0xaa, 0xbb, 0x01], [0x52, 0x54, 0, 0xaa, 0xbb, 0x02]];
/// Words that stand in the names, comments, blocks and path of the capture.
const NAMES: [&str; 6] =
    ["acme-customer", "uplink-of-acme", "db7.acme.example", "CLIENT_RANDOM", "comment-by-acme", "acme-host"];

fn synscope(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synscope"));
    command.args(args).stdin(Stdio::null()).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    command.output().expect("the program starts")
}

fn done(args: &[&str]) -> Output {
    let output = synscope(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a report was written")).expect("it is JSON")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// A pcapng with everything that must not leave it: names, comments, secrets, payload, MAC addresses.
struct Pcapng(Vec<u8>);

impl Pcapng {
    fn block(&mut self, kind: u32, mut body: Vec<u8>) {
        body.resize(body.len().next_multiple_of(4), 0);
        let length = (body.len() as u32 + 12).to_le_bytes();
        self.0.extend(kind.to_le_bytes());
        self.0.extend(length);
        self.0.extend(body);
        self.0.extend(length);
    }

    fn option(body: &mut Vec<u8>, code: u16, value: &str) {
        body.extend(code.to_le_bytes());
        body.extend((value.len() as u16).to_le_bytes());
        body.extend(value.as_bytes());
        body.resize(body.len().next_multiple_of(4), 0);
    }

    fn new() -> Pcapng {
        let mut file = Pcapng(Vec::new());
        let mut section = Vec::new();
        section.extend(0x1a2b_3c4d_u32.to_le_bytes());
        section.extend([1, 0, 0, 0]);
        section.extend([0xff; 8]);
        Self::option(&mut section, 1, "comment-by-acme");
        Self::option(&mut section, 2, "acme-host");
        section.extend([0; 4]);
        file.block(0x0a0d_0d0a, section);
        let mut interface = vec![1, 0, 0, 0, 0, 0, 0, 0];
        Self::option(&mut interface, 2, "uplink-of-acme<script>");
        interface.extend([0; 4]);
        file.block(1, interface);
        // Name resolution: 203.0.113.77 is db7.acme.example.
        let mut names = vec![1, 0, 21, 0];
        names.extend(CLIENT);
        names.extend(b"db7.acme.example\0");
        names.resize(names.len().next_multiple_of(4), 0);
        names.extend([0; 4]);
        file.block(4, names);
        // Decryption secrets: a TLS key log.
        let secret = b"CLIENT_RANDOM 00 11";
        let mut secrets = b"KSLT".to_vec();
        secrets.extend((secret.len() as u32).to_le_bytes());
        secrets.extend(secret);
        file.block(10, secrets);
        file
    }

    fn packet(mut self, ms: u64, data: &[u8]) -> Pcapng {
        let time = 1_795_356_187_000_000 + ms * 1000;
        let mut body = vec![0; 4];
        body.extend(((time >> 32) as u32).to_le_bytes());
        body.extend((time as u32).to_le_bytes());
        body.extend((data.len() as u32).to_le_bytes());
        body.extend((data.len() as u32).to_le_bytes());
        body.extend(data);
        body.resize(body.len().next_multiple_of(4), 0);
        Self::option(&mut body, 1, "comment-by-acme");
        body.extend([0; 4]);
        self.block(6, body);
        self
    }

    /// Two refused connections with data in the SYN, an ICMP error that quotes one, ARP and UDP around them.
    fn acme() -> Pcapng {
        let syn = |port: u16, seq| {
            etherparse::PacketBuilder::ethernet2(MACS[0], MACS[1])
                .ipv4(CLIENT, SERVER, 64)
                .tcp(port, 80, seq, 65_000)
                .syn()
        };
        let reset = |port: u16, seq| {
            etherparse::PacketBuilder::ethernet2(MACS[1], MACS[0])
                .ipv4(SERVER, CLIENT, 64)
                .tcp(80, port, 0, 0)
                .rst()
                .ack(seq)
        };
        let syn6 = etherparse::PacketBuilder::ethernet2(MACS[0], MACS[1])
            .ipv6(CLIENT6, SERVER6, 64)
            .tcp(41_000, 81, 500, 65_000)
            .syn();
        let reset6 = etherparse::PacketBuilder::ethernet2(MACS[1], MACS[0])
            .ipv6(SERVER6, CLIENT6, 64)
            .tcp(81, 41_000, 0, 0)
            .rst()
            .ack(518);
        let udp = etherparse::PacketBuilder::ethernet2(MACS[0], MACS[1]).ipv4(CLIENT, SERVER, 64).udp(53, 53);
        let mut arp = [MACS[1], MACS[0]].concat();
        arp.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        arp.extend(MACS[0]);
        arp.extend(CLIENT);
        arp.extend([0; 6]);
        arp.extend(SERVER);
        let built =
            |builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>, payload: &[u8]| -> Vec<u8> {
                let mut out = Vec::new();
                builder.write(&mut out, payload).expect("a packet in memory");
                out
            };
        let datagram = |payload: &[u8]| {
            let mut out = Vec::new();
            udp.write(&mut out, payload).expect("a packet in memory");
            out
        };
        let first = built(syn(40_001, 100), PAYLOAD);
        let quoting = {
            let mut quote = first[14..].to_vec();
            quote.truncate(20 + 20 + PAYLOAD.len());
            let mut out = Vec::new();
            etherparse::PacketBuilder::ethernet2(MACS[1], MACS[0])
                .ipv4(SERVER, CLIENT, 64)
                .icmpv4_raw(3, 3, [0; 4])
                .write(&mut out, &quote)
                .expect("a packet in memory");
            out
        };
        Pcapng::new()
            .packet(0, &first)
            .packet(1, &built(reset(40_001, 118), b""))
            .packet(2, &arp)
            .packet(3, &datagram(PAYLOAD))
            .packet(10, &built(syn(40_002, 900), PAYLOAD))
            .packet(11, &quoting)
            .packet(12, &built(reset(40_002, 918), b""))
            .packet(20, &built(syn6, PAYLOAD))
            .packet(21, &built(reset6, b""))
    }

    fn written(&self, folder: &Path) -> PathBuf {
        let path = folder.join("acme-customer.pcapng");
        fs::write(&path, &self.0).expect("the temporary folder can be written");
        path
    }
}

/// What of the original is left in `octets`.
fn left_of_it(octets: &[u8]) -> Vec<String> {
    let holds = |needle: &[u8]| octets.windows(needle.len()).any(|window| window == needle);
    let shown = String::from_utf8_lossy(octets);
    let mut left: Vec<String> =
        NAMES.iter().filter(|name| shown.contains(**name)).map(|n| (*n).to_owned()).collect();
    for (what, needle) in [
        ("payload", PAYLOAD),
        ("client", &CLIENT[..]),
        ("server", &SERVER[..]),
        ("client, IPv6", &CLIENT6[..]),
        ("server, IPv6", &SERVER6[..]),
        ("MAC address", &MACS[0][..]),
        ("MAC address", &MACS[1][..]),
    ] {
        if holds(needle) {
            left.push(what.to_owned());
        }
    }
    for address in ["203.0.113.77", "198.51.100.99", "2001:db8:cafe:1::beef", "2001:db8:cafe:2::d00d"] {
        if shown.contains(address) {
            left.push(address.to_owned());
        }
    }
    left
}

#[test]
fn redaction_leaves_nothing_in_any_output() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Pcapng::acme().written(folder.path());
    assert!(left_of_it(&fs::read(&capture).unwrap()).len() >= 12, "the capture holds what must not leave");
    let key = folder.path().join("key");
    for format in ["text", "json", "jsonl", "markdown", "html", "pcapng"] {
        let output = done(&[
            "analyze",
            "--redact",
            "--redact-key-file",
            text(&key),
            "-f",
            format,
            "--full",
            text(&capture),
        ]);
        assert!(!output.stdout.is_empty(), "{format}");
        assert_eq!(left_of_it(&output.stdout), Vec::<String>::new(), "{format}");
        assert_eq!(left_of_it(&output.stderr), Vec::<String>::new(), "{format}");
        let digits = fs::read_to_string(&key).unwrap();
        assert!(!String::from_utf8_lossy(&output.stdout).contains(digits.trim()), "{format}: the key");
    }
    for extent in [&["--whole"][..], &["--listener"], &[]] {
        let args = [&["extract", "--redact", "-o", "-", text(&capture)], extent].concat();
        assert_eq!(left_of_it(&done(&args).stdout), Vec::<String>::new(), "{extent:?}");
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
    assert!(!String::from_utf8_lossy(&refused.stderr).contains("guess"), "what is in the file is not shown");
    assert_eq!(
        synscope(&["analyze", "--redact-key-file", text(&key), text(&capture)]).status.code(),
        Some(2)
    );
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
    assert_eq!(count(&["--kind", "syn-flood"]), 0);
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

/// The extracts of recorded captures lead to the same findings, plain and redacted.
#[test]
fn recorded_captures_give_the_same_findings_again() {
    let Ok(folder) = std::env::var("SYNSCOPE_CAPTURES") else { return };
    let work = tempfile::tempdir().unwrap();
    let packets = work.path().join("x.pcapng");
    let report = |path: &Path| -> Value {
        serde_json::from_slice(&done(&["analyze", "-q", "-f", "json", text(path)]).stdout).unwrap()
    };
    for name in [
        "accept-overflow-silent.mixed-recover-slow.server.pcap",
        "listener-closed-with-queue.overflowed.server.pcap",
        "syn-queue-full-drop.backlog.server.pcap",
        "tw-recycle-emulated.nat.server.pcap",
    ] {
        let capture = Path::new(&folder).join(name);
        done(&["extract", "-q", "--listener", "-o", text(&packets), text(&capture)]);
        assert_eq!(ids(&report(&packets)), ids(&report(&capture)), "{name}");
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
    assert!(!at("b").exists(), "what was created for nothing is removed");
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
