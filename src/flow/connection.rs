//! One incarnation of a four-tuple: a segment goes in, changed facts come out.
//!
//! We are an observer: the state is what the capture proves about each end, not the socket's state. No clock, no
//! input or output, no judgement. A segment is first checked for being a copy of one just seen, then read by its
//! control bits, one function each.

mod joined;

use crate::decode::segment::{Flags, Options, Segment, Traits};
use crate::flow::facts::{
    ConnectionFacts, FinalAck, Flight, Healed, IcmpError, Offer, PacketRef, Pause, Previous, Probing, Reset,
    Role, Roles, Sent, ServerProgress, Side, Trigger, Usual, What, ZeroWindow,
};
use crate::flow::key::{Direction, FlowKey};
use crate::seq::Seq;
use crate::time::{Span, Timestamp};

/// A copy with the same IPv4 identification counts as one within this time: both sides of a router, a slow mirror.
/// Linux gives a retransmission a new identification, so a real one is never caught.
const COPY_WITH_IP_ID: Span = Span::millis(1_000);
/// Without an identification (IPv6, or DF with 0) the same TSval must do. The kernel answers no SYN twice within
/// 500 ms (`tcp_check_req`), and its timestamp clock ticks at least every 10 ms, so a copy is much nearer.
const COPY_WITH_TIMESTAMP: Span = Span::millis(50);
/// Without either only packets this near are copies.
const COPY_BARE: Span = Span::millis(5);
/// A capture that was joined to itself starts again this much earlier, or more.
const JOINED: Span = Span::secs(1);
/// A segment that comes this soon after its acknowledgment was before it on the wire: the capture changed the order.
const OUT_OF_ORDER: Span = Span::millis(5);

/// A SYN is not sent again after so long a silence (`TCP_RTO_MAX` is 120 s): a capture follows that holds the connection
/// a second time.
const LAST_SYN: Span = Span::secs(300);
/// A retransmission comes no sooner than this after the first transmission: TLP and RTO are 200 ms and up, and fast
/// retransmissions need acknowledgments, which an ignored client does not get.
const RETRANSMIT_AFTER: Span = Span::millis(50);
/// A silence of both ends that is worth noting: boxes on the path forget connections after such ones, if longer.
const PAUSE: Span = Span::secs(1);
/// An end that is silent for longer than this gives no sign of life meanwhile.
const SILENCE: Span = Span::secs(1);

/// How long after a segment with this IPv4 identification, with timestamps or without, a copy of it may come.
#[inline]
pub(super) fn copies_come_within(s: &Segment) -> Span {
    if s.ip_id != 0 {
        COPY_WITH_IP_ID
    } else if s.options.has(Options::TIMESTAMPS) {
        COPY_WITH_TIMESTAMP
    } else {
        COPY_BARE
    }
}

/// Enough of a segment to recognise its copy.
#[inline]
fn fingerprint(s: &Segment) -> u32 {
    let mut h = (u64::from(s.seq.0) << 32 | u64::from(s.ack.0)) ^ 0x9e37_79b9_7f4a_7c15;
    h = h.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ (h >> 29);
    h ^= u64::from(s.tsval) << 32 | u64::from(s.tsecr);
    h = h.wrapping_mul(0xa076_1d64_78bd_642f) ^ (h >> 31);
    h ^= u64::from(s.payload) << 40
        | u64::from(s.window) << 24
        | u64::from(s.flags.0) << 16
        | u64::from(s.ip_id);
    h = h.wrapping_mul(0xe703_7ed1_a0b4_28db);
    (h >> 32) as u32
}

/// The last few segments of one direction.
#[derive(Clone, Copy, Default, Debug)]
struct Recent {
    prints: [u32; 4],
    times: [Timestamp; 4],
    next: u8,
}

impl Recent {
    /// Whether `s` is a copy of one of the last segments; if not, remembers it.
    #[inline]
    fn is_copy(&mut self, s: &Segment) -> bool {
        let print = fingerprint(s);
        if self.prints.contains(&print) {
            let within = copies_come_within(s);
            let near = |(seen, at): (&u32, &Timestamp)| *seen == print && (s.time - *at).0.abs() <= within.0;
            if self.prints.iter().zip(&self.times).any(near) {
                return true;
            }
        }
        let place = usize::from(self.next & 3);
        (self.prints[place], self.times[place]) = (print, s.time);
        self.next = self.next.wrapping_add(1);
        false
    }
}

/// A connection being followed.
#[derive(Debug)]
pub struct Connection {
    /// What was seen of it.
    pub facts: ConnectionFacts,
    /// Which end of the key the client is.
    client_is: Direction,
    recent: [Recent; 2],
    /// The last segment of each end, for [`Trigger`].
    latest: [Option<Trigger>; 2],
    /// When the highest byte of each end was first sent.
    sent_at: [Timestamp; 2],
    /// The whole connection came a second time, earlier: nothing of it is news.
    replay: bool,
}

impl Connection {
    /// Begins with the first segment seen of a four-tuple.
    pub fn begin(key: FlowKey, from: Direction, s: &Segment, previous: Option<Previous>) -> Connection {
        let (client_is, roles) = if s.flags.has(Flags::SYN | Flags::ACK) {
            (from.reverse(), Roles::BySynAck)
        } else if s.flags.has(Flags::SYN) {
            (from, Roles::BySyn)
        } else if key.sender(from).port >= key.sender(from.reverse()).port {
            (from, Roles::Guessed)
        } else {
            (from.reverse(), Roles::Guessed)
        };
        let facts = ConnectionFacts {
            client: key.sender(client_is),
            server: key.sender(client_is.reverse()),
            roles,
            first: PacketRef::of(s),
            last: PacketRef::of(s),
            mid_stream: roles == Roles::Guessed,
            previous: previous.map(Box::new),
            ..ConnectionFacts::default()
        };
        Connection {
            facts,
            client_is,
            recent: Default::default(),
            latest: [None; 2],
            sent_at: [s.time; 2],
            replay: false,
        }
    }

    /// The role of whoever sends in `direction`.
    #[inline]
    pub fn role(&self, direction: Direction) -> Role {
        if direction == self.client_is { Role::Client } else { Role::Server }
    }

    /// Whether `s` opens a new incarnation: a SYN of the client with another initial sequence number, or a SYN of
    /// either end where this connection was over or was only known from its middle.
    pub fn is_replaced_by(&self, s: &Segment, from: Direction) -> bool {
        if !s.flags.has(Flags::SYN) || s.flags.any(Flags::ACK | Flags::RST) || s.icmp().is_some() {
            return false;
        }
        let f = &self.facts;
        match self.role(from) {
            Role::Client if f.syn.count > 0 => s.seq != f.c.isn || s.time - f.last.time > LAST_SYN,
            // The SYN-ACK came first (the SYN was not captured, or is late): it acknowledges this SYN, or another.
            Role::Client if f.roles == Roles::BySynAck && !f.c.isn_known => s.seq.advance(1) != f.syn_ack_ack,
            Role::Client => true,
            // SYN from the other end: a simultaneous open while the handshake runs, a new connection otherwise.
            Role::Server => f.mid_stream || f.closed.is_some() || f.final_ack.is_some(),
        }
    }

    /// Which end of the key the client is.
    pub fn client_is(&self) -> Direction {
        self.client_is
    }

    /// The initial sequence number of a SYN that is this connection's own.
    pub fn own_isn(&self) -> Option<Seq> {
        let f = &self.facts;
        if f.syn.count > 0 {
            Some(f.c.isn)
        } else if f.roles == Roles::BySynAck && !f.c.isn_known {
            Some(Seq(f.syn_ack_ack.0.wrapping_sub(1)))
        } else {
            None
        }
    }

    /// What the next incarnation of the four-tuple should know of this one.
    pub fn as_previous(&self) -> Previous {
        let f = &self.facts;
        Previous {
            last: f.last,
            client_next: f.c.next,
            server_next: f.s.next,
            closed: f.closed.is_some(),
            first_fin: match (f.c.fin, f.s.fin) {
                (Some(c), Some(s)) if c <= s => Some(Role::Client),
                (_, Some(_)) => Some(Role::Server),
                (Some(_), None) => Some(Role::Client),
                (None, None) => None,
            },
            client_tsval: f.c.tsval,
        }
    }

    /// Takes in one segment of this four-tuple.
    ///
    /// Returns `false` when it was a copy of one seen before and changed nothing but the count of copies.
    pub fn segment(&mut self, s: &Segment, from: Direction) -> bool {
        let role = self.role(from);
        if s.icmp().is_some() {
            self.on_icmp_error(s, role);
            return true;
        }
        if self.recent[role as usize].is_copy(s) && !self.may_be_another_reset(s) {
            self.facts.duplicates += 1;
            return false;
        }
        if s.time < self.facts.last.time && self.is_replayed(s, role) {
            self.facts.replayed += 1;
            return false;
        }
        if s.flags.has(Flags::SYN) && self.is_late_copy(s, role) {
            self.facts.duplicates += 1;
            return false;
        }
        let before = s.flags.has(Flags::RST).then(|| usual(self.facts.side(role)));
        self.note_sender(s, role);
        let what = if let Some(before) = before {
            self.on_reset(s, role, before)
        } else if s.flags.has(Flags::SYN | Flags::ACK) {
            self.on_syn_ack(s, role)
        } else if s.flags.has(Flags::SYN) {
            self.on_syn(s, role)
        } else if self.is_about_an_older_one(s, role) {
            self.on_ack_to_syn(s)
        } else {
            self.on_segment(s, role)
        };
        if self.facts.idle.is_some() || s.time - self.facts.last.time >= PAUSE {
            self.note_pause(s, role, what);
        }
        if what != What::Reset && self.facts.side(role).resets > 0 {
            self.note_going_on(s, role);
        }
        self.latest[role as usize] = Some(Trigger { at: PacketRef::of(s), what, ack: s.ack, tos: s.tos });
        if s.time >= self.facts.last.time {
            self.facts.last = PacketRef::of(s);
        }
        true
    }

    /// Whether a RST that is equal to one before may have been sent for itself: a host without a socket answers each of
    /// several segments by the same RST, with IPv4 identification 0 (`tcp_v4_send_reset`). Where other segments of the
    /// connection were captured twice, it is a copy like them.
    fn may_be_another_reset(&self, s: &Segment) -> bool {
        s.flags.has(Flags::RST)
            && s.ip_id == 0
            && !s.options.has(Options::TIMESTAMPS)
            && self.facts.duplicates == 0
    }

    /// A SYN or SYN-ACK with the timestamp and IP ID of one before: whoever sends again has a later clock. Two captures
    /// of different places joined in one file, by clocks that differ, hold such copies seconds apart.
    fn is_late_copy(&self, s: &Segment, role: Role) -> bool {
        let (sent, isn) = match role {
            Role::Client => (&self.facts.syn, self.facts.c.isn),
            Role::Server => (&self.facts.syn_ack, self.facts.s.isn),
        };
        let same = |x: &Sent| (x.tsval, x.tsecr, x.ip_id) == (s.tsval, s.tsecr, s.ip_id);
        s.options.has(Options::TIMESTAMPS) && s.tsval != 0 && s.seq == isn && sent.iter().any(same)
    }

    /// A SYN with our initial sequence number, well before the last packet: the capture was joined to itself. From
    /// then on whatever is not later than what we have is old news.
    fn is_replayed(&mut self, s: &Segment, role: Role) -> bool {
        let back = self.facts.last.time - s.time;
        if role == Role::Client && s.flags.has(Flags::SYN) && back >= JOINED && self.facts.syn.count > 0 {
            self.replay = true;
        }
        self.replay
    }

    /// Counters and header values that every segment carries.
    #[inline]
    fn note_sender(&mut self, s: &Segment, role: Role) {
        let side = self.facts.side_mut(role);
        side.ttl = match side.segments {
            0 => {
                side.first = s.time;
                (s.ttl, s.ttl)
            }
            _ => (side.ttl.0.min(s.ttl), side.ttl.1.max(s.ttl)),
        };
        if side.segments > 0 && s.time - side.last.time > SILENCE {
            side.record_silence(s.time);
        }
        side.segments = side.segments.saturating_add(1);
        side.traits.set(s.traits.0);
        side.last = PacketRef::of(s);
        if s.ip_id != 0 {
            match s.ip_id.wrapping_sub(side.last_ip_id) {
                1 => side.ip_ids.0 = side.ip_ids.0.saturating_add(1),
                2..=8 if side.last_ip_id != 0 => side.ip_ids.1 = side.ip_ids.1.saturating_add(1),
                _ => {}
            }
        }
        // The IP ID before this segment is still needed by `on_client_ack`: it is moved on in `moved_ip_id`.
    }

    /// Hole in the sender's IP IDs just before `s`, then moves on.
    #[inline]
    fn moved_ip_id(side: &mut Side, s: &Segment) -> u8 {
        if s.ip_id == 0 {
            return 0;
        }
        let before = std::mem::replace(&mut side.last_ip_id, s.ip_id);
        match s.ip_id.wrapping_sub(before) {
            gap @ 2..=8 if before != 0 => (gap - 1) as u8,
            _ => 0,
        }
    }

    /// The client asks (or repeats its question).
    fn on_syn(&mut self, s: &Segment, role: Role) -> What {
        let asks_fast_open = s.options.any(Options::FAST_OPEN_REQUEST | Options::FAST_OPEN_COOKIE);
        let fast_open = s.payload > 0 || asks_fast_open;
        let no_attempt = s.flags.has(Flags::FIN)
            || (s.payload > 0 && !asks_fast_open && !s.traits.has(Traits::OPTIONS_CUT));
        let context = self.context()
            | if fast_open { Sent::FAST_OPEN } else { 0 }
            | if no_attempt { Sent::NO_ATTEMPT } else { 0 };
        let f = &mut self.facts;
        if role == Role::Server {
            // SYN from both ends: simultaneous open or a split handshake (RFC 9293 3.5). Followed, not diagnosed.
            f.odd_handshake = true;
            Self::learn_isn(&mut f.s, s);
            Self::moved_ip_id(&mut f.s, s);
            return What::Syn;
        }
        if f.syn.count == 0 {
            let answered_before = f.syn_ack.count > 0 && s.time - f.last.time <= OUT_OF_ORDER;
            f.reordered = f.reordered.saturating_add(u16::from(answered_before));
            f.syn_offer = offer(s);
            f.roles = Roles::BySyn;
            Self::learn_isn(&mut f.c, s);
        }
        Self::moved_ip_id(&mut f.c, s);
        f.c.tsval = s.timestamp();
        f.syn.push(Sent {
            at: PacketRef::of(s),
            tsval: s.tsval,
            tsecr: s.tsecr,
            context,
            syns: f.syn.count.min(255) as u8,
            ip_id: s.ip_id,
        });
        What::Syn
    }

    /// The server answers (or repeats its answer).
    fn on_syn_ack(&mut self, s: &Segment, role: Role) -> What {
        let role = if self.joins_handshake(s, role) {
            self.adopt_syn_ack(s, role);
            Role::Server
        } else {
            role
        };
        let context = self.context();
        let f = &mut self.facts;
        if role == Role::Client {
            // SYN-ACK from the end that we hold for the client: simultaneous open, or a four-way handshake.
            f.odd_handshake = true;
            Self::learn_isn(&mut f.c, s);
            Self::moved_ip_id(&mut f.c, s);
            return What::SynAck;
        }
        if f.syn_ack.count == 0 {
            let acknowledged_before =
                f.s.next_known && f.s.next == s.end() && s.time - f.last.time <= OUT_OF_ORDER;
            if acknowledged_before {
                f.reordered = f.reordered.saturating_add(1);
                if f.syn.count > 0 && f.final_ack.is_none() && f.c.last == f.last {
                    f.final_ack = Some(FinalAck {
                        at: f.c.last,
                        bare: f.c.first_data.is_none() && f.c.fin.is_none(),
                        traits: f.c.traits,
                        tsval: f.c.tsval.unwrap_or(0),
                        tsecr: s.tsval,
                        syn_acks: 1,
                        ip_id_hole: 0,
                    });
                }
            }
            f.syn_ack_offer = offer(s);
            f.syn_ack_ack = s.ack;
            if f.mid_stream {
                f.odd_handshake = true;
            }
            Self::learn_isn(&mut f.s, s);
            if !f.c.isn_known && f.syn.count == 0 {
                f.c.isn = Seq(s.ack.0.wrapping_sub(1));
                f.c.next = s.ack;
                f.c.next_known = true;
            }
        } else if s.seq != f.s.isn {
            f.other_isns = f.other_isns.saturating_add(1);
            if f.final_ack.is_none() {
                // The request was dropped and made anew: what is completed is the newest.
                f.s.isn = s.seq;
                f.s.next = s.end();
            }
        }
        if s.ack.after(f.c.next) || !f.c.next_known {
            // Fast Open: the SYN's payload is acknowledged.
            f.c.next = s.ack;
            f.c.next_known = true;
        }
        f.c.acked = s.ack;
        f.c.acked_known = true;
        Self::moved_ip_id(&mut f.s, s);
        f.s.tsval = s.timestamp();
        f.syn_ack.push(Sent {
            at: PacketRef::of(s),
            tsval: s.tsval,
            tsecr: s.tsecr,
            context,
            syns: f.syn.count.min(255) as u8,
            ip_id: s.ip_id,
        });
        What::SynAck
    }

    /// Anything without SYN and RST: acknowledgment, payload, FIN.
    #[inline]
    fn on_segment(&mut self, s: &Segment, role: Role) -> What {
        let f = &mut self.facts;
        let hole = Self::moved_ip_id(f.side_mut(role), s);
        if s.options.has(Options::TIMESTAMPS) {
            f.side_mut(role).tsval = Some(s.tsval);
        }
        let what = self.classify(s, role);
        if what == What::Ack && self.facts.side(role.peer()).keepalive == Some(self.facts.last) {
            self.note_answer_to_probe(s, role.peer());
        }
        if s.window == 0 || self.facts.side(role).zero_window.is_some() {
            self.note_zero_window(s, role);
        }
        if what == What::Retransmit {
            self.note_reordering(s, role);
        }
        self.note_stream(s, role, what);
        if s.flags.has(Flags::ACK) {
            self.note_acknowledgment(s, role);
        }
        match role {
            Role::Client => self.on_client(s, what, hole),
            Role::Server => self.on_server(s, what),
        }
        self.note_close(s);
        what
    }

    /// What the segment is to its sender's stream.
    #[inline]
    fn classify(&self, s: &Segment, role: Role) -> What {
        let side = self.facts.side(role);
        if s.flags.has(Flags::FIN) {
            What::Fin
        } else if s.payload > 0 {
            // A keepalive probe of other stacks carries one byte that is already acknowledged.
            if s.payload == 1
                && side.acked_known
                && side.acked == s.end()
                && side.next == s.end()
                && side.fin.is_none()
            {
                What::KeepAlive
            } else if side.next_known && !s.end().after(side.next) {
                What::Retransmit
            } else {
                What::Data
            }
        } else if side.next_known
            && side.acked_known
            && s.seq.advance(1) == side.next
            && side.acked == side.next
        {
            What::KeepAlive
        } else {
            What::Ack
        }
    }

    /// The keepalive probe of `prober`, the segment before this one, is answered.
    #[cold]
    fn note_answer_to_probe(&mut self, s: &Segment, prober: Role) {
        if let Some(probing) = &mut self.facts.side_mut(prober).probing {
            probing.answers = probing.answers.saturating_add(1);
            (probing.answered, probing.ip_id) = (PacketRef::of(s), s.ip_id);
        }
    }

    /// Payload that is behind its acknowledgment: was that captured first?
    #[cold]
    fn note_reordering(&mut self, s: &Segment, role: Role) {
        let side = self.facts.side_mut(role);
        if side.unseen > 0 && side.unseen_at.is_some_and(|at| s.time - at.time <= OUT_OF_ORDER) {
            // It is not missing.
            side.unseen -= 1;
            self.facts.reordered = self.facts.reordered.saturating_add(1);
        }
    }

    /// The sender's stream: bytes, payload, FIN, keepalive probes.
    #[inline]
    fn note_stream(&mut self, s: &Segment, role: Role, what: What) {
        let sent_at = &mut self.sent_at[role as usize];
        let last = self.facts.last.time;
        let peer_has_closed = self.facts.side(role.peer()).fin_acked;
        let side = self.facts.side_mut(role);
        if let Some(closed) = peer_has_closed
            && s.payload > 0
            && what != What::Retransmit
            && what != What::KeepAlive
        {
            if side.late_data.is_none() {
                side.late_seq = s.seq;
            }
            side.late_data.get_or_insert(PacketRef::of(s));
            let before = side.last_data.map_or(closed.time, |data| data.time.max(closed.time));
            side.late_pause = side.late_pause.max(s.time - before);
        }
        match what {
            What::Data => {
                note_flight(side, s, last);
                let new = if side.next_known { s.end().distance(side.next).max(0) as u32 } else { s.payload };
                side.bytes += u64::from(new.min(s.payload));
                side.data_segments = side.data_segments.saturating_add(1);
                side.first_data.get_or_insert(PacketRef::of(s));
                side.last_data = Some(PacketRef::of(s));
                *sent_at = s.time;
            }
            What::Retransmit => {
                side.retransmits = side.retransmits.saturating_add(1);
                note_repetition(side, s, last);
            }
            What::KeepAlive => {
                side.keepalive = Some(PacketRef::of(s));
                side.probing.get_or_insert_with(|| {
                    Box::new(Probing { first: PacketRef::of(s), ..Probing::default() })
                });
                side.keepalives = side.keepalives.saturating_add(1);
            }
            What::Fin => {
                if s.payload > 0 && (!side.next_known || s.seq.advance(s.payload).after(side.next)) {
                    side.bytes += u64::from(s.payload);
                    side.data_segments = side.data_segments.saturating_add(1);
                    side.first_data.get_or_insert(PacketRef::of(s));
                    side.last_data = Some(PacketRef::of(s));
                }
                if side.fin.is_none() {
                    note_flight(side, s, last);
                    side.fin = Some(PacketRef::of(s));
                    side.fin_seq = s.seq.advance(s.payload);
                    *sent_at = s.time;
                } else {
                    note_repetition(side, s, last);
                }
                side.fins = side.fins.saturating_add(1);
            }
            _ => {}
        }
        if !side.next_known || s.end().after(side.next) {
            side.next = s.end();
            side.next_known = true;
        }
    }

    /// What the segment says of the peer's stream.
    #[inline]
    fn note_acknowledgment(&mut self, s: &Segment, role: Role) {
        let closed = self.facts.side(role).fin_acked;
        let peer = self.facts.side_mut(role.peer());
        if !peer.next_known {
            // Mid-stream: the peer has sent at least this much.
            peer.next = s.ack;
            peer.next_known = true;
        } else if s.ack.after(peer.next) {
            // Acknowledges what the capture does not hold.
            if let Some(closed) = closed {
                let before =
                    peer.unseen_at.max(peer.last_data).map_or(closed.time, |at| at.time.max(closed.time));
                peer.late_pause = peer.late_pause.max(s.time - before);
            }
            peer.unseen = peer.unseen.saturating_add(1);
            peer.unseen_at = Some(PacketRef::of(s));
            peer.next = s.ack;
        }
        if !peer.acked_known || s.ack.after(peer.acked) {
            peer.acked = s.ack;
            peer.acked_known = true;
            if peer.flight.largest > peer.largest_acked && s.ack.at_or_after(peer.flight.largest_end) {
                peer.largest_acked = peer.flight.largest;
            }
            if peer.repeating.is_some() {
                note_healed(peer, s);
            }
        } else if s.options.has(Options::SACK) || peer.repeating.is_some() {
            note_same_acknowledgment(peer, s);
        }
        if peer.fin.is_some() && peer.fin_acked.is_none() && s.ack.after(peer.fin_seq) {
            peer.fin_acked = Some(PacketRef::of(s));
        }
    }

    /// The client's part of the handshake, and what it sends while the server keeps silent.
    #[inline]
    fn on_client(&mut self, s: &Segment, what: What, hole: u8) {
        let f = &mut self.facts;
        if f.syn_ack.count == 0 || f.progress.is_some() || f.s.resets > 0 {
            return;
        }
        if f.final_ack.is_none() {
            // RFC 9293 3.10.7.4, SYN-RECEIVED: the acknowledgment must cover the server's SYN and nothing unsent, and
            // the sequence number must be the one that the SYN-ACK asks for, or later.
            let acceptable = s.flags.has(Flags::ACK)
                && s.ack == f.s.isn.advance(1)
                && s.seq.at_or_after(f.syn_ack_ack)
                && s.seq.distance(f.syn_ack_ack) < 1 << 20
                && !is_damaged(s, f.c.traits);
            if acceptable {
                f.final_ack = Some(FinalAck {
                    at: PacketRef::of(s),
                    bare: what == What::Ack,
                    traits: s.traits,
                    tsval: s.tsval,
                    tsecr: s.tsecr,
                    syn_acks: f.syn_ack.count.min(255) as u8,
                    ip_id_hole: hole,
                });
            }
            return;
        }
        if let Some(ack) = f.final_ack.as_mut().filter(|ack| ack.tsecr == 0) {
            ack.tsecr = s.tsecr; // The capture began after the final ACK: this one echoes the same SYN-ACK.
        }
        let asked_again = f.syn_ack.count > u32::from(f.final_ack.map_or(0, |ack| ack.syn_acks));
        let u = &mut f.unanswered;
        if u.repeated_from.is_none() && (asked_again || what == What::Retransmit) {
            u.repeated_from = s.timestamp();
        }
        u.tsval = if u.tsval == 0 || (s.tsval.wrapping_sub(u.tsval) as i32) > 0 { s.tsval } else { u.tsval };
        match what {
            What::Ack | What::KeepAlive => {
                u.acks = u.acks.saturating_add(1);
                u.last_ack = PacketRef::of(s);
            }
            What::Retransmit | What::Fin | What::Data => {
                u.largest = u.largest.max(s.payload);
                // A FIN is sent again when it is not the first; payload when it brings nothing new.
                let again = what == What::Retransmit || (what == What::Fin && f.c.fins > 1);
                let gap = s.time
                    - if u.retransmits > 0 { u.last.time } else { self.sent_at[Role::Client as usize] };
                if again && (gap >= RETRANSMIT_AFTER || u.retransmits > 0) {
                    if u.retransmits == 0 {
                        u.first = PacketRef::of(s);
                    }
                    u.retransmits = u.retransmits.saturating_add(1);
                    u.last = PacketRef::of(s);
                }
            }
            What::Syn | What::SynAck | What::Reset => {}
        }
    }

    /// The server's first sign of life beyond the SYN-ACK, or its odd answer to the SYN.
    #[inline]
    fn on_server(&mut self, s: &Segment, what: What) {
        let f = &mut self.facts;
        if f.syn_ack.count == 0 {
            if what == What::Ack && self.only_asked() {
                self.on_ack_to_syn(s);
            }
            return;
        }
        if f.progress.is_none() && f.final_ack.is_some() && !is_of_request(f, s, what) {
            let after = self.latest[Role::Client as usize];
            f.progress = Some(ServerProgress {
                at: PacketRef::of(s),
                acked: s.ack.distance(f.c.isn.advance(1)).max(0) as u32,
                tsval: s.tsval,
                tsecr: s.tsecr,
                what,
                after: after.map_or(PacketRef::of(s), |t| t.at),
                after_what: after.map_or(What::Ack, |t| t.what),
            });
        }
    }

    /// Whether a server's segment answers the SYN with numbers that are not this connection's: a bare ACK, before any
    /// SYN-ACK, that does not acknowledge the SYN.
    #[inline]
    fn is_about_an_older_one(&self, s: &Segment, role: Role) -> bool {
        let f = &self.facts;
        f.syn_ack.count == 0
            && role == Role::Server
            && self.only_asked()
            && s.length() == 0
            && s.ack != f.c.isn.advance(1)
    }

    /// Whether the client has sent SYNs, and perhaps RSTs, but nothing by which it shows that it was answered.
    #[inline]
    fn only_asked(&self) -> bool {
        let f = &self.facts;
        f.syn.count > 0 && f.c.segments == f.syn.count + u32::from(f.c.resets)
    }

    /// Bare ACK in answer to a SYN: RFC 5961 section 4, or TIME_WAIT (`tcp_v4_timewait_ack`).
    fn on_ack_to_syn(&mut self, s: &Segment) -> What {
        let a = self.facts.ack_to_syn.get_or_insert_default();
        if a.count == 0 {
            (a.at, a.seq, a.ack) = (PacketRef::of(s), s.seq, s.ack);
        }
        a.count = a.count.saturating_add(1);
        What::Ack
    }

    /// RST: the end of it, if its sequence number is one that the receiver takes.
    fn on_reset(&mut self, s: &Segment, role: Role, before: Usual) -> What {
        let trigger = self.latest[role.peer() as usize];
        let f = &mut self.facts;
        let syn_sent = role == Role::Server && f.syn_ack.count == 0;
        // The client's answer to a bare ACK that was not for its SYN ends the older connection (RFC 9293 3.10.7.3).
        let for_older = role == Role::Client
            && f.ack_to_syn.as_ref().is_some_and(|a| a.ack == s.seq)
            && f.final_ack.is_none();
        let side = f.side_mut(role);
        Self::moved_ip_id(side, s);
        side.resets = side.resets.saturating_add(1);
        if side.reset.is_none() {
            side.reset = Some(Box::new(Reset {
                at: PacketRef::of(s),
                seq: s.seq,
                ack: s.ack,
                flags: s.flags,
                window: s.window,
                ip_id: s.ip_id,
                ttl: s.ttl,
                tos: s.tos,
                options: s.options,
                traits: s.traits,
                trigger,
                before,
                went_on: None,
            }));
        }
        // RFC 9293 3.10.7.3: in SYN-SENT a RST counts if it acknowledges the SYN. Later: if it lies in the window,
        // of which we only know that it begins near SND.NXT and spans at most 2^30 (RFC 7323).
        let counts = if syn_sent {
            s.flags.has(Flags::ACK)
        } else {
            !side.next_known || s.seq.distance(side.next).unsigned_abs() < 1 << 30
        };
        if counts && !for_older && f.closed.is_none() {
            f.closed = Some(s.time);
        }
        What::Reset
    }

    /// An ICMP error quotes a segment that `role` sent.
    fn on_icmp_error(&mut self, s: &Segment, role: Role) {
        let Some((kind, code)) = s.icmp() else { return };
        if let Some(known) = &mut self.facts.icmp {
            known.count = known.count.saturating_add(1);
        } else {
            self.facts.icmp = Some(Box::new(IcmpError {
                at: PacketRef::of(s),
                kind,
                code,
                ttl: s.ttl,
                v6: s.traits.has(Traits::V6),
                quotes_client: role == Role::Client,
                sender: s.icmp_sender(),
                mtu: s.mss,
                count: 1,
            }));
        }
    }

    /// A segment after a pause, or the first of the other end after one.
    #[cold]
    fn note_pause(&mut self, s: &Segment, role: Role, what: What) {
        let length = s.time - self.facts.last.time;
        let is_new = matches!(what, What::Data | What::Fin | What::KeepAlive);
        let starts = length >= PAUSE && is_new;
        if self.facts.idle.is_none() && !starts {
            return;
        }
        let idle = self.facts.idle.get_or_insert_default();
        if let Some(last) = idle.last.filter(|last| last.by != Some(role) && what != What::Reset) {
            if idle.survived.is_none_or(|longest| longest.length < last.length) {
                idle.survived = Some(last);
            }
            idle.last = None;
        }
        if starts {
            idle.last = Some(Pause { length, until: PacketRef::of(s), by: Some(role) });
        }
    }

    /// Something other than RST comes from an end in whose name a RST had come.
    #[cold]
    fn note_going_on(&mut self, s: &Segment, role: Role) {
        if let Some(reset) = &mut self.facts.side_mut(role).reset
            && s.time > reset.at.time
            // Sent before the RST, and overtaken by it.
            && !(s.ip_id != 0 && reset.ip_id != 0 && s.ttl == reset.ttl && reset.ip_id.wrapping_sub(s.ip_id) < 64)
        {
            let (_, count) = reset.went_on.get_or_insert((PacketRef::of(s), 0));
            *count = count.saturating_add(1);
        }
    }

    /// The window of `role` is closed, or opens again.
    #[cold]
    fn note_zero_window(&mut self, s: &Segment, role: Role) {
        let probes = self.facts.side(role.peer()).keepalives;
        let side = self.facts.side_mut(role);
        match &mut side.zero_window {
            Some(zero) if s.window > 0 => {
                zero.opened.get_or_insert(PacketRef::of(s));
            }
            Some(zero) => {
                if let Some(opened) = zero.opened.take() {
                    let span = opened.time - zero.first.time;
                    if zero.longest.is_none_or(|before| before.1 < span) {
                        zero.longest = Some((zero.first, span));
                    }
                    (zero.first, zero.probes_before) = (PacketRef::of(s), probes);
                }
                zero.last = PacketRef::of(s);
                zero.count = zero.count.saturating_add(1);
            }
            None => {
                let at = PacketRef::of(s);
                side.zero_window = Some(Box::new(ZeroWindow {
                    first: at,
                    last: at,
                    count: 1,
                    probes_before: probes,
                    ..ZeroWindow::default()
                }));
            }
        }
    }

    /// Both FINs acknowledged: closed.
    #[inline]
    fn note_close(&mut self, s: &Segment) {
        let f = &mut self.facts;
        if f.closed.is_none() && f.c.fin_acked.is_some() && f.s.fin_acked.is_some() {
            f.closed = Some(s.time);
        }
    }

    /// What had been seen before a SYN or SYN-ACK.
    fn context(&self) -> u8 {
        let f = &self.facts;
        let mut bits = 0;
        if f.final_ack.is_some() {
            bits |= Sent::AFTER_FINAL_ACK;
        }
        if f.progress.is_some() {
            bits |= Sent::AFTER_PROGRESS;
        }
        if f.c.resets + f.s.resets > 0 {
            bits |= Sent::AFTER_RESET;
        }
        if f.c.data_segments > 0 || f.c.fin.is_some() {
            bits |= Sent::AFTER_DATA;
        }
        bits
    }

    fn learn_isn(side: &mut Side, s: &Segment) {
        side.isn = s.seq;
        side.isn_known = true;
        if !side.next_known || s.seq.advance(1).after(side.next) {
            side.next = s.seq.advance(1);
            side.next_known = true;
        }
    }
}

/// What the segments of one end have in common so far.
fn usual(side: &Side) -> Usual {
    Usual {
        ttl: side.ttl,
        ip_id: side.last_ip_id,
        segments: side.segments,
        next: side.next,
        next_known: side.next_known,
    }
}

/// Whether a server's acknowledgment comes from a request in SYN-RECV and not from a socket: a request answers a keepalive
/// probe, or another segment outside of its window, but has taken nothing (`tcp_check_req`, `tcp_v4_reqsk_send_ack`). It
/// echoes the timestamp of the SYN, where a socket echoes that of the final ACK; in IPv4 its identification is 0.
#[inline]
fn is_of_request(f: &ConnectionFacts, s: &Segment, what: What) -> bool {
    if what != What::Ack || s.ack != f.syn_ack_ack || s.seq != f.s.isn.advance(1) {
        return false;
    }
    let Some((ack, syn_ack)) = f.final_ack.as_ref().zip(f.syn_ack.first()) else { return false };
    let acked_later = ack.tsval != 0 && ack.tsval != syn_ack.tsecr;
    if f.timestamps() && acked_later {
        return s.options.has(Options::TIMESTAMPS) && s.tsecr == syn_ack.tsecr;
    }
    !s.traits.has(Traits::V6) && s.ip_id == 0 && f.c.keepalive.is_some()
}

/// New payload, or the first FIN: it opens a flight where nothing was outstanding. `last` is the time of the last segment of
/// either end.
#[inline]
fn note_flight(side: &mut Side, s: &Segment, last: Timestamp) {
    let outstanding =
        side.next_known && if side.acked_known { side.next != side.acked } else { side.data_segments > 0 };
    let flight = &mut side.flight;
    if !outstanding {
        *flight = Flight {
            begin: PacketRef::of(s),
            seq: s.seq,
            ack: s.ack,
            idle: s.time - last,
            largest: s.payload,
            largest_end: s.end(),
            latest: s.payload,
        };
        return;
    }
    flight.latest = s.payload;
    if s.payload > flight.largest || side.acked_known && side.acked.at_or_after(flight.largest_end) {
        (flight.largest, flight.largest_end) = (s.payload, s.end());
    }
}

/// Payload or FIN that was sent before.
#[cold]
fn note_repetition(side: &mut Side, s: &Segment, last: Timestamp) {
    // An earlier part of the capture, once more.
    if s.time < last {
        return;
    }
    let oldest = if side.acked_known { side.acked } else { side.flight.seq };
    let (at, acked_known) = (PacketRef::of(s), side.acked_known);
    let repeating = side.repeating.get_or_insert_default();
    if acked_known && !s.end().after(oldest) {
        if repeating.of_acknowledged == 0 || repeating.of_acknowledged_seq != s.seq {
            (repeating.of_acknowledged, repeating.of_acknowledged_seq) = (0, s.seq);
            repeating.of_acknowledged_at.0 = at;
        }
        repeating.of_acknowledged = repeating.of_acknowledged.saturating_add(1);
        repeating.of_acknowledged_at.1 = at;
        return;
    }
    if s.seq.after(oldest) {
        return;
    }
    if repeating.count == 0 || repeating.seq != oldest {
        (repeating.seq, repeating.first, repeating.count) = (oldest, at, 0);
        (repeating.largest, repeating.heard) = (0, 0);
    }
    repeating.count = repeating.count.saturating_add(1);
    repeating.last = at;
    repeating.largest = repeating.largest.max(s.payload);
    repeating.latest = s.payload;
}

/// What was repeated is acknowledged.
#[cold]
fn note_healed(side: &mut Side, s: &Segment) {
    let Some(repeating) = &mut side.repeating else { return };
    if repeating.count > 0 && s.ack.after(repeating.seq) {
        if repeating.healed.is_none_or(|before| before.count < repeating.count) {
            repeating.healed = Some(Healed {
                first: repeating.first,
                at: PacketRef::of(s),
                count: repeating.count,
                largest: repeating.largest,
                latest: repeating.latest,
            });
        }
        repeating.count = 0;
    }
}

/// A segment of the peer of `side` that acknowledges no more than those before.
#[cold]
fn note_same_acknowledgment(side: &mut Side, s: &Segment) {
    if s.options.has(Options::SACK) {
        let again = side.sacked.0 == s.ack && side.sacked.1 > 0;
        side.sacked = (s.ack, if again { side.sacked.1.saturating_add(1) } else { 1 });
    }
    if let Some(repeating) = side.repeating.as_mut().filter(|repeating| repeating.count > 0) {
        repeating.heard = repeating.heard.saturating_add(1);
    }
}

fn offer(s: &Segment) -> Offer {
    Offer {
        options: s.options,
        mss: s.mss,
        window_scale: s.window_scale,
        window: s.window,
        payload: s.payload.min(0xffff) as u16,
        ip_id: s.ip_id,
        ttl: s.ttl,
        tos: s.tos,
        ecn: s.flags.has(Flags::CWR | Flags::ECE),
        neighbours: s.neighbours,
    }
}
/// Whether `s` was damaged on its way, so that its receiver dropped it. A wrong checksum says so only where others of
/// the same end are right: what rewrites addresses often leaves all checksums as they were, and some hosts leave the
/// field to their network card.
fn is_damaged(s: &Segment, of_end: Traits) -> bool {
    s.traits.has(Traits::CHECKSUM_BAD) && of_end.0 & (Traits::CHECKSUM_GOOD | Traits::CHECKSUM_PARTIAL) != 0
}
