//! The report for people: short on top, complete below, fit for a terminal and for an incident ticket.
//!
//! The packets read, their limits, one line per incident; then a paragraph per incident with cause, examples,
//! alternatives and next steps. Where something is left out the text says how much, and that `--format json` has it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io;

use super::clock::TimeFormat;
use super::route::{PATHS, PLACES, POINTS, about_points, path_row, places, point_row};
use super::step::NextStep;
use super::terminal::{CODE, FAINT, HEADING, Look, PLAIN, TerminalPage, columns, counted, severity_style};
use super::words::{
    NAMED_INPUTS, at_least, capital, captured_at, clearest, contents, ended, endpoints, excluded, failures,
    filters, many_inputs, more, most_affected, no_connection, omitted, other_names, paired, place, quality,
    seen_elsewhere, setting_value, settings_title, share, shown_path, time_range, timed, union,
};
use crate::model::{Alternative, Evidence, Finding, Incident, Inferred, Report, Severity};
use crate::time::Span;

pub mod brief;

/// How many incidents have a line on top; nobody reads more on a screen.
const LINES: usize = 200;
/// Incidents with a paragraph of their own.
const PARAGRAPHS: usize = 40;
/// Example connections in a paragraph.
const EXAMPLES: usize = 3;
/// Clients named in a paragraph.
const CLIENTS: usize = 5;
/// Example connections of an incident that harms nobody.
const EXAMPLES_INFO: usize = 1;
/// Packets of one example: the first ones, and the last one.
const PACKETS: usize = 8;
/// Alternatives in a paragraph.
const ALTERNATIVES: usize = 5;
/// Warnings shown for one input, and for the whole report.
const WARNINGS: usize = 10;
/// Inferred settings shown.
const SETTINGS: usize = 20;

/// Writes `report` as text.
///
/// # Errors
/// The writer's error.
pub fn write(report: &Report, look: Look, out: &mut dyn io::Write) -> io::Result<()> {
    Text::new(report, TerminalPage::new(out, look)).write()
}

struct Text<'r, 'w> {
    report: &'r Report,
    page: TerminalPage<'w>,
    clock: TimeFormat,
    findings: HashMap<&'r str, &'r Finding>,
}

impl<'r, 'w> Text<'r, 'w> {
    fn new(report: &'r Report, page: TerminalPage<'w>) -> Text<'r, 'w> {
        let captures = report.captures.iter().flat_map(|c| [c.first, c.last]).flatten();
        let incidents = report.incidents.iter().flat_map(|incident| [incident.first, incident.last]);
        Text {
            report,
            page,
            clock: TimeFormat::new(captures.chain(incidents)),
            findings: report.findings.iter().map(|finding| (finding.id.as_str(), finding)).collect(),
        }
    }

    fn write(mut self) -> io::Result<()> {
        self.inputs()?;
        self.warnings()?;
        self.found()?;
        let report = self.report;
        for (i, incident) in report.incidents.iter().take(PARAGRAPHS).enumerate() {
            self.incident(i + 1, incident)?;
        }
        if let Some(rest) = omitted(report.incidents.len(), PARAGRAPHS) {
            self.page.blank()?;
            self.page
                .prose("", &format!("{} without a paragraph here {JSON_HAS_ALL}", more(rest, "incident")))?;
        }
        self.orphans()?;
        self.inferred()?;
        self.legend()?;
        match report.incidents.first() {
            Some(gravest) => self.verdict(gravest, brief::WHOLE),
            None => Ok(()),
        }
    }

    /// The packets read: a line per input, the time, the totals.
    fn inputs(&mut self) -> io::Result<()> {
        let captures = &self.report.captures;
        if captures.len() > NAMED_INPUTS {
            self.page.styled_prose(HEADING, "", HEADING, &many_inputs(captures))?;
        }
        for capture in captures.iter().filter(|_| captures.len() <= NAMED_INPUTS) {
            self.page.styled_prose(
                HEADING,
                &format!("{}: ", shown_path(&capture.path)),
                PLAIN,
                &contents(capture),
            )?;
        }
        let summary = &self.report.summary;
        let mut totals = counted(summary.connections, "TCP connection");
        if captures.len() != 1 {
            totals = format!(
                "together {}, {}, {totals}",
                counted(summary.packets, "packet"),
                counted(summary.tcp_segments, "TCP segment")
            );
        }
        if let Some(time) = time_range(&timed(self.report)) {
            totals = format!("{totals}; {time}");
        }
        self.page.prose("", &totals)?;
        if let Some(filters) = filters(self.report) {
            self.page.prose("", &filters)?;
        }
        for sentence in failures(summary) {
            self.page.prose("", &sentence)?;
        }
        match quality(&self.report.quality) {
            facts if facts.is_empty() => {}
            facts => self.page.prose("", &format!("capture quality: {}", facts.join("; ")))?,
        }
        for pair in &self.report.pairs {
            self.page.blank()?;
            for sentence in paired(pair) {
                self.page.prose("", &sentence)?;
            }
        }
        self.points()
    }

    /// The capture points, and which connections passed which of them.
    fn points(&mut self) -> io::Result<()> {
        let report = self.report;
        if report.points.is_empty() {
            return Ok(());
        }
        self.page.blank()?;
        self.page.prose("", &about_points(report))?;
        for point in report.points.iter().take(POINTS) {
            let [name, captures, connections, clock] = point_row(point);
            self.page
                .prose(INDENT, &format!("{name}: {captures}, {connections} connections, clock {clock}"))?;
        }
        if let Some(rest) = omitted(report.points.len(), POINTS) {
            self.page.prose(INDENT, &format!("{} {JSON_HAS_ALL}", more(rest, "point")))?;
        }
        for path in report.paths.iter().take(PATHS) {
            let [points, connections, listeners] = path_row(path);
            self.page.prose(INDENT, &format!("{connections} connections {points} for {listeners}"))?;
        }
        match omitted(report.paths.len(), PATHS) {
            Some(rest) => self.page.prose(INDENT, &format!("{} {JSON_HAS_ALL}", more(rest, "path"))),
            None => Ok(()),
        }
    }

    /// The limits of the report, before its contents.
    fn warnings(&mut self) -> io::Result<()> {
        let mut said = HashSet::new();
        let mut lines = Vec::new();
        for capture in &self.report.captures {
            let path = shown_path(&capture.path);
            let mut own: Vec<String> = Vec::new();
            for warning in &capture.warnings {
                if said.insert(warning.as_str()) {
                    let named = warning.starts_with(&format!("{}:", capture.path));
                    own.push(if named { warning.clone() } else { format!("{path}: {warning}") });
                }
            }
            let rest = omitted(own.len(), WARNINGS);
            lines.extend(own.into_iter().take(WARNINGS));
            lines.extend(rest.map(|rest| format!("{path}: {} {JSON_HAS_ALL}", more(rest, "warning"))));
        }
        if let Some(rest) = omitted(lines.len(), NAMED_INPUTS) {
            lines.truncate(NAMED_INPUTS);
            lines.push(format!("{} {JSON_HAS_ALL}", more(rest, "warning")));
        }
        let general: Vec<&String> =
            self.report.warnings.iter().filter(|warning| said.insert(warning.as_str())).collect();
        let known: HashSet<String> = lines.iter().cloned().collect();
        let general: Vec<&String> = general.into_iter().filter(|warning| !known.contains(*warning)).collect();
        lines.extend(general.iter().take(WARNINGS).map(|&warning| warning.clone()));
        lines.extend(
            omitted(general.len(), WARNINGS).map(|rest| format!("{} {JSON_HAS_ALL}", more(rest, "warning"))),
        );
        if lines.is_empty() {
            return Ok(());
        }
        self.page.blank()?;
        self.page.line(&[(HEADING, "What limits this report")])?;
        for line in lines {
            self.page.styled_prose(severity_style(Severity::Warning), "! ", PLAIN, &line)?;
        }
        Ok(())
    }

    /// One line per incident, or the sentence that there is no incident.
    fn found(&mut self) -> io::Result<()> {
        self.page.blank()?;
        let incidents = &self.report.incidents;
        if incidents.is_empty() && self.report.findings.is_empty() {
            let text = match self.report.summary.connections {
                0 => no_connection(self.report),
                _ if self.report.summary.failed_unexplained > 0 => {
                    "Connections failed, and nothing that was found explains why.".to_owned()
                }
                n => format!(
                    "Nothing was found in {}. A capture does not show what happens inside an application, on paths \
                     and hosts it did not pass, or before and after it was taken.",
                    counted(n, "TCP connection")
                ),
            };
            return self.page.styled_prose(PLAIN, "", HEADING, &text);
        }
        let findings = self.report.findings.len() as u64;
        let head = format!(
            "Found {} ({})",
            counted(incidents.len() as u64, "incident"),
            counted(findings, "finding")
        );
        self.page.line(&[(HEADING, &head)])?;

        let shown = &incidents[..incidents.len().min(LINES)];
        let rows: Vec<IncidentRow> =
            shown.iter().enumerate().map(|(i, incident)| self.row(i + 1, incident)).collect();
        let widest = |cell: &dyn Fn(&IncidentRow) -> usize| rows.iter().map(cell).max().unwrap_or(0);
        let number = widest(&|row| row.number.len());
        let kind = widest(&|row| row.kind.len());
        let listener = widest(&|row| columns(&row.listener));
        let extent = widest(&|row| columns(&row.extent));
        let head = number + 2 + SEVERITY + 2 + kind + 2 + CERTAINTY + 2 + listener;
        let one_line = head + 2 + extent <= self.page.width();
        for row in &rows {
            let mut parts = vec![
                (FAINT, format!("{:>number$}  ", row.number)),
                (
                    severity_style(row.severity),
                    format!("{:SEVERITY$}", row.severity.to_string().to_uppercase()),
                ),
                (HEADING, format!("  {:kind$}", row.kind)),
                (PLAIN, format!("  {:CERTAINTY$}", row.certainty)),
                (PLAIN, format!("  {:listener$}", row.listener)),
            ];
            let below = format!("{:indent$}{}", "", row.extent, indent = number + 2 + SEVERITY + 2);
            if one_line {
                parts.push((PLAIN, format!("  {}", row.extent)));
            }
            let parts: Vec<_> = parts.iter().map(|(style, text)| (*style, text.as_str())).collect();
            self.page.line(&parts)?;
            if !one_line {
                self.page.line(&[(PLAIN, &below)])?;
            }
        }
        if let Some(rest) = omitted(incidents.len(), LINES) {
            self.page.prose("", &format!("{} {JSON_HAS_ALL}", more(rest, "incident")))?;
        }
        Ok(())
    }

    fn row(&self, number: usize, incident: &Incident) -> IncidentRow {
        IncidentRow {
            number: number.to_string(),
            severity: incident.severity,
            kind: incident.kind.to_string(),
            certainty: incident.certainty.to_string(),
            listener: incident.listener.map_or_else(|| "-".to_owned(), |listener| listener.to_string()),
            extent: self.extent(incident),
        }
    }

    /// `41 connections, 12 clients, 14:03:07-14:03:52 UTC`.
    fn extent(&self, incident: &Incident) -> String {
        let mut parts = Vec::new();
        if incident.connections > 0 {
            parts.push(format!("{}{}", at_least(incident), counted(incident.connections, "connection")));
        }
        if incident.clients > 0 {
            parts.push(counted(incident.clients, "client"));
        }
        parts.push(self.clock.interval(incident.first, incident.last));
        parts.join(", ")
    }

    fn incident(&mut self, number: usize, incident: &Incident) -> io::Result<()> {
        let findings: Vec<&Finding> =
            incident.findings.iter().filter_map(|id| self.findings.get(id.as_str()).copied()).collect();
        let number = format!("{number}. ");
        let severity = incident.severity.to_string().to_uppercase();
        let place = place(incident);
        let certainty = format!(", {}", incident.certainty);
        self.page.blank()?;
        self.page.line(&[
            (FAINT, &number),
            (severity_style(incident.severity), &severity),
            (HEADING, &format!(" {}", incident.kind)),
            (HEADING, &place),
            (PLAIN, &certainty),
        ])?;
        let mut extent = self.extent(incident);
        let span = incident.last - incident.first;
        if span > Span::ZERO {
            extent = format!("{extent} ({span})");
        }
        self.page.prose(INDENT, &extent)?;
        self.places(incident)?;
        self.share(incident)?;
        self.page.blank()?;
        self.page.prose(INDENT, &incident.cause)?;
        self.certainty(incident, &findings)?;
        self.names(&findings)?;
        self.related(incident)?;
        self.examples(incident, &findings)?;
        self.excluded(&findings)?;
        self.alternatives(&findings)?;
        self.next_steps(&incident.next_steps)
    }

    /// Where on the path it happened.
    fn places(&mut self, incident: &Incident) -> io::Result<()> {
        places(incident).iter().take(PLACES).try_for_each(|said| self.page.prose(INDENT, said))
    }

    /// What share of the attempts it was, whether the listener recovered, and how it spread over time.
    fn share(&mut self, incident: &Incident) -> io::Result<()> {
        if let Some(said) = share(incident) {
            self.page.prose(INDENT, &said)?;
        }
        self.clients(incident)?;
        match &incident.rate {
            Some(rate) if rate.counts.len() > 1 => {
                let most = rate.counts.iter().copied().max().unwrap_or(0);
                let legend = format!("  up to {most} in {}", Span::secs(rate.step_s as i64));
                self.page.line(&[(PLAIN, INDENT), (PLAIN, &bars(&rate.counts)), (FAINT, &legend)])
            }
            _ => Ok(()),
        }
    }

    /// The clients that were hit most, if there are more than the examples show.
    fn clients(&mut self, incident: &Incident) -> io::Result<()> {
        match most_affected(incident, CLIENTS).filter(|_| incident.findings.len() > EXAMPLES) {
            Some(clients) => self.page.prose(INDENT, &format!("most affected: {clients}")),
            None => Ok(()),
        }
    }

    /// The reason for its certainty.
    fn certainty(&mut self, incident: &Incident, findings: &[&Finding]) -> io::Result<()> {
        let reason =
            findings.iter().find(|f| f.certainty == incident.certainty).map(|f| f.certainty_reason.as_str());
        match reason.filter(|reason| !reason.is_empty()) {
            Some(reason) => {
                self.page.prose(INDENT, &format!("{}: {reason}.", capital(&incident.certainty.to_string())))
            }
            None => Ok(()),
        }
    }

    /// The related incidents.
    fn related(&mut self, incident: &Incident) -> io::Result<()> {
        for link in &incident.related {
            let Some(at) = self.report.incidents.iter().position(|other| other.id == link.incident) else {
                continue;
            };
            let text = format!("{} ({}): {}", at + 1, self.report.incidents[at].kind, link.how);
            self.page.styled_prose(FAINT, &format!("{INDENT}see also       "), PLAIN, &text)?;
        }
        Ok(())
    }

    /// The kernel's own names: functions, counters, settings.
    fn names(&mut self, findings: &[&Finding]) -> io::Result<()> {
        for (lead, names) in [
            ("in the kernel  ", union(findings, |finding| &finding.cause.kernel_functions)),
            ("counters       ", union(findings, |finding| &finding.cause.counters)),
            ("settings       ", union(findings, |finding| &finding.cause.sysctls)),
        ] {
            if !names.is_empty() {
                self.page.styled_prose(FAINT, &format!("{INDENT}{lead}"), PLAIN, &names.join(", "))?;
            }
        }
        Ok(())
    }

    fn examples(&mut self, incident: &Incident, findings: &[&Finding]) -> io::Result<()> {
        let best = clearest(findings, incident.certainty);
        let limit = if incident.severity == Severity::Info { EXAMPLES_INFO } else { EXAMPLES };
        for finding in best.iter().take(limit) {
            self.page.blank()?;
            self.example(finding)?;
        }
        if let Some(rest) = omitted(findings.len(), limit) {
            let noun = if findings.iter().all(|finding| finding.client.is_some()) {
                "connection"
            } else {
                "finding"
            };
            self.page.blank()?;
            self.page.styled_prose(PLAIN, INDENT, FAINT, &format!("{} {JSON_HAS_ALL}", more(rest, noun)))?;
        }
        Ok(())
    }

    /// One connection: who, what, and the packets that show it.
    fn example(&mut self, finding: &Finding) -> io::Result<()> {
        let who = endpoints(finding);
        let gap = if who.is_empty() { "" } else { "  " };
        let vantage = captured_at(finding.vantage);
        self.page.line(&[(PLAIN, INDENT), (HEADING, &who), (FAINT, gap), (FAINT, vantage)])?;
        if let Some(names) = other_names(finding) {
            self.page.styled_prose(FAINT, &format!("{INDENT}= "), FAINT, &names)?;
        }
        self.page.prose(INDENT, &finding.summary)?;
        self.evidence(&finding.evidence)
    }

    /// The capture that the packets are in, if there are several captures: named once if it is the same, per packet
    /// otherwise.
    fn capture_of(&mut self, evidence: &[Evidence]) -> io::Result<CaptureNaming> {
        if self.report.captures.len() < 2 {
            return Ok(CaptureNaming::Once);
        }
        let capture = &evidence[0].capture;
        if evidence.iter().any(|e| e.capture != *capture) {
            return Ok(CaptureNaming::EachPacket);
        }
        self.page.line(&[(PLAIN, INDENT), (FAINT, "  in "), (FAINT, shown_path(capture))])?;
        Ok(CaptureNaming::Once)
    }

    fn evidence(&mut self, evidence: &[Evidence]) -> io::Result<()> {
        let Some(origin) = evidence.first().map(|first| first.time) else { return Ok(()) };
        let hidden = omitted(evidence.len(), PACKETS);
        let head = if hidden.is_some() { PACKETS - 1 } else { evidence.len() };
        let shown = || evidence[..head].iter().chain(evidence[head..].last());
        let naming = self.capture_of(evidence)?;
        let packet = shown().map(|e| e.packet.to_string().len() + 1).max().unwrap_or(0);
        let times: Vec<String> = shown()
            .enumerate()
            .map(|(i, e)| match (i, e.time - origin) {
                (0, _) => self.clock.milli(e.time),
                (_, span) => format!("{}{span}", if span.0 < 0 { "" } else { "+" }),
            })
            .collect();
        let time = times.iter().map(|time| columns(time)).max().unwrap_or(0);
        let own = (naming == CaptureNaming::EachPacket).then_some(self.report.captures.as_slice());
        for (i, (e, when)) in shown().zip(&times).enumerate() {
            if let (Some(hidden), true) = (hidden, i == head) {
                let text = format!("{} {JSON_HAS_ALL}", more(hidden, "packet"));
                self.page.styled_prose(PLAIN, &format!("{INDENT}  "), FAINT, &text)?;
            }
            let text = format!("{}{}", e.text, seen_elsewhere(e, own));
            let number = format!("#{}", e.packet);
            self.page.styled_prose(
                CODE,
                &format!("{INDENT}  {number:packet$}  {when:time$}  "),
                PLAIN,
                &text,
            )?;
        }
        Ok(())
    }

    /// Alternatives that one capture alone left open.
    fn excluded(&mut self, findings: &[&Finding]) -> io::Result<()> {
        let excluded = excluded(findings);
        if excluded.is_empty() {
            return Ok(());
        }
        self.page.blank()?;
        self.page.line(&[(PLAIN, INDENT), (HEADING, "Excluded by the other capture")])?;
        for cause in excluded.iter().take(ALTERNATIVES) {
            self.page.prose(
                BULLET,
                &format!("{} For example: {}", ended(cause.suspect.text()), ended(&cause.reason)),
            )?;
        }
        Ok(())
    }

    fn alternatives(&mut self, findings: &[&Finding]) -> io::Result<()> {
        let mut seen = HashSet::new();
        let alternatives: Vec<&Alternative> = findings
            .iter()
            .flat_map(|finding| &finding.alternatives)
            .filter(|alternative| seen.insert(alternative.suspect.text()))
            .collect();
        if alternatives.is_empty() {
            return Ok(());
        }
        self.page.blank()?;
        self.page.line(&[(PLAIN, INDENT), (HEADING, "Could also be")])?;
        for alternative in alternatives.iter().take(ALTERNATIVES) {
            let mut text = alternative.suspect.to_string();
            if !alternative.why_less_likely.is_empty() {
                text = format!("{} Less likely: {}", ended(&text), ended(&alternative.why_less_likely));
            }
            self.page.prose(BULLET, &text)?;
        }
        if let Some(rest) = omitted(alternatives.len(), ALTERNATIVES) {
            self.page.prose(BULLET, &format!("{} {JSON_HAS_ALL}", more(rest, "alternative")))?;
        }
        Ok(())
    }

    /// Commands stand alone on their line, in one piece, without anything to strip after copying.
    fn next_steps(&mut self, steps: &[String]) -> io::Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        self.page.blank()?;
        self.page.line(&[(PLAIN, INDENT), (HEADING, "Next")])?;
        for step in steps {
            match NextStep::read(step) {
                NextStep::Command { command, remark } => {
                    self.page.line(&[(PLAIN, BULLET), (CODE, command)])?;
                    if !remark.is_empty() {
                        self.page.prose(BELOW_BULLET, remark)?;
                    }
                }
                NextStep::Ending { text, command } => {
                    self.page.prose(BULLET, text)?;
                    self.page.line(&[(PLAIN, BELOW_BULLET), (PLAIN, "  "), (CODE, command)])?;
                }
                NextStep::Words(text) => self.page.prose(BULLET, text)?,
            }
        }
        Ok(())
    }

    /// Findings without an incident: there should be none, and they must not be lost.
    fn orphans(&mut self) -> io::Result<()> {
        let claimed: HashSet<&str> = self
            .report
            .incidents
            .iter()
            .flat_map(|incident| &incident.findings)
            .map(String::as_str)
            .collect();
        let report = self.report;
        let orphans: Vec<&Finding> =
            report.findings.iter().filter(|finding| !claimed.contains(finding.id.as_str())).collect();
        if orphans.is_empty() {
            return Ok(());
        }
        self.page.blank()?;
        self.page.line(&[(HEADING, "Findings outside these incidents")])?;
        for finding in orphans.iter().take(EXAMPLES) {
            self.page.blank()?;
            let severity = finding.severity.to_string().to_uppercase();
            let rest = format!(" {}", finding.kind);
            let certainty = format!(", {}", finding.certainty);
            self.page.line(&[
                (PLAIN, INDENT),
                (severity_style(finding.severity), &severity),
                (HEADING, &rest),
                (PLAIN, &certainty),
            ])?;
            self.example(finding)?;
        }
        if let Some(rest) = omitted(orphans.len(), EXAMPLES) {
            self.page.prose(INDENT, &format!("{} {JSON_HAS_ALL}", more(rest, "finding")))?;
        }
        Ok(())
    }

    fn inferred(&mut self) -> io::Result<()> {
        let inferred = &self.report.inferred;
        if inferred.is_empty() {
            return Ok(());
        }
        self.page.blank()?;
        self.page.line(&[(HEADING, settings_title(inferred))])?;
        let alike = alike(inferred);
        for (Inferred { host, setting, value, from }, others) in alike.iter().take(SETTINGS) {
            let others = match others {
                0 => String::new(),
                n => format!(" and {}", counted(*n as u64, "other host")),
            };
            self.page.line(&[
                (PLAIN, INDENT),
                (PLAIN, &format!("{host}{others}  ")),
                (CODE, &setting_is(setting, value)),
            ])?;
            self.page.styled_prose(PLAIN, "     ", FAINT, &format!("from {from}"))?;
        }
        if let Some(rest) = omitted(alike.len(), SETTINGS) {
            self.page.prose(INDENT, &format!("{} {JSON_HAS_ALL}", more(rest, "setting")))?;
        }
        Ok(())
    }

    /// How to read it, for someone who finds this in a ticket.
    fn legend(&mut self) -> io::Result<()> {
        let Some(incident) = self.report.incidents.first() else { return Ok(()) };
        let text = format!(
            "#1 is packet 1 of the capture, as Wireshark numbers it. Confirmed: the packets admit no other cause. \
             Probable: the best of several. Possible: this capture cannot tell. More on a kind: `synscope explain {}`",
            incident.kind
        );
        self.page.blank()?;
        self.page.styled_prose(PLAIN, "", FAINT, &text)
    }
}

/// Indentation below an incident's heading.
const INDENT: &str = "   ";
/// An item of a list there.
const BULLET: &str = "   - ";
/// The lines below its first.
const BELOW_BULLET: &str = "     ";
/// Columns of the longest severity.
const SEVERITY: usize = "CRITICAL".len();
/// Columns of the longest certainty.
const CERTAINTY: usize = "confirmed".len();
/// Where the rest is.
const JSON_HAS_ALL: &str = "(--format json lists all)";

/// How often the capture of a packet is named.
#[derive(PartialEq, Eq)]
enum CaptureNaming {
    /// At most once, above the packets.
    Once,
    /// Behind each packet.
    EachPacket,
}

/// An incident's line in the list on top.
struct IncidentRow {
    number: String,
    severity: Severity,
    kind: String,
    certainty: String,
    listener: String,
    extent: String,
}

/// Settings, with how many more hosts have the same value: many clients with one value are one line.
fn alike(inferred: &[Inferred]) -> Vec<(&Inferred, usize)> {
    let mut alike: Vec<(&Inferred, usize)> = Vec::new();
    let mut places: HashMap<_, usize> = HashMap::new();
    for one in inferred {
        match places.entry((&one.setting, one.value.to_string())) {
            Entry::Occupied(place) => alike[*place.get()].1 += 1,
            Entry::Vacant(place) => {
                place.insert(alike.len());
                alike.push((one, 0));
            }
        }
    }
    alike
}

/// `net.ipv4.tcp_fin_timeout (s) at most 61`, if the value is a limit.
fn setting_is(setting: &str, value: &serde_json::Value) -> String {
    let (is_exact, said) = setting_value(value);
    format!("{setting}{} {said}", if is_exact { " =" } else { "" })
}

/// One bar per step: `▂ ▁█`.
fn bars(counts: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let bar = |n: u64| if n == 0 { ' ' } else { BARS[((n * 8).div_ceil(most) - 1) as usize] };
    counts.iter().map(|&n| bar(n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;
    use crate::report::samples;
    use crate::report::terminal::{Color, is_hostile};

    fn rendered(report: &Report, width: usize, color: Color) -> String {
        let mut out = Vec::new();
        write(report, Look { width, color }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn plain(report: &Report) -> String {
        rendered(report, 100, Color::Off)
    }

    #[test]
    fn golden_texts() {
        for (name, report) in samples::all() {
            insta::assert_snapshot!(name, plain(&report));
        }
    }

    #[test]
    fn golden_widths() {
        insta::assert_snapshot!("overflow-80", rendered(&samples::overflow(), 80, Color::Off));
        insta::assert_snapshot!("mixture-80", rendered(&samples::mixture(), 80, Color::Off));
        insta::assert_snapshot!("mixture-200", rendered(&samples::mixture(), 200, Color::Off));
    }

    #[test]
    fn golden_colours() {
        let shown = rendered(&samples::mixture(), 120, Color::Ansi).replace('\x1b', "␛");
        insta::assert_snapshot!("mixture-colour", shown);
    }

    #[test]
    fn no_string_of_a_capture_steers_the_terminal() {
        for (name, report) in samples::all() {
            let text = plain(&report);
            assert!(!text.chars().any(|c| c != '\n' && is_hostile(c)), "{name}: {text:?}");
            // With colours, what remains after taking out our own sequences must be just as clean.
            let coloured = anstream::adapter::strip_str(&rendered(&report, 100, Color::Ansi)).to_string();
            assert!(!coloured.chars().any(|c| c != '\n' && is_hostile(c)), "{name}");
        }
    }

    #[test]
    fn lines_fit_the_width_where_they_can_be_wrapped() {
        for (name, report) in samples::all().into_iter().filter(|(name, _)| *name != "hostile") {
            for width in [80, 100, 120] {
                for line in rendered(&report, width, Color::Off).lines() {
                    assert!(columns(line) <= width, "{name} at {width}: {line}");
                    assert_eq!(line, line.trim_end(), "{name} at {width}");
                }
            }
        }
    }

    #[test]
    fn what_is_left_out_is_said() {
        assert!(plain(&samples::overflow()).contains("… and 38 more connections (--format json lists all)"));
        let mut many = samples::mixture();
        let one = many.incidents[5].clone();
        many.incidents.extend(std::iter::repeat_n(one, 250));
        let text = plain(&many);
        assert!(text.contains("… and 56 more incidents (--format json lists all)"), "{text}");
        assert!(text.contains("… and 216 more incidents without a paragraph here"), "{text}");
        assert!(text.contains("… and 12 more packets (--format json lists all)"), "{text}");
    }

    #[test]
    fn a_setting_that_a_crowd_of_hosts_has_is_one_line() {
        let mut report = samples::clean();
        let of = |host: u8, value| Inferred {
            host: format!("192.0.2.{host}").into(),
            setting: "net.ipv4.tcp_syn_retries".to_owned(),
            value,
            from: "their SYNs".to_owned(),
        };
        report.inferred = (1..=9).map(|host| of(host, serde_json::json!({ "least": 2 }))).collect();
        report.inferred.push(of(10, serde_json::json!({ "least": 1, "most": 3 })));
        let text = plain(&report);
        assert!(
            text.contains("192.0.2.1 and 8 other hosts  net.ipv4.tcp_syn_retries at least 2\n"),
            "{text}"
        );
        assert!(text.contains("192.0.2.10  net.ipv4.tcp_syn_retries 1 to 3\n"), "{text}");
    }

    #[test]
    fn the_last_example_is_one_that_went_otherwise() {
        let mut report = samples::overflow();
        let last = report.findings.len() - 1;
        let usual = report.findings[0].severity;
        report.findings.iter_mut().for_each(|finding| finding.severity = usual);
        report.findings[last].severity = Severity::Info;
        report.findings[last].certainty = report.findings[0].certainty;
        let who = report.findings[last].client.expect("a client").to_string();
        assert!(plain(&report).contains(&format!("{who} -> ")));
    }

    #[test]
    fn a_finding_without_an_incident_does_not_vanish() {
        let mut report = samples::overflow();
        report.incidents.clear();
        let text = plain(&report);
        assert!(text.contains("Found 0 incidents (41 findings)"), "{text}");
        assert!(text.contains("… and 38 more findings"), "{text}");
    }

    #[test]
    fn the_same_warning_is_not_said_twice() {
        assert_eq!(plain(&samples::damaged()).matches("cut off or overwritten").count(), 1);
    }

    #[test]
    fn commands_stand_alone_and_whole() {
        let text = rendered(&samples::overflow(), 40, Color::Off);
        assert!(text.lines().any(|line| line.trim() == "- ss -lnt 'sport = :8080'"), "{text}");
        assert!(text.lines().any(|line| line.trim() == "nstat -az TcpExtListenOverflows TcpExtListenDrops"));
    }

    #[test]
    fn every_kind_fits_the_list() {
        for kind in Kind::ALL {
            let mut report = samples::overflow();
            report.incidents[0].kind = kind;
            assert!(plain(&report).contains(kind.name()));
        }
    }
}
