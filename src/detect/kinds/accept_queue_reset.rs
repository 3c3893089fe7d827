//! `accept-queue-reset`: the accept queue was full and `tcp_abort_on_overflow` turned the final ACK into a RST.

use crate::detect::analysis::handshake::show_handshake;
use crate::detect::analysis::ignored_ack::ignored_ack;
use crate::detect::analysis::listener_gone::{
    ResetHandshake, gone, is_full, reset_handshake, resets_in_turn,
};
use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause};
use crate::detect::next::{self, UsualSteps};
use crate::detect::refused_clients::RefusedClient;
use crate::detect::spec::{Examine, LeadsTo, Property, RelationCondition, finding};
use crate::flow::facts::{ConnectionFacts, FinalAck, Reset, SegmentKind};
use crate::history::wants::Wants;
use crate::model::{Kind, Severity, Vantage};
use crate::time::Span;

finding! {
    /// The server answers the client's final ACK with a RST, at a listener that accepts other connections.
    ///
    /// ## On the wire
    /// SYN, SYN-ACK, final ACK, and at once a RST without ACK flag: its sequence number is the one the client
    /// acknowledged, window 0, no timestamps. Data that followed the ACK draws a second, identical RST. The client's
    /// connect() has succeeded; its first read or write fails with ECONNRESET.
    /// ## In the kernel
    /// The accept queue was full when the final ACK came, and `tcp_abort_on_overflow` is 1: `tcp_check_req` sends the
    /// reset and drops the request. `ListenOverflows`, `ListenDrops` and `EmbryonicRsts` move by one each.
    /// ## Looks alike
    /// * The application aborts (SO_LINGER 0, unread data): that RST carries ACK, timestamps and a window.
    /// * The listener was closed between SYN and ACK: others are reset in the same instant, new SYNs are refused.
    /// * A stale or forged syncookie: `SyncookiesFailed` moves, `EmbryonicRsts` does not.
    /// * A firewall with REJECT: its RST has type of service 0 whatever it answers, and often another TTL.
    /// * The end of a silent overflow: there the SYN-ACK was repeated first.
    /// ## Check next
    /// `sysctl net.ipv4.tcp_abort_on_overflow`; `nstat -az TcpExtListenOverflows TcpExtEmbryonicRsts`, twice;
    /// `ss -ltn` for Recv-Q above Send-Q. Set it to 0 unless the client retries better on an error; make accept()
    /// faster or the queue longer.
    /// ## References
    /// tcp(7); `net/ipv4/tcp_minisocks.c` `tcp_check_req`
    pub struct AcceptQueueReset {
        kind: Kind::AcceptQueueReset,
        plain_words: "The application does not accept connections fast enough, and the server's kernel resets those that do not fit.",
        at_fault: "the server's application, which accepts connections too slowly",
        wants: Wants::full(|f, _| f.final_ack.is_some() && f.s.resets > 0),
        examine: Examine::Connection(examine),
        look_alikes: &["listener-closed/with-queue", "connection-refused/no-listener", "abortive-close/mid-stream"],
        counters: &["TcpExtListenOverflows", "TcpExtListenDrops"],
        settings: &["net.core.somaxconn", "net.ipv4.tcp_abort_on_overflow"],
        properties: &[Property::PreventsSetUp, Property::ExplainsHandshake, Property::ExplainsReset, Property::HasOneCause, Property::RestsOnOrder, Property::StandsBesideLoss],
        leads_to: &[
            LeadsTo {
                effect: Kind::SynDropAcceptQueue,
                said_of_effect: "SYNs were dropped because of the same full queue",
                said_of_cause: "the same full queue reset handshakes that were under way",
                when: RelationCondition::Always,
            },
        ],
    }
}

/// An older request may have expired: pruned requests live 7 s.
const PRUNED: Span = Span::secs(6);

/// If the SYN-ACK was not repeated by then, the final ACK came in time and is missing from the capture.
const UNASKED: Span = Span::millis(1_700);

/// See [`AcceptQueueReset`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let ResetHandshake { ack, reset, after, .. } =
        reset_handshake(f, around).filter(|answer| answer.at_once)?;
    let syn_ack = f.syn_ack.first()?;
    let repeated = ignored_ack(f, around.end())?.repeats.len();
    let delay = ack.at.time - syn_ack.at.time;
    let in_time = delay < PRUNED && (delay < UNASKED || f.syn_ack.count > 1);
    let takes_others = around.listener.served >= 1 || around.listener.completed >= 3;
    if repeated > 0 || !in_time || !takes_others || gone(around, reset.at.time).is_some() {
        return None;
    }
    let mut d = Draft::about(f, &SPEC, (reset.at, format!("RST, {after} after the final ACK")));
    show_handshake(&mut d, f, "final ACK: the client considers the connection open");
    d.severity = Severity::Critical;
    d.summary = format!(
        "{} completed the handshake; {after} later the server answered with a RST that no socket had sent.",
        f.client
    );
    d.cause = cause(
        "The listener's accept queue was full, and tcp_abort_on_overflow=1 makes the kernel answer with a RST.",
        &["tcp_check_req", "tcp_v4_send_reset"],
        &["TcpExtListenOverflows", "TcpExtListenDrops", "TcpExtEmbryonicRsts", "TcpOutRsts"],
        &["net.ipv4.tcp_abort_on_overflow", "net.core.somaxconn"],
    );
    let refused = reset.at.time;
    d.kept_out = Some(RefusedClient { from: refused, last: refused, admitted: None, served: None });
    d.measure_span("reset_after_s", after).measure("resets", f.s.resets);
    let at = match around.view.vantage {
        Vantage::Server => "and the capture was taken at the server",
        _ => "and its TTL is that of the server's other packets",
    };
    d.probable(format!("the RST follows the final ACK at once, {at}"));
    if let Some(sign) = signs_of_a_filter(f, ack, reset) {
        blame_filter(&mut d, f, sign);
        return Some(d);
    }
    if answers_fin_only(f, ack, reset) {
        blame_cookie(&mut d, f);
        return Some(d);
    }
    if resets_in_turn(around, reset.at.time) {
        blame_another_host(&mut d, f);
        return Some(d);
    }
    if !is_full(around, reset.at.time) {
        d.possible("nobody was seen waiting in the queue, and no SYN was dropped in those seconds");
        d.or(
            "The listening socket was closed or replaced between SYN and final ACK, as at a reload with SO_REUSEPORT.",
            "A reload resets the handshakes under way, at one moment. The log of the application shows it.",
        );
    } else {
        d.or(
            "The listening socket was closed or replaced between SYN and final ACK.",
            "The same listener accepted other connections. Then EmbryonicRsts does not grow.",
        );
    }
    d.or(
        "A firewall rejects the final ACK but not the SYN.",
        "Such rules usually match the SYN. `nft list ruleset` shows their counters.",
    )
    .or(
        "The ACK of a syncookie was too old or invalid.",
        "The client answered the SYN-ACK at once. Then SyncookiesFailed grows.",
    );
    d.usual_steps = Some(UsualSteps::ResetByFullQueue);
    Some(d)
}

/// Evidence against a full queue: it would have answered the final ACK by a RST, and the data by another one.
fn signs_of_a_filter(f: &ConnectionFacts, ack: FinalAck, reset: &Reset) -> Option<&'static str> {
    let by_data =
        reset.trigger.is_some_and(|t| matches!(t.what, SegmentKind::Data | SegmentKind::Retransmit));
    // A capture of all interfaces of a gateway holds each forwarded packet twice.
    let stopped_here = f.duplicates > 0 && f.duplicates < f.c.segments + f.s.segments;
    match () {
        () if stopped_here => Some(
            "other packets of this connection were forwarded here (captured twice), but not this RST or the segment that it answers",
        ),
        () if ack.bare && by_data && f.s.resets == 1 => Some(
            "the final ACK drew no RST of its own, only the data after it did: a full queue answers both",
        ),
        () => None,
    }
}

/// The final ACK came to another host or socket than the SYN.
fn blame_another_host(d: &mut Draft, f: &ConnectionFacts) {
    d.cause = cause(
        "The final ACK came to a host or socket that does not know the handshake: one of several behind the address (balancer, ECMP, \
         anycast, SO_REUSEPORT), or one with another syncookie key.",
        &["tcp_v4_send_reset"],
        &["TcpOutRsts"],
        &["net.ipv4.tcp_migrate_req"],
    );
    d.possible(
        "others were served in turn with these, nobody was seen waiting in the queue, and no SYN was dropped",
    );
    d.or(
        "The listener's accept queue was full, and tcp_abort_on_overflow=1 makes the kernel answer with a RST.",
        "Somebody would wait in it, or SYNs would be dropped. Then ListenOverflows and EmbryonicRsts grow.",
    );
    d.next_steps = vec![
        format!(
            "Which hosts answer for {}? Do SYN and ACK of one connection reach the same one?",
            f.server.socket()
        ),
        next::counters(
            &["TcpExtListenOverflows", "TcpExtEmbryonicRsts"],
            "twice, 10 s apart: both grow if the queue overflows all the same",
        ),
    ];
}

/// Whether the final ACK, and data if there was any, drew nothing, and the FIN after them drew the only RST.
fn answers_fin_only(f: &ConnectionFacts, ack: FinalAck, reset: &Reset) -> bool {
    let by_fin = reset.trigger.is_some_and(|t| t.what == SegmentKind::Fin && t.at > ack.at);
    by_fin && f.s.resets == 1 && (ack.bare || f.c.first_data.is_some())
}

/// A full queue refused a syncookie in silence; the number of the FIN does not fit the cookie.
fn blame_cookie(d: &mut Draft, f: &ConnectionFacts) {
    d.cause = cause(
        "The server had no socket for the connection when the client closed it. A full accept queue refuses the ACK of a syncookie in \
         silence, and the number of the FIN does not fit the cookie.",
        &["tcp_get_cookie_sock", "cookie_v4_check", "tcp_v4_send_reset"],
        &["TcpExtListenOverflows", "TcpOutRsts"],
        &["net.core.somaxconn", "net.ipv4.tcp_syncookies"],
    );
    d.possible("the final ACK drew no RST, only the FIN did; tcp_abort_on_overflow=1 answers both");
    d.alternatives.clear();
    d.or(
        "A firewall or another box on the path lets the handshake pass and rejects later segments with a RST.",
        "It would have let the data pass.",
    )
    .or(
        "The application ended, and its listener with it.",
        "The same listener accepted other connections.",
    );
    d.next_steps = next::full_accept_queue(f.server);
}

/// A filter let the handshake pass and rejects later segments.
fn blame_filter(d: &mut Draft, f: &ConnectionFacts, sign: &'static str) {
    d.cause = cause(
        "A firewall or another box on the path lets the handshake pass and rejects later segments with a RST.",
        &["nf_send_reset"],
        &["TcpExtListenOverflows"],
        &[],
    );
    d.possible(sign);
    d.alternatives.clear();
    d.or(
        "The listener's accept queue was full, and tcp_abort_on_overflow=1 makes the kernel answer with a RST.",
        "Then ListenOverflows and EmbryonicRsts grow, and the final ACK draws the RST.",
    )
    .or(
        "The application reset the connection as soon as it had accepted it.",
        "Its socket's RST would carry an acknowledgment and a window.",
    );
    d.next_steps = vec![
        next::filter_rules(f.server),
        next::counters(
            &["TcpExtListenOverflows", "TcpExtEmbryonicRsts"],
            "twice, 10 s apart: both grow if the queue overflows all the same",
        ),
    ];
}
