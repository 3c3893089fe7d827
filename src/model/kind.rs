//! The kinds of findings: only their names. `detect/kinds` explains each.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kinds, one line for each: its documentation, its variant, its file in `detect/kinds/`, its name. `$use_them` is
/// the macro that is called with these lines: here for [`Kind`], in `detect/kinds/mod.rs` for the registry.
macro_rules! each_kind {
    ($use_them:ident) => {
        $use_them! {
            /// SYN-ACK retransmitted after the final ACK reached the server: the accept queue was full.
            AcceptQueueOverflow accept_queue_overflow "accept-queue-overflow",
            /// RST answers the final ACK: the accept queue was full and `tcp_abort_on_overflow` is 1.
            AcceptQueueReset accept_queue_reset "accept-queue-reset",
            /// SYN dropped because the accept queue was full.
            SynDropAcceptQueue syn_drop_accept_queue "syn-drop-accept-queue",
            /// SYN dropped because the SYN queue was full and syncookies are off.
            SynDropSynQueue syn_drop_syn_queue "syn-drop-syn-queue",
            /// SYN dropped because its timestamp lay behind the host's last one (`tcp_tw_recycle`).
            SynDropTimestamp syn_drop_timestamp "syn-drop-timestamp",
            /// SYN unanswered; the wire does not say why.
            SynUnanswered syn_unanswered "syn-unanswered",
            /// Many half-open handshakes that never get their final ACK.
            SynFlood syn_flood "syn-flood",
            /// The listener answers with syncookies.
            Syncookies syncookies "syncookies",
            /// SYN answered by a bare ACK: the server still has a socket for the four-tuple.
            TimeWaitCollision time_wait_collision "time-wait-collision",
            /// RST or ICMP error answers the SYN.
            ConnectionRefused connection_refused "connection-refused",
            /// A segment of the handshake was lost on the path.
            HandshakeLoss handshake_loss "handshake-loss",
            /// `TCP_DEFER_ACCEPT` at work.
            DeferAccept defer_accept "defer-accept",
            /// Fast Open refused or black-holed.
            FastopenFallback fastopen_fallback "fastopen-fallback",
            /// The listener went away while connections waited in its queue.
            ListenerClosed listener_closed "listener-closed",
            /// One side has closed, the other has long been silent.
            HalfClose half_close "half-close",
            /// A late segment came when the orphaned FIN_WAIT2 socket was gone.
            FinWait2Expired fin_wait2_expired "fin-wait2-expired",
            /// RST by an end in mid-connection.
            AbortiveClose abortive_close "abortive-close",
            /// FIN never acknowledged.
            FinUnacknowledged fin_unacknowledged "fin-unacknowledged",
            /// Ports or buckets run out because of sockets in TIME_WAIT.
            TimeWaitPressure time_wait_pressure "time-wait-pressure",
            /// SYN-ACKs are sent, and the handshake never completes.
            SynAckUnanswered syn_ack_unanswered "syn-ack-unanswered",
            /// Data is repeated and never acknowledged.
            DataUnacknowledged data_unacknowledged "data-unacknowledged",
            /// Full-size segments are lost, smaller ones arrive.
            PathMtuBlackhole path_mtu_blackhole "path-mtu-blackhole",
            /// A box on the path forgot an idle connection.
            IdleFlowDropped idle_flow_dropped "idle-flow-dropped",
            /// A RST that the end in whose name it came did not send.
            InjectedReset injected_reset "injected-reset",
            /// The server closed an idle connection while the next request was under way.
            IdleCloseRace idle_close_race "idle-close-race",
            /// The receive window stays closed.
            ZeroWindowStall zero_window_stall "zero-window-stall",
            /// One end has no socket for the connection any more.
            StaleConnection stale_connection "stale-connection",
            /// A segment of a translated connection came under its inner address.
            UntranslatedSegment untranslated_segment "untranslated-segment",
            /// Registered in tests only: the least that a new kind needs.
            #[cfg(test)]
            Exercise exercise "exercise",
        }
    };
}
pub(crate) use each_kind;

/// Declares [`Kind`].
macro_rules! declare_kinds {
    ($($(#[doc = $doc:literal])+ $(#[cfg($cfg:meta)])? $kind:ident $file:ident $name:literal,)+) => {
        /// What a finding is about. The names are fixed.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
        )]
        pub enum Kind {
            $($(#[doc = $doc])+ $(#[cfg($cfg)])? #[serde(rename = $name)] $kind,)+
        }

        impl Kind {
            /// All kinds, in the order of the design: set-up first, teardown last.
            pub const ALL: [Kind; [$($(#[cfg($cfg)])? $name),+].len()] = [$($(#[cfg($cfg)])? Kind::$kind),+];

            /// The name in reports and on the command line, `accept-queue-overflow`.
            pub const fn name(self) -> &'static str {
                match self {
                    $($(#[cfg($cfg)])? Kind::$kind => $name,)+
                }
            }
        }
    };
}

each_kind!(declare_kinds);

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;
    /// # Errors
    /// The name of no kind: the message lists those there are.
    fn from_str(name: &str) -> Result<Kind, String> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            format!("no finding kind '{name}'; there are: {}", names.join(", "))
        })
    }
}
