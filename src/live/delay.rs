//! Delays packets on their way to a file until the kernel's statements about them have arrived.

use std::collections::VecDeque;

use crate::capture::Block;
use crate::decode::segment::PacketId;
use crate::live::kernel_words::KernelWords;
use crate::live::output::Recorder;
use crate::time::Timestamp;

/// How many packets may wait; beyond that the oldest are written without a comment.
const MOST: usize = 300_000;

/// Blocks that wait, the oldest first.
#[derive(Default)]
pub(super) struct Delay {
    waiting: VecDeque<(Timestamp, Block)>,
    /// Packets in them.
    packets: usize,
    spare: Vec<Block>,
}

impl Delay {
    /// Hands over packets that have waited long enough, and makes `blocks` wait. If the kernel is not asked, nothing
    /// waits.
    pub fn record(&mut self, blocks: &mut [Block], recorder: &mut dyn Recorder, words: Option<&KernelWords>) {
        let Some(words) = words else {
            blocks.iter().for_each(|block| recorder.block(block, &|_| None));
            return;
        };
        for block in blocks {
            let Some(last) = block.packets().map(|packet| packet.time).max() else { continue };
            let empty = self.spare.pop().unwrap_or_default();
            self.packets += block.len();
            self.waiting.push_back((last, std::mem::replace(block, empty)));
        }
        let settled = words.settled_until();
        while self.waiting.front().is_some_and(|(last, _)| *last <= settled) || self.packets > MOST {
            self.hand_over(recorder, words);
        }
    }

    /// Hands over all that waits.
    pub fn finish(&mut self, recorder: &mut dyn Recorder, words: Option<&KernelWords>) {
        let Some(words) = words else { return };
        while !self.waiting.is_empty() {
            self.hand_over(recorder, words);
        }
    }

    fn hand_over(&mut self, recorder: &mut dyn Recorder, words: &KernelWords) {
        let Some((_, mut block)) = self.waiting.pop_front() else { return };
        self.packets -= block.len();
        recorder.block(&block, &|packet: PacketId| words.comment(packet));
        block.clear();
        self.spare.push(block);
    }
}
