//! Every command that a report advises runs as it is printed: in a network namespace, with real sockets.
//!
//! Needs root, `ip` and `unshare`: ignored without them. A program that is not installed is named and left out.

#![cfg(target_os = "linux")]

#[path = "support/netns.rs"]
mod netns;
mod support;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use netns::Net;
use support::{analyze, cases};
use synscope::decode::segment::Address;
use synscope::detect::next;
use synscope::flow::key::Host;
use synscope::report::step::NextStep;

#[test]
#[ignore = "plays a part of the other tests"]
fn part() {
    netns::part();
}

/// The commands under Next of all recorded cases, each once, with their remarks.
fn advised() -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    for case in cases() {
        for capture in &case.truth.captures {
            for incident in analyze(&case.capture(&capture.key)).report.incidents {
                for step in &incident.next_steps {
                    match NextStep::read(step) {
                        NextStep::Command { command, remark } => {
                            all.insert((command.to_owned(), remark.to_owned()));
                        }
                        NextStep::Ending { text, command } => {
                            all.insert((command.to_owned(), text.to_owned()));
                        }
                        NextStep::Words(_) => {}
                    }
                }
            }
        }
    }
    all
}

/// The result of a command in a shell of the namespace.
struct Outcome {
    code: Option<i32>,
    out: String,
    err: String,
}

fn in_shell(namespace: &str, command: &str) -> Outcome {
    let output = Command::new("ip")
        .args(["netns", "exec", namespace, "timeout", "10", "sh", "-c", command])
        .stdin(Stdio::null())
        .output()
        .expect("ip was there before");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

fn is_installed(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {program} >/dev/null")])
        .status()
        .is_ok_and(|s| s.success())
}

#[test]
#[cfg_attr(no_namespaces, ignore = "needs root, ip and unshare")]
fn every_command_runs_as_it_is_printed() {
    let net = Net::build("next");
    let commands = advised();
    assert!(commands.len() > 20, "the recorded cases advise commands: {}", commands.len());
    let mut missing = BTreeSet::new();
    for (command, remark) in commands.iter().filter(|(command, _)| !command.starts_with("tcpdump")) {
        let programs = command.split(['|', ';']).filter_map(|part| part.split_whitespace().next());
        if let Some(program) = programs.into_iter().find(|program| !is_installed(program)) {
            missing.insert(program.to_owned());
            continue;
        }
        let Outcome { code, out, err } = in_shell(&net.server, command);
        // A kernel without the setting is an answer, and the remark says which; so is a host that cannot be reached.
        let is_an_answer = (err.contains("No such file") && remark.contains("does not exist"))
            || (command.starts_with("ping") && code == Some(1))
            || err.contains("etwork is unreachable");
        assert!(is_an_answer || code == Some(0), "{command}: {code:?} {err}");
        let is_quiet = err.is_empty() || err.contains("No journal files") || is_an_answer;
        assert!(is_quiet, "{command}: {err}");
        if command.ends_with("wc -l") {
            assert_eq!(out.trim(), "0", "{command}: no socket is there, and no header counts as one");
        }
        for counter in command
            .split_whitespace()
            .filter(|word| command.starts_with("nstat") && word.starts_with("TcpExt"))
        {
            let gone = counter == "TcpExtPAWSPassive" || counter.contains('*');
            assert!(gone || out.contains(counter), "{command}: {counter} is not printed: {out}");
        }
    }
    for program in missing {
        eprintln!("left out: {program} is not installed");
    }
}

/// The filter for SYNs sees one of IPv4 and one of IPv6.
#[test]
#[cfg_attr(any(no_namespaces, no_tcpdump), ignore = "needs root, ip, unshare and tcpdump")]
fn the_filter_for_syns_sees_both_address_families() {
    let mut net = Net::build("syns");
    let namespace = net.server.clone();
    for (ip, port) in [("127.0.0.1", 8_080_u16), ("::1", 8_081)] {
        let address: IpAddr = ip.parse().expect("an address");
        let socket = std::net::SocketAddr::new(address, port).to_string();
        net.play(&namespace, &format!("listen {socket}"), "ready");
        let step = next::do_syns_arrive(Host { address: Address::from(address), port });
        let NextStep::Command { command, .. } = NextStep::read(&step) else { panic!("a command: {step}") };
        let (inside, command) = (namespace.clone(), command.replace("-c 20", "-c 1"));
        let watching = thread::spawn(move || in_shell(&inside, &command));
        thread::sleep(Duration::from_secs(2));
        net.play(&namespace, &format!("connect {socket} 1"), "asked");
        let seen = watching.join().expect("no panic");
        assert!(seen.err.contains("1 packet captured"), "{socket}: {} {}", seen.out, seen.err);
    }
}

/// Half-open handshakes are counted without the header line, and the queue's columns have names.
#[test]
#[cfg_attr(no_namespaces, ignore = "needs root, ip and unshare")]
fn sockets_are_counted_as_they_are() {
    let mut net = Net::build("count");
    let namespace = net.server.clone();
    net.play(&namespace, "listen 127.0.0.1:8082", "ready");
    let host = Host { address: Address::from(IpAddr::from([127, 0, 0, 1])), port: 8_082 };
    let run = |step: String| match NextStep::read(&step) {
        NextStep::Command { command, .. } => in_shell(&namespace, command),
        _ => panic!("a command: {step}"),
    };
    assert_eq!(run(next::half_open(host)).out.trim(), "0");
    let queue = run(next::accept_queue(host)).out;
    assert!(queue.contains("Recv-Q") && queue.contains("127.0.0.1:8082"), "{queue}");
    assert!(run(next::listener(host)).out.contains("127.0.0.1:8082"));
}
