//! Incidents and interfaces as the state and the report have them.

use super::Taken;
use crate::capture::Status;
use crate::capture::feed::Interface;
use crate::diagnose::write::Written;
use crate::live::phase::Phase;
use crate::live::state::Watched;
use crate::model::Incident;

/// An incident as it is shown.
pub(super) fn watched(
    examples: &[&Written],
    incident: Incident,
    phase: Phase,
    refused: Option<String>,
) -> Watched {
    let heard = examples.iter().find(|example| example.outline.was_held_against_host);
    let heard = heard.map(|example| example.finding.certainty_reason.clone());
    let corroboration = match (heard, refused) {
        (Some(heard), Some(refused)) => Some(format!("{heard}; {refused}")),
        (heard, refused) => heard.or(refused),
    };
    let examples = examples.iter().map(|example| example.finding.clone()).collect();
    Watched { incident, open: phase != Phase::Over, phase, examples, corroboration }
}

/// An interface as the report names its inputs.
pub(super) fn status(interface: &Interface, taken: Taken) -> Status {
    let dropped = interface.dropped_by_kernel + interface.dropped_by_interface;
    Status {
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
        ..Status::default()
    }
}
