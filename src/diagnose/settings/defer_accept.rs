//! `TCP_DEFER_ACCEPT`: for how long a listener waits for data.

use serde_json::json;

use crate::detect::Draft;
use crate::detect::details::{Details, seconds};
use crate::diagnose::settings::inference::inferred;
use crate::flow::key::Host;
use crate::model::{Inferred, Kind};

/// The values of `TCP_DEFER_ACCEPT` that lead to a first repetition after 1, 3, 7 ... s (`secs_to_retrans`). `own` are
/// the drafts of the listener.
pub fn infer(listener: Host, own: &[&Draft]) -> Option<Inferred> {
    let mut alike = own.iter().filter(|d| d.kind == Kind::DeferAccept);
    let Details::Deferral { repeated_after } = alike.next()?.details else { return None };
    let after = seconds(repeated_after);
    let (least, most) = match after {
        0.0..2.0 => (1, 1),
        2.0..5.0 => (2, 3),
        5.0..11.0 => (4, 7),
        11.0..23.0 => (8, 15),
        _ => (16, 31),
    };
    let n = alike.count() + 1;
    let from = format!("the only repetition of the SYN-ACK came after {after:.1} s ({n} times)");
    Some(inferred(listener.socket(), "TCP_DEFER_ACCEPT (s)", json!({ "least": least, "most": most }), from))
}
