//! The command line: clap definitions, one file per subcommand.

pub mod analyze;
pub mod args;
pub mod completions;
mod destination;
pub mod diff;
pub mod exit;
pub mod explain;
pub mod extract;
#[cfg(target_os = "linux")]
mod follow;
pub mod live;
pub mod man;
pub mod output;
mod packets;
mod privacy;
mod progress;
pub mod schema;
mod signals;
pub mod snapshot;
pub mod value;
#[cfg(feature = "fleet")]
pub mod worker;

use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use self::args::{Cli, Command};
use self::exit::Exit;
use self::output::complain;
use crate::fault;

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refused) => return usage(&refused).into(),
    };
    let done = fault::contain(|| run(cli.command));
    done.unwrap_or_else(|fault| Err(anyhow::Error::msg(fault.told())))
        .unwrap_or_else(|error| {
            complain(&format!("{error:#}"));
            Exit::Unusable
        })
        .into()
}

fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Analyze(args) => analyze::run(&args),
        Command::Live(args) => live::run(&args),
        #[cfg(target_os = "linux")]
        Command::Snapshot(args) if args.follow => follow::run(&args).map(|()| Exit::Done),
        Command::Snapshot(args) => snapshot::run(&args).map(|()| Exit::Done),
        Command::Extract(args) => extract::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Explain(args) => explain::run(&args).map(|()| Exit::Done),
        Command::Schema(args) => schema::run(&args).map(|()| Exit::Done),
        Command::Completions(args) => completions::run(&args).map(|()| Exit::Done),
        Command::Man(args) => man::run(&args).map(|()| Exit::Done),
        #[cfg(feature = "fleet")]
        Command::Worker(args) => worker::run(&args),
    }
}

/// Prints help and version on standard output, a refused command line on standard error.
fn usage(refused: &clap::Error) -> Exit {
    if refused.use_stderr() {
        let text = refused.render().to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
        complain(&advice(refused).unwrap_or_else(|| text.to_owned()));
        Exit::Unusable
    } else {
        // A reader who closed the pipe has seen enough of the help.
        let _ = refused.print();
        Exit::Done
    }
}

/// The user's likely intention, which an option parser cannot know.
fn advice(refused: &clap::Error) -> Option<String> {
    let context = |kind| match refused.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match refused.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = context(ContextKind::InvalidSubcommand)?;
            let is_file = word == "-" || word.contains(['.', '/']) || std::path::Path::new(word).is_file();
            is_file
                .then(|| format!("'{word}' is no command. To analyze a capture:\n  synscope analyze {word}"))
        }
        ErrorKind::InvalidValue if context(ContextKind::InvalidArg)?.starts_with("--format") => {
            let value = context(ContextKind::InvalidValue)?;
            let is_filter = value.contains(' ') || ["tcp", "port", "host", "net"].contains(&value);
            is_filter.then(|| {
                format!(
                    "-f is --format, and '{value}' looks like a capture filter. Write: --filter '{value}'"
                )
            })
        }
        _ => None,
    }
}
