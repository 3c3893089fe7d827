//! A month before the interface, played in seconds: memory must not grow. In a file of its own, for it looks at the memory
//! of the whole process.

#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::io;

use support::live::{ACK, BEGIN, Days, Host, RST, SERVER, SYN, connection, segment, watch_by};
use synscope::live::event::LiveEvent;
use synscope::live::issued::IssuedLimits;
use synscope::live::output::{Next, Output};
use synscope::live::state::WatchState;
use synscope::live::watch::WatchSettings;
use synscope::time::{Span, Timestamp};

const DAY: i64 = 86_400;

fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("a process has memory");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4_096
}

/// Remembers the memory of each day, and how much was told.
#[derive(Default)]
struct Diary {
    memory: Vec<u64>,
    events: usize,
    incidents: usize,
}

impl Output for &mut Diary {
    fn tick(&mut self, state: &WatchState, events: &[LiveEvent]) -> io::Result<Next> {
        self.events += events.len();
        self.incidents = self.incidents.max(state.incidents.len());
        if (state.at - BEGIN).0 / 1_000_000_000 / DAY > self.memory.len() as i64 {
            self.memory.push(resident());
        }
        Ok(Next::Go)
    }
}

#[test]
fn a_month_takes_no_more_memory_than_three_days() {
    let each = |round: u32, at: Timestamp, made: &mut Vec<(Timestamp, Vec<u8>)>| {
        let client =
            |n: u32| (0x0a00_0000 + (round * 31 + n) % 0x00ff_ffff, 1_024 + (round * 7 + n) as u16 % 60_000);
        for n in 0..3 {
            connection(client(n), (SERVER, 80), at + Span::millis(i64::from(n)), made);
        }
        // A port where nobody listens, another one each time.
        let closed = (SERVER, 1_000 + (round % 50_000) as u16);
        made.push((at + Span::millis(5), segment(client(4), closed, 1, 0, SYN, b"")));
        made.push((at + Span::millis(6), segment(closed, client(4), 0, 2, RST | ACK, b"")));
        // SYNs that nobody answers, and handshakes that nobody completes.
        for n in 5..8 {
            made.push((
                at + Span::millis(i64::from(n)),
                segment(client(n), (SERVER + 9, 80), 1, 0, SYN, b""),
            ));
            made.push((at + Span::millis(i64::from(n)), segment(client(n), (SERVER, 81), 1, 0, SYN, b"")));
            let answer = segment((SERVER, 81), client(n), 1, 2, SYN | ACK, b"");
            made.push((at + Span::millis(i64::from(n) + 1), answer));
        }
    };
    let mut days = Days::new(Span::secs(300), Span::secs(30 * DAY), each);
    let bounds = IssuedLimits { findings: 256, of_a_kind: 64, closed: 64 };
    let mut diary = Diary::default();
    let host = Host::new("192.0.2.1:80".parse().expect("an address"));
    let setup = WatchSettings { bounds, ..WatchSettings::default() };
    let outcome = watch_by(&mut days, setup, Some(Box::new(host)), Box::new(&mut diary));
    assert_eq!(outcome.report.summary.packets, days.packets);
    assert_eq!(outcome.report.summary.connections, 30 * DAY as u64 / 300 * 10);
    assert!(outcome.report.findings.len() <= 256);
    assert!(diary.incidents <= 128);
    assert!(diary.events > 1_000, "{}", diary.events);
    let (early, late) = (diary.memory[2], diary.memory[diary.memory.len() - 1]);
    assert!(late < early + (8 << 20), "{:?}", diary.memory);
}
