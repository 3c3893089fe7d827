//! Statements of the kernel as lines of a file, for a capture that another program writes.
//!
//! Each is a JSON object that begins with `"verdict"`; docs/host-facts.md describes its members. Other lines hold facts
//! about the host: see [`crate::host::recording`].

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::verdict::{KernelEvent, Name, Queues, SegmentKey, Statement};
use crate::decode::segment::Flags;
use crate::time::Timestamp;

/// How a line with a statement begins.
pub const BEGINS: &str = "{\"verdict\":";
/// No line is longer. Names are the only members without a fixed length.
const LONGEST_LINE: u64 = 4_096;
/// No kernel has longer names.
const LONGEST_NAME: usize = 128;

/// A statement as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatementLine {
    verdict: KernelEvent,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    reason: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    function: Option<Box<str>>,
    source: SocketAddr,
    destination: SocketAddr,
    seq: u32,
    ack: u32,
    flags: u8,
    ip_id: u16,
    payload: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    accept_queue: Option<[u32; 2]>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    syn_queue: Option<[u32; 2]>,
    /// Only ever false: then syncookies are known to be off.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    syncookies: Option<bool>,
}

/// Writes a statement as one line, without its end.
pub fn write(statement: &Statement) -> String {
    let Statement { event, time, reason, function, queues, segment } = statement;
    let SegmentKey { source, destination, seq, ack, flags: Flags(flags), ip_id, payload } = *segment;
    let name = |name: &Option<Name>| name.as_deref().map(Box::from);
    let line = StatementLine {
        verdict: *event,
        time: *time,
        reason: name(reason),
        function: name(function),
        source,
        destination,
        seq,
        ack,
        flags,
        ip_id,
        payload,
        accept_queue: queues.map(|queues| [queues.accept, queues.limit]),
        syn_queue: queues.map(|queues| [queues.syn, queues.limit]),
        syncookies: queues.filter(|queues| queues.without_cookies).map(|_| false),
    };
    // It holds only numbers, addresses and names: writing it cannot fail.
    serde_json::to_string(&line).unwrap_or_default()
}

/// Reads such a line.
///
/// # Errors
/// The error in the line.
pub fn read(line: &str) -> Result<Statement, String> {
    let line: StatementLine = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let name = |name: Option<Box<str>>| match name {
        Some(name) if !is_name(&name) => Err(format!("{:?} is no name", &*name)),
        name => Ok(name.map(|name| Name::from(&*name))),
    };
    let queues = match (line.accept_queue, line.syn_queue) {
        (Some([accept, limit]), Some([syn, same])) if limit == same => {
            Some(Queues { accept, syn, limit, without_cookies: line.syncookies == Some(false) })
        }
        (None, None) => None,
        _ => return Err("its queues have two limits".to_owned()),
    };
    Ok(Statement {
        event: line.verdict,
        time: line.time,
        reason: name(line.reason)?,
        function: name(line.function)?,
        queues,
        segment: SegmentKey {
            source: line.source,
            destination: line.destination,
            seq: line.seq,
            ack: line.ack,
            flags: Flags(line.flags),
            ip_id: line.ip_id,
            payload: line.payload,
        },
    })
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
}

/// The statements of a file, in the order in which they were written, which differs from time order by some
/// microseconds at most.
pub struct Statements<R = BufReader<File>> {
    input: R,
    /// Lines read so far.
    lines: u64,
    /// Statements that were read and not handed over yet.
    next: Option<Statement>,
    damage: Option<String>,
}

impl Statements {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Statements> {
        Ok(Statements::of(BufReader::new(File::open(path)?)))
    }
}

impl<R: BufRead> Statements<R> {
    fn of(input: R) -> Statements<R> {
        let mut statements = Statements { input, lines: 0, next: None, damage: None };
        statements.next = statements.read_next();
        statements
    }

    /// The time of the next one; `None` at the end.
    pub fn next_time(&self) -> Option<Timestamp> {
        self.next.as_ref().map(|next| next.time)
    }

    /// Hands over the statements up to `time`.
    pub fn until(&mut self, time: Timestamp) -> Vec<Statement> {
        let mut statements = Vec::new();
        while let Some(next) = self.next.take_if(|next| next.time <= time) {
            statements.push(next);
            self.next = self.read_next();
        }
        statements
    }

    /// The error that ended it early, if there was one.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    fn read_next(&mut self) -> Option<Statement> {
        loop {
            let mut line = Vec::new();
            let came = io::Read::take(&mut self.input, LONGEST_LINE).read_until(b'\n', &mut line);
            match came {
                Ok(0) => return None,
                Err(error) => {
                    self.damage = Some(error.to_string());
                    return None;
                }
                Ok(_) => self.lines += 1,
            }
            let is_whole = line.ends_with(b"\n");
            if !line.starts_with(BEGINS.as_bytes()) {
                // Lines about the host may be long.
                if !is_whole && !self.skip_line() {
                    return None;
                }
                continue;
            }
            let text = std::str::from_utf8(&line).map_err(|error| error.to_string());
            match text.and_then(read) {
                Ok(statement) => return Some(statement),
                // The program was killed while it wrote the last line.
                Err(_) if !is_whole && (line.len() as u64) < LONGEST_LINE => return None,
                Err(why) => {
                    self.damage = Some(format!("line {}: {why}", self.lines));
                    return None;
                }
            }
        }
    }

    /// Reads on to the end of the line; returns whether there is one.
    fn skip_line(&mut self) -> bool {
        loop {
            let Ok(bytes) = self.input.fill_buf() else { return false };
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (length, at_end) = (bytes.len(), end.is_some());
            self.input.consume(end.map_or(length, |end| end + 1));
            if at_end || length == 0 {
                return at_end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(time: i64) -> Statement {
        Statement {
            event: KernelEvent::Dropped,
            time: Timestamp(1_795_356_232_123_456_000 + time),
            reason: Some("TCP_LISTEN_OVERFLOW".into()),
            function: None,
            queues: Some(Queues { accept: 129, syn: 3, limit: 128, without_cookies: false }),
            segment: SegmentKey {
                source: "[2001:db8::2]:40000".parse().unwrap(),
                destination: "[2001:db8::1]:80".parse().unwrap(),
                seq: u32::MAX,
                ack: 7,
                flags: Flags::ACK | Flags::PSH,
                ip_id: 0,
                payload: 5,
            },
        }
    }

    fn statements(text: &str) -> (Vec<Statement>, Option<String>) {
        let mut all = Statements::of(text.as_bytes());
        (all.until(Timestamp::MAX), all.damage().map(str::to_owned))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let line = write(&statement(0));
        assert!(line.starts_with(BEGINS), "{line}");
        assert_eq!(
            line,
            "{\"verdict\":\"dropped\",\"time\":\"2026-11-22T14:03:52.123456000Z\",\"reason\":\"TCP_LISTEN_OVERFLOW\",\
             \"source\":\"[2001:db8::2]:40000\",\"destination\":\"[2001:db8::1]:80\",\"seq\":4294967295,\"ack\":7,\
             \"flags\":24,\"ip_id\":0,\"payload\":5,\"accept_queue\":[129,128],\"syn_queue\":[3,128]}"
        );
        assert_eq!(read(&line), Ok(statement(0)));
        for event in [KernelEvent::Reset, KernelEvent::ResetBySocket, KernelEvent::AtListener] {
            let one = Statement { event, queues: None, ..statement(5) };
            assert_eq!(read(&write(&one)), Ok(one));
            let queues = Queues { syn: 129, limit: 128, without_cookies: true, ..Queues::default() };
            let one = Statement { event, queues: Some(queues), ..statement(5) };
            assert_eq!(read(&write(&one)), Ok(one));
        }
    }

    #[test]
    fn statements_come_as_far_as_they_are_asked_for() {
        let text = format!("{}\n{{\"lost\":0}}\n{}\n", write(&statement(0)), write(&statement(1_000)));
        let mut all = Statements::of(text.as_bytes());
        assert_eq!(all.until(statement(999).time), [statement(0)]);
        assert_eq!(all.next_time(), Some(statement(1_000).time));
        assert_eq!(all.until(statement(1_000).time), [statement(1_000)]);
        assert_eq!((all.next_time(), all.damage()), (None, None));
    }

    #[test]
    fn lines_of_the_host_may_be_long() {
        let long = "x".repeat(3 * LONGEST_LINE as usize);
        let text = format!("{{\"snapshot\":\"{long}\"}}\n{}\n{{\"y\":\"{long}", write(&statement(0)));
        assert_eq!(statements(&text), (vec![statement(0)], None));
    }

    #[test]
    fn a_line_cut_at_the_end_is_left_out_and_damage_within_is_told() {
        let line = write(&statement(0));
        let cut = format!("{line}\n{}", &line[..line.len() - 3]);
        assert_eq!(statements(&cut), (vec![statement(0)], None));
        for damaged in [
            line.replace("24", "\"S\""),
            line.replace("TCP_LISTEN_OVERFLOW", "\\u001b[2J"),
            line.replace("[3,128]", "[3,129]"),
            line.replace("\"seq\"", "\"sequence\""),
        ] {
            let (all, damage) = statements(&format!("{line}\n{damaged}\n{line}\n"));
            assert_eq!(all, [statement(0)], "{damaged}");
            assert!(damage.as_ref().is_some_and(|damage| damage.starts_with("line 2: ")), "{damage:?}");
        }
    }
}
