//! The coverage of each point's capture as a whole: when it was listening, its losses, the behaviour of its listeners.

use std::collections::{HashMap, HashSet};

use crate::decode::segment::Flags;
use crate::engine::StreamAnalysis;
use crate::flow::facts::Role;
use crate::flow::key::Host;
use crate::pair::listening::{Completeness, Listening, PathWindow};
use crate::pair::packet_match::{Absence, CaptureCoverage, ListenerBehavior, MatchedConnection};
use crate::pair::points::Points;
use crate::pair::trace::{TracedSegment, Track};

/// A connection's packets at each point, where it was found.
pub type Tracks = Vec<Option<Track>>;

/// The watch of each point.
pub fn watches(
    points: &Points,
    studies: &[StreamAnalysis],
    listening: Vec<Listening>,
    tracks: &[Tracks],
) -> Vec<CaptureCoverage> {
    let checks: Vec<Completeness> =
        (0..points.count()).map(|point| check(points, &listening, point)).collect();
    let of_points = listening.into_iter().zip(checks).enumerate();
    of_points
        .map(|(point, (listening, check))| {
            let study = &studies[point];
            let (from, to) = study.seen.context.capture.unwrap_or_default();
            let quality = &study.inputs.quality;
            let lossy = quality.damaged || quality.cut > 0 || quality.unseen > 0;
            let mut habits: HashMap<Host, ListenerBehavior> = HashMap::new();
            for track in tracks.iter().filter_map(|all| all[point].as_ref()) {
                habits.entry(track.server).or_default().observe(track);
            }
            for (draft, _) in &study.seen.drafts {
                if let Some(server) = draft.server {
                    habits.entry(server).or_default().note(draft.kind);
                }
            }
            CaptureCoverage {
                from,
                to,
                lossy,
                place: points.all[point].inputs.first().map_or(0, |&n| n as u16),
                listening,
                check: check.within(from, to),
                habits,
            }
        })
        .collect()
}

/// What all other points show of the completeness of one.
fn check(points: &Points, listening: &[Listening], point: usize) -> Completeness {
    let mut all = Completeness::default();
    for other in (0..points.count()).filter(|&other| points.link(point, other).is_some()) {
        let passes_first = |server: Host, sender: Role| {
            let nearer = points.is_nearer_to_clients(point, other, server, other);
            nearer == (sender == Role::Client)
        };
        all.merge(listening[point].checked_by(&listening[other], &passes_first));
    }
    all
}

/// The listeners whose RSTs a point lacks altogether, although it was listening at several of the times at which other
/// points have one.
pub fn without_resets(points: &Points, tracks: &[Tracks], watches: &[CaptureCoverage]) -> HashSet<Host> {
    let mut lacking: HashMap<(usize, Host), HashSet<PathWindow>> = HashMap::new();
    let is_reset = |s: &TracedSegment| !s.by_client && s.flags.has(Flags::RST);
    for all in tracks {
        let Some(([near, far], [a, b])) = ends(points, all) else { continue };
        if ![a, b].iter().any(|track| track.segments.iter().any(is_reset)) {
            continue;
        }
        let both = [&watches[near], &watches[far]];
        let passage = MatchedConnection::new([a, b], points.round_trip(near, far), both, 0);
        for (side, track) in [a, b].into_iter().enumerate() {
            let server = [a, b][1 - side].server;
            for (i, _) in track.segments.iter().enumerate().filter(|(_, s)| is_reset(s)) {
                if matches!(passage.absence(side, i), Some(Absence::Certain | Absence::Likely)) {
                    lacking
                        .entry(([near, far][1 - side], server))
                        .or_default()
                        .extend(passage.frame(side, i));
                }
            }
        }
    }
    let none = |((point, server), frames): ((usize, Host), HashSet<PathWindow>)| {
        (frames.len() > 1 && !watches[point].listener_behavior(server).resets).then_some(server)
    };
    lacking.into_iter().filter_map(none).collect()
}

/// The points that have packets of a connection, the one nearest to the client first.
pub fn in_order(points: &Points, tracks: &Tracks) -> Vec<usize> {
    let with = tracks.iter().enumerate().filter_map(|(point, track)| Some((point, track.as_ref()?.server)));
    let servers: HashMap<usize, Host> = with.collect();
    let mut present: Vec<usize> = servers.keys().copied().collect();
    present.sort_unstable();
    points.in_order(present.into_iter(), |point| servers[&point])
}

/// The points nearest to the client and to the server, if there are two, and their tracks.
fn ends<'t>(points: &Points, tracks: &'t Tracks) -> Option<([usize; 2], [&'t Track; 2])> {
    let order = in_order(points, tracks);
    let (&near, &far) = (order.first()?, order.last()?);
    (near != far).then_some(())?;
    Some(([near, far], [tracks[near].as_ref()?, tracks[far].as_ref()?]))
}
