//! The triage makes the same of a connection in whatever form it comes.

use proptest::prelude::*;

use crate::detect::registry;
use crate::flow::ended::EndedFlow;
use crate::flow::tracker::{TOGETHER, Tracker};
use crate::flow::wire::{Wire, courses};
use crate::history::settings::UserSettings;
use crate::history::triage::Triage;
use crate::history::tw_recycle::TwRecycleModel;
use crate::time::{Span, Timestamp};

/// Half of the segments, then the rest with the end of the capture; everything in form of facts if `as_facts`.
fn screened(wire: &Wire, as_facts: bool, limit: usize) -> Triage {
    let segments = wire.segments();
    let end = segments.last().map_or(Timestamp::MIN, |s| s.time);
    let mut triage =
        Triage::new(limit, 1 << 10, UserSettings { half_close_after: Span::millis(100) }, registry::WANTS);
    let mut tracker = Tracker::new(1 << 10);
    let peers = TwRecycleModel::default();
    let record = |triage: &mut Triage, gone: EndedFlow<'_>, end, peers| match as_facts {
        true => triage.record(EndedFlow::Full(&gone.facts()), end, peers),
        false => triage.record(gone, end, peers),
    };
    tracker.segments(segments.chunks(TOGETHER), |gone| record(&mut triage, gone, Timestamp::MAX, None));
    triage.resolve(&peers);
    tracker.finish_into(|gone| record(&mut triage, gone, end, Some(&peers)));
    triage
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn the_form_makes_no_difference(wire in courses::few(), limit in 1_usize..9) {
        let (mut short, mut full) = (screened(&wire, false, limit), screened(&wire, true, limit));
        prop_assert_eq!(&short.listeners, &full.listeners);
        prop_assert_eq!(&short.samples, &full.samples);
        prop_assert_eq!(&short.incomplete, &full.incomplete);
        prop_assert_eq!(&short.waits, &full.waits);
        prop_assert_eq!(&short.readings, &full.readings);
        prop_assert_eq!(short.quality, full.quality);
        prop_assert_eq!(&short.left_out, &full.left_out);
        prop_assert!(short.drain_syn_fates().eq(full.drain_syn_fates()));
        prop_assert_eq!(short.take_kept(), full.take_kept());
    }
}
