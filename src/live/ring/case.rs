//! An incident whose packets will be saved: which packets, and the comments on them.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;

use crate::capture::Packet;
use crate::decode::segment::PacketId;
use crate::extract::{ContextPackets, ends};
use crate::model::{Finding, Incident, Severity};
use crate::time::{Span, Timestamp};

/// Packets from this long before an incident are part of its evidence: they show the listener before the trouble.
const LEAD: Span = Span::secs(30);
/// So are packets from this long after it.
const TAIL: Span = Span::secs(1);
/// How many findings of one incident have comments on their packets; the packets of the others are saved without.
const MOST_FINDINGS: usize = 1_000;

/// A file of evidence that is being written.
#[derive(Debug)]
pub(super) struct EvidenceFile {
    pub file: File,
    pub path: PathBuf,
    /// Its length; whole blocks only.
    pub bytes: u64,
}

/// Its state.
#[derive(Debug)]
pub(super) struct IncidentEvidence {
    pub id: String,
    /// Everything of these listeners.
    listeners: ContextPackets,
    /// What the findings are about.
    connections: ContextPackets,
    comments: HashMap<PacketId, Vec<String>>,
    findings: HashSet<String>,
    from: Timestamp,
    to: Timestamp,
    /// The first file of the ring that has not been searched.
    pub next: u64,
    /// The file into which its packets were saved, once some were.
    pub saved: Option<EvidenceFile>,
    /// The file of the ring for which the evidence's last section was begun.
    pub in_section: Option<u64>,
    /// Whether something did not fit.
    pub cut: bool,
    /// Its severity: on a full disk the gravest incident gets the room.
    pub severity: Severity,
}

impl IncidentEvidence {
    pub fn new(id: &str) -> IncidentEvidence {
        IncidentEvidence {
            id: id.to_owned(),
            listeners: ContextPackets::default(),
            connections: ContextPackets::default(),
            comments: HashMap::new(),
            findings: HashSet::new(),
            from: Timestamp::MAX,
            to: Timestamp::MAX,
            next: 0,
            saved: None,
            in_section: None,
            cut: false,
            severity: Severity::Info,
        }
    }

    /// Takes in a finding, or an update of it; `interfaces` are the names that its evidence uses.
    pub fn finding(&mut self, finding: &Finding, interfaces: &[String]) {
        if !self.findings.contains(&finding.id) && self.findings.len() >= MOST_FINDINGS {
            return;
        }
        self.findings.insert(finding.id.clone());
        self.severity = self.severity.max(finding.severity);
        self.begins(finding.first);
        let (client, server) = (finding.client, finding.server);
        self.listeners.listeners.extend(server);
        match client.zip(server) {
            Some((client, server)) => {
                self.connections.connections.insert(ends(client, server));
            }
            // The finding is about a listener as a whole, or about a client's connections to any server.
            None => {
                self.listeners.listeners.extend(client);
                self.connections.listeners.extend(server.or(client));
            }
        }
        for evidence in &finding.evidence {
            let Some(capture) = interfaces.iter().position(|name| **name == *evidence.capture) else {
                continue;
            };
            let marks: String = evidence.marks.iter().map(|mark| format!(" [{mark}]")).collect();
            let comment = format!("{} {}: {}{marks}", finding.id, finding.kind, evidence.text);
            let comments = self.comments.entry(PacketId::new(capture as u16, evidence.packet)).or_default();
            if !comments.contains(&comment) {
                comments.push(comment);
            }
        }
    }

    /// Whether a finding is part of it.
    pub fn has(&self, finding: &str) -> bool {
        self.findings.contains(finding)
    }

    /// Bytes saved so far.
    pub fn bytes(&self) -> u64 {
        self.saved.as_ref().map_or(0, |saved| saved.bytes)
    }

    /// The incident has ended.
    pub fn close(&mut self, incident: &Incident) {
        self.severity = self.severity.max(incident.severity);
        self.begins(incident.first);
        self.listeners.listeners.extend(incident.listener);
        self.to = incident.last + TAIL;
    }

    fn begins(&mut self, first: Timestamp) {
        self.from = self.from.min(first.after(Span(-LEAD.0)));
    }

    /// Whether anything between these times can be part of it.
    pub fn overlaps(&self, (first, last): (Timestamp, Timestamp)) -> bool {
        first <= self.to && last >= self.from
    }

    /// The comments on a packet.
    pub fn comments(&self, packet: &Packet<'_>) -> &[String] {
        self.comments.get(&packet.id).map_or(&[], Vec::as_slice)
    }

    /// Whether a packet is of one of the listeners, in the time of the incident.
    pub fn around(&self, packet: &Packet<'_>) -> bool {
        self.timely(packet) && (self.listeners.has(packet) || self.matches_findings(packet))
    }

    /// Whether a packet is of what the findings are about.
    pub fn matches_findings(&self, packet: &Packet<'_>) -> bool {
        self.comments.contains_key(&packet.id) || self.timely(packet) && self.connections.has(packet)
    }

    fn timely(&self, packet: &Packet<'_>) -> bool {
        packet.time >= self.from && packet.time <= self.to
    }
}
