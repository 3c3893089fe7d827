//! The full-screen view: listeners with their queues, handshake rates, incidents, and one incident in full.
//!
//! ```text
//!  keys  ->  View (keys)  \
//!                          draw  ->  cells that have changed  ->  terminal
//!  State, each tick       /
//! ```
//!
//! It has a thread of its own, so that keys are answered at once and a slow terminal delays no packet. Only
//! [`terminal`](self) uses a terminal: everything else is drawn into cells, and tested there.

mod cells;
mod detail;
mod draw;
mod history;
mod keys;
mod lists;
mod palette;
mod terminal;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use self::keys::{KeyEffect, ScreenKey, ScreenView};
use self::palette::Palette;
use super::event as events;
use super::output::{Next, Output};
use super::state::WatchState;
use crate::report::terminal::Color;

/// How long the thread waits for a key before it looks for a new state: ten pictures a second at most.
const FRAME: Duration = Duration::from_millis(100);
/// A terminal that has not taken its last picture by then is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A screen that is being shown.
#[derive(Debug)]
pub struct Screen {
    shared: Arc<SharedScreen>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// The data that the watch and the thread of the screen share.
#[derive(Debug, Default)]
struct SharedScreen {
    /// The latest state, and whether it has not been drawn yet.
    latest: Mutex<(Arc<WatchState>, bool)>,
    /// Whether the user wants to end, or the terminal is gone.
    left: AtomicBool,
    /// Whether the watch has ended.
    closing: AtomicBool,
}

impl Screen {
    /// Takes the terminal on standard output.
    ///
    /// # Errors
    /// The terminal's error; the terminal is then as it was before.
    pub fn open(color: Color) -> io::Result<Screen> {
        terminal::enter()?;
        let shared = Arc::new(SharedScreen::default());
        let mine = Arc::clone(&shared);
        let run = move || {
            let ended = show(&mine, color);
            mine.left.store(true, Ordering::SeqCst);
            terminal::give_back();
            ended
        };
        let thread = std::thread::Builder::new().name("screen".to_owned()).spawn(run);
        let thread = thread.inspect_err(|_| terminal::give_back())?;
        Ok(Screen { shared, thread: Some(thread) })
    }

    /// Shows `state` from now on. Never waits for the terminal.
    pub fn show(&self, state: &WatchState) {
        let state = Arc::new(state.clone());
        *self.shared.latest.lock().unwrap_or_else(PoisonError::into_inner) = (state, true);
    }

    /// Whether the user wants to end the watch, or the terminal is gone.
    pub fn left(&self) -> bool {
        self.shared.left.load(Ordering::SeqCst)
    }

    /// Gives the terminal back, so that something else can be written on it.
    ///
    /// # Errors
    /// The terminal's error from its time as a screen.
    pub fn close(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        self.shared.closing.store(true, Ordering::SeqCst);
        let thread = self.thread.take();
        let until = Instant::now() + PATIENCE;
        while thread.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        // A terminal that accepts no output must not keep the report from being written.
        let ended = thread.filter(JoinHandle::is_finished).map(JoinHandle::join);
        terminal::give_back();
        match ended {
            Some(Ok(ended)) => ended,
            // A panic has been reported by its hook.
            Some(Err(_)) | None => Ok(()),
        }
    }
}

impl Output for Screen {
    fn tick(&mut self, state: &WatchState, _: &[events::LiveEvent]) -> io::Result<Next> {
        self.show(state);
        Ok(if self.left() { Next::Stop } else { Next::Go })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A caller that needs the terminal's error calls `close`.
        let _ = self.end();
    }
}

/// Draws and takes keys until one side ends.
fn show(shared: &SharedScreen, color: Color) -> io::Result<()> {
    let mut terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
    repaint(&mut terminal)?;
    let (mut view, palette) = (ScreenView::default(), Palette::new(color));
    let mut stale = true;
    loop {
        let state = {
            let mut latest = shared.latest.lock().unwrap_or_else(PoisonError::into_inner);
            // A frozen picture needs no new one.
            stale |= latest.1 && view.frozen.is_none();
            latest.1 = false;
            Arc::clone(&latest.0)
        };
        if stale {
            let shown = view.frozen.clone().unwrap_or_else(|| Arc::clone(&state));
            let mut room = view.room;
            terminal.draw(|frame| room = draw::draw(frame, &shown, &view, palette))?;
            view.room = room;
            stale = false;
        }
        if terminal::wait_for_keys(FRAME) == terminal::Keys::NeverAgain {
            return Ok(());
        }
        // All keys that are waiting, then one picture.
        while event::poll(Duration::ZERO)? {
            match event::read()? {
                Event::Key(pressed) => match key(pressed).map(|key| view.press(key, &state)) {
                    Some(KeyEffect::Quit) => return Ok(()),
                    Some(KeyEffect::Draw) => stale = true,
                    Some(KeyEffect::Repaint) => {
                        repaint(&mut terminal)?;
                        stale = true;
                    }
                    Some(KeyEffect::None) | None => {}
                },
                Event::Resize(..) => stale = true,
                _ => {}
            }
        }
        if shared.closing.load(Ordering::SeqCst) || !terminal::is_entered() {
            return Ok(());
        }
    }
}

/// Draws the next picture in full. `Terminal::clear` would ask the terminal for the place of its cursor and wait for an
/// answer, which not every terminal gives.
fn repaint<B: Backend>(terminal: &mut Terminal<B>) -> Result<(), B::Error> {
    let size = terminal.size()?;
    terminal.resize(size.into())
}

/// The meaning of a key of the terminal.
fn key(event: KeyEvent) -> Option<ScreenKey> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    Some(match event.code {
        KeyCode::Char('c') if control => ScreenKey::Interrupt,
        KeyCode::Char('l' | 'u') if control => ScreenKey::Clear,
        KeyCode::Char('p') if control => ScreenKey::Up,
        KeyCode::Char('n') if control => ScreenKey::Down,
        KeyCode::Char('b') if control => ScreenKey::PageUp,
        KeyCode::Char('f') if control => ScreenKey::PageDown,
        KeyCode::Char(_) if control || event.modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(c) => ScreenKey::Character(c),
        KeyCode::Up => ScreenKey::Up,
        KeyCode::Down => ScreenKey::Down,
        KeyCode::Left => ScreenKey::Left,
        KeyCode::Right => ScreenKey::Right,
        KeyCode::PageUp => ScreenKey::PageUp,
        KeyCode::PageDown => ScreenKey::PageDown,
        KeyCode::Home => ScreenKey::Home,
        KeyCode::End => ScreenKey::End,
        KeyCode::Enter => ScreenKey::Enter,
        KeyCode::Esc => ScreenKey::Escape,
        KeyCode::Tab => ScreenKey::Tab,
        KeyCode::BackTab => ScreenKey::BackTab,
        KeyCode::Backspace => ScreenKey::Backspace,
        _ => return None,
    })
}
