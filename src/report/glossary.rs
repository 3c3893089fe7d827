//! The meaning of names in a report, for a reader who knows TCP only roughly: one clause each.
//!
//! Renderings explain a name once, where it first appears; `synscope explain` has the rest.

use std::collections::HashSet;

use crate::detect::registry;
use crate::model::Kind;

/// Names of the kernel: functions, counters as `nstat` prints them, settings as `sysctl` does.
const KERNEL: &[(&str, &str)] = &[
    ("TcpAttemptFails", "counts handshakes that failed"),
    ("TcpEstabResets", "counts connections that ended by a reset instead of a close"),
    ("TcpExtEmbryonicRsts", "counts resets that hit a handshake not yet complete"),
    ("TcpExtIPReversePathFilter", "counts packets dropped because the route back uses another interface"),
    ("TcpExtListenDrops", "counts all connection requests that a listener dropped, for any reason"),
    ("TcpExtListenOverflows", "counts connection requests dropped because the accept queue was full"),
    ("TcpExtPAWSEstab", "counts segments of open connections dropped for an old timestamp"),
    ("TcpExtPAWSPassive", "counts SYNs dropped for a timestamp older than the last of that address"),
    ("TcpExtPAWSTimewait", "counts segments for TIME_WAIT sockets dropped for an old timestamp"),
    ("TcpExtSyncookiesRecv", "counts final ACKs that brought a valid cookie back"),
    ("TcpExtSyncookiesSent", "counts SYN-ACKs that carried a cookie instead of being remembered"),
    ("TcpExtTCPAbortOnClose", "counts resets because an application closed with data unread"),
    ("TcpExtTCPAbortOnData", "counts resets because data came for a socket that was closed"),
    ("TcpExtTCPAbortOnMemory", "counts connections ended for lack of memory"),
    ("TcpExtTCPAbortOnTimeout", "counts connections given up because nothing was acknowledged"),
    ("TcpExtTCPChallengeACK", "counts ACKs that ask the peer to confirm a suspicious segment"),
    ("TcpExtTCPDeferAcceptDrop", "counts final ACKs put off because of TCP_DEFER_ACCEPT"),
    ("TcpExtTCPFastOpenActiveFail", "counts Fast Open attempts of this client that came to nothing"),
    ("TcpExtTCPFastOpenBlackhole", "counts times Fast Open was put off because a path swallows it"),
    ("TcpExtTCPFastOpenCookieReqd", "counts Fast Open cookies that clients asked for"),
    ("TcpExtTCPFastOpenListenOverflow", "counts Fast Open requests beyond the queue's limit"),
    ("TcpExtTCPFastOpenPassiveFail", "counts Fast Open requests whose cookie or data was refused"),
    ("TcpExtTCPKeepAlive", "counts keepalive probes sent"),
    ("TcpExtTCPReqQFullDoCookies", "counts times the SYN queue was full and cookies were sent"),
    ("TcpExtTCPReqQFullDrop", "counts SYNs dropped because the SYN queue was full"),
    ("TcpExtTCPSYNChallenge", "counts SYNs for open connections, answered by a challenge ACK"),
    ("TcpExtTCPSynRetrans", "counts SYNs and SYN-ACKs sent again"),
    ("TcpExtTCPTimeWaitOverflow", "counts sockets that found no place in TIME_WAIT"),
    ("TcpExtTCPDSACKOldSent", "duplicates of data that had been acknowledged, reported by SACK"),
    ("TcpExtTCPFromZeroWindowAdv", "times the receive window opened again"),
    ("TcpExtTCPToZeroWindowAdv", "times the receive window was closed"),
    ("TcpExtTCPWantZeroWindowAdv", "times the receive window should have been closed"),
    ("TcpExtTCPMTUPFail", "failed probes of the path's MTU"),
    ("TcpExtTCPMTUPSuccess", "successful probes of the path's MTU"),
    ("net.ipv4.tcp_base_mss", "segment size with which MTU probing begins"),
    ("net.ipv4.tcp_mtu_probing", "whether the sender searches the path's MTU itself"),
    ("net.ipv4.tcp_rmem", "size of the receive buffer"),
    (
        "net.netfilter.nf_conntrack_tcp_timeout_established",
        "how long connection tracking keeps an idle connection",
    ),
    ("tcp_mtu_probing", "searches the path's MTU after time-outs"),
    ("tcp_select_window", "computes the receive window to offer"),
    ("tcp_send_probe0", "sends a window probe"),
    ("tcp_write_timeout", "decides whether to give a connection up"),
    ("tcp_v4_err", "takes in an ICMP error that quotes a TCP segment"),
    ("net.ipv4.ip_no_pmtu_disc", "1 switches path MTU discovery off"),
    ("tcp_v4_mtu_reduced", "takes in an ICMP error about the path's MTU"),
    ("fib_validate_source", "checks a packet's source against the routes"),
    ("TcpRetransSegs", "segments sent again"),
    ("TcpExtTCPTimeouts", "counts retransmission timers that ran out"),
    ("TcpExtTW", "counts sockets that went through TIME_WAIT"),
    ("TcpExtTWRecycled", "counts sockets in TIME_WAIT whose ports were used again"),
    ("TcpOutRsts", "counts resets sent"),
    ("inet_csk_listen_stop", "closes a listener and resets what waits in its queues"),
    ("inet_csk_reqsk_queue_is_full", "says whether the SYN queue is full"),
    ("inet_twsk_schedule", "starts the 60 seconds of a TIME_WAIT socket"),
    ("reqsk_timer_handler", "sends the SYN-ACK again, and gives the request up in the end"),
    ("tcp_check_req", "takes the final ACK of a handshake"),
    ("tcp_close", "closes a socket for the application"),
    ("tcp_close_state", "decides whether a close has to send a FIN"),
    ("tcp_conn_request", "takes a SYN: queues, answers or drops it"),
    ("tcp_fastopen_queue_check", "says whether one more Fast Open connection may be pending"),
    ("tcp_fin", "takes the FIN of the peer"),
    ("tcp_get_cookie_sock", "makes a socket from a cookie that came back"),
    ("tcp_keepalive_timer", "sends keepalive probes, and gives up"),
    ("tcp_orphan_retries", "says how long a socket without an application is kept trying"),
    ("tcp_peer_is_proven", "judges an address by its last timestamp (before Linux 4.12)"),
    ("tcp_rcv_state_process", "takes segments of connections that are opening or closing"),
    ("tcp_remember_stamp", "remembers the last timestamp of an address (before Linux 4.12)"),
    ("tcp_retransmit_timer", "sends unacknowledged data again"),
    ("tcp_send_active_reset", "resets a connection on behalf of its socket"),
    ("tcp_send_challenge_ack", "asks the peer to confirm a suspicious segment"),
    ("tcp_send_syn_data", "sends a SYN with Fast Open data"),
    ("tcp_time_wait", "turns a closed socket into a small TIME_WAIT one"),
    ("tcp_timewait_state_process", "answers segments for a TIME_WAIT socket"),
    ("tcp_try_fastopen", "judges a SYN with Fast Open"),
    ("tcp_twsk_unique", "says whether a port in TIME_WAIT may be used again"),
    ("tcp_v4_rcv", "takes every TCP segment and finds its socket"),
    ("tcp_v4_send_reset", "answers a segment for which there is no socket"),
    ("tcp_v4_syn_recv_sock", "makes the new socket; fails when the accept queue is full"),
    ("tcp_v4_timewait_ack", "repeats the last ACK from a TIME_WAIT socket"),
    ("tcp_validate_incoming", "checks sequence number, timestamp and flags of a segment"),
    ("net.core.somaxconn", "upper bound of every listener's accept queue"),
    ("net.ipv4.conf.all.rp_filter", "drop packets whose sender would be reached another way"),
    ("net.ipv4.ip_default_ttl", "the TTL that packets start with; each router on the path takes one"),
    (
        "net.ipv6.conf.all.hop_limit",
        "the hop limit that packets start with; each router on the path takes one",
    ),
    ("arp_error_report", "gives up an address for which ARP got no answer"),
    ("ndisc_error_report", "gives up an address for which neighbor discovery got no answer"),
    ("ipv4_link_failure", "sends the ICMP error host unreachable"),
    ("nf_send_reset", "sends the RST of a REJECT rule"),
    ("nf_send_reset6", "sends the RST of a REJECT rule (IPv6)"),
    ("nf_send_unreach", "sends the ICMP error of a REJECT rule"),
    ("nf_send_unreach6", "sends the ICMP error of a REJECT rule (IPv6)"),
    ("cookie_v6_init_sequence", "makes a syncookie (IPv6)"),
    ("tcp_v6_rcv", "takes every TCP segment and finds its socket (IPv6)"),
    ("tcp_v6_send_reset", "answers a segment for which there is no socket (IPv6)"),
    ("tcp_v6_syn_recv_sock", "makes the new socket; fails when the accept queue is full (IPv6)"),
    ("tcp_v6_timewait_ack", "repeats the last ACK from a TIME_WAIT socket (IPv6)"),
    ("net.ipv4.ip_local_port_range", "ports that outgoing connections may use"),
    ("net.ipv4.tcp_abort_on_overflow", "when the accept queue is full, 0: drop silently; 1: send a RST"),
    ("net.ipv4.tcp_challenge_ack_limit", "how many challenge ACKs may be sent per second"),
    ("net.ipv4.tcp_fastopen", "who may use Fast Open: 1 clients, 2 servers, 3 both"),
    ("net.ipv4.tcp_fastopen_blackhole_timeout_sec", "how long Fast Open is put off when a path swallows it"),
    ("net.ipv4.tcp_fastopen_key", "makes the Fast Open cookies; a new one voids the old cookies"),
    ("net.ipv4.tcp_fin_timeout", "how long a socket without an application waits for the peer's FIN"),
    ("net.ipv4.tcp_keepalive_intvl", "seconds between keepalive probes"),
    ("net.ipv4.tcp_keepalive_probes", "unanswered keepalive probes before a connection is given up"),
    ("net.ipv4.tcp_keepalive_time", "idle seconds before a keepalive probe is sent"),
    ("net.ipv4.tcp_max_syn_backlog", "bound of the SYN queue when cookies are off"),
    ("net.ipv4.tcp_max_tw_buckets", "how many sockets may be in TIME_WAIT"),
    ("net.ipv4.tcp_migrate_req", "hand waiting connections to another listener of the port"),
    ("net.ipv4.tcp_orphan_retries", "how often to try for a socket that no application owns"),
    ("net.ipv4.tcp_retries2", "how often to send again before an open connection is given up"),
    ("net.ipv4.tcp_rfc1337", "ignore resets in TIME_WAIT"),
    ("net.ipv4.vs.conn_reuse_mode", "what IPVS does with a SYN of a connection that it still keeps"),
    ("net.netfilter.nf_conntrack_max", "how many connections netfilter tracks at most"),
    (
        "net.netfilter.nf_conntrack_tcp_be_liberal",
        "whether netfilter takes segments outside of the window for valid",
    ),
    (
        "net.netfilter.nf_conntrack_tcp_loose",
        "whether netfilter tracks connections that it sees from the middle on",
    ),
    ("net.netfilter.nf_conntrack_tcp_timeout_time_wait", "how long netfilter keeps a closed connection"),
    ("net.ipv4.tcp_syn_retries", "how often a client repeats its SYN"),
    (
        "net.ipv4.tcp_syn_linear_timeouts",
        "how many SYNs are repeated after one second each (Linux 6.5 and later)",
    ),
    ("net.ipv4.tcp_synack_retries", "how often the SYN-ACK is repeated"),
    ("net.ipv4.tcp_syncookies", "0 never, 1 when the SYN queue is full, 2 always"),
    ("net.ipv4.tcp_timestamps", "use of TCP timestamps"),
    ("net.ipv4.tcp_tw_recycle", "drop SYNs with an older timestamp per address; removed in Linux 4.12"),
    ("net.ipv4.tcp_tw_reuse", "let a client use a port again that is in TIME_WAIT"),
];

/// Words of TCP, the longer ones first where one contains another.
const WORDS: &[(&str, &str)] = &[
    ("SYN-ACK", "the server's answer to a SYN, second packet of the handshake"),
    ("SYN", "the packet with which a client asks for a connection"),
    ("final ACK", "third packet of the handshake: with it the client considers the connection open"),
    ("RST", "reset: the connection ends at once, and data in transit is lost"),
    ("FIN", "says that its sender has no more data to send"),
    (
        "accept queue",
        "connections whose handshake is complete and that wait for the application to take them",
    ),
    ("SYN queue", "handshakes that a listener has answered and whose final ACK is missing"),
    ("syncookies", "answers to SYNs that need no memory, used when the SYN queue is full"),
    ("TIME_WAIT", "state of the side that closed first: for 60 s it guards against late packets"),
    ("CLOSE_WAIT", "state of a socket whose peer has closed and whose own application has not"),
    ("FIN_WAIT2", "state of a socket that has closed and waits for the peer to close as well"),
    ("TCP_DEFER_ACCEPT", "socket option: the application is woken when data comes, not before"),
    ("SO_LINGER", "socket option: with a time of 0, close() resets the connection"),
    ("Fast Open", "a handshake whose SYN already carries data"),
    ("keepalive probe", "an empty packet that asks whether the peer is still there"),
    ("NAT", "several hosts behind one address"),
];

/// What a kind of finding is, in plain words.
pub fn kind(kind: Kind) -> &'static str {
    registry::spec(kind).plain_words
}

/// Who has to act, in plain words.
pub fn responsible_side(kind: Kind) -> &'static str {
    registry::spec(kind).at_fault
}

/// What a name of the kernel means.
pub fn kernel(name: &str) -> Option<&'static str> {
    KERNEL.iter().find(|(known, _)| *known == name).map(|(_, meaning)| *meaning)
}

/// The names explained so far in one document.
#[derive(Default)]
pub(super) struct ExplainedTerms {
    done: HashSet<&'static str>,
}

impl ExplainedTerms {
    /// The meaning of a kernel name when it appears for the first time.
    pub fn kernel(&mut self, name: &str) -> Option<&'static str> {
        let (known, meaning) = KERNEL.iter().find(|(known, _)| *known == name)?;
        self.done.insert(known).then_some(meaning)
    }

    /// The names of the kernel that appear in `texts` for the first time, with their meaning. A counter may stand there
    /// without its group: `ListenOverflows`.
    pub fn kernel_in<'t>(
        &mut self,
        texts: impl Iterator<Item = &'t str>,
    ) -> Vec<(&'static str, &'static str)> {
        let mut found = Vec::new();
        for text in texts {
            for (name, meaning) in KERNEL {
                let there = |name: &str| text.contains(name) && appears(name, text);
                let short = name.strip_prefix("TcpExt").filter(|short| short.len() > 4);
                if !self.done.contains(name) && (there(name) || short.is_some_and(there)) {
                    self.done.insert(name);
                    found.push((*name, *meaning));
                }
            }
        }
        found
    }

    /// The words of TCP that appear in `texts` for the first time, with their meaning.
    pub fn words<'t>(&mut self, texts: impl Iterator<Item = &'t str>) -> Vec<(&'static str, &'static str)> {
        let mut found = Vec::new();
        for text in texts {
            for (word, meaning) in WORDS {
                if !self.done.contains(word) && appears(word, text) {
                    self.done.insert(word);
                    found.push((*word, *meaning));
                }
            }
        }
        found
    }
}

/// Whether `word` is a whole word in `text`: "SYN" is not in "SYN-ACK".
fn appears(word: &str, text: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = &text[at + word.len()..];
        // `net.ipv4.tcp_orphan_retries` does not name that function.
        let part = before == Some('.');
        let bounded = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
        let plural = after.strip_prefix('s').unwrap_or(after);
        !part && bounded(before) && (bounded(after.chars().next()) || bounded(plural.chars().next()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_by_themselves() {
        assert!(appears("SYN", "SYN again"));
        assert!(appears("SYN", "two SYNs."));
        assert!(!appears("SYN", "the SYN-ACK"));
        assert!(!appears("FIN", "FIN_WAIT2"));
    }

    #[test]
    fn each_is_explained_once() {
        let mut explained = ExplainedTerms::default();
        assert!(explained.kernel("tcp_check_req").is_some());
        assert!(explained.kernel("tcp_check_req").is_none());
        assert!(explained.kernel("tcp_new_in_7_3").is_none());
        let words = |explained: &mut ExplainedTerms, text| explained.words([text].into_iter()).len();
        assert_eq!(words(&mut explained, "a SYN, then a SYN-ACK"), 2);
        assert_eq!(words(&mut explained, "a SYN, then a RST"), 1);
    }

    #[test]
    fn kernel_names_are_found_in_sentences_and_commands() {
        let mut explained = ExplainedTerms::default();
        let mut names = |text| -> Vec<&str> {
            explained.kernel_in([text].into_iter()).into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names("ListenOverflows would not move"), ["TcpExtListenOverflows"]);
        assert_eq!(names("nstat -az TcpExtListenOverflows TcpExtListenDrops"), ["TcpExtListenDrops"]);
        assert_eq!(names("sysctl net.ipv4.tcp_syn_retries"), ["net.ipv4.tcp_syn_retries"]);
        assert!(names("net.ipv4.tcp_synack_retries_of_acme").is_empty());
    }

    /// Every kernel name that a detector hands to a report must be explained here.
    #[test]
    fn no_detector_names_what_is_not_explained() {
        let folders = ["/src/detect/kinds", "/src/detect/analysis"];
        let mut missing = Vec::new();
        let paths = folders.iter().flat_map(|folder| {
            let folder = format!("{}{folder}", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path())
        });
        for path in paths {
            let text = std::fs::read_to_string(path).unwrap();
            for literal in text.split('"').skip(1).step_by(1) {
                let name_like = literal.len() > 4
                    && literal.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
                    && ["net.ipv4.", "net.core.", "TcpExt", "tcp_v4_", "inet_csk_", "reqsk_", "tcp_"]
                        .iter()
                        .any(|start| literal.starts_with(start))
                    && !literal.ends_with('_');
                if name_like && kernel(literal).is_none() {
                    missing.push(literal.to_owned());
                }
            }
        }
        for spec in registry::all() {
            let names = spec.counters.iter().chain(spec.settings).filter(|name| kernel(name).is_none());
            missing.extend(names.map(|name| (*name).to_owned()));
        }
        missing.sort();
        missing.dedup();
        assert!(missing.is_empty(), "explain these in src/report/glossary.rs: {missing:?}");
    }
}
