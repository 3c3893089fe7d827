//! Clean handshakes of each server, from which is inferred where the capture was taken.

use crate::decode::segment::Traits;
use crate::flow::facts::PacketRef;
use crate::time::Span;

/// Handshakes of one server that are looked at, and that each triage keeps.
pub const MOST: usize = 64;

/// A clean handshake as the capture point saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct HandshakeSample {
    /// When it began: samples are kept in order of time.
    pub at: PacketRef,
    /// From SYN to SYN-ACK.
    pub syn_to_syn_ack: Span,
    /// From SYN-ACK to final ACK.
    pub syn_ack_to_ack: Span,
    /// TTL of the SYN.
    pub client_ttl: u8,
    /// TTL of the SYN-ACK.
    pub server_ttl: u8,
    /// Traits of the client's segments, all together.
    pub client_traits: Traits,
    /// Traits of the server's segments, all together.
    pub server_traits: Traits,
}

/// The first handshakes of one server that one triage has seen: those that began first, in whatever order they ended.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct HandshakeSamples {
    kept: Vec<HandshakeSample>,
    /// Enough samples began at this time or before.
    until: Option<PacketRef>,
}

impl HandshakeSamples {
    /// Whether one that began at `at` is wanted.
    #[inline]
    pub fn wants(&self, at: PacketRef) -> bool {
        self.until.is_none_or(|until| at < until)
    }

    /// Records one more, if it is wanted.
    pub fn record(&mut self, sample: HandshakeSample) {
        if self.wants(sample.at) {
            self.kept.push(sample);
            if self.kept.len() >= 2 * MOST {
                self.cut();
            }
        }
    }

    fn cut(&mut self) {
        if self.kept.len() >= MOST {
            self.kept.sort_unstable_by_key(|sample| sample.at);
            self.kept.truncate(MOST);
            self.until = self.kept.last().map(|sample| sample.at);
        }
    }

    /// Moves out the samples. This does not change which further ones are wanted.
    pub fn drain(&mut self) -> Vec<HandshakeSample> {
        self.cut();
        std::mem::take(&mut self.kept)
    }
}

impl From<Vec<HandshakeSample>> for HandshakeSamples {
    fn from(kept: Vec<HandshakeSample>) -> HandshakeSamples {
        HandshakeSamples { kept, until: None }
    }
}

/// Adds samples of the same server; the earliest stay.
pub fn merge(all: &mut Vec<HandshakeSample>, some: Vec<HandshakeSample>) {
    merge_within(all, some, MOST);
}

/// The same, with at most `most` samples.
pub fn merge_within(all: &mut Vec<HandshakeSample>, mut some: Vec<HandshakeSample>, most: usize) {
    all.append(&mut some);
    all.sort_unstable_by_key(|sample| sample.at);
    all.truncate(most);
}
