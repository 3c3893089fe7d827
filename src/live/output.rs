//! The receivers of events: the log, a screen, metrics, a ring file.

use std::io;

use crate::capture::Block;
use crate::decode::segment::PacketId;
use crate::live::event::LiveEvent;
use crate::live::state::WatchState;

/// Shows the watch. Called several times a second, also when nothing happened.
pub trait Output {
    /// Shows `state`; `events` are new since the last call.
    ///
    /// # Errors
    /// What the terminal, file or pipe says. A broken pipe ends the watch quietly, anything else with a message.
    fn tick(&mut self, state: &WatchState, events: &[LiveEvent]) -> io::Result<Next>;
}

/// Whether the watch goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// It does.
    Go,
    /// The user has seen enough: it ends as on SIGINT.
    Stop,
}

/// Keeps the packets themselves.
pub trait Recorder {
    /// Takes in packets as they come; [`crate::decode::segment::PacketId::capture`] is the place of the interface in
    /// [`WatchState::interfaces`]. `comment` gives the comment on a packet.
    fn block(&mut self, block: &Block, comment: &dyn Fn(PacketId) -> Option<String>);

    /// Receives events after the packets that they are about: incidents that open ([`LiveEvent::Opened`]) and close
    /// ([`LiveEvent::Closed`]). Returns messages for the user: a full disk, a file that was saved.
    fn tick(&mut self, state: &WatchState, events: &[LiveEvent]) -> Vec<String>;

    /// The watch is over.
    fn finish(&mut self) -> Vec<String> {
        Vec::new()
    }
}
