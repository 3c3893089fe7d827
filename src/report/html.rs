//! The report as one page for a browser: no network, no script, light and dark, fit for paper.
//!
//! Readers who know TCP only roughly read it from the top. Readers who know the kernel open the folded parts. The page
//! stays small however much was found: it names its omissions, and the JSON report has them all.
//!
//! Every string of the report goes through `escape` or `rich`. If markup got past them, the content security policy of
//! the page would still forbid scripts, images and connections.

mod chart;
mod escape;
mod footer;
mod packets;
mod points;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;

use self::chart::ChartInterval;
use self::escape::{code, escape, rich};
use self::packets::Legend;
use super::clock::TimeFormat;
use super::glossary::{self, ExplainedTerms};
use super::route::{PLACES, places};
use super::step::NextStep;
use super::summary;
use super::terminal::{counted, grouped};
use super::words::{
    alternatives, capital, captured_at, certainty_reason, clearest, ended, endpoints, excluded, extent,
    failures, more, omitted, other_names, paired, place, quality, ranked, share, shown_path, timed, trust,
    union,
};
use crate::model::{Finding, Incident, Report, Severity};
use crate::time::Span;

/// Incidents with a row in the list, and those of them that are visible at first.
const ROWS: usize = 1_000;
/// See [`ROWS`].
const OPEN_ROWS: usize = 15;
/// Incidents whose sections are open; those of no severity are closed where there are more than a few.
const OPEN_SECTIONS: usize = 12;
/// A few.
const FEW: usize = 3;
/// Incidents with a section of their own.
const SECTIONS: usize = 100;
/// Incidents in the navigation.
const LISTED: usize = 40;
/// Examples of an incident; the first one is open, of the gravest incident all.
const EXAMPLES: usize = 3;
/// Findings of one incident that are listed, and of all together.
const FINDINGS: usize = 300;
/// How many findings the whole page lists.
const ALL_FINDINGS: usize = 3_000;
/// Warnings and settings shown.
const NOTES: usize = 100;
/// Fewer findings than this need no chart.
const CHARTED: usize = 5;

/// Writes `report`.
///
/// # Errors
/// The writer's error.
pub fn write(report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let captures = report.captures.iter().flat_map(|c| [c.first, c.last]).flatten();
    let incidents = report.incidents.iter().flat_map(|incident| [incident.first, incident.last]);
    let mut page = HtmlPage {
        report,
        clock: TimeFormat::new(captures.chain(incidents.clone())),
        over: ChartInterval::of(
            timed(report).into_iter().flat_map(|c| [c.first, c.last]).flatten().chain(incidents),
        ),
        findings: report.findings.iter().map(|finding| (finding.id.as_str(), finding)).collect(),
        explained: ExplainedTerms::default(),
        room: ALL_FINDINGS,
    };
    out.write_all(page.head().as_bytes())?;
    out.write_all(page.overview().as_bytes())?;
    for (i, incident) in report.incidents.iter().take(SECTIONS).enumerate() {
        out.write_all(page.incident(i + 1, incident).as_bytes())?;
    }
    out.write_all(page.foot().as_bytes())
}

/// The class of a severity in the style sheet.
const fn class(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

/// The badge of a severity.
fn badge(severity: Severity) -> String {
    format!("<span class=\"sev {severity}\">{severity}</span>")
}

/// Whether something is shown at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disclosure {
    Open,
    Folded,
}

struct HtmlPage<'r> {
    report: &'r Report,
    clock: TimeFormat,
    over: Option<ChartInterval>,
    findings: HashMap<&'r str, &'r Finding>,
    explained: ExplainedTerms,
    /// Findings that may still be listed.
    room: usize,
}

impl HtmlPage<'_> {
    /// Head, title, summary, navigation.
    fn head(&self) -> String {
        let report = self.report;
        let name = report.captures.first().map_or("nothing", |capture| shown_path(&capture.path));
        let mut out = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
             img-src data:; form-action 'none'; base-uri 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
             <link rel=\"icon\" href=\"data:,\">\n<title>TCP diagnosis: {}</title>\n<style>{}</style>\n</head>\n<body>\n\
             <a class=\"skip\" href=\"#main\">Skip to the report</a>\n<div class=\"page{}\">\n<header>\n\
             <h1>TCP diagnosis</h1>\n",
            escape(name),
            include_str!("html/style.css").replace('\n', ""),
            // The browser lays out parts far from the screen only when they come near.
            if report.incidents.len() > LARGE { " large" } else { "" }
        );
        let [read, found, next] = summary::sentences(report);
        let verdict = match report.incidents.first() {
            Some(incident) => class(incident.severity),
            None if report.summary.failed_unexplained > 0 => "warning",
            // If the captures may lack something, that is no good news.
            None if report.quality.damaged || !report.warnings.is_empty() => "warning",
            None if report.summary.connections == 0 => "info",
            None => "ok",
        };
        let _ = writeln!(
            out,
            "<div class=\"verdict {verdict}\"><p>{}</p>\n<p class=\"found\">{}</p>\n<p>{}</p></div>",
            rich(&read),
            rich(&found),
            rich(&next)
        );
        let failures = failures(&report.summary);
        if !failures.is_empty() {
            let _ = writeln!(out, "<p class=\"failed\">{}</p>", rich(&failures.join(" ")));
        }
        for pair in &report.pairs {
            let [common, clock] = paired(pair);
            let _ = writeln!(out, "<p class=\"pair\">{} {}</p>", rich(&common), rich(&clock));
        }
        out.push_str(
            "</header>\n<nav aria-label=\"Contents\">\n<ul>\n<li><a href=\"#overview\">Overview</a></li>\n",
        );
        if !report.incidents.is_empty() {
            out.push_str("<li><a href=\"#incidents\">Incidents</a>\n<ul class=\"sub\">\n");
            for (i, incident) in report.incidents.iter().take(LISTED).enumerate() {
                let _ = writeln!(
                    out,
                    "<li><a href=\"#incident-{n}\">{n}. {}</a> <span class=\"faint\">{}</span></li>",
                    incident.kind,
                    escape(&incident.listener.map(|listener| listener.to_string()).unwrap_or_default()),
                    n = i + 1
                );
            }
            if let Some(rest) = omitted(report.incidents.len(), LISTED) {
                let _ = writeln!(out, "<li class=\"faint\">{}</li>", more(rest, "incident"));
            }
            out.push_str("</ul></li>\n");
        }
        if !report.inferred.is_empty() {
            out.push_str("<li><a href=\"#settings\">Kernel settings</a></li>\n");
        }
        out.push_str("<li><a href=\"#quality\">Capture quality</a></li>\n<li><a href=\"#reading\">How to read this</a></li>\n</ul>\n</nav>\n<main id=\"main\">\n");
        out
    }

    /// Counts, warnings, the incidents over time.
    fn overview(&self) -> String {
        let report = self.report;
        let mut out = String::from("<section id=\"overview\">\n<h2>Overview</h2>\n<ul class=\"tiles\">\n");
        let mut tile = |n: u64, what: &str| {
            let _ = writeln!(out, "<li><b>{}</b> {what}</li>", grouped(n));
        };
        let plural = |n: u64| if n == 1 { "" } else { "s" };
        for (n, noun) in [
            (report.summary.packets, "packet"),
            (report.summary.connections, "TCP connection"),
            (report.summary.failed, "failed connection"),
            (report.incidents.len() as u64, "incident"),
            (report.findings.len() as u64, "finding"),
        ] {
            tile(n, &format!("{noun}{}", plural(n)));
        }
        for severity in [Severity::Critical, Severity::Warning, Severity::Info] {
            let n = report.incidents.iter().filter(|incident| incident.severity == severity).count();
            if n > 0 && report.incidents.len() > 1 {
                tile(n as u64, &badge(severity));
            }
        }
        out.push_str("</ul>\n");
        let facts = quality(&report.quality);
        if !facts.is_empty() {
            let _ = writeln!(
                out,
                "<p class=\"trust\"><a href=\"#quality\">Capture quality</a>: {}.{}</p>",
                escape(&facts.join("; ")),
                trust(&report.quality)
            );
        }
        let warnings = self.warnings();
        if !warnings.is_empty() {
            out.push_str("<div class=\"warn\">\n<p><b>What limits this report</b></p>\n<ul>\n");
            for warning in warnings.iter().take(FEW) {
                let _ = writeln!(out, "<li>{}</li>", rich(warning));
            }
            if let Some(rest) = omitted(warnings.len(), FEW) {
                let _ = writeln!(out, "<li><a href=\"#quality\">{}</a></li>", more(rest, "remark"));
            }
            out.push_str("</ul>\n</div>\n");
        }
        out.push_str("</section>\n");
        self.points(&mut out);
        self.list(&mut out);
        out
    }

    /// The incidents, each with the time in which it lay, and how often something was found.
    fn list(&self, out: &mut String) {
        let incidents = &self.report.incidents;
        if incidents.is_empty() {
            return;
        }
        out.push_str("<section id=\"incidents\">\n<h2>Incidents</h2>\n");
        if let Some(over) = self.over {
            let _ = writeln!(out, "<p class=\"axis tl-axis\">{}</p>", over.axis(self.clock, ""));
        }
        let shown = incidents.len().min(ROWS);
        let open = shown.min(OPEN_ROWS);
        self.rows(out, 0..open);
        if shown > open {
            let _ = writeln!(
                out,
                "<details class=\"fold\"><summary>{}</summary>",
                more(shown - open, "incident")
            );
            self.rows(out, open..shown);
            out.push_str("</details>\n");
        }
        if let Some(rest) = omitted(incidents.len(), ROWS) {
            let _ = writeln!(out, "<p class=\"faint\">{} ({JSON})</p>", more(rest, "incident"));
        }
        let all: Vec<&Finding> = self.report.findings.iter().collect();
        if let Some(over) = self.over.filter(|_| all.len() >= CHARTED && incidents.len() > 1) {
            let chart = chart::rate(&all, over, self.clock);
            if !chart.is_empty() {
                let _ = writeln!(out, "<h3>When findings began</h3>\n<figure>{chart}</figure>");
            }
        }
        out.push_str("</section>\n");
    }

    /// Rows of the list of incidents.
    fn rows(&self, out: &mut String, which: std::ops::Range<usize>) {
        let _ = writeln!(out, "<ol class=\"tl\" start=\"{}\">", which.start + 1);
        for number in which.start + 1..=which.end {
            let incident = &self.report.incidents[number - 1];
            let name = format!("{number}. {}", incident.kind);
            let name = if number <= SECTIONS {
                format!("<a href=\"#incident-{number}\">{name}</a>")
            } else {
                format!("<b>{name}</b>")
            };
            let track = self.over.map(|over| {
                format!(
                    "<span class=\"track\"><i style=\"{}\"></i></span>",
                    over.bar(incident.first, incident.last)
                )
            });
            let _ = writeln!(
                out,
                "<li class=\"{}\">{}<span class=\"name\">{name} <span class=\"mono\">{}</span></span>\
                 <span class=\"what\">{}, {}</span>{}<span class=\"when\">{}</span></li>",
                class(incident.severity),
                badge(incident.severity),
                escape(&incident.listener.map(|listener| listener.to_string()).unwrap_or_default()),
                escape(&extent(incident)),
                incident.certainty,
                track.unwrap_or_default(),
                escape(&self.clock.interval(incident.first, incident.last)),
            );
        }
        out.push_str("</ol>\n");
    }

    fn incident(&mut self, number: usize, incident: &Incident) -> String {
        let findings: Vec<&Finding> =
            incident.findings.iter().filter_map(|id| self.findings.get(id.as_str()).copied()).collect();
        let best = clearest(&findings, incident.certainty);
        let mut out = format!(
            "<section class=\"incident {}\" id=\"incident-{number}\" aria-labelledby=\"title-{number}\">\n\
             <h2 id=\"title-{number}\">{number}. {}{}</h2>\n<p class=\"meta\">{} <b>{}</b> · {} · {}{}</p>\n",
            class(incident.severity),
            incident.kind,
            escape(&place(incident)),
            badge(incident.severity),
            incident.certainty,
            escape(&extent(incident)),
            escape(&self.clock.interval(incident.first, incident.last)),
            Some(incident.last - incident.first)
                .filter(|span| *span > Span::ZERO)
                .map(|span| format!(" ({span})"))
                .unwrap_or_default(),
        );
        let _ = writeln!(
            out,
            "<p class=\"lead\">{}</p>\n<p>{}</p>",
            escape(glossary::kind(incident.kind)),
            rich(&ended(&incident.cause))
        );
        for place in places(incident).iter().take(PLACES) {
            let _ = writeln!(out, "<p><b>{}</b></p>", escape(&ended(&capital(place))));
        }
        if let Some(share) = share(incident) {
            let _ = writeln!(out, "<p>{}</p>", escape(&ended(&capital(&share))));
        }
        self.related(&mut out, incident);
        let closed = self.report.incidents.len() > FEW
            && (incident.severity == Severity::Info || number > OPEN_SECTIONS);
        if closed {
            out.push_str("<details class=\"fold\"><summary>Reasons, packets, next steps</summary>\n");
        }
        self.words(&mut out, incident, &findings, &best);
        self.certainty(&mut out, incident, &findings, &best);
        out.push_str("<h3>What the packets show</h3>\n");
        for (i, finding) in best.iter().take(EXAMPLES).enumerate() {
            let fold = if i == 0 || number == 1 { Disclosure::Open } else { Disclosure::Folded };
            self.example(&mut out, finding, fold, if i == 0 { Legend::Full } else { Legend::Scale });
        }
        self.next_steps(&mut out, incident);
        self.names(&mut out, &findings);
        self.affected(&mut out, number, &findings, incident);
        if closed {
            out.push_str("</details>\n");
        }
        out.push_str("</section>\n");
        out
    }

    /// The related incidents.
    fn related(&self, out: &mut String, incident: &Incident) {
        for link in &incident.related {
            let Some(at) = self.report.incidents.iter().position(|other| other.id == link.incident) else {
                continue;
            };
            let name = format!("{}. {}", at + 1, self.report.incidents[at].kind);
            let name =
                if at < SECTIONS { format!("<a href=\"#incident-{}\">{name}</a>", at + 1) } else { name };
            let _ = writeln!(out, "<p class=\"see\">See also {name}: {}</p>", rich(&ended(&link.how)));
        }
    }

    /// Words of TCP and names of the kernel that appear for the first time.
    fn words(&mut self, out: &mut String, incident: &Incident, findings: &[&Finding], best: &[&Finding]) {
        let mut texts = vec![incident.cause.as_str()];
        texts.extend(best.first().map(|finding| finding.certainty_reason.as_str()));
        for finding in best.iter().take(EXAMPLES) {
            texts.push(&finding.summary);
            texts.extend(finding.evidence.iter().map(|evidence| evidence.text.as_ref()));
        }
        let others =
            alternatives(findings).into_iter().flat_map(|a| [a.suspect.text(), a.why_less_likely.as_ref()]);
        texts.extend(
            others.chain(excluded(findings).into_iter().flat_map(|e| [e.suspect.text(), e.reason.as_str()])),
        );
        let mut words = self.explained.words(texts.iter().copied());
        words.extend(self.explained.kernel_in(texts.into_iter()));
        if words.is_empty() {
            return;
        }
        out.push_str("<dl class=\"names words\">");
        for (word, meaning) in words {
            let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escape(word), escape(meaning));
        }
        out.push_str("</dl>\n");
    }

    fn certainty(&self, out: &mut String, incident: &Incident, findings: &[&Finding], best: &[&Finding]) {
        let _ = writeln!(out, "<h3>How sure this is: {}</h3>", incident.certainty);
        let reason = best.first().and_then(|finding| certainty_reason(finding));
        let mut text = reason.map(|reason| rich(&ended(&capital(reason)))).unwrap_or_default();
        if let Some(finding) = best.first() {
            let at = captured_at(finding.vantage);
            if !reason.is_some_and(|reason| reason.contains(at)) {
                let _ = write!(text, " <span class=\"faint\">{}</span>", ended(&capital(at)));
            }
        }
        let _ = writeln!(out, "<p>{}</p>", text.trim_start());
        let excluded = excluded(findings);
        if !excluded.is_empty() {
            out.push_str("<p>Excluded by the other capture:</p>\n<ul>\n");
            for cause in excluded {
                let _ = writeln!(
                    out,
                    "<li>{} <span class=\"faint\">For example: {}</span></li>",
                    rich(&ended(cause.suspect.text())),
                    rich(&ended(&cause.reason))
                );
            }
            out.push_str("</ul>\n");
        }
        let alternatives = alternatives(findings);
        if alternatives.is_empty() {
            return;
        }
        out.push_str("<p>Less likely, but not excluded:</p>\n<ul>\n");
        for alternative in alternatives {
            let _ = writeln!(
                out,
                "<li>{} <span class=\"faint\">{}</span></li>",
                rich(&ended(alternative.suspect.text())),
                match alternative.why_less_likely.as_ref() {
                    "" => String::new(),
                    why => format!("Against it: {}", rich(&ended(why))),
                }
            );
        }
        out.push_str("</ul>\n");
    }

    /// One connection.
    fn example(&self, out: &mut String, finding: &Finding, fold: Disclosure, legend: Legend) {
        let title = match endpoints(finding) {
            who if who.is_empty() => code(&finding.id),
            who => format!("<span class=\"mono\">{}</span>", escape(&who).replace(" -&gt; ", " → ")),
        };
        let names = other_names(finding).map(|names| {
            format!(
                "<p class=\"faint\">The same connection: <span class=\"mono\">{}</span></p>\n",
                escape(&names)
            )
        });
        let body = format!(
            "{}<p>{}</p>\n{}{}",
            names.unwrap_or_default(),
            rich(&finding.summary),
            packets::ladder(finding, self.clock, &self.report.captures, legend),
            packets::numbers(finding)
        );
        let _ = match fold {
            Disclosure::Open => writeln!(out, "<div class=\"ex\">\n<h4>{title}</h4>\n{body}</div>"),
            Disclosure::Folded => writeln!(out, "<details>\n<summary>{title}</summary>\n{body}</details>"),
        };
    }

    fn next_steps(&mut self, out: &mut String, incident: &Incident) {
        if incident.next_steps.is_empty() {
            return;
        }
        out.push_str("<h3>Next <span class=\"faint hint\">a click selects a command</span></h3>\n<ol class=\"steps\">\n");
        for step in &incident.next_steps {
            let command =
                |command: &str| format!("<pre class=\"cmd\"><code>{}</code></pre>", escape(command));
            let _ = match NextStep::read(step) {
                NextStep::Command { command: line, remark } => {
                    write!(out, "<li>{}{}", command(line), rich(&capital(remark)))
                }
                NextStep::Ending { text, command: line } => {
                    write!(out, "<li>{}{}", rich(text), command(line))
                }
                NextStep::Words(text) => write!(out, "<li>{}", rich(text)),
            };
            for (name, meaning) in self.explained.kernel_in([step.as_str()].into_iter()) {
                let _ = write!(out, "<span class=\"faint note\">{}: {}</span>", code(name), escape(meaning));
            }
            out.push_str("</li>\n");
        }
        let _ = writeln!(
            out,
            "</ol>\n<p class=\"faint\">More on it: {}</p>",
            code(&format!("synscope explain {}", incident.kind))
        );
    }

    /// The kernel's own names, each explained where it first appears.
    fn names(&mut self, out: &mut String, findings: &[&Finding]) {
        for (title, names) in [
            ("In the kernel", union(findings, |finding| &finding.cause.kernel_functions)),
            ("Counters to watch", union(findings, |finding| &finding.cause.counters)),
            ("Settings that decide", union(findings, |finding| &finding.cause.sysctls)),
        ] {
            if names.is_empty() {
                continue;
            }
            let _ = writeln!(out, "<h3>{title}</h3>");
            let mut known = Vec::new();
            let mut rows = String::new();
            for name in names {
                match self.explained.kernel(name) {
                    Some(meaning) => {
                        let _ = write!(rows, "<dt>{}</dt><dd>{}</dd>", code(name), escape(meaning));
                    }
                    None => known.push(code(name)),
                }
            }
            if !rows.is_empty() {
                let _ = writeln!(out, "<dl class=\"names\">{rows}</dl>");
            }
            if !known.is_empty() {
                let _ =
                    writeln!(out, "<p>{} <span class=\"faint\">explained above</span></p>", known.join(", "));
            }
        }
    }

    /// The clients, the rate, and every finding as far as there is room.
    fn affected(&mut self, out: &mut String, number: usize, findings: &[&Finding], incident: &Incident) {
        let queues = incident.queues.as_ref().map(|queues| chart::queues(queues, self.clock));
        if let Some(chart) = queues.filter(|chart| !chart.is_empty()) {
            let _ = writeln!(out, "<h3>Queues of the listener</h3>\n<figure>{chart}</figure>");
        }
        let times = findings.iter().flat_map(|finding| [finding.first, finding.last]);
        if let Some(over) = ChartInterval::of(times).filter(|_| findings.len() >= CHARTED) {
            let chart = chart::rate(findings, over, self.clock);
            if !chart.is_empty() {
                let _ = writeln!(out, "<h3>When they began</h3>\n<figure>{chart}</figure>");
            }
        }
        clients(out, findings, incident);
        if findings.len() <= EXAMPLES {
            return;
        }
        let listed = findings.len().min(FINDINGS).min(self.room);
        self.room -= listed;
        let _ = write!(
            out,
            "<details class=\"long\"><summary>{}</summary>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" \
             aria-label=\"Findings of incident {number}\">\n<table><thead><tr><th scope=\"col\">Id</th><th scope=\"col\">Client</th>\
             <th scope=\"col\">From</th><th scope=\"col\">Certainty</th><th scope=\"col\">Packets</th></tr></thead><tbody>\n",
            match omitted(findings.len(), listed) {
                None => format!("All {}", counted(findings.len() as u64, "finding")),
                Some(_) =>
                    format!("{} of {}", grouped(listed as u64), counted(findings.len() as u64, "finding")),
            }
        );
        for finding in findings.iter().take(listed) {
            let numbers: Vec<String> =
                finding.evidence.iter().take(8).map(|evidence| evidence.packet.to_string()).collect();
            let _ = writeln!(
                out,
                "<tr><td class=\"mono\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(&finding.id),
                escape(&finding.client.map(|client| client.to_string()).unwrap_or_default()),
                escape(&self.clock.milli(finding.first)),
                finding.certainty,
                numbers.join(" ")
            );
        }
        out.push_str("</tbody></table></div>\n");
        if omitted(findings.len(), listed).is_some() {
            let _ = writeln!(
                out,
                "<p>The others are in the JSON report; {} picks them.</p>",
                code(&format!("jq '.incidents[] | select(.id == \"{}\").findings'", incident.id))
            );
        }
        out.push_str("</details>\n");
    }
}

/// The clients that were hit, and how often.
fn clients(out: &mut String, findings: &[&Finding], incident: &Incident) {
    if !incident.top_clients.is_empty() && !ranked(incident) {
        let shown: Vec<String> = incident
            .top_clients
            .iter()
            .map(|share| format!("<span class=\"mono\">{}</span>", escape(&share.client.to_string())))
            .collect();
        let rest = omitted(incident.clients as usize, shown.len());
        let rest = rest.map(|rest| format!(", {}", more(rest, "client"))).unwrap_or_default();
        let _ = writeln!(
            out,
            "<h3>Clients affected</h3>\n<p>{}, once each: {}{rest}.</p>",
            counted(incident.clients, "client"),
            shown.join(", ")
        );
        return;
    }
    let Some(most) = incident.top_clients.first().map(|share| share.findings.max(1)) else {
        if let Some(client) = findings.iter().find_map(|finding| finding.client)
            && findings.len() > 1
        {
            let _ = writeln!(
                out,
                "<h3>Clients affected</h3>\n<p>Only <span class=\"mono\">{}</span>.</p>",
                escape(&client.ip().to_string())
            );
        }
        return;
    };
    out.push_str(
        "<h3>Clients affected</h3>\n<table class=\"small clients\"><thead><tr><th scope=\"col\">Client</th>\
         <th class=\"n\" scope=\"col\">Findings</th><th scope=\"col\" class=\"share\"><span class=\"vh\">Share</span>\
         </th></tr></thead><tbody>\n",
    );
    for share in &incident.top_clients {
        let _ = writeln!(
            out,
            "<tr><td class=\"mono\">{}</td><td class=\"n\">{}</td><td class=\"share\"><i style=\"width:{}%\"></i></td></tr>",
            escape(&share.client.to_string()),
            grouped(share.findings),
            (share.findings * 100 / most).max(1),
        );
    }
    out.push_str("</tbody></table>\n");
    if let Some(rest) = omitted(incident.clients as usize, incident.top_clients.len()) {
        let _ = writeln!(out, "<p class=\"faint\">{}</p>", more(rest, "client"));
    }
}

/// The program's.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A page with more incidents than this is large.
const LARGE: usize = 60;
/// Where the rest is.
const JSON: &str = "the JSON report lists all";

#[cfg(test)]
mod tests;
