//! What the end-to-end tests share: the recorded cases of `testdata/`, their truth files, captures altered and written
//! again, and the analysis of all of these.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod altered;
pub mod live;
pub mod pairs;
pub mod truth;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use synscope::engine::{self, Analysis, AnalysisOptions};
use synscope::model::{Finding, Kind, Report};
use synscope::report::terminal::{Color, Look};
use synscope::report::{html, markdown, text};
use synscope::time::Span;

use truth::Truth;

/// Half-closes of the recordings last a few seconds, so the threshold is that of their truth files.
pub const HALF_CLOSE_AFTER: Span = Span::secs(2);

/// The kinds that must be right above all.
pub const CORE: [Kind; 5] = [
    Kind::AcceptQueueOverflow,
    Kind::AcceptQueueReset,
    Kind::SynDropTimestamp,
    Kind::HalfClose,
    Kind::FinWait2Expired,
];

/// One folder `testdata/KIND/CASE`.
pub struct Case {
    /// `accept-queue-overflow/silent-clients`.
    pub name: String,
    /// Where it lies.
    pub folder: PathBuf,
    /// The known events in it.
    pub truth: Truth,
}

impl Case {
    /// The case of that name.
    pub fn named(name: &str) -> Case {
        let folder = testdata().join(name);
        let truth = Truth::read(&folder.join("truth.json"));
        Case { name: name.to_owned(), folder, truth }
    }

    /// The capture with this key, `server` mostly.
    pub fn capture(&self, key: &str) -> PathBuf {
        let named = self.truth.captures.iter().find(|capture| capture.key == key);
        self.folder.join(&named.unwrap_or_else(|| panic!("{} has no capture {key}", self.name)).file)
    }

    /// `accept-queue-overflow`; `nothing-wrong` for the folder of clean recordings.
    pub fn kind(&self) -> &str {
        self.name.split('/').next().expect("a name has a kind")
    }
}

/// The folder of recorded cases.
pub fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// All recorded cases, in order of their names.
pub fn cases() -> Vec<Case> {
    let mut names = Vec::new();
    for kind in folders(&testdata()) {
        for case in folders(&testdata().join(&kind)) {
            names.push(format!("{kind}/{case}"));
        }
    }
    names.sort();
    names.iter().map(|name| Case::named(name)).collect()
}

fn folders(within: &Path) -> Vec<String> {
    let entries = fs::read_dir(within).unwrap_or_else(|error| panic!("{}: {error}", within.display()));
    let names = entries.map(|entry| entry.expect("the folder can be read"));
    names
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("names are UTF-8"))
        .collect()
}

/// A folder of recordings outside the tree: the one that `variable` names, else the one beside the checkout. Tests that
/// need one are ignored unless they are asked for.
///
/// # Panics
/// When there is no such folder.
pub fn outside(variable: &str, beside: &str) -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(beside);
    let folder = std::env::var_os(variable).map_or(beside, PathBuf::from);
    assert!(folder.is_dir(), "no folder {}: set {variable} to another", folder.display());
    folder
}

/// What the tests analyze with, unless the number of threads or the threshold is the point.
pub fn options() -> AnalysisOptions {
    AnalysisOptions { threads: 2, half_close_after: HALF_CLOSE_AFTER, ..AnalysisOptions::default() }
}

/// Analyzes one capture.
///
/// # Panics
/// When it cannot be opened.
pub fn analyze(capture: &Path) -> Analysis {
    analyze_all(&[capture.to_owned()], &options())
}

/// Analyzes several captures as one stream.
///
/// # Panics
/// When none can be opened.
pub fn analyze_all(captures: &[PathBuf], options: &AnalysisOptions) -> Analysis {
    engine::analyze(captures, options, &mut |_| ()).unwrap_or_else(|error| panic!("{captures:?}: {error}"))
}

/// The document that `--format json` prints.
pub fn json(report: &Report) -> String {
    let mut out = Vec::new();
    synscope::report::json::write(report, &mut out).expect("a vector takes everything");
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// The report as text, as Markdown and as a page.
pub fn forms(report: &Report) -> [String; 3] {
    let look = Look { width: 100, color: Color::Off };
    let full = markdown::MarkdownOptions { flavor: markdown::Flavor::Github, length: markdown::Length::Full };
    let mut forms = [Vec::new(), Vec::new(), Vec::new()];
    text::write(report, look, &mut forms[0]).expect("memory takes it");
    markdown::write(report, full, &mut forms[1]).expect("memory takes it");
    html::write(report, &mut forms[2]).expect("memory takes it");
    forms.map(|form| String::from_utf8(form).expect("UTF-8"))
}

/// The report without what belongs to the file rather than to its packets: paths, formats, the captures' own warnings.
pub fn without_files(mut report: Report) -> Report {
    for capture in &mut report.captures {
        capture.path.clear();
        capture.format.clear();
    }
    report.findings.iter_mut().flat_map(|finding| &mut finding.evidence).for_each(|e| e.capture = "".into());
    report.summary.unexplained.iter_mut().for_each(|failed| failed.capture.clear());
    report
}

/// The report without packet numbers and without what describes the captures one by one.
pub fn without_numbers(report: Report) -> Report {
    let mut report = without_files(report);
    report.captures.clear();
    report.summary.unexplained.iter_mut().for_each(|failed| failed.packet = 0);
    for finding in &mut report.findings {
        finding.evidence.iter_mut().for_each(|e| e.packet = 0);
        finding.display_filters.iter_mut().for_each(|filters| filters.packets.clear());
    }
    report
}

/// Names the findings of a report, so that two reports can be compared by their claims.
pub fn claims(report: &Report) -> Vec<String> {
    let mut claims: Vec<String> = report.findings.iter().map(claim).collect();
    claims.sort();
    claims
}

/// `accept-queue-overflow 192.0.2.1:4000 -> 192.0.2.2:80`.
pub fn claim(finding: &Finding) -> String {
    let end = |end: Option<SocketAddr>| end.map_or_else(|| "*".to_owned(), |end| end.to_string());
    format!("{} {} -> {}", finding.kind, end(finding.client), end(finding.server))
}
