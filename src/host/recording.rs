//! A host over the time of a capture: a snapshot, and the changes since then, line by line.
//!
//! `synscope snapshot --follow` writes it. The first line names the document, [`SCHEMA`], and holds a snapshot. Each
//! later line holds the changes since the line before. The kernel's verdicts on single packets stand between them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::counters::Counters;
use super::listeners::ListenSocket;
use super::snapshot::Snapshot;
use crate::time::Timestamp;

/// Name and version of the document.
pub const SCHEMA: &str = "synscope.recording/1";

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
pub struct RecordingStart {
    /// Always `synscope.recording/1`.
    pub schema: String,
    /// What the kernel was asked about single packets, or why it was not asked.
    pub kernel: String,
    /// The host at the beginning.
    pub snapshot: Snapshot,
}

/// The changes since the line before.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct RecordingChange {
    /// When the reading began. Events before that are counted.
    pub time: Timestamp,
    /// When it was done.
    pub finished: Timestamp,
    /// Counters that changed, with their new values.
    #[serde(skip_serializing_if = "Counters::is_empty", default)]
    pub counters: Counters,
    /// Listening sockets that are new, or changed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub listeners: Vec<ListenSocket>,
    /// Inodes of those that are gone.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub closed: BTreeSet<u64>,
    /// Sockets in TIME_WAIT.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub time_wait: Option<u64>,
    /// Verdicts that were lost since the beginning: more came than could be read or written.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub lost: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl RecordingChange {
    /// The differences of `now`.
    pub fn between(before: &Snapshot, now: &Snapshot, lost: u64) -> RecordingChange {
        let known: BTreeSet<&ListenSocket> = before.listeners.iter().flatten().collect();
        let there: BTreeSet<u64> = now.listeners.iter().flatten().map(|socket| socket.inode).collect();
        let changed = |(name, value): &(&String, &u64)| before.counters.get(*name) != Some(*value);
        RecordingChange {
            time: now.time,
            finished: now.finished,
            counters: now.counters.iter().filter(changed).map(|(name, n)| (name.clone(), *n)).collect(),
            listeners: now
                .listeners
                .iter()
                .flatten()
                .filter(|socket| !known.contains(socket))
                .cloned()
                .collect(),
            closed: known.iter().map(|socket| socket.inode).filter(|inode| !there.contains(inode)).collect(),
            time_wait: now.time_wait.filter(|_| now.time_wait != before.time_wait),
            lost,
        }
    }

    /// Applies the changes to a snapshot.
    fn apply(self, to: &mut Snapshot) {
        (to.time, to.finished) = (self.time, self.finished);
        to.counters.extend(self.counters);
        to.time_wait = self.time_wait.or(to.time_wait);
        let Some(listeners) = &mut to.listeners else { return };
        let changed: BTreeSet<u64> = self.listeners.iter().map(|socket| socket.inode).collect();
        listeners.retain(|socket| !self.closed.contains(&socket.inode) && !changed.contains(&socket.inode));
        listeners.extend(self.listeners);
        listeners.sort_unstable();
    }
}

/// A listener's accept queue at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueRecord {
    /// When.
    pub at: Timestamp,
    /// Connections in the accept queue.
    pub accept_queue: u32,
    /// Its limit, where that is known.
    pub backlog: Option<u32>,
    /// Segments dropped at the socket so far.
    pub drops: Option<u32>,
}

/// The facts of a recording about the host.
#[derive(Clone, PartialEq, Debug)]
pub struct Recording {
    /// The host at the beginning.
    pub first: Snapshot,
    /// The host at the end.
    pub last: Snapshot,
    /// The queues of listeners, by socket: a sample whenever one had changed, and otherwise one a second.
    pub queues: BTreeMap<(SocketAddr, u64), Vec<QueueRecord>>,
    /// Verdicts that were lost.
    pub lost: u64,
}

/// Samples of queues that are kept at most.
const MOST_SAMPLES: usize = 1_000_000;

impl Recording {
    /// The beginning of the document, whatever its version.
    pub const BEGINS: &str = "{\"schema\":\"synscope.recording/";

    /// Reads the lines about the host. `is_verdict` knows the lines that are not.
    ///
    /// # Errors
    /// A first line that is not a recording's, damage before the last line, or the system's error.
    pub fn read(mut input: impl BufRead, is_verdict: impl Fn(&str) -> bool) -> Result<Recording, String> {
        let mut line = String::new();
        input.read_line(&mut line).map_err(|error| error.to_string())?;
        let begin: RecordingStart =
            serde_json::from_str(&line).map_err(|error| format!("line 1: {error}"))?;
        if begin.schema != SCHEMA {
            return Err(format!("it holds {}, not {SCHEMA}", begin.schema));
        }
        let mut recording = Recording {
            last: begin.snapshot.clone(),
            first: begin.snapshot,
            queues: BTreeMap::new(),
            lost: 0,
        };
        let mut samples = recording.sample();
        for n in 2_u64.. {
            line.clear();
            match input.read_line(&mut line) {
                Ok(0) => break,
                Ok(_) if is_verdict(&line) => continue,
                Ok(_) => {}
                Err(error) => return Err(format!("line {n}: {error}")),
            }
            match serde_json::from_str::<RecordingChange>(&line) {
                Ok(change) => {
                    recording.lost = recording.lost.max(change.lost);
                    change.apply(&mut recording.last);
                    if samples < MOST_SAMPLES {
                        samples += recording.sample();
                    }
                }
                // The program was killed while it wrote the last line.
                Err(_) if !line.ends_with('\n') => break,
                Err(error) => return Err(format!("line {n}: {error}")),
            }
        }
        Ok(recording)
    }

    /// Records the current queues; returns how many samples that made.
    fn sample(&mut self) -> usize {
        let Recording { last, queues, .. } = self;
        let sockets = last.listeners.iter().flatten();
        let mut made = 0;
        for ListenSocket { address, inode, accept_queue, backlog, drops } in sockets {
            let known = queues.entry((*address, *inode)).or_default();
            known.push(QueueRecord {
                at: last.time,
                accept_queue: *accept_queue,
                backlog: *backlog,
                drops: *drops,
            });
            made += 1;
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::snapshot;

    fn socket(inode: u64, accept_queue: u32) -> ListenSocket {
        let address = format!("192.0.2.1:{inode}").parse().unwrap();
        ListenSocket { address, inode, accept_queue, backlog: Some(128), drops: Some(0) }
    }

    fn snapshot(seconds: i64, counters: &[(&str, u64)], listeners: Vec<ListenSocket>) -> Snapshot {
        let text = format!(
            "{{\"schema\": \"{}\", \"time\": \"{time}\", \"finished\": \"{time}\", \"counters\": {{}}, \"sysctls\": {{}}}}",
            snapshot::SCHEMA,
            time = Timestamp(seconds * 1_000_000_000)
        );
        let counters = counters.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        Snapshot { counters, listeners: Some(listeners), ..Snapshot::parse(&text).unwrap() }
    }

    fn lines(all: &[Snapshot]) -> Vec<String> {
        let begin =
            RecordingStart { schema: SCHEMA.to_owned(), kernel: String::new(), snapshot: all[0].clone() };
        let mut lines = vec![serde_json::to_string(&begin).unwrap()];
        for pair in all.windows(2) {
            lines.push(serde_json::to_string(&RecordingChange::between(&pair[0], &pair[1], 0)).unwrap());
        }
        lines
    }

    fn read(lines: &[String]) -> Result<Recording, String> {
        Recording::read(lines.join("\n").as_bytes(), |line| line.starts_with("{\"verdict\""))
    }

    #[test]
    fn what_changed_line_by_line_makes_the_last_snapshot() {
        let all = [
            snapshot(1, &[("A", 1), ("B", 5)], vec![socket(80, 0), socket(81, 0)]),
            snapshot(2, &[("A", 2), ("B", 5)], vec![socket(80, 129), socket(81, 0)]),
            snapshot(3, &[("A", 2), ("B", 7)], vec![socket(80, 129), socket(82, 3)]),
        ];
        let lines = lines(&all);
        assert!(lines[0].starts_with(Recording::BEGINS), "{}", lines[0]);
        assert!(lines[1].contains("\"A\":2") && !lines[1].contains("\"B\""), "{}", lines[1]);
        assert!(!lines[1].contains(":81") && lines[2].contains("\"closed\":[81]"), "{lines:?}");
        let recording = read(&lines).unwrap();
        assert_eq!((&recording.first, &recording.last), (&all[0], &all[2]));
        let of_80 = &recording.queues[&("192.0.2.1:80".parse().unwrap(), 80)];
        assert_eq!(of_80.iter().map(|sample| sample.accept_queue).collect::<Vec<_>>(), [0, 129, 129]);
    }

    #[test]
    fn a_cut_last_line_is_left_out_and_damage_before_it_is_told() {
        let mut lines = lines(&[snapshot(1, &[("A", 1)], vec![]), snapshot(2, &[("A", 2)], vec![])]);
        lines.insert(1, "{\"verdict\":\"dropped\"}".to_owned());
        lines.push("{\"time\":\"20".to_owned());
        assert_eq!(read(&lines).unwrap().last.counters["A"], 2);
        lines.push("{}".to_owned());
        assert!(read(&lines).unwrap_err().starts_with("line 4: "), "{:?}", read(&lines));
        assert!(read(&["{}".to_owned()]).unwrap_err().starts_with("line 1: "));
    }

    #[test]
    fn lost_verdicts_are_counted() {
        let all = [snapshot(1, &[], vec![]), snapshot(2, &[], vec![])];
        let mut lines = lines(&all);
        lines.push(serde_json::to_string(&RecordingChange::between(&all[0], &all[1], 7)).unwrap());
        assert_eq!(read(&lines).unwrap().lost, 7);
    }
}
