//! Clean handshakes of each server, from which is inferred where the capture was taken.

use crate::decode::segment::Traits;
use crate::flow::facts::PacketRef;
use crate::time::Span;

/// Handshakes of one server that are looked at, and that each screen keeps.
pub const MOST: usize = 64;

/// A clean handshake as the capture point saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// When: samples are kept in order of time.
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

/// The first handshakes of one server that were over in one screen.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Samples {
    kept: Vec<Sample>,
    /// How many there were, those moved out included.
    taken: usize,
}

impl Samples {
    /// Whether further ones are not wanted.
    pub fn is_full(&self) -> bool {
        self.taken >= MOST
    }

    /// Takes in one more, if it is wanted.
    pub fn take(&mut self, sample: Sample) {
        if !self.is_full() {
            self.kept.push(sample);
            self.taken += 1;
        }
    }

    /// Moves out what is kept. How many more are wanted does not change by it.
    pub fn drain(&mut self) -> Vec<Sample> {
        std::mem::take(&mut self.kept)
    }
}

impl From<Vec<Sample>> for Samples {
    fn from(kept: Vec<Sample>) -> Samples {
        Samples { taken: kept.len(), kept }
    }
}

/// Adds some to others of the same server: the earliest stay.
pub fn merge(all: &mut Vec<Sample>, mut some: Vec<Sample>) {
    all.append(&mut some);
    all.sort_unstable_by_key(|sample| sample.at);
    all.truncate(MOST);
}
