//! Which events say something new about an incident, and which only repeat it.

use std::collections::BTreeMap;

use crate::live::event::LiveEvent;
use crate::model::{Certainty, Finding, Kind, Severity};

/// How many incidents are remembered together with their last report.
const REMEMBERED: usize = 1_024;

/// The last report on each open incident.
#[derive(Default)]
pub struct ByIncident {
    /// By the id of the incident.
    told: BTreeMap<String, ReportedIncident>,
}

/// The finding that stands for an incident.
struct ReportedIncident {
    example: String,
    what: (Kind, Certainty, Severity),
}

fn what(finding: &Finding) -> (Kind, Certainty, Severity) {
    (finding.kind, finding.certainty, finding.severity)
}

impl ByIncident {
    /// Whether the event says that an incident opened, changed or closed. An event about no incident is always news.
    pub fn is_news(&mut self, event: &LiveEvent) -> bool {
        match event {
            LiveEvent::Opened { incident, finding, .. } => {
                if self.told.contains_key(incident) {
                    return false;
                }
                if self.told.len() >= REMEMBERED {
                    self.told.pop_first();
                }
                let told = ReportedIncident { example: finding.id.clone(), what: what(finding) };
                self.told.insert(incident.clone(), told);
                true
            }
            LiveEvent::Updated { was, finding, .. } => {
                let before = was.as_ref().unwrap_or(&finding.id);
                let Some(told) = self.told.values_mut().find(|told| told.example == *before) else {
                    return false;
                };
                let is_other = told.what != what(finding);
                told.example.clone_from(&finding.id);
                told.what = what(finding);
                is_other
            }
            LiveEvent::Withdrawn { finding, .. } => {
                let before = self.told.len();
                self.told.retain(|_, told| told.example != *finding);
                self.told.len() < before
            }
            LiveEvent::Closed { incident, .. } => {
                self.told.remove(&incident.id);
                true
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn an_incident_is_told_when_it_opens_changes_and_closes() {
        let report = samples::overflow();
        let at = || "2026-11-22T14:03:07Z".to_owned();
        let finding = |n: usize| Box::new(report.findings[n].clone());
        let opened = |n| LiveEvent::Opened { at: at(), incident: "i".to_owned(), finding: finding(n) };
        let updated = |finding| LiveEvent::Updated { at: at(), was: None, finding };
        let mut told = ByIncident::default();
        assert!(told.is_news(&opened(0)));
        assert!(!told.is_news(&opened(1)), "more of the same");
        assert!(!told.is_news(&updated(finding(0))), "as it was");
        assert!(!told.is_news(&updated(finding(1))), "another finding of it");
        let mut surer = finding(0);
        surer.severity = Severity::Info;
        assert!(told.is_news(&updated(surer)));
        let mut incident = report.incidents[0].clone();
        incident.id = "i".to_owned();
        assert!(told.is_news(&LiveEvent::Closed { at: at(), incident: Box::new(incident) }));
        assert!(told.is_news(&opened(0)), "another one by the same name");
    }
}
