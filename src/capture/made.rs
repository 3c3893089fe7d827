//! Captures made by the tests, in every format and compression.

use std::io::Write;

use super::compress::Compression;

/// `octets` compressed as one member, frame or stream.
pub(super) fn compressed(compression: Compression, octets: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(octets).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::bulk::compress(octets, 3).unwrap(),
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(octets).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
            encoder.write_all(octets).unwrap();
            encoder.finish().unwrap()
        }
    }
}
