//! Fingerprints of connections that were evicted, so that a segment of one of them is not taken for the
//! beginning of another connection.
//!
//! Each takes four bytes, in one of two buckets. The room is bounded: if both are full, the oldest fingerprint is
//! overwritten.

use super::prefetch::prefetch;
use crate::seq::Seq;
use crate::time::Timestamp;

/// Fingerprints in a bucket.
const WIDTH: usize = 16;
/// Bits of the flow hash in a fingerprint. Others choose the bucket.
const TAG_BITS: u32 = 20;
/// Bits of the client's initial sequence number.
const ISN_BITS: u32 = 9;
/// Registers of the sketch.
const REGISTERS: usize = 1 << 10;

/// How far a connection had come when it was evicted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::flow) enum Stage {
    /// Its handshake was not complete.
    HalfOpen,
    /// Its handshake was complete, or it was joined later.
    Open,
    /// It was over.
    Over,
}

/// Fingerprints that are compared together: one cache line.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct FingerprintBucket([Fingerprint; WIDTH]);

/// A fingerprint; 0 for none.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Fingerprint(u32);

impl Fingerprint {
    fn new(tag: u32, isn: Option<Seq>, stage: Stage) -> Fingerprint {
        let stage = match stage {
            Stage::HalfOpen => 1,
            Stage::Open => 2,
            Stage::Over => 3,
        };
        Fingerprint((tag << (32 - TAG_BITS)) | (isn_bits(isn.unwrap_or_default()) << 2) | stage)
    }

    fn stage(self) -> Option<Stage> {
        match self.0 & 3 {
            0 => None,
            1 => Some(Stage::HalfOpen),
            2 => Some(Stage::Open),
            _ => Some(Stage::Over),
        }
    }

    fn is_of(self, tag: u32) -> bool {
        self.0 & 3 != 0 && self.0 >> (32 - TAG_BITS) == tag & ((1 << TAG_BITS) - 1)
    }

    fn has_isn(self, isn: Seq) -> bool {
        (self.0 >> 2) & ((1 << ISN_BITS) - 1) == isn_bits(isn)
    }
}

fn isn_bits(isn: Seq) -> u32 {
    isn.0.wrapping_mul(0x9e37_79b9) >> (32 - ISN_BITS)
}

/// See the module.
pub(in crate::flow) struct EvictedFlows {
    /// Empty until the first one is evicted.
    buckets: Vec<FingerprintBucket>,
    /// How many buckets there may be.
    most: usize,
    /// When a fingerprint was last overwritten.
    forgot: Option<Timestamp>,
    /// Counts the different handshakes.
    sketch: DistinctCounter,
    /// How many times a handshake was added to the sketch.
    entered: u64,
}

impl EvictedFlows {
    /// Room of about this many bytes.
    pub(in crate::flow) fn within(bytes: usize) -> EvictedFlows {
        EvictedFlows {
            buckets: Vec::new(),
            most: bytes.checked_div(size_of::<FingerprintBucket>()).unwrap_or_default().max(1),
            forgot: None,
            sketch: DistinctCounter::default(),
            entered: 0,
        }
    }

    /// Whether nothing was evicted so far.
    #[inline]
    pub(in crate::flow) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Prefetches the fingerprints among which this tag would be.
    #[inline]
    pub(in crate::flow) fn prefetch(&self, tag: u32) {
        for bucket in self.places(tag).into_iter().filter_map(|at| self.buckets.get(at)) {
            prefetch(bucket);
        }
    }

    /// When a fingerprint was last overwritten.
    pub(in crate::flow) fn last_overwritten(&self) -> Option<Timestamp> {
        self.forgot
    }

    /// The two buckets where a fingerprint may be.
    fn places(&self, tag: u32) -> [usize; 2] {
        let place = |tag: u32| (u64::from(tag).wrapping_mul(self.buckets.len() as u64) >> 32) as usize;
        [place(tag), place(tag.wrapping_mul(0x9e37_79b9).rotate_left(7))]
    }

    /// Remembers a connection; `tag` is of its flow hash.
    pub(in crate::flow) fn insert(&mut self, tag: u32, isn: Option<Seq>, stage: Stage, now: Timestamp) {
        if self.buckets.is_empty() {
            // Zeroed memory: pages are allocated when they are first written.
            self.buckets = vec![FingerprintBucket::default(); self.most];
        }
        if let Some(known) = self.find_mut(tag) {
            *known = Fingerprint::new(tag, isn, stage);
            return;
        }
        // The newest come first: the last place is the first to be overwritten.
        let vacant = |at: usize| {
            self.buckets.get(at).into_iter().flat_map(|bucket| &bucket.0).filter(|known| known.0 == 0).count()
        };
        let [one, other] = self.places(tag);
        let at = if vacant(other) > vacant(one) { other } else { one };
        let Some(bucket) = self.buckets.get_mut(at) else { return };
        let mut moved = Fingerprint::new(tag, isn, stage);
        bucket.0.iter_mut().for_each(|known| std::mem::swap(known, &mut moved));
        if moved.0 != 0 {
            self.forgot = Some(now);
        }
    }

    fn find_mut(&mut self, tag: u32) -> Option<&mut Fingerprint> {
        let (at, place) = self.place_of(tag)?;
        self.buckets.get_mut(at)?.0.get_mut(place)
    }

    /// The bucket of the fingerprint with this tag, and its place there.
    fn place_of(&self, tag: u32) -> Option<(usize, usize)> {
        self.places(tag).into_iter().find_map(|at| {
            let bucket = &self.buckets.get(at)?.0;
            // All places of a bucket are compared without a branch.
            let same =
                bucket.iter().enumerate().fold(0_u32, |same, (n, k)| same | u32::from(k.is_of(tag)) << n);
            (same != 0).then_some((at, same.trailing_zeros() as usize))
        })
    }

    /// Forgets the connection with this tag: it is tracked again.
    pub(in crate::flow) fn remove(&mut self, tag: u32) {
        if let Some(known) = self.find_mut(tag) {
            *known = Fingerprint::default();
        }
    }

    /// How far the connection with this tag had come. If `isn` is that of a SYN, another connection's fingerprint does
    /// not match.
    pub(in crate::flow) fn find(&self, tag: u32, isn: Option<Seq>) -> Option<Stage> {
        let (at, place) = self.place_of(tag)?;
        let known = self.buckets.get(at)?.0.get(place)?;
        known.stage().filter(|_| isn.is_none_or(|isn| known.has_isn(isn)))
    }

    /// The connection with this tag went on: its handshake has been completed.
    pub(in crate::flow) fn completed(&mut self, tag: u32) {
        if let Some(known) = self.find_mut(tag) {
            known.0 = known.0 & !3 | 2;
        }
    }

    /// Notes that a handshake was begun or evicted: those that were forgotten may come again.
    pub(in crate::flow) fn enter(&mut self, tag: u32, isn: Seq) {
        self.entered = self.entered.saturating_add(1);
        self.sketch.insert(u64::from(tag) << 32 | u64::from(isn.0));
    }

    /// About how many of the added handshakes were there before: 0 unless fingerprints were lost.
    pub(in crate::flow) fn repeated(&self) -> u64 {
        if self.forgot.is_none() {
            return 0;
        }
        let repeated = self.entered.saturating_sub(self.sketch.estimate());
        // The sketch itself is off by some percent.
        if repeated < self.entered / 10 { 0 } else { repeated }
    }
}

/// Counts how many different values there were, in little memory (HyperLogLog); off by 3 %.
struct DistinctCounter(Vec<u8>);

impl Default for DistinctCounter {
    fn default() -> DistinctCounter {
        DistinctCounter(vec![0; REGISTERS])
    }
}

impl DistinctCounter {
    fn insert(&mut self, what: u64) {
        let mut mixed = (what ^ what >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 29).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 32;
        let rank =
            (mixed >> REGISTERS.ilog2() | 1 << 63 >> REGISTERS.ilog2()).trailing_zeros().saturating_add(1);
        if let Some(register) = self.0.get_mut(mixed as usize % REGISTERS) {
            *register = (*register).max(rank as u8);
        }
    }

    fn estimate(&self) -> u64 {
        let registers = REGISTERS as f64;
        let sum: f64 = self.0.iter().map(|rank| 0.5_f64.powi(i32::from(*rank))).sum();
        let estimate = 0.7213 / (1.0 + 1.079 / registers) * registers * registers / sum;
        let vacant = self.0.iter().filter(|rank| **rank == 0).count();
        if estimate <= 2.5 * registers && vacant > 0 {
            return (registers * (registers / vacant as f64).ln()) as u64;
        }
        estimate as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(n: u32) -> u32 {
        n.wrapping_mul(0x85eb_ca6b)
    }

    #[test]
    fn what_was_let_go_is_recognised_and_other_sequence_numbers_are_another_connection() {
        let mut evicted = EvictedFlows::within(1 << 16);
        for n in 0..10_000 {
            evicted.insert(tag(n), Some(Seq(n)), Stage::HalfOpen, Timestamp(0));
        }
        assert_eq!(evicted.last_overwritten(), None);
        let found = |n: u32, isn: u32| evicted.find(tag(n), Some(Seq(isn))) == Some(Stage::HalfOpen);
        assert!((0..10_000).all(|n| found(n, n) && evicted.find(tag(n), None).is_some()));
        assert!((0..10_000).filter(|n| found(*n, n + 77)).count() < 60, "one in 512");
        assert!((10_000..50_000).filter(|n| evicted.find(tag(*n), None).is_some()).count() < 40);
    }

    #[test]
    fn beyond_the_room_the_oldest_are_forgotten() {
        let mut evicted = EvictedFlows::within(1 << 12);
        for n in 0..10_000 {
            evicted.insert(tag(n), None, Stage::Open, Timestamp(i64::from(n)));
        }
        assert!(evicted.last_overwritten().is_some());
        assert!((9_900..10_000).filter(|n| evicted.find(tag(*n), None).is_some()).count() > 95);
        evicted.completed(tag(9_999));
        assert_eq!(evicted.find(tag(9_999), None), Some(Stage::Open));
    }

    #[test]
    fn handshakes_that_come_again_after_they_were_forgotten_are_estimated() {
        let mut evicted = EvictedFlows::within(1 << 12);
        let enter = |evicted: &mut EvictedFlows| {
            for n in 0..100_000 {
                evicted.enter(tag(n), Seq(n));
                evicted.insert(tag(n), Some(Seq(n)), Stage::HalfOpen, Timestamp(0));
            }
        };
        enter(&mut evicted);
        assert_eq!(evicted.repeated(), 0);
        enter(&mut evicted);
        let repeated = evicted.repeated();
        assert!((88_000..112_000).contains(&repeated), "{repeated}");
    }
}
