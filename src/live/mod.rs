//! An interface watched while things happen: the same detectors as for a capture, asked again and again, and the
//! kernel's own counters beside them.
//!
//! * [`state`]: what is known at one moment; screen, metrics and log show it and compute nothing.
//! * [`event`]: what has changed; one line each in the running log and in `--format jsonl`.

pub mod event;
pub mod state;
