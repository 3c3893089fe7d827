//! The report for a ticket: Markdown of GitHub and GitLab, or Jira's wiki markup. Short unless asked for everything.
//!
//! The short form fits the size that trackers allow for one comment: summary, incidents, the gravest ones with one
//! ladder and the next steps. It names everything that it leaves out.

use std::collections::HashMap;
use std::io;

use super::clock::TimeFormat;
use super::glossary::{self, ExplainedTerms};
use super::ladder;
pub use super::markup::Flavor;
use super::route::{
    PATH_COLUMNS, PATHS, PLACES, POINT_COLUMNS, POINTS, about_points, path_row, places, point_row,
};
use super::step::NextStep;
use super::summary;
use super::terminal::{counted, grouped};
use super::words::{
    alternatives, captured_at, certainty_reason, clearest, contents, ended, endpoints, excluded, extent,
    failures, filters, more, most_affected, omitted, other_names, paired, place, quality, seen_elsewhere,
    setting_value, settings_title, share, shown_path, sole_capture, time_range, timed, trust, union,
};
use crate::model::{Evidence, Finding, Incident, Report};

/// How much is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Length {
    /// What fits a comment.
    #[default]
    Short,
    /// Everything.
    Full,
}

/// How the report is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MarkdownOptions {
    /// Where it is to be pasted.
    pub flavor: Flavor,
    /// How much of it.
    pub length: Length,
}

/// The limits of the short form.
struct ShortLimits {
    rows: usize,
    incidents: usize,
    examples: usize,
    packets: usize,
    warnings: usize,
    clients: usize,
}

const SHORT: ShortLimits =
    ShortLimits { rows: 20, incidents: 3, examples: 1, packets: 10, warnings: 5, clients: 3 };
const FULL: ShortLimits = ShortLimits {
    rows: usize::MAX,
    incidents: usize::MAX,
    examples: 3,
    packets: 40,
    warnings: usize::MAX,
    clients: 10,
};

/// Writes `report`.
///
/// # Errors
/// The writer's error.
pub fn write(report: &Report, options: MarkdownOptions, out: &mut dyn io::Write) -> io::Result<()> {
    let captures = report.captures.iter().flat_map(|c| [c.first, c.last]).flatten();
    let incidents = report.incidents.iter().flat_map(|incident| [incident.first, incident.last]);
    let mut page = MarkdownPage {
        report,
        flavor: options.flavor,
        length: options.length,
        limits: if options.length == Length::Full { FULL } else { SHORT },
        clock: TimeFormat::new(captures.chain(incidents)),
        findings: report.findings.iter().map(|finding| (finding.id.as_str(), finding)).collect(),
        explained: ExplainedTerms::default(),
    };
    out.write_all(page.head().as_bytes())?;
    for (i, incident) in report.incidents.iter().take(page.limits.incidents).enumerate() {
        out.write_all(page.incident(i + 1, incident).as_bytes())?;
    }
    out.write_all(page.foot().as_bytes())
}

struct MarkdownPage<'r> {
    report: &'r Report,
    flavor: Flavor,
    length: Length,
    limits: ShortLimits,
    clock: TimeFormat,
    findings: HashMap<&'r str, &'r Finding>,
    explained: ExplainedTerms,
}

impl MarkdownPage<'_> {
    /// Title, summary, the table of incidents.
    fn head(&self) -> String {
        let f = self.flavor;
        let mut out = f.heading(2, "TCP diagnosis");
        let [read, found, next] = summary::sentences(self.report);
        out.push_str(&format!("{} {} {}\n\n", f.text(&read), f.text(&found), f.text(&next)));
        let failures = failures(&self.report.summary);
        if !failures.is_empty() {
            out.push_str(&format!("{}\n\n", f.text(&failures.join(" "))));
        }
        for pair in &self.report.pairs {
            let [common, clock] = paired(pair);
            out.push_str(&format!("{} {}\n\n", f.text(&common), f.text(&clock)));
        }
        out.push_str(&self.points());
        out.push_str(&self.quality());
        out.push_str(&self.warnings());
        let incidents = &self.report.incidents;
        if incidents.is_empty() {
            return out;
        }
        out.push_str(&f.table_head(&[
            "No.",
            "Severity",
            "Finding",
            "Certainty",
            "Listener",
            "Extent",
            "Time",
        ]));
        for (i, incident) in incidents.iter().take(self.limits.rows).enumerate() {
            out.push_str(&f.row(&[
                (i + 1).to_string(),
                incident.severity.to_string(),
                f.code(incident.kind.name()),
                incident.certainty.to_string(),
                incident.listener.map(|listener| f.code(&listener.to_string())).unwrap_or_default(),
                f.plain(&extent(incident)),
                f.plain(&self.clock.interval(incident.first, incident.last)),
            ]));
        }
        out.push('\n');
        if let Some(rest) = omitted(incidents.len(), self.limits.rows) {
            out.push_str(&format!("{}\n\n", self.left_out(rest, "incident")));
        }
        out
    }

    /// The capture points, and which connections passed which of them.
    fn points(&self) -> String {
        let (f, report) = (self.flavor, self.report);
        if report.points.is_empty() {
            return String::new();
        }
        let mut out = format!("{}\n\n{}", f.text(&about_points(report)), f.table_head(&POINT_COLUMNS));
        for point in report.points.iter().take(POINTS) {
            out.push_str(&f.row(&point_row(point).map(|cell| f.plain(&cell))));
        }
        out.push('\n');
        if !report.paths.is_empty() {
            out.push_str(&f.table_head(&PATH_COLUMNS));
            for path in report.paths.iter().take(PATHS) {
                out.push_str(&f.row(&path_row(path).map(|cell| f.plain(&cell))));
            }
            out.push('\n');
        }
        for (rest, noun) in
            [(omitted(report.points.len(), POINTS), "point"), (omitted(report.paths.len(), PATHS), "path")]
        {
            out.push_str(&rest.map(|rest| format!("{}\n\n", self.left_out(rest, noun))).unwrap_or_default());
        }
        out
    }

    /// `… and 3 more incidents` with where they are.
    fn left_out(&self, rest: usize, noun: &str) -> String {
        let f = self.flavor;
        format!("{} ({} lists all)", more(rest, noun), f.code("--format html"))
    }

    /// How far the captures can be trusted, if there is any doubt.
    fn quality(&self) -> String {
        let f = self.flavor;
        match quality(&self.report.quality) {
            facts if facts.is_empty() => String::new(),
            facts => format!(
                "{} {}.{}\n\n",
                f.strong("Capture quality:"),
                f.plain(&facts.join("; ")),
                trust(&self.report.quality)
            ),
        }
    }

    fn warnings(&self) -> String {
        let f = self.flavor;
        let mut lines: Vec<String> = Vec::new();
        for capture in &self.report.captures {
            let own = |w: &String| {
                if w.starts_with(&format!("{}:", capture.path)) {
                    w.clone()
                } else {
                    format!("{}: {w}", shown_path(&capture.path))
                }
            };
            lines.extend(capture.warnings.iter().map(own));
        }
        lines.extend(self.report.warnings.iter().cloned());
        let mut seen = std::collections::HashSet::new();
        lines.retain(|line| seen.insert(line.clone()));
        if lines.is_empty() {
            return String::new();
        }
        let mut out = format!("{}\n\n", f.strong("What limits this report"));
        lines.iter().take(self.limits.warnings).for_each(|line| out.push_str(&f.item(&f.text(line))));
        if let Some(rest) = omitted(lines.len(), self.limits.warnings) {
            out.push_str(&f.item(&self.left_out(rest, "warning")));
        }
        out.push('\n');
        out
    }

    fn incident(&mut self, number: usize, incident: &Incident) -> String {
        let f = self.flavor;
        let findings: Vec<&Finding> =
            incident.findings.iter().filter_map(|id| self.findings.get(id.as_str()).copied()).collect();
        let best = clearest(&findings, incident.certainty);
        let mut out = f.heading(
            3,
            &format!(
                "{number}. {} {} {}",
                incident.severity,
                f.code(incident.kind.name()),
                f.text(&place(incident))
            ),
        );
        out.push_str(&format!(
            "{} {}\n\n",
            f.text(glossary::kind(incident.kind)),
            f.text(&ended(&incident.cause))
        ));
        let reason = best.first().and_then(|finding| certainty_reason(finding));
        let because = reason.map(|reason| format!(": {}", f.text(&ended(reason)))).unwrap_or_default();
        let span = Some(incident.last - incident.first).filter(|span| span.0 > 0);
        let during = span.map(|span| format!(" ({span})")).unwrap_or_default();
        out.push_str(&f.item(&format!("{}{because}", f.strong(&incident.certainty.to_string()))));
        out.push_str(&f.item(&f.plain(&format!(
            "{}, {}{during}",
            extent(incident),
            self.clock.interval(incident.first, incident.last)
        ))));
        for place in places(incident).iter().take(PLACES) {
            out.push_str(&f.item(&f.strong(&f.plain(place))));
        }
        if let Some(share) = share(incident) {
            out.push_str(&f.item(&f.plain(&share)));
        }
        if let Some(clients) = most_affected(incident, self.limits.clients) {
            out.push_str(&f.item(&f.text(&format!("most affected: {clients}"))));
        }
        for link in &incident.related {
            if let Some(at) = self.report.incidents.iter().position(|other| other.id == link.incident) {
                let kind = self.report.incidents[at].kind;
                out.push_str(&f.item(&format!(
                    "see also {}. {}: {}",
                    at + 1,
                    f.code(kind.name()),
                    f.text(&link.how)
                )));
            }
        }
        if self.length == Length::Full {
            out.push_str(&f.item(&format!("incident {}", f.code(&incident.id))));
        }
        out.push_str(&self.names(&findings));
        out.push('\n');
        out.push_str(&self.words(incident, &findings, best.first().copied()));
        for finding in best.iter().take(self.limits.examples) {
            out.push_str(&self.example(finding));
        }
        out.push_str(&self.excluded(&findings));
        out.push_str(&self.not_excluded(&findings));
        out.push_str(&self.next_steps(&incident.next_steps));
        if self.length == Length::Full {
            out.push_str(&self.all(&findings));
        }
        out
    }

    /// The kernel's own names, each explained where it first appears.
    fn names(&mut self, findings: &[&Finding]) -> String {
        let f = self.flavor;
        let mut out = String::new();
        for (lead, names) in [
            ("in the kernel", union(findings, |finding| &finding.cause.kernel_functions)),
            ("counters", union(findings, |finding| &finding.cause.counters)),
            ("settings", union(findings, |finding| &finding.cause.sysctls)),
        ] {
            let names: Vec<String> = names
                .iter()
                .map(|name| match self.explained.kernel(name) {
                    Some(meaning) => format!("{} ({})", f.code(name), f.plain(meaning)),
                    None => f.code(name),
                })
                .collect();
            if !names.is_empty() {
                out.push_str(&f.item(&format!("{lead}: {}", names.join(", "))));
            }
        }
        out
    }

    fn example(&self, finding: &Finding) -> String {
        let f = self.flavor;
        let sole = sole_capture(finding, &self.report.captures);
        let mut out = format!(
            "{}, {}{}: {}\n\n",
            f.code(&endpoints(finding)),
            captured_at(finding.vantage),
            sole.map(|path| format!(", packets of {}", f.code(path))).unwrap_or_default(),
            f.text(&finding.summary)
        );
        if let Some(names) = other_names(finding) {
            out.push_str(&format!("{}\n\n", f.text(&format!("The same connection: {names}."))));
        }
        let several = Some(self.report.captures.as_slice()).filter(|all| all.len() > 1 && sole.is_none());
        let named = |evidence: &Evidence| seen_elsewhere(evidence, several);
        out.push_str(&f.fenced(&ladder::text(&finding.evidence, self.clock, self.limits.packets, named)));
        if let Some(filters) = &finding.display_filters {
            out.push_str(&format!("In Wireshark: {}", f.code(&filters.connection)));
            for filter in &filters.elsewhere {
                let capture = filter.capture.as_deref().unwrap_or_default();
                out.push_str(&format!("; in {}: {}", f.code(capture), f.code(&filter.filter)));
            }
            out.push_str("\n\n");
        }
        out
    }

    /// Alternatives that one capture alone left open.
    fn excluded(&self, findings: &[&Finding]) -> String {
        let f = self.flavor;
        let all = excluded(findings);
        if all.is_empty() {
            return String::new();
        }
        let mut out = format!("{}\n\n", f.strong("Excluded by the other capture"));
        for cause in all {
            out.push_str(&f.item(&f.text(&format!(
                "{} For example: {}",
                ended(cause.suspect.text()),
                ended(&cause.reason)
            ))));
        }
        out.push('\n');
        out
    }

    fn not_excluded(&self, findings: &[&Finding]) -> String {
        let f = self.flavor;
        let alternatives = alternatives(findings);
        if alternatives.is_empty() {
            return String::new();
        }
        let mut out = format!("{}\n\n", f.strong("Could also be"));
        for alternative in alternatives {
            let why = match alternative.why_less_likely.as_ref() {
                "" => String::new(),
                why => format!(" Less likely: {}", f.text(&ended(why))),
            };
            out.push_str(&f.item(&format!("{}{why}", f.text(&ended(alternative.suspect.text())))));
        }
        out.push('\n');
        out
    }

    fn next_steps(&mut self, steps: &[String]) -> String {
        let f = self.flavor;
        if steps.is_empty() {
            return String::new();
        }
        let mut out = format!("{}\n\n", f.strong("Next"));
        for step in steps {
            let item = match NextStep::read(step) {
                NextStep::Command { command, remark: "" } => f.code(command),
                NextStep::Command { command, remark } => {
                    format!("{}: {}", f.code(command), f.text(remark))
                }
                NextStep::Ending { text, command } => format!("{} {}", f.text(text), f.code(command)),
                NextStep::Words(text) => f.text(text),
            };
            let names = self.kernel_names([step.as_str()].into_iter());
            out.push_str(&f.item(&format!("{item}{names}")));
        }
        out.push('\n');
        out
    }

    /// The names of the kernel that appear in `texts` for the first time, with their meanings in parentheses.
    fn kernel_names<'t>(&mut self, texts: impl Iterator<Item = &'t str>) -> String {
        let f = self.flavor;
        let names: Vec<String> = self
            .explained
            .kernel_in(texts)
            .iter()
            .map(|(name, meaning)| format!("{}: {}", f.code(name), f.plain(meaning)))
            .collect();
        if names.is_empty() { String::new() } else { format!(" ({})", names.join("; ")) }
    }

    /// Words of TCP and names of the kernel that appear for the first time.
    fn words(&mut self, incident: &Incident, findings: &[&Finding], example: Option<&Finding>) -> String {
        let f = self.flavor;
        let mut texts = vec![incident.cause.as_str()];
        if let Some(finding) = example {
            texts.push(&finding.certainty_reason);
            texts.push(&finding.summary);
            texts.extend(finding.evidence.iter().map(|evidence| evidence.text.as_ref()));
        }
        let words = self.explained.words(texts.iter().copied());
        let others =
            alternatives(findings).into_iter().flat_map(|a| [a.suspect.text(), a.why_less_likely.as_ref()]);
        texts.extend(
            others.chain(excluded(findings).into_iter().flat_map(|e| [e.suspect.text(), e.reason.as_str()])),
        );
        let names = self.explained.kernel_in(texts.into_iter());
        if words.is_empty() && names.is_empty() {
            return String::new();
        }
        let words = words.iter().map(|(word, meaning)| (f.plain(word), *meaning));
        let names = names.iter().map(|(name, meaning)| (f.code(name), *meaning));
        let words: Vec<String> = words
            .chain(names)
            .map(|(word, meaning)| format!("{}: {}", f.strong(&word), f.plain(meaning)))
            .collect();
        format!(
            "{}. {}\n\n",
            words.join("; "),
            f.text(&format!("More: `synscope explain {}`", incident.kind))
        )
    }

    /// Every finding of an incident, one row each.
    fn all(&self, findings: &[&Finding]) -> String {
        let f = self.flavor;
        let title = match findings.len() as u64 {
            1 => "The finding".to_owned(),
            n => format!("All {}", counted(n, "finding")),
        };
        let mut out = f.table_head(&["Finding", "Client", "Certainty", "From", "What", "Packets"]);
        for finding in findings {
            let packets = finding.display_filters.iter().flat_map(|filters| &filters.packets);
            out.push_str(&f.row(&[
                f.code(&finding.id),
                finding.client.map(|client| f.code(&client.to_string())).unwrap_or_default(),
                finding.certainty.to_string(),
                f.plain(&self.clock.milli(finding.first)),
                f.text(&finding.summary),
                packets.map(|p| f.code(&p.filter)).collect::<Vec<_>>().join(" "),
            ]));
        }
        out.push('\n');
        f.folded(&title, &out)
    }

    /// Omissions, settings, the inputs, how to read it.
    fn foot(&mut self) -> String {
        let f = self.flavor;
        let report = self.report;
        let mut out = String::new();
        if let Some(rest) = omitted(report.incidents.len(), self.limits.incidents) {
            out.push_str(&format!("{}\n\n", self.left_out(rest, "incident")));
        }
        let claimed: usize = report.incidents.iter().map(|incident| incident.findings.len()).sum();
        if let Some(rest) = omitted(report.findings.len(), claimed) {
            out.push_str(&format!("{}\n\n", self.left_out(rest, "finding")));
        }
        if !report.inferred.is_empty() {
            out.push_str(&f.heading(3, settings_title(&report.inferred)));
            out.push_str(&f.table_head(&["Host", "Setting", "Value", "Read from"]));
            for setting in report.inferred.iter().take(self.limits.rows) {
                let (_, value) = setting_value(&setting.value);
                let names = [setting.setting.as_str(), &value, &setting.from];
                let names = self.kernel_names(names.into_iter());
                out.push_str(&f.row(&[
                    f.code(&setting.host.to_string()),
                    format!("{}{names}", f.code(&setting.setting)),
                    f.code(&value),
                    f.text(&setting.from),
                ]));
            }
            out.push('\n');
            if let Some(rest) = omitted(report.inferred.len(), self.limits.rows) {
                out.push_str(&format!("{}\n\n", self.left_out(rest, "setting")));
            }
        }
        out.push_str(&self.inputs());
        let mut legend = String::new();
        if !report.incidents.is_empty() {
            legend.push_str(
                "Confirmed: the packets admit no other cause. Probable: the best of several. Possible: this capture \
                 cannot tell. Numbers of packets are those of Wireshark. ",
            );
        }
        legend.push_str(concat!("Written by synscope ", env!("CARGO_PKG_VERSION"), "."));
        out.push_str(&f.plain(&legend));
        out.push('\n');
        out
    }

    fn inputs(&self) -> String {
        let f = self.flavor;
        let report = self.report;
        if self.length == Length::Short {
            return String::new();
        }
        let mut out = f.heading(3, "What was read");
        if let Some(filters) = filters(report) {
            out.push_str(&f.item(&f.text(&filters)));
        }
        for capture in &report.captures {
            out.push_str(&f.item(&format!(
                "{}: {}",
                f.code(shown_path(&capture.path)),
                f.plain(&contents(capture))
            )));
        }
        let summary = &report.summary;
        let totals = format!(
            "together {} packets, {} TCP segments, {}",
            grouped(summary.packets),
            grouped(summary.tcp_segments),
            counted(summary.connections, "TCP connection")
        );
        out.push_str(&f.item(&f.plain(&totals)));
        if let Some(time) = time_range(&timed(report)) {
            out.push_str(&f.item(&f.plain(&time)));
        }
        out.push('\n');
        out
    }
}

#[cfg(test)]
mod tests;
