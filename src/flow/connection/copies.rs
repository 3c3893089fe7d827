//! Segments that a capture holds more than once: a mirror port, both sides of a router, two captures joined in one file.

use super::Connection;
use crate::decode::segment::{Flags, Segment, TcpOptions};
use crate::flow::facts::{Role, Transmission};
use crate::time::{Span, Timestamp};

/// A copy with the same IPv4 identification counts as one within this time: both sides of a router, a slow mirror.
/// Linux gives a retransmission a new identification, so a real one is never caught.
const COPY_WITH_IP_ID: Span = Span::millis(1_000);
/// Without an identification (IPv6, or DF with 0) the same TSval must do. The kernel answers no SYN twice within
/// 500 ms (`tcp_check_req`), and its timestamp clock ticks at least every 10 ms, so a copy is much nearer.
const COPY_WITH_TIMESTAMP: Span = Span::millis(50);
/// Without either, packets are copies only if they are no further apart than this.
const COPY_BARE: Span = Span::millis(5);
/// A capture that was joined to itself jumps back by this much or more.
const JOINED: Span = Span::secs(1);

/// How long after a segment a copy of it may come, by whether it has an IPv4 identification and timestamps.
#[inline]
pub(in crate::flow) fn copies_come_within(s: &Segment) -> Span {
    if s.ip_id != 0 {
        COPY_WITH_IP_ID
    } else if s.options.has(TcpOptions::TIMESTAMPS) {
        COPY_WITH_TIMESTAMP
    } else {
        COPY_BARE
    }
}

/// Enough of a segment to recognise its copy.
#[inline(always)]
fn fingerprint(s: &Segment) -> u32 {
    let numbers = u64::from(s.seq.0) << 32 | u64::from(s.ack.0);
    let timestamps = u64::from(s.tsval) << 32 | u64::from(s.tsecr);
    let others = u64::from(s.payload) << 40
        | u64::from(s.window) << 24
        | u64::from(s.flags.0) << 16
        | u64::from(s.ip_id);
    let mixed = folded(numbers ^ 0x9e37_79b9_7f4a_7c15, timestamps ^ 0xd6e8_feb8_6659_fd93);
    let mixed = folded(mixed ^ others, 0xa076_1d64_78bd_642f);
    (mixed >> 32) as u32
}

/// The two halves of a product, combined by exclusive or.
#[inline(always)]
fn folded(a: u64, b: u64) -> u64 {
    // Two factors of 64 bits have a product of 128 at most.
    let product = u128::from(a).wrapping_mul(u128::from(b));
    product as u64 ^ (product >> 64) as u64
}

/// The last few segments of one end, the latest first.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct RecentCopies {
    prints: [u32; 4],
    times: [Timestamp; 4],
}

impl RecentCopies {
    /// Whether `s` is a copy of one of the last segments; if not, remembers it.
    #[inline(always)]
    pub(super) fn is_copy(&mut self, s: &Segment) -> bool {
        let print = fingerprint(s);
        let [a, b, c, d] = self.prints;
        if ((a == print) | (b == print) | (c == print) | (d == print)) && self.is_near(print, s) {
            return true;
        }
        self.prints = [print, a, b, c];
        let [a, b, c, _] = self.times;
        self.times = [s.time, a, b, c];
        false
    }

    /// Whether a segment with the same fingerprint came so shortly before that `s` is its copy.
    #[cold]
    fn is_near(&self, print: u32, s: &Segment) -> bool {
        let within = copies_come_within(s);
        let near =
            |(seen, at): (&u32, &Timestamp)| *seen == print && (s.time - *at).0.saturating_abs() <= within.0;
        self.prints.iter().zip(&self.times).any(near)
    }
}

impl Connection {
    /// Whether a RST that equals an earlier one may have been sent as a RST of its own. A host without a socket answers
    /// each of several segments by the same RST (`tcp_v4_send_reset`), and a box that cuts connections off sends
    /// several alike. Where other segments of the connection were captured twice, the RST is a copy like them.
    pub(super) fn may_be_another_reset(&self, s: &Segment) -> bool {
        s.flags.has(Flags::RST) && !s.options.has(TcpOptions::TIMESTAMPS) && self.facts.duplicates == 0
    }

    /// A SYN or SYN-ACK with the timestamp and IP ID of an earlier one is a copy: a retransmission has a later
    /// timestamp. If two captures with different clocks were joined in one file, such copies are seconds apart.
    pub(super) fn is_late_copy(&self, s: &Segment, role: Role) -> bool {
        let (sent, isn) = match role {
            Role::Client => (&self.facts.syn, self.facts.c.isn),
            Role::Server => (&self.facts.syn_ack, self.facts.s.isn),
        };
        let same = |x: &Transmission| (x.tsval, x.tsecr, x.ip_id) == (s.tsval, s.tsecr, s.ip_id);
        s.options.has(TcpOptions::TIMESTAMPS) && s.tsval != 0 && s.seq == isn && sent.iter().any(same)
    }

    /// A SYN with our initial sequence number, well before the last packet: the capture was joined to itself. From then
    /// on, segments that are not later than the last one are ignored.
    pub(super) fn is_replayed(&mut self, s: &Segment, role: Role) -> bool {
        let back = self.facts.last.time - s.time;
        if role == Role::Client && s.flags.has(Flags::SYN) && back >= JOINED && self.facts.syn.count > 0 {
            self.replay = true;
        }
        self.replay
    }
}
