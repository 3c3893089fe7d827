//! A source whose packets lie in memory: for tests and benchmarks of the modules behind this one.

use super::{Block, InputStatus, LinkType, Packet, Silence, Silences, Source};
use crate::decode::segment::PacketId;
use crate::time::Timestamp;

/// Packets from memory, as if read from one capture named `memory`, in the order given.
#[derive(Debug, Default)]
pub struct MemorySource {
    packets: Vec<(Timestamp, LinkType, Vec<u8>)>,
    next: usize,
    block_size: usize,
    times: Option<(Timestamp, Timestamp)>,
    silences: Silences,
}

impl MemorySource {
    /// A source of these packets, numbered from 1; each was as long on the wire as its bytes here. Blocks hold 1,024
    /// packets.
    pub fn new(packets: impl IntoIterator<Item = (Timestamp, LinkType, Vec<u8>)>) -> MemorySource {
        let packets = packets.into_iter().collect();
        MemorySource { packets, block_size: 1024, ..MemorySource::default() }
    }

    /// The same with `packets` to a block (at least 1).
    pub fn with_block_size(mut self, packets: usize) -> MemorySource {
        self.block_size = packets.max(1);
        self
    }
}

impl Source for MemorySource {
    fn next_block(&mut self, block: &mut Block) -> bool {
        block.clear();
        for (time, link, data) in self.packets.iter().skip(self.next).take(self.block_size) {
            self.next = self.next.saturating_add(1);
            let (first, last) = self.times.unwrap_or((*time, *time));
            self.times = Some((first.min(*time), last.max(*time)));
            block.push(&Packet {
                id: PacketId::new(0, self.next as u64),
                time: *time,
                timed: true,
                interface: 0,
                link: *link,
                original_length: data.len() as u32,
                data,
            });
        }
        self.silences.note_records(&block.records);
        !block.is_empty()
    }

    fn status(&self) -> Vec<InputStatus> {
        vec![InputStatus {
            path: "memory".to_owned(),
            format: "memory".to_owned(),
            packets: self.next as u64,
            times: self.times,
            ..InputStatus::default()
        }]
    }

    fn silences(&self) -> Vec<Silence> {
        self.silences.list()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_back_in_order_and_numbered() {
        let packets = (0..5).map(|i| (Timestamp(i), LinkType(1), vec![i as u8; 3]));
        let mut source = MemorySource::new(packets).with_block_size(2);
        let (mut block, mut seen) = (Block::default(), Vec::new());
        while source.next_block(&mut block) {
            seen.extend(block.packets().map(|p| (p.id.number(), p.time.0, p.data.to_vec())));
        }
        assert_eq!(seen, (0..5).map(|i| (i as u64 + 1, i, vec![i as u8; 3])).collect::<Vec<_>>());
        assert_eq!(source.status()[0].packets, 5);
        assert_eq!(source.status()[0].times, Some((Timestamp(0), Timestamp(4))));
    }
}
