//! The report on every recorded case, word for word, to be read by eye next to the case's `README.md`.
//!
//! Users read these texts: look at each line of a difference, then run `INSTA_UPDATE=always cargo test --test golden`.

mod support;

use std::fmt::Write as _;
use std::net::SocketAddr;

use support::{Case, analyze, cases};
use synscope::model::Report;
use synscope::report::terminal::Look;
use synscope::report::text;

/// A report without the texts that are the same for every finding of a kind; the whole reports have those.
fn digest(report: &Report) -> String {
    let mut out = String::new();
    let summary = &report.summary;
    let _ = writeln!(
        out,
        "{} packets, {} TCP segments, {} connections",
        summary.packets, summary.tcp_segments, summary.connections
    );
    for warning in report.warnings.iter().chain(report.captures.iter().flat_map(|c| &c.warnings)) {
        let _ = writeln!(out, "! {warning}");
    }
    for incident in &report.incidents {
        let listener = incident.listener.map_or_else(|| "-".to_owned(), |listener| listener.to_string());
        let _ = writeln!(
            out,
            "= {} {} {} at {listener}: {} connections, {} clients",
            incident.severity, incident.certainty, incident.kind, incident.connections, incident.clients
        );
    }
    for finding in &report.findings {
        let end = |end: Option<SocketAddr>| end.map_or_else(|| "*".to_owned(), |end| end.to_string());
        let _ = writeln!(
            out,
            "\n{} {} {} {} -> {} (vantage {})",
            finding.severity,
            finding.certainty,
            finding.kind,
            end(finding.client),
            end(finding.server),
            finding.vantage
        );
        let _ = writeln!(out, "  {}", finding.summary);
        for evidence in &finding.evidence {
            let _ = writeln!(
                out,
                "  #{} {} {}",
                evidence.packet,
                &evidence.time.to_string()[11..],
                evidence.text
            );
        }
        for or in &finding.alternatives {
            let _ = writeln!(out, "  or: {}", or.suspect);
        }
        let _ = writeln!(out, "  since: {}", finding.certainty_reason);
    }
    out
}

/// The report of a capture, which is named by its file alone.
fn report(case: &Case, key: &str) -> Report {
    let path = case.capture(key);
    let (long, short) = (path.display().to_string(), path.file_name().expect("a file").display().to_string());
    let json = support::json(&analyze(&path).report).replace(&long, &short);
    serde_json::from_str(&json).expect("its own output can be read")
}

#[test]
fn every_case_is_reported_as_reviewed() {
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        for case in cases() {
            let mut all = String::new();
            for capture in &case.truth.captures {
                let _ = writeln!(all, "--- {}\n{}", capture.file, digest(&report(&case, &capture.key)));
            }
            insta::assert_snapshot!(case.name.replace('/', "."), all);
        }
    });
}

#[test]
fn whole_reports() {
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        for name in
            ["accept-queue-overflow/silent-clients", "syn-drop-timestamp/with-full-queue-linux-3.10", "fin-wait2-expired/client-closes"]
        {
            let mut out = Vec::new();
            text::write(&report(&Case::named(name), "server"), Look::default(), &mut out).expect("memory can be written");
            let text = String::from_utf8(out).expect("a report is UTF-8");
            insta::assert_snapshot!(format!("text.{}", name.replace('/', ".")), text);
        }
        let report = report(&Case::named("accept-queue-overflow/silent-clients"), "server");
        insta::assert_snapshot!("json.accept-queue-overflow.silent-clients", support::json(&report));
    });
}
