//! `listener-closed`: the listener went away while connections waited in its queue.

use crate::detect::analysis::ignored_ack::ignored_ack;
use crate::detect::analysis::listener_gone::{ListenerGoneSign, ResetHandshake, gone, reset_handshake};
use crate::detect::analysis::reset_together::{AT_ONCE, ResetGroup, reset_together};
use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause};
use crate::detect::next;
use crate::detect::spec::{Examine, LeadsTo, Property, RelationCondition, finding};
use crate::flow::facts::ConnectionFacts;
use crate::history::wants::Wants;
use crate::model::{Kind, Severity};
use crate::time::Timestamp;

finding! {
    /// Connections that had completed the handshake but were never served are reset all at once.
    ///
    /// ## On the wire
    /// RSTs with ACK, timestamps and a window, on several connections of one listener within a few milliseconds; on
    /// none of them the server had sent any payload. New SYNs are refused, or served by a new process. Handshakes that were
    /// under way draw a bare RST in answer to their final ACK.
    /// ## In the kernel
    /// close() of a listening socket aborts the connections that wait in its accept queue: `inet_csk_listen_stop`,
    /// `tcp_send_active_reset`. Half-open requests are dropped in silence; their next segment draws a bare RST.
    /// ## Looks alike
    /// * An application that aborts one connection (`abortive-close`): not all at once.
    /// * An application that aborts one request after the other while it serves others: the resets go on, each soon after
    ///   its own request.
    /// * An application that ends, or closes all of its connections, with data unread on some of them: those on which
    ///   nothing is unread are closed by FIN in the same moment. A closing listener resets them all.
    /// * `accept-queue-reset`: bare RSTs right after final ACKs, while others wait in the queue and nothing else ends.
    /// ## Check next
    /// The server's log at that second: restart, deploy, crash. Hand the listening socket over (socket activation,
    /// SO_REUSEPORT with `tcp_migrate_req=1` from Linux 5.14) or drain before closing.
    /// ## References
    /// `net/ipv4/inet_connection_sock.c` `inet_csk_listen_stop`
    pub struct ListenerClosed {
        kind: Kind::ListenerClosed,
        plain_words: "The server's application stopped listening while connections waited for it.",
        at_fault: "the server's application, which stopped listening",
        wants: Wants::full(|f, _| f.s.resets > 0),
        examine: Examine::Connection(examine),
        look_alikes: &["accept-queue-reset/data-first", "accept-queue-overflow/silent-clients", "listener-closed/application-exits"],
        counters: &["TcpEstabResets", "TcpOutRsts"],
        settings: &["net.ipv4.tcp_migrate_req"],
        properties: &[Property::ExplainsReset, Property::HasOneCause, Property::RestsOnOrder],
        leads_to: &[
            LeadsTo {
                effect: Kind::ConnectionRefused,
                said_of_effect: "new connections were refused after it",
                said_of_cause: "the listener had been closed",
                when: RelationCondition::Always,
            },
        ],
    }
}

/// See [`ListenerClosed`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    if let Some(draft) = in_mid_handshake(f, around) {
        return Some(draft);
    }
    let ResetGroup { connections: together, silent } = reset_together(f, around)?;
    let (reset, ack) = (f.s.reset.as_deref()?, f.final_ack?);
    let mut d =
        Draft::about(f, &SPEC, (reset.at, format!("RST of a socket, one of {together} within {AT_ONCE}")));
    d.shows(ack.at, "final ACK: the connection now waits in the accept queue");
    d.severity = Severity::Critical;
    d.summary = format!(
        "{} had waited {} for the application when the server reset it together with {} others.",
        f.client,
        reset.at.time - ack.at.time,
        together - 1
    );
    d.cause = cause(
        "The listening socket was closed while connections waited in its accept queue.",
        &["inet_csk_listen_stop", "tcp_send_active_reset"],
        &["TcpEstabResets", "TcpOutRsts"],
        &["net.ipv4.tcp_migrate_req"],
    );
    d.measure("reset_together", together).measure_span("waited_s", reset.at.time - ack.at.time);
    if silent > 0 {
        d.probable("only closing the listener resets connections without unread data, all at once");
        d.or(
            "The application accepted them and closed them with SO_LINGER 0.",
            "Then it would have answered some of them before.",
        );
    } else {
        d.possible(
            "connections that got no answer were reset all at once, but each may have had unread data",
        );
        d.or(
            "The application had accepted them, and exited or closed them with unread data.",
            "Then it had not read the request of any of them.",
        );
    }
    d.next_steps = next_steps(f, reset.at.time);
    Some(d)
}

fn next_steps(f: &ConnectionFacts, at: Timestamp) -> Vec<String> {
    vec![
        next::log(f.server, at),
        "Drain the accept queue before closing, or pass the listening socket on (socket activation).".to_owned(),
        "sysctl net.ipv4.tcp_migrate_req   # 1 moves waiting connections to another listener of the same port (Linux 5.14)"
            .to_owned(),
    ]
}

/// A handshake that was under way when the listener went away: its final ACK finds no listener, or one without its
/// request.
fn in_mid_handshake(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let ResetHandshake { ack, reset, after, at_once } = reset_handshake(f, around)?;
    let gone = gone(around, reset.at.time).filter(|gone| at_once || gone.ends_waiting())?;
    // A request that was refused in silence before is reported by another kind.
    if ignored_ack(f, around.end()).is_some_and(|ignored_ack| !ignored_ack.repeats.is_empty()) {
        return None;
    }
    let mut d = Draft::about(f, &SPEC, (reset.at, format!("RST, {after} after the final ACK")));
    d.shows(ack.at, "final ACK: the client considers the connection open");
    d.severity = Severity::Critical;
    d.summary = format!(
        "{} completed the handshake just as the listener went away: the server answered with a RST {after} later.",
        f.client
    );
    d.cause = cause(
        match gone {
            ListenerGoneSign::SocketsLost(_) => {
                "The host was restarted, or its address moved to another host, between SYN and final ACK."
            }
            _ => {
                "The listening socket was closed or replaced between SYN and final ACK: a restart or a reload."
            }
        },
        &["inet_csk_listen_stop", "tcp_v4_send_reset"],
        &["TcpOutRsts"],
        &["net.ipv4.tcp_migrate_req"],
    );
    d.measure_span("reset_after_s", after);
    match gone {
        ListenerGoneSign::ServesOthers => d.possible(gone.clause()),
        _ => d.probable(gone.clause()),
    };
    d.or(
        "The accept queue was full, and tcp_abort_on_overflow=1 makes the kernel answer with a RST.",
        "Then EmbryonicRsts and ListenOverflows grow. A full queue does not explain what else ended in that moment.",
    );
    d.next_steps = next_steps(f, reset.at.time);
    Some(d)
}
