//! What to keep of a connection that is over: most are unremarkable, and only counted.

use std::collections::HashMap;

use crate::decode::segment::{Address, Options, PacketId, Traits};
use crate::detect::listener::Listener;
use crate::detect::peers::Peers;
use crate::detect::surroundings::Stretch;
use crate::flow::facts::{ConnectionFacts, Mark, Roles};
use crate::flow::key::Host;
use crate::time::{Span, Timestamp};

/// Handshakes per server host from which the vantage is inferred.
const SAMPLES: usize = 64;
/// A connection that waited this long for the application's first payload is worth knowing.
const WAITED: Span = Span::secs(1);

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
}

impl Quality {
    /// Adds up two.
    pub fn add(&mut self, other: &Quality) {
        self.connections += other.connections;
        self.one_sided += other.one_sided;
        self.deaf += other.deaf;
        self.only_syns += other.only_syns;
        self.only_handshakes += other.only_handshakes;
        self.unseen += other.unseen;
        self.duplicates += other.duplicates;
        self.replayed += other.replayed;
        self.mid_stream += other.mid_stream;
    }
}

/// Keeps the connections that a detector may want, and the history of every listener.
#[derive(Default)]
pub struct Screen {
    /// Facts of connections worth a second look.
    pub kept: Vec<ConnectionFacts>,
    /// How many more there would have been.
    pub given_up: u64,
    /// How many may be kept.
    limit: usize,
    half_close_after: Span,
    /// By listener.
    pub listeners: HashMap<Host, Listener>,
    /// By server address.
    pub samples: HashMap<Address, Vec<Sample>>,
    /// Trust in the capture.
    pub quality: Quality,
    /// Stretches of a second or longer in which a completed connection waited for the application's first payload.
    pub waits: Vec<(Host, Stretch)>,
    /// Condemned connections that are over: the SYN that was answered, and whether otherwise than by SYN-ACK.
    settled: Vec<(PacketId, Option<Mark>, bool)>,
}

impl Screen {
    /// A screen that keeps at most `limit` connections.
    pub fn new(limit: usize, half_close_after: Span) -> Screen {
        Screen { limit, half_close_after, ..Screen::default() }
    }

    /// Takes in a connection that is over; `end` is the last packet of the capture, once it is over, `peers` knows the SYNs under suspicion.
    pub fn take(&mut self, f: ConnectionFacts, end: Timestamp, peers: &Peers) {
        self.note_quality(&f);
        if f.roles != Roles::Guessed {
            self.listeners.entry(f.server).or_default().take(&f, end.min(f.watched));
            self.note_sample(&f);
            self.note_wait(&f);
        }
        let condemned = peers.is_condemned(f.first.packet);
        if condemned {
            let answered = f.answered_syn().map(|syn| syn.at);
            let otherwise =
                f.syn_ack.count == 0 && (f.s.resets > 0 || f.ack_to_syn.is_some() || f.icmp.is_some());
            self.settled.push((f.first.packet, answered, otherwise));
        }
        if self.is_remarkable(&f) {
            if self.kept.len() < self.limit {
                self.kept.push(f);
            } else {
                self.given_up += 1;
            }
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
        q.unseen += u64::from(f.c.unseen) + u64::from(f.s.unseen);
        q.duplicates += u64::from(f.duplicates);
        q.replayed += u64::from(f.replayed);
        q.mid_stream += u64::from(f.mid_stream);
        let only_syns = f.s.segments == 0 && f.c.segments == f.syn.count;
        q.only_syns += u64::from(only_syns);
        q.only_handshakes += u64::from(f.c.segments == f.syn.count && f.s.segments == f.syn_ack.count);
        q.deaf +=
            u64::from(f.s.segments == 0 && !only_syns && f.c.segments > f.syn.count + u32::from(f.c.resets));
        let answered = f.c.acked_known || f.s.acked_known;
        q.one_sided += u64::from(!f.both_seen() && answered);
    }

    fn note_wait(&mut self, f: &ConnectionFacts) {
        // A client that has asked for nothing waits for nothing.
        let (Some(ack), Some(_)) = (f.final_ack, f.c.first_data) else { return };
        let to = f.served().or(f.closed).unwrap_or(f.watched);
        if to - ack.at.time >= WAITED && self.waits.len() < self.limit {
            self.waits.push((f.server, Stretch { from: ack.at.time, to }));
        }
    }

    fn note_sample(&mut self, f: &ConnectionFacts) {
        let (Some(ack), 1, 1) = (f.final_ack, f.syn.count, f.syn_ack.count) else { return };
        let (Some(a), Some(b)) = (f.syn_to_syn_ack(), f.syn_ack_to_ack()) else { return };
        if !ack.bare && f.c.first_data.is_none_or(|data| data != ack.at) {
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
