//! The backlog that would have been long enough.
//!
//! While clients are refused, the accept queue is full. With a longer queue the application would have accepted as many
//! connections in that time, for it was never idle. So the queue would have held its present connections, and the
//! refused ones that had not been let in. Each client counts from its first refusal until it is admitted. One that
//! gives up still counts, since a connection stays in the queue until the application accepts it.
//!
//! When no client is refused for a while, the queue may run empty, and the application is idle. With a longer queue it
//! would not have been. So as many connections are subtracted as it accepts in that time, less those that came.
//!
//! The packets do not show accept(). But while a queue is full, one connection is admitted for each that is accepted.
//! The server then shows that it has that connection: it acknowledges the client's data, or sends data.

use std::collections::BTreeMap;

use crate::decode::segment::PacketId;
use crate::detect::context::CaptureContext;
use crate::detect::refused_clients::RefusedClient;
use crate::diagnose::settings::queues::{self, REFUSING};
use crate::diagnose::write::Written;
use crate::flow::key::Host;
use crate::history::timeline::ListenerTimeline;
use crate::model::{Backlog, Certainty, Kind};
use crate::time::{Span, Timestamp};

/// A load that is too high for longer than this, up to the end, is no burst.
const LASTING: Span = Span::secs(20);
/// If at least this part of the highest number, in per cent, is still refused at the end, the number has not fallen.
const AS_MANY_AS_EVER: u64 = 90;
/// If a refusal comes this soon after a moment, the queue was full at that moment.
const SOON: Span = Span::millis(100);
/// How many clients' waiting times are needed to compute the length of the queue.
const FEW: usize = 3;
/// In a shorter time than this between two refusals the queue was full all the time.
const STILL_FULL: Span = Span::millis(500);

/// The backlog that would have been long enough for the connections that this listener refused between two moments;
/// `None` if it refused none.
pub fn estimate(
    written: &[&Written],
    listener: Host,
    (from, to): (Timestamp, Timestamp),
    context: &CaptureContext,
) -> Option<Backlog> {
    // A socket that listens on all addresses has one queue for all of them.
    let is_shared = context.stated.socket_on_all_addresses(listener).is_some();
    let is_same =
        |server: Host| server == listener || is_shared && context.stated.is_one_socket(listener, server);
    let mut refused: Vec<&&Written> = written
        .iter()
        .filter(|w| {
            let (first, last) = w.outline.during;
            w.outline.server.is_some_and(is_same)
                && w.outline.client.is_some()
                && (REFUSING.contains(&w.finding.kind) || w.finding.kind == Kind::SynUnanswered)
                && first <= to
                && from <= last
        })
        .collect();
    // Others count where they came while some were surely refused; a SYN without an answer only then.
    let is_sure =
        |w: &Written| w.finding.kind != Kind::SynUnanswered && w.finding.certainty != Certainty::Possible;
    let surely = refused.iter().filter(|w| is_sure(w)).map(|w| w.outline.during);
    match surely.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1))) {
        Some((begun, ended)) => {
            refused.retain(|w| is_sure(w) || (begun..=ended).contains(&w.outline.during.0));
        }
        None => refused.retain(|w| w.finding.kind != Kind::SynUnanswered),
    }
    let served: Vec<_> = match is_shared {
        true => context.listeners.iter().filter(|(host, _)| is_same(**host)).map(|(_, one)| one).collect(),
        false => context.listeners.get(&listener).into_iter().collect(),
    };
    let load = ClientLoad::of(clients(&refused), served.iter().map(|served| &served.seconds).collect())?;
    let accepts = load.accepts_per_second();
    let least = load.least_accepts_per_second();
    let QueuePeak { together, at, at_the_end } = load.peak(accepts.or(least));
    let stated = stated_limit(&refused, listener, at, context);
    let limit = stated.or_else(|| seen_limit(&load, listener, context));
    let arrivals = load.arrivals_per_second();
    let too_many = arrivals.zip(accepts).is_some_and(|(arrivals, accepts)| arrivals > accepts);
    let overloaded = load.lasts() > LASTING && too_many && at_the_end * 100 >= together * AS_MANY_AS_EVER;
    let by_kernel = |w: &&&Written| w.finding.judged_by_kernel.is_some() || w.outline.was_held_against_host;
    Some(Backlog {
        refused_together: together,
        waiting_or_refused: limit.map(|limit| limit + 1 + together),
        at: at.to_string(),
        limit,
        enough: limit.map(|limit| with_reserve(limit + together)).filter(|_| !overloaded),
        arrivals_per_second: arrivals.map(rounded),
        accepts_per_second: accepts.or(least.filter(|rate| *rate > 0.0)).map(rounded),
        accepts_at_least: accepts.is_none() && least.is_some_and(|rate| rate > 0.0),
        overloaded,
        estimated: stated.is_none() || !refused.iter().all(by_kernel),
    })
}

/// The backlog at a time, as the kernel states it. The listener may have had another one since.
fn stated_limit(
    refused: &[&&Written],
    listener: Host,
    at: Timestamp,
    context: &CaptureContext,
) -> Option<u64> {
    let judged = refused.iter().flat_map(|w| &w.finding.evidence);
    let limits =
        judged.filter_map(|evidence| Some((evidence.time, evidence.kernel.as_ref()?.accept_queue?[1])));
    let nearest =
        limits.min_by_key(|(time, limit)| (time.since(at).0.unsigned_abs(), std::cmp::Reverse(*limit)));
    nearest.map(|(_, limit)| limit).or_else(|| context.stated.backlog(listener, at)).map(u64::from)
}

/// The backlog by the packets: computed from the connections that waited when the first client was refused, or from the
/// waiting times of those that came into the full queue.
fn seen_limit(load: &ClientLoad, listener: Host, context: &CaptureContext) -> Option<u64> {
    if !queues::sees_all_clients(context, listener) {
        return None;
    }
    let held = queues::held(context, listener).filter(|held| held.is_whole);
    let held = held
        .map(|held| held.waiting as u64)
        .or_else(|| load.held_by_waits(load.steady_accepts_per_second()?));
    held.map(|held| held - 1)
}

/// How long each client was kept out: first its SYN may have been refused, and later its final ACK.
fn clients(refused: &[&&Written]) -> Vec<RefusedClient> {
    let mut by_connection: BTreeMap<(Option<Host>, Option<PacketId>), RefusedClient> = BTreeMap::new();
    for w in refused {
        let now = kept_out(w);
        by_connection
            .entry((w.outline.client, w.outline.connection))
            .and_modify(|known| {
                *known = RefusedClient {
                    from: known.from.min(now.from),
                    last: known.last.max(now.last),
                    admitted: known.admitted.zip(now.admitted).map(|(a, b)| a.max(b)),
                    served: known.served.or(now.served),
                }
            })
            .or_insert(now);
    }
    by_connection.into_values().collect()
}

/// How long the client of a finding was kept out.
fn kept_out(w: &Written) -> RefusedClient {
    let (from, last) = w.outline.during;
    let admitted = w.outline.details.got_through().filter(|got_through| *got_through).map(|_| last);
    w.outline.kept_out.unwrap_or(RefusedClient { from, last, admitted, served: None })
}

/// A tenth more, because two bursts are never alike.
fn with_reserve(backlog: u64) -> u64 {
    backlog + backlog.div_ceil(10)
}

/// To one decimal place.
fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

/// Clients that came to a listener, and those that it refused.
struct ClientLoad {
    /// The refused clients, in order of their first refusal.
    refused: Vec<RefusedClient>,
    /// When a client was refused, the first and last time of each, in order.
    refusals: Vec<Timestamp>,
    /// When clients that had been refused got in, in order.
    admissions: Vec<Timestamp>,
    /// How many clients came and were never refused, by the second.
    let_in: BTreeMap<i64, u64>,
    /// How many connections the server showed that it has, by the second.
    accepted: BTreeMap<i64, u64>,
    /// Seconds that are counted as one.
    step: i64,
}

/// The highest number of refused clients.
struct QueuePeak {
    together: u64,
    at: Timestamp,
    /// How many there were when the last one was refused.
    at_the_end: u64,
}

impl ClientLoad {
    /// `None` where nobody was refused.
    fn of(mut refused: Vec<RefusedClient>, listeners: Vec<&ListenerTimeline>) -> Option<ClientLoad> {
        refused.sort_unstable_by_key(|client| (client.from, client.last));
        let mut refusals: Vec<Timestamp> =
            refused.iter().flat_map(|client| [client.from, client.last]).collect();
        refusals.sort_unstable();
        let mut admissions: Vec<Timestamp> = refused.iter().filter_map(|client| client.admitted).collect();
        admissions.sort_unstable();
        let step = listeners.iter().map(|seconds| seconds.step()).max().unwrap_or(1);
        let (mut let_in, mut accepted) = (BTreeMap::new(), BTreeMap::new());
        if let (Some(first), Some(last)) = (refusals.first(), refusals.last()) {
            let meanwhile = |at: i64| at + step > first.seconds() && at <= last.seconds();
            let seconds = listeners.iter().flat_map(|seconds| seconds.iter());
            for (at, second) in seconds.filter(|(at, _)| meanwhile(*at)) {
                let at = at.div_euclid(step) * step;
                *let_in.entry(at).or_insert(0) += u64::from(second.syns);
                *accepted.entry(at).or_insert(0) += u64::from(second.served);
            }
        }
        for client in &refused {
            let at = client.from.seconds().div_euclid(step) * step;
            if let Some(came) = let_in.get_mut(&at) {
                *came = came.saturating_sub(1);
            }
        }
        (!refused.is_empty()).then_some(ClientLoad { refused, refusals, admissions, let_in, accepted, step })
    }

    fn first(&self) -> Timestamp {
        self.refusals[0]
    }

    fn last(&self) -> Timestamp {
        self.refusals[self.refusals.len() - 1]
    }

    fn lasts(&self) -> Span {
        self.last() - self.first()
    }

    /// How many of the refused clients got in after `from` and not after `to`.
    fn admitted(&self, from: Timestamp, to: Timestamp) -> u64 {
        let until = |time| self.admissions.partition_point(|at| *at <= time);
        (until(to) - until(from)) as u64
    }

    /// How many clients came between two moments and were let in at once. Within a second they are taken to have come
    /// evenly.
    fn let_in(&self, from: Timestamp, to: Timestamp) -> f64 {
        const NANOS: f64 = 1e9;
        let (from, to) = (from.0 as f64 / NANOS, to.0 as f64 / NANOS);
        let seconds = self.let_in.range(from.floor() as i64 - self.step + 1..);
        let seconds = seconds.take_while(|(second, _)| **second as f64 <= to);
        seconds
            .map(|(second, count)| {
                let (begin, length) = (*second as f64, self.step as f64);
                let part = (to.min(begin + length) - from.max(begin)).max(0.0) / length;
                *count as f64 * part
            })
            .sum()
    }

    /// How many clients from the second of a refusal came before it: after the refusal the queue has room for as many
    /// as are accepted.
    fn filled_up(&self, at: Timestamp, accepts: f64) -> f64 {
        let second = at.seconds();
        let left = 1.0 - seconds(at - (Timestamp(0) + Span::secs(second)));
        self.came_within(second, second) as f64 - accepts * left
    }

    /// From the first refusal until the most clients were refused, and a second at least; `None` if single seconds are
    /// not known any more.
    fn arrivals_per_second(&self) -> Option<f64> {
        let first = self.first();
        let last = self.peak(None).at.max(first + Span::secs(1));
        let refused = self.refused.iter().filter(|client| client.from < last).count() as f64;
        let came = refused + self.let_in(first, last);
        (self.step == 1).then(|| came / seconds(last - first))
    }

    /// How many connections the application accepts in a second while the queue is full: the queue was full at the
    /// beginning of these seconds and of the next ones. `None` if there is no such second.
    fn accepts_per_second(&self) -> Option<f64> {
        let accepted = self.accepted_while_full();
        (!accepted.is_empty()).then(|| accepted.iter().sum::<u64>() as f64 / accepted.len() as f64)
    }

    /// The same where it is about as many in each second.
    fn steady_accepts_per_second(&self) -> Option<f64> {
        let accepted = self.accepted_while_full();
        let (least, most) = (accepted.iter().min()?, accepted.iter().max()?);
        self.accepts_per_second().filter(|_| most * 2 <= least * 3)
    }

    /// How many connections were accepted in each second at the beginning and at the end of which the queue was full.
    fn accepted_while_full(&self) -> Vec<u64> {
        let is_full = |second: i64| self.is_full_soon_after(Timestamp(0) + Span::secs(second));
        let inside = self.first().seconds() + 1..self.last().seconds();
        let full = inside.filter(|second| self.step == 1 && is_full(*second) && is_full(second + 1));
        full.map(|second| self.accepted.get(&second).copied().unwrap_or(0)).collect()
    }

    /// The least number that it accepts in a second: it may have been idle for a part of the time.
    fn least_accepts_per_second(&self) -> Option<f64> {
        let (first, last) = (self.first().seconds() + 1, self.last().seconds());
        let inside = self.accepted.iter().filter(|(at, _)| (first..last).contains(*at));
        let accepted: u64 = inside.map(|(_, count)| *count).sum();
        (first < last).then(|| accepted as f64 / (last - first) as f64)
    }

    /// How many connections a full queue holds: as many as the application accepts while the last one that came in
    /// waits. `None` if too few waiting times are known.
    fn held_by_waits(&self, accepts: f64) -> Option<u64> {
        let came_in_last = self.refused.iter().filter_map(|client| client.admitted.zip(client.served));
        let mut waits: Vec<Span> = came_in_last
            .filter(|(admitted, served)| served > admitted && self.is_full_soon_after(*admitted))
            .map(|(admitted, served)| served - admitted)
            .collect();
        waits.sort_unstable();
        let median = waits.get(waits.len() / 2).filter(|_| waits.len() >= FEW)?;
        Some((accepts * seconds(*median)).round() as u64).filter(|held| *held >= 2)
    }

    /// How many clients came in these seconds and were let in at once.
    fn came_within(&self, first: i64, last: i64) -> u64 {
        let from = first - self.step + 1;
        self.let_in.range(from..=last.max(from)).filter(|(at, _)| **at <= last).map(|(_, count)| *count).sum()
    }

    fn is_full_soon_after(&self, time: Timestamp) -> bool {
        let next = self.refusals.partition_point(|at| *at < time);
        self.refusals.get(next).is_some_and(|at| *at - time < SOON)
    }

    /// The highest number of clients that a longer queue would have held in addition.
    fn peak(&self, accepts: Option<f64>) -> QueuePeak {
        let mut now = 0.0_f64;
        let mut peak = QueuePeak { together: 0, at: self.first(), at_the_end: 0 };
        let mut before = self.first();
        let mut came = self.refused.iter().map(|client| client.from).peekable();
        for &at in &self.refusals {
            let admitted = self.admitted(before, at) as f64;
            let idle = match accepts {
                Some(accepts) if at - before > STILL_FULL => {
                    accepts * seconds(at - before) - self.let_in(before, at).max(self.filled_up(at, accepts))
                }
                _ => 0.0,
            };
            // The queue is full now, even if it was not in between.
            now = (now - admitted.max(idle)).max(0.0);
            if came.next_if(|from| *from <= at).is_some() {
                now += 1.0;
            }
            let together = now.round() as u64;
            if together > peak.together {
                (peak.together, peak.at) = (together, at);
            }
            (peak.at_the_end, before) = (together, at);
        }
        peak
    }
}

fn seconds(span: Span) -> f64 {
    span.0 as f64 / 1e9
}

/// The advice, one line.
pub fn advice(backlog: &Backlog, listener: Host, certainty: Certainty) -> String {
    let listener = listener.socket();
    let by = match (backlog.estimated, certainty) {
        (true, Certainty::Possible) => " (estimated from the packets, if a full queue is the cause)",
        (true, _) => " (estimated from the packets)",
        (false, _) => "",
    };
    let at = clock_time(&backlog.at);
    let waited = match (backlog.limit, backlog.waiting_or_refused) {
        (Some(limit), Some(waiting)) => {
            format!("{listener}: backlog {limit}; {waiting} connections were waiting or refused at {at}{by}")
        }
        _ => format!(
            "{listener}: at {at} {} connections had been refused and were not let in yet{by}",
            backlog.refused_together
        ),
    };
    let load = match (backlog.arrivals_per_second, backlog.accepts_per_second) {
        (Some(arrivals), Some(accepts)) => {
            let least = if backlog.accepts_at_least { "at least " } else { "" };
            format!(" ({arrivals:.0} came in a second, the application accepted {least}{accepts:.0})")
        }
        (Some(arrivals), None) => format!(" ({arrivals:.0} came in a second)"),
        _ => String::new(),
    };
    match (backlog.overloaded, backlog.enough) {
        (true, _) => {
            let accepts = backlog.accepts_per_second.unwrap_or_default();
            format!(
                "{waited}; at {accepts:.0} accepts a second no backlog would hold the load{load}: the application must accept \
                 faster"
            )
        }
        (false, Some(enough)) => format!(
            "{waited}; a backlog of {enough} would have held this burst{load}: raise net.core.somaxconn and the backlog \
             of listen() to that"
        ),
        (false, None) => format!(
            "{waited}: raise net.core.somaxconn and the backlog of listen() by {} or more{load}",
            with_reserve(backlog.refused_together)
        ),
    }
}

/// The time of day in an RFC 3339 time.
fn clock_time(time: &str) -> &str {
    time.get(11..19).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::timeline::ListenerSecond;

    fn ms(ms: i64) -> Timestamp {
        Timestamp(1_000_000_000_000 + ms * 1_000_000)
    }

    fn client(from: i64, admitted: Option<i64>) -> RefusedClient {
        RefusedClient { from: ms(from), last: ms(from), admitted: admitted.map(ms), served: None }
    }

    fn peak(clients: &[RefusedClient], accepts: f64) -> (u64, Timestamp) {
        let load = ClientLoad::of(clients.to_vec(), Vec::new()).unwrap();
        let peak = load.peak(Some(accepts));
        (peak.together, peak.at)
    }

    #[test]
    fn those_that_were_refused_count_until_they_get_in() {
        assert!(ClientLoad::of(Vec::new(), Vec::new()).is_none());
        assert_eq!(peak(&[client(5, None)], 0.0), (1, ms(5)));
        let all = [client(0, Some(100)), client(20, None), client(30, None), client(200, None)];
        assert_eq!(peak(&all, 0.0), (3, ms(30)));
    }

    #[test]
    fn between_two_bursts_the_application_would_have_gone_on_to_accept() {
        let burst = |from: i64| (0..100).map(move |n| client(from + n, None));
        let both: Vec<RefusedClient> = burst(0).chain(burst(10_100)).collect();
        // 10 s at 8 accepts a second: 20 of the first hundred are left.
        assert_eq!(peak(&both, 8.0).0, 120);
        assert_eq!(peak(&both, 50.0).0, 100);
        assert_eq!(peak(&both, 0.0).0, 200);
    }

    #[test]
    fn rates_are_those_of_a_full_queue() {
        // 60 come in a second, 40 are accepted: every third one is refused.
        let mut listener = ListenerTimeline::default();
        for second in 0..30 {
            *listener.at(1_000 + second) =
                ListenerSecond { syns: 60, served: 40, ..ListenerSecond::default() };
        }
        let refused: Vec<RefusedClient> = (0..30 * 20).map(|n| client(n * 50, None)).collect();
        let load = ClientLoad::of(refused, vec![&listener]).unwrap();
        assert_eq!(load.accepts_per_second(), Some(40.0));
        let arrivals = load.arrivals_per_second().unwrap();
        assert!((arrivals - 60.0).abs() < 0.1, "{arrivals}");
        assert_eq!(load.peak(load.accepts_per_second()).together, 600);
    }

    #[test]
    fn a_full_queue_holds_as_many_as_are_accepted_while_one_waits() {
        let mut listener = ListenerTimeline::default();
        for second in 0..10 {
            *listener.at(1_000 + second) = ListenerSecond { served: 20, ..ListenerSecond::default() };
        }
        // Each gets in a second after it was refused, and is served 850 ms later.
        let waited = |ms_each: i64, count: i64| {
            let refused = (0..count).map(move |n| {
                let one = client(n * 50, Some(n * 50 + 1_000));
                RefusedClient { served: Some(ms(n * 50 + 1_000 + ms_each)), ..one }
            });
            ClientLoad::of(refused.collect(), vec![&listener]).unwrap()
        };
        let load = waited(850, 200);
        assert_eq!(load.steady_accepts_per_second(), Some(20.0));
        assert_eq!(load.held_by_waits(20.0), Some(17));
        // Too short for a queue of two, and too few to tell.
        assert_eq!(waited(10, 200).held_by_waits(20.0), None);
        assert_eq!(waited(850, 2).held_by_waits(20.0), None);
    }

    #[test]
    fn a_burst_has_a_rate_and_an_idle_second_is_none() {
        // 160 within 20 ms, and as many two seconds later.
        let mut listener = ListenerTimeline::default();
        for second in [0, 2] {
            *listener.at(1_000 + second) =
                ListenerSecond { syns: 160, served: 33, ..ListenerSecond::default() };
        }
        let burst = |from: i64| (0..127).map(move |n| client(from + n / 7, None));
        let first = ClientLoad::of(burst(0).collect(), vec![&listener]).unwrap();
        // The whole second counts: 33 were let in.
        assert_eq!(first.arrivals_per_second(), Some(160.0));
        assert_eq!(first.least_accepts_per_second(), None);
        let both = ClientLoad::of(burst(0).chain(burst(2_000)).collect(), vec![&listener]).unwrap();
        let arrivals = both.arrivals_per_second().unwrap();
        assert!((120.0..160.0).contains(&arrivals), "{arrivals}");
    }

    fn backlog() -> Backlog {
        Backlog {
            refused_together: 182,
            waiting_or_refused: Some(311),
            at: "2026-01-01T14:02:13Z".to_owned(),
            limit: Some(128),
            enough: Some(341),
            arrivals_per_second: Some(96.2),
            accepts_per_second: Some(40.0),
            accepts_at_least: false,
            overloaded: false,
            estimated: false,
        }
    }

    #[test]
    fn the_advice_says_what_it_rests_on() {
        let listener = Host::default();
        let advice = |backlog: &Backlog, listener| super::advice(backlog, listener, Certainty::Probable);
        let text = advice(&backlog(), listener);
        assert!(text.contains("backlog 128; 311 connections were waiting or refused at 14:02:13;"), "{text}");
        assert!(text.contains("a backlog of 341 would have held this burst (96 came"), "{text}");
        assert!(!text.contains("estimated"), "{text}");
        let unknown =
            Backlog { limit: None, waiting_or_refused: None, enough: None, estimated: true, ..backlog() };
        let text = advice(&unknown, listener);
        assert!(text.contains("by 201 or more") && text.contains("estimated from the packets"), "{text}");
        let text = advice(&Backlog { overloaded: true, enough: None, ..backlog() }, listener);
        assert!(text.contains("at 40 accepts a second no backlog would hold the load"), "{text}");
        let text = advice(&Backlog { accepts_at_least: true, ..backlog() }, listener);
        assert!(text.contains("(96 came in a second, the application accepted at least 40)"), "{text}");
        let text = super::advice(&unknown, listener, Certainty::Possible);
        assert!(text.contains("if a full queue is the cause"), "{text}");
    }
}
