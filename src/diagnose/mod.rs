//! Findings to incidents: where the capture was taken, what may be claimed from there, what belongs together.
//!
//! * [`vantage`]: the capture point, from the delays and header values of clean handshakes.
//! * [`backlog`]: how long a backlog would have been enough.
//! * [`display_filters`]: filters of Wireshark that select a finding.
//! * [`family`]: names of the kernel by address family.
//! * [`host`]: findings held against the counters and settings of the server's host.
//! * [`incident`]: findings of one kind at one listener in one interval of time.
//! * [`kernel`]: findings held against what the kernel said of their packets.
//! * [`outcomes`]: how many connections failed, and which of them no finding explains.
//! * [`settings`]: kernel settings inferred from the packets.
//! * [`severity`]: how bad an incident is, by the share of connections lost and for how long.
//! * [`unexamined`]: connections that were only counted, told with the incident to which most of their like belong.
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
