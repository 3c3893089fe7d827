//! Text in columns: cut or padded to a width, bars, and rows of bars.

use ratatui::text::Span as Text;

use crate::report::terminal::sanitize;

/// Eighths of a cell, from none to all, upward.
const RISING: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Eighths of a cell, from none to all, rightward.
const GROWING: [char; 9] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// `text` on one line, without control characters.
pub(super) fn clean(text: &str) -> String {
    let flat: String = text.chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c }).collect();
    sanitize(&flat).into_owned()
}

/// Columns that `text` takes on the screen.
pub(super) fn columns(text: &str) -> usize {
    Text::raw(text).width()
}

/// Where text stands in its column.
#[derive(Clone, Copy)]
pub(super) enum Alignment {
    Left,
    Right,
}

/// `text`, cleaned, in exactly `width` columns: padded, or its end replaced by `…`.
pub(super) fn fit(text: &str, width: usize, side: Alignment) -> String {
    let text = clean(text);
    let used = columns(&text);
    if used <= width {
        let pad = " ".repeat(width - used);
        return match side {
            Alignment::Left => text + &pad,
            Alignment::Right => pad + &text,
        };
    }
    padded(head(&text, width.saturating_sub(1)) + if width > 0 { "…" } else { "" }, width)
}

/// The same for an address with its port: a long one is cut in the middle, since its end matters more.
pub(super) fn fit_address(text: &str, width: usize) -> String {
    let text = clean(text);
    if columns(&text) <= width || width < 8 {
        return fit(&text, width, Alignment::Left);
    }
    // An address is ASCII. Other text from outside is still cut at character boundaries.
    let tail_columns = (width - 1) * 2 / 3;
    let reversed: String = text.chars().rev().collect();
    let tail: String = head(&reversed, tail_columns).chars().rev().collect();
    padded(format!("{}…{tail}", head(&text, width - 1 - tail_columns)), width)
}

fn padded(text: String, width: usize) -> String {
    let pad = width.saturating_sub(columns(&text));
    text + &" ".repeat(pad)
}

/// As many characters of `text` as fit into `width` columns.
fn head(text: &str, width: usize) -> String {
    let mut used = 0;
    let fits = |c: &char| {
        used += columns(c.encode_utf8(&mut [0; 4]));
        used <= width
    };
    text.chars().take_while(fits).collect()
}

/// A bar of `width` cells, `part` of it filled, and how many of its cells that is.
pub(super) fn bar(part: f64, width: usize) -> (String, String) {
    let eighths = (part.clamp(0.0, 1.0) * (width * 8) as f64).round() as usize;
    // A small part still shows one eighth, and only a full one fills the bar.
    let eighths = match part {
        part if part > 0.0 && part < 1.0 => eighths.clamp(1, (width * 8).saturating_sub(1).max(1)),
        _ => eighths,
    };
    let mut filled = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        filled.push(GROWING[eighths % 8]);
    }
    let rest = width.saturating_sub(columns(&filled));
    (filled, "·".repeat(rest))
}

/// Values as columns, `rows` cells high, the highest `most`: the rows from the top. An eighth of the topmost cell
/// stays free, so that charts one above the other do not touch.
pub(super) fn chart(values: &[u64], most: u64, rows: usize) -> Vec<Vec<char>> {
    let whole = rows * 8 - 1;
    let height = |value: u64| {
        let eighths = (value as f64 / most.max(1) as f64 * whole as f64).round() as usize;
        if value > 0 { eighths.clamp(1, whole) } else { 0 }
    };
    let row = |row: usize| {
        let below = (rows - 1 - row) * 8;
        values.iter().map(|value| RISING[height(*value).saturating_sub(below).min(8)]).collect()
    };
    (0..rows).map(row).collect()
}

/// A count in at most five characters: `999`, `12.3k`, `1.20M`.
pub(super) fn short(n: u64) -> String {
    let scaled = |unit: f64| n as f64 / unit;
    match n {
        0..10_000 => n.to_string(),
        10_000..99_950 => format!("{:.1}k", scaled(1e3)),
        99_950..999_500 => format!("{:.0}k", scaled(1e3)),
        999_500..9_995_000 => format!("{:.2}M", scaled(1e6)),
        9_995_000..99_950_000 => format!("{:.1}M", scaled(1e6)),
        99_950_000..999_500_000 => format!("{:.0}M", scaled(1e6)),
        _ => format!("{:.0}G", scaled(1e9)),
    }
}

/// Bytes with the unit that fits: `12 MB`.
pub(super) fn bytes(n: u64) -> String {
    match n {
        0..1_048_576 => format!("{} KiB", n.div_ceil(1024)),
        1_048_576..10_737_418_240 => format!("{} MiB", n >> 20),
        _ => format!("{} GiB", n >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bar_is_full_only_when_it_is() {
        assert_eq!(bar(0.0, 4), (String::new(), "····".to_owned()));
        assert_eq!(bar(0.001, 4), ("▏".to_owned(), "···".to_owned()));
        assert_eq!(bar(0.5, 4), ("██".to_owned(), "··".to_owned()));
        assert_eq!(bar(0.999, 4), ("███▉".to_owned(), String::new()));
        assert_eq!(bar(1.0, 4), ("████".to_owned(), String::new()));
        assert_eq!(bar(7.0, 4), ("████".to_owned(), String::new()));
    }

    #[test]
    fn a_chart_grows_upward() {
        assert_eq!(chart(&[0, 1, 8, 16], 16, 2), [vec![' ', ' ', ' ', '▇'], vec![' ', '▁', '█', '█']]);
        assert_eq!(chart(&[0, 0], 0, 1), [vec![' ', ' ']]);
    }

    #[test]
    fn long_addresses_keep_their_port() {
        let long = "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535";
        assert_eq!(fit_address(long, 22), "[2001:d…ee:ffff]:65535");
        assert_eq!(fit_address("10.0.0.5:80", 13), "10.0.0.5:80  ");
    }

    #[test]
    fn counts_are_short() {
        for (n, text) in [(9_999, "9999"), (12_345, "12.3k"), (999_499, "999k"), (1_204_000, "1.20M")] {
            assert_eq!(short(n), text);
        }
        assert!(short(99_999).len() <= 5 && short(999_999_999).len() <= 5);
    }

    proptest! {
        #[test]
        fn what_is_fitted_fits(text in any::<String>(), width in 0usize..60) {
            prop_assert_eq!(columns(&fit(&text, width, Alignment::Left)), width);
            prop_assert_eq!(columns(&fit(&text, width, Alignment::Right)), width);
            prop_assert_eq!(columns(&fit_address(&text, width)), width);
        }
    }
}
