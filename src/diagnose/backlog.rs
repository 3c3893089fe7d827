//! How long a backlog would have been enough.
//!
//! While connections are refused the accept queue is full. A longer queue would have held the refused ones as well,
//! until each was accepted. So the backlog needs as much more room as the most connections that were refused and not
//! yet served at one moment. This counts what the application accepted in that time, too: each accepted connection
//! makes room for another, and that one is not refused.
//!
//! A connection that was refused tries again after a second or more. Until then it counts, though a longer queue might
//! have served it before. So the estimate may be somewhat high, and is low where not all refused connections are known.

use crate::detect::registry;
use crate::detect::spec::Property;
use crate::diagnose::write::Written;
use crate::flow::key::Host;
use crate::model::Backlog;
use crate::time::{Span, Timestamp};

/// Where the most were waiting this near to the end, and it took longer than [`LASTING`], no queue is long enough.
const NEAR_THE_END: Span = Span::secs(1);
/// A burst is shorter.
const LASTING: Span = Span::secs(20);

/// How long a backlog would have been enough for the connections that this listener refused between two moments; `None`
/// where it refused none.
pub fn estimate(written: &[&Written], listener: Host, (from, to): (Timestamp, Timestamp)) -> Option<Backlog> {
    let refused: Vec<&&Written> = written
        .iter()
        .filter(|w| {
            let (first, last) = w.outline.during;
            w.outline.server == Some(listener)
                && w.outline.client.is_some()
                && registry::spec(w.finding.kind).has(Property::QueueWasFull)
                && first <= to
                && from <= last
        })
        .collect();
    let (together, at) = most_together(refused.iter().map(|w| w.outline.during))?;
    let limits =
        refused.iter().flat_map(|w| &w.finding.evidence).filter_map(|e| e.kernel.as_ref()?.accept_queue);
    let limit = limits.map(|[_, limit]| u64::from(limit)).max();
    let ends = refused.iter().map(|w| w.outline.during.1).max()?;
    let begins = refused.iter().map(|w| w.outline.during.0).min()?;
    let lasts = ends - begins > LASTING && ends - at <= NEAR_THE_END;
    Some(Backlog {
        refused_together: together,
        at: at.to_string(),
        limit,
        enough: limit.map(|limit| limit + together).filter(|_| !lasts),
        overloaded: lasts,
        estimated: refused.iter().any(|w| w.finding.judged_by_kernel.is_none()),
    })
}

/// What to do about it, one line.
pub fn advice(backlog: &Backlog, listener: Host) -> String {
    let Backlog { refused_together, at, limit, enough, overloaded, estimated } = backlog;
    let by = if *estimated { ", estimated from the packets" } else { "" };
    let listener = listener.socket();
    if *overloaded {
        return format!(
            "{listener}: the application accepts fewer connections than come; a longer queue only delays the refusals \
             ({refused_together} were waiting at {at}{by})"
        );
    }
    match (enough, limit) {
        (Some(enough), Some(limit)) => format!(
            "{listener}: raise the backlog of listen() and net.core.somaxconn from {limit} to {enough}; at {at} \
             {refused_together} refused connections were waiting{by}"
        ),
        _ => format!(
            "{listener}: raise the backlog of listen() and net.core.somaxconn by {refused_together} or more; at {at} \
             so many refused connections were waiting{by}"
        ),
    }
}

/// The most of these times that have a moment in common, and the first such moment.
fn most_together(times: impl Iterator<Item = (Timestamp, Timestamp)>) -> Option<(u64, Timestamp)> {
    let mut changes: Vec<(Timestamp, i64)> = times.flat_map(|(from, to)| [(from, 1), (to, -1)]).collect();
    // One that begins when another ends meets it.
    changes.sort_unstable_by_key(|(at, change)| (*at, -change));
    let (mut now, mut most) = (0, None);
    for (at, change) in changes {
        now += change;
        if most.is_none_or(|(highest, _)| now > highest) {
            most = Some((now, at));
        }
    }
    most.map(|(highest, at)| (highest.unsigned_abs(), at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(times: &[(i64, i64)]) -> Option<(u64, Timestamp)> {
        most_together(times.iter().map(|(from, to)| (Timestamp(*from), Timestamp(*to))))
    }

    #[test]
    fn those_that_wait_at_one_moment_are_counted() {
        assert_eq!(most(&[]), None);
        assert_eq!(most(&[(5, 5)]), Some((1, Timestamp(5))));
        assert_eq!(most(&[(0, 10), (2, 4), (3, 8), (9, 12)]), Some((3, Timestamp(3))));
        assert_eq!(most(&[(0, 10), (10, 20)]), Some((2, Timestamp(10))));
    }

    #[test]
    fn the_advice_says_what_it_rests_on() {
        let listener = Host::default();
        let known = Backlog {
            refused_together: 183,
            at: "2026-01-01T14:02:13Z".to_owned(),
            limit: Some(128),
            enough: Some(311),
            overloaded: false,
            estimated: false,
        };
        let text = advice(&known, listener);
        assert!(text.contains("from 128 to 311") && !text.contains("estimated"), "{text}");
        let unknown = Backlog { limit: None, enough: None, estimated: true, ..known.clone() };
        let text = advice(&unknown, listener);
        assert!(text.contains("by 183 or more") && text.contains("estimated from the packets"), "{text}");
        let overloaded = Backlog { overloaded: true, enough: None, ..known };
        assert!(advice(&overloaded, listener).contains("only delays"));
    }
}
