//! Reports measured against what the kernels did: the recorded cases of `testdata/`, and larger sets of recordings where
//! `SYNSCOPE_CAPTURES` and `SYNSCOPE_CAPTURES_OLD` point at them.

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use support::altered::{self, Frame, Scratch};
use support::truth::{Truth, Worth, is_labelled, score, words};
use support::{CORE, analyze, claim, testdata};
use synscope::detect::registry;
use synscope::model::{Certainty, Finding, Kind, Severity};

/// Findings that are right although the recordings do not label them: the recording, how the claim begins, and why.
const RIGHT_ALL_THE_SAME: [(&str, &str, &str); 2] = [
    (
        "tw-recycle-rule.el7",
        "half-close 10.99.0.50:31028",
        "a hand-made client that acknowledges the server's FIN and never sends its own",
    ),
    ("tw-recycle-rule.v49", "half-close 10.99.0.50:48028", "the same"),
];

/// Due findings that may be missed: the recording, the capture, the word, and the reason.
const MAY_BE_MISSED: [(&str, &str, &str, &str); 1] = [(
    "tw-recycle-emulated.nat",
    "client",
    "tw-recycle-syn-drop (listener)",
    "before the NAT the hosts have addresses of their own, so their clocks are not seen to interfere",
)];

/// One capture and its truth.
struct Recording {
    truth: Truth,
    key: String,
    path: PathBuf,
}

/// All captures below `folder` that a truth file names.
fn recordings(folder: &Path) -> Vec<Recording> {
    let mut found = Vec::new();
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            found.extend(recordings(&path));
        } else if path.to_string_lossy().ends_with("truth.json") {
            for capture in Truth::read(&path).captures {
                let truth = Truth::read(&path);
                found.push(Recording { truth, key: capture.key, path: folder.join(capture.file) });
            }
        }
    }
    found
}

#[derive(Default)]
struct SynFateCounts {
    found: usize,
    missed: Vec<String>,
    wrong: Vec<String>,
}

fn is_excused(truth: &Truth, claim: &str) -> bool {
    RIGHT_ALL_THE_SAME.iter().any(|(name, start, _)| truth.name == *name && claim.starts_with(start))
}

/// Checks the promise of the report: it mentions every failed connection.
fn explains_all_failures(recordings: &[Recording]) {
    let mut unexplained = Vec::new();
    for Recording { truth, key, path } in recordings {
        let summary = analyze(path).report.summary;
        if summary.failed_unexplained > 0 {
            let n = summary.failed_unexplained;
            unexplained
                .push(format!("{} {key}: {n} of {}: {:?}", truth.name, summary.failed, summary.unexplained));
        }
    }
    assert!(unexplained.is_empty(), "failed without a word:\n{}", unexplained.join("\n"));
}

/// Measures every capture of a folder and holds the result to what the kinds promise.
fn measure(folder: &Path) {
    let recordings = recordings(folder);
    assert!(!recordings.is_empty(), "{} has no truth files", folder.display());
    let mut tally: BTreeMap<String, SynFateCounts> = BTreeMap::new();
    let (mut false_alarms, mut overconfident) = (Vec::new(), Vec::new());
    for recording in &recordings {
        let Recording { truth, key, path } = recording;
        let report = analyze(path).report;
        let score = score(truth, key, &report.findings);
        for (word, n) in score.found {
            tally.entry(word).or_default().found += n;
        }
        for (word, place) in score.missed {
            let excused =
                MAY_BE_MISSED.iter().any(|(name, k, w, _)| truth.name == *name && key == k && word == *w);
            if !excused {
                tally.entry(word).or_default().missed.push(format!("{} {key}: {place}", truth.name));
            }
        }
        for (finding, worth) in score.findings {
            let line = format!("{} {key}: {} ({})", truth.name, claim(finding), finding.certainty);
            // Of some kinds only the recordings here know anything.
            let known = is_labelled(finding.kind) || folder == testdata();
            if worth == Worth::False && known && !is_excused(truth, &claim(finding)) {
                tally.entry(words(finding.kind)[0].to_owned()).or_default().wrong.push(line.clone());
                if truth.is_clean(key) && finding.severity > Severity::Info {
                    false_alarms.push(line.clone());
                }
            }
            if matches!(worth, Worth::False | Worth::Indistinguishable)
                && finding.certainty == Certainty::Confirmed
            {
                overconfident.push(line);
            }
        }
    }
    println!("{}: {} captures", folder.file_name().unwrap_or_default().display(), recordings.len());
    for (word, t) in &tally {
        println!("{word:38} found {:4}  missed {:3}  wrong {:3}", t.found, t.missed.len(), t.wrong.len());
    }
    assert!(false_alarms.is_empty(), "where nothing is wrong:\n{}", false_alarms.join("\n"));
    assert!(overconfident.is_empty(), "confirmed, and not what happened:\n{}", overconfident.join("\n"));
    let core: Vec<&str> = CORE.iter().flat_map(|kind| words(*kind)).copied().collect();
    for (word, t) in &tally {
        assert!(t.wrong.is_empty(), "{word}, precision below 1:\n{}", t.wrong.join("\n"));
        if core.contains(&word.split(' ').next().unwrap_or_default()) {
            let due = t.found + t.missed.len();
            let recall = t.found as f64 / due.max(1) as f64;
            assert!(due == 0 || recall >= 0.99, "{word}, recall {recall}:\n{}", t.missed.join("\n"));
        }
    }
}

#[test]
fn recorded_cases_are_diagnosed_as_they_happened() {
    measure(&testdata());
}

#[test]
fn no_recorded_connection_fails_without_a_word() {
    explains_all_failures(&recordings(&testdata()));
}

#[test]
#[ignore = "needs recordings: SYNSCOPE_CAPTURES=FOLDER cargo test recordings -- --ignored"]
fn no_connection_of_the_recordings_fails_without_a_word() {
    explains_all_failures(&recordings(&support::outside("SYNSCOPE_CAPTURES", "captures")));
}

#[test]
#[ignore = "needs recordings: SYNSCOPE_CAPTURES=FOLDER cargo test recordings -- --ignored"]
fn recordings_of_current_kernels_are_diagnosed_as_they_happened() {
    measure(&support::outside("SYNSCOPE_CAPTURES", "captures"));
}

#[test]
#[ignore = "needs recordings: SYNSCOPE_CAPTURES_OLD=FOLDER cargo test recordings -- --ignored"]
fn recordings_of_old_kernels_are_diagnosed_as_they_happened() {
    measure(&support::outside("SYNSCOPE_CAPTURES_OLD", "captures-oldkernel"));
}

/// Which end's packets are kept.
#[derive(Clone, Copy, Debug)]
enum Heard {
    OnlyServer,
    OnlyClient,
}

/// The packets of one end of every connection.
fn one_sided(frames: &[Frame], truth: &Truth, heard: Heard) -> Vec<Frame> {
    let of_server = |frame: &Frame| {
        let from = altered::source(frame).zip(altered::source_port(frame));
        from.is_some_and(|(ip, port)| truth.servers.contains(&SocketAddr::new(ip, port)))
    };
    let keeps = |frame: &&Frame| matches!(heard, Heard::OnlyServer) == of_server(frame);
    frames.iter().filter(keeps).cloned().collect()
}

#[test]
fn one_direction_alone_never_leads_to_a_wrong_claim() {
    let scratch = Scratch::new();
    let mut wrong = Vec::new();
    for Recording { truth, key, path } in recordings(&testdata()) {
        let frames = altered::read(&path);
        for heard in [Heard::OnlyServer, Heard::OnlyClient] {
            let half = one_sided(&frames, &truth, heard);
            if half.is_empty() {
                continue;
            }
            let report = analyze(&scratch.pcap("half.pcap", &half)).report;
            for (finding, worth) in score(&truth, &key, &report.findings).findings {
                let core = CORE.contains(&finding.kind) && worth == Worth::False;
                let confirmed = finding.certainty == Certainty::Confirmed
                    && matches!(worth, Worth::False | Worth::Indistinguishable);
                if (core || confirmed) && !is_excused(&truth, &claim(finding)) {
                    let certainty = finding.certainty;
                    wrong.push(format!("{} {key} {heard:?}: {} ({certainty})", truth.name, claim(finding)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// True cases of each kind, by the words of their truth files.
#[test]
fn each_kind_has_a_true_case_and_captures_in_which_it_stays_silent() {
    let recordings = recordings(&testdata());
    for kind in Kind::ALL {
        let labels = |r: &Recording| {
            let labels = r.truth.labels(&r.key);
            words(kind).iter().any(|word| labels.contains(*word))
        };
        let (with, without): (Vec<_>, Vec<_>) = recordings.iter().partition(|&r| labels(r));
        assert!(!with.is_empty(), "{kind} has no true case");
        let found = with.iter().any(|r| analyze(&r.path).report.summary.findings.contains_key(&kind));
        assert!(found, "{kind} is found in none of its {} true captures", with.len());
        assert!(without.len() > 20, "{kind} has few captures to be silent in");
    }
}

/// The cases are those of each [`KindSpec`](synscope::detect::spec::KindSpec); the table in `testdata/README.md` is made from them.
#[test]
fn the_nearest_look_alikes_of_each_kind_stay_silent() {
    for kind in Kind::ALL {
        let cases = registry::spec(kind).look_alikes;
        for case in cases {
            let (folder, only) =
                case.split_once(':').map_or((*case, None), |(folder, key)| (folder, Some(key)));
            let case = support::Case::named(folder);
            for capture in case.truth.captures.iter().filter(|c| only.is_none_or(|only| c.key == only)) {
                let found = analyze(&case.folder.join(&capture.file)).report.summary.findings;
                assert!(!found.contains_key(&kind), "{folder} {}: {kind} is found", capture.key);
            }
        }
    }
}

/// The causes that are given for one kind in a capture, and how often.
fn causes(case: &str, key: &str, kind: Kind) -> BTreeMap<String, usize> {
    let mut causes = BTreeMap::new();
    for finding in analyze(&support::Case::named(case).capture(key)).report.findings {
        if finding.kind == kind {
            *causes.entry(finding.cause.text.into_owned()).or_default() += 1;
        }
    }
    causes
}

#[test]
fn resets_are_put_down_to_what_the_other_packets_show() {
    let unread = "data unread in its receive buffer";
    for key in ["client", "server"] {
        let causes = causes("abortive-close/reasons", key, Kind::AbortiveClose);
        let count = |says: &dyn Fn(&str) -> bool| -> usize {
            causes.iter().filter(|(text, _)| says(text)).map(|(_, n)| n).sum()
        };
        assert_eq!(count(&|text| text.contains("SO_LINGER 0") && !text.contains(unread)), 2, "{causes:?}");
        assert_eq!(count(&|text| text.contains(unread) && !text.contains("SO_LINGER 0")), 4, "{causes:?}");
        assert_eq!(count(&|text| text.contains(unread) && text.contains("SO_LINGER 0")), 2, "{causes:?}");
    }
    let causes = causes("abortive-close/keepalive-unanswered", "server", Kind::AbortiveClose);
    assert!(causes.len() == 1 && causes.keys().all(|text| text.contains("keepalive")), "{causes:?}");
}

#[test]
fn fast_open_is_put_down_to_what_became_of_the_syn() {
    for (case, key, n, says) in [
        ("stale-cookie", "server", 1, "did not accept the Fast Open cookie"),
        ("server-off", "server", 4, "does not do Fast Open"),
        ("queue-limit", "server", 3, "too many were pending"),
        ("black-holed", "client", 4, "dropped the SYN with data"),
    ] {
        let causes = causes(&format!("fastopen-fallback/{case}"), key, Kind::FastopenFallback);
        let found: Vec<_> = causes.iter().map(|(text, n)| (text.contains(says), *n)).collect();
        assert_eq!(found, [(true, n)], "{case}: {causes:?}");
    }
}

#[test]
fn cookies_with_all_options_are_told_by_the_lag_of_their_timestamps() {
    for key in ["client", "server"] {
        let report = analyze(&support::Case::named("syncookies/with-timestamps").capture(key)).report;
        let found: Vec<_> = report.findings.iter().filter(|f| f.kind == Kind::Syncookies).collect();
        assert_eq!(found.len(), 1, "{key}");
        assert_eq!(found[0].certainty, Certainty::Probable, "{key}");
        assert!(found[0].metrics["lagging_syn_acks"].as_u64() >= Some(3), "{:?}", found[0].metrics);
    }
}

#[test]
fn a_firewall_that_looks_like_a_full_queue_is_named_beside_it() {
    let case = support::Case::named("accept-queue-overflow/firewall-drops-final-ack");
    for key in ["client", "server"] {
        let report = analyze(&case.capture(key)).report;
        let overflows = report.findings.iter().filter(|finding| finding.kind == Kind::AcceptQueueOverflow);
        assert_eq!(overflows.clone().count(), 4, "{key}");
        for finding in overflows {
            assert_ne!(finding.certainty, Certainty::Confirmed, "{key}");
            // Here it is even the likelier one: SYNs are answered as a full queue would not let them be.
            assert!(finding.cause.text.contains("firewall"), "{key}: {finding:?}");
            assert_eq!(finding.certainty, Certainty::Possible, "{key}");
        }
    }
}

/// What an alternative says that means a word of the recordings.
const SAID_AS: [(&str, &[&str]); 12] = [
    ("accept-overflow-silent", &["accept queue"]),
    ("accept-overflow-cookie", &["accept queue"]),
    ("accept-overflow-rst", &["accept queue"]),
    ("syn-drop-accept-full", &["accept queue", "queue was full"]),
    ("syn-queue-full-drop", &["SYN queue", "queue was full"]),
    ("tw-recycle-syn-drop", &["tcp_tw_recycle"]),
    ("filtered-syn", &["firewall"]),
    ("filtered-final-ack", &["firewall"]),
    ("net-loss-syn", &["lost"]),
    ("net-loss-synack", &["lost"]),
    ("net-loss-final-ack", &["lost"]),
    ("net-loss-data", &["lost"]),
];

/// By what a finding excludes a look-alike that the truth files, which look at less, leave open.
fn excludes(finding: &Finding, word: &str) -> bool {
    let echo = finding.certainty_reason.contains("echoes");
    match finding.kind {
        // The server's TCP read a segment and ignored it: neither the path nor a firewall dropped it.
        Kind::AcceptQueueOverflow => echo && finding.certainty == Certainty::Confirmed,
        // An echo of the first SYN: that one arrived, and was answered.
        Kind::HandshakeLoss => echo && !word.contains("overflow") && !word.contains("final-ack"),
        _ => false,
    }
}

/// Findings that do not name what their capture cannot tell from it.
fn unnamed_alternatives(folder: &Path) -> (usize, Vec<String>) {
    let (mut named, mut unnamed) = (0, Vec::new());
    for Recording { truth, key, path } in recordings(folder) {
        for finding in &analyze(&path).report.findings {
            let alternatives = finding.alternatives.iter().map(|or| or.suspect.text());
            let text: Vec<&str> = alternatives.chain([finding.cause.text.as_ref()]).collect();
            for word in truth.look_alikes(&key, finding) {
                let Some((_, said)) = SAID_AS.iter().find(|(known, _)| *known == word) else { continue };
                // The likelier of the two, the other kind's finding may stand beside it; else it is an alternative.
                if said.iter().any(|said| text.iter().any(|text| text.contains(said))) {
                    named += 1;
                    assert!(
                        finding.alternatives.iter().all(|or| !or.why_less_likely.is_empty()),
                        "{finding:#?}"
                    );
                    assert_ne!(finding.certainty, Certainty::Confirmed, "{finding:#?}");
                } else if !excludes(finding, &word) {
                    unnamed.push(format!("{} {key}: {} does not name {word}", truth.name, claim(finding)));
                }
            }
        }
    }
    (named, unnamed)
}

#[test]
fn what_the_packets_cannot_tell_apart_is_named_ranked_and_never_confirmed() {
    alternatives_are_named(&testdata());
}

#[test]
#[ignore = "needs recordings: SYNSCOPE_CAPTURES=FOLDER cargo test recordings -- --ignored"]
fn look_alikes_in_recordings_are_named_ranked_and_never_confirmed() {
    alternatives_are_named(&support::outside("SYNSCOPE_CAPTURES", "captures"));
    alternatives_are_named(&support::outside("SYNSCOPE_CAPTURES_OLD", "captures-oldkernel"));
}

fn alternatives_are_named(folder: &Path) {
    let (named, unnamed) = unnamed_alternatives(folder);
    assert!(named > 20, "{} holds look-alikes: {named}", folder.display());
    assert!(unnamed.is_empty(), "{}", unnamed.join("\n"));
}

/// A capture as a worse recording would have it, and how much worse.
type Worse = (&'static str, fn(&[Frame]) -> Vec<Frame>);

/// Every `n`th packet or so is missing, the same ones each time.
fn thinned(frames: &[Frame], n: u64) -> Vec<Frame> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let keeps = |_: &&Frame| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        !(state >> 33).is_multiple_of(n)
    };
    frames.iter().filter(keeps).cloned().collect()
}

/// Packets of every third connection are missing in one direction.
fn partly_one_sided(frames: &[Frame], of_lower_port: bool) -> Vec<Frame> {
    let keeps = |frame: &&Frame| match (altered::source_port(frame), altered::destination_port(frame)) {
        (Some(from), Some(to)) => (from ^ to) % 3 != 0 || (from < to) == of_lower_port,
        _ => true,
    };
    frames.iter().filter(keeps).cloned().collect()
}

/// The middle of the capture.
fn middle(frames: &[Frame]) -> Vec<Frame> {
    frames[frames.len() / 4..frames.len() * 3 / 4].to_vec()
}

/// Half-closes of clients that a full queue had held up are put down to the queue only where the capture holds its beginning.
const CUT_OUT: &str = "begun late and ended early";

const WORSE: [Worse; 8] = [
    ("one packet of fifty lost", |frames| thinned(frames, 50)),
    ("one packet of ten lost", |frames| thinned(frames, 10)),
    ("one direction of some connections missing", |frames| partly_one_sided(frames, true)),
    ("the other direction of some connections missing", |frames| partly_one_sided(frames, false)),
    ("neighbours exchanged", |frames| altered::shuffled(frames, 50_000, altered::Swap::Any)),
    ("cut to 68 bytes", |frames| altered::cut(frames, 68)),
    ("every packet twice", |frames| altered::doubled(frames, 20_000, 0)),
    (CUT_OUT, middle),
];

#[test]
fn a_worse_recording_leads_to_no_wrong_certainty_and_to_no_alarm_that_is_thought_probable() {
    let scratch = Scratch::new();
    let mut wrong = Vec::new();
    for Recording { truth, key, path } in recordings(&testdata()) {
        let frames = altered::read(&path);
        for (how, worsen) in WORSE {
            let worse = worsen(&frames);
            if worse.is_empty() {
                continue;
            }
            let report = analyze(&scratch.pcap("worse.pcap", &worse)).report;
            for (finding, worth) in score(&truth, &key, &report.findings).findings {
                let confirmed = finding.certainty == Certainty::Confirmed
                    && matches!(worth, Worth::False | Worth::Indistinguishable);
                let alarm = worth == Worth::False
                    && finding.severity > Severity::Info
                    && finding.certainty == Certainty::Probable
                    && !(how == CUT_OUT && finding.kind == Kind::HalfClose);
                if (confirmed || alarm) && !is_excused(&truth, &claim(finding)) {
                    let certainty = finding.certainty;
                    wrong.push(format!("{} {key}, {how}: {} ({certainty})", truth.name, claim(finding)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
