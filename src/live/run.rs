//! The loop: packets from a feed into the watch, events and states to the outputs.

use std::io;
use std::time::{Duration, Instant};

use crate::capture::Block;
use crate::capture::feed::{Feed, FeedResult};
use crate::capture::steady::SteadyClock;
use crate::detect::capture_state::CaptureState;
use crate::engine::Analysis;
use crate::fault::{self, Fault};
use crate::live::delay::Delay;
use crate::live::event::LiveEvent;
use crate::live::output::{Next, Output, Recorder};
use crate::live::watch::{Watch, WatchStep};
use crate::time::{Span, Timestamp};

/// How often the watch is brought up to date.
const TICK: Span = Span::millis(100);
/// Blocks that are decoded and tracked at once at most.
const AT_ONCE: usize = 16;
/// Signals are checked this often, and whenever an interface reports that it is silent.
const ATTENTIVE: Duration = Duration::from_millis(600);
/// If no packets come and no connection is known, the engine is asked this often.
const IDLE_TICK: Span = Span::secs(1);
/// The engine is not asked again before this many times the duration of its last answer: at most a fifth of the time is
/// spent on it.
const REST: u32 = 4;

/// After the end, packets from before it are still read, for this long at most.
const LEFT_OVER: Duration = Duration::from_secs(10);
/// When no packet has come for this long, all have been read: the kernel hands its blocks over sooner.
const NONE_LEFT: Duration = Duration::from_millis(150);
/// How long each wait for the next of them is.
const MORE: Duration = Duration::from_millis(25);

/// A feed whose clock stands still for longer than this is not just behind.
const SET_BACK: Duration = Duration::from_secs(10);

/// When to end.
#[derive(Clone, Copy, Default, Debug)]
pub struct EndCondition {
    /// After this many packets.
    pub packets: Option<u64>,
    /// After so long.
    pub duration: Option<Span>,
}

/// Whose time counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeSource {
    /// The clock of the machine: packets come in real time, and the engine must leave time to read them.
    Machine,
    /// The clock of the packets alone: the feed plays a script as fast as possible.
    Script,
}

/// A request from outside, such as a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunRequest {
    /// Nothing.
    Nothing,
    /// The report so far.
    Report,
    /// An end.
    Stop,
}

/// A watch with everything around it.
pub struct WatchRun<'a> {
    /// Where packets come from.
    pub feed: &'a mut dyn Feed,
    /// The watch that evaluates them.
    pub watch: Watch,
    /// Who is told.
    pub outputs: Vec<Box<dyn Output + 'a>>,
    /// Who keeps them.
    pub recorder: Option<Box<dyn Recorder + 'a>>,
    /// When to end.
    pub until: EndCondition,
    /// Whose time counts.
    pub pace: TimeSource,
}

/// How it ended.
pub struct Ended {
    /// The report.
    pub outcome: Box<Analysis>,
    /// The error of an output that could not be written any more: a pipe that nobody reads, a full disk.
    pub failed: Option<io::Error>,
}

/// The progress of a run.
struct RunProgress {
    /// Since when it runs.
    begun: Instant,
    /// The first time of the feed's clock.
    first: Option<Timestamp>,
    /// The time of the last tick.
    last: Timestamp,
    /// The latest time of the feed's clock, and when it was reached.
    advanced: (Timestamp, Instant),
    /// The machine's clock.
    wall: SteadyClock,
    packets: u64,
    /// The engine is not asked before this time, unless it is urgent.
    rest: Instant,
    /// Whether the feed has ended.
    is_over: bool,
    /// Packets up to this time are wanted, once it is known.
    end: Option<WatchEnd>,
    /// The error of an output that failed.
    failed: Option<io::Error>,
}

/// The end of a watch: packets from before it may still arrive.
#[derive(Clone, Copy)]
struct WatchEnd {
    /// The end by the clock of the packets.
    time: Timestamp,
    /// When that was.
    since: Instant,
    /// When the last packets came.
    last_packets: Instant,
}

impl RunProgress {
    fn begin() -> RunProgress {
        let now = Instant::now();
        RunProgress {
            begun: now,
            first: None,
            last: Timestamp::MIN,
            advanced: (Timestamp::MIN, now),
            wall: SteadyClock::default(),
            packets: 0,
            rest: now,
            is_over: false,
            end: None,
            failed: None,
        }
    }

    /// The current time, given the feed's clock. If the machine's clock was set back, time still goes on: waiting
    /// drafts must not wait until the old time is reached again.
    fn go_on(&mut self, clock: Timestamp, pace: TimeSource) -> Timestamp {
        if clock > self.advanced.0 {
            self.advanced = (clock, Instant::now());
        } else if pace == TimeSource::Machine && self.advanced.0 > Timestamp::MIN {
            let stood = self.advanced.1.elapsed().saturating_sub(SET_BACK);
            return self.advanced.0 + Span(i64::try_from(stood.as_nanos()).unwrap_or(i64::MAX));
        }
        clock
    }

    /// Whether the time to watch is over.
    fn is_at_end(&mut self, clock: Timestamp, pace: TimeSource, until: EndCondition) -> bool {
        if clock == Timestamp::MIN {
            return false;
        }
        let first = *self.first.get_or_insert(clock);
        until.duration.is_some_and(|most| match pace {
            TimeSource::Machine => self.begun.elapsed().as_nanos() >= most.0.unsigned_abs().into(),
            TimeSource::Script => clock - first >= most,
        })
    }
}

impl WatchEnd {
    /// Whether all packets from before the end have been read, given the feed's clock and how many blocks came just now; or
    /// whether that has taken too long.
    fn is_reached(&mut self, clock: Timestamp, blocks: usize) -> bool {
        let now = Instant::now();
        if blocks > 0 {
            self.last_packets = now;
        }
        clock >= self.time
            || now.duration_since(self.last_packets) >= NONE_LEFT
            || now.duration_since(self.since) >= LEFT_OVER
    }

    /// How much of the time before the end was not read, if reading took too long.
    fn missing(&self, clock: Timestamp) -> Option<Span> {
        let is_late = self.since.elapsed() >= LEFT_OVER;
        (is_late && clock > Timestamp::MIN && clock < self.time).then(|| self.time - clock)
    }
}

impl WatchRun<'_> {
    /// Watches until the end; `wanted` is asked again and again, `report` gets reports that are asked for meanwhile.
    pub fn run(
        mut self,
        mut wanted: impl FnMut() -> RunRequest,
        mut report: impl FnMut(&Analysis) -> anyhow::Result<()>,
    ) -> Ended {
        let mut news: Vec<LiveEvent> = Vec::new();
        let mut blocks: Vec<Block> = Vec::new();
        blocks.resize_with(AT_ONCE, Block::default);
        let mut progress = RunProgress::begin();
        let mut delay = Delay::default();
        self.watch.begin(match self.pace {
            TimeSource::Machine => progress.wall.now(),
            TimeSource::Script => self.feed.clock(),
        });
        while !progress.is_over {
            let filled = self.fill(&mut blocks, &mut progress);
            let read_until = self.feed.clock();
            progress.is_over |= progress.end.as_mut().is_some_and(|end| end.is_reached(read_until, filled));
            if filled > 0 {
                let tracked = fault::contain(|| self.watch.track(&blocks[..filled]));
                news.extend(
                    tracked
                        .err()
                        .into_iter()
                        .flat_map(|fault| self.watch.record_fault(WatchStep::Packets, &fault)),
                );
            }
            news.extend(self.record(&mut blocks[..filled], &mut delay));
            let clock = progress.go_on(self.feed.clock(), self.pace);
            if progress.is_at_end(clock, self.pace, self.until) {
                self.end_soon(&mut progress);
            }
            if self.is_due(clock, &progress) {
                progress.last = clock;
                let asked = Instant::now();
                if self.pace == TimeSource::Machine {
                    progress.wall.look();
                    self.watch.lags(progress.wall.now() - clock);
                }
                let mut events = std::mem::take(&mut news);
                events.extend(self.tick(clock));
                progress.rest = Instant::now() + asked.elapsed() * REST;
                if self.tell(events, &mut progress.failed) == Next::Stop {
                    self.end_soon(&mut progress);
                }
            }
            match wanted() {
                RunRequest::Nothing => {}
                RunRequest::Report => {
                    let (mut events, outcome) = self.watch.report(CaptureState::Running);
                    if let Err(error) = report(&outcome) {
                        let at = self.watch.state().at;
                        self.watch.warn(
                            at,
                            format!("the report so far cannot be written: {error:#}"),
                            &mut events,
                        );
                    }
                    if self.tell(events, &mut progress.failed) == Next::Stop {
                        self.end_soon(&mut progress);
                    }
                }
                RunRequest::Stop => self.end_soon(&mut progress),
            }
        }
        if let Some(missing) = progress.end.and_then(|end| end.missing(self.feed.clock())) {
            let (at, seconds) = (self.watch.state().at, missing.as_secs_f64());
            let text = format!(
                "the last {seconds:.1} s of the watch are missing: packets were still waiting after {} s",
                LEFT_OVER.as_secs()
            );
            self.watch.warn(at, text, &mut news);
        }
        self.end(news, delay, progress.failed)
    }

    /// The watch is over: only packets from before now are still wanted.
    fn end_soon(&mut self, progress: &mut RunProgress) {
        if self.pace == TimeSource::Script {
            progress.is_over = true;
        } else if progress.end.is_none() {
            self.feed.end_soon();
            let now = Instant::now();
            progress.wall.look();
            progress.end = Some(WatchEnd { time: progress.wall.now(), since: now, last_packets: now });
        }
    }

    /// Fills blocks with the packets that have come; returns how many blocks.
    fn fill(&mut self, blocks: &mut [Block], progress: &mut RunProgress) -> usize {
        let mut filled = 0;
        while filled < blocks.len() {
            let wait = match filled {
                0 if progress.end.is_some() => MORE,
                0 => ATTENTIVE,
                _ => Duration::ZERO,
            };
            match self.feed.next_block(&mut blocks[filled], wait) {
                FeedResult::Packets => {
                    let left = self.until.packets.map_or(u64::MAX, |most| most - progress.packets);
                    blocks[filled].truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    progress.packets += blocks[filled].len() as u64;
                    filled += 1;
                    if self.until.packets == Some(progress.packets) {
                        progress.is_over = true;
                        break;
                    }
                    // A script always has the next block ready; a tick must still be made when it is due.
                    if self.pace == TimeSource::Script {
                        break;
                    }
                }
                FeedResult::Nothing => break,
                FeedResult::End => {
                    progress.is_over = true;
                    break;
                }
            }
        }
        filled
    }

    /// Whether the watch is to be asked now. The kernel is asked even while the engine pauses: a listener that begins
    /// to refuse connections justifies an exception.
    fn is_due(&mut self, clock: Timestamp, progress: &RunProgress) -> bool {
        if clock == Timestamp::MIN {
            return false;
        }
        let every = if self.watch.is_idle() { IDLE_TICK } else { TICK };
        let is_time = clock - progress.last >= every;
        match self.pace {
            TimeSource::Script => is_time,
            TimeSource::Machine => {
                self.watch.is_urgent(clock) || (is_time && Instant::now() >= progress.rest)
            }
        }
    }

    /// Sends the last events, and writes the report.
    fn end(mut self, mut news: Vec<LiveEvent>, mut delay: Delay, mut failed: Option<io::Error>) -> Ended {
        // The last packets may have come after the last tick.
        news.extend(self.tick(self.feed.clock()));
        let (more, mut outcome) = self.watch.report(CaptureState::Ended);
        self.tell(news, &mut failed);
        self.tell(more, &mut failed);
        if let Some(recorder) = &mut self.recorder {
            let words = self.watch.words();
            let troubles = fault::contain(|| {
                delay.finish(recorder.as_mut(), words);
                recorder.finish()
            });
            let events = match troubles {
                Ok(troubles) => self.warn_of(troubles),
                Err(fault) => self.stop_recording(&fault),
            };
            self.show(&events, &mut failed);
        }
        outcome.damage = self.watch.faults().to_vec();
        Ended { outcome: Box::new(outcome), failed }
    }

    /// The events of a tick at `clock`.
    fn tick(&mut self, clock: Timestamp) -> Vec<LiveEvent> {
        let WatchRun { watch, feed, .. } = self;
        let told = fault::contain(|| watch.tick(clock, &feed.interfaces(), &feed.silences()));
        told.unwrap_or_else(|fault| watch.record_fault(WatchStep::Tick, &fault))
    }

    /// Writes packets to the files. If that fails, returns events that report it; no packets are written after that.
    fn record(&mut self, blocks: &mut [Block], delay: &mut Delay) -> Vec<LiveEvent> {
        let Some(recorder) = &mut self.recorder else { return Vec::new() };
        let words = self.watch.words();
        match fault::contain(|| delay.record(blocks, recorder.as_mut(), words)) {
            Ok(()) => Vec::new(),
            Err(fault) => self.stop_recording(&fault),
        }
    }

    fn stop_recording(&mut self, fault: &Fault) -> Vec<LiveEvent> {
        self.recorder = None;
        self.watch.record_fault(WatchStep::Recording, fault)
    }

    fn tell(&mut self, mut events: Vec<LiveEvent>, failed: &mut Option<io::Error>) -> Next {
        if let Some(recorder) = &mut self.recorder {
            let state = self.watch.state();
            let troubles = fault::contain(|| recorder.tick(state, &events));
            events.extend(match troubles {
                Ok(troubles) => self.warn_of(troubles),
                Err(fault) => self.stop_recording(&fault),
            });
        }
        self.show(&events, failed)
    }

    fn warn_of(&mut self, troubles: Vec<String>) -> Vec<LiveEvent> {
        let mut events = Vec::new();
        let at = self.watch.state().at;
        troubles.into_iter().for_each(|text| self.watch.warn(at, text, &mut events));
        events
    }

    /// Sends events to all outputs. An output that fails is left out afterwards: a full disk is no reason to stop
    /// watching. A closed pipe is, since nobody reads it.
    fn show(&mut self, events: &[LiveEvent], failed: &mut Option<io::Error>) -> Next {
        let mut next = Next::Go;
        let state = self.watch.state();
        let tick = |output: &mut Box<dyn Output + '_>| {
            fault::contain(|| output.tick(state, events))
                .unwrap_or_else(|fault| Err(io::Error::other(fault.told())))
        };
        self.outputs.retain_mut(|output| match tick(output) {
            Ok(Next::Go) => true,
            Ok(Next::Stop) => {
                next = Next::Stop;
                true
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::BrokenPipe {
                    next = Next::Stop;
                }
                failed.get_or_insert(error);
                false
            }
        });
        next
    }
}
