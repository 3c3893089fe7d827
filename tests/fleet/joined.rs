//! Points that are joined: the report is that of `analyze --point NAME=FILE ...`, byte for byte.

use std::net::SocketAddr;
use std::path::PathBuf;

use synscope::engine::AnalysisOptions;
use synscope::pair;
use synscope::pair::points::NamedInputs;
use synscope::time::Timestamp;

use super::driver::{IN_PLACE, Spread, run_joined};
use super::support::altered::{self, Frame, Scratch};
use super::{compare, json_of, testdata};

/// Captures with their points, those of a point together.
type Captures = Vec<(&'static str, PathBuf)>;

/// What `analyze` says of them.
fn local(captures: &Captures, options: &AnalysisOptions) -> String {
    let inputs: Vec<PathBuf> = captures.iter().map(|(_, path)| path.clone()).collect();
    let mut points: Vec<NamedInputs> = Vec::new();
    for (n, (name, _)) in captures.iter().enumerate() {
        match points.last_mut().filter(|point| point.name.as_deref() == Some(name)) {
            Some(point) => point.inputs.push(n),
            None => points.push(NamedInputs { name: Some((*name).to_owned()), inputs: vec![n] }),
        }
    }
    json_of(pair::analyze_files_of_points(&inputs, points, options, &mut |_| {}))
}

/// Ways to spread captures of `size` bytes.
fn ways(size: u64) -> [Spread; 4] {
    let range = |parts: u64| (size / parts).max(2_000);
    [(1, u64::MAX, 1 << 20), (2, range(2), 777), (7, range(9), IN_PLACE), (64, range(40), 1 << 16)]
        .map(|(tasks, range, chunk)| Spread { tasks, range, reversed: tasks == 7, chunk })
}

/// Holds every way of a distributed run against the local one, which must find something.
fn check(name: &str, captures: &Captures, options: &AnalysisOptions) {
    let expected = local(captures, options);
    let size = captures.iter().filter_map(|(_, path)| path.metadata().ok()).map(|file| file.len()).max();
    let mut differences = Vec::new();
    for how in ways(size.unwrap_or_default()) {
        let found = json_of(run_joined(captures, how, options));
        compare(&format!("{name} {how:?}"), &expected, &found, &mut differences);
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
    assert!(expected.contains("\"findings\": [\n"), "{name}: nothing was found\n{expected}");
}

fn options() -> AnalysisOptions {
    AnalysisOptions { threads: 2, ..AnalysisOptions::default() }
}

const LAB: [&str; 5] = ["client1", "client2", "lb", "web1", "web2"];

/// What the lab's points captured.
fn recorded(name: &str) -> Vec<Frame> {
    altered::read(&testdata().join(format!("balancer/{name}.pcap.gz")))
}

/// The lab's captures as plain files. Each clock is ahead by the first number and gains the second, in nanoseconds a second.
fn lab(scratch: &Scratch, clocks: [(i64, i64); 5]) -> Captures {
    let of_point = |(name, (ahead, drift)): (&'static str, (i64, i64))| {
        let mut frames = recorded(name);
        let begin = frames.first().map_or(0, |frame| frame.time);
        for frame in &mut frames {
            let gained = i128::from(frame.time - begin) * i128::from(drift) / 1_000_000_000;
            frame.time += ahead + gained as i64;
        }
        (name, scratch.pcap(&format!("{name}.pcap"), &frames))
    };
    LAB.into_iter().zip(clocks).map(of_point).collect()
}

const SET: [(i64, i64); 5] = [(0, 0); 5];
const APART: [(i64, i64); 5] = [
    (5_000_000_000, 80_000),
    (0, -60_000),
    (-2_000_000_000, 0),
    (86_400_000_000_000, 100_000),
    (0, -100_000),
];

#[test]
fn five_points_behind_a_balancer() {
    let scratch = Scratch::new();
    check("lab", &lab(&scratch, SET), &options());
}

#[test]
fn clocks_that_are_far_apart_and_drift() {
    let scratch = Scratch::new();
    check("drifting", &lab(&scratch, APART), &options());
}

/// Times are those of the reference; hosts and ports are known by other names at other points.
#[test]
fn what_is_left_out_is_left_out_at_all_points() {
    let scratch = Scratch::new();
    let captures = lab(&scratch, APART);
    let all: serde_json::Value =
        serde_json::from_str(local(&captures, &options()).trim_end_matches("[]")).expect("a report is JSON");
    let time = |at: &serde_json::Value| at.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let mut times: Vec<Timestamp> =
        all["findings"].as_array().into_iter().flatten().filter_map(|f| time(&f["first"])).collect();
    times.sort_unstable();
    let (since, until) = (times[1], times[times.len() - 2]);
    let server = all["findings"][0]["server"].as_str().and_then(|text| text.parse::<SocketAddr>().ok());
    let server = server.expect("a server's address");
    let ways = [
        AnalysisOptions { since: Some(since), until: Some(until), ..options() },
        AnalysisOptions { ports: vec![server.port()], ..options() },
        AnalysisOptions { hosts: vec![server.ip()], since: Some(since), ..options() },
    ];
    for options in ways {
        check(&format!("{options:?}"), &captures, &options);
    }
}

#[test]
fn points_of_several_files_and_files_that_cannot_be_read() {
    let scratch = Scratch::new();
    let mut captures = Captures::new();
    for (name, path) in lab(&scratch, SET) {
        let frames = altered::read(&path);
        let cut = frames.len() * 2 / 3;
        for (n, some) in [&frames[..cut], &frames[cut..]].into_iter().enumerate() {
            captures.push((name, scratch.pcap(&format!("{name}-{n}.pcap"), some)));
        }
    }
    captures.insert(4, ("dead", scratch.write("dead.pcap", b"nor is this")));
    captures.insert(9, ("web1", scratch.write("web1-9.pcap", b"this is no capture")));
    check("several files", &captures, &options());
}

/// Two points each: pairs of all kinds, behind NAT, with floods, without anything in common.
#[test]
fn two_points() {
    let mut compared = 0;
    let mut differences = Vec::new();
    for client in super::captures(&testdata()) {
        let Some(name) = client.file_name().and_then(|name| name.to_str()) else { continue };
        let server = client.with_file_name(name.replace("client", "server"));
        if !name.contains("client.pcap") || !server.exists() {
            continue;
        }
        let captures: Captures = vec![("client", client.clone()), ("server", server)];
        let expected = local(&captures, &options());
        let how = Spread { tasks: 7, range: 30_000, reversed: compared % 2 == 0, chunk: IN_PLACE };
        let found = json_of(run_joined(&captures, how, &options()));
        compare(&client.display().to_string(), &expected, &found, &mut differences);
        compared += 1;
    }
    let stranger = testdata().join("half-close/server-keeps-sending/server.pcap");
    let captures: Captures = vec![
        ("one", testdata().join("handshake-loss/syn-lost/client.pcap")),
        (
            "other",
            if stranger.exists() {
                stranger
            } else {
                testdata().join("injected-reset/both-ends/client.pcap")
            },
        ),
    ];
    check("strangers", &captures, &options());
    assert!(differences.is_empty() && compared > 20, "{compared}: {}", differences.join("\n\n"));
}
