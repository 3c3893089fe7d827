//! `defer-accept`: `TCP_DEFER_ACCEPT` at work, harmless.

use crate::detect::analysis::deferral::{Deferral, deferral};
use crate::detect::analysis::handshake::show_handshake;
use crate::detect::context::DetectContext;
use crate::detect::details::Details;
use crate::detect::draft::{Draft, cause};
use crate::detect::spec::{Examine, IgnoredPackets, Property, finding};
use crate::flow::facts::ConnectionFacts;
use crate::history::wants::Wants;
use crate::model::{Kind, Severity};

finding! {
    /// The listener waits for data before it completes a handshake, and repeats its SYN-ACK once to a silent client.
    ///
    /// ## On the wire
    /// SYN, SYN-ACK, final ACK, and nothing; later one more SYN-ACK, whose ACK completes the connection. The server
    /// accepts the client's data at once whenever it comes.
    /// ## In the kernel
    /// `TCP_DEFER_ACCEPT`: the kernel ignores the bare ACK (`tcp_check_req`, counter `TCPDeferAcceptDrop`) until data
    /// comes or the time is over. It repeats the SYN-ACK only at the last timeout (1, 3, 7, 15 s, depending on the
    /// option's seconds).
    /// ## Looks alike
    /// * A full accept queue: the SYN-ACK is repeated again and again, and data is ignored.
    /// * A lost final ACK: other silent connections of the listener draw no repetition.
    /// ## Check next
    /// Nothing is wrong. The listener's configuration: nginx `deferred`, Apache `AcceptFilter`, HAProxy `defer-accept`.
    /// ## References
    /// tcp(7) on TCP_DEFER_ACCEPT; `net/ipv4/tcp_minisocks.c`
    pub struct DeferAccept {
        kind: Kind::DeferAccept,
        plain_words: "The server waits for data before it accepts the connection. This is intended and harms nobody.",
        at_fault: "nobody: the listener is configured this way",
        wants: Wants::full(|f, _| f.syn_ack.count > 1),
        examine: Examine::Connection(examine),
        look_alikes: &["accept-queue-overflow/silent-clients"],
        counters: &["TcpExtTCPDeferAcceptDrop"],
        ignored: IgnoredPackets::FinalAck,
        properties: &[Property::ExplainsHandshake, Property::HasOneCause, Property::IsAnswered, Property::RestsOnOrder],
    }
}

/// See [`DeferAccept`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let Deferral { again, after, skipped, alike } = deferral(f, around)?;
    let mut d = Draft::about(f, &SPEC, (again.at, "SYN-ACK again, once only"));
    show_handshake(&mut d, f, "final ACK: the listener ignores it and waits for data");
    d.severity = Severity::Info;
    d.summary = format!(
        "The listener waited for data of {} and repeated its SYN-ACK once, after {after}.",
        f.client.socket()
    );
    d.cause = cause(
        "The listener uses TCP_DEFER_ACCEPT.",
        &["tcp_check_req", "reqsk_timer_handler"],
        &["TcpExtTCPDeferAcceptDrop"],
        &[],
    );
    d.details = Details::Deferral { repeated_after: after };
    if skipped && around.at_server() {
        d.probable("the SYN-ACK was not repeated at the first timeout, as only a listener with TCP_DEFER_ACCEPT behaves");
    } else if skipped {
        d.possible("the SYN-ACK was not repeated at the first timeout, or the network lost that one");
        d.or("The network lost the final ACK and an earlier SYN-ACK.", "Then both directions lost a packet.");
    } else {
        d.possible(format!(
            "all {alike} silent connections of this listener show it, and none that sent data"
        ));
        d.or(
            "The accept queue was full for a moment.",
            "Then it would hit connections that send data as well.",
        );
    }
    Some(d)
}
