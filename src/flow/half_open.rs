//! A connection of which nothing but SYNs and SYN-ACKs was seen, in 168 octets: a flood leaves millions of them.
//!
//! It is no second state machine: the segments are kept in short form, and whoever wants to know what they mean plays
//! them to a [`Connection`] ([`HalfOpen::play`]). What does not fit in short form is for a full record.

use crate::decode::segment::{Flags, Options, PacketId, Segment, Traits};
use crate::flow::connection::{Connection, is_copy};
use crate::flow::facts::Mark;
use crate::flow::key::{Direction, FlowKey};
use crate::seq::Seq;
use crate::time::{Span, Timestamp};

/// Segments that fit.
const MOST: usize = 4;

/// The fields of a SYN or SYN-ACK other than packet and time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Header {
    seq: Seq,
    ack: Seq,
    tsval: u32,
    tsecr: u32,
    window: u16,
    ip_id: u16,
    mss: u16,
    traits: Traits,
    payload: u16,
    flags: Flags,
    options: Options,
    window_scale: u8,
    ttl: u8,
    tos: u8,
}

impl Header {
    fn of(s: &Segment) -> Header {
        Header {
            seq: s.seq,
            ack: s.ack,
            tsval: s.tsval,
            tsecr: s.tsecr,
            window: s.window,
            ip_id: s.ip_id,
            mss: s.mss,
            traits: s.traits,
            payload: s.payload as u16,
            flags: s.flags,
            options: s.options,
            window_scale: s.window_scale,
            ttl: s.ttl,
            tos: s.tos,
        }
    }
}

/// Packet and time as distances from the first segment, and what differs from the header.
#[derive(Clone, Copy, Default, Debug)]
struct Sent {
    /// The low 32 bits of the nanoseconds.
    after_low: u32,
    packets: u32,
    tsval: u32,
    tsecr: u32,
    ip_id: u16,
    /// The 15 bits of the nanoseconds above those, and on top whether it is the server's.
    after_high: u16,
}

/// SYNs and SYN-ACKs of one four-tuple.
#[derive(Clone, Copy, Debug)]
pub struct HalfOpen {
    /// Which four-tuple.
    pub key: FlowKey,
    client_is: Direction,
    count: u8,
    first: Mark,
    syn: Header,
    syn_ack: Header,
    /// The second segment and on.
    further: [Sent; MOST - 1],
}

impl HalfOpen {
    /// Begins with `s`, if that is a SYN.
    #[inline]
    pub fn begin(key: FlowKey, from: Direction, s: &Segment) -> Option<HalfOpen> {
        let control = Flags::SYN | Flags::ACK | Flags::RST | Flags::FIN;
        if s.flags.0 & control != Flags::SYN || s.payload > 0xffff || s.icmp().is_some() {
            return None;
        }
        Some(HalfOpen {
            key,
            client_is: from,
            count: 1,
            first: Mark::of(s),
            syn: Header::of(s),
            syn_ack: Header::default(),
            further: [Sent::default(); MOST - 1],
        })
    }

    /// Takes in a further segment, if it is the first SYN-ACK or a repetition of what is there; `false` if it is
    /// anything else, or there is no room.
    #[inline]
    pub fn take(&mut self, from: Direction, s: &Segment) -> bool {
        let control = Flags::SYN | Flags::ACK | Flags::RST | Flags::FIN;
        let answer = from != self.client_is;
        let expected = if answer { Flags::SYN | Flags::ACK } else { Flags::SYN };
        if s.flags.0 & control != expected
            || usize::from(self.count) == MOST
            || s.time < self.last()
            || s.payload > 0xffff
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
        let begun = !answer || self.further().iter().any(Sent::is_answer);
        if begun {
            let known = if answer { self.syn_ack } else { self.syn };
            if (Header { tsval: known.tsval, tsecr: known.tsecr, ip_id: known.ip_id, ..header }) != known
                || (0..usize::from(self.count)).any(|n| {
                    let (seen, seen_from) = self.segment(n);
                    seen_from == from && is_copy(s, &seen)
                })
            {
                return false;
            }
        } else {
            self.syn_ack = header;
        }
        self.further[usize::from(self.count) - 1] = Sent {
            after_low: after as u32,
            packets,
            tsval: s.tsval,
            tsecr: s.tsecr,
            ip_id: s.ip_id,
            after_high: (after >> 32) as u16 | u16::from(answer) << 15,
        };
        self.count += 1;
        true
    }

    /// Whether the sender in `direction` is the client.
    #[inline]
    pub fn is_client(&self, direction: Direction) -> bool {
        direction == self.client_is
    }

    /// Reads of every cache line of the record.
    #[inline]
    pub fn touch(&self) -> u32 {
        self.syn.seq.0
            ^ self.syn_ack.seq.0
            ^ self.further[2].packets
            ^ self.first.time.0 as u32
            ^ u32::from(self.count)
    }

    /// The first segment.
    pub fn first(&self) -> Mark {
        self.first
    }

    /// The time of the last segment.
    #[inline]
    pub fn last(&self) -> Timestamp {
        self.further().last().map_or(self.first.time, |sent| self.first.time + sent.after())
    }

    /// Plays everything to a connection.
    pub fn play(&self) -> Connection {
        let (first, from) = self.segment(0);
        let mut connection = Connection::begin(self.key, from, &first, None);
        connection.segment(&first, from);
        for n in 1..usize::from(self.count) {
            let (s, from) = self.segment(n);
            connection.segment(&s, from);
        }
        connection
    }

    fn further(&self) -> &[Sent] {
        &self.further[..usize::from(self.count) - 1]
    }

    /// The segment in its full form.
    fn segment(&self, n: usize) -> (Segment, Direction) {
        let sent = n.checked_sub(1).map(|n| self.further[n]);
        let (header, at, from) = match sent {
            None => (self.syn, self.first, self.client_is),
            Some(sent) => {
                let (known, from) = match sent.is_answer() {
                    true => (self.syn_ack, self.client_is.reverse()),
                    false => (self.syn, self.client_is),
                };
                let packet = &self.first.packet;
                let at = Mark {
                    time: self.first.time + sent.after(),
                    packet: PacketId::new(packet.capture(), packet.number() + u64::from(sent.packets)),
                };
                (Header { tsval: sent.tsval, tsecr: sent.tsecr, ip_id: sent.ip_id, ..known }, at, from)
            }
        };
        let (src, dst) = (self.key.sender(from), self.key.sender(from.reverse()));
        let segment = Segment {
            time: at.time,
            packet: at.packet,
            hash: 0,
            src: src.address,
            dst: dst.address,
            src_port: src.port,
            dst_port: dst.port,
            seq: header.seq,
            ack: header.ack,
            payload: header.payload.into(),
            window: header.window,
            ip_id: header.ip_id,
            tsval: header.tsval,
            tsecr: header.tsecr,
            mss: header.mss,
            traits: header.traits,
            flags: header.flags,
            options: header.options,
            window_scale: header.window_scale,
            ttl: header.ttl,
            tos: header.tos,
        };
        (segment, from)
    }
}

impl Sent {
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
        assert!(size_of::<HalfOpen>() <= 200, "{}", size_of::<HalfOpen>());
    }
}
