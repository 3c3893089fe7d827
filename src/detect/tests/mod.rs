//! Packet ladders through the whole program: for each kind what must be found, and what looks like it and must not.
//!
//! A ladder is drawn at several capture points, over IPv4 and IPv6, with and without timestamps; its packets are
//! decoded, tracked and judged as those of a file would be.

mod accept_queue_overflow;
mod accept_queue_reset;
mod common_features;
mod ends;
mod exercise;
mod fastopen_and_loss;
mod flood_and_cookies;
mod flow_failures;
mod forms;
mod half_close;
mod incidents;
mod network_sim;
mod path_failures;
mod syn_unanswered;
mod timestamps;

use std::collections::BTreeMap;

use crate::capture::MemorySource;
use crate::engine::{self, AnalysisOptions};
use crate::flow::wire::{Ladder, Wire};
use crate::model::{Certainty, Finding, Kind, Report, Severity, Vantage};

/// What the program says of a ladder.
struct LadderReport {
    report: Report,
}

/// Kinds that packets alone can prove. Of all others another cause stays possible.
const PROVABLE: [Kind; 2] = [Kind::AcceptQueueOverflow, Kind::TimeWaitCollision];

/// Analyzes the capture and holds every finding to what all of them must keep.
#[track_caller]
fn analyze(wire: &Wire) -> LadderReport {
    let packets = wire.packets();
    let n = packets.len() as u64;
    let options = AnalysisOptions { threads: 1, ..AnalysisOptions::default() };
    let source = MemorySource::new(packets);
    let report =
        engine::analyze_source(Box::new(source), &options, &mut |_| ()).expect("one thread starts").report;
    let mut seen = std::collections::BTreeSet::new();
    for f in &report.findings {
        assert!(f.evidence.iter().all(|e| (1..=n).contains(&e.packet)), "{f:#?}");
        assert!(f.evidence.is_sorted_by_key(|e| &e.time), "{f:#?}");
        let certain = f.certainty != Certainty::Confirmed || PROVABLE.contains(&f.kind);
        assert!(certain, "{} cannot be proved by packets: {f:#?}", f.kind);
        assert!(
            f.certainty == Certainty::Confirmed || !f.alternatives.is_empty() || f.severity == Severity::Info,
            "{} names no alternative: {f:#?}",
            f.kind
        );
        assert!(seen.insert((f.kind, f.client, f.server, f.first)), "twice: {f:#?}");
    }
    LadderReport { report }
}

/// Whether a finding is about the connection of this client.
fn is_named(f: &Finding, client: &str) -> bool {
    f.client.is_some_and(|known| known.to_string() == client)
}

impl LadderReport {
    /// How many findings of each kind there are.
    fn counts(&self) -> BTreeMap<Kind, usize> {
        let mut counts = BTreeMap::new();
        for f in &self.report.findings {
            *counts.entry(f.kind).or_default() += 1;
        }
        counts
    }

    /// Kinds found for one connection, in the order of the report.
    fn of(&self, l: &Ladder) -> Vec<Kind> {
        let name = l.name();
        self.report.findings.iter().filter(|f| is_named(f, &name)).map(|f| f.kind).collect()
    }

    /// The only finding about a connection, which must be of this kind.
    #[track_caller]
    fn only(&self, l: &Ladder, kind: Kind) -> &Finding {
        assert_eq!(self.of(l), [kind], "{}", self.summaries());
        let name = l.name();
        self.report.findings.iter().find(|f| is_named(f, &name)).expect("found just now")
    }

    /// No finding at all.
    #[track_caller]
    fn nothing(&self) {
        assert!(self.report.findings.is_empty(), "{}", self.summaries());
    }

    /// None of this kind.
    #[track_caller]
    fn none(&self, kind: Kind) {
        assert!(!self.counts().contains_key(&kind), "{}", self.summaries());
    }

    fn summaries(&self) -> String {
        let line = |f: &Finding| {
            format!("\n{} {} at {}: {} {:?}", f.certainty, f.kind, f.vantage, f.summary, f.metrics)
        };
        self.report.findings.iter().map(line).collect()
    }
}

/// Every capture point, both IP versions, with and without timestamps: sixteen ways to see a ladder.
fn each_way(draw: impl Fn(Wire)) {
    for wire in Wire::everywhere() {
        draw(wire);
    }
    for wire in Wire::everywhere() {
        draw(wire.v6());
    }
    for wire in Wire::everywhere() {
        draw(wire.without_timestamps());
    }
    for wire in Wire::everywhere() {
        draw(wire.v6().without_timestamps());
    }
}

/// Ordinary connections from second `t` on, a tenth of a second apart, from the client host number 200: by these the
/// capture point is known.
fn ordinary(wire: &Wire, t: f64, n: u16) {
    for i in 0..n {
        wire.of_host(200, 2_000 + i + ((t + 10.0) * 10.0) as u16 % 20_000).served(t + 0.1 * f64::from(i));
    }
}

/// Data that nobody acknowledges: the first transmission at `t`, then as TLP and RTO send it, up to second `until`.
fn in_vain(l: &Ladder, t: f64, bytes: u32, until: f64) {
    l.client.data(t, bytes);
    let mut wait = 0.21;
    let mut next = t + wait;
    while next <= until {
        l.client.again(next);
        next += wait;
        wait *= 2.0;
    }
}

/// When the server's timer sends the SYN-ACK again, after the first one.
const TIMER: [f64; 5] = [1.02, 3.04, 7.2, 15.3, 31.5];

/// A handshake that the server ignores: its SYN-ACK comes `repeats` times again, each is answered.
fn ignored(wire: &Wire, l: &Ladder, t: f64, repeats: usize) {
    l.handshake(t);
    let sent = t + wire.to_server;
    for again in &TIMER[..repeats] {
        l.server.syn_ack(sent + again);
        l.client.ack(sent + again + wire.to_client);
    }
}

/// A full accept queue as a client that speaks first meets it: ignored until second `t` + `until`.
fn stuck(wire: &Wire, l: &Ladder, t: f64, repeats: usize, until: f64) {
    ignored(wire, l, t, repeats);
    in_vain(l, t + wire.to_server + wire.to_client + 0.001, 100, t + until);
}
