//! A capture that begins in mid-connection, and then shows a SYN-ACK: the handshake is not over for the server.
//!
//! A real capture begins when somebody notices trouble. The server of a full accept queue repeats its SYN-ACK although
//! the client's final ACK, and perhaps its data, came before the capture. Such a SYN-ACK tells who is who.

use super::Connection;
use crate::decode::segment::Segment;
use crate::flow::facts::{FinalAck, Role, Roles};
use crate::seq::Seq;

/// How much the client can have sent at most before the server accepts any of it, bytes.
const FIRST_FLIGHT: i32 = 1 << 20;

impl Connection {
    /// Whether `s`, a SYN-ACK of `role`, belongs to the handshake of a connection that the capture joined after its
    /// final ACK: only the other end was heard, it acknowledges this SYN-ACK, and its sequence numbers follow on its
    /// SYN.
    pub(super) fn joins_handshake(&self, s: &Segment, role: Role) -> bool {
        let f = &self.facts;
        let (server, client) = (f.side(role), f.side(role.peer()));
        f.mid_stream
            && !f.odd_handshake
            && server.segments == 1 // This one.
            && client.segments > 0
            && client.resets == 0
            && server.next_known
            && server.next == s.seq.advance(1)
            && client.next_known
            && (0..FIRST_FLIGHT).contains(&client.next.distance(s.ack))
    }

    /// Treats the sender of `s` as the server, and the other end's segments so far as its final ACK and data.
    pub(super) fn adopt_syn_ack(&mut self, s: &Segment, role: Role) {
        if role == Role::Client {
            self.swap_roles();
        }
        let first_is_data = self.facts.c.first_data.is_some_and(|data| data == self.facts.first);
        let f = &mut self.facts;
        f.roles = Roles::BySynAck;
        f.mid_stream = false;
        (f.c.isn, f.c.isn_known) = (Seq(s.ack.0.wrapping_sub(1)), true);
        f.final_ack = Some(FinalAck {
            at: f.first,
            bare: !first_is_data,
            traits: f.c.traits,
            tsval: f.c.tsval.unwrap_or(0),
            tsecr: 0,
            syn_acks: 0,
            ip_id_hole: 0,
        });
        let u = &mut f.unanswered;
        u.tsval = f.c.tsval.unwrap_or(0);
        if let Some(repeated) = f.c.repeating.as_deref().filter(|repeated| repeated.count > 0) {
            (u.first, u.last) = (repeated.first, repeated.last);
            (u.retransmits, u.largest) = (repeated.count, repeated.largest);
        }
    }

    /// The end that counted as the client is the server.
    fn swap_roles(&mut self) {
        self.client_is = self.client_is.reverse();
        self.recent.swap();
        self.latest.swap();
        self.sent_at.swap();
        let f = &mut self.facts;
        std::mem::swap(&mut f.client, &mut f.server);
        std::mem::swap(&mut f.c, &mut f.s);
        if let Some(icmp) = &mut f.icmp {
            icmp.quotes_client = !icmp.quotes_client;
        }
        if let Some(idle) = &mut f.idle {
            for pause in [&mut idle.survived, &mut idle.last].into_iter().flatten() {
                pause.by = pause.by.map(Role::peer);
            }
        }
    }
}
