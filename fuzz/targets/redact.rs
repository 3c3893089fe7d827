//! Any packet, redacted: it becomes no longer, what was malformed becomes no segment, and a segment stays the same one.

#![no_main]

#[path = "packet.rs"]
mod packet;
#[path = "../../tests/support/stacks.rs"]
mod stacks;

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use packet::{chosen, decoded};
use stacks::Frame;
use synscope::capture::LinkType;
use synscope::decode::Decoded;
use synscope::decode::segment::Segment;
use synscope::redact::{Key, Payload, Pseudonyms, Rewriter};

thread_local! {
    static REWRITERS: RefCell<[Rewriter; 2]> = RefCell::new([
        Rewriter::redacting(Pseudonyms::new(&Key::new([7; Key::BYTES]))),
        Rewriter::new(Payload::Strip),
    ]);
}

fuzz_target!(|bytes: &[u8]| {
    let Some(frame) = chosen(bytes) else { return };
    let (before, segment) = decoded(&frame);
    REWRITERS.with_borrow_mut(|rewriters| {
        for (n, rewriter) in rewriters.iter_mut().enumerate() {
            let mut bytes = frame.bytes.clone();
            let kept = rewriter.rewrite(LinkType(frame.link), &mut bytes, frame.original_length);
            assert!(kept <= frame.bytes.len());
            bytes.truncate(kept);
            let original_length = frame.original_length.max(frame.bytes.len() as u32);
            let (after, redacted) =
                decoded(&Frame { bytes, original_length, intact: false, ..frame.clone() });
            let known = |s: &Segment| (s.src_port, s.dst_port, s.seq, s.ack, s.flags, s.payload);
            match (before, after) {
                (Decoded::Tcp, Decoded::Tcp) => {
                    assert_eq!(known(&segment), known(&redacted), "{n}: {frame:02x?}")
                }
                (Decoded::Icmp, Decoded::Icmp) => {}
                // What contradicts itself may end before the contradiction.
                (Decoded::Malformed, Decoded::Malformed | Decoded::Cut) => {}
                (Decoded::Tcp | Decoded::Icmp | Decoded::Malformed, _)
                | (_, Decoded::Tcp | Decoded::Icmp) => {
                    panic!("{n}: {before:?} became {after:?}: {frame:02x?}")
                }
                _ => {}
            }
        }
    });
});
