//! The times of an input's packets: the earliest, the latest, and how often its clock stepped back.

use super::block::PacketRecord;
use super::message::GroupedDigits;
use crate::time::{Span, Timestamp};

/// A clock that steps back by no more than this gives no warning: several interfaces or processors write into one file,
/// each in its own order.
const JUMP: Span = Span::secs(1);

/// The times of one input.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct InputTimes {
    /// Earliest and latest.
    pub times: Option<(Timestamp, Timestamp)>,
    /// Of the first packet that has one, and its number.
    first: (Timestamp, u64),
    /// Of the packet before.
    pub last: Timestamp,
    /// How often the clock stepped back by more than [`JUMP`].
    pub jumps: u64,
    /// The first such packet, and how far.
    first_jump: (u64, Span),
}

impl InputTimes {
    /// Adds the times of these packets.
    pub(super) fn note(&mut self, records: &[PacketRecord]) {
        let mut timed = records.iter().filter(|record| record.timed);
        if self.times.is_none() {
            let Some(first) = timed.next() else { return };
            self.times = Some((first.time, first.time));
            self.first = (first.time, first.id.number());
            self.last = first.time;
        }
        let Some((mut earliest, mut latest)) = self.times else { return };
        for record in timed {
            self.step(record.time, record.id.number());
            earliest = earliest.min(record.time);
            latest = latest.max(record.time);
        }
        self.times = Some((earliest, latest));
    }

    /// Adds the times of `part`; `before` is the number of the last packet before it.
    pub(super) fn append(&mut self, part: &InputTimes, before: u64) {
        let (Some((earliest, latest)), (first, number)) = (part.times, part.first) else { return };
        let number = number.saturating_add(before);
        match &mut self.times {
            None => (self.times, self.first) = (part.times, (first, number)),
            Some(times) => {
                *times = (times.0.min(earliest), times.1.max(latest));
                self.step(first, number);
            }
        }
        if self.jumps == 0 && part.jumps > 0 {
            self.first_jump = (part.first_jump.0.saturating_add(before), part.first_jump.1);
        }
        self.jumps = self.jumps.saturating_add(part.jumps);
        self.last = part.last;
    }

    #[inline]
    fn step(&mut self, time: Timestamp, packet: u64) {
        let back = self.last.since(time);
        if back > JUMP {
            if self.jumps == 0 {
                self.first_jump = (packet, back);
            }
            self.jumps = self.jumps.saturating_add(1);
        }
        self.last = time;
    }

    /// The warning about it, if there is one.
    pub(super) fn warning(&self) -> Option<String> {
        let (packet, span) = (GroupedDigits(self.first_jump.0), self.first_jump.1);
        match self.jumps {
            0 => None,
            1 => Some(format!("the clock jumps back {span} at packet {packet}")),
            n => Some(format!(
                "the clock jumps back {} times, first {span} at packet {packet}",
                GroupedDigits(n)
            )),
        }
    }
}
