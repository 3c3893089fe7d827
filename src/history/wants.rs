//! Which connections are kept in full: those that some finding kind wants.

use crate::flow::compact::clean::{CleanFlow, CleanFlowSummary};
use crate::flow::facts::ConnectionFacts;
use crate::history::incomplete::IncompleteHandshake;
use crate::history::settings::UserSettings;

/// The connections that a finding kind wants to examine, or several kinds together. A connection that none wants is
/// only counted. Therefore a kind should want too many rather than too few: `examine` decides.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// Which of the connections with something out of the ordinary; all of their facts are known.
    pub full: Option<fn(&ConnectionFacts, &UserSettings) -> bool>,
    /// Which of the clean connections, where every segment followed on the one before, in compact form.
    pub clean: Option<fn(&CleanFlow, &CleanFlowSummary, &UserSettings) -> bool>,
    /// Which of the handshakes of one SYN that were never completed. A flood leaves millions of them: wanted ones take
    /// more memory, and only the first of each listener are kept.
    pub incomplete: Option<fn(&IncompleteHandshake) -> bool>,
}

impl Wants {
    /// No connection: the history is enough.
    pub const NOTHING: Wants = Wants { full: None, clean: None, incomplete: None };

    /// Connections with something out of the ordinary for which `full` returns true.
    pub const fn full(full: fn(&ConnectionFacts, &UserSettings) -> bool) -> Wants {
        Wants { full: Some(full), ..Wants::NOTHING }
    }

    /// The same, and clean connections for which `clean` returns true.
    pub const fn or_clean(self, clean: fn(&CleanFlow, &CleanFlowSummary, &UserSettings) -> bool) -> Wants {
        Wants { clean: Some(clean), ..self }
    }

    /// The same, and handshakes never completed for which `incomplete` returns true.
    pub const fn or_incomplete(self, incomplete: fn(&IncompleteHandshake) -> bool) -> Wants {
        Wants { incomplete: Some(incomplete), ..self }
    }

    /// Whether this connection is wanted.
    pub fn wants_full(&self, f: &ConnectionFacts, settings: &UserSettings) -> bool {
        self.full.is_some_and(|wants| wants(f, settings))
    }

    /// Whether this connection in short form is wanted.
    #[inline]
    pub fn wants_clean(&self, b: &CleanFlow, course: &CleanFlowSummary, settings: &UserSettings) -> bool {
        self.clean.is_some_and(|wants| wants(b, course, settings))
    }

    /// Whether this handshake is wanted.
    #[inline]
    pub fn wants_incomplete(&self, handshake: &IncompleteHandshake) -> bool {
        self.incomplete.is_some_and(|wants| wants(handshake))
    }
}

impl Default for Wants {
    fn default() -> Wants {
        Wants::NOTHING
    }
}
