//! Where the reports of one run go: one to standard output or a file, any number of others to files of their own.

use std::io::{self, IsTerminal};
use std::path::Path;

#[cfg(feature = "fleet")]
use anyhow::Context;
use anyhow::bail;

use super::args::{AnalyzeArgs, FlavorName};
use super::output::{Output, complain};
use super::packets;
use super::privacy::Privacy;
use super::value::Format;
#[cfg(feature = "fleet")]
use crate::engine::Analysis;
use crate::extract;
use crate::model::Report;
use crate::report::text::brief::SettingsSection;
use crate::report::{html, json, jsonl, markdown, text};
#[cfg(feature = "fleet")]
use crate::table::{TableFolder, findings};

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
            packets::check(&args.scope.inputs(&args.captures))?;
        }
        let inputs: Vec<_> = args
            .scope
            .inputs(&args.captures)
            .into_iter()
            .chain(args.scope.snapshots().map(Path::to_owned))
            .chain(args.privacy.redact_key_file.clone())
            .collect();
        for (format, path) in first.into_iter().chain(more) {
            #[cfg(feature = "fleet")]
            if format == Format::Parquet {
                // Its files are written one by one, while connections end.
                if let Err(error) = make_folder(path) {
                    destinations.abandon();
                    return Err(error);
                }
                continue;
            }
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
            let settings = if args.settings { SettingsSection::Shown } else { SettingsSection::Hidden };
            let markup = markdown::MarkdownOptions {
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
                    #[cfg(feature = "fleet")]
                    Format::Parquet => Ok(()),
                    Format::Pcapng => {
                        let all: Vec<_> = report.findings.iter().collect();
                        let captures = args.scope.inputs(&args.captures);
                        packets::write(report, &all, &captures, extract::ExtractScope::Evidence, privacy, out)
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

/// Makes the folder of the tables.
#[cfg(feature = "fleet")]
fn make_folder(path: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = path.filter(|path| *path != Path::new("-")) else {
        bail!("parquet is written into a folder: --report parquet=DIR");
    };
    std::fs::create_dir_all(path).with_context(|| format!("cannot make the folder {}", path.display()))
}

/// The folder of the tables, if they are wanted.
#[cfg(feature = "fleet")]
pub(super) fn table_folder(args: &AnalyzeArgs, point: &str) -> Option<TableFolder> {
    let output = args.output.as_ref().filter(|_| args.format == Some(Format::Parquet));
    let named = args.report.iter().filter(|(format, _)| *format == Format::Parquet).map(|(_, path)| path);
    let path = output.into_iter().chain(named).next()?.clone();
    Some(TableFolder { path, point: point.to_owned() })
}

/// Writes the table of findings, if it is wanted.
///
/// # Errors
/// It cannot be written, or that of the connections could not.
#[cfg(feature = "fleet")]
pub(super) fn write_findings(outcome: &Analysis, args: &AnalyzeArgs, point: &str) -> anyhow::Result<()> {
    let Some(folder) = table_folder(args, point) else { return Ok(()) };
    if let Some(failed) = &outcome.table_failed {
        bail!("{failed}");
    }
    findings::write(&folder, &outcome.report, &outcome.connections).map_err(anyhow::Error::msg)
}
