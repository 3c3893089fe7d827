//! Names of the files: `RING.000001.pcapng` and so on upward, `RING.INCIDENT-ID.pcapng`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The common part of the names of all files of one ring.
#[derive(Clone, Debug)]
pub(super) struct RingFileNames {
    folder: PathBuf,
    stem: String,
    extension: String,
}

/// Digits of a number, so that names sort as numbers do.
const DIGITS: usize = 6;

impl RingFileNames {
    /// From the value of `--write`: `/var/tmp/RING.pcapng`.
    ///
    /// # Errors
    /// A path without a file name.
    pub fn new(path: &Path) -> io::Result<RingFileNames> {
        let name = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let nameless = || io::Error::new(io::ErrorKind::InvalidInput, "no file name in it");
        Ok(RingFileNames {
            folder: path.parent().map(Path::to_owned).filter(|f| f != Path::new("")).unwrap_or(".".into()),
            stem: name(path.file_stem()).ok_or_else(nameless)?,
            extension: name(path.extension()).unwrap_or("pcapng".to_owned()),
        })
    }

    /// The `number`th file of the ring.
    pub fn piece(&self, number: u64) -> PathBuf {
        self.named(&format!("{number:0DIGITS$}"))
    }

    /// The file of an incident's evidence; `again` distinguishes files of the same name.
    pub fn evidence(&self, incident: &str, again: u32) -> PathBuf {
        let harmless = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
        let id: String = incident.chars().map(harmless).take(128).collect();
        self.named(&if again == 0 { id } else { format!("{id}-{}", again + 1) })
    }

    fn named(&self, middle: &str) -> PathBuf {
        self.folder.join(format!("{}.{middle}.{}", self.stem, self.extension))
    }

    /// The files of an earlier run, oldest first, with their lengths.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn earlier(&self) -> io::Result<Vec<(u64, PathBuf, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Some(number) = entry.file_name().to_str().and_then(|name| self.number(name)) else {
                continue;
            };
            if entry.file_type()?.is_file() {
                found.push((number, entry.path(), entry.metadata()?.len()));
            }
        }
        found.sort();
        Ok(found)
    }

    /// The number in the name of a file of the ring; files with other names are left alone.
    fn number(&self, name: &str) -> Option<u64> {
        let middle = name.strip_prefix(&self.stem)?.strip_prefix('.')?;
        let digits = middle.strip_suffix(&self.extension)?.strip_suffix('.')?;
        let number = digits.parse().ok()?;
        (format!("{number:0DIGITS$}") == digits).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_ring_has_named_is_its_own() {
        let names = RingFileNames::new(Path::new("/tmp/ring.pcapng")).unwrap();
        assert_eq!(names.piece(17), Path::new("/tmp/ring.000017.pcapng"));
        assert_eq!(names.number("ring.000017.pcapng"), Some(17));
        assert_eq!(names.number("ring.1000017.pcapng"), Some(1_000_017));
        for foreign in
            ["ring.17.pcapng", "ring.pcapng", "ring.000017.pcap", "ring.+00017.pcapng", "a.000017.pcapng"]
        {
            assert_eq!(names.number(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn an_incident_names_no_other_folder() {
        let names = RingFileNames::new(Path::new("ring")).unwrap();
        assert_eq!(names.evidence("../../etc/x", 0), Path::new("./ring.______etc_x.pcapng"));
        assert_eq!(names.evidence("half-close-1a2b", 1), Path::new("./ring.half-close-1a2b-2.pcapng"));
        assert!(RingFileNames::new(Path::new("/")).is_err());
    }
}
