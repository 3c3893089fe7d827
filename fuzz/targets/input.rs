//! Octets as a file, for code that reads files.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use tempfile::TempDir;

/// The path of a file that holds `octets` until the next call.
pub fn file_of(octets: &[u8]) -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().expect("a place for temporary files"));
    let path = folder.path().join("input");
    fs::write(&path, octets).expect("room for the input");
    path
}
