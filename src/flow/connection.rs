//! One incarnation of a four-tuple: a segment goes in, changed facts come out.
//!
//! We are an observer: the state is what the capture proves about each end, not the socket's state. It reads no clock,
//! does no input or output, and judges nothing. A segment is first compared with recent ones, since it may be a copy
//! (`copies`). Then its control bits decide: SYN goes to `handshake`, RST to `close`, anything else to `stream`.

mod close;
mod copies;
mod handshake;
mod joined;
mod stream;

use crate::decode::segment::{Flags, Segment, Traits};
use crate::flow::facts::{
    BothEnds, ConnectionFacts, IcmpError, PacketRef, PreviousIncarnation, ResetTrigger, Role, Roles,
    SegmentKind, Side,
};
use crate::flow::key::{Direction, FlowKey};
use crate::seq::Seq;
use crate::time::{Span, Timestamp};

use copies::RecentCopies;
pub(super) use copies::copies_come_within;

/// A segment that comes this soon after its acknowledgment preceded it on the wire: the capture changed the order.
const OUT_OF_ORDER: Span = Span::millis(5);
/// A SYN is not repeated after so long a silence (`TCP_RTO_MAX` is 120 s): then the capture contains the connection a
/// second time.
const LAST_SYN: Span = Span::secs(300);
/// A silence of an end that is longer than this is recorded.
const SILENCE: Span = Span::secs(1);

/// The last segment of an end, as far as [`Side::last`] does not hold it.
#[derive(Clone, Copy, Default, Debug)]
struct Latest {
    what: SegmentKind,
    ack: Seq,
    tos: u8,
}

/// A connection being followed.
#[derive(Debug)]
pub struct Connection {
    /// Its facts so far.
    pub facts: ConnectionFacts,
    /// Which end of the key the client is.
    client_is: Direction,
    recent: BothEnds<RecentCopies>,
    /// The last segment of each end, for [`ResetTrigger`].
    latest: BothEnds<Latest>,
    /// When the highest byte of each end was first sent.
    sent_at: BothEnds<Timestamp>,
    /// The whole connection came a second time, with earlier times: none of it is new.
    replay: bool,
    /// The connection has more than payload and acknowledgments: after a RST, a FIN, a repetition, a keepalive probe or
    /// a pause, or while a window is closed. Only then are segments checked for consequences.
    eventful: bool,
}

impl Connection {
    /// Begins with the first segment seen of a four-tuple.
    pub fn begin(
        key: FlowKey,
        from: Direction,
        s: &Segment,
        previous: Option<PreviousIncarnation>,
    ) -> Connection {
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
            recent: BothEnds::default(),
            latest: BothEnds::default(),
            sent_at: BothEnds { client: s.time, server: s.time },
            replay: false,
            eventful: false,
        }
    }

    /// The role of the end that sends in `direction`.
    #[inline]
    pub fn role(&self, direction: Direction) -> Role {
        if direction == self.client_is { Role::Client } else { Role::Server }
    }

    /// Whether `s` opens a new incarnation. A SYN of the client with another initial sequence number does. So does a SYN of
    /// either end after this connection ended, or if the capture joined it in the middle.
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

    /// The initial sequence number, if `s` is a SYN of this connection.
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

    /// The facts that the next incarnation of the four-tuple needs of this one.
    pub fn as_previous(&self) -> PreviousIncarnation {
        let f = &self.facts;
        PreviousIncarnation {
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
        // The code is compiled twice, so that nothing has to choose between the two ends later.
        match self.role(from) {
            Role::Client => self.segment_by(s, Role::Client),
            Role::Server => self.segment_by(s, Role::Server),
        }
    }

    /// The same; `role` sent it.
    #[inline(always)]
    fn segment_by(&mut self, s: &Segment, role: Role) -> bool {
        if s.icmp().is_some() {
            self.on_icmp_error(s, role);
            return true;
        }
        if self.recent.of_mut(role).is_copy(s) && !self.may_be_another_reset(s) {
            self.facts.duplicates = self.facts.duplicates.saturating_add(1);
            return false;
        }
        let last = self.facts.last.time;
        // It comes neither before the last segment nor after a pause.
        let is_steady = (s.time.0.wrapping_sub(last.0) as u64) < stream::PAUSE.0 as u64;
        if !is_steady && s.time < last && self.is_replayed(s, role) {
            self.facts.replayed = self.facts.replayed.saturating_add(1);
            return false;
        }
        let what = if s.flags.any(Flags::SYN | Flags::RST) {
            let Some(what) = self.on_control(s, role) else { return false };
            what
        } else {
            let hole = note_sender(self.facts.side_mut(role), s);
            if self.answers_older_connection(s, role) {
                self.on_ack_to_syn(s)
            } else {
                self.on_segment(s, role, hole)
            }
        };
        *self.latest.of_mut(role) = Latest { what, ack: s.ack, tos: s.tos };
        if s.time >= last {
            self.facts.last = PacketRef::of(s);
        }
        if !is_steady || self.eventful {
            self.note_after(s, role, what, last);
        }
        true
    }

    /// A segment with SYN or RST; `None` if it is a copy of an earlier one.
    #[inline(never)]
    fn on_control(&mut self, s: &Segment, role: Role) -> Option<SegmentKind> {
        if s.flags.has(Flags::SYN) && self.is_late_copy(s, role) {
            self.facts.duplicates = self.facts.duplicates.saturating_add(1);
            return None;
        }
        let before = close::usual(self.facts.side(role));
        note_sender(self.facts.side_mut(role), s);
        Some(if s.flags.has(Flags::RST) {
            self.on_reset(s, role, before)
        } else if s.flags.has(Flags::SYN | Flags::ACK) {
            self.on_syn_ack(s, role)
        } else {
            self.on_syn(s, role)
        })
    }

    /// The effect of a segment after a pause or after a RST. `last` is the time of the segment before it.
    #[cold]
    fn note_after(&mut self, s: &Segment, role: Role, what: SegmentKind, last: Timestamp) {
        self.note_pause(s, role, what, last);
        if what != SegmentKind::Reset && self.facts.side(role).resets > 0 {
            self.note_activity_after_reset(s, role);
        }
        let f = &self.facts;
        self.eventful = f.idle.as_ref().is_some_and(|idle| idle.last.is_some())
            || f.c.is_eventful(f.last)
            || f.s.is_eventful(f.last);
    }

    /// The last segment of the end `role`.
    fn latest_of(&self, role: Role) -> Option<ResetTrigger> {
        let side = self.facts.side(role);
        let Latest { what, ack, tos } = *self.latest.of(role);
        (side.segments > 0).then_some(ResetTrigger { at: side.last, what, ack, tos })
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
}

/// Counters and header values that every segment carries. Returns how many IPv4 identifications its sender left out just
/// before it: 0 if none, or not known.
#[inline(always)]
fn note_sender(side: &mut Side, s: &Segment) -> u8 {
    if side.segments == 0 {
        side.first = s.time;
        side.ttl = (s.ttl, s.ttl);
    } else {
        if side.ttl != (s.ttl, s.ttl) {
            side.ttl = (side.ttl.0.min(s.ttl), side.ttl.1.max(s.ttl));
        }
        // A clock that steps back looks like a long silence here: the difference is negative.
        if s.time.0.wrapping_sub(side.last.time.0) as u64 > SILENCE.0 as u64 {
            side.record_silence(s.time, SILENCE);
        }
    }
    side.segments = side.segments.saturating_add(1);
    side.traits |= s.traits;
    side.last = PacketRef::of(s);
    if s.ip_id == 0 {
        return 0;
    }
    match s.ip_id.wrapping_sub(side.last_ip_id) {
        1 => side.ip_ids.0 = side.ip_ids.0.saturating_add(1),
        gap @ 2..=8 if side.last_ip_id != 0 => {
            side.ip_ids.1 = side.ip_ids.1.saturating_add(1);
            return gap.wrapping_sub(1) as u8;
        }
        _ => {}
    }
    0
}
