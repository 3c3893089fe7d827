//! The terminal as a screen, and how it is restored: at the end, or in a panic of any thread.

use std::io::{self, IsTerminal, Write};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
/// The terminal's error; the terminal is then as it was before.
pub(super) fn enter() -> io::Result<()> {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // Restored first, so that the message appears on the normal screen. A contained panic prints no message.
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

/// Restores the terminal; a second call does nothing.
pub(super) fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // A terminal that is gone needs no restoring.
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        let _ = io::stdout().flush();
    }
}

/// Whether keys can come from the terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keys {
    /// There may be some.
    MayCome,
    /// It was hung up: asking for keys would never end.
    NeverAgain,
}

/// Waits for keys, `most` at most.
#[cfg(unix)]
pub(super) fn wait_for_keys(most: Duration) -> Keys {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let keys = io::stdin();
    if !keys.is_terminal() {
        std::thread::sleep(most);
        return Keys::MayCome;
    }
    let mut fds = [PollFd::new(&keys, PollFlags::IN)];
    let time = Timespec { tv_sec: 0, tv_nsec: most.subsec_nanos().into() };
    // A signal ends the wait: the window has another size.
    let _ = poll(&mut fds, Some(&time));
    match fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
        true => Keys::NeverAgain,
        false => Keys::MayCome,
    }
}

/// Waits for keys, `most` at most.
#[cfg(not(unix))]
pub(super) fn wait_for_keys(most: Duration) -> Keys {
    std::thread::sleep(most);
    Keys::MayCome
}
