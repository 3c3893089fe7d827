//! How a connection ended, as far as the capture shows: one of a few outcomes, computed only here.
//!
//! It says how the connection ended, not why: the detectors find the cause.

use std::fmt;

use crate::decode::segment::{Flags, TcpOptions};
use crate::flow::compact::half_open::HalfOpen;
use crate::flow::facts::{ConnectionFacts, Ending, Reset, Role, Roles, Side};
use crate::time::{Span, Timestamp};

/// A SYN or SYN-ACK that was not repeated within this time will not be: the timer starts at 1 s, or at 3 s on old
/// kernels (`TCP_TIMEOUT_INIT`).
pub const FIRST_TIMER: Span = Span::millis(3_300);
/// From this many repetitions on, an outage is more than one lost packet.
pub const REPEATED: u16 = 3;
/// The shortest time that an outage lasts.
pub const LASTED: Span = Span::secs(1);
/// The same where only one end was captured.
const STALLED_ALONE: Span = Span::secs(2);
/// A receive window that stays closed for this long stalls the connection.
pub const CLOSED_WINDOW: Span = Span::secs(5);

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Outcome {
    /// Both FINs were acknowledged.
    Closed,
    /// A RST ended it after all data was acknowledged and answered.
    ClosedByReset,
    /// It goes on.
    Open,
    /// One end has closed, the other has not.
    HalfClosed,
    /// The capture holds too little of it to say.
    CutOff,
    /// A RST or an ICMP error answered the SYN.
    Refused,
    /// Nothing answered the SYN.
    Unanswered,
    /// The SYN was answered, and the handshake never completed.
    NeverCompleted,
    /// One end's data is repeated and not acknowledged, or the peer's window is closed.
    Stalled,
    /// The client reset it before all data was answered.
    ResetByClient,
    /// The server reset it before all data was answered.
    ResetByServer,
    /// A RST came that the end in whose name it came had not sent.
    ResetByBox,
}

impl Outcome {
    /// How many there are.
    pub const COUNT: usize = 12;
    /// All, those that are no failure first.
    pub const ALL: [Outcome; Outcome::COUNT] = [
        Outcome::Closed,
        Outcome::ClosedByReset,
        Outcome::Open,
        Outcome::HalfClosed,
        Outcome::CutOff,
        Outcome::Refused,
        Outcome::Unanswered,
        Outcome::NeverCompleted,
        Outcome::Stalled,
        Outcome::ResetByClient,
        Outcome::ResetByServer,
        Outcome::ResetByBox,
    ];

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Closed => "closed",
            Outcome::ClosedByReset => "closed-by-reset",
            Outcome::Open => "open",
            Outcome::HalfClosed => "half-closed",
            Outcome::CutOff => "cut-off",
            Outcome::Refused => "refused",
            Outcome::Unanswered => "unanswered",
            Outcome::NeverCompleted => "never-completed",
            Outcome::Stalled => "stalled",
            Outcome::ResetByClient => "reset-by-client",
            Outcome::ResetByServer => "reset-by-server",
            Outcome::ResetByBox => "reset-by-box",
        }
    }

    /// Whether the connection failed: it was never established, or it ended before all data was acknowledged and
    /// answered.
    pub fn is_failure(self) -> bool {
        matches!(
            self,
            Outcome::Refused
                | Outcome::Unanswered
                | Outcome::NeverCompleted
                | Outcome::Stalled
                | Outcome::ResetByClient
                | Outcome::ResetByServer
                | Outcome::ResetByBox
        )
    }

    /// The outcome of a connection that was watched until `until`, or to its last packet if that came later.
    pub fn of(f: &ConnectionFacts, until: Timestamp) -> Outcome {
        if f.ending == Ending::Evicted {
            return Outcome::CutOff;
        }
        let until = until.max(f.last.time);
        // If the final ACK is not in the capture, the client's FIN or the server's payload shows that there was one.
        let fast_open = f.syn_offer.payload > 0;
        let went_on = f.client_continued() || f.c.fin.is_some() || f.s.has_spoken() && !fast_open;
        if f.syn.count > 0 && f.final_ack.is_none() && !f.odd_handshake && !went_on {
            return Outcome::of_handshake(f, until);
        }
        if f.c.fin_acked.is_some() && f.s.fin_acked.is_some() {
            return Outcome::Closed;
        }
        if let Some((role, reset)) = first_reset(f) {
            return Outcome::of_reset(f, role, reset);
        }
        // A SYN-ACK without any packet of the client: only one direction was captured.
        if !f.both_seen() {
            return if stalled_alone(f).is_some() { Outcome::Stalled } else { Outcome::CutOff };
        }
        if Role::BOTH.iter().any(|&role| is_stalled(f, role, until)) || handshake_hangs(f) {
            return Outcome::Stalled;
        }
        if f.c.fin_acked.is_some() || f.s.fin_acked.is_some() {
            return Outcome::HalfClosed;
        }
        Outcome::Open
    }

    /// The outcome of a connection that has only SYNs and their answers, watched until `until`.
    pub fn of_half_open(half_open: &HalfOpen, until: Timestamp) -> Outcome {
        if half_open.is_refused() {
            let is_join = half_open.syn_offer().options.has(TcpOptions::MPTCP_SUBFLOW);
            return if is_join { Outcome::ClosedByReset } else { Outcome::Refused };
        }
        Outcome::incomplete(half_open.syns(), half_open.syn_acks(), until - half_open.last().time)
    }

    /// A SYN was seen, and no final ACK.
    fn of_handshake(f: &ConnectionFacts, until: Timestamp) -> Outcome {
        if f.was_given_up() {
            return Outcome::NeverCompleted;
        }
        // A further path of an MPTCP connection that is refused: the connection goes on.
        if f.is_refused_join() {
            return Outcome::ClosedByReset;
        }
        if f.syn_ack.count == 0 && (f.is_refused() || f.icmp.as_ref().is_some_and(|icmp| icmp.quotes_client))
        {
            return Outcome::Refused;
        }
        // A half-open scan: the client wanted only the answer. A client that repeats its SYN after a RST got a wrong
        // answer.
        if f.syn_ack.count > 0 && f.c.resets > 0 && f.syn.count == 1 {
            return Outcome::ClosedByReset;
        }
        let answers = f.syn_ack.count.max(u32::from(f.ack_to_syn.as_ref().map_or(0, |ack| ack.count)));
        Outcome::incomplete(f.syn.count, answers, until - f.last.time)
    }

    /// The outcome of this many SYNs and answers, followed by this silence.
    fn incomplete(syns: u32, answers: u32, silence: Span) -> Outcome {
        let is_over = silence >= FIRST_TIMER;
        match answers {
            0 if syns > 1 || is_over => Outcome::Unanswered,
            1.. if answers > 1 || is_over => Outcome::NeverCompleted,
            _ => Outcome::CutOff,
        }
    }

    /// The first RST came in the name of `role`.
    fn of_reset(f: &ConnectionFacts, role: Role, reset: &Reset) -> Outcome {
        let (own, peer) = (f.side(role), f.side(role.peer()));
        if is_by_box(f, reset) {
            return Outcome::ResetByBox;
        }
        if own.keepalives() >= 2 && own.keepalive().is_some_and(|probe| peer.last < probe) {
            return Outcome::Stalled;
        }
        let failure = match role {
            Role::Client => Outcome::ResetByClient,
            Role::Server => Outcome::ResetByServer,
        };
        // Whether the server has answered the client's last data.
        let answered = match (f.c.last_data, f.s.last_data) {
            (None, _) => true,
            (Some(asked), Some(answer)) => answer > asked,
            (Some(_), None) => false,
        };
        let unserved = f.c.last_data.is_some() && !answered;
        let closed_before = own.fin.is_some_and(|fin| fin < reset.at);
        let refused = peer.has_outstanding() && is_new_to(own, peer);
        let done = match role {
            // A client that closes or resets does so on purpose, unless it waits for an answer.
            Role::Client => closed_before || !unserved,
            Role::Server if f.final_ack.is_some() && f.s.last_data.is_none() && own.fin.is_none() => false,
            Role::Server => answered && !refused && !own.has_outstanding(),
        };
        if done { Outcome::ClosedByReset } else { failure }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether the last payload of `peer` came after an end had sent its own last payload.
fn is_new_to(own: &Side, peer: &Side) -> bool {
    peer.last_data.is_some_and(|asked| own.last_data.is_none_or(|answer| answer < asked))
}

/// The first RST of either end. A RST of the client before the handshake was complete does not count: it is about an
/// older connection of the same four-tuple.
pub fn first_reset(f: &ConnectionFacts) -> Option<(Role, &Reset)> {
    let of_client = f.c.reset.as_deref().filter(|reset| f.final_ack.is_none_or(|ack| reset.at > ack.at));
    match (of_client, f.s.reset.as_deref()) {
        (Some(c), Some(s)) if s.at < c.at => Some((Role::Server, s)),
        (Some(c), _) => Some((Role::Client, c)),
        (None, Some(s)) => Some((Role::Server, s)),
        (None, None) => None,
    }
}

/// The end whose data is repeated without success where the capture holds nothing of the other end. Whether that end
/// answers is not known, but no answer arrives. The last segments are repetitions. If even the handshake was captured
/// in one direction only, the outcome is unknown.
pub fn stalled_alone(f: &ConnectionFacts) -> Option<Role> {
    Role::BOTH.into_iter().find(|&role| {
        let side = f.side(role);
        f.mid_stream
            && f.side(role.peer()).segments == 0
            && side.in_vain().is_some_and(|r| {
                r.count >= REPEATED
                    && r.largest > 0
                    && r.last == side.last
                    && side.last_data.is_none_or(|data| data < r.first)
                    && r.last.time - r.first.time >= STALLED_ALONE
            })
    })
}

/// Whether the data of `role` is repeated without success, or cannot be sent because the peer's window is closed.
fn is_stalled(f: &ConnectionFacts, role: Role, until: Timestamp) -> bool {
    let (own, peer) = (f.side(role), f.side(role.peer()));
    let repeated =
        own.in_vain().is_some_and(|r| r.count >= REPEATED && r.last.time - own.flight.begin.time >= LASTED);
    let not_heard = peer.repeating.as_deref().is_some_and(|r| {
        r.of_acknowledged >= REPEATED && r.of_acknowledged_at.1.time - r.of_acknowledged_at.0.time >= LASTED
    });
    let window_closed = peer.zero_window.as_ref().is_some_and(|zero| {
        zero.opened.is_none()
            && own.keepalives() > zero.probes_before
            && until - zero.first.time >= CLOSED_WINDOW
    });
    repeated || not_heard && own.last_data.is_some() && own.has_outstanding() || window_closed
}

/// Whether the SYN-ACK is repeated although the client has completed the handshake.
fn handshake_hangs(f: &ConnectionFacts) -> bool {
    f.roles != Roles::Guessed
        && f.progress.is_none()
        && f.final_ack.is_some_and(|ack| f.syn_ack.count >= u32::from(ack.syn_acks) + 2)
}

/// Whether a RST has a TTL that its apparent sender had not used before, or that end went on sending.
///
/// Linux sends all segments of a connection with the same TTL, even a RST without a socket. That the end went on proves
/// nothing where the handshake is not in the capture: the RST may be about an older connection.
pub fn is_by_box(f: &ConnectionFacts, reset: &Reset) -> bool {
    let from_the_start =
        f.syn.count > 0 && f.other_isns == 0 && f.final_ack.is_some_and(|ack| ack.at < reset.at);
    let went_on = reset.before.segments > 1 && reset.went_on.is_some_and(|(_, n)| reset.ip_id != 0 || n > 1);
    let by_client = f.c.reset.as_deref().is_some_and(|own| own.at == reset.at);
    let went_on = went_on && !(by_client && has_overtaken_fin(&f.c, reset));
    has_foreign_ttl(f, reset) || from_the_start && went_on
}

/// A FIN that follows a RST this soon was sent before it, and was overtaken on the path.
const OVERTAKEN: Span = Span::secs(1);

/// Whether a RST without a socket has overtaken its sender's FIN.
pub fn has_overtaken_fin(own: &Side, reset: &Reset) -> bool {
    reset.is_bare() && own.fin.is_some_and(|fin| fin >= reset.at && fin.time - reset.at.time < OVERTAKEN)
}

/// Whether the TTL of the RST is that of another sender. A gateway that captures on all its interfaces sees forwarded
/// packets twice, the first time with a TTL larger by 1.
pub fn has_foreign_ttl(f: &ConnectionFacts, reset: &Reset) -> bool {
    let forwarded = f.duplicates > 0 && reset.ttl == reset.before.ttl.1.wrapping_add(1);
    reset.has_other_ttl() && !forwarded && !reset.is_of_a_socket_on_another_route()
}

impl Reset {
    /// Whether the RST looks like a socket's own, and the route has become a little longer or shorter.
    fn is_of_a_socket_on_another_route(&self) -> bool {
        /// A route may change by this many hops.
        const HOPS: u8 = 3;
        let (least, most) = self.before.ttl;
        let is_near = self.ttl.abs_diff(least).min(self.ttl.abs_diff(most)) <= HOPS;
        let goes_on = self.before.next_known && self.seq == self.before.next;
        let is_active = self.flags.has(Flags::ACK) && self.window != 0;
        let is_next = self.before.ip_id != 0 && (1..=8).contains(&self.ip_id.wrapping_sub(self.before.ip_id));
        is_near && goes_on && is_active && (self.options.has(TcpOptions::TIMESTAMPS) || is_next)
    }

    /// Whether its TTL is new: its apparent sender had not used it before.
    pub fn has_other_ttl(&self) -> bool {
        let (least, most) = self.before.ttl;
        self.before.segments > 0 && (self.ttl < least || self.ttl > most)
    }
}

/// How many connections there were of each outcome.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Outcomes([u64; Outcome::COUNT]);

impl Outcomes {
    /// One more.
    #[inline]
    pub fn record(&mut self, outcome: Outcome) {
        if let Some(count) = self.0.get_mut(outcome as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// Adds `n` connections with this outcome.
    pub fn record_many(&mut self, outcome: Outcome, n: u64) {
        if let Some(count) = self.0.get_mut(outcome as usize) {
            *count = count.saturating_add(n);
        }
    }

    /// Adds the counts of another part of the connections.
    pub fn add(&mut self, other: &Outcomes) {
        self.0.iter_mut().zip(other.0).for_each(|(all, more)| *all = all.saturating_add(more));
    }

    /// Subtracts `outcome`s that were counted more than once.
    pub fn remove(&mut self, outcome: Outcome, n: u64) {
        if let Some(counted) = self.0.get_mut(outcome as usize) {
            *counted = counted.saturating_sub(n);
        }
    }

    /// Subtracts copies: this many of the connections were counted twice, with any outcome.
    pub fn take_out_copies(&mut self, copies: u64) {
        let all = self.0.iter().fold(0_u64, |sum, n| sum.saturating_add(*n));
        let copies = copies.min(all);
        for n in &mut self.0 {
            let share = u128::from(*n).saturating_mul(copies.into()).checked_div(all.into()).unwrap_or(0);
            *n = n.saturating_sub(share as u64);
        }
    }

    /// Adds the counts of another capture that holds `matched` of these connections too: each of them counts once. If
    /// the two disagree, the one that failed counts.
    pub fn join(&mut self, other: &Outcomes, matched: u64) {
        let mut left = matched;
        let mut agreed = [0; Outcome::COUNT];
        let mut apart = [0_u64; Outcome::COUNT];
        let both = self.0.iter().zip(other.0);
        for ((own, other), (agreed, apart)) in both.zip(agreed.iter_mut().zip(&mut apart)) {
            *agreed = (*own).min(other).min(left);
            left = left.saturating_sub(*agreed);
            *apart = own.saturating_sub(*agreed).saturating_add(other.saturating_sub(*agreed));
        }
        // A connection on which the two disagree is counted twice. Outcomes that are no failure come first, and are
        // subtracted.
        for (one, agreed) in apart.iter_mut().zip(agreed) {
            let some = left.min(*one);
            left = left.saturating_sub(some);
            *one = one.saturating_sub(some).saturating_add(agreed);
        }
        self.0 = apart;
    }

    /// Each with its number, where there are any.
    pub fn iter(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL.into_iter().zip(self.0).filter(|(_, n)| *n > 0)
    }

    /// How many failed.
    pub fn failed(&self) -> u64 {
        self.iter().filter(|(outcome, _)| outcome.is_failure()).map(|(_, n)| n).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::wire::Wire;

    /// The outcome of the only connection of `wire`, watched for `seconds`.
    #[track_caller]
    fn outcome(wire: &Wire, seconds: f64) -> Outcome {
        Outcome::of(&wire.only(), crate::flow::wire::at(seconds))
    }

    #[test]
    fn what_goes_well_is_no_failure() {
        for wire in Wire::everywhere() {
            wire.ladder(1).served(0.0);
            assert_eq!(outcome(&wire, 1.0), Outcome::Closed);
        }
        let wire = Wire::at_client();
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        l.exchange(t, 100, 1_000);
        assert_eq!(outcome(&wire, 900.0), Outcome::Open);
    }

    #[test]
    fn a_syn_without_an_answer_is_unanswered_unless_the_capture_ends_too_soon() {
        let wire = Wire::at_client();
        wire.ladder(1).client.syn(0.0);
        assert_eq!(outcome(&wire, 1.0), Outcome::CutOff);
        assert_eq!(outcome(&wire, 9.0), Outcome::Unanswered);
        let wire = Wire::at_server();
        let l = wire.ladder(1);
        l.client.syn(0.0);
        l.server.syn_ack(0.0001);
        assert_eq!(outcome(&wire, 1.0), Outcome::CutOff);
        assert_eq!(outcome(&wire, 9.0), Outcome::NeverCompleted);
    }

    #[test]
    fn data_repeated_in_vain_stalls() {
        let wire = Wire::at_client();
        let l = wire.ladder(1);
        let t = l.handshake(0.0);
        l.exchange(t, 100, 1_000);
        l.client.data(30.0, 100);
        for again in [30.2, 30.6, 31.4, 33.0] {
            l.client.again(again);
        }
        let f = wire.only();
        assert_eq!(Outcome::of(&f, f.last.time), Outcome::Stalled);
        let repeating = f.c.in_vain().expect("nothing acknowledged it");
        assert_eq!((repeating.count, repeating.largest, repeating.heard), (4, 100, 0));
        assert_eq!(f.c.largest_acked, 100);
        let pause = f.idle.and_then(|idle| idle.last).expect("a pause");
        assert!(pause.length > Span::secs(29) && f.c.flight.idle == pause.length, "{pause:?}");
    }
}
