//! Holds `src/` to its own plan: who may import whom, what decides, no file or function that has grown too long, no drawer
//! for odds and ends.
//!
//! The imports are read from the text: every path that begins with `crate::` or `super::`, in `use` or anywhere else,
//! outside comments, literals and code under `#[cfg(test)]`. Tests beside the code may import anything.

mod cycles;
mod decisions;
mod documents;
mod lengths;
mod source;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use source::{Token, list, module, production, sources, test_modules, tokens, without_tests};

/// What each module may use besides itself, std and other crates. A path allows everything below it.
const MAY_USE: &[(&str, &[&str])] = &[
    ("time", &[]),
    ("seq", &[]),
    ("fault", &[]),
    ("capture", &["fault", "time", "seq", "decode::segment::PacketId"]),
    ("decode", &["capture", "fault", "time", "seq"]),
    // `decode::Segment` is another name of `decode::segment::Segment`.
    ("flow", &["decode::segment", "decode::Segment", "time", "seq"]),
    // Header values (options, addresses, packet numbers) are part of the facts.
    ("history", &["flow", "decode::segment", "time", "seq"]),
    ("detect", &["history", "flow", "decode::segment", "kernel::verdict", "model", "time", "seq"]),
    ("host", &["time"]),
    // What the kernel says of single packets, and which packets those are.
    ("kernel", &["capture::steady", "decode::segment", "time", "seq"]),
    ("diagnose", &["detect", "history", "flow", "decode::segment", "host", "kernel", "model", "time", "seq"]),
    // A report tells outcomes by their names.
    ("model", &["flow::key", "flow::outcome", "time"]),
    // The registry has the plain words of each kind.
    ("report", &["model", "detect::registry", "time"]),
    (
        "engine",
        &[
            "capture", "table", "decode", "fault", "flow", "history", "detect", "host", "kernel", "diagnose",
            "model", "time", "seq",
        ],
    ),
    (
        "live",
        &[
            "capture", "decode", "fault", "flow", "detect", "host", "kernel", "diagnose", "model", "report",
            "engine", "extract", "time", "seq",
        ],
    ),
    // Runs the engine on each side, and judges its findings a second time.
    ("pair", &["capture", "decode", "fault", "flow", "detect", "diagnose", "engine", "model", "time", "seq"]),
    ("redact", &["capture", "decode", "fault", "time"]),
    ("extract", &["capture", "decode", "redact", "model", "report::pcapng", "time"]),
    (
        "cli",
        &[
            "redact", "extract", "fleet", "table", "live", "pair", "capture", "decode", "fault", "flow",
            "detect", "host", "kernel", "diagnose", "model", "report", "engine", "time", "seq",
        ],
    ),
    // The steps of the engine and of a join one by one: it moves their results, and judges nothing.
    (
        "fleet",
        &[
            "capture",
            "decode::segment",
            "engine",
            "table",
            "flow::key",
            "flow::peer",
            "flow::tracker",
            "history",
            "kernel::comment",
            "pair",
            "redact",
            "seq",
            "time",
        ],
    ),
    // Rows are written while connections end: nothing of them is kept.
    ("table", &["decode::segment", "flow", "model", "time"]),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Names that do not describe the contents.
const EMPTY_NAMES: &[&str] = &["common", "helper", "helpers", "manager", "misc", "util", "utils"];

#[test]
fn imports_follow_the_arrows() {
    let breaches: Vec<_> = production().iter().flat_map(|(path, text)| check(path, text)).collect();
    assert!(breaches.is_empty(), "{}", list(&breaches));
}

#[test]
fn every_module_has_a_row_in_the_table() {
    let without: Vec<_> = sources()
        .into_iter()
        .map(|(path, _)| module(&path))
        .filter(|module| allowed(module).is_none())
        .collect();
    assert!(
        without.is_empty(),
        "modules that MAY_USE in tests/architecture/main.rs does not name: {without:?}"
    );
}

#[test]
fn no_file_has_an_empty_name() {
    let empty: Vec<_> = sources()
        .into_iter()
        .filter(|(path, _)| {
            path.with_extension("").iter().any(|part| EMPTY_NAMES.iter().any(|name| part == *name))
        })
        .map(|(path, _)| format!("{}: name a file after the noun that it defines", path.display()))
        .collect();
    assert!(empty.is_empty(), "{}", list(&empty));
}

/// A test that returns early because something is missing counts as passed.
#[test]
fn no_test_passes_by_being_skipped() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("tests"), root.join("src")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of this crate").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                let says_so = |line: &&str| line.contains(concat!("println!(\"", "skip"));
                found.extend(text.lines().filter(says_so).map(|line| format!("{}: {line}", path.display())));
            }
        }
    }
    assert!(found.is_empty(), "ignore them by name: docs/decisions/0002-skipped-tests.md{}", list(&found));
}

fn allowed(module: &str) -> Option<&'static [&'static str]> {
    MAY_USE.iter().find(|(name, _)| *name == module).map(|(_, paths)| *paths)
}

/// An import against the arrows.
#[derive(Debug, PartialEq, Eq)]
struct Breach {
    file: PathBuf,
    line: usize,
    import: String,
    module: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let may = match allowed(&self.module) {
            None | Some([]) => "nothing of this crate but itself".to_owned(),
            Some(paths) => paths.join(", "),
        };
        let Breach { file, line, import, module } = self;
        write!(f, "src/{}:{line}: uses crate::{import}; `{module}` may use: {may}", file.display())
    }
}

fn check(path: &Path, text: &str) -> Vec<Breach> {
    let module = module(path);
    let may = allowed(&module).unwrap_or_default();
    imports(path, text)
        .into_iter()
        .filter(|(_, import)| {
            let known = allowed(import.split("::").next().unwrap_or_default()).is_some();
            let permitted = |path: &&str| *path == import || import.starts_with(&format!("{path}::"));
            known && !permitted(&module.as_str()) && !may.iter().any(permitted)
        })
        .map(|(line, import)| Breach { file: path.to_owned(), line, import, module: module.clone() })
        .collect()
}

/// Paths from the crate's root that `text` names, with their lines.
fn imports(path: &Path, text: &str) -> Vec<(usize, String)> {
    let tokens = without_tests(tokens(text));
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let line = tokens[at].line;
        let continued = at > 0 && tokens[at - 1].text == "::";
        // `pub(in crate::cli)` names who may see an item.
        let is_visibility = at > 2 && source::reads(&tokens, at - 3, &["pub", "(", "in"]);
        let start = match tokens[at].text {
            "crate" if !continued && !is_visibility => Some((at + 1, Vec::new())),
            "super" if !continued => Some(above(path, &tokens, at)),
            _ => None,
        };
        let Some((next, prefix)) = start else {
            at += 1;
            continue;
        };
        at = next;
        if tokens.get(at).is_some_and(|token| token.text == "::") {
            let mut leaves = Vec::new();
            at = tree(&tokens, at + 1, &prefix, line, &mut leaves);
            found.extend(leaves.into_iter().map(|(line, parts)| (line, parts.join("::"))));
        }
    }
    found
}

/// Where `super::super::...` leads from the module of `path`: the place behind the last `super` and the path there.
///
/// Modules inside the file are not counted, so this may climb one too far; no import is missed by that.
fn above<'a>(path: &'a Path, tokens: &[Token<'_>], mut at: usize) -> (usize, Vec<&'a str>) {
    let mut parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    // `detect/mod.rs` is `detect`; `detect/queue.rs` is `detect::queue`: up from there means to drop one part in
    // both cases, of the first the folder as well.
    if parts.pop() == Some("mod.rs") {
        parts.pop();
    }
    at += 1;
    while tokens.get(at).is_some_and(|t| t.text == "::")
        && tokens.get(at + 1).is_some_and(|t| t.text == "super")
    {
        parts.pop();
        at += 2;
    }
    (at, parts)
}

/// Reads a path or a group of paths from `at` on; gives the place behind it.
fn tree<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    prefix: &[&'a str],
    line: usize,
    leaves: &mut Vec<(usize, Vec<&'a str>)>,
) -> usize {
    let mut parts = prefix.to_vec();
    let mut line = line;
    while let Some(token) = tokens.get(at) {
        match token.text {
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = tree(tokens, at, &parts, tokens[at].line, leaves);
                    while tokens.get(at).is_some_and(|token| token.text != "," && token.text != "}") {
                        at += 1; // `as name`
                    }
                    at += usize::from(tokens.get(at).is_some_and(|token| token.text == ","));
                }
                return at + 1;
            }
            "self" => at += 1,
            name if name.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                line = token.line;
                parts.push(name);
                at += 1;
            }
            _ => break,
        }
        match tokens.get(at) {
            Some(token) if token.text == "::" => at += 1,
            _ => break,
        }
    }
    leaves.push((line, parts));
    at
}

fn breaches(path: &str, text: &str) -> Vec<String> {
    check(Path::new(path), text)
        .into_iter()
        .map(|breach| format!("{}:{}", breach.line, breach.import))
        .collect()
}

#[test]
fn a_forbidden_import_is_found_in_every_form() {
    let text = "use crate::capture::Block;\nfn f() { crate::capture::open() }\nuse crate::{\n    time::Span,\n    \
                engine::{self, Options as O},\n};\nuse super::super::cli;";
    assert_eq!(
        breaches("flow/table.rs", text),
        ["1:capture::Block", "2:capture::open", "5:engine", "5:engine::Options", "7:cli"]
    );
}

#[test]
fn a_path_allows_what_is_below_it_only() {
    assert_eq!(breaches("detect/a.rs", "use crate::model::{Finding, Kind};"), [""; 0]);
    assert_eq!(breaches("detect/a.rs", "use crate::report::text;"), ["1:report::text"]);
    assert_eq!(
        breaches("capture/pcap.rs", "use crate::decode::segment::{PacketId, Segment};"),
        ["1:decode::segment::Segment"]
    );
    assert_eq!(breaches("report/json.rs", "use super::text::Look; use crate::model::Report;"), [""; 0]);
}

#[test]
fn comments_literals_and_tests_are_not_read() {
    let text = "//! [`crate::cli`]\n/* crate::cli /* crate::cli */ */\nconst A: &str = \"crate::cli\";\n\
                const B: &str = r#\"\"crate::cli\"#;\nconst C: char = '\"';\nfn f<'a>() {}\n\
                #[cfg(test)]\nmod tests { use crate::cli; fn g() {} }\n#[cfg(test)]\nuse crate::cli::{a, b};\n\
                use crate::cli::seen;";
    assert_eq!(breaches("flow/a.rs", text), ["11:cli::seen"]);
}

#[test]
fn files_of_test_modules_are_known() {
    let text = "#[cfg(test)]\nmod made;\nmod open;\n#[cfg(test)]\nmod tests { use super::*; }";
    assert_eq!(test_modules(Path::new("capture/mod.rs"), text), [Path::new("capture/made")]);
    assert_eq!(test_modules(Path::new("flow/table.rs"), text), [Path::new("flow/table/made")]);
    let shared = "#[cfg(test)]\npub(crate) mod wire;\npub mod key;";
    assert_eq!(test_modules(Path::new("flow/mod.rs"), shared), [Path::new("flow/wire")]);
}

#[test]
fn super_is_resolved_from_the_file() {
    assert_eq!(breaches("flow/mod.rs", "use super::engine::Options;"), ["1:engine::Options"]);
    assert_eq!(breaches("flow/key.rs", "use super::engine::Options;"), [""; 0]);
    assert_eq!(breaches("capture/pcapng/block.rs", "use super::super::super::flow::key;"), ["1:flow::key"]);
}

#[test]
fn a_field_for_tests_hides_nothing_but_itself() {
    let text = "struct A {\n    #[cfg(test)]\n    b: Vec<(u8, u8)>,\n    c: crate::cli::C,\n}\n\
                fn d() -> A {\n    A {\n        #[cfg(test)]\n        b: f(1, 2)\n    }\n}\nuse crate::cli::e;";
    assert_eq!(breaches("flow/a.rs", text), ["4:cli::C", "12:cli::e"]);
}
