//! What happened at each listener in the whole capture, within bounded memory; and the first handshakes of each server.
//!
//! A triage records this for the connections of its own shard. Over hours, each listener and shard gets a list with an
//! entry for nearly every second. Now and then the lists are merged here. If there are still too many seconds, all are
//! counted in longer steps of time. The length of the steps depends only on the capture and the room.

use crate::decode::segment::Address;
use crate::flow::key::{Host, Map};
use crate::history::handshakes::{self, HandshakeSample};
use crate::history::listener::ListenerHistory;
use crate::history::timeline::ListenerTimeline;
use crate::history::triage::Triage;

/// After this many further connections it is worth merging the triages' lists.
const WORTH_IT: u64 = 1 << 16;
/// Steps become no longer than 2 to the power of this, 18 hours: by then there are hardly more than one for each
/// listener.
const COARSEST: u32 = 16;

/// Fewer samples of a server show little.
const FEWEST_SAMPLES: usize = 4;

/// See the module.
#[derive(Default)]
pub struct Histories {
    of: Map<Host, ListenerTimeline>,
    samples: Map<Address, Vec<HandshakeSample>>,
    /// How many samples of one server there may be.
    most_samples: usize,
    /// Of all lists, see [`ListenerTimeline::coarsen`].
    coarseness: u32,
    /// How many entries there may be.
    most: usize,
    /// Connections that were over when the lists were last put together.
    connections: u64,
}

impl Histories {
    /// Histories that take about `bytes` at most.
    pub fn within(bytes: usize) -> Histories {
        Histories {
            most: bytes / ListenerTimeline::BYTES,
            most_samples: handshakes::MOST,
            ..Histories::default()
        }
    }

    /// Whether it is time for [`Histories::gather`], after `connections` have ended.
    pub fn is_due(&self, connections: u64) -> bool {
        connections - self.connections >= WORTH_IT
    }

    /// Takes over the records of all triages.
    pub fn gather<'s>(&mut self, triages: impl Iterator<Item = &'s mut Triage>) {
        self.connections = 0;
        for triage in triages {
            self.connections += triage.quality.connections;
            for (address, some) in &mut triage.samples {
                let some = some.drain();
                if !some.is_empty() {
                    handshakes::merge_within(
                        self.samples.entry(*address).or_default(),
                        some,
                        self.most_samples,
                    );
                }
            }
            for (host, listener) in &mut triage.listeners {
                if listener.seconds.step_count() > 0 {
                    self.of.entry(*host).or_default().add(std::mem::take(&mut listener.seconds));
                }
            }
        }
        self.fit();
    }

    fn fit(&mut self) {
        // With very many servers, fewer samples of each are kept.
        let samples = |of: &Map<Address, Vec<HandshakeSample>>| of.values().map(Vec::len).sum::<usize>();
        let room = self.most * ListenerTimeline::BYTES / size_of::<HandshakeSample>() / 2;
        while samples(&self.samples) > room && self.most_samples > FEWEST_SAMPLES {
            self.most_samples /= 2;
            for some in self.samples.values_mut() {
                some.truncate(self.most_samples);
                some.shrink_to_fit();
            }
        }
        loop {
            self.of.values_mut().for_each(|seconds| seconds.coarsen(self.coarseness));
            let entries: usize = self.of.values().map(ListenerTimeline::step_count).sum();
            if entries <= self.most || self.coarseness == COARSEST {
                return;
            }
            self.coarseness += 1;
        }
    }

    /// The listeners and servers alone, for a triage that has only these histories.
    pub fn into_triage(self) -> Triage {
        let listener = |seconds| ListenerHistory { seconds, ..ListenerHistory::default() };
        let mut triage = Triage::default();
        triage.listeners = self.of.into_iter().map(|(host, seconds)| (host, listener(seconds))).collect();
        triage.samples = self.samples.into_iter().map(|(host, some)| (host, some.into())).collect();
        triage
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(port: u16) -> Host {
        Host { address: Address::v4([192, 0, 2, 1]), port }
    }

    /// With room for `most` entries.
    fn room(most: usize) -> Histories {
        Histories::within(most * ListenerTimeline::BYTES)
    }

    proptest! {
        /// Two triages that note what happened, each in its order; it is put together at any moments.
        #[test]
        fn nothing_depends_on_when_lists_are_put_together(
            noted in proptest::collection::vec((0_usize..2, 1_u16..4, 0_i64..600, any::<bool>()), 1..300),
            most in 1_usize..100,
        ) {
            let (mut often, mut once) = (room(most), room(most));
            let mut triages = [(); 4].map(|()| Triage::default());
            for (triage, port, second, now) in noted {
                for triage in [triage, triage + 2] {
                    triages[triage].listeners.entry(host(port)).or_default().seconds.at(second).syns += 1;
                }
                if now {
                    often.gather(triages[..2].iter_mut());
                }
            }
            let [a, b, c, d] = &mut triages;
            often.gather([a, b].into_iter());
            once.gather([c, d].into_iter());
            prop_assert_eq!(often.coarseness, once.coarseness);
            prop_assert_eq!(&often.of, &once.of);
            let entries: usize = once.of.values().map(ListenerTimeline::step_count).sum();
            prop_assert!(entries <= most.max(3), "{} entries where {} fit", entries, most);
        }
    }

    #[test]
    fn a_gathering_is_worth_it_after_many_connections() {
        let mut histories = room(10);
        let mut triage = Triage::default();
        assert!(!histories.is_due(WORTH_IT - 1));
        assert!(histories.is_due(WORTH_IT));
        triage.quality.connections = WORTH_IT + 5;
        histories.gather([&mut triage].into_iter());
        assert!(!histories.is_due(2 * WORTH_IT + 4));
        assert!(histories.is_due(2 * WORTH_IT + 5));
    }
}
