//! How many connections failed, and which of them no finding explains.

use crate::decode::segment::PacketId;
use crate::detect::context::CaptureContext;
use crate::detect::registry;
use crate::detect::spec::Property;
use crate::diagnose::write::Written;
use crate::flow::facts::{ConnectionFacts, PacketRef};
use crate::flow::key::{Host, Map, Set};
use crate::flow::outcome::{Outcome, Outcomes};
use crate::history::remarkable::{CountedOnlyByClass, TriageClass};
use crate::model::{Capture, Kind, Unexplained};
use crate::time::Timestamp;

/// Examples of unexplained failures that the report names.
const EXAMPLES: usize = 10;

/// A connection that failed and was examined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailedConnection {
    first: PacketRef,
    client: Host,
    server: Host,
    outcome: Outcome,
}

impl FailedConnection {
    /// The connection of `f`, if it failed; `end` is the last packet of the capture.
    pub fn of(f: &ConnectionFacts, end: Timestamp) -> Option<FailedConnection> {
        let outcome = Outcome::of(f, end.min(f.watched));
        let failed = FailedConnection { first: f.first, client: f.client, server: f.server, outcome };
        outcome.is_failure().then_some(failed)
    }
}

/// All data on how connections ended.
#[derive(Clone, Default)]
pub struct Failures {
    /// All connections.
    pub outcomes: Outcomes,
    /// Those that failed and were examined one by one.
    pub examined: Vec<FailedConnection>,
    /// Handshakes of one SYN that were only counted, by listener.
    pub counted: Map<Host, Outcomes>,
}

impl Failures {
    /// The data of the other of two captures that share `matched` connections, each of which counts once.
    pub fn join(&mut self, mut other: Failures, matched: u64) {
        self.outcomes.join(&other.outcomes, matched);
        self.examined.append(&mut other.examined);
        for (listener, outcomes) in other.counted {
            self.counted.entry(listener).or_insert(outcomes);
        }
    }

    /// How the connections ended, how many of those that failed no finding explains, and some of these. `left_out` are classes of
    /// connections that were only counted, `classes` those of the connections that were examined.
    pub fn account(
        &self,
        written: &[Written],
        classes: &Map<PacketId, TriageClass>,
        left_out: &CountedOnlyByClass,
        context: &CaptureContext,
        captures: &[Capture],
    ) -> OutcomeSummary {
        let found = Found::of(written, context);
        if context.handshakes_only {
            return OutcomeSummary {
                outcomes: self.without_ends(&found),
                unexplained: 0,
                examples: Vec::new(),
            };
        }
        let mut unexplained: Vec<&FailedConnection> =
            self.examined.iter().filter(|f| !found.explain(f)).collect();
        unexplained.sort_unstable_by_key(|f| f.first);
        let counted = self.counted.iter().filter(|(listener, _)| !found.explains_handshakes_of(**listener));
        let counted: u64 = counted.map(|(_, outcomes)| outcomes.failed()).sum();
        let explained: Set<&TriageClass> = written
            .iter()
            .filter_map(|w| w.outline.connection.and_then(|connection| classes.get(&connection)))
            .collect();
        // A refused connection needs no explanation, whichever listener it was.
        let refused_explained = explained.iter().any(|class| class.is_refused());
        let others = left_out.others_failed + if refused_explained { 0 } else { left_out.others_refused };
        let left_out = left_out.of.iter().filter(|(class, _)| !explained.contains(class));
        let left_out = others + left_out.map(|(_, some)| some.failed).sum::<u64>();
        let examples = unexplained.iter().take(EXAMPLES).map(|f| Unexplained {
            client: f.client.socket(),
            server: f.server.socket(),
            outcome: f.outcome,
            capture: captures
                .get(usize::from(f.first.packet.capture()))
                .map(|capture| capture.path.clone())
                .unwrap_or_default(),
            packet: f.first.packet.number(),
            first: f.first.time,
        });
        OutcomeSummary {
            outcomes: self.outcomes,
            unexplained: unexplained.len() as u64 + counted + left_out,
            examples: examples.collect(),
        }
    }

    /// The outcomes in a capture of nothing but SYNs and SYN-ACKs. How a handshake ended is known only from a finding.
    fn without_ends(&self, found: &Found<'_>) -> Outcomes {
        let mut outcomes = self.outcomes;
        let mut cut_off = |outcome: Outcome, n: u64| {
            outcomes.remove(outcome, n);
            outcomes.record_many(Outcome::CutOff, n);
        };
        for (listener, counted) in &self.counted {
            for (outcome, n) in counted.iter().filter(|(outcome, _)| outcome.is_failure()) {
                if !found.floods.contains(listener) {
                    cut_off(outcome, n);
                }
            }
        }
        for failed in self.examined.iter().filter(|f| !found.tell_of(f) && !found.floods.contains(&f.server))
        {
            cut_off(failed.outcome, 1);
        }
        outcomes
    }
}

/// How all connections ended.
pub struct OutcomeSummary {
    /// How they ended.
    pub outcomes: Outcomes,
    /// How many of those that failed no finding explains.
    pub unexplained: u64,
    /// Some of these.
    pub examples: Vec<Unexplained>,
}

/// The subjects of the findings.
struct Found<'a> {
    connections: Set<PacketId>,
    /// By address: if two captures have the same connection, one finding speaks for both.
    names: Set<(Host, Host)>,
    /// Listeners that have a finding as a whole.
    listeners: Set<Host>,
    /// Listeners that have a flood.
    floods: Set<Host>,
    /// Some listeners are reported at another one.
    context: &'a CaptureContext,
}

impl<'a> Found<'a> {
    fn of(written: &[Written], context: &'a CaptureContext) -> Found<'a> {
        let outlines = || written.iter().map(|w| &w.outline);
        let of_listener = |w: &&Written| {
            w.outline.client.is_none() && !registry::spec(w.finding.kind).has(Property::ExplainsNoFailure)
        };
        let whole = written.iter().filter(of_listener).map(|w| &w.outline);
        Found {
            connections: outlines().filter_map(|o| o.connection).collect(),
            names: outlines()
                .flat_map(|o| [o.client.zip(o.server), o.other_names, o.also_tells_of])
                .flatten()
                .collect(),
            listeners: whole.filter_map(|o| o.server).collect(),
            floods: written
                .iter()
                .filter(|w| w.finding.kind == Kind::SynFlood)
                .filter_map(|w| w.outline.server)
                .collect(),
            context,
        }
    }

    fn explain(&self, f: &FailedConnection) -> bool {
        let handshake = matches!(f.outcome, Outcome::Unanswered | Outcome::NeverCompleted);
        self.tell_of(f) || handshake && self.explains_handshakes_of(f.server)
    }

    /// Whether a finding is about this connection.
    fn tell_of(&self, f: &FailedConnection) -> bool {
        self.connections.contains(&f.first.packet) || self.names.contains(&(f.client, f.server))
    }

    fn explains_handshakes_of(&self, listener: Host) -> bool {
        let CaptureContext { lone_syns, lone_answers, .. } = self.context;
        self.listeners.contains(&listener)
            || lone_syns.are_reported_elsewhere(listener)
            || lone_answers.are_reported_elsewhere(listener)
    }
}
