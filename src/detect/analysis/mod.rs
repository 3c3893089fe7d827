//! What several finding kinds read together.
//!
//! * [`common_features`]: features that failed SYNs share and answered ones lack.
//! * [`counter_evidence`]: evidence against a full accept queue.
//! * [`filter`]: a filter as the cause of SYNs that fail.
//! * [`host_activity`]: the activity of one host on all of its ports.
//! * [`deferral`]: a listener that waits for data before it takes a connection.
//! * [`end_of_flow`]: how an established connection died.
//! * [`fast_open`]: the outcome of a SYN with Fast Open.
//! * [`fin_wait2`]: segments that met a FIN_WAIT2 socket that was gone.
//! * [`half_closed`]: the time in which a connection was half-closed.
//! * [`flood`]: the size from which on incomplete handshakes are reported together.
//! * [`handshake`]: the packets of a completed handshake, as evidence.
//! * [`icmp`]: the meaning of an ICMP error that answers a SYN.
//! * [`ignored_ack`]: how a server ignored the final ACK of a handshake.
//! * [`ignored_client`]: the pattern by which a server ignored a client that had completed the handshake.
//! * [`ignored_syn`]: which cause of an unanswered SYN fits best.
//! * [`listener_activity`]: the activity at one listener across its connections; [`survey`] fills it in.
//! * [`listener_gone`]: whether a listener went away at some moment.
//! * [`lone_syns`]: single SYNs without a connection.
//! * [`reset_together`]: connections that a server reset all at once before it had served them.
//! * [`timestamp_rule`]: whether the rule of `tcp_tw_recycle` explains unanswered SYNs.
//! * [`told_together`]: words for SYNs that are reported together.
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
