//! Statements of the snapshots, as facts of the report: settings that matter, queues of the listeners concerned.

use std::collections::BTreeSet;

use crate::decode::segment::Address;
use crate::detect::Draft;
use crate::detect::context::StatedByHost;
use crate::host::{HostFacts, Snapshot, listeners};
use crate::model::{Inferred, Subject};

/// Settings that matter whatever was found; others when a finding's cause names them.
const ALWAYS: &[&str] = &[
    "net.core.somaxconn",
    "net.ipv4.tcp_abort_on_overflow",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_tw_recycle",
];

/// Settings that the host of a snapshot states, so that they are not inferred as well.
pub fn of(snapshot: &Snapshot) -> StatedByHost {
    let sockets = snapshot.listeners.iter().flatten();
    StatedByHost {
        addresses: snapshot.addresses.iter().map(|ip| Address::from(*ip)).collect(),
        settings: snapshot.sysctls.keys().cloned().collect(),
        backlogs: sockets.filter_map(|socket| Some((socket.address, socket.backlog?))).collect(),
        at: snapshot.time,
        ..StatedByHost::default()
    }
}

/// Listeners first, then settings, each in order of their names.
pub fn all<'a>(drafts: impl Iterator<Item = &'a Draft> + Clone, facts: &HostFacts) -> Vec<Inferred> {
    let latest = facts.latest();
    let from = format!("snapshot of {}", latest.time);
    let sockets = latest.listeners.as_deref().unwrap_or_default();
    let concerned: BTreeSet<_> = drafts
        .clone()
        .filter_map(|d| d.server)
        .flat_map(|server| listeners::serving(sockets, server.socket()))
        .chain(sockets.iter().filter(|l| l.accept_queue > 0))
        .collect();
    let mut all = Vec::new();
    for l in concerned {
        let mut state = |setting: &str, value: serde_json::Value| {
            all.push(Inferred {
                host: l.address.into(),
                setting: setting.to_owned(),
                value,
                from: from.clone(),
            });
        };
        state("accept queue (Recv-Q)", l.accept_queue.into());
        if let Some(backlog) = l.backlog {
            state("listen backlog (Send-Q)", backlog.into());
        }
        if let Some(drops) = l.drops {
            state("drops of the socket", drops.into());
        }
    }
    let named: BTreeSet<&str> = drafts.flat_map(|d| d.cause.sysctls.iter().map(AsRef::as_ref)).collect();
    for (name, value) in &latest.sysctls {
        if !ALWAYS.contains(&name.as_str()) && !named.contains(name.as_str()) {
            continue;
        }
        let before = facts.former_setting(name).map(|v| format!("; it was {v} before")).unwrap_or_default();
        all.push(Inferred {
            host: Subject::Named(facts.name()),
            setting: name.clone(),
            value: value.parse::<i64>().map_or_else(|_| value.clone().into(), Into::into),
            from: format!("{from}{before}"),
        });
    }
    all
}
