//! Both sides analyzed, their connections matched, and one report written of them.

use std::collections::{HashMap, HashSet};
use std::thread;

use crate::capture::Source;
use crate::decode::segment::{Flags, PacketId};
use crate::detect::spec::Ignored;
use crate::detect::{Draft, Found, registry};
use crate::diagnose::settings;
use crate::engine::inputs::Limit;
use crate::engine::{self, About, Analysis, Error, Examination, Options, Progress};
use crate::fault;
#[cfg(test)]
use crate::fault::trap;
use crate::flow::facts::Role;
use crate::flow::key::Host;
use crate::model::path::apart;
use crate::model::{Capture, CapturePoint, Excluded, Kind, OnlyIn, Pair, Vantage};
use crate::pair::listening::{Check, Frame, Listening, Stamps};
use crate::pair::loss::CaptureNames;
use crate::pair::merge_findings::{JoinedConnection, own_cause};
use crate::pair::passage::{Absence, Habits, Passage, SEPARATE, TIGHT, Watch};
use crate::pair::recognise::Places;

use crate::pair::trace::{self, TracedSegment, Track, Wanted};
use crate::seq::Seq;
use crate::time::{Span, Timestamp};

/// Opens those of the inputs that are marked; the others keep their places.
pub type Opener<'o> = &'o (dyn Fn(&[bool]) -> Result<Box<dyn Source>, Error> + Sync);

/// Connections that are compared packet by packet at most.
const MOST_TRACED: u64 = 8_192;

/// Analyzes both sides and joins them.
pub fn analyze(
    inputs: usize,
    open: Opener<'_>,
    places: &Places,
    options: &Options,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Analysis, Error> {
    let mut studies = Vec::new();
    for side in [0, 1] {
        // The user's times are those of the report: side 1's.
        let by_own =
            |time: Option<Timestamp>| if side == 0 { time.map(|t| places.clock.back(t)) } else { time };
        let own = Options {
            since: by_own(options.since),
            until: by_own(options.until),
            memory_limit: options.memory_limit / 2,
            placed: places.are_related().then(|| places.placed(side)),
            #[cfg(feature = "fleet")]
            table: options.table.clone().map(|table| table.of_side(side)),
            ..options.clone()
        };
        studies.push(engine::study(open(&places.mask(side, inputs))?, &own, progress)?);
        // What one side has and the other not would look lost: of both or of none.
        if options.stop.is_asked() && studies.len() < 2 {
            return Err(Error::Stopped);
        }
    }
    let two = "two sides were studied";
    let (far, near) = (studies.pop().expect(two), studies.pop().expect(two));
    Join { places, options, open, inputs, studies: [near, far] }.outcome()
}

struct Join<'j> {
    places: &'j Places,
    options: &'j Options,
    open: Opener<'j>,
    inputs: usize,
    studies: [Examination; 2],
}

/// A connection that is compared: where its facts lie on each side, and how it is found.
#[derive(Default)]
struct Entry {
    facts: [Option<usize>; 2],
    wanted: Wanted,
}

/// The drafts about each connection, by its first packet.
type ByConnection = HashMap<PacketId, Vec<Found>>;

/// A connection's packets on both sides, where it was found.
type Tracks = [Option<Track>; 2];

impl Join<'_> {
    fn outcome(mut self) -> Result<Analysis, Error> {
        let (entries, left_out) = if self.places.are_related() { self.entries() } else { (Vec::new(), 0) };
        let traced = entries.len() - left_out;
        let wanted: Vec<Wanted> = entries[..traced].iter().map(|e| e.wanted.clone()).collect();
        let (tracks, listening) = self.tracks(&wanted)?;
        let watches = self.watches(listening, &tracks);
        let watches = [&watches[0], &watches[1]];
        let paths = self.names();
        let named = CaptureNames { paths: [&paths[0], &paths[1]] };
        let clock = self.places.clock;

        let mut drafts: Vec<Found> = Vec::new();
        let (mut by_connection, of_listeners) = self.take_drafts();
        let mut lost = Vec::new();
        let without_resets = self.without_resets(&tracks, watches);
        let tracks = tracks.iter().map(Some).chain(std::iter::repeat(None));
        for (entry, tracks) in entries.iter().zip(tracks) {
            let facts =
                [0, 1].map(|side| entry.facts[side].map(|n| &*self.studies[side].seen.gathered.kept[n]));
            let found = [0, 1].map(|side: usize| {
                facts[side].and_then(|f| by_connection[side].remove(&f.first.packet)).unwrap_or_default()
            });
            match tracks {
                Some([Some(a), Some(b)]) => {
                    let near = self.places.client_side(b.server.address);
                    let vantage = |side: usize, track: &Track| {
                        let view = self.studies[side].seen.context.views.get(&track.server.address);
                        view.map_or(Vantage::Unknown, |view| view.vantage)
                    };
                    let joint = JoinedConnection {
                        facts,
                        found,
                        passage: Passage::new([a, b], clock, watches, near),
                        near,
                        vantages: [vantage(0, a), vantage(1, b)],
                        without_resets: [a, b].map(|track| without_resets.contains(&track.server)),
                    };
                    let settled = fault::contain(|| {
                        #[cfg(test)]
                        trap::spring(trap::Place::Pair, Some(a.client));
                        joint.merge_findings(&named)
                    });
                    match (settled, facts[1].or(facts[0])) {
                        (Ok(settled), _) => drafts.extend(settled),
                        (Err(fault), Some(facts)) => lost.push((About::connection(None, facts), fault)),
                        // Neither side had found anything about it.
                        (Err(_), None) => {}
                    }
                }
                Some(_) => {
                    for (side, some) in found.into_iter().enumerate() {
                        drafts.extend(some.into_iter().map(|found| self.alone(found, side, watches, &named)));
                    }
                }
                // Not compared packet by packet: the capture nearer to the server judges, each connection once.
                None => {
                    let near = facts[1].map_or(0, |f| self.places.client_side(f.server.address));
                    let [a, b] = found;
                    let (of_client, of_server) = if near == 0 { (a, b) } else { (b, a) };
                    let judged = facts.iter().all(Option::is_some) && !of_server.is_empty();
                    drafts.extend(of_client.into_iter().filter(|_| !judged));
                    drafts.extend(of_server);
                }
            }
        }
        drafts.extend(by_connection.into_iter().flat_map(HashMap::into_values).flatten());
        let [near, far] = of_listeners;
        drafts.extend(near.into_iter().filter(|(d, _)| !self.is_said(d, &far)));
        drafts.extend(far);
        drafts.sort_by_cached_key(|(d, _)| d.order());
        lost.into_iter().for_each(|(about, fault)| self.studies[1].note_lost(about, fault));
        Ok(self.report(drafts, left_out))
    }

    /// The drafts of each side, by the second side's clock: those about a connection, and those about a listener.
    fn take_drafts(&mut self) -> ([ByConnection; 2], [Vec<Found>; 2]) {
        let clock = self.places.clock;
        let mut by_connection: [ByConnection; 2] = Default::default();
        let mut of_listeners: [Vec<Found>; 2] = Default::default();
        for side in [0, 1] {
            for (mut draft, vantage) in std::mem::take(&mut self.studies[side].seen.drafts) {
                if side == 0 {
                    draft.by_clock(|t| clock.there(t));
                }
                match draft.connection {
                    Some(packet) => by_connection[side].entry(packet).or_default().push((draft, vantage)),
                    None => of_listeners[side].push((draft, vantage)),
                }
            }
        }
        (by_connection, of_listeners)
    }

    /// The connections of either side that deserve it, those of both sides as one; and for how many of them, the last
    /// ones, there is no room to compare their packets.
    fn entries(&self) -> (Vec<Entry>, usize) {
        let room = (self.options.memory_limit / 8 / (2 * trace::COST)).clamp(64, MOST_TRACED) as usize;
        let mut entries: Vec<Entry> = Vec::new();
        let mut by_isn: HashMap<Option<Seq>, Vec<usize>> = HashMap::new();
        for side in [1, 0] {
            let study = &self.studies[side];
            let found: HashSet<PacketId> =
                study.seen.drafts.iter().filter_map(|(d, _)| d.connection).collect();
            for (n, f) in study.seen.gathered.kept.iter().enumerate() {
                let wanted = Wanted::of(f, side);
                let known = by_isn.get(&wanted.isn).into_iter().flatten().copied().find(|&other| {
                    let entry = &entries[other];
                    entry.facts[side].is_none() && entry.wanted.is(&wanted)
                });
                if let Some(known) = known {
                    entries[known].facts[side] = Some(n);
                    entries[known].wanted.merge(&wanted);
                    continue;
                }
                if !found.contains(&f.first.packet) && f.syn.count < 2 && f.syn_ack.count < 2 {
                    continue;
                }
                by_isn.entry(wanted.isn).or_default().push(entries.len());
                let mut facts = [None; 2];
                facts[side] = Some(n);
                entries.push(Entry { facts, wanted });
            }
        }
        let left_out = entries.len().saturating_sub(room);
        (entries, left_out)
    }

    /// The packets of those connections on both sides, and when each side was listening.
    fn tracks(&self, wanted: &[Wanted]) -> Result<(Vec<Tracks>, [Listening; 2]), Error> {
        if wanted.is_empty() {
            return Ok(Default::default());
        }
        let source = |side| (self.open)(&self.places.mask(side, self.inputs));
        let (near, far) = (source(0)?, source(1)?);
        let are_cut = self.studies.iter().any(|study| study.inputs.quality.cut > 0);
        let stamps = if are_cut { Stamps::Cut } else { Stamps::Whole };
        let mut listening = [0, 1].map(|side| Listening::to(self.servers(wanted, side), stamps));
        let [of_near, of_far] = &mut listening;
        let (a, b) = if self.options.threads == 1 {
            (trace::collect(near, wanted, 0, of_near), trace::collect(far, wanted, 1, of_far))
        } else {
            thread::scope(|scope| {
                let near = scope.spawn(fault::on_thread(|| trace::collect(near, wanted, 0, of_near)));
                let far = trace::collect(far, wanted, 1, of_far);
                (near.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), far)
            })
        };
        Ok((a.into_iter().zip(b).map(|(a, b)| [a, b]).collect(), listening))
    }

    /// The servers of the connections compared, as a side knows them.
    fn servers(&self, wanted: &[Wanted], side: usize) -> HashSet<Host> {
        let mut servers = HashSet::new();
        for w in wanted {
            let own = w.names[side].map(|(_, server)| server);
            let far = w.names[0].and_then(|(_, server)| self.places.listeners.get(&server)).copied();
            let other = w.names[1 - side].map(|(_, server)| server);
            servers.extend(own.or(far.filter(|_| side == 1)).or(other));
        }
        // Translated, the same server has another name on each side.
        let known = self.places.listeners.iter().map(|(near, far)| [*near, *far]);
        let named: Vec<Host> =
            known.filter(|names| names.iter().any(|n| servers.contains(n))).map(|n| n[side]).collect();
        servers.extend(named);
        servers
    }

    /// Listeners, as either side knows them, of which a side lacks RSTs at several times and has none.
    fn without_resets(&self, tracks: &[Tracks], watches: [&Watch; 2]) -> HashSet<Host> {
        let mut lacking: HashMap<(usize, Host), HashSet<Frame>> = HashMap::new();
        for both in tracks {
            let [Some(a), Some(b)] = both else { continue };
            let is_reset = |s: &TracedSegment| !s.by_client && s.flags.has(Flags::RST);
            if ![a, b].iter().any(|track| track.segments.iter().any(is_reset)) {
                continue;
            }
            let near = self.places.client_side(b.server.address);
            let passage = Passage::new([a, b], self.places.clock, watches, near);
            for (side, track) in [a, b].into_iter().enumerate() {
                let server = [a, b][1 - side].server;
                for (i, _) in track.segments.iter().enumerate().filter(|(_, s)| is_reset(s)) {
                    if matches!(passage.absence(side, i), Some(Absence::Certain | Absence::Likely)) {
                        lacking.entry((1 - side, server)).or_default().extend(passage.frame(side, i));
                    }
                }
            }
        }
        let none = |((side, server), frames): ((usize, Host), HashSet<Frame>)| {
            (frames.len() > 1 && !watches[side].habits(server).resets).then_some(server)
        };
        lacking.into_iter().filter_map(none).collect()
    }

    fn watches(&self, listening: [Listening; 2], tracks: &[Tracks]) -> [Watch; 2] {
        let clock = self.places.clock;
        let checks = [0, 1].map(|side: usize| {
            // A server as the other side knows it; side 1's name of it tells which side its packets pass first.
            let passes_first = |server: Host, sender: Role| {
                let named = match side {
                    1 => self.places.listeners.get(&server).copied().unwrap_or(server),
                    _ => server,
                };
                let near = self.places.client_side(named.address);
                side == if sender == Role::Client { near } else { 1 - near }
            };
            let due = |at| if side == 0 { clock.back(at) } else { clock.there(at) };
            listening[side].checked_by(&listening[1 - side], &passes_first, &due)
        });
        let [near, far] = listening;
        let [of_near, of_far] = checks;
        [self.watch(0, near, of_near, tracks), self.watch(1, far, of_far, tracks)]
    }

    fn watch(&self, side: usize, listening: Listening, check: Check, tracks: &[Tracks]) -> Watch {
        let study = &self.studies[side];
        let (from, to) = study.seen.context.capture.unwrap_or_default();
        let quality = &study.inputs.quality;
        let lossy = quality.damaged || quality.cut > 0 || quality.unseen > 0;
        let mut habits: HashMap<Host, Habits> = HashMap::new();
        for track in tracks.iter().filter_map(|both| both[side].as_ref()) {
            habits.entry(track.server).or_default().observe(track);
        }
        for (draft, _) in &study.seen.drafts {
            if let Some(server) = draft.server {
                habits.entry(server).or_default().note(draft.kind);
            }
        }
        Watch {
            from,
            to,
            lossy,
            place: self.places.sides[side].first().map_or(0, |&n| n as u16),
            listening,
            check: check.within(from, to),
            habits,
        }
    }

    /// What the sides are called: by their captures, or the first of them and how many more there are.
    fn names(&self) -> [String; 2] {
        let paths = [0, 1].map(|side: usize| path_of(&self.studies[side].inputs.captures, self.places, side));
        let names = apart(&paths[0], &paths[1]);
        [0, 1].map(|side: usize| match self.places.sides[side].len() {
            0 | 1 => names[side].to_owned(),
            n => format!("{} (and {} more)", names[side], n - 1),
        })
    }

    /// A finding on a connection that only `side` has. The packets did not reach the other side if `side`
    /// is the client's and the other one demonstrably captured connections to this listener at that time.
    fn alone(
        &self,
        (mut d, vantage): Found,
        side: usize,
        watches: [&Watch; 2],
        named: &CaptureNames<'_>,
    ) -> Found {
        let (Some(client), Some(server)) = (d.client, d.server) else { return (d, vantage) };
        let there = self.places.listeners.get(&server).copied().unwrap_or(server);
        let near = self.places.client_side(there.address);
        // Others of this client, or too many clients for a capture filtered by client.
        let common = self.places.common.contains(&(client.address, server))
            || self.places.clients.get(&there).is_some_and(|n| *n > 1);
        if side != 0 || side != near || !common || !self.was_listening(&d, there, watches[1]) {
            return (d, vantage);
        }
        let other = named.side(1 - side);
        let reason = format!(
            "no packet of it is in {other}, which holds other connections to this listener from that time"
        );
        match d.kind {
            kind if registry::spec(kind).ignored == Ignored::Syns => {
                let queue = own_cause(&d);
                d.kind = Kind::HandshakeLoss;
                d.cause.text =
                    "The SYNs were dropped between the two captures: the network lost them, or a firewall dropped them.".into();
                d.cause.kernel_functions.clear();
                d.cause.sysctls.clear();
                d.cause.counters = vec!["TcpExtTCPSynRetrans".into()];
                d.excluded.push(Excluded { suspect: queue, why: reason.clone() });
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
                    "A device between the two captures refused the connection: the SYN never reached the server."
                        .into();
                d.cause.counters.clear();
                d.alternatives.clear();
                d.measure("by", "middlebox").measure("by_firewall", true);
                d.probable(reason);
            }
            _ => {}
        }
        (d, vantage)
    }

    /// Whether the other side demonstrably captured the listener's connections when the packets of a finding were due. They
    /// were due at several times, so one hole in the capture cannot have hidden them all.
    fn was_listening(&self, d: &Draft, listener: Host, watch: &Watch) -> bool {
        let (from, to) = d.during();
        if watch.loses_packets() || from < watch.from || to > watch.to {
            return false;
        }
        let error = self.places.clock.uncertainty.unwrap_or(Span::ZERO);
        let mut frames = Vec::new();
        for (at, _) in d.evidence() {
            let (from, to) = (at.time + Span(-error.0), at.time + error);
            let Some(frame) = watch.listening.around(listener.address, from, to) else { return false };
            frames.push(frame);
        }
        frames.dedup();
        let habits = watch.habits(listener);
        let ignores = if d.kind == Kind::ConnectionRefused { habits.resets } else { habits.ignores_syns };
        let tight = frames.iter().any(|frame| frame.widest <= TIGHT);
        frames.len() >= SEPARATE || !ignores && (tight || frames.len() > 1)
    }

    /// Whether the server's side says of a listener what the client's side does.
    fn is_said(&self, d: &Draft, far: &[Found]) -> bool {
        let server =
            d.server.map(|server: Host| self.places.listeners.get(&server).copied().unwrap_or(server));
        far.iter()
            .any(|(other, _)| other.kind == d.kind && (other.server == server || other.server == d.server))
    }

    fn report(self, drafts: Vec<Found>, left_out: usize) -> Analysis {
        let Join { places, options, studies, .. } = self;
        let [mut near, mut far] = studies;
        let connections = [&near, &far].map(|study| study.seen.gathered.quality.connections);
        let matched = places.matched.min(connections[0]).min(connections[1]);
        for (n, capture) in std::mem::take(&mut near.inputs.captures).into_iter().enumerate() {
            if places.sides[0].contains(&n) {
                far.inputs.captures[n] = capture;
            }
        }
        let limits = joined_limits(&near, &far, places, left_out);
        let points = points(&near, &drafts, places, &far.inputs.captures);
        let gathered = &near.seen.gathered;
        let early = settings::infer(
            &near.seen.context,
            &gathered.retries,
            &gathered.samples,
            &gathered.readings,
            &[],
        );
        let pair = pair(places, &far.inputs.captures, matched, connections);
        let far_side = path_of(&far.inputs.captures, places, 1);
        far.seen.drafts = drafts;
        far.adopt_judgements(&mut near);
        far.inputs.limits = limits;
        far.inputs.quality.add(&near.inputs.quality);
        if let (Some(all), Some(more)) = (&mut far.filtered, &near.filtered) {
            all.packets += more.packets;
            all.tcp_segments += more.tcp_segments;
        }
        far.seen.gathered.quality.connections = connections[0] + connections[1] - matched;
        far.seen.gathered.failures.join(std::mem::take(&mut near.seen.gathered.failures), matched);
        let mut outcome = far.report(options);
        let report = &mut outcome.report;
        report.pairs = if places.are_related() { vec![pair] } else { Vec::new() };
        report.capture_points.iter_mut().for_each(|p| p.capture = Some(far_side.clone()));
        report.capture_points.extend(points);
        for setting in early {
            let known =
                |i: &crate::model::Inferred| (&i.host, &i.setting) == (&setting.host, &setting.setting);
            if !report.inferred.iter().any(known) {
                report.inferred.push(setting);
            }
        }
        outcome
    }
}

fn path_of(captures: &[Capture], places: &Places, side: usize) -> String {
    let first = places.sides[side].first().and_then(|&n| captures.get(n));
    first.map(|c| c.path.clone()).unwrap_or_default()
}

/// Where the client's side was captured, for each server with a finding.
fn points(near: &Examination, drafts: &[Found], places: &Places, captures: &[Capture]) -> Vec<CapturePoint> {
    let mut servers: Vec<_> = drafts.iter().filter_map(|(d, _)| d.server).map(|host| host.address).collect();
    servers.sort_unstable();
    servers.dedup();
    let capture = path_of(captures, places, 0);
    let known = servers.iter().filter_map(|server| Some((server, near.seen.context.views.get(server)?)));
    known
        .map(|(server, view)| CapturePoint {
            server: server.ip(),
            vantage: view.vantage,
            reason: view.reason.clone(),
            capture: Some(capture.clone()),
        })
        .collect()
}

/// What limits each side, with its name.
fn joined_limits(near: &Examination, far: &Examination, places: &Places, left_out: usize) -> Vec<Limit> {
    let mut all = Vec::new();
    for (side, study) in [(0, near), (1, far)] {
        let (near, far) = (&near.inputs.captures, &far.inputs.captures);
        let path = path_of(if side == 0 && !near.is_empty() { near } else { far }, places, side);
        all.extend(study.inputs.limits.iter().cloned().map(|limit| match limit {
            Limit::Other(text) => Limit::Other(format!("{path}: {text}")),
            damage @ Limit::Damage(_) => damage,
        }));
    }
    if left_out > 0 {
        all.push(Limit::Other(format!(
            "of {left_out} remarkable connections the two captures were not compared packet by packet: narrow them with \
             --host, --port, --since, --until"
        )));
    }
    all
}

fn pair(places: &Places, captures: &[Capture], matched: u64, connections: [u64; 2]) -> Pair {
    let paths = |side: usize| {
        places.sides[side].iter().filter_map(|&n| captures.get(n)).map(|c| c.path.clone()).collect()
    };
    // Added to nothing: minus nothing is nothing.
    let micro = |span: Span| (span.0 as f64 / 1e3).round() / 1e6 + 0.0;
    let clock = places.clock;
    Pair {
        client_side: paths(0),
        server_side: paths(1),
        offset_s: micro(Span(-clock.offset.0)),
        drift_ppm: (-clock.drift) as f64 / 1e3,
        uncertainty_s: clock.uncertainty.map(micro),
        round_trip_s: clock.round_trip.map(micro),
        connections_matched: matched,
        translated: places.translated.min(matched),
        only_in: OnlyIn { client_side: connections[0] - matched, server_side: connections[1] - matched },
        estimated: places.estimated,
    }
}
