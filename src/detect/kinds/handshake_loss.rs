//! `handshake-loss`: a segment of the handshake was lost on the path.

use crate::detect::analysis::deferral::{deferral, is_undecided};
use crate::detect::analysis::ignored_ack::{cookie_lag, ignored_ack};
use crate::detect::analysis::ignored_client::ignored_pattern;
use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause};
use crate::detect::next;
use crate::detect::spec::{Examine, Property, finding};
use crate::flow::facts::{ConnectionFacts, FinalAck, Roles, Transmission};
use crate::history::wants::Wants;
use crate::model::{Kind, Severity};
use crate::time::Span;

finding! {
    /// A SYN-ACK or the final ACK was lost or delayed on the path, and its repetition completed the handshake.
    ///
    /// ## On the wire
    /// Seen at the server: the SYN-ACK is repeated before any final ACK came. An earlier final ACK was lost if the later one
    /// echoes the first SYN-ACK's timestamp, or if the client's IP IDs have a hole just before it. Otherwise the SYN-ACK
    /// was lost. Seen at the client: the SYN is repeated, and the SYN-ACK that comes echoes the first one's
    /// timestamp (the SYN-ACK was lost); or the SYN-ACK comes again once although the client has answered. A SYN-ACK that
    /// was held up has a timestamp older than its arrival, or its answer comes late and is the client's first.
    /// ## In the kernel
    /// No fault: the timers of both ends did their work (`tcp_retransmit_timer`, `reqsk_timer_handler`).
    /// ## Looks alike
    /// * A round trip above one second: everything arrives, late.
    /// * An accept queue that was full for a moment: at the client the same packets; other connections of the listener
    ///   show the difference.
    /// * `accept-queue-overflow`: a firewall behind the capture point drops final ACKs and leaves the same packets. If
    ///   snapshots of the server (`analyze --host`) show that `ListenOverflows` did not grow, such a loss is reported
    ///   under this kind.
    /// ## Check next
    /// Captures at both ends; `ip -s link`, `ethtool -S` for drops on the way.
    /// ## References
    /// RFC 6298 section 2.1; RFC 7323 section 4
    pub struct HandshakeLoss {
        kind: Kind::HandshakeLoss,
        plain_words: "The network lost a packet of the handshake, which had to be sent again.",
        at_fault: "the network, or a firewall on the path",
        wants: Wants::full(|f, _| f.syn.count > 1 || f.syn_ack.count > 1),
        examine: Examine::Connection(examine),
        look_alikes: &["syn-drop-accept-queue/recovers", "nothing-wrong/one-direction"],
        counters: &["TcpExtTCPSynRetrans"],
        properties: &[Property::PreventsSetUp, Property::ExplainsHandshake, Property::IsMadeUpFor, Property::RestsOnOrder, Property::SaysWhereItStopped],
    }
}

/// A client that has data to send does so this soon after its final ACK.
const AT_ONCE: Span = Span::millis(50);
/// A SYN-ACK that takes longer than this makes the client repeat its SYN.
const HELD_UP: Span = Span::millis(700);

/// The lost segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    SynAck,
    FinalAck,
    /// Not lost: delayed for this long.
    SynAckLate(Span),
}

/// Whether the order and the roles of this handshake are known, and its path can lose packets.
fn is_plain(f: &ConnectionFacts, ack: FinalAck, first: &Transmission) -> bool {
    // Between a host and itself no packet is lost.
    let within_host = f.client.address == f.server.address || f.server.address.ip().is_loopback();
    // If times run back, or the order was changed, the first final ACK in the capture may be a later one.
    let in_order = ack.at.time >= first.at.time && f.reordered == 0;
    f.roles == Roles::BySyn && !f.odd_handshake && f.other_isns == 0 && !within_host && in_order
}

/// The lost segment, and its evidence; `None` if none was lost, or the repetition has another explanation.
fn lost(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<(Lost, &'static str)> {
    let ack = f.final_ack?;
    let (first, syn) = (f.syn_ack.first()?, f.syn.first()?);
    if !is_plain(f, ack, first) {
        return None;
    }
    let before = f.syn_ack.iter().take(usize::from(ack.syn_acks));
    let last_before = before.clone().last()?;
    Some(if ack.syn_acks >= 2 && last_before.at.time - first.at.time >= Span::millis(800) {
        // A late answer to the first SYN-ACK? Then the round trip is longer than the timer.
        let slow = ack.at.time - last_before.at.time;
        let round_trip = around.round_trip().unwrap_or(Span::ZERO);
        // Every handshake with this server has a repetition: its path is slow and loses nothing, unless the client
        // shows that it answers a later SYN-ACK.
        let answers_first = !f.timestamps() || ack.tsecr == first.tsval;
        if answers_first && around.round_trip().is_none() && around.listener.completed >= 3 {
            return None;
        }
        if ack.at.time - first.at.time <= round_trip + round_trip || (f.timestamps() && slow_path(f, slow)) {
            return None;
        }
        let echoes_first = f.timestamps() && ack.tsecr == first.tsval && last_before.tsval != first.tsval;
        if echoes_first && is_first_answer(f, ack) {
            return Some((
                Lost::SynAckLate(ack.at.time - first.at.time),
                "the final ACK echoes the first SYN-ACK, and the client's data follows at once: it had not been connected before",
            ));
        }
        if (echoes_first || ack.ip_id_hole > 0) && was_ignored(f, ack, around) {
            return None;
        }
        if echoes_first {
            (
                Lost::FinalAck,
                "the final ACK echoes the first SYN-ACK, so the client had already answered it once",
            )
        } else if ack.ip_id_hole > 0 {
            (Lost::FinalAck, "the client's IP IDs have a hole just before its final ACK")
        } else {
            (Lost::SynAck, "no answer to the first SYN-ACK arrived; the final ACK answers a later one")
        }
    } else if f.syn.count >= 2 && first.syns >= 2 && f.timestamps() && first.tsecr == syn.tsval {
        let took = first.at.time - syn.at.time;
        let later = f.progress.map_or(Span::ZERO, |p| p.at.time - p.after.time);
        if later + later >= took {
            return None;
        }
        if let Some(late) = sent_before(f) {
            return Some((
                Lost::SynAckLate(late),
                "the SYN-ACK's timestamp shows when the server sent it: its clock went on for longer until its next segment than the \
                 capture's",
            ));
        }
        (
            Lost::SynAck,
            "the SYN-ACK echoes the first SYN's timestamp: that SYN arrived, and no answer came for long",
        )
    } else {
        let o = ignored_ack(f, around.end())?;
        let alone = o.repeats.len() == 1
            && !o.data_ignored
            && ignored_pattern(f, &o, around).is_none()
            && deferral(f, around).is_none();
        if !alone
            || around.context.shuffled
            || f.progress.is_none() && (f.unanswered.acks == 0 || is_undecided(f, &o, around))
        {
            return None;
        }
        (
            Lost::FinalAck,
            "the SYN-ACK came once more after the final ACK, and the server accepted the answer to it",
        )
    })
}

/// Whether this final ACK is the first that the client sent, and its data waited for it. A client that has the SYN-ACK
/// sends data at once, and repeats it soon.
fn is_first_answer(f: &ConnectionFacts, ack: FinalAck) -> bool {
    let asked = f.c.first_data.is_some_and(|data| data.time - ack.at.time <= AT_ONCE);
    ack.ip_id_hole == 0 && ack.bare && asked && f.unanswered.retransmits == 0
}

/// How long before its capture the SYN-ACK was sent, by the server's clock, assuming that a tick is a millisecond.
fn sent_before(f: &ConnectionFacts) -> Option<Span> {
    cookie_lag(f).map(Span::millis).filter(|late| *late >= HELD_UP)
}

/// See [`HandshakeLoss`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let (lost, why) = lost(f, around)?;
    let (ack, first, syn) = (f.final_ack?, f.syn_ack.first()?, f.syn.first()?);
    let what = match lost {
        Lost::SynAck | Lost::SynAckLate(_) => "SYN-ACK",
        Lost::FinalAck => "final ACK",
    };
    let mut d = Draft::about(f, &SPEC, (ack.at, "final ACK"));
    d.shows(syn.at, "SYN").shows(first.at, "SYN-ACK");
    for again in f.syn.iter().skip(1) {
        d.shows(again.at, "SYN again");
    }
    for again in f.syn_ack.iter().skip(1) {
        d.shows(again.at, "SYN-ACK again");
    }
    d.severity = Severity::Info;
    let (client, took) = (f.client.socket(), ack.at.time - syn.at.time);
    d.summary = match lost {
        Lost::SynAckLate(late) => {
            format!("The SYN-ACK for {client} was held up for {late}; the handshake took {took}.")
        }
        Lost::SynAck => {
            format!("The network lost or held up a {what} of {client}; the handshake took {took}.")
        }
        Lost::FinalAck => format!("The network lost a {what} of {client}; the handshake took {took}."),
    };
    d.cause = cause(
        match lost {
            Lost::SynAckLate(_) => {
                "The SYN-ACK was not lost, but late: a full buffer, a busy box on the path, or an address that had to be resolved \
                 first (ARP, neighbour discovery)."
            }
            Lost::SynAck if around.at_server() => {
                "The network lost a SYN-ACK on the way from the server to the client, or held it up."
            }
            Lost::SynAck => {
                "The network lost a SYN-ACK on the way from the server to the client, or held it up, or the SYN before it."
            }
            Lost::FinalAck => "The network lost the final ACK on the way from the client to the server.",
        },
        &[],
        &["TcpExtTCPSynRetrans", "TcpExtTCPTimeouts"],
        &[],
    );
    match lost {
        Lost::SynAckLate(late) => d.measure_span("late_s", late),
        _ => d.measure("lost", what),
    };
    d.measure_span("handshake_s", took);
    if around.at_server() {
        d.probable(why);
    } else {
        d.possible(why);
        if lost == Lost::FinalAck {
            d.or(
                "The listener's accept queue was full for a moment.",
                "No other connection of this listener hung at that moment.",
            );
            d.or(
                "A firewall at or before the server dropped the final ACK.",
                "Then it passed the same segment a moment later.",
            );
        }
    }
    d.next_steps = vec![next::LINK_DROPS.to_owned()];
    if let Lost::SynAckLate(_) = lost {
        d.next_steps.insert(0, "ip -s neigh; tc -s qdisc   # on both hosts and on routers between: neighbours in state INCOMPLETE or FAILED, backlog".to_owned());
    }
    Some(d)
}

/// Whether the server did not accept the connection although further segments of the client reached it: then no loss is
/// the cause. In a capture at the server it is certain that they did.
fn was_ignored(f: &ConnectionFacts, ack: FinalAck, around: &DetectContext<'_>) -> bool {
    let u = &f.unanswered;
    let asked_again = f.syn_ack.count > u32::from(ack.syn_acks);
    let in_vain = f.s.resets > 0 || asked_again || u.acks > 0 || u.retransmits > 0;
    around.at_server() && asked_again || f.progress.is_none() && in_vain
}

/// Whether the final ACK answers the first SYN-ACK, and took longer than the timer. Then the answer to the second
/// SYN-ACK follows as a further ACK about one timer later.
fn slow_path(f: &ConnectionFacts, after_last: Span) -> bool {
    let further = f.unanswered.last_ack;
    f.unanswered.acks > 0
        && f.final_ack.is_some_and(|ack| {
            let apart = further.time - ack.at.time;
            apart >= Span::millis(700) && apart <= Span::millis(1_800) && after_last < Span::millis(900)
        })
}
