//! Findings to incidents: the place of the capture, the proof that it can give, and the findings that belong together.
//!
//! * [`vantage`]: the capture point, from the delays and header values of clean handshakes.
//! * [`backlog`]: the backlog that would have been long enough.
//! * [`display_filters`]: filters of Wireshark that select a finding.
//! * [`family`]: names of the kernel by address family.
//! * [`host`]: findings compared with the counters and settings of the server's host.
//! * [`incident`]: findings of one kind at one listener in one interval of time.
//! * [`kernel`]: findings compared with the kernel's statements about their packets.
//! * [`outcomes`]: how many connections failed, and which of them no finding explains.
//! * [`settings`]: kernel settings inferred from the packets.
//! * [`severity`]: how bad an incident is, by the share of connections lost and for how long.
//! * [`unexamined`]: connections that were only counted, reported with the incident to which most similar ones belong.
//! * [`mod@write`]: drafts to the report's findings: stable ids, times, packet numbers.

pub mod backlog;
pub mod display_filters;
pub mod family;
pub mod host;
pub mod incident;
pub mod kernel;
pub mod outcomes;
pub mod settings;
pub mod severity;
pub mod unexamined;
pub mod vantage;
pub mod write;
