//! How many connections a listener's accept queue holds, and how many requests its SYN queue.

use serde_json::json;

use crate::detect::Draft;
use crate::detect::analysis::ignored_syn::CROWD;
use crate::detect::context::CaptureContext;
use crate::diagnose::settings::inference::{first_of, inferred};
use crate::flow::key::Host;
use crate::history::timeline::ListenerTimeline;
use crate::model::{Inferred, Kind, Vantage};
use crate::time::{Span, Timestamp};

/// Kinds of findings about clients that a full accept queue refused.
pub const REFUSING: [Kind; 3] = [Kind::AcceptQueueOverflow, Kind::AcceptQueueReset, Kind::SynDropAcceptQueue];

/// If the waiting connections are at least this part, in per cent, of those accepted just before, they are the whole
/// queue.
const MOST_OF_THEM: u64 = 80;

/// How many completed connections waited when the first client was refused: one more than the backlog fit
/// (`sk_acceptq_is_full`). `own` are the drafts of the listener.
pub fn accept_queue(context: &CaptureContext, listener: Host, own: &[&Draft]) -> Option<Inferred> {
    if context.stated.has_backlogs(listener.address) {
        return None;
    }
    first_of(own, &REFUSING)?;
    let HeldQueue { waiting, is_whole } = held(context, listener)?;
    let from = format!(
        "{waiting} completed connections had not been served when the first client was refused (those that had come before the \
         capture are not counted)"
    );
    let limit = waiting - 1;
    let is_limit = is_whole && sees_all_clients(context, listener);
    let value = if is_limit { json!(limit) } else { json!({ "least": limit }) };
    Some(inferred(listener.socket(), "accept queue limit (listen backlog, net.core.somaxconn)", value, from))
}

/// Whether all clients of a listener pass the capture point: elsewhere others may wait that are not seen.
pub fn sees_all_clients(context: &CaptureContext, listener: Host) -> bool {
    context.views.get(&listener.address).is_some_and(|view| view.vantage == Vantage::Server)
}

/// The connections that waited when the first client was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldQueue {
    /// How many waited for a second or longer, two or more.
    pub waiting: usize,
    /// Whether these are most of those that the server had accepted just before. Otherwise some waited for a shorter
    /// time, or another socket took them.
    pub is_whole: bool,
}

/// How many completed connections had not been served when the first client was refused.
pub fn held(context: &CaptureContext, listener: Host) -> Option<HeldQueue> {
    let activity = context.activities.get(&listener)?;
    // Refused at the final ACK or at the SYN; others of the same burst may have taken the last places just before.
    let stuck = activity.stuck.iter().map(|s| s.during.from);
    let reset = activity.reset.iter().map(|at| at.time);
    let ignored = activity.ignored.iter().map(|i| i.during.from);
    // SYNs may have gone unanswered for other reasons, and before: they count only if there is nothing more certain.
    let refused = stuck.chain(reset).min().or(ignored.min())?;
    let waiting = activity.unserved_at(refused.after(Span(-1)));
    let taken =
        context.listeners.get(&listener).map_or(0, |served| taken_just_before(&served.seconds, refused));
    let is_whole = waiting as u64 * 100 >= taken * MOST_OF_THEM;
    (waiting >= 2).then_some(HeldQueue { waiting, is_whole })
}

/// How many connections the server had taken in the second of a moment and in the one before.
fn taken_just_before(listener: &ListenerTimeline, at: Timestamp) -> u64 {
    let (second, step) = (at.seconds(), listener.step());
    let both = listener.iter().filter(|(begin, _)| (second - 2 * step + 1..=second).contains(begin));
    both.map(|(_, second)| u64::from(second.served)).sum()
}

/// How many handshakes were half open when the first SYN was dropped for it. `own` are the drafts of the listener.
pub fn syn_queue(context: &CaptureContext, listener: Host, own: &[&Draft]) -> Option<Inferred> {
    let first = first_of(own, &[Kind::SynDropSynQueue])?;
    let half_open = context.activities.get(&listener)?.half_open_at(first);
    (half_open >= CROWD).then(|| {
        let from = format!("{half_open} handshakes were half open when the first SYN was dropped");
        inferred(listener.socket(), "SYN queue limit", json!(half_open), from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::timeline::ListenerSecond;

    #[test]
    fn a_connection_that_the_server_took_counts_for_a_second_or_two() {
        let mut listener = ListenerTimeline::default();
        for (second, served) in [(1_000, 7), (1_001, 20), (1_002, 5), (1_003, 90)] {
            *listener.at(second) = ListenerSecond { served, ..ListenerSecond::default() };
        }
        let at = |second: i64| taken_just_before(&listener, Timestamp(0) + Span::secs(second));
        assert_eq!([at(999), at(1_000), at(1_002), at(1_004)], [0, 7, 25, 90]);
    }
}
