//! `half-close`: one side has closed, the other has long been silent.

use crate::decode::segment::Traits;
use crate::detect::analysis::half_closed::{HalfClosedInterval, half_closed_interval};
use crate::detect::capture_state::CaptureState;
use crate::detect::context::DetectContext;
use crate::detect::details::{Details, HalfClosedDetails};
use crate::detect::draft::{Draft, cause};
use crate::detect::spec::{Examine, LeadsTo, RelationCondition, finding};
use crate::flow::facts::{ConnectionFacts, Ending, Role, Roles};
use crate::flow::key::Host;
use crate::history::settings::UserSettings;
use crate::history::strays::StrayKind;
use crate::history::wants::Wants;
use crate::model::{Kind, Severity};
use crate::time::{Span, Timestamp};

finding! {
    /// One side's FIN was acknowledged, and the other side was then silent for long without closing.
    ///
    /// ## On the wire
    /// FIN of one side, ACK of the other, and then nothing: no data, no FIN. The side that closed waits in FIN_WAIT2,
    /// the other is in CLOSE_WAIT. Keepalive probes may pass; they are not data.
    /// ## In the kernel
    /// CLOSE_WAIT has no timer: it lasts until the application calls close(), or a keepalive finds the peer gone
    /// (`tcp_fin`, `tcp_keepalive_timer`). FIN_WAIT2 ends after `tcp_fin_timeout` if the application has called
    /// close() (an orphan: `tcp_time_wait`), and never if it has only called shutdown().
    /// ## Looks alike
    /// * A half-close on purpose: the other side goes on sending data and closes when it is done. No finding.
    /// * A stream with pauses whose data the other side accepts: no finding unless the silence lasts for more than
    ///   twice its longest pause.
    /// * A long computation before the answer: silent, but the answer comes and is accepted.
    /// * The capture ended, or was interrupted: only the time in which packets were captured counts.
    /// ## Check next
    /// On the side in CLOSE_WAIT: `ss -tnpo state close-wait` names the process; Recv-Q 1 means that it has not even
    /// read the end of the stream. Look for a leaked descriptor, a pool that keeps dead connections, a blocked thread.
    /// ## References
    /// tcp(7) on tcp_fin_timeout; RFC 9293 section 3.6
    pub struct HalfClose {
        kind: Kind::HalfClose,
        plain_words: "One side has closed; the other neither closes nor sends anything.",
        at_fault: "the application that does not close its side",
        wants: Wants::full(is_half_closed).or_clean(|_, course, settings| {
            (course.client_fin.time - course.server_fin.time).0.abs() >= settings.half_close_after.0
        }),
        examine: Examine::Connection(examine),
        look_alikes: &["half-close/legitimate-stream", "half-close/simultaneous-close", "half-close/idle-with-keepalive", "nothing-wrong/slow-server"],
        settings: &["net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_time"],
        leads_to: &[
            LeadsTo {
                effect: Kind::FinWait2Expired,
                said_of_effect: "late segments met a socket that was gone",
                said_of_cause: "the half-close came before it",
                when: RelationCondition::Always,
            },
        ],
    }
}

/// From this many connections on that one listener left half-closed at the capture's end, they are a pattern.
const PATTERN: usize = 3;
/// Whether one side's FIN stood alone for the time that the user set, or to the end.
fn is_half_closed(f: &ConnectionFacts, settings: &UserSettings) -> bool {
    match (f.c.fin, f.s.fin) {
        (Some(c), Some(s)) => (c.time - s.time).0.abs() >= settings.half_close_after.0,
        (None, None) => false,
        _ => true,
    }
}

/// See [`is_the_rule`]. If the capture loses one packet of twenty, a FIN and its acknowledgment are both missing once
/// in 400 connections.
const IN_TURN: u64 = 10;

/// Whether the capture ended before the time that the user set, but the listener shows a pattern. Several connections
/// were closed by one side and stay open at the other, and none was ever closed in turn. The longest has been so for a
/// good part of that time.
fn was_cut_short(f: &ConnectionFacts, half: &HalfClosedInterval, around: &DetectContext<'_>) -> bool {
    let alike = || around.activity.left_open.iter().filter(|left| left.closer == half.closer);
    let longest = alike().map(|left| left.lasted).max().unwrap_or(Span::ZERO);
    half.ended_by.is_none()
        && half.breaks_rhythm()
        && around.context.state == CaptureState::Ended
        && f.ending == Ending::CaptureEnd
        && alike().count() >= PATTERN
        && longest.0 >= around.context.settings.half_close_after.0 / 4
        && around.listener.closed_in_turn[half.closer.peer() as usize] == 0
}

/// Whether the listener has too many half-closes of this kind for missing packets to explain them: at least one for
/// every [`IN_TURN`] connections that both sides closed.
fn is_the_rule(half: &HalfClosedInterval, around: &DetectContext<'_>) -> bool {
    let alike = around.activity.left_open.iter().filter(|left| left.closer == half.closer).count();
    let in_turn = around.listener.closed_in_turn[half.closer.peer() as usize];
    alike >= PATTERN && alike as u64 * IN_TURN >= in_turn
}

/// Whether the half-close is part of another incident. The connection waited in a full accept queue, and
/// the server's application never sent anything on it. Or it waited there for longer than it has been half-closed.
fn belongs_to_full_queue(f: &ConnectionFacts, half: &HalfClosedInterval, around: &DetectContext<'_>) -> bool {
    if f.roles == Roles::Guessed {
        return false;
    }
    let activity = around.activity;
    let queue_was_full = |until: Timestamp| {
        let full = activity.stuck.iter().map(|s| s.during).chain(activity.ignored.iter().map(|i| i.during));
        full.into_iter().any(|full| full.meets(f.first.time, until, Span::ZERO))
    };
    let never_served = f.s.bytes == 0 && queue_was_full(f.last.time);
    // If the order of packets was changed, or some are missing, it may not be known which of them was ignored.
    let asked_again = f.syn.count > 1 || f.syn_ack.count > 1;
    let held_up = f.unanswered_syns().next().is_some()
        || activity.stuck.iter().any(|s| s.client == f.client)
        || (asked_again || around.context.damaged) && queue_was_full(half.fin.time);
    let delay = f.served().map_or(Span::ZERO, |served| served - f.first.time);
    never_served || (held_up && half.lasted() < delay)
}

/// Whether the FIN of the silent side may have come before the capture began: none of its segments shows that its side
/// was still open.
fn may_have_closed_before(f: &ConnectionFacts, silent: Role) -> bool {
    let b = f.side(silent);
    f.roles == Roles::Guessed && b.bytes == 0 && b.keepalives() == 0 && b.fin.is_none()
}

/// Whether the server's application had sent payload when the connection was half-closed: otherwise it may not have
/// accepted it.
fn was_served(f: &ConnectionFacts, half: &HalfClosedInterval) -> bool {
    half.closer == Role::Server || f.s.first_data.map_or(f.s.has_spoken(), |said| said <= half.fin)
}

/// How long after the acknowledgment of its FIN the closer was seen to be an orphan in FIN_WAIT2. That is a small
/// socket, whose answers to probes have IPv4 identification 0, while its earlier segments counted up.
fn orphan_alive(f: &ConnectionFacts, half: &HalfClosedInterval) -> Option<Span> {
    let (closer, waiter) = (f.side(half.closer), f.side(half.closer.peer()));
    let probing = waiter.probing.as_ref()?;
    let small = probing.answers > 0 && probing.ip_id == 0 && closer.last_ip_id != 0;
    let is_v4 = !closer.traits.has(Traits::V6);
    (small && is_v4 && probing.answered > half.acked).then(|| probing.answered.time - half.acked.time)
}

/// See [`HalfClose`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let half = half_closed_interval(f, around)?;
    // The other side has closed, under an address that was not translated: `untranslated-segment`.
    if around
        .untranslated(f)
        .is_some_and(|(_, stray)| matches!(stray.kind, StrayKind::Fin | StrayKind::Reset))
    {
        return None;
    }
    let lasted = half.lasted();
    let threshold = around.context.settings.half_close_after;
    let watched = half.ended_by.is_some() || around.seen_time(half.quiet_since, half.until) >= threshold;
    let long_enough = lasted >= threshold && watched && half.breaks_rhythm();
    if !f.both_seen()
        || may_have_closed_before(f, half.closer.peer())
        || !(long_enough || was_cut_short(f, &half, around))
        || belongs_to_full_queue(f, &half, around)
    {
        return None;
    }
    let (closer, waiter) = (f.host(half.closer), f.host(half.closer.peer()));
    let (closer_is, waiter_is) = (half.closer, half.closer.peer());
    let b = f.side(half.closer.peer());
    let mut d = Draft::about(f, &SPEC, (half.fin, format!("FIN of the {closer_is}: it sends no more data")));
    d.shows(half.acked, format!("ACK of the {waiter_is}: it is in CLOSE_WAIT, the {closer_is} in FIN_WAIT2"));
    show_waiter(&mut d, f, &half);
    let end = match half.ended_by {
        Some(at) => {
            d.shows(at, format!("the silence ends after {lasted}"));
            format!("for {lasted}")
        }
        None => format!("for at least {lasted}, until the capture ended"),
    };
    d.lasted_until(half.until);
    // A FIN and its acknowledgment that the capture lost look the same: an exception in a damaged capture does not
    // count.
    let doubtful = half.ended_by.is_none() && around.context.damaged;
    let news = long_enough && (!doubtful || is_the_rule(&half, around));
    d.severity = if news { Severity::Warning } else { Severity::Info };
    d.summary = format!(
        "The {closer_is} {} closed; the {waiter_is} {} acknowledged the FIN and sent nothing {end}.",
        closer.socket(),
        waiter.socket()
    );
    d.cause = cause(
        "The application on the side in CLOSE_WAIT did not close its socket, so the peer waits in FIN_WAIT2.",
        &["tcp_fin", "tcp_close_state", "tcp_time_wait"],
        &[],
        &["net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_time"],
    );
    d.details = Details::HalfClose(HalfClosedDetails {
        closer: half.closer,
        closer_host: closer,
        waiter_host: waiter,
        served: was_served(f, &half),
        orphan_alive: orphan_alive(f, &half),
    });
    d.measure_span("half_closed_s", lasted)
        .measure("ended", half.ended_by.is_some())
        .measure("keepalives", b.keepalives());
    let reason = "the capture holds the FIN and its acknowledgment, and no FIN in return";
    if !long_enough {
        d.possible(
            "the capture ended too soon, but the other side closed no connection of this listener in return",
        );
    } else if doubtful {
        d.possible("no FIN came in return, but the capture lost packets and may have lost that FIN");
    } else if f.roles == Roles::Guessed {
        d.probable(format!("{reason}; the ports suggest which end is the server"));
    } else {
        d.probable(reason);
    }
    d.or(
        "The application needs long to compute its answer.",
        "Then data follows that the closing side still accepts. The capture shows none.",
    );
    d.next_steps = next_steps(closer, waiter);
    Some(d)
}

/// Shows the later segments of the end that did not close.
fn show_waiter(d: &mut Draft, f: &ConnectionFacts, half: &HalfClosedInterval) {
    let (closer_is, waiter_is) = (half.closer, half.closer.peer());
    let waiter = f.side(waiter_is);
    if let Some(data) = waiter.last_data.filter(|_| waiter.late_data_taken()) {
        d.shows(data, format!("last data of the {waiter_is} that the {closer_is} accepted"));
    }
    if let Some(probe) = waiter.keepalive().filter(|at| at.time > half.acked.time) {
        d.shows(probe, format!("keepalive probe of the {waiter_is}, {} in all", waiter.keepalives()));
    }
}

/// Who holds the socket, and what to do about it.
fn next_steps(closer: Host, waiter: Host) -> Vec<String> {
    vec![
        format!(
            "ss -tnpo state close-wait '( sport = :{} or dport = :{} )'   # on {}: which process holds the socket?",
            waiter.port,
            waiter.port,
            waiter.address.ip()
        ),
        format!("ss -tno state fin-wait-2   # on {}: a timer means that no application holds the socket any more", closer.address.ip()),
        "Make the application call close() when read() returns 0. Look for leaked descriptors and stale entries of a pool.".to_owned(),
    ]
}
