//! The judgements of a capture, by packet.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::trust::{Meaning, meaning};
use super::verdict::{Judgement, Statement};
use crate::decode::segment::PacketId;

/// Judgements that nobody asked for: at most this many are kept, the latest.
const LAST: usize = 200_000;
/// Judgements that were asked for: at most this many are kept; findings have room for fewer.
const KEPT: usize = 100_000;

/// The judgements of packets. For a stream without an end the latest are kept, and those that findings asked for.
#[derive(Debug)]
pub struct Judgements {
    last: HashMap<PacketId, Arc<Judgement>>,
    order: VecDeque<PacketId>,
    kept: HashMap<PacketId, Arc<Judgement>>,
    most: usize,
}

impl Default for Judgements {
    fn default() -> Judgements {
        Judgements { last: HashMap::new(), order: VecDeque::new(), kept: HashMap::new(), most: LAST }
    }
}

impl Judgements {
    /// An empty table that keeps all judgements: for a capture with an end.
    pub fn without_limit() -> Judgements {
        Judgements { most: usize::MAX, ..Judgements::default() }
    }

    /// Adds a statement about a packet.
    pub fn add(&mut self, packet: PacketId, statement: &Statement) {
        self.change(packet, |judgement| judgement.add(statement));
    }

    /// Adds a judgement that was recorded earlier.
    pub fn insert(&mut self, packet: PacketId, judgement: Judgement) {
        self.change(packet, |known| *known = judgement);
    }

    fn change(&mut self, packet: PacketId, change: impl FnOnce(&mut Judgement)) {
        let known = self.kept.get_mut(&packet).or_else(|| self.last.get_mut(&packet));
        if let Some(known) = known {
            change(Arc::make_mut(known));
            return;
        }
        let mut judgement = Judgement::default();
        change(&mut judgement);
        self.last.insert(packet, Arc::new(judgement));
        self.order.push_back(packet);
        while self.order.len() > self.most {
            if let Some(oldest) = self.order.pop_front() {
                self.last.remove(&oldest);
            }
        }
    }

    /// The judgement of a packet.
    pub fn of(&self, packet: PacketId) -> Option<&Arc<Judgement>> {
        self.kept.get(&packet).or_else(|| self.last.get(&packet))
    }

    /// The judgement of a packet that a finding names: it stays in the table.
    pub fn keep(&mut self, packet: PacketId) -> Option<Arc<Judgement>> {
        let found = self.of(packet).cloned()?;
        if self.kept.len() < KEPT {
            self.kept.insert(packet, Arc::clone(&found));
        }
        Some(found)
    }

    /// All of them, in no order.
    pub fn into_all(self) -> Vec<(PacketId, Judgement)> {
        let all = self.last.into_iter().chain(self.kept);
        all.map(|(packet, judgement)| (packet, Arc::unwrap_or_clone(judgement))).collect()
    }

    /// Takes over all judgements of another table.
    pub fn append(&mut self, other: Judgements) {
        for (packet, judgement) in other.last.into_iter().chain(other.kept) {
            self.insert(packet, Arc::unwrap_or_clone(judgement));
        }
    }

    /// The packets that the kernel refused because an accept queue was full.
    pub fn refused(&self) -> HashSet<PacketId> {
        let all = self.last.iter().chain(&self.kept);
        all.filter(|(_, judgement)| is_refused(judgement)).map(|(packet, _)| *packet).collect()
    }

    /// Whether the kernel refused this packet because an accept queue was full.
    pub fn has_refused(&self, packet: PacketId) -> bool {
        self.of(packet).is_some_and(|judgement| is_refused(judgement))
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.last.is_empty() && self.kept.is_empty()
    }
}

fn is_refused(judgement: &Judgement) -> bool {
    meaning(judgement) == Some(Meaning::AcceptQueueFull)
}
