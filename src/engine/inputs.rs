//! The inputs of a report: their contents, how far they can be trusted, what limits them.

use crate::capture::InputStatus;
use crate::engine::AnalysisOptions;
use crate::engine::batch::PacketTotals;
use crate::engine::examined::DetectionResult;
use crate::engine::loss::FaultLosses;
use crate::engine::warnings;
use crate::model::{self, Capture};

/// The report's data about its inputs.
pub struct Inputs {
    /// In the report's form.
    pub captures: Vec<Capture>,
    /// How far the captures can be trusted.
    pub quality: model::Quality,
    /// Limits of the whole report.
    pub limits: Vec<ReportLimitation>,
}

/// Something that limits the whole report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReportLimitation {
    /// An input was damaged: the text names it.
    Damage(String),
    /// Anything else.
    Other(String),
}

impl ReportLimitation {
    /// In words.
    pub fn into_text(self) -> String {
        match self {
            ReportLimitation::Damage(text) | ReportLimitation::Other(text) => text,
        }
    }
}

impl Inputs {
    /// Describes the inputs, with what `seen` shows of them.
    pub fn of(
        seen: &DetectionResult,
        totals: &PacketTotals,
        options: &AnalysisOptions,
        status: Vec<InputStatus>,
    ) -> Inputs {
        let clock_jumps = status.iter().map(|status| status.clock_jumps).sum();
        let (captures, damage) = describe(status, totals, &seen.losses);
        let quality = quality(seen, totals, &captures, clock_jumps);
        let others = warnings::of(seen, totals, options).into_iter().map(ReportLimitation::Other);
        let limits = damage.into_iter().map(ReportLimitation::Damage).chain(others).collect();
        Inputs { captures, quality, limits }
    }

    /// Later losses to faults of the program are damage, too.
    pub(super) fn note_losses(&mut self, losses: &FaultLosses) {
        let texts = losses.texts(&self.captures);
        self.limits.extend(texts.into_iter().map(ReportLimitation::Damage));
    }
}

/// Whether an input itself says that packets are missing, or its clock stepped back.
pub(super) fn is_damaged(status: &[InputStatus]) -> bool {
    status.iter().any(|status| status.clock_jumps > 0 || status.dropped.is_some_and(|n| n > 0))
}

/// How far the captures can be trusted, in numbers.
fn quality(
    seen: &DetectionResult,
    totals: &PacketTotals,
    captures: &[Capture],
    clock_jumps: u64,
) -> model::Quality {
    let q = &seen.gathered.quality;
    model::Quality {
        damaged: seen.context.damaged,
        dropped: captures.iter().filter_map(|c| c.dropped).reduce(|sum, n| sum + n),
        unseen: q.unseen,
        one_sided: q.one_sided,
        mid_stream: q.mid_stream,
        duplicates: q.duplicates,
        replayed: q.replayed,
        clock_jumps,
        cut: totals.cut,
        malformed: totals.malformed,
        bad_checksums: totals.bad_checksums,
        several_ttls: q.several_ttls,
    }
}

/// The inputs as the report names them, and the damage among them.
fn describe(
    status: Vec<InputStatus>,
    totals: &PacketTotals,
    losses: &FaultLosses,
) -> (Vec<Capture>, Vec<String>) {
    let mut of_inputs = Vec::new();
    let captures: Vec<Capture> = status
        .into_iter()
        .enumerate()
        .map(|(n, status)| {
            let mut own = status.warnings;
            if let Some(d) = status.damage {
                own.push(d.clone());
                of_inputs.push(d);
            }
            Capture {
                path: status.path,
                format: status.format,
                packets: status.packets,
                tcp_segments: totals.segments.get(n).copied().unwrap_or(0),
                first: status.times.map(|(first, _)| first),
                last: status.times.map(|(_, last)| last),
                dropped: status.dropped,
                warnings: own,
            }
        })
        .collect();
    let mut damage = totals.losses.texts(&captures);
    damage.extend(losses.texts(&captures));
    damage.append(&mut of_inputs);
    (captures, damage)
}
