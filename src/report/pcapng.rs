//! A pcapng file, written block by block: a section, interfaces, packets with comments.
//!
//! Format: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html>. Nothing is copied from another file:
//! there are no name resolution, secrets, journal or custom blocks.

use std::io::{self, Write};

use super::terminal::sanitize;
use crate::time::Timestamp;

// Block types and options, sections 4 and 3.5 of the draft.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const ORDER_MARK: u32 = 0x1a2b_3c4d;
const OPT_END: u16 = 0;
/// Option of a packet or section: a comment.
pub const OPT_COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
/// Option of a packet: its number, the same wherever the packet is.
pub const EPB_PACKETID: u16 = 5;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
/// Times in units of 10^-9 seconds.
const NANOSECONDS: u8 = 9;
/// A longer text does not fit an option's length.
const LONGEST_TEXT: usize = 32_000;

/// A file being written.
pub struct PcapngWriter<'w> {
    out: &'w mut dyn Write,
    interfaces: u32,
}

/// One packet to be written.
#[derive(Clone, Copy, Debug)]
pub struct CommentedPacket<'p> {
    /// Number of its interface, as [`PcapngWriter::interface`] gave it.
    pub interface: u32,
    /// When it was captured.
    pub time: Timestamp,
    /// Bytes on the wire.
    pub original_length: u32,
    /// The parts of them that are kept.
    pub data: &'p [u8],
}

impl<'w> PcapngWriter<'w> {
    /// Begins a file with a comment on the whole file.
    ///
    /// # Errors
    /// The writer's error.
    pub fn new(out: &'w mut dyn Write, comment: &str) -> io::Result<PcapngWriter<'w>> {
        let mut bytes = Vec::new();
        section_block(&mut bytes, comment);
        out.write_all(&bytes)?;
        Ok(PcapngWriter { out, interfaces: 0 })
    }

    /// Describes an interface and gives its number.
    ///
    /// # Errors
    /// The writer's error.
    pub fn interface(&mut self, link: u16, name: &str, description: &str) -> io::Result<u32> {
        let mut bytes = Vec::new();
        interface_block(&mut bytes, link, name, description);
        self.out.write_all(&bytes)?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// Writes a packet with its comments.
    ///
    /// # Errors
    /// The writer's error.
    pub fn packet(&mut self, packet: &CommentedPacket<'_>, comments: &[String]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(packet.data.len() + 64);
        packet_block(&mut bytes, packet, None, comments);
        self.out.write_all(&bytes)
    }
}

/// Appends the block that begins a file, with a comment on the whole of it.
pub fn section_block(out: &mut Vec<u8>, comment: &str) {
    block(out, SECTION_HEADER, |body| {
        body.extend(ORDER_MARK.to_le_bytes());
        body.extend(1u16.to_le_bytes());
        body.extend(0u16.to_le_bytes());
        // The section's length is not given.
        body.extend(u64::MAX.to_le_bytes());
        option(body, OPT_COMMENT, text(comment).as_bytes());
        option(body, SHB_USERAPPL, concat!("synscope ", env!("CARGO_PKG_VERSION")).as_bytes());
        option(body, OPT_END, &[]);
    });
}

/// Appends the block that describes an interface; `description` may be empty. They are numbered in their order, from 0.
pub fn interface_block(out: &mut Vec<u8>, link: u16, name: &str, description: &str) {
    block(out, INTERFACE_DESCRIPTION, |body| {
        body.extend(link.to_le_bytes());
        body.extend([0; 2]);
        // No limit.
        body.extend(0u32.to_le_bytes());
        option(body, IF_NAME, text(name).as_bytes());
        if !description.is_empty() {
            option(body, IF_DESCRIPTION, text(description).as_bytes());
        }
        option(body, IF_TSRESOL, &[NANOSECONDS]);
        option(body, OPT_END, &[]);
    });
}

/// Appends a packet, with the number that it has elsewhere (Wireshark's `frame.packet_id`) and comments.
pub fn packet_block(
    out: &mut Vec<u8>,
    packet: &CommentedPacket<'_>,
    number: Option<u64>,
    comments: &[String],
) {
    block(out, ENHANCED_PACKET, |body| {
        body.extend(packet.interface.to_le_bytes());
        // Times before 1970 cannot be written.
        let time = u64::try_from(packet.time.0).unwrap_or(0);
        body.extend(((time >> 32) as u32).to_le_bytes());
        body.extend((time as u32).to_le_bytes());
        body.extend((packet.data.len() as u32).to_le_bytes());
        body.extend(packet.original_length.max(packet.data.len() as u32).to_le_bytes());
        body.extend(packet.data);
        pad(body);
        for comment in comments {
            option(body, OPT_COMMENT, text(comment).as_bytes());
        }
        if let Some(number) = number {
            option(body, EPB_PACKETID, &number.to_le_bytes());
        }
        if number.is_some() || !comments.is_empty() {
            option(body, OPT_END, &[]);
        }
    });
}

/// Appends a block with its two lengths around `body`. The blocks before it in `out` are whole, so its padding is
/// right.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    debug_assert!(start.is_multiple_of(4), "blocks are padded to four bytes");
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    let length = ((out.len() - start + 4) as u32).to_le_bytes();
    out[start + 4..start + 8].copy_from_slice(&length);
    out.extend(length);
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Without control characters, and short enough.
fn text(text: &str) -> String {
    let mut text = sanitize(text).into_owned();
    if text.len() > LONGEST_TEXT {
        let end = (0..=LONGEST_TEXT - 4).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let mut out = Vec::new();
        let mut writer = PcapngWriter::new(&mut out, "why\x1b[2J").unwrap();
        let interface = writer.interface(1, "eth0", "port 7").unwrap();
        let packet = CommentedPacket {
            interface,
            time: Timestamp(5_000_000_001),
            original_length: 60,
            data: b"abcde",
        };
        writer.packet(&packet, &["one".to_owned(), "two".to_owned()]).unwrap();
        let dump: Vec<String> = out
            .chunks(16)
            .map(|line| {
                let shown = |b: &u8| if b.is_ascii_graphic() { *b as char } else { '.' };
                let hex: Vec<String> = line.iter().map(|b| format!("{b:02x}")).collect();
                format!("{:47}  {}", hex.join(" "), line.iter().map(shown).collect::<String>())
            })
            .collect();
        insta::assert_snapshot!(dump.join("\n").replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert!(text(&"ä".repeat(40_000)).len() <= LONGEST_TEXT);
    }
}
