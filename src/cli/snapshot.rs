//! `synscope snapshot`: the current facts of this host, as a document for `analyze --host`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};

use super::args::SnapshotArgs;
use super::output::Output;
use crate::host::recording::Recording;
use crate::host::{HostFacts, Snapshot};
use crate::kernel::recording::BEGINS;

/// Runs it.
///
/// # Errors
/// No `/proc` of Linux, or an output that cannot be written.
pub fn run(args: &SnapshotArgs) -> anyhow::Result<()> {
    if args.follow {
        bail!("--follow records what a Linux kernel says; this system is not Linux");
    }
    let output = Output::open(args.output.as_deref(), &[])?;
    let snapshot = match Snapshot::of_this_host() {
        Ok(snapshot) => snapshot,
        Err(error) => {
            output.abandon();
            return Err(error).context(NO_COUNTERS);
        }
    };
    output.write(|out| {
        serde_json::to_writer_pretty(&mut *out, &snapshot)?;
        writeln!(out)
    })
}

/// This system has no data for a snapshot.
pub(super) const NO_COUNTERS: &str = "cannot read /proc/net/netstat: snapshots are of Linux hosts with /proc";

/// The contents of the files of `--host`.
#[derive(Default)]
pub struct HostFiles {
    /// Facts about the host; `None` if no file was named.
    pub facts: Option<HostFacts>,
    /// Those files that hold the kernel's verdicts on single packets.
    pub recordings: Vec<Arc<Path>>,
    /// Messages about them.
    pub notes: Vec<String>,
}

/// Reads the snapshots and recordings that `analyze --host` names.
///
/// # Errors
/// Files that cannot be read, are neither, or are not of one host.
pub fn load<'a>(paths: impl Iterator<Item = &'a Path>) -> anyhow::Result<HostFiles> {
    let mut files = HostFiles::default();
    let mut snapshots = Vec::new();
    let mut queues = std::collections::BTreeMap::new();
    for path in paths {
        let shown = path.display();
        let cannot_read = || {
            format!(
                "cannot read {shown}. --host takes an IP address (names are not resolved), or a file that 'synscope \
                 snapshot' wrote"
            )
        };
        let mut input = BufReader::new(File::open(path).with_context(cannot_read)?);
        if begins_recording(&mut input).with_context(cannot_read)? {
            let recording = Recording::read(input, |line| line.starts_with(BEGINS));
            let recording = match recording {
                Ok(recording) => recording,
                Err(reason) => bail!("{shown} is a damaged recording: {reason}"),
            };
            if recording.lost > 0 {
                files.notes.push(format!(
                    "{shown}: {} of the kernel's verdicts were lost while they were recorded: more came than could be \
                     written",
                    recording.lost
                ));
            }
            queues.extend(recording.queues);
            snapshots.extend([recording.first, recording.last]);
            files.recordings.push(path.into());
            continue;
        }
        let mut text = String::new();
        input.read_to_string(&mut text).with_context(cannot_read)?;
        match Snapshot::parse(&text) {
            Ok(snapshot) => snapshots.push(snapshot),
            Err(reason) => {
                bail!("{shown} is no snapshot: {reason}. Write one with 'synscope snapshot -o FILE'.")
            }
        }
    }
    if !snapshots.is_empty() {
        files.facts = Some(HostFacts::new(snapshots)?.with_queues(queues));
    }
    Ok(files)
}

/// Whether a file is a recording. Its bytes can still be read afterwards.
fn begins_recording(input: &mut impl BufRead) -> std::io::Result<bool> {
    // A snapshot has many lines; its first line has only a brace.
    Ok(input.fill_buf()?.starts_with(Recording::BEGINS.as_bytes()))
}
