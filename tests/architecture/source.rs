//! The sources, as tokens.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

pub fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(|item| format!("\n  {item}")).collect()
}

/// All modules' files with their text, paths relative to `src`, without the build script.
pub fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder that was listed") {
            let path = entry.expect("an entry of a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("source text is UTF-8");
                files.push((path.strip_prefix(&root).expect("listed below the root").to_owned(), text));
            }
        }
    }
    files.retain(|(path, _)| path != Path::new("build.rs"));
    files.sort();
    assert!(files.len() > 5, "no sources found: the test looks in the wrong place");
    files
}

/// The top-level module that a file belongs to.
pub fn module(path: &Path) -> String {
    let top = path.iter().next().expect("a path has a first part");
    Path::new(top).with_extension("").to_string_lossy().into_owned()
}

/// A token of the language.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token<'a> {
    /// As it stands in the file.
    pub text: &'a str,
    /// From 1.
    pub line: usize,
}

/// Words, `::`, single signs and literals; comments are left out.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let (mut at, mut line, mut counted) = (0, 1, 0);
    while at < bytes.len() {
        line += bytes[counted..at].iter().filter(|b| **b == b'\n').count();
        counted = at;
        let rest = &text[at..];
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(len) = string(rest).or_else(|| character(rest)) {
            tokens.push(Token { text: &rest[..len], line });
            len
        } else {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let len = match word {
                0 if rest.starts_with("::") => 2,
                0 => rest.chars().next().map_or(1, char::len_utf8),
                word => word,
            };
            if !rest.starts_with(char::is_whitespace) {
                tokens.push(Token { text: &rest[..len], line });
            }
            len
        };
        at += len;
    }
    tokens
}

/// Length of the comment that `text` begins with; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Length of the string literal that `text` begins with, if it does: plain, byte, C or raw.
fn string(text: &str) -> Option<usize> {
    let prefix = text.len() - text.trim_start_matches(['b', 'c', 'r']).len();
    if prefix > 2 {
        return None;
    }
    let body = &text[prefix..];
    if text[..prefix].contains('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let inside = body[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(inside.find(&end).map_or(text.len(), |len| prefix + hashes + 1 + len + end.len()));
    }
    let inside = body.strip_prefix('"')?;
    let mut escaped = false;
    for (len, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(prefix + 1 + len + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// Length of the character literal at the start of `text`; `None` for a lifetime.
fn character(text: &str) -> Option<usize> {
    let prefix = usize::from(text.starts_with("b'"));
    let inside = text[prefix..].strip_prefix('\'')?;
    let mut characters = inside.char_indices();
    let (_, first) = characters.next()?;
    if first == '\\' {
        let (escape, _) = characters.next()?;
        let rest = &inside[escape + 1..];
        return rest.find('\'').map(|len| prefix + 1 + escape + 1 + len + 1);
    }
    let (end, quote) = characters.next()?;
    (quote == '\'').then_some(prefix + 1 + end + 1)
}

/// The visibility of a test module that is used from others.
const PUB_CRATE: [&str; 4] = ["pub", "(", "crate", ")"];
/// What stands before an item that is compiled for tests only.
const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
/// The same for tests of a feature: `#[cfg(all(test, feature = "live"))]`.
const CFG_ALL_TEST: [&str; 7] = ["#", "[", "cfg", "(", "all", "(", "test"];

/// Whether the tokens from `at` on read as `expected`.
pub fn reads(tokens: &[Token<'_>], at: usize, expected: &[&str]) -> bool {
    tokens.iter().skip(at).map(|token| token.text).take(expected.len()).eq(expected.iter().copied())
}

/// The place behind the attribute at `at`, if it is one that compiles for tests only.
fn behind_cfg_test(tokens: &[Token<'_>], at: usize) -> Option<usize> {
    if reads(tokens, at, &CFG_TEST) {
        return Some(at + CFG_TEST.len());
    }
    let all = reads(tokens, at, &CFG_ALL_TEST);
    tokens[at..].iter().position(|token| token.text == "]").filter(|_| all).map(|end| at + end + 1)
}

/// Paths, without extension, of the modules that a file declares for tests only: `#[cfg(test)] mod name;`, the same
/// with `pub(crate)` for those that other modules' tests use.
pub fn test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let own = path.file_stem().is_some_and(|name| name != "mod" && name != "lib" && name != "main");
    let folder = if own { path.with_extension("") } else { path.with_file_name("") };
    let tokens = tokens(text);
    (0..tokens.len())
        .filter_map(|at| behind_cfg_test(&tokens, at))
        .map(|at| if reads(&tokens, at, &PUB_CRATE) { at + PUB_CRATE.len() } else { at })
        .filter(|&at| reads(&tokens, at, &["mod"]) && reads(&tokens, at + 2, &[";"]))
        .map(|at| folder.join(tokens[at + 1].text))
        .collect()
}

/// Leaves out each item behind `#[cfg(test)]`.
pub fn without_tests(tokens: Vec<Token<'_>>) -> Vec<Token<'_>> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if let Some(item) = behind_cfg_test(&tokens, at) {
            at = item_end(&tokens, item);
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

/// Whether a field of a struct begins at `at`, in its declaration or its value: `name: ...`.
fn is_field(tokens: &[Token<'_>], mut at: usize) -> bool {
    if reads(tokens, at, &["pub"]) {
        at += 1;
        if reads(tokens, at, &["("]) {
            at += tokens[at..].iter().position(|token| token.text == ")").map_or(0, |end| end + 1);
        }
    }
    reads(tokens, at + 1, &[":"])
}

/// The place behind the field that begins at `at`: its comma, or the brace that closes the struct.
fn field_end(tokens: &[Token<'_>], at: usize) -> usize {
    let (mut depth, mut angles) = (0usize, 0usize);
    for (place, token) in tokens.iter().enumerate().skip(at) {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" if depth == 0 => return place,
            "}" | ")" | "]" => depth -= 1,
            "<" => angles += 1,
            ">" => angles = angles.saturating_sub(1),
            "," if depth == 0 && angles == 0 => return place + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// The place behind the item that begins at `at`: its closing brace or its semicolon.
fn item_end(tokens: &[Token<'_>], at: usize) -> usize {
    if is_field(tokens, at) {
        return field_end(tokens, at);
    }
    let mut depth = 0usize;
    for (place, token) in tokens.iter().enumerate().skip(at) {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && token.text == "}" {
                    // `use a::{b, c};` ends with the semicolon; a function or module without one.
                    let semicolon = tokens.get(place + 1).is_some_and(|next| next.text == ";");
                    return place + 1 + usize::from(semicolon);
                }
            }
            ";" if depth == 0 => return place + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// Files of `src/` that are compiled into the program, with their tokens. Code for tests only is left out.
pub fn production() -> Vec<(PathBuf, String)> {
    let files = sources();
    let for_tests: Vec<_> = files.iter().flat_map(|(path, text)| test_modules(path, text)).collect();
    let is_for_tests =
        |path: &Path| for_tests.iter().any(|module| path.with_extension("").starts_with(module));
    files.into_iter().filter(|(path, _)| !is_for_tests(path)).collect()
}

/// Whether a token is a string literal.
pub fn is_string(token: &Token<'_>) -> bool {
    string(token.text).is_some()
}

/// What the file of module `own` hands on from modules below it: `pub use draft::{Draft, Found}` makes `detect::Draft` another
/// name of `detect::draft::Draft`.
pub fn reexports(own: &str, text: &str) -> Vec<(String, String)> {
    let tokens = without_tests(tokens(text));
    let below: Vec<&str> =
        tokens.windows(2).filter(|pair| pair[0].text == "mod").map(|pair| pair[1].text).collect();
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let first = tokens.get(at + 2).map_or("", |token| token.text);
        if reads(&tokens, at, &["pub", "use"]) && below.contains(&first) {
            let mut leaves = Vec::new();
            crate::tree(&tokens, at + 2, &[], 0, &mut leaves);
            found.extend(leaves.iter().filter_map(|(_, parts)| {
                let name = parts.last()?;
                Some((format!("{own}::{name}"), format!("{own}::{}", parts.join("::"))))
            }));
        }
    }
    found
}

/// Paths that the file of module `own` names from itself on: with `mod draft;` in it, `draft::Draft` is one.
///
/// A re-export (`pub use`) does not count as a use, unless its name stands in the file once more.
pub fn own_paths(own: &str, text: &str) -> Vec<String> {
    let tokens = without_tests(tokens(text));
    let below: Vec<&str> =
        tokens.windows(2).filter(|pair| pair[0].text == "mod").map(|pair| pair[1].text).collect();
    let prefix: Vec<&str> = own.split("::").collect();
    let is_item = |at: usize| {
        let is_declared = at > 0 && tokens[at - 1].text == "mod";
        !is_declared && !reads(&tokens, at + 1, &["::"])
    };
    let stands_twice =
        |name: &str| (0..tokens.len()).filter(|&at| tokens[at].text == name && is_item(at)).count() > 1;
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let before = |n: usize| at.checked_sub(n).map_or("", |place| tokens[place].text);
        // `self::draft::Draft` is another way to write `draft::Draft`.
        let of_self = if before(1) == "::" && before(2) == "self" { 2 } else { 0 };
        let is_first = of_self > 0 || before(1) != "::";
        if is_first && below.contains(&tokens[at].text) && reads(&tokens, at + 1, &["::"]) {
            let is_handed_on = before(of_self + 1) == "use" && ["pub", ")"].contains(&before(of_self + 2));
            let mut leaves = Vec::new();
            crate::tree(&tokens, at, &prefix, 0, &mut leaves);
            leaves.retain(|(_, parts)| !is_handed_on || parts.last().is_some_and(|name| stands_twice(name)));
            found.extend(leaves.into_iter().map(|(_, parts)| parts.join("::")));
        }
    }
    found
}
