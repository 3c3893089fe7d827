//! Any bytes as a capture, the whole way to a report: the same one whatever the number of threads.

#![no_main]

#[path = "../../tests/support/files.rs"]
mod files;
mod input;
#[path = "../../tests/support/stacks.rs"]
mod stacks;

use libfuzzer_sys::fuzz_target;
use synscope::engine::{AnalysisOptions, analyze};

fuzz_target!(|bytes: &[u8]| {
    let bytes = input::capture_of(bytes);
    let inputs = [input::file_of(&bytes)];
    let report = |threads| {
        let options = AnalysisOptions { threads, ..AnalysisOptions::default() };
        analyze(&inputs, &options, &mut |_| {}).map(|outcome| outcome.report).ok()
    };
    assert_eq!(report(1), report(2));
});
