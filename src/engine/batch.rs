//! A block's packets as segments, sorted by shard, and counted.

use std::collections::{BTreeMap, BTreeSet};

use crate::capture::{Block, InputPart, LinkType, Packet};
use crate::decode::segment::{Address, PacketId, Segment, Traits};
use crate::decode::{self, Decoded};
use crate::engine::AnalysisOptions;
use crate::engine::loss::{FaultLoss, FaultLosses};
use crate::fault;
use crate::flow::tracker::{SHARDS, TOGETHER, shard_of};
use crate::kernel::comment;
use crate::kernel::verdict::Judgement;
use crate::time::Timestamp;

/// The packets and connections that are wanted.
#[derive(Clone, Default, Debug)]
pub struct Filter {
    /// Addresses at either end; an empty list selects all.
    pub hosts: Vec<Address>,
    /// Ports at either end; an empty list selects all.
    pub ports: Vec<u16>,
    /// Packets before this time are left out.
    pub since: Option<Timestamp>,
    /// Packets after this time are left out.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// What `options` want.
    pub fn of(options: &AnalysisOptions) -> Filter {
        Filter {
            hosts: options.hosts.iter().map(|&ip| Address::from(ip)).collect(),
            ports: options.ports.clone(),
            since: options.since,
            until: options.until,
        }
    }

    /// Whether it wants everything.
    #[cfg(feature = "fleet")]
    pub fn keeps_all(&self) -> bool {
        self.hosts.is_empty() && self.ports.is_empty() && self.since.is_none() && self.until.is_none()
    }

    /// Whether the filter selects a segment.
    #[cfg(feature = "fleet")]
    pub fn keeps(&self, segment: &Segment) -> bool {
        self.wants_time(segment.time) && self.wants(segment)
    }

    #[inline]
    fn wants_time(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }

    #[inline]
    fn wants(&self, s: &Segment) -> bool {
        (self.hosts.is_empty() || self.hosts.contains(&s.src) || self.hosts.contains(&s.dst))
            && (self.ports.is_empty() || self.ports.contains(&s.src_port) || self.ports.contains(&s.dst_port))
    }
}

/// Counts of packets, made while decoding.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct PacketTotals {
    /// TCP segments by capture.
    pub segments: Vec<u64>,
    /// Packets that the snapshot length cut before the TCP header was complete enough.
    pub cut: u64,
    /// Packets whose lengths or versions contradict each other.
    pub malformed: u64,
    /// Later fragments of TCP datagrams.
    pub fragments: u64,
    /// TCP segments found inside tunnels.
    pub tunneled: u64,
    /// TCP segments whose checksum was computed and is wrong.
    pub bad_checksums: u64,
    /// Packets of link types that are not known.
    pub unknown_links: BTreeMap<u16, u64>,
    /// Packets left out for their time.
    pub untimely: u64,
    /// TCP segments left out for their addresses or ports.
    pub unwanted: u64,
    /// Earliest time of a packet that was wanted.
    pub first: Option<Timestamp>,
    /// Latest time of a packet that was wanted.
    pub last: Option<Timestamp>,
    /// Losses to faults of this program.
    pub losses: FaultLosses,
    /// The kernel's statements about packets that the inputs hold; at most [`MOST_JUDGED`].
    #[cfg_attr(feature = "fleet", serde(skip))]
    pub judged: Vec<(PacketId, Judgement)>,
    /// Addresses of the host on which the packets were captured, known because its kernel had a listener there.
    pub own: BTreeSet<Address>,
    /// Messages about recordings of the kernel's verdicts.
    #[cfg_attr(feature = "fleet", serde(skip))]
    pub notes: Vec<String>,
}

/// How many packets have their verdicts read from the inputs at most.
pub const MOST_JUDGED: usize = 1_000_000;

impl PacketTotals {
    /// Adds the counts of a batch.
    pub fn add(&mut self, batch: &Batch) {
        self.add_behind(&batch.totals, batch.before);
    }

    /// Adds counts whose packets are numbered from after the first `before` of their input.
    pub fn add_behind(&mut self, b: &PacketTotals, before: u64) {
        if self.segments.len() < b.segments.len() {
            self.segments.resize(b.segments.len(), 0);
        }
        for (sum, n) in self.segments.iter_mut().zip(&b.segments) {
            *sum += n;
        }
        self.cut += b.cut;
        self.malformed += b.malformed;
        self.fragments += b.fragments;
        self.tunneled += b.tunneled;
        self.bad_checksums += b.bad_checksums;
        self.untimely += b.untimely;
        self.unwanted += b.unwanted;
        for (link, n) in &b.unknown_links {
            *self.unknown_links.entry(*link).or_default() += n;
        }
        self.first = [self.first, b.first].into_iter().flatten().min();
        self.last = self.last.max(b.last);
        self.losses.append(&b.losses, before);
        self.own.extend(&b.own);
        let room = MOST_JUDGED.saturating_sub(self.judged.len());
        let placed = |(id, judgement): &(PacketId, Judgement)| {
            (PacketId::new(id.capture(), id.number() + before), judgement.clone())
        };
        self.judged.extend(b.judged.iter().take(room).map(placed));
    }
}

/// A segment is copied to its shard when this many, less one, are decoded after it. The processor cannot read bytes in
/// large pieces that it has just written in small ones, before they have left its store buffer.
const DELAY: usize = 4;

/// The segments decoded last, of which the latest [`DELAY`] less one are still to be copied.
#[derive(Default)]
struct RecentSegments {
    latest: [Segment; DELAY],
    /// Segments so far; the next one is written in this place.
    count: usize,
}

/// How many segments lie in one piece of memory: few, so that a shard with only one segment wastes little.
const CHUNK: usize = 4 * TOGETHER;

/// The segments of one block, by shard, each in capture order.
pub struct Batch {
    shards: Vec<SegmentChunks>,
    /// Chunks that are empty.
    spare: Vec<Vec<Segment>>,
    totals: PacketTotals,
    /// How many packets come before it, if its own are numbered from 1.
    before: u64,
    /// Reading failed after its packets.
    failed: bool,
}

/// The segments of one shard. Their memory is never grown, moved or freed while packets come.
#[derive(Clone, Default)]
struct SegmentChunks {
    full: Vec<Vec<Segment>>,
    last: Vec<Segment>,
}

impl SegmentChunks {
    #[inline]
    fn push(&mut self, segment: &Segment, spare: &mut Vec<Vec<Segment>>) {
        if self.last.len() == self.last.capacity() {
            self.begin(spare);
        }
        self.last.push(*segment);
    }

    #[cold]
    fn begin(&mut self, spare: &mut Vec<Vec<Segment>>) {
        let next = spare.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK));
        let full = std::mem::replace(&mut self.last, next);
        if !full.is_empty() {
            self.full.push(full);
        }
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Vec<Segment>> {
        self.full.iter_mut().chain(std::iter::once(&mut self.last))
    }

    fn clear(&mut self, spare: &mut Vec<Vec<Segment>>) {
        self.last.clear();
        for mut chunk in self.full.drain(..) {
            chunk.clear();
            spare.push(chunk);
        }
    }
}

impl Default for Batch {
    fn default() -> Batch {
        let shards = vec![SegmentChunks::default(); SHARDS];
        Batch { shards, spare: Vec::new(), totals: PacketTotals::default(), before: 0, failed: false }
    }
}

impl Batch {
    /// Reads `part` to its end, through `window`, and decodes the packets that `filter` selects.
    pub fn read(&mut self, part: &mut InputPart, window: &mut Block, filter: &Filter) {
        while self.next(|| part.next_block(window)) {
            self.decode(window, filter);
        }
    }

    /// The result of `read`; if it fails, the input ends.
    pub fn next(&mut self, read: impl FnOnce() -> bool) -> bool {
        fault::contain(read).unwrap_or_else(|fault| {
            self.failed = true;
            self.totals.losses.note(FaultLoss::Rest(fault));
            false
        })
    }

    /// Whether reading failed after its packets.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// The packets that were read come after the first `before` of their input.
    pub fn place(&mut self, before: u64) {
        self.before = before;
    }

    /// Decodes the packets of `block` that `filter` selects. A packet at which the program fails is left out.
    pub fn decode(&mut self, block: &Block, filter: &Filter) {
        if !block.notes().is_empty() {
            self.read_verdicts(block);
        }
        let mut recent = RecentSegments::default();
        let mut packets = block.packets();
        while let Err(fault) = fault::contain(|| self.decode_some(&mut packets, &mut recent, filter)) {
            let failed = recent.latest[recent.count % DELAY].packet;
            self.totals.losses.note(FaultLoss::Packet(failed, fault));
        }
        for place in recent.count.saturating_sub(DELAY - 1)..recent.count {
            let left = &recent.latest[place % DELAY];
            self.shards[shard_of(left.hash)].push(left, &mut self.spare);
        }
    }

    /// Reads the kernel's statements about packets of `block`.
    fn read_verdicts(&mut self, block: &Block) {
        let verdict = |(id, note): &(PacketId, Box<str>)| Some((*id, comment::read(note)?));
        let judged: Vec<_> = block.notes().iter().filter_map(verdict).collect();
        let of_listeners: BTreeSet<PacketId> =
            judged.iter().filter(|(_, judgement)| judgement.is_of_listener()).map(|(id, _)| *id).collect();
        let mut segment = Segment::default();
        for packet in block.packets().filter(|packet| of_listeners.contains(&packet.id)) {
            if decode::decode(&packet, &mut segment) == Decoded::Tcp {
                self.totals.own.insert(segment.dst);
            }
        }
        self.totals.judged.extend(judged);
    }

    /// Decodes `packets` up to one at which the program fails.
    fn decode_some<'b>(
        &mut self,
        packets: &mut impl Iterator<Item = Packet<'b>>,
        recent: &mut RecentSegments,
        filter: &Filter,
    ) {
        let mut count = recent.count;
        let latest = &mut recent.latest;
        let t = &mut self.totals;
        for packet in packets {
            if !filter.wants_time(packet.time) {
                t.untimely += 1;
                continue;
            }
            if packet.timed {
                t.first = Some(t.first.map_or(packet.time, |first| first.min(packet.time)));
                t.last = t.last.max(Some(packet.time));
            }
            let segment = &mut latest[count % DELAY];
            let decoded = decode::decode(&packet, segment);
            match decoded {
                Decoded::Tcp => {
                    let capture = usize::from(packet.id.capture());
                    if t.segments.len() <= capture {
                        t.segments.resize(capture + 1, 0);
                    }
                    t.segments[capture] += 1;
                    t.tunneled += u64::from(segment.traits.has(Traits::TUNNELED));
                    t.bad_checksums += u64::from(segment.traits.has(Traits::CHECKSUM_BAD));
                }
                Decoded::Icmp => {}
                Decoded::Other => continue,
                Decoded::LaterFragment => {
                    t.fragments += 1;
                    continue;
                }
                Decoded::Cut => {
                    t.cut += 1;
                    continue;
                }
                Decoded::Malformed => {
                    t.malformed += 1;
                    continue;
                }
                Decoded::UnknownLink => {
                    let LinkType(link) = packet.link;
                    *t.unknown_links.entry(link).or_default() += 1;
                    continue;
                }
            }
            if filter.wants(segment) {
                count += 1;
                recent.count = count;
                if count >= DELAY {
                    let oldest = &latest[count % DELAY];
                    self.shards[shard_of(oldest.hash)].push(oldest, &mut self.spare);
                }
            } else if decoded == Decoded::Tcp {
                t.unwanted += 1;
            }
        }
    }

    /// The segments of each shard, with the numbers that their packets must still be given.
    pub fn runs(&mut self) -> impl Iterator<Item = ShardSegments<'_>> {
        let before = self.before;
        self.shards.iter_mut().map(move |chunks| ShardSegments { chunks, before })
    }

    /// The segments of all shards, each shard's in capture order.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.shards
            .iter()
            .flat_map(|chunks| chunks.full.iter().chain(std::iter::once(&chunks.last)))
            .flatten()
    }

    /// The counts.
    #[cfg(feature = "fleet")]
    pub fn totals(&self) -> &PacketTotals {
        &self.totals
    }

    /// The segments of one shard after the other, each in capture order.
    #[cfg(feature = "fleet")]
    pub fn by_shard(&self) -> impl Iterator<Item = impl Iterator<Item = &Segment>> {
        self.shards.iter().map(|chunks| chunks.full.iter().chain(std::iter::once(&chunks.last)).flatten())
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        for chunks in &mut self.shards {
            chunks.clear(&mut self.spare);
        }
        self.totals = PacketTotals::default();
        self.before = 0;
        self.failed = false;
    }
}

/// The segments of one block and one shard, in capture order.
pub struct ShardSegments<'a> {
    chunks: &'a mut SegmentChunks,
    before: u64,
}

impl<'a> ShardSegments<'a> {
    /// The segments, a few at a time, with their packets' numbers set right.
    pub fn pieces(self) -> impl Iterator<Item = &'a [Segment]> {
        let before = self.before;
        self.chunks.iter_mut().flat_map(|chunk| chunk.chunks_mut(TOGETHER)).map(move |few| {
            if before > 0 {
                for segment in few.iter_mut() {
                    let id = segment.packet;
                    segment.packet = PacketId::new(id.capture(), id.number() + before);
                }
            }
            &*few
        })
    }
}
