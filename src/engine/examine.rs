//! From the facts to findings and incidents: runs every detector, and writes its findings down.
//!
//! A fault of the program costs the finding at which it happens: each step is contained by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;

use crate::detect::context::CaptureContext;
use crate::detect::spec::{Examine, KindSpec, Property};
use crate::detect::{DetectContext, Draft, FoundDraft, registry};
use crate::diagnose::incident;
use crate::diagnose::write::{self, Written};
use crate::engine::loss::{FaultLoss, FaultLosses, FaultSubject};
use crate::fault;
#[cfg(test)]
use crate::fault::trap;
use crate::flow::facts::ConnectionFacts;
use crate::flow::key::{Host, Set};
use crate::model::{Incident, Kind, Vantage};

/// What happens to the facts of remarkable connections once they have been examined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AfterExamination {
    /// They are still needed.
    KeepFacts,
    /// They are freed for the findings.
    FreeFacts,
}

/// This many facts are freed together.
const LET_GO: usize = 2_048;

/// A finding, or its loss to a fault.
type Made = Result<FoundDraft, FaultLoss>;

/// Runs every detector on every kept connection. Findings come in order of time.
#[expect(clippy::vec_box, reason = "as they are kept")]
pub(super) fn examine(
    kept: &mut Vec<Box<ConnectionFacts>>,
    context: &CaptureContext,
    after: AfterExamination,
    losses: &mut FaultLosses,
) -> Vec<FoundDraft> {
    let mut made: Vec<Made> = Vec::new();
    match after {
        AfterExamination::KeepFacts => {
            made.par_extend(kept.par_iter().flat_map_iter(|f| about_connection(f, context)))
        }
        // They are not freed one by one by the thread that has examined each: threads that free memory allocated by
        // others wait for each other.
        AfterExamination::FreeFacts => {
            while !kept.is_empty() {
                let some: Vec<_> = kept.drain(..kept.len().min(LET_GO)).collect();
                made.par_extend(some.par_iter().flat_map_iter(|f| about_connection(f, context)));
            }
            kept.shrink_to_fit();
        }
    }
    let listeners = context.listeners.keys().filter(|host| !context.activities.contains_key(host));
    let servers: Vec<Host> = context.activities.keys().chain(listeners).copied().collect();
    made.par_extend(
        servers.par_iter().with_max_len(8).flat_map_iter(|&server| about_listener(server, context)),
    );
    let made = losses.separate_losses(made).into_iter().map(|mut found| {
        match fault::contain(|| holds(&mut found.0, context)) {
            Ok(holds) => Ok(holds.then_some(found)),
            Err(fault) => Err(FaultLoss::Finding(FaultSubject::draft(&found.0), fault)),
        }
    });
    let mut drafts: Vec<FoundDraft> = losses.separate_losses(made).into_iter().flatten().collect();
    drafts.sort_by_cached_key(|(d, _)| d.order());
    // The same interval captured twice, far apart in the file, gives the same finding twice.
    let mut seen = Set::default();
    drafts.retain(|(d, _)| seen.insert((d.kind, d.client, d.server, d.during().0)));
    drop_what_a_flood_explains(&mut drafts);
    drafts
}

/// The SYNs of a flood are reported once.
fn drop_what_a_flood_explains(drafts: &mut Vec<FoundDraft>) {
    let floods: Set<Host> =
        drafts.iter().filter(|(d, _)| d.kind == Kind::SynFlood).filter_map(|(d, _)| d.server).collect();
    if !floods.is_empty() {
        let is_told = |d: &Draft| d.server.is_some_and(|server| floods.contains(&server));
        let kinds = [Kind::SynUnanswered, Kind::SynAckUnanswered];
        drafts.retain(|(d, _)| !kinds.contains(&d.kind) || d.client.is_some() || !is_told(d));
    }
}

fn about_connection(f: &ConnectionFacts, context: &CaptureContext) -> Vec<Made> {
    let examine = |spec: &KindSpec, around: &DetectContext<'_>| match spec.examine {
        // A refused join is no refused connection: the connection that it would have joined goes on.
        Examine::Connection(_) | Examine::Both(..) if f.is_refused_join() => None,
        Examine::Connection(examine) | Examine::Both(examine, _) => {
            #[cfg(test)]
            trap::spring(trap::FaultPlace::Detector(spec.kind), Some(f.client));
            examine(f, around)
        }
        Examine::Listener(_) => None,
    };
    about(|| context.around(f), examine, |kind| FaultSubject::connection(kind, f))
}

fn about_listener(server: Host, context: &CaptureContext) -> Vec<Made> {
    let examine = |spec: &KindSpec, around: &DetectContext<'_>| match spec.examine {
        Examine::Listener(examine) | Examine::Both(_, examine) => {
            #[cfg(test)]
            trap::spring(trap::FaultPlace::Detector(spec.kind), Some(server));
            examine(server, around)
        }
        Examine::Connection(_) => None,
    };
    about(|| context.at(server), examine, |kind| FaultSubject::listener(kind, server))
}

/// The drafts of the detectors. If one detector fails, they are run again one by one, which is possible since they are
/// pure functions.
fn about<'w>(
    around: impl Fn() -> DetectContext<'w>,
    examine: impl Fn(&KindSpec, &DetectContext<'w>) -> Option<Draft>,
    lost: impl Fn(Option<Kind>) -> FaultSubject,
) -> Vec<Made> {
    let ask = |spec: &KindSpec, around: &DetectContext<'w>| {
        let draft = examine(spec, around)?;
        Some(boxed(draft, around.view.vantage))
    };
    let all = fault::contain(|| {
        let around = around();
        registry::all().iter().filter_map(|spec| ask(spec, &around)).map(Ok).collect()
    });
    let Err(fault) = all else { return all.unwrap_or_default() };
    let Ok(around) = fault::contain(around) else { return vec![Err(FaultLoss::Finding(lost(None), fault))] };
    let asked = registry::all().iter().map(|spec| (spec.kind, fault::contain(|| ask(spec, &around))));
    asked
        .filter_map(|(kind, found)| {
            found.map_err(|fault| FaultLoss::Finding(lost(Some(kind)), fault)).transpose()
        })
        .collect()
}

fn boxed(mut draft: Draft, vantage: Vantage) -> FoundDraft {
    draft.shrink_to_fit();
    (Box::new(draft), vantage)
}

/// Whether a finding holds in this capture; its certainty may be lowered.
fn holds(d: &mut Draft, context: &CaptureContext) -> bool {
    #[cfg(test)]
    trap::spring(trap::FaultPlace::Weighing, d.client);
    let spec = registry::spec(d.kind);
    let needs_clock = !spec.has(Property::NeedsNoClock);
    if needs_clock && context.has_no_clock() {
        return false;
    }
    if needs_clock && d.runs_back() {
        // Only the duration distinguishes a half-close from a close.
        if d.kind == Kind::HalfClose {
            return false;
        }
        d.lower_to_possible("the clock stepped back among these packets");
    }
    if context.shuffled && spec.has(Property::RestsOnOrder) {
        d.lower_to_possible("the capture changed the order of packets");
    }
    true
}

/// Drafts to findings.
pub(super) fn write(drafts: Vec<FoundDraft>, paths: &[Arc<str>], losses: &mut FaultLosses) -> Vec<Written> {
    let write = |(draft, vantage): FoundDraft| {
        let about = FaultSubject::draft(&draft);
        let written = fault::contain(|| {
            #[cfg(test)]
            trap::spring(trap::FaultPlace::Writing, draft.client);
            write::finding(*draft, vantage, paths)
        });
        written.map_err(|fault| FaultLoss::Finding(about, fault))
    };
    let made: Vec<Result<Written, FaultLoss>> = drafts.into_par_iter().map(write).collect();
    losses.separate_losses(made)
}

/// Findings to incidents. Where the program fails at that, each kind at each server is grouped by itself, and those at
/// which it fails again are lost.
pub(super) fn group(
    written: &mut Vec<Written>,
    context: &CaptureContext,
    losses: &mut FaultLosses,
) -> Vec<Incident> {
    let group = |some: &[&Written]| {
        fault::contain(|| {
            #[cfg(test)]
            some.iter().for_each(|w| trap::spring(trap::FaultPlace::Grouping, w.outline.client));
            incident::group(some.iter().copied(), context)
        })
    };
    if let Ok(incidents) = group(&written.iter().collect::<Vec<_>>()) {
        return incidents;
    }
    let mut parts: BTreeMap<(Kind, Option<Host>), Vec<&Written>> = BTreeMap::new();
    for w in written.iter() {
        parts.entry((w.finding.kind, w.outline.server)).or_default().push(w);
    }
    let (mut incidents, mut lost) = (Vec::new(), Set::default());
    for ((kind, server), part) in parts {
        match group(&part) {
            Ok(some) => incidents.extend(some),
            Err(fault) => {
                part.iter()
                    .for_each(|w| losses.note(FaultLoss::Finding(FaultSubject::written(w), fault.clone())));
                lost.insert((kind, server));
            }
        }
    }
    written.retain(|w| !lost.contains(&(w.finding.kind, w.outline.server)));
    incidents.sort_by(|a, b| {
        (b.severity, &a.first, a.kind, &a.listener).cmp(&(a.severity, &b.first, b.kind, &b.listener))
    });
    incidents
}

#[cfg(test)]
mod tests;
