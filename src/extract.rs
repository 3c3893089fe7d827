//! The packets of findings as a small capture, each with a comment on its meaning.
//!
//! The inputs are read a second time, so that an analysis need not keep packets. Only packets and the texts of their
//! interfaces are copied. Comments and blocks with names and secrets are left out, and so is the payload unless it is
//! asked for.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;

use crate::capture::{Block, InterfaceText, LinkType, Packet, Source};
use crate::decode::segment::{PacketId, Segment};
use crate::decode::{Decoded, decode_contained};
use crate::model::{Finding, Report};
use crate::redact::Rewriter;
use crate::report::pcapng::{self, PcapngWriter};

/// Which packets are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtractScope {
    /// Those that findings name.
    Evidence,
    /// All of their connections.
    Connections,
    /// All connections of the listeners that they are about: with this context, an analysis of the extract has the same
    /// findings.
    Listeners,
}

/// The choice of packets.
pub struct Selection<'r> {
    /// The report on the same source.
    pub report: &'r Report,
    /// The findings whose packets are wanted.
    pub chosen: &'r [&'r Finding],
    /// Which of them.
    pub extent: ExtractScope,
    /// How the packets were changed, one sentence.
    pub notice: &'r str,
}

/// Writes the packets of `source` that `order` asks for, each through `rewriter`.
///
/// # Errors
/// The writer's error.
pub fn write(
    order: &Selection<'_>,
    mut source: Box<dyn Source>,
    mut rewriter: Rewriter,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let comments = comments(order);
    let around = ContextPackets::of(order);
    let about = format!(
        "Packets of {} findings, extracted from {}. {} Comments say which finding a packet belongs to, what it shows, \
         and its number in the original capture.",
        order.chosen.len(),
        order.report.captures.iter().map(|capture| capture.path.as_str()).collect::<Vec<_>>().join(", "),
        order.notice
    );
    let mut writer = PcapngWriter::new(out, &about)?;
    let mut interfaces: HashMap<(u16, u8, LinkType), u32> = HashMap::new();
    let (mut block, mut bytes) = (Block::default(), Vec::new());
    while source.next_block(&mut block) {
        for packet in block.packets() {
            let shown = comments.get(&packet.id);
            if shown.is_none() && !around.has(&packet) {
                continue;
            }
            let place = (packet.id.capture(), packet.interface, packet.link);
            let interface = match interfaces.get(&place) {
                Some(known) => *known,
                None => {
                    let text = interface(order.report, source.as_ref(), &packet);
                    let new = writer.interface(packet.link.0, &text.name, &text.description)?;
                    interfaces.insert(place, new);
                    new
                }
            };
            bytes.clear();
            bytes.extend_from_slice(packet.data);
            let kept = rewriter.rewrite(packet.link, &mut bytes, packet.original_length);
            let written = pcapng::CommentedPacket {
                interface,
                time: packet.time,
                original_length: packet.original_length.max(packet.data.len() as u32),
                data: &bytes[..kept],
            };
            writer.packet(&written, shown.map_or(&[], Vec::as_slice))?;
        }
    }
    Ok(())
}

/// The description of the interface of `packet`: the input's own, else the input's name.
fn interface(report: &Report, source: &dyn Source, packet: &Packet<'_>) -> InterfaceText {
    let capture = usize::from(packet.id.capture());
    let path = report.captures.get(capture).map(|capture| capture.path.clone()).unwrap_or_default();
    let input = source.status().into_iter().nth(capture);
    let said = input.and_then(|input| input.interfaces.into_iter().nth(packet.interface.into()));
    match said {
        Some(said) if !said.name.is_empty() => said,
        said => InterfaceText { name: path, description: said.unwrap_or_default().description },
    }
}

/// The comments on each packet that a finding names.
fn comments(order: &Selection<'_>) -> HashMap<PacketId, Vec<String>> {
    let mut comments: HashMap<PacketId, Vec<String>> = HashMap::new();
    let places: HashMap<&str, u16> = order
        .report
        .captures
        .iter()
        .enumerate()
        .rev()
        .map(|(n, capture)| (capture.path.as_str(), n as u16))
        .collect();
    for finding in order.chosen {
        for evidence in &finding.evidence {
            let marks: String = evidence.marks.iter().map(|mark| format!(" [{mark}]")).collect();
            let own = (&*evidence.capture, evidence.packet);
            let also = evidence.also.as_ref().map(|also| (also.capture.as_str(), also.packet));
            for (name, packet) in [Some(own), also].into_iter().flatten() {
                let Some(&capture) = places.get(name) else { continue };
                comments.entry(PacketId::new(capture, packet)).or_default().push(format!(
                    "{} {}: {}{marks} (packet {packet} of {name}){}",
                    finding.id,
                    finding.kind,
                    evidence.text,
                    other_names(finding, name)
                ));
            }
        }
    }
    comments
}

/// The addresses of a connection on the other side of a NAT, for a packet of the capture `name`.
fn other_names(finding: &Finding, name: &str) -> String {
    let (Some(names), Some(client), Some(server)) =
        (&finding.also_known_as, &finding.client, &finding.server)
    else {
        return String::new();
    };
    match names.capture == name {
        true => format!("; {} -> {} is {client} -> {server} on the other side", names.client, names.server),
        false => format!("; {client} -> {server} is {} -> {} on the other side", names.client, names.server),
    }
}

/// Both ends of a connection, the smaller first.
pub(crate) type AddressPair = (SocketAddr, SocketAddr);

pub(crate) fn ends(a: SocketAddr, b: SocketAddr) -> AddressPair {
    (a.min(b), a.max(b))
}

/// Packets written besides the evidence.
#[derive(Clone, Debug, Default)]
pub(crate) struct ContextPackets {
    pub connections: HashSet<AddressPair>,
    pub listeners: HashSet<SocketAddr>,
}

impl ContextPackets {
    fn of(order: &Selection<'_>) -> ContextPackets {
        let mut around = ContextPackets::default();
        for finding in order.chosen {
            let own = (finding.client, finding.server);
            let other = finding.also_known_as.as_ref();
            let other = other.map(|names| (Some(names.client), Some(names.server)));
            for (client, server) in [Some(own), other].into_iter().flatten() {
                match order.extent {
                    ExtractScope::Evidence => {}
                    ExtractScope::Connections => {
                        around
                            .connections
                            .extend(client.zip(server).map(|(client, server)| ends(client, server)));
                    }
                    ExtractScope::Listeners => around.listeners.extend(server),
                }
            }
        }
        around
    }

    /// Whether a packet is a segment of one of these, or an error that quotes one.
    pub fn has(&self, packet: &Packet<'_>) -> bool {
        if self.connections.is_empty() && self.listeners.is_empty() {
            return false;
        }
        let mut segment = Segment::default();
        match decode_contained(packet, &mut segment) {
            Decoded::Tcp | Decoded::Icmp => {
                let from = SocketAddr::new(segment.src.ip(), segment.src_port);
                let to = SocketAddr::new(segment.dst.ip(), segment.dst_port);
                self.connections.contains(&ends(from, to))
                    || self.listeners.contains(&from)
                    || self.listeners.contains(&to)
            }
            _ => false,
        }
    }
}
