//! `synscope completions`: the data with which a shell completes the command line.

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs};
use super::output::to_stdout;

/// Runs it.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "synscope", &mut script);
    to_stdout(|out| out.write_all(&script))
}
