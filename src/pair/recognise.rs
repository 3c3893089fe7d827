//! Which inputs saw the same connections at two places, and which of the two is nearer to the clients.

use std::collections::{HashMap, HashSet};

use crate::decode::segment::Address;
use crate::engine::Placed;
use crate::flow::facts::Role;
use crate::flow::key::Host;
use crate::model::Pairing;
use crate::pair::clock::{Clock, ClockSample};
use crate::pair::sketch::{Handshake, Sighting, Sketch};
use crate::time::Span;

/// Two places at which the same traffic was captured: side 0 is nearer to the clients, side 1 to the servers, by most of
/// their connections.
#[derive(Clone, Debug)]
pub struct Places {
    /// The inputs of each side, by their places on the command line.
    pub sides: [Vec<usize>; 2],
    /// The time of side 0 in terms of side 1.
    pub clock: Clock,
    /// Servers (as side 1 knows them) whose clients side 1 is nearer to: the captured hosts are clients of each other.
    turned: HashSet<Address>,
    /// Connections whose handshake both have.
    pub matched: u64,
    /// Those among them that have other names on one side than on the other.
    pub translated: u64,
    /// Not all handshakes were compared: the numbers are reckoned from a part.
    pub estimated: bool,
    /// Listeners as side 0 knows them, and as side 1 does.
    pub listeners: HashMap<Host, Host>,
    /// Client addresses and listeners, as side 0 knows them, of whose connections side 1 has some.
    pub common: HashSet<(Address, Host)>,
    /// How many client addresses side 1 has at each listener, as side 1 knows them.
    pub clients: HashMap<Host, usize>,
}

impl Places {
    /// Captures without a connection in common: the first one, and all others.
    pub fn unrelated(inputs: usize) -> Places {
        Places {
            sides: [vec![0], (1..inputs).collect()],
            clock: Clock::default(),
            turned: HashSet::new(),
            matched: 0,
            translated: 0,
            estimated: false,
            listeners: HashMap::new(),
            common: HashSet::new(),
            clients: HashMap::new(),
        }
    }

    /// Whether a connection is in both.
    pub fn are_related(&self) -> bool {
        self.matched > 0
    }
    /// Where a side was captured, as far as that is known beforehand.
    pub fn placed(&self, side: usize) -> Placed {
        let mut but: Vec<Address> = self.turned.iter().copied().collect();
        but.sort_unstable();
        Placed { nearer: if side == 0 { Role::Client } else { Role::Server }, but }
    }

    /// The side nearer to the clients of this server, as side 1 knows it.
    pub fn client_side(&self, server: Address) -> usize {
        usize::from(self.turned.contains(&server))
    }
}

/// What two inputs have to do with each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Relation {
    /// They share no handshake.
    None,
    /// They hold copies of the same packets, taken at one place.
    Copies,
    /// They saw the same packets at two places.
    Apart,
}

/// The outcome of the attempt.
#[derive(Debug)]
pub enum Recognised {
    /// Two places.
    Places(Box<Places>),
    /// None; and why, where inputs do share connections.
    No(Option<String>),
}

/// Divides inputs, of which `None` cannot be read, into two sides. Where pairing is forced and nothing shows which is nearer
/// to the clients, the first input is.
pub fn recognise(sketches: &[Option<Sketch>], names: &[String], pairing: Pairing) -> Recognised {
    let Divided { groups, outside } = match divide(sketches, names) {
        Ok(divided) => divided,
        Err(why) => return Recognised::No(why),
    };
    let merged = |inputs: &[usize]| {
        let mut all = Sketch::default();
        inputs.iter().filter_map(|&n| sketches[n].as_ref()).for_each(|sketch| all.merge(sketch));
        all
    };
    if !are_pieces(&groups, &merged) {
        return Recognised::No(Some(
            "the captures fall into several groups that saw different connections: give the two of one group at a \
             time"
            .to_owned(),
        ));
    }
    let mut sides = [Vec::new(), Vec::new()];
    for [a, b] in groups {
        match orient(&merged(&a), &merged(&b), pairing) {
            Some(Order::FirstFirst) => {
                sides[0].extend(a);
                sides[1].extend(b);
            }
            Some(Order::SecondFirst) => {
                sides[0].extend(b);
                sides[1].extend(a);
            }
            None => {
                return Recognised::No(Some(format!(
                    "{} hold the same connections, and nothing says which of them is nearer to the clients",
                    names.join(" and ")
                )));
            }
        }
    }
    // Inputs that share nothing with another (and those that cannot be read) go with the one named before.
    let [near, far] = &mut sides;
    for n in outside {
        if near.iter().any(|&known| n > 0 && known == n - 1) { &mut *near } else { &mut *far }.push(n);
    }
    sides.iter_mut().for_each(|side| side.sort_unstable());
    let [near, far] = [merged(&sides[0]), merged(&sides[1])];
    Recognised::Places(Box::new(places(sides, &near, &far)))
}

/// Inputs in groups, each of which saw the same connections at two places, and inputs that share nothing with another.
struct Divided {
    groups: Vec<[Vec<usize>; 2]>,
    outside: Vec<usize>,
}

/// Whether several groups are pieces of the same two captures: one group after the other, with servers in common.
fn are_pieces(groups: &[[Vec<usize>; 2]], merged: &dyn Fn(&[usize]) -> Sketch) -> bool {
    let firsts: Vec<Sketch> = groups.iter().map(|[a, b]| merged(&[&a[..], &b[..]].concat())).collect();
    let servers: Vec<HashSet<Address>> =
        firsts.iter().map(|sketch| sketch.all().map(|h| h.server.address).collect()).collect();
    (1..groups.len()).all(|n| {
        (0..n).all(|earlier| !firsts[n].overlaps(&firsts[earlier]))
            && (0..n).any(|earlier| !servers[n].is_disjoint(&servers[earlier]))
    })
}

fn divide(sketches: &[Option<Sketch>], names: &[String]) -> Result<Divided, Option<String>> {
    let n = sketches.len();
    let mut relations = vec![vec![Relation::None; n]; n];
    for i in 0..n {
        for j in i + 1..n {
            if let (Some(a), Some(b)) = (&sketches[i], &sketches[j]) {
                relations[i][j] = relation(a, b);
                relations[j][i] = relations[i][j];
            }
        }
    }
    // The group of each input, and its side in it.
    let mut side: Vec<Option<(usize, usize)>> = vec![None; n];
    let mut count = 0;
    for start in 0..n {
        if side[start].is_some() || relations[start].iter().all(|r| *r == Relation::None) {
            continue;
        }
        let group = count;
        count += 1;
        side[start] = Some((group, 0));
        let mut next = vec![start];
        while let Some(i) = next.pop() {
            for j in 0..n {
                let due = match relations[i][j] {
                    Relation::None => continue,
                    Relation::Copies => side[i],
                    Relation::Apart => side[i].map(|(group, s)| (group, 1 - s)),
                };
                match side[j] {
                    None => {
                        side[j] = due;
                        next.push(j);
                    }
                    known if known != due => {
                        return Err(Some(format!(
                            "{} saw the same connections at more than two places: give two of them at a time",
                            names.join(", ")
                        )));
                    }
                    _ => {}
                }
            }
        }
    }
    let of = |which: (usize, usize)| (0..n).filter(|&i| side[i] == Some(which)).collect::<Vec<_>>();
    let groups: Vec<_> = (0..count).map(|group| [of((group, 0)), of((group, 1))]).collect();
    if groups.is_empty() || groups.iter().flatten().any(Vec::is_empty) {
        return Err(None);
    }
    Ok(Divided { groups, outside: (0..n).filter(|&i| side[i].is_none()).collect() })
}

/// What the IPv4 identifications of two inputs allow to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ids {
    /// Those of some packets are the same in both: different ones are of different packets.
    Kept,
    /// No packet has the same one in both: there are none, a device on the way writes its own, or no packet is in both.
    Unknown,
}

impl Ids {
    fn of(shared: &[(&Handshake, &Handshake)]) -> Ids {
        let kept = |a: &[Sighting], b: &[Sighting]| a.iter().any(|x| b.iter().any(|y| x.has_id_of(y)));
        match shared.iter().any(|(a, b)| kept(&a.syns, &b.syns) || kept(&a.syn_acks, &b.syn_acks)) {
            true => Ids::Kept,
            false => Ids::Unknown,
        }
    }
}

fn relation(a: &Sketch, b: &Sketch) -> Relation {
    let shared = a.shared(b);
    // A later input is the rest of the same capture, unless a packet is demonstrably in both.
    if !a.overlaps(b)
        && !shared.iter().any(|(a, b)| is_in_both(&a.syns, &b.syns) || is_in_both(&a.syn_acks, &b.syn_acks))
    {
        return Relation::None;
    }
    let ids = Ids::of(&shared);
    let hops = |a: &[Sighting], b: &[Sighting]| same(a, b, ids).is_some_and(|(x, y)| x.ttl != y.ttl);
    let routed = shared.iter().any(|(a, b)| hops(&a.syns, &b.syns) || hops(&a.syn_acks, &b.syn_acks));
    let samples: Vec<ClockSample> = shared.into_iter().filter_map(|(a, b)| sample(a, b, ids)).collect();
    if samples.is_empty() {
        return Relation::None;
    }
    let trips: Vec<Span> = samples.iter().filter_map(ClockSample::round_trip).collect();
    let copies = if trips.is_empty() {
        // One direction alone: at one place all packets differ by the same.
        let differences: HashSet<Span> = samples.iter().filter_map(|s| s.there.or(s.back)).collect();
        !routed && differences.len() == 1 && (samples.len() > 1 || differences.contains(&Span::ZERO))
    } else {
        trips.iter().filter(|t| **t == Span::ZERO).count() * 4 > trips.len() * 3
    };
    if copies { Relation::Copies } else { Relation::Apart }
}

/// How much later `b` has the packets of a handshake than `a`: the SYN as `there`, the SYN-ACK as `back`.
fn sample(a: &Handshake, b: &Handshake, ids: Ids) -> Option<ClockSample> {
    if !a.is_surely(b) {
        return None;
    }
    let there = difference(&a.syns, &b.syns, ids);
    let back = difference(&a.syn_acks, &b.syn_acks, ids);
    let at = a.syns.first().or(a.syn_acks.first())?.at;
    (there.is_some() || back.is_some()).then_some(ClockSample { at, there, back })
}

/// Whether one packet is in both lists, by its timestamp or its IP ID. The same timestamp with another IP ID is that of
/// a stack that sends its first one again.
fn is_in_both(a: &[Sighting], b: &[Sighting]) -> bool {
    let stamped =
        |x: &Sighting, y: &Sighting| x.tsval.is_some() && x.tsval == y.tsval && !x.has_other_id_than(y);
    a.iter().any(|x| b.iter().any(|y| x.has_id_of(y) || stamped(x, y)))
}

/// How much later the same transmission is in `b`.
fn difference(a: &[Sighting], b: &[Sighting], ids: Ids) -> Option<Span> {
    let (x, y) = same(a, b, ids)?;
    Some(y.at - x.at)
}

/// The same transmission in both: by its timestamp, by its IP ID; without either the first one, if both have as many.
fn same<'a>(a: &'a [Sighting], b: &'a [Sighting], ids: Ids) -> Option<(&'a Sighting, &'a Sighting)> {
    let find = |is: &dyn Fn(&Sighting, &Sighting) -> bool| {
        a.iter().find_map(|x| Some((x, b.iter().find(|y| is(x, y))?)))
    };
    let stamped = find(&|x, y| x.tsval.is_some() && x.tsval == y.tsval);
    let numbered = || find(&|x, y| x.tsval.is_none() && x.has_id_of(y));
    let plain = || {
        let (x, y) = a.first().zip(b.first())?;
        let other = ids == Ids::Kept && x.has_other_id_than(y);
        (x.tsval.is_none() && a.len() == b.len() && !other).then_some((x, y))
    };
    stamped.or_else(numbered).or_else(plain)
}

/// Which of two sketches is nearer to the clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    FirstFirst,
    SecondFirst,
}

/// Votes for the first being nearer to the clients, and against it.
#[derive(Clone, Copy, Default, Debug)]
struct Votes {
    by_delay: (u64, u64),
    by_hops: (u64, u64),
    by_checksum: (u64, u64),
    by_presence: (u64, u64),
}

impl Votes {
    fn count(&mut self, a: &Handshake, b: &Handshake, ids: Ids) {
        let vote = |list: &mut (u64, u64), first: bool, second: bool| {
            list.0 += u64::from(first);
            list.1 += u64::from(second);
        };
        let trip = sample(a, b, ids).and_then(|s| s.round_trip()).unwrap_or(Span::ZERO);
        vote(&mut self.by_delay, trip > Span::ZERO, trip < Span::ZERO);
        if let Some((x, y)) = same(&a.syns, &b.syns, ids) {
            vote(&mut self.by_hops, x.ttl > y.ttl, x.ttl < y.ttl);
            vote(&mut self.by_checksum, x.partial && !y.partial, y.partial && !x.partial);
        }
        if let Some((x, y)) = same(&a.syn_acks, &b.syn_acks, ids) {
            vote(&mut self.by_hops, x.ttl < y.ttl, x.ttl > y.ttl);
            vote(&mut self.by_checksum, y.partial && !x.partial, x.partial && !y.partial);
        }
        // Packets are lost on the way: what the client sent is complete near it, what the server sent near that.
        let answers = |first: &Handshake, second: &Handshake| {
            first.syn_acks.len() < second.syn_acks.len() && first.syns.len() >= second.syns.len()
                || first.syns.len() > second.syns.len() && first.syn_acks.len() <= second.syn_acks.len()
        };
        vote(&mut self.by_presence, answers(a, b), answers(b, a));
    }

    /// What two thirds of the handshakes say: delays first, then routers on the way, checksums, and losses.
    fn verdict(&self) -> Option<Order> {
        [self.by_delay, self.by_hops, self.by_checksum, self.by_presence].into_iter().find_map(
            |(first, second)| {
                let all = first + second;
                if all > 0 && first * 3 >= all * 2 {
                    Some(Order::FirstFirst)
                } else if all > 0 && second * 3 >= all * 2 {
                    Some(Order::SecondFirst)
                } else {
                    None
                }
            },
        )
    }
}

fn orient(a: &Sketch, b: &Sketch, pairing: Pairing) -> Option<Order> {
    let mut by_server: HashMap<Address, (u64, Votes)> = HashMap::new();
    let mut all = Votes::default();
    let shared = a.shared(b);
    let ids = Ids::of(&shared);
    for (mine, theirs) in shared {
        let (n, votes) = by_server.entry(theirs.server.address).or_default();
        *n += 1;
        votes.count(mine, theirs, ids);
        all.count(mine, theirs, ids);
    }
    let (mut first, mut second) = (0, 0);
    for (n, votes) in by_server.values() {
        match votes.verdict() {
            Some(Order::FirstFirst) => first += n,
            Some(Order::SecondFirst) => second += n,
            None => {}
        }
    }
    match first.cmp(&second) {
        std::cmp::Ordering::Greater => Some(Order::FirstFirst),
        std::cmp::Ordering::Less => Some(Order::SecondFirst),
        std::cmp::Ordering::Equal => {
            all.verdict().or((pairing == Pairing::Force).then_some(Order::FirstFirst))
        }
    }
}

fn places(sides: [Vec<usize>; 2], near: &Sketch, far: &Sketch) -> Places {
    let shared = near.shared(far);
    let ids = Ids::of(&shared);
    let mut votes: HashMap<Address, Votes> = HashMap::new();
    for (mine, theirs) in &shared {
        votes.entry(theirs.server.address).or_default().count(mine, theirs, ids);
    }
    let turned: HashSet<Address> = votes
        .iter()
        .filter(|(_, votes)| votes.verdict() == Some(Order::SecondFirst))
        .map(|(server, _)| *server)
        .collect();
    let samples: Vec<ClockSample> = shared
        .iter()
        .filter_map(|(mine, theirs)| {
            let s = sample(mine, theirs, ids)?;
            let turn = turned.contains(&theirs.server.address);
            Some(if turn { ClockSample { there: s.back, back: s.there, ..s } } else { s })
        })
        .collect();
    let share = near.share().min(far.share());
    let whole = |n: usize| (n as f64 / share).round() as u64;
    let mut listeners: HashMap<Host, Host> = HashMap::new();
    let mut common = HashSet::new();
    for (mine, theirs) in &shared {
        if mine.is_surely(theirs) {
            listeners.entry(mine.server).or_insert(theirs.server);
        }
        // A capture without SYNs was filtered: that one is not there says nothing.
        if !theirs.syns.is_empty() {
            common.insert((mine.client.address, mine.server));
        }
    }
    let mut clients: HashMap<Host, HashSet<Address>> = HashMap::new();
    for handshake in far.all().filter(|h| !h.syns.is_empty()) {
        clients.entry(handshake.server).or_default().insert(handshake.client.address);
    }
    Places {
        sides,
        clients: clients.into_iter().map(|(server, of_it)| (server, of_it.len())).collect(),
        clock: Clock::of(&samples).unwrap_or_default(),
        turned,
        matched: whole(shared.len()),
        translated: whole(shared.iter().filter(|(mine, theirs)| !mine.has_names_of(theirs)).count()),
        estimated: share < 1.0,
        listeners,
        common,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::segment::{Flags, Segment};
    use crate::seq::Seq;
    use crate::time::Timestamp;

    fn syn(client: u32, millis: i64, ip_id: u16, ttl: u8) -> Segment {
        Segment {
            time: Timestamp(1_800_000_000_000_000_000) + Span::millis(millis),
            src: Address::v4([192, 0, 2, client as u8]),
            dst: Address::v4([198, 51, 100, 1]),
            src_port: 4000,
            dst_port: 80,
            seq: Seq(client * 7919),
            flags: Flags::SYN,
            ip_id,
            ttl,
            ..Segment::default()
        }
    }

    fn answer(s: &Segment, millis: i64, ttl: u8) -> Segment {
        Segment {
            time: s.time + Span::millis(millis),
            src: s.dst,
            dst: s.src,
            src_port: s.dst_port,
            dst_port: s.src_port,
            seq: Seq(s.seq.0 + 5),
            ack: s.seq.advance(1),
            flags: Flags::SYN | Flags::ACK,
            ip_id: 0,
            ttl,
            ..*s
        }
    }

    fn sketch(segments: &[Segment]) -> Option<Sketch> {
        let mut sketch = Sketch::default();
        segments.iter().for_each(|s| sketch.record(s));
        Some(sketch)
    }

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|n| format!("{n}.pcap")).collect()
    }

    fn sides(sketches: &[Option<Sketch>]) -> Option<[Vec<usize>; 2]> {
        match recognise(sketches, &names(sketches.len()), Pairing::Auto) {
            Recognised::Places(places) => Some(places.sides),
            Recognised::No(_) => None,
        }
    }

    /// Handshakes of clients without timestamps, the whole of each sent again after a second.
    fn again(from: i64, id: u16, jitter: i64) -> Option<Sketch> {
        let of = |client: u32| {
            let s = syn(
                client,
                from + 20 * i64::from(client) + jitter * i64::from(client % 3),
                id + client as u16,
                57,
            );
            [s, answer(&s, 1, 64)]
        };
        sketch(&(1..30).flat_map(of).collect::<Vec<_>>())
    }

    #[test]
    fn what_was_sent_again_after_a_cut_is_not_the_same_packet() {
        for id in [100, 0] {
            let other = if id == 0 { 0 } else { id + 1 };
            assert_eq!(sides(&[again(0, id, 0), again(1_000, other, 3)]), None, "IP ID {id}");
        }
    }

    /// The sightings of the client's side and of the server's side, 10 ms apart; the server's clock is `ahead`.
    fn both(from: i64, ahead: i64) -> [Option<Sketch>; 2] {
        let of = |client: u32, at: i64, ttl: u8, trip: i64| {
            let s = syn(client, from + 20 * i64::from(client) + at, 500 + client as u16, ttl);
            [s, answer(&s, trip, 128 - ttl)]
        };
        let near: Vec<_> = (1..30).flat_map(|client| of(client, 0, 64, 21)).collect();
        let far: Vec<_> = (1..30).flat_map(|client| of(client, 10 + ahead, 60, 1)).collect();
        [sketch(&near), sketch(&far)]
    }

    #[test]
    fn clocks_far_apart_make_no_pieces_of_a_pair() {
        for ahead in [0, 3_600_000, -3_600_000] {
            assert_eq!(sides(&both(0, ahead)), Some([vec![0], vec![1]]), "{ahead}");
        }
    }

    #[test]
    fn both_sides_may_be_rotated() {
        let ([c1, s1], [c2, s2]) = (both(0, 0), both(5_000, 0));
        assert_eq!(sides(&[c1, s1, s2, c2]), Some([vec![0, 3], vec![1, 2]]));
    }

    #[test]
    fn without_an_answer_on_one_side_the_losses_tell_the_direction() {
        let of = |ttl: u8, at: i64| {
            move |client: u32| {
                let late = at * i64::from(client % 2 + 1);
                syn(client, 20 * i64::from(client) + late, 500 + client as u16, ttl)
            }
        };
        let near: Vec<_> = (1..6).map(of(64, 0)).collect();
        let far: Vec<_> = (1..6).map(of(64, 4)).flat_map(|s| [s, answer(&s, 1, 64)]).collect();
        assert_eq!(sides(&[sketch(&far), sketch(&near)]), Some([vec![1], vec![0]]));
    }
}
