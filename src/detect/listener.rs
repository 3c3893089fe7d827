//! The history of one listener: what its connections got, and when.

use crate::decode::segment::{Address, Options};
use crate::detect::surroundings::Stretch;
use crate::flow::brief::{Brief, Course};
use crate::flow::facts::{ConnectionFacts, Mark, Role, What};
use crate::flow::half_open::HalfOpen;
use crate::flow::key::FlowKey;
use crate::time::{Span, Timestamp};

/// A client that stayed silent this long after its final ACK without drawing a SYN-ACK retransmission shows that the
/// listener does not defer: with `TCP_DEFER_ACCEPT` the SYN-ACK comes again after 1 s at the latest for its shortest
/// setting (`inet_csk_reqsk_queue_prune`, `reqsk_timer_handler`), later for longer ones.
const PATIENCE: Span = Span::millis(1_700);

/// A SYN is sent again after this (`TCP_TIMEOUT_INIT`, RFC 6298 section 2.1). An answer that comes later may be to a
/// second try that the capture has missed.
pub(super) const SECOND_TRY: Span = Span::secs(1);

/// What happened at a listener within one second.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Second {
    /// First SYNs.
    pub syns: u32,
    /// Handshakes whose server showed that it has the connection.
    pub served: u32,
    /// SYNs answered by SYN-ACK at the first try, before a second was due.
    pub answered: u32,
    /// Handshakes answered by RST.
    pub refused: u32,
    /// Connections that the client closed first: it holds TIME_WAIT.
    pub closed_by_client: u32,
    /// Connections that the server closed first.
    pub closed_by_server: u32,
    /// Handshakes that the client completed.
    pub completed: u32,
    /// Connections that the server closed by FIN before it had sent any payload.
    pub closed_unserved: u32,
    /// Segments of the server, not all of them: SYN-ACKs, the first and last word, FINs.
    pub heard: u32,
}

/// A [`Second`] for each second in which something happened, in order of time.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Seconds(Vec<(i64, Second)>);

impl Seconds {
    /// The entry of a second, made where there is none. What happens comes nearly in order: the place is at the end.
    #[inline]
    pub fn at(&mut self, second: i64) -> &mut Second {
        let place = match self.0.last() {
            Some((last, _)) if *last == second => self.0.len() - 1,
            Some((last, _)) if *last > second => self.place(second, *last),
            _ => {
                self.0.push((second, Second::default()));
                self.0.len() - 1
            }
        };
        &mut self.0[place].1
    }

    fn place(&mut self, second: i64, last: i64) -> usize {
        // Where something happened in every second since, it is as far from the end.
        let guess =
            usize::try_from(last.abs_diff(second)).ok().and_then(|far| (self.0.len() - 1).checked_sub(far));
        if let Some(guess) = guess.filter(|guess| self.0[*guess].0 == second) {
            return guess;
        }
        self.0.binary_search_by_key(&second, |(at, _)| *at).unwrap_or_else(|place| {
            self.0.insert(place, (second, Second::default()));
            place
        })
    }

    /// The seconds from `from` to `to`, both included.
    fn range(&self, from: i64, to: i64) -> impl Iterator<Item = &(i64, Second)> {
        let start = self.0.partition_point(|(at, _)| *at < from);
        self.0[start..].iter().take_while(move |(at, _)| *at <= to)
    }
}

impl<'a> IntoIterator for &'a Seconds {
    type Item = (&'a i64, &'a Second);
    type IntoIter = std::iter::Map<std::slice::Iter<'a, (i64, Second)>, fn(&'a (i64, Second)) -> Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(at, second)| (at, second))
    }
}

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
    /// Connections that were served while the client had sent nothing: no deferral here.
    pub undeferred: u64,
    /// Connections that waited in silence, and no SYN-ACK came again: no deferral, unless the capture lost it.
    pub patient: u64,
    /// SYN-ACKs with window scale or SACK-permitted to clients without timestamps: no cookies at that moment.
    pub full_offers: u64,
    /// Connections on which the client, and the server, closed after the other had closed first.
    pub closed_in_turn: [u64; 2],
    /// First and last FIN of those that the client, and the server, closed first.
    pub closes: [Option<(Mark, Mark)>; 2],
    /// Connections that the client closed first, in shares by client: what one client did is in one of them.
    pub closers: [u64; SHARES],
    /// By second of capture time.
    pub seconds: Seconds,
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
        }
        self.hear(f.syn_ack.iter().map(|sent| sent.at.time));
        self.hear([f.progress.map(|p| p.at), f.s.fin].into_iter().flatten().map(|at| at.time));
        if f.closed.is_none() {
            let last = (f.s.segments > f.syn_ack.count).then_some(f.s.last);
            self.hear([f.s.last_data, last].into_iter().flatten().map(|at| at.time));
        }
        if let Some(at) = completed_at {
            self.seconds.at(at).completed += 1;
        }
        if let Some(progress) = f.progress {
            self.served += 1;
            self.seconds.at(progress.at.time.seconds()).served += 1;
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
            self.take_close(f.client.address, c, s);
        }
    }

    /// Notes when the server was heard.
    fn hear(&mut self, times: impl Iterator<Item = Timestamp>) {
        times.for_each(|time| self.seconds.at(time.seconds()).heard += 1);
    }

    /// The same of a connection of which nothing but one SYN and SYN-ACKs were seen.
    pub fn take_half_open(&mut self, h: &HalfOpen) {
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
    pub fn take_brief(&mut self, key: &FlowKey, b: &Brief, course: &Course) {
        self.take_half_open(&b.asked);
        self.completed += 1;
        self.seconds.at(course.final_ack.seconds()).completed += 1;
        self.served += 1;
        self.seconds.at(course.progress.seconds()).served += 1;
        self.hear([course.progress, course.server_fin.time].into_iter());
        let spoke_first = course.progress_spoke && course.progress < course.client_spoke;
        let waited = course.client_spoke - course.final_ack >= PATIENCE;
        self.undeferred += u64::from(course.bare && spoke_first);
        self.patient += u64::from(course.bare && !spoke_first && waited);
        let (c, s) = (course.client_fin, course.server_fin);
        if !course.was_answered && s < c {
            self.seconds.at(s.time.seconds()).closed_unserved += 1;
        }
        self.take_close(b.asked.client(key).address, c, s);
    }

    /// Takes in the FINs of the client and of the server.
    fn take_close(&mut self, client: Address, c: Mark, s: Mark) {
        let second = self.seconds.at(c.min(s).time.seconds());
        let closer = if c < s { Role::Client } else { Role::Server };
        match closer {
            Role::Client => {
                second.closed_by_client += 1;
                self.closers[share(client)] += 1;
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
        self.undeferred += other.undeferred;
        self.patient += other.patient;
        self.full_offers += other.full_offers;
        for (own, others) in self.closers.iter_mut().zip(other.closers) {
            *own += others;
        }
        for (own, others) in self.closes.iter_mut().zip(other.closes) {
            if let Some(stretch) = others {
                widen(own, stretch);
            }
        }
        self.closed_in_turn[0] += other.closed_in_turn[0];
        self.closed_in_turn[1] += other.closed_in_turn[1];
        for (&at, s) in &other.seconds {
            let second = self.seconds.at(at);
            second.syns += s.syns;
            second.served += s.served;
            second.answered += s.answered;
            second.refused += s.refused;
            second.closed_by_client += s.closed_by_client;
            second.closed_by_server += s.closed_by_server;
            second.completed += s.completed;
            second.closed_unserved += s.closed_unserved;
            second.heard += s.heard;
        }
    }

    /// The seconds from `from` to `to`, both included, added up.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> Second {
        let (from, to) = (from.seconds(), to.seconds().max(from.seconds()));
        self.seconds.range(from, to).fold(Second::default(), |sum, (_, s)| Second {
            syns: sum.syns + s.syns,
            served: sum.served + s.served,
            answered: sum.answered + s.answered,
            refused: sum.refused + s.refused,
            closed_by_client: sum.closed_by_client + s.closed_by_client,
            closed_by_server: sum.closed_by_server + s.closed_by_server,
            completed: sum.completed + s.completed,
            closed_unserved: sum.closed_unserved + s.closed_unserved,
            heard: sum.heard + s.heard,
        })
    }

    /// The same of the whole seconds that lie inside of a stretch: what happened in them happened after its beginning
    /// and before its end. Nothing where it holds no whole second.
    pub fn inside(&self, stretch: Stretch) -> Second {
        let second =
            |t: Timestamp, after: i64| Timestamp((t.seconds() + after).saturating_mul(1_000_000_000));
        let (from, to) = (second(stretch.from, 1), second(stretch.to, -1));
        if from <= to { self.between(from, to) } else { Second::default() }
    }
}

/// The part of a client; always the same one. Neighbours in one network fall into different parts.
fn share(client: Address) -> usize {
    /// 2^64 divided by the golden ratio.
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = client.0.iter().fold(0u64, |mixed, &octet| {
        let mixed = (mixed ^ u64::from(octet)).wrapping_mul(GOLDEN);
        mixed ^ mixed >> 32
    });
    (mixed.wrapping_mul(GOLDEN) >> 60) as usize % SHARES
}

fn widen(stretch: &mut Option<(Mark, Mark)>, (first, last): (Mark, Mark)) {
    let (from, to) = stretch.unwrap_or((first, last));
    *stretch = Some((from.min(first), to.max(last)));
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
