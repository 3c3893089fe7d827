//! What to analyze and how.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use crate::capture::StopRequest;
use crate::decode::segment::Address;
use crate::diagnose::vantage::RelativeVantage;
use crate::history::settings::UserSettings;
use crate::host::HostFacts;
use crate::time::{Span, Timestamp};

/// What to analyze and how. `Default` is what the command line does without options.
#[derive(Clone, Debug)]
pub struct AnalysisOptions {
    /// Worker threads; 0 means one per core. The result does not depend on it.
    pub threads: usize,
    /// How long one side must have been silent after the other's FIN to be a half-close worth reporting.
    pub half_close_after: Span,
    /// Keep only connections with one of these addresses at either end; empty keeps all.
    pub hosts: Vec<IpAddr>,
    /// Keep only connections with one of these ports at either end; empty keeps all.
    pub ports: Vec<u16>,
    /// Ignore packets before this time.
    pub since: Option<Timestamp>,
    /// Ignore packets after this time.
    pub until: Option<Timestamp>,
    /// Upper bound for the memory of tables and kept facts, bytes.
    pub memory_limit: u64,
    /// Facts about the server's host, to confirm or refute findings with.
    pub host: Option<HostFacts>,
    /// Files with the kernel's verdicts on single packets, recorded while they were captured.
    pub recordings: Vec<Arc<Path>>,
    /// The place of this capture, by other captures of the same traffic.
    pub placed: Option<KnownVantage>,
    /// Ends the input early on request: the report covers the packets read so far.
    pub stop: StopRequest,
    /// The table that gets a row for every connection, if there is one.
    #[cfg(feature = "fleet")]
    pub table: Option<crate::table::TableFolder>,
}

impl Default for AnalysisOptions {
    fn default() -> AnalysisOptions {
        AnalysisOptions {
            threads: 0,
            half_close_after: UserSettings::default().half_close_after,
            hosts: Vec::new(),
            ports: Vec::new(),
            since: None,
            until: None,
            memory_limit: 1 << 30,
            host: None,
            recordings: Vec::new(),
            placed: None,
            stop: StopRequest::default(),
            #[cfg(feature = "fleet")]
            table: None,
        }
    }
}

/// The place of a capture, as far as other captures of the same traffic show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownVantage {
    /// Where it stands on the way of most connections.
    pub standing: RelativeVantage,
    /// Servers for which it stands elsewhere.
    pub but: Vec<(Address, RelativeVantage)>,
}

impl KnownVantage {
    /// Where it stands, seen from this server.
    pub fn of(&self, server: Address) -> RelativeVantage {
        let other = self.but.iter().find(|(address, _)| *address == server);
        other.map_or(self.standing, |(_, standing)| *standing)
    }
}
