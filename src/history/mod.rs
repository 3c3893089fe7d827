//! Facts across connections, in bounded memory: merged over shards in any order, read by the detectors.
//!
//! * [`ended`]: the summary of a connection that has ended, in whichever form it was stored; [`quality`]: how far the
//!   capture can be trusted.
//! * [`triage`]: which of them are kept, for most are unremarkable and only counted; [`wants`]: which are not; [`settings`]:
//!   what the user set.
//! * [`listener`]: the outcomes of the connections of one listener; `timeline`: the same second by second.
//! * [`accepted_syns`]: common features of the SYNs that a listener answered.
//! * [`incomplete`]: handshakes that were never completed.
//! * [`interval`]: intervals of time, and what lasted for one.
//! * [`host_pairs`]: something for each pair of hosts.
//! * [`tw_recycle`]: the memory that a server with `tcp_tw_recycle` would have of each host, replayed.
//! * [`handshakes`]: clean handshakes of each server, which tell the capture point.
//! * [`host_clocks`]: what connections say of the clocks and timers of the hosts at their ends.
//! * [`strays`]: segments without a connection, which may be those of another one that a NAT did not translate.
//! * [`syn_ack_lag`]: how far SYN-ACKs lag their server's clock.
//! * [`merge`]: the histories of all listeners, put together now and then.

pub mod accepted_syns;
pub mod ended;
pub mod handshakes;
pub mod host_clocks;
pub mod host_pairs;
pub mod incomplete;
pub mod interval;
pub mod listener;
pub mod merge;
pub mod ports;
pub mod quality;
pub mod remarkable;
pub mod settings;
pub mod strays;
pub mod syn_ack_lag;
pub mod timeline;
pub mod triage;
pub mod tw_recycle;
pub mod wants;
