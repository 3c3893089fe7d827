//! A source whose packets have the times of another clock: that of another capture point.

use std::sync::Arc;

use super::{Block, Correction, InputPart, InputStatus, PartState, Silence, Source};
/// `inner` with other times. [`Source::status`] still uses the inputs' own clock.
pub struct ReclockedSource {
    inner: Box<dyn Source>,
    correction: Correction,
}

impl ReclockedSource {
    /// Packets of `inner`, with their times corrected.
    pub fn new(inner: Box<dyn Source>, correction: Correction) -> ReclockedSource {
        ReclockedSource { inner, correction }
    }

    fn corrected(&self, mut part: InputPart) -> InputPart {
        part.correction = Some(Arc::clone(&self.correction));
        part
    }
}

impl Source for ReclockedSource {
    fn next_block(&mut self, block: &mut Block) -> bool {
        let more = self.inner.next_block(block);
        block.correct_times(&self.correction);
        more
    }

    fn status(&self) -> Vec<InputStatus> {
        self.inner.status()
    }

    fn silences(&self) -> Vec<Silence> {
        let correct =
            |Silence { from, to }| Silence { from: (self.correction)(from), to: (self.correction)(to) };
        self.inner.silences().into_iter().map(correct).collect()
    }

    fn next_part(&mut self, bytes: u64) -> Option<InputPart> {
        let part = self.inner.next_part(bytes)?;
        Some(self.corrected(part))
    }

    fn give_back(&mut self, part: InputPart) -> PartState {
        match self.inner.give_back(part) {
            PartState::Again(part) => PartState::Again(Box::new(self.corrected(*part))),
            settled => settled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{LinkType, MemorySource};
    use crate::time::{Span, Timestamp};

    #[test]
    fn times_are_those_of_the_other_clock() {
        let packets = [0, 100].map(|at| (Timestamp(0) + Span::secs(at), LinkType(101), vec![0]));
        let inner = Box::new(MemorySource::new(packets.to_vec()));
        let mut source = ReclockedSource::new(inner, Arc::new(|at| at + Span::secs(5)));
        let (mut block, mut times) = (Block::default(), Vec::new());
        while source.next_block(&mut block) {
            times.extend(block.packets().map(|packet| packet.time));
        }
        assert_eq!(times, [5, 105].map(|at| Timestamp(0) + Span::secs(at)));
    }
}
