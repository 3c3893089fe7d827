//! What a packet turned out to be.

/// What a packet turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// A TCP segment; the output holds it.
    Tcp,
    /// An ICMP error that quotes a TCP segment; the output holds the quoted one ([`ICMP_ERROR`](super::segment::Traits::ICMP_ERROR)).
    Icmp,
    /// Whole and understood, but without TCP.
    Other,
    /// A later fragment of an IP datagram whose protocol is TCP: the TCP header is in the first one.
    LaterFragment,
    /// The snapshot length ended the packet before the fields that are needed.
    Cut,
    /// Lengths or versions contradict each other.
    Malformed,
    /// The link type is not known to this program.
    UnknownLink,
}
