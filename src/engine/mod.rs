//! The parallel pipeline: blocks are decoded in parallel, segments are routed to shards by flow hash, shards track
//! in parallel, results merge in a fixed order. Nothing depends on the number of threads.
//!
//! * [`options`]: what to analyze and how; [`analysis`]: the result.
//! * `pipeline`: everything between the source and the report.
//! * [`batch`]: blocks to segments, sorted by shard.
//! * `intake`: the stream taken in, and all of it tracked.
//! * `loss`: losses to faults of the program.
//! * [`rolling`]: a stream without an end, with results at any time.
//! * [`shard`]: one part of the connections: its tracker and its triage.
//! * `gather`: the results of the shards, merged.
//! * [`evicted_warnings`]: the effects of the memory limit.
//! * `examine`: runs every detector.
//! * `kernel_statements`: the kernel's statements in recordings, joined with packets.
//! * [`inputs`]: the report's data about its inputs; `warnings`: other limits.
//! * `examined`: both, for one capture.
//! * `conclude`: a [`StreamAnalysis`] of all that, then the report.

pub mod analysis;
pub mod batch;
mod conclude;
pub mod evicted_warnings;
mod examine;
mod examined;
mod gather;
pub mod inputs;
mod intake;
mod kernel_statements;
mod loss;
pub mod options;
mod pipeline;
pub mod rolling;
pub mod shard;
#[cfg(feature = "fleet")]
pub mod stages;
mod warnings;

use std::path::PathBuf;

use crate::capture::{self, Source};
pub use analysis::{Analysis, Error, Progress};
pub use conclude::StreamAnalysis;
use examine::AfterExamination;
pub use loss::FaultSubject;
pub use options::{AnalysisOptions, KnownVantage};
use pipeline::{Engine, threads};

/// Analyzes `inputs` (paths, `-` for standard input) as one stream in time order.
///
/// # Errors
/// When not one input can be opened and recognised, or threads cannot be started. Damage inside an input is no
/// error: see [`Analysis::damage`].
pub fn analyze(
    inputs: &[PathBuf],
    options: &AnalysisOptions,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Analysis, Error> {
    let source = capture::open(inputs)
        .map_err(|failed| Error::NothingReadable(failed.iter().map(ToString::to_string).collect()))?;
    analyze_source(source.source, options, progress)
}

/// Analyzes a stream of packets.
///
/// # Errors
/// When threads cannot be started.
pub fn analyze_source(
    source: Box<dyn Source>,
    options: &AnalysisOptions,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Analysis, Error> {
    Ok(read(source, options, progress, AfterExamination::FreeFacts)?.report(options))
}

/// Reads a stream of packets to its end, and stops before the report is written.
///
/// # Errors
/// When threads cannot be started.
pub fn study(
    source: Box<dyn Source>,
    options: &AnalysisOptions,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<StreamAnalysis, Error> {
    read(source, options, progress, AfterExamination::KeepFacts)
}

fn read(
    source: Box<dyn Source>,
    options: &AnalysisOptions,
    progress: &mut (dyn FnMut(Progress) + Send),
    after: AfterExamination,
) -> Result<StreamAnalysis, Error> {
    let pool = threads(options.threads)?;
    let mut engine = Engine::new(options);
    let source = intake::run(&mut engine, source, &pool, progress);
    let mut study = pool.install(move || engine.conclude(source, after));
    study.pool = Some(pool);
    Ok(study)
}
