//! A map by host pair. There may be very many pairs, so a pair of IPv4 addresses takes a key of 8 bytes instead of 32.

use std::hash::{Hash, Hasher};

use crate::decode::segment::Address;
use crate::flow::key::{FoldHasher, Map};

/// A client host and a server host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct HostPair {
    /// The client's address, as the server sees it.
    pub client: Address,
    /// The server's address.
    pub server: Address,
}

impl HostPair {
    /// Both addresses in one number, if they are IPv4.
    #[inline]
    fn as_v4(self) -> Option<u64> {
        Some(u64::from(self.client.as_v4()?) << 32 | u64::from(self.server.as_v4()?))
    }

    /// A hash of it.
    #[inline]
    pub fn mixed(self) -> u64 {
        let mut mix = FoldHasher::default();
        match self.as_v4() {
            Some(v4) => v4.hash(&mut mix),
            None => self.hash(&mut mix),
        }
        mix.finish()
    }
}

/// A map by host pair.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct HostPairMap<V> {
    v4: Map<u64, V>,
    others: Map<HostPair, V>,
}

impl<V> Default for HostPairMap<V> {
    fn default() -> HostPairMap<V> {
        HostPairMap { v4: Map::default(), others: Map::default() }
    }
}

impl<V> HostPairMap<V> {
    /// How many pairs there are.
    pub fn count(&self) -> usize {
        self.v4.len() + self.others.len()
    }

    /// The value for this pair.
    #[inline]
    pub fn get(&self, pair: HostPair) -> Option<&V> {
        match pair.as_v4() {
            Some(v4) => self.v4.get(&v4),
            None => self.others.get(&pair),
        }
    }

    /// The value for this pair; `new` makes it if there is none.
    #[inline]
    pub fn get_or_insert(&mut self, pair: HostPair, new: V) -> &mut V {
        match pair.as_v4() {
            Some(v4) => self.v4.entry(v4).or_insert(new),
            None => self.others.entry(pair).or_insert(new),
        }
    }

    /// Takes over all of `other`, which has different pairs.
    #[cfg(feature = "fleet")]
    pub fn extend(&mut self, other: HostPairMap<V>) {
        self.v4.extend(other.v4);
        self.others.extend(other.others);
    }

    /// Keeps what `wanted` wants.
    pub fn retain(&mut self, mut wanted: impl FnMut(&V) -> bool) {
        self.v4.retain(|_, value| wanted(value));
        self.others.retain(|_, value| wanted(value));
    }

    /// The pairs, in no order.
    pub fn pairs(&self) -> impl Iterator<Item = HostPair> {
        let host = |v4: u64| Address::v4((v4 as u32).to_be_bytes());
        let short = self.v4.keys().map(move |v4| HostPair { client: host(v4 >> 32), server: host(*v4) });
        short.chain(self.others.keys().copied())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn pairs_of_any_family_are_told_apart() {
        let v4 = |last| Address::v4([192, 0, 2, last]);
        let v6 = |last| Address([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        let hosts = [v4(1), v4(2), v6(1), v6(2)];
        let all: Vec<HostPair> =
            hosts.iter().flat_map(|&client| hosts.map(|server| HostPair { client, server })).collect();
        let mut map = HostPairMap::default();
        for (n, &pair) in all.iter().enumerate() {
            assert!(map.get(pair).is_none());
            assert_eq!(*map.get_or_insert(pair, n), n);
            assert_eq!(*map.get_or_insert(pair, 99), n);
        }
        assert_eq!(map.count(), all.len());
        assert!(all.iter().enumerate().all(|(n, &pair)| map.get(pair) == Some(&n)));
        assert_eq!(map.pairs().collect::<BTreeSet<_>>(), all.iter().copied().collect());
        assert_eq!(all.iter().map(|pair| pair.mixed()).collect::<BTreeSet<_>>().len(), all.len());
        map.retain(|n| n % 2 == 0);
        assert_eq!(map.count(), all.len() / 2);
    }
}
