//! `synscope snapshot --follow`: the host and the kernel's verdicts on single packets, recorded while another program
//! captures them.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::args::{AskKernel, SnapshotArgs};
use super::output::Output;
use super::output::complain;
use super::{signals, snapshot};
use crate::capture::StopRequest;
use crate::host::recording::{RecordingChange, RecordingStart, SCHEMA};
use crate::host::{Snapshot, rights};
use crate::kernel::bpf::reader::VerdictReader;
use crate::kernel::bpf::{Probes, Refused, own_namespace};
use crate::kernel::recording;
use crate::kernel::verdict::{NewStatements, Statement};

/// How often verdicts are written.
const EVERY: Duration = Duration::from_millis(100);
/// How often the host's facts are read.
const LOOK: Duration = Duration::from_secs(1);
/// Verdicts that are written in a second at most: the file grows by less than 10 MB in that time.
const MOST: u64 = 30_000;

/// Runs it.
///
/// # Errors
/// No `/proc` of Linux, no right to ask the kernel with `--kernel on`, or an output that cannot be written.
pub fn run(args: &SnapshotArgs) -> anyhow::Result<()> {
    let output = Output::open(args.output.as_deref(), &[])?;
    let (reader, kernel, first) = match begin(args) {
        Ok(begun) => begun,
        Err(error) => {
            output.abandon();
            return Err(error);
        }
    };
    let stop = StopRequest::default();
    signals::heed_stop(&stop, "stopping; ^C again ends at once")?;
    complain(&kernel);
    let duration = args.duration.map(|duration| Duration::from_nanos(duration.0.unsigned_abs()));
    let mut follower = Follower { reader, last: first, written: 0, left_out: 0, in_this_second: 0 };
    output.write(|out| follower.follow(kernel, &stop, duration, out))?;
    complain(&format!("recorded {} of the kernel's verdicts", follower.written));
    Ok(())
}

/// Starts everything that needs rights, and then gives all rights up.
fn begin(args: &SnapshotArgs) -> anyhow::Result<(Option<VerdictReader>, String, Snapshot)> {
    let (probes, kernel) = match args.kernel {
        AskKernel::Off => (None, "the kernel is not asked about single packets".to_owned()),
        wanted => match Probes::attach(own_namespace()?) {
            Ok(probes) => {
                let offer = probes.offer().to_string();
                (Some(probes), offer)
            }
            Err(refused) if wanted == AskKernel::On => return Err(refused).context("--kernel on"),
            Err(refused) => (None, without(&refused)),
        },
    };
    rights::drop_rights().context("cannot give up capabilities")?;
    let first = Snapshot::of_this_host().context(snapshot::NO_COUNTERS)?;
    let reader = probes.map(VerdictReader::start).transpose().context("cannot start a thread")?;
    Ok((reader, kernel, first))
}

/// The missing right, and the remedy, in one line.
pub(super) fn without(Refused { what, remedy }: &Refused) -> String {
    format!("the kernel is not asked about single packets, since {what}. What helps: {remedy}")
}

/// Writes the recording.
struct Follower {
    reader: Option<VerdictReader>,
    /// The host's facts, as recorded so far.
    last: Snapshot,
    /// Verdicts written.
    written: u64,
    /// Verdicts that did not fit.
    left_out: u64,
    in_this_second: u64,
}

impl Follower {
    fn follow(
        &mut self,
        kernel: String,
        stop: &StopRequest,
        duration: Option<Duration>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let begin = RecordingStart { schema: SCHEMA.to_owned(), kernel, snapshot: self.last.clone() };
        write_line(out, &serde_json::to_string(&begin)?)?;
        out.flush()?;
        let begun = Instant::now();
        let mut looked = begun;
        while !stop.is_asked() && duration.is_none_or(|most| begun.elapsed() < most) {
            thread::sleep(EVERY);
            if let Some(reader) = &mut self.reader {
                let heard = reader.drain_statements();
                self.write_verdicts(&heard.statements, out)?;
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.in_this_second = 0;
                let lost = self.left_out + self.reader.as_mut().map_or(0, |reader| reader.lost());
                self.look(lost, out)?;
            }
            out.flush()?;
        }
        let heard = self.reader.take().map_or_else(NewStatements::default, |mut reader| reader.finish());
        self.in_this_second = 0;
        self.write_verdicts(&heard.statements, out)?;
        self.look(self.left_out + heard.lost, out)
    }

    fn write_verdicts(&mut self, statements: &[Statement], out: &mut dyn Write) -> io::Result<()> {
        for statement in statements {
            if self.in_this_second < MOST {
                self.in_this_second += 1;
                self.written += 1;
                write_line(out, &recording::write(statement))?;
            } else {
                self.left_out += 1;
            }
        }
        Ok(())
    }

    /// Writes the changes at the host.
    fn look(&mut self, lost: u64, out: &mut dyn Write) -> io::Result<()> {
        let Ok(now) = self.last.renew() else { return Ok(()) };
        write_line(out, &serde_json::to_string(&RecordingChange::between(&self.last, &now, lost))?)?;
        self.last = now;
        Ok(())
    }
}

fn write_line(out: &mut dyn Write, line: &str) -> io::Result<()> {
    out.write_all(line.as_bytes())?;
    out.write_all(b"\n")
}
