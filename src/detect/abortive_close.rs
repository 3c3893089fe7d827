//! `abortive-close`: RST by an end in mid-connection.

use crate::detect::accept_queue_overflow::ordeal;
use crate::detect::draft::{Draft, cause};
use crate::detect::explain::finding;
use crate::detect::surroundings::Surroundings;
use crate::detect::{fin_wait2_expired, listener_closed};
use crate::flow::facts::{ConnectionFacts, Reset, Role, Side};
use crate::report::model::{Kind, Severity};

finding! {
    /// One end ended an established connection by RST instead of FIN.
    ///
    /// ## On the wire
    /// RST with ACK in mid-connection, without a FIN of the same side before; with timestamps and a window when a
    /// socket sent it.
    /// ## In the kernel
    /// close() with `SO_LINGER` 0 (`TCPAbortOnData`), close() or exit with unread data in the receive buffer
    /// (`TCPAbortOnClose`), `ss -K`, or keepalive failure (`TCPAbortOnTimeout`): all `tcp_send_active_reset`.
    /// ## Looks alike
    /// * A host that has no such socket (restarted): bare RST, window 0, no timestamps.
    /// * A middlebox that ends the connection: TTL and IP ID are not those of the host.
    /// * The accept queue was full, or the listener closed: findings of their own.
    /// ## Check next
    /// `nstat -az TcpExtTCPAbortOnData TcpExtTCPAbortOnClose` on the side that reset; `strace -e trace=setsockopt,close`.
    /// ## References
    /// socket(7) on SO_LINGER; RFC 1122 section 4.2.2.13; RFC 2525 section 2.17
    pub struct AbortiveClose = Kind::AbortiveClose
}

/// See [`AbortiveClose`].
pub fn examine(f: &ConnectionFacts, around: &Surroundings<'_>) -> Option<Draft> {
    let role = match (&f.c.reset, &f.s.reset) {
        (Some(c), Some(s)) if s.at < c.at => Role::Server,
        (Some(_), _) => Role::Client,
        (None, Some(_)) => Role::Server,
        (None, None) => return None,
    };
    let (side, peer) = (f.side(role), f.side(role.peer()));
    let reset = side.reset.as_deref()?;
    let established = f.mid_stream || f.final_ack.is_some();
    let explained = listener_closed::explains(f, around).is_some()
        || fin_wait2_expired::examine(f, around).is_some()
        || ordeal(f, around.end())
            .is_some_and(|o| f.progress.is_none() && (!o.repeats.is_empty() || reset.is_socketless()));
    // A RST after both sides had closed, or in answer to what the peer sent after our FIN, ends nothing.
    let after_fin = side.fin.is_some_and(|fin| fin < reset.at);
    if !established || !by_a_socket(reset) || after_fin || explained || f.odd_handshake {
        return None;
    }
    let who = role;
    let mut d =
        Draft::about(f, Kind::AbortiveClose, (reset.at, format!("RST of the {who}, sent by its socket")));
    if let Some(t) = reset.trigger {
        d.shows(t.at, "the last segment of the other side before it");
    }
    d.severity = Severity::Info;
    let (likely, other) = reasons(side, peer);
    d.summary = format!("The {who} {} ended the connection by RST instead of FIN.", f.host(role).socket());
    d.cause = cause(
        likely,
        &["tcp_close", "tcp_send_active_reset"],
        &["TcpExtTCPAbortOnData", "TcpExtTCPAbortOnClose", "TcpEstabResets", "TcpOutRsts"],
        &[],
    );
    d.measure("by", who.to_string()).measure("sent_bytes", side.bytes).measure("received_bytes", peer.bytes);
    d.probable("the RST carries the socket's own window and acknowledgment");
    d.or(
        other,
        "The two look alike on the wire; the counters TCPAbortOnData and TCPAbortOnClose tell them apart.",
    );
    d.next_steps = vec![format!(
        "nstat -az TcpExtTCPAbortOnData TcpExtTCPAbortOnClose   # on {}, twice: which of them grows",
        f.host(role).address.ip()
    )];
    Some(d)
}

/// A socket's own RST acknowledges, and has a window (`tcp_send_active_reset`).
fn by_a_socket(reset: &Reset) -> bool {
    reset.flags.has(crate::decode::segment::Flags::ACK) && !reset.is_socketless()
}

/// The likelier reason first: data that came and was not answered points to a close with unread data.
fn reasons(side: &Side, peer: &Side) -> (&'static str, &'static str) {
    let linger = "The application closed with SO_LINGER 0, or its process was killed.";
    let unread = "The application closed, or exited, with data unread in its receive buffer.";
    let peer_spoke_last = match (side.last_data, peer.last_data) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(own), Some(theirs)) => theirs > own,
    };
    if peer_spoke_last { (unread, linger) } else { (linger, unread) }
}
