//! What a capture proves about one connection: milestones with time and packet, counters, header values.
//!
//! Written by [`super::connection`], read by the detectors. Plain data; nothing here judges.

mod packet;
mod reset;
mod sent;
mod side;

use std::fmt;

use crate::decode::segment::{Address, TcpOptions, Traits};
use crate::flow::key::Host;
use crate::seq::Seq;
use crate::time::{Span, Timestamp};

pub use packet::{PacketRef, SegmentKind};
pub use reset::{Reset, ResetTrigger, SegmentProfile};
pub use sent::{SynOffer, Transmission, Transmissions, is_later_wait};
pub(super) use sent::{another_way, push_exactly};
pub use side::{
    Flight, KeepaliveProbing, LateData, OngoingRetransmission, RecoveredLosses, Side, ZeroWindow,
};

/// Who a segment comes from, once roles are known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub enum Role {
    /// The initiator: sent the SYN.
    Client,
    /// The responder: listened.
    Server,
}

impl Role {
    /// Both ends.
    pub const BOTH: [Role; 2] = [Role::Client, Role::Server];

    /// The other end.
    pub fn peer(self) -> Role {
        match self {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Client => "client",
            Role::Server => "server",
        })
    }
}

/// Something of each end.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct BothEnds<T> {
    pub(super) client: T,
    pub(super) server: T,
}

impl<T> BothEnds<T> {
    #[inline]
    pub(super) fn of(&self, role: Role) -> &T {
        match role {
            Role::Client => &self.client,
            Role::Server => &self.server,
        }
    }

    #[inline]
    pub(super) fn of_mut(&mut self, role: Role) -> &mut T {
        match role {
            Role::Client => &mut self.client,
            Role::Server => &mut self.server,
        }
    }

    /// That of `role`, then the other.
    #[inline]
    pub(super) fn both_mut(&mut self, role: Role) -> (&mut T, &mut T) {
        match role {
            Role::Client => (&mut self.client, &mut self.server),
            Role::Server => (&mut self.server, &mut self.client),
        }
    }

    pub(super) fn swap(&mut self) {
        std::mem::swap(&mut self.client, &mut self.server);
    }
}

/// How the roles became known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub enum Roles {
    /// A SYN was seen: its sender is the client.
    BySyn,
    /// A SYN-ACK was seen: its sender is the server.
    BySynAck,
    /// Neither was seen: the end with the lower port counts as the server.
    #[default]
    Guessed,
}

/// An interval of a second or more without a segment of either end, ended by something new.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Pause {
    /// How long.
    pub length: Span,
    /// The segment that ended it.
    pub until: PacketRef,
    /// Who sent that.
    pub by: Option<Role>,
}

/// The pauses of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct IdlePauses {
    /// The longest pause after which the other end still answered.
    pub survived: Option<Pause>,
    /// The last pause, while nothing of the other end has followed.
    pub last: Option<Pause>,
}

/// The segment that completed the handshake from the client's side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct FinalAck {
    /// Packet and time.
    pub at: PacketRef,
    /// Whether it carried no payload and no FIN.
    pub bare: bool,
    /// Checksum and other traits.
    pub traits: Traits,
    /// TSval, 0 without timestamps.
    pub tsval: u32,
    /// TSecr, 0 without timestamps: it shows which SYN-ACK the client had received first.
    pub tsecr: u32,
    /// How many SYN-ACKs had been seen before it.
    pub syn_acks: u8,
    /// Hole in the client's IP IDs just before it: how many are missing, 0 when none or not known.
    pub ip_id_hole: u8,
}

/// The first segment by which the server shows that it has the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct ServerProgress {
    /// Packet and time.
    pub at: PacketRef,
    /// How many bytes of the client's stream it acknowledged.
    pub acked: u32,
    /// TSval, 0 without timestamps.
    pub tsval: u32,
    /// TSecr, 0 without timestamps: it shows which of the client's segments the server accepted.
    pub tsecr: u32,
    /// The kind of segment.
    pub what: SegmentKind,
    /// The client's last segment before it.
    pub after: PacketRef,
    /// What that segment was.
    pub after_what: SegmentKind,
}

/// Client segments after its final ACK that the server gave no sign of having received.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct UnansweredSegments {
    /// Payload or FIN sent again, capture duplicates not counted.
    pub retransmits: u16,
    /// First of them.
    pub first: PacketRef,
    /// Last of them.
    pub last: PacketRef,
    /// Largest payload among them, bytes: it shows a path that drops only large packets.
    pub largest: u32,
    /// Pure ACKs.
    pub acks: u16,
    /// Last pure ACK.
    pub last_ack: PacketRef,
    /// Highest TSval of any of them: a SYN-ACK that echoes it proves that the server's TCP read one.
    pub tsval: u32,
    /// TSval of the first segment by which the client repeated itself: a retransmission, or its answer to a repeated
    /// SYN-ACK. If the server echoes an earlier one, the first transmission was late, not ignored.
    pub repeated_from: Option<u32>,
}

/// A bare ACK that answered a SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct AckToSyn {
    /// Packet and time.
    pub at: PacketRef,
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgment number.
    pub ack: Seq,
    /// How many.
    pub count: u16,
}

/// An ICMP error that quoted a segment of this connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct IcmpError {
    /// Packet and time.
    pub at: PacketRef,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// TTL of the packet that carried it.
    pub ttl: u8,
    /// Whether IPv6.
    pub v6: bool,
    /// Whether a segment of the client was quoted.
    pub quotes_client: bool,
    /// Who sent it.
    pub sender: Option<Address>,
    /// The next hop's MTU, if it says that a segment was too big; else 0.
    pub mtu: u16,
    /// How many.
    pub count: u16,
}

/// The incarnation of the same four-tuple before this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct PreviousIncarnation {
    /// Its last packet.
    pub last: PacketRef,
    /// The client's SND.NXT at its end.
    pub client_next: Seq,
    /// The server's SND.NXT at its end.
    pub server_next: Seq,
    /// Whether it had ended by FINs or RST.
    pub closed: bool,
    /// Which end sent the first FIN, and therefore holds TIME_WAIT.
    pub first_fin: Option<Role>,
    /// The client's last TSval.
    pub client_tsval: Option<u32>,
}

/// How a connection left the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub enum Ending {
    /// It had not ended before the capture did.
    #[default]
    CaptureEnd,
    /// FINs of both sides were acknowledged.
    Closed,
    /// A RST ended it.
    Reset,
    /// Idle for longer than its state allows.
    Expired,
    /// A new initial sequence number took the four-tuple.
    Replaced,
    /// Given up under the memory limit.
    Evicted,
}

/// Everything written down about one incarnation of a four-tuple.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct ConnectionFacts {
    /// The client's address and port.
    pub client: Host,
    /// The server's address and port.
    pub server: Host,
    /// How the roles are known.
    pub roles: Roles,
    /// The first packet, which identifies the connection.
    pub first: PacketRef,
    /// The last packet.
    pub last: PacketRef,
    /// How it ended, as far as the capture knows.
    pub ending: Ending,
    /// Until when it was watched: when it ended or was evicted; [`Timestamp::MAX`] for the end of the capture.
    pub watched: Timestamp,
    /// When a RST or the acknowledgment of the second FIN ended it.
    pub closed: Option<Timestamp>,
    /// Facts about the client.
    pub c: Side,
    /// Facts about the server.
    pub s: Side,
    /// All SYNs of the client.
    pub syn: Transmissions,
    /// The first SYN and its options.
    pub syn_offer: SynOffer,
    /// All SYN-ACKs with the server's initial sequence number.
    pub syn_ack: Transmissions,
    /// The first SYN-ACK and its options.
    pub syn_ack_offer: SynOffer,
    /// Acknowledgment number of the first SYN-ACK.
    pub syn_ack_ack: Seq,
    /// SYN-ACKs with another initial sequence number than the first one's.
    pub other_isns: u16,
    /// The client's final ACK.
    pub final_ack: Option<FinalAck>,
    /// The server's first sign of having the connection.
    pub progress: Option<ServerProgress>,
    /// The client's segments without an answer before that.
    pub unanswered: UnansweredSegments,
    /// A bare ACK in answer to the SYN.
    pub ack_to_syn: Option<Box<AckToSyn>>,
    /// An ICMP error about this connection.
    pub icmp: Option<Box<IcmpError>>,
    /// Pauses.
    pub idle: Option<Box<IdlePauses>>,
    /// The incarnation before.
    pub previous: Option<Box<PreviousIncarnation>>,
    /// Copies of packets seen before.
    pub duplicates: u32,
    /// Segments much earlier than the connection's last: a capture joined to itself, ignored.
    pub replayed: u32,
    /// Segments that the capture holds just after their acknowledgment: it changed the order of packets.
    pub reordered: u16,
    /// The capture began in mid-connection: no SYN and no SYN-ACK.
    pub mid_stream: bool,
    /// The handshake is no ordinary one (SYN from both ends).
    pub odd_handshake: bool,
    /// The memory limit evicted it after its handshake was complete. It is followed again from its first segment here
    /// on.
    pub readmitted: bool,
}

impl ConnectionFacts {
    /// Whether the connection has shown trouble so far: a repetition without success, a reset, an error.
    pub fn is_troubled(&self) -> bool {
        self.readmitted
            || self.syn.count > 1
            || self.syn_ack.count > 1
            || self.unanswered.retransmits > 0
            || self.icmp.is_some()
            || self.ack_to_syn.is_some()
            || self.c.fins > 1
            || self.s.fins > 1
            || self.was_reset()
    }

    /// Whether there was a RST of either end.
    #[inline]
    pub fn was_reset(&self) -> bool {
        self.c.resets > 0 || self.s.resets > 0
    }

    /// Facts about the end `role`.
    pub fn side(&self, role: Role) -> &Side {
        match role {
            Role::Client => &self.c,
            Role::Server => &self.s,
        }
    }

    /// Facts about the end `role`, to be changed.
    pub fn side_mut(&mut self, role: Role) -> &mut Side {
        match role {
            Role::Client => &mut self.c,
            Role::Server => &mut self.s,
        }
    }

    /// Address and port of the end `role`.
    pub fn host(&self, role: Role) -> Host {
        match role {
            Role::Client => self.client,
            Role::Server => self.server,
        }
    }

    /// Whether both ends use timestamps, as the handshake agreed (RFC 7323 section 2). A SYN-ACK has them only if the SYN
    /// had.
    pub fn timestamps(&self) -> bool {
        let offered = self.syn.count == 0 || self.syn_offer.options.has(TcpOptions::TIMESTAMPS);
        offered && self.syn_ack_offer.options.has(TcpOptions::TIMESTAMPS)
    }

    /// Whether this is a further path of an MPTCP connection that was refused.
    pub fn is_refused_join(&self) -> bool {
        self.syn_offer.options.has(TcpOptions::MPTCP_SUBFLOW)
            && self.s.reset.is_some()
            && !self.s.has_spoken()
    }

    /// Whether the SYN-ACK reached the client so late that its application had closed the socket: a RST without a
    /// socket answers the SYN-ACK. In a capture at the server the SYN-ACK leaves at once, and only the RST is late.
    pub fn was_given_up(&self) -> bool {
        /// Time-outs of connect() are no shorter.
        const PATIENCE: Span = Span::millis(900);
        let asked = self.syn.first().map(|syn| syn.at.time);
        let reset = self.c.reset.as_deref().filter(|reset| reset.is_socketless()).map(|reset| reset.at);
        self.final_ack.is_none()
            && self.syn_ack.count > 0
            && asked.zip(reset).is_some_and(|(asked, reset)| reset.time - asked >= PATIENCE)
            && self.syn.last().zip(reset).is_some_and(|(syn, reset)| syn.at < reset)
    }

    /// Whether the handshake shows that both ends do without selective acknowledgments.
    pub fn lacks_sack(&self) -> bool {
        let offers = [&self.syn_offer, &self.syn_ack_offer];
        self.syn.count > 0
            && self.syn_ack.count > 0
            && !offers.iter().all(|offer| offer.options.has(TcpOptions::SACK_PERMITTED))
    }

    /// Whether the first SYN-ACK in the capture is itself a repetition. Then the capture began after the handshake or
    /// missed a part of it, and the client had received an earlier SYN-ACK. The client had answered that one, or its
    /// acknowledgments echo the earlier timestamp (`tcp_send_challenge_ack` does not take over the timestamp of a
    /// repeated SYN-ACK). Without timestamps the waits between the SYN-ACKs show it: the first wait is 1 s, later ones
    /// are longer.
    pub fn began_after_handshake(&self) -> bool {
        let Some(first) = self.syn_ack.first() else { return false };
        if self.readmitted {
            return true;
        }
        let echoes_an_earlier_one = || {
            self.final_ack
                .is_some_and(|ack| ack.tsecr != 0 && (ack.tsecr.wrapping_sub(first.tsval) as i32) < 0)
        };
        if self.syn.count > 0 {
            return self.timestamps() && self.reordered == 0 && echoes_an_earlier_one();
        }
        if first.is(Transmission::AFTER_FINAL_ACK) {
            return true;
        }
        if self.timestamps() {
            return echoes_an_earlier_one();
        }
        self.syn_ack.iter().nth(1).is_some_and(|second| is_later_wait(second.at.time - first.at.time))
    }

    /// How long before the first SYN-ACK in the capture the client had received another one, in ticks of the server's
    /// timestamp clock.
    pub fn ticks_since_first_syn_ack(&self) -> Option<u32> {
        let first = self.syn_ack.first().filter(|_| self.began_after_handshake() && self.timestamps())?;
        let ack = self.final_ack.filter(|ack| ack.tsecr != 0)?;
        let ticks = first.tsval.wrapping_sub(ack.tsecr);
        (ticks < 1 << 20).then_some(ticks)
    }

    /// The SYNs that drew no answer of any kind, as far as the capture knows: those before the one that was answered,
    /// or all of them.
    pub fn unanswered_syns(&self) -> impl Iterator<Item = &Transmission> + Clone {
        // The client's RST with another connection's number answers an ACK that came before its SYN, or was not
        // captured.
        let met_an_older_one = self.c.reset.as_deref().is_some_and(|r| {
            self.final_ack.is_none_or(|ack| r.at < ack.at) && r.seq.distance(self.c.isn).unsigned_abs() > 1
        });
        let refused = self.ack_to_syn.is_some()
            || met_an_older_one
            || self.client_continued()
            || self.syn_ack.count == 0
                && (self.s.resets > 0 || self.icmp.as_ref().is_some_and(|i| i.quotes_client));
        let answered = self.answered_syn().map(|syn| syn.at);
        let all = if refused || self.odd_handshake { 0 } else { usize::MAX };
        self.syn.iter().take(all).take_while(move |syn| Some(syn.at) != answered)
    }

    /// Whether the client went on although the capture holds no answer to its SYN: then it had an answer.
    pub fn client_continued(&self) -> bool {
        self.syn_ack.count == 0
            && self.syn.count > 0
            && self.c.segments > self.syn.count.saturating_add(u32::from(self.c.resets))
    }

    /// Whether a SYN was answered by RST.
    pub fn is_refused(&self) -> bool {
        let answers_a_syn = |r: &Reset| r.trigger.is_none_or(|t| t.what == SegmentKind::Syn);
        self.syn_ack.count == 0 && self.s.reset.as_deref().is_some_and(answers_a_syn)
    }

    /// Whether the SYN and the SYN-ACK took different ways: the router on one side of the SYN is not the one on that
    /// side of the SYN-ACK.
    pub fn returns_another_way(&self) -> bool {
        another_way(self.syn_offer.neighbours, self.syn_ack_offer.neighbours)
    }

    /// When the server first sent payload: by then the application had accepted the connection.
    pub fn served(&self) -> Option<Timestamp> {
        self.s.first_data.map(|at| at.time)
    }

    /// Whether segments of both ends were captured.
    pub fn both_seen(&self) -> bool {
        self.c.segments > 0 && self.s.segments > 0
    }

    /// The SYN that the first SYN-ACK answers: the one whose TSval it echoes, else the last before it.
    pub fn answered_syn(&self) -> Option<&Transmission> {
        let answer = self.syn_ack.first()?;
        let before = || self.syn.iter().take(usize::from(answer.syns));
        if self.timestamps()
            && let Some(syn) = before().find(|syn| syn.tsval == answer.tsecr)
        {
            return Some(syn);
        }
        before().last().or_else(|| self.syn.first())
    }

    /// Time from the answered SYN to the first SYN-ACK: at the client a round trip, at the server nearly nothing.
    pub fn syn_to_syn_ack(&self) -> Option<Span> {
        Some(self.syn_ack.first()?.at.time - self.answered_syn()?.at.time)
    }

    /// Time from the SYN-ACK to the final ACK where exactly one SYN-ACK preceded it: at the server a round trip.
    pub fn syn_ack_to_ack(&self) -> Option<Span> {
        let ack = self.final_ack?;
        (ack.syn_acks == 1).then(|| ack.at.time - self.syn_ack.first().map_or(ack.at.time, |s| s.at.time))
    }
}
