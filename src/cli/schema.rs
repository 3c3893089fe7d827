//! `synscope schema`: the JSON Schema of the JSON report, or of the events of `synscope live`.

use super::args::SchemaArgs;
use super::output::to_stdout;
use crate::live::event::LiveEvent;
use crate::report::schema;

/// Runs it.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &SchemaArgs) -> anyhow::Result<()> {
    let schema = match args.events {
        true => schema::schema_of::<LiveEvent>("urn:synscope:event:1", "synscope event, version 1"),
        false => schema::schema(),
    };
    to_stdout(|out| schema::write(&schema, out))
}
