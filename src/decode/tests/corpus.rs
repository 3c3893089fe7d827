//! Captures of other projects: as many TCP segments as their table says.
//!
//! The captures are not part of this repository. `SYNSCOPE_CORPUS` names their folder; the default is
//! `../shared/corpus`. Without the folder the test is skipped.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, PcapBlockOwned, PcapError, PcapNGReader};

use super::*;

/// Files in which this decoder rightly counts otherwise than the table: file, TCP segments, reason.
const EXCEPTIONS: &[(&str, u64, &str)] = &[
    ("ndpi-fuzz-2006-09-29-28586.pcap", 114, "packets 27 and 80: the TCP header ends beyond the datagram"),
    ("suricata-fuzz.pcap", 0, "packet 1: the TCP header says that it is 0 bytes long"),
];

/// Every packet of a file: link type, original length, bytes.
fn packets(path: &Path) -> Vec<(u16, u32, Vec<u8>)> {
    let mut file = std::fs::read(path).unwrap();
    if file.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(&file[..]).read_to_end(&mut plain).unwrap();
        file = plain;
    }
    if file.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) { pcapng(&file) } else { pcap(&file) }
}

fn pcap(file: &[u8]) -> Vec<(u16, u32, Vec<u8>)> {
    let little = matches!(file[..2], [0xd4, 0xc3] | [0x4d, 0x3c] | [0x34, 0xcd]);
    let modified = matches!(file[..4], [0x34, 0xcd, 0xb2, 0xa1] | [0xa1, 0xb2, 0xcd, 0x34]);
    let word = |place: usize| {
        let bytes = file[place..place + 4].try_into().unwrap();
        if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    };
    let record = if modified { 24 } else { 16 };
    let (link, mut place, mut packets) = (word(20) as u16, 24, Vec::new());
    while place + record <= file.len() {
        let (captured, original) = (word(place + 8) as usize, word(place + 12));
        let start = place + record;
        let end = start.saturating_add(captured).min(file.len());
        packets.push((link, original, file[start..end].to_vec()));
        place = end;
    }
    packets
}

fn pcapng(file: &[u8]) -> Vec<(u16, u32, Vec<u8>)> {
    let (mut links, mut packets) = (Vec::new(), Vec::new());
    let mut reader = PcapNGReader::new(1 << 20, file).unwrap();
    loop {
        match reader.next() {
            Ok((used, block)) => {
                match block {
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => links.clear(),
                    PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
                        links.push(block.linktype.0 as u16)
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
                        let data = block.data[..block.caplen as usize].to_vec();
                        packets.push((links[block.if_id as usize], block.origlen, data));
                    }
                    PcapBlockOwned::NG(Block::SimplePacket(block)) => {
                        let data = block.data[..block.data.len().min(block.origlen as usize)].to_vec();
                        packets.push((links[0], block.origlen, data));
                    }
                    _ => {}
                }
                reader.consume(used);
            }
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(_) => return packets,
        }
    }
}

#[test]
#[ignore = "needs published captures: SYNSCOPE_CORPUS=FOLDER cargo test corpus -- --ignored"]
fn every_capture_has_the_segments_that_its_table_says() {
    let folder = std::env::var_os("SYNSCOPE_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"), PathBuf::from);
    let table = std::fs::read_to_string(folder.join("README.md")).expect("the table of SYNSCOPE_CORPUS");
    let (mut files, mut wrong) = (0, String::new());
    for row in table.lines().filter(|row| row.starts_with("| ")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let path = folder.join(cells[1]);
        if !path.is_file() {
            continue;
        }
        // "33", "0+12t": plain and inside tunnels.
        let (plain, tunneled) = cells[7].split_once('+').unwrap_or((cells[7], "0t"));
        let expected = (plain.parse().unwrap(), tunneled.trim_end_matches('t').parse().unwrap());
        let expected =
            EXCEPTIONS.iter().find(|e| e.0 == cells[1]).map_or(expected, |exception| (exception.1, 0));
        let (mut found, mut kinds) = ((0_u64, 0_u64), BTreeMap::new());
        for (link, original_length, data) in packets(&path) {
            let mut out = Segment::default();
            let result = decode(&Packet { original_length, ..packet(link, &data) }, &mut out);
            match (result, out.traits.has(crate::decode::segment::Traits::TUNNELED)) {
                (Decoded::Tcp, false) => found.0 += 1,
                (Decoded::Tcp, true) => found.1 += 1,
                _ => {}
            }
            *kinds.entry(format!("{result:?}")).or_insert(0) += 1;
        }
        files += 1;
        if found != expected {
            let reason = EXCEPTIONS.iter().find(|e| e.0 == cells[1]).map_or("", |exception| exception.2);
            wrong += &format!("{} ({reason}): {found:?}, not {expected:?}: {kinds:?}\n", cells[1]);
        }
    }
    assert!(files > 50, "the table in {} was not understood", folder.display());
    assert!(wrong.is_empty(), "{wrong}");
}
