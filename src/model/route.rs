//! Paths with several capture points: the points, who saw what, and where packets were lost.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A capture point, and how its clock differs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JoinedPoint {
    /// The name that the user gave it.
    pub name: String,
    /// Paths of its captures.
    pub captures: Vec<String>,
    /// Connections that were seen there.
    pub connections: u64,
    /// Whether its clock is that of all times in findings and incidents.
    pub reference: bool,
    /// How far its clock is ahead of the reference at the first connection that both have, seconds; null where no connection
    /// links them.
    pub offset_s: Option<f64>,
    /// How much that grows, seconds per million seconds; 0 if no growth can be seen.
    pub drift_ppm: Option<f64>,
    /// The offset may be wrong by this much either way, seconds; null where it is not known.
    pub uncertainty_s: Option<f64>,
}

/// Connections that passed the same points in the same order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PathTaken {
    /// The points that saw them, the one nearest to the client first.
    pub points: Vec<String>,
    /// How many connections.
    pub connections: u64,
    /// How many listeners they were for.
    pub listeners: u64,
    /// The listeners with the most of them, as the last point knows them: at most five.
    pub top_listeners: Vec<ListenerShare>,
}

/// A listener, and how many connections of a path were for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerShare {
    /// Address and port.
    #[schemars(with = "String")]
    pub listener: SocketAddr,
    /// Connections.
    pub connections: u64,
}

/// How far the packets of a finding came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// The points that saw the connection, the one nearest to the client first.
    pub points: Vec<String>,
    /// Between which two points its packets were lost, the one nearer to their sender first. Where the second one may be one of
    /// several, all are named: `web1 or web2`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lost_between: Option<[String; 2]>,
    /// The point nearest to the server that all packets reached, and the server ignored them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reached: Option<String>,
    /// Between which two points a device sent its RST, the one nearer to its apparent sender first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sent_between: Option<[String; 2]>,
}

/// Which points saw a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PacketPoints {
    /// Those that saw it, in its direction: it was last seen at the last one.
    pub seen_at: Vec<String>,
    /// The next one on its way, which lacks it although it should have it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub missing_at: Option<String>,
}

/// A place on the path, and how many findings of an incident happened there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentPlace {
    /// Between which two points packets were lost.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lost_between: Option<[String; 2]>,
    /// Between which two points a device sent a RST.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sent_between: Option<[String; 2]>,
    /// The point nearest to the server that the packets reached, and the server ignored them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reached: Option<String>,
    /// How many of the findings.
    pub findings: u64,
    /// How many findings there are.
    pub of: u64,
}
