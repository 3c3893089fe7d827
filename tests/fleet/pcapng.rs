//! pcapng files for the tests of ranges, made of the packets of a pcap file.

use std::fs;
use std::path::Path;

/// What a file has beside its packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beside {
    /// Nothing but the blocks at its start, and statistics at its end.
    Statistics,
    /// Comments at some packets.
    Comments,
    /// Custom blocks, which take a number as packets do.
    CustomBlocks,
    /// Another section in the middle.
    Sections,
    /// Another interface in the middle, that later packets are of.
    Interfaces,
    /// Counts of dropped packets at packets.
    Drops,
}

impl Beside {
    /// All.
    pub const ALL: [Beside; 6] = {
        use Beside::{Comments, CustomBlocks, Drops, Interfaces, Sections, Statistics};
        [Statistics, Comments, CustomBlocks, Sections, Interfaces, Drops]
    };

    /// Whether a range can be read by somebody who knows the beginning of the file only.
    pub fn can_be_cut(self) -> bool {
        matches!(self, Beside::Statistics | Beside::Comments | Beside::CustomBlocks)
    }
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut all = bytes.to_vec();
    all.resize(bytes.len().next_multiple_of(4), 0);
    all
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &length, body, &length].concat()
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    [&code.to_le_bytes()[..], &(value.len() as u16).to_le_bytes(), &padded(value)].concat()
}

fn section() -> Vec<u8> {
    block(0x0a0d_0d0a, &[&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8]].concat())
}

fn interface(link: [u8; 2], name: &str) -> Vec<u8> {
    let options = [option(2, name.as_bytes()), option(9, &[9]), vec![0; 4]].concat();
    block(1, &[&link[..], &[0; 6], &options].concat())
}

fn statistics(interface: u32, drops: u64) -> Vec<u8> {
    let options = [option(5, &drops.to_le_bytes()), vec![0; 4]].concat();
    block(5, &[&interface.to_le_bytes()[..], &[0; 8], &options].concat())
}

fn packet(interface: u32, nanoseconds: u64, data: &[u8], original: [u8; 4], options: &[u8]) -> Vec<u8> {
    let (high, low) = ((nanoseconds >> 32) as u32, nanoseconds as u32);
    let head = [interface, high, low, data.len() as u32].map(u32::to_le_bytes).concat();
    block(6, &[&head, &original[..], &padded(data), options].concat())
}

/// The packets of the little-endian pcap file `path` with nanoseconds as pcapng.
pub fn of_pcap(path: &Path, beside: Beside) -> Vec<u8> {
    let pcap = fs::read(path).expect("a capture of this test");
    assert_eq!(pcap.first_chunk(), Some(&0xa1b2_3c4d_u32.to_le_bytes()), "{}", path.display());
    let number = |at: usize| u32::from_le_bytes(pcap[at..at + 4].try_into().expect("four bytes"));
    let link = [pcap[20], pcap[21]];
    let mut all = [section(), interface(link, "eth0")].concat();
    let (mut at, mut count, mut current) = (24, 0, 0);
    while at + 16 <= pcap.len() {
        let time = u64::from(number(at)) * 1_000_000_000 + u64::from(number(at + 4));
        let length = number(at + 8) as usize;
        let original = number(at + 12).to_le_bytes();
        let data = &pcap[at + 16..at + 16 + length];
        let middle = at < pcap.len() / 2 && at + 16 + length >= pcap.len() / 2;
        let often = count % 40 == 7;
        let options = match beside {
            Beside::Comments if often => [option(1, b"somebody wrote this"), vec![0; 4]].concat(),
            Beside::Drops if often => [option(4, &3_u64.to_le_bytes()), vec![0; 4]].concat(),
            _ => Vec::new(),
        };
        all.extend(packet(current, time, data, original, &options));
        match beside {
            Beside::CustomBlocks if often => all.extend(block(0x0bad, &[0; 8])),
            Beside::Sections if middle => {
                all.extend([section(), interface(link, "eth1")].concat());
            }
            Beside::Interfaces if middle => {
                all.extend(interface(link, "eth1"));
                current = 1;
            }
            _ => {}
        }
        (at, count) = (at + 16 + length, count + 1);
    }
    all.extend(statistics(current, 5));
    all
}
