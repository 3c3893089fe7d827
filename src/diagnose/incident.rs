//! Findings of one kind at one listener in one stretch of time are one incident.

use std::collections::{BTreeMap, BTreeSet};

use crate::detect::draft::Draft;
use crate::diagnose::write::{Written, id};
use crate::flow::key::Host;
use crate::report::model::{Incident, Kind};
use crate::time::{Span, Timestamp};

/// Findings further apart than this belong to different incidents.
const APART: Span = Span::secs(120);

/// Groups findings, which are in order of time, into incidents: the gravest first, then in order of time.
pub fn group(written: &[Written]) -> Vec<Incident> {
    let mut by_place: BTreeMap<(Kind, Option<Host>), Vec<&Written>> = BTreeMap::new();
    for w in written {
        by_place.entry((w.draft.kind, w.draft.server)).or_default().push(w);
    }
    let mut incidents = Vec::new();
    for ((kind, listener), mut all) in by_place {
        all.sort_by_key(|w| first(&w.draft));
        let mut stretch: Vec<&Written> = Vec::new();
        let mut until = Timestamp::MIN;
        for w in all {
            if !stretch.is_empty() && first(&w.draft) - until > APART {
                incidents.push(incident(kind, listener, &stretch));
                stretch.clear();
            }
            until = until.max(last(&w.draft));
            stretch.push(w);
        }
        incidents.push(incident(kind, listener, &stretch));
    }
    incidents.sort_by(|a, b| {
        (b.severity, a.first.as_str(), a.kind, &a.listener).cmp(&(
            a.severity,
            b.first.as_str(),
            b.kind,
            &b.listener,
        ))
    });
    incidents
}

fn first(d: &Draft) -> Timestamp {
    d.during().0
}

fn last(d: &Draft) -> Timestamp {
    d.during().1
}

fn incident(kind: Kind, listener: Option<Host>, stretch: &[&Written]) -> Incident {
    let from = stretch.iter().map(|w| first(&w.draft)).min().unwrap_or_default();
    let to = stretch.iter().map(|w| last(&w.draft)).max().unwrap_or_default();
    let clients: BTreeSet<_> = stretch.iter().filter_map(|w| w.draft.client.map(|c| c.address)).collect();
    let gravest = stretch.iter().max_by_key(|w| (w.draft.severity, w.finding.certainty));
    let listener = listener.map(|host| host.socket().to_string());
    let name = format!("{kind} {} {}", listener.as_deref().unwrap_or("-"), from.0);
    Incident {
        id: id("i", &name),
        kind,
        severity: stretch
            .iter()
            .map(|w| w.draft.severity)
            .max()
            .unwrap_or(crate::report::model::Severity::Info),
        certainty: stretch
            .iter()
            .map(|w| w.finding.certainty)
            .max()
            .unwrap_or(crate::report::model::Certainty::Possible),
        listener,
        cause: gravest.map(|w| w.draft.cause.text.clone()).unwrap_or_default(),
        first: from.to_string(),
        last: to.to_string(),
        connections: stretch.iter().filter(|w| w.draft.client.is_some()).count() as u64,
        clients: clients.len() as u64,
        findings: stretch.iter().map(|w| w.finding.id.clone()).collect(),
        next_steps: gravest.map(|w| w.draft.next_steps.clone()).unwrap_or_default(),
    }
}
