//! The running log: a line or a few per event for people, one JSON object per event for programs.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;

use anstyle::Style;

use crate::live::event::{LiveEvent, why_unseen};
use crate::live::incidents::ByIncident;
use crate::live::output::{Next, Output};
use crate::live::phase::Phase;
use crate::live::state::WatchState;
use crate::model::{Certainty, Finding, Incident, Kind, Severity};
use crate::report::terminal::{Color, FAINT, Look, PLAIN, counted, grouped, sanitize, severity_style, wrap};
use crate::time::{Span, Timestamp};

/// The growth of an incident is reported no more often than this.
const GROWTH: Span = Span::secs(5);
/// Counts are meant for programs; the log shows one line in this many.
const STATISTICS: u64 = 6;
/// Of the incidents that open within this time, the first are reported in full, the next in one line, and the others
/// are counted.
const OPENED_WITHIN: Span = Span::secs(10);
const IN_FULL: u64 = 5;
const HEADLINES: u64 = 15;
/// How many incidents are remembered together with their last log line.
const REMEMBERED: usize = 1_024;
/// Further lines of an event begin here.
const INDENT: &str = "              ";

/// One event a line, as JSON.
pub struct JsonLines<W: Write> {
    out: W,
    /// Whether only incidents are reported.
    incidents: Option<ByIncident>,
}

impl<W: Write> JsonLines<W> {
    /// Writes all events to `out`.
    pub fn new(out: W) -> JsonLines<W> {
        JsonLines { out, incidents: None }
    }

    /// Writes to `out` when an incident opens, changes or closes, but not each of its findings.
    pub fn of_incidents(out: W) -> JsonLines<W> {
        JsonLines { out, incidents: Some(ByIncident::default()) }
    }
}

impl<W: Write> Output for JsonLines<W> {
    fn tick(&mut self, _: &WatchState, events: &[LiveEvent]) -> io::Result<Next> {
        let mut lines = Vec::new();
        for event in events {
            if self.incidents.as_mut().is_some_and(|incidents| !incidents.is_news(event)) {
                continue;
            }
            serde_json::to_writer(&mut lines, event)?;
            lines.push(b'\n');
        }
        self.out.write_all(&lines)?;
        // Without news, too: a pipe may have been closed since.
        self.out.flush()?;
        Ok(Next::Go)
    }
}

/// Text for people.
pub struct TextLog<W: Write> {
    out: W,
    look: Look,
    /// The last log line about each open incident.
    said: BTreeMap<String, LoggedIncident>,
    statistics: u64,
    /// Since when opened incidents are counted, and how many there were.
    opened: (Timestamp, u64),
    /// Incidents that had no line of their own.
    untold: u64,
}

/// The last log line about an incident.
struct LoggedIncident {
    /// The finding that was reported in full.
    example: String,
    kind: Kind,
    certainty: Certainty,
    /// Connections at that time.
    connections: u64,
    at: Timestamp,
}

impl<W: Write> TextLog<W> {
    /// Writes to `out`.
    pub fn new(out: W, look: Look) -> TextLog<W> {
        TextLog { out, look, said: BTreeMap::new(), statistics: 0, opened: (Timestamp::MIN, 0), untold: 0 }
    }

    fn line(&mut self, at: &str, style: Style, head: &str, text: &str) -> io::Result<()> {
        let at = clock(at);
        let head = if head.is_empty() { String::new() } else { format!("{}  ", self.paint(style, head)) };
        let text = sanitize(text);
        writeln!(self.out, "{}  {head}{text}", self.paint(FAINT, &at))
    }

    fn paint(&self, style: Style, text: &str) -> String {
        match self.look.color {
            Color::Ansi if style != PLAIN => format!("{style}{text}{style:#}"),
            _ => text.to_owned(),
        }
    }

    fn below(&mut self, text: &str) -> io::Result<()> {
        let width = self.look.width.saturating_sub(INDENT.len()).max(30);
        for line in wrap(&sanitize(text), width) {
            writeln!(self.out, "{INDENT}{line}")?;
        }
        Ok(())
    }

    fn opened(&mut self, state: &WatchState, at: &str, incident: &str, finding: &Finding) -> io::Result<()> {
        if self.said.contains_key(incident) {
            return Ok(());
        }
        let of = state.incidents.iter().find(|watched| watched.incident.id == incident);
        self.said.insert(
            incident.to_owned(),
            LoggedIncident {
                example: finding.id.clone(),
                kind: finding.kind,
                certainty: finding.certainty,
                connections: of.map_or(1, |watched| watched.incident.connections),
                at: state.at,
            },
        );
        if state.at - self.opened.0 >= OPENED_WITHIN {
            self.opened = (state.at, 0);
        }
        self.opened.1 += 1;
        if self.opened.1 > HEADLINES {
            self.untold += 1;
            return Ok(());
        }
        self.headline(at, finding)?;
        if self.opened.1 > IN_FULL {
            return Ok(());
        }
        self.below(&finding.summary)?;
        self.below(&finding.cause.text)?;
        if !finding.certainty_reason.is_empty() {
            self.below(&format!("{}: {}", finding.certainty, finding.certainty_reason))?;
        }
        let next = of.and_then(|watched| watched.incident.next_steps.first().cloned());
        match next {
            Some(next) => self.below(&format!("Next: {next}")),
            None => Ok(()),
        }
    }

    fn headline(&mut self, at: &str, finding: &Finding) -> io::Result<()> {
        let server = or_dash(finding.server);
        let client = finding.client.map(|client| format!(" from {client}")).unwrap_or_default();
        let text = format!("{}  {}  {server}{client}", finding.kind, finding.certainty);
        self.line(at, severity_style(finding.severity), word(finding.severity), &text)
    }

    fn updated(
        &mut self,
        state: &WatchState,
        at: &str,
        was: Option<&str>,
        finding: &Finding,
    ) -> io::Result<()> {
        let before = was.unwrap_or(&finding.id);
        let told = self.said.iter().find(|(_, said)| said.example == before).map(|(id, _)| id.clone());
        // A finding whose kind changes moves to another incident.
        let to = state.incidents.iter().find(|w| w.incident.findings.contains(&finding.id));
        let Some(told) = told else {
            return match to {
                Some(to) if was.is_some() => self.opened(state, at, &to.incident.id, finding),
                _ => Ok(()),
            };
        };
        let Some(mut said) = self.said.remove(&told) else { return Ok(()) };
        let other = (said.kind, said.certainty) != (finding.kind, finding.certainty);
        said.example.clone_from(&finding.id);
        (said.kind, said.certainty) = (finding.kind, finding.certainty);
        self.said.insert(to.map_or(told, |to| to.incident.id.clone()), said);
        if !other {
            return Ok(());
        }
        self.headline(at, finding)?;
        self.below(&format!("now {}: {}", finding.certainty, finding.certainty_reason))?;
        self.below(&finding.cause.text)
    }

    fn changed(
        &mut self,
        at: &str,
        state: Phase,
        incident: &Incident,
        refused: Option<&str>,
    ) -> io::Result<()> {
        // Its end is reported in a line of its own.
        if state == Phase::Over || !self.said.contains_key(&incident.id) {
            return Ok(());
        }
        let listener = or_dash(incident.listener);
        let refused = refused.map(|text| format!(": {text}")).unwrap_or_default();
        let text = format!("{}  {listener}{refused}", incident.kind);
        self.line(at, FAINT, state.name(), &text)
    }

    fn closed(&mut self, at: &str, incident: &Incident) -> io::Result<()> {
        self.said.remove(&incident.id);
        let listener = or_dash(incident.listener);
        let text = format!(
            "{}  {listener}  is over: {}, {}, {} to {}",
            incident.kind,
            counted(incident.connections, "connection"),
            counted(incident.clients, "client"),
            clock(&incident.first.to_string()),
            clock(&incident.last.to_string())
        );
        self.line(at, FAINT, "closed", &text)
    }

    /// Incidents that have grown since their last line.
    fn grown(&mut self, state: &WatchState) -> io::Result<()> {
        let mut lines = Vec::new();
        for watched in state.incidents.iter().filter(|watched| watched.open) {
            let incident = &watched.incident;
            let Some(said) = self.said.get_mut(&incident.id) else { continue };
            if incident.connections > said.connections && state.at - said.at >= GROWTH {
                (said.connections, said.at) = (incident.connections, state.at);
                lines.push((
                    incident.severity,
                    format!(
                        "{}  {}  now {}, {}",
                        incident.kind,
                        or_dash(incident.listener),
                        counted(incident.connections, "connection"),
                        counted(incident.clients, "client")
                    ),
                ));
            }
        }
        let at = state.at.to_string();
        lines
            .into_iter()
            .try_for_each(|(severity, text)| self.line(&at, severity_style(severity), word(severity), &text))
    }
}

impl<W: Write> Output for TextLog<W> {
    fn tick(&mut self, state: &WatchState, events: &[LiveEvent]) -> io::Result<Next> {
        let mut withdrawn: Vec<(&str, &str)> = Vec::new();
        for event in events {
            match event {
                LiveEvent::Opened { at, incident, finding } => self.opened(state, at, incident, finding)?,
                LiveEvent::Updated { at, was, finding } => {
                    self.updated(state, at, was.as_deref(), finding)?
                }
                LiveEvent::Withdrawn { at, reason, .. } => withdrawn.push((at, reason)),
                LiveEvent::Closed { at, incident } => self.closed(at, incident)?,
                LiveEvent::CounterOnly { at, counter, rose, listeners, refused } => {
                    let whose = match (listeners.as_slice(), refused.as_slice()) {
                        ([], []) => String::new(),
                        (some, []) => format!(" (dropped at {})", some.join(", ")),
                        (_, some) => format!(" ({})", some.join("; ")),
                    };
                    let text = format!("{counter} rose by {rose}{whose}: {}", why_unseen(counter));
                    self.line(at, FAINT, "counter", &text)?;
                }
                LiveEvent::Statistics {
                    at, packets, attempts, completed, dropped, tracked, open, ..
                } => {
                    self.statistics += 1;
                    if self.statistics.is_multiple_of(STATISTICS) && *packets > 0 {
                        let text = format!(
                            "in 10 s: {}, {attempts} connections tried, {completed} completed, {dropped} packets dropped; {} in \
                             the tables, {}",
                            counted(*packets, "packet"),
                            grouped(*tracked),
                            counted(*open, "open incident")
                        );
                        self.line(at, FAINT, "counts", &text)?;
                    }
                }
                LiveEvent::Warning { at, text } => {
                    self.line(at, severity_style(Severity::Warning), "note", text)?;
                }
                LiveEvent::Changed { at, state, incident, refused } => {
                    self.changed(at, *state, incident, refused.as_deref())?;
                }
                // Growth is read from the state, whether the findings are listed or only counted.
                LiveEvent::Grew { .. } => {}
            }
        }
        if let Some((at, reason)) = withdrawn.first() {
            let text = format!("{}: {reason}", counted(withdrawn.len() as u64, "finding"));
            self.line(at, FAINT, "withdrawn", &text)?;
        }
        self.grown(state)?;
        if self.untold > 0 && state.at - self.opened.0 >= OPENED_WITHIN {
            let text =
                format!("{} opened as well; the report lists them", counted(self.untold, "other incident"));
            self.untold = 0;
            self.line(&state.at.to_string(), FAINT, "more", &text)?;
        }
        if self.said.len() > REMEMBERED {
            let open = |id: &String| state.incidents.iter().any(|w| w.open && w.incident.id == *id);
            self.said.retain(|id, _| open(id));
        }
        self.out.flush()?;
        Ok(Next::Go)
    }
}

/// `14:03:07.512` of an RFC 3339 time.
fn clock(at: &str) -> String {
    at.get(11..23).unwrap_or(at).to_owned()
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "CRITICAL",
        Severity::Warning => "WARNING",
        Severity::Info => "info",
    }
}
/// An address, or a dash without one.
fn or_dash(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "-".to_owned(), |address| address.to_string())
}
