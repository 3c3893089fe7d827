//! The kernel's statements about single packets, assigned to the packets of the watch.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::decode::segment::{PacketId, Segment};
use crate::detect::FoundDraft;
use crate::diagnose::kernel;
use crate::kernel::comment;
use crate::kernel::join::{Joiner, NEAR, PATIENCE};
use crate::kernel::table::Judgements;
use crate::kernel::verdict::{NewStatements, Statement};
use crate::report::terminal::counted;
use crate::time::{Span, Timestamp};

/// How many refused packets are remembered: fewer connections than this hang.
const MOST_REFUSED: usize = 20_000;

/// A source of statements about what the kernel did with packets.
pub trait StatementSource: Send {
    /// The statements since the last call. Never waits.
    fn new_statements(&mut self) -> NewStatements;

    /// All remaining statements; the kernel is asked nothing more.
    fn finish(&mut self) -> NewStatements;
}

#[cfg(target_os = "linux")]
impl StatementSource for crate::kernel::bpf::reader::VerdictReader {
    fn new_statements(&mut self) -> NewStatements {
        crate::kernel::bpf::reader::VerdictReader::drain_statements(self)
    }

    fn finish(&mut self) -> NewStatements {
        crate::kernel::bpf::reader::VerdictReader::finish(self)
    }
}

/// The kernel's statements, by packet.
pub struct KernelWords {
    source: Box<dyn StatementSource>,
    joiner: Joiner,
    judgements: Judgements,
    /// The latest packets that the kernel says it refused, and the order in which they came.
    refused: Arc<HashSet<PacketId>>,
    refused_order: VecDeque<PacketId>,
    lost: u64,
    /// How many of them were reported to the user.
    told: u64,
    /// All statements up to this time have been read.
    heard_until: Timestamp,
    /// Packets from before this time have been judged.
    settled_until: Timestamp,
}

impl KernelWords {
    /// Nothing was said yet.
    pub fn new(source: Box<dyn StatementSource>) -> KernelWords {
        KernelWords {
            source,
            joiner: Joiner::default(),
            judgements: Judgements::default(),
            refused: Arc::default(),
            refused_order: VecDeque::new(),
            lost: 0,
            told: 0,
            heard_until: Timestamp::MIN,
            settled_until: Timestamp::MIN,
        }
    }

    /// Takes in segments of the capture.
    pub fn observe(&mut self, segments: Vec<Segment>) {
        self.joiner.observe(segments);
    }

    /// Joins the statements with the packets from before `now`.
    pub fn catch_up(&mut self, now: Timestamp) {
        let heard = self.source.new_statements();
        self.hear(heard);
        let joined = self.joiner.join(now);
        self.record(joined);
        let joined = now.after(Span(-PATIENCE.0));
        self.settled_until = self.settled_until.max(joined.min(self.heard_until).after(Span(-NEAR.0)));
    }

    fn record(&mut self, joined: Vec<(PacketId, Statement)>) {
        for (packet, statement) in joined {
            self.judgements.add(packet, &statement);
            if self.judgements.has_refused(packet) && !self.refused.contains(&packet) {
                let refused = Arc::make_mut(&mut self.refused);
                refused.insert(packet);
                self.refused_order.push_back(packet);
                if self.refused_order.len() > MOST_REFUSED
                    && let Some(oldest) = self.refused_order.pop_front()
                {
                    refused.remove(&oldest);
                }
            }
        }
    }

    /// The packets that the kernel says it refused because an accept queue was full, the latest.
    pub fn refused(&self) -> &Arc<HashSet<PacketId>> {
        &self.refused
    }

    /// Packets from before this time have been judged, if the kernel is asked.
    pub fn settled_until(&self) -> Timestamp {
        self.settled_until
    }

    /// A message if statements were lost since the last time.
    pub fn loss(&mut self) -> Option<String> {
        let lost = self.lost + self.joiner.counts().given_up;
        let is_more = lost > self.told;
        self.told = lost;
        is_more.then(|| {
            let lost = counted(lost, "statement");
            format!(
                "up to {lost} of the kernel about single packets were lost: more came than could be read, or one \
                 interrupted another"
            )
        })
    }

    fn hear(&mut self, heard: NewStatements) {
        self.lost = self.lost.max(heard.lost);
        self.heard_until = self.heard_until.max(heard.until);
        self.joiner.add_statements(heard.statements);
    }

    /// The watch is over: no further statement is waited for.
    pub fn finish(&mut self) {
        let heard = self.source.finish();
        self.hear(heard);
        let joined = self.joiner.finish();
        self.record(joined);
        self.settled_until = Timestamp::MAX;
    }

    /// Lets the kernel's statements decide about findings.
    pub fn judge(&mut self, drafts: &mut [FoundDraft]) {
        kernel::judge(drafts, &mut self.judgements);
    }

    /// The statements about a packet, as its comment in a file.
    pub fn comment(&self, packet: PacketId) -> Option<String> {
        self.judgements.of(packet).map(|judgement| comment::write(judgement))
    }

    /// How many statements could not be joined with packets, for the report; `None` when all were.
    pub fn note(&self) -> Option<String> {
        self.joiner.counts().note(self.lost)
    }
}
