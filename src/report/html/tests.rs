use super::*;
use crate::report::samples;
use crate::report::terminal::is_hostile;

fn rendered(report: &Report) -> String {
    let mut out = Vec::new();
    write(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Without the style sheet and the version, which have their own histories.
fn body(page: &str) -> String {
    let (head, rest) = page.split_once("<style>").unwrap();
    let (_, rest) = rest.split_once("</style>").unwrap();
    format!("{head}<style></style>{rest}").replace(&format!("synscope {VERSION}."), "synscope VERSION.")
}

#[test]
fn golden_pages() {
    for name in ["overflow", "clean", "mixture", "hostile", "damaged", "nothing"] {
        let (_, report) = samples::all().into_iter().find(|(n, _)| *n == name).unwrap();
        insta::assert_snapshot!(name, body(&rendered(&report)));
    }
}

/// The tags of a page, and the text between them.
fn tags(page: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        let end = rest[at..].find('>').expect("every tag ends") + at;
        tags.push(rest[at + 1..end].to_owned());
        rest = &rest[end + 1..];
    }
    tags
}

#[test]
fn every_element_is_closed_in_order() {
    const EMPTY: [&str; 5] = ["meta", "link", "!DOCTYPE", "path", "br"];
    for (name, report) in samples::all() {
        let page = body(&rendered(&report));
        let mut open: Vec<String> = Vec::new();
        for tag in tags(&page) {
            if let Some(closed) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(closed), "{name}");
            } else {
                let element = tag.split([' ', '/']).next().unwrap().to_owned();
                if !EMPTY.contains(&element.as_str()) {
                    open.push(element);
                }
            }
        }
        assert_eq!(open, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn ids_are_unique_and_links_lead_to_them() {
    for (name, report) in samples::all() {
        let page = body(&rendered(&report));
        let values = |attribute: &str| -> Vec<String> {
            let start = format!(" {attribute}=\"");
            let pieces = page.split(&start).skip(1);
            pieces.map(|piece| piece[..piece.find('"').unwrap()].to_owned()).collect()
        };
        let ids = values("id");
        for link in values("href").iter().filter_map(|link| link.strip_prefix('#')) {
            assert_eq!(ids.iter().filter(|id| *id == link).count(), 1, "{name}: #{link}");
        }
        assert!(values("href").iter().all(|link| link.starts_with('#') || link == "data:,"), "{name}");
        assert!(values("src").is_empty(), "{name}");
    }
}

#[test]
fn nothing_from_a_capture_becomes_markup() {
    const EVIL: &str =
        "\"><script>alert(1)</script><img src=x onerror=alert(1)>' onload='x\u{202e}`<b>`\x1b[2J&lt;";
    let mut report = samples::mixture();
    let plain = tags(&rendered(&report)).len();
    report.captures[0].path = EVIL.to_owned();
    report.captures[0].format = EVIL.to_owned();
    report.schema = EVIL.to_owned();
    report.inferred[0].from = EVIL.to_owned();
    report.inferred[0].host = EVIL.to_owned().into();
    report.inferred[0].setting = EVIL.to_owned();
    for incident in &mut report.incidents {
        incident.cause = EVIL.to_owned();
        incident.next_steps = vec![EVIL.to_owned()];
    }
    for finding in &mut report.findings {
        finding.summary = EVIL.to_owned();
        finding.metrics.insert(EVIL.to_owned(), EVIL.into());
        for alternative in &mut finding.alternatives {
            alternative.suspect = EVIL.into();
            alternative.why_less_likely = EVIL.into();
        }
        for evidence in &mut finding.evidence {
            evidence.text = EVIL.into();
            evidence.capture = EVIL.into();
        }
        finding.cause.counters.push(EVIL.into());
    }
    report.warnings.push(EVIL.to_owned());
    let page = rendered(&report);
    let tags = tags(&page);
    assert!(tags.len() > plain / 2);
    for tag in tags {
        let element = tag.trim_start_matches('/').split(' ').next().unwrap().to_lowercase();
        assert!(!["script", "img", "b\"", "iframe", "object"].contains(&element.as_str()), "{tag}");
        assert!(!tag.contains(" onload=") && !tag.contains(" onerror="), "{tag}");
    }
    assert!(!page.chars().any(|c| c != '\n' && is_hostile(c)));
}

#[test]
fn fifty_thousand_findings_stay_small() {
    let report = samples::many(50_000);
    let page = rendered(&report);
    assert!(page.len() < 5_000_000, "{} bytes", page.len());
    assert!(page.contains("finding") && page.contains("without a section here"));
    assert_eq!(page.matches("<section class=\"incident").count(), SECTIONS);
}

/// However many connections an incident has: its sentences, three examples in full, and the rest folded.
#[test]
fn five_thousand_connections_are_one_incident_with_three_examples() {
    let report = samples::crowd();
    let page = rendered(&report);
    assert!(page.len() < 200_000, "{} bytes", page.len());
    assert_eq!(page.matches("<section class=\"incident").count(), 1);
    assert_eq!(page.matches("<div class=\"ex\">").count(), EXAMPLES);
    assert_eq!(page.matches("<ol class=\"ladder\">").count(), EXAMPLES);
    assert!(page.contains("hit 5,000 connections of 5,000 clients"));
    assert!(page.contains("<summary>300 of 5,000 findings</summary>"));
    assert!(page.contains("5,000 clients, once each: "), "no chart of equal bars");
    assert!(page.contains("… and 4,990 more clients"));
    let (open, _) = page.split_once("300 of 5,000 findings").unwrap();
    let rows = open.matches("<tr>").count();
    assert!(rows < 40, "{rows} rows before the folded ones");
}

/// Writes pages into the folder SYNSCOPE_PAGES, for tests/browser/run to look at.
#[test]
fn pages_for_the_browser() {
    let Ok(folder) = std::env::var("SYNSCOPE_PAGES") else { return };
    let mut all = samples::all();
    all.push(("large", samples::many(50_000)));
    all.push(("crowd", samples::crowd()));
    for (name, report) in all {
        std::fs::write(std::path::Path::new(&folder).join(format!("{name}.html")), rendered(&report))
            .unwrap();
    }
}
