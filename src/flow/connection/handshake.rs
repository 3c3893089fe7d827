//! The handshake, as far as the capture shows it: SYN, SYN-ACK, final ACK, and the server's first sign that it has the
//! connection.

use super::{Connection, OUT_OF_ORDER};
use crate::decode::segment::{Flags, Segment, TcpOptions, Traits};
use crate::flow::facts::{
    ConnectionFacts, FinalAck, PacketRef, Role, Roles, SegmentKind, ServerProgress, Side, SynOffer,
    Transmission,
};
use crate::seq::Seq;
use crate::time::Span;

/// A retransmission comes no sooner than this after the first transmission: TLP and RTO take at least 200 ms. Fast
/// retransmissions need acknowledgments, which an ignored client does not get.
const RETRANSMIT_AFTER: Span = Span::millis(50);

impl Connection {
    /// A SYN of the client, or a repetition of it.
    pub(super) fn on_syn(&mut self, s: &Segment, role: Role) -> SegmentKind {
        let asks_fast_open = s.options.any(TcpOptions::FAST_OPEN_REQUEST | TcpOptions::FAST_OPEN_COOKIE);
        let fast_open = s.payload > 0 || asks_fast_open;
        let no_attempt = s.flags.has(Flags::FIN)
            || (s.payload > 0 && !asks_fast_open && !s.traits.has(Traits::OPTIONS_CUT));
        let context = self.context()
            | if fast_open { Transmission::FAST_OPEN } else { 0 }
            | if no_attempt { Transmission::NO_ATTEMPT } else { 0 };
        let f = &mut self.facts;
        if role == Role::Server {
            f.note_odd_handshake(role, s);
            return SegmentKind::Syn;
        }
        if f.syn.count == 0 {
            let answered_before = f.syn_ack.count > 0 && s.time - f.last.time <= OUT_OF_ORDER;
            f.reordered = f.reordered.saturating_add(u16::from(answered_before));
            f.syn_offer = offer(s);
            f.roles = Roles::BySyn;
            learn_isn(&mut f.c, s);
        }
        let sent = f.note_handshake_segment(role, s, context);
        f.syn.push(sent);
        SegmentKind::Syn
    }

    /// A SYN-ACK of the server, or a repetition of it.
    pub(super) fn on_syn_ack(&mut self, s: &Segment, role: Role) -> SegmentKind {
        let role = if self.joins_handshake(s, role) {
            self.adopt_syn_ack(s, role);
            Role::Server
        } else {
            role
        };
        let context = self.context();
        let f = &mut self.facts;
        if role == Role::Client {
            f.note_odd_handshake(role, s);
            return SegmentKind::SynAck;
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
            learn_isn(&mut f.s, s);
            if !f.c.isn_known && f.syn.count == 0 {
                f.c.isn = Seq(s.ack.0.wrapping_sub(1));
                f.c.next = s.ack;
                f.c.next_known = true;
            }
        } else if s.seq != f.s.isn {
            f.other_isns = f.other_isns.saturating_add(1);
            if f.final_ack.is_none() {
                // The request was dropped and made anew: the newest one gets completed.
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
        let sent = f.note_handshake_segment(role, s, context);
        f.syn_ack.push(sent);
        SegmentKind::SynAck
    }

    /// The client's part of the handshake, and its segments while the server is silent.
    pub(super) fn on_client(&mut self, s: &Segment, what: SegmentKind, hole: u8) {
        let f = &mut self.facts;
        if f.syn_ack.count == 0 || f.s.resets > 0 {
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
                    bare: what == SegmentKind::Ack,
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
        if u.repeated_from.is_none() && (asked_again || what == SegmentKind::Retransmit) {
            u.repeated_from = s.timestamp();
        }
        u.tsval = if u.tsval == 0 || (s.tsval.wrapping_sub(u.tsval) as i32) > 0 { s.tsval } else { u.tsval };
        match what {
            SegmentKind::Ack | SegmentKind::KeepAlive => {
                u.acks = u.acks.saturating_add(1);
                u.last_ack = PacketRef::of(s);
            }
            SegmentKind::Retransmit | SegmentKind::Fin | SegmentKind::Data => {
                u.largest = u.largest.max(s.payload);
                // A FIN is a repetition if it is not the first one; payload, if it brings nothing new.
                let again = what == SegmentKind::Retransmit || (what == SegmentKind::Fin && f.c.fins > 1);
                let gap =
                    s.time - if u.retransmits > 0 { u.last.time } else { *self.sent_at.of(Role::Client) };
                if again && (gap >= RETRANSMIT_AFTER || u.retransmits > 0) {
                    if u.retransmits == 0 {
                        u.first = PacketRef::of(s);
                    }
                    u.retransmits = u.retransmits.saturating_add(1);
                    u.last = PacketRef::of(s);
                }
            }
            SegmentKind::Syn | SegmentKind::SynAck | SegmentKind::Reset => {}
        }
    }

    /// The server's first segment after the SYN-ACK, or an unusual answer to the SYN.
    pub(super) fn on_server(&mut self, s: &Segment, what: SegmentKind) {
        let f = &mut self.facts;
        if f.syn_ack.count == 0 {
            if what == SegmentKind::Ack && self.has_only_syns() {
                self.on_ack_to_syn(s);
            }
            return;
        }
        if f.final_ack.is_some() && !is_of_request(f, s, what) {
            let after = self.latest_of(Role::Client);
            let f = &mut self.facts;
            f.progress = Some(ServerProgress {
                at: PacketRef::of(s),
                acked: s.ack.distance(f.c.isn.advance(1)).max(0) as u32,
                tsval: s.tsval,
                tsecr: s.tsecr,
                what,
                after: after.map_or(PacketRef::of(s), |t| t.at),
                after_what: after.map_or(SegmentKind::Ack, |t| t.what),
            });
        }
    }

    /// Whether a server's segment answers the SYN with the numbers of another connection: a bare ACK, before any
    /// SYN-ACK, that does not acknowledge the SYN.
    #[inline]
    pub(super) fn answers_older_connection(&self, s: &Segment, role: Role) -> bool {
        let f = &self.facts;
        f.syn_ack.count == 0
            && role == Role::Server
            && self.has_only_syns()
            && s.length() == 0
            && s.ack != f.c.isn.advance(1)
    }

    /// Whether the client has sent only SYNs, and perhaps RSTs: nothing shows that it got an answer.
    #[inline]
    pub(super) fn has_only_syns(&self) -> bool {
        let f = &self.facts;
        f.syn.count > 0 && f.c.segments == f.syn.count.saturating_add(u32::from(f.c.resets))
    }

    /// Bare ACK in answer to a SYN: RFC 5961 section 4, or TIME_WAIT (`tcp_v4_timewait_ack`).
    pub(super) fn on_ack_to_syn(&mut self, s: &Segment) -> SegmentKind {
        let a = self.facts.ack_to_syn.get_or_insert_default();
        if a.count == 0 {
            (a.at, a.seq, a.ack) = (PacketRef::of(s), s.seq, s.ack);
        }
        a.count = a.count.saturating_add(1);
        SegmentKind::Ack
    }

    /// The context of a SYN or SYN-ACK: what the capture held before it.
    pub(super) fn context(&self) -> u8 {
        let f = &self.facts;
        let mut bits = 0;
        if f.final_ack.is_some() {
            bits |= Transmission::AFTER_FINAL_ACK;
        }
        if f.progress.is_some() {
            bits |= Transmission::AFTER_PROGRESS;
        }
        if f.was_reset() {
            bits |= Transmission::AFTER_RESET;
        }
        if f.c.data_segments > 0 || f.c.fin.is_some() {
            bits |= Transmission::AFTER_DATA;
        }
        bits
    }
}

impl ConnectionFacts {
    /// A SYN of the end that listened, or a SYN-ACK of the end that sent the SYN: simultaneous open, a split or a
    /// four-way handshake (RFC 9293 3.5). It is followed, not diagnosed.
    fn note_odd_handshake(&mut self, role: Role, s: &Segment) {
        self.odd_handshake = true;
        let side = self.side_mut(role);
        learn_isn(side, s);
        side.move_ip_id(s);
    }

    /// Records the properties of the sender of a SYN or SYN-ACK, and the transmission itself.
    #[inline]
    fn note_handshake_segment(&mut self, role: Role, s: &Segment, context: u8) -> Transmission {
        let side = self.side_mut(role);
        side.move_ip_id(s);
        side.tsval = s.timestamp();
        Transmission {
            at: PacketRef::of(s),
            tsval: s.tsval,
            tsecr: s.tsecr,
            context,
            syns: self.syn.count.min(255) as u8,
            ip_id: s.ip_id,
        }
    }
}

/// The sequence number of a SYN or SYN-ACK begins its sender's stream.
fn learn_isn(side: &mut Side, s: &Segment) {
    side.isn = s.seq;
    side.isn_known = true;
    if !side.next_known || s.seq.advance(1).after(side.next) {
        side.next = s.seq.advance(1);
        side.next_known = true;
    }
}

/// Whether a server's acknowledgment comes from a request in SYN-RECV and not from a socket: a request answers a keepalive
/// probe, or another segment outside of its window, but has taken nothing (`tcp_check_req`, `tcp_v4_reqsk_send_ack`). It
/// echoes the timestamp of the SYN, where a socket echoes that of the final ACK; up to Linux 6.8 it echoes the timestamp that came last. In IPv4 its
/// identification is 0.
#[inline]
fn is_of_request(f: &ConnectionFacts, s: &Segment, what: SegmentKind) -> bool {
    if what != SegmentKind::Ack || s.ack != f.syn_ack_ack || s.seq != f.s.isn.advance(1) {
        return false;
    }
    let Some((ack, syn_ack)) = f.final_ack.as_ref().zip(f.syn_ack.first()) else { return false };
    let acked_later = ack.tsval != 0 && ack.tsval != syn_ack.tsecr;
    if f.timestamps() && acked_later && s.options.has(TcpOptions::TIMESTAMPS) && s.tsecr == syn_ack.tsecr {
        return true;
    }
    !s.traits.has(Traits::V6) && s.ip_id == 0 && f.c.keepalive().is_some()
}

fn offer(s: &Segment) -> SynOffer {
    SynOffer {
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

/// Whether `s` was damaged on its way, so that its receiver dropped it. A wrong checksum proves that only if others of
/// the same end are right: devices that rewrite addresses often leave all checksums as they were, and some hosts leave
/// the field to their network card.
fn is_damaged(s: &Segment, of_end: Traits) -> bool {
    s.traits.has(Traits::CHECKSUM_BAD) && of_end.any(Traits::CHECKSUM_GOOD | Traits::CHECKSUM_PARTIAL)
}
