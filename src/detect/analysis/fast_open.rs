//! The outcome of a SYN with Fast Open.

use crate::decode::segment::{TcpOptions, Traits};
use crate::flow::facts::{ConnectionFacts, Roles, Transmission};

/// How it fared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FastOpenOutcome {
    /// The cookie was not accepted, and a new one given.
    Stale,
    /// The data was not taken, nor a cookie given.
    Refused,
    /// The data was not taken; the capture cut off whether a cookie was given.
    NotTaken,
    /// A cookie was asked for, and none given.
    NoCookie,
    /// The SYN drew no answer, the same SYN without Fast Open did.
    Swallowed,
}

impl FastOpenOutcome {
    /// The part that did not get through.
    pub fn refused(self) -> &'static str {
        match self {
            FastOpenOutcome::Stale | FastOpenOutcome::Refused | FastOpenOutcome::NotTaken => "data",
            FastOpenOutcome::NoCookie => "cookie",
            FastOpenOutcome::Swallowed => "SYN",
        }
    }

    /// The outcome for this connection's SYN; `None` if it had no Fast Open, or Fast Open worked.
    pub fn of(f: &ConnectionFacts) -> Option<FastOpenOutcome> {
        let offer = &f.syn_offer;
        let cookie = offer.options.has(TcpOptions::FAST_OPEN_COOKIE);
        let request = offer.options.has(TcpOptions::FAST_OPEN_REQUEST);
        if f.roles != Roles::BySyn || !(cookie || request) {
            return None;
        }
        f.syn_ack.first()?;
        let only_the_syn = f.syn_ack_ack == f.c.isn.advance(1);
        let new_cookie = f.syn_ack_offer.options.has(TcpOptions::FAST_OPEN_COOKIE);
        // An option that the snapshot length cut off is not absent: there may have been a cookie.
        let cut = f.s.traits.has(Traits::OPTIONS_CUT) && !new_cookie;
        if f.answered_syn()?.is(Transmission::FAST_OPEN) {
            return match (cookie && offer.payload > 0 && only_the_syn, request, new_cookie) {
                (true, _, true) => Some(FastOpenOutcome::Stale),
                (true, _, false) if cut => Some(FastOpenOutcome::NotTaken),
                (true, _, false) => Some(FastOpenOutcome::Refused),
                (_, true, false) if !cut => Some(FastOpenOutcome::NoCookie),
                _ => None,
            };
        }
        // A SYN that requests a cookie and has no data is an ordinary SYN with one more option.
        (offer.payload > 0 && !new_cookie && only_the_syn).then_some(FastOpenOutcome::Swallowed)
    }
}

/// Whether the connection's SYN with Fast Open drew no answer, and the same SYN without it did.
pub fn is_swallowed(f: &ConnectionFacts) -> bool {
    FastOpenOutcome::of(f) == Some(FastOpenOutcome::Swallowed)
}
