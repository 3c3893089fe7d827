//! When one side was listening: at which times its capture holds packets of a server, and which packets it demonstrably
//! missed.
//!
//! A packet that is missing from a capture proves something only if the capture was running at that moment. The
//! capture's other packets show that, and so do the packets that it should have: a packet that passed one capture point
//! must have passed the one before it.

use std::collections::{BTreeMap, HashSet};

use crate::decode::segment::{Address, Flags, Segment, TcpOptions, Traits};
use crate::flow::facts::Role;
use crate::flow::key::Host;
use crate::time::{Span, Timestamp};

/// Moments that all paths of one side keep together.
const ALL_MOMENTS: usize = 1 << 20;
/// How many moments one path keeps, at least and at most.
const MOMENTS: (usize, usize) = (256, 1 << 16);
/// Segments without payload that are kept, to be looked for on the other side.
const BARE: usize = 1 << 17;
/// Room for one part of a side's segments, as a share of the room for all: parts differ in size.
const SHARE_OF_PART: usize = 8;

/// Whether both captures have the timestamps option of segments.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub enum TimestampOptions {
    /// They have.
    #[default]
    Whole,
    /// In one of them a snapshot length cut off some timestamps: no conclusion may rest on them.
    Cut,
}

/// What kind of segment a capture may have been filtered for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentClass {
    /// SYN, FIN and RST.
    Control,
    /// All others.
    Plain,
}

/// Times at which something was captured, put together where they lie close.
#[derive(Clone, Default, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
struct Moments {
    /// First and last of each run, in order once they are complete.
    runs: Vec<(Timestamp, Timestamp)>,
    /// Moments that are no further apart lie in one run.
    apart: Span,
}

impl Moments {
    fn add(&mut self, at: Timestamp, most: usize) {
        // Copies and bursts of packets need no room of their own.
        if let Some(last) = self.runs.last_mut()
            && at >= last.1
            && at - last.1 <= self.apart
        {
            last.1 = at;
            return;
        }
        self.runs.push((at, at));
        self.make_room(most);
    }

    /// The moments of another part of the same side.
    fn merge(&mut self, other: Moments, most: usize) {
        self.apart = self.apart.max(other.apart);
        self.runs.extend(other.runs);
        self.join();
        self.make_room(most);
    }

    fn make_room(&mut self, most: usize) {
        if self.runs.len() > most {
            while self.runs.len() > most / 2 {
                self.apart = Span((self.apart.0 * 2).max(100_000));
                self.join();
            }
        }
    }

    fn join(&mut self) {
        self.runs.sort_unstable();
        let apart = self.apart;
        self.runs.dedup_by(|next, kept| {
            let near = next.0 - kept.1 <= apart;
            if near {
                kept.1 = kept.1.max(next.1);
            }
            near
        });
    }

    /// The last moment until `from`, the first one since `to`, and what lies between them.
    fn around(&self, from: Timestamp, to: Timestamp) -> Option<PathWindow> {
        let begin = self.runs.partition_point(|run| run.0 <= from).checked_sub(1)?;
        let end = self.runs.partition_point(|run| run.1 < to);
        let (earlier, later) = (self.runs[begin], *self.runs.get(end)?);
        // Within a run two moments are never further apart than `apart`.
        let before = if earlier.1 <= from { earlier.1 } else { earlier.0.max(from + Span(-self.apart.0)) };
        let after = if later.0 >= to { later.0 } else { later.1.min(to + self.apart) };
        let gaps = self.runs[begin..=end].windows(2).map(|two| two[1].0 - two[0].1);
        let widest = gaps.max().unwrap_or(after - before).max(self.apart.min(after - before));
        Some(PathWindow { before, after, widest })
    }
}

/// The packets of a path next to a time that is known within limits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PathWindow {
    /// The last one that was captured before it.
    pub before: Timestamp,
    /// The first one that was captured after it.
    pub after: Timestamp,
    /// The longest time without a packet from one to the other.
    pub widest: Span,
}

/// The captured traffic with one server address.
#[derive(Clone, Default, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
struct Path {
    moments: Moments,
    /// By sender: whether there are control segments, and whether there are others.
    heard: [[bool; 2]; 2],
}

/// A segment without payload: neither the sender nor the receiver cuts it or joins it with another one.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
struct BareSegment {
    hash: u64,
    flow: u64,
    at: Timestamp,
    server: Host,
    sender: Role,
}

/// What the capture of one side shows of the servers concerned.
#[derive(Clone, Default, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Listening {
    #[cfg_attr(feature = "fleet", serde(skip))]
    servers: HashSet<Host>,
    paths: BTreeMap<Address, Path>,
    /// Moments that each path keeps.
    most: usize,
    bare: Vec<BareSegment>,
    /// How many of them are kept.
    most_bare: usize,
    /// Hashes from this one on are not kept.
    bound: Option<u64>,
    stamps: TimestampOptions,
}

/// The finalizer of `splitmix64`.
fn mixed(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Listening {
    /// Nothing captured yet of these servers, as this side knows them.
    pub fn to(servers: HashSet<Host>, stamps: TimestampOptions) -> Listening {
        let paths: HashSet<Address> = servers.iter().map(|s| s.address).collect();
        let most = (ALL_MOMENTS / paths.len().max(1)).clamp(MOMENTS.0, MOMENTS.1);
        Listening { servers, most, most_bare: BARE, stamps, ..Listening::default() }
    }

    /// The same for one part of the segments of this side.
    pub fn of_part(servers: HashSet<Host>, stamps: TimestampOptions) -> Listening {
        let whole = Listening::to(servers, stamps);
        Listening { most: whole.most / SHARE_OF_PART, most_bare: whole.most_bare / SHARE_OF_PART, ..whole }
    }

    /// Adds what another part of the segments of this side shows.
    pub fn merge(&mut self, part: Listening) {
        for (server, theirs) in part.paths {
            let path = self.paths.entry(server).or_default();
            path.moments.merge(theirs.moments, self.most);
            for (own, theirs) in path.heard.iter_mut().flatten().zip(theirs.heard.iter().flatten()) {
                *own |= theirs;
            }
        }
        self.bare.extend(part.bare);
        self.bound = [self.bound, part.bound].into_iter().flatten().min();
        if let Some(bound) = self.bound {
            self.bare.retain(|b| b.hash < bound);
        }
        self.thin_out();
    }

    /// Keeps half of too many segments.
    fn thin_out(&mut self) {
        if self.bare.len() <= self.most_bare {
            return;
        }
        let middle = self.bare.len() / 2;
        let (_, median, _) = self.bare.select_nth_unstable_by_key(middle, |b| b.hash);
        let bound = median.hash;
        self.bare.retain(|b| b.hash < bound);
        self.bound = Some(bound);
    }

    /// Records a segment.
    pub fn record(&mut self, s: &Segment) {
        let (source, destination) =
            (Host { address: s.src, port: s.src_port }, Host { address: s.dst, port: s.dst_port });
        if s.traits.has(Traits::NO_TIME) {
            return;
        }
        let (server, client, sender) =
            match (self.servers.contains(&source), self.servers.contains(&destination)) {
                (true, false) => (source, destination, Role::Server),
                (false, true) => (destination, source, Role::Client),
                _ => return,
            };
        let path = self.paths.entry(server.address).or_default();
        path.moments.add(s.time, self.most);
        let control = s.flags.any(Flags::SYN | Flags::FIN | Flags::RST);
        path.heard[sender as usize][usize::from(!control)] = true;
        if s.payload > 0 || s.flags.any(Flags::FIN | Flags::RST) {
            return;
        }
        let stamped = s.options.has(TcpOptions::TIMESTAMPS)
            && !s.traits.has(Traits::OPTIONS_CUT)
            && self.stamps == TimestampOptions::Whole;
        let ack = if s.flags.has(Flags::ACK) { s.ack.0 } else { 0 };
        let numbers = u64::from(s.seq.0) << 32 | u64::from(ack);
        let rest = u64::from(if stamped { s.tsval } else { 0 }) << 2 | u64::from(s.flags.has(Flags::SYN));
        let hash = mixed(mixed(numbers).wrapping_add(rest << 1 | sender as u64));
        if self.bound.is_some_and(|bound| hash >= bound) {
            return;
        }
        let address = u128::from_be_bytes(client.address.0);
        let ports = u64::from(client.port) << 16 | u64::from(server.port);
        let flow = mixed(mixed((address >> 64) as u64 ^ ports).wrapping_add(address as u64));
        self.bare.push(BareSegment { hash, flow, at: s.time, server, sender });
        self.thin_out();
    }

    /// Sorts the recorded moments and segments.
    pub fn finish(&mut self) {
        self.paths.values_mut().for_each(|path| path.moments.join());
    }

    /// Whether the capture holds segments of this class from that end at all.
    pub fn has_segments_of(&self, server: Address, sender: Role, class: SegmentClass) -> bool {
        self.paths.get(&server).is_some_and(|path| path.heard[sender as usize][class as usize])
    }

    /// The last segment of the server's connections until `from`, and the first one since `to`.
    pub fn around(&self, server: Address, from: Timestamp, to: Timestamp) -> Option<PathWindow> {
        self.paths.get(&server)?.moments.around(from, to)
    }

    /// Compares the capture with `other`. `passes_first` says for a server and a sender whether their packets pass this
    /// capture first. Both use the same clock.
    pub fn checked_by(&self, other: &Listening, passes_first: &dyn Fn(Host, Role) -> bool) -> Completeness {
        let bound = [self.bound, other.bound].into_iter().flatten().min();
        let own: HashSet<u64> = self.bare.iter().map(|b| b.hash).collect();
        let of_both = || other.bare.iter().filter(|b| bound.is_none_or(|bound| b.hash < bound));
        let flows: HashSet<u64> = of_both().filter(|b| own.contains(&b.hash)).map(|b| b.flow).collect();
        let mut check = Completeness::default();
        for b in of_both().filter(|b| flows.contains(&b.flow) && passes_first(b.server, b.sender)) {
            if own.contains(&b.hash) {
                check.there += 1;
            } else {
                check.missed.push(b.at);
            }
        }
        check.missed.sort_unstable();
        check
    }
}

/// What other captures show of the completeness of one.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Completeness {
    /// Segments that it should have, and has.
    pub there: u64,
    /// When, by its own clock, it should have had a segment that it lacks.
    pub missed: Vec<Timestamp>,
}

impl Completeness {
    /// Takes in what another capture shows.
    pub fn merge(&mut self, mut other: Completeness) {
        self.there = self.there.max(other.there);
        self.missed.append(&mut other.missed);
        self.missed.sort_unstable();
    }

    /// Keeps what falls between the first and the last packet of the capture.
    pub fn within(mut self, from: Timestamp, to: Timestamp) -> Completeness {
        self.missed.retain(|at| (from..=to).contains(at));
        self
    }

    /// Whether it demonstrably missed a segment in this time.
    pub fn missed_between(&self, from: Timestamp, to: Timestamp) -> bool {
        let first = self.missed.partition_point(|at| *at < from);
        self.missed.get(first).is_some_and(|at| *at <= to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::Seq;

    fn at(millis: i64) -> Timestamp {
        Timestamp(0) + Span::millis(millis)
    }

    #[test]
    fn moments_frame_a_time() {
        let mut moments = Moments::default();
        for millis in [500, 10, 20, 900] {
            moments.add(at(millis), 100);
        }
        moments.join();
        let frame = |before, after, widest| {
            Some(PathWindow { before: at(before), after: at(after), widest: Span::millis(widest) })
        };
        assert_eq!(moments.around(at(400), at(410)), frame(20, 500, 480));
        assert_eq!(moments.around(at(20), at(20)), frame(20, 20, 0));
        assert_eq!(moments.around(at(400), at(600)), frame(20, 900, 480));
        assert_eq!(moments.around(at(5), at(6)), None);
        assert_eq!(moments.around(at(901), at(902)), None);
    }

    #[test]
    fn moments_without_room_are_put_together_and_holes_stay() {
        let mut moments = Moments::default();
        for millis in (0..10_000).chain(20_000..30_000) {
            moments.add(at(millis), 64);
        }
        moments.join();
        assert!(moments.runs.len() <= 64);
        assert!(moments.around(at(15_000), at(15_001)).unwrap().widest >= Span::secs(10));
        assert!(moments.around(at(5_000), at(5_000)).unwrap().widest <= Span::secs(1));
    }

    #[test]
    fn what_passed_later_must_have_passed_before() {
        let server = Host { address: Address::v4([198, 51, 100, 1]), port: 80 };
        let segment = |n: u32| Segment {
            time: at(i64::from(n) * 10),
            src: server.address,
            src_port: 80,
            dst: Address::v4([192, 0, 2, 1]),
            dst_port: 4_000,
            seq: Seq(n),
            flags: Flags::ACK,
            ..Segment::default()
        };
        let of = |numbers: &[u32]| {
            let mut listening = Listening::to(HashSet::from([server]), TimestampOptions::Whole);
            numbers.iter().for_each(|n| listening.record(&segment(*n)));
            listening.finish();
            listening
        };
        let (own, other) = (of(&[1, 2, 5, 6]), of(&[1, 2, 3, 6]));
        let check = own.checked_by(&other, &|_, sender| sender == Role::Server);
        assert_eq!(check, Completeness { there: 3, missed: vec![at(30)] });
        assert!(check.missed_between(at(20), at(50)) && !check.missed_between(at(31), at(50)));
        assert_eq!(own.checked_by(&other, &|_, sender| sender == Role::Client), Completeness::default());
        assert!(own.has_segments_of(server.address, Role::Server, SegmentClass::Plain));
        assert!(!own.has_segments_of(server.address, Role::Client, SegmentClass::Plain));
    }
}
