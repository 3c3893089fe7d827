//! Drafts to the report's findings: stable ids, RFC 3339 times, packet numbers of the right capture.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use crate::decode::segment::PacketId;
use crate::detect::Draft;
use crate::detect::details::Details;
use crate::detect::draft::PointsPassed;
use crate::detect::evidence::{InOtherCapture, PacketRoles};
use crate::detect::next::UsualSteps;
use crate::detect::refused_clients::RefusedClient;
use crate::detect::registry;
use crate::detect::spec::Property;
use crate::diagnose::{display_filters, family, kernel};
use crate::flow::facts::PacketRef;
use crate::flow::key::Host;
use crate::model::{Evidence, Finding, Kind, OtherNames, PacketMark, Phrase, Severity, Sighting, Vantage};
use crate::time::Timestamp;

/// A finding with the data that grouping needs.
#[derive(Clone, Debug)]
pub struct Written {
    /// In the report's form.
    pub finding: Finding,
    /// The data for grouping: addresses and times as values.
    pub outline: Box<FindingOutline>,
}

/// The part of a draft that is still needed once it is written down, beside the finding.
#[derive(Clone, Debug)]
pub struct FindingOutline {
    /// The client; `None` for a finding about a listener.
    pub client: Option<Host>,
    /// The server.
    pub server: Option<Host>,
    /// The addresses of client and server in another capture.
    pub other_names: Option<(Host, Host)>,
    /// Another four-tuple that the finding is also about.
    pub also_tells_of: Option<(Host, Host)>,
    /// See [`Draft::during`].
    pub during: (Timestamp, Timestamp),
    /// The first packet of the connection, if it is about one.
    pub connection: Option<PacketId>,
    /// See [`Draft::next_steps`].
    next_steps: Vec<String>,
    /// See [`Draft::usual_steps`].
    usual_steps: Option<UsualSteps>,
    /// Measurements that incidents and settings depend on.
    pub details: Details,
    /// For how long a full accept queue would have kept the client out, if that is the cause.
    pub kept_out: Option<RefusedClient>,
    /// Whether it was compared with counters of the server's host.
    pub was_held_against_host: bool,
    /// How the connection itself fared, whatever happened to others: lost is critical, delayed a warning.
    pub harm: Severity,
}

impl FindingOutline {
    /// The next steps.
    pub fn next_steps(&self) -> Vec<String> {
        match (self.usual_steps, self.server) {
            (Some(usual), Some(server)) if self.next_steps.is_empty() => usual.at(server),
            _ => self.next_steps.clone(),
        }
    }
}

/// Writes a draft down. `captures` are the paths of the inputs.
pub fn finding(draft: Draft, vantage: Vantage, captures: &[Arc<str>]) -> Written {
    let evidence = draft.evidence();
    let judged = kernel::judged(&draft, &evidence);
    let (first, last) = draft.during();
    let (client, server) = (draft.client.map(Host::socket), draft.server.map(Host::socket));
    let ends = (AddressOrDash(draft.client), AddressOrDash(draft.server));
    let id = id("f", format_args!("{} {} {} {}", draft.kind, ends.0, ends.1, first.0));
    let certainty = draft.certainty();
    let metrics = draft.metrics();
    let was_held_against_host = draft.was_checked_by_host();
    let mut cause = draft.cause;
    if draft.server.is_some_and(|server| server.socket().is_ipv6()) {
        family::name_as_ipv6(&mut cause);
    }
    let none = PointsPassed::default();
    let passed = draft.passed.as_deref().unwrap_or(&none);
    let path = |place: u16| captures.get(usize::from(place)).cloned().unwrap_or_default();
    let mut finding = Finding {
        id,
        kind: draft.kind,
        severity: severity_alone(draft.kind, draft.severity),
        certainty,
        certainty_reason: draft.reason,
        client,
        server,
        vantage,
        summary: draft.summary,
        cause,
        alternatives: draft.alternatives,
        excluded: draft.excluded,
        route: draft.passed.is_some().then(|| Box::new(passed.route.clone())),
        taken_for: draft.taken_for,
        judged_by_kernel: None,
        also_known_as: draft.other_names.map(|(place, client, server)| {
            Box::new(OtherNames {
                capture: path(place).to_string(),
                client: client.socket(),
                server: server.socket(),
            })
        }),
        evidence: evidence.into_iter().map(|packet| written(packet, &draft.packets, passed, path)).collect(),
        first,
        last,
        metrics,
        display_filters: None,
    };
    finding.judged_by_kernel = judged;
    finding.display_filters = Some(Box::new(display_filters::of(&finding)));
    let outline = FindingOutline {
        client: draft.client,
        server: draft.server,
        other_names: draft.other_names.map(|(_, client, server)| (client, server)),
        also_tells_of: draft.also_tells_of,
        during: (first, last),
        connection: draft.connection,
        next_steps: draft.next_steps,
        usual_steps: draft.usual_steps,
        details: draft.details,
        kept_out: draft.kept_out,
        was_held_against_host,
        harm: draft.severity,
    };
    Written { finding, outline: Box::new(outline) }
}

/// A packet of the evidence as the report has it; `path` names the captures.
fn written(
    (at, text): (PacketRef, Phrase),
    packets: &PacketRoles,
    passed: &PointsPassed,
    path: impl Fn(u16) -> Arc<str> + Copy,
) -> Evidence {
    let (sender, mut marks) = packets.of_packet(at.packet);
    let (also, missing_in) = match packets.elsewhere(at.packet) {
        Some(InOtherCapture::Seen(there)) => (Some(Box::new(sighting(there, path))), None),
        Some(InOtherCapture::Missing(place)) => (None, Some(path(place).to_string())),
        None => (None, None),
    };
    let judgement = packets.judgement(at.packet);
    if judgement.is_some_and(kernel::is_dropped) && !marks.contains(&PacketMark::Ignored) {
        marks.push(PacketMark::Ignored);
    }
    let points = passed.packets.iter().find(|(known, _)| *known == at.packet);
    Evidence {
        capture: path(at.packet.capture()),
        packet: at.packet.number(),
        time: at.time,
        text: kernel::add_words(text, judgement),
        sender,
        marks,
        also,
        missing_in,
        points: points.map(|(_, points)| Box::new(points.clone())),
        kernel: judgement.map(|said| Box::new(kernel::verdict(said))),
    }
}

/// A finding's severity before others are known: one connection of an everyday kind is nothing to wake anybody for.
fn severity_alone(kind: Kind, harm: Severity) -> Severity {
    let spec = registry::spec(kind);
    match () {
        () if spec.has(Property::IsAnswered) => Severity::Info,
        () if spec.has(Property::EndsConnection) => harm.min(Severity::Warning),
        () => harm,
    }
}

fn sighting(at: PacketRef, path: impl Fn(u16) -> Arc<str>) -> Sighting {
    Sighting { capture: path(at.packet.capture()).to_string(), packet: at.packet.number(), time: at.time }
}

/// An address and port, or `-` without them.
struct AddressOrDash(Option<Host>);

impl fmt::Display for AddressOrDash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(host) => host.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// FNV-1a over text as it is written (<https://datatracker.ietf.org/doc/draft-eastlake-fnv/>).
struct Fnv(u64);

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

/// A short stable name: a hash of the name.
pub fn id(prefix: &str, name: impl fmt::Display) -> String {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    // A hash takes everything.
    let _ = write!(hash, "{name}");
    format!("{prefix}-{:012x}", hash.0 >> 16)
}
