//! Packets made to do harm, through the program as a user runs it: each costs itself at most.

#[path = "support/decoded.rs"]
mod decoded;
#[cfg(all(target_os = "linux", feature = "live"))]
#[path = "support/netns.rs"]
mod netns;
#[path = "support/redaction.rs"]
mod redaction;
#[path = "support/stacks.rs"]
mod stacks;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use decoded::decoded;
use redaction::rewritten;
use serde_json::Value;
use stacks::{Choices, Frame, frame};
use synscope::decode::Decoded;
use synscope::redact::{PseudonymKey, Pseudonyms, Rewriter};

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
            assert!(warnings.contains("inconsistent"), "{name} {args:?}: {warnings}");
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

/// A packet of `testdata/malformed/fuzzed.txt`: its name, its decoded form, its bytes.
struct Fuzzed {
    name: String,
    found: String,
    frame: Frame,
}

/// The table of those packets.
fn table() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/malformed/fuzzed.txt")
}

/// Packets that fuzzing has come upon: together they reach what millions of others did.
fn fuzzed() -> Vec<Fuzzed> {
    let text = fs::read_to_string(table()).expect("the table is there");
    let packets = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let [name, link, original_length, found, digits] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("five words: {line}")
        };
        let bytes = digits.as_bytes().chunks_exact(2).map(|pair| {
            let pair = std::str::from_utf8(pair).expect("digits");
            u8::from_str_radix(pair, 16).expect("hexadecimal digits")
        });
        let frame = Frame {
            link: link.parse().expect("a link type"),
            bytes: bytes.collect(),
            original_length: original_length.parse().expect("a length"),
            intact: false,
        };
        Fuzzed { name: name.to_owned(), found: found.to_owned(), frame }
    });
    let packets: Vec<Fuzzed> = packets.collect();
    assert!(packets.len() > 100, "{}", packets.len());
    packets
}

/// After an intended change, `SYNSCOPE_UPDATE=1` renews their decoded forms.
#[test]
fn packets_that_fuzzing_found_are_read_as_before() {
    let mut rewriter = Rewriter::redacting(Pseudonyms::new(&PseudonymKey::new([7; PseudonymKey::BYTES])));
    let mut written = String::from(
        "# Packets found by fuzzing: name, link type, length on the wire, decoded form, bytes.\n",
    );
    for Fuzzed { name, found, frame } in fuzzed() {
        let (found_now, _) = decoded(&frame);
        let digits: String = frame.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        written += &format!("{name} {} {} {found_now:?} {digits}\n", frame.link, frame.original_length);
        if std::env::var_os("SYNSCOPE_UPDATE").is_none() {
            assert_eq!(format!("{found_now:?}"), found, "{name}");
        }
        rewritten(&mut rewriter, &frame, name);
    }
    if std::env::var_os("SYNSCOPE_UPDATE").is_some() {
        fs::write(table(), written).expect("the table can be written");
    }
}

#[test]
fn captures_of_packets_that_fuzzing_found_make_reports() {
    let folder = tempfile::tempdir().expect("a place for temporary files");
    let mut by_link: std::collections::BTreeMap<u16, Vec<Fuzzed>> = Default::default();
    for packet in fuzzed() {
        by_link.entry(packet.frame.link).or_default().push(packet);
    }
    for (link, packets) in by_link {
        let capture = folder.path().join(format!("{link}.pcap"));
        let mut file = [&0xa1b2_c3d4_u32.to_le_bytes()[..], &[2, 0, 4, 0], &[0; 8], &[0, 0, 4, 0]].concat();
        file.extend(u32::from(link).to_le_bytes());
        for (n, Fuzzed { frame, .. }) in packets.iter().enumerate() {
            file.extend((n as u32).to_le_bytes());
            file.extend([0; 4]);
            file.extend((frame.bytes.len() as u32).to_le_bytes());
            file.extend(frame.original_length.to_le_bytes());
            file.extend(&frame.bytes);
        }
        fs::write(&capture, file).expect("the capture can be written");
        let malformed = packets.iter().filter(|packet| packet.found == "Malformed").count();
        for args in [&[][..], &["--redact"]] {
            let report = report(&capture, args);
            assert_eq!(report["summary"]["packets"], packets.len(), "{link} {args:?}");
            if args.is_empty() {
                assert_eq!(report["quality"]["malformed"], malformed, "{link}");
            }
            let extracted = folder.path().join("x.pcapng");
            let output =
                synscope(&[&["extract", "-q", "-o", text(&extracted)], args, &[text(&capture)]].concat());
            assert_eq!(output.status.code(), Some(0), "{link}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// How many packets a test builds: more with SYNSCOPE_STACKS.
fn stacks_to_build() -> u64 {
    std::env::var("SYNSCOPE_STACKS").map_or(100_000, |n| n.parse().expect("SYNSCOPE_STACKS is a number"))
}

/// Numbers that look random and are the same in every run (xorshift, G. Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A packet built of random choices.
    fn frame(&mut self) -> Frame {
        let bytes: Vec<u8> = (0..16).flat_map(|_| self.next().to_le_bytes()).collect();
        frame(&mut Choices::new(&bytes))
    }
}

#[test]
fn stacks_that_are_not_broken_hold_their_segment() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut intact = 0;
    for n in 0..stacks_to_build() {
        let frame = numbers.frame();
        if frame.intact {
            intact += 1;
            let (found, _) = decoded(&frame);
            assert!(matches!(found, Decoded::Tcp | Decoded::Icmp), "{n}: {found:?} {frame:02x?}");
        }
    }
    assert!(intact > 2_000, "{intact}");
}

/// Neither ends the program, and redaction does not mend a malformed packet.
#[test]
fn stacks_with_a_broken_field_are_survived_and_redaction_makes_no_segments_of_them() {
    let key = PseudonymKey::new([7; PseudonymKey::BYTES]);
    let mut rewriter = Rewriter::redacting(Pseudonyms::new(&key));
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let mut counts = [0; 3];
    for n in 0..stacks_to_build() {
        let frame = numbers.frame();
        match rewritten(&mut rewriter, &frame, n) {
            Decoded::Tcp => counts[0] += 1,
            Decoded::Icmp => counts[1] += 1,
            Decoded::Malformed => counts[2] += 1,
            _ => {}
        }
    }
    assert!(counts.iter().all(|n| *n > 500), "{counts:?}");
}

#[test]
#[cfg(all(target_os = "linux", feature = "live"))]
#[ignore = "a part that other tests let a copy of this program play"]
fn part() {
    let Ok(role) = std::env::var("SYNSCOPE_TEST_ROLE") else { return };
    let ["send", device, file] = role.split(' ').collect::<Vec<_>>()[..] else {
        panic!("no such role: {role}")
    };
    // Loads the library that sends.
    synscope::capture::live::interfaces().expect("libpcap");
    let opened = pcap::Capture::from_device(device).and_then(pcap::Capture::open);
    let mut capture = opened.expect("the interface can be opened");
    let bytes = fs::read(file).expect("the packets are there");
    let mut rest = &bytes[..];
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (packet, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
        // What the interface does not take is not sent.
        let _ = capture.sendpacket(packet);
        rest = after;
    }
    println!("ready");
}

/// `live` on an interface of a namespace that is full of such packets.
#[cfg(all(target_os = "linux", feature = "live"))]
mod live {
    use std::io::{BufRead, BufReader, Read};
    use std::thread;

    use super::netns::{Net, run};
    use super::*;

    /// Packets that are sent besides those of `testdata/malformed`.
    const PACKETS: usize = 20_000;

    fn can_be_sent(frame: &Frame) -> bool {
        frame.link == 1 && (14..=1_514).contains(&frame.bytes.len())
    }

    /// Ethernet frames that an interface can send: length and bytes of each.
    fn frames() -> (usize, Vec<u8>) {
        let named = malformed().into_iter().map(|path| fs::read(path).expect("a capture")[40..].to_vec());
        let fuzzed = fuzzed().into_iter().map(|packet| packet.frame);
        let fuzzed = fuzzed.filter(can_be_sent).map(|frame| frame.bytes);
        let mut numbers = Numbers(0x6a09_e667_f3bc_c908);
        let built = std::iter::repeat_with(move || numbers.frame())
            .filter(can_be_sent)
            .map(|frame| frame.bytes)
            .take(PACKETS);
        let (mut n, mut all) = (0, Vec::new());
        for frame in named.chain(fuzzed).chain(built) {
            n += 1;
            all.extend((frame.len() as u16).to_be_bytes());
            all.extend(frame);
        }
        (n, all)
    }

    #[test]
    #[cfg_attr(no_namespaces, ignore = "needs root, ip and unshare")]
    fn live_survives_an_interface_full_of_hostile_packets() {
        let mut net = Net::build("hostile");
        let (sent, packets) = frames();
        let (file, report) = (net.path("packets"), net.path("report.json"));
        fs::write(&file, packets).expect("a writable folder");
        let wanted = format!("json={}", text(&report));
        let mut child = Command::new(env!("CARGO_BIN_EXE_synscope"))
            .args(["live", "--netns", &net.server, "-i", "veth0", "-B", "64MiB", "--format", "jsonl"])
            .args(["--report", &wanted])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut said = BufReader::new(child.stderr.take().expect("it is piped"));
        // The first line says what it can ask the kernel.
        let mut begun = String::new();
        while !begun.contains("watching veth0") {
            assert!(said.read_line(&mut begun).expect("text") > 0, "{begun}");
        }
        let said = thread::spawn(move || {
            let mut rest = String::new();
            said.read_to_string(&mut rest).map(|_| rest)
        });
        let client = net.client.clone();
        net.play(&client, &format!("send veth1 {}", text(&file)), "ready");
        run("kill", &["-INT", &child.id().to_string()]).expect("it is still there");
        let status = child.wait().expect("it ended");
        let said = said.join().expect("no panic").expect("text");
        assert_eq!(status.code(), Some(0), "{status}: {said}");
        let report = fs::read_to_string(&report).expect("the report is there");
        let report: Value = serde_json::from_str(&report).expect("JSON");
        let seen = report["summary"]["packets"].as_u64().expect("a number");
        assert!(seen >= sent as u64 / 2, "{seen} packets seen of {sent}");
        assert!(report["quality"]["malformed"].as_u64() > Some(100), "{}", report["quality"]);
    }

    /// The kernel allows for anything but blanks, slashes and colons in the name of an interface.
    #[test]
    #[cfg_attr(no_namespaces, ignore = "needs root, ip and unshare")]
    fn the_name_of_an_interface_steers_no_terminal() {
        let net = Net::build("names");
        let name = "a\x1b[31m\"\\}";
        run("ip", &["-n", &net.server, "link", "add", "name", name, "type", "veth", "peer", "name", "b0"])
            .expect("the interface can be made");
        run("ip", &["-n", &net.server, "link", "set", name, "up"]).expect("it can be taken up");
        let printed = |args: &[&str]| {
            let output = synscope(&[&["live", "--netns", &net.server], args].concat());
            let printed = [output.stdout, output.stderr].concat();
            assert!(!printed.contains(&0x1b), "{args:?}: {}", String::from_utf8_lossy(&printed));
            String::from_utf8(printed).expect("UTF-8")
        };
        let written = "a\\x1b[31m";
        assert!(printed(&["--list-interfaces"]).contains(written));
        assert!(printed(&["-i", "a\x1b[32m"]).contains(written), "the interfaces that there are");
        for format in ["text", "json", "jsonl", "markdown", "html"] {
            printed(&["-i", name, "--duration", "1s", "--format", format]);
        }
    }
}
