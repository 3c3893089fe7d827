//! How an incident goes on: growing, steady, recovering, over.

use std::collections::BTreeMap;

use crate::detect::registry;
use crate::detect::spec::Property;
use crate::live::sockets::{AddressTrouble, ListenSockets};
pub use crate::live::state::Phase;
use crate::model::Incident;
use crate::time::{Span, Timestamp};

/// A queue that is not full and has dropped nothing for this long recovers.
const DRAINED: Span = Span::millis(1_500);
/// An incident without a new connection for this long does not grow.
const UNCHANGED: Span = Span::secs(10);
/// A full queue that has dropped nothing for this long is steady.
const WITHOUT_DROPS: Span = Span::secs(3);
/// A queue that has recovered for this long is well.
const WELL: Span = Span::secs(10);

/// The course of an incident so far.
struct IncidentCourse {
    connections: u64,
    grew: Timestamp,
    phase: Phase,
}

/// The course of each open incident, by id.
#[derive(Default)]
pub(super) struct IncidentCourses(BTreeMap<String, IncidentCourse>);

impl IncidentCourses {
    /// Updates the open incidents, and returns those whose phase has changed by what the kernel shows.
    pub(super) fn follow(
        &mut self,
        open: &[Incident],
        sockets: &ListenSockets,
        now: Timestamp,
    ) -> Vec<(Incident, Phase)> {
        let mut changed = Vec::new();
        self.0.retain(|id, _| open.iter().any(|incident| incident.id == *id));
        for incident in open {
            let size = incident.connections.max(incident.findings.len() as u64);
            let course = self.0.entry(incident.id.clone()).or_insert(IncidentCourse {
                connections: size,
                grew: now,
                phase: Phase::Growing,
            });
            if size > course.connections {
                (course.connections, course.grew) = (size, now);
            }
            let trouble = trouble(incident, sockets);
            let phase = phase(course, trouble, now);
            if phase != course.phase {
                course.phase = phase;
                // A change of phase is reported only if the kernel shows it. That no connection was added for a while
                // is not reported.
                changed.extend(trouble.map(|_| (incident.clone(), phase)));
            }
        }
        changed
    }

    /// The phase of an open incident.
    pub(super) fn of(&self, id: &str) -> Phase {
        self.0.get(id).map(|course| course.phase).unwrap_or_default()
    }
}

/// The kernel's data about the queue that the incident is about.
fn trouble(incident: &Incident, sockets: &ListenSockets) -> Option<AddressTrouble> {
    if !registry::spec(incident.kind).has(Property::QueueWasFull) {
        return None;
    }
    let trouble = sockets.trouble(incident.listener?)?;
    trouble.dropped.is_some().then_some(trouble)
}

fn phase(course: &IncidentCourse, trouble: Option<AddressTrouble>, now: Timestamp) -> Phase {
    let Some(AddressTrouble { dropped, full }) = trouble else {
        return if now - course.grew < UNCHANGED { Phase::Growing } else { Phase::Steady };
    };
    let quiet = now - dropped.unwrap_or(course.grew);
    match full {
        true if quiet < WITHOUT_DROPS => Phase::Growing,
        true => Phase::Steady,
        false if quiet < DRAINED => Phase::Growing,
        false if quiet >= WELL && now - course.grew >= WELL => Phase::Over,
        false => Phase::Recovering,
    }
}
