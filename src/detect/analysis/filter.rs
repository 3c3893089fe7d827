//! A filter as the cause of SYNs that fail, recognised by the feature that they share.

use crate::detect::analysis::common_features::{FailurePattern, SynFeature, SynOutcome};
use crate::detect::draft::{Draft, cause};
use crate::flow::key::Host;
use crate::model::Cause;

/// Makes a filter that drops SYNs with this feature the cause of a finding.
pub fn blame_filter(d: &mut Draft, pattern: &FailurePattern, fate: SynOutcome, server: Host) {
    let ip = server.socket().ip();
    let verb = if fate == SynOutcome::Refused { "refuses" } else { "drops" };
    d.cause = match pattern.mark {
        SynFeature::ReusedTuple(..) => Cause {
            text: format!(
                "The server, or a device in front of it, still keeps the older connection of this four-tuple and {verb} \
                 the SYN that reuses it: a load balancer, connection tracking, or TIME_WAIT."
            )
            .into(),
            ..cause("", &[], &[], &["net.ipv4.vs.conn_reuse_mode", "net.netfilter.nf_conntrack_tcp_timeout_time_wait"])
        },
        mark => Cause {
            text: format!("The server, or a device in front of it, {verb} SYNs by {}.", mark.noun()).into(),
            ..cause("", &[], &[], &[])
        },
    };
    let clause = pattern.clause(fate);
    let is_weak = matches!(pattern.mark, SynFeature::TimeToLive(_) | SynFeature::Client);
    if is_weak {
        d.possible(clause)
    } else {
        d.probable(clause)
    };
    if pattern.by_client && pattern.mark != SynFeature::Client {
        d.or(
            "A filter goes by the client's address.",
            "No SYN of these clients was answered, so the capture does not exclude it.",
        );
    }
    let step = match pattern.mark {
        SynFeature::ReusedTuple(..) => format!(
            "conntrack -L -d {ip}   # on each device on the path, or ipvsadm -Lnc: does it keep closed connections of this client?"
        ),
        SynFeature::Ecn => "sysctl net.ipv4.tcp_ecn   # on the client: with 0 or 2 its SYNs carry no ECN bits; does that help?".to_owned(),
        _ => format!("Compare a SYN that fails with one that works, and look for a rule that tells them apart before {ip}."),
    };
    d.next_steps.insert(0, step);
}
