//! The accept queue of a listener over the time of an incident, where the host recorded it.

use crate::detect::registry;
use crate::detect::spec::Property;
use crate::host::HostFacts;
use crate::model::{Incident, Kind, QueueHistory, QueueLengths};
use crate::time::{Span, Timestamp};

/// The queue of an incident is shown from this long before it to this long after it.
pub const AROUND: Span = Span::secs(15);

/// Whether a finding of this kind says that a queue of the listener was full.
pub fn is_of_full_queue(kind: Kind) -> bool {
    kind == Kind::AcceptQueueReset || registry::spec(kind).has(Property::QueueWasFull)
}

/// Adds the queues to the incidents of full queues.
pub fn add(incidents: &mut [Incident], facts: &HostFacts) {
    for incident in incidents.iter_mut().filter(|incident| is_of_full_queue(incident.kind)) {
        let during = (incident.first.after(Span(-AROUND.0)), incident.last + AROUND);
        incident.queues = incident.listener.and_then(|server| history(facts, server, during));
    }
}

fn history(
    facts: &HostFacts,
    server: std::net::SocketAddr,
    (from, to): (Timestamp, Timestamp),
) -> Option<QueueHistory> {
    let samples = facts.queue_samples(server);
    let mut drops = None;
    let mut limit = None;
    let mut shown = Vec::new();
    for sample in samples {
        // A 32-bit counter in the kernel.
        let dropped = sample.drops.zip(drops).map_or(0, |(now, before): (u32, u32)| now.wrapping_sub(before));
        drops = sample.drops.or(drops);
        if from <= sample.at && sample.at <= to {
            limit = sample.backlog.map(u64::from).or(limit);
            shown.push(QueueLengths {
                at: sample.at,
                accept_queue: sample.accept_queue.into(),
                syn_queue: None,
                dropped: dropped.into(),
            });
        }
    }
    (shown.len() > 1).then_some(QueueHistory { limit, samples: shown })
}
