//! How an established connection died. Several kinds read it, so that each death is reported by only one of them.

use crate::decode::segment::{Flags, Traits};
use crate::detect::analysis::fin_wait2::expired;
use crate::detect::analysis::half_closed::half_closed_interval;
use crate::detect::analysis::ignored_ack::ignored_ack;
use crate::detect::analysis::ignored_client::ignored_pattern;
use crate::detect::analysis::reset_together::{AT_ONCE, reset_together};
use crate::detect::context::DetectContext;
use crate::flow::facts::{
    ConnectionFacts, OngoingRetransmission, RecoveredLosses, Reset, Role, SegmentKind, Side,
};
use crate::flow::outcome::{
    CLOSED_WINDOW, LASTED, REPEATED, first_reset, has_foreign_ttl, has_overtaken_fin, is_by_box,
    stalled_alone,
};
use crate::history::interval::Interval;
use crate::time::{Span, Timestamp};

/// From the first repetition to the acknowledgment: a shorter time means that only a few packets were lost.
const INTERRUPTED: Span = Span::secs(3);
/// No box on a path forgets a connection that was idle for less than this.
pub const FORGETFUL: Span = Span::secs(15);
/// A segment smaller than this fits every path, bytes.
const SMALL: u32 = 500;
/// A time-out for idle connections is no shorter than this.
pub const KEPT_ALIVE: Span = Span::millis(900);
/// If at least this many connections in use are closed in one moment, the application has ended.
const TOGETHER: usize = 3;
/// How soon after an application has ended a new connection finds no listener.
const RESTARTS: Span = Span::secs(2);

/// How an established connection died.
#[derive(Clone, Copy, Debug)]
pub enum FlowFailure<'a> {
    /// The receive window of `receiver` stayed closed.
    ZeroWindow {
        /// Whose window.
        receiver: Role,
    },
    /// Segments of `sender` above some size are lost, smaller ones arrive.
    PathMtu {
        /// Who sends them.
        sender: Role,
    },
    /// Captured at the receiver: a gap of full-size segments of `sender` is never filled, smaller ones arrive.
    LargeMissing {
        /// Who sends them.
        sender: Role,
        /// Which segments are missing.
        missing: MissingSegments,
    },
    /// It was idle for `idle`; after that, the data of `sender` drew no answer, or a RST that its peer did not send.
    Forgotten {
        /// The end that sent first after the pause.
        sender: Role,
        /// How long both had been silent; at least that, where the capture began in the pause.
        idle: Span,
        /// What answered.
        reset: Option<&'a Reset>,
    },
    /// It was idle for `idle`; then a RST came in the name of `role`, which had not sent it, although neither end had
    /// sent anything.
    ResetWhenIdle {
        /// In whose name.
        role: Role,
        /// How long both had been silent.
        idle: Span,
        /// The RST.
        reset: &'a Reset,
    },
    /// The data of `sender` is repeated and never acknowledged.
    Unacknowledged {
        /// Who repeats.
        sender: Role,
        /// What.
        repeating: &'a OngoingRetransmission,
    },
    /// The data of `sender` is acknowledged, and still repeated: the acknowledgments do not reach it.
    NotHeard {
        /// Who repeats.
        sender: Role,
    },
    /// The data of `sender` was repeated for long, and acknowledged in the end: the connection lived on.
    Interrupted {
        /// Who repeated.
        sender: Role,
        /// What, and until when.
        healed: &'a RecoveredLosses,
    },
    /// A RST in the name of `role` that it did not send.
    Injected {
        /// In whose name.
        role: Role,
        /// The RST.
        reset: &'a Reset,
    },
    /// The server's FIN crossed the client's next request, or came before it.
    ClosedWhenAsked {
        /// How long the connection had been idle.
        idle: Span,
        /// The RST that answers the request.
        reset: &'a Reset,
    },
    /// A segment came under another address than the connection's: a NAT did not translate it.
    Untranslated,
    /// The host of `role` has the connection, but had no socket for one of its segments: that segment came there under
    /// another address.
    ResetUnderOtherName {
        /// Who sent the RST.
        role: Role,
        /// The RST.
        reset: &'a Reset,
    },
    /// The host of `role` no longer had a socket for it.
    Stale {
        /// Who had none.
        role: Role,
        /// Its RST.
        reset: &'a Reset,
    },
}

/// Full-size segments that never arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MissingSegments {
    /// The size of the gap, bytes.
    pub gap: u32,
    /// The size of one segment, bytes.
    pub size: u32,
    /// For how long it was not filled.
    pub lasted: Span,
    /// The segments of the sender that arrived long after the gap began.
    pub heard: GapActivity,
}

/// Which segments of an end arrived while a gap was open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GapActivity {
    /// Other segments of the same connection.
    OfTheConnection,
    /// Other connections of the host.
    OfTheHost,
    /// Nothing.
    Nothing,
}

/// How the connection died, if it died in one of these ways.
pub fn flow_failure<'a>(f: &'a ConnectionFacts, around: &DetectContext<'_>) -> Option<FlowFailure<'a>> {
    if around.lives.get() == Some(f.first.packet) {
        return None;
    }
    let failure = find_flow_failure(f, around);
    if failure.is_none() {
        around.lives.set(Some(f.first.packet));
    }
    failure
}

/// The same, computed anew.
fn find_flow_failure<'a>(f: &'a ConnectionFacts, around: &DetectContext<'_>) -> Option<FlowFailure<'a>> {
    let established = f.final_ack.is_some() || f.mid_stream;
    if !established || f.odd_handshake {
        return None;
    }
    if !f.both_seen() {
        let sender = stalled_alone(f)?;
        let repeating = f.side(sender).in_vain()?;
        return Some(FlowFailure::Unacknowledged { sender, repeating });
    }
    if around.untranslated(f).is_some() {
        return Some(FlowFailure::Untranslated);
    }
    let until = around.observed_until(f.last.time).min(f.watched.max(f.last.time));
    if let Some(receiver) = Role::BOTH.into_iter().find(|&role| window_stays_closed(f, role, until)) {
        return Some(FlowFailure::ZeroWindow { receiver });
    }
    if let Some(sender) = Role::BOTH.into_iter().find(|&role| loses_large_segments(f, role)) {
        return Some(FlowFailure::PathMtu { sender });
    }
    if let Some((sender, missing)) =
        Role::BOTH.into_iter().find_map(|role| Some((role, missing_segment(f, role, until, around)?)))
    {
        return Some(FlowFailure::LargeMissing { sender, missing });
    }
    if let Some((role, reset)) = first_reset(f)
        && let Some(failure) = by_reset(f, role, reset, around)
    {
        return Some(failure);
    }
    by_silence(f, around)
}

/// The side that sends to `role`.
fn sender_to(f: &ConnectionFacts, role: Role) -> &Side {
    f.side(role.peer())
}

/// Whether the window of `role` was closed for long while its peer had something to send.
fn window_stays_closed(f: &ConnectionFacts, role: Role, until: Timestamp) -> bool {
    f.side(role).zero_window.as_ref().is_some_and(|zero| {
        let probed =
            sender_to(f, role).keepalives() > zero.probes_before || sender_to(f, role).in_vain().is_some();
        let (_, closed) = zero.longest(until);
        zero.count >= 2 && probed && closed >= CLOSED_WINDOW
    })
}

/// Whether full-size segments of `role` are repeated, now or until they were made smaller, while the peer says that
/// something smaller behind them has arrived.
fn loses_large_segments(f: &ConnectionFacts, role: Role) -> bool {
    let side = f.side(role);
    let Some(repeating) = side.repeating.as_deref() else { return false };
    let larger = |size: u32| size > SMALL && size > side.largest_acked;
    // Offloading may join later segments into one that is larger than the path allows: such a one proves nothing.
    let healed = repeating.healed.is_some_and(|h| {
        h.count >= REPEATED
            && h.at.time - h.first.time >= LASTED
            && h.largest > SMALL
            && h.latest + 100 < h.largest
    });
    let told = f.icmp.as_deref().filter(|icmp| icmp.mtu > 0 && icmp.quotes_client == (role == Role::Client));
    let stuck = side.in_vain().is_some_and(|r| {
        let smaller_arrived = (side.sacks() > 0 || is_heard_without_sack(f, role))
            && side.flight.latest < r.largest
            || told.is_some_and(|icmp| r.largest + TCP_AND_IP > u32::from(icmp.mtu));
        r.count >= REPEATED
            && r.last.time - side.flight.begin.time >= LASTED
            && larger(r.largest)
            && smaller_arrived
    });
    healed || stuck
}

/// Whether a peer without SACK is still there, but the flight of `role` does not arrive. The peer sends ACKs after the
/// flight was due, acknowledges none of it, and has sent no data of its own.
pub fn is_heard_without_sack(f: &ConnectionFacts, role: Role) -> bool {
    let (side, peer) = (f.side(role), f.side(role.peer()));
    let since = side.flight.begin;
    f.lacks_sack()
        && side.acked_known
        && side.flight.seq == side.acked
        && peer.last > since
        && peer.last_data.is_none_or(|data| data < since)
        && peer.keepalives() == 0
}

/// The shortest headers of IPv4 and TCP, bytes.
const TCP_AND_IP: u32 = 40;

/// A sender without an acknowledgment repeats missing bytes three times within this.
const REPEATED_WITHIN: Span = Span::secs(3);
/// The timestamps option with its padding.
const TIMESTAMPS: u32 = 12;

/// Whether full-size segments of `role` never arrived here although smaller ones behind them did.
fn missing_segment(
    f: &ConnectionFacts,
    role: Role,
    until: Timestamp,
    around: &DetectContext<'_>,
) -> Option<MissingSegments> {
    let side = f.side(role);
    // A smaller segment behind them did arrive.
    if side.flight.largest == 0 {
        return None;
    }
    if side.sacks() == 0 && !(f.lacks_sack() && f.side(role.peer()).last > side.flight.begin) {
        return None;
    }
    let mss = u32::from(f.syn_offer.mss.min(f.syn_ack_offer.mss));
    let size = mss.checked_sub(if f.timestamps() { TIMESTAMPS } else { 0 }).filter(|size| *size > SMALL)?;
    let gap = u32::try_from(side.flight.seq.distance(side.acked)).ok().filter(|gap| *gap > 0)?;
    let until = f.closed.unwrap_or(until).min(until);
    let lasted = until - side.flight.begin.time;
    let is_left = side.acked_known
        && side.in_vain().is_none()
        && gap % size == 0
        && side.flight.largest < size
        && lasted >= REPEATED_WITHIN
        && !around.context.damaged;
    let since = side.flight.begin.time;
    let later = Interval { from: since + REPEATED_WITHIN, to: until };
    let heard = if side.last.time - since >= REPEATED_WITHIN {
        GapActivity::OfTheConnection
    } else if role == Role::Server && around.heard_of_host(f.server.address, later) {
        GapActivity::OfTheHost
    } else {
        GapActivity::Nothing
    };
    is_left.then_some(MissingSegments { gap, size, lasted, heard })
}

/// The cause of a RST on a connection that was established.
fn by_reset<'a>(
    f: &'a ConnectionFacts,
    role: Role,
    reset: &'a Reset,
    around: &DetectContext<'_>,
) -> Option<FlowFailure<'a>> {
    let (own, peer) = (f.side(role), f.side(role.peer()));
    let idle = peer.flight.idle;
    let answers_a_flight = reset.trigger.is_some_and(|t| t.at >= peer.flight.begin) && peer.has_outstanding();
    if is_by_box(f, reset) {
        if is_by_another_host(f, role, reset, around) {
            return Some(FlowFailure::Stale { role, reset });
        }
        if let Some(idle) = quiet_before(own, reset).filter(|_| has_foreign_ttl(f, reset)) {
            return Some(FlowFailure::ResetWhenIdle { role, idle, reset });
        }
        let idle_before = answers_a_flight && idle >= FORGETFUL && reset.went_on.is_none();
        if has_closed(f, role, reset) {
            return None;
        }
        let spoken = role == Role::Client || f.c.has_spoken() || f.s.has_spoken() || f.mid_stream;
        if !idle_before && has_no_socket_for_segment(f, role, reset) {
            return Some(FlowFailure::ResetUnderOtherName { role, reset });
        }
        return match (idle_before, spoken) {
            (true, _) => Some(FlowFailure::Forgotten { sender: role.peer(), idle, reset: Some(reset) }),
            (false, true) => Some(FlowFailure::Injected { role, reset }),
            (false, false) => None,
        };
    }
    if let Some(idle) = idle_since_the_capture_began(f, role, reset, around) {
        return Some(FlowFailure::Forgotten { sender: role.peer(), idle, reset: Some(reset) });
    }
    // Linux sets the window of a RST without ACK to 0: this one comes from a box that ends connections in the host's
    // name.
    let is_foreign = !reset.flags.has(Flags::ACK)
        && reset.window != 0
        && reset.trigger.is_some_and(|t| t.ack == reset.seq)
        && own.fin.is_none();
    if is_foreign && answers_a_flight && idle >= FORGETFUL && reset.went_on.is_none() {
        return Some(FlowFailure::Forgotten { sender: role.peer(), idle, reset: Some(reset) });
    }
    if role == Role::Server && reset.is_socketless() && crossed(f, around) && expired(f, around).is_none() {
        let idle = f.c.flight.idle.max(f.s.flight.idle);
        return Some(FlowFailure::ClosedWhenAsked { idle, reset });
    }
    // If the capture begins in the middle, the FIN may have come before it, and probes go on for hours after a FIN.
    let answers = reset.trigger.is_some_and(|t| {
        let is_late_probe = t.what == SegmentKind::KeepAlive && f.mid_stream;
        matches!(
            t.what,
            SegmentKind::Data
                | SegmentKind::Retransmit
                | SegmentKind::Fin
                | SegmentKind::KeepAlive
                | SegmentKind::Ack
        ) && t.ack == reset.seq
            && !is_late_probe
    });
    // A scan may send an ACK that draws a RST: a RST whose sender was not heard before must answer more than that.
    let is_known = reset.before.segments > 0
        || f.mid_stream
            && !around.context.strays.is_matched(f)
            && reset.trigger.is_some_and(|t| t.what != SegmentKind::Ack && peer.has_spoken());
    if !(reset.is_bare() && answers && is_known && !is_told_otherwise(f, role, reset, around)) {
        return None;
    }
    let is_forgotten = role == Role::Server
        && answers_a_flight
        && idle >= MINUTE
        && (Span(1)..idle).contains(&around.listener.survived)
        && outlived_the_pause(f, reset, around);
    if is_forgotten {
        return Some(FlowFailure::Forgotten { sender: role.peer(), idle, reset: Some(reset) });
    }
    Some(match has_no_socket_for_segment(f, role, reset) && was_alive_before(own, reset) {
        true => FlowFailure::ResetUnderOtherName { role, reset },
        false => FlowFailure::Stale { role, reset },
    })
}

/// Whether the RST has another explanation than a lost socket: that end had closed, never had the connection, or ends
/// together with others.
fn is_told_otherwise(f: &ConnectionFacts, role: Role, reset: &Reset, around: &DetectContext<'_>) -> bool {
    let own = f.side(role);
    own.fin.is_some()
        || has_closed(f, role, reset)
        || f.progress.is_none() && !f.mid_stream && !is_at_probe(reset)
        // A server that repeats its SYN-ACK never accepted the connection: a request that answers probes runs out.
        || f.progress.is_none() && role == Role::Server && f.syn_ack.count > 1
        || f.c.fin_acked.is_some() && f.s.fin_acked.is_some()
        || is_ignored(f, around)
        || reset_together(f, around).is_some()
        || expired(f, around).is_some()
        || half_closed_interval(f, around).is_some_and(|half| half.closer == role)
}

/// A pause of this length is longer than the time between two requests.
const MINUTE: Span = Span::secs(60);
/// A host that serves others at least this often was not restarted in between.
const RESTART: i64 = 2;
/// The server must have served others in this many seconds.
const SERVED: usize = 5;

/// Whether the server's host was up from before the pause to the RST: a connection lasted as long, or it served others all the while.
pub fn outlived_the_pause(f: &ConnectionFacts, reset: &Reset, around: &DetectContext<'_>) -> bool {
    if reset.before.segments == 0 {
        return false;
    }
    let asked = f.c.flight.begin.time;
    let begun = asked.after(Span(-f.c.flight.idle.0));
    let lasting = around.context.heard.get(&f.server.address);
    if lasting.is_some_and(|all| all.iter().any(|heard| heard.from <= begun && heard.to > reset.at.time)) {
        return true;
    }
    let seconds = &around.listener.seconds;
    let (from, to) = (begun.seconds(), reset.at.time.seconds());
    let served = seconds.within(from, to).filter(|(_, second)| second.served > 0).map(|(at, _)| at);
    let mut last = from;
    let mut times = 0;
    for at in served.chain([to]) {
        if at - last > RESTART {
            return false;
        }
        (last, times) = (at, times + 1);
    }
    seconds.step() == 1 && times > SERVED
}

/// Whether another host behind the server's address sent the RST. That host has no socket for the connection, and other
/// connections of the listener were answered with the RST's TTL.
pub fn is_by_another_host(
    f: &ConnectionFacts,
    role: Role,
    reset: &Reset,
    around: &DetectContext<'_>,
) -> bool {
    let ttls = around.listener.accepted.as_deref().map_or(&[][..], |accepted| accepted.answer_ttl.all());
    role == Role::Server
        && reset.has_other_ttl()
        && ttls.contains(&reset.ttl)
        && reset.is_bare()
        && reset.went_on.is_none()
        && reset.trigger.is_some_and(|t| t.ack == reset.seq && t.what != SegmentKind::SynAck)
        && f.s.fin.is_none()
}

/// A box that resets idle connections waits at least this long. An intrusion prevention system resets at any time.
const TIME_OUT: Span = Span::secs(30);

/// How long both ends had been silent before a RST, if that is long enough for a box to forget the connection.
fn quiet_before(own: &Side, reset: &Reset) -> Option<Span> {
    let spoke = own.silences.iter().find(|(_, to)| *to == reset.at.time)?.0;
    let quiet = reset.at.time - spoke.max(reset.trigger?.at.time);
    (quiet >= TIME_OUT).then_some(quiet)
}

/// How long a connection had at least been idle whose first segment in the capture drew a RST: since the capture began.
/// The RST has a TTL that no answer of this listener has.
fn idle_since_the_capture_began(
    f: &ConnectionFacts,
    role: Role,
    reset: &Reset,
    around: &DetectContext<'_>,
) -> Option<Span> {
    let accepted = around.listener.accepted.as_deref()?;
    let is_foreign = !accepted.answer_ttl.all().is_empty() && accepted.answer_ttl.lacks(reset.ttl);
    let is_first = f.mid_stream && reset.before.segments == 0 && role == Role::Server;
    let idle = f.first.time - around.context.capture?.0;
    (is_first && is_foreign && f.c.has_spoken() && idle >= TIME_OUT).then_some(idle)
}

/// Whether the RST of a host that goes on with the connection is still its own (`tcp_v4_send_reset`): it answers data
/// that came there under another address. This is read of clients only: behind the address of a server there may be
/// several hosts.
fn has_no_socket_for_segment(f: &ConnectionFacts, role: Role, reset: &Reset) -> bool {
    let answers_data = role == Role::Client
        && reset.trigger.is_some_and(|t| {
            matches!(t.what, SegmentKind::Data | SegmentKind::Retransmit | SegmentKind::Fin)
                && t.ack == reset.seq
        });
    let is_v4 = !f.side(role).traits.has(Traits::V6);
    reset.is_bare() && !has_foreign_ttl(f, reset) && reset.ip_id == 0 && is_v4 && answers_data
}

/// Whether the application of this end had closed its socket by the time of the RST. A client's FIN may wait behind
/// data that the segment which drew the RST acknowledged at last; or the RST has overtaken it.
fn has_closed(f: &ConnectionFacts, role: Role, reset: &Reset) -> bool {
    let own = f.side(role);
    let healed = own.repeating.as_ref().and_then(|repeating| repeating.healed);
    let waited =
        role == Role::Client && reset.trigger.is_some_and(|t| healed.is_some_and(|healed| healed.at == t.at));
    waited || role == Role::Client && has_overtaken_fin(own, reset)
}

/// Whether the RST of this end answers the peer's first segment after its last request, and the end does not go on. A
/// box that inspects requests resets the client. A NAT may leave any segment of a stream untranslated.
pub fn is_reset_at_answer(f: &ConnectionFacts, role: Role, reset: &Reset) -> bool {
    let (own, peer) = (f.side(role), f.side(role.peer()));
    reset.went_on.is_none() && own.last_data.is_some() && own.flight.ack == peer.acked
}

/// Whether that end was heard within the second before its RST: no host restarts so soon, and a socket that is closed
/// or aborted sends a FIN or RST.
pub fn was_alive_before(own: &Side, reset: &Reset) -> bool {
    reset.before.segments > 1 && own.silences.iter().all(|(_, to)| *to != reset.at.time)
}

/// Whether the RST answers a keepalive probe.
fn is_at_probe(reset: &Reset) -> bool {
    reset.trigger.is_some_and(|t| t.what == SegmentKind::KeepAlive)
}

/// A request that has waited for its acknowledgment for longer than this is not just on its way.
const UNDER_WAY: Span = Span::secs(1);

/// Whether the server closed an idle connection while the client's next request was on its way: the request is not
/// acknowledged. If it acknowledges the FIN, the client's kernel had the FIN and the application did not look.
fn crossed(f: &ConnectionFacts, around: &DetectContext<'_>) -> bool {
    let asked = &f.c.flight;
    let idle = asked.idle.max(f.s.flight.idle);
    f.s.fin.is_some_and(|fin| fin.time - asked.begin.time < UNDER_WAY)
        && f.c.last_data.is_some()
        && f.c.has_outstanding()
        && asked.seq == f.c.acked
        && (f.s.flight.seq == f.s.fin_seq && (idle >= KEPT_ALIVE || stops(f, around).is_some())
            || had_all_answers(f))
}

/// Whether the client had all that the server sent before its FIN when it sent its last request, and had got an answer
/// before.
fn had_all_answers(f: &ConnectionFacts) -> bool {
    let closes = f.c.fin.is_some();
    !closes && f.s.data_segments > 1 && f.c.data_segments > 1 && f.c.flight.ack.distance(f.s.fin_seq) >= 0
}

/// The sign that the server's application ended when it closed this connection, which its client went on using.
pub fn stops(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<ApplicationEndSign> {
    let fin = f.s.fin?;
    let (before, after) = (fin.time.after(Span(-AT_ONCE.0)), fin.time.after(AT_ONCE));
    let together = around.activity.closed_in_use_between(before, after);
    let until = fin.time.after(RESTARTS);
    let refuses = around.listener.between(fin.time, until).refused > 0 && !around.refuses_in_turn();
    match () {
        () if refuses => Some(ApplicationEndSign::Refuses),
        () if together >= TOGETHER => Some(ApplicationEndSign::ClosesAll(together)),
        () => None,
    }
}

/// The sign that an application ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ApplicationEndSign {
    /// New connections were refused afterwards.
    Refuses,
    /// It closed this many connections in use in one moment.
    ClosesAll(usize),
}

/// Whether a full accept queue explains that the client got no acknowledgment.
fn is_ignored(f: &ConnectionFacts, around: &DetectContext<'_>) -> bool {
    ignored_ack(f, around.end()).is_some_and(|o| ignored_pattern(f, &o, around).is_some())
}

/// The segments that are repeated without an acknowledgment.
fn by_silence<'a>(f: &'a ConnectionFacts, around: &DetectContext<'_>) -> Option<FlowFailure<'a>> {
    let sender = Role::BOTH.into_iter().find(|&role| {
        let side = f.side(role);
        side.in_vain().is_some_and(|r| {
            // A FIN alone is for `fin-unacknowledged`.
            r.count >= REPEATED && r.last.time - side.flight.begin.time >= LASTED && r.largest > 0
        })
    });
    let Some(sender) = sender else {
        if let Some(sender) = Role::BOTH.into_iter().find(|&role| is_not_heard(f, role)) {
            return Some(FlowFailure::NotHeard { sender });
        }
        return interrupted(f, around);
    };
    // The capture also has it under another address, where it is reported.
    if around.connection_of_stray(f).is_some() {
        return None;
    }
    // A repeated SYN-ACK belongs to the handshake. An incomplete capture does not show its cause.
    let doubtful = around.context.damaged && f.progress.is_none() && f.syn_ack.count > 1;
    if doubtful || is_ignored(f, around) {
        return None;
    }
    let side = f.side(sender);
    let repeating = side.in_vain()?;
    let idle = side.flight.idle;
    let spoken_before = side.flight.seq == repeating.seq && side.data_segments > 1 || f.mid_stream;
    let survived = f.idle.as_ref().and_then(|idle| idle.survived).map_or(Span::ZERO, |pause| pause.length);
    // A pause as long as those before it is normal for this connection.
    let is_unusual = idle.0 > survived.0 + survived.0 / 10;
    Some(match idle >= FORGETFUL && is_unusual && spoken_before {
        true => FlowFailure::Forgotten { sender, idle, reset: None },
        false => FlowFailure::Unacknowledged { sender, repeating },
    })
}

/// Segments repeated for long before they were acknowledged, on a connection that lived on.
fn interrupted<'a>(f: &'a ConnectionFacts, around: &DetectContext<'_>) -> Option<FlowFailure<'a>> {
    let found = Role::BOTH.into_iter().find_map(|sender| {
        let healed = f.side(sender).repeating.as_deref()?.healed.as_ref()?;
        let lasted = healed.at.time - healed.first.time;
        // A receiver whose buffer is full drops segments although it had advertised room for them.
        let slow_reader = f.side(sender.peer()).zero_window.is_some();
        // A step of the clock makes a moment look long.
        (!around.context.damaged
            && !slow_reader
            && healed.count >= REPEATED
            && healed.largest > 0
            && lasted >= INTERRUPTED)
            .then_some((sender, healed))
    });
    let (sender, healed) = found?;
    (!is_ignored(f, around)).then_some(FlowFailure::Interrupted { sender, healed })
}

/// Whether `role` repeats data that its peer has acknowledged, and the peer repeats its answer.
fn is_not_heard(f: &ConnectionFacts, role: Role) -> bool {
    f.side(role).repeating.as_deref().is_some_and(|r| {
        let (first, last) = r.of_acknowledged_at;
        r.of_acknowledged >= REPEATED && last.time - first.time >= LASTED
    })
}
