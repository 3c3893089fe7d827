//! What happened at one listener, second by second.

use std::ops::AddAssign;

use crate::decode::segment::Address;

/// What happened at a listener within one second.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct ListenerSecond {
    /// First SYNs.
    pub syns: u32,
    /// Handshakes whose server showed that it has the connection.
    pub served: u32,
    /// SYNs answered by SYN-ACK at the first try, before a second was due.
    pub answered: u32,
    /// Handshakes answered by RST.
    pub refused: u32,
    /// Connections that the client closed first: it holds TIME_WAIT.
    pub closed_by_client: u32,
    /// Connections that the server closed first.
    pub closed_by_server: u32,
    /// Handshakes that the client completed.
    pub completed: u32,
    /// Connections that the server closed by FIN before it had sent any payload.
    pub closed_unserved: u32,
    /// The clients of the served handshakes: a bit for each, which several may share.
    pub clients_served: u32,
    /// The TTLs of their SYNs, in the same way.
    pub ttls_served: u32,
    /// Their networks (/24, of IPv6 /48), in the same way.
    pub networks_served: u32,
    /// Segments of the server, but not all: SYN-ACKs, the first and last payload, FINs.
    pub heard: u32,
}

impl ListenerSecond {
    /// Counts one more served handshake, of this client.
    #[inline]
    pub fn record_served(&mut self, client: Address, ttl: u8) {
        self.served += 1;
        self.clients_served |= client_bit(client);
        self.networks_served |= network_bit(client);
        self.ttls_served |= ttl_bit(ttl);
    }
}

/// The bit of a client in [`ListenerSecond::clients_served`]; always the same one.
#[inline]
pub fn client_bit(client: Address) -> u32 {
    bit(u128::from_be_bytes(client.0))
}

/// The bit of a client's network in [`ListenerSecond::networks_served`].
#[inline]
pub fn network_bit(client: Address) -> u32 {
    let all = u128::from_be_bytes(client.0);
    bit(if client.as_v4().is_some() { all >> 8 } else { all >> 80 })
}

#[inline]
fn bit(all: u128) -> u32 {
    /// 2^64 divided by the golden ratio.
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    1 << (((all >> 64) as u64 ^ all as u64).wrapping_mul(GOLDEN) >> 59)
}

/// The bit of a TTL in [`ListenerSecond::ttls_served`].
#[inline]
pub fn ttl_bit(ttl: u8) -> u32 {
    1 << (ttl & 31)
}

impl AddAssign for ListenerSecond {
    fn add_assign(&mut self, other: ListenerSecond) {
        self.syns += other.syns;
        self.served += other.served;
        self.answered += other.answered;
        self.refused += other.refused;
        self.closed_by_client += other.closed_by_client;
        self.closed_by_server += other.closed_by_server;
        self.completed += other.completed;
        self.closed_unserved += other.closed_unserved;
        self.clients_served |= other.clients_served;
        self.ttls_served |= other.ttls_served;
        self.networks_served |= other.networks_served;
        self.heard += other.heard;
    }
}

/// A [`ListenerSecond`] for each second in which something happened, or for each longer step of time where there would be too
/// many of them.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct ListenerTimeline {
    /// In order; a step is named by its number since 1970.
    steps: Vec<(i64, ListenerSecond)>,
    /// How long a step is: 2 to the power of this, seconds.
    coarseness: u32,
}

/// A list that grows gets room for one part in this many more.
const SPARE: usize = 4;

impl ListenerTimeline {
    /// Bytes of a step in a list that has grown.
    pub const BYTES: usize = size_of::<(i64, ListenerSecond)>() * (SPARE + 1) / SPARE;

    /// The entry of a second, made if it is missing. What happens comes nearly in order: the place is at the end.
    #[inline]
    pub fn at(&mut self, second: i64) -> &mut ListenerSecond {
        let step = second >> self.coarseness;
        let place = match self.steps.last() {
            Some((last, _)) if *last == step => self.steps.len() - 1,
            Some((last, _)) if *last > step => self.place(step, *last),
            _ => {
                self.steps.push((step, ListenerSecond::default()));
                self.steps.len() - 1
            }
        };
        &mut self.steps[place].1
    }

    fn place(&mut self, step: i64, last: i64) -> usize {
        // If something happened in every step since, the place is as many entries from the end as steps.
        let guess =
            usize::try_from(last.abs_diff(step)).ok().and_then(|far| (self.steps.len() - 1).checked_sub(far));
        if let Some(guess) = guess.filter(|guess| self.steps[*guess].0 == step) {
            return guess;
        }
        self.steps.binary_search_by_key(&step, |(at, _)| *at).unwrap_or_else(|place| {
            self.steps.insert(place, (step, ListenerSecond::default()));
            place
        })
    }

    /// In how many steps something happened.
    pub fn step_count(&self) -> usize {
        self.steps.len()
    }

    /// The length of a step, seconds.
    pub fn step(&self) -> i64 {
        1 << self.coarseness
    }

    /// Adds another timeline, in steps as long as the longer ones of both.
    pub fn add(&mut self, mut other: ListenerTimeline) {
        let coarseness = self.coarseness.max(other.coarseness);
        self.coarsen(coarseness);
        other.coarsen(coarseness);
        // Entries before the other's beginning stay where they are.
        let from = other.steps.first().map_or(i64::MAX, |(first, _)| *first);
        let tail = self.steps.split_off(self.steps.partition_point(|(at, _)| *at < from));
        let more = tail.len() + other.steps.len();
        if self.steps.capacity() - self.steps.len() < more {
            self.steps.reserve_exact(more.max(self.steps.len() / SPARE));
        }
        let mut tail = tail.into_iter().peekable();
        for (at, mut second) in other.steps {
            self.steps.extend(std::iter::from_fn(|| tail.next_if(|(own, _)| *own < at)));
            if let Some((_, own)) = tail.next_if(|(own, _)| *own == at) {
                second += own;
            }
            self.steps.push((at, second));
        }
        self.steps.extend(tail);
    }

    /// Goes over to steps of 2 to the power of `coarseness` seconds, if they are longer.
    pub fn coarsen(&mut self, coarseness: u32) {
        let Some(by) = coarseness.checked_sub(self.coarseness).filter(|by| *by > 0) else { return };
        self.coarseness = coarseness;
        self.steps.iter_mut().for_each(|(at, _)| *at >>= by);
        self.steps.dedup_by(|(later, more), (at, second)| {
            let same = later == at;
            if same {
                *second += *more;
            }
            same
        });
        self.steps.shrink_to_fit();
    }

    /// The steps that hold any of the seconds from `from` to `to`, both included, added up.
    pub fn between(&self, from: i64, to: i64) -> ListenerSecond {
        self.sum(from >> self.coarseness, to >> self.coarseness)
    }

    /// The steps that begin after the second `from` and end before the second `to`, added up.
    pub fn inside(&self, from: i64, to: i64) -> ListenerSecond {
        self.sum((from >> self.coarseness) + 1, (to >> self.coarseness) - 1)
    }

    fn sum(&self, from: i64, to: i64) -> ListenerSecond {
        let start = self.steps.partition_point(|(at, _)| *at < from);
        let mut sum = ListenerSecond::default();
        self.steps[start..].iter().take_while(|(at, _)| *at <= to).for_each(|(_, second)| sum += *second);
        sum
    }

    /// The first second of each step that begins from the second `from` to the second `to`, both included, and what happened in it.
    pub fn within(&self, from: i64, to: i64) -> impl Iterator<Item = (i64, &ListenerSecond)> {
        let start = self.steps.partition_point(|(at, _)| at << self.coarseness < from);
        self.steps[start..]
            .iter()
            .map(|(at, second)| (at << self.coarseness, second))
            .take_while(move |(at, _)| *at <= to)
    }

    /// The first second of each step, and what happened in it.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &ListenerSecond)> {
        self.steps.iter().map(|(at, second)| (at << self.coarseness, second))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// One SYN in each of these seconds, recorded in this order.
    fn noted(seconds: &[i64]) -> ListenerTimeline {
        let mut list = ListenerTimeline::default();
        seconds.iter().for_each(|second| list.at(*second).syns += 1);
        list
    }

    proptest! {
        /// Whatever the order, in however many lists, made coarser before or after, before 1970 or after.
        #[test]
        fn sums_are_those_of_what_was_noted(
            lists in proptest::collection::vec((proptest::collection::vec(-70_i64..70, 0..60), 0_u32..4), 1..5),
            (from, to) in (-75_i64..75, -75_i64..75),
        ) {
            let all: Vec<i64> = lists.iter().flat_map(|(seconds, _)| seconds).copied().collect();
            let coarseness = lists.iter().map(|(_, coarseness)| *coarseness).max().unwrap_or(0);
            let mut sum = ListenerTimeline::default();
            for (seconds, coarseness) in &lists {
                let mut list = noted(seconds);
                list.coarsen(*coarseness);
                sum.add(list);
            }
            let mut at_once = noted(&all);
            at_once.coarsen(coarseness);
            prop_assert_eq!(&sum, &at_once);

            let step = sum.step();
            let mut expected: BTreeMap<i64, u32> = BTreeMap::new();
            all.iter().for_each(|second| *expected.entry(second.div_euclid(step) * step).or_default() += 1);
            prop_assert_eq!(sum.iter().map(|(at, s)| (at, s.syns)).collect::<Vec<_>>(), Vec::from_iter(expected.clone()));

            let count = |is: &dyn Fn(i64) -> bool| -> u32 {
                expected.iter().filter(|(at, _)| is(**at)).map(|(_, syns)| syns).sum()
            };
            let touched = |at: i64| at + step > from.min(to) && at <= from.max(to);
            prop_assert_eq!(sum.between(from.min(to), from.max(to)).syns, count(&touched));
            let within = |at: i64| at > from && at + step <= to;
            prop_assert_eq!(sum.inside(from, to).syns, count(&within));
        }
    }
}
