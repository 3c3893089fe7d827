//! `fastopen-fallback`: Fast Open data or cookie refused, or black-holed.

use crate::decode::segment::TcpOptions;
use crate::detect::analysis::fast_open::FastOpenOutcome;
use crate::detect::analysis::ignored_syn::{IgnoredSynCause, ignored_syn_cause};
use crate::detect::context::DetectContext;
use crate::detect::details::Details;
use crate::detect::draft::{Draft, cause};
use crate::detect::next;
use crate::detect::spec::{Examine, Property, finding};
use crate::flow::facts::{ConnectionFacts, Transmission};
use crate::history::wants::Wants;
use crate::model::{Cause, Kind, Severity};

finding! {
    /// A Fast Open SYN was answered as an ordinary one: its data or its cookie was refused, or the SYN was dropped on
    /// the way.
    ///
    /// ## On the wire
    /// SYN with the Fast Open option; the SYN-ACK acknowledges only the SYN, not the data in it (and may carry a new
    /// cookie), or answers a cookie request without one. The client sends the data again after its ACK. Or the SYN with
    /// data draws no answer, and the SYN that follows a second later, without data and option, does.
    /// ## In the kernel
    /// The cookie was stale, the server does not do Fast Open (`net.ipv4.tcp_fastopen`, bit 2), or its queue was full:
    /// `tcp_try_fastopen`; counters `TCPFastOpenPassiveFail`, `TCPFastOpenListenOverflow`, at the client
    /// `TCPFastOpenActiveFail`.
    /// ## Looks alike
    /// * An ordinary retransmission: here the data went out with the SYN.
    /// * One SYN with data that was lost: the same packets as with a box that drops them. Several clients show the
    ///   difference.
    /// ## Check next
    /// `sysctl net.ipv4.tcp_fastopen` at both ends; `nstat -az 'TcpExtTCPFastOpen*'`.
    /// ## References
    /// RFC 7413; `net/ipv4/tcp_fastopen.c`
    pub struct FastopenFallback {
        kind: Kind::FastopenFallback,
        plain_words: "Sending data with the first packet did not work, so the data arrived one round trip later.",
        at_fault: "nobody, clients only lose a shortcut",
        wants: Wants::full(|f, _| {
            f.syn_offer.options.any(TcpOptions::FAST_OPEN_REQUEST | TcpOptions::FAST_OPEN_COOKIE)
        }),
        examine: Examine::Connection(examine),
        look_alikes: &["fastopen-fallback/black-holed:server", "handshake-loss/syn-lost"],
        counters: &["TcpExtTCPFastOpenPassiveFail", "TcpExtTCPFastOpenListenOverflow", "TcpExtTCPFastOpenActiveFail", "TcpExtTCPFastOpenBlackhole"],
        settings: &["net.ipv4.tcp_fastopen", "net.ipv4.tcp_fastopen_blackhole_timeout_sec", "net.ipv4.tcp_fastopen_key"],
        properties: &[Property::NeedsNoClock],
    }
}

fn shown(fate: FastOpenOutcome) -> &'static str {
    match fate {
        FastOpenOutcome::Stale => {
            "SYN-ACK acknowledges only the SYN, and brings a new cookie: the old one was not valid"
        }
        FastOpenOutcome::Refused => {
            "SYN-ACK acknowledges only the SYN, and brings no cookie: the data was refused"
        }
        FastOpenOutcome::NotTaken => "SYN-ACK acknowledges only the SYN; the capture cut its options",
        FastOpenOutcome::NoCookie => "SYN-ACK without the cookie that the client asked for",
        FastOpenOutcome::Swallowed => "SYN-ACK answers the SYN without Fast Open",
    }
}

fn cause_of(fate: FastOpenOutcome) -> Cause {
    match fate {
        FastOpenOutcome::Stale => cause(
            "The server did not accept the Fast Open cookie: its key or the client's address has changed.",
            &["tcp_try_fastopen"],
            &["TcpExtTCPFastOpenPassiveFail"],
            &["net.ipv4.tcp_fastopen_key"],
        ),
        FastOpenOutcome::NotTaken => cause(
            "The server took no Fast Open data: its cookie was stale, too many were pending, or it does not do Fast Open.",
            &["tcp_try_fastopen", "tcp_fastopen_queue_check"],
            &["TcpExtTCPFastOpenListenOverflow", "TcpExtTCPFastOpenPassiveFail"],
            &["net.ipv4.tcp_fastopen"],
        ),
        FastOpenOutcome::Refused => cause(
            "The server refused Fast Open data: too many were pending at the listener, or it does not do Fast Open.",
            &["tcp_try_fastopen", "tcp_fastopen_queue_check"],
            &["TcpExtTCPFastOpenListenOverflow", "TcpExtTCPFastOpenPassiveFail"],
            &["net.ipv4.tcp_fastopen"],
        ),
        FastOpenOutcome::NoCookie => cause(
            "The server gave no cookie: it does not do Fast Open, or too many such connections were pending.",
            &["tcp_try_fastopen"],
            &["TcpExtTCPFastOpenCookieReqd"],
            &["net.ipv4.tcp_fastopen"],
        ),
        FastOpenOutcome::Swallowed => cause(
            "A firewall or another device dropped the SYN with data and passed the one without.",
            &["tcp_retransmit_timer", "tcp_send_syn_data"],
            &["TcpExtTCPFastOpenActiveFail", "TcpExtTCPFastOpenBlackhole", "TcpExtTCPSynRetrans"],
            &["net.ipv4.tcp_fastopen_blackhole_timeout_sec"],
        ),
    }
}

/// See [`FastopenFallback`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let fate = FastOpenOutcome::of(f)?;
    // Dropped at the server: drops there do not depend on Fast Open, and have findings of their own.
    if fate == FastOpenOutcome::Swallowed
        && (around.at_server()
            || !matches!(ignored_syn_cause(f, around), Some((_, IgnoredSynCause::Unknown))))
    {
        return None;
    }
    let (syn, syn_ack) = (f.syn.first()?, f.syn_ack.first()?);
    let mut d = Draft::about(f, &SPEC, (syn_ack.at, shown(fate)));
    d.shows(syn.at, format!("SYN with Fast Open, {} bytes of data", f.syn_offer.payload));
    d.severity = Severity::Info;
    let how = if fate == FastOpenOutcome::Swallowed { "drew no answer" } else { "was refused" };
    d.summary = format!(
        "{} fell back from Fast Open to an ordinary handshake: its {} {how}.",
        f.client.socket(),
        fate.refused()
    );
    d.cause = cause_of(fate);
    d.details = Details::FastOpen(fate);
    match fate {
        FastOpenOutcome::Swallowed => {
            for again in
                f.syn.iter().filter(|again| !again.is(Transmission::FAST_OPEN) && again.at < syn_ack.at)
            {
                d.shows(again.at, "SYN again, without Fast Open");
            }
            d.possible("the server answered the SYN without Fast Open, but a single lost SYN looks the same");
            d.or("The network lost that SYN by chance.", "Then other SYNs with data get an answer.");
            d.next_steps = vec![
                next::counters(
                    &["TcpExtTCPFastOpenActiveFail", "TcpExtTCPFastOpenBlackhole"],
                    "on the client, twice, 10 s apart: do they grow?",
                ),
                next::do_syns_arrive(f.server),
            ];
        }
        _ => {
            d.probable("the acknowledgment number of the SYN-ACK shows what the server accepted");
            d.next_steps = vec!["sysctl net.ipv4.tcp_fastopen   # at both ends: 1 is on for clients, 2 for servers, 3 for both".to_owned()];
        }
    }
    Some(d)
}
