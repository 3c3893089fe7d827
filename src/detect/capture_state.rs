//! Whether a capture goes on or has ended.

/// Whether more packets will come.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum CaptureState {
    /// The capture goes on: a missing packet may still arrive.
    Running,
    /// It has ended, or a report is made as if it had.
    #[default]
    Ended,
}
