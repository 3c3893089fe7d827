//! The report on all points: what each of them adds to the one nearest to the servers.

use crate::detect::FoundDraft;
use crate::diagnose::settings;
use crate::engine::inputs::ReportLimitation;
use crate::engine::{Analysis, AnalysisOptions, StreamAnalysis};
use crate::model::{Capture, CapturePoint, Inferred, JoinedPoint, ListenerShare, OnlyIn, Pair, PathTaken};
use crate::pair::points::Points;
use crate::time::Span;

/// Paths and listeners of a path that are named in a report.
const MOST_NAMED: (usize, usize) = (200, 5);

/// Writes the report on `drafts`; `left_out` connections were not compared packet by packet.
pub fn report(
    (points, names): (&Points, &[String]),
    options: &AnalysisOptions,
    studies: Vec<StreamAnalysis>,
    drafts: Vec<FoundDraft>,
    left_out: usize,
) -> Analysis {
    let limits = limits((points, names), &studies, left_out);
    let counts: Vec<u64> = studies.iter().map(|study| study.seen.gathered.quality.connections).collect();
    let mut studies: Vec<Option<StreamAnalysis>> = studies.into_iter().map(Some).collect();
    let order = points.from_servers();
    let mut base = studies[order[0]].take().expect("there is a point, and its study is there");
    let mut capture_points = Vec::new();
    let mut inferred: Vec<Inferred> = Vec::new();
    // Where addresses are translated, one capture may hold a connection twice.
    let copies = points.all[order[0]].repeated.min(counts[order[0]]);
    base.seen.gathered.failures.outcomes.take_out_copies(copies);
    let mut connections = counts[order[0]] - copies;
    for &point in &order[1..] {
        let Some(mut study) = studies[point].take() else { continue };
        let captures = std::mem::take(&mut study.inputs.captures);
        for (n, capture) in captures.into_iter().enumerate() {
            if points.all[point].inputs.contains(&n) {
                base.inputs.captures[n] = capture;
            }
        }
        let path = path_of(&base.inputs.captures, points, point);
        capture_points.extend(views(&study, &drafts, &path));
        inferred.extend(settings_of(&study));
        base.adopt_judgements(&mut study);
        base.inputs.quality.add(&study.inputs.quality);
        if let (Some(all), Some(more)) = (&mut base.filtered, &study.filtered) {
            all.packets += more.packets;
            all.tcp_segments += more.tcp_segments;
        }
        let repeated = points.all[point].repeated.min(counts[point]);
        connections += counts[point] - repeated;
        base.seen.gathered.failures.join(std::mem::take(&mut study.seen.gathered.failures), repeated);
        base.seen.context.adopt_listeners(study.seen.context);
    }
    let captures = base.inputs.captures.clone();
    base.seen.drafts = drafts;
    base.inputs.limits = limits;
    base.seen.gathered.quality.connections = connections;
    let base_path = path_of(&captures, points, order[0]);
    let mut outcome = base.report(options);
    let report = &mut outcome.report;
    report.capture_points.iter_mut().for_each(|p| p.capture = Some(base_path.clone()));
    report.capture_points.extend(capture_points);
    for setting in inferred {
        if !report.inferred.iter().any(|i| (&i.host, &i.setting) == (&setting.host, &setting.setting)) {
            report.inferred.push(setting);
        }
    }
    if points.all.iter().all(|point| point.name.is_none()) {
        report.pairs = pair(points, &captures, &counts).into_iter().collect();
    } else {
        report.points = joined_points(points, &captures, &counts);
        report.paths = paths_taken(points);
    }
    outcome
}

/// The path of the first input of a point.
pub fn path_of(captures: &[Capture], points: &Points, point: usize) -> String {
    let first = points.all[point].inputs.first().and_then(|&n| captures.get(n));
    first.map(|c| c.path.clone()).unwrap_or_default()
}

fn settings_of(study: &StreamAnalysis) -> Vec<Inferred> {
    let gathered = &study.seen.gathered;
    settings::infer(&study.seen.context, &gathered.retries, &gathered.samples, &gathered.readings, &[])
}

/// Where a point was captured, for each server with a finding.
fn views(study: &StreamAnalysis, drafts: &[FoundDraft], capture: &str) -> Vec<CapturePoint> {
    let mut servers: Vec<_> = drafts.iter().filter_map(|(d, _)| d.server).map(|host| host.address).collect();
    servers.sort_unstable();
    servers.dedup();
    let known = servers.iter().filter_map(|server| Some((server, study.seen.context.views.get(server)?)));
    known
        .map(|(server, view)| CapturePoint {
            server: server.ip(),
            vantage: view.vantage,
            reason: view.reason.clone(),
            capture: Some(capture.to_owned()),
        })
        .collect()
}

/// What limits each point, with its name.
fn limits(
    (points, names): (&Points, &[String]),
    studies: &[StreamAnalysis],
    left_out: usize,
) -> Vec<ReportLimitation> {
    let mut all = Vec::new();
    for (point, study) in studies.iter().enumerate() {
        let path = path_of(&study.inputs.captures, points, point);
        let name = points.name(point, &path);
        all.extend(study.inputs.limits.iter().cloned().map(|limit| match limit {
            ReportLimitation::Other(text) => ReportLimitation::Other(format!("{name}: {text}")),
            damage @ ReportLimitation::Damage(_) => damage,
        }));
    }
    if left_out > 0 {
        let these = if points.count() > 2 { "captures" } else { "two captures" };
        all.push(ReportLimitation::Other(format!(
            "of {left_out} remarkable connections the {these} were not compared packet by packet: narrow them with \
             --host, --port, --since, --until"
        )));
    }
    for (point, of_point) in points.all.iter().enumerate() {
        if of_point.clock.is_none() && points.are_related() {
            all.push(ReportLimitation::Other(format!(
                "{}: none of its connections was seen at another point; its times are those of its own clock",
                names[point]
            )));
        }
    }
    all
}

/// Seconds to the microsecond. Adding 0.0 turns -0.0 into 0.0.
fn micro(span: Span) -> f64 {
    (span.0 as f64 / 1e3).round() / 1e6 + 0.0
}

/// Two points without names.
fn pair(points: &Points, captures: &[Capture], counts: &[u64]) -> Option<Pair> {
    let ([near, far], link) = points.link(0, 1)?;
    let paths = |point: usize| {
        points.all[point].inputs.iter().filter_map(|&n| captures.get(n)).map(|c| c.path.clone()).collect()
    };
    let matched = link.matched.min(counts[near]).min(counts[far]);
    let clock = link.clock;
    Some(Pair {
        client_side: paths(near),
        server_side: paths(far),
        offset_s: micro(Span(-clock.offset.0)),
        drift_ppm: (-clock.drift) as f64 / 1e3,
        uncertainty_s: clock.uncertainty.map(micro),
        round_trip_s: clock.round_trip.map(micro),
        connections_matched: matched,
        translated: link.translated.min(matched),
        only_in: OnlyIn { client_side: counts[near] - matched, server_side: counts[far] - matched },
        estimated: link.estimated,
    })
}

fn joined_points(points: &Points, captures: &[Capture], counts: &[u64]) -> Vec<JoinedPoint> {
    let one = |(n, point): (usize, &crate::pair::points::Point)| JoinedPoint {
        name: point.name.clone().unwrap_or_default(),
        captures: point.inputs.iter().filter_map(|&n| captures.get(n)).map(|c| c.path.clone()).collect(),
        connections: counts[n],
        reference: n == points.reference,
        offset_s: point.clock.map(|clock| micro(Span(-clock.offset.0))),
        drift_ppm: point.clock.map(|clock| (-clock.drift) as f64 / 1e3 + 0.0),
        uncertainty_s: match n == points.reference {
            true => Some(0.0),
            false => point.clock.and_then(|clock| clock.uncertainty).map(micro),
        },
    };
    points.all.iter().enumerate().map(one).collect()
}

fn paths_taken(points: &Points) -> Vec<PathTaken> {
    let name = |&point: &usize| points.all[point].name.clone().unwrap_or_default();
    let taken = points.paths.iter().take(MOST_NAMED.0).map(|path| PathTaken {
        points: path.points.iter().map(name).collect(),
        connections: path.connections,
        listeners: path.listeners.len() as u64,
        top_listeners: path
            .listeners
            .iter()
            .take(MOST_NAMED.1)
            .map(|(host, connections)| ListenerShare { listener: host.socket(), connections: *connections })
            .collect(),
    });
    taken.collect()
}
