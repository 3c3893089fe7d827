//! `synscope schema`: the JSON Schema of the JSON report.

use super::output::to_stdout;
use crate::report::schema;

/// Runs it.
///
/// # Errors
/// Standard output cannot be written.
pub fn run() -> anyhow::Result<()> {
    to_stdout(|out| schema::write(out))
}
