//! The effect of `--redact` on a run: its key, its sources, its report.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::args::PrivacyArgs;
use super::output::complain;
use crate::capture::{self, Source, StopRequest};
use crate::engine::{self, AnalysisOptions};
use crate::model::Report;
use crate::redact::{Payload, PseudonymKey, Pseudonyms, RedactedSource, Rewriter};

/// The notice in every rendering of a redacted report.
const NOTICE: &str = "addresses in this report are pseudonyms (--redact): they keep which addresses share a network, and \
                      commands need the real ones; names of files, MAC addresses and payload were left out";

/// The environment variable with the key of a distributed run: arguments can be read by every user of a host.
#[cfg(feature = "fleet")]
const WORKER_KEY: &str = "SYNSCOPE_REDACT_KEY";

/// The privacy options of one run.
pub(super) struct Privacy {
    key: Option<PseudonymKey>,
    payload: Payload,
}

impl Privacy {
    /// Reads or makes the key, where one is needed.
    ///
    /// # Errors
    /// A key file that cannot be read, holds no key, or cannot be made.
    pub fn new(args: &PrivacyArgs) -> anyhow::Result<Privacy> {
        let key = match (&args.redact_key_file, args.redact) {
            (Some(path), _) => Some(key_in(path)?),
            (None, true) => Some(PseudonymKey::random().map_err(anyhow::Error::msg)?),
            (None, false) => None,
        };
        Ok(Privacy { key, payload: if args.keep_payload { Payload::Keep } else { Payload::Strip } })
    }

    /// The same for a stage of a distributed run: all workers have the key of the driver.
    ///
    /// # Errors
    /// No key was handed over, or its text is not a key.
    #[cfg(feature = "fleet")]
    pub fn of_worker(args: &PrivacyArgs) -> anyhow::Result<Privacy> {
        let Ok(text) = std::env::var(WORKER_KEY) else {
            if args.redact {
                bail!(
                    "--redact of a worker needs the key of all workers in {WORKER_KEY}: the driver sets it"
                );
            }
            return Privacy::new(args);
        };
        let key = PseudonymKey::parse(&text).filter(|_| args.redact);
        if key.is_none() && args.redact {
            bail!("{WORKER_KEY} holds no key: 64 hexadecimal digits were expected");
        }
        Ok(Privacy { key, payload: Payload::Strip })
    }

    /// The key in the form of a key file.
    #[cfg(feature = "fleet")]
    pub fn key_text(&self) -> String {
        self.key.as_ref().map(PseudonymKey::to_file).unwrap_or_default()
    }

    /// The rewriter for packets, if they are redacted.
    pub fn rewriter(&self) -> Option<Rewriter> {
        self.key.as_ref().map(|key| Rewriter::redacting(Pseudonyms::new(key)))
    }

    /// Whether addresses are replaced.
    pub fn redacts(&self) -> bool {
        self.key.is_some()
    }

    /// The rewriter for extracted packets.
    pub fn for_extract(&self) -> Rewriter {
        // If there is a key, the source has redacted them.
        Rewriter::new(if self.key.is_some() { Payload::Keep } else { self.payload })
    }

    /// The notice in an extract.
    pub fn notice(&self) -> &'static str {
        match (&self.key, self.payload) {
            (Some(_), _) => "Addresses are pseudonyms; payload, MAC addresses and names were left out.",
            (None, Payload::Strip) => "Payload was left out.",
            (None, Payload::Keep) => "Payload was kept.",
        }
    }

    /// Opens `inputs`, redacted if that is wanted.
    ///
    /// # Errors
    /// When not one of them can be opened.
    pub fn open(&self, inputs: &[PathBuf]) -> Result<Box<dyn Source>, engine::Error> {
        self.open_some(inputs, &vec![true; inputs.len()], &StopRequest::default())
    }

    /// The same of those that are `wanted`, place by place; the others keep their places. Pipes end soon after `stop`.
    ///
    /// # Errors
    /// When not one of them can be opened.
    pub fn open_some(
        &self,
        inputs: &[PathBuf],
        wanted: &[bool],
        stop: &StopRequest,
    ) -> Result<Box<dyn Source>, engine::Error> {
        let opened = capture::open_until(inputs, wanted, stop).map_err(|failed| {
            engine::Error::NothingReadable(failed.iter().map(ToString::to_string).collect())
        })?;
        Ok(match self.rewriter() {
            Some(rewriter) => Box::new(RedactedSource::new(opened.source, rewriter)),
            None => opened.source,
        })
    }

    /// The options for such a source: `--host` has the source's pseudonyms.
    pub fn options(&self, mut options: AnalysisOptions) -> AnalysisOptions {
        if let Some(mut rewriter) = self.rewriter() {
            options.hosts.iter_mut().for_each(|host| *host = rewriter.address(*host));
        }
        options
    }

    /// Notes in `report` that it is redacted.
    pub fn mark(&self, report: &mut Report) {
        if self.key.is_some() {
            report.warnings.insert(0, NOTICE.to_owned());
        }
    }
}

/// Whether users other than its owner and group may read the file.
#[cfg(unix)]
fn is_open_to_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
}

/// Whether users other than its owner and group may read the file. Only Unix can tell.
#[cfg(not(unix))]
fn is_open_to_all(_: &Path) -> bool {
    false
}

/// The key in the file `path`; without such a file a new one is made there that only its owner can read.
fn key_in(path: &Path) -> anyhow::Result<PseudonymKey> {
    if path.exists() {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the key file {}", path.display()))?;
        if is_open_to_all(path) {
            complain(&format!(
                "warning: everybody on this host can read the key file {0}, and whoever has the key can undo the pseudonyms. \
                 To keep it to yourself: chmod 600 {0}",
                path.display()
            ));
        }
        return match PseudonymKey::parse(&text) {
            Some(key) => Ok(key),
            None => bail!(
                "{} holds no key: 64 hexadecimal digits were expected. Remove it, and a new one is made there.",
                path.display()
            ),
        };
    }
    let key = PseudonymKey::random().map_err(anyhow::Error::msg)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(key.to_file().as_bytes()));
    written.with_context(|| format!("cannot write the key file {}", path.display()))?;
    Ok(key)
}
