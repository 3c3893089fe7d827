//! `syncookies`: the listener answers with cookies.

use crate::detect::draft::{Draft, cause, count};
use crate::detect::explain::finding;
use crate::detect::surroundings::Surroundings;
use crate::flow::key::Host;
use crate::report::model::{Kind, Severity};

finding! {
    /// The listener answers SYNs with syncookies: it keeps no request for them.
    ///
    /// ## On the wire
    /// To a client without timestamps the SYN-ACK carries the MSS option alone, although the SYN offered SACK and window
    /// scale, and such a SYN-ACK is never repeated. To a client with timestamps all options stand; the cookie hides in
    /// the low bits of the SYN-ACK's TSval, which therefore lags the server's clock by up to 63 ticks.
    /// ## In the kernel
    /// The SYN queue is full and `tcp_syncookies` is 1, or it is 2: `tcp_conn_request`, `cookie_init_timestamp`;
    /// `TCPReqQFullDoCookies`, `SyncookiesSent`, `SyncookiesRecv`.
    /// ## Looks alike
    /// * A server or middlebox that never offers SACK and window scale.
    /// * A SYN proxy in front of the server.
    /// ## Check next
    /// `nstat -az 'TcpExtSyncookies*' TcpExtTCPReqQFullDoCookies`; `sysctl net.ipv4.tcp_syncookies`; a flood, or a listen
    /// backlog that is too small?
    /// ## References
    /// RFC 4987 section 3.6; `net/ipv4/syncookies.c`
    pub struct Syncookies = Kind::Syncookies
}

/// Stripped SYN-ACKs from which on it is a pattern where the listener never gave full ones.
const LEAST: usize = 4;

/// See [`Syncookies`].
pub fn survey(server: Host, around: &Surroundings<'_>) -> Option<Draft> {
    let stripped = &around.scene.stripped;
    let switched = around.listener.full_offers > 0;
    if stripped.is_empty() || !(switched || stripped.len() >= LEAST) {
        return None;
    }
    let (first, last) = (stripped.iter().min()?, stripped.iter().max()?);
    let mut d = Draft::about_listener(
        server,
        Kind::Syncookies,
        (*first, "SYN-ACK with MSS alone, the SYN had offered SACK and window scale"),
    );
    d.shows(*last, "the last such SYN-ACK");
    d.severity = Severity::Info;
    d.summary =
        format!("{} answered {} with syncookies.", server.socket(), count(stripped.len() as u64, "SYN"));
    d.cause = cause(
        "The SYN queue was full with tcp_syncookies=1, or tcp_syncookies is 2.",
        &["tcp_conn_request", "cookie_v4_init_sequence"],
        &["TcpExtSyncookiesSent", "TcpExtSyncookiesRecv", "TcpExtTCPReqQFullDoCookies"],
        &["net.ipv4.tcp_syncookies", "net.ipv4.tcp_max_syn_backlog"],
    );
    d.measure("stripped_syn_acks", stripped.len()).measure("full_syn_acks", around.listener.full_offers);
    if switched {
        d.probable("the same listener gave other clients without timestamps all options");
    } else {
        d.possible("this listener gave no client all options, so it may be its way");
    }
    d.or("The server, or a box in front of it, never offers SACK and window scale.", "Then it never does.");
    d.next_steps = vec![
        "nstat -az TcpExtSyncookiesSent TcpExtSyncookiesRecv TcpExtTCPReqQFullDoCookies   # twice".to_owned(),
        "sysctl net.ipv4.tcp_syncookies   # 2 sends cookies always".to_owned(),
    ];
    Some(d)
}
