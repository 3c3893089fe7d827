//! Packets made to do harm, through the program as a user runs it: each costs itself at most.

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
    let key = Key::new([7; Key::OCTETS]);
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
