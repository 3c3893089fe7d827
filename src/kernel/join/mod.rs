//! Finds the packet of the capture that a statement is about.
//!
//! The capture and the kernel see a packet a few microseconds apart. They are joined by the four-tuple, the sequence and
//! acknowledgment numbers, the control bits and the IP ID, within some milliseconds. The namespace is the same: the
//! programs tell of no other. Where several packets fit and may not be the same one, none is joined.
//!
//! * **Offloads.** A packet that the kernel merged after the capture (GRO) holds several captured segments. A packet that it
//!   divided after the capture (TSO) is a part of one. A drop of the whole counts for its parts. A dropped part counts for nothing.
//! * **NAT on this host.** The capture has the addresses of one side, the statement those of the other. Then one end,
//!   the numbers, the control bits and the IP ID must match.
//! * **Copies.** `-i any` captures a packet at each interface that it passes. All copies get the same judgement.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::verdict::{KernelEvent, Queues, SegmentKey, Statement};
use crate::decode::segment::{Address, Flags, PacketId, Segment, Traits, flow_hash};
use crate::time::{Span, Timestamp};

/// A packet and the statement about it are no further apart than this.
pub const NEAR: Span = Span::millis(10);
/// A statement is joined when the capture is ahead of it by this much: until then its packet may still come.
pub const PATIENCE: Span = Span::millis(120);
/// Segments are remembered for this long.
const MEMORY: Span = Span::secs(3);
/// No more segments than this are remembered.
const MOST: usize = 250_000;
/// No more statements than this wait.
const MOST_WAITING: usize = 250_000;

/// Control bits that decide what the kernel does. PSH and the ECN bits change where segments are merged.
const DECISIVE: Flags = Flags::SYN.with(Flags::RST).with(Flags::ACK);

/// The results of joining.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct JoinCounts {
    /// Joined with a packet.
    pub joined: u64,
    /// No packet of the capture fits.
    pub without_packet: u64,
    /// Several packets fit.
    pub ambiguous: u64,
    /// About a part of a packet.
    pub partial: u64,
    /// Given up because too many waited.
    pub given_up: u64,
}

impl JoinCounts {
    /// How many statements could not be joined, for the report; `None` if all others were about packets that were not
    /// captured. `lost` statements never arrived, and those that
    /// were given up are counted with them.
    pub fn note(&self, lost: u64) -> Option<String> {
        let (unclear, lost) = (self.ambiguous + self.partial, lost + self.given_up);
        (lost + unclear > 0).then(|| {
            format!(
                "the kernel's statements about single packets: {} joined with a packet, {unclear} left out because several \
                 packets or parts of one fit, up to {lost} lost, {} about packets that were not captured",
                self.joined, self.without_packet
            )
        })
    }
}

/// Segments that were taken in together.
struct Chunk {
    first: Timestamp,
    last: Timestamp,
    segments: Vec<Segment>,
}

/// Joins statements with segments.
#[derive(Default)]
pub struct Joiner {
    recent: VecDeque<Chunk>,
    remembered: usize,
    waiting: Vec<Statement>,
    counts: JoinCounts,
}

/// A segment that may be the one that a statement is about.
#[derive(Clone, Copy)]
struct Candidate {
    packet: PacketId,
    seq: u32,
    payload: u32,
    ip_id: u16,
    /// The interface and direction of a copy, as far as the capture shows them.
    way: u16,
    fit: StatementMatch,
}

/// How a segment fits a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StatementMatch {
    /// It is the very same.
    Same,
    /// It is a part of what the statement is about.
    Part,
    /// The statement is about a part of it.
    Whole,
}

impl Joiner {
    /// Takes in segments of the capture, in any order within one call.
    pub fn observe(&mut self, segments: Vec<Segment>) {
        let times = || segments.iter().map(|segment| segment.time);
        let (Some(first), Some(last)) = (times().min(), times().max()) else { return };
        self.remembered += segments.len();
        self.recent.push_back(Chunk { first, last, segments });
        while self.recent.len() > 1
            && (self.remembered > MOST || self.recent.front().is_some_and(|chunk| last - chunk.last > MEMORY))
        {
            self.remembered -= self.recent.pop_front().map_or(0, |chunk| chunk.segments.len());
        }
    }

    /// Takes in statements.
    pub fn add_statements(&mut self, statements: impl IntoIterator<Item = Statement>) {
        for statement in statements {
            if self.waiting.len() < MOST_WAITING {
                self.waiting.push(statement);
            } else {
                self.counts.given_up += 1;
            }
        }
    }

    /// Whether statements wait for their packet.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The fate of the statements so far.
    pub fn counts(&self) -> JoinCounts {
        self.counts
    }

    /// The statements that can be joined now that the capture has come to `now`, each with its packet.
    pub fn join(&mut self, now: Timestamp) -> Vec<(PacketId, Statement)> {
        let (due, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|statement| now - statement.time >= PATIENCE);
        self.waiting = waiting;
        self.join_all(due)
    }

    /// Joins all statements that wait: no further packets come.
    pub fn finish(&mut self) -> Vec<(PacketId, Statement)> {
        let due = std::mem::take(&mut self.waiting);
        self.join_all(due)
    }

    fn join_all(&mut self, due: Vec<Statement>) -> Vec<(PacketId, Statement)> {
        let mut sought: Vec<PendingStatement> = due.iter().map(PendingStatement::of).collect();
        // The RST that answers a segment belongs to that segment, although the RST is in the capture, too.
        let answers: Vec<Statement> = due.iter().filter_map(answer).collect();
        sought.extend(answers.iter().map(PendingStatement::of));
        let all: Vec<&Statement> = due.iter().chain(&answers).collect();
        if all.is_empty() {
            return Vec::new();
        }
        self.search(&mut sought, PendingStatement::hash, |segment| segment.hash, PendingStatement::fits);
        let mut missed: Vec<PendingStatement> = Vec::new();
        let mut places = Vec::new();
        for (n, one) in sought.iter_mut().enumerate() {
            if one.found.is_empty() {
                places.push(n);
                missed.push(one.clone());
            }
        }
        if !missed.is_empty() {
            self.search(&mut missed, PendingStatement::key, numbers, PendingStatement::fits_translated);
            for (n, one) in places.into_iter().zip(missed) {
                sought[n] = one;
            }
        }
        self.decide(&sought, &all, due.len())
    }

    /// Looks through the segments near the statements; `fits` is called only where `key` and `of` agree.
    fn search(
        &self,
        sought: &mut [PendingStatement],
        key: impl Fn(&PendingStatement) -> u64,
        of: impl Fn(&Segment) -> u64,
        fits: impl Fn(&PendingStatement, &Segment) -> Option<StatementMatch>,
    ) {
        let (Some(from), Some(to)) =
            (sought.iter().map(|s| s.time).min(), sought.iter().map(|s| s.time).max())
        else {
            return;
        };
        let mut by_key: HashMap<u64, Vec<u32>> = HashMap::with_capacity(sought.len());
        for (n, one) in sought.iter().enumerate() {
            by_key.entry(key(one)).or_default().push(n as u32);
        }
        let near = |chunk: &&Chunk| chunk.last >= from.after(Span(-NEAR.0)) && chunk.first <= to + NEAR;
        for segment in self.recent.iter().filter(near).flat_map(|chunk| &chunk.segments) {
            for n in by_key.get(&of(segment)).into_iter().flatten() {
                let one = &mut sought[*n as usize];
                if is_near(segment.time, one.time)
                    && let Some(fit) = fits(one, segment)
                {
                    one.found.push(Candidate::of(segment, fit));
                }
            }
        }
    }

    /// Gives each statement its packet, unless another packet fits as well.
    fn decide(
        &mut self,
        sought: &[PendingStatement],
        all: &[&Statement],
        own: usize,
    ) -> Vec<(PacketId, Statement)> {
        let alike = Alike::count(sought, all);
        let mut joined = Vec::new();
        for (n, one) in sought.iter().enumerate() {
            let (parts, same) = (one.having(StatementMatch::Part), one.having(StatementMatch::Same));
            let are_as_many =
                || alike.get(&Alike::of(&same, all[n])).is_some_and(|count| *count >= same.len());
            let clear = match (&same[..], &parts[..]) {
                ([], []) => false,
                ([], parts) if !are_once(parts, one.numbers.seq) => false,
                ([], parts) => {
                    joined.extend(parts.iter().map(|packet| (packet.packet, all[n].clone())));
                    true
                }
                (same, _) if same.len() == 1 || are_copies(same) || are_as_many() => {
                    joined.extend(same.iter().map(|packet| (packet.packet, all[n].clone())));
                    true
                }
                _ => false,
            };
            // Inferred statements are not counted.
            let count = match () {
                () if n >= own => continue,
                () if clear => &mut self.counts.joined,
                () if !same.is_empty() || !parts.is_empty() => &mut self.counts.ambiguous,
                () if !one.found.is_empty() => &mut self.counts.partial,
                () => &mut self.counts.without_packet,
            };
            *count += 1;
        }
        joined
    }
}

/// Several statements about the same packets. If there are as many of them as packets, it does not matter which belongs
/// to which.
#[derive(PartialEq, Eq, Hash)]
struct Alike<'s> {
    packets: Vec<PacketId>,
    event: KernelEvent,
    reason: Option<&'s str>,
    function: Option<&'s str>,
    queues: Option<Queues>,
}

impl<'s> Alike<'s> {
    fn of(packets: &[Candidate], statement: &'s Statement) -> Alike<'s> {
        Alike {
            packets: packets.iter().map(|candidate| candidate.packet).collect(),
            event: statement.event,
            reason: statement.reason.as_deref(),
            function: statement.function.as_deref(),
            queues: statement.queues,
        }
    }

    /// How many statements are alike, among those that several packets fit.
    fn count(sought: &[PendingStatement], all: &[&'s Statement]) -> HashMap<Alike<'s>, usize> {
        let mut counts = HashMap::new();
        for (one, statement) in sought.iter().zip(all) {
            let same = one.having(StatementMatch::Same);
            if same.len() > 1 {
                *counts.entry(Alike::of(&same, statement)).or_default() += 1;
            }
        }
        counts
    }
}

/// Numbers in the header of a segment that a statement is about.
#[derive(Clone, Copy)]
struct SegmentNumbers {
    seq: u32,
    ack: u32,
    flags: Flags,
    ip_id: Option<u16>,
}

/// A statement whose packet is sought.
#[derive(Clone)]
struct PendingStatement {
    time: Timestamp,
    source: (Address, u16),
    destination: (Address, u16),
    payload: u32,
    numbers: SegmentNumbers,
    found: Vec<Candidate>,
}

impl PendingStatement {
    fn of(statement: &Statement) -> PendingStatement {
        let SegmentKey { source, destination, seq, ack, flags, ip_id, payload } = statement.segment;
        // An inferred RST has no IP ID, and IPv6 has none.
        let known = statement.event != KernelEvent::ResetBySocket && source.is_ipv4();
        PendingStatement {
            time: statement.time,
            source: (source.ip().into(), source.port()),
            destination: (destination.ip().into(), destination.port()),
            payload,
            numbers: SegmentNumbers { seq, ack, flags, ip_id: known.then_some(ip_id) },
            found: Vec::new(),
        }
    }

    fn hash(&self) -> u64 {
        flow_hash(self.source.0, self.source.1, self.destination.0, self.destination.1)
    }

    fn key(&self) -> u64 {
        u64::from(self.numbers.seq) << 32 | u64::from((self.numbers.flags & DECISIVE).0)
    }

    fn fits(&self, segment: &Segment) -> Option<StatementMatch> {
        let same_ends = self.source == (segment.src, segment.src_port)
            && self.destination == (segment.dst, segment.dst_port);
        if !same_ends || segment.traits.has(Traits::ICMP_ERROR) || !self.same_bits(segment) {
            return None;
        }
        if segment.seq.0 == self.numbers.seq && segment.payload == self.payload {
            let same_id = self.numbers.ip_id.is_none_or(|id| id == segment.ip_id);
            return same_id.then_some(StatementMatch::Same);
        }
        let within = |inner: u32, length: u32, outer: u32, room: u32| {
            length > 0
                && inner.wrapping_sub(outer) < room
                && u64::from(inner.wrapping_sub(outer)) + u64::from(length) <= u64::from(room)
        };
        match () {
            () if within(segment.seq.0, segment.payload, self.numbers.seq, self.payload) => {
                Some(StatementMatch::Part)
            }
            () if within(self.numbers.seq, self.payload, segment.seq.0, segment.payload) => {
                Some(StatementMatch::Whole)
            }
            () => None,
        }
    }

    /// Whether it may be the same segment before or after a translation of addresses.
    fn fits_translated(&self, segment: &Segment) -> Option<StatementMatch> {
        let one_end = self.source == (segment.src, segment.src_port)
            || self.destination == (segment.dst, segment.dst_port);
        // Without an IP ID the numbers of a SYN alone do not identify it.
        let numbers = self.numbers.ip_id.map_or(self.numbers.ack != 0, |id| id != 0 && id == segment.ip_id);
        let same = segment.seq.0 == self.numbers.seq && segment.payload == self.payload;
        (one_end && numbers && same && !segment.traits.has(Traits::ICMP_ERROR) && self.same_bits(segment))
            .then_some(StatementMatch::Same)
    }

    fn same_bits(&self, segment: &Segment) -> bool {
        let flags = self.numbers.flags & DECISIVE;
        let is_reset = flags.has(Flags::RST) && self.numbers.ip_id.is_none();
        match is_reset {
            // For a RST that a socket sends, the acknowledgment number is not known here; for an answer to a segment it
            // is.
            true => {
                segment.flags.has(Flags::RST) && (self.numbers.ack == 0 || segment.ack.0 == self.numbers.ack)
            }
            false => {
                segment.flags & DECISIVE == flags
                    && (!flags.has(Flags::ACK) || segment.ack.0 == self.numbers.ack)
            }
        }
    }

    fn having(&self, fit: StatementMatch) -> Vec<Candidate> {
        self.found.iter().filter(|candidate| candidate.fit == fit).copied().collect()
    }
}

impl Candidate {
    fn of(segment: &Segment, fit: StatementMatch) -> Candidate {
        let direction = segment.traits & (Traits::OUTGOING | Traits::INCOMING);
        // The capture comes from one of several interfaces.
        let way = segment.packet.capture() << 8 ^ direction.0 >> 7;
        Candidate {
            packet: segment.packet,
            seq: segment.seq.0,
            payload: segment.payload,
            ip_id: segment.ip_id,
            way,
            fit,
        }
    }
}

fn numbers(segment: &Segment) -> u64 {
    u64::from(segment.seq.0) << 32 | u64::from((segment.flags & DECISIVE).0)
}

fn is_near(a: Timestamp, b: Timestamp) -> bool {
    let apart = a - b;
    apart <= NEAR && apart >= Span(-NEAR.0)
}

/// Whether these are one packet, captured several times: with the same IP ID, or each at another interface.
fn are_copies(same: &[Candidate]) -> bool {
    let first = same[0].ip_id;
    let one_id = first != 0 && same.iter().all(|candidate| candidate.ip_id == first);
    let mut ways: Vec<u16> = same.iter().map(|candidate| candidate.way).collect();
    ways.sort_unstable();
    ways.dedup();
    one_id || ways.len() == same.len()
}

/// Whether each of these parts of the packet at `seq` is there once, not counting copies.
fn are_once(parts: &[Candidate], seq: u32) -> bool {
    let mut by_seq: BTreeMap<u32, Vec<Candidate>> = BTreeMap::new();
    parts.iter().for_each(|part| by_seq.entry(part.seq.wrapping_sub(seq)).or_default().push(*part));
    let mut end = 0;
    by_seq.iter().all(|(begin, of_one)| {
        let (same, payload) = (of_one.len() == 1 || are_copies(of_one), of_one[0].payload);
        let follows = *begin >= end && of_one.iter().all(|part| part.payload == payload);
        end = begin.saturating_add(payload);
        same && follows
    })
}

/// The RST by which the kernel answers a segment (RFC 9293, 3.5.2).
fn answer(statement: &Statement) -> Option<Statement> {
    if statement.event != KernelEvent::Reset {
        return None;
    }
    let SegmentKey { source, destination, seq, ack, flags, payload, .. } = statement.segment;
    let length =
        payload.wrapping_add(u32::from(flags.has(Flags::SYN))).wrapping_add(u32::from(flags.has(Flags::FIN)));
    let (seq, ack, flags) = match flags.has(Flags::ACK) {
        false => (0, seq.wrapping_add(length), Flags::RST | Flags::ACK),
        true => (ack, 0, Flags::RST),
    };
    let segment =
        SegmentKey { source: destination, destination: source, seq, ack, flags, ip_id: 0, payload: 0 };
    Some(Statement { event: KernelEvent::ResetBySocket, segment, ..statement.clone() })
}

#[cfg(test)]
mod tests;
