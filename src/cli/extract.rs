//! `synscope extract`: the packets of findings as a small capture.

use std::path::Path;

use anyhow::bail;

use super::analyze;
use super::args::ExtractArgs;
use super::destination::fit_for;
use super::exit::{Exit, FailOnVerdict, InputDamage};
use super::output::{Output, complain};
use super::packets;
use super::privacy::Privacy;
use super::progress::ProgressLine;
use super::value::Format;
use crate::engine::Analysis;
use crate::extract::ExtractScope;
use crate::model::{Finding, Report};
use crate::report::terminal::counted;

/// Runs it.
///
/// # Errors
/// No input that can be read, ids that no finding has, an output that cannot be written.
pub fn run(args: &ExtractArgs) -> anyhow::Result<Exit> {
    let captures = args.scope.inputs(&args.captures);
    analyze::check(&captures, &args.scope, &args.privacy)?;
    packets::check(&captures)?;
    let privacy = Privacy::new(&args.privacy)?;
    let read = captures.iter().cloned().chain(args.scope.snapshots().map(Path::to_owned));
    let read: Vec<_> = read.chain(args.privacy.redact_key_file.clone()).collect();
    let output = fit_for(Format::Pcapng, Output::open(Some(&args.output), &read)?)?;
    let progress = if args.quiet { ProgressLine::silent() } else { ProgressLine::on_terminal() };
    let outcome = match analyze::examine(&captures, &args.scope, args.scope.options(), &privacy, progress) {
        Ok(outcome) => outcome,
        Err(failed) => {
            output.abandon();
            return failed.told();
        }
    };
    outcome.damage.iter().for_each(|damage| complain(damage));
    let chosen = match choose(&outcome.report, args) {
        Ok(chosen) => chosen,
        Err(error) => {
            output.abandon();
            return Err(error);
        }
    };
    if chosen.is_empty() {
        output.abandon();
        complain(&nothing(&outcome.report, args));
        return Ok(Exit::verdict(damage(&outcome), FailOnVerdict::Clear));
    }
    let extent = match (args.whole, args.listener) {
        (_, true) => ExtractScope::Listeners,
        (true, false) => ExtractScope::Connections,
        (false, false) => ExtractScope::Evidence,
    };
    output.write(|out| packets::write(&outcome.report, &chosen, &captures, extent, &privacy, out))?;
    Ok(Exit::verdict(damage(&outcome), FailOnVerdict::Clear))
}

fn damage(outcome: &Analysis) -> InputDamage {
    if outcome.damage.is_empty() { InputDamage::None } else { InputDamage::Some }
}

/// Why there is nothing to extract, with the request.
fn nothing(report: &Report, args: &ExtractArgs) -> String {
    let looked_at = counted(report.summary.connections, "TCP connection");
    let filters = report.filtered.as_ref().map(|filtered| format!(" with {}", filtered.typed()));
    let filters = filters.unwrap_or_default();
    let found = match report.findings.len() as u64 {
        0 => format!("nothing was found in {looked_at}{filters}"),
        n => {
            let kinds: Vec<&str> = args.kind.iter().map(|kind| kind.name()).collect();
            format!("none of {} in {looked_at}{filters} is {}", counted(n, "finding"), kinds.join(" or "))
        }
    };
    format!("{found}: nothing to extract, and {} was not written", args.output.display())
}

/// The findings that were asked for.
fn choose<'r>(report: &'r Report, args: &ExtractArgs) -> anyhow::Result<Vec<&'r Finding>> {
    let mut ids: Vec<&str> = args.id.iter().map(String::as_str).collect();
    for id in &args.id {
        let incident = report.incidents.iter().find(|incident| incident.id == *id);
        if let Some(incident) = incident {
            ids.extend(incident.findings.iter().map(String::as_str));
        } else if !report.findings.iter().any(|finding| finding.id == *id) {
            bail!("no finding or incident has the id '{id}' here. The JSON report lists them all.");
        }
    }
    let chosen = report.findings.iter().filter(|finding| {
        (ids.is_empty() || ids.contains(&finding.id.as_str()))
            && (args.kind.is_empty() || args.kind.contains(&finding.kind))
    });
    Ok(chosen.collect())
}
