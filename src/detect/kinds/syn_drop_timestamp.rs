//! `syn-drop-timestamp`: the server drops SYNs with a timestamp older than the last one that it remembers of the
//! client's host.

use crate::detect::analysis::ignored_syn::is_unanswered;
use crate::detect::analysis::timestamp_rule::{agrees, dropped_syns, explains_unanswered_syns};
use crate::detect::context::DetectContext;
use crate::detect::details::Details;
use crate::detect::draft::{Draft, cause, count};
use crate::detect::next;
use crate::detect::spec::{Examine, IgnoredPackets, Property, finding};
use crate::flow::facts::ConnectionFacts;
use crate::history::interval::Interval;
use crate::history::tw_recycle::PawsSuspect;
use crate::history::wants::Wants;
use crate::model::{Kind, Severity, Suspect, Vantage};
use crate::time::{Span, Timestamp};

finding! {
    /// SYNs of one address go unanswered exactly when their timestamp is older than that address's last one.
    ///
    /// ## On the wire
    /// The server has closed a connection of that address first, less than 60 s ago, and the client's last TSval was T.
    /// A SYN from the same address with a TSval more than one tick below T gets no answer at all. A SYN above T is
    /// answered at once; on RHEL 7 and 4.2 to 4.11 a SYN without timestamps is dropped too. Several hosts behind one
    /// NAT address have different clocks, and recent kernels give every connection its own offset: then SYNs are
    /// dropped at random.
    /// ## In the kernel
    /// `tcp_tw_recycle=1` with timestamps keeps one record per peer (`tcp_remember_stamp`, `tcp_peer_is_proven`);
    /// `tcp_conn_request` drops the SYN: `PAWSPassive` and `ListenDrops`. Removed in Linux 4.12.
    /// ## Looks alike
    /// * A full queue: SYNs of all hosts suffer, whatever their timestamp.
    /// * Loss: hits SYNs without regard to timestamps.
    /// * Timestamps that go backwards and are answered: one offset per connection (Linux 4.10 and later); nothing is
    ///   wrong. Every such answer is evidence against this finding.
    /// * The same four-tuple in TIME_WAIT: answered by a bare ACK (`time-wait-collision`).
    /// ## Check next
    /// `sysctl net.ipv4.tcp_tw_recycle` on the server (a kernel without it cannot do this); `nstat -az
    /// TcpExtPAWSPassive`, twice. Set it to 0. Turning timestamps off on the clients is no cure.
    /// ## References
    /// RFC 7323 section 5; `net/ipv4/tcp_metrics.c` `tcp_peer_is_proven` (up to 4.11)
    pub struct SynDropTimestamp {
        kind: Kind::SynDropTimestamp,
        plain_words: "Clients behind one address get no answer because the server compares the clocks of different machines.",
        at_fault: "the server's setting `net.ipv4.tcp_tw_recycle`",
        wants: Wants::full(|f, _| is_unanswered(f)),
        examine: Examine::Connection(examine),
        look_alikes: &["syn-drop-timestamp/nat-nothing-wrong", "syn-drop-timestamp/recycle-off-linux-3.10", "syn-drop-timestamp/one-without-timestamps-linux-3.10", "time-wait-collision/nat-timestamps"],
        counters: &["TcpExtPAWSPassive", "TcpExtListenDrops"],
        settings: &["net.ipv4.tcp_timestamps", "net.ipv4.tcp_tw_recycle"],
        ignored: IgnoredPackets::Syns,
        properties: &[Property::PreventsSetUp, Property::ExplainsHandshake, Property::HasOneCause, Property::RestsOnOrder],
    }
}

/// SYNs that one outage made fail are no further apart than this; a server that is up answers somebody within it.
const LONG: Span = Span::secs(5);

/// See [`SynDropTimestamp`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    if !explains_unanswered_syns(f, around) {
        return None;
    }
    let dropped: Vec<_> = dropped_syns(f, around).collect();
    let first = dropped.first()?;
    let (_, server) = around.tallies(f);
    let mut d = show(f, &dropped)?;
    let outcome = match f.syn_ack.first() {
        Some(syn_ack) => {
            d.shows(syn_ack.at, "SYN-ACK: the server answers at last");
            d.severity = Severity::Warning;
            format!("the connection got through {} after its first SYN", syn_ack.at.time - f.first.time)
        }
        None => {
            d.severity = Severity::Critical;
            "the connection never got an answer".to_owned()
        }
    };
    d.summary = format!(
        "{} of {} drew no answer, but SYNs of the same address with newer timestamps did; {outcome}.",
        count(dropped.len() as u64, "SYN"),
        f.client.socket()
    );
    d.cause = cause(
        "The server runs with tcp_tw_recycle=1: it drops SYNs whose timestamp is older than the last one of the same address.",
        &["tcp_conn_request", "tcp_peer_is_proven", "tcp_remember_stamp"],
        &["TcpExtPAWSPassive", "TcpExtListenDrops"],
        &["net.ipv4.tcp_tw_recycle", "net.ipv4.tcp_timestamps"],
    );
    let explained = server.dropped_behind + server.dropped_without;
    d.details = Details::OldTimestamps { explained: explained.into() };
    d.measure("syns_dropped", dropped.len())
        .measure("rule_contradicted", server.answered_behind)
        .measure("answered_with_newer_timestamp", server.passing);
    if let Some(behind) = first.behind {
        d.measure("behind_ticks", behind);
    }
    let contradicted = match u64::from(server.answered_behind) {
        0 => "no SYN contradicts it".to_owned(),
        1 => "1 SYN contradicts it".to_owned(),
        n => format!("{n} SYNs contradict it"),
    };
    let reason = format!(
        "this rule explains {} at this server, and {contradicted}",
        count(u64::from(explained), "dropped SYN")
    );
    if !agrees(f, around, 1) {
        d.possible(format!("{reason}; the capture lost packets or changed their order"));
    } else if around.view.vantage == Vantage::Client || explained < 3 {
        d.possible(format!("{reason}; this capture cannot show whether the SYNs reached the server"));
    } else if !others_fared_better(first.at.time, around) {
        d.possible(format!(
            "{reason}; but the server answered no SYN at all at that time, so it or the path may have been down"
        ));
    } else {
        d.probable(reason);
    }
    d.or(
        "A stateful NAT or firewall that drops SYNs with older timestamps.",
        "Then PAWSPassive does not grow on the server, or its kernel is too new for tcp_tw_recycle.",
    )
    .or(Suspect::SynsLostOrQueueFull, "Neither depends on timestamps.");
    d.next_steps = next::recycled_time_wait(f.server);
    Some(d)
}

/// The finding with the packets that show it.
fn show(f: &ConnectionFacts, dropped: &[&PawsSuspect]) -> Option<Draft> {
    let first = dropped.first()?;
    let mut d = Draft::about(
        f,
        &SPEC,
        (
            first.record,
            format!(
                "the server closes a connection of this address first and remembers its TSval {}",
                first.record_tsval
            ),
        ),
    );
    for syn in dropped.iter().skip(1).filter(|syn| syn.record != first.record) {
        d.shows(
            syn.record,
            format!("the server closes another one first and remembers its TSval {}", syn.record_tsval),
        );
    }
    for syn in dropped {
        let age = syn.at.time - syn.record.time;
        let how = match syn.behind {
            Some(behind) => format!("TSval {behind} ticks older"),
            None => "no timestamps".to_owned(),
        };
        d.shows(syn.at, format!("SYN, {how}, {age} after that: no answer"));
    }
    Some(d)
}

/// Whether SYNs were answered between those that were ignored at that time. If not, the server or the path was down.
fn others_fared_better(at: Timestamp, around: &DetectContext<'_>) -> bool {
    let near = around.activity.ignored.iter().filter(|i| i.behind && i.during.meets(at, at, LONG));
    let all = near.map(|i| i.during).reduce(|a, b| Interval { from: a.from.min(b.from), to: a.to.max(b.to) });
    all.is_none_or(|all| all.to - all.from < LONG || around.listener.inside(all).answered > 0)
}
