//! A four-tuple in 12 bytes instead of 36, where both its addresses are IPv4.

use crate::decode::segment::{Address, Segment};
use crate::flow::key::{Direction, FlowKey, Host};

/// A [`FlowKey`] of IPv4, or the place of one of IPv6.
///
/// The first address of a key is never above the second. A value with the first one above is a place.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(in crate::flow) struct ShortKey {
    low: u32,
    high: u32,
    low_port: u16,
    high_port: u16,
}

/// A key lies elsewhere, in this place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::flow) struct LongKeyIndex(pub(in crate::flow) u32);

impl ShortKey {
    /// `None` if an address is not IPv4.
    #[inline]
    pub(in crate::flow) fn of(key: &FlowKey) -> Option<ShortKey> {
        let (low, high) = (key.sender(Direction::FromLow), key.sender(Direction::FromHigh));
        Some(ShortKey {
            low: low.address.as_v4()?,
            high: high.address.as_v4()?,
            low_port: low.port,
            high_port: high.port,
        })
    }

    /// Says where the key lies; no place is [`u32::MAX`].
    #[inline]
    pub(in crate::flow) fn elsewhere(LongKeyIndex(place): LongKeyIndex) -> ShortKey {
        ShortKey { low: u32::MAX, high: place, ..ShortKey::default() }
    }

    /// Where the key lies, if not here.
    #[inline]
    pub(in crate::flow) fn is_here(self) -> Result<(), LongKeyIndex> {
        if self.low > self.high { Err(LongKeyIndex(self.high)) } else { Ok(()) }
    }

    /// The key in full.
    #[inline]
    pub(in crate::flow) fn key(self) -> Result<FlowKey, LongKeyIndex> {
        self.is_here()?;
        let host = |address: u32, port| Host { address: Address::v4(address.to_be_bytes()), port };
        Ok(FlowKey::between(host(self.low, self.low_port), host(self.high, self.high_port)))
    }

    /// As [`FlowKey::direction_of`].
    #[inline]
    pub(in crate::flow) fn direction_of(self, s: &Segment) -> Result<Option<Direction>, LongKeyIndex> {
        self.is_here()?;
        let (Some(src), Some(dst)) = (s.src.as_v4(), s.dst.as_v4()) else { return Ok(None) };
        let (src, dst) = ((src, s.src_port), (dst, s.dst_port));
        let (low, high) = ((self.low, self.low_port), (self.high, self.high_port));
        Ok(if (src, dst) == (low, high) {
            Some(Direction::FromLow)
        } else if (src, dst) == (high, low) {
            Some(Direction::FromHigh)
        } else {
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Few addresses and ports, so that many are alike; the lowest and the highest of all among them.
    fn host() -> impl Strategy<Value = Host> {
        let v4 = [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX];
        let v4 = v4.map(|n: u32| Address::v4(n.to_be_bytes()));
        let v6 = [0, 1, 0xffff_0000_0000 - 1, 0x1_0000_0000_0000, u128::MAX];
        let v6 = v6.map(|n: u128| Address(n.to_be_bytes()));
        let addresses: Vec<Address> = v4.into_iter().chain(v6).collect();
        let ports = proptest::sample::select(vec![0, 1, 0x8000, u16::MAX]);
        (proptest::sample::select(addresses), ports).prop_map(|(address, port)| Host { address, port })
    }

    fn segment((src, dst): (Host, Host)) -> Segment {
        Segment {
            src: src.address,
            src_port: src.port,
            dst: dst.address,
            dst_port: dst.port,
            ..Segment::default()
        }
    }

    proptest! {
        #[test]
        fn says_of_any_segment_what_the_key_says(of in (host(), host()), other in (host(), host())) {
            let (key, _) = FlowKey::of(&segment(of));
            let is_v4 = of.0.address.ip().is_ipv4() && of.1.address.ip().is_ipv4();
            let short = ShortKey::of(&key);
            prop_assert_eq!(short.is_some(), is_v4);
            if let Some(short) = short {
                prop_assert_eq!(short.key(), Ok(key));
                for ends in [of, (of.1, of.0), other, (other.1, other.0)] {
                    let s = segment(ends);
                    prop_assert_eq!(short.direction_of(&s), Ok(key.direction_of(&s)), "{:?}", ends);
                }
            }
        }

        #[test]
        fn a_place_is_no_key(place in 0..u32::MAX) {
            let short = ShortKey::elsewhere(LongKeyIndex(place));
            prop_assert_eq!(short.key(), Err(LongKeyIndex(place)));
            prop_assert_eq!(short.direction_of(&Segment::default()), Err(LongKeyIndex(place)));
        }
    }
}
