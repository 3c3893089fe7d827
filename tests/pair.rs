//! Two captures of the same traffic: what the pairs of recordings must say, and what must not change it.
//!
//! Every case of `testdata/` with a capture at the client and one at the server is a pair. So are the larger sets of
//! recordings named by `SYNSCOPE_CAPTURES` and `SYNSCOPE_CAPTURES_OLD`.

mod support;

use std::path::{Path, PathBuf};

use support::altered::{self, Frame, Scratch};
use support::pairs::{self, Both};
use support::truth::{PAIR, Worth, score};
use support::{Case, claim, claims, json, options};
use synscope::engine::{AnalysisOptions, Error};
use synscope::model::{Certainty, Kind, Report};
use synscope::pair::{self, Pairing};
use synscope::report::jsonl;

/// Recordings without a handshake in both captures: nothing shows that they belong together.
const WITHOUT_HANDSHAKES: [&str; 4] = [
    "mid-flow.mid",
    "accept-overflow-silent.late-talk",
    "accept-overflow-silent.late-silent",
    "fin-unacknowledged.late",
];

fn with(captures: &[PathBuf], pairing: Pairing, options: &AnalysisOptions) -> Result<Report, Error> {
    pair::analyze_files(captures, pairing, options, &mut |_| ()).map(|outcome| outcome.report)
}

fn report(captures: &[PathBuf]) -> Report {
    with(captures, Pairing::Auto, &options()).unwrap_or_else(|error| panic!("{captures:?}: {error}"))
}

fn cases() -> Vec<Both> {
    pairs::recorded(&support::testdata())
}

/// One named case of `testdata/`.
fn case(name: &str) -> Both {
    let case = Case::named(name);
    Both::of(&case.folder, case.truth).expect("a case with both sides")
}

/// What the recordings call the segment that was lost.
fn word_of_loss(lost: &str) -> &'static str {
    match lost {
        "SYN" => "net-loss-syn",
        "SYN-ACK" => "net-loss-synack",
        "final ACK" => "net-loss-final-ack",
        _ => "",
    }
}

/// Compares each pair below `folder` with its truth file: nothing missed, nothing wrong, no loss blamed on a queue or
/// the reverse, and nothing wrong confirmed.
fn measure(folder: &Path) {
    let (mut wrong, mut pairs) = (Vec::new(), 0);
    for both in pairs::recorded(folder) {
        let name = &both.truth.name;
        let report = report(&both.captures());
        if WITHOUT_HANDSHAKES.contains(&name.as_str()) {
            assert!(report.pairs.is_empty(), "{name}");
            continue;
        }
        pairs += 1;
        let Some(pair) = report.pairs.first() else {
            wrong.push(format!("{name}: not recognised as a pair"));
            continue;
        };
        if pair.client_side != [both.client.display().to_string()] {
            wrong.push(format!("{name}: taken for the client's side: {:?}", pair.client_side));
        }
        let score = score(&both.truth, PAIR, &report.findings);
        wrong.extend(score.missed.iter().map(|(word, place)| format!("{name}: {word} of {place} is missed")));
        for (finding, worth) in score.findings {
            let line = format!("{name}: {} ({}): {worth:?}", claim(finding), finding.certainty);
            let confirmed = finding.certainty == Certainty::Confirmed;
            if worth == Worth::False || confirmed && worth == Worth::Indistinguishable {
                wrong.push(line);
                continue;
            }
            if finding.kind == Kind::HandshakeLoss {
                let lost = finding.metrics["lost"].as_str().unwrap_or_default();
                if !both.truth.labels(PAIR).contains(word_of_loss(lost)) {
                    wrong.push(format!("{line}, but the lost packet is not the {lost}"));
                }
            }
            // Which of the two it is the pair always tells, where both were listening.
            let server = report.captures.iter().find(|c| Some(&c.path) == pair.server_side.first());
            if server.and_then(|c| c.first).is_some_and(|first| finding.first < first) {
                continue;
            }
            let open = finding.alternatives.iter().any(|or| or.suspect.text().contains("lost on the way"));
            if open && finding.client.is_some() && pair.round_trip_s.is_some_and(|trip| trip > 0.01) {
                wrong.push(format!("{line}, and loss on the way is left open"));
            }
        }
        // Each connection once, not once for each side.
        let alone = both.captures().map(|capture| claims(&support::analyze(&capture).report));
        let all = claims(&report);
        for claim in &all {
            let count = |list: &[String]| list.iter().filter(|other| *other == claim).count();
            let most = count(&alone[0]).max(count(&alone[1])).max(1);
            if count(&all) > most {
                wrong.push(format!("{name}: {claim} is said {} times", count(&all)));
            }
        }
    }
    assert!(pairs > 20, "{}: only {pairs} pairs", folder.display());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pairs_of_recorded_cases_say_what_happened() {
    measure(&support::testdata());
}

#[test]
#[ignore = "needs recordings: SYNSCOPE_CAPTURES=FOLDER cargo test recordings -- --ignored"]
fn pairs_of_recordings_of_current_kernels_say_what_happened() {
    measure(&support::outside("SYNSCOPE_CAPTURES", "captures"));
}

#[test]
#[ignore = "needs recordings: SYNSCOPE_CAPTURES_OLD=FOLDER cargo test recordings -- --ignored"]
fn pairs_of_recordings_of_old_kernels_say_what_happened() {
    measure(&support::outside("SYNSCOPE_CAPTURES_OLD", "captures-oldkernel"));
}

#[test]
fn what_was_lost_is_confirmed_and_names_both_captures() {
    for (name, lost, missing_in) in [
        ("handshake-loss/syn-lost", "SYN", "server.pcap"),
        ("handshake-loss/syn-ack-lost", "SYN-ACK", "client.pcap"),
        ("handshake-loss/final-ack-lost", "final ACK", "server.pcap"),
    ] {
        let report = report(&case(name).captures());
        let found: Vec<_> = report.findings.iter().filter(|f| f.kind == Kind::HandshakeLoss).collect();
        // SYNs from before the first packet of the server's capture: nothing shows that it was listening.
        let unknown = |f: &&synscope::model::Finding| {
            f.kind == Kind::SynUnanswered && f.certainty == Certainty::Possible && name.ends_with("syn-lost")
        };
        let others = report.findings.iter().filter(unknown).count();
        assert!(!found.is_empty() && found.len() + others == report.findings.len(), "{:?}", claims(&report));
        assert!(found.iter().any(|f| f.certainty == Certainty::Confirmed), "{name}");
        for finding in found {
            assert_eq!(finding.metrics["lost"], lost, "{name}");
            let missing = finding.evidence.iter().filter_map(|e| e.missing_in.as_deref());
            assert!(
                missing.clone().count() > 0 && missing.into_iter().all(|m| m.ends_with(missing_in)),
                "{name}"
            );
            assert!(finding.evidence.iter().any(|e| e.also.is_some()), "{name}: no packet is in both");
        }
    }
}

#[test]
fn a_full_queue_is_not_a_loss_and_not_confirmed_by_the_wire() {
    // SYNs that are answered meanwhile speak for the firewall.
    for (name, certainty) in [
        ("accept-queue-overflow/data-then-served", Certainty::Probable),
        ("accept-queue-overflow/firewall-drops-final-ack", Certainty::Possible),
    ] {
        let report = report(&case(name).captures());
        let stuck = report.findings.iter().filter(|f| f.kind == Kind::AcceptQueueOverflow);
        assert!(stuck.clone().count() > 1, "{name}");
        for finding in stuck {
            assert_eq!(finding.certainty, certainty, "{name}");
            assert!(finding.excluded.iter().any(|e| e.suspect.text().contains("lost on the way")), "{name}");
            let named = finding.alternatives.iter().map(|or| or.suspect.text());
            let mut named = named.chain([finding.cause.text.as_ref()]);
            assert!(named.any(|text| text.contains("firewall")), "{name}");
        }
    }
}

#[test]
fn every_form_of_the_report_tells_of_the_pair() {
    let report = report(&case("handshake-loss/syn-ack-lost").captures());
    let schema = synscope::report::schema::schema().to_value();
    let document = serde_json::from_str(&json(&report)).expect("the report is JSON");
    assert!(jsonschema::is_valid(&schema, &document), "{document:#}");
    for form in support::forms(&report) {
        for due in ["Two captures of the same traffic: 6 TCP connections in both", "not in", "server.pcap #"]
        {
            assert!(form.contains(due), "{due} is not in {form}");
        }
    }
    let mut lines = Vec::new();
    jsonl::write(&report, &mut lines).expect("memory takes it");
    for line in String::from_utf8(lines).expect("UTF-8").lines() {
        assert!(line.contains("\"missing_in\""), "{line}");
    }
}

/// The findings with their claims, certainty and evidence, without times.
fn judgements(report: &Report) -> Vec<String> {
    let mut all: Vec<String> = report
        .findings
        .iter()
        .map(|f| {
            let packets: Vec<String> = f
                .evidence
                .iter()
                .map(|e| {
                    let also = e.also.as_ref().map(|a| a.packet);
                    let name = Path::new(&*e.capture).file_name().map(|n| n.to_string_lossy().into_owned());
                    format!("{name:?}#{}={also:?}{}", e.packet, if e.missing_in.is_some() { "!" } else { "" })
                })
                .collect();
            format!("{} {} {} {:?} {packets:?}", claim(f), f.certainty, f.severity, f.alternatives)
        })
        .collect();
    all.sort();
    all
}

#[test]
fn the_order_of_the_captures_does_not_matter() {
    for both in cases() {
        let [client, server] = both.captures();
        let (one, other) = (report(&[client.clone(), server.clone()]), report(&[server, client]));
        assert_eq!(judgements(&one), judgements(&other), "{}", both.truth.name);
        assert_eq!(one.pairs, other.pairs, "{}", both.truth.name);
    }
}

fn later(frames: &[Frame], by: i64) -> Vec<Frame> {
    frames.iter().map(|f| Frame { time: f.time + by, ..f.clone() }).collect()
}

#[test]
fn setting_a_clock_changes_nothing_but_times() {
    let scratch = Scratch::new();
    for both in cases() {
        let (client, server) = (altered::read(&both.client), altered::read(&both.server));
        if client.is_empty() || server.is_empty() {
            continue;
        }
        let plain = [scratch.pcap("client.pcap", &client), scratch.pcap("server.pcap", &server)];
        let expected = report(&plain);
        if WITHOUT_HANDSHAKES.contains(&both.truth.name.as_str()) {
            continue;
        }
        // Hours ahead, hours behind, less than a round trip.
        for by in [5 * 3_600_000_000_000, -7_201_234_567_891, 3_000_000] {
            let set = [scratch.pcap("client.pcap", &later(&client, by)), plain[1].clone()];
            let found = report(&set);
            let name = format!("{} by {by}", both.truth.name);
            assert_eq!(judgements(&found), judgements(&expected), "{name}");
            for (a, b) in found.pairs.iter().zip(&expected.pairs) {
                assert!((a.offset_s - b.offset_s - by as f64 / 1e9).abs() < 1e-5, "{name}: {a:?} {b:?}");
                assert_eq!(a.connections_matched, b.connections_matched, "{name}");
            }
            assert_eq!(found.pairs.len(), expected.pairs.len(), "{name}");
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    for both in cases() {
        let with_threads = |threads| {
            let options = AnalysisOptions { threads, ..options() };
            json(&with(&both.captures(), Pairing::Auto, &options).expect("captures that can be read"))
        };
        assert_eq!(with_threads(1), with_threads(3), "{}", both.truth.name);
    }
}

#[test]
fn behind_a_nat_both_names_are_given() {
    let both = case("time-wait-collision/nat-timestamps");
    let report = report(&both.captures());
    let pair = &report.pairs[0];
    assert!(pair.translated > 0 && pair.translated == pair.connections_matched, "{pair:?}");
    for finding in report.findings.iter().filter(|f| f.client.is_some()) {
        let names = finding.also_known_as.as_ref().unwrap_or_else(|| panic!("{finding:?}"));
        assert_ne!(Some(names.client), finding.client);
        assert_eq!(Some(names.server), finding.server);
    }
}

/// The report must be that of one stream.
fn is_one_stream(captures: &[PathBuf]) {
    let found = report(captures);
    assert!(found.pairs.is_empty(), "{captures:?}");
    assert_eq!(json(&found), json(&support::analyze_all(captures, &options()).report), "{captures:?}");
}

#[test]
fn pieces_of_one_capture_are_never_a_pair() {
    let scratch = Scratch::new();
    for both in cases() {
        let frames = altered::read(&both.server);
        if frames.len() < 4 {
            continue;
        }
        let (first, rest) = frames.split_at(frames.len() / 2);
        is_one_stream(&[scratch.pcap("a.pcap", first), scratch.pcap("b.pcap", rest)]);
    }
}

#[test]
fn what_was_sent_again_behind_the_cut_makes_no_pair_of_rotated_files() {
    let pieces = ["rotated-1", "rotated-2"].map(data);
    is_one_stream(&pieces);
    assert_eq!(claims(&report(&pieces)), claims(&report(&[data("rotated-whole")])));
}

/// A capture of `tests/pairs/`.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/pairs/{name}.pcap.gz"))
}

fn data_pair(name: &str) -> [PathBuf; 2] {
    ["client", "server"].map(|side| data(&format!("{name}.{side}")))
}

#[test]
fn where_nothing_of_one_direction_passes_the_pair_says_so() {
    for (name, lost, least, connections) in [
        ("snat", "SYN", Certainty::Probable, 4),
        ("one-way-gateway", "final ACK", Certainty::Probable, 5),
        ("syn-acks-lost", "SYN-ACK", Certainty::Probable, 6),
        ("syn-acks-lost-beside-others", "SYN-ACK", Certainty::Probable, 6),
    ] {
        let [client, server] = data_pair(name);
        for captures in [[client.clone(), server.clone()], [server.clone(), client.clone()]] {
            let report = report(&captures);
            assert_eq!(report.pairs[0].client_side, [client.display().to_string()], "{name}");
            assert_eq!(report.findings.len(), connections, "{name}: {:?}", claims(&report));
            for finding in &report.findings {
                assert_eq!(finding.kind, Kind::HandshakeLoss, "{name}: {finding:?}");
                assert_eq!(finding.metrics["lost"], lost, "{name}");
                assert!(finding.certainty >= least, "{name}: {finding:?}");
                assert!(!finding.certainty_reason.contains("drew no answer"), "{name}");
            }
        }
    }
}

#[test]
fn data_that_does_not_come_to_the_other_capture_was_lost_between_them() {
    let report = report(&data_pair("data-lost"));
    assert_eq!(report.findings.len(), 4, "{:?}", claims(&report));
    for finding in &report.findings {
        assert_eq!((finding.kind, finding.certainty), (Kind::DataUnacknowledged, Certainty::Probable));
        assert_eq!(finding.metrics["lost_between"], true);
    }
    assert_eq!((report.summary.failed, report.summary.failed_unexplained), (4, 0));
}

#[test]
fn the_same_file_twice_is_no_pair() {
    let scratch = Scratch::new();
    for name in ["accept-queue-overflow/data-then-served", "handshake-loss/syn-lost"] {
        let server = case(name).server;
        is_one_stream(&[server.clone(), server.clone()]);
        let set = scratch.pcap("later.pcap", &later(&altered::read(&server), 3_600_000_000_000));
        is_one_stream(&[server, set]);
    }
}

#[test]
fn two_directions_of_one_place_are_no_pair() {
    let case = Case::named("accept-queue-overflow/one-way");
    is_one_stream(&[case.capture("server-in"), case.capture("server-out")]);
}

#[test]
fn captures_without_a_connection_in_common_are_no_pair() {
    let (one, other) = (case("half-close/keepalive").client, case("handshake-loss/syn-lost").server);
    is_one_stream(&[one.clone(), other.clone()]);
    // Asked for all the same: what each of them shows is not lost.
    let forced = with(&[one.clone(), other.clone()], Pairing::Force, &options()).expect("a report");
    assert!(forced.pairs.is_empty() && forced.warnings.iter().any(|w| w.contains("judged by itself")));
    let mut alone: Vec<String> =
        [one, other].iter().flat_map(|c| claims(&support::analyze(c).report)).collect();
    let mut found = claims(&forced);
    alone.sort();
    found.sort();
    assert!(!found.is_empty() && found == alone, "{found:?} {alone:?}");
}

#[test]
fn what_is_asked_for_is_done() {
    let captures = case("accept-queue-overflow/data-then-served").captures();
    let never = with(&captures, Pairing::Never, &options()).expect("captures that can be read");
    assert_eq!(json(&never), json(&support::analyze_all(&captures, &options()).report));
    let forced = with(&captures, Pairing::Force, &options()).expect("a pair");
    assert_eq!(json(&forced), json(&report(&captures)));
    let alone = with(&captures[..1], Pairing::Force, &options());
    assert!(matches!(alone, Err(Error::NotAPair(_))), "{alone:?}");
}

#[test]
fn a_side_in_pieces_is_still_a_side() {
    let scratch = Scratch::new();
    for name in ["accept-queue-overflow/data-then-served", "handshake-loss/final-ack-lost"] {
        let both = case(name);
        let frames = altered::read(&both.server);
        let (first, rest) = frames.split_at(frames.len() / 2);
        let pieces = [both.client.clone(), scratch.pcap("s1.pcap", first), scratch.pcap("s2.pcap", rest)];
        let (whole, found) = (report(&both.captures()), report(&pieces));
        assert_eq!(found.pairs[0].server_side.len(), 2, "{name}");
        assert_eq!(claims(&found), claims(&whole), "{name}");
    }
}

#[test]
fn three_places_are_not_guessed_at() {
    let scratch = Scratch::new();
    let both = case("accept-queue-overflow/data-then-served");
    let (client, server) = (altered::read(&both.client), altered::read(&both.server));
    // A third place halfway between the two.
    let between: Vec<Frame> = client
        .iter()
        .map(|f| {
            let there = server.iter().find(|s| s.bytes == f.bytes);
            Frame { time: there.map_or(f.time, |s| f.time + (s.time - f.time) / 2), ..f.clone() }
        })
        .collect();
    let mut sorted = between;
    sorted.sort_by_key(|f| f.time);
    let [a, b] = both.captures();
    let found = report(&[a, b, scratch.pcap("between.pcap", &sorted)]);
    assert!(found.pairs.is_empty());
    assert!(found.warnings.iter().any(|w| w.contains("more than two places")), "{:?}", found.warnings);
}

/// Whether a packet's TCP header, behind Ethernet and IPv4 without options, has any of these control bits.
fn has_flags(frame: &Frame, bits: u8) -> bool {
    frame.bytes.get(14 + 20 + 13).is_some_and(|flags| flags & bits != 0)
}

const RST: u8 = 0x04;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

#[test]
fn a_reset_that_the_server_never_sent_is_a_forgery() {
    let scratch = Scratch::new();
    let both = case("accept-queue-reset/silent-clients");
    let mut server = altered::read(&both.server);
    server.retain(|f| !has_flags(f, RST));
    let report = report(&[both.client, scratch.pcap("server.pcap", &server)]);
    assert!(!report.findings.is_empty());
    for finding in &report.findings {
        // The server falls silent after it in this recording, so it may have been missed.
        assert_eq!(
            (finding.kind, finding.certainty),
            (Kind::AbortiveClose, Certainty::Probable),
            "{finding:?}"
        );
        assert_eq!(finding.metrics["by"], "middlebox");
        assert!(finding.evidence.iter().any(|e| e.missing_in.is_some()));
    }
}

/// Whether the packet at a place is missing.
type Missing<'m> = &'m dyn Fn(usize, &Frame) -> bool;

#[test]
fn packets_that_a_capture_missed_are_not_lost_on_the_way() {
    let scratch = Scratch::new();
    for name in
        ["nothing-wrong/slow-server", "half-close/keepalive", "accept-queue-overflow/data-then-served"]
    {
        let both = case(name);
        let whole = report(&both.captures());
        // Every SYN, every SYN-ACK, or every third packet is missing in one of the two.
        let without: [(&str, Missing<'_>); 3] = [
            ("SYNs", &|_, f| has_flags(f, SYN) && !has_flags(f, ACK)),
            ("SYN-ACKs", &|_, f| has_flags(f, SYN) && has_flags(f, ACK)),
            ("a third", &|n, _| n % 3 == 2),
        ];
        for (what, missing) in without {
            for side in [0, 1] {
                let mut captures = both.captures();
                let frames = altered::read(&captures[side]);
                let kept: Vec<Frame> = frames
                    .iter()
                    .enumerate()
                    .filter(|(n, f)| !missing(*n, f))
                    .map(|(_, f)| f.clone())
                    .collect();
                captures[side] = scratch.pcap("cut.pcap", &kept);
                let found = report(&captures);
                let loss = found.findings.iter().find(|f| {
                    f.kind == Kind::HandshakeLoss && f.certainty == Certainty::Confirmed
                        || f.metrics.get("by").is_some_and(|by| by == "middlebox")
                });
                assert!(loss.is_none(), "{name} without {what} on side {side}: {loss:?}");
            }
        }
        assert!(!whole.pairs.is_empty(), "{name}");
    }
}

/// The recordings of IPv4 over Ethernet as one pair, each of them twice: once more with other addresses.
fn all_as_one(scratch: &Scratch) -> [PathBuf; 2] {
    let mut sides = [Vec::new(), Vec::new()];
    for both in cases() {
        let captures = both.captures().map(|path| altered::read(&path));
        let is_plain =
            |frame: &Frame| frame.link == 1 && altered::source(frame).is_none_or(|address| address.is_ipv4());
        if captures.iter().flatten().all(is_plain) {
            for (side, frames) in sides.iter_mut().zip(captures) {
                side.extend(altered::mirrored(&frames));
                side.extend(frames);
            }
        }
    }
    sides.iter_mut().for_each(|frames| frames.sort_by_key(|frame| frame.time));
    [scratch.pcap("client.pcap", &sides[0]), scratch.pcap("server.pcap", &sides[1])]
}

#[test]
fn no_more_connections_are_compared_than_there_is_room_for_and_the_rest_is_said() {
    let scratch = Scratch::new();
    let captures = all_as_one(&scratch);
    let left_out = |report: &Report| {
        let said = report.warnings.iter().find(|w| w.contains("were not compared packet by packet"));
        said.map(|w| w.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok()).expect("a number"))
    };
    let compared = |report: &Report| {
        let of_both = |f: &&synscope::model::Finding| f.evidence.iter().any(|e| e.also.is_some());
        report.findings.iter().filter(of_both).count()
    };
    let whole = report(&captures);
    assert_eq!(left_out(&whole), None);
    let little = AnalysisOptions { memory_limit: 4 << 20, ..options() };
    let some = with(&captures, Pairing::Auto, &little).expect("captures that can be read");
    assert_eq!(some.pairs.len(), 1);
    assert!(left_out(&some).is_some_and(|n| n > 0), "{:?}", some.warnings);
    assert!(compared(&some) < compared(&whole), "{}", compared(&some));
}

#[test]
fn different_snapshot_lengths_do_not_matter() {
    let scratch = Scratch::new();
    for both in cases() {
        let mut client = altered::read(&both.client);
        client.iter_mut().for_each(|f| f.bytes.truncate(96));
        let cut = [scratch.pcap("cut.pcap", &client), both.server.clone()];
        let (found, whole) = (report(&cut), report(&both.captures()));
        assert_eq!(claims(&found), claims(&whole), "{}", both.truth.name);
    }
}

#[test]
fn connections_of_one_side_alone_are_judged_as_they_were() {
    let scratch = Scratch::new();
    let both = case("accept-queue-overflow/data-then-served");
    let client = altered::read(&both.client);
    // The port of the first client: its connection is all that the client's capture holds.
    let port = altered::source_port(&client[0]).expect("a TCP segment");
    let of_it = |f: &&Frame| {
        let bytes = &f.bytes;
        let ports = [(bytes[34], bytes[35]), (bytes[36], bytes[37])];
        ports.iter().any(|&(a, b)| u16::from_be_bytes([a, b]) == port)
    };
    let one: Vec<Frame> = client.iter().filter(of_it).cloned().collect();
    let found = report(&[scratch.pcap("client.pcap", &one), both.server.clone()]);
    assert_eq!(found.pairs[0].connections_matched, 1);
    assert_eq!(found.pairs[0].only_in.client_side, 0);
    let alone = support::analyze(&both.server).report;
    assert_eq!(claims(&found), claims(&alone));
}
