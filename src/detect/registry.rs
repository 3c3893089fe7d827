//! All finding kinds, and everything made from the list: the union of their wants, `synscope explain`,
//! `docs/findings.md`.

use crate::detect::kinds;
use crate::detect::spec::KindSpec;
use crate::flow::compact::clean::{CleanFlow, CleanFlowSummary};
use crate::flow::facts::ConnectionFacts;
use crate::history::incomplete::IncompleteHandshake;
use crate::history::settings::UserSettings;
use crate::history::wants::Wants;
use crate::model::Kind;

/// All kinds, in the order of [`Kind::ALL`].
pub fn all() -> &'static [&'static KindSpec] {
    kinds::ALL
}

/// The specification of `kind`.
pub fn spec(kind: Kind) -> &'static KindSpec {
    kinds::ALL[kind as usize]
}

const _: () = {
    let mut n = 0;
    while n < kinds::ALL.len() {
        assert!(
            kinds::ALL[n].kind as usize == n,
            "a file in detect/kinds/ describes another kind than its own"
        );
        n += 1;
    }
};

/// The union of all `wants`.
pub const WANTS: Wants =
    Wants { full: Some(wants_full), clean: Some(wants_clean), incomplete: Some(wants_incomplete) };

fn wants_full(f: &ConnectionFacts, settings: &UserSettings) -> bool {
    all().iter().any(|spec| spec.wants.wants_full(f, settings))
}

/// Very many connections are checked: only kinds with a function for the form are asked.
fn wants_clean(flow: &CleanFlow, course: &CleanFlowSummary, settings: &UserSettings) -> bool {
    const WITH: [usize; kinds::ALL.len()] = indices_first(CompactForm::Clean);
    const COUNT: usize = count(CompactForm::Clean);
    WITH[..COUNT].iter().any(|&n| kinds::ALL[n].wants.wants_clean(flow, course, settings))
}

fn wants_incomplete(handshake: &IncompleteHandshake) -> bool {
    const WITH: [usize; kinds::ALL.len()] = indices_first(CompactForm::Incomplete);
    const COUNT: usize = count(CompactForm::Incomplete);
    WITH[..COUNT].iter().any(|&n| kinds::ALL[n].wants.wants_incomplete(handshake))
}

#[derive(Clone, Copy)]
enum CompactForm {
    Clean,
    Incomplete,
}

/// Whether this kind may want connections in this form.
const fn may_want(spec: &KindSpec, form: CompactForm) -> bool {
    match form {
        CompactForm::Clean => spec.wants.clean.is_some(),
        CompactForm::Incomplete => spec.wants.incomplete.is_some(),
    }
}

/// How many kinds may want connections in this form.
const fn count(form: CompactForm) -> usize {
    let (mut n, mut count) = (0, 0);
    while n < kinds::ALL.len() {
        count += may_want(kinds::ALL[n], form) as usize;
        n += 1;
    }
    count
}

/// The kinds; places behind the last one are not used.
const fn indices_first(form: CompactForm) -> [usize; kinds::ALL.len()] {
    let mut indices = [0; kinds::ALL.len()];
    let (mut n, mut count) = (0, 0);
    while n < kinds::ALL.len() {
        if may_want(kinds::ALL[n], form) {
            indices[count] = n;
            count += 1;
        }
        n += 1;
    }
    indices
}

/// The table of `kinds` in the README: what the packets show, and who usually has to act.
pub fn table(kinds: &[&KindSpec]) -> String {
    let mut out = String::from("| kind | what the packets show | usually at fault |\n| --- | --- | --- |\n");
    for kind in kinds {
        let cells = [kind.first_sentence(), kind.at_fault.to_owned()].map(|cell| cell.replace('|', "\\|"));
        out.push_str(&format!("| `{}` | {} | {} |\n", kind.kind, cells[0], cells[1]));
    }
    out
}

/// The table of `kinds` in `testdata/README.md`: recorded cases that look alike and in which each must stay silent.
pub fn table_of_look_alikes(kinds: &[&KindSpec]) -> String {
    let mut out = String::from("| kind | its look-alikes that must stay silent |\n| --- | --- |\n");
    for kind in kinds {
        let cases = kind.look_alikes.iter().map(|case| match case.split_once(':') {
            Some((folder, capture)) => format!("`{folder}` ({capture})"),
            None => format!("`{case}`"),
        });
        out.push_str(&format!("| `{}` | {} |\n", kind.kind, cases.collect::<Vec<_>>().join(", ")));
    }
    out
}

/// All of `kinds` as one Markdown document, the text of `docs/findings.md`.
pub fn markdown(kinds: &[&KindSpec]) -> String {
    let mut out = String::from(
        "# Findings\n\n\
         <!-- Written by the program from the detectors' own documentation. Do not edit; renew it with\n\
         `SYNSCOPE_UPDATE=1 cargo test is_fresh`. -->\n\n\
         What synscope can find, what the packets show, what the kernel did, and what looks alike.\n\
         `synscope explain KIND` prints the same text.\n\n\
         | kind | in short |\n| --- | --- |\n",
    );
    for kind in kinds {
        let name = kind.kind;
        out.push_str(&format!("| [`{name}`](#{name}) | {} |\n", kind.first_sentence().replace('|', "\\|")));
    }
    for explanation in kinds {
        out.push_str(&format!("\n## {}\n\n", explanation.kind));
        let mut last = "";
        let mut in_code = false;
        for line in explanation.lines() {
            in_code ^= line.starts_with("```");
            // Sections become headings below that of the kind. Markdown needs a blank line before a heading and before
            // a list.
            let heading = !in_code && line.starts_with('#');
            let list_begins = !in_code && is_item(line) && !is_item(last) && !last.starts_with(' ');
            if (heading || list_begins) && !last.is_empty() {
                out.push('\n');
            }
            if heading {
                out.push('#');
            }
            out.push_str(line);
            out.push('\n');
            last = line;
        }
        for (what, names) in [("Counters", explanation.counters), ("Settings", explanation.settings)] {
            if !names.is_empty() {
                out.push_str(&format!("\n{what}: `{}`.\n", names.join("`, `")));
            }
        }
        // The path may be written with the separators of the system that compiled it.
        out.push_str(&format!("\nDetected in `{}`.\n", explanation.file.replace('\\', "/")));
    }
    out
}

/// Whether a line of Markdown starts an item of a list.
pub fn is_item(line: &str) -> bool {
    line.starts_with("* ") || line.starts_with("- ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::kinds::exercise;
    use crate::model::Kind;
    use std::path::Path;
    use std::{env, fs};

    #[test]
    fn one_text_is_documentation_and_explanation() {
        let _ = exercise::Exercise;
        let spec = &exercise::SPEC;
        assert_eq!(spec.kind, Kind::Exercise);
        assert!(spec.file.ends_with("exercise.rs"));
        assert_eq!(spec.first_sentence(), "A client sends exactly 4,242 bytes and is not answered.");
        let lines: Vec<_> = spec.lines().collect();
        assert_eq!(lines[2], "## On the wire");
        assert_eq!(lines[6], "  here.", "the indentation inside a list stays");
    }

    #[test]
    fn the_document_nests_sections_below_their_kind() {
        let text = markdown(&[&exercise::SPEC]);
        assert!(
            text.contains(
                "
## exercise

A client sends"
            ),
            "{text}"
        );
        assert!(
            text.contains(
                "of that size.

### Looks alike

* Any other"
            ),
            "{text}"
        );
        assert!(
            text.contains(
                "here.
* A copy"
            ),
            "{text}"
        );
        assert!(text.contains("Counters: `TcpExtTCPTimeouts`."), "{text}");
        assert!(
            !text.contains(
                "


"
            ),
            "{text}"
        );
    }

    #[test]
    fn every_kind_is_well_described() {
        for spec in all() {
            let (kind, sentence) = (spec.kind, spec.first_sentence());
            assert!(sentence.ends_with('.'), "{kind}: the first sentence is '{sentence}'");
            assert!(spec.text.contains("\n ## "), "{kind}: no sections");
            assert_eq!(spec.text.matches('`').count() % 2, 0, "{kind}: a backtick is alone");
            assert!(spec.plain_words.ends_with('.'), "{kind}: no plain words");
            assert!(!spec.at_fault.is_empty(), "{kind}: who has to act?");
            assert!(!spec.look_alikes.is_empty(), "{kind}: what looks alike?");
        }
    }

    /// All kinds that a user can meet.
    fn released() -> Vec<&'static KindSpec> {
        all().iter().copied().filter(|spec| spec.kind != Kind::Exercise).collect()
    }

    /// Holds the file at `path` against `fresh`, which is made from what the file says now; with `SYNSCOPE_UPDATE` writes it.
    fn hold_fresh(path: &str, fresh: impl FnOnce(&str) -> String) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let stored = fs::read_to_string(&file).unwrap_or_default().replace("\r\n", "\n");
        let fresh = fresh(&stored);
        if env::var_os("SYNSCOPE_UPDATE").is_some() {
            fs::write(&file, &fresh).unwrap();
        } else {
            assert!(stored == fresh, "{path} is stale: SYNSCOPE_UPDATE=1 cargo test is_fresh");
        }
    }

    #[test]
    fn docs_findings_is_fresh() {
        hold_fresh("docs/findings.md", |_| markdown(&released()));
    }

    /// `stored` with `table` between the marks that say where it begins and ends.
    fn with_table(stored: &str, table: &str) -> String {
        let (begin, end) =
            ("<!-- kinds: SYNSCOPE_UPDATE=1 cargo test is_fresh -->\n", "<!-- end of kinds -->");
        let (before, rest) = stored.split_once(begin).expect("the file says where the kinds begin");
        let (_, after) = rest.split_once(end).expect("the file says where the kinds end");
        format!("{before}{begin}\n{table}\n{end}{after}")
    }

    #[test]
    fn the_table_of_the_readme_is_fresh() {
        hold_fresh("README.md", |stored| with_table(stored, &table(&released())));
    }

    #[test]
    fn the_table_of_look_alikes_is_fresh() {
        hold_fresh("testdata/README.md", |stored| with_table(stored, &table_of_look_alikes(&released())));
    }
}
