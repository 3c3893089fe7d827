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

    /// The tags, and the place that each belongs to.
    #[inline]
    fn entries(&self) -> impl Iterator<Item = (u32, At)> + '_ {
        self.tags.iter().copied().zip(self.at.iter().copied())
    }
}

/// Open addressing over buckets. An entry whose bucket is full is in the next one with room: a search goes on from
/// bucket to bucket as long as they are full.
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

    /// The length is a power of two, so length - 1 masks a place.
    #[inline]
    fn mask(&self) -> usize {
        self.buckets.len().wrapping_sub(1)
    }

    #[inline]
    fn home(&self, tag: u32) -> usize {
        tag as usize & self.mask()
    }

    /// The place of the next bucket, and after the last one the first.
    #[inline]
    fn after(&self, place: usize) -> usize {
        place.wrapping_add(1) & self.mask()
    }

    #[inline]
    fn bucket(&self, place: usize) -> &Bucket {
        self.buckets.get(place).unwrap_or(&EMPTY)
    }

    #[inline]
    pub(in crate::flow) fn prefetch(&self, tag: u32) {
        prefetch(self.bucket(self.home(tag)));
    }

    /// The most likely place of `tag`, found without a branch that depends on the contents.
    #[inline]
    pub(in crate::flow) fn guess(&self, tag: u32) -> At {
        let Bucket { tags, at } = self.bucket(self.home(tag));
        let mut guess = At::NONE;
        // The bound is the length of the arrays; iterators over both cost half as many instructions again.
        #[allow(clippy::indexing_slicing)]
        for i in 0..WIDTH {
            guess = if tags[i] == tag { at[i] } else { guess };
        }
        guess
    }

    /// Whether it is certain that there is nothing with this tag when [`Index::guess`] has found nothing: it would be
    /// in this bucket. (Free places have the tag 0.)
    #[inline]
    pub(in crate::flow) fn is_missing(&self, tag: u32) -> bool {
        tag != 0 && self.bucket(self.home(tag)).has_room()
    }

    /// The first entry with this tag for which `is` returns something.
    #[inline]
    pub(in crate::flow) fn find<R>(&self, tag: u32, is: impl Fn(At) -> Option<R>) -> Option<R> {
        let mut home = self.home(tag);
        loop {
            let bucket = self.bucket(home);
            let mut alike = bucket.entries().filter(|(known, at)| *known == tag && *at != At::NONE);
            if let Some(found) = alike.find_map(|(_, at)| is(at)) {
                return Some(found);
            }
            if bucket.has_room() {
                return None;
            }
            home = self.after(home);
        }
    }

    /// Inserts a place that is not there yet.
    pub(in crate::flow) fn insert(&mut self, tag: u32, at: At) {
        let places = self.buckets.len().saturating_mul(WIDTH);
        if self.held.saturating_add(1).saturating_mul(4) > places.saturating_mul(3) {
            self.grow();
        }
        self.held = self.held.saturating_add(1);
        self.put(tag, at);
    }

    fn put(&mut self, tag: u32, at: At) {
        let mut home = self.home(tag);
        loop {
            if let Some(i) = self.bucket(home).at.iter().position(|at| *at == At::NONE) {
                return self.set((home, i), tag, at);
            }
            home = self.after(home);
        }
    }

    /// Writes an entry to this place of a bucket.
    fn set(&mut self, (bucket, i): (usize, usize), tag: u32, at: At) {
        if let Some(bucket) = self.buckets.get_mut(bucket)
            && let (Some(its_tag), Some(its_at)) = (bucket.tags.get_mut(i), bucket.at.get_mut(i))
        {
            (*its_tag, *its_at) = (tag, at);
        }
    }

    fn grow(&mut self) {
        let length = self.buckets.len().saturating_mul(2);
        for bucket in std::mem::replace(&mut self.buckets, vec![EMPTY; length]) {
            for (tag, at) in bucket.entries().filter(|(_, at)| *at != At::NONE) {
                self.put(tag, at);
            }
        }
    }

    /// Removes a place, and closes the gap, so that a search still finds the entries beyond it.
    pub(in crate::flow) fn remove(&mut self, tag: u32, at: At) {
        let mask = self.mask();
        let mut home = self.home(tag);
        let mut gap = loop {
            if let Some(i) = self.bucket(home).at.iter().position(|known| *known == at) {
                break (home, i);
            }
            home = self.after(home);
        };
        self.held = self.held.saturating_sub(1);
        let mut next = home;
        // Whatever went past a bucket did so because that was full.
        while !self.bucket(next).has_room() {
            next = self.after(next);
            let far = next.wrapping_sub(gap.0) & mask;
            let moves =
                |tag: u32, at: At| at != At::NONE && (next.wrapping_sub(tag as usize & mask) & mask) >= far;
            let found = self.bucket(next).entries().enumerate().find(|(_, (tag, at))| moves(*tag, *at));
            if let Some((j, (tag, at))) = found {
                self.set(gap, tag, at);
                gap = (next, j);
            }
        }
        self.set(gap, 0, At::NONE);
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
                    let given_up = index.guess(*tag) == At::NONE && index.is_missing(*tag);
                    prop_assert!(!given_up, "{at} with tag {tag:x} is not missing");
                }
                prop_assert_eq!(index.held, known.len());
            }
        }
    }
}
