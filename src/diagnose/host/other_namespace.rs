//! Ports on which nobody listens in this network namespace: TCP of this namespace did not handle the connection, so its
//! counters prove nothing.

use crate::detect::Draft;
use crate::detect::draft::cause;
use crate::detect::next;
use crate::host::HostFacts;
use crate::model::Kind;

/// Kinds that the counters of a listener decide.
const OF_A_LISTENER: [Kind; 8] = [
    Kind::AcceptQueueOverflow,
    Kind::AcceptQueueReset,
    Kind::DeferAccept,
    Kind::HandshakeLoss,
    Kind::SynDropAcceptQueue,
    Kind::SynDropSynQueue,
    Kind::SynDropTimestamp,
    Kind::SynUnanswered,
];

/// Whether the finding is about a listener, and none listens here.
pub fn is_served_elsewhere(d: &Draft, facts: &HostFacts) -> bool {
    let listens = |server| facts.is_listening(server);
    OF_A_LISTENER.contains(&d.kind) && d.server.and_then(|server| listens(server.socket())) == Some(false)
}

/// Says where to look. The finding keeps its evidence, and nothing of this namespace confirms it.
pub fn forwarded(d: &mut Draft) {
    let Some(server) = d.server else { return };
    const NOBODY: &str =
        "nobody listens on this port in this network namespace, so its counters prove nothing";
    if d.kind == Kind::SynUnanswered {
        // A SYN that reaches TCP without a listener draws a RST.
        d.cause = cause(
            "The SYN was forwarded (DNAT, a container) and drew no answer there, or a packet filter dropped it before TCP.",
            &[],
            &[],
            &[],
        );
        d.alternatives.clear();
        d.possible(NOBODY);
    } else {
        let seen = std::mem::take(&mut d.reason);
        d.probable(if seen.is_empty() { NOBODY.to_owned() } else { format!("{seen}; {NOBODY}") });
    }
    let at = server.socket();
    d.next_steps = vec![
        format!(
            "conntrack -L -p tcp --orig-dst {} --orig-port-dst {}   # on {}: where are the connections forwarded to?",
            at.ip(),
            at.port(),
            at.ip()
        ),
        "lsns -t net   # network namespaces of containers: run ss -ltn in the one that listens (nsenter -t PID -n)"
            .to_owned(),
        next::filter_rules(server),
    ];
}
