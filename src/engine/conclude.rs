//! The results of the shards, put together: context, findings, incidents, the report.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::capture::{InputStatus, Silence};
use crate::detect::FoundDraft;
use crate::detect::context::CaptureContext;
use crate::diagnose::host::queue_history;
use crate::diagnose::write::Written;
use crate::diagnose::{host, kernel, severity, unexamined};
use crate::engine::batch::PacketTotals;
use crate::engine::examine::{AfterExamination, group, write};
use crate::engine::examined::{DetectionResult, context, examine_all};
use crate::engine::gather::MergedShards;
use crate::engine::inputs::{Inputs, ReportLimitation, is_damaged};
use crate::engine::loss::{AnalysisStep, FaultLoss, FaultLosses, FaultSubject};
use crate::engine::shard::{EndedShard, most_examined};
use crate::engine::{Analysis, AnalysisOptions};
#[cfg(test)]
use crate::fault::trap;
use crate::fault::{self, Fault};
use crate::flow::key::Map;
use crate::history::merge::Histories;
use crate::history::tw_recycle::TwRecycleModel;
use crate::host::HostFacts;
use crate::kernel::table::Judgements;
use crate::model::{CapturePoint, Filtered, Incident, Inferred, Kind, Report, SCHEMA, Severity, Summary};

/// The result of one stream of packets, before it becomes a report.
pub struct StreamAnalysis {
    /// Surroundings, remarkable connections, findings.
    pub seen: DetectionResult,
    /// The report's data about the inputs.
    pub inputs: Inputs,
    /// The filters, and counts of packets that they left out.
    pub filtered: Option<Filtered>,
    /// The kernel's statements about packets that the inputs hold.
    judgements: Judgements,
    /// Messages about such recordings.
    notes: Vec<String>,
    /// The threads that read the stream, for writing the report.
    pub(super) pool: Option<rayon::ThreadPool>,
    /// Losses to faults of the program since then.
    losses: FaultLosses,
    /// Why the table of connections could not be written.
    #[cfg(feature = "fleet")]
    pub(super) table_failed: Option<String>,
}

pub(super) fn study(
    shards: Vec<EndedShard>,
    (peers, histories): (Arc<TwRecycleModel>, Histories),
    totals: &PacketTotals,
    options: &AnalysisOptions,
    (status, silences): (Vec<InputStatus>, Vec<Silence>),
    after: AfterExamination,
) -> StreamAnalysis {
    let evicted = shards.iter().map(|shard| shard.evicted).sum();
    let twice = shards.iter().map(|shard| shard.twice).sum();
    let triages =
        std::iter::once(histories.into_triage()).chain(shards.into_iter().map(|shard| shard.triage));
    let context = context(peers, totals.first.zip(totals.last), &silences, options);
    let mut judgements = Judgements::without_limit();
    totals.judged.iter().for_each(|(packet, judgement)| judgements.insert(*packet, judgement.clone()));
    let refused = Arc::new(judgements.refused());
    let own = Arc::new(totals.own.iter().copied().collect());
    let context = CaptureContext { damaged: is_damaged(&status), refused, own, ..context };
    let most = most_examined(options.memory_limit);
    let mut seen = examine_all(triages, context, options.placed.as_ref(), (most, after));
    seen.gathered.correct(evicted, twice);
    let inputs = Inputs::of(&seen, totals, options, status);
    let filtered = filtered(totals, options);
    StreamAnalysis {
        seen,
        inputs,
        filtered,
        judgements,
        notes: totals.notes.clone(),
        pool: None,
        losses: FaultLosses::default(),
        #[cfg(feature = "fleet")]
        table_failed: None,
    }
}

impl StreamAnalysis {
    /// The findings about a connection were lost to a fault of the program.
    pub fn note_lost(&mut self, about: FaultSubject, fault: Fault) {
        self.losses.note(FaultLoss::Finding(about, fault));
    }

    /// Takes over the kernel's statements of another study.
    pub fn adopt_judgements(&mut self, other: &mut StreamAnalysis) {
        self.judgements.append(std::mem::take(&mut other.judgements));
    }

    /// Writes the report.
    pub fn report(mut self, options: &AnalysisOptions) -> Analysis {
        match self.pool.take() {
            Some(pool) => pool.install(|| self.write(options)),
            None => self.write(options),
        }
    }

    fn write(mut self, options: &AnalysisOptions) -> Analysis {
        if let Some(facts) = &options.host {
            self.seen.context.stated = Arc::new(host::snapshot_facts::of(facts.latest()));
        }
        let mut losses = std::mem::take(&mut self.losses);
        let mut drafts = std::mem::take(&mut self.seen.drafts);
        let told = options.host.as_ref().map(|facts| corroborate(&mut drafts, facts, &mut losses));
        let mut told = told.unwrap_or_default();
        told.warnings.append(&mut self.notes);
        kernel::judge(&mut drafts, &mut self.judgements);
        let inferred = self.seen.infer(&drafts, &mut losses);
        // The findings want room.
        self.seen.gathered.kept = Vec::new();
        let paths: Vec<Arc<str>> = self.inputs.captures.iter().map(|c| c.path.as_str().into()).collect();
        let mut written = write(drafts, &paths, &mut losses);
        let mut incidents = group(&mut written, &self.seen.context, &mut losses);
        if let Some(facts) = &options.host {
            queue_history::add(&mut incidents, facts);
        }
        let MergedShards { classes, left_out, .. } = &self.seen.gathered;
        let told_of = fault::contain(|| {
            unexamined::assign_to_incidents(&mut incidents, &written, classes, &left_out.of)
        });
        losses.of_step(AnalysisStep::Unexamined, told_of);
        self.inputs.note_losses(&losses);
        let mut outcome = report(&self.seen, self.inputs, Conclusions { written, incidents, told, inferred });
        outcome.report.filtered = self.filtered;
        #[cfg(feature = "fleet")]
        {
            outcome.table_failed = self.table_failed;
        }
        outcome
    }
}

/// Compares the findings with the facts of their host. If the program fails at that, they stay as they are.
fn corroborate(
    drafts: &mut Vec<FoundDraft>,
    facts: &HostFacts,
    losses: &mut FaultLosses,
) -> host::HostStatements {
    let before = drafts.clone();
    let told = fault::contain(|| {
        #[cfg(test)]
        drafts.iter().for_each(|(d, _)| trap::spring(trap::FaultPlace::HostFacts, d.client));
        host::corroborate(drafts, facts)
    });
    if told.is_err() {
        *drafts = before;
    }
    losses.of_step(AnalysisStep::HostFacts, told)
}

/// The conclusions: findings, incidents, settings.
pub(super) struct Conclusions {
    /// Findings in order of time.
    pub written: Vec<Written>,
    /// The gravest first.
    pub incidents: Vec<Incident>,
    /// The additions from the host's facts.
    pub told: host::HostStatements,
    /// Settings inferred from the packets.
    pub inferred: Vec<Inferred>,
}

/// The report.
pub(super) fn report(seen: &DetectionResult, inputs: Inputs, conclusions: Conclusions) -> Analysis {
    let Inputs { captures, quality, limits } = inputs;
    let damaged = limits.iter().filter_map(|limit| match limit {
        ReportLimitation::Damage(text) => Some(text.clone()),
        ReportLimitation::Other(_) => None,
    });
    let damage = damaged.collect();
    let mut warnings: Vec<String> = limits.into_iter().map(ReportLimitation::into_text).collect();
    let Conclusions { mut written, incidents, told, inferred } = conclusions;
    let DetectionResult { context, gathered, .. } = seen;
    set_severities(&mut written, &incidents);
    warnings.extend(told.warnings);
    let mut found: BTreeMap<Kind, u64> = BTreeMap::new();
    for w in &written {
        *found.entry(w.finding.kind).or_default() += 1;
    }
    let capture_points = capture_points(&written, context);
    let MergedShards { failures, classes, left_out, .. } = gathered;
    let account = failures.account(&written, classes, left_out, context, &captures);
    #[cfg(feature = "fleet")]
    let connections =
        written.iter().filter_map(|w| Some((w.finding.id.clone(), w.outline.connection?))).collect();
    let report = Report {
        schema: SCHEMA.to_owned(),
        summary: Summary {
            packets: captures.iter().map(|c| c.packets).sum(),
            tcp_segments: captures.iter().map(|c| c.tcp_segments).sum(),
            connections: gathered.quality.connections,
            findings: found,
            outcomes: account.outcomes.iter().collect(),
            failed: account.outcomes.failed(),
            failed_unexplained: account.unexplained,
            unexplained: account.examples,
        },
        captures,
        incidents,
        findings: written.into_iter().map(|w| w.finding).collect(),
        inferred: told.inferred.into_iter().chain(inferred).collect(),
        capture_points,
        quality,
        warnings,
        ..Report::default()
    };
    Analysis {
        report,
        damage,
        #[cfg(feature = "fleet")]
        connections,
        #[cfg(feature = "fleet")]
        table_failed: None,
    }
}

/// Gives each finding its severity within its incident.
fn set_severities(written: &mut [Written], incidents: &[Incident]) {
    let severities: Map<&str, Severity> = incidents
        .iter()
        .flat_map(|incident| incident.findings.iter().map(|id| (id.as_str(), incident.severity)))
        .collect();
    for w in written {
        if let Some(&incident) = severities.get(w.finding.id.as_str()) {
            w.finding.severity = severity::within(incident, w);
        }
    }
}

/// Packets and connections left out by the user's filters; `None` without filters.
fn filtered(totals: &PacketTotals, options: &AnalysisOptions) -> Option<Filtered> {
    let filtered = Filtered {
        hosts: options.hosts.clone(),
        ports: options.ports.clone(),
        since: options.since,
        until: options.until,
        packets: totals.untimely,
        tcp_segments: totals.unwanted,
    };
    (filtered.selects_connections() || filtered.selects_times()).then_some(filtered)
}

/// Where the capture was taken, for each server with a finding.
fn capture_points(written: &[Written], context: &CaptureContext) -> Vec<CapturePoint> {
    let servers: BTreeSet<_> =
        written.iter().filter_map(|w| w.outline.server).map(|host| host.address).collect();
    let view = |server| context.views.get(server).cloned().unwrap_or_default();
    servers
        .iter()
        .map(|server| (server, view(server)))
        .map(|(server, v)| CapturePoint {
            server: server.ip(),
            vantage: v.vantage,
            reason: v.reason,
            capture: None,
        })
        .collect()
}
