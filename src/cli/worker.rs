//! `synscope worker`: the stages of an analysis for a driver that moves the data between them, see [`crate::fleet`].

use std::io::{self, BufReader, BufWriter};

use anyhow::bail;

use super::analyze::{applied, check, program};
use super::args::{WorkerArgs, WorkerStage};
use super::destination::{self, Destinations};
use super::exit::{Damage, Exit, Verdict};
use super::output::complain;
use super::privacy::Privacy;
use super::snapshot::{self, HostFiles};
use crate::engine::{self, Options};
use crate::fleet::assemble::Names;
use crate::fleet::track::Tables;
use crate::fleet::{Error, assemble, decode, merge, track};
use crate::pair::Pairing;

/// Bytes that are read and written at a time.
const BUFFER: usize = 1 << 20;

/// Runs one stage between standard input and standard output.
///
/// # Errors
/// What the stage cannot go on with.
pub fn run(args: &WorkerArgs) -> anyhow::Result<Exit> {
    let from = BufReader::with_capacity(BUFFER, io::stdin());
    let to = BufWriter::with_capacity(BUFFER, io::stdout());
    match &args.stage {
        WorkerStage::Key(privacy) => print!("{}", Privacy::new(privacy)?.key_text()),
        WorkerStage::Decode(args) => {
            let privacy = Privacy::of_worker(&args.privacy)?;
            let options = privacy.options(args.scope.options());
            decode::run(from, to, &options, privacy.rewriter())?;
        }
        WorkerStage::Track(args) => {
            let tables = if args.tables { Tables::Made } else { Tables::None };
            track::run(from, to, &args.scope.options(), tables)?;
        }
        WorkerStage::Merge(scope) => merge::run(from, to, &scope.options())?,
        WorkerStage::Assemble(args) => return report(args, from),
    }
    Ok(Exit::Done)
}

/// Writes the report on everything that comes.
fn report(args: &super::args::AnalyzeArgs, from: impl io::Read) -> anyhow::Result<Exit> {
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
    let options = privacy.options(Options { host, ..args.scope.options() });
    let names = if privacy.redacts() { Names::LeftOut } else { Names::Kept };
    let mut points = assemble::read(from)?.into_iter();
    let mut name = String::new();
    let outcome = match (points.next(), points.next()) {
        (Some((point, knowledge)), None) => {
            point.as_ref().clone_into(&mut name);
            knowledge.report(&point, &options, names)
        }
        (None, _) => bail!("nothing came: there is no capture to report on"),
        (Some(_), Some(_)) => bail!("captures of several points cannot be reported on together yet"),
    };
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
    let pairing = if outcome.report.captures.len() > 1 { Pairing::Never } else { args.scope.pairing() };
    outcome.report.options = Some(applied(&options, pairing, &privacy));
    let report = &outcome.report;
    outcome.damage.iter().for_each(|damage| complain(damage));
    destinations.write(report, args, &privacy)?;
    destination::write_findings(&outcome, args, &name)?;
    let damage = if outcome.damage.is_empty() { Damage::None } else { Damage::Some };
    let matched = args.fail_on.iter().any(|condition| condition.matches(report));
    Ok(Exit::verdict(damage, if matched { Verdict::Matched } else { Verdict::Clear }))
}
