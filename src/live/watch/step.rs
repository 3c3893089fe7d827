//! The steps of a watch, each of which may fail without an end of it.

/// A step of a watch at which the program may fail without an end of the watch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchStep {
    /// Packets are taken in.
    Packets,
    /// The clock goes on.
    Tick,
    /// The findings so far are grouped.
    Looking,
    /// Open connections are looked at.
    OpenConnections,
    /// Findings are told.
    Telling,
    /// The state is brought up to date.
    Showing,
    /// The kernel is asked.
    Kernel,
    /// Packets are written to a file.
    Recording,
    /// A report is put together.
    Report,
}

impl WatchStep {
    /// The step in words, and the consequence of its failure.
    pub(super) fn texts(self) -> (&'static str, &'static str) {
        match self {
            WatchStep::Packets => ("taking in packets", "connections of that moment may be missing"),
            WatchStep::Tick => ("bringing the watch up to date", "findings of that moment may be missing"),
            WatchStep::Looking => ("looking for findings", "findings of that moment may be missing"),
            WatchStep::OpenConnections => {
                ("looking at open connections", "findings about some of these may be missing")
            }
            WatchStep::Telling => ("reporting new findings", "findings of that moment may be missing"),
            WatchStep::Showing => ("bringing the screen up to date", "it may show an older state"),
            WatchStep::Kernel => ("asking the kernel", "its counters may be missing"),
            WatchStep::Recording => ("writing packets to a file", "from there on none are written"),
            WatchStep::Report => (
                "writing the report",
                "it holds only findings reported before, and not how the connections ended",
            ),
        }
    }
}
