//! The command line: clap definitions, one file per subcommand.

use std::process::ExitCode;

/// Runs the program.
pub fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let mut o = crate::engine::Options::default();
    let mut paths = vec![];
    let mut it = args.iter().skip(1);
    while let Some(a) = it.next() {
        match a.as_str() {
            "analyze" => {}
            "--format" | "--output" | "-o" => { it.next(); }
            "--threads" => o.threads = it.next().unwrap().parse().unwrap(),
            "--half-close-after" => o.half_close_after = crate::time::Span::secs(it.next().unwrap().trim_end_matches('s').parse().unwrap()),
            p => paths.push(p.into()),
        }
    }
    match crate::engine::analyze(&paths, &o, &mut |_| {}) {
        Ok(out) => { println!("{}", serde_json::to_string_pretty(&out.report).unwrap()); ExitCode::SUCCESS }
        Err(e) => { eprintln!("{e}"); ExitCode::from(2) }
    }
}
