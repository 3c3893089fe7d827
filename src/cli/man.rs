//! `synscope man`: the manual pages, from the same definitions as `--help`.

use clap::CommandFactory;

use super::args::{Cli, ManArgs};
use super::output::to_stdout;

/// Runs it.
///
/// # Errors
/// A command that there is not; standard output cannot be written.
pub fn run(args: &ManArgs) -> anyhow::Result<()> {
    let mut all = Cli::command();
    // Fills in what subcommands inherit: their whole names, the help option.
    all.build();
    let command = match &args.command {
        None => all,
        Some(name) => match all.find_subcommand(name) {
            Some(command) => command.clone().display_name(format!("synscope-{name}")),
            None => anyhow::bail!("there is no command '{name}'. `synscope --help` lists them."),
        },
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    to_stdout(|out| out.write_all(&page))
}
