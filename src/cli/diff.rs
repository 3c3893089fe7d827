//! `synscope diff`: two JSON reports compared.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, bail};

use super::args::{DiffArgs, DiffFormat};
use super::exit::{Exit, FailOnVerdict, InputDamage};
use super::output::{Output, stdout_look, to_stdout};
use crate::model::{Report, SCHEMA};
use crate::report::diff::{self, Diff};

/// Runs it.
///
/// # Errors
/// A file that cannot be read or is no report.
pub fn run(args: &DiffArgs) -> anyhow::Result<Exit> {
    // Standard output may be one of the reports.
    Output::open(None, &[args.old.clone(), args.new.clone()])?;
    let diff = Diff::of(&read(&args.old)?, &read(&args.new)?, args.at_least.into());
    let look = stdout_look(args.color);
    to_stdout(|out| match args.format {
        DiffFormat::Text => diff::write_text(&diff, look, out),
        DiffFormat::Markdown => diff::write_markdown(&diff, args.flavor.into(), out),
        DiffFormat::Json => diff::write_json(&diff, out),
    })?;
    let verdict = if diff.is_worse() { FailOnVerdict::Matched } else { FailOnVerdict::Clear };
    Ok(Exit::verdict(InputDamage::None, verdict))
}

fn read(path: &Path) -> anyhow::Result<Report> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    let report: Report = serde_json::from_reader(BufReader::new(file)).with_context(|| {
        format!("{name} is no JSON report. Make one: synscope analyze --format json CAPTURE >report.json")
    })?;
    if report.schema != SCHEMA {
        bail!("{name} is a '{}', and this program compares '{SCHEMA}'", report.schema);
    }
    Ok(report)
}
