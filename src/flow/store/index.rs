//! From a flow hash to the head of its four-tuple.

use crate::flow::store::prefetch::prefetch;
use crate::flow::store::slots::At;

/// Places in a bucket.
const WIDTH: usize = 8;

/// Eight places in one cache line. Free ones have [`At::NONE`].
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Bucket {
    tags: [u32; WIDTH],
    at: [At; WIDTH],
}

const EMPTY: Bucket = Bucket { tags: [0; WIDTH], at: [At::NONE; WIDTH] };

impl Bucket {
    fn has_room(&self) -> bool {
        self.at.contains(&At::NONE)
    }
}

/// Open addressing over buckets. An entry whose bucket is full is in the next one with room: whoever looks for it goes on
/// from bucket to bucket as long as they are full.
pub(in crate::flow) struct Index {
    /// The length is a power of two.
    buckets: Vec<Bucket>,
    held: usize,
}

impl Default for Index {
    fn default() -> Index {
        Index { buckets: vec![EMPTY; 32], held: 0 }
    }
}

impl Index {
    /// Bytes of the room for entries.
    #[inline]
    pub(in crate::flow) fn bytes(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    #[inline]
    fn home(&self, tag: u32) -> usize {
        tag as usize & (self.buckets.len() - 1)
    }

    #[inline]
    pub(in crate::flow) fn prefetch(&self, tag: u32) {
        prefetch(&self.buckets[self.home(tag)]);
    }

    /// What is most likely meant by `tag`, found without a branch that depends on what is there.
    #[inline]
    pub(in crate::flow) fn guess(&self, tag: u32) -> At {
        let bucket = &self.buckets[self.home(tag)];
        let mut at = At::NONE;
        for i in 0..WIDTH {
            at = if bucket.tags[i] == tag { bucket.at[i] } else { at };
        }
        at
    }

    /// The first entry with this tag of which `is` says something.
    #[inline]
    pub(in crate::flow) fn find<R>(&self, tag: u32, is: impl Fn(At) -> Option<R>) -> Option<R> {
        let mut home = self.home(tag);
        loop {
            let bucket = &self.buckets[home];
            for i in 0..WIDTH {
                if bucket.tags[i] == tag
                    && bucket.at[i] != At::NONE
                    && let Some(found) = is(bucket.at[i])
                {
                    return Some(found);
                }
            }
            if bucket.has_room() {
                return None;
            }
            home = (home + 1) & (self.buckets.len() - 1);
        }
    }

    /// Enters what is not there yet.
    pub(in crate::flow) fn insert(&mut self, tag: u32, at: At) {
        if (self.held + 1) * 4 > self.buckets.len() * WIDTH * 3 {
            self.grow();
        }
        self.held += 1;
        self.put(tag, at);
    }

    fn put(&mut self, tag: u32, at: At) {
        let mask = self.buckets.len() - 1;
        let mut home = self.home(tag);
        loop {
            let bucket = &mut self.buckets[home];
            if let Some(i) = bucket.at.iter().position(|at| *at == At::NONE) {
                (bucket.tags[i], bucket.at[i]) = (tag, at);
                return;
            }
            home = (home + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let length = self.buckets.len() * 2;
        for bucket in std::mem::replace(&mut self.buckets, vec![EMPTY; length]) {
            for (tag, at) in bucket.tags.into_iter().zip(bucket.at) {
                if at != At::NONE {
                    self.put(tag, at);
                }
            }
        }
    }

    /// Takes out what is there, and closes the gap, so that what lies beyond it is still found.
    pub(in crate::flow) fn remove(&mut self, tag: u32, at: At) {
        let mask = self.buckets.len() - 1;
        let mut gap = self.home(tag);
        let mut i = loop {
            if let Some(i) = self.buckets[gap].at.iter().position(|known| *known == at) {
                break i;
            }
            gap = (gap + 1) & mask;
        };
        self.held -= 1;
        let mut next = gap;
        // Whatever went past a bucket did so because that was full.
        while !self.buckets[next].has_room() {
            next = (next + 1) & mask;
            let Bucket { tags, at } = self.buckets[next];
            let far = next.wrapping_sub(gap) & mask;
            let moves =
                |j: &usize| at[*j] != At::NONE && (next.wrapping_sub(tags[*j] as usize & mask) & mask) >= far;
            if let Some(j) = (0..WIDTH).find(moves) {
                let to = &mut self.buckets[gap];
                (to.tags[i], to.at[i]) = (tags[j], at[j]);
                (gap, i) = (next, j);
            }
        }
        let from = &mut self.buckets[gap];
        (from.tags[i], from.at[i]) = (0, At::NONE);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    use super::*;

    proptest! {
        /// Tags are drawn from few buckets, so that most are full.
        #[test]
        fn what_is_entered_is_found_until_it_is_taken_out(
            steps in proptest::collection::vec((0_u32..4, 0_u32..3, 0_u32..90), 1..400)
        ) {
            let mut index = Index::default();
            let mut known: BTreeMap<u32, u32> = BTreeMap::new();
            for (home, high, n) in steps {
                // The last buckets and the first: the table is a ring.
                let (tag, at) = (((30 + home) % 32) | (high << 20), n + 1);
                match known.remove(&at) {
                    Some(tag) => index.remove(tag, At(at)),
                    None => {
                        index.insert(tag, At(at));
                        known.insert(at, tag);
                    }
                }
                for (at, tag) in &known {
                    let found = index.find(*tag, |known| (known == At(*at)).then_some(()));
                    prop_assert!(found.is_some(), "{at} with tag {tag:x}");
                }
                prop_assert_eq!(index.held, known.len());
            }
        }
    }
}
