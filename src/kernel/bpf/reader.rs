//! The thread that reads the records of the programs.
//!
//! The programs wake nobody, so the thread polls: often while many records come, ten times a second otherwise, and four
//! times a second after some seconds without a record.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::record::VerdictRecord;
use super::system::clock_offset;
use super::{KernelNames, Probes};
use crate::capture::steady::SteadyClock;
use crate::kernel::verdict::{KernelEvent, Name, NewStatements, Statement};
use crate::time::Timestamp;

/// How long it sleeps when few records came.
const REST: Duration = Duration::from_millis(100);
/// And while much comes.
const SHORT_REST: Duration = Duration::from_millis(10);
/// How long it sleeps when none came for [`SILENT_FROM`] looks.
const LONG_REST: Duration = Duration::from_millis(250);
const SILENT_FROM: u32 = 50;
/// More records than this at once are unusual.
const MUCH: usize = 500;
/// Functions that give a copy of a packet to a packet socket or a raw socket. If they drop it, TCP still has the packet
/// itself.
const OF_COPIES: [&str; 8] = [
    "packet_rcv",
    "packet_rcv_spkt",
    "raw_rcv",
    "raw_rcv_skb",
    "raw_v4_input",
    "rawv6_rcv",
    "rawv6_rcv_skb",
    "tpacket_rcv",
];
/// Statements that may wait to be read.
const WAITING: usize = 400_000;

/// Reads in a thread of its own until it is dropped.
pub struct VerdictReader {
    heard: Arc<Mutex<NewStatements>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl VerdictReader {
    /// Begins to read.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(probes: Probes) -> io::Result<VerdictReader> {
        let heard = Arc::<Mutex<NewStatements>>::default();
        let stop = Arc::<AtomicBool>::default();
        let (to, told) = (Arc::clone(&heard), Arc::clone(&stop));
        let thread =
            thread::Builder::new().name("kernel".to_owned()).spawn(move || read(probes, &to, &told))?;
        Ok(VerdictReader { heard, stop, thread: Some(thread) })
    }

    /// Statements since the last time.
    pub fn drain_statements(&mut self) -> NewStatements {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let statements = std::mem::take(&mut heard.statements);
        NewStatements { statements, ..*heard }
    }

    /// Statements lost so far.
    pub fn lost(&self) -> u64 {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).lost
    }

    /// Ends the thread, and returns all remaining statements.
    pub fn finish(&mut self) -> NewStatements {
        self.stop();
        self.drain_statements()
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Drop for VerdictReader {
    fn drop(&mut self) {
        self.stop();
    }
}

fn read(mut probes: Probes, to: &Mutex<NewStatements>, stop: &AtomicBool) {
    let mut known = KnownNames::default();
    let mut clock = SteadyClock::default();
    // Statements for which there was no room.
    let mut missed = 0;
    let mut is_last = false;
    let mut silent = 0_u32;
    while !is_last {
        // Statements from before the request are read after it.
        is_last = stop.load(Ordering::Acquire);
        // If the machine's clock is set back, the times of packets go on, and so do these.
        clock.look();
        let offset = clock_offset().saturating_add(clock.offset().0);
        let until = clock.now();
        let mut statements = Vec::new();
        let drained = probes.drain(|record, names| {
            let statement = known.statement(&record, names, offset);
            if !is_of_copy(&statement) {
                statements.push(statement);
            }
        });
        let counts = probes.counts();
        let mut heard = to.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.statements.len() + statements.len() <= WAITING {
            heard.statements.append(&mut statements);
        }
        missed += statements.len() as u64;
        (heard.lost, heard.unplaced) = (counts.lost + missed, counts.unplaced);
        // A processor that is held up while it writes a record holds up the records of all.
        if !drained.is_blocked {
            heard.until = until;
        }
        drop(heard);
        if !is_last {
            let came = drained.records;
            silent = if came > 0 { 0 } else { silent.saturating_add(1) };
            thread::park_timeout(match came {
                0 if silent >= SILENT_FROM => LONG_REST,
                0..=MUCH => REST,
                _ => SHORT_REST,
            });
        }
    }
}

fn is_of_copy(statement: &Statement) -> bool {
    // The compiler names a part of a function `raw_rcv.isra.0`.
    let function = statement.function.as_deref().and_then(|name| name.split('.').next());
    function.is_some_and(|function| OF_COPIES.contains(&function))
}

/// Names that occurred before: each is kept once.
#[derive(Default)]
struct KnownNames {
    reasons: HashMap<(bool, u32), Option<Name>>,
    functions: HashMap<u64, Option<Name>>,
}

impl KnownNames {
    fn statement(&mut self, record: &VerdictRecord, names: &KernelNames, offset: i64) -> Statement {
        let is_drop = record.event == KernelEvent::Dropped;
        let of_reason = || match record.event {
            KernelEvent::Dropped => names.drop_reason(record.reason).map(Name::from),
            KernelEvent::Reset | KernelEvent::ResetBySocket => {
                names.reset_reason(record.reason).map(Name::from)
            }
            KernelEvent::AtListener => None,
        };
        let reason = match record.event {
            KernelEvent::AtListener => None,
            _ => self.reasons.entry((is_drop, record.reason)).or_insert_with(of_reason).clone(),
        };
        let place = record.location;
        let of_place = || if place == 0 { None } else { names.function(place).map(Name::from) };
        let function = match record.event {
            // The programs at functions use their numbers.
            KernelEvent::AtListener => {
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
