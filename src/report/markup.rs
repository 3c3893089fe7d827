//! The three Markdown-like dialects that trackers read: how each writes a heading, a table, a code span, and how text
//! from a capture is kept from being any of these.

use std::net::{IpAddr, SocketAddr};

use super::terminal::sanitize;

/// Where the report is to be pasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Flavor {
    /// GitHub-flavoured Markdown, which most others read too.
    #[default]
    Github,
    /// GitLab-flavoured Markdown.
    Gitlab,
    /// Jira's own wiki markup.
    Jira,
}

/// A separator of no width between a sign and the text after it. It keeps `@name` and `#12` from becoming references,
/// and `:a:` and `{+` from becoming pictures and changes. Trackers look for these in the text after its escapes were
/// removed.
const JOINER: &str = "&#8288;";

/// Texts that Jira draws as small pictures when they follow a parenthesis. Those of colons and semicolons are not here.
const JIRA_PICTURES: [&str; 17] = [
    "y)", "n)", "i)", "/)", "x)", "!)", "+)", "-)", "?)", "on)", "off)", "*)", "*r)", "*g)", "*b)", "*y)",
    "flag",
];

impl Flavor {
    /// A heading, `level` from 1.
    pub(super) fn heading(self, level: usize, text: &str) -> String {
        match self {
            Flavor::Jira => format!("h{level}. {text}\n\n"),
            _ => format!("{} {text}\n\n", "#".repeat(level)),
        }
    }

    /// Strong text; `text` is markup already.
    pub(super) fn strong(self, text: &str) -> String {
        match self {
            Flavor::Jira => format!("*{text}*"),
            _ => format!("**{text}**"),
        }
    }

    /// A code span of any text.
    pub(super) fn code(self, text: &str) -> String {
        let text = one_line(text.trim());
        if text.is_empty() {
            return String::new();
        }
        if self == Flavor::Jira {
            return format!("{{{{{}}}}}", self.plain(&text));
        }
        let fence = "`".repeat(longest_run(&text, '`') + 1);
        let pad = if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) { " " } else { "" };
        format!("{fence}{pad}{text}{pad}{fence}")
    }

    /// Lines of fixed width.
    pub(super) fn fenced(self, text: &str) -> String {
        let lines: Vec<String> = text.lines().map(|line| sanitize(line).into_owned()).collect();
        let text = lines.join("\n");
        if self == Flavor::Jira {
            // Only this ends the block.
            return format!("{{noformat}}\n{}\n{{noformat}}\n\n", text.replace("{noformat", "{ noformat"));
        }
        let fence = "`".repeat(longest_run(&text, '`').max(2) + 1);
        format!("{fence}text\n{text}\n{fence}\n\n")
    }

    /// One row of a table; `cells` are markup already.
    pub(super) fn row(self, cells: &[String]) -> String {
        // A pipe ends a cell even in a code span; in plain text it has been escaped.
        let cell = |cell: &String| match self {
            Flavor::Jira => cell.clone(),
            _ => escape_pipes(cell),
        };
        let cells: Vec<String> = cells.iter().map(cell).collect();
        match self {
            Flavor::Jira => {
                format!("|{}|\n", cells.iter().map(|c| or_space(c)).collect::<Vec<_>>().join("|"))
            }
            _ => format!("| {} |\n", cells.join(" | ")),
        }
    }

    /// The header row of a table.
    pub(super) fn table_head(self, titles: &[&str]) -> String {
        match self {
            Flavor::Jira => format!("||{}||\n", titles.join("||")),
            _ => format!("| {} |\n|{}\n", titles.join(" | "), " --- |".repeat(titles.len())),
        }
    }

    /// An item of a list; `text` is markup already.
    pub(super) fn item(self, text: &str) -> String {
        match self {
            Flavor::Jira => format!("* {text}\n"),
            _ => format!("- {text}\n"),
        }
    }

    /// `body` below the line `title`, folded away where the tracker can.
    pub(super) fn folded(self, title: &str, body: &str) -> String {
        match self {
            Flavor::Jira => format!("{}\n\n{body}", self.strong(&self.plain(title))),
            // The empty lines make the inside Markdown again.
            _ => format!("<details>\n<summary>{}</summary>\n\n{body}</details>\n\n", self.plain(title)),
        }
    }

    /// Text in which parts between backticks, and addresses, are code.
    pub(super) fn text(self, text: &str) -> String {
        let text = text.trim();
        if !text.matches('`').count().is_multiple_of(2) {
            return self.plain(text);
        }
        let mut out = String::new();
        for (i, piece) in text.split('`').enumerate() {
            if i % 2 == 1 {
                out.push_str(&self.code(piece));
            } else {
                self.prose(piece, &mut out);
            }
        }
        out
    }

    /// Appends `text`, with addresses in it as code: `:a:` in an IPv6 address would be a picture otherwise.
    fn prose(self, text: &str, out: &mut String) {
        // Text behind a code span does not begin a line.
        let before = |out: &String| if out.is_empty() { None } else { Some('`') };
        let (mut begin, mut at) = (0, 0);
        for word in text.split_inclusive(' ') {
            let core = word.trim_start_matches('(').trim_end_matches([' ', ',', '.', ';', ':', ')']);
            let start = at + word.len() - word.trim_start_matches('(').len();
            at += word.len();
            // Two code spans must not meet.
            let apart = start > 0 || out.is_empty();
            if !is_address(core) || !apart || start + core.len() == text.len() && !out.is_empty() {
                continue;
            }
            let plain = self.escaped(&text[begin..start], before(out));
            out.push_str(&plain);
            out.push_str(&self.code(core));
            begin = start + core.len();
        }
        let plain = self.escaped(&text[begin..], before(out));
        out.push_str(&plain);
    }

    /// Text without markup: every sign of markup is escaped.
    pub(super) fn plain(self, text: &str) -> String {
        self.escaped(text.trim(), None)
    }

    /// The same after the character `before`, `None` at the start of a line.
    fn escaped(self, text: &str, before: Option<char>) -> String {
        let text = one_line(text);
        let mut out = String::with_capacity(text.len() + 16);
        let mut chars = text.char_indices().peekable();
        let mut first = before.is_none();
        // `h1.` and `bq.` at the start of a line are a heading and a quotation in Jira.
        let lead = text.split_once(". ").map_or("", |(lead, _)| lead);
        let block = before.is_none() && matches!(lead, "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "bq");
        // `1.` and `1)` begin a list if nothing stands before the number.
        let mut numbered = false;
        let mut before = before.unwrap_or(' ');
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map_or(' ', |(_, next)| *next);
            let rest = &text[at + c.len_utf8()..];
            let escaped = match self {
                Flavor::Jira => {
                    "\\{}[]|*_^~#!".contains(c)
                        || c == '-' && (first || before == '-')
                        || c == '+' && before == ' '
                        || c == '?' && !" .,".contains(next)
                }
                _ => {
                    "\\`*_[]<>|~#!$".contains(c)
                        || first && "+-=:/".contains(c)
                        || numbered && ".)".contains(c) && next == ' '
                }
            };
            match c {
                '&' if self != Flavor::Jira => out.push_str("&amp;"),
                // `http://` and `www.` would become links.
                ':' if next == '/' => out.push_str("&#58;"),
                ':' if self == Flavor::Jira && "(PDpd".contains(next) => out.push_str("&#58;"),
                // Entities end in a semicolon, too.
                ')' if self == Flavor::Jira && out.ends_with([':', ';']) => out.push_str("&#41;"),
                '(' if self == Flavor::Jira && JIRA_PICTURES.iter().any(|name| rest.starts_with(name)) => {
                    out.push_str("&#40;");
                }
                '.' if self == Flavor::Jira && block && at == lead.len() => out.push_str("&#46;"),
                '.' if out.ends_with("www") && next.is_alphanumeric() => out.push_str("&#46;"),
                _ if escaped => {
                    out.push('\\');
                    out.push(c);
                }
                _ => out.push(c),
            }
            let names = match c {
                '@' | '#' | '!' | '~' | '$' | '%' => next.is_ascii_alphanumeric(),
                '&' => next.is_ascii_digit(),
                // GitLab shows text between `{+` and `+}` as added.
                '[' | '{' => self == Flavor::Gitlab && "+-".contains(next),
                ':' => self != Flavor::Jira && names_picture(rest),
                _ => false,
            };
            if names {
                out.push_str(JOINER);
            }
            numbered = (first || numbered) && c.is_ascii_digit();
            first = false;
            before = c;
        }
        out
    }
}

fn one_line(text: &str) -> String {
    let flat: String = text.chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c }).collect();
    sanitize(&flat).into_owned()
}

fn longest_run(text: &str, of: char) -> usize {
    text.split(|c| c != of).map(str::len).max().unwrap_or(0)
}

/// Whether `rest`, after a colon, would end the name of a picture: `tada:`, `a:`, `100:`. A time of day does not.
fn names_picture(rest: &str) -> bool {
    let name = |c: char| c.is_ascii_alphanumeric() || "_+-".contains(c);
    rest.split_once(':').is_some_and(|(inside, _)| {
        let word = inside.chars().all(name) && inside.chars().any(|c| c.is_ascii_alphabetic());
        word || ["100", "1234", "+1", "-1"].contains(&inside)
    })
}

/// Whether `word` is an address, or one with its port.
fn is_address(word: &str) -> bool {
    word.parse::<SocketAddr>().is_ok() || word.parse::<IpAddr>().is_ok()
}

fn or_space(cell: &str) -> &str {
    if cell.is_empty() { " " } else { cell }
}

/// `|` as `\|`, unless it is escaped already.
fn escape_pipes(cell: &str) -> String {
    let mut out = String::with_capacity(cell.len());
    let mut backslashes = 0;
    for c in cell.chars() {
        if c == '|' && backslashes % 2 == 0 {
            out.push('\\');
        }
        backslashes = if c == '\\' { backslashes + 1 } else { 0 };
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_spans_hold_backticks() {
        assert_eq!(Flavor::Github.code("ss -lnt"), "`ss -lnt`");
        assert_eq!(Flavor::Github.code("a`b"), "``a`b``");
        assert_eq!(Flavor::Github.code("`"), "`` ` ``");
        assert_eq!(Flavor::Jira.code("a}b"), "{{a\\}b}}");
    }

    #[test]
    fn pipes_stay_inside_their_cell() {
        assert_eq!(Flavor::Github.row(&["`a|b`".into(), r"c\|d".into()]), "| `a\\|b` | c\\|d |\n");
    }

    #[test]
    fn references_and_links_are_broken() {
        assert_eq!(Flavor::Github.plain("@root #12"), "@&#8288;root \\#&#8288;12");
        assert_eq!(Flavor::Github.plain("http://x www.x"), "http&#58;//x www&#46;x");
        assert_eq!(Flavor::Github.plain("/close"), "\\/close");
        assert_eq!(Flavor::Github.plain("<b>&amp;"), "\\<b\\>&amp;amp;");
        assert_eq!(Flavor::Gitlab.plain("&12 {+x+} $x$"), "&amp;&#8288;12 {&#8288;+x+} \\$&#8288;x\\$");
    }

    #[test]
    fn no_text_becomes_a_picture() {
        assert_eq!(Flavor::Github.plain("a:tada: 14:03:07"), "a:&#8288;tada: 14:03:07");
        assert_eq!(Flavor::Jira.plain("(y) :D (why) ;) :)"), "&#40;y) &#58;D (why) ;&#41; :&#41;");
        assert_eq!(Flavor::Jira.plain("h1. big"), "h1&#46; big");
        assert_eq!(Flavor::Jira.plain("no h1. here"), "no h1. here");
    }

    #[test]
    fn addresses_are_code() {
        let github = |text| Flavor::Github.text(text);
        assert_eq!(
            github("[2001:db8:a::5]:80 was (192.0.2.1), too"),
            "`[2001:db8:a::5]:80` was (`192.0.2.1`), too"
        );
        assert_eq!(github("of 192.0.2.1:80."), "of `192.0.2.1:80`.");
        assert_eq!(github("`x`192.0.2.1 192.0.2.1`x`"), "`x`192.0.2.1 192.0.2.1`x`");
        assert_eq!(Flavor::Jira.text("of 192.0.2.1:80"), "of {{192.0.2.1:80}}");
        assert_eq!(github("14:03:07, 1, 1.5"), "14:03:07, 1, 1.5");
    }
}
