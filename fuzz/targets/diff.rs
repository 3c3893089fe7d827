//! Two reports, one of them with a value broken: whatever still is a report can be compared, in every form.

#![no_main]

#[path = "../../tests/support/stacks.rs"]
mod stacks;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use stacks::Choices;
use synscope::engine::{AnalysisOptions, analyze};
use synscope::model::{Report, Severity};
use synscope::report::diff::{Diff, write_json, write_markdown, write_text};
use synscope::report::markdown::Flavor;
use synscope::report::terminal::Look;

/// Reports on recorded captures: with findings of many kinds.
fn reports() -> &'static [Value] {
    static REPORTS: std::sync::OnceLock<Vec<Value>> = std::sync::OnceLock::new();
    REPORTS.get_or_init(|| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
        let cases = [
            "accept-queue-overflow/slow-accept/server.pcap",
            "half-close/keepalive/server.pcap",
            "syn-flood/port-scan/server.pcap",
            "listener-closed/with-queue/server.pcap",
        ];
        let of = |case: &str| {
            let options = AnalysisOptions { threads: 1, ..AnalysisOptions::default() };
            let report = analyze(&[folder.join(case)], &options, &mut |_| {}).ok()?.report;
            serde_json::to_value(report).ok()
        };
        cases.iter().filter_map(|case| of(case)).collect()
    })
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let all = reports();
    assert!(!all.is_empty(), "the recorded captures are there");
    let (mut old, mut new) = (all[choices.below(all.len())].clone(), all[choices.below(all.len())].clone());
    for _ in 0..choices.below(4) {
        break_one(&mut new, &mut choices);
        break_one(&mut old, &mut choices);
    }
    let read = |value: Value| serde_json::from_value::<Report>(value).ok();
    let (Some(old), Some(new)) = (read(old), read(new)) else { return };
    let diff = Diff::of(&old, &new, Severity::Info);
    let mut out = Vec::new();
    write_text(&diff, Look::default(), &mut out).expect("a vector takes everything");
    write_markdown(&diff, Flavor::Github, &mut out).expect("a vector takes everything");
    write_json(&diff, &mut out).expect("a vector takes everything");
});

/// Goes down into the document by choice and breaks the value found there.
fn break_one(value: &mut Value, choices: &mut Choices<'_>) {
    match value {
        Value::Array(all) if !all.is_empty() && !choices.once_in(16) => {
            let place = choices.below(all.len());
            match choices.below(16) {
                0 => drop(all.remove(place)),
                1 => all.push(all[place].clone()),
                _ => break_one(&mut all[place], choices),
            }
        }
        Value::Object(fields) if !fields.is_empty() && !choices.once_in(16) => {
            let place = choices.below(fields.len());
            if let Some(field) = fields.values_mut().nth(place) {
                break_one(field, choices);
            }
        }
        Value::String(text) => match choices.below(4) {
            0 => text.clear(),
            1 => text.push_str("\u{1b}[31m|<b>`\n"),
            2 => drop(text.pop()),
            _ => text.insert(0, '\u{202e}'),
        },
        other => {
            *other = [
                json!(0),
                json!(1),
                json!(u64::MAX),
                json!(-1),
                json!(1e308),
                json!(null),
                json!(""),
                json!([]),
            ][choices.below(8)]
            .clone();
        }
    }
}
