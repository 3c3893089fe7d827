//! Events between two hosts, for causes that span connections: what a server with `tcp_tw_recycle` remembers of a host,
//! and the SYNs that it would drop for that.

use crate::decode::segment::{Address, PacketId};
use crate::flow::facts::PacketRef;
use crate::flow::key::Host;

/// One event between a client host and a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct PeerEvent {
    /// Packet and time.
    pub at: PacketRef,
    /// The connection: its first packet.
    pub connection: PacketId,
    /// The client's address.
    pub client: Address,
    /// The server's address and port.
    pub server: Host,
    /// The client's TSval, if the segment carried timestamps.
    pub tsval: Option<u32>,
    /// What happened.
    pub what: PeerEventKind,
}

/// What happened between a client host and a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub enum PeerEventKind {
    /// A SYN reached the capture point.
    Syn {
        /// The four-tuple was used before and ended with FINs less than a minute ago: the server may still have it in
        /// TIME_WAIT, which it looks at first (`tcp_timewait_state_process`).
        in_time_wait: bool,
    },
    /// The client acknowledged the FIN of a server that closed first, or sent its own FIN after that: at this moment
    /// the server's kernel takes the client's TSval into its memory of the host (`tcp_time_wait`, Linux before 4.12).
    Remembered,
}
