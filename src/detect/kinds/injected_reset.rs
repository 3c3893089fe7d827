//! `injected-reset`: a RST that the end in whose name it comes did not send.

use crate::detect::analysis::end_of_flow::{FlowFailure, flow_failure, is_reset_at_answer};
use crate::detect::context::DetectContext;
use crate::detect::draft::{Draft, cause, times};
use crate::detect::spec::{Examine, Property, finding};
use crate::flow::facts::{ConnectionFacts, Reset, Role};
use crate::history::wants::Wants;
use crate::model::{Kind, Severity};

finding! {
    /// A box on the path resets the connection in the name of one end, or of both.
    ///
    /// ## On the wire
    /// A RST whose TTL, IP ID or options are unlike all other segments of the end in whose name it comes. It often
    /// comes sooner than a round trip allows, and after a certain payload. The end itself may go on: its answer arrives
    /// after the RST. In a capture at the other end that RST may be missing. There, the first answer to a request draws
    /// a RST without a socket, although the host had the connection a moment before and did not close it.
    /// ## In the kernel
    /// Linux sends every segment of a connection with the same TTL, even a RST for which it has no socket
    /// (`tcp_v4_send_reset`). A RST with another TTL comes from another sender.
    /// ## Looks alike
    /// * A host that has no socket for the connection (`stale-connection`): the same TTL as before.
    /// * `SO_LINGER` 0, or close with unread data (`abortive-close`): timestamps, window, IP ID in sequence.
    /// * A NAT gateway that has forgotten an idle connection: `idle-flow-dropped`.
    /// * Several hosts behind one address: SYN-ACKs have several TTLs too.
    /// ## Check next
    /// Which firewall, proxy or filter stands that many hops away (TTL)? Capture at the other end: did it send this
    /// RST?
    /// ## References
    /// RFC 3360; RFC 5961 section 3
    pub struct InjectedReset {
        kind: Kind::InjectedReset,
        plain_words: "A box between the hosts cut the connection off in the name of one of them.",
        at_fault: "a box on the path",
        wants: Wants::full(|f, _| f.c.resets + f.s.resets > 0),
        examine: Examine::Connection(examine),
        look_alikes: &["abortive-close/mid-stream", "stale-connection/server-restarted"],
        counters: &["TcpEstabResets"],
        settings: &[],
        properties: &[Property::EndsConnection],
    }
}

/// See [`InjectedReset`].
fn examine(f: &ConnectionFacts, around: &DetectContext<'_>) -> Option<Draft> {
    let (role, reset) = match flow_failure(f, around)? {
        FlowFailure::Injected { role, reset } => (role, reset),
        FlowFailure::ResetUnderOtherName { role, reset } if is_reset_at_answer(f, role, reset) => {
            return Some(write_at_peer(f, role, reset));
        }
        _ => return None,
    };
    let usual = reset.before.ttl;
    let other_ttl = reset.has_other_ttl();
    let mut d = Draft::about(
        f,
        &SPEC,
        (reset.at, format!("RST in the name of the {role}: TTL {}, IP ID {}", reset.ttl, reset.ip_id)),
    );
    d.shows(f.side(role).last.min(f.last), format!("the {role}'s own segments have TTL {}", usual.0));
    if let Some(trigger) = reset.trigger {
        d.shows(trigger.at, format!("the last segment of the {} before it", role.peer()));
    }
    d.severity = Severity::Critical;
    let host = f.host(role).socket();
    d.summary = format!("A RST came in the name of the {role} {host} that it did not send.");
    if other_ttl {
        d.summary.push_str(&format!(" Its TTL is {}, that of the {role}'s segments {}.", reset.ttl, usual.0));
    }
    d.cause = cause(
        "A firewall, proxy or other box on the path resets the connection.",
        &[],
        &["TcpEstabResets"],
        &[],
    );
    if let Some(round_trip) = f.syn_to_syn_ack().filter(|_| f.syn.count == 1)
        && let Some(trigger) = reset.trigger
    {
        d.measure_span("round_trip_s", round_trip)
            .measure_span("reset_after_s", reset.at.time - trigger.at.time);
    }
    d.measure("in_name_of", role.to_string()).measure("ttl", reset.ttl).measure("usual_ttl", usual.0);
    match (reset.went_on, other_ttl) {
        (Some((at, n)), true) => {
            d.shows(at, format!("the {role} goes on: {} after the RST", times(n.into())));
            d.confirmed(format!("the RST has another TTL, and the {role} went on after it"));
        }
        (Some((at, _)), false) => {
            d.shows(at, format!("the {role} goes on after the RST"));
            d.probable(format!("the {role} went on after the RST: it had not sent it"));
        }
        (None, _) => {
            d.probable(format!("the {role} had never used its TTL before"));
            d.or(
                format!(
                    "Several hosts stand behind the address of the {role}, and another one of them answered."
                ),
                "Then the whole connection would have had another TTL before.",
            );
        }
    }
    d.next_steps = vec![
        format!(
            "traceroute -n {}   # which box is as many hops away as the TTL {} says?",
            host.ip(),
            reset.ttl
        ),
        format!(
            "tcpdump -ni any 'tcp[tcpflags] & tcp-rst != 0'   # on {}: does this RST leave there?",
            host.ip()
        ),
    ];
    Some(d)
}

/// Captured at the other end: the host of `role` no longer had a socket, and had neither closed nor reset the
/// connection.
fn write_at_peer(f: &ConnectionFacts, role: Role, reset: &Reset) -> Draft {
    let (host, peer) = (f.host(role).socket(), f.host(role.peer()).socket());
    let mut d =
        Draft::about(f, &SPEC, (reset.at, format!("bare RST of the {role}: it has no socket any more")));
    if let Some(trigger) = reset.trigger {
        d.shows(trigger.at, format!("the segment of the {} that it answers", role.peer()));
    }
    d.severity = Severity::Critical;
    d.summary = format!(
        "The {role} {host} had no socket any more for the connection with {peer}, on which it had acknowledged data just before."
    );
    d.cause = cause(
        "A box on the path reset the connection at the other end, in the name of this one: that RST is not in this capture.",
        &["tcp_v4_send_reset"],
        &["TcpEstabResets"],
        &[],
    );
    d.measure("in_name_of", role.peer().to_string());
    d.possible(format!("the RST has TTL, IP ID and shape of one that the host of the {role} sends without a socket; had that host closed the connection, it would have sent a FIN or RST first"));
    d.or(
        "A NAT in between did not translate a segment, so it reached its receiver under an address that it does not know \
         (untranslated-segment).",
        "The connection would still be there, and go on until the RST reaches its peer.",
    )
    .or("The address moved to another host, or the host restarted, at that moment.", "It had answered within the last second.");
    d.next_steps = vec![
        format!(
            "tcpdump -ni any 'tcp[tcpflags] & tcp-rst != 0 and host {}'   # on {}: which RST comes there first, with which TTL?",
            peer.ip(),
            host.ip()
        ),
        "conntrack -S   # on the host that translates, if there is one: does invalid grow?".to_owned(),
    ];
    d
}
