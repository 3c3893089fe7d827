//! Interfaces, through libpcap: one thread each, which only copies packets into blocks.
//!
//! The handle is in non-blocking mode. libpcap's blocking reads of a silent interface may not return at all: kernels
//! from 3.19 on do not wake a reader for an empty block. And that an interface is silent must be reported, too. The
//! kernel hands its blocks over after 20 ms and wakes the thread, which waits for that with poll(2).
//!
//! An interface that goes away is tried again until it is back. Only its thread may open it then: `Settings::settle`
//! must leave the thread the rights for that.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use pcap::{Active, Capture, Device, Precision};

use self::drops::HandleDrops;
pub use self::error::LiveError;
use self::similar_name::nearest;
use super::feed::{Feed, FeedResult, Interface};
use super::steady::SteadyClock;
use super::{Block, LinkType, Packet, Silence};
use crate::decode::segment::PacketId;
use crate::fault;
use crate::time::{Span, Timestamp};

mod drops;
mod error;
mod similar_name;

/// The kernel hands over a block of packets that is not full after this many milliseconds.
const RETIRE: i32 = 20;
/// A packet arrives within this time after its timestamp: [`RETIRE`], and a scheduler that lets a thread wait.
const LATE: Span = Span::millis(120);
/// How often an interface reports that it is silent, soon after its last packets: some findings are decided by silence.
/// After [`IDLE_FROM`] it reports that less often. Packets of other interfaces wait for the report; its own do not.
const BEAT: Duration = Duration::from_millis(40);
const IDLE_BEAT: Duration = Duration::from_millis(250);
const IDLE_BEAT_ALONE: Duration = Duration::from_millis(400);
const IDLE_FROM: Duration = Duration::from_secs(3);
/// If the handle cannot be waited for, it is tried again after this.
const PAUSE: Duration = Duration::from_millis(20);
/// How often the drop counts are read.
const COUNTS: Duration = Duration::from_millis(500);
const IDLE_COUNTS: Duration = Duration::from_secs(2);
/// How often an interface that went away is tried again.
const AGAIN: Duration = Duration::from_millis(250);
/// Packets of one block at most.
const BLOCK: usize = 2_048;
/// How many blocks of one interface may be in use: the engine's own, and those that wait for it. All other packets are
/// in the kernel's buffer.
const UNDER_WAY: usize = 32;

/// What to capture, and how.
#[derive(Clone)]
pub struct CaptureSettings {
    /// Names of interfaces; `any` is all of them.
    pub interfaces: Vec<String>,
    /// A pcap-filter(7) expression; empty takes all.
    pub filter: String,
    /// Bytes of a packet that are kept.
    pub snaplen: u32,
    /// The kernel's buffer for each interface, bytes.
    pub buffer: u64,
    /// Whether packets to other hosts are wanted, too.
    pub promiscuous: Promiscuous,
    /// Called in each capturing thread before it opens its interface: to enter a network namespace.
    pub prepare: ThreadHook,
    /// Called in each capturing thread once its interface is open: to drop privileges.
    pub settle: ThreadHook,
}

/// Something that a capturing thread does.
pub type ThreadHook = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;

/// Whether packets to other hosts are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Promiscuous {
    /// They are.
    Yes,
    /// They are not.
    No,
}

/// An interface, for a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownInterface {
    /// Its name.
    pub name: String,
    /// `up`, `up, loopback`, `down`.
    pub state: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// What the system says of it.
    pub description: Option<String>,
}

/// Ensures that libpcap is loaded.
fn load_library() -> Result<(), LiveError> {
    #[cfg(libpcap_at_run_time)]
    super::libpcap::load().map_err(|reason| LiveError::NoLibrary { reason: reason.to_owned() })?;
    Ok(())
}

/// The interfaces that can be captured on, in this thread's network namespace.
///
/// # Errors
/// What libpcap says.
pub fn interfaces() -> Result<Vec<KnownInterface>, LiveError> {
    load_library()?;
    let devices = Device::list().map_err(|error| LiveError::Failed {
        name: "any interface".to_owned(),
        reason: error_text(&error),
    })?;
    let known = devices.into_iter().filter(is_network).map(|device| KnownInterface {
        state: match (device.flags.is_up(), device.flags.is_loopback()) {
            (true, true) => "up, loopback".to_owned(),
            (true, false) => "up".to_owned(),
            (false, _) => "down".to_owned(),
        },
        addresses: device.addresses.iter().map(|address| address.addr.to_string()).collect(),
        description: device.desc,
        name: device.name,
    });
    Ok(known.collect())
}

/// libpcap also lists devices that are not network interfaces.
fn is_network(device: &Device) -> bool {
    let others = ["nflog", "nfqueue", "dbus-", "usbmon", "bluetooth"];
    !others.iter().any(|other| device.name.starts_with(other))
}

/// Packets of one or more interfaces, in order of time.
pub struct LiveFeed {
    inputs: Vec<LiveInput>,
    messages: Receiver<ThreadMessage>,
    silences: Vec<Silence>,
    /// Tells the threads that the watch is about to end.
    is_ending: Arc<AtomicBool>,
}

/// One interface, as it is known here.
struct LiveInput {
    interface: Interface,
    /// Gives emptied blocks back to its thread.
    back: SyncSender<Block>,
    /// Packets that wait for those of other interfaces, and how many of the first block were handed out.
    waiting: VecDeque<Block>,
    taken: usize,
    /// All packets before this have come.
    complete: Timestamp,
    down_since: Option<Timestamp>,
}

/// A message of the thread of the interface with this number.
struct ThreadMessage(usize, News);

enum News {
    Packets(Block),
    /// No packet from before this time will come.
    Silent(Timestamp),
    /// Packets dropped since the last look, by the kernel and by the interface.
    Drops(u64, u64),
    Down(Timestamp, String),
    Up(Timestamp),
    /// The clock was set; this is the correction to add to its time now.
    ClockSet(Span),
}

impl LiveFeed {
    /// Opens all interfaces.
    ///
    /// # Errors
    /// The first of them that cannot be opened.
    pub fn open(settings: &CaptureSettings) -> Result<LiveFeed, LiveError> {
        load_library()?;
        let (to, messages) = mpsc::sync_channel(UNDER_WAY.saturating_mul(settings.interfaces.len().max(1)));
        let is_ending = Arc::<AtomicBool>::default();
        let mut feed = LiveFeed {
            inputs: Vec::new(),
            messages,
            silences: Vec::new(),
            is_ending: Arc::clone(&is_ending),
        };
        for (number, name) in settings.interfaces.iter().enumerate() {
            let (back, empties) = mpsc::sync_channel(UNDER_WAY);
            let (opened, answer) = mpsc::channel();
            let (theirs, to, name_there) = (settings.clone(), to.clone(), name.clone());
            let is_ending = Arc::clone(&is_ending);
            thread::Builder::new()
                .name(format!("capture-{name}"))
                .spawn(move || {
                    let handle = (theirs.prepare)()
                        .map_err(LiveError::Prepare)
                        .and_then(|()| open(&name_there, &theirs))
                        .and_then(|handle| {
                            (theirs.settle)().map_err(LiveError::Prepare)?;
                            Ok(handle)
                        });
                    let handle = match handle {
                        Ok(handle) => handle,
                        Err(error) => return drop(opened.send(Err(error))),
                    };
                    // The thread that called waits for the answer.
                    let _ = opened.send(Ok(()));
                    let mut thread = Thread {
                        number,
                        name: name_there,
                        settings: theirs,
                        to,
                        empties,
                        next: 0,
                        clock: SteadyClock::default(),
                        is_ending,
                    };
                    // The thread ends when the receiver is gone.
                    let _ = thread.run(handle);
                })
                .map_err(|error| LiveError::Failed { name: name.clone(), reason: error.to_string() })?;
            answer.recv().unwrap_or_else(|_| {
                let reason = "its thread ended".to_owned();
                Err(LiveError::Failed { name: name.clone(), reason })
            })?;
            feed.inputs.push(LiveInput {
                interface: Interface {
                    name: name.clone(),
                    up: true,
                    snaplen: settings.snaplen,
                    ..Interface::default()
                },
                back,
                waiting: VecDeque::new(),
                taken: 0,
                complete: Timestamp::MIN,
                down_since: None,
            });
        }
        Ok(feed)
    }

    fn record_message(&mut self, ThreadMessage(from, news): ThreadMessage) {
        let Some(input) = self.inputs.get_mut(from) else { return };
        match news {
            News::Packets(block) => {
                input.interface.packets = input.interface.packets.saturating_add(block.len() as u64);
                if let Some(last) = block.records.last() {
                    input.complete = input.complete.max(last.time);
                }
                input.waiting.push_back(block);
            }
            News::Silent(time) => input.complete = input.complete.max(time),
            News::Drops(kernel, interface) => {
                let known = &mut input.interface;
                known.dropped_by_kernel = known.dropped_by_kernel.saturating_add(kernel);
                known.dropped_by_interface = known.dropped_by_interface.saturating_add(interface);
            }
            News::Down(time, reason) => {
                input.interface.up = false;
                input.interface.trouble = Some(reason);
                input.down_since.get_or_insert(time);
            }
            News::ClockSet(offset) => input.interface.clock_offset = offset,
            News::Up(time) => {
                input.interface.up = true;
                input.interface.trouble = None;
                if let Some(from) = input.down_since.take() {
                    if self.silences.len() >= MOST_SILENCES {
                        self.silences.remove(0);
                    }
                    self.silences.push(Silence { from, to: time });
                }
            }
        }
    }

    /// Hands out packets in order of time, as far as the order of several interfaces is certain.
    fn hand_out(&mut self, block: &mut Block) -> bool {
        if let [only] = &mut self.inputs[..] {
            let Some(mut next) = only.waiting.pop_front() else { return false };
            std::mem::swap(block, &mut next);
            // Its thread makes another one if it does not get this back.
            let _ = only.back.try_send(next);
            return true;
        }
        block.clear();
        let complete = self.inputs.iter().map(|input| input.complete).min().unwrap_or(Timestamp::MIN);
        while block.len() < BLOCK {
            let next = self.inputs.iter().enumerate().filter_map(|(n, input)| Some((input.next()?, n)));
            let Some((time, n)) = next.min() else { break };
            if time > complete {
                break;
            }
            let Some(input) = self.inputs.get_mut(n) else { break };
            input.hand_out(block);
        }
        !block.is_empty()
    }
}

/// Intervals in which an interface was away: no more than these are remembered.
const MOST_SILENCES: usize = 1_024;

impl LiveInput {
    /// Time of the next packet to be handed out.
    fn next(&self) -> Option<Timestamp> {
        Some(self.waiting.front()?.records.get(self.taken)?.time)
    }

    /// Hands out the next packet.
    fn hand_out(&mut self, block: &mut Block) {
        let Some(first) = self.waiting.front() else { return };
        if let Some(record) = first.records.get(self.taken) {
            block.push(&first.packet(record));
            self.taken = self.taken.saturating_add(1);
        }
        if self.taken >= first.len() {
            self.taken = 0;
            if let Some(empty) = self.waiting.pop_front() {
                let _ = self.back.try_send(empty);
            }
        }
    }
}

impl Feed for LiveFeed {
    fn next_block(&mut self, block: &mut Block, wait: Duration) -> FeedResult {
        if self.hand_out(block) {
            return FeedResult::Packets;
        }
        match self.messages.recv_timeout(wait) {
            // A report without packets is handled at once: the clock has gone on.
            Ok(message) => {
                self.record_message(message);
                if self.hand_out(block) { FeedResult::Packets } else { FeedResult::Nothing }
            }
            Err(RecvTimeoutError::Timeout) => FeedResult::Nothing,
            Err(RecvTimeoutError::Disconnected) => FeedResult::End,
        }
    }

    fn clock(&self) -> Timestamp {
        let of = |input: &LiveInput| match input.next() {
            // Waiting packets have not been handed out.
            Some(next) => next.min(input.complete),
            None => input.complete,
        };
        self.inputs.iter().map(of).min().unwrap_or(Timestamp::MIN)
    }

    fn interfaces(&self) -> Vec<Interface> {
        self.inputs.iter().map(|input| input.interface.clone()).collect()
    }

    fn end_soon(&mut self) {
        self.is_ending.store(true, Ordering::Release);
    }

    fn silences(&self) -> Vec<Silence> {
        let now = self.inputs.iter().map(|input| input.complete).max().unwrap_or(Timestamp::MIN);
        let open = self.inputs.iter().filter_map(|input| input.down_since);
        let open = open.filter(|from| *from < now).map(|from| Silence { from, to: now });
        self.silences.iter().copied().chain(open).collect()
    }
}

/// The thread of an interface.
struct Thread {
    number: usize,
    name: String,
    settings: CaptureSettings,
    to: SyncSender<ThreadMessage>,
    empties: Receiver<Block>,
    /// Packets taken so far.
    next: u64,
    clock: SteadyClock,
    is_ending: Arc<AtomicBool>,
}

/// Nobody listens any more.
struct ReceiverGone;

impl Thread {
    fn run(&mut self, mut handle: Capture<Active>) -> Result<(), ReceiverGone> {
        loop {
            let captured = fault::contain(|| self.capture(&mut handle));
            let reason = captured.unwrap_or_else(|fault| Ok(fault.told()))?;
            drop(handle);
            self.send(News::Down(self.clock.now(), reason))?;
            handle = loop {
                thread::sleep(AGAIN);
                if let Ok(handle) = open(&self.name, &self.settings) {
                    break handle;
                }
                self.look_at_clock()?;
                self.send(News::Silent(self.complete_until()))?;
            };
            self.send(News::Up(self.clock.now()))?;
        }
    }

    /// Takes in packets until the handle is of no more use; says why.
    fn capture(&mut self, handle: &mut Capture<Active>) -> Result<String, ReceiverGone> {
        let link = link(handle.get_datalink().0);
        let (mut beat, mut counted, mut heard) = (Instant::now(), Instant::now(), Instant::now());
        let mut drops = HandleDrops::default();
        let (mut down, mut was_ending) = (false, false);
        let mut block = Block::default();
        loop {
            let before = block.len();
            self.look_at_clock()?;
            let number = self.number as u16;
            let Thread { next, clock, .. } = &mut *self;
            let taken = handle.dispatch(Some(BLOCK.saturating_sub(before)), |packet| {
                *next = next.saturating_add(1);
                block.push(&Packet {
                    id: PacketId::new(number, *next),
                    time: clock.correct(time(packet.header.ts.tv_sec, packet.header.ts.tv_usec)),
                    timed: true,
                    interface: 0,
                    link,
                    original_length: packet.header.len,
                    data: packet.data,
                });
            });
            let silent = match &taken {
                Ok(_) => block.len() == before,
                Err(_) => true,
            };
            // Reported before the packets that were read meanwhile: some may be from after the end.
            if !was_ending && self.is_ending.load(Ordering::Acquire) {
                was_ending = true;
                self.tell_drops(handle, &mut drops)?;
            }
            if block.len() >= BLOCK || (silent && !block.is_empty()) {
                let empty = self.empties.try_recv().unwrap_or_default();
                let full = std::mem::replace(&mut block, empty);
                block.clear();
                self.send(News::Packets(full))?;
                beat = Instant::now();
                heard = beat;
                if down {
                    down = false;
                    self.send(News::Up(self.clock.now()))?;
                }
            }
            let at = Instant::now();
            let idle = at.duration_since(heard) >= IDLE_FROM;
            if at.duration_since(counted) >= if idle { IDLE_COUNTS } else { COUNTS } {
                counted = at;
                self.tell_drops(handle, &mut drops)?;
                if silent && self.name != "any" {
                    match state(&self.name) {
                        LinkState::Up if down => {
                            down = false;
                            self.send(News::Up(self.clock.now()))?;
                        }
                        LinkState::Down if !down => {
                            down = true;
                            let reason = "it was taken down".to_owned();
                            self.send(News::Down(self.clock.now(), reason))?;
                        }
                        LinkState::Gone => return Ok("it was removed".to_owned()),
                        _ => {}
                    }
                }
            }
            if silent {
                if let Err(error) = taken {
                    // An interface that is only down can be read again once it is up.
                    if state(&self.name) == LinkState::Gone || !is_about_down(&error) {
                        return Ok(error_text(&error));
                    }
                }
                let every = match self.settings.interfaces.len() {
                    _ if !idle => BEAT,
                    0..=1 => IDLE_BEAT_ALONE,
                    _ => IDLE_BEAT,
                };
                if at.duration_since(beat) >= every {
                    beat = at;
                    self.send(News::Silent(self.complete_until()))?;
                }
                wait(handle, every.saturating_sub(at.duration_since(beat)));
            }
        }
    }

    /// Reports how many packets were dropped since the last look.
    fn tell_drops(&self, handle: &mut Capture<Active>, drops: &mut HandleDrops) -> Result<(), ReceiverGone> {
        match drops.since_last_look(handle) {
            Some((kernel, interface)) => self.send(News::Drops(kernel, interface)),
            None => Ok(()),
        }
    }

    /// Reports if the clock was set.
    fn look_at_clock(&mut self) -> Result<(), ReceiverGone> {
        let offset = self.clock.offset();
        self.clock.look();
        if self.clock.offset() == offset { Ok(()) } else { self.send(News::ClockSet(self.clock.offset())) }
    }

    /// Reports that packets from before this time have come, if none was found just now.
    fn complete_until(&self) -> Timestamp {
        self.clock.now().after(Span(-LATE.0))
    }

    fn send(&self, news: News) -> Result<(), ReceiverGone> {
        self.to.send(ThreadMessage(self.number, news)).map_err(|_| ReceiverGone)
    }
}

/// Waits until the kernel hands over a block of packets, at most this long.
#[cfg(target_os = "linux")]
fn wait(handle: &Capture<Active>, most: Duration) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    // A wait of less than a millisecond would return at once.
    let most = most.max(Duration::from_millis(1));
    let mut fds = [PollFd::new(handle, PollFlags::IN)];
    let time = Timespec { tv_sec: 0, tv_nsec: most.subsec_nanos().into() };
    // An interface that is down is readable, but a read fails. That must not keep the thread busy.
    match poll(&mut fds, Some(&time)) {
        Ok(_) if !fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) => {}
        _ => thread::sleep(PAUSE.min(most)),
    }
}

#[cfg(not(target_os = "linux"))]
fn wait(_: &Capture<Active>, most: Duration) {
    thread::sleep(PAUSE.min(most));
}

/// The time of a packet. Its fraction is in nanoseconds, for that is the precision asked for; both parts are narrower on
/// some machines.
fn time(seconds: impl Into<i64>, fraction: impl Into<i64>) -> Timestamp {
    Timestamp(seconds.into().saturating_mul(1_000_000_000).saturating_add(fraction.into()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LinkState {
    Up,
    Down,
    Gone,
}

/// Whether the interface is there, seen from this thread's network namespace.
fn state(name: &str) -> LinkState {
    let Ok(devices) = Device::list() else { return LinkState::Up };
    match devices.iter().find(|device| device.name == name) {
        Some(device) if device.flags.is_up() => LinkState::Up,
        Some(_) => LinkState::Down,
        None => LinkState::Gone,
    }
}

fn is_about_down(error: &pcap::Error) -> bool {
    error_text(error).contains("down")
}

fn open(name: &str, settings: &CaptureSettings) -> Result<Capture<Active>, LiveError> {
    let failed = |error: pcap::Error| refused(name, &error);
    let buffer = i32::try_from(settings.buffer).unwrap_or(i32::MAX);
    let handle = Capture::from_device(name)
        .map_err(failed)?
        .snaplen(i32::try_from(settings.snaplen).unwrap_or(i32::MAX))
        .buffer_size(buffer)
        .promisc(settings.promiscuous == Promiscuous::Yes && name != "any")
        .timeout(RETIRE)
        .precision(Precision::Nano);
    let mut handle = handle.open().map_err(failed)?;
    if !settings.filter.is_empty() {
        handle.filter(&settings.filter, true).map_err(|error| LiveError::Filter {
            filter: settings.filter.clone(),
            reason: error_text(&error),
        })?;
    }
    handle.setnonblock().map_err(failed)
}

/// Why libpcap did not open it, and what to do.
fn refused(name: &str, error: &pcap::Error) -> LiveError {
    let reason = error_text(error);
    if reason.contains("permi") {
        return LiveError::Denied { name: name.to_owned() };
    }
    let known: Vec<String> = interfaces().unwrap_or_default().into_iter().map(|known| known.name).collect();
    if known.iter().any(|known| known == name) || known.is_empty() {
        return LiveError::Failed { name: name.to_owned(), reason };
    }
    let guess = nearest(name, &known).map(|near| format!(" (did you mean '{near}'?)")).unwrap_or_default();
    LiveError::NoInterface { name: name.to_owned(), known: known.join(", "), guess }
}

/// libpcap's message, without the words that every message begins with.
fn error_text(error: &pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The link type as captures name it: libpcap's own numbers differ in a few cases (`DLT_RAW`).
fn link(number: i32) -> LinkType {
    LinkType(match number {
        12 | 14 => 101,
        other => u16::try_from(other).unwrap_or(u16::MAX),
    })
}

impl fmt::Debug for CaptureSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CaptureSettings { interfaces, filter, snaplen, buffer, promiscuous, .. } = self;
        f.debug_struct("Settings")
            .field("interfaces", interfaces)
            .field("filter", filter)
            .field("snaplen", snaplen)
            .field("buffer", buffer)
            .field("promiscuous", promiscuous)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(n: u16, time: i64) -> Block {
        let mut block = Block::default();
        block.push(&Packet {
            id: PacketId::new(n, 1),
            time: Timestamp(time),
            timed: true,
            interface: 0,
            link: LinkType(1),
            original_length: 1,
            data: &[0],
        });
        block
    }

    fn of_two() -> LiveFeed {
        let (_, messages) = mpsc::sync_channel(1);
        let input = || LiveInput {
            interface: Interface::default(),
            back: mpsc::sync_channel(1).0,
            waiting: VecDeque::new(),
            taken: 0,
            complete: Timestamp::MIN,
            down_since: None,
        };
        LiveFeed { inputs: vec![input(), input()], messages, silences: Vec::new(), is_ending: Arc::default() }
    }

    #[test]
    fn packets_of_two_interfaces_come_in_order_of_time_once_both_are_known_to_be_complete() {
        let mut feed = of_two();
        let mut block = Block::default();
        feed.record_message(ThreadMessage(0, News::Packets(packet(0, 30))));
        assert!(!feed.hand_out(&mut block), "the other one may have an earlier packet");
        feed.record_message(ThreadMessage(1, News::Packets(packet(1, 20))));
        assert!(feed.hand_out(&mut block));
        assert_eq!(block.packets().map(|p| p.time.0).collect::<Vec<_>>(), [20]);
        assert_eq!(feed.clock(), Timestamp(20));
        feed.record_message(ThreadMessage(1, News::Silent(Timestamp(40))));
        assert!(feed.hand_out(&mut block));
        assert_eq!(block.packets().map(|p| p.time.0).collect::<Vec<_>>(), [30]);
    }

    #[test]
    fn time_without_the_interface_is_a_silence() {
        let mut feed = of_two();
        feed.record_message(ThreadMessage(0, News::Down(Timestamp(10), "it was removed".to_owned())));
        feed.record_message(ThreadMessage(1, News::Silent(Timestamp(15))));
        assert!(!feed.interfaces()[0].up);
        assert_eq!(feed.silences(), [Silence { from: Timestamp(10), to: Timestamp(15) }]);
        feed.record_message(ThreadMessage(0, News::Up(Timestamp(20))));
        assert_eq!(feed.silences(), [Silence { from: Timestamp(10), to: Timestamp(20) }]);
        assert!(feed.interfaces()[0].up);
    }
}
