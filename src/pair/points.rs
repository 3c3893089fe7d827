//! The capture points of one traffic: which of them saw the same connections, in which order a packet passes them, and
//! all their clocks by one of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::capture::{ReclockedSource, Source};
use crate::diagnose::vantage::RelativeVantage;
use crate::engine::KnownVantage;
use crate::flow::facts::Role;
use crate::flow::key::Host;
use crate::model::Pairing;
use crate::pair::clock::ClockOffset;
use crate::pair::graph::{self, PointClocks};
use crate::pair::link::{self, NearerToClients, PointLink};
use crate::pair::sketch::{Handshake, HandshakeSketch};
use crate::time::Span;

/// From this many handshakes with one initial sequence number on, they belong to a flood and cannot be told apart.
const MOST_ALIKE: usize = 256;

/// Inputs that were captured at one place, and what the user calls it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedInputs {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its inputs, by their places on the command line.
    pub inputs: Vec<usize>,
}

/// One capture point.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Point {
    /// Its name, if the user gave it one.
    pub name: Option<String>,
    /// Its inputs, by their places on the command line.
    pub inputs: Vec<usize>,
    /// Its time in terms of the reference; `None` if it shares no connection with the others.
    pub clock: Option<ClockOffset>,
    /// Connections that this point has and no point before it, among those whose handshake is known.
    pub repeated: u64,
}

/// Connections that passed the same points in the same order.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct PathSeen {
    /// The points, the one nearest to the client first.
    pub points: Vec<usize>,
    /// How many connections.
    pub connections: u64,
    /// Their listeners, as the last point knows them, with the number of connections, the most first.
    pub listeners: Vec<(Host, u64)>,
}

/// All capture points.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Points {
    /// The points, in the order in which they were given. Of two without names, the one nearer to the clients comes
    /// first.
    pub all: Vec<Point>,
    /// The point whose clock all findings use.
    pub reference: usize,
    /// The paths, the most used first.
    pub paths: Vec<PathSeen>,
    /// The links, by the places of two points, the one nearer to most of the clients first.
    links: BTreeMap<(usize, usize), PointLink>,
    /// How far from the clients each point lies, as the links say.
    rank: Vec<usize>,
}

/// Decides which of two points is nearer to the clients; `None` if nothing shows it.
type Orient<'o> = &'o dyn Fn(&HandshakeSketch, &HandshakeSketch) -> Option<NearerToClients>;

impl Points {
    /// Compares the sketches of all points. Where `orient` does not know which of two points is nearer to the clients,
    /// the first is.
    pub fn of(named: Vec<NamedInputs>, sketches: &[HandshakeSketch], orient: Orient<'_>) -> Points {
        let mut links = BTreeMap::new();
        for (a, b) in with_common_numbers(sketches) {
            if sketches[a].shared(&sketches[b]).is_empty() {
                continue;
            }
            let (near, far) = match orient(&sketches[a], &sketches[b]) {
                Some(NearerToClients::SecondFirst) => (b, a),
                Some(NearerToClients::FirstFirst) | None => (a, b),
            };
            links.insert((near, far), PointLink::of(&sketches[near], &sketches[far]));
        }
        let rank = ranks(sketches.len(), &links);
        let reference = reference(&rank, &links);
        let between: PointClocks = links.iter().map(|(ends, link)| (*ends, link.clock)).collect();
        let clocks = graph::solve(named.len(), &between, reference);
        let all = named.into_iter().zip(clocks).map(|(NamedInputs { name, inputs }, clock)| Point {
            name,
            inputs,
            clock,
            repeated: 0,
        });
        let mut points = Points { all: all.collect(), reference, paths: Vec::new(), rank, links };
        points.follow_connections(sketches);
        points
    }

    /// Compares the sketches of points that the user named. A point has no sketch if none of its inputs could be read.
    /// Its inputs then go with those of another point, whose report names them. `None` if nothing at all could be read.
    pub fn of_named(points: Vec<NamedInputs>, sketches: Vec<Option<HandshakeSketch>>) -> Option<Points> {
        let (mut readable, mut of_points, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        for (point, sketch) in points.into_iter().zip(sketches) {
            match sketch {
                Some(sketch) => {
                    readable.push(point);
                    of_points.push(sketch);
                }
                None => lost.extend(point.inputs),
            }
        }
        readable.first_mut()?.inputs.extend(lost);
        Some(Points::of(readable, &of_points, &|a, b| link::orient(a, b, Pairing::Force)))
    }

    /// Captures without a connection in common: the first one, and all others.
    pub fn unrelated(inputs: usize) -> Points {
        let sides = [vec![0], (1..inputs).collect()].map(|inputs| NamedInputs { name: None, inputs });
        Points::of(sides.into(), &[HandshakeSketch::default(), HandshakeSketch::default()], &|_, _| None)
    }

    /// What limits a report on points that the user named; nothing if they have connections in common.
    pub fn limit(&self) -> Option<String> {
        let why = "no connection was demonstrably seen at two of the points; each was judged by itself";
        (!self.are_related()).then(|| why.to_owned())
    }

    /// Whether any connection was seen at two points.
    pub fn are_related(&self) -> bool {
        !self.links.is_empty()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Which inputs are of a point.
    pub fn mask(&self, point: usize, inputs: usize) -> Vec<bool> {
        (0..inputs).map(|n| self.all[point].inputs.contains(&n)).collect()
    }

    /// The packets of a point, by the clock of the reference.
    pub fn reclocked(&self, point: usize, source: Box<dyn Source>) -> Box<dyn Source> {
        match self.correction(point) {
            Some(clock) => {
                Box::new(ReclockedSource::new(source, std::sync::Arc::new(move |at| clock.there(at))))
            }
            None => source,
        }
    }

    /// The clock of a point in terms of the reference, unless its times stay as they are.
    pub fn correction(&self, point: usize) -> Option<ClockOffset> {
        self.all[point].clock.filter(|_| point != self.reference)
    }

    /// What two points have in common: their places, the one nearer to most of the clients first, and the link.
    pub fn link(&self, a: usize, b: usize) -> Option<([usize; 2], &PointLink)> {
        let found = |near, far| Some(([near, far], self.links.get(&(near, far))?));
        found(a, b).or_else(|| found(b, a))
    }

    /// All of them.
    pub fn links(&self) -> impl Iterator<Item = ([usize; 2], &PointLink)> {
        self.links.iter().map(|(&(near, far), link)| ([near, far], link))
    }

    /// How long a packet takes from one point to another and back, at least.
    pub fn round_trip(&self, a: usize, b: usize) -> Span {
        let direct = self.link(a, b).and_then(|(_, link)| link.clock.round_trip);
        let of = |point: usize| self.all[point].clock.and_then(|clock| clock.round_trip);
        let sum = || Some(Span(of(a)?.0.saturating_add(of(b)?.0)));
        direct.or_else(sum).unwrap_or(Span::ZERO)
    }

    /// Whether point `a` is nearer than `b` to the clients of a server, which one of the two knows by this name.
    pub fn is_nearer_to_clients(&self, a: usize, b: usize, server: Host, known_at: usize) -> bool {
        match self.link(a, b) {
            Some(([near, far], link)) => {
                let name =
                    if known_at == near && near != far { link.name_on_other_side(server) } else { server };
                let near = if link.client_side(name.address) == 0 { near } else { far };
                near == a
            }
            None => (self.rank[a], a) < (self.rank[b], b),
        }
    }

    /// Puts points that saw one connection in order, the one nearest to the client first; `server` is its name at each.
    pub fn in_order(
        &self,
        points: impl Iterator<Item = usize>,
        server: impl Fn(usize) -> Host,
    ) -> Vec<usize> {
        let mut order: Vec<usize> = Vec::new();
        for point in points {
            let behind = |&known: &usize| self.is_nearer_to_clients(point, known, server(known), known);
            let place = order.iter().position(behind).unwrap_or(order.len());
            order.insert(place, point);
        }
        order
    }

    /// The points that the connections to a listener come to next, behind the point that knows it by this name.
    pub fn next(&self, point: usize, server: Host) -> Vec<usize> {
        let leads_on = |other: &usize| {
            let Some(([near, _], link)) = self.link(point, *other) else { return false };
            let known = near != point || link.has_listener(server);
            known && self.is_nearer_to_clients(point, *other, server, point)
        };
        let all: Vec<usize> = (0..self.count()).filter(|&other| other != point).filter(leads_on).collect();
        let behind_another = |far: usize| {
            all.iter().any(|&other| {
                other != far
                    && self.link(other, far).is_some()
                    && self.is_nearer_to_clients(other, far, self.name_at(point, other, server), other)
            })
        };
        all.iter().copied().filter(|&far| !behind_another(far)).collect()
    }

    /// The listener that one point knows by this name, under its name at another point.
    pub fn name_at(&self, point: usize, other: usize, server: Host) -> Host {
        match self.link(point, other) {
            Some(([near, _], link)) if near == point => link.name_on_other_side(server),
            _ => server,
        }
    }

    /// Where a point was captured, as far as the others tell.
    pub fn relative_vantage(&self, point: usize) -> Option<KnownVantage> {
        let mut sides = Vec::new();
        let mut turned = BTreeSet::new();
        for ([near, far], link) in self.links() {
            if near == point || far == point {
                sides.push((near == point, link));
                turned.extend(link.turned.iter().copied());
            }
        }
        let standing = |is_first: &dyn Fn(bool, &PointLink) -> bool| {
            let first = sides.iter().any(|(near, link)| is_first(*near, link));
            let last = sides.iter().any(|(near, link)| !is_first(*near, link));
            match (first, last) {
                (true, true) => RelativeVantage::Between,
                (true, false) => RelativeVantage::Nearer(Role::Client),
                (false, _) => RelativeVantage::Nearer(Role::Server),
            }
        };
        if sides.is_empty() {
            return None;
        }
        let but = turned
            .into_iter()
            .map(|server| (server, standing(&|near, link| near == (link.client_side(server) == 0))));
        Some(KnownVantage { standing: standing(&|near, _| near), but: but.collect() })
    }

    /// What a point is called; `path` is that of its first input.
    pub fn name<'n>(&'n self, point: usize, path: &'n str) -> &'n str {
        self.all[point].name.as_deref().unwrap_or(path)
    }

    /// The paths that connections took, and how many connections each point shares with another one.
    fn follow_connections(&mut self, sketches: &[HandshakeSketch]) {
        let share = sketches.iter().map(HandshakeSketch::share).fold(1.0, f64::min);
        let whole = |n: u64| (n as f64 / share).round() as u64;
        let mut paths: BTreeMap<Vec<usize>, BTreeMap<Host, u64>> = BTreeMap::new();
        let mut repeated = vec![0_u64; self.count()];
        let joining = self.from_servers();
        for seen in connections(sketches) {
            let by_point: BTreeMap<usize, &Handshake> =
                seen.iter().map(|(point, handshake)| (*point, *handshake)).collect();
            let first = joining.iter().find(|point| by_point.contains_key(point));
            for (point, _) in &seen {
                repeated[*point] += u64::from(Some(point) != first);
            }
            // A point may have a connection under two names: it counts once.
            if let Some(first) = first {
                let own = seen.iter().filter(|(point, _)| point == first).count() as u64;
                repeated[*first] += own.saturating_sub(1);
            }
            let order = self.in_order(by_point.keys().copied(), |point| by_point[&point].server);
            let Some(last) = order.last() else { continue };
            let server = by_point[last].server;
            *paths.entry(order).or_default().entry(server).or_default() += 1;
        }
        for (point, n) in self.all.iter_mut().zip(repeated) {
            point.repeated = whole(n);
        }
        let mut paths: Vec<PathSeen> = paths
            .into_iter()
            .map(|(points, of)| PathSeen {
                connections: whole(of.values().sum()),
                listeners: {
                    let mut listeners: Vec<(Host, u64)> =
                        of.into_iter().map(|(host, n)| (host, whole(n))).collect();
                    listeners.sort_by_key(|(host, n)| (std::cmp::Reverse(*n), *host));
                    listeners
                },
                points,
            })
            .collect();
        paths.sort_by(|a, b| (b.connections, &a.points).cmp(&(a.connections, &b.points)));
        self.paths = paths;
    }

    /// The points in the order in which their findings are merged: those nearest to the servers first.
    pub fn from_servers(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.count()).collect();
        order.sort_by_key(|&point| (std::cmp::Reverse(self.rank[point]), std::cmp::Reverse(point)));
        order
    }
}

/// The point with the most connections in common with others; of several the one nearest to the servers.
fn reference(rank: &[usize], links: &BTreeMap<(usize, usize), PointLink>) -> usize {
    let shared = |point: usize| {
        let own = links.iter().filter(|((near, far), _)| *near == point || *far == point);
        own.map(|(_, link)| link.matched).sum::<u64>()
    };
    (0..rank.len()).max_by_key(|&point| (shared(point), rank[point], point)).unwrap_or(0)
}

/// The number of points before each one on the longest path to it.
fn ranks(points: usize, links: &BTreeMap<(usize, usize), PointLink>) -> Vec<usize> {
    let mut rank = vec![0; points];
    // Links may close a circle: where captured hosts are clients of one another.
    for _ in 0..points {
        for &(near, far) in links.keys() {
            rank[far] = (rank[near] + 1).max(rank[far]).min(points);
        }
    }
    rank
}

/// Pairs of points that share an initial sequence number: of hundreds of points, most share none.
fn with_common_numbers(sketches: &[HandshakeSketch]) -> BTreeSet<(usize, usize)> {
    let of_point = |(point, sketch)| HandshakeSketch::with_hashes(sketch).map(move |(hash, _)| (hash, point));
    let mut numbers: Vec<(u64, usize)> = sketches.iter().enumerate().flat_map(of_point).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut pairs = BTreeSet::new();
    for same in numbers.chunk_by(|a, b| a.0 == b.0) {
        for (n, (_, a)) in same.iter().enumerate() {
            pairs.extend(same[n + 1..].iter().map(|(_, b)| (*a, *b)));
        }
    }
    pairs
}

/// Handshakes at all points that belong to one connection, each with its point.
fn connections(sketches: &[HandshakeSketch]) -> Vec<Vec<(usize, &Handshake)>> {
    let bound = sketches.iter().filter_map(HandshakeSketch::bound).min();
    let mut by_isn: HashMap<u32, Vec<(usize, &Handshake)>> = HashMap::new();
    let mut order: BTreeSet<(u64, u32)> = BTreeSet::new();
    for (point, sketch) in sketches.iter().enumerate() {
        for (hash, handshake) in sketch.with_hashes() {
            if bound.is_some_and(|bound| hash >= bound) {
                break;
            }
            order.insert((hash, handshake.isn.0));
            by_isn.entry(handshake.isn.0).or_default().push((point, handshake));
        }
    }
    let mut all = Vec::new();
    for (_, isn) in order {
        let mut left = by_isn.remove(&isn).unwrap_or_default();
        if left.len() > MOST_ALIKE {
            continue;
        }
        while let Some(first) = left.pop() {
            let mut group = vec![first];
            let mut n = 0;
            while n < group.len() {
                let known = group[n].1;
                let (same, others): (Vec<_>, Vec<_>) =
                    left.into_iter().partition(|(_, other)| known.is(other));
                group.extend(same);
                left = others;
                n += 1;
            }
            all.push(group);
        }
    }
    all
}
