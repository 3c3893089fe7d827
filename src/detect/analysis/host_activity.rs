//! The activity of one host on all of its ports: when it was heard, and whether several listeners ignored SYNs at once.

use std::collections::BTreeSet;

use crate::decode::segment::Address;
use crate::detect::analysis::listener_activity::ListenerActivity;
use crate::flow::key::{Host, Map};
use crate::history::interval::Interval;
use crate::history::listener::ListenerHistory;
use crate::history::timeline::ListenerTimeline;
use crate::time::Span;

/// Ignored SYNs that are no further apart than this belong together: the clients' timer is as long.
const TOGETHER: Span = Span::secs(2);

/// SYNs to several ports of a host, ignored at the same time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outage {
    /// From the first ignored SYN to the last.
    pub during: Interval,
    /// The ports, all of which answered at another time.
    pub ports: BTreeSet<u16>,
}

/// The activity of one host on all of its ports.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct HostActivity {
    /// The sum over all listeners.
    pub seconds: ListenerTimeline,
    /// In order of time.
    outages: Vec<Outage>,
}

impl HostActivity {
    /// The activity of every host that has several listeners.
    pub fn of_all(
        listeners: &Map<Host, ListenerHistory>,
        activities: &Map<Host, ListenerActivity>,
    ) -> Map<Address, HostActivity> {
        let mut ports: Map<Address, Vec<Host>> = Map::default();
        for host in listeners.keys() {
            ports.entry(host.address).or_default().push(*host);
        }
        ports.retain(|_, hosts| hosts.len() > 1);
        let of = |hosts: &[Host]| {
            let mut activity = HostActivity::default();
            let mut ignored = Vec::new();
            for host in hosts {
                let listener = &listeners[host];
                activity.seconds.add(listener.seconds.clone());
                if let Some(activity) = activities.get(host).filter(|_| listener.accepted.is_some()) {
                    ignored.extend(activity.ignored.iter().map(|i| (i.during, host.port)));
                }
            }
            activity.outages = outages(ignored);
            activity
        };
        ports.into_iter().map(|(address, hosts)| (address, of(&hosts))).collect()
    }

    /// The SYNs to several ports that were ignored together with one from this time, if the host answered no SYN
    /// meanwhile.
    pub fn outage(&self, during: Interval) -> Option<&Outage> {
        let at = self.outages.partition_point(|outage| outage.during.to < during.from);
        let outage = self.outages.get(at).filter(|outage| outage.during.from <= during.to)?;
        let Interval { from, to } = outage.during;
        let is_host_wide =
            outage.ports.len() > 1 && self.seconds.inside(from.seconds(), to.seconds()).answered == 0;
        is_host_wide.then_some(outage)
    }
}

/// Groups of SYNs that were ignored at the same time, in order of time. SYNs of a single port separate groups of
/// several ports.
fn outages(mut ignored: Vec<(Interval, u16)>) -> Vec<Outage> {
    ignored.sort_unstable();
    let mut outages: Vec<Outage> = Vec::new();
    for (during, port) in ignored {
        match outages.last_mut() {
            Some(last) if during.from - last.during.to <= TOGETHER => {
                last.during.to = last.during.to.max(during.to);
                last.ports.insert(port);
            }
            _ => outages.push(Outage { during, ports: BTreeSet::from([port]) }),
        }
    }
    outages
}
