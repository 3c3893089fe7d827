//! Text of the report as content of the page.

use crate::report::terminal::sanitize;

/// `text` as the content of an element or an attribute between double quotes.
pub(in crate::report) fn escape(text: &str) -> String {
    let text = sanitize(text);
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// [`escape`]d, with text between backticks as code.
pub(super) fn rich(text: &str) -> String {
    if !text.matches('`').count().is_multiple_of(2) {
        return escape(text);
    }
    let pieces = text.split('`').enumerate();
    pieces
        .map(|(i, piece)| if i % 2 == 1 { format!("<code>{}</code>", escape(piece)) } else { escape(piece) })
        .collect()
}

/// `<code>` around `text`.
pub(super) fn code(text: &str) -> String {
    format!("<code>{}</code>", escape(text))
}
