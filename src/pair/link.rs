//! Two capture points that saw the same connections: which of them is nearer to the clients, how their clocks differ, and
//! by which names they know the same listeners.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::decode::segment::Address;
use crate::flow::key::Host;
use crate::model::Pairing;
use crate::pair::clock::{ClockOffset, ClockSample};
use crate::pair::sketch::{Handshake, HandshakeSketch, SynTransmission};
use crate::time::Span;

/// Two capture points with connections in common: side 0 is nearer to the clients, side 1 to the servers, by most of
/// these connections.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct PointLink {
    /// The time of side 0 in terms of side 1.
    pub clock: ClockOffset,
    /// Servers (as side 1 knows them) whose clients side 1 is nearer to: the captured hosts are clients of each other.
    pub turned: BTreeSet<Address>,
    /// Connections whose handshake both have.
    pub matched: u64,
    /// Connections among them whose names differ between the two sides.
    pub translated: u64,
    /// Not all handshakes were compared: the numbers are estimated from a part.
    pub estimated: bool,
    /// Listeners as side 0 knows them, and as side 1 does.
    listeners: BTreeMap<Host, Host>,
    /// Client addresses and listeners, as side 0 knows them, for pairs of which side 1 has connections.
    common: BTreeSet<(Address, Host)>,
    /// How many client addresses side 1 has at each listener, as side 1 knows them.
    clients: BTreeMap<Host, usize>,
}

impl PointLink {
    /// Compares what two points saw, of which `near` is nearer to most of the clients.
    pub fn of(near: &HandshakeSketch, far: &HandshakeSketch) -> PointLink {
        let shared = near.shared(far);
        let ids = IpIds::of(&shared);
        let mut votes: HashMap<Address, Votes> = HashMap::new();
        for (mine, theirs) in &shared {
            votes.entry(theirs.server.address).or_default().count(mine, theirs, ids);
        }
        let turned: BTreeSet<Address> = votes
            .iter()
            .filter(|(_, votes)| votes.verdict() == Some(NearerToClients::SecondFirst))
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
        let mut listeners: BTreeMap<Host, Host> = BTreeMap::new();
        let mut common = BTreeSet::new();
        for (mine, theirs) in &shared {
            if mine.is_certain_match(theirs) {
                listeners.entry(mine.server).or_insert(theirs.server);
            }
            // A capture without SYNs was filtered, so a missing connection proves nothing.
            if !theirs.syns.is_empty() {
                common.insert((mine.client.address, mine.server));
            }
        }
        let mut clients: HashMap<Host, HashSet<Address>> = HashMap::new();
        for handshake in far.all().filter(|h| !h.syns.is_empty()) {
            clients.entry(handshake.server).or_default().insert(handshake.client.address);
        }
        PointLink {
            clients: clients.into_iter().map(|(server, of_it)| (server, of_it.len())).collect(),
            clock: ClockOffset::of(&samples).unwrap_or_default(),
            turned,
            matched: whole(shared.len()),
            translated: whole(shared.iter().filter(|(mine, theirs)| !mine.has_names_of(theirs)).count()),
            estimated: share < 1.0,
            listeners,
            common,
        }
    }

    /// The listener that side 0 knows as `server`, as side 1 knows it.
    pub fn name_on_other_side(&self, server: Host) -> Host {
        self.listeners.get(&server).copied().unwrap_or(server)
    }

    /// Whether side 1 has connections to the listener that side 0 knows by this name.
    pub fn has_listener(&self, server: Host) -> bool {
        self.listeners.contains_key(&server) || self.clients.contains_key(&server)
    }

    /// Listeners by the names of either side.
    pub fn listeners(&self) -> impl Iterator<Item = [Host; 2]> {
        self.listeners.iter().map(|(near, far)| [*near, *far])
    }

    /// The side nearer to the clients of this server, as side 1 knows it.
    pub fn client_side(&self, server: Address) -> usize {
        usize::from(self.turned.contains(&server))
    }

    /// Whether side 1 would have captured this client's connections to a listener; both are named as on side 0. It has
    /// other connections of this client, or enough other clients to show that its capture was not filtered by client.
    pub fn is_common(&self, client: Address, server: Host) -> bool {
        self.common.contains(&(client, server))
            || self.clients.get(&self.name_on_other_side(server)).is_some_and(|clients| *clients > 1)
    }
}

/// What the IPv4 identifications of two inputs prove.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum IpIds {
    /// Some packets have the same one in both inputs: so packets with different ones are different packets.
    Kept,
    /// No identification is the same: the packets have no usable ones, a device on the way rewrites them, or no packet
    /// is in both.
    Unknown,
}

impl IpIds {
    pub(super) fn of(shared: &[(&Handshake, &Handshake)]) -> IpIds {
        let kept =
            |a: &[SynTransmission], b: &[SynTransmission]| a.iter().any(|x| b.iter().any(|y| x.has_id_of(y)));
        match shared.iter().any(|(a, b)| kept(&a.syns, &b.syns) || kept(&a.syn_acks, &b.syn_acks)) {
            true => IpIds::Kept,
            false => IpIds::Unknown,
        }
    }
}

/// How much later `b` captured the packets of a handshake than `a`: `there` for the SYN, `back` for the SYN-ACK.
pub(super) fn sample(a: &Handshake, b: &Handshake, ids: IpIds) -> Option<ClockSample> {
    if !a.is_certain_match(b) {
        return None;
    }
    let there = difference(&a.syns, &b.syns, ids);
    let back = difference(&a.syn_acks, &b.syn_acks, ids);
    let at = a.syns.first().or(a.syn_acks.first())?.at;
    (there.is_some() || back.is_some()).then_some(ClockSample { at, there, back })
}

/// Whether one packet is in both lists, by its timestamp or its IP ID. Some stacks send their first timestamp again:
/// then the IP ID differs.
pub(super) fn is_in_both(a: &[SynTransmission], b: &[SynTransmission]) -> bool {
    let stamped = |x: &SynTransmission, y: &SynTransmission| {
        x.tsval.is_some() && x.tsval == y.tsval && !x.has_other_id_than(y)
    };
    a.iter().any(|x| b.iter().any(|y| x.has_id_of(y) || stamped(x, y)))
}

/// How much later `b` captured the same transmission.
fn difference(a: &[SynTransmission], b: &[SynTransmission], ids: IpIds) -> Option<Span> {
    let (x, y) = same(a, b, ids)?;
    Some(y.at - x.at)
}

/// The same transmission in both, found by its timestamp or its IP ID. Without either it is the first one, if both have
/// as many.
pub(super) fn same<'a>(
    a: &'a [SynTransmission],
    b: &'a [SynTransmission],
    ids: IpIds,
) -> Option<(&'a SynTransmission, &'a SynTransmission)> {
    let find = |is: &dyn Fn(&SynTransmission, &SynTransmission) -> bool| {
        a.iter().find_map(|x| Some((x, b.iter().find(|y| is(x, y))?)))
    };
    let stamped = find(&|x, y| x.tsval.is_some() && x.tsval == y.tsval);
    let numbered = || find(&|x, y| x.tsval.is_none() && x.has_id_of(y));
    let plain = || {
        let (x, y) = a.first().zip(b.first())?;
        let other = ids == IpIds::Kept && x.has_other_id_than(y);
        (x.tsval.is_none() && a.len() == b.len() && !other).then_some((x, y))
    };
    stamped.or_else(numbered).or_else(plain)
}

/// Which of two sketches is nearer to the clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NearerToClients {
    /// The first is.
    FirstFirst,
    /// The second is.
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
    fn count(&mut self, a: &Handshake, b: &Handshake, ids: IpIds) {
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
        // Packets are lost on the way: the client's packets are complete near the client, the server's near the server.
        let answers = |first: &Handshake, second: &Handshake| {
            first.syn_acks.len() < second.syn_acks.len() && first.syns.len() >= second.syns.len()
                || first.syns.len() > second.syns.len() && first.syn_acks.len() <= second.syn_acks.len()
        };
        vote(&mut self.by_presence, answers(a, b), answers(b, a));
    }

    /// The side that two thirds of the handshakes agree on, judged by delays first, then routers on the way, checksums,
    /// and losses.
    fn verdict(&self) -> Option<NearerToClients> {
        [self.by_delay, self.by_hops, self.by_checksum, self.by_presence].into_iter().find_map(
            |(first, second)| {
                let all = first + second;
                if all > 0 && first * 3 >= all * 2 {
                    Some(NearerToClients::FirstFirst)
                } else if all > 0 && second * 3 >= all * 2 {
                    Some(NearerToClients::SecondFirst)
                } else {
                    None
                }
            },
        )
    }
}

pub(super) fn orient(a: &HandshakeSketch, b: &HandshakeSketch, pairing: Pairing) -> Option<NearerToClients> {
    let mut by_server: HashMap<Address, (u64, Votes)> = HashMap::new();
    let mut all = Votes::default();
    let shared = a.shared(b);
    let ids = IpIds::of(&shared);
    for (mine, theirs) in shared {
        let (n, votes) = by_server.entry(theirs.server.address).or_default();
        *n += 1;
        votes.count(mine, theirs, ids);
        all.count(mine, theirs, ids);
    }
    let (mut first, mut second) = (0, 0);
    for (n, votes) in by_server.values() {
        match votes.verdict() {
            Some(NearerToClients::FirstFirst) => first += n,
            Some(NearerToClients::SecondFirst) => second += n,
            None => {}
        }
    }
    match first.cmp(&second) {
        std::cmp::Ordering::Greater => Some(NearerToClients::FirstFirst),
        std::cmp::Ordering::Less => Some(NearerToClients::SecondFirst),
        std::cmp::Ordering::Equal => {
            all.verdict().or((pairing == Pairing::Force).then_some(NearerToClients::FirstFirst))
        }
    }
}
