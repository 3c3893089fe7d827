//! `synscope man`: the manual pages, from the same definitions as `--help`.

use clap::CommandFactory;
use clap::builder::Resettable;

use super::args::{Cli, EXAMPLES, EXIT_CODES, ManArgs};
use super::output::to_stdout;

/// Runs it.
///
/// # Errors
/// An unknown command; standard output cannot be written.
pub fn run(args: &ManArgs) -> anyhow::Result<()> {
    let mut all = Cli::command();
    // Fills in the properties that subcommands inherit: their full names, the help option.
    all.build();
    let mut page = Vec::new();
    match &args.command {
        None => {
            // A section that is filled would run the examples together: they follow as they are.
            clap_mangen::Man::new(all.after_help(Resettable::Reset)).render(&mut page)?;
            page.extend_from_slice(verbatim("EXAMPLES", EXAMPLES).as_bytes());
            page.extend_from_slice(verbatim("EXIT STATUS", EXIT_CODES).as_bytes());
        }
        Some(name) => match all.find_subcommand(name) {
            Some(command) => {
                let command = command.clone().display_name(format!("synscope-{name}"));
                clap_mangen::Man::new(command).render(&mut page)?;
            }
            None => anyhow::bail!("there is no command '{name}'. `synscope --help` lists them."),
        },
    }
    to_stdout(|out| out.write_all(&page))
}

/// A section whose lines stay as they are.
fn verbatim(title: &str, text: &str) -> String {
    let mut section = format!(".SH \"{title}\"\n.nf\n");
    for line in text.lines() {
        let line = line.strip_prefix("  ").unwrap_or(line);
        // Escapes the characters that roff takes for a request, an escape or a hyphen.
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        section.push_str(&format!("{guard}{line}\n"));
    }
    section + ".fi\n"
}
