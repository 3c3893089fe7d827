//! Captures of the same traffic at two places or more: recognised, brought to one clock, and joined.
//!
//! Each point is analyzed by itself, so that a packet seen at two points is not taken for a copy. Then the packets of
//! the connections that matter are compared one by one. The comparison shows which packet was lost between two points,
//! which arrived and was ignored, and which was forged. The two points at the ends of a connection's path judge it;
//! those between them show where a packet was lost. Two captures are the case with no point between.
//!
//! * [`sketch`]: the handshakes of one input.
//! * [`recognise`]: which of several inputs without names saw the same connections at two places.
//! * [`link`]: what two points have in common, and which is nearer to the clients.
//! * [`clock`]: how the clocks of two points differ.
//! * [`graph`]: the clocks of all points by one of them.
//! * [`points`]: all points, their order on a path, and the paths that connections took.
//! * [`listening`]: when each capture was listening, and which packets it demonstrably missed.
//! * [`trace`]: the packets of chosen connections.
//! * [`packet_match`]: one connection at two points, packet by packet.
//! * `packet_path`: one connection at all points: where each packet was seen last.
//! * `last_point`: a connection none of whose packets came to the next point.
//! * [`loss`]: a handshake of which packets were lost between the two.
//! * [`merge_findings`]: the findings of both sides on one connection, made into one.
//! * [`join`]: the same for all connections; `watches`: the coverage of each capture as a whole; `account`: the report.

mod account;
pub mod clock;
mod data_path;
pub mod graph;
pub mod join;
mod last_point;
pub mod link;
pub mod listening;
pub mod loss;
pub mod merge_findings;
pub mod packet_match;
mod packet_path;
mod parallel;
pub mod points;
pub mod recognise;
pub mod sketch;
pub mod trace;
mod watches;

use std::path::{Path, PathBuf};

use crate::capture::{self, Source};
use crate::engine::{self, Analysis, AnalysisOptions, Error, Progress};
use parallel::map_parallel;
use points::{NamedInputs, Points};
use recognise::PairingResult;
use sketch::HandshakeSketch;

pub use crate::model::Pairing;
pub use join::OpenInputs;

/// Inputs that are compared without being asked: each is read once more for it.
pub const MOST_LOOKED_AT: usize = 8;

/// Analyzes the files `inputs`: as two captures of the same traffic if they are that, as one stream if not.
///
/// # Errors
/// As [`analyze`].
pub fn analyze_files(
    inputs: &[PathBuf],
    pairing: Pairing,
    options: &AnalysisOptions,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Analysis, Error> {
    analyze(inputs, &opener(inputs), pairing, options, progress)
}

/// Analyzes `inputs`, which `open` opens: as two captures of the same traffic if they are that, as one stream if not.
///
/// # Errors
/// As [`engine::analyze`]; and inputs that are no pair where `pairing` forces it.
pub fn analyze(
    inputs: &[PathBuf],
    open: OpenInputs<'_>,
    pairing: Pairing,
    options: &AnalysisOptions,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Analysis, Error> {
    let why = match recognise_inputs(inputs, open, pairing, options) {
        _ if options.stop.is_asked() => return Err(Error::Stopped),
        PairingResult::Points(points) => {
            return join::analyze(inputs.len(), open, &points, options, progress);
        }
        PairingResult::No(why) => why,
    };
    if pairing == Pairing::Force && inputs.len() > 1 && inputs.iter().all(|path| can_be_read_again(path)) {
        // The findings of either capture are reported all the same.
        let unrelated = Points::unrelated(inputs.len());
        let mut outcome = join::analyze(inputs.len(), open, &unrelated, options, progress)?;
        let why = why.unwrap_or_else(|| "the captures have no packet demonstrably in common".to_owned());
        outcome.report.warnings.push(format!("no pair: {why}; each capture was judged by itself"));
        return Ok(outcome);
    }
    if pairing == Pairing::Force {
        let why = why.unwrap_or_else(|| {
            "the captures share no connection whose handshake both of them hold from different places"
                .to_owned()
        });
        return Err(Error::NotAPair(format!("{why}. Without --pair they are read as one stream.")));
    }
    let mut outcome = engine::analyze_source(open(&vec![true; inputs.len()])?, options, progress)?;
    if let Some(why) = why.filter(|_| pairing == Pairing::Auto) {
        outcome.report.warnings.push(format!("read as one stream: {why}"));
    }
    Ok(outcome)
}

/// Analyzes the files `inputs`, which belong to these capture points.
///
/// # Errors
/// As [`analyze_points`].
pub fn analyze_files_of_points(
    inputs: &[PathBuf],
    points: Vec<NamedInputs>,
    options: &AnalysisOptions,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Analysis, Error> {
    analyze_points(inputs, points, &opener(inputs), options, progress)
}

/// Analyzes `inputs`, which `open` opens and which belong to these capture points: what two points or more saw is joined.
///
/// # Errors
/// As [`engine::analyze`]; and fewer than two points, or inputs that cannot be read more than once.
pub fn analyze_points(
    inputs: &[PathBuf],
    points: Vec<NamedInputs>,
    open: OpenInputs<'_>,
    options: &AnalysisOptions,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Analysis, Error> {
    if points.len() < 2 {
        return Err(Error::NotAPair(
            "one capture point alone: name the others, too, or give its captures without --point".to_owned(),
        ));
    }
    let sketches = map_parallel(points.len(), options.threads, |point: usize| {
        let own = (0..inputs.len()).map(|n| points[point].inputs.contains(&n)).collect::<Vec<_>>();
        open(&own).ok().map(HandshakeSketch::of)
    });
    if options.stop.is_asked() {
        return Err(Error::Stopped);
    }
    let Some(points) = Points::of_named(points, sketches) else {
        return Err(match open(&vec![true; inputs.len()]) {
            Err(error) => error,
            Ok(_) => Error::NothingReadable(Vec::new()),
        });
    };
    let mut outcome = join::analyze(inputs.len(), open, &points, options, progress)?;
    outcome.report.warnings.extend(points.limit());
    Ok(outcome)
}

/// Opens some of these files.
fn opener(inputs: &[PathBuf]) -> impl Fn(&[bool]) -> Result<Box<dyn Source>, Error> + Sync {
    |wanted: &[bool]| match capture::open_some(inputs, wanted) {
        Ok(opened) => Ok(opened.source),
        Err(failed) => Err(Error::NothingReadable(failed.iter().map(ToString::to_string).collect())),
    }
}

fn recognise_inputs(
    inputs: &[PathBuf],
    open: OpenInputs<'_>,
    pairing: Pairing,
    options: &AnalysisOptions,
) -> PairingResult {
    let no = |why: &str| PairingResult::No(Some(why.to_owned()));
    let forced = pairing == Pairing::Force;
    if pairing == Pairing::Never || (!forced && (inputs.len() < 2 || inputs.len() > MOST_LOOKED_AT)) {
        return PairingResult::No(None);
    }
    if inputs.len() < 2 {
        return no("--pair needs two captures of the same traffic");
    }
    if !inputs.iter().all(|path| can_be_read_again(path)) {
        return match forced {
            true => no("pairing reads captures more than once: save the input of a pipe to a file first"),
            false => PairingResult::No(None),
        };
    }
    let (sketches, names): (Vec<_>, Vec<_>) =
        sketches(inputs.len(), open, options.threads).into_iter().unzip();
    recognise::recognise(&sketches, &names, pairing)
}

/// Only a file can be read again. The analysis reports inputs that cannot be read.
fn can_be_read_again(path: &Path) -> bool {
    path.as_os_str() != "-" && std::fs::metadata(path).is_ok_and(|m| m.is_file())
}

/// The sketch and the name of each input; no sketch of an input that cannot be opened.
fn sketches(n: usize, open: OpenInputs<'_>, threads: usize) -> Vec<(Option<HandshakeSketch>, String)> {
    map_parallel(n, threads, |place: usize| {
        let wanted: Vec<bool> = (0..n).map(|other| other == place).collect();
        let Ok(source) = open(&wanted) else { return (None, String::new()) };
        let name = source.status().get(place).map(|s| s.path.clone()).unwrap_or_default();
        (Some(HandshakeSketch::of(source)), name)
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::fault::trap;
    use crate::model::Kind;

    const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
    const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    /// A segment: when it was sent, by whom, with which flags and sequence numbers.
    struct TestSegment {
        at: u32,
        client: (Ipv4Addr, u16),
        by_client: bool,
        flags: u8,
        seq: u32,
        ack: u32,
    }

    impl TestSegment {
        /// As a record of a pcap, microseconds after it was sent, with this TTL: raw IPv4.
        fn record(&self, late: u32, ttl: u8) -> Vec<u8> {
            let (client, port) = self.client;
            let (from, to) = if self.by_client { (client, SERVER) } else { (SERVER, client) };
            let ports = if self.by_client { [port, 80] } else { [80, port] };
            let mut packet = vec![0x45, 0, 0, 40];
            packet.extend((self.at as u16).to_be_bytes());
            packet.extend([0x40, 0, ttl, 6, 0, 0]);
            packet.extend([from.octets(), to.octets()].concat());
            packet.extend(ports.map(u16::to_be_bytes).concat());
            packet.extend([self.seq.to_be_bytes(), self.ack.to_be_bytes()].concat());
            packet.extend([0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
            let at = u64::from(self.at) * 1_000 + u64::from(late);
            let words = [(at / 1_000_000) as u32, (at % 1_000_000) as u32, 40, 40];
            [words.map(u32::to_le_bytes).concat(), packet].concat()
        }
    }

    /// Handshakes, and two refused connections: the first is the one at which the program fails.
    fn traffic() -> Vec<TestSegment> {
        let mut all = Vec::new();
        let mut at = 1_000;
        let mut send = |client, by_client, flags, seq, ack| {
            at += 7;
            all.push(TestSegment { at, client, by_client, flags, seq, ack });
        };
        for n in 0..30_u16 {
            let (client, isn) = ((CLIENT, 2_000 + n), 77_000 * (u32::from(n) + 1));
            send(client, true, 0x02, isn, 0);
            send(client, false, 0x12, isn ^ 0x5a5a_0000, isn + 1);
            send(client, true, 0x10, isn + 1, (isn ^ 0x5a5a_0000) + 1);
        }
        for client in [(trap::ADDRESS, trap::port(trap::FaultPlace::Pair)), (CLIENT, 3_000)] {
            let isn = u32::from(client.1) * 1_000;
            send(client, true, 0x02, isn, 0);
            send(client, false, 0x14, 0, isn + 1);
        }
        all
    }

    /// A capture at one end, 2 ms and four routers away from the other.
    fn captured(at_client: bool) -> Vec<u8> {
        let mut file = [&0xa1b2_c3d4_u32.to_le_bytes()[..], &[2, 0, 4, 0], &[0; 8], &[0, 0, 1, 0]].concat();
        file.extend(101_u32.to_le_bytes());
        let traffic = traffic();
        let records = traffic.iter().map(|sent| match sent.by_client == at_client {
            true => sent.record(0, 64),
            false => sent.record(2_000, 60),
        });
        file.extend(records.flatten());
        file
    }

    #[test]
    fn a_connection_at_whose_comparison_the_program_fails_is_lost_alone() {
        let folder = tempfile::tempdir().expect("a place for temporary files");
        let files = [true, false].map(|at_client| {
            let path = folder.path().join(if at_client { "client.pcap" } else { "server.pcap" });
            std::fs::write(&path, captured(at_client)).expect("the capture can be written");
            path
        });
        for threads in [1, 2] {
            let options = AnalysisOptions { threads, ..AnalysisOptions::default() };
            let outcome = analyze_files(&files, Pairing::Force, &options, &mut |_| {}).expect("a pair");
            assert_eq!(outcome.report.pairs.len(), 1, "{:?}", outcome.report.warnings);
            let refused = outcome.report.findings.iter().filter(|f| f.kind == Kind::ConnectionRefused);
            let clients: Vec<_> = refused.filter_map(|finding| finding.client).collect();
            assert_eq!(clients, [(CLIENT, 3_000).into()]);
            let [said] = &outcome.damage[..] else { panic!("{:?}", outcome.damage) };
            let name = format!("the connection {}:{}", trap::ADDRESS, trap::port(trap::FaultPlace::Pair));
            assert!(said.starts_with(&name), "{said}");
            assert!(outcome.report.warnings.contains(said));
        }
    }
}
