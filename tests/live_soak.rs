//! A month before the interface, played in seconds: memory must not grow. In a file of its own, for it looks at the memory
//! of the whole process.

#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::time::Duration;

use support::live::{ACK, End, FIN, Host, RST, SYN, Told, segment};
use synscope::capture::feed::{Fed, Feed, Interface};
use synscope::capture::{Block, LinkType, Packet};
use synscope::decode::segment::PacketId;
use synscope::live::event::Event;
use synscope::live::issued::Bounds;
use synscope::live::run::{Ended, Pace, Run, Until, Wanted};
use synscope::live::watch::{Setup, Watch};
use synscope::time::{Span, Timestamp};

const BEGIN: Timestamp = Timestamp(1_800_000_000_000_000_000);
const SERVER: u32 = 0xc000_0201;
const DAY: i64 = 86_400;

/// Packets made while they are asked for: traffic of `each` every `step`.
struct Days {
    clock: Timestamp,
    step: Span,
    end: Timestamp,
    packets: u64,
    round: u32,
    each: Box<dyn FnMut(u32, Timestamp, &mut Vec<(Timestamp, Vec<u8>)>) + Send>,
    /// Resident memory at the end of each tenth of the time, octets.
    memory: Vec<u64>,
}

impl Feed for Days {
    fn next_block(&mut self, block: &mut Block, _: Duration) -> Fed {
        block.clear();
        let part = (self.clock - BEGIN).0 as i128 * 10 / ((self.end - BEGIN).0 as i128);
        if part as usize > self.memory.len() {
            self.memory.push(resident());
        }
        if self.clock >= self.end {
            return Fed::End;
        }
        let mut made = Vec::new();
        (self.each)(self.round, self.clock, &mut made);
        made.sort_by_key(|(time, _)| *time);
        for (time, data) in &made {
            self.packets += 1;
            block.push(&Packet {
                id: PacketId::new(0, self.packets),
                time: *time,
                timed: true,
                link: LinkType(1),
                original_length: data.len() as u32,
                data,
            });
        }
        self.round += 1;
        self.clock = self.clock + self.step;
        Fed::Packets
    }

    fn clock(&self) -> Timestamp {
        self.clock
    }

    fn interfaces(&self) -> Vec<Interface> {
        vec![Interface { name: "fake0".to_owned(), up: true, packets: self.packets, ..Interface::default() }]
    }
}

fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("a process has memory");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4_096
}

fn play(days: &mut Days, setup: Setup) -> (Told, Ended) {
    let mut told = Told::default();
    let host = Host::new("192.0.2.1:80".parse().expect("an address"));
    let run = Run {
        feed: days,
        watch: Watch::new(setup, Some(Box::new(host))).expect("threads"),
        outputs: vec![Box::new(&mut told)],
        recorder: None,
        until: Until::default(),
        pace: Pace::Script,
    };
    let ended = run.run(|| Wanted::Nothing, |_| Ok(())).expect("nothing to write to");
    (told, ended)
}

/// Handshake, question, answer, both FINs.
fn connection(client: End, server: End, at: Timestamp, made: &mut Vec<(Timestamp, Vec<u8>)>) {
    let mut say = |ms: i64, from, to, seq, ack, flags, payload: &[u8]| {
        made.push((at + Span::millis(ms), segment(from, to, seq, ack, flags, payload)));
    };
    say(0, client, server, 1, 0, SYN, b"");
    say(1, server, client, 1, 2, SYN | ACK, b"");
    say(20, client, server, 2, 2, ACK, b"");
    say(21, client, server, 2, 2, ACK, b"question");
    say(22, server, client, 2, 10, ACK, b"answer");
    say(40, client, server, 10, 8, FIN | ACK, b"");
    say(41, server, client, 8, 11, FIN | ACK, b"");
    say(60, client, server, 11, 9, ACK, b"");
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
    let mut days = Days {
        clock: BEGIN,
        step: Span::secs(300),
        end: BEGIN + Span::secs(30 * DAY),
        packets: 0,
        round: 0,
        each: Box::new(each),
        memory: Vec::new(),
    };
    let setup = Setup { bounds: Bounds { findings: 256, of_a_kind: 64, closed: 64 }, ..Setup::default() };
    // The events are for the log, which does not keep them; nor does this test.
    let (told, ended) = play(&mut days, setup);
    let Ended::Report(outcome) = ended else { panic!("there is no pipe") };
    assert_eq!(outcome.report.summary.packets, days.packets);
    assert_eq!(outcome.report.summary.connections, 30 * DAY as u64 / 300 * 10);
    assert!(outcome.report.findings.len() <= 256);
    assert!(told.state.incidents.len() <= 128);
    let (early, late) = (days.memory[1], days.memory[days.memory.len() - 1]);
    let own = told.events.len() as u64 * 2_048;
    assert!(late < early + own + (16 << 20), "{:?}, {} events", days.memory, told.events.len());
}

#[test]
fn a_flood_costs_a_fixed_budget() {
    const EACH: u32 = 4_000;
    let each = |round: u32, at: Timestamp, made: &mut Vec<(Timestamp, Vec<u8>)>| {
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
    let mut days = Days {
        clock: BEGIN,
        step: Span::secs(1),
        end: BEGIN + Span::secs(100),
        packets: 0,
        round: 0,
        each: Box::new(each),
        memory: Vec::new(),
    };
    let mut setup = Setup::default();
    setup.options.memory_limit = 64 << 20;
    let (told, ended) = play(&mut days, setup);
    let Ended::Report(outcome) = ended else { panic!("there is no pipe") };
    let (taken, most) = told.state.memory;
    assert!(taken <= most, "{taken} of {most}");
    let listed =
        told.events.iter().filter(|e| matches!(e, Event::Opened { .. } | Event::Updated { .. })).count();
    assert!(listed < 40, "{listed} events");
    assert!(outcome.report.findings.iter().any(|f| f.kind.name() == "syn-flood"));
    assert!(
        told.events
            .iter()
            .any(|e| matches!(e, Event::Warning { text, .. } if text.contains("tables are full")))
    );
}
