//! Two reports compared: which incidents are new, gone, worse, better. Did the fix work?
//!
//! Incidents of the same kind at the same listener are the same one: times and clients differ from one capture to the
//! next. They are compared by the share of all connections that they hit, because captures differ in length.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::json::write_document;
use super::markup::Flavor;
use super::terminal::{FAINT, HEADING, Look, PLAIN, TerminalPage, counted, grouped, severity_style};
use crate::model::{Certainty, Kind, Report, Severity};

/// A share that changes by less than this part of itself counts as unchanged: captures are samples.
const NOISE: f64 = 0.1;

/// The change of an incident. The gravest news first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentChange {
    /// It was not there before.
    New,
    /// It is graver, or hits a larger share of the connections.
    Worse,
    /// It is as it was.
    Same,
    /// It is less grave, or hits a smaller share.
    Better,
    /// It is not there any more.
    Gone,
}

impl IncidentChange {
    const ALL: [IncidentChange; 5] = [
        IncidentChange::New,
        IncidentChange::Worse,
        IncidentChange::Same,
        IncidentChange::Better,
        IncidentChange::Gone,
    ];

    /// In a sentence.
    pub const fn name(self) -> &'static str {
        match self {
            IncidentChange::New => "new",
            IncidentChange::Worse => "worse",
            IncidentChange::Same => "same",
            IncidentChange::Better => "better",
            IncidentChange::Gone => "gone",
        }
    }
}

/// One side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DiffSide {
    /// The gravest severity.
    pub severity: Severity,
    /// The highest certainty.
    pub certainty: Certainty,
    /// Incidents of this kind there.
    pub incidents: u64,
    /// Connections hit; or findings, if they are not about connections.
    pub hit: u64,
    /// `hit` as a part of all connections of the report, 0 to 1.
    pub share: f64,
}

/// One kind at one listener, before and after.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DiffRow {
    /// Its change.
    pub change: IncidentChange,
    /// The kind.
    pub kind: Kind,
    /// The listener; null when it is about hosts.
    pub listener: Option<String>,
    /// In the old report.
    pub old: Option<DiffSide>,
    /// In the new one.
    pub new: Option<DiffSide>,
}

/// Two reports compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diff {
    /// The gravest news first.
    pub incidents: Vec<DiffRow>,
    /// Connections in the old report.
    pub old_connections: u64,
    /// Connections in the new one.
    pub new_connections: u64,
}

impl Diff {
    /// Compares `old` with `new`; incidents that are less severe than `least` on both sides are left out.
    pub fn of(old: &Report, new: &Report, least: Severity) -> Diff {
        let (before, after) = (states(old), states(new));
        let mut places: Vec<_> = before.keys().chain(after.keys()).cloned().collect();
        places.sort();
        places.dedup();
        let mut incidents: Vec<DiffRow> = places
            .into_iter()
            .map(|(kind, listener)| {
                let place = (kind, listener);
                let (old, new) = (before.get(&place).copied(), after.get(&place).copied());
                DiffRow { change: change(old, new), kind, listener: place.1, old, new }
            })
            .filter(|row| row.severity() >= least)
            .collect();
        incidents.sort_by_key(|row| (row.change, std::cmp::Reverse(row.severity())));
        Diff { incidents, old_connections: old.summary.connections, new_connections: new.summary.connections }
    }

    /// Whether something is new or worse.
    pub fn is_worse(&self) -> bool {
        self.incidents.iter().any(|row| matches!(row.change, IncidentChange::New | IncidentChange::Worse))
    }

    /// `1 new, 2 gone`.
    fn sentence(&self) -> String {
        let counts = IncidentChange::ALL.iter().filter_map(|change| {
            let n = self.incidents.iter().filter(|row| row.change == *change).count();
            (n > 0).then(|| format!("{} {}", grouped(n as u64), change.name()))
        });
        let counts: Vec<String> = counts.collect();
        let what =
            if counts.is_empty() { "no incident in either report".to_owned() } else { counts.join(", ") };
        format!(
            "Compared {} before with {} after: {what}.",
            counted(self.old_connections, "connection"),
            grouped(self.new_connections)
        )
    }
}

impl DiffRow {
    fn severity(&self) -> Severity {
        self.old.iter().chain(&self.new).map(|state| state.severity).max().unwrap_or(Severity::Info)
    }

    fn listener(&self) -> &str {
        self.listener.as_deref().unwrap_or("-")
    }
}

fn states(report: &Report) -> BTreeMap<(Kind, Option<String>), DiffSide> {
    let mut states: BTreeMap<(Kind, Option<String>), DiffSide> = BTreeMap::new();
    for incident in &report.incidents {
        let hit =
            if incident.connections > 0 { incident.connections } else { incident.findings.len() as u64 };
        let state = states
            .entry((incident.kind, incident.listener.map(|listener| listener.to_string())))
            .or_insert(DiffSide {
                severity: incident.severity,
                certainty: incident.certainty,
                incidents: 0,
                hit: 0,
                share: 0.0,
            });
        state.severity = state.severity.max(incident.severity);
        state.certainty = state.certainty.max(incident.certainty);
        state.incidents += 1;
        state.hit += hit;
    }
    for state in states.values_mut() {
        state.share = state.hit as f64 / report.summary.connections.max(1) as f64;
    }
    states
}

fn change(old: Option<DiffSide>, new: Option<DiffSide>) -> IncidentChange {
    let (Some(old), Some(new)) = (old, new) else {
        return if old.is_none() { IncidentChange::New } else { IncidentChange::Gone };
    };
    match new.severity.cmp(&old.severity) {
        std::cmp::Ordering::Greater => IncidentChange::Worse,
        std::cmp::Ordering::Less => IncidentChange::Better,
        std::cmp::Ordering::Equal if new.share > old.share * (1.0 + NOISE) => IncidentChange::Worse,
        std::cmp::Ordering::Equal if new.share < old.share * (1.0 - NOISE) => IncidentChange::Better,
        std::cmp::Ordering::Equal => IncidentChange::Same,
    }
}

/// `41 (0.80 %)`, or `-`.
fn cell(state: Option<DiffSide>) -> String {
    state.map_or("-".to_owned(), |state| format!("{} ({:.2} %)", grouped(state.hit), state.share * 100.0))
}

/// Writes `diff` as text.
///
/// # Errors
/// The writer's error.
pub fn write_text(diff: &Diff, look: Look, out: &mut dyn io::Write) -> io::Result<()> {
    let mut page = TerminalPage::new(out, look);
    page.styled_prose(PLAIN, "", HEADING, &diff.sentence())?;
    if diff.incidents.is_empty() {
        return Ok(());
    }
    page.blank()?;
    let width = |of: &dyn Fn(&DiffRow) -> usize| diff.incidents.iter().map(of).max().unwrap_or(0);
    let kinds = width(&|row| row.kind.name().len());
    let listeners = width(&|row| row.listener().chars().count());
    let olds = width(&|row| cell(row.old).len());
    for row in &diff.incidents {
        page.line(&[
            (severity_style(row.severity()), &format!("{:6}", row.change.name().to_uppercase())),
            (HEADING, &format!("  {:kinds$}", row.kind)),
            (PLAIN, &format!("  {:listeners$}", row.listener())),
            (PLAIN, &format!("  {:>olds$}", cell(row.old))),
            (FAINT, " -> "),
            (PLAIN, &cell(row.new)),
        ])?;
    }
    page.blank()?;
    page.styled_prose(PLAIN, "", FAINT, "Connections hit, and their share of all connections of the report.")
}

/// Writes `diff` as a table for a ticket.
///
/// # Errors
/// The writer's error.
pub fn write_markdown(diff: &Diff, flavor: Flavor, out: &mut dyn io::Write) -> io::Result<()> {
    writeln!(out, "{}\n", flavor.plain(&diff.sentence()))?;
    if diff.incidents.is_empty() {
        return Ok(());
    }
    out.write_all(
        flavor.table_head(&["Change", "Severity", "Finding", "Listener", "Before", "After"]).as_bytes(),
    )?;
    for row in &diff.incidents {
        let cells = [
            flavor.strong(row.change.name()),
            row.severity().to_string(),
            flavor.code(row.kind.name()),
            row.listener.as_deref().map(|listener| flavor.code(listener)).unwrap_or_default(),
            cell(row.old),
            cell(row.new),
        ];
        out.write_all(flavor.row(&cells).as_bytes())?;
    }
    Ok(())
}

/// Writes `diff` as JSON.
///
/// # Errors
/// The writer's error.
pub fn write_json(diff: &Diff, out: &mut dyn io::Write) -> io::Result<()> {
    write_document(diff, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn changes(old: &Report, new: &Report) -> Vec<(IncidentChange, Kind)> {
        Diff::of(old, new, Severity::Info).incidents.iter().map(|row| (row.change, row.kind)).collect()
    }

    #[test]
    fn the_same_report_has_no_news() {
        for (name, report) in samples::all() {
            let diff = Diff::of(&report, &report, Severity::Info);
            assert!(diff.incidents.iter().all(|row| row.change == IncidentChange::Same), "{name}");
            assert!(!diff.is_worse(), "{name}");
        }
    }

    #[test]
    fn incidents_come_and_go() {
        let (clean, overflow) = (samples::clean(), samples::overflow());
        assert_eq!(changes(&clean, &overflow), [(IncidentChange::New, Kind::AcceptQueueOverflow)]);
        assert_eq!(changes(&overflow, &clean), [(IncidentChange::Gone, Kind::AcceptQueueOverflow)]);
        assert!(Diff::of(&clean, &overflow, Severity::Critical).is_worse());
        assert!(!Diff::of(&overflow, &clean, Severity::Critical).is_worse());
    }

    #[test]
    fn the_share_counts_and_not_the_number() {
        let old = samples::overflow();
        let mut longer = old.clone();
        longer.summary.connections *= 10;
        longer.incidents[0].connections *= 10;
        assert_eq!(changes(&old, &longer)[0].0, IncidentChange::Same);
        longer.incidents[0].connections *= 2;
        assert_eq!(changes(&old, &longer)[0].0, IncidentChange::Worse);
        assert_eq!(changes(&longer, &old)[0].0, IncidentChange::Better);
        longer.incidents[0].severity = Severity::Info;
        assert_eq!(changes(&old, &longer)[0].0, IncidentChange::Better, "severity first");
    }

    #[test]
    fn what_is_below_the_least_severity_is_left_out() {
        let diff = Diff::of(&samples::clean(), &samples::mixture(), Severity::Warning);
        assert!(diff.incidents.iter().all(|row| row.severity() >= Severity::Warning));
        assert_eq!(diff.incidents.len(), 4);
    }

    #[test]
    fn golden_tables() {
        let diff = Diff::of(&samples::mixture(), &samples::overflow(), Severity::Info);
        let mut text = Vec::new();
        write_text(&diff, Look::default(), &mut text).unwrap();
        insta::assert_snapshot!("text", String::from_utf8(text).unwrap());
        let mut markdown = Vec::new();
        write_markdown(&diff, Flavor::Github, &mut markdown).unwrap();
        insta::assert_snapshot!("markdown", String::from_utf8(markdown).unwrap());
        let mut json = Vec::new();
        write_json(&diff, &mut json).unwrap();
        insta::assert_snapshot!("json", String::from_utf8(json).unwrap());
    }
}
