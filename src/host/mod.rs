//! The facts of the host itself: counters, settings, listening sockets, and their changes around a capture.
//!
//! * [`counters`]: `/proc/net/netstat`, `snmp` and `snmp6`, named as `nstat` names them.
//! * [`sysctl`]: the settings that decide what TCP does, from `/proc/sys`.
//! * [`listeners`]: listening sockets with their queues, through sock_diag or `/proc/net/tcp`.
//! * [`process`]: the processes behind them.
//! * [`addresses`]: the addresses of the host.
//! * [`snapshot`]: all that at one moment, as a document.
//! * [`recording`]: a snapshot, and the changes since then, line by line.
//! * `rights` (Linux): capabilities, given up once they are not needed any more.
//! * [`facts`]: one or two snapshots of a host, and what changed between them.
//!
//! A value that a kernel does not have is unknown, never zero.

pub mod addresses;
pub mod counters;
pub mod facts;
pub mod listeners;
pub mod process;
pub mod recording;
#[cfg(target_os = "linux")]
pub mod rights;
pub mod snapshot;
#[cfg(target_os = "linux")]
mod sock_diag;
pub mod sysctl;

pub use facts::HostFacts;
pub use snapshot::Snapshot;
