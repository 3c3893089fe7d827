//! Text for a terminal, a pipe or a ticket: wrapped, coloured where wanted, and without any control character from a
//! capture.
//!
//! Interface names, comments and paths may come from strangers. Every string goes through [`sanitize`] on its way out;
//! the only escape sequences in the output are the colours that [`TerminalPage`] adds itself.

use std::borrow::Cow;
use std::io;

use anstyle::{AnsiColor, Style};

use crate::model::Severity;

/// Widest line, however wide the terminal: longer lines are hard to read.
pub const WIDEST: usize = 120;
/// Narrowest line: below this, wrapping does more harm than good.
pub const NARROWEST: usize = 40;
/// How many columns a paragraph beside a lead needs.
const ROOM: usize = 26;
/// How far a paragraph is indented that stands below its lead.
const NARROW_HANG: usize = 6;
/// Width where there is no terminal.
pub const PIPE_WIDTH: usize = 100;

/// Plain text.
pub const PLAIN: Style = Style::new();
/// Headings.
pub const HEADING: Style = Style::new().bold();
/// What matters less.
pub const FAINT: Style = Style::new().dimmed();
/// Commands and names to be copied.
pub const CODE: Style = AnsiColor::Cyan.on_default();

/// The colour of a severity.
pub const fn severity_style(severity: Severity) -> Style {
    match severity {
        Severity::Critical => AnsiColor::Red.on_default().bold(),
        Severity::Warning => AnsiColor::Yellow.on_default().bold(),
        Severity::Info => AnsiColor::BrightBlue.on_default().bold(),
    }
}

/// How the output looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Columns; lines are wrapped there, except for what must stay in one piece to be copied.
    pub width: usize,
    /// Whether to write colours.
    pub color: Color,
}

/// Whether to write colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// ANSI colours.
    Ansi,
    /// Plain text.
    Off,
}

impl Default for Look {
    fn default() -> Look {
        Look { width: PIPE_WIDTH, color: Color::Off }
    }
}

/// `text` with every character escaped that could control a terminal or hide others: `\x1b`, `\u{202e}`.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match u32::from(c) {
            _ if !is_hostile(c) => clean.push(c),
            code @ 0..=0xff => clean.push_str(&format!("\\x{code:02x}")),
            code => clean.push_str(&format!("\\u{{{code:x}}}")),
        }
    }
    Cow::Owned(clean)
}

/// Control characters (C0, DEL, C1), line and paragraph separators, and characters that are invisible or change the
/// direction of writing.
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Columns that `text` takes, one per character.
pub fn columns(text: &str) -> usize {
    text.chars().count()
}

/// A count with its digits in groups: `1,204,224`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count with its noun: `1 connection`, `1,204 connections`.
pub fn counted(n: u64, noun: &str) -> String {
    let ending = if n == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", grouped(n))
}

/// Breaks `text` into lines of at most `width` columns at white space. Text between backticks, and words longer than a
/// line, stay in one piece. Empty text is one empty line.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in words(text) {
        let columns = columns(&word);
        if used > 0 && used + 1 + columns > width {
            lines.push(String::new());
            used = 0;
        }
        let line = lines.last_mut().expect("there is always a last line: the list starts with one");
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(&word);
        used += columns;
    }
    lines
}

/// The words of `text`; a span between backticks does not end at a space.
fn words(text: &str) -> Vec<String> {
    let paired = text.matches('`').count().is_multiple_of(2);
    let (mut words, mut word, mut in_code) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        if c == '`' && paired {
            in_code = !in_code;
        }
        if c.is_whitespace() && !in_code {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        } else {
            word.push(c);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// An output that sanitizes, wraps and colours text.
pub struct TerminalPage<'w> {
    out: &'w mut dyn io::Write,
    look: Look,
}

impl<'w> TerminalPage<'w> {
    /// A page on `out`.
    pub fn new(out: &'w mut dyn io::Write, look: Look) -> TerminalPage<'w> {
        TerminalPage { out, look: Look { width: look.width.clamp(NARROWEST, WIDEST), ..look } }
    }

    /// Columns there are.
    pub fn width(&self) -> usize {
        self.look.width
    }

    /// One line of styled parts, never wrapped.
    ///
    /// # Errors
    /// The writer's error.
    pub fn line(&mut self, parts: &[(Style, &str)]) -> io::Result<()> {
        // White space at the end of a line is only noise in a ticket.
        let kept = parts.iter().rposition(|(_, text)| !text.trim_end().is_empty()).map_or(0, |last| last + 1);
        for (i, &(style, text)) in parts[..kept].iter().enumerate() {
            self.part(style, if i + 1 == kept { text.trim_end() } else { text })?;
        }
        writeln!(self.out)
    }

    /// An empty line.
    ///
    /// # Errors
    /// The writer's error.
    pub fn blank(&mut self) -> io::Result<()> {
        writeln!(self.out)
    }

    /// A wrapped paragraph. `lead` starts the first line, the others are indented by its width; by less where that would
    /// leave too little of the line.
    ///
    /// # Errors
    /// The writer's error.
    pub fn prose(&mut self, lead: &str, text: &str) -> io::Result<()> {
        self.styled_prose(PLAIN, lead, PLAIN, text)
    }

    /// As [`prose`](TerminalPage::prose), with styles for the lead and the text.
    ///
    /// # Errors
    /// The writer's error.
    pub fn styled_prose(
        &mut self,
        lead_style: Style,
        lead: &str,
        style: Style,
        text: &str,
    ) -> io::Result<()> {
        let one_line: String = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
        let text = sanitize(&one_line);
        let mut hang = columns(lead);
        let room = self.look.width.saturating_sub(hang);
        if room < ROOM && hang > NARROW_HANG && columns(&text) > room {
            // The lead on a line of its own, the text below it.
            hang = NARROW_HANG;
            self.line(&[(lead_style, lead)])?;
            write!(self.out, "{:hang$}", "")?;
        } else {
            self.part(lead_style, if text.trim().is_empty() { lead.trim_end() } else { lead })?;
        }
        for (i, line) in wrap(&text, self.look.width.saturating_sub(hang)).iter().enumerate() {
            if i > 0 {
                write!(self.out, "{:hang$}", "")?;
            }
            self.code_spans(style, line)?;
            writeln!(self.out)?;
        }
        Ok(())
    }

    fn part(&mut self, style: Style, text: &str) -> io::Result<()> {
        let text = sanitize(text);
        match self.look.color {
            Color::Ansi if style != PLAIN => {
                // Indentation carries no colour: it would be underlined or inverted where a terminal does so.
                let inked = text.trim_start();
                write!(self.out, "{}{style}{inked}{style:#}", &text[..text.len() - inked.len()])
            }
            _ => write!(self.out, "{text}"),
        }
    }

    /// Text with `code` in it: coloured instead of the backticks where there is colour.
    fn code_spans(&mut self, style: Style, line: &str) -> io::Result<()> {
        if self.look.color == Color::Off || !line.matches('`').count().is_multiple_of(2) {
            return self.part(style, line);
        }
        for (i, piece) in line.split('`').enumerate() {
            if !piece.is_empty() {
                self.part(if i % 2 == 1 { CODE } else { style }, piece)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_paragraph_without_room_beside_its_lead_stands_below_it() {
        let mut out = Vec::new();
        let mut page = TerminalPage::new(&mut out, Look { width: 40, color: Color::Off });
        page.prose("   in the kernel  ", "tcp_check_req, tcp_v4_syn_recv_sock").unwrap();
        page.prose("   #24  00:29:47.746  ", "SYN").unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "   in the kernel\n      tcp_check_req,\n      tcp_v4_syn_recv_sock\n   #24  00:29:47.746  SYN\n"
        );
    }

    #[test]
    fn escapes_never_pass() {
        assert_eq!(sanitize("eth0"), "eth0");
        assert_eq!(sanitize("\x1b[2J\x07evil\r\n"), r"\x1b[2J\x07evil\x0d\x0a");
        assert_eq!(sanitize("\u{9b}31m"), r"\x9b31m");
        assert_eq!(sanitize("abc\u{202e}fdp.exe"), r"abc\u{202e}fdp.exe");
        assert_eq!(sanitize("Überwachung, 監視"), "Überwachung, 監視");
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_204_224), "1,204,224");
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!(counted(1, "client"), "1 client");
        assert_eq!(counted(0, "client"), "0 clients");
    }

    #[test]
    fn a_command_is_not_broken() {
        let text = "look at `ss -lnt 'sport = :8080'` twice";
        assert_eq!(wrap(text, 20), ["look at", "`ss -lnt 'sport = :8080'`", "twice"]);
        assert_eq!(wrap("an odd ` backtick is a word", 12), ["an odd `", "backtick is", "a word"]);
    }

    #[test]
    fn colour_takes_the_place_of_backticks() {
        let mut out = Vec::new();
        let mut page = TerminalPage::new(&mut out, Look { width: 80, color: Color::Ansi });
        page.prose("* ", "see `ss -lnt` now").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "* see \x1b[36mss -lnt\x1b[0m now\n");
    }

    proptest! {
        #[test]
        fn a_plain_page_holds_no_control_character_but_the_newline(text in any::<String>()) {
            let mut out = Vec::new();
            let mut page = TerminalPage::new(&mut out, Look::default());
            page.prose("  ", &text).unwrap();
            page.line(&[(HEADING, &text)]).unwrap();
            let out = String::from_utf8(out).unwrap();
            prop_assert!(!out.chars().any(|c| c != '\n' && is_hostile(c)), "{out:?}");
        }

        #[test]
        fn wrapping_loses_no_word(text in "[a-z `]{0,200}", width in 1usize..50) {
            let squeezed = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
            prop_assert_eq!(squeezed(&wrap(&text, width).join(" ")), squeezed(&text));
        }
    }
}
