//! Storage of connections: a head for every four-tuple, and a body in the pool of its form.
//!
//! The [index](super::index) refers to heads. A head stays in its place as long as its four-tuple is known, whatever
//! happens to the body. A place that becomes free is used again; a count of its users tells them apart.

use crate::decode::segment::Segment;
use crate::flow::key::{Direction, FlowKey};
use crate::flow::store::key::{LongKeyIndex, ShortKey};
use crate::flow::store::prefetch::prefetch;

/// Which head; 0 for none.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(in crate::flow) struct At(pub(in crate::flow) u32);

impl At {
    pub(in crate::flow) const NONE: At = At(0);
}

/// The pools.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::flow) enum Form {
    HalfOpen,
    Clean,
    Full,
    TimeWait,
}

/// Which record of which pool.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(in crate::flow) struct RecordRef(u32);

impl RecordRef {
    #[inline]
    pub(in crate::flow) fn new(form: Form, place: u32) -> RecordRef {
        RecordRef((place << 2) | form as u32)
    }

    #[inline]
    pub(in crate::flow) fn form(self) -> Form {
        match self.0 & 3 {
            0 => Form::HalfOpen,
            1 => Form::Clean,
            2 => Form::Full,
            _ => Form::TimeWait,
        }
    }

    #[inline]
    pub(in crate::flow) fn place(self) -> u32 {
        self.0 >> 2
    }
}

/// The part that every four-tuple has, whatever the form of its record.
#[derive(Clone, Copy, Default, Debug)]
pub(in crate::flow) struct SlotHead {
    key: ShortKey,
    /// The upper half of the flow hash, by which its place in the index is found.
    pub(in crate::flow) tag: u32,
    pub(in crate::flow) body: RecordRef,
    /// Counts the records that used this place, so that a queue entry of an earlier one is recognised. A connection
    /// that has ended counts as another record.
    pub(in crate::flow) generation: u32,
}

/// All heads, in pieces so that none is ever moved.
#[derive(Debug)]
pub(in crate::flow) struct SlotHeads {
    pieces: Vec<Vec<SlotHead>>,
    vacant: Vec<At>,
    pub(in crate::flow) held: usize,
    long: LongKeys,
    /// For places that do not exist.
    none: SlotHead,
}

/// The keys that do not fit into the heads.
#[derive(Default, Debug)]
struct LongKeys {
    keys: Vec<FlowKey>,
    vacant: Vec<LongKeyIndex>,
}

impl LongKeys {
    fn insert(&mut self, key: FlowKey) -> LongKeyIndex {
        if let Some(LongKeyIndex(place)) = self.vacant.pop()
            && let Some(vacant) = self.keys.get_mut(place as usize)
        {
            *vacant = key;
            return LongKeyIndex(place);
        }
        let place = self.keys.len();
        self.keys.push(key);
        LongKeyIndex(place as u32)
    }

    #[inline]
    fn get(&self, LongKeyIndex(place): LongKeyIndex) -> FlowKey {
        self.keys.get(place as usize).copied().unwrap_or_default()
    }
}

/// Bytes of a piece, about.
pub(in crate::flow) const PIECE: usize = 32 << 10;
/// Heads in a piece.
const HEADS: usize = in_piece(size_of::<SlotHead>());
/// How many records of a size, bytes, are in a piece: a power of two.
const fn in_piece(size: usize) -> usize {
    match PIECE.checked_div(size) {
        Some(records @ 1..) => 1 << records.ilog2(),
        _ => 1,
    }
}

/// How many records ahead the heads are prefetched.
const AHEAD: usize = 8;

impl Default for SlotHeads {
    /// None but the one at [`At::NONE`].
    fn default() -> SlotHeads {
        let mut piece = Vec::with_capacity(HEADS);
        piece.push(SlotHead::default());
        SlotHeads {
            pieces: vec![piece],
            vacant: Vec::new(),
            held: 0,
            long: LongKeys::default(),
            none: SlotHead::default(),
        }
    }
}

impl SlotHeads {
    /// A head whose body is not there yet.
    pub(in crate::flow) fn insert(&mut self, key: &FlowKey, tag: u32) -> At {
        self.held = self.held.saturating_add(1);
        let key = ShortKey::of(key).unwrap_or_else(|| ShortKey::elsewhere(self.long.insert(*key)));
        if let Some(at) = self.vacant.pop() {
            let head = self.get_mut(at);
            (head.key, head.tag) = (key, tag);
            return at;
        }
        let at = self.next();
        let head = SlotHead { key, tag, ..SlotHead::default() };
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < HEADS => piece.push(head),
            _ => {
                let mut piece = Vec::with_capacity(HEADS);
                piece.push(head);
                self.pieces.push(piece);
            }
        }
        at
    }

    /// The place of the next head.
    pub(in crate::flow) fn next(&self) -> At {
        if let Some(vacant) = self.vacant.last() {
            return *vacant;
        }
        // All pieces but the last are full.
        let room = self.pieces.len().saturating_mul(HEADS);
        let left = self.pieces.last().map_or(0, |piece| HEADS.saturating_sub(piece.len()));
        At(room.saturating_sub(left) as u32)
    }

    /// Gives up a head.
    pub(in crate::flow) fn remove(&mut self, at: At) {
        let head = self.get_mut(at);
        head.generation = head.generation.wrapping_add(1);
        if let Err(place) = head.key.is_here() {
            self.long.vacant.push(place);
        }
        self.held = self.held.saturating_sub(1);
        self.vacant.push(at);
    }

    /// Bytes of the room for heads.
    #[inline]
    pub(in crate::flow) fn bytes(&self) -> usize {
        let heads = self.pieces.len().wrapping_mul(HEADS).wrapping_mul(size_of::<SlotHead>());
        heads.wrapping_add(self.long.keys.capacity().wrapping_mul(size_of::<FlowKey>()))
    }

    /// The four-tuple of a head.
    #[inline]
    pub(in crate::flow) fn key(&self, at: At) -> FlowKey {
        self.get(at).key.key().unwrap_or_else(|place| self.long.get(place))
    }

    /// Which way the segment goes, if it belongs to this head's four-tuple.
    #[inline(always)]
    pub(in crate::flow) fn direction_of(&self, at: At, s: &Segment) -> Option<Direction> {
        self.get(at).key.direction_of(s).unwrap_or_else(|place| self.long.get(place).direction_of(s))
    }

    /// Has a head fetched.
    #[inline]
    pub(in crate::flow) fn prefetch(&self, at: At) {
        prefetch(self.get(at));
    }

    /// [`At::NONE`] has a head, too: a caller that only prefetches it need not check.
    #[inline]
    pub(in crate::flow) fn get(&self, at: At) -> &SlotHead {
        let (piece, place) = (at.0 as usize / HEADS, at.0 as usize % HEADS);
        self.pieces.get(piece).and_then(|piece| piece.get(place)).unwrap_or(&self.none)
    }

    #[inline]
    pub(in crate::flow) fn get_mut(&mut self, at: At) -> &mut SlotHead {
        let (piece, place) = (at.0 as usize / HEADS, at.0 as usize % HEADS);
        self.pieces.get_mut(piece).and_then(|piece| piece.get_mut(place)).unwrap_or(&mut self.none)
    }
}

/// Bodies of one form, in pieces, so that none is ever moved and no memory is reserved twice.
#[derive(Debug)]
pub(in crate::flow) struct Pool<T> {
    pieces: Vec<SlotChunk<T>>,
    vacant: Vec<u32>,
    pub(in crate::flow) held: usize,
}

/// The bodies, and the head of each.
#[derive(Debug)]
pub(in crate::flow) struct SlotChunk<T> {
    bodies: Vec<Option<T>>,
    heads: Vec<At>,
}

impl<T> SlotChunk<T> {
    fn new() -> SlotChunk<T> {
        let length = Pool::<T>::PIECE;
        SlotChunk { bodies: Vec::with_capacity(length), heads: Vec::with_capacity(length) }
    }

    /// The records, with their heads.
    pub(in crate::flow) fn iter(&self) -> impl Iterator<Item = (At, &T)> {
        self.heads.iter().zip(&self.bodies).filter_map(|(at, body)| Some((*at, body.as_ref()?)))
    }

    /// The same, for callers that read the heads, too: these are prefetched.
    pub(in crate::flow) fn iter_ahead(&self, heads: &SlotHeads) -> impl Iterator<Item = (At, &T)> {
        let soon = self.heads.iter().skip(AHEAD).chain(std::iter::repeat(&At::NONE));
        self.heads.iter().zip(soon).zip(&self.bodies).filter_map(|((at, soon), body)| {
            heads.prefetch(*soon);
            Some((*at, body.as_ref()?))
        })
    }

    /// The same, mutable.
    pub(in crate::flow) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.bodies.iter_mut().flatten()
    }
}

impl<T> Default for Pool<T> {
    fn default() -> Pool<T> {
        Pool { pieces: Vec::new(), vacant: Vec::new(), held: 0 }
    }
}

impl<T> Pool<T> {
    const PIECE: usize = in_piece(size_of::<Option<T>>());
    /// Bytes of a piece.
    const BYTES: usize = Self::PIECE.saturating_mul(size_of::<Option<T>>().saturating_add(size_of::<At>()));

    /// Bytes of the room for bodies.
    #[inline]
    pub(in crate::flow) fn bytes(&self) -> usize {
        self.pieces.len().wrapping_mul(Self::BYTES)
    }

    /// Gives back the last piece, if its records fit into the pieces before with room to spare. `moved` is called with
    /// the new place of each body. Returns whether it gave one back.
    pub(in crate::flow) fn release_last_chunk(&mut self, mut moved: impl FnMut(At, u32)) -> bool {
        if self.vacant.len() / 2 < Self::PIECE {
            return false;
        }
        let Some(SlotChunk { bodies, heads }) = self.pieces.pop() else { return false };
        let end = self.pieces.len().saturating_mul(Self::PIECE);
        self.vacant.retain(|place| (*place as usize) < end);
        for (at, body) in heads.into_iter().zip(bodies) {
            if let Some(body) = body {
                self.held = self.held.saturating_sub(1);
                moved(at, self.insert(at, body));
            }
        }
        true
    }

    /// The piece that a place is in, and where in it.
    #[inline]
    fn split(place: u32) -> (usize, usize) {
        // The length of a piece is a power of two.
        (place as usize >> Self::PIECE.ilog2(), place as usize & Self::PIECE.wrapping_sub(1))
    }

    /// Stores a record in a vacant or new place.
    #[inline]
    pub(in crate::flow) fn insert(&mut self, head: At, body: T) -> u32 {
        self.held = self.held.saturating_add(1);
        if let Some(place) = self.vacant.pop() {
            let (piece, at) = Self::split(place);
            if let Some(SlotChunk { bodies, heads }) = self.pieces.get_mut(piece)
                && let (Some(its_body), Some(its_head)) = (bodies.get_mut(at), heads.get_mut(at))
            {
                (*its_body, *its_head) = (Some(body), head);
                return place;
            }
        }
        if self.pieces.last().is_none_or(|piece| piece.bodies.len() == Self::PIECE) {
            self.pieces.push(SlotChunk::new());
        }
        let before = self.pieces.len().saturating_sub(1).saturating_mul(Self::PIECE);
        let Some(SlotChunk { bodies, heads }) = self.pieces.last_mut() else { return 0 };
        let place = before.saturating_add(bodies.len());
        bodies.push(Some(body));
        heads.push(head);
        place as u32
    }

    /// Empties a place.
    #[inline]
    pub(in crate::flow) fn remove(&mut self, place: u32) -> Option<T> {
        self.held = self.held.saturating_sub(1);
        self.vacant.push(place);
        self.body_mut(place)?.take()
    }

    /// Prefetches the body at this place, if there is such a place.
    #[inline]
    pub(in crate::flow) fn prefetch(&self, place: u32) {
        if let Some(body) = self.body(place) {
            prefetch(body);
        }
    }

    #[inline]
    fn body(&self, place: u32) -> Option<&Option<T>> {
        let (piece, at) = Self::split(place);
        self.pieces.get(piece)?.bodies.get(at)
    }

    #[inline]
    fn body_mut(&mut self, place: u32) -> Option<&mut Option<T>> {
        let (piece, at) = Self::split(place);
        self.pieces.get_mut(piece)?.bodies.get_mut(at)
    }

    #[inline]
    pub(in crate::flow) fn get(&self, place: u32) -> &T {
        self.body(place).and_then(Option::as_ref).expect("heads name occupied places only")
    }

    #[inline]
    pub(in crate::flow) fn get_mut(&mut self, place: u32) -> &mut T {
        self.body_mut(place).and_then(Option::as_mut).expect("heads name occupied places only")
    }

    /// All bodies, with their heads.
    pub(in crate::flow) fn iter(&self) -> impl Iterator<Item = (At, &T)> {
        self.pieces.iter().flat_map(SlotChunk::iter)
    }

    /// The same, mutable.
    pub(in crate::flow) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pieces.iter_mut().flat_map(SlotChunk::iter_mut)
    }

    /// Moves all of them out, one piece after the other.
    pub(in crate::flow) fn drain(&mut self) -> impl Iterator<Item = SlotChunk<T>> + use<T> {
        std::mem::take(self).pieces.into_iter()
    }
}
