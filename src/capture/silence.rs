//! Intervals of the stream without a packet: a connection that is silent there may have had packets.

use super::Packet;
use super::block::PacketRecord;
use crate::time::{Span, Timestamp};

/// A shorter interval without packets is ignored.
pub const QUIET: Span = Span::secs(30);

/// An interval without a single packet, longer than [`QUIET`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Silence {
    /// The last packet before it.
    pub from: Timestamp,
    /// The first packet after it.
    pub to: Timestamp,
}

/// Collects the intervals longer than [`QUIET`] between the packets of a stream.
///
/// Intervals are measured from the latest time seen so far: packets out of order make no silence. If there are too
/// many, the longest are kept (of equally long ones the earlier), in bounded memory and with a cost that does not grow
/// with their number.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Silences {
    first: Option<Timestamp>,
    latest: Option<Timestamp>,
    found: Vec<Silence>,
    /// No interval shorter than this is kept any more.
    floor: Span,
    /// For a part of the stream, all intervals are kept, because it is not known yet which are long.
    part: bool,
}

impl Silences {
    /// How many are kept at most.
    pub const KEPT: usize = 4096;

    /// Those of a part of the stream, to be appended to what comes before it.
    pub(super) fn of_part() -> Silences {
        Silences { part: true, ..Silences::default() }
    }

    /// Adds the packets of `part`. A silence there may become shorter here, or vanish, if a packet of an earlier part
    /// is as late.
    pub(super) fn append(&mut self, part: &Silences) {
        let (Some(first), Some(latest)) = (part.first, part.latest) else { return };
        self.advance(first);
        for silence in &part.found {
            // Up to here there were packets without a silence.
            self.latest = self.latest.max(Some(silence.from));
            self.advance(silence.to);
        }
        self.latest = self.latest.max(Some(latest));
    }

    /// Notes the next packet of the stream.
    pub fn note(&mut self, packet: &Packet<'_>) {
        if packet.timed {
            self.advance(packet.time);
        }
    }

    pub(super) fn note_records(&mut self, records: &[PacketRecord]) {
        for record in records {
            if record.timed {
                self.advance(record.time);
            }
        }
    }

    #[inline]
    fn advance(&mut self, time: Timestamp) {
        match self.latest {
            Some(latest) if time <= latest => return,
            Some(latest) if time.since(latest) > QUIET => self.found(Silence { from: latest, to: time }),
            Some(_) => {}
            None => self.first = Some(time),
        }
        self.latest = Some(time);
    }

    #[cold]
    fn found(&mut self, silence: Silence) {
        if silence.to.since(silence.from) < self.floor {
            return;
        }
        self.found.push(silence);
        // Thinned out only when twice as many as needed have come together, so that each costs the same on average.
        if self.found.len() == 2 * Silences::KEPT && !self.part {
            self.found = Silences::longest(&self.found);
            self.floor = self.found.iter().map(|s| s.to.since(s.from)).min().unwrap_or_default();
        }
    }

    /// The intervals with packets between the silences, from the first packet to the last.
    #[cfg(feature = "fleet")]
    pub(super) fn eventful(&self) -> impl Iterator<Item = (Timestamp, Timestamp)> + '_ {
        let from = self.first.into_iter().chain(self.found.iter().map(|silence| silence.to));
        let to = self.found.iter().map(|silence| silence.from).chain(self.latest);
        from.zip(to)
    }

    /// Adds an interval with packets.
    #[cfg(feature = "fleet")]
    pub(super) fn note_eventful(&mut self, (from, to): (Timestamp, Timestamp)) {
        self.advance(from);
        self.latest = self.latest.max(Some(to));
    }

    /// The silences found so far, in time order, at most [`Silences::KEPT`].
    pub fn list(&self) -> Vec<Silence> {
        Silences::longest(&self.found)
    }

    fn longest(all: &[Silence]) -> Vec<Silence> {
        let mut kept = all.to_vec();
        kept.sort_by_key(|s| (std::cmp::Reverse(s.to.since(s.from)), s.from));
        kept.truncate(Silences::KEPT);
        kept.sort_by_key(|s| s.from);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(seconds: impl IntoIterator<Item = i64>) -> Silences {
        let mut silences = Silences::default();
        for second in seconds {
            silences.advance(Timestamp(0) + Span::secs(second));
        }
        silences
    }

    #[test]
    fn only_stretches_longer_than_30_seconds_count() {
        let found = over([0, 30, 61, 62]).list();
        assert_eq!(found, [Silence { from: Timestamp(30_000_000_000), to: Timestamp(61_000_000_000) }]);
    }

    #[test]
    fn a_clock_that_steps_back_makes_no_silence() {
        assert_eq!(over([100, 0, 101, 50, 120]).list(), []);
    }

    #[test]
    fn of_very_many_the_longest_stay() {
        // Every seventh interval is an hour, all others 31 s: 5,715 hours among 40,000.
        let mut second = 0;
        let times = (0..40_000).map(|i| {
            second += if i % 7 == 0 { 3600 } else { 31 };
            second
        });
        let silences = over(times);
        let found = silences.list();
        assert_eq!(found.len(), Silences::KEPT);
        assert!(found.iter().all(|s| s.to - s.from == Span::secs(3600)));
        assert!(found.is_sorted_by_key(|s| s.from));
        assert!(silences.found.len() < 2 * Silences::KEPT);
    }
}
