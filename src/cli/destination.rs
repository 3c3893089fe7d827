//! Where the reports of one run go: one to standard output or a file, any number of others to files of their own.

use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::bail;

use super::args::{AnalyzeArgs, FlavorName, Format};
use super::complain;
use super::output::Output;
use super::privacy::Privacy;
use crate::extract;
use crate::model::Report;
use crate::report::text::brief::Settings;
use crate::report::{html, json, jsonl, markdown, text};

/// The reports to be written, their files open.
pub(super) struct Destinations {
    wanted: Vec<(Format, Output)>,
}

impl Destinations {
    /// Opens all files before the work begins.
    ///
    /// # Errors
    /// A file that cannot be written, is one of the captures, or is named twice.
    pub fn open(args: &AnalyzeArgs) -> anyhow::Result<Destinations> {
        let mut destinations = Destinations { wanted: Vec::new() };
        let main = args.report.is_empty() || args.format.is_some() || args.output.is_some();
        let first = main.then(|| (args.format.unwrap_or(Format::Text), args.output.as_deref()));
        let more = args.report.iter().map(|(format, path)| (*format, Some(path.as_path())));
        let mut paths: Vec<&Path> = Vec::new();
        let pcapng =
            args.format == Some(Format::Pcapng) || args.report.iter().any(|(f, _)| *f == Format::Pcapng);
        if pcapng {
            super::extract::check(&args.captures)?;
        }
        let inputs: Vec<_> = args
            .captures
            .iter()
            .cloned()
            .chain(args.scope.snapshots().map(Path::to_owned))
            .chain(args.privacy.redact_key_file.clone())
            .collect();
        for (format, path) in first.into_iter().chain(more) {
            let place = path.unwrap_or(Path::new("-"));
            let opened = match paths.contains(&place) {
                true => {
                    Err(anyhow::anyhow!("two reports would go to {}: name a file for each", place.display()))
                }
                false => Output::open(path, &inputs),
            };
            paths.push(place);
            match opened.and_then(|output| fit_for(format, output)) {
                Ok(output) => destinations.wanted.push((format, output)),
                Err(error) => {
                    destinations.abandon();
                    return Err(error);
                }
            }
        }
        Ok(destinations)
    }

    /// Writes `report` to each.
    ///
    /// # Errors
    /// The first that cannot be written; the others are written all the same.
    pub fn write(self, report: &Report, args: &AnalyzeArgs, privacy: &Privacy) -> anyhow::Result<()> {
        let mut failed = Ok(());
        for (format, output) in self.wanted {
            if format == Format::Pcapng && report.findings.is_empty() {
                complain("nothing was found: there are no packets to write as pcapng");
                output.abandon();
                continue;
            }
            let look = output.look(args.color);
            let settings = if args.settings { Settings::Shown } else { Settings::Hidden };
            let markup = markdown::Options {
                flavor: args.flavor.into(),
                length: if args.full { markdown::Length::Full } else { markdown::Length::Short },
            };
            let written = output.write(|out| -> io::Result<()> {
                match format {
                    Format::Text if args.verbose => text::write(report, look, out),
                    Format::Text => text::brief::write(report, look, settings, out),
                    Format::Json => json::write(report, out),
                    Format::Jsonl => jsonl::write(report, out),
                    Format::Markdown => markdown::write(report, markup, out),
                    Format::Html => html::write(report, out),
                    Format::Pcapng => {
                        let all: Vec<_> = report.findings.iter().collect();
                        super::extract::write(
                            report,
                            &all,
                            &args.captures,
                            extract::Extent::Evidence,
                            privacy,
                            out,
                        )
                    }
                }
            });
            failed = failed.and(written);
        }
        failed
    }

    /// Standard output gets no report.
    #[cfg(all(feature = "live", target_os = "linux"))]
    pub fn leave_out_stdout(&mut self) {
        self.wanted.retain(|(_, output)| !matches!(output, Output::Stdout));
    }

    /// There is no report: removes the files that were created for it.
    pub fn abandon(self) {
        self.wanted.into_iter().for_each(|(_, output)| output.abandon());
    }
}

/// Refuses a capture on a terminal.
pub(super) fn fit_for(format: Format, output: Output) -> anyhow::Result<Output> {
    if format == Format::Pcapng && matches!(output, Output::Stdout) && io::stdout().is_terminal() {
        bail!("standard output is a terminal, and pcapng is not text. Name a file: -o evidence.pcapng");
    }
    Ok(output)
}

impl From<FlavorName> for markdown::Flavor {
    fn from(name: FlavorName) -> markdown::Flavor {
        match name {
            FlavorName::Github => markdown::Flavor::Github,
            FlavorName::Gitlab => markdown::Flavor::Gitlab,
            FlavorName::Jira => markdown::Flavor::Jira,
        }
    }
}
