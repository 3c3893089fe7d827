//! Segments as the body of a row. Each is written by what differs from the segments before it: some 16 bytes of an ordinary
//! connection's segment, 30 of a flood's SYN.
//!
//! The body is their count, then the segments. All numbers are unsigned LEB128; differences are zigzag-coded and wrap at the
//! width of their field. "Before" is within the body, so each body is read by itself. A segment is, in this order:
//!
//! | part | when | meaning |
//! | --- | --- | --- |
//! | one byte | always | bits: [`NEW_FLOW`], [`TURNED`], [`HAS_LATEST`], [`SAME_SHAPE`], [`SEQ_EXPECTED`], [`ACK_EXPECTED`], [`SAME_WINDOW`], [`TIMESTAMPS_EXPECTED`] |
//! | time | always | nanoseconds since the segment before, of the first one since 1970 |
//! | number | always | packets since the segment before; numbers are those of the range, from 1 |
//! | flow | always | of a known four-tuple which of them, in the order of their first segments; of a new one see below |
//! | shape | unless `SAME_SHAPE` | which of the shapes so far, in the order of their first segments; of a new one the next number and 12 bytes, little-endian: `mss`, `traits`, `neighbours`, `flags`, `options`, `window_scale`, `ttl`, `tos` as in [`Segment`] |
//! | `seq` | unless `SEQ_EXPECTED` | difference to the end of the sender's last segment |
//! | `ack` | unless `ACK_EXPECTED` | difference to the end of the other side's last segment; where there is none to the sender's last `ack` |
//! | `payload` | always | bytes |
//! | `window` | unless `SAME_WINDOW` | difference to the sender's last one |
//! | `ip_id` | always | difference to the one after the sender's last; to 0 where that was 0 |
//! | `tsval`, `tsecr` | unless `TIMESTAMPS_EXPECTED` | differences to the sender's last `tsval`, and to the other side's last `tsval`; where there is none to the sender's last `tsecr` |
//! | latest | if `HAS_LATEST` | where the clock of the capture stepped back: from the segment's time to the latest time up to it |
//!
//! A new four-tuple is a byte of bits ([`IS_V6`], [`SAME_SERVER`], [`SAME_NET`]), the source's address and port, and the destination's
//! unless `SAME_SERVER`. An address takes 4 bytes, with `IS_V6` 16, with `SAME_NET` the source's last 8; a port 2, little-endian.

use super::Error;
use crate::decode::segment::{Address, Flags, PacketId, Segment, TcpOptions, Traits, flow_hash};
use crate::seq::Seq;
use crate::time::Timestamp;

/// Segments of one row, at most.
pub const MOST: usize = 1 << 14;

/// A segment and where it belongs in a stream of several captures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ordered {
    /// The segment; its packet is numbered within its range.
    pub segment: Segment,
    /// The latest time of its capture's range up to it.
    pub latest: Timestamp,
}

/// The four-tuple was not seen before in either direction.
pub const NEW_FLOW: u8 = 1;
/// The segment goes from the destination of its flow's first segment to the source.
pub const TURNED: u8 = 2;
/// The latest time up to the segment is not its own.
pub const HAS_LATEST: u8 = 4;
/// The shape is that of the sender's last segment.
pub const SAME_SHAPE: u8 = 8;
/// The sequence number is the expected one.
pub const SEQ_EXPECTED: u8 = 16;
/// The acknowledgment number is the expected one.
pub const ACK_EXPECTED: u8 = 32;
/// The window is that of the sender's last segment.
pub const SAME_WINDOW: u8 = 64;
/// Both timestamps are the expected ones.
pub const TIMESTAMPS_EXPECTED: u8 = 128;

/// Of a new flow: not both addresses are IPv4.
pub const IS_V6: u8 = 1;
/// Its destination and port are those of the new flow before.
pub const SAME_SERVER: u8 = 2;
/// The first 8 bytes of its source are those of the new flow before; only with [`IS_V6`].
pub const SAME_NET: u8 = 4;

/// What rarely changes from one segment of a sender to the next, as one number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Shape(u128);

/// Bytes of a shape in a body.
const SHAPE_BYTES: usize = 12;

impl Shape {
    fn of(s: &Segment) -> Shape {
        let wide = u64::from(s.mss) | u64::from(s.traits.0) << 16 | u64::from(s.neighbours) << 32;
        let wide = wide | u64::from(s.flags.0) << 48 | u64::from(s.options.0) << 56;
        let narrow = u32::from(s.window_scale) | u32::from(s.ttl) << 8 | u32::from(s.tos) << 16;
        Shape(u128::from(wide) | u128::from(narrow) << 64)
    }

    fn put_into(self, s: &mut Segment) {
        let (wide, narrow) = (self.0 as u64, (self.0 >> 64) as u32);
        s.mss = wide as u16;
        s.traits = Traits((wide >> 16) as u16);
        s.neighbours = (wide >> 32) as u16;
        s.flags = Flags((wide >> 48) as u8);
        s.options = TcpOptions((wide >> 56) as u8);
        s.window_scale = narrow as u8;
        s.ttl = (narrow >> 8) as u8;
        s.tos = (narrow >> 16) as u8;
    }

    /// A place among 256.
    fn slot(self) -> usize {
        let mixed = (self.0 as u64 ^ (self.0 >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 56) as usize
    }
}

/// The fields of a segment that are written as differences: those that a side has sent last, and those that it is expected
/// to send next.
#[derive(Clone, Copy, Debug, Default)]
struct SegmentFields {
    /// Of the last segment, the sequence number after it: that is where the next one is expected.
    seq: Seq,
    ack: Seq,
    window: u16,
    ip_id: u16,
    tsval: u32,
    tsecr: u32,
    shape: u16,
}

/// A four-tuple, and what both of its sides have sent last. The first side has sent the first segment.
#[derive(Clone, Copy, Debug)]
struct Flow {
    hash: u64,
    src: Address,
    dst: Address,
    src_port: u16,
    dst_port: u16,
    sides: [Option<SegmentFields>; 2],
}

impl Flow {
    /// Which side has sent the segment; none if it is of another flow.
    fn side(&self, s: &Segment) -> Option<usize> {
        let own = (self.src, self.src_port, self.dst, self.dst_port);
        if own == (s.src, s.src_port, s.dst, s.dst_port) {
            Some(0)
        } else if own == (s.dst, s.dst_port, s.src, s.src_port) {
            Some(1)
        } else {
            None
        }
    }

    fn expected(&self, side: usize) -> SegmentFields {
        let (own, other) = (self.sides[side].unwrap_or_default(), &self.sides[1 - side]);
        SegmentFields {
            ack: other.map_or(own.ack, |other| other.seq),
            ip_id: if own.ip_id == 0 { 0 } else { own.ip_id.wrapping_add(1) },
            tsecr: other.map_or(own.tsecr, |other| other.tsval),
            ..own
        }
    }

    fn record(&mut self, side: usize, s: &Segment, shape: u16) {
        let Segment { window, ip_id, tsval, tsecr, ack, .. } = *s;
        self.sides[side] = Some(SegmentFields { seq: s.end(), ack, window, ip_id, tsval, tsecr, shape });
    }
}

/// The number of recent flows, and of recent shapes, that a segment can refer to. Any other is written in full.
const FLOW_SLOTS: usize = 1 << 12;
const SHAPE_SLOTS: usize = 1 << 8;

/// Makes the body of a row.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    bytes: Vec<u8>,
    count: usize,
    first: Option<Timestamp>,
    time: i64,
    number: u64,
    flows: Vec<Flow>,
    shapes: Vec<Shape>,
    /// Places in `flows` and in `shapes`, plus one, by hash.
    flow_slots: Vec<u16>,
    shape_slots: Vec<u16>,
}

impl Builder {
    /// How many segments there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the batch has no segment.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The time of the first segment.
    pub fn first_time(&self) -> Option<Timestamp> {
        self.first
    }

    /// Adds segments, at most [`MOST`] in all.
    pub fn add(&mut self, some: &[Ordered]) {
        if self.flow_slots.is_empty() {
            self.flow_slots.resize(FLOW_SLOTS, 0);
            self.shape_slots.resize(SHAPE_SLOTS, 0);
        }
        some.iter().for_each(|ordered| self.add_one(ordered));
    }

    fn add_one(&mut self, Ordered { segment: s, latest }: &Ordered) {
        self.first = self.first.or(Some(s.time));
        self.count += 1;
        let before = self.flows.last().copied();
        let (at, known) = self.flow_of(s);
        let side = known.unwrap_or(0);
        let expected = self.flows[at].expected(side);
        let (shape, is_new_shape) = self.shape_of(s, expected.shape);
        let head = bit(NEW_FLOW, known.is_none())
            | bit(TURNED, side == 1)
            | bit(HAS_LATEST, *latest != s.time)
            | bit(SAME_SHAPE, shape == expected.shape && !is_new_shape)
            | bit(SEQ_EXPECTED, s.seq == expected.seq)
            | bit(ACK_EXPECTED, s.ack == expected.ack)
            | bit(SAME_WINDOW, s.window == expected.window)
            | bit(TIMESTAMPS_EXPECTED, (s.tsval, s.tsecr) == (expected.tsval, expected.tsecr));
        let bytes = &mut self.bytes;
        bytes.push(head);
        put(bytes, zigzag(s.time.0.wrapping_sub(self.time)));
        put(bytes, zigzag(s.packet.number().wrapping_sub(self.number).cast_signed()));
        match known {
            Some(_) => put(bytes, at as u64),
            None => put_tuple(bytes, s, before.as_ref()),
        }
        if head & SAME_SHAPE == 0 {
            put(bytes, u64::from(shape));
            if is_new_shape {
                bytes.extend_from_slice(&self.shapes[usize::from(shape)].0.to_le_bytes()[..SHAPE_BYTES]);
            }
        }
        if head & SEQ_EXPECTED == 0 {
            put(bytes, difference(s.seq.0, expected.seq.0));
        }
        if head & ACK_EXPECTED == 0 {
            put(bytes, difference(s.ack.0, expected.ack.0));
        }
        put(bytes, u64::from(s.payload));
        if head & SAME_WINDOW == 0 {
            put(bytes, short_difference(s.window, expected.window));
        }
        put(bytes, short_difference(s.ip_id, expected.ip_id));
        if head & TIMESTAMPS_EXPECTED == 0 {
            put(bytes, difference(s.tsval, expected.tsval));
            put(bytes, difference(s.tsecr, expected.tsecr));
        }
        if head & HAS_LATEST != 0 {
            put(bytes, zigzag(latest.0.wrapping_sub(s.time.0)));
        }
        (self.time, self.number) = (s.time.0, s.packet.number());
        self.flows[at].record(side, s, shape);
    }

    /// The place of its flow, and the side that has sent it unless the flow is new.
    fn flow_of(&mut self, s: &Segment) -> (usize, Option<usize>) {
        let slot = &mut self.flow_slots[(s.hash >> 52) as usize];
        if let Some(at) = usize::from(*slot).checked_sub(1)
            && let Some(side) = self.flows[at].side(s)
        {
            return (at, Some(side));
        }
        let &Segment { hash, src, dst, src_port, dst_port, .. } = s;
        self.flows.push(Flow { hash, src, dst, src_port, dst_port, sides: Default::default() });
        *slot = self.flows.len() as u16;
        (self.flows.len() - 1, None)
    }

    /// The number of its shape, and whether that is new. Most often it is `last`.
    fn shape_of(&mut self, s: &Segment, last: u16) -> (u16, bool) {
        let shape = Shape::of(s);
        if self.shapes.get(usize::from(last)) == Some(&shape) {
            return (last, false);
        }
        let slot = &mut self.shape_slots[shape.slot()];
        if let Some(at) = slot.checked_sub(1)
            && self.shapes[usize::from(at)] == shape
        {
            return (at, false);
        }
        self.shapes.push(shape);
        *slot = self.shapes.len() as u16;
        (*slot - 1, true)
    }

    /// The body of a row with all segments so far. Nothing is left.
    pub fn write(&mut self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.bytes.len() + 4);
        put(&mut body, self.count as u64);
        body.extend_from_slice(&self.bytes);
        self.bytes.clear();
        self.flows.clear();
        self.shapes.clear();
        self.flow_slots.fill(0);
        self.shape_slots.fill(0);
        (self.count, self.first, self.time, self.number) = (0, None, 0, 0);
        body
    }
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Writes the four-tuple of a new flow; `before` is the new flow before.
fn put_tuple(bytes: &mut Vec<u8>, s: &Segment, before: Option<&Flow>) {
    let is_v6 = s.src.as_v4().is_none() || s.dst.as_v4().is_none();
    let is_same_server = before.is_some_and(|flow| (flow.dst, flow.dst_port) == (s.dst, s.dst_port));
    let is_same_net = is_v6 && before.is_some_and(|flow| flow.src.0[..8] == s.src.0[..8]);
    let from = if is_v6 { 0 } else { 12 };
    bytes.push(bit(IS_V6, is_v6) | bit(SAME_SERVER, is_same_server) | bit(SAME_NET, is_same_net));
    bytes.extend_from_slice(&s.src.0[if is_same_net { 8 } else { from }..]);
    bytes.extend_from_slice(&s.src_port.to_le_bytes());
    if !is_same_server {
        bytes.extend_from_slice(&s.dst.0[from..]);
        bytes.extend_from_slice(&s.dst_port.to_le_bytes());
    }
}

fn bit(bit: u8, is_set: bool) -> u8 {
    if is_set { bit } else { 0 }
}

/// Small for numbers near 0, on either side.
fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}

fn from_zigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

fn difference(a: u32, b: u32) -> u64 {
    zigzag(a.wrapping_sub(b).cast_signed().into())
}

fn short_difference(a: u16, b: u16) -> u64 {
    zigzag(a.wrapping_sub(b).cast_signed().into())
}

/// Reads the segments of a body back: of capture `capture`, with `before` added to their numbers.
///
/// # Errors
/// The body holds something else.
pub fn read(body: &[u8], capture: u16, before: u64) -> Result<Vec<Ordered>, Error> {
    let mut all = Vec::new();
    read_into(body, capture, before, &mut all)?;
    Ok(all)
}

/// The same, into `all`, whose room is used again.
///
/// # Errors
/// The body holds something else.
pub fn read_into(body: &[u8], capture: u16, before: u64, all: &mut Vec<Ordered>) -> Result<(), Error> {
    all.clear();
    let mut reader = BodyReader { rest: body, ..BodyReader::default() };
    let broken = || Error::Schema {
        stage: "track",
        what: "a row of segments is not as this version writes them".to_owned(),
    };
    let count = reader.number().ok_or_else(broken)?;
    all.reserve(MOST.min(count as usize));
    for _ in 0..count {
        all.push(reader.ordered(capture, before).ok_or_else(broken)?);
    }
    if reader.rest.is_empty() { Ok(()) } else { Err(broken()) }
}

/// The time of the first segment of a body; 0 if it has none.
pub fn first_time(body: &[u8]) -> i64 {
    let mut reader = BodyReader { rest: body, ..BodyReader::default() };
    let mut first = || {
        let (_count, [_head]) = (reader.number()?, reader.array()?);
        reader.number()
    };
    first().map_or(0, from_zigzag)
}

/// Reads a body. Its functions return `None` where the body is damaged.
#[derive(Default)]
struct BodyReader<'b> {
    rest: &'b [u8],
    time: i64,
    number: u64,
    flows: Vec<Flow>,
    shapes: Vec<Shape>,
}

impl BodyReader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// `expected`, or the value whose difference to it follows.
    fn near(&mut self, is_expected: bool, expected: u32) -> Option<u32> {
        if is_expected {
            return Some(expected);
        }
        Some(expected.wrapping_add(from_zigzag(self.number()?) as u32))
    }

    fn short_near(&mut self, is_expected: bool, expected: u16) -> Option<u16> {
        Some(self.near(is_expected, expected.into())? as u16)
    }

    fn ordered(&mut self, capture: u16, before: u64) -> Option<Ordered> {
        let [head] = self.array()?;
        let has = |bit: u8| head & bit != 0;
        self.time = self.time.wrapping_add(from_zigzag(self.number()?));
        self.number = self.number.wrapping_add(from_zigzag(self.number()?).cast_unsigned());
        let side = usize::from(has(TURNED));
        let at = match has(NEW_FLOW) {
            true => self.new_flow()?,
            false => self.number()? as usize,
        };
        let flow = *self.flows.get(at)?;
        let expected = flow.expected(side);
        let shape = if has(SAME_SHAPE) { expected.shape } else { self.shape()? };
        let (mut src, mut dst) = ((flow.src, flow.src_port), (flow.dst, flow.dst_port));
        if side == 1 {
            std::mem::swap(&mut src, &mut dst);
        }
        let time = Timestamp(self.time);
        let mut segment = Segment {
            time,
            packet: PacketId::new(capture, self.number.wrapping_add(before)),
            hash: flow.hash,
            src: src.0,
            dst: dst.0,
            src_port: src.1,
            dst_port: dst.1,
            seq: Seq(self.near(has(SEQ_EXPECTED), expected.seq.0)?),
            ack: Seq(self.near(has(ACK_EXPECTED), expected.ack.0)?),
            payload: self.number()? as u32,
            window: self.short_near(has(SAME_WINDOW), expected.window)?,
            ip_id: self.short_near(false, expected.ip_id)?,
            tsval: self.near(has(TIMESTAMPS_EXPECTED), expected.tsval)?,
            tsecr: self.near(has(TIMESTAMPS_EXPECTED), expected.tsecr)?,
            ..Segment::default()
        };
        self.shapes.get(usize::from(shape))?.put_into(&mut segment);
        let latest = match has(HAS_LATEST) {
            true => Timestamp(time.0.wrapping_add(from_zigzag(self.number()?))),
            false => time,
        };
        self.flows[at].record(side, &segment, shape);
        Some(Ordered { segment, latest })
    }

    /// A flow that is read for the first time: its place.
    fn new_flow(&mut self) -> Option<usize> {
        let [bits] = self.array()?;
        let has = |bit: u8| bits & bit != 0;
        let before = self.flows.last().map(|flow| (flow.src, flow.dst, flow.dst_port));
        let mut src = if has(SAME_NET) { before?.0 } else { self.address(has(IS_V6))? };
        if has(SAME_NET) {
            src.0[8..].copy_from_slice(&self.array::<8>()?);
        }
        let src_port = u16::from_le_bytes(self.array()?);
        let (dst, dst_port) = match has(SAME_SERVER) {
            true => before.map(|(_, dst, port)| (dst, port))?,
            false => (self.address(has(IS_V6))?, u16::from_le_bytes(self.array()?)),
        };
        let hash = flow_hash(src, src_port, dst, dst_port);
        self.flows.push(Flow { hash, src, dst, src_port, dst_port, sides: Default::default() });
        Some(self.flows.len() - 1)
    }

    fn address(&mut self, is_v6: bool) -> Option<Address> {
        Some(if is_v6 { Address(self.array()?) } else { Address::v4(self.array()?) })
    }

    /// The number of a shape, which may be new.
    fn shape(&mut self) -> Option<u16> {
        let shape = self.number()? as usize;
        if shape == self.shapes.len() {
            let written: [u8; SHAPE_BYTES] = self.array()?;
            let mut bytes = [0; 16];
            bytes[..SHAPE_BYTES].copy_from_slice(&written);
            self.shapes.push(Shape(u128::from_le_bytes(bytes)));
        }
        u16::try_from(shape).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(all: &[Ordered]) -> Vec<u8> {
        let mut builder = Builder::default();
        all.chunks(100).for_each(|some| builder.add(some));
        let body = builder.write();
        assert!(builder.is_empty());
        body
    }

    fn some(count: u32, v6: bool) -> Vec<Ordered> {
        let address = |n: u32| match v6 {
            true => Address((0x2001_0db8_u128 << 96 | u128::from(n % 7) << 64 | u128::from(n)).to_be_bytes()),
            false => Address::v4(n.to_be_bytes()),
        };
        let one = |n: u32| {
            let (src, dst) = (address(n), address(n.wrapping_mul(77)));
            let segment = Segment {
                time: Timestamp(i64::from(n) * 1_000),
                packet: PacketId::new(3, u64::from(n) + 1),
                hash: flow_hash(src, n as u16, dst, 443),
                src,
                dst,
                src_port: n as u16,
                dst_port: 443,
                seq: Seq(n.wrapping_mul(1 << 20)),
                ack: Seq(n),
                payload: n * 3,
                window: n as u16,
                ip_id: n as u16 ^ 1,
                tsval: n,
                tsecr: n + 1,
                mss: 1460,
                traits: Traits(n as u16 & 0x3fff),
                neighbours: n as u16,
                flags: Flags(n as u8),
                options: TcpOptions(n as u8 ^ 3),
                window_scale: 7,
                ttl: 64,
                tos: 1,
            };
            Ordered { segment, latest: segment.time }
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn segments_come_back_as_they_were() {
        for (count, v6) in [(0, false), (1, false), (5_000, false), (300, true), (MOST as u32, true)] {
            let all = some(count, v6);
            assert_eq!(read(&write(&all), 3, 0).unwrap(), all, "{count} {v6}");
        }
        let moved = read(&write(&some(2, false)), 9, 100).unwrap();
        assert_eq!(moved[1].segment.packet, PacketId::new(9, 102));
    }

    #[test]
    fn a_clock_that_steps_back_is_kept() {
        let mut all = some(10, false);
        all[7].latest = Timestamp(1 << 40);
        assert_eq!(read(&write(&all), 3, 0).unwrap(), all);
    }

    /// What a client and its server say in turn.
    fn talk(count: u32) -> Vec<Ordered> {
        let (client, server) = (Address::v4([10, 0, 0, 1]), Address::v4([10, 0, 0, 2]));
        let one = |n: u32| {
            let turned = n % 2 == 1;
            let (src, dst) = if turned { (server, client) } else { (client, server) };
            let (src_port, dst_port) = if turned { (443, 50_000) } else { (50_000, 443) };
            let (payload, sent) = (if turned { 1448 } else { 0 }, 1448 * (n / 2));
            let segment = Segment {
                time: Timestamp(1_700_000_000_000_000_000 + i64::from(n) * 900_000),
                packet: PacketId::new(3, u64::from(n) * 20 + 1),
                hash: flow_hash(src, src_port, dst, dst_port),
                src,
                dst,
                src_port,
                dst_port,
                seq: Seq(if turned { (u32::MAX - 5000).wrapping_add(sent) } else { 77 }),
                ack: Seq(if turned { 77 } else { (u32::MAX - 5000).wrapping_add(sent) }),
                payload,
                window: 501,
                ip_id: 1000 + n as u16,
                tsval: 5_000 + n / 100,
                tsecr: 5_000 + n.saturating_sub(1) / 100,
                flags: Flags::ACK,
                options: TcpOptions::TIMESTAMPS,
                ttl: 64,
                ..Segment::default()
            };
            Ordered { segment, latest: segment.time }
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn a_segment_takes_64_bytes_at_most_and_far_less_within_a_connection() {
        for v6 in [false, true] {
            let mut all = some(MOST as u32, v6);
            // A flood: nothing is the same but the server.
            let server = all[0].segment.dst;
            all.iter_mut().for_each(|ordered| ordered.segment.dst = server);
            let body = write(&all);
            assert!(body.len() <= 64 * MOST, "{} bytes a segment", body.len() as f64 / MOST as f64);
        }
        let all: Vec<Ordered> = talk(1000);
        let body = write(&all);
        assert_eq!(read(&body, 3, 0).unwrap(), all);
        assert!(body.len() <= 10 * 1000, "{} bytes a segment", body.len() as f64 / 1000.0);
    }

    #[test]
    fn the_first_time_is_found() {
        assert_eq!(first_time(&write(&talk(3))), talk(1)[0].segment.time.0);
        assert_eq!(first_time(&write(&[])), 0);
    }

    #[test]
    fn more_flows_than_are_found_again_come_back_too() {
        // 5,000 flows share 4,096 places; each has two segments, far from one another.
        let mut all = some(5_000, false);
        all.extend(some(5_000, false));
        all.reverse();
        assert_eq!(read(&write(&all), 3, 0).unwrap(), all);
    }

    #[test]
    fn the_limits_of_all_fields_come_back() {
        let (low, high) = (
            some(1, true)[0],
            Segment {
                time: Timestamp(i64::MIN),
                packet: PacketId::new(3, (1 << 48) - 1),
                seq: Seq(u32::MAX),
                ack: Seq(1 << 31),
                payload: u32::MAX,
                window: u16::MAX,
                ip_id: u16::MAX,
                tsval: u32::MAX,
                tsecr: 1 << 31,
                mss: u16::MAX,
                traits: Traits(u16::MAX),
                neighbours: u16::MAX,
                flags: Flags(u8::MAX),
                options: TcpOptions(u8::MAX),
                window_scale: u8::MAX,
                ttl: u8::MAX,
                tos: u8::MAX,
                ..some(1, true)[0].segment
            },
        );
        let all = [low, Ordered { segment: high, latest: Timestamp(i64::MAX) }, low];
        assert_eq!(read(&write(&all), 3, 0).unwrap(), all);
    }

    #[test]
    fn a_body_that_is_cut_or_goes_on_is_refused() {
        let body = write(&some(20, false));
        for end in 0..body.len() {
            let refused = read(&body[..end], 0, 0).unwrap_err().to_string();
            assert!(refused.contains("not as this version writes"), "{refused}");
        }
        assert!(read(&[&body[..], &[0]].concat(), 0, 0).is_err());
        assert!(read(&[0xff; 200], 0, 0).is_err());
    }
}
