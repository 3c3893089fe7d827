//! Any packet: the decoder gives an answer.

#![no_main]

#[path = "../../tests/support/decoded.rs"]
mod decoded;
#[path = "packet.rs"]
mod packet;
#[path = "../../tests/support/stacks.rs"]
mod stacks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(frame) = packet::chosen(bytes) {
        decoded::decoded(&frame);
    }
});
