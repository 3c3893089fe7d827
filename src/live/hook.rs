//! A program that is started when an incident opens, changes or closes: it gets the event as JSON on its standard input.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::live::event::Event;
use crate::live::incidents::ByIncident;
use crate::live::output::{Next, Output};
use crate::live::state::State;

/// Events that wait for the program to end; more are left out, and that is said.
const WAITING: usize = 64;
/// A program that takes longer is ended.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether the program has ended.
const LOOK: Duration = Duration::from_millis(20);

/// The program, and the thread that runs it, once for each event and one after the other.
pub struct Hook {
    events: Option<SyncSender<String>>,
    thread: Option<JoinHandle<()>>,
    told: ByIncident,
    left_out: u64,
    warn: fn(&str),
}

impl Hook {
    /// Gets ready to start `program`; no shell reads the name. `warn` is told what goes wrong.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn new(program: &Path, warn: fn(&str)) -> io::Result<Hook> {
        let (events, waiting) = mpsc::sync_channel::<String>(WAITING);
        let program: PathBuf = program.to_owned();
        let run = move || {
            while let Ok(event) = waiting.recv() {
                if let Err(error) = start(&program, &event) {
                    warn(&format!("--on-incident {}: {error}", program.display()));
                }
            }
        };
        let thread = thread::Builder::new().name("on-incident".to_owned()).spawn(run)?;
        Ok(Hook {
            events: Some(events),
            thread: Some(thread),
            told: ByIncident::default(),
            left_out: 0,
            warn,
        })
    }

    fn send(&mut self, event: &Event) {
        let Ok(text) = serde_json::to_string(event) else { return };
        match self.events.as_ref().map(|events| events.try_send(text + "\n")) {
            Some(Err(TrySendError::Full(_))) => {
                self.left_out += 1;
                if self.left_out == 1 {
                    (self.warn)("--on-incident: the program is too slow, and events are left out");
                }
            }
            Some(Ok(())) => self.left_out = 0,
            _ => {}
        }
    }
}

impl Output for Hook {
    fn tick(&mut self, _: &State, events: &[Event]) -> io::Result<Next> {
        for event in events {
            let is_about_one = matches!(
                event,
                Event::Opened { .. }
                    | Event::Updated { .. }
                    | Event::Withdrawn { .. }
                    | Event::Changed { .. }
                    | Event::Closed { .. }
            );
            if self.told.is_news(event) && is_about_one {
                self.send(event);
            }
        }
        Ok(Next::Go)
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        // What waits is still told.
        drop(self.events.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts the program with `event` on its standard input, and waits for its end.
fn start(program: &Path, event: &str) -> io::Result<()> {
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A program that does not want to know is not wrong.
        let _ = input.write_all(event.as_bytes());
    }
    wait(&mut child)
}

fn wait(child: &mut Child) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(io::Error::other(format!("it ended with {status}"))),
            None if Instant::now() > until => {
                child.kill()?;
                child.wait()?;
                return Err(io::Error::other(format!(
                    "it took longer than {} s and was ended",
                    PATIENCE.as_secs()
                )));
            }
            None => thread::sleep(LOOK),
        }
    }
}

#[cfg(all(test, feature = "live"))]
mod tests {
    use super::*;
    use crate::live::samples;

    #[test]
    #[cfg(unix)]
    fn the_program_gets_the_event_and_no_shell_reads_its_name() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (program, out) = (folder.path().join("a name; with $(things)"), folder.path().join("out"));
        std::fs::write(&program, format!("#!/bin/sh\nexec cat >>{}\n", out.display())).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let state = samples::overflow();
        let incident = Box::new(state.incidents[0].incident.clone());
        let closed = Event::Closed { at: state.at.to_string(), incident };
        let mut hook = Hook::new(&program, |text| panic!("{text}")).unwrap();
        hook.tick(
            &state,
            &[closed.clone(), Event::Warning { at: state.at.to_string(), text: "no".to_owned() }],
        )
        .unwrap();
        drop(hook);
        let lines = std::fs::read_to_string(&out).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&lines).unwrap(), closed, "{lines}");
    }
}
