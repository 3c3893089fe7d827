//! A connection that went no further than one point, although its listener lies behind others: which point its packets
//! reached last.

use crate::detect::spec::IgnoredPackets;
use crate::detect::{Draft, FoundDraft, registry};
use crate::flow::key::Host;
use crate::model::{Excluded, Kind};
use crate::pair::join::Join;
use crate::pair::merge_findings::own_cause;
use crate::pair::packet_match::{CaptureCoverage, SEPARATE, TIGHT};
use crate::time::Span;

impl Join<'_> {
    /// A finding about a connection that no point behind `point` has seen, under the names that it has there. If the
    /// next points demonstrably captured connections to this listener at that time, its packets did not come so far.
    pub(super) fn went_no_further(
        &self,
        (mut d, vantage): FoundDraft,
        point: usize,
        (client, server): (Host, Host),
        watches: &[CaptureCoverage],
    ) -> FoundDraft {
        let next = self.points.next(point, server);
        let listened = |other: usize| {
            let Some(([near, far], link)) = self.points.link(point, other) else { return false };
            let there = self.points.name_at(point, other, server);
            // The clocks are compared by the connections that both points have.
            (near, far) == (point, other)
                && link.is_common(client.address, server)
                && self.was_listening(&d, (point, other), there, &watches[other])
        };
        if next.is_empty() || !next.iter().all(|&other| listened(other)) {
            return (d, vantage);
        }
        let names: Vec<&str> = next.iter().map(|&other| self.name(other)).collect();
        let other = names.join(" or ");
        let reason = match names.len() {
            1 => format!(
                "no packet of it is in {other}, which holds other connections to this listener from that time"
            ),
            _ => format!(
                "no packet of it is in {other}, which hold other connections to this listener from that time"
            ),
        };
        let between = match self.points.all[point].name {
            Some(_) => format!("between {} and {other}", self.name(point)),
            None => "between the two captures".to_owned(),
        };
        match d.kind {
            kind if registry::spec(kind).ignored == IgnoredPackets::Syns => {
                let queue = own_cause(&d);
                d.kind = Kind::HandshakeLoss;
                d.cause.text = format!(
                    "The SYNs were dropped {between}: the network lost them, or a firewall dropped them."
                )
                .into();
                d.cause.kernel_functions.clear();
                d.cause.sysctls.clear();
                d.cause.counters = vec!["TcpExtTCPSynRetrans".into()];
                d.excluded.push(Excluded { suspect: queue, reason: reason.clone() });
                d.alternatives.clear();
                d.or(
                    "Another host has the same address, and its packets take another path.",
                    "Then other connections of this client would be missing as well.",
                );
                d.measure("lost", "SYN").measure("direction", "to server");
                d.next_steps = vec![
                    "Which firewalls, routers and NATs stand between the two capture points? Their counters of drops tell"
                        .to_owned(),
                    "conntrack -S   # on each of them that tracks connections: insert_failed, drop".to_owned(),
                ];
                d.probable(reason);
            }
            Kind::ConnectionRefused => {
                d.cause.text =
                    format!("A device {between} refused the connection: the SYN never reached the server.")
                        .into();
                d.cause.counters.clear();
                d.alternatives.clear();
                d.measure("by", "middlebox").measure("by_firewall", true);
                d.probable(reason);
            }
            _ => return (d, vantage),
        }
        if self.points.all[point].name.is_some() {
            let passed = d.passed.get_or_insert_default();
            if passed.route.points.is_empty() {
                passed.route.points.push(self.name(point).to_owned());
            }
            passed.route.reached = None;
            passed.route.lost_between = Some([self.name(point).to_owned(), other]);
        }
        (d, vantage)
    }

    /// Whether `other` demonstrably captured the listener's connections when the packets of a finding at `point` were
    /// due. It must have been listening at each of several times, so that no gap can have hidden them.
    fn was_listening(
        &self,
        d: &Draft,
        (point, other): (usize, usize),
        listener: Host,
        watch: &CaptureCoverage,
    ) -> bool {
        let (from, to) = d.during();
        if watch.loses_packets() || from < watch.from || to > watch.to {
            return false;
        }
        let link = self.points.link(point, other);
        let error = link.and_then(|(_, link)| link.clock.uncertainty).unwrap_or(Span::ZERO);
        let mut frames = Vec::new();
        for (at, _) in d.evidence() {
            let (from, to) = (at.time + Span(-error.0), at.time + error);
            let Some(frame) = watch.listening.around(listener.address, from, to) else { return false };
            frames.push(frame);
        }
        frames.dedup();
        let habits = watch.listener_behavior(listener);
        let ignores = if d.kind == Kind::ConnectionRefused { habits.resets } else { habits.ignores_syns };
        let tight = frames.iter().any(|frame| frame.widest <= TIGHT);
        frames.len() >= SEPARATE || !ignores && (tight || frames.len() > 1)
    }
}
