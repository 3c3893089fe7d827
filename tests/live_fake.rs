//! The whole watch without an interface: recorded captures are played as if they came in now.

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use support::live::{
    ACK, Days, FIN, Host, RST, SERVER, SYN, Script, Told, connection, remembering, segment, watch, watch_by,
    watch_until,
};
use support::{Case, analyze, cases, claims, options, outside};
use synscope::capture::LinkType;
use synscope::capture::feed::Feed;
use synscope::engine::Analysis;
use synscope::live::event::LiveEvent;
use synscope::live::log::TextLog;
use synscope::live::run::EndCondition;
use synscope::live::watch::WatchSettings;
use synscope::model::{Certainty, Finding, Kind, Report};
use synscope::report::terminal::Look;
use synscope::time::{Span, Timestamp};

/// The last report of `live` must equal that of `analyze` on the same packets, to the letter. Few of the events before
/// it may have been wrong.
#[test]
fn live_says_in_the_end_what_analyze_says() {
    let mut said = Said::default();
    for case in cases() {
        // The RST of the translated connection and the segment under the inner address are told as one finding first; its
        // severity is then that of two connections, not of one.
        let told_twice = case.name.ends_with("untranslated-segment/entry-lost");
        for capture in case.truth.captures.iter().filter(|_| !told_twice) {
            said.compare(&case.folder.join(&capture.file));
        }
    }
    said.is_steady();
    assert!(said.opened > 100, "{}", said.opened);
}

/// The same of larger sets of recordings.
#[test]
#[ignore = "needs recordings: SYNSCOPE_CAPTURES=FOLDER cargo test recordings -- --ignored"]
fn live_says_what_analyze_says_of_all_recordings() {
    for (variable, beside) in
        [("SYNSCOPE_CAPTURES", "captures"), ("SYNSCOPE_CAPTURES_OLD", "captures-oldkernel")]
    {
        let folder = outside(variable, beside);
        let mut said = Said::default();
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "pcap") {
                said.compare(&entry.path());
            }
        }
        said.is_steady();
    }
}

/// All events before the report.
#[derive(Default)]
struct Said {
    opened: usize,
    withdrawn: Vec<String>,
}

impl Said {
    fn compare(&mut self, path: &Path) {
        let (told, outcome) = watch(&mut Script::of_capture(path), remembering(options()), None);
        let expected = analyze(path).report;
        let name = path.display();
        assert_eq!(claims(&outcome.report), claims(&expected), "{name}");
        assert_eq!(replay(&told.events), claims(&outcome.report), "{name}");
        assert_eq!(without_names(outcome.report.findings), without_names(expected.findings), "{name}");
        for event in &told.events {
            match event {
                LiveEvent::Opened { .. } => self.opened += 1,
                LiveEvent::Withdrawn { finding, .. } => self.withdrawn.push(format!("{name} {finding}")),
                _ => {}
            }
        }
    }

    fn is_steady(&self) {
        let Said { opened, withdrawn } = self;
        println!("{} of {opened} were withdrawn", withdrawn.len());
        assert!(withdrawn.len() * 50 <= *opened, "{} of {opened}: {withdrawn:#?}", withdrawn.len());
    }
}

/// What stands after all events.
fn replay(events: &[LiveEvent]) -> Vec<String> {
    let mut standing: BTreeMap<&str, String> = BTreeMap::new();
    for event in events {
        match event {
            LiveEvent::Opened { finding, .. } => {
                let known = standing.insert(&finding.id, support::claim(finding));
                assert_eq!(known, None, "opened twice");
            }
            LiveEvent::Updated { was, finding, .. } => {
                let before = standing.remove(was.as_deref().unwrap_or(&finding.id));
                assert!(before.is_some(), "updated before it was opened: {finding:?}");
                standing.insert(&finding.id, support::claim(finding));
            }
            LiveEvent::Withdrawn { finding, .. } => {
                assert!(standing.remove(finding.as_str()).is_some(), "withdrawn before it was opened");
            }
            _ => {}
        }
    }
    let mut standing: Vec<String> = standing.into_values().collect();
    standing.sort();
    standing
}

/// Findings without the name of the capture.
fn without_names(mut findings: Vec<Finding>) -> Vec<Finding> {
    for finding in &mut findings {
        finding.evidence.iter_mut().for_each(|e| e.capture = "".into());
        finding.display_filters = None;
    }
    findings
}

fn overflow_case() -> (PathBuf, SocketAddr) {
    let case = Case::named("accept-queue-overflow/slow-accept");
    let server = *case.truth.servers.first().expect("a server");
    (case.capture("server"), server)
}

fn first_packet(path: &Path) -> Timestamp {
    Script::of_capture(path).clock()
}

fn of_kind(outcome: &Analysis, kind: Kind) -> Vec<&Finding> {
    outcome.report.findings.iter().filter(|f| f.kind == kind).collect()
}

/// A packet finding and a counter that moved in its time make it certain, and both numbers are said.
#[test]
fn counters_that_move_with_the_packets_confirm_an_overflow() {
    let (path, server) = overflow_case();
    let alone = watch(&mut Script::of_capture(&path), remembering(options()), None).1;
    let expected = of_kind(&alone, Kind::AcceptQueueOverflow).len();
    assert!(expected > 0);
    let mut host = Host::new(server);
    let begin = first_packet(&path);
    for n in 0..40 {
        for name in ["TcpExtListenOverflows", "TcpExtListenDrops"] {
            host.rises.push((begin + Span::millis(200 * n), name, 5));
        }
    }
    let mut script = Script::of_capture(&path);
    script.begin_earlier(Span::secs(2));
    let (told, outcome) = watch(&mut script, remembering(options()), Some(Box::new(host)));
    // One more tells what the listener refused in all.
    let found = of_kind(&outcome, Kind::AcceptQueueOverflow);
    assert_eq!(found.iter().filter(|finding| finding.client.is_some()).count(), expected);
    for finding in found {
        assert_eq!(finding.certainty, Certainty::Confirmed, "{finding:#?}");
        assert!(finding.metrics["host_ListenOverflows"].as_u64() > Some(0), "{finding:#?}");
        assert!(finding.certainty_reason.contains("ListenOverflows rose by"), "{finding:#?}");
    }
    let watched = told.state.incidents.iter().find(|w| w.incident.kind == Kind::AcceptQueueOverflow);
    assert!(
        watched
            .and_then(|w| w.corroboration.as_deref())
            .is_some_and(|said| said.contains("by its own drop count"))
    );
    let queue = &told.state.listeners.iter().find(|l| l.address == server).expect("it listens");
    assert_eq!((queue.queue, queue.limit, queue.drops), (Some(1), Some(4), Some(200)));
    assert_eq!(told.state.counters["TcpExtListenOverflows"], 200);
    assert!(
        !told.events.iter().any(|e| matches!(e, LiveEvent::CounterOnly { .. })),
        "the packets explain it"
    );
}

/// The same packets while no counter moves: a firewall, and never called an overflow.
#[test]
fn counters_that_stand_still_turn_it_into_a_firewall() {
    let case = Case::named("accept-queue-overflow/firewall-drops-final-ack");
    let path = case.capture("server");
    let server = *case.truth.servers.first().expect("a server");
    let mut script = Script::of_capture(&path);
    script.begin_earlier(Span::secs(2));
    let (told, outcome) = watch(&mut script, remembering(options()), Some(Box::new(Host::new(server))));
    assert!(of_kind(&outcome, Kind::AcceptQueueOverflow).is_empty());
    assert!(!of_kind(&outcome, Kind::HandshakeLoss).is_empty());
    let called = told.events.iter().filter_map(|event| match event {
        LiveEvent::Opened { finding, .. } | LiveEvent::Updated { finding, .. } => Some(finding.kind),
        _ => None,
    });
    assert!(!called.into_iter().any(|kind| kind == Kind::AcceptQueueOverflow), "{:#?}", told.events);
}

/// A listener whose own drops move while no packet shows why is told once, as a finding that says how many.
#[test]
fn drops_without_a_packet_are_told() {
    let case = Case::named("nothing-wrong/slow-server");
    let path = case.capture("server");
    let server = *case.truth.servers.first().expect("a server");
    let mut host = Host::new(server);
    let begin = first_packet(&path);
    for n in 0..3 {
        for name in ["TcpExtListenOverflows", "TcpExtListenDrops"] {
            host.rises.push((begin + Span::millis(700 * n), name, 4));
        }
    }
    let mut script = Script::of_capture(&path);
    script.begin_earlier(Span::secs(2));
    script.afterwards = Span::secs(8);
    let (told, outcome) = watch(&mut script, remembering(options()), Some(Box::new(host)));
    let opened: Vec<_> = told
        .events
        .iter()
        .filter_map(|event| match event {
            LiveEvent::Opened { finding, .. } => Some(finding),
            _ => None,
        })
        .collect();
    let [finding] = &opened[..] else { panic!("{:#?}", told.events) };
    assert_eq!(finding.kind, Kind::AcceptQueueOverflow);
    assert_eq!((finding.client, finding.server), (None, Some(server)));
    assert_eq!(finding.certainty, Certainty::Confirmed);
    // It is told with the first drops, and says how many there are in the end.
    assert!(finding.summary.contains("refused 4 attempts"), "{}", finding.summary);
    assert!(
        !told.events.iter().any(|event| matches!(event, LiveEvent::CounterOnly { .. })),
        "{:#?}",
        told.events
    );
    let found = of_kind(&outcome, Kind::AcceptQueueOverflow);
    let [finding] = &found[..] else { panic!("{found:#?}") };
    assert!(finding.summary.contains("refused 12 attempts"), "{}", finding.summary);
}

/// An overflow that the kernel confirms; the capture drops 12 packets so long after it has begun.
fn with_drops_after(after: Span) -> (Told, Analysis) {
    let (path, server) = overflow_case();
    let mut host = Host::new(server);
    let begin = first_packet(&path);
    // The queue overflows for as long as clients hang.
    for n in 0..40 {
        for name in ["TcpExtListenOverflows", "TcpExtListenDrops"] {
            host.rises.push((begin + Span::millis(100 + 300 * n), name, 20));
        }
    }
    let mut script = Script::of_capture(&path);
    script.begin_earlier(Span::secs(2));
    script.step = Box::new(move |now, interface| {
        if now > begin + after {
            interface.dropped_by_kernel = 12;
        }
    });
    watch(&mut script, remembering(options()), Some(Box::new(host)))
}

/// What the kernel confirmed before packets were lost stays confirmed, and the loss is a further sentence.
#[test]
fn later_drops_of_the_capture_take_nothing_back() {
    let (told, outcome) = with_drops_after(Span::secs(4));
    let mut confirmed: Vec<&str> = Vec::new();
    for event in &told.events {
        match event {
            LiveEvent::Opened { finding, .. } if finding.certainty == Certainty::Confirmed => {
                confirmed.push(&finding.id);
            }
            LiveEvent::Updated { finding, .. } if confirmed.contains(&finding.id.as_str()) => {
                assert_eq!(finding.certainty, Certainty::Confirmed, "{finding:#?}");
            }
            _ => {}
        }
    }
    let found = of_kind(&outcome, Kind::AcceptQueueOverflow);
    let stands = found.iter().filter(|f| confirmed.contains(&f.id.as_str()));
    let doubted = stands.filter(|f| f.certainty_reason.contains("; 12 packets were dropped")).count();
    assert!(doubted > 0, "{found:#?}");
}

/// Packets that were lost on the way here are shown, stand in the findings of that time, and cap their certainty.
#[test]
fn drops_of_the_capture_lower_certainty() {
    let (told, outcome) = with_drops_after(Span::millis(500));
    let found = of_kind(&outcome, Kind::AcceptQueueOverflow);
    let near: Vec<_> = found.iter().filter(|f| f.metrics.contains_key("capture_dropped")).collect();
    assert!(!near.is_empty(), "{found:#?}");
    for finding in near {
        assert_eq!(finding.metrics["capture_dropped"], 12);
        assert_eq!(finding.certainty, Certainty::Probable, "{finding:#?}");
        assert!(finding.certainty_reason.contains("12 packets were dropped"), "{finding:#?}");
    }
    assert_eq!(told.state.seconds.iter().map(|second| second.dropped).sum::<u64>(), 12);
    assert_eq!(told.state.interfaces[0].dropped_by_kernel, 12);
    assert_eq!(outcome.report.captures[0].dropped, Some(12));
    assert!(
        told.events
            .iter()
            .any(|e| matches!(e, LiveEvent::Warning { text, .. } if text.contains("12 packets")))
    );
}

/// An interface that goes away and comes back is told, once each.
#[test]
fn an_interface_that_goes_and_comes_back_is_told() {
    let case = Case::named("nothing-wrong/slow-server");
    let path = case.capture("server");
    let begin = first_packet(&path);
    let mut script = Script::of_capture(&path);
    script.step = Box::new(move |now, interface| {
        interface.up = !(begin + Span::millis(300)..begin + Span::millis(900)).contains(&now);
        interface.trouble = (!interface.up).then(|| "it was removed".to_owned());
    });
    let (told, _) = watch(&mut script, remembering(options()), None);
    let said: Vec<_> = told
        .events
        .iter()
        .filter_map(|event| match event {
            LiveEvent::Warning { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("it was removed") && said[1].contains("it is back"), "{said:?}");
}

/// An incident is closed when nothing was added to it for two minutes; what belongs to it stays in the report.
#[test]
fn an_incident_is_closed_after_a_while() {
    let (path, _) = overflow_case();
    let mut script = Script::of_capture(&path);
    script.afterwards = Span::secs(400);
    let mut setup = remembering(options());
    // Forgetting does not change issued findings.
    setup.limits = Default::default();
    let (told, outcome) = watch(&mut script, setup, None);
    let of = |kind: Kind| {
        told.events
            .iter()
            .filter(|e| matches!(e, LiveEvent::Closed { incident, .. } if incident.kind == kind))
            .count()
    };
    assert_eq!(of(Kind::AcceptQueueOverflow), 1, "{:#?}", told.events);
    let withdrawn = told.events.iter().filter(|e| matches!(e, LiveEvent::Withdrawn { .. })).count();
    assert_eq!(withdrawn, 0, "forgotten findings are not withdrawn");
    let expected = analyze(&path).report;
    let count =
        |report: &Report| report.findings.iter().filter(|f| f.kind == Kind::AcceptQueueOverflow).count();
    assert_eq!(count(&outcome.report), count(&expected));
    let open = told.state.incidents.iter().filter(|watched| watched.open);
    // Nobody has closed the other side of those.
    assert!(open.into_iter().all(|watched| watched.incident.kind == Kind::HalfClose));
}

/// Of very many findings the first are listed, the others counted: in the events, in the state, in the report.
#[test]
fn many_findings_of_a_kind_are_rolled_up() {
    const ALL: u64 = 40;
    const LISTED: usize = 8;
    let server = (0xc000_0201, 80);
    let mut packets = Vec::new();
    for n in 0..ALL {
        let client = (0xc000_0300 + n as u32, 40_000);
        let at = Timestamp(1_800_000_000_000_000_000) + Span::millis(100 * n as i64);
        packets.push((at, segment(client, server, 7, 0, SYN, b"")));
        packets.push((at + Span(50_000), segment(server, client, 0, 8, RST | ACK, b"")));
    }
    let mut script = made(packets);
    script.afterwards = Span::secs(10);
    let mut setup = remembering(options());
    setup.bounds.of_a_kind = LISTED;
    let (told, outcome) = watch(&mut script, setup, None);
    let opened = told.events.iter().filter(|e| matches!(e, LiveEvent::Opened { .. })).count();
    assert_eq!(opened, LISTED);
    let mut grown = told.events.iter().filter_map(|event| match event {
        LiveEvent::Grew { incident, .. } => Some((incident.connections, incident.clients)),
        _ => None,
    });
    assert_eq!(grown.next_back(), Some((ALL, ALL)));
    assert_eq!(told.state.incidents[0].incident.connections, ALL);
    assert_eq!(outcome.report.incidents[0].connections, ALL);
    assert_eq!(outcome.report.findings.len(), LISTED);
    assert!(
        outcome.report.warnings.iter().any(|w| w.contains("32 findings are not listed")),
        "{:?}",
        outcome.report.warnings
    );
}

/// Packets made up here.
fn made(packets: Vec<(Timestamp, Vec<u8>)>) -> Script {
    let with = |(time, data): (Timestamp, Vec<u8>)| (time, LinkType(1), data.len() as u32, data);
    Script::new(packets.into_iter().map(with).collect())
}

/// Events still under way are not reported: a SYN just sent, a connection just closed by one side, one half open for a
/// moment.
#[test]
fn nothing_is_told_of_a_connection_under_way() {
    let (client, server) = ((0xc000_0301, 40_000), (0xc000_0201, 80));
    let begin = Timestamp(1_800_000_000_000_000_000);
    let at = |ms: i64| begin + Span::millis(ms);
    let packets = vec![
        (at(0), segment(client, server, 7, 0, SYN, b"")),
        (at(400), segment(server, client, 70, 8, SYN | ACK, b"")),
        (at(800), segment(client, server, 8, 71, ACK, b"")),
        (at(900), segment(client, server, 8, 71, ACK, b"question")),
        (at(1_300), segment(server, client, 71, 16, ACK, b"")),
        (at(9_000), segment(server, client, 71, 16, ACK, b"answer")),
        (at(9_400), segment(client, server, 16, 77, FIN | ACK, b"")),
        (at(9_800), segment(server, client, 77, 17, ACK, b"")),
        (at(11_000), segment(server, client, 77, 17, FIN | ACK, b"")),
        (at(11_400), segment(client, server, 17, 78, ACK, b"")),
    ];
    let (told, outcome) = watch(&mut made(packets), WatchSettings::default(), None);
    let findings = told.events.iter().filter(|e| !matches!(e, LiveEvent::Statistics { .. })).count();
    assert_eq!(findings, 0, "{:#?}", told.events);
    assert!(outcome.report.findings.is_empty());
    assert_eq!(outcome.report.summary.connections, 1);
    assert_eq!(told.state.connections, 1);
    let (attempts, completed) =
        told.state.seconds.iter().fold((0, 0), |sum, s| (sum.0 + s.attempts, sum.1 + s.completed));
    assert_eq!((attempts, completed), (1, 1));
}

/// A flood stays within its memory budget, is one incident, and is reported in a few lines.
#[test]
fn a_flood_costs_a_fixed_budget() {
    const EACH: u32 = 4_000;
    let each = |round: u32, at: Timestamp, made: &mut Vec<(Timestamp, Vec<u8>)>| {
        connection((0x0b00_0000 + round, 5_000), (SERVER, 80), at, made);
        for n in 0..EACH {
            let number = round * EACH + n;
            let client = (0x0a00_0000 + number, 1_024 + (number % 60_000) as u16);
            let when = at + Span(i64::from(n) * 1_000_000_000 / i64::from(EACH));
            made.push((when, segment(client, (SERVER, 80), number, 0, SYN, b"")));
            if n % 2 == 0 {
                made.push((when, segment((SERVER, 80), client, number, number + 1, SYN | ACK, b"")));
            }
        }
    };
    let mut days = Days::new(Span::secs(1), Span::secs(100), each);
    let mut setup = WatchSettings::default();
    setup.options.memory_limit = 64 << 20;
    let (told, outcome) = watch(&mut days, setup, None);
    let (taken, most) = told.state.memory;
    // One record more per shard.
    assert!(taken <= most + (64 << 10), "{taken} of {most}");
    let listed = told
        .events
        .iter()
        .filter(|e| matches!(e, LiveEvent::Opened { .. } | LiveEvent::Updated { .. }))
        .count();
    assert!(listed < 40, "{listed} events");
    assert!(outcome.report.findings.iter().any(|f| f.kind.name() == "syn-flood"));
    let is_said = |text: &str| {
        text.contains("full under the memory limit of 64 MiB") && text.contains("were dropped from memory")
    };
    assert!(told.events.iter().any(|e| matches!(e, LiveEvent::Warning { text, .. } if is_said(text))));
    assert!(outcome.report.warnings.iter().any(|text| is_said(text)), "{:?}", outcome.report.warnings);
}

/// SYNs that are repeated after their connections were forgotten do not count as new connections.
#[test]
fn a_repeated_syn_counts_once_in_a_flood_that_does_not_fit() {
    const EACH: u32 = 20_000;
    const ROUNDS: u32 = 45;
    let each = |round: u32, at: Timestamp, made: &mut Vec<(Timestamp, Vec<u8>)>| {
        let begun = [0, 25].into_iter().filter_map(|before| round.checked_sub(before));
        for number in begun.flat_map(|round| (0..EACH).map(move |n| round * EACH + n)) {
            let client = (0x0a00_0000 + number, 1_024 + (number % 60_000) as u16);
            let when = at + Span(i64::from(number % EACH) * 1_000_000_000 / i64::from(EACH));
            made.push((when, segment(client, (SERVER, 80), number, 0, SYN, b"")));
        }
    };
    let mut days = Days::new(Span::secs(1), Span::secs(i64::from(ROUNDS)), each);
    let mut setup = WatchSettings::default();
    setup.options.memory_limit = 1 << 20;
    let (_, outcome) = watch(&mut days, setup, None);
    let (counted, sent) = (outcome.report.summary.connections, u64::from(EACH * ROUNDS));
    assert!((sent * 9 / 10..sent * 11 / 10).contains(&counted), "{counted} of {sent}");
    let warnings = &outcome.report.warnings;
    assert!(warnings.iter().any(|text| text.contains("repeat SYNs dropped from memory")), "{warnings:?}");
}

/// The kernel's verdict on a connection stands after the packets before it were forgotten, and while the kernel has not
/// been asked about its latest packet.
#[test]
fn a_verdict_of_the_kernel_does_not_waver() {
    let server = (SERVER, 80);
    let begin = Timestamp(1_800_000_000_000_000_000);
    let mut packets = Vec::new();
    for n in 0..80_i64 {
        let client = (0xc000_0300 + n as u32, 40_000);
        let start = begin + Span::secs(2 + n * 12);
        let mut say = |ms: i64, from, to, seq, ack, flags, payload: &[u8]| {
            packets.push((start + Span::millis(ms), segment(from, to, seq, ack, flags, payload)));
        };
        say(0, client, server, 7, 0, SYN, b"");
        say(1, server, client, 70, 8, SYN | ACK, b"");
        say(30, client, server, 8, 71, ACK, b"");
        for ms in [31, 240, 650, 1_450, 3_100, 6_400] {
            say(ms, client, server, 8, 71, ACK, b"question");
        }
        for ms in [1_010, 3_020, 7_040] {
            say(ms, server, client, 70, 8, SYN | ACK, b"");
            say(ms + 29, client, server, 16, 71, ACK, b"");
        }
    }
    packets.sort_by_key(|(time, _)| *time);
    let host = Host::new("192.0.2.1:80".parse().expect("an address"));
    let mut script = made(packets);
    script.begin_earlier(Span::secs(2));
    script.afterwards = Span::secs(300);
    let (told, outcome) = watch(&mut script, WatchSettings::default(), Some(Box::new(host)));
    let mut opened = 0;
    for event in &told.events {
        match event {
            LiveEvent::Opened { finding, .. } => {
                opened += 1;
                assert_eq!(finding.kind, Kind::HandshakeLoss, "no counter moved: {finding:#?}");
            }
            LiveEvent::Updated { was, finding, .. } => {
                assert_eq!((was, finding.kind), (&None, Kind::HandshakeLoss), "{finding:#?}");
            }
            LiveEvent::Withdrawn { .. } => panic!("{event:#?}"),
            _ => {}
        }
    }
    assert_eq!(opened, 80);
    assert_eq!(outcome.report.findings.len(), 80);
}

/// Refusals by `hosts` hosts on `ports` ports each, one every 2 ms. Each host refuses a client of its own.
fn refusals(hosts: u32, ports: u16) -> Script {
    let mut packets = Vec::new();
    let mut at = Timestamp(1_800_000_000_000_000_000);
    for host in 0..hosts {
        for port in 0..ports {
            let (client, server) = ((0xc000_0300 + host, 40_000), (SERVER + host, 1_000 + port));
            packets.push((at, segment(client, server, 7, 0, SYN, b"")));
            packets.push((at + Span(50_000), segment(server, client, 0, 8, RST | ACK, b"")));
            at = at + Span::millis(2);
        }
    }
    made(packets)
}

/// Very many incidents are bounded in everything, and each is closed.
#[test]
fn very_many_incidents_are_bounded() {
    let mut script = refusals(1_200, 1);
    script.afterwards = Span::secs(150);
    let mut setup = WatchSettings::default();
    setup.bounds.findings = 500;
    setup.bounds.closed = 100;
    let (told, outcome) = watch(&mut script, setup, None);
    let of = |name: fn(&LiveEvent) -> bool| told.events.iter().filter(|event| name(event)).count();
    assert_eq!(of(|e| matches!(e, LiveEvent::Opened { .. })), 500);
    assert_eq!(of(|e| matches!(e, LiveEvent::Closed { .. })), 500);
    assert_eq!(of(|e| matches!(e, LiveEvent::Withdrawn { .. })), 0);
    assert!(told.state.incidents.iter().all(|watched| !watched.open));
    assert_eq!((outcome.report.findings.len(), outcome.report.incidents.len()), (500, 100));
    assert!(outcome.report.warnings.iter().any(|w| w.contains("700 findings are not listed")));
}

/// A scan of many ports of one host ends as one incident.
#[test]
fn a_scan_of_many_ports_is_one_incident() {
    let mut script = refusals(1, 300);
    script.afterwards = Span::secs(150);
    let (told, outcome) = watch(&mut script, WatchSettings::default(), None);
    let closed = told.events.iter().filter(|event| matches!(event, LiveEvent::Closed { .. })).count();
    assert_eq!(closed, 1);
    assert!(told.state.incidents.iter().all(|watched| !watched.open));
    assert_eq!((outcome.report.findings.len(), outcome.report.incidents.len()), (300, 1));
}

/// It ends after exactly the given number of packets, or after the given time.
#[test]
fn it_ends_when_it_is_told_to() {
    let (path, _) = overflow_case();
    let end = |until: EndCondition| {
        let mut told = Told::default();
        let mut script = Script::of_capture(&path);
        watch_until(&mut script, WatchSettings::default(), None, Box::new(&mut told), until).report
    };
    let ten = end(EndCondition { packets: Some(10), duration: None });
    assert_eq!((ten.summary.packets, ten.captures[0].packets, ten.summary.tcp_segments), (10, 10, 10));
    let second = end(EndCondition { packets: None, duration: Some(Span::secs(1)) });
    let all = end(EndCondition::default());
    assert!((11..all.summary.packets).contains(&second.summary.packets), "{}", second.summary.packets);
}

/// The log for people: an incident in full, its growth and its end in a line each; of very many a few, and a count.
#[test]
fn the_log_is_not_flooded() {
    let log = |script: &mut Script| {
        let mut text = Vec::new();
        watch_by(script, remembering(options()), None, Box::new(TextLog::new(&mut text, Look::default())));
        String::from_utf8(text).expect("text")
    };
    let mut script = Script::of_capture(&overflow_case().0);
    script.afterwards = Span::secs(200);
    let one = log(&mut script);
    let lines = |text: &str, word: &str| text.lines().filter(|line| line.contains(word)).count();
    assert_eq!(lines(&one, "accept-queue-overflow  probable"), 1, "{one}");
    assert_eq!(lines(&one, "closed  accept-queue-overflow"), 1, "{one}");
    assert!(one.contains("Next: ss -ltn"), "{one}");
    let mut script = refusals(400, 1);
    script.afterwards = Span::secs(30);
    let many = log(&mut script);
    assert!(many.lines().count() < 60, "{many}");
    assert_eq!(lines(&many, "385 other incidents opened as well"), 1, "{many}");
}
