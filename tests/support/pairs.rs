//! Recordings with two sides.

use std::path::{Path, PathBuf};

use super::truth::Truth;

/// A recording with both sides.
pub struct Both {
    /// The known events in it.
    pub truth: Truth,
    /// The capture nearer to the client.
    pub client: PathBuf,
    /// The one nearer to the server.
    pub server: PathBuf,
}

impl Both {
    /// The captures of `folder` that `truth` describes, if both sides were captured.
    pub fn of(folder: &Path, truth: Truth) -> Option<Both> {
        let path = |key: &str| {
            let capture = truth.captures.iter().find(|capture| capture.key == key);
            capture.map(|capture| folder.join(&capture.file))
        };
        let (client, server) = (path("client")?, path("server")?);
        Some(Both { truth, client, server })
    }

    /// The client's, then the server's.
    pub fn captures(&self) -> [PathBuf; 2] {
        [self.client.clone(), self.server.clone()]
    }
}

/// Those below `folder`, in order of their names.
pub fn recorded(folder: &Path) -> Vec<Both> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        if path.is_dir() {
            all.extend(recorded(&path));
        } else if path.to_string_lossy().ends_with("truth.json") {
            all.extend(Both::of(folder, Truth::read(&path)));
        }
    }
    all
}
