//! The whole screen: the place of each part, at any size.
//!
//! With fewer columns than [`WIDE`] the parts lie one above the other; otherwise the detail stands beside the lists.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span as Text};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::cells::{Alignment, bytes, chart, clean, columns, fit, short};
use super::keys::{Overlay, Pane, PaneHeights, ScreenView};
use super::lists::List;
use super::palette::{BOLD, FAINT, PLAIN, Palette, REVERSED};
use super::{detail, history, lists};
use crate::live::state::{WatchSecond, WatchState};
use crate::report::clock::TimeFormat;
use crate::report::terminal::{grouped, wrap};
use crate::time::Span;

/// From this width on the detail has a place of its own beside the lists.
const WIDE: u16 = 140;
/// From this height on the rates are drawn higher than one row.
const HIGH: u16 = 40;
/// Columns of what stands beside the rates.
const FIGURES: usize = 34;

/// The kernel's counters that are worth a place on the screen, as `nstat` names them.
const COUNTERS: [&str; 10] = [
    "TcpExtListenOverflows",
    "TcpExtListenDrops",
    "TcpExtTCPReqQFullDrop",
    "TcpExtTCPReqQFullDoCookies",
    "TcpExtSyncookiesSent",
    "TcpExtSyncookiesFailed",
    "TcpExtPAWSPassive",
    "TcpExtTCPTimeWaitOverflow",
    "TcpExtTCPAbortOnTimeout",
    "TcpRetransSegs",
];

/// Draws `state` with the selections of `view`; returns how much of each part fitted.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    state: &WatchState,
    view: &ScreenView,
    palette: Palette,
) -> PaneHeights {
    let whole = frame.area();
    let (width, height) = (usize::from(whole.width), usize::from(whole.height));
    let head = header(state, view, palette, width, if whole.height >= HIGH { 3 } else { 1 });
    // On a very small screen the lists matter more than the head.
    let head_rows = head.len().min(height.saturating_sub(8).max(1));
    let [head_area, body, foot_area] =
        Layout::vertical([Constraint::Length(head_rows as u16), Constraint::Min(0), Constraint::Length(1)])
            .areas(whole);
    lines(frame, head_area, head);
    let mut room = PaneHeights::default();
    let columns = usize::from(body.width);
    if view.zoomed {
        (room.detail, room.detail_lines) = draw_detail(frame, body, state, view, palette);
    } else if whole.width >= WIDE {
        let left_columns = (body.width / 2).max(90);
        let [left, gap, right] =
            Layout::horizontal([Constraint::Length(left_columns), Constraint::Length(3), Constraint::Min(0)])
                .areas(body);
        let rule = vec![Line::styled(" │", FAINT); usize::from(gap.height)];
        lines(frame, gap, rule);
        let (rows, columns) = (usize::from(left.height), usize::from(left.width));
        let wanted = view.listeners(state).len().max(1);
        let listeners = wanted.min(rows.saturating_sub(6) / 2).max(1);
        room.listeners = listeners;
        let free = rows.saturating_sub(listeners + 3);
        // Rows that the incidents do not need show the queue over time.
        let unused = free.saturating_sub(view.incidents(state).len().max(1) + 1);
        let charts = history::charts(state, view, unused);
        let chart = if charts.0 > 0 { charts.0 * (charts.1 + 1) - 1 } else { 0 };
        room.incidents = free - if chart > 0 { chart + 1 } else { 0 };
        let [top, _, bottom, _, low] = Layout::vertical([
            Constraint::Length(listeners as u16 + 1),
            Constraint::Length(1),
            Constraint::Min(0),
            Constraint::Length(u16::from(chart > 0)),
            Constraint::Length(chart as u16),
        ])
        .areas(left);
        lines(frame, low, history::draw_all(state, view, palette, columns, charts));
        list(frame, top, lists::listeners(state, view, palette, (columns, room.listeners)));
        list(frame, bottom, lists::incidents(state, view, palette, (columns, room.incidents)));
        (room.detail, room.detail_lines) = draw_detail(frame, right, state, view, palette);
    } else {
        let rows = usize::from(body.height);
        (room.listeners, room.incidents) = shares(state, view, rows);
        let [top, middle, bottom] = Layout::vertical([
            Constraint::Length(room.listeners as u16 + 1),
            Constraint::Length(room.incidents as u16 + 1),
            Constraint::Min(0),
        ])
        .areas(body);
        list(frame, top, lists::listeners(state, view, palette, (columns, room.listeners)));
        list(frame, middle, lists::incidents(state, view, palette, (columns, room.incidents)));
        (room.detail, room.detail_lines) = draw_detail(frame, bottom, state, view, palette);
    }
    lines(frame, foot_area, vec![footer(view, palette, width)]);
    match view.overlay {
        Overlay::None => {}
        Overlay::Help => room.overlay_hidden = overlay(frame, "Help", help(palette), view.overlay_scroll),
        Overlay::Warnings => {
            let text = warnings(state, palette, width.saturating_sub(8).min(100));
            room.overlay_hidden = overlay(frame, "Warnings", text, view.overlay_scroll);
        }
    }
    room
}

/// How many rows of `rows` the listeners and the incidents get. Each has a title, and the detail gets the rest.
fn shares(state: &WatchState, view: &ScreenView, rows: usize) -> (usize, usize) {
    let free = rows.saturating_sub(3);
    let listeners = view.listeners(state).len().max(1);
    let incidents = view.incidents(state).len().max(1);
    // The list that keys go to may have half of it, the other one a quarter; what one does not need is the other's.
    let of_listeners = if view.focus == Pane::Listeners { free / 2 } else { free / 4 }.max(1);
    let of_incidents = if view.focus == Pane::Incidents { free * 2 / 5 } else { free / 4 }.max(1);
    (listeners.min(of_listeners), incidents.min(of_incidents))
}

fn lines(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'static>>) {
    frame.render_widget(Paragraph::new(lines), area);
}

fn list(frame: &mut Frame<'_>, area: Rect, list: List) {
    let mut all = vec![list.title];
    all.extend(list.rows);
    lines(frame, area, all);
}

/// The head: the name of the host, the rates, the kernel's counters, the latest warning.
fn header(
    state: &WatchState,
    view: &ScreenView,
    palette: Palette,
    width: usize,
    rows: usize,
) -> Vec<Line<'static>> {
    let mut all = vec![title(state, view, palette, width)];
    all.extend(rates(state, palette, width, rows));
    all.push(counters(state, palette, width));
    if let Some(latest) = state.warnings.last() {
        let more = match state.warnings.len() {
            1 => String::new(),
            n => format!(" (w: all {n})"),
        };
        let text = fit(&format!(" ! {latest}"), width.saturating_sub(columns(&more)), Alignment::Left);
        all.push(Line::styled(text + &more, palette.alert()));
    } else {
        all.push(Line::default());
    }
    all
}

fn title(state: &WatchState, view: &ScreenView, palette: Palette, width: usize) -> Line<'static> {
    let mut parts = vec![
        Text::styled(" synscope live ", REVERSED.patch(BOLD)),
        Text::styled(format!(" {}", clean(&state.host)), BOLD),
        Text::raw(" "),
    ];
    for interface in &state.interfaces {
        let (style, down) = if interface.up { (PLAIN, "") } else { (palette.bad(), " is down") };
        parts.push(Text::raw(" "));
        parts.push(Text::styled(format!("{}{down}", clean(&interface.name)), style));
    }
    let right = match &view.frozen {
        Some(frozen) => (format!(" FROZEN at {} UTC ", second(frozen)), palette.alert()),
        None => (
            format!("{} UTC  for {} ", second(state), lists::whole_seconds(state.at.since(state.began))),
            FAINT,
        ),
    };
    let left: usize = parts.iter().map(Text::width).sum();
    let right_columns = columns(&right.0);
    if left + right_columns < width {
        parts.push(Text::raw(" ".repeat(width - left - right_columns)));
    } else {
        // Names of interfaces give way to the time.
        cut(&mut parts, width.saturating_sub(right_columns + 1));
        parts.push(Text::raw(" "));
    }
    parts.push(Text::styled(right.0, right.1));
    Line::from(parts)
}

/// Cuts `parts` to `width` columns, and pads them to that width.
fn cut(parts: &mut Vec<Text<'static>>, width: usize) {
    let mut used = 0;
    for part in parts.iter_mut() {
        let columns = part.width();
        if used + columns > width {
            part.content = fit(&part.content, width.saturating_sub(used), Alignment::Left).into();
        }
        used += part.width();
    }
    parts.push(Text::raw(" ".repeat(width.saturating_sub(used))));
}

/// Connections tried and handshakes completed, one second per column, and the figures beside them.
fn rates(state: &WatchState, palette: Palette, width: usize, rows: usize) -> Vec<Line<'static>> {
    let figures = figures(state, palette);
    let label = 19;
    let room = width.saturating_sub(label + 2 + FIGURES).max(10);
    let over = complete(state);
    let shown = &over[over.len().saturating_sub(room)..];
    let most = shown.iter().map(|second| second.attempts.max(second.completed)).max().unwrap_or(0);
    let latest = shown.last().copied().copied().unwrap_or_default();
    let mut all = Vec::new();
    for (n, (name, now, value)) in [
        ("tried", latest.attempts, (|second| second.attempts) as fn(&WatchSecond) -> u64),
        ("completed", latest.completed, |second| second.completed),
    ]
    .into_iter()
    .enumerate()
    {
        let values: Vec<u64> = shown.iter().map(|second| value(second)).collect();
        for (row, cells) in chart(&values, most, rows).into_iter().enumerate() {
            let text = match row + 1 == rows {
                true => format!(" {name:<9} {:>5}/s ", short(now)),
                false => " ".repeat(label),
            };
            let mut parts = vec![Text::raw(text), Text::raw(" ".repeat(room.saturating_sub(cells.len())))];
            for (second, cell) in shown.iter().zip(cells) {
                parts.push(Text::styled(cell.to_string(), rate_style(second, palette)));
            }
            parts.push(Text::raw("  "));
            let place = n * rows + row;
            if let Some(figure) = figures.get(place) {
                parts.extend(figure.clone());
            }
            all.push(Line::from(parts));
        }
    }
    all
}

/// Only seconds that are over: the current one would always look as if less came.
fn complete(state: &WatchState) -> Vec<&WatchSecond> {
    state.seconds.iter().filter(|second| second.at + Span::secs(1) <= state.at).collect()
}

/// The colour of a second: red where packets were lost on the way here, yellow where handshakes stay behind.
fn rate_style(second: &WatchSecond, palette: Palette) -> Style {
    if second.dropped > 0 {
        palette.bad()
    } else if second.completed * 10 < second.attempts * 9 {
        palette.watch()
    } else {
        palette.good()
    }
}

/// The figures beside the rates, the most important first: at least two lines of them are shown.
fn figures(state: &WatchState, palette: Palette) -> Vec<Vec<Text<'static>>> {
    let latest = complete(state).last().copied().copied().unwrap_or_default();
    let packets: u64 = state.interfaces.iter().map(|interface| interface.packets).sum();
    let by_kernel: u64 = state.interfaces.iter().map(|interface| interface.dropped_by_kernel).sum();
    let by_interface: u64 = state.interfaces.iter().map(|interface| interface.dropped_by_interface).sum();
    let dropped = by_kernel + by_interface;
    let drops = if dropped > 0 { palette.bad() } else { PLAIN };
    let lag = if state.lag.0 > 1_000_000_000 { palette.bad() } else { PLAIN };
    let (used, budget) = state.memory;
    let figure = |name: &str, value: String, style: Style| {
        vec![
            Text::styled(fit(name, 10, Alignment::Left), FAINT),
            Text::styled(fit(&value, 7, Alignment::Left), style),
        ]
    };
    let long = |name: &str, value: String, style: Style| {
        vec![Text::styled(fit(name, 10, Alignment::Left), FAINT), Text::styled(value, style)]
    };
    vec![
        [figure("packets/s", short(latest.packets), PLAIN), figure("dropped", short(dropped), drops)]
            .concat(),
        [figure("tracked", short(state.tracked), PLAIN), figure("lag", state.lag.to_string(), lag)].concat(),
        long("tables", format!("{} of {}", bytes(used), bytes(budget)), PLAIN),
        long("packets", grouped(packets), PLAIN),
        long("conns", grouped(state.connections), PLAIN),
        long("dropped", format!("buffer {}, device {}", short(by_kernel), short(by_interface)), drops),
    ]
}

/// Which counters of the kernel have risen.
fn counters(state: &WatchState, palette: Palette, width: usize) -> Line<'static> {
    let mut parts = vec![Text::styled(" kernel  ", FAINT)];
    let known = COUNTERS.iter().filter_map(|name| Some((*name, *state.counters.get(*name)?)));
    let risen: Vec<(&str, u64)> = known.filter(|(_, rose)| *rose > 0).collect();
    if state.counters.is_empty() {
        parts.push(Text::styled("its counters cannot be read from here", FAINT));
    } else if risen.is_empty() {
        parts.push(Text::styled("no counter of queues, cookies or retransmission has risen", FAINT));
    }
    let mut used: usize = parts.iter().map(Text::width).sum();
    let last = risen.len().saturating_sub(1);
    for (n, (name, rose)) in risen.into_iter().enumerate() {
        let bare = name.strip_prefix("TcpExt").unwrap_or(name);
        let style = if name == "TcpRetransSegs" { PLAIN } else { palette.watch() };
        let rose = format!("+{}", grouped(rose));
        // A counter is shown as a whole or not at all. After each but the last one there is room for a sign that more
        // follow.
        used += columns(bare) + 1 + columns(&rose);
        if used + if n == last { 0 } else { 3 } > width {
            parts.push(Text::styled("…", FAINT));
            break;
        }
        parts.extend([Text::raw(format!("{bare} ")), Text::styled(rose, style), Text::raw("  ")]);
        used += 2;
    }
    Line::from(parts)
}

fn second(state: &WatchState) -> String {
    TimeFormat::new([]).second(state.at)
}

fn draw_detail(
    frame: &mut Frame<'_>,
    area: Rect,
    state: &WatchState,
    view: &ScreenView,
    palette: Palette,
) -> (usize, usize) {
    let (width, height) = (usize::from(area.width), usize::from(area.height).saturating_sub(1));
    let focused = view.focus == Pane::Detail;
    let text = match view.chosen(state) {
        Some(watched) => {
            detail::lines(watched, view.example, palette, width.saturating_sub(2).clamp(20, 118))
        }
        None => Vec::new(),
    };
    let total = text.len();
    let above = view.scroll.min(total.saturating_sub(height));
    let below = total.saturating_sub(above + height);
    let mut title = vec![Text::styled(" Detail ", if focused { REVERSED.patch(BOLD) } else { BOLD })];
    if let Some(watched) = view.chosen(state) {
        title.push(Text::raw(" "));
        title.extend(detail::heading(watched, palette));
    }
    if above + below > 0 && height > 0 {
        let more = format!(" {}-{}/{total} ", above + 1, above + height.min(total));
        cut(&mut title, width.saturating_sub(more.len()));
        title.push(Text::styled(more, FAINT));
    }
    let mut all = vec![Line::from(title)];
    all.extend(text.into_iter().skip(above).take(height).map(|mut line| {
        line.spans.insert(0, Text::raw("  "));
        line
    }));
    lines(frame, area, all);
    (height, total)
}

fn footer(view: &ScreenView, palette: Palette, width: usize) -> Line<'static> {
    if view.typing.is_some() {
        let hint = "Enter applies it, Esc cancels it ";
        let typed = format!(" / {}", clean(&view.filter));
        let mut parts = vec![Text::styled(typed, BOLD), Text::styled("█", PLAIN)];
        let used: usize = parts.iter().map(Text::width).sum();
        if used + hint.len() + 2 <= width {
            parts.push(Text::raw(" ".repeat(width - used - hint.len())));
            parts.push(Text::styled(hint, FAINT));
        }
        return Line::from(parts);
    }
    let mut parts = vec![Text::raw(" ")];
    if !view.filter.is_empty() {
        parts.push(Text::styled(format!(" filter: {} ", clean(&view.filter)), palette.alert()));
        parts.push(Text::raw("  "));
    }
    let keys: &[(&str, &str)] = match (view.zoomed, view.frozen.is_some()) {
        (true, _) => &[
            ("Esc", "back"),
            ("↑↓", "scroll"),
            ("←→", "example"),
            ("Space", "freeze"),
            ("?", "help"),
            ("q", "quit"),
        ],
        (false, frozen) => &[
            ("↑↓", "choose"),
            ("Enter", "open"),
            ("Tab", "next part"),
            ("/", "filter"),
            ("Space", if frozen { "go on" } else { "freeze" }),
            ("?", "help"),
            ("q", "quit"),
        ],
    };
    // Help names them all: where there is little room it stays, with the way out.
    let (most, last) = keys.split_at(keys.len() - 2);
    let wide = |(key, what): &(&str, &str)| key.chars().count() + what.len() + 3;
    let mut room = width.saturating_sub(parts.iter().map(Text::width).sum::<usize>());
    room = room.saturating_sub(last.iter().map(wide).sum());
    let fitting = most.iter().take_while(|key| {
        let fits = wide(key) <= room;
        room = room.saturating_sub(wide(key));
        fits
    });
    let shown: Vec<_> = fitting.chain(last).collect();
    for (key, what) in shown {
        parts.push(Text::styled((*key).to_owned(), palette.key()));
        parts.push(Text::styled(format!(" {what}  "), FAINT));
    }
    Line::from(parts)
}

/// Text in a box over everything else; returns how many of its lines did not fit.
fn overlay(frame: &mut Frame<'_>, title: &str, text: Vec<Line<'static>>, scroll: usize) -> usize {
    let whole = frame.area();
    let widest = text.iter().map(Line::width).max().unwrap_or(0).max(title.len() + 4);
    let width = (widest as u16 + 4).min(whole.width);
    let height = (text.len() as u16 + 2).min(whole.height);
    let area = Rect {
        x: whole.width.saturating_sub(width) / 2,
        y: whole.height.saturating_sub(height) / 2,
        width,
        height,
    };
    let hidden = text.len().saturating_sub(usize::from(height.saturating_sub(2)));
    let leave = if hidden > 0 { " ↑↓ scroll, Esc back " } else { " Esc back " };
    let block = Block::bordered()
        .title(Line::styled(format!(" {title} "), BOLD))
        .title_bottom(Line::styled(leave, FAINT).right_aligned());
    let text: Vec<Line<'static>> = text
        .into_iter()
        .skip(scroll.min(hidden))
        .map(|mut line| {
            line.spans.insert(0, Text::raw(" "));
            line
        })
        .collect();
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(text).block(block), area);
    hidden
}

fn warnings(state: &WatchState, palette: Palette, width: usize) -> Vec<Line<'static>> {
    if state.warnings.is_empty() {
        return vec![Line::styled("Nothing limits this report.", FAINT)];
    }
    let mut all = Vec::new();
    for warning in state.warnings.iter().rev() {
        for (n, line) in wrap(&clean(warning), width.saturating_sub(2).max(20)).into_iter().enumerate() {
            let lead = if n == 0 { Text::styled("! ", palette.watch()) } else { Text::raw("  ") };
            all.push(Line::from(vec![lead, Text::raw(line)]));
        }
    }
    all
}

fn help(palette: Palette) -> Vec<Line<'static>> {
    let key = |keys: &str, what: &str| {
        Line::from(vec![
            Text::styled(fit(keys, 16, Alignment::Left), palette.key()),
            Text::raw(what.to_owned()),
        ])
    };
    let legend = |style: Style, sign: &str, what: &str| {
        Line::from(vec![Text::styled(fit(sign, 16, Alignment::Left), style), Text::raw(what.to_owned())])
    };
    vec![
        key("↑ ↓  k j", "choose; scroll in the detail"),
        key("PgUp PgDn g G", "by pages, to the first, to the last"),
        key("Tab  Shift-Tab", "next part, part before: listeners, incidents, detail"),
        key("Enter", "an incident: its detail; a listener: its incidents"),
        key("← →  p n", "another example of the incident"),
        key("/", "list only entries with these words: kind, address, open, ..."),
        key("Esc", "one step back: detail, filter, freeze"),
        key("Space", "freeze the screen; the watch continues"),
        key("w", "all warnings"),
        key("Ctrl-L", "draw everything again"),
        key("q  Ctrl-C", "end the watch"),
        Line::default(),
        legend(palette.good(), "████", "accept queue below half of its limit; a second without trouble"),
        legend(palette.watch(), "████", "queue at least half full; a second with unfinished handshakes"),
        legend(palette.bad(), "████", "queue full; a second in which the capture lost packets"),
        legend(palette.watch(), "<- - - -", "sent again"),
        legend(palette.bad(), "-------X", "ignored, or a reset"),
        Line::default(),
        Line::styled("now/limit: connections in the accept queue and its limit; one more fits.", FAINT),
    ]
}
