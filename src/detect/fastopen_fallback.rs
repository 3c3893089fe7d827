//! `fastopen-fallback`: Fast Open data or cookie refused, or black-holed.

use crate::decode::segment::Options;
use crate::detect::draft::{Draft, cause};
use crate::detect::explain::finding;
use crate::detect::surroundings::Surroundings;
use crate::flow::facts::{ConnectionFacts, Roles};
use crate::report::model::{Kind, Severity};

finding! {
    /// A Fast Open SYN was answered as an ordinary one: its data or its cookie was refused.
    ///
    /// ## On the wire
    /// SYN with the Fast Open option; the SYN-ACK acknowledges only the SYN, not the data in it (and may carry a new
    /// cookie), or answers a cookie request without one. The client sends the data again after its ACK.
    /// ## In the kernel
    /// The cookie was stale, the server does not do Fast Open (`net.ipv4.tcp_fastopen`, bit 2), or its queue was full:
    /// `tcp_try_fastopen`; counters `TCPFastOpenPassiveFail`, `TCPFastOpenListenOverflow`, at the client
    /// `TCPFastOpenActiveFail`.
    /// ## Looks alike
    /// * An ordinary retransmission: here the data went out with the SYN.
    /// * A middlebox that strips the option or drops SYNs with data: the SYN is repeated plain.
    /// ## Check next
    /// `sysctl net.ipv4.tcp_fastopen` at both ends; `nstat -az 'TcpExtTCPFastOpen*'`.
    /// ## References
    /// RFC 7413; `net/ipv4/tcp_fastopen.c`
    pub struct FastopenFallback = Kind::FastopenFallback
}

/// See [`FastopenFallback`].
pub fn examine(f: &ConnectionFacts, _around: &Surroundings<'_>) -> Option<Draft> {
    let offer = &f.syn_offer;
    let (cookie, request) =
        (offer.options.has(Options::FAST_OPEN_COOKIE), offer.options.has(Options::FAST_OPEN_REQUEST));
    let (syn, syn_ack) = (f.syn.first()?, f.syn_ack.first()?);
    if f.roles != Roles::BySyn || !(cookie || request) {
        return None;
    }
    let only_the_syn = f.syn_ack_ack == f.c.isn.advance(1);
    let new_cookie = f.syn_ack_offer.options.has(Options::FAST_OPEN_COOKIE);
    let (what, text) = if cookie && offer.payload > 0 && only_the_syn {
        let how =
            if new_cookie { "with a new cookie: the old one was stale" } else { "without a cookie: refused" };
        ("data", format!("SYN-ACK acknowledges the SYN alone, {how}"))
    } else if request && !new_cookie {
        ("cookie", "SYN-ACK without the cookie that was asked for".to_owned())
    } else {
        return None;
    };
    let mut d = Draft::about(f, Kind::FastopenFallback, (syn_ack.at, text));
    d.shows(syn.at, format!("SYN with Fast Open, {} octets of data", offer.payload));
    d.severity = Severity::Info;
    d.summary = format!(
        "Fast Open of {} fell back to an ordinary handshake: its {what} was refused.",
        f.client.socket()
    );
    d.cause = cause(
        "The server refused the Fast Open cookie or does not do Fast Open.",
        &["tcp_try_fastopen"],
        &["TcpExtTCPFastOpenPassiveFail", "TcpExtTCPFastOpenListenOverflow"],
        &["net.ipv4.tcp_fastopen"],
    );
    d.measure("refused", what).measure("new_cookie", new_cookie);
    d.probable("the acknowledgment number of the SYN-ACK says what was taken");
    d.next_steps = vec!["sysctl net.ipv4.tcp_fastopen   # bit 1 client, bit 2 server".to_owned()];
    Some(d)
}
