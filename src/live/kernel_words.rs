//! The kernel's word on single packets, brought to the packets of the watch.

use crate::decode::segment::{PacketId, Segment};
use crate::detect::Found;
use crate::diagnose::kernel;
use crate::kernel::comment;
use crate::kernel::join::Joiner;
use crate::kernel::table::Judgements;
use crate::kernel::verdict::Heard;
use crate::report::terminal::counted;
use crate::time::Timestamp;

/// Whoever says what the kernel did with packets.
pub trait Source: Send {
    /// What was said since the last time. Never waits.
    fn heard(&mut self) -> Heard;
}

#[cfg(target_os = "linux")]
impl Source for crate::kernel::bpf::reader::Reader {
    fn heard(&mut self) -> Heard {
        crate::kernel::bpf::reader::Reader::heard(self)
    }
}

/// What was said, by packet.
pub struct KernelWords {
    source: Box<dyn Source>,
    joiner: Joiner,
    judgements: Judgements,
    lost: u64,
}

impl KernelWords {
    /// Nothing was said yet.
    pub fn new(source: Box<dyn Source>) -> KernelWords {
        KernelWords { source, joiner: Joiner::default(), judgements: Judgements::default(), lost: 0 }
    }

    /// Takes in segments of the capture.
    pub fn observe(&mut self, segments: Vec<Segment>) {
        self.joiner.observe(segments);
    }

    /// Brings what was said to the packets from before `now`. Says so when something was lost.
    pub fn catch_up(&mut self, now: Timestamp) -> Option<String> {
        let heard = self.source.heard();
        let is_more = heard.lost > self.lost;
        self.lost = self.lost.max(heard.lost);
        self.joiner.hear(heard.statements);
        for (packet, statement) in self.joiner.join(now) {
            self.judgements.add(packet, &statement);
        }
        is_more.then(|| {
            let lost = counted(self.lost, "statement");
            format!("{lost} of the kernel about single packets were lost: more came than could be read")
        })
    }

    /// The watch is over: nothing is waited for any more.
    pub fn finish(&mut self, now: Timestamp) {
        let _ = self.catch_up(now);
        for (packet, statement) in self.joiner.finish() {
            self.judgements.add(packet, &statement);
        }
    }

    /// Lets what was said decide about findings.
    pub fn judge(&mut self, drafts: &mut [Found]) {
        kernel::judge(drafts, &mut self.judgements);
    }

    /// What was said of a packet, as its comment in a file.
    pub fn comment(&self, packet: PacketId) -> Option<String> {
        self.judgements.of(packet).map(|judgement| comment::write(judgement))
    }

    /// What became of all that was said, for the report; `None` where that was all joined.
    pub fn note(&self) -> Option<String> {
        let counts = self.joiner.counts();
        let unclear = counts.ambiguous + counts.partial + counts.given_up;
        (self.lost + unclear > 0).then(|| {
            format!(
                "the kernel's statements about single packets: {} joined with a packet, {} left out because several \
                 packets or parts of one fit, {} lost, {} about packets that were not captured",
                counts.joined, unclear, self.lost, counts.without_packet
            )
        })
    }
}
