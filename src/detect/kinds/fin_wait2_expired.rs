//! `fin-wait2-expired`: a late segment came when the FIN_WAIT2 socket was gone.

use crate::detect::analysis::fin_wait2::{ExpiredSocket, expired};
use crate::detect::context::DetectContext;
use crate::detect::details::Details;
use crate::detect::draft::{Draft, cause};
use crate::detect::spec::{Examine, Property, finding};
use crate::flow::facts::{ConnectionFacts, SegmentKind};
use crate::history::wants::Wants;
use crate::model::{Kind, Severity};
use crate::time::Span;

finding! {
    /// After a long half-close the side that had waited sends something, and is answered with a RST.
    ///
    /// ## On the wire
    /// FIN, its ACK, a long silence; then data, FIN or a keepalive probe of the other side. A RST without ACK flag
    /// answers it: its sequence number is the one acknowledged, the window is 0, and it has no timestamps.
    /// ## In the kernel
    /// The application that closed had called close(): its socket became an orphan in FIN_WAIT2 and was removed after
    /// `tcp_fin_timeout` (`tcp_time_wait`; above 60 s the rule is 2 times the excess). Later segments find no socket:
    /// `tcp_v4_send_reset`. An orphan refuses data even before it expires (`tcp_rcv_state_process`, `TCPAbortOnData`);
    /// a FIN or a keepalive probe only after.
    /// ## Looks alike
    /// * A browser that hangs up while the server still sends: the RST comes at once, not after a silence.
    /// * shutdown() instead of close(): late data is taken and acknowledged.
    /// ## Check next
    /// `ss -tnpo state close-wait` on the late side: its application closes long after its peer. `sysctl
    /// net.ipv4.tcp_fin_timeout` on the other.
    /// ## References
    /// tcp(7) on tcp_fin_timeout and TCP_LINGER2; `net/ipv4/tcp_minisocks.c`
    pub struct FinWait2Expired {
        kind: Kind::FinWait2Expired,
        plain_words: "One side closed and waited for the other to finish, until its kernel stopped waiting. Later segments \
             were refused.",
        at_fault: "the application that goes on long after its peer has closed",
        wants: Wants::full(|f, _| f.c.resets + f.s.resets > 0),
        examine: Examine::Connection(examine),
        look_alikes: &["fin-wait2-expired/reset-at-once", "half-close/keepalive"],
        counters: &["TcpExtTCPAbortOnData", "TcpOutRsts", "TcpEstabResets"],
        settings: &["net.ipv4.tcp_fin_timeout"],
        properties: &[Property::ExplainsReset, Property::RestsOnOrder],
    }
}

/// How long an orphan in FIN_WAIT2 stays unless `tcp_fin_timeout` says otherwise.
const DEFAULT: Span = Span::secs(60);

/// See [`FinWait2Expired`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let ExpiredSocket { half, reset, trigger, what, silence: late_silence } = expired(f, around)?;
    let b = f.side(half.closer.peer());
    let late = what.text();
    let (closer_is, waiter_is) = (half.closer, half.closer.peer());
    let mut d = Draft::about(f, &SPEC, (reset.at, format!("RST of the {closer_is}: its socket is gone")));
    d.shows(half.fin, format!("FIN of the {closer_is}"))
        .shows(half.acked, "ACK of that FIN: FIN_WAIT2 begins")
        .shows(trigger.at, format!("{late} of the {waiter_is}, {late_silence} later"));
    d.severity = Severity::Warning;
    d.summary = format!(
        "The {waiter_is} {} sent {late} {late_silence} after the {closer_is} had closed, and got a RST.",
        f.host(half.closer.peer()).socket()
    );
    d.cause = cause(
        "The closing side's socket was an orphan in FIN_WAIT2. It takes no data, and the kernel removes it after tcp_fin_timeout.",
        &["tcp_time_wait", "tcp_rcv_state_process", "tcp_v4_send_reset"],
        &["TcpExtTCPAbortOnData", "TcpOutRsts", "TcpEstabResets"],
        &["net.ipv4.tcp_fin_timeout"],
    );
    d.details = Details::Expiry { closer: f.host(half.closer), late: what, silence: late_silence };
    if matches!(trigger.what, SegmentKind::Data | SegmentKind::Retransmit) || b.late_data().is_some() {
        d.probable("late data drew a RST, and an orphan refuses data even before it expires");
        d.or(
            "The orphan had not expired yet: its application had closed both directions.",
            "The remedy is the same: the late side sends to a peer that has already left.",
        );
    } else {
        d.probable("a FIN or keepalive probe draws a RST only when the socket is gone");
        d.or(
            "The closing host was restarted, or a device on the path lost the connection and answers for it.",
            "Then other connections of that host are reset as well.",
        );
    }
    if late_silence < DEFAULT {
        d.or(
            "tcp_fin_timeout is set below its default of 60 s on the closing host.",
            "The packets do not show the setting. An orphan that had not expired refuses data, not a FIN or a probe.",
        );
        d.measure("below_default_timeout", true);
    }
    let waiter = f.host(half.closer.peer());
    d.next_steps = vec![
        format!(
            "ss -tnpo state close-wait   # on {}: which process sends or closes so late?",
            waiter.address.ip()
        ),
        format!(
            "sysctl net.ipv4.tcp_fin_timeout   # on {}: seconds that the orphan stays",
            f.host(half.closer).address.ip()
        ),
    ];
    Some(d)
}
