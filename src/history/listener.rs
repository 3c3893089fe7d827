//! The history of one listener: what its connections got, and when.

use crate::decode::segment::{Address, Options};
use crate::flow::compact::clean::{CleanFlow, Course};
use crate::flow::compact::half_open::HalfOpen;
use crate::flow::facts::{ConnectionFacts, Offer, PacketRef, Role, What};
use crate::flow::key::{FlowKey, Host};
use crate::history::accepted_syns::AcceptedSyns;
use crate::history::interval::Interval;
use crate::history::ports::{Ports, Taken};
use crate::history::timeline::{Second, Seconds};
use crate::time::{Span, Timestamp};

/// A client that stayed silent this long after its final ACK without drawing a SYN-ACK retransmission shows that the
/// listener does not defer: with `TCP_DEFER_ACCEPT` the SYN-ACK comes again after 1 s at the latest for its shortest
/// setting (`inet_csk_reqsk_queue_prune`, `reqsk_timer_handler`), later for longer ones.
const PATIENCE: Span = Span::millis(1_700);

/// A SYN is sent again after this (`TCP_TIMEOUT_INIT`, RFC 6298 section 2.1). An answer that comes later may be to a
/// second try that the capture has missed.
pub const SECOND_TRY: Span = Span::secs(1);

/// How far from the end of the connection in TIME_WAIT the next one on its port begins (`tcp_twsk_unique`: SND.NXT plus
/// 65535 plus 2).
const BEYOND_TIME_WAIT: u32 = 65_537;

/// Parts into which clients are divided by address: enough to tell one busy client from many.
const SHARES: usize = 16;

/// What is known of one listener.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Listener {
    /// Connections whose SYN or SYN-ACK was seen.
    pub attempts: u64,
    /// Connections with at least one segment of the server.
    pub answers: u64,
    /// Handshakes completed by the client.
    pub completed: u64,
    /// Connections on which the server showed that it has them.
    pub served: u64,
    /// How many of those whose SYN-ACK took another way than their SYN.
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
    /// First and last FIN of those that the client, and the server, closed first.
    pub closes: [Option<(PacketRef, PacketRef)>; 2],
    /// Connections that the client closed first, in shares by client: what one client did is in one of them.
    pub closers: [u64; SHARES],
    /// The ports of those.
    pub ports: Ports,
    /// By second of capture time.
    pub seconds: Seconds,
    /// Handshakes not completed of which no more is kept.
    pub uncounted: Uncounted,
    /// The SYNs that were answered.
    pub accepted: Option<Box<AcceptedSyns>>,
}

/// Handshakes that were not completed and of which no more is kept, for want of room.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Uncounted {
    /// Followed to their end.
    pub surplus: u64,
    /// Let go before their end.
    pub let_go: u64,
    /// How many of these were seen to be completed later.
    pub completed: u64,
    /// When the last of them began.
    pub last: Timestamp,
}

impl Uncounted {
    /// How many there are.
    pub fn handshakes(&self) -> u64 {
        self.surplus + self.let_go.saturating_sub(self.completed)
    }

    fn merge(&mut self, other: Uncounted) {
        self.surplus += other.surplus;
        self.let_go += other.let_go;
        self.completed += other.completed;
        self.last = self.last.max(other.last);
    }
}

impl Listener {
    /// Takes in a connection that is over.
    pub fn take(&mut self, f: &ConnectionFacts, end: Timestamp) {
        self.attempts += 1;
        self.answers += u64::from(f.s.segments > 0);
        let mut completed_at = f.final_ack.map(|ack| ack.at.time.seconds());
        self.completed += u64::from(completed_at.is_some());
        if let Some(syn) = f.syn.first() {
            let at = syn.at.time.seconds();
            let second = self.seconds.at(at);
            second.completed += u32::from(completed_at.take_if(|completed| *completed == at).is_some());
            second.syns += 1;
            let at_first_try =
                f.syn_ack.first().is_some_and(|answer| answer.at.time - syn.at.time < SECOND_TRY);
            second.answered += u32::from(at_first_try && f.answered_syn() == Some(syn));
            second.refused += u32::from(f.is_refused());
            if f.syn_ack.count > 0 && f.answered_syn() == Some(syn) {
                let again_after = f.previous.as_ref().map(|previous| f.first.time - previous.last.time);
                self.record_accepted(f.client, &f.syn_offer, again_after, f.syn_ack_offer.ttl);
            }
        }
        self.hear(f.syn_ack.iter().map(|sent| sent.at.time));
        self.hear([f.progress.map(|p| p.at), f.s.fin].into_iter().flatten().map(|at| at.time));
        if f.closed.is_none() {
            let last = (f.s.segments > f.syn_ack.count).then_some(f.s.last);
            self.hear([f.s.last_data, last].into_iter().flatten().map(|at| at.time));
        }
        if let Some(survived) = f.idle.as_ref().and_then(|idle| idle.survived) {
            self.survived = self.survived.max(survived.length);
        }
        if let Some(at) = completed_at {
            self.seconds.at(at).completed += 1;
        }
        if let Some(progress) = f.progress {
            self.served += 1;
            self.served_another_way += u64::from(f.returns_another_way());
            let second = self.seconds.at(progress.at.time.seconds());
            second.record_served(f.client.address, f.syn_offer.ttl);
        }
        match shows_no_deferral(f, end) {
            Some(Undeferred::Served) => self.undeferred += 1,
            Some(Undeferred::Waited) => self.patient += 1,
            None => {}
        }
        let offered = Options::SACK_PERMITTED | Options::WINDOW_SCALE;
        self.full_offers += u64::from(
            !f.syn_offer.options.has(Options::TIMESTAMPS)
                && f.syn_ack.count > 0
                && f.syn_ack_offer.options.any(offered),
        );
        if let Some(fin) = f.s.fin.filter(|fin| f.s.bytes == 0 && f.c.fin.is_none_or(|theirs| *fin < theirs))
        {
            self.seconds.at(fin.time.seconds()).closed_unserved += 1;
        }
        if let (Some(c), Some(s)) = (f.c.fin, f.s.fin) {
            // `secure_tcp_seq` does not come near it by chance: `tcp_twsk_unique` sets the next connection apart by so much.
            let recycled = f.previous.as_ref().is_some_and(|previous| {
                f.syn.count > 0 && f.c.isn == previous.client_next.advance(BEYOND_TIME_WAIT)
            });
            let taken = if recycled { Taken::FromTimeWait } else { Taken::Free };
            self.record_close(f.client, f.first.time, taken, c, s);
        }
    }

    /// Notes a SYN that was answered at the first try.
    fn record_accepted(&mut self, client: Host, syn: &Offer, again_after: Option<Span>, answer_ttl: u8) {
        let accepted = self.accepted.get_or_insert_default();
        accepted.record((client.address, client.port), syn, again_after, answer_ttl);
    }

    /// Notes when the server was heard.
    fn hear(&mut self, times: impl Iterator<Item = Timestamp>) {
        times.for_each(|time| self.seconds.at(time.seconds()).heard += 1);
    }

    /// The same of a connection of which nothing but one SYN and SYN-ACKs were seen.
    pub fn take_half_open(&mut self, key: &FlowKey, h: &HalfOpen) {
        let syn = h.first().time;
        let answer = h.answered().filter(|_| !h.is_refused());
        let answered = answer.is_some();
        self.attempts += 1;
        self.answers += u64::from(answered);
        let second = self.seconds.at(syn.seconds());
        second.syns += 1;
        second.answered += u32::from(answer.is_some_and(|at| at.time - syn < SECOND_TRY));
        if !h.is_refused() {
            self.hear(h.answer_times());
        }
        self.full_offers += u64::from(answered && is_full_offer(h));
        if answered {
            self.record_accepted(h.client(key), &h.syn_offer(), None, h.ttls().1);
        }
    }

    /// The same of a connection whose SYNs were refused.
    pub fn take_refused(&mut self, h: &HalfOpen) {
        self.attempts += 1;
        self.answers += 1;
        let second = self.seconds.at(h.first().time.seconds());
        second.syns += 1;
        second.refused += 1;
    }

    /// The same of a connection that went as it should.
    pub fn record_clean(&mut self, key: &FlowKey, b: &CleanFlow, course: &Course) {
        self.take_half_open(key, &b.asked);
        self.completed += 1;
        self.seconds.at(course.final_ack.seconds()).completed += 1;
        self.served += 1;
        self.served_another_way += u64::from(b.asked.returns_another_way());
        let (client, ttl) = (b.asked.client(key).address, b.asked.ttls().0);
        self.seconds.at(course.progress.seconds()).record_served(client, ttl);
        self.hear([course.progress, course.server_fin.time].into_iter());
        let spoke_first = course.progress_spoke && course.progress < course.client_spoke;
        let waited = course.client_spoke - course.final_ack >= PATIENCE;
        self.undeferred += u64::from(course.bare && spoke_first);
        self.patient += u64::from(course.bare && !spoke_first && waited);
        let (c, s) = (course.client_fin, course.server_fin);
        if !course.was_answered && s < c {
            self.seconds.at(s.time.seconds()).closed_unserved += 1;
        }
        self.record_close(b.asked.client(key), b.asked.first().time, Taken::Free, c, s);
    }

    /// Records the FINs of the client and of the server; the client opened the connection at `opened`.
    fn record_close(&mut self, client: Host, opened: Timestamp, taken: Taken, c: PacketRef, s: PacketRef) {
        let second = self.seconds.at(c.min(s).time.seconds());
        let closer = if c < s { Role::Client } else { Role::Server };
        match closer {
            Role::Client => {
                second.closed_by_client += 1;
                let share = share(client.address);
                self.closers[share] += 1;
                self.ports.record(share, client.address, client.port, opened, taken);
            }
            Role::Server => second.closed_by_server += 1,
        }
        self.closed_in_turn[closer.peer() as usize] += 1;
        let closed = c.min(s);
        widen(&mut self.closes[closer as usize], (closed, closed));
    }

    /// Adds up two histories of the same listener.
    pub fn merge(&mut self, other: Listener) {
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
    pub fn between(&self, from: Timestamp, to: Timestamp) -> Second {
        self.seconds.between(from.seconds(), to.seconds().max(from.seconds()))
    }

    /// The same of the whole seconds that lie inside of an interval: what happened in them happened after its beginning
    /// and before its end. Nothing where it holds no whole second.
    pub fn inside(&self, interval: Interval) -> Second {
        self.seconds.inside(interval.from.seconds(), interval.to.seconds())
    }

    /// [`Listener::inside`] for whoever takes it to mean something that a thing did not happen: where seconds are counted
    /// in longer steps it is all that may have happened inside of the interval.
    pub fn possibly_inside(&self, interval: Interval) -> Second {
        match self.seconds.step() {
            1 => self.inside(interval),
            _ => self.between(interval.from, interval.to),
        }
    }
}

/// The part of a client; always the same one. Neighbours in one network fall into different parts.
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

/// Whether the SYN-ACK has window scale or SACK-permitted for a client without timestamps.
fn is_full_offer(h: &HalfOpen) -> bool {
    let offered = Options::SACK_PERMITTED | Options::WINDOW_SCALE;
    !h.asked_options().has(Options::TIMESTAMPS) && h.answer_options().0.any(offered)
}

/// By what a connection shows that its listener does not use `TCP_DEFER_ACCEPT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Undeferred {
    /// It was served although the client had sent nothing.
    Served,
    /// It waited in silence, and was not asked again.
    Waited,
}

/// Whether this connection shows that its listener does not use `TCP_DEFER_ACCEPT`, and by what.
fn shows_no_deferral(f: &ConnectionFacts, end: Timestamp) -> Option<Undeferred> {
    let (Some(ack), 1) = (f.final_ack, f.syn_ack.count) else { return None };
    // Without its SYN the capture may lack earlier SYN-ACKs, too.
    if !ack.bare || f.syn.count == 0 {
        return None;
    }
    let spoke = [f.c.first_data, f.c.fin].into_iter().flatten().map(|at| at.time).min();
    // The server spoke first: it had the connection without data. (In a capture that changes the order of packets, what
    // it says may come before what it answers.)
    if let Some(progress) = f.progress
        && matches!(progress.what, What::Data | What::Fin)
        && progress.acked == 0
        && spoke.is_none_or(|spoke| progress.at.time < spoke)
    {
        return Some(Undeferred::Served);
    }
    // What was said in vain may have been said to a server that had died.
    if spoke.is_some() && f.progress.is_none() {
        return None;
    }
    let silent_until = spoke.or(f.closed).unwrap_or(end);
    (silent_until - ack.at.time >= PATIENCE).then_some(Undeferred::Waited)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_longer_steps_nothing_is_thought_not_to_have_happened() {
        let at = |seconds: i64| Timestamp(seconds * 1_000_000_000);
        let interval = Interval { from: at(100), to: at(106) };
        let mut listener = Listener::default();
        listener.seconds.at(103).answered += 1;
        let inside = |l: &Listener| [l.inside(interval), l.possibly_inside(interval)].map(|s| s.answered);
        assert_eq!(inside(&listener), [1, 1]);
        listener.seconds.coarsen(3);
        assert_eq!(inside(&listener), [0, 1]);
    }
}
