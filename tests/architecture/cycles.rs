//! No files that import each other in a circle: each can be read, and changed, knowing only what lies below it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::imports;
use crate::source::{list, production, reexports};

/// Modules whose files must not import each other in a circle.
const WITHOUT_CIRCLES: &[&str] = &["detect", "diagnose", "pair", "report", "history", "model"];

/// Which files a file imports, by their module paths.
type Imports = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_files_import_each_other_in_a_circle() {
    let files = production();
    let mut found = Vec::new();
    for top in WITHOUT_CIRCLES {
        let own: Vec<(String, &Path, &str)> = files
            .iter()
            .filter(|(path, _)| path.starts_with(top))
            .map(|(path, text)| (name(path), path.as_path(), text.as_str()))
            .collect();
        assert!(own.len() > 2, "no files of {top}: the test looks in the wrong place");
        found.extend(circle(&graph(&own)).map(|circle| circle.join(" -> ")));
    }
    assert!(found.is_empty(), "{}", list(&found));
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
        let all = imports(path, text).into_iter().filter_map(|(_, import)| file_of(&import));
        all.filter(|other| other != name).collect()
    };
    files.iter().map(|(name, path, text)| (name.clone(), of(path, name, text))).collect()
}

/// A circle, if there is one: the first file of it stands at both ends.
fn circle(imports: &Imports) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    imports.keys().find_map(|file| visit(file, imports, &mut Vec::new(), &mut done))
}

fn visit<'a>(
    file: &'a str,
    imports: &'a Imports,
    way: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Vec<String>> {
    if let Some(begin) = way.iter().position(|known| *known == file) {
        return Some(way[begin..].iter().chain([&file]).map(|file| (*file).to_owned()).collect());
    }
    if !done.insert(file) {
        return None;
    }
    way.push(file);
    let found = imports.get(file)?.iter().find_map(|next| visit(next, imports, way, done));
    way.pop();
    found
}

#[test]
fn a_circle_is_found_through_what_a_module_hands_on() {
    let files = [
        ("detect".to_owned(), Path::new("detect/mod.rs"), "pub mod draft;\npub use draft::{Draft, Found};"),
        ("detect::draft".to_owned(), Path::new("detect/draft.rs"), "use crate::detect::spec::KindSpec;"),
        ("detect::spec".to_owned(), Path::new("detect/spec.rs"), "use crate::detect::Draft;"),
    ];
    assert_eq!(circle(&graph(&files)).unwrap().len(), 3);
    let straight = [files[0].clone(), files[2].clone(), ("detect::draft".to_owned(), files[1].1, "")];
    assert_eq!(circle(&graph(&straight)), None);
}
