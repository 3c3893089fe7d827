//! Findings that are only counted: there are too many of one kind at one listener to list each.

use std::collections::{HashMap, HashSet};

use super::{IncidentKey, IssuedFindings, ListenerKey, QUIET, name_of, named};
use crate::decode::segment::Address;
use crate::detect::Draft;
use crate::live::event::LiveEvent;
use crate::model::Incident;
use crate::time::{Span, Timestamp};

/// How often growing counts are reported.
const GROWTH: Span = Span::secs(5);

/// How many client addresses of one incident are distinguished where its findings are only counted.
const MOST_CLIENTS: usize = 65_536;

/// How many kinds at listeners may have findings that are only counted: a scan of ports makes one of each.
const MOST_FOLDED: usize = 4_096;

/// Findings that are only counted.
#[derive(Clone, Default)]
pub(super) struct CountedFindings {
    pub(super) count: u64,
    clients: HashSet<Address>,
    pub(super) until: Timestamp,
    told: u64,
    told_at: Timestamp,
}

impl IssuedFindings {
    /// Counts a finding.
    pub(super) fn fold(&mut self, place: ListenerKey, draft: &Draft) {
        let name = named(place);
        if !self.folded.contains_key(&name) {
            if self.folded.len() >= MOST_FOLDED {
                self.forgotten += 1;
                return;
            }
            // Findings that are listed must not be counted again.
            let listed = self.entries.values().filter(|entry| !entry.over);
            let here = listed.map(|entry| &*entry.draft).filter(|d| (d.kind, d.server) == place);
            let clients = here.filter_map(|draft| draft.client.map(|client| client.address)).collect();
            self.folded.insert(name, CountedFindings { clients, ..CountedFindings::default() });
        }
        let Some(folded) = self.folded.get_mut(&name) else { return };
        folded.count += 1;
        folded.until = folded.until.max(draft.during().1);
        if folded.clients.len() < MOST_CLIENTS {
            folded.clients.extend(draft.client.map(|client| client.address));
        }
    }

    pub(super) fn folded_of(&self, incident: &Incident) -> Option<&CountedFindings> {
        if self.folded.is_empty() { None } else { self.folded.get(&name_of(incident)) }
    }

    /// Reports the counts from time to time.
    pub(super) fn grow(&mut self, now: Timestamp, events: &mut Vec<LiveEvent>) {
        if self.folded.is_empty() {
            return;
        }
        let latest: HashMap<IncidentKey, &Incident> = self.open.iter().map(|i| (name_of(i), i)).collect();
        let mut due = Vec::new();
        let mut gone = 0;
        self.folded.retain(|name, folded| {
            let Some(incident) = latest.get(name) else {
                // None of its findings is listed, or its incident has ended.
                let stays = now - folded.until < QUIET;
                gone += if stays { 0 } else { folded.count };
                return stays;
            };
            if folded.count > folded.told && now - folded.told_at >= GROWTH {
                (folded.told, folded.told_at) = (folded.count, now);
                due.push((*incident).clone());
            }
            true
        });
        self.forgotten += gone;
        for incident in due {
            events.push(LiveEvent::Grew { at: now.to_string(), incident: Box::new(self.whole(&incident)) });
        }
    }

    /// An incident with its counted findings added.
    pub(super) fn whole(&self, incident: &Incident) -> Incident {
        let mut whole = incident.clone();
        if let Some(folded) = self.folded_of(incident) {
            whole.connections += folded.count;
            whole.clients = whole.clients.max(folded.clients.len() as u64);
            whole.last = self.last(incident);
        }
        whole
    }

    /// How many findings are only counted in open incidents.
    pub fn folded(&self) -> u64 {
        self.folded.values().map(|folded| folded.count).sum()
    }
}
