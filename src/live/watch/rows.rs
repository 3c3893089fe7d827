//! The rows of the screen's listeners: sockets of the host, and servers seen on the wire.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{LISTENERS, Watch};
use crate::flow::key::Host;
use crate::host::Snapshot;
use crate::live::state::ListenerState;

impl Watch {
    /// The listening sockets of the host, then servers on the wire, with the rates of this second.
    pub(super) fn listeners(
        &mut self,
        rates: &BTreeMap<Host, (u64, u64)>,
        second: i64,
    ) -> Vec<ListenerState> {
        let mut open: BTreeMap<SocketAddr, u64> = BTreeMap::new();
        for watched in self.state.incidents.iter().filter(|watched| watched.open) {
            if let Some(listener) = watched.incident.listener {
                *open.entry(listener).or_default() += 1;
            }
        }
        let latest = self.testimony.latest();
        let sockets: &[_] = latest.and_then(|look| look.listeners.as_deref()).unwrap_or_default();
        let mut all = self.sockets.rows();
        let owner = |server: SocketAddr, latest: Option<&Snapshot>| {
            let here = latest.is_some_and(|look| look.addresses.contains(&server.ip()));
            let serving = crate::host::listeners::serving(sockets, server);
            if here { serving.first().map_or(server, |socket| socket.address) } else { server }
        };
        let mut at: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        for (n, row) in all.iter().enumerate() {
            // Of several sockets at one address the first, which is the worst, shows the values known only for all of
            // them together.
            at.entry(row.address).or_insert(n);
        }
        let mut row = |address, all: &mut Vec<ListenerState>| {
            *at.entry(address).or_insert_with(|| {
                all.push(ListenerState::at(address));
                all.len() - 1
            })
        };
        for (host, (attempts, completed)) in rates {
            let n = row(owner(host.socket(), latest), &mut all);
            all[n].attempts += attempts;
            all[n].completed += completed;
        }
        for (server, n) in open {
            let row = row(owner(server, latest), &mut all);
            all[row].open += n;
        }
        self.sockets.add_rates(&mut all, second);
        all.sort_by_key(|l| (l.address, l.of_several));
        if all.len() > LISTENERS {
            all.sort_by_key(|l| std::cmp::Reverse((l.open, l.queue, l.attempts)));
            all.truncate(LISTENERS);
            all.sort_by_key(|l| (l.address, l.of_several));
        }
        all
    }
}
