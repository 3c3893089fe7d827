//! Where the records of connections lie: pools by form, and places in them.
//!
//! The index of the [table](super::table) names places; a record that goes leaves its place to another one, told apart
//! by a count of the records that were there.

/// Which record of which pool; 0 for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct At(u32);

/// The pools.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    HalfOpen,
    Brief,
    Full,
    Over,
}

impl At {
    pub(super) const NONE: At = At(0);

    #[inline]
    pub(super) fn new(form: Form, place: u32) -> At {
        At((place << 2) + form as u32 + 1)
    }

    #[inline]
    pub(super) fn form(self) -> Form {
        match (self.0 - 1) & 3 {
            0 => Form::HalfOpen,
            1 => Form::Brief,
            2 => Form::Full,
            _ => Form::Over,
        }
    }

    #[inline]
    pub(super) fn place(self) -> u32 {
        (self.0 - 1) >> 2
    }
}

/// A place in a pool.
#[derive(Debug)]
pub(super) struct Entry<T> {
    /// The upper half of the flow hash, by which its slot is found.
    tag: u32,
    /// Counts the records that were here, so that a queue entry of an earlier one is recognised.
    pub(super) generation: u32,
    pub(super) value: Option<T>,
}

impl<T> Entry<T> {
    #[inline]
    pub(super) fn touch(&self, inside: impl Fn(&T) -> u32) -> u32 {
        self.generation ^ self.value.as_ref().map_or(0, inside)
    }
}

/// Records of one form, in pieces so that none is ever moved and no room is set aside twice.
#[derive(Debug)]
pub(super) struct Pool<T> {
    pub(super) pieces: Vec<Vec<Entry<T>>>,
    vacant: Vec<u32>,
    pub(super) held: usize,
}

impl<T> Default for Pool<T> {
    fn default() -> Pool<T> {
        Pool { pieces: Vec::new(), vacant: Vec::new(), held: 0 }
    }
}

impl<T> Pool<T> {
    /// Records in a piece.
    const PIECE: usize = 64;

    /// Puts a record in a place, vacant or new.
    pub(super) fn insert(&mut self, tag: u32, value: T) -> u32 {
        self.held += 1;
        if let Some(place) = self.vacant.pop() {
            let entry = self.entry_mut(place);
            (entry.tag, entry.value) = (tag, Some(value));
            return place;
        }
        if self.pieces.last().is_none_or(|piece| piece.len() == Self::PIECE) {
            self.pieces.push(Vec::with_capacity(Self::PIECE));
        }
        let piece = self.pieces.len() - 1;
        self.pieces[piece].push(Entry { tag, generation: 0, value: Some(value) });
        (piece * Self::PIECE + self.pieces[piece].len() - 1) as u32
    }

    /// Empties a place, and says by which tag its slot is found.
    pub(super) fn remove(&mut self, place: u32) -> u32 {
        let entry = self.entry_mut(place);
        entry.value = None;
        entry.generation = entry.generation.wrapping_add(1);
        let tag = entry.tag;
        self.held -= 1;
        self.vacant.push(place);
        tag
    }

    #[inline]
    pub(super) fn entry(&self, place: u32) -> &Entry<T> {
        &self.pieces[place as usize / Self::PIECE][place as usize % Self::PIECE]
    }

    #[inline]
    fn entry_mut(&mut self, place: u32) -> &mut Entry<T> {
        &mut self.pieces[place as usize / Self::PIECE][place as usize % Self::PIECE]
    }

    #[inline]
    pub(super) fn get(&self, place: u32) -> &T {
        self.entry(place).value.as_ref().expect("the index names occupied places only")
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: u32) -> &mut T {
        self.entry_mut(place).value.as_mut().expect("the index names occupied places only")
    }
}
