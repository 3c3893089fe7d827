//! The effect of single segments on the memory that a server keeps of its clients.

use super::OVER;
use crate::decode::segment::{Flags, PacketId, Segment};
use crate::flow::connection::Connection;
use crate::flow::facts::{PacketRef, Role};
use crate::flow::key::{Direction, Host};
use crate::flow::peer::{PeerEvent, PeerEventKind};

/// The event for a SYN of the client, where no earlier connection was found.
pub(super) fn syn(connection: PacketId, s: &Segment) -> PeerEvent {
    PeerEvent {
        at: PacketRef::of(s),
        connection,
        client: s.src,
        server: Host { address: s.dst, port: s.dst_port },
        tsval: s.timestamp(),
        what: PeerEventKind::Syn { in_time_wait: false },
    }
}

/// The effect of a SYN, or of a segment after the server's FIN, on the memory that a server keeps of its clients.
pub(super) fn note_event(c: &Connection, s: &Segment, from: Direction, events: &mut Vec<PeerEvent>) {
    if c.role(from) != Role::Client || s.icmp().is_some() {
        return;
    }
    let f = &c.facts;
    let what = if s.flags.has(Flags::SYN) && !s.flags.has(Flags::ACK) {
        let in_time_wait = f.previous.as_ref().is_some_and(|p| p.closed && s.time - p.last.time <= OVER);
        PeerEventKind::Syn { in_time_wait }
    } else if let Some(server_fin) = f.s.fin
        && s.timestamp().is_some()
        && (f.s.fin_acked == Some(PacketRef::of(s)) || s.flags.has(Flags::FIN) && f.s.fin_acked.is_some())
        && f.c.fin.is_none_or(|client_fin| client_fin > server_fin)
    {
        PeerEventKind::Remembered
    } else {
        return;
    };
    events.push(PeerEvent {
        at: PacketRef::of(s),
        connection: f.first.packet,
        client: f.client.address,
        server: f.server,
        tsval: s.timestamp(),
        what,
    });
}
