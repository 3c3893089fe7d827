//! `idle-close-race`: the server closes an idle connection while the next request is under way.

use crate::detect::analysis::end_of_flow::{
    ApplicationEndSign, FlowFailure, KEPT_ALIVE, flow_failure, stops,
};
use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause};
use crate::detect::next;
use crate::detect::spec::{Examine, finding};
use crate::flow::facts::ConnectionFacts;
use crate::history::wants::Wants;
use crate::model::{Kind, Severity};
use crate::time::Span;

finding! {
    /// The server closes an idle persistent connection while the client's next request is on its way: the request is
    /// lost.
    ///
    /// ## On the wire
    /// Requests and answers, then silence for the server's keep-alive time-out. The server's FIN and the client's
    /// request cross: the request does not acknowledge the FIN. Or the client's kernel has the FIN, but the application
    /// does not look and uses the connection. A RST answers the request. Proxies answer their clients "502 Bad
    /// Gateway".
    /// ## In the kernel
    /// The server's application has called close(): data that comes later finds a socket that nobody can read, and is reset
    /// (`tcp_rcv_state_process`, `TCPAbortOnData`).
    /// ## Looks alike
    /// * `fin-wait2-expired`: the client has acknowledged the FIN long before.
    /// * `stale-connection`: no FIN came before the RST.
    /// * An early answer: the client was still sending the request that had been answered.
    /// ## Check next
    /// The server's keep-alive time-out must be longer than the time for which its clients (proxy, connection pool) reuse idle
    /// connections.
    /// ## References
    /// RFC 9112 section 9.5; RFC 9110 section 9.2.2
    pub struct IdleCloseRace {
        kind: Kind::IdleCloseRace,
        plain_words: "The server closed an unused connection in the very moment in which the next request was on its way.",
        at_fault: "the server's idle time-out, which is shorter than its client's",
        wants: Wants::full(|f, _| f.s.resets > 0 && f.s.fin.is_some()),
        examine: Examine::Connection(examine),
        look_alikes: &["idle-close-race/closed-in-time", "fin-wait2-expired/reset-at-once"],
        counters: &["TcpExtTCPAbortOnData", "TcpOutRsts"],
        settings: &[],
    }
}

/// Idle times that differ by less are one time-out.
const ALIKE: Span = Span::millis(500);

/// When the client sent its next request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NextRequest {
    /// Before the server's FIN arrived: it does not acknowledge the FIN.
    BeforeFin,
    /// After the server's FIN arrived.
    AfterFin,
}

/// See [`IdleCloseRace`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let FlowFailure::ClosedWhenAsked { idle, reset } = flow_failure(f, around)? else { return None };
    let fin = f.s.fin?;
    let asked = f.c.flight.begin;
    let apart = if asked > fin { asked.time - fin.time } else { fin.time - asked.time };
    let mut d = Draft::about(f, &SPEC, (fin, format!("FIN of the server after {idle} without a request")));
    let request =
        if f.c.flight.ack.after(f.s.fin_seq) { NextRequest::AfterFin } else { NextRequest::BeforeFin };
    d.shows(
        asked,
        match request {
            NextRequest::BeforeFin => "the next request, sent before the FIN had arrived",
            NextRequest::AfterFin => {
                "the next request: the client's kernel had the FIN, the application did not look"
            }
        },
    );
    d.shows(reset.at, "RST answers the request");
    d.severity = Severity::Warning;
    let (server, client) = (f.server.socket(), f.client.socket());
    d.summary = match request {
        _ if idle < KEPT_ALIVE && stops(f, around).is_none() => format!(
            "The server {server} closed a connection in use between two requests, and reset the next request of {client}."
        ),
        NextRequest::BeforeFin => format!(
            "The server {server} closed a connection that had been idle for {idle} while the next request of {client} was under way, and reset the request."
        ),
        NextRequest::AfterFin => format!(
            "The server {server} closed a connection that had been idle for {idle}; {apart} later {client} sent the next request on it all the same, and got a RST."
        ),
    };
    d.measure_span("idle_s", idle).measure_span("apart_s", apart);
    match stops(f, around)
        .filter(|stops| *stops == ApplicationEndSign::Refuses || idle < KEPT_ALIVE || !closes_alike(around))
    {
        Some(stops) => blame_stop(&mut d, f, stops),
        None => blame_time_out(&mut d, f, idle, apart, request),
    }
    Some(d)
}

/// Whether all connections in use that the listener closed had been idle for about the same time: a time-out.
fn closes_alike(around: &DetectContext<'_>) -> bool {
    around.activity.idle_when_closed().is_some_and(|(least, most)| most - least <= ALIKE)
}

/// The application was stopped.
fn blame_stop(d: &mut Draft, f: &ConnectionFacts, stops: ApplicationEndSign) {
    d.cause = cause(
        "The server's application was stopped or restarted: it closed its connections, and their clients went on using them.",
        &["tcp_rcv_state_process", "tcp_v4_send_reset"],
        &["TcpExtTCPAbortOnData", "TcpOutRsts"],
        &[],
    );
    d.probable(match stops {
        ApplicationEndSign::Refuses => "new connections were refused just after it".to_owned(),
        ApplicationEndSign::ClosesAll(n) => format!("it closed {n} connections in use in one moment"),
    });
    d.or(
        "The server's keep-alive time-out is shorter than the time for which its client reuses idle connections.",
        "It would close connections one by one, each after the same idle time.",
    );
    let at = f.s.fin.map_or(f.last.time, |fin| fin.time);
    d.next_steps = vec![
        next::log(f.server, at),
        "Let the server finish its requests before it exits, and take it out of service first (graceful shutdown, preStop)."
            .to_owned(),
        format!("Let {} repeat idempotent requests on a new connection", f.client.address.ip()),
    ];
}

/// The server's time-out fits that of its client badly.
fn blame_time_out(d: &mut Draft, f: &ConnectionFacts, idle: Span, apart: Span, request: NextRequest) {
    d.cause = cause(
        "The server's keep-alive time-out is shorter than the time for which its client reuses idle connections.",
        &["tcp_rcv_state_process", "tcp_v4_send_reset"],
        &["TcpExtTCPAbortOnData", "TcpOutRsts"],
        &[],
    );
    if idle < KEPT_ALIVE {
        d.cause.text = "The server's application closed the connection between two requests: it had served as many as it \
             allows on one connection, or it ended."
            .into();
        d.possible(
            "the client had all that the server had sent when it asked again, and the request drew a RST",
        );
        d.or(
            "The server had answered before it had read the whole request, and closed.",
            "The client had been answered more than once.",
        );
    } else {
        d.probable(match request {
            NextRequest::BeforeFin => {
                format!("FIN and request crossed, {apart} apart: the request does not acknowledge the FIN")
            }
            NextRequest::AfterFin => {
                format!("the request came {apart} after the FIN of an idle connection, and drew a RST")
            }
        });
    }
    d.or(
        "The server was stopped or restarted at that moment.",
        "It would close all connections at once, not after the same idle time.",
    );
    d.next_steps = vec![
        format!(
            "Raise the keep-alive time-out of {} above the idle time-out of its clients (here it closed after {idle})",
            f.server.socket()
        ),
        format!(
            "Let {} reuse connections for less than that, and repeat idempotent requests (a proxy answers 502 instead)",
            f.client.address.ip()
        ),
    ];
}
