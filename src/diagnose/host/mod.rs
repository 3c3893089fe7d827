//! Findings compared with the facts of the server's host: the rise of its counters around the capture, its settings,
//! its listening sockets.
//!
//! Only findings about an address of that host (as server, or as sender of the RST) are changed. Their packets must lie
//! between the snapshots. A counter that the kernel does not have is unknown and decides nothing.
//!
//! * [`account`]: counters, and how much they must have risen if the findings are right.
//! * `queue`: full accept queues, and findings that look like one.
//! * `syn`: SYNs without an answer.
//! * `reset`: RSTs, and who sent them.
//! * `other_namespace`: ports on which nobody listens in this namespace.
//! * `feature`: syncookies, Fast Open, TIME_WAIT.
//! * [`queue_history`]: the accept queue of a listener over time, if the host recorded it.
//! * `snapshot_facts`: statements of the snapshots, as facts of the report.

pub mod account;
mod feature;
mod other_namespace;
mod queue;
pub mod queue_history;
mod reset;
pub mod snapshot_facts;
pub(super) mod syn;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeSet;

use crate::detect::details::Details;
use crate::detect::registry;
use crate::detect::{Draft, FoundDraft};
use crate::flow::facts::Role;
use crate::flow::key::Host;
use crate::host::HostFacts;
use crate::model::{Inferred, Kind, Vantage};
use account::{Account, Counter};
use verdict::HostVerdict;

/// What the host's facts add to a report beside its findings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostStatements {
    /// What limits the use of the snapshots, and counters that no finding explains.
    pub warnings: Vec<String>,
    /// Settings and queues that the snapshots state.
    pub inferred: Vec<Inferred>,
}

/// Confirms, refutes or rewrites the findings about this host.
pub fn corroborate(drafts: &mut Vec<FoundDraft>, facts: &HostFacts) -> HostStatements {
    let mut told = HostStatements::default();
    let here: Vec<usize> = (0..drafts.len()).filter(|&n| is_here(&drafts[n].0, facts)).collect();
    if here.is_empty() && !drafts.is_empty() {
        told.warnings.push(format!(
            "the snapshots are of {}; no finding is about an address of that host, so its counters prove nothing",
            facts.name()
        ));
    }
    let within: BTreeSet<usize> = here.iter().copied().filter(|&n| is_between(&drafts[n].0, facts)).collect();
    if let (Some((from, to)), outside @ 1..) = (facts.between(), here.len() - within.len()) {
        told.warnings.push(format!(
            "{} not between the snapshots ({from} to {to}): the counters say nothing about them",
            if outside == 1 { "1 finding is".to_owned() } else { format!("{outside} findings are") },
        ));
    }
    let account = Account::new(facts, within.iter().map(|&n| &drafts[n]));
    let mut withdrawn: BTreeSet<usize> = BTreeSet::new();
    for &n in &within {
        let (draft, vantage) = &mut drafts[n];
        if let HostVerdict::Withdrawn(why) = judge(draft, *vantage, &account) {
            let server = draft.server.map_or_else(|| "-".to_owned(), |host| host.socket().to_string());
            told.warnings.push(format!("{} at {server} was withdrawn: {why}", draft.kind));
            withdrawn.insert(n);
        }
    }
    told.warnings.extend(unexplained(here.iter().map(|&n| &*drafts[n].0), &account));
    told.inferred = snapshot_facts::all(here.iter().map(|&n| &*drafts[n].0), facts);
    let mut n = 0;
    drafts.retain(|_| {
        n += 1;
        !withdrawn.contains(&(n - 1))
    });
    told
}

fn judge(d: &mut Draft, vantage: Vantage, account: &Account<'_>) -> HostVerdict {
    if other_namespace::is_served_elsewhere(d, account.facts) {
        other_namespace::forwarded(d);
        return HostVerdict::Stays;
    }
    match d.kind {
        Kind::AcceptQueueOverflow => queue::overflow(d, vantage, account),
        Kind::AcceptQueueReset => queue::reset(d, account),
        Kind::DeferAccept => queue::deferred(d, account),
        Kind::SynDropAcceptQueue | Kind::SynDropSynQueue | Kind::SynUnanswered => {
            syn::unanswered(d, vantage, account);
        }
        Kind::SynDropTimestamp => syn::timestamp(d, account),
        Kind::ConnectionRefused => reset::refused(d, account),
        Kind::AbortiveClose => reset::abortive(d, account),
        Kind::ListenerClosed => reset::listener_closed(d, account),
        Kind::Syncookies => return feature::syncookies(d, account),
        Kind::FastopenFallback => feature::fast_open(d, account),
        Kind::TimeWaitPressure => feature::time_wait(d, account),
        _ => {}
    }
    HostVerdict::Stays
}

/// Whether the finding is about something that the host of the snapshots did.
pub fn is_here(d: &Draft, facts: &HostFacts) -> bool {
    actor(d).is_some_and(|host| facts.is_here(host.socket()))
}

/// The host whose kernel did what the finding is about.
pub fn actor(d: &Draft) -> Option<Host> {
    let by_client = d.kind == Kind::AbortiveClose && d.details == (Details::Reset { by: Role::Client });
    if by_client { d.client } else { d.server }
}

/// Gives a finding of a full queue its cause and next steps.
pub fn blame_full_queue(d: &mut Draft) {
    syn::blame_full_queue(d);
}

/// Whether all packets of the finding lie between the snapshots. With one snapshot nothing is counted anyway.
fn is_between(d: &Draft, facts: &HostFacts) -> bool {
    let Some((from, to)) = facts.between() else { return true };
    d.evidence().iter().all(|(at, _)| from <= at.time && at.time <= to)
}

/// Counters whose rise means trouble. The kinds that name such a counter explain its rise.
pub const TROUBLE: [Counter; 8] = [
    account::LISTEN_OVERFLOWS,
    account::REQ_Q_FULL_DROP,
    account::PAWS_PASSIVE,
    account::SYNCOOKIES_SENT,
    account::TIME_WAIT_OVERFLOW,
    account::FAST_OPEN_OVERFLOW,
    account::REVERSE_PATH_FILTER,
    account::ABORT_ON_MEMORY,
];

/// A line for each counter that moved without a finding that it could belong to.
fn unexplained<'a>(
    drafts: impl Iterator<Item = &'a Draft> + Clone,
    account: &'a Account<'_>,
) -> impl Iterator<Item = String> {
    let found: BTreeSet<Kind> = drafts.map(|d| d.kind).collect();
    TROUBLE.iter().filter_map(move |counter| {
        let is_shown = found.iter().any(|kind| registry::spec(*kind).counters.contains(&counter.name));
        let rise = account.facts.rise(counter.name).filter(|&rise| rise > 0)?;
        // With tcp_syncookies=2 every SYN is answered by a cookie, so the counter rises without trouble.
        let meant = counter.name == account::SYNCOOKIES_SENT.name
            && account.facts.setting("net.ipv4.tcp_syncookies") == Some("2");
        let why = if counter.name == account::SYNCOOKIES_SENT.name {
            "to clients with timestamps a cookie looks like any SYN-ACK"
        } else {
            "another listener, another interface, or traffic that was not captured?"
        };
        (!meant && !is_shown).then(|| {
            format!(
                "{} rose by {rise} between the snapshots, but no connection in this report shows it: {why}",
                counter.short
            )
        })
    })
}
