//! Whether a listener went away, or was replaced by another: a restart, a reload, a failover.

use crate::detect::context::DetectContext;
use crate::flow::facts::{ConnectionFacts, FinalAck, Reset, Roles};
use crate::history::ended::SECOND_TRY;
use crate::time::{Span, Timestamp};

/// A SYN that the port refuses no further away in time than this shows that nothing listened.
const REFUSED_NEAR: Span = Span::secs(2);
/// When a listener goes, handshakes under way are reset within this: until their final ACKs have come.
const UNDER_WAY: Span = Span::secs(1);
/// Resets that go on for longer than this do not come from a single moment.
const AROUND: Span = Span::secs(10);
/// The RST leaves as soon as the ACK arrives; a loaded server may take this much longer than for its SYN-ACK.
const AT_ONCE: Span = Span::millis(200);
/// Signs of a full queue count if they are no further away in time than this.
const NEAR: Span = Span::secs(3);
/// If this many connections end together, the whole process ended.
const TOGETHER: usize = 3;

/// The sign that a listener went away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListenerGoneSign {
    /// SYNs were refused in the same seconds.
    Refuses,
    /// A socket of the server reset this many connections that waited in its queue, in the same moment.
    QueueReset(usize),
    /// This many of its connections drew a RST without a socket.
    SocketsLost(usize),
    /// It closed this many connections that their clients went on using.
    Closed(usize),
    /// Only the RSTs: others were served in that second, and nothing shows a full queue.
    ServesOthers,
}

impl ListenerGoneSign {
    /// Whether it also explains the end of a handshake that had waited for longer.
    pub fn ends_waiting(self) -> bool {
        matches!(self, ListenerGoneSign::Refuses | ListenerGoneSign::QueueReset(_))
    }

    /// One clause.
    pub fn clause(self) -> String {
        let s = |n: usize| if n == 1 { "" } else { "s" };
        match self {
            ListenerGoneSign::Refuses => "SYNs to that port were refused in the same seconds".to_owned(),
            ListenerGoneSign::QueueReset(n) => {
                format!("in the same moment the server reset {n} connection{} that waited in its queue", s(n))
            }
            ListenerGoneSign::SocketsLost(n) => {
                format!("in the same second the server had no socket any more for {n} established connection{}", s(n))
            }
            ListenerGoneSign::ServesOthers => {
                "other connections were served in the same second, nobody was seen waiting, and the resets came in one moment"
                    .to_owned()
            }
            ListenerGoneSign::Closed(n) => format!("in the same moment the server closed {n} connections that were in use"),
        }
    }
}

/// Whether the listener went away at about `at`, when it reset a handshake.
pub fn gone(around: &DetectContext<'_>, at: Timestamp) -> Option<ListenerGoneSign> {
    let activity = around.activity;
    let (before, after) = (at.after(Span(-UNDER_WAY.0)), at.after(UNDER_WAY));
    // A listener that answers SYNs between two resets is still there.
    if !activity.were_reset_in_one_moment(before, after) {
        return None;
    }
    if refused_near(around, at) && !around.refuses_in_turn() {
        return Some(ListenerGoneSign::Refuses);
    }
    if resets_persist(around, at) {
        return None;
    }
    let closed = activity.closed_in_use_between(before, at);
    let aborted = activity.aborted_between(before, at.after(AT_ONCE));
    let aborted = aborted.connections - aborted.prompt.min(aborted.connections);
    let lost = activity.sockets_lost_between(before, after);
    match () {
        () if aborted > 0 => Some(ListenerGoneSign::QueueReset(aborted)),
        () if lost > 0 => Some(ListenerGoneSign::SocketsLost(lost)),
        () if closed >= TOGETHER => Some(ListenerGoneSign::Closed(closed)),
        () if around.listener.between(at, at).served > 0 && !is_full(around, at) => {
            Some(ListenerGoneSign::ServesOthers)
        }
        () => None,
    }
}

/// Whether anything but the RST at `at` shows a full queue: clients waited in it, SYNs were dropped, or the resets went
/// on.
pub fn is_full(around: &DetectContext<'_>, at: Timestamp) -> bool {
    resets_persist(around, at) || shows_full_queue(around, at)
}

/// The seconds in which some clients were served and others reset, from which on the two count as alternating.
const IN_TURN: usize = 3;

/// Whether resets go on while others are served in turn with them, and no client waits: another host or socket answers
/// the final ACK.
pub fn resets_in_turn(around: &DetectContext<'_>, at: Timestamp) -> bool {
    let (from, to) = (at.after(Span(-AROUND.0)), at.after(AROUND));
    let seconds = &around.listener.seconds;
    let served = seconds.within(from.seconds(), to.seconds()).filter(|(_, second)| second.served > 0);
    resets_persist(around, at)
        && !shows_full_queue(around, at)
        && seconds.step() == 1
        && served.count() >= IN_TURN
}

/// Whether clients waited in the queue at `at`, or SYNs were dropped.
fn shows_full_queue(around: &DetectContext<'_>, at: Timestamp) -> bool {
    let (from, to) = (at.after(Span(-NEAR.0)), at.after(NEAR));
    let activity = around.activity;
    activity.unserved_at(at) > 0
        || activity.stuck.iter().any(|stuck| stuck.during.meets(from, to, Span::ZERO))
        || activity.ignored.iter().any(|ignored| ignored.during.meets(from, to, Span::ZERO))
}

/// Whether the port refused SYNs at about `at`.
pub fn refused_near(around: &DetectContext<'_>, at: Timestamp) -> bool {
    let (from, to) = (at.after(Span(-REFUSED_NEAR.0)), at.after(REFUSED_NEAR));
    around.listener.between(from, to).refused > 0
}

/// Whether final ACKs were answered by RST over a longer time than handshakes take.
pub fn resets_persist(around: &DetectContext<'_>, at: Timestamp) -> bool {
    let within = |span: Span| around.activity.resets_between(at.after(Span(-span.0)), at.after(span));
    within(AROUND) > within(UNDER_WAY)
}

/// A RST without a socket that answers a plain handshake's final ACK, or data after it that was not acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct ResetHandshake<'a> {
    /// The final ACK.
    pub ack: FinalAck,
    /// The RST.
    pub reset: &'a Reset,
    /// How long after the ACK it came.
    pub after: Span,
    /// Whether it came as soon after the ACK as an answer does.
    pub at_once: bool,
}

/// The RST by which the server answered a plain handshake, or the client's first segment after it.
pub fn reset_handshake<'a>(f: &'a ConnectionFacts, around: &DetectContext<'_>) -> Option<ResetHandshake<'a>> {
    let ack = f.final_ack?;
    let reset = f.s.reset.as_deref()?;
    // Only timestamps show which of several SYNs was answered.
    let turnaround = f.syn_to_syn_ack().filter(|_| f.timestamps() || f.syn.count == 1);
    let usual = around.round_trip().unwrap_or(Span::ZERO);
    // If it seems to have come later than the SYN would have been repeated, earlier SYNs are missing.
    let turnaround = turnaround.unwrap_or(usual).max(Span::ZERO).min(usual.max(SECOND_TRY));
    let after = reset.at.time - ack.at.time;
    let plain_handshake = f.roles == Roles::BySyn && f.other_isns == 0 && f.progress.is_none();
    let answers_the_ack = reset.is_bare()
        && reset.seq == f.s.isn.advance(1)
        && after >= Span::ZERO
        && f.c.reset.as_ref().is_none_or(|r| r.at > reset.at);
    let by_the_server = reset.ttl == f.syn_ack_offer.ttl;
    // REJECT never copies the type of service of the segment that it answers; `tcp_v4_send_reset` always does.
    let rejected = reset.trigger.is_some_and(|t| t.tos >> 2 != 0 && reset.tos == 0);
    let at_once = after.0 <= turnaround.0.saturating_mul(2).saturating_add(AT_ONCE.0);
    (plain_handshake && answers_the_ack && by_the_server && !rejected).then_some(ResetHandshake {
        ack,
        reset,
        after,
        at_once,
    })
}
