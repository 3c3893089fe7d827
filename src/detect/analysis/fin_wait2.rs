//! Segments that came so late after a half-close that the socket in FIN_WAIT2 was gone.

use crate::detect::analysis::half_closed::{HalfClosedInterval, half_closed_interval};
use crate::detect::context::DetectContext;
use crate::flow::facts::{ConnectionFacts, Reset, ResetTrigger, SegmentKind};
use crate::time::Span;

/// A FIN or a keepalive probe that draws a RST after this much silence counts as too late for FIN_WAIT2.
const SHORTEST: Span = Span::secs(5);

/// Segments sent to a socket that was gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LateSegment {
    /// Data.
    Data,
    /// Data, and a FIN after it.
    DataAndFin,
    /// A FIN alone.
    Fin,
    /// A keepalive probe.
    KeepAlive,
}

impl LateSegment {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            LateSegment::Data => "data",
            LateSegment::DataAndFin => "data and FIN",
            LateSegment::Fin => "FIN",
            LateSegment::KeepAlive => "a keepalive probe",
        }
    }
}

/// A late segment, and the RST that answered it.
#[derive(Clone, Debug)]
pub struct ExpiredSocket<'a> {
    /// The half-close before it.
    pub half: HalfClosedInterval,
    /// The RST.
    pub reset: &'a Reset,
    /// The segment that it answered.
    pub trigger: ResetTrigger,
    /// The same in short.
    pub what: LateSegment,
    /// How long nothing had come before.
    pub silence: Span,
}

/// The late segment that found no FIN_WAIT2 socket any more; `None` if nothing was late, or a socket answered it.
pub fn expired<'a>(f: &'a ConnectionFacts, around: &DetectContext<'_>) -> Option<ExpiredSocket<'a>> {
    let half = half_closed_interval(f, around)?;
    let (a, b) = (f.side(half.closer), f.side(half.closer.peer()));
    let reset = a.reset.as_deref()?;
    let trigger = reset.trigger?;
    let threshold = around.context.settings.half_close_after;
    let (needed, what) = match trigger.what {
        SegmentKind::Data | SegmentKind::Retransmit => (threshold, LateSegment::Data),
        SegmentKind::Fin if b.late_data().is_some() => (threshold, LateSegment::DataAndFin),
        SegmentKind::Fin => (threshold.min(SHORTEST), LateSegment::Fin),
        SegmentKind::KeepAlive => (threshold.min(SHORTEST), LateSegment::KeepAlive),
        _ => return None,
    };
    let silence =
        if what == LateSegment::KeepAlive { trigger.at.time - half.quiet_since } else { half.lasted() };
    let answers_it = reset.is_bare() && reset.seq == trigger.ack && reset.at >= trigger.at;
    (silence >= needed && answers_it).then_some(ExpiredSocket { half, reset, trigger, what, silence })
}
