//! No files that import each other in a circle: each can be read, and changed, knowing only what lies below it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::imports;
use crate::source::{list, own_paths, production, reexports};

/// Circles that stay, and why. Every other file can be read without those that import it.
const KNOWN: &[(&[&str], &str)] = &[
    (
        &[
            "decode::icmp",
            "decode::ip",
            "decode::link",
            "decode::tcp",
            "decode::tunnel",
            "decode::usual_packet",
        ],
        "packets nest: IP carries a tunnel, a tunnel carries Ethernet or IP, an ICMP error quotes IP",
    ),
    (
        &[
            "flow::connection",
            "flow::connection::close",
            "flow::connection::copies",
            "flow::connection::stream",
        ],
        "one state machine: each file has the methods of `Connection` for one part of its life",
    ),
    (
        &[
            "flow::ended",
            "flow::tracker",
            "flow::tracker::events",
            "flow::tracker::pressure",
            "flow::tracker::waits",
        ],
        "one table: `Tracker` with its timers and its eviction; both end connections",
    ),
    (
        &["live::issued", "live::issued::confirmed", "live::issued::counted_findings"],
        "one list of issued findings: `confirmed` and `counted_findings` have the rules for two kinds of its entries",
    ),
    (
        &["live::ring", "live::ring::keeper", "live::ring::piece"],
        "one ring of files: `ring` hands packets to the thread of `keeper`, which writes them in pieces",
    ),
    (
        &["live::sockets", "live::sockets::refusals"],
        "one reading of the listening sockets: `refusals` counts the drops that it shows",
    ),
    (
        &["report::text", "report::text::brief"],
        "one rendering in two lengths: both are methods of `Text`, and share their paragraphs",
    ),
];

/// Which files a file imports, by their module paths.
type Imports = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_files_import_each_other_in_a_circle() {
    let found = circles_of_the_crate();
    let is_known = |circle: &Vec<String>| KNOWN.iter().any(|(known, _)| circle.iter().eq(known.iter()));
    let unknown = found.iter().filter(|circle| !is_known(circle)).map(|circle| circle.join(", "));
    let is_there = |known: &[&str]| found.iter().any(|circle| circle.iter().eq(known.iter()));
    let gone = KNOWN.iter().filter(|(known, _)| !is_there(known));
    let gone = gone.map(|(known, _)| format!("named here, and gone: {}", known.join(", ")));
    let wrong: Vec<_> = unknown.chain(gone).collect();
    assert!(wrong.is_empty(), "{}", list(&wrong));
}

/// All circles; imports between modules have no circle, as `MAY_USE` has none.
fn circles_of_the_crate() -> Vec<Vec<String>> {
    let files = production();
    let all: Vec<(String, &Path, &str)> =
        files.iter().map(|(path, text)| (name(path), path.as_path(), text.as_str())).collect();
    circles(&graph(&all))
}

/// `detect/kinds/mod.rs` is `detect::kinds`.
fn name(path: &Path) -> String {
    let path = path.with_extension("");
    let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).filter(|part| *part != "mod").collect();
    parts.join("::")
}

fn graph(files: &[(String, &Path, &str)]) -> Imports {
    let names: BTreeSet<&str> = files.iter().map(|(name, ..)| name.as_str()).collect();
    // What `mod.rs` hands on is imported from where it is.
    let mut real: BTreeMap<String, String> = BTreeMap::new();
    for (name, _, text) in files {
        real.extend(reexports(name, text));
    }
    let file_of = |import: &str| {
        let import = real.get(import).map_or(import, String::as_str);
        let ends = import.match_indices("::").map(|(end, _)| end).chain([import.len()]);
        let known = ends.map(|end| &import[..end]).filter(|prefix| names.contains(prefix));
        known.last().map(str::to_owned)
    };
    let of = |path: &Path, name: &str, text: &str| {
        let from_root = imports(path, text).into_iter().map(|(_, import)| import);
        let all = from_root.chain(own_paths(name, text));
        all.filter_map(|import| file_of(&import)).filter(|other| other != name).collect()
    };
    files.iter().map(|(name, path, text)| (name.clone(), of(path, name, text))).collect()
}

/// Groups of files each of which leads to every other one, in order of their names.
fn circles(imports: &Imports) -> Vec<Vec<String>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        imports.keys().map(|file| (file.as_str(), reachable(file, imports))).collect();
    let circle_of = |file: &str| {
        let others = reached[file].iter().filter(|other| reached[*other].contains(file));
        others.map(|other| (*other).to_owned()).collect::<Vec<_>>()
    };
    let circles: BTreeSet<_> = imports.keys().map(|file| circle_of(file)).collect();
    circles.into_iter().filter(|circle| circle.len() > 1).collect()
}

/// All files to which the imports of `file` lead, itself only if they lead back.
fn reachable<'a>(file: &'a str, imports: &'a Imports) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![file];
    while let Some(file) = next.pop() {
        let new = imports.get(file).into_iter().flatten().map(String::as_str);
        next.extend(new.filter(|other| reached.insert(*other)));
    }
    reached
}

#[test]
fn a_circle_is_found_through_what_a_module_hands_on() {
    let files = [
        ("detect".to_owned(), Path::new("detect/mod.rs"), "pub mod draft;\npub use draft::{Draft, Found};"),
        ("detect::draft".to_owned(), Path::new("detect/draft.rs"), "use crate::detect::spec::KindSpec;"),
        ("detect::spec".to_owned(), Path::new("detect/spec.rs"), "use crate::detect::Draft;"),
    ];
    assert_eq!(circles(&graph(&files)), [["detect::draft", "detect::spec"]]);
    let straight = [files[0].clone(), files[2].clone(), ("detect::draft".to_owned(), files[1].1, "")];
    assert!(circles(&graph(&straight)).is_empty());
}

#[test]
fn a_circle_is_found_through_a_path_that_begins_at_the_file_itself() {
    let files = [
        ("engine".to_owned(), Path::new("engine/mod.rs"), "mod intake;\nfn f() { intake::run() }"),
        ("engine::intake".to_owned(), Path::new("engine/intake.rs"), "use super::Options;"),
    ];
    assert_eq!(circles(&graph(&files)), [["engine", "engine::intake"]]);
}
