//! The timestamp clock of a host: its rate, how its offset is chosen, and whether several hosts share an address.
//!
//! A segment's TSval is a clock plus an offset. Linux before 4.10 adds none. Linux 4.10 and later adds one per
//! pair of addresses. Some later versions (6.1 and 6.12 with their updates, 6.18) add one per connection
//! (`secure_tcp_ts_off`). With `tcp_timestamps=2` no version adds any.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::json;

use crate::decode::segment::Address;
use crate::detect::context::CaptureContext;
use crate::diagnose::settings::inference::{AGREE, inferred};
use crate::flow::facts::Role;
use crate::history::host_clocks::{ClockReading, ClockReadings};
use crate::model::Inferred;
use crate::time::{Span, Timestamp};

/// Rates of the clocks in use, ticks per second: jiffies of 100 to 1000 Hz, milliseconds from Linux 4.13 on,
/// microseconds on routes that ask for them (`tcp_usec_ts`).
const PACES: [i64; 5] = [100, 250, 300, 1_000, 1_000_000];
/// How far a measured rate may lie from one of these: clocks drift far less, but the first and last tick are whole
/// ones.
const NEAR: f64 = 0.01;
/// The same for connections shorter than [`SHORT`].
const NEAR_SHORT: f64 = 0.02;
/// See [`NEAR_SHORT`].
const SHORT: Span = Span::secs(5);
/// This many of five readings of a host must agree on its rate.
const OF_FIVE: usize = 4;
/// Readings of one clock differ by no more than this, apart from the time that passed: packets are delayed, and clocks
/// drift.
const SAME_CLOCK: Span = Span::millis(50);
/// If at least this many connections to one peer all have different offsets, the host chooses one for each.
const UNLIKE: usize = 5;
/// Of the hosts with clocks those with most readings are reported.
const HOSTS: usize = 16;
/// Connections per host behind an address on average before they are counted.
const PER_HOST: usize = 3;

/// How the offset of a host's clock is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offset {
    /// The same to every peer.
    None,
    /// The same for all connections to one peer; there was only one.
    NoneOrPerPair,
    /// The same for all connections to one peer, another one to another.
    PerPair,
    /// Another one for each connection.
    PerConnection,
}

/// The readings of the clock of one address.
#[derive(Clone, Debug)]
pub struct HostClock<'a> {
    /// The address.
    pub host: IpAddr,
    /// Every reading.
    pub readings: Vec<&'a ClockReading>,
    /// Ticks per second, and how many readings agree.
    pub pace: Option<(i64, usize)>,
    /// How its offset is chosen.
    pub offset: Option<Offset>,
    /// Clocks that run behind this address, where it is more than one.
    pub hosts: Option<usize>,
}

/// Examines the hosts whose clocks were read most often, in order of address.
pub fn examine<'a>(readings: &'a ClockReadings, context: &CaptureContext) -> Vec<HostClock<'a>> {
    let mut by_host: BTreeMap<Address, Vec<&ClockReading>> = BTreeMap::new();
    for reading in readings.clocks() {
        by_host.entry(reading.host.address).or_default().push(reading);
    }
    let mut hosts: Vec<_> = by_host.into_iter().filter(|(_, readings)| readings.len() >= AGREE).collect();
    hosts.sort_by_key(|(host, readings)| (std::cmp::Reverse(readings.len()), *host));
    hosts.truncate(HOSTS);
    hosts.sort_by_key(|(host, _)| *host);
    let epoch = context.capture.map_or(Timestamp(0), |(first, _)| first);
    hosts
        .into_iter()
        .map(|(host, readings)| {
            let pace = pace(&readings);
            let peers = pace.map(|(pace, _)| PeerClocks::of(&readings, pace, epoch));
            HostClock {
                host: host.ip(),
                pace,
                offset: peers.as_ref().and_then(PeerClocks::offset),
                hosts: peers.as_ref().and_then(PeerClocks::hosts),
                readings,
            }
        })
        .collect()
}

/// The rate on which nearly all connections of [`crate::history::host_clocks::LONG`] agree.
fn pace(readings: &[&ClockReading]) -> Option<(i64, usize)> {
    let mut counts = [0; PACES.len()];
    let mut all = 0;
    for r in readings.iter().filter(|r| r.span() >= crate::history::host_clocks::LONG) {
        all += 1;
        let measured = r.ticks() as f64 * 1e9 / r.span().0 as f64;
        let near = if r.span() < SHORT { NEAR_SHORT } else { NEAR };
        if let Some(n) = PACES.iter().position(|&pace| (measured / pace as f64 - 1.0).abs() <= near) {
            counts[n] += 1;
        }
    }
    let (n, agree) = counts.into_iter().enumerate().max_by_key(|&(_, n)| n)?;
    (agree >= AGREE && agree * 5 >= all * OF_FIVE).then_some((PACES[n], agree))
}

/// One clock seen at one peer: when it was read first and last, how often, and where it stood at the epoch.
#[derive(Clone, Copy, Debug)]
struct Cluster {
    at_epoch: u32,
    readings: usize,
    first: Timestamp,
    last: Timestamp,
}

/// The clocks that one address showed to each of its peers.
struct PeerClocks {
    /// By peer: distinct connections, and the clocks that they show.
    peers: Vec<(usize, Vec<Cluster>)>,
    tolerance: u32,
    role: Option<Role>,
}

impl PeerClocks {
    fn of(readings: &[&ClockReading], pace: i64, epoch: Timestamp) -> PeerClocks {
        let tolerance = (SAME_CLOCK.0 as i128 * i128::from(pace) / 1_000_000_000) as u32 + 2;
        let mut by_peer: BTreeMap<Address, Vec<(u32, Timestamp)>> = BTreeMap::new();
        // The same two ports have the same offset again, whatever the rule.
        let mut seen = BTreeSet::new();
        for r in readings {
            if seen.insert((r.peer, r.host.port)) {
                let elapsed = i128::from((r.last.0 - epoch).0) * i128::from(pace) / 1_000_000_000;
                let at_epoch = r.last.1.wrapping_sub(elapsed as u32);
                by_peer.entry(r.peer.address).or_default().push((at_epoch, r.at.time));
            }
        }
        let one_role =
            readings.first().map(|r| r.role).filter(|role| readings.iter().all(|r| r.role == *role));
        let peers = by_peer.into_values().map(|all| (all.len(), clusters(all, tolerance))).collect();
        PeerClocks { peers, tolerance, role: one_role }
    }

    fn offset(&self) -> Option<Offset> {
        let several = || self.peers.iter().filter(|(n, _)| *n >= AGREE);
        if several().count() == 0 {
            return None;
        }
        if several().all(|(n, clusters)| clusters.len() == *n) {
            return several().any(|(n, _)| *n >= UNLIKE).then_some(Offset::PerConnection);
        }
        if several().any(|(_, clusters)| clusters.len() > 1) {
            return None;
        }
        let mut clocks: Vec<u32> = several().map(|(_, clusters)| clusters[0].at_epoch).collect();
        clocks.sort_unstable();
        let alike = clocks.windows(2).filter(|pair| pair[1] - pair[0] <= self.tolerance).count();
        match (clocks.len(), alike) {
            (1, _) => Some(Offset::NoneOrPerPair),
            (_, 0) => Some(Offset::PerPair),
            (n, alike) if alike == n - 1 => Some(Offset::None),
            _ => None,
        }
    }

    /// How many clocks there are behind the address: each was read more than once, and they were read in turn. (A
    /// single host that was restarted has two clocks, one after the other.)
    fn hosts(&self) -> Option<usize> {
        let (n, clusters) = self.peers.iter().max_by_key(|(n, _)| *n)?;
        let several = || clusters.iter().filter(|c| c.readings > 1);
        let covered: usize = several().map(|c| c.readings).sum();
        let in_turn = several().any(|a| several().any(|b| a.first < b.first && b.first < a.last));
        let hosts = several().count();
        (self.role == Some(Role::Client)
            && hosts >= 2
            && hosts * PER_HOST <= *n
            && covered * 10 >= n * 9
            && in_turn)
            .then_some(hosts)
    }
}

/// Clocks that stood no further than `tolerance` apart at the epoch are one.
fn clusters(mut all: Vec<(u32, Timestamp)>, tolerance: u32) -> Vec<Cluster> {
    all.sort_unstable();
    let mut clusters: Vec<Cluster> = Vec::new();
    let mut before = None;
    for (at_epoch, time) in all {
        match clusters.last_mut() {
            Some(c) if before.is_some_and(|before| at_epoch - before <= tolerance) => {
                c.readings += 1;
                (c.first, c.last) = (c.first.min(time), c.last.max(time));
            }
            _ => clusters.push(Cluster { at_epoch, readings: 1, first: time, last: time }),
        }
        before = Some(at_epoch);
    }
    // The clock wraps around.
    if let (Some(first), Some(last)) = (clusters.first().copied(), before)
        && clusters.len() > 1
        && first.at_epoch.wrapping_sub(last) <= tolerance
    {
        let end = clusters.len() - 1;
        let c = &mut clusters[end];
        c.readings += first.readings;
        (c.first, c.last) = (c.first.min(first.first), c.last.max(first.last));
        clusters.remove(0);
    }
    clusters
}

/// The readings in words.
pub fn infer(clocks: &[HostClock<'_>]) -> Vec<Inferred> {
    let mut all = Vec::new();
    for clock in clocks {
        if let Some((pace, n)) = clock.pace {
            let from = format!("{n} connections of 2 s or longer agree");
            all.push(inferred(clock.host, "timestamp clock (ticks per second)", json!(pace), from));
        }
        let n = clock.readings.len();
        if let Some(offset) = clock.offset {
            let (value, what) = match offset {
                Offset::None => ("none", "show the same clock to every peer"),
                Offset::NoneOrPerPair => {
                    ("none, or per pair of addresses", "show the same clock to the only peer")
                }
                Offset::PerPair => ("per pair of addresses", "show each peer a clock of its own"),
                Offset::PerConnection => ("per connection", "show a clock of their own each"),
            };
            all.push(inferred(
                clock.host,
                "timestamp offset",
                json!(value),
                format!("{n} connections {what}"),
            ));
        }
        if let Some(hosts) = clock.hosts {
            let from =
                format!("{n} connections show {hosts} different clocks: several hosts behind one address");
            all.push(inferred(clock.host, "hosts behind this address", json!({ "least": hosts }), from));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::facts::PacketRef;
    use crate::flow::key::Host;

    /// A reading of a clock that stood at `offset` at the epoch and ticks `pace` times a second.
    fn reading(port: u16, peer: u16, at: i64, offset: u32, pace: u32) -> ClockReading {
        let time = |s: i64| Timestamp(0) + Span::secs(s);
        let tick = |s: i64| offset.wrapping_add((s as u32).wrapping_mul(pace));
        ClockReading {
            at: PacketRef { time: time(at), ..PacketRef::default() },
            host: Host { port, ..Host::default() },
            peer: Host { port: peer, address: Address::from(IpAddr::from([192, 0, 2, peer as u8])) },
            role: Role::Client,
            first: (time(at), tick(at)),
            last: (time(at + 4), tick(at + 4)),
            ttl: 64,
        }
    }

    fn examined(long: Vec<ClockReading>) -> (Option<i64>, Option<Offset>, Option<usize>) {
        let readings = ClockReadings { long, ..ClockReadings::default() };
        let context =
            CaptureContext { capture: Some((Timestamp(0), Timestamp(0))), ..CaptureContext::default() };
        let clock = &examine(&readings, &context)[0];
        (clock.pace.map(|(pace, _)| pace), clock.offset, clock.hosts)
    }

    #[test]
    fn one_clock_for_everybody() {
        let all = |peers: u16| {
            (0..12).map(|n| reading(n, n % peers, i64::from(n) * 9, u32::MAX - 5_000, 250)).collect()
        };
        assert_eq!(examined(all(3)), (Some(250), Some(Offset::None), None));
        assert_eq!(examined(all(1)), (Some(250), Some(Offset::NoneOrPerPair), None));
    }

    #[test]
    fn a_clock_for_each_peer() {
        let all =
            (0..12).map(|n| reading(n, n % 3, i64::from(n), u32::from(n % 3) * 900_000_000, 1_000)).collect();
        assert_eq!(examined(all), (Some(1_000), Some(Offset::PerPair), None));
    }

    #[test]
    fn a_clock_for_each_connection_counts_no_hosts() {
        let all = (0..12).map(|n| reading(n, 1, i64::from(n), u32::from(n) * 300_000_000, 1_000)).collect();
        assert_eq!(examined(all), (Some(1_000), Some(Offset::PerConnection), None));
    }

    #[test]
    fn hosts_behind_one_address_have_clocks_that_run_side_by_side() {
        let all = (0..12).map(|n| reading(n, 1, i64::from(n), u32::from(n % 3) * 40_000, 100)).collect();
        assert_eq!(examined(all), (Some(100), None, Some(3)));
    }

    #[test]
    fn a_host_that_was_started_anew_is_one_host() {
        let all = (0..12).map(|n| reading(n, 1, i64::from(n), u32::from(n / 6) * 40_000, 100)).collect();
        assert_eq!(examined(all), (Some(100), None, None));
    }

    #[test]
    fn two_connections_tell_nothing() {
        assert!(
            examine(
                &ClockReadings { long: vec![reading(1, 1, 0, 0, 100); 2], ..ClockReadings::default() },
                &CaptureContext::default()
            )
            .is_empty()
        );
    }
}
