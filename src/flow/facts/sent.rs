//! SYNs and SYN-ACKs: every transmission, and the options of the first one.

use super::packet::PacketRef;
use crate::decode::segment::TcpOptions;
use crate::time::Span;

/// One transmission of a SYN or a SYN-ACK.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Transmission {
    /// Packet and time.
    pub at: PacketRef,
    /// TSval; 0 without timestamps (see `ConnectionFacts::timestamps`).
    pub tsval: u32,
    /// TSecr; 0 without timestamps.
    pub tsecr: u32,
    /// The context: bits from [`Transmission::AFTER_FINAL_ACK`] on.
    pub context: u8,
    /// How many SYNs had been seen before it, at most 255.
    pub syns: u8,
    /// IPv4 identification.
    pub ip_id: u16,
}

impl Transmission {
    /// The client's final ACK had been seen.
    pub const AFTER_FINAL_ACK: u8 = 1 << 0;
    /// The server had shown by another segment that it has the connection.
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

/// All transmissions of one segment: every one up to [`Transmissions::KEPT`], and the last.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct Transmissions {
    /// How many transmissions were seen, capture duplicates not counted.
    pub count: u32,
    first: Transmission,
    /// The second and later ones; of more than [`Transmissions::KEPT`] the last one follows. Never longer than it must be, for
    /// there are few.
    further: Box<[Transmission]>,
}

impl Transmissions {
    /// How many transmissions are kept one by one.
    pub const KEPT: usize = 12;

    /// Notes one more transmission.
    pub fn push(&mut self, sent: Transmission) {
        let is_first = self.count == 0;
        match &mut *self.further {
            _ if is_first => self.first = sent,
            [.., last] if self.count as usize > Self::KEPT => *last = sent,
            _ => push_exactly(&mut self.further, sent),
        }
        self.count = self.count.saturating_add(1);
    }

    /// The first transmission.
    pub fn first(&self) -> Option<&Transmission> {
        (self.count > 0).then_some(&self.first)
    }

    /// The last transmission.
    pub fn last(&self) -> Option<&Transmission> {
        self.further.last().or(self.first())
    }

    /// The transmissions in order; of more than [`Transmissions::KEPT`] those after it are left out.
    pub fn iter(&self) -> impl Iterator<Item = &Transmission> + Clone {
        self.first().into_iter().chain(self.further.iter().take(Self::KEPT - 1))
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

/// Whether a SYN and its SYN-ACK with these values of `Segment::neighbours` took different ways.
#[inline]
pub(in crate::flow) fn another_way(syn: u16, syn_ack: u16) -> bool {
    syn != 0 && syn_ack != 0 && syn != syn_ack
}

/// Adds to a list without spare room: very many lists are held, and few of them grow.
pub(in crate::flow) fn push_exactly<T>(list: &mut Box<[T]>, item: T) {
    let mut longer = std::mem::take(list).into_vec();
    longer.reserve_exact(1);
    longer.push(item);
    *list = longer.into_boxed_slice();
}

/// The SYN or SYN-ACK of a side, as first sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "fleet", derive(serde::Serialize, serde::Deserialize))]
pub struct SynOffer {
    /// Options present.
    pub options: TcpOptions,
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
    /// A hash of the MAC addresses of its frame, see `Segment::neighbours`.
    pub neighbours: u16,
}
