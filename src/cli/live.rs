//! `synscope live`: interfaces in, events out while it runs, the report when it ends.

use super::args::LiveArgs;
use super::exit::Exit;

/// Runs it.
///
/// # Errors
/// Options that contradict each other, an interface that cannot be opened, an output that cannot be written.
#[cfg(all(feature = "live", target_os = "linux"))]
pub fn run(args: &LiveArgs) -> anyhow::Result<Exit> {
    session::run(args)
}

/// Reports which right is missing.
///
/// # Errors
/// Always.
#[cfg(not(all(feature = "live", target_os = "linux")))]
pub fn run(_: &LiveArgs) -> anyhow::Result<Exit> {
    anyhow::bail!(
        "this synscope was built without live capture.\n  \
         With:    cargo install --locked --path .   (Linux, in a checkout of the sources, without --no-default-features)\n  \
         Without: tcpdump -U -s 192 -w - tcp | synscope analyze -"
    )
}

#[cfg(all(feature = "live", target_os = "linux"))]
mod session {
    use std::io::{self, IsTerminal, Write};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use anyhow::{Context, bail};
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::flag;

    use crate::capture::live::{self, CaptureSettings, LiveFeed, Promiscuous};
    use crate::cli::analyze::{applied, check_threads, program};
    use crate::cli::args::{AnalyzeArgs, AskKernel, EventsOf, LiveArgs, PrivacyArgs, Scope};
    use crate::cli::destination::Destinations;
    use crate::cli::exit::{Exit, FailOnVerdict, InputDamage};
    use crate::cli::follow::without;
    use crate::cli::output::complain;
    use crate::cli::output::{stdout_look, to_stdout};
    use crate::cli::privacy::Privacy;
    use crate::cli::signals::{SecondSignalExit, register_report};
    use crate::cli::value::Format;
    use crate::engine::{Analysis, AnalysisOptions};
    use crate::kernel::bpf::Probes;
    use crate::kernel::bpf::reader::VerdictReader;
    use crate::live::hook::IncidentHook;
    use crate::live::kernel::{self, Kernel, Namespace};
    use crate::live::kernel_words::KernelWords;
    use crate::live::log::{JsonLines, TextLog};
    use crate::live::metrics::LiveMetrics;
    use crate::live::output::{Output, Recorder};
    use crate::live::ring::CaptureRing;
    use crate::live::run::{EndCondition, Ended, RunRequest, TimeSource, WatchRun};
    use crate::live::screen::Screen;
    use crate::live::watch::{Watch, WatchSettings};
    use crate::live::witness::HostSource;
    use crate::live::write_queue::WriteQueue;
    use crate::model::{AppliedOptions, Report};
    use crate::pair::Pairing;
    use crate::report::terminal::sanitize;
    use crate::report::text::brief;

    pub fn run(args: &LiveArgs) -> anyhow::Result<Exit> {
        let namespace = args.netns.as_deref().map(Namespace::open).transpose().map_err(anyhow::Error::msg)?;
        if args.list_interfaces {
            return list(namespace).map(|()| Exit::Done);
        }
        check_threads(args.threads)?;
        let report = ReportArgs::new(args)?;
        let wanted = Signals::heed()?;
        let destinations = report.open()?;
        let Ended { mut outcome, failed } = match watch(args, namespace, &wanted, &report) {
            Ok(ended) => ended,
            Err(error) => {
                destinations.into_iter().for_each(Destinations::abandon);
                return Err(error);
            }
        };
        report.mark(&mut outcome.report);
        outcome.damage.iter().for_each(|damage| complain(damage));
        if let Some(mut destinations) = destinations {
            if failed.is_some() {
                // Nobody reads it, or the disk is full: files still get their reports.
                destinations.leave_out_stdout();
            }
            destinations.write(&outcome.report, &report.args, &report.privacy)?;
        }
        match failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(error).context("standard output could not be written to the end");
            }
            _ => {}
        }
        let matched = args.fail_on.iter().any(|condition| condition.matches(&outcome.report));
        let damage = if outcome.damage.is_empty() { InputDamage::None } else { InputDamage::Some };
        Ok(Exit::verdict(damage, if matched { FailOnVerdict::Matched } else { FailOnVerdict::Clear }))
    }

    fn watch(
        args: &LiveArgs,
        namespace: Option<Namespace>,
        wanted: &Signals,
        report: &ReportArgs,
    ) -> anyhow::Result<Ended> {
        let theirs = namespace.clone();
        let settings = CaptureSettings {
            interfaces: args.interface.clone(),
            filter: args.filter.clone(),
            snaplen: args.snaplen,
            buffer: args.buffer,
            promiscuous: if args.no_promiscuous { Promiscuous::No } else { Promiscuous::Yes },
            prepare: Arc::new(move || theirs.as_ref().map_or(Ok(()), Namespace::enter)),
            settle: Arc::new(kernel::keep_capture_right),
        };
        // The first look is before packets come: earlier counts are not about them.
        let witness = if args.no_host { None } else { Some(Kernel::start(namespace.clone())?) };
        let mut feed = LiveFeed::open(&settings)?;
        let (probes, said) = ask_kernel(args, namespace.as_ref())?;
        // From here on nothing needs a right any more; threads that are started later have none.
        kernel::drop_rights().context("cannot give up capabilities")?;
        let options = AnalysisOptions {
            threads: args.threads,
            half_close_after: args.half_close_after,
            memory_limit: args.memory_limit,
            ..AnalysisOptions::default()
        };
        let setup = WatchSettings { options, host: title(namespace.as_ref()), ..WatchSettings::default() };
        let mut watch = Watch::new(setup, witness.map(|kernel| Box::new(kernel) as Box<dyn HostSource>))?;
        if args.filter.is_empty() {
            watch.know_unfiltered();
        }
        if let Some(probes) = probes {
            watch.listen(KernelWords::new(Box::new(VerdictReader::start(probes)?)));
        }
        if matches!(show(args), WatchOutput::Log(_)) {
            complain(&format!(
                "watching {}; ^C ends with the report, SIGUSR1 prints it and goes on",
                args.interface.join(", ")
            ));
            said.iter().for_each(|line| complain(line));
        }
        let log = WriteQueue::start(io::stdout()).context("cannot start a thread")?;
        let run = WatchRun {
            feed: &mut feed,
            watch,
            outputs: outputs(args, &log)?,
            recorder: recorder(args)?,
            until: EndCondition { packets: args.count, duration: args.duration },
            pace: TimeSource::Machine,
        };
        // A report in the middle of a screen would be unreadable.
        let hidden = show(args) == WatchOutput::Screen && args.output.is_none();
        let every = args.report_every.map(|every| Duration::from_nanos(every.0.unsigned_abs()));
        let mut next = every.map(|every| Instant::now() + every);
        let wanted = || match wanted.wanted() {
            RunRequest::Report if hidden => RunRequest::Nothing,
            RunRequest::Nothing if next.is_some_and(|next| Instant::now() >= next) => {
                next = every.map(|every| Instant::now() + every);
                RunRequest::Report
            }
            other => other,
        };
        let mut ended = run.run(wanted, |outcome| {
            // The report comes after the events before it.
            log.wait()?;
            report.print(outcome)
        });
        ended.failed = ended.failed.or(log.wait().err());
        Ok(ended)
    }

    /// Asks the kernel about single packets, and reports how much it can tell.
    fn ask_kernel(
        args: &LiveArgs,
        namespace: Option<&Namespace>,
    ) -> anyhow::Result<(Option<Probes>, Option<String>)> {
        if args.kernel == AskKernel::Off {
            return Ok((None, None));
        }
        let number = namespace.map_or_else(Namespace::own_number, Namespace::number)?;
        match Probes::attach(number) {
            Ok(probes) => {
                let line = probes.offer().to_string();
                Ok((Some(probes), Some(line)))
            }
            Err(refused) if args.kernel == AskKernel::On => Err(refused).context("--kernel on"),
            Err(refused) => Ok((None, Some(without(&refused)))),
        }
    }

    /// The outputs; `log` leads to standard output. They are made after rights were given up, so none of them has any.
    fn outputs(args: &LiveArgs, log: &WriteQueue) -> anyhow::Result<Vec<Box<dyn Output>>> {
        let mut outputs: Vec<Box<dyn Output>> = Vec::new();
        if let Some(address) = args.metrics {
            if !address.ip().is_loopback() {
                complain(&format!(
                    "metrics at {address} can be read by whoever reaches this host: they name listeners and queues. A port \
                     alone is served on loopback only"
                ));
            }
            let metrics = LiveMetrics::serve(address).with_context(|| {
                format!("cannot serve metrics at {address}: choose a free port above 1023 of this host")
            })?;
            outputs.push(Box::new(metrics));
        }
        if let Some(program) = &args.on_incident {
            outputs.push(Box::new(IncidentHook::new(program, complain).context("cannot start a thread")?));
        }
        // Made last, so that messages about other failures stay readable.
        outputs.push(match show(args) {
            WatchOutput::Screen => {
                Box::new(Screen::open(stdout_look(args.color).color).context("cannot draw on the terminal")?)
            }
            WatchOutput::Log(Format::Jsonl) => match args.events {
                EventsOf::Incidents => Box::new(JsonLines::of_incidents(log.clone())),
                EventsOf::Findings => Box::new(JsonLines::new(log.clone())),
            },
            WatchOutput::Log(_) => Box::new(TextLog::new(log.clone(), stdout_look(args.color))),
            WatchOutput::Nothing => return Ok(outputs),
        });
        Ok(outputs)
    }

    /// Who keeps the packets.
    fn recorder(args: &LiveArgs) -> anyhow::Result<Option<Box<dyn Recorder>>> {
        let Some(path) = &args.write else { return Ok(None) };
        let ring = CaptureRing::create(path, args.ring, &args.interface).with_context(|| {
            format!(
                "cannot write a ring at {}: name a folder that belongs to this user (no right to write elsewhere is kept)",
                path.display()
            )
        })?;
        Ok(Some(Box::new(ring)))
    }

    /// How the watch is shown on standard output.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum WatchOutput {
        /// Full-screen.
        Screen,
        /// As a running log.
        Log(Format),
        /// Only the report in the end.
        Nothing,
    }

    fn show(args: &LiveArgs) -> WatchOutput {
        match args.format {
            None if io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb") => {
                WatchOutput::Screen
            }
            None | Some(Format::Text) => WatchOutput::Log(Format::Text),
            Some(Format::Jsonl) => WatchOutput::Log(Format::Jsonl),
            Some(_) => WatchOutput::Nothing,
        }
    }

    fn title(namespace: Option<&Namespace>) -> String {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        match namespace {
            Some(namespace) => format!("{} ({})", host.trim(), namespace.name),
            None => host.trim().to_owned(),
        }
    }

    /// The interfaces with their addresses.
    fn list(namespace: Option<Namespace>) -> anyhow::Result<()> {
        if let Some(namespace) = namespace {
            namespace.enter()?;
        }
        let known = live::interfaces()?;
        to_stdout(|out| {
            for one in known {
                let addresses = one.addresses.join(", ");
                let line = format!("{:<16} {:<14} {addresses}", one.name, one.state);
                writeln!(out, "{}", sanitize(line.trim_end()))?;
            }
            Ok(())
        })
    }

    /// The report's options, as `analyze` has them.
    struct ReportArgs {
        args: AnalyzeArgs,
        privacy: Privacy,
        /// The options that the report records.
        applied: AppliedOptions,
        /// Whether a report is to be written in the end.
        wanted: bool,
    }

    impl ReportArgs {
        fn new(args: &LiveArgs) -> anyhow::Result<ReportArgs> {
            if args.report_every.is_some() && args.output.is_none() && args.report.is_empty() {
                bail!("--report-every needs a file: --report json=FILE, or --output FILE");
            }
            let formats = args.format.iter().chain(args.report.iter().map(|(format, _)| format));
            if formats.into_iter().any(|format| *format == Format::Pcapng) {
                bail!("a report in pcapng needs the packets themselves, and a watch does not keep them");
            }
            let privacy = PrivacyArgs::default();
            let harmless = Privacy::new(&privacy)?;
            let options = AnalysisOptions {
                half_close_after: args.half_close_after,
                memory_limit: args.memory_limit,
                ..AnalysisOptions::default()
            };
            let capture_filter = Some(args.filter.clone()).filter(|filter| !filter.is_empty());
            let applied = AppliedOptions { capture_filter, ..applied(&options, Pairing::Never, &harmless) };
            Ok(ReportArgs {
                applied,
                // Events and report would be mixed.
                wanted: args.format != Some(Format::Jsonl)
                    || args.output.is_some()
                    || !args.report.is_empty(),
                privacy: harmless,
                args: AnalyzeArgs {
                    captures: Vec::new(),
                    // If events go to standard output, only files get a report.
                    format: args.format.filter(|f| *f != Format::Jsonl || args.output.is_some()),
                    output: args.output.clone(),
                    report: args.report.clone(),
                    flavor: args.flavor,
                    full: args.full,
                    verbose: false,
                    settings: false,
                    fail_on: args.fail_on.clone(),
                    color: args.color,
                    quiet: true,
                    scope: Scope::nothing(),
                    privacy,
                },
            })
        }

        fn open(&self) -> anyhow::Result<Option<Destinations>> {
            self.wanted.then(|| Destinations::open(&self.args)).transpose()
        }

        /// Records in `report` the options that made it.
        fn mark(&self, report: &mut Report) {
            report.program = Some(program());
            report.options = Some(self.applied.clone());
        }

        /// Writes the report so far.
        fn print(&self, outcome: &Analysis) -> anyhow::Result<()> {
            let mut outcome = outcome.clone();
            self.mark(&mut outcome.report);
            match self.open()? {
                Some(destinations) => destinations.write(&outcome.report, &self.args, &self.privacy),
                None => {
                    let look = stdout_look(self.args.color);
                    let mut err = io::stderr().lock();
                    Ok(brief::write(&outcome.report, look, brief::SettingsSection::Hidden, &mut err)
                        .and_then(|()| err.flush())?)
                }
            }
        }
    }

    /// Whether this process was started with the signal ignored (proc(5), `SigIgn`).
    fn is_ignored(signal: i32) -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        mask >> (signal - 1) & 1 == 1
    }

    /// What signals ask for.
    struct Signals {
        stop: Arc<AtomicBool>,
        /// Another signal to stop ends the program at once.
        impatience: SecondSignalExit,
        report: Arc<AtomicBool>,
    }

    impl Signals {
        fn heed() -> anyhow::Result<Signals> {
            let [stop, report] = [(); 2].map(|()| Arc::<AtomicBool>::default());
            let heed = || -> io::Result<SecondSignalExit> {
                let impatience = SecondSignalExit::register()?;
                for signal in [SIGINT, SIGTERM] {
                    flag::register(signal, Arc::clone(&stop))?;
                }
                // nohup(1) sets it to be ignored, and so it stays.
                if !is_ignored(SIGHUP) {
                    flag::register(SIGHUP, Arc::clone(&stop))?;
                }
                register_report(&report)?;
                Ok(impatience)
            };
            let impatience = heed().context("cannot heed signals")?;
            Ok(Signals { stop, impatience, report })
        }

        /// Requests that have come since the last call.
        fn wanted(&self) -> RunRequest {
            if self.stop.load(Ordering::Relaxed) {
                self.impatience.begin();
                return RunRequest::Stop;
            }
            if self.report.swap(false, Ordering::Relaxed) { RunRequest::Report } else { RunRequest::Nothing }
        }
    }
}
