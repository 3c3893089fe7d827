//! Losses to faults of this program, and their words in the report.

use crate::decode::segment::PacketId;
use crate::detect::Draft;
use crate::diagnose::write::Written;
use crate::fault::Fault;
use crate::flow::facts::ConnectionFacts;
use crate::flow::key::Host;
use crate::flow::tracker::SHARDS;
use crate::model::{Capture, Kind};

/// This many losses are named; the others are counted.
const NAMED: usize = 8;

/// One loss.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub enum FaultLoss {
    /// A packet that could not be decoded.
    Packet(PacketId, Fault),
    /// The connections of one shard from this packet on.
    Shard(PacketId, Fault),
    /// The rest of the input.
    Rest(Fault),
    /// The comparison of hosts for the packets that were compared at once.
    Peers(Fault),
    /// A finding, or several about one connection or listener.
    Finding(FaultSubject, Fault),
    /// The additions of this step to the report.
    AnalysisStep(AnalysisStep, Fault),
}

/// The subject of a lost finding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct FaultSubject {
    /// The kind; `None` for all of them.
    pub kind: Option<Kind>,
    /// The client; `None` for a finding about a listener.
    pub client: Option<Host>,
    /// The server.
    pub server: Option<Host>,
    /// The first packet of the connection.
    pub first: Option<PacketId>,
}

impl FaultSubject {
    /// A finding about this connection.
    pub fn connection(kind: Option<Kind>, facts: &ConnectionFacts) -> FaultSubject {
        let first = Some(facts.first.packet);
        FaultSubject { kind, client: Some(facts.client), server: Some(facts.server), first }
    }

    /// A finding about this listener.
    pub fn listener(kind: Option<Kind>, server: Host) -> FaultSubject {
        FaultSubject { kind, client: None, server: Some(server), first: None }
    }

    /// What this draft says.
    pub fn draft(draft: &Draft) -> FaultSubject {
        FaultSubject {
            kind: Some(draft.kind),
            client: draft.client,
            server: draft.server,
            first: draft.connection.or_else(|| Some(draft.first().packet)),
        }
    }

    /// What this finding says.
    pub fn written(written: &Written) -> FaultSubject {
        let outline = &written.outline;
        FaultSubject {
            kind: Some(written.finding.kind),
            client: outline.client,
            server: outline.server,
            first: outline.connection,
        }
    }

    /// Its connection or listener, for a message.
    fn place(&self, captures: &[Capture]) -> String {
        let socket = |host: Option<Host>| host.map(|host| host.socket().to_string());
        let place = match (socket(self.client), socket(self.server)) {
            (Some(client), Some(server)) => format!("the connection {client} -> {server}"),
            (None, Some(server)) => format!("the listener {server}"),
            (Some(client), None) => format!("the client {client}"),
            (None, None) => "the capture".to_owned(),
        };
        match self.first {
            Some(first) => format!("{place} (first packet {} of {})", first.number(), path(captures, first)),
            None => place,
        }
    }
}

/// A step between the packets and the report that makes no findings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub enum AnalysisStep {
    /// Looking at the listeners as a whole.
    Listeners,
    /// Finding out where the capture was taken.
    CapturePoint,
    /// Counting failed connections.
    Failures,
    /// Inferring settings.
    Settings,
    /// Comparing the findings with the counters of the host.
    HostFacts,
    /// Assigning connections that were not examined.
    Unexamined,
}

impl AnalysisStep {
    /// The step in words, and what the report lacks.
    fn texts(self) -> (&'static str, &'static str) {
        match self {
            AnalysisStep::Listeners => ("looking at the listeners", "findings that need that may be missing"),
            AnalysisStep::CapturePoint => ("finding out where the capture was taken", "that is not known"),
            AnalysisStep::Failures => ("counting failed connections", "some may not be counted"),
            AnalysisStep::Settings => ("inferring kernel settings", "some may be missing"),
            AnalysisStep::HostFacts => {
                ("comparing the findings with the host's counters", "they stand as the packets show them")
            }
            AnalysisStep::Unexamined => {
                ("counting connections that were not examined", "some may not be counted")
            }
        }
    }
}

fn path(captures: &[Capture], id: PacketId) -> &str {
    captures.get(usize::from(id.capture())).map_or("the capture", |capture| &capture.path)
}

impl FaultLoss {
    /// As a sentence or two.
    fn text(&self, captures: &[Capture]) -> String {
        let name = |id: &PacketId| format!("{}: packet {}", path(captures, *id), id.number());
        let what = match self {
            FaultLoss::Packet(id, fault) => {
                format!("{} made this program fail (at {fault}) and was left out.", name(id))
            }
            FaultLoss::Shard(id, fault) => format!(
                "{} made this program fail (at {fault}); one of {SHARDS} parts of the connections is known only up to there.",
                name(id)
            ),
            FaultLoss::Rest(fault) => {
                let packets: u64 = captures.iter().map(|capture| capture.packets).sum();
                format!(
                    "this program failed while reading (at {fault}); what comes after the {packets} packets before that was not analyzed."
                )
            }
            FaultLoss::Peers(fault) => format!(
                "this program failed while comparing connections of the same hosts (at {fault}); findings that need that may be missing."
            ),
            FaultLoss::Finding(about, fault) => {
                let kind = about.kind.map_or_else(|| "of any kind".to_owned(), |kind| kind.to_string());
                format!(
                    "{} made this program fail (at {fault}): a finding ({kind}) about it may be missing.",
                    about.place(captures)
                )
            }
            FaultLoss::AnalysisStep(step, fault) => {
                let (doing, lacks) = step.texts();
                format!("this program failed while {doing} (at {fault}); {lacks}.")
            }
        };
        format!("{what} Please report this with the capture.")
    }
}

/// All losses of a run.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct FaultLosses {
    named: Vec<FaultLoss>,
    /// Packets that are not named.
    more: u64,
    /// Other losses that are not named.
    others: u64,
}

impl FaultLosses {
    /// Notes one.
    #[cold]
    pub fn note(&mut self, loss: FaultLoss) {
        if self.named.len() < NAMED {
            self.named.push(loss);
        } else if matches!(loss, FaultLoss::Packet(..)) {
            self.more = self.more.saturating_add(1);
        } else {
            self.others = self.others.saturating_add(1);
        }
    }

    /// Notes a fault in `step`, if there was one, and returns the result of the step.
    pub fn of_step<T: Default>(&mut self, step: AnalysisStep, made: Result<T, Fault>) -> T {
        made.unwrap_or_else(|fault| {
            self.note(FaultLoss::AnalysisStep(step, fault));
            T::default()
        })
    }

    /// Notes the losses among `made` and returns the others.
    pub fn separate_losses<T>(&mut self, made: impl IntoIterator<Item = Result<T, FaultLoss>>) -> Vec<T> {
        let note = |made: Result<T, FaultLoss>| made.map_err(|loss| self.note(loss)).ok();
        made.into_iter().filter_map(note).collect()
    }

    /// Adds those of `other`, whose packets are numbered from after the first `before` of their input.
    pub fn append(&mut self, other: &FaultLosses, before: u64) {
        let placed = |id: PacketId| PacketId::new(id.capture(), id.number().saturating_add(before));
        for loss in &other.named {
            self.note(match loss.clone() {
                FaultLoss::Packet(id, fault) => FaultLoss::Packet(placed(id), fault),
                other => other,
            });
        }
        self.more = self.more.saturating_add(other.more);
        self.others = self.others.saturating_add(other.others);
    }

    /// One message for each named loss, and one for all others.
    pub fn texts(&self, captures: &[Capture]) -> Vec<String> {
        let mut texts: Vec<String> = self.named.iter().map(|loss| loss.text(captures)).collect();
        if self.more > 0 {
            texts.push(format!("{} more packets made this program fail and were left out.", self.more));
        }
        if self.others > 0 {
            texts.push(format!("This program failed {} more times; findings may be missing.", self.others));
        }
        texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Block, InputStatus, LinkType, MemorySource, Source};
    use crate::decode::tests::FATAL;
    use crate::engine::{Analysis, AnalysisOptions, analyze_source};
    use crate::flow::tracker::tests::FATAL as FATAL_SEGMENT;
    use crate::time::Timestamp;

    /// A SYN from this port, raw IPv4, with this TTL, TOS and window.
    fn syn(port: u16, (ttl, tos, window): (u8, u8, u16)) -> Vec<u8> {
        let mut packet = vec![0x45, tos, 0, 40, 0, 1, 0x40, 0, ttl, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2];
        packet.extend(port.to_be_bytes());
        packet.extend([0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2]);
        packet.extend(window.to_be_bytes());
        packet.extend([0; 4]);
        packet
    }

    fn analyzed(source: Box<dyn Source>) -> Analysis {
        let options = AnalysisOptions { threads: 2, ..AnalysisOptions::default() };
        analyze_source(source, &options, &mut |_| {}).expect("threads can be started")
    }

    fn timed(packets: Vec<(LinkType, Vec<u8>)>) -> MemorySource {
        let timed = packets.into_iter().enumerate();
        MemorySource::new(timed.map(|(n, (link, data))| (Timestamp(n as i64 * 1_000_000), link, data)))
    }

    const RAW: LinkType = LinkType(101);
    const USUAL: (u8, u8, u16) = (64, 0, 1_000);

    #[test]
    fn a_packet_that_cannot_be_decoded_costs_itself() {
        let fatal = (FATAL.0, FATAL.1.to_vec());
        let mut packets: Vec<_> = (0..6).map(|port| (RAW, syn(port, USUAL))).collect();
        packets.insert(0, fatal.clone());
        packets.insert(4, fatal.clone());
        packets.push(fatal);
        let outcome = analyzed(Box::new(timed(packets)));
        assert_eq!((outcome.report.summary.packets, outcome.report.summary.tcp_segments), (9, 6));
        assert_eq!(outcome.report.summary.connections, 6);
        let named: Vec<bool> = ["packet 1 ", "packet 5 ", "packet 9 "]
            .iter()
            .zip(&outcome.damage)
            .map(|(name, said)| said.contains(name) && said.contains("src/decode/mod.rs:"))
            .collect();
        assert_eq!(named, [true; 3], "{:?}", outcome.damage);
        assert!(outcome.damage.iter().all(|said| outcome.report.warnings.contains(said)));
    }

    #[test]
    fn many_such_packets_are_counted() {
        let packets = vec![(FATAL.0, FATAL.1.to_vec()); 5_000];
        let outcome = analyzed(Box::new(timed(packets)));
        assert_eq!(outcome.damage.len(), NAMED + 1);
        assert!(outcome.damage[NAMED].starts_with("4992 more packets"), "{:?}", outcome.damage);
    }

    #[test]
    fn a_segment_that_cannot_be_followed_costs_a_part_of_the_connections() {
        let mut packets: Vec<_> = (0..1_000).map(|port| (RAW, syn(port, USUAL))).collect();
        packets.insert(500, (RAW, syn(9_999, FATAL_SEGMENT)));
        let outcome = analyzed(Box::new(timed(packets)));
        let summary = &outcome.report.summary;
        assert_eq!(summary.tcp_segments, 1_001);
        assert!((950..1_000).contains(&summary.connections), "{}", summary.connections);
        assert_eq!(outcome.damage.len(), 1);
        assert!(outcome.damage[0].contains("packet 501 made this program fail"), "{:?}", outcome.damage);
    }

    /// Fails when it is read on.
    struct Failing(MemorySource, bool);

    impl Source for Failing {
        fn next_block(&mut self, block: &mut Block) -> bool {
            assert!(!self.1, "a source that a test makes fail");
            self.1 = true;
            self.0.next_block(block)
        }

        fn status(&self) -> Vec<InputStatus> {
            self.0.status()
        }

        fn silences(&self) -> Vec<crate::capture::Silence> {
            self.0.silences()
        }
    }

    #[test]
    fn a_source_that_fails_costs_the_rest_of_the_input() {
        let source = timed((0..50).map(|port| (RAW, syn(port, USUAL))).collect());
        let outcome = analyzed(Box::new(Failing(source, false)));
        assert_eq!(outcome.report.summary.connections, 50);
        assert_eq!(outcome.damage.len(), 1);
        assert!(outcome.damage[0].contains("what comes after the 50 packets"), "{:?}", outcome.damage);
    }
}
