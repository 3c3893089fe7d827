//! How far the SYN-ACKs of a listener lag the clock that its later segments show.
//!
//! The low six bits of a syncookie's TSval hold options (`cookie_init_timestamp`), and the TSval is chosen not to lie
//! ahead of the clock: it lags by 0 to 63 ticks. An ordinary SYN-ACK does not lag. The difference of two TSvals does
//! not contain the clock's offset, which may vary between connections. A SYN-ACK that was held up on its way to the
//! capture lags as well, but by no more than the time since its SYN.

use crate::flow::facts::PacketRef;
use crate::time::{Span, Timestamp};

/// Rounding and delays inside the host do not explain a lag greater than this, on top of delays on the way;
/// milliseconds.
pub const CLEAR: i64 = 6;
/// The same with a margin for delays that vary.
pub const LARGEST: i64 = 66;
/// A SYN-ACK that is ahead by more than rounding has a clock with other ticks than milliseconds, or was delayed less
/// than later segments.
const AHEAD: i64 = -2;
/// On a connection longer than this the drift of the clocks shows.
pub const LONGEST: Span = Span::secs(20);
/// The lags of cookies vary, from 0 to 63 ms: the greatest and the smallest differ by at least this, milliseconds.
pub const SPREAD: i64 = 16;
/// Lags that are kept of one listener.
pub const KEPT: usize = 64;
/// The same where there are many listeners.
pub const KEPT_OF_MANY: usize = 4;

/// A SYN-ACK that lags.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct SynAckLag {
    /// The SYN-ACK.
    pub at: PacketRef,
    /// Milliseconds.
    pub by: u8,
}

/// The lags at one listener.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct SynAckLags {
    /// The first of those that lag clearly, in order of time.
    pub clear: Vec<SynAckLag>,
    /// How many lag clearly.
    pub count: u64,
    /// How many lags may be a delay that varies, or come from a clock with other ticks.
    pub odd: u64,
}

impl SynAckLags {
    /// The lag between a SYN-ACK's TSval and that of a later segment of its sender. `None` if there is no lag, or if
    /// the SYN-ACK, which came `after_syn`, may have been held up on the way.
    #[inline]
    pub fn read(after_syn: Span, syn_ack: (Timestamp, u32), later: (Timestamp, u32)) -> Option<i64> {
        let elapsed = later.0 - syn_ack.0;
        let ticks = i64::from(later.1.wrapping_sub(syn_ack.1) as i32);
        let lag = ticks - elapsed.0 / 1_000_000;
        let held_up = after_syn.0 / 1_000_000;
        (!(AHEAD..CLEAR + held_up).contains(&lag) && elapsed <= LONGEST).then_some(lag)
    }

    /// Records one more; of those that lag clearly the first `most` are kept.
    pub fn record(&mut self, at: PacketRef, lag: i64, most: usize) {
        if !(CLEAR..=LARGEST).contains(&lag) {
            self.odd += 1;
            return;
        }
        self.count += 1;
        if self.clear.len() < most {
            self.clear.push(SynAckLag { at, by: lag as u8 });
        }
    }

    /// Adds what another shard has read.
    pub fn merge(&mut self, other: SynAckLags) {
        self.clear.extend(other.clear);
        self.clear.sort_unstable();
        self.clear.truncate(KEPT);
        self.count += other.count;
        self.odd += other.odd;
    }

    /// How far the furthest lags the nearest of the clear ones, milliseconds.
    pub fn spread(&self) -> i64 {
        let by = || self.clear.iter().map(|lagging| i64::from(lagging.by));
        by().max().unwrap_or(0) - by().min().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lag: i64, elapsed_ms: i64) -> Option<i64> {
        let clock = u32::MAX - 20;
        let later = clock.wrapping_add((lag + elapsed_ms) as u32);
        let syn_ack = (Timestamp(0), clock);
        SynAckLags::read(Span::ZERO, syn_ack, (Timestamp(0) + Span::millis(elapsed_ms), later))
    }

    #[test]
    fn a_syn_ack_may_have_been_held_up_for_as_long_as_it_came_after_its_syn() {
        let later = (Timestamp(0) + Span::millis(100), 1_140);
        let read = |after_syn| SynAckLags::read(Span::millis(after_syn), (Timestamp(0), 1_000), later);
        assert_eq!((read(20), read(50)), (Some(40), None));
    }

    #[test]
    fn the_lag_is_what_the_time_that_passed_does_not_explain() {
        assert_eq!(read(40, 100), Some(40));
        assert_eq!(read(40, 0), Some(40), "over the end of the circle");
        assert_eq!(read(1, 100), None);
        assert_eq!(read(-1, 100), None);
        assert_eq!(read(-30, 100), Some(-30));
        assert_eq!(read(40, 30_000), None, "the clocks may have drifted");
    }

    #[test]
    fn what_a_cookie_cannot_be_is_counted_apart() {
        let mut lags = SynAckLags::default();
        for lag in [-30, 6, 66, 67, 1_000] {
            lags.record(PacketRef::default(), lag, KEPT);
        }
        assert_eq!((lags.count, lags.odd, lags.spread()), (2, 3, 60));
    }
}
