//! All points analyzed, their connections matched, and one report written of them.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::capture::Source;
use crate::decode::segment::PacketId;
use crate::detect::registry;
use crate::detect::spec::Property;
use crate::detect::{Draft, FoundDraft};
use crate::engine::{self, Analysis, AnalysisOptions, Error, FaultSubject, Progress, StreamAnalysis};
use crate::fault;
#[cfg(test)]
use crate::fault::trap;
use crate::flow::facts::ConnectionFacts;
use crate::flow::key::Host;
use crate::model::Vantage;
use crate::model::path::distinct_names;
use crate::pair::account;
use crate::pair::listening::{Listening, TimestampOptions};
use crate::pair::loss::{CaptureNames, SideNaming};
use crate::pair::merge_findings::JoinedConnection;
use crate::pair::packet_match::{CaptureCoverage, MatchedConnection};
use crate::pair::packet_path::ConnectionPath;
use crate::pair::parallel::map_parallel;
use crate::pair::points::Points;
use crate::pair::trace::{self, PointRequest, PointTraces, Request, SoughtConnection, Track};
use crate::pair::watches::{self, Tracks};
use crate::seq::Seq;

/// Opens those of the inputs that are marked; the others keep their places.
pub type OpenInputs<'o> = &'o (dyn Fn(&[bool]) -> Result<Box<dyn Source>, Error> + Sync);

/// Connections that are compared packet by packet at most.
const MOST_TRACED: u64 = 8_192;

/// Analyzes what each point captured, and joins it.
pub fn analyze(
    inputs: usize,
    open: OpenInputs<'_>,
    points: &Points,
    options: &AnalysisOptions,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Analysis, Error> {
    let mut studies = Vec::new();
    for point in 0..points.count() {
        let own = options_of(points, point, options);
        let source = points.reclocked(point, open(&points.mask(point, inputs))?);
        studies.push(engine::study(source, &own, progress)?);
        // Packets that only one point has would look lost: so all points are read to the same time, or none is used.
        if options.stop.is_asked() && studies.len() < points.count() {
            return Err(Error::Stopped);
        }
    }
    let join = Join::new(points, options, studies);
    let request = join.request();
    let read = |point: usize| Ok(trace::collect(open(&points.mask(point, inputs))?, &request, point));
    let of_points = if request.wanted.is_empty() { 0 } else { points.count() };
    let traced: Result<Vec<PointTraces>, Error> =
        map_parallel(of_points, options.threads, read).into_iter().collect();
    Ok(join.outcome(traced?))
}

/// How one point is examined by itself.
pub fn options_of(points: &Points, point: usize, options: &AnalysisOptions) -> AnalysisOptions {
    AnalysisOptions {
        memory_limit: memory_limit_of_point(options.memory_limit, points.count()),
        placed: points.relative_vantage(point),
        #[cfg(feature = "fleet")]
        table: options.table.clone().map(|table| match &points.all[point].name {
            Some(name) => table.of_point(name),
            None => table.of_side(point),
        }),
        ..options.clone()
    }
}

/// The share of the memory limit that one of `points` may take.
pub fn memory_limit_of_point(memory_limit: u64, points: usize) -> u64 {
    memory_limit / points.max(1) as u64
}

/// The name of each point: the one that the user gave, or that of its capture, or that of its first capture and the
/// number of further ones.
fn names(points: &Points, studies: &[StreamAnalysis]) -> Vec<String> {
    let path = |point: usize| account::path_of(&studies[point].inputs.captures, points, point);
    let paths: Vec<String> = (0..points.count()).map(path).collect();
    let of_two = match &paths[..] {
        [a, b] => distinct_names(a, b).map(str::to_owned).to_vec(),
        _ => paths.clone(),
    };
    let of_point = of_two.into_iter().zip(&points.all);
    of_point
        .map(|(path, point)| match (&point.name, point.inputs.len()) {
            (Some(name), _) => name.clone(),
            (None, 0 | 1) => path,
            (None, n) => format!("{path} (and {} more)", n - 1),
        })
        .collect()
}

/// Everything that is joined.
pub struct Join<'j> {
    pub(super) points: &'j Points,
    pub(super) options: &'j AnalysisOptions,
    pub(super) studies: Vec<StreamAnalysis>,
    names: Vec<String>,
    /// The connections that are compared, then those for which there is no room.
    entries: Vec<ComparedConnection>,
    left_out: usize,
}

/// A connection that is compared: where its facts lie, point by point, and how it is found.
#[derive(Default)]
struct ComparedConnection {
    facts: Vec<(usize, usize)>,
    wanted: SoughtConnection,
}

/// The drafts about each connection of one point, by its first packet.
type ByConnection = HashMap<PacketId, Vec<FoundDraft>>;

impl<'j> Join<'j> {
    /// What a point is called.
    pub(super) fn name(&self, point: usize) -> &str {
        &self.names[point]
    }

    /// Whether the results of all points are there, in their order.
    pub fn new(points: &'j Points, options: &'j AnalysisOptions, studies: Vec<StreamAnalysis>) -> Join<'j> {
        let names = names(points, &studies);
        let mut join = Join { points, options, studies, names, entries: Vec::new(), left_out: 0 };
        if points.are_related() {
            (join.entries, join.left_out) = join.entries();
        }
        join
    }

    /// Which packets are to be looked for at all points.
    pub fn request(&self) -> Request {
        let traced = self.entries.len() - self.left_out;
        let wanted: Vec<SoughtConnection> = self.entries[..traced].iter().map(|e| e.wanted.clone()).collect();
        let are_cut = self.studies.iter().any(|study| study.inputs.quality.cut > 0);
        let of_point = |point: usize| PointRequest {
            servers: self.servers(&wanted, point),
            clock: self.points.all[point].clock.unwrap_or_default(),
        };
        let points = (0..self.points.count()).map(of_point).collect();
        let stamps = if are_cut { TimestampOptions::Cut } else { TimestampOptions::Whole };
        Request { points, stamps, wanted }
    }

    /// The report, made from the packets that were asked for, point by point; `found` is empty if none were asked for.
    pub fn outcome(mut self, traced: Vec<PointTraces>) -> Analysis {
        let entries = std::mem::take(&mut self.entries);
        let mut tracks: Vec<Tracks> = Vec::new();
        let mut listening = Vec::new();
        for (own, of_point) in traced {
            tracks.resize_with(own.len(), || Vec::with_capacity(self.points.count()));
            tracks.iter_mut().zip(own).for_each(|(all, own)| all.push(own));
            listening.push(of_point);
        }
        listening.resize(self.points.count(), Listening::default());
        let watches = watches::watches(self.points, &self.studies, listening, &tracks);
        let without_resets = watches::without_resets(self.points, &tracks, &watches);
        let (mut by_connection, of_listeners) = self.take_drafts();
        let (mut drafts, mut lost) = (Vec::new(), Vec::new());
        let tracks = tracks.iter().map(Some).chain(std::iter::repeat(None));
        for (entry, tracks) in entries.iter().zip(tracks) {
            let found = self.found(entry, &mut by_connection);
            let Some(tracks) = tracks else {
                drafts.extend(self.nearest_to_the_server(entry, found));
                continue;
            };
            let order = watches::in_order(self.points, tracks);
            if order.len() < 2 {
                let alone = found
                    .into_iter()
                    .enumerate()
                    .flat_map(|(point, some)| some.into_iter().map(move |found| (point, found)));
                drafts.extend(alone.map(|(point, found)| self.alone(found, entry, point, &watches)));
                continue;
            }
            let judged = fault::contain(|| {
                #[cfg(test)]
                trap::spring(trap::FaultPlace::Pair, tracks[order[0]].as_ref().map(|track| track.client));
                self.judge(entry, found, (tracks, &order), (&watches, &without_resets))
            });
            match (judged, self.facts(entry, &order)) {
                (Ok(judged), _) => drafts.extend(judged),
                (Err(fault), Some(facts)) => lost.push((FaultSubject::connection(None, facts), fault)),
                // No point had found anything about it.
                (Err(_), None) => {}
            }
        }
        drafts.extend(by_connection.into_iter().flat_map(HashMap::into_values).flatten());
        drafts.extend(self.about_listeners(of_listeners));
        drafts.sort_by_cached_key(|(d, _)| d.order());
        let base = self.points.from_servers()[0];
        lost.into_iter().for_each(|(about, fault)| self.studies[base].note_lost(about, fault));
        let Join { points, options, studies, names, left_out, .. } = self;
        account::report((points, &names), options, studies, drafts, left_out)
    }

    /// What the point nearest to the server keeps of a connection.
    fn facts(&self, entry: &ComparedConnection, order: &[usize]) -> Option<&ConnectionFacts> {
        order.iter().rev().find_map(|&point| self.facts_at(entry, point))
    }

    /// What a point keeps of a connection. Where addresses are translated, a point may know a connection under two
    /// names; the later name is the one under which its packets went on.
    fn facts_at(&self, entry: &ComparedConnection, point: usize) -> Option<&ConnectionFacts> {
        let own = entry.facts.iter().filter(|(at, _)| *at == point);
        let kept = own.map(|&(_, n)| &*self.studies[point].seen.gathered.kept[n]);
        kept.max_by_key(|f| f.first)
    }

    /// The drafts about a connection, by point. A draft that a point has under two names of a connection counts once.
    fn found(&self, entry: &ComparedConnection, by_connection: &mut [ByConnection]) -> Vec<Vec<FoundDraft>> {
        let mut found: Vec<Vec<FoundDraft>> = vec![Vec::new(); self.points.count()];
        let mut facts: Vec<(usize, &ConnectionFacts)> = entry
            .facts
            .iter()
            .map(|&(point, n)| (point, &*self.studies[point].seen.gathered.kept[n]))
            .collect();
        facts.sort_by_key(|(point, f)| (*point, std::cmp::Reverse(f.first)));
        for (point, f) in facts {
            let own = by_connection[point].remove(&f.first.packet).unwrap_or_default();
            let known: HashSet<_> = found[point].iter().map(|(d, _)| d.kind).collect();
            found[point].extend(own.into_iter().filter(|(d, _)| !known.contains(&d.kind)));
        }
        found
    }

    /// Where there was no room to compare packets, the point nearest to the server judges each connection once.
    fn nearest_to_the_server(
        &self,
        entry: &ComparedConnection,
        mut found: Vec<Vec<FoundDraft>>,
    ) -> Vec<FoundDraft> {
        let servers: HashMap<usize, Host> = entry
            .facts
            .iter()
            .filter_map(|&(point, _)| Some((point, self.facts_at(entry, point)?.server)))
            .collect();
        let mut points: Vec<usize> = servers.keys().copied().collect();
        points.sort_unstable();
        let order = self.points.in_order(points.into_iter(), |point| servers[&point]);
        let judging = order.into_iter().rev().find(|&point| !found[point].is_empty());
        judging.map(|point| std::mem::take(&mut found[point])).unwrap_or_default()
    }

    /// The findings that remain of a connection that several points have.
    fn judge(
        &self,
        entry: &ComparedConnection,
        mut found: Vec<Vec<FoundDraft>>,
        (tracks, order): (&Tracks, &[usize]),
        (watches, without_resets): (&[CaptureCoverage], &HashSet<Host>),
    ) -> Vec<FoundDraft> {
        let ends = [order[0], order[order.len() - 1]];
        let seen: Vec<(usize, &Track)> =
            order.iter().filter_map(|&point| Some((point, tracks[point].as_ref()?))).collect();
        let both = [seen[0].1, seen[seen.len() - 1].1];
        let hops = ConnectionPath::new(self.points, &self.names, seen, watches);
        let at = |side: usize| if side == 0 { 0 } else { order.len() - 1 };
        let named = CaptureNames {
            sides: ends.map(|point| self.name(point)),
            given: match self.points.all[ends[0]].name {
                Some(_) => SideNaming::Names,
                None => SideNaming::Paths,
            },
            lost: &|side, place| hops.lost_between(at(side), place),
            sent: &|side, place| hops.sent_between(at(side), place),
        };
        let vantage = |point: usize, track: &Track| {
            let view = self.studies[point].seen.context.views.get(&track.server.address);
            view.map_or(Vantage::Unknown, |view| view.vantage)
        };
        let trip = self.points.round_trip(ends[0], ends[1]);
        let joint = JoinedConnection {
            facts: ends.map(|point| self.facts_at(entry, point)),
            found: ends.map(|point| std::mem::take(&mut found[point])),
            passage: MatchedConnection::new(both, trip, ends.map(|point| &watches[point]), 0)
                .with_missing_between([hops.missing_between(0), hops.missing_between(order.len() - 1)]),
            near: 0,
            vantages: [vantage(ends[0], both[0]), vantage(ends[1], both[1])],
            without_resets: both.map(|track| without_resets.contains(&track.server)),
        };
        let mut merged = joint.merge_findings(&named);
        // The two outer points see all that happens to a connection. Points between them only add findings about
        // translation.
        let between = found.into_iter().flatten();
        merged.extend(between.filter(|(d, _)| registry::spec(d.kind).has(Property::SeenUnderAnotherAddress)));
        let last = ends[1];
        let names = (both[1].client, both[1].server);
        let described = merged.into_iter().map(|(mut d, vantage)| {
            hops.describe(&mut d);
            self.went_no_further((d, vantage), last, names, watches)
        });
        described.collect()
    }

    /// A finding about a connection that only one point has.
    fn alone(
        &self,
        mut found: FoundDraft,
        entry: &ComparedConnection,
        point: usize,
        watches: &[CaptureCoverage],
    ) -> FoundDraft {
        let (Some(client), Some(server)) = (found.0.client, found.0.server) else { return found };
        let is_other = |(at, c, s): &&(usize, Host, Host)| *at == point && (*c, *s) != (client, server);
        if let Some((_, c, s)) = entry.wanted.names.iter().find(is_other) {
            // Addresses are translated at the point itself.
            found.0.other_names = Some((watches[point].place, *c, *s));
        }
        self.went_no_further(found, point, (client, server), watches)
    }

    /// The drafts of each point: those about a connection, and those about a listener.
    fn take_drafts(&mut self) -> (Vec<ByConnection>, Vec<Vec<FoundDraft>>) {
        let mut by_connection: Vec<ByConnection> = Vec::new();
        let mut of_listeners: Vec<Vec<FoundDraft>> = Vec::new();
        for study in &mut self.studies {
            let (mut own, mut others) = (ByConnection::new(), Vec::new());
            for (draft, vantage) in std::mem::take(&mut study.seen.drafts) {
                match draft.connection {
                    Some(packet) => own.entry(packet).or_default().push((draft, vantage)),
                    None => others.push((draft, vantage)),
                }
            }
            by_connection.push(own);
            of_listeners.push(others);
        }
        (by_connection, of_listeners)
    }

    /// The connections of any point that are worth comparing, each once, and how many of the last ones have no room to
    /// be compared.
    fn entries(&self) -> (Vec<ComparedConnection>, usize) {
        // Of hundreds of points only the few on one path have a connection.
        let longest = self.points.paths.iter().map(|path| path.points.len()).max();
        let cost = longest.unwrap_or_default().max(2) as u64 * trace::COST;
        let room = (self.options.memory_limit / 8 / cost).clamp(64, MOST_TRACED) as usize;
        let mut entries: Vec<ComparedConnection> = Vec::new();
        let mut by_isn: HashMap<Option<Seq>, Vec<usize>> = HashMap::new();
        for point in self.points.from_servers() {
            let (study, is_named) = (&self.studies[point], self.points.all[point].name.is_some());
            let found: HashSet<PacketId> =
                study.seen.drafts.iter().filter_map(|(d, _)| d.connection).collect();
            for (n, f) in study.seen.gathered.kept.iter().enumerate() {
                let wanted = SoughtConnection::of(f, point);
                let known = by_isn.get(&wanted.isn).into_iter().flatten().copied().find(|&other| {
                    let known = &entries[other].wanted;
                    let named = || known.names.contains(&(point, f.client, f.server));
                    let twice = || is_named && wanted.is_translated(known) && !named();
                    known.is(&wanted) && (known.names_at(point).is_none() || twice())
                });
                if let Some(known) = known {
                    entries[known].facts.push((point, n));
                    entries[known].wanted.merge(&wanted);
                    continue;
                }
                if !found.contains(&f.first.packet) && f.syn.count < 2 && f.syn_ack.count < 2 {
                    continue;
                }
                by_isn.entry(wanted.isn).or_default().push(entries.len());
                entries.push(ComparedConnection { facts: vec![(point, n)], wanted });
            }
        }
        let left_out = entries.len().saturating_sub(room);
        (entries, left_out)
    }

    /// The servers of the connections compared, as a point knows them.
    fn servers(&self, wanted: &[SoughtConnection], point: usize) -> Vec<Host> {
        let mut servers = BTreeSet::new();
        for w in wanted {
            let own: Vec<Host> =
                w.names.iter().filter(|(at, ..)| *at == point).map(|(_, _, server)| *server).collect();
            let others = || w.names.iter().map(|(at, _, server)| self.points.name_at(*at, point, *server));
            match own.is_empty() {
                true => servers.extend(others()),
                false => servers.extend(own),
            }
        }
        // Where addresses are translated, a server has another name at each point.
        for ([near, far], link) in self.points.links() {
            let Some(side) = [near, far].iter().position(|&end| end == point) else { continue };
            let named: Vec<Host> = link
                .listeners()
                .filter(|names| names.iter().any(|n| servers.contains(n)))
                .map(|names| names[side])
                .collect();
            servers.extend(named);
        }
        servers.into_iter().collect()
    }

    /// The findings about listeners, each once, as the point nearest to the server has it.
    fn about_listeners(&self, mut of_points: Vec<Vec<FoundDraft>>) -> Vec<FoundDraft> {
        let mut kept: Vec<(usize, FoundDraft)> = Vec::new();
        for point in self.points.from_servers() {
            let said = |d: &Draft| {
                kept.iter().any(|(other, (known, _))| {
                    let there = d.server.map(|server| self.points.name_at(point, *other, server));
                    *other != point
                        && known.kind == d.kind
                        && (known.server == there || known.server == d.server)
                })
            };
            let own: Vec<FoundDraft> =
                std::mem::take(&mut of_points[point]).into_iter().filter(|(d, _)| !said(d)).collect();
            kept.extend(own.into_iter().map(|found| (point, found)));
        }
        kept.into_iter().map(|(_, found)| found).collect()
    }
}
