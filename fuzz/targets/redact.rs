//! Any packet, redacted: it becomes no longer, what was malformed stays no segment, and a segment stays the same one.
//!
//! The bytes choose as in the target `decoder`.

#![no_main]

#[path = "../../tests/support/stacks.rs"]
mod stacks;

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use stacks::{Choices, Frame};
use synscope::capture::{LinkType, Packet};
use synscope::decode::segment::{PacketId, Segment};
use synscope::decode::{Decoded, decode};
use synscope::redact::{Key, Payload, Pseudonyms, Rewriter};
use synscope::time::Timestamp;

thread_local! {
    static REWRITERS: RefCell<[Rewriter; 2]> = RefCell::new([
        Rewriter::redacting(Pseudonyms::new(&Key::new([7; Key::BYTES]))),
        Rewriter::new(Payload::Strip),
    ]);
}

fuzz_target!(|bytes: &[u8]| {
    let frame = match bytes {
        [0..192, choices @ ..] => stacks::frame(&mut Choices::new(choices)),
        [_, link, more, data @ ..] => Frame {
            link: u16::from(*link),
            bytes: data.to_vec(),
            original_length: data.len() as u32 + u32::from(*more),
            intact: false,
        },
        _ => return,
    };
    let (before, segment) = decoded(&frame);
    assert!(!frame.intact || matches!(before, Decoded::Tcp | Decoded::Icmp), "{before:?}: {frame:02x?}");
    REWRITERS.with_borrow_mut(|rewriters| {
        for (n, rewriter) in rewriters.iter_mut().enumerate() {
            let mut bytes = frame.bytes.clone();
            let kept = rewriter.rewrite(LinkType(frame.link), &mut bytes, frame.original_length);
            assert!(kept <= frame.bytes.len());
            bytes.truncate(kept);
            let original_length = frame.original_length.max(frame.bytes.len() as u32);
            let (after, redacted) = decoded(&Frame { bytes, original_length, ..frame.clone() });
            let known = |s: &Segment| (s.src_port, s.dst_port, s.seq, s.ack, s.flags, s.payload);
            match (before, after) {
                (Decoded::Tcp, Decoded::Tcp) => {
                    assert_eq!(known(&segment), known(&redacted), "{n}: {frame:02x?}")
                }
                (Decoded::Icmp, Decoded::Icmp) => {}
                (_, Decoded::Tcp | Decoded::Icmp) => panic!("{n}: {before:?} became {after:?}: {frame:02x?}"),
                _ => {}
            }
        }
    });
});

fn decoded(frame: &Frame) -> (Decoded, Segment) {
    let packet = Packet {
        id: PacketId::new(0, 1),
        time: Timestamp(0),
        timed: true,
        interface: 0,
        link: LinkType(frame.link),
        original_length: frame.original_length,
        data: &frame.bytes,
    };
    let mut segment = Segment::default();
    (decode(&packet, &mut segment), segment)
}
