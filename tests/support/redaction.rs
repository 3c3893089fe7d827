//! Redaction does not change a packet's kind. Tests and fuzz targets share this file.

use std::fmt::Display;

use synscope::capture::LinkType;
use synscope::decode::Decoded;
use synscope::decode::segment::Segment;
use synscope::redact::Rewriter;

use crate::decoded::decoded;
use crate::stacks::Frame;

/// Rewrites a packet and returns its decoded form.
///
/// # Panics
/// If it becomes longer or of another kind. A segment must stay the same segment, an ICMP error an ICMP error,
/// and a malformed packet malformed; no other packet may become one of these. `name` identifies the packet.
pub fn rewritten(rewriter: &mut Rewriter, frame: &Frame, name: impl Display) -> Decoded {
    let (before, segment) = decoded(frame);
    let mut bytes = frame.bytes.clone();
    let kept = rewriter.rewrite(LinkType(frame.link), &mut bytes, frame.original_length);
    assert!(kept <= bytes.len(), "{name}: {frame:02x?}");
    bytes.truncate(kept);
    let original_length = frame.original_length.max(frame.bytes.len() as u32);
    let left = Frame { bytes, original_length, intact: false, ..frame.clone() };
    let (after, redacted) = decoded(&left);
    let known = |s: &Segment| (s.src_port, s.dst_port, s.seq, s.ack, s.flags, s.payload);
    match (before, after) {
        (Decoded::Tcp, Decoded::Tcp) => {
            assert_eq!(known(&segment), known(&redacted), "{name}: {frame:02x?}");
        }
        (Decoded::Icmp, Decoded::Icmp) | (Decoded::Malformed, Decoded::Malformed) => {}
        (Decoded::Tcp | Decoded::Icmp | Decoded::Malformed, _) | (_, Decoded::Tcp | Decoded::Icmp) => {
            panic!("{name}: {before:?} became {after:?}: {frame:02x?} became {:02x?}", left.bytes)
        }
        _ => {}
    }
    before
}
