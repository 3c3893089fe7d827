//! `abortive-close`: RST by an end in mid-connection.

use crate::detect::analysis::end_of_flow::{FlowFailure, flow_failure};
use crate::detect::analysis::fin_wait2::expired;
use crate::detect::analysis::ignored_ack::ignored_ack;
use crate::detect::analysis::reset_together::reset_together;
use crate::detect::context::DetectContext;
use crate::detect::details::Details;
use crate::detect::draft::{Draft, cause};
use crate::detect::next;
use crate::detect::spec::{Examine, Property, finding};
use crate::flow::facts::{ConnectionFacts, Reset, Role, SegmentKind, Side};
use crate::flow::outcome::is_by_box;
use crate::history::wants::Wants;
use crate::model::{Kind, Severity};
use crate::time::Span;

finding! {
    /// One end ended an established connection by RST instead of FIN.
    ///
    /// ## On the wire
    /// RST with ACK in mid-connection, without a FIN of the same side before; with timestamps and a window when a
    /// socket sent it.
    /// ## In the kernel
    /// close() or exit with unread data in the receive buffer (`TCPAbortOnClose`), close() with `SO_LINGER` 0
    /// (`TCPAbortOnData`), `ss -K`, or keepalive failure (`TCPAbortOnTimeout`): all call `tcp_send_active_reset`. A
    /// keepalive failure shows by its probes without an answer; the others leave the same RST. A process that is killed
    /// closes like any other: by RST only with data unread.
    /// ## Looks alike
    /// * A host that has no such socket (restarted), or a firewall that rejects: bare RST, window 0, no timestamps. No
    ///   finding.
    /// * A middlebox that ends the connection: TTL and IP ID are not those of the host.
    /// * The accept queue was full, or the listener closed: findings of their own.
    /// ## Check next
    /// `nstat -az TcpExtTCPAbortOnData TcpExtTCPAbortOnClose` on the side that reset; `strace -e trace=setsockopt,close`.
    /// ## References
    /// socket(7) on SO_LINGER; RFC 1122 section 4.2.2.13; RFC 2525 section 2.17
    pub struct AbortiveClose {
        kind: Kind::AbortiveClose,
        plain_words: "A connection was cut off instead of being closed.",
        at_fault: "the side that sent the RST",
        wants: Wants::full(|f, _| f.c.resets + f.s.resets > 0),
        examine: Examine::Connection(examine),
        look_alikes: &["fin-wait2-expired/client-closes", "accept-queue-reset/data-first", "abortive-close/no-socket", "abortive-close/firewall-resets"],
        counters: &["TcpExtTCPAbortOnData", "TcpExtTCPAbortOnClose", "TcpExtTCPAbortOnTimeout", "TcpExtTCPAbortOnMemory"],
        settings: &["net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time"],
        properties: &[Property::ExplainsReset, Property::IsAnswered, Property::RestsOnOrder, Property::NeedsNoClock],
    }
}

/// A client that has waited for an answer for this long gives up for that reason.
const PATIENCE: Span = Span::secs(1);

/// See [`AbortiveClose`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let role = match (&f.c.reset, &f.s.reset) {
        (Some(c), Some(s)) if s.at < c.at => Role::Server,
        (Some(_), _) => Role::Client,
        (None, Some(_)) => Role::Server,
        (None, None) => return None,
    };
    if role == Role::Server
        && let Some(draft) = early_answer(f, around).or_else(|| closed_at_once(f, around))
    {
        return Some(draft);
    }
    let (side, peer) = (f.side(role), f.side(role.peer()));
    let reset = side.reset.as_deref()?;
    let established = f.mid_stream || f.final_ack.is_some();
    let explained = reset_together(f, around).is_some()
        || expired(f, around).is_some()
        || ignored_ack(f, around.end())
            .is_some_and(|o| f.progress.is_none() && (!o.repeats.is_empty() || reset.is_socketless()));
    // A RST after both sides had closed, or in answer to the peer's segments after our FIN, ends nothing.
    let after_fin = side.fin.is_some_and(|fin| fin < reset.at);
    if !established || is_by_box(f, reset) || !by_a_socket(reset) || after_fin || explained || f.odd_handshake
    {
        return None;
    }
    // An end that gives up a connection that was already dead is not its cause.
    let had_died = flow_failure(f, around).is_some_and(|failure| {
        matches!(
            failure,
            FlowFailure::ZeroWindow { .. }
                | FlowFailure::PathMtu { .. }
                | FlowFailure::LargeMissing { .. }
                | FlowFailure::Unacknowledged { .. }
                | FlowFailure::Forgotten { .. }
        )
    });
    if had_died {
        return None;
    }
    let who = role;
    let mut d = Draft::about(f, &SPEC, (reset.at, format!("RST sent by the {who}'s socket")));
    if let Some(t) = reset.trigger {
        d.shows(t.at, "last segment of the other side before it");
    }
    // A request that was never answered is lost. Otherwise the connection had done its work.
    d.severity = if has_unanswered_request(f) { Severity::Critical } else { Severity::Info };
    let reason = Reason::of(role, reset, side, peer);
    if let (Reason::Keepalive, Some(probe)) = (reason, side.keepalive()) {
        d.severity = d.severity.max(Severity::Warning);
        d.shows(probe, format!("last of {} keepalive probes, all without an answer", side.keepalives()));
    }
    d.summary = summary(f, role, reset, reason);
    d.cause = cause(
        reason.text(),
        reason.functions(),
        reason.counters(),
        if reason == Reason::Keepalive { KEEPALIVE } else { &[] },
    );
    d.details = Details::Reset { by: who };
    d.measure("sent_bytes", side.bytes).measure("received_bytes", peer.bytes);
    d.probable("the RST carries a window and an acknowledgment, so a socket sent it");
    add_alternatives(&mut d, reason, side);
    let host = f.host(role).address.ip();
    d.next_steps = vec![match reason {
        Reason::Keepalive => format!(
            "ping -c 3 {}   # on {host}: is the other host up, and the path?",
            f.host(role.peer()).address.ip()
        ),
        _ => format!(
            "nstat -az TcpExtTCPAbortOnData TcpExtTCPAbortOnClose   # on {host}, twice, 10 s apart: which one grows?"
        ),
    }];
    Some(d)
}

/// The alternatives.
fn add_alternatives(d: &mut Draft, reason: Reason, side: &Side) {
    for (other, why) in reason.others() {
        d.or(*other, *why);
    }
    let last_words = side.last_data.is_none_or(|data| side.keepalive() > Some(data));
    if reason != Reason::Keepalive && side.keepalives() >= PROBES && last_words {
        d.or(
            "Its keepalive gave up: the answers to its probes leave here and do not reach it.",
            "A capture at that end would show probes without answers.",
        );
    }
}

/// A RST after this many keepalive probes may be due to them.
const PROBES: u16 = 3;

/// The server answered and closed while the client was still sending: the rest of the request draws a RST without a socket.
fn early_answer(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let (fin, reset) = (f.s.fin?, f.s.reset.as_deref()?);
    let (asked, answer) = (f.c.first_data?, f.s.last_data?);
    let is_refused = reset.is_socketless() && !is_by_box(f, reset) && fin < reset.at && asked < answer;
    let goes_on = f.c.has_outstanding() && f.c.fin.is_none_or(|closed| fin < closed) && f.c.data_segments > 1;
    // Data that had to be repeated came to a host that was away.
    let at_once = f.c.in_vain().is_none() && reset.trigger.is_some_and(|t| t.what == SegmentKind::Data);
    let told = flow_failure(f, around).is_some() || expired(f, around).is_some() || f.odd_handshake;
    if !is_refused || !goes_on || !at_once || told || f.mid_stream {
        return None;
    }
    let mut d = Draft::about(f, &SPEC, (reset.at, "RST: the server's socket takes nothing any more"));
    d.shows(answer, "last data of the server: its answer").shows(fin, "FIN of the server");
    d.severity = Severity::Info;
    d.summary = format!(
        "The server {} answered and closed while {} was still sending, and reset the rest of the request.",
        f.server.socket(),
        f.client.socket()
    );
    d.cause = cause(
        "The server's application answered early (an error as 413 or 400, a redirect) and left the rest of the request unread.",
        &["tcp_rcv_state_process", "tcp_v4_send_reset"],
        &["TcpExtTCPAbortOnData", "TcpOutRsts"],
        &[],
    );
    d.details = Details::Reset { by: Role::Server };
    d.measure("sent_bytes", f.s.bytes).measure("received_bytes", f.c.bytes);
    d.probable(
        "the server had answered and sent its FIN; data that came after it drew a RST without a socket",
    );
    d.or(
        "The server closed an idle connection, and the client used it all the same.",
        "The client was not silent before that data, or the server had answered only once.",
    );
    d.next_steps = vec![
        next::log(f.server, answer.time),
        "Let the server read the rest of the request before it closes (lingering close).".to_owned(),
    ];
    Some(d)
}

/// An application that decides by the client's address alone closes within this.
const UNASKED: Span = Span::secs(1);

/// The server closed as soon as it had accepted, and the client's request met a closed socket.
fn closed_at_once(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let (ack, fin, reset) = (f.final_ack?, f.s.fin?, f.s.reset.as_deref()?);
    let asked = f.c.first_data?;
    let is_refused = reset.is_socketless() && !is_by_box(f, reset) && fin < reset.at;
    // Data that had to be repeated came to a host that was away.
    let at_once = fin.time - ack.at.time <= UNASKED
        && f.c.data_segments == 1
        && f.c.has_outstanding()
        && f.unanswered.retransmits == 0
        && asked.time - fin.time <= UNASKED
        && reset.at.time - asked.time <= UNASKED
        && !around.context.damaged;
    let answers = reset.trigger.is_none_or(|t| t.at <= fin || t.what == SegmentKind::Data);
    // A few bytes of a greeting or an error are not an answer.
    let is_unanswered = f.s.last_data.is_none_or(|data| data < asked || data.time <= fin.time);
    let told = flow_failure(f, around).is_some() || f.mid_stream || f.odd_handshake;
    if !is_refused || !at_once || !answers || !is_unanswered || told {
        return None;
    }
    let mut d = Draft::about(f, &SPEC, (fin, "FIN of the server, right after the handshake"));
    d.shows(asked, "the client's request").shows(reset.at, "RST: the server's socket takes nothing any more");
    d.severity = Severity::Critical;
    d.summary = format!(
        "The server {} accepted the connection of {} and closed it {} later; the request drew a RST.",
        f.server.socket(),
        f.client.socket(),
        fin.time - ack.at.time
    );
    d.cause = cause(
        "The server's application closed the connection as soon as it had accepted it: a rule of who may connect, a limit of \
         connections, or an error at its start.",
        &["tcp_rcv_state_process", "tcp_v4_send_reset"],
        &["TcpExtTCPAbortOnData", "TcpOutRsts"],
        &[],
    );
    d.details = Details::Reset { by: Role::Server };
    d.measure("sent_bytes", f.s.bytes).measure("received_bytes", f.c.bytes);
    d.probable("the server's FIN came before the client's request could have been read, and the request drew a RST without a socket");
    d.or(
        "The application closed with the request unread in its receive buffer.",
        "Then its own socket would send the RST, and no FIN.",
    );
    d.next_steps = vec![next::log(f.server, fin.time)];
    Some(d)
}

/// Whether the client sent data, and the server none in all the connection.
fn has_unanswered_request(f: &ConnectionFacts) -> bool {
    !f.mid_stream && f.c.bytes > 0 && f.s.bytes == 0
}

fn summary(f: &ConnectionFacts, by: Role, reset: &Reset, reason: Reason) -> String {
    // The data was acknowledged, so the server's kernel has it.
    let is_waiting = by == Role::Client && has_unanswered_request(f) && !f.c.has_outstanding();
    let waited = f.c.last_data.filter(|_| is_waiting);
    let waited = waited.map(|asked| reset.at.time - asked.time).filter(|waited| *waited >= PATIENCE);
    let socket = f.host(by).socket();
    match (reason, waited) {
        (Reason::Keepalive, _) => format!(
            "The {by} {socket} gave the connection up and sent a RST: {} keepalive probes drew no answer.",
            f.side(by).keepalives()
        ),
        (_, Some(waited)) => format!(
            "The client {socket} got no answer to its data for {waited}, and ended the connection with a RST."
        ),
        (_, None) => format!("The {by} {socket} ended the connection with a RST instead of a FIN."),
    }
}

/// A socket's own RST acknowledges, and has a window (`tcp_send_active_reset`).
fn by_a_socket(reset: &Reset) -> bool {
    reset.flags.has(crate::decode::segment::Flags::ACK) && !reset.is_socketless()
}

/// Why a socket is reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reason {
    /// Keepalive probes drew no answer.
    Keepalive,
    /// A request came and was not answered, or more of it came after the answer: it was left unread.
    Unread,
    /// The side sent the last data, so it had read all data before: `SO_LINGER` 0.
    Linger,
    /// An answer came, of which something may have been left unread; or `SO_LINGER` 0.
    Either,
}

/// Settings that decide about the probes.
const KEEPALIVE: &[&str] =
    &["net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes"];

/// Two causes that leave the same packets.
const ALIKE: &str =
    "Both leave the same packets. The counters TCPAbortOnData and TCPAbortOnClose tell them apart.";

impl Reason {
    fn of(role: Role, reset: &Reset, side: &Side, peer: &Side) -> Reason {
        if side.keepalives() >= 2 && side.keepalive().is_some_and(|probe| peer.last < probe) {
            return Reason::Keepalive;
        }
        // Data after its last acknowledgment came just before the end.
        let came_last = peer.acked_known && reset.ack.after(peer.acked) && peer.data_segments > 0;
        let peer_spoke_last = match (side.last_data, peer.last_data) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(own), Some(theirs)) => theirs > own,
        };
        match (peer_spoke_last || came_last, role) {
            (false, _) => Reason::Linger,
            (true, Role::Server) => Reason::Unread,
            // In most protocols the server sends last, whether or not the client reads it.
            (true, Role::Client) => Reason::Either,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Reason::Keepalive => "The peer or the path is gone: keepalive probes drew no answer.",
            Reason::Unread => "The application closed or exited with data unread in its receive buffer.",
            Reason::Linger => "The application closed with SO_LINGER 0.",
            Reason::Either => {
                "The application closed with data unread in its receive buffer, or with SO_LINGER 0."
            }
        }
    }

    fn functions(self) -> &'static [&'static str] {
        match self {
            Reason::Keepalive => &["tcp_keepalive_timer", "tcp_send_active_reset"],
            _ => &["tcp_close", "tcp_send_active_reset"],
        }
    }

    fn counters(self) -> &'static [&'static str] {
        match self {
            Reason::Keepalive => {
                &["TcpExtTCPAbortOnTimeout", "TcpExtTCPKeepAlive", "TcpEstabResets", "TcpOutRsts"]
            }
            _ => &["TcpExtTCPAbortOnData", "TcpExtTCPAbortOnClose", "TcpEstabResets", "TcpOutRsts"],
        }
    }

    fn others(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Reason::Keepalive => {
                &[("The application closed with SO_LINGER 0.", "It would have to do so just after a probe.")]
            }
            Reason::Unread => &[("The application closed with SO_LINGER 0.", ALIKE)],
            Reason::Linger => {
                &[("The application closed or exited with data unread in its receive buffer.", ALIKE)]
            }
            Reason::Either => &[(
                "An administrator ended it with `ss -K`.",
                "Then neither TCPAbortOnData nor TCPAbortOnClose grows.",
            )],
        }
    }
}
