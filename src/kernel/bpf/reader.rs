//! The thread that reads what the programs say.
//!
//! The programs wake nobody. It looks by itself: often while much comes, ten times a second otherwise.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::record::Record;
use super::system::clock_offset;
use super::{Names, Probes};
use crate::kernel::verdict::{Event, Heard, Name, Statement};
use crate::time::Timestamp;

/// How long it rests when little came.
const REST: Duration = Duration::from_millis(100);
/// And while much comes.
const SHORT_REST: Duration = Duration::from_millis(10);
/// So many records at once are much.
const MUCH: usize = 500;
/// Batches that may wait for whoever is told.
const WAITING: usize = 64;

/// Reads in a thread of its own until it is dropped.
pub struct Reader {
    batches: Receiver<Heard>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Begins to read.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(probes: Probes) -> io::Result<Reader> {
        let (send, batches) = sync_channel(WAITING);
        let stop = Arc::<AtomicBool>::default();
        let told = Arc::clone(&stop);
        let thread =
            thread::Builder::new().name("kernel".to_owned()).spawn(move || read(probes, &send, &told))?;
        Ok(Reader { batches, stop, thread: Some(thread) })
    }

    /// What was said since the last time.
    pub fn heard(&mut self) -> Heard {
        let mut all = Heard::default();
        for batch in self.batches.try_iter() {
            all.statements.extend(batch.statements);
            all.lost = batch.lost;
            all.unplaced = batch.unplaced;
        }
        all
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(mut probes: Probes, send: &SyncSender<Heard>, stop: &AtomicBool) {
    let mut known = Known::default();
    // Statements that nobody took in.
    let mut missed = 0;
    let mut told = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let mut records = Vec::new();
        let came = probes.drain(|record| records.push(record));
        let offset = clock_offset();
        let counts = probes.counts();
        let statements: Vec<Statement> =
            records.iter().map(|record| known.statement(record, probes.names(), offset)).collect();
        let heard = Heard { statements, lost: counts.lost + missed, unplaced: counts.unplaced };
        if came > 0 || (heard.lost, heard.unplaced) != told {
            told = (heard.lost, heard.unplaced);
            match send.try_send(heard) {
                Ok(()) => {}
                Err(TrySendError::Full(heard)) => missed += heard.statements.len() as u64,
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
        thread::sleep(if came > MUCH { SHORT_REST } else { REST });
    }
}

/// Names that were said before: each is kept once.
#[derive(Default)]
struct Known {
    reasons: HashMap<(bool, u32), Option<Name>>,
    functions: HashMap<u64, Option<Name>>,
}

impl Known {
    fn statement(&mut self, record: &Record, names: &Names, offset: i64) -> Statement {
        let is_drop = record.event == Event::Dropped;
        let of_reason = || match record.event {
            Event::Dropped => names.drop_reason(record.reason).map(Name::from),
            Event::Reset | Event::ResetBySocket => names.reset_reason(record.reason).map(Name::from),
            Event::AtListener => None,
        };
        let reason = match record.event {
            Event::AtListener => None,
            _ => self.reasons.entry((is_drop, record.reason)).or_insert_with(of_reason).clone(),
        };
        let place = record.location;
        let of_place = || if place == 0 { None } else { names.function(place).map(Name::from) };
        let function = match record.event {
            // The programs at functions number them.
            Event::AtListener => {
                super::layout::FUNCTIONS.get(record.reason as usize).map(|name| Name::from(*name))
            }
            _ => self.functions.entry(place).or_insert_with(of_place).clone(),
        };
        Statement {
            event: record.event,
            time: Timestamp(i64::try_from(record.time).unwrap_or(i64::MAX).saturating_add(offset)),
            reason,
            function,
            queues: record.queues,
            segment: record.segment,
        }
    }
}
