//! Any bytes as a capture: it is read to its end or to its damage, and the packets lie where they should; read in
//! parts they are the same.

#![no_main]

#[path = "../../tests/support/files.rs"]
mod files;
mod input;
#[path = "../../tests/support/stacks.rs"]
mod stacks;

use libfuzzer_sys::fuzz_target;
use synscope::capture::{Block, InputPart, PartState, Source, open};

/// Number, time and length of a packet.
type Seen = (u64, i64, usize);

fuzz_target!(|bytes: &[u8]| {
    let bytes = input::capture_of(bytes);
    let path = [input::file_of(&bytes)];
    let Ok(mut opened) = open(&path) else { return };
    let (mut block, mut seen) = (Block::default(), Vec::new());
    while opened.source.next_block(&mut block) {
        list(&block, &mut seen);
    }
    assert!(
        seen.iter().map(|(number, ..)| *number).is_sorted_by(|a, b| a < b),
        "packets are numbered as they lie"
    );
    let status = opened.source.status().remove(0);
    assert_eq!(status.packets, seen.len() as u64, "the count is that of the packets delivered");

    let Ok(mut opened) = open(&path) else { return };
    assert_eq!(in_parts(opened.source.as_mut(), 64 + bytes.len() as u64 / 16), seen);
    let parts = opened.source.status().remove(0);
    assert_eq!(
        (parts.packets, parts.damage, parts.warnings),
        (status.packets, status.damage, status.warnings)
    );
});

fn list(block: &Block, seen: &mut Vec<Seen>) {
    seen.extend(block.packets().map(|packet| (packet.id.number(), packet.time.0, packet.data.len())));
}

/// Reads three parts at a time, the last one first. What can only be read in turn is read so.
fn in_parts(source: &mut dyn Source, bytes: u64) -> Vec<Seen> {
    let (mut block, mut all, mut any) = (Block::default(), Vec::new(), false);
    let mut read = |part: &mut InputPart| {
        let mut seen = Vec::new();
        while part.next_block(&mut block) {
            list(&block, &mut seen);
        }
        seen
    };
    loop {
        let mut parts: Vec<(InputPart, Vec<Seen>)> = Vec::new();
        while parts.len() < 3
            && let Some(part) = source.next_part(bytes)
        {
            parts.push((part, Vec::new()));
        }
        if parts.is_empty() {
            break;
        }
        any = true;
        parts.iter_mut().rev().for_each(|(part, seen)| *seen = read(part));
        for (mut part, mut seen) in parts {
            loop {
                match source.give_back(part) {
                    PartState::Next { before } => {
                        all.extend(
                            seen.into_iter().map(|(number, time, length)| (number + before, time, length)),
                        );
                        break;
                    }
                    PartState::Again(again) => {
                        part = *again;
                        seen = read(&mut part);
                    }
                    PartState::Beyond => break,
                }
            }
        }
    }
    while !any && source.next_block(&mut block) {
        list(&block, &mut all);
    }
    all
}
