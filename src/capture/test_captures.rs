//! Captures made by the tests, in every format and compression.

use std::io::{self, Cursor, Read, Write};
use std::path::Path;
use std::sync::Arc;

pub(super) use super::byte_order::ByteOrder;
use super::compress::Compression;
use super::input::{OpenError, recognise};
use super::order::MergedInputs;
use super::part::{InputPart, PartState};
use super::read_at::ReadAt;
use super::{Block, InputStatus, Packet, Silence, Source};

/// `bytes` compressed as one member, frame or stream.
pub(super) fn compressed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::bulk::compress(bytes, 3).unwrap(),
        Compression::Lz4 => {
            let info = lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max64KB);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// A packet as a test wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TestPacket {
    /// Nanoseconds.
    pub time: i64,
    pub original: u32,
    pub data: Vec<u8>,
}

/// `n` packets of Ethernet length, 1 ms apart from `start` on, each of other bytes.
pub(super) fn some_packets(n: usize, start: i64) -> Vec<TestPacket> {
    let packet = |i: usize| TestPacket {
        time: start + i as i64 * 1_000_000,
        original: 60 + i as u32,
        data: vec![i as u8; 54 + i % 7],
    };
    (0..n).map(packet).collect()
}

impl ByteOrder {
    pub(super) fn u16(self, n: u16) -> [u8; 2] {
        if self == ByteOrder::Big { n.to_be_bytes() } else { n.to_le_bytes() }
    }
    pub(super) fn u32(self, n: u32) -> [u8; 4] {
        if self == ByteOrder::Big { n.to_be_bytes() } else { n.to_le_bytes() }
    }
    pub(super) fn u64(self, n: u64) -> [u8; 8] {
        if self == ByteOrder::Big { n.to_be_bytes() } else { n.to_le_bytes() }
    }
}

pub(super) const MICRO: u32 = 0xa1b2_c3d4;
pub(super) const NANO: u32 = 0xa1b2_3c4d;
pub(super) const MODIFIED: u32 = 0xa1b2_cd34;

pub(super) fn pcap_header(order: ByteOrder, magic: u32, snaplen: u32, link: u32) -> Vec<u8> {
    let versions = [order.u16(2), order.u16(4)].concat();
    [&order.u32(magic)[..], &versions, &[0; 8], &order.u32(snaplen), &order.u32(link)].concat()
}

/// A pcap of Ethernet packets, snapshot length 65,535.
pub(super) fn pcap(order: ByteOrder, magic: u32, packets: &[TestPacket]) -> Vec<u8> {
    let mut file = pcap_header(order, magic, 65_535, 1);
    for packet in packets {
        let fraction = packet.time % 1_000_000_000 / if magic == NANO { 1 } else { 1_000 };
        let lengths = [packet.data.len() as u32, packet.original];
        let fields = [(packet.time / 1_000_000_000) as u32, fraction as u32, lengths[0], lengths[1]];
        file.extend(fields.iter().flat_map(|field| order.u32(*field)));
        if magic == MODIFIED {
            file.extend([0xee; 8]);
        }
        file.extend(&packet.data);
    }
    file
}

/// Writes pcapng block by block.
pub(super) struct Ng {
    pub file: Vec<u8>,
    order: ByteOrder,
}

impl Ng {
    pub(super) fn new(order: ByteOrder) -> Ng {
        Ng { file: Vec::new(), order }.section(order)
    }

    pub(super) fn section(mut self, order: ByteOrder) -> Ng {
        self.order = order;
        let versions = [order.u16(1), order.u16(0)].concat();
        let body = [&order.u32(0x1a2b_3c4d)[..], &versions, &order.u64(u64::MAX)].concat();
        self.block(0x0a0d_0d0a, &body)
    }

    pub(super) fn block(mut self, kind: u32, body: &[u8]) -> Ng {
        let padded = body.len().next_multiple_of(4);
        let length = self.order.u32(padded as u32 + 12);
        self.file.extend(self.order.u32(kind));
        self.file.extend(length);
        self.file.extend(body);
        self.file.resize(self.file.len() + padded - body.len(), 0);
        self.file.extend(length);
        self
    }

    pub(super) fn options(&self, options: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (code, value) in options {
            bytes.extend(self.order.u16(*code));
            bytes.extend(self.order.u16(value.len() as u16));
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        if !options.is_empty() {
            bytes.extend([0; 4]);
        }
        bytes
    }

    pub(super) fn interface(self, link: u16, snaplen: u32, options: &[(u16, &[u8])]) -> Ng {
        let fields = [&self.order.u16(link)[..], &[0, 0], &self.order.u32(snaplen)].concat();
        let body = [fields, self.options(options)].concat();
        self.block(1, &body)
    }

    pub(super) fn enhanced(
        self,
        interface: u32,
        units: u64,
        packet: &TestPacket,
        options: &[(u16, &[u8])],
    ) -> Ng {
        let fields =
            [interface, (units >> 32) as u32, units as u32, packet.data.len() as u32, packet.original];
        let mut body: Vec<u8> = fields.iter().flat_map(|field| self.order.u32(*field)).collect();
        body.extend(&packet.data);
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend(self.options(options));
        self.block(6, &body)
    }

    pub(super) fn simple(self, original: u32, data: &[u8]) -> Ng {
        let body = [&self.order.u32(original)[..], data].concat();
        self.block(3, &body)
    }

    pub(super) fn obsolete(self, interface: u16, drops: u16, units: u64, packet: &TestPacket) -> Ng {
        let fields = [(units >> 32) as u32, units as u32, packet.data.len() as u32, packet.original];
        let mut body = [self.order.u16(interface), self.order.u16(drops)].concat();
        body.extend(fields.iter().flat_map(|field| self.order.u32(*field)));
        body.extend(&packet.data);
        self.block(2, &body)
    }

    pub(super) fn statistics(self, interface: u32, options: &[(u16, &[u8])]) -> Ng {
        let body = [&self.order.u32(interface)[..], &[0; 8], &self.options(options)].concat();
        self.block(5, &body)
    }
}

/// A pcapng of Ethernet packets with nanoseconds, of one section and interface.
pub(super) fn pcapng(order: ByteOrder, packets: &[TestPacket]) -> Vec<u8> {
    let start = Ng::new(order).interface(1, 65_535, &[(9, &[9])]);
    packets.iter().fold(start, |ng, packet| ng.enhanced(0, packet.time as u64, packet, &[])).file
}

/// A packet as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub capture: u16,
    pub number: u64,
    pub link: u16,
    pub timed: bool,
    pub packet: TestPacket,
}

impl Seen {
    /// A packet whose number is to be raised by `before`.
    fn of(p: &Packet<'_>, before: u64) -> Seen {
        Seen {
            capture: p.id.capture(),
            number: p.id.number() + before,
            link: p.link.0,
            timed: p.timed,
            packet: TestPacket { time: p.time.0, original: p.original_length, data: p.data.to_vec() },
        }
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, buf: &mut [u8], place: u64) -> io::Result<usize> {
        let mut rest = self.get(place as usize..).unwrap_or_default();
        rest.read(buf)
    }
}

/// The result of reading in parts.
pub(super) struct InParts {
    pub seen: Vec<Seen>,
    pub status: InputStatus,
    pub silences: Vec<Silence>,
    /// Parts that had to be read again.
    pub again: usize,
}

/// Reads a capture that lies in memory in parts of `bytes`, several of them before they are given back.
pub(super) fn read_in_parts(file: &[u8], bytes: u64) -> InParts {
    let mut reader =
        recognise("test", 0, Box::new(Cursor::new(file.to_vec())), Some(file.len() as u64)).unwrap();
    reader.divide(Arc::new(file.to_vec()));
    let mut source = MergedInputs::default();
    source.add_only(Path::new("test"), reader);
    let (mut block, mut seen, mut repeated) = (Block::default(), Vec::new(), 0);
    let mut read = |part: &mut InputPart| {
        let mut packets = Vec::new();
        while part.next_block(&mut block) {
            packets.extend(block.packets().map(|p| Seen::of(&p, 0)));
        }
        packets
    };
    loop {
        let mut parts: Vec<(InputPart, Vec<Seen>)> = Vec::new();
        while parts.len() < 3
            && let Some(part) = source.next_part(bytes)
        {
            parts.push((part, Vec::new()));
        }
        if parts.is_empty() {
            break;
        }
        // The last one first: none knows of the others.
        parts.iter_mut().rev().for_each(|(part, packets)| *packets = read(part));
        for (mut part, mut packets) in parts {
            loop {
                match source.give_back(part) {
                    PartState::Next { before } => {
                        packets.iter_mut().for_each(|p| p.number += before);
                        seen.extend(packets);
                        break;
                    }
                    PartState::Again(again) => {
                        repeated += 1;
                        part = *again;
                        packets = read(&mut part);
                    }
                    PartState::Beyond => break,
                }
            }
        }
    }
    InParts { seen, status: source.status().remove(0), silences: source.silences(), again: repeated }
}

/// Reads a source to its end.
pub(super) fn drain(source: &mut dyn Source) -> Vec<Seen> {
    let (mut block, mut seen) = (Block::default(), Vec::new());
    while source.next_block(&mut block) {
        assert!(!block.is_empty(), "a block has a packet at least");
        assert!(block.data.len() <= 8 << 20, "a block stays small: {}", block.data.len());
        seen.extend(block.packets().map(|p| Seen::of(&p, 0)));
    }
    assert!(!source.next_block(&mut block), "the end stays the end");
    seen
}

/// Reads one capture, named `test`, that `bytes` delivers; `size` as for a file.
pub(super) fn read_from(
    bytes: Box<dyn Read + Send>,
    size: Option<u64>,
) -> Result<(Vec<Seen>, InputStatus), OpenError> {
    read_in_turn(bytes, size).map(|(seen, status, _)| (seen, status))
}

fn read_in_turn(
    bytes: Box<dyn Read + Send>,
    size: Option<u64>,
) -> Result<(Vec<Seen>, InputStatus, Vec<Silence>), OpenError> {
    let reader = recognise("test", 0, bytes, size)?;
    let mut source = MergedInputs::default();
    source.add_only(Path::new("test"), reader);
    let seen = drain(&mut source);
    Ok((seen, source.status().remove(0), source.silences()))
}

/// Reads one capture that lies in memory: from record to record, and in parts of several sizes, which must be the same.
pub(super) fn read(file: &[u8]) -> Result<(Vec<Seen>, InputStatus), OpenError> {
    let (seen, status, silences) =
        read_in_turn(Box::new(Cursor::new(file.to_vec())), Some(file.len() as u64))?;
    if !status.format.contains('.') {
        // Fewer parts: with more of them the tests would take long.
        let fewest = file.len() as u64 / 100;
        for bytes in [1, 7, 100, 1000, 30_000, 1 << 20].into_iter().filter(|bytes| *bytes >= fewest) {
            let in_parts = read_in_parts(file, bytes);
            assert!(in_parts.seen == seen, "other packets in parts of {bytes}");
            assert_eq!(in_parts.silences, silences, "in parts of {bytes}");
            let told =
                |status: &InputStatus| format!("{:?}", InputStatus { position: (0, None), ..status.clone() });
            assert_eq!(told(&in_parts.status), told(&status), "in parts of {bytes}");
            if status.damage.is_none() {
                assert_eq!(in_parts.status.position, status.position, "in parts of {bytes}");
            }
        }
    }
    Ok((seen, status))
}

/// The packets of `seen`, without their ids.
pub(super) fn packets(seen: &[Seen]) -> Vec<TestPacket> {
    seen.iter().map(|seen| seen.packet.clone()).collect()
}

/// Delivers the bytes in pieces of the given lengths, over and over.
pub(super) struct Pieces {
    pub bytes: Cursor<Vec<u8>>,
    pub lengths: Vec<usize>,
    pub turn: usize,
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let length = self.lengths[self.turn % self.lengths.len()].clamp(1, buf.len());
        self.turn += 1;
        self.bytes.read(&mut buf[..length])
    }
}
