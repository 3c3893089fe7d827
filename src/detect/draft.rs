//! A finding being written, still in packets and times; [`crate::diagnose`] turns it into the report's form.

use crate::decode::segment::PacketId;
use crate::detect::evidence::Packets;
use crate::detect::spec::KindSpec;
use crate::flow::facts::{ConnectionFacts, PacketRef};
use crate::flow::key::Host;
use crate::model::{
    Alternative, Cause, Certainty, Excluded, IfArrived, Kind, Metrics, Phrase, Severity, Vantage,
};
use crate::time::{Span, Timestamp};

/// A finding and where the capture that it rests on was taken: in a box, for there may be very many, and they are sorted and
/// handed on.
pub type Found = (Box<Draft>, Vantage);

/// A finding being written. It cannot be made without evidence, nor be confirmed without saying by what.
#[derive(Clone, PartialEq, Debug)]
pub struct Draft {
    /// What it is.
    pub kind: Kind,
    /// How bad it is.
    pub severity: Severity,
    /// How sure the cause is.
    certainty: Certainty,
    /// Why it is as sure as that, one clause.
    pub reason: String,
    /// The client; `None` for a finding about a listener.
    pub client: Option<Host>,
    /// The server.
    pub server: Option<Host>,
    /// One sentence.
    pub summary: String,
    /// The likely cause.
    pub cause: Cause,
    /// What else it could be, the likeliest first.
    pub alternatives: Vec<Alternative>,
    /// What another capture excludes.
    pub excluded: Vec<Excluded>,
    /// The names of client and server in another capture, and which.
    pub other_names: Option<(u16, Host, Host)>,
    /// The packets that show it. Never empty.
    evidence: Vec<(PacketRef, Phrase)>,
    /// Until when it lasted, where that is later than the last packet that shows it.
    until: Option<Timestamp>,
    /// Who sent the packets of the connection, and what became of them.
    pub packets: Packets,
    /// What to check or change next.
    pub next_steps: Vec<String>,
    /// Measured values.
    pub metrics: Metrics,
    /// The first packet of the connection, which names it; `None` for a finding about a listener.
    pub connection: Option<PacketId>,
}

/// Times that run back by less than this are those of a capture on several queues.
const A_STEP: Span = Span::millis(100);

impl Draft {
    /// A finding about one connection, shown by `evidence`.
    pub fn about(f: &ConnectionFacts, spec: &KindSpec, evidence: (PacketRef, impl Into<Phrase>)) -> Draft {
        Draft {
            kind: spec.kind,
            severity: Severity::Warning,
            certainty: Certainty::Possible,
            reason: String::new(),
            client: Some(f.client),
            server: Some(f.server),
            summary: String::new(),
            cause: Cause::default(),
            alternatives: Vec::new(),
            excluded: Vec::new(),
            other_names: None,
            evidence: vec![(evidence.0, evidence.1.into())],
            until: None,
            packets: Packets::of(f, spec),
            next_steps: Vec::new(),
            metrics: Metrics::default(),
            connection: Some(f.first.packet),
        }
    }

    /// A finding about a listener as a whole, shown by `evidence`.
    pub fn about_listener(server: Host, spec: &KindSpec, evidence: (PacketRef, impl Into<Phrase>)) -> Draft {
        let nobody = ConnectionFacts { server, ..ConnectionFacts::default() };
        Draft { client: None, connection: None, ..Draft::about(&nobody, spec, evidence) }
    }

    /// Adds a packet that shows something.
    pub fn shows(&mut self, at: PacketRef, text: impl Into<Phrase>) -> &mut Draft {
        self.evidence.push((at, text.into()));
        self
    }

    /// Adds a cause that could not be excluded.
    pub fn or(&mut self, text: impl Into<Phrase>, why_less_likely: impl Into<Phrase>) -> &mut Draft {
        self.or_unless_arrived(text, why_less_likely, IfArrived::Stays)
    }

    /// Adds a cause that could not be excluded, and says what is left of it if another capture shows that the packets
    /// arrived.
    pub fn or_unless_arrived(
        &mut self,
        text: impl Into<Phrase>,
        why_less_likely: impl Into<Phrase>,
        if_arrived: IfArrived,
    ) -> &mut Draft {
        let (text, why_less_likely) = (text.into(), why_less_likely.into());
        self.alternatives.push(Alternative { text, why_less_likely, if_arrived });
        self
    }

    /// Sets a measured value.
    pub fn measure(&mut self, name: &'static str, value: impl Into<serde_json::Value>) -> &mut Draft {
        self.metrics.insert(name, value.into());
        self
    }

    /// Sets a measured time, in seconds to the microsecond.
    pub fn measure_span(&mut self, name: &'static str, span: Span) -> &mut Draft {
        self.measure(name, (span.0 / 1_000) as f64 / 1e6)
    }

    /// The cause is the best of several; `reason` says why it is thought to be it.
    pub fn probable(&mut self, reason: impl Into<String>) -> &mut Draft {
        self.certainty = Certainty::Probable;
        self.reason = reason.into();
        self
    }

    /// The capture cannot tell; `reason` says what is missing.
    pub fn possible(&mut self, reason: impl Into<String>) -> &mut Draft {
        self.certainty = Certainty::Possible;
        self.reason = reason.into();
        self
    }

    /// The wire admits no other cause; `by` names what confirms it.
    pub fn confirmed(&mut self, by: impl Into<String>) -> &mut Draft {
        self.certainty = Certainty::Confirmed;
        self.reason = by.into();
        self
    }

    /// Whether its packets stand in the capture in another order than their times say: a clock stepped back among them.
    pub fn runs_back(&self) -> bool {
        let mut evidence: Vec<PacketRef> = self.evidence.iter().map(|(at, _)| *at).collect();
        evidence.sort_unstable_by_key(|at| (at.packet.capture(), at.packet.number()));
        evidence.windows(2).any(|pair| {
            pair[1].packet.capture() == pair[0].packet.capture() && pair[0].time - pair[1].time > A_STEP
        })
    }

    /// Whatever was thought to be surer is only possible; `reason` says why.
    pub fn doubt(&mut self, reason: &str) {
        if self.certainty != Certainty::Possible {
            self.certainty = Certainty::Possible;
            self.reason = format!("{}; but {reason}", self.reason);
        }
    }

    /// It lasted until `time`, with or without a packet that shows the end.
    pub fn lasted_until(&mut self, time: Timestamp) -> &mut Draft {
        self.until = Some(time);
        self
    }

    /// Sets every time by another clock.
    pub fn by_clock(&mut self, clock: impl Fn(Timestamp) -> Timestamp) -> &mut Draft {
        self.evidence.iter_mut().for_each(|(at, _)| at.time = clock(at.time));
        self.until = self.until.map(clock);
        self
    }

    /// From the first packet concerned until the last, or until it was over.
    pub fn during(&self) -> (Timestamp, Timestamp) {
        let times = || self.evidence.iter().map(|(at, _)| at.time);
        let first = times().min().unwrap_or_default();
        (first, times().chain(self.until).max().unwrap_or(first))
    }

    /// The first packet that shows it.
    pub fn first(&self) -> PacketRef {
        self.evidence.iter().map(|(at, _)| *at).min().unwrap_or_default()
    }

    /// What findings are sorted by: time first.
    pub fn order(&self) -> impl Ord + use<> {
        (self.first(), self.kind, self.client, self.server)
    }

    /// Gives back the room that nothing is going to be written into any more.
    pub fn shrink_to_fit(&mut self) {
        self.reason.shrink_to_fit();
        self.summary.shrink_to_fit();
        self.alternatives.shrink_to_fit();
        self.evidence.shrink_to_fit();
        self.next_steps.shrink_to_fit();
        self.packets.shrink_to_fit();
        self.metrics.shrink_to_fit();
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
