//! The steps of a watch, each of which may fail without an end of it.

/// A step of a watch at which the program may fail without an end of the watch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Packets are taken in.
    Packets,
    /// The clock goes on.
    Tick,
    /// The findings so far are put together.
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

impl Step {
    /// The step's name, and the consequence of its failure.
    pub(super) fn texts(self) -> (&'static str, &'static str) {
        match self {
            Step::Packets => ("taking in packets", "connections of that moment may be missing"),
            Step::Tick => ("bringing the watch up to date", "findings of that moment may be missing"),
            Step::Looking => ("looking for findings", "findings of that moment may be missing"),
            Step::OpenConnections => {
                ("looking at open connections", "findings about some of these may be missing")
            }
            Step::Telling => ("telling new findings", "findings of that moment may be missing"),
            Step::Showing => ("bringing the screen up to date", "it may show an older state"),
            Step::Kernel => ("asking the kernel", "its counters may be missing"),
            Step::Recording => ("writing packets to a file", "from there on none are written"),
            Step::Report => (
                "writing the report",
                "it holds only findings told before, and not how the connections ended",
            ),
        }
    }
}
