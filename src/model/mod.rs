//! The report as data: what every rendering renders and `synscope schema` describes.
//!
//! The contract is `synscope.report/1`: the fields here are fixed, more may be added later.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

mod backlog;
mod kind;
mod metrics;
mod outcome;
pub mod path;
mod phrase;
pub(crate) mod repeated;
mod route;
mod scope;
mod socket;
mod subject;
mod suspect;

pub use crate::flow::outcome::Outcome;
pub use backlog::Backlog;
pub use kind::Kind;
pub(crate) use kind::each_kind;
pub use metrics::Metrics;
pub use phrase::Phrase;
pub use route::{IncidentPlace, JoinedPoint, ListenerShare, PacketPoints, PathTaken, Route};
pub use scope::{AppliedOptions, Filtered, Pairing, Program};
pub use subject::Subject;
pub use suspect::{LostPackets, Suspect};

/// Name and version of the contract, the value of [`Report::schema`].
pub const SCHEMA: &str = "synscope.report/1";

/// The whole result of an analysis.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Always `synscope.report/1`.
    pub schema: String,
    /// The program that made it; absent in reports that a library made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub program: Option<Program>,
    /// The options it was made with; absent in reports that a library made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub options: Option<AppliedOptions>,
    /// The filters, and how much they left out; absent without filters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub filtered: Option<Filtered>,
    /// The inputs, in the order given.
    pub captures: Vec<Capture>,
    /// Inputs that saw the same connections at two places, with the difference of their clocks; absent without such
    /// inputs.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub pairs: Vec<Pair>,
    /// The named capture points, joined; absent without them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub points: Vec<JoinedPoint>,
    /// Which connections passed which of these points in which order, the most used path first: at most 200 paths.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub paths: Vec<PathTaken>,
    /// Totals over all inputs.
    pub summary: Summary,
    /// Findings grouped by kind, listener and interval of time, the gravest first.
    pub incidents: Vec<Incident>,
    /// One entry per pathology of one connection, listener or host pair, in order of time.
    pub findings: Vec<Finding>,
    /// Kernel settings inferred from the packets.
    pub inferred: Vec<Inferred>,
    /// Where the captures were taken, for each server that has a finding.
    #[serde(default)]
    pub capture_points: Vec<CapturePoint>,
    /// How far the capture can be trusted, in numbers.
    #[serde(default)]
    pub quality: Quality,
    /// What limits the whole report: damage, loss, clock jumps, budgets.
    pub warnings: Vec<String>,
}

/// How far the captures can be trusted. The warnings say the important part in words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quality {
    /// Whether the captures lost packets, or their clock stepped back: then nothing is `confirmed` because a packet is
    /// missing, and what rests on one is `possible`.
    pub damaged: bool,
    /// Packets that the capturing systems say they dropped; absent where no file tells.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dropped: Option<u64>,
    /// Acknowledgments of bytes that the captures do not hold: lost by the capture, sent another way, or captured out of
    /// order.
    pub unseen: u64,
    /// Connections of which only one direction was captured although the other must have sent.
    pub one_sided: u64,
    /// Connections joined in the middle.
    pub mid_stream: u64,
    /// Copies of packets, not counted again.
    pub duplicates: u64,
    /// Packets of intervals that the captures hold twice.
    pub replayed: u64,
    /// How often a clock stepped back.
    pub clock_jumps: u64,
    /// Packets cut before the end of the TCP header.
    pub cut: u64,
    /// Packets that contradict themselves (lengths, versions).
    pub malformed: u64,
    /// TCP segments whose checksum is wrong (of those whose checksum was looked at: without payload, or with SYN, FIN or
    /// RST). Where other checksums of the same end are right, their receiver dropped them.
    #[serde(default)]
    pub bad_checksums: u64,
    /// Connections on which the packets of one end came with several TTLs: a proxy or another box answers for it, or the
    /// route changed.
    pub several_ttls: u64,
}

impl Quality {
    /// Adds the numbers of other captures.
    pub fn add(&mut self, other: &Quality) {
        self.damaged |= other.damaged;
        self.dropped = [self.dropped, other.dropped].into_iter().flatten().reduce(|sum, n| sum + n);
        self.unseen += other.unseen;
        self.one_sided += other.one_sided;
        self.mid_stream += other.mid_stream;
        self.duplicates += other.duplicates;
        self.replayed += other.replayed;
        self.clock_jumps += other.clock_jumps;
        self.cut += other.cut;
        self.malformed += other.malformed;
        self.bad_checksums += other.bad_checksums;
        self.several_ttls += other.several_ttls;
    }
}

/// One input file or interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Capture {
    /// As given on the command line; `-` is standard input.
    pub path: String,
    /// `pcap`, `pcap-ns`, `pcap-modified`, `pcapng`, with the compression after it: `pcapng.gz`.
    pub format: String,
    /// Packets read.
    pub packets: u64,
    /// TCP segments among them.
    pub tcp_segments: u64,
    /// Time of the first packet, RFC 3339.
    pub first: Option<Timestamp>,
    /// Time of the last packet, RFC 3339.
    pub last: Option<Timestamp>,
    /// Packets that the capturing system says it dropped, where the file tells.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dropped: Option<u64>,
    /// What limits this input: damage, unknown link types, drops.
    pub warnings: Vec<String>,
}

/// Two captures of the same traffic, joined: each connection is reported once, with what both sides show.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pair {
    /// Paths of the inputs nearer to the clients.
    pub client_side: Vec<String>,
    /// Paths of the inputs nearer to the servers. Their clock is the clock of all times in findings and incidents.
    pub server_side: Vec<String>,
    /// How far the clock of the client side is ahead of the server side's at the first connection matched, seconds;
    /// negative when it is behind.
    pub offset_s: f64,
    /// How much that grows, seconds per million seconds; 0 when no growth can be seen.
    pub drift_ppm: f64,
    /// The offset may be wrong by this much either way, seconds: half of the shortest round trip between the two
    /// places. How it divides between the two directions cannot be seen. Null when only one direction was captured.
    pub uncertainty_s: Option<f64>,
    /// The shortest round trip between the two places, seconds; null when only one direction was captured.
    pub round_trip_s: Option<f64>,
    /// Connections whose handshake is in both.
    pub connections_matched: u64,
    /// Connections that have other addresses or ports on one side than on the other: a NAT or proxy is between.
    pub translated: u64,
    /// Connections that are in one side only, or were joined in the middle so that they cannot be matched.
    pub only_in: OnlyIn,
    /// There were too many connections to match all: the numbers are estimated from a sample.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub estimated: bool,
}

/// Connections that only one side of a pair has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OnlyIn {
    /// Only in the captures nearer to the clients.
    pub client_side: u64,
    /// Only in the captures nearer to the servers.
    pub server_side: u64,
}

/// Where the captures were taken, seen from one server host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CapturePoint {
    /// Address of the server.
    #[schemars(with = "String")]
    pub server: IpAddr,
    /// Where the capture was taken.
    pub vantage: Vantage,
    /// How it is known.
    pub reason: String,
    /// Path of the capture; absent when all inputs are one stream.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub capture: Option<String>,
}

/// Totals.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Packets read from all inputs.
    pub packets: u64,
    /// TCP segments among them.
    pub tcp_segments: u64,
    /// TCP connections: incarnations of a four-tuple.
    pub connections: u64,
    /// Number of findings by kind; kinds without a finding are absent.
    pub findings: BTreeMap<Kind, u64>,
    /// Number of connections by outcome; outcomes that no connection had are absent. `closed`, `closed-by-reset` (after
    /// all data was answered), `open`, `half-closed`, and `cut-off` (by the capture) are no failures; `refused`,
    /// `unanswered`, `never-completed`, `stalled`, `reset-by-client`, `reset-by-server`, `reset-by-box` are.
    #[serde(default, serialize_with = "outcome::by_name")]
    #[schemars(with = "BTreeMap<String, u64>")]
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Connections that failed.
    #[serde(default)]
    pub failed: u64,
    /// How many of them no finding explains.
    #[serde(default)]
    pub failed_unexplained: u64,
    /// Some of those.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub unexplained: Vec<Unexplained>,
}

/// A connection that failed, and that no finding explains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Unexplained {
    /// The client.
    #[schemars(with = "String")]
    pub client: SocketAddr,
    /// The server.
    #[schemars(with = "String")]
    pub server: SocketAddr,
    /// How it ended.
    #[schemars(with = "String")]
    pub outcome: Outcome,
    /// Path of the capture that holds its first packet.
    pub capture: String,
    /// Number of that packet.
    pub packet: u64,
    /// Time of that packet.
    pub first: Timestamp,
}

/// How bad it is for the users of the connection. Ordered: `Info < Warning < Critical`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing, harms nobody.
    Info,
    /// Users wait or are refused.
    Warning,
    /// Connections fail.
    Critical,
}

/// How sure the cause is. Ordered: `Possible < Probable < Confirmed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// Seen, but this capture cannot tell it from the alternatives.
    Possible,
    /// The best of several causes; the others are named.
    Probable,
    /// The packets admit no other cause, or the host's own counters agree.
    Confirmed,
}

/// Where a capture was taken, seen from one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Vantage {
    /// At the client's host.
    Client,
    /// At the server's host.
    Server,
    /// On the path between them.
    Between,
    /// The packets do not show it.
    Unknown,
}

macro_rules! lowercase_names {
    ($type:ident: $($variant:ident = $name:literal),+) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $($type::$variant => $name),+ })
            }
        }
    };
}
lowercase_names!(Sender: Client = "client", Server = "server");
lowercase_names!(PacketMark: Repeated = "repeated", Ignored = "ignored", Reset = "reset");
lowercase_names!(
    KernelAct: Dropped = "dropped", Reset = "reset", Sent = "sent", Received = "received"
);
lowercase_names!(Severity: Info = "info", Warning = "warning", Critical = "critical");
lowercase_names!(Certainty: Possible = "possible", Probable = "probable", Confirmed = "confirmed");
lowercase_names!(Vantage: Client = "client", Server = "server", Between = "between", Unknown = "unknown");

/// One pathology of one connection, listener or host pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Stable across runs: derived from the kind, the addresses and the packets' contents, not from the file.
    pub id: String,
    /// The kind of finding.
    pub kind: Kind,
    /// How bad it is.
    pub severity: Severity,
    /// How certain the cause is.
    pub certainty: Certainty,
    /// Why it is that certain, one clause.
    #[serde(default)]
    pub certainty_reason: String,
    /// Client as `address:port`; null when the finding is about a listener.
    #[serde(serialize_with = "socket::optional")]
    #[schemars(with = "Option<String>")]
    pub client: Option<SocketAddr>,
    /// Server as `address:port`; null when the finding is about a host.
    #[serde(serialize_with = "socket::optional")]
    #[schemars(with = "Option<String>")]
    pub server: Option<SocketAddr>,
    /// Where this was captured, seen from this connection.
    pub vantage: Vantage,
    /// One sentence.
    pub summary: String,
    /// The likely cause.
    #[serde(serialize_with = "repeated::cause")]
    pub cause: Cause,
    /// The alternatives, the likeliest first.
    #[serde(serialize_with = "repeated::alternatives")]
    pub alternatives: Vec<Alternative>,
    /// Alternatives that one capture alone could not exclude and the other one does.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub excluded: Vec<Excluded>,
    /// Client and server under the addresses that the other capture of a pair has, if a NAT or proxy changes them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub also_known_as: Option<Box<OtherNames>>,
    /// Which capture points its connection passed, and how far its packets came; absent where points have no names.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub route: Option<Box<Route>>,
    /// The packets that show it, in order of time. Never empty.
    pub evidence: Vec<Evidence>,
    /// Time of the first packet concerned, RFC 3339.
    pub first: Timestamp,
    /// Time of the last packet concerned, RFC 3339.
    pub last: Timestamp,
    /// Measured values; the unit is the end of the name: `_s` seconds, `_bytes` bytes, none a count.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub metrics: Metrics,
    /// The kind that the packets alone suggest, if the kernel's verdicts refute it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub taken_for: Option<Kind>,
    /// How many packets of the evidence the kernel itself judged, with a reason or queue lengths that prove something.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub judged_by_kernel: Option<u64>,
    /// Display filters that select it in Wireshark and tshark.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub display_filters: Option<Box<DisplayFilters>>,
}

/// Filters for Wireshark's filter line, or for `tshark -Y`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DisplayFilters {
    /// The connection (or the listener) over the time of the finding.
    pub connection: String,
    /// The packets of the evidence, by their numbers, one filter per capture.
    pub packets: Vec<PacketFilter>,
    /// The connection in the other capture of a pair, by the names that it has there and by that capture's clock.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub elsewhere: Vec<PacketFilter>,
}

/// Packets of one capture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PacketFilter {
    /// Path of the capture; absent when all of the evidence is in one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub capture: Option<String>,
    /// The filter: `frame.number in {1203, 1204}`.
    pub filter: String,
}

/// What the kernel did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// In words.
    pub text: Phrase,
    /// Kernel functions on the path, `tcp_v4_syn_recv_sock`.
    pub kernel_functions: Vec<Phrase>,
    /// Counters that move, as `nstat` names them: `TcpExtListenOverflows`.
    pub counters: Vec<Phrase>,
    /// Settings that decide, as `sysctl` names them: `net.core.somaxconn`.
    pub sysctls: Vec<Phrase>,
}

/// A cause that could not be excluded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alternative {
    /// In words.
    #[serde(rename = "text")]
    pub suspect: Suspect,
    /// Why it ranks lower, or what would decide.
    pub why_less_likely: Phrase,
}

/// A cause that the second capture excludes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Excluded {
    /// In words.
    #[serde(rename = "text")]
    pub suspect: Suspect,
    /// By what.
    #[serde(rename = "why")]
    pub reason: String,
}

/// The ends of a connection under other addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OtherNames {
    /// Path of the capture that has these addresses.
    pub capture: String,
    /// Client as `address:port`.
    #[schemars(with = "String")]
    pub client: SocketAddr,
    /// Server as `address:port`.
    #[schemars(with = "String")]
    pub server: SocketAddr,
}

/// The same packet in another capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sighting {
    /// Path of the capture.
    pub capture: String,
    /// Number of the packet there.
    pub packet: u64,
    /// When, RFC 3339, by the clock of that capture.
    pub time: Timestamp,
}

/// A packet that shows something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Path of the capture.
    pub capture: Arc<str>,
    /// Number of the packet there, as Wireshark's `frame.number`.
    pub packet: u64,
    /// When, RFC 3339.
    pub time: Timestamp,
    /// What this packet shows.
    pub text: Phrase,
    /// The end that sent it, if that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sender: Option<Sender>,
    /// What distinguishes it from an ordinary packet, for renderings that draw it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub marks: Vec<PacketMark>,
    /// The same packet in the other capture of a pair.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub also: Option<Box<Sighting>>,
    /// Path of the capture that lacks the packet although it should have it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub missing_in: Option<String>,
    /// Which capture points saw the packet; absent where points have no names.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub points: Option<Box<PacketPoints>>,
    /// The kernel's verdict on the packet while it was captured (`synscope live`, or comments in a file that it wrote).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kernel: Option<Box<KernelVerdict>>,
}

/// The kernel's own verdict on a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelVerdict {
    /// The fate of the packet.
    pub verdict: KernelAct,
    /// The kernel's name for the reason (`TCP_LISTEN_OVERFLOW`); null where it gives none. `NOT_SPECIFIED` proves
    /// nothing.
    pub reason: Option<String>,
    /// The kernel's function that did it, or in which the queues were read.
    pub function: Option<String>,
    /// Connections in the listener's accept queue then, and its limit; one more than the limit fits.
    pub accept_queue: Option<[u32; 2]>,
    /// Requests in the listener's SYN queue then, and its limit.
    pub syn_queue: Option<[u32; 2]>,
}

/// What the kernel did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KernelAct {
    /// It freed the packet without using it.
    Dropped,
    /// It answered with a RST.
    Reset,
    /// It sent the packet, a RST.
    Sent,
    /// The packet came to its listener; the lengths of the queues are those of that moment.
    Received,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sender {
    /// The end that sent the SYN.
    Client,
    /// The end that listened.
    Server,
}

/// What sets a packet of the evidence apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PacketMark {
    /// It had been sent before: a retransmission.
    Repeated,
    /// The other end gave no sign of having received it.
    Ignored,
    /// A RST.
    Reset,
}

/// Findings of one kind at one listener in one interval of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Incident {
    /// Stable across runs.
    pub id: String,
    /// The kind of its findings.
    pub kind: Kind,
    /// The gravest severity among them.
    pub severity: Severity,
    /// The certainty that holds for the incident.
    pub certainty: Certainty,
    /// The listener, `address:port`; null when it is about hosts.
    #[schemars(with = "Option<String>")]
    pub listener: Option<SocketAddr>,
    /// The likely cause in words.
    pub cause: String,
    /// Time of the first packet concerned, RFC 3339.
    pub first: Timestamp,
    /// Time of the last packet concerned, RFC 3339.
    pub last: Timestamp,
    /// Connections affected.
    pub connections: u64,
    /// Client addresses among them.
    pub clients: u64,
    /// The findings' ids, in order of time.
    pub findings: Vec<String>,
    /// Where on the path it happened, the most frequent place first; absent where points have no names.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub places: Vec<IncidentPlace>,
    /// How many packets of their evidence the kernel itself judged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub judged_by_kernel: Option<u64>,
    /// The backlog that would have been long enough; absent if that does not apply or the cause is in doubt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backlog: Option<Backlog>,
    /// The listener's queues meanwhile; absent if the kernel was not asked repeatedly.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queues: Option<QueueHistory>,
    /// What to check or change, the most telling first; commands can be pasted.
    pub next_steps: Vec<String>,
    /// Connections that were tried at this listener meanwhile, these included; absent where there is no listener.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempts: Option<u64>,
    /// How the findings spread over the time of the incident; absent when there are fewer than three.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rate: Option<Rate>,
    /// Whether connections of this listener were served again after it began and before it ended; absent if that does
    /// not apply.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub recovered: Option<bool>,
    /// The clients that were hit most, the most first, at most ten; absent when there is only one.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub top_clients: Vec<ClientShare>,
    /// Related incidents, by id: a flood and the SYNs dropped because of it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub related: Vec<Related>,
    /// How many of its connections worked in the end; absent if that does not apply.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub got_through: Option<u64>,
    /// Connections of this listener that were only counted because there were too many. They looked like these, but some
    /// may be of another kind. Absent if every connection was examined.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unexamined: Option<Unexamined>,
}

/// The queues of a listener over time, as its kernel reported them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueHistory {
    /// The limit of both queues; one connection more fits into the accept queue. Null where it is not known.
    pub limit: Option<u64>,
    /// Once a second, in order of time.
    pub samples: Vec<QueueLengths>,
}

/// How long the queues of a listener were in one second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueLengths {
    /// When.
    pub at: Timestamp,
    /// Connections in the accept queue.
    pub accept_queue: u64,
    /// Requests in the SYN queue; null where they were not counted.
    pub syn_queue: Option<u64>,
    /// Segments that the kernel dropped at the listener since the sample before.
    pub dropped: u64,
}

/// Connections that were only counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Unexamined {
    /// How many.
    pub connections: u64,
    /// Time of their last packet, RFC 3339.
    pub last: Timestamp,
}

/// A client, and how much of an incident it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClientShare {
    /// Its address.
    #[schemars(with = "String")]
    pub client: IpAddr,
    /// Its findings in the incident.
    pub findings: u64,
}

/// How findings spread over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rate {
    /// Length of one step, seconds.
    pub step_s: u64,
    /// Findings that began in each step, from the incident's first second on; at most 60 steps.
    pub counts: Vec<u64>,
}

/// Another incident, and how it is related to this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Related {
    /// Its id.
    pub incident: String,
    /// How it is related to this one, one clause.
    pub how: String,
}

/// A kernel setting inferred from the packets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Inferred {
    /// Address or name of the host, or `address:port` of a listener.
    pub host: Subject,
    /// Name of the setting, a sysctl where it is one.
    pub setting: String,
    /// Its value.
    pub value: serde_json::Value,
    /// The packets or facts that show it.
    pub from: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_one_name_in_json_and_on_the_command_line() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert_eq!(kind.name().parse::<Kind>(), Ok(kind));
        }
        assert!("accept-queue".parse::<Kind>().unwrap_err().contains("accept-queue-reset"));
    }
}
