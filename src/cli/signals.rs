//! What signals ask for: the first SIGINT or SIGTERM asks for the end and the report, another one for the end at once.

#[cfg(unix)]
pub(super) use unix::heed_stop;
#[cfg(all(feature = "live", target_os = "linux"))]
pub(super) use unix::{SecondSignalExit, register_report};

#[cfg(not(unix))]
pub(super) fn heed_stop(_: &crate::capture::StopRequest, _: &'static str) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(unix)]
mod unix {
    use std::io::{self, Read};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use anyhow::Context;
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::{flag, low_level};

    use crate::capture::StopRequest;
    use crate::cli::output::complain;

    /// Who asks to stop again after this does not want to wait for a report. What comes sooner is the same request:
    /// timeout(1) signals the process and then its group.
    const TWICE: Duration = Duration::from_millis(500);

    /// Lets the second request end the program, once the first one is noted.
    pub(in crate::cli) struct SecondSignalExit(Arc<AtomicBool>);

    impl SecondSignalExit {
        /// Prepares the end by a second signal.
        ///
        /// # Errors
        /// What the system says.
        pub fn register() -> io::Result<SecondSignalExit> {
            let impatient = Arc::<AtomicBool>::default();
            for signal in [SIGINT, SIGTERM] {
                flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&impatient))?;
            }
            Ok(SecondSignalExit(impatient))
        }

        /// The first request has come.
        pub fn begin(&self) {
            let impatient = Arc::clone(&self.0);
            thread::spawn(move || {
                thread::sleep(TWICE);
                impatient.store(true, Ordering::Relaxed);
            });
        }
    }

    /// Asks `stop` for the end when the first SIGINT or SIGTERM comes, and says `stopping`.
    ///
    /// # Errors
    /// What the system says.
    pub(in crate::cli) fn heed_stop(stop: &StopRequest, stopping: &'static str) -> anyhow::Result<()> {
        let stop = stop.clone();
        let heed = || -> io::Result<()> {
            let impatience = SecondSignalExit::register()?;
            let (mut told, tells) = UnixStream::pair()?;
            for signal in [SIGINT, SIGTERM] {
                low_level::pipe::register(signal, tells.try_clone()?)?;
            }
            thread::Builder::new().name("signals".to_owned()).spawn(move || {
                // Only the first one counts here.
                if told.read_exact(&mut [0]).is_ok() {
                    stop.ask();
                    complain(stopping);
                    impatience.begin();
                }
            })?;
            Ok(())
        };
        heed().context("cannot heed signals")
    }

    /// Raises the flag whenever SIGUSR1 comes.
    ///
    /// # Errors
    /// What the system says.
    #[cfg(all(feature = "live", target_os = "linux"))]
    pub(in crate::cli) fn register_report(report: &Arc<AtomicBool>) -> io::Result<()> {
        flag::register(signal_hook::consts::SIGUSR1, Arc::clone(report)).map(drop)
    }
}
