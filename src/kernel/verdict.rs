//! Statements of the kernel: one about one segment, and all about one packet together.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::decode::segment::Flags;
use crate::time::Timestamp;

/// A name that the kernel gives to a reason or a function.
pub type Name = Arc<str>;

/// What happened to a packet, or what a socket did.
///
/// Its names in a recording are those in a report.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelEvent {
    /// The kernel freed a packet that it had not used.
    Dropped,
    /// The kernel answers it with a RST.
    Reset,
    /// A socket sends a RST of its own accord; the segment is that RST.
    #[serde(rename = "sent")]
    ResetBySocket,
    /// A SYN or final ACK has reached its listener.
    #[serde(rename = "received")]
    AtListener,
}

/// The queues of a listener at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Queues {
    /// Connections that wait to be accepted.
    pub accept: u32,
    /// Handshakes that wait for their final ACK.
    pub syn: u32,
    /// The limit of both; the kernel lets one more into either.
    pub limit: u32,
    /// Whether syncookies are known to be off: only then does the kernel drop a SYN at a full SYN queue.
    pub without_cookies: bool,
}

impl Queues {
    /// Whether no connection fits into the accept queue any more: the kernel's `sk_acceptq_is_full`.
    pub fn accept_is_full(self) -> bool {
        self.accept > self.limit
    }

    /// Whether no handshake fits into the SYN queue of any kernel: the kernel's `inet_csk_reqsk_queue_is_full` since "tcp/dccp: allow
    /// a connection when sk_max_ack_backlog is zero" (2025; 6.1.192 and 6.12.117 have it). In older kernels one handshake less
    /// fits. A queue that is full only there proves nothing here.
    pub fn syn_is_full(self) -> bool {
        self.syn > self.limit
    }

    /// Whether the kernel drops a SYN because of the SYN queue.
    pub fn drops_syns(self) -> bool {
        self.syn_is_full() && self.without_cookies
    }
}

/// The fields by which a segment is recognised.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SegmentKey {
    /// Who sent it.
    pub source: SocketAddr,
    /// Whom it is for.
    pub destination: SocketAddr,
    /// Its sequence number.
    pub seq: u32,
    /// Its acknowledgment number.
    pub ack: u32,
    /// Its control bits.
    pub flags: Flags,
    /// The IP ID; 0 with IPv6.
    pub ip_id: u16,
    /// Bytes of payload.
    pub payload: u32,
}

/// One statement of the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// What happened.
    pub event: KernelEvent,
    /// When.
    pub time: Timestamp,
    /// Why, if this kernel gives a reason.
    pub reason: Option<Name>,
    /// The function in the kernel, if it is known.
    pub function: Option<Name>,
    /// The queues, where a listener was concerned.
    pub queues: Option<Queues>,
    /// The segment.
    pub segment: SegmentKey,
}

/// Why and where.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct DropSite {
    /// Why, if this kernel gives a reason.
    pub reason: Option<Name>,
    /// The function in the kernel, if it is known.
    pub function: Option<Name>,
}

/// All statements about one packet.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Judgement {
    /// It was dropped.
    pub dropped: Option<DropSite>,
    /// It was answered with a RST.
    pub reset: Option<DropSite>,
    /// It is a RST that the kernel sent.
    pub sent: Option<DropSite>,
    /// The function at whose entry the queues were read.
    pub at_listener: Option<Name>,
    /// The queues, as full as they were when the packet came.
    pub queues: Option<Queues>,
}

impl Judgement {
    /// Whether it is about a packet that came to a listener of the kernel that judged it.
    pub fn is_of_listener(&self) -> bool {
        self.queues.is_some() && self.sent.is_none()
    }

    /// Takes in a statement about this packet. The first statement holds.
    pub fn add(&mut self, statement: &Statement) {
        let Statement { event, reason, function, queues, .. } = statement;
        let place = || DropSite { reason: reason.clone(), function: function.clone() };
        match event {
            KernelEvent::Dropped => _ = self.dropped.get_or_insert_with(place),
            KernelEvent::Reset => _ = self.reset.get_or_insert_with(place),
            KernelEvent::ResetBySocket => _ = self.sent.get_or_insert_with(place),
            KernelEvent::AtListener => {
                self.at_listener = self.at_listener.take().or_else(|| function.clone())
            }
        }
        self.queues = match (self.queues, *queues) {
            // A queue length read while a request is removed may be one less than the length that the request met.
            (Some(was), Some(now)) => Some(Queues {
                without_cookies: was.without_cookies || now.without_cookies,
                ..if now.accept > was.accept { now } else { was }
            }),
            (was, now) => was.or(now),
        };
    }

    /// The place that decides: that of the drop, unless the kernel names a reason only for the RST.
    pub fn place(&self) -> Option<&DropSite> {
        let named = |place: &&DropSite| place.reason.as_deref().is_some_and(|reason| reason != UNSPECIFIED);
        let all = || [&self.dropped, &self.reset, &self.sent].into_iter().flatten();
        all().find(named).or_else(|| all().next())
    }
}

/// The name of a reason that has no meaning.
pub const UNSPECIFIED: &str = "NOT_SPECIFIED";

/// Statements since the last time.
#[derive(Debug, Default)]
pub struct NewStatements {
    /// The statements, in order of time on each processor.
    pub statements: Vec<Statement>,
    /// Statements that were lost, since the beginning.
    pub lost: u64,
    /// Packets whose namespace is not known, since the beginning.
    pub unplaced: u64,
    /// All statements up to this time are included.
    pub until: Timestamp,
}
