//! Reads all kept connections once, so that the detectors can compare them.

use crate::detect::analysis::end_of_flow::{FORGETFUL, FlowFailure, flow_failure};
use crate::detect::analysis::half_closed::half_closed_interval;
use crate::detect::analysis::host_activity::HostActivity;
use crate::detect::analysis::listener_activity::HalfClosedAtEnd;
use crate::detect::analysis::lone_syns::AllLoneSyns;
use crate::detect::context::CaptureContext;
use crate::flow::facts::{ConnectionFacts, Ending, Roles};
use crate::flow::key::{Host, Map};
use crate::history::host_pairs::HostPair;
use crate::history::incomplete::{HalfOpenRequest, IncompleteHandshakes};
use crate::history::interval::{Interval, UnservedInterval};
use crate::history::tw_recycle::SynFateCounts;
use rayon::prelude::*;

/// Reads all kept connections once, so that the detectors can compare them; `waits` are the intervals in which
/// completed connections waited for the application.
///
/// `incomplete` are handshakes that were never completed and were not kept, by listener; a listener may come more than
/// once.
pub fn survey(
    context: &mut CaptureContext,
    kept: &[Box<ConnectionFacts>],
    incomplete: Vec<(Host, IncompleteHandshakes)>,
    waits: &[UnservedInterval],
) {
    context.strays.match_with(kept);
    let end = context.capture.map(|(_, last)| last).unwrap_or_default();
    let answering = context.listeners.iter().filter(|(_, listener)| listener.answers > 0);
    context.answering = answering.map(|(host, _)| host.address).collect();
    for f in kept.iter().filter(|f| f.roles != Roles::Guessed) {
        context.activities.entry(f.server).or_default().record(f, end, &context.peers);
    }
    for activity in context.activities.values_mut() {
        activity.sort_stuck();
    }
    if !incomplete.is_empty() {
        let mut room: Map<Host, [usize; 2]> = Map::default();
        for (server, incomplete) in &incomplete {
            let room = room.entry(*server).or_default();
            let more = incomplete.answered_and_lone();
            *room = [room[0] + more[0], room[1] + more[1]];
        }
        for (server, room) in room {
            context.activities.entry(server).or_default().reserve(room);
        }
        for (server, incomplete) in incomplete {
            let is_behind = |h: &HalfOpenRequest| context.peers.is_suspect(h.syn.packet);
            context.activities.entry(server).or_default().record_incomplete(incomplete, end, is_behind);
        }
        context.activities.par_iter_mut().for_each(|(_, activity)| activity.sort());
    }
    context.note_silence(kept, end);
    context.lone_syns =
        AllLoneSyns::unanswered(&context.activities, end, |syn| context.peers.is_suspect(syn));
    // In a capture of handshakes only, no handshake has an end.
    if !context.handshakes_only {
        context.lone_answers = AllLoneSyns::answered(&context.activities, end, context.state);
    }
    for f in kept.iter().filter(|f| f.unanswered_syns().next().is_some()) {
        let pair = HostPair { client: f.client.address, server: f.server.address };
        let known = context.peers.tally(pair) != SynFateCounts::default();
        if known && !context.peers.is_suspect(f.first.packet) {
            context.activities.entry(f.server).or_default().unexplained += 1;
        }
    }
    for wait in waits {
        let interval = Interval { to: wait.interval.to.min(end), ..wait.interval };
        let activity = context.activities.entry(wait.server).or_default();
        // A client without a request does not wait for an answer.
        if wait.asked { &mut activity.waiting } else { &mut activity.idle }
            .push(UnservedInterval { interval, ..*wait });
    }
    context.hosts = HostActivity::of_all(&context.listeners, &context.activities);
    note_forgotten(context, kept);
    let left_open: Vec<_> = kept
        .iter()
        .filter_map(|f| {
            let half = half_closed_interval(f, &context.around(f))
                .filter(|half| half.ended_by.is_none() && half.breaks_rhythm())?;
            (f.ending == Ending::CaptureEnd && f.both_seen())
                .then_some((f.server, HalfClosedAtEnd { closer: half.closer, lasted: half.lasted() }))
        })
        .collect();
    for (server, left) in left_open {
        context.activities.entry(server).or_default().left_open.push(left);
    }
}

/// Notes, for each listener, the shortest pause after which a connection was forgotten.
fn note_forgotten(context: &mut CaptureContext, kept: &[Box<ConnectionFacts>]) {
    let forgotten: Vec<_> = kept
        .iter()
        // A shorter connection holds no such pause.
        .filter(|f| f.last.time - f.first.time >= FORGETFUL)
        .filter(|f| f.was_reset() || f.c.flight.idle.max(f.s.flight.idle) >= FORGETFUL)
        .filter_map(|f| match flow_failure(f, &context.around(f))? {
            // How long the pause was is not known where the capture began in it.
            FlowFailure::Forgotten { sender, idle, .. } if f.side(sender).flight.idle >= idle => {
                Some((f.server, idle))
            }
            FlowFailure::ResetWhenIdle { idle, .. } => Some((f.server, idle)),
            _ => None,
        })
        .collect();
    for (server, idle) in forgotten {
        let shortest = &mut context.activities.entry(server).or_default().forgotten;
        *shortest = Some(shortest.map_or(idle, |known| known.min(idle)));
    }
}
