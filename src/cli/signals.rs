//! The effect of signals: the first SIGINT or SIGTERM requests the end and the report, another one ends the program at
//! once.

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

    /// A second signal that comes later than this ends the program without a report. One that comes sooner belongs to
    /// the same request: timeout(1) signals the process and then its group.
    const TWICE: Duration = Duration::from_millis(500);

    /// Lets the second request end the program, once the first one is noted.
    pub(in crate::cli) struct SecondSignalExit(Arc<AtomicBool>);

    impl SecondSignalExit {
        /// Prepares for the second signal, which ends the program.
        ///
        /// # Errors
        /// The system's error.
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

    /// Makes the first SIGINT or SIGTERM ask `stop` for the end; then prints `stopping`.
    ///
    /// # Errors
    /// The system's error.
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
    /// The system's error.
    #[cfg(all(feature = "live", target_os = "linux"))]
    pub(in crate::cli) fn register_report(report: &Arc<AtomicBool>) -> io::Result<()> {
        flag::register(signal_hook::consts::SIGUSR1, Arc::clone(report)).map(drop)
    }
}
