use comrak::nodes::{NodeValue, TableAlignment};
use comrak::{Arena, parse_document};

use super::*;
use crate::report::samples;
use crate::report::terminal::is_hostile;

const FLAVORS: [Flavor; 3] = [Flavor::Github, Flavor::Gitlab, Flavor::Jira];

/// Without the program's version.
fn rendered(report: &Report, flavor: Flavor, length: Length) -> String {
    let mut out = Vec::new();
    write(report, MarkdownOptions { flavor, length }, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    text.replace(concat!("synscope ", env!("CARGO_PKG_VERSION")), "synscope VERSION")
}

fn gfm() -> comrak::Options<'static> {
    let mut options = comrak::Options::default();
    options.extension.table = true;
    options.extension.autolink = true;
    options.extension.strikethrough = true;
    options.extension.tasklist = true;
    options.extension.footnotes = true;
    options.render.r#unsafe = true;
    options
}

#[test]
fn golden_texts() {
    for (name, report) in samples::all() {
        insta::assert_snapshot!(name, rendered(&report, Flavor::Github, Length::Short));
    }
    insta::assert_snapshot!("overflow-full", rendered(&samples::overflow(), Flavor::Github, Length::Full));
    insta::assert_snapshot!("overflow-jira", rendered(&samples::overflow(), Flavor::Jira, Length::Short));
    insta::assert_snapshot!("overflow-gitlab", rendered(&samples::overflow(), Flavor::Gitlab, Length::Short));
}

/// What a capture can bring, each an attack on the ticket: on what renders it, on who is named in it, on its state.
const EVIL: &[&str] = &[
    "<script>alert(1)</script> [x](http://evil.example) ![i](http://evil.example/p) @root #1 !1 ~a | a | b |\n\n# h\n```\n\
     `x` *b* _i_ http://evil.example www.evil.example <!-- {noformat} {{x}} &lt; \\| a@evil.example\n/close",
    "# heading",
    "h1. heading",
    "bq. quotation",
    "> quotation",
    ">>> quotation",
    "- [ ] task",
    "+ item",
    "* item",
    "1) item",
    "---",
    "===\n===",
    "| a | b |\n| --- | --- |",
    "|| a || b ||",
    "~~~ fence",
    "```` fence",
    "    code",
    "$$x$$ $x$ $`x`$ $1",
    ":tada: 2001:db8:a:1::5 :100:",
    "[+ added +] {+ added +} [- gone -] {- gone -}",
    "[[_TOC_]] [[page]] [^1] [^1]: note",
    "(x) (/) (on) :D ;) :)",
    "{color:red}red{color} {html}<b>{html} !picture.png! [~root] ??cited?? +ins+ ^up^",
    "=cmd|'/C calc'!A0 @all %1 &1",
    "/close",
    "<details open><summary>x</summary>",
    "</details> <!-- x --> <http://evil.example> &#60;b&#62;",
    "`unpaired",
    "``pair`` `",
    "a\\",
];

/// The mixture with `evil` wherever text of a capture can come to stand.
fn attacked(evil: &str) -> Report {
    let mut report = samples::mixture();
    report.captures[0].path = evil.to_owned();
    report.captures[0].warnings.push(format!("interface {evil} is odd"));
    report.warnings.push(evil.to_owned());
    report.inferred[0].from = evil.to_owned();
    report.inferred[0].value = evil.into();
    report.inferred[1].host = evil.to_owned().into();
    report.incidents[0].cause = evil.to_owned();
    report.incidents[0].next_steps.push(evil.to_owned());
    report.incidents[0].next_steps.push(format!("{evil}  # {evil}"));
    for finding in &mut report.findings {
        finding.summary = evil.to_owned();
        finding.certainty_reason = evil.to_owned();
        for evidence in &mut finding.evidence {
            evidence.text = evil.to_owned().into();
            evidence.capture = evil.into();
        }
    }
    report
}

fn attack() -> Report {
    attacked(EVIL[0])
}

/// All that GitLab turns on in this very parser; besides, what GitHub has.
fn everything() -> comrak::Options<'static> {
    let mut options = gfm();
    options.extension.math_dollars = true;
    options.extension.math_code = true;
    options.extension.wikilinks_title_before_pipe = true;
    options.extension.multiline_block_quotes = true;
    options.extension.alerts = true;
    options.extension.description_lists = true;
    options.extension.inline_footnotes = true;
    options.extension.front_matter_delimiter = Some("---".to_owned());
    options
}

/// The kinds of the outermost blocks, in their order.
fn blocks<'a>(root: &'a comrak::nodes::AstNode<'a>) -> Vec<std::mem::Discriminant<NodeValue>> {
    root.children().map(|node| std::mem::discriminant(&node.data.borrow().value)).collect()
}

/// What a tracker looks for in text that no escape protects any more: pictures, people, numbers of issues, changes.
fn found_by_the_tracker(text: &str, flavor: Flavor) -> Option<String> {
    let name = |c: char| c.is_ascii_alphanumeric() || "_+-".contains(c);
    for (at, c) in text.char_indices() {
        let rest = &text[at + c.len_utf8()..];
        let next = rest.chars().next().unwrap_or(' ');
        let found = match c {
            ':' => rest.split_once(':').is_some_and(|(inside, _)| {
                inside.chars().all(name) && inside.chars().any(|c| c.is_ascii_alphabetic()) || inside == "100"
            }),
            '@' | '#' | '!' | '~' | '$' | '%' => next.is_ascii_alphanumeric(),
            '&' => next.is_ascii_digit(),
            '[' | '{' => flavor == Flavor::Gitlab && "+-".contains(next),
            _ => false,
        };
        if found {
            return Some(text[at..].chars().take(12).collect());
        }
    }
    None
}

#[test]
fn nothing_from_a_capture_becomes_markup() {
    for evil in EVIL {
        for (flavor, length) in [Flavor::Github, Flavor::Gitlab]
            .into_iter()
            .flat_map(|flavor| [Length::Short, Length::Full].map(|length| (flavor, length)))
        {
            let text = rendered(&attacked(evil), flavor, length);
            let (arena, plain_arena) = (Arena::new(), Arena::new());
            let root = parse_document(&arena, &text, &everything());
            // The same kinds of blocks in the same order as with a harmless text: nothing begins or ends one.
            let plain = rendered(&attacked("harmless"), flavor, length);
            let plain = parse_document(&plain_arena, &plain, &everything());
            assert_eq!(blocks(root), blocks(plain), "{evil}: {text}");
            for node in root.descendants() {
                match &node.data.borrow().value {
                    // Of the program's own making: see below.
                    NodeValue::HtmlBlock(html) if html.literal.contains("details>") => {}
                    NodeValue::Heading(heading) => assert!(heading.level > 1, "{evil}: a heading"),
                    NodeValue::Text(text) => assert_eq!(found_by_the_tracker(text, flavor), None, "{evil}"),
                    NodeValue::Document
                    | NodeValue::List(_)
                    | NodeValue::Item(_)
                    | NodeValue::CodeBlock(_)
                    | NodeValue::Code(_)
                    | NodeValue::Paragraph
                    | NodeValue::Strong
                    | NodeValue::Table(_)
                    | NodeValue::TableRow(_)
                    | NodeValue::TableCell => {}
                    other => panic!("{evil}: {other:?}"),
                }
            }
            assert!(!text.chars().any(|c| c != '\n' && is_hostile(c)));
            assert!(!text.contains("\n/"), "{evil}: a quick action");
        }
    }
}

#[test]
fn jira_blocks_are_not_ended_by_a_capture() {
    let text = rendered(&attack(), Flavor::Jira, Length::Full);
    let fences = text.lines().filter(|line| line.contains("{noformat}") && !line.contains("\\{noformat"));
    for line in fences {
        assert_eq!(line, "{noformat}");
    }
}

#[test]
fn tables_are_tables_with_all_their_cells() {
    for (name, report) in samples::all() {
        let text = rendered(&report, Flavor::Github, Length::Full);
        let arena = Arena::new();
        let root = parse_document(&arena, &text, &gfm());
        let mut tables = 0;
        for node in root.descendants() {
            if let NodeValue::Table(table) = &node.data.borrow().value {
                tables += 1;
                assert!(table.alignments.iter().all(|a| *a == TableAlignment::None), "{name}");
                for row in node.children() {
                    assert_eq!(row.children().count(), table.alignments.len(), "{name}");
                }
            }
        }
        // The incidents, one table of findings for each of them, the settings.
        let expected = match report.incidents.len() {
            0 => 0,
            n => 1 + n + usize::from(!report.inferred.is_empty()),
        };
        assert_eq!(tables, expected, "{name}");
    }
}

#[test]
fn the_short_form_fits_a_comment() {
    let mut report = samples::mixture();
    let one = report.incidents[0].clone();
    report.incidents.extend(std::iter::repeat_n(one, 3_000));
    for flavor in FLAVORS {
        let text = rendered(&report, flavor, Length::Short);
        assert!(text.len() < 30_000, "{}", text.len());
        assert!(text.contains("more incidents"));
    }
}

/// What Jira's renderer makes of a line outside `{noformat}`: its text, and whatever it would have taken for markup.
///
/// After the notation guide of Jira's wiki renderer: a backslash takes the meaning from the sign behind it; `{{...}}`
/// is monospaced, `*...*` strong, `{name}` a macro, `[...]` a link, `!...!` an image, `|` a cell.
#[derive(Default, Debug)]
struct Wiki {
    cells: Vec<String>,
    heads: usize,
    macros: Vec<String>,
    links: Vec<String>,
    images: usize,
    pictures: usize,
}

fn wiki(line: &str) -> Wiki {
    let mut wiki = Wiki::default();
    let mut text = String::new();
    let mut chars = line.chars().peekable();
    let mut bangs = 0;
    let row = line.starts_with('|');
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next().unwrap_or(' ')),
            '|' if row => {
                wiki.heads += usize::from(chars.next_if_eq(&'|').is_some());
                wiki.cells.push(std::mem::take(&mut text));
            }
            '{' if chars.next_if_eq(&'{').is_some() => {
                // Monospaced up to the closing braces; nothing but escapes has a meaning inside.
                loop {
                    match chars.next() {
                        Some('\\') => text.push(chars.next().unwrap_or(' ')),
                        Some('}') if chars.next_if_eq(&'}').is_some() => break,
                        Some('|') if row => panic!("a cell ends inside code: {line}"),
                        Some(c) => text.push(c),
                        None => panic!("code does not end: {line}"),
                    }
                }
            }
            '{' => {
                let name: String = std::iter::from_fn(|| chars.next_if(|c| *c != '}')).collect();
                wiki.macros.push(name);
            }
            '[' => wiki.links.push(std::iter::from_fn(|| chars.next_if(|c| *c != ']')).collect()),
            '!' => {
                bangs += 1;
                text.push('!');
            }
            c => text.push(c),
        }
    }
    wiki.images = bangs / 2;
    // These are found in all text, code as well, unless a sign of them is written as an entity.
    let small =
        [":)", ":(", ":D", ":P", ";)", "(x)", "(/)", "(on)", "(i)", "(!)", "(y)", "(n)", "(*)", "(+)", "(-)"];
    wiki.pictures = small.iter().map(|small| line.matches(small).count()).sum();
    wiki
}

#[test]
fn jira_reads_tables_blocks_and_nothing_else() {
    let mut reports = samples::all();
    reports.extend(EVIL.iter().map(|evil| (*evil, attacked(evil))));
    for (name, report) in reports {
        for length in [Length::Short, Length::Full] {
            let text = rendered(&report, Flavor::Jira, length);
            let mut verbatim = false;
            let mut columns = None;
            let mut tables = 0;
            for line in text.lines() {
                if line == "{noformat}" {
                    verbatim = !verbatim;
                    continue;
                }
                if verbatim {
                    assert!(!line.contains("{noformat"), "{name}: {line}");
                    continue;
                }
                let read = wiki(line);
                assert!(read.macros.is_empty(), "{name}: macro {:?}: {line}", read.macros);
                assert!(read.links.is_empty(), "{name}: link {:?}: {line}", read.links);
                assert_eq!(read.images, 0, "{name}: image: {line}");
                let heading = line.strip_prefix(['h']).is_some_and(|rest| rest[1..].starts_with(". "));
                let known = ["h2. TCP diagnosis", "h3. "].iter().any(|own| line.starts_with(own));
                assert!((!heading || known) && !line.starts_with("bq. "), "{name}: {line}");
                assert_eq!(read.pictures, 0, "{name}: picture: {line}");
                match line.strip_prefix("||") {
                    Some(_) => {
                        assert_eq!(read.heads, read.cells.len(), "{name}: a head of heads only: {line}");
                        columns = Some(read.cells.len());
                        tables += 1;
                    }
                    None if line.starts_with('|') => {
                        assert_eq!(read.heads, 0, "{name}: a cell without content is a head: {line}");
                        assert_eq!(Some(read.cells.len()), columns, "{name}: {line}");
                    }
                    None => columns = None,
                }
            }
            assert!(!verbatim, "{name}: the last block is closed");
            assert_eq!(tables > 0, !report.incidents.is_empty() || !report.inferred.is_empty(), "{name}");
        }
    }
}

/// GitHub and GitLab take HTML in Markdown. The only HTML of a report is what folds its long lists.
#[test]
fn what_is_folded_is_a_table_between_details() {
    for flavor in [Flavor::Github, Flavor::Gitlab] {
        let text = rendered(&attack(), flavor, Length::Full);
        let arena = Arena::new();
        let root = parse_document(&arena, &text, &gfm());
        let mut inside = false;
        let mut folded = 0;
        for node in root.children() {
            match &node.data.borrow().value {
                NodeValue::HtmlBlock(html) if html.literal.starts_with("<details>") => {
                    assert!(!inside, "one inside another");
                    let title = html.literal.strip_prefix("<details>\n<summary>").expect("a title");
                    let title = title.strip_suffix("</summary>\n").expect("nothing but a title");
                    assert!(!title.contains('<'), "{title}");
                    inside = true;
                }
                NodeValue::HtmlBlock(html) => {
                    assert_eq!(html.literal, "</details>\n");
                    assert!(inside, "an end without a beginning");
                    inside = false;
                }
                NodeValue::Table(_) => folded += usize::from(inside),
                _ => {}
            }
        }
        assert!(!inside);
        assert_eq!(folded, attack().incidents.len());
    }
}
