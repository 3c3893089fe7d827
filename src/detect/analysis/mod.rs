//! What several finding kinds read together.
//!
//! * [`ignored_syn`]: which cause of an unanswered SYN fits best.
//! * [`listener_activity`]: what happened at one listener across its connections.

pub mod ignored_syn;
pub mod listener_activity;
