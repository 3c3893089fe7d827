//! Measurements of a detector that later stages decide by. The report's metrics are made of them once, when a finding
//! is written down.

use serde_json::Value;

use crate::detect::analysis::fast_open::FastOpenOutcome;
use crate::detect::analysis::fin_wait2::LateSegment;
use crate::detect::context::FloodSize;
use crate::flow::facts::Role;
use crate::flow::key::Host;
use crate::model::Metrics;
use crate::time::Span;

/// Typed details of a finding, beside its kind and its text. A kind on which nothing else depends has none: it only
/// [measures](crate::detect::Draft::measure).
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub enum Details {
    /// No details: nothing depends on them.
    #[default]
    None,
    /// The server ignored the client's final ACK.
    IgnoredAck(IgnoredAckDetails),
    /// SYNs drew no answer.
    IgnoredSyns {
        /// How many.
        count: u64,
        /// Whether the server answered one in the end.
        answered: bool,
    },
    /// SYNs with older timestamps drew no answer.
    OldTimestamps {
        /// SYNs of this server that the rule of `tcp_tw_recycle` explains.
        explained: u64,
    },
    /// The listener waited for data.
    Deferral {
        /// How long after the first SYN-ACK the only repetition came.
        repeated_after: Span,
    },
    /// A SYN with Fast Open was not granted its request.
    FastOpen(FastOpenOutcome),
    /// SYN-ACKs that look like cookies.
    Cookies {
        /// Those that lack options.
        stripped: u64,
        /// Those whose timestamp lags.
        lagging: u64,
    },
    /// Something refused the connection.
    Refusal(Refusal),
    /// A RST ended the connection.
    Reset {
        /// Who sent it.
        by: Role,
    },
    /// One end has closed, the other has not.
    HalfClose(HalfClosedDetails),
    /// A segment met a FIN_WAIT2 socket that was gone.
    Expiry {
        /// The end that had closed.
        closer: Host,
        /// Which segment came late.
        late: LateSegment,
        /// How long nothing had come before.
        silence: Span,
    },
    /// Many handshakes that their clients do not complete.
    Flood(FloodSize),
    /// Many sockets are in TIME_WAIT.
    TimeWait {
        /// The side that closes first, and therefore holds them.
        closer: Role,
    },
}

/// How long and how often the server ignored a client that had completed the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IgnoredAckDetails {
    /// How often the server sent its SYN-ACK again.
    pub syn_acks: u64,
    /// How often the client sent its data again.
    pub retransmits: u64,
    /// Whether the server took the connection in the end.
    pub served: bool,
    /// Whether a repeated SYN-ACK shows that the server's TCP read the segments that it ignored.
    pub read_by_tcp: bool,
}

/// How a connection was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// A RST.
    Reset,
    /// An ICMP error.
    Icmp,
}

/// A half-closed connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HalfClosedDetails {
    /// Which end has closed.
    pub closer: Role,
    /// Its address and port.
    pub closer_host: Host,
    /// The other end's address and port.
    pub waiter_host: Host,
    /// Whether the server's application had sent payload on it.
    pub served: bool,
    /// How long after the acknowledgment of its FIN the closer was seen to be an orphan in FIN_WAIT2.
    pub orphan_alive: Option<Span>,
}

impl Details {
    /// Whether the connection worked in the end; `None` where that question has no meaning.
    pub fn got_through(&self) -> Option<bool> {
        match *self {
            Details::IgnoredAck(IgnoredAckDetails { served, .. }) => Some(served),
            Details::IgnoredSyns { answered, .. } => Some(answered),
            Details::HalfClose(HalfClosedDetails { served, .. }) => Some(served),
            _ => None,
        }
    }

    /// Whether the server is known to have sent no payload on the connection.
    pub fn is_unserved(&self) -> bool {
        match *self {
            Details::IgnoredAck(IgnoredAckDetails { served, .. })
            | Details::HalfClose(HalfClosedDetails { served, .. }) => !served,
            _ => false,
        }
    }

    /// SYNs that drew no answer.
    pub fn ignored_syns(&self) -> u64 {
        match *self {
            Details::IgnoredSyns { count, .. } => count,
            _ => 0,
        }
    }

    /// Writes the measured values by the names that the report has for them.
    pub fn write(&self, metrics: &mut Metrics) {
        match *self {
            Details::None => {}
            Details::IgnoredAck(IgnoredAckDetails { syn_acks, retransmits, served, read_by_tcp }) => {
                metrics.insert("syn_ack_retransmits", syn_acks.into());
                metrics.insert("client_retransmits", retransmits.into());
                metrics.insert("served", served.into());
                metrics.insert("read_by_server_tcp", read_by_tcp.into());
            }
            Details::IgnoredSyns { count, answered } => {
                metrics.insert("syns_unanswered", count.into());
                metrics.insert("answered", answered.into());
            }
            Details::OldTimestamps { explained } => metrics.insert("rule_explains", explained.into()),
            Details::Deferral { repeated_after } => {
                metrics.insert("repeated_after_s", seconds(repeated_after).into());
            }
            Details::FastOpen(fate) => {
                metrics.insert("refused", fate.refused().into());
                metrics.insert("new_cookie", (fate == FastOpenOutcome::Stale).into());
            }
            Details::Cookies { stripped, lagging } => {
                metrics.insert("stripped_syn_acks", stripped.into());
                metrics.insert("lagging_syn_acks", lagging.into());
            }
            Details::Refusal(refusal) => metrics.insert("answered_by", refusal.name().into()),
            Details::Reset { by } => metrics.insert("by", by.to_string().into()),
            Details::HalfClose(half) => half.write(metrics),
            Details::Expiry { closer, late, silence } => {
                metrics.insert("silence_s", seconds(silence).into());
                metrics.insert("late", late.text().into());
                metrics.insert("closed_by", address(closer));
            }
            Details::Flood(FloodSize { handshakes, sources }) => {
                metrics.insert("half_open", handshakes.into());
                metrics.insert("sources", sources.into());
            }
            Details::TimeWait { closer } => {
                let name = match closer {
                    Role::Client => "clients",
                    Role::Server => "server",
                };
                metrics.insert("closed_first_by", name.into());
            }
        }
    }
}

impl HalfClosedDetails {
    fn write(&self, metrics: &mut Metrics) {
        metrics.insert("close_wait", self.waiter_host.socket().to_string().into());
        metrics.insert("fin_wait2", self.closer_host.socket().to_string().into());
        metrics.insert("served", self.served.into());
        metrics.insert("closed_by", address(self.closer_host));
        if let Some(alive) = self.orphan_alive {
            metrics.insert("orphan_alive_s", seconds(alive).into());
        }
    }
}

impl Refusal {
    /// Its name in the report.
    fn name(self) -> &'static str {
        match self {
            Refusal::Reset => "rst",
            Refusal::Icmp => "icmp",
        }
    }
}

fn address(host: Host) -> Value {
    host.address.ip().to_string().into()
}

/// A measured time as the report has it: in seconds, to the microsecond.
pub fn seconds(span: Span) -> f64 {
    (span.0 / 1_000) as f64 / 1e6
}
