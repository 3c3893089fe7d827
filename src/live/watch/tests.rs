//! A watch played from a script, with faults in the middle.

use super::*;
use crate::capture::LinkType;
use crate::decode::segment::PacketId;
use crate::detect::capture_state::CaptureState;
use crate::fault::trap;

/// A SYN to port 80 from `client`, or the RST that answers it, raw IPv4.
fn segment((address, port): ([u8; 4], u16), answer: bool) -> Vec<u8> {
    let server = [198, 51, 100, 2];
    let (from, to) = if answer { (server, address) } else { (address, server) };
    let (port, other) = if answer { (80, port) } else { (port, 80) };
    let rest: [u8; 10] =
        if answer { [0, 0, 0, 0, 0, 0, 0, 2, 0x50, 0x14] } else { [0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2] };
    let ip = [0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0];
    let ports = [u16::to_be_bytes(port), u16::to_be_bytes(other)].concat();
    [&ip[..], &from, &to, &ports, &rest, &[0xff, 0xff, 0, 0, 0, 0]].concat()
}

/// Twenty seconds with a refused connection each, that of the third second from `third`; warnings and the report.
fn play(third: ([u8; 4], u16), third_is_answered: bool) -> (Vec<String>, Analysis) {
    let options = AnalysisOptions { threads: 1, ..AnalysisOptions::default() };
    let mut watch = Watch::new(WatchSettings { options, ..WatchSettings::default() }, None).expect("threads");
    let interfaces = [Interface { name: "eth0".to_owned(), up: true, ..Interface::default() }];
    let (mut said, mut number) = (Vec::new(), 0);
    let mut note = |events: Vec<LiveEvent>| {
        said.extend(events.into_iter().filter_map(|event| match event {
            LiveEvent::Warning { text, .. } => Some(text),
            _ => None,
        }));
    };
    for second in 1..=20_i64 {
        let mut block = Block::default();
        for answer in [false, true] {
            if answer && second == 3 && !third_is_answered {
                continue;
            }
            number += 1;
            let client = if second == 3 { third } else { ([192, 0, 2, 1], 1_000 + second as u16) };
            let data = segment(client, answer);
            block.push(&Packet {
                id: PacketId::new(0, number),
                time: Timestamp(second * 1_000_000_000),
                timed: true,
                interface: 0,
                link: LinkType(101),
                original_length: data.len() as u32,
                data: &data,
            });
        }
        watch.track(&[block]);
        note(watch.tick(Timestamp(second * 1_000_000_000 + 1), &interfaces, &[]));
    }
    let (events, outcome) = watch.report(CaptureState::Ended);
    note(events);
    (said, outcome)
}

fn fatal(place: trap::FaultPlace) -> ([u8; 4], u16) {
    (trap::ADDRESS.octets(), trap::port(place))
}

/// A fault while a watch reports changes does not end it, and is reported once.
#[test]
fn a_watch_goes_on_after_a_fault() {
    let (said, outcome) = play(fatal(trap::FaultPlace::Live), true);
    assert_eq!(outcome.report.summary.connections, 20);
    let [text] = &said[..] else { panic!("{said:?}") };
    assert!(text.contains("failed while reporting new findings (at src/fault.rs:"), "{text}");
    assert_eq!(outcome.damage, said);
    assert!(outcome.report.warnings.iter().any(|warning| warning.contains(text)), "{said:?}");
}

/// A fault at an open connection costs the open ones of its part, for as long as it is open.
#[test]
fn a_fault_at_an_open_connection_costs_no_other() {
    let (said, outcome) = play(fatal(trap::FaultPlace::Open), false);
    let [text] = &said[..] else { panic!("{said:?}") };
    assert!(text.contains("failed while looking at open connections (at src/fault.rs:"), "{text}");
    assert_eq!(outcome.damage, said);
    assert_eq!(outcome.report.summary.connections, 19, "without the one");
}

/// Faults outside of the detectors: the report keeps the findings issued until then, and names the damage.
#[test]
fn a_report_is_written_after_any_fault() {
    for (place, doing) in
        [(trap::FaultPlace::Look, "looking for findings"), (trap::FaultPlace::Report, "writing the report")]
    {
        let (said, outcome) = play(fatal(place), true);
        let [text] = &said[..] else { panic!("{place:?}: {said:?}") };
        assert!(text.contains(&format!("failed while {doing} (at src/fault.rs:")), "{text}");
        assert_eq!(outcome.damage, said);
        assert_eq!(outcome.report.summary.packets, 40, "{place:?}");
        assert!(!outcome.report.findings.is_empty(), "{place:?}");
        assert!(outcome.report.warnings.iter().any(|warning| warning.contains(text)), "{said:?}");
    }
}

/// A clock that is set is told once, whichever interface tells of it first, and so is its return.
#[test]
fn a_clock_that_is_set_is_told_once() {
    let mut watch = Watch::new(WatchSettings::default(), None).expect("threads");
    let mut told = Vec::new();
    // Each interface measures the step by itself, and one sees it later.
    for (tick, offsets) in
        [[0, 0], [-5_000, 0], [-5_000, -5_001], [-5_000, -5_001], [-2, -5_001], [-2, -1], [3_600_000, -1]]
            .iter()
            .enumerate()
    {
        let interfaces = offsets.map(|offset| Interface {
            up: true,
            clock_offset: Span::millis(offset),
            ..Interface::default()
        });
        for event in watch.tick(Timestamp((1 + tick as i64) * 1_000_000_000), &interfaces, &[]) {
            if let LiveEvent::Warning { text, .. } = event {
                told.push(text);
            }
        }
    }
    let expected = [
        "the clock of this host was set forward by 5.00 s; the times of this watch ignore the change and are 5.00 s behind it",
        "the clock of this host was set back by 5.00 s; the times of this watch agree with it again",
        "the clock of this host was set back by 1 h 0 min; the times of this watch ignore the change and are 1 h 0 min ahead of it",
    ];
    assert_eq!(told, expected);
}
