//! A kind that is registered in tests only, and what the program makes of it without being told more.

use super::*;
use crate::detect::registry;
use crate::report::diff::{self, Diff};
use crate::report::markdown::{self, Flavor, Length};
use crate::report::terminal::Look;
use crate::report::{html, schema, text};

/// Some ordinary connections, and a client that sends `bytes` bytes and is not answered.
fn said(bytes: u32) -> LadderReport {
    let wire = Wire::at_server();
    ordinary(&wire, -5.0, 5);
    let l = wire.ladder(1);
    let t = l.handshake(0.0);
    in_vain(&l, t + 0.001, bytes, t + 5.0);
    analyze(&wire)
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("a vector takes everything");
    String::from_utf8(out).expect("text")
}

#[test]
fn a_kind_is_found_by_its_file_alone() {
    let found = said(4_242);
    assert_eq!(found.counts().get(&Kind::Exercise), Some(&1), "{}", found.summaries());
    said(4_241).none(Kind::Exercise);
}

#[test]
fn a_kind_is_listed_by_its_variant_alone() {
    assert_eq!("exercise".parse(), Ok(Kind::Exercise));
    assert_eq!(serde_json::to_value(Kind::Exercise).unwrap(), "exercise");
    assert!(
        registry::markdown(registry::all()).contains("| [`exercise`](#exercise) | A client sends exactly")
    );
    assert!(schema::schema().to_value().to_string().contains("\"exercise\""));
}

#[test]
fn a_kind_is_rendered_and_compared() {
    let LadderReport { report } = said(4_242);
    let plain = written(|out| text::write(&report, Look::default(), out));
    assert!(plain.contains("exercise"), "{plain}");
    let options = markdown::MarkdownOptions { flavor: Flavor::Github, length: Length::Full };
    for page in
        [written(|out| markdown::write(&report, options, out)), written(|out| html::write(&report, out))]
    {
        assert!(page.contains("A client sent something and got no answer."), "{page}");
    }
    let diff = Diff::of(&said(4_241).report, &report, Severity::Info);
    let shown = written(|out| diff::write_text(&diff, Look::default(), out));
    assert!(shown.lines().any(|line| line.contains("exercise") && line.starts_with("NEW")), "{shown}");
}
