//! The metrics. Gauges come from states, counters from events; counters never fall.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::live::event::LiveEvent;
use crate::live::state::{ListenerState, WatchState};
use crate::model::Kind;
use crate::report::terminal::sanitize;

/// How many listeners have series of their own; all others share the label `other`.
pub const MOST_LISTENERS: usize = 64;

/// The label of events without a listener.
pub(super) const NONE: &str = "none";
/// The label of listeners beyond the limit, and of those that are not known.
pub(super) const OTHER: &str = "other";

/// All values of the page.
#[derive(Clone, Debug, Default)]
pub(super) struct MetricValues {
    /// The latest state.
    pub state: WatchState,
    /// Findings opened, by kind and label of the listener.
    pub findings: BTreeMap<(Kind, String), u64>,
    /// Findings withdrawn.
    pub withdrawn: u64,
    /// Incidents closed, by kind.
    pub closed: BTreeMap<Kind, u64>,
    /// Rises of counters that no packet explains, by counter.
    pub unexplained: BTreeMap<String, u64>,
    /// Warnings.
    pub warnings: u64,
    /// The drops of listening sockets, by label: sockets that are gone stay counted.
    pub drops: BTreeMap<String, u64>,
    /// The drops of each socket at the latest look, by inode.
    dropped: BTreeMap<u64, u64>,
    /// Listeners that have a label of their own, which they keep.
    labelled: BTreeSet<SocketAddr>,
}

impl MetricValues {
    /// Updates all metrics from the current state and the events since the last call.
    pub fn note(&mut self, state: &WatchState, events: &[LiveEvent]) {
        self.state = state.clone();
        // The name of an interface must not control the terminal that shows the page.
        for interface in &mut self.state.interfaces {
            interface.name = sanitize(&interface.name).into_owned();
        }
        // Sockets of this host come first: there may be any number of servers that are only seen in packets.
        let (own, seen): (Vec<&ListenerState>, Vec<&ListenerState>) =
            state.listeners.iter().partition(|listener| listener.limit.is_some());
        for listener in own.into_iter().chain(seen) {
            if self.labelled.len() < MOST_LISTENERS {
                self.labelled.insert(listener.address);
            }
        }
        for listener in &state.listeners {
            let (Some(inode), Some(drops)) = (listener.inode, listener.drops) else { continue };
            let before = self.dropped.insert(inode, drops).unwrap_or(0);
            let label = self.listener(Some(listener.address));
            *self.drops.entry(label).or_default() += drops.saturating_sub(before);
        }
        let there: BTreeSet<u64> = state.listeners.iter().filter_map(|listener| listener.inode).collect();
        self.dropped.retain(|inode, _| there.contains(inode));
        for event in events {
            match event {
                LiveEvent::Opened { finding, .. } => {
                    let listener = self.label(finding.server);
                    *self.findings.entry((finding.kind, listener)).or_default() += 1;
                }
                LiveEvent::Withdrawn { .. } => self.withdrawn += 1,
                LiveEvent::Closed { incident, .. } => *self.closed.entry(incident.kind).or_default() += 1,
                LiveEvent::CounterOnly { counter, rose, .. } => {
                    *self.unexplained.entry(counter.clone()).or_default() += rose;
                }
                LiveEvent::Warning { .. } => self.warnings += 1,
                _ => {}
            }
        }
    }

    /// The label of `server`: the address of its listening socket, so that series can be joined with those of queues.
    /// An address without a known listener may be chosen by anybody, and is no label.
    pub fn label(&self, server: Option<SocketAddr>) -> String {
        let Some(address) = server else { return NONE.to_owned() };
        let takes = |listener: &&ListenerState| {
            let at = listener.address;
            let any = at.ip().is_unspecified() && at.port() == address.port();
            // A socket at `::` takes IPv4, too, unless it was set otherwise.
            at == address || any && (at.is_ipv6() || address.is_ipv4())
        };
        // The most exact one, as the kernel chooses.
        let taking = self.state.listeners.iter().filter(takes);
        let best = taking.min_by_key(|listener| (listener.address != address, listener.address.is_ipv6()));
        self.listener(best.map(|listener| listener.address))
    }

    /// The label of a listener.
    pub fn listener(&self, address: Option<SocketAddr>) -> String {
        match address {
            Some(address) if self.labelled.contains(&address) => address.to_string(),
            _ => OTHER.to_owned(),
        }
    }
}
