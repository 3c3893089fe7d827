//! Any octets as a capture, the whole way to a report: the same one whatever the number of threads.

#![no_main]

mod input;

use libfuzzer_sys::fuzz_target;
use synscope::engine::{Options, analyze};

fuzz_target!(|octets: &[u8]| {
    let inputs = [input::file_of(octets)];
    let report = |threads| {
        let options = Options { threads, ..Options::default() };
        analyze(&inputs, &options, &mut |_| {}).map(|outcome| outcome.report).ok()
    };
    assert_eq!(report(1), report(2));
});
