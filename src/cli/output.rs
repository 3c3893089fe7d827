//! Outputs of results: standard output or a file, its width, and whether it has colours.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::args::ColorWhen;
use crate::fault;
use crate::report::terminal::sanitize;
use crate::report::terminal::{Color, Look, PIPE_WIDTH};

/// Writes `message` on standard error behind the program's name; further lines are indented.
///
/// It may quote paths and captures: control characters are escaped.
pub(crate) fn complain(message: &str) {
    let lines: Vec<_> = message.lines().map(sanitize).collect();
    // If standard error is closed, nobody reads it.
    let _ = writeln!(io::stderr(), "synscope: {}", lines.join("\n"));
}

/// Where a result goes.
#[derive(Debug)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// A file, open for writing.
    File {
        /// Its path, for messages.
        path: PathBuf,
        /// Opened, not yet changed.
        file: File,
        /// Whether this program created it, and removes it when there is no result.
        origin: OutputOrigin,
    },
}

/// Whether an output file was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputOrigin {
    /// It existed: without a result it stays as it is.
    Existing,
    /// It was not.
    Created,
}

impl Output {
    /// Opens `path` (`None` and `-` are standard output) before the work begins. An existing file keeps its content
    /// until the result is there.
    ///
    /// # Errors
    /// The file cannot be written, or is one of the `inputs`.
    pub fn open(path: Option<&Path>, inputs: &[PathBuf]) -> anyhow::Result<Output> {
        let place = path.unwrap_or(Path::new("-"));
        if let Some(input) = inputs.iter().find(|input| same_file(&read_from(input), &written_to(place))) {
            bail!(
                "{} is one of the files that are read ({}): the result would overwrite it. Name another file after --output.",
                if place == Path::new("-") { "standard output".into() } else { place.display().to_string() },
                if *input == Path::new("-") { "standard input".into() } else { input.display().to_string() }
            );
        }
        let Some(path) = path.filter(|path| *path != Path::new("-")) else { return Ok(Output::Stdout) };
        let created = OpenOptions::new().write(true).create_new(true).open(path);
        let (file, origin) = match created {
            Ok(file) => (file, OutputOrigin::Created),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = OpenOptions::new().write(true).open(path);
                (file.with_context(|| cannot_write(path))?, OutputOrigin::Existing)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().unwrap_or(Path::new("/"));
                bail!("{}: there is no folder {}", cannot_write(path), folder.display());
            }
            Err(error) => return Err(error).with_context(|| cannot_write(path)),
        };
        Ok(Output::File { path: path.to_owned(), file, origin })
    }

    /// How text looks there.
    pub fn look(&self, when: ColorWhen) -> Look {
        match self {
            Output::Stdout => stdout_look(when),
            // A file is no terminal: colours only on demand.
            Output::File { .. } => Look {
                width: PIPE_WIDTH,
                color: if when == ColorWhen::Always { Color::Ansi } else { Color::Off },
            },
        }
    }

    /// Writes the result.
    ///
    /// # Errors
    /// The file's error. A reader of standard output who has closed the pipe is no error.
    pub fn write(self, render: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
        match self {
            Output::Stdout => to_stdout(contained(render)),
            Output::File { path, file, .. } => {
                let render = contained(render);
                let written = || -> io::Result<()> {
                    // Devices and pipes have no length to set.
                    if file.metadata()?.is_file() {
                        file.set_len(0)?;
                    }
                    let mut out = BufWriter::new(&file);
                    render(&mut out)?;
                    out.flush()
                };
                reader_may_leave(written()).with_context(|| cannot_write(&path))
            }
        }
    }

    /// There is no result: removes the file if it was created for it.
    pub fn abandon(self) {
        if let Output::File { path, origin: OutputOrigin::Created, .. } = self {
            // It is empty; if it stays, nothing is lost.
            let _ = fs::remove_file(path);
        }
    }
}

/// Calls `render`, and turns its faults into errors: other results are still written.
fn contained(
    render: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> impl FnOnce(&mut dyn Write) -> io::Result<()> {
    |out| fault::contain(|| render(out)).unwrap_or_else(|fault| Err(io::Error::other(fault.told())))
}

/// Writes to standard output.
///
/// # Errors
/// A full disk or a similar error; a reader who has closed the pipe is no error.
pub fn to_stdout(render: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
    let written = || {
        let mut out = BufWriter::new(io::stdout().lock());
        render(&mut out)?;
        out.flush()
    };
    reader_may_leave(written()).context("cannot write to standard output")
}

/// How text looks on standard output.
pub fn stdout_look(when: ColorWhen) -> Look {
    let stdout = io::stdout();
    let width = match terminal_size::terminal_size_of(&stdout) {
        Some((terminal_size::Width(width), _)) if stdout.is_terminal() && width > 0 => usize::from(width),
        _ => PIPE_WIDTH,
    };
    let color = match when {
        ColorWhen::Always => Color::Ansi,
        ColorWhen::Never => Color::Off,
        ColorWhen::Auto => match anstream::AutoStream::choice(&stdout) {
            anstream::ColorChoice::Never => Color::Off,
            _ => Color::Ansi,
        },
    };
    Look { width, color }
}

/// `head` and pagers close the pipe when they have enough.
fn reader_may_leave(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write to {}", path.display())
}

/// A file that is read: for `-` the one that standard input comes from.
#[cfg(unix)]
fn read_from(path: &Path) -> io::Result<fs::Metadata> {
    use std::os::fd::AsFd;
    if path == Path::new("-") { metadata_of(io::stdin().as_fd()) } else { fs::metadata(path) }
}

/// A file that is written: for `-` the one that standard output goes to.
#[cfg(unix)]
fn written_to(path: &Path) -> io::Result<fs::Metadata> {
    use std::os::fd::AsFd;
    if path == Path::new("-") { metadata_of(io::stdout().as_fd()) } else { fs::metadata(path) }
}

#[cfg(unix)]
fn metadata_of(stream: std::os::fd::BorrowedFd<'_>) -> io::Result<fs::Metadata> {
    File::from(stream.try_clone_to_owned()?).metadata()
}

/// Whether both are one file, through links too.
#[cfg(unix)]
fn same_file(a: &io::Result<fs::Metadata>, b: &io::Result<fs::Metadata>) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (a, b) {
        // Writing to a terminal or to /dev/null while reading from it harms nothing.
        (Ok(a), Ok(b)) => a.is_file() && (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// A file that is read.
#[cfg(not(unix))]
fn read_from(path: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(path)
}

/// A file that is written.
#[cfg(not(unix))]
fn written_to(path: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(path)
}

/// Whether both paths lead to one file, through links too.
#[cfg(not(unix))]
fn same_file(a: &io::Result<PathBuf>, b: &io::Result<PathBuf>) -> bool {
    matches!((a, b), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_file_keeps_its_content_until_the_result_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.txt");
        fs::write(&path, "a long report of yesterday").unwrap();
        let output = Output::open(Some(&path), &[]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a long report of yesterday");
        output.write(|out| out.write_all(b"today")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "today");
    }

    #[test]
    fn a_report_at_which_the_program_fails_is_an_error_that_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.txt");
        let failed =
            Output::open(Some(&path), &[]).unwrap().write(|_| panic!("a renderer that a test makes fail"));
        let said = format!("{:#}", failed.unwrap_err());
        assert!(said.contains("report.txt: this program failed (at src/cli/output.rs:"), "{said}");
    }

    #[test]
    fn without_a_result_only_a_created_file_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        fs::write(&old, "kept").unwrap();
        Output::open(Some(&old), &[]).unwrap().abandon();
        assert_eq!(fs::read_to_string(&old).unwrap(), "kept");
        let output = Output::open(Some(&new), &[]).unwrap();
        assert!(new.exists(), "the file must be there before the work begins");
        output.abandon();
        assert!(!new.exists());
    }

    #[test]
    fn an_input_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("a.pcap");
        fs::write(&input, "capture").unwrap();
        let roundabout = dir.path().join(".").join("a.pcap");
        let error = Output::open(Some(&roundabout), std::slice::from_ref(&input)).unwrap_err().to_string();
        assert!(error.contains("is one of the files that are read"), "{error}");
        #[cfg(unix)]
        {
            let link = dir.path().join("link");
            std::os::unix::fs::symlink(&input, &link).unwrap();
            Output::open(Some(&link), std::slice::from_ref(&input)).unwrap_err();
        }
        assert_eq!(fs::read_to_string(&input).unwrap(), "capture");
    }
}
