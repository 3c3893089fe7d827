//! The whole watch without an interface: recorded captures are played as if they came in now.

mod support;

use std::collections::BTreeMap;

use support::live::{Script, remembering, watch};
use support::{analyze, cases, claims, options};
use synscope::live::event::Event;
use synscope::report::model::Finding;

/// What live said in the end must be what `analyze` says of the same packets, to the letter; and what it said on the
/// way must not have been wrong often.
#[test]
fn live_says_in_the_end_what_analyze_says() {
    let (mut opened, mut withdrawn) = (0, Vec::new());
    for case in cases() {
        for capture in &case.truth.captures {
            let path = case.folder.join(&capture.file);
            let mut script = Script::of_capture(&path);
            let (told, outcome) = watch(&mut script, remembering(options()), None);
            let expected = analyze(&path).report;
            let name = format!("{} {}", case.name, capture.key);
            assert_eq!(claims(&outcome.report), claims(&expected), "{name}");
            assert_eq!(without_names(outcome.report.findings), without_names(expected.findings), "{name}");
            assert_eq!(replay(&told.events), ids(&claims(&analyze(&path).report)), "{name}");
            for event in &told.events {
                match event {
                    Event::Opened { .. } => opened += 1,
                    Event::Withdrawn { finding, .. } => withdrawn.push(format!("{name} {finding}")),
                    _ => {}
                }
            }
        }
    }
    assert!(opened > 100, "{opened}");
    assert!(withdrawn.len() * 50 <= opened, "{} of {opened}: {withdrawn:#?}", withdrawn.len());
}

fn ids(claims: &[String]) -> Vec<String> {
    claims.to_vec()
}

/// What stands after all events.
fn replay(events: &[Event]) -> Vec<String> {
    let mut standing: BTreeMap<&str, String> = BTreeMap::new();
    for event in events {
        match event {
            Event::Opened { finding, .. } => {
                let known = standing.insert(&finding.id, support::claim(finding));
                assert_eq!(known, None, "opened twice");
            }
            Event::Updated { was, finding, .. } => {
                let before = standing.remove(was.as_deref().unwrap_or(&finding.id));
                assert!(before.is_some(), "updated before it was opened: {finding:?}");
                standing.insert(&finding.id, support::claim(finding));
            }
            Event::Withdrawn { finding, .. } => {
                assert!(standing.remove(finding.as_str()).is_some(), "withdrawn before it was opened");
            }
            _ => {}
        }
    }
    let mut standing: Vec<String> = standing.into_values().collect();
    standing.sort();
    standing
}

/// Findings without the name of the capture.
fn without_names(mut findings: Vec<Finding>) -> Vec<Finding> {
    for finding in &mut findings {
        finding.evidence.iter_mut().for_each(|e| e.capture.clear());
        finding.display_filters = None;
    }
    findings
}
