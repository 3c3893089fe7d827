//! A short connection without anything unusual: one SYN, one SYN-ACK, the final ACK, and then segments in order. Each
//! begins where the one before ended, and acknowledges only bytes that the capture holds.
//!
//! It is no second state machine: it recognises segments that are as expected, and keeps them as a list. Anything else
//! (a RST, a repetition, a gap, a copy) needs a full record, to which the list is replayed
//! ([`CleanFlow::replay_flow`]). [`CleanFlow::course`] summarises connections that stayed in this form to their end.

use crate::decode::segment::{Flags, PacketId, Segment, TcpOptions, Traits};
use crate::flow::compact::half_open::HalfOpen;
use crate::flow::compact::header::{Header, VaryingFields};
use crate::flow::connection::Connection;
use crate::flow::facts::{BothEnds, PacketRef, PreviousIncarnation, Role};
use crate::flow::key::{Direction, FlowKey};
use crate::seq::Seq;
use crate::time::{Span, Timestamp};

/// How many segments after the SYN-ACK fit.
const MOST: usize = 16;
/// This many fit without an allocation: very many connections are completed and then idle.
const FEW: usize = 2;
/// The others.
type MoreSegments = Box<[CleanSegment; MOST - FEW]>;

/// A segment without the fields that follow from the segments before it.
#[derive(Clone, Copy, Default, Debug)]
struct CleanSegment {
    /// The low 32 bits of the nanoseconds since the SYN.
    after_low: u32,
    /// The 16 bits of the nanoseconds above those.
    after_high: u16,
    payload: u16,
    /// Packets since the SYN.
    packets: u32,
    ack: Seq,
    tsval: u32,
    tsecr: u32,
    window: u16,
    ip_id: u16,
    traits: Traits,
    flags: Flags,
    options: TcpOptions,
    ttl: u8,
    tos: u8,
    by_server: bool,
}

impl CleanSegment {
    #[inline]
    fn has_fin(&self) -> bool {
        self.flags.has(Flags::FIN)
    }

    /// Sequence space taken.
    #[inline]
    fn length(&self) -> u32 {
        u32::from(self.payload).wrapping_add(u32::from(self.has_fin()))
    }

    /// Header properties that a SYN would have and this segment shares.
    fn header(&self, seq: Seq) -> Header {
        let CleanSegment { window, traits, flags, options, ttl, tos, .. } = *self;
        Header { seq, window, mss: 0, traits, flags, options, window_scale: 0, ttl, tos }
    }

    fn others(&self) -> VaryingFields {
        let CleanSegment { ack, payload, ip_id, tsval, tsecr, .. } = *self;
        VaryingFields { ack, payload: payload.into(), ip_id, tsval, tsecr, neighbours: 0 }
    }

    #[inline]
    fn after(&self) -> i64 {
        i64::from(self.after_high) << 32 | i64::from(self.after_low)
    }
}

/// The state of one end.
#[derive(Clone, Copy, Default, Debug)]
struct EndState {
    /// SND.NXT.
    next: Seq,
    /// The highest acknowledgment of its bytes.
    acked: Seq,
    /// The last acknowledgment number it sent.
    told: Seq,
    fin: bool,
    fin_acked: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct CleanFlow {
    /// SYN and SYN-ACK.
    pub handshake: HalfOpen,
    last: Timestamp,
    /// Packets from the SYN to the last segment.
    packets: u32,
    ends: BothEnds<EndState>,
    count: u8,
    /// The server's FIN was the first.
    server_first: bool,
    few: [CleanSegment; FEW],
    more: Option<MoreSegments>,
}

/// Memory of segments that connections gave back, for the next ones: it is most likely still in a cache.
#[derive(Default, Debug)]
pub struct FreeList(Vec<MoreSegments>);

impl FreeList {
    /// The most that are kept.
    const MOST: usize = 256;

    /// Keeps the memory of a connection that has ended.
    #[inline]
    pub fn recycle(&mut self, clean: CleanFlow) {
        if let Some(more) = clean.more
            && self.0.len() < FreeList::MOST
        {
            self.0.push(more);
        }
    }
}

/// A summary of a [`CleanFlow`] that has ended.
#[derive(Clone, Copy, Debug)]
pub struct CleanFlowSummary {
    /// The final ACK.
    pub final_ack: Timestamp,
    /// Whether that was bare.
    pub bare: bool,
    /// Whether that brought payload.
    pub brought_payload: bool,
    /// The server's first segment after that.
    pub progress: Timestamp,
    /// Whether that brought payload or FIN, and acknowledged no byte that the client may have sent.
    pub progress_spoke: bool,
    /// The client's first payload or FIN.
    pub client_spoke: Timestamp,
    /// The client's FIN.
    pub client_fin: PacketRef,
    /// The server's FIN.
    pub server_fin: PacketRef,
    /// The acknowledgment of the last FIN.
    pub closed: Timestamp,
    /// Every [`Traits`] bit of each end's segments, by [`Role`].
    pub traits: [Traits; 2],
    /// Segments of both ends.
    pub segments: u32,
    /// The segments of one end came with several TTLs.
    pub several_ttls: bool,
    /// Whether the server sent payload.
    pub was_answered: bool,
}

/// Whether the client has acknowledged the server's FIN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServerFin {
    /// It has.
    Acknowledged,
    /// It has not, or there was no FIN.
    NotAcknowledged,
}

impl CleanFlow {
    /// Begins with the final ACK of a handshake without anything unusual.
    #[inline]
    pub fn begin(
        handshake: &HalfOpen,
        from: Direction,
        s: &Segment,
        spare: &mut FreeList,
    ) -> Option<CleanFlow> {
        let fast_open = TcpOptions::FAST_OPEN_REQUEST | TcpOptions::FAST_OPEN_COOKIE;
        if handshake.syns() != 1 || handshake.syn_acks() != 1 || handshake.syn.options.any(fast_open) {
            return None;
        }
        let (client, server) = (handshake.syn.seq.advance(1), handshake.syn_ack.seq.advance(1));
        let plain = s.flags.has(Flags::ACK) && !s.flags.any(Flags::SYN | Flags::RST);
        if !plain || !handshake.is_client(from) || s.seq != client || s.ack != server {
            return None;
        }
        let mut clean = CleanFlow {
            handshake: handshake.clone(),
            last: handshake.last().time,
            packets: 0,
            ends: BothEnds {
                // `told` is not a possible acknowledgment number.
                client: EndState {
                    next: client,
                    acked: client,
                    told: Seq(server.0.wrapping_sub(1)),
                    fin: false,
                    fin_acked: false,
                },
                server: EndState { next: server, acked: server, told: client, fin: false, fin_acked: false },
            },
            count: 0,
            server_first: false,
            few: [CleanSegment::default(); FEW],
            more: None,
        };
        clean.try_append(from, s, spare).then_some(clean)
    }

    /// Appends the next segment in order; `false` if it is not that, or there is no room.
    #[inline]
    pub fn try_append(&mut self, from: Direction, s: &Segment, spare: &mut FreeList) -> bool {
        let role = if self.handshake.is_client(from) { Role::Client } else { Role::Server };
        let (own, peer) = (*self.ends.of(role), *self.ends.of(role.peer()));
        let first = self.handshake.first();
        let fin = s.flags.has(Flags::FIN);
        let packets = s.packet.number().wrapping_sub(first.packet.number());
        let after = (s.time.0.wrapping_sub(first.time.0)) as u64;
        if s.flags & (Flags::ACK | Flags::SYN | Flags::RST) != Flags::ACK
            || s.traits.any(Traits::ICMP_ERROR | Traits::CHECKSUM_BAD)
            || s.seq != own.next
            || s.ack.0.wrapping_sub(peer.acked.0) > peer.next.0.wrapping_sub(peer.acked.0)
            // It brings nothing new: it may be a copy, or a duplicate acknowledgment.
            || (s.payload == 0 && !fin && s.ack == own.told)
            || (own.fin && (s.payload > 0 || fin))
            || s.payload > 0xffff
            || s.time < self.last
            || s.packet.capture() != first.packet.capture()
            || packets > u64::from(u32::MAX)
            || packets <= u64::from(self.packets)
            || after >> 48 != 0
            || self.is_closed()
        {
            return false;
        }
        let n = usize::from(self.count);
        let room = match n.checked_sub(FEW) {
            None => self.few.get_mut(n),
            Some(n) => self.more.get_or_insert_with(|| spare.0.pop().unwrap_or_default()).get_mut(n),
        };
        let Some(room) = room else { return false };
        *room = CleanSegment {
            after_low: after as u32,
            after_high: (after >> 32) as u16,
            payload: s.payload as u16,
            packets: packets as u32,
            ack: s.ack,
            tsval: s.tsval,
            tsecr: s.tsecr,
            window: s.window,
            ip_id: s.ip_id,
            traits: s.traits,
            flags: s.flags,
            options: s.options,
            ttl: s.ttl,
            tos: s.tos,
            by_server: role == Role::Server,
        };
        self.count = self.count.saturating_add(1);
        (self.last, self.packets) = (s.time, packets as u32);
        self.server_first |= fin && role == Role::Server && !peer.fin;
        let (own, peer) = self.ends.both_mut(role);
        own.next = s.end();
        own.told = s.ack;
        own.fin |= fin;
        peer.acked = s.ack;
        peer.fin_acked |= peer.fin && s.ack == peer.next;
        true
    }

    /// Whether the segment just appended leaves the server a memory of the client's TSval; see
    /// [`crate::flow::peer::PeerEventKind::Remembered`]. `before` was the server's FIN before that segment.
    #[inline]
    pub fn is_remembered(&self, from: Direction, s: &Segment, before: ServerFin) -> bool {
        let server = &self.ends.server;
        self.server_first
            && self.handshake.is_client(from)
            && s.options.has(TcpOptions::TIMESTAMPS)
            && server.fin_acked
            && (before == ServerFin::NotAcknowledged || s.flags.has(Flags::FIN))
    }

    /// Whether the client has acknowledged the server's FIN.
    #[inline]
    pub fn server_fin(&self) -> ServerFin {
        if self.ends.server.fin_acked { ServerFin::Acknowledged } else { ServerFin::NotAcknowledged }
    }

    /// Both FINs are acknowledged.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.ends.client.fin_acked && self.ends.server.fin_acked
    }

    /// Memory that it has allocated, bytes.
    #[inline]
    pub(in crate::flow) fn more_bytes(&self) -> usize {
        self.more.as_deref().map_or(0, size_of_val)
    }

    /// The time of the last segment.
    #[inline]
    pub fn last(&self) -> Timestamp {
        self.last
    }

    /// Replays all segments to a connection; `key` is its key.
    pub fn replay_flow(&self, key: &FlowKey) -> Connection {
        let mut connection = self.handshake.replay_handshake(key);
        let (mut client_next, mut server_next) =
            (self.handshake.syn.seq.advance(1), self.handshake.syn_ack.seq.advance(1));
        for sent in self.segments() {
            let (from, next) = match sent.by_server {
                true => (self.handshake.client_is().reverse(), &mut server_next),
                false => (self.handshake.client_is(), &mut client_next),
            };
            let segment = sent.header(*next).segment(key, from, self.mark(sent), sent.others());
            *next = next.advance(sent.length());
            connection.segment(&segment, from);
        }
        connection
    }

    /// A summary of the connection, if both ends have closed.
    pub fn course(&self) -> Option<CleanFlowSummary> {
        if !self.is_closed() {
            return None;
        }
        let segments = self.segments();
        let (first, progress) = (segments.clone().next()?, segments.clone().find(|s| s.by_server)?);
        let (mut client_spoke, mut fins) = (None, BothEnds::<Option<&CleanSegment>>::default());
        let mut traits =
            BothEnds { client: self.handshake.syn.traits, server: self.handshake.syn_ack.traits };
        let ttls = BothEnds { client: self.handshake.syn.ttl, server: self.handshake.syn_ack.ttl };
        let (mut several_ttls, mut was_answered) = (false, false);
        for segment in segments {
            let role = if segment.by_server { Role::Server } else { Role::Client };
            *traits.of_mut(role) |= segment.traits;
            several_ttls |= segment.ttl != *ttls.of(role);
            was_answered |= segment.by_server && segment.payload > 0;
            if segment.length() > 0 && !segment.by_server {
                client_spoke.get_or_insert(segment);
            }
            if segment.has_fin() {
                fins.of_mut(role).get_or_insert(segment);
            }
        }
        Some(CleanFlowSummary {
            final_ack: self.mark(first).time,
            bare: first.length() == 0,
            brought_payload: first.payload > 0,
            progress: self.mark(progress).time,
            progress_spoke: progress.length() > 0 && progress.ack == self.handshake.syn.seq.advance(1),
            client_spoke: self.mark(client_spoke?).time,
            client_fin: self.mark(fins.client?),
            server_fin: self.mark(fins.server?),
            closed: self.last,
            traits: [traits.client, traits.server],
            segments: u32::from(self.count).saturating_add(2),
            several_ttls,
            was_answered,
        })
    }

    /// The server's clock at its SYN-ACK and at its last segment, if both ends use timestamps.
    #[inline]
    pub fn server_clock(&self) -> Option<[(Timestamp, u32); 2]> {
        let timestamps = |options: TcpOptions| options.has(TcpOptions::TIMESTAMPS);
        if !timestamps(self.handshake.syn_options()) || !timestamps(self.handshake.syn_ack_options().0) {
            return None;
        }
        let last = self.segments().rfind(|sent| sent.by_server && timestamps(sent.options))?;
        Some([
            (self.handshake.last().time, self.handshake.syn_ack_tsval()),
            (self.mark(last).time, last.tsval),
        ])
    }

    /// The facts that the next incarnation of the four-tuple needs of this one.
    pub fn as_previous(&self) -> PreviousIncarnation {
        let stamped =
            self.segments().rfind(|sent| !sent.by_server && sent.options.has(TcpOptions::TIMESTAMPS));
        let BothEnds { client, server } = &self.ends;
        PreviousIncarnation {
            last: self.segments().next_back().map_or(self.handshake.last(), |sent| self.mark(sent)),
            client_next: client.next,
            server_next: server.next,
            closed: self.is_closed(),
            first_fin: match (client.fin, server.fin) {
                (_, true) if self.server_first => Some(Role::Server),
                (true, _) => Some(Role::Client),
                _ => None,
            },
            client_tsval: stamped.map(|sent| sent.tsval).or_else(|| self.handshake.client_tsval()),
        }
    }

    fn segments(&self) -> impl DoubleEndedIterator<Item = &CleanSegment> + Clone {
        let count = usize::from(self.count);
        let few = self.few.get(..count.min(FEW)).unwrap_or_default();
        let more = self.more.as_deref().and_then(|more| more.get(..count.saturating_sub(FEW)));
        few.iter().chain(more.unwrap_or_default())
    }

    fn mark(&self, sent: &CleanSegment) -> PacketRef {
        let first = self.handshake.first();
        PacketRef {
            time: first.time + Span(sent.after()),
            packet: PacketId::new(
                first.packet.capture(),
                first.packet.number().saturating_add(u64::from(sent.packets)),
            ),
        }
    }
}
