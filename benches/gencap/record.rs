//! The file around the packets: classic pcap in microseconds or nanoseconds, pcapng.

use std::io::{self, Write};
use std::str::FromStr;

use super::script::SECOND;

/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Pcap,
    PcapNs,
    Pcapng,
}

impl FromStr for Format {
    type Err = String;
    fn from_str(name: &str) -> Result<Format, String> {
        match name {
            "pcap" => Ok(Format::Pcap),
            "pcap-ns" => Ok(Format::PcapNs),
            "pcapng" => Ok(Format::Pcapng),
            _ => Err(format!("no format '{name}'; there are: pcap, pcap-ns, pcapng")),
        }
    }
}

/// Writes records and counts packets and bytes.
pub struct Recorder<W> {
    sink: W,
    format: Format,
    snaplen: usize,
    pub file_bytes: u64,
    pub wire_bytes: u64,
    pub packets: u64,
}

impl<W: Write> Recorder<W> {
    /// Writes the head of the file.
    pub fn start(sink: W, format: Format, snaplen: u32) -> io::Result<Recorder<W>> {
        let mut recorder =
            Recorder { sink, format, snaplen: snaplen as usize, file_bytes: 0, wire_bytes: 0, packets: 0 };
        let head = match format {
            Format::Pcap => words(&[0xa1b2_c3d4, 4 << 16 | 2, 0, 0, snaplen, ETHERNET]),
            Format::PcapNs => words(&[0xa1b2_3c4d, 4 << 16 | 2, 0, 0, snaplen, ETHERNET]),
            Format::Pcapng => words(&[
                // Section header, version 1.0, length unknown.
                0x0a0d_0d0a,
                28,
                0x1a2b_3c4d,
                1,
                u32::MAX,
                u32::MAX,
                28,
                // Interface description with option 9, if_tsresol: 10^-9 s.
                1,
                32,
                ETHERNET,
                snaplen,
                1 << 16 | 9,
                9,
                0,
                32,
            ]),
        };
        recorder.put(&head)?;
        Ok(recorder)
    }

    /// Writes `frame`, captured at `time` (nanoseconds since the epoch).
    pub fn record(&mut self, time: u64, frame: &[u8]) -> io::Result<()> {
        let captured = frame.len().min(self.snaplen);
        let (incl, orig) = (captured as u32, frame.len() as u32);
        let (seconds, nanoseconds) = ((time / SECOND) as u32, (time % SECOND) as u32);
        match self.format {
            Format::Pcap => self.put(&words(&[seconds, nanoseconds / 1000, incl, orig]))?,
            Format::PcapNs => self.put(&words(&[seconds, nanoseconds, incl, orig]))?,
            Format::Pcapng => {
                let total = 32 + incl.next_multiple_of(4);
                self.put(&words(&[6, total, 0, (time >> 32) as u32, time as u32, incl, orig]))?;
            }
        }
        self.put(&frame[..captured])?;
        if self.format == Format::Pcapng {
            let padding = incl.next_multiple_of(4) - incl;
            self.put(&[0; 3][..padding as usize])?;
            self.put(&words(&[32 + incl + padding]))?;
        }
        self.packets += 1;
        self.wire_bytes += frame.len() as u64;
        Ok(())
    }

    pub fn finish(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file_bytes += bytes.len() as u64;
        self.sink.write_all(bytes)
    }
}

/// Little-endian bytes of `words`.
fn words<const N: usize>(words: &[u32; N]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
