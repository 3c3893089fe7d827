//! The accept queue of a listener and its refusals over the last minutes, with a scale and a time axis.

use ratatui::text::{Line, Span as Text};

use super::cells::{Alignment, chart, fit, short};
use super::keys::{Pane, ScreenView};
use super::palette::{BOLD, FAINT, Palette};
use crate::live::state::{ListenerState, QueueSample, WatchState};
use crate::report::terminal::grouped;

/// Columns of the scale.
const SCALE: usize = 7;
/// With fewer rows than this there is no chart.
const LEAST: usize = 9;
/// More rows than this add nothing to a chart.
const MOST: usize = 16;

/// The listeners that charts are of: the chosen one or that of the chosen incident, then those that refused most and
/// whose queues were fullest.
fn listeners<'s>(state: &'s WatchState, view: &ScreenView) -> Vec<&'s ListenerState> {
    let drawn = |listener: &&ListenerState| listener.history.len() > 1;
    let chosen = if view.focus == Pane::Listeners {
        let listed = view.listeners(state);
        view.listener_place(&listed).and_then(|n| listed.get(n)).map(|listener| listener.address)
    } else {
        let listed = view.incidents(state);
        let incident = view.incident_place(&listed).and_then(|n| listed.get(n));
        incident.and_then(|watched| watched.incident.listener)
    };
    let all = || state.listeners.iter().filter(drawn);
    let is_chosen = |listener: &&ListenerState| {
        chosen.is_some_and(|chosen| {
            let any = listener.address.ip().is_unspecified() && listener.address.port() == chosen.port();
            listener.address == chosen || any
        })
    };
    let mut listeners: Vec<&ListenerState> = all().collect();
    listeners.sort_by_key(|listener| {
        (!is_chosen(listener), std::cmp::Reverse((listener.drops, listener.longest)))
    });
    listeners
}

/// How many charts of at least [`LEAST`] rows have room in `rows`, and how high each is.
pub(super) fn charts(state: &WatchState, view: &ScreenView, rows: usize) -> (usize, usize) {
    // A line lies between two of them.
    let room = (rows + 1) / (MOST + 1);
    let count = listeners(state, view).len().min(room.max(usize::from(rows >= LEAST)));
    let height = (rows + 1).checked_div(count).map_or(0, |each| each.saturating_sub(1).min(MOST));
    (count, height)
}

/// The charts in `height` rows each.
pub(super) fn draw_all(
    state: &WatchState,
    view: &ScreenView,
    palette: Palette,
    width: usize,
    (count, height): (usize, usize),
) -> Vec<Line<'static>> {
    let mut all = Vec::new();
    for (n, listener) in listeners(state, view).into_iter().take(count).enumerate() {
        if n > 0 {
            all.push(Line::default());
        }
        all.extend(draw(listener, palette, (width, height)));
    }
    all
}

/// The chart of a listener in `height` rows of `width` columns; nothing where there is no room.
fn draw(listener: &ListenerState, palette: Palette, (width, height): (usize, usize)) -> Vec<Line<'static>> {
    if height < LEAST || width <= 2 * SCALE {
        return Vec::new();
    }
    let room = width - SCALE - 1;
    let samples = &listener.history[listener.history.len().saturating_sub(room)..];
    let limit = listener.limit.unwrap_or(0);
    let holder = listener.holder.as_ref().map(|holder| format!(", {holder}")).unwrap_or_default();
    let title = format!(" Accept queue of {}, limit {limit}{holder}", listener.address);
    let mut all = vec![Line::styled(fit(&title, width, Alignment::Left), BOLD)];
    // The title, two axes and an empty line take their rows; the rest is divided two to one.
    let free = height - 4;
    let of_drops = (free / 3).max(1);
    let queue = |sample: &QueueSample| u64::from(sample.length);
    all.extend(rows(samples, queue, u64::from(limit) + 1, free - of_drops, |value| {
        palette.queue(value, limit.into())
    }));
    all.push(axis(samples, room));
    all.push(Line::styled(fit(&refused(listener), width, Alignment::Left), FAINT));
    all.extend(rows(samples, |sample| sample.dropped, 1, of_drops, |_| palette.bad()));
    all.push(axis(samples, room));
    all.truncate(height);
    all
}

/// The title of the second chart, with the current numbers.
fn refused(listener: &ListenerState) -> String {
    let now = match (listener.refused, listener.refused_share) {
        (0, _) => "none now".to_owned(),
        (n, Some(share)) => format!("{n} now, {share} % of arrivals"),
        (n, None) => format!("{n} now"),
    };
    let states = listener.states.map(|states| {
        let time_wait = states.time_wait.map(|n| format!(", {} TIME_WAIT", grouped(n.into())));
        format!(
            "; sockets: {} SYN_RECV, {} CLOSE_WAIT{}",
            grouped(states.syn_recv.into()),
            grouped(states.close_wait.into()),
            time_wait.unwrap_or_default()
        )
    });
    format!(" Refused a second: {now}{}", states.unwrap_or_default())
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
        let mut parts = vec![Text::styled(fit(&label, SCALE - 1, Alignment::Right) + "│", FAINT)];
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
    let now =
        if drawn > ago.len() + 4 { fit("now", drawn - ago.len(), Alignment::Right) } else { String::new() };
    Line::styled(format!("{}└{ago}{now}", " ".repeat(SCALE - 1)), FAINT)
}
