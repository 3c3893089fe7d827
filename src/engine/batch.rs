//! A block's packets as segments, sorted by shard, and counted.

use std::collections::BTreeMap;

use crate::capture::{Block, LinkType};
use crate::decode::segment::{Address, Segment, Traits};
use crate::decode::{self, Decoded};
use crate::engine::shard::{SHARDS, Shard};
use crate::time::Timestamp;

/// Which packets and connections are wanted.
#[derive(Clone, Default, Debug)]
pub struct Filter {
    /// Addresses at either end; empty wants all.
    pub hosts: Vec<Address>,
    /// Ports at either end; empty wants all.
    pub ports: Vec<u16>,
    /// Nothing before this time.
    pub since: Option<Timestamp>,
    /// Nothing after this time.
    pub until: Option<Timestamp>,
}

impl Filter {
    #[inline]
    fn wants_time(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }

    #[inline]
    fn wants(&self, s: &Segment) -> bool {
        (self.hosts.is_empty() || self.hosts.contains(&s.src) || self.hosts.contains(&s.dst))
            && (self.ports.is_empty() || self.ports.contains(&s.src_port) || self.ports.contains(&s.dst_port))
    }
}

/// What was counted while decoding.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Totals {
    /// TCP segments by capture.
    pub segments: Vec<u64>,
    /// Packets that the snapshot length cut before the TCP header was complete enough.
    pub cut: u64,
    /// Packets whose lengths or versions contradict each other.
    pub malformed: u64,
    /// Later fragments of TCP datagrams.
    pub fragments: u64,
    /// TCP segments found inside tunnels.
    pub tunneled: u64,
    /// Packets of link types that are not known.
    pub unknown_links: BTreeMap<u16, u64>,
    /// Earliest time of a packet that was wanted.
    pub first: Option<Timestamp>,
    /// Latest time of a packet that was wanted.
    pub last: Option<Timestamp>,
}

impl Totals {
    /// Adds those of a batch.
    pub fn add(&mut self, batch: &Batch) {
        let b = &batch.totals;
        if self.segments.len() < b.segments.len() {
            self.segments.resize(b.segments.len(), 0);
        }
        for (sum, n) in self.segments.iter_mut().zip(&b.segments) {
            *sum += n;
        }
        self.cut += b.cut;
        self.malformed += b.malformed;
        self.fragments += b.fragments;
        self.tunneled += b.tunneled;
        for (link, n) in &b.unknown_links {
            *self.unknown_links.entry(*link).or_default() += n;
        }
        self.first = [self.first, b.first].into_iter().flatten().min();
        self.last = self.last.max(b.last);
    }
}

/// The segments of one block, by shard, each in capture order.
pub struct Batch {
    shards: Vec<Vec<Segment>>,
    totals: Totals,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch { shards: vec![Vec::new(); SHARDS], totals: Totals::default() }
    }
}

impl Batch {
    /// Decodes the packets of `block` that `filter` wants.
    pub fn decode(&mut self, block: &Block, filter: &Filter) {
        let mut segment = Segment::default();
        let t = &mut self.totals;
        for packet in block.packets() {
            if !filter.wants_time(packet.time) {
                continue;
            }
            if packet.timed {
                t.first = Some(t.first.map_or(packet.time, |first| first.min(packet.time)));
                t.last = t.last.max(Some(packet.time));
            }
            match decode::decode(&packet, &mut segment) {
                Decoded::Tcp => {
                    let capture = usize::from(packet.id.capture());
                    if t.segments.len() <= capture {
                        t.segments.resize(capture + 1, 0);
                    }
                    t.segments[capture] += 1;
                    t.tunneled += u64::from(segment.traits.has(Traits::TUNNELED));
                }
                Decoded::Icmp => {}
                Decoded::Other => continue,
                Decoded::LaterFragment => {
                    t.fragments += 1;
                    continue;
                }
                Decoded::Cut => {
                    t.cut += 1;
                    continue;
                }
                Decoded::Malformed => {
                    t.malformed += 1;
                    continue;
                }
                Decoded::UnknownLink => {
                    let LinkType(link) = packet.link;
                    *t.unknown_links.entry(link).or_default() += 1;
                    continue;
                }
            }
            if filter.wants(&segment) {
                self.shards[Shard::of(segment.hash)].push(segment);
            }
        }
    }

    /// The segments of one shard.
    pub fn segments(&self, shard: usize) -> &[Segment] {
        &self.shards[shard]
    }

    /// Empties it and keeps its room.
    pub fn clear(&mut self) {
        self.shards.iter_mut().for_each(Vec::clear);
        self.totals = Totals::default();
    }
}
