//! `path-mtu-blackhole`: full-size segments vanish, smaller ones arrive.

use crate::detect::analysis::end_of_flow::{FlowFailure, GapActivity, MissingSegments, flow_failure};
use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause, count, times};
use crate::detect::spec::{Examine, Property, finding};
use crate::flow::facts::{ConnectionFacts, Role};
use crate::history::wants::Wants;
use crate::model::{Cause, Kind, Severity};

finding! {
    /// Full-size segments are sent again and again without an acknowledgment while smaller ones get through.
    ///
    /// ## On the wire
    /// The handshake and small segments pass. The first full-size segment is repeated at growing intervals, always with
    /// the same size; the smaller one behind it is acknowledged by SACK, or by duplicate ACKs. With `tcp_mtu_probing`
    /// the sender makes its segments smaller after some time-outs, and then they arrive. In a capture at the receiver,
    /// the full-size segments are missing: SACK reports a gap of one or more of them, and it is never filled.
    /// ## In the kernel
    /// Path MTU discovery needs the ICMP error of the router with the small link (`tcp_v4_mtu_reduced`); it is filtered, or
    /// the router sends none. `tcp_mtu_probing` (`tcp_mtu_probing`, `TCPMTUPFail`) finds the size without it.
    /// ## Looks alike
    /// * Ordinary loss: the hole is filled by the first or second repetition, whatever its size.
    /// * The whole path is gone: nothing smaller arrives either (`data-unacknowledged`).
    /// ## Check next
    /// `tracepath -n PEER` finds the MTU of the path. Lower the MSS at the tunnel (`nft ... tcp option maxseg size set rt mtu`),
    /// let ICMP type 3 code 4 (IPv6: type 2) pass, or set `net.ipv4.tcp_mtu_probing=1`.
    /// ## References
    /// RFC 1191, RFC 2923 section 2.1, RFC 4821
    pub struct PathMtuBlackhole {
        kind: Kind::PathMtuBlackhole,
        plain_words: "Large packets are lost on the way, small ones arrive: the path is narrower than the hosts assume.",
        at_fault: "the path, which drops large packets without saying so",
        wants: Wants::full(|f, _| {
            let sides = [&f.c, &f.s];
            let mut repeating = sides.iter().filter_map(|side| side.repeating.as_ref());
            repeating.any(|r| r.count > 2 || r.healed.is_some_and(|healed| healed.count > 2))
                // Also if the gap was filled later: a finding reported while it was open is then withdrawn.
                || sides.iter().any(|side| side.sacked.1 > 0)
                || f.lacks_sack() && sides.iter().any(|side| side.acked_known && side.flight.seq.after(side.acked))
        }),
        examine: Examine::Connection(examine),
        look_alikes: &["path-mtu-blackhole/ordinary-loss", "data-unacknowledged/way-there-cut"],
        counters: &["TcpExtTCPTimeouts", "TcpExtTCPMTUPFail", "TcpExtTCPMTUPSuccess"],
        settings: &["net.ipv4.tcp_mtu_probing", "net.ipv4.tcp_base_mss"],
        properties: &[Property::EndsConnection],
    }
}

/// IP and TCP headers with timestamps, IPv4 and IPv6, bytes.
const HEADERS: [u32; 2] = [52, 72];

/// See [`PathMtuBlackhole`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let sender = match flow_failure(f, around)? {
        FlowFailure::PathMtu { sender } => sender,
        FlowFailure::LargeMissing { sender, missing } => return Some(write_missing(f, sender, missing)),
        _ => return None,
    };
    let side = f.side(sender);
    let repeating = side.repeating.as_deref()?;
    let stuck = side.in_vain();
    let (first, last, count, largest, shrunk) = match (stuck, repeating.healed) {
        (Some(r), _) => (r.first, r.last, r.count, r.largest, None),
        (None, Some(h)) => (h.first, h.at, h.count, h.largest, Some(h.latest)),
        (None, None) => return None,
    };
    let v6 = side.traits.has(crate::decode::segment::Traits::V6);
    let mtu = largest.min(side.flight.largest.max(largest)) + HEADERS[usize::from(v6)];
    let icmp = f.icmp.as_deref().filter(|icmp| icmp.mtu > 0);
    let mut d =
        Draft::about(f, &SPEC, (first, format!("a segment of {largest} bytes of the {sender}, sent again")));
    let lasted = last.time - first.time;
    match shrunk {
        None => {
            d.shows(last, format!("the same size again, {} in all; never acknowledged", times(count.into())));
            let others = if side.sacks() > 0 { "; smaller ones arrived" } else { "" };
            d.summary = format!(
                "Segments of {largest} bytes of the {sender} {} were sent again {} within {lasted} and never acknowledged{others}.",
                f.host(sender).socket(),
                times(count.into())
            );
            d.severity = Severity::Warning;
            d.measure("smaller_arrived", side.sacks()).measure("healed", false);
        }
        Some(size) => {
            d.shows(last, format!("acknowledged as soon as it was sent with {size} bytes"));
            d.summary = format!(
                "Segments of {largest} bytes of the {sender} {} were lost {}; with {size} bytes they got through after {lasted}.",
                f.host(sender).socket(),
                times(count.into())
            );
            d.severity = Severity::Warning;
            d.measure("healed", true).measure("shrunk_to", size);
        }
    }
    d.measure("smallest_lost", largest)
        .measure("largest_acknowledged", side.largest_acked)
        .measure_span("lasted_s", lasted);
    d.measure("mss_client", f.syn_offer.mss)
        .measure("mss_server", f.syn_ack_offer.mss)
        .measure("icmp_seen", icmp.is_some());
    d.cause = too_large();
    match icmp {
        Some(icmp) => {
            d.shows(icmp.at, format!("ICMP: the next hop's MTU is {}", icmp.mtu));
            d.probable(format!("a router says that its next hop carries no more than {} bytes", icmp.mtu));
            if shrunk.is_none() {
                d.cause = not_followed();
                d.measure("next_hop_mtu", icmp.mtu);
            }
        }
        None if shrunk.is_none() && side.sacks() == 0 => doubt_without_sack(&mut d, sender, mtu),
        None => {
            d.probable(format!(
                "only segments of full size (packets of about {mtu} bytes) are lost, each time, and smaller ones arrive; no ICMP was captured"
            ));
        }
    }
    d.or(
        "Segments were lost by chance.",
        if side.sacks() > 0 || shrunk.is_some() {
            "Each repetition of full size was lost, and nothing smaller."
        } else {
            "Each repetition was lost, and the router says why."
        },
    );
    d.next_steps = next_steps(f, sender);
    Some(d)
}

/// The receiver cannot report which segments arrive.
fn doubt_without_sack(d: &mut Draft, sender: Role, mtu: u32) {
    d.possible(format!(
        "only segments of full size (packets of about {mtu} bytes) are lost, each time; the {} is still heard and has none of \
         them, and without SACK it cannot say whether the smaller one behind them arrived",
        sender.peer()
    ));
}

/// Captured at the end where the large segments do not arrive.
fn write_missing(f: &ConnectionFacts, sender: Role, missing: MissingSegments) -> Draft {
    let (side, receiver) = (f.side(sender), sender.peer());
    let MissingSegments { gap, size, lasted, heard } = missing;
    let behind = side.flight.largest;
    let seen = format!("{behind} bytes of the {sender} arrive, {gap} bytes before them do not");
    let mut d = Draft::about(f, &SPEC, (side.flight.begin, seen));
    if heard == GapActivity::OfTheConnection {
        d.shows(side.last, format!("the {sender} is still heard; the gap is open"));
    }
    d.severity = Severity::Critical;
    d.summary = format!(
        "{} of {size} bytes of the {sender} {} never arrived in {lasted}; a smaller one behind it did, and the {receiver} \
         reported the gap ({}).",
        count(u64::from(gap / size), "segment"),
        f.host(sender).socket(),
        if side.sacks() > 0 { "SACK" } else { "a duplicate ACK" }
    );
    d.cause = too_large();
    d.measure("smallest_lost", size)
        .measure("largest_arrived", behind)
        .measure_span("lasted_s", lasted)
        .measure("mss_client", f.syn_offer.mss)
        .measure("mss_server", f.syn_ack_offer.mss);
    if heard == GapActivity::OfTheConnection {
        d.probable("the missing segments are of full size, none of their repetitions arrived, and smaller segments of the same end did");
    } else if heard == GapActivity::OfTheHost {
        d.probable("the missing segments are of full size, none of their repetitions arrived, and other connections of that host went on");
    } else {
        d.possible("the missing segments are of full size, and none of their repetitions arrived; but nothing else of that end did either");
        d.or(
            "The sender or the path went away at that moment.",
            "Just before, a smaller segment had arrived behind the gap.",
        );
    }
    d.or(
        "Segments were lost by chance.",
        "The sender repeats them within a second, and each one would have to be lost.",
    );
    d.next_steps = next_steps(f, sender);
    d
}

fn too_large() -> Cause {
    cause(
        "The path carries no packets of full size, and the ICMP error that says so does not come back.",
        &["tcp_retransmit_timer", "tcp_mtu_probing", "tcp_v4_mtu_reduced"],
        &["TcpExtTCPTimeouts", "TcpExtTCPMTUPFail", "TcpExtTCPMTUPSuccess"],
        &["net.ipv4.tcp_mtu_probing", "net.ipv4.tcp_base_mss"],
    )
}

fn not_followed() -> Cause {
    cause(
        "The path carries no packets of full size. An ICMP error says so, and the sender does not follow it: a \
                     firewall on its host drops it, or it has path MTU discovery switched off.",
        &["tcp_v4_err", "tcp_v4_mtu_reduced", "tcp_retransmit_timer"],
        &["TcpExtTCPTimeouts", "TcpExtTCPMTUPFail", "TcpExtTCPMTUPSuccess"],
        &["net.ipv4.ip_no_pmtu_disc", "net.ipv4.tcp_mtu_probing"],
    )
}

fn next_steps(f: &ConnectionFacts, sender: Role) -> Vec<String> {
    let peer = f.host(sender.peer()).address.ip();
    vec![
        format!(
            "tracepath -n {peer}   # on {}: the MTU of the path, and where it shrinks",
            f.host(sender).address.ip()
        ),
        "sysctl net.ipv4.tcp_mtu_probing   # 1 lets the sender find a size that passes".to_owned(),
        "Clamp the MSS at the tunnel or VPN, and let ICMP type 3 code 4 (IPv6: type 2) pass every firewall"
            .to_owned(),
    ]
}
