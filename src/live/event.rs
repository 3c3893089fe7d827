//! Events: the changes since the last tick. Each is one line, in words or as JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::diagnose::host::account::TIME_WAIT_OVERFLOW;
use crate::live::phase::Phase;
use crate::model::{Finding, Incident};

/// Explains a counter of the kernel that rose although no captured connection shows it.
pub fn why_unseen(counter: &str) -> &'static str {
    match counter == TIME_WAIT_OVERFLOW.name {
        true => {
            "the host closed sockets in TIME_WAIT early, for there were more than net.ipv4.tcp_max_tw_buckets; no packet \
             shows that"
        }
        false => "no captured connection shows it: another interface, or a filter?",
    }
}

/// One line of `--format jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum LiveEvent {
    /// A finding that was not there before.
    Opened {
        /// When it was issued, RFC 3339.
        at: String,
        /// The incident that it belongs to.
        incident: String,
        /// The finding.
        finding: Box<Finding>,
    },
    /// More is known of a finding: another certainty, more packets, or another kind. After a change of kind, `was`
    /// holds the earlier id.
    Updated {
        /// When, RFC 3339.
        at: String,
        /// Its earlier id, if the id changed with its kind.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        was: Option<String>,
        /// The finding as it is now.
        finding: Box<Finding>,
    },
    /// A finding was withdrawn: later packets or counters show that it was wrong.
    Withdrawn {
        /// When, RFC 3339.
        at: String,
        /// Its id.
        finding: String,
        /// Why.
        reason: String,
    },
    /// An incident has another phase than before.
    Changed {
        /// When, RFC 3339.
        at: String,
        /// Its phase now.
        state: Phase,
        /// The whole of it.
        incident: Box<Incident>,
        /// How much the incident's sockets have refused by their own counts.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        refused: Option<String>,
    },
    /// An incident has ended: nothing was added to it for a while.
    Closed {
        /// When, RFC 3339.
        at: String,
        /// The whole of it.
        incident: Box<Incident>,
    },
    /// A counter of the kernel rose, and no packet seen explains it.
    CounterOnly {
        /// When, RFC 3339.
        at: String,
        /// Its name, as `nstat` names it.
        counter: String,
        /// By how much it rose.
        rose: u64,
        /// The listeners whose own drop counts rose in that second, `address:port`.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        listeners: Vec<String>,
        /// How much these have refused by their own drop counts, one sentence each.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        refused: Vec<String>,
    },
    /// Counts, every ten seconds.
    Statistics {
        /// When, RFC 3339.
        at: String,
        /// Packets since the last such line.
        packets: u64,
        /// TCP segments among them.
        segments: u64,
        /// Connections tried.
        attempts: u64,
        /// Handshakes completed.
        completed: u64,
        /// Packets lost on the way to this program.
        dropped: u64,
        /// Connections in the tables.
        tracked: u64,
        /// Incidents that are open.
        open: u64,
    },
    /// Something limits the observation: drops, an interface that went away, a memory limit.
    Warning {
        /// When, RFC 3339.
        at: String,
        /// What.
        text: String,
    },
    /// An incident has grown by findings that are only counted: there are too many to report each.
    Grew {
        /// When, RFC 3339.
        at: String,
        /// The incident as it is now; `findings` holds those that were reported.
        incident: Box<Incident>,
    },
}
