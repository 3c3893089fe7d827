//! The terminal while it is a screen, and how it is given back: at the end, in a panic, whatever the thread.

use std::io::{self, Write};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use crate::fault;

/// Whether the terminal is a screen now.
static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// Makes the terminal on standard output a screen: no echo, no line editing, another buffer than the shell's.
///
/// # Errors
/// What the terminal says; it is as it was, then.
pub(super) fn enter() -> io::Result<()> {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // First, so that the message lands where it can be read. What is contained has no message.
            if !fault::is_contained() {
                give_back();
            }
            before(info);
        }));
    });
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    execute!(io::stdout(), EnterAlternateScreen, Hide).inspect_err(|_| give_back())
}

/// Whether the terminal is still a screen: a panic elsewhere gives it back.
pub(super) fn is_entered() -> bool {
    TAKEN.load(Ordering::SeqCst)
}

/// Gives the terminal back as it was; the second time nothing happens.
pub(super) fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // A terminal that is gone needs nothing.
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        let _ = io::stdout().flush();
    }
}
