//! Which inputs saw the same connections at two places, and which of the two is nearer to the clients.

use std::collections::{HashMap, HashSet};

use crate::decode::segment::Address;
use crate::engine::Placed;
use crate::flow::facts::Role;
use crate::flow::key::Host;
use crate::pair::clock::{Clock, Sample};
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
}

impl Places {
    /// What is known beforehand of where a side was captured.
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

/// What became of the attempt.
#[derive(Debug)]
pub enum Recognised {
    /// Two places.
    Places(Box<Places>),
    /// None; and why, where inputs do share connections.
    No(Option<String>),
}

/// Divides inputs, of which `None` cannot be read, into two sides. `forced`: without a sign of which is nearer to the
/// clients, the first input is.
pub fn recognise(sketches: &[Option<Sketch>], names: &[String], forced: bool) -> Recognised {
    let (sides, outside) = match divide(sketches, names) {
        Ok(divided) => divided,
        Err(why) => return Recognised::No(why),
    };
    let mut merged = [Sketch::default(), Sketch::default()];
    for (side, inputs) in sides.iter().enumerate() {
        inputs.iter().filter_map(|&n| sketches[n].as_ref()).for_each(|sketch| merged[side].merge(sketch));
    }
    match orient(&merged[0], &merged[1], forced) {
        Some(order) => {
            let [mut a, mut b] = sides;
            // Inputs that share nothing with another (and those that cannot be read) go with the one named before.
            for n in outside {
                if a.iter().any(|&known| n > 0 && known == n - 1) { &mut a } else { &mut b }.push(n);
            }
            a.sort_unstable();
            b.sort_unstable();
            let turn = order == Order::SecondFirst;
            let [first, second] = &merged;
            let (sides, near, far) = if turn { ([b, a], second, first) } else { ([a, b], first, second) };
            Recognised::Places(Box::new(places(sides, near, far)))
        }
        None => Recognised::No(Some(format!(
            "{} hold the same connections, and nothing says which of them is nearer to the clients",
            names.join(" and ")
        ))),
    }
}

/// Inputs in two sides, and those that share nothing with another.
type Divided = ([Vec<usize>; 2], Vec<usize>);

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
    let mut side: Vec<Option<usize>> = vec![None; n];
    for start in 0..n {
        if side[start].is_some() || relations[start].iter().all(|r| *r == Relation::None) {
            continue;
        }
        if side.iter().any(Option::is_some) {
            return Err(Some(
                "the captures fall into several groups that saw different connections: give the two of one group at \
                 a time"
                    .to_owned(),
            ));
        }
        side[start] = Some(0);
        let mut next = vec![start];
        while let Some(i) = next.pop() {
            for j in 0..n {
                let due = match relations[i][j] {
                    Relation::None => continue,
                    Relation::Copies => side[i],
                    Relation::Apart => side[i].map(|s| 1 - s),
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
    let of = |which: usize| (0..n).filter(|&i| side[i] == Some(which)).collect::<Vec<_>>();
    let sides = [of(0), of(1)];
    if sides.iter().any(Vec::is_empty) {
        return Err(None);
    }
    Ok((sides, (0..n).filter(|&i| side[i].is_none()).collect()))
}

fn relation(a: &Sketch, b: &Sketch) -> Relation {
    let samples: Vec<Sample> = a.shared(b).into_iter().filter_map(|(a, b)| sample(a, b)).collect();
    if samples.is_empty() {
        return Relation::None;
    }
    let trips: Vec<Span> = samples.iter().filter_map(Sample::round_trip).collect();
    let copies = if trips.is_empty() {
        // One direction alone: at one place all packets differ by the same.
        let differences: HashSet<Span> = samples.iter().filter_map(|s| s.there.or(s.back)).collect();
        differences.len() == 1 && (samples.len() > 1 || differences.contains(&Span::ZERO))
    } else {
        trips.iter().filter(|t| **t == Span::ZERO).count() * 4 > trips.len() * 3
    };
    if copies { Relation::Copies } else { Relation::Apart }
}

/// How much later `b` has the packets of a handshake than `a`: the SYN as `there`, the SYN-ACK as `back`.
fn sample(a: &Handshake, b: &Handshake) -> Option<Sample> {
    if !a.is_surely(b) {
        return None;
    }
    let there = difference(&a.syns, &b.syns);
    let back = difference(&a.syn_acks, &b.syn_acks);
    let at = a.syns.first().or(a.syn_acks.first())?.at;
    (there.is_some() || back.is_some()).then_some(Sample { at, there, back })
}

/// How much later the same transmission is in `b`: by its timestamp; without timestamps the first one, if both have
/// as many.
fn difference(a: &[Sighting], b: &[Sighting]) -> Option<Span> {
    let (x, y) = same(a, b)?;
    Some(y.at - x.at)
}

fn same<'a>(a: &'a [Sighting], b: &'a [Sighting]) -> Option<(&'a Sighting, &'a Sighting)> {
    let stamped = a.iter().filter(|x| x.tsval.is_some());
    let found = stamped.filter_map(|x| Some((x, b.iter().find(|y| y.tsval == x.tsval)?))).next();
    let plain = a.first().filter(|x| x.tsval.is_none() && a.len() == b.len());
    found.or_else(|| Some((plain?, b.first()?)))
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
}

impl Votes {
    fn take(&mut self, a: &Handshake, b: &Handshake) {
        let vote = |list: &mut (u64, u64), first: bool, second: bool| {
            list.0 += u64::from(first);
            list.1 += u64::from(second);
        };
        let trip = sample(a, b).and_then(|s| s.round_trip()).unwrap_or(Span::ZERO);
        vote(&mut self.by_delay, trip > Span::ZERO, trip < Span::ZERO);
        if let Some((x, y)) = same(&a.syns, &b.syns) {
            vote(&mut self.by_hops, x.ttl > y.ttl, x.ttl < y.ttl);
            vote(&mut self.by_checksum, x.partial && !y.partial, y.partial && !x.partial);
        }
        if let Some((x, y)) = same(&a.syn_acks, &b.syn_acks) {
            vote(&mut self.by_hops, x.ttl < y.ttl, x.ttl > y.ttl);
            vote(&mut self.by_checksum, y.partial && !x.partial, x.partial && !y.partial);
        }
    }

    /// What a packet's way of two thirds of them says: delays first, then routers on the way, then checksums.
    fn verdict(&self) -> Option<Order> {
        [self.by_delay, self.by_hops, self.by_checksum].into_iter().find_map(|(first, second)| {
            let all = first + second;
            if all > 0 && first * 3 >= all * 2 {
                Some(Order::FirstFirst)
            } else if all > 0 && second * 3 >= all * 2 {
                Some(Order::SecondFirst)
            } else {
                None
            }
        })
    }
}

fn orient(a: &Sketch, b: &Sketch, forced: bool) -> Option<Order> {
    let mut by_server: HashMap<Address, (u64, Votes)> = HashMap::new();
    let mut all = Votes::default();
    for (mine, theirs) in a.shared(b) {
        let (n, votes) = by_server.entry(theirs.server.address).or_default();
        *n += 1;
        votes.take(mine, theirs);
        all.take(mine, theirs);
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
        std::cmp::Ordering::Equal => all.verdict().or(forced.then_some(Order::FirstFirst)),
    }
}

fn places(sides: [Vec<usize>; 2], near: &Sketch, far: &Sketch) -> Places {
    let shared = near.shared(far);
    let mut votes: HashMap<Address, Votes> = HashMap::new();
    for (mine, theirs) in &shared {
        votes.entry(theirs.server.address).or_default().take(mine, theirs);
    }
    let turned: HashSet<Address> = votes
        .iter()
        .filter(|(_, votes)| votes.verdict() == Some(Order::SecondFirst))
        .map(|(server, _)| *server)
        .collect();
    let samples: Vec<Sample> = shared
        .iter()
        .filter_map(|(mine, theirs)| {
            let s = sample(mine, theirs)?;
            let turn = turned.contains(&theirs.server.address);
            Some(if turn { Sample { there: s.back, back: s.there, ..s } } else { s })
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
    Places {
        sides,
        clock: Clock::of(&samples).unwrap_or_default(),
        turned,
        matched: whole(shared.len()),
        translated: whole(shared.iter().filter(|(mine, theirs)| !mine.has_names_of(theirs)).count()),
        estimated: share < 1.0,
        listeners,
        common,
    }
}
