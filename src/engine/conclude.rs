//! What the shards know, put together: surroundings, findings, incidents, the report.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::capture::{LinkType, Silence, Status};
use crate::decode;
use crate::decode::segment::PacketId;
use crate::detect::analysis::survey::survey;
use crate::detect::context::CaptureContext;
use crate::detect::draft::count;
use crate::detect::spec::{Examine, Property};
use crate::detect::{Draft, Found, registry};
use crate::diagnose::outcomes::{Failed, Failures};
use crate::diagnose::settings::retries::Retries;
use crate::diagnose::write::Written;
use crate::diagnose::{host, incident, settings, severity, unexamined, vantage, write};
use crate::engine::batch::Totals;
use crate::engine::shard::{Shard, most_examined};
use crate::engine::{Options, Outcome, Placed};
use crate::flow::facts::ConnectionFacts;
use crate::flow::key::{Host, Map};
use crate::history::handshakes::{self, HandshakeSample};
use crate::history::host_clocks::ClockReadings;
use crate::history::incomplete::IncompleteHandshakes;
use crate::history::interval::Interval;
use crate::history::merge::Histories;
use crate::history::remarkable::{self, Class, LeftOuts};
use crate::history::settings::Settings;
use crate::history::triage::{Quality, Triage};
use crate::history::tw_recycle::TwRecycleModel;
use crate::model::{
    self, Capture, CapturePoint, Filtered, Incident, Inferred, Kind, Report, SCHEMA, Severity, Summary,
    Vantage,
};
use crate::time::Timestamp;
use rayon::prelude::*;

/// What was learned from one stream of packets, before it becomes a report.
pub struct Study {
    /// Surroundings, remarkable connections, findings.
    pub seen: Seen,
    /// The inputs as the report names them.
    pub captures: Vec<Capture>,
    /// What limits the whole report.
    pub warnings: Vec<String>,
    /// One message per input that was damaged.
    pub damage: Vec<String>,
    /// How far the captures can be trusted.
    pub quality: model::Quality,
    /// The filters, and what they left out.
    pub filtered: Option<Filtered>,
    /// What the report is written with, as the stream was read.
    pub(super) pool: Option<rayon::ThreadPool>,
}

pub(super) fn study(
    shards: Vec<Shard>,
    (peers, histories): (Arc<TwRecycleModel>, Histories),
    totals: &Totals,
    options: &Options,
    (status, silences): (Vec<Status>, Vec<Silence>),
    after: Facts,
) -> Study {
    let evicted = shards.iter().map(|shard| shard.tracker.evicted()).sum();
    let repeated = shards.iter().map(|shard| shard.tracker.repeated()).sum();
    let triages =
        std::iter::once(histories.into_triage()).chain(shards.into_iter().map(|shard| shard.triage));
    let context = context(peers, totals.first.zip(totals.last), &silences, options);
    let context = CaptureContext { damaged: is_damaged(&status), ..context };
    let most = most_examined(options.memory_limit);
    let mut seen = see(triages, context, options.placed.as_ref(), (most, after));
    seen.gathered.evicted = evicted;
    seen.gathered.correct(repeated);
    let mut warnings = Vec::new();
    let clock_jumps = status.iter().map(|status| status.clock_jumps).sum();
    let (captures, damage) = describe(status, totals, &mut warnings);
    let quality = judge(&seen.gathered, seen.context.damaged, totals, &captures, clock_jumps);
    warn(&seen, totals, options, &mut warnings);
    let filtered = filtered(totals, options);
    Study { seen, captures, quality, warnings, damage, filtered, pool: None }
}

impl Study {
    /// Writes the report.
    pub fn report(mut self, options: &Options) -> Outcome {
        match self.pool.take() {
            Some(pool) => pool.install(|| self.write(options)),
            None => self.write(options),
        }
    }

    fn write(mut self, options: &Options) -> Outcome {
        let drafts = &mut self.seen.drafts;
        let told = options.host.as_ref().map(|facts| host::corroborate(drafts, facts)).unwrap_or_default();
        let drafts = std::mem::take(drafts);
        let inferred = self.seen.infer(&drafts);
        // The findings want room.
        self.seen.gathered.kept = Vec::new();
        let paths: Vec<Arc<str>> = self.captures.iter().map(|c| c.path.as_str().into()).collect();
        let written = write(drafts, &paths);
        let mut incidents = incident::group(&written, &self.seen.context);
        let Gathered { classes, left_out, .. } = &self.seen.gathered;
        unexamined::tell(&mut incidents, &written, classes, &left_out.of);
        let described = (self.captures, self.damage);
        let mut outcome =
            compose(&self.seen, written, incidents, (told, inferred), described, self.quality, self.warnings);
        outcome.report.filtered = self.filtered;
        outcome
    }
}

/// What the packets say, before it is written down.
pub struct Seen {
    /// What surrounds the connections.
    pub context: CaptureContext,
    /// What the shards held.
    pub gathered: Gathered,
    /// What the detectors found, in order of time.
    pub drafts: Vec<Found>,
}

impl Seen {
    /// What settings show, in the packets and in what was found.
    fn infer(&self, drafts: &[Found]) -> Vec<Inferred> {
        let drafts: Vec<&Draft> = drafts.iter().map(|(draft, _)| &**draft).collect();
        let Gathered { retries, samples, readings, .. } = &self.gathered;
        settings::infer(&self.context, retries, samples, readings, &drafts)
    }
}

/// The surroundings, empty yet. `capture` is the time that was watched.
pub(super) fn context(
    peers: Arc<TwRecycleModel>,
    capture: Option<(Timestamp, Timestamp)>,
    silences: &[Silence],
    options: &Options,
) -> CaptureContext {
    CaptureContext {
        settings: Settings { half_close_after: options.half_close_after },
        capture,
        silences: silences.iter().map(|s| Interval { from: s.from, to: s.to }).collect(),
        peers,
        ..CaptureContext::default()
    }
}

/// Puts together what the triages hold and asks the detectors, about `most` connections at most.
pub(super) fn see(
    triages: impl Iterator<Item = Triage>,
    mut context: CaptureContext,
    placed: Option<&Placed>,
    (most, after): (usize, Facts),
) -> Seen {
    let mut gathered = gather(triages, placed, &mut context, most);
    gathered.forgone = context.peers.forgone();
    let drafts = examine(&mut gathered.kept, &context, after);
    Seen { context, gathered, drafts }
}

/// The report on what was written down.
pub(super) fn report(
    seen: &Seen,
    drafts: &[Found],
    (written, incidents): (Vec<Written>, Vec<Incident>),
    told: host::Told,
    totals: &Totals,
    options: &Options,
    status: Vec<Status>,
) -> Outcome {
    let mut warnings = Vec::new();
    let clock_jumps = status.iter().map(|status| status.clock_jumps).sum();
    let described = describe(status, totals, &mut warnings);
    let quality = judge(&seen.gathered, seen.context.damaged, totals, &described.0, clock_jumps);
    warn(seen, totals, options, &mut warnings);
    let inferred = seen.infer(drafts);
    compose(seen, written, incidents, (told, inferred), described, quality, warnings)
}

fn compose(
    seen: &Seen,
    mut written: Vec<Written>,
    incidents: Vec<Incident>,
    (told, inferred): (host::Told, Vec<Inferred>),
    (captures, damage): (Vec<Capture>, Vec<String>),
    quality: model::Quality,
    mut warnings: Vec<String>,
) -> Outcome {
    let Seen { context, gathered, .. } = seen;
    weigh(&mut written, &incidents);
    warnings.extend(told.warnings);
    let mut found: BTreeMap<Kind, u64> = BTreeMap::new();
    for w in &written {
        *found.entry(w.finding.kind).or_default() += 1;
    }
    let capture_points = capture_points(&written, context);
    let Gathered { failures, classes, left_out, .. } = gathered;
    let (failed_unexplained, unexplained) = failures.unexplained(&written, classes, left_out, &captures);
    let report = Report {
        schema: SCHEMA.to_owned(),
        summary: Summary {
            packets: captures.iter().map(|c| c.packets).sum(),
            tcp_segments: captures.iter().map(|c| c.tcp_segments).sum(),
            connections: gathered.quality.connections,
            findings: found,
            outcomes: failures.outcomes.iter().map(|(outcome, n)| (outcome.name().to_owned(), n)).collect(),
            failed: failures.outcomes.failed(),
            failed_unexplained,
            unexplained,
        },
        captures,
        incidents,
        findings: written.into_iter().map(|w| w.finding).collect(),
        inferred: told.inferred.into_iter().chain(inferred).collect(),
        capture_points,
        quality,
        warnings,
        ..Report::default()
    };
    Outcome { report, damage }
}

/// Gives each finding its severity within its incident.
fn weigh(written: &mut [Written], incidents: &[Incident]) {
    let severities: HashMap<&str, Severity> = incidents
        .iter()
        .flat_map(|incident| incident.findings.iter().map(|id| (id.as_str(), incident.severity)))
        .collect();
    for w in written {
        if let Some(&incident) = severities.get(w.finding.id.as_str()) {
            w.finding.severity = severity::within(incident, w);
        }
    }
}

/// What was not looked at because the user asked for less; `None` if he did not.
fn filtered(totals: &Totals, options: &Options) -> Option<Filtered> {
    let filtered = Filtered {
        hosts: options.hosts.iter().map(ToString::to_string).collect(),
        ports: options.ports.clone(),
        since: options.since.map(|time| time.to_string()),
        until: options.until.map(|time| time.to_string()),
        packets: totals.untimely,
        tcp_segments: totals.unwanted,
    };
    (filtered.selects_connections() || filtered.selects_times()).then_some(filtered)
}

/// What the shards held.
#[derive(Default)]
pub struct Gathered {
    /// Remarkable connections.
    #[expect(
        clippy::vec_box,
        reason = "handed on as they are: there would be no room for a second copy of them"
    )]
    pub kept: Vec<Box<ConnectionFacts>>,
    /// How many were examined: `kept` may be let go.
    examined: usize,
    /// How often SYNs were repeated in them.
    pub retries: Retries,
    /// Their classes by first packet, if there are any that are not in `kept`.
    classes: Map<PacketId, Class>,
    /// Remarkable connections that are not in `kept`.
    left_out: LeftOuts,
    /// Connections let go early.
    pub evicted: u64,
    /// Segments of them afterwards.
    let_go_segments: u64,
    /// Segments of connections let go and forgotten, or joined in the middle.
    strays: u64,
    /// Handshakes that most likely repeat others that were let go and forgotten: not counted.
    repeated: u64,
    /// Handshakes never completed that were only counted.
    surplus: u64,
    /// Closes that would have left a server a memory of its client.
    forgone: u64,
    /// Connections to listeners of which there were too many.
    unlisted: u64,
    /// Trust in the capture.
    pub quality: Quality,
    /// How the connections ended.
    pub failures: Failures,
    /// Clean handshakes by server, in order of address.
    pub samples: Vec<(IpAddr, Vec<HandshakeSample>)>,
    /// Clocks and timers of hosts.
    pub readings: ClockReadings,
}

impl Gathered {
    /// About so many handshakes were counted that repeat others.
    fn correct(&mut self, repeated: u64) {
        self.repeated = repeated;
        let q = &mut self.quality;
        for count in [&mut q.connections, &mut q.only_handshakes, &mut q.only_syns] {
            *count = count.saturating_sub(repeated);
        }
    }
}

/// Puts the triages' knowledge together, in an order that does not depend on them.
fn gather(
    triages: impl Iterator<Item = Triage>,
    placed: Option<&Placed>,
    context: &mut CaptureContext,
    most: usize,
) -> Gathered {
    let mut g = Gathered::default();
    let mut by_server: BTreeMap<_, Vec<HandshakeSample>> = BTreeMap::new();
    let (mut waits, mut kept) = (Vec::new(), Vec::new());
    let mut incomplete: Vec<(Host, IncompleteHandshakes)> = Vec::new();
    for mut triage in triages {
        kept.append(&mut triage.take_kept());
        g.failures.outcomes.add(&triage.outcomes);
        for (listener, incomplete) in &triage.incomplete {
            g.failures.counted.entry(*listener).or_default().add(&incomplete.outcomes);
        }
        incomplete.extend(triage.incomplete);
        g.surplus += triage.surplus;
        g.unlisted += triage.unlisted;
        g.let_go_segments += triage.let_go_segments;
        g.strays += triage.strays;
        waits.extend(triage.waits);
        g.left_out.merge(triage.left_out, most);
        g.quality.add(&triage.quality);
        g.readings.append(triage.readings);
        if context.listeners.is_empty() {
            context.listeners = triage.listeners;
        } else {
            for (host, listener) in triage.listeners {
                context.listeners.entry(host).or_default().merge(listener);
            }
        }
        context.strays.merge(triage.untranslated);
        for (address, heard) in triage.heard {
            context.heard.entry(address).or_default().extend(heard);
        }
        for (host, lags) in triage.lags {
            context.activities.entry(host).or_default().lags.merge(lags);
        }
        for (address, mut some) in triage.samples {
            handshakes::merge(by_server.entry(address).or_default(), some.drain());
        }
    }
    remarkable::choose(&mut kept, most, &mut g.left_out);
    if !g.left_out.of.is_empty() {
        g.classes = kept.iter().map(|(class, facts)| (facts.first.packet, *class)).collect();
    }
    g.kept = kept.into_iter().map(|(_, facts)| facts).collect();
    for (address, some) in by_server {
        let view = match placed {
            Some(placed) => vantage::infer_placed(&some, placed.of(address)),
            None => vantage::infer(&some),
        };
        let view = if address.ip().is_loopback() { view.within_host() } else { view };
        context.views.insert(address, view);
        g.samples.push((address.ip(), some));
    }
    for address in Arc::clone(&context.own).iter().filter(|address| !address.ip().is_loopback()) {
        let view = context.views.remove(address).unwrap_or_default();
        let is_known = view.on_host && view.vantage == Vantage::Server;
        context.views.insert(*address, if is_known { view } else { view.on_own_host() });
    }
    waits.sort_unstable();
    g.readings.sort();
    context.handshakes_only = g.quality.only_handshakes == g.quality.connections;
    context.shuffled = g.quality.reordered * REORDERED_OF > g.quality.segments;
    context.damaged |= g.quality.unseen * UNSEEN_OF > g.quality.segments;
    survey(context, &g.kept, incomplete, &waits);
    let end = context.capture.map_or(Timestamp::MAX, |(_, last)| last);
    g.failures.examined = g.kept.iter().filter_map(|f| Failed::of(f, end)).collect();
    g.examined = g.kept.len();
    g.retries = Retries::read(&g.kept, context);
    g
}

/// One segment that came after its acknowledgment among so many, and the capture changes the order of packets.
const REORDERED_OF: u64 = 300;

/// One acknowledgment of bytes that the capture does not hold among so many segments, and it has lost packets.
const UNSEEN_OF: u64 = 1_000;

/// Whether an input says itself that packets are missing, or its clock stepped back.
fn is_damaged(status: &[Status]) -> bool {
    status.iter().any(|status| status.clock_jumps > 0 || status.dropped.is_some_and(|n| n > 0))
}

/// How far the captures can be trusted, in numbers.
fn judge(
    g: &Gathered,
    damaged: bool,
    totals: &Totals,
    captures: &[Capture],
    clock_jumps: u64,
) -> model::Quality {
    let q = &g.quality;
    model::Quality {
        damaged,
        dropped: captures.iter().filter_map(|c| c.dropped).reduce(|sum, n| sum + n),
        unseen: q.unseen,
        one_sided: q.one_sided,
        mid_stream: q.mid_stream,
        duplicates: q.duplicates,
        replayed: q.replayed,
        clock_jumps,
        cut: totals.cut,
        malformed: totals.malformed,
        bad_checksums: totals.bad_checksums,
        several_ttls: q.several_ttls,
    }
}

/// What becomes of the facts of remarkable connections once they have been examined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Facts {
    /// They are still needed.
    Stay,
    /// They make room for what was found.
    LetGo,
}

/// So many facts are let go together.
const LET_GO: usize = 2_048;

/// Asks every detector about every kept connection. Findings come in order of time.
#[expect(clippy::vec_box, reason = "as they are kept")]
fn examine(kept: &mut Vec<Box<ConnectionFacts>>, context: &CaptureContext, after: Facts) -> Vec<Found> {
    let about = |f: &ConnectionFacts| {
        let around = context.around(f);
        let found = registry::all().iter().filter_map(|spec| match spec.examine {
            Examine::Connection(examine) => examine(f, &around),
            Examine::Listener(_) => None,
        });
        found.map(|d| boxed(d, around.view.vantage)).collect::<Vec<Found>>()
    };
    let mut drafts: Vec<Found> = Vec::new();
    match after {
        Facts::Stay => drafts.par_extend(kept.par_iter().flat_map_iter(|f| about(f))),
        // Not one by one, each by the thread that has examined it: threads that free what others have allocated wait for
        // each other.
        Facts::LetGo => {
            while !kept.is_empty() {
                let some: Vec<_> = kept.drain(..kept.len().min(LET_GO)).collect();
                drafts.par_extend(some.par_iter().flat_map_iter(|f| about(f)));
            }
            kept.shrink_to_fit();
        }
    }
    let listeners = context.listeners.keys().filter(|host| !context.activities.contains_key(host));
    let servers: Vec<Host> = context.activities.keys().chain(listeners).copied().collect();
    drafts.par_extend(servers.par_iter().with_max_len(8).flat_map_iter(|&server| {
        let around = context.at(server);
        let found = registry::all().iter().filter_map(|spec| match spec.examine {
            Examine::Listener(examine) => examine(server, &around),
            Examine::Connection(_) => None,
        });
        found.map(|d| boxed(d, around.view.vantage)).collect::<Vec<_>>()
    }));
    let has = |d: &Draft, property| registry::spec(d.kind).has(property);
    if context.has_no_clock() {
        drafts.retain(|(d, _)| has(d, Property::NeedsNoClock));
    }
    // How long a half-close lasted is all that tells it from a close.
    drafts.retain(|(d, _)| d.kind != Kind::HalfClose || !d.runs_back());
    let across = drafts.iter_mut().filter(|(d, _)| !has(d, Property::NeedsNoClock) && d.runs_back());
    across.for_each(|(d, _)| d.doubt("the clock stepped back among these packets"));
    if context.shuffled {
        let by_order = drafts.iter_mut().filter(|(d, _)| has(d, Property::RestsOnOrder));
        by_order.for_each(|(d, _)| d.doubt("the capture changed the order of packets"));
    }
    drafts.sort_by_cached_key(|(d, _)| d.order());
    // The same interval captured twice, far apart in the file, gives the same finding twice.
    let mut seen = HashSet::new();
    drafts.retain(|(d, _)| seen.insert((d.kind, d.client, d.server, d.during().0)));
    drafts
}

fn boxed(mut draft: Draft, vantage: Vantage) -> Found {
    draft.shrink_to_fit();
    (Box::new(draft), vantage)
}

/// Drafts to findings.
pub(super) fn write(drafts: Vec<Found>, paths: &[Arc<str>]) -> Vec<Written> {
    drafts.into_par_iter().map(|(d, vantage)| write::finding(*d, vantage, paths)).collect()
}

/// Where the capture was taken, for each server with a finding.
fn capture_points(written: &[Written], context: &CaptureContext) -> Vec<CapturePoint> {
    let servers: BTreeSet<_> =
        written.iter().filter_map(|w| w.outline.server).map(|host| host.address).collect();
    let view = |server| context.views.get(server).cloned().unwrap_or_default();
    servers
        .iter()
        .map(|server| (server, view(server)))
        .map(|(server, v)| CapturePoint {
            server: server.ip().to_string(),
            vantage: v.vantage,
            reason: v.reason,
            capture: None,
        })
        .collect()
}

/// The inputs as the report names them, and the damage among them.
fn describe(status: Vec<Status>, totals: &Totals, warnings: &mut Vec<String>) -> (Vec<Capture>, Vec<String>) {
    let mut damage = totals.losses.texts(&status);
    warnings.extend(damage.iter().cloned());
    let captures = status
        .into_iter()
        .enumerate()
        .map(|(n, status)| {
            let mut own = status.warnings;
            if let Some(d) = status.damage {
                own.push(d.clone());
                warnings.push(d.clone());
                damage.push(d);
            }
            Capture {
                path: status.path,
                format: status.format,
                packets: status.packets,
                tcp_segments: totals.segments.get(n).copied().unwrap_or(0),
                first: status.times.map(|(first, _)| first.to_string()),
                last: status.times.map(|(_, last)| last.to_string()),
                dropped: status.dropped,
                warnings: own,
            }
        })
        .collect();
    (captures, damage)
}

/// So many packets do not come at the same time by chance.
const NO_CHANCE: u64 = 10;

/// What limits the whole report.
fn warn(seen: &Seen, totals: &Totals, options: &Options, warnings: &mut Vec<String>) {
    let Seen { context, gathered: g, .. } = seen;
    for (&link, n) in &totals.unknown_links {
        let name = decode::link_name(LinkType(link)).map(|name| format!(" ({name})")).unwrap_or_default();
        warnings.push(format!("{n} packets have the unknown link type {link}{name} and were not analyzed"));
    }
    if totals.malformed > 0 {
        warnings.push(format!(
            "{} packets have inconsistent lengths or versions and were not analyzed",
            totals.malformed
        ));
    }
    if totals.cut > 0 {
        warnings.push(format!(
            "{} packets were cut before the end of the TCP header; capture with a snapshot length of at least 128 bytes",
            totals.cut
        ));
    }
    let q = &g.quality;
    if q.one_sided * 4 > q.connections && q.one_sided > 0 {
        warnings.push(format!(
            "only one direction was captured of {} of {} connections, so the report does not know what the other end did",
            q.one_sided, q.connections
        ));
    } else if q.deaf > 0 {
        warnings.push(format!(
            "of {} the client went on, but no answer of the server was captured: other SYNs may have been answered, too",
            count(q.deaf, "connection")
        ));
    }
    if q.only_syns == q.connections && q.connections > 0 {
        warnings.push(
            "the capture holds SYNs and no answer to any: a filter or one direction left the answers out, or there were \
             none"
                .to_owned(),
        );
    } else if q.only_handshakes == q.connections && q.connections > 0 {
        warnings.push(
            "the capture holds SYNs and SYN-ACKs and nothing else: whether the handshakes were completed cannot be seen"
                .to_owned(),
        );
    }
    if q.duplicates > 0 {
        warnings.push(format!(
            "{} seem to be captured twice; copies are not counted",
            count(q.duplicates, "packet")
        ));
    }
    if q.replayed > 0 {
        warnings.push(format!(
            "{} repeat an earlier part of the capture and were ignored",
            count(q.replayed, "packet")
        ));
    }
    if q.reordered > 0 {
        warnings.push(format!(
            "{} came just after their own acknowledgment: the capture changed the order of packets{}",
            count(q.reordered, "segment"),
            if context.shuffled {
                ", and what rests on which of two came first is possible at most"
            } else {
                ""
            }
        ));
    }
    if q.unseen > 0 {
        warnings.push(format!(
            "{} for data that is not in the capture: it lost packets or began late",
            count(q.unseen, "acknowledgment")
        ));
    }
    if q.several_ttls > 0 {
        warnings.push(format!(
            "on {} one end's packets had several TTLs: another device answers for it, or the route changed",
            count(q.several_ttls, "connection")
        ));
    }
    if context.has_no_clock() && q.segments >= NO_CHANCE {
        warnings.push(
            "all packets have the same time: the capture has no clock, and nothing that rests on times is told".to_owned(),
        );
    }
    if context.damaged {
        warnings.push(
            "the capture is not complete, so a missing packet confirms nothing, and a single half-close does not count \
             as trouble"
                .to_owned(),
        );
    }
    let left_out = g.left_out.connections();
    if left_out > 0 {
        warnings.push(format!(
            "of {} remarkable connections {} were examined, the first of each kind{}, and the others were only \
             counted: narrow the capture with --host, --port, --since, --until",
            left_out + g.examined as u64,
            g.examined,
            if g.left_out.others > 0 { "" } else { " and listener" }
        ));
    }
    let given_up = [
        (g.evicted, "connections were let go before their end: what became of them later is not known"),
        (g.let_go_segments, "segments of connections let go were not examined"),
        (
            g.strays,
            "segments belong to connections that were let go and forgotten, or joined in the middle, which are not told \
             apart",
        ),
        (
            g.repeated,
            "SYNs, about, repeat others that were forgotten: the number of connections is an estimate",
        ),
        (g.surplus, "handshakes that were never completed were only counted"),
        (g.forgone, "records of servers about their clients were not kept"),
        (g.unlisted, "connections belonged to listeners that did not fit"),
    ];
    let step = context.listeners.values().map(|listener| listener.seconds.step()).max();
    let coarse = step
        .filter(|step| *step > 1)
        .map(|step| format!("what happened at each listener was counted in steps of {step} seconds"));
    let given_up = given_up.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
    let given_up: Vec<String> = given_up.chain(coarse).collect();
    if !given_up.is_empty() {
        warnings.push(format!(
            "the memory limit of {} MiB was reached: {}; raise --memory-limit, or narrow the capture with --host, \
             --port, --since, --until",
            options.memory_limit >> 20,
            given_up.join("; "),
        ));
    }
}
