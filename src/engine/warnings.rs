//! Limits of a report as a whole: packets that were not analyzed, gaps in a capture, a memory limit.

use crate::capture::LinkType;
use crate::decode;
use crate::detect::draft::count;
use crate::engine::AnalysisOptions;
use crate::engine::batch::PacketTotals;
use crate::engine::examined::DetectionResult;

/// If this many packets have the same time, it is not chance.
const NO_CHANCE: u64 = 10;

/// Limits of the whole report, without damage of the inputs.
pub(super) fn of(seen: &DetectionResult, totals: &PacketTotals, options: &AnalysisOptions) -> Vec<String> {
    not_analyzed(totals)
        .chain(directions(seen))
        .chain(odd_packets(seen))
        .chain(counted_only(seen))
        .chain(memory_limit(seen, options))
        .collect()
}

/// Tables of warnings: each row has the condition for it.
fn told<const N: usize>(rows: [Option<String>; N]) -> impl Iterator<Item = String> {
    rows.into_iter().flatten()
}

/// Packets that could not be read.
fn not_analyzed(totals: &PacketTotals) -> impl Iterator<Item = String> {
    let unknown = totals.unknown_links.iter().map(|(&link, n)| {
        let name = decode::link_name(LinkType(link)).map(|name| format!(" ({name})")).unwrap_or_default();
        format!("{n} packets have the unknown link type {link}{name} and were not analyzed")
    });
    let (malformed, cut) = (totals.malformed, totals.cut);
    unknown.chain(told([
        (malformed > 0).then(|| {
            format!("{malformed} packets have inconsistent lengths or versions and were not analyzed")
        }),
        (cut > 0).then(|| {
            format!(
                "{cut} packets were cut before the end of the TCP header; capture with a snapshot length of at least 128 bytes"
            )
        }),
    ]))
}

/// Which packets of connections the capture holds.
fn directions(seen: &DetectionResult) -> impl Iterator<Item = String> {
    let q = &seen.gathered.quality;
    let one_way = q.one_sided * 4 > q.connections && q.one_sided > 0;
    let only_syns = q.only_syns == q.connections && q.connections > 0;
    let only_handshakes = seen.context.handshakes_only && q.connections > 0;
    told([
        one_way.then(|| {
            format!(
                "only one direction was captured of {} of {} connections, so the report does not know what the other end did",
                q.one_sided, q.connections
            )
        }),
        (q.deaf > 0 && !one_way).then(|| {
            format!(
                "in {} the client went on, but no answer of the server was captured: other SYNs may have been answered, too",
                count(q.deaf, "connection")
            )
        }),
        only_syns.then(|| {
            "the capture holds SYNs and no answer to any: a filter or one direction left the answers out, or there were \
             none"
                .to_owned()
        }),
        (only_handshakes && !only_syns).then(|| {
            "the capture holds SYNs and SYN-ACKs and nothing else: whether the handshakes were completed cannot be seen"
                .to_owned()
        }),
    ])
}

/// Copies, another order, gaps, several senders, no clock.
fn odd_packets(seen: &DetectionResult) -> impl Iterator<Item = String> {
    let (context, q) = (&seen.context, &seen.gathered.quality);
    told([
        (q.duplicates > 0).then(|| {
            format!("{} seem to be captured twice; copies are not counted", count(q.duplicates, "packet"))
        }),
        (q.replayed > 0).then(|| {
            format!(
                "{} repeat an earlier part of the capture and were ignored",
                count(q.replayed, "packet")
            )
        }),
        (q.reordered > 0).then(|| {
            format!(
                "{} came just after their own acknowledgment: the capture changed the order of packets{}",
                count(q.reordered, "segment"),
                if context.shuffled {
                    ", and findings that rest on the order of two packets are possible at most"
                } else {
                    ""
                }
            )
        }),
        (q.unseen > 0).then(|| {
            format!(
                "{} for data that is not in the capture: it lost packets or began late",
                count(q.unseen, "acknowledgment")
            )
        }),
        (q.several_ttls > 0).then(|| {
            format!(
                "on {} one end's packets had several TTLs: another device answers for it, or the route changed",
                count(q.several_ttls, "connection")
            )
        }),
        (context.has_no_clock() && q.segments >= NO_CHANCE).then(|| {
            "all packets have the same time: the capture has no clock, and the report has no finding that rests on times".to_owned()
        }),
        context.damaged.then(|| {
            "the capture is not complete, so a missing packet confirms nothing, and a single half-close does not count \
             as trouble"
                .to_owned()
        }),
    ])
}

/// Remarkable connections that were too many.
fn counted_only(seen: &DetectionResult) -> Option<String> {
    let g = &seen.gathered;
    let left_out = g.left_out.connections();
    (left_out > 0).then(|| {
        format!(
            "of {} remarkable connections {} were examined, the first of each kind{}, and the others were only \
             counted: narrow the capture with --host, --port, --since, --until",
            left_out + g.examined as u64,
            g.examined,
            if g.left_out.others > 0 { "" } else { " and listener" }
        )
    })
}

/// Connections that the memory limit affected.
fn memory_limit(seen: &DetectionResult, options: &AnalysisOptions) -> impl IntoIterator<Item = String> {
    let step = seen.context.listeners.values().map(|listener| listener.seconds.step()).max();
    seen.gathered.given_up.text(step, options.memory_limit)
}
