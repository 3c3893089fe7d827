//! How fast can this machine go over a capture at all? The yardstick that synscope's speed is measured against.
//!
//! ```text
//! cargo run --release --example walk -- -m parse -t 2 web.pcap
//! ```
//!
//! Minimal passes over a classic pcap (microseconds or nanoseconds, either byte order) or a little-endian pcapng; each
//! does what the one before does and something more. They trust the file, and neither expire connections nor report
//! findings. The counts are the same for every way of reading and every number of threads.

// A memory map without a dependency: see the safety comments.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "\
Usage: walk [-m MODE] [-t THREADS] [--io mmap|populate|read] [--slots N] FILE

Modes, work per packet:
  read      none: read() the file through a buffer
  headers   hop from record header to record header
  touch     the same, and sum the first 128 captured bytes
  parse     the same hops, and decode Ethernet, VLAN, IPv4, IPv6 and TCP down to ports, flags, seq, ack
  table     parse, and upsert a slot per connection in an open-addressing table
  batch     table, 32 packets at a time: decode, prefetch their slots, then upsert

-t cuts the file at byte offsets and finds the next record by eight plausible ones in a row; with `table` and `batch`
a connection that lies on both sides of a cut counts twice. --slots N starts the table larger.";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Read,
    Headers,
    Touch,
    Parse,
    Table,
    Batch,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Io {
    Map,
    Populate,
    Read,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("walk: {message}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), String> {
    let (mut mode, mut io, mut threads, mut slots, mut path) = (Mode::Headers, Io::Map, 1usize, 0usize, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        let number = |text: String| text.parse::<usize>().map_err(|e| format!("{argument} {text}: {e}"));
        match argument.as_str() {
            "-m" => {
                mode = match value()?.as_str() {
                    "read" => Mode::Read,
                    "headers" => Mode::Headers,
                    "touch" => Mode::Touch,
                    "parse" => Mode::Parse,
                    "table" => Mode::Table,
                    "batch" => Mode::Batch,
                    other => return Err(format!("no mode '{other}'\n{USAGE}")),
                }
            }
            "--io" => {
                io = match value()?.as_str() {
                    "mmap" => Io::Map,
                    "populate" => Io::Populate,
                    "read" => Io::Read,
                    other => return Err(format!("no way of reading '{other}'\n{USAGE}")),
                }
            }
            "-t" => threads = number(value()?)?.max(1),
            "--slots" => slots = number(value()?)?.next_power_of_two(),
            "-h" | "--help" => {
                println!("{USAGE}");
                return Ok(());
            }
            _ => path = Some(argument),
        }
    }
    let path = path.ok_or_else(|| format!("FILE is missing\n{USAGE}"))?;
    let begin = Instant::now();
    let told = |e: std::io::Error| format!("{path}: {e}");
    let mut file = File::open(&path).map_err(told)?;
    let size = file.metadata().map_err(told)?.len() as usize;
    let total = match (mode, io) {
        (Mode::Read, _) => read_only(&mut file).map_err(told)?,
        (_, Io::Read) if threads > 1 => return Err("--io read has one thread".to_owned()),
        (_, Io::Read) => walk_window(&mut file, mode, slots).map_err(told)?,
        (_, Io::Map) => walk_map(map(&file, size, 0).map_err(told)?, threads, mode, slots)?,
        (_, Io::Populate) => walk_map(map(&file, size, MAP_POPULATE).map_err(told)?, threads, mode, slots)?,
    };
    let wall = begin.elapsed().as_secs_f64();
    println!(
        "packets={} tcp={} slots={} sum={:x} wall={wall:.4} GBps={:.3} Mpps={:.3} ns_per_packet={:.1}",
        total.packets,
        total.tcp,
        total.flows,
        total.sum,
        size as f64 / wall / 1e9,
        total.packets as f64 / wall / 1e6,
        wall * 1e9 / total.packets.max(1) as f64
    );
    Ok(())
}

unsafe extern "C" {
    fn mmap(address: *mut u8, length: usize, protection: i32, flags: i32, fd: i32, offset: i64) -> *mut u8;
    fn madvise(address: *mut u8, length: usize, advice: i32) -> i32;
}
const PROT_READ: i32 = 1;
const MAP_SHARED: i32 = 1;
const MAP_POPULATE: i32 = 0x8000;
const MADV_SEQUENTIAL: i32 = 2;

/// The file as memory, until the process ends.
fn map(file: &File, size: usize, flags: i32) -> std::io::Result<&'static [u8]> {
    // SAFETY: a new read-only mapping at an address of the kernel's choice, of the file's own size, never unmapped. It
    // holds as long as nobody truncates the file meanwhile, which a measurement may ask for.
    unsafe {
        let address = mmap(std::ptr::null_mut(), size, PROT_READ, MAP_SHARED | flags, file.as_raw_fd(), 0);
        if address as isize == -1 {
            return Err(std::io::Error::last_os_error());
        }
        madvise(address, size, MADV_SEQUENTIAL);
        Ok(std::slice::from_raw_parts(address, size))
    }
}

/// The result, over all threads.
#[derive(Default)]
struct Total {
    packets: u64,
    tcp: u64,
    flows: usize,
    sum: u64,
}

impl Total {
    fn add(mut self, part: &Part) -> Total {
        self.packets += part.packets;
        self.tcp += part.tcp;
        self.flows += part.table.used;
        self.sum = self.sum.wrapping_add(part.sum);
        self
    }
}

fn read_only(file: &mut File) -> std::io::Result<Total> {
    let mut buffer = vec![0u8; 1 << 20];
    let mut sum = 0u64;
    loop {
        let len = file.read(&mut buffer)?;
        if len == 0 {
            return Ok(Total { sum, ..Total::default() });
        }
        sum = sum.wrapping_add(u64::from(buffer[0]) + u64::from(buffer[len - 1]));
    }
}

/// One thread and a window of 4 MiB filled by `read()`: the copy stays in the cache.
fn walk_window(file: &mut File, mode: Mode, slots: usize) -> std::io::Result<Total> {
    let mut window = vec![0u8; 4 << 20];
    let mut filled = file.read(&mut window)?;
    let layout = Layout::of(&window[..filled]).map_err(std::io::Error::other)?;
    let mut part = Part::new(slots);
    let mut start = layout.first;
    loop {
        let rest = layout.walk(&window[..filled], start, filled, mode, &mut part);
        window.copy_within(rest..filled, 0);
        filled -= rest;
        start = 0;
        let len = file.read(&mut window[filled..])?;
        if len == 0 {
            part.flush();
            return Ok(Total::default().add(&part));
        }
        filled += len;
    }
}

fn walk_map(file: &[u8], threads: usize, mode: Mode, slots: usize) -> Result<Total, String> {
    let layout = Layout::of(file)?;
    let mut cuts = vec![layout.first];
    cuts.extend((1..threads).map(|i| layout.next_record(file, file.len() / threads * i)));
    cuts.push(file.len());
    std::thread::scope(|scope| {
        let walkers: Vec<_> = cuts
            .windows(2)
            .map(|cut| {
                let (start, end) = (cut[0], cut[1]);
                scope.spawn(move || {
                    let mut part = Part::new(slots);
                    layout.walk(file, start, end, mode, &mut part);
                    part.flush();
                    part
                })
            })
            .collect();
        walkers.into_iter().try_fold(Total::default(), |total, walker| match walker.join() {
            Ok(part) => Ok(total.add(&part)),
            Err(_) => Err("a thread panicked".to_owned()),
        })
    })
}

/// How the file is laid out.
#[derive(Clone, Copy)]
struct Layout {
    pcapng: bool,
    swapped: bool,
    /// Offset of the first record.
    first: usize,
    /// A fraction of a second is below this.
    fractions: u32,
    snaplen: u32,
    /// Seconds of the first record.
    begin: u32,
}

impl Layout {
    fn of(file: &[u8]) -> Result<Layout, String> {
        if file.len() < 28 {
            return Err("too short for a capture".to_owned());
        }
        let (swapped, fractions) = match word(file, 0, false) {
            0xa1b2_c3d4 => (false, 1_000_000),
            0xa1b2_3c4d => (false, 1_000_000_000),
            0xd4c3_b2a1 => (true, 1_000_000),
            0x4d3c_b2a1 => (true, 1_000_000_000),
            0x0a0d_0d0a if word(file, 8, false) == 0x1a2b_3c4d => {
                return Ok(Layout {
                    pcapng: true,
                    swapped: false,
                    first: 0,
                    fractions: 0,
                    snaplen: 0,
                    begin: 0,
                });
            }
            0x0a0d_0d0a => return Err("big-endian pcapng is beyond this yardstick".to_owned()),
            _ => return Err("neither pcap nor pcapng".to_owned()),
        };
        let snaplen = word(file, 16, swapped).clamp(65_535, 1 << 24);
        Ok(Layout { pcapng: false, swapped, first: 24, fractions, snaplen, begin: word(file, 24, swapped) })
    }

    /// Walks the records of `file` that begin from `start` on and before `end`; gives the offset of the first that is
    /// not whole.
    fn walk(&self, file: &[u8], mut start: usize, end: usize, mode: Mode, part: &mut Part) -> usize {
        if self.pcapng {
            const ENHANCED_PACKET: u32 = 6;
            while start < end && start + 12 <= file.len() {
                let len = word(file, start + 4, false) as usize;
                if len < 12 || start + len > file.len() {
                    break;
                }
                if word(file, start, false) == ENHANCED_PACKET {
                    let captured = word(file, start + 20, false) as usize;
                    let data = start + 28;
                    part.packet(&file[data..(data + captured).min(start + len)], mode);
                }
                start += len;
            }
        } else {
            while start < end && start + 16 <= file.len() {
                let next = start + 16 + word(file, start + 8, self.swapped) as usize;
                if next > file.len() {
                    break;
                }
                part.packet(&file[start + 16..next], mode);
                start = next;
            }
        }
        start
    }

    /// The offset behind the record at `at`, if there is a plausible one.
    #[inline]
    fn plausible(&self, file: &[u8], at: usize) -> Option<usize> {
        if at + 16 > file.len() {
            return None;
        }
        if self.pcapng {
            let kind = word(file, at, false);
            let len = word(file, at + 4, false) as usize;
            let known = kind <= 0x0b || kind == 0x0a0d_0d0a;
            let whole = (12..=1 << 24).contains(&len) && len.is_multiple_of(4) && at + len <= file.len();
            return (known && whole && word(file, at + len - 4, false) as usize == len).then_some(at + len);
        }
        let [seconds, fraction, captured, original] =
            [0, 4, 8, 12].map(|offset| word(file, at + offset, self.swapped));
        let next = at + 16 + captured as usize;
        let right = seconds.wrapping_sub(self.begin) < 30 * 86_400
            && fraction < self.fractions
            && (1..=self.snaplen).contains(&captured)
            && (captured..1 << 18).contains(&original);
        (right && next <= file.len()).then_some(next)
    }

    /// The first record at or after `at`: eight plausible ones in a row.
    fn next_record(&self, file: &[u8], at: usize) -> usize {
        const RUN: usize = 8;
        let step = if self.pcapng { 4 } else { 1 };
        (at.next_multiple_of(step)..file.len())
            .step_by(step)
            .find(|&candidate| {
                let mut record = candidate;
                let mut run = 0;
                while run < RUN && record < file.len() {
                    match self.plausible(file, record) {
                        Some(next) => record = next,
                        None => break,
                    }
                    run += 1;
                }
                run == RUN || (run > 0 && record == file.len())
            })
            .unwrap_or(file.len())
    }
}

#[inline]
fn word(bytes: &[u8], at: usize, swapped: bool) -> u32 {
    let word = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if swapped { word.swap_bytes() } else { word }
}

/// What one thread counts.
struct Part {
    packets: u64,
    sum: u64,
    tcp: u64,
    table: Table,
    waiting: [Upsert; 32],
    waits: usize,
}

/// A segment on its way into the table.
#[derive(Default, Clone, Copy)]
struct Upsert {
    key: [u64; 2],
    side: usize,
    seq: u32,
    flags: u8,
}

impl Part {
    fn new(slots: usize) -> Part {
        let table = Table { slots: vec![Slot::default(); slots], used: 0 };
        Part { packets: 0, sum: 0, tcp: 0, table, waiting: [Upsert::default(); 32], waits: 0 }
    }

    #[inline]
    fn packet(&mut self, packet: &[u8], mode: Mode) {
        self.packets += 1;
        match mode {
            Mode::Read | Mode::Headers => {}
            Mode::Touch => {
                let (words, _) = packet[..packet.len().min(128)].as_chunks::<8>();
                let words = words.iter().map(|word| u64::from_le_bytes(*word));
                self.sum = words.fold(self.sum, u64::wrapping_add);
            }
            Mode::Parse | Mode::Table | Mode::Batch => {
                if let Some(segment) = parse(packet) {
                    self.segment(&segment, mode);
                }
            }
        }
    }

    #[inline]
    fn segment(&mut self, segment: &Segment, mode: Mode) {
        let Segment { ends: [from, to], seq, ack, flags } = *segment;
        self.tcp += 1;
        if mode == Mode::Parse {
            self.sum = self.sum.wrapping_add(from ^ to ^ u64::from(seq ^ ack) ^ u64::from(flags));
            return;
        }
        self.sum = self.sum.wrapping_add(u64::from(ack));
        let (key, side) = if from < to { ([from, to], 0) } else { ([to, from], 1) };
        let upsert = Upsert { key, side, seq, flags };
        if mode == Mode::Table {
            self.table.upsert(upsert);
            return;
        }
        self.table.prefetch(key);
        self.waiting[self.waits] = upsert;
        self.waits += 1;
        if self.waits == self.waiting.len() {
            self.flush();
        }
    }

    fn flush(&mut self) {
        for upsert in &self.waiting[..self.waits] {
            self.table.upsert(*upsert);
        }
        self.waits = 0;
    }
}

struct Segment {
    /// Address (hashed, where it is IPv6) and port of sender and receiver.
    ends: [u64; 2],
    seq: u32,
    ack: u32,
    flags: u8,
}

#[inline]
fn parse(packet: &[u8]) -> Option<Segment> {
    const TCP: u8 = 6;
    let be16 = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let be32 = |bytes: &[u8], at: usize| {
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    if packet.len() < 34 {
        return None;
    }
    let mut at = 12;
    let mut ether_type = be16(packet, at);
    while ether_type == 0x8100 || ether_type == 0x88a8 {
        at += 4;
        if packet.len() < at + 22 {
            return None;
        }
        ether_type = be16(packet, at);
    }
    let ip = &packet[at + 2..];
    let (protocol, header, from, to) = match ether_type {
        0x0800 if ip.len() >= 20 => {
            (ip[9], usize::from(ip[0] & 15) * 4, u64::from(be32(ip, 12)), u64::from(be32(ip, 16)))
        }
        0x86dd if ip.len() >= 40 => {
            let half = |at: usize| u64::from(be32(ip, at)) << 32 | u64::from(be32(ip, at + 4));
            (ip[6], 40, hash([half(8), half(16)]), hash([half(24), half(32)]))
        }
        _ => return None,
    };
    if protocol != TCP || ip.len() < header + 20 {
        return None;
    }
    let tcp = &ip[header..];
    let ends = [from << 16 ^ u64::from(be16(tcp, 0)), to << 16 ^ u64::from(be16(tcp, 2))];
    Some(Segment { ends, seq: be32(tcp, 4), ack: be32(tcp, 8), flags: tcp[13] })
}

/// One connection: 40 bytes, as much as a tracker cannot do without.
#[derive(Default, Clone, Copy)]
struct Slot {
    key: [u64; 2],
    packets: [u32; 2],
    seq: [u32; 2],
    flags: [u8; 2],
    used: bool,
}

/// Open addressing with linear probing, doubled when three quarters full.
struct Table {
    slots: Vec<Slot>,
    used: usize,
}

impl Table {
    fn grow(&mut self) {
        let len = (self.slots.len() * 2).max(1 << 12);
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); len]);
        for slot in old.into_iter().filter(|slot| slot.used) {
            let mut i = hash(slot.key) as usize & (len - 1);
            while self.slots[i].used {
                i = (i + 1) & (len - 1);
            }
            self.slots[i] = slot;
        }
    }

    #[inline]
    fn upsert(&mut self, Upsert { key, side, seq, flags }: Upsert) {
        if self.used * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut i = hash(key) as usize & mask;
        loop {
            let slot = &mut self.slots[i];
            if !slot.used {
                *slot = Slot { key, used: true, ..Slot::default() };
                self.used += 1;
            }
            if slot.key == key {
                slot.packets[side] += 1;
                slot.seq[side] = seq;
                slot.flags[side] |= flags;
                return;
            }
            i = (i + 1) & mask;
        }
    }

    #[inline]
    fn prefetch(&self, key: [u64; 2]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(slot) = self.slots.get(hash(key) as usize & self.slots.len().wrapping_sub(1)) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a hint about memory that a reference points to; nothing is read or written.
            unsafe { _mm_prefetch(std::ptr::from_ref(slot).cast(), _MM_HINT_T0) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = key;
    }
}

#[inline]
fn hash(key: [u64; 2]) -> u64 {
    let product = u128::from(key[0] ^ 0x9E37_79B9_7F4A_7C15) * u128::from(key[1] ^ 0xD6E8_FEB8_6659_FD93);
    product as u64 ^ (product >> 64) as u64
}
