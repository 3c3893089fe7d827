//! A connection that has only SYNs and SYN-ACKs, or SYNs and a RST, in 96 bytes and its key: a flood leaves millions of
//! them, and so does a scan.
//!
//! It is no second state machine: it keeps the segments in short form, and [`HalfOpen::replay_handshake`] replays them
//! to a [`Connection`]. A segment that does not fit into the short form needs a full record.

use crate::decode::segment::{Flags, PacketId, Segment, TcpOptions, Traits};
use crate::flow::compact::header::{Header, VaryingFields};
use crate::flow::connection::{Connection, copies_come_within};
use crate::flow::facts::{PacketRef, PreviousIncarnation, SynOffer, another_way, push_exactly};
use crate::flow::key::{Direction, FlowKey, Host};
use crate::seq::Seq;
use crate::time::{Span, Timestamp};

/// How many segments fit: a SYN and all its repetitions (`tcp_syn_retries`), or a SYN, its SYN-ACK and the repetitions
/// of that (`tcp_synack_retries`), by Linux's defaults.
const MOST: usize = 8;
/// The control bits that make a SYN or SYN-ACK.
const CONTROL: Flags = Flags::SYN.with(Flags::ACK).with(Flags::RST).with(Flags::FIN);

/// Packet and time as distances from the first segment, and the fields that are not in the header.
#[derive(Clone, Copy, Default, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
struct SynSegment {
    /// The low 32 bits of the nanoseconds.
    after_low: u32,
    packets: u32,
    tsval: u32,
    tsecr: u32,
    ip_id: u16,
    /// The 15 bits of the nanoseconds above those, and in the top bit whether the server sent it.
    after_high: u16,
}

/// SYNs and SYN-ACKs of one four-tuple, or SYNs and the RST that refused them. The owner knows the four-tuple.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct HalfOpen {
    client_is: Direction,
    count: u8,
    first: PacketRef,
    pub(in crate::flow) syn: Header,
    /// Of the SYN-ACKs, or of the RST.
    pub(in crate::flow) syn_ack: Header,
    /// TSval of the first SYN.
    tsval: u32,
    /// IPv4 identification of the first SYN.
    ip_id: u16,
    /// [`Segment::neighbours`] of the first SYN and of the first SYN-ACK.
    neighbours: [u16; 2],
    /// The second segment, if there is one.
    second: SynSegment,
    /// Those after it. The list is never longer than needed: a server under a flood repeats little.
    more: Box<[SynSegment]>,
}

impl HalfOpen {
    /// Begins with `s`, if that is a plain SYN: no payload, nothing acknowledged or echoed.
    #[inline]
    pub fn begin(from: Direction, s: &Segment) -> Option<HalfOpen> {
        if s.flags & CONTROL != Flags::SYN
            || s.payload > 0
            || s.ack != Seq(0)
            || s.tsecr != 0
            || s.icmp().is_some()
        {
            return None;
        }
        Some(HalfOpen {
            client_is: from,
            count: 1,
            first: PacketRef::of(s),
            syn: Header::of(s),
            syn_ack: Header::default(),
            tsval: s.tsval,
            ip_id: s.ip_id,
            neighbours: [s.neighbours, 0],
            second: SynSegment::default(),
            more: Box::default(),
        })
    }

    /// Appends a further segment, if it is the first answer to the SYN or a repetition; `false` if it is anything else,
    /// or there is no room.
    #[inline]
    pub fn try_append(&mut self, from: Direction, s: &Segment) -> bool {
        let answer = from != self.client_is;
        let (expected, ack) = match answer {
            true => (Flags::SYN | Flags::ACK, self.syn.seq.advance(1)),
            false => (Flags::SYN, Seq(0)),
        };
        let answered = self.further().any(SynSegment::is_answer);
        let control = s.flags & CONTROL;
        let refusal = answer && !answered && control == Flags::RST | Flags::ACK;
        if (control != expected && !refusal)
            || self.is_refused()
            || s.ack != ack
            || usize::from(self.count) == MOST
            || s.time < self.last().time
            || s.payload > 0
            || s.icmp().is_some()
            || s.packet.capture() != self.first.packet.capture()
        {
            return false;
        }
        let Some(packets) = s.packet.number().checked_sub(self.first.packet.number()) else { return false };
        let Ok(packets) = u32::try_from(packets) else { return false };
        let after = (s.time - self.first.time).0 as u64;
        if after >> 47 != 0 {
            return false;
        }
        let header = Header::of(s);
        if !answer || answered {
            let known = if answer { self.syn_ack } else { self.syn };
            if header != known || (!answer && s.tsecr != 0) || self.may_be_a_copy(from, s) {
                return false;
            }
        } else {
            self.syn_ack = header;
            self.neighbours[1] = s.neighbours;
        }
        let sent = SynSegment {
            after_low: after as u32,
            packets,
            tsval: s.tsval,
            tsecr: s.tsecr,
            ip_id: s.ip_id,
            after_high: (after >> 32) as u16 | u16::from(answer) << 15,
        };
        match self.count {
            1 => self.second = sent,
            _ => push_exactly(&mut self.more, sent),
        }
        self.count = self.count.saturating_add(1);
        true
    }

    /// Whether the repetition `s` may be a copy of a packet captured before: then [`Connection`] decides.
    fn may_be_a_copy(&self, from: Direction, s: &Segment) -> bool {
        let answer = from != self.client_is;
        let within = copies_come_within(s);
        // With a timestamp this holds at any distance: a retransmission has a later timestamp.
        let stamped = s.options.has(TcpOptions::TIMESTAMPS) && s.tsval != 0;
        let near = |at: Timestamp| stamped || s.time - at <= within;
        let same = |tsval: u32, ip_id: u16| s.tsval == tsval && s.ip_id == ip_id;
        (!answer && same(self.tsval, self.ip_id) && near(self.first.time))
            || self.further().any(|sent| {
                sent.is_answer() == answer
                    && same(sent.tsval, sent.ip_id)
                    && near(self.first.time + sent.after())
            })
    }

    /// Which end of the key the client is.
    pub fn client_is(&self) -> Direction {
        self.client_is
    }

    /// The client's address and port; `key` is the connection's.
    #[inline]
    pub fn client(&self, key: &FlowKey) -> Host {
        key.sender(self.client_is)
    }

    /// The server's address and port; `key` is the connection's.
    #[inline]
    pub fn server(&self, key: &FlowKey) -> Host {
        key.sender(self.client_is.reverse())
    }

    /// Whether the sender in `direction` is the client.
    #[inline]
    pub fn is_client(&self, direction: Direction) -> bool {
        direction == self.client_is
    }

    /// The first segment.
    pub fn first(&self) -> PacketRef {
        self.first
    }

    /// The last segment.
    #[inline]
    pub fn last(&self) -> PacketRef {
        self.further().next_back().map_or(self.first, |sent| self.mark(sent))
    }

    /// How many SYNs.
    pub fn syns(&self) -> u32 {
        u32::from(self.count).saturating_sub(self.answers())
    }

    /// Whether a RST that acknowledges the SYN was the answer. It is the last segment then.
    #[inline]
    pub fn is_refused(&self) -> bool {
        self.syn_ack.flags.has(Flags::RST)
    }

    /// Whether something was repeated.
    pub fn is_troubled(&self) -> bool {
        self.count > 2
    }

    /// How many segments.
    pub fn segments(&self) -> u64 {
        u64::from(self.count)
    }

    /// How many SYN-ACKs.
    pub fn syn_acks(&self) -> u32 {
        if self.is_refused() { 0 } else { self.answers() }
    }

    fn answers(&self) -> u32 {
        self.further().filter(|sent| sent.is_answer()).count() as u32
    }

    /// The first SYN-ACK, or the RST.
    pub fn answered(&self) -> Option<PacketRef> {
        self.further().find(|sent| sent.is_answer()).map(|sent| self.mark(sent))
    }

    /// TSval of the first SYN-ACK; 0 without timestamps.
    #[inline]
    pub(in crate::flow) fn syn_ack_tsval(&self) -> u32 {
        self.further().find(|sent| sent.is_answer()).map_or(0, |sent| sent.tsval)
    }

    /// Whether the SYN-ACK was repeated although the SYN was not.
    pub fn answered_again(&self) -> bool {
        self.further().zip(self.further().skip(1)).any(|(one, next)| one.is_answer() && next.is_answer())
    }

    /// When the SYN-ACKs came, or the RST.
    pub fn answer_times(&self) -> impl Iterator<Item = Timestamp> {
        self.further().filter(|sent| sent.is_answer()).map(|sent| self.mark(sent).time)
    }

    /// What the SYN offered.
    pub fn syn_offer(&self) -> SynOffer {
        let syn = &self.syn;
        SynOffer {
            options: syn.options,
            mss: syn.mss,
            window_scale: syn.window_scale,
            window: syn.window,
            payload: 0,
            ip_id: self.ip_id,
            ttl: syn.ttl,
            tos: syn.tos,
            ecn: syn.flags.has(Flags::CWR | Flags::ECE),
            neighbours: self.neighbours[0],
        }
    }

    /// Whether the SYN-ACK and the SYN took different ways.
    #[inline]
    pub fn returns_another_way(&self) -> bool {
        another_way(self.neighbours[0], self.neighbours[1])
    }

    /// Options of the SYN.
    pub fn syn_options(&self) -> TcpOptions {
        self.syn.options
    }

    /// Traits of the SYN.
    pub fn syn_traits(&self) -> Traits {
        self.syn.traits
    }

    /// Options and traits of the SYN-ACKs, if there is one.
    pub fn syn_ack_options(&self) -> (TcpOptions, Traits) {
        (self.syn_ack.options, self.syn_ack.traits)
    }

    /// TTL of the SYN and of the SYN-ACK.
    pub fn ttls(&self) -> (u8, u8) {
        (self.syn.ttl, self.syn_ack.ttl)
    }

    /// TSval of the last SYN, if the SYNs carried timestamps.
    pub(in crate::flow) fn client_tsval(&self) -> Option<u32> {
        let last = self.further().rfind(|sent| !sent.is_answer());
        self.syn.options.has(TcpOptions::TIMESTAMPS).then(|| last.map_or(self.tsval, |sent| sent.tsval))
    }

    /// The facts that the next incarnation of the four-tuple needs of this one.
    pub fn as_previous(&self) -> PreviousIncarnation {
        PreviousIncarnation {
            last: self.last(),
            client_next: self.syn.seq.advance(1),
            server_next: if self.syn_acks() > 0 { self.syn_ack.seq.advance(1) } else { Seq(0) },
            closed: self.is_refused(),
            first_fin: None,
            client_tsval: self.client_tsval(),
        }
    }

    /// Replays all segments to a connection; `key` is its key.
    pub fn replay_handshake(&self, key: &FlowKey) -> Connection {
        let syn = SynSegment { tsval: self.tsval, ip_id: self.ip_id, ..SynSegment::default() };
        let (first, from) = self.segment(&syn, key);
        let mut connection = Connection::begin(*key, from, &first, None);
        connection.segment(&first, from);
        for sent in self.further() {
            let (s, from) = self.segment(sent, key);
            connection.segment(&s, from);
        }
        connection
    }

    /// Memory that it has allocated, bytes.
    #[inline]
    pub(in crate::flow) fn more_bytes(&self) -> usize {
        size_of_val(&*self.more)
    }

    /// All segments but the first.
    #[inline]
    fn further(&self) -> impl DoubleEndedIterator<Item = &SynSegment> {
        (self.count > 1).then_some(&self.second).into_iter().chain(&self.more)
    }

    fn mark(&self, sent: &SynSegment) -> PacketRef {
        let packet = &self.first.packet;
        PacketRef {
            time: self.first.time + sent.after(),
            packet: PacketId::new(packet.capture(), packet.number().saturating_add(u64::from(sent.packets))),
        }
    }

    /// The segment in its full form.
    fn segment(&self, sent: &SynSegment, key: &FlowKey) -> (Segment, Direction) {
        let [of_syn, of_answer] = self.neighbours;
        let (header, from, ack, neighbours) = match sent.is_answer() {
            true => (self.syn_ack, self.client_is.reverse(), self.syn.seq.advance(1), of_answer),
            false => (self.syn, self.client_is, Seq(0), of_syn),
        };
        let at = self.mark(sent);
        let SynSegment { tsval, tsecr, ip_id, .. } = *sent;
        let others = VaryingFields { ack, payload: 0, ip_id, tsval, tsecr, neighbours };
        (header.segment(key, from, at, others), from)
    }
}

impl SynSegment {
    fn after(&self) -> Span {
        Span(i64::from(self.after_high & 0x7fff) << 32 | i64::from(self.after_low))
    }

    /// Whether it is the server's.
    fn is_answer(&self) -> bool {
        self.after_high >> 15 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_open_connection_stays_small() {
        assert!(size_of::<HalfOpen>() <= 96, "{}", size_of::<HalfOpen>());
    }
}
