//! A handshake some of whose packets were lost between the two captures.

use crate::decode::segment::Flags;
use crate::detect::draft::{Draft, cause, count};
use crate::detect::evidence::{InOtherCapture, again};
use crate::detect::next;
use crate::detect::registry;
use crate::flow::facts::{ConnectionFacts, Role};
use crate::model::{Kind, PacketMark, Severity};
use crate::pair::packet_match::{Absence, MatchedConnection, TIGHT};
use crate::pair::trace::TracedSegment;
use crate::time::{Span, Timestamp};

/// What the two sides are called.
pub struct CaptureNames<'a> {
    /// By side.
    pub sides: [&'a str; 2],
    /// Whether the user gave these names, or they are those of files.
    pub given: SideNaming,
    /// Between which two points a packet of a side was lost, by its place; none where there are only two.
    pub lost: Hop<'a>,
    /// Between which two points it was sent in the name of another host.
    pub sent: Hop<'a>,
}

/// Two neighbouring points, of which the first is nearer to the sender, for the packet of a side.
pub type Hop<'a> = &'a dyn Fn(usize, usize) -> Option<[String; 2]>;

/// Who named the sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SideNaming {
    /// Nobody: they have the names of their files.
    Paths,
    /// The user.
    Names,
}

impl CaptureNames<'_> {
    /// The captures of a side.
    pub fn side(&self, side: usize) -> &str {
        self.sides[side]
    }

    /// Where it happens: `between lb and web1`.
    pub fn between(&self) -> String {
        match self.given {
            SideNaming::Paths => "between the two captures".to_owned(),
            SideNaming::Names => format!("between {} and {}", self.sides[0], self.sides[1]),
        }
    }

    /// The same for a packet that was sent on that hop.
    pub fn between_which_sent(&self, side: usize, place: usize) -> String {
        match (self.sent)(side, place) {
            Some([from, to]) => format!("between {from} and {to}"),
            None => self.between(),
        }
    }

    /// The same for packets that were lost, each with its side and its place there: on one hop, if all of them were lost there.
    pub fn between_for(&self, lost: &[(usize, usize)]) -> String {
        let hops: Vec<_> = lost.iter().map(|&(side, place)| (self.lost)(side, place)).collect();
        match &hops[..] {
            [Some([from, to]), rest @ ..] if rest.iter().all(|hop| *hop == hops[0]) => {
                format!("between {from} and {to}")
            }
            _ => self.between(),
        }
    }

    /// Why a packet that a capture lacks may still have passed it, as a clause.
    pub fn doubt(&self, p: &MatchedConnection<'_>, near: usize, losses: &PathLosses) -> String {
        // The capture that lacks packets: the client's only where nothing but SYN-ACKs is missing.
        let lacks = if losses.syns.is_empty() && losses.final_ack.is_none() { near } else { 1 - near };
        let name = self.side(lacks);
        match losses.weakest {
            Some(Absence::Unheard) => format!("{name} has no packet at all from that side"),
            _ if p.is_lossy(lacks) => format!("{name} may have missed it: it has missed other packets"),
            _ => format!("{name} has no packet of this server within {TIGHT} of it"),
        }
    }
}

/// Lost segments, by their places among those of the side that has them.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct PathLosses {
    /// SYNs that the client's side has and the server's has not.
    pub syns: Vec<usize>,
    /// SYN-ACKs that the server's side has and the client's has not.
    pub syn_acks: Vec<usize>,
    /// The final ACK, on the client's side.
    pub final_ack: Option<usize>,
    /// How well the least certain of them is known to be missing in the other capture.
    pub weakest: Option<Absence>,
    /// The client completed the handshake, and nothing that it sent from then on has come to the server's side.
    pub cut_off: bool,
}

impl PathLosses {
    /// Whether nothing was lost.
    pub fn is_empty(&self) -> bool {
        self.syns.is_empty() && self.syn_acks.is_empty() && self.final_ack.is_none()
    }

    /// Their names.
    fn names(&self) -> Vec<&'static str> {
        let all = [
            (!self.syns.is_empty(), "SYN"),
            (!self.syn_acks.is_empty(), "SYN-ACK"),
            (self.final_ack.is_some(), "final ACK"),
        ];
        all.into_iter().filter_map(|(lost, name)| lost.then_some(name)).collect()
    }

    /// The lost packets, each with the side that has it; `near` is the client's side.
    fn places(&self, near: usize) -> Vec<(usize, usize)> {
        let of_client = self.syns.iter().chain(&self.final_ack).map(|&place| (near, place));
        of_client.chain(self.syn_acks.iter().map(|&place| (1 - near, place))).collect()
    }

    /// How many packets they are.
    fn count(&self) -> u64 {
        (self.syns.len() + self.syn_acks.len() + usize::from(self.final_ack.is_some())) as u64
    }

    /// The cause, in words.
    fn cause(&self) -> &'static str {
        match (self.syns.is_empty(), self.syn_acks.is_empty(), self.final_ack.is_none()) {
            (false, true, true) => "The network lost a SYN on the way from the client to the server.",
            (true, false, true) => "The network lost a SYN-ACK on the way from the server to the client.",
            (true, true, false) => "The network lost the final ACK on the way from the client to the server.",
            _ => "The network lost several segments of the handshake.",
        }
    }

    /// Which way the lost packets went.
    fn direction(&self) -> &'static str {
        match (self.syn_acks.is_empty(), self.syns.is_empty() && self.final_ack.is_none()) {
            (true, _) => "to server",
            (false, true) => "to client",
            (false, false) => "both",
        }
    }

    fn weaken(&mut self, absence: Absence) {
        self.weakest = self.weakest.max(Some(absence));
    }

    /// Whether some of these packets may be missing only because the other capture was not complete.
    fn is_doubtful(&self) -> bool {
        self.weakest != Some(Absence::Certain)
    }

    /// Reads the handshake; `near` is the client's side. A packet was not lost if its receiver shows that it got it,
    /// whatever a capture lacks.
    pub fn of(p: &MatchedConnection<'_>, near: usize) -> PathLosses {
        let mut losses = PathLosses::default();
        losses.find_syns(p, near);
        losses.find_syn_acks(p, near);
        losses.find_final_ack(p, near);
        losses
    }

    fn find_syns(&mut self, p: &MatchedConnection<'_>, near: usize) {
        let (c, s) = (&p.tracks[near].segments, &p.tracks[1 - near].segments);
        let receiver = p.listener_behavior(1 - near).syn_behavior();
        for (i, syn) in c.iter().enumerate().filter(|(_, x)| x.is_syn() && x.by_client) {
            if !c[i + 1..].iter().any(TracedSegment::is_syn) {
                continue;
            }
            let Some(absence) = p.shows_loss(near, i, receiver) else { continue };
            let due = p.due(near, i);
            let next = s.iter().find(|x| x.is_syn() && x.at.time > due).map_or(Timestamp::MAX, |x| x.at.time);
            let answers = |x: &TracedSegment| match (x.stamps, syn.stamps) {
                (Some((_, echo)), Some((tsval, _))) => echo == tsval,
                _ => x.at.time >= due && x.at.time < next,
            };
            // An answer in either capture shows that the packet arrived.
            let again = c[i + 1..].iter().find(|x| x.is_syn()).map_or(Timestamp::MAX, |x| x.at.time);
            let answered = s.iter().any(|x| x.is_syn_ack() && answers(x))
                || c[i + 1..].iter().any(|x| x.is_syn_ack() && x.at.time < again);
            if !answered {
                self.syns.push(i);
                self.weaken(absence);
            }
        }
    }

    fn find_syn_acks(&mut self, p: &MatchedConnection<'_>, near: usize) {
        let far = 1 - near;
        let (c, s) = (&p.tracks[near].segments, &p.tracks[far].segments);
        let final_ack = final_ack(c);
        for (i, syn_ack) in s.iter().enumerate().filter(|(_, x)| x.is_syn_ack()) {
            let Some(absence) = p.absence(far, i) else { continue };
            let due = p.due(far, i);
            // A client that got a SYN-ACK does not ask for one again.
            let asked_again = c.iter().any(|x| x.is_syn() && x.at.time > due);
            let repeated = s[i + 1..].iter().find(|x| x.is_syn_ack());
            // The client has answered a SYN-ACK, so it had one; its final ACK echoes the first SYN-ACK's timestamp.
            let received = final_ack.is_some_and(|f| match (c[f].stamps, syn_ack.stamps) {
                (Some((_, echo)), Some((tsval, _))) => echo == tsval,
                _ => c[f].at.time >= due && !c[..f].iter().any(TracedSegment::is_syn_ack),
            });
            let until = repeated.map_or(Timestamp::MAX, |x| x.at.time);
            let answered = s[i + 1..].iter().take_while(|x| x.at.time < until).any(is_of_open_client);
            if received || answered {
                continue;
            }
            match absence {
                Absence::Certain | Absence::Likely if asked_again => self.weaken(Absence::Certain),
                _ if asked_again => self.weaken(absence),
                Absence::Certain | Absence::Likely if repeated.is_some() => self.weaken(absence),
                _ => continue,
            }
            self.syn_acks.push(i);
        }
    }

    fn find_final_ack(&mut self, p: &MatchedConnection<'_>, near: usize) {
        let (c, s) = (&p.tracks[near].segments, &p.tracks[1 - near].segments);
        let Some(f) = final_ack(c) else { return };
        let Some(absence) = p.shows_loss(near, f, p.listener_behavior(1 - near).final_ack_behavior()) else {
            return;
        };
        let due = p.due(near, f);
        let arrived = s.iter().find(|x| x.by_client && !x.is_syn() && !x.flags.has(Flags::RST));
        let before = arrived.map_or(Timestamp::MAX, |x| x.at.time);
        // The server asks again, before anything of the client has come.
        if s.iter().any(|x| x.is_syn_ack() && x.at.time > due && x.at.time <= before) {
            self.final_ack = Some(f);
            self.weaken(absence);
            self.cut_off = arrived.is_none() && c[f + 1..].iter().any(is_of_open_client);
        }
    }
}

/// Whether this is a segment that a client sends only when it considers the connection complete.
pub fn is_of_open_client(x: &TracedSegment) -> bool {
    x.by_client && x.flags.has(Flags::ACK) && !x.flags.any(Flags::SYN | Flags::RST)
}

/// The place of the client's first answer to a SYN-ACK.
pub fn final_ack(c: &[TracedSegment]) -> Option<usize> {
    let from = c.iter().position(TracedSegment::is_syn_ack)?;
    let next = c[from].seq.advance(1);
    let answers =
        |x: &TracedSegment| x.by_client && x.flags.has(Flags::ACK) && !x.flags.any(Flags::SYN | Flags::RST);
    c.iter().enumerate().skip(from).find(|(_, x)| answers(x) && x.ack.at_or_after(next)).map(|(i, _)| i)
}

/// The finding: the lost segments, the place, and the evidence. `f` is the connection as either side knows it.
pub fn draft(
    f: &ConnectionFacts,
    losses: &PathLosses,
    p: &MatchedConnection<'_>,
    near: usize,
    named: &CaptureNames<'_>,
) -> Draft {
    let c = &p.tracks[near].segments;
    let completed = final_ack(c);
    let took = completed.map(|i| c[i].at.time - c[0].at.time);
    let mut d = show(f, p, near, completed);
    let works = took.is_some() && !losses.cut_off;
    d.severity = if works { Severity::Info } else { Severity::Critical };
    let between = named.between_for(&losses.places(near));
    d.summary = summary(f, losses, took, ([named.side(near), named.side(1 - near)], &between));
    d.cause = cause(losses.cause(), &[], &["TcpExtTCPSynRetrans", "TcpExtTCPTimeouts"], &[]);
    d.measure("lost", losses.names().join(" and "))
        .measure("lost_packets", losses.count())
        .measure("direction", losses.direction());
    if let Some(took) = took {
        d.measure_span("handshake_s", took);
    }
    judge(&mut d, losses, took, p, near, named);
    d.next_steps = vec![
        next::LINK_DROPS.to_owned(),
        "Capture at a place between the two: on which side of it are the packets lost?".to_owned(),
    ];
    let [here, there] = [&p.tracks[near], &p.tracks[1 - near]];
    if (here.client, here.server) != (there.client, there.server) && !losses.syns.is_empty() {
        d.or(
            "The host that translates the addresses dropped the SYN: connection tracking had no free entry or port for it.",
            "Two connections that want the same translated port at once are one reason; the captures do not show it.",
        );
        d.next_steps.insert(
            0,
            "conntrack -S   # on the host that translates: insert_failed and drop count such SYNs".to_owned(),
        );
    } else if losses.cut_off {
        d.next_steps.insert(
            0,
            "conntrack -S   # on firewalls between the two: invalid counts packets of connections they saw in part"
                .to_owned(),
        );
    }
    d
}

/// The finding with the packets of the handshake, each with what the other capture holds of it.
fn show(f: &ConnectionFacts, p: &MatchedConnection<'_>, near: usize, completed: Option<usize>) -> Draft {
    let far = 1 - near;
    let (c, s) = (&p.tracks[near].segments, &p.tracks[far].segments);
    let mut shown: Vec<(usize, usize, &str, Option<PacketMark>)> = Vec::new();
    for (n, (i, _)) in c.iter().enumerate().filter(|(_, x)| x.is_syn()).enumerate() {
        shown.push((near, i, if n == 0 { "SYN" } else { "SYN again" }, again(n)));
    }
    for (n, (i, _)) in s.iter().enumerate().filter(|(_, x)| x.is_syn_ack()).enumerate() {
        shown.push((far, i, if n == 0 { "SYN-ACK" } else { "SYN-ACK again" }, again(n)));
    }
    shown.extend(completed.map(|i| (near, i, "final ACK", None)));
    let (side, first, text, _) = shown[0];
    let opening = (p.mark(side, first), text.to_owned());
    let mut d = Draft::about(f, registry::spec(Kind::HandshakeLoss), opening);
    for (side, i, text, apart) in shown {
        let (at, by_client) = (p.mark(side, i), p.tracks[side].segments[i].by_client);
        d.packets.note_sender(at, if by_client { Role::Client } else { Role::Server }, apart);
        d.shows(at, text.to_owned());
        match (p.other(side, i), p.absence(side, i)) {
            (Some(there), _) => {
                d.packets.note_elsewhere(at.packet, InOtherCapture::Seen(there.with_own_clock()))
            }
            (None, Some(_)) => {
                d.packets.note_elsewhere(at.packet, InOtherCapture::Missing(p.capture(1 - side)))
            }
            (None, None) => {}
        }
    }
    d
}

/// One sentence; `sides` are the names of the client's and the server's side, `between` says where it was lost.
fn summary(
    f: &ConnectionFacts,
    losses: &PathLosses,
    took: Option<Span>,
    (sides, between): ([&str; 2], &str),
) -> String {
    let (who, what) = (f.client.socket(), losses.names().join(" and "));
    match took {
        Some(_) if losses.cut_off => format!(
            "The final ACK of {who} and all that followed was lost {between}: it is in {} and not in {}.",
            sides[0], sides[1]
        ),
        Some(took) => {
            format!("A {what} of {who} was lost {between}; the handshake took {took}.")
        }
        None => {
            format!("A {what} of {who} was lost {between}, and the handshake never completed.")
        }
    }
}

/// Which packets are in one capture and not in the other, by their numbers.
fn reason(losses: &PathLosses, p: &MatchedConnection<'_>, near: usize, named: &CaptureNames<'_>) -> String {
    let far = 1 - near;
    let numbers = |places: &[usize], side: usize| {
        let all = places.iter().map(|&i| format!("#{}", p.mark(side, i).packet.number()));
        all.collect::<Vec<_>>().join(", ")
    };
    let final_ack: Vec<usize> = losses.final_ack.into_iter().collect();
    let lost = [
        ("SYN", &losses.syns, near, far),
        ("SYN-ACK", &losses.syn_acks, far, near),
        ("final ACK", &final_ack, near, far),
    ];
    let parts =
        lost.into_iter().filter(|(_, places, ..)| !places.is_empty()).map(|(what, places, has, lacks)| {
            let hops: Vec<_> = places.iter().map(|&place| (named.lost)(has, place)).collect();
            // The next point on the way, where there is one between the two.
            let lacking = match &hops[..] {
                [Some([_, next]), rest @ ..] if rest.iter().all(|hop| *hop == hops[0]) => next,
                _ => named.side(lacks),
            };
            format!("{what} {} of {} is not in {lacking}", numbers(places, has), named.side(has))
        });
    parts.collect::<Vec<_>>().join("; ")
}

/// Certainty, and what else it could be.
fn judge(
    d: &mut Draft,
    losses: &PathLosses,
    took: Option<Span>,
    p: &MatchedConnection<'_>,
    near: usize,
    named: &CaptureNames<'_>,
) {
    let reason = reason(losses, p, near, named);
    let all_syns = p.tracks[near].segments.iter().filter(|x| x.is_syn()).count();
    if losses.is_doubtful() {
        d.probable(format!("{reason}; {}", named.doubt(p, near, losses)));
        d.or(
            "The packet arrived, and that capture missed it.",
            "Then its receiver would have answered it. Instead the packet was repeated.",
        );
    } else if took.is_none() && all_syns == 1 && losses.syns.is_empty() {
        // A client with a spoofed address would be as silent.
        d.probable(format!("{reason}; the client sent nothing more that would show the loss"));
    } else {
        d.confirmed(reason);
    }
    if losses.syns.len() == all_syns && took.is_none() && all_syns > 2 {
        d.or(
            format!("A firewall or a router {} drops them all.", named.between_for(&losses.places(near))),
            format!("{}, and not one arrived.", count(all_syns as u64, "SYN")),
        );
    }
    if losses.cut_off {
        d.or(
            "A firewall on the way dropped them: it has not seen the SYN-ACK, which takes another route.",
            "The captures show where the packets vanish, not why.",
        );
    }
}
