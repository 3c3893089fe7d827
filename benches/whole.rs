//! The whole way, from a file to a report: [`synscope::engine::analyze`] on generated captures, in packets per second.
//!
//! Captures of 20 MB show a regression within a minute. For numbers worth publishing
//! take a gigabyte from `examples/gencap.rs` and compare with `examples/walk.rs` on the same machine.

#[allow(dead_code, reason = "the generator is shared with an example, which uses more of it")]
mod gencap;

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gencap::{Plan, Profile};
use synscope::engine::{AnalysisOptions, analyze};

/// Bytes of each capture.
const SIZE: u64 = 20_000_000;

fn whole(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a place for temporary files");
    let mut group = criterion.benchmark_group("whole");
    group.sample_size(20);
    for profile in [Profile::Web, Profile::Syn, Profile::Bulk] {
        let (path, packets) = capture(folder.path(), profile);
        group.throughput(Throughput::Elements(packets));
        // 0 threads: one per core.
        for (name, threads) in [("one thread", 1), ("all cores", 0)] {
            let options = AnalysisOptions { threads, ..AnalysisOptions::default() };
            let inputs = [path.clone()];
            group.bench_function(format!("{profile}/{name}"), |bencher| {
                bencher.iter(|| {
                    analyze(&inputs, &options, &mut |_| {}).expect("a generated capture is readable")
                });
            });
        }
    }
    group.finish();
}

/// Generates the capture; gives its path and how many packets it has.
fn capture(folder: &Path, profile: Profile) -> (PathBuf, u64) {
    let path = folder.join(format!("{profile}.pcap"));
    let file = File::create(&path).expect("a file in the temporary folder");
    let summary =
        gencap::write(&Plan::new(profile, SIZE), BufWriter::new(file)).expect("room for the capture");
    (path, summary.packets)
}

criterion_group!(benches, whole);
criterion_main!(benches);
