//! `worker assemble`: makes the report on each point from all that is known of it.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use super::Error;
use super::decode::RangeReport;
use super::joined::TraceRequest;
use super::rows::{RowKind, RowReader, unpack};
use crate::capture::range::{InputRange, RangeChain, common_silences, join};
use crate::capture::{InputStatus, Silence, Silences};
use crate::decode::segment::PacketId;
use crate::engine::batch::PacketTotals;
use crate::engine::stages::{self, EndedShard};
use crate::engine::{self, Analysis, AnalysisOptions, StreamAnalysis};
use crate::flow::tracker::SHARDS;
use crate::history::tw_recycle::TwRecycleModel;
use crate::kernel::comment;
use crate::pair::clock::ClockOffset;
use crate::pair::join::{self, Join};
use crate::pair::points::Points;
use crate::pair::trace::{PointTraces, Request, Traced};
use crate::redact::source::leave_out_names;

/// Whether names are left out of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReportNames {
    /// They are in it.
    Kept,
    /// They are left out: the captures were redacted.
    LeftOut,
}

/// The status of the captures, and the intervals in which none of them had a packet.
type InputResults = (Vec<InputStatus>, Vec<Silence>);

/// The results of one capture point.
#[derive(Default)]
pub struct PointResults {
    /// By capture and begin.
    readings: BTreeMap<(i32, i64), RangeReport>,
    shards: BTreeMap<i32, EndedShard>,
    models: BTreeMap<i32, TwRecycleModel>,
}

/// Reads everything that is known of each point.
///
/// # Errors
/// A stream that is broken, or has something twice.
pub fn read(from: impl Read) -> Result<BTreeMap<Arc<str>, PointResults>, Error> {
    let mut rows = RowReader::new("assemble", from)?;
    let mut points: BTreeMap<Arc<str>, PointResults> = BTreeMap::new();
    while let Some(row) = rows.next_row()? {
        let point = points.entry(Arc::clone(&row.point)).or_default();
        let twice = match row.kind {
            RowKind::Reading => point.readings.insert((row.capture, row.begin), unpack(&row.body)?).is_some(),
            RowKind::Shard => point.shards.insert(row.shard, unpack(&row.body)?).is_some(),
            RowKind::Model => point.models.insert(row.shard, unpack(&row.body)?).is_some(),
            RowKind::Table => false,
            _ => {
                let what = "there are rows of an earlier stage".to_owned();
                return Err(Error::Incomplete { point: row.point.to_string(), what });
            }
        };
        if twice {
            let what = format!("{:?} {} is there twice", row.kind, row.shard);
            return Err(Error::Incomplete { point: row.point.to_string(), what });
        }
    }
    Ok(points)
}

impl PointResults {
    /// The report on it.
    ///
    /// # Errors
    /// Something is missing, or nothing could be read.
    pub fn report(
        self,
        name: &str,
        options: &AnalysisOptions,
        names: ReportNames,
    ) -> Result<Analysis, Error> {
        self.check(name)?;
        let (totals, inputs) = self.inputs(names, 0)?;
        let (shards, peers) = self.ended(options);
        Ok(stages::conclude(shards, peers, totals, inputs, options)?)
    }

    /// The results of this point alone, before it is joined with others. `captures` is the number of captures of all points.
    fn study(
        self,
        name: &str,
        (options, names): (&AnalysisOptions, ReportNames),
        captures: usize,
        clock: Option<ClockOffset>,
    ) -> Result<StreamAnalysis, Error> {
        self.check(name)?;
        let (mut totals, (statuses, mut silences)) = self.inputs(names, captures)?;
        if let Some(clock) = clock {
            for time in [&mut totals.first, &mut totals.last] {
                *time = time.map(|time| clock.there(time));
            }
            for Silence { from, to } in &mut silences {
                (*from, *to) = (clock.there(*from), clock.there(*to));
            }
        }
        Ok(stages::study(self.ended(options), totals, (statuses, silences), options))
    }

    /// Whether all shards are there.
    fn check(&self, name: &str) -> Result<(), Error> {
        let missing: Vec<String> = (0..SHARDS as i32)
            .filter(|shard| !self.shards.contains_key(shard))
            .map(|shard| shard.to_string())
            .collect();
        if !missing.is_empty() {
            let what = format!("shards are missing: {}", missing.join(", "));
            return Err(Error::Incomplete { point: name.to_owned(), what });
        }
        Ok(())
    }

    /// All parts of the connections, and the memory of servers.
    fn ended(self, options: &AnalysisOptions) -> (Vec<EndedShard>, TwRecycleModel) {
        let mut peers = stages::server_memory(options);
        self.models.into_values().for_each(|model| peers.merge(model));
        (self.shards.into_values().collect(), peers)
    }

    /// The counts, and the status of each of the `captures`; captures of other points have none.
    fn inputs(&self, names: ReportNames, captures: usize) -> Result<(PacketTotals, InputResults), Error> {
        let mut by_capture: BTreeMap<i32, Vec<(i64, &RangeReport)>> = BTreeMap::new();
        for (&(capture, begin), reading) in &self.readings {
            by_capture.entry(capture).or_default().push((begin, reading));
        }
        let mut totals = PacketTotals::default();
        let (mut statuses, mut silences) = (Vec::<InputStatus>::new(), Vec::<Silences>::new());
        let mut refused = Vec::new();
        let mut faults = BTreeMap::new();
        let own = by_capture.len();
        for (capture, readings) in by_capture {
            let Some((_, first)) = readings.first() else { continue };
            let (path, input) = (first.path.clone(), capture as u16);
            let place = InputRange { path: path.clone(), input, size: first.size, from: 0, until: u64::MAX };
            let results: Vec<_> = readings.iter().map(|(_, reading)| reading.result.clone()).collect();
            let wrong = |_| Error::WrongRangeStart { path: path.clone(), from: 0 };
            let (status, quiet) = join(&place, &results).map_err(wrong)?;
            if first.result.is_refused() {
                refused.extend(status.damage.clone());
            }
            statuses.resize(statuses.len().max(usize::from(input) + 1), InputStatus::default());
            statuses[usize::from(input)] = status;
            silences.push(quiet);
            let mut chain = RangeChain::default();
            for (_, reading) in readings {
                let Some(before) = chain.follow(&reading.result.bounds()).map_err(wrong)? else { continue };
                totals.add_behind(&reading.totals, before.packets);
                let judged = reading.notes.iter().filter_map(|(number, note)| {
                    Some((PacketId::new(input, number + before.packets), comment::read(note)?))
                });
                totals.judged.extend(judged);
                if let Some((packet, fault, count)) = reading.faults.clone() {
                    let of_input = (packet + before.packets, fault, 0);
                    faults.entry(input).or_insert(of_input).2 += count;
                }
            }
        }
        statuses.resize(statuses.len().max(captures), InputStatus::default());
        if refused.len() == own {
            return Err(engine::Error::NothingReadable(refused).into());
        }
        if names == ReportNames::LeftOut {
            leave_out_names(&mut statuses, &faults);
        }
        Ok((totals, (statuses, common_silences(&silences))))
    }
}

/// The points of a run that are joined.
pub struct PointsOfRun(pub Points);

impl PointsOfRun {
    fn name(&self, point: usize) -> &str {
        self.0.all[point].name.as_deref().unwrap_or_default()
    }

    /// What each point shows by itself, in their order.
    fn studies(
        &self,
        from: impl Read,
        options: &AnalysisOptions,
        names: ReportNames,
    ) -> Result<Vec<StreamAnalysis>, Error> {
        let mut known = read(from)?;
        let own: Vec<Option<PointResults>> =
            (0..self.0.count()).map(|point| known.remove(self.name(point))).collect();
        // A point without a readable capture is left out. Its captures are counted at another point.
        let mut lost: BTreeMap<(i32, i64), RangeReport> =
            known.into_values().flat_map(|point| point.readings).collect();
        let captures = self.0.all.iter().map(|point| point.inputs.len()).sum();
        let study = |(place, point): (usize, Option<PointResults>)| {
            let name = self.name(place);
            let missing = || Error::Incomplete { point: name.to_owned(), what: "nothing came".to_owned() };
            let mut point = point.ok_or_else(missing)?;
            for &input in &self.0.all[place].inputs {
                let rest = lost.split_off(&(input as i32 + 1, i64::MIN));
                let mut adopted = lost.split_off(&(input as i32, i64::MIN));
                point.readings.append(&mut adopted);
                lost.extend(rest);
            }
            let own = join::options_of(&self.0, place, options);
            point.study(name, (&own, names), captures, self.0.correction(place))
        };
        own.into_iter().enumerate().map(study).collect()
    }

    /// The packets to search for at all points.
    ///
    /// # Errors
    /// A stream that is broken, or something that is missing.
    pub fn request(
        self,
        from: impl Read + Send,
        options: &AnalysisOptions,
        names: ReportNames,
    ) -> Result<TraceRequest, Error> {
        stages::with_threads(options, || {
            let studies = self.studies(from, options, names)?;
            let request = Join::new(&self.0, options, studies).request();
            let names = (0..self.0.count()).map(|point| self.name(point).to_owned()).collect();
            Ok(TraceRequest { names, request })
        })?
    }

    /// The report on all points. `traced` holds the packets found of those that were searched for.
    ///
    /// # Errors
    /// A stream that is broken, or something that is missing.
    pub fn report(
        self,
        from: impl Read + Send,
        traced: Option<impl Read + Send>,
        options: &AnalysisOptions,
        names: ReportNames,
    ) -> Result<Analysis, Error> {
        stages::with_threads(options, || {
            let join = Join::new(&self.0, options, self.studies(from, options, names)?);
            let request = join.request();
            let found = match traced {
                Some(traced) if !request.wanted.is_empty() => self.traced(traced, &request)?,
                _ if request.wanted.is_empty() => Vec::new(),
                _ => {
                    let what = "the input lacks the packets to look for".to_owned();
                    return Err(Error::Incomplete { point: String::new(), what });
                }
            };
            let mut outcome = join.outcome(found);
            outcome.report.warnings.extend(self.0.limit());
            Ok(outcome)
        })?
    }

    fn traced(&self, from: impl Read, request: &Request) -> Result<Vec<PointTraces>, Error> {
        let mut rows = RowReader::new("assemble", from)?;
        let mut parts: BTreeMap<Arc<str>, BTreeMap<i32, Traced>> = BTreeMap::new();
        while let Some(row) = rows.next_row()? {
            if row.kind == RowKind::Traced {
                parts.entry(row.point).or_default().insert(row.shard, unpack(&row.body)?);
            }
        }
        let of_point = |point: usize| {
            let own = parts.remove(self.name(point)).unwrap_or_default();
            if own.len() != SHARDS {
                let what = format!("the input has packets of {} shards; expected {SHARDS}", own.len());
                return Err(Error::Incomplete { point: self.name(point).to_owned(), what });
            }
            Ok(Traced::join(own.into_values(), request, point))
        };
        (0..self.0.count()).map(of_point).collect()
    }
}
