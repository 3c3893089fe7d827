//! Packets that arrive while they are read: from interfaces, or from a script that simulates one.

use std::time::Duration;

use super::{Block, Silence};
use crate::time::{Span, Timestamp};

/// A source of packets without an end.
///
/// A [`super::Source`] waits as long as it takes; this one gives up after a while, because time passes on a silent
/// wire, too.
pub trait Feed: Send {
    /// Replaces the contents of `block` by the next packets, or waits for them no longer than `wait`.
    fn next_block(&mut self, block: &mut Block, wait: Duration) -> FeedResult;

    /// All packets from before this time have been handed out for certain.
    fn clock(&self) -> Timestamp;

    /// The interfaces, in the order asked for: [`crate::decode::segment::PacketId::capture`] is the place in this list.
    fn interfaces(&self) -> Vec<Interface>;

    /// The watch is about to end: the number of packets dropped until now is needed at once.
    fn end_soon(&mut self) {}

    /// Intervals in which no packet could be captured although there may have been some, in order of time.
    fn silences(&self) -> Vec<Silence> {
        Vec::new()
    }
}

/// The result of waiting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FeedResult {
    /// Packets.
    Packets,
    /// None in that time.
    Nothing,
    /// There will be no more.
    End,
}

/// An interface that packets come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name, `any` included.
    pub name: String,
    /// Whether packets can come from it now.
    pub up: bool,
    /// Packets handed out.
    pub packets: u64,
    /// Packets that the kernel's capture buffer had no room for (`ps_drop`).
    pub dropped_by_kernel: u64,
    /// Packets that the interface or its driver dropped (`ps_ifdrop`).
    pub dropped_by_interface: u64,
    /// The snapshot length, bytes.
    pub snaplen: u32,
    /// Why no packets come from it, if that is so.
    pub trouble: Option<String>,
    /// The correction added to the machine's clock after it was set, so that packet times go on steadily. Negative if
    /// the clock was set forward.
    pub clock_offset: Span,
}
