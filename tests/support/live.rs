//! A watch without an interface: captures played as if they came in now, and a host whose answers are scripted.

use std::path::Path;
use std::time::Duration;

use synscope::capture::feed::{Feed, FeedResult, Interface};
use synscope::capture::{self, Block, LinkType, Packet, Silence, Silences};
use synscope::decode::segment::PacketId;
use synscope::engine::{Analysis, AnalysisOptions};
use synscope::live::event::LiveEvent;
use synscope::live::output::{Next, Output};
use synscope::live::run::{EndCondition, Ended, RunRequest, TimeSource, WatchRun};
use synscope::live::state::WatchState;
use synscope::live::watch::{Watch, WatchSettings};
use synscope::live::witness::HostSource;
use synscope::time::{Span, Timestamp};

/// How far a silent wire advances the clock at once: as often as an interface says that it is silent.
const BEAT: Span = Span::millis(40);

/// Changes the interface as time passes.
type Step = Box<dyn FnMut(Timestamp, &mut Interface) + Send>;

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
    pub step: Step,
}

impl Script {
    pub fn new(packets: Vec<(Timestamp, LinkType, u32, Vec<u8>)>) -> Script {
        let clock = packets.first().map_or(Timestamp::MIN, |(time, ..)| *time);
        let interface =
            Interface { name: "fake0".to_owned(), up: true, snaplen: 192, ..Interface::default() };
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
        let mut source =
            capture::open(&[path.to_owned()]).unwrap_or_else(|e| panic!("{path:?}: {e:?}")).source;
        let (mut block, mut packets) = (Block::default(), Vec::new());
        while source.next_block(&mut block) {
            packets.extend(block.packets().map(|p| (p.time, p.link, p.original_length, p.data.to_vec())));
        }
        Script::new(packets)
    }

    /// Begins to watch so long before the first packet.
    pub fn begin_earlier(&mut self, by: Span) {
        self.clock = self.clock.after(Span(-by.0));
    }
}

impl Feed for Script {
    fn next_block(&mut self, block: &mut Block, _: Duration) -> FeedResult {
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
                interface: 0,
                link: *link,
                original_length: *original_length,
                data,
            };
            self.silences.note(&packet);
            block.push(&packet);
            self.interface.packets += 1;
        }
        let end = self.packets.last().map_or(self.clock, |(time, ..)| *time) + self.afterwards;
        if !block.is_empty() {
            let last = block.packets().map(|p| p.time).max().unwrap_or(until);
            self.clock = self.clock.max(last);
            return FeedResult::Packets;
        }
        if self.next >= self.packets.len() && self.clock >= end {
            return FeedResult::End;
        }
        self.clock = until;
        if self.next >= self.packets.len() {
            self.clock = until.min(end.max(self.clock));
        }
        FeedResult::Nothing
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

/// Records all events.
#[derive(Default)]
pub struct Told {
    pub events: Vec<LiveEvent>,
    pub state: WatchState,
    pub ticks: u64,
}

impl Output for &mut Told {
    fn tick(&mut self, state: &WatchState, events: &[LiveEvent]) -> std::io::Result<Next> {
        self.ticks += 1;
        self.events.extend_from_slice(events);
        self.state = state.clone();
        Ok(Next::Go)
    }
}

/// Plays a script to a watch.
pub fn watch(
    feed: &mut dyn Feed,
    setup: WatchSettings,
    witness: Option<Box<dyn HostSource>>,
) -> (Told, Analysis) {
    let mut told = Told::default();
    let outcome = watch_by(feed, setup, witness, Box::new(&mut told));
    (told, outcome)
}

/// The same; the events go to `told`.
pub fn watch_by<'a>(
    feed: &'a mut dyn Feed,
    setup: WatchSettings,
    witness: Option<Box<dyn HostSource>>,
    output: Box<dyn Output + 'a>,
) -> Analysis {
    watch_until(feed, setup, witness, output, EndCondition::default())
}

/// The same, with an end of its own.
pub fn watch_until<'a>(
    feed: &'a mut dyn Feed,
    setup: WatchSettings,
    witness: Option<Box<dyn HostSource>>,
    output: Box<dyn Output + 'a>,
    until: EndCondition,
) -> Analysis {
    let run = WatchRun {
        feed,
        watch: Watch::new(setup, witness).expect("threads"),
        outputs: vec![output],
        recorder: None,
        until,
        pace: TimeSource::Script,
    };
    let Ended { outcome, failed } = run.run(|| RunRequest::Nothing, |_| Ok(()));
    assert!(failed.is_none(), "there is nothing to write to: {failed:?}");
    *outcome
}

/// As `options`, and nothing is forgotten.
pub fn remembering(options: AnalysisOptions) -> WatchSettings {
    let mut setup = WatchSettings { options, ..WatchSettings::default() };
    setup.limits.generation = Span::secs(1 << 30);
    setup.bounds.findings = 1 << 20;
    setup.bounds.of_a_kind = 1 << 20;
    setup
}

/// A host whose counters rise as they are told to: `(when, name, by how much)`.
pub struct Host {
    pub snapshot: synscope::host::Snapshot,
    pub rises: Vec<(Timestamp, &'static str, u64)>,
}

impl Host {
    /// A host with this address and listener that counts everything that matters, and nothing happens there.
    pub fn new(address: std::net::SocketAddr) -> Host {
        let counters = [
            "TcpExtListenOverflows",
            "TcpExtListenDrops",
            "TcpExtTCPReqQFullDrop",
            "TcpExtSyncookiesSent",
            "TcpExtEmbryonicRsts",
            "TcpOutRsts",
            "TcpExtTCPDeferAcceptDrop",
        ];
        let socket = synscope::host::listeners::ListenSocket {
            address,
            inode: 7,
            accept_queue: 1,
            backlog: Some(4),
            drops: Some(0),
        };
        let text = format!(
            r#"{{"schema": "synscope.snapshot/1", "time": "1970-01-01T00:00:00Z", "finished": "1970-01-01T00:00:00Z",
                "kernel": "6.1.0", "hostname": "fake", "addresses": ["{}"], "counters": {{}},
                "sysctls": {{"net.ipv4.tcp_syncookies": "1", "net.ipv4.tcp_abort_on_overflow": "0"}}}}"#,
            address.ip()
        );
        let mut snapshot = synscope::host::Snapshot::parse(&text).expect("a snapshot");
        snapshot.counters = counters.iter().map(|name| ((*name).to_owned(), 100)).collect();
        snapshot.listeners = Some(vec![socket]);
        Host { snapshot, rises: Vec::new() }
    }
}

impl HostSource for Host {
    fn look(&mut self, at: Timestamp) -> Option<synscope::host::Snapshot> {
        let mut now = self.snapshot.clone();
        (now.time, now.finished) = (at, at);
        for (_, name, by) in self.rises.iter().filter(|(when, ..)| *when < at) {
            *now.counters.entry((*name).to_owned()).or_default() += by;
            if *name == "TcpExtListenDrops" {
                for listener in now.listeners.iter_mut().flatten() {
                    listener.drops = listener.drops.map(|drops| drops + *by as u32);
                }
            }
        }
        Some(now)
    }
}

/// Control bits.
pub const SYN: u8 = 2;
pub const ACK: u8 = 16;
pub const RST: u8 = 4;
pub const FIN: u8 = 1;

/// One end of a made-up connection: address and port, both IPv4.
pub type End = (u32, u16);

/// An Ethernet frame with a TCP segment in it.
pub fn segment(from: End, to: End, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let options: &[u8] = if flags & SYN != 0 { &[2, 4, 5, 0xb4] } else { &[] };
    let header = 20 + options.len();
    let length = 20 + header + payload.len();
    let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    f.extend((length as u16).to_be_bytes());
    f.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    f.extend(from.0.to_be_bytes());
    f.extend(to.0.to_be_bytes());
    let check = checksum(&f[14..34], 0);
    f[24..26].copy_from_slice(&check.to_be_bytes());
    f.extend(from.1.to_be_bytes());
    f.extend(to.1.to_be_bytes());
    f.extend(seq.to_be_bytes());
    f.extend(ack.to_be_bytes());
    f.extend([(header as u8 / 4) << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
    f.extend(options);
    f.extend(payload);
    let pseudo = [from.0 >> 16, from.0 & 0xffff, to.0 >> 16, to.0 & 0xffff, 6, (length - 20) as u32];
    let check = checksum(&f[34..], pseudo.iter().sum());
    f[50..52].copy_from_slice(&check.to_be_bytes());
    f
}

fn checksum(bytes: &[u8], begin: u32) -> u16 {
    let words = bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0)));
    let mut sum = begin + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// When made-up traffic begins.
pub const BEGIN: Timestamp = Timestamp(1_800_000_000_000_000_000);
/// 192.0.2.1.
pub const SERVER: u32 = 0xc000_0201;

/// Makes the packets of a round, which begins at a time.
type Traffic = Box<dyn FnMut(u32, Timestamp, &mut Vec<(Timestamp, Vec<u8>)>) + Send>;

/// Packets made while they are asked for: traffic of `each` every `step`.
pub struct Days {
    clock: Timestamp,
    step: Span,
    end: Timestamp,
    pub packets: u64,
    round: u32,
    each: Traffic,
}

impl Feed for Days {
    fn next_block(&mut self, block: &mut Block, _: Duration) -> FeedResult {
        block.clear();
        if self.clock >= self.end {
            return FeedResult::End;
        }
        let mut made = Vec::new();
        (self.each)(self.round, self.clock, &mut made);
        made.sort_by_key(|(time, _)| *time);
        for (time, data) in &made {
            self.packets += 1;
            block.push(&Packet {
                id: PacketId::new(0, self.packets),
                time: *time,
                timed: true,
                interface: 0,
                link: LinkType(1),
                original_length: data.len() as u32,
                data,
            });
        }
        self.round += 1;
        self.clock = self.clock + self.step;
        FeedResult::Packets
    }

    fn clock(&self) -> Timestamp {
        self.clock
    }

    fn interfaces(&self) -> Vec<Interface> {
        vec![Interface { name: "fake0".to_owned(), up: true, packets: self.packets, ..Interface::default() }]
    }
}

impl Days {
    pub fn new(
        step: Span,
        length: Span,
        each: impl FnMut(u32, Timestamp, &mut Vec<(Timestamp, Vec<u8>)>) + Send + 'static,
    ) -> Days {
        Days { clock: BEGIN, step, end: BEGIN + length, packets: 0, round: 0, each: Box::new(each) }
    }
}

/// Handshake, question, answer, both FINs.
pub fn connection(client: End, server: End, at: Timestamp, made: &mut Vec<(Timestamp, Vec<u8>)>) {
    let mut say = |ms: i64, from, to, seq, ack, flags, payload: &[u8]| {
        made.push((at + Span::millis(ms), segment(from, to, seq, ack, flags, payload)));
    };
    say(0, client, server, 1, 0, SYN, b"");
    say(1, server, client, 1, 2, SYN | ACK, b"");
    say(20, client, server, 2, 2, ACK, b"");
    say(21, client, server, 2, 2, ACK, b"question");
    say(22, server, client, 2, 10, ACK, b"answer");
    say(40, client, server, 10, 8, FIN | ACK, b"");
    say(41, server, client, 8, 11, FIN | ACK, b"");
    say(60, client, server, 11, 9, ACK, b"");
}
