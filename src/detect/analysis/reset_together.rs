//! Connections that a server reset all at once before it had served them.

use crate::detect::context::DetectContext;
use crate::flow::facts::ConnectionFacts;
use crate::time::Span;

/// Connections reset together, this one included, from which on it is the listener.
const TOGETHER: usize = 3;
/// How near in time: one loop over the queue.
pub const AT_ONCE: Span = Span::millis(50);

/// Resets as many as those at once within this before and after are no single event.
const GOES_ON: Span = Span::secs(2);

/// How long a loop over the queue takes.
const ONE_LOOP: Span = Span::millis(3);

/// Connections reset together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResetGroup {
    /// How many.
    pub connections: usize,
    /// On how many of them the client had sent nothing: nothing there was left unread.
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
    // A listener is closed once. Resets that go on, or each of which answers its own client, are the application's.
    let goes_on = within(GOES_ON).connections >= near.connections * 2;
    if goes_on || near.prompt == near.connections {
        return None;
    }
    let together = ResetGroup { connections: near.connections, silent: near.silent };
    // It served others as before, none was refused, and the resets took longer than a loop over the queue.
    let (before, after) = (reset.at.time.after(Span(-GOES_ON.0)), reset.at.time.after(GOES_ON));
    let sums = [(before, reset.at.time.after(Span::secs(-1))), (reset.at.time.after(Span::secs(1)), after)]
        .map(|(from, to)| around.listener.between(from, to));
    let serves_on = sums.iter().all(|sum| sum.served > 0 && sum.answered > 0)
        && around.listener.between(before, after).refused == 0
        && within(ONE_LOOP).connections < TOGETHER;
    if together.silent == 0 && serves_on {
        return None;
    }
    // The application closed them: by FIN where nothing was unread.
    let by_application = together.silent == 0
        && around
            .listener
            .between(reset.at.time.after(Span(-AT_ONCE.0)), reset.at.time.after(AT_ONCE))
            .closed_unserved
            > 0;
    (together.connections >= TOGETHER && !by_application).then_some(together)
}
