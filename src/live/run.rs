//! The loop: packets from a feed into the watch, ticks out to the outputs.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::capture::Block;
use crate::capture::feed::{Fed, Feed};
use crate::engine::Analysis;
use crate::engine::rolling::Moment;
use crate::fault::{self, Fault};
use crate::live::delay::Delay;
use crate::live::event::Event;
use crate::live::output::{Next, Output, Recorder};
use crate::live::watch::{Step, Watch};
use crate::time::{Span, Timestamp};

/// How often the engine is asked.
const TICK: Span = Span::millis(200);
/// Blocks that are decoded and tracked at once at most.
const AT_ONCE: usize = 16;
/// Signals are looked at this often, and whenever an interface says that it is silent.
const ATTENTIVE: Duration = Duration::from_millis(600);
/// Where nothing comes and nothing is known, the engine is asked this often.
const IDLE_TICK: Span = Span::secs(1);
/// The engine is not asked again before this many times as long has passed as it took: at most a fifth of the time goes
/// into that.
const REST: u32 = 4;

/// A feed whose clock stands still for longer has not just fallen behind.
const SET_BACK: Duration = Duration::from_secs(10);

/// When to end.
#[derive(Clone, Copy, Default, Debug)]
pub struct Until {
    /// After so many packets.
    pub packets: Option<u64>,
    /// After so long.
    pub duration: Option<Span>,
}

/// Whose time counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// The machine's: packets come when they come, and asking the engine must leave time for them.
    Machine,
    /// Only that of the packets: the feed plays a script as fast as it goes.
    Script,
}

/// What was asked for from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// Nothing.
    Nothing,
    /// The report so far.
    Report,
    /// An end.
    Stop,
}

/// A watch with everything around it.
pub struct Run<'a> {
    /// Where packets come from.
    pub feed: &'a mut dyn Feed,
    /// What makes sense of them.
    pub watch: Watch,
    /// Who is told.
    pub outputs: Vec<Box<dyn Output + 'a>>,
    /// Who keeps them.
    pub recorder: Option<Box<dyn Recorder + 'a>>,
    /// When to end.
    pub until: Until,
    /// Whose time counts.
    pub pace: Pace,
}

/// How it ended.
pub struct Ended {
    /// The report.
    pub outcome: Box<Analysis>,
    /// What an output said that could not be written any more: a pipe that nobody reads, a full disk.
    pub failed: Option<io::Error>,
}

impl Run<'_> {
    /// Watches until the end; `wanted` is asked again and again, `report` gets reports that are asked for meanwhile.
    pub fn run(
        mut self,
        mut wanted: impl FnMut() -> Wanted,
        mut report: impl FnMut(&Analysis) -> anyhow::Result<()>,
    ) -> Ended {
        let mut failed = None;
        let mut news: Vec<Event> = Vec::new();
        let mut blocks: Vec<Block> = Vec::new();
        blocks.resize_with(AT_ONCE, Block::default);
        let begun = Instant::now();
        let (mut first, mut last) = (None, Timestamp::MIN);
        let mut advanced = (Timestamp::MIN, Instant::now());
        let (mut packets, mut rest) = (0_u64, Instant::now());
        let mut delay = Delay::default();
        self.watch.begin(match self.pace {
            Pace::Machine => now(),
            Pace::Script => self.feed.clock(),
        });
        loop {
            let mut taken = 0;
            let mut over = false;
            while taken < AT_ONCE {
                let wait = if taken == 0 { ATTENTIVE } else { Duration::ZERO };
                match self.feed.next_block(&mut blocks[taken], wait) {
                    Fed::Packets => {
                        let left = self.until.packets.map_or(u64::MAX, |most| most - packets);
                        blocks[taken].truncate(usize::try_from(left).unwrap_or(usize::MAX));
                        packets += blocks[taken].len() as u64;
                        taken += 1;
                        if self.until.packets == Some(packets) {
                            over = true;
                            break;
                        }
                        // A script has the next block at hand; the tick is due in between.
                        if self.pace == Pace::Script {
                            break;
                        }
                    }
                    Fed::Nothing => break,
                    Fed::End => {
                        over = true;
                        break;
                    }
                }
            }
            if taken > 0 {
                let taken_in = fault::contain(|| self.watch.take(&blocks[..taken]));
                news.extend(
                    taken_in
                        .err()
                        .into_iter()
                        .flat_map(|fault| self.watch.record_fault(Step::Packets, &fault)),
                );
            }
            news.extend(self.record(&mut blocks[..taken], &mut delay));
            let mut clock = self.feed.clock();
            if clock > advanced.0 {
                advanced = (clock, Instant::now());
            } else if self.pace == Pace::Machine && advanced.0 > Timestamp::MIN {
                // The machine's clock was set back: what settles must not wait until it has caught up.
                let stood = advanced.1.elapsed().saturating_sub(SET_BACK);
                clock = advanced.0 + Span(i64::try_from(stood.as_nanos()).unwrap_or(i64::MAX));
            }
            if clock > Timestamp::MIN {
                let first = *first.get_or_insert(clock);
                over |= self.until.duration.is_some_and(|most| match self.pace {
                    Pace::Machine => begun.elapsed().as_nanos() >= most.0.unsigned_abs().into(),
                    Pace::Script => clock - first >= most,
                });
            }
            let every = if self.watch.is_idle() { IDLE_TICK } else { TICK };
            let due = clock > Timestamp::MIN && clock - last >= every;
            if due && (self.pace == Pace::Script || Instant::now() >= rest) {
                last = clock;
                let asked = Instant::now();
                if self.pace == Pace::Machine {
                    self.watch.lags(now() - clock);
                }
                let mut events = std::mem::take(&mut news);
                events.extend(self.tick(clock));
                rest = Instant::now() + asked.elapsed() * REST;
                over |= self.tell(events, &mut failed) == Next::Stop;
            }
            match wanted() {
                Wanted::Nothing => {}
                Wanted::Report => {
                    let (mut events, outcome) = self.watch.report(Moment::Between);
                    if let Err(error) = report(&outcome) {
                        let at = self.watch.state().at;
                        self.watch.warn(
                            at,
                            format!("the report so far cannot be written: {error:#}"),
                            &mut events,
                        );
                    }
                    over |= self.tell(events, &mut failed) == Next::Stop;
                }
                Wanted::Stop => over = true,
            }
            if over {
                break;
            }
        }
        self.end(news, delay, failed)
    }

    /// Tells what is left, and writes the report.
    fn end(mut self, mut news: Vec<Event>, mut delay: Delay, mut failed: Option<io::Error>) -> Ended {
        // The last packets may have come after the last tick.
        news.extend(self.tick(self.feed.clock()));
        let (more, mut outcome) = self.watch.report(Moment::Last);
        self.tell(news, &mut failed);
        self.tell(more, &mut failed);
        if let Some(recorder) = &mut self.recorder {
            let words = self.watch.words();
            let said = fault::contain(|| {
                delay.finish(recorder.as_mut(), words);
                recorder.finish()
            });
            let events = match said {
                Ok(said) => self.said(said),
                Err(fault) => self.stop_recording(&fault),
            };
            self.show(&events, &mut failed);
        }
        outcome.damage = self.watch.faults().to_vec();
        Ended { outcome: Box::new(outcome), failed }
    }

    /// What is new at `clock`.
    fn tick(&mut self, clock: Timestamp) -> Vec<Event> {
        let Run { watch, feed, .. } = self;
        let told = fault::contain(|| watch.tick(clock, &feed.interfaces(), &feed.silences()));
        told.unwrap_or_else(|fault| watch.record_fault(Step::Tick, &fault))
    }

    /// Keeps packets; gives what is to be said if that fails, for then nothing is kept any more.
    fn record(&mut self, blocks: &mut [Block], delay: &mut Delay) -> Vec<Event> {
        let Some(recorder) = &mut self.recorder else { return Vec::new() };
        let words = self.watch.words();
        match fault::contain(|| delay.record(blocks, recorder.as_mut(), words)) {
            Ok(()) => Vec::new(),
            Err(fault) => self.stop_recording(&fault),
        }
    }

    fn stop_recording(&mut self, fault: &Fault) -> Vec<Event> {
        self.recorder = None;
        self.watch.record_fault(Step::Recording, fault)
    }

    fn tell(&mut self, mut events: Vec<Event>, failed: &mut Option<io::Error>) -> Next {
        if let Some(recorder) = &mut self.recorder {
            let state = self.watch.state();
            let said = fault::contain(|| recorder.tick(state, &events));
            events.extend(match said {
                Ok(said) => self.said(said),
                Err(fault) => self.stop_recording(&fault),
            });
        }
        self.show(&events, failed)
    }

    fn said(&mut self, said: Vec<String>) -> Vec<Event> {
        let mut events = Vec::new();
        let at = self.watch.state().at;
        said.into_iter().for_each(|text| self.watch.warn(at, text, &mut events));
        events
    }

    /// Shows what is new to all outputs. One that fails is left out from then on: a full disk is no reason to stop watching,
    /// while nobody reads a pipe that is closed.
    fn show(&mut self, events: &[Event], failed: &mut Option<io::Error>) -> Next {
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

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
