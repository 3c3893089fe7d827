//! The lines of a log wait here while their reader stands still: a pager, a full pipe. The watch goes on meanwhile.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Bytes that may wait: hours of a log, or some 10,000 findings. Only then does the watch itself wait, and the report says
/// how many packets the capture lost by it.
const MOST: usize = 16 << 20;

/// A writer that returns at once: a thread of its own does the writing. Its clones write to the same place.
#[derive(Clone)]
pub struct WriteQueue(Arc<SharedLog>);

#[derive(Default)]
struct SharedLog {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    waiting: Vec<u8>,
    /// The thread has bytes in hand that are no longer in `waiting`.
    is_writing: bool,
    /// Why nothing more can be written.
    failed: Option<(io::ErrorKind, String)>,
}

impl LogState {
    fn check(&self) -> io::Result<()> {
        match &self.failed {
            Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
            None => Ok(()),
        }
    }
}

impl WriteQueue {
    /// A queue in front of `to`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(to: impl Write + Send + 'static) -> io::Result<WriteQueue> {
        let shared = Arc::<SharedLog>::default();
        let queue = WriteQueue(Arc::clone(&shared));
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_all(to))?;
        Ok(queue)
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// What the writer said, now or earlier.
    pub fn wait(&self) -> io::Result<()> {
        let state = self.0.wait_while(|state| state.is_writing || !state.waiting.is_empty());
        state.check()
    }
}

impl Write for WriteQueue {
    /// Takes all of `bytes`. Waits while too many wait.
    ///
    /// # Errors
    /// What the writer said of bytes before these. With no `bytes` this is a question for that.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.wait_while(|state| !bytes.is_empty() && state.waiting.len() >= MOST);
        state.check()?;
        state.waiting.extend_from_slice(bytes);
        drop(state);
        self.0.changed.notify_all();
        Ok(bytes.len())
    }

    /// Waits for nothing: see [`WriteQueue::wait`].
    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().check()
    }
}

impl SharedLog {
    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state once `is_so` no longer holds, or writing has failed.
    fn wait_while(&self, is_so: impl Fn(&LogState) -> bool) -> MutexGuard<'_, LogState> {
        let waits = |state: &mut LogState| state.failed.is_none() && is_so(state);
        self.changed.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what comes, until that fails.
    fn write_all(&self, mut to: impl Write) {
        let mut taken = Vec::new();
        loop {
            let mut state = self.wait_while(|state| state.waiting.is_empty());
            taken.clear();
            mem::swap(&mut taken, &mut state.waiting);
            state.is_writing = true;
            drop(state);
            // There is room again.
            self.changed.notify_all();
            let done = to.write_all(&taken).and_then(|()| to.flush());
            let mut state = self.lock();
            state.is_writing = false;
            state.failed = done.err().map(|error| (error.kind(), error.to_string()));
            let has_failed = state.failed.is_some();
            drop(state);
            self.changed.notify_all();
            if has_failed {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender, SyncSender};

    use super::*;

    /// Writes only when it is allowed to, and sends each write to the test.
    struct Reluctant {
        may: Receiver<io::Result<()>>,
        wrote: Sender<Vec<u8>>,
    }

    impl Write for Reluctant {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.may.recv().expect("a word")?;
            self.wrote.send(bytes.to_vec()).expect("somebody listens");
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn reluctant() -> (WriteQueue, SyncSender<io::Result<()>>, Receiver<Vec<u8>>) {
        let (allow, may) = mpsc::sync_channel(8);
        let (wrote, written) = mpsc::channel();
        (WriteQueue::start(Reluctant { may, wrote }).expect("a thread"), allow, written)
    }

    #[test]
    fn a_reader_that_stands_still_holds_nobody_up() {
        let (mut queue, allow, written) = reluctant();
        for n in 0..1_000 {
            writeln!(queue, "line {n}").expect("it waits");
        }
        (0..8).for_each(|_| allow.send(Ok(())).expect("it listens"));
        queue.wait().expect("all is written");
        let all: Vec<u8> = written.try_iter().flatten().collect();
        let lines: Vec<String> = (0..1_000).map(|n| format!("line {n}")).collect();
        assert_eq!(String::from_utf8(all).expect("text").lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn an_error_is_told_at_the_next_occasion_and_ever_after() {
        let (mut queue, allow, _written) = reluctant();
        queue.write_all(b"in vain").expect("it waits");
        allow.send(Err(io::ErrorKind::BrokenPipe.into())).expect("it listens");
        let kind = |told: io::Result<()>| told.expect_err("nobody reads").kind();
        assert_eq!(kind(queue.wait()), io::ErrorKind::BrokenPipe);
        assert_eq!(kind(queue.flush()), io::ErrorKind::BrokenPipe);
        assert_eq!(kind(queue.write_all(b"more")), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn no_more_than_so_much_waits() {
        let (mut queue, allow, written) = reluctant();
        let full = vec![b'x'; MOST];
        queue.write_all(&full).expect("room");
        // There is room once the thread has the first ones in hand.
        queue.write_all(&full).expect("room");
        let mut late = queue.clone();
        let writer = thread::spawn(move || late.write_all(b"last"));
        assert!(!writer.is_finished());
        (0..3).for_each(|_| allow.send(Ok(())).expect("it listens"));
        writer.join().expect("it ended").expect("room in the end");
        queue.wait().expect("all is written");
        assert_eq!(written.try_iter().map(|bytes| bytes.len()).sum::<usize>(), 2 * MOST + 4);
    }
}
