//! Colours for dark and light terminals: the terminal's own sixteen on its own background, or none. Colour alone never
//! carries information.

use ratatui::style::{Color as Ink, Modifier, Style};

use crate::model::{Certainty, Severity};
use crate::report::terminal::Color;

/// The styles of the screen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    color: Color,
}

/// Ordinary text.
pub(super) const PLAIN: Style = Style::new();
/// Headings.
pub(super) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
/// What matters less.
pub(super) const FAINT: Style = Style::new().add_modifier(Modifier::DIM);
/// The selected row, and bars across the screen.
pub(super) const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

impl Palette {
    pub const fn new(color: Color) -> Palette {
        Palette { color }
    }

    fn ink(self, ink: Ink, otherwise: Style) -> Style {
        match self.color {
            Color::Ansi => Style::new().fg(ink),
            Color::Off => otherwise,
        }
    }

    /// As it should be.
    pub fn good(self) -> Style {
        self.ink(Ink::Green, PLAIN)
    }

    /// Worth a look.
    pub fn watch(self) -> Style {
        self.ink(Ink::Yellow, PLAIN)
    }

    /// A queue of this length: yellow from half of its limit on, red when no more fits.
    pub fn queue(self, length: u64, limit: u64) -> Style {
        match length {
            _ if length > limit => self.bad(),
            1.. if length * 2 >= limit => self.watch(),
            _ => self.good(),
        }
    }

    /// The style of a warning.
    pub fn bad(self) -> Style {
        self.ink(Ink::Red, PLAIN).add_modifier(Modifier::BOLD)
    }

    /// Commands and names to be copied.
    pub fn code(self) -> Style {
        self.ink(Ink::Cyan, PLAIN)
    }

    /// Names of keys.
    pub fn key(self) -> Style {
        self.ink(Ink::Cyan, PLAIN).add_modifier(Modifier::BOLD)
    }

    /// A line that must be noticed.
    pub fn alert(self) -> Style {
        match self.color {
            Color::Ansi => Style::new().fg(Ink::Black).bg(Ink::Yellow),
            Color::Off => BOLD,
        }
    }

    /// The badge of a severity.
    pub fn severity(self, severity: Severity) -> Style {
        let style = match (self.color, severity) {
            (Color::Ansi, Severity::Critical) => Style::new().fg(Ink::White).bg(Ink::Red),
            (Color::Ansi, Severity::Warning) => Style::new().fg(Ink::Black).bg(Ink::Yellow),
            (Color::Ansi, Severity::Info) => Style::new().fg(Ink::Blue),
            (Color::Off, Severity::Critical) => REVERSED,
            (Color::Off, _) => PLAIN,
        };
        style.add_modifier(Modifier::BOLD)
    }

    /// How sure something is.
    pub fn certainty(self, certainty: Certainty) -> Style {
        match certainty {
            Certainty::Confirmed => BOLD,
            Certainty::Probable => PLAIN,
            Certainty::Possible => FAINT,
        }
    }
}
