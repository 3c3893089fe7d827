//! The time in which a connection was half-closed.

use crate::detect::context::DetectContext;
use crate::flow::facts::{ConnectionFacts, PacketRef, Role, SegmentKind};
use crate::time::{Span, Timestamp};

/// A stream that pauses again and again may pause for longer than before. A silence this many times as long is no such
/// pause.
const PAUSES: i64 = 2;

/// A connection that one side has closed and the other has not: which side, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HalfClosedInterval {
    /// Who closed first: FIN_WAIT2.
    pub closer: Role,
    /// Its FIN.
    pub fin: PacketRef,
    /// The acknowledgment of that FIN, by which the other side entered CLOSE_WAIT.
    pub acked: PacketRef,
    /// Since when the other side has sent nothing that the closer accepted.
    pub quiet_since: Timestamp,
    /// Until when that lasted.
    pub until: Timestamp,
    /// The segment that ended it; `None` if nothing did.
    pub ended_by: Option<PacketRef>,
    /// The longest pause of the silent side before, between segments that it sent while half-closed.
    pub rhythm: Span,
}

impl HalfClosedInterval {
    /// How long the silence lasted.
    pub fn lasted(&self) -> Span {
        self.until - self.quiet_since
    }

    /// Whether the silence is longer than the earlier pauses of this stream suggest.
    pub fn breaks_rhythm(&self) -> bool {
        self.rhythm == Span::ZERO || self.lasted().0 > self.rhythm.0.saturating_mul(PAUSES)
    }
}

/// The half-closed interval of a connection, however short; `None` if one side never closed, or the capture lacks
/// one direction.
pub fn half_closed_interval(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<HalfClosedInterval> {
    let closer = match (f.c.fin, f.s.fin) {
        (Some(c), Some(s)) if s < c => Role::Server,
        (Some(_), _) => Role::Client,
        (None, Some(_)) => Role::Server,
        (None, None) => return None,
    };
    let (a, b) = (f.side(closer), f.side(closer.peer()));
    let (fin, acked) = (a.fin?, a.fin_acked?);
    if b.fin.or(b.fin_not_captured()).is_some_and(|theirs| theirs < acked) {
        return None; // Both had closed by then.
    }
    // Data after the closer's FIN means that the half-close is used, unless the closer answers it by RST. (The closer's
    // acknowledgment may not have been captured.)
    let taken = b.last_data.filter(|_| b.late_data_taken() || a.reset.is_none());
    // Bytes that the closer acknowledged before the FIN came were data, although the capture holds them too late or not
    // at all.
    let unseen = b.unseen_at.filter(|at| b.fin.is_some_and(|fin| *at < fin));
    let quiet_since = taken.max(unseen).map_or(acked.time, |data| data.time.max(acked.time));
    let refused = [&f.c.reset, &f.s.reset].into_iter().flatten().map(|r| match r.trigger {
        // A RST that answers something late: the silence ended with the segment that it answers.
        Some(t)
            if t.at.time > acked.time
                && matches!(t.what, SegmentKind::Data | SegmentKind::Retransmit | SegmentKind::Fin) =>
        {
            b.late_data().filter(|late| *late < t.at && !b.late_data_taken()).unwrap_or(t.at)
        }
        _ => r.at,
    });
    // A byte that the closer acknowledges and the capture does not hold may have been the FIN.
    let ended_by =
        b.fin.into_iter().chain(b.unseen_at).chain(refused).filter(|at| at.time >= acked.time).min();
    let until = match ended_by {
        Some(at) => at.time,
        None => around.observed_until(f.last.time).min(f.watched).max(quiet_since),
    };
    let rhythm = if taken.is_some() || unseen.is_some() { b.late_pause() } else { Span::ZERO };
    Some(HalfClosedInterval { closer, fin, acked, quiet_since, until, ended_by, rhythm })
}
