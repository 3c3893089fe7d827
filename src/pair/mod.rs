//! Two captures of the same traffic: recognised, brought to one clock, and joined.
//!
//! Each side is analyzed for itself, so that the two sightings of a packet are not taken for copies. Then the packets of
//! the connections that matter are compared one by one: which was lost between the two places, which arrived and was
//! ignored, which was never sent by the end in whose name it came.
//!
//! * [`sketch`]: the handshakes of one input.
//! * [`recognise`]: which inputs saw the same ones, and which is nearer to the clients.
//! * [`clock`]: how their clocks differ.
//! * [`listening`]: when each capture was listening, and which packets it demonstrably missed.
//! * [`trace`]: the packets of chosen connections.
//! * [`passage`]: one connection on both sides, packet by packet.
//! * [`loss`]: a handshake of which packets were lost between the two.
//! * [`settle`]: the findings of both sides on one connection, made into one.
//! * [`join`]: the same for all, and the report.

pub mod clock;
pub mod join;
pub mod listening;
pub mod loss;
pub mod passage;
pub mod recognise;
pub mod settle;
pub mod sketch;
pub mod trace;

use std::path::{Path, PathBuf};
use std::thread;

use crate::capture::{self, Source};
use crate::engine::{self, Error, Options, Outcome, Progress};
use crate::fault;
use recognise::{Places, Recognised};
use sketch::Sketch;

pub use crate::model::Pairing;

/// Inputs that are looked at for shared connections unless asked: each is read once more for it.
pub const MOST_LOOKED_AT: usize = 8;

/// Opens those of the inputs that are marked; the others keep their places.
pub type Opener<'o> = &'o (dyn Fn(&[bool]) -> Result<Box<dyn Source>, Error> + Sync);

/// Analyzes the files `inputs`: as two captures of the same traffic if they are that, as one stream if not.
///
/// # Errors
/// As [`analyze`].
pub fn analyze_files(
    inputs: &[PathBuf],
    pairing: Pairing,
    options: &Options,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Outcome, Error> {
    let open = |wanted: &[bool]| match capture::open_some(inputs, wanted) {
        Ok(opened) => Ok(opened.source),
        Err(failed) => Err(Error::NothingReadable(failed.iter().map(ToString::to_string).collect())),
    };
    analyze(inputs, &open, pairing, options, progress)
}

/// Analyzes `inputs`, which `open` opens: as two captures of the same traffic if they are that, as one stream if not.
///
/// # Errors
/// As [`engine::analyze`]; and inputs that are no pair where `pairing` forces it.
pub fn analyze(
    inputs: &[PathBuf],
    open: Opener<'_>,
    pairing: Pairing,
    options: &Options,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Outcome, Error> {
    let why = match look(inputs, open, pairing, options) {
        _ if options.stop.is_asked() => return Err(Error::Stopped),
        Recognised::Places(places) => return join::analyze(inputs.len(), open, &places, options, progress),
        Recognised::No(why) => why,
    };
    if pairing == Pairing::Force && inputs.len() > 1 && inputs.iter().all(|path| can_be_read_again(path)) {
        // What either capture shows is told all the same.
        let unrelated = Places::unrelated(inputs.len());
        let mut outcome = join::analyze(inputs.len(), open, &unrelated, options, progress)?;
        let why = why.unwrap_or_else(|| "the captures have no packet demonstrably in common".to_owned());
        outcome.report.warnings.push(format!("no pair: {why}; each capture was judged for itself"));
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

fn look(inputs: &[PathBuf], open: Opener<'_>, pairing: Pairing, options: &Options) -> Recognised {
    let no = |why: &str| Recognised::No(Some(why.to_owned()));
    let forced = pairing == Pairing::Force;
    if pairing == Pairing::Never || (!forced && (inputs.len() < 2 || inputs.len() > MOST_LOOKED_AT)) {
        return Recognised::No(None);
    }
    if inputs.len() < 2 {
        return no("--pair needs two captures of the same traffic");
    }
    if !inputs.iter().all(|path| can_be_read_again(path)) {
        return match forced {
            true => no("pairing reads captures more than once: save the input of a pipe to a file first"),
            false => Recognised::No(None),
        };
    }
    let (sketches, names): (Vec<_>, Vec<_>) =
        sketches(inputs.len(), open, options.threads).into_iter().unzip();
    recognise::recognise(&sketches, &names, pairing)
}

/// Only a file can. What cannot be looked at is left to the analysis to complain of.
fn can_be_read_again(path: &Path) -> bool {
    path.as_os_str() != "-" && std::fs::metadata(path).is_ok_and(|m| m.is_file())
}

/// The sketch of each input, none of one that cannot be opened; and what it is called.
fn sketches(n: usize, open: Opener<'_>, threads: usize) -> Vec<(Option<Sketch>, String)> {
    let one = |place: usize| {
        let wanted: Vec<bool> = (0..n).map(|other| other == place).collect();
        let Ok(source) = open(&wanted) else { return (None, String::new()) };
        let name = source.status().get(place).map(|s| s.path.clone()).unwrap_or_default();
        (Some(Sketch::of(source)), name)
    };
    if threads == 1 {
        return (0..n).map(one).collect();
    }
    let at_once = if threads == 0 { thread::available_parallelism().map_or(2, usize::from) } else { threads };
    let mut all = Vec::with_capacity(n);
    let places: Vec<usize> = (0..n).collect();
    for some in places.chunks(at_once) {
        thread::scope(|scope| {
            let running: Vec<_> =
                some.iter().map(|&place| scope.spawn(fault::on_thread(move || one(place)))).collect();
            all.extend(
                running
                    .into_iter()
                    .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
            );
        });
    }
    all
}

impl Places {
    /// Which inputs are of a side.
    fn mask(&self, side: usize, inputs: usize) -> Vec<bool> {
        (0..inputs).map(|n| self.sides[side].contains(&n)).collect()
    }
}
