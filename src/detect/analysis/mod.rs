//! What several finding kinds read together.
//!
//! * [`common_features`]: what sets SYNs that failed apart from those that were answered.
//! * [`counter_evidence`]: what speaks against a full accept queue.
//! * [`filter`]: a filter as the cause of SYNs that fail.
//! * [`host_activity`]: what one host did on all of its ports together.
//! * [`deferral`]: a listener that waits for data before it takes a connection.
//! * [`end_of_flow`]: how an established connection died.
//! * [`fast_open`]: how a SYN with Fast Open fared.
//! * [`fin_wait2`]: segments that met a FIN_WAIT2 socket that was gone.
//! * [`half_closed`]: the time in which a connection was half-closed.
//! * [`flood`]: from when on handshakes that nobody completes are told together.
//! * [`handshake`]: the packets of a completed handshake, as evidence.
//! * [`icmp`]: what an ICMP error that answers a SYN says.
//! * [`ignored_ack`]: how a server came to ignore the final ACK of a handshake.
//! * [`ignored_client`]: in which way a server ignored a client that had completed the handshake.
//! * [`ignored_syn`]: which cause of an unanswered SYN fits best.
//! * [`listener_activity`]: what happened at one listener across its connections; [`survey`] fills it in.
//! * [`listener_gone`]: whether a listener went away at some moment.
//! * [`lone_syns`]: SYNs that were neither answered nor repeated.
//! * [`reset_together`]: connections that a server reset all at once before it had served them.
//! * [`timestamp_rule`]: whether the rule of `tcp_tw_recycle` explains unanswered SYNs.
//! * [`told_together`]: how SYNs that are told together are named.
//! * [`tunnel`]: tunnel packets that their receiver drops.

pub mod common_features;
pub mod counter_evidence;
pub mod deferral;
pub mod end_of_flow;
pub mod fast_open;
pub mod filter;
pub mod fin_wait2;
pub mod flood;
pub mod half_closed;
pub mod handshake;
pub mod host_activity;
pub mod icmp;
pub mod ignored_ack;
pub mod ignored_client;
pub mod ignored_syn;
pub mod listener_activity;
pub mod listener_gone;
pub mod lone_syns;
pub mod reset_together;
pub mod survey;
pub mod timestamp_rule;
pub mod told_together;
pub mod tunnel;
