//! Bytes as a capture file, for code that reads files.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::files;
use super::stacks::Choices;

/// The file that a fuzzer's bytes stand for: below 192 in the first byte the others choose a valid capture with a field
/// broken; above, they are the file itself.
pub fn capture_of(bytes: &[u8]) -> Vec<u8> {
    match bytes {
        [0..192, choices @ ..] => files::file(&mut Choices::new(choices)),
        [_, file @ ..] => file.to_vec(),
        [] => Vec::new(),
    }
}

/// The path of a file that holds `bytes` until the next call.
pub fn file_of(bytes: &[u8]) -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().expect("a place for temporary files"));
    let path = folder.path().join("input");
    fs::write(&path, bytes).expect("room for the input");
    path
}
