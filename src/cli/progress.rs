//! The progress of a long analysis, on standard error if that is a terminal.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::engine::Progress;
use crate::report::terminal::grouped;

/// Work shorter than this shows nothing.
const PATIENCE: Duration = Duration::from_millis(500);
/// Redraws per second.
const REDRAWS: u8 = 5;

/// A line on standard error that shows the progress, and disappears at the end.
pub(crate) struct ProgressLine {
    started: Instant,
    wanted: ProgressWanted,
    bar: Option<ProgressBar>,
}

/// Whether a user sees the progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProgressWanted {
    Yes,
    No,
}

impl ProgressLine {
    /// A line on standard error, where that is a terminal.
    pub(crate) fn on_terminal() -> ProgressLine {
        let wanted = if io::stderr().is_terminal() { ProgressWanted::Yes } else { ProgressWanted::No };
        ProgressLine { started: Instant::now(), wanted, bar: None }
    }

    /// No line at all: the user asked for quiet.
    pub(crate) fn silent() -> ProgressLine {
        ProgressLine { started: Instant::now(), wanted: ProgressWanted::No, bar: None }
    }

    /// Shows the progress.
    pub(crate) fn show(&mut self, now: Progress) {
        let elapsed = self.started.elapsed();
        if self.wanted == ProgressWanted::No || elapsed < PATIENCE {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(REDRAWS));
            let style = ProgressStyle::with_template("{wide_msg}").expect("the template is a constant");
            bar.set_style(style);
            bar
        });
        bar.set_message(line(now, elapsed));
    }

    /// Clears the line.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `1.20 GiB of 4.00 GiB (30%), 1,204,224 packets (602,112/s), 7 seconds left`.
fn line(now: Progress, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let mut text = HumanBytes(now.read).to_string();
    if let Some(total) = now.total.filter(|&total| total > 0) {
        let part = (now.read as f64 / total as f64).min(1.0);
        text.push_str(&format!(" of {} ({:.0}%)", HumanBytes(total), part * 100.0));
    }
    let rate = now.packets as f64 / seconds;
    text.push_str(&format!(", {} packets ({}/s)", grouped(now.packets), grouped(rate as u64)));
    if let Some(total) = now.total.filter(|&total| now.read > 0 && total > now.read) {
        let left = seconds * (total - now.read) as f64 / now.read as f64;
        // An estimate of more than a year means nothing.
        if let Ok(left) = Duration::try_from_secs_f64(left.min(31_536_000.0)) {
            text.push_str(&format!(", {} left", HumanDuration(left)));
        }
    }
    if now.suspects > 0 {
        text.push_str(&format!(", {} suspected", grouped(now.suspects)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_and_how_long() {
        let now = Progress { read: 1 << 30, total: Some(4 << 30), packets: 1_000_000, suspects: 3 };
        assert_eq!(
            line(now, Duration::from_secs(2)),
            "1.00 GiB of 4.00 GiB (25%), 1,000,000 packets (500,000/s), 6 seconds left, 3 suspected"
        );
        let piped = Progress { total: None, suspects: 0, ..now };
        assert_eq!(line(piped, Duration::from_secs(2)), "1.00 GiB, 1,000,000 packets (500,000/s)");
        assert!(line(Progress::default(), Duration::ZERO).starts_with("0 B, 0 packets"));
    }
}
