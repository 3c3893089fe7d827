//! The accept queue of a listener and what it refused, over the last minutes, with a scale and a time axis.

use ratatui::text::{Line, Span as Text};

use super::cells::{Side, chart, fit, short};
use super::keys::{Pane, View};
use super::palette::{BOLD, FAINT, Palette};
use crate::live::state::{Listener, QueueSample, State};

/// Columns of the scale.
const SCALE: usize = 7;
/// Rows below which there is no chart.
pub(super) const LEAST: usize = 9;
/// Rows beyond which a chart says no more.
pub(super) const MOST: usize = 16;

/// The listener that the chart is of: the chosen one, that of the chosen incident, or the fullest.
fn listener<'s>(state: &'s State, view: &View) -> Option<&'s Listener> {
    let drawn = |listener: &&Listener| listener.history.len() > 1;
    let chosen = if view.focus == Pane::Listeners {
        let listed = view.listeners(state);
        view.listener_place(&listed).and_then(|n| listed.get(n)).map(|listener| listener.address)
    } else {
        let listed = view.incidents(state);
        let incident = view.incident_place(&listed).and_then(|n| listed.get(n));
        incident.and_then(|watched| watched.incident.listener)
    };
    let all = || state.listeners.iter().filter(drawn);
    let is_chosen = |listener: &&Listener| {
        chosen.is_some_and(|chosen| {
            let any = listener.address.ip().is_unspecified() && listener.address.port() == chosen.port();
            listener.address == chosen || any
        })
    };
    let fill = |listener: &&Listener| (listener.drops, listener.longest);
    all().find(is_chosen).or_else(|| all().max_by_key(fill))
}

/// The chart in `height` rows of `width` columns; nothing where no queue was looked at yet.
pub(super) fn draw(
    state: &State,
    view: &View,
    palette: Palette,
    (width, height): (usize, usize),
) -> Vec<Line<'static>> {
    let Some(listener) = listener(state, view).filter(|_| height >= LEAST && width > 2 * SCALE) else {
        return Vec::new();
    };
    let room = width - SCALE - 1;
    let samples = &listener.history[listener.history.len().saturating_sub(room)..];
    let limit = listener.limit.unwrap_or(0);
    let holder = listener.holder.as_ref().map(|holder| format!(", {holder}")).unwrap_or_default();
    let title = format!(" Accept queue of {}, limit {limit}{holder}", listener.address);
    let mut all = vec![Line::styled(fit(&title, width, Side::Left), BOLD)];
    // Title, two axes, a line between: the rest is divided two to one.
    let free = height - 4;
    let of_drops = (free / 3).max(1);
    let queue = |sample: &QueueSample| u64::from(sample.length);
    all.extend(rows(samples, queue, u64::from(limit) + 1, free - of_drops, |value| {
        if value > u64::from(limit) { palette.bad() } else { palette.good() }
    }));
    all.push(axis(samples, room));
    all.push(Line::styled(fit(" Refused by this socket, a second", width, Side::Left), FAINT));
    all.extend(rows(samples, |sample| sample.dropped, 1, of_drops, |_| palette.bad()));
    all.push(axis(samples, room));
    all.truncate(height);
    all
}

/// Columns of values, the scale before them.
fn rows(
    samples: &[QueueSample],
    value: impl Fn(&QueueSample) -> u64,
    least: u64,
    rows: usize,
    style: impl Fn(u64) -> ratatui::style::Style,
) -> Vec<Line<'static>> {
    let values: Vec<u64> = samples.iter().map(value).collect();
    let most = values.iter().copied().max().unwrap_or(0).max(least);
    let drawn = chart(&values, most, rows);
    let line = |(n, row): (usize, &Vec<char>)| {
        let label = if n == 0 { short(most) } else { String::new() };
        let mut parts = vec![Text::styled(fit(&label, SCALE - 1, Side::Right) + "│", FAINT)];
        let cells = row.iter().zip(&values);
        parts.extend(cells.map(|(cell, value)| Text::styled(cell.to_string(), style(*value))));
        Line::from(parts)
    };
    drawn.iter().enumerate().map(line).collect()
}

/// The time axis: how long ago the first look was.
fn axis(samples: &[QueueSample], room: usize) -> Line<'static> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Line::default() };
    let ago = format!("{} s ago", (last.at - first.at).0 / 1_000_000_000);
    let drawn = samples.len().min(room);
    let now = if drawn > ago.len() + 4 { fit("now", drawn - ago.len(), Side::Right) } else { String::new() };
    Line::styled(format!("{}└{ago}{now}", " ".repeat(SCALE - 1)), FAINT)
}
