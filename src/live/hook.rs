//! A program that is started when an incident opens, changes or closes: it gets the event as JSON on its standard input.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::live::event::LiveEvent;
use crate::live::incidents::ByIncident;
use crate::live::output::{Next, Output};
use crate::live::state::WatchState;
use crate::report::terminal::counted;

/// Events that wait for the program to end; further ones are left out, and a warning says how many.
const WAITING: usize = 64;
/// A program that takes longer is ended.
const PATIENCE: Duration = Duration::from_secs(30);
/// When the watch ends, the program has this long for all events that wait: the report must not wait for it.
const AT_THE_END: Duration = Duration::from_secs(3);
/// How often it is looked whether the program has ended.
const LOOK: Duration = Duration::from_millis(20);

/// The program, and the thread that runs it, once for each event and one after the other.
pub struct IncidentHook {
    events: Option<SyncSender<String>>,
    thread: Option<JoinHandle<()>>,
    /// How long the program may still run once the watch ends.
    end: Arc<OnceLock<Instant>>,
    told: ByIncident,
    left_out: u64,
    warn: fn(&str),
}

impl IncidentHook {
    /// Prepares to start `program`; no shell reads the name. `warn` gets a message when something goes wrong.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn new(program: &Path, warn: fn(&str)) -> io::Result<IncidentHook> {
        let (events, waiting) = mpsc::sync_channel::<String>(WAITING);
        let program: PathBuf = program.to_owned();
        let end: Arc<OnceLock<Instant>> = Arc::default();
        let until = Arc::clone(&end);
        let run = move || {
            let mut left_out = 0_u64;
            while let Ok(event) = waiting.recv() {
                if until.get().is_some_and(|until| Instant::now() >= *until) {
                    left_out += 1;
                } else if let Err(error) = start(&program, event, &until) {
                    warn(&format!("--on-incident {}: {error}", program.display()));
                }
            }
            if left_out > 0 {
                warn(&format!(
                    "--on-incident: the watch ended before {} could be passed on",
                    counted(left_out, "event")
                ));
            }
        };
        let thread = thread::Builder::new().name("on-incident".to_owned()).spawn(run)?;
        Ok(IncidentHook {
            events: Some(events),
            thread: Some(thread),
            end,
            told: ByIncident::default(),
            left_out: 0,
            warn,
        })
    }

    fn send(&mut self, event: &LiveEvent) {
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

impl Output for IncidentHook {
    fn tick(&mut self, _: &WatchState, events: &[LiveEvent]) -> io::Result<Next> {
        for event in events {
            let is_about_one = matches!(
                event,
                LiveEvent::Opened { .. }
                    | LiveEvent::Updated { .. }
                    | LiveEvent::Withdrawn { .. }
                    | LiveEvent::Changed { .. }
                    | LiveEvent::Closed { .. }
            );
            if self.told.is_news(event) && is_about_one {
                self.send(event);
            }
        }
        Ok(Next::Go)
    }
}

impl Drop for IncidentHook {
    fn drop(&mut self) {
        // Events that wait are still passed on, if that does not take long.
        let _ = self.end.set(Instant::now() + AT_THE_END);
        drop(self.events.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts the program with `event` on its standard input, and waits for its end.
fn start(program: &Path, event: String, end: &OnceLock<Instant>) -> io::Result<()> {
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A program may ignore its input. One that hangs without reading must not hold up the watch.
        thread::Builder::new().spawn(move || input.write_all(event.as_bytes()))?;
    }
    wait(&mut child, end)
}

fn wait(child: &mut Child, end: &OnceLock<Instant>) -> io::Result<()> {
    let begun = Instant::now();
    loop {
        let until = (begun + PATIENCE).min(end.get().copied().unwrap_or(begun + PATIENCE));
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(io::Error::other(format!("it ended with {status}"))),
            None if Instant::now() > until => {
                child.kill()?;
                child.wait()?;
                let took = begun.elapsed().as_secs();
                return Err(io::Error::other(format!("it was ended after {took} s")));
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
        let closed = LiveEvent::Closed { at: state.at.to_string(), incident };
        let mut hook = IncidentHook::new(&program, |text| panic!("{text}")).unwrap();
        hook.tick(
            &state,
            &[closed.clone(), LiveEvent::Warning { at: state.at.to_string(), text: "no".to_owned() }],
        )
        .unwrap();
        drop(hook);
        let lines = std::fs::read_to_string(&out).unwrap();
        assert_eq!(serde_json::from_str::<LiveEvent>(&lines).unwrap(), closed, "{lines}");
    }

    /// A program that neither reads nor ends delays the end of the watch by a few seconds, however many events wait.
    #[test]
    #[cfg(unix)]
    fn the_end_does_not_wait_for_a_program_that_hangs() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("hangs");
        std::fs::write(&program, "#!/bin/sh\nexec sleep 60\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let state = samples::overflow();
        // More than a pipe holds.
        let mut incident = state.incidents[0].incident.clone();
        incident.findings = vec!["f-0123456789ab".to_owned(); 10_000];
        let closed = LiveEvent::Closed { at: state.at.to_string(), incident: Box::new(incident) };
        let mut hook = IncidentHook::new(&program, |_| {}).unwrap();
        hook.tick(&state, &[closed.clone(), closed.clone(), closed]).unwrap();
        let begun = Instant::now();
        drop(hook);
        assert!(begun.elapsed() < AT_THE_END + Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}
