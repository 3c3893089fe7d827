//! The report in three sentences: the packets read, the findings, the next steps.

use super::step::NextStep;
use super::terminal::{counted, grouped};
use super::words::{ended, extent, filters, no_connection, place, time_range, timed};
use crate::model::{Capture, Incident, Report, Severity};

/// The sentences. Code in them stands between backticks.
pub(super) fn sentences(report: &Report) -> [String; 3] {
    [read(report), found(report), next(report)]
}

fn read(report: &Report) -> String {
    let what = match report.captures.as_slice() {
        [] => "Nothing".to_owned(),
        [one] => name(one),
        [first, rest @ ..] => {
            format!("{} and {}", name(first), counted(rest.len() as u64, "other capture"))
        }
    };
    let connections = counted(report.summary.connections, "TCP connection");
    let packets = counted(report.summary.packets, "packet");
    let plural = report.captures.len() > 1;
    let mut text = match filters(report) {
        None => format!("{what} {} {connections} in {packets}", if plural { "hold" } else { "holds" }),
        Some(filters) => format!("{what} was read ({packets}), {filters}, {connections} kept"),
    };
    if let Some(time) = time_range(&timed(report)) {
        text.push_str(&format!(", from {time}"));
    }
    ended(&text)
}

/// A file name as code, unless a backtick in it would end that.
fn name(capture: &Capture) -> String {
    match capture.path.as_str() {
        "-" => "Standard input".to_owned(),
        path if path.contains('`') => path.to_owned(),
        path => format!("`{path}`"),
    }
}

fn found(report: &Report) -> String {
    let Some(gravest) = report.incidents.first() else {
        return match (report.findings.len() as u64, report.summary.connections) {
            (0, _) if report.summary.failed_unexplained > 0 => {
                let n = report.summary.failed_unexplained;
                format!("{} of them failed, and no finding explains why.", grouped(n))
            }
            (0, 0) => no_connection(report),
            (0, _) => "Nothing was found to be wrong with them.".to_owned(),
            (n, _) => format!("There are {} outside any incident.", counted(n, "finding")),
        };
    };
    let head = match report.incidents.len() as u64 {
        1 => format!("One {} incident was found", gravest.severity),
        n if report.incidents.iter().all(|incident| incident.severity == gravest.severity) => {
            format!("{} {} incidents were found, the gravest first", grouped(n), gravest.severity)
        }
        n => format!("{} were found ({}), the gravest first", counted(n, "incident"), severities(report)),
    };
    format!("{head}: {}", described(gravest))
}

/// `5 critical, 4 warning`.
fn severities(report: &Report) -> String {
    let counts = [Severity::Critical, Severity::Warning, Severity::Info].into_iter().filter_map(|severity| {
        let n = report.incidents.iter().filter(|incident| incident.severity == severity).count();
        (n > 0).then(|| format!("{} {severity}", grouped(n as u64)))
    });
    counts.collect::<Vec<_>>().join(", ")
}

/// `accept-queue-overflow at 10.0.0.5:8080 hit 41 connections of 12 clients; probable cause: ...`
fn described(incident: &Incident) -> String {
    let hit = match incident.connections {
        0 => String::new(),
        _ => format!(" hit {}", extent(incident)),
    };
    format!(
        "{}{}{hit}; {} cause: {}",
        incident.kind,
        place(incident),
        incident.certainty,
        uncapitalized(&ended(first_sentence(&incident.cause)))
    )
}

/// Up to the first full stop that ends a sentence.
fn first_sentence(text: &str) -> &str {
    text.split_once(". ").map_or(text, |(first, _)| first)
}

/// With a small first letter, unless the first word is a name (SYN, RST).
fn uncapitalized(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

fn next(report: &Report) -> String {
    let step = report.incidents.first().and_then(|incident| incident.next_steps.first());
    match step.map(|step| NextStep::read(step)) {
        Some(NextStep::Command { command, remark: "" }) => format!("Next: run `{command}`."),
        Some(NextStep::Command { command, remark }) => ended(&format!("Next: run `{command}` {remark}")),
        Some(NextStep::Ending { text, command }) => format!("Next: {text} `{command}`."),
        Some(NextStep::Words(text)) => ended(&format!("Next: {text}")),
        None => "A capture does not show what happens inside an application, on paths and hosts it did not pass, or \
                 before and after it was taken."
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn three_sentences_for_every_report() {
        for (name, report) in samples::all() {
            let sentences = sentences(&report);
            assert!(sentences.iter().all(|sentence| sentence.ends_with('.')), "{name}: {sentences:?}");
        }
        insta::assert_snapshot!(sentences(&samples::overflow()).join("\n"));
        insta::assert_snapshot!("clean", sentences(&samples::clean()).join("\n"));
        insta::assert_snapshot!("mixture", sentences(&samples::mixture()).join("\n"));
    }
}
