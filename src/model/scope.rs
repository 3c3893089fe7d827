//! The conditions of a report: the program, its options, the filters and the packets that these left out.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The program that made a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Whether inputs are taken for two captures of the same traffic.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pairing {
    /// They are read as two captures if they hold the same connections, seen at two places.
    #[default]
    Auto,
    /// They are read as two captures; if they are not, that is an error.
    Force,
    /// They are always read as one stream.
    Never,
}

/// The options that decide the contents of a report. Times are RFC 3339, addresses those of the report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppliedOptions {
    /// Only connections with one of these addresses; empty for all.
    #[schemars(with = "Vec<String>")]
    pub hosts: Vec<IpAddr>,
    /// Only connections with one of these ports; empty for all.
    pub ports: Vec<u16>,
    /// Only packets from this time on.
    pub since: Option<Timestamp>,
    /// Only packets up to this time.
    pub until: Option<Timestamp>,
    /// How long one side must be silent after the other's FIN to be a finding, seconds.
    pub half_close_after_s: f64,
    /// Bound for the memory of tables and facts, bytes.
    pub memory_limit: u64,
    /// Whether two captures are taken for two sides of the same traffic: `auto`, `force` or `never`.
    #[schemars(with = "String")]
    pub pair: Pairing,
    /// Whether addresses are pseudonyms.
    pub redact: bool,
    /// The pcap-filter(7) expression of a live capture; absent without.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub capture_filter: Option<String>,
}

/// The filters of a report, and how much they left out. Where both ends of a connection are captured, both count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Filtered {
    /// Only connections with one of these addresses; empty for all.
    #[schemars(with = "Vec<String>")]
    pub hosts: Vec<IpAddr>,
    /// Only connections with one of these ports; empty for all.
    pub ports: Vec<u16>,
    /// Only packets from this time on.
    pub since: Option<Timestamp>,
    /// Only packets up to this time.
    pub until: Option<Timestamp>,
    /// Packets left out for their time.
    pub packets: u64,
    /// TCP segments left out for their addresses or ports, of those in time.
    pub tcp_segments: u64,
}

impl Filtered {
    /// The filters as they are typed: `--host 192.0.2.1 --port 443`.
    pub fn typed(&self) -> String {
        let hosts = self.hosts.iter().map(|host| format!("--host {host}"));
        let ports = self.ports.iter().map(|port| format!("--port {port}"));
        let since = self.since.iter().map(|time| format!("--since {time}"));
        let until = self.until.iter().map(|time| format!("--until {time}"));
        hosts.chain(ports).chain(since).chain(until).collect::<Vec<_>>().join(" ")
    }

    /// Whether there is a filter on addresses or ports.
    pub fn selects_connections(&self) -> bool {
        !self.hosts.is_empty() || !self.ports.is_empty()
    }

    /// Whether there is a filter on time.
    pub fn selects_times(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }
}
