//! The state of a watch at one moment. Plain data: screen, metrics and log show it and compute nothing.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::host::listeners::SocketStates;
use crate::model::{Finding, Incident};
use crate::time::{Span, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an incident goes on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// More connections are hit.
    #[default]
    Growing,
    /// Nothing is added at the moment, but the cause is still there.
    Steady,
    /// The kernel shows that the cause is gone.
    Recovering,
    /// It has ended.
    Over,
}

impl Phase {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Growing => "growing",
            Phase::Steady => "steady",
            Phase::Recovering => "recovering",
            Phase::Over => "over",
        }
    }
}

/// Everything that can be shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WatchState {
    /// Now, by the clock of the packets.
    pub at: Timestamp,
    /// When the watch began.
    pub began: Timestamp,
    /// Name of the host or of the network namespace watched, for titles.
    pub host: String,
    /// The interfaces, in the order asked for.
    pub interfaces: Vec<InterfaceState>,
    /// Counts of each second, the oldest first; at most [`WatchState::SECONDS`].
    pub seconds: VecDeque<WatchSecond>,
    /// TCP connections seen since the beginning.
    pub connections: u64,
    /// Connections in the tables now.
    pub tracked: u64,
    /// Memory that the tables take now, and their limit, bytes.
    pub memory: (u64, u64),
    /// Listeners of the namespace, and servers seen only in packets; in order of address.
    pub listeners: Vec<ListenerState>,
    /// Incidents, open ones first, then those that have closed, the latest first. Bounded.
    pub incidents: Vec<WatchedIncident>,
    /// How much each counter of the kernel has risen since the beginning, as `nstat` names them. An absent counter is
    /// unknown.
    pub counters: BTreeMap<String, u64>,
    /// How far the analysis is behind the newest packet.
    pub lag: Span,
    /// Limits of the observation: drops, interfaces that went away, memory limits. The latest last; bounded.
    pub warnings: Vec<String>,
    /// The sums of all seconds since the beginning; its `at` is the beginning.
    pub total: WatchSecond,
}

impl WatchState {
    /// How many seconds are remembered one by one.
    pub const SECONDS: usize = 300;
}

/// An interface that packets come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InterfaceState {
    /// Its name, `any` included.
    pub name: String,
    /// Whether packets can come from it now.
    pub up: bool,
    /// Packets taken in.
    pub packets: u64,
    /// Packets that the kernel's capture buffer had no room for (`ps_drop`).
    pub dropped_by_kernel: u64,
    /// Packets that the interface or its driver dropped (`ps_ifdrop`).
    pub dropped_by_interface: u64,
}

/// What one second brought.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WatchSecond {
    /// Its beginning.
    pub at: Timestamp,
    /// Packets taken in.
    pub packets: u64,
    /// TCP segments among them.
    pub segments: u64,
    /// Connections tried: SYNs, repetitions not counted.
    pub attempts: u64,
    /// Handshakes completed.
    pub completed: u64,
    /// Findings opened.
    pub findings: u64,
    /// Packets lost on the way to this program.
    pub dropped: u64,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerState {
    /// Where it listens; an unspecified address means all of the host's.
    pub address: SocketAddr,
    /// Length of its accept queue, as sock_diag says; `None` where that is unknown.
    pub queue: Option<u32>,
    /// Its limit (`listen()` argument, `somaxconn`); the kernel lets one more wait.
    pub limit: Option<u32>,
    /// The longest queue seen since the beginning.
    pub longest: Option<u32>,
    /// Segments that the kernel dropped at this socket since the beginning.
    pub drops: Option<u64>,
    /// Connections tried in the last second.
    pub attempts: u64,
    /// Handshakes completed in the last second.
    pub completed: u64,
    /// Open incidents at this listener.
    pub open: u64,
    /// The inode of the socket, which identifies it.
    pub inode: Option<u64>,
    /// Of several sockets that share the address by `SO_REUSEPORT`: the place of this one, the worst first, and their
    /// number.
    pub of_several: Option<(u32, u32)>,
    /// How much the socket refused between the last two looks.
    pub refused: u64,
    /// The share of arrivals that was refused in that second, per cent.
    pub refused_share: Option<u64>,
    /// About how many connections the application accepted in the last second, where that can be told.
    pub accepted: Option<u64>,
    /// Its sockets in other states, where they are counted.
    pub states: Option<SocketStates>,
    /// When its latest run of drops began.
    pub refused_since: Option<Timestamp>,
    /// The queue of the last minutes, the oldest first.
    pub history: Vec<QueueSample>,
    /// The process that holds it, in words, if it may be read.
    pub holder: Option<String>,
}

/// An accept queue at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSample {
    /// When.
    pub at: Timestamp,
    /// How many waited.
    pub length: u32,
    /// Requests in its SYN queue, where they are counted.
    pub requests: Option<u32>,
    /// How much the socket refused since the previous look.
    pub dropped: u64,
}

/// An incident as it is watched.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchedIncident {
    /// As the report has it, up to now.
    pub incident: Incident,
    /// Whether it may still go on.
    pub open: bool,
    /// How it goes on.
    pub phase: Phase,
    /// Examples in full, three at most: their evidence gives the packet ladder.
    pub examples: Vec<Finding>,
    /// The kernel's evidence, one sentence: `ListenOverflows rose by 37 meanwhile`.
    pub corroboration: Option<String>,
}

impl ListenerState {
    /// A listener of which nothing else is known.
    pub fn at(address: SocketAddr) -> ListenerState {
        ListenerState {
            address,
            queue: None,
            limit: None,
            longest: None,
            drops: None,
            attempts: 0,
            completed: 0,
            open: 0,
            inode: None,
            of_several: None,
            refused: 0,
            refused_share: None,
            accepted: None,
            states: None,
            refused_since: None,
            history: Vec::new(),
            holder: None,
        }
    }
}
