//! `zero-window-stall`: the receive window stays closed.

use crate::detect::analysis::end_of_flow::{FlowFailure, flow_failure};
use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause};
use crate::detect::spec::{Examine, finding};
use crate::flow::facts::ConnectionFacts;
use crate::history::wants::Wants;
use crate::model::{Kind, Severity};
use crate::time::Span;

finding! {
    /// The receive window of one end stays closed for long: its application does not read.
    ///
    /// ## On the wire
    /// An ACK with window 0; then window probes of the sender at growing intervals, each answered at once with window 0. When the
    /// application reads again a window update follows, and data flows.
    /// ## In the kernel
    /// The receive buffer is full (`tcp_select_window`, `tcp_rmem`). The sender probes as long as it gets answers
    /// (`tcp_send_probe0`), so an application that never reads keeps it waiting for ever.
    /// ## Looks alike
    /// * Flow control at work: the window opens again within seconds.
    /// * A SYN proxy whose SYN-ACK has window 0 and that opens it after the handshake.
    /// ## Check next
    /// `ss -tnpm` at the receiver: Recv-Q full, and which process holds the socket. Is it stopped, blocked, waiting for something
    /// else?
    /// ## References
    /// RFC 9293 section 3.8.6.1; `net/ipv4/tcp_timer.c` `tcp_probe_timer`
    pub struct ZeroWindowStall {
        kind: Kind::ZeroWindowStall,
        plain_words: "The receiver's application does not read, so the sender has to wait.",
        at_fault: "the application that does not read",
        wants: Wants::full(|f, _| [&f.c, &f.s].iter().any(|side| side.zero_window.as_ref().is_some_and(|zero| zero.count > 1))),
        examine: Examine::Connection(examine),
        look_alikes: &["half-close/idle-with-keepalive", "nothing-wrong/slow-server"],
        counters: &["TcpExtTCPWantZeroWindowAdv", "TcpExtTCPToZeroWindowAdv", "TcpExtTCPFromZeroWindowAdv"],
        settings: &["net.ipv4.tcp_rmem"],
    }
}

/// From this time on users notice the wait, if the window opens again.
const LONG: Span = Span::secs(30);

/// See [`ZeroWindowStall`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let FlowFailure::ZeroWindow { receiver } = flow_failure(f, around)? else { return None };
    let zero = f.side(receiver).zero_window.as_deref()?;
    let sender = receiver.peer();
    let until = around.observed_until(f.last.time).min(f.watched.max(f.last.time));
    let (first, closed) = zero.longest(until);
    let opened = zero.opened.is_some();
    let mut d = Draft::about(f, &SPEC, (first, format!("the window of the {receiver} is closed")));
    d.shows(zero.last, format!("still closed; {} such segments in all", zero.count));
    if let Some(probe) = f.side(sender).keepalive().filter(|at| at.time > zero.first.time) {
        d.shows(probe, format!("window probe of the {sender}"));
    }
    if let Some(at) = zero.opened {
        d.shows(at, "the window opens again");
    }
    d.severity = if opened && closed < LONG { Severity::Info } else { Severity::Warning };
    let end = if opened { format!("for {closed}") } else { format!("for at least {closed}") };
    d.summary = format!(
        "The receive window of the {receiver} {} stayed closed {end}: the {sender} could not send.",
        f.host(receiver).socket()
    );
    d.cause = cause(
        "The application at the receiving end does not read from its socket.",
        &["tcp_select_window", "tcp_send_probe0"],
        &["TcpExtTCPWantZeroWindowAdv", "TcpExtTCPToZeroWindowAdv", "TcpExtTCPFromZeroWindowAdv"],
        &["net.ipv4.tcp_rmem"],
    );
    d.measure_span("closed_s", closed).measure("opened", opened).measure("receiver", receiver.to_string());
    match f.side(sender).keepalives() > zero.probes_before {
        true => d.probable(
            "window probes were answered with window 0: the host is up, its application does not read",
        ),
        false => d.possible("the window was closed; no window probe was captured"),
    };
    d.or(
        "The application reads, but more slowly than data comes.",
        "Then the window opens from time to time.",
    );
    let host = f.host(receiver);
    d.next_steps = vec![
        format!(
            "ss -tnpm 'sport = :{}'   # on {}: Recv-Q is full; which process holds the socket?",
            host.port,
            host.address.ip()
        ),
        "See what that process does (stack, blocked thread, stopped consumer)".to_owned(),
    ];
    Some(d)
}
