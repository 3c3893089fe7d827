//! Packets made to do harm, through the program as a user runs it: each costs itself at most.

#[cfg(all(target_os = "linux", feature = "live"))]
#[path = "support/netns.rs"]
mod netns;
#[path = "support/stacks.rs"]
mod stacks;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use stacks::{Choices, Frame, frame};
use synscope::capture::{LinkType, Packet};
use synscope::decode::segment::PacketId;
use synscope::decode::{Decoded, Segment, decode};
use synscope::redact::{Key, Pseudonyms, Rewriter};
use synscope::time::Timestamp;

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

/// So many packets are built in a test: more with SYNSCOPE_STACKS.
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

fn decoded(link: u16, data: &[u8], original_length: u32) -> (Decoded, Segment) {
    let packet = Packet {
        id: PacketId::new(0, 1),
        time: Timestamp(1),
        timed: true,
        interface: 0,
        link: LinkType(link),
        original_length,
        data,
    };
    let mut segment = Segment::default();
    (decode(&packet, &mut segment), segment)
}

#[test]
fn stacks_that_are_not_broken_hold_their_segment() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut intact = 0;
    for n in 0..stacks_to_build() {
        let frame = numbers.frame();
        if frame.intact {
            intact += 1;
            let (found, _) = decoded(frame.link, &frame.bytes, frame.original_length);
            assert!(matches!(found, Decoded::Tcp | Decoded::Icmp), "{n}: {found:?} {frame:02x?}");
        }
    }
    assert!(intact > 2_000, "{intact}");
}

/// Neither ends the program, and what is malformed is not mended by redaction.
#[test]
fn stacks_with_a_broken_field_are_survived_and_redaction_makes_no_segments_of_them() {
    let key = Key::new([7; Key::BYTES]);
    let mut rewriter = Rewriter::redacting(Pseudonyms::new(&key));
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let mut counts = [0; 3];
    for n in 0..stacks_to_build() {
        let frame = numbers.frame();
        let (before, segment) = decoded(frame.link, &frame.bytes, frame.original_length);
        let mut bytes = frame.bytes.clone();
        let original_length = frame.original_length.max(bytes.len() as u32);
        let kept = rewriter.rewrite(LinkType(frame.link), &mut bytes, frame.original_length);
        let (after, redacted) = decoded(frame.link, &bytes[..kept], original_length);
        match (before, after) {
            (Decoded::Tcp, Decoded::Tcp) => {
                let known = |s: &Segment| (s.src_port, s.dst_port, s.seq, s.ack, s.flags, s.payload);
                assert_eq!(known(&segment), known(&redacted), "{n}: {frame:02x?}");
                counts[0] += 1;
            }
            (Decoded::Icmp, Decoded::Icmp) => counts[1] += 1,
            (_, Decoded::Tcp | Decoded::Icmp) => {
                panic!("{n}: {before:?} became {after:?}: {frame:02x?} became {:02x?}", &bytes[..kept])
            }
            (Decoded::Malformed, _) => counts[2] += 1,
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

    /// Ethernet frames that an interface can send: length and bytes of each.
    fn frames() -> (usize, Vec<u8>) {
        let named = malformed().into_iter().map(|path| fs::read(path).expect("a capture")[40..].to_vec());
        let mut numbers = Numbers(0x6a09_e667_f3bc_c908);
        let built = std::iter::repeat_with(move || numbers.frame())
            .filter(|frame| frame.link == 1 && (14..=1_514).contains(&frame.bytes.len()))
            .map(|frame| frame.bytes)
            .take(PACKETS);
        let (mut n, mut all) = (0, Vec::new());
        for frame in named.chain(built) {
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
        let mut first = String::new();
        said.read_line(&mut first).expect("text");
        assert!(first.contains("watching veth0"), "{first}");
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
}
