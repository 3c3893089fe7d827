//! Every detector is asked about every connection and every listener.

use std::collections::HashSet;

use rayon::prelude::*;

use crate::detect::context::CaptureContext;
use crate::detect::spec::{Examine, Property};
use crate::detect::{Draft, Found, registry};
use crate::flow::facts::ConnectionFacts;
use crate::flow::key::Host;
use crate::model::{Kind, Vantage};

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
pub(super) fn examine(
    kept: &mut Vec<Box<ConnectionFacts>>,
    context: &CaptureContext,
    after: Facts,
) -> Vec<Found> {
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
