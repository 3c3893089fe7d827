//! Common features of the SYNs that a listener answered by SYN-ACK: refused and ignored SYNs are compared with them.

use crate::decode::segment::Address;
use crate::flow::facts::SynOffer;
use crate::time::Span;

/// A four-tuple that was in use no longer ago than this counts as used again: boxes on the path remember ended
/// connections for up to 240 s.
pub const REUSED_WITHIN: Span = Span::secs(240);

/// Up to this many values of a header field are told apart. With more of them, the field shows nothing.
const VALUES: usize = 6;

/// The SYNs that were answered.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct AcceptedSyns {
    /// How many.
    pub count: u32,
    /// How many of them used a four-tuple again.
    pub reused: u32,
    /// How many asked for ECN.
    pub ecn: u32,
    /// How many came from a port below 1024.
    pub low_ports: u32,
    /// Options present.
    pub options: DistinctValues<u8>,
    /// Maximum segment size.
    pub mss: DistinctValues<u16>,
    /// Time to live.
    pub ttl: DistinctValues<u8>,
    /// Type of service.
    pub tos: DistinctValues<u8>,
    /// Time to live of the SYN-ACKs.
    pub answer_ttl: DistinctValues<u8>,
    /// A bit for each client's address; several addresses may share one.
    clients: u128,
}

/// Different values of a header field.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct DistinctValues<T> {
    values: [T; VALUES],
    count: u8,
    /// There were more.
    more: bool,
}

impl<T: Copy + Ord + Default> DistinctValues<T> {
    /// Adds a value. The values are kept in order, so that the result does not depend on the order of arrival.
    #[inline]
    pub fn record(&mut self, value: T) {
        let n = usize::from(self.count);
        // Most listeners see one value only.
        if n > 0 && self.values[0] == value || self.more || self.values[..n].contains(&value) {
            return;
        }
        if n == VALUES {
            *self = DistinctValues { more: true, ..DistinctValues::default() };
            return;
        }
        self.values[n] = value;
        self.count += 1;
        self.values[..=n].sort_unstable();
    }

    /// Whether this value was never seen.
    pub fn lacks(&self, value: T) -> bool {
        !self.more && !self.all().contains(&value)
    }

    /// The values; none where there were too many.
    pub fn all(&self) -> &[T] {
        &self.values[..usize::from(self.count)]
    }

    fn merge(&mut self, other: DistinctValues<T>) {
        if other.more {
            *self = other;
        }
        other.all().iter().for_each(|value| self.record(*value));
    }
}

impl AcceptedSyns {
    /// Records a SYN of `client` that was answered; `again_after` is the time since its four-tuple was last used.
    pub fn record(
        &mut self,
        client: (Address, u16),
        syn: &SynOffer,
        again_after: Option<Span>,
        answer_ttl: u8,
    ) {
        self.count = self.count.saturating_add(1);
        self.reused += u32::from(again_after.is_some_and(|after| after <= REUSED_WITHIN));
        self.ecn += u32::from(syn.ecn);
        self.low_ports += u32::from(client.1 < 1024);
        self.options.record(syn.options.0);
        self.mss.record(syn.mss);
        self.ttl.record(syn.ttl);
        self.tos.record(syn.tos);
        self.answer_ttl.record(answer_ttl);
        self.clients |= bit(client.0);
    }

    /// Whether no SYN of this address was answered. (If one was, it may have been another address with the same bit.)
    pub fn lacks_client(&self, client: Address) -> bool {
        self.clients & bit(client) == 0
    }

    /// Adds up two.
    pub fn merge(&mut self, other: &AcceptedSyns) {
        self.count = self.count.saturating_add(other.count);
        self.reused += other.reused;
        self.ecn += other.ecn;
        self.low_ports += other.low_ports;
        self.options.merge(other.options);
        self.mss.merge(other.mss);
        self.ttl.merge(other.ttl);
        self.tos.merge(other.tos);
        self.answer_ttl.merge(other.answer_ttl);
        self.clients |= other.clients;
    }
}

/// The bit of an address; always the same one.
#[inline]
fn bit(address: Address) -> u128 {
    /// 2^64 divided by the golden ratio.
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let all = u128::from_be_bytes(address.0);
    let mixed = ((all >> 64) as u64 ^ all as u64).wrapping_mul(GOLDEN);
    1 << (mixed >> 57)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_do_not_depend_on_their_order() {
        let of = |list: &[u8]| {
            let mut values = DistinctValues::default();
            list.iter().for_each(|value| values.record(*value));
            values
        };
        assert_eq!(of(&[64, 128, 64]), of(&[128, 64]));
        assert!(of(&[64, 128]).lacks(63) && !of(&[64, 128]).lacks(64));
        let (many, other): (Vec<u8>, Vec<u8>) = ((0..9).collect(), (0..9).rev().collect());
        assert_eq!(of(&many), of(&other));
        assert!(!of(&many).lacks(200), "too many values say nothing");
        let mut halves = of(&many[..4]);
        halves.merge(of(&many[4..]));
        assert_eq!(halves, of(&many));
    }

    #[test]
    fn a_client_that_was_answered_is_never_taken_for_one_that_was_not() {
        let mut accepted = AcceptedSyns::default();
        for last in 1..=9 {
            accepted.record((Address::v4([192, 0, 2, last]), 40_000), &SynOffer::default(), None, 64);
        }
        assert!((1..=9).all(|last| !accepted.lacks_client(Address::v4([192, 0, 2, last]))));
        assert!((10..=250).any(|last| accepted.lacks_client(Address::v4([192, 0, 2, last]))));
    }
}
