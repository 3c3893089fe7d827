//! Any packet, redacted: it does not grow. A malformed packet stays malformed, and a segment stays the same segment.

#![no_main]

#[path = "../../tests/support/decoded.rs"]
mod decoded;
#[path = "packet.rs"]
mod packet;
#[path = "../../tests/support/redaction.rs"]
mod redaction;
#[path = "../../tests/support/stacks.rs"]
mod stacks;

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use packet::chosen;
use redaction::rewritten;
use synscope::redact::{Payload, PseudonymKey, Pseudonyms, Rewriter};

thread_local! {
    static REWRITERS: RefCell<[Rewriter; 2]> = RefCell::new([
        Rewriter::redacting(Pseudonyms::new(&PseudonymKey::new([7; PseudonymKey::BYTES]))),
        Rewriter::new(Payload::Strip),
    ]);
}

fuzz_target!(|bytes: &[u8]| {
    let Some(frame) = chosen(bytes) else { return };
    REWRITERS.with_borrow_mut(|rewriters| {
        for (n, rewriter) in rewriters.iter_mut().enumerate() {
            rewritten(rewriter, &frame, n);
        }
    });
});
