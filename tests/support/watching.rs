//! `synscope live` beside a pair of namespaces, with the events that it has told.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::io::BufRead;
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::netns::{Net, inside, run, start_live_in, text};

/// The program under test on the server's end.
pub struct Live {
    pub child: Child,
    events: Arc<Mutex<Vec<(Instant, Value)>>>,
    reader: JoinHandle<()>,
    pub began: Instant,
    report: std::path::PathBuf,
}

impl Live {
    /// Starts it on the server's interface, and waits until it watches.
    pub fn watch(net: &Net, more: &[&str]) -> Live {
        Live::watch_in(net, &net.server, more)
    }

    /// The same in any namespace.
    pub fn watch_in(net: &Net, namespace: &str, more: &[&str]) -> Live {
        let name = if namespace == net.server { "live-report.json" } else { "live-report-other.json" };
        let report = net.path(name);
        let json = format!("json={}", text(&report));
        let told = ["--events", "findings", "--report", &json];
        let (child, out) = start_live_in(namespace, &[&told, more].concat());
        let events = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&events);
        let reader = thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).expect("JSON");
                kept.lock().expect("no panic").push((Instant::now(), event));
            }
        });
        Live { child, events, reader, began: Instant::now(), report }
    }

    /// The events so far.
    pub fn events(&self) -> Vec<Value> {
        self.events.lock().expect("no panic").iter().map(|(_, event)| event.clone()).collect()
    }

    /// The first event of such a kind, if one comes within `patience`.
    pub fn hear(&self, patience: Duration, such: impl Fn(&Value) -> bool) -> Option<Value> {
        let until = Instant::now() + patience;
        loop {
            let heard = self.events().into_iter().find(&such);
            if heard.is_some() || Instant::now() > until {
                return heard;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Seconds from `begun` to the first event of such a kind, by when it came.
    pub fn seconds_to(&self, begun: Instant, such: impl Fn(&Value) -> bool) -> f64 {
        let events = self.events.lock().expect("no panic");
        let came = events.iter().find(|(_, event)| such(event)).map(|(came, _)| *came);
        came.map_or(f64::NAN, |came| came.saturating_duration_since(begun).as_secs_f64())
    }

    /// Ends it; all events and the report.
    pub fn end(mut self) -> (Vec<Value>, Value) {
        run("kill", &["-INT", &self.child.id().to_string()]).expect("it runs");
        let ended = self.child.wait().expect("it ended");
        self.reader.join().expect("no panic");
        let events: Vec<Value> =
            self.events.lock().expect("no panic").iter().map(|(_, event)| event.clone()).collect();
        assert!(ended.success(), "{ended}: {events:#?}");
        let report = std::fs::read_to_string(&self.report).expect("a report");
        (events, serde_json::from_str(&report).expect("JSON"))
    }
}

/// The findings of a report that are about a server, with a kind.
pub fn findings_of<'v>(report: &'v Value, kind: &str, server: &str) -> Vec<&'v Value> {
    let all = report["findings"].as_array().expect("findings").iter();
    all.filter(|f| f["kind"] == kind && f["server"] == server).collect()
}

/// How many findings a report has of each kind and certainty, for messages.
pub fn tally(report: &Value) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for f in report["findings"].as_array().expect("findings") {
        let name = format!("{} {} {}", f["server"], f["kind"], f["certainty"]);
        *tally.entry(name).or_default() += 1;
    }
    tally
}

/// How often an event of this name was told.
pub fn count(events: &[Value], name: &str) -> usize {
    events.iter().filter(|event| event["event"] == name).count()
}

pub fn set(namespace: &str, name: &str, value: &str) {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    inside(namespace, "sh", &["-c", &format!("echo {value} >{path}")]);
}

/// A counter of the namespace, as `nstat` names it.
pub fn counter(namespace: &str, name: &str) -> u64 {
    let text = inside(namespace, "nstat", &["-az", name]);
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Drops, queue and limit of the listening socket at `port`, as `ss -ltnm` shows them.
pub fn socket(namespace: &str, port: u16) -> (u64, u64, u64) {
    let text = inside(namespace, "ss", &["-Hltnm", &format!("sport = :{port}")]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let number = |n: usize| words.get(n).and_then(|w| w.parse().ok()).unwrap_or(0);
    let drops = text.rsplit_once(",d").map_or("0", |(_, rest)| rest);
    let digits: String = drops.chars().take_while(char::is_ascii_digit).collect();
    (digits.parse().unwrap_or(0), number(1), number(2))
}
