//! A request to stop reading, made from outside: the input ends early, and the packets read so far are all there is.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A request that somebody may make at any time. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct StopRequest(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    asked: AtomicBool,
    /// A pipe was left before it ended.
    left: AtomicBool,
}

impl StopRequest {
    /// Asks for the end.
    pub fn ask(&self) {
        self.0.asked.store(true, Relaxed);
    }

    /// Whether the end was asked for.
    pub fn is_asked(&self) -> bool {
        self.0.asked.load(Relaxed)
    }

    /// Whether a pipe was left while it might have had more.
    pub fn left_a_pipe(&self) -> bool {
        self.0.left.load(Relaxed)
    }
}

/// How often a silent pipe is interrupted to check whether the end was asked for.
const LOOK: Duration = Duration::from_millis(100);
/// After the request a pipe that is silent for this long is left.
const SILENT: Duration = Duration::from_millis(300);
/// After the request a pipe is left after this, whatever comes.
const MOST: Duration = Duration::from_secs(2);

/// A pipe whose reading can be stopped. The data that its writer still has is read first: `tcpdump` gets the same ^C,
/// and flushes its buffer.
pub(super) struct StoppablePipe {
    pipe: File,
    stop: StopRequest,
    asked: Option<Instant>,
}

impl StoppablePipe {
    pub(super) fn new(pipe: File, stop: &StopRequest) -> StoppablePipe {
        StoppablePipe { pipe, stop: stop.clone(), asked: None }
    }
}

impl Read for StoppablePipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.asked.is_none() && self.stop.is_asked() {
                self.asked = Some(Instant::now());
            }
            let over = self.asked.is_some_and(|asked| asked.elapsed() > MOST);
            let wait = if self.asked.is_some() { SILENT } else { LOOK };
            if !over && is_readable(&self.pipe, wait)? {
                return self.pipe.read(buf);
            }
            if self.asked.is_some() {
                self.stop.0.left.store(true, Relaxed);
                return Ok(0);
            }
        }
    }
}

/// Whether there is something to read, or the end, within `wait`.
#[cfg(target_os = "linux")]
fn is_readable(pipe: &File, wait: Duration) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&wait)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// On other systems a read of a silent pipe waits for its writer.
#[cfg(not(target_os = "linux"))]
fn is_readable(_: &File, _: Duration) -> io::Result<bool> {
    Ok(true)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::thread;

    fn pipe() -> (File, io::PipeWriter) {
        let (reader, writer) = io::pipe().unwrap();
        (File::from(OwnedFd::from(reader)), writer)
    }

    #[test]
    fn a_silent_pipe_is_left_when_it_is_asked_for() {
        let (reader, mut writer) = pipe();
        let stop = StopRequest::default();
        let asks = stop.clone();
        let mut pipe = StoppablePipe::new(reader, &stop);
        writer.write_all(b"ab").unwrap();
        let waiter = thread::spawn(move || {
            let mut all = Vec::new();
            pipe.read_to_end(&mut all).map(|_| all)
        });
        thread::sleep(Duration::from_millis(50));
        assert!(!waiter.is_finished());
        asks.ask();
        // A read that has begun is finished.
        writer.write_all(b"cd").unwrap();
        assert_eq!(waiter.join().unwrap().unwrap(), b"abcd");
        assert!(stop.left_a_pipe());
    }

    #[test]
    fn a_pipe_that_ends_by_itself_was_not_left() {
        let (reader, writer) = pipe();
        let stop = StopRequest::default();
        stop.ask();
        drop(writer);
        assert_eq!(StoppablePipe::new(reader, &stop).read(&mut [0; 8]).unwrap(), 0);
        assert!(!stop.left_a_pipe());
    }
}
