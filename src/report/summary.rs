//! The report in three sentences: what was read, what was found, what comes next.

use super::model::{Incident, Report};
use super::step::Step;
use super::terminal::counted;
use super::words::{ended, extent, place, shown_path, time_range, timed};

/// The sentences. `code` in them stands between backticks.
pub(super) fn sentences(report: &Report) -> [String; 3] {
    [read(report), found(report), next(report)]
}

fn read(report: &Report) -> String {
    let what = match report.captures.as_slice() {
        [] => "Nothing".to_owned(),
        [one] => shown_path(&one.path).to_owned(),
        [first, rest @ ..] => {
            format!("{} and {}", shown_path(&first.path), counted(rest.len() as u64, "other capture"))
        }
    };
    let verb = if report.captures.len() > 1 { "hold" } else { "holds" };
    let mut text = format!(
        "{what} {verb} {} in {}",
        counted(report.summary.connections, "TCP connection"),
        counted(report.summary.packets, "packet")
    );
    if let Some(time) = time_range(&timed(report)) {
        text.push_str(&format!(", from {time}"));
    }
    ended(&text)
}

fn found(report: &Report) -> String {
    let Some(gravest) = report.incidents.first() else {
        return match (report.findings.len() as u64, report.summary.connections) {
            (0, 0) => "There is no TCP connection in what was read: nothing to judge.".to_owned(),
            (0, _) => "Nothing was found to be wrong with them.".to_owned(),
            (n, _) => format!("There are {} outside any incident.", counted(n, "finding")),
        };
    };
    let head = match report.incidents.len() as u64 {
        1 => "One incident was found".to_owned(),
        n => format!("{} were found, the gravest first", counted(n, "incident")),
    };
    format!("{head}: {}", described(gravest))
}

/// `accept-queue-overflow at 10.0.0.5:8080 with 41 connections of 12 clients (critical, probable), ...`
fn described(incident: &Incident) -> String {
    format!(
        "{}{} with {} ({}, {}); {}",
        incident.kind,
        place(incident),
        extent(incident),
        incident.severity,
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
    match step.map(|step| Step::read(step)) {
        Some(Step::Command { command, remark: "" }) => format!("Next: run `{command}`."),
        Some(Step::Command { command, remark }) => ended(&format!("Next: run `{command}` {remark}")),
        Some(Step::Ending { text, command }) => format!("Next: {text} `{command}`."),
        Some(Step::Words(text)) => ended(&format!("Next: {text}")),
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
