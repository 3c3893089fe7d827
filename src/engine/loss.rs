//! What was lost to a fault of this program, and how the report says so.

use crate::capture::Status;
use crate::decode::segment::PacketId;
use crate::engine::shard::{SHARDS, Shard};
use crate::fault::Fault;

/// So many losses are named; the others are counted.
const NAMED: usize = 8;

/// One loss.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Loss {
    /// A packet that could not be decoded.
    Packet(PacketId, Fault),
    /// The connections of one shard from this packet on.
    Shard(PacketId, Fault),
    /// The rest of the input.
    Rest(Fault),
    /// What hosts remember of each other, for the packets that were compared at once.
    Peers(Fault),
}

impl Loss {
    /// As a sentence or two.
    fn text(&self, status: &[Status]) -> String {
        let name = |id: &PacketId| match status.get(usize::from(id.capture())) {
            Some(status) => format!("{}: packet {}", status.path, id.number()),
            None => format!("packet {}", id.number()),
        };
        let what = match self {
            Loss::Packet(id, fault) => {
                format!("{} made this program fail (at {fault}) and was left out.", name(id))
            }
            Loss::Shard(id, fault) => format!(
                "{} made this program fail (at {fault}); one of {SHARDS} parts of the connections is known only up to there.",
                name(id)
            ),
            Loss::Rest(fault) => {
                let packets: u64 = status.iter().map(|status| status.packets).sum();
                format!(
                    "this program failed while reading (at {fault}); what comes after the {packets} packets before that was not analyzed."
                )
            }
            Loss::Peers(fault) => format!(
                "this program failed while comparing connections of the same hosts (at {fault}); findings that need that may be missing."
            ),
        };
        format!("{what} Please report this with the capture.")
    }
}

/// Takes over what the shards have lost.
pub(super) fn of_shards(shards: &mut [Shard], losses: &mut Losses) {
    for loss in shards.iter_mut().filter_map(Shard::take_loss) {
        losses.note(loss);
    }
}

/// All losses of a run.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Losses {
    named: Vec<Loss>,
    more: u64,
}

impl Losses {
    /// Notes one.
    #[cold]
    pub fn note(&mut self, loss: Loss) {
        if self.named.len() < NAMED {
            self.named.push(loss);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// Notes those of `other`, whose packets are numbered behind the first `before` of their input.
    pub fn append(&mut self, other: &Losses, before: u64) {
        let placed = |id: PacketId| PacketId::new(id.capture(), id.number().saturating_add(before));
        for loss in &other.named {
            self.note(match loss.clone() {
                Loss::Packet(id, fault) => Loss::Packet(placed(id), fault),
                other => other,
            });
        }
        self.more = self.more.saturating_add(other.more);
    }

    /// One message for each that is named, and one for the others.
    pub fn texts(&self, status: &[Status]) -> Vec<String> {
        let mut texts: Vec<String> = self.named.iter().map(|loss| loss.text(status)).collect();
        if self.more > 0 {
            texts.push(format!("{} more packets made this program fail and were left out.", self.more));
        }
        texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Block, LinkType, MemorySource, Source};
    use crate::decode::tests::FATAL;
    use crate::engine::{Options, Outcome, analyze_source};
    use crate::flow::tracker::tests::FATAL as FATAL_SEGMENT;
    use crate::time::Timestamp;

    /// A SYN from this port, raw IPv4, with this TTL, TOS and window.
    fn syn(port: u16, (ttl, tos, window): (u8, u8, u16)) -> Vec<u8> {
        let mut packet = vec![0x45, tos, 0, 40, 0, 1, 0x40, 0, ttl, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2];
        packet.extend(port.to_be_bytes());
        packet.extend([0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2]);
        packet.extend(window.to_be_bytes());
        packet.extend([0; 4]);
        packet
    }

    fn analyzed(source: Box<dyn Source>) -> Outcome {
        let options = Options { threads: 2, ..Options::default() };
        analyze_source(source, &options, &mut |_| {}).expect("threads can be started")
    }

    fn timed(packets: Vec<(LinkType, Vec<u8>)>) -> MemorySource {
        let timed = packets.into_iter().enumerate();
        MemorySource::new(timed.map(|(n, (link, data))| (Timestamp(n as i64 * 1_000_000), link, data)))
    }

    const RAW: LinkType = LinkType(101);
    const USUAL: (u8, u8, u16) = (64, 0, 1_000);

    #[test]
    fn a_packet_that_cannot_be_decoded_costs_itself() {
        let fatal = (FATAL.0, FATAL.1.to_vec());
        let mut packets: Vec<_> = (0..6).map(|port| (RAW, syn(port, USUAL))).collect();
        packets.insert(0, fatal.clone());
        packets.insert(4, fatal.clone());
        packets.push(fatal);
        let outcome = analyzed(Box::new(timed(packets)));
        assert_eq!((outcome.report.summary.packets, outcome.report.summary.tcp_segments), (9, 6));
        assert_eq!(outcome.report.summary.connections, 6);
        let named: Vec<bool> = ["packet 1 ", "packet 5 ", "packet 9 "]
            .iter()
            .zip(&outcome.damage)
            .map(|(name, said)| said.contains(name) && said.contains("src/decode/mod.rs:"))
            .collect();
        assert_eq!(named, [true; 3], "{:?}", outcome.damage);
        assert!(outcome.damage.iter().all(|said| outcome.report.warnings.contains(said)));
    }

    #[test]
    fn many_such_packets_are_counted() {
        let packets = vec![(FATAL.0, FATAL.1.to_vec()); 5_000];
        let outcome = analyzed(Box::new(timed(packets)));
        assert_eq!(outcome.damage.len(), NAMED + 1);
        assert!(outcome.damage[NAMED].starts_with("4992 more packets"), "{:?}", outcome.damage);
    }

    #[test]
    fn a_segment_that_cannot_be_followed_costs_a_part_of_the_connections() {
        let mut packets: Vec<_> = (0..1_000).map(|port| (RAW, syn(port, USUAL))).collect();
        packets.insert(500, (RAW, syn(9_999, FATAL_SEGMENT)));
        let outcome = analyzed(Box::new(timed(packets)));
        let summary = &outcome.report.summary;
        assert_eq!(summary.tcp_segments, 1_001);
        assert!((950..1_000).contains(&summary.connections), "{}", summary.connections);
        assert_eq!(outcome.damage.len(), 1);
        assert!(outcome.damage[0].contains("packet 501 made this program fail"), "{:?}", outcome.damage);
    }

    /// Fails when it is read on.
    struct Failing(MemorySource, bool);

    impl Source for Failing {
        fn next_block(&mut self, block: &mut Block) -> bool {
            assert!(!self.1, "a source that a test makes fail");
            self.1 = true;
            self.0.next_block(block)
        }

        fn status(&self) -> Vec<Status> {
            self.0.status()
        }

        fn silences(&self) -> Vec<crate::capture::Silence> {
            self.0.silences()
        }
    }

    #[test]
    fn a_source_that_fails_costs_the_rest_of_the_input() {
        let source = timed((0..50).map(|port| (RAW, syn(port, USUAL))).collect());
        let outcome = analyzed(Box::new(Failing(source, false)));
        assert_eq!(outcome.report.summary.connections, 50);
        assert_eq!(outcome.damage.len(), 1);
        assert!(outcome.damage[0].contains("what comes after the 50 packets"), "{:?}", outcome.damage);
    }
}
