//! What the running kernel says of single packets: that it dropped one, why, where, and how full the queues were.
//!
//! * `bpf` (Linux): the programs that ask it.

#[cfg(target_os = "linux")]
pub mod bpf;
