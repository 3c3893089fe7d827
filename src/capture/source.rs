//! The interface that every stream of packets has.

use super::block::Block;
use super::part::{InputPart, PartState};
use super::silence::Silence;
use super::status::InputStatus;

/// A stream of packets: a file, a pipe, several files merged in time order, an interface.
pub trait Source: Send {
    /// Replaces the contents of `block` by the next run of packets; `false` at the end of the stream.
    ///
    /// Damage is not an error here: the packets before it are delivered, then the input ends and its
    /// [`InputStatus::damage`] says why. The other inputs go on.
    fn next_block(&mut self, block: &mut Block) -> bool;

    /// The status of each input so far; complete after the end. One per input, in the order given, so that
    /// [`PacketId::capture`](crate::decode::segment::PacketId::capture) is the place in this list; an input that could not be opened is there with its damage.
    fn status(&self) -> Vec<InputStatus>;

    /// The intervals longer than [`QUIET`](super::QUIET) without a packet in the stream so far, in time order; of more
    /// than [`Silences::KEPT`](super::Silences::KEPT) the longest. A source that does not record them returns none.
    fn silences(&self) -> Vec<Silence> {
        Vec::new()
    }

    /// Another way to read the stream, for several threads at once: its next part of about `bytes`, which any thread
    /// may read. `None` if parts that are out must be given back first, at the end of the stream, and always if the
    /// stream can only be read in order. It must not be mixed with [`Source::next_block`].
    fn next_part(&mut self, bytes: u64) -> Option<InputPart> {
        let _ = bytes;
        None
    }

    /// Takes back a part that has been read to its end. All are to be given back, in the order in which they came.
    fn give_back(&mut self, part: InputPart) -> PartState {
        drop(part);
        PartState::Beyond
    }
}
