//! The end of a watch that lags behind: packets from before the end are in the report, and later ones are not waited for.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use synscope::capture::feed::{Feed, FeedResult, Interface};
use synscope::capture::{Block, LinkType, Packet};
use synscope::decode::segment::PacketId;
use synscope::engine::Analysis;
use synscope::live::run::{EndCondition, RunRequest, TimeSource, WatchRun};
use synscope::live::watch::{Watch, WatchSettings};
use synscope::time::{Span, Timestamp};

/// Packets that wait when the watch begins.
const WAITING: u64 = 100;

/// An interface whose packets have waited; one is read at a time, and slowly. Then more come without an end.
struct Backlog {
    begun: Timestamp,
    slowness: Duration,
    read: u64,
    clock: Timestamp,
    told_to_end: bool,
}

impl Backlog {
    fn new(slowness: Duration) -> Backlog {
        Backlog { begun: now(), slowness, read: 0, clock: Timestamp::MIN, told_to_end: false }
    }
}

fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    Timestamp(i64::try_from(now.as_nanos()).expect("a time before 2262"))
}

impl Feed for Backlog {
    fn next_block(&mut self, block: &mut Block, _: Duration) -> FeedResult {
        block.clear();
        thread::sleep(self.slowness);
        let waited = WAITING.saturating_sub(self.read) as i64;
        self.clock = if waited > 0 { self.begun.after(Span::millis(-waited)) } else { now() };
        self.read += 1;
        block.push(&Packet {
            id: PacketId::new(0, self.read),
            time: self.clock,
            timed: true,
            interface: 0,
            link: LinkType(1),
            original_length: 60,
            data: &[0; 60],
        });
        FeedResult::Packets
    }

    fn clock(&self) -> Timestamp {
        self.clock
    }

    fn interfaces(&self) -> Vec<Interface> {
        vec![Interface { name: "slow0".to_owned(), up: true, packets: self.read, ..Interface::default() }]
    }

    fn end_soon(&mut self) {
        self.told_to_end = true;
    }
}

/// Watches, and ends as soon as it may.
fn end_at_once(feed: &mut Backlog, until: EndCondition, wanted: RunRequest) -> (Analysis, Duration) {
    let run = WatchRun {
        feed,
        watch: Watch::new(WatchSettings::default(), None).expect("threads"),
        outputs: Vec::new(),
        recorder: None,
        until,
        pace: TimeSource::Machine,
    };
    let begun = Instant::now();
    let ended = run.run(|| wanted, |_| Ok(()));
    (*ended.outcome, begun.elapsed())
}

#[test]
fn packets_from_before_the_end_are_read_however_long_they_have_waited() {
    let signal = (EndCondition::default(), RunRequest::Stop);
    let duration = (EndCondition { packets: None, duration: Some(Span::millis(1)) }, RunRequest::Nothing);
    for (until, wanted) in [signal, duration] {
        // All of them take two seconds.
        let mut feed = Backlog::new(Duration::from_millis(20));
        let (outcome, took) = end_at_once(&mut feed, until, wanted);
        let packets = outcome.report.summary.packets;
        // Sixteen blocks are read before anybody looks at the clock.
        assert!((WAITING..WAITING + 32).contains(&packets), "{packets} packets in {took:?}");
        assert!(feed.told_to_end);
        assert!(!outcome.report.warnings.iter().any(|text| text.contains("are missing")));
    }
}

#[test]
fn what_could_not_be_read_in_time_is_told() {
    let mut feed = Backlog::new(Duration::from_millis(200));
    let (outcome, took) = end_at_once(&mut feed, EndCondition::default(), RunRequest::Stop);
    let (packets, warnings) = (outcome.report.summary.packets, &outcome.report.warnings);
    assert!(packets < WAITING, "{packets} packets in {took:?}");
    assert!(warnings.iter().any(|text| text.contains("s of the watch are missing")), "{warnings:?}");
}
