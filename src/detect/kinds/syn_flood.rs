//! `syn-flood`: many half-open handshakes that never get their final ACK.

use crate::detect::analysis::flood::{LEAST, SOURCES};
use crate::detect::capture_state::CaptureState;
use crate::detect::context::{DetectContext, FloodSize, ServerAnswers};
use crate::detect::details::Details;
use crate::detect::draft::{Draft, cause, count, counted};
use crate::detect::next;
use crate::detect::spec::{Examine, LeadsTo, RelationCondition, finding};
use crate::flow::key::{Host, Map, Set};
use crate::history::incomplete::{HalfOpenRequest, SynFingerprint};
use crate::history::wants::Wants;
use crate::model::{Kind, Sender, Severity};
use crate::time::{Span, Timestamp};

finding! {
    /// Many handshakes of a listener are begun and never completed.
    ///
    /// ## On the wire
    /// SYN, SYN-ACK, and no final ACK, many times within seconds; the SYN-ACKs are repeated without an answer. The SYNs
    /// are not repeated; a real client would repeat them.
    /// ## In the kernel
    /// Each holds a place in the SYN queue until its SYN-ACK retries run out (`reqsk_timer_handler`); when it is full,
    /// syncookies answer (`TCPReqQFullDoCookies`), or SYNs are dropped (`TCPReqQFullDrop`).
    /// ## Looks alike
    /// * A path that loses the SYN-ACKs: the clients repeat their SYNs.
    /// * A port scan: one handshake per port. A load balancer's check: a RST of the client at once.
    /// * A capture filtered down to SYNs, or of one direction: it holds the end of no handshake. There, SYNs count as a
    ///   flood only if no real clients send them like that: from as many addresses as SYNs, with the same TTL and
    ///   without the usual options.
    /// ## Check next
    /// `ss -tn state syn-recv`, `nstat -az TcpExtSyncookiesSent TcpExtTCPReqQFullDrop`; `sysctl net.ipv4.tcp_syncookies`.
    /// ## References
    /// RFC 4987
    pub struct SynFlood {
        kind: Kind::SynFlood,
        plain_words: "Many handshakes are begun and never completed, by attackers or by clients that get no answer.",
        at_fault: "the senders of the SYNs, or the path back to them",
        wants: Wants::full(|f, _| f.syn.count > 0 && f.final_ack.is_none()),
        examine: Examine::Listener(examine),
        look_alikes: &["syn-flood/port-scan", "syn-flood/syn-acks-lost"],
        counters: &["TcpExtTCPTimeouts", "TcpExtSyncookiesSent"],
        settings: &["net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_synack_retries", "net.ipv4.tcp_syncookies"],
        sender: Some(Sender::Client),
        leads_to: &[
            LeadsTo {
                effect: Kind::SynDropSynQueue,
                said_of_effect: "its half-open handshakes filled the SYN queue",
                said_of_cause: "a flood filled the SYN queue",
                when: RelationCondition::Always,
            },
            LeadsTo {
                effect: Kind::Syncookies,
                said_of_effect: "the listener answered it with cookies",
                said_of_cause: "a flood made the listener send cookies",
                when: RelationCondition::Always,
            },
            LeadsTo {
                effect: Kind::SynUnanswered,
                said_of_effect: "SYNs went unanswered during the flood",
                said_of_cause: "a flood was in progress",
                when: RelationCondition::Always,
            },
        ],
    }
}

/// At least this many of these must have been answered by SYN-ACK: the smallest SYN queue holds 8.
const HALF_OPEN: usize = 8;
/// See [`SOURCES`].
const FROM_FEW: usize = 100;
/// The interval of time in which they must begin.
const WINDOW: Span = Span::secs(10);

/// A request that was held for less may have been cut off by the end of the capture. Or its client reset it at once (a
/// port scan, a load balancer's check), so its SYN-ACK timer never ran out.
const HELD: Span = Span::millis(900);

/// Whether a request may belong to a flood: its SYN was not repeated, its client did not reset it, and it was held for
/// a while.
fn fills_the_queue(h: &HalfOpenRequest, around: &DetectContext<'_>) -> bool {
    // A filter for SYNs leaves every handshake without its end. Then only repeated SYN-ACKs show that there was none.
    let never_completed = h.syn_acks >= 2 || !around.context.handshakes_only;
    h.syns <= h.syn_acks.min(1) && h.during.to - h.during.from >= HELD && never_completed
}

/// How the handshakes show that their clients do not complete them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shown {
    /// The server held requests until they expired.
    HeldRequests,
    /// The server repeated its SYN-ACKs, and the capture holds nothing of the clients.
    RepeatedSynAcks,
    /// The capture holds no answers, or nothing but answers: the SYNs alone look forged.
    ForgedSyns,
}

/// From this many SYNs within [`WINDOW`] on, their look counts.
const LOOKED_AT: usize = 100;
/// Not this many clients open one connection each within [`WINDOW`], however their SYNs look.
const TOO_MANY: usize = 1_000;

/// A group of handshakes that were never completed, in order of time.
struct HandshakeCrowd<'a> {
    all: Vec<&'a HalfOpenRequest>,
    sources: usize,
    /// How many began within [`WINDOW`] at most.
    most: usize,
    shown: Shown,
}

/// While a capture goes on, a request may still be completed for this long.
const UNDER_WAY: Span = Span::millis(300);

/// Requests that were answered once, and whose outcome is not known: all of them in a capture of handshakes only. In a
/// capture that goes on, those that should be completed by now.
fn asked_once<'a>(around: &DetectContext<'a>) -> Vec<&'a HalfOpenRequest> {
    let context = around.context;
    let until = match (context.handshakes_only, context.state) {
        (true, _) => Timestamp::MAX,
        (false, CaptureState::Running) => around.end().after(Span(-UNDER_WAY.0)),
        (false, CaptureState::Ended) => return Vec::new(),
    };
    let is_one = |h: &&HalfOpenRequest| h.syns <= 1 && h.syn_acks == 1 && h.syn.time <= until;
    let once = around.activity.half_open.iter().filter(is_one);
    once.filter(|h| !fills_the_queue(h, around)).collect()
}

/// Whether nearly all SYNs have the same TTL, as if from one sender, and none of a kernel's options.
fn look_alike(all: &[&HalfOpenRequest]) -> bool {
    let mut looks: Map<SynFingerprint, usize> = Map::default();
    for h in all {
        *looks.entry(h.look).or_default() += 1;
    }
    looks.iter().any(|(look, n)| look.bare && n * 20 >= all.len() * 19)
}

impl<'a> HandshakeCrowd<'a> {
    fn new(mut all: Vec<&'a HalfOpenRequest>, shown: Shown) -> HandshakeCrowd<'a> {
        // Two runs in order: a stable sort only merges them.
        all.sort_by_key(|h| h.syn);
        let (mut most, mut oldest) = (0, 0);
        for (n, h) in all.iter().enumerate() {
            while h.syn.time - all[oldest].syn.time > WINDOW {
                oldest += 1;
            }
            most = most.max(n + 1 - oldest);
        }
        let sources: Set<_> = all.iter().map(|h| h.client.address).collect();
        HandshakeCrowd { sources: sources.len(), all, most, shown }
    }

    /// The incomplete handshakes of a listener, if there are enough of them.
    fn of(around: &DetectContext<'a>) -> Option<HandshakeCrowd<'a>> {
        let activity = around.activity;
        let half_open: Vec<_> = activity.half_open.iter().filter(|h| fills_the_queue(h, around)).collect();
        if half_open.len() >= HALF_OPEN {
            // Further SYNs of the flood may have met a full SYN queue; by themselves they prove nothing.
            let asked = half_open.iter().any(|h| h.syns > 0);
            let shown = if asked { Shown::HeldRequests } else { Shown::RepeatedSynAcks };
            let further = asked_once(around);
            let further = if look_alike(&further) { further } else { Vec::new() };
            let all = half_open.into_iter().chain(&activity.lone_syns).chain(further).collect();
            let crowd = HandshakeCrowd::new(all, shown);
            let enough = crowd.most >= LEAST && (crowd.sources >= SOURCES || crowd.most >= FROM_FEW);
            return enough.then_some(crowd);
        }
        if activity.lone_syns.len() + activity.half_open.len() < LOOKED_AT {
            return None;
        }
        let once = asked_once(around);
        let may_be_completed = !once.is_empty() && !around.context.handshakes_only;
        let crowd =
            HandshakeCrowd::new(once.into_iter().chain(&activity.lone_syns).collect(), Shown::ForgedSyns);
        let forged = crowd.most >= LOOKED_AT && look_alike(&crowd.all);
        let too_many = crowd.most >= TOO_MANY && !may_be_completed;
        (crowd.sources * 5 >= crowd.all.len() * 4 && (forged || too_many)).then_some(crowd)
    }

    fn summary(&self, server: Host, extent: &FloodExtent) -> String {
        let &FloodExtent { all, from, to, is_exact, sources } = extent;
        // The addresses are known for a part of them.
        let some = if all > self.all.len() as u64 && is_exact { "at least " } else { "" };
        let sources = counted(sources, "source address", "source addresses");
        let least = if is_exact { "" } else { "At least " };
        let (server, took) = (server.socket(), to - from);
        match self.shown {
            Shown::HeldRequests => format!(
                "{least}{} of {some}{sources} to {server} were begun within {took} and never completed.",
                count(all, "handshake"),
            ),
            Shown::RepeatedSynAcks => format!(
                "{least}{} of {some}{sources} to {server} were answered within {took} and not completed: the SYN-ACKs were \
                 repeated. The capture holds nothing of the clients.",
                count(all, "handshake"),
            ),
            Shown::ForgedSyns => format!(
                "{least}{} of {some}{sources} came to {server} within {took}, and none was repeated or completed in the \
                 capture.",
                count(all, "SYN"),
            ),
        }
    }

    /// Certainty, and what else it could be.
    fn judge(&self, d: &mut Draft, answers: ServerAnswers) {
        if self.shown == Shown::HeldRequests {
            d.probable("the clients neither repeated their SYNs nor completed a handshake");
            d.or("The network loses the SYN-ACKs on the way back.", "Real clients would repeat their SYNs.");
            return;
        }
        if self.shown == Shown::RepeatedSynAcks {
            d.possible(
                "the server repeats its SYN-ACKs, so it took no ACK; the clients' direction was not captured",
            );
            d.or(
                "The accept queue is full, and the server ignores the final ACKs of real clients.",
                "Their ACKs and data would show it: capture both directions.",
            );
            d.or("The network loses the SYN-ACKs on the way back.", "Real clients would repeat their SYNs.");
            return;
        }
        d.possible(match answers {
            ServerAnswers::Captured => "the SYNs come from about as many addresses, once each; the rest of these connections was not captured",
            ServerAnswers::Missing | ServerAnswers::Unseen => {
                "the SYNs come from about as many addresses, once each; the server's direction was not captured"
            }
        });
        d.or(
            "A filter, or a capture of one direction, left out the rest of ordinary connections.",
            match look_alike(&self.all) {
                true => "The SYNs of many hosts differ in TTL, and kernels offer SACK and window scale.",
                false => "This many clients rarely open one connection each in so short a time.",
            },
        );
    }
}

/// The size of a flood.
struct FloodExtent {
    /// Handshakes that were begun and not completed.
    all: u64,
    from: Timestamp,
    to: Timestamp,
    /// Whether there were no more.
    is_exact: bool,
    /// The addresses that are known to have begun them. Some of those that came at once may be forgotten.
    sources: u64,
}

impl FloodExtent {
    /// The size of the flood whose beginning, or all of it, is `crowd`.
    fn of(server: Host, crowd: &HandshakeCrowd<'_>, around: &DetectContext<'_>) -> FloodExtent {
        let (Some(first), Some(last)) = (crowd.all.first(), crowd.all.last()) else {
            return FloodExtent {
                all: 0,
                from: Timestamp::MIN,
                to: Timestamp::MIN,
                is_exact: true,
                sources: 0,
            };
        };
        let (listener, from) = (around.listener, first.syn.time);
        let uncounted = listener.uncounted;
        // Some handshakes that were known earlier may have been forgotten, or not kept. So the final count may differ
        // from a count during the flood. Forged SYNs are never completed, so their count does not.
        let before = around.context.floods.as_ref().and_then(|floods| floods.get(&server));
        let is_whole = uncounted.handshakes() == 0 && before.is_none();
        let counts = || !is_whole || around.context.handshakes_only || look_alike(&crowd.all);
        let told = around.context.floods_told.get(&server).filter(|_| counts()).copied().unwrap_or_default();
        let sources = told.sources.max(crowd.sources as u64);
        let known = FloodExtent {
            all: crowd.all.len() as u64 + uncounted.handshakes(),
            from,
            to: last.syn.time.max(uncounted.last),
            is_exact: uncounted.handshakes() == 0,
            sources,
        };
        if listener.seconds.step() != 1 || (known.is_exact && before.is_none()) {
            if told.handshakes <= known.all {
                return known;
            }
            let every = around.activity.half_open.iter().chain(&around.activity.lone_syns);
            let to = every.map(|h| h.syn.time).max().unwrap_or(known.to).max(known.to);
            return FloodExtent { all: told.handshakes, to, ..known };
        }
        // The count of a second includes all handshakes begun in it, kept or not, except those forgotten under the
        // memory limit. A flood that was known before went on in all seconds, and its first handshakes may not have
        // been kept.
        let since = if before.is_some() { i64::MIN } else { from.seconds() };
        let seconds = || listener.seconds.iter().filter(|(at, _)| *at >= since);
        let mut all = 0;
        let mut to = seconds().next().map_or(from.seconds(), |(at, _)| at.min(from.seconds()));
        for (at, second) in seconds() {
            let incomplete = u64::from(second.syns.saturating_sub(second.completed));
            if at - to > WINDOW.0 / 1_000_000_000 {
                break;
            }
            if incomplete > 0 {
                (all, to) = (all + incomplete, at);
            }
        }
        let end = around.context.capture.map_or(known.to, |(_, end)| end);
        FloodExtent {
            all: (all
                + uncounted.let_go.saturating_sub(uncounted.completed)
                + before.map_or(0, |before| before.incomplete))
            .max(known.all),
            from: before.map_or(from, |before| before.since.min(from)),
            to: Timestamp((to + 1) * 1_000_000_000).min(end).max(known.to),
            is_exact: true,
            sources,
        }
    }
}

/// See [`SynFlood`].
fn examine(server: Host, around: &DetectContext<'_>) -> Option<Draft> {
    let crowd = HandshakeCrowd::of(around)?;
    let (first, last) = (crowd.all.first()?, crowd.all.last()?);
    let mut d =
        Draft::about_listener(server, &SPEC, (first.syn, "first SYN whose handshake was never completed"));
    d.shows(last.syn, "last of them");
    let activity = around.activity;
    let real = match crowd.shown {
        Shown::HeldRequests | Shown::RepeatedSynAcks => activity.ignored.len(),
        Shown::ForgedSyns => activity.ignored.len().saturating_sub(activity.lone_syns.len()),
    };
    d.severity = if real > 1 { Severity::Critical } else { Severity::Warning };
    let uncounted = around.listener.uncounted;
    let extent = FloodExtent::of(server, &crowd, around);
    d.summary = crowd.summary(server, &extent);
    if uncounted.let_go > 0 {
        d.summary.push_str(&format!(
            " The memory limit kept {} from being followed to the end.",
            count(uncounted.let_go.saturating_sub(uncounted.completed), "handshake")
        ));
    }
    d.cause = cause(
        "Half-open handshakes fill the SYN queue: a SYN flood, or clients that do not get the server's SYN-ACKs.",
        &["tcp_conn_request", "reqsk_timer_handler"],
        &["TcpExtSyncookiesSent", "TcpExtTCPReqQFullDoCookies", "TcpExtTCPReqQFullDrop"],
        &["net.ipv4.tcp_syncookies", "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_synack_retries"],
    );
    d.details = Details::Flood(FloodSize { handshakes: extent.all, sources: extent.sources });
    d.measure_span("lasted_s", extent.to - extent.from);
    d.lasted_until(extent.to.max(last.syn.time));
    crowd.judge(&mut d, around.context.answers_of(server.address));
    d.next_steps = vec![
        next::half_open(server),
        next::counters(
            &["TcpExtSyncookiesSent", "TcpExtTCPReqQFullDrop", "TcpExtListenDrops"],
            "twice, 10 s apart: cookies are answers, drops are lost clients",
        ),
        "sysctl net.ipv4.tcp_syncookies   # 1 keeps the listener reachable".to_owned(),
    ];
    Some(d)
}
