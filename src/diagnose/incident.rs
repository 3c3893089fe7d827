//! Findings of one kind at one listener in one interval of time are one incident.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::decode::segment::Address;
use crate::detect::context::CaptureContext;
use crate::detect::registry;
use crate::detect::spec::{Property, RelationCondition};
use crate::diagnose::backlog;
use crate::diagnose::settings::queues::REFUSING;
use crate::diagnose::severity::{self, Impact};
use crate::diagnose::write::{Written, id};
use crate::flow::key::Host;
use crate::history::interval::Interval;
use crate::model::{Certainty, ClientShare, Incident, IncidentPlace, Kind, Rate, Related, Route, Severity};
use crate::time::{Span, Timestamp};

/// Findings further apart than this belong to different incidents.
pub const APART: Span = Span::secs(120);
/// Related incidents are no further apart than this.
const TOGETHER: Span = Span::secs(65);
/// From this many findings on, their rate is shown.
const RATE_FROM: usize = 3;
/// Steps of a rate at most.
const STEPS: u64 = 60;

/// An incident with the data that is needed to relate it to others.
struct Grouped {
    incident: Incident,
    listener: Option<Host>,
    from: Timestamp,
    to: Timestamp,
    /// The server had sent no payload on some of its connections.
    unserved: bool,
}

/// Groups findings, which are in order of time, into incidents: the gravest first, then in order of time.
pub fn group<'a>(written: impl IntoIterator<Item = &'a Written>, context: &CaptureContext) -> Vec<Incident> {
    let written: Vec<&Written> = written.into_iter().collect();
    let scanned = scanned(&written);
    let swept = swept(&written);
    let mut by_place: BTreeMap<(Kind, Place), Vec<&Written>> = BTreeMap::new();
    for &w in &written {
        let place = match w.outline.server {
            None => Place::Nowhere,
            Some(server) if swept.contains_key(&(w.finding.kind, server.address)) => {
                Place::Hosts(swept[&(w.finding.kind, server.address)])
            }
            Some(server) if scanned.contains(&(w.finding.kind, server.address)) => {
                Place::Ports(server.address)
            }
            Some(server) if is_host_wide(w, server, context) => Place::Host(server.address),
            Some(server) => Place::Listener(server),
        };
        by_place.entry((w.finding.kind, place)).or_default().push(w);
    }
    let mut groups = Vec::new();
    for ((kind, place), mut all) in by_place {
        all.sort_by_key(|w| w.outline.during);
        let mut interval: Vec<&Written> = Vec::new();
        let mut until = Timestamp::MIN;
        for w in all {
            let (from, to) = w.outline.during;
            if !interval.is_empty() && from - until > APART {
                groups.push(incident(kind, place, &interval, context));
                interval.clear();
            }
            until = until.max(to);
            interval.push(w);
        }
        groups.push(incident(kind, place, &interval, context));
    }
    relate(&mut groups);
    groups.iter_mut().for_each(|group| advise(group, &written, context));
    groups.sort_by(|a, b| {
        (b.incident.severity, a.from, a.incident.kind, a.listener).cmp(&(
            a.incident.severity,
            b.from,
            b.incident.kind,
            b.listener,
        ))
    });
    groups.into_iter().map(|group| group.incident).collect()
}

/// Where findings belong together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// About no server.
    Nowhere,
    /// One listener.
    Listener(Host),
    /// Many ports of one address.
    Ports(Address),
    /// Several ports of one host at the same time: the cause lies with the host.
    Host(Address),
    /// Many hosts that one client alone tried.
    Hosts(Address),
}

/// From this many ports of one address with the same fault on, they are reported as one incident: a port scan, or a
/// host whose services are all gone.
const MANY_PORTS: usize = 10;

/// Kinds and addresses that were hit on many ports.
fn scanned(written: &[&Written]) -> BTreeSet<(Kind, Address)> {
    let mut ports: BTreeMap<(Kind, Address), BTreeSet<u16>> = BTreeMap::new();
    for w in written.iter().filter(|w| registry::spec(w.finding.kind).has(Property::MayBeScan)) {
        if let Some(server) = w.outline.server {
            ports.entry((w.finding.kind, server.address)).or_default().insert(server.port);
        }
    }
    ports.into_iter().filter(|(_, ports)| ports.len() >= MANY_PORTS).map(|(place, _)| place).collect()
}

/// Whether this SYN was ignored while several ports of its host ignored SYNs at once.
fn is_host_wide(w: &Written, server: Host, context: &CaptureContext) -> bool {
    let (from, to) = w.outline.during;
    let outage = || context.hosts.get(&server.address)?.outage(Interval { from, to });
    w.finding.kind == Kind::SynUnanswered && outage().is_some()
}

/// From this many hosts that one client tried on, they are reported as one incident: a scan, or peers that come and go.
const MANY_HOSTS: usize = 10;

/// Kinds and servers where only one client was concerned, which had the same with many servers: the cause lies with the
/// client.
fn swept(written: &[&Written]) -> BTreeMap<(Kind, Address), Address> {
    let mut clients: BTreeMap<(Kind, Address), BTreeSet<Address>> = BTreeMap::new();
    for w in written.iter().filter(|w| registry::spec(w.finding.kind).has(Property::MayBeScan)) {
        if let (Some(server), Some(client)) = (w.outline.server, w.outline.client) {
            clients.entry((w.finding.kind, server.address)).or_default().insert(client.address);
        }
    }
    let mut alone: BTreeMap<(Kind, Address), Address> = BTreeMap::new();
    let mut servers: BTreeMap<(Kind, Address), usize> = BTreeMap::new();
    for ((kind, server), clients) in clients {
        if let (1, Some(&client)) = (clients.len(), clients.first()) {
            alone.insert((kind, server), client);
            *servers.entry((kind, client)).or_default() += 1;
        }
    }
    alone.retain(|(kind, _), client| servers[&(*kind, *client)] >= MANY_HOSTS);
    alone
}

fn incident(kind: Kind, place: Place, interval: &[&Written], context: &CaptureContext) -> Grouped {
    let listener = match place {
        Place::Listener(listener) => Some(listener),
        _ => None,
    };
    let from = interval.iter().map(|w| w.outline.during.0).min().unwrap_or_default();
    let to = interval.iter().map(|w| w.outline.during.1).max().unwrap_or_default();
    let clients: BTreeSet<_> = interval.iter().filter_map(|w| w.outline.client.map(|c| c.address)).collect();
    let certainty = certainty(kind, interval);
    let example = clearest(interval, certainty);
    let spec = registry::spec(kind);
    let connections = interval.iter().filter(|w| w.outline.client.is_some()).count() as u64;
    // If only longer steps are known, the number would be for a longer time.
    let known = listener.and_then(|host| context.listeners.get(&host)).filter(|l| l.seconds.step() == 1);
    let of_host = match place {
        Place::Host(address) => context.hosts.get(&address).filter(|host| host.seconds.step() == 1),
        _ => None,
    };
    let of_host = of_host.map(|host| host.seconds.between(from.seconds(), to.seconds()));
    let seconds = known.map(|l| l.between(from, to)).or(of_host);
    let attempted = match registry::spec(kind).has(Property::PreventsSetUp) {
        true => seconds.map(|s| u64::from(s.syns)),
        // What happens to open connections may hit those that began before it.
        false => known.map(|l| l.attempts),
    };
    let toll = Impact::of(interval, attempted, to - from);
    let incident = Incident {
        id: id("i", format_args!("{kind} {} {}", place_name(place), from.0)),
        kind,
        severity: match place {
            Place::Ports(_) => of_many_ports(kind, &toll, interval),
            Place::Hosts(_) => of_many_hosts(kind, &toll, interval),
            // The severity of a finding about a listener as a whole already considers that.
            _ if connections == 0 => interval.iter().map(|w| w.outline.harm).max().unwrap_or(Severity::Info),
            _ => severity::of(kind, &toll),
        },
        certainty,
        listener: listener.map(Host::socket),
        cause: cause(place, interval, &likely_cause(interval, example)),
        first: from,
        last: to,
        connections,
        clients: clients.len() as u64,
        findings: interval.iter().map(|w| w.finding.id.clone()).collect(),
        next_steps: example.map(|w| w.outline.next_steps()).unwrap_or_default(),
        attempts: seconds
            .filter(|s| spec.has(Property::PreventsSetUp) && u64::from(s.syns) >= connections && s.syns > 0)
            .map(|s| u64::from(s.syns)),
        rate: (interval.len() >= RATE_FROM).then(|| rate(interval, from, to)),
        recovered: spec.has(Property::QueueWasFull).then(|| interval.iter().any(|w| was_served(w))),
        top_clients: top_clients(interval),
        related: Vec::new(),
        unexamined: None,
        judged_by_kernel: judged(interval),
        places: places(interval),
        backlog: None,
        queues: None,
        got_through: spec
            .has(Property::QueueWasFull)
            .then(|| interval.iter().filter(|w| was_served(w)).count() as u64),
    };
    let unserved = interval.iter().any(|w| w.outline.details.is_unserved());
    Grouped { incident, listener, from, to, unserved }
}

/// Adds the backlog that would have been long enough.
fn advise(group: &mut Grouped, written: &[&Written], context: &CaptureContext) {
    let Grouped { incident, listener, from, to, .. } = group;
    let Some(listener) = *listener else { return };
    if !REFUSING.contains(&incident.kind) {
        return;
    }
    if let Some(found) = backlog::estimate(written, listener, (*from, *to), context) {
        // An estimate comes after the step that checks the cause.
        let place = usize::from(found.estimated).min(incident.next_steps.len());
        incident.next_steps.insert(place, backlog::advice(&found, listener, incident.certainty));
        incident.backlog = Some(found);
    }
}

/// Where it happened on a path with several capture points, the most frequent place first.
fn places(interval: &[&Written]) -> Vec<IncidentPlace> {
    let mut places: Vec<IncidentPlace> = Vec::new();
    for route in interval.iter().filter_map(|w| w.finding.route.as_deref()) {
        let Route { lost_between, sent_between, reached, .. } = route;
        if (lost_between, sent_between, reached) == (&None, &None, &None) {
            continue;
        }
        let same = |p: &&mut IncidentPlace| {
            (&p.lost_between, &p.sent_between, &p.reached) == (lost_between, sent_between, reached)
        };
        match places.iter_mut().find(same) {
            Some(place) => place.findings += 1,
            None => places.push(IncidentPlace {
                lost_between: lost_between.clone(),
                sent_between: sent_between.clone(),
                reached: reached.clone(),
                findings: 1,
                of: interval.len() as u64,
            }),
        }
    }
    // In their order if there are as many: findings are in order of time.
    places.sort_by_key(|place| Reverse(place.findings));
    places
}

/// How many packets of the findings the kernel judged.
fn judged(interval: &[&Written]) -> Option<u64> {
    interval.iter().filter_map(|w| w.finding.judged_by_kernel).reduce(|sum, n| sum + n)
}

/// The finding that the report shows first (`report::words::clearest`), so that cause and next steps are about it.
fn clearest<'w>(interval: &[&'w Written], certainty: Certainty) -> Option<&'w Written> {
    let sure = |w: &Written| (w.finding.certainty == certainty, w.finding.certainty);
    let clear = |w: &&&Written| (sure(w), w.outline.harm, w.finding.evidence.len().min(10));
    interval.iter().rev().max_by_key(clear).copied()
}

/// An incident is as certain as its findings. If all of them have the same cause, a certain one speaks for all.
/// Otherwise it speaks for itself, and the incident is as certain as half of them are.
fn certainty(kind: Kind, interval: &[&Written]) -> Certainty {
    let mut all: Vec<Certainty> = interval.iter().map(|w| w.finding.certainty).collect();
    all.sort_unstable_by(|a, b| b.cmp(a));
    let has_one_cause = registry::spec(kind).has(Property::HasOneCause);
    let place = if has_one_cause { 0 } else { all.len().saturating_sub(1) / 2 };
    all.get(place).copied().unwrap_or(Certainty::Possible)
}

/// The cause of the example; and the next most frequent one, where connections differ. A finding about the whole listener
/// says the same in the plural.
fn likely_cause(interval: &[&Written], example: Option<&Written>) -> String {
    let Some(example) = example else { return String::new() };
    let is_of_one = |w: &&&Written| w.outline.client.is_some();
    let of_one = interval.iter().filter(is_of_one);
    let connections = of_one.clone().count();
    // Findings with the same text are named once.
    let mut others: BTreeMap<&str, u64> = BTreeMap::new();
    for w in of_one {
        *others.entry(w.finding.cause.text.as_ref()).or_default() += 1;
    }
    let most = |others: &BTreeMap<&'_ str, u64>| {
        others.iter().max_by_key(|&(text, n)| (n, Reverse(*text))).map(|(text, n)| ((*text).to_owned(), *n))
    };
    let own = match most(&others) {
        Some((text, _)) if example.outline.client.is_none() => text,
        _ => example.finding.cause.text.to_string(),
    };
    others.remove(own.as_str());
    match most(&others) {
        Some((other, n)) => format!("{own} For {n} of {connections} connections: {other}"),
        None => own,
    }
}

/// The severity if many ports of one address were hit: a scan tries each port once, and harms nobody.
fn of_many_ports(kind: Kind, toll: &Impact, interval: &[&Written]) -> Severity {
    let ports: BTreeSet<_> = interval.iter().filter_map(|w| w.outline.server).map(|host| host.port).collect();
    let is_scan = interval.len() < ports.len() * 2;
    severity::of(kind, toll).min(match (is_scan, registry::spec(kind).has(Property::IsAnswered)) {
        (true, true) => Severity::Info,
        (true, false) => Severity::Warning,
        (false, _) => Severity::Critical,
    })
}

/// The severity if one client tried many hosts without success: of those that it tried once each, on several ports,
/// some are always gone.
fn of_many_hosts(kind: Kind, toll: &Impact, interval: &[&Written]) -> Severity {
    let servers = || interval.iter().filter_map(|w| w.outline.server);
    let hosts: BTreeSet<_> = servers().map(|host| host.address).collect();
    let ports: BTreeSet<_> = servers().map(|host| host.port).collect();
    let are_peers = interval.len() < hosts.len() * 2 && ports.len() > 1;
    let most = if are_peers || registry::spec(kind).has(Property::IsAnswered) {
        Severity::Info
    } else {
        Severity::Warning
    };
    severity::of(kind, toll).min(most)
}

/// The place as it names an incident.
fn place_name(place: Place) -> String {
    match place {
        Place::Nowhere => "-".to_owned(),
        Place::Listener(listener) => listener.socket().to_string(),
        Place::Ports(address) => address.ip().to_string(),
        Place::Host(address) => format!("host {}", address.ip()),
        Place::Hosts(client) => format!("of {}", client.ip()),
    }
}

/// The likely cause; of many ports of one address, or of many hosts, that first.
fn cause(place: Place, interval: &[&Written], likely: &str) -> String {
    if let Place::Hosts(client) = place {
        let hosts: BTreeSet<_> =
            interval.iter().filter_map(|w| w.outline.server).map(|server| server.address).collect();
        return format!(
            "{} tried {} hosts in vain: a scan, or peers that are gone. {likely}",
            client.ip(),
            hosts.len()
        );
    }
    if let Place::Host(address) = place {
        let ports: BTreeSet<_> =
            interval.iter().filter_map(|w| w.outline.server).map(|server| server.port).collect();
        return format!("{} ports of {} ignored SYNs at the same time. {likely}", ports.len(), address.ip());
    }
    let Place::Ports(address) = place else { return likely.to_owned() };
    let ports: BTreeSet<_> =
        interval.iter().filter_map(|w| w.outline.server).map(|server| server.port).collect();
    format!(
        "{} ports of {} were tried: a port scan, or services that have stopped. {likely}",
        ports.len(),
        address.ip()
    )
}

/// How many clients are named at most.
const NAMED: usize = 10;

/// The clients that were hit most, if there was more than one.
fn top_clients(interval: &[&Written]) -> Vec<ClientShare> {
    let mut counts: BTreeMap<Address, u64> = BTreeMap::new();
    for client in interval.iter().filter_map(|w| w.outline.client) {
        *counts.entry(client.address).or_default() += 1;
    }
    if counts.len() < 2 {
        return Vec::new();
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|&(client, n)| (Reverse(n), client));
    let share = |(client, findings): (Address, u64)| ClientShare { client: client.ip(), findings };
    counts.into_iter().take(NAMED).map(share).collect()
}

/// Whether the connection worked in the end.
fn was_served(w: &Written) -> bool {
    w.outline.details.got_through() == Some(true)
}

/// Steps of whole seconds, as few seconds as [`STEPS`] allow.
fn rate(interval: &[&Written], from: Timestamp, to: Timestamp) -> Rate {
    let first = from.seconds();
    let length = (to.seconds() - first + 1).max(1) as u64;
    let step = length.div_ceil(STEPS).max(1);
    let mut counts = vec![0; length.div_ceil(step) as usize];
    for w in interval {
        let second = (w.outline.during.0.seconds() - first).max(0) as u64;
        counts[(second / step) as usize] += 1;
    }
    Rate { step_s: step, counts }
}

/// Makes incidents of one listener refer to each other.
fn relate(groups: &mut [Grouped]) {
    let mut links: Vec<(usize, Related)> = Vec::new();
    let mut at: BTreeMap<Option<Host>, Vec<usize>> = BTreeMap::new();
    for (n, group) in groups.iter().enumerate() {
        at.entry(group.listener).or_default().push(n);
    }
    for (n, cause) in groups.iter().enumerate() {
        for &m in &at[&cause.listener] {
            let effect = &groups[m];
            let near = cause.from <= effect.to + TOGETHER && effect.from <= cause.to + TOGETHER;
            if n == m || !near {
                continue;
            }
            let leads = registry::spec(cause.incident.kind).leads_to.iter();
            for to in leads.filter(|to| to.effect == effect.incident.kind) {
                if to.when == RelationCondition::UnservedInterval && !effect.unserved {
                    continue;
                }
                let related = |incident: &Incident, how: &str| Related {
                    incident: incident.id.clone(),
                    how: how.to_owned(),
                };
                links.push((n, related(&effect.incident, to.said_of_effect)));
                links.push((m, related(&cause.incident, to.said_of_cause)));
            }
        }
    }
    for (n, link) in links {
        groups[n].incident.related.push(link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Draft;
    use crate::detect::details::{Details, HalfClosedDetails};
    use crate::diagnose::write;
    use crate::flow::facts::{ConnectionFacts, PacketRef, Role};
    use crate::model::Vantage;

    fn found(kind: Kind, port: u16, second: i64) -> Written {
        let at = PacketRef { time: Timestamp(0) + Span::secs(second), ..PacketRef::default() };
        let facts =
            ConnectionFacts { client: Host { port, ..Host::default() }, ..ConnectionFacts::default() };
        write::finding(Draft::about(&facts, registry::spec(kind), (at, "")), Vantage::Unknown, &[])
    }

    fn half_closed(served: bool) -> Details {
        let host = Host::default();
        Details::HalfClose(HalfClosedDetails {
            closer: Role::Client,
            closer_host: host,
            waiter_host: host,
            served,
            orphan_alive: None,
        })
    }

    #[test]
    fn a_pause_of_two_minutes_parts_incidents() {
        let all: Vec<_> = [0, 60, 179, 400].iter().map(|&s| found(Kind::HalfClose, s as u16, s)).collect();
        let incidents = group(&all, &CaptureContext::default());
        assert_eq!(incidents.iter().map(|i| i.connections).collect::<Vec<_>>(), [3, 1]);
    }

    #[test]
    fn the_rate_counts_every_finding_once() {
        let all: Vec<_> = (0..500).map(|s| found(Kind::HalfClose, s as u16, s)).collect();
        let rate = group(&all, &CaptureContext::default())[0].rate.clone().unwrap();
        assert_eq!((rate.step_s, rate.counts.iter().sum::<u64>()), (9, 500));
        assert!(rate.counts.len() <= STEPS as usize);
    }

    #[test]
    fn many_ports_of_one_address_are_one_incident() {
        let all: Vec<_> = (0..50)
            .map(|n| {
                let mut w = found(Kind::ConnectionRefused, n, 0);
                w.outline.server = Some(Host { port: 8_000 + n, ..Host::default() });
                w
            })
            .collect();
        let incidents = group(&all, &CaptureContext::default());
        assert_eq!((incidents.len(), incidents[0].connections, incidents[0].listener), (1, 50, None));
        assert!(incidents[0].cause.starts_with("50 ports"), "{}", incidents[0].cause);
    }

    #[test]
    fn half_closes_of_connections_that_nobody_accepted_point_to_the_full_queue() {
        for full in [Kind::AcceptQueueOverflow, Kind::SynDropAcceptQueue] {
            for (served, links) in [(false, 1), (true, 0)] {
                let mut all = [found(full, 1, 0), found(Kind::HalfClose, 2, 5)];
                all[1].outline.details = half_closed(served);
                let incidents = group(&all, &CaptureContext::default());
                assert!(incidents.iter().all(|incident| incident.related.len() == links), "{incidents:?}");
            }
        }
    }

    #[test]
    fn how_many_got_through_is_counted() {
        let mut all: Vec<_> = (0..5).map(|n| found(Kind::SynDropAcceptQueue, n, n.into())).collect();
        for n in [1, 4] {
            all[n].outline.details = Details::IgnoredSyns { count: 1, answered: true };
        }
        let incident = &group(&all, &CaptureContext::default())[0];
        assert_eq!((incident.recovered, incident.got_through), (Some(true), Some(2)));
    }

    #[test]
    fn a_flood_and_the_syns_dropped_for_it_point_to_each_other() {
        let all = [found(Kind::SynFlood, 1, 0), found(Kind::SynDropSynQueue, 2, 5)];
        let incidents = group(&all, &CaptureContext::default());
        assert_eq!(incidents[0].related[0].incident, incidents[1].id);
        assert_eq!(incidents[1].related[0].incident, incidents[0].id);
    }
}
