//! Findings compared with the kernel's statements about their packets.
//!
//! [`crate::kernel::trust`] says what a judgement proves. The table here has the effect on a finding. If it contradicts
//! the packets, the kernel is right. The finding then names the kind that the packets suggested.

use std::collections::BTreeMap;

use crate::decode::segment::PacketId;
use crate::detect::draft::{cause, count};
use crate::detect::{Draft, FoundDraft, next};
use crate::diagnose::host::syn;
use crate::flow::facts::PacketRef;
use crate::kernel::table::Judgements;
use crate::kernel::trust::{Meaning, meaning};
use crate::kernel::verdict::{DropSite, Judgement, Queues};
use crate::model::{Cause, KernelAct, KernelVerdict, Kind, Phrase};

/// The effect of a meaning on a finding of a kind.
#[derive(Clone, Copy)]
enum Effect {
    /// It confirms the finding.
    Confirms,
    /// It confirms the finding, with this cause.
    Explains(fn() -> Cause),
    /// It makes the finding one of this kind, with this cause.
    Becomes(Kind, fn() -> Cause),
}

use Effect::{Becomes, Confirms, Explains};

/// One line for each pair that matters. A verdict that is not here changes nothing.
#[rustfmt::skip]
const EFFECTS: &[(Kind, Meaning, Effect)] = &[
    (Kind::AcceptQueueOverflow, Meaning::AcceptQueueFull, Confirms),
    (Kind::AcceptQueueOverflow, Meaning::Filtered, Becomes(Kind::HandshakeLoss, filtered)),
    (Kind::AcceptQueueOverflow, Meaning::OldTimestamp, Becomes(Kind::HandshakeLoss, old_timestamp)),
    (Kind::AcceptQueueOverflow, Meaning::BadChecksum, Becomes(Kind::HandshakeLoss, bad_checksum)),
    (Kind::AcceptQueueOverflow, Meaning::NoMemory, Becomes(Kind::HandshakeLoss, no_memory)),
    (Kind::AcceptQueueReset, Meaning::AcceptQueueFull, Confirms),
    (Kind::AcceptQueueReset, Meaning::NoSocket, Becomes(Kind::ListenerClosed, listener_gone)),
    (Kind::DeferAccept, Meaning::AcceptQueueFull, Becomes(Kind::AcceptQueueOverflow, overflow)),
    (Kind::HandshakeLoss, Meaning::AcceptQueueFull, Becomes(Kind::AcceptQueueOverflow, overflow)),
    (Kind::HandshakeLoss, Meaning::Filtered, Explains(filtered)),
    (Kind::HandshakeLoss, Meaning::OldTimestamp, Explains(old_timestamp)),
    (Kind::HandshakeLoss, Meaning::BadChecksum, Explains(bad_checksum)),
    (Kind::SynAckUnanswered, Meaning::AcceptQueueFull, Becomes(Kind::AcceptQueueOverflow, overflow)),
    (Kind::SynAckUnanswered, Meaning::Filtered, Explains(filtered)),
    (Kind::DataUnacknowledged, Meaning::AcceptQueueFull, Becomes(Kind::AcceptQueueOverflow, overflow)),
    (Kind::DataUnacknowledged, Meaning::Filtered, Explains(filtered)),
    (Kind::DataUnacknowledged, Meaning::OldTimestamp, Explains(old_timestamp)),
    (Kind::DataUnacknowledged, Meaning::BadChecksum, Explains(bad_checksum)),
    (Kind::SynDropAcceptQueue, Meaning::AcceptQueueFull, Confirms),
    (Kind::SynDropAcceptQueue, Meaning::SynQueueFull, Becomes(Kind::SynDropSynQueue, syn::syn_queue)),
    (Kind::SynDropAcceptQueue, Meaning::Filtered, Becomes(Kind::SynUnanswered, filtered)),
    (Kind::SynDropSynQueue, Meaning::SynQueueFull, Confirms),
    (Kind::SynDropSynQueue, Meaning::AcceptQueueFull, Becomes(Kind::SynDropAcceptQueue, syn::accept_queue)),
    (Kind::SynDropSynQueue, Meaning::Filtered, Becomes(Kind::SynUnanswered, filtered)),
    (Kind::SynDropTimestamp, Meaning::OldTimestamp, Confirms),
    (Kind::SynDropTimestamp, Meaning::AcceptQueueFull, Becomes(Kind::SynDropAcceptQueue, syn::accept_queue)),
    (Kind::SynDropTimestamp, Meaning::SynQueueFull, Becomes(Kind::SynDropSynQueue, syn::syn_queue)),
    (Kind::SynDropTimestamp, Meaning::Filtered, Becomes(Kind::SynUnanswered, filtered)),
    (Kind::SynUnanswered, Meaning::AcceptQueueFull, Becomes(Kind::SynDropAcceptQueue, syn::accept_queue)),
    (Kind::SynUnanswered, Meaning::SynQueueFull, Becomes(Kind::SynDropSynQueue, syn::syn_queue)),
    (Kind::SynUnanswered, Meaning::Filtered, Explains(filtered)),
    (Kind::SynUnanswered, Meaning::NoRoute, Explains(no_route)),
    (Kind::SynUnanswered, Meaning::BadChecksum, Explains(bad_checksum)),
    (Kind::SynUnanswered, Meaning::NoMemory, Explains(no_memory)),
    (Kind::SynUnanswered, Meaning::OldTimestamp, Explains(time_wait_timestamp)),
    (Kind::ConnectionRefused, Meaning::NoSocket, Explains(no_socket)),
    (Kind::ConnectionRefused, Meaning::Filtered, Explains(rejected)),
    (Kind::ListenerClosed, Meaning::AcceptQueueFull, Becomes(Kind::AcceptQueueReset, overflow_reset)),
    (Kind::ListenerClosed, Meaning::NoSocket, Confirms),
    (Kind::AbortiveClose, Meaning::UnreadData, Explains(unread_data)),
    (Kind::FinWait2Expired, Meaning::TimeWait, Confirms),
    (Kind::StaleConnection, Meaning::NoSocket, Confirms),
    (Kind::TimeWaitCollision, Meaning::OldTimestamp, Confirms),
];

/// Adds the kernel's statements about the packets of each finding, and lets them decide where they prove enough.
pub fn judge(drafts: &mut [FoundDraft], judgements: &mut Judgements) {
    if judgements.is_empty() {
        return;
    }
    for (draft, _) in drafts {
        let mut meanings: BTreeMap<Meaning, (u64, PacketId)> = BTreeMap::new();
        for (at, _) in draft.evidence() {
            let Some(judgement) = judgements.keep(at.packet) else { continue };
            if let Some(meaning) = meaning(&judgement) {
                meanings.entry(meaning).or_insert((0, at.packet)).0 += 1;
            }
            draft.packets.note_judgement(at.packet, judgement);
        }
        decide(draft, &meanings);
    }
}

/// Applies the verdicts in the table. Those that confirm a finding come before those that contradict it: other packets
/// of the same connection may have had another fate.
fn decide(draft: &mut Draft, meanings: &BTreeMap<Meaning, (u64, PacketId)>) {
    let effect_of = |meaning: Meaning| {
        EFFECTS.iter().find(|(kind, on, _)| *kind == draft.kind && *on == meaning).map(|(.., effect)| *effect)
    };
    let found = meanings.iter().filter_map(|(meaning, of)| Some((effect_of(*meaning)?, *of)));
    let (mut confirming, mut contradicting) = (Vec::new(), Vec::new());
    for (effect, of) in found {
        match effect {
            Becomes(..) => contradicting.push((effect, of)),
            _ => confirming.push((effect, of)),
        }
    }
    let (effect, (packets, example)) = match (&confirming[..], &contradicting[..]) {
        ([first, ..], _) => *first,
        ([], [only]) => *only,
        _ => return,
    };
    let Some(judgement) = draft.packets.judgement(example) else { return };
    let said = format!("the kernel reports it for {}: {}", count(packets, "packet"), in_words(judgement));
    match effect {
        Confirms => {}
        Explains(cause) => explain(draft, cause()),
        Becomes(kind, cause) => become_kind(draft, kind, cause()),
    }
    draft.alternatives.clear();
    draft.confirmed(match draft.taken_for {
        Some(was) => format!("{said}; the packets alone suggest {was}, which the kernel refutes"),
        None => said,
    });
}

fn explain(draft: &mut Draft, cause: Cause) {
    if cause.kernel_functions.iter().any(|function| function == NETFILTER) {
        draft.next_steps = draft.server.map(next::filter_rules).into_iter().collect();
    }
    draft.cause = cause;
}

fn become_kind(draft: &mut Draft, kind: Kind, cause: Cause) {
    let was = draft.kind;
    if kind == Kind::HandshakeLoss {
        draft.measure("lost", "final ACK");
    }
    let queue = |server| match kind {
        Kind::AcceptQueueOverflow | Kind::AcceptQueueReset => next::full_accept_queue(server),
        _ => vec![next::filter_rules(server)],
    };
    match kind {
        Kind::SynDropAcceptQueue | Kind::SynDropSynQueue => syn::become_kind(draft, kind, cause),
        _ => {
            draft.kind = kind;
            draft.cause = cause;
            draft.next_steps = draft.server.map(queue).unwrap_or_default();
        }
    }
    draft.taken_for = Some(was);
}

/// `TCP_LISTEN_OVERFLOW at tcp_v4_rcv, accept queue 129 of 128`.
fn in_words(judgement: &Judgement) -> String {
    let mut text = match judgement.place() {
        Some(DropSite { reason, function }) => {
            let reason = reason.as_deref().unwrap_or("dropped");
            match function {
                Some(function) => format!("{reason} at {function}"),
                None => reason.to_owned(),
            }
        }
        None => format!("at {}", judgement.at_listener.as_deref().unwrap_or("the listener")),
    };
    if let Some(Queues { accept, syn, limit, .. }) = judgement.queues {
        text += &format!(", accept queue {accept} of {limit}, SYN queue {syn}");
    }
    text
}

/// The text of a packet, with the kernel's statement about it if that proves something: `final ACK; kernel: dropped,
/// TCP_LISTEN_OVERFLOW, accept queue 129 of 128`.
pub fn add_words(text: Phrase, judgement: Option<&Judgement>) -> Phrase {
    let Some(judgement) = judgement.filter(|judgement| meaning(judgement).is_some()) else { return text };
    let KernelVerdict { verdict, reason, accept_queue, syn_queue, .. } = verdict(judgement);
    let act = match verdict {
        KernelAct::Dropped => "dropped",
        KernelAct::Reset => "answered with a RST",
        KernelAct::Sent => "sent by the kernel",
        KernelAct::Received => "received",
    };
    let mut words = format!("{text}; kernel: {act}");
    if let Some(reason) = reason {
        words += &format!(", {reason}");
    }
    if let (Some([accept, limit]), Some([syn, _])) = (accept_queue, syn_queue) {
        words += &format!(", accept queue {accept} of {limit}, SYN queue {syn}");
    }
    words.into()
}

/// Whether the kernel surely dropped the packet.
pub fn is_dropped(judgement: &Judgement) -> bool {
    meaning(judgement).is_some() && verdict(judgement).verdict == KernelAct::Dropped
}

/// The judgement as the report has it.
pub fn verdict(judgement: &Judgement) -> KernelVerdict {
    let act = match judgement {
        Judgement { reset: Some(_), .. } => KernelAct::Reset,
        Judgement { dropped: Some(_), .. } => KernelAct::Dropped,
        Judgement { sent: Some(_), .. } => KernelAct::Sent,
        _ if meaning(judgement).is_some() => KernelAct::Dropped,
        _ => KernelAct::Received,
    };
    let place = judgement.place().cloned().unwrap_or_default();
    let function = place.function.or_else(|| judgement.at_listener.clone());
    KernelVerdict {
        verdict: act,
        reason: place.reason.map(|name| name.to_string()),
        function: function.map(|name| name.to_string()),
        accept_queue: judgement.queues.map(|queues| [queues.accept, queues.limit]),
        syn_queue: judgement.queues.map(|queues| [queues.syn, queues.limit]),
    }
}

/// How many packets of the evidence the kernel judged; `None` where it judged none.
pub fn judged(draft: &Draft, evidence: &[(PacketRef, Phrase)]) -> Option<u64> {
    let of = |(at, _): &&(PacketRef, Phrase)| {
        draft.packets.judgement(at.packet).is_some_and(|j| meaning(j).is_some())
    };
    Some(evidence.iter().filter(of).count() as u64).filter(|judged| *judged > 0)
}

const NETFILTER: &str = "nf_hook_slow";

fn overflow() -> Cause {
    cause(
        "The listener's accept queue was full, so the kernel silently dropped the final ACK.",
        &["tcp_check_req", "tcp_v4_syn_recv_sock"],
        &["TcpExtListenOverflows", "TcpExtListenDrops"],
        &["net.core.somaxconn", "net.ipv4.tcp_abort_on_overflow"],
    )
}

fn overflow_reset() -> Cause {
    cause(
        "The listener's accept queue was full, and tcp_abort_on_overflow is 1: the kernel answered the final ACK with a \
         RST.",
        &["tcp_check_req", "tcp_v4_send_reset"],
        &["TcpExtListenOverflows", "TcpEmbryonicRsts"],
        &["net.ipv4.tcp_abort_on_overflow", "net.core.somaxconn"],
    )
}

fn filtered() -> Cause {
    cause("A firewall rule on this host (netfilter) dropped it.", &[NETFILTER], &[], &[])
}

fn rejected() -> Cause {
    cause(
        "A firewall rule on this host (netfilter) rejects the connection.",
        &[NETFILTER, "nf_send_reset"],
        &[],
        &[],
    )
}

fn no_socket() -> Cause {
    cause("No socket listens on this port.", &["tcp_v4_rcv", "tcp_v4_send_reset"], &["TcpOutRsts"], &[])
}

fn listener_gone() -> Cause {
    cause(
        "The listener went away while the handshake was under way: the kernel found no socket for the final ACK.",
        &["tcp_v4_rcv", "inet_csk_listen_stop"],
        &["TcpOutRsts"],
        &[],
    )
}

fn old_timestamp() -> Cause {
    cause(
        "Its timestamp was older than one that the kernel had seen on this connection (PAWS), so it dropped the segment.",
        &["tcp_validate_incoming", "tcp_check_req"],
        &["TcpExtPAWSEstab"],
        &["net.ipv4.tcp_timestamps"],
    )
}

fn time_wait_timestamp() -> Cause {
    cause(
        "A socket in TIME_WAIT has the same addresses and ports, and the SYN's timestamp is older than its last one.",
        &["tcp_timewait_state_process"],
        &["TcpExtPAWSEstab"],
        &["net.ipv4.tcp_timestamps"],
    )
}

fn bad_checksum() -> Cause {
    cause("Its checksum was wrong, so the kernel dropped it.", &["tcp_v4_rcv"], &["TcpInCsumErrors"], &[])
}

fn no_route() -> Cause {
    cause(
        "The kernel has no route back to the client by this interface (reverse-path filter, or a martian address).",
        &["ip_route_input_slow", "fib_validate_source"],
        &["TcpExtIPReversePathFilter"],
        &["net.ipv4.conf.all.rp_filter"],
    )
}

fn no_memory() -> Cause {
    cause(
        "The kernel had no memory for it.",
        &["tcp_v4_rcv"],
        &["TcpExtTCPBacklogDrop"],
        &["net.ipv4.tcp_mem"],
    )
}

fn unread_data() -> Cause {
    cause(
        "The application closed or exited with data unread in its receive buffer.",
        &["tcp_close", "tcp_send_active_reset"],
        &["TcpExtTCPAbortOnClose"],
        &[],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::segment::Flags;
    use crate::detect::registry;
    use crate::flow::facts::ConnectionFacts;
    use crate::kernel::verdict::{KernelEvent, SegmentKey, Statement};
    use crate::model::{Certainty, Vantage};
    use crate::time::Timestamp;

    fn at(n: u64) -> PacketRef {
        PacketRef { time: Timestamp(n as i64), packet: PacketId::new(0, n) }
    }

    fn draft(kind: Kind) -> FoundDraft {
        let mut draft = Draft::about(&ConnectionFacts::default(), registry::spec(kind), (at(1), "SYN"));
        draft.shows(at(3), "final ACK").shows(at(4), "data");
        draft.or("something else", "it could be");
        (Box::new(draft), Vantage::Server)
    }

    fn said(event: KernelEvent, reason: &str, function: &str, queues: Option<Queues>) -> Statement {
        let end = "192.0.2.1:1".parse().unwrap();
        let segment = SegmentKey {
            source: end,
            destination: end,
            seq: 0,
            ack: 0,
            flags: Flags::NONE,
            ip_id: 0,
            payload: 0,
        };
        Statement {
            event,
            time: Timestamp(0),
            reason: Some(reason.into()),
            function: Some(function.into()),
            queues,
            segment,
        }
    }

    fn judged_with(kind: Kind, statements: &[(u64, Statement)]) -> Box<Draft> {
        let mut judgements = Judgements::default();
        statements.iter().for_each(|(n, statement)| judgements.add(PacketId::new(0, *n), statement));
        let mut drafts = [draft(kind)];
        judge(&mut drafts, &mut judgements);
        let [(draft, _)] = drafts;
        draft
    }

    const FULL: Option<Queues> = Some(Queues { accept: 129, syn: 3, limit: 128, without_cookies: false });

    #[test]
    fn what_the_kernel_names_confirms_the_finding() {
        let overflow = said(KernelEvent::Dropped, "TCP_LISTEN_OVERFLOW", "tcp_v4_rcv", FULL);
        let d = judged_with(Kind::AcceptQueueOverflow, &[(3, overflow.clone()), (4, overflow)]);
        assert_eq!((d.kind, d.certainty()), (Kind::AcceptQueueOverflow, Certainty::Confirmed));
        assert!(
            d.reason.contains("for 2 packets") && d.reason.contains("accept queue 129 of 128"),
            "{}",
            d.reason
        );
        assert!(d.alternatives.is_empty());
        assert_eq!(judged(&d, &d.evidence()), Some(2));
    }

    #[test]
    fn a_verdict_that_contradicts_the_packets_wins_and_that_is_said() {
        let drop = said(KernelEvent::Dropped, "NETFILTER_DROP", "nf_hook_slow", None);
        let d = judged_with(Kind::AcceptQueueOverflow, &[(3, drop)]);
        assert_eq!((d.kind, d.certainty()), (Kind::HandshakeLoss, Certainty::Confirmed));
        assert_eq!(d.taken_for, Some(Kind::AcceptQueueOverflow));
        assert!(
            d.reason.contains("NETFILTER_DROP at nf_hook_slow") && d.reason.contains("refutes"),
            "{}",
            d.reason
        );
    }

    #[test]
    fn what_proves_nothing_changes_nothing_but_is_shown() {
        let unspecified = said(KernelEvent::Dropped, "NOT_SPECIFIED", "tcp_v4_rcv", FULL);
        let d = judged_with(Kind::DeferAccept, &[(3, unspecified)]);
        assert_eq!((d.kind, d.certainty()), (Kind::DeferAccept, Certainty::Possible));
        assert_eq!(d.alternatives.len(), 1);
        assert_eq!(judged(&d, &d.evidence()), None);
        let shown = verdict(d.packets.judgement(PacketId::new(0, 3)).unwrap());
        assert_eq!((shown.verdict, shown.reason.as_deref()), (KernelAct::Dropped, Some("NOT_SPECIFIED")));
    }

    #[test]
    fn two_verdicts_against_a_finding_that_differ_decide_nothing() {
        let d = judged_with(
            Kind::AcceptQueueOverflow,
            &[
                (3, said(KernelEvent::Dropped, "NETFILTER_DROP", "nf_hook_slow", None)),
                (4, said(KernelEvent::Dropped, "TCP_CSUM", "tcp_v4_rcv", None)),
            ],
        );
        assert_eq!(d.kind, Kind::AcceptQueueOverflow);
    }

    #[test]
    fn no_pair_has_two_effects() {
        for (n, (kind, meaning, _)) in EFFECTS.iter().enumerate() {
            let again = EFFECTS[..n].iter().any(|(k, m, _)| k == kind && m == meaning);
            assert!(!again, "{kind} {meaning:?}");
        }
    }
}
