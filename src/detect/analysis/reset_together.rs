//! Connections that a server reset all at once before it had served them.

use crate::detect::context::DetectContext;
use crate::flow::facts::ConnectionFacts;
use crate::time::Span;

/// From this many connections reset together on, this one included, the listener did it.
const TOGETHER: usize = 3;
/// How near in time they are: one loop over the queue.
pub const AT_ONCE: Span = Span::millis(50);

/// If there are as many resets within this time before and after, it is no single event.
const GOES_ON: Span = Span::secs(2);

/// How long a loop over the queue takes.
const ONE_LOOP: Span = Span::millis(3);

/// Connections reset together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResetGroup {
    /// How many.
    pub connections: usize,
    /// On how many of them the client had sent nothing, so that no data was left unread.
    pub silent: usize,
}

/// Whether the server reset this connection together with others that it had never served.
pub fn reset_together(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<ResetGroup> {
    let reset = f.s.reset.as_deref()?;
    if f.final_ack.is_none() || f.s.has_spoken() || reset.is_socketless() || f.s.fin.is_some() {
        return None;
    }
    let within = |span: Span| {
        around.activity.aborted_between(reset.at.time.after(Span(-span.0)), reset.at.time.after(span))
    };
    let near = within(AT_ONCE);
    // A listener is closed once. Resets that go on, or that each answer a client's segment, come from the application.
    let goes_on = within(GOES_ON).connections >= near.connections * 2;
    if goes_on || near.prompt == near.connections {
        return None;
    }
    let together = ResetGroup { connections: near.connections, silent: near.silent };
    // It served others as before, refused none, and the resets took longer than a loop over the queue.
    let (before, after) = (reset.at.time.after(Span(-GOES_ON.0)), reset.at.time.after(GOES_ON));
    let sums = [(before, reset.at.time.after(Span::secs(-1))), (reset.at.time.after(Span::secs(1)), after)]
        .map(|(from, to)| around.listener.between(from, to));
    let serves_on = sums.iter().all(|sum| sum.served > 0 && sum.answered > 0)
        && around.listener.between(before, after).refused == 0
        && within(ONE_LOOP).connections < TOGETHER;
    if together.silent == 0 && serves_on {
        return None;
    }
    // The application closed them: it sent a FIN where no data was unread.
    let by_application = together.silent == 0
        && around
            .listener
            .between(reset.at.time.after(Span(-AT_ONCE.0)), reset.at.time.after(AT_ONCE))
            .closed_unserved
            > 0;
    (together.connections >= TOGETHER && !by_application).then_some(together)
}
