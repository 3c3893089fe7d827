//! SYNs that were sent once, drew no answer and were not repeated: no kernel opens a connection like that.
//!
//! One listener has very many of them in a flood, and one scanner sends one to each of very many listeners. So they are told
//! together: by listener, or by client where a client has one or two at each of several listeners.

use std::collections::BTreeSet;

use crate::decode::segment::{Address, PacketId};
use crate::detect::analysis::listener_activity::ListenerActivity;
use crate::flow::facts::PacketRef;
use crate::flow::key::{Host, Map, Set};
use crate::flow::outcome::FIRST_TIMER;
use crate::history::incomplete::HalfOpenRequest;
use crate::time::Timestamp;

/// SYNs of one listener from which on they are told of that listener, whoever sent them.
const OF_LISTENER: usize = 3;

/// Lone SYNs that are told together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoneSyns {
    /// How many.
    pub syns: usize,
    /// How many addresses sent them.
    pub clients: usize,
    /// The address that sent them, or one of these.
    pub client: Address,
    /// How many listeners got them.
    pub listeners: usize,
    /// The first of them.
    pub first: PacketRef,
    /// The last of them.
    pub last: PacketRef,
}

/// All lone SYNs of a capture.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct AllLoneSyns {
    /// By the listener at which they are told.
    at: Map<Host, LoneSyns>,
    /// Listeners of which is told at another one.
    elsewhere: Set<Host>,
}

impl AllLoneSyns {
    /// Those of all listeners; `end` is the end of the capture, `is_explained` says of a SYN that another kind tells of it.
    pub fn of(
        activities: &Map<Host, ListenerActivity>,
        end: Timestamp,
        is_explained: impl Fn(PacketId) -> bool,
    ) -> AllLoneSyns {
        let mut all = AllLoneSyns::default();
        let mut scans: Map<Address, Vec<(HalfOpenRequest, Host, usize)>> = Map::default();
        for (host, activity) in activities.iter().filter(|(_, activity)| activity.not_repeated > 0) {
            let is_lone =
                |h: &&HalfOpenRequest| end - h.syn.time >= FIRST_TIMER && !is_explained(h.syn.packet);
            let mut lone = activity.lone_syns.iter().filter(is_lone);
            let Some(first) = lone.clone().min_by_key(|h| (h.syn, h.client)) else { continue };
            let (count, last) = (lone.clone().count(), lone.clone().map(|h| h.syn).max());
            if count < OF_LISTENER && lone.all(|h| h.client.address == first.client.address) {
                scans.entry(first.client.address).or_default().push((*first, *host, count));
                continue;
            }
            let clients: BTreeSet<Address> = lone.map(|h| h.client.address).collect();
            let together = LoneSyns {
                syns: count,
                clients: clients.len(),
                client: first.client.address,
                listeners: 1,
                first: first.syn,
                last: last.unwrap_or(first.syn),
            };
            all.at.insert(*host, together);
        }
        for (client, mut tried) in scans {
            tried.sort_unstable_by_key(|(first, host, _)| (first.syn, *host));
            let (Some((first, host, _)), Some((last, ..))) = (tried.first(), tried.last()) else { continue };
            let together = LoneSyns {
                syns: tried.iter().map(|(.., n)| n).sum(),
                clients: 1,
                client,
                listeners: tried.len(),
                first: first.syn,
                last: last.syn,
            };
            all.at.insert(*host, together);
            all.elsewhere.extend(tried[1..].iter().map(|(_, host, _)| *host));
        }
        all
    }

    /// What is to be told at this listener.
    pub fn at(&self, listener: Host) -> Option<&LoneSyns> {
        self.at.get(&listener)
    }

    /// Whether those of this listener are told at another one.
    pub fn are_told_elsewhere(&self, listener: Host) -> bool {
        self.elsewhere.contains(&listener)
    }
}
