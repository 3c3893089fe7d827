//! The sender and the marks of a packet of the evidence: read from the facts, so that no detector has to name them.

use std::sync::Arc;

use crate::decode::segment::PacketId;
use crate::flow::facts::{ConnectionFacts, PacketRef, Role, SegmentKind};
use crate::kernel::verdict::Judgement;
use crate::model::{Kind, PacketMark, Sender};

/// How a kind marks the packets that show it.
pub trait EvidenceMarks {
    /// The kind.
    fn kind(&self) -> Kind;
    /// The packets that the server ignored.
    fn ignored(&self) -> IgnoredPackets;
    /// The sender of the packets, if the kind is about a listener.
    fn sender(&self) -> Option<Sender>;
}

/// Packets that the server ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IgnoredPackets {
    /// None.
    Nothing,
    /// The SYNs that drew no answer.
    Syns,
    /// The final ACK.
    FinalAck,
    /// The final ACK, and the client's segments after it.
    FinalAckAndData,
}

/// What another capture of the same traffic holds of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InOtherCapture {
    /// It is there too.
    Seen(PacketRef),
    /// It should be in that capture, and is not.
    Missing(u16),
}

/// Sender, marks and verdicts of the packets that a connection's facts name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PacketRoles {
    known: Vec<(PacketId, Sender, Apart)>,
    /// The sender of a finding's packets, if it is about a listener.
    otherwise: Option<Sender>,
    elsewhere: Vec<(PacketId, InOtherCapture)>,
    judged: Vec<(PacketId, Arc<Judgement>)>,
}

/// The marks of a packet: it may be a repetition, and ignored or a RST.
type Apart = [Option<PacketMark>; 2];

impl PacketRoles {
    /// Reads the facts for a finding of this kind.
    pub fn of(f: &ConnectionFacts, spec: &impl EvidenceMarks) -> PacketRoles {
        let mut packets = PacketRoles { otherwise: spec.sender(), ..PacketRoles::default() };
        packets.handshake(f, spec.ignored());
        packets.reaction(f, spec.ignored());
        for (role, side) in [(Role::Client, &f.c), (Role::Server, &f.s)] {
            if let Some(reset) = &side.reset {
                packets.note(reset.at, role, [Some(PacketMark::Reset), None]);
                if let Some(trigger) = reset.trigger {
                    let again = (trigger.what == SegmentKind::Retransmit).then_some(PacketMark::Repeated);
                    packets.note(trigger.at, role.peer(), [again, None]);
                }
            }
            for at in [side.first_data, side.last_data, side.fin, side.late_data(), side.keepalive()] {
                packets.note_some(at, role);
            }
            packets.note_some(side.fin_acked, role.peer());
            packets.note(side.last, role, [None; 2]);
        }
        packets
    }

    fn handshake(&mut self, f: &ConnectionFacts, ignored: IgnoredPackets) {
        let marked = |is_ignored: bool| is_ignored.then_some(PacketMark::Ignored);
        let unanswered: Vec<PacketRef> = f.unanswered_syns().map(|syn| syn.at).collect();
        for (n, syn) in f.syn.iter().chain(f.syn.last()).enumerate() {
            let in_vain = ignored == IgnoredPackets::Syns && unanswered.contains(&syn.at);
            self.note(syn.at, Role::Client, [again(n), marked(in_vain)]);
        }
        for (n, syn_ack) in f.syn_ack.iter().chain(f.syn_ack.last()).enumerate() {
            self.note(syn_ack.at, Role::Server, [again(n), None]);
        }
        if let Some(ack) = f.final_ack {
            let in_vain = matches!(ignored, IgnoredPackets::FinalAck | IgnoredPackets::FinalAckAndData);
            self.note(ack.at, Role::Client, [marked(in_vain), None]);
        }
    }

    /// The client's unanswered segments, and the server's first sign of having the connection.
    fn reaction(&mut self, f: &ConnectionFacts, ignored: IgnoredPackets) {
        if ignored == IgnoredPackets::FinalAckAndData {
            if f.unanswered.retransmits > 0 {
                let marks = [PacketMark::Repeated, PacketMark::Ignored].map(Some);
                self.note(f.unanswered.first, Role::Client, marks);
                self.note(f.unanswered.last, Role::Client, marks);
            }
            if f.unanswered.acks > 0 {
                self.note(f.unanswered.last_ack, Role::Client, [Some(PacketMark::Ignored), None]);
            }
        }
        if let Some(progress) = f.progress {
            self.note(progress.at, Role::Server, [None; 2]);
            self.note(progress.after, Role::Client, [None; 2]);
        }
        self.note_some(f.ack_to_syn.as_ref().map(|ack| ack.at), Role::Server);
        if let Some(icmp) = &f.icmp {
            // An ICMP error travels toward the end whose segment it quotes.
            let toward = if icmp.quotes_client { Role::Client } else { Role::Server };
            self.note(icmp.at, toward.peer(), [None; 2]);
        }
    }

    fn note_some(&mut self, at: Option<PacketRef>, by: Role) {
        if let Some(at) = at {
            self.note(at, by, [None; 2]);
        }
    }

    /// The first note holds.
    fn note(&mut self, at: PacketRef, by: Role, marks: Apart) {
        let sender = match by {
            Role::Client => Sender::Client,
            Role::Server => Sender::Server,
        };
        if at != PacketRef::default() && !self.known.iter().any(|(known, ..)| *known == at.packet) {
            self.known.push((at.packet, sender, marks));
        }
    }

    /// Notes what another capture holds of a packet.
    pub fn note_elsewhere(&mut self, packet: PacketId, elsewhere: InOtherCapture) {
        if self.elsewhere(packet).is_none() {
            self.elsewhere.push((packet, elsewhere));
        }
    }

    /// What another capture holds of this packet.
    pub fn elsewhere(&self, packet: PacketId) -> Option<InOtherCapture> {
        self.elsewhere.iter().find(|(known, _)| *known == packet).map(|(_, e)| *e)
    }

    /// Notes what the kernel said of a packet.
    pub fn note_judgement(&mut self, packet: PacketId, judgement: Arc<Judgement>) {
        match self.judged.iter_mut().find(|(known, _)| *known == packet) {
            Some((_, known)) => *known = judgement,
            None => self.judged.push((packet, judgement)),
        }
    }

    /// What the kernel said of this packet.
    pub fn judgement(&self, packet: PacketId) -> Option<&Judgement> {
        self.judged.iter().find(|(known, _)| *known == packet).map(|(_, judgement)| &**judgement)
    }

    /// Notes who sent a packet that the facts do not name.
    pub fn note_sender(&mut self, at: PacketRef, by: Role, mark: Option<PacketMark>) {
        self.note(at, by, [mark, None]);
    }

    /// Frees memory that is not needed any more.
    pub fn shrink_to_fit(&mut self) {
        self.known.shrink_to_fit();
    }

    /// The sender of this packet, and its marks.
    pub fn of_packet(&self, packet: PacketId) -> (Option<Sender>, Vec<PacketMark>) {
        match self.known.iter().find(|(known, ..)| *known == packet) {
            Some((_, sender, marks)) => (Some(*sender), marks.iter().flatten().copied().collect()),
            None => (self.otherwise, Vec::new()),
        }
    }
}

/// The marks of the `n`th transmission, counted from 0.
pub fn again(n: usize) -> Option<PacketMark> {
    (n > 0).then_some(PacketMark::Repeated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::registry;
    use crate::flow::facts::{FinalAck, Transmission, Transmissions};
    use crate::model::Kind;
    use crate::time::Timestamp;

    fn mark(n: u64) -> PacketRef {
        PacketRef { time: Timestamp(n as i64), packet: PacketId::new(0, n) }
    }

    fn sent(packets: &[u64]) -> Transmissions {
        let mut repeats = Transmissions::default();
        packets.iter().for_each(|&n| repeats.push(Transmission { at: mark(n), ..Transmission::default() }));
        repeats
    }

    #[test]
    fn a_full_queue_ignores_the_final_ack_and_repeats_its_syn_ack() {
        let final_ack = FinalAck {
            at: mark(3),
            bare: true,
            traits: Default::default(),
            tsval: 0,
            tsecr: 0,
            syn_acks: 1,
            ip_id_hole: 0,
        };
        let f = ConnectionFacts {
            syn: sent(&[1]),
            syn_ack: sent(&[2, 4]),
            final_ack: Some(final_ack),
            ..ConnectionFacts::default()
        };
        let packets = PacketRoles::of(&f, registry::spec(Kind::AcceptQueueOverflow));
        let of = |n| packets.of_packet(PacketId::new(0, n));
        assert_eq!(of(1), (Some(Sender::Client), vec![]));
        assert_eq!(of(2), (Some(Sender::Server), vec![]));
        assert_eq!(of(3), (Some(Sender::Client), vec![PacketMark::Ignored]));
        assert_eq!(of(4), (Some(Sender::Server), vec![PacketMark::Repeated]));
        assert_eq!(of(9), (None, vec![]));
        assert_eq!(
            PacketRoles::of(&f, registry::spec(Kind::HandshakeLoss)).of_packet(PacketId::new(0, 3)).1,
            vec![]
        );
    }
}
