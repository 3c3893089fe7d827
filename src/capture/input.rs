//! One input: opens it, recognises its format, and says why it cannot be read.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::sync::Arc;

use super::compress::Compression;
use super::read_at::OffsetFile;
use super::reader::{Reader, RecogniseError};
use super::stop::{StopRequest, StoppablePipe};
use super::stream::InputStream;

/// The most inputs that one stream may have: a [`PacketId`](crate::decode::segment::PacketId) has 16 bits for them.
pub const MOST_INPUTS: usize = 65_535;

/// Why an input cannot be analyzed at all. Each message begins with the input's name and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No input was named.
    #[error("no capture named; name a file, or - for standard input")]
    NoInput,
    /// More inputs than `MOST_INPUTS`.
    #[error("{0} captures are too many at once, at most {most} can be; merge some with mergecap first", most = MOST_INPUTS)]
    TooMany(usize),
    /// `-` was named before.
    #[error("-: standard input can be read once only; name it once")]
    StandardInputTwice,
    /// Standard input is a keyboard.
    #[error("-: standard input is a terminal; pipe a capture into it: tcpdump -U -w - | synscope analyze -")]
    Terminal,
    /// There is no such file.
    #[error("{path}: no such file; check the name (relative names start at {directory})")]
    Missing {
        /// As given.
        path: String,
        /// The working directory.
        directory: String,
    },
    /// The file may not be read.
    #[error(
        "{path}: permission denied; make it readable for this user (chmod, chown) or run synscope as its owner"
    )]
    Denied {
        /// As given.
        path: String,
    },
    /// It is a directory.
    #[error("{path}: is a directory; name the captures in it: {path}/*.pcap*")]
    Directory {
        /// As given, without a slash at the end.
        path: String,
    },
    /// It is empty.
    #[error(
        "{path}: empty (0 bytes); expected a capture, which has a file header even without packets. {remedy}"
    )]
    Empty {
        /// As given.
        path: String,
        /// What to look at.
        remedy: &'static str,
    },
    /// It has another content.
    #[error(
        "{path}: not a capture: it starts with {start}; expected pcap, pcapng, or one of these compressed with gzip, zstd, lz4 or xz"
    )]
    NotACapture {
        /// As given.
        path: String,
        /// Its first bytes in hexadecimal, and a guess at their format.
        start: String,
    },
    /// It starts as a capture, but its header is damaged or of an unknown version.
    #[error("{path}: {wrong}")]
    Header {
        /// As given.
        path: String,
        /// The bytes found, and the expected ones.
        wrong: String,
    },
    /// It is compressed, and none of it can be decompressed.
    #[error(
        "{path}: the {compression} data is damaged or cut off at its start: {error}; to check the file: {compression} -t"
    )]
    Compressed {
        /// As given.
        path: String,
        /// The name of the program that decompresses it.
        compression: &'static str,
        /// What the decoder says.
        error: io::Error,
    },
    /// The system cannot open or read it.
    #[error("{path}: cannot be read: {error}")]
    Failed {
        /// As given.
        path: String,
        /// What the system says.
        error: io::Error,
    },
}

/// Opens one input and recognises its format. `place` is its place among the inputs.
pub(super) fn open_one(path: &Path, place: u16, stop: &StopRequest) -> Result<Reader, OpenError> {
    let name = path.display().to_string();
    if is_standard_input(path) {
        let input = io::stdin();
        if input.is_terminal() {
            return Err(OpenError::Terminal);
        }
        if let Some((file, origin, size)) = redirected(&input) {
            return divided("standard input", place, file, origin, size);
        }
        return recognise("standard input", place, leavable(&input, stop), None);
    }
    let file = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = file.map_err(|error| refused(&name, error))?;
    if metadata.is_dir() {
        return Err(OpenError::Directory { path: name.trim_end_matches('/').to_owned() });
    }
    if !metadata.is_file() {
        return recognise(&name, place, Box::new(StoppablePipe::new(file, stop)), None);
    }
    divided(&name, place, file, 0, metadata.len())
}

/// Standard input as a pipe whose reading can be stopped.
#[cfg(unix)]
fn leavable(input: &io::Stdin, stop: &StopRequest) -> Box<dyn Read + Send> {
    use std::os::fd::AsFd;
    match input.as_fd().try_clone_to_owned() {
        Ok(pipe) => Box::new(StoppablePipe::new(File::from(pipe), stop)),
        Err(_) => Box::new(io::stdin()),
    }
}

#[cfg(not(unix))]
fn leavable(_: &io::Stdin, _: &StopRequest) -> Box<dyn Read + Send> {
    Box::new(io::stdin())
}

/// A reader of `size` bytes of `file` from `origin` on, which is where the file stands.
fn divided(name: &str, place: u16, file: File, origin: u64, size: u64) -> Result<Reader, OpenError> {
    let file = Arc::new(file);
    let mut reader = recognise(name, place, Box::new(Arc::clone(&file)), Some(size))?;
    reader.divide(Arc::new(OffsetFile { file, origin }));
    Ok(reader)
}

/// Standard input, if it is a file: from its current place, and how many bytes there are.
#[cfg(unix)]
fn redirected(input: &io::Stdin) -> Option<(File, u64, u64)> {
    use std::io::Seek;
    use std::os::fd::AsFd;
    let mut file = File::from(input.as_fd().try_clone_to_owned().ok()?);
    let size = file.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
    let origin = file.stream_position().ok()?;
    Some((file, origin, size.checked_sub(origin)?))
}

#[cfg(not(unix))]
fn redirected(_: &io::Stdin) -> Option<(File, u64, u64)> {
    None
}

fn refused(name: &str, error: io::Error) -> OpenError {
    let path = name.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => {
            let directory =
                std::env::current_dir().map_or_else(|_| ".".to_owned(), |dir| dir.display().to_string());
            OpenError::Missing { path, directory }
        }
        io::ErrorKind::PermissionDenied => OpenError::Denied { path },
        io::ErrorKind::IsADirectory => OpenError::Directory { path: name.trim_end_matches('/').to_owned() },
        _ => OpenError::Failed { path, error },
    }
}

/// Makes a reader of `bytes`; `size` is their number as stored, where it is known.
pub(super) fn recognise(
    name: &str,
    place: u16,
    bytes: Box<dyn Read + Send>,
    size: Option<u64>,
) -> Result<Reader, OpenError> {
    let path = name.to_owned();
    let stream = match InputStream::new(bytes, size) {
        Ok(stream) => stream,
        Err(error) => return Err(OpenError::Failed { path, error }),
    };
    let compression = stream.compression;
    Reader::new(name, place, stream).map_err(|not_read| match not_read {
        RecogniseError::Empty => {
            let remedy = match (compression, size) {
                (Some(_), _) => "The compressed content is empty: check the program that wrote it.",
                (None, None) => {
                    "Check that the program that writes it has started: its errors are on its standard error."
                }
                (None, Some(_)) => "Check that the capture has started and that the disk was not full.",
            };
            OpenError::Empty { path, remedy }
        }
        RecogniseError::Unknown(head) => OpenError::NotACapture { path, start: start(&head, compression) },
        RecogniseError::Header(wrong) => OpenError::Header { path, wrong },
        RecogniseError::Failed(error) if error.kind() == io::ErrorKind::Unsupported => {
            OpenError::Header { path, wrong: error.to_string() }
        }
        RecogniseError::Failed(error) => match compression {
            Some(compression) => OpenError::Compressed { path, compression: compression.name(), error },
            None => OpenError::Failed { path, error },
        },
    })
}

/// The first bytes in hexadecimal, and a guess at their format.
fn start(head: &[u8], compression: Option<Compression>) -> String {
    let bytes: Vec<String> = head.iter().take(4).map(|byte| format!("{byte:02X}")).collect();
    let within = compression
        .map_or_else(String::new, |compression| format!(" inside the {} data", compression.name()));
    format!("{}{within}{}", bytes.join(" "), guess(head))
}

/// A guess at what the file is, in parentheses, with the way to make a capture of it if there is one.
fn guess(head: &[u8]) -> &'static str {
    match head {
        [b'%', b'P', b'D', b'F', ..] => " (a PDF?)",
        [b'P', b'K', 3 | 5, 4 | 6, ..] => " (a ZIP archive? unpack it: unzip)",
        [b'B', b'Z', b'h', ..] => " (bzip2? decompress it: bunzip2)",
        [b'7', b'z', 0xbc, 0xaf, ..] => " (a 7-Zip archive? unpack it: 7z x)",
        [0x02, 0x21, 0x4c, 0x18, ..] => " (the legacy lz4 format? decompress it: lz4 -d)",
        [0x1f, 0x9d, ..] => " (compress? decompress it: uncompress)",
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] | [0xfd, b'7', b'z', b'X', ..] => {
            " (compressed twice? decompress it once)"
        }
        [b's', b'n', b'o', b'o', b'p', 0, ..] => " (a snoop capture? convert it: editcap -F pcapng)",
        [b'G', b'M', b'B', b'U', ..] | [b'R', b'T', b'S', b'S', ..] => {
            " (a Microsoft Network Monitor capture? convert it: editcap -F pcapng)"
        }
        [0x7f, b'E', b'L', b'F', ..] => " (a program?)",
        [b'{' | b'[', ..] => " (JSON?)",
        [b'<', ..] => " (HTML or XML?)",
        _ if head.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~')) => {
            " (text? tcpdump writes captures with -w only)"
        }
        _ if head.iter().all(|byte| *byte == 0) => " (zeros: room allotted but never written?)",
        _ => "",
    }
}

pub(super) fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}
