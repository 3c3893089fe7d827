//! A watch without an interface: captures played as if they came in now, and a host that says what it is told to.

use std::path::Path;
use std::time::Duration;

use synscope::capture::feed::{Fed, Feed, Interface};
use synscope::capture::{self, Block, LinkType, Packet, Silence, Silences};
use synscope::decode::segment::PacketId;
use synscope::engine::{Options, Outcome};
use synscope::live::event::Event;
use synscope::live::output::{Next, Output};
use synscope::live::run::{Ended, Pace, Run, Until, Wanted};
use synscope::live::state::State;
use synscope::live::watch::{Setup, Watch};
use synscope::live::witness::Witness;
use synscope::time::{Span, Timestamp};

/// How far a silent wire advances the clock at once: as often as an interface says that it is silent.
const BEAT: Span = Span::millis(40);

/// Packets from memory, by their own clock.
pub struct Script {
    packets: Vec<(Timestamp, LinkType, u32, Vec<u8>)>,
    next: usize,
    clock: Timestamp,
    silences: Silences,
    /// How far the clock goes on behind the last packet.
    pub afterwards: Span,
    /// The interfaces, at each step.
    pub interface: Interface,
    /// Called at each step, with the time.
    pub step: Box<dyn FnMut(Timestamp, &mut Interface) + Send>,
}

impl Script {
    pub fn new(packets: Vec<(Timestamp, LinkType, u32, Vec<u8>)>) -> Script {
        let clock = packets.first().map_or(Timestamp::MIN, |(time, ..)| *time);
        let interface = Interface { name: "fake0".to_owned(), up: true, snaplen: 192, ..Interface::default() };
        Script {
            packets,
            next: 0,
            clock,
            silences: Silences::default(),
            afterwards: Span::ZERO,
            interface,
            step: Box::new(|_, _| ()),
        }
    }

    /// The packets of a capture in order of their times.
    pub fn of_capture(path: &Path) -> Script {
        let mut source = capture::open(&[path.to_owned()]).unwrap_or_else(|e| panic!("{path:?}: {e:?}")).source;
        let (mut block, mut packets) = (Block::default(), Vec::new());
        while source.next_block(&mut block) {
            packets.extend(block.packets().map(|p| (p.time, p.link, p.original_length, p.data.to_vec())));
        }
        Script::new(packets)
    }

    /// Takes out the packets that `keep` does not want.
    pub fn retain(&mut self, keep: impl FnMut(&(Timestamp, LinkType, u32, Vec<u8>)) -> bool) {
        self.packets.retain(keep);
    }
}

impl Feed for Script {
    fn next_block(&mut self, block: &mut Block, _: Duration) -> Fed {
        block.clear();
        (self.step)(self.clock, &mut self.interface);
        let until = self.clock + BEAT;
        while let Some((time, link, original_length, data)) = self.packets.get(self.next)
            && *time <= until
        {
            self.next += 1;
            let packet = Packet {
                id: PacketId::new(0, self.next as u64),
                time: *time,
                timed: true,
                link: *link,
                original_length: *original_length,
                data,
            };
            self.silences.note(&packet);
            block.push(&packet);
            let (first, last) = self.interface.times.unwrap_or((*time, *time));
            self.interface.times = Some((first.min(*time), last.max(*time)));
            self.interface.packets += 1;
        }
        let end = self.packets.last().map_or(self.clock, |(time, ..)| *time) + self.afterwards;
        if !block.is_empty() {
            let last = block.packets().map(|p| p.time).max().unwrap_or(until);
            self.clock = self.clock.max(last);
            return Fed::Packets;
        }
        if self.next >= self.packets.len() && self.clock >= end {
            return Fed::End;
        }
        self.clock = until;
        if self.next >= self.packets.len() {
            self.clock = until.min(end.max(self.clock));
        }
        Fed::Nothing
    }

    fn clock(&self) -> Timestamp {
        self.clock
    }

    fn interfaces(&self) -> Vec<Interface> {
        vec![self.interface.clone()]
    }

    fn silences(&self) -> Vec<Silence> {
        self.silences.list()
    }
}

/// Writes down what is told.
#[derive(Default)]
pub struct Told {
    pub events: Vec<Event>,
    pub state: State,
    pub ticks: u64,
}

impl Output for &mut Told {
    fn tick(&mut self, state: &State, events: &[Event]) -> std::io::Result<Next> {
        self.ticks += 1;
        self.events.extend_from_slice(events);
        self.state = state.clone();
        Ok(Next::Go)
    }
}

/// Plays a script to a watch.
pub fn watch(script: &mut Script, setup: Setup, witness: Option<Box<dyn Witness>>) -> (Told, Outcome) {
    let mut told = Told::default();
    let run = Run {
        feed: script,
        watch: Watch::new(setup, witness).expect("threads"),
        outputs: vec![Box::new(&mut told)],
        recorder: None,
        until: Until::default(),
        pace: Pace::Script,
    };
    let ended = run.run(|| Wanted::Nothing, |_| Ok(())).expect("nothing to write to");
    let Ended::Report(outcome) = ended else { panic!("there is no pipe") };
    (told, *outcome)
}

/// As `options`, and nothing is forgotten.
pub fn remembering(options: Options) -> Setup {
    let mut setup = Setup { options, ..Setup::default() };
    setup.limits.generation = Span::secs(1 << 30);
    setup.bounds.findings = 1 << 20;
    setup.bounds.of_a_kind = 1 << 20;
    setup
}
