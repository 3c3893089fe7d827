//! `synscope analyze`: captures in, report out.

use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::bail;

use super::args::{AnalyzeArgs, HostArg};
use super::complain;
use super::destination::Destinations;
use super::exit::{Damage, Exit, Verdict};
use super::progress::ProgressLine;
use super::snapshot;
use crate::engine::{self, Options};

/// Runs it.
///
/// # Errors
/// Options that contradict each other, no input that can be read, an output that cannot be written.
pub fn run(args: &AnalyzeArgs) -> anyhow::Result<Exit> {
    check(args)?;
    let options = Options { host: snapshot::load(args.snapshots())?, ..args.options() };
    let destinations = Destinations::open(args)?;
    let mut progress = ProgressLine::new(args.quiet);
    let outcome = engine::analyze(&args.captures, &options, &mut |now| progress.show(now));
    progress.finish();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(engine::Error::NothingReadable(reasons)) => {
            destinations.abandon();
            reasons.iter().for_each(|reason| complain(reason));
            return Ok(Exit::Unusable);
        }
        Err(error) => {
            destinations.abandon();
            return Err(error.into());
        }
    };
    let report = &outcome.report;
    outcome.damage.iter().for_each(|damage| complain(damage));
    destinations.write(report, args)?;
    let damage = if outcome.damage.is_empty() { Damage::None } else { Damage::Some };
    let matched = args.fail_on.iter().any(|condition| condition.matches(report));
    Ok(Exit::verdict(damage, if matched { Verdict::Matched } else { Verdict::Clear }))
}

/// What clap cannot see: options and inputs that do not go together.
fn check(args: &AnalyzeArgs) -> anyhow::Result<()> {
    if let (Some(since), Some(until)) = (args.since, args.until)
        && since > until
    {
        bail!(
            "--since {since} is after --until {until}: no packet lies between them. Exchange the two times."
        );
    }
    match args.captures.iter().filter(|path| *path == Path::new("-")).count() {
        0 => Ok(()),
        1 if io::stdin().is_terminal() => bail!(
            "standard input is a terminal, not a capture.\n  \
             Pipe one in: tcpdump -c 100000 -w - tcp | synscope analyze -"
        ),
        1 => Ok(()),
        _ => bail!("standard input ('-') can be read only once. Name it once among the captures."),
    }
}

impl AnalyzeArgs {
    /// The snapshots that were named.
    pub fn snapshots(&self) -> impl Iterator<Item = &Path> {
        self.host.iter().filter_map(|host| match host {
            HostArg::Snapshot(path) => Some(path.as_path()),
            HostArg::Address(_) => None,
        })
    }

    /// What was typed, as the engine wants it; the snapshots are not read yet.
    pub fn options(&self) -> Options {
        Options {
            threads: self.threads,
            half_close_after: self.half_close_after,
            hosts: self
                .host
                .iter()
                .filter_map(|host| match host {
                    HostArg::Address(address) => Some(*address),
                    HostArg::Snapshot(_) => None,
                })
                .collect(),
            ports: self.port.clone(),
            since: self.since,
            until: self.until,
            memory_limit: self.memory_limit,
            host: None,
        }
    }
}
