//! Tunnel packets that their receiver drops.

use crate::detect::draft::cause;
use crate::model::Cause;

/// The first next step.
pub const NEXT_STEP: &str = "ethtool -K DEV tx-udp_tnl-csum-segmentation off tx off   # on the host that wraps the packets: does the checksum become right?";

/// The cause if the outer checksum of a UDP tunnel is one that a receiver does not accept.
pub fn dropped_for_checksum() -> Cause {
    cause(
        "The receiving end of the tunnel drops these packets: their outer UDP checksum is wrong, or 0 in IPv6.",
        &["udp_csum_init", "__udp4_lib_rcv"],
        &["UdpInCsumErrors"],
        &[],
    )
}
