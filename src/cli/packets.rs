//! The packets of findings, read from the captures a second time.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::bail;

use super::privacy::Privacy;
use crate::extract::{self, ExtractScope, Selection};
use crate::model::{Finding, Report};

/// Captures are read a second time, which standard input cannot be.
///
/// # Errors
/// Standard input is among them.
pub(super) fn check(captures: &[PathBuf]) -> anyhow::Result<()> {
    if captures.iter().any(|path| path == Path::new("-")) {
        bail!(
            "standard input can be read only once, and an extract needs the packets again. Save them to a file first."
        );
    }
    Ok(())
}

/// Reads the captures again and writes the packets of `chosen`.
pub(super) fn write(
    report: &Report,
    chosen: &[&Finding],
    captures: &[PathBuf],
    extent: ExtractScope,
    privacy: &Privacy,
    out: &mut dyn Write,
) -> io::Result<()> {
    let source = privacy.open(captures).map_err(io::Error::other)?;
    let order = Selection { report, chosen, extent, notice: privacy.notice() };
    extract::write(&order, source, privacy.for_extract(), out)
}
