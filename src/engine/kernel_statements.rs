//! The kernel's statements in recordings, joined with packets while the captures are read.

use std::path::Path;
use std::sync::Arc;

use crate::decode::segment::{PacketId, Segment};
use crate::engine::batch::{Batch, MOST_JUDGED};
use crate::kernel::join::{Joiner, NEAR, PATIENCE};
use crate::kernel::recording::Statements;
use crate::kernel::table::Judgements;
use crate::kernel::verdict::{Judgement, Statement};
use crate::time::{Span, Timestamp};

/// Segments this long before the next statement or longer are not remembered.
const AHEAD: Span = Span(NEAR.0 + PATIENCE.0);

/// Statements of recordings that are being joined with packets.
pub struct RecordedVerdicts {
    recordings: Vec<(Arc<Path>, Statements)>,
    joiner: Joiner,
    judgements: Judgements,
    /// Packets judged.
    judged: usize,
    notes: Vec<String>,
}

impl RecordedVerdicts {
    /// Opens these recordings; `None` if there are none.
    pub fn of(recordings: &[Arc<Path>]) -> Option<RecordedVerdicts> {
        let (mut opened, mut notes) = (Vec::new(), Vec::new());
        for path in recordings {
            match Statements::open(path) {
                Ok(statements) => opened.push((Arc::clone(path), statements)),
                Err(error) => notes.push(format!("{} cannot be read again: {error}", path.display())),
            }
        }
        (!recordings.is_empty()).then(|| RecordedVerdicts {
            recordings: opened,
            joiner: Joiner::default(),
            judgements: Judgements::without_limit(),
            judged: 0,
            notes,
        })
    }

    /// Takes in a batch of the capture.
    pub fn observe(&mut self, batch: &Batch) {
        let Some(now) = batch.segments().map(|segment| segment.time).max() else { return };
        let next = self.recordings.iter().filter_map(|(_, statements)| statements.next_time()).min();
        let is_near = next.is_some_and(|next| next <= now + AHEAD);
        if !is_near && !self.joiner.is_waiting() {
            return;
        }
        let segments: Vec<Segment> = batch.segments().copied().collect();
        self.joiner.observe(segments);
        for (_, statements) in &mut self.recordings {
            self.joiner.add_statements(statements.until(now));
        }
        let joined = self.joiner.join(now);
        self.record(joined);
    }

    /// All packets have come: returns the judgements, and messages about them.
    pub fn finish(mut self, last: Option<Timestamp>) -> (Vec<(PacketId, Judgement)>, Vec<String>) {
        let end = last.unwrap_or(Timestamp::MIN) + NEAR;
        for (_, statements) in &mut self.recordings {
            self.joiner.add_statements(statements.until(end));
        }
        let joined = self.joiner.finish();
        self.record(joined);
        for (path, statements) in &self.recordings {
            if let Some(damage) = statements.damage() {
                self.notes.push(format!("{}: {damage}; verdicts after it are not known", path.display()));
            }
        }
        if self.judged > MOST_JUDGED {
            self.notes.push(format!(
                "verdicts on more than {MOST_JUDGED} packets are recorded; only these were used"
            ));
        }
        self.notes.extend(self.joiner.counts().note(0));
        (self.judgements.into_all(), self.notes)
    }

    fn record(&mut self, joined: Vec<(PacketId, Statement)>) {
        for (packet, statement) in joined {
            if self.judgements.of(packet).is_none() {
                self.judged += 1;
                if self.judged > MOST_JUDGED {
                    continue;
                }
            }
            self.judgements.add(packet, &statement);
        }
    }
}
