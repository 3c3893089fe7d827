//! The history of one listener: the outcomes of its connections, and when they came.

use crate::decode::segment::Address;
use crate::flow::facts::{PacketRef, Role};
use crate::flow::key::Host;
use crate::history::accepted_syns::AcceptedSyns;
use crate::history::ended::{AcceptedSyn, EndedSummary, Fins, NoDeferAccept};
use crate::history::interval::Interval;
use crate::history::ports::Ports;
use crate::history::timeline::{ListenerSecond, ListenerTimeline};
use crate::time::{Span, Timestamp};

/// Clients are divided by address into this many parts: enough to tell one busy client from many.
const SHARES: usize = 16;

/// The history of one listener.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct ListenerHistory {
    /// Connections whose SYN or SYN-ACK was seen.
    pub attempts: u64,
    /// Connections with at least one segment of the server.
    pub answers: u64,
    /// Handshakes completed by the client.
    pub completed: u64,
    /// Connections on which the server showed that it has them.
    pub served: u64,
    /// How many of those connections had their SYN and SYN-ACK on different ways.
    pub served_another_way: u64,
    /// The longest pause of a connection after which both ends went on.
    pub survived: Span,
    /// Connections that were served while the client had sent nothing: no deferral here.
    pub undeferred: u64,
    /// Connections that waited in silence, and no SYN-ACK came again: no deferral, unless the capture lost it.
    pub patient: u64,
    /// SYN-ACKs with window scale or SACK-permitted to clients without timestamps: no cookies at that moment.
    pub full_offers: u64,
    /// Connections on which the client, and the server, closed after the other had closed first.
    pub closed_in_turn: [u64; 2],
    /// The first and the last FIN of connections that the client, and the server, closed first.
    pub closes: [Option<(PacketRef, PacketRef)>; 2],
    /// Connections that the client closed first, divided by client: those of one client are all in one part.
    pub closers: [u64; SHARES],
    /// The ports of those.
    pub ports: Ports,
    /// By second of capture time.
    pub seconds: ListenerTimeline,
    /// Incomplete handshakes that are only counted.
    pub uncounted: CountedHandshakes,
    /// The SYNs that were answered.
    pub accepted: Option<Box<AcceptedSyns>>,
}

/// Incomplete handshakes that are only counted, for want of room.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct CountedHandshakes {
    /// Followed to their end.
    pub surplus: u64,
    /// Evicted before their end.
    pub let_go: u64,
    /// How many of these were completed later.
    pub completed: u64,
    /// When the last of them began.
    pub last: Timestamp,
}

impl CountedHandshakes {
    /// How many there are.
    pub fn handshakes(&self) -> u64 {
        self.surplus + self.let_go.saturating_sub(self.completed)
    }

    fn merge(&mut self, other: CountedHandshakes) {
        self.surplus += other.surplus;
        self.let_go += other.let_go;
        self.completed += other.completed;
        self.last = self.last.max(other.last);
    }
}

impl ListenerHistory {
    /// Records a connection that has ended, whatever its form was.
    pub fn record(&mut self, ended: &EndedSummary<'_>) {
        self.attempts += 1;
        self.answers += u64::from(ended.was_answered);
        let mut completed_at = ended.final_ack.map(Timestamp::seconds);
        self.completed += u64::from(completed_at.is_some());
        if let Some(syn) = &ended.syn {
            let at = syn.at.seconds();
            let second = self.seconds.at(at);
            second.completed += u32::from(completed_at.take_if(|completed| *completed == at).is_some());
            second.syns += 1;
            second.answered += u32::from(syn.answered_in_time);
            second.refused += u32::from(syn.refused);
            if let Some(accepted) = &syn.accepted {
                self.record_accepted(ended.client, accepted);
            }
        }
        ended.syn_acks.for_each_time(|time| self.seconds.at(time.seconds()).heard += 1);
        for time in ended.heard.into_iter().flatten() {
            self.seconds.at(time.seconds()).heard += 1;
        }
        self.survived = self.survived.max(ended.survived);
        if let Some(at) = completed_at {
            self.seconds.at(at).completed += 1;
        }
        if let Some(served) = &ended.served {
            self.served += 1;
            self.served_another_way += u64::from(served.another_way);
            let second = self.seconds.at(served.at.seconds());
            second.record_served(ended.client.address, served.ttl);
        }
        match ended.no_deferral {
            Some(NoDeferAccept::Served) => self.undeferred += 1,
            Some(NoDeferAccept::Waited) => self.patient += 1,
            None => {}
        }
        self.full_offers += u64::from(ended.full_offer);
        if let Some(closed) = ended.closed_unserved {
            self.seconds.at(closed.seconds()).closed_unserved += 1;
        }
        if let Some(fins) = &ended.fins {
            self.record_close(ended.client, ended.first.time, fins);
        }
    }

    /// Records a SYN that was answered.
    fn record_accepted(&mut self, client: Host, syn: &AcceptedSyn) {
        let accepted = self.accepted.get_or_insert_default();
        accepted.record((client.address, client.port), &syn.offer, syn.again_after, syn.answer_ttl);
    }

    /// Records the FINs of both ends; the client opened the connection at `opened`.
    fn record_close(&mut self, client: Host, opened: Timestamp, fins: &Fins) {
        let &Fins { client: c, server: s, port } = fins;
        let second = self.seconds.at(c.min(s).time.seconds());
        let closer = if c < s { Role::Client } else { Role::Server };
        match closer {
            Role::Client => {
                second.closed_by_client += 1;
                let share = share(client.address);
                self.closers[share] += 1;
                self.ports.record(share, client.address, client.port, opened, port);
            }
            Role::Server => second.closed_by_server += 1,
        }
        self.closed_in_turn[closer.peer() as usize] += 1;
        let closed = c.min(s);
        widen(&mut self.closes[closer as usize], (closed, closed));
    }

    /// Adds up two histories of the same listener.
    pub fn merge(&mut self, other: ListenerHistory) {
        self.attempts += other.attempts;
        self.answers += other.answers;
        self.completed += other.completed;
        self.served += other.served;
        self.served_another_way += other.served_another_way;
        self.survived = self.survived.max(other.survived);
        self.undeferred += other.undeferred;
        self.patient += other.patient;
        self.full_offers += other.full_offers;
        for (own, others) in self.closers.iter_mut().zip(other.closers) {
            *own += others;
        }
        self.ports.merge(other.ports);
        for (own, others) in self.closes.iter_mut().zip(other.closes) {
            if let Some(interval) = others {
                widen(own, interval);
            }
        }
        self.closed_in_turn[0] += other.closed_in_turn[0];
        self.closed_in_turn[1] += other.closed_in_turn[1];
        self.seconds.add(other.seconds);
        self.uncounted.merge(other.uncounted);
        match (&mut self.accepted, other.accepted) {
            (Some(own), Some(others)) => own.merge(&others),
            (own @ None, others) => *own = others,
            (Some(_), None) => {}
        }
    }

    /// The seconds from `from` to `to`, both included, added up.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> ListenerSecond {
        self.seconds.between(from.seconds(), to.seconds().max(from.seconds()))
    }

    /// The sum of the whole seconds inside an interval: events in them lie within the interval for certain. Nothing
    /// where the interval holds no whole second.
    pub fn inside(&self, interval: Interval) -> ListenerSecond {
        self.seconds.inside(interval.from.seconds(), interval.to.seconds())
    }

    /// [`ListenerHistory::inside`] for callers that conclude from something not happening. Where seconds are counted in
    /// longer steps, it has all that may have happened inside the interval.
    pub fn possibly_inside(&self, interval: Interval) -> ListenerSecond {
        match self.seconds.step() {
            1 => self.inside(interval),
            _ => self.between(interval.from, interval.to),
        }
    }
}

/// The part of a client; always the same one. Neighbours in one network belong to different parts.
fn share(client: Address) -> usize {
    /// 2^64 divided by the golden ratio.
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = client.0.iter().fold(0u64, |mixed, &byte| {
        let mixed = (mixed ^ u64::from(byte)).wrapping_mul(GOLDEN);
        mixed ^ mixed >> 32
    });
    (mixed.wrapping_mul(GOLDEN) >> 60) as usize % SHARES
}

fn widen(interval: &mut Option<(PacketRef, PacketRef)>, (first, last): (PacketRef, PacketRef)) {
    let (from, to) = interval.unwrap_or((first, last));
    *interval = Some((from.min(first), to.max(last)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_longer_steps_nothing_is_thought_not_to_have_happened() {
        let at = |seconds: i64| Timestamp(seconds * 1_000_000_000);
        let interval = Interval { from: at(100), to: at(106) };
        let mut listener = ListenerHistory::default();
        listener.seconds.at(103).answered += 1;
        let inside =
            |l: &ListenerHistory| [l.inside(interval), l.possibly_inside(interval)].map(|s| s.answered);
        assert_eq!(inside(&listener), [1, 1]);
        listener.seconds.coarsen(3);
        assert_eq!(inside(&listener), [0, 1]);
    }
}
