//! Any octets as a capture: it is read to its end or to its damage, and the packets lie where they should.

#![no_main]

mod input;

use libfuzzer_sys::fuzz_target;
use synscope::capture::{Block, open};

fuzz_target!(|octets: &[u8]| {
    let Ok(mut opened) = open(&[input::file_of(octets)]) else { return };
    let mut block = Block::default();
    let mut last = 0;
    while opened.source.next_block(&mut block) {
        for packet in block.packets() {
            assert_eq!(packet.id.number(), last + 1, "packets are numbered as they lie in the file");
            last = packet.id.number();
        }
    }
    assert_eq!(opened.source.status()[0].packets, last, "the count is that of the packets delivered");
});
