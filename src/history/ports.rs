//! Which ports a client has used toward a listener: whether it has used up a range of them.

use crate::decode::segment::Address;
use crate::time::Timestamp;

/// Slots of a listener: clients share them by address.
const SLOTS: usize = 4;
/// A range with fewer ports may be a coincidence.
const LEAST: u64 = 20;
/// A system that counts its ports up or down uses a range in that order; one that draws them at random does not. This
/// is the square of the correlation between port and time, in hundredths.
const IN_ORDER: i128 = 50;
/// If a third of the connections take a port whose socket is in TIME_WAIT, hardly any other port is left.
const OFTEN: u64 = 3;

/// The ports of the clients of one listener that close their connections first, in slots by address.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Ports(Option<Box<[UsedPorts; SLOTS]>>);

/// How a client came by a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortUse {
    /// It was free.
    Free,
    /// It was in TIME_WAIT.
    FromTimeWait,
}

impl Ports {
    /// Records a connection that a client in this part has closed; it had opened the connection at `opened`.
    pub fn record(&mut self, share: usize, client: Address, port: u16, opened: Timestamp, taken: PortUse) {
        let slots = self.0.get_or_insert_default();
        if let Some(slot) = slots.get_mut(share % SLOTS) {
            slot.merge(&UsedPorts::one(client, port, opened, taken));
        }
    }

    /// Adds up two.
    pub fn merge(&mut self, other: Ports) {
        match (&mut self.0, other.0) {
            (Some(own), Some(others)) => {
                own.iter_mut().zip(others.iter()).for_each(|(own, others)| own.merge(others))
            }
            (own @ None, others) => *own = others,
            (Some(_), None) => {}
        }
    }

    /// Ranges of which one client has used every port more than once, each about as often.
    pub fn cycled_ranges(&self) -> impl Iterator<Item = ExhaustedPorts> + '_ {
        self.0.iter().flat_map(|slots| slots.iter()).filter_map(UsedPorts::cycled)
    }

    /// Ranges that one client has used up.
    pub fn exhausted_ranges(&self) -> impl Iterator<Item = ExhaustedPorts> + '_ {
        self.0.iter().flat_map(|slots| slots.iter()).filter_map(UsedPorts::used_up)
    }
}

/// A range of ports that one client has used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExhaustedPorts {
    /// The client.
    pub client: Address,
    /// The first port of the range.
    pub from: u16,
    /// The last port of the range.
    pub to: u16,
    /// How often a port was used.
    pub uses: u64,
    /// How often the port was in TIME_WAIT when it was used.
    pub recycled: u64,
}

impl ExhaustedPorts {
    /// How many ports there are.
    pub fn ports(&self) -> u64 {
        u64::from(self.to - self.from) + 1
    }
}

/// Sums over the ports of one client. They show whether every port of a range was used, and can be added in any order.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
struct UsedPorts {
    /// The client, if it is only one.
    client: Option<Address>,
    several: bool,
    count: u64,
    recycled: u64,
    min: u16,
    max: u16,
    sum: u64,
    squares: u64,
    /// Sums of the times, their squares and their products with the ports; milliseconds.
    times: i128,
    time_squares: i128,
    products: i128,
}

impl UsedPorts {
    fn one(client: Address, port: u16, opened: Timestamp, taken: PortUse) -> UsedPorts {
        let (p, t) = (u64::from(port), i128::from(opened.0 / 1_000_000));
        UsedPorts {
            client: Some(client),
            several: false,
            count: 1,
            recycled: u64::from(taken == PortUse::FromTimeWait),
            min: port,
            max: port,
            sum: p,
            squares: p * p,
            times: t,
            time_squares: t * t,
            products: t * i128::from(p),
        }
    }

    fn merge(&mut self, other: &UsedPorts) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        self.several |= other.several || self.client != other.client;
        self.client = self.client.min(other.client);
        self.count += other.count;
        self.recycled += other.recycled;
        (self.min, self.max) = (self.min.min(other.min), self.max.max(other.max));
        self.sum += other.sum;
        self.squares += other.squares;
        self.times += other.times;
        self.time_squares += other.time_squares;
        self.products += other.products;
    }

    fn used_up(&self) -> Option<ExhaustedPorts> {
        let client = self.client.filter(|_| !self.several && self.count >= LEAST)?;
        let (from, to) = (u64::from(self.min), u64::from(self.max));
        let ports = to - from + 1;
        let each_once = self.count == ports
            && self.sum == (from + to) * ports / 2
            && self.squares == squares_to(to) - squares_to(from.saturating_sub(1))
            && !self.in_order();
        // Each port was free when it was used, and no other was left for the rest.
        let again = self.count - self.recycled == ports && self.recycled * OFTEN >= self.count;
        (each_once || again).then_some(ExhaustedPorts {
            client,
            from: self.min,
            to: self.max,
            uses: self.count,
            recycled: self.recycled,
        })
    }

    fn cycled(&self) -> Option<ExhaustedPorts> {
        let client = self.client.filter(|_| !self.several)?;
        let (from, to) = (u64::from(self.min), u64::from(self.max));
        let ports = to - from + 1;
        // The mean port is the middle one, within a twentieth of the range.
        let lopsided = (2 * self.sum).abs_diff(self.count * (from + to)) * 10 > self.count * ports;
        let often = self.count * 2 >= ports * 3;
        (ports >= LEAST && often && !lopsided).then_some(ExhaustedPorts {
            client,
            from: self.min,
            to: self.max,
            uses: self.count,
            recycled: self.recycled,
        })
    }

    /// Whether the ports were used upward or downward.
    fn in_order(&self) -> bool {
        let (n, sum, squares) = (i128::from(self.count), i128::from(self.sum), i128::from(self.squares));
        let together = n * self.products - sum * self.times;
        let of_ports = n * squares - sum * sum;
        let of_times = n * self.time_squares - self.times * self.times;
        if of_times == 0 || of_ports == 0 {
            return true;
        }
        // The terms may be large; only their ratio matters.
        let ratio = |x: i128| x as f64;
        ratio(together) * ratio(together) * 100.0 >= ratio(IN_ORDER) * ratio(of_ports) * ratio(of_times)
    }
}

/// The sum of all squares up to that of `n`.
fn squares_to(n: u64) -> u64 {
    n * (n + 1) * (2 * n + 1) / 6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp((1_700_000_000_000 + ms as i64) * 1_000_000)
    }

    fn record(ports: impl Iterator<Item = u16>) -> Ports {
        let mut used = Ports::default();
        for (n, port) in ports.enumerate() {
            used.record(1, Address::v4([10, 0, 0, 1]), port, at(n as u64 * 3), PortUse::Free);
        }
        used
    }

    #[test]
    fn a_range_drawn_at_random_and_used_up_shows() {
        // 37 is prime to 120: each port once, in no order.
        let used = record((0..120).map(|n| 41_000 + n * 37 % 120));
        let range: Vec<ExhaustedPorts> = used.exhausted_ranges().collect();
        assert_eq!(range.len(), 1);
        assert_eq!((range[0].from, range[0].to, range[0].ports()), (41_000, 41_119, 120));
    }

    #[test]
    fn a_range_used_again_and_again_is_cycled_and_a_sparse_one_is_not() {
        let twice = record((0..240).map(|n| 41_000 + n % 120));
        let range: Vec<ExhaustedPorts> = twice.cycled_ranges().collect();
        assert_eq!(range.iter().map(|range| (range.ports(), range.uses)).collect::<Vec<_>>(), [(120, 240)]);
        assert_eq!(record((0..360).map(|n| 32_768 + n * 71 % 28_000)).cycled_ranges().count(), 0);
        assert_eq!(record((0..250).map(|n| 41_000 + n * n / 520)).cycled_ranges().count(), 0);
    }

    #[test]
    fn one_port_short_or_counted_up_or_down_is_none() {
        assert_eq!(record((0..119).map(|n| 41_000 + n * 37 % 120)).exhausted_ranges().count(), 0);
        assert_eq!(record(50_000..50_200).exhausted_ranges().count(), 0);
        assert_eq!(record((50_000..50_200).rev()).exhausted_ranges().count(), 0);
        // A port twice, another not at all.
        assert_eq!(record((0..120).map(|n| 41_000 + n * 36 % 120)).exhausted_ranges().count(), 0);
    }

    #[test]
    fn two_clients_are_two_and_parts_add_up_in_any_order() {
        let part = |from: u16, to: u16| record((from..to).map(|n| 41_000 + n * 37 % 120));
        let (mut a, mut b) = (part(0, 50), part(50, 120));
        a.merge(part(50, 120));
        b.merge(part(0, 50));
        assert_eq!(a, b);
        let mut mixed = part(0, 50);
        mixed.record(1, Address::v4([10, 0, 0, 2]), 41_001, at(9), PortUse::Free);
        assert_eq!(mixed.exhausted_ranges().count(), 0);
    }

    #[test]
    fn ports_taken_out_of_time_wait_again_and_again_are_scarce() {
        let mut used = Ports::default();
        let mut record = |n: u16, taken| {
            used.record(1, Address::v4([10, 0, 0, 1]), 52_000 + n * 37 % 60, at(u64::from(n) * 15), taken);
        };
        (0..60).for_each(|n| record(n, PortUse::Free));
        (60..130).for_each(|n| record(n, PortUse::FromTimeWait));
        let range: Vec<ExhaustedPorts> = used.exhausted_ranges().collect();
        assert_eq!((range.len(), range[0].uses, range[0].recycled), (1, 130, 70));
        // Some fixed ports of many, each used again and again: others were left.
        let mut fixed = Ports::default();
        for n in 0..130_u16 {
            let taken = if n >= 20 { PortUse::FromTimeWait } else { PortUse::Free };
            fixed.record(1, Address::v4([10, 0, 0, 1]), 52_000 + n % 20 * 3, at(u64::from(n) * 15), taken);
        }
        assert_eq!(fixed.exhausted_ranges().count(), 0);
    }
}
