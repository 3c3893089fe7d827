//! Compressed captures: recognised by content, decompressed in a thread of their own while the analysis goes on.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use liblzma::stream::{CONCATENATED, Stream};

use crate::fault;

/// A compression that is recognised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compression {
    /// RFC 1952; several members in a row are one stream.
    Gzip,
    /// RFC 8878, likewise frames.
    Zstd,
    /// The LZ4 frame format, several frames in a row included; neither the legacy format of `lz4 -l` nor bare blocks.
    Lz4,
    /// The .xz format, several streams in a row included.
    Xz,
}

/// How many bytes at the start of a stream show the compression.
pub(super) const MAGIC_BYTES: usize = 6;

impl Compression {
    /// The compression that begins with these bytes.
    pub(super) fn of(head: &[u8]) -> Option<Compression> {
        match head {
            [0x1f, 0x8b, ..] => Some(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstd),
            // A skippable frame, which parallel zstd writes first. LZ4 has them too, but no LZ4 stream begins with one.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Compression::Zstd),
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Compression::Lz4),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Compression::Xz),
            _ => None,
        }
    }

    /// As said in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
            Compression::Lz4 => "lz4",
            Compression::Xz => "xz",
        }
    }

    /// The usual end of a file name.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Compression::Gzip => "gz",
            Compression::Zstd => "zst",
            Compression::Lz4 => "lz4",
            Compression::Xz => "xz",
        }
    }

    fn decoder(self, raw: BufReader<Raw>) -> io::Result<Box<dyn Read>> {
        Ok(match self {
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(raw)),
            Compression::Zstd => {
                let mut raw = raw;
                // The library refuses it too, but its message does not help the user.
                if let Some(log) = zstd_window(raw.fill_buf()?).filter(|log| *log > ZSTD_WINDOW) {
                    return Err(io::Error::new(
                        io::ErrorKind::Unsupported,
                        format!(
                            "it was compressed with zstd --long={log}, whose window of {} MiB is more than the {} MiB that are read \
                         here. Decompress it first: zstd -d --long={log} -c FILE | synscope analyze -",
                            1_u64 << log.saturating_sub(20),
                            1_u64 << (ZSTD_WINDOW - 20)
                        ),
                    ));
                }
                Box::new(zstd::stream::read::Decoder::with_buffer(raw)?)
            }
            Compression::Lz4 => Box::new(Lz4Frames::new(raw)),
            Compression::Xz => {
                let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(raw, stream))
            }
        })
    }
}

/// The largest window of zstd that is read, as a power of two: what the library allows by itself.
const ZSTD_WINDOW: u32 = 27;

/// The window that a zstd frame asks for, as a power of two (RFC 8878 section 3.1.1.1.2). `None` for other data, and for
/// a frame with its content in a single segment, which names no window.
fn zstd_window(head: &[u8]) -> Option<u32> {
    let [0x28, 0xb5, 0x2f, 0xfd, descriptor, window, ..] = head else { return None };
    let single_segment = descriptor & 0x20 != 0;
    // The upper five bits are the exponent; any of the lower three adds to the window.
    let log = 10_u32.saturating_add((window >> 3).into()).saturating_add((window & 7 != 0).into());
    (!single_segment).then_some(log)
}

/// Memory that one xz decoder may take, bytes: `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;
/// What a decoder hands over at a time, bytes, at most.
const CHUNK: usize = 256 << 10;
/// How many chunks a decoder may be ahead.
const AHEAD: usize = 3;
/// How much compressed input a decoder reads at a time, bytes.
const READ: usize = 128 << 10;

type Raw = Box<dyn Read + Send>;

/// The decompressed bytes of a stream, produced by another thread at most [`AHEAD`] chunks early.
///
/// Dropping it ends the thread as soon as the thread has a chunk to hand over; one that waits for a silent pipe lives
/// as long as the pipe.
pub(super) struct Decompressor {
    full: Receiver<Delivery>,
    empty: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    filled: usize,
    taken: usize,
    ended: bool,
}

/// What the decoder's thread hands over.
enum Delivery {
    /// A chunk, and how much of it is filled.
    Bytes(Vec<u8>, usize),
    /// The proper end of the stream.
    End,
    /// Nothing can be decoded from here on.
    Broken(io::Error),
}

impl Decompressor {
    /// Starts to decompress `raw`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(compression: Compression, raw: Raw) -> io::Result<Decompressor> {
        let (send_full, full) = sync_channel(AHEAD);
        let (empty, take_empty) = channel();
        thread::Builder::new()
            .name(format!("{} decoder", compression.name()))
            .spawn(move || decode(compression, raw, &send_full, &take_empty))?;
        Ok(Decompressor { full, empty, chunk: Vec::new(), filled: 0, taken: 0, ended: false })
    }
}

impl Read for Decompressor {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.filled {
            if self.ended {
                return Ok(0);
            }
            let used = std::mem::take(&mut self.chunk);
            if !used.is_empty() {
                // The thread may have ended: then nobody needs the memory.
                let _ = self.empty.send(used);
            }
            (self.filled, self.taken) = (0, 0);
            match self.full.recv() {
                Ok(Delivery::Bytes(chunk, filled)) => (self.chunk, self.filled) = (chunk, filled),
                Ok(Delivery::End) => self.ended = true,
                Ok(Delivery::Broken(error)) => {
                    self.ended = true;
                    return Err(error);
                }
                Err(_) => {
                    self.ended = true;
                    return Err(io::Error::other("the decoder failed"));
                }
            }
        }
        let n = self.chunk.get(self.taken..self.filled).unwrap_or_default().read(buf)?;
        self.taken = self.taken.saturating_add(n);
        Ok(n)
    }
}

/// The decoder's thread: until the end, an error, or the receiver is gone.
fn decode(compression: Compression, raw: Raw, full: &SyncSender<Delivery>, empty: &Receiver<Vec<u8>>) {
    let mut decoder = match compression.decoder(BufReader::with_capacity(READ, raw)) {
        Ok(decoder) => decoder,
        Err(error) => return drop(full.send(Delivery::Broken(error))),
    };
    loop {
        let mut chunk = empty.try_recv().unwrap_or_else(|_| vec![0; CHUNK]);
        let read = fault::contain(|| decoder.read(&mut chunk))
            .unwrap_or_else(|fault| Err(io::Error::other(fault.told())));
        let delivery = match read {
            Ok(0) => Delivery::End,
            Ok(n) => Delivery::Bytes(chunk, n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Delivery::Broken(error),
        };
        let more = matches!(delivery, Delivery::Bytes(..));
        if full.send(delivery).is_err() || !more {
            return;
        }
    }
}

/// An empty LZ4 frame: magic, flags (version 1, linked blocks), 4 MiB blocks, header checksum, end mark. No frame needs a
/// larger buffer, so that of the frame before it fits.
const EMPTY_LZ4_FRAME: &[u8] = &[0x04, 0x22, 0x4d, 0x18, 0x40, 0x70, 0xdf, 0, 0, 0, 0];

/// All frames of an LZ4 stream, and an error where the stream ends inside one.
///
/// lz4_flex takes the end of input between two blocks for the end of the frame. So at the end of input it reads an
/// empty frame. Between frames that changes nothing. A decoder that is still inside a frame takes the magic number for
/// the length of a block, far too long, and fails. Each frame gets a new decoder, because a reused one may keep a
/// buffer larger than it expects.
struct Lz4Frames {
    decoder: Option<lz4_flex::frame::FrameDecoder<Lz4Input>>,
}

struct Lz4Input {
    raw: BufReader<Raw>,
    /// The bytes behind the end of `raw`: nothing at first, then the empty frame.
    probe: &'static [u8],
    probed: bool,
}

impl Read for Lz4Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.raw.read(buf)? {
            0 => self.probe.read(buf),
            n => Ok(n),
        }
    }
}

impl Lz4Frames {
    fn new(raw: BufReader<Raw>) -> Lz4Frames {
        let input = Lz4Input { raw, probe: &[], probed: false };
        Lz4Frames { decoder: Some(lz4_flex::frame::FrameDecoder::new(input)) }
    }
}

impl Read for Lz4Frames {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while let Some(mut decoder) = self.decoder.take() {
            match decoder.read(buf) {
                Ok(0) if decoder.get_ref().probed => {}
                Ok(0) => {
                    let input = decoder.get_mut();
                    if input.raw.fill_buf()?.is_empty() {
                        (input.probe, input.probed) = (EMPTY_LZ4_FRAME, true);
                    } else {
                        decoder = lz4_flex::frame::FrameDecoder::new(decoder.into_inner());
                    }
                    self.decoder = Some(decoder);
                }
                Ok(n) => {
                    self.decoder = Some(decoder);
                    return Ok(n);
                }
                Err(_) if decoder.get_ref().probed => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends inside a frame"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::test_captures::compressed;

    const ALL: [Compression; 4] = [Compression::Gzip, Compression::Zstd, Compression::Lz4, Compression::Xz];

    fn text() -> Vec<u8> {
        (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 27) as u8).collect()
    }

    fn decompress(compression: Compression, bytes: Vec<u8>) -> (Vec<u8>, io::Result<usize>) {
        let mut out = Vec::new();
        let mut reader = Decompressor::start(compression, Box::new(io::Cursor::new(bytes))).unwrap();
        let result = reader.read_to_end(&mut out);
        (out, result)
    }

    #[test]
    fn the_content_tells_the_compression() {
        for compression in ALL {
            let bytes = compressed(compression, b"x");
            assert_eq!(Compression::of(&bytes[..MAGIC_BYTES]), Some(compression));
        }
        assert_eq!(Compression::of(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0]), None);
    }

    #[test]
    fn a_window_that_is_not_read_is_named_with_its_remedy() {
        // Written by `zstd --long=31` from a pipe: no content size, a window of 2^31 bytes.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x04, 21 << 3, 0x01, 0x00, 0x00];
        let error = decompress(Compression::Zstd, frame.to_vec()).1.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        let said = error.to_string();
        assert!(said.contains("2048 MiB") && said.contains("zstd -d --long=31"), "{said}");
        // The largest window that is read, and a frame that has none of its own.
        assert_eq!(zstd_window(&[0x28, 0xb5, 0x2f, 0xfd, 0x04, 17 << 3]), Some(ZSTD_WINDOW));
        assert_eq!(zstd_window(&[0x28, 0xb5, 0x2f, 0xfd, 0x24, 0xff]), None);
    }

    #[test]
    fn what_was_compressed_comes_back() {
        for compression in ALL {
            let (out, result) = decompress(compression, compressed(compression, &text()));
            assert!(result.is_ok(), "{compression:?} {result:?}");
            assert!(out == text(), "{compression:?}");
        }
    }

    #[test]
    fn several_members_one_after_the_other_are_one_stream() {
        let (a, b) = (text(), b"and a short one".to_vec());
        for compression in ALL {
            let bytes = [compressed(compression, &a), compressed(compression, &b)].concat();
            let (out, result) = decompress(compression, bytes);
            assert!(result.is_ok(), "{compression:?} {result:?}");
            assert!(out == [a.clone(), b.clone()].concat(), "{compression:?}");
        }
    }

    #[test]
    fn a_stream_cut_off_anywhere_is_an_error_after_its_beginning() {
        for compression in ALL {
            let whole = compressed(compression, &text());
            for cut in
                (MAGIC_BYTES..whole.len()).step_by(whole.len() / 97).chain(whole.len() - 12..whole.len())
            {
                let (out, result) = decompress(compression, whole[..cut].to_vec());
                assert!(result.is_err(), "{compression:?} cut at {cut} of {}", whole.len());
                assert!(text().starts_with(&out), "{compression:?}");
            }
        }
    }

    #[test]
    fn an_lz4_stream_cut_between_two_blocks_is_an_error() {
        // Header 7 bytes, then blocks of 4 bytes of length and that many of data.
        let whole = compressed(Compression::Lz4, &text());
        let mut at = 7;
        let mut borders = 0;
        loop {
            let length = u32::from_le_bytes(whole[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
            if length == 0 {
                break;
            }
            let (_, result) = decompress(Compression::Lz4, whole[..at].to_vec());
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            at += 4 + length as usize;
            borders += 1;
        }
        assert!(borders > 1);
    }

    #[test]
    fn lz4_blocks_of_any_size_are_read() {
        use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
        use std::io::Write;
        let text = text();
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for mode in [BlockMode::Independent, BlockMode::Linked] {
                let info = FrameInfo::new().block_size(size).block_mode(mode);
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&text).unwrap();
                let whole = encoder.finish().unwrap();
                let (out, result) = decompress(Compression::Lz4, whole.clone());
                assert!(result.is_ok() && out == text, "{size:?} {mode:?}: {result:?}");
                // Without its end mark, and its content is all there.
                let (_, result) = decompress(Compression::Lz4, whole[..whole.len() - 4].to_vec());
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{size:?} {mode:?}");
            }
        }
    }

    #[test]
    fn a_consumer_that_leaves_early_ends_the_decoder() {
        let (send, receive) = sync_channel(AHEAD);
        let (_keep, empty) = channel();
        let bytes = compressed(Compression::Zstd, &vec![0; 64 << 20]);
        let raw: Raw = Box::new(io::Cursor::new(bytes));
        let thread = thread::spawn(move || decode(Compression::Zstd, raw, &send, &empty));
        assert!(matches!(receive.recv(), Ok(Delivery::Bytes(..))));
        drop(receive);
        thread.join().unwrap();
    }
}
