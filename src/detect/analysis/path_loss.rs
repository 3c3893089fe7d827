//! Alternatives by which the path, not the server, is to blame: a second capture at the server excludes them.

/// A SYN that a firewall or the network may have dropped.
pub const SYN_FILTERED_OR_LOST: &str = "A firewall dropped the SYN, or the network lost it.";
/// The same where the SYN is known to have reached the server's host.
pub const SYN_FILTERED_AT_SERVER: &str = "A firewall on the server dropped the SYN.";
/// SYNs that the network or a queue may have dropped.
pub const SYNS_LOST_OR_QUEUE_FULL: &str = "The network lost the SYNs, or a queue was full.";
/// The same where the SYNs are known to have reached the server's host.
pub const QUEUE_FULL: &str = "A queue was full.";
/// Segments after the handshake.
pub const SEGMENTS_LOST: &str = "The client's segments were lost on the way to the server.";
/// Loss in either direction.
pub const LOSS_EITHER_WAY: &str = "Packets were lost on the way there or back.";
