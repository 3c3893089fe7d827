//! Single SYNs without a connection. They drew no answer and were not repeated, or were answered and the client then
//! sent nothing. No kernel opens a connection like that.
//!
//! In a flood one listener has very many of them, and a scanner sends one to each of very many listeners. So they are
//! reported together: by listener, or by client if a client has one or two at each of several listeners.

use std::collections::BTreeSet;

use crate::decode::segment::{Address, PacketId};
use crate::detect::analysis::listener_activity::ListenerActivity;
use crate::detect::capture_state::CaptureState;
use crate::flow::facts::PacketRef;
use crate::flow::key::{Host, Map, Set};
use crate::flow::outcome::FIRST_TIMER;
use crate::history::incomplete::HalfOpenRequest;
use crate::time::{Span, Timestamp};

/// From this many SYN-ACKs on, the handshake is reported by itself (`syn-ack-unanswered`).
pub const ASKED_AGAIN: u32 = 3;

/// From this many lone SYNs on, a listener has a finding of its own, whatever the number of clients.
const OF_LISTENER: usize = 3;

/// A client that resets its request sooner than this is a scan or a check, and wants no connection.
const HELD: Span = Span::millis(900);

/// How many requests of a listener are examined at most. In a flood, more of them would change nothing.
const LOOKED_AT: usize = 1_000;

/// Lone SYNs that are reported together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoneSyns {
    /// How many: a lower bound where the listener had more requests than are examined.
    pub syns: usize,
    /// Whether there may be more.
    pub or_more: bool,
    /// How many of them were repeated.
    pub repeated: usize,
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
    /// By the listener at which they are reported.
    at: Map<Host, LoneSyns>,
    /// Listeners whose lone SYNs are reported at another one.
    elsewhere: Set<Host>,
}

impl AllLoneSyns {
    /// Unanswered lone SYNs at all listeners. `end` is the end of the capture; `is_explained` says of a SYN that
    /// another kind reports it.
    pub fn unanswered(
        activities: &Map<Host, ListenerActivity>,
        end: Timestamp,
        is_explained: impl Fn(PacketId) -> bool,
    ) -> AllLoneSyns {
        let is_lone = |h: &HalfOpenRequest| end - h.syn.time >= FIRST_TIMER && !is_explained(h.syn.packet);
        // If SYNs were dropped for their timestamps, that explains the others, too.
        let is_told = |a: &ListenerActivity| a.ignored.iter().take(LOOKED_AT).any(|i| i.behind);
        AllLoneSyns::together(activities, |a| if is_told(a) { &[] } else { &a.lone_syns }, is_lone)
    }

    /// Lone SYNs whose SYN-ACK drew no answer. While the capture runs, a repeated SYN-ACK counts as the last one only when
    /// the next would have come.
    pub fn answered(
        activities: &Map<Host, ListenerActivity>,
        end: Timestamp,
        capture: CaptureState,
    ) -> AllLoneSyns {
        let is_lone = |h: &HalfOpenRequest| {
            let is_over = match capture {
                CaptureState::Running => end - h.during.to >= FIRST_TIMER,
                CaptureState::Ended => h.syn_acks > 1 || end - h.syn.time >= FIRST_TIMER,
            };
            let is_held = h.during.to - h.during.from >= HELD;
            h.syns > 0 && u32::from(h.syn_acks) < ASKED_AGAIN && is_over && is_held
        };
        AllLoneSyns::together(activities, |activity| &activity.half_open, is_lone)
    }

    fn together(
        activities: &Map<Host, ListenerActivity>,
        requests: impl Fn(&ListenerActivity) -> &[HalfOpenRequest],
        is_lone: impl Fn(&HalfOpenRequest) -> bool,
    ) -> AllLoneSyns {
        let mut all = AllLoneSyns::default();
        let mut scans: Map<Address, Vec<(HalfOpenRequest, Host, [usize; 2])>> = Map::default();
        for (host, activity) in activities {
            let requests = requests(activity);
            let lone: Vec<&HalfOpenRequest> =
                requests.iter().take(LOOKED_AT).filter(|h| is_lone(h)).collect();
            let Some(first) = lone.iter().min_by_key(|h| (h.syn, h.client)) else { continue };
            let last = lone.iter().map(|h| h.syn).max().unwrap_or(first.syn);
            let is_of_one = || lone.iter().all(|h| h.client.address == first.client.address);
            if lone.len() < OF_LISTENER && is_of_one() {
                let repeated = lone.iter().filter(|h| h.syns > 1).count();
                scans.entry(first.client.address).or_default().push((**first, *host, [lone.len(), repeated]));
                continue;
            }
            let clients: BTreeSet<Address> = lone.iter().map(|h| h.client.address).collect();
            let together = LoneSyns {
                syns: lone.len(),
                or_more: requests.len() > LOOKED_AT,
                repeated: lone.iter().filter(|h| h.syns > 1).count(),
                clients: clients.len(),
                client: first.client.address,
                listeners: 1,
                first: first.syn,
                last,
            };
            all.at.insert(*host, together);
        }
        for (client, mut tried) in scans {
            tried.sort_unstable_by_key(|(first, host, _)| (first.syn, *host));
            let (Some((first, host, _)), Some((last, ..))) = (tried.first(), tried.last()) else { continue };
            let together = LoneSyns {
                syns: tried.iter().map(|(.., [n, _])| n).sum(),
                repeated: tried.iter().map(|(.., [_, n])| n).sum(),
                or_more: false,
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
    /// The lone SYNs that are reported at this listener.
    pub fn at(&self, listener: Host) -> Option<&LoneSyns> {
        self.at.get(&listener)
    }

    /// Whether those of this listener are reported at another one.
    pub fn are_reported_elsewhere(&self, listener: Host) -> bool {
        self.elsewhere.contains(&listener)
    }
}
