//! `synscope snapshot --follow` and tcpdump beside each other, and `analyze` on their files.

use std::collections::HashMap;
use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use synscope::capture::{Block, Source};
use synscope::decode::{Decoded, Segment, decode};
use synscope::kernel::recording;
use synscope::time::{Span, Timestamp};

use crate::netns::{Net, run, text, until_it_says};
use crate::scenes::{json, verdicts};

/// What a report says of each connection: kind, client, certainty, and what the kernel said of its packets.
pub fn told(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().expect("findings").iter();
    let mut all: Vec<String> = findings
        .filter(|finding| !finding["client"].is_null())
        .map(|finding| {
            let Value::Object(fields) = finding else { panic!("{finding}") };
            let of = |name: &str| fields.get(name).unwrap_or(&Value::Null).to_string();
            let said = verdicts(finding);
            format!("{} {} {} {} {said:?}", of("kind"), of("client"), of("certainty"), of("judged_by_kernel"))
        })
        .collect();
    all.sort();
    all
}

/// `synscope snapshot --follow` and tcpdump beside each other.
pub struct Recorded {
    follow: Child,
    tcpdump: Child,
}

impl Recorded {
    pub fn start(net: &Net) -> Recorded {
        let inside = |program: &str| {
            let mut command = Command::new("ip");
            command
                .args(["netns", "exec", &net.server, program])
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            command
        };
        let recording = net.path("kernel.jsonl");
        let mut follow = inside(env!("CARGO_BIN_EXE_synscope"))
            .args(["snapshot", "--follow", "--kernel", "on", "-o", text(&recording)])
            .spawn()
            .expect("ip");
        let mut tcpdump = inside("tcpdump")
            .args([
                "-i",
                "veth0",
                "-B",
                "16384",
                "-s",
                "128",
                "-U",
                "-Z",
                "root",
                "-w",
                text(&net.path("beside.pcap")),
            ])
            .spawn()
            .expect("ip");
        for (child, ready) in [(&mut follow, "asked about single packets"), (&mut tcpdump, "listening on")] {
            until_it_says(child, ready);
        }
        Recorded { follow, tcpdump }
    }

    /// Ends both, and reads what `analyze` says.
    pub fn end(mut self, net: &Net, more: &[&str]) -> Value {
        for child in [&mut self.tcpdump, &mut self.follow] {
            run("kill", &["-INT", &child.id().to_string()]).expect("it runs");
            assert!(child.wait().expect("it ended").success());
        }
        let report = net.path("beside.json");
        let mut command = Command::new(env!("CARGO_BIN_EXE_synscope"));
        let command = command.args(["analyze", "-q", "--format", "json", "-o", text(&report)]);
        let command = command.args(more).arg(net.path("beside.pcap"));
        let output = command.output().expect("the program under test");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        json(&report)
    }
}

/// The longest time between a packet with an IP ID and what the kernel said of it.
pub fn farthest(net: &Net) -> Span {
    let mut source: Box<dyn Source> =
        synscope::capture::open(&[net.path("beside.pcap")]).expect("a capture").source;
    let mut captured: HashMap<_, Timestamp> = HashMap::new();
    let mut block = Block::default();
    while source.next_block(&mut block) {
        for packet in block.packets() {
            let mut segment = Segment::default();
            if decode(&packet, &mut segment) == Decoded::Tcp && segment.ip_id != 0 {
                captured.insert((segment.source(), segment.seq.0, segment.ip_id), segment.time);
            }
        }
    }
    let lines = fs::read_to_string(net.path("kernel.jsonl")).expect("a recording");
    let statements = lines.lines().filter(|line| line.starts_with(recording::BEGINS));
    let apart = statements.filter_map(|line| {
        let said = recording::read(line).expect("a statement");
        let of = said.segment;
        Some(said.time - *captured.get(&(of.source, of.seq, of.ip_id))?)
    });
    apart.max().unwrap_or_default()
}
