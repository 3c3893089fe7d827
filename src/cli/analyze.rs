//! `synscope analyze`: captures in, report out.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::bail;

use super::args::{AnalyzeArgs, PrivacyArgs, Scope};
use super::destination::Destinations;
use super::exit::{Exit, FailOnVerdict, InputDamage};
use super::output::complain;
use super::privacy::Privacy;
use super::progress::ProgressLine;
use super::snapshot::HostFiles;
use super::value::HostArg;
use super::{signals, snapshot};
use crate::capture::StopRequest;
use crate::engine::{self, AnalysisOptions};
use crate::model::{AppliedOptions, Program};
use crate::pair::points::NamedInputs;
use crate::pair::{self, Pairing};

/// The answer to a request to stop.
const STOPPING: &str = "stopping; the report covers the packets read so far. ^C again ends without one";

/// Runs it.
///
/// # Errors
/// Options that contradict each other, no input that can be read, an output that cannot be written.
pub fn run(args: &AnalyzeArgs) -> anyhow::Result<Exit> {
    let captures = args.scope.inputs(&args.captures);
    check(&captures, &args.scope, &args.privacy)?;
    let privacy = Privacy::new(&args.privacy)?;
    let destinations = Destinations::open(args)?;
    let own = AnalysisOptions {
        #[cfg(feature = "fleet")]
        table: super::destination::table_folder(args, ""),
        ..args.scope.options()
    };
    let progress = if args.quiet { ProgressLine::silent() } else { ProgressLine::on_terminal() };
    let outcome = match examine(&captures, &args.scope, own, &privacy, progress) {
        Ok(outcome) => outcome,
        Err(failed) => {
            destinations.abandon();
            return failed.told();
        }
    };
    let report = &outcome.report;
    outcome.damage.iter().for_each(|damage| complain(damage));
    destinations.write(report, args, &privacy)?;
    #[cfg(feature = "fleet")]
    super::destination::write_findings(&outcome, args, "")?;
    let damage = if outcome.damage.is_empty() { InputDamage::None } else { InputDamage::Some };
    let matched = args.fail_on.iter().any(|condition| condition.matches(report));
    // The process ends: to give back a large report piece by piece takes as long as to write it.
    std::mem::forget(outcome);
    Ok(Exit::verdict(damage, if matched { FailOnVerdict::Matched } else { FailOnVerdict::Clear }))
}

/// Analyzes `captures`, with a line of progress.
pub(super) fn examine(
    captures: &[PathBuf],
    scope: &Scope,
    own: AnalysisOptions,
    privacy: &Privacy,
    mut progress: ProgressLine,
) -> Result<engine::Analysis, AnalyzeError> {
    let HostFiles { facts: host, recordings, notes } =
        snapshot::load(scope.snapshots()).map_err(AnalyzeError::Setup)?;
    let stop = StopRequest::default();
    signals::heed_stop(&stop, STOPPING).map_err(AnalyzeError::Setup)?;
    let options = privacy.options(AnalysisOptions { host, recordings, stop: stop.clone(), ..own });
    let open = |wanted: &[bool]| privacy.open_some(captures, wanted, &stop);
    let outcome = match scope.points() {
        points if points.is_empty() => {
            pair::analyze(captures, &open, scope.pairing(), &options, &mut |now| progress.show(now))
        }
        points => pair::analyze_points(captures, points, &open, &options, &mut |now| progress.show(now)),
    };
    progress.finish();
    let mut outcome = outcome.map_err(AnalyzeError::Engine)?;
    outcome.report.warnings.extend(notes);
    privacy.mark(&mut outcome.report);
    outcome.report.program = Some(program());
    outcome.report.options = Some(applied(&options, scope.pairing(), privacy));
    Ok(outcome)
}

/// This program, as a report names it.
pub(super) fn program() -> Program {
    Program { name: "synscope".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// The options that decide the contents of a report. The number of threads does not.
pub(super) fn applied(options: &AnalysisOptions, pairing: Pairing, privacy: &Privacy) -> AppliedOptions {
    AppliedOptions {
        hosts: options.hosts.clone(),
        ports: options.ports.clone(),
        since: options.since,
        until: options.until,
        half_close_after_s: options.half_close_after.0 as f64 / 1e9,
        memory_limit: options.memory_limit,
        pair: pairing,
        redact: privacy.redacts(),
        capture_filter: None,
    }
}

/// There is nothing to report.
pub(super) enum AnalyzeError {
    /// No input, or no threads.
    Engine(engine::Error),
    /// A snapshot that cannot be used, or signals that cannot be heeded.
    Setup(anyhow::Error),
}

impl AnalyzeError {
    /// Says why.
    ///
    /// # Errors
    /// Errors beyond those of the inputs.
    pub fn told(self) -> anyhow::Result<Exit> {
        match self {
            AnalyzeError::Engine(engine::Error::NothingReadable(reasons)) => {
                reasons.iter().for_each(|reason| complain(reason));
                Ok(Exit::Unusable)
            }
            AnalyzeError::Engine(error) => Err(error.into()),
            AnalyzeError::Setup(error) => Err(error),
        }
    }
}

/// Checks that clap cannot make: options and inputs that exclude each other.
pub(super) fn check(captures: &[PathBuf], scope: &Scope, privacy: &PrivacyArgs) -> anyhow::Result<()> {
    if privacy.redact && scope.snapshots().next().is_some() {
        bail!(
            "--redact and a snapshot do not go together: a snapshot names the host. Leave one of them out."
        );
    }
    check_threads(scope.threads)?;
    if let (Some(since), Some(until)) = (scope.since, scope.until)
        && since > until
    {
        bail!(
            "--since {since} is after --until {until}: no packet lies between them. Exchange the two times."
        );
    }
    let piped = captures.iter().filter(|path| *path == Path::new("-")).count();
    if piped > 0 && !scope.point.is_empty() {
        bail!("captures of several points are read more than once: save the input of a pipe to a file first");
    }
    match piped {
        0 => Ok(()),
        1 if io::stdin().is_terminal() => bail!(
            "standard input is a terminal, not a capture.\n  \
             Pipe one in: tcpdump -c 100000 -w - tcp | synscope analyze -"
        ),
        1 => Ok(()),
        _ => bail!("standard input ('-') can be read only once. Name it once among the captures."),
    }
}

/// More threads than this help no machine. Each needs memory, and a system limits their number.
const MOST_THREADS: usize = 1024;

/// Refuses numbers of threads that would exhaust the machine.
///
/// # Errors
/// There are too many.
pub(super) fn check_threads(threads: usize) -> anyhow::Result<()> {
    if threads > MOST_THREADS {
        bail!(
            "--threads {threads} is more than {MOST_THREADS}, the most there can be. Leave it out for one per core."
        );
    }
    Ok(())
}

impl Scope {
    /// Whether the captures are taken for two sides of the same traffic.
    pub fn pairing(&self) -> Pairing {
        match (self.pair, self.no_pair) {
            (true, _) => Pairing::Force,
            (false, true) => Pairing::Never,
            (false, false) => Pairing::Auto,
        }
    }

    /// All inputs: `captures`, or those of the points in their place.
    pub fn inputs(&self, captures: &[PathBuf]) -> Vec<PathBuf> {
        captures.iter().cloned().chain(self.point.iter().map(|(_, path)| path.clone())).collect()
    }

    /// The capture points that were named, with their inputs.
    pub fn points(&self) -> Vec<NamedInputs> {
        let mut points: Vec<NamedInputs> = Vec::new();
        for (n, (name, _)) in self.point.iter().enumerate() {
            match points.iter_mut().find(|point| point.name.as_ref() == Some(name)) {
                Some(point) => point.inputs.push(n),
                None => points.push(NamedInputs { name: Some(name.clone()), inputs: vec![n] }),
            }
        }
        points
    }

    /// The snapshots that were named.
    pub fn snapshots(&self) -> impl Iterator<Item = &Path> {
        self.host.iter().filter_map(|host| match host {
            HostArg::Snapshot(path) => Some(path.as_path()),
            HostArg::Address(_) => None,
        })
    }

    /// The scope of everything: for reports that are not about captures.
    #[cfg_attr(not(feature = "live"), expect(dead_code, reason = "only a watch has such reports"))]
    pub(super) fn nothing() -> Scope {
        let AnalysisOptions { half_close_after, threads, memory_limit, .. } = AnalysisOptions::default();
        Scope {
            host: Vec::new(),
            port: Vec::new(),
            since: None,
            until: None,
            half_close_after,
            pair: false,
            no_pair: false,
            point: Vec::new(),
            threads,
            memory_limit,
        }
    }

    /// The options typed, as the engine wants them; the snapshots are not read yet.
    pub fn options(&self) -> AnalysisOptions {
        AnalysisOptions {
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
            ..AnalysisOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::capture::LinkType;
    use crate::cli::args::{Cli, Command};
    use crate::decode::tests::FATAL;

    /// A fault of the program costs the packet, not the report, and the exit code says that something is missing.
    #[test]
    fn the_report_comes_although_the_program_fails_at_a_packet() {
        let folder = tempfile::tempdir().expect("a place for temporary files");
        let (capture, report) = (folder.path().join("fatal.pcap"), folder.path().join("report.json"));
        let (LinkType(link), fatal) = FATAL;
        let mut file = [&0xa1b2_c3d4_u32.to_le_bytes()[..], &[2, 0, 4, 0], &[0; 8], &[0, 0, 1, 0]].concat();
        file.extend(u32::from(link).to_le_bytes());
        for packet in [&b"other"[..], fatal, b"other"] {
            let length = (packet.len() as u32).to_le_bytes();
            file.extend([&[1, 0, 0, 0, 0, 0, 0, 0], &length[..], &length, packet].concat());
        }
        std::fs::write(&capture, file).expect("the capture can be written");
        for redact in [&[][..], &["--redact"]] {
            let output = report.to_str().expect("UTF-8");
            let input = capture.to_str().expect("UTF-8");
            let line =
                [&["synscope", "analyze", "-q", "-f", "json", "-o", output], redact, &[input]].concat();
            let Command::Analyze(args) = Cli::parse_from(line).command else { panic!("it is analyze") };
            assert_eq!(run(&args).expect("it can be analyzed"), Exit::Damaged, "{redact:?}");
            let text = std::fs::read_to_string(&report).expect("the report is there");
            let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(report["summary"]["packets"], 3);
            assert!(report["warnings"].to_string().contains("packet 2 made this program fail"), "{text}");
        }
    }
}
