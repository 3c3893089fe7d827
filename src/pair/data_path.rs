//! Data that one end repeats without an acknowledgment: whether it came to the other capture, and whether an
//! acknowledgment left there.

use crate::decode::segment::Flags;
use crate::detect::draft::{Draft, cause, times};
use crate::flow::facts::Role;
use crate::model::{Certainty, Kind};
use crate::pair::loss::CaptureNames;
use crate::pair::packet_match::MatchedConnection;
use crate::pair::trace::TracedSegment;
use crate::seq::Seq;

/// From this many copies of a segment on, it is repeated without success.
const COPIES: usize = 3;

/// Says where data that was never acknowledged was lost, if the two captures show it.
pub fn judge_data(d: &mut Draft, passage: &MatchedConnection<'_>, named: &CaptureNames<'_>) {
    if !matches!(d.kind, Kind::DataUnacknowledged | Kind::IdleFlowDropped | Kind::FinUnacknowledged) {
        return;
    }
    let Some((side, copies)) = copies(d, passage) else { return };
    let seen = &passage.tracks[side].segments[copies[0]];
    let (sender, n) = (if seen.by_client { Role::Client } else { Role::Server }, copies.len() as u64);
    let hop = (named.lost)(side, copies[0]);
    let here = named.side(side);
    let there = hop.as_ref().map_or(named.side(1 - side), |[_, missing]| missing);
    let is_lost = |&i: &usize| !passage.passed(side, i) && passage.absence(side, i).is_some();
    // Data that was acknowledged in the end is in the other capture once. That capture also holds packets from before
    // and after these copies.
    let (&latest, before) = copies.split_last().unwrap_or((&0, &[]));
    let healed = before.len() >= COPIES
        && before.iter().all(|&i| !passage.passed(side, i))
        && passage.passed(side, latest)
        && (0..copies[0]).any(|i| passage.passed(side, i));
    if healed || copies.iter().all(is_lost) {
        let number = seen.at.packet.number();
        let reason = match healed {
            true => {
                format!("#{number} of {here}, sent {}, is in {there} only once, as its last copy", times(n))
            }
            false => format!(
                "#{number} of {here}, sent {}, is not in {there}, which holds other packets of that time",
                times(n)
            ),
        };
        if d.kind == Kind::DataUnacknowledged {
            let lost = if healed { before } else { &copies };
            let places: Vec<_> = lost.iter().map(|&place| (side, place)).collect();
            d.cause = cause("", &[], &["TcpExtTCPTimeouts", "TcpRetransSegs"], &[]);
            d.cause.text = format!(
                "It is dropped {}: the network loses it, or a firewall or NAT on the way drops it.",
                named.between_for(&places)
            )
            .into();
            if healed {
                d.cause.text = format!("It was dropped {} for that time.", named.between_for(&places)).into();
            }
            d.alternatives.clear();
            d.or(
                format!("The capture {there} missed these packets."),
                "Then the peer would have acknowledged them.",
            );
        }
        d.measure("lost_between", true);
        d.probable(reason);
    } else if copies.iter().all(|&i| passage.passed(side, i)) {
        let acknowledged = is_acknowledged_soon(passage, side, &copies);
        d.measure("lost_between", false);
        let what = match acknowledged {
            true => "and acknowledged there: the acknowledgments are lost on their way back",
            false if is_acknowledged(passage, side, seen) => {
                "and not acknowledged there before its last copy"
            }
            false => "and nothing acknowledges it there",
        };
        let reason = format!("what the {sender} repeats is in {there} too, {what}");
        if acknowledged && d.kind == Kind::DataUnacknowledged {
            d.cause = cause(
                "The acknowledgments do not reach the sender: the way back is cut.",
                &["tcp_retransmit_timer"],
                &["TcpExtTCPTimeouts", "TcpExtTCPDSACKOldSent"],
                &[],
            );
            d.probable(reason);
        } else if d.certainty() != Certainty::Confirmed {
            d.reason = format!("{}; {reason}", d.reason);
        }
    }
}

/// Whether the other capture has an acknowledgment from before the last of these copies came there: then no further one
/// was needed. An acknowledgment after the last copy may be for that copy alone.
fn is_acknowledged_soon(passage: &MatchedConnection<'_>, side: usize, copies: &[usize]) -> bool {
    let seen = &passage.tracks[side].segments[copies[0]];
    let end = seen.seq.advance(seen.payload.max(1));
    let there = &passage.tracks[1 - side].segments;
    let last = there
        .iter()
        .rfind(|s| s.by_client == seen.by_client && s.seq == seen.seq && s.payload == seen.payload);
    let Some(last) = last.map(|s| s.at) else { return false };
    there.iter().any(|s| is_acknowledgment(s, seen, end) && s.at < last)
}

/// Whether the other side has an acknowledgment of a segment.
fn is_acknowledged(passage: &MatchedConnection<'_>, side: usize, seen: &TracedSegment) -> bool {
    let end = seen.seq.advance(seen.payload.max(1));
    passage.tracks[1 - side].segments.iter().any(|s| is_acknowledgment(s, seen, end))
}

fn is_acknowledgment(s: &TracedSegment, seen: &TracedSegment, end: Seq) -> bool {
    s.by_client != seen.by_client && s.flags.has(Flags::ACK) && !end.after(s.ack)
}

/// Whether a FIN said to be unacknowledged came to the other side and was acknowledged there.
pub fn was_acknowledged(d: &Draft, passage: &MatchedConnection<'_>) -> bool {
    let Some((side, copies)) = copies(d, passage).filter(|_| d.kind == Kind::FinUnacknowledged) else {
        return false;
    };
    copies.iter().any(|&i| passage.passed(side, i))
        && is_acknowledged(passage, side, &passage.tracks[side].segments[copies[0]])
}

/// The side on which the finding saw a segment that was sent again and again, and the places of all its copies there.
fn copies(d: &Draft, passage: &MatchedConnection<'_>) -> Option<(usize, Vec<usize>)> {
    let evidence = d.evidence();
    (0..2).find_map(|side| {
        let segments = &passage.tracks[side].segments;
        evidence.iter().find_map(|(at, _)| {
            let seen = segments.iter().find(|s| s.at.packet == at.packet)?;
            let is_copy = |s: &TracedSegment| {
                s.by_client == seen.by_client
                    && s.seq == seen.seq
                    && s.payload == seen.payload
                    && s.flags == seen.flags
            };
            let all = segments.iter().enumerate().filter(|(_, s)| is_copy(s)).map(|(i, _)| i);
            let all: Vec<usize> = all.collect();
            (all.len() >= COPIES).then_some((side, all))
        })
    })
}
