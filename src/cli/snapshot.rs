//! `synscope snapshot`: what this host knows now, as a document for `analyze --host`.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use super::args::SnapshotArgs;
use super::output::Output;
use crate::host::{HostFacts, Snapshot};

/// Runs it.
///
/// # Errors
/// No `/proc` of Linux, or an output that cannot be written.
pub fn run(args: &SnapshotArgs) -> anyhow::Result<()> {
    let output = Output::open(args.output.as_deref(), &[])?;
    let snapshot = match Snapshot::of_this_host() {
        Ok(snapshot) => snapshot,
        Err(error) => {
            output.abandon();
            return Err(error)
                .context("cannot read /proc/net/netstat: snapshots are of Linux hosts with /proc");
        }
    };
    output.write(|out| {
        serde_json::to_writer_pretty(&mut *out, &snapshot)?;
        writeln!(out)
    })
}

/// Reads the snapshots that `analyze --host` names; none if it names none.
///
/// # Errors
/// Files that cannot be read, are no snapshots, or are not of one host.
pub fn load<'a>(paths: impl Iterator<Item = &'a Path>) -> anyhow::Result<Option<HostFacts>> {
    let mut snapshots = Vec::new();
    for path in paths {
        let shown = path.display();
        let text = fs::read_to_string(path).with_context(|| {
            format!(
                "cannot read {shown}. --host takes an IP address (names are not resolved), or a file that 'synscope \
                 snapshot' wrote"
            )
        })?;
        match Snapshot::parse(&text) {
            Ok(snapshot) => snapshots.push(snapshot),
            Err(reason) => {
                bail!("{shown} is no snapshot: {reason}. Write one with 'synscope snapshot -o FILE'.")
            }
        }
    }
    if snapshots.is_empty() {
        return Ok(None);
    }
    Ok(Some(HostFacts::new(snapshots)?))
}
