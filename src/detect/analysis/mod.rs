//! What several finding kinds read together.
//!
//! * [`icmp`]: what an ICMP error that answers a SYN says.
//! * [`ignored_syn`]: which cause of an unanswered SYN fits best.
//! * [`listener_activity`]: what happened at one listener across its connections.
//! * [`path_loss`]: alternatives that a second capture at the server excludes.

pub mod icmp;
pub mod ignored_syn;
pub mod listener_activity;
pub mod path_loss;
