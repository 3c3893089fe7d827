//! How many connections a listener's accept queue holds, and how many requests its SYN queue.

use serde_json::json;

use crate::detect::Draft;
use crate::detect::analysis::ignored_syn::CROWD;
use crate::detect::context::CaptureContext;
use crate::diagnose::settings::inference::{first_of, inferred};
use crate::flow::key::Host;
use crate::model::{Inferred, Kind, Vantage};
use crate::time::Span;

/// Kinds of findings about clients that a full accept queue refused.
pub const REFUSING: [Kind; 3] = [Kind::AcceptQueueOverflow, Kind::AcceptQueueReset, Kind::SynDropAcceptQueue];

/// How many completed connections waited when the first client was refused: one more than the backlog fit
/// (`sk_acceptq_is_full`). `own` are the drafts of the listener.
pub fn accept_queue(context: &CaptureContext, listener: Host, own: &[&Draft]) -> Option<Inferred> {
    if context.stated.has_backlogs(listener.address) {
        return None;
    }
    first_of(own, &REFUSING)?;
    let waiting = held(context, listener)?;
    let from = format!(
        "{waiting} completed connections had not been served when the first client was refused (those that had come before the \
         capture are not counted)"
    );
    let limit = waiting - 1;
    let value = if sees_all_clients(context, listener) { json!(limit) } else { json!({ "least": limit }) };
    Some(inferred(listener.socket(), "accept queue limit (listen backlog, net.core.somaxconn)", value, from))
}

/// Whether all clients of a listener pass the capture point: elsewhere others may wait that are not seen.
pub fn sees_all_clients(context: &CaptureContext, listener: Host) -> bool {
    context.views.get(&listener.address).is_some_and(|view| view.vantage == Vantage::Server)
}

/// How many completed connections had not been served when the first client was refused, two or more.
pub fn held(context: &CaptureContext, listener: Host) -> Option<usize> {
    let activity = context.activities.get(&listener)?;
    // Refused at the final ACK or at the SYN; others of the same burst may have taken the last places just before.
    let stuck = activity.stuck.iter().map(|s| s.during.from);
    let reset = activity.reset.iter().map(|at| at.time);
    let ignored = activity.ignored.iter().map(|i| i.during.from);
    // SYNs may have gone unanswered for other reasons, and before: they count where nothing surer does.
    let refused = stuck.chain(reset).min().or(ignored.min())?;
    Some(activity.unserved_at(refused.after(Span(-1)))).filter(|waiting| *waiting >= 2)
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
