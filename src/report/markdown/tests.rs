use comrak::nodes::{NodeValue, TableAlignment};
use comrak::{Arena, parse_document};

use super::*;
use crate::report::samples;
use crate::report::terminal::is_hostile;

const FLAVORS: [Flavor; 3] = [Flavor::Github, Flavor::Gitlab, Flavor::Jira];

fn rendered(report: &Report, flavor: Flavor, length: Length) -> String {
    let mut out = Vec::new();
    write(report, Options { flavor, length }, &mut out).unwrap();
    String::from_utf8(out).unwrap()
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

/// A report in which every string that a capture can bring is an attack on the ticket.
fn attack() -> Report {
    const EVIL: &str = "<script>alert(1)</script> [x](http://evil.example) ![i](http://evil.example/p) @root #1 !1 ~a \
                        | a | b |\n\n# h\n```\n`x` *b* _i_ http://evil.example www.evil.example <!-- {noformat} {{x}} \
                        &lt; \\| a@evil.example\n/close";
    let mut report = samples::mixture();
    report.captures[0].path = EVIL.to_owned();
    report.captures[0].warnings.push(format!("interface {EVIL} is odd"));
    report.warnings.push(EVIL.to_owned());
    report.inferred[0].from = EVIL.to_owned();
    report.inferred[0].value = EVIL.into();
    report.incidents[0].cause = EVIL.to_owned();
    report.incidents[0].next_steps.push(EVIL.to_owned());
    for finding in &mut report.findings {
        finding.summary = EVIL.to_owned();
        for evidence in &mut finding.evidence {
            evidence.text = EVIL.to_owned();
            evidence.capture = EVIL.to_owned();
        }
    }
    report
}

#[test]
fn nothing_from_a_capture_becomes_markup() {
    for length in [Length::Short, Length::Full] {
        let text = rendered(&attack(), Flavor::Github, length);
        let arena = Arena::new();
        let root = parse_document(&arena, &text, &gfm());
        for node in root.descendants() {
            match &node.data.borrow().value {
                NodeValue::HtmlBlock(html) => panic!("HTML: {}", html.literal),
                NodeValue::HtmlInline(html) => panic!("HTML: {html}"),
                NodeValue::Link(link) => panic!("link to {}", link.url),
                NodeValue::Image(link) => panic!("image {}", link.url),
                NodeValue::Emph | NodeValue::Strikethrough => panic!("emphasis"),
                NodeValue::Heading(heading) => assert!(heading.level > 1, "a heading of a capture"),
                _ => {}
            }
        }
        assert!(!text.chars().any(|c| c != '\n' && is_hostile(c)));
        assert!(!text.contains("\n/"), "a quick action");
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
