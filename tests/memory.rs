//! `--memory-limit` holds for the whole process, whatever is sent, and the report stays true.
#![cfg(target_os = "linux")]

#[path = "support/flood.rs"]
mod flood;

use std::fs;
use std::io::BufWriter;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flood::{MODES, Mode};
use serde_json::Value;

/// The most memory that a running process has had so far, KiB.
fn peak(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The result of one run.
struct Run {
    report: Value,
    peak_kib: u64,
    took: Duration,
}

impl Run {
    /// Analyzes `n` of a mode within `limit` MiB.
    fn of(mode: &Mode, n: u64, limit: u64) -> Run {
        let report = tempfile::NamedTempFile::new().expect("a temporary file");
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_synscope"))
            .args([
                "analyze",
                "--threads",
                "2",
                "--memory-limit",
                &format!("{limit}MiB"),
                "--format",
                "json",
                "-o",
            ])
            .arg(report.path())
            .arg("-")
            .stdin(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdin = child.stdin.take().expect("it has a standard input");
        flood::write(mode, n, &mut BufWriter::with_capacity(1 << 16, stdin)).expect("it reads all of it");
        // Memory peaks while the report is put together.
        let mut peak_kib = 0;
        let status = loop {
            peak_kib = peak(child.id()).unwrap_or(0).max(peak_kib);
            match child.try_wait().expect("it can be waited for") {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        assert!(status.success(), "{}: {status}", mode.name);
        let report = fs::read(report.path()).expect("a report");
        let report = serde_json::from_slice(&report).expect("a JSON report");
        Run { report, peak_kib, took: began.elapsed() }
    }

    fn warnings(&self) -> Vec<&str> {
        self.report["warnings"].as_array().expect("a list").iter().filter_map(Value::as_str).collect()
    }

    /// The statements of the report that are not true.
    fn faults(&self, mode: &Mode, n: u64, limit: u64) -> Vec<String> {
        let mut faults = Vec::new();
        if !(1..=limit << 10).contains(&self.peak_kib) {
            faults.push(format!("{} KiB", self.peak_kib));
        }
        let connections = self.report["summary"]["connections"].as_u64().expect("a number");
        // A connection joined in the middle looks like an evicted one; an estimate is off by some percent.
        let fewest = if mode.name == "midstream" { 1 } else { (n * mode.connections * 95 / 100).max(1) };
        if !(fewest..=(n * mode.connections * 105 / 100).max(1)).contains(&connections) {
            faults.push(format!("{connections} connections"));
        }
        let found = self.report["summary"]["findings"].as_object().expect("counts");
        faults.extend(found.keys().filter(|kind| !mode.kinds.contains(&kind.as_str())).cloned());
        if let Some(must) = mode.must.filter(|must| !found.contains_key(*must)) {
            faults.push(format!("no {must}"));
        }
        let let_go = self.warnings().iter().any(|w| w.contains("the memory limit of"));
        if self.peak_kib > limit << 9 && mode.connections > 0 && n > 1_000_000 && limit < 256 && !let_go {
            faults.push("the report does not mention evicted connections".to_owned());
        }
        faults
    }
}

fn check(n: u64, limit: u64) {
    let faults: Vec<String> = MODES
        .iter()
        .filter_map(|mode| {
            let faults = Run::of(mode, n, limit).faults(mode, n, limit);
            (!faults.is_empty()).then(|| format!("{}: {}", mode.name, faults.join(", ")))
        })
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_flood_stays_within_the_memory_limit_and_is_told_as_what_it_is() {
    check(150_000, 64);
}

/// Minutes to hours: `docs/contributing.md` says how to run it. `SYNSCOPE_FLOODS` names the modes, all if it is not set.
#[test]
#[ignore = "takes an hour"]
fn floods_of_ten_and_twenty_million_stay_within_every_limit() {
    let wanted = std::env::var("SYNSCOPE_FLOODS").unwrap_or_default();
    let mut all_faults = Vec::new();
    for mode in
        MODES.iter().filter(|mode| wanted.is_empty() || wanted.split(',').any(|name| name == mode.name))
    {
        for (n, limit) in
            [10, 20].into_iter().flat_map(|n| [64, 256, 1_024].map(|limit| (n * 1_000_000, limit)))
        {
            let run = Run::of(mode, n, limit);
            let faults = run.faults(mode, n, limit);
            let found = &run.report["summary"]["findings"];
            let (peak, took) = (run.peak_kib >> 10, run.took.as_secs());
            println!(
                "| {} | {n} | {limit} MiB | {peak} MiB | {took} s | {found} | {} |",
                mode.name,
                faults.join(", ")
            );
            all_faults
                .extend(faults.into_iter().map(|fault| format!("{} {n} {limit} MiB: {fault}", mode.name)));
        }
    }
    assert!(all_faults.is_empty(), "{all_faults:#?}");
}

#[test]
fn connections_that_were_let_go_and_go_on_are_not_taken_for_others() {
    let stuck = MODES.iter().find(|mode| mode.name == "stuck").expect("there is such a mode");
    let run = Run::of(stuck, 50_000, 32);
    assert_eq!(run.report["summary"]["connections"], 50_000);
    let found = run.report["summary"]["findings"].as_object().expect("counts");
    assert_eq!(found.keys().collect::<Vec<_>>(), ["accept-queue-overflow"]);
    let warnings = run.warnings();
    assert!(!warnings.iter().any(|w| w.contains("one direction")), "{warnings:?}");
    assert!(warnings.iter().any(|w| w.contains("were dropped from memory before their end")), "{warnings:?}");
}
