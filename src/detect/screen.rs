//! What to keep of a connection that is over: most are unremarkable, and only counted.

use crate::decode::segment::{Address, Options, PacketId, Traits};
use crate::detect::listener::Listener;
use crate::detect::peers::Peers;
use crate::detect::reading::Readings;
use crate::detect::scene::Embryo;
use crate::detect::surroundings::{Stretch, Unserved};
use crate::flow::facts::{ConnectionFacts, Mark, Roles, Side};
use crate::flow::key::{Host, Map};
use crate::time::{Span, Timestamp};

/// Handshakes per server host from which the vantage is inferred.
pub const SAMPLES: usize = 64;
/// A connection that waited this long for the application's first payload is worth knowing.
const WAITED: Span = Span::secs(1);
/// A kernel that has a connection acknowledges what comes on it within this (`TCP_DELACK_MAX`), and a round trip.
const DELAYED_ACK: Span = Span::millis(500);

/// A clean handshake as the capture point saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// When: samples are kept in order of time.
    pub at: Mark,
    /// From SYN to SYN-ACK.
    pub syn_to_syn_ack: Span,
    /// From SYN-ACK to final ACK.
    pub syn_ack_to_ack: Span,
    /// TTL of the SYN.
    pub client_ttl: u8,
    /// TTL of the SYN-ACK.
    pub server_ttl: u8,
    /// Traits of the client's segments, all together.
    pub client_traits: Traits,
    /// Traits of the server's segments, all together.
    pub server_traits: Traits,
}

/// Losses of the capture itself, and what else lowers trust in it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Quality {
    /// Connections.
    pub connections: u64,
    /// Segments of them, copies not counted.
    pub segments: u64,
    /// Connections of which only one direction was captured although the other must have sent.
    pub one_sided: u64,
    /// Connections whose client went on without a segment of the server in the capture: its direction is missing.
    pub deaf: u64,
    /// Connections of which nothing but SYNs was captured.
    pub only_syns: u64,
    /// Connections of which nothing but SYNs and SYN-ACKs was captured.
    pub only_handshakes: u64,
    /// Acknowledgments of octets that the capture does not hold.
    pub unseen: u64,
    /// Copies of packets.
    pub duplicates: u64,
    /// Packets of stretches captured twice.
    pub replayed: u64,
    /// Connections joined in the middle.
    pub mid_stream: u64,
    /// Connections on which the segments of one end came with several TTLs.
    pub several_ttls: u64,
}

impl Quality {
    /// Adds up two.
    pub fn add(&mut self, other: &Quality) {
        self.connections += other.connections;
        self.segments += other.segments;
        self.one_sided += other.one_sided;
        self.deaf += other.deaf;
        self.only_syns += other.only_syns;
        self.only_handshakes += other.only_handshakes;
        self.unseen += other.unseen;
        self.duplicates += other.duplicates;
        self.replayed += other.replayed;
        self.mid_stream += other.mid_stream;
        self.several_ttls += other.several_ttls;
    }
}

/// Keeps the connections that a detector may want, and the history of every listener.
#[derive(Clone, Default)]
pub struct Screen {
    /// Facts of connections worth a second look.
    kept: Vec<(Class, ConnectionFacts)>,
    /// How many of each class are in `kept`.
    held: Map<Class, u32>,
    /// How many of one class may be.
    quota: u32,
    /// How many more there would have been.
    pub given_up: u64,
    /// How many may be kept.
    limit: usize,
    /// Handshakes that were never completed and are not in `kept`.
    pub embryos: Vec<Embryo>,
    /// Those that were not kept for want of room, by listener.
    pub surplus: Map<Host, u64>,
    /// How many embryos may be kept.
    most_embryos: usize,
    /// Lone SYNs of which it is not known yet whether they are under suspicion.
    doubtful: Vec<(Embryo, ConnectionFacts)>,
    half_close_after: Span,
    /// By listener.
    pub listeners: Map<Host, Listener>,
    /// By server address.
    pub samples: Map<Address, Vec<Sample>>,
    /// Trust in the capture.
    pub quality: Quality,
    /// Stretches of a second or longer in which a completed connection waited for the application's first payload.
    pub waits: Vec<Unserved>,
    /// Clocks and timers of hosts.
    pub readings: Readings,
    /// Connections that are over and may be under suspicion: the SYN that was answered, and whether otherwise than by
    /// SYN-ACK.
    settled: Vec<(PacketId, Option<Mark>, bool)>,
    /// Of how many listeners and servers anything is known; 0 for all.
    most_listeners: usize,
}

/// What makes a connection remarkable, roughly: there may be very many of one kind at one listener.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Class {
    server: Host,
    what: u8,
}

impl Class {
    /// The class of a remarkable connection.
    fn of(f: &ConnectionFacts) -> Class {
        let refused = f.s.resets > 0;
        let what = match f.final_ack {
            None if refused || f.icmp.is_some() => 0,
            None if f.syn.count > 1 => 1,
            None => 2,
            Some(_) if refused && f.progress.is_none() => 3,
            Some(_) if f.unanswered.retransmits > 0 || f.syn_ack.count > 1 => 4,
            Some(_) if f.syn.count > 1 => 5,
            Some(_) if f.c.resets + f.s.resets > 0 => 6,
            Some(_) => 7,
        };
        Class { server: f.server, what }
    }
}

/// Of the remarkable connections of `all` those that are examined one by one: all of them, or of each class the first
/// so many that they are no more than `limit` together. Says how many were left out.
pub fn choose(all: &mut Vec<(Class, ConnectionFacts)>, limit: usize) -> u64 {
    all.sort_unstable_by_key(|(_, f)| (f.first, f.client, f.server));
    let mut counts: Map<Class, usize> = Map::default();
    for (class, _) in all.iter() {
        *counts.entry(*class).or_default() += 1;
    }
    let fits = |quota: usize| counts.values().map(|n| (*n).min(quota)).sum::<usize>() <= limit;
    let (mut low, mut high) = (1, all.len());
    while low < high {
        let middle = (low + high).div_ceil(2);
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    let (before, quota) = (all.len(), low);
    counts.clear();
    all.retain(|(class, _)| {
        let n = counts.entry(*class).or_default();
        *n += 1;
        *n <= quota
    });
    (before - all.len()) as u64
}

impl Screen {
    /// A screen that keeps at most `limit` connections and `embryos` handshakes that were never completed.
    pub fn new(limit: usize, embryos: usize, half_close_after: Span) -> Screen {
        Screen { limit, quota: u32::MAX, most_embryos: embryos, half_close_after, ..Screen::default() }
    }

    /// The same with histories of at most `most` listeners: a scan makes one of every port.
    pub fn with_listeners(mut self, most: usize) -> Screen {
        self.most_listeners = most;
        self
    }

    /// Connections kept so far.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Moves out the connections kept.
    pub fn take_kept(&mut self) -> Vec<(Class, ConnectionFacts)> {
        std::mem::take(&mut self.kept)
    }

    /// Takes in a connection that is over; `end` is the last packet of the capture, once it is over; `peers` knows
    /// the SYNs under suspicion, if all SYNs so far were shown to it. If not, [`Screen::resolve`] comes later.
    pub fn take(&mut self, f: &ConnectionFacts, end: Timestamp, peers: Option<&Peers>) {
        self.note_quality(f);
        let full = self.most_listeners > 0
            && self.listeners.len() >= self.most_listeners
            && !self.listeners.contains_key(&f.server);
        if f.roles != Roles::Guessed && !full {
            self.listeners.entry(f.server).or_default().take(f, end.min(f.watched));
            self.note_sample(f);
            self.readings.take(f);
            self.note_wait(f);
        }
        if f.syn.count > 0 && peers.is_none_or(|peers| peers.is_condemned(f.first.packet)) {
            let answered = f.answered_syn().map(|syn| syn.at);
            let otherwise =
                f.syn_ack.count == 0 && (f.s.resets > 0 || f.ack_to_syn.is_some() || f.icmp.is_some());
            self.settled.push((f.first.packet, answered, otherwise));
        }
        if self.is_remarkable(f) {
            match Embryo::of(f) {
                // A lone SYN may have been dropped for its timestamp; an answered one was not.
                Some(embryo) if embryo.half_open.syn_acks == 0 => match peers {
                    None => self.doubtful.push((embryo, f.clone())),
                    Some(peers) => self.decide(embryo, f, peers),
                },
                Some(embryo) => self.keep_embryo(embryo),
                None => self.keep(f),
            }
        }
    }

    /// All SYNs so far were shown to `peers`: drops what it does not suspect.
    pub fn resolve(&mut self, peers: &Peers) {
        self.settled.retain(|(connection, ..)| peers.is_condemned(*connection));
        for (embryo, f) in std::mem::take(&mut self.doubtful) {
            self.decide(embryo, &f, peers);
        }
    }

    fn decide(&mut self, embryo: Embryo, f: &ConnectionFacts, peers: &Peers) {
        if peers.is_condemned(f.first.packet) { self.keep(f) } else { self.keep_embryo(embryo) }
    }

    fn keep_embryo(&mut self, embryo: Embryo) {
        if self.embryos.len() < self.most_embryos {
            self.embryos.push(embryo);
        } else {
            let full = self.most_listeners > 0 && self.surplus.len() >= self.most_listeners;
            let server = if full { Host::default() } else { embryo.server };
            *self.surplus.entry(server).or_default() += 1;
        }
    }

    fn keep(&mut self, f: &ConnectionFacts) {
        let class = Class::of(f);
        let held = self.held.entry(class).or_default();
        if *held >= self.quota {
            self.given_up += 1;
            return;
        }
        *held += 1;
        self.kept.push((class, f.clone()));
        if self.kept.len() > self.limit {
            self.thin_out();
        }
    }

    /// Halves what one class may have, until there is room again: the first of each class stay.
    fn thin_out(&mut self) {
        while self.kept.len() > self.limit / 2 && self.quota > 1 {
            let most = self.held.values().copied().max().unwrap_or(0);
            self.quota = (self.quota.min(most) / 2).max(1);
            self.held.clear();
            let (held, quota) = (&mut self.held, self.quota);
            let before = self.kept.len();
            self.kept.retain(|(class, _)| {
                let n = held.entry(*class).or_default();
                let stays = *n < quota;
                *n += u32::from(stays);
                stays
            });
            self.given_up += (before - self.kept.len()) as u64;
        }
        if self.kept.len() > self.limit {
            self.given_up += (self.kept.len() - self.limit) as u64;
            self.kept.truncate(self.limit);
        }
    }

    /// Moves out what became of connections under suspicion.
    pub fn drain_settled(&mut self) -> std::vec::Drain<'_, (PacketId, Option<Mark>, bool)> {
        self.settled.drain(..)
    }

    /// Whether some detector may want the connection. Wide rather than narrow: the detectors decide.
    fn is_remarkable(&self, f: &ConnectionFacts) -> bool {
        let handshake = f.syn.count > 1
            || f.syn_ack.count > 1
            || f.other_isns > 0
            || (f.syn.count > 0 && f.final_ack.is_none())
            || (f.final_ack.is_some() && f.progress.is_none())
            || f.unanswered.retransmits > 0
            || f.ack_to_syn.is_some()
            || f.icmp.is_some();
        handshake || f.c.resets + f.s.resets > 0 || self.is_half_closed(f) || is_peculiar(f)
    }

    /// Whether one side's FIN stood alone for as long as the user finds remarkable (or to the end).
    fn is_half_closed(&self, f: &ConnectionFacts) -> bool {
        let lone = |first: Option<Mark>, second: Option<Mark>| match (first, second) {
            (Some(a), Some(b)) => b.time - a.time >= self.half_close_after,
            (Some(_), None) => true,
            _ => false,
        };
        let lonely = match (f.c.fin, f.s.fin) {
            (Some(c), Some(s)) if s < c => lone(Some(s), Some(c)),
            (None, Some(s)) => lone(Some(s), None),
            (c, s) => lone(c, s),
        };
        lonely || f.c.fins > 1 || f.s.fins > 1
    }

    fn note_quality(&mut self, f: &ConnectionFacts) {
        let q = &mut self.quality;
        q.connections += 1;
        q.segments += u64::from(f.c.segments) + u64::from(f.s.segments);
        q.unseen += u64::from(f.c.unseen) + u64::from(f.s.unseen);
        q.duplicates += u64::from(f.duplicates);
        q.replayed += u64::from(f.replayed);
        q.mid_stream += u64::from(f.mid_stream);
        // A RST may come from a box in between, or from the host itself: it starts from a TTL of its own.
        let several = |side: &Side| side.ttl.0 != side.ttl.1 && side.resets == 0;
        q.several_ttls += u64::from(several(&f.c) || several(&f.s));
        let only_syns = f.s.segments == 0 && f.c.segments == f.syn.count;
        q.only_syns += u64::from(only_syns);
        q.only_handshakes += u64::from(f.c.segments == f.syn.count && f.s.segments == f.syn_ack.count);
        q.deaf +=
            u64::from(f.s.segments == 0 && !only_syns && f.c.segments > f.syn.count + u32::from(f.c.resets));
        let answered = f.c.acked_known || f.s.acked_known;
        q.one_sided += u64::from(!f.both_seen() && answered);
    }

    fn note_wait(&mut self, f: &ConnectionFacts) {
        let Some(ack) = f.final_ack else { return };
        // A question that the server's kernel does not acknowledge waits for the path, or the connection is stuck.
        let asked = f.c.first_data.map(|at| at.time);
        let from = match (asked, f.progress) {
            (None, _) => ack.at.time,
            (Some(_), None) => return,
            (Some(asked), Some(progress)) if progress.at.time - asked <= DELAYED_ACK => ack.at.time,
            (Some(_), Some(progress)) => progress.at.time,
        };
        let asked = asked.is_some();
        let to = f.served().or(f.closed).unwrap_or(f.watched);
        if to - from >= WAITED && self.waits.len() < self.limit {
            let stretch = Stretch { from, to };
            self.waits.push(Unserved { server: f.server, stretch, client: f.client.address, asked });
        }
    }

    fn note_sample(&mut self, f: &ConnectionFacts) {
        let (Some(ack), 1, 1) = (f.final_ack, f.syn.count, f.syn_ack.count) else { return };
        let (Some(a), Some(b)) = (f.syn_to_syn_ack(), f.syn_ack_to_ack()) else { return };
        if !ack.bare && f.c.first_data.is_none_or(|data| data != ack.at) {
            return;
        }
        let full = self.most_listeners > 0 && self.samples.len() >= self.most_listeners;
        if full && !self.samples.contains_key(&f.server.address) {
            return;
        }
        let samples = self.samples.entry(f.server.address).or_default();
        if samples.len() < SAMPLES {
            samples.push(Sample {
                at: f.first,
                syn_to_syn_ack: a,
                syn_ack_to_ack: b,
                client_ttl: f.syn_offer.ttl,
                server_ttl: f.syn_ack_offer.ttl,
                client_traits: f.c.traits,
                server_traits: f.s.traits,
            });
        }
    }
}

/// Fast Open, a SYN-ACK without the options that the SYN offered, a four-tuple used again.
fn is_peculiar(f: &ConnectionFacts) -> bool {
    let fast_open = f.syn_offer.options.any(Options::FAST_OPEN_REQUEST | Options::FAST_OPEN_COOKIE);
    let offered = Options::SACK_PERMITTED | Options::WINDOW_SCALE;
    let stripped =
        f.syn_ack.count > 0 && f.syn_offer.options.any(offered) && !f.syn_ack_offer.options.any(offered);
    fast_open || stripped || f.previous.is_some()
}
