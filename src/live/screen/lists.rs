//! The listeners with their queues, and the incidents: one row each, as many as there is room for.

use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span as Text};

use super::cells::{Alignment, bar, clean, columns, fit, fit_address, short};
use super::keys::{Pane, ScreenView};
use super::palette::{BOLD, FAINT, PLAIN, Palette, REVERSED};
use crate::live::phase::Phase;
use crate::live::state::{ListenerState, WatchState, WatchedIncident};
use crate::model::Severity;
use crate::report::clock::TimeFormat;
use crate::report::terminal::grouped;
use crate::time::{Span, Timestamp};

/// The longest address of IPv4 with its port.
const IPV4_COLUMNS: usize = 21;
/// The longest name of a kind.
const KIND_COLUMNS: usize = 21;
/// From this width on incidents show when they began.
const DATED: usize = 90;
/// Bars are no longer than this: a longer one adds nothing.
const LONGEST_BAR: usize = 40;

/// From this width on listeners show their process and its accept rate; from the next one also their sockets by state.
const WITH_HOLDER: usize = 96;
const WITH_STATES: usize = 116;
/// The width of the accept rate.
const ACCEPTS_COLUMNS: usize = 9;
const STATE_COLUMNS: usize = 8;
const HOLDER_COLUMNS: usize = 18;

/// Whether keys go to a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Focus {
    Here,
    Elsewhere,
}

impl Focus {
    fn of(view: &ScreenView, pane: Pane) -> Focus {
        if view.focus == pane { Focus::Here } else { Focus::Elsewhere }
    }
}

/// Whether a row is the chosen one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    Chosen,
    Other,
}

impl Choice {
    fn of(place: Option<usize>, row: usize) -> Choice {
        if place == Some(row) { Choice::Chosen } else { Choice::Other }
    }
}

/// Columns of a listener's row that are shown only if there is room.
#[derive(Clone, Copy)]
struct ListenerColumns {
    address: usize,
    bar: usize,
    accepts: usize,
    state: usize,
    holder: usize,
}

impl ListenerColumns {
    fn within(width: usize, longest: usize) -> ListenerColumns {
        let accepts = if width >= WITH_HOLDER { ACCEPTS_COLUMNS } else { 0 };
        let holder = if width >= WITH_HOLDER { HOLDER_COLUMNS } else { 0 };
        let state = if width >= WITH_STATES { STATE_COLUMNS } else { 0 };
        // Fixed: marker 2, now/limit 12, longest 8, drops 7, tried 8, done 8.
        let fixed = 2 + 12 + 8 + 7 + 8 + 8 + accepts + 3 * state + holder;
        let free = width.saturating_sub(fixed);
        let address = longest.clamp(IPV4_COLUMNS, IPV4_COLUMNS.max(free / 2)).min(free.max(IPV4_COLUMNS));
        let bar = free.saturating_sub(address + 1).min(LONGEST_BAR);
        ListenerColumns { address, bar, accepts, state, holder }
    }

    /// The names of the states and their columns.
    fn states(self) -> [(&'static str, usize); 3] {
        [("syn-rcv", self.state), ("cl-wait", self.state), ("tm-wait", self.state)]
    }
}

/// A part of the screen: its title, and its rows, of which a window with the chosen row is shown.
pub(super) struct List {
    pub title: Line<'static>,
    pub rows: Vec<Line<'static>>,
}

impl List {
    /// The rows to be seen in a window of `height` rows that holds the chosen one.
    fn windowed(title: Line<'static>, all: Vec<Line<'static>>, chosen: Option<usize>, height: usize) -> List {
        let last = all.len().saturating_sub(height);
        // The chosen row is kept in the middle, as far as the ends of the list permit.
        let first = chosen.map_or(0, |chosen| chosen.saturating_sub(height / 2)).min(last);
        List { title, rows: all.into_iter().skip(first).take(height).collect() }
    }
}

/// `Listeners 3`, reversed where keys go to.
fn heading(name: &str, count: &str, focus: Focus, width: usize) -> Vec<Text<'static>> {
    let text = format!(" {name} {count} ");
    let pad = width.saturating_sub(columns(&text));
    vec![
        Text::styled(text, if focus == Focus::Here { REVERSED.patch(BOLD) } else { BOLD }),
        Text::raw(" ".repeat(pad)),
    ]
}

/// The sign before a row that shows whether it is chosen.
fn marker(choice: Choice) -> &'static str {
    if choice == Choice::Chosen { "▸ " } else { "  " }
}

/// A row, drawn over its whole width when it is chosen and keys go to its list.
fn row(parts: Vec<Text<'static>>, choice: Choice, focus: Focus) -> Line<'static> {
    let mut line = Line::from(parts);
    if (choice, focus) == (Choice::Chosen, Focus::Here) {
        // One colour for the whole row: single coloured cells would look like patches.
        let bold = |style: Style| style.add_modifier & Modifier::BOLD;
        line.spans.iter_mut().for_each(|span| span.style = REVERSED.add_modifier(bold(span.style)));
    }
    line
}

/// The listeners in `height` rows of `width` columns.
pub(super) fn listeners(
    state: &WatchState,
    view: &ScreenView,
    palette: Palette,
    (width, height): (usize, usize),
) -> List {
    let listed = view.listeners(state);
    let focus = Focus::of(view, Pane::Listeners);
    let longest = listed.iter().map(|listener| place(listener).len()).max().unwrap_or(0);
    let columns = ListenerColumns::within(width, longest);
    let mut title = heading(
        "Listeners",
        &grouped(listed.len() as u64),
        focus,
        2 + columns.address + 1 + if columns.bar < 12 { columns.bar } else { 0 },
    );
    let label = |text: &str, width: usize, side: Alignment| Text::styled(fit(text, width, side), FAINT);
    if columns.bar >= 12 {
        title.push(label("accept queue", columns.bar, Alignment::Left));
    }
    let always = [("now/limit", 12), ("longest", 8), ("drops", 7), ("tried/s", 8), ("done/s", 8)];
    for (name, width) in always.into_iter().chain([("accept/s", columns.accepts)]).chain(columns.states()) {
        title.push(label(name, width, Alignment::Right));
    }
    if columns.holder > 0 {
        title.push(label("  process", columns.holder, Alignment::Left));
    }
    if listed.is_empty() {
        let none = Line::styled("  No listening socket is known yet.", FAINT);
        return List { title: title.into(), rows: vec![none] };
    }
    let place = view.listener_place(&listed);
    // If the kernel was asked, an address without a queue has no listening socket.
    let missing = match state.listeners.iter().any(|listener| listener.queue.is_some()) {
        true => "no listener",
        false => "not asked",
    };
    let rows = listed.iter().enumerate().map(|(n, listener)| {
        listener_row(listener, missing, palette, columns, (Choice::of(place, n), focus))
    });
    List::windowed(title.into(), rows.collect(), place, height)
}

/// The address; of several sockets that share it, which one.
fn place(listener: &ListenerState) -> String {
    match listener.of_several {
        Some((n, _)) => format!("{} #{n}", listener.address),
        None => listener.address.to_string(),
    }
}

fn listener_row(
    listener: &ListenerState,
    missing: &str,
    palette: Palette,
    columns: ListenerColumns,
    (choice, focus): (Choice, Focus),
) -> Line<'static> {
    let style = if listener.open > 0 { palette.bad() } else { PLAIN };
    let mut parts = vec![
        Text::raw(marker(choice)),
        Text::styled(fit_address(&place(listener), columns.address), style),
        Text::raw(" "),
    ];
    let queue = listener.queue.zip(listener.limit);
    let fill = queue_style(listener, palette);
    match queue {
        Some((queue, limit)) => {
            // The queue holds one more than the limit: `sk_acceptq_is_full` asks whether it is exceeded.
            let (filled, rest) = bar(f64::from(queue) / (f64::from(limit) + 1.0), columns.bar);
            parts.push(Text::styled(filled, fill));
            parts.push(Text::styled(rest, FAINT));
            parts.push(Text::styled(fit(&format!("{queue}/{limit}"), 12, Alignment::Right), fill));
        }
        None => {
            parts.push(Text::styled(fit(missing, columns.bar, Alignment::Left), FAINT));
            parts.push(Text::styled(fit("-", 12, Alignment::Right), FAINT));
        }
    }
    let known = |value: Option<u64>| value.map_or("-".to_owned(), short);
    let overflown = listener.longest.zip(listener.limit).is_some_and(|(longest, limit)| longest > limit);
    let drops = listener.drops.filter(|drops| *drops > 0).map_or(PLAIN, |_| palette.bad());
    let behind = listener.completed * 10 < listener.attempts * 9;
    for (text, width, style) in [
        (known(listener.longest.map(u64::from)), 8, if overflown { palette.bad() } else { PLAIN }),
        (known(listener.drops), 7, drops),
        (short(listener.attempts), 8, PLAIN),
        (short(listener.completed), 8, if behind { palette.watch() } else { PLAIN }),
    ] {
        parts.push(Text::styled(fit(&text, width, Alignment::Right), style));
    }
    parts.push(Text::raw(fit(&known(listener.accepted), columns.accepts, Alignment::Right)));
    let states = listener.states;
    let counts = [
        states.map(|states| u64::from(states.syn_recv)),
        states.map(|states| u64::from(states.close_wait)),
        states.and_then(|states| states.time_wait.map(u64::from)),
    ];
    for (count, (_, width)) in counts.into_iter().zip(columns.states()) {
        parts.push(Text::raw(fit(&known(count), width, Alignment::Right)));
    }
    if columns.holder > 0 {
        let holder = listener.holder.as_deref().map_or_else(|| "-".to_owned(), clean);
        parts.push(Text::raw(fit(&format!("  {holder}"), columns.holder, Alignment::Left)));
    }
    row(parts, choice, focus)
}

fn queue_style(listener: &ListenerState, palette: Palette) -> Style {
    match listener.queue.zip(listener.limit) {
        Some((0, _)) => PLAIN,
        Some((queue, limit)) => palette.queue(queue.into(), limit.into()),
        None => palette.good(),
    }
}

/// The incidents in `height` rows of `width` columns.
pub(super) fn incidents(
    state: &WatchState,
    view: &ScreenView,
    palette: Palette,
    (width, height): (usize, usize),
) -> List {
    let listed = view.incidents(state);
    let focus = Focus::of(view, Pane::Incidents);
    let open = listed.iter().filter(|watched| watched.open).count();
    let count = format!("{} open, {} closed", grouped(open as u64), grouped((listed.len() - open) as u64));
    // If there is no room for both, the address matters more than the time of day.
    let begun = if width < DATED { 0 } else { 9 };
    // Fixed: marker 2, badge 9, kind, certainty 10, connections 6, begun, lasted 8; one between.
    let fixed = 2 + 9 + KIND_COLUMNS + 1 + 1 + 10 + 6 + begun + 8;
    let address = width.saturating_sub(fixed).min(47);
    let label = |text: &str, width: usize, side: Alignment| Text::styled(fit(text, width, side), FAINT);
    let wide = address >= 10;
    let mut title = heading("Incidents", &count, focus, 2 + 9 + KIND_COLUMNS + 1);
    if wide {
        title.push(label("listener", address, Alignment::Left));
    }
    title.push(Text::raw(" "));
    title.push(label("certainty", 10, Alignment::Left));
    for (name, width) in [("conns", 6), ("begun", begun), ("lasted", 8)] {
        title.push(label(name, width, Alignment::Right));
    }
    if listed.is_empty() {
        let text = match (state.incidents.is_empty(), view.filter.is_empty()) {
            (false, false) => {
                format!("  No incident matches '{}'. Esc clears the filter.", clean(&view.filter))
            }
            _ => "  Nothing has gone wrong so far.".to_owned(),
        };
        return List { title: title.into(), rows: vec![Line::styled(text, FAINT)] };
    }
    let place = view.incident_place(&listed);
    let clock = TimeFormat::new([]);
    let now = state.at;
    let rows = listed.iter().enumerate().map(|(n, watched)| {
        let choice = Choice::of(place, n);
        let incident = &watched.incident;
        let dull = |style: Style| if watched.open { style } else { style.patch(FAINT) };
        let badge = match incident.severity {
            Severity::Critical => "CRITICAL",
            Severity::Warning => "WARNING ",
            Severity::Info => "INFO    ",
        };
        let badge_style = if watched.open { palette.severity(incident.severity) } else { FAINT };
        let mut parts = vec![
            Text::raw(marker(choice)),
            Text::styled(badge, badge_style),
            Text::raw(" "),
            Text::styled(fit(incident.kind.name(), KIND_COLUMNS, Alignment::Left), dull(PLAIN)),
            Text::raw(" "),
        ];
        if wide {
            let place = incident.listener.map_or_else(|| "-".to_owned(), |listener| listener.to_string());
            parts.push(Text::styled(fit_address(&place, address), dull(PLAIN)));
        }
        parts.push(Text::raw(" "));
        let certainty = incident.certainty;
        let style = if watched.open { palette.certainty(certainty) } else { FAINT };
        parts.push(Text::styled(fit(&certainty.to_string(), 10, Alignment::Left), style));
        let count = match incident.connections {
            0 => incident.findings.len() as u64,
            connections => connections,
        };
        for (text, width) in
            [(short(count), 6), (clock.second(incident.first), begun), (lasted(watched, now), 8)]
        {
            parts.push(Text::styled(fit(&text, width, Alignment::Right), dull(PLAIN)));
        }
        row(parts, choice, focus)
    });
    List::windowed(title.into(), rows.collect(), place, height)
}

/// How long an incident has gone on: `45s`, `3m07s`, `2h11m`; with a `+` while it grows, `=` while it is steady, `-` while
/// it recovers.
fn lasted(watched: &WatchedIncident, now: Timestamp) -> String {
    let incident = &watched.incident;
    let end = if watched.open { now } else { incident.last };
    let span = end - incident.first;
    let text = whole_seconds(Span(span.0 + 500_000_000));
    match watched.phase {
        Phase::Growing => text + "+",
        Phase::Steady => text + "=",
        Phase::Recovering => text + "-",
        Phase::Over => text,
    }
}

/// A span in the two units that fit, from seconds to days: `45s`, `3m07s`, `2h11m`, `9d`.
pub(super) fn whole_seconds(span: Span) -> String {
    let seconds = span.0.max(0) / 1_000_000_000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h @ 0..100, m, _) => format!("{h}h{m:02}m"),
        (h, ..) => format!("{}d", h / 24),
    }
}
