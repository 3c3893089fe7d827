//! An interface watched while things happen: the same detectors as for a capture, asked again and again, and the
//! kernel's own counters beside them.
//!
//! ```text
//!  feed  ->  run  ->  watch (engine::rolling, witness, issued)  ->  state, events  ->  log, screen, metrics
//!                 ->  recorder (ring file)
//! ```
//!
//! * [`state`]: what is known at one moment; screen, metrics and log show it and compute nothing.
//! * [`event`]: what has changed; one line each in the running log and in `--format jsonl`.
//! * [`watch`]: packets and the kernel's word go in, events and the state come out.
//! * [`witness`]: the kernel's word held against the findings. `kernel` is the real one.
//! * [`kernel_words`]: what the kernel says of single packets.
//! * [`sockets`]: the listening sockets from look to look, what each refused by its own count.
//! * [`phase`]: how an incident goes on: growing, steady, recovering, over.
//! * [`issued`]: what was told, and what became of it.
//! * [`run`]: the loop around a watch.
//! * [`output`]: the receivers of events; [`log`] is the running log, [`hook`] a program of the user's.
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

#[cfg(all(test, feature = "live"))]
pub(crate) mod samples;
