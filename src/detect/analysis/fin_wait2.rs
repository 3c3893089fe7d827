//! Segments that came so late after a half-close that the socket in FIN_WAIT2 was gone.

use crate::detect::analysis::half_closed::{Half, half};
use crate::detect::context::DetectContext;
use crate::flow::facts::{ConnectionFacts, Reset, Trigger, What};
use crate::time::Span;

/// The shortest silence after which a FIN or a keepalive probe that draws a RST is put down to expiry.
const SHORTEST: Span = Span::secs(5);

/// Segments sent to a socket that was gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Late {
    /// Data.
    Data,
    /// Data, and a FIN after it.
    DataAndFin,
    /// A FIN alone.
    Fin,
    /// A keepalive probe.
    KeepAlive,
}

impl Late {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Late::Data => "data",
            Late::DataAndFin => "data and FIN",
            Late::Fin => "FIN",
            Late::KeepAlive => "a keepalive probe",
        }
    }
}

/// A late segment, and the RST that answered it.
#[derive(Clone, Debug)]
pub struct Expired<'a> {
    /// The half-close before it.
    pub half: Half,
    /// The RST.
    pub reset: &'a Reset,
    /// The segment that it answered.
    pub trigger: Trigger,
    /// The same in short.
    pub what: Late,
    /// How long nothing had come before.
    pub silence: Span,
}

/// The late segment that met a FIN_WAIT2 socket that was gone; none if nothing was late, or a socket answered it.
pub fn expired<'a>(f: &'a ConnectionFacts, around: &DetectContext<'_>) -> Option<Expired<'a>> {
    let half = half(f, around)?;
    let (a, b) = (f.side(half.closer), f.side(half.closer.peer()));
    let reset = a.reset.as_deref()?;
    let trigger = reset.trigger?;
    let threshold = around.context.settings.half_close_after;
    let (needed, what) = match trigger.what {
        What::Data | What::Retransmit => (threshold, Late::Data),
        What::Fin if b.late_data.is_some() => (threshold, Late::DataAndFin),
        What::Fin => (threshold.min(SHORTEST), Late::Fin),
        What::KeepAlive => (threshold.min(SHORTEST), Late::KeepAlive),
        _ => return None,
    };
    let silence = if what == Late::KeepAlive { trigger.at.time - half.quiet_since } else { half.lasted() };
    let answers_it = reset.is_bare() && reset.seq == trigger.ack && reset.at >= trigger.at;
    (silence >= needed && answers_it).then_some(Expired { half, reset, trigger, what, silence })
}
