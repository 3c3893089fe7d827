//! The effects of the memory limit, and their words in the report.

use crate::flow::tracker::Tracker;
use crate::history::triage::Triage;

/// Counts of connections and records that did not fit within the memory limit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MemoryLimitCost {
    /// Connections evicted before their end, those included that were evicted again after they had been forgotten.
    pub evicted: u64,
    /// Segments of them afterwards.
    pub segments: u64,
    /// Segments of connections evicted and forgotten, or joined in the middle.
    pub strays: u64,
    /// Handshakes that most likely repeat others that were evicted and forgotten: they are not counted.
    pub repeated: u64,
    /// Handshakes never completed that were only counted.
    pub surplus: u64,
    /// Closes that would have left a server a memory of its client.
    pub unfollowed: u64,
    /// Connections to listeners of which there were too many.
    pub unlisted: u64,
}

impl MemoryLimitCost {
    /// Counts that one part of the connections makes itself, beside those of its tracker.
    pub(super) fn of(triage: &Triage) -> MemoryLimitCost {
        MemoryLimitCost {
            segments: triage.let_go_segments,
            strays: triage.strays,
            surplus: triage.surplus,
            unlisted: triage.unlisted,
            ..MemoryLimitCost::default()
        }
    }

    /// Adds those of another part.
    pub fn add(&mut self, other: &MemoryLimitCost) {
        self.evicted += other.evicted;
        self.segments += other.segments;
        self.strays += other.strays;
        self.repeated += other.repeated;
        self.surplus += other.surplus;
        self.unfollowed += other.unfollowed;
        self.unlisted += other.unlisted;
    }

    /// One sentence for the warnings of the report. `step` is the time, in seconds, over which the histories of
    /// listeners count together; `limit` is the memory limit in bytes.
    pub fn text(&self, step: Option<i64>, limit: u64) -> Option<String> {
        // A connection that was forgotten and evicted again is one connection.
        let evicted = self.evicted.saturating_sub(self.repeated);
        let said = [
            (evicted, "connections were dropped from memory before their end: how they ended is not known"),
            (self.segments, "segments of connections dropped from memory were not examined"),
            (
                self.strays,
                "segments belong to connections dropped from memory, or to ones that began before the capture: \
                 the two cannot be told apart",
            ),
            (
                self.repeated,
                "SYNs (estimated) repeat SYNs dropped from memory, so the number of connections is an estimate",
            ),
            (self.surplus, "handshakes that were never completed were only counted"),
            (self.unfollowed, "records of servers about their clients were not kept"),
            (self.unlisted, "connections belonged to listeners that did not fit"),
        ];
        let coarse = step
            .filter(|step| *step > 1)
            .map(|step| format!("events at each listener were counted in steps of {step} seconds"));
        let said: Vec<String> = said
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}"))
            .chain(coarse)
            .collect();
        // The tables fill before the whole process has taken that much.
        let part = match evicted {
            0 => "a part of that is for the record of past connections",
            _ => "half of that is for open connections",
        };
        (!said.is_empty()).then(|| {
            format!(
                "the tables were full under the memory limit of {} MiB ({part}): {}; raise --memory-limit, or narrow the capture with --host, \
                 --port, --since, --until",
                limit >> 20,
                said.join("; "),
            )
        })
    }
}

/// Connections that were counted twice: as evicted, and as new ones.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct CountedTwice {
    /// Handshakes that most likely repeat others that were evicted and forgotten.
    pub repeated: u64,
    /// Those that are followed again.
    pub readmitted: u64,
}

impl CountedTwice {
    /// By this tracker, so far.
    pub(super) fn by(tracker: &Tracker) -> CountedTwice {
        CountedTwice { repeated: tracker.repeated(), readmitted: tracker.readmitted() }
    }

    /// How many connections.
    pub fn connections(self) -> u64 {
        self.repeated + self.readmitted
    }

    /// Those that were not counted by then.
    pub(super) fn since(self, then: CountedTwice) -> CountedTwice {
        CountedTwice {
            repeated: self.repeated.saturating_sub(then.repeated),
            readmitted: self.readmitted.saturating_sub(then.readmitted),
        }
    }
}

impl std::iter::Sum for CountedTwice {
    fn sum<I: Iterator<Item = CountedTwice>>(all: I) -> CountedTwice {
        all.fold(CountedTwice::default(), |sum, one| CountedTwice {
            repeated: sum.repeated + one.repeated,
            readmitted: sum.readmitted + one.readmitted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_evicted_twice_is_one_connection() {
        let given_up = MemoryLimitCost { evicted: 30, repeated: 20, ..MemoryLimitCost::default() };
        let text = given_up.text(Some(1), 64 << 20).expect("something was given up");
        assert!(
            text.contains(
                "64 MiB (half of that is for open connections): 10 connections were dropped from memory"
            ),
            "{text}"
        );
        assert!(text.contains("20 SYNs (estimated) repeat"), "{text}");
        assert_eq!(MemoryLimitCost::default().text(Some(1), 64 << 20), None);
    }
}
