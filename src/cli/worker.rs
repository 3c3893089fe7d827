//! `synscope worker`: the stages of an analysis for a driver that moves the data between them, see [`crate::fleet`].

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::Path;

use anyhow::{Context, bail};

use super::analyze::{applied, check, program};
use super::args::{AssembleArgs, WorkerArgs, WorkerStage};
use super::destination::{self, Destinations};
use super::exit::{Exit, FailOnVerdict, InputDamage};
use super::output::complain;
use super::privacy::Privacy;
use super::snapshot::{self, HostFiles};
use crate::engine::{self, Analysis, AnalysisOptions};
use crate::fleet::assemble::{PointsOfRun, ReportNames};
use crate::fleet::decode::SegmentScope;
use crate::fleet::joined::{Clocks, RunRow};
use crate::fleet::track::Tables;
use crate::fleet::{Error, assemble, decode, merge, sketch, trace, track};
use crate::pair::Pairing;

/// Bytes that are read and written at a time.
const BUFFER: usize = 1 << 20;

/// Runs one stage between standard input and standard output.
///
/// # Errors
/// Anything that stops the stage.
pub fn run(args: &WorkerArgs) -> anyhow::Result<Exit> {
    let from = BufReader::with_capacity(BUFFER, io::stdin());
    let to = BufWriter::with_capacity(BUFFER, io::stdout());
    match &args.stage {
        WorkerStage::Key(privacy) => print!("{}", Privacy::new(privacy)?.key_text()),
        WorkerStage::Decode(args) => {
            let privacy = Privacy::of_worker(&args.privacy)?;
            let options = privacy.options(args.scope.options());
            let clocks = of_run::<Clocks>("decode", args.of_run.as_deref())?;
            let keep = if args.joined { SegmentScope::All(clocks.as_ref()) } else { SegmentScope::Wanted };
            decode::run(from, to, &options, privacy.rewriter(), keep)?;
        }
        WorkerStage::Track(args) => {
            let tables = if args.tables { Tables::Made } else { Tables::None };
            let options = Privacy::of_worker(&args.privacy)?.options(args.scope.options());
            let clocks = of_run("track", args.of_run.as_deref())?;
            track::run(from, to, &options, tables, clocks.as_ref())?;
        }
        WorkerStage::Sketch => sketch::run(from, to)?,
        WorkerStage::Solve => match sketch::solve(from, to) {
            Err(Error::Engine(engine::Error::NothingReadable(reasons))) => {
                reasons.iter().for_each(|reason| complain(reason));
                return Ok(Exit::Unusable);
            }
            solved => solved?,
        },
        WorkerStage::Request(args) => {
            let privacy = Privacy::of_worker(&args.privacy)?;
            let points = of_run("request", args.of_run.as_deref())?.map(PointsOfRun);
            let points = points.context("there are no points")?;
            trace::request(from, to, points, &privacy.options(args.scope.options()), names(&privacy))?;
        }
        WorkerStage::Trace { file } => {
            let asked = of_run("trace", Some(file))?.context("nothing is asked for")?;
            trace::run(from, to, &asked)?;
        }
        WorkerStage::Merge(scope) => merge::run(from, to, &scope.options())?,
        WorkerStage::Assemble(args) => return report(args, from),
    }
    Ok(Exit::Done)
}

/// Reads the data that belongs to a run as a whole.
fn of_run<T: RunRow>(stage: &'static str, path: Option<&Path>) -> anyhow::Result<Option<T>> {
    let Some(path) = path else { return Ok(None) };
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Some(T::read(stage, BufReader::new(file))?))
}

fn names(privacy: &Privacy) -> ReportNames {
    if privacy.redacts() { ReportNames::LeftOut } else { ReportNames::Kept }
}

/// Writes the report on all of the input.
fn report(whole: &AssembleArgs, from: impl io::Read + Send) -> anyhow::Result<Exit> {
    let args = &whole.analyze;
    check(&args.captures, &args.scope, &args.privacy)?;
    let privacy = Privacy::of_worker(&args.privacy)?;
    let HostFiles { facts: host, recordings, .. } = snapshot::load(args.scope.snapshots())?;
    if let Some(recording) = recordings.first() {
        bail!(
            "{} is a recording of 'synscope snapshot --follow', which a fleet cannot join with packets. Give it to 'synscope \
             analyze' with the captures of that host.",
            recording.display()
        );
    }
    let destinations = Destinations::open(args)?;
    let options = privacy.options(AnalysisOptions { host, ..args.scope.options() });
    let (name, outcome) = outcome(whole, from, &options, names(&privacy))?;
    let mut outcome = match outcome {
        Ok(outcome) => outcome,
        Err(Error::Engine(engine::Error::NothingReadable(reasons))) => {
            destinations.abandon();
            reasons.iter().for_each(|reason| complain(reason));
            return Ok(Exit::Unusable);
        }
        Err(error) => {
            destinations.abandon();
            return Err(error.into());
        }
    };
    privacy.mark(&mut outcome.report);
    outcome.report.program = Some(program());
    // The captures of one point are never two sides of the same traffic.
    let is_one_point = whole.of_run.is_none() && outcome.report.captures.len() > 1;
    let pairing = if is_one_point { Pairing::Never } else { args.scope.pairing() };
    outcome.report.options = Some(applied(&options, pairing, &privacy));
    let report = &outcome.report;
    outcome.damage.iter().for_each(|damage| complain(damage));
    destinations.write(report, args, &privacy)?;
    destination::write_findings(&outcome, args, &name)?;
    let damage = if outcome.damage.is_empty() { InputDamage::None } else { InputDamage::Some };
    let matched = args.fail_on.iter().any(|condition| condition.matches(report));
    Ok(Exit::verdict(damage, if matched { FailOnVerdict::Matched } else { FailOnVerdict::Clear }))
}

/// The report on all of the input, and the name of the point if there is only one.
fn outcome(
    args: &AssembleArgs,
    from: impl io::Read + Send,
    options: &AnalysisOptions,
    names: ReportNames,
) -> anyhow::Result<(String, Result<Analysis, Error>)> {
    if let Some(points) = of_run("assemble", args.of_run.as_deref())?.map(PointsOfRun) {
        let traced = args.traced.as_ref().map(|path| {
            File::open(path).map(BufReader::new).with_context(|| format!("cannot read {}", path.display()))
        });
        return Ok((String::new(), points.report(from, traced.transpose()?, options, names)));
    }
    let mut points = assemble::read(from)?.into_iter();
    match (points.next(), points.next()) {
        (Some((point, knowledge)), None) => Ok((point.to_string(), knowledge.report(&point, options, names))),
        (None, _) => bail!("nothing came: there is no capture to report on"),
        (Some(_), Some(_)) => bail!("there are several points, but the output of `worker solve` is missing"),
    }
}
