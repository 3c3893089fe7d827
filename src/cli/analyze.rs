//! `synscope analyze`: captures in, report out.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::bail;

use super::args::{AnalyzeArgs, Scope};
use super::complain;
use super::destination::Destinations;
use super::exit::{Damage, Exit, Verdict};
use super::privacy::Privacy;
use super::progress::ProgressLine;
use crate::engine::{self, Options};

/// Runs it.
///
/// # Errors
/// Options that contradict each other, no input that can be read, an output that cannot be written.
pub fn run(args: &AnalyzeArgs) -> anyhow::Result<Exit> {
    check(&args.captures, &args.scope)?;
    let privacy = Privacy::new(&args.privacy)?;
    let destinations = Destinations::open(args)?;
    let outcome = match examine(&args.captures, &args.scope, &privacy, args.quiet) {
        Ok(outcome) => outcome,
        Err(failed) => {
            destinations.abandon();
            return failed.told();
        }
    };
    let report = &outcome.report;
    outcome.damage.iter().for_each(|damage| complain(damage));
    destinations.write(report, args, &privacy)?;
    let damage = if outcome.damage.is_empty() { Damage::None } else { Damage::Some };
    let matched = args.fail_on.iter().any(|condition| condition.matches(report));
    Ok(Exit::verdict(damage, if matched { Verdict::Matched } else { Verdict::Clear }))
}

/// Analyzes `captures`, with a line of progress.
pub(super) fn examine(
    captures: &[PathBuf],
    scope: &Scope,
    privacy: &Privacy,
    quiet: bool,
) -> Result<engine::Outcome, Failed> {
    let mut progress = ProgressLine::new(quiet);
    let outcome = privacy.open(captures).and_then(|source| {
        engine::analyze_source(source, &privacy.options(scope.options()), &mut |now| progress.show(now))
    });
    progress.finish();
    let mut outcome = outcome.map_err(Failed)?;
    privacy.mark(&mut outcome.report);
    Ok(outcome)
}

/// There is nothing to report.
pub(super) struct Failed(engine::Error);

impl Failed {
    /// Says why.
    ///
    /// # Errors
    /// What is wrong with more than the inputs.
    pub fn told(self) -> anyhow::Result<Exit> {
        match self.0 {
            engine::Error::NothingReadable(reasons) => {
                reasons.iter().for_each(|reason| complain(reason));
                Ok(Exit::Unusable)
            }
            error => Err(error.into()),
        }
    }
}

/// What clap cannot see: options and inputs that do not go together.
pub(super) fn check(captures: &[PathBuf], scope: &Scope) -> anyhow::Result<()> {
    if let (Some(since), Some(until)) = (scope.since, scope.until)
        && since > until
    {
        bail!(
            "--since {since} is after --until {until}: no packet lies between them. Exchange the two times."
        );
    }
    match captures.iter().filter(|path| *path == Path::new("-")).count() {
        0 => Ok(()),
        1 if io::stdin().is_terminal() => bail!(
            "standard input is a terminal, not a capture.\n  \
             Pipe one in: tcpdump -c 100000 -w - tcp | synscope analyze -"
        ),
        1 => Ok(()),
        _ => bail!("standard input ('-') can be read only once. Name it once among the captures."),
    }
}

impl Scope {
    /// What was typed, as the engine wants it.
    pub fn options(&self) -> Options {
        Options {
            threads: self.threads,
            half_close_after: self.half_close_after,
            hosts: self.host.clone(),
            ports: self.port.clone(),
            since: self.since,
            until: self.until,
            memory_limit: self.memory_limit,
        }
    }
}
