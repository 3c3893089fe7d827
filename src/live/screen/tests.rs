//! Whole screens, as cells: their texts, and that the screen survives any size and any string.

use std::fmt::Write;
use std::sync::Arc;

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color as Ink, Modifier};

use super::draw::draw;
use super::keys::{PaneHeights, ScreenKey, ScreenView};
use super::palette::Palette;
use crate::live::samples;
use crate::live::state::WatchState;
use crate::report::terminal::{Color, is_hostile};

/// The sizes that every screen is looked at.
const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

fn drawn(
    state: &WatchState,
    view: &ScreenView,
    (width, height): (u16, u16),
    color: Color,
) -> (Buffer, PaneHeights) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let mut room = PaneHeights::default();
    terminal.draw(|frame| room = draw(frame, state, view, Palette::new(color))).unwrap();
    (terminal.backend().buffer().clone(), room)
}

/// The same twice, so that the view knows how much fits.
fn screen(state: &WatchState, keys: &[ScreenKey], size: (u16, u16), color: Color) -> Buffer {
    let (mut view, state) = (ScreenView::default(), Arc::new(state.clone()));
    for key in keys {
        view.room = drawn(&state, &view, size, color).1;
        view.press(*key, &state);
    }
    let shown = view.frozen.clone().unwrap_or(Arc::clone(&state));
    drawn(&shown, &view, size, color).0
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let mut out = String::new();
    for row in buffer.content.chunks(width) {
        let line: String = row.iter().map(|cell| cell.symbol()).collect();
        writeln!(out, "{}", line.trim_end()).unwrap();
    }
    out
}

fn typed(text: &str) -> Vec<ScreenKey> {
    text.chars().map(ScreenKey::Character).collect()
}

/// Every screen that is compared: its name, its state, the keys pressed.
fn screens() -> Vec<(&'static str, WatchState, Vec<ScreenKey>)> {
    let filter = [typed("/flood"), vec![ScreenKey::Enter]].concat();
    vec![
        ("quiet", samples::quiet(), vec![]),
        ("overflow", samples::overflow(), vec![]),
        ("detail", samples::overflow(), vec![ScreenKey::Enter, ScreenKey::Right]),
        ("mixture", samples::mixture(), vec![ScreenKey::Down, ScreenKey::Down]),
        ("listeners", samples::mixture(), vec![ScreenKey::BackTab, ScreenKey::End]),
        ("help", samples::overflow(), typed("?")),
        ("typing", samples::mixture(), typed("/flo")),
        ("filter", samples::mixture(), filter),
        ("warnings", samples::mixture(), typed("w")),
        ("lost", samples::lost_interface(), vec![]),
        ("frozen", samples::overflow(), typed(" ")),
        ("beginning", WatchState::default(), vec![]),
    ]
}

#[test]
fn golden_screens() {
    for (name, state, keys) in screens() {
        for size in SIZES {
            let buffer = screen(&state, &keys, size, Color::Off);
            insta::assert_snapshot!(format!("{name}-{}x{}", size.0, size.1), text(&buffer));
        }
    }
}

/// Writes every screen with its colours, where `SYNSCOPE_SCREENS` names a folder: to look at.
#[test]
fn screens_for_the_eye() {
    let Some(folder) = std::env::var_os("SYNSCOPE_SCREENS") else { return };
    for (name, state, keys) in screens() {
        for size in SIZES {
            for (suffix, color) in [("", Color::Ansi), ("-plain", Color::Off)] {
                let buffer = screen(&state, &keys, size, color);
                let file = format!("{name}-{}x{}{suffix}.ansi", size.0, size.1);
                std::fs::write(std::path::Path::new(&folder).join(file), ansi(&buffer)).unwrap();
            }
        }
    }
}

/// `buffer` as a terminal would be told it.
fn ansi(buffer: &Buffer) -> String {
    let mut out = String::new();
    for row in buffer.content.chunks(usize::from(buffer.area.width)) {
        for cell in row {
            let mut codes = vec!["0".to_owned()];
            for (modifier, code) in [(Modifier::BOLD, "1"), (Modifier::DIM, "2"), (Modifier::REVERSED, "7")] {
                if cell.modifier.contains(modifier) {
                    codes.push(code.to_owned());
                }
            }
            for (ink, base) in [(cell.fg, 30), (cell.bg, 40)] {
                codes.extend(number(ink).map(|n| (base + n).to_string()));
            }
            write!(out, "\x1b[{}m{}", codes.join(";"), cell.symbol()).unwrap();
        }
        out.push_str("\x1b[0m\r\n");
    }
    out
}

/// The place among the sixteen colours; `None` is the terminal's own.
fn number(ink: Ink) -> Option<u8> {
    match ink {
        Ink::Reset => None,
        Ink::Black => Some(0),
        Ink::Red => Some(1),
        Ink::Green => Some(2),
        Ink::Yellow => Some(3),
        Ink::Blue => Some(4),
        Ink::Cyan => Some(6),
        Ink::White => Some(67),
        other => panic!("{other:?} is not one of the 16 colours of every terminal"),
    }
}

#[test]
fn no_colour_where_none_is_wanted() {
    for (name, state, keys) in screens() {
        let buffer = screen(&state, &keys, SIZES[0], Color::Off);
        let coloured = buffer.content.iter().find(|cell| (cell.fg, cell.bg) != (Ink::Reset, Ink::Reset));
        assert!(coloured.is_none(), "{name}: {coloured:?}");
    }
}

#[test]
fn only_the_sixteen_colours_are_used() {
    for (_, state, keys) in screens() {
        ansi(&screen(&state, &keys, SIZES[1], Color::Ansi));
    }
}

#[test]
fn what_strangers_have_named_cannot_steer_the_terminal() {
    let mut state = samples::mixture();
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\r\n\u{9b}31m\u{202e}fdp\u{200b}";
    state.host = evil.to_owned();
    state.warnings.push(evil.to_owned());
    for watched in &mut state.incidents {
        watched.corroboration = Some(evil.to_owned());
        watched.incident.id.push_str(evil);
        for finding in &mut watched.examples {
            finding.evidence[0].text = evil.into();
        }
    }
    let keys = [vec![], vec![ScreenKey::Enter], typed("w"), typed("?"), typed("/\u{1b}[2J")];
    for keys in keys {
        for size in SIZES {
            let buffer = screen(&state, &keys, size, Color::Ansi);
            let hostile = buffer.content.iter().find(|cell| cell.symbol().chars().any(is_hostile));
            assert!(hostile.is_none(), "{keys:?} at {size:?}: {hostile:?}");
        }
    }
}

#[test]
fn the_chosen_row_is_always_in_sight() {
    let state = Arc::new(samples::mixture());
    for size in SIZES {
        let mut view = ScreenView::default();
        for _ in 0..state.incidents.len() + 1 {
            let (buffer, room) = drawn(&state, &view, size, Color::Off);
            view.room = room;
            let chosen = view.chosen(&state).unwrap().incident.kind.name();
            let seen = text(&buffer).lines().any(|line| line.contains('▸') && line.contains(chosen));
            assert!(seen, "{chosen} at {size:?}");
            view.press(ScreenKey::Down, &state);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_size_is_drawn(width in 1u16..230, height in 1u16..70, keys in "[?w/ \\tjkqGn]{0,4}", which in 0usize..5) {
        let state = &samples::all()[which].1;
        let keys: Vec<ScreenKey> =
            keys.chars().map(|c| if c == '\t' { ScreenKey::Tab } else { ScreenKey::Character(c) }).collect();
        screen(state, &keys, (width, height), Color::Ansi);
        screen(state, &[ScreenKey::Enter, ScreenKey::End], (width, height), Color::Ansi);
    }
}

/// Runs itself on a terminal of its own, that of script(1).
#[test]
fn a_panic_gives_the_terminal_back_before_its_message() {
    const INSIDE: &str = "SYNSCOPE_PANIC_ON_A_SCREEN";
    if std::env::var_os(INSIDE).is_some() {
        super::terminal::enter().unwrap();
        let _ = std::thread::spawn(|| panic!("on purpose")).join();
        assert!(!super::terminal::is_entered());
        return;
    }
    let name = "live::screen::tests::a_panic_gives_the_terminal_back_before_its_message";
    let own = std::env::current_exe().unwrap();
    let command = format!("'{}' --exact {name} --nocapture", own.display());
    let run = std::process::Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env(INSIDE, "1")
        .stdin(std::process::Stdio::null())
        .output();
    let Ok(run) = run else {
        eprintln!("script(1) is not there: not tested");
        return;
    };
    let out = String::from_utf8_lossy(&run.stdout);
    let place = |what: &str| out.find(what).unwrap_or_else(|| panic!("no {what:?} in {out:?}"));
    assert!(place("\u{1b}[?1049h") < place("\u{1b}[?1049l") && place("\u{1b}[?1049l") < place("on purpose"));
    assert!(out.contains("\u{1b}[?25h") && run.status.success(), "{out:?}");
}
