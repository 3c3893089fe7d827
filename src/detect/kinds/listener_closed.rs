//! `listener-closed`: the listener went away while connections waited in its queue.

use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause};
use crate::detect::explain::finding;
use crate::detect::next;
use crate::flow::facts::ConnectionFacts;
use crate::model::{Kind, Severity};
use crate::time::Span;

finding! {
    /// Connections that had completed the handshake but were never served are reset all at once.
    ///
    /// ## On the wire
    /// RSTs with ACK, timestamps and a window, on several connections of one listener within a few milliseconds; on
    /// none of them the server had sent any payload. New SYNs are refused, or served by a new process.
    /// ## In the kernel
    /// close() of a listening socket aborts what still waits in its accept queue: `inet_csk_listen_stop`,
    /// `tcp_send_active_reset`. Half-open requests are dropped in silence, their next segment draws a bare RST.
    /// ## Looks alike
    /// * An application that aborts one connection (`abortive-close`): not all at once.
    /// * An application that aborts one request after the other while it serves others: the resets go on, each soon after
    ///   its own request.
    /// * An application that ends, or closes all of its connections, with data unread on some of them: those on which
    ///   nothing is unread are closed by FIN in the same moment. A closing listener resets them all.
    /// * `accept-queue-reset`: bare RSTs, each right after its final ACK.
    /// ## Check next
    /// The server's log at that second: restart, deploy, crash. Hand the listening socket over (socket activation,
    /// SO_REUSEPORT with `tcp_migrate_req=1` from Linux 5.14) or drain before closing.
    /// ## References
    /// `net/ipv4/inet_connection_sock.c` `inet_csk_listen_stop`
    pub struct ListenerClosed = Kind::ListenerClosed
}

/// Connections reset together, this one included, from which on it is the listener.
const TOGETHER: usize = 3;
/// How near in time: one loop over the queue.
const AT_ONCE: Span = Span::millis(50);

/// Resets as many as those at once within this before and after are no single event.
const GOES_ON: Span = Span::secs(2);

/// How long a loop over the queue takes.
const ONE_LOOP: Span = Span::millis(3);

/// Connections reset together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Together {
    /// How many.
    pub connections: usize,
    /// On how many of them the client had sent nothing: nothing there was left unread.
    pub silent: usize,
}

/// Whether the server reset this connection together with others that it had never served.
pub fn explains(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Together> {
    let reset = f.s.reset.as_deref()?;
    if f.final_ack.is_none() || f.s.has_spoken() || reset.is_socketless() || f.s.fin.is_some() {
        return None;
    }
    let within = |span: Span| {
        around.scene.aborted.iter().filter(move |a| (a.at.time - reset.at.time).0.abs() <= span.0)
    };
    let near = within(AT_ONCE);
    // A listener is closed once. Resets that go on, or each of which answers its own client, are the application's.
    let goes_on = within(GOES_ON).count() >= near.clone().count() * 2;
    if goes_on || near.clone().all(|a| a.prompt) {
        return None;
    }
    let together = Together { connections: near.clone().count(), silent: near.filter(|a| !a.asked).count() };
    // It served others as before, none was refused, and the resets took longer than a loop over the queue.
    let (before, after) = (reset.at.time.after(Span(-GOES_ON.0)), reset.at.time.after(GOES_ON));
    let sums = [(before, reset.at.time.after(Span::secs(-1))), (reset.at.time.after(Span::secs(1)), after)]
        .map(|(from, to)| around.listener.between(from, to));
    let serves_on = sums.iter().all(|sum| sum.served > 0 && sum.answered > 0)
        && around.listener.between(before, after).refused == 0
        && within(ONE_LOOP).count() < TOGETHER;
    if together.silent == 0 && serves_on {
        return None;
    }
    // The application closed them: by FIN where nothing was unread.
    let by_application = together.silent == 0
        && around
            .listener
            .between(reset.at.time.after(Span(-AT_ONCE.0)), reset.at.time.after(AT_ONCE))
            .closed_unserved
            > 0;
    (together.connections >= TOGETHER && !by_application).then_some(together)
}

/// See [`ListenerClosed`].
pub fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let Together { connections: together, silent } = explains(f, around)?;
    let (reset, ack) = (f.s.reset.as_deref()?, f.final_ack?);
    let mut d = Draft::about(
        f,
        Kind::ListenerClosed,
        (reset.at, format!("RST of a socket, one of {together} within {AT_ONCE}")),
    );
    d.shows(ack.at, "final ACK: the connection now waits in the accept queue");
    d.severity = Severity::Critical;
    d.summary = format!(
        "{} had waited {} for the application when the server reset it together with {} others.",
        f.client.socket(),
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
    d.next_steps = vec![
        next::log(f.server, reset.at.time),
        "Drain the accept queue before closing, or pass the listening socket on (socket activation).".to_owned(),
        "sysctl net.ipv4.tcp_migrate_req   # 1 moves waiting connections to another listener of the same port (Linux 5.14)"
            .to_owned(),
    ];
    Some(d)
}
