//! `synscope explain`: the detectors' documentation, for the terminal.

use std::io::{self, Write};

use super::args::ExplainArgs;
use super::output::{stdout_look, to_stdout};
use crate::detect::registry;
use crate::detect::spec::KindSpec;
use crate::model::Kind;
use crate::report::terminal::{CODE, HEADING, Look, PLAIN, TerminalPage};

/// Runs it.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    let look = stdout_look(args.color);
    to_stdout(|out| match args.kind {
        None => list(look, out),
        Some(kind) => one(registry::spec(kind), look, out),
    })
}

/// All kinds with their first sentence.
fn list(look: Look, out: &mut dyn Write) -> io::Result<()> {
    let mut page = TerminalPage::new(out, look);
    let widest = Kind::ALL.iter().map(|kind| kind.name().len()).max().unwrap_or(0);
    for spec in registry::all() {
        let lead = format!("{:widest$}  ", spec.kind);
        page.styled_prose(HEADING, &lead, PLAIN, &spec.first_sentence())?;
    }
    page.blank()?;
    page.prose("", "More on one of them: `synscope explain KIND`")
}

/// One explanation in full: headings, paragraphs, lists, code.
fn one(explanation: &KindSpec, look: Look, out: &mut dyn Write) -> io::Result<()> {
    let mut page = TerminalPage::new(out, look);
    page.line(&[(HEADING, explanation.kind.name())])?;
    for block in blocks(explanation.lines()) {
        match block {
            ExplanationBlock::Heading(text) => {
                page.blank()?;
                page.line(&[(HEADING, text)])?;
            }
            ExplanationBlock::Gap => page.blank()?,
            ExplanationBlock::Paragraph(text) => page.prose(INDENT, &text)?,
            ExplanationBlock::Item(text) => page.prose(&format!("{INDENT}- "), &text)?,
            ExplanationBlock::Code(line) => page.line(&[(PLAIN, INDENT), (PLAIN, "  "), (CODE, line)])?,
        }
    }
    Ok(())
}

/// Indentation below the headings.
const INDENT: &str = "  ";

/// A piece of an explanation: the part of Markdown that the detectors use.
#[derive(Debug, PartialEq, Eq)]
enum ExplanationBlock<'a> {
    /// `## text`.
    Heading(&'a str),
    /// An empty line between paragraphs.
    Gap,
    /// Lines up to the next block, joined.
    Paragraph(String),
    /// `* text` with its continuation lines, joined.
    Item(String),
    /// A line between fences.
    Code(&'a str),
}

fn blocks<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<ExplanationBlock<'a>> {
    let mut blocks: Vec<ExplanationBlock> = Vec::new();
    let mut fence = Fence::Outside;
    for line in lines {
        if line.trim_start().starts_with("```") {
            fence = if fence == Fence::Outside { Fence::Inside } else { Fence::Outside };
        } else if fence == Fence::Inside {
            blocks.push(ExplanationBlock::Code(line));
        } else if line.is_empty() {
            blocks.push(ExplanationBlock::Gap);
        } else if line.starts_with('#') {
            blocks.push(ExplanationBlock::Heading(line.trim_start_matches('#').trim_start()));
        } else if registry::is_item(line) {
            blocks.push(ExplanationBlock::Item(line[2..].trim().to_owned()));
        } else if let Some(ExplanationBlock::Paragraph(text) | ExplanationBlock::Item(text)) =
            blocks.last_mut()
        {
            text.push(' ');
            text.push_str(line.trim());
        } else {
            blocks.push(ExplanationBlock::Paragraph(line.trim().to_owned()));
        }
    }
    // A heading has its own empty line.
    let mut tidy: Vec<ExplanationBlock> = Vec::with_capacity(blocks.len());
    for block in blocks {
        if matches!(block, ExplanationBlock::Heading(_) | ExplanationBlock::Gap)
            && matches!(tidy.last(), Some(ExplanationBlock::Gap))
        {
            tidy.pop();
        }
        if block != ExplanationBlock::Gap || !matches!(tidy.last(), None | Some(ExplanationBlock::Heading(_)))
        {
            tidy.push(block);
        }
    }
    if tidy.last() == Some(&ExplanationBlock::Gap) {
        tidy.pop();
    }
    tidy
}

/// Whether a line stands between code fences.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fence {
    Inside,
    Outside,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::terminal::Color;

    const SAMPLE: KindSpec = KindSpec {
        kind: Kind::AcceptQueueOverflow,
        text: " The server goes on sending its SYN-ACK although\n the client has answered it.\n \n ## On the wire\n \
               SYN, SYN-ACK, final ACK.\n \n Then again:\n ```text\n 0.0  C  SYN\n ```\n ## Looks alike\n * The final \
               ACK was lost between this capture and the server, on the\n   path. Told apart only at the server.\n * \
               `TCP_DEFER_ACCEPT`.\n \n",
        file: "src/detect/kinds/accept_queue_overflow.rs",
        ..KindSpec::PLAIN
    };

    #[test]
    fn an_explanation_is_laid_out_for_the_terminal() {
        let mut out = Vec::new();
        one(&SAMPLE, Look { width: 60, color: Color::Off }, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r"
        accept-queue-overflow
          The server goes on sending its SYN-ACK although the client
          has answered it.

        On the wire
          SYN, SYN-ACK, final ACK.

          Then again:
            0.0  C  SYN

        Looks alike
          - The final ACK was lost between this capture and the
            server, on the path. Told apart only at the server.
          - `TCP_DEFER_ACCEPT`.
        ");
    }

    #[test]
    fn every_kind_is_listed() {
        let mut out = Vec::new();
        list(Look::default(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for kind in Kind::ALL {
            assert!(text.lines().any(|line| line.starts_with(kind.name())), "{text}");
        }
    }
}
