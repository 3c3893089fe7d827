//! What lowers trust in a capture, counted connection by connection.

use crate::flow::compact::clean::CleanFlowSummary;
use crate::flow::compact::half_open::HalfOpen;
use crate::flow::facts::{ConnectionFacts, Side};

/// Losses of the capture itself, and what else lowers trust in it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct CaptureQuality {
    /// Connections.
    pub connections: u64,
    /// Segments of them, copies not counted.
    pub segments: u64,
    /// Connections of which only one direction was captured although the other must have sent.
    pub one_sided: u64,
    /// Connections whose client went on without a segment of the server in the capture: its direction is missing.
    pub deaf: u64,
    /// Connections of which nothing but SYNs was captured.
    pub only_syns: u64,
    /// Connections of which nothing but SYNs and SYN-ACKs was captured.
    pub only_handshakes: u64,
    /// Acknowledgments of bytes that the capture does not hold.
    pub unseen: u64,
    /// Segments that came just after their acknowledgment.
    pub reordered: u64,
    /// Copies of packets.
    pub duplicates: u64,
    /// Packets of intervals captured twice.
    pub replayed: u64,
    /// Connections whose beginning was not captured.
    pub mid_stream: u64,
    /// Connections on which the segments of one end came with several TTLs.
    pub several_ttls: u64,
}

impl CaptureQuality {
    /// What one connection adds.
    pub fn of(f: &ConnectionFacts) -> CaptureQuality {
        // A RST may come from a box in between, or from the host itself: it starts from a TTL of its own.
        let several = |side: &Side| side.ttl.0 != side.ttl.1 && side.resets == 0;
        let only_syns = f.s.segments == 0 && f.c.segments == f.syn.count && f.icmp.is_none();
        let only_handshake =
            f.c.segments == f.syn.count && f.s.segments == f.syn_ack.count && f.icmp.is_none();
        let deaf = f.s.segments == 0 && !only_syns && f.c.segments > f.syn.count + u32::from(f.c.resets);
        let answered = f.c.acked_known || f.s.acked_known;
        CaptureQuality {
            connections: 1,
            segments: u64::from(f.c.segments) + u64::from(f.s.segments),
            one_sided: u64::from(!f.both_seen() && answered),
            deaf: u64::from(deaf),
            only_syns: u64::from(only_syns),
            only_handshakes: u64::from(only_handshake),
            unseen: u64::from(f.c.unseen) + u64::from(f.s.unseen),
            reordered: u64::from(f.reordered),
            duplicates: u64::from(f.duplicates),
            replayed: u64::from(f.replayed),
            mid_stream: u64::from(f.mid_stream),
            several_ttls: u64::from(several(&f.c) || several(&f.s)),
        }
    }

    /// What SYNs and their answers add.
    #[inline]
    pub fn of_half_open(h: &HalfOpen) -> CaptureQuality {
        CaptureQuality {
            connections: 1,
            segments: h.segments(),
            only_syns: u64::from(h.answered().is_none()),
            only_handshakes: u64::from(!h.is_refused()),
            ..CaptureQuality::default()
        }
    }

    /// What a connection without a flaw adds.
    #[inline]
    pub fn of_clean(course: &CleanFlowSummary) -> CaptureQuality {
        CaptureQuality {
            connections: 1,
            segments: u64::from(course.segments),
            several_ttls: u64::from(course.several_ttls),
            ..CaptureQuality::default()
        }
    }

    /// Adds up two.
    pub fn add(&mut self, other: &CaptureQuality) {
        self.connections += other.connections;
        self.segments += other.segments;
        self.one_sided += other.one_sided;
        self.deaf += other.deaf;
        self.only_syns += other.only_syns;
        self.only_handshakes += other.only_handshakes;
        self.unseen += other.unseen;
        self.reordered += other.reordered;
        self.duplicates += other.duplicates;
        self.replayed += other.replayed;
        self.mid_stream += other.mid_stream;
        self.several_ttls += other.several_ttls;
    }
}
