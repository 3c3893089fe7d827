//! The results of detection: context, connections, findings.

use std::sync::Arc;

use crate::capture::Silence;
use crate::detect::context::CaptureContext;
use crate::detect::{Draft, FoundDraft};
use crate::diagnose::settings;
use crate::engine::examine::{AfterExamination, examine};
use crate::engine::gather::{MergedShards, gather};
use crate::engine::loss::{AnalysisStep, FaultLosses};
use crate::engine::{AnalysisOptions, KnownVantage};
use crate::fault;
#[cfg(test)]
use crate::fault::trap;
use crate::history::interval::Interval;
use crate::history::settings::UserSettings;
use crate::history::triage::Triage;
use crate::history::tw_recycle::TwRecycleModel;
use crate::model::Inferred;
use crate::time::Timestamp;

/// The results of detection, before they are written down.
pub struct DetectionResult {
    /// What surrounds the connections.
    pub context: CaptureContext,
    /// What the shards held.
    pub gathered: MergedShards,
    /// What the detectors found, in order of time.
    pub drafts: Vec<FoundDraft>,
    /// Losses to faults of the program meanwhile.
    pub(super) losses: FaultLosses,
}

impl DetectionResult {
    /// Settings, inferred from packets and findings.
    pub(super) fn infer(&self, drafts: &[FoundDraft], losses: &mut FaultLosses) -> Vec<Inferred> {
        let drafts: Vec<&Draft> = drafts.iter().map(|(draft, _)| &**draft).collect();
        let MergedShards { retries, samples, readings, .. } = &self.gathered;
        let inferred = fault::contain(|| {
            #[cfg(test)]
            drafts.iter().for_each(|d| trap::spring(trap::FaultPlace::Settings, d.client));
            settings::infer(&self.context, retries, samples, readings, &drafts)
        });
        losses.of_step(AnalysisStep::Settings, inferred)
    }
}

/// The context, still empty. `capture` is the time that was watched.
pub(super) fn context(
    peers: Arc<TwRecycleModel>,
    capture: Option<(Timestamp, Timestamp)>,
    silences: &[Silence],
    options: &AnalysisOptions,
) -> CaptureContext {
    CaptureContext {
        settings: UserSettings { half_close_after: options.half_close_after },
        capture,
        silences: silences.iter().map(|s| Interval { from: s.from, to: s.to }).collect(),
        peers,
        ..CaptureContext::default()
    }
}

/// Merges the triages, and runs the detectors on `most` connections at most.
pub(super) fn examine_all(
    triages: impl Iterator<Item = Triage>,
    mut context: CaptureContext,
    placed: Option<&KnownVantage>,
    (most, after): (usize, AfterExamination),
) -> DetectionResult {
    let mut losses = FaultLosses::default();
    let mut gathered = gather(triages, placed, &mut context, most, &mut losses);
    gathered.given_up.unfollowed = context.peers.untracked();
    let drafts = examine(&mut gathered.kept, &context, after, &mut losses);
    DetectionResult { context, gathered, drafts, losses }
}
