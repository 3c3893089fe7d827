//! Pairs of which one capture has gaps: nothing may be found in them that the whole pair does not show.
//!
//! A capture that begins late, ends early, has a hole or misses single packets lacks what the network has carried. Each
//! pair of `testdata/` is damaged in all of these ways; the larger sets of recordings, with many more holes, only where
//! `SYNSCOPE_CAPTURES` points at them.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use support::altered::{self, Frame, Scratch};
use support::pairs;
use support::truth::{PAIR, Truth, Worth, score};
use support::{claim, options};
use synscope::model::{Certainty, Finding, Report};
use synscope::pair::{self, Pairing};

/// Damages of each kind for one side of a pair.
#[derive(Clone, Copy)]
struct Extent {
    holes: u64,
    others: u64,
}

/// A generator of numbers that are the same in each run (Knuth's MMIX constants).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n.max(1)
    }
}

/// What happened to a capture.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// Nothing was captured for so long, nanoseconds, from somewhere on.
    Hole(u64),
    /// The first part is missing.
    Late,
    /// The last part is missing.
    Early,
    /// One packet in a hundred is missing.
    Loss,
}

impl Damage {
    fn all(extent: Extent) -> Vec<Damage> {
        let lengths = [20_000_000, 200_000_000, 1_000_000_000, 3_000_000_000];
        let holes = (0..extent.holes).map(|n| Damage::Hole(lengths[n as usize % lengths.len()]));
        let others = (0..extent.others).flat_map(|_| [Damage::Late, Damage::Early, Damage::Loss]);
        holes.chain(others).collect()
    }

    fn of(self, frames: &[Frame], random: &mut Random) -> Vec<Frame> {
        let (from, to) = (frames[0].time, frames[frames.len() - 1].time);
        let at = from + random.below((to - from).max(1) as u64) as i64;
        let mut keeps: Box<dyn FnMut(&Frame) -> bool> = match self {
            Damage::Hole(length) => {
                // In the middle of things: before a packet, where there is one.
                let next = frames[random.below(frames.len() as u64) as usize].time;
                let begin = next - random.below(length) as i64;
                Box::new(move |f| f.time < begin || f.time >= begin + length as i64)
            }
            Damage::Late => Box::new(move |f| f.time >= at),
            Damage::Early => Box::new(move |f| f.time <= at),
            Damage::Loss => Box::new(move |_| random.below(100) > 0),
        };
        frames.iter().filter(|f| keeps(f)).cloned().collect()
    }
}

fn report(captures: &[PathBuf]) -> Report {
    let outcome = pair::analyze_files(captures, Pairing::Auto, &options(), &mut |_| ());
    outcome.unwrap_or_else(|error| panic!("{captures:?}: {error}")).report
}

/// What the comparison of the two captures claims, beyond what one of them shows.
fn is_of_the_pair(finding: &Finding) -> bool {
    finding.evidence.iter().any(|e| e.missing_in.is_some())
        || finding.metrics.get("by").is_some_and(|by| by == "middlebox")
}

/// The errors in the report of a damaged pair.
fn faults(truth: &Truth, found: &Report, whole: &BTreeSet<String>) -> Vec<String> {
    let worth = score(truth, PAIR, &found.findings);
    let mut wrong = Vec::new();
    for (finding, worth) in worth.findings {
        if whole.contains(&claim(finding)) {
            continue;
        }
        let confirmed = finding.certainty == Certainty::Confirmed && worth != Worth::Exact;
        if confirmed || worth == Worth::False && is_of_the_pair(finding) {
            wrong.push(format!(
                "{} ({}): {worth:?}: {}",
                claim(finding),
                finding.certainty,
                finding.certainty_reason
            ));
        }
    }
    wrong
}

fn measure(folder: &Path, extent: Extent) {
    let scratch = Scratch::new();
    let (mut wrong, mut runs) = (Vec::new(), 0);
    for (n, recorded) in pairs::recorded(folder).into_iter().enumerate() {
        let (truth, captures) = (&recorded.truth, recorded.captures());
        let frames = captures.each_ref().map(|path| altered::read(path));
        let links = |side: usize| frames[side].iter().map(|f| f.link).collect::<BTreeSet<_>>().len();
        if frames.iter().any(|f| f.len() < 10) || links(0) != 1 || links(1) != 1 {
            continue;
        }
        let whole: BTreeSet<String> = report(&captures).findings.iter().map(claim).collect();
        let mut random = Random(n as u64 + 1);
        for damage in Damage::all(extent) {
            for side in [0, 1] {
                let damaged = damage.of(&frames[side], &mut random);
                if damaged.is_empty() {
                    continue;
                }
                let mut both = captures.clone();
                both[side] = scratch.pcap("damaged.pcap", &damaged);
                runs += 1;
                let of_run = faults(truth, &report(&both), &whole);
                wrong.extend(
                    of_run.iter().map(|fault| format!("{} {damage:?} of side {side}: {fault}", truth.name)),
                );
            }
        }
    }
    assert!(runs > 50, "{}: only {runs} runs", folder.display());
    assert!(wrong.is_empty(), "{} in {runs} runs:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn gaps_in_recorded_cases_make_no_findings() {
    measure(&support::testdata(), Extent { holes: 4, others: 1 });
}

#[test]
#[ignore = "needs recordings: SYNSCOPE_CAPTURES=FOLDER cargo test recordings -- --ignored"]
fn gaps_in_recordings_of_current_kernels_make_no_findings() {
    measure(&support::outside("SYNSCOPE_CAPTURES", "captures"), Extent { holes: 100, others: 10 });
}
