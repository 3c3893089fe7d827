//! An interface, watched live: the same detectors as for a capture, run repeatedly, and compared with the kernel's own
//! counters.
//!
//! ```text
//!  feed  ->  run  ->  watch (engine::rolling, witness, issued)  ->  state, events  ->  log, screen, metrics
//!                 ->  recorder (ring file)
//! ```
//!
//! * [`state`]: the state at one moment; screen, metrics and log show it and compute nothing.
//! * [`event`]: changes; one line each in the running log and in `--format jsonl`.
//! * [`watch`]: packets and the kernel's statements go in, events and the state come out.
//! * [`witness`]: compares the kernel's counters with the findings. `kernel` reads the real ones.
//! * [`kernel_words`]: the kernel's statements about single packets.
//! * [`sockets`]: the listening sockets at each look, and how much each refused by its own count.
//! * [`phase`]: how an incident goes on: growing, steady, recovering, over.
//! * [`issued`]: the findings issued so far, and their changes.
//! * [`run`]: the loop around a watch.
//! * [`output`]: the receivers of events; [`log`] is the running log, [`hook`] runs the user's program.
//! * [`write_queue`]: what the log writes, until somebody reads it.
//! * [`incidents`]: which events say something new about an incident.
//! * `screen`: the state on a terminal; `metrics`: for a collector of metrics (feature `live`).
//! * [`ring`]: the last packets, and those of each incident.

mod delay;
pub mod event;
pub mod hook;
pub mod incidents;
pub mod issued;
#[cfg(target_os = "linux")]
pub mod kernel;
pub mod kernel_words;
pub mod log;
#[cfg(feature = "live")]
pub mod metrics;
pub mod output;
pub mod phase;
pub mod ring;
pub mod run;
#[cfg(feature = "live")]
pub mod screen;
pub mod sockets;
pub mod state;
pub mod watch;
pub mod witness;
pub mod write_queue;

#[cfg(all(test, feature = "live"))]
pub(crate) mod samples;
