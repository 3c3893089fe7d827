//! Where the capture was taken, seen from the connections of one server host.
//!
//! Each test alone can be wrong, so the ones that are positive proof come first: the cooked header's packet type, then
//! transmit checksums that are not filled in (only the sending host sees that). Then comes how the round trip divides
//! (SYN to SYN-ACK against SYN-ACK to final ACK), then the TTL.

use crate::decode::segment::Traits;
use crate::detect::context::VantageView;
use crate::flow::facts::Role;
use crate::history::handshakes::HandshakeSample;
use crate::model::Vantage;
use crate::time::Span;

/// A round trip below this shows nothing: both parts are near zero on a local link.
const MEASURABLE: Span = Span::millis(1);
/// The longer part of the round trip is this many times the shorter one when the capture was taken at an end.
const AT_AN_END: i64 = 5;
/// A host answers a SYN within this, even an emulated one, unless it is busy or must ask for an address first.
const AT_ONCE: Span = Span::millis(3);
/// See [`shortest`].
const SHORTEST: usize = 20;
/// Values of TTL that hosts start from.
pub const INITIAL_TTL: [u8; 4] = [32, 64, 128, 255];

/// Infers the vantage from handshakes of one server host.
pub fn infer(samples: &[HandshakeSample]) -> VantageView {
    let Some(one) = samples.first() else { return VantageView::default() };
    let server_ttl = samples.iter().all(|s| s.server_ttl == one.server_ttl).then_some(one.server_ttl);
    let round_trip = Some(median(samples.iter().map(|s| s.syn_to_syn_ack + s.syn_ack_to_ack)));
    let most = |test: &dyn Fn(&HandshakeSample) -> bool| {
        samples.iter().filter(|s| test(s)).count() * 4 > samples.len() * 3
    };
    let server_sends = |s: &HandshakeSample, bit| s.server_traits.has(bit) && !s.client_traits.has(bit);
    let on_host = most(&|s| server_sends(s, Traits::OUTGOING) || server_sends(s, Traits::CHECKSUM_PARTIAL));
    let view = |vantage, reason: String| VantageView { vantage, on_host, reason, round_trip, server_ttl };
    let client_sends = |s: &HandshakeSample, bit| s.client_traits.has(bit) && !s.server_traits.has(bit);
    if most(&|s| server_sends(s, Traits::OUTGOING)) {
        return view(Vantage::Server, "the cooked header marks the server's packets as outgoing".to_owned());
    }
    if most(&|s| client_sends(s, Traits::OUTGOING)) {
        return view(Vantage::Client, "the cooked header marks the client's packets as outgoing".to_owned());
    }
    // Address resolution and a busy server only add to the time to the server and back. That time is the same for all
    // clients, so the shortest one counts.
    let a = shortest(samples.iter().map(|s| s.syn_to_syn_ack));
    let b = median(samples.iter().map(|s| s.syn_ack_to_ack));
    let parts = format!("SYN to SYN-ACK takes {a}, SYN-ACK to ACK {b}");
    if a.max(b) >= MEASURABLE {
        // If delays vary, the shortest of either part is far below the usual one. At the server more than a few are
        // that short, since a host answers at once.
        let quick = (b.0 / AT_AN_END).min(AT_ONCE.0);
        let few = samples.iter().filter(|s| s.syn_to_syn_ack.0 <= quick).count();
        return if b.0 >= a.0.saturating_mul(AT_AN_END) && few * 4 >= samples.len() {
            view(Vantage::Server, parts)
        } else if a.0 >= b.0.saturating_mul(AT_AN_END) {
            view(Vantage::Client, parts)
        } else {
            view(Vantage::Between, parts)
        };
    }
    if most(&|s| server_sends(s, Traits::CHECKSUM_PARTIAL)) {
        return view(
            Vantage::Server,
            "the server's checksums are not filled in yet (transmit offload)".to_owned(),
        );
    }
    if most(&|s| client_sends(s, Traits::CHECKSUM_PARTIAL)) {
        return view(
            Vantage::Client,
            "the client's checksums are not filled in yet (transmit offload)".to_owned(),
        );
    }
    let initial = |ttl: u8| INITIAL_TTL.contains(&ttl);
    if most(&|s| initial(s.server_ttl) && !initial(s.client_ttl)) {
        return view(
            Vantage::Server,
            "the server's packets have not passed a router, the client's have".to_owned(),
        );
    }
    if most(&|s| initial(s.client_ttl) && !initial(s.server_ttl)) {
        return view(
            Vantage::Client,
            "the client's packets have not passed a router, the server's have".to_owned(),
        );
    }
    if most(&|s| !initial(s.client_ttl) && !initial(s.server_ttl)) {
        return view(Vantage::Between, "the packets of both ends have passed a router".to_owned());
    }
    view(Vantage::Unknown, format!("{parts}: too short to tell the ends apart"))
}

/// The place of a capture on the path, by other captures of the same traffic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelativeVantage {
    /// It is nearer to this end than all others.
    Nearer(Role),
    /// There is one on either side.
    Between,
}

/// The same where other captures of the same traffic show the place of this one. A capture that is nearer to one end
/// was not taken at the other end. If nothing else shows it, and no router lies between, it was taken at the nearer
/// end.
pub fn infer_placed(samples: &[HandshakeSample], standing: RelativeVantage) -> VantageView {
    let view = infer(samples);
    let nearer = match standing {
        RelativeVantage::Nearer(role) => role,
        RelativeVantage::Between => {
            let reason = "other captures were taken on either side of it".to_owned();
            return VantageView { vantage: Vantage::Between, on_host: false, reason, ..view };
        }
    };
    let (own, other) = match nearer {
        Role::Client => (Vantage::Client, Vantage::Server),
        Role::Server => (Vantage::Server, Vantage::Client),
    };
    if view.vantage != Vantage::Unknown && view.vantage != other {
        return view;
    }
    let direct = |s: &HandshakeSample| {
        INITIAL_TTL.contains(match nearer {
            Role::Client => &s.client_ttl,
            Role::Server => &s.server_ttl,
        })
    };
    let (vantage, routers) = match !samples.is_empty() && samples.iter().all(direct) {
        true => (own, "no router lies between"),
        false => (Vantage::Unknown, "how far from it the packets do not tell"),
    };
    VantageView {
        vantage,
        reason: format!("of the two captures it is the one nearer to the {nearer}; {routers}"),
        ..view
    }
}

fn median(spans: impl Iterator<Item = Span>) -> Span {
    let mut spans: Vec<Span> = spans.collect();
    spans.sort_unstable();
    spans.get(spans.len() / 2).copied().unwrap_or(Span::ZERO)
}

/// The delay below which one sample of [`SHORTEST`] lies: packets out of order make some shorter than they were.
fn shortest(spans: impl Iterator<Item = Span>) -> Span {
    let mut spans: Vec<Span> = spans.collect();
    spans.sort_unstable();
    spans.get(spans.len() / SHORTEST).copied().unwrap_or(Span::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(a_us: i64, b_us: i64) -> HandshakeSample {
        HandshakeSample {
            at: Default::default(),
            syn_to_syn_ack: Span(a_us * 1_000),
            syn_ack_to_ack: Span(b_us * 1_000),
            client_ttl: 64,
            server_ttl: 64,
            client_traits: Traits::NONE,
            server_traits: Traits::NONE,
        }
    }

    #[test]
    fn the_longer_part_of_the_round_trip_lies_away_from_the_capture() {
        assert_eq!(infer(&[sample(50, 30_000)]).vantage, Vantage::Server);
        assert_eq!(infer(&[sample(30_000, 50)]).vantage, Vantage::Client);
        assert_eq!(infer(&[sample(10_000, 20_000)]).vantage, Vantage::Between);
        assert_eq!(infer(&[sample(20, 30)]).vantage, Vantage::Unknown);
        assert_eq!(infer(&[]).vantage, Vantage::Unknown);
    }

    #[test]
    fn a_server_that_must_first_ask_for_the_clients_address_is_not_far_away() {
        let resolving = [sample(30_000, 30_000), sample(60, 30_000), sample(31_000, 30_000)];
        assert_eq!(infer(&resolving).vantage, Vantage::Server);
    }

    #[test]
    fn delays_that_vary_everywhere_are_no_end() {
        let ways = [(2, 9), (7, 14), (9, 3), (11, 10), (12, 11), (14, 16), (17, 13), (19, 10)];
        let samples = ways.map(|(a, b)| sample(a * 1_000, b * 1_000));
        assert_eq!(infer(&samples).vantage, Vantage::Between);
    }

    #[test]
    fn a_cooked_header_decides_where_delays_cannot() {
        let outgoing = HandshakeSample { server_traits: Traits::OUTGOING, ..sample(20, 30) };
        assert_eq!(infer(&[outgoing]).vantage, Vantage::Server);
    }

    #[test]
    fn a_router_in_between_shows_in_the_ttl() {
        assert_eq!(infer(&[HandshakeSample { client_ttl: 61, ..sample(20, 30) }]).vantage, Vantage::Server);
        assert_eq!(infer(&[HandshakeSample { server_ttl: 127, ..sample(20, 30) }]).vantage, Vantage::Client);
    }
}
