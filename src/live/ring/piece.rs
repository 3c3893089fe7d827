//! One file of the ring, read back packet by packet in bounded memory.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use pcap_parser::pcapng::parse_enhancedpacketblock_le;

use super::RingInterface;
use crate::capture::Packet;
use crate::decode::segment::PacketId;
use crate::report::pcapng::{EPB_PACKETID, OPT_COMMENT};
use crate::time::Timestamp;

/// Type of the blocks that hold packets.
const ENHANCED_PACKET: u32 = 6;
/// No block that the ring writes is longer than this, bytes.
const MOST_BYTES: usize = 1 << 22;

/// Gives every packet of the file at `path` to `each`, with the number of its interface and its comment; `places` are the interfaces.
/// Stops at a block that is not whole.
///
/// # Errors
/// What the file or `each` says.
pub(super) fn read(
    path: &Path,
    places: &[RingInterface],
    mut each: impl FnMut(u32, &Packet<'_>, Option<&str>) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = BufReader::with_capacity(1 << 18, File::open(path)?);
    let mut block = vec![0; 8];
    loop {
        block.resize(8, 0);
        if !whole(file.read_exact(&mut block))? {
            return Ok(());
        }
        let word = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
        let (kind, length) = (word(0), word(4) as usize);
        if !(12..=MOST_BYTES).contains(&length) {
            return Ok(());
        }
        block.resize(length, 0);
        if !whole(file.read_exact(&mut block[8..]))? {
            return Ok(());
        }
        if kind != ENHANCED_PACKET {
            continue;
        }
        let Ok((_, packet)) = parse_enhancedpacketblock_le(&block) else { return Ok(()) };
        let Some(place) = places.get(packet.if_id as usize) else { return Ok(()) };
        let number = packet.options.iter().find(|option| option.code.0 == EPB_PACKETID);
        let number = number.and_then(|option| <[u8; 8]>::try_from(option.value.as_ref()).ok());
        let time = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
        let read = Packet {
            id: PacketId::new(place.capture, number.map_or(0, u64::from_le_bytes)),
            time: Timestamp(i64::try_from(time).unwrap_or(i64::MAX)),
            timed: true,
            interface: 0,
            link: place.link,
            original_length: packet.origlen,
            data: packet.data.get(..packet.caplen as usize).unwrap_or(packet.data),
        };
        let comment = packet.options.iter().find(|option| option.code.0 == OPT_COMMENT);
        // Options are padded to four bytes; the text is as long as it says.
        let comment = comment.and_then(|o| o.value.get(..usize::from(o.len))).map(std::str::from_utf8);
        each(packet.if_id, &read, comment.and_then(Result::ok))?;
    }
}

/// Whether all bytes that were to be read were there.
fn whole(read: io::Result<()>) -> io::Result<bool> {
    match read {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
