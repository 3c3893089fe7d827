//! What decides: values with a type, not the words of a report and not the keys of its metrics.
//!
//! The checks read tokens: they see macros, but no comments and no code that is compiled for tests only. They know no
//! types: a text may still be compared by way of a variable. Where a stage could be tempted there is no text to compare:
//! alternatives are [`Suspect`]s, a detector's numbers are `Details`, addresses and times have their own types.
//!
//! [`Suspect`]: ../../src/model/suspect.rs

use std::path::Path;

use crate::source::{Token, is_string, list, module, production, tokens, without_tests};

/// Modules in which text is the subject: they render it, or read what comes from outside.
const READ_TEXT: &[(&str, &str)] = &[
    ("report", "renders the model"),
    ("cli", "reads the command line, and renders help"),
    ("capture", "reads file formats, and names of interfaces"),
    ("host", "reads /proc, settings and names of counters"),
    ("kernel", "reads /proc, and names of probes"),
    ("fault", "reads the message of a panic"),
    ("build", "compiles the program"),
];

/// Places elsewhere that ask something of a text that is no report's, or render: file, how many, why.
const EXCEPTIONS: &[(&str, usize, &str)] = &[
    ("detect/registry.rs", 3, "Markdown of the explanations"),
    ("detect/spec.rs", 1, "Markdown of the explanations"),
    ("diagnose/host/feature.rs", 4, "values of settings as the kernel writes them"),
    ("diagnose/host/snapshot_facts.rs", 1, "values of settings as the kernel writes them"),
    ("engine/pipeline.rs", 1, "`-` is standard input"),
    ("live/metrics/server.rs", 2, "requests of HTTP"),
    ("live/metrics/text.rs", 3, "reads /proc"),
    ("live/ring/mod.rs", 8, "the size of a ring on the command line"),
    ("live/ring/names.rs", 1, "names of files"),
    ("live/screen/detail.rs", 1, "renders the model"),
    ("live/screen/draw.rs", 2, "names of counters"),
    ("live/witness.rs", 2, "names of counters and settings"),
    ("model/subject.rs", 2, "reads a report"),
    ("pair/mod.rs", 1, "`-` is standard input"),
    ("time.rs", 2, "reads a report"),
];

/// Files that hand metrics on: file, in how many places, why.
const HAND_ON_METRICS: &[(&str, usize, &str)] =
    &[("cli/live.rs", 1, "an option of that name"), ("diagnose/write.rs", 2, "hands them on to the finding")];

/// Fields that hold words for people.
const WORDS: &[&str] =
    &["text", "summary", "reason", "certainty_reason", "why", "why_less_likely", "how", "cause", "warnings"];

/// Methods that ask something of a text.
const ASK: &[&str] = &[
    "cmp",
    "contains",
    "ends_with",
    "eq",
    "eq_ignore_ascii_case",
    "find",
    "matches",
    "partial_cmp",
    "replace",
    "rfind",
    "rsplit_once",
    "split",
    "split_once",
    "starts_with",
    "strip_prefix",
    "strip_suffix",
];

#[test]
fn no_text_decides_outside_of_the_report() {
    let mut found = Vec::new();
    for (path, text) in production() {
        if READ_TEXT.iter().any(|(name, _)| *name == module(&path)) {
            continue;
        }
        let places = asked(&without_tests(tokens(&text)));
        report(&path, &places, EXCEPTIONS, &mut found);
    }
    assert!(found.is_empty(), "decide by a type{}", list(&found));
}

#[test]
fn metrics_are_written_and_not_read() {
    let mut found = Vec::new();
    for (path, text) in production() {
        if ["report", "model"].contains(&module(&path).as_str()) {
            continue;
        }
        let places = metrics(&without_tests(tokens(&text)));
        report(&path, &places, HAND_ON_METRICS, &mut found);
    }
    assert!(found.is_empty(), "decide by `detect::details`{}", list(&found));
}

#[test]
fn every_exception_is_used() {
    let files = production();
    let is_there = |path: &str| files.iter().any(|(file, _)| file.to_string_lossy() == path);
    let gone: Vec<_> = EXCEPTIONS
        .iter()
        .chain(HAND_ON_METRICS)
        .map(|(path, ..)| *path)
        .filter(|path| !is_there(path))
        .collect();
    assert!(gone.is_empty(), "files that are not there any more{}", list(&gone));
}

/// Notes the places of a file if they are not as many as its exception says: fewer are said as well, so that the list
/// stays true.
fn report(path: &Path, places: &[(usize, String)], known: &[(&str, usize, &str)], found: &mut Vec<String>) {
    let path = path.to_string_lossy();
    let may = known.iter().find(|(file, ..)| *file == path).map_or(0, |(_, n, _)| *n);
    if places.len() > may {
        found.extend(places.iter().map(|(line, what)| format!("src/{path}:{line}: {what}")));
    } else if places.len() < may {
        found.push(format!("src/{path}: {} places, the exception says {may}", places.len()));
    }
}

/// Lines at which something is asked of a text, and what.
fn asked(tokens: &[Token<'_>]) -> Vec<(usize, String)> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let is_text = |at: usize| tokens.get(at).is_some_and(is_string);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let mut note = |what: &str| found.push((token.line, what.to_owned()));
        let is_equality =
            |at: usize| matches!(text(at), "=" | "!") && text(at + 1) == "=" && text(at + 2) != ">";
        if is_text(at) {
            let before = at >= 2 && text(at - 1) == "=" && matches!(text(at - 2), "=" | "!");
            if before || is_equality(at + 1) {
                note("compares with a literal");
            } else if text(at + 1) == "=" && text(at + 2) == ">"
                || matches!(text(at + 1), ")" | "]") && text(at + 2) == "=" && text(at + 3) == ">"
                || text(at + 1) == "|" && is_text(at + 2)
                || at >= 1 && text(at - 1) == "|" && is_text(at.saturating_sub(2))
            {
                note("matches a literal");
            }
        }
        if token.text == "matches" && text(at + 1) == "!" && pattern_has_text(tokens, at + 2) {
            note("matches a literal");
        }
        if at >= 1 && text(at - 1) == "." {
            let own = at >= 2 && WORDS.contains(&text(at - 2)) && at >= 3 && text(at - 3) == ".";
            let is_asked = ASK.contains(&token.text) && text(at + 1) == "(";
            let literal = is_text(at + 2) || text(at + 2) == "&" && is_text(at + 3);
            if is_asked && (literal || own) {
                note("asks something of a text");
            } else if WORDS.contains(&token.text) && text(at + 1) != "(" && is_compared(tokens, at) {
                note("compares words of a report");
            } else if token.text == "parse" && matches!(text(at + 1), "(" | "::") {
                note("reads a value back from text");
            } else if token.text == "text" && text(at + 1) == "(" && at >= 2 && text(at - 2) == "suspect" {
                note("takes the words of a typed value");
            }
        }
    }
    found
}

/// Whether the field at `at` is an operand of a comparison: `a.text == b`, `b != &x.y.text`.
fn is_compared(tokens: &[Token<'_>], at: usize) -> bool {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let follows = match (text(at + 1), text(at + 2)) {
        ("=" | "!", "=") => text(at + 3) != ">",
        ("<" | ">", _) => true,
        _ => false,
    };
    // Back to where the path of fields begins.
    let mut begin = at;
    while begin >= 2 && text(begin - 1) == "." {
        begin -= 2;
    }
    while begin >= 1 && matches!(text(begin - 1), "&" | "*") {
        begin -= 1;
    }
    let precedes = begin >= 2 && text(begin - 1) == "=" && matches!(text(begin - 2), "=" | "!");
    follows || precedes
}

/// Whether the pattern of a `matches!`, whose parenthesis is at `at`, has a string literal.
fn pattern_has_text(tokens: &[Token<'_>], at: usize) -> bool {
    let (mut depth, mut in_pattern) = (0usize, false);
    for token in &tokens[at.min(tokens.len())..] {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return false;
                }
            }
            "," if depth == 1 => in_pattern = true,
            // A guard is no pattern.
            "if" if in_pattern => return false,
            _ if in_pattern && is_string(token) => return true,
            _ => {}
        }
    }
    false
}

/// Lines that read the metrics of a finding; the module of that name is another thing.
fn metrics(tokens: &[Token<'_>]) -> Vec<(usize, String)> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let is_read = |at: usize| {
        let (before, after) = (if at == 0 { "" } else { text(at - 1) }, text(at + 1));
        let is_written = matches!(text(at + 2), "insert" | "shrink_to_fit");
        text(at) == "metrics"
            && (before == "."
                || after == "["
                || after == "." && !is_written
                || matches!(before, "{" | ",") && matches!(after, "}" | ","))
    };
    let places = (0..tokens.len()).filter(|&at| is_read(at));
    places.map(|at| (tokens[at].line, "reads metrics".to_owned())).collect()
}

fn lines(text: &str) -> Vec<usize> {
    asked(&without_tests(tokens(text))).into_iter().map(|(line, _)| line).collect()
}

#[test]
fn every_way_to_decide_by_text_is_seen() {
    for text in [
        r#"if a.text == "A firewall dropped it." {}"#,
        r#"if "x" != b {}"#,
        r#"assert!(a == "x");"#,
        "if d.cause.text == other {}",
        "if other != &d.cause.text {}",
        "if *other == d.summary {}",
        "if d.reason.contains(why) {}",
        r#"if name.starts_with("host_") {}"#,
        r#"if name.contains(&"lost".to_owned()) {}"#,
        r#"d.replace("addresss", "addresses");"#,
        r#"match text { "SYN" => {} _ => {} }"#,
        r#"match text { Some("SYN") => {} _ => {} }"#,
        r#"match lost[..] { ["SYN"] => {} _ => {} }"#,
        r#"let x = matches!(text("late"), Some("FIN" | "a probe"));"#,
        r#"let x = matches!(a, "b");"#,
        "let x: SocketAddr = finding.client.parse()?;",
        "let x = end.parse::<SocketAddr>();",
        "let x = alternative.suspect.text();",
    ] {
        assert!(!lines(text).is_empty(), "{text}");
    }
}

#[test]
fn what_decides_by_types_or_writes_text_is_not_seen() {
    for text in [
        r#"d.cause = cause("The queue was full.", &[], &[], &[]);"#,
        r#"let who = match role { Role::Client => "clients", Role::Server => "server" };"#,
        r#"let by = if refused { "refused" } else { "ignored" };"#,
        "if kinds.contains(&d.kind) {}",
        "if d.details == Details::None {}",
        r#"let x = matches!(role, Role::Client) && says("x");"#,
        r#"d.reason = format!("{}; {why}", d.reason);"#,
        r#"// if a.text == "x" {}"#,
        "#[cfg(test)]\nmod tests { fn f() { assert_eq!(a.text == \"x\", true); } }",
    ] {
        assert_eq!(lines(text), [0; 0], "{text}");
    }
}

#[test]
fn every_way_to_read_metrics_is_seen() {
    let lines = |text: &str| metrics(&tokens(text)).len();
    for text in [
        r#"d.metrics.get("served")"#,
        "w.finding.metrics[name]",
        "let Finding { metrics, .. } = f;",
        "let x = metrics.iter();",
        "let m = &finding.metrics;",
    ] {
        assert_eq!(lines(text), 1, "{text}");
    }
    for text in [
        "pub mod metrics;",
        "use crate::live::metrics::Book;",
        r#"d.measure("served", true)"#,
        r#"metrics.insert("served", served.into());"#,
        "fn write(metrics: &mut Metrics) {}",
    ] {
        assert_eq!(lines(text), 0, "{text}");
    }
}
