//! The short form of the report: it fits a terminal of 24 lines, with the verdict at the end.
//!
//! One incident takes [`LINES`] lines at most: the least important parts are left out until it fits. `--verbose` shows
//! the rest, and the last line says so.

use std::io;

use super::{INDENT, Text};
use crate::model::{Certainty, Evidence, Finding, Incident, Report, Severity};
use crate::report::glossary;
use crate::report::step::NextStep;
use crate::report::terminal::{CODE, FAINT, HEADING, Look, PLAIN, TerminalPage, severity_style};
use crate::report::words::{
    alternatives, capital, captured_at, certainty_reason, clearest, ended, endpoints, more, omitted,
    other_names, place, share,
};
use crate::time::Span;

/// Lines of a report with one incident.
pub const LINES: usize = 20;
/// Columns before a line that belongs to a command.
const BELOW_COMMAND: &str = "     ";
/// Incidents with a paragraph; the list has all.
const PARAGRAPHS: usize = 3;

/// Whether inferred settings are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SettingsSection {
    /// They are not.
    #[default]
    Hidden,
    /// They are, before the verdict.
    Shown,
}

/// How much of an incident is shown, from the most to the least.
#[derive(Clone, Copy)]
pub(super) struct Amount {
    packets: usize,
    others: usize,
    steps: usize,
    meaning: bool,
}

/// Nothing left out.
pub(super) const WHOLE: Amount = Amount { packets: 8, others: 3, steps: 3, meaning: true };

const AMOUNTS: [Amount; 7] = [
    WHOLE,
    Amount { packets: 6, others: 2, steps: 2, meaning: true },
    Amount { packets: 6, others: 1, steps: 2, meaning: true },
    Amount { packets: 5, others: 1, steps: 1, meaning: true },
    Amount { packets: 5, others: 0, steps: 1, meaning: true },
    Amount { packets: 5, others: 0, steps: 1, meaning: false },
    Amount { packets: 3, others: 0, steps: 1, meaning: false },
];

/// Writes `report` in short.
///
/// # Errors
/// The writer's error.
pub fn write(
    report: &Report,
    look: Look,
    settings: SettingsSection,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let mut text = Vec::new();
    for amount in AMOUNTS {
        text.clear();
        Text::new(report, TerminalPage::new(&mut text, look)).brief(amount, settings)?;
        let lines = text.iter().filter(|&&byte| byte == b'\n').count();
        if report.incidents.len() != 1 || settings == SettingsSection::Shown || lines <= LINES {
            break;
        }
    }
    out.write_all(&text)
}

impl Text<'_, '_> {
    fn brief(mut self, amount: Amount, settings: SettingsSection) -> io::Result<()> {
        self.inputs()?;
        self.warnings()?;
        let report = self.report;
        if report.incidents.len() != 1 {
            self.found()?;
        }
        let weighty = report.incidents.iter().take_while(|i| i.severity > Severity::Info).count();
        let shown = weighty.clamp(1, PARAGRAPHS).min(report.incidents.len());
        for (i, incident) in report.incidents.iter().take(shown).enumerate() {
            self.paragraph(i + 1, incident, amount)?;
        }
        self.orphans()?;
        if settings == SettingsSection::Shown {
            self.inferred()?;
        }
        let Some(gravest) = report.incidents.first() else { return Ok(()) };
        self.verdict(gravest, amount)?;
        let more = format!("More: -v shows all packets and causes; `synscope explain {}`", gravest.kind);
        self.page.styled_prose(FAINT, "", FAINT, &more)
    }

    /// The incident: its kind, place and size, and the packets that show it.
    fn paragraph(&mut self, number: usize, incident: &Incident, amount: Amount) -> io::Result<()> {
        let findings: Vec<&Finding> =
            incident.findings.iter().filter_map(|id| self.findings.get(id.as_str()).copied()).collect();
        self.page.blank()?;
        let number = if self.report.incidents.len() == 1 { String::new() } else { format!("{number}. ") };
        self.heading(&number, incident)?;
        let mut extent = self.extent(incident);
        let span = incident.last - incident.first;
        if span > Span::ZERO {
            extent = format!("{extent} ({span})");
        }
        if let Some(share) = share(incident) {
            extent = format!("{extent}; {share}");
        }
        self.page.prose(INDENT, &extent)?;
        self.places(incident)?;
        let one = self.report.incidents.len() == 1;
        if !one {
            self.page.prose(INDENT, &incident.cause)?;
        }
        if let Some(finding) = clearest(&findings, incident.certainty).first() {
            self.page.prose(INDENT, &self.example_in_short(finding, amount.packets))?;
        }
        let others = alternatives(&findings);
        if amount.others > 0 && !others.is_empty() {
            let texts: Vec<&str> =
                others.iter().take(amount.others).map(|other| other.suspect.text()).collect();
            self.page.prose(INDENT, &format!("Could also be: {}", texts.join(" ")))?;
        }
        match NextStep::first_command(&incident.next_steps) {
            Some(command) if !one => self.page.line(&[(PLAIN, INDENT), (FAINT, "Next: "), (CODE, command)]),
            _ => Ok(()),
        }
    }

    /// `198.51.100.1:41800 -> 10.0.0.5:8080, captured at the server: #1201 SYN, #1203 SYN-ACK (+1 ms)`.
    fn example_in_short(&self, finding: &Finding, packets: usize) -> String {
        let evidence = &finding.evidence;
        let head = if evidence.len() > packets { packets - 1 } else { evidence.len() };
        let origin = evidence.first().map(|first| first.time);
        let packet = |e: &Evidence| match origin.map(|origin| e.time - origin) {
            Some(span) if span > Span::ZERO => format!("#{} {} (+{span})", e.packet, e.text),
            _ => format!("#{} {}", e.packet, e.text),
        };
        let mut shown: Vec<String> = evidence[..head].iter().map(packet).collect();
        if let Some(rest) = omitted(evidence.len(), head + 1) {
            shown.push(more(rest, "packet"));
        }
        shown.extend(evidence[head..].last().map(packet));
        let mut who = endpoints(finding);
        if let Some(names) = other_names(finding) {
            who.push_str(&format!(" ({names})"));
        }
        let gap = if who.is_empty() { "" } else { ", " };
        format!("{who}{gap}{}: {}", captured_at(finding.vantage), shown.join(", "))
    }

    /// The cause of the gravest incident, who is responsible, how certain that is, and what to do.
    pub(super) fn verdict(&mut self, incident: &Incident, amount: Amount) -> io::Result<()> {
        let findings: Vec<&Finding> =
            incident.findings.iter().filter_map(|id| self.findings.get(id.as_str()).copied()).collect();
        self.page.blank()?;
        if self.report.incidents.len() == 1 {
            self.page.styled_prose(HEADING, "Verdict: ", PLAIN, &ended(&incident.cause))?;
        } else {
            self.heading("Gravest: ", incident)?;
            self.page.prose(INDENT, &ended(&incident.cause))?;
        }
        if amount.meaning {
            self.page.prose(INDENT, glossary::kind(incident.kind))?;
        }
        let reason =
            clearest(&findings, incident.certainty).first().and_then(|finding| certainty_reason(finding));
        let because = reason.map(|reason| format!(": {}", ended(reason))).unwrap_or_else(|| ".".to_owned());
        self.page.prose(
            INDENT,
            &format!(
                "At fault{}: {}. {}{because}",
                if incident.certainty == Certainty::Possible { ", if it is that" } else { "" },
                glossary::responsible_side(incident.kind),
                capital(&incident.certainty.to_string())
            ),
        )?;
        self.steps_in_short(&incident.next_steps, amount.steps)
    }

    fn steps_in_short(&mut self, steps: &[String], limit: usize) -> io::Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        self.page.line(&[(HEADING, "Next")])?;
        for step in steps.iter().take(limit) {
            match NextStep::read(step) {
                NextStep::Command { command, remark } => {
                    self.page.line(&[(PLAIN, INDENT), (CODE, command)])?;
                    if !remark.is_empty() {
                        self.page.styled_prose(FAINT, BELOW_COMMAND, FAINT, remark)?;
                    }
                }
                NextStep::Ending { text, command } => {
                    self.page.prose(INDENT, text)?;
                    self.page.line(&[(PLAIN, BELOW_COMMAND), (CODE, command)])?;
                }
                NextStep::Words(text) => self.page.prose(INDENT, text)?,
            }
        }
        Ok(())
    }

    /// `1. CRITICAL accept-queue-overflow at 10.0.0.5:8080, probable`.
    fn heading(&mut self, lead: &str, incident: &Incident) -> io::Result<()> {
        let severity = incident.severity.to_string().to_uppercase();
        let place = place(incident);
        self.page.line(&[
            (HEADING, lead),
            (severity_style(incident.severity), &severity),
            (HEADING, &format!(" {}", incident.kind)),
            (HEADING, &place),
            (PLAIN, &format!(", {}", incident.certainty)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;
    use crate::report::terminal::Color;

    fn brief(report: &Report, width: usize, settings: SettingsSection) -> String {
        let mut out = Vec::new();
        write(report, Look { width, color: Color::Off }, settings, &mut out).expect("memory can be written");
        String::from_utf8(out).expect("a report is UTF-8")
    }

    #[test]
    fn golden_briefs() {
        insta::assert_snapshot!("brief-overflow", brief(&samples::overflow(), 80, SettingsSection::Hidden));
        insta::assert_snapshot!("brief-mixture", brief(&samples::mixture(), 80, SettingsSection::Hidden));
        insta::assert_snapshot!("brief-clean", brief(&samples::clean(), 80, SettingsSection::Hidden));
    }

    #[test]
    fn one_incident_fits_a_small_terminal_and_ends_with_what_to_do() {
        let text = brief(&samples::overflow(), 80, SettingsSection::Hidden);
        assert!(text.lines().count() <= LINES, "{text}");
        let last: Vec<&str> = text.lines().rev().take(12).collect();
        let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
        for part in ["Verdict: ", "At fault", "Next", "ss -lnt"] {
            assert!(last.contains(part), "{part} is not in the last lines:\n{text}");
        }
    }

    #[test]
    fn settings_are_shown_when_they_are_asked_for() {
        let report = samples::overflow();
        assert!(!brief(&report, 80, SettingsSection::Hidden).contains("tcp_synack_retries"));
        assert!(brief(&report, 80, SettingsSection::Shown).contains("tcp_synack_retries"));
    }

    #[test]
    fn lines_fit_the_width_where_they_can_be_wrapped() {
        for (name, report) in samples::all().into_iter().filter(|(name, _)| *name != "hostile") {
            for line in brief(&report, 80, SettingsSection::Shown).lines() {
                assert!(line.chars().count() <= 80, "{name}: {line}");
                assert_eq!(line, line.trim_end(), "{name}");
            }
        }
    }
}
