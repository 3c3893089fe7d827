//! synscope reads a packet capture and says what the Linux kernel did to the TCP connections in it, and why.
//!
//! Data flows one way; imports follow the arrows only (`tests/architecture/main.rs` holds them to it):
//!
//! ```text
//!  capture  ->  decode  ->  flow  ->  history   ->  detect  ->  diagnose  ->  report
//!  blocks       segments    facts     listeners,    findings    incidents     text, json
//!                                     host pairs
//! ```
//!
//! * [`capture`]: where packets come from: pcap, pcapng, compressed, standard input, several files in time order.
//! * [`decode`]: one packet's bytes to at most one [`decode::Segment`].
//! * [`flow`]: segments to connections; the only state machine. It writes down facts and judges nothing.
//! * [`history`]: facts that span connections: which connections are kept, each listener's time line, host pairs.
//! * [`detect`]: facts and history to findings; one file per finding kind, the registry that `synscope explain` prints.
//! * [`host`]: counters, settings and listening sockets of a host, and how they changed around a capture.
//! * [`kernel`]: the running kernel's statements about single packets.
//! * [`diagnose`]: vantage, certainty, incidents.
//! * [`model`]: the report as data; every other stage writes or reads it.
//! * [`report`]: one model, many renderings.
//! * [`engine`]: ties them together in parallel; the result does not depend on the number of threads.
//! * [`pair`]: captures of the same traffic at two places or more, recognised, brought to one clock and joined.
//! * `fleet`: the steps of the engine as programs, between which Apache Spark moves the data (feature `fleet`).
//! * `table`: connections as rows of Parquet files (feature `fleet`).
//! * [`live`]: the same on an interface, with the kernel's own counters beside it.
//! * [`redact`]: captures without payload, addresses and names, before anything else looks at them.
//! * [`extract`]: the packets of findings as a small capture with comments.
//! * [`fault`]: the second line of defence: it limits the loss from a fault of the program.
//! * [`cli`]: the command line. It may use everything; nothing uses it.

pub mod capture;
pub mod cli;
pub mod decode;
pub mod detect;
pub mod diagnose;
pub mod engine;
pub mod extract;
pub mod fault;
#[cfg(feature = "fleet")]
pub mod fleet;
pub mod flow;
pub mod history;
pub mod host;
pub mod kernel;
pub mod live;
pub mod model;
pub mod pair;
pub mod redact;
pub mod report;
pub mod seq;
#[cfg(feature = "fleet")]
pub mod table;
pub mod time;
