//! Captures read packet by packet, altered, and written again in any format.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use synscope::capture::{self, Block};
use tempfile::TempDir;

/// A packet, as a test alters it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Nanoseconds since the epoch.
    pub time: i64,
    /// Link type.
    pub link: u16,
    /// Length on the wire.
    pub original: u32,
    /// Its captured bytes.
    pub bytes: Vec<u8>,
}

/// Reads all packets of a capture.
pub fn read(path: &Path) -> Vec<Frame> {
    let opened = capture::open(&[path.to_owned()]);
    let mut source = opened.unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display())).source;
    let (mut block, mut frames) = (Block::default(), Vec::new());
    while source.next_block(&mut block) {
        frames.extend(block.packets().map(|packet| Frame {
            time: packet.time.0,
            link: packet.link.0,
            original: packet.original_length,
            bytes: packet.data.to_vec(),
        }));
    }
    frames
}

/// A folder for altered captures, gone with the test.
pub struct Scratch(TempDir);

impl Scratch {
    /// An empty one.
    pub fn new() -> Scratch {
        Scratch(tempfile::tempdir().expect("the temporary folder can be written"))
    }

    /// Writes bytes there.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).expect("the temporary folder can be written");
        path
    }

    /// Writes packets there as a nanosecond pcap.
    pub fn pcap(&self, name: &str, frames: &[Frame]) -> PathBuf {
        self.write(name, &pcap(frames, Unit::Nanosecond))
    }
}

/// The resolution of time stamps in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    Microsecond,
    Nanosecond,
}

impl Unit {
    fn nanoseconds(self) -> i64 {
        match self {
            Unit::Microsecond => 1_000,
            Unit::Nanosecond => 1,
        }
    }
}

/// Packets as a little-endian pcap file. All have the link type of the first.
pub fn pcap(frames: &[Frame], unit: Unit) -> Vec<u8> {
    let magic: u32 = if unit == Unit::Nanosecond { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let mut file = Vec::new();
    file.extend(magic.to_le_bytes());
    file.extend([2, 0, 4, 0]);
    file.extend([0; 8]);
    file.extend(262_144u32.to_le_bytes());
    file.extend(u32::from(link(frames)).to_le_bytes());
    for frame in frames {
        let fraction = frame.time % 1_000_000_000 / unit.nanoseconds();
        for field in [frame.time / 1_000_000_000, fraction] {
            file.extend(u32::try_from(field).expect("a time of this century").to_le_bytes());
        }
        file.extend(length(&frame.bytes).to_le_bytes());
        file.extend(frame.original.to_le_bytes());
        file.extend(&frame.bytes);
    }
    file
}

/// Packets as a little-endian pcapng file of one interface.
pub fn pcapng(frames: &[Frame], unit: Unit) -> Vec<u8> {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let padded = body.len().next_multiple_of(4);
        let total = u32::try_from(padded + 12).expect("a block is short").to_le_bytes();
        file.extend(kind.to_le_bytes());
        file.extend(total);
        file.extend(body);
        file.resize(file.len() + padded - body.len(), 0);
        file.extend(total);
    };
    block(0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat());
    let mut interface = [&link(frames).to_le_bytes()[..], &[0, 0], &262_144u32.to_le_bytes()].concat();
    if unit == Unit::Nanosecond {
        interface.extend([9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    }
    block(1, &interface);
    for frame in frames {
        let units = (frame.time / unit.nanoseconds()) as u64;
        let fields = [0, (units >> 32) as u32, units as u32, length(&frame.bytes), frame.original];
        let mut body: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
        body.extend(&frame.bytes);
        block(6, &body);
    }
    file
}

fn link(frames: &[Frame]) -> u16 {
    let link = frames.first().expect("a capture has packets").link;
    assert!(frames.iter().all(|frame| frame.link == link), "one link type a file");
    link
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a packet is short")
}

/// The file in every compression, with the suffix of each.
pub fn compressed(file: &[u8]) -> [(&'static str, Vec<u8>); 4] {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(file).expect("memory can be written");
    let mut lz4 = lz4_flex::frame::FrameEncoder::with_frame_info(
        lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max64KB),
        Vec::new(),
    );
    lz4.write_all(file).expect("memory can be written");
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(file).expect("memory can be written");
    [
        ("gz", gz.finish().expect("memory can be written")),
        ("zst", zstd::bulk::compress(file, 1).expect("memory can be written")),
        ("lz4", lz4.finish().expect("memory can be written")),
        ("xz", xz.finish().expect("memory can be written")),
    ]
}

/// Where the IP header of a packet begins, for the link types of the recordings; tags are skipped.
fn ip_header(frame: &Frame) -> Option<usize> {
    let bytes = &frame.bytes;
    let word = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let at = match frame.link {
        1 => {
            let mut at = 12;
            while matches!(word(at)?, 0x8100 | 0x88a8) {
                at += 4;
            }
            matches!(word(at)?, 0x0800 | 0x86dd).then_some(at + 2)?
        }
        276 => matches!(word(0)?, 0x0800 | 0x86dd).then_some(20)?,
        other => panic!("no recording has link type {other}"),
    };
    (bytes.len() > at).then_some(at)
}

/// The IPv4 header of a packet, if it has one.
fn ipv4(frame: &Frame) -> Option<usize> {
    ip_header(frame).filter(|&at| frame.bytes[at] >> 4 == 4 && frame.bytes.len() >= at + 20)
}

/// Source address of a packet, if it is IP.
pub fn source(frame: &Frame) -> Option<IpAddr> {
    address(frame, 12, 8)
}

/// Source port of a packet without IP options.
pub fn source_port(frame: &Frame) -> Option<u16> {
    let at = ip_header(frame)?;
    let tcp = if frame.bytes[at] >> 4 == 4 { at + 20 } else { at + 40 };
    Some(u16::from_be_bytes([*frame.bytes.get(tcp)?, *frame.bytes.get(tcp + 1)?]))
}

/// Destination port of a packet without IP options.
pub fn destination_port(frame: &Frame) -> Option<u16> {
    let at = ip_header(frame)?;
    let tcp = if frame.bytes[at] >> 4 == 4 { at + 20 } else { at + 40 };
    Some(u16::from_be_bytes([*frame.bytes.get(tcp + 2)?, *frame.bytes.get(tcp + 3)?]))
}

fn address(frame: &Frame, v4: usize, v6: usize) -> Option<IpAddr> {
    let at = ip_header(frame)?;
    if frame.bytes[at] >> 4 == 4 {
        let bytes: [u8; 4] = frame.bytes.get(at + v4..at + v4 + 4)?.try_into().ok()?;
        Some(bytes.into())
    } else {
        let bytes: [u8; 16] = frame.bytes.get(at + v6..at + v6 + 16)?.try_into().ok()?;
        Some(bytes.into())
    }
}

/// Cuts every packet to `snaplen` bytes.
pub fn cut(frames: &[Frame], snaplen: usize) -> Vec<Frame> {
    let mut frames = frames.to_vec();
    frames.iter_mut().for_each(|frame| frame.bytes.truncate(snaplen));
    frames
}

/// Every packet a second time, `later` nanoseconds after, with `hops` less of TTL.
pub fn doubled(frames: &[Frame], later: i64, hops: u8) -> Vec<Frame> {
    let copies = frames.iter().map(|frame| {
        let mut copy = frame.clone();
        copy.time += later;
        if let Some(at) = ipv4(&copy) {
            copy.bytes[at + 8] -= hops;
            mend(&mut copy.bytes[at..at + 20]);
        }
        copy
    });
    let mut all: Vec<Frame> = frames.iter().cloned().chain(copies).collect();
    all.sort_by_key(|frame| frame.time);
    all
}

/// Puts the checksum of an IPv4 header right.
fn mend(header: &mut [u8]) {
    header[10..12].fill(0);
    let mut sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    header[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// Every IPv4 address with its last byte inverted: other hosts, and those with the lower address now have the higher.
/// Checksums stay as right or wrong as they were.
pub fn mirrored(frames: &[Frame]) -> Vec<Frame> {
    let mut frames = frames.to_vec();
    for frame in &mut frames {
        if let Some(at) = ipv4(frame) {
            let header = &mut frame.bytes[at..];
            // What a host leaves to its network card to complete is the pseudo-header's sum, not inverted.
            let word = |low: usize| u16::from_be_bytes([header[low], header[low + 1]]);
            let pseudo = [12, 14, 16, 18].map(word).into_iter().fold(6, add);
            let left_to_card = header.len() >= 38 && add(pseudo, word(2).wrapping_sub(20)) == word(36);
            for low in [14, 18] {
                let old = u16::from_be_bytes([header[low], header[low + 1]]);
                header[low + 1] = !header[low + 1];
                let new = u16::from_be_bytes([header[low], header[low + 1]]);
                if header.len() >= 38 && header[9] == 6 {
                    // RFC 1624: the new sum from the old one.
                    let inverted = if left_to_card { 0 } else { u16::MAX };
                    let sum = u16::from_be_bytes([header[36], header[37]]) ^ inverted;
                    let sum = add(add(sum, !old), new) ^ inverted;
                    header[36..38].copy_from_slice(&sum.to_be_bytes());
                }
            }
            mend(&mut frame.bytes[at..at + 20]);
        }
    }
    frames
}

/// Every TCP checksum over IPv4 made wrong, as by a program that rewrites addresses and nothing else.
pub fn wrong_checksums(frames: &[Frame]) -> Vec<Frame> {
    let mut frames = frames.to_vec();
    for frame in &mut frames {
        if let Some(at) = ipv4(frame)
            && let header = &mut frame.bytes[at..]
            && header.len() >= 38
            && header[9] == 6
        {
            let sum = u16::from_be_bytes([header[36], header[37]]);
            header[36..38].copy_from_slice(&add(sum, 0x1234).to_be_bytes());
        }
    }
    frames
}

/// The sum in one's complement.
fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// An address as [`mirrored`] makes it, with or without a port.
pub fn mirrored_address(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(SocketAddr::V4(socket)) => {
            let mut bytes = socket.ip().octets();
            bytes[3] = !bytes[3];
            SocketAddr::new(bytes.into(), socket.port()).to_string()
        }
        _ => address.to_owned(),
    }
}

/// Which neighbours change places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Swap {
    /// Only packets of the same sender.
    OneDirection,
    /// All that are near enough.
    Any,
}

/// Exchanges neighbours that are less than `within` nanoseconds apart, as a capture on several queues does. Time stamps
/// stay in order.
pub fn shuffled(frames: &[Frame], within: i64, which: Swap) -> Vec<Frame> {
    let mut frames = frames.to_vec();
    let mut at = 0;
    while at + 1 < frames.len() {
        let (a, b) = (&frames[at], &frames[at + 1]);
        let may = which == Swap::Any || source(a) == source(b);
        if may && b.time - a.time < within {
            let (early, late) = (a.time, b.time);
            frames.swap(at, at + 1);
            (frames[at].time, frames[at + 1].time) = (early, late);
            at += 2;
        } else {
            at += 1;
        }
    }
    frames
}
