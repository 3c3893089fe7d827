//! Tunnel packets that their receiver drops.

use crate::detect::draft::cause;
use crate::model::Cause;

/// What to look at first.
pub const NEXT_STEP: &str = "ethtool -K DEV tx-udp_tnl-csum-segmentation off tx off   # on the host that wraps the packets: does the checksum become right?";

/// The cause where the outer checksum of a UDP tunnel is one that a receiver does not take.
pub fn dropped_for_checksum() -> Cause {
    cause(
        "The receiving end of the tunnel drops these packets: their outer UDP checksum is wrong, or 0 in IPv6.",
        &["udp_csum_init", "__udp4_lib_rcv"],
        &["UdpInCsumErrors"],
        &[],
    )
}
