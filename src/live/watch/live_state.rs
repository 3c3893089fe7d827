//! Incidents and interfaces, in the form that the state and the report use.

use crate::capture::InputStatus;
use crate::capture::feed::Interface;
use crate::detect::FoundDraft;
use crate::diagnose::host::queue_history::is_of_full_queue;
use crate::diagnose::write::Written;
use crate::live::phase::Phase;
use crate::live::sockets::FullQueues;
use crate::live::state::WatchedIncident;
use crate::model::{Incident, Kind};
use crate::time::Timestamp;

/// Packets of an interface that were taken in.
#[derive(Clone, Copy, Default)]
pub(super) struct PacketCount {
    pub(super) packets: u64,
    /// First and last.
    pub(super) times: Option<(Timestamp, Timestamp)>,
}

/// An incident as it is shown.
pub(super) fn watched(
    examples: &[&Written],
    incident: Incident,
    phase: Phase,
    refused: Option<String>,
) -> WatchedIncident {
    let heard = examples.iter().find(|example| example.outline.was_held_against_host);
    let heard = heard.map(|example| example.finding.certainty_reason.clone());
    // The socket's own count proves more than the host's counters.
    let corroboration = refused.or(heard);
    let examples = examples.iter().map(|example| example.finding.clone()).collect();
    WatchedIncident { incident, open: phase != Phase::Over, phase, examples, corroboration }
}

/// An interface, as the report names its inputs.
pub(super) fn status(interface: &Interface, taken: PacketCount) -> InputStatus {
    let dropped = interface.dropped_by_kernel + interface.dropped_by_interface;
    InputStatus {
        path: interface.name.clone(),
        format: "live".to_owned(),
        packets: taken.packets,
        times: taken.times,
        dropped: Some(dropped),
        snaplen: interface.snaplen,
        warnings: (dropped > 0)
            .then(|| format!("the capture dropped {dropped} packets"))
            .into_iter()
            .collect(),
        ..InputStatus::default()
    }
}

/// The findings of single connections that say, or may say, that a queue of their listener was full.
pub(super) fn full_queues(found: &[FoundDraft]) -> FullQueues {
    let mut known = FullQueues::new();
    for (draft, _) in found.iter().filter(|(draft, _)| draft.connection.is_some()) {
        let is_of_use = is_of_full_queue(draft.kind) || draft.kind == Kind::SynUnanswered;
        if let Some(server) = draft.server.filter(|_| is_of_use) {
            let first = draft.first();
            let last = draft.evidence().last().map_or(first, |(at, _)| *at);
            known.entry(server).or_default().entry(draft.kind).or_default().push((first, last));
        }
    }
    known
}
