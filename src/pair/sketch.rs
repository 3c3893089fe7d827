//! The handshakes of one input, up to a limit: enough to see whether another input saw the same ones.
//!
//! Where there are too many handshakes, those whose initial sequence numbers hash lowest are kept. Every sketch keeps
//! the same ones, wherever its capture begins and whatever addresses a NAT has given them. So two sketches can be
//! compared, and their counts can be scaled up.

use std::collections::BTreeMap;

use crate::capture::{Block, Source};
use crate::decode::segment::{Flags, Segment, TcpOptions, Traits};
use crate::decode::{Decoded, decode_contained};
use crate::flow::key::Host;
use crate::seq::Seq;
use crate::time::{Span, Timestamp};

/// Handshakes that one sketch keeps.
const KEPT: usize = 1 << 16;
/// Files of a rotated capture may overlap by this much: packets of several queues come out of order.
const AT_THE_CUT: Span = Span::millis(100);
/// Transmissions of one segment that are kept.
const SIGHTINGS: usize = 4;

/// One transmission of a SYN or SYN-ACK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct SynTransmission {
    /// When, by the clock of its capture.
    pub at: Timestamp,
    /// TSval; `None` without timestamps.
    pub tsval: Option<u32>,
    /// Time to live.
    pub ttl: u8,
    /// Whether its checksum is not filled in yet, which is so only on the host that sends it.
    pub partial: bool,
    /// IPv4 identification; 0 says nothing.
    pub ip_id: u16,
}

impl SynTransmission {
    /// Whether both have an IPv4 identification, and the same one.
    pub fn has_id_of(&self, other: &SynTransmission) -> bool {
        self.ip_id != 0 && self.ip_id == other.ip_id
    }

    /// Whether both have an IPv4 identification, and not the same one.
    pub fn has_other_id_than(&self, other: &SynTransmission) -> bool {
        self.ip_id != 0 && other.ip_id != 0 && self.ip_id != other.ip_id
    }
}

/// The opening of one connection.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Handshake {
    /// The client's initial sequence number.
    pub isn: Seq,
    /// The client as this input knows it.
    pub client: Host,
    /// The server as this input knows it.
    pub server: Host,
    /// The server's initial sequence number, where a SYN-ACK was seen.
    pub server_isn: Option<Seq>,
    /// Its SYNs.
    pub syns: Vec<SynTransmission>,
    /// Its SYN-ACKs.
    pub syn_acks: Vec<SynTransmission>,
}

impl Handshake {
    /// Whether `other`, of another input and with the same initial sequence number of the client, is the same
    /// connection: by four-tuple, or by the server's initial sequence number, or by a timestamp where addresses differ.
    pub fn is(&self, other: &Handshake) -> bool {
        match (self.server_isn, other.server_isn) {
            (Some(a), Some(b)) => a == b,
            _ => self.has_names_of(other) || self.shares_a_timestamp(other),
        }
    }

    /// Whether the two are alike neither by chance nor because a scanner uses the same number again.
    pub fn is_certain_match(&self, other: &Handshake) -> bool {
        match (self.server_isn, other.server_isn) {
            (Some(a), Some(b)) => a == b,
            _ => self.shares_a_timestamp(other) || self.has_names_of(other) && self.shares_an_id(other),
        }
    }

    /// Whether a SYN of both carries the same IPv4 identification.
    fn shares_an_id(&self, other: &Handshake) -> bool {
        self.syns.iter().any(|s| other.syns.iter().any(|o| s.has_id_of(o)))
    }

    /// Whether a SYN of both carries the same timestamp.
    fn shares_a_timestamp(&self, other: &Handshake) -> bool {
        self.syns.iter().filter_map(|s| s.tsval).any(|v| other.syns.iter().any(|o| o.tsval == Some(v)))
    }

    /// Whether both inputs know it by the same names.
    pub fn has_names_of(&self, other: &Handshake) -> bool {
        (self.client, self.server) == (other.client, other.server)
    }
}

/// A key that orders handshakes in the same way in all inputs.
type HandshakeKey = (u64, Host, Host);

/// The handshakes of one input.
#[derive(Clone, Default, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct HandshakeSketch {
    kept: BTreeMap<HandshakeKey, Handshake>,
    /// Keys from this one on are not kept.
    bound: Option<u64>,
    /// Times of the first and of the last TCP segment.
    span: Option<(Timestamp, Timestamp)>,
}

/// A mixture of all bits of an initial sequence number (the finalizer of `splitmix64`).
fn mixed(isn: Seq) -> u64 {
    let mut x = u64::from(isn.0).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Whether a segment belongs to the opening of a connection.
fn is_opening(s: &Segment) -> bool {
    s.flags.has(Flags::SYN)
        && !s.flags.any(Flags::RST | Flags::FIN)
        && !s.traits.has(Traits::NO_TIME)
        && !s.traits.has(Traits::ICMP_ERROR)
}

impl HandshakeSketch {
    /// Whether a segment belongs to the opening of a connection that is kept.
    #[cfg(feature = "fleet")]
    pub fn wants(&self, s: &Segment) -> bool {
        let isn = if s.flags.has(Flags::ACK) { s.ack.advance(u32::MAX) } else { s.seq };
        is_opening(s) && self.bound.is_none_or(|bound| mixed(isn) < bound)
    }

    /// Reads `source` to its end.
    pub fn of(mut source: Box<dyn Source>) -> HandshakeSketch {
        let mut sketch = HandshakeSketch::default();
        let (mut block, mut segment) = (Block::default(), Segment::default());
        while source.next_block(&mut block) {
            for packet in block.packets() {
                if decode_contained(&packet, &mut segment) == Decoded::Tcp {
                    sketch.record(&segment);
                }
            }
        }
        sketch
    }

    /// Records a segment, if it belongs to the opening of a connection.
    pub fn record(&mut self, s: &Segment) {
        if !s.traits.has(Traits::NO_TIME) {
            self.span =
                Some(self.span.map_or((s.time, s.time), |(from, to)| (from.min(s.time), to.max(s.time))));
        }
        if !is_opening(s) {
            return;
        }
        let source = Host { address: s.src, port: s.src_port };
        let destination = Host { address: s.dst, port: s.dst_port };
        let answer = s.flags.has(Flags::ACK);
        let (isn, client, server) = if answer {
            (s.ack.advance(u32::MAX), destination, source)
        } else {
            (s.seq, source, destination)
        };
        let hash = mixed(isn);
        if self.bound.is_some_and(|bound| hash >= bound) {
            return;
        }
        let handshake = self.kept.entry((hash, client, server)).or_insert_with(|| Handshake {
            isn,
            client,
            server,
            server_isn: None,
            syns: Vec::new(),
            syn_acks: Vec::new(),
        });
        if answer && *handshake.server_isn.get_or_insert(s.seq) != s.seq {
            return;
        }
        let list = if answer { &mut handshake.syn_acks } else { &mut handshake.syns };
        let tsval = s.options.has(TcpOptions::TIMESTAMPS).then_some(s.tsval);
        let partial = s.traits.has(Traits::CHECKSUM_PARTIAL);
        let seen = SynTransmission { at: s.time, tsval, ttl: s.ttl, partial, ip_id: s.ip_id };
        // A packet with the same timestamp or IP ID is a copy.
        let copy = list.iter().any(|known| match tsval {
            Some(_) => known.tsval == tsval,
            None => known.has_id_of(&seen),
        });
        if list.len() < SIGHTINGS && !copy {
            list.push(seen);
        }
        if self.kept.len() > KEPT {
            self.thin_out();
        }
    }

    /// Drops handshakes when there are too many: all with the same hash, or none of them. The bound is halved until the
    /// rest fits. So the result depends neither on their order nor on how they were spread over sketches that are
    /// merged.
    fn thin_out(&mut self) {
        while self.kept.len() > KEPT {
            // A flood with one initial sequence number may fill the sketch: its handshakes cannot be told apart anyway.
            let bound = self.bound.unwrap_or(u64::MAX) / 2;
            drop(self.kept.split_off(&(bound, Host::default(), Host::default())));
            self.bound = Some(bound);
        }
    }

    /// Takes in the handshakes of another input of the same side, or of another part of the same input.
    pub fn merge(&mut self, other: &HandshakeSketch) {
        self.bound = [self.bound, other.bound].into_iter().flatten().min();
        self.span = match (self.span, other.span) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (one, two) => one.or(two),
        };
        for (key, theirs) in &other.kept {
            let own = self.kept.entry(*key).or_insert_with(|| theirs.clone());
            if own.server_isn.is_none() {
                own.server_isn = theirs.server_isn;
                own.syn_acks.clone_from(&theirs.syn_acks);
            }
        }
        if let Some(bound) = self.bound {
            drop(self.kept.split_off(&(bound, Host::default(), Host::default())));
        }
        self.thin_out();
    }

    /// Times of the first and of the last TCP segment.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        self.span
    }

    /// Whether the two were captured at the same time, by their own clocks. Files of a rotated capture follow one
    /// another; a few late packets at the cut do not make them overlap.
    pub fn overlaps(&self, other: &HandshakeSketch) -> bool {
        let (Some(a), Some(b)) = (self.span, other.span) else { return false };
        let common = a.1.min(b.1) - a.0.max(b.0);
        let shorter = (a.1 - a.0).min(b.1 - b.0);
        common >= Span::ZERO && (common > AT_THE_CUT || common.0 >= shorter.0 / 10)
    }

    /// The handshakes that are kept.
    pub fn all(&self) -> impl Iterator<Item = &Handshake> {
        self.kept.values()
    }

    /// The same, each with its hash, the lowest first.
    pub fn with_hashes(&self) -> impl Iterator<Item = (u64, &Handshake)> {
        self.kept.iter().map(|((hash, ..), handshake)| (*hash, handshake))
    }

    /// Handshakes whose hash is this or more are not kept.
    pub fn bound(&self) -> Option<u64> {
        self.bound
    }

    /// The share of all handshakes that is kept.
    pub fn share(&self) -> f64 {
        self.bound.map_or(1.0, |bound| bound as f64 / u64::MAX as f64)
    }

    /// The handshakes that `other` has too, each once, those of this sketch first. The order depends on neither.
    pub fn shared<'a>(&'a self, other: &'a HandshakeSketch) -> Vec<(&'a Handshake, &'a Handshake)> {
        let mut all = Vec::new();
        for ((hash, client, server), mine) in &self.kept {
            let named = other.kept.get(&(*hash, *client, *server)).filter(|theirs| mine.is(theirs));
            let alike = || {
                let from = (*hash, Host::default(), Host::default());
                let mut found = other.kept.range(from..).take_while(|((h, ..), _)| h == hash);
                found.find(|(_, theirs)| mine.is(theirs)).map(|(_, theirs)| theirs)
            };
            all.extend(named.or_else(alike).map(|theirs| (mine, theirs)));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::segment::Address;

    fn syn(client: u8, isn: u32, tsval: u32) -> Segment {
        Segment {
            time: Timestamp(0) + Span::millis(i64::from(isn)),
            src: Address::v4([192, 0, 2, client]),
            dst: Address::v4([198, 51, 100, 1]),
            src_port: 4000,
            dst_port: 80,
            seq: Seq(isn),
            flags: Flags::SYN,
            options: TcpOptions::TIMESTAMPS,
            tsval,
            ..Segment::default()
        }
    }

    fn answer(syn: &Segment, isn: u32) -> Segment {
        Segment {
            src: syn.dst,
            dst: syn.src,
            src_port: syn.dst_port,
            dst_port: syn.src_port,
            seq: Seq(isn),
            ack: syn.seq.advance(1),
            flags: Flags::SYN | Flags::ACK,
            ..*syn
        }
    }

    fn sketch(segments: &[Segment]) -> HandshakeSketch {
        let mut sketch = HandshakeSketch::default();
        segments.iter().for_each(|s| sketch.record(s));
        sketch
    }

    #[test]
    fn behind_a_nat_a_connection_is_known_by_its_numbers() {
        let (inside, outside) = (syn(1, 77, 5), syn(200, 77, 5));
        let (a, b) = (sketch(&[inside]), sketch(&[outside]));
        assert_eq!(a.shared(&b).len(), 1);
        let (a, b) = (sketch(&[answer(&inside, 9)]), sketch(&[answer(&outside, 9)]));
        assert_eq!(a.shared(&b).len(), 1);
    }

    #[test]
    fn the_same_number_in_another_connection_is_another_connection() {
        let (one, other) = (syn(1, 77, 5), syn(1, 77, 6));
        assert!(sketch(&[one, answer(&one, 9)]).shared(&sketch(&[other, answer(&other, 10)])).is_empty());
        let none = TcpOptions::NONE;
        let plain = |s: Segment| Segment { options: none, ..s };
        let (a, b) = (sketch(&[plain(one)]), sketch(&[plain(other)]));
        assert!(a.shared(&b).iter().all(|(a, b)| !a.is_certain_match(b)));
        let elsewhere = Segment { src: Address::v4([192, 0, 2, 9]), ..plain(other) };
        assert!(a.shared(&sketch(&[elsewhere])).is_empty());
    }

    #[test]
    fn sketches_of_parts_make_the_sketch_of_the_whole() {
        let all: Vec<Segment> = (0..150_000).map(|n| syn(n as u8, n * 7919, n)).collect();
        let whole = sketch(&all);
        let mut merged = HandshakeSketch::default();
        for part in 0..16 {
            let own: Vec<Segment> = all.iter().copied().skip(part).step_by(16).collect();
            merged.merge(&sketch(&own));
        }
        assert_eq!((merged.bound, merged.span, merged.kept), (whole.bound, whole.span, whole.kept));
    }

    #[test]
    fn two_sketches_of_too_many_handshakes_keep_the_same_ones() {
        let all: Vec<Segment> = (0..200_000).map(|n| syn(1, n * 7919, n)).collect();
        let (a, b) = (sketch(&all), sketch(&all[50_000..]));
        assert!(a.kept.len() <= KEPT && a.share() < 0.5, "{}", a.share());
        let both = a.shared(&b).len() as f64 / a.share().min(b.share());
        assert!((both - 150_000.0).abs() < 5_000.0, "{both}");
    }
}
