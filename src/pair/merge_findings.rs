//! The findings of both sides about one connection, merged into one: one side decides what the other leaves open.
//!
//! The capture nearer to a server judges its actions. Comparing the two shows the rest: whether a packet was lost
//! before that capture, and whether a RST came from the server at all.

use crate::decode::segment::Flags;
use crate::detect::analysis::fast_open::FastOpenOutcome;
use crate::detect::details::{Details, HalfClosedDetails};
use crate::detect::draft::{Draft, FoundDraft, cause};
use crate::detect::evidence::InOtherCapture;
use crate::detect::registry;
use crate::detect::spec::{IgnoredPackets, Property};
use crate::flow::facts::{ConnectionFacts, Role};
use crate::model::{Certainty, Excluded, Kind, LostPackets, Severity, Suspect, Vantage};
use crate::pair::data_path::{judge_data, was_acknowledged};
use crate::pair::loss::{self, CaptureNames, PathLosses, final_ack};
use crate::pair::packet_match::{Absence, MatchedConnection};
use crate::pair::trace::TracedSegment;

/// One connection that both sides have.
pub struct JoinedConnection<'a> {
    /// The facts that each side kept of it.
    pub facts: [Option<&'a ConnectionFacts>; 2],
    /// The findings about it on each side.
    pub found: [Vec<FoundDraft>; 2],
    /// Its packets.
    pub passage: MatchedConnection<'a>,
    /// The side nearer to the client.
    pub near: usize,
    /// Where each side was captured, seen from this server.
    pub vantages: [Vantage; 2],
    /// Whether a side has none of the listener's RSTs, although it was listening at the times of several.
    pub without_resets: [bool; 2],
}

impl JoinedConnection<'_> {
    /// The findings that remain.
    pub fn merge_findings(mut self, named: &CaptureNames<'_>) -> Vec<FoundDraft> {
        let (near, far) = (self.near, 1 - self.near);
        let losses = PathLosses::of(&self.passage, near);
        let mut of_client = std::mem::take(&mut self.found[near]);
        let mut of_server = std::mem::take(&mut self.found[far]);
        let judged = of_server.iter().any(|(d, _)| {
            registry::spec(d.kind).has(Property::ExplainsHandshake)
                && !registry::spec(d.kind).has(Property::SaysWhereItStopped)
        });
        let mut merged = Vec::new();
        self.judge_fast_open(&mut of_client, &losses, named);
        let swallowed = of_client.iter().any(|(d, _)| is_swallowed(d));
        if !losses.is_empty() && !judged && !swallowed {
            merged.extend(self.lost(&losses, &mut of_client, &mut of_server, named));
        } else {
            of_server
                .retain(|(d, _)| d.kind != Kind::HandshakeLoss || !(judged || self.nothing_lost(&losses)));
            let answered =
                of_server.iter().any(|(d, _)| registry::spec(d.kind).has(Property::ExplainsHandshake));
            let missed = self.client_side_missed_an_answer();
            of_client.retain(|(d, _)| !missed || !registry::spec(d.kind).has(Property::DeniesSynAck));
            of_client.retain_mut(|(d, _)| {
                !registry::spec(d.kind).has(Property::ExplainsHandshake)
                    || !answered && self.stands_beside(d, &losses, named)
            });
        }
        for side in [&mut of_client, &mut of_server] {
            side.iter_mut().for_each(|(d, _)| self.origin_of_reset(d, named));
        }
        // The sender of data that never arrives sees more of it than the receiver. The end that gets a forged RST sees
        // more of it than the other.
        of_server.retain(|(d, _)| {
            let is_clearer = |other: &Draft| other.kind == d.kind && other.certainty() > d.certainty();
            let is_seen_better = matches!(d.kind, Kind::PathMtuBlackhole | Kind::InjectedReset);
            !is_seen_better || !of_client.iter().any(|(other, _)| is_clearer(other))
        });
        let ended_there = self.reset_is_only_in(far)
            && of_server.iter().any(|(d, _)| {
                let spec = registry::spec(d.kind);
                spec.has(Property::EndsConnection) && d.kind != Kind::DataUnacknowledged
            });
        of_client.retain(|(d, _)| !ended_there || d.kind != Kind::DataUnacknowledged);
        let reset_judged = of_server.iter().any(|(d, _)| registry::spec(d.kind).has(Property::ExplainsReset));
        of_client.retain(|(d, _)| {
            let same = of_server.iter().any(|(s, _)| s.kind == d.kind);
            let judged = same || reset_judged && registry::spec(d.kind).has(Property::ExplainsReset);
            !judged && !self.was_closed(d)
        });
        of_server.retain(|(d, _)| !self.was_closed(d));
        of_server.iter_mut().for_each(|(d, vantage)| self.close(d, *vantage, named));
        merged.extend(of_server);
        merged.extend(of_client);
        // The acknowledgment of the FIN is lost with the data that carries it: one loss, not two.
        let carrier_lost =
            merged.iter().any(|(d, _)| matches!(d.kind, Kind::DataUnacknowledged | Kind::PathMtuBlackhole));
        merged.retain(|(d, _)| !carrier_lost || !was_acknowledged(d, &self.passage));
        for (d, _) in &mut merged {
            judge_data(d, &self.passage, named);
            self.note_elsewhere(d);
            self.note_names(d);
        }
        merged
    }

    /// Whether only this side has the RST that answers the client's repetitions: the other side missed the end.
    fn reset_is_only_in(&self, side: usize) -> bool {
        let has_reset = |side: usize| self.facts[side].is_some_and(|f| f.s.reset.is_some());
        has_reset(side) && !has_reset(1 - side)
    }

    /// The finding that packets of the handshake were lost, which replaces the findings of both sides about it.
    fn lost(
        &self,
        losses: &PathLosses,
        of_client: &mut Vec<FoundDraft>,
        of_server: &mut Vec<FoundDraft>,
        named: &CaptureNames<'_>,
    ) -> Option<FoundDraft> {
        let far = 1 - self.near;
        let f = self.facts[far].or(self.facts[self.near])?;
        let mut d = loss::draft(f, losses, &self.passage, self.near, named);
        let replaced = |d: &Draft| {
            registry::spec(d.kind).has(Property::ExplainsHandshake)
                && !registry::spec(d.kind).has(Property::StandsBesideLoss)
        };
        for (other, _) in of_client.iter().filter(|(other, _)| replaced(other)) {
            if other.kind != Kind::HandshakeLoss {
                d.excluded.push(Excluded { suspect: own_cause(other), reason: d.reason.clone() });
            }
        }
        of_client.retain(|(other, _)| !replaced(other));
        of_server.retain(|(other, _)| !replaced(other));
        Some((Box::new(d), self.vantages[far]))
    }

    /// The SYN with Fast Open drew no answer, the one without did. The finding stands if the first SYN did not arrive
    /// and nothing else was lost.
    fn judge_fast_open(
        &self,
        of_client: &mut Vec<FoundDraft>,
        losses: &PathLosses,
        named: &CaptureNames<'_>,
    ) {
        let (near, far) = (self.near, 1 - self.near);
        let first = match losses.syns[..] {
            [first] if losses.syn_acks.is_empty() && losses.final_ack.is_none() => Some(first),
            _ => None,
        };
        of_client.retain_mut(|(d, _)| {
            if !is_swallowed(d) {
                return true;
            }
            let Some(first) = first else { return false };
            let number = self.passage.mark(near, first).packet.number();
            let why = format!("#{number} of {} is not in {}", named.side(near), named.side(far));
            d.reason = format!("{}; {why}", d.reason);
            d.excluded.push(Excluded { suspect: Suspect::DroppedByHost, reason: why });
            true
        });
    }

    /// Whether a finding of loss is refuted: the two captures stand at the two ends, and all of the handshake passed.
    fn nothing_lost(&self, losses: &PathLosses) -> bool {
        let (near, far) = (self.near, 1 - self.near);
        let at_the_ends = self.vantages[near] == Vantage::Client && self.vantages[far] == Vantage::Server;
        losses.is_empty() && at_the_ends && self.handshake_passed()
    }

    /// Whether the client's side lacks a SYN-ACK that the client demonstrably got: it answered it.
    fn client_side_missed_an_answer(&self) -> bool {
        let (near, far) = (self.near, 1 - self.near);
        let s = &self.passage.tracks[far].segments;
        let first = s.iter().position(TracedSegment::is_syn_ack);
        first.is_some_and(|i| !self.passage.passed(far, i) && s[i + 1..].iter().any(loss::is_of_open_client))
            && !self.passage.tracks[near].segments.iter().any(TracedSegment::is_syn_ack)
    }

    fn handshake_passed(&self) -> bool {
        let side = |side: usize, by_client: bool| {
            let segments = &self.passage.tracks[side].segments;
            let mut of = segments
                .iter()
                .enumerate()
                .filter(move |(_, s)| s.by_client == by_client && s.flags.has(Flags::SYN));
            of.all(|(i, _)| self.passage.passed(side, i))
        };
        let c = &self.passage.tracks[self.near].segments;
        let acked = final_ack(c).is_none_or(|i| self.passage.passed(self.near, i));
        side(self.near, true) && side(1 - self.near, false) && acked
    }

    /// Whether a finding of the client's side about the handshake stands beside the findings of the server's side.
    fn stands_beside(&self, d: &mut Draft, losses: &PathLosses, named: &CaptureNames<'_>) -> bool {
        let far = 1 - self.near;
        match d.kind {
            Kind::HandshakeLoss => !self.nothing_lost(losses),
            Kind::AcceptQueueOverflow => !self.server_went_on(),
            kind if registry::spec(kind).ignored == IgnoredPackets::Syns => {
                // A SYN-ACK left the server: it was lost or not captured, so the SYNs were not ignored.
                if self.passage.tracks[far].segments.iter().any(TracedSegment::is_syn_ack) {
                    if !self.passage.tracks[self.near].segments.iter().any(TracedSegment::is_syn_ack) {
                        self.answered_unseen(d, named);
                    }
                    return true;
                }
                let Some(arrived) = self.arrived(TracedSegment::is_syn) else { return true };
                d.excluded.push(Excluded {
                    suspect: Suspect::Lost(LostPackets::Syns),
                    reason: format!("they are in {}: {arrived}", named.side(far)),
                });
                passed_the_path(d, self.vantages[far]);
                let reason =
                    format!("the SYNs reached {} ({arrived}) and drew no answer there", named.side(far));
                if self.vantages[far] == Vantage::Server {
                    d.probable(reason);
                } else {
                    d.reason = format!("{}; {reason}", d.reason);
                }
                true
            }
            _ => true,
        }
    }

    /// The server answered SYNs, and the client's side has no such answer. Nothing shows that this side was listening,
    /// so it is unknown where the answers went.
    fn answered_unseen(&self, d: &mut Draft, named: &CaptureNames<'_>) {
        let (near, far) = (self.near, 1 - self.near);
        d.kind = Kind::HandshakeLoss;
        let queue = own_cause(d);
        let answers = self.passage.tracks[far].segments.iter().filter(|s| s.is_syn_ack());
        let numbers: Vec<String> = answers.map(|s| format!("#{}", s.at.packet.number())).collect();
        let reason = format!(
            "the server answered: SYN-ACK {} of {} is not in {}",
            numbers.join(", "),
            named.side(far),
            named.side(near)
        );
        d.excluded.push(Excluded { suspect: queue, reason: reason.clone() });
        d.cause = cause(
            "The network lost SYN-ACKs on the way from the server to the client.",
            &[],
            &["TcpExtTCPSynRetrans", "TcpExtTCPTimeouts"],
            &[],
        );
        d.summary = format!(
            "The server answered SYNs of {}, and no SYN-ACK is in {}.",
            d.client.unwrap_or_default().socket(),
            named.side(near)
        );
        d.alternatives.clear();
        d.or(
            "They arrived, and the capture near the client missed them.",
            "Then the client would not have sent its SYN again.",
        );
        d.measure("lost", "SYN-ACK").measure("direction", "to client");
        d.possible(reason);
    }

    /// The packet numbers, on the far side, of the client's segments that match `such`, if all of them arrived there.
    fn arrived(&self, such: impl Fn(&TracedSegment) -> bool) -> Option<String> {
        let near = self.near;
        let mut numbers = Vec::new();
        for (i, _) in
            self.passage.tracks[near].segments.iter().enumerate().filter(|(_, s)| s.by_client && such(s))
        {
            numbers.push(format!("#{}", self.passage.other(near, i)?.at.packet.number()));
        }
        (!numbers.is_empty()).then(|| numbers.join(", "))
    }

    /// Whether the server's side shows that the server had the connection before it sent its SYN-ACK again: then only
    /// its answers were lost.
    fn server_went_on(&self) -> bool {
        let s = &self.passage.tracks[1 - self.near].segments;
        let Some(went_on) = s
            .iter()
            .position(|x| !x.by_client && !x.flags.any(Flags::SYN | Flags::RST) && x.flags.has(Flags::ACK))
        else {
            return false;
        };
        s[..went_on].iter().filter(|x| x.is_syn_ack()).count() == 1
    }

    /// A RST that the client's side has and the server never sent (or the other way round) came from a device between.
    fn origin_of_reset(&self, d: &mut Draft, named: &CaptureNames<'_>) {
        if !registry::spec(d.kind).has(Property::ExplainsReset) {
            return;
        }
        for (side, by_client, who) in [(self.near, false, Role::Server), (1 - self.near, true, Role::Client)]
        {
            let track = self.passage.tracks[side];
            let evidence = d.evidence();
            let reset = track.segments.iter().enumerate().find(|(_, s)| {
                s.flags.has(Flags::RST)
                    && s.by_client == by_client
                    && evidence.iter().any(|(at, _)| at.packet == s.at.packet)
            });
            let Some((i, seen)) = reset else { continue };
            // An end that has sent a RST sends nothing more.
            let due = self.passage.due(side, i);
            let went_on = self.passage.tracks[1 - side]
                .segments
                .iter()
                .any(|s| s.by_client == by_client && !s.flags.has(Flags::RST) && s.at.time > due);
            // A packet that is missing from an incomplete capture proves nothing.
            match self.passage.absence(side, i) {
                Some(Absence::Certain) if self.passage.is_complete(1 - side) => {}
                Some(Absence::Certain | Absence::Likely) if went_on || self.without_resets[1 - side] => {}
                _ => continue,
            }
            let (here, there) = (named.side(side), named.side(1 - side));
            let reason = format!(
                "the RST #{} of {here} is not in {there}: the {who} never sent it",
                seen.at.packet.number()
            );
            let between = named.between_which_sent(side, i);
            forged(
                d,
                who,
                (&reason, &between),
                if went_on { AfterReset::WentOn } else { AfterReset::Silent },
            );
        }
    }

    /// Whether a half-close is refuted: the side said to be silent closed in turn, and its FIN was lost on the way.
    fn was_closed(&self, d: &Draft) -> bool {
        if d.kind != Kind::HalfClose {
            return false;
        }
        let Details::HalfClose(HalfClosedDetails { closer, .. }) = d.details else { return false };
        let by_client = closer == Role::Server;
        let own = if by_client { self.near } else { 1 - self.near };
        let other = &self.passage.tracks[1 - own].segments;
        let has = |segments: &[TracedSegment]| {
            segments.iter().any(|s| s.by_client == by_client && s.flags.has(Flags::FIN))
        };
        has(&self.passage.tracks[own].segments) && !has(other)
    }

    /// Names the alternatives that the client's side could not exclude and the server's side does.
    fn close(&self, d: &mut Draft, vantage: Vantage, named: &CaptureNames<'_>) {
        let far = 1 - self.near;
        match d.kind {
            Kind::AcceptQueueOverflow => {
                let c = &self.passage.tracks[self.near].segments;
                let Some(ack) = final_ack(c).and_then(|i| self.passage.other(self.near, i)) else { return };
                let arrived = format!("the final ACK is #{} of {}", ack.at.packet.number(), named.side(far));
                exclude(d, Suspect::Lost(LostPackets::FinalAck), arrived, vantage);
            }
            kind if registry::spec(kind).ignored == IgnoredPackets::Syns => {
                let Some(arrived) = self.arrived(TracedSegment::is_syn) else { return };
                let arrived = format!("in {}: {arrived}", named.side(far));
                exclude(d, Suspect::Lost(LostPackets::Syns), arrived, vantage);
            }
            kind if registry::spec(kind).has(Property::ExplainsReset) => {
                let s = self.passage.tracks[far];
                let sent = s.segments.iter().find(|x| x.flags.has(Flags::RST) && !x.by_client);
                let shown = |x: &&TracedSegment| d.evidence().iter().any(|(at, _)| at.packet == x.at.packet);
                if let Some(sent) = sent.filter(shown) {
                    let left = format!("it is #{} of {}", sent.at.packet.number(), named.side(far));
                    exclude(d, Suspect::ResetByDevice, left, Vantage::Unknown);
                }
            }
            _ => {}
        }
    }

    /// Names each packet's number in the other capture.
    fn note_elsewhere(&self, d: &mut Draft) {
        for (at, _) in d.evidence() {
            for side in [0, 1] {
                let Some(i) = self.passage.tracks[side].place(at.packet) else { continue };
                if let Some(there) = self.passage.other(side, i) {
                    d.packets.note_elsewhere(at.packet, InOtherCapture::Seen(there.with_own_clock()));
                } else if matches!(
                    self.passage.absence(side, i),
                    Some(Absence::Certain | Absence::Likely | Absence::Unheard)
                ) {
                    d.packets
                        .note_elsewhere(at.packet, InOtherCapture::Missing(self.passage.capture(1 - side)));
                }
            }
        }
    }

    fn note_names(&self, d: &mut Draft) {
        let own = d.client.zip(d.server);
        for side in [0, 1] {
            let track = self.passage.tracks[side];
            if own.is_some_and(|own| own != (track.client, track.server)) {
                d.other_names = Some((self.passage.capture(side), track.client, track.server));
            }
        }
    }
}

/// What a finding says of the server itself, without the path to it.
pub(super) fn own_cause(d: &Draft) -> Suspect {
    match d.kind {
        Kind::SynUnanswered => Suspect::DroppedByServer,
        _ => Suspect::Cause(d.cause.text.clone()),
    }
}

/// The packets arrived at the farther capture: findings that blame the path before it no longer stand.
fn passed_the_path(d: &mut Draft, vantage: Vantage) {
    if d.kind == Kind::SynUnanswered {
        d.cause.text = match vantage {
            Vantage::Server => "The SYN reached the server and was dropped there, by a firewall rule or a full queue of the listener.",
            Vantage::Client | Vantage::Between | Vantage::Unknown => {
                "The SYN was dropped behind the capture nearer to the server: by a firewall, the host or its listener."
            }
        }
        .into();
        d.alternatives.retain(|a| !a.suspect.is_loss());
    }
    if vantage == Vantage::Server {
        d.packets_arrived();
    }
}

/// Whether it says that a SYN with Fast Open was swallowed.
fn is_swallowed(d: &Draft) -> bool {
    d.kind == Kind::FastopenFallback && d.details == Details::FastOpen(FastOpenOutcome::Swallowed)
}

/// Removes the alternative `suspect` if the capture that refutes it stands at the server. Otherwise it may still have
/// happened behind that capture.
fn exclude(d: &mut Draft, suspect: Suspect, reason: String, vantage: Vantage) {
    passed_the_path(d, vantage);
    if d.certainty() != Certainty::Confirmed {
        d.reason = format!("{}; {reason}", d.reason);
    }
    d.excluded.push(Excluded { suspect, reason });
}

/// What an end did after a RST that came in its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AfterReset {
    /// It sent other packets: it had not sent the RST.
    WentOn,
    /// It fell silent.
    Silent,
}

/// The RST came from a device `between` the two captures, in the name of `who`, which went on regardless or fell silent.
fn forged(d: &mut Draft, who: Role, (reason, between): (&str, &str), afterwards: AfterReset) {
    let refused = d.kind == Kind::ConnectionRefused;
    if !refused {
        d.kind = Kind::AbortiveClose;
        d.replace_details(Details::None);
        d.severity = Severity::Warning;
    }
    d.excluded.push(Excluded { suspect: Suspect::Cause(d.cause.text.clone()), reason: reason.to_owned() });
    d.cause = cause("", &[], &[], &[]);
    d.cause.text = match who {
        Role::Server => {
            format!(
                "A device {between}, such as a firewall or load balancer, sent the RST in the server's name."
            )
        }
        Role::Client => {
            format!("A device {between}, such as a firewall or NAT, sent the RST in the client's name.")
        }
    }
    .into();
    d.alternatives.clear();
    d.measure("by", "middlebox").measure("in_the_name_of", who.to_string()).measure("by_firewall", true);
    if afterwards == AfterReset::WentOn {
        d.confirmed(format!("{reason}, and sent other packets afterwards"));
    } else {
        d.probable(reason);
        d.or(
            format!("The {who} sent it, and the capture near it missed it."),
            "Nothing else shows that this capture lost packets.",
        );
    }
    d.next_steps =
        vec!["Find the firewalls, load balancers and NATs between the two capture points. Their logs name the rule.".to_owned()];
}
