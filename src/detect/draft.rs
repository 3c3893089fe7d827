//! A finding being written, still in packets and times; [`crate::diagnose`] turns it into the report's form.

use crate::decode::segment::PacketId;
use crate::detect::details::{Details, seconds};
use crate::detect::evidence::{EvidenceMarks, PacketRoles};
use crate::detect::next::UsualSteps;
use crate::detect::refused_clients::RefusedClient;
use crate::flow::facts::{ConnectionFacts, PacketRef};
use crate::flow::key::Host;
use crate::model::{
    Alternative, Cause, Certainty, Excluded, Kind, Metrics, PacketPoints, Phrase, Route, Severity, Suspect,
    Vantage,
};
use crate::time::{Span, Timestamp};

/// A finding, and the vantage of the capture that it rests on. It is boxed, for there may be very many, and they are
/// sorted and moved.
pub type FoundDraft = (Box<Draft>, Vantage);

/// A finding being written. It cannot be made without evidence, nor be confirmed without saying by what.
#[derive(Clone, PartialEq, Debug)]
pub struct Draft {
    /// The kind of finding.
    pub kind: Kind,
    /// How bad it is.
    pub severity: Severity,
    /// How certain the cause is.
    certainty: Certainty,
    /// Why it is that certain, one clause.
    pub reason: String,
    /// The client; `None` for a finding about a listener.
    pub client: Option<Host>,
    /// The server.
    pub server: Option<Host>,
    /// One sentence.
    pub summary: String,
    /// The likely cause.
    pub cause: Cause,
    /// The alternatives, the likeliest first.
    pub alternatives: Vec<Alternative>,
    /// What another capture excludes.
    pub excluded: Vec<Excluded>,
    /// The kind that the packets alone suggest, if the kernel refutes it.
    pub taken_for: Option<Kind>,
    /// The addresses of client and server in another capture, and which capture.
    pub other_names: Option<(u16, Host, Host)>,
    /// Which capture points the connection passed, and how far its packets came.
    pub passed: Option<Box<PointsPassed>>,
    /// Another four-tuple that the finding is also about, client first.
    pub also_tells_of: Option<(Host, Host)>,
    /// The packets that show it. Never empty.
    evidence: Vec<(PacketRef, Phrase)>,
    /// When it ended, if that is later than the last packet that shows it.
    until: Option<Timestamp>,
    /// The senders of the connection's packets, and their marks.
    pub packets: PacketRoles,
    /// The next steps; empty if they are those of [`Draft::usual_steps`].
    pub next_steps: Vec<String>,
    /// Steps that depend on the server only. An incident writes those of one of its findings.
    pub usual_steps: Option<UsualSteps>,
    /// Details that later stages decide by.
    pub details: Details,
    /// For how long a full accept queue would have kept the client out, if that is the cause.
    pub kept_out: Option<RefusedClient>,
    /// How much counters of the server's host rose, by the name of the metric.
    host_counters: Vec<(&'static str, u64)>,
    /// Measured values for the report; nothing depends on them.
    measured: Metrics,
    /// The first packet of the connection, which names it; `None` for a finding about a listener.
    pub connection: Option<PacketId>,
}

/// The capture points that the packets of a finding passed.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct PointsPassed {
    /// In the report's form.
    pub route: Route,
    /// Which points saw each packet.
    pub packets: Vec<(PacketId, PacketPoints)>,
}

/// A list that begins with `first`. Hardly any finding has only one packet.
fn two_at_least<T>(first: T) -> Vec<T> {
    let mut list = Vec::with_capacity(2);
    list.push(first);
    list
}

/// Times that run back by less than this come from a capture on several queues.
const A_STEP: Span = Span::millis(100);

impl Draft {
    /// A finding about one connection, shown by `evidence`.
    pub fn about(
        f: &ConnectionFacts,
        spec: &impl EvidenceMarks,
        evidence: (PacketRef, impl Into<Phrase>),
    ) -> Draft {
        Draft {
            kind: spec.kind(),
            severity: Severity::Warning,
            certainty: Certainty::Possible,
            reason: String::new(),
            client: Some(f.client),
            server: Some(f.server),
            summary: String::new(),
            cause: Cause::default(),
            alternatives: Vec::new(),
            excluded: Vec::new(),
            taken_for: None,
            other_names: None,
            passed: None,
            also_tells_of: None,
            evidence: two_at_least((evidence.0, evidence.1.into())),
            until: None,
            packets: PacketRoles::of(f, spec),
            next_steps: Vec::new(),
            usual_steps: None,
            details: Details::None,
            kept_out: None,
            host_counters: Vec::new(),
            measured: Metrics::default(),
            connection: Some(f.first.packet),
        }
    }

    /// The next steps with the usual ones written out, so that others can be added.
    pub fn written_steps(&mut self) -> &mut Vec<String> {
        if let (Some(usual), Some(server)) = (self.usual_steps.take(), self.server)
            && self.next_steps.is_empty()
        {
            self.next_steps = usual.at(server);
        }
        &mut self.next_steps
    }

    /// A finding about a listener as a whole, shown by `evidence`.
    pub fn about_listener(
        server: Host,
        spec: &impl EvidenceMarks,
        evidence: (PacketRef, impl Into<Phrase>),
    ) -> Draft {
        let nobody = ConnectionFacts { server, ..ConnectionFacts::default() };
        Draft { client: None, connection: None, ..Draft::about(&nobody, spec, evidence) }
    }

    /// Adds a packet that shows something.
    pub fn shows(&mut self, at: PacketRef, text: impl Into<Phrase>) -> &mut Draft {
        self.evidence.push((at, text.into()));
        self
    }

    /// Adds an alternative: a cause that could not be excluded.
    pub fn or(&mut self, suspect: impl Into<Suspect>, why_less_likely: impl Into<Phrase>) -> &mut Draft {
        let (suspect, why_less_likely) = (suspect.into(), why_less_likely.into());
        self.alternatives.push(Alternative { suspect, why_less_likely });
        self
    }

    /// The packets are known to have arrived at the server's host: removes alternatives that say otherwise.
    pub fn packets_arrived(&mut self) {
        let known = std::mem::take(&mut self.alternatives);
        let left = known.into_iter().filter_map(|Alternative { suspect, why_less_likely }| {
            suspect.after_arrival().map(|suspect| Alternative { suspect, why_less_likely })
        });
        self.alternatives = left.collect();
    }

    /// Sets a measured value for the report; a value that a later stage decides by belongs into [`Details`].
    pub fn measure(&mut self, name: &'static str, value: impl Into<serde_json::Value>) -> &mut Draft {
        self.measured.insert(name, value.into());
        self
    }

    /// Sets a measured time, in seconds to the microsecond.
    pub fn measure_span(&mut self, name: &'static str, span: Span) -> &mut Draft {
        self.measure(name, seconds(span))
    }

    /// Replaces the details of the finding; the report keeps the values of the former ones.
    pub fn replace_details(&mut self, details: Details) -> &mut Draft {
        self.details.write(&mut self.measured);
        self.details = details;
        self
    }

    /// Notes how much a counter of the server's host rose; `name` is that of the metric.
    pub fn note_host_counter(&mut self, name: &'static str, rise: u64) {
        self.host_counters.retain(|(known, _)| *known != name);
        self.host_counters.push((name, rise));
    }

    /// Whether it was compared with counters of the server's host.
    pub fn was_checked_by_host(&self) -> bool {
        !self.host_counters.is_empty()
    }

    /// All measured values, as the report has them.
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.measured.clone();
        self.details.write(&mut metrics);
        for (name, rise) in &self.host_counters {
            metrics.insert(*name, (*rise).into());
        }
        metrics.shrink_to_fit();
        metrics
    }

    /// The cause is the best of several; `reason` says why.
    pub fn probable(&mut self, reason: impl Into<String>) -> &mut Draft {
        self.certainty = Certainty::Probable;
        self.reason = reason.into();
        self
    }

    /// The capture cannot tell; `reason` names the missing evidence.
    pub fn possible(&mut self, reason: impl Into<String>) -> &mut Draft {
        self.certainty = Certainty::Possible;
        self.reason = reason.into();
        self
    }

    /// The packets admit no other cause; `by` names the confirmation.
    pub fn confirmed(&mut self, by: impl Into<String>) -> &mut Draft {
        self.certainty = Certainty::Confirmed;
        self.reason = by.into();
        self
    }

    /// Whether the order of its packets in the capture contradicts their times: a clock stepped back among them.
    pub fn runs_back(&self) -> bool {
        let mut evidence: Vec<PacketRef> = self.evidence.iter().map(|(at, _)| *at).collect();
        evidence.sort_unstable_by_key(|at| (at.packet.capture(), at.packet.number()));
        evidence.windows(2).any(|pair| {
            pair[1].packet.capture() == pair[0].packet.capture() && pair[0].time - pair[1].time > A_STEP
        })
    }

    /// Lowers the certainty to possible; `reason` says why.
    pub fn lower_to_possible(&mut self, reason: &str) {
        if self.certainty != Certainty::Possible {
            self.certainty = Certainty::Possible;
            self.reason = format!("{}; but {reason}", self.reason);
        }
    }

    /// Sets the end of the finding's time, with or without a packet that shows it.
    pub fn lasted_until(&mut self, time: Timestamp) -> &mut Draft {
        self.until = Some(time);
        self
    }

    /// From the first packet concerned to the last, or to its end.
    pub fn during(&self) -> (Timestamp, Timestamp) {
        let times = || self.evidence.iter().map(|(at, _)| at.time);
        let first = times().min().unwrap_or_default();
        (first, times().chain(self.until).max().unwrap_or(first))
    }

    /// The first packet that shows it.
    pub fn first(&self) -> PacketRef {
        self.evidence.iter().map(|(at, _)| *at).min().unwrap_or_default()
    }

    /// The sort key of findings: time first.
    pub fn order(&self) -> impl Ord + use<> {
        (self.first(), self.kind, self.client, self.server)
    }

    /// Frees memory that is not needed any more.
    pub fn shrink_to_fit(&mut self) {
        self.reason.shrink_to_fit();
        self.summary.shrink_to_fit();
        self.alternatives.shrink_to_fit();
        self.evidence.shrink_to_fit();
        self.next_steps.shrink_to_fit();
        self.packets.shrink_to_fit();
        self.measured.shrink_to_fit();
    }

    /// How sure the cause is.
    pub fn certainty(&self) -> Certainty {
        self.certainty
    }

    /// The packets that show it, in order of time.
    pub fn evidence(&self) -> Vec<(PacketRef, Phrase)> {
        let mut evidence = self.evidence.clone();
        evidence.sort_by_key(|(at, _)| *at);
        evidence.dedup_by_key(|(at, _)| *at);
        evidence
    }
}

/// A cause in the report's form, from static words.
pub fn cause(
    text: &'static str,
    functions: &'static [&'static str],
    counters: &'static [&'static str],
    sysctls: &'static [&'static str],
) -> Cause {
    let texts = |names: &[&'static str]| names.iter().map(|&name| name.into()).collect();
    Cause {
        text: text.into(),
        kernel_functions: texts(functions),
        counters: texts(counters),
        sysctls: texts(sysctls),
    }
}

/// `once`, `twice`, `5 times`.
pub fn times(n: u64) -> String {
    match n {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        n => format!("{n} times"),
    }
}

/// `1 client`, `3 clients`: a count with its noun.
pub fn count(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// `1 address`, `3 addresses`: a count with a noun whose plural takes more than an `s`.
pub fn counted(n: u64, one: &str, several: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {several}") }
}
