//! The parts of the way that see every packet, one by one: reading and indexing a capture from record to record, the same
//! in stretches whose first record must be found, and tracking its segments. Decoding has `decode.rs`, the whole way
//! `whole.rs`.

#[allow(dead_code, reason = "the generator is shared with an example, which uses more of it")]
mod gencap;

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use gencap::{Plan, Profile};
use synscope::capture::{self, Block, PartState, Source};
use synscope::decode::{Decoded, Segment, decode};
use synscope::flow::tracker::{TOGETHER, Tracker};

/// Bytes of each capture.
const SIZE: u64 = 10_000_000;
/// Bytes of each stretch.
const PART: u64 = 1 << 20;

fn parts(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a place for temporary files");
    for profile in [Profile::Web, Profile::Syn] {
        let path = generate(folder.path(), profile);
        let (packets, segments) = read(&path);
        let mut group = criterion.benchmark_group("parts");
        group.sample_size(20);
        group.throughput(Throughput::Elements(packets));
        group.bench_function(format!("read/{profile}"), |bencher| bencher.iter(|| count(&path)));
        assert_eq!(count_in_parts(&path), packets);
        group.bench_function(format!("read in parts/{profile}"), |bencher| {
            bencher.iter(|| count_in_parts(&path));
        });
        group.throughput(Throughput::Elements(segments.len() as u64));
        group.bench_function(format!("track/{profile}"), |bencher| {
            bencher.iter_batched(
                || Tracker::new(usize::MAX),
                |mut tracker| {
                    let mut over = 0;
                    tracker.segments(segments.chunks(TOGETHER), |_| over += 1);
                    tracker.events().clear();
                    tracker.finish_into(|_| over += 1);
                    over
                },
                BatchSize::LargeInput,
            );
        });
        group.finish();
    }
}

fn open(path: &Path) -> Box<dyn Source> {
    match capture::open(&[path.to_owned()]) {
        Ok(opened) => opened.source,
        Err(errors) => panic!("a generated capture is readable: {errors:?}"),
    }
}

/// Reads and indexes the capture; says how many packets it has.
fn count(path: &Path) -> u64 {
    let mut source = open(path);
    let (mut block, mut packets) = (Block::default(), 0);
    while source.next_block(&mut block) {
        packets += block.len() as u64;
    }
    packets
}

/// The same in parts of which two are out at a time.
fn count_in_parts(path: &Path) -> u64 {
    let mut source = open(path);
    let (mut block, mut packets) = (Block::default(), 0);
    loop {
        let pair = [source.next_part(PART), source.next_part(PART)];
        if pair[0].is_none() {
            return packets;
        }
        for mut part in pair.into_iter().flatten() {
            loop {
                while part.next_block(&mut block) {}
                let there = part.packets();
                match source.give_back(part) {
                    PartState::Next { .. } => packets += there,
                    PartState::Again(again) => {
                        part = *again;
                        continue;
                    }
                    PartState::Beyond => {}
                }
                break;
            }
        }
    }
}

/// The capture's packets, and its segments.
fn read(path: &Path) -> (u64, Vec<Segment>) {
    let mut source = open(path);
    let (mut block, mut packets, mut segments) = (Block::default(), 0, Vec::new());
    let mut segment = Segment::default();
    while source.next_block(&mut block) {
        packets += block.len() as u64;
        for packet in block.packets() {
            if decode(&packet, &mut segment) == Decoded::Tcp {
                segments.push(segment);
            }
        }
    }
    (packets, segments)
}

fn generate(folder: &Path, profile: Profile) -> PathBuf {
    let path = folder.join(format!("{profile}.pcap"));
    let file = File::create(&path).expect("a file in the temporary folder");
    gencap::write(&Plan::new(profile, SIZE), BufWriter::new(file)).expect("room for the capture");
    path
}

criterion_group!(benches, parts);
criterion_main!(benches);
