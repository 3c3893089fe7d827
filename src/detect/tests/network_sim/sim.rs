//! A small simulated network: clients, a server that accepts at once, the path between them, and a capture of it.
//!
//! Both ends keep the timers of Linux: SYN and SYN-ACK after 1 s, doubled or (SYN) linear; data after 200 ms and a round
//! trip, doubled. A repeated SYN-ACK is answered by an ACK, a repeated SYN by the SYN-ACK.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::decode::segment::{Flags, TcpOptions};
use crate::flow::facts::Role;
use crate::flow::wire::{Ladder, SentSegment, Wire};
use crate::seq::Seq;

/// What the path does to packets.
#[derive(Clone, Debug)]
pub(super) struct PathConditions {
    /// Which wire: 0 server, 1 client, 2 between, 3 anywhere.
    pub(super) place: usize,
    pub(super) v6: bool,
    pub(super) timestamps: bool,
    /// Round trip, milliseconds.
    pub(super) round_trip: u32,
    /// Extra delay, up to this many milliseconds, per packet.
    pub(super) jitter: u32,
    /// Packets lost on either side of the capture point, per thousand.
    pub(super) loss: [u32; 2],
    /// Packets that the capture misses, per thousand.
    pub(super) missed: u32,
    /// From second and for how many milliseconds nothing passes, on which side of the capture point.
    pub(super) outage: (u32, u32, usize),
    /// From second and for how many milliseconds packets of clients wait in a full buffer, and how long at most.
    pub(super) bloat: (u32, u32, u32),
    pub(super) linear_syn: bool,
    pub(super) seed: u64,
}

/// What hosts do, and what the capture makes of it, beside the ordinary.
#[derive(Clone, Default, Debug)]
pub(super) struct SimBehavior {
    /// All clients share an address, and behind the server's address are several hosts.
    pub(super) shared: bool,
    /// Packets captured twice, per thousand.
    pub(super) twice: u32,
    /// Which direction the capture holds of a connection.
    pub(super) sees: CapturedDirection,
    /// From second and for how many milliseconds the server has no power. It forgets its connections.
    pub(super) blackout: (u32, u32),
    /// The capture is taken on the switch before the server: it goes on when that has no power.
    pub(super) switch: bool,
    /// Acknowledgments are delayed, and the server's application takes its time.
    pub(super) delayed_acks: bool,
    /// Clients that give up in the middle, per thousand.
    pub(super) aborts: u32,
    /// `TCP_DEFER_ACCEPT`, SYN-ACK timeouts.
    pub(super) defer: u32,
    /// Seconds after which idle clients send keepalive probes.
    pub(super) keepalive: u32,
    /// The server closes a connection as soon as it has it.
    pub(super) hasty_server: bool,
    /// A port is used again when its connection is over.
    pub(super) reuse: bool,
}

/// Which direction a capture holds.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) enum CapturedDirection {
    #[default]
    Both,
    Client,
    Server,
    /// One of these for each connection: the ways there and back divide.
    Divided,
}

/// A segment on its way, numbers relative to the initial ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct SimSegment {
    flags: Flags,
    seq: u32,
    ack: u32,
    bytes: u32,
    tsval: u32,
    tsecr: u32,
    /// What the server's initial number of now is ahead of its first one.
    base: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum SimEvent {
    Arrives(usize, bool, SimSegment),
    /// The retransmission timer of an end; counts for this epoch only.
    Timer(usize, bool, u32),
    /// The application of an end acts.
    Acts(usize, bool),
    /// The server's application has an answer.
    Answers(usize),
    /// An acknowledgment has been delayed for long enough.
    DelayedAck(usize, bool),
    /// The client gives up.
    Aborts(usize),
    /// The client probes, if it is idle.
    Probes(usize),
    /// The client connects again from the same port.
    Reuses(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum SimState {
    #[default]
    Closed,
    SynSent,
    SynReceived,
    Established,
    /// No socket: RST to whatever comes.
    Gone,
    /// The port has another connection: that answers.
    Over,
}

/// One end: stop and wait, everything in order.
#[derive(Default)]
struct Peer {
    state: SimState,
    next: u32,
    received: u32,
    recent: u32,
    unacked: Option<SimSegment>,
    queue: VecDeque<(u32, bool)>,
    wait: u64,
    epoch: u32,
    tries: u32,
    challenged: Option<u64>,
    closed: bool,
    /// The other end has closed.
    finished: bool,
    /// What the other end was last told to have been received.
    told: u32,
    /// When its state came to be.
    born: u64,
    base: u32,
    /// A deferring listener has put the final ACK off.
    put_off: bool,
}

struct SimConnection {
    ladder: Ladder,
    peers: [Peer; 2],
    /// Requests to come, and how long the client thinks before each, microseconds.
    requests: u32,
    think: u64,
    closer: Role,
    sees: CapturedDirection,
    /// Which of several hosts behind one address.
    host: u8,
}

pub(super) struct NetworkSim {
    conditions: PathConditions,
    behavior: SimBehavior,
    wire: Wire,
    talks: Vec<SimConnection>,
    events: BinaryHeap<Reverse<(u64, u32, SimEvent)>>,
    now: u64,
    made: u32,
    random: u64,
}

const SECOND: u64 = 1_000_000;
/// Nothing happens after this, microseconds.
const END: u64 = 90 * SECOND;

impl NetworkSim {
    pub(super) fn new(conditions: &PathConditions, behavior: &SimBehavior, talks: u16) -> NetworkSim {
        let mut wire =
            Wire::everywhere()[conditions.place].clone().round_trip(f64::from(conditions.round_trip) / 1e3);
        // A host answers at once however far its peer is.
        let (near, far) = (0.000_06, f64::from(conditions.round_trip) / 1e3);
        match conditions.place {
            0 => (wire.to_server, wire.to_client) = (near, far),
            1 => (wire.to_server, wire.to_client) = (far, near),
            _ => {}
        }
        if conditions.v6 {
            wire = wire.v6();
        }
        if !conditions.timestamps {
            wire = wire.without_timestamps();
        }
        let mut sim = NetworkSim {
            conditions: conditions.clone(),
            behavior: behavior.clone(),
            wire,
            talks: Vec::new(),
            events: BinaryHeap::new(),
            now: 0,
            made: 0,
            random: conditions.seed | 1,
        };
        for n in 0..talks {
            let host = if behavior.shared { 1 } else { (n % 5) as u8 + 1 };
            let ladder = sim.wire.of_host(host, n);
            let start = u64::from(n) * SECOND / 3 + u64::from(sim.any(1_000)) * 2_000;
            sim.connects(ladder, start, (n % 5) as u8);
        }
        sim
    }

    /// A connection that its client begins at `start`.
    fn connects(&mut self, ladder: Ladder, start: u64, host: u8) {
        let talk = self.talks.len();
        let [a, b, c, d] = [(); 4].map(|()| self.any(1_000));
        let sees = match self.behavior.sees {
            CapturedDirection::Divided => {
                [CapturedDirection::Both, CapturedDirection::Client, CapturedDirection::Server]
                    [d as usize % 3]
            }
            sees => sees,
        };
        self.talks.push(SimConnection {
            ladder,
            peers: Default::default(),
            requests: a % 4,
            think: [0, 1_000, 300_000, 2_500_000, 9_000_000][b as usize % 5],
            closer: if c < 500 { Role::Client } else { Role::Server },
            sees,
            host,
        });
        self.at(start, SimEvent::Acts(talk, true));
        if self.any(1_000) < self.behavior.aborts {
            let after = u64::from(self.any(12_000)) * 1_000;
            self.at(start + after, SimEvent::Aborts(talk));
        }
    }

    /// A number below `bound`.
    fn any(&mut self, bound: u32) -> u32 {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % u64::from(bound.max(1))) as u32
    }

    fn at(&mut self, time: u64, event: SimEvent) {
        self.made += 1;
        self.events.push(Reverse((time, self.made, event)));
    }

    pub(super) fn run(mut self) -> Wire {
        while let Some(Reverse((time, _, event))) = self.events.pop() {
            if time > END {
                break;
            }
            self.now = time;
            match event {
                SimEvent::Arrives(talk, at_client, flight) => self.arrives(talk, at_client, flight),
                SimEvent::Timer(talk, of_client, epoch) => self.timer(talk, of_client, epoch),
                SimEvent::Acts(talk, of_client) => self.acts(talk, of_client),
                SimEvent::Answers(talk) => {
                    self.talks[talk].peers[1].queue.push_back((800, false));
                    self.push(talk, false);
                }
                SimEvent::DelayedAck(talk, of_client) => {
                    let peer = &self.talks[talk].peers[usize::from(!of_client)];
                    if peer.state == SimState::Established && peer.told != peer.received {
                        self.acknowledge(talk, of_client);
                    }
                }
                SimEvent::Aborts(talk) => self.aborts(talk),
                SimEvent::Probes(talk) => self.probes(talk),
                SimEvent::Reuses(talk) => self.reuses(talk),
            }
        }
        self.wire
    }

    fn is_out(&self, time: u64, side: usize) -> bool {
        let (from, lasts, where_) = self.conditions.outage;
        let from = u64::from(from) * SECOND;
        side == where_ && time >= from && time < from + u64::from(lasts) * 1_000
    }

    fn has_no_power(&self, time: u64) -> bool {
        let (from, lasts) = self.behavior.blackout;
        let from = u64::from(from) * SECOND;
        time >= from && time < from + u64::from(lasts) * 1_000
    }

    /// Whether an end can do anything now. What a server knew before it lost its power it has forgotten.
    fn lives(&mut self, talk: usize, client: bool) -> bool {
        if client || self.behavior.blackout.1 == 0 {
            return true;
        }
        let from = u64::from(self.behavior.blackout.0) * SECOND;
        let (now, base) = (self.now, self.any(u32::MAX));
        let peer = &mut self.talks[talk].peers[1];
        if now >= from && peer.born < from && peer.state != SimState::Closed {
            let state = if peer.state == SimState::Over { SimState::Over } else { SimState::Gone };
            *peer = Peer { state, base, born: now, ..Peer::default() };
        }
        !self.has_no_power(now)
    }

    /// Puts a segment on the wire: to the capture point, and on to the other end.
    fn send(&mut self, talk: usize, by_client: bool, flags: Flags, seq: u32, bytes: u32) -> SimSegment {
        let own = usize::from(!by_client);
        let clock = (self.now / 1_000) as u32 + if by_client { 5_000 } else { 900_000 };
        let shift = if self.behavior.shared { u32::from(self.talks[talk].host) * 7_000_001 } else { 0 };
        let peer = &mut self.talks[talk].peers[own];
        peer.told = peer.received;
        let (ack, tsecr, base) = (peer.received, peer.recent, peer.base);
        let flight = SimSegment { flags, seq, ack, bytes, tsval: clock.wrapping_add(shift), tsecr, base };
        self.put(talk, by_client, flight);
        flight
    }

    /// The RST of a host without a socket for `f`.
    fn refuse(&mut self, talk: usize, by_client: bool, f: SimSegment) {
        if f.flags.has(Flags::RST) || !f.flags.has(Flags::ACK) {
            return;
        }
        let rst =
            SimSegment { flags: Flags::RST, seq: f.ack, ack: 0, bytes: 0, tsval: 0, tsecr: 0, base: f.base };
        self.put(talk, by_client, rst);
    }

    fn put(&mut self, talk: usize, by_client: bool, flight: SimSegment) {
        let other = usize::from(by_client);
        // Side 0 lies between client and capture point, side 1 between that and the server.
        let legs = [self.wire.to_client / 2.0, self.wire.to_server / 2.0].map(|leg| (leg * 1e6) as u64);
        let (first, second) = if by_client { (0, 1) } else { (1, 0) };
        let mut delays = [0_u64; 2];
        for side in [first, second] {
            // On the host that captures nothing is delayed.
            let same_host =
                (self.conditions.place, side) == (0, 1) || (self.conditions.place, side) == (1, 0);
            let jitter = if same_host { 0 } else { self.conditions.jitter * 1_000 };
            delays[side] = legs[side].max(1) + u64::from(self.any(jitter + 1));
        }
        let (from, lasts, most) = self.conditions.bloat;
        let from = u64::from(from) * SECOND;
        let until = from + u64::from(lasts) * 1_000;
        if by_client && self.now >= from {
            // The buffer fills while this lasts, and drains after it: nothing overtakes.
            let most = u64::from(most) * 1_000;
            let full = match self.now < until {
                true => (self.now - from) * most / (u64::from(lasts.max(1)) * 1_000),
                false => most.saturating_sub(self.now - until),
            };
            delays[if self.conditions.place == 1 { 1 } else { 0 }] += full;
        }
        let lost =
            [0, 1].map(|side| self.is_out(self.now, side) || self.any(1_000) < self.conditions.loss[side]);
        let passes = self.now + delays[first];
        let unseen = match self.talks[talk].sees {
            CapturedDirection::Client => !by_client,
            CapturedDirection::Server => by_client,
            CapturedDirection::Both | CapturedDirection::Divided => false,
        };
        let off = self.conditions.place == 0 && !self.behavior.switch && self.has_no_power(passes);
        let missed = self.any(1_000) < self.conditions.missed || unseen || off;
        let twice = self.any(1_000) < self.behavior.twice;
        let rung = self.log(talk, by_client, flight, passes);
        if lost[first] || missed {
            rung.lost();
        } else if twice {
            rung.twice(0.000_02);
        }
        if !lost[first] && !lost[second] {
            self.at(passes + delays[second], SimEvent::Arrives(talk, other == 0, flight));
        }
    }

    fn log(&self, talk: usize, by_client: bool, f: SimSegment, passes: u64) -> SentSegment {
        let t = &self.talks[talk];
        let l = &t.ladder;
        let (own, other) = if by_client { (&l.client, &l.server) } else { (&l.server, &l.client) };
        let bases = if by_client { [0, f.base] } else { [f.base, 0] };
        let has_ack = f.flags.has(Flags::ACK);
        let ack = if has_ack { other.isn().advance(f.ack).advance(bases[1]) } else { Seq(0) };
        let seq = own.isn().advance(f.seq).advance(bases[0]);
        let rung = own.raw(passes as f64 / 1e6, f.flags, seq, ack, f.bytes);
        let bare_reset = f.flags == Flags::RST;
        let stamped = self.conditions.timestamps && !bare_reset;
        // Behind an address that several hosts share each has a distance of its own.
        let further = self.behavior.shared && self.conditions.place != usize::from(by_client);
        let further = if further { t.host % 3 } else { 0 };
        rung.with(|s| {
            s.ttl -= further;
            if bare_reset {
                (s.window, s.ip_id) = (0, 0);
            }
            s.options = TcpOptions::TIMESTAMPS.only_if(stamped);
            (s.tsval, s.tsecr) = if stamped { (f.tsval, f.tsecr) } else { (0, 0) };
            if f.flags.has(Flags::SYN) {
                s.options |= TcpOptions::MSS | TcpOptions::SACK_PERMITTED | TcpOptions::WINDOW_SCALE;
                (s.mss, s.window_scale) = (1460, 7);
                if has_ack {
                    s.ip_id = 0;
                }
            }
        })
    }

    fn arm(&mut self, talk: usize, client: bool, wait: u64) {
        let peer = &mut self.talks[talk].peers[usize::from(!client)];
        peer.epoch += 1;
        peer.wait = wait;
        let event = SimEvent::Timer(talk, client, peer.epoch);
        self.at(self.now + wait + wait / 50, event);
    }

    fn acknowledge(&mut self, talk: usize, client: bool) {
        let next = self.talks[talk].peers[usize::from(!client)].next;
        self.send(talk, client, Flags::ACK, next, 0);
    }

    /// Sends what waits, if nothing is under way.
    fn push(&mut self, talk: usize, client: bool) {
        let peer = &mut self.talks[talk].peers[usize::from(!client)];
        if peer.unacked.is_some() || peer.state != SimState::Established {
            return;
        }
        let Some((bytes, fin)) = peer.queue.pop_front() else { return };
        let seq = peer.next;
        peer.next += bytes + u32::from(fin);
        peer.tries = 0;
        let flags = Flags::ACK | if fin { Flags::FIN } else { Flags::PSH };
        let flight = self.send(talk, client, flags, seq, bytes);
        self.talks[talk].peers[usize::from(!client)].unacked = Some(flight);
        let wait = 200_000 + u64::from(self.conditions.round_trip) * 1_000;
        self.arm(talk, client, wait);
    }

    fn aborts(&mut self, talk: usize) {
        let peer = &mut self.talks[talk].peers[0];
        match peer.state {
            SimState::SynSent => peer.state = SimState::Gone,
            SimState::Established if !peer.closed => {
                let next = peer.next;
                self.send(talk, true, Flags::RST | Flags::ACK, next, 0);
                self.talks[talk].peers[0].state = SimState::Gone;
            }
            _ => {}
        }
    }

    fn probes(&mut self, talk: usize) {
        let peer = &self.talks[talk].peers[0];
        if peer.state != SimState::Established || peer.closed || peer.finished {
            return;
        }
        if peer.unacked.is_none() {
            let next = peer.next;
            self.send(talk, true, Flags::ACK, next - 1, 0);
        }
        self.at(self.now + u64::from(self.behavior.keepalive) * SECOND, SimEvent::Probes(talk));
    }

    /// Both ends have closed and know it: the port is free, or its TIME_WAIT gives way.
    fn is_over(&self, talk: usize) -> bool {
        let over =
            |p: &Peer| p.state == SimState::Established && p.closed && p.finished && p.unacked.is_none();
        self.talks[talk].peers.iter().all(over)
    }

    fn reuses(&mut self, talk: usize) {
        if !self.is_over(talk) {
            return;
        }
        let t = &mut self.talks[talk];
        let isn = |own: Seq, peer: &Peer| own.advance(peer.next).advance(peer.base).advance(65_537).0;
        let client = isn(t.ladder.client.isn(), &t.peers[0]);
        let server = isn(t.ladder.server.isn(), &t.peers[1]);
        let (ladder, host) = (t.ladder.reused(client, server), t.host);
        t.peers.iter_mut().for_each(|peer| peer.state = SimState::Over);
        self.connects(ladder, self.now, host);
    }

    fn acts(&mut self, talk: usize, client: bool) {
        if !self.lives(talk, client) {
            return;
        }
        let t = &mut self.talks[talk];
        let closes = (t.closer == Role::Client) == client || !client && self.behavior.hasty_server;
        let peer = &mut t.peers[usize::from(!client)];
        match (client, peer.state) {
            (true, SimState::Closed) => {
                peer.state = SimState::SynSent;
                peer.next = 1;
                self.send(talk, true, Flags::SYN, 0, 0);
                self.arm(talk, true, SECOND);
            }
            (true, SimState::Established) if t.requests > 0 => {
                t.requests -= 1;
                peer.queue.push_back((120, false));
                self.push(talk, true);
            }
            (_, SimState::Established) if closes && !peer.closed => {
                peer.closed = true;
                peer.queue.push_back((0, true));
                self.push(talk, client);
            }
            _ => {}
        }
    }

    fn timer(&mut self, talk: usize, client: bool, epoch: u32) {
        if !self.lives(talk, client) {
            return;
        }
        let (linear, defer) = (self.conditions.linear_syn, self.behavior.defer);
        let peer = &mut self.talks[talk].peers[usize::from(!client)];
        if peer.epoch != epoch {
            return;
        }
        peer.tries += 1;
        let (tries, wait) = (peer.tries, peer.wait);
        match peer.state {
            SimState::SynSent if tries <= 6 => {
                self.send(talk, true, Flags::SYN, 0, 0);
                self.arm(talk, true, if linear && tries <= 4 { SECOND } else { wait * 2 });
            }
            SimState::SynReceived if tries <= 5 => {
                // With `TCP_DEFER_ACCEPT` the SYN-ACK is repeated only at the last timeout (`syn_ack_recalc`).
                if !peer.put_off || tries >= defer {
                    self.send(talk, false, Flags::SYN | Flags::ACK, 0, 0);
                }
                self.arm(talk, false, wait * 2);
            }
            SimState::Established => {
                if let Some(f) = peer.unacked
                    && tries <= 10
                {
                    self.send(talk, client, f.flags, f.seq, f.bytes);
                    self.arm(talk, client, wait * 2);
                }
            }
            _ => {}
        }
    }

    fn arrives(&mut self, talk: usize, client: bool, f: SimSegment) {
        if !self.lives(talk, client) {
            return;
        }
        let own = usize::from(!client);
        let defer = self.behavior.defer;
        let now = self.now;
        let peer = &mut self.talks[talk].peers[own];
        let syn = f.flags.has(Flags::SYN);
        let stray = !syn && f.base != peer.base;
        if f.flags.has(Flags::RST) {
            match peer.state {
                SimState::SynReceived => *peer = Peer { base: peer.base, ..Peer::default() },
                SimState::Established | SimState::SynSent if !stray => peer.state = SimState::Gone,
                _ => {}
            }
            return;
        }
        match peer.state {
            SimState::Closed | SimState::Gone if syn && !client => {
                *peer = Peer { base: peer.base, born: now, ..Peer::default() };
                (peer.state, peer.next, peer.received, peer.recent) = (SimState::SynReceived, 1, 1, f.tsval);
                self.send(talk, false, Flags::SYN | Flags::ACK, 0, 0);
                self.arm(talk, false, SECOND);
            }
            SimState::SynReceived if syn => {
                // At most one answer in 500 ms (`tcp_check_req`); the timer starts anew, as long as it was.
                if peer.challenged.is_none_or(|last| now - last >= SECOND / 2) {
                    peer.challenged = Some(now);
                    let wait = peer.wait;
                    self.send(talk, false, Flags::SYN | Flags::ACK, 0, 0);
                    self.arm(talk, false, wait);
                }
            }
            SimState::SynSent if syn => {
                (peer.state, peer.received, peer.recent) = (SimState::Established, 1, f.tsval);
                (peer.epoch, peer.tries, peer.base) = (peer.epoch + 1, 0, f.base);
                self.acknowledge(talk, true);
                if self.behavior.keepalive > 0 {
                    self.at(now + u64::from(self.behavior.keepalive) * SECOND, SimEvent::Probes(talk));
                }
                let think = self.talks[talk].think;
                self.at(now + think, SimEvent::Acts(talk, true));
            }
            SimState::Established if syn => {
                if peer.challenged.is_none_or(|last| now - last >= SECOND / 2) {
                    peer.challenged = Some(now);
                    self.acknowledge(talk, client);
                }
            }
            SimState::SynReceived | SimState::Established if stray => self.refuse(talk, client, f),
            SimState::SynReceived if f.bytes == 0 && !f.flags.has(Flags::FIN) && peer.tries < defer => {
                peer.put_off = true;
            }
            SimState::SynReceived => {
                (peer.state, peer.epoch, peer.tries) = (SimState::Established, peer.epoch + 1, 0);
                self.takes(talk, client, f);
                if self.behavior.hasty_server {
                    self.at(now + 200, SimEvent::Acts(talk, false));
                }
            }
            SimState::Established => self.takes(talk, client, f),
            SimState::Closed if !client && !syn => self.refuse(talk, client, f),
            SimState::Gone => self.refuse(talk, client, f),
            SimState::Closed | SimState::SynSent | SimState::Over => {}
        }
    }

    /// A segment of an established connection.
    fn takes(&mut self, talk: usize, client: bool, f: SimSegment) {
        let own = usize::from(!client);
        let now = self.now;
        let think = self.talks[talk].think;
        let answers = u64::from(self.any(40)) * 1_000;
        let peer = &mut self.talks[talk].peers[own];
        if let Some(sent) = peer.unacked
            && f.ack == sent.seq + sent.bytes + u32::from(sent.flags.has(Flags::FIN))
        {
            peer.unacked = None;
            peer.epoch += 1;
        }
        let fin = f.flags.has(Flags::FIN);
        let delays = self.behavior.delayed_acks;
        let length = f.bytes + u32::from(fin);
        if length > 0 {
            let new = f.seq == peer.received;
            if new {
                peer.received += length;
                peer.recent = f.tsval;
                peer.finished |= fin;
            }
            if delays && new && !fin {
                self.at(now + 40_000, SimEvent::DelayedAck(talk, client));
            } else {
                self.acknowledge(talk, client);
            }
            let peer = &mut self.talks[talk].peers[own];
            if new && fin && !peer.closed {
                peer.closed = true;
                peer.queue.push_back((0, true));
            } else if new && f.bytes > 0 && !client && delays {
                self.at(now + answers * 6, SimEvent::Answers(talk));
            } else if new && f.bytes > 0 && !client {
                peer.queue.push_back((800, false));
            }
            if new && f.bytes > 0 && client {
                self.at(now + think, SimEvent::Acts(talk, true));
            } else if new && f.bytes > 0 && self.talks[talk].requests == 0 {
                self.at(now + answers + 3 * SECOND, SimEvent::Acts(talk, false));
            }
        } else if f.seq == peer.received {
            peer.recent = f.tsval;
        } else if f.seq + 1 == peer.received {
            self.acknowledge(talk, client);
        }
        self.push(talk, client);
        if self.behavior.reuse && self.is_over(talk) {
            let after = 1_200_000 + u64::from(self.any(2_000)) * 1_000;
            self.at(now + after, SimEvent::Reuses(talk));
        }
    }
}
