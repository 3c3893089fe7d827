//! Documents for contributors name types, functions and files that exist, and a type name means one thing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::source::{list, production, sources, tokens, without_tests};

/// Documents that describe the code, or folders of them.
const DOCUMENTS: &[&str] =
    &["docs/architecture.md", "docs/contributing.md", "docs/fleet.md", "docs/decisions"];

/// Names in them that are not of this crate, and the reasons.
const FOREIGN: &[(&str, &str)] = &[
    ("OddSize", "the kind that docs/contributing.md adds as an exercise"),
    ("odd_size", "its file"),
    ("core::hint", "the standard library"),
];

/// Type names with several definitions, and the reasons.
const SHARED: &[(&str, &str)] = &[
    ("Err", "the associated type of `FromStr`"),
    ("Error", "each stage has its own, used as `engine::Error`"),
    ("Output", "the associated type of `Add`, `Sub` and others"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for &document in DOCUMENTS {
        let path = root().join(document);
        if path.is_dir() {
            files.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            files.push(path);
        }
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    files.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// Names that `src/` defines, its modules among them.
fn definitions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (path, text) in sources() {
        names.extend(path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()));
        for pair in tokens(&text).windows(2) {
            if ["struct", "enum", "trait", "type", "fn", "const", "static", "mod", "macro_rules"]
                .contains(&pair[0].text)
            {
                names.insert(pair[1].text.to_owned());
            }
        }
    }
    names
}

/// Code in backticks, outside of code blocks.
fn spans(text: &str) -> Vec<&str> {
    let lines = text.split("```").step_by(2).flat_map(str::lines);
    lines.flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// Whether a span is a name of Rust code: a path of names, or a type's name.
fn is_name(span: &str) -> bool {
    let is_word = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let is_type =
        span.starts_with(|c: char| c.is_ascii_uppercase()) && span.contains(|c: char| c.is_ascii_lowercase());
    span.split("::").all(is_word) && (span.contains("::") || is_type)
}

/// The names in a document of which a part is defined nowhere.
fn unknown<'t>(text: &'t str, known: &BTreeSet<String>) -> Vec<&'t str> {
    spans(text)
        .into_iter()
        .filter(|span| is_name(span) && !FOREIGN.iter().any(|(name, _)| name == span))
        .filter(|span| !span.split("::").all(|part| known.contains(part)))
        .collect()
}

#[test]
fn documents_name_code_that_exists() {
    let known = definitions();
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        let name = path.strip_prefix(root()).unwrap().display();
        wrong.extend(unknown(&text, &known).into_iter().map(|span| format!("{name}: `{span}`")));
    }
    assert!(wrong.is_empty(), "names that src/ does not define{}", list(&wrong));
    let planted =
        "`Segment` is made by `decode::NoSuchType`; `ListenDrops2` is none.\n```\n`InABlock`\n```\n";
    assert_eq!(unknown(planted, &known), ["decode::NoSuchType", "ListenDrops2"]);
}

#[test]
fn documents_name_files_that_exist() {
    let places = ["", "src", "tests", "tests/architecture", "tests/support"];
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        let name = path.strip_prefix(root()).unwrap().display();
        let files = spans(&text).into_iter().filter(|span| {
            span.ends_with(".rs") && !span.contains(['<', '*', ' ']) && !span.contains("odd_size")
        });
        let missing = files.filter(|file| {
            !places.iter().any(|place| root().join(place).join(file).exists())
                && !sources().iter().any(|(path, _)| path.ends_with(file))
        });
        wrong.extend(missing.map(|file| format!("{name}: `{file}`")));
    }
    assert!(wrong.is_empty(), "files that do not exist{}", list(&wrong));
}

#[test]
fn a_type_name_means_one_thing() {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in production() {
        for pair in without_tests(tokens(&text)).windows(2) {
            let is_name = pair[1].text.starts_with(char::is_alphabetic);
            if is_name && ["struct", "enum", "trait", "type"].contains(&pair[0].text) {
                found.entry(pair[1].text.to_owned()).or_default().push(path.display().to_string());
            }
        }
    }
    let several: Vec<_> = found
        .iter()
        .filter(|(name, files)| files.len() > 1 && !SHARED.iter().any(|(shared, _)| shared == name))
        .map(|(name, files)| format!("{name}: {}", files.join(", ")))
        .collect();
    assert!(several.is_empty(), "types with the same name{}", list(&several));
}

#[test]
fn a_heading_of_the_documentation_has_a_line_of_its_own() {
    let is_joined = |line: &&str| {
        let line = line.trim_start();
        let text = line.strip_prefix("/// # ").or_else(|| line.strip_prefix("//! # ")).unwrap_or_default();
        let rest = ["Errors", "Panics", "Safety"].iter().find_map(|heading| text.strip_prefix(heading));
        rest.is_some_and(|rest| !rest.is_empty())
    };
    let joined: Vec<String> = sources()
        .iter()
        .flat_map(|(path, text)| {
            text.lines().filter(is_joined).map(move |line| format!("{}: {line}", path.display()))
        })
        .collect();
    assert!(joined.is_empty(), "headings with text behind them\n{}", list(&joined));
}
