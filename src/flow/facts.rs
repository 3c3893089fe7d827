//! What a capture proves about one connection: milestones with time and packet, counters, header values.
//!
//! Written by [`super::connection`], read by the detectors. Plain data; nothing here judges.

use std::fmt;

use crate::decode::segment::{Address, Flags, Options, PacketId, Segment, Traits};
use crate::flow::key::Host;
use crate::seq::Seq;
use crate::time::{Span, Timestamp};

/// A packet and its time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PacketRef {
    /// When.
    pub time: Timestamp,
    /// Which packet.
    pub packet: PacketId,
}

impl PacketRef {
    /// The mark of a segment.
    #[inline]
    pub fn of(s: &Segment) -> PacketRef {
        PacketRef { time: s.time, packet: s.packet }
    }
}

/// Who a segment comes from, once roles are known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
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
pub(super) struct Ends<T> {
    pub(super) client: T,
    pub(super) server: T,
}

impl<T> Ends<T> {
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

/// How the roles are known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Roles {
    /// A SYN was seen: its sender is the client.
    BySyn,
    /// A SYN-ACK was seen: its sender is the server.
    BySynAck,
    /// Neither: the lower port is taken for the server's.
    #[default]
    Guessed,
}

/// One transmission of a SYN or a SYN-ACK.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// Packet and time.
    pub at: PacketRef,
    /// TSval; 0 without timestamps (see [`ConnectionFacts::timestamps`]).
    pub tsval: u32,
    /// TSecr; 0 without timestamps.
    pub tsecr: u32,
    /// What had been seen before it, bits of [`Sent::AFTER_FINAL_ACK`] and on.
    pub context: u8,
    /// How many SYNs had been seen before it, at most 255.
    pub syns: u8,
    /// IPv4 identification.
    pub ip_id: u16,
}

impl Sent {
    /// The client's final ACK had been seen.
    pub const AFTER_FINAL_ACK: u8 = 1 << 0;
    /// The server had shown by a segment of its own that it has the connection.
    pub const AFTER_PROGRESS: u8 = 1 << 1;
    /// A RST of either side had been seen.
    pub const AFTER_RESET: u8 = 1 << 2;
    /// The client had sent data (or FIN).
    pub const AFTER_DATA: u8 = 1 << 3;
    /// A SYN that asks for Fast Open, or brings payload.
    pub const FAST_OPEN: u8 = 1 << 4;
    /// A SYN that no kernel sends to open a connection: with FIN, or with payload and no Fast Open option.
    pub const NO_ATTEMPT: u8 = 1 << 5;

    /// Whether all of `bits` hold.
    pub fn is(&self, bits: u8) -> bool {
        self.context & bits == bits
    }
}

/// All transmissions of one segment: every one up to [`Repeats::KEPT`], then the last.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Repeats {
    /// How many transmissions were seen, capture duplicates not counted.
    pub count: u32,
    first: Sent,
    last: Sent,
    /// The second and later ones; never longer than it must be, for there are few.
    between: Box<[Sent]>,
}

impl Repeats {
    /// How many transmissions are kept one by one.
    pub const KEPT: usize = 12;

    /// Notes one more transmission.
    pub fn push(&mut self, sent: Sent) {
        match self.count as usize {
            0 => self.first = sent,
            n if n < Self::KEPT => push_exactly(&mut self.between, sent),
            _ => {}
        }
        self.last = sent;
        self.count = self.count.saturating_add(1);
    }

    /// The first transmission.
    pub fn first(&self) -> Option<&Sent> {
        (self.count > 0).then_some(&self.first)
    }

    /// The last transmission.
    pub fn last(&self) -> Option<&Sent> {
        (self.count > 0).then_some(&self.last)
    }

    /// The transmissions in order; of more than [`Repeats::KEPT`] those after it are left out.
    pub fn iter(&self) -> impl Iterator<Item = &Sent> + Clone {
        self.first().into_iter().chain(&self.between)
    }
}

/// Whether the timer of a SYN-ACK that starts at 1 s and doubles waits this long after a first repetition: 2, 4, 8, 16 or
/// 32 s, and a little more. A listener that defers waits 1, 3, 7, 15 or 31 s for its first one
/// (`inet_csk_reqsk_queue_prune`, `reqsk_timer_handler`).
pub fn is_later_wait(wait: Span) -> bool {
    [(1_900, 2_700), (3_800, 5_300), (7_700, 10_000), (15_600, 19_000), (31_700, 38_000)]
        .iter()
        .any(|&(from, to)| (Span::millis(from)..Span::millis(to)).contains(&wait))
}

/// Whether a SYN and its SYN-ACK with these [`Segment::neighbours`] took different ways.
#[inline]
pub(super) fn another_way(syn: u16, syn_ack: u16) -> bool {
    syn != 0 && syn_ack != 0 && syn != syn_ack
}

/// Adds to a list that has no room to spare: very many are held, and few of them grow.
pub(super) fn push_exactly<T>(list: &mut Box<[T]>, item: T) {
    let mut longer = std::mem::take(list).into_vec();
    longer.reserve_exact(1);
    longer.push(item);
    *list = longer.into_boxed_slice();
}

/// The SYN or SYN-ACK of a side, as first sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offer {
    /// Options present.
    pub options: Options,
    /// Maximum segment size, bytes; 0 when not offered.
    pub mss: u16,
    /// Window scale shift.
    pub window_scale: u8,
    /// Window field.
    pub window: u16,
    /// Payload carried by the SYN itself (Fast Open), bytes.
    pub payload: u16,
    /// IPv4 identification.
    pub ip_id: u16,
    /// Time to live.
    pub ttl: u8,
    /// Type of service.
    pub tos: u8,
    /// Whether it asks for ECN: CWR and ECE in a SYN (RFC 3168 section 6.1.1).
    pub ecn: bool,
    /// A hash of the MAC addresses of its frame, see [`Segment::neighbours`].
    pub neighbours: u16,
}

/// What is known of one end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Side {
    /// Its initial sequence number, once `isn_known`.
    pub isn: Seq,
    /// Whether [`Side::isn`] was seen in a SYN (or SYN-ACK).
    pub isn_known: bool,
    /// The sequence number after everything it was seen to send, or was acknowledged.
    pub next: Seq,
    /// Whether [`Side::next`] means anything yet.
    pub next_known: bool,
    /// The highest acknowledgment of its bytes by the peer, once `acked_known`.
    pub acked: Seq,
    /// Whether [`Side::acked`] means anything yet.
    pub acked_known: bool,
    /// Segments seen from this side, capture duplicates not counted.
    pub segments: u32,
    /// Segments with payload among them that brought new bytes.
    pub data_segments: u32,
    /// Segments that brought nothing new although they carried payload.
    pub retransmits: u32,
    /// How often the peer acknowledged bytes of this side that the capture does not hold.
    pub unseen: u32,
    /// The last time that happened: by then this side had sent something.
    pub unseen_at: Option<PacketRef>,
    /// Payload bytes, each counted once.
    pub bytes: u64,
    /// First segment with payload.
    pub first_data: Option<PacketRef>,
    /// Last segment with new payload.
    pub last_data: Option<PacketRef>,
    /// When the first segment of any kind came.
    pub first: Timestamp,
    /// The last segment of any kind.
    pub last: PacketRef,
    /// Times of more than a second in which nothing came from it: from when to when.
    pub silences: Box<[(Timestamp, Timestamp)]>,
    /// First FIN.
    pub fin: Option<PacketRef>,
    /// Sequence number of the FIN itself.
    pub fin_seq: Seq,
    /// How often FIN was sent.
    pub fins: u16,
    /// The peer's first segment that acknowledges the FIN.
    pub fin_acked: Option<PacketRef>,
    /// First segment with new payload after the peer's FIN had been acknowledged.
    pub late_data: Option<PacketRef>,
    /// Sequence number of that payload: [`Side::acked`] beyond it says that the peer still takes data.
    pub late_seq: Seq,
    /// The longest wait for new payload since then: from the acknowledgment of the peer's FIN, or from one segment to the
    /// next.
    pub late_pause: Span,
    /// Last keepalive probe this side sent (RFC 9293 3.8.4).
    pub keepalive: Option<PacketRef>,
    /// How many keepalive probes.
    pub keepalives: u16,
    /// What became of them.
    pub probing: Option<Box<Probing>>,
    /// Every [`Traits`] bit seen in this side's segments.
    pub traits: Traits,
    /// Smallest and largest TTL seen.
    pub ttl: (u8, u8),
    /// Segments whose IP ID followed the one before by exactly 1, and by 2 to 8 (a hole).
    pub ip_ids: (u16, u16),
    /// IP ID of the last segment whose ID was not 0.
    pub last_ip_id: u16,
    /// Last TSval.
    pub tsval: Option<u32>,
    /// The first RST.
    pub reset: Option<Box<Reset>>,
    /// How many RSTs.
    pub resets: u16,
    /// What it sent last with nothing outstanding, and whatever followed before all of that was acknowledged.
    pub flight: Flight,
    /// What it repeats, or has repeated, at its oldest unacknowledged byte.
    pub repeating: Option<Box<Repeating>>,
    /// Its receive window was closed.
    pub zero_window: Option<Box<ZeroWindow>>,
    /// Largest payload of a segment that the peer acknowledged, bytes.
    pub largest_acked: u32,
    /// The acknowledgment number of the peer's last segment with a SACK block that acknowledged nothing more, and how
    /// many there were with that number: something of this side has arrived behind a hole.
    pub sacked: (Seq, u16),
}

/// Segments sent from the moment on at which nothing was outstanding. Unacknowledged to the end it shows when a connection
/// died, and after which silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flight {
    /// Its first segment.
    pub begin: PacketRef,
    /// Sequence number of that.
    pub seq: Seq,
    /// Acknowledgment number of that: what its sender had received by then.
    pub ack: Seq,
    /// How long both ends had been silent before it.
    pub idle: Span,
    /// The largest payload in it that is not acknowledged, bytes.
    pub largest: u32,
    /// The sequence number after the first segment of that size.
    pub largest_end: Seq,
    /// Payload of its last new segment, bytes.
    pub latest: u32,
}

/// Payload or FIN that is sent again because no acknowledgment comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Repeating {
    /// The oldest unacknowledged sequence number.
    pub seq: Seq,
    /// The first repetition of that.
    pub first: PacketRef,
    /// The last repetition.
    pub last: PacketRef,
    /// How many repetitions.
    pub count: u16,
    /// Largest payload that was sent again there, bytes.
    pub largest: u32,
    /// Payload of the last repetition, bytes. Less than `largest`: the sender has shrunk its segments.
    pub latest: u32,
    /// The peer's segments meanwhile, none of which acknowledged it.
    pub heard: u16,
    /// Repetitions of what had been acknowledged: its acknowledgment did not arrive.
    pub of_acknowledged: u16,
    /// Sequence number of those: one that differs begins anew.
    pub of_acknowledged_seq: Seq,
    /// First and last of those.
    pub of_acknowledged_at: (PacketRef, PacketRef),
    /// The longest interval of repetitions before that ended in an acknowledgment.
    pub healed: Option<Healed>,
}

/// Repetitions that were acknowledged in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Healed {
    /// The first repetition.
    pub first: PacketRef,
    /// The acknowledgment.
    pub at: PacketRef,
    /// How many repetitions.
    pub count: u16,
    /// Largest payload that was sent again, bytes.
    pub largest: u32,
    /// Payload of the last repetition, bytes.
    pub latest: u32,
}

/// The receive window of one end was closed (RFC 9293 section 3.8.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ZeroWindow {
    /// First segment with a window of 0, of the last time.
    pub first: PacketRef,
    /// Last segment with a window of 0.
    pub last: PacketRef,
    /// Segments with a window of 0, of all times.
    pub count: u32,
    /// The first segment with another window since.
    pub opened: Option<PacketRef>,
    /// The peer's probes before the last time: [`Side::keepalives`] counts both kinds.
    pub probes_before: u16,
    /// The longest time before the last one.
    pub longest: Option<(PacketRef, Span)>,
}

impl ZeroWindow {
    /// The longest time for which it was closed: from which segment on, and how long; `until` is where the capture ends.
    pub fn longest(&self, until: Timestamp) -> (PacketRef, Span) {
        let last = (self.first, self.opened.map_or(until, |at| at.time) - self.first.time);
        match self.longest {
            Some(before) if before.1 > last.1 => before,
            _ => last,
        }
    }
}

/// An interval of a second or more without a segment of either end, ended by something new.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
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
pub struct Idle {
    /// The longest pause after which the other end still answered.
    pub survived: Option<Pause>,
    /// The last pause, while nothing of the other end has followed.
    pub last: Option<Pause>,
}

/// Keepalive probes of one side, and their answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Probing {
    /// The first probe.
    pub first: PacketRef,
    /// How many the peer answered at once by a bare acknowledgment.
    pub answers: u16,
    /// The last such answer.
    pub answered: PacketRef,
    /// Its IPv4 identification: 0 where a small socket in FIN_WAIT2 or TIME_WAIT answers (`tcp_v4_timewait_ack`).
    pub ip_id: u16,
}

/// A RST and what it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reset {
    /// Packet and time.
    pub at: PacketRef,
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgment number.
    pub ack: Seq,
    /// Control bits: bare RST, or RST with ACK.
    pub flags: Flags,
    /// Window field.
    pub window: u16,
    /// IPv4 identification.
    pub ip_id: u16,
    /// Time to live.
    pub ttl: u8,
    /// Type of service.
    pub tos: u8,
    /// Options present: timestamps tell a socket's own RST.
    pub options: Options,
    /// Traits: checksum state.
    pub traits: Traits,
    /// The peer's last segment before it.
    pub trigger: Option<Trigger>,
    /// What its sender's other segments had shown until then.
    pub before: Usual,
    /// Segments other than RST that its sender sent on after it, and the first of them.
    pub went_on: Option<(PacketRef, u16)>,
}

/// What the segments of one end have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usual {
    /// Smallest and largest TTL.
    pub ttl: (u8, u8),
    /// IPv4 identification of the last one; 0 if none had any.
    pub ip_id: u16,
    /// How many there were.
    pub segments: u32,
    /// SND.NXT.
    pub next: Seq,
    /// Whether that is known.
    pub next_known: bool,
}

impl Side {
    /// Silences that are kept one by one; further ones are one with the last.
    const SILENCES: usize = 64;

    /// Notes that nothing came from this side until `to`, if that is longer than `least`.
    #[cold]
    pub(super) fn record_silence(&mut self, to: Timestamp, least: Span) {
        if to - self.last.time <= least {
            return;
        }
        let silence = (self.last.time, to);
        let full = self.silences.len() >= Self::SILENCES;
        match &mut *self.silences {
            [.., last] if full => last.1 = to,
            _ => push_exactly(&mut self.silences, silence),
        }
    }

    /// Its next segment is one whose IPv4 identification, if it has one, follows on this.
    #[inline]
    pub(super) fn move_ip_id(&mut self, s: &Segment) {
        if s.ip_id != 0 {
            self.last_ip_id = s.ip_id;
        }
    }

    /// Whether its next segments, or the peer's, may mean more than payload and acknowledgments do. `last` is the last segment
    /// of either end.
    pub(super) fn is_eventful(&self, last: PacketRef) -> bool {
        self.resets > 0
            || self.fin.is_some()
            || self.keepalive == Some(last)
            || self.in_vain().is_some()
            || self.zero_window.as_ref().is_some_and(|zero| zero.opened.is_none())
    }

    /// When it was heard: from when to when without a silence.
    pub fn heard(&self) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let begins = std::iter::once(self.first).chain(self.silences.iter().map(|silence| silence.1));
        let ends = self.silences.iter().map(|silence| silence.0).chain([self.last.time]);
        let some = if self.segments > 0 { usize::MAX } else { 0 };
        begins.zip(ends).take(some)
    }

    /// What it repeats in vain: no acknowledgment of it has come.
    pub fn in_vain(&self) -> Option<&Repeating> {
        self.repeating.as_deref().filter(|r| r.count > 0)
    }

    /// Whether something that it sent is not acknowledged.
    pub fn has_outstanding(&self) -> bool {
        self.next_known && self.acked_known && self.next.after(self.acked)
    }

    /// How many segments of the peer say that something has arrived behind what it acknowledges.
    pub fn sacks(&self) -> u16 {
        if self.acked_known && self.sacked.0 == self.acked { self.sacked.1 } else { 0 }
    }

    /// Whether it has sent payload, also where that stands behind its acknowledgment in the capture and is not counted
    /// as new, or is missing in it.
    pub fn has_spoken(&self) -> bool {
        self.bytes > 0 || self.retransmits > 0 || self.unseen > 0
    }

    /// Whether the peer acknowledged payload that was sent after its own FIN: it had only shut down its sending side.
    pub fn late_data_taken(&self) -> bool {
        self.late_data.is_some() && self.acked_known && self.acked.after(self.late_seq)
    }

    /// Where the peer acknowledged what may have been this side's FIN, which the capture does not hold: a byte more
    /// than its payload, or some that never came, and nothing after it.
    pub fn fin_not_captured(&self) -> Option<PacketRef> {
        let at = self
            .unseen_at
            .filter(|at| self.fin.is_none() && self.last_data.is_none_or(|data| data <= *at))?;
        let taken = u64::from(self.next.0.wrapping_sub(self.isn.0));
        // Payload that came after its acknowledgment fills the hole without being new.
        // SYN and FIN take one number each.
        let only_fin = self.isn_known && taken == self.bytes.saturating_add(2);
        (only_fin || self.retransmits == 0).then_some(at)
    }
}

impl Reset {
    /// The shape of a RST by a host that has no socket for the segment (`tcp_v4_send_reset`): no timestamps, window 0.
    /// A socket that is aborted (`tcp_send_active_reset`) has timestamps if negotiated and its window.
    pub fn is_socketless(&self) -> bool {
        self.window == 0 && !self.options.has(Options::TIMESTAMPS)
    }

    /// Answers a segment that carried an ACK: RST alone, with that acknowledgment number as its sequence number.
    pub fn is_bare(&self) -> bool {
        self.is_socketless() && !self.flags.has(Flags::ACK)
    }
}

/// The peer's last segment before a RST.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Trigger {
    /// Packet and time.
    pub at: PacketRef,
    /// What it was.
    pub what: What,
    /// Its acknowledgment number.
    pub ack: Seq,
    /// Its type of service byte.
    pub tos: u8,
}

/// What a segment was to the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum What {
    /// SYN.
    Syn,
    /// SYN-ACK.
    SynAck,
    /// An acknowledgment without payload.
    #[default]
    Ack,
    /// New payload.
    Data,
    /// Payload sent before.
    Retransmit,
    /// FIN, with or without payload.
    Fin,
    /// A keepalive probe.
    KeepAlive,
    /// RST.
    Reset,
}

/// The segment that completed the handshake from the client's side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FinalAck {
    /// Packet and time.
    pub at: PacketRef,
    /// Whether it carried no payload and no FIN.
    pub bare: bool,
    /// Checksum and other traits.
    pub traits: Traits,
    /// TSval, 0 without timestamps.
    pub tsval: u32,
    /// TSecr, 0 without timestamps: which SYN-ACK the client had received first.
    pub tsecr: u32,
    /// How many SYN-ACKs had been seen before it.
    pub syn_acks: u8,
    /// Hole in the client's IP IDs just before it: how many are missing, 0 when none or not known.
    pub ip_id_hole: u8,
}

/// The first segment by which the server shows that it has the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerProgress {
    /// Packet and time.
    pub at: PacketRef,
    /// How many bytes of the client's stream it acknowledged.
    pub acked: u32,
    /// TSval, 0 without timestamps.
    pub tsval: u32,
    /// TSecr, 0 without timestamps: which of the client's segments it took.
    pub tsecr: u32,
    /// What it was.
    pub what: What,
    /// The client's last segment before it.
    pub after: PacketRef,
    /// What that segment was.
    pub after_what: What,
}

/// Client segments after its final ACK that the server gave no sign of having received.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unanswered {
    /// Payload or FIN sent again, capture duplicates not counted.
    pub retransmits: u16,
    /// First of them.
    pub first: PacketRef,
    /// Last of them.
    pub last: PacketRef,
    /// Largest payload among them, bytes: a path that drops only large packets shows here.
    pub largest: u32,
    /// Pure ACKs.
    pub acks: u16,
    /// Last pure ACK.
    pub last_ack: PacketRef,
    /// Highest TSval of any of them: a SYN-ACK that echoes it proves that the server's TCP read one.
    pub tsval: u32,
    /// TSval of the first segment by which the client repeated itself: a retransmission, or its answer to a SYN-ACK
    /// that came again. An echo of an earlier one says that the first transmission was late, not ignored.
    pub repeated_from: Option<u32>,
}

/// A bare ACK that answered a SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
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
    /// Who sent it, where that is known: of IPv6 only the end that the quoted segment was meant for.
    pub sender: Option<Address>,
    /// The next hop's MTU, if it says that a segment was too big; else 0.
    pub mtu: u16,
    /// How many.
    pub count: u16,
}

/// The incarnation of the same four-tuple before this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Previous {
    /// Its last packet.
    pub last: PacketRef,
    /// The client's SND.NXT at its end.
    pub client_next: Seq,
    /// The server's SND.NXT at its end.
    pub server_next: Seq,
    /// Whether it had ended by FINs or RST.
    pub closed: bool,
    /// Which end sent the first FIN: the holder of TIME_WAIT.
    pub first_fin: Option<Role>,
    /// The client's last TSval.
    pub client_tsval: Option<u32>,
}

/// How a connection left the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ending {
    /// It had not: the capture ended.
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
pub struct ConnectionFacts {
    /// The client's address and port.
    pub client: Host,
    /// The server's address and port.
    pub server: Host,
    /// How the roles are known.
    pub roles: Roles,
    /// The first packet; names the connection.
    pub first: PacketRef,
    /// The last packet.
    pub last: PacketRef,
    /// How it ended, as far as the capture knows.
    pub ending: Ending,
    /// Until when it was watched: when it was let go, [`Timestamp::MAX`] for the end of the capture.
    pub watched: Timestamp,
    /// When a RST or the acknowledgment of the second FIN ended it.
    pub closed: Option<Timestamp>,
    /// What is known of the client.
    pub c: Side,
    /// What is known of the server.
    pub s: Side,
    /// All SYNs of the client.
    pub syn: Repeats,
    /// What the first SYN offered.
    pub syn_offer: Offer,
    /// All SYN-ACKs with the server's initial sequence number.
    pub syn_ack: Repeats,
    /// What the first SYN-ACK offered.
    pub syn_ack_offer: Offer,
    /// Acknowledgment number of the first SYN-ACK.
    pub syn_ack_ack: Seq,
    /// SYN-ACKs with another initial sequence number than the first one's.
    pub other_isns: u16,
    /// The client's final ACK.
    pub final_ack: Option<FinalAck>,
    /// The server's first sign of having the connection.
    pub progress: Option<ServerProgress>,
    /// What the client sent in vain before that.
    pub unanswered: Unanswered,
    /// A bare ACK in answer to the SYN.
    pub ack_to_syn: Option<Box<AckToSyn>>,
    /// An ICMP error about this connection.
    pub icmp: Option<Box<IcmpError>>,
    /// Pauses.
    pub idle: Option<Box<Idle>>,
    /// The incarnation before.
    pub previous: Option<Box<Previous>>,
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
}

impl ConnectionFacts {
    /// Whether something went other than it should so far: a repetition in vain, a reset, an error.
    pub fn is_troubled(&self) -> bool {
        self.syn.count > 1
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

    /// What is known of the end `role`.
    pub fn side(&self, role: Role) -> &Side {
        match role {
            Role::Client => &self.c,
            Role::Server => &self.s,
        }
    }

    /// What is known of the end `role`, to be changed.
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
        let offered = self.syn.count == 0 || self.syn_offer.options.has(Options::TIMESTAMPS);
        offered && self.syn_ack_offer.options.has(Options::TIMESTAMPS)
    }

    /// Whether the first SYN-ACK in the capture is itself a repetition: the capture began after the handshake, and the
    /// client had received an earlier SYN-ACK. It had answered that one, or its acknowledgments echo the earlier
    /// timestamp (`tcp_send_challenge_ack` does not take over the timestamp of a repeated SYN-ACK). Without timestamps the
    /// waits between the SYN-ACKs tell: the first wait of a timer is 1 s, the later ones are longer.
    pub fn began_after_handshake(&self) -> bool {
        let Some(first) = self.syn_ack.first().filter(|_| self.syn.count == 0) else { return false };
        if first.is(Sent::AFTER_FINAL_ACK) {
            return true;
        }
        if self.timestamps() {
            return self
                .final_ack
                .is_some_and(|ack| ack.tsecr != 0 && (ack.tsecr.wrapping_sub(first.tsval) as i32) < 0);
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
    pub fn unanswered_syns(&self) -> impl Iterator<Item = &Sent> + Clone {
        // The client's RST of a number that is not this connection's answers an ACK that came before its SYN, or was
        // not captured.
        let met_an_older_one = self.c.reset.as_deref().is_some_and(|r| {
            self.final_ack.is_none_or(|ack| r.at < ack.at) && r.seq.distance(self.c.isn).unsigned_abs() > 1
        });
        let refused = self.ack_to_syn.is_some()
            || met_an_older_one
            || self.went_on()
            || self.syn_ack.count == 0
                && (self.s.resets > 0 || self.icmp.as_ref().is_some_and(|i| i.quotes_client));
        let answered = self.answered_syn().map(|syn| syn.at);
        let all = if refused || self.odd_handshake { 0 } else { usize::MAX };
        self.syn.iter().take(all).take_while(move |syn| Some(syn.at) != answered)
    }

    /// Whether the client went on although the capture holds no answer to its SYN: it had one.
    pub fn went_on(&self) -> bool {
        self.syn_ack.count == 0
            && self.syn.count > 0
            && self.c.segments > self.syn.count.saturating_add(u32::from(self.c.resets))
    }

    /// Whether a SYN was answered by RST.
    pub fn is_refused(&self) -> bool {
        let answers_a_syn = |r: &Reset| r.trigger.is_none_or(|t| t.what == What::Syn);
        self.syn_ack.count == 0 && self.s.reset.as_deref().is_some_and(answers_a_syn)
    }

    /// Whether the SYN-ACK took another way than the SYN: the router that the SYN came from (or went to) is not the one that the
    /// SYN-ACK went to (or came from).
    pub fn returns_another_way(&self) -> bool {
        another_way(self.syn_offer.neighbours, self.syn_ack_offer.neighbours)
    }

    /// When the server first sent payload: the application had accepted the connection by then.
    pub fn served(&self) -> Option<Timestamp> {
        self.s.first_data.map(|at| at.time)
    }

    /// Whether segments of both ends were captured.
    pub fn both_seen(&self) -> bool {
        self.c.segments > 0 && self.s.segments > 0
    }

    /// The SYN that the first SYN-ACK answers: the one whose TSval it echoes, else the last before it.
    pub fn answered_syn(&self) -> Option<&Sent> {
        let answer = self.syn_ack.first()?;
        let before = || self.syn.iter().take(usize::from(answer.syns));
        if self.timestamps()
            && let Some(syn) = before().find(|syn| syn.tsval == answer.tsecr)
        {
            return Some(syn);
        }
        before().last().or_else(|| self.syn.first())
    }

    /// Time from the answered SYN to the first SYN-ACK: at the client a round trip, at the server next to nothing.
    pub fn syn_to_syn_ack(&self) -> Option<Span> {
        Some(self.syn_ack.first()?.at.time - self.answered_syn()?.at.time)
    }

    /// Time from the SYN-ACK to the final ACK where exactly one SYN-ACK preceded it: at the server a round trip.
    pub fn syn_ack_to_ack(&self) -> Option<Span> {
        let ack = self.final_ack?;
        (ack.syn_acks == 1).then(|| ack.at.time - self.syn_ack.first().map_or(ack.at.time, |s| s.at.time))
    }
}
