//! The results of the shards, merged in an order that does not depend on the shards.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::decode::segment::PacketId;
use crate::detect::analysis::survey::survey;
use crate::detect::context::CaptureContext;
use crate::diagnose::outcomes::{FailedConnection, Failures};
use crate::diagnose::settings::retries::Retries;
use crate::diagnose::vantage;
use crate::engine::KnownVantage;
use crate::engine::evicted_warnings::{CountedTwice, MemoryLimitCost};
use crate::engine::loss::{AnalysisStep, FaultLosses};
use crate::fault;
#[cfg(test)]
use crate::fault::trap;
use crate::flow::facts::ConnectionFacts;
use crate::flow::key::{Host, Map};
use crate::flow::outcome::Outcome;
use crate::history::handshakes::{self, HandshakeSample};
use crate::history::host_clocks::ClockReadings;
use crate::history::incomplete::IncompleteHandshakes;
use crate::history::quality::CaptureQuality;
use crate::history::remarkable::{self, CountedOnlyByClass, TriageClass};
use crate::history::triage::Triage;
use crate::model::Vantage;
use crate::time::Timestamp;

/// What the shards held.
#[derive(Default)]
pub struct MergedShards {
    /// Remarkable connections.
    #[expect(
        clippy::vec_box,
        reason = "handed on as they are: there would be no room for a second copy of them"
    )]
    pub kept: Vec<Box<ConnectionFacts>>,
    /// How many were examined: `kept` may be freed.
    pub(super) examined: usize,
    /// How often SYNs were repeated in them.
    pub retries: Retries,
    /// Their classes by first packet, if there are any that are not in `kept`.
    pub(super) classes: Map<PacketId, TriageClass>,
    /// Remarkable connections that are not in `kept`.
    pub(super) left_out: CountedOnlyByClass,
    /// The effects of the memory limit.
    pub(super) given_up: MemoryLimitCost,
    /// Trust in the capture.
    pub quality: CaptureQuality,
    /// How the connections ended.
    pub failures: Failures,
    /// Clean handshakes by server, in order of address.
    pub samples: Vec<(IpAddr, Vec<HandshakeSample>)>,
    /// Clocks and timers of hosts.
    pub readings: ClockReadings,
}

impl MergedShards {
    /// Corrects counts of evicted connections, some of which were counted twice.
    pub(super) fn correct(&mut self, evicted: u64, twice: CountedTwice) {
        self.given_up.evicted = evicted.saturating_sub(twice.readmitted);
        self.given_up.repeated = twice.repeated;
        let q = &mut self.quality;
        q.connections = q.connections.saturating_sub(twice.connections());
        for count in [&mut q.only_handshakes, &mut q.only_syns] {
            *count = count.saturating_sub(twice.repeated);
        }
        self.failures.outcomes.remove(Outcome::CutOff, twice.connections());
    }
}

/// Merges the triages in an order that does not depend on them.
pub(super) fn gather(
    triages: impl Iterator<Item = Triage>,
    placed: Option<&KnownVantage>,
    context: &mut CaptureContext,
    most: usize,
    losses: &mut FaultLosses,
) -> MergedShards {
    let mut g = MergedShards::default();
    let mut by_server: BTreeMap<_, Vec<HandshakeSample>> = BTreeMap::new();
    let (mut waits, mut kept) = (Vec::new(), Vec::new());
    let mut incomplete: Vec<(Host, IncompleteHandshakes)> = Vec::new();
    for mut triage in triages {
        kept.append(&mut triage.take_kept());
        g.given_up.add(&MemoryLimitCost::of(&triage));
        g.failures.outcomes.add(&triage.outcomes);
        for (listener, incomplete) in &triage.incomplete {
            g.failures.counted.entry(*listener).or_default().add(&incomplete.outcomes);
        }
        incomplete.extend(triage.incomplete);
        waits.extend(triage.waits);
        g.left_out.merge(triage.left_out, most);
        g.quality.add(&triage.quality);
        g.readings.append(triage.readings);
        if context.listeners.is_empty() {
            context.listeners = triage.listeners;
        } else {
            for (host, listener) in triage.listeners {
                context.listeners.entry(host).or_default().merge(listener);
            }
        }
        context.strays.merge(triage.untranslated);
        for (address, heard) in triage.heard {
            context.heard.entry(address).or_default().extend(heard);
        }
        for (host, lags) in triage.lags {
            context.activities.entry(host).or_default().lags.merge(lags);
        }
        for (address, mut some) in triage.samples {
            handshakes::merge(by_server.entry(address).or_default(), some.drain());
        }
    }
    remarkable::choose(&mut kept, most, &mut g.left_out);
    if !g.left_out.of.is_empty() {
        g.classes = kept.iter().map(|(class, facts)| (facts.first.packet, *class)).collect();
    }
    g.kept = kept.into_iter().map(|(_, facts)| facts).collect();
    for (address, some) in by_server {
        let view = fault::contain(|| match placed {
            Some(placed) => vantage::infer_placed(&some, placed.of(address)),
            None => vantage::infer(&some),
        });
        let view = losses.of_step(AnalysisStep::CapturePoint, view);
        let view = if address.ip().is_loopback() { view.within_host() } else { view };
        context.views.insert(address, view);
        g.samples.push((address.ip(), some));
    }
    for address in Arc::clone(&context.own).iter().filter(|address| !address.ip().is_loopback()) {
        let view = context.views.remove(address).unwrap_or_default();
        let is_known = view.on_host && view.vantage == Vantage::Server;
        context.views.insert(*address, if is_known { view } else { view.on_own_host() });
    }
    waits.sort_unstable();
    g.readings.sort();
    context.handshakes_only = !context.unfiltered && g.quality.only_handshakes == g.quality.connections;
    context.shuffled = g.quality.reordered * REORDERED_OF > g.quality.segments;
    context.damaged |= g.quality.unseen * UNSEEN_OF > g.quality.segments;
    let surveyed = fault::contain(|| {
        #[cfg(test)]
        g.kept.iter().for_each(|f| trap::spring(trap::FaultPlace::Listeners, Some(f.client)));
        survey(context, &g.kept, incomplete, &waits);
    });
    losses.of_step(AnalysisStep::Listeners, surveyed);
    g.failures.examined = failed(&g.kept, context, losses);
    g.examined = g.kept.len();
    g.retries = losses.of_step(AnalysisStep::Settings, fault::contain(|| Retries::read(&g.kept, context)));
    g
}

/// Which of the kept connections failed, and how.
fn failed(
    kept: &[Box<ConnectionFacts>],
    context: &CaptureContext,
    losses: &mut FaultLosses,
) -> Vec<FailedConnection> {
    let end = context.capture.map_or(Timestamp::MAX, |(_, last)| last);
    let failed = kept.iter().map(|f| {
        fault::contain(|| {
            #[cfg(test)]
            trap::spring(trap::FaultPlace::Failures, Some(f.client));
            FailedConnection::of(f, end)
        })
    });
    failed.filter_map(|failed| losses.of_step(AnalysisStep::Failures, failed)).collect()
}

/// With one segment in this many captured after its acknowledgment, the capture changes the order of packets.
const REORDERED_OF: u64 = 300;

/// With one segment in this many acknowledging bytes that the capture does not hold, it has lost packets.
const UNSEEN_OF: u64 = 1_000;
